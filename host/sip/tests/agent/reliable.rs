//! Provisional answers that are acknowledged (RFC 3262).

use attache_sip::agent::AgentEvent;
use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::sim::Fate;
use attache_sip::usage::{EndedBy, InviteEvent, InviteParams, Reliability};

use crate::duo::{Alice, Bob, Duo, answer, offer};
use crate::pair::{Incoming, Pair, seconds, uri};

fn required(body: Option<attache_sip::usage::Body>) -> InviteParams {
    InviteParams { reliability: Reliability::Required, ..InviteParams::new(uri("sip:bob@example.com"), body) }
}

#[test]
fn a_provisional_answer_is_repeated_until_it_is_acknowledged() {
    let mut duo = Duo::new();
    let mut lost = 0;
    duo.sim.set_filter(move |packet| {
        let first = packet.is("PRACK") && lost < 2;
        lost += u32::from(first);
        if first { Fate::Drop } else { Fate::Deliver }
    });
    duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::Progress { status: 180, .. }));
    duo.run(seconds(10));
    assert!((2..=3).contains(&duo.sent(Bob, "SIP/2.0 180")), "{}", duo.sent(Bob, "SIP/2.0 180"));
    let pracks = duo.packets(Alice, "PRACK");
    assert!(pracks.iter().all(|prack| prack == &pracks[0]), "one PRACK, repeated by its transaction");
    duo.accept(Bob, theirs, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
}

#[test]
fn provisional_answers_go_one_after_the_other() {
    let mut duo = Duo::new();
    duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    for status in [180, 182, 183] {
        duo.agent(Bob, |agent, now| agent.ring(now, theirs, status, None)).unwrap();
    }
    for status in [180, 182, 183] {
        let InviteEvent::Progress { status: said, .. } = duo.event(Alice) else { panic!("progress") };
        assert_eq!(said, status);
    }
    duo.run(seconds(1));
    assert_eq!(duo.sent(Alice, "PRACK"), 3);
}

#[test]
fn a_session_described_early_is_not_overtaken_by_the_acceptance() {
    let mut duo = Duo::new();
    duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(answer()))).unwrap();
    duo.accept(Bob, theirs, None);
    duo.run(seconds(1));
    let order: Vec<String> = duo
        .sim
        .trace()
        .iter()
        .map(|packet| String::from_utf8_lossy(&packet.payload[..12]).into_owned())
        .filter(|start| !start.starts_with("SIP/2.0 100"))
        .collect();
    assert_eq!(order[1..], ["SIP/2.0 183 ", "PRACK sip:bo", "SIP/2.0 200 ", "SIP/2.0 200 ", "ACK sip:bob@"]);
    let InviteEvent::Progress { body, .. } = duo.event(Alice) else { panic!("progress") };
    assert_eq!(body, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { body: None, offer: false, .. }));
}

#[test]
fn an_offer_in_a_provisional_answer_is_answered_in_its_acknowledgement() {
    let mut duo = Duo::new();
    let ours = duo.call_with(required(None));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(offer()))).unwrap();
    let InviteEvent::Progress { body, offer: true, .. } = duo.event(Alice) else { panic!("an offer") };
    assert_eq!(body, Some(offer()));
    assert_eq!(duo.sent(Alice, "PRACK"), 0);
    duo.agent(Alice, |agent, now| agent.answer_offer(now, ours, Ok(answer()))).unwrap();
    let InviteEvent::OfferAnswered { body, .. } = duo.event(Bob) else { panic!("an answer") };
    assert_eq!(body, Some(answer()));
    duo.accept(Bob, theirs, None);
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { body: None, offer: false, .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { body: None }));
}

#[test]
fn an_early_session_is_changed_by_update() {
    let mut duo = Duo::new();
    let ours = duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(answer()))).unwrap();
    duo.event(Alice);
    duo.run(seconds(1));
    let other = attache_sip::usage::Body::sdp("v=0\r\no=- 1 2 IN IP4 127.0.0.2\r\n");
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(other.clone()))).unwrap();
    let InviteEvent::Offer { body } = duo.event(Bob) else { panic!("an offer") };
    assert_eq!(body, Some(other));
    duo.agent(Bob, |agent, now| agent.answer_offer(now, theirs, Ok(answer()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::OfferAnswered { offer: false, .. }));
    assert_eq!(duo.sent(Alice, "UPDATE"), 1);
    // And so by the one who is called.
    let other = attache_sip::usage::Body::sdp("v=0\r\no=- 2 2 IN IP4 127.0.0.3\r\n");
    duo.agent(Bob, |agent, now| agent.reoffer(now, theirs, Some(other.clone()))).unwrap();
    let InviteEvent::Offer { body } = duo.event(Alice) else { panic!("an offer") };
    assert_eq!(body, Some(other));
    duo.agent(Alice, |agent, now| agent.answer_offer(now, ours, Ok(offer()))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::OfferAnswered { offer: false, .. }));
    duo.accept(Bob, theirs, None);
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
}

#[test]
fn an_early_change_that_nobody_answers_is_refused_in_time() {
    let mut duo = Duo::new();
    let ours = duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(answer()))).unwrap();
    duo.event(Alice);
    duo.run(seconds(1));
    let other = attache_sip::usage::Body::sdp("v=0\r\no=- 1 2 IN IP4 127.0.0.2\r\n");
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(other))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::OfferRefused { .. }));
    let InviteEvent::OfferRefused { cause } = duo.event(Alice) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(504));
}

#[test]
fn an_offer_in_an_acknowledgement_is_answered_at_once() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = Request::new(Method::Invite, "sip:alice@127.0.0.2:5070")
        .from("<sip:bob@example.com>;tag=bob")
        .to("<sip:alice@example.com>")
        .call_id("one@example.com")
        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
        .header(HeaderName::Require, "100rel")
        .body("application/sdp", offer().content);
    pair.send(&invite);
    let AgentEvent::Invite { id, event: InviteEvent::Incoming(_) } = pair.event() else { panic!("a call") };
    pair.agent(|agent, now| agent.ring(now, id, 183, Some(answer()))).unwrap();
    pair.sim.run_for(seconds(1) / 10);
    let rings = pair.said("SIP/2.0 183");
    let line = |name: &str| {
        let found = rings[0].lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().to_owned()
    };
    let prack = Request::new(Method::Prack, "sip:alice@127.0.0.2:5070")
        .from("<sip:bob@example.com>;tag=bob")
        .to(line("To: "))
        .call_id("one@example.com")
        .cseq(2)
        .header(HeaderName::RAck, format!("{} 1 INVITE", line("RSeq: ")))
        .body("application/sdp", "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n");
    let prack = pair.send(&prack);
    assert!(matches!(pair.event(), AgentEvent::Invite { event: InviteEvent::Offer { body: Some(_) }, .. }));
    pair.agent(|agent, now| agent.answer_offer(now, id, Ok(answer()))).unwrap();
    assert_eq!(pair.response(prack), 200);
    assert!(pair.said("SIP/2.0 200")[0].contains("o=- 2 1"));
}

#[test]
fn a_provisional_answer_that_nobody_acknowledges_ends_the_call() {
    let mut duo = Duo::new();
    duo.sim.set_filter(|packet| if packet.is("PRACK") { Fate::Drop } else { Fate::Deliver });
    duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Lost, .. }));
    assert_eq!(duo.sent(Bob, "SIP/2.0 504"), 1);
    duo.nothing_left();
}

#[test]
fn without_the_extension_nothing_is_acknowledged() {
    let mut duo = Duo::new();
    let params = InviteParams {
        reliability: Reliability::Never,
        ..InviteParams::new(uri("sip:bob@example.com"), Some(offer()))
    };
    duo.call_with(params);
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(answer()))).unwrap();
    let InviteEvent::Progress { body, .. } = duo.event(Alice) else { panic!("progress") };
    assert_eq!(body, Some(answer()), "a preview");
    assert_eq!(duo.sent(Alice, "PRACK"), 0);
    duo.accept(Bob, theirs, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { body: Some(_), .. }));
}

fn rings(pair: &mut Pair, invite: &Incoming, tag: &str, rseq: u32) {
    let response = Response::new(180)
        .to_tag(tag)
        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
        .header(HeaderName::Require, "100rel")
        .header(HeaderName::RSeq, rseq.to_string());
    pair.respond(invite, &response);
    pair.sim.run_for(seconds(1));
}

#[test]
fn each_device_has_its_own_order() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    pair.agent(|agent, now| agent.invite(now, required(Some(offer())))).unwrap();
    let invite = pair.expect("INVITE");
    rings(&mut pair, &invite, "desk", 700);
    rings(&mut pair, &invite, "mobile", 12);
    // Out of order, and a repeat: neither is acknowledged.
    rings(&mut pair, &invite, "desk", 702);
    rings(&mut pair, &invite, "desk", 700);
    rings(&mut pair, &invite, "desk", 701);
    let mut racks: Vec<String> = pair
        .packets("PRACK")
        .iter()
        .filter_map(|prack| prack.lines().find(|line| line.starts_with("RAck: ")).map(str::to_owned))
        .collect();
    racks.sort();
    racks.dedup();
    assert_eq!(racks, ["RAck: 12 1 INVITE", "RAck: 700 1 INVITE", "RAck: 701 1 INVITE"]);
    for _ in 0..3 {
        assert!(matches!(pair.event(), AgentEvent::Invite { event: InviteEvent::Progress { .. }, .. }));
    }
    pair.no_event(seconds(1));
}

#[test]
fn an_acknowledgement_of_nothing_gets_481() {
    let mut duo = Duo::new();
    duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    duo.event(Alice);
    duo.run(seconds(1));
    let prack = duo.packets(Alice, "PRACK").remove(0);
    let again = prack.replace("branch=z9hG4bK", "branch=z9hG4bKx").replace("CSeq: 2 ", "CSeq: 3 ");
    duo.agent(Bob, |agent, now| {
        use attache_sip::transport::{Flow, FlowId, Transport};
        let flow =
            Flow { id: FlowId(99), transport: Transport::Udp, local: Bob.addr(), remote: Alice.addr() };
        agent.handle_input(now, flow, again.into());
    });
    assert_eq!(duo.sent(Bob, "SIP/2.0 481"), 1);
}

#[test]
fn an_acknowledgement_that_the_acceptance_has_overtaken_is_taken() {
    let mut duo = Duo::new();
    let mut lost = false;
    duo.sim.set_filter(move |packet| {
        let first = packet.is("PRACK") && !lost;
        lost |= first;
        if first { Fate::Drop } else { Fate::Deliver }
    });
    let ours = duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::Progress { status: 180, .. }));
    duo.accept(Bob, theirs, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
    duo.no_event(Alice, seconds(100));
    assert_eq!(duo.sent(Alice, "PRACK"), 2);
    assert_eq!(duo.sent(Bob, "SIP/2.0 481"), 0);
    duo.hang_up(Alice, ours);
    duo.nothing_left();
}

#[test]
fn an_acceptance_leaves_an_early_change_to_be_answered() {
    let mut duo = Duo::new();
    let ours = duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(answer()))).unwrap();
    duo.event(Alice);
    duo.run(seconds(1));
    let other = attache_sip::usage::Body::sdp("v=0\r\no=- 1 2 IN IP4 127.0.0.2\r\n");
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(other))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
    duo.accept(Bob, theirs, None);
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
    duo.agent(Bob, |agent, now| agent.answer_offer(now, theirs, Ok(answer()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::OfferAnswered { offer: false, .. }));
}

#[test]
fn a_cancelled_call_answers_the_change_that_was_open() {
    let mut duo = Duo::new();
    let ours = duo.call_with(required(Some(offer())));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(answer()))).unwrap();
    duo.event(Alice);
    duo.run(seconds(1));
    let other = attache_sip::usage::Body::sdp("v=0\r\no=- 1 2 IN IP4 127.0.0.2\r\n");
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(other))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
    duo.hang_up(Alice, ours);
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    duo.run(seconds(1));
    assert!(duo.packets(Bob, "SIP/2.0 487").iter().any(|answer| answer.contains(" UPDATE\r\n")));
    duo.nothing_left();
}
