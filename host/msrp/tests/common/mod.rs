//! Two nodes that know each other's paths, as an offer and its answer would have told them.
#![allow(dead_code, clippy::unwrap_used, reason = "test code, of which each binary uses a part")]

pub(crate) mod raw;

use std::time::Duration;

use attache_msrp::sim::Network;
use attache_msrp::{
    Body, Incoming, Limits, Msrp, MsrpConfig, MsrpEvent, MsrpUri, Outgoing, OutgoingId, Peer, Role,
    SessionId, SessionParams,
};
use bytes::Bytes;

pub(crate) struct Pair {
    pub(crate) net: Network,
    pub(crate) alice: SessionId,
    pub(crate) bob: SessionId,
}

pub(crate) fn node(host: &str, limits: Limits) -> Msrp {
    let mut seed = [0; 32];
    seed[..host.len()].copy_from_slice(host.as_bytes());
    Msrp::new(MsrpConfig { host: host.into(), port: 2855, tls_port: 2856, fingerprint: None, limits }, seed)
}

pub(crate) fn peer(path: Vec<MsrpUri>, role: Role) -> Peer {
    Peer { path, role, target: None, fingerprints: Vec::new(), max_size: None }
}

/// A session between two nodes of a network that are there.
pub(crate) fn connect(net: &mut Network, params: [SessionParams; 2]) -> (SessionId, SessionId) {
    let [of_alice, of_bob] = params;
    let (alice, offered) = net.with("alice", |node: &mut Msrp, now| {
        let session = node.open(now, of_alice).unwrap();
        (session, node.local_path(session).unwrap())
    });
    let (bob, answered) = net.with("bob", |node: &mut Msrp, now| {
        let session = node.open(now, of_bob).unwrap();
        node.connect(now, session, peer(offered, Role::Passive)).unwrap();
        (session, node.local_path(session).unwrap())
    });
    net.with("alice", |node: &mut Msrp, now| node.connect(now, alice, peer(answered, Role::Active)).unwrap());
    (alice, bob)
}

impl Pair {
    pub(crate) fn with(limits: Limits, of_bob: SessionParams) -> Self {
        let mut net = Network::new(7);
        net.add("alice", node("alice", limits.clone()));
        net.add("bob", node("bob", limits));
        let (alice, bob) = connect(&mut net, [SessionParams::default(), of_bob]);
        net.run_for(Duration::from_millis(100));
        Self { net, alice, bob }
    }

    pub(crate) fn new() -> Self {
        let mut pair = Self::with(Limits::default(), SessionParams::default());
        assert!(matches!(pair.events("alice")[..], [MsrpEvent::Connected { .. }]));
        assert!(matches!(pair.events("bob")[..], [MsrpEvent::Connected { .. }]));
        pair
    }

    pub(crate) fn send(&mut self, message: Outgoing) -> OutgoingId {
        let session = self.alice;
        self.net.with("alice", |node: &mut Msrp, now| node.send(now, session, message).unwrap())
    }

    pub(crate) fn events(&mut self, host: &str) -> Vec<MsrpEvent> {
        self.net.with(host, |node: &mut Msrp, _| std::iter::from_fn(|| node.poll_event()).collect())
    }

    /// Runs until nothing has happened for a while, bob accepting whatever comes.
    pub(crate) fn deliver(&mut self) -> Vec<Incoming> {
        let mut all = Vec::new();
        for _ in 0..100 {
            self.net.run_for(Duration::from_millis(50));
            all.extend(self.accept());
        }
        all
    }

    pub(crate) fn accept(&mut self) -> Vec<Incoming> {
        let mut all = Vec::new();
        for event in self.events("bob") {
            if let MsrpEvent::Message { message, .. } = event {
                self.net.with("bob", |node: &mut Msrp, now| node.accept(now, message.id));
                all.push(*message);
            }
        }
        all
    }

    pub(crate) fn memory(&mut self, host: &str) -> usize {
        self.net.with(host, |node: &mut Msrp, _| node.memory())
    }
}

pub(crate) fn text(body: impl Into<Bytes>) -> Outgoing {
    Outgoing::new("text/plain", body)
}

pub(crate) fn pulled(total: u64) -> Outgoing {
    Outgoing { body: Body::Pulled { total, from: 0 }, ..text("") }
}

/// Octets that are found again at their place.
pub(crate) fn octets(from: u64, length: usize) -> Bytes {
    (from..).take(length).map(|at| (at * 31 % 251) as u8).collect()
}
