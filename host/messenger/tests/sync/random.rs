//! Random edits on two devices with random connectivity: after quiet, both show the same as the document, and no edit
//! that did not conflict is lost.

use std::time::Duration;

use attache_messenger::{
    command::Command,
    event::EventKind,
    id::{ContactId, GroupId},
    sync::ConflictAbout,
};
use proptest::prelude::*;

use crate::{
    server::Fault,
    world::{Shown, World, address},
};

const NAMES: [&str; 6] = ["bob", "carol", "dave", "erin", "frank", "grace"];
const GROUPS: [&str; 3] = ["Work", "Home", "Club"];

#[derive(Clone, Debug)]
enum Step {
    Add(usize),
    Remove(usize),
    Rename(usize, u8),
    NewGroup(usize),
    DropGroup(usize),
    RenameGroup(usize, u8),
    Join(usize, usize),
    Leave(usize, usize),
    Undo,
    OffLine,
    OnLine,
    Restart,
    Wait(u16),
    Fault(u8),
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let person = 0..NAMES.len();
    let group = 0..GROUPS.len();
    let step = prop_oneof![
        4 => person.clone().prop_map(Step::Add),
        2 => person.clone().prop_map(Step::Remove),
        3 => (person.clone(), any::<u8>()).prop_map(|(who, name)| Step::Rename(who, name)),
        2 => group.clone().prop_map(Step::NewGroup),
        1 => group.clone().prop_map(Step::DropGroup),
        1 => (group.clone(), any::<u8>()).prop_map(|(group, name)| Step::RenameGroup(group, name)),
        3 => (person.clone(), group.clone()).prop_map(|(who, group)| Step::Join(who, group)),
        2 => (person, group).prop_map(|(who, group)| Step::Leave(who, group)),
        1 => Just(Step::Undo),
        2 => Just(Step::OffLine),
        2 => Just(Step::OnLine),
        1 => Just(Step::Restart),
        3 => (1..4000u16).prop_map(Step::Wait),
        2 => any::<u8>().prop_map(Step::Fault),
    ];
    prop::collection::vec((0..2usize, step), 1..40)
}

fn contact(world: &mut World, device: usize, who: usize) -> Option<ContactId> {
    world.snapshot(device).by_address.get(&address(NAMES[who])).copied()
}

/// Whichever group is at that place, so that renamed ones are edited as well.
fn group(world: &mut World, device: usize, which: usize) -> Option<GroupId> {
    world.snapshot(device).groups.keys().nth(which).copied()
}

fn command(world: &mut World, device: usize, step: &Step) -> Option<Command> {
    Some(match step {
        Step::Add(who) => Command::AddContact { address: address(NAMES[*who]), name: NAMES[*who].into() },
        Step::Remove(who) => Command::RemoveContact(contact(world, device, *who)?),
        Step::Rename(who, name) => {
            Command::RenameContact(contact(world, device, *who)?, format!("{device}-{name}").into())
        }
        Step::NewGroup(which) => Command::AddGroup(GROUPS[*which].into()),
        Step::DropGroup(which) => Command::RemoveGroup(group(world, device, *which)?),
        Step::RenameGroup(which, name) => {
            Command::RenameGroup(group(world, device, *which)?, format!("group {device}-{name}").into())
        }
        Step::Join(who, which) => {
            Command::AddToGroup(contact(world, device, *who)?, group(world, device, *which)?)
        }
        Step::Leave(who, which) => {
            Command::RemoveFromGroup(contact(world, device, *who)?, group(world, device, *which)?)
        }
        Step::Undo => Command::Undo,
        _ => return None,
    })
}

fn play(steps: &[(usize, Step)], seed: u64) -> World {
    let mut world = World::signed_in(2, seed);
    for (device, step) in steps {
        match step {
            Step::OffLine => {
                world.run(*device, Command::SignOut).unwrap();
            }
            Step::OnLine => {
                world.start(*device, Command::SignIn);
            }
            Step::Restart => world.restart(*device, |node| node),
            Step::Wait(millis) => {
                world.sim.run_for(Duration::from_millis((*millis).into()));
            }
            Step::Fault(kind) => {
                let fault = match kind % 5 {
                    0 => Fault::Status(500, ""),
                    1 => Fault::LostAfter,
                    2 => Fault::Lost,
                    3 => Fault::Slow(Duration::from_secs(u64::from(*kind) / 16)),
                    _ => Fault::Status(412, ""),
                };
                world.server().script.push_back(fault);
            }
            edit => {
                if let Some(command) = command(&mut world, *device, edit) {
                    world.start(*device, command);
                    world.sim.run_for(Duration::from_millis(1));
                }
            }
        }
    }
    // Quiet: everybody on line, all faults used up, and both have looked again.
    world.server().script.clear();
    for device in [0, 1] {
        world.start(device, Command::SignIn);
    }
    world.sim.run_for(Duration::from_secs(4_000));
    world
}

/// What a new device that has nothing sees.
fn document(world: &World, seed: u64) -> Shown {
    let mut fresh = World::new(1, seed);
    fresh.server = world.server.clone();
    fresh.restart(0, |node| node);
    fresh.run(0, Command::SignIn).unwrap();
    fresh.settle();
    fresh.shown(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn after_quiet_both_devices_and_the_document_say_the_same(steps in steps(), seed in 0u64..1000) {
        let mut world = play(&steps, seed);
        let shown = world.shown(0);
        prop_assert_eq!(&shown, &world.shown(1));
        prop_assert_eq!(&shown, &document(&world, seed));
        let synced = [world.is_synced(0), world.is_synced(1)];
        prop_assert_eq!(synced, [true, true]);
        let mut uris = world.uris();
        uris.sort();
        uris.dedup();
        prop_assert_eq!(uris, shown.0.keys().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn an_edit_that_nobody_contradicts_is_never_lost(steps in steps(), seed in 0u64..1000) {
        // The first device edits people of its own only, so that whatever is contradicted is told.
        let mine = |who: &usize| who.is_multiple_of(2);
        let steps: Vec<(usize, Step)> = steps
            .into_iter()
            .filter(|(device, step)| match step {
                Step::Add(who) | Step::Remove(who) | Step::Rename(who, _) => mine(who) == (*device == 0),
                Step::Join(..) | Step::Leave(..) | Step::NewGroup(_) | Step::DropGroup(_) => false,
                Step::RenameGroup(..) | Step::Undo => false,
                _ => true,
            })
            .collect();
        let mut expected = std::collections::BTreeMap::new();
        for (device, step) in &steps {
            match step {
                Step::Add(who) => {
                    expected.entry(*who).or_insert_with(|| NAMES[*who].to_owned());
                }
                Step::Remove(who) => {
                    expected.remove(who);
                }
                Step::Rename(who, name) => {
                    expected.entry(*who).and_modify(|known| *known = format!("{device}-{name}"));
                }
                _ => {}
            }
        }
        let mut world = play(&steps, seed);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(who, name)| (format!("sip:{}@example.com", NAMES[who]), name))
            .collect();
        for device in [0, 1] {
            let shown: Vec<_> = world.shown(device).0.into_iter().map(|(uri, (name, _))| (uri, name)).collect();
            prop_assert_eq!(&shown, &expected);
            let conflicts = world.kinds(device).iter().filter(|kind| {
                matches!(kind, EventKind::RosterConflict(conflict)
                    if matches!(conflict.about, ConflictAbout::Contact(_)))
            }).count();
            prop_assert_eq!(conflicts, 0);
        }
    }
}
