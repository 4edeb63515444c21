//! Who people are: names, telephones, e-mail addresses, calendars.

use std::{sync::Arc, time::Duration};

use attache_messenger::{
    address::Address,
    call::PhoneKind,
    code::Code,
    command::Command,
    event::EventKind,
    presence::{Availability, DeviceKind, Fact, Freshness},
    profile::{Calendar, CalendarState, ContactDetails, Profile},
    snapshot::ContactEntry,
};

use crate::{service::Service, world::*};

fn tel(text: &str) -> Option<Address> {
    Address::parse(text).ok()
}

fn profile(name: &str, work: Option<&str>, mobile: Option<&str>) -> Profile {
    let mut profile = Profile { display_name: name.into(), ..Profile::default() };
    profile.phones.work = work.and_then(tel);
    profile.phones.mobile = mobile.and_then(tel);
    profile
}

/// The other one as somebody has them on the list.
fn entry(world: &mut World, name: &str) -> ContactEntry {
    world.snapshot(name).contacts.values().next().unwrap().clone()
}

fn set(world: &mut World, name: &str, profile: Option<Profile>) {
    world.run(name, Command::SetProfile(profile.map(Box::new))).unwrap();
    world.settle();
}

/// Profiles of contacts that somebody was told of: before and now.
fn changes(world: &mut World, name: &str) -> Vec<(Profile, Profile)> {
    world.with(name, |node| {
        let events = node.take_events().into_iter();
        let change = events.filter_map(|event| match event.kind {
            EventKind::ContactProfileChanged { profile, previous, .. } => {
                Some((Profile::clone(&previous), Profile::clone(&profile)))
            }
            _ => None,
        });
        change.collect()
    })
}

#[test]
fn own_numbers_and_name_reach_those_who_see_ones_presence() {
    let mut world = World::friends(1);
    changes(&mut world, BOB);
    let mut mine = profile("Alice Liddell", Some("tel:+1-201-555-0123"), Some("tel:+12015550199"));
    mine.email = Some("alice@example.com".into());
    mine.homepage = Some("https://example.com/alice".into());
    mine.icon = Some("https://example.com/alice.png".into());
    set(&mut world, ALICE, Some(mine.clone()));
    let seen = entry(&mut world, BOB);
    assert_eq!(seen.profile(), mine);
    assert_eq!(seen.phone(PhoneKind::Work), tel("tel:+12015550123").as_ref());
    assert_eq!((seen.phone(PhoneKind::Home), &**seen.display_name()), (None, "Alice Liddell"));
    assert_eq!(seen.presence.availability, Some(Availability::Available), "numbers say nothing of that");
    assert!(
        seen.presence.devices().iter().all(|device| !device.contact.as_deref().unwrap().starts_with("tel:"))
    );
    assert_eq!(changes(&mut world, BOB), [(Profile::default(), mine.clone())]);
    let other = profile("Alice Liddell", None, Some("tel:+12015550100"));
    set(&mut world, ALICE, Some(other.clone()));
    // Changes are published in measure.
    world.sim.run_for(Duration::from_secs(10));
    assert_eq!(changes(&mut world, BOB), [(mine, other)]);
}

#[test]
fn own_profile_is_kept_over_a_restart_and_goes_back_to_what_is_configured() {
    let mut world = World::friends(2);
    let configured = |mut config: attache_messenger::engine::EngineConfig| {
        config.display_name = "A. L.".into();
        config.phones.home = tel("tel:+12015550111");
        config
    };
    world.restart_with(ALICE, configured, |node| node);
    let shown = world.snapshot(ALICE);
    assert_eq!((&*shown.display_name, shown.profile.phones.home.clone()), ("A. L.", tel("tel:+12015550111")));
    set(&mut world, ALICE, Some(profile("Alice", Some("tel:+12015550123"), None)));
    world.restart_with(ALICE, configured, |node| node);
    assert_eq!(*world.snapshot(ALICE).profile, profile("Alice", Some("tel:+12015550123"), None));
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(&**entry(&mut world, BOB).display_name(), "Alice");
    let from = world.sim.trace().iter().rev().find(|packet| packet.from == at(ALICE) && packet.is("PUBLISH"));
    assert!(String::from_utf8_lossy(&from.unwrap().payload).contains("Alice"), "requests go by it too");
    set(&mut world, ALICE, None);
    let shown = world.snapshot(ALICE);
    assert_eq!(&*shown.display_name, "A. L.");
    let told = world.with(ALICE, |node| {
        node.events().iter().any(|event| match &event.kind {
            EventKind::OwnProfileChanged { profile, previous } => {
                &*previous.display_name == "Alice" && &*profile.display_name == "A. L."
            }
            _ => false,
        })
    });
    assert!(told);
    world.settle();
    assert_eq!(&**entry(&mut world, BOB).display_name(), "A. L.");
}

#[test]
fn a_profile_that_is_none_is_refused() {
    let mut world = World::friends(3);
    let name = Profile { display_name: "n".repeat(300).into(), ..Profile::default() };
    assert_eq!(world.fails(ALICE, Command::SetProfile(Some(Box::new(name)))), Code::InvalidFriendlyName);
    let email = ContactDetails { email: Some("nobody".into()), ..ContactDetails::default() };
    let contact = world.contact(ALICE);
    assert_eq!(world.fails(ALICE, Command::SetContactDetails(contact, email)), Code::InvalidArgument);
}

#[test]
fn what_the_user_notes_goes_before_what_the_person_publishes() {
    let mut world = World::friends(4);
    set(&mut world, ALICE, Some(profile("Alice", Some("tel:+12015550123"), Some("tel:+12015550199"))));
    changes(&mut world, BOB);
    let contact = world.contact(BOB);
    let mut noted = ContactDetails { email: Some("a@example.org".into()), ..ContactDetails::default() };
    noted.phones.work = tel("tel:+12015550177");
    world.run(BOB, Command::SetContactDetails(contact, noted.clone())).unwrap();
    let seen = entry(&mut world, BOB);
    assert_eq!(seen.phone(PhoneKind::Work), tel("tel:+12015550177").as_ref());
    assert_eq!(seen.phone(PhoneKind::Mobile), tel("tel:+12015550199").as_ref());
    assert_eq!(seen.email().map(|email| &**email), Some("a@example.org"));
    assert_eq!(changes(&mut world, BOB).len(), 1);
    world.run(BOB, Command::RenameContact(contact, "Al".into())).unwrap();
    let renamed = changes(&mut world, BOB);
    assert_eq!((&*renamed[0].0.display_name, &*renamed[0].1.display_name), ("Alice", "Al"));
    world.restart(BOB);
    let kept = entry(&mut world, BOB);
    assert_eq!(kept.contact.details.as_deref(), Some(&noted), "also over a restart");
    world.run(BOB, Command::Undo).unwrap();
    world.run(BOB, Command::Undo).unwrap();
    assert_eq!(entry(&mut world, BOB).contact.details, None, "and can be taken back");
}

#[test]
fn numbers_of_contacts_stay_known_while_their_presence_is_not() {
    let mut world = World::friends(5);
    set(&mut world, ALICE, Some(profile("Alice", Some("tel:+12015550123"), None)));
    changes(&mut world, BOB);
    world.run(BOB, Command::SignOut).unwrap();
    let seen = entry(&mut world, BOB);
    assert_eq!(seen.presence.availability, None);
    assert_eq!(seen.phone(PhoneKind::Work), tel("tel:+12015550123").as_ref());
    world.run(BOB, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(entry(&mut world, BOB).presence.freshness, Freshness::Live);
    assert_eq!(changes(&mut world, BOB), [], "nothing has changed");
}

#[test]
fn a_calendar_is_told_with_what_comes_next() {
    let mut world = World::friends(6);
    let now = world.snapshot(ALICE).session_since;
    let hour = Duration::from_secs(3600);
    let fact = |activity: &str, from, until| Fact {
        availability: None,
        activity: activity.into(),
        note: "".into(),
        from,
        until,
    };
    let say = |world: &mut World, source: &str, fact| {
        world.run(ALICE, Command::SetFact { source: source.into(), fact }).unwrap();
        world.sim.run_for(Duration::from_secs(10));
        entry(world, BOB).presence.calendar()
    };
    assert_eq!(say(&mut world, "calendar", None), None, "nothing is known of it");
    let end = now + hour;
    let meeting = say(&mut world, "calendar", Some(fact("meeting", None, Some(end))));
    // Times of documents have whole seconds at the least.
    let same = |found: Option<Calendar>, now, next, at: attache_messenger::time::Timestamp| {
        let found = found.unwrap();
        let (state, when) = found.next.unwrap();
        assert_eq!((found.now, state), (now, next));
        assert!(when.as_millis().abs_diff(at.as_millis()) < 1_000, "{when} and {at}");
    };
    same(meeting, CalendarState::Busy, CalendarState::Free, end);
    let own = world.snapshot(ALICE).own;
    assert_eq!(
        own.calendar(),
        Some(Calendar { now: CalendarState::Busy, next: Some((CalendarState::Free, end)) })
    );
    say(&mut world, "journey", Some(fact("travel", Some(now + hour * 2), None)));
    world.sim.run_for(hour);
    let calendar = entry(&mut world, BOB).presence.calendar();
    same(calendar, CalendarState::Free, CalendarState::OutOfOffice, now + hour * 2);
    world.sim.run_for(hour);
    let calendar = entry(&mut world, BOB).presence.calendar();
    assert_eq!(calendar, Some(Calendar { now: CalendarState::OutOfOffice, next: None }));
}

#[test]
fn what_others_publish_of_numbers_and_devices_is_understood() {
    let mut world = World::friends(7);
    let document = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"
        xmlns:c="urn:ietf:params:xml:ns:pidf:caps" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" entity="sip:bob@example.com">
        <tuple id="m"><status><basic>open</basic></status>
            <c:servcaps><c:mobility><c:supported><c:mobile/></c:supported></c:mobility></c:servcaps>
            <contact priority="0.8">tel:+1-201-555-0166</contact></tuple>
        <tuple id="h"><status/><r:class>HOME</r:class><contact>tel:+12015550100</contact></tuple>
        <tuple id="f"><status/><contact>tel:4711</contact></tuple>
        <tuple id="e"><status/><contact>mailto:bob@example.org?subject=hello</contact></tuple>
        <d:person id="p"><r:activities><r:other>juggling</r:other></r:activities></d:person></presence>"#;
    world.sim.with(SERVICE.into(), |s: &mut Service, now| s.publish_as(now, BOB, document));
    world.settle();
    let seen = entry(&mut world, ALICE);
    assert_eq!(seen.phone(PhoneKind::Mobile), tel("tel:+12015550166").as_ref());
    assert_eq!(seen.phone(PhoneKind::Home), tel("tel:+12015550100").as_ref());
    assert_eq!(seen.phone(PhoneKind::Work), None, "what no kind is told of is none");
    assert_eq!(seen.email().map(|email| &**email), Some("bob@example.org"));
    assert_eq!(seen.presence.device_kind(), Some(DeviceKind::Mobile));
    assert_eq!(seen.presence.custom_status().map(|word| &**word), Some("juggling"));
    let shown: Vec<Option<Arc<str>>> =
        seen.presence.devices().iter().map(|device| device.contact.clone()).collect();
    assert_eq!(shown, [Some("tel:+1-201-555-0166".into())], "numbers alone are no devices");
}
