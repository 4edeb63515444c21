//! The simulated network keeps its promises.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attache_sip::sim::{Fate, Link, Node, Simulation};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;

/// A node that notes what it is told.
#[derive(Default)]
struct Ear {
    heard: Vec<(Instant, Bytes)>,
    flows: Vec<Flow>,
    failures: Vec<String>,
    outgoing: Vec<Transmit>,
    wake: Option<Instant>,
    woken: Vec<Instant>,
}

impl Node for Ear {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.heard.push((now, bytes));
        self.flows.push(flow);
    }
    fn handle_flow_failed(&mut self, _: Instant, _: Destination, _: Option<FlowId>, reason: &str) {
        self.failures.push(reason.to_owned());
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.woken.push(now);
        self.wake = None;
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        (!self.outgoing.is_empty()).then(|| self.outgoing.remove(0))
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        self.wake
    }
}

fn a() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

fn b() -> SocketAddr {
    "127.0.0.2:2".parse().unwrap()
}

fn pair() -> Simulation {
    let mut sim = Simulation::new(1);
    sim.add(a(), Ear::default());
    sim.add(b(), Ear::default());
    sim
}

fn send(sim: &mut Simulation, transport: Transport, text: &str) {
    let payload = Bytes::from(text.to_owned());
    sim.with(a(), |ear: &mut Ear, _| {
        let destination = Destination { transport, remote: b() };
        ear.outgoing.push(Transmit { destination, flow: None, domain: None, payload });
    });
}

fn heard(sim: &mut Simulation) -> Vec<String> {
    sim.with(b(), |ear: &mut Ear, _| {
        ear.heard.drain(..).map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    })
}

#[test]
fn time_passes_only_as_it_is_told() {
    let mut sim = pair();
    let start = sim.now();
    sim.with(a(), |ear: &mut Ear, now| ear.wake = Some(now + Duration::from_secs(5)));
    sim.run_for(Duration::from_secs(60));
    assert_eq!(sim.now(), start + Duration::from_secs(60));
    let woken = sim.with(a(), |ear: &mut Ear, _| ear.woken.clone());
    assert_eq!(woken, [start + Duration::from_secs(5)]);
}

#[test]
fn a_stream_stays_in_order_where_datagrams_are_reordered() {
    let mut sim = pair();
    sim.set_default_link(Link { jitter: Duration::from_millis(500), ..Link::default() });
    let sent: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for transport in [Transport::Tcp, Transport::Udp] {
        for text in &sent {
            send(&mut sim, transport, text);
        }
        sim.run_for(Duration::from_secs(2));
        let heard = heard(&mut sim);
        assert_eq!(heard.len(), 50);
        assert_eq!(heard == sent, transport == Transport::Tcp);
    }
}

#[test]
fn the_filter_decides_about_single_packets() {
    let mut sim = pair();
    sim.set_filter(|packet| match &packet.payload[..] {
        b"lost" => Fate::Drop,
        b"twice" => Fate::Duplicate,
        b"late" => Fate::Delay(Duration::from_secs(1)),
        _ => Fate::Deliver,
    });
    for text in ["lost", "late", "twice", "plain"] {
        send(&mut sim, Transport::Udp, text);
    }
    sim.run_for(Duration::from_secs(2));
    assert_eq!(heard(&mut sim), ["twice", "twice", "plain", "late"]);
}

#[test]
fn a_killed_node_refuses_connections_and_breaks_those_it_had() {
    let mut sim = pair();
    send(&mut sim, Transport::Tcp, "one");
    sim.run_for(Duration::from_secs(1));
    sim.kill(b());
    sim.run_for(Duration::from_secs(1));
    send(&mut sim, Transport::Tcp, "two");
    sim.run_for(Duration::from_secs(1));
    let failures = sim.with(a(), |ear: &mut Ear, _| ear.failures.clone());
    assert_eq!(failures, ["connection reset by peer", "connection refused"]);
    sim.revive(b());
    send(&mut sim, Transport::Tcp, "three");
    sim.run_for(Duration::from_secs(1));
    assert_eq!(heard(&mut sim), ["one", "three"]);
}

#[test]
fn a_partition_is_silent_until_it_heals() {
    let mut sim = pair();
    sim.partition(a(), b());
    send(&mut sim, Transport::Udp, "lost");
    sim.run_for(Duration::from_secs(1));
    sim.heal(a(), b());
    send(&mut sim, Transport::Udp, "found");
    sim.run_for(Duration::from_secs(1));
    assert_eq!(heard(&mut sim), ["found"]);
}

#[test]
fn an_answer_goes_back_on_the_connection_it_came_on() {
    let mut sim = pair();
    send(&mut sim, Transport::Tcp, "question");
    sim.run_for(Duration::from_secs(1));
    sim.with(b(), |ear: &mut Ear, _| {
        let flow = ear.flows[0];
        assert_ne!(flow.remote, a(), "the opener's end has a port of its own");
        let payload = Bytes::from_static(b"answer");
        ear.outgoing.push(Transmit { destination: flow.back(), flow: Some(flow.id), domain: None, payload });
    });
    sim.run_for(Duration::from_secs(1));
    let heard = sim.with(a(), |ear: &mut Ear, _| ear.heard.len());
    assert_eq!(heard, 1);
}
