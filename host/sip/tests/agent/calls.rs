//! Calls between two agents.

use std::time::Duration;

use attache_sip::agent::Cause;
use attache_sip::sim::Fate;
use attache_sip::usage::{Body, CallError, EndedBy, InviteEvent, InviteParams, Reason};

use crate::duo::{Alice, Bob, Duo, answer, offer};
use crate::pair::{seconds, uri};

#[test]
fn a_call_is_made_answered_and_hung_up() {
    let mut duo = Duo::new();
    let ours = duo.call(Some(offer()));
    let (theirs, incoming) = duo.incoming(Bob);
    assert_eq!(incoming.offer, Some(offer()));
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::Progress { status: 180, body: None, offer: false, .. }));
    let facts = duo.agent(Alice, |agent, _| agent.dialog(ours)).unwrap();
    assert!(facts.early && facts.caller);
    duo.accept(Bob, theirs, Some(answer()));
    let InviteEvent::Answered { body, offer: false, .. } = duo.event(Alice) else { panic!("an answer") };
    assert_eq!(body, Some(answer()));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { body: None }));
    let facts = duo.agent(Alice, |agent, _| agent.dialog(ours)).unwrap();
    assert_eq!(facts.remote_target, "sip:bob@127.0.0.3:5070");
    assert!(!facts.early);
    duo.hang_up(Alice, ours);
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Us, .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    assert_eq!((duo.sent(Alice, "INVITE"), duo.sent(Alice, "ACK"), duo.sent(Alice, "BYE")), (1, 1, 1));
    duo.nothing_left();
}

#[test]
fn whoever_was_called_can_hang_up_too() {
    let mut duo = Duo::new();
    let (_, theirs) = duo.talk();
    let reason = Reason::sip(200, "Call completed elsewhere");
    duo.agent(Bob, |agent, now| agent.hang_up(now, theirs, Some(reason.clone())));
    let InviteEvent::Ended { by: EndedBy::Peer, reason: said } = duo.event(Alice) else { panic!("an end") };
    assert_eq!(said, Some(reason));
    duo.nothing_left();
}

#[test]
fn a_call_without_an_offer_is_answered_with_one_and_acknowledged_with_the_answer() {
    let mut duo = Duo::new();
    let ours = duo.call(None);
    let (theirs, incoming) = duo.incoming(Bob);
    assert_eq!(incoming.offer, None);
    duo.accept(Bob, theirs, Some(offer()));
    let InviteEvent::Answered { body, offer: true, .. } = duo.event(Alice) else { panic!("an offer") };
    assert_eq!(body, Some(offer()));
    // As long as a person takes: the peer repeats its 2xx.
    duo.run(seconds(3));
    assert!(duo.sent(Bob, "SIP/2.0 200") > 2);
    assert_eq!(duo.sent(Alice, "ACK"), 0);
    duo.agent(Alice, |agent, now| agent.acknowledge(now, ours, Some(answer()))).unwrap();
    let InviteEvent::Confirmed { body } = duo.event(Bob) else { panic!("an answer") };
    assert_eq!(body, Some(answer()));
    duo.hang_up(Bob, theirs);
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    duo.nothing_left();
}

#[test]
fn two_parties_are_connected_by_a_third_that_has_no_media() {
    // RFC 3725 §4.1: the offer of one leg becomes that of the other.
    let mut duo = Duo::new();
    let first = duo.call(None);
    let (own_phone, _) = duo.incoming(Bob);
    duo.accept(Bob, own_phone, Some(offer()));
    let InviteEvent::Answered { body: Some(body), offer: true, .. } = duo.event(Alice) else {
        panic!("an offer")
    };
    let second = duo.call(Some(body));
    let (peer, incoming) = duo.incoming(Bob);
    assert_eq!(incoming.offer, Some(offer()));
    duo.accept(Bob, peer, Some(answer()));
    let (id, InviteEvent::Answered { body, offer: false, .. }) = duo.event_of(Alice) else {
        panic!("an answer")
    };
    assert_eq!(id, second);
    duo.agent(Alice, |agent, now| agent.acknowledge(now, first, body)).unwrap();
    for _ in 0..2 {
        let (id, InviteEvent::Confirmed { body }) = duo.event_of(Bob) else { panic!("a confirmation") };
        assert_eq!(body, (id == own_phone).then(answer));
    }
    duo.hang_up(Alice, first);
    duo.hang_up(Alice, second);
    duo.nothing_left();
}

#[test]
fn a_long_acknowledgement_arrives_with_and_without_tcp() {
    for refused in [false, true] {
        let mut duo = Duo::new();
        duo.sim.set_refuses_connections(Bob.addr(), refused);
        let ours = duo.call(None);
        let (theirs, _) = duo.incoming(Bob);
        duo.accept(Bob, theirs, Some(offer()));
        assert!(matches!(duo.event(Alice), InviteEvent::Answered { offer: true, .. }));
        let long = Body::sdp(format!("v=0\r\n{}", "a=x\r\n".repeat(400)));
        duo.agent(Alice, |agent, now| agent.acknowledge(now, ours, Some(long.clone()))).unwrap();
        let InviteEvent::Confirmed { body } = duo.event(Bob) else { panic!("an answer") };
        assert_eq!(body, Some(long));
        duo.hang_up(Alice, ours);
        duo.nothing_left();
    }
}

#[test]
fn a_refused_call_fails_with_the_status_and_the_reason() {
    let mut duo = Duo::new();
    duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    let headers = vec![("Retry-After".to_owned(), "60".to_owned())];
    duo.agent(Bob, |agent, now| agent.reject(now, theirs, 486, headers)).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Us, .. }));
    let InviteEvent::Failed { cause, retry, .. } = duo.event(Alice) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(486));
    assert!(retry.is_some_and(|wait| wait >= seconds(60)), "{retry:?}");
    duo.nothing_left();
}

#[test]
fn a_redirection_is_not_followed() {
    let mut duo = Duo::new();
    duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    let headers = vec![("Contact".to_owned(), "<sip:eve@127.0.0.9>".to_owned())];
    duo.agent(Bob, |agent, now| agent.reject(now, theirs, 302, headers)).unwrap();
    let InviteEvent::Failed { cause, .. } = duo.event(Alice) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(302));
    assert_eq!(duo.sent(Alice, "INVITE"), 1);
}

#[test]
fn a_call_that_is_given_up_is_cancelled_with_the_reason() {
    let mut duo = Duo::new();
    let ours = duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    duo.event(Alice);
    let reason = Reason::sip(200, "Call completed elsewhere");
    duo.agent(Alice, |agent, now| agent.hang_up(now, ours, Some(reason)));
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Us, .. }));
    let InviteEvent::Ended { by: EndedBy::Peer, reason } = duo.event(Bob) else { panic!("an end") };
    assert!(reason.unwrap().is_answered_elsewhere());
    assert_eq!((duo.sent(Alice, "CANCEL"), duo.sent(Bob, "SIP/2.0 487")), (1, 1));
    duo.no_event(Alice, seconds(100));
    duo.nothing_left();
}

#[test]
fn a_call_is_not_cancelled_before_anybody_has_heard_of_it() {
    let mut duo = Duo::new();
    let mut lost = 0;
    duo.sim.set_filter(move |packet| {
        let first = packet.is("INVITE") && lost < 2;
        lost += u32::from(first);
        if first { Fate::Drop } else { Fate::Deliver }
    });
    let ours = duo.call(Some(offer()));
    duo.hang_up(Alice, ours);
    duo.run(seconds(1));
    assert_eq!(duo.sent(Alice, "CANCEL"), 0);
    duo.run(seconds(20));
    assert_eq!((duo.sent(Alice, "CANCEL"), duo.sent(Bob, "SIP/2.0 487")), (1, 1));
    duo.nothing_left();
}

#[test]
fn an_acceptance_that_crosses_a_cancel_is_acknowledged_and_ended() {
    let mut duo = Duo::new();
    let ours = duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    duo.event(Alice);
    // Both at one moment.
    duo.hang_up(Alice, ours);
    duo.accept(Bob, theirs, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Us, .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    assert_eq!((duo.sent(Alice, "CANCEL"), duo.sent(Alice, "ACK"), duo.sent(Alice, "BYE")), (1, 1, 1));
    duo.no_event(Alice, seconds(100));
    duo.nothing_left();
}

#[test]
fn an_acceptance_is_repeated_until_it_is_acknowledged_and_so_is_the_ack() {
    let mut duo = Duo::new();
    let mut lost = 0;
    duo.sim.set_filter(move |packet| {
        let first = packet.is("ACK") && lost < 3;
        lost += u32::from(first);
        if first { Fate::Drop } else { Fate::Deliver }
    });
    duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.accept(Bob, theirs, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
    duo.no_event(Alice, seconds(60));
    assert_eq!((duo.sent(Bob, "SIP/2.0 200"), duo.sent(Alice, "ACK")), (4, 4));
}

#[test]
fn a_call_that_nobody_acknowledges_is_ended() {
    let mut duo = Duo::new();
    duo.sim.set_filter(|packet| if packet.is("ACK") { Fate::Drop } else { Fate::Deliver });
    duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.accept(Bob, theirs, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Lost, .. }));
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    duo.nothing_left();
}

#[test]
fn whoever_was_called_hangs_up_only_once_the_call_is_acknowledged() {
    let mut duo = Duo::new();
    let ours = duo.call(None);
    let (theirs, _) = duo.incoming(Bob);
    duo.accept(Bob, theirs, Some(offer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { offer: true, .. }));
    duo.hang_up(Bob, theirs);
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Us, .. }));
    duo.run(seconds(2));
    assert_eq!(duo.sent(Bob, "BYE"), 0);
    duo.agent(Alice, |agent, now| agent.acknowledge(now, ours, Some(answer()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    assert_eq!(duo.sent(Bob, "BYE"), 1);
    duo.nothing_left();
}

#[test]
fn two_hang_ups_that_cross_end_the_call_once_for_each() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    duo.hang_up(Alice, ours);
    duo.hang_up(Bob, theirs);
    for who in [Alice, Bob] {
        assert!(matches!(duo.event(who), InviteEvent::Ended { by: EndedBy::Us, .. }));
        duo.no_event(who, seconds(1));
    }
    assert_eq!(duo.sent(Alice, "SIP/2.0 200"), 1);
    duo.nothing_left();
}

#[test]
fn a_call_that_nobody_answers_rings_no_longer_than_asked() {
    let mut duo = Duo::new();
    let params =
        InviteParams { expires: Some(20), ..InviteParams::new(uri("sip:bob@example.com"), Some(offer())) };
    duo.call_with(params);
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    duo.event(Alice);
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    assert!(matches!(duo.event(Alice), InviteEvent::Failed { .. }));
    assert_eq!(duo.sim.elapsed().as_secs(), 20);
    duo.nothing_left();
}

#[test]
fn a_call_to_nobody_fails_in_time() {
    let mut duo = Duo::new();
    duo.sim.kill(Bob.addr());
    duo.call(Some(offer()));
    let InviteEvent::Failed { cause: Cause::Timeout, retry: Some(_), .. } = duo.event(Alice) else {
        panic!("a failure")
    };
    assert_eq!(duo.sim.elapsed().as_secs(), 32);
}

#[test]
fn calls_survive_a_network_that_loses_a_third() {
    for seed in 1..40 {
        let mut duo = Duo::lossy(seed, 0.3);
        let ours = duo.call(if seed % 2 == 0 { Some(offer()) } else { None });
        let (theirs, _) = duo.incoming(Bob);
        duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
        duo.run(seconds(2));
        duo.accept(Bob, theirs, Some(answer()));
        loop {
            match duo.event(Alice) {
                InviteEvent::Progress { .. } => {}
                InviteEvent::Answered { offer: true, .. } => {
                    duo.agent(Alice, |agent, now| agent.acknowledge(now, ours, Some(offer()))).unwrap();
                    break;
                }
                InviteEvent::Answered { .. } => break,
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        let confirmed = duo.event(Bob);
        assert!(matches!(confirmed, InviteEvent::Confirmed { .. }), "seed {seed}: {confirmed:?}");
        duo.hang_up(Alice, ours);
        let ended = duo.event(Bob);
        assert!(matches!(ended, InviteEvent::Ended { by: EndedBy::Peer, .. }), "seed {seed}: {ended:?}");
        duo.nothing_left();
    }
}

#[test]
fn no_more_calls_are_made_or_taken_than_allowed() {
    let mut duo = Duo::with(|who, config| config.invite.max = if who == Bob { 2 } else { 3 });
    for _ in 0..3 {
        duo.call(Some(offer()));
    }
    let params = InviteParams::new(uri("sip:bob@example.com"), None);
    assert_eq!(duo.agent(Alice, |agent, now| agent.invite(now, params)), Err(CallError::TooMany));
    let InviteEvent::Failed { cause, .. } = duo.event(Alice) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(486));
}

#[test]
fn a_command_that_does_not_fit_says_so() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    duo.agent(Bob, |agent, now| {
        assert_eq!(agent.ring(now, theirs, 180, None), Err(CallError::State));
        assert_eq!(agent.accept(now, theirs, None, Vec::new()), Err(CallError::State));
        assert_eq!(agent.reject(now, theirs, 486, Vec::new()), Err(CallError::State));
        assert_eq!(agent.reject(now, theirs, 200, Vec::new()), Err(CallError::Status(200)));
        assert_eq!(agent.acknowledge(now, theirs, None), Err(CallError::State));
        assert_eq!(agent.answer_offer(now, theirs, Err(488)), Err(CallError::State));
    });
    duo.hang_up(Alice, ours);
    duo.agent(Alice, |agent, now| {
        assert_eq!(agent.reoffer(now, ours, Some(offer())), Err(CallError::Unknown));
        assert_eq!(agent.dialog(ours), None);
    });
}

#[test]
fn what_a_session_says_is_not_in_debug_output() {
    let mut duo = Duo::new();
    let params = InviteParams::new(uri("sip:bob@example.com"), Some(Body::new("text/plain", "psst")));
    assert!(!format!("{params:?}").contains("psst"));
    duo.call_with(params);
    let (_, incoming) = duo.incoming(Bob);
    assert!(!format!("{incoming:?}").contains("psst"));
    assert!(duo.sim.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_caller_that_never_gives_up_makes_nothing_ring_for_ever() {
    let mut duo = Duo::new();
    for expires in [None, Some(u32::MAX)] {
        duo.call_with(InviteParams {
            expires,
            ..InviteParams::new(uri("sip:bob@example.com"), Some(offer()))
        });
        let began = duo.sim.elapsed();
        duo.incoming(Bob);
        assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
        assert_eq!((duo.sim.elapsed() - began).as_secs(), 300);
        assert!(matches!(duo.event(Alice), InviteEvent::Failed { .. }));
    }
    duo.nothing_left();
}
