//! Calls between users (RFC 3261, section 16).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message, Method};
use common::calls::{SDP, answered};
use common::{ALICE, BOB, CAROL, Net, PHONE, config, status, text};

const TO_BOB: &str = "sip:bob@example.com";

/// Everybody is registered, Bob with two devices, and answers by hand.
fn net() -> Net {
    with(config())
}

fn with(config: attache_service::CoreConfig) -> Net {
    let mut net = Net::with(config);
    for at in [ALICE, BOB, PHONE, CAROL] {
        assert_eq!(status(&net.register(at, 3600)), 200);
        net.client(at, |client| client.is_slow = true);
    }
    net
}

/// The same with Bob at one device.
fn one_device() -> Net {
    let mut net = net();
    net.register(PHONE, 0);
    net
}

fn statuses(net: &mut Net, at: &str) -> Vec<u16> {
    net.client(at, |client| client.progress.drain(..).map(|answer| status(&answer)).collect())
}

fn ringing(net: &mut Net, at: &str) -> usize {
    net.client(at, |client| client.ringing.len())
}

fn contact(net: &mut Net, at: &str) -> String {
    net.client(at, |client| client.contact())
}

fn forwards(net: &mut Net) -> usize {
    net.core(|core, _| core.statistics().forwards)
}

#[test]
fn a_call_goes_to_the_callee_and_its_dialog_comes_back_through_the_service_both_ways() {
    let mut net = one_device();
    let (mut caller, mut callee) = net.call(ALICE, TO_BOB, BOB);
    assert_eq!((caller.routes.len(), callee.routes.len()), (2, 2));
    for (at, there, method) in [
        (ALICE, BOB, Method::Info),
        (BOB, ALICE, Method::Update),
        (BOB, ALICE, Method::Message),
        (ALICE, BOB, Method::Refer),
        (BOB, ALICE, Method::Notify),
    ] {
        let dialog = if at == ALICE { &mut caller } else { &mut callee };
        let request = dialog.request(method);
        net.start(at, request);
        let arrived = net.rings(there);
        assert_eq!(arrived.method(), Some(method));
        assert_eq!(arrived.count(HeaderName::Route), 0);
        net.reply(there, &Response::new(200));
        net.run(1);
        assert_eq!(status(&net.answer(at).unwrap()), 200);
    }
    let bye = callee.request(Method::Bye);
    net.start(BOB, bye);
    net.rings(ALICE);
    net.reply(ALICE, &Response::new(200));
    net.run(1);
    assert_eq!(status(&net.answer(BOB).unwrap()), 200);
    net.run(100);
    assert_eq!(forwards(&mut net), 0);
}

#[test]
fn what_the_callee_gets_is_the_callers_request_with_one_hop_more() {
    let mut net = one_device();
    let invite = net.invite(ALICE, TO_BOB);
    let invite = invite
        .header("X-Own", "kept")
        .header(HeaderName::PAssertedIdentity, "<sip:carol@example.com>")
        .header(HeaderName::Require, "100rel");
    net.start_with_digest(ALICE, invite);
    let arrived = net.rings(BOB);
    assert_eq!(arrived.body(), SDP.as_bytes());
    assert_eq!(text(&arrived, HeaderName::ContentType), "application/sdp");
    assert_eq!(arrived.request_uri_bytes(), b"sip:bob@127.0.2.1:5060");
    assert_eq!(arrived.max_forwards(), Some(69));
    assert_eq!(arrived.values(HeaderName::Via).count(), 2);
    assert_eq!(arrived.other("X-Own"), Some(&b"kept"[..]));
    assert_eq!(text(&arrived, HeaderName::Require), "100rel");
    assert_eq!(text(&arrived, HeaderName::PAssertedIdentity), "<sip:alice@example.com>");
    assert_eq!(arrived.count(HeaderName::PAssertedIdentity), 1);
    assert_eq!(arrived.count(HeaderName::ProxyAuthorization), 0, "the proof is for us alone");
    net.reply(
        BOB,
        &answered(180, "b", "<sip:bob@127.0.2.1>").header(HeaderName::PAssertedIdentity, "<sip:x@y>"),
    );
    net.run(1);
    let progress = net.client(ALICE, |alice| std::mem::take(&mut alice.progress));
    assert_eq!(progress.iter().map(status).collect::<Vec<_>>(), [100, 180]);
    assert_eq!(progress[1].count(HeaderName::PAssertedIdentity), 0);
    assert_eq!(progress[1].values(HeaderName::Via).count(), 1);
}

#[test]
fn all_devices_ring_and_the_first_that_answers_takes_the_call() {
    let mut net = net();
    net.ring(ALICE, TO_BOB, BOB);
    net.rings(PHONE);
    for (at, tag) in [(BOB, "desk"), (PHONE, "phone")] {
        let contact = contact(&mut net, at);
        net.reply(at, &answered(180, tag, &contact));
    }
    net.run(1);
    assert_eq!(statuses(&mut net, ALICE), [100, 180, 180]);
    let phone = contact(&mut net, PHONE);
    net.reply(PHONE, &answered(200, "phone", &phone));
    net.run(1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 200);
    assert_eq!(net.client(BOB, |bob| bob.cancelled.len()), 1, "the other one stops ringing");
    let cancel = net.sim.trace().iter().find(|packet| packet.is("CANCEL")).unwrap();
    let reason = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"";
    assert!(String::from_utf8_lossy(&cancel.payload).contains(reason), "and does not call it missed");
    assert!(statuses(&mut net, ALICE).is_empty(), "its 487 is nobody's business");
    net.run(100);
    assert_eq!(forwards(&mut net), 0);
}

#[test]
fn two_devices_that_answer_at_the_same_time_are_both_heard() {
    let mut net = net();
    net.ring(ALICE, TO_BOB, BOB);
    net.rings(PHONE);
    net.reply(BOB, &answered(200, "desk", "<sip:bob@127.0.2.1>"));
    net.reply(PHONE, &answered(200, "phone", "<sip:bob@127.0.2.2>"));
    net.run(1);
    let first = net.answer(ALICE).unwrap();
    let further = net.client(ALICE, |alice| std::mem::take(&mut alice.progress));
    let tags: std::collections::BTreeSet<String> = further
        .iter()
        .chain([&first])
        .filter(|answer| status(answer) == 200)
        .map(|answer| answer.to().unwrap().tag().unwrap().to_owned())
        .collect();
    assert_eq!(tags.len(), 2);
}

#[test]
fn the_best_of_all_refusals_goes_back() {
    for (desk, phone, best) in [
        (486, 404, 486),
        (404, 600, 600),
        (500, 486, 486),
        (486, 401, 401),
        (302, 486, 302),
        (503, 503, 500),
        (480, 488, 480),
    ] {
        let mut net = net();
        net.ring(ALICE, TO_BOB, BOB);
        net.rings(PHONE);
        net.reply(BOB, &Response::new(desk));
        net.run(1);
        assert!(net.answer(ALICE).is_none(), "the other one still rings");
        net.reply(PHONE, &Response::new(phone));
        net.run(1);
        assert_eq!(status(&net.answer(ALICE).unwrap()), best, "{desk} and {phone}");
        assert_eq!(forwards(&mut net), 0);
    }
}

#[test]
fn a_refusal_for_all_devices_stops_the_others() {
    let mut net = net();
    net.ring(ALICE, TO_BOB, BOB);
    net.rings(PHONE);
    net.reply(PHONE, &Response::new(180));
    net.reply(BOB, &Response::new(603));
    net.run(1);
    assert_eq!(net.client(PHONE, |phone| phone.cancelled.len()), 1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 603);
}

#[test]
fn what_several_devices_want_proved_is_all_asked_for() {
    let mut net = net();
    net.ring(ALICE, TO_BOB, BOB);
    net.rings(PHONE);
    for (at, realm) in [(BOB, "desk"), (PHONE, "phone")] {
        let challenge = format!("Digest realm=\"{realm}\", nonce=\"n\"");
        net.reply(at, &Response::new(401).header(HeaderName::WwwAuthenticate, challenge));
    }
    net.run(1);
    let answer = net.answer(ALICE).unwrap();
    assert_eq!((status(&answer), answer.count(HeaderName::WwwAuthenticate)), (401, 2));
}

#[test]
fn a_caller_who_gives_up_stops_all_devices() {
    let mut net = net();
    net.ring(ALICE, TO_BOB, BOB);
    net.rings(PHONE);
    for at in [BOB, PHONE] {
        net.reply(at, &Response::new(180));
    }
    net.run(1);
    net.cancel(ALICE);
    net.run(2);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 487);
    for at in [BOB, PHONE] {
        assert_eq!(net.client(at, |client| client.cancelled.len()), 1);
    }
    assert_eq!(forwards(&mut net), 0);
}

#[test]
fn devices_of_less_preference_are_asked_after_the_others() {
    let mut net = net();
    let request = net.client(PHONE, |client| {
        let (address, contact) = (client.address(), client.contact());
        let mut request = client.request(Method::Register, "sip:example.com");
        request.headers.retain(|(name, _)| *name != HeaderName::To.into());
        request.to(format!("<{address}>")).header(HeaderName::Contact, format!("{contact};q=0.5"))
    });
    net.send(PHONE, request);
    net.ring(ALICE, TO_BOB, BOB);
    net.run(2);
    assert_eq!(ringing(&mut net, PHONE), 0);
    net.reply(BOB, &Response::new(486));
    net.rings(PHONE);
    assert!(net.answer(ALICE).is_none());
    net.reply(PHONE, &Response::new(200));
    net.run(1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 200);
}

#[test]
fn a_device_that_rings_for_ever_is_given_up() {
    let mut net = one_device();
    net.ring(ALICE, TO_BOB, BOB);
    net.reply(BOB, &Response::new(180));
    net.run(180);
    assert!(net.answer(ALICE).is_none());
    net.run(40);
    assert_eq!(net.client(BOB, |bob| bob.cancelled.len()), 1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 408);
}

#[test]
fn a_device_that_says_nothing_at_all_is_given_up_sooner() {
    let mut net = one_device();
    let bob: std::net::SocketAddr = BOB.parse().unwrap();
    net.sim.partition(bob, common::SERVICE.parse().unwrap());
    let invite = net.invite(ALICE, TO_BOB);
    net.start_with_digest(ALICE, invite);
    net.run(40);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 408);
    assert_eq!(forwards(&mut net), 0);
}

#[test]
fn calls_survive_a_network_that_loses_much() {
    let mut net = one_device();
    net.sim.set_default_link(attache_sip::sim::Link { loss: 0.3, ..attache_sip::sim::Link::default() });
    for _ in 0..5 {
        net.ring(ALICE, TO_BOB, BOB);
        let contact = contact(&mut net, BOB);
        net.reply(BOB, &answered(486, "b", &contact));
        net.run(60);
        assert_eq!(status(&net.answer(ALICE).unwrap()), 486);
    }
    net.run(200);
    assert_eq!(forwards(&mut net), 0);
}

#[test]
fn a_2xx_that_is_repeated_goes_back_each_time() {
    let mut net = one_device();
    net.ring(ALICE, TO_BOB, BOB);
    let id = net.client(BOB, |bob| bob.ringing[0].0);
    let answer = answered(200, "b", "<sip:bob@127.0.2.1>");
    net.reply(BOB, &answer);
    net.run(1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 200);
    statuses(&mut net, ALICE);
    for _ in 0..2 {
        net.sim.with(BOB.parse().unwrap(), |bob: &mut common::Client, now| bob.repeat(now, id, &answer));
        net.run(1);
    }
    assert_eq!(statuses(&mut net, ALICE), [200, 200]);
}

#[test]
fn a_call_needs_a_proof_and_a_user_of_ours() {
    let mut net = one_device();
    let invite = net.invite(ALICE, TO_BOB);
    let challenge = net.send_once(ALICE, invite);
    assert_eq!(status(&challenge), 407);
    for (to, wanted) in [
        ("sip:nobody@example.com", 404),
        ("sip:bob@elsewhere.org", 403),
        ("sip:bob@127.0.2.1:5060", 403),
        ("tel:+4930123456", 404),
    ] {
        let invite = net.invite(ALICE, to);
        assert_eq!(status(&net.send(ALICE, invite)), wanted, "{to}");
    }
    let mut invite = net.invite(ALICE, TO_BOB);
    for (name, value) in &mut invite.headers {
        if *name == HeaderName::From.into() {
            *value = "<sip:carol@example.com>;tag=1".into();
        }
    }
    assert_eq!(status(&net.send(ALICE, invite)), 403, "in the name of somebody else");
    net.register(BOB, 0);
    let invite = net.invite(ALICE, TO_BOB);
    assert_eq!(status(&net.send(ALICE, invite)), 480);
    assert_eq!((ringing(&mut net, BOB), forwards(&mut net)), (0, 0));
}

#[test]
fn routes_of_a_clients_own_making_lead_nowhere() {
    let mut net = one_device();
    for route in ["<sip:127.0.3.1;lr>", "<sip:elsewhere.org;lr>"] {
        let invite = net.invite(ALICE, TO_BOB).header(HeaderName::Route, route);
        assert_eq!(status(&net.send(ALICE, invite)), 403, "{route}");
    }
    for route in ["<sip:127.0.0.1;lr>", "<sip:example.com;lr>"] {
        let invite = net.invite(ALICE, TO_BOB).header(HeaderName::Route, route);
        net.start_with_digest(ALICE, invite);
        assert_eq!(net.rings(BOB).count(HeaderName::Route), 0, "{route} is this service");
        net.reply(BOB, &Response::new(486));
        net.run(1);
        net.answer(ALICE).unwrap();
    }
}

#[test]
fn a_route_of_another_dialog_or_a_forged_one_is_not_followed() {
    let mut net = one_device();
    let (caller, _) = net.call(ALICE, TO_BOB, BOB);
    let mut other = caller.clone();
    other.call_id = "another".into();
    let mut forged = caller.clone();
    forged.routes =
        vec!["<sip:dAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@127.0.0.1;lr>".into()];
    let mut bare = caller;
    bare.routes.clear();
    for dialog in [&mut other, &mut forged, &mut bare] {
        for method in [Method::Bye, Method::Info, Method::Invite] {
            let request = dialog.request(method);
            assert_eq!(status(&net.send_once(ALICE, request)), 481);
        }
        let ack = dialog.request(Method::Ack);
        net.acknowledge(ALICE, &ack);
    }
    net.run(1);
    assert_eq!(ringing(&mut net, BOB), 0);
    assert!(net.received(BOB, Method::Ack).is_empty());
}

#[test]
fn somebody_elsewhere_who_knows_a_route_must_prove_who_they_are() {
    let mut net = one_device();
    let (mut caller, _) = net.call(ALICE, TO_BOB, BOB);
    let bye = caller.request(Method::Bye);
    assert_eq!(status(&net.send_once(CAROL, bye)), 407);
    assert_eq!(ringing(&mut net, BOB), 0);
    let ack = caller.request(Method::Ack);
    net.acknowledge(CAROL, &ack);
    net.run(1);
    assert!(net.received(BOB, Method::Ack).is_empty());
}

#[test]
fn a_dialog_leads_to_no_device_but_those_of_its_users_and_speaks_for_nobody_else() {
    let mut net = one_device();
    let (mut caller, _) = net.call(ALICE, TO_BOB, BOB);
    let register = net.client(CAROL, |client| {
        let (address, contact) = (client.address(), client.contact());
        let mut request = client.request(Method::Register, "sip:example.com");
        request.headers.retain(|(name, _)| *name != HeaderName::To.into());
        let contact = format!("{contact};+sip.instance=\"<urn:x:carol1>\"");
        request.to(format!("<{address}>")).header(HeaderName::Contact, contact)
    });
    net.send(CAROL, register.header(HeaderName::Supported, "gruu"));
    let mut astray = caller.clone();
    astray.target = "sip:carol@example.com;gr=urn:x:carol1".into();
    for method in [Method::Message, Method::Info] {
        let request = astray.request(method);
        assert_eq!(status(&net.send_once(ALICE, request)), 480);
    }
    let ack = astray.request(Method::Ack);
    net.acknowledge(ALICE, &ack);
    caller.from = caller.from.replace("alice@", "carol@");
    let request = caller.request(Method::Message);
    assert_eq!(status(&net.send_once(ALICE, request)), 403);
    net.run(1);
    assert_eq!((ringing(&mut net, CAROL), ringing(&mut net, BOB)), (0, 0));
    assert!(net.received(CAROL, Method::Ack).is_empty());
}

#[test]
fn a_request_that_comes_back_has_gone_in_a_circle() {
    let mut net = one_device();
    let invite = net.ring(ALICE, TO_BOB, BOB);
    // What Bob's device would send if it sent its calls on to Bob: our own Via in it.
    let mut again = net.invite(ALICE, TO_BOB);
    again.headers.retain(|(name, _)| ![HeaderName::CallId.into(), HeaderName::From.into()].contains(name));
    let via = invite.values(HeaderName::Via).next().unwrap();
    let again = again
        .from(text(&invite, HeaderName::From))
        .call_id(text(&invite, HeaderName::CallId))
        .cseq(invite.cseq().unwrap().number - 1)
        .header(HeaderName::Via, String::from_utf8(via.to_vec()).unwrap());
    // The challenge raises the number to that of the first.
    assert_eq!(status(&net.send(CAROL.replace("127.0.3.1", "127.0.1.1").as_str(), again)), 482);
}

#[test]
fn the_breadth_of_a_request_is_shared_and_one_without_any_is_refused() {
    let mut net = net();
    let invite = net.invite(ALICE, TO_BOB).header(HeaderName::MaxBreadth, "0");
    assert_eq!(status(&net.send(ALICE, invite)), 440);
    let invite = net.invite(ALICE, TO_BOB).header(HeaderName::MaxBreadth, "1");
    net.start_with_digest(ALICE, invite);
    net.run(2);
    let (desk, phone) = (ringing(&mut net, BOB), ringing(&mut net, PHONE));
    assert_eq!(desk + phone, 1, "one after the other");
    let (first, second) = if desk == 1 { (BOB, PHONE) } else { (PHONE, BOB) };
    assert_eq!(text(&net.rings(first), HeaderName::MaxBreadth), "1");
    net.reply(first, &Response::new(486));
    net.rings(second);
    net.reply(second, &Response::new(486));
    net.run(1);
    net.answer(ALICE).unwrap();
    net.ring(ALICE, TO_BOB, BOB);
    assert_eq!(text(&net.rings(PHONE), HeaderName::MaxBreadth), "30");
}

#[test]
fn a_request_that_has_come_too_far_or_demands_what_no_proxy_here_knows_is_refused() {
    let mut net = one_device();
    let invite = net.invite(ALICE, TO_BOB).header(HeaderName::MaxForwards, "0");
    assert_eq!(status(&net.send(ALICE, invite)), 483);
    let invite = net.invite(ALICE, TO_BOB).header(HeaderName::ProxyRequire, "warp");
    let refusal = net.send(ALICE, invite);
    assert_eq!((status(&refusal), text(&refusal, HeaderName::Unsupported)), (420, "warp".into()));
}

#[test]
fn a_caller_cannot_ring_everybody_at_once() {
    let mut config = config();
    config.limits.calls_per_user = 3;
    let mut net = with(config);
    net.register(PHONE, 0);
    for _ in 0..3 {
        let invite = net.invite(ALICE, TO_BOB);
        net.start_with_digest(ALICE, invite);
        net.run(1);
    }
    let invite = net.invite(ALICE, TO_BOB);
    let refusal = net.send(ALICE, invite);
    assert_eq!((status(&refusal), refusal.retry_after().is_some()), (503, true));
    assert_eq!(ringing(&mut net, BOB), 3);
    let invite = net.invite(CAROL, TO_BOB);
    net.start_with_digest(CAROL, invite);
    net.run(1);
    assert_eq!(ringing(&mut net, BOB), 4, "others still can");
    for _ in 0..4 {
        net.reply(BOB, &Response::new(486));
    }
    net.run(2);
    assert_eq!(forwards(&mut net), 0);
    net.client(ALICE, |alice| alice.progress.clear());
    net.ring(ALICE, TO_BOB, BOB);
}

#[test]
fn a_referral_to_somebody_reaches_the_devices_and_its_progress_comes_back() {
    let mut net = one_device();
    let refer = net.client(ALICE, |client| {
        let contact = client.contact();
        client.request(Method::Refer, TO_BOB).header(HeaderName::Contact, contact)
    });
    net.start_with_digest(ALICE, refer.header(HeaderName::ReferTo, "<sip:carol@example.com>"));
    let arrived = net.rings(BOB);
    assert_eq!(text(&arrived, HeaderName::PAssertedIdentity), "<sip:alice@example.com>");
    net.reply(BOB, &answered(202, "b", "<sip:bob@127.0.2.1:5060>"));
    net.run(1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 202);
    let mut dialog = common::calls::Dialog::of_callee(&arrived, "b");
    let notify = dialog.request(Method::Notify).header(HeaderName::Event, "refer");
    net.start(BOB, notify.header(HeaderName::SubscriptionState, "active"));
    assert_eq!(net.rings(ALICE).event().unwrap().package, "refer");
}

#[test]
fn who_wants_privacy_is_not_named_by_the_service() {
    let mut net = one_device();
    let invite = net.invite(ALICE, TO_BOB).header(HeaderName::Privacy, "id;critical");
    net.start_with_digest(ALICE, invite);
    let arrived: Message = net.rings(BOB);
    assert_eq!(arrived.count(HeaderName::PAssertedIdentity), 0);
    assert_eq!(text(&arrived, HeaderName::Privacy), "id;critical");
}

#[test]
fn a_caller_without_a_name_proves_it_to_the_service_alone() {
    let mut net = one_device();
    let mut invite = net.invite(ALICE, TO_BOB);
    for (name, value) in &mut invite.headers {
        if *name == HeaderName::From.into() {
            *value = "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1".into();
        }
    }
    let named = invite.clone().header(HeaderName::PPreferredIdentity, "<sip:alice@example.com>");
    net.start_with_digest(ALICE, named.header(HeaderName::Privacy, "id"));
    let arrived = net.rings(BOB);
    assert!(!String::from_utf8_lossy(arrived.as_bytes()).contains("alice@example.com"));
    net.reply(BOB, &Response::new(486));
    net.run(1);
    net.answer(ALICE).unwrap();
    let stolen = invite.clone().header(HeaderName::PPreferredIdentity, "<sip:carol@example.com>");
    assert_eq!(status(&net.send(ALICE, stolen)), 403);
    assert_eq!(status(&net.send(ALICE, invite)), 403, "nobody at all");
}

#[test]
fn a_telephone_number_of_a_user_is_the_user() {
    let toml = r#"
        [service]
        domains = ["example.com"]
        [[user]]
        name = "alice"
        password = "wonderland"
        [[user]]
        name = "bob"
        password = "builder"
        numbers = ["+49 30 123-456", "12"]
        [[user]]
        name = "carol"
        password = "christmas"
    "#;
    let accounts = attache_service::ServiceConfig::parse(toml).unwrap().accounts().unwrap();
    let mut net = with(attache_service::CoreConfig { accounts, ..config() });
    net.register(PHONE, 0);
    for number in [
        "tel:+4930123456",
        "tel:+49-30-123.456",
        "sip:+4930123456@example.com;user=phone",
        "sip:12@example.com",
    ] {
        net.ring(ALICE, number, BOB);
        net.reply(BOB, &Response::new(486));
        net.run(1);
        assert_eq!(status(&net.answer(ALICE).unwrap()), 486);
    }
    for number in ["tel:+4930123457", "sip:13@example.com"] {
        let invite = net.invite(ALICE, number);
        assert_eq!(status(&net.send(ALICE, invite)), 404);
    }
}

#[test]
fn who_wants_to_hear_of_somebodys_calls_asks_the_devices() {
    let mut net = one_device();
    let request = net.client(ALICE, |client| {
        let contact = client.contact();
        client.request(Method::Subscribe, TO_BOB).header(HeaderName::Contact, contact)
    });
    net.start_with_digest(
        ALICE,
        request.header(HeaderName::Event, "dialog").header(HeaderName::Expires, "600"),
    );
    let arrived = net.rings(BOB);
    assert_eq!(text(&arrived, HeaderName::PAssertedIdentity), "<sip:alice@example.com>");
    let answer = answered(200, "b", "<sip:bob@127.0.2.1:5060>").header(HeaderName::Expires, "600");
    net.reply(BOB, &answer);
    net.run(1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 200);
    let mut dialog = common::calls::Dialog::of_callee(&arrived, "b");
    let notify = dialog.request(Method::Notify).header(HeaderName::Event, "dialog");
    net.start(BOB, notify.header(HeaderName::SubscriptionState, "active"));
    assert_eq!(net.rings(ALICE).event().unwrap().package, "dialog");
}

#[test]
fn a_call_to_a_device_finds_it_where_it_is_now_also_within_the_dialog() {
    let mut net = Net::with(config());
    let register = |net: &mut Net, at: &str, contact: String| {
        let request = net.client(at, |client| {
            let address = client.address();
            let mut request = client.request(Method::Register, "sip:example.com");
            request.headers.retain(|(name, _)| *name != HeaderName::To.into());
            request.to(format!("<{address}>")).header(HeaderName::Contact, contact)
        });
        let answer = net.send(at, request.header(HeaderName::Supported, "gruu, path"));
        assert_eq!(status(&answer), 200);
        let contacts: Vec<_> =
            answer.contacts().map(|one| text_of(one.unwrap().params().get_str("pub-gruu"))).collect();
        contacts.into_iter().find(|gruu| gruu.contains("bob1")).unwrap_or_default()
    };
    net.register(ALICE, 3600);
    let device = ";+sip.instance=\"<urn:x:bob1>\"";
    let gruu = register(&mut net, BOB, format!("<sip:bob@127.0.2.1:5060>{device}"));
    net.register(PHONE, 3600);
    for at in [ALICE, BOB, PHONE] {
        net.client(at, |client| client.is_slow = true);
    }
    net.ring(ALICE, &gruu, BOB);
    assert_eq!(ringing(&mut net, PHONE), 0, "that device alone");
    net.reply(BOB, &answered(200, "b", &format!("<{gruu}>")));
    net.run(1);
    let mut caller = common::calls::Dialog::of_caller(&net.answer(ALICE).unwrap());
    // The device comes back from elsewhere.
    net.join("bob", "builder", "127.0.2.9:5060");
    register(&mut net, "127.0.2.9:5060", format!("<sip:bob@127.0.2.9:5060>{device}"));
    net.client("127.0.2.9:5060", |client| client.is_slow = true);
    let info = caller.request(Method::Info);
    net.start(ALICE, info);
    assert_eq!(net.rings("127.0.2.9:5060").method(), Some(Method::Info));
}

fn text_of(value: Option<&str>) -> String {
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// Binds a flow of Bob's one device.
fn bind_flow(net: &mut Net, at: &str, number: u32) {
    let request = net.client(at, |client| {
        let (address, contact) = (client.address(), client.contact());
        let mut request = client.request(Method::Register, "sip:example.com");
        request.headers.retain(|(name, _)| *name != HeaderName::To.into());
        let contact = format!("{contact};+sip.instance=\"<urn:x:bob1>\";reg-id={number}");
        request.to(format!("<{address}>")).header(HeaderName::Contact, contact)
    });
    let answer = net.send(at, request.header(HeaderName::Supported, "outbound, path"));
    assert_eq!(status(&answer), 200);
    net.client(at, |client| client.is_slow = true);
}

#[test]
fn no_other_flow_of_a_device_rings_for_a_call_that_was_taken_back() {
    for is_cancelled in [false, true] {
        let mut net = Net::with(config());
        net.register(ALICE, 3600);
        bind_flow(&mut net, PHONE, 1);
        bind_flow(&mut net, BOB, 2);
        net.sim.partition(BOB.parse().unwrap(), common::SERVICE.parse().unwrap());
        let invite = net.invite(ALICE, TO_BOB);
        net.start_with_digest(ALICE, invite);
        net.run(2);
        if is_cancelled {
            net.cancel(ALICE);
        }
        net.run(40);
        // The flow that says nothing is given up, and the other one rings: unless nobody waits for that any more.
        assert_eq!(ringing(&mut net, PHONE), usize::from(!is_cancelled));
        if is_cancelled {
            assert_eq!(status(&net.answer(ALICE).unwrap()), 487);
            assert_eq!(forwards(&mut net), 0);
        }
    }
}

#[test]
fn one_user_cannot_take_the_room_of_all() {
    let mut config = config();
    config.limits.relays_per_user = 3;
    let mut net = with(config);
    net.register(PHONE, 0);
    let (mut caller, mut callee) = net.call(ALICE, TO_BOB, BOB);
    // The call itself is remembered for a while, for repeats of its answer.
    for _ in 0..2 {
        let info = caller.request(Method::Info);
        net.start(ALICE, info);
    }
    net.run(1);
    let info = caller.request(Method::Info);
    let refusal = net.send_once(ALICE, info);
    assert_eq!((status(&refusal), refusal.retry_after().is_some()), (503, true));
    assert_eq!(ringing(&mut net, BOB), 2);
    let info = callee.request(Method::Info);
    net.start(BOB, info);
    assert_eq!(net.rings(ALICE).method(), Some(Method::Info), "others still can");
    net.run(200);
    assert_eq!(forwards(&mut net), 0);
    let info = caller.request(Method::Info);
    net.client(BOB, |bob| bob.is_slow = false);
    assert_eq!(status(&net.send_once(ALICE, info)), 200, "what is over counts no more");
}

#[test]
fn nobody_is_shown_under_a_name_that_the_service_has_not_seen_proved() {
    let mut net = one_device();
    let claim = "\"Carol\" <sip:carol@example.com>;party=calling;screen=yes";
    let invite = net.invite(ALICE, TO_BOB).header("Remote-Party-ID", claim);
    let invite = invite.header(HeaderName::PAssertedIdentity, "<sip:carol@example.com>");
    net.start_with_digest(ALICE, invite);
    let arrived = net.rings(BOB);
    assert!(arrived.other("Remote-Party-ID").is_none());
    assert_eq!(text(&arrived, HeaderName::PAssertedIdentity), "<sip:alice@example.com>");
    assert_eq!(arrived.count(HeaderName::PAssertedIdentity), 1);
}
