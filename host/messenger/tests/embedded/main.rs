//! Engines on the embedded service, all on the simulated network.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod restart;
mod several;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    engine::EngineConfig,
    event::{EventKind, SessionState},
    message::{Draft, IncomingMessage, MessageState},
    presence::{Availability, Freshness, Presence, UnknownReason},
    report::Strategy,
    sim::{BEGINNING, EngineNode, Link, MemoryStore, Node, Simulation},
    storage::{JournalEvent, RecordKind, StorageError},
};
use attache_service::{Core, CoreConfig, ListConfig, ServiceConfig, StoreChange};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;

const USERS: &str = r#"
[service]
domains = ["example.com"]
[[user]]
name = "alice"
password = "a"
[[user]]
name = "bob"
password = "b"
[[user]]
name = "carol"
password = "c"
"#;

/// The service with a store that keeps everything at once.
struct Service(Core);

impl Service {
    fn new(sim: &Simulation) -> Self {
        let accounts = ServiceConfig::parse(USERS).unwrap().accounts().unwrap();
        let mut config = CoreConfig::new("example.com", accounts, at("service"));
        config.lists = vec![ListConfig {
            address: "sip:friends@example.com".to_owned(),
            members: ["bob", "carol", "nobody"].map(|name| format!("sip:{name}@example.com")).to_vec(),
            watchers: Vec::new(),
        }];
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(BEGINNING.as_millis()) + sim.elapsed();
        Self(Core::new(config, sim.now(), wall, [9; 32]))
    }

    fn keep(&mut self, now: Instant) {
        while let Some(change) = self.0.poll_store() {
            if let StoreChange::Put(message) = change {
                self.0.handle_stored(now, message.id, Ok(()));
            }
        }
    }
}

impl Node for Service {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.0.handle_input(now, flow, bytes);
        self.keep(now);
    }
    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        self.0.handle_flow_failed(now, to, flow, reason);
        self.keep(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
        self.keep(now);
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.0.poll_transmit()
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

fn at(name: &str) -> SocketAddr {
    let last = match name {
        "alice" => 1,
        "bob" => 2,
        "elsewhere" => 3,
        _ => 9,
    };
    ([10, 0, 0, last], 5060).into()
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@example.com")).unwrap()
}

struct World {
    sim: Simulation,
    bob: MemoryStore,
}

impl World {
    fn new(transport: &str) -> Self {
        Self::with_list(transport, None)
    }

    /// `list`: the one that alice asks for.
    fn with_list(transport: &str, list: Option<&str>) -> Self {
        let mut sim = Simulation::new(7);
        let service = Service::new(&sim);
        sim.add(at("service"), service);
        let bob = MemoryStore::new();
        for (name, password, store) in [("alice", "a", MemoryStore::new()), ("bob", "b", bob.clone())] {
            let local = vec![(Transport::Udp, at(name)), (Transport::Tcp, at(name))];
            let mut config = EngineConfig::new(address(name), password, local, [name.len() as u8; 32]);
            config.service = Some(format!("sip:10.0.0.9:5060;transport={transport}"));
            if name == "alice" {
                config.list = list.map(str::to_owned);
            }
            let node = EngineNode::new(&sim, config, store);
            sim.add(at(name), node);
        }
        let mut world = Self { sim, bob };
        for (name, other) in [("alice", "bob"), ("bob", "alice")] {
            world.run(name, Command::AddContact { address: address(other), name: "".into() }).unwrap();
            world.run(name, Command::SignIn).unwrap();
        }
        world.settle();
        world
    }

    fn settle(&mut self) {
        self.sim.run_for(Duration::from_secs(8));
    }

    fn run(&mut self, name: &str, command: Command) -> Result<(), attache_messenger::error::Error> {
        let token = self.sim.with(at(name), |node: &mut EngineNode, now| node.command(now, command));
        let done = |sim: &mut Simulation| sim.with(at(name), |node: &mut EngineNode, _| node.outcome(token));
        assert!(self.sim.run_until(Duration::from_secs(120), |sim| done(sim).is_some()));
        done(&mut self.sim).unwrap()
    }

    fn say(&mut self, name: &str, to: &str, text: &str) -> Result<(), attache_messenger::error::Error> {
        self.run(name, Command::Send(Draft::new(address(to), text)))
    }

    fn sees(&mut self, name: &str) -> Arc<Presence> {
        let snapshot = self.sim.with(at(name), |node: &mut EngineNode, _| node.snapshot());
        snapshot.contacts.values().next().unwrap().presence.clone()
    }

    fn session(&mut self, name: &str) -> SessionState {
        self.sim.with(at(name), |node: &mut EngineNode, _| node.snapshot().session)
    }

    fn received(&self) -> Vec<Arc<IncomingMessage>> {
        let received = |entry: attache_messenger::storage::JournalEntry| match entry.event {
            JournalEvent::MessageReceived(message) => Some(message),
            _ => None,
        };
        self.bob.journal().into_iter().filter_map(received).collect()
    }
}

#[test]
fn every_availability_passes_the_embedded_service_over_udp_and_tcp() {
    for transport in ["udp", "tcp"] {
        let mut world = World::new(transport);
        for availability in Availability::ALL {
            world
                .run(
                    "alice",
                    Command::Publish { availability: Some(availability), note: "a note".into(), until: None },
                )
                .unwrap();
            world.settle();
            let seen = world.sees("bob");
            assert_eq!(
                (seen.availability, &*seen.note, &seen.freshness),
                (Some(availability), "a note", &Freshness::Live),
                "{transport}"
            );
        }
    }
}

#[test]
fn one_who_signs_out_of_the_embedded_service_is_offline() {
    let mut world = World::new("udp");
    world.run("alice", Command::SignOut).unwrap();
    world.settle();
    let seen = world.sees("bob");
    assert_eq!((seen.availability, &seen.freshness), (Some(Availability::Offline), &Freshness::Live));
}

#[test]
fn messages_pass_the_embedded_service_in_order() {
    let mut world = World::new("udp");
    let bad = Link { loss: 0.2, duplicate: 0.2, reorder: 0.2, ..Link::default() };
    world.sim.set_default_link(bad);
    for n in 0..10 {
        world.say("alice", "bob", &format!("line {n}")).unwrap();
    }
    let texts: Vec<String> =
        world.received().iter().map(|message| message.content.text().to_owned()).collect();
    assert_eq!(texts, (0..10).map(|n| format!("line {n}")).collect::<Vec<_>>());
}

#[test]
fn a_message_for_one_who_is_away_comes_with_its_date_when_he_is_back() {
    let mut world = World::new("udp");
    world.run("bob", Command::SignOut).unwrap();
    world.settle();
    let sent = BEGINNING + world.sim.elapsed();
    world.say("alice", "bob", "for later").unwrap();
    let state = world.sim.with(at("alice"), |node: &mut EngineNode, _| {
        node.store().journal().into_iter().find_map(|entry| match entry.event {
            JournalEvent::MessageStateChanged { state, .. } => Some(state),
            _ => None,
        })
    });
    assert_eq!(state, Some(MessageState::Sent));
    world.sim.run_for(Duration::from_secs(3600));
    world.run("bob", Command::SignIn).unwrap();
    world.settle();
    let received = world.received();
    assert_eq!(received.len(), 1);
    let at = received[0].sent_at.unwrap();
    // Dates of SIP have whole seconds.
    assert!(
        at.as_millis() + 2_000 > sent.as_millis() && at < sent + Duration::from_secs(5),
        "{at} and {sent}"
    );
}

#[test]
fn an_embedded_service_that_restarts_is_found_again() {
    let mut world = World::new("tcp");
    world
        .run(
            "alice",
            Command::Publish { availability: Some(Availability::Busy), note: "".into(), until: None },
        )
        .unwrap();
    world.sim.kill(at("service"));
    world.sim.run_for(Duration::from_secs(60));
    assert_eq!(
        (world.session("alice"), world.session("bob")),
        (SessionState::Reconnecting, SessionState::Reconnecting)
    );
    assert!(matches!(world.sees("bob").freshness, Freshness::Stale(_)));
    let service = Service::new(&world.sim);
    world.sim.add(at("service"), service);
    world.sim.run_for(Duration::from_secs(180));
    let seen = world.sees("bob");
    assert_eq!((seen.availability, &seen.freshness), (Some(Availability::Busy), &Freshness::Live));
}

#[test]
fn the_embedded_service_refuses_a_wrong_password_once() {
    let mut sim = Simulation::new(8);
    let service = Service::new(&sim);
    sim.add(at("service"), service);
    let mut config =
        EngineConfig::new(address("alice"), "guess", vec![(Transport::Udp, at("alice"))], [3; 32]);
    config.service = Some("sip:10.0.0.9".to_owned());
    let node = EngineNode::new(&sim, config, MemoryStore::new());
    sim.add(at("alice"), node);
    let mut world = World { sim, bob: MemoryStore::new() };
    assert_eq!(world.run("alice", Command::SignIn).unwrap_err().code(), Code::InvalidPassword);
    assert_eq!(world.session("alice"), SessionState::SignedOut);
}

/// What alice sees of somebody.
fn seen(world: &mut World, who: &str) -> Arc<Presence> {
    let snapshot = world.sim.with(at("alice"), |node: &mut EngineNode, _| node.snapshot());
    snapshot.contacts[&snapshot.by_address[&address(who)]].presence.clone()
}

fn ways(world: &mut World) -> Vec<(Strategy, usize)> {
    let report = world.sim.with(at("alice"), |node: &mut EngineNode, _| node.snapshot().report);
    report.watching.iter().map(|way| (way.strategy, way.people)).collect()
}

fn add_and_sign_in_again(world: &mut World) {
    for name in ["carol", "nobody", "elsewhere"] {
        world.run("alice", Command::AddContact { address: address(name), name: "".into() }).unwrap();
    }
    world.run("alice", Command::SignOut).unwrap();
    world.run("alice", Command::SignIn).unwrap();
    world.settle();
}

fn everybody_is_seen_as_they_are(world: &mut World) {
    let choice =
        Command::Publish { availability: Some(Availability::Busy), note: "writing".into(), until: None };
    world.run("bob", choice).unwrap();
    world.settle();
    let bob = seen(world, "bob");
    assert_eq!(
        (bob.availability, &*bob.note, &bob.freshness),
        (Some(Availability::Busy), "writing", &Freshness::Live)
    );
    let carol = seen(world, "carol");
    assert_eq!(
        (carol.availability, &carol.freshness),
        (Some(Availability::Offline), &Freshness::Live),
        "she never signed in"
    );
    for name in ["nobody", "elsewhere"] {
        assert_eq!(seen(world, name).freshness, Freshness::Unknown(UnknownReason::NotFound), "{name}");
    }
}

#[test]
fn a_list_of_the_embedded_service_brings_everybody_through_a_restart() {
    let mut world = World::with_list("tcp", Some("sip:friends@example.com"));
    add_and_sign_in_again(&mut world);
    everybody_is_seen_as_they_are(&mut world);
    assert_eq!(
        ways(&mut world)[0],
        (Strategy::ServerList, 3),
        "one is not on the list, and is asked for beside it"
    );
    let service = Service::new(&world.sim);
    world.sim.kill(at("service"));
    world.sim.run_for(Duration::from_secs(60));
    assert!(matches!(seen(&mut world, "bob").freshness, Freshness::Stale(_)));
    world.sim.add(at("service"), service);
    world.sim.run_for(Duration::from_secs(180));
    everybody_is_seen_as_they_are(&mut world);
    assert_eq!(ways(&mut world)[0], (Strategy::ServerList, 3));
}

#[test]
fn the_embedded_service_takes_lists_in_requests() {
    for transport in ["udp", "tcp"] {
        let mut world = World::new(transport);
        add_and_sign_in_again(&mut world);
        everybody_is_seen_as_they_are(&mut world);
        assert_eq!(ways(&mut world), [(Strategy::RequestList, 4)], "{transport}");
    }
}

#[test]
fn presence_that_the_embedded_service_tells_in_changes_is_whole_here() {
    let mut world = World::new("udp");
    // Long words, so that telling only what changed is shorter.
    let note = "words ".repeat(100).trim().to_owned();
    for availability in Availability::ALL {
        let choice =
            Command::Publish { availability: Some(availability), note: note.as_str().into(), until: None };
        world.run("bob", choice).unwrap();
        // As often as the service tells changes of one person.
        world.settle();
        let bob = world.sees("alice");
        assert_eq!((bob.availability, &*bob.note), (Some(availability), &*note));
    }
    let changes = world.sim.trace().iter().filter(|packet| {
        packet.to == at("alice")
            && packet.is("NOTIFY")
            && String::from_utf8_lossy(&packet.payload).contains(":pidf-diff ")
    });
    assert!(changes.count() > 0, "and changes were sent");
}

#[test]
fn the_embedded_service_gathers_changes_of_lists_as_asked_and_that_is_reported() {
    let mut world = World::with_list("tcp", Some("sip:friends@example.com"));
    add_and_sign_in_again(&mut world);
    let report = world.sim.with(at("alice"), |node: &mut EngineNode, _| node.snapshot().report);
    let list = report.watching.iter().find(|way| way.strategy == Strategy::ServerList).unwrap();
    assert_eq!(list.rate, Some(1_000), "one a second, as `max-rate` asked for");
}

#[test]
fn the_embedded_service_tells_an_account_its_devices() {
    let mut world = World::new("tcp");
    let known = world.sim.with(at("alice"), |node: &mut EngineNode, _| node.snapshot().devices);
    assert!(known.len() == 1 && known[0].this, "{known:?}");
    let elsewhere = at("elsewhere");
    let local = vec![(Transport::Tcp, elsewhere)];
    let mut config = EngineConfig::new(address("alice"), "a", local, [77; 32]);
    config.service = Some("sip:10.0.0.9:5060;transport=tcp".to_owned());
    let node = EngineNode::new(&world.sim, config, MemoryStore::new());
    world.sim.add(elsewhere, node);
    world.sim.with(elsewhere, |node: &mut EngineNode, now| node.command(now, Command::SignIn));
    world.settle();
    let devices = world.sim.with(at("alice"), |node: &mut EngineNode, _| node.snapshot().devices);
    assert_eq!(devices.iter().filter(|device| device.this).count(), 1);
    assert_eq!(devices.len(), 2, "{devices:?}");
}
