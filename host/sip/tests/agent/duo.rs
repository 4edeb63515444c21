//! Two agents, each the other's service, so that a test reads as a call between two people.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attache_sip::agent::{Agent, AgentConfig, AgentEvent, InviteId};
use attache_sip::sim::{Link, Simulation};
use attache_sip::transport::{Destination, Transport};
use attache_sip::usage::{Body, Incoming, InviteEvent, InviteParams};

use crate::pair::{HOUR, uri};

pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\n";
pub(crate) const ANSWER: &str = "v=0\r\no=- 2 1 IN IP4 127.0.0.3\r\ns=-\r\n";

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Who {
    Alice,
    Bob,
}
pub(crate) use Who::{Alice, Bob};

impl Who {
    pub(crate) fn addr(self) -> SocketAddr {
        match self {
            Alice => "127.0.0.2:5070".parse().unwrap(),
            Bob => "127.0.0.3:5070".parse().unwrap(),
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Alice => Bob,
            Bob => Alice,
        }
    }
}

pub(crate) struct Duo {
    pub(crate) sim: Simulation,
    events: [VecDeque<AgentEvent>; 2],
    pub(crate) diagnostics: Vec<String>,
}

impl Duo {
    pub(crate) fn new() -> Self {
        Self::seeded(7, Transport::Udp, |_, _| {})
    }

    pub(crate) fn with(change: impl Fn(Who, &mut AgentConfig)) -> Self {
        Self::seeded(7, Transport::Udp, change)
    }

    pub(crate) fn lossy(seed: u64, loss: f64) -> Self {
        let mut duo = Self::seeded(seed, Transport::Udp, |_, _| {});
        let jitter = Duration::from_millis(20);
        duo.sim.set_default_link(Link {
            loss,
            jitter,
            duplicate: loss / 2.0,
            reorder: loss,
            ..Link::default()
        });
        duo
    }

    pub(crate) fn seeded(seed: u64, transport: Transport, change: impl Fn(Who, &mut AgentConfig)) -> Self {
        let mut sim = Simulation::new(seed);
        for (who, name, byte) in [(Alice, "alice", 2), (Bob, "bob", 3)] {
            let local = vec![(Transport::Udp, who.addr()), (Transport::Tcp, who.addr())];
            let mut config = AgentConfig::new(uri(&format!("sip:{name}@example.com")), "secret", local);
            config.invite.max = 16;
            change(who, &mut config);
            sim.add(who.addr(), Agent::new(config, [byte; 32]));
            sim.with(who.addr(), |agent: &mut Agent, now| {
                agent.set_next_hop(now, vec![Destination { transport, remote: who.other().addr() }]);
            });
        }
        Self { sim, events: [VecDeque::new(), VecDeque::new()], diagnostics: Vec::new() }
    }

    pub(crate) fn agent<R>(&mut self, who: Who, f: impl FnOnce(&mut Agent, Instant) -> R) -> R {
        let result = self.sim.with(who.addr(), f);
        self.collect();
        result
    }

    fn collect(&mut self) {
        for who in [Alice, Bob] {
            let (events, diagnostics) = (&mut self.events[who as usize], &mut self.diagnostics);
            self.sim.with(who.addr(), |agent: &mut Agent, _| {
                while let Some(event) = agent.poll_event() {
                    match event {
                        AgentEvent::Diagnostic(diagnostic) => {
                            diagnostics.push(format!("{who:?} {diagnostic:?}"));
                        }
                        AgentEvent::ServiceLearnt(_) => {}
                        event => events.push_back(event),
                    }
                }
            });
        }
    }

    /// Runs until somebody has an event, at most for `limit`.
    pub(crate) fn event_within(&mut self, who: Who, limit: Duration) -> Option<AgentEvent> {
        let end = self.sim.elapsed() + limit;
        loop {
            self.collect();
            if let Some(event) = self.events[who as usize].pop_front() {
                return Some(event);
            }
            let left = end.saturating_sub(self.sim.elapsed());
            if left.is_zero() {
                return None;
            }
            let mut steps = 0;
            self.sim.run_until(left, |_| {
                steps += 1;
                steps > 1
            });
        }
    }

    pub(crate) fn any_event(&mut self, who: Who) -> AgentEvent {
        self.event_within(who, HOUR).unwrap_or_else(|| panic!("{who:?} has no event; {:?}", self.diagnostics))
    }

    /// The next event of somebody, which must be of a session.
    pub(crate) fn event(&mut self, who: Who) -> InviteEvent {
        self.event_of(who).1
    }

    pub(crate) fn event_of(&mut self, who: Who) -> (InviteId, InviteEvent) {
        match self.any_event(who) {
            AgentEvent::Invite { id, event } => (id, event),
            other => panic!("{who:?} has {other:?}"),
        }
    }

    pub(crate) fn no_event(&mut self, who: Who, limit: Duration) {
        if let Some(event) = self.event_within(who, limit) {
            panic!("{who:?} has an unexpected {event:?}");
        }
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        self.sim.run_for(duration);
        self.collect();
    }

    pub(crate) fn call(&mut self, body: Option<Body>) -> InviteId {
        self.call_with(InviteParams::new(uri("sip:bob@example.com"), body))
    }

    pub(crate) fn call_with(&mut self, params: InviteParams) -> InviteId {
        self.agent(Alice, |agent, now| agent.invite(now, params)).unwrap()
    }

    pub(crate) fn incoming(&mut self, who: Who) -> (InviteId, Box<Incoming>) {
        match self.event_of(who) {
            (id, InviteEvent::Incoming(incoming)) => (id, incoming),
            (_, other) => panic!("{who:?} has {other:?}"),
        }
    }

    pub(crate) fn accept(&mut self, who: Who, id: InviteId, body: Option<Body>) {
        self.agent(who, |agent, now| agent.accept(now, id, body, Vec::new())).unwrap();
    }

    pub(crate) fn hang_up(&mut self, who: Who, id: InviteId) {
        self.agent(who, |agent, now| agent.hang_up(now, id, None));
    }

    /// A call from Alice to Bob that stands.
    pub(crate) fn talk(&mut self) -> (InviteId, InviteId) {
        let ours = self.call(Some(offer()));
        let (theirs, _) = self.incoming(Bob);
        self.accept(Bob, theirs, Some(answer()));
        assert!(matches!(self.event(Alice), InviteEvent::Answered { offer: false, .. }));
        assert!(matches!(self.event(Bob), InviteEvent::Confirmed { body: None }));
        (ours, theirs)
    }

    /// How many packets of somebody begin so.
    pub(crate) fn sent(&self, who: Who, beginning: &str) -> usize {
        self.packets(who, beginning).len()
    }

    /// What somebody sent that begins so.
    pub(crate) fn packets(&self, who: Who, beginning: &str) -> Vec<String> {
        let trace = self.sim.trace().iter();
        trace
            .filter(|packet| packet.from == who.addr() && packet.is(beginning))
            .map(|packet| String::from_utf8_lossy(&packet.payload).into_owned())
            .collect()
    }

    /// After a while, nothing is left of what was.
    pub(crate) fn nothing_left(&mut self) {
        self.run(Duration::from_secs(200));
        for who in [Alice, Bob] {
            self.agent(who, |agent, _| {
                assert_eq!(agent.sessions(), 0, "{who:?}");
                assert_eq!(agent.transactions(), (0, 0), "{who:?}");
                assert_eq!(agent.remembered(), 0, "{who:?}");
                assert_eq!(agent.poll_timeout(), None, "{who:?}");
            });
        }
    }
}

pub(crate) fn offer() -> Body {
    Body::sdp(OFFER)
}

pub(crate) fn answer() -> Body {
    Body::sdp(ANSWER)
}
