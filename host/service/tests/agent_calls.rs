//! Calls between the agents of `attache-sip` through the service, and of an agent to a conference.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use attache_service::Core;
use attache_sip::agent::{Agent, AgentConfig, AgentEvent, InviteId};
use attache_sip::message::HeaderName;
use attache_sip::sim::{Link, Simulation};
use attache_sip::transport::{Destination, Transport};
use attache_sip::uri::UriBuf;
use attache_sip::usage::{Body, EndedBy, InviteEvent, InviteParams};
use common::calls::SDP;
use common::streams::conference_config;
use common::{ALICE, BOB, PHONE, SERVICE};

struct World {
    sim: Simulation,
}

impl World {
    fn new(transport: Transport) -> Self {
        let mut sim = Simulation::new(3);
        let core = Core::new(conference_config(), sim.now(), SystemTime::UNIX_EPOCH, [5; 32]);
        sim.add(SERVICE.parse().unwrap(), core);
        let mut world = Self { sim };
        for (user, password, at, seed) in
            [("alice", "wonderland", ALICE, 1), ("bob", "builder", BOB, 2), ("bob", "builder", PHONE, 3)]
        {
            world.join(user, password, at, seed, transport);
        }
        world
    }

    fn join(&mut self, user: &str, password: &str, at: &str, seed: u8, transport: Transport) {
        let here: SocketAddr = at.parse().unwrap();
        let aor = UriBuf::parse(&format!("sip:{user}@example.com")).unwrap();
        let local = vec![(Transport::Udp, here), (Transport::Tcp, here)];
        let mut config = AgentConfig::new(aor, password, local);
        config.invite.max = 8;
        self.sim.add(here, Agent::new(config, [seed; 32]));
        let service = Destination { transport, remote: SERVICE.parse().unwrap() };
        self.agent(at, |agent, now| {
            agent.set_next_hop(now, vec![service]);
            agent.register(now, 600);
        });
        assert!(self.until(at, |event| matches!(event, AgentEvent::Registered(_)).then_some(())).is_some());
    }

    fn agent<R>(&mut self, at: &str, f: impl FnOnce(&mut Agent, Instant) -> R) -> R {
        self.sim.with(at.parse().unwrap(), f)
    }

    /// The first event of an agent that is wanted, within a minute.
    fn until<T>(&mut self, at: &str, mut wanted: impl FnMut(AgentEvent) -> Option<T>) -> Option<T> {
        for _ in 0..600 {
            while let Some(event) = self.agent(at, |agent, _| agent.poll_event()) {
                if let Some(found) = wanted(event) {
                    return Some(found);
                }
            }
            self.sim.run_for(Duration::from_millis(100));
        }
        None
    }

    /// What happens next to the session of an agent that is wanted.
    fn session<T>(&mut self, at: &str, mut wanted: impl FnMut(InviteId, InviteEvent) -> Option<T>) -> T {
        let found = self.until(at, |event| match event {
            AgentEvent::Invite { id, event } => wanted(id, event),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("it never happened at {at}"))
    }

    fn incoming(&mut self, at: &str) -> InviteId {
        self.session(at, |id, event| matches!(event, InviteEvent::Incoming(_)).then_some(id))
    }

    fn call(&mut self, to: &str, body: Option<Body>) -> InviteId {
        let params = InviteParams::new(UriBuf::parse(to).unwrap(), body);
        self.agent(ALICE, |agent, now| agent.invite(now, params)).unwrap()
    }

    fn forwards(&mut self) -> usize {
        self.sim.with(SERVICE.parse().unwrap(), |core: &mut Core, _| core.statistics().forwards)
    }
}

fn sdp() -> Option<Body> {
    Some(Body::sdp(SDP))
}

/// A call that is taken at one of two devices, stands for some hours, and is hung up by its caller.
fn talk(transport: Transport, link: Link) {
    let mut world = World::new(transport);
    world.sim.set_default_link(link);
    world.call("sip:bob@example.com", sdp());
    let desk = world.incoming(BOB);
    let phone = world.incoming(PHONE);
    world.agent(BOB, |agent, now| agent.ring(now, desk, 180, None)).unwrap();
    world.agent(PHONE, |agent, now| agent.ring(now, phone, 183, sdp())).unwrap();
    let call = world.session(ALICE, |id, event| matches!(event, InviteEvent::Progress { .. }).then_some(id));
    world.agent(PHONE, |agent, now| agent.accept(now, phone, sdp(), Vec::new())).unwrap();
    world.session(ALICE, |_, event| matches!(event, InviteEvent::Answered { .. }).then_some(()));
    world.session(PHONE, |_, event| matches!(event, InviteEvent::Confirmed { .. }).then_some(()));
    let reason = world.session(BOB, |id, event| match event {
        InviteEvent::Ended { by: EndedBy::Peer, reason } if id == desk => Some(reason),
        _ => None,
    });
    assert_eq!(reason.and_then(|reason| reason.cause), Some(200), "answered elsewhere, not missed");
    // Refreshes of the session go through the service both ways.
    world.sim.run_for(Duration::from_secs(3 * 3600));
    assert!(world.agent(ALICE, |agent, _| agent.dialog(call)).is_some(), "it still stands");
    world.agent(ALICE, |agent, now| agent.hang_up(now, call, None));
    let by = world.session(PHONE, |_, event| match event {
        InviteEvent::Ended { by, .. } => Some(by),
        _ => None,
    });
    assert_eq!(by, EndedBy::Peer);
    world.sim.run_for(Duration::from_secs(100));
    assert_eq!(world.forwards(), 0);
}

#[test]
fn agents_call_each_other_through_the_service_and_keep_their_sessions_alive() {
    for transport in [Transport::Udp, Transport::Tcp] {
        talk(transport, Link::default());
    }
}

#[test]
fn agents_call_each_other_over_a_bad_network() {
    talk(Transport::Udp, Link { loss: 0.1, duplicate: 0.05, ..Link::default() });
}

#[test]
fn an_agent_that_asks_for_an_offer_gets_it_through_the_service() {
    let mut world = World::new(Transport::Udp);
    let call = world.call("sip:bob@example.com", None);
    let desk = world.incoming(BOB);
    world.agent(BOB, |agent, now| agent.accept(now, desk, sdp(), Vec::new())).unwrap();
    world.session(ALICE, |_, event| matches!(event, InviteEvent::Answered { offer: true, .. }).then_some(()));
    world.agent(ALICE, |agent, now| agent.acknowledge(now, call, sdp())).unwrap();
    let answer = world.session(BOB, |_, event| match event {
        InviteEvent::Confirmed { body } => Some(body),
        _ => None,
    });
    assert_eq!(answer, sdp());
}

#[test]
fn an_agent_that_gives_up_stops_the_devices_that_ring() {
    let mut world = World::new(Transport::Udp);
    let call = world.call("sip:bob@example.com", sdp());
    for at in [BOB, PHONE] {
        let ringing = world.incoming(at);
        world.agent(at, |agent, now| agent.ring(now, ringing, 180, None)).unwrap();
    }
    world.sim.run_for(Duration::from_secs(2));
    world.agent(ALICE, |agent, now| agent.hang_up(now, call, None));
    for at in [BOB, PHONE] {
        world.session(at, |_, event| matches!(event, InviteEvent::Ended { .. }).then_some(()));
    }
    world.sim.run_for(Duration::from_secs(100));
    assert_eq!(world.forwards(), 0);
}

#[test]
fn an_agent_makes_a_conference_and_leaves_it() {
    let mut world = World::new(Transport::Udp);
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.1.1\r\ns=Lunch\r\nc=IN IP4 127.0.1.1\r\nt=0 0\r\n\
                 m=message 2855 TCP/MSRP *\r\na=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\n\
                 a=path:msrp://127.0.1.1:2855/abcdef;tcp\r\na=setup:actpass\r\n";
    let call = world.call(common::streams::FACTORY, Some(Body::sdp(offer)));
    let focus = world.session(ALICE, |_, event| match event {
        InviteEvent::Answered { message, .. } => Some(common::text(&message, HeaderName::Contact)),
        InviteEvent::Failed { cause, .. } => panic!("{cause}"),
        _ => None,
    });
    assert!(focus.contains(";isfocus"), "{focus}");
    let conferences = |world: &mut World| {
        world.sim.with(SERVICE.parse().unwrap(), |core: &mut Core, _| core.statistics().conferences)
    };
    world.sim.run_for(Duration::from_secs(30));
    assert_eq!(conferences(&mut world), 1);
    world.agent(ALICE, |agent, now| agent.hang_up(now, call, None));
    world.sim.run_for(Duration::from_secs(2));
    assert_eq!(conferences(&mut world), 0);
}
