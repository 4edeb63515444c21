//! The contact list and its groups.

use attache_messenger::{
    code::Code,
    command::Command,
    id::{ContactId, GroupId},
    storage::StorageError,
};

use crate::world::*;

fn add(name: &str) -> Command {
    Command::AddContact { address: address(name), name: name.into() }
}

#[test]
fn edits_work_signed_out_and_survive_a_restart() {
    let mut world = World::new(1);
    world.run(ALICE, add("bob")).unwrap();
    world.run(ALICE, Command::AddGroup("Work".into())).unwrap();
    let (contact, group) = ids(&mut world);
    world.run(ALICE, Command::AddToGroup(contact, group)).unwrap();
    world.run(ALICE, Command::RenameContact(contact, "Robert".into())).unwrap();
    world.restart(ALICE);
    let snapshot = world.snapshot(ALICE);
    let entry = &snapshot.contacts[&contact];
    assert_eq!((&*entry.contact.name, &entry.contact.groups[..]), ("Robert", &[group][..]));
    assert_eq!(&*snapshot.groups[&group].name, "Work");
}

#[test]
fn each_wrong_edit_has_its_own_code() {
    let mut world = World::new(2);
    world.run(ALICE, add("bob")).unwrap();
    world.run(ALICE, Command::AddGroup("Work".into())).unwrap();
    world.run(ALICE, Command::AddGroup("Home".into())).unwrap();
    let (contact, group) = ids(&mut world);
    let check = |world: &mut World, command, code| assert_eq!(world.fails(ALICE, command), code);
    let (nobody, nothing) = (ContactId(1), GroupId(1));
    check(&mut world, add("bob"), Code::AlreadyInList);
    check(&mut world, add("alice"), Code::SessionInvitedSelf);
    check(
        &mut world,
        Command::AddContact { address: address("x"), name: "n".repeat(257).into() },
        Code::InvalidFriendlyName,
    );
    check(&mut world, Command::RemoveContact(nobody), Code::ContactNotFound);
    check(&mut world, Command::RenameContact(nobody, "x".into()), Code::ContactNotFound);
    check(&mut world, Command::AddGroup("wORK".into()), Code::GroupAlreadyExists);
    check(&mut world, Command::AddGroup("  ".into()), Code::BadGroupName);
    check(&mut world, Command::AddGroup("a\nb".into()), Code::BadGroupName);
    check(&mut world, Command::AddGroup("g".repeat(257).into()), Code::GroupNameTooLong);
    check(&mut world, Command::RenameGroup(group, "home".into()), Code::GroupAlreadyExists);
    check(&mut world, Command::RenameGroup(nothing, "x".into()), Code::GroupDoesNotExist);
    check(&mut world, Command::RemoveGroup(nothing), Code::GroupDoesNotExist);
    check(&mut world, Command::AddToGroup(contact, nothing), Code::GroupDoesNotExist);
    check(&mut world, Command::AddToGroup(nobody, group), Code::ContactNotFound);
    check(&mut world, Command::RemoveFromGroup(contact, group), Code::UserNotGroupMember);
}

#[test]
fn a_group_may_change_the_case_of_its_own_name() {
    let mut world = World::new(3);
    world.run(ALICE, add("bob")).unwrap();
    world.run(ALICE, Command::AddGroup("work".into())).unwrap();
    let (_, group) = ids(&mut world);
    world.run(ALICE, Command::RenameGroup(group, "Work".into())).unwrap();
    assert_eq!(&*world.snapshot(ALICE).groups[&group].name, "Work");
}

#[test]
fn removing_a_group_keeps_its_contacts() {
    let mut world = World::new(4);
    world.run(ALICE, add("bob")).unwrap();
    world.run(ALICE, Command::AddGroup("Work".into())).unwrap();
    let (contact, group) = ids(&mut world);
    world.run(ALICE, Command::AddToGroup(contact, group)).unwrap();
    world.run(ALICE, Command::RemoveGroup(group)).unwrap();
    let snapshot = world.snapshot(ALICE);
    assert!(snapshot.contacts[&contact].contact.groups.is_empty());
    assert_eq!(snapshot.groups.size(), 0);
    assert!(world.store(ALICE).restored().contacts[0].groups.is_empty());
}

#[test]
fn two_equal_edits_at_once_are_one_edit_and_one_error() {
    let mut world = World::new(5);
    world.restart_with(
        ALICE,
        |config| config,
        |node| node.commit_delay(std::time::Duration::from_millis(20)),
    );
    let first = world.start(ALICE, add("bob"));
    let second = world.start(ALICE, add("bob"));
    world.settle();
    let outcomes = world.with(ALICE, |node| [first, second].map(|token| node.outcome(token).unwrap()));
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1].as_ref().unwrap_err().code(), Code::AlreadyInList);
}

#[test]
fn an_edit_that_the_store_refuses_did_not_happen() {
    let mut world = World::new(6);
    world.settle();
    world.store(ALICE).fail_with(Some(StorageError::Full("disk".into())));
    assert_eq!(world.fails(ALICE, add("bob")), Code::StorageFull);
    assert!(world.snapshot(ALICE).contacts.is_empty());
    world.store(ALICE).fail_with(None);
    world.run(ALICE, add("bob")).unwrap();
    assert_eq!(world.snapshot(ALICE).contacts.size(), 1);
}

#[test]
fn a_removed_contact_is_watched_no_longer() {
    let mut world = World::friends(7);
    let bob = world.contact(ALICE);
    world.run(ALICE, Command::RemoveContact(bob)).unwrap();
    world.settle();
    let before = world.sim.trace().len();
    world.publish(BOB, attache_messenger::presence::Availability::Busy, "").unwrap();
    world.settle();
    let told = world.sim.trace()[before..].iter().any(|packet| packet.to == at(ALICE) && packet.is("NOTIFY"));
    assert!(!told);
}

fn ids(world: &mut World) -> (ContactId, GroupId) {
    let snapshot = world.snapshot(ALICE);
    (*snapshot.contacts.keys().next().unwrap(), *snapshot.groups.keys().next().unwrap())
}
