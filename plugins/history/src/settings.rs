//! What the operator configured.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use attache_plugin::address;
use attache_plugin::config::{Period, Table};

const KEYS: [&str; 5] = ["retention", "keep", "never", "automatic", "outgoing"];

/// How long entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Retention {
    /// In milliseconds.
    For(u64),
    Forever,
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        match text.parse::<Period>() {
            // Zero would archive and delete: whoever means that says `never`.
            Ok(Period { milliseconds: 0 }) => {
                Err("this keeps nothing; `never` lists whom to leave out".to_owned())
            }
            Ok(period) => Ok(Self::For(period.milliseconds)),
            Err(error) => Err(format!("{error}, or forever")),
        }
    }
}

/// The configuration, checked. Peers are known by their address keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    retention: Retention,
    keep: BTreeMap<String, Retention>,
    never: BTreeSet<String>,
    automatic: bool,
    outgoing: bool,
}

/// What a message is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It came.
    Incoming {
        /// No person wrote it.
        automatic: bool,
    },
    /// It was sent.
    Outgoing {
        /// A plugin wrote it.
        automatic: bool,
    },
}

impl Settings {
    pub(crate) fn read(mut table: Table) -> Result<Self, String> {
        let retention = table.take("retention")?.unwrap_or(Retention::Forever);
        let mut keep = BTreeMap::new();
        for (peer, value) in table.take_table("keep") {
            let parsed = value.parse().map_err(|error| format!("`keep.\"{peer}\"` is `{value}`: {error}"))?;
            keep.insert(peer_key("keep", &peer)?, parsed);
        }
        let never = table.take_list("never");
        let never = never.iter().map(|peer| peer_key("never", peer)).collect::<Result<_, _>>()?;
        let automatic = table.take("automatic")?.unwrap_or(true);
        let outgoing = table.take("outgoing")?.unwrap_or(true);
        table.finish(&KEYS)?;
        Ok(Self { retention, keep, never, automatic, outgoing })
    }

    /// Whether a message with this peer goes into the archive.
    pub(crate) fn archives(&self, peer: &str, kind: Kind) -> bool {
        let wanted = match kind {
            Kind::Incoming { automatic } => self.automatic || !automatic,
            Kind::Outgoing { automatic } => self.outgoing && (self.automatic || !automatic),
        };
        wanted && !self.never.contains(&address::key(peer))
    }

    /// What to remove: up to which moment, and of which peer where not of all.
    ///
    /// `peers` are the addresses that entries may have. The archive removes what is old of one peer or of everybody, so
    /// everybody's turn comes only where nobody is to be kept longer.
    pub(crate) fn purges(&self, peers: &BTreeSet<String>, now: u64) -> Vec<(Option<String>, u64)> {
        let before = |retention: Retention| match retention {
            Retention::Forever => None,
            Retention::For(milliseconds) => now.checked_sub(milliseconds),
        };
        let longest = self.keep.values().max().copied();
        let all = before(self.retention).filter(|_| longest.is_none_or(|longest| longest <= self.retention));
        let mut purges: Vec<_> = all.map(|before| (None, before)).into_iter().collect();
        for peer in peers {
            let retention = match self.keep.get(&address::key(peer)) {
                Some(retention) => *retention,
                None if all.is_some() => continue,
                None => self.retention,
            };
            purges.extend(before(retention).map(|before| (Some(peer.clone()), before)));
        }
        purges
    }
}

fn peer_key(name: &str, peer: &str) -> Result<String, String> {
    let key = address::key(peer);
    let is_address = key.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    // A telephone number has no host.
    let is_number = peer.starts_with("tel:") && key.len() > 1;
    if is_address || is_number {
        Ok(key)
    } else {
        Err(format!(
            "`{name}` has `{peer}`, which is no address; addresses are written as sip:bob@example.com"
        ))
    }
}

/// When a message was written. A sender's word counts only where a store may have held the message so long: an entry in
/// the future would never be removed, and one far in the past at once.
pub(crate) fn written_at(sent_at: Option<u64>, received_at: u64) -> u64 {
    const LONGEST: u64 = 30 * 24 * 60 * 60 * 1000;
    let plausible = |at: &u64| *at <= received_at && received_at - at <= LONGEST;
    sent_at.filter(plausible).unwrap_or(received_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const NOW: u64 = 1000 * DAY;
    const PERSON: Kind = Kind::Incoming { automatic: false };

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn purges(pairs: &[(&str, &str)]) -> Vec<(Option<String>, u64)> {
        let peers = ["sip:boss@example.com", "sip:bob@example.com"].map(ToOwned::to_owned);
        let mut purges = read(pairs).unwrap().purges(&peers.into_iter().collect(), NOW);
        purges.sort();
        purges
    }

    fn of(peer: &str, days: u64) -> (Option<String>, u64) {
        (Some(format!("sip:{peer}@example.com")), NOW - days * DAY)
    }

    #[test]
    fn everything_is_archived_and_kept_where_nothing_is_configured() {
        let settings = read(&[]).unwrap();
        for automatic in [false, true] {
            assert!(settings.archives("sip:bob@example.com", Kind::Incoming { automatic }));
            assert!(settings.archives("sip:bob@example.com", Kind::Outgoing { automatic }));
        }
        assert_eq!(purges(&[]), []);
    }

    #[test]
    fn a_peer_can_be_left_out_however_the_address_is_written() {
        let settings = read(&[("never.0", "sip:doctor@example.com")]).unwrap();
        for address in
            ["sip:doctor@example.com", "sips:doctor@EXAMPLE.com;transport=tls", "im:doctor@example.com"]
        {
            assert!(!settings.archives(address, PERSON), "{address}");
        }
        assert!(settings.archives("sip:bob@example.com", PERSON));
    }

    #[test]
    fn automatic_and_outgoing_messages_can_be_left_out() {
        let settings = read(&[("automatic", "false")]).unwrap();
        assert!(settings.archives("sip:bob@example.com", PERSON));
        assert!(!settings.archives("sip:bob@example.com", Kind::Incoming { automatic: true }));
        assert!(!settings.archives("sip:bob@example.com", Kind::Outgoing { automatic: true }));
        let settings = read(&[("outgoing", "false")]).unwrap();
        assert!(settings.archives("sip:bob@example.com", Kind::Incoming { automatic: true }));
        assert!(!settings.archives("sip:bob@example.com", Kind::Outgoing { automatic: false }));
    }

    #[test]
    fn what_is_old_is_removed() {
        assert_eq!(purges(&[("retention", "30d")]), [(None, NOW - 30 * DAY)]);
    }

    #[test]
    fn a_peer_can_be_kept_shorter() {
        let shorter = [("retention", "30d"), ("keep.sip:boss@example.com", "7d")];
        assert_eq!(purges(&shorter), [(None, NOW - 30 * DAY), of("boss", 7)]);
        assert_eq!(purges(&[("keep.sip:boss@example.com", "7d")]), [of("boss", 7)]);
    }

    #[test]
    fn a_peer_can_be_kept_longer_than_the_others() {
        let longer = [("retention", "30d"), ("keep.sip:boss@example.com", "365d")];
        assert_eq!(purges(&longer), [of("bob", 30), of("boss", 365)]);
        let forever = [("retention", "30d"), ("keep.sip:boss@example.com", "forever")];
        assert_eq!(purges(&forever), [of("bob", 30)]);
    }

    #[test]
    fn a_retention_longer_than_time_itself_removes_nothing() {
        assert_eq!(purges(&[("retention", "9999w")]), []);
    }

    #[test]
    fn every_mistake_names_its_key() {
        for (key, value, named) in [
            ("retention", "long", "`retention`"),
            ("retention", "0d", "`never`"),
            ("keep.sip:boss@example.com", "x", "sip:boss@example.com"),
            ("keep.boss", "7d", "`keep`"),
            ("never.0", "doctor", "`never`"),
            ("automatic", "no", "`automatic`"),
            ("outgoing", "0", "`outgoing`"),
            ("retain", "7d", "`retain`"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.contains(named), "{key}: {error}");
        }
        assert!(read(&[("never", "tel:+4930123456")]).is_ok());
    }

    #[test]
    fn only_a_plausible_time_of_sending_is_believed() {
        assert_eq!(written_at(None, NOW), NOW);
        assert_eq!(written_at(Some(NOW - DAY), NOW), NOW - DAY);
        assert_eq!(written_at(Some(NOW + 1), NOW), NOW);
        assert_eq!(written_at(Some(0), NOW), NOW);
    }
}
