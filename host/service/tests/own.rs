//! What users are told of their own affairs: messages that wait (RFC 3842), and where they are registered (RFC 3680).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_documents::{Limits, message_summary, reg_info};
use attache_sip::message::{HeaderName, Message, Method};
use common::{ALICE, BOB, CAROL, Net, PHONE, status, text};

const SUMMARY: &str = "message-summary";

fn subscribe(net: &mut Net, at: &str, to: &str, package: &str) -> Message {
    let request = net.client(at, |client| {
        let contact = client.contact();
        client.request(Method::Subscribe, to).header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, package);
    net.send(at, request.header(HeaderName::Expires, "3600"))
}

fn bodies(net: &mut Net, at: &str, package: &str) -> Vec<Message> {
    let all = net.received(at, Method::Notify);
    all.into_iter().filter(|notify| text(notify, HeaderName::Event) == package).collect()
}

/// The numbers of waiting messages that a client was told, in order.
fn counts(net: &mut Net, at: &str) -> Vec<u32> {
    let read = |notify: &Message| {
        assert_eq!(text(notify, HeaderName::ContentType), message_summary::MEDIA_TYPE);
        let summary = message_summary::read(notify.body(), &Limits::DEFAULT).unwrap().document;
        assert_eq!(summary.account.as_deref(), Some("sip:bob@example.com"));
        let new = summary.class("text-message").unwrap().new;
        assert_eq!(summary.waiting, new > 0);
        new
    };
    bodies(net, at, SUMMARY).iter().map(read).collect()
}

fn registrations(net: &mut Net, at: &str) -> Vec<reg_info::RegInfo> {
    let read = |notify: &Message| {
        assert_eq!(text(notify, HeaderName::ContentType), reg_info::MEDIA_TYPE);
        reg_info::read(notify.body(), &Limits::DEFAULT).unwrap().document
    };
    bodies(net, at, "reg").iter().map(read).collect()
}

/// State and event of each contact, by its address.
fn contacts(document: &reg_info::RegInfo) -> Vec<(String, reg_info::State, String)> {
    let all = document.registrations.iter().flat_map(|one| &one.contacts);
    let mut all: Vec<_> =
        all.map(|one| (one.uri.clone(), one.state, one.event.clone().unwrap_or_default())).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[test]
fn a_user_is_told_how_many_messages_wait_and_that_none_does_any_more() {
    let mut net = Net::new();
    assert_eq!(status(&subscribe(&mut net, BOB, "sip:bob@example.com", SUMMARY)), 200);
    net.run(2);
    assert_eq!(counts(&mut net, BOB), [0]);
    for text in ["one", "two"] {
        assert_eq!(status(&net.message(ALICE, "sip:bob@example.com", text)), 202);
    }
    net.run(2);
    assert_eq!(counts(&mut net, BOB).last(), Some(&2));
    net.register(BOB, 600);
    net.run(5);
    assert_eq!(counts(&mut net, BOB).last(), Some(&0));
    net.run(100);
    assert!(counts(&mut net, BOB).is_empty(), "nothing changed");
}

#[test]
fn a_burst_of_messages_is_told_at_most_once_a_second() {
    let mut net = Net::new();
    subscribe(&mut net, BOB, "sip:bob@example.com", SUMMARY);
    net.run(2);
    counts(&mut net, BOB);
    for number in 0..20 {
        net.message(ALICE, "sip:bob@example.com", &number.to_string());
    }
    net.run(3);
    let told = counts(&mut net, BOB);
    assert_eq!(told.last(), Some(&20));
    assert!(told.len() <= 4, "{told:?}");
}

#[test]
fn a_user_is_told_of_each_device_that_comes_and_goes() {
    let mut net = Net::new();
    net.register(BOB, 600);
    assert_eq!(status(&subscribe(&mut net, BOB, "sip:bob@example.com", "reg")), 200);
    net.run(2);
    let first = registrations(&mut net, BOB);
    assert_eq!((first.len(), first[0].version, first[0].full), (1, 0, true));
    assert_eq!(first[0].registrations[0].aor, "sip:bob@example.com");
    let bob = "sip:bob@127.0.2.1:5060".to_owned();
    let phone = "sip:bob@127.0.2.2:5060".to_owned();
    let active = |uri: &String, event: &str| (uri.clone(), reg_info::State::Active, event.to_owned());
    assert_eq!(contacts(&first[0]), [active(&bob, "registered")]);
    net.register(PHONE, 60);
    net.run(2);
    let second = registrations(&mut net, BOB);
    assert_eq!((second.len(), second[0].version), (1, 1));
    assert_eq!(contacts(&second[0]), [active(&bob, "registered"), active(&phone, "registered")]);
    net.run(70);
    let third = registrations(&mut net, BOB);
    assert_eq!((third.len(), third[0].version), (1, 2));
    let gone = (phone.clone(), reg_info::State::Terminated, "expired".to_owned());
    assert_eq!(contacts(&third[0]), [active(&bob, "registered"), gone]);
    net.register(BOB, 0);
    net.run(2);
    let last = registrations(&mut net, BOB);
    assert_eq!(last[0].registrations[0].state, reg_info::State::Terminated);
    assert_eq!(contacts(&last[0]), [(bob, reg_info::State::Terminated, "unregistered".to_owned())]);
}

#[test]
fn a_refresh_of_a_registration_is_no_news() {
    let mut net = Net::new();
    net.register(BOB, 600);
    subscribe(&mut net, BOB, "sip:bob@example.com", "reg");
    net.run(2);
    registrations(&mut net, BOB);
    net.register(BOB, 600);
    net.run(5);
    assert!(registrations(&mut net, BOB).is_empty());
}

#[test]
fn nobody_is_told_of_somebody_elses_affairs() {
    let mut net = Net::new();
    for package in [SUMMARY, "reg"] {
        assert_eq!(status(&subscribe(&mut net, CAROL, "sip:bob@example.com", package)), 403);
    }
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}
