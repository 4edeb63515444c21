//! Who is on the phone, told by a service written by others about calls between programs written by others.

#![cfg(unix)]

use anyhow::{Context, Result};
use attache::{Address, Availability, Snapshot};
use attache_tests::{
    clients::{Baresip, Client, Pjsua},
    desk::Desk,
    server::{Kind, Server, Transport},
};

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";
const CAROL: &str = "sip:carol@example.test";

#[test]
fn whoever_calls_somebody_is_on_the_phone_until_the_call_ends() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let mut alice = Baresip::sign_in(&server.login("alice", Transport::Udp)?, BOB)?;
    let mut carol = Pjsua::sign_in(&server.login("carol", Transport::Udp)?, BOB)?;
    let mut login = server.login("bob", Transport::Udp)?;
    login.account = "calls = true".to_owned();
    let bob = Desk::sign_in(&login)?;
    let watched = Address::parse(ALICE)?;
    let talks = |_: &Snapshot| {
        bob.messenger()
            .presence(&watched)
            .is_some_and(|seen| seen.activities.iter().any(|word| **word == *"on-the-phone"))
    };
    let steps = |alice: &mut Baresip| {
        alice.go_online()?;
        bob.add(ALICE)?;
        bob.sees(ALICE, Availability::Available)?;
        assert!(!talks(&bob.messenger().snapshot()));
        alice.call(CAROL)?;
        bob.until("that Alice is on the phone", talks)?;
        bob.sees(ALICE, Availability::Busy)?;
        alice.hang_up()?;
        bob.until("that Alice is off the phone", |snapshot| !talks(snapshot))?;
        bob.sees(ALICE, Availability::Available).map(drop)
    };
    steps(&mut alice)
        .with_context(|| format!("{}\nbaresip:\n{}\npjsua:\n{}", server.log(), alice.said(), carol.said()))
}
