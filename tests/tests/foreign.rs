//! Attaché and SIP clients written by others, on a service written by others and on ours.
//!
//! Alice uses the other program, Bob uses Attaché.

#![cfg(unix)]

use anyhow::{Context, Result, ensure};
use attache::{Address, Availability, Draft, EventKind, MessageId, MessageState};
use attache_tests::{
    clients::{Client, Linphone, Pjsua, Program, Status},
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

/// The state of Bob's only message to Alice.
fn until_delivery(bob: &Desk, message: MessageId, wanted: &MessageState) -> Result<()> {
    bob.until(&format!("{wanted:?}"), |snapshot| {
        let deliveries = snapshot.deliveries.get(&message);
        deliveries.is_some_and(|all| all.iter().any(|one| one.state == *wanted || one.state.follows(wanted)))
    })
}

#[test]
fn a_compressed_receipt_is_read_and_its_sender_is_not_refused() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
    let mut alice = Linphone::sign_in(&server.login("alice", Transport::Udp)?, BOB)?;
    let steps = |alice: &mut Linphone| {
        let address = Address::parse("sip:alice@example.test")?;
        let message = bob.wait("the message", bob.messenger().send_draft(Draft::new(address, "hello")))??;
        alice.hears("hello")?;
        until_delivery(&bob, message, &MessageState::Delivered)?;
        let log = alice.logs("message/imdn+xml")?;
        ensure!(
            log.contains("Content-Encoding: deflate"),
            "linphone compresses no more: nothing is shown here"
        );
        ensure!(!log.contains("SIP/2.0 415"), "it was refused");
        // It came and went without a trace for the user, and what comes after it does arrive.
        alice.say("and now a text")?;
        bob.hears("sip:alice@example.test", "and now a text")?;
        let texts = bob.count_events(|kind| matches!(kind, EventKind::MessageReceived(_)));
        ensure!(texts == 0, "only one text came");
        Ok(())
    };
    steps(&mut alice).with_context(|| format!("{}\nlinphone:\n{}", server.log(), alice.said()))
}

#[test]
fn pjsua_and_attache_see_each_other_type() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
    let mut alice = Pjsua::sign_in(&server.login("alice", Transport::Udp)?, BOB)?;
    let steps = |alice: &mut Pjsua| {
        let address = Address::parse("sip:alice@example.test")?;
        let types = |active: bool| -> Result<()> {
            Ok(bob.wait("the notice", bob.messenger().set_composing(&address, active))??)
        };
        for typing in [true, false] {
            alice.type_something(typing)?;
            bob.event("that Alice types", |kind| match kind {
                EventKind::ComposingChanged { who, active, .. } if *who == address && *active == typing => {
                    Some(())
                }
                _ => None,
            })?;
        }
        // Told only to those who are known to read it, as she is now.
        types(true)?;
        alice.sees_typing(true)?;
        types(false)?;
        alice.sees_typing(false)?;
        // What is typed comes after that, and ends it.
        alice.type_something(true)?;
        bob.until("that Alice types", |snapshot| snapshot.composing.contains_key(&address))?;
        alice.say("what I meant to say")?;
        bob.hears("sip:alice@example.test", "what I meant to say")?;
        bob.until("that Alice types no more", |snapshot| !snapshot.composing.contains_key(&address))
    };
    steps(&mut alice).with_context(|| format!("{}\npjsua:\n{}", server.log(), alice.said()))
}

#[test]
fn a_message_to_a_program_that_is_away_is_kept_by_kamailio_and_comes_later() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
    bob.send("sip:alice@example.test", "for when you are back")?;
    let mut alice = Pjsua::sign_in(&server.login("alice", Transport::Udp)?, BOB)?;
    alice.hears_ending("for when you are back").with_context(|| server.log())?;
    // And the other way round: what a foreign program says to somebody who is away.
    bob.leave();
    alice.say("for when you are back, too")?;
    let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
    bob.event("the kept message", |kind| match kind {
        EventKind::MessageReceived(it) if it.content.text().ends_with("for when you are back, too") => {
            Some(())
        }
        _ => None,
    })
    .with_context(|| server.log())
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
