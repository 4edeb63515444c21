//! A compiler with its standard library's sources, out of Debian's packages, without installing anything.
//!
//! Debian keeps a recent compiler for its browsers (`rustc-web`) with sources. Its packages are fetched and
//! unpacked into the cache; a small script beside them runs the compiler with its own libraries. The sources must be
//! that very compiler's: any other's fail to build.
//!
//! Each tool is unpacked into a folder of a temporary name, tried out, and only then given its final name. So a folder
//! with a final name is whole, whatever happened to earlier attempts.

use std::fs::{self, Permissions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::console::capture;
use crate::{Cache, Console, Error};

/// Begins the name of an unfinished folder.
const PARTIAL: &str = ".partial";

/// What building a standard library never reads: half of what the packages hold.
const UNNEEDED: [&str; 5] =
    ["./usr/src/*/src", "./usr/src/*/compiler", "./usr/src/*/debian", "./usr/share/doc", "./usr/share/man"];

/// A program out of packages. The number in `folder` changes when the way to unpack it does.
struct Tool {
    folder: &'static str,
    /// Name of the script that runs it, beside `usr`.
    script: &'static str,
    /// Whether a file below `usr` is the program.
    program: fn(&Path) -> bool,
    /// Arguments that make it answer quickly, to see that it runs.
    probe: &'static [&'static str],
    packages: fn(&mut dyn Console) -> Result<Vec<Package>, Error>,
}

const COMPILER: Tool = Tool {
    folder: "debian1-",
    script: "rustc",
    program: |path| path.ends_with("usr/bin/rustc"),
    probe: &["-vV"],
    packages: compiler_packages,
};

const LINKER: Tool = Tool {
    folder: "lld1-",
    script: "wasm-ld",
    program: |path| path.ends_with("bin/wasm-ld") && path.to_string_lossy().contains("/llvm-"),
    probe: &["--version"],
    packages: linker_packages,
};

/// Whether a compiler was unpacked earlier.
pub(crate) fn is_cached(cache: &Cache) -> bool {
    newest(cache, &COMPILER).is_some()
}

/// The compiler, fetched where the cache has none. The caller holds the cache's lock.
pub(crate) fn compiler(cache: &Cache, console: &mut dyn Console) -> Result<PathBuf, Error> {
    COMPILER.provide(cache, console)
}

/// The linker, for toolchains that have none. The caller holds the cache's lock.
pub(crate) fn linker(cache: &Cache, console: &mut dyn Console) -> Result<PathBuf, Error> {
    LINKER.provide(cache, console)
}

impl Tool {
    fn provide(&self, cache: &Cache, console: &mut dyn Console) -> Result<PathBuf, Error> {
        if let Some(folder) = newest(cache, self) {
            let script = folder.join(self.script);
            if self.answers(&script, console).is_ok() {
                return Ok(script);
            }
            console.say(&format!("wasm std: {} does not run any more; fetching it again", folder.display()));
            fs::remove_dir_all(&folder).map_err(Error::file("delete", &folder))?;
        }
        let packages = match (self.packages)(console) {
            Err(Error::NoPackage { .. }) if no_lists() && is_root(console) => {
                update(console)?;
                (self.packages)(console)?
            }
            packages => packages?,
        };
        self.install(cache, &packages, console)
    }

    fn install(
        &self,
        cache: &Cache,
        packages: &[Package],
        console: &mut dyn Console,
    ) -> Result<PathBuf, Error> {
        let parent = parent(cache);
        remove_partial(&parent)?;
        let partial = parent.join(format!("{PARTIAL}-{}", std::process::id()));
        fs::create_dir_all(&partial).map_err(Error::file("create", &partial))?;

        let megabytes = packages.iter().map(|package| package.size).sum::<u64>().div_ceil(1_000_000);
        console.say(&format!(
            "wasm std: fetching {} of Debian's packages, {megabytes} MB, into {} (seconds to minutes, once)",
            packages.len(),
            parent.display()
        ));
        fetch(&partial, packages, console)?;
        console.say("wasm std: unpacking (about 10 s)");
        unpack(&partial, console)?;
        let script = self.write_script(&partial)?;
        self.answers(&script, console)?;

        let version: String = packages[0]
            .version
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        let folder = parent.join(format!("{}{version}", self.folder));
        fs::rename(&partial, &folder).map_err(Error::file("rename to", &folder))?;
        Ok(folder.join(self.script))
    }

    /// Writes the script that runs the program with the libraries that lie beside it, wherever the folder is moved.
    fn write_script(&self, folder: &Path) -> Result<PathBuf, Error> {
        let mut programs = Vec::new();
        let mut libraries = Vec::new();
        for file in files(&folder.join("usr"), 5)? {
            let relative = file.strip_prefix(folder).unwrap_or(&file);
            if (self.program)(relative) {
                programs.push(relative.to_owned());
            }
            let name = relative.file_name().unwrap_or_default().to_string_lossy();
            // Only the folders that the dynamic linker would look into; a compiler's own libraries lie deeper.
            if name.starts_with("lib") && name.contains(".so") && !relative.starts_with("usr/lib/rustlib") {
                libraries.extend(relative.parent().map(|parent| format!("$here/{}", parent.display())));
            }
        }
        let missing = || Error::Failed {
            command: format!("{} out of Debian's packages", self.script),
            output: "the packages do not hold the program; their layout has changed".to_owned(),
        };
        let program = programs.first().ok_or_else(missing)?.display().to_string();
        libraries.sort();
        libraries.dedup();
        let text = format!(
            "#!/bin/sh\nhere=${{0%/*}}\n\
             export LD_LIBRARY_PATH=\"{}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
             exec \"$here/{program}\" \"$@\"\n",
            libraries.join(":")
        );
        let script = folder.join(self.script);
        fs::write(&script, text).map_err(Error::file("write", &script))?;
        make_executable(&script)?;
        Ok(script)
    }

    fn answers(&self, script: &Path, console: &mut dyn Console) -> Result<(), Error> {
        capture(console, Command::new(script).args(self.probe), false).map(drop)
    }
}

fn parent(cache: &Cache) -> PathBuf {
    cache.root().join("wasm-std")
}

/// The latest whole folder of a tool.
fn newest(cache: &Cache, tool: &Tool) -> Option<PathBuf> {
    let entries = parent(cache).read_dir().ok()?.flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(tool.folder));
    let age =
        |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    ours.map(|entry| entry.path()).max_by_key(age)
}

/// Removes what interrupted attempts left. The lock that the caller holds says that nobody works there.
fn remove_partial(parent: &Path) -> Result<(), Error> {
    let Ok(entries) = parent.read_dir() else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(Error::file("delete", &path))?;
        }
    }
    Ok(())
}

/// One package, as apt's lists know it.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    depends: Vec<String>,
    /// Bytes to fetch.
    size: u64,
}

impl Package {
    fn look_up(name: &str, console: &mut dyn Console) -> Result<Self, Error> {
        let mut command = apt("apt-cache");
        command.args(["show", "--no-all-versions", name]);
        // An unknown package is a failure of the command, with a sentence that helps less than ours.
        match capture(console, &mut command, false) {
            Ok(text) => Self::parse(&text).ok_or_else(|| Error::NoPackage { package: name.to_owned() }),
            Err(Error::Failed { .. }) => Err(Error::NoPackage { package: name.to_owned() }),
            Err(error) => Err(error),
        }
    }

    /// Reads the first paragraph of `apt-cache show`.
    fn parse(text: &str) -> Option<Self> {
        let paragraph = text.trim_start().split("\n\n").next()?;
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let depends = field("Depends").unwrap_or_default();
        // "a (>= 1), b:any | c": the first alternative's name is enough to find a package by its beginning.
        let depends = depends
            .split(',')
            .filter_map(|clause| clause.split([' ', '|', ':', '(']).find(|word| !word.is_empty()))
            .map(ToOwned::to_owned)
            .collect();
        Some(Self {
            name: field("Package")?,
            version: field("Version")?,
            depends,
            size: field("Size")?.parse().ok()?,
        })
    }

    /// The dependency whose name begins so.
    fn dependency(&self, prefix: &str) -> Result<&str, Error> {
        let found = self.depends.iter().find(|name| name.starts_with(prefix));
        found.map(String::as_str).ok_or_else(|| Error::NoPackage { package: format!("{prefix}…") })
    }
}

fn compiler_packages(console: &mut dyn Console) -> Result<Vec<Package>, Error> {
    let compiler = Package::look_up("rustc-web", console)?;
    let development = Package::look_up("libstd-rust-web-dev", console)?;
    let library = Package::look_up(development.dependency("libstd-rust-web-")?, console)?;
    let sources = Package::look_up("rust-web-src", console)?;
    let llvm = with_missing_dependencies(library.dependency("libllvm")?, console)?;
    Ok([compiler, development, library, sources].into_iter().chain(llvm).collect())
}

fn linker_packages(console: &mut dyn Console) -> Result<Vec<Package>, Error> {
    // The linker must understand what the compiler writes, so it is of the same LLVM.
    let compiler = compiler_packages(console)?;
    let version = compiler.iter().find_map(|package| package.name.strip_prefix("libllvm"));
    let name = version.map_or_else(|| "lld".to_owned(), |version| format!("lld-{version}"));
    with_missing_dependencies(&name, console).map_err(|_| Error::NoLinker)
}

/// A package, and what it needs of what this machine has not. apt works it out by simulating an installation.
fn with_missing_dependencies(name: &str, console: &mut dyn Console) -> Result<Vec<Package>, Error> {
    let mut packages = vec![Package::look_up(name, console)?];
    let mut command = apt("apt-get");
    command.args(["--simulate", "--quiet", "install", "--no-install-recommends", name]);
    // Where the system's packages are in disorder, apt refuses; the program's own trial run will tell.
    let Ok(plan) = capture(console, &mut command, false) else { return Ok(packages) };
    for missing in to_install(&plan).filter(|missing| *missing != name) {
        packages.push(Package::look_up(missing, console)?);
    }
    Ok(packages)
}

/// The packages that a simulated installation would add.
fn to_install(plan: &str) -> impl Iterator<Item = &str> {
    plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
}

/// Fetches the packages into `folder/debs`; once more with fresh lists where these turn out to be outdated.
fn fetch(folder: &Path, packages: &[Package], console: &mut dyn Console) -> Result<(), Error> {
    let debs = folder.join("debs");
    fs::create_dir_all(&debs).map_err(Error::file("create", &debs))?;
    let root = is_root(console);
    let mut download = || {
        let mut command = apt("apt-get");
        if root {
            // apt would otherwise give up root for a user that cannot write here, and complain.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command.args(["--quiet", "download"]).args(packages.iter().map(|package| &package.name));
        capture(console, command.current_dir(&debs), false)
    };
    match download() {
        Err(Error::Failed { .. }) if root => {
            update(console)?;
            let mut command = apt("apt-get");
            command.args(["-o", "APT::Sandbox::User=root", "--quiet", "download"]);
            command.args(packages.iter().map(|package| &package.name)).current_dir(&debs);
            capture(console, &mut command, false).map(drop)
        }
        result => result.map(drop),
    }
}

fn unpack(folder: &Path, console: &mut dyn Console) -> Result<(), Error> {
    // A truncated archive makes tar fail, so it speaks for the whole pipe.
    const EXTRACT: &str =
        "deb=$1; folder=$2; shift 2; dpkg-deb --fsys-tarfile \"$deb\" | tar -x -C \"$folder\" \"$@\"";
    let debs = folder.join("debs");
    for deb in files(&debs, 1)? {
        let mut command = Command::new("sh");
        command.args(["-c", EXTRACT, "unpack"]).arg(&deb).arg(folder);
        command.arg("--no-wildcards-match-slash").args(UNNEEDED.map(|path| format!("--exclude={path}")));
        capture(console, &mut command, false)?;
    }
    fs::remove_dir_all(&debs).map_err(Error::file("delete", &debs))
}

/// The files below a folder, down to a depth, links included and not followed.
fn files(folder: &Path, depth: usize) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(Error::file("read", folder))? {
        let entry = entry.map_err(Error::file("read", folder))?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(Error::file("read", &path))?.is_dir();
        if !is_folder {
            found.push(path);
        } else if depth > 1 {
            found.extend(files(&path, depth - 1)?);
        }
    }
    found.sort();
    Ok(found)
}

fn update(console: &mut dyn Console) -> Result<(), Error> {
    console.say("wasm std: apt-get update (apt's lists are missing or outdated)");
    capture(console, apt("apt-get").args(["--quiet", "update"]), false).map(drop)
}

/// Whether apt has no lists at all, as in a fresh container.
fn no_lists() -> bool {
    let Ok(entries) = Path::new("/var/lib/apt/lists").read_dir() else { return true };
    !entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn is_root(console: &mut dyn Console) -> bool {
    capture(console, Command::new("id").arg("-u"), false).is_ok_and(|id| id.trim() == "0")
}

/// An apt program whose output can be read by us, whatever the language of the user.
fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(Error::file("make executable", path))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<(), Error> {
    // No Debian there: the commands before this one have failed already.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Package: libstd-rust-web-1.96
Source: rustc-web
Version: 1.96.0+dfsg1-1~deb12u2
Depends: libc6 (>= 2.34), libllvm22, libfoo:any (>= 1) | libbar
Description: Rust standard libraries
 Size: not this one
Size: 21977620

Package: another
Version: 1
Size: 1
";

    #[test]
    fn what_apt_shows_is_understood() {
        let package = Package::parse(SHOWN).unwrap();
        assert_eq!(package.name, "libstd-rust-web-1.96");
        assert_eq!(package.version, "1.96.0+dfsg1-1~deb12u2");
        assert_eq!(package.depends, ["libc6", "libllvm22", "libfoo"]);
        assert_eq!(package.size, 21_977_620);
        assert_eq!(package.dependency("libllvm").unwrap(), "libllvm22");
        assert!(package.dependency("libstd").unwrap_err().to_string().contains("apt-get update"));
        assert_eq!(Package::parse(""), None);
    }

    #[test]
    fn a_simulated_installation_names_what_is_missing() {
        let plan = "NOTE: This is only a simulation!\nInst libz3-4 (4.8 Debian:12 [amd64])\nInst libllvm22 (22)\nConf libllvm22 (22)\n";
        assert_eq!(to_install(plan).collect::<Vec<_>>(), ["libz3-4", "libllvm22"]);
    }

    #[test]
    fn what_an_interrupted_attempt_left_is_removed_and_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let partial = parent(&cache).join(format!("{PARTIAL}-1"));
        fs::create_dir_all(partial.join("usr/bin")).unwrap();
        fs::write(partial.join("rustc"), "").unwrap();
        assert!(!is_cached(&cache));
        remove_partial(&parent(&cache)).unwrap();
        assert!(!partial.exists());
    }

    #[test]
    #[cfg(unix)]
    fn the_script_finds_its_libraries_wherever_the_folder_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let before = folder.path().join("before");
        for path in ["usr/bin", "usr/lib/machine", "usr/lib/rustlib/x/lib"] {
            fs::create_dir_all(before.join(path)).unwrap();
        }
        fs::write(before.join("usr/lib/machine/librustc_driver-1.so"), "").unwrap();
        fs::write(before.join("usr/lib/rustlib/x/lib/libother.so"), "").unwrap();
        let program = before.join("usr/bin/rustc");
        fs::write(&program, "#!/bin/sh\necho \"$LD_LIBRARY_PATH $*\"\n").unwrap();
        make_executable(&program).unwrap();
        COMPILER.write_script(&before).unwrap();

        let after = folder.path().join("after it");
        fs::rename(&before, &after).unwrap();
        let mut command = Command::new(after.join("rustc"));
        command.arg("-vV").env_remove("LD_LIBRARY_PATH");
        let output = capture(&mut crate::Terminal, &mut command, false).unwrap();
        assert_eq!(output.trim(), format!("{}/usr/lib/machine -vV", after.display()));
    }
}
