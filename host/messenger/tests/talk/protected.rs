//! Sessions are as protected as the signalling that sets them up (RFC 4975, section 14.4).

use std::time::Duration;

use attache_messenger::{command::Command, conversation::Mode, id::ConversationId, message::Draft};
use attache_sip::transport::Transport;

use crate::{
    streams::{Wires, config, config_with_tls},
    world::*,
};

/// These reach the service over TLS, those in the clear.
fn world(secret: &[&'static str], open: &[&'static str]) -> (World, Wires) {
    let mut world = World::new(40, &[]);
    for name in secret.iter().chain(open) {
        world.begin(name, |mut engine| {
            engine.msrp = Some(config_with_tls(name));
            if secret.contains(name) {
                engine.local = vec![(Transport::Tls, at(name))];
                engine.service = Some("sip:10.0.0.99:5060;transport=tls".to_owned());
            }
            engine
        });
    }
    world.settle();
    let all: Vec<_> = secret.iter().chain(open).copied().collect();
    (world, Wires::new(&all))
}

/// Begins a session and says something in it.
fn say(world: &mut World, wires: &mut Wires, name: &str, with: &str, text: &str) -> ConversationId {
    let command = Command::StartConversation {
        participants: vec![address(with)],
        subject: "".into(),
        context: None,
        mode: Some(Mode::Session),
    };
    let token = world.start(name, command);
    let id = world.accepted(name, token).conversation.unwrap();
    wires.run_for(world, Duration::from_secs(5));
    world.start(name, Command::Send(Draft::new(id, text)));
    wires.run_for(world, Duration::from_secs(10));
    id
}

#[test]
fn sessions_are_over_tls_where_the_service_is_reached_over_tls() {
    let (mut world, mut wires) = world(&["alice", "bob"], &[]);
    say(&mut world, &mut wires, "alice", "bob", "unseen");
    assert_eq!(world.received("bob"), ["unseen"]);
    assert_eq!((wires.made, wires.made_over_tls), (1, 1));
}

#[test]
fn whoever_signals_in_the_clear_takes_a_session_over_tls() {
    let (mut world, mut wires) = world(&["alice"], &["bob"]);
    say(&mut world, &mut wires, "alice", "bob", "unseen");
    assert_eq!(world.received("bob"), ["unseen"]);
    assert_eq!((wires.made, wires.made_over_tls), (1, 1));
}

#[test]
fn a_session_in_the_clear_is_not_taken_over_protected_signalling_and_messages_go_without() {
    let (mut world, mut wires) = world(&["alice"], &["bob"]);
    say(&mut world, &mut wires, "bob", "alice", "by message");
    assert_eq!(world.received("alice"), ["by message"]);
    assert_eq!(wires.made, 0);
}

#[test]
fn nothing_is_said_to_whoever_shows_another_certificate() {
    let (mut world, mut wires) = world(&["alice", "bob"], &[]);
    wires.impostor = Some("bob");
    say(&mut world, &mut wires, "alice", "bob", "unseen");
    assert!(wires.made_over_tls > 0, "somebody has tried");
    assert!(world.received("bob").is_empty());
}

#[test]
fn without_a_certificate_there_are_no_sessions_over_protected_signalling() {
    let mut world = World::new(41, &[]);
    for name in ["alice", "bob"] {
        world.begin(name, |mut engine| {
            engine.msrp = Some(config(name));
            engine.local = vec![(Transport::Tls, at(name))];
            engine.service = Some("sip:10.0.0.99:5060;transport=tls".to_owned());
            engine
        });
    }
    world.settle();
    let command = Command::StartConversation {
        participants: vec![address("bob")],
        subject: "".into(),
        context: None,
        mode: Some(Mode::Session),
    };
    assert!(world.run("alice", command).is_err());
}
