//! Lists in one subscription (RFC 4662, RFC 5367), how often they are told (RFC 6446), and packages other than presence.

use attache_sip::agent::{AgentEvent, Cause};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::usage::{Forks, Rates, SubscribeParams, SubscriptionState};

use crate::pair::{Incoming, Notify, Pair, uri};

fn subscribe(pair: &mut Pair, params: SubscribeParams) -> Incoming {
    pair.agent(|agent, now| agent.subscribe(now, params)).unwrap();
    pair.expect("SUBSCRIBE")
}

fn values(incoming: &Incoming, name: HeaderName) -> Vec<String> {
    incoming.message.values(name).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

#[test]
fn a_list_subscription_says_that_lists_are_understood() {
    let mut pair = Pair::new();
    let request = subscribe(&mut pair, SubscribeParams::list(uri("sip:alice-list@example.com")));
    assert_eq!(values(&request, HeaderName::Supported), ["eventlist"]);
    assert_eq!(
        values(&request, HeaderName::Accept),
        ["application/pidf+xml", "application/rlmi+xml", "multipart/related"]
    );
    assert!(!request.has(HeaderName::Require));
}

#[test]
fn a_list_in_the_request_requires_that_it_is_understood() {
    let mut pair = Pair::new();
    let list = "<resource-lists/>";
    let params = SubscribeParams {
        body: Some(("application/resource-lists+xml".into(), list.into())),
        ..SubscribeParams::list(uri("sip:rls@example.com"))
    };
    let request = subscribe(&mut pair, params);
    assert_eq!(values(&request, HeaderName::Require), ["recipient-list-subscribe"]);
    assert_eq!(request.header(HeaderName::ContentDisposition), "recipient-list");
    assert_eq!(request.message.body(), list.as_bytes());
}

#[test]
fn a_refused_list_names_the_status_so_that_another_way_can_be_taken() {
    for status in [405, 415, 420, 489, 403, 404, 501] {
        let mut pair = Pair::new();
        let request = subscribe(&mut pair, SubscribeParams::list(uri("sip:alice-list@example.com")));
        pair.answer(&request, status);
        match pair.event() {
            AgentEvent::Subscription { state: SubscriptionState::Terminated { cause }, .. } => {
                assert_eq!(cause.status(), Some(status));
            }
            event => panic!("{status}: an unexpected event: {event:?}"),
        }
    }
}

#[test]
fn a_list_notification_keeps_the_parameters_of_its_content_type() {
    let mut pair = Pair::new();
    let request = subscribe(&mut pair, SubscribeParams::list(uri("sip:alice-list@example.com")));
    pair.grant(&request, 3600);
    let kind =
        r#"multipart/related;type="application/rlmi+xml";start="<a@b>";boundary="50UBfW7LSCVLtggUPe5z""#;
    let notify = Notify { content_type: kind, headers: &[("Require", "eventlist")], ..Notify::active(1) };
    assert_eq!(pair.notify(&request, notify), 200);
    match pair.event() {
        AgentEvent::Subscription { notify: Some(notify), .. } => {
            assert_eq!(notify.content_type, kind);
            assert_eq!(notify.require, ["eventlist"]);
        }
        event => panic!("an unexpected event: {event:?}"),
    }
}

#[test]
fn a_notification_that_requires_what_is_not_known_gets_420() {
    let mut pair = Pair::new();
    let request = subscribe(&mut pair, SubscribeParams::presence(uri("sip:bob@example.com")));
    pair.grant(&request, 3600);
    let notify = Notify { headers: &[("Require", "telepathy")], ..Notify::active(1) };
    assert_eq!(pair.notify(&request, notify), 420);
}

#[test]
fn wanted_rates_stand_behind_the_event() {
    let mut pair = Pair::new();
    let rates = Rates { max: Some(0.05), min: Some(0.002), adaptive_min: Some(1.0) };
    let params = SubscribeParams { rates, ..SubscribeParams::presence(uri("sip:bob@example.com")) };
    let request = subscribe(&mut pair, params);
    assert_eq!(
        request.header(HeaderName::Event),
        "presence;max-rate=0.05;min-rate=0.002;adaptive-min-rate=1"
    );
}

#[test]
fn a_notifier_that_takes_rates_for_another_event_is_asked_without() {
    let mut pair = Pair::new();
    let rates = Rates { max: Some(0.05), ..Rates::default() };
    let params = SubscribeParams { rates, ..SubscribeParams::presence(uri("sip:bob@example.com")) };
    let request = subscribe(&mut pair, params);
    pair.answer(&request, 489);
    let again = pair.expect("SUBSCRIBE");
    assert_eq!(again.header(HeaderName::Event), "presence");
    pair.answer(&again, 489);
    match pair.event() {
        AgentEvent::Subscription { state: SubscriptionState::Terminated { cause }, .. } => {
            assert_eq!(cause.status(), Some(489));
        }
        event => panic!("an unexpected event: {event:?}"),
    }
}

#[test]
fn the_rates_that_the_notifier_grants_are_told() {
    let mut pair = Pair::new();
    let rates = Rates { max: Some(1.0), ..Rates::default() };
    let params = SubscribeParams { rates, ..SubscribeParams::presence(uri("sip:bob@example.com")) };
    let request = subscribe(&mut pair, params);
    pair.grant(&request, 3600);
    pair.notify(&request, Notify::state("active;expires=3600;max-rate=0.2;min-rate=x", 1));
    match pair.event() {
        AgentEvent::Subscription { terms, .. } => {
            assert_eq!(terms.rates, Rates { max: Some(0.2), ..Rates::default() });
        }
        event => panic!("an unexpected event: {event:?}"),
    }
}

#[test]
fn missing_consent_is_told_with_the_addresses_and_not_asked_for_again() {
    let mut pair = Pair::new();
    let request = subscribe(&mut pair, SubscribeParams::list(uri("sip:rls@example.com")));
    let refusal = Response::new(470)
        .header(HeaderName::PermissionMissing, "<sip:bob@example.com>, <sip:carol@example.com>");
    pair.respond(&request, &refusal);
    match pair.event() {
        AgentEvent::Subscription { state: SubscriptionState::Terminated { cause }, .. } => {
            assert_eq!(cause.status(), Some(470));
            let missing = ["sip:bob@example.com".to_owned(), "sip:carol@example.com".to_owned()];
            assert_eq!(cause, Cause::ConsentNeeded { missing: missing.to_vec() });
        }
        event => panic!("an unexpected event: {event:?}"),
    }
    pair.quiet(crate::pair::seconds(86_400));
}

#[test]
fn each_package_asks_for_its_document_and_says_whether_it_forks() {
    let own = uri("sip:alice@example.com");
    for (params, event, accept, forks) in [
        (SubscribeParams::presence(own.clone()), "presence", "application/pidf+xml", Forks::Accept),
        (
            SubscribeParams::watchers(own.clone()),
            "presence.winfo",
            "application/watcherinfo+xml",
            Forks::First,
        ),
        (SubscribeParams::xcap_diff(own.clone()), "xcap-diff", "application/xcap-diff+xml", Forks::First),
        (SubscribeParams::dialog(own.clone()), "dialog", "application/dialog-info+xml", Forks::Accept),
        (SubscribeParams::reg(own.clone()), "reg", "application/reginfo+xml", Forks::First),
        (
            SubscribeParams::message_summary(own.clone()),
            "message-summary",
            "application/simple-message-summary",
            Forks::First,
        ),
        (
            SubscribeParams::conference(own.clone()),
            "conference",
            "application/conference-info+xml",
            Forks::First,
        ),
    ] {
        let mut pair = Pair::new();
        let request = subscribe(&mut pair, params.clone());
        assert_eq!(request.header(HeaderName::Event), event);
        assert_eq!(request.header(HeaderName::Accept), accept);
        pair.grant(&request, 3600);
        let first = Notify { event: Some(event), ..Notify::active(1) };
        assert_eq!(pair.notify(&request, first), 200, "{event}");
        let second = Notify { tag: "other", ..first };
        let expected = if forks == Forks::Accept { 200 } else { 481 };
        assert_eq!((params.forks, pair.notify(&request, second)), (forks, expected), "{event}");
    }
}
