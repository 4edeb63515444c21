//! The one file of the operator, and the same as Rust values.
//!
//! Reading has three stages: what was typed, with every mistake of form at once (`table`); what it means (`file`,
//! `account`); and [`HostConfig`], which an embedder who has no file builds directly.

mod account;
mod file;
mod messages;
mod problem;
mod table;
mod tuning;

use core::fmt;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use attache_plugin_host::PluginConfig;
pub use messages::MessageConfig;
pub use problem::{ConfigError, Problem};
pub use tuning::{Tuning, TuningOutOfRange};

use crate::{Address, Directory, Error, IncomingCalls, MediaEngine, Phones, Secret, TokenSource};

/// Requests a second that a process starts by itself, unless configured otherwise.
pub(crate) const REFRESH_BUDGET: u32 = 200;

/// What a host is made of. Every default is safe: no account, no plugin, nothing on disk.
#[derive(Clone)]
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
    /// Whom to trust over TLS, and how to show who we are; accounts may have settings of their own.
    pub tls: TlsConfig,
    /// Name servers to ask (RFC 3263); empty asks those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// Requests a second that the accounts of this process may start by themselves, such as refreshes and retries:
    /// 1 to 100,000, default 200. What a person asks for does not wait.
    pub refresh_budget: u32,
    /// Where [`Messenger::search_directory`](crate::Messenger::search_directory) looks people up. Not part of the file: the
    /// application provides it.
    pub directory: Option<Arc<dyn Directory>>,
    /// Gives out access tokens when a service asks for one. Not part of the file.
    pub tokens: Option<Arc<dyn TokenSource>>,
    /// Sound and pictures of calls. Not part of the file.
    pub media: Option<Arc<dyn MediaEngine>>,
    /// Language and country of the person, as a tag of BCP 47 such as `en-GB`. None: those of the environment.
    pub locale: Option<String>,
}

impl fmt::Debug for HostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConfig")
            .field("data_dir", &self.data_dir)
            .field("accounts", &self.accounts)
            .field("plugins", &self.plugins)
            .field("tls", &self.tls)
            .field("name_servers", &self.name_servers)
            .field("refresh_budget", &self.refresh_budget)
            .finish_non_exhaustive()
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            data_dir: None,
            accounts: Vec::new(),
            plugins: Vec::new(),
            plugin_caps: None,
            tls: TlsConfig::default(),
            name_servers: Vec::new(),
            refresh_budget: REFRESH_BUDGET,
            directory: None,
            tokens: None,
            media: None,
            locale: None,
        }
    }
}

/// How connections over TLS are made (RFC 5922). Certificates of services are always checked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsConfig {
    /// Whom to trust.
    pub roots: Roots,
    /// Certificate of this side, where a service asks for one.
    pub identity: Option<Identity>,
}

/// Certificate authorities that are trusted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Roots {
    /// Those of the system.
    #[default]
    System,
    /// Only those in a file of PEM certificates.
    File(PathBuf),
}

/// A certificate of this side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// PEM file with the certificate, and those that lead to its root.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// How an account says who it is.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Credential {
    /// Digest authentication (RFC 7616, RFC 8760). An empty password is sent as it is.
    Password(Secret),
    /// A bearer token (RFC 8898), never sent but over TLS. Without one, [`TokenNeeded`](crate::EventKind::TokenNeeded) asks for
    /// it when the service does.
    Token(Option<Secret>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Token(_) => "Token",
        })
    }
}

/// One user of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AccountConfig {
    /// Address of record, such as `sip:alice@example.com`.
    pub address: Address,
    /// Shown to others; empty for none.
    pub display_name: String,
    /// Name for digest authentication where it is not the user part of the address.
    pub auth_user: Option<String>,
    /// Password or token.
    pub credential: Credential,
    /// Outbound proxy, such as `sip:sip.example.com;transport=tls`; `transport` is `udp`, `tcp`, `tls`, `ws` or `wss`.
    /// None: the service of the address's domain is looked up (RFC 3263).
    pub service: Option<String>,
    /// Path that WebSocket connections are opened at (RFC 7118), such as `/ws`. None: `/`.
    pub ws_path: Option<String>,
    /// Sign in as soon as the host starts (default), or when the application says so.
    pub sign_in: bool,
    /// TLS settings of this account; None takes those of the host.
    pub tls: Option<TlsConfig>,
    /// XCAP root (RFC 4825), such as `https://xcap.example.com/xcap-root`, where contacts and privacy rules are kept on
    /// the service. None keeps contacts in the local store only.
    pub xcap: Option<String>,
    /// Name of this account at the XCAP server (its XUI, RFC 4825, section 6.4), such as `sip:alice@example.com` or `alice`.
    /// None: the address.
    pub xcap_user: Option<String>,
    /// Address of a list that the service holds (RFC 4662), such as `sip:alice-list@example.com`. None: with XCAP one is
    /// made there, without it the list goes into the request or contacts are subscribed to one by one.
    pub list: Option<String>,
    /// Whether connections are registered by RFC 5626 where the service offers it. Default true.
    pub outbound: bool,
    /// Whether to ask for contacts' dialogs as well (RFC 4235), and show who is on the phone. One more subscription for
    /// each contact; many services tell it in presence by themselves. Default false.
    pub calls: bool,
    /// The person's own phone, which rings first in calls from here. None: the account's other devices.
    pub phone: Option<Address>,
    /// What becomes of calls to this account. Default: they are left to the person's phones.
    pub incoming_calls: IncomingCalls,
    /// The service's conference factory (RFC 4579), such as `sip:conference@example.com`, where conversations of several
    /// people are held together. None: each message goes to each of them.
    pub conference: Option<Address>,
    /// Name of the service, for people. None: the domain.
    pub service_name: Option<String>,
    /// The person's mail address.
    pub email: Option<String>,
    /// The person's telephone numbers.
    pub phones: Phones,
    /// What is told of messages, taken and kept.
    pub messages: MessageConfig,
    /// Times and bounds.
    pub tuning: Tuning,
}

impl AccountConfig {
    /// An account with defaults for the rest.
    #[must_use]
    pub fn new(address: Address, password: Secret) -> Self {
        Self::with(address, Credential::Password(password))
    }

    /// An account that shows a bearer token, with defaults for the rest. `None` waits until the service asks for one.
    #[must_use]
    pub fn with_token(address: Address, token: Option<Secret>) -> Self {
        Self::with(address, Credential::Token(token))
    }

    fn with(address: Address, credential: Credential) -> Self {
        Self {
            address,
            display_name: String::new(),
            auth_user: None,
            credential,
            service: None,
            ws_path: None,
            sign_in: true,
            tls: None,
            xcap: None,
            xcap_user: None,
            list: None,
            outbound: true,
            calls: false,
            phone: None,
            incoming_calls: IncomingCalls::default(),
            conference: None,
            service_name: None,
            email: None,
            phones: Phones::default(),
            messages: MessageConfig::default(),
            tuning: Tuning::default(),
        }
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

    /// The same account with an XCAP root.
    #[must_use]
    pub fn xcap(mut self, root: impl Into<String>) -> Self {
        self.xcap = Some(root.into());
        self
    }

    /// The same account with TLS settings of its own.
    #[must_use]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
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

    /// Reads the files that TLS settings name, of the host and of each account, and checks what they hold.
    ///
    /// # Errors
    /// Every one that cannot be used, with the account that it belongs to.
    pub fn check_tls(&self) -> Result<(), Vec<Error>> {
        let host = crate::common::ready(&self.tls).err();
        let accounts = self.accounts.iter().filter_map(|account| {
            let error = crate::common::ready(account.tls.as_ref()?).err()?;
            let cause = error.cause().unwrap_or_default().to_owned();
            let words = format!("the TLS settings of {} cannot be used", account.address);
            Some(Error::new(error.code(), words).because(cause))
        });
        let wrong: Vec<Error> = host.into_iter().chain(accounts).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
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
