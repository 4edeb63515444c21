//! Sessions over TLS between people whom no authority vouches for (RFC 4975, section 14.4, RFC 8122).

#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use attache_msrp::sim::Network;
use attache_msrp::{
    Fingerprint, Msrp, MsrpConfig, MsrpError, MsrpEvent, Outgoing, Peer, Role, SessionId, SessionParams,
};

/// The certificates that the two sides, and somebody else, show.
fn certificate(host: &str) -> Fingerprint {
    Fingerprint::of(host.as_bytes())
}

fn network(hosts: &[&str]) -> Network {
    let mut net = Network::new(1);
    for (seed, host) in (1..).zip(hosts) {
        let fingerprint = Some(certificate(host));
        let config = MsrpConfig {
            host: (*host).into(),
            port: 2855,
            tls_port: 2856,
            fingerprint,
            ..Default::default()
        };
        net.add(host, Msrp::new(config, [seed; 32]));
        net.set_certificate(host, certificate(host));
    }
    net
}

/// A session over TLS, and how its description has it.
fn open(net: &mut Network, host: &str, role: Role) -> (SessionId, Peer) {
    net.with(host, |node: &mut Msrp, now| {
        let session = node.open(now, SessionParams { secure: true, ..SessionParams::default() }).unwrap();
        (session, node.describe(session).unwrap().peer(role, false))
    })
}

fn connect(net: &mut Network, host: &str, session: SessionId, peer: &Peer) {
    net.with(host, |node: &mut Msrp, now| node.connect(now, session, peer.clone()).unwrap());
}

fn say(net: &mut Network, host: &str, session: SessionId) {
    net.with(host, |node: &mut Msrp, now| node.send(now, session, Outgoing::new("text/plain", "x")).unwrap());
}

fn events(net: &mut Network, host: &str) -> Vec<MsrpEvent> {
    net.run_for(Duration::from_secs(1));
    net.with(host, |node: &mut Msrp, _| std::iter::from_fn(|| node.poll_event()).collect())
}

fn has_message(events: &[MsrpEvent]) -> bool {
    events.iter().any(|event| matches!(event, MsrpEvent::Message { .. }))
}

fn is_over(events: &[MsrpEvent]) -> bool {
    events.iter().any(|event| matches!(event, MsrpEvent::Disconnected { .. }))
}

#[test]
fn those_whose_certificates_are_named_are_let_in() {
    let mut net = network(&["alice", "bob"]);
    let (here, alice) = open(&mut net, "alice", Role::Passive);
    let (there, bob) = open(&mut net, "bob", Role::Active);
    connect(&mut net, "bob", there, &alice);
    connect(&mut net, "alice", here, &bob);
    say(&mut net, "alice", here);
    assert!(has_message(&events(&mut net, "bob")));
}

#[test]
fn whoever_connects_with_another_certificate_is_dropped_and_the_peer_still_waited_for() {
    let mut net = network(&["alice", "bob", "mallory"]);
    let (there, bob) = open(&mut net, "bob", Role::Active);
    let (here, alice) = open(&mut net, "alice", Role::Passive);
    connect(&mut net, "bob", there, &alice);
    // Somebody has heard the name of the session.
    let (wrong, _) = open(&mut net, "mallory", Role::Active);
    connect(&mut net, "mallory", wrong, &Peer { role: Role::Active, ..bob.clone() });
    say(&mut net, "mallory", wrong);
    assert!(is_over(&events(&mut net, "mallory")));
    assert!(events(&mut net, "bob").is_empty());

    connect(&mut net, "alice", here, &bob);
    say(&mut net, "alice", here);
    assert!(has_message(&events(&mut net, "bob")));
}

#[test]
fn nothing_is_sent_to_a_host_with_another_certificate() {
    let mut net = network(&["alice", "bob"]);
    let (here, _) = open(&mut net, "alice", Role::Active);
    let (there, bob) = open(&mut net, "bob", Role::Active);
    let named = Peer { fingerprints: vec![certificate("somebody else")], ..bob };
    connect(&mut net, "alice", here, &named);
    say(&mut net, "alice", here);
    assert!(is_over(&events(&mut net, "alice")));
    assert_eq!(net.octets_carried(), 0);
    let _ = there;
}

#[test]
fn what_comes_before_the_answer_waits_until_the_answer_says_who_may_come() {
    for genuine in [true, false] {
        let mut net = network(&["alice", "bob"]);
        let (here, alice) = open(&mut net, "alice", Role::Passive);
        let (there, bob) = open(&mut net, "bob", Role::Active);
        connect(&mut net, "alice", here, &bob);
        say(&mut net, "alice", here);
        assert!(events(&mut net, "bob").is_empty(), "nobody is let in yet");
        let named = if genuine { alice.fingerprints.clone() } else { vec![certificate("somebody else")] };
        connect(&mut net, "bob", there, &Peer { fingerprints: named, ..alice });
        assert_eq!(has_message(&events(&mut net, "bob")), genuine);
        assert_eq!(is_over(&events(&mut net, "alice")), !genuine);
    }
}

#[test]
fn both_sides_have_agreed_on_one_transport() {
    let mut net = network(&["alice", "bob"]);
    let (secure, _) = open(&mut net, "alice", Role::Active);
    let (_, bob) = open(&mut net, "bob", Role::Active);
    net.with("alice", |node: &mut Msrp, now| {
        let plain = node.open(now, SessionParams::default()).unwrap();
        assert_eq!(node.connect(now, plain, bob.clone()), Err(MsrpError::Malformed));
        let path = vec!["msrp://bob:2855/x;tcp".parse().unwrap()];
        let role = Role::Passive;
        assert_eq!(node.connect(now, secure, Peer { path, role, ..bob }), Err(MsrpError::Malformed));
    });
}
