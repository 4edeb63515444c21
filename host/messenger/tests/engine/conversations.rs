//! Conversations and their transcripts.

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    id::ConversationId,
    snapshot::{Snapshot, TranscriptEntry},
};

use crate::world::*;

fn only(snapshot: &Snapshot) -> ConversationId {
    assert_eq!(snapshot.conversations.size(), 1);
    *snapshot.conversations.keys().next().unwrap()
}

fn lines(snapshot: &Snapshot, id: ConversationId) -> Vec<String> {
    snapshot.conversations[&id]
        .transcript
        .iter()
        .map(|line| match line {
            TranscriptEntry::Incoming(message) => format!("< {}", message.content.text()),
            TranscriptEntry::Outgoing(message) => format!("> {}", message.content.text()),
            TranscriptEntry::Participant { participant } => {
                format!("{} {}", participant.state.name(), participant.address)
            }
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn both_directions_are_one_conversation() {
    let mut world = World::friends(1);
    world.run(ALICE, send(BOB, "hello")).unwrap();
    world.run(BOB, send(ALICE, "hi")).unwrap();
    for (name, expected) in [(ALICE, ["> hello", "< hi"]), (BOB, ["< hello", "> hi"])] {
        let snapshot = world.snapshot(name);
        assert_eq!(lines(&snapshot, only(&snapshot)), expected);
    }
}

#[test]
fn a_closed_conversation_stays_readable_and_the_next_message_opens_another() {
    let mut world = World::friends(2);
    world.run(ALICE, send(BOB, "hello")).unwrap();
    let first = only(&world.snapshot(ALICE));
    world.run(ALICE, Command::CloseConversation(first)).unwrap();
    assert_eq!(world.fails(ALICE, Command::CloseConversation(first)), Code::Closed);
    assert_eq!(world.fails(ALICE, Command::CloseConversation(ConversationId(1))), Code::ConversationNotFound);
    world.run(BOB, send(ALICE, "again")).unwrap();
    let snapshot = world.snapshot(ALICE);
    assert_eq!(lines(&snapshot, first), ["> hello"]);
    assert!(snapshot.conversations[&first].conversation.closed_at.is_some());
    let second = *snapshot.conversations.keys().max().unwrap();
    assert_eq!(lines(&snapshot, second), ["< again"]);
}

#[test]
fn silence_closes_a_conversation() {
    let mut world = World::friends(3);
    world.run(ALICE, send(BOB, "hello")).unwrap();
    let id = only(&world.snapshot(ALICE));
    world.sim.run_for(Duration::from_secs(20 * 60));
    world.run(ALICE, send(BOB, "still there?")).unwrap();
    world.sim.run_for(Duration::from_secs(29 * 60));
    assert!(world.snapshot(ALICE).conversations[&id].conversation.closed_at.is_none());
    world.sim.run_for(Duration::from_secs(2 * 60));
    assert!(world.snapshot(ALICE).conversations[&id].conversation.closed_at.is_some());
}

#[test]
fn a_transcript_keeps_its_latest_lines() {
    let mut world = World::friends(4);
    world.restart_with(
        ALICE,
        |mut config| {
            config.limits.transcript_lines = 3;
            config
        },
        |node| node,
    );
    world.run(ALICE, Command::SignIn).unwrap();
    for text in ["1", "2", "3", "4"] {
        world.run(ALICE, send(BOB, text)).unwrap();
    }
    let snapshot = world.snapshot(ALICE);
    assert_eq!(lines(&snapshot, only(&snapshot)), ["> 2", "> 3", "> 4"]);
}

#[test]
fn old_conversations_make_room_for_new_ones() {
    let mut world = World::new(5);
    world.restart_with(
        ALICE,
        |mut config| {
            config.limits.conversations = 3;
            config
        },
        |node| node,
    );
    for n in 0..6 {
        world.say(ALICE, &format!("friend{n}"), "hello");
        world.settle();
    }
    let snapshot = world.snapshot(ALICE);
    assert_eq!(snapshot.conversations.size(), 3);
    let names: Vec<String> = snapshot
        .conversations
        .values()
        .map(|entry| entry.conversation.participants[0].address.to_string())
        .collect();
    assert!(
        names.iter().any(|name| name.contains("friend5"))
            && !names.iter().any(|name| name.contains("friend0"))
    );
}

#[test]
fn a_snapshot_is_not_changed_by_what_comes_after() {
    let mut world = World::friends(6);
    world.run(ALICE, send(BOB, "hello")).unwrap();
    let before = world.snapshot(ALICE);
    let id = only(&before);
    world.run(ALICE, send(BOB, "more")).unwrap();
    assert_eq!(lines(&before, id), ["> hello"]);
    assert_eq!(lines(&world.snapshot(ALICE), id).len(), 2);
    assert!(world.snapshot(ALICE).seq > before.seq);
}
