//! Registration (RFC 3261 §10, RFC 3608).

use attache_sip::agent::{Agent, AgentEvent, Cause, Push, Registered};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::transport::Transport;

use crate::pair::{Pair, seconds, uri};

#[test]
fn a_registration_names_the_account_and_our_address() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 600));
    let register = pair.expect("REGISTER");
    assert_eq!(register.message.request_uri_bytes(), b"sip:example.com");
    assert_eq!(register.header(HeaderName::To), "<sip:alice@example.com>");
    assert_eq!(register.header(HeaderName::Contact), "<sip:alice@127.0.0.2:5070>");
    assert_eq!(register.header(HeaderName::Expires), "600");
}

#[test]
fn over_tcp_the_contact_is_the_listening_address() {
    let mut pair = Pair::new();
    pair.next_hop(Transport::Tcp);
    pair.agent(|agent, now| agent.register(now, 600));
    let register = pair.expect("REGISTER");
    assert_eq!(register.flow.transport, Transport::Tcp);
    assert_eq!(register.header(HeaderName::Contact), "<sip:alice@127.0.0.2:5070;transport=tcp>");
}

#[test]
fn the_expiry_of_our_own_binding_counts() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    let response = Response::new(200)
        .header(
            HeaderName::Contact,
            "<sip:alice@127.0.0.9:5060>;expires=9, <sip:alice@127.0.0.2:5070>;expires=120",
        )
        .header(HeaderName::Expires, "3600");
    pair.respond(&register, &response);
    let AgentEvent::Registered(Registered { expires, .. }) = pair.event() else { panic!("registered") };
    assert_eq!(expires, seconds(120));

    let before = pair.sim.elapsed();
    pair.expect("REGISTER");
    let waited = (pair.sim.elapsed() - before).as_secs_f64();
    assert!((84.0..102.1).contains(&waited), "a jittered refresh before the end, not after {waited} s");
}

#[test]
fn a_refresh_keeps_the_call_id_and_raises_the_number() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 60));
    let first = pair.expect("REGISTER");
    pair.accept_registration(&first, 60);
    let second = pair.expect("REGISTER");
    assert_eq!(first.header(HeaderName::CallId), second.header(HeaderName::CallId));
    assert_eq!(second.cseq(), first.cseq() + 1);
}

#[test]
fn too_brief_an_interval_is_raised_once() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 60));
    let register = pair.expect("REGISTER");
    pair.respond(&register, &Response::new(423).header(HeaderName::MinExpires, "1800"));
    let again = pair.expect("REGISTER");
    assert_eq!(again.header(HeaderName::Expires), "1800");
    pair.respond(&again, &Response::new(423).header(HeaderName::MinExpires, "7200"));
    let AgentEvent::RegistrationFailed { cause, retry, .. } = pair.event() else { panic!("failed") };
    assert_eq!((cause.status(), retry), (Some(423), None));
    pair.quiet(seconds(7200));
}

#[test]
fn the_service_route_is_followed_out_of_dialogs() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    let route = "<sip:edge.example.com;lr>, <sip:core.example.com;lr>";
    pair.respond(&register, &Response::new(200).header(HeaderName::ServiceRoute, route));
    let AgentEvent::Registered(Registered { service_route, .. }) = pair.event() else { panic!("registered") };
    assert_eq!(service_route, ["<sip:edge.example.com;lr>", "<sip:core.example.com;lr>"]);

    let params = attache_sip::usage::SubscribeParams::presence(uri("sip:bob@example.com"));
    pair.agent(|agent, now| agent.subscribe(now, params));
    let subscribe = pair.expect("SUBSCRIBE");
    let routes: Vec<_> = subscribe.message.values(HeaderName::Route).collect();
    assert_eq!(routes, [&b"<sip:edge.example.com;lr>"[..], b"<sip:core.example.com;lr>"]);
}

#[test]
fn unregistering_removes_the_binding_and_ends_the_refreshes() {
    let mut pair = Pair::new();
    pair.register();
    pair.agent(Agent::unregister);
    let register = pair.expect("REGISTER");
    assert_eq!(register.header(HeaderName::Expires), "0");
    pair.answer(&register, 200);
    assert!(matches!(pair.event(), AgentEvent::Unregistered { confirmed: true }));
    pair.quiet(seconds(7200));
}

#[test]
fn unregistering_while_a_registration_is_on_its_way_removes_it_after_all() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    pair.agent(Agent::unregister);
    pair.accept_registration(&register, 3600);
    let removal = pair.expect("REGISTER");
    assert_eq!(removal.header(HeaderName::Expires), "0");
}

#[test]
fn a_forbidden_account_is_told_and_not_tried_again() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    pair.answer(&register, 403);
    let AgentEvent::RegistrationFailed { cause, retry, .. } = pair.event() else { panic!("failed") };
    assert!(matches!(cause, Cause::Status { code: 403, .. }));
    assert_eq!(retry, None);
    pair.quiet(seconds(7200));
}

#[test]
fn retry_after_is_honoured() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    let before = pair.sim.elapsed();
    pair.respond(&register, &Response::new(503).header(HeaderName::RetryAfter, "100 (maintenance)"));
    let AgentEvent::RegistrationFailed { retry: Some(retry), .. } = pair.event() else { panic!("failed") };
    assert!((100..=111).contains(&retry.as_secs()));
    pair.expect("REGISTER");
    assert!(pair.sim.elapsed() - before >= seconds(100));
}

#[test]
fn back_off_grows_and_is_jittered() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let mut bounds = [(2.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0)].into_iter();
    for _ in 0..4 {
        let register = pair.expect("REGISTER");
        pair.answer(&register, 500);
        let AgentEvent::RegistrationFailed { retry: Some(retry), .. } = pair.event() else {
            panic!("failed")
        };
        let (least, most) = bounds.next().unwrap();
        assert!((least..=most).contains(&retry.as_secs_f64()), "{retry:?}");
    }
}

#[test]
fn a_granted_time_is_no_longer_than_what_was_asked_and_no_refresh_comes_at_once() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 600));
    let first = pair.expect("REGISTER");
    pair.accept_registration(&first, 4_000_000);
    let AgentEvent::Registered(Registered { expires, .. }) = pair.event() else { panic!("registered") };
    assert_eq!(expires, seconds(600));
    let second = pair.expect("REGISTER");
    pair.accept_registration(&second, 1);
    pair.event();
    pair.quiet(seconds(9));
}

#[test]
fn a_reason_phrase_brings_no_control_characters() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 600));
    let register = pair.expect("REGISTER");
    pair.respond(&register, &Response::new(403).reason("no\u{1b}[31m"));
    let AgentEvent::RegistrationFailed { cause, .. } = pair.event() else { panic!("failed") };
    assert!(!cause.to_string().chars().any(char::is_control), "{cause:?}");
}

#[test]
fn a_next_hop_that_names_an_interval_is_kept_alive() {
    let pings = pings_with("30");
    assert!((9..=12).contains(&pings), "{pings}");
}

#[test]
fn an_interval_without_end_is_no_fault() {
    for interval in [u64::MAX.to_string(), "18446744073709551616".into(), "1".repeat(200)] {
        assert_eq!(pings_with(&interval), 0);
    }
}

/// The pings in 290 seconds where the next hop names this interval.
fn pings_with(interval: &str) -> usize {
    // RFC 6223: the parameter of our Via comes back with a value.
    let mut pair = Pair::new();
    pair.next_hop(Transport::Tcp);
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    assert!(register.message.top_via().unwrap().params().has("keep"));
    let via = register.header(HeaderName::Via).replace(";keep", &format!(";keep={interval}"));
    let answer = format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {}\r\nTo: {};tag=r\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\nContent-Length: 0\r\n\r\n",
        register.header(HeaderName::From),
        register.header(HeaderName::To),
        register.header(HeaderName::CallId),
        register.cseq(),
    );
    let flow = attache_sip::transport::Flow {
        id: attache_sip::transport::FlowId(99),
        transport: Transport::Tcp,
        local: crate::pair::client(),
        remote: crate::pair::server(),
    };
    pair.agent(|agent, now| agent.handle_input(now, flow, answer.into()));
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
    pair.sim.clear_trace();
    pair.sim.run_for(seconds(290));
    pair.sim.trace().iter().filter(|packet| &packet.payload[..] == b"\r\n\r\n").count()
}

#[test]
fn a_device_that_sleeps_tells_how_it_is_woken() {
    let mut pair = Pair::with(|config| {
        config.push = Some(Push {
            provider: "webpush".into(),
            param: String::new(),
            prid: "https://push.example.net/a;b=c".into(),
        });
    });
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    assert_eq!(
        register.header(HeaderName::Contact),
        "<sip:alice@127.0.0.2:5070;pn-provider=webpush;pn-prid=https://push.example.net/a%3Bb%3Dc>"
    );
    pair.accept_registration(&register, 600);
    let AgentEvent::Registered(Registered { expires, .. }) = pair.event() else { panic!("registered") };
    assert_eq!(expires, seconds(600));
}
