//! Requests within dialogs, and calls that mean other calls.

use attache_sip::agent::AgentEvent;
use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::transport::Transport;
use attache_sip::usage::{AnswerMode, DialogName, EndedBy, InviteEvent, InviteParams};

use crate::duo::{Alice, Bob, Duo, answer, offer};
use crate::pair::{Pair, seconds, uri};

#[test]
fn requests_go_both_ways_within_a_session() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    for (from, id, to, other) in [(Alice, ours, Bob, theirs), (Bob, theirs, Alice, ours)] {
        let info = Request::new(Method::Info, "")
            .header("Info-Package", "dtmf")
            .header(HeaderName::From, "<sip:eve@example.com>;tag=x")
            .body("application/dtmf", "1");
        let request = duo.agent(from, |agent, now| agent.within(now, id, info)).unwrap();
        let (session, InviteEvent::Request { request: asked, message }) = duo.event_of(to) else {
            panic!("a request")
        };
        assert_eq!(session, other);
        assert_eq!((message.method(), message.body()), (Some(Method::Info), &b"1"[..]));
        assert!(!String::from_utf8_lossy(message.as_bytes()).contains("eve"));
        duo.agent(to, |agent, now| agent.respond(now, asked, 200)).unwrap();
        let AgentEvent::Response { id, message } = duo.any_event(from) else { panic!("an answer") };
        assert_eq!((id, message.status()), (request, Some(200)));
    }
    duo.hang_up(Alice, ours);
    duo.nothing_left();
}

#[test]
fn a_message_within_a_session_belongs_to_it() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    let message = Request::new(Method::Message, "").body("text/plain", "hello");
    duo.agent(Alice, |agent, now| agent.within(now, ours, message)).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Request { .. }));
}

#[test]
fn a_peer_that_does_not_know_the_session_ends_it() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    for status in [481, 408] {
        let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
        let id = pair.agent(|agent, now| agent.invite(now, params)).unwrap();
        let invite = pair.expect("INVITE");
        let accepted = Response::new(200)
            .to_tag("bob")
            .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
            .body("application/sdp", answer().content);
        pair.respond(&invite, &accepted);
        pair.event();
        pair.agent(|agent, now| agent.within(now, id, Request::new(Method::Info, ""))).unwrap();
        let info = pair.expect("INFO");
        if status == 481 {
            pair.answer(&info, status);
            assert!(matches!(pair.event(), AgentEvent::Response { .. }));
        } else {
            // A timeout counts as a 408; the peer may still hear that it is over.
            let failed = std::iter::from_fn(|| Some(pair.event())).find(|event| {
                !matches!(event, AgentEvent::Response { message, .. } if message.status() == Some(100))
            });
            assert!(matches!(failed, Some(AgentEvent::RequestFailed { .. })), "{failed:?}");
            let bye = pair.expect("BYE");
            pair.answer(&bye, 200);
        }
        assert!(matches!(
            pair.event(),
            AgentEvent::Invite { event: InviteEvent::Ended { by: EndedBy::Lost, .. }, .. }
        ));
    }
}

#[test]
fn a_request_that_is_out_of_order_gets_500() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
    pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    let invite = pair.expect("INVITE");
    let accepted = Response::new(200)
        .to_tag("bob")
        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
        .body("application/sdp", answer().content);
    pair.respond(&invite, &accepted);
    pair.event();
    let info = pair.send_within(&invite, "INFO", "bob", 10, |request| request);
    let AgentEvent::Invite { event: InviteEvent::Request { request, .. }, .. } = pair.event() else {
        panic!("a request")
    };
    pair.agent(|agent, now| agent.respond(now, request, 200)).unwrap();
    assert_eq!(pair.response(info), 200);
    let late = pair.send_within(&invite, "INFO", "bob", 9, |request| request);
    assert_eq!(pair.response(late), 500);
    // Nor does another tag belong to it.
    let other = pair.send_within(&invite, "BYE", "eve", 11, |request| request);
    assert_eq!(pair.response(other), 481);
    let bye = pair.send_within(&invite, "BYE", "bob", 11, |request| request);
    assert_eq!(pair.response(bye), 200);
    let after = pair.send_within(&invite, "INFO", "bob", 12, |request| request);
    assert_eq!(pair.response(after), 481);
}

#[test]
fn requests_within_a_session_take_a_new_connection_when_theirs_is_lost() {
    let mut duo = Duo::seeded(7, Transport::Tcp, |_, _| {});
    let (ours, theirs) = duo.talk();
    duo.run(seconds(1));
    // A sleep breaks connections, and keeps everything else.
    duo.sim.kill(Bob.addr());
    duo.run(seconds(1));
    duo.sim.revive(Bob.addr());
    duo.agent(Alice, |agent, now| agent.within(now, ours, Request::new(Method::Info, ""))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Request { .. }));
    duo.hang_up(Bob, theirs);
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Peer, .. }));
}

#[test]
fn requests_follow_the_peer_to_another_address_once_that_is_accepted() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
    let id = pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    let invite = pair.expect("INVITE");
    let accepted = Response::new(200)
        .to_tag("bob")
        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
        .body("application/sdp", answer().content);
    pair.respond(&invite, &accepted);
    pair.event();
    for (cseq, place, result, expected) in
        [(1, "one", Err(488), "sip:127.0.0.1:5060"), (2, "two", Ok(answer()), "sip:two@127.0.0.1:5060")]
    {
        let change = pair.send_within(&invite, "INVITE", "bob", cseq, |request| {
            let contact = format!("<sip:{place}@127.0.0.1:5060>");
            let body = format!("v=0\r\no=- 2 {} IN IP4 127.0.0.1\r\n", cseq + 1);
            request.header(HeaderName::Contact, contact).body("application/sdp", body)
        });
        assert!(matches!(pair.event(), AgentEvent::Invite { event: InviteEvent::Offer { .. }, .. }));
        pair.agent(|agent, now| agent.answer_offer(now, id, result)).unwrap();
        pair.response(change);
        pair.acknowledge(&invite, "bob", cseq);
        pair.sim.run_for(seconds(1));
        assert_eq!(pair.agent(|agent, _| agent.dialog(id)).unwrap().remote_target, expected);
    }
}

#[test]
fn a_call_whose_connection_is_lost_fails_and_does_not_ring_on() {
    let mut duo = Duo::seeded(7, Transport::Tcp, |_, _| {});
    duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    duo.event(Alice);
    duo.sim.kill(Bob.addr());
    duo.sim.revive(Bob.addr());
    let InviteEvent::Failed { cause: attache_sip::agent::Cause::Transport(_), .. } = duo.event(Alice) else {
        panic!("a failure")
    };
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    assert_eq!(duo.sent(Alice, "INVITE"), 1);
    duo.nothing_left();
}

#[test]
fn a_call_takes_the_place_of_another() {
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    let name = duo.agent(Alice, |agent, _| agent.dialog(ours)).unwrap().name_for_peer();
    let params =
        InviteParams { replaces: Some(name), ..InviteParams::new(uri("sip:bob@example.com"), Some(offer())) };
    let second = duo.call_with(params);
    let (taken, incoming) = duo.incoming(Bob);
    assert_eq!(incoming.replaces, Some(theirs));
    duo.accept(Bob, taken, Some(answer()));
    let (id, InviteEvent::Ended { by, .. }) = duo.event_of(Bob) else { panic!("an end") };
    assert_eq!((id, by), (theirs, EndedBy::Replaced(taken)));
    let (id, InviteEvent::Answered { .. }) = duo.event_of(Alice) else { panic!("an answer") };
    assert_eq!(id, second);
    let (id, InviteEvent::Ended { by: EndedBy::Peer, .. }) = duo.event_of(Alice) else { panic!("an end") };
    assert_eq!(id, ours);
    duo.hang_up(Alice, second);
    duo.nothing_left();
}

#[test]
fn a_call_that_cannot_take_the_place_of_another_is_refused() {
    let mut duo = Duo::new();
    let (ours, _) = duo.talk();
    let name = duo.agent(Alice, |agent, _| agent.dialog(ours)).unwrap().name_for_peer();
    let unknown = DialogName { call_id: "other".into(), ..name.clone() };
    let early = DialogName { early_only: true, ..name.clone() };
    let ask = |duo: &mut Duo, name: DialogName| {
        let params = InviteParams {
            replaces: Some(name),
            ..InviteParams::new(uri("sip:bob@example.com"), Some(offer()))
        };
        duo.call_with(params);
        match duo.event(Alice) {
            InviteEvent::Failed { cause, .. } => cause.status(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(&mut duo, unknown), Some(481));
    assert_eq!(ask(&mut duo, early), Some(486));
    duo.hang_up(Alice, ours);
    duo.event(Alice);
    duo.run(seconds(1));
    assert_eq!(ask(&mut duo, name), Some(603), "the dialog has ended");
}

#[test]
fn a_call_that_wants_to_join_another_is_told_as_such_where_that_is_possible() {
    let mut duo = Duo::with(|_, config| config.invite.join = true);
    let (ours, theirs) = duo.talk();
    let name = duo.agent(Alice, |agent, _| agent.dialog(ours)).unwrap().name_for_peer();
    let mode = AnswerMode { automatic: true, required: false };
    let params = InviteParams {
        join: Some(name.clone()),
        target_dialog: Some(name),
        answer_mode: Some(mode),
        ..InviteParams::new(uri("sip:bob@example.com"), Some(offer()))
    };
    duo.call_with(params);
    let (_, incoming) = duo.incoming(Bob);
    assert_eq!((incoming.join, incoming.target_dialog), (Some(theirs), Some(theirs)));
    assert_eq!(incoming.answer_mode, Some(mode));
}

#[test]
fn a_call_that_wants_to_join_is_refused_where_sessions_cannot_be_mixed() {
    let mut duo = Duo::with(|_, config| config.invite.max = 4);
    let (ours, _) = duo.talk();
    let name = duo.agent(Alice, |agent, _| agent.dialog(ours)).unwrap().name_for_peer();
    let params =
        InviteParams { join: Some(name), ..InviteParams::new(uri("sip:bob@example.com"), Some(offer())) };
    duo.call_with(params);
    let InviteEvent::Failed { cause, .. } = duo.event(Alice) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(420));
}

#[test]
fn who_calls_is_believed_of_the_service_alone() {
    let asserted = |from_service: bool| {
        let mut duo = Duo::with(|_, config| config.accept_from_anywhere = true);
        if !from_service {
            duo.agent(Bob, |agent, now| {
                use attache_sip::transport::Destination;
                let remote = "127.0.0.200:5060".parse().unwrap();
                agent.set_next_hop(now, vec![Destination { transport: Transport::Udp, remote }]);
            });
        }
        let headers =
            vec![("P-Asserted-Identity".to_owned(), "\"Alice\" <sip:alice@example.com>".to_owned())];
        let params = InviteParams { headers, ..InviteParams::new(uri("sip:bob@example.com"), Some(offer())) };
        duo.call_with(params);
        duo.incoming(Bob).1.asserted
    };
    assert_eq!(asserted(true), ["\"Alice\" <sip:alice@example.com>"]);
    assert!(asserted(false).is_empty());
}

#[test]
fn the_same_call_by_two_ways_is_taken_once() {
    let mut pair = Pair::with(|config| config.invite.max = 4);
    let invite = |branch: &str| {
        Request::new(Method::Invite, "sip:alice@127.0.0.2:5070")
            .from("<sip:bob@example.com>;tag=b")
            .to("<sip:alice@example.com>")
            .call_id("one@example.com")
            .header(HeaderName::Contact, format!("<sip:bob@127.0.0.1:5060;x={branch}>"))
    };
    pair.send(&invite("a"));
    assert!(matches!(pair.event(), AgentEvent::Invite { event: InviteEvent::Incoming(_), .. }));
    let second = pair.send(&invite("b"));
    assert_eq!(pair.response(second), 482);
}

#[test]
fn a_call_of_a_stranger_is_refused() {
    let mut duo = Duo::new();
    duo.agent(Bob, |agent, now| {
        use attache_sip::transport::Destination;
        let remote = "127.0.0.200:5060".parse().unwrap();
        agent.set_next_hop(now, vec![Destination { transport: Transport::Udp, remote }]);
    });
    duo.call(Some(offer()));
    let InviteEvent::Failed { cause, .. } = duo.event(Alice) else { panic!("a refusal") };
    assert_eq!(cause.status(), Some(403));
}
