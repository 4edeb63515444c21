//! Carrying packets: datagrams by chance, streams in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::link::{Fate, Link, Packet};
use super::{Simulation, TRACE_LIMIT};
use crate::transport::{Destination, Flow, FlowId, Transmit, Transport};

/// Something on its way to a node.
pub(super) struct Delivery {
    pub(super) to: SocketAddr,
    pub(super) what: Happening,
}

pub(super) enum Happening {
    Datagram { from: SocketAddr, payload: Bytes },
    Stream { connection: u64, payload: Bytes },
    Failed { destination: Destination, flow: Option<FlowId>, reason: String },
}

/// Deliveries by time, and by order of sending within one instant.
#[derive(Default)]
pub(super) struct Deliveries {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    waiting: std::collections::HashMap<u64, Delivery>,
    next: u64,
}

impl Deliveries {
    pub(super) fn push(&mut self, at: Instant, delivery: Delivery) {
        self.heap.push(Reverse((at, self.next)));
        self.waiting.insert(self.next, delivery);
        self.next += 1;
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let Reverse((_, number)) = self.heap.pop()?;
        self.waiting.remove(&number)
    }
}

/// A stream between two nodes. The opener's end has a port of its own; the other end is the listening address.
pub(super) struct Connection {
    transport: Transport,
    opener: SocketAddr,
    opener_port: SocketAddr,
    opener_flow: FlowId,
    listener: SocketAddr,
    listener_flow: FlowId,
    /// No byte may overtake an earlier one.
    last_arrival: Instant,
}

impl Connection {
    /// The connection as the node at `addr` sees it.
    pub(super) fn end_at(&self, addr: SocketAddr) -> Option<Flow> {
        if addr == self.listener {
            Some(Flow {
                id: self.listener_flow,
                transport: self.transport,
                local: self.listener,
                remote: self.opener_port,
            })
        } else if addr == self.opener {
            Some(Flow {
                id: self.opener_flow,
                transport: self.transport,
                local: self.opener_port,
                remote: self.listener,
            })
        } else {
            None
        }
    }

    fn peer_of(&self, addr: SocketAddr) -> SocketAddr {
        if addr == self.opener { self.listener } else { self.opener }
    }

    fn involves(&self, addr: SocketAddr) -> bool {
        addr == self.opener || addr == self.listener
    }
}

impl Simulation {
    pub(super) fn carry(&mut self, from: SocketAddr, transmit: Transmit) {
        let transport = transmit.destination.transport;
        if transport.is_reliable() {
            self.carry_stream(from, transmit);
        } else {
            self.carry_datagram(from, transmit.destination.remote, &transmit.payload);
        }
    }

    fn carry_datagram(&mut self, from: SocketAddr, to: SocketAddr, payload: &Bytes) {
        let link = self.link_between(from, to);
        let mut fate = self.decide(from, to, Transport::Udp, payload);
        if fate == Fate::Deliver {
            if self.chance(link.loss) {
                fate = Fate::Drop;
            } else if self.chance(link.duplicate) {
                fate = Fate::Duplicate;
            } else if self.chance(link.reorder) {
                fate = Fate::Delay((link.latency + link.jitter).saturating_mul(3));
            }
        }
        if self.is_cut(from, to) {
            fate = Fate::Drop;
        }
        self.note(from, to, Transport::Udp, payload, fate);
        let (copies, extra) = match fate {
            Fate::Drop => return,
            Fate::Deliver => (1, Duration::ZERO),
            Fate::Duplicate => (2, Duration::ZERO),
            Fate::Delay(extra) => (1, extra),
        };
        for _ in 0..copies {
            let at = self.clock + self.travel_time(&link) + extra;
            let what = Happening::Datagram { from, payload: payload.clone() };
            self.deliveries.push(at, Delivery { to, what });
        }
    }

    fn carry_stream(&mut self, from: SocketAddr, transmit: Transmit) {
        let Transmit { destination, flow, payload, .. } = transmit;
        let Some((number, to)) = self.connection_for(from, destination, flow) else { return };
        let link = self.link_between(from, to);
        let fate = self.decide(from, to, destination.transport, &payload);
        let cut = self.is_cut(from, to);
        let noted = if cut { Fate::Drop } else { fate };
        self.note(from, to, destination.transport, &payload, noted);
        if cut {
            return;
        }
        let extra = if let Fate::Delay(extra) = fate { extra } else { Duration::ZERO };
        let at = self.clock + self.travel_time(&link) + extra;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.last_arrival = connection.last_arrival.max(at);
        let at = connection.last_arrival;
        self.deliveries.push(at, Delivery { to, what: Happening::Stream { connection: number, payload } });
    }

    /// The connection that bytes travel on: the wanted one, another to the same place, or a new one. `None` when it was
    /// refused, which the sender hears about.
    fn connection_for(
        &mut self,
        from: SocketAddr,
        destination: Destination,
        flow: Option<FlowId>,
    ) -> Option<(u64, SocketAddr)> {
        let wanted = self.connections.iter().find(|(_, connection)| {
            connection.transport == destination.transport
                && connection.end_at(from).is_some_and(|end| Some(end.id) == flow)
        });
        let existing = wanted.or_else(|| {
            self.connections.iter().find(|(_, connection)| {
                connection.transport == destination.transport
                    && connection.end_at(from).is_some_and(|end| end.remote == destination.remote)
            })
        });
        if let Some((number, connection)) = existing {
            return Some((*number, connection.peer_of(from)));
        }
        let to = destination.remote;
        let listens =
            self.nodes.get(&to).is_some_and(|slot| slot.alive) && !self.refusals.contains(&to) && from != to;
        if !listens || self.is_cut(from, to) {
            let (delay, reason) = if self.is_cut(from, to) {
                // What a kernel needs to give a connection attempt up, roughly.
                (Duration::from_secs(20), "connection timed out")
            } else {
                (self.link_between(from, to).latency.saturating_mul(2), "connection refused")
            };
            let what = Happening::Failed { destination, flow, reason: reason.to_owned() };
            self.deliveries.push(self.clock + delay, Delivery { to: from, what });
            return None;
        }
        let opener_flow = self.flow_id();
        let listener_flow = self.flow_id();
        let number = opener_flow.0;
        let port = 49152 + u16::try_from(number % 16384).expect("a remainder of 16384 fits");
        let connection = Connection {
            transport: destination.transport,
            opener: from,
            opener_port: SocketAddr::new(from.ip(), port),
            opener_flow,
            listener: to,
            listener_flow,
            last_arrival: self.clock,
        };
        self.connections.insert(number, connection);
        Some((number, to))
    }

    /// Breaks all connections of a node; the living peers hear of it after the link's latency.
    pub(super) fn break_connections(&mut self, addr: SocketAddr, reason: &str) {
        let broken: Vec<u64> =
            self.connections.iter().filter(|(_, c)| c.involves(addr)).map(|(number, _)| *number).collect();
        for number in broken {
            let Some(connection) = self.connections.remove(&number) else { continue };
            let peer = connection.peer_of(addr);
            let Some(end) = connection.end_at(peer) else { continue };
            if self.is_cut(addr, peer) {
                continue;
            }
            let at = self.clock + self.link_between(addr, peer).latency;
            let what =
                Happening::Failed { destination: end.back(), flow: Some(end.id), reason: reason.to_owned() };
            self.deliveries.push(at, Delivery { to: peer, what });
        }
    }

    fn link_between(&self, from: SocketAddr, to: SocketAddr) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.link)
    }

    fn is_cut(&self, a: SocketAddr, b: SocketAddr) -> bool {
        self.partitions.contains(&(a.min(b), a.max(b)))
    }

    fn travel_time(&mut self, link: &Link) -> Duration {
        link.latency + link.jitter.mul_f64(self.fraction())
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.fraction() < probability
    }

    /// A number in 0..1 with 32 random bits.
    fn fraction(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    fn decide(&mut self, from: SocketAddr, to: SocketAddr, transport: Transport, payload: &Bytes) -> Fate {
        let Some(mut filter) = self.filter.take() else { return Fate::Deliver };
        let packet =
            Packet { at: self.elapsed(), from, to, transport, payload: payload.clone(), fate: Fate::Deliver };
        let fate = filter(&packet);
        self.filter = Some(filter);
        fate
    }

    fn note(&mut self, from: SocketAddr, to: SocketAddr, transport: Transport, payload: &Bytes, fate: Fate) {
        if self.trace.len() < TRACE_LIMIT {
            let at = self.elapsed();
            self.trace.push(Packet { at, from, to, transport, payload: payload.clone(), fate });
        }
    }
}
