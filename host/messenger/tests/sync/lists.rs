//! The list of everybody that the service keeps, and how often is written what will not be taken.

use std::time::Duration;

use attache_messenger::{address::Address, command::Command, report::XcapState};
use http::Method;

use crate::{
    server::Fault,
    world::{LISTS, RULES, SERVICES, World},
};

fn writes(world: &World) -> usize {
    world.server().count(&Method::PUT, "rls-services")
}

#[test]
fn a_device_whose_contacts_are_refused_leaves_the_shared_list_alone() {
    for refused in [Fault::Status(403, ""), Fault::Status(200, "<html>")] {
        let mut world = World::new(2, 41);
        world.run(0, Command::SignIn).unwrap();
        world.add(0, "bob");
        world.settle();
        let before = world.server().text(SERVICES).to_owned();
        assert!(before.contains("sip:bob@example.com"), "{before}");
        world.server().script = [refused].into();
        world.run(1, Command::SignIn).unwrap();
        world.sim.run_for(Duration::from_secs(60));
        assert!(matches!(world.xcap(1), XcapState::Refused { .. }), "{:?}", world.xcap(1));
        assert_eq!(world.server().text(SERVICES), before);
    }
}

#[test]
fn two_spellings_of_one_person_are_one_entry_that_nobody_rewrites() {
    let mut world = World::new(2, 42);
    for (device, text) in [(0, "sip:bob@example.com"), (1, "sip:b%6Fb@Example.COM")] {
        let address = Address::parse(text).unwrap();
        world.run(device, Command::AddContact { address, name: "Bob".into() }).unwrap();
    }
    world
        .run(
            0,
            Command::AddContact { address: Address::parse("pres:bob@example.com").unwrap(), name: "".into() },
        )
        .unwrap();
    for device in [0, 1] {
        world.run(device, Command::SignIn).unwrap();
        world.settle();
    }
    world.relogin(0);
    let before = writes(&world);
    for device in [1, 0, 1, 0] {
        world.relogin(device);
    }
    assert_eq!(writes(&world), before);
    let text = world.server().text(SERVICES).to_owned();
    assert_eq!(text.matches("sip:bob@example.com").count(), 1, "{text}");
    assert!(!text.contains("pres:bob"), "{text}");
}

#[test]
fn a_list_that_somebody_changes_again_and_again_is_repaired_ever_later() {
    let mut world = World::signed_in(1, 43);
    world.add(0, "bob");
    world.settle();
    let mut waits = Vec::new();
    for _ in 0..6 {
        let broken = world.server().text(SERVICES).replace("sip:bob@", "sip:mallory@");
        world.server().put(SERVICES, &broken);
        let reads = world.server().count(&Method::GET, "rls-services");
        let server = world.server.clone();
        let read = world.sim.run_until(Duration::from_secs(8000), |_| {
            server.lock().unwrap().count(&Method::GET, "rls-services") > reads
        });
        assert!(read, "nobody looked again");
        let found = world.sim.elapsed();
        let repaired = world.sim.run_until(Duration::from_secs(600), |_| {
            !server.lock().unwrap().text(SERVICES).contains("mallory")
        });
        assert!(repaired, "never repaired");
        waits.push(world.sim.elapsed() - found);
    }
    assert!(waits[0] < Duration::from_secs(5) && waits[5] > Duration::from_secs(15), "{waits:?}");
}

#[test]
fn writes_that_fail_are_tried_ever_less_often_though_reading_works() {
    for (usage, path) in [("resource-lists", LISTS), ("rls-services", SERVICES), ("pres-rules", RULES)] {
        for status in [503, 412] {
            let mut world = World::signed_in(1, 44);
            {
                let mut server = world.server();
                server.scripted = usage;
                server.no_writes = Some(status);
            }
            world.start(0, Command::AddContact { address: crate::world::address("bob"), name: "".into() });
            let who = attache_messenger::privacy::Who::Everyone;
            let decision = Some(attache_messenger::privacy::Decision::Allow);
            world.start(0, Command::SetRule { who, decision });
            world.sim.run_for(Duration::from_secs(1200));
            let tried = world.server().count(&Method::PUT, usage);
            assert!((3..=20).contains(&tried), "{usage} {status}: {tried}");
            world.server().no_writes = None;
            world.sim.run_for(Duration::from_secs(301));
            assert!(!world.server().text(path).is_empty(), "{usage} {status}");
        }
    }
}

#[test]
fn a_list_that_is_empty_all_of_a_sudden_is_written_again() {
    let mut world = World::signed_in(1, 45);
    world.add(0, "bob");
    world.add(0, "carol");
    world.settle();
    let empty = r#"<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"/>"#;
    world.server().put(LISTS, empty);
    world.relogin(0);
    assert_eq!(world.shown(0).0.len(), 2);
    assert_eq!(world.uris().len(), 2);
}

#[test]
fn everybody_can_be_removed_on_another_device() {
    let mut world = World::signed_in(2, 46);
    for name in ["bob", "carol", "dave"] {
        world.add(0, name);
    }
    world.settle();
    world.relogin(1);
    world.run(1, Command::SignOut).unwrap();
    for name in ["bob", "carol", "dave"] {
        let id = world.contact(0, name);
        world.run(0, Command::RemoveContact(id)).unwrap();
    }
    world.settle();
    world.run(1, Command::SignIn).unwrap();
    world.settle();
    assert!(world.shown(1).0.is_empty() && world.shown(0).0.is_empty());
}

#[test]
fn a_write_whose_fate_is_known_leaves_nothing_behind() {
    let mut world = World::signed_in(1, 47);
    world.add(0, "bob");
    world.settle();
    world.server().no_writes = Some(503);
    world.add(0, "carol");
    world.settle();
    let tried = |world: &World| {
        let records = world.stores[0].restored().records;
        records.iter().any(|record| &*record.key == "resource-lists/tried")
    };
    assert!(tried(&world));
    let carol = world.contact(0, "carol");
    world.run(0, Command::RemoveContact(carol)).unwrap();
    world.sim.run_for(Duration::from_secs(30));
    assert!(world.is_synced(0) && !tried(&world));
}
