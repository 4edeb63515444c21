//! From an address to the places where a request can go (RFC 3263).
//!
//! This crate asks no name server. Where an address names a host, the agent hands out a [`Resolve`]; the driver looks up NAPTR, SRV and
//! address records as it likes, and answers with destinations in the order in which they shall be tried. [`Targets`] then
//! walks that list: a destination that failed is left out for a while (RFC 3263 §4.3).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::transport::{Destination, Transport};
use crate::uri::{Scheme, Uri};

/// Names one question.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct ResolveId(pub(crate) u64);

/// A question for the driver: where is this host's SIP service?
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Resolve {
    /// To be given back with the answer.
    pub id: ResolveId,
    /// A host name, never an IP address.
    pub host: String,
    /// The port, if the address names one: then only address records are to be looked up (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// The transport, if the address names one: then NAPTR is not needed.
    pub transport: Option<Transport>,
    /// Whether only encrypted transports will do (`sips:`).
    pub secure: bool,
}

/// Where an address leads without asking anybody: it names an IP address.
///
/// The transport is the one that the address names, TLS for `sips:`, else `usual`.
pub fn literal(uri: &Uri<'_>, usual: Transport) -> Option<Destination> {
    let transport = transport_of(uri).unwrap_or(usual);
    // RFC 3261 §19.1.1: maddr overrides the host.
    let ip = match uri.param("maddr") {
        Some(maddr) => crate::uri::Host::parse(maddr).ok()?.ip()?,
        None => uri.host()?.ip()?,
    };
    let port = uri.port().unwrap_or(transport.default_port());
    Some(Destination { transport, remote: SocketAddr::new(ip, port) })
}

/// The transport that an address asks for.
pub(crate) fn transport_of(uri: &Uri<'_>) -> Option<Transport> {
    let secure = uri.scheme() == Scheme::Sips;
    match uri.transport() {
        Some(Transport::Tcp) if secure => Some(Transport::Tls),
        Some(Transport::Ws) if secure => Some(Transport::Wss),
        None if secure => Some(Transport::Tls),
        transport => transport,
    }
}

/// How long a destination that failed is left out while there is another one.
const SHUN: Duration = Duration::from_secs(60);
/// The longest time that a destination can ask for.
const MAX_SHUN: Duration = Duration::from_secs(3600);

/// Destinations in order of preference, and which of them failed lately.
#[derive(Clone, Default, Debug)]
pub struct Targets {
    list: SmallVec<[(Destination, Option<Instant>); 2]>,
}

impl Targets {
    /// A list that knows of no failure.
    pub fn new(destinations: impl IntoIterator<Item = Destination>) -> Self {
        Self { list: destinations.into_iter().map(|destination| (destination, None)).collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The destinations in order of preference.
    pub fn iter(&self) -> impl Iterator<Item = Destination> + '_ {
        self.list.iter().map(|(destination, _)| *destination)
    }

    /// The best destination that is not in `tried`: one that did not fail lately, or else any.
    pub fn pick(&self, now: Instant, tried: &[Destination]) -> Option<Destination> {
        self.pick_if(now, |destination| !tried.contains(destination))
    }

    /// The best destination that fits: one that did not fail lately, or else any.
    pub fn pick_if(&self, now: Instant, fits: impl Fn(&Destination) -> bool) -> Option<Destination> {
        let untried = || self.list.iter().filter(|(destination, _)| fits(destination));
        untried()
            .find(|(_, shunned)| shunned.is_none_or(|until| until <= now))
            .or_else(|| untried().next())
            .map(|(destination, _)| *destination)
    }

    /// Notes that a destination did not work.
    pub fn failed(&mut self, now: Instant, destination: Destination) {
        self.mark(destination, Some(now + SHUN));
    }

    /// Notes that a destination did not work, and wants to be left alone for at least this long (RFC 3261 §21.5.4).
    pub fn failed_for(&mut self, now: Instant, destination: Destination, wait: Option<Duration>) {
        let wait = wait.map_or(SHUN, |wait| wait.clamp(SHUN, MAX_SHUN));
        self.mark(destination, Some(now + wait));
    }

    /// Whether a destination failed lately.
    pub fn is_shunned(&self, now: Instant, destination: Destination) -> bool {
        self.list.iter().any(|(known, until)| *known == destination && until.is_some_and(|until| until > now))
    }

    /// Notes that a destination works.
    pub fn alive(&mut self, destination: Destination) {
        self.mark(destination, None);
    }

    fn mark(&mut self, destination: Destination, until: Option<Instant>) {
        for (known, shunned) in &mut self.list {
            if *known == destination {
                *shunned = until;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(port: u16) -> Destination {
        Destination { transport: Transport::Udp, remote: ([127, 0, 0, 1], port).into() }
    }

    #[test]
    fn a_failed_destination_is_left_out_for_a_while() {
        let now = Instant::now();
        let mut targets = Targets::new([udp(1), udp(2)]);
        assert_eq!(targets.pick(now, &[]), Some(udp(1)));
        targets.failed(now, udp(1));
        assert_eq!(targets.pick(now, &[]), Some(udp(2)));
        assert_eq!(targets.pick(now + SHUN, &[]), Some(udp(1)));
        targets.failed(now, udp(2));
        assert_eq!(targets.pick(now, &[]), Some(udp(1)), "a bad one is better than none");
        assert_eq!(targets.pick(now, &[udp(1), udp(2)]), None);
    }

    #[test]
    fn an_address_with_an_ip_needs_no_resolving() {
        let at = |text: &str| literal(&Uri::parse_str(text).unwrap(), Transport::Udp).map(|d| d.to_string());
        assert_eq!(at("sip:127.0.0.1"), Some("udp:127.0.0.1:5060".into()));
        assert_eq!(at("sip:bob@[::1]:5070;transport=tcp"), Some("tcp:[::1]:5070".into()));
        assert_eq!(at("sips:127.0.0.1"), Some("tls:127.0.0.1:5061".into()));
        assert_eq!(at("sip:example.com;maddr=127.0.0.9"), Some("udp:127.0.0.9:5060".into()));
        assert_eq!(at("sip:example.com"), None);
    }
}
