//! Devices of one account, the SIP service, and an XCAP server.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use attache_documents::{Limits, resource_lists};
use attache_messenger::{
    address::Address,
    command::Command,
    engine::EngineConfig,
    error::Error,
    event::EventKind,
    id::{ContactId, GroupId},
    report::XcapState,
    sim::{BEGINNING, EngineNode, MemoryStore, Node, Simulation},
    snapshot::Snapshot,
};
use attache_service::{Core, CoreConfig, ServiceConfig, StoreChange};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;

use crate::server::Server;

pub(crate) const LISTS: &str = "resource-lists/users/sip:alice@example.com/index";
pub(crate) const RULES: &str = "pres-rules/users/sip:alice@example.com/index";
pub(crate) const SERVICES: &str = "rls-services/users/sip:alice@example.com/index";

const USERS: &str = r#"
[service]
domains = ["example.com"]
[[user]]
name = "alice"
password = "a"
"#;

/// The SIP service.
pub(crate) struct Service(Core);

impl Node for Service {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        // It knows nothing of the documents of another server.
        let bytes = match core::str::from_utf8(&bytes) {
            Ok(text) if text.contains("Event: xcap-diff") => {
                Bytes::from(text.replace("Event: xcap-diff", "Event: xcap-none"))
            }
            _ => bytes,
        };
        self.0.handle_input(now, flow, bytes);
        while let Some(change) = self.0.poll_store() {
            if let StoreChange::Put(message) = change {
                self.0.handle_stored(now, message.id, Ok(()));
            }
        }
    }
    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        self.0.handle_flow_failed(now, to, flow, reason);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.0.poll_transmit()
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

const SERVICE: ([u8; 4], u16) = ([10, 0, 0, 9], 5060);

/// A list as a person sees it: contacts with name and groups' names, and groups.
pub(crate) type Shown = (BTreeMap<String, (String, BTreeSet<String>)>, BTreeSet<String>);

pub(crate) struct World {
    pub(crate) sim: Simulation,
    pub(crate) server: Arc<Mutex<Server>>,
    pub(crate) stores: Vec<MemoryStore>,
    starts: u8,
}

fn at(device: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(device + 1).unwrap()], 5060).into()
}

pub(crate) fn address(name: &str) -> Address {
    Address::parse(&format!("sip:{name}@example.com")).unwrap()
}

impl World {
    /// Devices that are not signed in yet.
    pub(crate) fn new(devices: usize, seed: u64) -> Self {
        let mut sim = Simulation::new(seed);
        let accounts = ServiceConfig::parse(USERS).unwrap().accounts().unwrap();
        let config = CoreConfig::new("example.com", accounts, SERVICE.into());
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(BEGINNING.as_millis());
        let core = Core::new(config, sim.now(), wall, [9; 32]);
        sim.add(SERVICE.into(), Service(core));
        let server = Arc::new(Mutex::new(Server::new(sim.now())));
        let stores = (0..devices).map(|_| MemoryStore::new()).collect();
        let mut world = Self { sim, server, stores, starts: 0 };
        for device in 0..devices {
            world.restart(device, |node| node);
        }
        world
    }

    /// Devices that are signed in.
    pub(crate) fn signed_in(devices: usize, seed: u64) -> Self {
        let mut world = Self::new(devices, seed);
        for device in 0..devices {
            world.run(device, Command::SignIn).unwrap();
        }
        world.settle();
        world
    }

    /// Starts a device in place of the one that runs.
    pub(crate) fn restart(&mut self, device: usize, change: impl FnOnce(EngineNode) -> EngineNode) {
        self.restart_with(device, |_| {}, change);
    }

    pub(crate) fn restart_with(
        &mut self,
        device: usize,
        configure: impl FnOnce(&mut EngineConfig),
        change: impl FnOnce(EngineNode) -> EngineNode,
    ) {
        self.starts += 1;
        let seed = [self.starts.wrapping_mul(41).wrapping_add(device as u8 * 7 + 1); 32];
        let local = vec![(Transport::Udp, at(device)), (Transport::Tcp, at(device))];
        let mut config = EngineConfig::new(address("alice"), "a", local, seed);
        config.service = Some("sip:10.0.0.9:5060".to_owned());
        config.xcap = Some("http://10.0.0.9:5080/xcap-root".to_owned());
        configure(&mut config);
        let node = EngineNode::new(&self.sim, config, self.stores[device].clone()).http(self.server.clone());
        self.sim.add(at(device), change(node));
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    pub(crate) fn settle(&mut self) {
        self.sim.run_for(Duration::from_secs(5));
    }

    pub(crate) fn with<R>(&mut self, device: usize, f: impl FnOnce(&mut EngineNode) -> R) -> R {
        self.sim.with(at(device), |node: &mut EngineNode, _| f(node))
    }

    pub(crate) fn snapshot(&mut self, device: usize) -> Snapshot {
        self.with(device, |node| node.snapshot())
    }

    pub(crate) fn start(&mut self, device: usize, command: Command) -> u64 {
        self.sim.with(at(device), |node: &mut EngineNode, now| node.command(now, command))
    }

    /// Gives a command and waits up to two minutes for its completion.
    pub(crate) fn run(&mut self, device: usize, command: Command) -> Result<(), Error> {
        let token = self.start(device, command);
        let done = self.sim.run_until(Duration::from_secs(120), |sim| {
            sim.with(at(device), |node: &mut EngineNode, _| node.outcome(token)).is_some()
        });
        assert!(done, "the command never completed");
        self.with(device, |node| node.outcome(token)).unwrap()
    }

    /// Signs a device out and in again.
    pub(crate) fn relogin(&mut self, device: usize) {
        self.run(device, Command::SignOut).unwrap();
        self.run(device, Command::SignIn).unwrap();
        self.settle();
    }

    pub(crate) fn add(&mut self, device: usize, name: &str) {
        let command = Command::AddContact { address: address(name), name: name.into() };
        self.run(device, command).unwrap();
    }

    pub(crate) fn contact(&mut self, device: usize, name: &str) -> ContactId {
        self.snapshot(device).by_address[&address(name)]
    }

    pub(crate) fn group(&mut self, device: usize, name: &str) -> GroupId {
        let snapshot = self.snapshot(device);
        snapshot.groups.values().find(|group| &*group.name == name).unwrap().id
    }

    pub(crate) fn shown(&mut self, device: usize) -> Shown {
        let snapshot = self.snapshot(device);
        let name = |id: &GroupId| snapshot.groups[id].name.to_string();
        let contacts = snapshot.contacts.values().map(|entry| {
            let contact = &entry.contact;
            let groups = contact.groups.iter().map(name).collect();
            (contact.address.as_str().to_owned(), (contact.name.to_string(), groups))
        });
        (contacts.collect(), snapshot.groups.keys().map(name).collect())
    }

    pub(crate) fn xcap(&mut self, device: usize) -> XcapState {
        self.snapshot(device).report.xcap.clone()
    }

    pub(crate) fn is_synced(&mut self, device: usize) -> bool {
        matches!(self.xcap(device), XcapState::Synced { .. })
    }

    pub(crate) fn events(&mut self, device: usize, name: &str) -> usize {
        self.with(device, |node| node.events().iter().filter(|event| event.kind.name() == name).count())
    }

    pub(crate) fn kinds(&mut self, device: usize) -> Vec<EventKind> {
        self.with(device, |node| node.events().iter().map(|event| event.kind.clone()).collect())
    }

    /// Addresses in the document on the server, however often.
    pub(crate) fn uris(&self) -> Vec<String> {
        let server = self.server();
        if server.text(LISTS).is_empty() {
            return Vec::new();
        }
        let document = resource_lists::read(server.text(LISTS).as_bytes(), &Limits::STORED).unwrap();
        fn collect(list: &resource_lists::List, uris: &mut Vec<String>) {
            for member in &list.members {
                match member {
                    resource_lists::Member::Entry(entry) => uris.push(entry.uri.clone()),
                    resource_lists::Member::List(list) => collect(list, uris),
                    _ => {}
                }
            }
        }
        let mut uris = Vec::new();
        document.lists.iter().for_each(|list| collect(list, &mut uris));
        uris
    }
}
