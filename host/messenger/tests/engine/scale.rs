//! A long list of contacts through everything that happens to services, networks and clocks.
//!
//! `ATTACHE_SOAK=1` runs it with ten thousand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use attache_messenger::{
    command::Command,
    engine::EngineConfig,
    event::{Contact, SessionState},
    id::ContactId,
    presence::{Freshness, Presence},
    sim::{EngineNode, MemoryStore, Simulation},
    storage::{Batch, Write},
};
use attache_sip::budget::Budget;

use crate::{
    lists::document,
    service::Service,
    world::{ALICE, SERVICE, address, at, config},
};

/// Requests a second, and at once, that the process may send by itself.
const RATE: u32 = 200;
const BURST: u32 = 400;
/// The longest that a change can go unnoticed: the lifetime of a subscription.
const REFRESH: Duration = Duration::from_secs(900);

#[derive(Copy, Clone, Debug, PartialEq)]
enum Way {
    ServerList,
    RequestList,
    OneEach,
}

struct Office {
    sim: Simulation,
    way: Way,
    people: Vec<String>,
    /// What each person says of themselves.
    said: BTreeMap<String, String>,
    most: usize,
    /// Requests in all.
    sent: usize,
    /// Requests that were challenged, and have not come again with credentials.
    challenged: BTreeSet<(String, String)>,
}

impl Office {
    fn new(way: Way, count: usize) -> Self {
        let mut sim = Simulation::new(7);
        let people: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
        let store = MemoryStore::new();
        let writes = people.iter().zip(1..).map(|(name, id)| {
            let id = ContactId(id);
            Write::PutContact(Arc::new(Contact {
                id,
                address: address(name),
                name: "".into(),
                groups: [].into_iter().collect(),
                details: None,
            }))
        });
        store.commit(Batch { writes: writes.collect() }).unwrap();
        let mut config: EngineConfig = config(ALICE, 1);
        config.service = Some("sip:10.0.0.9:5060;transport=tcp".to_owned());
        config.budget = Some(Arc::new(Budget::new(RATE, BURST)));
        config.list = (way == Way::ServerList).then(|| "sip:friends@example.com".to_owned());
        let node = EngineNode::new(&sim, config, store);
        sim.add(at(ALICE), node);
        let said = people.iter().map(|name| (name.clone(), format!("{name} is here"))).collect();
        let mut office = Self { sim, way, people, said, most: 0, sent: 0, challenged: BTreeSet::new() };
        office.new_service();
        office.alice(|node, now| node.command(now, Command::SignIn));
        office
    }

    /// A service that knows what everybody says now, and of no subscription.
    fn new_service(&mut self) {
        let users: Vec<(&str, &str)> = [("alice", "alice's secret")]
            .into_iter()
            .chain(self.people.iter().map(|name| (name.as_str(), "x")))
            .collect();
        let now = self.sim.now();
        let mut service = Service::new(SERVICE.into(), now, &users);
        let members: Vec<&str> = self.people.iter().map(String::as_str).collect();
        match self.way {
            Way::ServerList => service.set_list("friends", &members),
            Way::RequestList => service.lists.in_requests = true,
            Way::OneEach => {}
        }
        for (name, words) in &self.said {
            service.publish_as(now, name, &document("open", words));
        }
        self.sim.add(SERVICE.into(), service);
    }

    fn alice<R>(&mut self, f: impl FnOnce(&mut EngineNode, std::time::Instant) -> R) -> R {
        self.sim.with(at(ALICE), f)
    }

    /// Somebody in every ten says something else.
    fn change(&mut self, words: &str) {
        for n in (0..self.people.len()).step_by(10) {
            let name = self.people[n].clone();
            let words = format!("{name}: {words}");
            let body = document("open", &words);
            self.said.insert(name.clone(), words);
            self.sim.with(SERVICE.into(), |s: &mut Service, now| s.publish_as(now, &name, &body));
        }
    }

    /// Lets time pass, and counts what is sent in each second of it.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.sim.clear_trace();
            self.sim.run_for(Duration::from_secs(1));
            let alice = at(ALICE);
            let mut requests = 0;
            for packet in self.sim.trace() {
                if packet.to == alice && packet.is("SIP/2.0 401") {
                    self.challenged.insert(dialog(&packet.payload));
                } else if packet.from == alice
                    && ["SUBSCRIBE", "REGISTER", "PUBLISH"].iter().any(|method| packet.is(method))
                    // What is sent again with credentials is the answer to a challenge, and no request of its own.
                    && !self.challenged.remove(&dialog(&packet.payload))
                {
                    requests += 1;
                }
            }
            self.sent += requests;
            self.most = self.most.max(requests);
        }
    }

    fn shown(&mut self) -> Vec<(String, Arc<Presence>)> {
        let snapshot = self.alice(|node, _| node.snapshot());
        let entry = |name: &String| snapshot.contacts[&snapshot.by_address[&address(name)]].presence.clone();
        self.people.iter().map(|name| (name.clone(), entry(name))).collect()
    }

    /// Whom alice sees wrongly, or not live.
    fn wrong(&mut self) -> Vec<String> {
        let shown = self.shown();
        shown
            .into_iter()
            .filter(|(name, presence)| {
                presence.freshness != Freshness::Live || *presence.note != *self.said[name]
            })
            .map(|(name, presence)| format!("{name}: {presence:?}"))
            .collect()
    }

    fn assert_right(&mut self, when: &str) {
        let wrong = self.wrong();
        assert!(
            wrong.is_empty(),
            "{when}: {} of {} are wrong, as {}",
            wrong.len(),
            self.people.len(),
            wrong[0]
        );
    }

    /// Nothing is shown as live that is not what the service holds.
    fn assert_nothing_false(&mut self, when: &str) {
        let live = |presence: &Presence| presence.freshness == Freshness::Live;
        let shown = self.shown();
        let false_one =
            shown.iter().find(|(name, presence)| live(presence) && *presence.note != *self.said[name]);
        assert!(false_one.is_none(), "{when}: {false_one:?}");
    }
}

/// The Call-ID and the tag of who asked, of a request or an answer to it.
fn dialog(payload: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(payload);
    let header = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    (header("Call-ID:"), header("From:"))
}

fn count(usually: usize) -> usize {
    if std::env::var_os("ATTACHE_SOAK").is_some_and(|v| v == "1") { 10_000 } else { usually }
}

fn everything_that_happens(way: Way, usually: usize) {
    let count = count(usually);
    let mut office = Office::new(way, count);
    let start = u64::try_from(count).unwrap() * 2 / u64::from(RATE) + 20;
    office.pass(start);
    office.assert_right("signed in");
    office.change("moved");
    office.pass(10);
    office.assert_right("after a change");

    // The network is away for ten minutes.
    office.sim.partition(at(ALICE), SERVICE.into());
    office.pass(120);
    office.change("meanwhile");
    office.pass(480);
    office.assert_nothing_false("in an outage");
    let stale = office.shown().iter().all(|(_, presence)| matches!(presence.freshness, Freshness::Stale(_)));
    assert!(stale, "what was known is still shown, as stale");
    office.sim.heal(at(ALICE), SERVICE.into());
    office.pass(90 + start);
    office.assert_right("after an outage");

    // The service restarts, and has forgotten every subscription.
    office.sim.kill(SERVICE.into());
    office.pass(30);
    for n in (0..office.people.len()).step_by(7) {
        let name = office.people[n].clone();
        office.said.insert(name, "after the restart".to_owned());
    }
    office.new_service();
    office.pass(REFRESH.as_secs() + start);
    office.assert_right("after a restart");

    // The wall clock steps a day ahead, and two days back.
    office.alice(|node, _| node.step_clock(86_400_000));
    office.change("in the future");
    office.pass(10);
    office.assert_right("with a clock that is ahead");
    office.alice(|node, _| node.step_clock(-2 * 86_400_000));
    office.change("in the past");
    office.pass(10);
    office.assert_right("with a clock that is behind");

    // The machine sleeps for two hours.
    office.alice(|node, now| node.sleep(now, true));
    office.pass(3600);
    office.change("during the night");
    office.pass(3600);
    office.alice(|node, now| node.sleep(now, false));
    office.pass(90 + start);
    office.assert_right("after a sleep");
    assert_eq!(office.alice(|node, _| node.snapshot()).session, SessionState::SignedIn);

    let most = usize::try_from(RATE + BURST).unwrap();
    println!("{way:?}, {count} contacts: {} requests, at most {} in one second", office.sent, office.most);
    assert!(office.most <= most, "{} requests in one second", office.most);
}

#[test]
fn many_contacts_on_a_list_of_the_service_are_right_through_everything() {
    everything_that_happens(Way::ServerList, 300);
}

#[test]
fn many_contacts_on_lists_in_requests_are_right_through_everything() {
    everything_that_happens(Way::RequestList, 250);
}

#[test]
fn many_contacts_one_by_one_are_right_through_everything() {
    everything_that_happens(Way::OneEach, 60);
}
