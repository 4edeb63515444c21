//! Conversations of several people, without a focus.

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    conversation::{Context, ConversationKind, MAX_PARTICIPANTS, Mode, ParticipantState},
    id::ConversationId,
    message::Draft,
    sim::Link,
    storage::{JournalEvent, RecordKind},
};

use crate::world::*;

fn start(people: &[&str], subject: &str, context: Option<Context>) -> Command {
    Command::StartConversation {
        participants: people.iter().map(|name| address(name)).collect(),
        subject: subject.into(),
        context,
        mode: None,
    }
}

fn begin(world: &mut World, name: &str, people: &[&str], subject: &str) -> ConversationId {
    let token = world.start(name, start(people, subject, None));
    let id = world.accepted(name, token).conversation.unwrap();
    world.finish(name, token).unwrap();
    id
}

fn say(world: &mut World, name: &str, id: ConversationId, text: &str) {
    world.run(name, Command::Send(Draft::new(id, text))).unwrap();
}

fn states(world: &mut World, name: &str, id: ConversationId) -> Vec<(String, ParticipantState)> {
    let snapshot = world.snapshot(name);
    let people = &snapshot.conversations[&id].conversation.participants;
    people.iter().map(|one| (one.address.to_string(), one.state)).collect()
}

fn order() -> Context {
    Context::new("application/json", r#"{"order": 4711}"#).unwrap()
}

#[test]
fn what_three_people_say_is_one_conversation_on_every_side() {
    let mut world = World::new(1, &["alice", "bob", "carol"]);
    let id = begin(&mut world, "alice", &["bob", "carol"], "Lunch");
    world.settle();
    say(&mut world, "alice", id, "at one?");
    for name in ["bob", "carol"] {
        let here = world.conversation(name);
        let entry = world.snapshot(name).conversations[&here].conversation.clone();
        assert_eq!((entry.kind, &*entry.subject), (ConversationKind::Group, "Lunch"));
        assert_eq!(entry.present().count(), 2, "{name} sees the two others");
        assert_eq!(world.lines(name, here), ["< at one?"]);
    }
    let bobs = world.conversation("bob");
    say(&mut world, "bob", bobs, "two is better");
    let carols = world.conversation("carol");
    assert_eq!(world.lines("carol", carols), ["< at one?", "< two is better"]);
    assert_eq!(
        world.lines("alice", id),
        ["joined sip:bob@example.com", "joined sip:carol@example.com", "> at one?", "< two is better"]
    );
}

#[test]
fn a_context_arrives_as_it_was_given_with_its_type_and_subject() {
    let mut world = World::new(2, &["alice", "bob"]);
    let bytes: Vec<u8> = (0..Context::MAX).map(|n| (n % 256) as u8).collect();
    let context = Context::new("application/octet-stream; name=\"x\"", bytes).unwrap();
    world.run("alice", start(&["bob"], "Bestellung für €5", Some(context.clone()))).unwrap();
    let id = world.conversation("bob");
    let seen = world.snapshot("bob").conversations[&id].conversation.clone();
    assert_eq!(seen.context.as_ref(), Some(&context));
    assert_eq!((&*seen.subject, seen.kind), ("Bestellung für €5", ConversationKind::Direct));
    // The answer belongs to it on both sides.
    say(&mut world, "bob", id, "thanks");
    let alices = world.conversation("alice");
    assert_eq!(world.lines("alice", alices).last().unwrap(), "< thanks");
}

#[test]
fn a_context_that_is_too_long_or_has_no_type_is_refused() {
    let long = Context::new("text/plain", vec![0; Context::MAX + 1]);
    assert_eq!(long.unwrap_err().code(), Code::SessionContextDataOverLimit);
    for wrong in ["", "text", "text/", "te xt/plain", "text/plain\r\nEvil: 1"] {
        assert_eq!(Context::new(wrong, "x").unwrap_err().code(), Code::InvalidArgument, "{wrong}");
    }
}

#[test]
fn a_conversation_that_cannot_be_is_refused_with_its_own_code() {
    let mut world = World::new(3, &["alice"]);
    assert_eq!(world.fails("alice", start(&[], "", None)), Code::SessionNoUserInvited);
    assert_eq!(world.fails("alice", start(&["alice"], "", None)), Code::SessionInvitedSelf);
    let many: Vec<String> = (0..=MAX_PARTICIPANTS).map(|n| format!("user{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(world.fails("alice", start(&many, "", None)), Code::SessionFull);
    assert_eq!(world.fails("alice", start(&["bob"], "two\nlines", None)), Code::InvalidArgument);
    let unknown = Command::AddParticipant { conversation: ConversationId(7), address: address("bob") };
    assert_eq!(world.fails("alice", unknown), Code::ConversationNotFound);
    assert!(world.snapshot("alice").conversations.is_empty());
}

#[test]
fn the_open_conversation_with_one_person_is_given_again() {
    let mut world = World::new(4, &["alice", "bob"]);
    let first = begin(&mut world, "alice", &["bob"], "");
    let again = begin(&mut world, "alice", &["bob"], "");
    assert_eq!(first, again);
    let other = begin(&mut world, "alice", &["bob"], "another matter");
    assert_ne!(first, other);
}

#[test]
fn whoever_is_added_is_told_of_the_others_and_they_of_them() {
    let mut world = World::new(5, &["alice", "bob", "carol"]);
    world.run("alice", Command::Send(Draft::new(address("bob"), "hello"))).unwrap();
    let id = world.conversation("alice");
    let add = Command::AddParticipant { conversation: id, address: address("carol") };
    world.run("alice", add.clone()).unwrap();
    world.settle();
    assert_eq!(world.told("alice"), ["conversation-opened", "participant-joined carol"]);
    let carols = world.conversation("carol");
    assert_eq!(states(&mut world, "carol", carols).len(), 2);
    say(&mut world, "carol", carols, "hi all");
    assert_eq!(world.lines("alice", id).last().unwrap(), "< hi all");
    // Bob's old conversation was between two, and has no name that he knew.
    let bobs: Vec<String> = world.told("bob");
    assert_eq!(bobs, ["conversation-opened", "conversation-opened"]);
    // Somebody who is there already is no change.
    world.run("alice", add).unwrap();
    assert_eq!(world.told("alice").len(), 2);
}

#[test]
fn whoever_is_taken_out_hears_of_it_and_gets_nothing_more() {
    let mut world = World::new(6, &["alice", "bob", "carol"]);
    let id = begin(&mut world, "alice", &["bob", "carol"], "");
    world.settle();
    let carols = world.conversation("carol");
    let remove = Command::RemoveParticipant { conversation: id, address: address("carol") };
    world.run("alice", remove.clone()).unwrap();
    world.settle();
    assert_eq!(world.told("carol").last().unwrap(), "conversation-closed");
    assert_eq!(world.told("bob").last().unwrap(), "participant-left carol");
    assert_eq!(world.told("alice").last().unwrap(), "participant-left carol");
    say(&mut world, "alice", id, "just us");
    assert!(world.lines("carol", carols).is_empty());
    assert_eq!(world.fails("carol", Command::Send(Draft::new(carols, "still here"))), Code::Closed);
    assert_eq!(world.fails("alice", remove), Code::NotFound);
}

#[test]
fn one_who_closes_a_conversation_of_several_has_left_it_for_the_others() {
    let mut world = World::new(7, &["alice", "bob", "carol"]);
    let id = begin(&mut world, "alice", &["bob", "carol"], "");
    world.settle();
    let bobs = world.conversation("bob");
    world.run("bob", Command::CloseConversation(bobs)).unwrap();
    world.settle();
    assert_eq!(world.told("alice").last().unwrap(), "participant-left bob");
    assert_eq!(world.told("carol").last().unwrap(), "participant-left bob");
    say(&mut world, "alice", id, "without bob");
    assert!(world.lines("bob", bobs).is_empty());
    let carols = world.conversation("carol");
    assert_eq!(world.lines("carol", carols).last().unwrap(), "< without bob");
}

#[test]
fn two_who_change_a_conversation_at_once_agree_in_the_end() {
    let mut world = World::new(8, &["alice", "bob", "carol", "dave"]);
    let id = begin(&mut world, "alice", &["bob", "carol"], "");
    world.settle();
    let bobs = world.conversation("bob");
    let one =
        world.start("alice", Command::RemoveParticipant { conversation: id, address: address("carol") });
    let other = world.start("bob", Command::AddParticipant { conversation: bobs, address: address("dave") });
    world.finish("alice", one).unwrap();
    world.finish("bob", other).unwrap();
    world.settle();
    let present = |world: &mut World, name: &str| {
        let id = world.conversation(name);
        let mut people: Vec<_> = states(world, name, id)
            .into_iter()
            .filter(|(_, state)| state.is_present())
            .map(|(who, _)| who)
            .chain([address(name).to_string()])
            .collect();
        people.sort();
        people
    };
    let expected = ["sip:alice@example.com", "sip:bob@example.com", "sip:dave@example.com"];
    for name in ["alice", "bob"] {
        assert_eq!(present(&mut world, name), expected, "{name}");
    }
}

#[test]
fn a_conversation_comes_together_over_a_bad_network() {
    for seed in 0..5 {
        let mut world = World::new(20 + seed, &["alice", "bob", "carol"]);
        world.sim.set_default_link(Link {
            loss: 0.25,
            duplicate: 0.2,
            reorder: 0.2,
            jitter: Duration::from_millis(80),
            ..Link::default()
        });
        let token = world.start("alice", start(&["bob", "carol"], "Storm", Some(order())));
        let id = world.accepted("alice", token).conversation.unwrap();
        world.finish("alice", token).unwrap();
        for n in 0..5 {
            say(&mut world, "alice", id, &format!("line {n}"));
        }
        world.sim.run_for(Duration::from_secs(300));
        for name in ["bob", "carol"] {
            let here = world.conversation(name);
            let entry = world.snapshot(name).conversations[&here].conversation.clone();
            assert_eq!((&*entry.subject, entry.context.clone()), ("Storm", Some(order())));
            let expected: Vec<_> = (0..5).map(|n| format!("< line {n}")).collect();
            assert_eq!(world.lines(name, here), expected, "{name}, seed {seed}");
        }
    }
}

#[test]
fn somebody_who_is_away_finds_the_conversation_when_they_are_back() {
    let mut world = World::new(9, &["alice", "bob"]);
    world.start_only("carol", |config| config);
    let id = begin(&mut world, "alice", &["bob", "carol"], "Later");
    say(&mut world, "alice", id, "read this when you are back");
    assert_eq!(
        states(&mut world, "alice", id),
        [
            ("sip:bob@example.com".to_owned(), ParticipantState::Joined),
            ("sip:carol@example.com".to_owned(), ParticipantState::Invited)
        ]
    );
    world.run("carol", Command::SignIn).unwrap();
    world.sim.run_for(Duration::from_secs(30));
    let carols = world.conversation("carol");
    assert_eq!(&*world.snapshot("carol").conversations[&carols].conversation.subject, "Later");
    assert_eq!(world.lines("carol", carols), ["< read this when you are back"]);
    say(&mut world, "carol", carols, "here I am");
    assert_eq!(world.told("alice").last().unwrap(), "participant-joined carol");
}

#[test]
fn somebody_who_does_not_exist_leaves_and_the_others_talk() {
    let mut world = World::new(10, &["alice", "bob"]);
    let id = begin(&mut world, "alice", &["bob", "nobody"], "");
    world.settle();
    assert_eq!(
        states(&mut world, "alice", id),
        [
            ("sip:bob@example.com".to_owned(), ParticipantState::Joined),
            ("sip:nobody@example.com".to_owned(), ParticipantState::Left)
        ]
    );
    say(&mut world, "alice", id, "hello");
    assert_eq!(world.fails("alice", start(&["nobody"], "x", None)), Code::UserNotFound);
}

#[test]
fn conversations_are_there_after_a_restart_and_go_on() {
    let mut world = World::new(11, &["alice", "bob", "carol"]);
    let id = begin(&mut world, "alice", &["bob", "carol"], "Budget");
    let closed = begin(&mut world, "alice", &["bob"], "Old");
    world.run("alice", Command::CloseConversation(closed)).unwrap();
    let before = world.snapshot("alice").conversations[&id].conversation.clone();
    world.begin("alice", |config| config);
    world.settle();
    let snapshot = world.snapshot("alice");
    assert_eq!(snapshot.conversations[&id].conversation, before);
    assert!(snapshot.conversations[&closed].conversation.closed_at.is_some());
    say(&mut world, "alice", id, "back again");
    let carols = world.conversation("carol");
    assert_eq!(world.lines("carol", carols), ["< back again"]);
    say(&mut world, "carol", carols, "good");
    assert_eq!(world.lines("alice", id).last().unwrap(), "< good");
}

#[test]
fn what_could_not_be_told_before_a_restart_is_told_after_it() {
    let mut world = World::new(12, &["bob"]);
    world.start_only("alice", |config| config);
    let token = world.start("alice", start(&["bob"], "Offline", Some(order())));
    let id = world.accepted("alice", token).conversation.unwrap();
    assert!(world.outcome("alice", token).is_none(), "nobody was told yet");
    world.begin("alice", |config| config);
    world.settle();
    let bobs = world.conversation("bob");
    assert_eq!(world.snapshot("bob").conversations[&bobs].conversation.context, Some(order()));
    assert_eq!(states(&mut world, "alice", id)[0].1, ParticipantState::Joined);
}

#[test]
fn a_conversation_that_silence_closed_goes_on_with_the_same_people() {
    let mut world = World::new(13, &["alice", "bob", "carol"]);
    begin(&mut world, "alice", &["bob", "carol"], "Slow");
    world.settle();
    let bobs = world.conversation("bob");
    say(&mut world, "bob", bobs, "one");
    // Bob keeps his open a little longer than the others theirs.
    world.sim.run_for(Duration::from_secs(29 * 60));
    let carols = world.conversation("carol");
    say(&mut world, "carol", carols, "two");
    world.sim.run_for(Duration::from_secs(31 * 60));
    for name in ["alice", "bob", "carol"] {
        assert!(world.snapshot(name).conversations.values().all(|entry| !entry.conversation.is_open()));
    }
    let group = world.snapshot("alice").conversations.values().next().unwrap().conversation.clone();
    assert_eq!((&*group.subject, group.present().count()), ("Slow", 2));
}

#[test]
fn a_stranger_does_not_speak_for_a_conversation() {
    let mut world = World::new(14, &["alice", "bob", "dave"]);
    begin(&mut world, "alice", &["bob"], "Private");
    let id = world.conversation("bob");
    let name = world
        .store("bob")
        .restored()
        .records
        .iter()
        .find(|record| record.kind == RecordKind::Conversation)
        .and_then(|record| serde_json::from_str::<serde_json::Value>(&record.value).ok())
        .and_then(|kept| kept["wire"].as_str().map(str::to_owned))
        .unwrap();
    // Dave learnt its name somehow, and begins a conversation of his own under it.
    let forged = world.store("dave");
    world.run("dave", start(&["bob"], "Forged", None)).unwrap();
    let record =
        forged.restored().records.into_iter().find(|record| record.kind == RecordKind::Conversation).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&record.value).unwrap();
    kept["wire"] = name.into();
    kept["untold"] = serde_json::json!(["sip:bob@example.com"]);
    let write = attache_messenger::storage::Write::PutRecord {
        kind: RecordKind::Conversation,
        key: record.key,
        value: Some(kept.to_string().into()),
    };
    forged.commit(attache_messenger::storage::Batch { writes: vec![write] }).unwrap();
    world.begin("dave", |config| config);
    world.settle();
    let private = world.snapshot("bob").conversations[&id].conversation.clone();
    assert_eq!(private.participants.len(), 1);
    assert_eq!(&*private.subject, "Private");
    // What dave writes under that name is not put into it either.
    let his = world.conversation("dave");
    say(&mut world, "dave", his, "let me in");
    assert!(world.lines("bob", id).is_empty());
}

#[test]
fn a_store_that_fails_begins_no_conversation() {
    let mut world = World::new(15, &["alice", "bob"]);
    let full = attache_messenger::storage::StorageError::Full("test".into());
    world.store("alice").fail_with(Some(full.clone()));
    assert_eq!(world.fails("alice", start(&["bob"], "x", None)), Code::StorageFull);
    world.store("alice").fail_with(None);
    assert!(world.snapshot("alice").conversations.is_empty());
    // The other side keeps it before it answers, so it is told again.
    world.store("bob").fail_with(Some(full));
    let token = world.start("alice", start(&["bob"], "again", None));
    world.settle();
    assert!(world.snapshot("bob").conversations.is_empty());
    world.store("bob").fail_with(None);
    world.finish("alice", token).unwrap();
    // The service kept it for bob meanwhile, and tries again by itself.
    world.sim.run_for(Duration::from_secs(600));
    let id = world.conversation("bob");
    assert_eq!(&*world.snapshot("bob").conversations[&id].conversation.subject, "again");
}

#[test]
fn messages_of_a_conversation_are_journalled_with_it() {
    let mut world = World::new(16, &["alice", "bob"]);
    begin(&mut world, "alice", &["bob"], "Kept");
    let id = world.conversation("bob");
    let alices = world.conversation("alice");
    say(&mut world, "alice", alices, "hello");
    let kept = world.store("bob").journal().into_iter().find_map(|entry| match entry.event {
        JournalEvent::MessageReceived(message) => Some(message.conversation),
        _ => None,
    });
    assert_eq!(kept, Some(id));
}

#[test]
fn sessions_are_refused_where_there_are_none() {
    let mut world = World::new(17, &["alice"]);
    let command = Command::StartConversation {
        participants: vec![address("bob")],
        subject: "".into(),
        context: None,
        mode: Some(Mode::Session),
    };
    assert_eq!(world.fails("alice", command), Code::UnsupportedByService);
}
