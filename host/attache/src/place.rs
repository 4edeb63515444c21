//! Where this machine is, as the service sees it.
//!
//! Via and Contact name an address of this machine, and which one that is depends on the way to the service. A laptop that
//! changes its network has another one, and what is bound to the old one reaches nobody any more. So it is looked at
//! again whenever something points that way, and otherwise now and then when there is something else to do. A look asks
//! the operating system for a route, and sends nothing.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use attache_net::source_address;

/// Failures come in swarms: one look is enough for those of so long.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long without a failure before it is looked at all the same.
const NOW_AND_THEN: Duration = Duration::from_secs(60);

/// The way to the service.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where the service is.
    remotes: Vec<SocketAddr>,
    /// Where this machine is: one address for each family in which the service has one.
    sources: Vec<IpAddr>,
    looked: Instant,
}

impl Place {
    pub(crate) fn new(remotes: Vec<SocketAddr>, now: Instant) -> Self {
        Self { sources: sources(&remotes), remotes, looked: now }
    }

    /// This machine's addresses; empty where no way leads to the service.
    pub(crate) fn sources(&self) -> &[IpAddr] {
        &self.sources
    }

    /// The service was looked up: where this machine is now, if that is another place than before.
    pub(crate) fn found(&mut self, remotes: Vec<SocketAddr>, now: Instant) -> Option<Vec<IpAddr>> {
        self.remotes = remotes;
        self.look(now)
    }

    /// Something went wrong on the way: where this machine is now, if that is another place than before.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Vec<IpAddr>> {
        if now < self.looked + AFTER_FAILURE { None } else { self.look(now) }
    }

    /// As [`failed`](Self::failed), for when nothing went wrong.
    pub(crate) fn passing(&mut self, now: Instant) -> Option<Vec<IpAddr>> {
        if now < self.looked + NOW_AND_THEN { None } else { self.look(now) }
    }

    /// The sockets are there now.
    pub(crate) fn moved(&mut self, sources: Vec<IpAddr>) {
        self.sources = sources;
    }

    fn look(&mut self, now: Instant) -> Option<Vec<IpAddr>> {
        self.looked = now;
        let sources = sources(&self.remotes);
        // Without a way there is nothing better than what was.
        (!sources.is_empty() && sources != self.sources).then_some(sources)
    }
}

fn sources(remotes: &[SocketAddr]) -> Vec<IpAddr> {
    let family = |v6: bool| {
        let mut remotes = remotes.iter().filter(|remote| remote.is_ipv6() == v6);
        remotes.find_map(|remote| source_address(*remote).ok())
    };
    [family(false), family(true)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn another_place_is_told_once_and_failures_are_not_looked_at_one_by_one() {
        let now = Instant::now();
        let mut place = Place::new(vec![at("127.0.0.1:5060")], now);
        assert_eq!(place.sources(), [at("127.0.0.1:0").ip()]);
        assert_eq!(place.failed(now + AFTER_FAILURE), None, "it is where it was");
        let both = vec![at("127.0.0.1:5060"), at("[::1]:5060")];
        let moved = place.found(both, now).expect("another address");
        assert_eq!(moved, [at("127.0.0.1:0").ip(), at("[::1]:0").ip()]);
        assert_eq!(place.failed(now), None, "too soon");
        assert_eq!(place.failed(now + AFTER_FAILURE).as_ref(), Some(&moved), "nobody has moved yet");
        place.moved(moved);
        assert_eq!(place.failed(now + 3 * AFTER_FAILURE), None);
        assert_eq!(place.passing(now + NOW_AND_THEN * 2), None);
    }

    #[test]
    fn without_a_way_it_stays_where_it_was() {
        let now = Instant::now();
        let mut place = Place::new(vec![at("127.0.0.1:5060")], now);
        assert_eq!(place.found(Vec::new(), now), None);
        assert_eq!(place.sources().len(), 1);
    }
}
