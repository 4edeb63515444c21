//! Why a plugin, or the host, does not start.

use std::{io, path::PathBuf};

use crate::config::ConfigError;

/// Why a plugin was refused. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Its configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The component.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The file is larger than `component-size`.
    #[error("{} is larger than its limit of {limit}: raise `limits.component-size`", path.display())]
    TooLarge {
        /// The component.
        path: PathBuf,
        /// The limit.
        limit: crate::units::ByteSize,
    },
    /// The file is not the one that was pinned.
    #[error("{} has the SHA-256 {found}, but {pinned} is pinned", path.display())]
    Pin {
        /// The component.
        path: PathBuf,
        /// What the configuration says.
        pinned: crate::config::Sha256Pin,
        /// What the file has.
        found: crate::config::Sha256Pin,
    },
    /// The file is no WebAssembly component, or a damaged one.
    #[error("{} is no valid WebAssembly component: {reason}", path.display())]
    Invalid {
        /// The component.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The component is for something else.
    #[error(
        "{} exports none of the interfaces of attache:messenger, so it is no plugin; it exports {exports}",
        path.display()
    )]
    NoPlugin {
        /// The component.
        path: PathBuf,
        /// What it exports.
        exports: String,
    },
    /// The component wants what this host does not have.
    #[error("{} imports `{import}`, which this host does not offer", path.display())]
    UnknownImport {
        /// The component.
        path: PathBuf,
        /// The interface.
        import: String,
    },
    /// An interface has another shape than the host's.
    #[error("{} does not fit this host: {reason}", path.display())]
    Incompatible {
        /// The component.
        path: PathBuf,
        /// Which function of which interface.
        reason: String,
    },
    /// Compiling took too long.
    #[error("compiling {} took longer than {limit}: raise `limits.compile-time`", path.display())]
    CompileTime {
        /// The component.
        path: PathBuf,
        /// The limit.
        limit: crate::units::Period,
    },
}

/// Why the host does not start. A plugin that is wrong does not stop it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// WebAssembly does not work on this machine.
    #[error("cannot set up WebAssembly: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("cannot start a thread for plugins: {0}")]
    Thread(#[from] io::Error),
}
