//! Groups.

use attache::compat::{
    E_INVALIDARG, MSGR_E_BAD_GROUP_NAME, MSGR_E_GROUP_ALREADY_EXISTS, MSGR_E_GROUP_NAME_TOO_LONG,
    MSGR_E_NOT_PRIMARY_SERVICE, S_OK,
};

use crate::desk::{Desk, Office};

const BOB: &str = "sip:bob@example.com";

/// seed: IMessenger2.CreateGroup DMessengerEvents.OnGroupAdded MSGR_E_BAD_GROUP_NAME MSGR_E_GROUP_NAME_TOO_LONG
/// seed: MSGR_E_GROUP_ALREADY_EXISTS
#[test]
fn a_group_is_made_at_once_and_a_bad_name_has_its_own_code() {
    let office = Office::open();
    let desk = office.desk("alice");
    let group = desk.messenger.create_group("  Friends ", "").expect("made");
    assert_eq!(group.name(), "Friends", "blanks at the ends do not count");
    desk.heard.wait("group S_OK (0x00000000) Friends");
    for (name, code) in [
        ("friends", MSGR_E_GROUP_ALREADY_EXISTS),
        ("a\tb", MSGR_E_BAD_GROUP_NAME),
        ("", MSGR_E_BAD_GROUP_NAME),
        (&*"x".repeat(257), MSGR_E_GROUP_NAME_TOO_LONG),
    ] {
        let failure = desk.messenger.create_group(name, "").expect_err("refused");
        assert_eq!(failure.hresult(), code, "{name}");
        desk.heard.wait(&format!("group {code} none"));
    }
    let other = desk.messenger.create_group("Others", "{none}").expect_err("another service");
    assert_eq!(other.hresult(), MSGR_E_NOT_PRIMARY_SERVICE);
}

/// seed: IMessenger2.MyGroups IMessengerGroups.Count IMessengerGroups.Item IMessengerGroups._NewEnum IMessengerGroups.Remove
/// seed: DMessengerEvents.OnGroupRemoved MSGR_E_GROUP_DOES_NOT_EXIST IMessengerGroup.Service
#[test]
fn groups_are_read_and_deleted_and_their_contacts_stay() {
    let office = Office::open();
    let desk = Desk::new(office.config(office.account("alice")));
    assert_eq!(desk.messenger.my_groups().expect("signed out as well").count(), 0);
    let friends = desk.messenger.create_group("Friends", "").expect("made");
    desk.messenger.create_group("Works", "").expect("made");
    let bob = desk.add(BOB);
    friends.add_contact(&bob).expect("taken on");
    desk.heard.wait(&format!("into S_OK (0x00000000) Friends {BOB}"));
    let groups = desk.messenger.my_groups().expect("an account");
    let names: Vec<String> = groups.iter().map(attache::compat::MessengerGroup::name).collect();
    assert_eq!((groups.count(), names), (2, vec!["Friends".to_owned(), "Works".to_owned()]));
    assert_eq!(groups.item(0).expect("the first"), friends);
    assert_eq!(groups.item(9).expect_err("beyond").hresult(), E_INVALIDARG);
    // A group belongs to the account that it was read from, whose service this is.
    let account = desk.messenger.modern().primary().expect("an account");
    assert_eq!(desk.messenger.my_service_id().expect("an account"), &*account.service().id);
    assert_eq!(groups.remove(&friends).expect("taken on"), S_OK);
    desk.heard.wait("group removed S_OK (0x00000000) Friends");
    assert_eq!(desk.messenger.my_contacts().expect("an account").count(), 1);
    groups.remove(&friends).expect("taken on");
    desk.heard.wait("group removed MSGR_E_GROUP_DOES_NOT_EXIST (0x8100034d) none");
}

/// seed: IMessengerGroup.AddContact IMessengerGroup.RemoveContact IMessengerGroup.Contacts
/// seed: DMessengerEvents.OnContactAddedToGroup DMessengerEvents.OnContactRemovedFromGroup MSGR_E_USER_NOT_GROUP_MEMBER
#[test]
fn contacts_come_into_groups_and_out_of_them() {
    let office = Office::open();
    let desk = office.desk("alice");
    let bob = desk.add(BOB);
    let group = desk.messenger.create_group("Friends", "").expect("made");
    assert_eq!(group.add_contact(BOB).expect("taken on"), S_OK);
    desk.heard.wait(&format!("into S_OK (0x00000000) Friends {BOB}"));
    assert_eq!(group.contacts().item(0).expect("one"), bob);
    assert_eq!(
        group.contacts().remove(&bob).expect_err("only the list is changed so").hresult(),
        E_INVALIDARG
    );
    group.remove_contact(&bob).expect("taken on");
    desk.heard.wait(&format!("out of S_OK (0x00000000) Friends {BOB}"));
    assert_eq!(group.contacts().count(), 0);
    group.remove_contact(&bob).expect("taken on");
    desk.heard.wait("out of MSGR_E_USER_NOT_GROUP_MEMBER (0x8100034e) Friends nobody");
    group.add_contact("sip:carol@example.com").expect("taken on");
    desk.heard.wait_for("into ATTACHE_E_CONTACT_NOT_FOUND");
}

/// seed: IMessengerGroup.Name DMessengerEvents.OnGroupNameChanged
#[test]
fn a_group_that_gets_another_name_is_told() {
    let office = Office::open();
    let desk = office.desk("alice");
    let group = desk.messenger.create_group("Friends", "").expect("made");
    desk.messenger.create_group("Works", "").expect("made");
    group.put_name("Pals").expect("taken on");
    desk.heard.wait("group renamed S_OK (0x00000000) Pals");
    assert_eq!(group.name(), "Pals");
    group.put_name("works").expect("taken on");
    desk.heard.wait("group renamed MSGR_E_GROUP_ALREADY_EXISTS (0x8100034b) Pals");
}
