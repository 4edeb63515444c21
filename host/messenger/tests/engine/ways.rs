//! After quiet, contacts and leases show what the service holds, by whatever way they are watched.
//!
//! `ATTACHE_SOAK=1` tries a thousand histories.

use std::time::Duration;

use attache_documents::{Limits, pidf};
use attache_messenger::{
    command::Command,
    compose::compose,
    event::SessionState,
    id::LeaseId,
    presence::{Availability, Freshness},
    sim::{BEGINNING, Link},
};
use proptest::prelude::*;

use crate::{
    lists::{document, says},
    service::Service,
    world::*,
};

#[derive(Copy, Clone, Debug)]
enum Way {
    ServerList,
    RequestList,
    OneEach,
    Polling,
}

#[derive(Clone, Debug)]
enum Step {
    Say(usize, u8),
    Close(usize),
    Kill,
    Revive,
    Forget,
    Cut,
    Heal,
    Gap,
    /// Who is on the service's list, as bits.
    Members(u8),
    Look(usize),
    LookAway,
    SignOut,
    SignIn,
    Clock(i64),
    Wait(u16),
}

const PEOPLE: [&str; 3] = ["bob", "carol", "dave"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..4_u8).prop_map(|(who, n)| Step::Say(who, n)),
        1 => (0..3_usize).prop_map(Step::Close),
        1 => Just(Step::Kill),
        2 => Just(Step::Revive),
        1 => Just(Step::Forget),
        1 => Just(Step::Cut),
        2 => Just(Step::Heal),
        1 => Just(Step::Gap),
        2 => (0..8_u8).prop_map(Step::Members),
        2 => (0..3_usize).prop_map(Step::Look),
        1 => Just(Step::LookAway),
        1 => Just(Step::SignOut),
        2 => Just(Step::SignIn),
        1 => (-100_000_000..100_000_000_i64).prop_map(Step::Clock),
        3 => (1..400_u16).prop_map(Step::Wait),
    ]
}

fn prepare(service: &mut Service, way: Way, members: u8) {
    match way {
        Way::ServerList => {
            let on = PEOPLE.iter().enumerate().filter(|(n, _)| members & (1 << n) != 0);
            let on: Vec<&str> = on.map(|(_, name)| *name).collect();
            service.set_list("friends", &on);
        }
        Way::RequestList => service.lists.in_requests = true,
        Way::OneEach => {}
        Way::Polling => service.fetch_only = Some(405),
    }
}

fn check(world: &mut World, way: Way, looking: &[(LeaseId, usize)]) -> Result<(), TestCaseError> {
    prop_assert_eq!(world.session(ALICE), SessionState::SignedIn);
    let snapshot = world.snapshot(ALICE);
    for (n, name) in PEOPLE.iter().enumerate() {
        let contact =
            snapshot.by_address.get(&address(name)).map(|id| snapshot.contacts[id].presence.clone());
        let watched = snapshot.watched.get(&address(name)).map(|entry| entry.presence.clone());
        prop_assert_eq!(watched.is_some(), looking.iter().any(|(_, who)| *who == n));
        let bodies = world.service(|s| s.documents(name));
        let held: Vec<_> =
            bodies.iter().map(|body| pidf::read(body, &Limits::DEFAULT).unwrap().document).collect();
        let held = compose(&held, BEGINNING + world.sim.elapsed());
        for seen in contact.into_iter().chain(watched) {
            if matches!(way, Way::Polling) {
                // What is asked for now and then is never live; nobody is made offline where nothing is told.
                prop_assert!(seen.freshness != Freshness::Live);
                if bodies.is_empty() {
                    prop_assert_eq!(seen.availability, None);
                    continue;
                }
            } else {
                prop_assert_eq!(&seen.freshness, &Freshness::Live, "{}", name);
            }
            prop_assert_eq!(seen.availability, held.availability, "{}", name);
            prop_assert_eq!(&*seen.note, &*held.note);
        }
    }
    Ok(())
}

fn cases() -> u32 {
    if std::env::var_os("ATTACHE_SOAK").is_some_and(|v| v == "1") { 1_000 } else { 32 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_quiet_contacts_and_leases_show_what_the_service_holds_by_every_way(
        seed in 0_u64..1000,
        loss in 0.0..0.2_f64,
        way in proptest::sample::select(&[Way::ServerList, Way::RequestList, Way::OneEach, Way::Polling]),
        steps in proptest::collection::vec(step(), 1..14),
    ) {
        let mut members = 0b11;
        let mut world = World::new(seed);
        world.service(|s| prepare(s, way, members));
        if matches!(way, Way::ServerList) {
            world.restart_with(ALICE, |mut config| {
                config.list = Some("sip:friends@example.com".to_owned());
                config
            }, |node| node);
        }
        for name in &PEOPLE[..2] {
            world.run(ALICE, Command::AddContact { address: address(name), name: "".into() }).unwrap();
        }
        world.run(ALICE, Command::SignIn).unwrap();
        let link = Link { loss, duplicate: loss / 2.0, reorder: loss / 2.0, ..Link::default() };
        world.sim.set_default_link(link);
        let mut looking: Vec<(LeaseId, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Say(who, n) => says(&mut world, PEOPLE[who], &format!("words {n}")),
                Step::Close(who) => {
                    let body = document("closed", "gone");
                    world.sim.with(SERVICE.into(), |s: &mut Service, now| s.publish_as(now, PEOPLE[who], &body));
                }
                Step::Kill => world.sim.kill(SERVICE.into()),
                Step::Revive => world.sim.revive(SERVICE.into()),
                Step::Forget => {
                    let mut service = World::fresh_service(&world.sim);
                    prepare(&mut service, way, members);
                    world.sim.add(SERVICE.into(), service);
                }
                Step::Cut => world.sim.partition(at(ALICE), SERVICE.into()),
                Step::Heal => world.sim.heal(at(ALICE), SERVICE.into()),
                Step::Gap => world.service(|s| s.lists.skip += 2),
                Step::Members(bits) => {
                    members = bits;
                    world.service(|s| prepare(s, way, bits));
                }
                Step::Look(who) => {
                    let ttl = Duration::from_secs(86_400);
                    let token = world.start(ALICE, Command::Watch { address: address(PEOPLE[who]), ttl });
                    let lease = world.with(ALICE, |node| node.answer(token).unwrap().as_ref().unwrap().lease.unwrap());
                    looking.push((lease, who));
                }
                Step::LookAway => {
                    if let Some((lease, _)) = looking.pop() {
                        world.start(ALICE, Command::Unwatch(lease));
                    }
                }
                Step::SignOut => { world.start(ALICE, Command::SignOut); }
                Step::SignIn => { world.start(ALICE, Command::SignIn); }
                Step::Clock(millis) => world.with(ALICE, |node| node.step_clock(millis)),
                Step::Wait(seconds) => { world.sim.run_for(Duration::from_secs(u64::from(seconds))); }
            }
            world.sim.run_for(Duration::from_millis(300));
            // At no time may a failure look like somebody's absence.
            let snapshot = world.snapshot(ALICE);
            let contacts = snapshot.contacts.values().map(|entry| &entry.presence);
            for seen in contacts.chain(snapshot.watched.values().map(|entry| &entry.presence)) {
                prop_assert!(seen.availability.is_some() || seen.freshness != Freshness::Live);
                prop_assert!(seen.availability != Some(Availability::Offline) || seen.note.is_empty() || &*seen.note == "gone");
            }
        }
        world.sim.set_default_link(Link::default());
        world.sim.revive(SERVICE.into());
        world.sim.heal(at(ALICE), SERVICE.into());
        world.start(ALICE, Command::SignIn);
        // Longer than every lifetime, so that what was lost has run out.
        world.sim.run_for(Duration::from_secs(3600));
        check(&mut world, way, &looking)?;
    }
}
