//! Access tokens instead of passwords (RFC 8898).

use attache_sip::agent::{AgentEvent, Cause, Credential, MessageParams, TokenNeeded};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::transport::Transport;
use attache_sip::usage::{PublishParams, SubscribeParams, SubscriptionState};

use crate::pair::{Incoming, Pair, seconds, uri};

const CHALLENGE: &str =
    r#"Bearer realm="example.com", authz_server="https://as.example.com/authorize", scope="sip""#;

fn account(token: Option<&str>) -> Pair {
    let mut pair = Pair::with(|config| config.credential = Credential::bearer(token.map(Into::into)));
    pair.next_hop(Transport::Tls);
    pair
}

fn challenge(pair: &mut Pair, incoming: &Incoming, status: u16, value: &str) {
    let name = if status == 401 { HeaderName::WwwAuthenticate } else { HeaderName::ProxyAuthenticate };
    pair.respond(incoming, &Response::new(status).header(name, value));
}

fn needed(pair: &mut Pair) -> TokenNeeded {
    match pair.event() {
        AgentEvent::TokenNeeded(needed) => needed,
        event => panic!("an unexpected event: {event:?}"),
    }
}

fn message() -> MessageParams {
    MessageParams {
        to: uri("sip:bob@example.com"),
        content_type: "text/plain".into(),
        body: "hello".into(),
        headers: Vec::new(),
        call_id: "one@example.com".into(),
    }
}

/// Registered with the token `one`.
fn signed_in() -> Pair {
    let mut pair = account(Some("one"));
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    challenge(&mut pair, &first, 401, CHALLENGE);
    let again = pair.expect("REGISTER");
    assert_eq!(again.header(HeaderName::Authorization), "Bearer one");
    pair.accept_registration(&again, 3600);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
    pair
}

#[test]
fn a_token_is_sent_where_the_service_asks_for_one() {
    signed_in();
}

#[test]
fn a_token_is_not_sent_before_the_service_asks_for_one() {
    let mut pair = account(Some("one"));
    pair.agent(|agent, now| agent.register(now, 3600));
    assert!(!pair.expect("REGISTER").has(HeaderName::Authorization));
}

#[test]
fn a_missing_token_is_asked_for_once_and_continues_what_waited() {
    let mut pair = account(None);
    pair.agent(|agent, now| {
        agent.register(now, 3600);
        agent.publish(now, PublishParams::presence("<presence/>"));
    });
    for _ in 0..2 {
        let request = pair.expect_any();
        challenge(&mut pair, &request, 401, CHALLENGE);
    }
    let wanted = needed(&mut pair);
    assert_eq!(wanted.realm, "example.com");
    assert_eq!(wanted.authz_server.as_deref(), Some("https://as.example.com/authorize"));
    assert_eq!((wanted.scope.as_deref(), wanted.error, wanted.insecure), (Some("sip"), None, false));
    pair.no_event(seconds(600));
    pair.agent(|agent, now| agent.set_token(now, "two".into()));
    for _ in 0..2 {
        let request = pair.expect_any();
        assert_eq!(request.header(HeaderName::Authorization), "Bearer two");
    }
}

#[test]
fn an_expired_token_is_asked_for_again() {
    let mut pair = signed_in();
    let refresh = pair.expect("REGISTER");
    assert_eq!(refresh.header(HeaderName::Authorization), "Bearer one", "sent at once by now");
    challenge(&mut pair, &refresh, 401, &format!(r#"{CHALLENGE}, error="invalid_token""#));
    assert_eq!(needed(&mut pair).error.as_deref(), Some("invalid_token"));
    pair.agent(|agent, now| agent.set_token(now, "two".into()));
    let again = pair.expect("REGISTER");
    assert_eq!(again.header(HeaderName::Authorization), "Bearer two");
    pair.accept_registration(&again, 3600);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
}

#[test]
fn a_refusal_of_an_older_token_tries_the_newer_one() {
    let mut pair = signed_in();
    let refresh = pair.expect("REGISTER");
    pair.agent(|agent, now| agent.set_token(now, "two".into()));
    challenge(&mut pair, &refresh, 401, CHALLENGE);
    assert_eq!(pair.expect("REGISTER").header(HeaderName::Authorization), "Bearer two");
    pair.no_event(seconds(1));
}

#[test]
fn a_token_is_never_sent_without_encryption() {
    let mut pair = account(Some("one"));
    pair.next_hop(Transport::Tcp);
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    challenge(&mut pair, &register, 401, CHALLENGE);
    assert!(needed(&mut pair).insecure);
    let AgentEvent::RegistrationFailed { cause, retry: None, .. } = pair.event() else { panic!("failed") };
    assert_eq!(cause, Cause::UnsupportedChallenge { code: 401 });
    pair.quiet(seconds(7200));
    assert!(
        !pair
            .sim
            .trace()
            .iter()
            .any(|packet| String::from_utf8_lossy(&packet.payload).contains("Bearer one"))
    );
}

#[test]
fn a_token_is_sent_without_encryption_where_the_configuration_says_so() {
    let mut pair = Pair::with(|config| {
        config.credential = Credential::Bearer { token: Some("one".into()), insecure: true };
    });
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    challenge(&mut pair, &register, 401, CHALLENGE);
    assert_eq!(pair.expect("REGISTER").header(HeaderName::Authorization), "Bearer one");
}

#[test]
fn a_peer_that_asks_for_the_token_does_not_get_it() {
    let mut pair = signed_in();
    pair.agent(|agent, now| {
        agent.send_message(now, message());
        agent.subscribe(now, SubscribeParams::presence(uri("sip:mallory@example.com")));
    });
    for _ in 0..2 {
        let request = pair.expect_any();
        assert!(!request.has(HeaderName::Authorization));
        challenge(&mut pair, &request, 401, CHALLENGE);
        match pair.event() {
            AgentEvent::MessageFailed { cause, .. }
            | AgentEvent::Subscription { state: SubscriptionState::Terminated { cause }, .. } => {
                assert_eq!(cause, Cause::UnsupportedChallenge { code: 401 });
            }
            event => panic!("an unexpected event: {event:?}"),
        }
    }
    pair.quiet(seconds(60));
}

#[test]
fn a_proxy_of_our_service_gets_the_token() {
    let mut pair = signed_in();
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let request = pair.expect("PUBLISH");
    challenge(&mut pair, &request, 407, CHALLENGE);
    let again = pair.expect("PUBLISH");
    assert_eq!(again.header(HeaderName::ProxyAuthorization), "Bearer one");
    assert_eq!(again.cseq(), request.cseq() + 1);
    pair.answer(&again, 200);
    pair.agent(|agent, now| agent.send_message(now, message()));
    let request = pair.expect("MESSAGE");
    assert_eq!(request.header(HeaderName::ProxyAuthorization), "Bearer one");
    assert!(!request.has(HeaderName::Authorization));
}

#[test]
fn a_registrar_says_beforehand_that_its_proxy_wants_the_token() {
    let mut pair = account(Some("one"));
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    let refusal = Response::new(401)
        .header(HeaderName::WwwAuthenticate, CHALLENGE)
        .header(HeaderName::ProxyAuthenticate, CHALLENGE);
    pair.respond(&first, &refusal);
    let second = pair.expect("REGISTER");
    assert_eq!(second.header(HeaderName::Authorization), "Bearer one");
    pair.accept_registration(&second, 3600);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
    pair.agent(|agent, now| agent.send_message(now, message()));
    let request = pair.expect("MESSAGE");
    assert_eq!(request.header(HeaderName::ProxyAuthorization), "Bearer one");
    assert!(!request.has(HeaderName::Authorization));
}

#[test]
fn a_peer_that_asks_as_a_proxy_does_not_get_the_token() {
    let mut pair = signed_in();
    for realm in ["example.com", "elsewhere.example"] {
        pair.agent(|agent, now| agent.send_message(now, message()));
        let request = pair.expect("MESSAGE");
        challenge(&mut pair, &request, 407, &format!(r#"Bearer realm="{realm}""#));
        let AgentEvent::MessageFailed { cause, .. } = pair.event() else { panic!("failed") };
        assert_eq!(cause, Cause::UnsupportedChallenge { code: 407 });
    }
    pair.agent(|agent, now| agent.send_message(now, message()));
    let request = pair.expect("MESSAGE");
    assert!(!request.has(HeaderName::Authorization) && !request.has(HeaderName::ProxyAuthorization));
}

#[test]
fn a_proxy_and_the_registrar_behind_it_both_get_the_token() {
    let mut pair = account(Some("one"));
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    challenge(&mut pair, &first, 407, r#"Bearer realm="edge.example.com""#);
    let second = pair.expect("REGISTER");
    assert_eq!(second.header(HeaderName::ProxyAuthorization), "Bearer one");
    challenge(&mut pair, &second, 401, CHALLENGE);
    let third = pair.expect("REGISTER");
    assert_eq!(third.header(HeaderName::ProxyAuthorization), "Bearer one");
    assert_eq!(third.header(HeaderName::Authorization), "Bearer one");
    pair.accept_registration(&third, 3600);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
}

#[test]
fn an_account_with_a_token_answers_no_digest_challenge() {
    let mut pair = account(Some("one"));
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    pair.challenge(&register, 401, "nonce", false);
    let AgentEvent::RegistrationFailed { cause, retry: None, .. } = pair.event() else { panic!("failed") };
    assert_eq!(cause, Cause::UnsupportedChallenge { code: 401 });
}

#[test]
fn debug_output_hides_the_token() {
    let pair = account(Some("a-secret-token"));
    let mut pair = pair;
    let text = pair.agent(|agent, _| format!("{agent:?} {:?}", agent.config()));
    assert!(!text.contains("a-secret-token"), "{text}");
}

#[test]
fn a_subscription_without_a_token_begins_anew_as_soon_as_there_is_one() {
    let mut pair = account(None);
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::watchers(uri("sip:alice@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    challenge(&mut pair, &request, 401, CHALLENGE);
    needed(&mut pair);
    let AgentEvent::Subscription { state: SubscriptionState::Retrying { cause, .. }, .. } = pair.event()
    else {
        panic!("it is tried again")
    };
    assert_eq!(cause, Cause::NoToken);
    pair.agent(|agent, now| agent.set_token(now, "two".into()));
    let again = pair.expect_within("SUBSCRIBE", seconds(1));
    assert_eq!(again.header(HeaderName::Authorization), "Bearer two");
}

#[test]
fn signing_out_does_not_wait_for_a_token() {
    let mut pair = account(None);
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    challenge(&mut pair, &register, 401, CHALLENGE);
    needed(&mut pair);
    pair.agent(attache_sip::agent::Agent::unregister);
    let AgentEvent::RegistrationFailed { cause: Cause::NoToken, .. } = pair.event() else { panic!("failed") };
    assert!(matches!(pair.event(), AgentEvent::Unregistered { .. }));
    pair.quiet(seconds(600));
}
