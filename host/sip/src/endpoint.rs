//! The transaction layer of one node: requests out and in, each with its answers, over an unreliable network.
//!
//! An [`Endpoint`] is both user agent client and server. It adds what belongs to a hop (Via with `rport` and branch, Max-Forwards,
//! Content-Length), retransmits, absorbs repeats, matches answers to requests, frames streams, and refuses what is not SIP. Who talks to
//! whom, and why, is left to the layer above: [`Agent`](crate::agent::Agent), or a service.
//!
//! # Invariants
//! - One call of a `handle_*` or command, then drain [`poll_transmit`](Endpoint::poll_transmit),
//!   [`poll_event`](Endpoint::poll_event) and [`poll_timeout`](Endpoint::poll_timeout).
//! - Each request sent ends in exactly one final [`Response`](EndpointEvent::Response) or one
//!   [`Failed`](EndpointEvent::Failed) (an INVITE may bring several 2xx).
//! - All memory is bounded: server transactions by [`EndpointConfig::max_server_transactions`], streams by
//!   [`EndpointConfig::max_streams`], one message by [`EndpointConfig::limits`].

mod client;
mod config;
mod event;
mod input;
mod relay;
mod request;
mod response;
mod server;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::framing::StreamDecoder;
use crate::transaction::queue::TimerQueue;
use crate::transport::{Destination, FlowId, Transmit, Transport};

use client::{Client, ClientKey};
pub use config::EndpointConfig;
pub use event::{EndpointEvent, Failure, RespondError};
pub use request::{Field, Request};
pub use response::Response;
use server::{Answer, Server};

/// The transaction layer of one node. See the [module](self).
pub struct Endpoint {
    config: EndpointConfig,
    rng: ChaCha20Rng,
    /// Keys the hash that server transactions are found by, so that no peer can aim at a collision.
    hash_key: [u64; 2],
    /// Stands for our address where there is none.
    nowhere: u64,
    clients: HashMap<ClientKey, Client>,
    servers: HashMap<u128, Server>,
    timers: TimerQueue<TimerKey>,
    /// Timer J has one length, so its ends come in the order of their beginnings: a queue, no heap.
    answered: VecDeque<(Instant, u128)>,
    /// Bytes of the answers kept for that time.
    answered_bytes: usize,
    streams: HashMap<FlowId, StreamDecoder>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<EndpointEvent>,
}

#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd)]
enum TimerKey {
    Client(ClientKey),
    Server(u128),
}

impl Endpoint {
    /// An endpoint without transactions. `seed` must be secret and never used twice: branches come from it.
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let hash_key = [rng.next_u64(), rng.next_u64()];
        let nowhere = rng.next_u64();
        Self {
            config,
            rng,
            hash_key,
            nowhere,
            clients: HashMap::new(),
            servers: HashMap::new(),
            timers: TimerQueue::new(),
            answered: VecDeque::new(),
            answered_bytes: 0,
            streams: HashMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// This node has other addresses from now on.
    pub fn set_local(&mut self, local: Vec<(Transport, SocketAddr)>) {
        self.config.local = local;
    }

    /// The next message to send. Changes after any `handle_*` or command.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event. Changes after any `handle_*` or command.
    pub fn poll_event(&mut self) -> Option<EndpointEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. Changes after any `handle_*` or command.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let (clients, servers) = (&self.clients, &self.servers);
        let next = self.timers.next(|key| deadline(clients, servers, key));
        match (next, self.answered.front()) {
            (Some(a), Some((b, _))) => Some(a.min(*b)),
            (a, b) => a.or(b.map(|(at, _)| *at)),
        }
    }

    /// Lets time pass: retransmits, gives up, forgets. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.answered.front().copied() {
            if at > now {
                break;
            }
            self.answered.pop_front();
            if let Some(Server::Answered(Answer::Bytes(bytes))) = self.servers.remove(&key) {
                self.answered_bytes = self.answered_bytes.saturating_sub(bytes.len());
            }
        }
        loop {
            let (clients, servers) = (&self.clients, &self.servers);
            let Some(due) = self.timers.pop_due(now, |key| deadline(clients, servers, key)) else { break };
            match due {
                TimerKey::Client(key) => self.client_timeout(now, key),
                TimerKey::Server(key) => self.server_timeout(now, key),
            }
        }
    }

    /// Bytes for `destination` could not be delivered, or the connection `flow` broke, for a `reason` that a person may
    /// read. Requests without final answer that were sent there fail (RFC 3261 §18.4), and those sent by TCP only for their
    /// size are tried by UDP (RFC 3261 §18.1.1).
    pub fn handle_flow_failed(
        &mut self,
        now: Instant,
        destination: Destination,
        flow: Option<FlowId>,
        reason: &str,
    ) {
        if let Some(flow) = flow {
            self.streams.remove(&flow);
        }
        let mut hit: Vec<ClientKey> = self
            .clients
            .iter()
            .filter(|(_, client)| client.is_on(destination, flow))
            .map(|(key, _)| *key)
            .collect();
        // The table has no order of its own, and a run must be the same for the same seed.
        hit.sort_unstable();
        for key in hit {
            self.client_flow_failed(now, key, reason);
        }
    }

    /// The number of transactions, client and server, that are remembered. For diagnostics.
    pub fn transactions(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    fn arm(&mut self, key: TimerKey) {
        if let Some(at) = deadline(&self.clients, &self.servers, key) {
            self.timers.arm(at, key);
        }
    }
}

fn deadline(
    clients: &HashMap<ClientKey, Client>,
    servers: &HashMap<u128, Server>,
    key: TimerKey,
) -> Option<Instant> {
    match key {
        TimerKey::Client(key) => clients.get(&key).and_then(Client::deadline),
        TimerKey::Server(key) => servers.get(&key).and_then(Server::deadline),
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("local", &self.config.local)
            .field("clients", &self.clients.len())
            .field("servers", &self.servers.len())
            .finish_non_exhaustive()
    }
}

impl crate::sim::Node for Endpoint {
    fn handle_input(&mut self, now: Instant, flow: crate::transport::Flow, bytes: bytes::Bytes) {
        Self::handle_input(self, now, flow, bytes);
    }
    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        Self::handle_flow_failed(self, now, to, flow, reason);
    }
    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        Self::poll_transmit(self)
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
}
