//! Presence.

use attache::{
    Availability, Fact,
    compat::{
        CALENDAR_STATE_BUSY, CALENDAR_STATE_FREE, E_ACCESSDENIED, E_INVALIDARG, MISTATUS, MISTATUS_AWAY,
        MISTATUS_BUSY, MISTATUS_CUSTOM, MISTATUS_DO_NOT_DISTURB, MISTATUS_IN_A_MEETING, MISTATUS_INVISIBLE,
        MISTATUS_LOCAL_FINDING_SERVER, MISTATUS_OFFLINE, MISTATUS_ON_THE_PHONE, MISTATUS_ONLINE,
        MISTATUS_OUT_TO_LUNCH, MISTATUS_UNKNOWN, PRESENCE_PROP_AVAILABILITY,
        PRESENCE_PROP_CURRENT_CALENDAR_STATE, PRESENCE_PROP_CUSTOM_STATUS_STRING, PRESENCE_PROP_IS_BLOCKED,
        PRESENCE_PROP_MAX, PRESENCE_PROP_MSTATE, PRESENCE_PROP_NEXT_CALENDAR_STATE,
        PRESENCE_PROP_NEXT_CALENDAR_STATE_TIME, PRESENCE_PROP_PRESENCE_NOTE, PRESENCE_PROP_TOOL_TIP,
        PresenceProperties, S_OK, Variant,
    },
};

use crate::desk::{Desk, Office};

const ALICE: &str = "sip:alice@example.com";
const BOB: &str = "sip:bob@example.com";

/// seed: DMessengerEvents.OnContactStatusChange IMessengerContact.Status
#[test]
fn right_after_the_sign_in_everybody_who_is_there_is_told_and_nobody_else() {
    let office = Office::open();
    let bob = office.desk("bob");
    let desk = Desk::new(office.config(office.account("alice")));
    desk.add("sip:carol@example.com");
    let contact = desk.add(BOB);
    assert_eq!(contact.status(), MISTATUS_UNKNOWN, "nothing is known signed out, and unknown is not offline");
    desk.sign_in();
    desk.heard.wait(&format!("status {BOB} 0x0002"));
    assert_eq!(contact.status(), MISTATUS_ONLINE);
    // Signed in again, it is told again.
    desk.messenger.signout().expect("taken on");
    desk.heard.wait("signout");
    let before = desk.heard.lines().iter().filter(|line| line.starts_with(&format!("status {BOB}"))).count();
    desk.messenger.auto_signin().expect("taken on");
    bob.messenger.put_my_status(MISTATUS_AWAY).expect("published");
    desk.heard.wait(&format!("status {BOB} 0x0022"));
    let lines = desk.heard.lines();
    assert!(lines.iter().filter(|line| line.starts_with(&format!("status {BOB}"))).count() > before);
    assert!(!lines.iter().any(|line| line == "status sip:carol@example.com 0x0002"), "{lines:?}");
}

/// seed: IMessenger.MyStatus MISTATUS_BUSY MISTATUS_INVISIBLE DMessengerEvents.OnMyStatusChange IMessengerService.MyStatus
/// pain: 3
#[test]
fn setting_the_status_publishes_it_and_says_so() {
    let office = Office::open();
    let (desk, bob) = (office.desk("alice"), office.desk("bob"));
    bob.add(ALICE);
    assert_eq!(desk.messenger.put_my_status(MISTATUS_BUSY).expect("published"), S_OK);
    desk.heard.wait("my status S_OK (0x00000000) 0x000a");
    desk.heard.wait(&format!("status {ALICE} 0x000a"));
    bob.heard.wait(&format!("status {ALICE} 0x000a"));
    let service = desk.messenger.services().primary_service().expect("a service");
    assert_eq!(
        (desk.messenger.my_status().expect("one"), service.my_status()),
        (MISTATUS_BUSY, MISTATUS_BUSY)
    );
    desk.messenger.put_my_status(MISTATUS_INVISIBLE).expect("published");
    bob.heard.wait(&format!("status {ALICE} 0x0001"));
    for wrong in [MISTATUS_UNKNOWN, MISTATUS_OFFLINE, MISTATUS_LOCAL_FINDING_SERVER, MISTATUS(0x777)] {
        let failure = desk.messenger.put_my_status(wrong).expect_err("no status of a person");
        assert_eq!(failure.hresult(), E_INVALIDARG, "{wrong:?}");
    }
}

/// seed: MISTATUS_ON_THE_PHONE MISTATUS_OUT_TO_LUNCH MISTATUS_IN_A_MEETING MISTATUS_OUT_OF_OFFICE
/// seed: MISTATUS_IN_A_CONFERENCE MISTATUS_DO_NOT_DISTURB MISTATUS_IDLE MISTATUS_AWAY MISTATUS_BE_RIGHT_BACK
/// seed: MISTATUS_ALLOW_URGENT_INTERRUPTIONS MISTATUS_MAY_BE_AVAILABLE
#[test]
fn every_status_reaches_the_other_side_as_what_it_was() {
    let office = Office::open();
    let (desk, bob) = (office.desk("alice"), office.desk("bob"));
    bob.add(ALICE);
    // What is told of each: two were never more than another one.
    let pairs = [
        (0x32, 0x32),
        (0x42, 0x42),
        (0x52, 0x52),
        (0x62, 0x62),
        (0x82, 0x82),
        (0x72, 0x72),
        (0x12, 0x12),
        (0x22, 0x22),
        (0x0e, 0x0e),
        (0x92, 0x72),
        (0xa2, 0x12),
    ];
    for (put, told) in pairs {
        desk.messenger.put_my_status(MISTATUS(put)).expect("published");
        let contact = bob.messenger.get_contact(ALICE, "").expect("on the list");
        bob.heard.wait(&format!("status {ALICE} {told:#06x}"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while contact.status() != MISTATUS(told) {
            assert!(std::time::Instant::now() < deadline, "{put:#x} is {:?} there", contact.status());
            std::thread::yield_now();
        }
    }
}

/// seed: IMessengerContactAdvanced.PresenceProperties MISTATUS_CUSTOM PRESENCE_PROPERTY.*
/// pain: 20
#[test]
fn own_presence_is_written_as_an_array_with_any_words_and_any_availability() {
    let office = Office::open();
    let (desk, bob) = (office.desk("alice"), office.desk("bob"));
    bob.add(ALICE);
    let oneself = desk.messenger.get_contact(ALICE, "").expect("oneself");
    let mut array = PresenceProperties::new();
    array.put(PRESENCE_PROP_MSTATE, Variant::I4(MISTATUS_CUSTOM.0)).expect("a place");
    array.put(PRESENCE_PROP_CUSTOM_STATUS_STRING, Variant::Bstr("gardening".to_owned())).expect("a place");
    assert_eq!(oneself.put_presence_properties(&array).expect("published"), S_OK);
    bob.heard.wait(&format!("status {ALICE} 0x00b2"));
    let seen = bob.messenger.get_contact(ALICE, "").expect("on the list").presence_properties();
    assert_eq!(*seen.get(PRESENCE_PROP_CUSTOM_STATUS_STRING), Variant::Bstr("gardening".to_owned()));
    // Free text goes with being away as well, by the number of the availability.
    let mut away = PresenceProperties::new();
    away.put(PRESENCE_PROP_AVAILABILITY, Variant::I4(15500)).expect("a place");
    away.put(PRESENCE_PROP_PRESENCE_NOTE, Variant::Bstr("asleep on the train".to_owned())).expect("a place");
    oneself.put_presence_properties(&away).expect("published");
    bob.heard.wait(&format!("status {ALICE} 0x0022"));
    let seen = bob.messenger.get_contact(ALICE, "").expect("on the list").presence_properties();
    assert_eq!(*seen.get(PRESENCE_PROP_MSTATE), Variant::I4(MISTATUS_AWAY.0));
    assert_eq!(*seen.get(PRESENCE_PROP_AVAILABILITY), Variant::I4(15000));
    assert_eq!(*seen.get(PRESENCE_PROP_PRESENCE_NOTE), Variant::Bstr("asleep on the train".to_owned()));
    assert_eq!(*seen.get(PRESENCE_PROP_TOOL_TIP), Variant::Bstr("away, asleep on the train".to_owned()));
    assert_eq!(*seen.get(PRESENCE_PROP_IS_BLOCKED), Variant::Bool(false));
    assert_eq!(*seen.get(PRESENCE_PROP_MAX), Variant::Empty, "the array ends before it");
    assert_eq!(array.put(PRESENCE_PROP_MAX, Variant::Empty).expect_err("no place").hresult(), E_INVALIDARG);
    let other = bob.messenger.get_contact(ALICE, "").expect("on the list");
    assert_eq!(other.put_presence_properties(&away).expect_err("not oneself").hresult(), E_ACCESSDENIED);
    let mut wrong = PresenceProperties::new();
    wrong.put(PRESENCE_PROP_AVAILABILITY, Variant::I4(7)).expect("a place");
    assert_eq!(oneself.put_presence_properties(&wrong).expect_err("no availability").hresult(), E_INVALIDARG);
}

/// seed: CALENDAR_STATE.* PRESENCE_PROP_CURRENT_CALENDAR_STATE PRESENCE_PROP_NEXT_CALENDAR_STATE
/// seed: PRESENCE_PROP_NEXT_CALENDAR_STATE_TIME
#[test]
fn a_calendar_shows_what_is_now_and_what_comes() {
    let office = Office::open();
    let (desk, bob) = (office.desk("alice"), office.desk("bob"));
    bob.add(ALICE);
    let account = desk.messenger.modern().primary().expect("an account");
    let now = account.snapshot().session_since.as_millis();
    let later = |hours: u64| attache::Timestamp::from_millis(now + hours * 3_600_000);
    let fact = |activity: &str, from, until| Fact {
        availability: Some(Availability::Busy),
        activity: activity.into(),
        note: "".into(),
        from,
        until,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
    runtime.block_on(async {
        account.set_fact("meeting", Some(fact("meeting", None, Some(later(1))))).await.expect("published");
        account
            .set_fact("holiday", Some(fact("vacation", Some(later(2)), Some(later(30)))))
            .await
            .expect("published");
    });
    let contact = bob.messenger.get_contact(ALICE, "").expect("on the list");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let seen = contact.presence_properties();
        let current = seen.get(PRESENCE_PROP_CURRENT_CALENDAR_STATE).clone();
        let next = seen.get(PRESENCE_PROP_NEXT_CALENDAR_STATE).clone();
        if (current.clone(), next.clone())
            == (Variant::I4(CALENDAR_STATE_BUSY.0), Variant::I4(CALENDAR_STATE_FREE.0))
        {
            // Moments travel in seconds.
            let Variant::Date(at) = *seen.get(PRESENCE_PROP_NEXT_CALENDAR_STATE_TIME) else {
                panic!("a moment")
            };
            assert_eq!(at.as_millis() / 1000, later(1).as_millis() / 1000, "the meeting ends");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{current:?} {next:?}");
        std::thread::yield_now();
    }
    assert_eq!(contact.status(), MISTATUS_IN_A_MEETING);
}

/// seed: MISTATUS_UNKNOWN IMessenger.GetContact
/// pain: 16
#[test]
fn somebody_off_the_list_has_presence_for_as_long_as_the_object_is_held() {
    let office = Office::open();
    let (desk, bob) = (office.desk("alice"), office.desk("bob"));
    bob.messenger.put_my_status(MISTATUS_DO_NOT_DISTURB).expect("published");
    let service = desk.messenger.my_service_id().expect("an account");
    let stranger = desk.messenger.get_contact(BOB, &service).expect("anybody");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while stranger.status() != MISTATUS_DO_NOT_DISTURB {
        assert!(std::time::Instant::now() < deadline, "{:?}", stranger.status());
        std::thread::yield_now();
    }
    assert_eq!(desk.messenger.my_contacts().expect("an account").count(), 0);
    let account = desk.messenger.modern().primary().expect("an account");
    assert_eq!(account.snapshot().watched.size(), 1);
    drop(stranger);
    while account.snapshot().watched.size() != 0 {
        assert!(std::time::Instant::now() < deadline, "the lease is still there");
        std::thread::yield_now();
    }
}

/// seed: MISTATUS.*
#[test]
fn published_numbers_of_availabilities_are_kept() {
    let numbers = Availability::ALL.map(Availability::number);
    assert_eq!(numbers, [3000, 4500, 6000, 7500, 12000, 15000, 9000, 18000]);
    assert_eq!((MISTATUS_ON_THE_PHONE.0, MISTATUS_OUT_TO_LUNCH.0), (0x32, 0x42));
}
