//! What is known of people over a restart of the process (RFC 5839).

use super::*;

/// Alice and her store, with the network around her.
struct Office {
    world: World,
    store: MemoryStore,
    list: Option<&'static str>,
    starts: u8,
}

impl Office {
    /// Alice has people on her contact list, is signed in, and has had time to keep what she knows.
    fn new(list: Option<&'static str>, people: &[&str]) -> Self {
        let world = World::with_list("tcp", list);
        let mut office = Self { world, store: MemoryStore::new(), list, starts: 0 };
        office.start();
        for name in people {
            let command = Command::AddContact { address: address(name), name: "".into() };
            office.world.run("alice", command).unwrap();
        }
        office.sign_in();
        office.bob_says("writing");
        office
    }

    /// A new process for alice, with what the store holds.
    fn start(&mut self) {
        self.starts += 1;
        let local = vec![(Transport::Udp, at("alice")), (Transport::Tcp, at("alice"))];
        let mut config = EngineConfig::new(address("alice"), "a", local, [self.starts; 32]);
        config.service = Some("sip:10.0.0.9:5060;transport=tcp".to_owned());
        config.list = self.list.map(str::to_owned);
        let node = EngineNode::new(&self.world.sim, config, self.store.clone());
        self.world.sim.add(at("alice"), node);
    }

    fn sign_in(&mut self) {
        self.world.sim.clear_trace();
        self.world.run("alice", Command::SignIn).unwrap();
        self.world.settle();
    }

    /// The process dies without a word.
    fn crash(&mut self) {
        self.world.sim.kill(at("alice"));
        self.start();
    }

    fn bob_says(&mut self, note: &str) {
        let availability = Some(Availability::Busy);
        let choice = Command::Publish { availability, note: note.into(), until: None };
        self.world.run("bob", choice).unwrap();
        self.world.settle();
    }

    fn wait(&mut self, seconds: u64) {
        self.world.sim.run_for(Duration::from_secs(seconds));
    }

    /// Words and freshness.
    fn bob(&mut self) -> (String, Freshness) {
        let seen = seen(&mut self.world, "bob");
        (seen.note.to_string(), seen.freshness.clone())
    }

    /// Subscriptions to presence that name a state, and those that do not.
    fn asked(&self) -> (usize, usize) {
        let packets = self.world.sim.trace().iter().filter(|packet| packet.is("SUBSCRIBE"));
        let texts = packets.map(|packet| String::from_utf8_lossy(&packet.payload).into_owned());
        let presence = texts.filter(|text| text.contains("Event: presence") && !text.contains("winfo"));
        // Those that were challenged come again.
        let answered = presence.filter(|text| text.contains("Authorization:"));
        let (with, without): (Vec<_>, Vec<_>) =
            answered.partition(|text| text.contains("Suppress-If-Match:"));
        (with.len(), without.len())
    }

    /// Documents that say something of bob, told to alice.
    fn documents(&self) -> usize {
        let told = self.world.sim.trace().iter().filter(|packet| {
            packet.to == at("alice")
                && packet.is("NOTIFY")
                && String::from_utf8_lossy(&packet.payload).contains("<presence")
        });
        told.count()
    }
}

fn is_stale(freshness: &Freshness) -> bool {
    matches!(freshness, Freshness::Stale(_))
}

#[test]
fn what_was_known_is_shown_as_stale_after_a_restart_and_confirmed_by_its_tag_alone() {
    let mut office = Office::new(None, &["bob"]);
    office.wait(60);
    let before = seen(&mut office.world, "bob");
    let ended = BEGINNING + office.world.sim.elapsed();
    office.crash();
    let (note, freshness) = office.bob();
    let Freshness::Stale(since) = freshness else { panic!("{freshness:?}") };
    assert_eq!(note, "writing");
    assert!(since <= ended && since + Duration::from_secs(120) > ended, "{since} and {ended}");
    office.wait(600);
    office.sign_in();
    assert_eq!(seen(&mut office.world, "bob"), before, "live, and since when it was before");
    assert_eq!((office.asked(), office.documents()), ((1, 0), 0), "the service had nothing to say again");
}

#[test]
fn a_list_is_confirmed_after_a_restart_by_its_tag_alone() {
    let people = ["bob", "carol", "nobody"];
    let mut office = Office::new(Some("sip:friends@example.com"), &people);
    office.wait(60);
    let all = |office: &mut Office| people.map(|name| seen(&mut office.world, name));
    let before = all(&mut office);
    office.crash();
    assert!(is_stale(&office.bob().1));
    office.sign_in();
    assert_eq!(all(&mut office), before);
    assert_eq!((office.asked(), office.documents()), ((1, 0), 0));
    assert_eq!(ways(&mut office.world), [(Strategy::ServerList, 3)]);
    office.bob_says("on a list");
    assert_eq!(office.bob(), ("on a list".to_owned(), Freshness::Live), "and changes are told from then on");
}

#[test]
fn what_changed_while_the_process_was_down_is_told_and_the_old_is_never_live() {
    for list in [None, Some("sip:friends@example.com")] {
        let mut office = Office::new(list, &["bob", "carol"]);
        office.wait(60);
        office.world.sim.kill(at("alice"));
        office.bob_says("something else");
        office.start();
        office.sign_in();
        assert_eq!(office.bob(), ("something else".to_owned(), Freshness::Live), "{list:?}");
        let lied = office.world.sim.with(at("alice"), |node: &mut EngineNode, _| {
            node.events().iter().any(|event| match &event.kind {
                EventKind::PresenceChanged(changes) => changes.iter().any(|change| {
                    change.presence.freshness == Freshness::Live && *change.presence.note == *"writing"
                }),
                _ => false,
            })
        });
        assert!(!lied, "{list:?}");
    }
}

#[test]
fn a_crash_before_the_newest_is_kept_shows_the_one_before_and_then_the_newest() {
    for list in [None, Some("sip:friends@example.com")] {
        let mut office = Office::new(list, &["bob", "carol"]);
        office.wait(60);
        office.bob_says("a moment ago");
        office.crash();
        let (note, freshness) = office.bob();
        assert!(note == "writing" && is_stale(&freshness), "{list:?}: {note} {freshness:?}");
        office.sign_in();
        assert_eq!(office.bob(), ("a moment ago".to_owned(), Freshness::Live), "{list:?}");
    }
}

#[test]
fn a_sign_out_keeps_the_newest_at_once() {
    for list in [None, Some("sip:friends@example.com")] {
        let mut office = Office::new(list, &["bob", "carol"]);
        office.world.run("alice", Command::SignOut).unwrap();
        office.crash();
        let (note, freshness) = office.bob();
        assert!(note == "writing" && is_stale(&freshness), "{list:?}: {note} {freshness:?}");
        office.sign_in();
        assert_eq!(office.bob(), ("writing".to_owned(), Freshness::Live));
        if list.is_some() {
            assert_eq!((office.asked(), office.documents()), ((1, 0), 0));
        }
    }
}

#[test]
fn one_who_went_while_the_process_was_down_is_offline_at_once() {
    let mut office = Office::new(None, &["bob"]);
    office.wait(60);
    office.world.sim.kill(at("alice"));
    office.world.run("bob", Command::SignOut).unwrap();
    office.world.settle();
    office.start();
    office.sign_in();
    let seen = seen(&mut office.world, "bob");
    assert_eq!((seen.availability, &seen.freshness), (Some(Availability::Offline), &Freshness::Live));
}

#[test]
fn many_changes_are_few_writes() {
    let mut office = Office::new(None, &["bob"]);
    let before = office.store.commits();
    for n in 0..30 {
        office.bob_says(&format!("word {n}"));
    }
    let writes = office.store.commits() - before;
    assert!(writes <= 9, "{writes} writes for 30 changes in four minutes");
}

#[test]
fn presence_of_somebody_who_is_no_contact_any_more_is_not_kept() {
    let mut office = Office::new(None, &["bob"]);
    office.wait(60);
    let kept = |office: &Office| {
        let records = office.store.restored().records;
        records.iter().filter(|record| record.kind == RecordKind::Presence).count()
    };
    assert_eq!(kept(&office), 1);
    let snapshot = office.world.sim.with(at("alice"), |node: &mut EngineNode, _| node.snapshot());
    let bob = snapshot.by_address[&address("bob")];
    office.world.run("alice", Command::RemoveContact(bob)).unwrap();
    office.wait(60);
    assert_eq!(kept(&office), 0);
}

#[test]
fn a_store_that_fails_loses_nothing_but_time() {
    let mut office = Office::new(Some("sip:friends@example.com"), &["bob", "carol"]);
    office.wait(60);
    office.store.fail_with(Some(StorageError::Full("a full disk".to_owned())));
    office.bob_says("while the disk is full");
    office.wait(60);
    office.store.fail_with(None);
    office.wait(60);
    office.crash();
    assert_eq!(office.bob().0, "while the disk is full");
    office.sign_in();
    assert_eq!(office.bob(), ("while the disk is full".to_owned(), Freshness::Live));
    assert_eq!((office.asked(), office.documents()), ((1, 0), 0));
}
