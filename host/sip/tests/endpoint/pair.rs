//! Two endpoints on a simulated network.

use std::net::SocketAddr;
use std::time::Duration;

use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request, Response};
use attache_sip::message::{Message, Method};
use attache_sip::sim::{Fate, Simulation};
use attache_sip::transaction::{ServerTransactionId, TransactionId};
use attache_sip::transport::{Destination, Flow, Transport};

pub(crate) fn alice() -> SocketAddr {
    "127.0.0.1:5060".parse().unwrap()
}

pub(crate) fn bob() -> SocketAddr {
    "127.0.0.2:5060".parse().unwrap()
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn request(method: Method<'_>) -> Request {
    Request::new(method, "sip:bob@127.0.0.2")
        .from("<sip:alice@127.0.0.1>;tag=a")
        .to("<sip:bob@127.0.0.2>")
        .call_id("call@127.0.0.1")
        .cseq(7)
        .header("Route", "<sip:127.0.0.2;lr>")
}

pub(crate) struct Pair {
    pub(crate) sim: Simulation,
    pub(crate) transport: Transport,
}

impl Pair {
    pub(crate) fn new(transport: Transport) -> Self {
        let mut sim = Simulation::new(11);
        sim.add(alice(), Endpoint::new(EndpointConfig::at(alice()), [1; 32]));
        sim.add(bob(), Endpoint::new(EndpointConfig::at(bob()), [2; 32]));
        Self { sim, transport }
    }

    pub(crate) fn send(&mut self, request: &Request) -> TransactionId {
        let destination = Destination { transport: self.transport, remote: bob() };
        self.sim
            .with(alice(), |endpoint: &mut Endpoint, now| {
                endpoint.send_request(now, request, destination, None)
            })
            .unwrap()
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        self.sim.run_for(duration);
    }

    pub(crate) fn events(&mut self, addr: SocketAddr) -> Vec<EndpointEvent> {
        self.sim
            .with(addr, |endpoint: &mut Endpoint, _| std::iter::from_fn(|| endpoint.poll_event()).collect())
    }

    /// Runs a little, and takes the one request that Bob then has.
    pub(crate) fn request_at_bob(&mut self) -> (ServerTransactionId, Message, Flow) {
        self.run(Duration::from_millis(10));
        let mut events = self.events(bob());
        match (events.pop(), events.is_empty()) {
            (Some(EndpointEvent::Request { id, message, flow }), true) => (id, message, flow),
            (event, _) => panic!("one request, not {event:?} and {events:?}"),
        }
    }

    pub(crate) fn respond(&mut self, id: ServerTransactionId, response: &Response) {
        self.sim.with(bob(), |endpoint: &mut Endpoint, now| endpoint.respond(now, id, response)).unwrap();
    }

    /// The statuses that Alice's user got to see.
    pub(crate) fn statuses(&mut self) -> Vec<u16> {
        self.events(alice())
            .into_iter()
            .filter_map(|event| match event {
                EndpointEvent::Response { message, .. } => message.status(),
                _ => None,
            })
            .collect()
    }

    /// Loses the first `n` packets that begin so.
    pub(crate) fn lose(&mut self, beginning: &'static str, mut n: usize) {
        self.sim.set_filter(move |packet| {
            if packet.is(beginning) && n > 0 {
                n -= 1;
                Fate::Drop
            } else {
                Fate::Deliver
            }
        });
    }

    /// The times in milliseconds at which packets that begin so were sent.
    pub(crate) fn times(&self, beginning: &str) -> Vec<u128> {
        self.sim
            .trace()
            .iter()
            .filter(|packet| packet.is(beginning))
            .map(|packet| packet.at.as_millis())
            .collect()
    }

    /// The first packet that begins so.
    pub(crate) fn text(&self, beginning: &str) -> String {
        let packet = self.sim.trace().iter().find(|packet| packet.is(beginning)).expect("such a packet");
        String::from_utf8(packet.payload.to_vec()).unwrap()
    }

    pub(crate) fn transactions(&mut self, addr: SocketAddr) -> (usize, usize) {
        self.sim.with(addr, |endpoint: &mut Endpoint, _| endpoint.transactions())
    }
}
