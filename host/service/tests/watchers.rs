//! Who watches (RFC 3857, RFC 3858), and changes of documents (RFC 5874, RFC 5875).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_documents::policy::{Rule, SubHandling};
use attache_documents::watcher_info::{self, Event, State, Status, WatcherInfo};
use attache_documents::xcap::{XcapDiff, read_diff};
use attache_documents::{Limits, policy};
use attache_sip::message::{HeaderName, Message, Method};
use common::xcap::{Ask, LISTS, header};
use common::{ALICE, BOB, CAROL, Net, config, status, text};

const TO_BOB: &str = "sip:bob@example.com";
const WINFO: &str = "presence.winfo";

fn subscribe(net: &mut Net, at: &str, to: &str, package: &str, expires: u32) -> Message {
    let request = net.client(at, |client| {
        let contact = client.contact();
        client.request(Method::Subscribe, to).header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, package);
    net.send(at, request.header(HeaderName::Expires, expires.to_string()))
}

fn documents(net: &mut Net, at: &str) -> Vec<WatcherInfo> {
    let all = net.received(at, Method::Notify);
    let ours =
        all.iter().filter(|notify| text(notify, HeaderName::Event) == WINFO && !notify.body().is_empty());
    ours.map(|notify| {
        assert_eq!(text(notify, HeaderName::ContentType), "application/watcherinfo+xml");
        watcher_info::read(notify.body(), &Limits::STORED).unwrap()
    })
    .collect()
}

/// Watcher, state and reason of all that the documents tell, in order.
fn told(net: &mut Net, at: &str) -> Vec<(String, Status, Event)> {
    let all = documents(net, at).into_iter().flat_map(|document| document.lists);
    all.flat_map(|list| list.watchers).map(|one| (one.uri, one.status, one.event)).collect()
}

fn one(who: &str, status: Status, event: Event) -> (String, Status, Event) {
    (format!("sip:{who}@example.com"), status, event)
}

fn rule(who: &str, handling: SubHandling) -> Rule {
    Rule::for_people(who, [format!("sip:{who}@example.com")], handling)
}

#[test]
fn a_presentity_is_told_all_watchers_first_and_then_what_changes() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 600);
    assert_eq!(status(&subscribe(&mut net, BOB, TO_BOB, WINFO, 3600)), 200);
    net.run(2);
    let first = documents(&mut net, BOB);
    assert_eq!((first.len(), first[0].version, first[0].state), (1, 0, State::Full));
    let list = &first[0].lists[0];
    assert_eq!((list.resource.as_str(), list.package.as_str()), (TO_BOB, "presence"));
    assert_eq!(list.watchers.len(), 1);
    assert_eq!(list.watchers[0].status, Status::Active);
    assert!(list.watchers[0].expiration.is_some_and(|seconds| (590..=600).contains(&seconds)));
    net.subscribe(CAROL, TO_BOB, 60);
    net.run(2);
    let second = documents(&mut net, BOB);
    assert_eq!((second.len(), second[0].version, second[0].state), (1, 1, State::Partial));
    assert_eq!(second[0].lists[0].watchers[0].uri, "sip:carol@example.com");
    net.run(65);
    assert_eq!(told(&mut net, BOB), [one("carol", Status::Terminated, Event::Timeout)]);
    net.run(100);
    assert!(documents(&mut net, BOB).is_empty(), "nothing changed");
}

#[test]
fn a_watcher_who_has_to_be_confirmed_is_told_and_then_the_decision() {
    let mut net = Net::new();
    net.keep_rules("bob", &[rule("alice", SubHandling::Confirm), rule("carol", SubHandling::Confirm)]);
    subscribe(&mut net, BOB, TO_BOB, WINFO, 3600);
    net.run(2);
    assert!(told(&mut net, BOB).is_empty());
    net.subscribe(ALICE, TO_BOB, 600);
    net.subscribe(CAROL, TO_BOB, 600);
    net.run(3);
    let pending =
        [one("alice", Status::Pending, Event::Subscribe), one("carol", Status::Pending, Event::Subscribe)];
    assert_eq!(told(&mut net, BOB), pending);
    net.keep_rules("bob", &[rule("alice", SubHandling::Allow), rule("carol", SubHandling::Block)]);
    net.run(3);
    let decided =
        [one("alice", Status::Active, Event::Approved), one("carol", Status::Terminated, Event::Rejected)];
    let mut all = told(&mut net, BOB);
    all.sort();
    assert_eq!(all, decided);
}

#[test]
fn a_watcher_who_gave_up_before_the_decision_is_remembered_and_can_be_decided_on() {
    let mut net = Net::new();
    net.keep_rules("bob", &[rule("alice", SubHandling::Confirm), rule("carol", SubHandling::Confirm)]);
    net.subscribe(ALICE, TO_BOB, 60);
    net.subscribe(CAROL, TO_BOB, 0);
    net.run(70);
    subscribe(&mut net, BOB, TO_BOB, WINFO, 3600);
    net.run(2);
    let mut waiting = told(&mut net, BOB);
    waiting.sort();
    let both = [one("alice", Status::Waiting, Event::Timeout), one("carol", Status::Waiting, Event::Timeout)];
    assert_eq!(waiting, both);
    net.keep_rules("bob", &[rule("alice", SubHandling::Allow), rule("carol", SubHandling::Block)]);
    net.run(2);
    let mut over = told(&mut net, BOB);
    over.sort();
    let decided = [
        one("alice", Status::Terminated, Event::Approved),
        one("carol", Status::Terminated, Event::Rejected),
    ];
    assert_eq!(over, decided);
}

#[test]
fn watchers_who_wait_are_bounded_in_number_and_time() {
    let mut config = config();
    config.limits.waiting_watchers = 1;
    config.limits.waiting_for = Duration::from_secs(1000);
    let mut net = Net::with(config);
    net.keep_rules("bob", &[Rule::for_domain("all", "example.com", SubHandling::Confirm)]);
    net.subscribe(ALICE, TO_BOB, 0);
    net.run(5);
    net.subscribe(CAROL, TO_BOB, 0);
    net.run(5);
    subscribe(&mut net, BOB, TO_BOB, WINFO, 0);
    net.run(2);
    assert_eq!(told(&mut net, BOB), [one("carol", Status::Waiting, Event::Timeout)]);
    net.run(1000);
    subscribe(&mut net, BOB, TO_BOB, WINFO, 0);
    net.run(2);
    assert!(told(&mut net, BOB).is_empty());
}

#[test]
fn nobody_is_told_who_watches_somebody_else() {
    let mut net = Net::new();
    assert_eq!(status(&subscribe(&mut net, ALICE, TO_BOB, WINFO, 600)), 403);
    assert_eq!(status(&subscribe(&mut net, BOB, TO_BOB, "presence.winfo.winfo", 600)), 489);
}

#[test]
fn a_refresh_tells_all_watchers_again() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 3600);
    net.client(BOB, |bob| bob.answer_with = 503);
    subscribe(&mut net, BOB, TO_BOB, WINFO, 3600);
    net.run(3);
    net.client(BOB, |bob| bob.answer_with = 200);
    net.received(BOB, Method::Notify);
    net.run(20);
    let again = documents(&mut net, BOB);
    assert_eq!(again[0].state, State::Full, "what did not arrive is told again, whole");
    assert_eq!(again[0].lists[0].watchers.len(), 1);
}

#[test]
fn members_of_a_list_are_told_of_its_watcher() {
    let mut net = Net::new();
    net.core(|core, now| core.set_list(now, "sip:all@example.com", None, vec![TO_BOB.into()]).unwrap());
    subscribe(&mut net, BOB, TO_BOB, WINFO, 3600);
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(Method::Subscribe, "sip:all@example.com").header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "presence").header(HeaderName::Supported, "eventlist");
    net.send(ALICE, request);
    net.run(3);
    assert_eq!(told(&mut net, BOB), [one("alice", Status::Active, Event::Subscribe)]);
}

#[test]
fn many_watchers_are_told_in_bounded_bodies_those_who_wait_first() {
    let mut config = config();
    config.limits.list_notify_bytes = 1_500;
    let mut net = Net::with(config);
    net.keep_rules("bob", &[rule("alice", SubHandling::Allow), rule("carol", SubHandling::Confirm)]);
    for _ in 0..30 {
        net.subscribe(ALICE, TO_BOB, 3600);
    }
    net.subscribe(CAROL, TO_BOB, 3600);
    subscribe(&mut net, BOB, TO_BOB, WINFO, 3600);
    net.run(5);
    let all = documents(&mut net, BOB);
    assert!(all.len() > 2, "{}", all.len());
    assert_eq!(all[0].lists[0].watchers[0].status, Status::Pending);
    assert_eq!(all[0].state, State::Full);
    assert!(all[1..].iter().all(|document| document.state == State::Partial));
    assert!(all.iter().zip(0..).all(|(document, version)| document.version == version));
    let count: usize = all.iter().map(|document| document.lists[0].watchers.len()).sum();
    assert_eq!(count, 31);
}

const ALICES: &str = "sip:alice@example.com";
const EMPTY: &str =
    "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"a\"/></resource-lists>";

fn diffs(net: &mut Net) -> Vec<XcapDiff> {
    let all = net.received(ALICE, Method::Notify);
    all.iter()
        .filter(|notify| !notify.body().is_empty())
        .map(|notify| {
            assert_eq!(text(notify, HeaderName::ContentType), "application/xcap-diff+xml");
            read_diff(notify.body(), &Limits::STORED).unwrap()
        })
        .collect()
}

#[test]
fn changes_of_the_own_documents_are_told_with_their_tags() {
    let mut net = Net::new();
    let first = header(&net.keep("alice", "resource-lists", LISTS, EMPTY), "etag");
    assert_eq!(status(&subscribe(&mut net, ALICE, ALICES, "xcap-diff", 3600)), 200);
    net.run(1);
    let told = diffs(&mut net).pop().unwrap();
    assert_eq!(told.root, "http://127.0.0.1/xcap-root");
    let change = &told.documents[0];
    assert_eq!(change.selector, "resource-lists/users/sip:alice@example.com/index");
    assert_eq!((&change.new_etag, &change.previous_etag), (&Some(first.trim_matches('"').to_owned()), &None));
    let second = header(&net.keep("alice", "resource-lists", LISTS, EMPTY), "etag");
    net.run(1);
    let told = diffs(&mut net).pop().unwrap();
    assert_eq!(told.documents[0].previous_etag.as_deref(), Some(first.trim_matches('"')));
    assert_eq!(told.documents[0].new_etag.as_deref(), Some(second.trim_matches('"')));
    net.keep_rules("alice", &[]);
    net.keep_rules("bob", &[]);
    net.run(1);
    let told = diffs(&mut net).pop().unwrap();
    assert_eq!(told.documents.len(), 1);
    assert!(told.documents[0].selector.starts_with(policy::AUID));
    let path = "/xcap-root/resource-lists/users/sip:alice@example.com/index";
    net.xcap("alice", &Ask::new(http::Method::DELETE, path));
    net.run(1);
    let told = diffs(&mut net).pop().unwrap();
    assert_eq!((&told.documents[0].new_etag, told.documents[0].previous_etag.is_some()), (&None, true));
}

#[test]
fn a_subscriber_may_name_documents_folders_and_nodes() {
    let mut net = Net::new();
    net.keep("alice", "resource-lists", LISTS, EMPTY);
    net.keep_rules("alice", &[]);
    let node = "resource-lists/users/sip:alice@example.com/index/~~/resource-lists/list%5B@name=%22a%22%5D";
    let body = format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>\
         <entry uri=\"pres-rules/users/sip:alice@example.com/\"/><entry uri=\"{node}\"/>\
         <entry uri=\"resource-lists/users/sip:bob@example.com/index\"/></list></resource-lists>"
    );
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(Method::Subscribe, ALICES).header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "xcap-diff;diff-processing=no-patching");
    assert_eq!(status(&net.send(ALICE, request.body(LISTS, body))), 200);
    net.run(1);
    let told = diffs(&mut net).pop().unwrap();
    assert_eq!(told.documents.len(), 1);
    assert_eq!((told.elements[0].selector.as_str(), told.elements[0].exists), (node, true));
    net.keep("bob", "resource-lists", LISTS, EMPTY);
    net.keep("alice", "resource-lists", LISTS, &EMPTY.replace("\"a\"", "\"b\""));
    net.run(1);
    let told = diffs(&mut net);
    assert_eq!(told.len(), 1);
    assert!(!told[0].elements[0].exists && told[0].documents.is_empty());
}

#[test]
fn nobody_is_told_of_the_documents_of_somebody_else() {
    let mut net = Net::new();
    assert_eq!(status(&subscribe(&mut net, BOB, ALICES, "xcap-diff", 600)), 403);
}

#[test]
fn nodes_are_told_once_each_and_without_what_does_not_fit() {
    let mut config = config();
    config.limits.list_notify_bytes = 1_000;
    let mut net = Net::with(config);
    let list = |name: &str, length: usize| {
        format!("<list name=\"{name}\"><display-name>{}</display-name></list>", "x".repeat(length))
    };
    let document = EMPTY.replace("<list name=\"a\"/>", &format!("{}{}", list("a", 600), list("b", 600)));
    assert_eq!(net.keep("alice", "resource-lists", LISTS, &document).status(), 201);
    let node = |name: &str| {
        format!(
            "resource-lists/users/sip:alice@example.com/index/~~/resource-lists/list%5B@name=%22{name}%22%5D"
        )
    };
    let entry = |name: &str| format!("<entry uri=\"{}\"/>", node(name));
    let body = format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{}{}{}</list></resource-lists>",
        entry("a"),
        entry("b"),
        entry("a")
    );
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(Method::Subscribe, ALICES).header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "xcap-diff");
    assert_eq!(status(&net.send(ALICE, request.body(LISTS, body))), 200);
    net.run(1);
    let told = diffs(&mut net).pop().unwrap();
    let told: Vec<_> =
        told.elements.iter().map(|one| (one.selector.clone(), one.exists, one.content.is_some())).collect();
    assert_eq!(told, [(node("a"), true, true), (node("b"), true, false)]);
}
