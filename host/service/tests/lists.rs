//! Lists of resources: RFC 4662, RFC 5367.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_documents::multipart::{self, Multipart};
use attache_documents::pidf;
use attache_documents::rlmi::{self, State};
use attache_service::{CoreConfig, ListConfig, ServiceConfig};
use attache_sip::endpoint::Request;
use attache_sip::message::{HeaderName, Message, Method};
use common::{ALICE, BOB, CAROL, Net, config, status, text};

const LIST: &str = "sip:everybody@example.com";

fn with_list(members: &[&str], watchers: &[&str]) -> CoreConfig {
    let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    let mut config = config();
    config.lists =
        vec![ListConfig { address: LIST.to_owned(), members: owned(members), watchers: owned(watchers) }];
    config
}

fn everybody() -> CoreConfig {
    with_list(
        &["sip:bob@example.com", "sip:carol@example.com", "sip:nobody@example.com", "sip:dora@elsewhere.org"],
        &[],
    )
}

fn list_request(net: &mut Net, at: &str, to: &str, expires: u32) -> Request {
    let request = net.client(at, |client| {
        let contact = client.contact();
        client.request(Method::Subscribe, to).header(HeaderName::Contact, contact)
    });
    request
        .header(HeaderName::Event, "presence")
        .header(HeaderName::Supported, "eventlist")
        .header(HeaderName::Accept, "application/rlmi+xml, multipart/related, application/pidf+xml")
        .header(HeaderName::Expires, expires.to_string())
}

fn subscribe(net: &mut Net, at: &str, expires: u32) -> Message {
    let request = list_request(net, at, LIST, expires);
    net.send(at, request)
}

/// A SUBSCRIBE within the dialog that `answer` began.
fn again(net: &mut Net, at: &str, answer: &Message, expires: &str, etag: Option<&str>) -> Message {
    let mut request = list_request(net, at, LIST, 0);
    request.uri = answer.contacts().next().unwrap().unwrap().uri().unwrap().as_str().to_owned();
    request.headers.retain(|(name, _)| {
        ![HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::Expires]
            .iter()
            .any(|known| *name == (*known).into())
    });
    let mut request = request
        .from(text(answer, HeaderName::From))
        .to(text(answer, HeaderName::To))
        .call_id(text(answer, HeaderName::CallId))
        .header(HeaderName::Expires, expires);
    if let Some(etag) = etag {
        request = request.header(HeaderName::SuppressIfMatch, etag);
    }
    net.send(at, request)
}

struct Told {
    info: rlmi::List,
    parts: Multipart,
    state: String,
}

impl Told {
    fn new(notify: &Message) -> Self {
        let kind = text(notify, HeaderName::ContentType);
        let parts = multipart::read(&kind, &notify.body_bytes(), 50_000).unwrap();
        assert!(parts.is_complete && parts.root().is(rlmi::MEDIA_TYPE), "{kind}");
        let info = rlmi::read(parts.root().body(), &rlmi::LIMITS).unwrap();
        assert!(info.forgiven.is_empty());
        Self { info: info.document, parts, state: text(notify, HeaderName::SubscriptionState) }
    }

    /// What is said of a resource: its state and the note of its document.
    fn of(&self, uri: &str) -> Option<(State, Option<String>, Option<String>)> {
        let resource = self.info.resources.iter().find(|resource| resource.uri == uri)?;
        let instance = resource.instances.first()?;
        let index = self.parts.by_id();
        let note = instance.cid.as_deref().map(|cid| {
            let document =
                pidf::read(index[cid].body(), &attache_documents::Limits::DEFAULT).unwrap().document;
            document.tuples[0].notes.first().map_or_else(|| "closed".to_owned(), |note| note.text.clone())
        });
        Some((instance.state, instance.reason.clone(), note))
    }

    fn uris(&self) -> Vec<&str> {
        self.info.resources.iter().map(|resource| &*resource.uri).collect()
    }
}

fn told(net: &mut Net, at: &str) -> Vec<Told> {
    net.received(at, Method::Notify).iter().map(Told::new).collect()
}

#[test]
fn the_first_notify_names_every_resource_with_its_state() {
    let mut net = Net::with(everybody());
    net.publish(BOB, "here", None);
    let answer = subscribe(&mut net, ALICE, 600);
    assert_eq!((status(&answer), text(&answer, HeaderName::Require)), (200, "eventlist".into()));
    net.run(1);
    let notifies = net.received(ALICE, Method::Notify);
    assert_eq!(text(&notifies[0], HeaderName::Require), "eventlist");
    let [told] = &notifies.iter().map(Told::new).collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((told.info.version, told.info.full_state, &*told.info.uri), (0, true, LIST));
    let active = |note: &str| Some((State::Active, None, Some(note.to_owned())));
    let over = |reason: &str| Some((State::Terminated, Some(reason.to_owned()), None));
    assert_eq!(told.of("sip:bob@example.com"), active("here"));
    assert_eq!(told.of("sip:carol@example.com"), active("closed"));
    assert_eq!(told.of("sip:nobody@example.com"), over("noresource"));
    assert_eq!(told.of("sip:dora@elsewhere.org"), over("giveup"));
    assert!(told.state.starts_with("active;expires="));
}

#[test]
fn a_change_is_told_alone_and_with_the_next_version() {
    let mut net = Net::with(everybody());
    subscribe(&mut net, ALICE, 600);
    net.run(2);
    told(&mut net, ALICE);
    net.publish(BOB, "away", None);
    net.run(3);
    let [told] = &told(&mut net, ALICE)[..] else { panic!() };
    assert_eq!((told.info.version, told.info.full_state), (1, false));
    assert_eq!(told.uris(), ["sip:bob@example.com"]);
    assert_eq!(told.of("sip:bob@example.com").unwrap().2.as_deref(), Some("away"));
}

#[test]
fn changes_within_the_interval_are_told_together() {
    let mut config = everybody();
    config.limits.notify_interval = Duration::from_secs(5);
    let mut net = Net::with(config);
    subscribe(&mut net, ALICE, 600);
    net.run(1);
    told(&mut net, ALICE);
    net.publish(BOB, "one", None);
    net.publish(CAROL, "two", None);
    net.run(8);
    let [told] = &told(&mut net, ALICE)[..] else { panic!("one body for both") };
    assert_eq!(told.uris().len(), 2);
}

#[test]
fn a_refresh_brings_everything_again() {
    let mut net = Net::with(everybody());
    let answer = subscribe(&mut net, ALICE, 600);
    net.run(1);
    told(&mut net, ALICE);
    assert_eq!(status(&again(&mut net, ALICE, &answer, "600", None)), 200);
    net.run(1);
    let [told] = &told(&mut net, ALICE)[..] else { panic!() };
    assert_eq!((told.info.version, told.info.full_state, told.info.resources.len()), (1, true, 4));
    assert_eq!(told.of("sip:bob@example.com").unwrap().2.as_deref(), Some("closed"));
}

#[test]
fn a_watcher_that_lost_a_notify_gets_everything_again() {
    let mut net = Net::with(everybody());
    subscribe(&mut net, ALICE, 600);
    net.run(2);
    told(&mut net, ALICE);
    net.client(ALICE, |alice| alice.answer_with = 503);
    net.publish(BOB, "lost", None);
    net.run(3);
    told(&mut net, ALICE);
    net.client(ALICE, |alice| alice.answer_with = 200);
    net.run(10);
    let [told] = &told(&mut net, ALICE)[..] else { panic!() };
    assert!(told.info.full_state);
    assert_eq!(told.of("sip:bob@example.com").unwrap().2.as_deref(), Some("lost"));
}

#[test]
fn the_end_of_a_list_subscription_is_told() {
    let mut net = Net::with(everybody());
    let answer = subscribe(&mut net, ALICE, 600);
    net.run(1);
    net.received(ALICE, Method::Notify);
    assert_eq!(status(&again(&mut net, ALICE, &answer, "0", None)), 200);
    net.run(1);
    let [last] = &net.received(ALICE, Method::Notify)[..] else { panic!() };
    assert_eq!(text(last, HeaderName::SubscriptionState), "terminated;reason=timeout");
    assert_eq!(net.core(|core, _| (core.statistics().subscriptions, core.statistics().watched)), (0, 0));
    net.publish(BOB, "unheard", None);
    net.run(3);
    assert!(net.received(ALICE, Method::Notify).is_empty());
}

#[test]
fn a_fetch_of_a_long_list_ends_with_the_last_body() {
    let mut config = everybody();
    config.limits.list_notify_bytes = 600;
    let mut net = Net::with(config);
    subscribe(&mut net, ALICE, 0);
    net.run(5);
    let all = told(&mut net, ALICE);
    assert!(all.len() > 1);
    let (last, before) = all.split_last().unwrap();
    assert_eq!(last.state, "terminated;reason=timeout");
    assert!(before.iter().all(|told| told.state.starts_with("active")));
    let closed = all.iter().filter_map(|told| told.of("sip:carol@example.com")?.2).collect::<Vec<_>>();
    assert_eq!(closed, ["closed"]);
}

#[test]
fn a_subscriber_that_knows_no_lists_is_told_what_it_lacks() {
    let mut net = Net::with(everybody());
    let answer = net.subscribe(ALICE, LIST, 600);
    assert_eq!((status(&answer), text(&answer, HeaderName::Require)), (421, "eventlist".into()));
    let mut request = list_request(&mut net, ALICE, LIST, 600);
    request.headers.retain(|(name, _)| *name != HeaderName::Accept.into());
    let answer = net.send(ALICE, request.header(HeaderName::Accept, "application/pidf+xml"));
    assert_eq!(status(&answer), 406);
    assert!(text(&answer, HeaderName::Accept).contains("application/rlmi+xml"));
}

#[test]
fn a_list_of_named_watchers_is_theirs_alone() {
    let mut net = Net::with(with_list(&["sip:bob@example.com"], &["carol"]));
    assert_eq!(status(&subscribe(&mut net, ALICE, 600)), 403);
    assert_eq!(status(&subscribe(&mut net, CAROL, 600)), 200);
}

#[test]
fn lists_in_lists_are_taken_apart_and_circles_do_no_harm() {
    let mut config = with_list(&["sip:inner@example.com", "sip:bob@example.com"], &[]);
    config.lists.push(ListConfig {
        address: "sip:inner@example.com".into(),
        members: vec!["sip:carol@example.com".into(), LIST.into(), "sips:bob@example.com".into()],
        watchers: Vec::new(),
    });
    let mut net = Net::with(config);
    subscribe(&mut net, ALICE, 600);
    net.run(1);
    let [told] = &told(&mut net, ALICE)[..] else { panic!() };
    assert_eq!(told.uris(), ["sip:carol@example.com", "sip:bob@example.com"], "each resource once");
}

fn resource_list(uris: &[&str]) -> String {
    let entries: String = uris.iter().map(|uri| format!("<entry uri=\"{uri}\"/>")).collect();
    format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
    )
}

fn with_body(net: &mut Net, uris: &[&str]) -> Message {
    let request = list_request(net, ALICE, "sip:example.com", 600)
        .header(HeaderName::Require, "recipient-list-subscribe")
        .header(HeaderName::ContentDisposition, "recipient-list")
        .body("application/resource-lists+xml", resource_list(uris));
    net.send(ALICE, request)
}

#[test]
fn a_list_can_come_with_the_request() {
    let mut net = Net::new();
    let answer = with_body(&mut net, &["sip:bob@example.com", "sip:carol@example.com"]);
    assert_eq!((status(&answer), text(&answer, HeaderName::Require)), (200, "eventlist".into()));
    net.run(1);
    let [told] = &told(&mut net, ALICE)[..] else { panic!() };
    assert_eq!(told.uris(), ["sip:bob@example.com", "sip:carol@example.com"]);
    assert!(told.info.full_state);
}

#[test]
fn a_list_in_a_request_is_bounded_and_read_with_care() {
    let mut config = config();
    config.limits.request_list_entries = 1;
    let mut net = Net::with(config);
    assert_eq!(status(&with_body(&mut net, &["sip:bob@example.com", "sip:carol@example.com"])), 413);
    let mut broken = |kind: &str, body: &'static str| {
        let request = list_request(&mut net, ALICE, "sip:example.com", 600)
            .header(HeaderName::Require, "recipient-list-subscribe");
        let answer = net.send(ALICE, request.body(kind, body));
        status(&answer)
    };
    assert_eq!(broken("application/resource-lists+xml", "<!DOCTYPE x [<!ENTITY y 'z'>]><x>&y;</x>"), 400);
    assert_eq!(broken("text/plain", "sip:bob@example.com"), 415);
}

#[test]
fn a_refresh_with_a_new_list_replaces_the_old_one() {
    let mut net = Net::new();
    let answer = with_body(&mut net, &["sip:bob@example.com"]);
    net.run(1);
    told(&mut net, ALICE);
    let mut request = list_request(&mut net, ALICE, "sip:example.com", 600);
    request.uri = answer.contacts().next().unwrap().unwrap().uri().unwrap().as_str().to_owned();
    request.headers.retain(|(name, _)| {
        ![HeaderName::From, HeaderName::To, HeaderName::CallId].iter().any(|known| *name == (*known).into())
    });
    let request = request
        .from(text(&answer, HeaderName::From))
        .to(text(&answer, HeaderName::To))
        .call_id(text(&answer, HeaderName::CallId))
        .body("application/resource-lists+xml", resource_list(&["sip:carol@example.com"]));
    assert_eq!(status(&net.send(ALICE, request)), 200);
    net.run(1);
    let last = told(&mut net, ALICE).pop().unwrap();
    assert_eq!((last.info.full_state, last.uris()), (true, vec!["sip:carol@example.com"]));
}

#[test]
fn a_list_refresh_with_the_state_it_has_costs_no_notify() {
    let mut net = Net::with(everybody());
    let answer = subscribe(&mut net, ALICE, 600);
    net.run(1);
    let etag = text(&net.received(ALICE, Method::Notify)[0], HeaderName::SipEtag);
    let again = again(&mut net, ALICE, &answer, "600", Some(&etag));
    assert_eq!((status(&again), text(&again, HeaderName::SipEtag)), (204, etag.clone()));
    net.run(2);
    assert!(net.received(ALICE, Method::Notify).is_empty());
    net.publish(BOB, "here", None);
    net.run(3);
    let [news] = &net.received(ALICE, Method::Notify)[..] else { panic!() };
    assert_ne!(text(news, HeaderName::SipEtag), etag);
}

#[test]
fn a_list_watcher_that_comes_back_with_its_state_is_told_that_it_holds() {
    let mut net = Net::with(everybody());
    subscribe(&mut net, ALICE, 600);
    net.run(1);
    let etag = text(&net.received(ALICE, Method::Notify)[0], HeaderName::SipEtag);
    let request = list_request(&mut net, ALICE, LIST, 600).header(HeaderName::SuppressIfMatch, etag.clone());
    assert_eq!(status(&net.send(ALICE, request)), 200);
    net.run(1);
    let [notify] = &net.received(ALICE, Method::Notify)[..] else { panic!() };
    assert!(notify.body().is_empty());
    assert_eq!(text(notify, HeaderName::SipEtag), etag);
}

#[test]
fn ten_thousand_resources_come_in_bodies_of_bounded_size_and_a_change_alone() {
    let mut toml = String::from(
        "[service]\ndomains = [\"example.com\"]\n[[user]]\nname = \"alice\"\npassword = \"wonderland\"\n",
    );
    let mut members = Vec::new();
    for number in 0..10_000 {
        toml.push_str(&format!("[[user]]\nname = \"u{number}\"\nha1-sha256 = \"{number:064x}\"\n"));
        members.push(format!("sip:u{number}@example.com"));
    }
    toml.push_str("[[user]]\nname = \"bob\"\npassword = \"builder\"\n[[user]]\nname = \"carol\"\npassword = \"christmas\"\n");
    members.push("sip:bob@example.com".into());
    let accounts = ServiceConfig::parse(&toml).unwrap().accounts().unwrap();
    let mut config = CoreConfig { accounts, ..config() };
    config.lists = vec![ListConfig { address: LIST.into(), members, watchers: Vec::new() }];
    let limit = config.limits.list_notify_bytes;
    let mut net = Net::with(config);
    net.client(ALICE, common::Client::use_tcp);
    subscribe(&mut net, ALICE, 600);
    net.run(60);
    let notifies = net.received(ALICE, Method::Notify);
    let (first, rest) = notifies.split_first().unwrap();
    assert!(first.body().len() < 1024 * 1024, "{}", first.body().len());
    assert!(rest.iter().all(|notify| notify.body().len() < limit + 4096));
    let first = Told::new(first);
    assert!(first.info.full_state);
    assert_eq!(first.info.resources.len(), 10_001);
    let mut known = std::collections::HashSet::new();
    for (version, notify) in (0..).zip(&notifies) {
        let told = Told::new(notify);
        assert_eq!(told.info.version, version);
        let with_document =
            told.info.resources.iter().filter(|r| r.instances.iter().any(|i| i.cid.is_some()));
        assert!(with_document.into_iter().all(|resource| known.insert(resource.uri.clone())), "each once");
    }
    assert_eq!(known.len(), 10_001);
    net.publish(BOB, "here", None);
    net.run(3);
    let [change] = &net.received(ALICE, Method::Notify)[..] else { panic!() };
    assert!(change.body().len() < 4096);
    assert_eq!(Told::new(change).uris(), ["sip:bob@example.com"]);
}

#[test]
fn who_joins_a_list_is_told_alone_and_who_leaves_it_by_a_full_body() {
    let mut net = Net::with(with_list(&["sip:bob@example.com"], &[]));
    subscribe(&mut net, ALICE, 600);
    net.run(2);
    told(&mut net, ALICE);
    let set = |net: &mut Net, members: &[&str]| {
        let members = members.iter().map(|one| (*one).to_owned()).collect();
        net.core(|core, now| core.set_list(now, LIST, None, members).unwrap());
        net.run(3);
        let [told] = <[Told; 1]>::try_from(told(net, ALICE)).ok().unwrap();
        told
    };
    let joined = set(&mut net, &["sip:bob@example.com", "sip:carol@example.com"]);
    assert_eq!((joined.info.full_state, joined.uris()), (false, vec!["sip:carol@example.com"]));
    let left = set(&mut net, &["sip:carol@example.com"]);
    assert_eq!((left.info.full_state, left.uris()), (true, vec!["sip:carol@example.com"]));
}

#[test]
fn the_subscriptions_to_a_list_end_with_it() {
    let mut net = Net::with(config());
    let members = vec!["sip:bob@example.com".to_owned()];
    net.core(|core, now| core.set_list(now, LIST, Some("alice"), members.clone()).unwrap());
    assert!(net.core(|core, now| core.set_list(now, LIST, Some("bob"), members.clone())).is_err());
    assert!(net.core(|core, now| core.set_list(now, "sip:bob@example.com", None, members)).is_err());
    assert_eq!(status(&subscribe(&mut net, BOB, 600)), 403);
    assert_eq!(status(&subscribe(&mut net, ALICE, 600)), 200);
    net.run(1);
    net.received(ALICE, Method::Notify);
    net.core(|core, now| core.remove_list(now, LIST, Some("bob")));
    net.run(1);
    assert!(net.received(ALICE, Method::Notify).is_empty(), "not his to remove");
    net.core(|core, now| core.remove_list(now, LIST, Some("alice")));
    net.run(1);
    let [last] = &net.received(ALICE, Method::Notify)[..] else { panic!() };
    assert_eq!(text(last, HeaderName::SubscriptionState), "terminated;reason=noresource");
    assert_eq!(status(&subscribe(&mut net, ALICE, 600)), 404);
}

#[test]
fn nobody_learns_or_fills_the_list_of_somebody_else_by_naming_it() {
    let mut net = Net::new();
    let set = |net: &mut Net, address: &str, owner: &str, members: &[&str]| {
        let members = members.iter().map(|one| (*one).to_owned()).collect();
        net.core(|core, now| core.set_list(now, address, Some(owner), members)).unwrap();
    };
    set(&mut net, "sip:bobs@example.com", "bob", &["sip:carol@example.com", "sip:later@example.com"]);
    set(&mut net, "sip:alices@example.com", "alice", &["sip:bobs@example.com"]);
    let over = Some((State::Terminated, Some("noresource".to_owned()), None));
    with_body(&mut net, &["sip:bobs@example.com"]);
    net.run(1);
    let [of_request] = &told(&mut net, ALICE)[..] else { panic!() };
    assert_eq!(of_request.uris(), ["sip:bobs@example.com"]);
    assert_eq!(of_request.of("sip:bobs@example.com"), over);
    let request = list_request(&mut net, ALICE, "sip:alices@example.com", 600);
    assert_eq!(status(&net.send(ALICE, request)), 200);
    net.run(1);
    let [of_own] = &told(&mut net, ALICE)[..] else { panic!() };
    assert_eq!(
        (of_own.uris(), of_own.of("sip:bobs@example.com")),
        (vec!["sip:bobs@example.com"], over.clone())
    );
    let request = list_request(&mut net, BOB, "sip:bobs@example.com", 600);
    net.send(BOB, request);
    net.run(1);
    told(&mut net, BOB);
    set(&mut net, "sip:later@example.com", "alice", &["sip:alice@example.com"]);
    net.run(3);
    assert!(told(&mut net, BOB).is_empty(), "what Alice makes of an address that Bob has is not his");
    set(&mut net, "sip:own@example.com", "alice", &["sip:carol@example.com"]);
    set(&mut net, "sip:alices@example.com", "alice", &["sip:own@example.com"]);
    net.run(3);
    let last = told(&mut net, ALICE).pop().unwrap();
    assert_eq!(last.uris(), ["sip:carol@example.com"], "the own ones are taken apart");
}

#[test]
fn a_list_that_outgrows_what_its_watcher_may_watch_is_given_up() {
    let mut config = config();
    config.limits.watched_per_user = 2;
    let mut net = Net::with(config);
    let set = |net: &mut Net, members: &[&str]| {
        let members = members.iter().map(|one| (*one).to_owned()).collect();
        net.core(|core, now| core.set_list(now, "sip:own@example.com", Some("alice"), members)).unwrap();
    };
    set(&mut net, &["sip:bob@example.com"]);
    let request = list_request(&mut net, ALICE, "sip:own@example.com", 600);
    assert_eq!(status(&net.send(ALICE, request)), 200);
    net.run(2);
    net.received(ALICE, Method::Notify);
    set(&mut net, &["sip:bob@example.com", "sip:nobody@example.com", "sip:x@elsewhere.org"]);
    net.run(2);
    let last = net.received(ALICE, Method::Notify).pop().unwrap();
    assert_eq!(text(&last, HeaderName::SubscriptionState), "terminated;reason=giveup");
    assert_eq!(net.core(|core, _| core.statistics().watched), 0);
}

#[test]
fn a_refresh_with_a_list_that_is_too_long_changes_nothing() {
    let mut config = config();
    config.limits.watched_per_user = 1;
    let mut net = Net::with(config);
    let answer = with_body(&mut net, &["sip:bob@example.com"]);
    net.run(1);
    told(&mut net, ALICE);
    let mut request = list_request(&mut net, ALICE, "sip:example.com", 600);
    request.uri = answer.contacts().next().unwrap().unwrap().uri().unwrap().as_str().to_owned();
    request.headers.retain(|(name, _)| {
        ![HeaderName::From, HeaderName::To, HeaderName::CallId].iter().any(|known| *name == (*known).into())
    });
    let longer = resource_list(&["sip:carol@example.com", "sip:nobody@example.com"]);
    let request = request
        .from(text(&answer, HeaderName::From))
        .to(text(&answer, HeaderName::To))
        .call_id(text(&answer, HeaderName::CallId))
        .body("application/resource-lists+xml", longer);
    assert_eq!(status(&net.send(ALICE, request)), 503);
    net.publish(BOB, "here", None);
    net.run(3);
    let last = told(&mut net, ALICE).pop().unwrap();
    assert_eq!(last.of("sip:bob@example.com").unwrap().2.as_deref(), Some("here"));
}

#[test]
fn a_change_deep_inside_is_told_to_who_watches_the_outermost_list() {
    let mut net = Net::new();
    let set = |net: &mut Net, name: &str, member: &str| {
        let (address, member) = (format!("sip:{name}@example.com"), format!("sip:{member}@example.com"));
        net.core(|core, now| core.set_list(now, &address, Some("alice"), vec![member])).unwrap();
    };
    set(&mut net, "outer", "middle");
    set(&mut net, "middle", "inner");
    set(&mut net, "inner", "bob");
    let request = list_request(&mut net, ALICE, "sip:outer@example.com", 600);
    net.send(ALICE, request);
    net.run(2);
    assert_eq!(told(&mut net, ALICE)[0].uris(), ["sip:bob@example.com"]);
    set(&mut net, "inner", "carol");
    net.run(2);
    assert_eq!(told(&mut net, ALICE).pop().unwrap().uris(), ["sip:carol@example.com"]);
    net.core(|core, now| core.remove_list(now, "sip:inner@example.com", Some("alice")));
    net.run(2);
    assert_eq!(told(&mut net, ALICE).pop().unwrap().uris(), ["sip:inner@example.com"]);
}
