//! The one file of the operator, and the same as Rust values.
//!
//! Reading has two stages: what was typed (private types that mirror TOML, with places) and what it means
//! ([`HostConfig`]), so that an embedder who has no file builds the second directly.

mod file;
mod problem;

use std::path::{Path, PathBuf};

pub use attache_plugin_host::PluginConfig;
pub use problem::{ConfigError, Problem};

use crate::{Address, Secret};

/// What a host is made of. Every default is safe: no account, no plugin, nothing on disk.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HostConfig {
    /// Folder of the database and of the cache of compiled plugins; created with mode 0700. None keeps
    /// everything in memory, and a restart forgets it.
    pub data_dir: Option<PathBuf>,
    /// Signed-in users.
    pub accounts: Vec<AccountConfig>,
    /// Plugins.
    pub plugins: Vec<PluginConfig>,
    /// Upper bounds for the limits of every plugin; an operator's file cannot go beyond.
    pub plugin_caps: Option<attache_plugin_host::Limits>,
}

/// One user of a service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccountConfig {
    /// Address of record, such as `sip:alice@example.com`.
    pub address: Address,
    /// Shown to others; empty for none.
    pub display_name: String,
    /// Name for digest authentication where it is not the user part of the address.
    pub auth_user: Option<String>,
    /// Password; an empty one is sent as it is.
    pub password: Secret,
    /// Outbound proxy, such as `sip:sip.example.com;transport=tcp`. None: the domain of the address is asked.
    pub service: Option<String>,
    /// Sign in as soon as the host starts (default), or when the application says so.
    pub sign_in: bool,
}

impl AccountConfig {
    /// An account with defaults for the rest.
    #[must_use]
    pub fn new(address: Address, password: Secret) -> Self {
        Self { address, display_name: String::new(), auth_user: None, password, service: None, sign_in: true }
    }

    /// The same account with an outbound proxy.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// The same account with a name that others see.
    #[must_use]
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = name.into();
        self
    }
}

impl HostConfig {
    /// Reads a file. Relative paths in it start at its folder.
    ///
    /// # Errors
    /// Every problem in the file at once, each with its line and key.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        Self::from_toml(&text_of(path)?, path)
    }

    /// As [`from_file`](Self::from_file) for a reader that signs nobody in: passwords that stand in the environment or
    /// in files are not fetched, and are empty.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_file_without_secrets(path: &Path) -> Result<Self, ConfigError> {
        file::read(&text_of(path)?, path, false)
    }

    /// Reads TOML text. `path` is named in problems, and relative paths start at its folder.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        file::read(text, path, true)
    }
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::InvalidData => "the file is not UTF-8 text".to_owned(),
            _ => format!("the file cannot be read: {error}"),
        };
        let file = path.to_owned();
        ConfigError {
            problems: vec![Problem { file, line: 0, key: String::new(), message, suggestion: None }],
        }
    })
}
