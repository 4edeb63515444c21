//! How subscriptions end, and what follows (RFC 6665 §4.1.2.2, §4.1.3).

use std::time::Duration;

use attache_sip::agent::{AgentEvent, Cause, SubscriptionId};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::usage::{SubscribeParams, SubscriptionState};

use crate::pair::{Incoming, Notify, Pair, seconds, uri};

fn active(pair: &mut Pair) -> (SubscriptionId, Incoming) {
    let params = SubscribeParams::presence(uri("sip:bob@example.com"));
    let id = pair.agent(|agent, now| agent.subscribe(now, params)).unwrap();
    let request = pair.expect("SUBSCRIBE");
    pair.grant(&request, 3600);
    assert_eq!(pair.notify(&request, Notify::active(1)), 200);
    state(pair);
    (id, request)
}

fn state(pair: &mut Pair) -> SubscriptionState {
    match pair.event() {
        AgentEvent::Subscription { state, .. } => state,
        event => panic!("an unexpected event: {event:?}"),
    }
}

/// Ends a fresh subscription with this Subscription-State. Returns how long it took until the next SUBSCRIBE, `None` for never.
fn ends_with(value: &str) -> Option<Duration> {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    assert_eq!(pair.notify(&request, Notify::state(value, 2)), 200);
    match state(&mut pair) {
        SubscriptionState::Terminated { cause: Cause::Ended { .. } } => {
            pair.quiet(seconds(86_400));
            None
        }
        SubscriptionState::Retrying { cause: Cause::Ended { .. }, .. } => {
            let before = pair.sim.elapsed();
            let again = pair.expect("SUBSCRIBE");
            assert_ne!(again.header(HeaderName::CallId), request.header(HeaderName::CallId));
            Some(pair.sim.elapsed() - before)
        }
        state => panic!("an unexpected state: {state:?}"),
    }
}

#[test]
fn deactivated_subscribes_again_at_once() {
    assert!(ends_with("terminated;reason=deactivated").unwrap() < seconds(1));
}

#[test]
fn timeout_subscribes_again_at_once() {
    assert!(ends_with("terminated;reason=timeout").unwrap() < seconds(1));
}

#[test]
fn probation_waits_for_retry_after() {
    let waited = ends_with("terminated;reason=probation;retry-after=120").unwrap();
    assert!((120..134).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn giveup_waits_with_back_off() {
    let waited = ends_with("terminated;reason=giveup").unwrap();
    assert!((2..=4).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn rejected_is_the_end() {
    assert_eq!(ends_with("terminated;reason=rejected"), None);
}

#[test]
fn noresource_is_the_end() {
    assert_eq!(ends_with("terminated;reason=noresource"), None);
}

#[test]
fn invariant_is_the_end() {
    assert_eq!(ends_with("terminated;reason=invariant"), None);
}

#[test]
fn an_unknown_reason_subscribes_again_at_once() {
    assert!(ends_with("terminated;reason=full-moon").unwrap() < seconds(1));
    assert!(ends_with("terminated").unwrap() < seconds(1));
}

#[test]
fn a_notifier_that_ends_it_again_and_again_makes_no_storm() {
    let mut pair = Pair::new();
    let (_, mut request) = active(&mut pair);
    for _ in 0..8 {
        pair.notify(&request, Notify::state("terminated;reason=deactivated", 9));
        state(&mut pair);
        request = pair.expect("SUBSCRIBE");
        pair.grant(&request, 3600);
        pair.notify(&request, Notify::active(1));
        state(&mut pair);
    }
    assert!(pair.sim.elapsed() > seconds(100), "{:?}", pair.sim.elapsed());
}

#[test]
fn a_lost_dialog_begins_anew_at_once() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    let refresh = pair.expect("SUBSCRIBE");
    pair.answer(&refresh, 481);
    assert!(matches!(state(&mut pair), SubscriptionState::Retrying { .. }));
    let again = pair.expect_within("SUBSCRIBE", seconds(1));
    assert_ne!(again.header(HeaderName::CallId), request.header(HeaderName::CallId));
    assert_eq!(again.header(HeaderName::To), "<sip:bob@example.com>");
}

#[test]
fn a_refresh_refused_for_good_ends_it() {
    for status in [404, 405, 410, 416, 482, 483, 484, 485, 489, 501, 604] {
        let mut pair = Pair::new();
        active(&mut pair);
        let refresh = pair.expect("SUBSCRIBE");
        pair.answer(&refresh, status);
        let state = state(&mut pair);
        let expected = Some(status);
        assert!(
            matches!(&state, SubscriptionState::Terminated { cause } if cause.status() == expected),
            "{status}: {state:?}"
        );
    }
}

#[test]
fn a_refresh_refused_for_now_keeps_it_until_it_expires() {
    let mut pair = Pair::new();
    active(&mut pair);
    let refresh = pair.expect("SUBSCRIBE");
    pair.answer(&refresh, 500);
    pair.no_event(seconds(1));
    let again = pair.expect_within("SUBSCRIBE", seconds(10));
    assert_eq!(again.header(HeaderName::To), "<sip:bob@example.com>;tag=notifier", "the same dialog");
}

#[test]
fn a_refresh_that_is_forbidden_lets_it_run_out() {
    let mut pair = Pair::new();
    active(&mut pair);
    let refresh = pair.expect("SUBSCRIBE");
    pair.answer(&refresh, 403);
    let state = state(&mut pair);
    assert!(
        matches!(&state, SubscriptionState::Terminated { cause } if cause.status() == Some(403)),
        "{state:?}"
    );
    assert!((3600..3602).contains(&pair.sim.elapsed().as_secs()), "{:?}", pair.sim.elapsed());
}

#[test]
fn an_unsupported_package_is_told_and_not_tried_again() {
    let mut pair = Pair::new();
    let params = SubscribeParams::presence(uri("sip:bob@example.com"));
    pair.agent(|agent, now| agent.subscribe(now, params));
    let request = pair.expect("SUBSCRIBE");
    pair.respond(&request, &Response::new(489).header(HeaderName::AllowEvents, "dialog"));
    let state = state(&mut pair);
    assert!(
        matches!(&state, SubscriptionState::Terminated { cause } if cause.status() == Some(489)),
        "{state:?}"
    );
    pair.quiet(seconds(86_400));
}

#[test]
fn the_last_document_of_an_ended_subscription_is_delivered() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    pair.notify(&request, Notify::state("terminated;reason=noresource", 2).with("<presence>last</presence>"));
    match pair.event() {
        AgentEvent::Subscription { state, notify: Some(notify), .. } => {
            assert!(state.is_final());
            assert_eq!(&notify.body[..], b"<presence>last</presence>");
        }
        event => panic!("an unexpected event: {event:?}"),
    }
}

#[test]
fn a_notifier_of_a_dialog_that_ended_gets_481() {
    let mut pair = Pair::new();
    let (_, request) = active(&mut pair);
    pair.notify(&request, Notify::state("terminated;reason=giveup;retry-after=600", 2));
    assert_eq!(pair.notify(&request, Notify::active(3)), 481);
}

#[test]
fn a_refresh_that_finds_nobody_at_present_ends_it_and_tries_again() {
    let mut pair = Pair::new();
    active(&mut pair);
    let refresh = pair.expect("SUBSCRIBE");
    pair.answer(&refresh, 480);
    let state = state(&mut pair);
    assert!(
        matches!(&state, SubscriptionState::Retrying { cause, .. } if cause.status() == Some(480)),
        "{state:?}"
    );
    assert_eq!(pair.expect("SUBSCRIBE").header(HeaderName::To), "<sip:bob@example.com>", "a new dialog");
}

#[test]
fn every_other_refusal_of_a_refresh_keeps_it_until_it_expires() {
    for status in [400, 402, 403, 406, 413, 414, 415, 420, 486, 491, 500, 502, 503, 504, 513, 600, 603, 606] {
        let mut pair = Pair::new();
        let (_, request) = active(&mut pair);
        let refresh = pair.expect("SUBSCRIBE");
        pair.answer(&refresh, status);
        pair.no_event(seconds(60));
        assert_eq!(pair.notify(&request, Notify::active(2)), 200, "{status}: the dialog lives");
        assert_eq!(state(&mut pair), SubscriptionState::Active, "{status}");
    }
}

#[test]
fn a_notifier_that_goes_on_after_481_costs_next_to_nothing() {
    // FreeSWITCH does (signalwire/freeswitch #1110).
    let mut pair = Pair::new();
    let (id, request) = active(&mut pair);
    pair.agent(|agent, now| agent.unsubscribe(now, id));
    let end = pair.expect("SUBSCRIBE");
    pair.grant(&end, 0);
    assert_eq!(pair.notify(&request, Notify::state("terminated;reason=timeout", 2)), 200);
    assert!(state(&mut pair).is_final());
    for cseq in 3..503 {
        assert_eq!(pair.notify(&request, Notify::active(cseq)), 481);
    }
    pair.no_event(seconds(1));
    let told = pair.diagnostics.iter().filter(|text| text.contains("no such subscription")).count();
    assert!((1..=32).contains(&told), "told, but not each time: {told}");
    assert_eq!(pair.agent(|agent, _| agent.subscriptions()), 0);
}

#[test]
fn a_subscription_that_nobody_wants_any_more_is_not_begun_for_longer() {
    let mut pair = Pair::new();
    let id =
        pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    pair.agent(|agent, now| agent.unsubscribe(now, id.unwrap()));
    pair.respond(&request, &Response::new(423).header(HeaderName::MinExpires, "7200"));
    let AgentEvent::Subscription { state: SubscriptionState::Terminated { cause: Cause::Closed }, .. } =
        pair.event()
    else {
        panic!("it is over")
    };
    pair.quiet(seconds(600));
}
