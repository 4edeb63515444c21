//! What strangers and users may send without hurting anybody.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_sip::endpoint::Field;
use attache_sip::message::Method;
use attache_sip::transport::{Flow, FlowId, Transport};
use common::{ALICE, BOB, Net, SERVICE, config, pidf, status};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Values that some header or other has to be afraid of.
const NASTY: [&str; 22] = [
    "",
    "0",
    "1",
    "-1",
    "4294967295",
    "4294967296",
    "99999999999999999999",
    "*",
    "<",
    ">",
    "<>",
    "\"",
    "\u{fffd}\u{202e}",
    "<sip:>",
    "<sip:@>",
    "<sip:%zz@example.com>",
    "<tel:+1>",
    "sip:bob@example.com;tag=",
    "presence;id=\"",
    "a,b,c",
    ";;;===",
    "<sip:alice@[::1]:99999>",
];

#[test]
fn nasty_values_of_authenticated_users_break_nothing() {
    let mut config = config();
    config.limits.free_attempts = 1_000_000;
    let mut net = Net::with(config);
    let headers = [
        "Contact",
        "Expires",
        "Event",
        "To",
        "From",
        "Call-ID",
        "Max-Forwards",
        "SIP-If-Match",
        "Accept",
        "Content-Type",
        "Record-Route",
        "Route",
        "Content-Encoding",
        "Date",
        "Require",
        "CSeq",
    ];
    for (method, uri) in [
        (Method::Register, "sip:example.com"),
        (Method::Publish, "sip:alice@example.com"),
        (Method::Subscribe, "sip:bob@example.com"),
        (Method::Message, "sip:bob@example.com"),
    ] {
        for name in headers {
            for value in NASTY {
                let mut request = net.client(ALICE, |alice| alice.request(method, uri));
                let field = Field::from(name);
                request.headers.retain(|(other, _)| *other != field);
                let request = request.header(field, value).body("application/pidf+xml", pidf("x"));
                net.start_with_digest(ALICE, request);
                net.run(1);
            }
        }
    }
    // It lives, and so does everything that hangs on timers.
    net.run(4000);
    assert_eq!(status(&net.register(BOB, 600)), 200);
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}

#[test]
fn mutated_requests_break_nothing() {
    let mut net = Net::new();
    net.register(BOB, 600);
    let seeds: Vec<Vec<u8>> = ["REGISTER", "PUBLISH", "SUBSCRIBE", "MESSAGE", "OPTIONS", "INVITE", "NOTIFY"]
        .iter()
        .map(|method| {
            format!(
                "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.1.1;branch=z9hG4bKmutant;rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: 1\r\n\
                 CSeq: 1 {method}\r\nContact: <sip:alice@127.0.1.1>;expires=600\r\nEvent: presence\r\nExpires: 600\r\n\
                 Authorization: Digest username=\"alice\", realm=\"example.com\", nonce=\"00\", uri=\"sip:bob@example.com\", \
                 response=\"00\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"x\"\r\n\
                 Content-Type: application/pidf+xml\r\nContent-Length: 4\r\n\r\n<p/>"
            )
            .into_bytes()
        })
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let flow = Flow {
        id: FlowId(1),
        transport: Transport::Udp,
        local: SERVICE.parse().unwrap(),
        remote: "127.0.7.7:5060".parse().unwrap(),
    };
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..1 + rng.next_u32() % 6 {
            let at = rng.next_u32() as usize % bytes.len();
            match rng.next_u32() % 4 {
                0 => bytes[at] = rng.next_u32() as u8,
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\r\n ;,<>\"=:@"[rng.next_u32() as usize % 11]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        net.core(|core, now| {
            core.handle_input(now, flow, bytes.into());
            while core.poll_transmit().is_some() {}
        });
    }
    net.run(60);
    assert_eq!(status(&net.message(ALICE, "sip:bob@example.com", "still here")), 200);
}
