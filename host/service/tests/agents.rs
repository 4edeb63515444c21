//! The service with the agents of `attache-sip` as its clients.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use attache_service::Core;
use attache_sip::agent::{Agent, AgentConfig, AgentEvent, Cause, MessageParams};
use attache_sip::sim::{Link, Simulation};
use attache_sip::transport::{Destination, Transport};
use attache_sip::uri::UriBuf;
use attache_sip::usage::{PublishParams, SubscribeParams};
use common::{ALICE, BOB, SERVICE, config, pidf};

struct World {
    sim: Simulation,
    /// What happened to whom, in a few words.
    log: Vec<(&'static str, String)>,
}

impl World {
    fn new() -> Self {
        let mut sim = Simulation::new(3);
        sim.add(SERVICE.parse().unwrap(), Core::new(config(), sim.now(), SystemTime::UNIX_EPOCH, [5; 32]));
        let mut world = Self { sim, log: Vec::new() };
        world.join("alice", "wonderland", ALICE, 1);
        world.join("bob", "builder", BOB, 2);
        world
    }

    fn join(&mut self, user: &str, password: &str, at: &str, seed: u8) {
        let here: SocketAddr = at.parse().unwrap();
        let aor = UriBuf::parse(&format!("sip:{user}@example.com")).unwrap();
        let local = vec![(Transport::Udp, here), (Transport::Tcp, here)];
        let config = AgentConfig { max_message: 1024 * 1024, ..AgentConfig::new(aor, password, local) };
        self.sim.add(here, Agent::new(config, [seed; 32]));
        let service = Destination { transport: Transport::Udp, remote: SERVICE.parse().unwrap() };
        self.agent(at, |agent, now| {
            agent.set_next_hop(now, vec![service]);
            agent.register(now, 600);
        });
    }

    fn agent<R>(&mut self, at: &str, f: impl FnOnce(&mut Agent, std::time::Instant) -> R) -> R {
        self.sim.with(at.parse().unwrap(), f)
    }

    fn collect(&mut self) {
        for at in [ALICE, BOB] {
            loop {
                let Some(event) = self.agent(at, |agent, _| agent.poll_event()) else { break };
                let what = match event {
                    AgentEvent::Registered(_) => "registered".to_owned(),
                    AgentEvent::RegistrationFailed { cause: Cause::WrongPassword { .. }, .. } => {
                        "wrong password".into()
                    }
                    AgentEvent::RegistrationFailed { cause, .. } => cause.to_string(),
                    AgentEvent::Subscription { notify: Some(notify), .. } => {
                        let text = String::from_utf8_lossy(&notify.body).into_owned();
                        match text.split_once("<note>") {
                            Some((_, rest)) => format!("sees {}", rest.split('<').next().unwrap()),
                            None => "sees closed".into(),
                        }
                    }
                    AgentEvent::MessageSent { status, .. } => format!("sent {status}"),
                    AgentEvent::MessageFailed { cause, .. } => format!("not sent: {cause}"),
                    AgentEvent::MessageReceived { id, message, .. } => {
                        self.agent(at, |agent, now| agent.respond(now, id, 200)).unwrap();
                        format!("hears {}", String::from_utf8_lossy(message.body()))
                    }
                    _ => continue,
                };
                self.log.push((at, what));
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.sim.run_for(Duration::from_millis(100));
            self.collect();
        }
    }

    fn said(&mut self, at: &str) -> Vec<String> {
        self.log.iter().filter(|(who, _)| *who == at).map(|(_, what)| what.clone()).collect()
    }

    fn subscribe(&mut self, at: &str, to: &str) {
        let params =
            SubscribeParams { expires: 600, ..SubscribeParams::presence(UriBuf::parse(to).unwrap()) };
        self.agent(at, |agent, now| agent.subscribe(now, params)).unwrap();
    }

    fn say(&mut self, at: &str, to: &str, text: &str) {
        let params = MessageParams {
            to: UriBuf::parse(to).unwrap(),
            content_type: "text/plain".into(),
            body: text.to_owned().into(),
            headers: Vec::new(),
            call_id: format!("{text}@{at}"),
        };
        self.agent(at, |agent, now| agent.send_message(now, params));
    }
}

#[test]
fn two_agents_see_each_other_and_talk_for_a_day() {
    let mut world = World::new();
    world.run(2);
    world.subscribe(ALICE, "sip:bob@example.com");
    world.run(2);
    let publication = world.agent(BOB, |bob, now| bob.publish(now, PublishParams::presence(pidf("here"))));
    world.run(2);
    world.say(ALICE, "sip:bob@example.com", "hello");
    world.run(2);
    world.agent(BOB, |bob, now| bob.modify(now, publication, pidf("away")));
    world.run(2);
    assert_eq!(world.said(ALICE), ["registered", "sees closed", "sees here", "sent 200", "sees away"]);
    assert_eq!(world.said(BOB), ["registered", "hears hello"]);
    // Every refresh of a day: nobody ever seems to be gone.
    world.log.clear();
    world.sim.run_for(Duration::from_secs(24 * 3600));
    world.collect();
    assert!(
        world.said(ALICE).iter().all(|what| what == "registered" || what == "sees away"),
        "{:?}",
        world.log
    );
    let statistics = world.sim.with(SERVICE.parse().unwrap(), |core: &mut Core, _| core.statistics());
    assert_eq!((statistics.registered_users, statistics.subscriptions), (2, 1));
}

#[test]
fn agents_recover_from_a_restart_of_the_service() {
    let mut world = World::new();
    world.run(2);
    world.subscribe(ALICE, "sip:bob@example.com");
    world.agent(BOB, |bob, now| bob.publish(now, PublishParams::presence(pidf("here"))));
    world.run(5);
    let core = Core::new(config(), world.sim.now(), SystemTime::UNIX_EPOCH, [6; 32]);
    world.sim.add(SERVICE.parse().unwrap(), core);
    world.log.clear();
    world.run(3700);
    assert_eq!(world.said(ALICE).iter().rfind(|what| what.starts_with("sees")).unwrap(), "sees here");
    world.say(BOB, "sip:alice@example.com", "back");
    world.run(2);
    assert_eq!(world.said(ALICE).last().unwrap(), "hears back");
}

#[test]
fn an_agent_with_a_wrong_password_hears_so_once_and_is_quiet() {
    let mut world = World::new();
    world.join("alice", "guess", ALICE, 4);
    world.run(120);
    assert_eq!(world.said(ALICE), ["wrong password"]);
}

#[test]
fn agents_talk_over_a_bad_network() {
    let mut world = World::new();
    world.sim.set_default_link(Link { loss: 0.15, duplicate: 0.1, ..Link::default() });
    world.run(40);
    for number in 0..10 {
        world.say(ALICE, "sip:bob@example.com", &number.to_string());
        world.run(20);
    }
    world.run(120);
    let mut heard: Vec<_> = world.said(BOB).into_iter().filter(|what| what.starts_with("hears")).collect();
    heard.dedup();
    assert_eq!(heard, (0..10).map(|number| format!("hears {number}")).collect::<Vec<_>>());
}

/// The terms of the last report on a subscription, and whether it brought a document.
fn last_terms(world: &mut World, at: &str) -> Option<(bool, attache_sip::agent::Terms)> {
    let mut last = None;
    while let Some(event) = world.agent(at, |agent, _| agent.poll_event()) {
        if let AgentEvent::Subscription { notify, terms, .. } = event {
            last = Some((notify.is_some(), terms));
        }
    }
    last
}

fn notifications_to(world: &World, at: &str) -> usize {
    let at: SocketAddr = at.parse().unwrap();
    world.sim.trace().iter().filter(|packet| packet.to == at && packet.is("NOTIFY")).count()
}

#[test]
fn an_agent_that_kept_its_tag_is_told_nothing_twice() {
    let mut world = World::new();
    world.run(1);
    world.agent(BOB, |agent, now| agent.publish(now, PublishParams::presence(pidf("here"))));
    world.run(1);
    world.subscribe(ALICE, "sip:bob@example.com");
    world.sim.run_for(Duration::from_secs(2));
    let (document, terms) = last_terms(&mut world, ALICE).unwrap();
    assert!(document && !terms.unchanged);
    let etag = terms.etag.expect("the service gives tags");
    // An hour of refreshes, each of ten minutes at most, brings no document again.
    let before = notifications_to(&world, ALICE);
    world.sim.run_for(Duration::from_secs(3600));
    assert_eq!(notifications_to(&world, ALICE), before);
    assert!(last_terms(&mut world, ALICE).is_none());
    // The process starts anew, with what it stored.
    world.join("alice", "wonderland", ALICE, 9);
    let params = SubscribeParams {
        etag: Some(etag.to_string()),
        ..SubscribeParams::presence(UriBuf::parse("sip:bob@example.com").unwrap())
    };
    world.agent(ALICE, |agent, now| agent.subscribe(now, params)).unwrap();
    world.sim.run_for(Duration::from_secs(2));
    let (document, terms) = last_terms(&mut world, ALICE).unwrap();
    assert!(!document && terms.unchanged, "{terms:?}");
    // And what changes then is heard.
    world.agent(BOB, |agent, now| agent.publish(now, PublishParams::presence(pidf("away"))));
    world.sim.run_for(Duration::from_secs(10));
    let (document, terms) = last_terms(&mut world, ALICE).unwrap();
    assert!(document && !terms.unchanged && terms.etag.is_some_and(|now| now != etag));
}

#[test]
fn an_agent_behind_a_web_socket_sees_and_is_seen() {
    let mut world = World::new();
    world.run(1);
    let mut config =
        AgentConfig::new(UriBuf::parse("sip:alice@example.com").unwrap(), "wonderland", Vec::new());
    config.instance = Some("urn:uuid:00000000-0000-1000-8000-aabbccddeeff".into());
    world.sim.add(ALICE.parse().unwrap(), Agent::new(config, [7; 32]));
    let service = Destination { transport: Transport::Ws, remote: SERVICE.parse().unwrap() };
    world.agent(ALICE, |agent, now| {
        agent.set_next_hop(now, vec![service]);
        agent.register(now, 600);
    });
    world.run(2);
    world.subscribe(ALICE, "sip:bob@example.com");
    world.agent(BOB, |agent, now| agent.publish(now, PublishParams::presence(pidf("here"))));
    world.run(2);
    world.say(BOB, "sip:alice@example.com", "hello");
    world.run(2);
    let said = world.said(ALICE);
    assert!(said.contains(&"registered".to_owned()), "{said:?}");
    assert!(said.contains(&"sees here".to_owned()), "{said:?}");
    assert!(said.contains(&"hears hello".to_owned()), "{said:?}");
}

#[test]
fn an_agent_watches_ten_thousand_people_with_one_subscription() {
    let mut toml = String::from("[service]\ndomains = [\"example.com\"]\n");
    let mut members = Vec::new();
    let mut add = |name: &str, password: &str| {
        toml.push_str(&format!("[[user]]\nname = \"{name}\"\n{password}\n"));
        members.push(format!("sip:{name}@example.com"));
    };
    add("alice", "password = \"wonderland\"");
    add("bob", "password = \"builder\"");
    for number in 0..9_998 {
        add(&format!("user-{number}"), &format!("ha1-sha256 = \"{number:064x}\""));
    }
    let accounts = attache_service::ServiceConfig::parse(&toml).unwrap().accounts().unwrap();
    let address = "sip:everybody@example.com".to_owned();
    let lists = vec![attache_service::ListConfig { address, members, watchers: Vec::new() }];
    let mut sim = Simulation::new(3);
    let config = attache_service::CoreConfig { accounts, lists, ..config() };
    sim.add(SERVICE.parse().unwrap(), Core::new(config, sim.now(), SystemTime::UNIX_EPOCH, [5; 32]));
    let mut world = World { sim, log: Vec::new() };
    world.join("alice", "wonderland", ALICE, 1);
    let service = Destination { transport: Transport::Tcp, remote: SERVICE.parse().unwrap() };
    world.agent(ALICE, |alice, now| alice.set_next_hop(now, vec![service]));
    let mut params = SubscribeParams::presence(UriBuf::parse("sip:everybody@example.com").unwrap());
    params.event_list = true;
    params.accept.extend(["multipart/related".into(), "application/rlmi+xml".into()]);
    world.agent(ALICE, |agent, now| agent.subscribe(now, params)).unwrap();
    let mut known = std::collections::HashSet::new();
    let mut version = 0;
    for _ in 0..600 {
        world.sim.run_for(Duration::from_millis(100));
        while let Some(event) = world.agent(ALICE, |agent, _| agent.poll_event()) {
            let AgentEvent::Subscription { notify: Some(notify), .. } = event else { continue };
            let parts =
                attache_documents::multipart::read(&notify.content_type, &notify.body, 20_000).unwrap();
            let list = attache_documents::rlmi::read(parts.root().body(), &attache_documents::rlmi::LIMITS);
            let list = list.unwrap().document;
            assert_eq!((list.version, list.full_state), (version, version == 0));
            version += 1;
            let shown =
                list.resources.into_iter().filter(|one| one.instances.iter().any(|i| i.cid.is_some()));
            known.extend(shown.map(|resource| resource.uri));
        }
        if known.len() == 10_000 {
            return;
        }
    }
    panic!("{} of them only", known.len());
}

#[test]
fn an_agent_binds_its_flow_and_learns_the_address_of_its_device() {
    let mut world = World::new();
    let here: SocketAddr = "127.0.9.1:5060".parse().unwrap();
    let aor = UriBuf::parse("sip:bob@example.com").unwrap();
    let mut config = AgentConfig::new(aor, "builder", vec![(Transport::Tcp, here)]);
    config.instance = Some("urn:uuid:00000000-0000-1000-8000-00000000000a".into());
    world.sim.add(here, Agent::new(config, [9; 32]));
    let service = Destination { transport: Transport::Tcp, remote: SERVICE.parse().unwrap() };
    world.agent("127.0.9.1:5060", |agent, now| {
        agent.set_next_hop(now, vec![service]);
        agent.register(now, 600);
    });
    world.run(3);
    let registered = world.agent("127.0.9.1:5060", |agent, _| {
        std::iter::from_fn(|| agent.poll_event()).find_map(|event| match event {
            AgentEvent::Registered(registered) => Some(registered),
            _ => None,
        })
    });
    let registered = registered.unwrap();
    assert!(registered.outbound);
    let gruu = "sip:bob@example.com;gr=urn:uuid:00000000-0000-1000-8000-00000000000a";
    assert_eq!(registered.gruu.as_deref(), Some(gruu));
}
