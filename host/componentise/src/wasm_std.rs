//! Which standard library guests are compiled with.
//!
//! On most machines rustup has one, a download of seconds. Where rustup or its server is missing, Debian's packages
//! have a compiler with its sources, which cargo can build a standard library from. Either way the system is left
//! as it was, but for the target that rustup adds to its own toolchain.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::console::capture;
use crate::{Cache, Console, Error, TARGET, debian};

/// How to come to a standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The first that works: installed, unpacked earlier from Debian, rustup, Debian.
    #[default]
    Automatic,
    /// Only what is installed already.
    Installed,
    /// `rustup target add`.
    Rustup,
    /// Debian's packages, unpacked into the cache.
    Debian,
}

impl Strategy {
    /// Reads `ATTACHE_WASM_STD`: `installed`, `rustup`, `debian`; unset or empty means automatic.
    ///
    /// # Errors
    /// [`Error::UnknownStrategy`] for any other value.
    pub fn from_environment() -> Result<Self, Error> {
        Self::parse(&env::var_os("ATTACHE_WASM_STD").unwrap_or_default().to_string_lossy())
    }

    fn parse(value: &str) -> Result<Self, Error> {
        match value {
            "" => Ok(Self::Automatic),
            "installed" => Ok(Self::Installed),
            "rustup" => Ok(Self::Rustup),
            "debian" => Ok(Self::Debian),
            other => Err(Error::UnknownStrategy(other.to_owned())),
        }
    }
}

/// A standard library for [`TARGET`], and the compiler that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmStd(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Installed,
    /// Compiled by cargo from the sources beside this compiler.
    Debian {
        rustc: PathBuf,
        linker: PathBuf,
    },
}

impl WasmStd {
    /// Finds a standard library, or fetches one; tells what it does and about how long it takes.
    ///
    /// What was fetched stays in `cache`, so that the next call returns at once. A call that was interrupted leaves
    /// nothing that a later one would trip over, and of two calls at the same time one waits for the other.
    ///
    /// # Errors
    /// Says for each way that was tried why it did not work, and which command helps.
    pub fn prepare(strategy: Strategy, cache: &Cache, console: &mut dyn Console) -> Result<Self, Error> {
        match strategy {
            Strategy::Installed => {
                if is_installed(console)? {
                    Ok(Self(Kind::Installed))
                } else {
                    Err(Error::NotInstalled)
                }
            }
            Strategy::Rustup => Self::from_rustup(console),
            Strategy::Debian => Self::from_debian(cache, console),
            Strategy::Automatic => Self::automatic(cache, console),
        }
    }

    fn automatic(cache: &Cache, console: &mut dyn Console) -> Result<Self, Error> {
        let mut reasons = Vec::new();
        match is_installed(console) {
            Ok(true) => return Ok(Self(Kind::Installed)),
            Ok(false) => {}
            Err(error) => reasons.push(format!("- installed: {error}")),
        }
        // Asking a server that did not answer the last time would cost its time-out on every build.
        if debian::is_cached(cache) {
            match Self::from_debian(cache, console) {
                Ok(found) => return Ok(found),
                Err(error) => reasons.push(format!("- Debian, from the cache: {error}")),
            }
        }
        match Self::from_rustup(console) {
            Ok(found) => return Ok(found),
            Err(error) => {
                console.say("wasm std: rustup did not provide it; trying Debian's packages");
                reasons.push(format!("- rustup: {error}"));
            }
        }
        match Self::from_debian(cache, console) {
            Ok(found) => Ok(found),
            Err(error) => {
                reasons.push(format!("- Debian: {error}"));
                Err(Error::NoStd { reasons: reasons.join("\n") })
            }
        }
    }

    fn from_rustup(console: &mut dyn Console) -> Result<Self, Error> {
        if is_installed(console).unwrap_or(false) {
            return Ok(Self(Kind::Installed));
        }
        console.say(&format!("wasm std: rustup target add {TARGET} (20 MB, some seconds)"));
        let mut command = Command::new("rustup");
        // There is another way, so a server that does not answer is not waited for long.
        command
            .args(["target", "add", TARGET])
            .env("RUSTUP_MAX_RETRIES", "1")
            .env("RUSTUP_DOWNLOAD_TIMEOUT", "60");
        capture(console, &mut command, false)?;
        if is_installed(console)? { Ok(Self(Kind::Installed)) } else { Err(Error::NotInstalled) }
    }

    fn from_debian(cache: &Cache, console: &mut dyn Console) -> Result<Self, Error> {
        let lock = cache.lock("wasm-std")?;
        let compiler = debian::compiler(cache, console)?;
        let linker = match installed_linker(console) {
            Some(linker) => linker,
            None => debian::linker(cache, console)?,
        };
        drop(lock);
        Ok(Self(Kind::Debian { rustc: compiler, linker }))
    }

    /// One line for a person.
    pub fn describe(&self) -> String {
        match &self.0 {
            Kind::Installed => format!("wasm std: {TARGET} of the installed toolchain"),
            Kind::Debian { rustc, .. } => {
                format!("wasm std: built from Debian's sources by {}", rustc.display())
            }
        }
    }

    /// Makes a cargo command use this standard library for [`TARGET`].
    pub(crate) fn apply(&self, cargo: &mut Command) {
        let Kind::Debian { rustc, linker } = &self.0 else { return };
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", rustc)
            // Lets the stable cargo and compiler build the standard library. Guests still see a stable language:
            // unstable features need an attribute, which review would show.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
            .env_remove("RUSTC_WRAPPER");
    }
}

fn rustc() -> OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Whether the compiler in use has a standard library for [`TARGET`].
fn is_installed(console: &mut dyn Console) -> Result<bool, Error> {
    let mut command = Command::new(rustc());
    command.args(["--print", "target-libdir", "--target", TARGET]);
    let folder = capture(console, &mut command, false)?;
    Ok(holds_std(Path::new(folder.trim())))
}

fn holds_std(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// The WebAssembly linker of the toolchain in use (rustup ships one), or one in PATH.
fn installed_linker(console: &mut dyn Console) -> Option<PathBuf> {
    let mut sysroot = Command::new(rustc());
    sysroot.args(["--print", "sysroot"]);
    let sysroot = capture(console, &mut sysroot, false).ok()?;
    let mut version = Command::new(rustc());
    version.arg("-vV");
    let version = capture(console, &mut version, false).ok()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?;
    let shipped = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    let mut in_path = || {
        ["rust-lld", "wasm-ld"].into_iter().map(PathBuf::from).find(|name| {
            let mut command = Command::new(name);
            command.args(["-flavor", "wasm", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
            console.run(&mut command).is_ok_and(|output| output.status.success())
        })
    };
    if shipped.is_file() { Some(shipped) } else { in_path() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn strategies_have_names_and_nothing_else_passes() {
        assert_eq!(Strategy::parse("").unwrap(), Strategy::Automatic);
        assert_eq!(Strategy::parse("installed").unwrap(), Strategy::Installed);
        assert_eq!(Strategy::parse("rustup").unwrap(), Strategy::Rustup);
        assert_eq!(Strategy::parse("debian").unwrap(), Strategy::Debian);
        assert!(matches!(Strategy::parse("Debian"), Err(Error::UnknownStrategy(value)) if value == "Debian"));
    }

    #[test]
    fn a_folder_without_the_library_is_no_standard_library() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!holds_std(&folder.path().join("missing")));
        fs::write(folder.path().join("libcore-1.rlib"), "").unwrap();
        fs::write(folder.path().join("libstd-1.rmeta"), "").unwrap();
        assert!(!holds_std(folder.path()));
        fs::write(folder.path().join("libstd-1.rlib"), "").unwrap();
        assert!(holds_std(folder.path()));
    }
}
