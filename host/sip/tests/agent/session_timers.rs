//! Session timers (RFC 4028).

use attache_sip::agent::AgentEvent;
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::usage::{EndedBy, InviteEvent, InviteParams};

use crate::duo::{Alice, Bob, Duo, answer, offer};
use crate::pair::{Incoming, Pair, seconds, uri};

#[test]
fn a_session_is_refreshed_for_as_long_as_it_stands() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    duo.no_event(Alice, seconds(3 * 3600));
    let refreshes = duo.sent(Alice, "UPDATE");
    assert!((11..=12).contains(&refreshes), "every 900 seconds: {refreshes}");
    assert_eq!(duo.sent(Bob, "UPDATE"), 0);
    duo.no_event(Bob, seconds(1));
    duo.hang_up(Alice, ours);
    duo.nothing_left();
}

#[test]
fn both_ends_notice_that_the_other_is_gone() {
    let mut duo = Duo::new();
    duo.talk();
    duo.sim.partition(Alice.addr(), Bob.addr());
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Lost, .. }));
    // The refresh at half time had no answer.
    assert_eq!(duo.sim.elapsed().as_secs(), 932);
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Lost, .. }));
    assert_eq!(duo.sim.elapsed().as_secs(), 1800 - 32);
    duo.nothing_left();
}

#[test]
fn an_interval_that_is_too_short_is_raised() {
    let mut duo = Duo::with(|who, config| {
        config.invite.session_expires = 100;
        if who == Bob {
            config.invite.min_se = 600;
        }
    });
    duo.call(Some(offer()));
    let (theirs, incoming) = duo.incoming(Bob);
    assert_eq!(duo.sent(Bob, "SIP/2.0 422"), 1);
    assert_eq!(incoming.message.header(HeaderName::MinSe), Some(&b"600"[..]));
    assert_eq!(incoming.message.cseq().unwrap().number, 2);
    duo.accept(Bob, theirs, Some(answer()));
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
    let accepted = duo.packets(Bob, "SIP/2.0 200").remove(0);
    assert!(accepted.contains("Session-Expires: 600;refresher=uac"), "{accepted}");
    assert!(accepted.contains("Require: timer"));
}

#[test]
fn a_call_can_do_without() {
    let mut duo = Duo::with(|_, config| config.invite.session_expires = 0);
    let (ours, _) = duo.talk();
    duo.no_event(Alice, seconds(100_000));
    assert_eq!(duo.sent(Alice, "UPDATE") + duo.sent(Bob, "UPDATE"), 0);
    duo.hang_up(Alice, ours);
    duo.nothing_left();
}

fn call(pair: &mut Pair) -> Incoming {
    let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
    pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    pair.expect("INVITE")
}

fn accept(pair: &mut Pair, invite: &Incoming, headers: &[(HeaderName, &str)]) {
    let mut response = Response::new(200)
        .to_tag("bob")
        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
        .body("application/sdp", answer().content);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    pair.respond(invite, &response);
    assert!(matches!(pair.event(), AgentEvent::Invite { event: InviteEvent::Answered { .. }, .. }));
}

#[test]
fn without_update_the_same_offer_is_made_again() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = call(&mut pair);
    let granted =
        [(HeaderName::SessionExpires, "200;refresher=uac"), (HeaderName::Allow, "INVITE, ACK, BYE")];
    accept(&mut pair, &invite, &granted);
    let refresh = pair.expect_within("INVITE", seconds(101));
    assert_eq!(refresh.message.body(), &offer().content[..]);
    assert_eq!(refresh.header(HeaderName::SessionExpires), "200;refresher=uac");
    accept_refresh(&mut pair, &refresh);
    let again = pair.expect_within("INVITE", seconds(101));
    assert!(again.cseq() > refresh.cseq());
    pair.no_event(seconds(1));
}

fn accept_refresh(pair: &mut Pair, refresh: &Incoming) {
    let response = Response::new(200)
        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
        .header(HeaderName::SessionExpires, "200;refresher=uac")
        .body("application/sdp", answer().content);
    pair.respond(refresh, &response);
}

#[test]
fn a_peer_that_only_says_that_it_knows_update_is_refreshed_all_the_same() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = call(&mut pair);
    let granted = [(HeaderName::SessionExpires, "200;refresher=uac"), (HeaderName::Allow, "INVITE, UPDATE")];
    accept(&mut pair, &invite, &granted);
    let update = pair.expect_within("UPDATE", seconds(101));
    pair.answer(&update, 501);
    let refresh = pair.expect_within("INVITE", seconds(40));
    accept_refresh(&mut pair, &refresh);
    pair.no_event(seconds(60));
}

#[test]
fn a_change_of_a_peer_that_knows_no_timers_does_not_end_ours() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = call(&mut pair);
    accept(&mut pair, &invite, &[(HeaderName::Allow, "INVITE, ACK, BYE")]);
    let change = pair.send_within(&invite, "INVITE", "bob", 1, |request| {
        let request = request.header(HeaderName::Contact, "<sip:127.0.0.1:5060>");
        request.body("application/sdp", answer().content)
    });
    assert_eq!(pair.response(change), 200);
    pair.acknowledge(&invite, "bob", 1);
    pair.expect_within("INVITE", seconds(901));
}

#[test]
fn a_peer_that_refreshes_is_waited_for_and_given_up() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = call(&mut pair);
    accept(
        &mut pair,
        &invite,
        &[(HeaderName::SessionExpires, "120;refresher=uas"), (HeaderName::Require, "timer")],
    );
    pair.sim.run_for(seconds(60));
    let update = pair.send_within(&invite, "UPDATE", "bob", 1, |request| {
        request
            .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
            .header(HeaderName::Supported, "timer")
            .header(HeaderName::SessionExpires, "120;refresher=uac")
    });
    assert_eq!(pair.response(update), 200);
    pair.quiet(seconds(80));
    let bye = pair.expect_within("BYE", seconds(20));
    pair.answer(&bye, 200);
    assert!(matches!(
        pair.event(),
        AgentEvent::Invite { event: InviteEvent::Ended { by: EndedBy::Lost, .. }, .. }
    ));
}

#[test]
fn a_peer_that_grants_a_second_does_not_make_us_storm() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = call(&mut pair);
    accept(
        &mut pair,
        &invite,
        &[(HeaderName::SessionExpires, "1;refresher=uac"), (HeaderName::Allow, "UPDATE")],
    );
    pair.quiet(seconds(44));
    pair.expect_within("UPDATE", seconds(2));
}

#[test]
fn a_refresh_that_is_refused_is_tried_again_before_the_end() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = call(&mut pair);
    let granted = [(HeaderName::SessionExpires, "300;refresher=uac"), (HeaderName::Allow, "UPDATE")];
    accept(&mut pair, &invite, &granted);
    let refresh = pair.expect("UPDATE");
    pair.answer(&refresh, 500);
    let refresh = pair.expect_within("UPDATE", seconds(20));
    let response = Response::new(200)
        .header(HeaderName::SessionExpires, "300;refresher=uac")
        .header(HeaderName::Allow, "UPDATE");
    pair.respond(&refresh, &response);
    pair.no_event(seconds(100));
}

#[test]
fn an_interval_that_began_early_waits_for_the_session() {
    let mut duo = Duo::with(|_, config| config.invite.session_expires = 90);
    let ours = duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 183, Some(answer()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::Progress { .. }));
    duo.run(seconds(1));
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(offer()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::OfferAnswered { .. }));
    assert_eq!(duo.sent(Alice, "UPDATE"), 1);
    // It rings for longer than the interval: neither end has anything to do for that.
    duo.run(seconds(200));
    assert_eq!(duo.sent(Alice, "UPDATE"), 1);
    duo.accept(Bob, theirs, None);
    assert!(matches!(duo.event(Alice), InviteEvent::Answered { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
    duo.no_event(Bob, seconds(600));
    assert!(duo.sent(Alice, "UPDATE") > 10);
    duo.hang_up(Alice, ours);
    duo.nothing_left();
}
