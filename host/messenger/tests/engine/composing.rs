//! Who writes at the moment.

use std::time::Duration;

use attache_messenger::{command::Command, event::EventKind, message::Target, sim::EngineNode};

use crate::{service::Service, world::*};

fn acquainted(seed: u64) -> World {
    let mut world = World::friends(seed);
    world.run(ALICE, send(BOB, "hello")).unwrap();
    world.run(BOB, send(ALICE, "hi")).unwrap();
    world.settle();
    world.sim.clear_trace();
    world.with(BOB, EngineNode::take_events);
    world
}

fn types(world: &mut World, active: bool) {
    world.run(ALICE, Command::SetComposing { to: Target::from(address(BOB)), active }).unwrap();
}

/// What Alice has told of her writing.
fn told(world: &World) -> Vec<&'static str> {
    let sent = world.sim.trace().iter().filter(|packet| packet.from == at(ALICE) && packet.is("MESSAGE"));
    let sent = sent.map(|packet| String::from_utf8_lossy(&packet.payload).into_owned());
    sent.filter(|text| text.contains("im-iscomposing"))
        .map(|text| if text.contains("<state>active</state>") { "active" } else { "idle" })
        .collect()
}

/// What Bob has heard.
fn heard(world: &mut World) -> Vec<bool> {
    let events = world.with(BOB, EngineNode::take_events);
    events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ComposingChanged { active, who, .. } => {
                assert_eq!(*who, address(ALICE));
                Some(*active)
            }
            _ => None,
        })
        .collect()
}

#[test]
fn writing_is_told_once_and_ends_by_itself() {
    let mut world = acquainted(1);
    for _ in 0..5 {
        types(&mut world, true);
        world.sim.run_for(Duration::from_secs(2));
    }
    assert_eq!(told(&world), ["active"]);
    assert_eq!(world.snapshot(BOB).composing.size(), 1);
    world.sim.run_for(Duration::from_secs(16));
    assert_eq!(told(&world), ["active", "idle"]);
    assert_eq!(heard(&mut world), [true, false]);
    assert_eq!(world.snapshot(BOB).composing.size(), 0);
    assert_eq!(world.received(BOB), ["hello"], "nothing of it is kept");
}

#[test]
fn who_goes_on_writing_says_so_before_the_time_is_over() {
    let mut world = acquainted(2);
    for _ in 0..20 {
        types(&mut world, true);
        world.sim.run_for(Duration::from_secs(10));
    }
    assert_eq!(told(&world), ["active"; 3]);
    assert_eq!(heard(&mut world), [true; 3]);
}

#[test]
fn a_message_ends_it_without_a_word() {
    let mut world = acquainted(3);
    types(&mut world, true);
    world.settle();
    world.run(ALICE, send(BOB, "so")).unwrap();
    world.sim.run_for(Duration::from_secs(60));
    assert_eq!(told(&world), ["active"]);
    assert_eq!(heard(&mut world), [true, false]);
}

#[test]
fn who_gives_up_writing_says_so() {
    let mut world = acquainted(4);
    types(&mut world, true);
    world.settle();
    types(&mut world, false);
    types(&mut world, false);
    world.settle();
    assert_eq!(told(&world), ["active", "idle"]);
}

#[test]
fn nobody_is_told_whose_program_is_not_known_to_show_it() {
    let mut world = World::friends(5);
    types(&mut world, true);
    world.settle();
    assert!(told(&world).is_empty());
}

#[test]
fn somebody_who_vanishes_while_writing_no_longer_writes_after_their_time() {
    let mut world = acquainted(6);
    let body = br#"<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state><refresh>60</refresh></isComposing>"#;
    world.sim.with(SERVICE.into(), |service: &mut Service, now| {
        let content = ("application/im-iscomposing+xml", &body[..]);
        service.inject_from(now, "sip:alice@example.com", BOB, "c", 1, &[], content);
    });
    world.settle();
    world.sim.run_for(Duration::from_secs(50));
    assert_eq!(heard(&mut world), [true]);
    world.sim.run_for(Duration::from_secs(10));
    assert_eq!(heard(&mut world), [false]);
}

#[test]
fn many_who_write_at_once_are_bounded() {
    let mut world = World::friends(7);
    world.restart_with(
        BOB,
        |mut config| {
            config.limits.composing = 2;
            config
        },
        |node| node,
    );
    world.run(BOB, Command::SignIn).unwrap();
    world.settle();
    let body =
        br#"<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>"#;
    for who in ["sip:a@example.com", "sip:b@example.com", "sip:c@example.com"] {
        world.sim.with(SERVICE.into(), |service: &mut Service, now| {
            let content = ("application/im-iscomposing+xml", &body[..]);
            service.inject_from(now, who, BOB, who, 1, &[], content);
        });
        world.settle();
    }
    assert_eq!(world.snapshot(BOB).composing.size(), 2);
}
