//! Attaché and SIP clients written by others, on a service written by others and on ours.
//!
//! Alice uses the other program, Bob uses Attaché.

#![cfg(unix)]

use anyhow::{Context, Result};
use attache::{Availability, EventKind, MessageState};
use attache_tests::{
    clients::{Client, Linphone, Program, Status},
    desk::Desk,
    server::{Kind, OLD_FASHIONED, Server, Transport},
};

const BOB: &str = "sip:bob@example.test";

struct Two {
    bob: Desk,
    alice: Box<dyn Client>,
    address: String,
    server: Server,
}

fn two(program: Program, kind: Kind, transport: Transport) -> Result<Two> {
    program.ensure_installed()?;
    let server = Server::start(kind)?;
    let bob = Desk::sign_in(&server.login("bob", transport)?)?;
    let user = if program == Program::Baresip { OLD_FASHIONED } else { "alice" };
    let login = server.login(user, transport)?;
    let alice = program.sign_in(&login, BOB).with_context(|| server.log())?;
    Ok(Two { bob, alice, address: login.address(), server })
}

fn see_each_other(program: Program, kind: Kind, transport: Transport) -> Result<()> {
    let Two { bob, mut alice, address, server } = two(program, kind, transport)?;
    let steps = |alice: &mut dyn Client| {
        alice.sees(Status::Online)?;
        bob.publish(Availability::Busy, "in a review")?;
        alice.sees(Status::Busy)?;
        bob.publish(Availability::Offline, "")?;
        alice.sees(Status::Offline)?;

        bob.add(&address)?;
        alice.go_online()?;
        bob.sees(&address, Availability::Available)?;
        alice.go_offline()?;
        bob.sees(&address, Availability::Offline).map(drop)
    };
    steps(&mut *alice).with_context(|| format!("{}\nthe other program:\n{}", server.log(), alice.said()))
}

fn talk(program: Program, kind: Kind, transport: Transport) -> Result<()> {
    let Two { bob, mut alice, address, server } = two(program, kind, transport)?;
    let steps = |alice: &mut dyn Client| {
        bob.send(&address, "good morning — 早上好")?;
        alice.hears("good morning — 早上好")?;
        alice.say("hello yourself")?;
        bob.hears(&address, "hello yourself")
    };
    steps(&mut *alice).with_context(|| format!("{}\nthe other program:\n{}", server.log(), alice.said()))
}

#[test]
fn baresip_and_attache_see_each_other_on_kamailio() -> Result<()> {
    see_each_other(Program::Baresip, Kind::Kamailio, Transport::Udp)
}

#[test]
fn baresip_and_attache_see_each_other_on_the_embedded_service() -> Result<()> {
    see_each_other(Program::Baresip, Kind::Embedded, Transport::Udp)
}

#[test]
fn baresip_and_attache_talk_on_kamailio() -> Result<()> {
    talk(Program::Baresip, Kind::Kamailio, Transport::Udp)
}

#[test]
fn baresip_and_attache_talk_on_the_embedded_service() -> Result<()> {
    talk(Program::Baresip, Kind::Embedded, Transport::Udp)
}

#[test]
fn linphone_and_attache_see_each_other_on_kamailio() -> Result<()> {
    see_each_other(Program::Linphone, Kind::Kamailio, Transport::Udp)
}

#[test]
fn linphone_and_attache_see_each_other_on_the_embedded_service() -> Result<()> {
    see_each_other(Program::Linphone, Kind::Embedded, Transport::Udp)
}

#[test]
fn linphone_and_attache_talk_on_kamailio() -> Result<()> {
    talk(Program::Linphone, Kind::Kamailio, Transport::Udp)
}

#[test]
fn linphone_and_attache_talk_on_the_embedded_service() -> Result<()> {
    talk(Program::Linphone, Kind::Embedded, Transport::Udp)
}

#[test]
fn a_compressed_delivery_notification_is_refused_and_the_message_counts_as_delivered() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
    let mut alice = Linphone::sign_in(&server.login("alice", Transport::Udp)?, BOB)?;
    bob.send("sip:alice@example.test", "hello")?;
    alice.hears("hello")?;
    bob.event("that it was delivered", |kind| match kind {
        EventKind::MessageStateChanged { state: MessageState::Delivered, .. } => Some(()),
        _ => None,
    })?;
    let log = alice.logs("SIP/2.0 415")?;
    assert!(log.contains("Content-Encoding: deflate"), "linphone compresses no more: nothing is shown here");
    assert!(log.contains("Accept-Encoding: identity"), "the refusal says what would be read");
    // It came and went without a trace for the user, and what comes after it does arrive.
    alice.say("and now a text")?;
    bob.hears("sip:alice@example.test", "and now a text")
}

#[test]
fn pjsua_and_attache_see_each_other_on_kamailio() -> Result<()> {
    see_each_other(Program::Pjsua, Kind::Kamailio, Transport::Udp)
}

#[test]
fn pjsua_and_attache_see_each_other_on_the_embedded_service() -> Result<()> {
    see_each_other(Program::Pjsua, Kind::Embedded, Transport::Udp)
}

#[test]
fn pjsua_and_attache_see_each_other_over_tcp() -> Result<()> {
    see_each_other(Program::Pjsua, Kind::Kamailio, Transport::Tcp)?;
    see_each_other(Program::Pjsua, Kind::Embedded, Transport::Tcp)
}

#[test]
fn pjsua_and_attache_talk_on_kamailio() -> Result<()> {
    talk(Program::Pjsua, Kind::Kamailio, Transport::Udp)
}

#[test]
fn pjsua_and_attache_talk_on_the_embedded_service() -> Result<()> {
    talk(Program::Pjsua, Kind::Embedded, Transport::Udp)
}

#[test]
fn baresip_and_attache_see_each_other_over_tls() -> Result<()> {
    see_each_other(Program::Baresip, Kind::Kamailio, Transport::Tls)?;
    see_each_other(Program::Baresip, Kind::Embedded, Transport::Tls)
}

#[test]
fn linphone_and_attache_see_each_other_over_tls() -> Result<()> {
    see_each_other(Program::Linphone, Kind::Kamailio, Transport::Tls)?;
    see_each_other(Program::Linphone, Kind::Embedded, Transport::Tls)
}

#[test]
fn pjsua_and_attache_see_each_other_over_tls() -> Result<()> {
    see_each_other(Program::Pjsua, Kind::Kamailio, Transport::Tls)?;
    see_each_other(Program::Pjsua, Kind::Embedded, Transport::Tls)
}

#[test]
fn foreign_programs_and_attache_talk_over_tls() -> Result<()> {
    for program in [Program::Baresip, Program::Linphone, Program::Pjsua] {
        talk(program, Kind::Kamailio, Transport::Tls)?;
        talk(program, Kind::Embedded, Transport::Tls)?;
    }
    Ok(())
}
