//! MESSAGE (RFC 3428): passing on, and keeping for later.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_service::StoreChange;
use attache_sip::message::{HeaderName, Message, Method};
use attache_sip::transport::{Destination, Transport};
use common::{ALICE, BOB, Net, PHONE, SERVICE, config, status, text};

const TO_BOB: &str = "sip:bob@example.com";

fn say(net: &mut Net, what: &str) -> u16 {
    status(&net.message(ALICE, TO_BOB, what))
}

fn stored(net: &mut Net) -> usize {
    net.core(|core, _| core.statistics().stored_messages)
}

fn durable() -> Net {
    let mut config = config();
    config.is_durable = true;
    Net::with(config)
}

#[test]
fn a_message_reaches_the_recipient_and_the_sender_hears_so() {
    let mut net = Net::new();
    net.register(BOB, 600);
    assert_eq!(say(&mut net, "hello"), 200);
    assert_eq!(net.texts(BOB), ["hello"]);
}

#[test]
fn a_message_keeps_its_identity_and_its_sender_and_loses_its_secrets() {
    let mut net = Net::new();
    net.register(BOB, 600);
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB));
    let request = request.header("Auto-Submitted", "auto-replied").header(HeaderName::MaxForwards, "40");
    let (from, call_id) = (request.headers[0].1.clone(), request.headers[2].1.clone());
    let sent = request.body("message/cpim", "x");
    assert_eq!(status(&net.send(ALICE, sent)), 200);
    let got: Message = net.received(BOB, Method::Message).remove(0);
    assert_eq!(text(&got, HeaderName::From), from);
    assert_eq!(text(&got, HeaderName::CallId), call_id);
    assert_eq!(text(&got, HeaderName::ContentType), "message/cpim");
    assert_eq!(text(&got, HeaderName::MaxForwards), "39");
    assert_eq!(got.other("Auto-Submitted"), Some(&b"auto-replied"[..]));
    assert_eq!(got.header(HeaderName::ProxyAuthorization), None);
    assert_eq!(got.count(HeaderName::Via), 1);
    assert_eq!(got.request_uri_bytes(), b"sip:bob@127.0.2.1:5060");
}

#[test]
fn every_device_of_the_recipient_gets_the_message() {
    let mut net = Net::new();
    net.register(BOB, 600);
    net.register(PHONE, 600);
    assert_eq!(say(&mut net, "hello"), 200);
    net.run(1);
    assert_eq!((net.texts(BOB), net.texts(PHONE)), (vec!["hello".to_owned()], vec!["hello".to_owned()]));
}

#[test]
fn one_device_that_takes_it_is_enough() {
    let mut net = Net::new();
    net.register(BOB, 600);
    net.register(PHONE, 600);
    net.client(PHONE, |phone| phone.answer_with = 488);
    assert_eq!(say(&mut net, "hello"), 200);
    net.sim.kill(PHONE.parse().unwrap());
    assert_eq!(say(&mut net, "again"), 200);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn a_refusal_of_every_device_is_told_to_the_sender() {
    let mut net = Net::new();
    net.register(BOB, 600);
    net.client(BOB, |bob| bob.answer_with = 415);
    assert_eq!(say(&mut net, "hello"), 415);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn a_message_for_somebody_who_is_not_there_is_kept_and_delivered_with_its_date() {
    let mut net = Net::new();
    assert_eq!(say(&mut net, "for later"), 202);
    net.run(3600);
    net.register(BOB, 600);
    net.run(1);
    let got = net.received(BOB, Method::Message);
    assert_eq!((got.len(), got[0].body()), (1, &b"for later"[..]));
    assert_eq!(text(&got[0], HeaderName::Date), "Fri, 15 Jan 2027 08:00:00 GMT");
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn messages_that_were_kept_arrive_in_order_and_before_new_ones() {
    let mut net = Net::new();
    for number in 0..20 {
        assert_eq!(say(&mut net, &number.to_string()), 202);
    }
    net.register(BOB, 600);
    say(&mut net, "new");
    net.run(5);
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).chain(["new".into()]).collect();
    assert_eq!(net.texts(BOB), expected);
}

#[test]
fn a_kept_message_stays_until_a_device_has_taken_it() {
    let mut net = Net::new();
    say(&mut net, "1");
    say(&mut net, "2");
    net.client(BOB, |bob| bob.is_deaf = true);
    net.register(BOB, 3600);
    net.run(50);
    assert_eq!(stored(&mut net), 2);
    net.client(BOB, |bob| bob.is_deaf = false);
    net.client(BOB, |bob| bob.received.clear());
    // Tried again without a new registration.
    net.run(100);
    assert_eq!(net.texts(BOB), ["1", "2"]);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn a_kept_message_that_is_refused_holds_nothing_up_and_is_not_lost() {
    let mut net = Net::new();
    say(&mut net, "1");
    say(&mut net, "2");
    net.client(BOB, |bob| bob.answer_with = 415);
    net.register(BOB, 600);
    net.run(2);
    assert_eq!(net.texts(BOB), ["1", "2"]);
    assert_eq!(stored(&mut net), 2);
    net.client(BOB, |bob| bob.answer_with = 200);
    net.register(BOB, 600);
    net.run(2);
    assert_eq!(net.texts(BOB), ["1", "2"]);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn a_device_that_does_not_answer_makes_the_sender_wait_only_so_long() {
    let mut net = Net::new();
    net.register(BOB, 3600);
    net.sim.kill(BOB.parse().unwrap());
    let before = net.sim.elapsed();
    assert_eq!(say(&mut net, "hello"), 202);
    assert!(net.sim.elapsed() - before < Duration::from_secs(10));
    assert_eq!(stored(&mut net), 1);
}

#[test]
fn a_device_that_answers_late_takes_the_message_out_of_the_store() {
    let mut net = Net::new();
    net.register(BOB, 3600);
    net.client(BOB, |bob| bob.is_deaf = true);
    assert_eq!(say(&mut net, "hello"), 202);
    assert_eq!(stored(&mut net), 1);
    net.join("bob", "builder", BOB);
    net.run(25);
    assert_eq!(net.texts(BOB), ["hello"]);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn typing_is_not_kept_nor_is_what_says_so() {
    let mut net = Net::new();
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB));
    let typing = request.body("application/im-iscomposing+xml", "<isComposing/>");
    assert_eq!(status(&net.send(ALICE, typing)), 480);
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB));
    let now_or_never = request.header(HeaderName::Expires, "0").body("text/plain", "x");
    assert_eq!(status(&net.send(ALICE, now_or_never)), 480);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn what_is_kept_is_bounded_in_number_and_time() {
    let mut config = config();
    config.limits.stored_per_user = 3;
    config.limits.stored_for = Duration::from_secs(3600);
    let mut net = Net::with(config);
    let answers: Vec<_> = (0..5).map(|number| say(&mut net, &number.to_string())).collect();
    assert_eq!(answers, [202, 202, 202, 480, 480]);
    net.run(3700);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn a_message_that_is_too_large_is_refused() {
    let mut config = config();
    config.limits.message_bytes = 1000;
    let mut net = Net::with(config);
    assert_eq!(say(&mut net, &"x".repeat(1001)), 413);
    assert_eq!(say(&mut net, &"x".repeat(1000)), 202);
}

#[test]
fn a_large_message_goes_by_stream_both_ways() {
    let mut net = Net::new();
    net.register(BOB, 600);
    let long = "long ".repeat(2000);
    assert_eq!(say(&mut net, &long), 200);
    assert_eq!(net.texts(BOB), [long]);
}

#[test]
fn the_sender_hears_202_only_after_the_message_is_on_disk() {
    let mut net = durable();
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB).body("text/plain", "x"));
    net.start_with_digest(ALICE, request);
    net.run(3);
    assert!(net.answer(ALICE).is_none());
    let Some(StoreChange::Put(message)) = net.core(|core, _| core.poll_store()) else {
        panic!("nothing to keep")
    };
    net.core(|core, now| core.handle_stored(now, message.id, Ok(())));
    net.run(1);
    assert_eq!(net.answer(ALICE).as_ref().map(status), Some(202));
}

#[test]
fn a_full_disk_leaves_the_message_with_its_sender() {
    let mut net = durable();
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB).body("text/plain", "x"));
    net.start_with_digest(ALICE, request);
    net.run(1);
    let Some(StoreChange::Put(message)) = net.core(|core, _| core.poll_store()) else {
        panic!("nothing to keep")
    };
    net.core(|core, now| core.handle_stored(now, message.id, Err("the disk is full")));
    net.run(1);
    let answer = net.answer(ALICE).unwrap();
    assert_eq!((status(&answer), text(&answer, HeaderName::RetryAfter)), (500, "30".into()));
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn what_was_kept_before_a_restart_is_delivered_after_it() {
    let mut net = durable();
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB).body("text/plain", "x"));
    net.start_with_digest(ALICE, request);
    net.run(1);
    let Some(StoreChange::Put(message)) = net.core(|core, _| core.poll_store()) else {
        panic!("nothing to keep")
    };
    let mut config = config();
    config.is_durable = true;
    config.stored = vec![(*message).clone()];
    let mut net = Net::with(config);
    net.register(BOB, 600);
    net.run(1);
    assert_eq!(net.texts(BOB), ["x"]);
    assert!(
        matches!(net.core(|core, _| core.poll_store()), Some(StoreChange::Remove(id)) if id == message.id)
    );
}

#[test]
fn a_message_sent_twice_by_a_bad_network_arrives_once() {
    let mut net = Net::new();
    net.register(BOB, 3600);
    net.sim.set_default_link(attache_sip::sim::Link { loss: 0.25, duplicate: 0.25, ..Default::default() });
    for number in 0..10 {
        let answer = say(&mut net, &number.to_string());
        assert!(matches!(answer, 200 | 202), "{answer}");
    }
    net.run(120);
    let mut texts = net.texts(BOB);
    texts.dedup();
    assert_eq!(texts, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn a_restart_of_the_service_is_survived_by_whoever_registers_again() {
    let mut net = Net::new();
    net.register(BOB, 600);
    let now = net.sim.now();
    let wall = std::time::SystemTime::UNIX_EPOCH;
    net.sim.add(SERVICE.parse().unwrap(), attache_service::Core::new(config(), now, wall, [8; 32]));
    assert_eq!(say(&mut net, "hello"), 202);
    net.register(BOB, 600);
    net.run(1);
    assert_eq!(net.texts(BOB), ["hello"]);
}

#[test]
fn a_passing_failure_to_send_costs_no_registration() {
    let mut net = Net::new();
    net.register(BOB, 3600);
    net.client(BOB, |bob| bob.is_deaf = true);
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB).body("text/plain", "x"));
    net.start_with_digest(ALICE, request);
    net.run(1);
    let to = Destination { transport: Transport::Udp, remote: BOB.parse().unwrap() };
    net.core(|core, now| core.handle_flow_failed(now, to, None, "no buffer space available"));
    assert_eq!(net.core(|core, _| core.statistics()).registered_users, 1);
    assert_eq!(stored(&mut net), 1);
}

fn kept(id: u64, recipient: &str, lives: u64) -> attache_service::StoredMessage {
    let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(common::EPOCH - 10);
    attache_service::StoredMessage {
        id,
        recipient: recipient.into(),
        headers: vec![("From".into(), "<sip:alice@example.com>;tag=1".into())],
        cseq: 1,
        content_type: "text/plain".into(),
        body: "x".into(),
        at,
        until: at + Duration::from_secs(lives),
    }
}

#[test]
fn what_grew_too_old_before_a_restart_is_forgotten_after_it_without_a_registration() {
    let mut config = config();
    config.is_durable = true;
    config.stored = vec![kept(1, "bob@example.com", 5), kept(2, "bob@example.com", 100)];
    let mut net = Net::with(config);
    net.run(200);
    assert_eq!(stored(&mut net), 0);
}

#[test]
fn messages_of_a_user_who_is_missing_at_a_start_stay_until_they_are_too_old() {
    let mut config = config();
    config.is_durable = true;
    config.stored = vec![kept(1, "gone@example.com", 5), kept(2, "gone@example.com", 100)];
    let mut net = Net::with(config);
    assert!(matches!(net.core(|core, _| core.poll_store()), Some(StoreChange::Remove(1))));
    assert!(net.core(|core, _| core.poll_store()).is_none());
    // The number of a message that is still there is not given again.
    let request = net.client(ALICE, |alice| alice.request(Method::Message, TO_BOB).body("text/plain", "x"));
    net.start_with_digest(ALICE, request);
    net.run(1);
    assert!(
        matches!(net.core(|core, _| core.poll_store()), Some(StoreChange::Put(message)) if message.id == 3)
    );
}
