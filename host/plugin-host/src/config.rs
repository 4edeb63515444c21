//! The configuration of one plugin: what stands under `[[plugin]]` in the operator's file.
//!
//! The types here are read from TOML as they are, and can be made by an embedder as Rust values. Where the file is
//! and which line grants what is not part of the text: whoever reads the file adds it as [`ConfigLocation`], and
//! every refusal then names the line that an operator has to change.

use core::fmt;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    grant::Grant,
    limits::{LimitOutOfRange, Limits},
};

/// One plugin.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginConfig {
    /// Its name: unique in the file, 1 to 64 characters of `a-z`, `0-9` and `-`. What the plugin keeps is kept
    /// under this name, so another name is another plugin.
    pub name: Arc<str>,
    /// The component: a path of a file.
    pub component: PathBuf,
    /// Pin: the SHA-256 of the file, in hexadecimal. Another file is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Pin>,
    /// Which accounts the plugin serves: addresses, in which `*` stands for any characters. Default: all.
    #[serde(default = "every_account")]
    pub accounts: Vec<AccountPattern>,
    /// What it may do. Default: nothing.
    #[serde(default)]
    pub grants: BTreeSet<Grant>,
    /// What it may use up.
    #[serde(default)]
    pub limits: Limits,
    /// Handed to the plugin through `wasi:config`, as text: keys of nested tables are joined with dots
    /// (`texts.away`), items of lists are numbered (`never.0`), numbers and dates are as in TOML.
    #[serde(default, deserialize_with = "config_table")]
    pub config: BTreeMap<String, String>,
    /// Whether each account has an instance of its own.
    #[serde(default)]
    pub scope: Scope,
    /// Where this stands.
    #[serde(skip)]
    pub location: Option<ConfigLocation>,
}

impl PluginConfig {
    /// A plugin for all accounts, with no grants and the default limits.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, component: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            component: component.into(),
            sha256: None,
            accounts: every_account(),
            grants: BTreeSet::new(),
            limits: Limits::default(),
            config: BTreeMap::new(),
            scope: Scope::Account,
            location: None,
        }
    }

    /// Checks what the types alone cannot: the name, and the ranges of the limits.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(fine) {
            return Err(ConfigError::Name(self.name.to_string()));
        }
        self.limits.validate()?;
        Ok(())
    }

    /// Where `grants` stands, or would have to, as `file:line`; a word where no file is known.
    #[must_use]
    pub fn grants_place(&self) -> String {
        match &self.location {
            Some(at) => format!("{}:{}", at.file.display(), at.grants_line.unwrap_or(at.plugin_line)),
            None => "the plugin's configuration".to_owned(),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The name cannot be one.
    #[error("`{0}` is no name for a plugin: use 1 to 64 characters of a-z, 0-9 and -")]
    Name(String),
    /// Two plugins have the same name.
    #[error("there are two plugins named `{0}`")]
    DuplicateName(String),
    /// A limit is out of its range.
    #[error(transparent)]
    Limit(#[from] LimitOutOfRange),
}

/// Where a plugin's configuration stands. Lines count from 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigLocation {
    /// The file, as a person would name it.
    pub file: PathBuf,
    /// The line of `[[plugin]]`.
    pub plugin_line: u32,
    /// The line of `grants`, if there is one.
    pub grants_line: Option<u32>,
}

/// Whether each account has an instance of its own.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One instance for each account; no data crosses.
    #[default]
    Account,
    /// One instance sees every account that `accounts` names.
    Host,
}

/// The SHA-256 of a component's file.
#[derive(Copy, Clone, Eq, PartialEq)]
pub struct Sha256Pin(pub [u8; 32]);

impl fmt::Display for Sha256Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom("not a SHA-256: 64 hexadecimal digits are wanted");
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = core::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Addresses of accounts; `*` stands for any characters. Compared without regard to case, and `sip:` may be left out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AccountPattern(String);

impl AccountPattern {
    /// A pattern, such as `*@example.com`.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an account's address matches.
    #[must_use]
    pub fn matches(&self, address: &str) -> bool {
        let pattern = self.0.trim().to_ascii_lowercase();
        let address = address.to_ascii_lowercase();
        glob(pattern.as_bytes(), address.as_bytes())
            || address.split_once(':').is_some_and(|(_, rest)| glob(pattern.as_bytes(), rest.as_bytes()))
    }
}

/// Matches with a single point of return, so that no pattern takes more than `pattern * text` steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match back {
                Some((after, from)) => {
                    back = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn every_account() -> Vec<AccountPattern> {
    vec![AccountPattern::new("*")]
}

fn config_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    let mut flat = BTreeMap::new();
    for (key, value) in table {
        flatten(key, value, &mut flat);
    }
    Ok(flat)
}

/// `wasi:config` knows text only: keys of nested tables are joined with dots, items of lists are numbered.
fn flatten(key: String, value: toml::Value, flat: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (inner, value) in table {
                flatten(format!("{key}.{inner}"), value, flat);
            }
        }
        toml::Value::Array(items) => {
            for (index, value) in items.into_iter().enumerate() {
                flatten(format!("{key}.{index}"), value, flat);
            }
        }
        toml::Value::String(text) => {
            flat.insert(key, text);
        }
        other => {
            flat.insert(key, other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_manual_is_read() {
        let plugin: PluginConfig = toml::from_str(
            r#"
            name = "auto-reply"
            component = "plugins/auto-reply.wasm"
            accounts = ["*"]
            grants = ["contacts.read", "messages.receive", "messages.send"]
            limits = { memory = "16MiB", cpu-per-event = "20ms", messages-per-minute = 6 }
            config = { text = "I am away until Monday.", retries = 3, groups = ["a", "b"] }
            "#,
        )
        .unwrap();
        plugin.validate().unwrap();
        assert_eq!(plugin.scope, Scope::Account);
        assert!(plugin.grants.contains(&Grant::MessagesSend));
        assert_eq!(plugin.config["text"], "I am away until Monday.");
        assert_eq!(plugin.config["retries"], "3");
        assert_eq!((plugin.config["groups.0"].as_str(), plugin.config["groups.1"].as_str()), ("a", "b"));
    }

    #[test]
    fn unknown_keys_and_grants_are_refused() {
        let error =
            toml::from_str::<PluginConfig>("name = \"a\"\ncomponent = \"b\"\ngrant = []").unwrap_err();
        assert!(error.to_string().contains("unknown field `grant`"), "{error}");
        let error =
            toml::from_str::<PluginConfig>("name = \"a\"\ncomponent = \"b\"\ngrants = [\"mesages.send\"]");
        assert!(error.unwrap_err().to_string().contains("messages.send"));
    }

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        for name in ["", "../x", "A", "a b", "é"] {
            assert!(PluginConfig::new(name, "x").validate().is_err(), "{name}");
        }
    }

    #[test]
    fn patterns_match_addresses() {
        let check = |pattern: &str, address: &str| AccountPattern::new(pattern).matches(address);
        assert!(check("*", "sip:alice@example.com"));
        assert!(check("sip:alice@example.com", "sip:alice@EXAMPLE.com"));
        assert!(check("alice@example.com", "sip:alice@example.com"));
        assert!(check("*@example.com", "sip:bob@example.com"));
        assert!(check("sip:*@*.example.com", "sip:bob@eu.example.com"));
        assert!(!check("*@example.com", "sip:bob@example.org"));
        assert!(!check("alice", "sip:alice@example.com"));
        assert!(!check("", "sip:alice@example.com"));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_long_time() {
        let pattern = "*a".repeat(200);
        assert!(!glob(pattern.as_bytes(), "a".repeat(199).as_bytes()));
    }

    #[test]
    fn a_pin_is_64_digits() {
        let pin = "ab".repeat(32);
        let config: PluginConfig =
            toml::from_str(&format!("name=\"a\"\ncomponent=\"b\"\nsha256=\"{pin}\"")).unwrap();
        assert_eq!(config.sha256.unwrap().to_string(), pin);
        assert!(toml::from_str::<PluginConfig>("name=\"a\"\ncomponent=\"b\"\nsha256=\"abc\"").is_err());
    }
}
