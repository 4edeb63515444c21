//! How people are watched: by a list of the service, by lists in requests, one by one, or by asking.

use std::{sync::Arc, time::Duration};

use attache_messenger::{
    command::Command,
    event::EventKind,
    presence::{Availability, Freshness, Presence, UnknownReason},
    report::{ServiceReport, Strategy},
};

use crate::{
    service::{Policy, Service},
    world::*,
};

pub(crate) fn document(basic: &str, note: &str) -> String {
    format!(
        r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:x@example.com"><tuple id="t"><status>
        <basic>{basic}</basic></status><note>{note}</note></tuple></presence>"#
    )
}

pub(crate) fn says(world: &mut World, who: &str, note: &str) {
    let body = document("open", note);
    world.sim.with(SERVICE.into(), |s: &mut Service, now| s.publish_as(now, who, &body));
}

pub(crate) fn shown(world: &mut World, who: &str) -> Arc<Presence> {
    let snapshot = world.snapshot(ALICE);
    let id = snapshot.by_address[&address(who)];
    snapshot.contacts[&id].presence.clone()
}

pub(crate) fn live(world: &mut World, who: &str) -> Option<String> {
    let seen = shown(world, who);
    (seen.freshness == Freshness::Live && seen.availability.is_some()).then(|| seen.note.to_string())
}

fn report(world: &mut World) -> Arc<ServiceReport> {
    world.snapshot(ALICE).report
}

/// The status with which something was refused, if it was.
pub(crate) fn refused(world: &mut World, feature: &str) -> Option<Option<u16>> {
    let report = report(world);
    report.refused.iter().find(|refused| *refused.feature == *feature).map(|refused| refused.status)
}

pub(crate) fn ways(world: &mut World) -> Vec<(Strategy, usize)> {
    report(world).watching.iter().map(|using| (using.strategy, using.people)).collect()
}

/// Alice with Bob, Carol and Dave on her list of contacts, not signed in. Each says their name.
pub(crate) fn everybody(seed: u64, list: Option<&str>) -> World {
    let mut world = World::new(seed);
    if let Some(list) = list {
        let list = format!("sip:{list}@example.com");
        world.restart_with(
            ALICE,
            |config| attache_messenger::engine::EngineConfig { list: Some(list), ..config },
            |node| node,
        );
    }
    for name in ["bob", "carol", "dave"] {
        world.run(ALICE, Command::AddContact { address: address(name), name: "".into() }).unwrap();
        says(&mut world, name, name);
    }
    world
}

pub(crate) fn sign_in(world: &mut World) {
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
}

#[test]
fn a_list_of_the_service_is_one_subscription_for_all() {
    let mut world = everybody(1, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    sign_in(&mut world);
    for name in ["bob", "carol", "dave"] {
        assert_eq!(live(&mut world, name).as_deref(), Some(name));
    }
    assert_eq!(world.service(|s| s.count("SUBSCRIBE")), 1);
    assert_eq!(ways(&mut world), [(Strategy::ServerList, 3)]);
    says(&mut world, "carol", "elsewhere");
    world.settle();
    assert_eq!(live(&mut world, "carol").as_deref(), Some("elsewhere"));
    assert_eq!(live(&mut world, "bob").as_deref(), Some("bob"), "others are as they were");
}

#[test]
fn whoever_is_not_on_the_services_list_is_watched_beside_it() {
    let mut world = everybody(2, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol"]));
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::ServerList, 2), (Strategy::OneEach, 1)]);
    assert_eq!(live(&mut world, "dave").as_deref(), Some("dave"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    world.settle();
    assert_eq!(ways(&mut world), [(Strategy::ServerList, 3)], "once on the list, no more");
    world.service(|s| s.set_list("friends", &["carol", "dave"]));
    world.settle();
    assert_eq!(ways(&mut world), [(Strategy::ServerList, 2), (Strategy::OneEach, 1)]);
    says(&mut world, "bob", "still heard");
    world.settle();
    assert_eq!(live(&mut world, "bob").as_deref(), Some("still heard"));
}

#[test]
fn pending_denied_and_unknown_members_are_never_offline() {
    let mut world = everybody(3, Some("friends"));
    world.service(|s| {
        s.policies.insert("bob".into(), Policy::Pending);
        s.policies.insert("carol".into(), Policy::Reject);
        s.set_list("friends", &["bob", "carol", "dave", "nobody"]);
    });
    world.run(ALICE, Command::AddContact { address: address("nobody"), name: "".into() }).unwrap();
    sign_in(&mut world);
    let unknown = |why| (None, Freshness::Unknown(why));
    for (name, expected) in [
        ("bob", unknown(UnknownReason::Pending)),
        ("carol", (None, Freshness::Denied)),
        ("nobody", unknown(UnknownReason::NotFound)),
    ] {
        let seen = shown(&mut world, name);
        assert_eq!((seen.availability, seen.freshness.clone()), expected, "{name}");
    }
    assert_eq!(live(&mut world, "dave").as_deref(), Some("dave"));
}

#[test]
fn a_first_notification_without_documents_makes_nobody_offline() {
    let mut world = everybody(4, Some("friends"));
    world.service(|s| {
        s.lists.first_is_bare = true;
        s.set_list("friends", &["bob", "carol", "dave"]);
    });
    sign_in(&mut world);
    let seen = shown(&mut world, "bob");
    assert_eq!(
        (seen.availability, seen.freshness.clone()),
        (None, Freshness::Unknown(UnknownReason::Pending))
    );
    says(&mut world, "bob", "now");
    world.settle();
    assert_eq!(live(&mut world, "bob").as_deref(), Some("now"));
    let never = world.with(ALICE, |node| {
        node.events().iter().all(|event| match &event.kind {
            EventKind::PresenceChanged(changes) => {
                changes.iter().all(|change| change.presence.availability != Some(Availability::Offline))
            }
            _ => true,
        })
    });
    assert!(never);
}

#[test]
fn a_missing_notification_is_made_good_by_asking_for_everything() {
    let mut world = everybody(5, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    sign_in(&mut world);
    let before = world.service(|s| s.count("SUBSCRIBE"));
    world.service(|s| s.lists.skip = 3);
    says(&mut world, "bob", "after a gap");
    world.settle();
    assert_eq!(live(&mut world, "bob").as_deref(), Some("after a gap"));
    let after = world.service(|s| s.count("SUBSCRIBE"));
    assert!(after > before && after <= before + 2, "{before} {after}");
    says(&mut world, "dave", "in order again");
    world.settle();
    assert_eq!(live(&mut world, "dave").as_deref(), Some("in order again"));
    assert_eq!(world.service(|s| s.count("SUBSCRIBE")), after);
}

#[test]
fn a_whole_list_again_is_no_change() {
    let mut world = everybody(6, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    sign_in(&mut world);
    world.with(ALICE, attache_messenger::sim::EngineNode::take_events);
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    world.settle();
    let changes = world.with(ALICE, |node| {
        node.events().iter().filter(|event| matches!(event.kind, EventKind::PresenceChanged(_))).count()
    });
    assert_eq!(changes, 0);
}

#[test]
fn a_refused_list_is_told_and_everybody_is_watched_otherwise() {
    for status in [403, 404, 405, 420, 489, 501] {
        let mut world = everybody(7, Some("friends"));
        world.service(|s| {
            s.set_list("friends", &["bob"]);
            // With 489 it is asked once more, without rates (RFC 6446): some take them for another package.
            let times = if status == 489 { 2 } else { 1 };
            s.script.insert("SUBSCRIBE".into(), vec![status; times]);
        });
        sign_in(&mut world);
        assert_eq!(ways(&mut world), [(Strategy::OneEach, 3)], "{status}");
        assert_eq!(live(&mut world, "dave").as_deref(), Some("dave"));
        let report = report(&mut world);
        let refused = report.refused.iter().find(|refused| *refused.feature == *"server-list").unwrap();
        assert_eq!(refused.status, Some(status));
        assert!(!refused.sentence.is_empty() && !refused.advice.is_empty());
        let told = world.with(ALICE, |node| {
            node.events().iter().any(|event| match &event.kind {
                EventKind::ReportChanged(report) => {
                    report.refused.iter().any(|one| *one.feature == *"server-list")
                }
                _ => false,
            })
        });
        assert!(told);
    }
}

#[test]
fn what_was_refused_is_tried_again_at_the_next_sign_in() {
    let mut world = everybody(8, Some("friends"));
    world.service(|s| {
        s.set_list("friends", &["bob", "carol", "dave"]);
        s.script.insert("SUBSCRIBE".into(), vec![403]);
    });
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::OneEach, 3)]);
    world.run(ALICE, Command::SignOut).unwrap();
    world.settle();
    assert_eq!(ways(&mut world), []);
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::ServerList, 3)]);
    assert_eq!(refused(&mut world, "server-list"), None);
}

#[test]
fn an_address_that_is_no_list_is_found_out() {
    let mut world = everybody(9, Some("bob"));
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::OneEach, 3)]);
    assert_eq!(live(&mut world, "carol").as_deref(), Some("carol"));
    assert_eq!(refused(&mut world, "server-list"), Some(None));
}

#[test]
fn a_list_that_never_tells_who_is_on_it_keeps_nobody_waiting() {
    let mut world = everybody(10, Some("bob"));
    // An active subscription without any document: bob has published nothing.
    let service = World::fresh_service(&world.sim);
    world.sim.add(SERVICE.into(), service);
    says(&mut world, "carol", "carol");
    sign_in(&mut world);
    assert_eq!(live(&mut world, "carol"), None);
    world.sim.run_for(Duration::from_secs(60));
    assert_eq!(live(&mut world, "carol").as_deref(), Some("carol"));
}

#[test]
fn lists_in_requests_are_used_where_the_service_takes_them() {
    let mut world = everybody(11, None);
    world.service(|s| s.lists.in_requests = true);
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 3)]);
    for name in ["bob", "carol", "dave"] {
        assert_eq!(live(&mut world, name).as_deref(), Some(name));
    }
    says(&mut world, "dave", "changed");
    world.settle();
    assert_eq!(live(&mut world, "dave").as_deref(), Some("changed"));
    assert_eq!(world.service(|s| s.lists.requested), 1);
}

#[test]
fn a_long_list_goes_in_several_requests() {
    let mut world = everybody(12, None);
    world.restart_with(
        ALICE,
        |mut config| {
            config.limits.list_chunk = 2;
            config
        },
        |node| node,
    );
    world.service(|s| s.lists.in_requests = true);
    sign_in(&mut world);
    assert_eq!(world.service(|s| s.lists.requested), 2);
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 3)]);
    assert_eq!(live(&mut world, "dave").as_deref(), Some("dave"));
}

#[test]
fn a_refused_list_in_a_request_leads_to_one_each() {
    let mut world = everybody(13, None);
    world.service(|s| {
        s.lists.in_requests = true;
        s.script.insert("SUBSCRIBE".into(), vec![470]);
    });
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::OneEach, 3)]);
    assert_eq!(live(&mut world, "dave").as_deref(), Some("dave"));
    assert_eq!(refused(&mut world, "request-list"), Some(Some(470)));
}

#[test]
fn where_no_subscription_is_taken_people_are_asked_about() {
    let mut world = everybody(14, None);
    world.service(|s| s.fetch_only = Some(405));
    sign_in(&mut world);
    world.sim.run_for(Duration::from_secs(15));
    assert_eq!(ways(&mut world), [(Strategy::Polling, 3)]);
    let seen = shown(&mut world, "bob");
    assert_eq!(&*seen.note, "bob");
    assert!(matches!(seen.freshness, Freshness::Stale(_)), "it will not tell when it changes");
    says(&mut world, "bob", "later");
    world.sim.run_for(Duration::from_secs(400));
    assert_eq!(&*shown(&mut world, "bob").note, "later");
    assert_eq!(refused(&mut world, "one-each"), Some(Some(405)));
}

#[test]
fn questions_come_in_measure() {
    let mut world = everybody(15, None);
    world.service(|s| s.fetch_only = Some(405));
    sign_in(&mut world);
    world.sim.run_for(Duration::from_secs(15));
    let before = world.service(|s| s.count("SUBSCRIBE"));
    world.sim.run_for(Duration::from_secs(3000));
    let asked = world.service(|s| s.count("SUBSCRIBE")) - before;
    // Three people, every five minutes give or take a quarter, each perhaps challenged.
    assert!((24..=80).contains(&asked), "{asked}");
}

#[test]
fn a_list_is_stale_in_an_outage_and_right_after_it() {
    let mut world = everybody(16, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    sign_in(&mut world);
    world.sim.partition(at(ALICE), SERVICE.into());
    world.sim.run_for(Duration::from_secs(600));
    assert!(matches!(shown(&mut world, "bob").freshness, Freshness::Stale(_)));
    says(&mut world, "bob", "meanwhile");
    world.sim.heal(at(ALICE), SERVICE.into());
    world.sim.run_for(Duration::from_secs(90));
    assert_eq!(live(&mut world, "bob").as_deref(), Some("meanwhile"));
    assert_eq!(live(&mut world, "carol").as_deref(), Some("carol"));
    assert_eq!(ways(&mut world), [(Strategy::ServerList, 3)]);
}

#[test]
fn a_service_that_forgot_a_list_is_found_out_by_the_next_refresh() {
    let mut world = everybody(17, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    sign_in(&mut world);
    let mut service = World::fresh_service(&world.sim);
    service.set_list("friends", &["bob", "carol", "dave"]);
    world.sim.add(SERVICE.into(), service);
    says(&mut world, "bob", "new");
    world.sim.run_for(Duration::from_secs(900));
    assert_eq!(live(&mut world, "bob").as_deref(), Some("new"));
}

#[test]
fn a_list_that_worked_and_then_fails_keeps_nobody_waiting() {
    let mut world = everybody(19, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    sign_in(&mut world);
    world.service(|s| s.fail_lists(500));
    says(&mut world, "bob", "meanwhile");
    world.sim.run_for(Duration::from_secs(2 * 3600));
    assert_eq!(live(&mut world, "bob").as_deref(), Some("meanwhile"));
    assert_eq!(ways(&mut world), [(Strategy::OneEach, 3)]);
    world.service(|s| s.lists.down = None);
    world.sim.run_for(Duration::from_secs(2 * 3600));
    assert_eq!(ways(&mut world), [(Strategy::ServerList, 3)], "as soon as it works again");
    assert_eq!(live(&mut world, "bob").as_deref(), Some("meanwhile"));
}

#[test]
fn a_list_that_cannot_be_read_any_more_is_given_up() {
    let mut world = everybody(20, Some("friends"));
    world.service(|s| s.set_list("friends", &["bob", "carol", "dave"]));
    sign_in(&mut world);
    let before = world.service(|s| s.count("SUBSCRIBE"));
    world.service(|s| s.lists.broken = true);
    says(&mut world, "bob", "in some way");
    world.settle();
    assert_eq!(ways(&mut world), [(Strategy::OneEach, 3)]);
    assert_eq!(live(&mut world, "bob").as_deref(), Some("in some way"));
    assert_eq!(refused(&mut world, "server-list"), Some(None));
    let asked = world.service(|s| s.count("SUBSCRIBE")) - before;
    assert!(asked <= 10, "{asked}");
}

#[test]
fn whoever_is_left_out_of_a_list_in_a_request_is_watched_alone() {
    let mut world = everybody(21, None);
    world.service(|s| {
        s.lists.in_requests = true;
        s.lists.most = Some(2);
    });
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 2), (Strategy::OneEach, 1)]);
    for name in ["bob", "carol", "dave"] {
        assert_eq!(live(&mut world, name).as_deref(), Some(name));
    }
}

#[test]
fn an_address_that_is_sent_in_another_spelling_is_known_again() {
    let mut world = World::new(22);
    world.service(|s| s.lists.in_requests = true);
    let people = ["pres:bob@example.com", "sip:carol@example.com"];
    let people = people.map(|text| attache_messenger::address::Address::parse(text).unwrap());
    for person in &people {
        world.run(ALICE, Command::AddContact { address: person.clone(), name: "".into() }).unwrap();
    }
    says(&mut world, "bob", "here");
    sign_in(&mut world);
    assert_eq!(ways(&mut world), [(Strategy::RequestList, 2)]);
    let snapshot = world.snapshot(ALICE);
    let bob = snapshot.contacts[&snapshot.by_address[&people[0]]].presence.clone();
    assert_eq!((&*bob.note, &bob.freshness), ("here", &Freshness::Live));
}

#[test]
fn people_who_come_together_are_watched_together() {
    let mut world = World::new(23);
    world.restart_with(ALICE, |config| config, |node| node.commit_delay(Duration::from_millis(50)));
    world.service(|s| s.lists.in_requests = true);
    sign_in(&mut world);
    for name in ["bob", "carol", "dave"] {
        world.start(ALICE, Command::AddContact { address: address(name), name: "".into() });
    }
    world.settle();
    assert_eq!(world.service(|s| s.lists.requested), 1);
    let listed = ways(&mut world).into_iter().find(|(way, _)| *way == Strategy::RequestList);
    // The first may have been kept before the others came.
    assert!(listed.is_some_and(|(_, people)| people >= 2), "{listed:?}");
}

#[test]
fn the_same_seed_makes_the_same_traffic() {
    let run = || {
        let mut world = everybody(18, Some("friends"));
        world.service(|s| s.set_list("friends", &["bob"]));
        sign_in(&mut world);
        let trace = world.sim.trace();
        trace.iter().map(|packet| packet.payload.clone()).collect::<Vec<_>>()
    };
    assert!(run() == run());
}
