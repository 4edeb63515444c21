//! Some people, their service, and the network between them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use attache_messenger::{
    address::Address,
    code::Code,
    command::{Accepted, Command},
    engine::EngineConfig,
    error::Error,
    event::{Event, EventKind},
    id::ConversationId,
    sim::{BEGINNING, EngineNode, MemoryStore, Node, Simulation},
    snapshot::{Snapshot, TranscriptEntry},
    storage::{JournalEntry, JournalEvent},
};
use attache_msrp::{StreamInput, StreamRequest};
use attache_service::{ConferenceConfig, Core, CoreConfig, ServiceConfig, StoreChange};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;

pub(crate) const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "desk"];

/// Where conferences are made.
pub(crate) const FACTORY: &str = "sip:conference@example.com";

/// The service, with a store that keeps everything at once.
pub(crate) struct Service(Core);

impl Service {
    fn new(sim: &Simulation) -> Self {
        let users: String = PEOPLE
            .iter()
            .map(|name| format!("[[user]]\nname = \"{name}\"\npassword = \"{name}\"\n"))
            .collect();
        let users = format!("[service]\ndomains = [\"example.com\"]\n{users}");
        let accounts = ServiceConfig::parse(&users).unwrap().accounts().unwrap();
        let mut config = CoreConfig::new("example.com", accounts, at("service"));
        config.conference = Some(ConferenceConfig {
            factory: FACTORY.to_owned(),
            host: at("service").ip(),
            port: 2855,
            tls_port: 9,
        });
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(BEGINNING.as_millis()) + sim.elapsed();
        Self(Core::new(config, sim.now(), wall, [9; 32]))
    }

    pub(crate) fn take_streams(&mut self, now: Instant) -> Vec<StreamRequest> {
        core::iter::from_fn(|| self.0.poll_stream(now)).collect()
    }

    pub(crate) fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        self.0.handle_stream(now, input);
        self.keep(now);
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

pub(crate) fn at(name: &str) -> SocketAddr {
    let last = PEOPLE.iter().position(|known| *known == name).map_or(99, |place| place + 1);
    ([10, 0, 0, u8::try_from(last).unwrap()], 5060).into()
}

pub(crate) fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@example.com")).unwrap()
}

pub(crate) struct World {
    pub(crate) sim: Simulation,
    stores: BTreeMap<&'static str, MemoryStore>,
    starts: u8,
}

impl World {
    /// The service, and those people signed in.
    pub(crate) fn new(seed: u64, people: &[&'static str]) -> Self {
        let mut sim = Simulation::new(seed);
        let service = Service::new(&sim);
        sim.add(at("service"), service);
        let mut world = Self { sim, stores: BTreeMap::new(), starts: 0 };
        for name in people {
            world.begin(name, |config| config);
        }
        world.settle();
        world
    }

    /// Starts somebody's process, in place of one that runs, and signs in.
    pub(crate) fn begin(&mut self, name: &'static str, change: impl FnOnce(EngineConfig) -> EngineConfig) {
        self.start_only(name, change);
        self.run(name, Command::SignIn).unwrap();
    }

    pub(crate) fn start_only(
        &mut self,
        name: &'static str,
        change: impl FnOnce(EngineConfig) -> EngineConfig,
    ) {
        self.starts += 1;
        let local = vec![(Transport::Udp, at(name)), (Transport::Tcp, at(name))];
        let mut config = EngineConfig::new(address(name), name, local, [self.starts; 32]);
        config.service = Some("sip:10.0.0.99:5060".to_owned());
        let store = self.stores.entry(name).or_default().clone();
        let node = EngineNode::new(&self.sim, change(config), store);
        self.sim.add(at(name), node);
    }

    /// What somebody was told, one after the other.
    pub(crate) fn received(&self, name: &str) -> Vec<String> {
        let text = |entry: JournalEntry| match entry.event {
            JournalEvent::MessageReceived(message) => Some(message.content.text().to_owned()),
            _ => None,
        };
        self.store(name).journal().into_iter().filter_map(text).collect()
    }

    pub(crate) fn store(&self, name: &str) -> MemoryStore {
        self.stores[name].clone()
    }

    pub(crate) fn settle(&mut self) {
        self.sim.run_for(Duration::from_secs(5));
    }

    pub(crate) fn start(&mut self, name: &str, command: Command) -> u64 {
        self.sim.with(at(name), |node: &mut EngineNode, now| node.command(now, command))
    }

    pub(crate) fn outcome(&mut self, name: &str, token: u64) -> Option<Result<(), Error>> {
        self.sim.with(at(name), |node: &mut EngineNode, _| node.outcome(token))
    }

    /// What a command was accepted as, within two minutes.
    pub(crate) fn accepted(&mut self, name: &str, token: u64) -> Accepted {
        let who = at(name);
        let answered =
            |sim: &mut Simulation| sim.with(who, |node: &mut EngineNode, _| node.answer(token).cloned());
        assert!(self.sim.run_until(Duration::from_secs(120), |sim| answered(sim).is_some()));
        answered(&mut self.sim).unwrap().unwrap()
    }

    /// Gives a command and waits up to five minutes for its completion.
    pub(crate) fn run(&mut self, name: &str, command: Command) -> Result<(), Error> {
        let token = self.start(name, command);
        self.finish(name, token)
    }

    pub(crate) fn finish(&mut self, name: &str, token: u64) -> Result<(), Error> {
        let who = at(name);
        let done = self.sim.run_until(Duration::from_secs(300), |sim| {
            sim.with(who, |node: &mut EngineNode, _| node.outcome(token)).is_some()
        });
        assert!(done, "the command never completed");
        self.outcome(name, token).unwrap()
    }

    pub(crate) fn fails(&mut self, name: &str, command: Command) -> Code {
        self.run(name, command).unwrap_err().code()
    }

    pub(crate) fn snapshot(&mut self, name: &str) -> Snapshot {
        self.sim.with(at(name), |node: &mut EngineNode, _| node.snapshot())
    }

    pub(crate) fn events(&mut self, name: &str) -> Vec<Event> {
        self.sim.with(at(name), |node: &mut EngineNode, _| node.events().to_vec())
    }

    /// The names of events of conversations and calls, and whom they are about, in order.
    pub(crate) fn told(&mut self, name: &str) -> Vec<String> {
        let short = |address: &Address| {
            address.as_str().trim_start_matches("sip:").split('@').next().unwrap_or_default().to_owned()
        };
        self.events(name)
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::ParticipantJoined { participant, .. }
                | EventKind::ParticipantLeft { participant, .. } => {
                    Some(format!("{} {}", event.kind.name(), short(&participant.address)))
                }
                EventKind::ConversationOpened(_) | EventKind::ConversationClosed(_) => {
                    Some(event.kind.name().to_owned())
                }
                _ => None,
            })
            .collect()
    }

    /// The only open conversation.
    pub(crate) fn conversation(&mut self, name: &str) -> ConversationId {
        let snapshot = self.snapshot(name);
        let open: Vec<_> =
            snapshot.conversations.values().filter(|entry| entry.conversation.is_open()).collect();
        assert_eq!(open.len(), 1, "{name} has {} open conversations", open.len());
        open[0].conversation.id
    }

    pub(crate) fn lines(&mut self, name: &str, id: ConversationId) -> Vec<String> {
        self.snapshot(name).conversations[&id]
            .transcript
            .iter()
            .map(|line| match line {
                TranscriptEntry::Incoming(message) => format!("< {}", message.content.text()),
                TranscriptEntry::Outgoing(message) => format!("> {}", message.content.text()),
                TranscriptEntry::Participant { participant } => {
                    format!("{} {}", participant.state.name(), participant.address)
                }
                TranscriptEntry::Call(call) => format!("call {}", call.state.name()),
                other => format!("{other:?}"),
            })
            .collect()
    }
}
