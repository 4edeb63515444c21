//! Calls through a proxy that forks, and whatever else a service may answer to an INVITE (RFC 3261 §13, RFC 5407).

use attache_sip::agent::{AgentEvent, InviteId};
use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::usage::{DialogName, EndedBy, InviteEvent, InviteParams};

use crate::duo::{answer, offer};
use crate::pair::{Incoming, Pair, seconds, uri};

fn caller() -> Pair {
    Pair::with(|config| config.invite.max = 4)
}

fn call(pair: &mut Pair) -> (InviteId, Incoming) {
    let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
    let id = pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    (id, pair.expect("INVITE"))
}

fn response(status: u16, tag: &str) -> Response {
    Response::new(status).to_tag(tag).header(HeaderName::Contact, format!("<sip:{tag}@127.0.0.1:5060>"))
}

fn accepted(tag: &str) -> Response {
    response(200, tag).body("application/sdp", answer().content)
}

fn event(pair: &mut Pair) -> InviteEvent {
    match pair.event() {
        AgentEvent::Invite { event, .. } => event,
        other => panic!("{other:?}"),
    }
}

fn progress(pair: &mut Pair) -> (u16, u32) {
    match event(pair) {
        InviteEvent::Progress { status, fork, .. } => (status, fork),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_device_that_rings_is_told_apart() {
    let mut pair = caller();
    let (id, invite) = call(&mut pair);
    for (status, tag, fork) in [(180, "desk", 0), (180, "mobile", 1), (183, "desk", 0)] {
        pair.respond(&invite, &response(status, tag));
        assert_eq!(progress(&mut pair), (status, fork));
    }
    let facts = pair.agent(|agent, _| agent.dialog(id)).unwrap();
    assert_eq!(facts.remote_tag, "", "of several early dialogs, none is the one");
    pair.respond(&invite, &accepted("mobile"));
    assert!(matches!(event(&mut pair), InviteEvent::Answered { .. }));
    let facts = pair.agent(|agent, _| agent.dialog(id)).unwrap();
    assert_eq!((&*facts.remote_tag, &*facts.remote_target), ("mobile", "sip:mobile@127.0.0.1:5060"));
}

#[test]
fn the_first_that_answers_stays_and_each_other_is_acknowledged_and_ended() {
    let mut pair = caller();
    let (_, invite) = call(&mut pair);
    pair.respond(&invite, &accepted("desk"));
    assert!(matches!(event(&mut pair), InviteEvent::Answered { .. }));
    pair.respond(&invite, &accepted("mobile"));
    let bye = pair.expect("BYE");
    assert!(bye.header(HeaderName::To).ends_with("tag=mobile"));
    assert_eq!(bye.header(HeaderName::Reason), "SIP;cause=200;text=\"Call completed elsewhere\"");
    pair.answer(&bye, 200);
    let acks = pair.packets("ACK");
    assert_eq!(acks.len(), 2);
    assert!(acks[0].contains("tag=desk") && acks[1].contains("tag=mobile"));
    // A repeat of either is acknowledged again, and nothing else.
    pair.respond(&invite, &accepted("desk"));
    pair.respond(&invite, &accepted("mobile"));
    pair.quiet(seconds(10));
    assert_eq!(pair.sent("ACK"), 4);
    pair.no_event(seconds(1));
}

#[test]
fn an_acceptance_after_the_call_was_given_up_is_ended() {
    let mut pair = caller();
    let (id, invite) = call(&mut pair);
    pair.respond(&invite, &response(180, "desk"));
    progress(&mut pair);
    pair.agent(|agent, now| agent.hang_up(now, id, None));
    assert!(matches!(event(&mut pair), InviteEvent::Ended { by: EndedBy::Us, .. }));
    pair.respond(&invite, &accepted("desk"));
    let bye = pair.expect("BYE");
    assert_eq!(pair.sent("ACK"), 1);
    pair.answer(&bye, 200);
    pair.no_event(seconds(100));
    assert_eq!(pair.agent(|agent, _| agent.remembered()), 0);
}

#[test]
fn the_way_of_a_dialog_is_that_of_the_acceptance() {
    let mut pair = caller();
    let (id, invite) = call(&mut pair);
    let early = response(180, "desk").header(HeaderName::RecordRoute, "<sip:127.0.0.77;lr>");
    pair.respond(&invite, &early);
    progress(&mut pair);
    let routes = "<sip:127.0.0.1:5060;lr;n=1>, <sip:127.0.0.9;lr>, <sip:127.0.0.1:5060;lr;n=2>";
    pair.respond(&invite, &accepted("desk").header(HeaderName::RecordRoute, routes));
    event(&mut pair);
    pair.agent(|agent, now| agent.hang_up(now, id, None));
    let bye = pair.expect("BYE");
    let rows: Vec<&[u8]> = bye.message.headers(HeaderName::Route).collect();
    assert_eq!(
        rows,
        [&b"<sip:127.0.0.1:5060;lr;n=2>"[..], b"<sip:127.0.0.9;lr>", b"<sip:127.0.0.1:5060;lr;n=1>"]
    );
    assert_eq!(bye.message.request_uri_bytes(), b"sip:desk@127.0.0.1:5060");
    let ack = &pair.packets("ACK")[0];
    assert!(ack.contains("CSeq: 1 ACK") && ack.contains("n=2>"), "{ack}");
}

#[test]
fn a_strict_router_gets_what_it_expects() {
    let mut pair = caller();
    let (id, invite) = call(&mut pair);
    let answer = accepted("desk").header(HeaderName::RecordRoute, "<sip:127.0.0.1:5060>");
    pair.respond(&invite, &answer);
    event(&mut pair);
    pair.agent(|agent, now| agent.hang_up(now, id, None));
    let bye = pair.expect("BYE");
    assert_eq!(bye.message.request_uri_bytes(), b"sip:127.0.0.1:5060");
    assert_eq!(bye.header(HeaderName::Route), "<sip:desk@127.0.0.1:5060>");
}

#[test]
fn a_challenged_call_is_made_again_and_its_ack_has_the_same_proof() {
    let mut pair = caller();
    let (id, invite) = call(&mut pair);
    pair.challenge(&invite, 407, "n1", false);
    let again = pair.expect("INVITE");
    assert_eq!(again.header(HeaderName::CallId), invite.header(HeaderName::CallId));
    assert_eq!(again.header(HeaderName::From), invite.header(HeaderName::From));
    assert_eq!(again.cseq(), invite.cseq() + 1);
    let proof = again.header(HeaderName::ProxyAuthorization).to_owned();
    assert!(!proof.is_empty());
    pair.respond(&again, &accepted("desk"));
    assert!(matches!(event(&mut pair), InviteEvent::Answered { .. }));
    let acks = pair.packets("ACK");
    let ack = acks.last().unwrap();
    assert!(ack.contains("CSeq: 2 ACK") && ack.contains(&proof), "{ack}");
    // Requests within the dialog are challenged as well.
    pair.agent(|agent, now| agent.hang_up(now, id, None));
    let bye = pair.expect("BYE");
    assert_eq!(bye.cseq(), 3);
    pair.challenge(&bye, 407, "n2", true);
    assert_eq!(pair.expect("BYE").cseq(), 4);
}

#[test]
fn a_call_fails_over_to_another_target() {
    let mut pair = caller();
    let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
    pair.agent(|agent, now| {
        use attache_sip::transport::{Destination, Transport};
        let dead = "127.0.0.99:5060".parse().unwrap();
        let targets = [dead, crate::pair::server()];
        let udp = |remote| Destination { transport: Transport::Udp, remote };
        agent.set_next_hop(now, targets.map(udp).to_vec());
        agent.invite(now, params)
    })
    .unwrap();
    let invite = pair.expect("INVITE");
    pair.respond(&invite, &accepted("desk"));
    assert!(matches!(event(&mut pair), InviteEvent::Answered { .. }));
}

#[test]
fn a_call_that_replaces_or_joins_says_so_and_demands_to_be_understood() {
    let mut pair = caller();
    let name: DialogName = "abc@host;to-tag=one;from-tag=two".parse().unwrap();
    let params = InviteParams {
        replaces: Some(name.clone()),
        referred_by: Some("<sip:carol@example.com>".into()),
        answer_mode: Some(attache_sip::usage::AnswerMode { automatic: true, required: true }),
        privacy: Some("id".into()),
        from: Some("\"Anonymous\" <sip:anonymous@anonymous.invalid>".into()),
        contact_params: Some("isfocus;+sip.message".into()),
        ..InviteParams::new(uri("sip:bob@example.com"), Some(offer()))
    };
    pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    let invite = pair.expect("INVITE");
    assert_eq!(invite.header(HeaderName::Replaces), "abc@host;to-tag=one;from-tag=two");
    assert_eq!(invite.header(HeaderName::Require), "replaces");
    assert_eq!(invite.header(HeaderName::ReferredBy), "<sip:carol@example.com>");
    assert_eq!(invite.header(HeaderName::AnswerMode), "Auto;require");
    assert_eq!(invite.header(HeaderName::Privacy), "id");
    assert!(
        invite.header(HeaderName::From).starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=")
    );
    assert!(invite.header(HeaderName::Contact).ends_with(";isfocus;+sip.message"));
    let params = InviteParams {
        join: Some(name.clone()),
        target_dialog: Some(name),
        ..InviteParams::new(uri("sip:bob@example.com"), Some(offer()))
    };
    pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    let invite = pair.expect("INVITE");
    assert_eq!(invite.header(HeaderName::Join), "abc@host;to-tag=one;from-tag=two");
    assert_eq!(invite.header(HeaderName::TargetDialog), "abc@host;local-tag=one;remote-tag=two");
}

#[test]
fn the_contact_of_a_call_is_the_gruu() {
    let mut pair = Pair::with(|config| {
        config.invite.max = 4;
        config.gruu = attache_sip::agent::GruuUse::Always;
        config.instance = Some("urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF".into());
    });
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    let gruu = "sip:alice@example.com;gr=one";
    let contact = format!("{};expires=3600;pub-gruu=\"{gruu}\"", register.header(HeaderName::Contact));
    pair.respond(&register, &Response::new(200).header(HeaderName::Contact, contact));
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
    let (_, invite) = call(&mut pair);
    assert_eq!(invite.header(HeaderName::Contact), format!("<{gruu}>"));
}

#[test]
fn what_we_say_that_we_can_do_is_what_we_do() {
    let mut pair = caller();
    let (_, invite) = call(&mut pair);
    let allow = invite.header(HeaderName::Allow);
    assert_eq!(allow, "MESSAGE, NOTIFY, OPTIONS, INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, REFER, INFO");
    for tag in ["100rel", "timer", "replaces", "norefersub", "tdialog"] {
        assert!(invite.header(HeaderName::Supported).contains(tag), "{tag}");
    }
    // Without an offer of ours, a reliable answer would have to bring the peer's.
    let params = InviteParams::new(uri("sip:bob@example.com"), None);
    pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    assert!(!pair.expect("INVITE").header(HeaderName::Supported).contains("100rel"));
}

#[test]
fn a_call_to_a_sips_address_that_is_answered_from_an_unsafe_one_is_ended() {
    use attache_sip::transport::{Destination, Transport};
    let mut pair = Pair::with(|config| {
        config.invite.max = 4;
        config.local.push((Transport::Tls, crate::pair::client()));
    });
    pair.agent(|agent, now| {
        agent.set_next_hop(
            now,
            vec![Destination { transport: Transport::Tls, remote: crate::pair::server() }],
        );
        let params = InviteParams::new(uri("sips:bob@example.com"), Some(offer()));
        agent.invite(now, params).unwrap();
    });
    let invite = pair.expect("INVITE");
    assert!(invite.header(HeaderName::Contact).starts_with("<sips:"));
    pair.respond(&invite, &accepted("desk"));
    let InviteEvent::Failed { cause, .. } = event(&mut pair) else { panic!("a failure") };
    assert_eq!(cause, attache_sip::agent::Cause::Insecure);
}

#[test]
fn a_device_that_came_too_late_has_no_say_in_the_session() {
    let mut pair = caller();
    let (id, invite) = call(&mut pair);
    pair.respond(&invite, &accepted("desk"));
    assert!(matches!(event(&mut pair), InviteEvent::Answered { .. }));
    pair.respond(&invite, &accepted("mobile"));
    let bye = pair.expect("BYE");
    pair.answer(&bye, 200);
    // Its person hangs up at the same moment, and then it tries whatever else there is.
    let crossing = pair.send_within(&invite, "BYE", "mobile", 1, |request| request);
    assert_eq!(pair.response(crossing), 200);
    for (number, method) in [(2, "INVITE"), (3, "UPDATE"), (4, "INFO"), (5, "REFER")] {
        let refused = pair.send_within(&invite, method, "mobile", number, |request| {
            request
                .header(HeaderName::Contact, "<sip:mobile@127.0.0.1:5060>")
                .header(HeaderName::ReferTo, "<sip:mobile@example.com>")
        });
        assert_eq!(pair.response(refused), 481, "{method}");
    }
    // Nor can it name its dialog to take the place of the one that stands.
    let tag = invite.message.from().unwrap().tag().unwrap().to_owned();
    let call_id = invite.header(HeaderName::CallId).to_owned();
    for of in ["mobile", "desk"] {
        let replaces = format!("{call_id};to-tag={tag};from-tag={of}");
        let asked = Request::new(Method::Invite, "sip:alice@127.0.0.2:5070")
            .from("<sip:mobile@example.com>;tag=other")
            .to("<sip:alice@example.com>")
            .call_id(format!("replaces-{of}"))
            .header(HeaderName::Contact, "<sip:mobile@127.0.0.1:5060>")
            .header(HeaderName::Replaces, replaces);
        let asked = pair.send(&asked);
        if of == "mobile" {
            assert_eq!(pair.response(asked), 481);
        }
    }
    let InviteEvent::Incoming(incoming) = event(&mut pair) else { panic!("a call") };
    assert_eq!(incoming.replaces, Some(id));
    pair.no_event(seconds(1));
}

#[test]
fn an_offer_of_a_device_that_is_not_wanted_is_refused_in_its_acknowledgement() {
    let mut pair = caller();
    let params = InviteParams::new(uri("sip:bob@example.com"), None);
    let id = pair.agent(|agent, now| agent.invite(now, params)).unwrap();
    let invite = pair.expect("INVITE");
    let offers = |tag| {
        let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        response(200, tag).body("application/sdp", offer)
    };
    pair.respond(&invite, &offers("desk"));
    assert!(matches!(event(&mut pair), InviteEvent::Answered { offer: true, .. }));
    pair.respond(&invite, &offers("mobile"));
    let bye = pair.expect("BYE");
    assert!(bye.header(HeaderName::To).ends_with("tag=mobile"));
    pair.answer(&bye, 200);
    let is_refusal =
        |ack: &String| ack.contains("application/sdp") && ack.contains("m=audio 0 RTP/AVP 0\r\n");
    assert!(is_refusal(&pair.packets("ACK")[0]));
    // Whoever hangs up instead of answering says the same.
    pair.agent(|agent, now| agent.hang_up(now, id, None));
    pair.expect("BYE");
    let acks = pair.packets("ACK");
    assert!(acks[1].contains("tag=desk") && is_refusal(&acks[1]), "{}", acks[1]);
}

#[test]
fn an_acceptance_of_a_sips_call_is_not_acknowledged_in_the_clear() {
    use attache_sip::transport::{Destination, Transport};
    let mut pair = Pair::with(|config| {
        config.invite.max = 4;
        config.mixed_security = true;
        config.local.push((Transport::Tls, crate::pair::client()));
    });
    let id = pair.agent(|agent, now| {
        let to = |transport| Destination { transport, remote: crate::pair::server() };
        agent.set_next_hop(now, vec![to(Transport::Udp), to(Transport::Tls)]);
        let params = InviteParams::new(uri("sips:bob@example.com"), None);
        agent.invite(now, params).unwrap()
    });
    let invite = pair.expect("INVITE");
    assert_eq!(invite.flow.transport, Transport::Tls);
    // What it leads to is not known here, so the service is asked to pass it on.
    let answer = Response::new(200)
        .to_tag("desk")
        .header(HeaderName::Contact, "<sips:desk@far.example.com>")
        .body("application/sdp", offer().content);
    pair.respond(&invite, &answer);
    assert!(matches!(event(&mut pair), InviteEvent::Answered { offer: true, .. }));
    pair.agent(|agent, now| agent.acknowledge(now, id, Some(crate::duo::answer()))).unwrap();
    pair.quiet(seconds(1));
    let trace = pair.sim.trace().iter();
    let acks: Vec<_> = trace.filter(|packet| packet.is("ACK")).map(|packet| packet.transport).collect();
    assert_eq!(acks, [Transport::Tls]);
}
