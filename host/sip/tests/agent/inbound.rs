//! Requests that come without being asked for.

use attache_sip::agent::AgentEvent;
use attache_sip::endpoint::Request;
use attache_sip::message::{HeaderName, Method, MethodBuf};
use attache_sip::transport::{Destination, Transport};

use crate::pair::{Pair, seconds};

fn request(method: &str) -> Request {
    Request::new(MethodBuf::parse(method).unwrap(), "sip:alice@127.0.0.2:5070")
        .from("<sip:bob@example.com>;tag=b")
        .to("<sip:alice@example.com>")
        .call_id(format!("{method}@example.com"))
}

fn last_answer(pair: &Pair) -> String {
    let packet = pair.sim.trace().iter().rfind(|packet| packet.is("SIP/2.0 ")).unwrap();
    String::from_utf8(packet.payload.to_vec()).unwrap()
}

#[test]
fn options_tells_what_we_understand() {
    let mut pair = Pair::new();
    let id = pair.send(&request("OPTIONS"));
    assert_eq!(pair.response(id), 200);
    let answer = last_answer(&pair);
    for header in ["Allow: MESSAGE, NOTIFY, OPTIONS", "Allow-Events: presence", "Accept: text/plain"] {
        assert!(answer.contains(header), "{answer}");
    }
}

#[test]
fn a_method_that_is_not_allowed_gets_405_with_those_that_are() {
    let mut pair = Pair::new();
    for method in ["SUBSCRIBE", "REFER", "INFO", "PUBLISH", "REGISTER"] {
        let id = pair.send(&request(method));
        assert_eq!(pair.response(id), 405, "{method}");
        assert!(last_answer(&pair).contains("Allow: "));
    }
}

#[test]
fn an_unknown_method_gets_501() {
    let mut pair = Pair::new();
    let id = pair.send(&request("NEWMETHOD"));
    assert_eq!(pair.response(id), 501);
}

#[test]
fn a_call_is_refused_and_the_refusal_ends_with_the_ack() {
    let mut pair = Pair::new();
    let id = pair.send(&request("INVITE"));
    assert_eq!(pair.response(id), 405);
    pair.sim.run_for(seconds(60));
    let refusals = pair.sim.trace().iter().filter(|packet| packet.is("SIP/2.0 405")).count();
    assert_eq!(refusals, 1, "acknowledged, so not repeated");
}

#[test]
fn requests_within_unknown_dialogs_get_481() {
    let mut pair = Pair::new();
    for method in ["BYE", "NOTIFY", "MESSAGE"] {
        let request = Request::new(MethodBuf::parse(method).unwrap(), "sip:alice@127.0.0.2:5070")
            .from("<sip:bob@example.com>;tag=b")
            .to("<sip:alice@example.com>;tag=nobody")
            .call_id(format!("{method}@example.com"))
            .header(HeaderName::Event, "presence")
            .header(HeaderName::SubscriptionState, "active");
        let id = pair.send(&request);
        assert_eq!(pair.response(id), 481, "{method}");
    }
}

#[test]
fn an_encoded_body_gets_415() {
    let mut pair = Pair::new();
    let encoded = request("MESSAGE").header(HeaderName::ContentEncoding, "deflate").body("text/plain", "x");
    let id = pair.send(&encoded);
    assert_eq!(pair.response(id), 415);
    pair.no_event(seconds(1));
}

#[test]
fn methods_of_the_embedders_own_are_given_up() {
    let mut pair = Pair::with(|config| config.methods.push(Method::Info.into()));
    let sent = pair.send(&request("INFO"));
    let AgentEvent::RequestReceived { id, message, .. } = pair.event() else { panic!("a request") };
    assert_eq!(message.method(), Some(Method::Info));
    pair.agent(|agent, now| agent.respond(now, id, 204)).unwrap();
    assert_eq!(pair.response(sent), 204);
}

#[test]
fn a_request_that_demands_what_we_do_not_know_is_answered_and_told() {
    let mut pair = Pair::new();
    let id = pair.send(&request("MESSAGE").header(HeaderName::Require, "teleport"));
    assert_eq!(pair.response(id), 420);
    assert!(last_answer(&pair).contains("Unsupported: teleport"));
    assert!(pair.diagnostics.iter().any(|text| text.contains("Malformed")), "{:?}", pair.diagnostics);
    pair.no_event(seconds(1));
}

#[test]
fn a_message_from_elsewhere_than_the_service_gets_403_and_bounded_diagnostics() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| {
        let remote = "127.0.0.200:5060".parse().unwrap();
        agent.set_next_hop(now, vec![Destination { transport: Transport::Udp, remote }]);
    });
    for _ in 0..100 {
        let id = pair.send(&request("MESSAGE").body("text/plain", "psst"));
        assert_eq!(pair.response(id), 403);
    }
    let told = pair.diagnostics.iter().filter(|text| text.contains("403")).count();
    assert!((1..=64).contains(&told), "{told}");
    pair.no_event(seconds(1));
    let id = pair.send(&request("OPTIONS"));
    assert_eq!(pair.response(id), 200);
}

#[test]
fn a_message_from_another_port_of_the_service_is_taken() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| {
        let remote = "127.0.0.1:5999".parse().unwrap();
        agent.set_next_hop(now, vec![Destination { transport: Transport::Udp, remote }]);
    });
    pair.send(&request("MESSAGE").body("text/plain", "hi"));
    assert!(matches!(pair.event(), AgentEvent::MessageReceived { .. }));
}
