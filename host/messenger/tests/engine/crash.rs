//! A process that dies at any commit or transmission: nothing accepted is lost, nothing is said twice.

use std::time::Duration;

use attache_messenger::{
    command::Command,
    engine::EngineConfig,
    message::{MessageState, ReceiptPolicy},
    presence::Availability,
    sim::{Crash, EngineNode, Link},
    storage::RecordKind,
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
        other => other,
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

/// Kills where the process dies: at each commit and transmission, before and after.
fn points(number: u64) -> [Crash; 4] {
    [Crash::Before(number), Crash::After(number), Crash::BeforeTransmit(number), Crash::AfterTransmit(number)]
}

/// Alice and Bob write to each other and see what the other wrote; one of them dies on the way, and comes back. Whether it
/// did die.
fn dies(seed: u64, name: &'static str, crash: Crash, link: Link) -> bool {
    let giving = |mut config: EngineConfig| {
        config.receipts = ReceiptPolicy::Displayed;
        config.publish = false;
        config.watcher_info = false;
        config.keep_presence = false;
        config
    };
    let mut world = World::new(seed);
    let delay = Duration::from_millis(5);
    for name in [ALICE, BOB] {
        world.restart_with(name, giving, |node| node.commit_delay(delay));
        world.run(name, Command::SignIn).unwrap();
    }
    // From here on both know that the other gives receipts.
    world.run(ALICE, send(BOB, "hello")).unwrap();
    world.run(BOB, send(ALICE, "hi")).unwrap();
    world.settle();
    let base = world.store(name).commits();
    let at_commit = match crash {
        Crash::Before(n) => Crash::Before(base + n),
        Crash::After(n) => Crash::After(base + n),
        other => other,
    };
    world.restart_with(name, giving, |node| node.commit_delay(delay).crash_at(at_commit));
    world.start(name, Command::SignIn);
    world.settle();
    world.sim.set_default_link(link);
    let mut accepted = [Vec::new(), Vec::new()];
    for n in 0..3 {
        let both = [(ALICE, BOB), (BOB, ALICE)];
        let tokens = both.map(|(one, other)| world.say(one, other, &format!("{one} {n}")));
        world.sim.run_for(Duration::from_millis(400));
        for ((one, _), (token, accepted)) in both.iter().zip(tokens.iter().zip(&mut accepted)) {
            if world.with(one, |node| matches!(node.answer(*token), Some(Ok(_)))) {
                accepted.push(format!("{one} {n}"));
            }
        }
        world.see_everything();
        world.sim.run_for(Duration::from_millis(300));
    }
    let died = world.with(name, |node: &mut EngineNode| node.is_dead());
    world.sim.run_for(Duration::from_secs(40));
    world.sim.set_default_link(Link::default());
    world.restart_with(name, giving, |node| node);
    world.start(name, Command::SignIn);
    world.sim.run_for(Duration::from_secs(600));
    world.see_everything();
    world.sim.run_for(Duration::from_secs(60));
    let context = format!("seed {seed}, {name} dies {crash:?}");
    for (one, other, accepted) in [(ALICE, BOB, &accepted[0]), (BOB, ALICE, &accepted[1])] {
        let received = world.received(other);
        for text in accepted {
            assert!(received.contains(text), "{context}: {text} is lost, there is {received:?}");
        }
        assert!(received[1..].is_sorted(), "{context}: {received:?}");
        let mut once = received.clone();
        once.dedup();
        assert_eq!(once, received, "{context}");
        assert!(world.store(one).outbox().is_empty(), "{context}");
        // Both have the same transcript, each line once: what was sent is what arrived.
        let lines = |name: &str| -> Vec<String> {
            let lines = world.store(name).lines();
            let mut lines: Vec<String> = lines.iter().map(|line| line.content.text().to_owned()).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(lines(one), lines(other), "{context}");
        let snapshot = world.snapshot(one);
        for deliveries in snapshot.deliveries.values().skip(1) {
            assert_eq!(deliveries[0].state, MessageState::Displayed, "{context}");
        }
        let wanted = world.store(other).restored().records;
        assert!(!wanted.iter().any(|record| record.kind == RecordKind::Receipt), "{context}");
        let numbers: Vec<u64> = world.store(one).journal().iter().map(|entry| entry.seq).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{context}");
    }
    died
}

/// Thousands of kills with `ATTACHE_SOAK=1`; otherwise a share of them.
#[test]
fn nothing_is_lost_or_said_twice_wherever_a_process_dies() {
    let soak = std::env::var_os("ATTACHE_SOAK").is_some();
    let bad = Link {
        loss: 0.1,
        duplicate: 0.1,
        reorder: 0.1,
        jitter: Duration::from_millis(40),
        ..Link::default()
    };
    let (seeds, step) = if soak { (40, 1) } else { (1, 4) };
    let mut kills = 0;
    for seed in 0..seeds {
        let link = if seed % 2 == 0 { Link::default() } else { bad };
        for name in [ALICE, BOB] {
            for number in (1 + seed % step..).step_by(usize::try_from(step).unwrap()) {
                let died = points(number).into_iter().filter(|crash| dies(seed, name, *crash, link)).count();
                kills += died;
                if died == 0 {
                    break;
                }
            }
        }
    }
    println!("{kills} kills");
    assert!(kills >= if soak { 3_000 } else { 30 }, "only {kills} processes died");
}
