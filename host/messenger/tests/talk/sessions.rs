//! Messages in sessions (RFC 4975).

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    conversation::{ConversationKind, Mode},
    engine::EngineConfig,
    error::Error,
    event::EventKind,
    id::ConversationId,
    message::{Draft, MessageState, Text},
    storage::JournalEvent,
};

use crate::{
    phone::{Manner, Phone},
    streams::{Wires, config},
    world::*,
};

pub(crate) struct Sessions {
    pub(crate) world: World,
    pub(crate) wires: Wires,
}

impl Sessions {
    fn new(seed: u64, people: &[&'static str]) -> Self {
        Self::with(seed, people, |config| config)
    }

    pub(crate) fn with(
        seed: u64,
        people: &[&'static str],
        change: impl Fn(EngineConfig) -> EngineConfig,
    ) -> Self {
        let mut world = World::new(seed, &[]);
        for name in people {
            world.begin(name, |mut engine| {
                engine.msrp = Some(config(name));
                change(engine)
            });
        }
        world.settle();
        Self { world, wires: Wires::new(people) }
    }

    pub(crate) fn run(&mut self, name: &str, command: Command) -> Result<(), Error> {
        let token = self.world.start(name, command);
        let done = self.wires.run_until(&mut self.world, Duration::from_secs(120), |world| {
            world.outcome(name, token).is_some()
        });
        assert!(done, "the command never completed");
        self.world.outcome(name, token).unwrap()
    }

    pub(crate) fn settle(&mut self) {
        self.wires.run_for(&mut self.world, Duration::from_secs(5));
    }

    fn begin(&mut self, name: &str, with: &str) -> ConversationId {
        let command = Command::StartConversation {
            participants: vec![address(with)],
            subject: "".into(),
            context: None,
            mode: Some(Mode::Session),
        };
        let token = self.world.start(name, command);
        let id = self.world.accepted(name, token).conversation.unwrap();
        self.settle();
        self.world.outcome(name, token).unwrap().unwrap();
        id
    }

    pub(crate) fn say(&mut self, name: &str, id: ConversationId, text: &str) -> Result<(), Error> {
        self.run(name, Command::Send(Draft::new(id, text)))
    }

    fn states(&self, name: &str) -> Vec<MessageState> {
        let state = |entry: attache_messenger::storage::JournalEntry| match entry.event {
            JournalEvent::MessageStateChanged { state, .. } => Some(state),
            _ => None,
        };
        self.world.store(name).journal().into_iter().filter_map(state).collect()
    }

    pub(crate) fn received(&self, name: &str) -> Vec<String> {
        self.world.received(name)
    }
}

#[test]
fn a_session_carries_messages_both_ways_over_one_connection() {
    let mut sessions = Sessions::new(1, &["alice", "bob"]);
    let id = sessions.begin("alice", "bob");
    sessions.say("alice", id, "hello").unwrap();
    let bobs = sessions.world.conversation("bob");
    sessions.say("bob", bobs, "hi").unwrap();
    sessions.say("alice", id, "how are you?").unwrap();
    assert_eq!(sessions.world.lines("alice", id), ["> hello", "< hi", "> how are you?"]);
    assert_eq!(sessions.world.lines("bob", bobs), ["< hello", "> hi", "< how are you?"]);
    assert_eq!(sessions.wires.made, 1);
    assert_eq!(sessions.states("alice"), [MessageState::Delivered, MessageState::Delivered]);
    for (name, id) in [("alice", id), ("bob", bobs)] {
        let mode = sessions.world.snapshot(name).conversations[&id].conversation.mode;
        assert_eq!(mode, Mode::Session, "{name}");
    }
}

#[test]
fn a_text_that_is_too_long_for_a_message_goes_by_a_session() {
    let mut sessions = Sessions::new(2, &["alice", "bob"]);
    let long = "x".repeat(300_000);
    sessions.run("alice", Command::Send(Draft::new(address("bob"), "short"))).unwrap();
    assert_eq!(sessions.wires.made, 0);
    sessions.run("alice", Command::Send(Draft::new(address("bob"), Text::new(long.as_str())))).unwrap();
    assert_eq!(sessions.wires.made, 1);
    assert_eq!(sessions.received("bob"), ["short", long.as_str()]);
    let longer = "x".repeat(2_000_000);
    let error = sessions.run("alice", Command::Send(Draft::new(address("bob"), Text::new(longer.as_str()))));
    assert_eq!(error.unwrap_err().code(), Code::MessageTooLong);
}

#[test]
fn a_session_that_breaks_loses_nothing_and_brings_nothing_twice() {
    let mut sessions = Sessions::new(3, &["alice", "bob"]);
    let id = sessions.begin("alice", "bob");
    let texts: Vec<String> = (0..12).map(|n| format!("line {n} {}", "y".repeat(4_000))).collect();
    let mut tokens = Vec::new();
    for text in &texts {
        tokens.push(sessions.world.start("alice", Command::Send(Draft::new(id, text.as_str()))));
    }
    // Cut again and again, in the middle of whatever is under way.
    for _ in 0..6 {
        sessions.wires.run_for(&mut sessions.world, Duration::from_millis(140));
        sessions.wires.cut();
    }
    sessions.wires.run_for(&mut sessions.world, Duration::from_secs(300));
    for token in tokens {
        assert_eq!(sessions.world.outcome("alice", token), Some(Ok(())));
    }
    assert_eq!(sessions.received("bob"), texts);
    assert!(sessions.wires.made > 1);
}

#[test]
fn whoever_knows_no_sessions_gets_each_message_by_itself() {
    let mut sessions = Sessions::new(4, &["alice"]);
    sessions.world.begin("bob", |config| config);
    let id = sessions.begin("alice", "bob");
    sessions.say("alice", id, "hello").unwrap();
    assert_eq!(sessions.received("bob"), ["hello"]);
    let mode = sessions.world.snapshot("alice").conversations[&id].conversation.mode;
    assert_eq!(mode, Mode::Pager);
    let long = "x".repeat(60_000);
    let error = sessions.run("alice", Command::Send(Draft::new(address("bob"), Text::new(long.as_str()))));
    assert_eq!(error.unwrap_err().code(), Code::MessageTooLong);
}

#[test]
fn closing_a_conversation_ends_its_session() {
    let mut sessions = Sessions::new(5, &["alice", "bob"]);
    let id = sessions.begin("alice", "bob");
    sessions.say("alice", id, "hello").unwrap();
    sessions.run("alice", Command::CloseConversation(id)).unwrap();
    sessions.settle();
    // The next one begins anew.
    let bobs = sessions.world.conversation("bob");
    sessions.say("bob", bobs, "still there?").unwrap();
    assert_eq!(sessions.received("alice"), ["still there?"]);
    assert_eq!(sessions.wires.made, 1, "bob's came by itself");
}

#[test]
fn a_session_that_waits_for_the_store_is_answered_when_the_message_is_durable() {
    let mut sessions = Sessions::new(6, &["alice", "bob"]);
    let id = sessions.begin("alice", "bob");
    let full = attache_messenger::storage::StorageError::Full("test".into());
    sessions.world.store("bob").fail_with(Some(full));
    let token = sessions.world.start("alice", Command::Send(Draft::new(id, "keep this")));
    sessions.wires.run_for(&mut sessions.world, Duration::from_secs(10));
    assert!(sessions.world.outcome("alice", token).is_none(), "bob has not kept it");
    sessions.world.store("bob").fail_with(None);
    sessions.wires.run_for(&mut sessions.world, Duration::from_secs(120));
    assert_eq!(sessions.world.outcome("alice", token), Some(Ok(())));
    assert_eq!(sessions.received("bob"), ["keep this"]);
}

#[test]
fn a_phone_that_is_asked_for_a_session_does_not_disturb_anybody() {
    let mut sessions = Sessions::new(7, &["alice"]);
    Phone::add(&mut sessions.world.sim, "bob", Manner::Refuses(488));
    sessions.settle();
    let id = sessions.begin("alice", "bob");
    sessions.settle();
    let mode = sessions.world.snapshot("alice").conversations[&id].conversation.mode;
    assert_eq!(mode, Mode::Pager);
}

#[test]
fn everybody_in_a_group_gets_a_text_that_is_too_long_for_a_message() {
    let mut sessions = Sessions::new(8, &["alice", "bob", "carol"]);
    let command = Command::StartConversation {
        participants: vec![address("bob"), address("carol")],
        subject: "".into(),
        context: None,
        mode: None,
    };
    let token = sessions.world.start("alice", command);
    let id = sessions.world.accepted("alice", token).conversation.unwrap();
    sessions.settle();
    let long = "x".repeat(60_000);
    sessions.say("alice", id, &long).unwrap();
    for name in ["bob", "carol"] {
        assert_eq!(sessions.received(name), [long.as_str()], "{name}");
        let here = sessions.world.conversation(name);
        assert_eq!(sessions.world.lines(name, here).len(), 1, "{name}: it belongs to the group");
    }
}

#[test]
fn a_session_of_two_people_ends_when_there_are_several() {
    let mut sessions = Sessions::new(9, &["alice", "bob"]);
    // She knows no sessions.
    sessions.world.begin("carol", |config| config);
    let id = sessions.begin("alice", "bob");
    sessions.run("alice", Command::AddParticipant { conversation: id, address: address("carol") }).unwrap();
    sessions.say("alice", id, "now we are three").unwrap();
    for name in ["bob", "carol"] {
        assert_eq!(sessions.received(name), ["now we are three"], "{name}");
    }
    let conversation = sessions.world.snapshot("alice").conversations[&id].conversation.clone();
    assert_eq!((conversation.kind, conversation.mode), (ConversationKind::Group, Mode::Pager));
    assert_eq!(sessions.wires.made, 1);
}

#[test]
fn a_conversation_that_begins_by_a_session_is_shown_so_from_its_beginning() {
    let mut sessions = Sessions::new(10, &["alice", "bob"]);
    sessions.begin("alice", "bob");
    let opened = sessions.world.events("bob").into_iter().find_map(|event| match event.kind {
        EventKind::ConversationOpened(conversation) => Some(conversation.mode),
        _ => None,
    });
    assert_eq!(opened, Some(Mode::Session));
}
