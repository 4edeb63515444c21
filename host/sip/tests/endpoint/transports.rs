//! Which transport a request takes, and where its answer goes (RFC 3261 §18, RFC 3581).

use attache_sip::endpoint::{Endpoint, EndpointEvent, Failure, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::transport::{Flow, FlowId, Transport};

use crate::pair::{Pair, alice, bob, request, seconds};

#[test]
fn a_request_over_1300_bytes_goes_by_tcp_and_one_below_by_udp() {
    for (size, expected) in [(500, Transport::Udp), (1300, Transport::Tcp)] {
        let mut pair = Pair::new(Transport::Udp);
        pair.send(&request(Method::Message).body("text/plain", "x".repeat(size)));
        let (_, message, flow) = pair.request_at_bob();
        assert_eq!(flow.transport, expected);
        assert_eq!(message.top_via().unwrap().transport(), Some(expected));
    }
}

#[test]
fn a_long_request_falls_back_to_udp_with_the_same_branch() {
    let mut pair = Pair::new(Transport::Udp);
    pair.sim.set_refuses_connections(bob(), true);
    let id = pair.send(&request(Method::Message).body("text/plain", "x".repeat(3000)));
    let (server, message, flow) = pair.request_at_bob();
    assert_eq!(flow.transport, Transport::Udp);
    assert_eq!(message.top_via().unwrap().transport(), Some(Transport::Udp));
    assert_eq!(message.body().len(), 3000);
    pair.respond(server, &Response::new(200));
    pair.run(seconds(1));
    let events = pair.events(alice());
    assert!(matches!(&events[..], [EndpointEvent::Response { id: of, .. }] if *of == id), "{events:?}");
}

#[test]
fn a_request_that_no_datagram_holds_fails_alone_where_tcp_is_refused() {
    let mut pair = Pair::new(Transport::Udp);
    pair.sim.set_refuses_connections(bob(), true);
    let id = pair.send(&request(Method::Message).body("text/plain", "x".repeat(65_400)));
    pair.run(seconds(1));
    let events = pair.events(alice());
    assert!(
        matches!(&events[..], [EndpointEvent::Failed { id: of, failure: Failure::Transport(_) }] if *of == id),
        "{events:?}"
    );
    pair.send(&request(Method::Options));
    pair.request_at_bob();
}

#[test]
fn a_connection_that_breaks_fails_what_waits_on_it() {
    let mut pair = Pair::new(Transport::Tcp);
    pair.send(&request(Method::Options));
    pair.request_at_bob();
    pair.sim.kill(bob());
    pair.run(seconds(1));
    let events = pair.events(alice());
    assert!(
        matches!(&events[..], [EndpointEvent::Failed { failure: Failure::Transport(_), .. }]),
        "{events:?}"
    );
}

#[test]
fn an_answer_finds_its_way_when_the_connection_is_gone() {
    let mut pair = Pair::new(Transport::Tcp);
    pair.send(&request(Method::Options));
    let (id, ..) = pair.request_at_bob();
    // The client comes back at its address, with its connections lost.
    pair.sim.kill(alice());
    pair.sim.revive(alice());
    pair.run(seconds(1));
    pair.respond(id, &Response::new(200));
    pair.run(seconds(1));
    let answer = pair.sim.trace().iter().rfind(|packet| packet.is("SIP/2.0 200")).unwrap();
    assert_eq!(answer.to, alice(), "RFC 3261 §18.2.2: a new connection to the sent-by");
}

#[test]
fn an_answer_counts_only_over_the_transport_and_from_the_peer_of_its_request() {
    let mut pair = Pair::new(Transport::Tls);
    let sent = pair.send(&request(Method::Options));
    let (id, message, _) = pair.request_at_bob();
    let via = std::str::from_utf8(message.header(HeaderName::Via).unwrap()).unwrap();
    let forged = format!(
        "SIP/2.0 403 Forged\r\nVia: {via}\r\nFrom: <sip:alice@127.0.0.1>;tag=a\r\nTo: <sip:bob@127.0.0.2>;tag=b\r\n\
         Call-ID: call@127.0.0.1\r\nCSeq: 7 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    for (number, transport, remote) in [
        (901, Transport::Udp, bob()),
        (902, Transport::Tcp, bob()),
        (903, Transport::Tls, "127.0.0.9:5060".parse().unwrap()),
    ] {
        let flow = Flow { id: FlowId(number), transport, local: alice(), remote };
        let bytes = forged.clone().into_bytes().into();
        pair.sim.with(alice(), |endpoint: &mut Endpoint, now| endpoint.handle_input(now, flow, bytes));
    }
    pair.respond(id, &Response::new(200));
    pair.run(seconds(1));
    let events = pair.events(alice());
    let [EndpointEvent::Response { id, message, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*id, message.status()), (sent, Some(200)));
}

/// Hands bytes to Bob as if they came from `remote`.
fn deliver(pair: &mut Pair, transport: Transport, remote: &str, bytes: &str) {
    let flow = Flow { id: FlowId(900), transport, local: bob(), remote: remote.parse().unwrap() };
    let bytes = bytes.to_owned().into_bytes().into();
    pair.sim.with(bob(), |endpoint: &mut Endpoint, now| endpoint.handle_input(now, flow, bytes));
}

fn options(via: &str, branch: &str) -> String {
    format!(
        "OPTIONS sip:bob@127.0.0.2 SIP/2.0\r\nVia: {via};branch={branch}\r\nMax-Forwards: 70\r\nFrom: <sip:c@example.com>;tag=1\r\n\
         To: <sip:bob@127.0.0.2>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn without_rport_an_answer_goes_to_the_port_of_the_via() {
    let mut pair = Pair::new(Transport::Udp);
    deliver(&mut pair, Transport::Udp, "127.0.0.9:31337", &options("SIP/2.0/UDP 10.0.0.1:7000", "z9hG4bKa"));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    let answer = pair.sim.trace().last().unwrap();
    assert_eq!(answer.to, "127.0.0.9:7000".parse().unwrap());
    assert!(pair.text("SIP/2.0 200").contains("received=127.0.0.9"));
}

#[test]
fn with_rport_an_answer_goes_to_where_the_request_came_from() {
    let mut pair = Pair::new(Transport::Udp);
    deliver(
        &mut pair,
        Transport::Udp,
        "127.0.0.9:31337",
        &options("SIP/2.0/UDP 10.0.0.1:7000;rport", "z9hG4bKa"),
    );
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    let answer = pair.sim.trace().last().unwrap();
    assert_eq!(answer.to, "127.0.0.9:31337".parse().unwrap());
    assert!(pair.text("SIP/2.0 200").contains("rport=31337"));
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let mut pair = Pair::new(Transport::Tcp);
    let both = options("SIP/2.0/TCP 10.0.0.1", "z9hG4bKa") + &options("SIP/2.0/TCP 10.0.0.1", "z9hG4bKb");
    for piece in both.as_bytes().chunks(7) {
        deliver(&mut pair, Transport::Tcp, "127.0.0.9:31337", std::str::from_utf8(piece).unwrap());
    }
    assert_eq!(pair.events(bob()).len(), 2);
}

#[test]
fn a_ping_on_a_stream_gets_its_pong() {
    let mut pair = Pair::new(Transport::Tcp);
    deliver(&mut pair, Transport::Tcp, "127.0.0.9:31337", "\r\n\r\n");
    let flow = FlowId(900);
    let events = pair.events(bob());
    assert!(matches!(&events[..], [EndpointEvent::KeepAlive { flow: of }] if of.id == flow), "{events:?}");
}
