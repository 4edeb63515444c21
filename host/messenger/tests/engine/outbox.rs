//! The outbox: several recipients, taking back, expiry, and what readers see of it.

use std::{sync::Arc, time::Duration};

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    event::EventKind,
    id::MessageId,
    message::{Content, Draft, MessageState, Payload, Target, Text, WaitReason},
    sim::EngineNode,
};

use crate::world::*;

fn to_all(people: &[&str], text: &str) -> Command {
    let people: Arc<[Address]> = people.iter().map(|name| address(name)).collect();
    Command::Send(Draft::new(Target::Addresses(people), text))
}

/// The handle of a message that was accepted.
fn message(world: &mut World, name: &str, token: u64) -> MessageId {
    world.with(name, |node| node.answer(token).unwrap().as_ref().unwrap().message.unwrap())
}

fn states(world: &mut World, name: &str, id: MessageId) -> Vec<(String, &'static str)> {
    let snapshot = world.snapshot(name);
    let user = |address: &Address| address.canonical()[4..].split('@').next().unwrap().to_owned();
    snapshot.deliveries[&id].iter().map(|one| (user(&one.recipient), one.state.name())).collect()
}

#[test]
fn a_message_to_several_people_is_one_with_a_state_for_each() {
    let mut world = World::friends(1);
    world.service(|service| service.offline_store = true);
    let token = world.start(ALICE, to_all(&[BOB, "carol", "nobody", BOB], "hello all"));
    world.settle();
    let id = message(&mut world, ALICE, token);
    let expected = [("bob", "delivered"), ("carol", "sent"), ("nobody", "failed")];
    assert_eq!(states(&mut world, ALICE, id), expected.map(|(who, state)| (who.to_owned(), state)));
    let outcome = world.with(ALICE, |node| node.outcome(token)).unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::UserNotFound, "it failed for one of them");
    assert_eq!(world.received(BOB), ["hello all"]);
    assert!(world.store(ALICE).outbox().is_empty());
    assert!(world.snapshot(ALICE).outbox.is_empty());
    let line = world.store(ALICE).lines().pop().unwrap();
    assert_eq!((line.peer.clone(), line.others.len()), (address(BOB), 2));
}

#[test]
fn after_a_restart_a_message_goes_to_those_alone_who_do_not_have_it() {
    let mut world = World::friends(2);
    world.service(|service| service.script.insert("MESSAGE".into(), vec![200, 500]));
    let token = world.start(ALICE, to_all(&[BOB, "carol"], "hello"));
    world.sim.run_for(Duration::from_secs(1));
    let id = message(&mut world, ALICE, token);
    let waits = &world.store(ALICE).outbox()[0].pending;
    assert_eq!(waits.as_slice(), [address("carol")]);
    world.restart(ALICE);
    world.service(|service| service.offline_store = true);
    let before = world.service(|service| service.count("MESSAGE"));
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.service(|service| service.count("MESSAGE")) - before, 1);
    let expected = [("bob", "delivered"), ("carol", "sent")];
    assert_eq!(states(&mut world, ALICE, id), expected.map(|(who, state)| (who.to_owned(), state)));
}

#[test]
fn too_many_recipients_and_none_are_refused() {
    let mut world = World::friends(3);
    let many: Vec<String> = (0..101).map(|n| format!("person-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(world.fails(ALICE, to_all(&many, "hello")), Code::InvalidArgument);
    assert_eq!(world.fails(ALICE, to_all(&[], "hello")), Code::SessionNoUserInvited);
    assert_eq!(world.fails(ALICE, to_all(&[BOB, ALICE], "hello")), Code::SessionInvitedSelf);
}

#[test]
fn a_message_that_waits_is_taken_back() {
    let mut world = World::friends(4);
    world.run(ALICE, Command::SignOut).unwrap();
    let (first, second) = (world.say(ALICE, BOB, "one"), world.say(ALICE, BOB, "two"));
    world.settle();
    let id = message(&mut world, ALICE, first);
    world.run(ALICE, Command::CancelMessage(id)).unwrap();
    let outcome = world.with(ALICE, |node| node.outcome(first)).unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::UserCancelled);
    assert_eq!(states(&mut world, ALICE, id), [("bob".to_owned(), "cancelled")]);
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.received(BOB), ["two"]);
    assert!(world.with(ALICE, |node| node.outcome(second)).unwrap().is_ok());
    assert_eq!(world.fails(ALICE, Command::CancelMessage(id)), Code::TooLate);
}

#[test]
fn a_message_that_is_under_way_cannot_be_taken_back() {
    let mut world = World::friends(5);
    world.restart_with(BOB, |config| config, |node| node.commit_delay(Duration::from_secs(2)));
    world.run(BOB, Command::SignIn).unwrap();
    world.settle();
    let token = world.say(ALICE, BOB, "one");
    world.sim.run_for(Duration::from_millis(500));
    let id = message(&mut world, ALICE, token);
    assert_eq!(world.fails(ALICE, Command::CancelMessage(id)), Code::TooLate);
    world.settle();
    assert_eq!(world.received(BOB), ["one"]);
    assert_eq!(world.fails(ALICE, Command::CancelMessage(MessageId(1))), Code::NotFound);
}

#[test]
fn a_message_that_may_have_arrived_is_not_sent_again_and_that_is_said() {
    let mut world = World::friends(6);
    world.sim.partition(at(ALICE), SERVICE.into());
    let token = world.say(ALICE, BOB, "one");
    world.settle();
    let id = message(&mut world, ALICE, token);
    let paused = world.sim.run_until(Duration::from_secs(600), |sim| {
        sim.with(at(ALICE), |node: &mut EngineNode, _| {
            node.snapshot().outbox[&id].waiting[0].reason == WaitReason::Retry
        })
    });
    assert!(paused);
    assert_eq!(world.fails(ALICE, Command::CancelMessage(id)), Code::TooLate);
    world.settle();
    assert!(matches!(world.states(ALICE)[..], [MessageState::Failed(_)]));
    world.sim.heal(at(ALICE), SERVICE.into());
    world.sim.run_for(Duration::from_secs(600));
    assert!(world.received(BOB).is_empty());
}

#[test]
fn of_several_recipients_those_are_spared_to_whom_it_has_not_left() {
    let mut world = World::friends(7);
    world.service(|service| service.offline_store = true);
    world.service(|service| service.script.insert("MESSAGE".into(), vec![500]));
    // Carol's first attempt fails, Bob's goes through.
    let token = world.start(ALICE, to_all(&["carol", BOB], "hello"));
    world.sim.run_for(Duration::from_millis(500));
    let id = message(&mut world, ALICE, token);
    assert_eq!(world.fails(ALICE, Command::CancelMessage(id)), Code::TooLate);
    world.settle();
    assert_eq!(
        states(&mut world, ALICE, id),
        [("carol".to_owned(), "cancelled"), ("bob".to_owned(), "delivered")]
    );
}

#[test]
fn why_a_message_waits_is_visible() {
    let mut world = World::friends(8);
    world.service(|service| service.script.insert("MESSAGE".into(), vec![503; 3]));
    world.with(ALICE, EngineNode::take_events);
    let (first, second) = (world.say(ALICE, BOB, "one"), world.say(ALICE, BOB, "two"));
    world.sim.run_for(Duration::from_millis(200));
    let (first, second) = (message(&mut world, ALICE, first), message(&mut world, ALICE, second));
    let snapshot = world.snapshot(ALICE);
    let waiting = &snapshot.outbox[&first].waiting[0];
    assert_eq!((waiting.reason, waiting.attempts), (WaitReason::Retry, 1));
    assert_eq!(waiting.last_error.as_ref().unwrap().code(), Code::ServerUnavailable);
    assert!(waiting.next_try.is_some());
    assert_eq!(snapshot.outbox[&second].waiting[0].reason, WaitReason::Turn);
    let told = world
        .with(ALICE, EngineNode::take_events)
        .into_iter()
        .filter(|event| matches!(&event.kind, EventKind::OutboxChanged(item) if item.message.id == first));
    assert_eq!(told.count(), 1);
    world.sim.run_for(Duration::from_secs(600));
    assert!(world.snapshot(ALICE).outbox.is_empty());
    assert_eq!(world.received(BOB), ["one", "two"]);
}

#[test]
fn a_message_that_is_worth_nothing_any_more_is_not_sent() {
    let mut world = World::friends(9);
    world.run(ALICE, Command::SignOut).unwrap();
    let draft =
        |text: &str, after| Command::Send(Draft::new(address(BOB), text).expires(Duration::from_secs(after)));
    let late = world.start(ALICE, draft("late", 60));
    world.start(ALICE, draft("in time", 86_400));
    world.sim.run_for(Duration::from_secs(120));
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.received(BOB), ["in time"]);
    let outcome = world.with(ALICE, |node| node.outcome(late)).unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::SessionTimeout);
    let sent = |text: &str| {
        let mut sent = world.sim.trace().iter().filter(|packet| packet.is("MESSAGE"));
        sent.any(|packet| String::from_utf8_lossy(&packet.payload).contains(text))
    };
    assert!(sent("\r\nExpires: 862"), "the rest of its time goes with it");
    assert!(sent("\r\nDate: Sat, 31 Jan 2026 09:0"));
}

#[test]
fn other_types_go_as_bytes_to_those_who_take_them() {
    let png = Content::Other { media_type: "image/png".into(), bytes: Payload::new(&b"\x89PNG"[..]) };
    let mut world = World::friends(10);
    let send = |world: &mut World| world.run(ALICE, Command::Send(Draft::new(address(BOB), png.clone())));
    assert_eq!(send(&mut world).unwrap_err().code(), Code::NotAcceptingPages);
    world.restart_with(
        BOB,
        |mut config| {
            config.accept = vec!["image/*".into()];
            config
        },
        |node| node,
    );
    world.run(BOB, Command::SignIn).unwrap();
    send(&mut world).unwrap();
    assert_eq!(received(&world.store(BOB)).pop().unwrap().content, png);
}

#[test]
fn what_is_no_content_is_refused() {
    let mut world = World::friends(11);
    let other = |media_type: &str, bytes: &'static [u8]| Content::Other {
        media_type: media_type.into(),
        bytes: Payload::new(bytes),
    };
    for (content, code) in [
        (other("image/png", b""), Code::InvalidArgument),
        (other("image", b"x"), Code::InvalidArgument),
        (other("image/png\r\nEvil: yes", b"x"), Code::InvalidArgument),
        (other("message/imdn+xml", b"x"), Code::InvalidArgument),
        (other("multipart/mixed", b"x"), Code::InvalidArgument),
        (Content::Html { html: Text::new("<p>x"), plain: Text::new("") }, Code::InvalidArgument),
        (Content::from("x".repeat(Content::MAX + 1).as_str()), Code::MessageTooLong),
    ] {
        assert_eq!(world.fails(ALICE, Command::Send(Draft::new(address(BOB), content))), code);
    }
    let subject = Draft::new(address(BOB), "x").subject("a\r\nb");
    assert_eq!(world.fails(ALICE, Command::Send(subject)), Code::InvalidArgument);
}

#[test]
fn lines_of_conversations_are_kept_for_their_time() {
    let mut world = World::friends(12);
    world.run(ALICE, send(BOB, "one")).unwrap();
    world.run(BOB, send(ALICE, "two")).unwrap();
    let texts = |world: &World, name: &str| -> Vec<String> {
        world.store(name).lines().iter().map(|line| line.content.text().to_owned()).collect()
    };
    assert_eq!(
        (texts(&world, ALICE), texts(&world, BOB)),
        (vec!["one".into(), "two".into()], vec!["one".into(), "two".into()])
    );
    world.with(ALICE, |node| node.step_clock(32 * 86_400_000));
    world.run(ALICE, send(BOB, "three")).unwrap();
    assert_eq!(texts(&world, ALICE), ["three"]);
    world.restart_with(
        BOB,
        |mut config| {
            config.history = Duration::ZERO;
            config
        },
        |node| node,
    );
    world.run(BOB, Command::SignIn).unwrap();
    world.run(ALICE, send(BOB, "four")).unwrap();
    assert!(!texts(&world, BOB).contains(&"four".to_owned()));
}

#[test]
fn a_service_that_takes_no_lists_gets_a_request_for_each() {
    let mut world = World::friends(13);
    world.restart_with(
        ALICE,
        |mut config| {
            // Nobody of that name is there.
            config.message_list = Some(address("lists"));
            config
        },
        |node| node,
    );
    world.run(ALICE, Command::SignIn).unwrap();
    world.service(|service| service.offline_store = true);
    world.run(ALICE, to_all(&[BOB, "carol"], "one")).unwrap();
    let before = world.service(|service| service.count("MESSAGE"));
    world.run(ALICE, to_all(&[BOB, "carol"], "two")).unwrap();
    assert_eq!(world.service(|service| service.count("MESSAGE")) - before, 2, "it is not asked again");
    assert_eq!(world.received(BOB), ["one", "two"]);
    assert_eq!(world.service(|service| service.stored.len()), 2);
}
