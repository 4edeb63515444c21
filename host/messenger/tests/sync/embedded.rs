//! People on the embedded service, with its XCAP server, its lists and its rules.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    engine::EngineConfig,
    error::Error,
    event::EventKind,
    presence::{Availability, Freshness, Presence, UnknownReason},
    privacy::{Decision, Preview, PreviewReason, WatcherState, Who},
    report::{Strategy, XcapState},
    sim::{BEGINNING, EngineNode, HttpServer, MemoryStore, Node, Simulation},
    snapshot::Snapshot,
};
use attache_service::{Core, CoreConfig, DefaultPolicy, ServiceConfig};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;
use http::{Request, Response};

use crate::world::address;

const USERS: &str = r#"
[service]
domains = ["example.com"]
[[user]]
name = "alice"
password = "a"
[[user]]
name = "bob"
password = "b"
[[user]]
name = "carol"
password = "c"
"#;

/// The service, which SIP and HTTP reach alike.
#[derive(Clone)]
struct Shared(Arc<Mutex<Core>>);

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

impl Node for Shared {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.with(|core| core.handle_input(now, flow, bytes));
    }
    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        self.with(|core| core.handle_flow_failed(now, to, flow, reason));
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.with(|core| core.handle_timeout(now));
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.with(Core::poll_transmit)
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        self.with(Core::poll_timeout)
    }
}

impl HttpServer for Shared {
    fn handle(
        &mut self,
        now: Instant,
        request: Request<Bytes>,
    ) -> Option<(Duration, Result<Response<Bytes>, String>)> {
        let peer = ([10, 0, 0, 1], 40_000).into();
        let answer = self.with(|core| core.handle_http(now, peer, request));
        Some((Duration::from_millis(10), Ok(answer)))
    }
}

const SERVICE: ([u8; 4], u16) = ([10, 0, 0, 9], 5060);
const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

struct World {
    sim: Simulation,
    service: Shared,
    stores: Vec<MemoryStore>,
    starts: u8,
}

fn at(name: &str) -> SocketAddr {
    let place = PEOPLE.iter().position(|known| *known == name).unwrap();
    ([10, 0, 0, u8::try_from(place + 1).unwrap()], 5060).into()
}

impl World {
    fn new(seed: u64, default: DefaultPolicy) -> Self {
        let mut sim = Simulation::new(seed);
        let accounts = ServiceConfig::parse(USERS).unwrap().accounts().unwrap();
        let mut config = CoreConfig::new("example.com", accounts, SERVICE.into());
        config.default_policy = default;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(BEGINNING.as_millis());
        let service = Shared(Arc::new(Mutex::new(Core::new(config, sim.now(), wall, [9; 32]))));
        sim.add(SERVICE.into(), service.clone());
        let stores = PEOPLE.map(|_| MemoryStore::new()).into();
        let mut world = Self { sim, service, stores, starts: 0 };
        for name in PEOPLE {
            world.restart(name);
            world.run(name, Command::SignIn).unwrap();
        }
        world.settle();
        world
    }

    fn restart(&mut self, name: &str) {
        self.starts += 1;
        let place = PEOPLE.iter().position(|known| *known == name).unwrap();
        let local = vec![(Transport::Udp, at(name)), (Transport::Tcp, at(name))];
        let seed = [self.starts.wrapping_mul(31).wrapping_add(place as u8 + 1); 32];
        let mut config = EngineConfig::new(address(name), &name[..1], local, seed);
        config.service = Some("sip:10.0.0.9:5060;transport=tcp".to_owned());
        config.xcap = Some("http://10.0.0.9:5080/xcap-root".to_owned());
        let server: Arc<Mutex<dyn HttpServer>> = Arc::new(Mutex::new(self.service.clone()));
        let node = EngineNode::new(&self.sim, config, self.stores[place].clone()).http(server);
        self.sim.add(at(name), node);
    }

    fn settle(&mut self) {
        // The simulation looks at a node when something reached it by the network; what came by HTTP did not.
        for _ in 0..24 {
            self.sim.run_for(Duration::from_millis(500));
            self.sim.with(SERVICE.into(), |_: &mut Shared, _| ());
        }
    }

    fn with<R>(&mut self, name: &str, f: impl FnOnce(&mut EngineNode) -> R) -> R {
        self.sim.with(at(name), |node: &mut EngineNode, _| f(node))
    }

    fn snapshot(&mut self, name: &str) -> Snapshot {
        self.with(name, |node| node.snapshot())
    }

    fn run(&mut self, name: &str, command: Command) -> Result<(), Error> {
        let token = self.sim.with(at(name), |node: &mut EngineNode, now| node.command(now, command));
        let done = self.sim.run_until(Duration::from_secs(120), |sim| {
            sim.with(at(name), |node: &mut EngineNode, _| node.outcome(token)).is_some()
        });
        assert!(done, "the command never completed");
        self.with(name, |node| node.outcome(token)).unwrap()
    }

    fn befriend(&mut self, name: &str, other: &str) {
        self.run(name, Command::AddContact { address: address(other), name: "".into() }).unwrap();
    }

    fn sees(&mut self, name: &str, other: &str) -> Arc<Presence> {
        let snapshot = self.snapshot(name);
        snapshot.contacts[&snapshot.by_address[&address(other)]].presence.clone()
    }

    fn rule(&mut self, name: &str, who: Who, decision: Option<Decision>) {
        self.run(name, Command::SetRule { who, decision }).unwrap();
    }

    fn preview(&mut self, name: &str, other: &str) -> Preview {
        self.with(name, |node| node.engine().preview(&address(other)))
    }

    fn asked(&mut self, name: &str) -> Vec<Address> {
        let kinds = self.with(name, |node| node.events().to_vec());
        let asked = kinds.into_iter().filter_map(|event| match event.kind {
            EventKind::WatcherRequested(watcher) => Some(watcher.address.clone()),
            _ => None,
        });
        asked.collect()
    }
}

fn one(name: &str) -> Who {
    Who::Address(address(name))
}

#[test]
fn contacts_are_kept_on_the_embedded_service_with_credentials() {
    let mut world = World::new(1, DefaultPolicy::Allow);
    world.befriend("alice", "bob");
    world.run("alice", Command::AddGroup("Work".into())).unwrap();
    world.settle();
    let state = world.snapshot("alice").report.xcap.clone();
    assert!(matches!(state, XcapState::Synced { .. }), "{state:?}");
    // Another device of hers, with nothing on it.
    world.stores[0] = MemoryStore::new();
    world.restart("alice");
    world.run("alice", Command::SignIn).unwrap();
    world.settle();
    let snapshot = world.snapshot("alice");
    assert!(snapshot.by_address.contains_key(&address("bob")));
    assert_eq!(&*snapshot.groups.values().next().unwrap().name, "Work");
}

#[test]
fn the_list_that_was_made_on_the_service_brings_everybodys_presence() {
    let mut world = World::new(2, DefaultPolicy::Allow);
    world.befriend("alice", "bob");
    world.befriend("alice", "carol");
    let busy = Command::Publish { availability: Some(Availability::Busy), note: "".into(), until: None };
    world.run("bob", busy).unwrap();
    world.settle();
    world.run("alice", Command::SignOut).unwrap();
    world.run("alice", Command::SignIn).unwrap();
    world.settle();
    let report = world.snapshot("alice").report.clone();
    let list = report.watching.iter().find(|way| way.strategy == Strategy::ServerList);
    assert_eq!(list.map(|way| way.people), Some(2), "{:?}", report.watching);
    let presence = world.sees("alice", "bob");
    assert_eq!((presence.availability, &presence.freshness), (Some(Availability::Busy), &Freshness::Live));
}

#[test]
fn each_decision_is_enforced_and_previewed_as_it_is_seen() {
    let mut world = World::new(3, DefaultPolicy::Allow);
    world.befriend("bob", "alice");
    let busy = |note: &str| Command::Publish {
        availability: Some(Availability::Busy),
        note: note.into(),
        until: None,
    };
    world.run("alice", busy("in a meeting")).unwrap();
    for decision in [Decision::Allow, Decision::PoliteBlock, Decision::Confirm, Decision::Block] {
        world.rule("alice", one("bob"), Some(decision));
        world.settle();
        // Bob asks anew, so that what he sees is what the rule says.
        world.run("bob", Command::SignOut).unwrap();
        world.run("bob", Command::SignIn).unwrap();
        world.settle();
        let sees = world.sees("bob", "alice");
        let preview = world.preview("alice", "bob");
        assert_eq!(preview.decision, Some(decision));
        assert_eq!(preview.presence.availability, sees.availability, "{decision:?}: {sees:?}");
        assert_eq!(preview.presence.note, sees.note, "{decision:?}");
        assert_eq!(
            core::mem::discriminant(&preview.presence.freshness),
            core::mem::discriminant(&sees.freshness),
            "{decision:?}: {sees:?}"
        );
        assert!(matches!(&preview.reasons[0], PreviewReason::Rule(id) if id.starts_with("attache-")));
    }
}

#[test]
fn a_rule_for_everybody_leaves_out_who_has_a_rule_of_their_own() {
    let mut world = World::new(4, DefaultPolicy::Allow);
    world.befriend("bob", "alice");
    world.befriend("carol", "alice");
    world.rule("alice", Who::Everyone, Some(Decision::PoliteBlock));
    world.rule("alice", one("carol"), Some(Decision::Allow));
    world.settle();
    assert_eq!(world.sees("bob", "alice").availability, Some(Availability::Offline));
    assert_eq!(world.sees("carol", "alice").availability, Some(Availability::Available));
    let rules = world.snapshot("alice").rules.clone();
    assert_eq!(rules.len(), 2);
    assert!(rules.iter().all(|rule| !rule.pending), "{rules:?}");
    world.rule("alice", Who::Everyone, None);
    world.settle();
    assert_eq!(world.snapshot("alice").rules.len(), 1);
}

#[test]
fn a_rule_that_is_set_off_line_holds_after_the_next_sign_in() {
    let mut world = World::new(5, DefaultPolicy::Allow);
    world.befriend("bob", "alice");
    world.settle();
    world.run("alice", Command::SignOut).unwrap();
    world.rule("alice", one("bob"), Some(Decision::PoliteBlock));
    assert!(world.snapshot("alice").rules[0].pending);
    world.restart("alice");
    world.run("alice", Command::SignIn).unwrap();
    world.settle();
    assert!(!world.snapshot("alice").rules[0].pending);
    assert_eq!(world.sees("bob", "alice").availability, Some(Availability::Offline));
}

#[test]
fn a_preview_without_a_rule_leaves_it_to_the_service() {
    let mut world = World::new(6, DefaultPolicy::Allow);
    let preview = world.preview("alice", "bob");
    assert_eq!(preview.decision, None);
    assert!(matches!(preview.reasons[..], [PreviewReason::NoRule]));
    let freshness = preview.presence.freshness;
    assert!(matches!(freshness, Freshness::Unknown(UnknownReason::Other(_))), "{freshness:?}");
}

#[test]
fn a_preview_without_rules_says_what_the_service_says_of_who_watches() {
    for (default, state) in
        [(DefaultPolicy::Allow, WatcherState::Active), (DefaultPolicy::Confirm, WatcherState::Pending)]
    {
        let mut world = World::new(11, default);
        world.befriend("bob", "alice");
        world.settle();
        let preview = world.preview("alice", "bob");
        assert_eq!(preview.decision, None);
        assert!(matches!(preview.reasons[0], PreviewReason::NoRule), "{preview:?}");
        assert!(matches!(preview.reasons[1], PreviewReason::Watcher(known) if known == state), "{preview:?}");
        let sees = world.sees("bob", "alice");
        assert_eq!(preview.presence.availability, sees.availability, "{state:?}");
        assert_eq!(preview.presence.freshness, sees.freshness, "{state:?}");
    }
}

#[test]
fn blocking_one_person_changes_nothing_for_others_whom_the_service_let_in() {
    let mut world = World::new(12, DefaultPolicy::Allow);
    world.befriend("bob", "alice");
    world.befriend("carol", "alice");
    world.settle();
    let answer = Command::AnswerWatcher { address: address("bob"), decision: Decision::Block };
    world.run("alice", answer).unwrap();
    world.settle();
    assert_eq!(world.sees("bob", "alice").availability, None);
    let sees = world.sees("carol", "alice");
    assert_eq!((sees.availability, &sees.freshness), (Some(Availability::Available), &Freshness::Live));
    assert_eq!(world.snapshot("alice").watchers[&address("carol")].state, WatcherState::Active);
    assert_eq!(world.preview("alice", "carol").decision, Some(Decision::Allow));
    // Without the rule, Bob is one of the others again.
    world.rule("alice", one("bob"), None);
    world.settle();
    assert_eq!(world.preview("alice", "bob").decision, Some(Decision::Allow));
    assert_eq!(world.preview("alice", "carol").decision, Some(Decision::Allow));
}

#[test]
fn a_first_rule_that_was_set_off_line_leaves_others_as_they_were() {
    let mut world = World::new(13, DefaultPolicy::Allow);
    world.befriend("carol", "alice");
    world.settle();
    world.run("alice", Command::SignOut).unwrap();
    world.rule("alice", one("bob"), Some(Decision::Block));
    world.restart("alice");
    world.run("alice", Command::SignIn).unwrap();
    world.settle();
    assert!(world.snapshot("alice").rules.iter().all(|rule| !rule.pending));
    assert_eq!(world.preview("alice", "bob").decision, Some(Decision::Block));
    assert_eq!(world.sees("carol", "alice").availability, Some(Availability::Available));
}

#[test]
fn the_first_rule_on_a_service_that_asks_leaves_it_asking() {
    let mut world = World::new(14, DefaultPolicy::Confirm);
    world.befriend("carol", "alice");
    world.settle();
    world.rule("alice", one("bob"), Some(Decision::Block));
    world.settle();
    assert_eq!(world.snapshot("alice").watchers[&address("carol")].state, WatcherState::Pending);
    assert_eq!(world.preview("alice", "carol").decision, Some(Decision::Confirm));
}

#[test]
fn rules_need_an_xcap_server() {
    let mut world = World::new(7, DefaultPolicy::Allow);
    let local = vec![(Transport::Udp, at("carol")), (Transport::Tcp, at("carol"))];
    let mut config = EngineConfig::new(address("carol"), "c", local, [77; 32]);
    config.service = Some("sip:10.0.0.9:5060".to_owned());
    let node = EngineNode::new(&world.sim, config, MemoryStore::new());
    world.sim.add(at("carol"), node);
    let refused = world.run("carol", Command::SetRule { who: Who::Everyone, decision: None });
    assert_eq!(refused.unwrap_err().code(), Code::UnsupportedByService);
    assert!(matches!(world.preview("carol", "bob").reasons[0], PreviewReason::NoRules));
}

#[test]
fn who_asks_is_told_once_and_answered() {
    let mut world = World::new(8, DefaultPolicy::Confirm);
    world.befriend("bob", "alice");
    world.settle();
    assert_eq!(world.asked("alice"), [address("bob")]);
    let watchers = world.snapshot("alice").watchers.clone();
    assert_eq!(watchers[&address("bob")].state, WatcherState::Pending);
    assert_eq!(world.sees("bob", "alice").availability, None);
    // Not again after a restart, while there is no answer.
    world.restart("alice");
    world.run("alice", Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.asked("alice"), []);
    let answer = Command::AnswerWatcher { address: address("bob"), decision: Decision::Allow };
    world.run("alice", answer).unwrap();
    world.settle();
    assert_eq!(world.sees("bob", "alice").availability, Some(Availability::Available));
    assert_eq!(world.snapshot("alice").watchers[&address("bob")].state, WatcherState::Active);
    world.befriend("carol", "alice");
    world.settle();
    assert_eq!(world.asked("alice"), [address("carol")]);
}

#[test]
fn whom_the_service_forgot_is_told_again_when_they_ask_again() {
    let mut world = World::new(10, DefaultPolicy::Confirm);
    world.befriend("bob", "alice");
    world.settle();
    assert_eq!(world.asked("alice"), [address("bob")]);
    for name in PEOPLE {
        world.run(name, Command::SignOut).unwrap();
    }
    // The service remembers for a week who asked.
    world.sim.run_for(Duration::from_secs(8 * 24 * 3600));
    world.restart("alice");
    world.run("alice", Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.asked("alice"), []);
    world.run("bob", Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.asked("alice"), [address("bob")]);
}

#[test]
fn a_change_on_another_device_is_told_at_once() {
    let mut world = World::new(9, DefaultPolicy::Allow);
    let local = vec![(Transport::Udp, at("carol")), (Transport::Tcp, at("carol"))];
    let mut config = EngineConfig::new(address("alice"), "a", local, [78; 32]);
    config.service = Some("sip:10.0.0.9:5060;transport=tcp".to_owned());
    config.xcap = Some("http://10.0.0.9:5080/xcap-root".to_owned());
    let server: Arc<Mutex<dyn HttpServer>> = Arc::new(Mutex::new(world.service.clone()));
    let node = EngineNode::new(&world.sim, config, MemoryStore::new()).http(server);
    // In place of Carol, a second device of Alice's.
    world.sim.add(at("carol"), node);
    world.run("carol", Command::SignIn).unwrap();
    world.settle();
    world.befriend("alice", "bob");
    world.settle();
    assert!(world.snapshot("carol").by_address.contains_key(&address("bob")));
    world.befriend("carol", "dave");
    world.settle();
    assert!(world.snapshot("alice").by_address.contains_key(&address("dave")));
}
