//! A MESSAGE to many (RFC 5365), and who of them learns of whom (RFC 5364).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_documents::recipients::{self, Copy, Recipient};
use attache_documents::{Limits, multipart};
use attache_service::StoreChange;
use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Message, Method};
use common::{ALICE, BOB, CAROL, Net, config, status, text};

const SERVICE_OF_LISTS: &str = "sip:example.com";

fn recipient(user: &str, copy: Copy, anonymous: bool) -> Recipient {
    Recipient { uri: format!("sip:{user}@example.com"), copy, anonymous, ..Recipient::default() }
}

fn to(users: &[&str]) -> Vec<Recipient> {
    users.iter().map(|user| recipient(user, Copy::To, false)).collect()
}

fn request(net: &mut Net, to: &[Recipient], kind: &str, said: &str) -> Request {
    let mut writer = multipart::Writer::new("line");
    writer.part(kind, None, said.as_bytes());
    writer.disposed_part(recipients::MEDIA_TYPE, recipients::LIST, recipients::write(to).as_bytes());
    let (kind, body) = (writer.mixed_type(), writer.finish());
    let request = net.client(ALICE, |alice| alice.request(Method::Message, SERVICE_OF_LISTS));
    request.header(HeaderName::Require, "recipient-list-message").body(kind, body)
}

/// What a client has received: what was said, and the others that it was told of.
fn letters(net: &mut Net, at: &str) -> Vec<(String, Vec<(String, Copy)>)> {
    let read = |message: &Message| {
        let kind = text(message, HeaderName::ContentType);
        if !multipart::is_multipart(&kind) {
            return (String::from_utf8(message.body().to_vec()).unwrap(), Vec::new());
        }
        let parts = multipart::read(&kind, &message.body_bytes(), 8).unwrap().parts;
        assert_eq!(parts.len(), 2);
        let disposition = parts[1].header("Content-Disposition").unwrap().into_owned();
        assert!(disposition.starts_with(recipients::HISTORY));
        let others = recipients::read(parts[1].body(), &Limits::DEFAULT).unwrap();
        let others = others.into_iter().map(|one| (one.uri, one.copy)).collect();
        (String::from_utf8(parts[0].body().to_vec()).unwrap(), others)
    };
    net.received(at, Method::Message).iter().map(read).collect()
}

#[test]
fn each_recipient_gets_a_copy_and_the_sender_one_answer() {
    let mut net = Net::new();
    net.register(BOB, 600);
    let request = request(&mut net, &to(&["bob", "carol", "bob", "nobody"]), "text/plain", "to you all");
    let answer = net.send(ALICE, request.header("X-Own", "kept"));
    assert_eq!(status(&answer), 202);
    net.run(2);
    let copy = net.client(BOB, |bob| bob.received[0].clone());
    assert_eq!(text(&copy, HeaderName::To), "<sip:bob@example.com>");
    assert!(text(&copy, HeaderName::From).starts_with("<sip:alice@example.com>"));
    assert_eq!((copy.count(HeaderName::Require), copy.other("X-Own")), (0, Some(&b"kept"[..])));
    let others =
        ["sip:bob@example.com", "sip:carol@example.com"].map(|one| (one.to_owned(), Copy::To)).to_vec();
    assert_eq!(letters(&mut net, BOB), [("to you all".to_owned(), others.clone())], "once");
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 1);
    net.register(CAROL, 600);
    net.run(2);
    assert_eq!(letters(&mut net, CAROL), [("to you all".to_owned(), others)]);
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 0);
}

#[test]
fn nobody_learns_of_those_in_secret_or_of_the_names_of_those_who_want_none_told() {
    let mut net = Net::new();
    for at in [ALICE, BOB, CAROL] {
        net.register(at, 600);
    }
    let all = [
        recipient("bob", Copy::To, false),
        recipient("carol", Copy::Bcc, false),
        recipient("alice", Copy::Cc, true),
    ];
    let request = request(&mut net, &all, "text/plain", "psst");
    assert_eq!(status(&net.send(ALICE, request)), 202);
    net.run(2);
    for at in [ALICE, BOB, CAROL] {
        let got = letters(&mut net, at);
        assert_eq!(got.len(), 1);
        let shown: Vec<&str> = got[0].1.iter().map(|(uri, _)| uri.as_str()).collect();
        assert!(shown.contains(&"sip:bob@example.com"), "{shown:?}");
        assert!(!shown.iter().any(|uri| uri.contains("carol") || uri.contains("alice")), "{shown:?}");
    }
}

#[test]
fn a_device_that_reads_plain_text_only_gets_what_was_said() {
    let mut net = Net::new();
    net.register(BOB, 600);
    net.register(CAROL, 600);
    net.client(BOB, |bob| bob.is_slow = true);
    let request = request(&mut net, &to(&["bob", "carol"]), "text/plain", "hello");
    assert_eq!(status(&net.send(ALICE, request)), 202);
    assert!(text(&net.rings(BOB), HeaderName::ContentType).starts_with("multipart/mixed"));
    net.reply(BOB, &Response::new(415));
    net.run(1);
    let again = net.rings(BOB);
    assert_eq!(
        (text(&again, HeaderName::ContentType), again.body()),
        ("text/plain".to_owned(), &b"hello"[..])
    );
    net.reply(BOB, &Response::new(200));
    net.run(1);
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 0);
}

#[test]
fn the_answer_waits_until_every_copy_is_on_disk() {
    let mut config = config();
    config.is_durable = true;
    let mut net = Net::with(config);
    let request = request(&mut net, &to(&["bob", "carol"]), "text/plain", "keep this");
    net.start_with_digest(ALICE, request);
    net.run(1);
    let mut kept = Vec::new();
    while let Some(change) = net.core(|core, _| core.poll_store()) {
        if let StoreChange::Put(message) = change {
            kept.push(message.id);
        }
    }
    assert_eq!(kept.len(), 2);
    net.core(|core, now| core.handle_stored(now, kept[0], Ok(())));
    net.run(1);
    assert!(net.answer(ALICE).is_none());
    net.core(|core, now| core.handle_stored(now, kept[1], Err("the disk is full")));
    net.run(1);
    assert_eq!(status(&net.answer(ALICE).unwrap()), 202, "one of them is safe");
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 1);
}

#[test]
fn signs_of_life_to_many_are_not_kept() {
    let mut net = Net::new();
    net.register(BOB, 600);
    let kind = "application/im-iscomposing+xml";
    let request = request(&mut net, &to(&["bob"]), kind, "<isComposing/>");
    assert_eq!(status(&net.send(ALICE, request)), 202);
    net.run(1);
    assert_eq!(letters(&mut net, BOB).len(), 1);
    let request = self::request(&mut net, &to(&["carol"]), kind, "<isComposing/>");
    net.send(ALICE, request);
    net.run(1);
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 0);
}

#[test]
fn what_is_no_message_to_many_is_refused() {
    let mut config = config();
    config.limits.message_list_entries = 2;
    let mut net = Net::with(config);
    for (users, wanted) in [(&["nobody"][..], 404), (&[][..], 404), (&["alice", "bob", "carol"][..], 400)] {
        let request = request(&mut net, &to(users), "text/plain", "x");
        assert_eq!(status(&net.send(ALICE, request)), wanted, "{users:?}");
    }
    let mut bare = request(&mut net, &to(&["bob"]), "text/plain", "x");
    bare.body = Some(("text/plain".into(), "x".into()));
    assert_eq!(status(&net.send(ALICE, bare)), 415);
    let mut listless = request(&mut net, &to(&["bob"]), "text/plain", "x");
    let mut writer = multipart::Writer::new("line");
    writer.part("text/plain", None, b"x");
    listless.body = Some((writer.mixed_type(), writer.finish()));
    assert_eq!(status(&net.send(ALICE, listless)), 400);
    let mut elsewhere = request(&mut net, &to(&["bob"]), "text/plain", "x");
    elsewhere.uri = "sip:elsewhere.org".into();
    assert_eq!(status(&net.send(ALICE, elsewhere)), 403);
    let large = request(&mut net, &to(&["bob"]), "text/plain", &"x".repeat(50_000));
    assert_eq!(status(&net.send(ALICE, large)), 413);
    let stranger = request(&mut net, &to(&["bob"]), "text/plain", "x");
    assert_eq!(status(&net.send_once(ALICE, stranger)), 407);
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 0);
}

#[test]
fn a_message_to_many_counts_as_many() {
    let mut config = config();
    config.limits.requests_per_source = 1;
    config.limits.burst_per_source = 10;
    let mut net = Net::with(config);
    let mut answers = Vec::new();
    for _ in 0..3 {
        // Two requests, as the first one of them is challenged, and two further copies.
        let request = request(&mut net, &to(&["alice", "bob", "carol"]), "text/plain", "to you all");
        answers.push(status(&net.send(ALICE, request)));
    }
    assert_eq!(answers, [202, 202, 503]);
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 6);
}
