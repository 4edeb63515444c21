//! Changes of a session that stands (RFC 3261 §14, RFC 3311, RFC 6141).

use attache_sip::agent::AgentEvent;
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::sim::Fate;
use attache_sip::transport::Transport;
use attache_sip::usage::{Body, CallError, EndedBy, InviteEvent, InviteParams};

use crate::duo::{Alice, Bob, Duo, Who, answer, offer};
use crate::pair::{Pair, seconds, uri};

fn hold() -> Body {
    Body::sdp("v=0\r\no=- 1 2 IN IP4 127.0.0.2\r\ns=-\r\na=sendonly\r\n")
}

fn held() -> Body {
    Body::sdp("v=0\r\no=- 2 2 IN IP4 127.0.0.3\r\ns=-\r\na=recvonly\r\n")
}

#[test]
fn a_session_is_changed_in_either_direction() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    for (from, id, to, other) in [(Alice, ours, Bob, theirs), (Bob, theirs, Alice, ours)] {
        duo.agent(from, |agent, now| agent.reoffer(now, id, Some(hold()))).unwrap();
        let InviteEvent::Offer { body } = duo.event(to) else { panic!("an offer") };
        assert_eq!(body, Some(hold()));
        duo.agent(to, |agent, now| agent.answer_offer(now, other, Ok(held()))).unwrap();
        let InviteEvent::OfferAnswered { body, offer: false } = duo.event(from) else { panic!("an answer") };
        assert_eq!(body, Some(held()));
        duo.run(seconds(1));
    }
    duo.hang_up(Alice, ours);
    duo.nothing_left();
}

#[test]
fn a_refused_change_leaves_the_session_as_it_was() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
    duo.agent(Bob, |agent, now| agent.answer_offer(now, theirs, Err(488))).unwrap();
    let InviteEvent::OfferRefused { cause } = duo.event(Alice) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(488));
    duo.run(seconds(1));
    // Another one can be made.
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
}

#[test]
fn a_change_can_ask_the_peer_for_its_offer() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, None)).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { body: None }));
    duo.agent(Bob, |agent, now| agent.answer_offer(now, theirs, Ok(hold()))).unwrap();
    let InviteEvent::OfferAnswered { body, offer: true } = duo.event(Alice) else { panic!("an offer") };
    assert_eq!(body, Some(hold()));
    duo.agent(Alice, |agent, now| agent.acknowledge(now, ours, Some(held()))).unwrap();
    let InviteEvent::OfferAnswered { body, offer: false } = duo.event(Bob) else { panic!("an answer") };
    assert_eq!(body, Some(held()));
}

#[test]
fn two_changes_that_cross_are_both_made_one_after_the_other() {
    for seed in 1..20 {
        let mut duo = Duo::seeded(seed, Transport::Udp, |_, _| {});
        let (ours, theirs) = duo.talk();
        duo.run(seconds(1));
        duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
        duo.agent(Bob, |agent, now| agent.reoffer(now, theirs, Some(hold()))).unwrap();
        let mut answered = 0;
        let id = |who| if who == Alice { ours } else { theirs };
        for _ in 0..40 {
            for who in [Alice, Bob] {
                while let Some(event) = duo.event_within(who, seconds(0)) {
                    let AgentEvent::Invite { event, .. } = event else { panic!("{event:?}") };
                    match event {
                        InviteEvent::Offer { .. } => {
                            duo.agent(who, |agent, now| agent.answer_offer(now, id(who), Ok(held())))
                                .unwrap();
                        }
                        InviteEvent::OfferAnswered { .. } => answered += 1,
                        other => panic!("seed {seed}: {who:?} {other:?}"),
                    }
                }
            }
            duo.run(seconds(1) / 4);
        }
        assert_eq!(answered, 2, "seed {seed}");
        assert!(duo.sent(Alice, "SIP/2.0 491") >= 1 && duo.sent(Bob, "SIP/2.0 491") >= 1);
        duo.hang_up(Alice, ours);
        duo.nothing_left();
    }
}

#[test]
fn a_change_that_meets_an_unanswered_one_is_tried_again_when_the_peer_says_so() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
    let id = pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    let invite = pair.expect("INVITE");
    let accepted = || {
        let contact = "<sip:127.0.0.1:5060>";
        let response = Response::new(200).to_tag("bob").header(HeaderName::Contact, contact);
        response.body("application/sdp", answer().content)
    };
    pair.respond(&invite, &accepted());
    pair.event();
    pair.agent(|agent, now| agent.reoffer(now, id, Some(hold()))).unwrap();
    let first = pair.expect("INVITE");
    pair.respond(&first, &Response::new(500).header(HeaderName::RetryAfter, "7"));
    pair.quiet(seconds(6));
    let second = pair.expect_within("INVITE", seconds(2));
    assert_eq!(second.message.body(), first.message.body());
    pair.respond(&second, &accepted());
    assert!(matches!(pair.event(), AgentEvent::Invite { event: InviteEvent::OfferAnswered { .. }, .. }));
}

#[test]
fn only_one_offer_is_on_its_way() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    duo.agent(Alice, |agent, now| {
        agent.reoffer(now, ours, Some(hold())).unwrap();
        assert_eq!(agent.reoffer(now, ours, Some(hold())), Err(CallError::OfferPending));
    });
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
    let crossing = duo.agent(Bob, |agent, now| agent.reoffer(now, theirs, Some(hold())));
    assert_eq!(crossing, Err(CallError::OfferPending));
}

#[test]
fn a_peer_that_says_the_same_again_is_answered_without_asking_anybody() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(offer()))).unwrap();
    let InviteEvent::OfferAnswered { body, .. } = duo.event(Alice) else { panic!("an answer") };
    assert_eq!(body, Some(answer()));
    duo.no_event(Bob, seconds(10));
}

#[test]
fn a_peer_that_no_longer_knows_the_session_ends_it() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    let config = |who: Who| {
        let local = vec![(Transport::Udp, who.addr()), (Transport::Tcp, who.addr())];
        attache_sip::agent::AgentConfig::new(uri("sip:bob@example.com"), "secret", local)
    };
    // Bob's program was started anew.
    let fresh = attache_sip::agent::Agent::new(config(Bob), [9; 32]);
    duo.sim.add(Bob.addr(), fresh);
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Lost, .. }));
}

#[test]
fn a_change_that_nobody_answers_ends_the_session() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    duo.sim.kill(Bob.addr());
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Lost, .. }));
    duo.run(seconds(1));
    assert!(duo.sent(Alice, "BYE") > 0);
}

#[test]
fn hanging_up_while_a_change_is_open_answers_it() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
    duo.hang_up(Bob, theirs);
    assert!(matches!(duo.event(Alice), InviteEvent::OfferRefused { .. } | InviteEvent::Ended { .. }));
    duo.run(seconds(1));
    assert_eq!((duo.sent(Bob, "SIP/2.0 487"), duo.sent(Bob, "BYE")), (1, 1));
    duo.nothing_left();
}

#[test]
fn a_change_whose_acknowledgement_is_lost_is_repeated() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    let mut lost = 0;
    duo.sim.set_filter(move |packet| {
        let first = packet.is("ACK") && lost < 2;
        lost += u32::from(first);
        if first { Fate::Drop } else { Fate::Deliver }
    });
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    duo.event(Bob);
    duo.agent(Bob, |agent, now| agent.answer_offer(now, theirs, Ok(held()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::OfferAnswered { .. }));
    duo.run(seconds(10));
    assert_eq!(duo.sent(Alice, "ACK"), 4);
    duo.hang_up(Alice, ours);
    duo.nothing_left();
}
