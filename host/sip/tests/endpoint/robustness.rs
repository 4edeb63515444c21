//! What hostile or broken peers get.

use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Response};
use attache_sip::message::Method;
use attache_sip::sim::Link;
use attache_sip::transport::{Flow, FlowId, Transport};
use bytes::Bytes;

use crate::pair::{Pair, alice, bob, request, seconds};

fn flow(transport: Transport) -> Flow {
    Flow { id: FlowId(1), transport, local: bob(), remote: alice() }
}

fn endpoint() -> Endpoint {
    Endpoint::new(EndpointConfig::at(bob()), [2; 32])
}

fn hostile(n: usize) -> Bytes {
    format!(
        "OPTIONS sip:bob@127.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
         From: <sip:c@example.com>;tag=1\r\nTo: <sip:bob@127.0.0.2>\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
    .into()
}

#[test]
fn beyond_the_bound_of_transactions_requests_get_503() {
    let config = EndpointConfig { max_server_transactions: 10, ..EndpointConfig::at(bob()) };
    let mut endpoint = Endpoint::new(config, [2; 32]);
    let now = std::time::Instant::now();
    for n in 0..100 {
        endpoint.handle_input(now, flow(Transport::Udp), hostile(n));
    }
    assert_eq!(endpoint.transactions().1, 10);
    let refusals = std::iter::from_fn(|| endpoint.poll_transmit())
        .filter(|transmit| transmit.payload.starts_with(b"SIP/2.0 503"))
        .count();
    assert_eq!(refusals, 90);
}

#[test]
fn an_answered_request_costs_no_copy_of_its_answer() {
    let mut endpoint = endpoint();
    let now = std::time::Instant::now();
    for n in 0..1000 {
        endpoint.handle_input(now, flow(Transport::Udp), hostile(n));
        let Some(EndpointEvent::Request { id, .. }) = endpoint.poll_event() else { panic!("a request") };
        endpoint.respond(now, id, &Response::new(200)).unwrap();
        let first = endpoint.poll_transmit().unwrap();
        endpoint.handle_input(now, flow(Transport::Udp), hostile(n));
        assert_eq!(endpoint.poll_transmit().unwrap().payload, first.payload, "rebuilt from the repeat");
        assert!(endpoint.poll_event().is_none());
    }
}

#[test]
fn noise_is_dropped_and_told() {
    let mut endpoint = endpoint();
    let now = std::time::Instant::now();
    endpoint.handle_input(now, flow(Transport::Udp), Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"));
    assert!(matches!(endpoint.poll_event(), Some(EndpointEvent::Malformed { answered: None, .. })));
    assert!(endpoint.poll_transmit().is_none());
}

#[test]
fn keep_alives_and_stun_on_datagrams_are_no_messages() {
    let mut endpoint = endpoint();
    let now = std::time::Instant::now();
    for noise in [&b"\r\n\r\n"[..], b"\0\0\0\0", b"", b"\0\x01\0\0\x21\x12\xa4\x42"] {
        endpoint.handle_input(now, flow(Transport::Udp), Bytes::from_static(noise));
        assert!(!matches!(endpoint.poll_event(), Some(EndpointEvent::Malformed { .. })));
    }
}

#[test]
fn a_truncated_request_is_answered_with_400() {
    let mut endpoint = endpoint();
    let now = std::time::Instant::now();
    let text = std::str::from_utf8(&hostile(1)).unwrap().replace("CSeq: 1", "Content-Length: 99\r\nCSeq: 1");
    endpoint.handle_input(now, flow(Transport::Udp), text.into());
    assert!(matches!(endpoint.poll_event(), Some(EndpointEvent::Malformed { answered: Some(400), .. })));
    assert!(endpoint.poll_transmit().unwrap().payload.starts_with(b"SIP/2.0 400"));
}

#[test]
fn one_bad_message_does_not_close_the_stream() {
    let mut endpoint = endpoint();
    let now = std::time::Instant::now();
    let bad = "OPTIONS sip:bob@127.0.0.2 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx\r\nContent-Length: 0\r\n\r\n";
    let good = std::str::from_utf8(&hostile(1)).unwrap().replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n");
    endpoint.handle_input(now, flow(Transport::Tcp), format!("{bad}{good}").into());
    assert!(matches!(endpoint.poll_event(), Some(EndpointEvent::Malformed { .. })));
    assert!(matches!(endpoint.poll_event(), Some(EndpointEvent::Request { .. })));
}

#[test]
fn an_answer_to_nothing_is_dropped() {
    let mut endpoint = endpoint();
    let now = std::time::Instant::now();
    let stray = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK0123456789abcdef\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    endpoint.handle_input(now, flow(Transport::Udp), stray.into());
    assert!(endpoint.poll_event().is_none() && endpoint.poll_transmit().is_none());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut pair = Pair::new(Transport::Udp);
        pair.sim.set_default_link(Link { loss: 0.3, duplicate: 0.3, reorder: 0.3, ..Link::default() });
        for _ in 0..20 {
            pair.send(&request(Method::Options));
        }
        for _ in 0..40 {
            pair.run(seconds(1));
            for event in pair.events(bob()) {
                if let EndpointEvent::Request { id, .. } = event {
                    pair.respond(id, &Response::new(200));
                }
            }
        }
        assert_eq!(pair.statuses().len(), 20);
        let trace: Vec<_> =
            pair.sim.trace().iter().map(|p| (p.at, p.from, p.payload.clone(), p.fate)).collect();
        trace
    };
    assert_eq!(run(), run());
}
