//! What an endpoint is made with.

use std::net::SocketAddr;

use crate::message::Limits;
use crate::transaction::Timers;
use crate::transport::Transport;

/// The settings of an [`Endpoint`](super::Endpoint).
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Where peers reach this node: the addresses that its sockets are bound to, by transport. They become Via's sent-by.
    /// The first one of a transport and of the peer's address family is used.
    pub local: Vec<(Transport, SocketAddr)>,
    /// The timers of all transactions.
    pub timers: Timers,
    /// What a message may be at most.
    pub limits: Limits,
    /// The most server transactions remembered at once, answered ones among them; beyond it requests get 503. One million
    /// by default, of about 100 bytes each once answered.
    pub max_server_transactions: usize,
    /// The most streams decoded at once; bytes of further ones are ignored. 100,000 by default.
    pub max_streams: usize,
    /// Requests over UDP longer than this many bytes go by TCP instead. 1300 by default, which RFC 3261 §18.1.1 wants where
    /// the path's MTU is not known.
    pub datagram_limit: usize,
    /// Whether requests are passed on. Then what they require is not checked here: that is for those who act on them
    /// (RFC 3261 §16.3). `false` by default.
    pub is_proxy: bool,
}

impl EndpointConfig {
    /// Settings for a node that has UDP and TCP on one address.
    pub fn at(addr: SocketAddr) -> Self {
        Self::new(vec![(Transport::Udp, addr), (Transport::Tcp, addr)])
    }

    /// Default settings for these addresses.
    pub fn new(local: Vec<(Transport, SocketAddr)>) -> Self {
        Self {
            local,
            timers: Timers::default(),
            limits: Limits::default(),
            max_server_transactions: 1_000_000,
            max_streams: 100_000,
            datagram_limit: 1300,
            is_proxy: false,
        }
    }

    /// The address to write into Via for a request to a peer.
    pub fn local_for(&self, transport: Transport, peer: SocketAddr) -> Option<SocketAddr> {
        let of = |transport: Transport| {
            let mut candidates =
                self.local.iter().filter(move |(t, _)| *t == transport).map(|(_, addr)| *addr);
            let first = candidates.clone().next();
            candidates.find(|addr| addr.is_ipv4() == peer.is_ipv4()).or(first)
        };
        of(transport)
    }
}
