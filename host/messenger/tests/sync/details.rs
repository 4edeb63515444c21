//! Numbers and addresses of contacts on the service, and who is blocked.

use attache_messenger::{
    address::Address,
    call::PhoneKind,
    command::Command,
    event::EventKind,
    privacy::{Decision, Who},
    profile::ContactDetails,
};

use crate::world::{LISTS, World, address};

fn noted(home: Option<&str>, work: Option<&str>, email: Option<&str>) -> ContactDetails {
    let tel = |text: Option<&str>| text.and_then(|text| Address::parse(text).ok());
    let mut details = ContactDetails { email: email.map(Into::into), ..ContactDetails::default() };
    details.phones.home = tel(home);
    details.phones.work = tel(work);
    details
}

fn note(world: &mut World, device: usize, name: &str, details: ContactDetails) {
    let contact = world.contact(device, name);
    world.run(device, Command::SetContactDetails(contact, details)).unwrap();
}

fn details(world: &mut World, device: usize, name: &str) -> ContactDetails {
    let id = world.contact(device, name);
    world.snapshot(device).contacts[&id].contact.details.as_deref().cloned().unwrap_or_default()
}

#[test]
fn numbers_of_a_contact_reach_the_other_devices() {
    let mut world = World::signed_in(2, 61);
    world.add(0, "bob");
    let first = noted(Some("tel:+12015550100"), Some("tel:+12015550123"), Some("bob@example.org"));
    note(&mut world, 0, "bob", first.clone());
    world.settle();
    world.relogin(1);
    assert_eq!(details(&mut world, 1, "bob"), first);
    let second = noted(None, Some("tel:+12015550177"), None);
    note(&mut world, 1, "bob", second.clone());
    world.settle();
    world.relogin(0);
    assert_eq!(details(&mut world, 0, "bob"), second);
    note(&mut world, 0, "bob", ContactDetails::default());
    world.settle();
    world.relogin(1);
    assert_eq!(details(&mut world, 1, "bob"), ContactDetails::default());
    let server = world.server();
    assert!(!server.text(LISTS).contains("vcard"), "nothing is left of it");
}

#[test]
fn what_two_devices_note_apart_is_merged_field_by_field() {
    let mut world = World::signed_in(2, 62);
    world.add(0, "bob");
    note(&mut world, 0, "bob", noted(Some("tel:+12015550100"), None, None));
    world.settle();
    world.relogin(1);
    for device in [0, 1] {
        world.run(device, Command::SignOut).unwrap();
    }
    note(&mut world, 0, "bob", noted(Some("tel:+12015550100"), Some("tel:+12015550123"), None));
    note(&mut world, 1, "bob", noted(None, None, Some("bob@example.org")));
    for device in [0, 1] {
        world.run(device, Command::SignIn).unwrap();
        world.settle();
    }
    world.relogin(0);
    let both = noted(None, Some("tel:+12015550123"), Some("bob@example.org"));
    for device in [0, 1] {
        assert_eq!(details(&mut world, device, "bob"), both, "{device}");
        assert!(world.is_synced(device));
    }
}

#[test]
fn numbers_that_another_program_noted_are_read_and_the_rest_of_its_card_stays() {
    let mut world = World::new(1, 63);
    world.server().put(
        LISTS,
        r#"<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="RootGroup">
        <entry uri="sip:dave@example.com"><display-name>Dave</display-name>
        <vcard xmlns="urn:ietf:params:xml:ns:vcard-4.0"><fn><text>Dave</text></fn><title><text>Chief</text></title>
        <tel><parameters><type><text>work</text></type></parameters><uri>tel:+1-201-555-0123</uri></tel></vcard>
        </entry></list></resource-lists>"#,
    );
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(details(&mut world, 0, "dave"), noted(None, Some("tel:+12015550123"), None));
    note(&mut world, 0, "dave", noted(Some("tel:+12015550100"), None, None));
    world.settle();
    let server = world.server();
    let text = server.text(LISTS);
    assert!(
        text.contains("<title><text>Chief</text></title>") && text.contains("tel:+12015550100"),
        "{text}"
    );
    assert!(!text.contains("555-0123"), "{text}");
}

#[test]
fn who_is_blocked_follows_the_rules_and_is_told() {
    let mut world = World::signed_in(1, 64);
    for name in ["bob", "carol"] {
        world.add(0, name);
    }
    let set = |world: &mut World, who: Who, decision: Option<Decision>| {
        world.run(0, Command::SetRule { who, decision }).unwrap();
        world.settle();
        let snapshot = world.snapshot(0);
        let mut blocked: Vec<String> = snapshot
            .contacts
            .values()
            .filter(|entry| snapshot.blocked.contains(&entry.contact.id))
            .map(|entry| entry.contact.address.to_string())
            .collect();
        blocked.sort();
        blocked
    };
    let bob = || Who::Address(address("bob"));
    assert_eq!(set(&mut world, bob(), Some(Decision::PoliteBlock)), ["sip:bob@example.com"]);
    let domain = Who::Domain("example.com".into());
    let both = ["sip:bob@example.com", "sip:carol@example.com"];
    assert_eq!(set(&mut world, domain.clone(), Some(Decision::Block)), both);
    assert_eq!(set(&mut world, bob(), Some(Decision::Allow)), ["sip:carol@example.com"]);
    world.add(0, "dave");
    world.settle();
    assert_eq!(
        set(&mut world, bob(), Some(Decision::Allow)),
        ["sip:carol@example.com", "sip:dave@example.com"]
    );
    assert!(set(&mut world, domain, None).is_empty());
    let told = world.with(0, |node| {
        let events = node.events().iter();
        let changes = events.filter_map(|event| match &event.kind {
            EventKind::ContactBlockedChanged { address, blocked, .. } => {
                Some((address.to_string(), *blocked))
            }
            _ => None,
        });
        changes.filter(|(address, _)| address.contains("bob")).map(|(_, blocked)| blocked).collect::<Vec<_>>()
    });
    assert_eq!(told, [true, false]);
}

#[test]
fn a_contact_that_comes_back_by_undo_has_its_numbers() {
    let mut world = World::signed_in(1, 65);
    world.add(0, "bob");
    note(&mut world, 0, "bob", noted(None, Some("tel:+12015550123"), None));
    let bob = world.contact(0, "bob");
    world.run(0, Command::RemoveContact(bob)).unwrap();
    world.run(0, Command::Undo).unwrap();
    world.settle();
    let back = world.contact(0, "bob");
    let snapshot = world.snapshot(0);
    assert!(snapshot.contacts[&back].phone(PhoneKind::Work).is_some());
    assert!(world.server().text(LISTS).contains("tel:+12015550123"));
}
