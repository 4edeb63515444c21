//! Subscriptions that live (RFC 6665 §4.1).

use attache_sip::agent::{AgentEvent, Cause, SubscriptionId};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::usage::{Forks, SubscribeParams, SubscriptionState};

use crate::pair::{Incoming, Notify, Pair, seconds, uri};

fn bob() -> SubscribeParams {
    SubscribeParams::presence(uri("sip:bob@example.com"))
}

fn subscribe(pair: &mut Pair, params: SubscribeParams) -> (SubscriptionId, Incoming) {
    let id = pair.agent(|agent, now| agent.subscribe(now, params)).unwrap();
    (id, pair.expect("SUBSCRIBE"))
}

/// A subscription in force.
fn active(pair: &mut Pair) -> (SubscriptionId, Incoming) {
    let (id, request) = subscribe(pair, bob());
    pair.grant(&request, 3600);
    assert_eq!(pair.notify(&request, Notify::active(1)), 200);
    assert_eq!(state(pair), (SubscriptionState::Active, Some("<presence/>".to_owned())));
    (id, request)
}

/// State and document of the next event.
fn state(pair: &mut Pair) -> (SubscriptionState, Option<String>) {
    match pair.event() {
        AgentEvent::Subscription { state, notify, .. } => {
            (state, notify.map(|notify| String::from_utf8(notify.body.to_vec()).unwrap()))
        }
        event => panic!("an unexpected event: {event:?}"),
    }
}

#[test]
fn a_subscribe_carries_what_rfc_6665_demands() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    assert_eq!(request.message.request_uri_bytes(), b"sip:bob@example.com");
    assert_eq!(request.header(HeaderName::Event), "presence");
    assert_eq!(request.header(HeaderName::Accept), "application/pidf+xml");
    assert_eq!(request.header(HeaderName::Expires), "3600");
    assert_eq!(request.header(HeaderName::Contact), "<sip:alice@127.0.0.2:5070>");
}

#[test]
fn the_answer_first_and_then_the_notification_makes_it_active() {
    active(&mut Pair::new());
}

#[test]
fn a_notification_before_the_answer_makes_it_active() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    assert_eq!(pair.notify(&request, Notify::active(1)), 200);
    assert_eq!(state(&mut pair).0, SubscriptionState::Active);
    pair.grant(&request, 3600);
    pair.no_event(seconds(60));
}

#[test]
fn an_answer_without_a_notification_ends_with_timer_n() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    pair.grant(&request, 3600);
    let (state, _) = state(&mut pair);
    assert!(matches!(state, SubscriptionState::Retrying { cause: Cause::NoNotify, .. }), "{state:?}");
    assert_eq!(pair.sim.elapsed().as_secs(), 32);
    let again = pair.expect("SUBSCRIBE");
    assert_ne!(again.header(HeaderName::CallId), request.header(HeaderName::CallId), "a new dialog");
}

#[test]
fn a_pending_subscription_says_so_and_becomes_active() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    pair.grant(&request, 3600);
    assert_eq!(pair.notify(&request, Notify::state("pending;expires=3600", 1)), 200);
    assert_eq!(state(&mut pair), (SubscriptionState::Pending, None));
    assert_eq!(pair.notify(&request, Notify::active(2)), 200);
    assert_eq!(state(&mut pair).0, SubscriptionState::Active);
}

#[test]
fn a_notification_without_a_body_is_reported_without_a_document() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify::state("active;expires=3000", 2)), 200);
    assert_eq!(state(&mut pair), (SubscriptionState::Active, None));
    pair.no_event(seconds(10));
}

#[test]
fn a_repeated_notification_is_answered_and_does_nothing() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    // Another branch, the same number: the notifier did not get our answer before it forgot its transaction.
    assert_eq!(pair.notify(&request, Notify::active(1)), 200);
    pair.no_event(seconds(10));
}

#[test]
fn a_notification_older_than_the_last_one_is_refused() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify::active(5)), 200);
    state(&mut pair);
    assert_eq!(pair.notify(&request, Notify::active(4)), 500);
    pair.no_event(seconds(10));
}

#[test]
fn a_notification_for_nobody_gets_481() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    let foreign = Notify { call_id: Some("somebody-elses@example.com"), ..Notify::active(2) };
    assert_eq!(pair.notify(&request, foreign), 481);
}

#[test]
fn a_notification_of_another_package_gets_489_with_ours() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify { event: Some("dialog"), ..Notify::active(2) }), 489);
    let refusal = pair.sim.trace().iter().rfind(|packet| packet.is("SIP/2.0 489")).unwrap();
    let text = String::from_utf8(refusal.payload.to_vec()).unwrap();
    assert!(text.contains("Allow-Events: presence"), "{text}");
}

#[test]
fn a_notification_without_event_gets_400_and_is_told() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify { event: None, ..Notify::active(2) }), 400);
    assert!(pair.diagnostics.iter().any(|text| text.contains("Event header")), "{:?}", pair.diagnostics);
}

#[test]
fn it_is_refreshed_within_its_dialog_before_it_expires() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    let before = pair.sim.elapsed();
    let refresh = pair.expect("SUBSCRIBE");
    let waited = (pair.sim.elapsed() - before).as_secs_f64() / 3600.0;
    assert!((0.69..0.86).contains(&waited), "{waited}");
    assert_eq!(refresh.message.request_uri_bytes(), b"sip:127.0.0.1:5060", "the notifier's contact");
    assert_eq!(refresh.header(HeaderName::CallId), request.header(HeaderName::CallId));
    assert_eq!(refresh.header(HeaderName::From), request.header(HeaderName::From));
    assert_eq!(refresh.header(HeaderName::To), "<sip:bob@example.com>;tag=notifier");
    assert!(refresh.cseq() > request.cseq());
}

#[test]
fn a_time_shortened_by_the_notifier_is_honoured() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    pair.grant(&request, 3600);
    pair.notify(&request, Notify::state("active;expires=100", 1));
    state(&mut pair);
    let before = pair.sim.elapsed();
    pair.expect("SUBSCRIBE");
    assert!(pair.sim.elapsed() - before <= seconds(86));
}

#[test]
fn a_refresh_that_no_notification_follows_ends_it_with_timer_n() {
    let mut pair = Pair::new();
    active(&mut pair);
    let refresh = pair.expect("SUBSCRIBE");
    pair.grant(&refresh, 3600);
    let (state, _) = state(&mut pair);
    assert!(matches!(state, SubscriptionState::Retrying { cause: Cause::NoNotify, .. }), "{state:?}");
}

#[test]
fn the_record_route_of_the_notification_is_followed() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, bob());
    pair.grant(&request, 3600);
    let notify =
        attache_sip::endpoint::Request::new(attache_sip::message::Method::Notify, "sip:alice@127.0.0.2:5070")
            .header(HeaderName::RecordRoute, "<sip:127.0.0.1:5060;lr>, <sip:inner.example.com;lr>")
            .from("<sip:bob@example.com>;tag=n")
            .to(request.header(HeaderName::From))
            .call_id(request.header(HeaderName::CallId))
            .cseq(1)
            .header(HeaderName::Contact, "<sip:presence@10.9.9.9>")
            .header(HeaderName::Event, "presence")
            .header(HeaderName::SubscriptionState, "active;expires=60");
    let id = pair.send(&notify);
    assert_eq!(pair.response(id), 200);
    let refresh = pair.expect("SUBSCRIBE");
    assert_eq!(refresh.message.request_uri_bytes(), b"sip:presence@10.9.9.9");
    let routes: Vec<_> = refresh.message.values(HeaderName::Route).collect();
    assert_eq!(routes, [&b"<sip:127.0.0.1:5060;lr>"[..], b"<sip:inner.example.com;lr>"]);
}

#[test]
fn forked_notifications_of_presence_are_all_heard() {
    let mut pair = Pair::new();
    let (id, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify { tag: "other", ..Notify::active(1) }), 200);
    match pair.event() {
        AgentEvent::Subscription { id: of, notify: Some(notify), .. } => {
            assert_eq!((of, notify.fork), (id, 1));
        }
        event => panic!("an unexpected event: {event:?}"),
    }
    let first = pair.expect("SUBSCRIBE");
    pair.grant(&first, 3600);
    let second = pair.expect("SUBSCRIBE");
    assert_ne!(
        first.header(HeaderName::To),
        second.header(HeaderName::To),
        "each dialog is refreshed by itself"
    );
}

#[test]
fn a_notifier_that_ends_while_others_go_on_is_named() {
    let mut pair = Pair::new();
    let (id, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify { tag: "other", ..Notify::active(1) }), 200);
    pair.event();
    assert_eq!(pair.notify(&request, Notify { tag: "other", ..Notify::state("terminated", 2) }), 200);
    let AgentEvent::ForkEnded { id: of, fork } = pair.event() else { panic!("ended") };
    assert_eq!((of, fork), (id, 1));
    pair.no_event(seconds(10));
}

#[test]
fn a_package_that_does_not_fork_refuses_the_second_notifier() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, SubscribeParams { forks: Forks::First, ..bob() });
    assert_eq!(pair.notify(&request, Notify::active(1)), 200);
    assert_eq!(pair.notify(&request, Notify { tag: "other", ..Notify::active(1) }), 481);
}

#[test]
fn a_notifier_that_shows_up_after_timer_n_is_refused() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    pair.quiet(seconds(40));
    assert_eq!(pair.notify(&request, Notify { tag: "late", ..Notify::active(1) }), 481);
}

#[test]
fn unsubscribing_waits_for_the_last_notification() {
    let mut pair = Pair::new();
    let (id, request) = active(&mut pair);
    pair.agent(|agent, now| agent.unsubscribe(now, id));
    let end = pair.expect("SUBSCRIBE");
    assert_eq!(end.header(HeaderName::Expires), "0");
    pair.grant(&end, 0);
    pair.no_event(seconds(1));
    assert_eq!(pair.notify(&request, Notify::state("terminated;reason=timeout", 2)), 200);
    assert_eq!(state(&mut pair).0, SubscriptionState::Terminated { cause: Cause::Closed });
    pair.quiet(seconds(7200));
}

#[test]
fn unsubscribing_ends_even_without_the_last_notification() {
    let mut pair = Pair::new();
    let (id, _) = active(&mut pair);
    pair.agent(|agent, now| agent.unsubscribe(now, id));
    let end = pair.expect("SUBSCRIBE");
    pair.grant(&end, 0);
    assert_eq!(state(&mut pair).0, SubscriptionState::Terminated { cause: Cause::Closed });
    assert_eq!(pair.agent(|agent, _| agent.subscriptions()), 0);
}

#[test]
fn unsubscribing_before_the_first_notification_ends_the_dialog_when_it_comes() {
    let mut pair = Pair::new();
    let (id, request) = subscribe(&mut pair, bob());
    pair.grant(&request, 3600);
    pair.agent(|agent, now| agent.unsubscribe(now, id));
    pair.no_event(seconds(1));
    assert_eq!(pair.notify(&request, Notify::active(1)), 200);
    let end = pair.expect("SUBSCRIBE");
    assert_eq!(end.header(HeaderName::Expires), "0");
    assert_eq!(end.header(HeaderName::To), "<sip:bob@example.com>;tag=notifier");
}

#[test]
fn a_fetch_brings_one_document_and_leaves_nothing_behind() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, SubscribeParams { expires: 0, ..bob() });
    assert_eq!(request.header(HeaderName::Expires), "0");
    pair.grant(&request, 0);
    let last = Notify::state("terminated;reason=timeout", 1).with("<presence/>");
    assert_eq!(pair.notify(&request, last), 200);
    let (state, body) = state(&mut pair);
    assert!(state.is_final());
    assert_eq!(body.as_deref(), Some("<presence/>"));
    pair.quiet(seconds(7200));
    assert_eq!(pair.agent(|agent, _| agent.subscriptions()), 0);
}

#[test]
fn too_brief_an_interval_is_raised_once() {
    let mut pair = Pair::new();
    let (_, request) = subscribe(&mut pair, SubscribeParams { expires: 10, ..bob() });
    let brief = Response::new(423).header(HeaderName::MinExpires, "120");
    pair.respond(&request, &brief);
    let again = pair.expect("SUBSCRIBE");
    assert_eq!(again.header(HeaderName::Expires), "120");
    pair.respond(&again, &Response::new(423).header(HeaderName::MinExpires, "240"));
    assert!(state(&mut pair).0.is_final());
}
