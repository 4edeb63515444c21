//! Messages to several people, in one request.

use std::sync::Arc;

use attache_messenger::{
    address::Address,
    command::Command,
    message::{Draft, MessageState, Target},
    sim::{EngineNode, Packet},
    storage::JournalEvent,
};

use crate::{World, address, at};

fn to_all(text: &str) -> Command {
    let people: Arc<[Address]> = ["bob", "carol"].map(address).into();
    Command::Send(Draft::new(Target::Addresses(people), text))
}

/// Requests with a text that alice has sent: how often, and to whom.
fn requests(world: &World, text: &str) -> Vec<String> {
    let is_one = |packet: &&Packet| {
        packet.from == at("alice")
            && packet.is("MESSAGE")
            && String::from_utf8_lossy(&packet.payload).contains(text)
    };
    let sent = world.sim.trace().iter().filter(is_one);
    let line = |packet: &Packet| String::from_utf8_lossy(&packet.payload).lines().next().unwrap().to_owned();
    let mut lines: Vec<String> = sent.map(line).collect();
    lines.dedup();
    lines
}

/// States of alice's messages, in order.
fn states(world: &mut World) -> Vec<(String, MessageState)> {
    let journal = world.sim.with(at("alice"), |node: &mut EngineNode, _| node.store().journal());
    let changed = journal.into_iter().filter_map(|entry| match entry.event {
        JournalEvent::MessageStateChanged { recipient, state, .. } => Some((recipient.to_string(), state)),
        _ => None,
    });
    changed.collect()
}

#[test]
fn a_message_to_several_people_is_one_request_where_the_service_passes_it_on() {
    let mut world = World::new("tcp");
    world.say("alice", "bob", "before").unwrap();
    world.run("alice", to_all("to both of you")).unwrap();
    world.say("alice", "bob", "after").unwrap();
    world.settle();
    assert_eq!(requests(&world, "to both of you"), ["MESSAGE sip:example.com SIP/2.0"]);
    let texts: Vec<String> =
        world.received().iter().map(|message| message.content.text().to_owned()).collect();
    assert_eq!(texts, ["before", "to both of you", "after"], "in the order of writing");
    assert!(world.received()[1].also_to.is_empty(), "who else gets it is not told");
    let both = ["sip:bob@example.com", "sip:carol@example.com"];
    assert_eq!(states(&mut world)[1..3], both.map(|who| (who.to_owned(), MessageState::Sent)));
}

#[test]
fn a_message_to_several_people_is_wrapped_where_all_of_them_read_that_alone() {
    let mut world = World::new("tcp");
    // Bob shows that he reads wrappers; carol, who is away, has not.
    world.say("alice", "bob", "hello").unwrap();
    world.say("bob", "alice", "hi").unwrap();
    world.run("alice", to_all("to both of you")).unwrap();
    world.say("alice", "bob", "to you alone").unwrap();
    world.settle();
    let wrapped = |text: &str| {
        let mut sent = world.sim.trace().iter().map(|packet| String::from_utf8_lossy(&packet.payload));
        let sent = sent.find(|sent| sent.starts_with("MESSAGE") && sent.contains(text)).unwrap();
        sent.contains("Content-Type: message/cpim")
    };
    assert!(!wrapped("to both of you") && wrapped("to you alone"));
    assert_eq!(world.received().len(), 3);
}
