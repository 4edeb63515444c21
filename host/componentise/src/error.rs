use std::io;
use std::path::{Path, PathBuf};

/// Why a plugin could not be built.
///
/// Every message says what to do about it, because its reader is a plugin author in the middle of something else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no core WebAssembly module.
    #[error("this is not a core WebAssembly module")]
    NotAModule,
    /// The bytes are a component already.
    #[error("this is a component already; it can be loaded as it is")]
    AlreadyAComponent,
    /// The module says nothing about the world that it was built for.
    #[error(
        "the module has no component-type section: it was not built with wit-bindgen bindings, or the linker dropped them"
    )]
    NoComponentType,
    /// The module does not fit the world that it names.
    #[error("the module does not make a valid component: {0}")]
    Encode(String),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was tried, such as "create".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`: is it installed, and in PATH?")]
    Start {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A program ran and failed; it said why itself, or `output` has it.
    #[error("`{command}` failed{}{output}", if output.is_empty() { "" } else { ":\n" })]
    Failed {
        /// The command line.
        command: String,
        /// What it wrote, where that was not shown already.
        output: String,
    },
    /// `ATTACHE_WASM_STD` has a value that means nothing.
    #[error("ATTACHE_WASM_STD is `{0}`; it can be `installed`, `rustup` or `debian`, or be left out")]
    UnknownStrategy(String),
    /// `ATTACHE_WASM_STD=installed`, and it is not.
    #[error("the {target} standard library is not installed; run `rustup target add {target}`", target = crate::TARGET)]
    NotInstalled,
    /// apt knows no such package.
    #[error(
        "apt knows no package `{package}`; run `apt-get update` as root, or install the standard library with \
         `rustup target add {target}`",
        target = crate::TARGET
    )]
    NoPackage {
        /// The package.
        package: String,
    },
    /// None of the ways worked.
    #[error("no way to a {target} standard library worked; run `rustup target add {target}`.\n{reasons}", target = crate::TARGET)]
    NoStd {
        /// What each way said, one a line.
        reasons: String,
    },
    /// No linker for WebAssembly.
    #[error(
        "no linker for WebAssembly; run `apt-get install lld` as root, or use Rust from rustup, which has one"
    )]
    NoLinker,
    /// No place to cache in.
    #[error("neither XDG_CACHE_HOME nor HOME is set; set XDG_CACHE_HOME to a folder that can be written")]
    NoCacheFolder,
    /// cargo wrote something that is no build message.
    #[error("cannot understand what cargo wrote: {0}")]
    CargoOutput(String),
    /// The build made no component.
    #[error("{manifest} has no guest: a guest is a library with `crate-type = [\"cdylib\"]`", manifest = .0.display())]
    NoGuest(PathBuf),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
