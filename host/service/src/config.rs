//! What the operator writes, in TOML.
//!
//! ```
//! let config = attache_service::ServiceConfig::parse(r#"
//!     [service]
//!     listen = "127.0.0.1:5060"
//!     domains = ["example.com"]
//!
//!     [[user]]
//!     name = "alice"
//!     password = { env = "ALICE_PASSWORD" }
//!
//!     [[user]]
//!     name = "bob"
//!     ha1-sha256 = "1f39a70c1a2f0a7a5c2f0a1c9d0a7c1a2f39a70c1a2f0a7a5c2f0a1c9d0a7c1a"
//! "#)?;
//! assert_eq!(config.users[1].name, "bob");
//! # Ok::<(), attache_service::ConfigError>(())
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use attache_net::{Identity, TlsOptions};
use attache_sip::digest::{Algorithm, Password, Secret, ha1};
use attache_sip::uri::Uri;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use crate::directory::digits;
use crate::limits::Limits;
use crate::problem::Problem;
use crate::rules::DefaultPolicy;
use crate::tokens::TokenOptions;

/// Why a configuration was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no TOML, or a key or a type is wrong.
    #[error("{0}")]
    Unusable(Problem),
    /// The file cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A value cannot be used.
    #[error("{key}: {what}")]
    Value {
        /// Where, such as `user.alice.password`.
        key: String,
        /// What is wrong with it.
        what: String,
    },
}

impl ConfigError {
    fn value(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Value { key: key.into(), what: what.into() }
    }
}

/// The whole configuration: the tables `[service]` and `[[user]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServiceConfig {
    /// `[service]`.
    #[serde(default)]
    pub service: ServiceOptions,
    /// `[[user]]`, one each.
    #[serde(default, rename = "user")]
    pub users: Vec<UserConfig>,
    /// `[[list]]`, one each.
    #[serde(default, rename = "list")]
    pub lists: Vec<ListConfig>,
    /// The folder that relative paths start from: that of the file, when there is one.
    #[serde(skip)]
    pub base: PathBuf,
}

/// `[service]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ServiceOptions {
    /// One address or several. Port 0 takes a free one. `127.0.0.1:5060` when left out.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Where TLS is listened for: one address or several, usually with port 5061. Needs `[service.tls]`. Nowhere when left
    /// out.
    #[serde(deserialize_with = "addresses")]
    pub listen_tls: Vec<SocketAddr>,
    /// Where SIP over WebSocket (RFC 7118) is listened for, without encryption: for tests, or behind a proxy that has the
    /// certificate. Nowhere when left out.
    #[serde(deserialize_with = "addresses")]
    pub listen_ws: Vec<SocketAddr>,
    /// Where SIP over WebSocket over TLS is listened for. Needs `[service.tls]`. Nowhere when left out.
    #[serde(deserialize_with = "addresses")]
    pub listen_wss: Vec<SocketAddr>,
    /// The path of WebSockets. `"/"`.
    pub ws_path: String,
    /// `[service.tls]`.
    pub tls: Option<TlsFiles>,
    /// `udp`, `tcp`, or both, which is the default.
    pub transports: Vec<TransportKind>,
    /// The domains that this service is responsible for. Those of `listen` when left out, which suits an experiment.
    #[serde(alias = "domain", deserialize_with = "one_or_many")]
    pub domains: Vec<String>,
    /// The realm of passwords; the first domain when left out. Hashes (`ha1-…`) are made for one realm.
    pub realm: Option<String>,
    /// The way that registered clients are to send their requests (RFC 3608): addresses such as
    /// `sip:proxy.example.com;lr`, nearest to the client first. None when left out.
    #[serde(deserialize_with = "one_or_many")]
    pub service_route: Vec<String>,
    /// The address that peers reach, where `listen` is a wildcard.
    pub advertise: Option<IpAddr>,
    /// Where users' documents are served over HTTP (XCAP): one address or several, with `/xcap-root` as the root. Nowhere
    /// when left out. Over HTTPS where there is `[service.tls]`.
    #[serde(deserialize_with = "addresses")]
    pub xcap: Vec<SocketAddr>,
    /// The address that makes a new conference for each call (RFC 4579), such as `sip:conference@example.com`. Needs
    /// `listen-msrp` or `listen-msrp-tls`. Without it there are no conferences.
    pub conference: Option<String>,
    /// Where connections for the messages of conferences (MSRP, RFC 4975) are listened for: one address or several, usually
    /// with port 2855. Nowhere when left out.
    #[serde(deserialize_with = "addresses")]
    pub listen_msrp: Vec<SocketAddr>,
    /// The same over TLS. Needs `[service.tls]`. Nowhere when left out; then accounts that come over TLS or WSS, and will not
    /// have their messages go in the clear, cannot join.
    #[serde(deserialize_with = "addresses")]
    pub listen_msrp_tls: Vec<SocketAddr>,
    /// What watchers of a user see who keeps no rules (RFC 5025): `allow`, which is the default, shows them everything;
    /// `confirm` has them wait until the user has decided. Users see themselves whatever the rules say.
    pub default_policy: DefaultPolicy,
    /// Where messages for people who are not there, and users' documents, are kept across restarts. In memory when left
    /// out.
    pub data_dir: Option<PathBuf>,
    /// `[service.tokens]`.
    pub tokens: Option<TokenOptions>,
    /// `[service.limits]`.
    pub limits: Limits,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv4Addr::LOCALHOST, 5060).into()],
            listen_tls: Vec::new(),
            listen_ws: Vec::new(),
            listen_wss: Vec::new(),
            ws_path: "/".to_owned(),
            tls: None,
            transports: vec![TransportKind::Udp, TransportKind::Tcp],
            domains: Vec::new(),
            realm: None,
            service_route: Vec::new(),
            advertise: None,
            xcap: Vec::new(),
            conference: None,
            listen_msrp: Vec::new(),
            listen_msrp_tls: Vec::new(),
            default_policy: DefaultPolicy::default(),
            data_dir: None,
            tokens: None,
            limits: Limits::default(),
        }
    }
}

/// `[service.tls]`: who the service is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsFiles {
    /// A file of PEM: the certificate, which names the domain (RFC 5922), and those that lead to its root.
    pub certificate: PathBuf,
    /// A file of PEM: the private key.
    pub key: PathBuf,
}

impl ServiceOptions {
    /// What TLS is to be made of, if it is wanted.
    pub(crate) fn tls(&self, base: &Path) -> Result<Option<TlsOptions>, ConfigError> {
        let Some(files) = &self.tls else {
            let needs = [
                ("listen-tls", &self.listen_tls),
                ("listen-wss", &self.listen_wss),
                ("listen-msrp-tls", &self.listen_msrp_tls),
            ];
            return match needs.iter().find(|(_, addresses)| !addresses.is_empty()) {
                Some((key, _)) => Err(ConfigError::value(
                    format!("service.{key}"),
                    "it needs `[service.tls]` with `certificate` and `key`",
                )),
                None => Ok(None),
            };
        };
        let (certificate, key) = (base.join(&files.certificate), base.join(&files.key));
        Ok(Some(TlsOptions { identity: Some(Identity::Files { certificate, key }), ..TlsOptions::default() }))
    }

    /// [`service_route`](Self::service_route) as it stands in headers.
    pub(crate) fn service_routes(&self) -> Vec<String> {
        let bracketed = |route: &String| match route.starts_with('<') {
            true => route.clone(),
            false => format!("<{route}>"),
        };
        self.service_route.iter().map(bracketed).collect()
    }
}

/// A transport that the service can listen on.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// `[[list]]`: people whose presence can be watched with one subscription (RFC 4662).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ListConfig {
    /// The address to subscribe to, such as `sip:everybody@example.com`. It must not be a user's.
    pub address: String,
    /// The addresses of those in it; another list's address stands for all in that.
    pub members: Vec<String>,
    /// The users who may subscribe to it, by address or name; all when left out.
    #[serde(default)]
    pub watchers: Vec<String>,
}

/// `[[user]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UserConfig {
    /// The user part of the address, and the user name of the password.
    pub name: String,
    /// The password; users of `[service.tokens]` need none: text, `{ env = "NAME" }`, or `{ file = "path" }` (the file's first line).
    #[serde(default)]
    pub password: Option<PasswordSource>,
    /// Instead of the password, `SHA-256(name:realm:password)` in hexadecimal.
    #[serde(default, deserialize_with = "hash")]
    pub ha1_sha256: Option<Secret>,
    /// Instead of the password, `MD5(name:realm:password)` in hexadecimal.
    #[serde(default, deserialize_with = "hash")]
    pub ha1_md5: Option<Secret>,
    /// The domains in which the user exists; all of the service when left out.
    #[serde(default, alias = "domain", deserialize_with = "one_or_many")]
    pub domains: Vec<String>,
    /// Telephone numbers that stand for the user, as `tel:` addresses have them: with `+` and the country's code, or short
    /// ones of the house.
    #[serde(default, alias = "number", deserialize_with = "one_or_many")]
    pub numbers: Vec<String>,
}

/// Where a password is.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum PasswordSource {
    /// Here.
    Text(String),
    /// Elsewhere.
    Elsewhere(Elsewhere),
}

/// A place outside the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Elsewhere {
    /// An environment variable.
    Env(String),
    /// The first line of a file.
    File(PathBuf),
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("<text>"),
            Self::Elsewhere(place) => place.fmt(f),
        }
    }
}

impl ServiceConfig {
    /// Reads TOML.
    ///
    /// # Errors
    /// [`ConfigError::Unusable`], which names the line and the key. Passwords are looked up later, by [`accounts`](Self::accounts).
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Unusable(Problem::new(None, text, &error)))
    }

    /// Reads a file of TOML.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or those of [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Unusable(Problem::new(Some(path), &text, &error)))?;
        config.base = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(config)
    }

    /// The domains, in lower case: those of the configuration, else the addresses listened on.
    pub fn domains(&self) -> Vec<String> {
        let mut domains: Vec<_> =
            self.service.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
        if domains.is_empty() {
            domains.extend(self.service.listen.iter().map(|address| host_text(address.ip())));
        }
        domains.dedup();
        domains
    }

    /// The realm of passwords.
    pub fn realm(&self) -> String {
        let named = self.service.realm.clone();
        named.or_else(|| self.domains().into_iter().next()).unwrap_or_else(|| "localhost".into())
    }

    /// Looks the passwords up.
    ///
    /// # Errors
    /// [`ConfigError::Value`], which names the user and key.
    pub fn accounts(&self) -> Result<Vec<Account>, ConfigError> {
        let (domains, realm) = (self.domains(), self.realm());
        let mut accounts: Vec<Account> = Vec::with_capacity(self.users.len());
        let mut known = std::collections::HashSet::new();
        let mut numbers = std::collections::HashSet::new();
        for user in &self.users {
            let key = |key: &str| format!("user.{}.{key}", user.name);
            let by_token = self.service.tokens.is_some();
            let account = user.account(&self.base, &domains, &realm, by_token, key)?;
            for domain in &account.domains {
                if !known.insert((account.name.clone(), domain.clone())) {
                    return Err(ConfigError::value(
                        key("name"),
                        format!("there are two of them in {domain}"),
                    ));
                }
            }
            if let Some(number) = account.numbers.iter().find(|number| !numbers.insert((*number).clone())) {
                return Err(ConfigError::value(
                    key("numbers"),
                    format!("{number} stands for somebody already"),
                ));
            }
            accounts.push(account);
        }
        Ok(accounts)
    }
}

impl ServiceConfig {
    /// The lists, once it is sure that each can be used.
    ///
    /// # Errors
    /// [`ConfigError::Value`], which names the list and key.
    pub fn lists(&self) -> Result<Vec<ListConfig>, ConfigError> {
        let domains = self.domains();
        let served = |user: &UserConfig, domain: &str| match user.domains.is_empty() {
            true => domains.iter().any(|ours| ours == domain),
            false => user.domains.iter().any(|own| own.eq_ignore_ascii_case(domain)),
        };
        let is_user = |name: &str, domain: &str| {
            self.users.iter().any(|user| user.name == name && served(user, domain))
        };
        let is_ours = |domain: &str| {
            domains.iter().any(|ours| ours == domain) || self.users.iter().any(|user| served(user, domain))
        };
        let mut known = std::collections::HashSet::new();
        for list in &self.lists {
            let wrong = |key: &str, what: String| {
                Err(ConfigError::value(format!("list.{}.{key}", list.address), what))
            };
            let Some((name, domain)) = parts(&list.address) else {
                return wrong("address", "it is no address such as `sip:everybody@example.com`".to_owned());
            };
            if !is_ours(&domain) {
                return wrong("address", format!("{domain} is none of the service's domains"));
            }
            if is_user(&name, &domain) {
                return wrong("address", "it is a user's".to_owned());
            }
            if !known.insert((name, domain)) {
                return wrong("address", "there are two lists of that address".to_owned());
            }
            if let Some(member) = list.members.iter().find(|member| Uri::parse_str(member).is_err()) {
                return wrong("members", format!("`{member}` is no address"));
            }
            if list.members.len() > self.service.limits.list_entries {
                return wrong("members", format!("there are more than {}", self.service.limits.list_entries));
            }
            let is_known = |watcher: &&String| match parts(watcher) {
                Some((name, domain)) => is_user(&name, &domain),
                None => self.users.iter().any(|user| user.name == **watcher),
            };
            if let Some(watcher) = list.watchers.iter().find(|watcher| !is_known(watcher)) {
                return wrong("watchers", format!("`{watcher}` is no user"));
            }
        }
        Ok(self.lists.clone())
    }
}

impl ServiceConfig {
    /// The address of the factory of conferences, once it is sure that it can be used.
    pub(crate) fn conference(&self) -> Result<Option<String>, ConfigError> {
        let wrong = |what: String| Err(ConfigError::value("service.conference", what));
        let Some(address) = &self.service.conference else { return Ok(None) };
        let Some((name, domain)) = parts(address) else {
            return wrong("it is no address such as `sip:conference@example.com`".to_owned());
        };
        if !self.domains().contains(&domain) {
            return wrong(format!("{domain} is none of the service's domains"));
        }
        if self.users.iter().any(|user| user.name == name)
            || self.lists.iter().any(|list| parts(&list.address) == Some((name.clone(), domain.clone())))
        {
            return wrong("it is a user's or a list's".to_owned());
        }
        if self.service.listen_msrp.is_empty() && self.service.listen_msrp_tls.is_empty() {
            return wrong("it needs `listen-msrp` or `listen-msrp-tls`".to_owned());
        }
        Ok(Some(address.clone()))
    }
}

/// The user and the domain of an address.
fn parts(address: &str) -> Option<(String, String)> {
    let uri = Uri::parse_str(address).ok()?;
    Some((uri.user()?.to_owned(), uri.host()?.to_string().to_ascii_lowercase()))
}

impl UserConfig {
    fn account(
        &self,
        base: &Path,
        domains: &[String],
        realm: &str,
        by_token: bool,
        key: impl Fn(&str) -> String,
    ) -> Result<Account, ConfigError> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/%".contains(c);
        if self.name.is_empty() || self.name.len() > 128 || !self.name.chars().all(valid) {
            return Err(ConfigError::value(key("name"), "it is no user part of an address"));
        }
        let domains: Vec<String> = if self.domains.is_empty() {
            domains.to_vec()
        } else {
            self.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect()
        };
        let password = match &self.password {
            None => None,
            Some(PasswordSource::Text(text)) => Some(text.clone()),
            Some(PasswordSource::Elsewhere(Elsewhere::Env(name))) => {
                Some(std::env::var(name).map_err(|_| {
                    ConfigError::value(key("password"), format!("the environment variable {name} is not set"))
                })?)
            }
            Some(PasswordSource::Elsewhere(Elsewhere::File(path))) => {
                let path = base.join(path);
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    ConfigError::value(key("password"), format!("{}: {error}", path.display()))
                })?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        if password.as_deref() == Some("") {
            return Err(ConfigError::value(key("password"), "it is empty"));
        }
        // Only hashes are kept from here on.
        let hashed = |algorithm, given: &Option<Secret>| match (&password, given) {
            (Some(password), _) => {
                let password = Secret::new(password.clone());
                Some(Password::Ha1(algorithm, Secret::new(ha1(algorithm, &self.name, realm, &password))))
            }
            (None, Some(hash)) => Some(Password::Ha1(algorithm, hash.clone())),
            (None, None) => None,
        };
        let sha256 = hashed(Algorithm::Sha256, &self.ha1_sha256);
        let md5 = hashed(Algorithm::Md5, &self.ha1_md5);
        // Where there are tokens, a user may have nothing else.
        if sha256.is_none() && md5.is_none() && !by_token {
            return Err(ConfigError::value(
                key("password"),
                "it is missing, and so are `ha1-sha256` and `ha1-md5`",
            ));
        }
        let by_address = |password: &String| {
            let password = Secret::new(password.clone());
            let one = |domain: &String| {
                let user = format!("{}@{domain}", self.name);
                let hash = |algorithm| {
                    Password::Ha1(algorithm, Secret::new(ha1(algorithm, &user, realm, &password)))
                };
                ByAddress { sha256: hash(Algorithm::Sha256), md5: hash(Algorithm::Md5), user }
            };
            domains.iter().map(one).collect()
        };
        let by_address = password.as_ref().map(by_address).unwrap_or_default();
        let wrong = self.numbers.iter().find(|number| digits(number).is_none());
        if let Some(number) = wrong {
            return Err(ConfigError::value(key("numbers"), format!("`{number}` is no telephone number")));
        }
        let numbers = self.numbers.iter().filter_map(|number| digits(number)).collect();
        Ok(Account { name: self.name.clone(), domains, sha256, md5, by_address, numbers })
    }
}

/// A user whose password was found. It holds hashes only.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user part.
    pub name: String,
    /// Domains, in lower case.
    pub domains: Vec<String>,
    /// For digests with SHA-256.
    pub sha256: Option<Password>,
    /// For digests with MD5.
    pub md5: Option<Password>,
    /// For clients that take the whole address for the name; empty where only hashes are configured.
    pub(crate) by_address: Vec<ByAddress>,
    /// Telephone numbers without what only makes them easier to read.
    pub(crate) numbers: Vec<String>,
}

/// The password of a user under one of the names that clients make of the address.
#[derive(Clone, Debug)]
pub(crate) struct ByAddress {
    pub(crate) user: String,
    pub(crate) sha256: Password,
    pub(crate) md5: Password,
}

pub(crate) fn host_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A string, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Self::Value, E> {
            Ok(vec![one.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut many = Vec::new();
            while let Some(one) = list.next_element()? {
                many.push(one);
            }
            Ok(many)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

/// An address with its port, or a list of them.
fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let read = |text: &String| {
        text.parse().map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is no IP address with a port, such as \"127.0.0.1:5060\" or \"[::1]:5060\""
            ))
        })
    };
    one_or_many(deserializer)?.iter().map(read).collect()
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let text = String::deserialize(deserializer)?;
    // The length says which hash it is; a mistake here would be a password that never works.
    if !matches!(text.len(), 32 | 64) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(serde::de::Error::custom("a hash is 32 (MD5) or 64 (SHA-256) hexadecimal digits"));
    }
    Ok(Some(Secret::new(text.to_ascii_lowercase())))
}

#[cfg(test)]
mod tests;
