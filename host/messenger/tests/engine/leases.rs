//! Looking at people for a while, alerts, idle time and facts.

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    event::EventKind,
    id::{ContactId, LeaseId},
    presence::{Availability, Fact, Freshness},
};

use crate::{
    lists::{document, says},
    service::Service,
    world::*,
};

fn watch(world: &mut World, who: &str, seconds: u64) -> LeaseId {
    let ttl = Duration::from_secs(seconds);
    let token = world.start(ALICE, Command::Watch { address: address(who), ttl });
    world.with(ALICE, |node| node.answer(token).unwrap().as_ref().unwrap().lease.unwrap())
}

fn watched(world: &mut World, who: &str) -> Option<String> {
    let snapshot = world.snapshot(ALICE);
    let entry = snapshot.watched.get(&address(who))?;
    Some(entry.presence.note.to_string())
}

/// SUBSCRIBE requests that the service has taken or challenged, for somebody.
fn subscriptions(world: &mut World) -> usize {
    world.service(|s| s.count("SUBSCRIBE"))
}

fn alice() -> World {
    let mut world = World::new(1);
    world.run(ALICE, Command::SignIn).unwrap();
    says(&mut world, "carol", "hi");
    world.settle();
    world
}

#[test]
fn somebody_who_is_no_contact_is_seen_while_a_lease_holds() {
    let mut world = alice();
    watch(&mut world, "carol", 60);
    world.settle();
    assert_eq!(watched(&mut world, "carol").as_deref(), Some("hi"));
    says(&mut world, "carol", "changed");
    world.settle();
    assert_eq!(watched(&mut world, "carol").as_deref(), Some("changed"));
    let told = world.with(ALICE, |node| {
        node.events().iter().any(|event| match &event.kind {
            EventKind::WatchedPresenceChanged(changes) => changes
                .iter()
                .any(|change| change.address == address("carol") && &*change.presence.note == "changed"),
            _ => false,
        })
    });
    assert!(told);
    world.sim.run_for(Duration::from_secs(60));
    assert_eq!(watched(&mut world, "carol"), None);
}

#[test]
fn those_who_look_at_the_same_person_share_a_subscription() {
    let mut world = alice();
    let before = subscriptions(&mut world);
    let leases: Vec<LeaseId> = (0..5).map(|_| watch(&mut world, "carol", 3600)).collect();
    world.run(ALICE, Command::AddContact { address: address("carol"), name: "".into() }).unwrap();
    world.settle();
    assert_eq!(subscriptions(&mut world), before + 1);
    assert_eq!(world.snapshot(ALICE).watched[&address("carol")].leases, 5);
    for lease in leases {
        world.run(ALICE, Command::Unwatch(lease)).unwrap();
    }
    world.sim.run_for(Duration::from_secs(60));
    assert_eq!(world.sees(ALICE).freshness, Freshness::Live, "the contact is watched on");
    assert_eq!(subscriptions(&mut world), before + 1);
}

#[test]
fn a_subscription_lingers_after_the_last_lease() {
    let mut world = alice();
    let lease = watch(&mut world, "carol", 3600);
    world.settle();
    world.run(ALICE, Command::Unwatch(lease)).unwrap();
    let before = subscriptions(&mut world);
    world.sim.run_for(Duration::from_secs(20));
    let lease = watch(&mut world, "carol", 3600);
    assert_eq!(watched(&mut world, "carol").as_deref(), Some("hi"), "known at once");
    world.sim.run_for(Duration::from_secs(40));
    assert_eq!(subscriptions(&mut world), before, "and not asked for again");
    world.run(ALICE, Command::Unwatch(lease)).unwrap();
    world.sim.run_for(Duration::from_secs(35));
    assert_eq!(subscriptions(&mut world), before + 1, "then it ends");
}

#[test]
fn a_lease_can_be_made_longer() {
    let mut world = alice();
    let lease = watch(&mut world, "carol", 10);
    world.sim.run_for(Duration::from_secs(8));
    world.run(ALICE, Command::ExtendLease { lease, ttl: Duration::from_secs(60) }).unwrap();
    world.sim.run_for(Duration::from_secs(50));
    assert!(watched(&mut world, "carol").is_some());
    world.sim.run_for(Duration::from_secs(20));
    assert_eq!(watched(&mut world, "carol"), None);
    assert_eq!(world.fails(ALICE, Command::Unwatch(lease)), Code::NotFound);
    let ttl = Duration::from_secs(1);
    assert_eq!(world.fails(ALICE, Command::ExtendLease { lease, ttl }), Code::NotFound);
}

#[test]
fn a_lease_taken_before_the_sign_in_holds_after_it() {
    let mut world = World::new(2);
    watch(&mut world, "carol", 3600);
    says(&mut world, "carol", "hi");
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(watched(&mut world, "carol").as_deref(), Some("hi"));
}

#[test]
fn leases_are_bounded() {
    let mut world = World::new(3);
    world.restart_with(
        ALICE,
        |mut config| {
            config.limits.leases = 2;
            config
        },
        |node| node,
    );
    let lease = watch(&mut world, "carol", 10);
    watch(&mut world, "dave", 10);
    let more = Command::Watch { address: address("bob"), ttl: Duration::from_secs(10) };
    assert_eq!(world.fails(ALICE, more.clone()), Code::ListFull);
    world.run(ALICE, Command::Unwatch(lease)).unwrap();
    world.run(ALICE, more).unwrap();
}

fn alerts(world: &mut World) -> Vec<ContactId> {
    world.with(ALICE, |node| {
        node.events()
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::ContactAlert { contact, .. } => Some(contact),
                _ => None,
            })
            .collect()
    })
}

#[test]
fn whoever_asked_hears_when_a_contact_becomes_available() {
    let mut world = World::friends(4);
    world.publish(BOB, Availability::Away, "").unwrap();
    let bob = world.contact(ALICE);
    world.run(ALICE, Command::SetAlert(bob, true)).unwrap();
    world.settle();
    assert_eq!(alerts(&mut world), []);
    world.publish(BOB, Availability::Available, "").unwrap();
    world.settle();
    assert_eq!(alerts(&mut world), [bob]);
    world.publish(BOB, Availability::Available, "other words").unwrap();
    world.settle();
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(300));
    world.sim.revive(SERVICE.into());
    world.sim.run_for(Duration::from_secs(300));
    assert_eq!(alerts(&mut world), [bob], "an outage is no absence");
    world.run(ALICE, Command::SetAlert(bob, false)).unwrap();
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.publish(BOB, Availability::Available, "").unwrap();
    world.settle();
    assert_eq!(alerts(&mut world), [bob]);
}

#[test]
fn an_alert_is_kept_over_a_restart() {
    let mut world = World::friends(5);
    let bob = world.contact(ALICE);
    world.run(ALICE, Command::SetAlert(bob, true)).unwrap();
    world.restart(ALICE);
    assert!(world.snapshot(ALICE).alerts.contains(&bob));
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(alerts(&mut world), [bob]);
    world.run(ALICE, Command::RemoveContact(bob)).unwrap();
    assert!(!world.snapshot(ALICE).alerts.contains(&bob));
    assert_eq!(world.fails(ALICE, Command::SetAlert(bob, true)), Code::ContactNotFound);
}

#[test]
fn a_contact_can_be_asked_about_again() {
    let mut world = World::friends(6);
    let bob = world.contact(ALICE);
    let before = subscriptions(&mut world);
    world.run(ALICE, Command::Refresh(bob)).unwrap();
    world.settle();
    assert!(subscriptions(&mut world) > before);
    assert_eq!(world.sees(ALICE).freshness, Freshness::Live);
    assert_eq!(world.fails(ALICE, Command::Refresh(ContactId(7))), Code::ContactNotFound);
}

fn fact(activity: &str, seconds: Option<u64>, world: &World) -> Fact {
    let now = attache_messenger::sim::BEGINNING + world.sim.elapsed();
    let until = seconds.map(|seconds| now + Duration::from_secs(seconds));
    Fact { availability: None, activity: activity.into(), note: "".into(), from: None, until }
}

#[test]
fn a_fact_is_published_and_ends_with_its_time() {
    let mut world = World::friends(7);
    let meeting = fact("meeting", Some(600), &world);
    world.run(ALICE, Command::SetFact { source: "calendar".into(), fact: Some(meeting) }).unwrap();
    world.sim.run_for(Duration::from_secs(10));
    let seen = world.sees(BOB);
    assert_eq!(seen.availability, Some(Availability::Busy));
    assert!(seen.activities.iter().any(|word| **word == *"meeting"));
    let reasons = world.snapshot(ALICE).own_reasons;
    assert_eq!(reasons[0].to_string(), "`calendar` says so");
    world.sim.run_for(Duration::from_secs(610));
    assert_eq!(world.sees(BOB).availability, Some(Availability::Available));
}

#[test]
fn a_choice_with_an_end_goes_back_to_automatic() {
    let mut world = World::friends(8);
    let until = attache_messenger::sim::BEGINNING + world.sim.elapsed() + Duration::from_secs(300);
    let choice = Command::Publish {
        availability: Some(Availability::DoNotDisturb),
        note: "x".into(),
        until: Some(until),
    };
    world.run(ALICE, choice).unwrap();
    world.settle();
    assert_eq!(world.sees(BOB).availability, Some(Availability::DoNotDisturb));
    // Kept with its end, also over a restart.
    world.restart(ALICE);
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.sees(BOB).availability, Some(Availability::DoNotDisturb));
    world.sim.run_for(Duration::from_secs(310));
    let seen = world.sees(BOB);
    assert_eq!((seen.availability, &*seen.note), (Some(Availability::Available), "x"));
}

#[test]
fn idle_time_is_published() {
    let mut world = World::friends(9);
    let since = attache_messenger::sim::BEGINNING;
    world.run(ALICE, Command::SetIdle(Some(since))).unwrap();
    world.sim.run_for(Duration::from_secs(10));
    let seen = world.sees(BOB);
    assert_eq!(seen.availability, Some(Availability::Idle));
    assert_eq!(seen.details.as_ref().unwrap().last_input, Some(since));
    world.run(ALICE, Command::SetIdle(None)).unwrap();
    world.sim.run_for(Duration::from_secs(10));
    assert_eq!(world.sees(BOB).availability, Some(Availability::Available));
}

#[test]
fn changes_in_quick_succession_are_published_in_measure_and_the_last_one_wins() {
    let mut world = World::friends(10);
    world.sim.run_for(Duration::from_secs(10));
    let before = world.service(|s| s.count("PUBLISH"));
    for n in 0..50 {
        let activity = if n % 2 == 0 { "meeting" } else { "lunch" };
        let fact = fact(activity, None, &world);
        world.start(ALICE, Command::SetFact { source: "calendar".into(), fact: Some(fact) });
        world.sim.run_for(Duration::from_millis(200));
    }
    world.sim.run_for(Duration::from_secs(10));
    let published = world.service(|s| s.count("PUBLISH")) - before;
    // Ten seconds of changes; a nonce that has run out may double one.
    assert!(published <= 5, "{published}");
    assert_eq!(world.sees(BOB).availability, Some(Availability::Away));
}

#[test]
fn what_a_service_can_do_decides_what_is_offered() {
    let mut world = alice();
    watch(&mut world, "carol", 3600);
    let body = document("open", "hi").replace(
        "</status>",
        r#"</status><c:servcaps xmlns:c="urn:ietf:params:xml:ns:pidf:caps"><c:audio>false</c:audio>
        <c:methods><c:supported><c:MESSAGE/></c:supported></c:methods></c:servcaps>"#,
    );
    world.sim.with(SERVICE.into(), |s: &mut Service, now| s.publish_as(now, "carol", &body));
    world.settle();
    let presence = world.snapshot(ALICE).watched[&address("carol")].presence.clone();
    let capabilities = presence.capabilities().unwrap();
    assert!(!capabilities.takes_calls() && capabilities.takes_messages());
    assert_eq!(presence.devices().len(), 1);
}

fn with_calls(seed: u64, told: bool) -> World {
    let mut world = World::new(seed);
    world.service(|s| s.dialogs = told.then(Default::default));
    world.restart_with(
        ALICE,
        |mut config| {
            config.calls = true;
            config
        },
        |node| node,
    );
    world.run(ALICE, Command::AddContact { address: address("carol"), name: "".into() }).unwrap();
    says(&mut world, "carol", "hi");
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    world
}

#[test]
fn whoever_talks_is_on_the_phone() {
    let mut world = with_calls(11, true);
    assert_eq!(world.sees(ALICE).availability, Some(Availability::Available));
    let mut call = |state: &str| {
        world.sim.with(SERVICE.into(), |s: &mut Service, now| s.call(now, "carol", state));
        world.settle();
        let seen = world.sees(ALICE);
        (
            seen.availability,
            seen.activities.iter().any(|word| **word == *"on-the-phone"),
            seen.freshness.clone(),
        )
    };
    assert_eq!(call("early"), (Some(Availability::Available), false, Freshness::Live));
    assert_eq!(call("confirmed"), (Some(Availability::Busy), true, Freshness::Live));
    assert_eq!(call("terminated"), (Some(Availability::Available), false, Freshness::Live));
}

#[test]
fn a_service_that_tells_no_calls_is_not_asked_again_and_presence_goes_on() {
    let mut world = with_calls(12, false);
    assert_eq!(world.sees(ALICE).availability, Some(Availability::Available));
    let report = world.snapshot(ALICE).report;
    let refused = report.refused.iter().find(|refused| *refused.feature == *"calls").unwrap();
    assert_eq!(refused.status, Some(489));
}
