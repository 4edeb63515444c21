//! Two people, a service, and the network between them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    engine::EngineConfig,
    error::Error,
    event::{EventKind, SessionState},
    id::ContactId,
    message::{Draft, IncomingMessage, MessageState},
    presence::{Availability, Presence},
    sim::{EngineNode, MemoryStore, Simulation},
    snapshot::Snapshot,
};
use attache_sip::transport::Transport;

use crate::service::Service;

pub(crate) const SERVICE: ([u8; 4], u16) = ([10, 0, 0, 9], 5060);
pub(crate) const ALICE: &str = "alice";
pub(crate) const BOB: &str = "bob";

pub(crate) struct World {
    pub(crate) sim: Simulation,
    pub(crate) stores: [(&'static str, MemoryStore); 2],
    restarts: u8,
}

pub(crate) fn at(name: &str) -> SocketAddr {
    match name {
        ALICE => ([10, 0, 0, 1], 5060).into(),
        BOB => ([10, 0, 0, 2], 5060).into(),
        _ => SERVICE.into(),
    }
}

pub(crate) fn address(name: &str) -> Address {
    Address::parse(&format!("sip:{name}@example.com")).unwrap()
}

pub(crate) fn config(name: &str, seed: u8) -> EngineConfig {
    let local = vec![(Transport::Udp, at(name)), (Transport::Tcp, at(name))];
    let seed = [seed.wrapping_mul(37).wrapping_add(name.len() as u8); 32];
    let mut config = EngineConfig::new(address(name), format!("{name}'s secret"), local, seed);
    config.service = Some("sip:10.0.0.9:5060".to_owned());
    config
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut sim = Simulation::new(seed);
        let mut world = {
            let service = Self::fresh_service(&sim);
            sim.add(SERVICE.into(), service);
            Self { sim, stores: [(ALICE, MemoryStore::new()), (BOB, MemoryStore::new())], restarts: 0 }
        };
        world.restart(ALICE);
        world.restart(BOB);
        world
    }

    pub(crate) fn fresh_service(sim: &Simulation) -> Service {
        let users = [("alice", "alice's secret"), ("bob", "bob's secret"), ("carol", "x"), ("dave", "x")];
        Service::new(SERVICE.into(), sim.now(), &users)
    }

    pub(crate) fn store(&self, name: &str) -> MemoryStore {
        self.stores.iter().find(|(known, _)| *known == name).unwrap().1.clone()
    }

    /// Starts somebody's process, in place of the one that runs.
    pub(crate) fn restart(&mut self, name: &str) {
        self.restart_with(name, |config| config, |node| node);
    }

    pub(crate) fn restart_with(
        &mut self,
        name: &str,
        change: impl FnOnce(EngineConfig) -> EngineConfig,
        node: impl FnOnce(EngineNode) -> EngineNode,
    ) {
        self.restarts += 1;
        let config = change(config(name, self.restarts));
        let new = node(EngineNode::new(&self.sim, config, self.store(name)));
        self.sim.add(at(name), new);
    }

    /// Both signed in, each on the other's list.
    pub(crate) fn friends(seed: u64) -> Self {
        let mut world = Self::new(seed);
        for (one, other) in [(ALICE, BOB), (BOB, ALICE)] {
            world.run(one, Command::AddContact { address: address(other), name: "".into() }).unwrap();
            world.run(one, Command::SignIn).unwrap();
        }
        world.settle();
        world
    }

    pub(crate) fn settle(&mut self) {
        self.sim.run_for(Duration::from_secs(3));
    }

    pub(crate) fn with<R>(&mut self, name: &str, f: impl FnOnce(&mut EngineNode) -> R) -> R {
        self.sim.with(at(name), |node: &mut EngineNode, _| f(node))
    }

    pub(crate) fn service<R>(&mut self, f: impl FnOnce(&mut Service) -> R) -> R {
        self.sim.with(SERVICE.into(), |service: &mut Service, _| f(service))
    }

    /// Gives a command and waits up to two minutes for its completion.
    pub(crate) fn run(&mut self, name: &str, command: Command) -> Result<(), Error> {
        let token = self.start(name, command);
        let who = at(name);
        let done = self.sim.run_until(Duration::from_secs(120), |sim| {
            sim.with(who, |node: &mut EngineNode, _| node.outcome(token)).is_some()
        });
        assert!(done, "the command never completed");
        self.with(name, |node| node.outcome(token)).unwrap()
    }

    pub(crate) fn start(&mut self, name: &str, command: Command) -> u64 {
        self.sim.with(at(name), |node: &mut EngineNode, now| node.command(now, command))
    }

    pub(crate) fn fails(&mut self, name: &str, command: Command) -> Code {
        self.run(name, command).unwrap_err().code()
    }

    pub(crate) fn publish(
        &mut self,
        name: &str,
        availability: Availability,
        note: &str,
    ) -> Result<(), Error> {
        self.run(name, Command::Publish { availability: Some(availability), note: note.into(), until: None })
    }

    pub(crate) fn say(&mut self, name: &str, to: &str, text: &str) -> u64 {
        self.start(name, send(to, text))
    }

    /// Both people see every message that has arrived.
    pub(crate) fn see_everything(&mut self) {
        for name in [ALICE, BOB] {
            for message in received(&self.store(name)) {
                self.start(name, Command::MarkDisplayed(message.id));
            }
        }
    }

    pub(crate) fn snapshot(&mut self, name: &str) -> Snapshot {
        self.with(name, |node| node.snapshot())
    }

    pub(crate) fn session(&mut self, name: &str) -> SessionState {
        self.snapshot(name).session
    }

    /// The other one as somebody sees it.
    pub(crate) fn sees(&mut self, name: &str) -> Arc<Presence> {
        let snapshot = self.snapshot(name);
        snapshot.contacts.values().next().unwrap().presence.clone()
    }

    pub(crate) fn contact(&mut self, name: &str) -> ContactId {
        *self.snapshot(name).contacts.keys().next().unwrap()
    }

    /// Texts that somebody received, in order, as its journal has them.
    pub(crate) fn received(&self, name: &str) -> Vec<String> {
        received(&self.store(name)).iter().map(|message| message.content.text().to_owned()).collect()
    }

    /// States of somebody's messages, in order, as its journal has them.
    pub(crate) fn states(&self, name: &str) -> Vec<MessageState> {
        use attache_messenger::storage::JournalEvent;
        self.store(name)
            .journal()
            .into_iter()
            .filter_map(|entry| match entry.event {
                JournalEvent::MessageStateChanged { state, .. } => Some(state),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn session_states(&mut self, name: &str) -> Vec<(SessionState, Option<Code>)> {
        self.with(name, |node| {
            node.events()
                .iter()
                .filter_map(|event| match &event.kind {
                    EventKind::SessionChanged { state, reason } => {
                        Some((*state, reason.as_ref().map(Error::code)))
                    }
                    _ => None,
                })
                .collect()
        })
    }
}

pub(crate) fn received(store: &MemoryStore) -> Vec<Arc<IncomingMessage>> {
    use attache_messenger::storage::JournalEvent;
    store
        .journal()
        .into_iter()
        .filter_map(|entry| match entry.event {
            JournalEvent::MessageReceived(message) => Some(message),
            _ => None,
        })
        .collect()
}

pub(crate) fn send(to: &str, text: &str) -> Command {
    Command::Send(Draft::new(address(to), text))
}
