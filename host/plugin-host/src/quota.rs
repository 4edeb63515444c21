//! What keeps plugins from flooding people, and programs from answering each other for ever.
//!
//! It outlives the instance: a plugin that crashes after each message would otherwise have a new quota each time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use attache_messenger::{
    address::Address,
    code::Code,
    error::{Error, Retry},
    id::AccountId,
};

use crate::limits::Limits;

/// Addresses that are remembered at once. An automatic reply to one more is refused, rather than forgetting that
/// another was answered a moment ago.
const PEERS: usize = 4096;

/// Sending rights of one instance.
#[derive(Debug)]
pub(crate) struct SendQuota {
    total: Bucket,
    per_peer: u32,
    interval: Duration,
    peers: HashMap<String, Peer>,
    programs: Programs,
}

/// Who wrote last without being a person: an automatic reply that a plugin sends later, from a timer, would answer a
/// program all the same.
#[derive(Debug, Default)]
struct Programs {
    peers: HashMap<AccountId, HashSet<Arc<str>>>,
    /// Oldest first; may hold those that are persons again.
    order: VecDeque<(AccountId, Arc<str>)>,
}

/// One key for a person: an address without its scheme and its port, for `im:`, `pres:` and `sip:` of one user at one
/// host are answered by the same program.
///
/// A part of the address as it is: this is asked for every message.
pub(crate) fn person(address: &Address) -> &str {
    let canonical = address.canonical();
    let rest = canonical.split_once(':').map_or(canonical, |(_, rest)| rest);
    let Some(at) = rest.rfind('@') else { return rest };
    let host = &rest[at + 1..];
    let end = match host.find(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    &rest[..at + 1 + end]
}

#[derive(Debug)]
struct Peer {
    bucket: Bucket,
    replied: Option<Instant>,
}

impl SendQuota {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            total: Bucket::new(limits.messages_per_minute, now),
            per_peer: limits.messages_per_peer_per_minute,
            interval: limits.automatic_reply_interval.0,
            peers: HashMap::new(),
            programs: Programs::default(),
        }
    }

    /// A message of `peer` (see [`person`]) came in.
    pub(crate) fn received(&mut self, account: AccountId, peer: &str, automatic: bool) {
        let Programs { peers, order } = &mut self.programs;
        if !automatic {
            if let Some(peers) = peers.get_mut(&account) {
                peers.remove(peer);
            }
            return;
        }
        let peer: Arc<str> = peer.into();
        if peers.entry(account).or_default().insert(peer.clone()) {
            order.push_back((account, peer));
            while order.len() > PEERS {
                if let Some((account, oldest)) = order.pop_front()
                    && let Some(peers) = peers.get_mut(&account)
                {
                    peers.remove(&oldest);
                }
            }
        }
    }

    /// Whether the last message of `peer` was automatic.
    pub(crate) fn is_program(&self, account: AccountId, peer: &str) -> bool {
        self.programs.peers.get(&account).is_some_and(|peers| peers.contains(peer))
    }

    /// Takes one message to `peer` (see [`person`]) out of the quota.
    pub(crate) fn take(&mut self, peer: &str, automatic: bool, now: Instant) -> Result<(), Error> {
        self.make_room(peer, now)?;
        let (per_peer, interval) = (self.per_peer, self.interval);
        let entry = self
            .peers
            .entry(peer.to_owned())
            .or_insert_with(|| Peer { bucket: Bucket::new(per_peer, now), replied: None });
        if automatic && let Some(replied) = entry.replied {
            let passed = now.saturating_duration_since(replied);
            if passed < interval {
                return Err(Error::new(
                    Code::LoopGuard,
                    format!("this address got an automatic reply less than {interval:?} ago"),
                )
                .retry(Retry::After(interval - passed)));
            }
        }
        if let Err(wait) = entry.bucket.peek(now) {
            return Err(used_up("to this address ", per_peer, wait));
        }
        if let Err(wait) = self.total.peek(now) {
            return Err(used_up("", self.total.per_minute, wait));
        }
        entry.bucket.take();
        self.total.take();
        Ok(())
    }

    /// An automatic reply to `peer` was accepted.
    pub(crate) fn replied(&mut self, peer: &str, now: Instant) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.replied = Some(now);
        }
    }

    fn make_room(&mut self, peer: &str, now: Instant) -> Result<(), Error> {
        if self.peers.len() < PEERS || self.peers.contains_key(peer) {
            return Ok(());
        }
        let interval = self.interval;
        self.peers.retain(|_, entry| {
            let bound = entry.replied.is_some_and(|at| now.saturating_duration_since(at) < interval);
            bound || !entry.bucket.is_full(now)
        });
        if self.peers.len() < PEERS {
            return Ok(());
        }
        Err(Error::new(Code::QuotaExceeded, "this plugin has written to too many addresses lately")
            .retry(Retry::After(Duration::from_secs(60))))
    }
}

fn used_up(whom: &str, per_minute: u32, wait: Option<Duration>) -> Error {
    let error = Error::new(
        Code::QuotaExceeded,
        format!("this plugin may send {per_minute} messages {whom}in a minute"),
    );
    error.retry(wait.map_or(Retry::Never, Retry::After))
}

/// A token bucket: `per_minute` at once at most, and as many in each minute.
#[derive(Debug)]
struct Bucket {
    per_minute: u32,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute, tokens: f64::from(per_minute), at: now }
    }

    /// Whether there is a token; if not, how long until there is one, if ever.
    fn peek(&mut self, now: Instant) -> Result<(), Option<Duration>> {
        let most = f64::from(self.per_minute);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * most / 60.0).min(most);
        self.at = now;
        if self.tokens >= 1.0 {
            return Ok(());
        }
        Err((most > 0.0).then(|| Duration::from_secs_f64((1.0 - self.tokens) * 60.0 / most)))
    }

    fn take(&mut self) {
        self.tokens -= 1.0;
    }

    fn is_full(&mut self, now: Instant) -> bool {
        let _ = self.peek(now);
        self.tokens >= f64::from(self.per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Period;

    fn quota(total: u32, per_peer: u32) -> (SendQuota, Instant) {
        let limits = Limits {
            messages_per_minute: total,
            messages_per_peer_per_minute: per_peer,
            automatic_reply_interval: Period::secs(10),
            ..Limits::default()
        };
        let now = Instant::now();
        (SendQuota::new(&limits, now), now)
    }

    #[test]
    fn a_minute_has_so_many_messages_and_no_more() {
        let (mut quota, now) = quota(3, 100);
        for peer in ["a", "b", "c"] {
            quota.take(peer, false, now).unwrap();
        }
        let error = quota.take("d", false, now).unwrap_err();
        assert_eq!(error.code(), Code::QuotaExceeded);
        assert_eq!(error.retry_hint(), Retry::After(Duration::from_secs(20)));
        quota.take("d", false, now + Duration::from_secs(21)).unwrap();
    }

    #[test]
    fn one_address_does_not_get_all() {
        let (mut quota, now) = quota(30, 2);
        quota.take("a", false, now).unwrap();
        quota.take("a", false, now).unwrap();
        assert!(quota.take("a", false, now).is_err());
        quota.take("b", false, now).unwrap();
    }

    #[test]
    fn an_automatic_reply_waits_for_its_interval() {
        let (mut quota, now) = quota(30, 10);
        quota.take("a", true, now).unwrap();
        quota.replied("a", now);
        let error = quota.take("a", true, now + Duration::from_secs(4)).unwrap_err();
        assert_eq!(error.code(), Code::LoopGuard);
        assert_eq!(error.retry_hint(), Retry::After(Duration::from_secs(6)));
        quota.take("a", false, now + Duration::from_secs(4)).unwrap();
        quota.take("a", true, now + Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn nothing_is_sent_with_a_quota_of_nothing() {
        let (mut quota, now) = quota(0, 10);
        assert_eq!(quota.take("a", false, now).unwrap_err().retry_hint(), Retry::Never);
    }

    #[test]
    fn all_addresses_of_one_person_have_one_key() {
        let key = |text| person(&Address::parse(text).unwrap()).to_owned();
        for text in
            ["sip:bob@example.com", "im:bob@Example.com", "pres:bob@example.com", "sips:bob@example.com:5061"]
        {
            assert_eq!(key(text), "bob@example.com", "{text}");
        }
        assert_eq!(key("sip:bob@[2001:db8::9]:5070"), key("im:bob@[2001:db8::9]"));
        assert_eq!(key("tel:+1-201-555-0123"), "+12015550123");
        assert_ne!(key("sip:Bob@example.com"), key("sip:bob@example.com"));
    }

    #[test]
    fn whether_a_program_wrote_last_is_remembered_for_a_bounded_number_of_peers() {
        let (mut quota, _) = quota(30, 10);
        let account = AccountId(1);
        quota.received(account, "bob", true);
        assert!(quota.is_program(account, "bob"));
        assert!(!quota.is_program(AccountId(2), "bob"));
        quota.received(account, "bob", false);
        assert!(!quota.is_program(account, "bob"));
        for peer in 0..3 * PEERS {
            quota.received(account, &peer.to_string(), true);
            quota.received(account, "bob", peer % 2 == 0);
        }
        assert!(quota.programs.peers.len() <= PEERS && quota.programs.order.len() <= PEERS);
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let (mut quota, now) = quota(100_000, 10);
        for peer in 0..PEERS {
            quota.take(&peer.to_string(), true, now).unwrap();
            quota.replied(&peer.to_string(), now);
        }
        assert_eq!(quota.take("one more", true, now).unwrap_err().code(), Code::QuotaExceeded);
        quota.take("one more", true, now + Duration::from_secs(60)).unwrap();
        assert!(quota.peers.len() <= PEERS);
    }
}
