//! What people see of each other.

use attache_messenger::{
    code::Code,
    command::Command,
    compose::Reason,
    event::EventKind,
    presence::{Availability, Freshness, UnknownReason},
};

use attache_messenger::sim::EngineNode;

use crate::{service::Policy, world::*};

#[test]
fn every_availability_arrives_as_it_was_meant() {
    let mut world = World::friends(1);
    for availability in Availability::ALL {
        world.publish(ALICE, availability, "gone fishing").unwrap();
        world.settle();
        let seen = world.sees(BOB);
        assert_eq!((seen.availability, &*seen.note), (Some(availability), "gone fishing"));
        assert_eq!(seen.freshness, Freshness::Live);
    }
}

#[test]
fn one_who_published_nothing_is_offline_by_the_services_word() {
    let mut world = World::friends(2);
    world.run(BOB, Command::SignOut).unwrap();
    world.settle();
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, seen.freshness.clone()), (Some(Availability::Offline), Freshness::Live));
}

#[test]
fn pending_denied_and_unknown_people_are_never_offline() {
    for (policy, freshness) in
        [(Policy::Pending, Freshness::Unknown(UnknownReason::Pending)), (Policy::Reject, Freshness::Denied)]
    {
        let mut world = World::new(3);
        world.service(|s| s.policies.insert("bob".into(), policy));
        world.run(ALICE, Command::AddContact { address: address(BOB), name: "".into() }).unwrap();
        world.run(ALICE, Command::SignIn).unwrap();
        world.settle();
        let seen = world.sees(ALICE);
        assert_eq!((seen.availability, seen.freshness.clone()), (None, freshness));
    }
    let mut world = World::new(4);
    world.run(ALICE, Command::AddContact { address: address("nobody"), name: "".into() }).unwrap();
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    let seen = world.sees(ALICE);
    assert_eq!(
        (seen.availability, seen.freshness.clone()),
        (None, Freshness::Unknown(UnknownReason::NotFound))
    );
}

#[test]
fn permission_that_comes_later_brings_presence() {
    let mut world = World::friends(5);
    world.service(|s| s.policies.insert("bob".into(), Policy::Pending));
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.settle();
    assert_eq!(world.sees(ALICE).freshness, Freshness::Unknown(UnknownReason::Pending));
    world.service(|s| s.policies.insert("bob".into(), Policy::Allow));
    world.publish(BOB, Availability::Away, "").unwrap();
    world.settle();
    assert_eq!(world.sees(ALICE).availability, Some(Availability::Away));
}

#[test]
fn a_contact_added_while_signed_in_is_watched_at_once() {
    let mut world = World::friends(6);
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| {
        s.publish_as(
            now,
            "carol",
            r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:carol@example.com">
            <tuple id="x"><status><basic>open</basic></status><note>hi</note></tuple></presence>"#,
        );
    });
    world.run(ALICE, Command::AddContact { address: address("carol"), name: "Carol".into() }).unwrap();
    world.settle();
    let snapshot = world.snapshot(ALICE);
    let carol = &snapshot.contacts[&snapshot.by_address[&address("carol")]];
    assert_eq!((carol.presence.availability, &*carol.presence.note), (Some(Availability::Available), "hi"));
}

#[test]
fn a_document_that_cannot_be_read_makes_what_was_known_stale_and_nobody_offline() {
    let mut world = World::friends(7);
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.settle();
    let before = world.sees(ALICE);
    world
        .sim
        .with(SERVICE.into(), |s: &mut crate::service::Service, now| s.publish_as(now, "bob", "<presence"));
    world.settle();
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, &seen.note), (before.availability, &before.note));
    assert!(matches!(seen.freshness, Freshness::Stale(_)), "{seen:?}");
    let told = world.with(ALICE, |node| {
        node.events()
            .iter()
            .any(|e| matches!(&e.kind, EventKind::Diagnostic(text) if text.contains("cannot be read")))
    });
    assert!(told, "but it is told");
}

#[test]
fn own_presence_is_kept_over_a_restart() {
    let mut world = World::friends(8);
    world.publish(ALICE, Availability::DoNotDisturb, "in a review").unwrap();
    world.restart(ALICE);
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    let seen = world.sees(BOB);
    assert_eq!((seen.availability, &*seen.note), (Some(Availability::DoNotDisturb), "in a review"));
}

#[test]
fn a_status_set_while_signed_out_says_so_and_is_published_later() {
    let mut world = World::new(9);
    let outcome = world.publish(ALICE, Availability::Busy, "");
    assert_eq!(outcome.unwrap_err().code(), Code::NotLoggedOn);
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    let document = world.service(|s| s.documents("alice").remove(0));
    assert!(String::from_utf8_lossy(&document).contains("<rpid:busy/>"));
}

#[test]
fn a_service_without_presence_is_told_to_whoever_publishes() {
    let mut world = World::friends(10);
    world.service(|s| s.script.insert("PUBLISH".into(), vec![489; 4]));
    assert_eq!(world.publish(ALICE, Availability::Busy, "").unwrap_err().code(), Code::UnsupportedByService);
}

#[test]
fn a_note_that_is_too_long_is_refused() {
    let mut world = World::friends(11);
    let note = "x".repeat(1025);
    assert_eq!(world.publish(ALICE, Availability::Busy, &note).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn changes_of_one_moment_are_one_event() {
    let mut world = World::new(12);
    for name in ["bob", "carol"] {
        world.run(ALICE, Command::AddContact { address: address(name), name: "".into() }).unwrap();
    }
    world.with(ALICE, EngineNode::take_events);
    world.run(ALICE, Command::SignIn).unwrap();
    let batches: Vec<usize> = world.with(ALICE, |node| {
        node.events()
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::PresenceChanged(changes) => Some(changes.len()),
                _ => None,
            })
            .collect()
    });
    assert_eq!(batches.first(), Some(&2), "both became pending together");
}

#[test]
fn a_long_list_is_subscribed_to_in_measure() {
    let mut world = World::new(13);
    for n in 0..400 {
        world.start(ALICE, Command::AddContact { address: address(&format!("friend{n}")), name: "".into() });
    }
    world.settle();
    assert_eq!(world.snapshot(ALICE).contacts.size(), 400);
    world.sim.clear_trace();
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    let (mut under_way, mut most) = (0_i32, 0);
    for packet in world.sim.trace() {
        let about = String::from_utf8_lossy(&packet.payload).contains(" SUBSCRIBE\r\n");
        if packet.from == at(ALICE) && packet.is("SUBSCRIBE") {
            under_way += 1;
        } else if packet.to == at(ALICE) && packet.is("SIP/2.0") && about {
            under_way -= 1;
        }
        most = most.max(under_way);
    }
    assert!(most <= 50, "{most} at once");
    let known = world
        .snapshot(ALICE)
        .contacts
        .values()
        .all(|entry| entry.presence.freshness == Freshness::Unknown(UnknownReason::NotFound));
    assert!(known, "and everybody was asked for");
}

#[test]
fn why_names_the_steps_to_what_is_shown() {
    let mut world = World::friends(14);
    world.publish(BOB, Availability::BusyIdle, "").unwrap();
    world.settle();
    let bob = world.contact(ALICE);
    let why = world.with(ALICE, |node| node.engine().why(bob));
    assert_eq!(why, [Reason::Open, Reason::Activity("busy".into()), Reason::Idle]);
}

#[test]
fn a_statement_that_ends_by_itself_is_followed() {
    let mut world = World::friends(15);
    let until = attache_messenger::sim::BEGINNING + world.sim.elapsed() + std::time::Duration::from_secs(600);
    let body = format!(
        r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model"
        xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:bob@example.com"><tuple id="x"><status><basic>open</basic>
        </status></tuple><d:person id="p"><r:activities until="{until}"><r:meeting/></r:activities></d:person></presence>"#
    );
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| s.publish_as(now, "bob", &body));
    world.settle();
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, seen.next_change_at), (Some(Availability::Busy), Some(until)));
    world.sim.run_for(std::time::Duration::from_secs(600));
    assert_eq!(world.sees(ALICE).availability, Some(Availability::Available));
}

/// Bob is busy until five minutes after the beginning, by a program of his.
fn busy_for_a_while(world: &mut World) {
    let body = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
        xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:bob@example.com">
        <tuple id="x"><status><basic>open</basic></status></tuple>
        <dm:person id="p"><rpid:activities until="2026-01-31T09:05:00Z"><rpid:busy/></rpid:activities></dm:person>
        </presence>"#;
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| s.publish_as(now, "bob", body));
    world.settle();
    assert!(world.sees(ALICE).next_change_at.is_some(), "{:?}", world.sees(ALICE));
    assert_eq!(world.sees(ALICE).freshness, Freshness::Live);
}

#[test]
fn time_makes_nothing_live_that_is_stale() {
    let mut world = World::friends(20);
    busy_for_a_while(&mut world);
    world.sim.kill(SERVICE.into());
    world.sim.run_for(std::time::Duration::from_secs(2 * 86_400));
    let seen = world.sees(ALICE);
    assert_eq!(seen.next_change_at, None, "the time is over");
    assert!(matches!(seen.freshness, Freshness::Stale(_)), "{seen:?}");
}

#[test]
fn time_makes_nobody_offline_who_denies_us() {
    let mut world = World::friends(21);
    busy_for_a_while(&mut world);
    world.service(|s| s.policies.insert("bob".into(), Policy::Reject));
    world.publish(BOB, Availability::Away, "").unwrap();
    world.settle();
    assert_eq!(world.sees(ALICE).freshness, Freshness::Denied);
    world.sim.run_for(std::time::Duration::from_secs(2 * 86_400));
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, seen.freshness.clone()), (None, Freshness::Denied));
}

const OPEN: &str = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com">
    <tuple id="f"><status><basic>open</basic></status></tuple></presence>"#;

/// What Alice sees of Bob once another notifier of his has said this.
fn another_notifier(world: &mut World, cseq: u32, state: &str, body: &str) -> Option<Availability> {
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| {
        s.notify_as_fork(now, "bob", cseq, state, body);
    });
    world.settle();
    world.sees(ALICE).availability
}

#[test]
fn a_notifier_that_holds_nothing_does_not_speak_for_another() {
    let mut world = World::friends(23);
    world.run(BOB, Command::SignOut).unwrap();
    world.settle();
    let open = Some(Availability::Available);
    assert_eq!(another_notifier(&mut world, 1, "active;expires=600", OPEN), open);
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| s.tell_again(now, "bob"));
    world.settle();
    assert_eq!(world.sees(ALICE).availability, open);
    assert_eq!(world.sees(ALICE).freshness, Freshness::Live);
}

#[test]
fn a_notifier_that_may_not_tell_yet_does_not_speak_for_another() {
    let mut world = World::friends(24);
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.settle();
    let seen = another_notifier(&mut world, 1, "pending;expires=600", "");
    assert_eq!((seen, &world.sees(ALICE).freshness), (Some(Availability::Busy), &Freshness::Live));
}

#[test]
fn a_document_that_a_notifier_withdraws_no_longer_counts() {
    let mut world = World::friends(25);
    let closed = OPEN.replace("open", "closed");
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| s.publish_as(now, "bob", &closed));
    let state = "active;expires=600";
    assert_eq!(another_notifier(&mut world, 1, state, OPEN), Some(Availability::Available));
    assert_eq!(another_notifier(&mut world, 2, state, ""), Some(Availability::Offline));
}

#[test]
fn changes_that_cannot_be_read_are_asked_about_once() {
    let mut world = World::friends(26);
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.settle();
    let before = world.service(|s| s.count("SUBSCRIBE"));
    world.service(|s| s.document_type = "application/pidf-diff+xml");
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| s.publish_as(now, "bob", "<none"));
    world.settle();
    let asked = world.service(|s| s.count("SUBSCRIBE")) - before;
    assert!((1..=2).contains(&asked), "{asked}, one of them perhaps challenged");
    let seen = world.sees(ALICE);
    assert!(matches!(seen.freshness, Freshness::Stale(_)), "{seen:?}");
    world.service(|s| s.document_type = "application/pidf+xml");
    world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| s.publish_as(now, "bob", OPEN));
    world.settle();
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, &seen.freshness), (Some(Availability::Available), &Freshness::Live));
}

#[test]
fn what_an_ended_notifier_said_no_longer_counts() {
    let mut world = World::friends(22);
    world.run(BOB, Command::SignOut).unwrap();
    world.settle();
    let open = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com">
        <tuple id="f"><status><basic>open</basic></status></tuple></presence>"#;
    let closed = open.replace("open", "closed");
    let mut fork = |cseq, state: &str, body: &str| {
        world.sim.with(SERVICE.into(), |s: &mut crate::service::Service, now| {
            if cseq == 1 {
                s.publish_as(now, "bob", &closed);
            }
            s.notify_as_fork(now, "bob", cseq, state, body);
        });
        world.settle();
        world.sees(ALICE).availability
    };
    assert_eq!(fork(1, "active;expires=600", open), Some(Availability::Available));
    assert_eq!(fork(2, "terminated;reason=deactivated", ""), Some(Availability::Offline));
}
