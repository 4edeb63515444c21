//! Non-INVITE transactions.

use attache_sip::endpoint::{Endpoint, EndpointEvent, Failure, RespondError, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::transport::Transport;

use crate::pair::{Pair, alice, bob, request, seconds};

#[test]
fn a_request_is_retransmitted_until_timer_f() {
    let mut pair = Pair::new(Transport::Udp);
    pair.sim.kill(bob());
    let id = pair.send(&request(Method::Options));
    pair.run(seconds(60));
    assert_eq!(pair.times("OPTIONS"), [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    let events = pair.events(alice());
    assert!(
        matches!(&events[..], [EndpointEvent::Failed { id: of, failure: Failure::Timeout }] if *of == id),
        "{events:?}"
    );
    assert_eq!(pair.transactions(alice()), (0, 0));
}

#[test]
fn a_lost_request_is_made_up_for() {
    let mut pair = Pair::new(Transport::Udp);
    pair.lose("OPTIONS", 2);
    pair.send(&request(Method::Options));
    pair.run(seconds(2));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    pair.run(seconds(1));
    assert_eq!(pair.statuses(), [200]);
}

#[test]
fn a_lost_answer_is_repeated_from_memory() {
    let mut pair = Pair::new(Transport::Udp);
    pair.lose("SIP/2.0", 2);
    pair.send(&request(Method::Options));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    pair.run(seconds(5));
    assert_eq!(pair.statuses(), [200], "passed up once");
    assert!(pair.events(bob()).is_empty(), "the repeats of the request are not passed up");
    let answers: Vec<_> = pair.sim.trace().iter().filter(|packet| packet.is("SIP/2.0 200")).collect();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|packet| packet.payload == answers[0].payload), "octet by octet the same");
}

#[test]
fn an_answer_with_headers_and_body_is_repeated_as_it_was() {
    let mut pair = Pair::new(Transport::Udp);
    pair.lose("SIP/2.0", 1);
    pair.send(&request(Method::Options));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200).header("X-Once", "1").to_tag("mine").body("text/plain", "hello"));
    pair.run(seconds(5));
    let answers: Vec<_> = pair.sim.trace().iter().filter(|packet| packet.is("SIP/2.0 200")).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].payload, answers[1].payload);
}

#[test]
fn timer_k_absorbs_repeats_and_forgets() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Options));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    pair.run(seconds(4));
    assert_eq!(pair.transactions(alice()).0, 1);
    pair.run(seconds(2));
    assert_eq!(pair.transactions(alice()).0, 0);
}

#[test]
fn timer_j_forgets_the_answer() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Options));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    pair.run(seconds(31));
    assert_eq!(pair.transactions(bob()).1, 1);
    pair.run(seconds(2));
    assert_eq!(pair.transactions(bob()).1, 0);
}

#[test]
fn nothing_lingers_on_a_reliable_transport() {
    let mut pair = Pair::new(Transport::Tcp);
    pair.send(&request(Method::Options));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    pair.run(seconds(1));
    assert_eq!(pair.statuses(), [200]);
    assert_eq!((pair.transactions(alice()), pair.transactions(bob())), ((0, 0), (0, 0)));
    assert_eq!(pair.times("OPTIONS").len(), 1);
}

#[test]
fn a_request_that_nobody_answers_is_forgotten() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Message));
    let (id, ..) = pair.request_at_bob();
    pair.run(seconds(40));
    assert_eq!(pair.transactions(bob()).1, 0);
    let late =
        pair.sim.with(bob(), |endpoint: &mut Endpoint, now| endpoint.respond(now, id, &Response::new(200)));
    assert_eq!(late, Err(RespondError::Over));
}

#[test]
fn a_slow_answer_stops_the_retransmissions_with_a_late_100() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Message));
    pair.run(seconds(30));
    assert_eq!(pair.times("SIP/2.0 100")[0], 3501, "RFC 4320: not before timer E has reached T2");
    assert!(!pair.text("SIP/2.0 100").contains(";tag=b"));
}

#[test]
fn answers_that_rfc_4320_forbids_are_not_sent() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Options));
    let (id, ..) = pair.request_at_bob();
    for status in [180, 183, 408] {
        let refused = pair
            .sim
            .with(bob(), |endpoint: &mut Endpoint, now| endpoint.respond(now, id, &Response::new(status)));
        assert_eq!(refused, Err(RespondError::Forbidden(status)));
    }
    pair.respond(id, &Response::new(200));
}

#[test]
fn an_answer_carries_what_belongs_to_the_request() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Options).header(HeaderName::RecordRoute, "<sip:127.0.0.9;lr>"));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(486));
    let answer = pair.text("SIP/2.0 486 Busy Here");
    for part in ["From: <sip:alice@127.0.0.1>;tag=a", "Call-ID: call@127.0.0.1", "CSeq: 7 OPTIONS"] {
        assert!(answer.contains(part), "{answer}");
    }
    assert!(answer.contains("To: <sip:bob@127.0.0.2>;tag="), "{answer}");
    assert!(answer.contains(";rport=5060"), "RFC 3581: {answer}");
}

#[test]
fn a_request_carries_what_belongs_to_the_hop() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Options));
    let (_, message, _) = pair.request_at_bob();
    let via = message.top_via().unwrap();
    assert!(via.rfc3261_branch().is_some());
    assert_eq!(via.rport(), Some(None));
    assert_eq!(message.max_forwards(), Some(70));
    assert_eq!(message.header(HeaderName::ContentLength), Some(&b"0"[..]));
}
