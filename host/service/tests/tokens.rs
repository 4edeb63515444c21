//! Access tokens in place of passwords (RFC 8898).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::{Duration, SystemTime};

use attache_service::{AccessToken, Core, CoreConfig};
use attache_sip::message::{HeaderName, Message};
use attache_sip::transport::{Flow, FlowId, Transport};
use bytes::Bytes;
use common::{EPOCH, SERVICE, config};
use sha2::{Digest as _, Sha256};

/// A service that takes tokens, fed by hand: nothing here needs a network.
struct Bench {
    core: Core,
    now: std::time::Instant,
    next: u32,
}

fn token(user: &str, text: &str, seconds: u64) -> AccessToken {
    AccessToken {
        user: user.into(),
        sha256: Sha256::digest(text).into(),
        expires: SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH + seconds),
    }
}

impl Bench {
    fn new() -> Self {
        let tokens = Some(("https://login.example.com/authorize".into(), Some("sip \"presence\"".into())));
        let config = CoreConfig { tokens, ..config() };
        let now = std::time::Instant::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH);
        let mut core = Core::new(config, now, wall, [3; 32]);
        core.set_tokens(vec![
            token("alice", "good", 1000),
            token("bob", "of-bob", 1000),
            token("nobody", "x", 9),
        ]);
        Self { core, now, next: 0 }
    }

    /// The answer to a request over a transport, with this in Authorization.
    fn ask(&mut self, transport: Transport, method: &str, proof: &str) -> Message {
        self.next += 1;
        let number = self.next;
        let uri = if method == "REGISTER" { "sip:example.com" } else { "sip:bob@example.com" };
        let to = if method == "REGISTER" { "sip:alice@example.com" } else { uri };
        let name = transport.via_name();
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{name} 127.0.1.1:4000;branch=z9hG4bKt{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <{to}>\r\nCall-ID: {number}\r\n\
             CSeq: {number} {method}\r\nContact: <sip:alice@127.0.1.1:4000;transport={}>;expires=3600\r\n{proof}\r\n\
             Content-Length: 0\r\n\r\n",
            transport.uri_name()
        );
        let flow = Flow {
            id: FlowId(1),
            transport,
            local: SERVICE.parse().unwrap(),
            remote: "127.0.1.1:4000".parse().unwrap(),
        };
        self.core.handle_input(self.now, flow, Bytes::from(text));
        let transmit = self.core.poll_transmit().unwrap();
        Message::parse(transmit.payload).unwrap()
    }
}

fn challenges(answer: &Message) -> Vec<String> {
    let name = match answer.status() {
        Some(401) => HeaderName::WwwAuthenticate,
        _ => HeaderName::ProxyAuthenticate,
    };
    answer
        .headers(name)
        .map(|row| String::from_utf8(row.to_vec()).unwrap())
        .filter(|row| row.starts_with("Bearer"))
        .collect()
}

const WANTED: &str = "Bearer realm=\"example.com\", authz_server=\"https://login.example.com/authorize\", \
                      scope=\"sip \\\"presence\\\"\"";

#[test]
fn a_token_is_asked_for_over_encrypted_transports_only() {
    let mut bench = Bench::new();
    for transport in [Transport::Tls, Transport::Wss] {
        let answer = bench.ask(transport, "REGISTER", "Supported: x");
        assert_eq!((answer.status(), challenges(&answer)), (Some(401), vec![WANTED.to_owned()]));
        let answer = bench.ask(transport, "MESSAGE", "Supported: x");
        assert_eq!((answer.status(), challenges(&answer)), (Some(407), vec![WANTED.to_owned()]));
    }
    for transport in [Transport::Udp, Transport::Tcp, Transport::Ws] {
        let answer = bench.ask(transport, "REGISTER", "Supported: x");
        assert_eq!((answer.status(), challenges(&answer).len()), (Some(401), 0));
    }
}

#[test]
fn a_good_token_proves_its_owner_and_nobody_else() {
    let mut bench = Bench::new();
    let answer = bench.ask(Transport::Tls, "REGISTER", "Authorization: Bearer good");
    assert_eq!(answer.status(), Some(200));
    let expires = answer.contacts().next().unwrap().unwrap().expires();
    assert_eq!(expires, Some(1000), "no longer than the token");
    assert_eq!(bench.ask(Transport::Tls, "REGISTER", "Authorization: bearer  good").status(), Some(200));
    assert_eq!(bench.ask(Transport::Tls, "MESSAGE", "Proxy-Authorization: Bearer good").status(), Some(202));
    assert_eq!(bench.ask(Transport::Tls, "REGISTER", "Authorization: Bearer of-bob").status(), Some(403));
}

#[test]
fn a_good_token_in_the_clear_proves_nothing() {
    let mut bench = Bench::new();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Ws] {
        let answer = bench.ask(transport, "REGISTER", "Authorization: Bearer good");
        assert_eq!((answer.status(), challenges(&answer).len()), (Some(401), 0));
    }
}

#[test]
fn an_unknown_expired_or_revoked_token_is_told_to_be_invalid() {
    let mut bench = Bench::new();
    let invalid = vec![format!("{WANTED}, error=\"invalid_token\"")];
    let answer = bench.ask(Transport::Tls, "REGISTER", "Authorization: Bearer wrong");
    assert_eq!((answer.status(), challenges(&answer)), (Some(401), invalid.clone()));
    bench.now += Duration::from_secs(1000);
    let answer = bench.ask(Transport::Tls, "REGISTER", "Authorization: Bearer good");
    assert_eq!((answer.status(), challenges(&answer)), (Some(401), invalid.clone()));
    bench.core.set_tokens(vec![token("alice", "newer", 5000)]);
    assert_eq!(bench.ask(Transport::Tls, "REGISTER", "Authorization: Bearer newer").status(), Some(200));
    bench.core.set_tokens(Vec::new());
    let answer = bench.ask(Transport::Tls, "REGISTER", "Authorization: Bearer newer");
    assert_eq!((answer.status(), challenges(&answer)), (Some(401), invalid));
}

#[test]
fn guessing_tokens_costs_a_wait() {
    let mut bench = Bench::new();
    let mut last = Some(401);
    for number in 0..20 {
        last = bench.ask(Transport::Tls, "REGISTER", &format!("Authorization: Bearer {number}")).status();
    }
    assert_eq!(last, Some(503));
}

#[test]
fn who_registers_is_told_that_what_is_passed_on_wants_the_token_too() {
    let mut bench = Bench::new();
    let foretold = |answer: &Message| answer.headers(HeaderName::ProxyAuthenticate).count();
    let answer = bench.ask(Transport::Tls, "REGISTER", "X: y");
    assert_eq!((answer.status(), foretold(&answer)), (Some(401), 1));
    let answer = bench.ask(Transport::Tcp, "REGISTER", "X: y");
    assert_eq!((answer.status(), foretold(&answer)), (Some(401), 0), "there is no encryption");
}
