//! Transports of a service written by others: encryption, and WebSocket.

#![cfg(unix)]

use anyhow::{Context, Result};
use attache::{Availability, EventKind, SessionState};
use attache_tests::{
    certificates::Authority,
    desk::Desk,
    server::{Kind, Server, Transport},
};

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";

/// Presence and a message in both directions.
fn see_each_other_and_talk(transport: Transport) -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let steps = || {
        let alice = Desk::sign_in(&server.login("alice", transport)?)?;
        let bob = Desk::sign_in(&server.login("bob", transport)?)?;
        alice.add(BOB)?;
        bob.add(ALICE)?;
        alice.publish(Availability::Busy, "in a review")?;
        assert_eq!(bob.sees(ALICE, Availability::Busy)?, "in a review");
        bob.publish(Availability::Away, "")?;
        alice.sees(BOB, Availability::Away)?;
        alice.send(BOB, "hello")?;
        bob.hears(ALICE, "hello")?;
        bob.send(ALICE, "hello yourself")?;
        alice.hears(BOB, "hello yourself")
    };
    steps().with_context(|| server.log())
}

#[test]
fn two_users_see_each_other_and_talk_over_tls() -> Result<()> {
    see_each_other_and_talk(Transport::Tls)
}

#[test]
fn two_users_see_each_other_and_talk_over_websocket() -> Result<()> {
    see_each_other_and_talk(Transport::Ws)
}

#[test]
fn two_users_see_each_other_and_talk_over_websocket_and_tls() -> Result<()> {
    see_each_other_and_talk(Transport::Wss)
}

#[test]
fn a_service_whose_root_is_not_trusted_is_not_signed_in_to() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let mut login = server.login("alice", Transport::Tls)?;
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("other.pem");
    std::fs::write(&other, Authority::new()?.root())?;
    login.host = format!("[host.tls]\nroots = '{}'\n", other.display());
    let alice = Desk::start(&login)?;
    let reason = alice.event("the refusal", |kind| match kind {
        EventKind::SessionChanged { reason: Some(reason), state } if *state != SessionState::SignedIn => {
            Some(format!("{reason} {}", reason.cause().unwrap_or_default()))
        }
        _ => None,
    })?;
    assert!(reason.contains("certificate"), "it says what is wrong: {reason}");
    assert!(!server.log().contains("REGISTER"), "nothing was said to it: {}", server.log());
    Ok(())
}
