//! What people cannot do to the conversations and calls of others.

use std::time::Duration;

use attache_messenger::{
    call::IncomingCalls, command::Command, conversation::ConversationKind, id::ConversationId,
    message::Draft, sim::BEGINNING,
};
use serde_json::{Value, json};

use crate::{
    forger::{DOCUMENT, Forger, session_of},
    phone::{Manner, Phone},
    sessions::Sessions,
    world::*,
};

fn forger<R>(world: &mut World, f: impl FnOnce(&mut Forger) -> R) -> R {
    world.sim.with(at("dave"), |forger: &mut Forger, _| f(forger))
}

fn world(seed: u64, people: &[&'static str]) -> World {
    let mut world = World::new(seed, people);
    Forger::add(&mut world.sim, "dave");
    world.settle();
    world
}

/// Sends a document, and gives the status with which it was answered.
fn tell(world: &mut World, to: &str, document: &Value) -> u16 {
    let body = document.to_string();
    let sent = world.sim.with(at("dave"), |forger: &mut Forger, now| forger.send(now, to, DOCUMENT, body));
    world.settle();
    let answer = |forger: &mut Forger| forger.answers.iter().find(|(id, _)| *id == sent).map(|(_, it)| *it);
    forger(world, answer).unwrap()
}

fn member(name: &str, state: &str, since: u64) -> Value {
    json!({ "who": address(name).to_string(), "state": state, "since": since })
}

/// Later than everything that is said in a test, and not later than another's clock may be.
fn now(world: &World) -> u64 {
    BEGINNING.as_millis() + u64::try_from(world.sim.elapsed().as_millis()).unwrap() + 1_000
}

fn group(world: &mut World, name: &str, people: &[&str]) -> ConversationId {
    let command = Command::StartConversation {
        participants: people.iter().map(|name| address(name)).collect(),
        subject: "Plans".into(),
        context: None,
        mode: None,
    };
    let token = world.start(name, command);
    let id = world.accepted(name, token).conversation.unwrap();
    world.finish(name, token).unwrap();
    world.settle();
    id
}

/// The last document that the forger was told, as it came.
fn heard(world: &mut World) -> Value {
    let documents = |forger: &mut Forger| {
        let heard = forger.heard.iter().filter(|(kind, _)| kind == DOCUMENT);
        heard.map(|(_, body)| serde_json::from_str(body).unwrap()).next_back()
    };
    forger(world, documents).unwrap()
}

fn present(world: &mut World, name: &str, id: ConversationId) -> Vec<String> {
    let conversation = world.snapshot(name).conversations[&id].conversation.clone();
    conversation.present().map(ToString::to_string).collect()
}

#[test]
fn nobody_gets_between_two_people_by_telling_of_a_conversation() {
    let mut world = world(1, &["alice", "bob"]);
    world.run("alice", Command::Send(Draft::new(address("bob"), "hello"))).unwrap();
    let theirs = world.conversation("alice");
    let at = now(&world);
    let members = [member("bob", "joined", at), member("alice", "joined", at), member("dave", "joined", at)];
    let document = json!({ "conversation": "forged", "kind": "direct", "members": members });
    assert_eq!(tell(&mut world, "alice", &document), 200);
    let conversations = world.snapshot("alice").conversations;
    let forged = conversations.values().find(|entry| entry.conversation.id != theirs).unwrap();
    assert_eq!(forged.conversation.kind, ConversationKind::Group);
    // What alice writes to bob stays where it was, and between them.
    world.run("alice", Command::Send(Draft::new(address("bob"), "for you alone"))).unwrap();
    assert_eq!(world.lines("alice", theirs), ["> hello", "> for you alone"]);
    assert_eq!(present(&mut world, "alice", theirs), [address("bob").to_string()]);
    assert!(forger(&mut world, |forger| forger.heard.is_empty()));
}

#[test]
fn somebody_who_is_added_to_a_conversation_of_two_makes_it_one_of_several() {
    let mut world = world(2, &["alice"]);
    let id = group(&mut world, "alice", &["dave"]);
    let mut document = heard(&mut world);
    document["members"].as_array_mut().unwrap().push(member("bob", "joined", now(&world)));
    assert_eq!(tell(&mut world, "alice", &document), 200);
    let conversation = world.snapshot("alice").conversations[&id].conversation.clone();
    assert_eq!((conversation.kind, conversation.present().count()), (ConversationKind::Group, 2));
    assert!(world.told("alice").contains(&"participant-joined bob".to_owned()));
}

#[test]
fn whoever_was_taken_out_has_no_say_any_more() {
    let mut world = world(3, &["alice", "bob"]);
    let id = group(&mut world, "alice", &["bob", "dave"]);
    let mut document = heard(&mut world);
    world.run("alice", Command::RemoveParticipant { conversation: id, address: address("dave") }).unwrap();
    world.settle();
    let at = now(&world);
    document["members"] =
        json!([member("alice", "joined", at), member("dave", "joined", at), member("bob", "left", at)]);
    for name in ["alice", "bob"] {
        assert_eq!(tell(&mut world, name, &document), 403, "{name}");
        let here = world.conversation(name);
        let others: Vec<_> = ["alice", "bob"].iter().filter(|other| **other != name).collect();
        assert_eq!(present(&mut world, name, here), [address(others[0]).to_string()], "{name}");
    }
    // That they have left may be said again.
    document["members"] = json!([member("alice", "joined", at), member("dave", "left", at)]);
    assert_eq!(tell(&mut world, "alice", &document), 200);
}

#[test]
fn old_news_brings_nobody_back_into_a_conversation_that_they_left() {
    let mut world = world(4, &["alice"]);
    let id = group(&mut world, "alice", &["bob", "dave"]);
    let mut document = heard(&mut world);
    world.run("alice", Command::CloseConversation(id)).unwrap();
    world.settle();
    assert_eq!(tell(&mut world, "alice", &document), 200);
    assert!(world.snapshot("alice").conversations.values().all(|entry| !entry.conversation.is_open()));
    // Asked anew, she is there again.
    let at = now(&world);
    document["members"] = json!([member("alice", "joined", at), member("dave", "joined", at)]);
    assert_eq!(tell(&mut world, "alice", &document), 200);
    let here = world.conversation("alice");
    assert_eq!(present(&mut world, "alice", here), [address("dave").to_string()]);
}

#[test]
fn one_person_does_not_push_out_the_conversations_of_others() {
    let mut world = world(5, &["alice", "bob"]);
    let kept = group(&mut world, "alice", &["bob"]);
    let at = now(&world);
    let members = [member("alice", "joined", at), member("dave", "joined", at)];
    let statuses: Vec<u16> = (0..40)
        .map(|n| {
            let document = json!({ "conversation": format!("many{n}"), "kind": "group", "members": members });
            tell(&mut world, "alice", &document)
        })
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 32);
    assert!(statuses[32..].iter().all(|status| *status == 486));
    assert!(world.snapshot("alice").conversations[&kept].conversation.is_open());
}

#[test]
fn a_conversation_that_others_fill_stays_one_that_can_be_written_to() {
    let mut world = world(6, &["alice"]);
    let at = now(&world);
    let mut members = vec![member("alice", "joined", at), member("dave", "joined", at)];
    members.extend((0..120).map(|n| member(&format!("user{n}"), "joined", at)));
    let document = json!({ "conversation": "crowd", "kind": "group", "members": members });
    assert_eq!(tell(&mut world, "alice", &document), 200);
    let id = world.conversation("alice");
    assert_eq!(present(&mut world, "alice", id).len(), 64);
    let token = world.start("alice", Command::Send(Draft::new(id, "hello")));
    assert!(world.accepted("alice", token).message.is_some());
}

#[test]
fn each_is_told_once_how_a_conversation_stands() {
    let mut world = world(7, &["alice", "bob", "carol"]);
    forger(&mut world, |forger| forger.slow = Some(Duration::from_millis(400)));
    group(&mut world, "alice", &["bob", "carol", "dave"]);
    world.settle();
    assert_eq!(forger(&mut world, |forger| forger.heard.len()), 1, "what bob and carol took is no news");
}

#[test]
fn whoever_answers_late_brings_no_closed_conversation_back() {
    let mut world = world(8, &["alice"]);
    forger(&mut world, |forger| forger.slow = Some(Duration::from_millis(400)));
    let command = Command::StartConversation {
        participants: vec![address("dave")],
        subject: "Short".into(),
        context: None,
        mode: None,
    };
    let token = world.start("alice", command);
    let id = world.accepted("alice", token).conversation.unwrap();
    world.run("alice", Command::CloseConversation(id)).unwrap();
    world.finish("alice", token).unwrap();
    world.settle();
    world.run("alice", Command::Send(Draft::new(address("dave"), "another matter"))).unwrap();
    assert_ne!(world.conversation("alice"), id);
    assert!(world.lines("alice", id).iter().all(|line| !line.starts_with('>')));
}

#[test]
fn one_person_does_not_take_up_all_sessions_and_files() {
    let mut sessions = Sessions::with(10, &["alice"], |config| config);
    Forger::add(&mut sessions.world.sim, "dave");
    sessions.settle();
    let file =
        "a=sendonly\r\na=file-selector:name:\"x.pdf\" type:application/pdf size:10\r\na=file-transfer-id:";
    for (number, file) in
        (0..10).map(|n| (n, String::new())).chain((10..20).map(|n| (n, format!("{file}{n}\r\n"))))
    {
        let sdp = session_of("dave", number) + &file;
        sessions.world.sim.with(at("dave"), |forger: &mut Forger, now| forger.offer(now, "alice", sdp, None));
        sessions.settle();
    }
    let statuses =
        forger(&mut sessions.world, |forger| forger.sessions.iter().map(|it| it.1).collect::<Vec<_>>());
    assert_eq!(statuses[..10], [200, 200, 200, 200, 200, 200, 200, 200, 486, 486]);
    assert_eq!(statuses[10..], [180, 180, 180, 180, 180, 180, 180, 180, 486, 486]);
}

#[test]
fn one_caller_does_not_keep_others_from_calling() {
    let mut world = World::new(11, &[]);
    world.begin("alice", |mut config| {
        config.incoming_calls = IncomingCalls::Take;
        config
    });
    Phone::add(&mut world.sim, "bob", Manner::Rings);
    world.settle();
    for _ in 0..5 {
        world.sim.with(at("bob"), |phone: &mut Phone, now| phone.call(now, "alice"));
        world.settle();
    }
    assert_eq!(world.snapshot("alice").calls.size(), 2);
}

#[test]
fn nobody_is_a_focus_for_saying_so() {
    let mut sessions = Sessions::with(9, &["alice"], |config| config);
    Forger::add(&mut sessions.world.sim, "dave");
    sessions.settle();
    sessions.world.sim.with(at("dave"), |forger: &mut Forger, now| {
        forger.offer(now, "alice", session_of("dave", 1), Some("isfocus"));
    });
    sessions.settle();
    assert_eq!(forger(&mut sessions.world, |forger| forger.sessions[0].1), 403);
    assert!(sessions.world.snapshot("alice").conversations.is_empty());
}
