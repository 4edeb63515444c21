//! Digest (RFC 3261 §22, RFC 7616).

use attache_sip::agent::{AgentEvent, Cause};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::usage::{PublishParams, SubscribeParams};

use crate::pair::{Incoming, Pair, seconds, uri};

/// The nonce and its count in the credentials of a request.
fn proof(incoming: &Incoming, proxy: bool) -> (String, u32) {
    let credentials = incoming.message.credentials(proxy).next().expect("credentials");
    let count = u32::from_str_radix(&credentials.nc.expect("a nonce count"), 16).unwrap();
    (credentials.nonce, count)
}

#[test]
fn a_challenge_is_answered_once_with_the_next_number() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    assert!(!first.has(HeaderName::Authorization));
    pair.challenge(&first, 401, "n1", false);
    let second = pair.expect("REGISTER");
    assert_eq!(proof(&second, false), ("n1".to_owned(), 1));
    assert_eq!(second.cseq(), first.cseq() + 1);
    assert_eq!(second.header(HeaderName::CallId), first.header(HeaderName::CallId));
    assert_eq!(second.header(HeaderName::From), first.header(HeaderName::From));
}

#[test]
fn a_proxys_challenge_is_answered_in_its_own_header() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let first = pair.expect("PUBLISH");
    pair.challenge(&first, 407, "n1", false);
    let second = pair.expect("PUBLISH");
    assert!(second.has(HeaderName::ProxyAuthorization) && !second.has(HeaderName::Authorization));
}

#[test]
fn later_requests_use_the_nonce_again_and_pay_no_challenge() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    pair.challenge(&first, 401, "n1", false);
    let second = pair.expect("REGISTER");
    pair.accept_registration(&second, 3600);
    pair.event();
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let publish = pair.expect("PUBLISH");
    assert_eq!(proof(&publish, false), ("n1".to_owned(), 2));
}

#[test]
fn a_stale_nonce_is_replaced_without_a_word() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 60));
    let first = pair.expect("REGISTER");
    pair.challenge(&first, 401, "n1", false);
    let second = pair.expect("REGISTER");
    pair.accept_registration(&second, 60);
    pair.event();
    let refresh = pair.expect("REGISTER");
    assert_eq!(proof(&refresh, false).0, "n1");
    pair.challenge(&refresh, 401, "n2", true);
    let again = pair.expect("REGISTER");
    assert_eq!(proof(&again, false), ("n2".to_owned(), 1));
    pair.accept_registration(&again, 60);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
}

#[test]
fn a_wrong_password_is_told_once_and_then_there_is_silence() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    for nonce in ["n1", "n2"] {
        let register = pair.expect("REGISTER");
        pair.challenge(&register, 401, nonce, false);
    }
    let AgentEvent::RegistrationFailed { cause, retry, .. } = pair.event() else { panic!("failed") };
    assert_eq!(cause, Cause::WrongPassword { realm: "example.com".into(), code: 401 });
    assert_eq!(retry, None);
    pair.quiet(seconds(86_400));
    assert_eq!(pair.sent("REGISTER"), 2);
}

#[test]
fn after_a_wrong_password_nothing_is_sent_for_anybody() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    for nonce in ["n1", "n2"] {
        let register = pair.expect("REGISTER");
        pair.challenge(&register, 401, nonce, false);
    }
    pair.event();
    pair.agent(|agent, now| {
        agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com")));
        agent.publish(now, PublishParams::presence("<presence/>"));
    });
    let AgentEvent::Subscription { state, .. } = pair.event() else { panic!("ended") };
    assert!(state.is_final(), "{state:?}");
    let AgentEvent::Publication { state, .. } = pair.event() else { panic!("ended") };
    assert!(state.is_final(), "{state:?}");
    pair.quiet(seconds(86_400));
    assert_eq!((pair.sent("SUBSCRIBE"), pair.sent("PUBLISH")), (0, 0));
}

#[test]
fn a_wrong_password_costs_many_subscriptions_two_requests_each_at_most() {
    let mut pair = Pair::with(|config| config.subscribe_window = 4);
    for n in 0..50 {
        let params = SubscribeParams::presence(uri(&format!("sip:user{n}@example.com")));
        pair.agent(|agent, now| agent.subscribe(now, params));
    }
    for n in 0..100 {
        let subscribe = pair.expect("SUBSCRIBE");
        pair.challenge(&subscribe, 407, &format!("n{n}"), false);
    }
    for _ in 0..50 {
        let AgentEvent::Subscription { state, .. } = pair.event() else { panic!("ended") };
        assert!(state.is_final(), "{state:?}");
    }
    pair.quiet(seconds(86_400));
    assert_eq!(pair.sent("SUBSCRIBE"), 100);
}

#[test]
fn a_peer_who_refuses_us_in_the_name_of_our_realm_does_not_cost_us_the_registration() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 60));
    let first = pair.expect("REGISTER");
    pair.challenge(&first, 401, "n1", false);
    let second = pair.expect("REGISTER");
    pair.accept_registration(&second, 60);
    pair.event();
    let message = attache_sip::agent::MessageParams {
        to: uri("sip:mallory@example.com"),
        content_type: "text/plain".into(),
        body: "hi".into(),
        headers: Vec::new(),
        call_id: "m1".into(),
    };
    pair.agent(|agent, now| agent.send_message(now, message));
    for nonce in ["evil-1", "evil-2"] {
        let request = pair.expect("MESSAGE");
        pair.challenge(&request, 401, nonce, false);
    }
    let AgentEvent::MessageFailed { cause, .. } = pair.event() else { panic!("failed") };
    assert!(matches!(cause, Cause::WrongPassword { .. }));
    let refresh = pair.expect("REGISTER");
    assert_eq!(proof(&refresh, false).0, "n1", "the proven session is kept");
    pair.accept_registration(&refresh, 60);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
}

#[test]
fn a_stranger_who_rejects_our_password_does_not_lock_the_account() {
    let mut pair = Pair::new();
    let message = |n: u32| attache_sip::agent::MessageParams {
        to: uri("sip:stranger@elsewhere.example"),
        content_type: "text/plain".into(),
        body: "hi".into(),
        headers: Vec::new(),
        call_id: format!("m{n}"),
    };
    pair.agent(|agent, now| agent.send_message(now, message(1)));
    for nonce in ["n1", "n2"] {
        let request = pair.expect("MESSAGE");
        let value = format!("Digest realm=\"elsewhere\", nonce=\"{nonce}\", qop=\"auth\"");
        pair.respond(&request, &Response::new(401).header(HeaderName::WwwAuthenticate, value));
    }
    assert!(matches!(
        pair.event(),
        AgentEvent::MessageFailed { cause: Cause::WrongPassword { .. }, retry: None, .. }
    ));
    pair.register();
}

#[test]
fn a_new_password_gives_the_account_another_chance() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    for nonce in ["n1", "n2"] {
        let register = pair.expect("REGISTER");
        pair.challenge(&register, 401, nonce, false);
    }
    pair.event();
    pair.agent(|agent, now| {
        agent.set_password("better".into());
        agent.register(now, 3600);
    });
    let first = pair.expect("REGISTER");
    pair.challenge(&first, 401, "n4", false);
    let second = pair.expect("REGISTER");
    assert_eq!(proof(&second, false).0, "n4");
    pair.accept_registration(&second, 3600);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
}

#[test]
fn requests_on_their_way_while_a_nonce_dies_do_not_blame_the_password() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    pair.challenge(&first, 401, "n1", false);
    let second = pair.expect("REGISTER");
    pair.accept_registration(&second, 3600);
    pair.event();

    for name in ["bob", "carol", "dave", "erin"] {
        let params = SubscribeParams::presence(uri(&format!("sip:{name}@example.com")));
        pair.agent(|agent, now| agent.subscribe(now, params));
    }
    let all: Vec<Incoming> = (0..4).map(|_| pair.expect("SUBSCRIBE")).collect();
    for (n, subscribe) in all.iter().enumerate() {
        // The service forgot its nonces, and does not say "stale".
        pair.challenge(subscribe, 401, &format!("fresh-{n}"), false);
    }
    for _ in 0..4 {
        let subscribe = pair.expect("SUBSCRIBE");
        assert!(proof(&subscribe, false).0.starts_with("fresh-"));
        pair.grant(&subscribe, 3600);
    }
    pair.no_event(seconds(5));
}

#[test]
fn a_service_that_never_accepts_ends_in_a_failure_even_if_it_says_stale() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    for n in 0..4 {
        let register = pair.expect("REGISTER");
        pair.challenge(&register, 401, &format!("n{n}"), true);
    }
    assert!(matches!(pair.event(), AgentEvent::RegistrationFailed { retry: None, .. }));
    pair.quiet(seconds(86_400));
}

#[test]
fn a_challenge_that_cannot_be_answered_is_a_failure_of_its_own() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    let response = Response::new(401).header(
        HeaderName::WwwAuthenticate,
        "Digest realm=\"example.com\", nonce=\"n\", algorithm=SHA-9000, qop=\"auth\"",
    );
    pair.respond(&register, &response);
    let AgentEvent::RegistrationFailed { cause, .. } = pair.event() else { panic!("failed") };
    assert_eq!(cause, Cause::UnsupportedChallenge { code: 401 });
}
