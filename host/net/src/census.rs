//! How many connections there are, and with whom: what strangers can take, and what is left for this node.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::error::FlowError;
use crate::options::Limits;

/// One in so many connections is kept for those that this node opens itself.
const OUTGOING_SHARE: usize = 8;
/// One address gets one in so many of the handshakes that may be under way, or it could keep everybody else out.
const HANDSHAKE_SHARE: usize = 4;

/// Whom an address is counted as: whoever has one IPv6 address usually has all that begin with the same 64 bits.
pub(crate) fn party(host: IpAddr) -> IpAddr {
    match host.to_canonical() {
        IpAddr::V6(host) => IpAddr::V6((host.to_bits() >> 64 << 64).into()),
        host @ IpAddr::V4(_) => host,
    }
}

/// What a connection is counted as.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// This node opened it.
    Ours,
    /// A peer opened it.
    Theirs,
    /// A peer opened it, and has a handshake before it.
    Shaking,
}

#[derive(Default)]
pub(crate) struct Census {
    all: Count,
    hosts: HashMap<IpAddr, Count>,
}

#[derive(Copy, Clone, Default)]
struct Count {
    connections: usize,
    handshakes: usize,
}

impl Census {
    /// Counts one more connection, if there is room for it.
    pub(crate) fn admit(&mut self, host: IpAddr, kind: Kind, limits: &Limits) -> Result<(), FlowError> {
        let host = party(host);
        let most = match kind {
            Kind::Ours => limits.max_connections,
            // Strangers could otherwise cut this node off from everybody.
            Kind::Theirs | Kind::Shaking => limits.max_connections - limits.max_connections / OUTGOING_SHARE,
        };
        let of_host = self.hosts.get(&host).copied().unwrap_or_default();
        let is_full = self.all.connections >= most || of_host.connections >= limits.max_connections_per_host;
        let is_shaken = kind == Kind::Shaking
            && (self.all.handshakes >= limits.max_handshakes
                || of_host.handshakes >= (limits.max_handshakes / HANDSHAKE_SHARE).max(1));
        if is_full || is_shaken {
            return Err(FlowError::TooManyConnections);
        }
        for count in [&mut self.all, self.hosts.entry(host).or_default()] {
            count.connections += 1;
            count.handshakes += usize::from(kind == Kind::Shaking);
        }
        Ok(())
    }

    /// A handshake is done.
    pub(crate) fn shaken(&mut self, host: IpAddr) {
        self.all.handshakes -= 1;
        if let Some(count) = self.hosts.get_mut(&party(host)) {
            count.handshakes -= 1;
        }
    }

    /// A connection is no more.
    pub(crate) fn forget(&mut self, host: IpAddr, kind: Kind) {
        if kind == Kind::Shaking {
            self.shaken(host);
        }
        let host = party(host);
        self.all.connections -= 1;
        if let Some(count) = self.hosts.get_mut(&host) {
            count.connections -= 1;
            if count.connections == 0 {
                self.hosts.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let limits = Limits { max_connections_per_host: 1, ..Limits::default() };
        let mut census = Census::default();
        let [a, b, c] =
            ["2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1"].map(|ip| ip.parse().unwrap());
        assert!(census.admit(a, Kind::Theirs, &limits).is_ok());
        assert!(census.admit(b, Kind::Theirs, &limits).is_err());
        assert!(census.admit(c, Kind::Theirs, &limits).is_ok());
        census.forget(a, Kind::Theirs);
        assert!(census.admit(b, Kind::Theirs, &limits).is_ok());
    }

    #[test]
    fn one_address_cannot_take_all_handshakes() {
        let limits = Limits { max_handshakes: 8, ..Limits::default() };
        let mut census = Census::default();
        assert!(census.admit(A, Kind::Shaking, &limits).is_ok());
        assert!(census.admit(A, Kind::Shaking, &limits).is_ok());
        assert!(census.admit(A, Kind::Shaking, &limits).is_err());
        assert!(census.admit(B, Kind::Shaking, &limits).is_ok());
        census.shaken(A);
        assert!(census.admit(A, Kind::Shaking, &limits).is_ok());
        census.forget(A, Kind::Theirs);
        census.forget(A, Kind::Shaking);
        census.forget(A, Kind::Shaking);
        census.forget(B, Kind::Shaking);
        assert!(census.hosts.is_empty());
        assert_eq!((census.all.connections, census.all.handshakes), (0, 0));
    }
}
