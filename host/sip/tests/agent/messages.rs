//! MESSAGE both ways (RFC 3428), and the 1300-byte rule (RFC 3261 §18.1.1).

use attache_sip::agent::{AgentEvent, Cause, MessageParams};
use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::transport::Transport;

use crate::pair::{Pair, seconds, server, uri};

fn hello(body: impl Into<String>) -> MessageParams {
    MessageParams {
        to: uri("sip:bob@example.com"),
        content_type: "text/plain".into(),
        body: body.into().into(),
        headers: vec![("Auto-Submitted".into(), "auto-replied".into())],
        call_id: "message-1@example.com".into(),
    }
}

fn from_bob(body: &str) -> Request {
    Request::new(Method::Message, "sip:alice@127.0.0.2:5070")
        .from("<sip:bob@example.com>;tag=b")
        .to("<sip:alice@example.com>")
        .call_id("from-bob@example.com")
        .header("Auto-Submitted", "auto-replied")
        .body("text/plain", body.to_owned())
}

#[test]
fn a_message_carries_the_text_the_headers_and_the_identity_given() {
    let mut pair = Pair::new();
    let id = pair.agent(|agent, now| agent.send_message(now, hello("hi")));
    let message = pair.expect("MESSAGE");
    assert_eq!(message.message.body(), b"hi");
    assert_eq!(message.header(HeaderName::CallId), "message-1@example.com");
    assert_eq!(message.message.other("auto-submitted"), Some(&b"auto-replied"[..]));
    pair.answer(&message, 202);
    match pair.event() {
        AgentEvent::MessageSent { id: of, status: 202 } => assert_eq!(of, id),
        event => panic!("an unexpected event: {event:?}"),
    }
}

#[test]
fn a_message_sent_again_keeps_its_from_tag() {
    let mut pair = Pair::new();
    let tags: Vec<String> = (0..2)
        .map(|_| {
            pair.agent(|agent, now| agent.send_message(now, hello("hi")));
            let message = pair.expect("MESSAGE");
            pair.answer(&message, 200);
            message.header(HeaderName::From).to_owned()
        })
        .collect();
    assert_eq!(tags[0], tags[1]);
}

#[test]
fn a_refused_message_says_whether_to_try_again() {
    for (status, retried) in [(404, false), (403, false), (480, true), (500, true)] {
        let mut pair = Pair::new();
        pair.agent(|agent, now| agent.send_message(now, hello("hi")));
        let message = pair.expect("MESSAGE");
        pair.answer(&message, status);
        match pair.event() {
            AgentEvent::MessageFailed { cause, retry, .. } => {
                assert_eq!((cause.status(), retry.is_some()), (Some(status), retried));
            }
            event => panic!("an unexpected event: {event:?}"),
        }
        pair.quiet(seconds(600));
    }
}

#[test]
fn a_line_break_in_a_header_is_refused_before_it_is_sent() {
    let mut pair = Pair::new();
    let mut params = hello("hi");
    params.headers.push(("Subject".into(), "a\r\nRoute: <sip:evil.example>".into()));
    pair.agent(|agent, now| agent.send_message(now, params));
    assert!(matches!(pair.event(), AgentEvent::MessageFailed { cause: Cause::Invalid(_), retry: None, .. }));
    pair.quiet(seconds(60));
}

#[test]
fn a_message_is_acknowledged_only_when_the_application_says_so() {
    let mut pair = Pair::new();
    let sent = pair.send(&from_bob("hi"));
    let AgentEvent::MessageReceived { id, message, .. } = pair.event() else { panic!("a message") };
    assert_eq!(message.body(), b"hi");
    assert_eq!(message.other("Auto-Submitted"), Some(&b"auto-replied"[..]));
    pair.sim.run_for(seconds(1));
    assert!(pair.sim.trace().iter().all(|packet| !packet.is("SIP/2.0 2")));
    pair.agent(|agent, now| agent.respond(now, id, 200)).unwrap();
    assert_eq!(pair.response(sent), 200);
}

#[test]
fn retransmissions_of_a_message_are_given_up_once() {
    let mut pair = Pair::new();
    let sent = pair.send(&from_bob("hi"));
    let AgentEvent::MessageReceived { id, .. } = pair.event() else { panic!("a message") };
    pair.no_event(seconds(10));
    pair.agent(|agent, now| agent.respond(now, id, 200)).unwrap();
    assert_eq!(pair.response(sent), 200);
    pair.no_event(seconds(60));
}

#[test]
fn a_failed_store_can_answer_with_a_time_to_come_back() {
    let mut pair = Pair::new();
    let sent = pair.send(&from_bob("hi"));
    let AgentEvent::MessageReceived { id, .. } = pair.event() else { panic!("a message") };
    let busy = Response::new(500).header(HeaderName::RetryAfter, "30");
    pair.agent(|agent, now| agent.respond_with(now, id, &busy)).unwrap();
    assert_eq!(pair.response(sent), 500);
    assert!(pair.agent(|agent, now| agent.respond(now, id, 200)).is_err(), "it was answered already");
}

#[test]
fn a_long_message_goes_by_tcp() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.send_message(now, hello("x".repeat(2000))));
    let message = pair.expect("MESSAGE");
    assert_eq!(message.flow.transport, Transport::Tcp);
    assert!(message.header(HeaderName::Via).starts_with("SIP/2.0/TCP "));
    pair.answer(&message, 200);
    assert!(matches!(pair.event(), AgentEvent::MessageSent { .. }));
}

#[test]
fn a_long_message_goes_by_udp_where_tcp_is_refused() {
    let mut pair = Pair::new();
    pair.sim.set_refuses_connections(server(), true);
    pair.agent(|agent, now| agent.send_message(now, hello("x".repeat(2000))));
    let message = pair.expect("MESSAGE");
    assert_eq!(message.flow.transport, Transport::Udp);
    assert!(message.header(HeaderName::Via).starts_with("SIP/2.0/UDP "));
    assert_eq!(message.message.body().len(), 2000);
    pair.answer(&message, 200);
    assert!(matches!(pair.event(), AgentEvent::MessageSent { .. }));
}

#[test]
fn a_request_of_ones_own_gets_its_answer() {
    let mut pair = Pair::new();
    let method = attache_sip::message::MethodBuf::parse("INFO").unwrap();
    let id = pair.agent(|agent, now| agent.request(now, Request::new(method, "sip:bob@example.com")));
    let request = pair.expect("INFO");
    assert_eq!(request.header(HeaderName::To), "<sip:bob@example.com>");
    pair.respond(&request, &Response::new(200).header("X-Answer", "42"));
    match pair.event() {
        AgentEvent::Response { id: of, message } => {
            assert_eq!(of, id);
            assert_eq!(message.other("x-answer"), Some(&b"42"[..]));
        }
        event => panic!("an unexpected event: {event:?}"),
    }
}
