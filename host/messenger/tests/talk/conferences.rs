//! Conversations that the focus of the service holds together (RFC 4579, RFC 4575, RFC 5366).

use std::time::Duration;

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    conversation::{ConversationKind, Mode, ParticipantState},
    engine::EngineConfig,
    id::ConversationId,
    message::{Draft, MessageState},
};

use crate::{sessions::Sessions, streams::config, world::*};

const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

fn sessions(seed: u64, people: &[&'static str]) -> Sessions {
    Sessions::with(seed, people, |mut config| {
        config.conference = Some(Address::parse(FACTORY).unwrap());
        config
    })
}

fn meet(sessions: &mut Sessions, name: &str, people: &[&str]) -> ConversationId {
    let command = Command::StartConversation {
        participants: people.iter().map(|name| address(name)).collect(),
        subject: "Lunch".into(),
        context: None,
        mode: None,
    };
    let token = sessions.world.start(name, command);
    let id = sessions.world.accepted(name, token).conversation.unwrap();
    sessions.settle();
    sessions.world.outcome(name, token).unwrap().unwrap();
    id
}

fn people(sessions: &mut Sessions, name: &str, id: ConversationId) -> Vec<(String, ParticipantState)> {
    let conversation = sessions.world.snapshot(name).conversations[&id].conversation.clone();
    let mut people: Vec<_> =
        conversation.participants.iter().map(|one| (one.address.to_string(), one.state)).collect();
    people.sort_by(|one, other| one.0.cmp(&other.0));
    people
}

fn joined(names: &[&str]) -> Vec<(String, ParticipantState)> {
    names.iter().map(|name| (address(name).to_string(), ParticipantState::Joined)).collect()
}

#[test]
fn several_people_meet_at_the_focus_of_the_service() {
    let mut sessions = sessions(1, &PEOPLE);
    let id = meet(&mut sessions, "alice", &["bob", "carol"]);
    sessions.settle();
    for name in PEOPLE {
        let here = sessions.world.conversation(name);
        let seen = sessions.world.snapshot(name).conversations[&here].conversation.clone();
        assert_eq!((seen.kind, seen.mode), (ConversationKind::Conference, Mode::Session), "{name}");
        assert_eq!(&*seen.subject, "Lunch", "{name}");
        assert!(seen.focus.is_some());
        let others: Vec<_> = PEOPLE.into_iter().filter(|other| *other != name).collect();
        assert_eq!(people(&mut sessions, name, here), joined(&others), "{name}");
    }
    sessions.say("alice", id, "at one?").unwrap();
    let bobs = sessions.world.conversation("bob");
    sessions.say("bob", bobs, "two is better").unwrap();
    sessions.settle();
    let carols = sessions.world.conversation("carol");
    let said: Vec<_> =
        sessions.world.lines("carol", carols).into_iter().filter(|line| line.starts_with('<')).collect();
    assert_eq!(said, ["< at one?", "< two is better"]);
    assert_eq!(sessions.world.lines("alice", id).last().unwrap(), "< two is better");
    // Who wrote is said by the focus.
    let senders: Vec<_> = sessions
        .world
        .store("carol")
        .journal()
        .into_iter()
        .filter_map(|entry| match entry.event {
            attache_messenger::storage::JournalEvent::MessageReceived(message) => {
                Some(message.sender.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(senders, [address("alice"), address("bob")]);
}

#[test]
fn what_is_said_before_a_conference_has_begun_waits_for_it() {
    let mut sessions = sessions(6, &PEOPLE);
    let command = Command::StartConversation {
        participants: vec![address("bob"), address("carol")],
        subject: "".into(),
        context: None,
        mode: None,
    };
    let token = sessions.world.start("alice", command);
    let id = sessions.world.accepted("alice", token).conversation.unwrap();
    sessions.say("alice", id, "first of all").unwrap();
    sessions.settle();
    assert_eq!(sessions.world.lines("alice", id)[0], "> first of all");
}

#[test]
fn the_focus_asks_people_in_and_sends_them_away() {
    let mut sessions = sessions(2, &["alice", "bob", "carol", "dave"]);
    let id = meet(&mut sessions, "alice", &["bob", "carol"]);
    sessions.settle();
    let add = Command::AddParticipant { conversation: id, address: address("dave") };
    sessions.run("alice", add).unwrap();
    sessions.settle();
    assert_eq!(people(&mut sessions, "alice", id), joined(&["bob", "carol", "dave"]));
    assert!(sessions.world.told("bob").contains(&"participant-joined dave".to_owned()));
    let daves = sessions.world.conversation("dave");
    sessions.say("dave", daves, "here I am").unwrap();
    let away = Command::RemoveParticipant { conversation: id, address: address("carol") };
    sessions.run("alice", away).unwrap();
    sessions.settle();
    assert_eq!(sessions.world.told("carol").last().unwrap(), "conversation-closed");
    assert!(sessions.world.told("bob").contains(&"participant-left carol".to_owned()));
    assert!(sessions.world.told("alice").contains(&"participant-left carol".to_owned()));
    let nobody = Command::AddParticipant { conversation: id, address: address("nobody") };
    assert_eq!(sessions.run("alice", nobody).unwrap_err().code(), Code::UserNotFound);
}

#[test]
fn whoever_closes_a_conference_leaves_it() {
    let mut sessions = sessions(3, &PEOPLE);
    let id = meet(&mut sessions, "alice", &["bob", "carol"]);
    sessions.settle();
    sessions.run("alice", Command::CloseConversation(id)).unwrap();
    sessions.settle();
    assert!(sessions.world.told("bob").contains(&"participant-left alice".to_owned()));
    let bobs = sessions.world.conversation("bob");
    sessions.say("bob", bobs, "without alice").unwrap();
    sessions.settle();
    assert_eq!(sessions.received("carol"), ["without alice"]);
    assert!(sessions.received("alice").is_empty());
}

#[test]
fn without_a_focus_each_sends_to_all_the_others() {
    let mut sessions = Sessions::with(4, &PEOPLE, |mut config| {
        // The service has none there.
        config.conference = Some(Address::parse("sip:nobody@example.com").unwrap());
        config
    });
    let id = meet(&mut sessions, "alice", &["bob", "carol"]);
    sessions.say("alice", id, "hello").unwrap();
    let kind = sessions.world.snapshot("alice").conversations[&id].conversation.kind;
    assert_eq!(kind, ConversationKind::Group);
    assert_eq!(sessions.received("bob"), ["hello"]);
    assert_eq!(sessions.received("carol"), ["hello"]);
}

#[test]
fn a_conference_is_joined_again_after_its_connection_broke_and_after_a_restart() {
    let mut sessions = sessions(5, &PEOPLE);
    let id = meet(&mut sessions, "alice", &["bob", "carol"]);
    sessions.settle();
    sessions.wires.cut_off("alice");
    sessions.settle();
    sessions.say("alice", id, "still here").unwrap();
    sessions.world.begin("alice", |mut engine| {
        engine.msrp = Some(config("alice"));
        engine.conference = Some(Address::parse(FACTORY).unwrap());
        engine
    });
    sessions.wires.run_for(&mut sessions.world, Duration::from_secs(20));
    sessions.say("alice", id, "and back").unwrap();
    sessions.settle();
    assert_eq!(sessions.received("bob"), ["still here", "and back"]);
    assert_eq!(people(&mut sessions, "alice", id), joined(&["bob", "carol"]));
}

fn begin(sessions: &mut Sessions, name: &str, people: &[&str]) -> (u64, ConversationId) {
    let command = Command::StartConversation {
        participants: people.iter().map(|name| address(name)).collect(),
        subject: "".into(),
        context: None,
        mode: None,
    };
    let token = sessions.world.start(name, command);
    (token, sessions.world.accepted(name, token).conversation.unwrap())
}

/// The service has no focus there.
fn without_focus(mut config: EngineConfig) -> EngineConfig {
    config.conference = Some(Address::parse("sip:nobody@example.com").unwrap());
    config
}

#[test]
fn what_was_said_to_a_conference_that_never_began_reaches_everybody_once() {
    let mut sessions = Sessions::with(7, &PEOPLE, without_focus);
    let (_, id) = begin(&mut sessions, "alice", &["bob", "carol"]);
    let texts = ["first of all", "second", "third"];
    let tokens = texts.map(|text| sessions.world.start("alice", Command::Send(Draft::new(id, text))));
    sessions.settle();
    for token in tokens {
        assert_eq!(sessions.world.outcome("alice", token), Some(Ok(())));
    }
    for name in ["bob", "carol"] {
        assert_eq!(sessions.received(name), texts, "{name}");
        let here = sessions.world.conversation(name);
        assert_eq!(
            sessions.world.snapshot(name).conversations[&here].conversation.kind,
            ConversationKind::Group
        );
    }
    let snapshot = sessions.world.snapshot("alice");
    assert!(snapshot.outbox.is_empty());
    let delivered = snapshot.deliveries.values().all(|each| {
        each.len() == 2
            && each.iter().all(|one| matches!(one.state, MessageState::Delivered | MessageState::Sent))
    });
    assert!(delivered);
    assert!(sessions.world.store("alice").restored().outbox.is_empty());
}

#[test]
fn what_was_said_to_a_conference_is_not_lost_by_a_restart_before_it_began() {
    let mut sessions = Sessions::with(8, &PEOPLE, without_focus);
    sessions.run("alice", Command::SignOut).unwrap();
    let (_, id) = begin(&mut sessions, "alice", &["bob", "carol"]);
    let token = sessions.world.start("alice", Command::Send(Draft::new(id, "kept")));
    assert!(sessions.world.accepted("alice", token).message.is_some());
    sessions.world.begin("alice", |mut engine| {
        engine.msrp = Some(config("alice"));
        without_focus(engine)
    });
    sessions.settle();
    for name in ["bob", "carol"] {
        assert_eq!(sessions.received(name), ["kept"], "{name}");
    }
    assert!(sessions.world.store("alice").restored().outbox.is_empty());
}

#[test]
fn silence_ends_no_conference() {
    let mut sessions = Sessions::with(9, &PEOPLE, |mut config| {
        config.conference = Some(Address::parse(FACTORY).unwrap());
        config.conversation_idle = Duration::from_secs(30);
        config
    });
    meet(&mut sessions, "alice", &["bob", "carol"]);
    sessions.wires.run_for(&mut sessions.world, Duration::from_secs(100));
    for name in PEOPLE {
        let id = sessions.world.conversation(name);
        assert!(!sessions.world.told(name).contains(&"conversation-closed".to_owned()), "{name}");
        assert_eq!(people(&mut sessions, name, id).len(), 2, "{name}");
    }
    let bobs = sessions.world.conversation("bob");
    sessions.say("bob", bobs, "anybody there?").unwrap();
    assert_eq!(sessions.received("carol"), ["anybody there?"]);
}

#[test]
fn whoever_only_listens_is_back_after_the_connection_broke() {
    let mut sessions = sessions(10, &PEOPLE);
    let id = meet(&mut sessions, "alice", &["bob", "carol"]);
    sessions.settle();
    sessions.wires.cut_off("alice");
    sessions.wires.run_for(&mut sessions.world, Duration::from_secs(30));
    let bobs = sessions.world.conversation("bob");
    sessions.say("bob", bobs, "still there?").unwrap();
    sessions.settle();
    assert_eq!(sessions.world.lines("alice", id).last().unwrap(), "< still there?");
}

#[test]
fn a_conference_that_is_closed_before_it_began_is_waited_for_no_longer() {
    let mut sessions = sessions(11, &PEOPLE);
    let (token, id) = begin(&mut sessions, "alice", &["bob", "carol"]);
    sessions.run("alice", Command::CloseConversation(id)).unwrap();
    sessions.settle();
    assert_eq!(sessions.world.outcome("alice", token).unwrap().unwrap_err().code(), Code::UserCancelled);
}

#[test]
fn what_is_not_sent_when_a_conference_is_left_calls_nobody_into_a_new_one() {
    let mut sessions = sessions(12, &PEOPLE);
    sessions.run("alice", Command::SignOut).unwrap();
    let (_, id) = begin(&mut sessions, "alice", &["bob", "carol"]);
    let token = sessions.world.start("alice", Command::Send(Draft::new(id, "too late")));
    sessions.run("alice", Command::CloseConversation(id)).unwrap();
    sessions.run("alice", Command::SignIn).unwrap();
    sessions.settle();
    assert_eq!(
        sessions.world.outcome("alice", token).unwrap().unwrap_err().code(),
        Code::RecipientUnavailable
    );
    assert!(sessions.world.snapshot("bob").conversations.is_empty());
    assert_eq!(sessions.wires.made, 0);
}
