//! REFER (RFC 3515, RFC 4488, RFC 5368, RFC 5589).

use attache_sip::agent::{AgentEvent, ReferId};
use attache_sip::sim::Fate;
use attache_sip::usage::{Body, CallError, InviteEvent, ReferEvent, ReferParams, ReferRequest, ReferTarget};

use crate::duo::{Alice, Bob, Duo};
use crate::pair::{seconds, uri};

fn address() -> ReferTarget {
    ReferTarget::Address(uri("sip:bob@example.com"))
}

fn refer(duo: &mut Duo, params: ReferParams) -> ReferId {
    duo.agent(Alice, |agent, now| agent.refer(now, params)).unwrap()
}

fn asked(duo: &mut Duo) -> Box<ReferRequest> {
    match duo.any_event(Bob) {
        AgentEvent::ReferReceived(request) => request,
        other => panic!("{other:?}"),
    }
}

fn told(duo: &mut Duo) -> ReferEvent {
    match duo.any_event(Alice) {
        AgentEvent::Refer { event, .. } => event,
        other => panic!("{other:?}"),
    }
}

fn progress(status: u16, reason: &str) -> ReferEvent {
    ReferEvent::Progress { status, reason: reason.to_owned() }
}

fn ended(status: Option<u16>, reason: &str) -> ReferEvent {
    ReferEvent::Ended { status, reason: reason.to_owned() }
}

#[test]
fn somebody_is_asked_to_call_and_tells_how_it_goes() {
    let mut duo = Duo::new();
    refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let request = asked(&mut duo);
    assert_eq!((&*request.refer_to.uri, &*request.refer_to.method), ("sip:carol@example.com", "INVITE"));
    assert_eq!(request.referred_by.as_deref(), Some("<sip:alice@example.com>"));
    assert!(request.subscription && request.within.is_none());
    duo.agent(Bob, |agent, now| agent.accept_refer(now, request.id)).unwrap();
    assert_eq!(told(&mut duo), ReferEvent::Accepted { status: 202, subscribed: true });
    assert_eq!(told(&mut duo), progress(100, "Trying"));
    for (status, reason) in [(180, "Ringing"), (200, "OK")] {
        duo.agent(Bob, |agent, now| agent.refer_progress(now, request.id, status, "")).unwrap();
        assert_eq!(told(&mut duo), progress(status, reason));
    }
    assert_eq!(told(&mut duo), ended(Some(200), "noresource"));
    duo.nothing_left();
}

#[test]
fn a_refused_referral_fails() {
    let mut duo = Duo::new();
    refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let request = asked(&mut duo);
    duo.agent(Bob, |agent, now| agent.reject_refer(now, request.id, 603)).unwrap();
    let ReferEvent::Failed { cause, .. } = told(&mut duo) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(603));
    duo.nothing_left();
}

#[test]
fn a_referral_can_do_without_a_subscription() {
    let mut duo = Duo::new();
    let params = ReferParams { subscription: false, ..ReferParams::new(address(), "sip:carol@example.com") };
    refer(&mut duo, params);
    let request = asked(&mut duo);
    assert!(!request.subscription);
    duo.agent(Bob, |agent, now| agent.accept_refer(now, request.id)).unwrap();
    assert_eq!(told(&mut duo), ReferEvent::Accepted { status: 200, subscribed: false });
    assert_eq!(told(&mut duo), ended(None, ""));
    assert_eq!(duo.sent(Bob, "NOTIFY"), 0);
    let gone = duo.agent(Bob, |agent, now| agent.refer_progress(now, request.id, 180, ""));
    assert_eq!(gone, Err(CallError::Unknown));
    duo.nothing_left();
}

#[test]
fn a_referral_within_a_session_outlives_it() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    refer(&mut duo, ReferParams::new(ReferTarget::Within(ours), "sip:carol@example.com"));
    let request = asked(&mut duo);
    assert_eq!(request.within, Some(theirs));
    duo.agent(Bob, |agent, now| agent.accept_refer(now, request.id)).unwrap();
    assert_eq!(told(&mut duo), ReferEvent::Accepted { status: 202, subscribed: true });
    assert_eq!(told(&mut duo), progress(100, "Trying"));
    duo.hang_up(Bob, theirs);
    duo.event(Bob);
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { .. }));
    duo.agent(Bob, |agent, now| agent.refer_progress(now, request.id, 486, "")).unwrap();
    assert_eq!(told(&mut duo), progress(486, "Busy Here"));
    assert_eq!(told(&mut duo), ended(Some(486), "noresource"));
    duo.nothing_left();
}

#[test]
fn several_referrals_of_one_session_are_told_apart() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    let first = refer(&mut duo, ReferParams::new(ReferTarget::Within(ours), "sip:carol@example.com"));
    let one = asked(&mut duo);
    let second = refer(&mut duo, ReferParams::new(ReferTarget::Within(ours), "sip:dave@example.com"));
    let two = asked(&mut duo);
    for request in [two.id, one.id] {
        duo.agent(Bob, |agent, now| agent.accept_refer(now, request)).unwrap();
        duo.run(seconds(1));
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        match duo.any_event(Alice) {
            AgentEvent::Refer { id, .. } => order.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(order, [second, second, first, first]);
}

#[test]
fn an_attended_transfer_names_the_dialog_to_be_replaced() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    let facts = duo.agent(Alice, |agent, _| agent.dialog(ours)).unwrap();
    let params = ReferParams {
        replaces: Some(ours),
        target_dialog: Some(ours),
        ..ReferParams::new(address(), "sip:bob@127.0.0.3:5070")
    };
    refer(&mut duo, params);
    let request = asked(&mut duo);
    assert_eq!(request.refer_to.replaces, Some(facts.name_for_peer()));
    assert_eq!(request.refer_to.uri, "sip:bob@127.0.0.3:5070");
    assert!(request.target_dialog.is_some());
}

#[test]
fn several_are_called_by_a_list_in_the_body() {
    let mut duo = Duo::new();
    let list = Body::new("application/resource-lists+xml", "<resource-lists/>");
    let params = ReferParams { body: Some(list), ..ReferParams::new(address(), "cid:list@example.com") };
    refer(&mut duo, params);
    let request = asked(&mut duo);
    assert_eq!(request.refer_to.uri, "cid:list@example.com");
    assert_eq!(request.message.body(), b"<resource-lists/>");
}

#[test]
fn a_notification_may_come_before_the_answer() {
    let mut duo = Duo::new();
    duo.sim.set_filter(
        |packet| {
            if packet.is("SIP/2.0 202") { Fate::Delay(seconds(1)) } else { Fate::Deliver }
        },
    );
    refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let request = asked(&mut duo);
    duo.agent(Bob, |agent, now| agent.accept_refer(now, request.id)).unwrap();
    assert_eq!(told(&mut duo), ReferEvent::Accepted { status: 202, subscribed: true });
    assert_eq!(told(&mut duo), progress(100, "Trying"));
    duo.no_event(Alice, seconds(5));
    duo.agent(Bob, |agent, now| agent.refer_progress(now, request.id, 200, "OK")).unwrap();
    assert_eq!(told(&mut duo), progress(200, "OK"));
    assert_eq!(told(&mut duo), ended(Some(200), "noresource"));
    duo.nothing_left();
}

#[test]
fn a_subscription_without_news_ends() {
    let mut duo = Duo::new();
    refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let request = asked(&mut duo);
    duo.agent(Bob, |agent, now| agent.accept_refer(now, request.id)).unwrap();
    told(&mut duo);
    told(&mut duo);
    assert_eq!(told(&mut duo), progress(100, "Trying"));
    assert_eq!(told(&mut duo), ended(None, "timeout"));
    duo.nothing_left();
}

#[test]
fn a_peer_that_never_tells_anything_is_given_up() {
    let mut duo = Duo::new();
    duo.sim.set_filter(|packet| if packet.is("NOTIFY") { Fate::Drop } else { Fate::Deliver });
    refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let request = asked(&mut duo);
    duo.agent(Bob, |agent, now| agent.accept_refer(now, request.id)).unwrap();
    assert!(matches!(told(&mut duo), ReferEvent::Accepted { .. }));
    assert_eq!(told(&mut duo), ended(None, "timeout"));
    duo.nothing_left();
}

#[test]
fn whoever_wants_to_hear_no_more_says_so() {
    let mut duo = Duo::new();
    let id = refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let request = asked(&mut duo);
    duo.agent(Bob, |agent, now| agent.accept_refer(now, request.id)).unwrap();
    told(&mut duo);
    told(&mut duo);
    duo.agent(Alice, |agent, now| agent.end_refer(now, id));
    assert!(matches!(told(&mut duo), ReferEvent::Ended { status: Some(100) | None, .. }));
    duo.run(seconds(1));
    assert_eq!(duo.sent(Alice, "SUBSCRIBE"), 1);
    let gone = duo.agent(Bob, |agent, now| agent.refer_progress(now, request.id, 180, ""));
    assert!(gone.is_err());
    duo.nothing_left();
}

#[test]
fn news_that_come_fast_are_told_in_order_and_the_last_one_counts() {
    let mut duo = Duo::lossy(5, 0.3);
    refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let request = asked(&mut duo);
    duo.agent(Bob, |agent, now| {
        agent.accept_refer(now, request.id).unwrap();
        agent.refer_progress(now, request.id, 180, "").unwrap();
        agent.refer_progress(now, request.id, 200, "").unwrap();
        assert_eq!(agent.refer_progress(now, request.id, 486, ""), Err(CallError::State));
    });
    let mut last = None;
    loop {
        match told(&mut duo) {
            ReferEvent::Progress { status, .. } => {
                assert!(last < Some(status));
                last = Some(status);
            }
            ReferEvent::Ended { status, .. } => break assert_eq!(status, Some(200)),
            _ => {}
        }
    }
    duo.nothing_left();
}

#[test]
fn a_malformed_target_is_not_sent() {
    let mut duo = Duo::new();
    for bad in ["", "sip:a b", "sip:a@b>;x=<", "sip:a@b\r\nX: y"] {
        let result = duo.agent(Alice, |agent, now| agent.refer(now, ReferParams::new(address(), bad)));
        assert_eq!(result, Err(CallError::Invalid), "{bad}");
    }
    assert_eq!(duo.sent(Alice, "REFER"), 0);
}

#[test]
fn a_referral_of_a_stranger_is_refused() {
    let mut duo = Duo::new();
    duo.agent(Bob, |agent, now| {
        use attache_sip::transport::{Destination, Transport};
        let remote = "127.0.0.200:5060".parse().unwrap();
        agent.set_next_hop(now, vec![Destination { transport: Transport::Udp, remote }]);
    });
    refer(&mut duo, ReferParams::new(address(), "sip:carol@example.com"));
    let ReferEvent::Failed { cause, .. } = told(&mut duo) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(403));
}
