//! Subscriptions that do not bring again what is known (RFC 5839).

use attache_sip::agent::{AgentEvent, SubscriptionId, Terms};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::usage::{SubscribeParams, SubscriptionState};

use crate::pair::{Incoming, Notify, Pair, seconds, uri};

fn bob() -> SubscribeParams {
    SubscribeParams::presence(uri("sip:bob@example.com"))
}

fn subscribe(pair: &mut Pair, params: SubscribeParams) -> (SubscriptionId, Incoming) {
    let id = pair.agent(|agent, now| agent.subscribe(now, params)).unwrap();
    (id, pair.expect("SUBSCRIBE"))
}

/// State, whether there was a document, and terms of the next event.
fn told(pair: &mut Pair) -> (SubscriptionState, bool, Terms) {
    match pair.event() {
        AgentEvent::Subscription { state, notify, terms, .. } => (state, notify.is_some(), terms),
        event => panic!("an unexpected event: {event:?}"),
    }
}

fn tagged<'a>(cseq: u32, headers: &'a [(&'a str, &'a str)]) -> Notify<'a> {
    Notify { headers, ..Notify::active(cseq) }
}

fn bare<'a>(cseq: u32, headers: &'a [(&'a str, &'a str)]) -> Notify<'a> {
    Notify { body: None, ..tagged(cseq, headers) }
}

/// A subscription in force, whose document has the tag `one`.
fn active(pair: &mut Pair) -> (SubscriptionId, Incoming) {
    let (id, request) = subscribe(pair, bob());
    pair.grant(&request, 3600);
    assert_eq!(pair.notify(&request, tagged(1, &[("SIP-ETag", "one")])), 200);
    let (_, _, terms) = told(pair);
    assert_eq!(terms.etag.as_deref(), Some("one"));
    (id, request)
}

fn no_notification(pair: &mut Pair, request: &Incoming, expires: u32) {
    let answer = Response::new(204)
        .to_tag("notifier")
        .header(HeaderName::Expires, expires.to_string())
        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>");
    pair.respond(request, &answer);
}

#[test]
fn a_first_subscription_is_not_conditional() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    assert!(!request.has(HeaderName::SuppressIfMatch));
}

#[test]
fn a_notifier_without_tags_is_never_asked_conditionally() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    pair.grant(&request, 3600);
    pair.notify(&request, Notify::active(1));
    assert_eq!(told(&mut pair).2.etag, None);
    assert!(!pair.expect("SUBSCRIBE").has(HeaderName::SuppressIfMatch));
}

#[test]
fn a_204_keeps_what_is_known_without_a_notification() {
    let mut pair = Pair::new();
    active(&mut pair);
    for _ in 0..3 {
        let refresh = pair.expect("SUBSCRIBE");
        assert_eq!(refresh.header(HeaderName::SuppressIfMatch), "one");
        no_notification(&mut pair, &refresh, 3600);
        // Timer N would have ended it.
        pair.no_event(seconds(600));
    }
}

#[test]
fn a_refresh_that_brings_another_document_brings_its_tag() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    let refresh = pair.expect("SUBSCRIBE");
    pair.grant(&refresh, 3600);
    assert_eq!(pair.notify(&request, tagged(2, &[("SIP-ETag", "two")])), 200);
    let (state, document, terms) = told(&mut pair);
    assert_eq!((state, document, terms.unchanged), (SubscriptionState::Active, true, false));
    assert_eq!(terms.etag.as_deref(), Some("two"));
    assert_eq!(pair.expect("SUBSCRIBE").header(HeaderName::SuppressIfMatch), "two");
}

#[test]
fn a_stored_tag_resumes_without_the_document() {
    let mut pair = Pair::new();
    let params = SubscribeParams { etag: Some("stored".into()), ..bob() };
    let (_, request) = subscribe(&mut pair, params);
    assert_eq!(request.header(HeaderName::SuppressIfMatch), "stored");
    pair.grant(&request, 3600);
    assert_eq!(pair.notify(&request, bare(1, &[("SIP-ETag", "stored")])), 200);
    let (state, document, terms) = told(&mut pair);
    assert_eq!((state, document, terms.unchanged), (SubscriptionState::Active, false, true));
}

#[test]
fn a_stored_tag_that_is_too_old_brings_the_document() {
    let mut pair = Pair::new();
    let params = SubscribeParams { etag: Some("stored".into()), ..bob() };
    let (_, request) = subscribe(&mut pair, params);
    pair.grant(&request, 3600);
    assert_eq!(pair.notify(&request, tagged(1, &[("SIP-ETag", "newer")])), 200);
    let (_, document, terms) = told(&mut pair);
    assert_eq!((document, terms.unchanged, terms.etag.as_deref()), (true, false, Some("newer")));
}

#[test]
fn a_204_to_the_first_request_makes_the_dialog() {
    let mut pair = Pair::new();
    let params = SubscribeParams { etag: Some("stored".into()), ..bob() };
    let (id, request) = subscribe(&mut pair, params);
    no_notification(&mut pair, &request, 600);
    let (state, document, terms) = told(&mut pair);
    assert_eq!((state, document, terms.unchanged), (SubscriptionState::Active, false, true));
    // No timer N ends it, it is refreshed within its dialog, and its notifications are heard.
    let refresh = pair.expect("SUBSCRIBE");
    assert_eq!(refresh.header(HeaderName::To), "<sip:bob@example.com>;tag=notifier");
    assert_eq!(pair.notify(&request, tagged(1, &[("SIP-ETag", "newer")])), 200);
    match pair.event() {
        AgentEvent::Subscription { id: of, notify: Some(_), .. } => assert_eq!(of, id),
        event => panic!("an unexpected event: {event:?}"),
    }
}

#[test]
fn a_fetch_that_would_bring_nothing_new_ends_with_the_204() {
    let mut pair = Pair::new();
    let params = SubscribeParams { etag: Some("stored".into()), expires: 0, ..bob() };
    let (_, request) = subscribe(&mut pair, params);
    no_notification(&mut pair, &request, 0);
    let (state, document, terms) = told(&mut pair);
    assert!(state.is_final() && !document && terms.unchanged, "{state:?} {terms:?}");
    assert_eq!(pair.agent(|agent, _| agent.subscriptions()), 0);
}

#[test]
fn a_notification_without_body_and_with_another_tag_is_no_repetition() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, bare(2, &[("SIP-ETag", "empty")])), 200);
    let (_, document, terms) = told(&mut pair);
    assert_eq!((document, terms.unchanged), (false, false), "there is nothing to show any more");
}

#[test]
fn an_asterisk_asks_for_changes_only() {
    let mut pair = Pair::new();
    let params = SubscribeParams { etag: Some("*".into()), ..bob() };
    let (_, request) = subscribe(&mut pair, params);
    assert_eq!(request.header(HeaderName::SuppressIfMatch), "*");
    pair.grant(&request, 3600);
    assert_eq!(pair.notify(&request, bare(1, &[("SIP-ETag", "now")])), 200);
    let (_, document, terms) = told(&mut pair);
    assert_eq!((document, terms.unchanged), (false, true));
    assert_eq!(pair.expect("SUBSCRIBE").header(HeaderName::SuppressIfMatch), "now");
}

#[test]
fn a_lost_dialog_resumes_with_the_last_tag() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify::state("terminated;reason=deactivated", 2)), 200);
    told(&mut pair);
    let again = pair.expect("SUBSCRIBE");
    assert_ne!(again.header(HeaderName::CallId), request.header(HeaderName::CallId));
    assert_eq!(again.header(HeaderName::SuppressIfMatch), "one");
}

#[test]
fn unsubscribing_from_a_notifier_with_tags_needs_no_last_notification() {
    let mut pair = Pair::new();
    let (id, _) = active(&mut pair);
    pair.agent(|agent, now| agent.unsubscribe(now, id));
    let end = pair.expect("SUBSCRIBE");
    assert_eq!(end.header(HeaderName::SuppressIfMatch), "*");
    let before = pair.sim.elapsed();
    no_notification(&mut pair, &end, 0);
    assert!(told(&mut pair).0.is_final());
    assert!(pair.sim.elapsed() - before < seconds(1));
}
