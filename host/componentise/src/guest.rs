//! Compiling guest crates to core modules.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::console::capture;
use crate::{Cache, Console, Error, TARGET, WasmStd, componentise};

/// The profile of guests, whatever their manifests say: a plugin is fetched, hashed and compiled by every host, so
/// small pays. One profile for all also means that one compiled standard library serves all.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// What the surroundings may set for the host's build, and would break or needlessly repeat a guest's.
const FOREIGN: [&str; 5] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// A build of the guests of one package or workspace.
#[derive(Debug, Clone)]
pub struct GuestBuild {
    manifest: PathBuf,
    target_dir: PathBuf,
    locked: bool,
}

/// One compiled guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The package's name.
    pub name: String,
    /// The package's `Cargo.toml`.
    pub manifest: PathBuf,
    /// The core module, in the target folder. The next build may replace it.
    pub module: PathBuf,
}

impl GuestBuild {
    /// A build of the package or workspace that a `Cargo.toml` describes, with its results in the cache.
    pub fn new(manifest: impl Into<PathBuf>, cache: &Cache) -> Self {
        Self { manifest: manifest.into(), target_dir: cache.guest_target(), locked: false }
    }

    /// Refuses to change the lock file, as a build in continuous integration should.
    #[must_use]
    pub fn locked(mut self, locked: bool) -> Self {
        self.locked = locked;
        self
    }

    /// Compiles and returns the guests in the order of their names. Compiler messages go to standard error.
    ///
    /// The first build with a standard library from sources takes about a minute, later ones seconds.
    ///
    /// # Errors
    /// [`Error::Failed`] when a guest does not compile, [`Error::NoGuest`] when there is none.
    pub fn run(&self, std: &WasmStd, console: &mut dyn Console) -> Result<Vec<Guest>, Error> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--release", "--target", TARGET]);
        cargo.arg("--message-format=json-render-diagnostics").arg("--manifest-path").arg(&self.manifest);
        if self.locked {
            cargo.arg("--locked");
        }
        cargo.env("CARGO_TARGET_DIR", &self.target_dir).envs(PROFILE);
        for name in FOREIGN {
            cargo.env_remove(name);
        }
        std.apply(&mut cargo);
        let messages = capture(console, &mut cargo, true)?;
        let guests = artifacts(&messages)?;
        if guests.is_empty() { Err(Error::NoGuest(self.manifest.clone())) } else { Ok(guests) }
    }
}

impl Guest {
    /// The guest as a component.
    ///
    /// # Errors
    /// As [`componentise`], and [`Error::File`] when the module cannot be read.
    pub fn component(&self) -> Result<Vec<u8>, Error> {
        componentise(&fs::read(&self.module).map_err(Error::file("read", &self.module))?)
    }

    /// The folder of the package.
    pub fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(&self.manifest)
    }
}

/// The modules that cargo's build messages speak of.
fn artifacts(messages: &str) -> Result<Vec<Guest>, Error> {
    let mut guests = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value =
            serde_json::from_str(line).map_err(|error| Error::CargoOutput(error.to_string()))?;
        if message["reason"] == "compiler-artifact" {
            guests.extend(artifact(&message));
        }
    }
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}

fn artifact(message: &Value) -> Option<Guest> {
    let is_guest = message["target"]["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib");
    let module = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    let module = module.into_iter().find(|name| is_guest && name.ends_with(".wasm"))?;
    Some(Guest {
        name: package_name(message["package_id"].as_str()?)?.to_owned(),
        manifest: message["manifest_path"].as_str()?.into(),
        module: module.into(),
    })
}

/// The name in a package id, which leaves it out where it is the folder's: `path+file:///a/name#0.1.0`, or
/// `path+file:///a/folder#name@0.1.0`.
fn package_name(id: &str) -> Option<&str> {
    let (source, fragment) = id.split_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => source.trim_end_matches('/').rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_ids_name_their_package() {
        assert_eq!(package_name("path+file:///a/auto-reply#0.1.0"), Some("auto-reply"));
        assert_eq!(package_name("path+file:///a/folder#auto-reply@0.1.0"), Some("auto-reply"));
        assert_eq!(package_name("registry+https://example.com/index#syn@2.0.1"), Some("syn"));
        assert_eq!(package_name("nonsense"), None);
    }

    #[test]
    fn only_modules_of_guests_are_taken_from_cargos_messages() {
        let message = |name: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///p/{name}#0.1.0","manifest_path":"/p/{name}/Cargo.toml","target":{{"crate_types":["{kind}"]}},"filenames":["/t/{file}"]}}"#
            )
        };
        let lines = [
            message("sdk", "lib", "libsdk.rlib"),
            message("history", "cdylib", "history.wasm"),
            message("auto-reply", "cdylib", "auto_reply.wasm"),
            message("macro", "proc-macro", "libmacro.so"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let guests = artifacts(&lines.join("\n")).unwrap();
        let names: Vec<_> = guests.iter().map(|guest| guest.name.as_str()).collect();
        assert_eq!(names, ["auto-reply", "history"]);
        assert_eq!(guests[0].module, Path::new("/t/auto_reply.wasm"));
        assert_eq!(guests[0].folder(), Path::new("/p/auto-reply"));
        assert!(matches!(artifacts("{broken"), Err(Error::CargoOutput(_))));
    }
}
