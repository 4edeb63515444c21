//! A process that dies at any commit: nothing accepted is lost, nothing is said twice.

use std::time::Duration;

use attache_messenger::{
    command::Command,
    presence::Availability,
    sim::{Crash, EngineNode},
};

use crate::world::*;

/// Lets `name` die at a commit while Alice and Bob talk, starts it again, and returns the world after all is quiet, with
/// the texts that Alice's engine had accepted.
fn talk(name: &'static str, crash: Crash) -> Option<(World, Vec<String>)> {
    let mut world = World::friends(1);
    let base = world.store(name).commits();
    let crash = match crash {
        Crash::Before(n) => Crash::Before(base + n),
        Crash::After(n) => Crash::After(base + n),
    };
    world.restart_with(
        name,
        |config| config,
        |node| node.commit_delay(Duration::from_millis(5)).crash_at(crash),
    );
    world.start(name, Command::SignIn);
    world.settle();
    let mut accepted = Vec::new();
    for n in 0..4 {
        let text = format!("line {n}");
        let token = world.say(ALICE, BOB, &text);
        world.sim.run_for(Duration::from_millis(700));
        if world.with(ALICE, |node| matches!(node.answer(token), Some(Ok(_)))) {
            accepted.push(text);
        }
    }
    let died = world.with(name, |node: &mut EngineNode| node.is_dead());
    world.sim.run_for(Duration::from_secs(40));
    world.restart(name);
    world.start(name, Command::SignIn);
    world.sim.run_for(Duration::from_secs(600));
    died.then_some((world, accepted))
}

#[test]
fn no_accepted_message_is_lost_or_doubled_when_the_sender_dies() {
    let mut cases = 0;
    for number in 1..30 {
        for crash in [Crash::Before(number), Crash::After(number)] {
            let Some((world, accepted)) = talk(ALICE, crash) else { continue };
            cases += 1;
            let received = world.received(BOB);
            for text in &accepted {
                assert!(received.contains(text), "{crash:?}: {text} is lost, there is {received:?}");
            }
            let mut once = received.clone();
            once.dedup();
            assert_eq!(once, received, "{crash:?}");
            assert!(received.is_sorted(), "{crash:?}: {received:?}");
            assert!(world.store(ALICE).outbox().is_empty(), "{crash:?}");
        }
    }
    assert!(cases >= 10, "only {cases} crashes happened");
}

#[test]
fn no_message_is_lost_or_doubled_when_the_receiver_dies() {
    let mut cases = 0;
    for number in 1..30 {
        for crash in [Crash::Before(number), Crash::After(number)] {
            let Some((world, accepted)) = talk(BOB, crash) else { continue };
            cases += 1;
            assert_eq!(world.received(BOB), accepted, "{crash:?}");
        }
    }
    assert!(cases >= 6, "only {cases} crashes happened");
}

#[test]
fn numbers_grow_across_restarts() {
    let mut world = World::friends(2);
    let mut last = 0;
    for _ in 0..3 {
        world.publish(BOB, Availability::Busy, "").unwrap();
        world.settle();
        world.publish(BOB, Availability::Away, "").unwrap();
        world.settle();
        let events = world.with(ALICE, EngineNode::take_events);
        assert!(!events.is_empty());
        for event in events {
            assert!(event.seq > last);
            last = event.seq;
        }
        world.restart(ALICE);
        world.run(ALICE, Command::SignIn).unwrap();
        world.settle();
    }
}

#[test]
fn a_restored_message_keeps_its_conversation_and_its_handle() {
    let mut world = World::new(3);
    world.say(ALICE, BOB, "hello");
    world.settle();
    let before = world.store(ALICE).outbox().remove(0);
    world.restart(ALICE);
    let snapshot = world.snapshot(ALICE);
    assert!(snapshot.conversations.contains_key(&before.message.conversation));
    world.run(BOB, Command::SignIn).unwrap();
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.received(BOB), ["hello"]);
    assert!(world.store(ALICE).outbox().is_empty());
}
