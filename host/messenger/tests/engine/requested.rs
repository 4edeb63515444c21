//! Lists in requests that change, refusals that leave a way, and changes within lists.

use std::time::Duration;

use attache_messenger::{
    command::Command,
    presence::{Availability, Freshness},
    report::Strategy,
};

use crate::{
    lists::{everybody, live, refused, says, shown, sign_in, ways},
    service::{Policy, Service},
    world::*,
};

fn add(world: &mut World, name: &str) {
    world.run(ALICE, Command::AddContact { address: address(name), name: "".into() }).unwrap();
}

fn remove(world: &mut World, name: &str) {
    let id = world.snapshot(ALICE).by_address[&address(name)];
    world.run(ALICE, Command::RemoveContact(id)).unwrap();
}

/// Bob and Carol are on a list in a request; Dave is not yet a contact.
fn two_on_a_list(seed: u64) -> World {
    let mut world = everybody(seed, None);
    world.service(|s| s.lists.in_requests = true);
    remove(&mut world, "dave");
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 2)]);
    world
}

#[test]
fn whoever_comes_later_joins_a_list_in_a_request() {
    let mut world = two_on_a_list(31);
    let events = |world: &mut World| world.with(ALICE, attache_messenger::sim::EngineNode::take_events);
    events(&mut world);
    add(&mut world, "dave");
    world.settle();
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 3)]);
    for name in ["bob", "carol", "dave"] {
        assert_eq!(live(&mut world, name).as_deref(), Some(name));
    }
    let wavered = events(&mut world).iter().any(|event| match &event.kind {
        attache_messenger::event::EventKind::PresenceChanged(changes) => {
            changes.iter().any(|change| change.address != address("dave"))
        }
        _ => false,
    });
    assert!(!wavered, "others stay as they were");
    says(&mut world, "bob", "told by the new list");
    world.settle();
    assert_eq!(live(&mut world, "bob").as_deref(), Some("told by the new list"));
    assert_eq!(world.service(|s| s.lists.watching()), [vec!["bob", "carol", "dave"]]);
}

#[test]
fn whoever_goes_leaves_the_list_in_a_request() {
    let mut world = two_on_a_list(32);
    add(&mut world, "dave");
    world.settle();
    remove(&mut world, "bob");
    remove(&mut world, "carol");
    world.sim.run_for(Duration::from_secs(15));
    assert_eq!(world.service(|s| s.lists.watching()), [vec!["dave"]]);
    assert_eq!(live(&mut world, "dave").as_deref(), Some("dave"));
}

#[test]
fn lists_in_requests_are_filled_before_another_one_begins() {
    let mut world = everybody(33, None);
    let two = |mut config: attache_messenger::engine::EngineConfig| {
        config.limits.list_chunk = 2;
        config
    };
    world.restart_with(ALICE, two, |node| node);
    world.service(|s| s.lists.in_requests = true);
    remove(&mut world, "carol");
    sign_in(&mut world);
    add(&mut world, "carol");
    world.settle();
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 2), (Strategy::OneEach, 1)]);
    remove(&mut world, "bob");
    add(&mut world, "bob");
    world.sim.run_for(Duration::from_secs(15));
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 2), (Strategy::OneEach, 1)]);
    for name in ["bob", "carol", "dave"] {
        assert_eq!(live(&mut world, name).as_deref(), Some(name));
    }
}

#[test]
fn where_subscriptions_are_refused_and_questions_answered_people_are_asked_about() {
    for status in [403, 603] {
        let mut world = everybody(34, None);
        world.service(|s| s.fetch_only = Some(status));
        sign_in(&mut world);
        assert_eq!(ways(&mut world), [(Strategy::Polling, 3)], "{status}");
        let seen = shown(&mut world, "bob");
        assert_eq!((seen.availability, &*seen.note), (Some(Availability::Available), "bob"));
        assert!(matches!(seen.freshness, Freshness::Stale(_)), "it will not tell when it changes");
        assert_eq!(refused(&mut world, "one-each"), Some(Some(status)));
        says(&mut world, "bob", "later");
        world.sim.run_for(Duration::from_secs(400));
        assert_eq!(&*shown(&mut world, "bob").note, "later");
    }
}

#[test]
fn whoever_refuses_a_question_too_is_not_asked_again() {
    let mut world = everybody(35, None);
    world.service(|s| {
        s.policies.insert("bob".into(), Policy::Decline);
    });
    sign_in(&mut world);
    assert_eq!(shown(&mut world, "bob").freshness, Freshness::Denied);
    assert_eq!(ways(&mut world), [(Strategy::OneEach, 2)]);
    assert_eq!(refused(&mut world, "one-each"), None, "that is about him, and not about the service");
    let before = world.service(|s| s.count("SUBSCRIBE"));
    world.sim.run_for(Duration::from_secs(800));
    let asked = world.service(|s| s.count("SUBSCRIBE")) - before;
    assert!(asked <= 4, "{asked}: the others are refreshed, and nothing else");
}

/// A whole document, and one with what changed in it.
fn partial(version: u32, note: &str, whole: bool) -> String {
    let attributes = format!(
        r#"xmlns:p="urn:ietf:params:xml:ns:pidf-diff" xmlns="urn:ietf:params:xml:ns:pidf"
        entity="sip:bob@example.com" version="{version}""#
    );
    if whole {
        format!(
            r#"<p:pidf-full {attributes}><tuple id="t"><status><basic>open</basic></status><note>{note}</note></tuple>
            </p:pidf-full>"#
        )
    } else {
        format!(
            r#"<p:pidf-diff {attributes}><p:replace sel="presence/tuple/note/text()">{note}</p:replace></p:pidf-diff>"#
        )
    }
}

#[test]
fn changes_to_a_document_within_a_list_are_applied_and_a_gap_is_asked_about() {
    let mut world = everybody(36, Some("friends"));
    let publish = |world: &mut World, version, note: &str, whole| {
        let body = partial(version, note, whole);
        world.sim.with(SERVICE.into(), |s: &mut Service, now| s.publish_as(now, "bob", &body));
    };
    world.service(|s| {
        s.set_list("friends", &["bob", "carol"]);
        s.document_types.insert("bob".into(), "application/pidf-diff+xml");
    });
    publish(&mut world, 5, "whole", true);
    sign_in(&mut world);
    assert_eq!(live(&mut world, "bob").as_deref(), Some("whole"));
    publish(&mut world, 6, "changed", false);
    world.settle();
    assert_eq!(live(&mut world, "bob").as_deref(), Some("changed"));
    assert_eq!(live(&mut world, "carol").as_deref(), Some("carol"), "others are told as a whole");
    let before = world.service(|s| s.count("SUBSCRIBE"));
    publish(&mut world, 8, "after a gap", false);
    world.settle();
    assert!(world.service(|s| s.count("SUBSCRIBE")) > before, "the whole is asked for");
    assert_ne!(live(&mut world, "bob").as_deref(), Some("after a gap"), "and nothing is guessed");
    publish(&mut world, 9, "whole again", true);
    world.settle();
    assert_eq!(live(&mut world, "bob").as_deref(), Some("whole again"));
}

#[test]
fn a_tag_of_a_list_that_left_documents_out_is_not_kept() {
    let mut world = everybody(37, Some("friends"));
    world.service(|s| {
        s.lists.etag = "first".to_owned();
        s.set_list("friends", &["bob", "carol", "dave"]);
    });
    sign_in(&mut world);
    world.sim.run_for(Duration::from_secs(60));
    // Another state: what bob says is another thing, and is not told yet.
    let mut service = World::fresh_service(&world.sim);
    service.lists.etag = "second".to_owned();
    service.lists.first_is_bare = true;
    service.set_list("friends", &["bob", "carol", "dave"]);
    world.sim.add(SERVICE.into(), service);
    world.sim.run_for(Duration::from_secs(1200));
    assert!(matches!(shown(&mut world, "bob").freshness, Freshness::Stale(_)));
    let list = |config| attache_messenger::engine::EngineConfig {
        list: Some("sip:friends@example.com".to_owned()),
        ..config
    };
    world.restart_with(ALICE, list, |node| node);
    sign_in(&mut world);
    assert_eq!(live(&mut world, "bob"), None, "nobody has said that this is so still");
}
