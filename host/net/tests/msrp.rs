//! Message sessions over real connections (RFC 4975).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;
#[path = "common/pki.rs"]
mod pki;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attache_msrp::{
    Body, Failure, Fingerprint, Msrp, MsrpConfig, MsrpEvent, Outgoing, Peer, Receive, Role, SessionId,
    SessionParams,
};
use attache_net::{Limits, MsrpOptions, MsrpSockets, Roots, Tls, TlsOptions};
use bytes::Bytes;
use common::PATIENCE;
use pki::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A machine with its connections.
struct Node {
    msrp: Msrp,
    sockets: MsrpSockets,
}

impl Node {
    fn new(options: MsrpOptions) -> Self {
        let sockets = MsrpSockets::bind(options).unwrap();
        let port = |wanted| {
            let found = sockets.local_addresses().into_iter().find(|(secure, _)| *secure == wanted);
            found.map_or(9, |(_, address)| address.port())
        };
        let (port, tls_port) = (port(false), port(true));
        let fingerprint = sockets.fingerprint();
        let host = "127.0.0.1".into();
        let config = MsrpConfig { host, port, tls_port, fingerprint, ..MsrpConfig::default() };
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&port.to_be_bytes());
        seed[2..4].copy_from_slice(&tls_port.to_be_bytes());
        Self { msrp: Msrp::new(config, seed), sockets }
    }

    fn listening() -> Self {
        Self::new(MsrpOptions { addresses: vec![common::V4.parse().unwrap()], ..MsrpOptions::default() })
    }

    fn connecting() -> Self {
        Self::new(MsrpOptions::default())
    }

    fn address(&self) -> SocketAddr {
        self.sockets.local_addresses()[0].1
    }

    fn drain(&mut self) {
        while let Some(request) = self.msrp.poll_transmit(Instant::now()) {
            self.sockets.request(request);
        }
    }

    /// Takes what comes next, the machine's time included.
    async fn step(&mut self) {
        self.drain();
        let due = self.msrp.poll_timeout().unwrap_or_else(|| Instant::now() + PATIENCE);
        tokio::select! {
            input = self.sockets.recv() => self.msrp.handle_input(Instant::now(), input),
            () = tokio::time::sleep_until(due.into()) => self.msrp.handle_timeout(Instant::now()),
        }
        self.drain();
    }
}

/// A session that the first node opens the connection of.
fn connect(active: &mut Node, passive: &mut Node, params: SessionParams) -> (SessionId, SessionId) {
    let now = Instant::now();
    let sending = SessionParams { receive: Receive::Whole, ..params.clone() };
    let (here, there) = (active.msrp.open(now, sending).unwrap(), passive.msrp.open(now, params).unwrap());
    let peer = |path, role| Peer { path, role, target: None, fingerprints: Vec::new(), max_size: None };
    let (offered, answered) =
        (active.msrp.local_path(here).unwrap(), passive.msrp.local_path(there).unwrap());
    passive.msrp.connect(now, there, peer(offered, Role::Passive)).unwrap();
    active.msrp.connect(now, here, peer(answered, Role::Active)).unwrap();
    (here, there)
}

/// Runs both until `look` has seen enough of what happens to either.
async fn run<T>(a: &mut Node, b: &mut Node, mut look: impl FnMut(&mut Node, &mut Node) -> Option<T>) -> T {
    let all = async {
        loop {
            a.drain();
            b.drain();
            if let Some(found) = look(a, b) {
                return found;
            }
            a.drain();
            b.drain();
            tokio::select! {
                () = a.step() => {}
                () = b.step() => {}
            }
        }
    };
    timeout(2 * PATIENCE, all).await.expect("it happens in time")
}

/// Whatever arrives is accepted; gives the first body.
fn first_message(node: &mut Node) -> Option<Bytes> {
    let mut found = None;
    while let Some(event) = node.msrp.poll_event() {
        if let MsrpEvent::Message { message, .. } = event {
            node.msrp.accept(Instant::now(), message.id);
            found = Some(message.body);
        }
    }
    found
}

/// What a session that should not come to be ended with.
fn failure(node: &mut Node) -> Option<Failure> {
    std::iter::from_fn(|| node.msrp.poll_event()).find_map(|event| match event {
        MsrpEvent::Disconnected { failure, .. } => Some(failure),
        _ => None,
    })
}

#[tokio::test]
async fn messages_go_both_ways_over_one_connection() {
    let (mut a, mut b) = (Node::connecting(), Node::listening());
    let (here, there) = connect(&mut a, &mut b, SessionParams::default());
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "to b")).unwrap();
    assert_eq!(run(&mut a, &mut b, |_, b| first_message(b)).await, "to b");
    b.msrp.send(Instant::now(), there, Outgoing::new("text/plain", "to a")).unwrap();
    assert_eq!(run(&mut a, &mut b, |a, _| first_message(a)).await, "to a");
    assert_eq!((a.sockets.connection_count(), b.sockets.connection_count()), (1, 1));
}

#[tokio::test]
async fn a_large_file_goes_through_little_memory() {
    const TOTAL: u64 = 24 * 1024 * 1024;
    let octet = |at: u64| (at * 7 % 251) as u8;
    let (mut a, mut b) = (Node::connecting(), Node::listening());
    let (here, _) =
        connect(&mut a, &mut b, SessionParams { receive: Receive::Pieces, ..SessionParams::default() });
    let body = Body::Pulled { total: TOTAL, from: 0 };
    let file = Outgoing { body, success_report: true, ..Outgoing::new("application/octet-stream", "") };
    a.msrp.send(Instant::now(), here, file).unwrap();
    let (mut got, mut most) = (0, 0);
    run(&mut a, &mut b, |a, b| {
        most = most.max(a.msrp.memory()).max(b.msrp.memory());
        while let Some(event) = b.msrp.poll_event() {
            match event {
                MsrpEvent::Piece { message, offset, bytes, .. } => {
                    assert_eq!(offset, got);
                    assert!(bytes.0.iter().zip(offset..).all(|(byte, at)| *byte == octet(at)));
                    got += bytes.0.len() as u64;
                    b.msrp.taken(message, bytes.0.len());
                }
                MsrpEvent::Complete { message, .. } => b.msrp.accept(Instant::now(), message),
                _ => {}
            }
        }
        while let Some(event) = a.msrp.poll_event() {
            match event {
                MsrpEvent::Wanted { message, offset, length, .. } => {
                    let bytes = (offset..).take(length).map(octet).collect();
                    a.msrp.supply(message, bytes).unwrap();
                }
                MsrpEvent::Delivered { .. } => return Some(()),
                MsrpEvent::Failed { failure, .. } => panic!("{failure}"),
                _ => {}
            }
        }
        None
    })
    .await;
    assert_eq!(got, TOTAL);
    assert!(most < 512 * 1024, "{most} octets were held");
}

#[tokio::test]
async fn a_session_over_tls_is_with_the_host_of_its_address_alone() {
    let authority = Authority::new("a");
    let serving = |tls: Tls| {
        let tls_addresses = vec![common::V4.parse().unwrap()];
        Node::new(MsrpOptions { tls_addresses, tls: Some(tls), ..MsrpOptions::default() })
    };
    let secure = SessionParams { secure: true, ..SessionParams::default() };
    let client = || Node::new(MsrpOptions { tls: Some(authority.client()), ..MsrpOptions::default() });

    let (mut a, mut b) = (client(), serving(authority.server_for(&["127.0.0.1"])));
    let (here, _) = connect(&mut a, &mut b, secure.clone());
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "unseen")).unwrap();
    assert_eq!(run(&mut a, &mut b, |_, b| first_message(b)).await, "unseen");

    let (mut a, mut b) = (client(), serving(authority.server_for(&["127.0.0.2"])));
    connect(&mut a, &mut b, secure.clone());
    let reason = run(&mut a, &mut b, |a, _| failure(a)).await;
    assert!(matches!(&reason, Failure::Connection(words) if words.contains("127.0.0")), "{reason:?}");

    let (mut a, mut b) = (Node::connecting(), serving(authority.server_for(&["127.0.0.1"])));
    connect(&mut a, &mut b, secure);
    let reason = run(&mut a, &mut b, |a, _| failure(a)).await;
    assert_eq!(reason, Failure::Connection("transport TLS is not set up on this node".into()));
}

/// Two who trust no authority and show certificates of their own.
fn strangers() -> (Node, Node) {
    let node = |tls_addresses| {
        let tls = Some(Tls::new(&TlsOptions { roots: Roots::Only(Vec::new()), identity: None }).unwrap());
        Node::new(MsrpOptions { tls_addresses, tls, ephemeral: true, ..MsrpOptions::default() })
    };
    (node(Vec::new()), node(vec![common::V4.parse().unwrap()]))
}

/// A session over TLS that the first node opens the connection of, where descriptions name what `forge` makes of them.
fn connect_securely(a: &mut Node, b: &mut Node, forge: impl Fn(&mut Peer, &mut Peer)) -> SessionId {
    let now = Instant::now();
    let open = |node: &mut Node, role| {
        let secure = SessionParams { secure: true, ..SessionParams::default() };
        let session = node.msrp.open(now, secure).unwrap();
        (session, node.msrp.describe(session).unwrap().peer(role, false))
    };
    let ((here, mut offered), (there, mut answered)) = (open(a, Role::Passive), open(b, Role::Active));
    forge(&mut offered, &mut answered);
    b.msrp.connect(now, there, offered).unwrap();
    a.msrp.connect(now, here, answered).unwrap();
    here
}

#[tokio::test]
async fn two_whom_no_authority_vouches_for_know_each_other_by_fingerprint() {
    let (mut a, mut b) = strangers();
    assert_ne!(a.sockets.fingerprint(), b.sockets.fingerprint());
    let here = connect_securely(&mut a, &mut b, |offered, answered| {
        assert_eq!((offered.fingerprints.len(), answered.fingerprints.len()), (1, 1));
    });
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "unseen")).unwrap();
    assert_eq!(run(&mut a, &mut b, |_, b| first_message(b)).await, "unseen");
}

#[tokio::test]
async fn a_host_with_another_certificate_than_the_answer_names_is_told_nothing() {
    let (mut a, mut b) = strangers();
    let other = Fingerprint::of(b"somebody else's");
    let here = connect_securely(&mut a, &mut b, |_, answered| answered.fingerprints = vec![other]);
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "unseen")).unwrap();
    let reason = run(&mut a, &mut b, |a, _| failure(a)).await;
    assert!(matches!(&reason, Failure::Connection(words) if words.contains("description")), "{reason:?}");
    assert!(first_message(&mut b).is_none());
}

#[tokio::test]
async fn whoever_shows_another_certificate_than_the_offer_names_is_not_let_in() {
    let (mut a, mut b) = strangers();
    let other = Fingerprint::of(b"somebody else's");
    let here = connect_securely(&mut a, &mut b, |offered, _| offered.fingerprints = vec![other]);
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "forged")).unwrap();
    run(&mut a, &mut b, |a, _| failure(a)).await;
    assert!(first_message(&mut b).is_none());

    // Nor is one who shows none.
    let (_, mut b) = strangers();
    let tls = Some(Tls::new(&TlsOptions { roots: Roots::Only(Vec::new()), identity: None }).unwrap());
    let mut a = Node::new(MsrpOptions { tls, ..MsrpOptions::default() });
    let here = connect_securely(&mut a, &mut b, |offered, _| offered.fingerprints = vec![other]);
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "forged")).unwrap();
    run(&mut a, &mut b, |a, _| failure(a)).await;
    assert!(first_message(&mut b).is_none());
}

#[tokio::test]
async fn a_refused_connection_ends_its_session_with_the_reason() {
    let (mut a, mut b) = (Node::connecting(), Node::listening());
    // A port that nobody listens on any more.
    let nobody = TcpListener::bind(common::V4).await.unwrap().local_addr().unwrap();
    let session = a.msrp.open(Instant::now(), SessionParams::default()).unwrap();
    let path = vec![format!("msrp://{nobody}/x;tcp").parse().unwrap()];
    let peer = Peer { path, role: Role::Active, target: None, fingerprints: Vec::new(), max_size: None };
    a.msrp.connect(Instant::now(), session, peer).unwrap();
    let reason = run(&mut a, &mut b, |a, _| failure(a)).await;
    assert_eq!(reason, Failure::Connection("connection refused".into()));
    assert_eq!(a.sockets.connection_count(), 0);
}

#[tokio::test]
async fn who_speaks_something_else_loses_its_own_connection_alone() {
    let (mut a, mut b) = (Node::connecting(), Node::listening());
    let (here, _) = connect(&mut a, &mut b, SessionParams::default());
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "before")).unwrap();
    run(&mut a, &mut b, |_, b| first_message(b)).await;

    let mut stranger = TcpStream::connect(b.address()).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let ended = async {
        let mut scratch = [0; 64];
        stranger.read(&mut scratch).await
    };
    tokio::pin!(ended);
    let closed = async {
        loop {
            tokio::select! {
                read = &mut ended => return read,
                () = b.step() => {}
            }
        }
    };
    assert!(matches!(timeout(PATIENCE, closed).await.unwrap(), Ok(0) | Err(_)));
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "after")).unwrap();
    assert_eq!(run(&mut a, &mut b, |_, b| first_message(b)).await, "after");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up_and_held_little_for() {
    let limits = Limits { write_timeout: Duration::from_secs(1), ..Limits::default() };
    let mut a = Node::new(MsrpOptions { limits, ..MsrpOptions::default() });
    let mut b = Node::connecting();
    let deaf = TcpListener::bind(common::V4).await.unwrap();
    let session = a.msrp.open(Instant::now(), SessionParams::default()).unwrap();
    let path = vec![format!("msrp://{}/x;tcp", deaf.local_addr().unwrap()).parse().unwrap()];
    let peer = Peer { path, role: Role::Active, target: None, fingerprints: Vec::new(), max_size: None };
    a.msrp.connect(Instant::now(), session, peer).unwrap();
    let body = Body::Pulled { total: 1 << 40, from: 0 };
    let silent = attache_msrp::FailureReport::No;
    let file = Outgoing { body, failure_report: silent, ..Outgoing::new("a/b", "") };
    a.msrp.send(Instant::now(), session, file).unwrap();
    a.drain();
    let connection = timeout(PATIENCE, deaf.accept()).await.unwrap().unwrap();
    let mut most = 0;
    let reason = run(&mut a, &mut b, |a, _| {
        most = most.max(a.msrp.memory());
        let mut found = None;
        while let Some(event) = a.msrp.poll_event() {
            match event {
                MsrpEvent::Wanted { message, length, .. } => {
                    a.msrp.supply(message, vec![0; length].into()).unwrap();
                }
                MsrpEvent::Disconnected { failure, .. } => found = Some(failure),
                _ => {}
            }
        }
        found
    })
    .await;
    assert_eq!(reason, Failure::Connection("the peer did not read for 1 s".into()));
    assert!(most < 256 * 1024, "{most} octets were held");
    drop(connection);
}

#[tokio::test]
async fn one_address_gets_so_many_connections_and_no_more() {
    let limits = Limits { max_connections_per_host: 2, ..Limits::default() };
    let addresses = vec![common::V4.parse().unwrap()];
    let mut b = Node::new(MsrpOptions { addresses, limits, ..MsrpOptions::default() });
    let mut strangers = Vec::new();
    for _ in 0..3 {
        strangers.push(TcpStream::connect(b.address()).await.unwrap());
    }
    let mut scratch = [0; 8];
    let third = &mut strangers[2];
    let closed = async {
        loop {
            tokio::select! {
                read = third.read(&mut scratch) => return read,
                () = b.step() => {}
            }
        }
    };
    assert!(matches!(timeout(PATIENCE, closed).await.unwrap(), Ok(0) | Err(_)));
    assert_eq!(b.sockets.connection_count(), 2);
}

#[tokio::test]
async fn sessions_live_on_when_their_node_listens_elsewhere() {
    let (mut a, mut b) = (Node::connecting(), Node::listening());
    let (here, _) = connect(&mut a, &mut b, SessionParams::default());
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "before")).unwrap();
    assert_eq!(run(&mut a, &mut b, |_, b| first_message(b)).await, "before");
    let before = b.address();
    let local = b.sockets.rebind(&["127.0.0.1:0".parse().unwrap()], &[]).unwrap();
    assert_eq!(local.len(), 1);
    assert_ne!(local[0].1, before);
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "after")).unwrap();
    assert_eq!(run(&mut a, &mut b, |_, b| first_message(b)).await, "after");
    // Who connects from now on finds the new place.
    b.msrp.set_address("127.0.0.1", local[0].1.port(), 9);
    let mut c = Node::connecting();
    let (there, _) = connect(&mut c, &mut b, SessionParams::default());
    c.msrp.send(Instant::now(), there, Outgoing::new("text/plain", "elsewhere")).unwrap();
    assert_eq!(run(&mut c, &mut b, |_, b| first_message(b)).await, "elsewhere");
    assert!(b.sockets.rebind(&["192.0.2.1:0".parse().unwrap()], &[]).is_err(), "no address of this machine");
    assert_eq!(b.sockets.local_addresses(), local);
}

#[tokio::test]
async fn closing_lets_out_what_waits() {
    let (mut a, mut b) = (Node::connecting(), Node::listening());
    let (here, _) = connect(&mut a, &mut b, SessionParams::default());
    run(&mut a, &mut b, |a, _| {
        matches!(a.msrp.poll_event(), Some(MsrpEvent::Connected { .. })).then_some(())
    })
    .await;
    a.msrp.send(Instant::now(), here, Outgoing::new("text/plain", "the last word")).unwrap();
    a.drain();
    a.sockets.close(PATIENCE).await;
    let mut other = Node::connecting();
    assert_eq!(run(&mut other, &mut b, |_, b| first_message(b)).await, "the last word");
}
