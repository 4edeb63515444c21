//! `[account.messages]`: what is told of messages, taken and kept.

use core::time::Duration;
use std::sync::Arc;

use attache_messenger::engine::EngineConfig;
use attache_plugin_host::Period;
use serde::Deserialize;
use toml::Spanned;

use super::file::Reader;
use crate::{Address, ReceiptPolicy};

/// How an account deals with messages.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MessageConfig {
    /// Which receipts are given to those who ask (RFC 5438). Default [`ReceiptPolicy::Delivered`]: when the person reads is
    /// theirs to tell.
    pub receipts: ReceiptPolicy,
    /// Types that are taken as bytes beside texts, such as `image/png` or `image/*`. Default none: others are refused, and
    /// their sender is told what is read here.
    pub accept: Vec<Arc<str>>,
    /// How long lines of conversations stay on disk, so that these can be read again after they were closed; zero keeps
    /// none. Default 31 days.
    pub keep: Duration,
    /// The service's address for messages to several people (RFC 5365), such as `sip:lists@example.com`. None: each of them
    /// gets a message of their own.
    pub list: Option<Address>,
}

impl Default for MessageConfig {
    fn default() -> Self {
        Self {
            receipts: ReceiptPolicy::default(),
            accept: Vec::new(),
            keep: Duration::from_secs(31 * 86_400),
            list: None,
        }
    }
}

impl MessageConfig {
    pub(crate) fn apply(self, engine: &mut EngineConfig) {
        engine.receipts = self.receipts;
        engine.accept = self.accept;
        engine.history = self.keep;
        engine.message_list = self.list;
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct MessagesTable {
    receipts: Option<ReceiptsTable>,
    accept: Vec<Spanned<String>>,
    keep: Option<Period>,
    list: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReceiptsTable {
    None,
    Delivered,
    Displayed,
}

impl Reader<'_> {
    /// `None` when something in it is wrong, which has been noted.
    pub(super) fn messages(&mut self, table: MessagesTable) -> Option<MessageConfig> {
        let default = MessageConfig::default();
        let accept: Vec<_> = table
            .accept
            .into_iter()
            .map(|pattern| {
                let checked = check_pattern(pattern.get_ref());
                self.check(pattern.span(), checked).map(|()| Arc::from(pattern.into_inner()))
            })
            .collect();
        let list = table.list.map(|list| {
            let parsed = Address::parse(list.get_ref()).map_err(|error| error.message().to_owned());
            self.check(list.span(), parsed)
        });
        Some(MessageConfig {
            receipts: match table.receipts {
                None => default.receipts,
                Some(ReceiptsTable::None) => ReceiptPolicy::None,
                Some(ReceiptsTable::Delivered) => ReceiptPolicy::Delivered,
                Some(ReceiptsTable::Displayed) => ReceiptPolicy::Displayed,
            },
            accept: accept.into_iter().collect::<Option<_>>()?,
            keep: table.keep.map_or(default.keep, |period| period.0),
            list: match list {
                None => None,
                Some(list) => Some(list?),
            },
        })
    }
}

/// A media type, or all of a kind. It stands in a header.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    match pattern.split_once('/') {
        Some((kind, name)) if word(kind) && (name == "*" || word(name)) => Ok(()),
        _ => Err(format!("`{pattern}` is no media type, such as image/png or image/*")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::HostConfig;

    fn read(lines: &str) -> Result<MessageConfig, String> {
        let account = "[[account]]\naddress = \"sip:a@example.com\"\npassword = \"x\"\n";
        let config = HostConfig::from_toml(&format!("{account}{lines}\n"), Path::new("x.toml"));
        config.map(|config| config.accounts[0].messages.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn how_messages_are_dealt_with_is_read_from_the_file() {
        assert_eq!(read("").unwrap(), MessageConfig::default());
        let all = "[account.messages]\nreceipts = \"displayed\"\naccept = [\"image/*\", \"text/vcard\"]\nkeep = \"0s\"\n\
            list = \"sip:lists@example.com\"";
        let messages = read(all).unwrap();
        assert_eq!((messages.receipts, messages.keep), (ReceiptPolicy::Displayed, Duration::ZERO));
        assert_eq!(messages.accept, ["image/*".into(), "text/vcard".into()]);
        assert_eq!(messages.list.unwrap().as_str(), "sip:lists@example.com");
    }

    #[test]
    fn a_mistake_about_messages_is_named() {
        for (lines, expected) in [
            ("receipts = \"always\"", "receipts"),
            ("accept = [\"pictures\"]", "no media type"),
            ("keep = \"long\"", "no time"),
            ("list = \"lists\"", "list"),
        ] {
            let wrong = read(&format!("[account.messages]\n{lines}")).unwrap_err();
            assert!(wrong.contains(expected) && wrong.contains("x.toml:5"), "{wrong}");
        }
    }
}
