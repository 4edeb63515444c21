//! After quiet, what is shown is what the service holds, whatever happened before.

use std::time::Duration;

use attache_documents::{Limits, pidf};
use attache_messenger::{
    command::Command,
    compose::compose,
    event::{EventKind, SessionState},
    presence::{Availability, Freshness},
    sim::{BEGINNING, Link},
};
use proptest::prelude::*;

use crate::world::*;

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Kill,
    Revive,
    Forget,
    Cut,
    Heal,
    RestartAlice,
    BobOut,
    BobIn,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..Availability::ALL.len()).prop_map(Step::Publish),
        1 => Just(Step::Kill),
        2 => Just(Step::Revive),
        1 => Just(Step::Forget),
        1 => Just(Step::Cut),
        1 => Just(Step::Heal),
        1 => Just(Step::RestartAlice),
        1 => Just(Step::BobOut),
        2 => Just(Step::BobIn),
        3 => (1..400_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_quiet_what_is_shown_is_what_the_service_holds(
        seed in 0_u64..1000,
        loss in 0.0..0.3_f64,
        steps in proptest::collection::vec(step(), 1..12),
    ) {
        let mut world = World::friends(seed);
        let link = Link { loss, duplicate: loss / 2.0, reorder: loss / 2.0, ..Link::default() };
        world.sim.set_default_link(link);
        for step in steps {
            match step {
                Step::Publish(n) => {
                    let availability = Availability::ALL[n];
                    world.start(BOB, Command::Publish { availability: Some(availability), note: "note".into(), until: None });
                }
                Step::Kill => world.sim.kill(SERVICE.into()),
                Step::Revive => world.sim.revive(SERVICE.into()),
                Step::Forget => {
                    let service = World::fresh_service(&world.sim);
                    world.sim.add(SERVICE.into(), service);
                }
                Step::Cut => world.sim.partition(at(ALICE), SERVICE.into()),
                Step::Heal => world.sim.heal(at(ALICE), SERVICE.into()),
                Step::RestartAlice => {
                    world.restart(ALICE);
                    world.start(ALICE, Command::SignIn);
                }
                Step::BobOut => { world.start(BOB, Command::SignOut); }
                Step::BobIn => { world.start(BOB, Command::SignIn); }
                Step::Wait(seconds) => { world.sim.run_for(Duration::from_secs(u64::from(seconds))); }
            }
            world.sim.run_for(Duration::from_millis(300));
            // At no time may a failure look like somebody's absence.
            let seen = world.sees(ALICE);
            if seen.availability.is_none() {
                prop_assert!(seen.freshness != Freshness::Live);
            }
        }
        world.sim.set_default_link(Link::default());
        world.sim.revive(SERVICE.into());
        world.sim.heal(at(ALICE), SERVICE.into());
        // Longer than every lifetime, so that what was lost has run out.
        world.sim.run_for(Duration::from_secs(2 * 3600));
        prop_assert_eq!(world.session(ALICE), SessionState::SignedIn);
        let bodies = world.service(|s| s.documents("bob"));
        let documents: Vec<_> = bodies
            .last()
            .into_iter()
            .map(|body| pidf::read(body, &Limits::DEFAULT).unwrap().document)
            .collect();
        let held = compose(&documents, BEGINNING + world.sim.elapsed());
        let seen = world.sees(ALICE);
        prop_assert_eq!(&seen.freshness, &Freshness::Live);
        prop_assert_eq!(seen.availability, held.availability);
        prop_assert_eq!(&seen.note, &held.note);
        // And the events led there.
        let told = world.with(ALICE, |node| {
            node.events().iter().rev().find_map(|event| match &event.kind {
                EventKind::PresenceChanged(changes) => changes.last().map(|change| change.presence.clone()),
                _ => None,
            })
        });
        prop_assert_eq!(told, Some(seen));
    }
}
