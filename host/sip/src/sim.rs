//! A simulated network under a virtual clock, for tests of anything that speaks through this crate.
//!
//! Nodes are the same machines that a real driver would run: [`Endpoint`](crate::endpoint::Endpoint),
//! [`Agent`](crate::agent::Agent), or whatever implements [`Node`]. The simulation carries their bytes over links that
//! delay, lose, repeat and reorder datagrams, keeps the promises of TCP (in order, or broken), lets a node die and come
//! back, and moves its clock from one happening to the next, so that 32 seconds of retransmissions take no time. The
//! same seed gives the same run, packet by packet.
//!
//! ```
//! use std::time::Duration;
//! use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request};
//! use attache_sip::message::Method;
//! use attache_sip::sim::Simulation;
//! use attache_sip::transport::{Destination, Transport};
//!
//! let mut sim = Simulation::new(1);
//! let (alice, bob) = ("127.0.0.1:5060".parse()?, "127.0.0.2:5060".parse()?);
//! sim.add(alice, Endpoint::new(EndpointConfig::at(alice), [1; 32]));
//! sim.add(bob, Endpoint::new(EndpointConfig::at(bob), [2; 32]));
//!
//! sim.with(alice, |endpoint: &mut Endpoint, now| {
//!     let request = Request::new(Method::Options, "sip:bob@127.0.0.2")
//!         .from("<sip:alice@127.0.0.1>;tag=a")
//!         .to("<sip:bob@127.0.0.2>")
//!         .call_id("one@127.0.0.1")
//!         .cseq(1);
//!     endpoint.send_request(now, &request, Destination { transport: Transport::Udp, remote: bob }, None)
//! })?;
//! sim.run_for(Duration::from_secs(1));
//! let event = sim.with(bob, |endpoint: &mut Endpoint, _| endpoint.poll_event());
//! assert!(matches!(event, Some(EndpointEvent::Request { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod link;
mod net;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::transaction::queue::TimerQueue;
use crate::transport::{Destination, Flow, FlowId, Transmit, Transport};

pub use link::{Fate, Link, Packet};
use net::{Connection, Delivery, Happening};

/// A sans-IO machine that the simulation can run.
pub trait Node: Any {
    /// Bytes came: a datagram, or a piece of a stream.
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes);
    /// Bytes for `destination` cannot be delivered, or the connection `flow` broke.
    fn handle_flow_failed(
        &mut self,
        now: Instant,
        destination: Destination,
        flow: Option<FlowId>,
        reason: &str,
    );
    /// The time that [`poll_timeout`](Self::poll_timeout) named has come.
    fn handle_timeout(&mut self, now: Instant);
    /// The next bytes to send.
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// When the node wants [`handle_timeout`](Self::handle_timeout) next.
    fn poll_timeout(&mut self) -> Option<Instant>;
}

/// A network of nodes, each at one address on which it speaks UDP and listens on TCP.
pub struct Simulation {
    nodes: BTreeMap<SocketAddr, Slot>,
    clock: Instant,
    epoch: Instant,
    rng: ChaCha8Rng,
    link: Link,
    links: HashMap<(SocketAddr, SocketAddr), Link>,
    partitions: BTreeSet<(SocketAddr, SocketAddr)>,
    refusals: BTreeSet<SocketAddr>,
    deliveries: net::Deliveries,
    timeouts: TimerQueue<SocketAddr>,
    connections: BTreeMap<u64, Connection>,
    next_flow: u64,
    filter: Option<Filter>,
    trace: Vec<Packet>,
}

type Filter = Box<dyn FnMut(&Packet) -> Fate>;

struct Slot {
    node: Box<dyn Node>,
    udp: FlowId,
    alive: bool,
    wakes_at: Option<Instant>,
}

/// The trace keeps at most this many packets; later ones are carried but not noted.
const TRACE_LIMIT: usize = 100_000;

impl Simulation {
    /// An empty network. All chance in it comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            nodes: BTreeMap::new(),
            clock: now,
            epoch: now,
            rng: ChaCha8Rng::seed_from_u64(seed),
            link: Link::default(),
            links: HashMap::new(),
            partitions: BTreeSet::new(),
            refusals: BTreeSet::new(),
            deliveries: net::Deliveries::default(),
            timeouts: TimerQueue::new(),
            connections: BTreeMap::new(),
            next_flow: 1,
            filter: None,
            trace: Vec::new(),
        }
    }

    /// Puts a node at an address, in place of whatever was there; connections of the one before it are broken.
    ///
    /// Whatever the node already wants to send leaves now.
    pub fn add<N: Node>(&mut self, addr: SocketAddr, node: N) {
        if self.nodes.contains_key(&addr) {
            self.break_connections(addr, "connection reset by peer");
        }
        let udp = self.flow_id();
        self.nodes.insert(addr, Slot { node: Box::new(node), udp, alive: true, wakes_at: None });
        self.drain(addr);
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.clock
    }

    /// The virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.clock - self.epoch
    }

    /// Reaches into a node with the virtual time, and sends what it then wants to send.
    ///
    /// # Panics
    /// When no node is at `addr`, or it is not an `N`: a mistake in the test.
    pub fn with<N: Node, R>(&mut self, addr: SocketAddr, f: impl FnOnce(&mut N, Instant) -> R) -> R {
        let now = self.clock;
        let slot = self.nodes.get_mut(&addr).unwrap_or_else(|| panic!("no node is at {addr}"));
        let node: &mut dyn Any = slot.node.as_mut();
        let Some(node) = node.downcast_mut::<N>() else {
            panic!("the node at {addr} is not a {}", std::any::type_name::<N>())
        };
        let result = f(node, now);
        self.drain(addr);
        result
    }

    /// Sets how all links behave that [`set_link`](Self::set_link) does not name.
    pub fn set_default_link(&mut self, link: Link) {
        self.link = link;
    }

    /// Sets how the link between two addresses behaves, in both directions.
    pub fn set_link(&mut self, a: SocketAddr, b: SocketAddr, link: Link) {
        self.links.insert((a, b), link);
        self.links.insert((b, a), link);
    }

    /// Asks `filter` about every packet before chance decides: the way to lose exactly the third one.
    pub fn set_filter(&mut self, filter: impl FnMut(&Packet) -> Fate + 'static) {
        self.filter = Some(Box::new(filter));
    }

    /// Takes the filter away.
    pub fn clear_filter(&mut self) {
        self.filter = None;
    }

    /// Kills a process: nothing reaches it, its clock stands still, its connections break and new ones are refused.
    /// Datagrams to it vanish.
    pub fn kill(&mut self, addr: SocketAddr) {
        if let Some(slot) = self.nodes.get_mut(&addr) {
            slot.alive = false;
            slot.wakes_at = None;
            self.break_connections(addr, "connection reset by peer");
        }
    }

    /// Brings a killed node back with the state it had, as after a machine's sleep. Use [`add`](Self::add) for a
    /// process that starts anew.
    pub fn revive(&mut self, addr: SocketAddr) {
        if let Some(slot) = self.nodes.get_mut(&addr) {
            slot.alive = true;
            self.drain(addr);
        }
    }

    /// Cuts the network between two addresses: everything between them vanishes without a word, in both directions.
    pub fn partition(&mut self, a: SocketAddr, b: SocketAddr) {
        self.partitions.insert((a.min(b), a.max(b)));
    }

    /// Ends a [`partition`](Self::partition).
    pub fn heal(&mut self, a: SocketAddr, b: SocketAddr) {
        self.partitions.remove(&(a.min(b), a.max(b)));
    }

    /// Whether connections to `addr` are refused though it is alive: a node that listens on UDP only.
    pub fn set_refuses_connections(&mut self, addr: SocketAddr, refuses: bool) {
        if refuses {
            self.refusals.insert(addr);
        } else {
            self.refusals.remove(&addr);
        }
    }

    /// What was sent so far, in order, with what became of it.
    pub fn trace(&self) -> &[Packet] {
        &self.trace
    }

    /// Forgets the trace.
    pub fn clear_trace(&mut self) {
        self.trace.clear();
    }

    /// Runs for this long. Returns the number of things that happened.
    pub fn run_for(&mut self, duration: Duration) -> usize {
        let end = self.clock + duration;
        let mut happened = 0;
        while self.step(end) {
            happened += 1;
        }
        self.clock = end;
        happened
    }

    /// Runs until `condition` holds, at most for `limit`. Returns whether it holds.
    pub fn run_until(&mut self, limit: Duration, mut condition: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.clock + limit;
        loop {
            if condition(self) {
                return true;
            }
            if !self.step(end) {
                self.clock = end;
                return condition(self);
            }
        }
    }

    /// Lets the next thing happen, if it does so by `end`.
    fn step(&mut self, end: Instant) -> bool {
        let nodes = &self.nodes;
        let timeout = self.timeouts.next(|addr| nodes.get(&addr).and_then(|slot| slot.wakes_at));
        let delivery = self.deliveries.next_at();
        let Some(at) = [timeout, delivery].into_iter().flatten().min() else { return false };
        if at > end {
            return false;
        }
        self.clock = self.clock.max(at);
        if delivery == Some(at) {
            if let Some(delivery) = self.deliveries.pop() {
                self.deliver(delivery);
            }
        } else {
            let nodes = &self.nodes;
            let due = self.timeouts.pop_due(at, |addr| nodes.get(&addr).and_then(|slot| slot.wakes_at));
            if let Some(addr) = due {
                let now = self.clock;
                if let Some(slot) = self.nodes.get_mut(&addr) {
                    slot.wakes_at = None;
                    slot.node.handle_timeout(now);
                }
                self.drain(addr);
            }
        }
        true
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.clock;
        let Some(slot) = self.nodes.get_mut(&delivery.to) else { return };
        if !slot.alive {
            return;
        }
        match delivery.what {
            Happening::Datagram { from, payload } => {
                let flow = Flow { id: slot.udp, transport: Transport::Udp, local: delivery.to, remote: from };
                slot.node.handle_input(now, flow, payload);
            }
            Happening::Stream { connection, payload } => {
                let Some(end) = self.connections.get(&connection).and_then(|c| c.end_at(delivery.to)) else {
                    return;
                };
                slot.node.handle_input(now, end, payload);
            }
            Happening::Failed { destination, flow, reason } => {
                slot.node.handle_flow_failed(now, destination, flow, &reason);
            }
        }
        self.drain(delivery.to);
    }

    /// Sends all that a node wants to send, and notes when it wants to be woken.
    fn drain(&mut self, addr: SocketAddr) {
        let mut outgoing = Vec::new();
        {
            let Some(slot) = self.nodes.get_mut(&addr) else { return };
            while let Some(transmit) = slot.node.poll_transmit() {
                outgoing.push(transmit);
            }
            if !slot.alive {
                return;
            }
            let wakes_at = slot.node.poll_timeout();
            if wakes_at != slot.wakes_at {
                slot.wakes_at = wakes_at;
                if let Some(at) = wakes_at {
                    self.timeouts.arm(at, addr);
                }
            }
        }
        for transmit in outgoing {
            self.carry(addr, transmit);
        }
    }

    fn flow_id(&mut self) -> FlowId {
        let id = FlowId(self.next_flow);
        self.next_flow += 1;
        id
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("nodes", &self.nodes.keys().collect::<Vec<_>>())
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}
