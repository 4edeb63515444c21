//! The contact list.

use std::sync::Arc;

use attache::compat::{
    E_INVALIDARG, MCONTACTPROP_GROUPS_PROPERTY, MSGR_E_CANCEL, MSGR_E_NOT_PRIMARY_SERVICE,
    MSGR_E_USER_NOT_FOUND, MUASORT_GROUPS, MUASORT_ONOFFLINE, S_FALSE, S_OK,
};

use crate::desk::{Desk, Front, Office};

const BOB: &str = "sip:bob@example.com";
const CAROL: &str = "sip:carol@example.com";

/// seed: IMessengerPrivate.AddContact DMessengerEvents.OnContactListAdd DMessengerPrivateEvents.OnContactListAdd
/// seed: MSGR_E_ALREADY_IN_LIST E_INVALIDARG MSGR_E_NOT_PRIMARY_SERVICE
/// pain: 12 13
#[test]
fn adding_asks_nobody_and_answers_by_a_callback_with_the_cause() {
    let office = Office::open();
    let desk = office.desk("alice");
    let service = desk.messenger.my_service_id().expect("an account");
    assert_eq!(desk.messenger.add_contact_silently(BOB, &service).expect("taken on"), S_OK);
    desk.heard.wait(&format!("added S_OK (0x00000000) {BOB}"));
    // What fails is told by the callback as well, with nobody in it.
    assert_eq!(desk.messenger.add_contact_silently(BOB, "").expect("taken on"), S_OK);
    desk.heard.wait("added MSGR_E_ALREADY_IN_LIST (0x8100030b) nobody");
    desk.messenger.add_contact_silently("sip:alice@example.com", "").expect("taken on");
    desk.heard.wait("added SR_INVITED_SELF (0x81000613) nobody");
    // What is no argument is the answer at once.
    for name in ["", " bob@example.com", "bob\n@example.com", &"b".repeat(130)] {
        let failure = desk.messenger.add_contact_silently(name, "").expect_err("no address");
        assert_eq!(failure.hresult(), E_INVALIDARG, "{name:?}");
        assert!(!failure.why().message().is_empty());
    }
    let other = desk.messenger.add_contact_silently(CAROL, "{00000000-0000-0000-0000-000000000000}");
    assert_eq!(other.expect_err("another service").hresult(), MSGR_E_NOT_PRIMARY_SERVICE);
}

/// seed: IMessenger.AddContact MSGR_E_CANCEL
/// pain: 12
#[test]
fn the_application_asks_the_person_where_the_wizard_did() {
    let office = Office::open();
    let desk = office.desk("alice");
    // Without anybody to ask, a name is enough, and no name is nobody.
    desk.messenger.add_contact(BOB).expect("taken on");
    desk.heard.wait(&format!("added S_OK (0x00000000) {BOB}"));
    assert_eq!(desk.messenger.add_contact("").expect_err("nobody").hresult(), MSGR_E_CANCEL);
    let front = Arc::new(Front::default());
    desk.messenger.set_shell(front.clone());
    desk.messenger.add_contact("").expect("taken on");
    desk.heard.wait(&format!("added S_OK (0x00000000) {CAROL}"));
    desk.messenger.set_shell(Arc::new(Front { refuses: true, ..Front::default() }));
    assert_eq!(desk.messenger.add_contact(CAROL).expect_err("the person said no").hresult(), MSGR_E_CANCEL);
    assert_eq!(*front.shown.lock().expect("whole"), ["add None"]);
}

/// seed: IMessengerContacts.Remove DMessengerEvents.OnContactListRemove IMessengerContacts.Count IMessengerContacts.Item
/// seed: IMessengerContacts._NewEnum IMessenger.MyContacts
/// pain: 10
#[test]
fn the_list_is_read_again_as_it_is_and_a_list_that_is_held_stays_as_it_was() {
    let office = Office::open();
    let desk = office.desk("alice");
    let bob = desk.add(BOB);
    desk.add(CAROL);
    let before = desk.messenger.my_contacts().expect("an account");
    assert_eq!((before.count(), before.iter().len()), (2, 2));
    assert_eq!(before.item(0).expect("the first"), bob);
    assert_eq!(before.item(2).expect_err("beyond the last").hresult(), E_INVALIDARG);
    assert_eq!(before.remove(&bob).expect("taken on"), S_OK);
    desk.heard.wait(&format!("removed S_OK (0x00000000) {BOB}"));
    // The callback came after the change: what is read now has it.
    let now = desk.messenger.my_contacts().expect("an account");
    let names: Vec<String> = now.iter().map(attache::compat::MessengerContact::signin_name).collect();
    assert_eq!((names, before.count()), (vec![CAROL.to_owned()], 2));
    before.remove(&bob).expect("taken on");
    desk.heard.wait_for("removed ATTACHE_E_CONTACT_NOT_FOUND");
}

/// seed: IMessenger.GetContact IMessengerContact.SigninName IMessengerContact.IsSelf MSGR_E_USER_NOT_FOUND
/// pain: 23
#[test]
fn a_contact_is_found_by_its_name_and_one_knows_oneself_signed_out() {
    let office = Office::open();
    let desk = Desk::new(office.config(office.account("alice")));
    let bob = desk.add(BOB);
    // Addresses are compared as addresses.
    assert_eq!(desk.messenger.get_contact("SIP:bob@EXAMPLE.com", "").expect("on the list"), bob);
    assert_eq!((bob.signin_name().as_str(), bob.is_self()), (BOB, false));
    let nobody = desk.messenger.get_contact(CAROL, "").expect_err("not on the list");
    assert_eq!(nobody.hresult(), MSGR_E_USER_NOT_FOUND);
    let oneself = desk.messenger.get_contact("sip:alice@example.com", "").expect("oneself");
    assert!(oneself.is_self(), "whoever is signed out is themselves all the same");
}

/// seed: IMessengerContact.FriendlyName DMessengerEvents.OnContactFriendlyNameChange
#[test]
fn a_contact_that_gets_another_name_is_told_with_the_one_before() {
    let office = Office::open();
    let desk = office.desk("alice");
    let bob = desk.add(BOB);
    assert_eq!(bob.friendly_name(), "bob@example.com");
    bob.put_friendly_name("Bob").expect("taken on");
    desk.heard.wait(&format!("renamed S_OK (0x00000000) {BOB} from "));
    bob.put_friendly_name("Robert").expect("taken on");
    desk.heard.wait(&format!("renamed S_OK (0x00000000) {BOB} from Bob"));
    assert_eq!(bob.friendly_name(), "Robert");
}

/// seed: IMessenger2.ContactsSortOrder MUASORT.*
#[test]
fn the_order_of_the_list_is_an_answer_and_no_setting_of_others() {
    let office = Office::open();
    let (desk, bob) = (office.desk("alice"), office.desk("bob"));
    let carol = desk.add(CAROL);
    desk.add(BOB);
    desk.heard.wait(&format!("status {BOB} 0x0002"));
    desk.messenger.create_group("Choir", "").expect("made").add_contact(&carol).expect("taken on");
    desk.heard.wait(&format!("into S_OK (0x00000000) Choir {CAROL}"));
    let names = || {
        let contacts = desk.messenger.my_contacts().expect("an account");
        contacts.iter().map(attache::compat::MessengerContact::signin_name).collect::<Vec<_>>()
    };
    assert_eq!(
        (desk.messenger.contacts_sort_order(), names()),
        (MUASORT_GROUPS, vec![CAROL.into(), BOB.into()])
    );
    desk.messenger.put_contacts_sort_order(MUASORT_ONOFFLINE).expect("an order");
    assert_eq!(names(), [BOB, CAROL]);
    let wrong = desk.messenger.put_contacts_sort_order(attache::compat::MUASORT(7)).expect_err("no order");
    assert_eq!(wrong.hresult(), E_INVALIDARG);
    assert_eq!(attache::Availability::Available.name(), "available");
    drop(bob);
}

/// seed: IMessengerContactAdvanced.IsTagged S_FALSE IMessengerPrivate.EnableAlertEvents DMessengerPrivateEvents.OnAlertReceived
#[test]
fn a_tagged_contact_raises_an_alert_when_it_comes() {
    let office = Office::open();
    let desk = office.desk("alice");
    let bob = desk.add(BOB);
    assert!(!bob.is_tagged());
    assert_eq!(bob.put_is_tagged(true).expect("kept"), S_OK);
    assert_eq!(bob.put_is_tagged(true).expect("so already"), S_FALSE);
    assert!(bob.is_tagged());
    let account = desk.messenger.modern().primary().expect("an account");
    let view = account.view();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
    let there = office.desk("bob");
    let alert = runtime.block_on(crate::common::event(view, |kind| match kind {
        attache::EventKind::ContactAlert { address, .. } => Some(address.to_string()),
        _ => None,
    }));
    assert_eq!(alert, BOB);
    drop(there);
}

/// seed: IMessengerContact.Blocked DMessengerEvents.OnContactBlockChange
#[test]
fn a_blocked_contact_sees_nothing_and_that_is_told() {
    let office = Office::with("xcap = \"127.0.0.1:0\"");
    let account = office.account("alice").xcap(office.world().xcap());
    let desk = Desk::new(office.config(account));
    desk.sign_in();
    let bob = desk.add(BOB);
    assert_eq!((bob.blocked(), bob.put_blocked(false).expect("so already")), (false, S_FALSE));
    assert_eq!(bob.put_blocked(true).expect("taken on"), S_OK);
    desk.heard.wait(&format!("blocked S_OK (0x00000000) {BOB} true"));
    assert!(bob.blocked());
    bob.put_blocked(false).expect("taken on");
    desk.heard.wait(&format!("blocked S_OK (0x00000000) {BOB} false"));
}

/// seed: DMessengerEvents.OnContactBlockChange
#[test]
fn blocking_where_the_service_has_no_rules_is_told_with_its_cause() {
    let office = Office::open();
    let desk = office.desk("alice");
    let bob = desk.add(BOB);
    bob.put_blocked(true).expect("taken on");
    desk.heard.wait_for("blocked ATTACHE_E_UNSUPPORTED_BY_SERVICE");
}

/// seed: DMessengerEvents.OnContactPropertyChange MCONTACTPROP_GROUPS_PROPERTY
#[test]
fn the_groups_of_a_contact_are_a_property_whose_change_is_told() {
    let office = Office::open();
    let desk = office.desk("alice");
    let bob = desk.add(BOB);
    let group = desk.messenger.create_group("Works", "").expect("made");
    group.add_contact(&bob).expect("taken on");
    let line = format!("property S_OK (0x00000000) {BOB} {} Bstr(\"Works\")", MCONTACTPROP_GROUPS_PROPERTY.0);
    desk.heard.wait(&line);
}
