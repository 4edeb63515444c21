//! What the service tells of the account itself: messages that wait, and devices.

use std::time::Duration;

use attache_messenger::{command::Command, event::EventKind};

use crate::{service::Service, world::*};

const SUMMARY: &str = "application/simple-message-summary";
const REGISTRATIONS: &str = "application/reginfo+xml";

fn tell(world: &mut World, package: &str, kind: &'static str, body: &str) {
    let service = SERVICE.into();
    world.sim.with(service, |s: &mut Service, now| s.set_package(now, package, kind, body));
    world.settle();
}

fn sign_in(world: &mut World) {
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
}

fn summary(new: u32) -> String {
    let waiting = if new > 0 { "yes" } else { "no" };
    format!(
        "Messages-Waiting: {waiting}\r\nMessage-Account: sip:alice@vm.example.com\r\nVoice-Message: {new}/8 (1/2)\r\n"
    )
}

fn registrations(version: u32, kind: &str, contacts: &[(&str, &str)]) -> String {
    let contacts = contacts.iter().map(|(name, state)| {
        format!(
            r#"<contact id="{name}" state="{state}" event="registered" expires="600"><uri>sip:alice@{name}</uri>
            <display-name>the {name}</display-name>
            <unknown-param name="+sip.instance">"&lt;urn:uuid:{name}&gt;"</unknown-param></contact>"#
        )
    });
    format!(
        r#"<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="{version}" state="{kind}">
        <registration aor="sip:alice@example.com" id="r" state="active">{}</registration></reginfo>"#,
        contacts.collect::<String>()
    )
}

fn devices(world: &mut World) -> Vec<String> {
    world.snapshot(ALICE).devices.iter().map(|device| device.name.to_string()).collect()
}

#[test]
fn messages_that_wait_are_shown_and_told_of() {
    let mut world = World::new(1);
    tell(&mut world, "message-summary", SUMMARY, &summary(0));
    sign_in(&mut world);
    let shown = world.snapshot(ALICE).messages_waiting.unwrap();
    assert!(!shown.waiting && shown.unheard("voice-message") == 0);
    tell(&mut world, "message-summary", SUMMARY, &summary(2));
    let shown = world.snapshot(ALICE).messages_waiting.unwrap();
    assert!(shown.waiting);
    assert_eq!(shown.account.as_deref(), Some("sip:alice@vm.example.com"));
    let voice = &shown.classes[0];
    assert_eq!((&*voice.class, voice.new, voice.old, voice.urgent_new), ("voice-message", 2, 8, 1));
    tell(&mut world, "message-summary", SUMMARY, &summary(2));
    let told = world.with(ALICE, |node| {
        let events = node.events().iter();
        events.filter(|event| matches!(event.kind, EventKind::MessagesWaitingChanged(Some(_)))).count()
    });
    assert_eq!(told, 2, "what was known is not told again");
    world.run(ALICE, Command::SignOut).unwrap();
    assert_eq!(world.snapshot(ALICE).messages_waiting, None);
}

#[test]
fn own_devices_are_shown_as_they_come_and_go() {
    let mut world = World::new(2);
    tell(&mut world, "reg", REGISTRATIONS, &registrations(0, "full", &[("desk", "active")]));
    sign_in(&mut world);
    assert_eq!(devices(&mut world), ["the desk"]);
    let desk = world.snapshot(ALICE).devices[0].clone();
    assert_eq!((&*desk.uri, desk.instance.as_deref()), ("sip:alice@desk", Some("urn:uuid:desk")));
    assert!(!desk.this && desk.until.is_some());
    tell(&mut world, "reg", REGISTRATIONS, &registrations(1, "partial", &[("mobile", "active")]));
    assert_eq!(devices(&mut world), ["the desk", "the mobile"]);
    tell(&mut world, "reg", REGISTRATIONS, &registrations(2, "partial", &[("desk", "terminated")]));
    assert_eq!(devices(&mut world), ["the mobile"]);
    let told = world.with(ALICE, |node| {
        node.events().iter().filter(|event| matches!(event.kind, EventKind::DevicesChanged(_))).count()
    });
    assert_eq!(told, 3);
}

#[test]
fn a_gap_in_the_list_of_devices_is_asked_about() {
    let mut world = World::new(3);
    tell(&mut world, "reg", REGISTRATIONS, &registrations(0, "full", &[("desk", "active")]));
    sign_in(&mut world);
    tell(&mut world, "reg", REGISTRATIONS, &registrations(5, "partial", &[("tablet", "active")]));
    assert_eq!(devices(&mut world), ["the desk"], "nothing is guessed");
    tell(&mut world, "reg", REGISTRATIONS, &registrations(6, "full", &[("tablet", "active")]));
    assert_eq!(devices(&mut world), ["the tablet"]);
}

#[test]
fn what_the_service_does_not_offer_is_asked_for_once_and_not_again() {
    let mut world = World::new(4);
    sign_in(&mut world);
    world.sim.run_for(Duration::from_secs(3 * 3600));
    world.sim.partition(at(ALICE), SERVICE.into());
    world.sim.run_for(Duration::from_secs(120));
    world.sim.heal(at(ALICE), SERVICE.into());
    world.sim.run_for(Duration::from_secs(120));
    let asked = |package: &str, world: &World| {
        let event = format!("Event: {package}");
        let packets = world.sim.trace().iter().filter(|packet| packet.is("SUBSCRIBE"));
        packets.filter(|packet| String::from_utf8_lossy(&packet.payload).contains(&event)).count()
    };
    assert_eq!((asked("message-summary", &world), asked("reg\r\n", &world)), (1, 1));
    let report = world.snapshot(ALICE).report;
    let told = report.refused.iter().any(|refused| matches!(&*refused.feature, "message-summary" | "reg"));
    assert!(!told, "it was only tried");
}
