//! Finding people, and what is known of them.

use std::sync::Arc;

use attache::compat::{
    ADDRESS_TYPE, ADDRESS_TYPE_DISPLAY_NAME, ADDRESS_TYPE_EXTERNAL, ADDRESS_TYPE_SMTP,
    CONTACT_RESOLUTION_ANY, CONTACT_RESOLUTION_CACHED_ONLY, E_INVALIDARG, MSGR_E_NO_DIRECTORY,
    MSGR_E_TOO_MANY_MATCHES, MSGR_E_USER_NOT_FOUND,
};

use crate::desk::{Desk, Firm, Front, Office};

const BOB: &str = "sip:bob@example.com";

fn with_directory(office: &Office) -> Desk {
    let mut config = office.config(office.account("alice"));
    config.directory = Some(Arc::new(Firm));
    Desk::new(config)
}

/// seed: IMessengerContactResolution.ResolveContact DMessengerEvents.OnContactResolved ADDRESS_TYPE.*
/// seed: CONTACT_RESOLUTION_TYPE.* MSGR_E_TOO_MANY_MATCHES MSGR_E_USER_NOT_FOUND
/// pain: 11 17
#[test]
fn a_look_up_answers_at_once_from_what_is_known_and_else_by_a_callback() {
    let office = Office::open();
    let desk = with_directory(&office);
    desk.add("sip:carol@example.com").put_friendly_name("Carol").expect("taken on");
    desk.heard.wait_for("renamed S_OK");
    let resolve = |kind: ADDRESS_TYPE, name: &str| {
        desk.messenger.resolve_contact(kind, CONTACT_RESOLUTION_ANY, name).expect("taken on")
    };
    let carol = Some("sip:carol@example.com".to_owned());
    assert_eq!(resolve(ADDRESS_TYPE_DISPLAY_NAME, "carol"), carol);
    assert_eq!(resolve(ADDRESS_TYPE_SMTP, "Carol@example.com"), carol);
    assert_eq!(
        resolve(ADDRESS_TYPE_EXTERNAL, "sip:alice@example.com").as_deref(),
        Some("sip:alice@example.com")
    );
    // The directory answers later.
    assert_eq!(resolve(ADDRESS_TYPE_SMTP, "robert.builder@mail.example.com"), None);
    desk.heard.wait(&format!("resolved S_OK (0x00000000) 1 robert.builder@mail.example.com {BOB}"));
    assert_eq!(resolve(ADDRESS_TYPE_DISPLAY_NAME, "Jo Smith"), None);
    desk.heard.wait(&format!("resolved {MSGR_E_TOO_MANY_MATCHES} 2 Jo Smith "));
    assert_eq!(resolve(ADDRESS_TYPE_DISPLAY_NAME, "Nobody"), None);
    desk.heard.wait(&format!("resolved {MSGR_E_USER_NOT_FOUND} 2 Nobody "));
    let known =
        desk.messenger.resolve_contact(ADDRESS_TYPE_SMTP, CONTACT_RESOLUTION_CACHED_ONLY, "x@example.com");
    assert_eq!(known.expect_err("nobody is known by it").hresult(), MSGR_E_USER_NOT_FOUND);
    let wrong = desk.messenger.resolve_contact(ADDRESS_TYPE(9), CONTACT_RESOLUTION_ANY, "x");
    assert_eq!(wrong.expect_err("no kind").hresult(), E_INVALIDARG);
}

/// seed: IMessenger.FindContact MSGR_E_NO_DIRECTORY CONTACT_PROPERTY.*
#[test]
fn people_are_found_by_name_and_place() {
    let office = Office::open();
    let desk = with_directory(&office);
    let found = desk.messenger.find_contact("Bob", "", "reykjavík", "", " ").expect("asked");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].signin_name().as_str(), found[0].friendly_name().as_str()), (BOB, "Bob Builder"));
    assert_eq!(desk.messenger.find_contact("Jo", "Smith", "", "", "").expect("asked").len(), 2);
    // Title and office are what tells people of one name apart.
    let account = desk.messenger.modern().primary().expect("an account");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
    let bob = crate::common::address(BOB);
    let found = runtime.block_on(account.resolve(&attache::PersonQuery::Address(bob))).expect("known");
    assert_eq!(found.found, attache::FoundIn::Directory);
    assert_eq!(found.entry.expect("an entry").detail, "Works, room 12, Reykjavík");
    let none = Desk::new(office.config(office.account("bob")));
    let failure = none.messenger.find_contact("Bob", "", "", "", "").expect_err("no directory");
    assert_eq!(failure.hresult(), MSGR_E_NO_DIRECTORY);
}

/// seed: IMessenger.SendMail IMessenger.OpenInbox IMessengerContact.Property MUAFOLDER.*
#[test]
fn a_letter_is_begun_by_whoever_shows_things() {
    let office = Office::open();
    let desk = with_directory(&office);
    let front = Arc::new(Front::default());
    desk.messenger.set_shell(front.clone());
    let uri = desk.messenger.send_mail(BOB).expect("known");
    assert_eq!(uri, "mailto:robert.builder@mail.example.com");
    let uri = desk.messenger.send_mail("sip:o%27hara&co@example.com").expect("the address itself");
    assert_eq!(uri, "mailto:o'hara%26co@example.com");
    let shown = front.shown.lock().expect("whole").clone();
    assert_eq!(shown[0], "open mailto:robert.builder@mail.example.com");
    let nobody = desk.messenger.send_mail("tel:+15550100").expect_err("a telephone has no mail");
    assert_eq!(nobody.hresult(), MSGR_E_USER_NOT_FOUND);
}

/// seed: IMessenger.ViewProfile
#[test]
fn a_profile_is_a_page_that_is_safe_to_open() {
    let office = Office::open();
    let desk = with_directory(&office);
    let front = Arc::new(Front::default());
    desk.messenger.set_shell(front.clone());
    assert_eq!(desk.messenger.view_profile(BOB).expect("known"), "https://people.example.com/bob");
    assert_eq!(*front.shown.lock().expect("whole"), ["open https://people.example.com/bob"]);
    let nobody = desk.messenger.view_profile("sip:carol@example.com").expect_err("no page");
    assert_eq!(nobody.hresult(), MSGR_E_USER_NOT_FOUND);
}
