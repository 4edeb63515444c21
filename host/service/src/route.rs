//! Routes that only this service can have made: what it writes into Record-Route, so that requests within a dialog find
//! their way over the same connections, and nobody is led anywhere by a route of their own making.
//!
//! A route names where its dialog's two ends were reached, under a signature that covers the Call-ID as well: it is good in
//! its own dialog alone, and nothing is kept for a dialog here. The key is new with each start, and so are connections.

use std::net::{IpAddr, SocketAddr};

use attache_sip::digest::{hmac, same};
use attache_sip::transport::{Destination, FlowId, Transport};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::reach::Reach;

/// Octets of the signature.
const SIGNATURE: usize = 16;
/// The longest text of a route: two ends over IPv6.
const LONGEST: usize = 160;

/// The two ends of a dialog.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ends {
    pub(crate) caller: Side,
    pub(crate) callee: Side,
}

/// An end: how it is reached, and a number that stands for whose it is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Side {
    pub(crate) reach: Reach,
    pub(crate) user: u64,
}

/// One of them.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Caller,
    Callee,
}

impl Ends {
    /// The side of this end.
    pub(crate) fn at(&self, end: End) -> Side {
        match end {
            End::Caller => self.caller,
            End::Callee => self.callee,
        }
    }
}

impl End {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// What makes routes and knows them again.
pub(crate) struct Routes {
    key: [u8; 32],
}

impl Routes {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The user part of a route's address. Requests that carry it are for `to`.
    pub(crate) fn write(&self, call_id: &str, ends: &Ends, to: End) -> String {
        let mut bytes = Vec::with_capacity(96);
        for (side, mask) in [&ends.caller, &ends.callee].into_iter().zip(self.masks(call_id)) {
            put(&mut bytes, &side.reach);
            bytes.extend_from_slice(&(side.user ^ mask).to_be_bytes());
        }
        let signature = self.sign(call_id, &bytes);
        bytes.extend_from_slice(&signature);
        let letter = if to == End::Caller { 'c' } else { 'd' };
        format!("{letter}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The ends that a route names, and which of them a request that carries it is for. `None` for one that this service
    /// has not made for that dialog.
    pub(crate) fn read(&self, call_id: &str, user: &str) -> Option<(Ends, End)> {
        let (to, text) = match (user.len() <= LONGEST, user.split_at_checked(1)?) {
            (true, ("c", text)) => (End::Caller, text),
            (true, ("d", text)) => (End::Callee, text),
            _ => return None,
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (bytes, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE)?)?;
        if !same(&self.sign(call_id, bytes), signature) {
            return None;
        }
        let mut rest = bytes;
        let mut side = |mask: u64| {
            let reach = take(&mut rest)?;
            Some(Side { reach, user: u64::from_be_bytes(take_array(&mut rest)?) ^ mask })
        };
        let [caller, callee] = self.masks(call_id);
        let ends = Ends { caller: side(caller)?, callee: side(callee)? };
        rest.is_empty().then_some((ends, to))
    }

    /// What hides the two users: nobody can tell from the routes of two calls that both come from the same one, who may
    /// want not to be known (RFC 3323).
    fn masks(&self, call_id: &str) -> [u64; 2] {
        // No route begins like this, so that it is no signature of any.
        let full = hmac(&self.key, &[b"user", call_id.as_bytes()]);
        let half = |at: usize| full[at..at + 8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        [half(0), half(8)]
    }

    fn sign(&self, call_id: &str, bytes: &[u8]) -> [u8; SIGNATURE] {
        let full = hmac(&self.key, &[bytes, call_id.as_bytes()]);
        let mut short = [0; SIGNATURE];
        short.copy_from_slice(&full[..SIGNATURE]);
        short
    }
}

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

fn put(bytes: &mut Vec<u8>, reach: &Reach) {
    let transport = TRANSPORTS.iter().position(|one| *one == reach.destination.transport).unwrap_or_default();
    let remote = reach.destination.remote;
    bytes.push(
        transport as u8
            | u8::from(reach.is_listening) << 3
            | u8::from(reach.flow.is_some()) << 4
            | u8::from(remote.is_ipv6()) << 5,
    );
    match remote.ip() {
        IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
    }
    bytes.extend_from_slice(&remote.port().to_be_bytes());
    if let Some(flow) = reach.flow {
        bytes.extend_from_slice(&flow.0.to_be_bytes());
    }
}

fn take(bytes: &mut &[u8]) -> Option<Reach> {
    let [first] = take_array(bytes)?;
    let transport = *TRANSPORTS.get(usize::from(first & 7))?;
    let address = if first & 1 << 5 == 0 {
        IpAddr::from(take_array::<4>(bytes)?)
    } else {
        IpAddr::from(take_array::<16>(bytes)?)
    };
    let port = u16::from_be_bytes(take_array(bytes)?);
    let flow = if first & 1 << 4 == 0 { None } else { Some(FlowId(u64::from_be_bytes(take_array(bytes)?))) };
    let destination = Destination { transport, remote: SocketAddr::new(address, port) };
    Some(Reach { destination, flow, is_listening: first & 1 << 3 != 0 })
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(transport: Transport, remote: &str, flow: Option<u64>) -> Reach {
        let destination = Destination { transport, remote: remote.parse().unwrap() };
        Reach { destination, flow: flow.map(FlowId), is_listening: flow.is_none() }
    }

    fn ends() -> Ends {
        Ends {
            caller: Side { reach: reach(Transport::Udp, "192.0.2.1:5060", None), user: 1 },
            callee: Side { reach: reach(Transport::Wss, "[2001:db8::9]:40000", Some(u64::MAX)), user: 2 },
        }
    }

    #[test]
    fn a_route_leads_to_its_ends_in_its_own_dialog_only() {
        let (ours, others) = (Routes::new([1; 32]), Routes::new([2; 32]));
        for end in [End::Caller, End::Callee] {
            let text = ours.write("one@example.com", &ends(), end);
            assert_eq!(ours.read("one@example.com", &text), Some((ends(), end)));
            assert_eq!(ours.read("two@example.com", &text), None);
            assert_eq!(others.read("one@example.com", &text), None);
            assert!(
                text.len() <= LONGEST
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            );
        }
    }

    #[test]
    fn routes_of_two_calls_do_not_tell_that_they_are_of_one_caller() {
        let routes = Routes::new([1; 32]);
        let users = |call_id: &str| {
            let text = routes.write(call_id, &ends(), End::Callee);
            let bytes = URL_SAFE_NO_PAD.decode(&text[1..]).unwrap();
            let end = bytes.len() - SIGNATURE;
            // Behind the address over IPv4 of the one, and at the end of the other.
            (bytes[7..15].to_vec(), bytes[end - 8..end].to_vec())
        };
        let ((a, b), (c, d)) = (users("one"), users("two"));
        assert!(a != c && b != d);
        let xor = |one: Vec<u8>, other: Vec<u8>| -> Vec<u8> {
            one.into_iter().zip(other).map(|(one, other)| one ^ other).collect()
        };
        assert_ne!(xor(a, b), xor(c, d));
    }

    #[test]
    fn a_route_that_was_changed_anywhere_leads_nowhere() {
        let routes = Routes::new([1; 32]);
        let text = routes.write("one", &ends(), End::Caller);
        for at in 1..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(routes.read("one", &changed), None, "{changed}");
        }
        for wrong in ["", "c", "d", "cAAAA", "é", &text[..text.len() - 4], &"c".repeat(1000)] {
            assert_eq!(routes.read("one", wrong), None, "{wrong}");
        }
    }
}
