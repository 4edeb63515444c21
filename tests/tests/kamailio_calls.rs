//! Who is on the phone, told by a service written by others about calls between programs written by others.

#![cfg(unix)]

use anyhow::{Context, Result, ensure};
use attache::{
    Address, Availability, Call, CallId, CallMethod, CallState, Callee, Command, EventKind, Snapshot,
    TransferTarget,
};
use attache_tests::{
    clients::{Baresip, Client, Linphone, Pjsua},
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

/// Bob dials on the screen; the phone that rings for him is Alice's baresip, and Carol's pjsua is called.
struct Dialling {
    bob: Desk,
    alice: Baresip,
    carol: Pjsua,
    server: Server,
}

impl Dialling {
    fn start() -> Result<Self> {
        let server = Server::start(Kind::Kamailio)?;
        let alice = Baresip::sign_in(&server.login("alice", Transport::Udp)?, BOB)?;
        let carol = Pjsua::sign_in(&server.login("carol", Transport::Udp)?, BOB)?;
        let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
        Ok(Self { bob, alice, carol, server })
    }

    fn run(mut self, steps: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let outcome = steps(&mut self);
        let Self { bob, mut alice, mut carol, server } = self;
        outcome.with_context(|| {
            let (phones, events) =
                (format!("baresip:\n{}\npjsua:\n{}", alice.said(), carol.said()), bob.events());
            format!("{}\n{phones}\n{events}", server.log())
        })
    }

    fn dial(&self, own: &str, peer: &str, method: CallMethod) -> Result<CallId> {
        let (peer, own) = (Callee::Address(Address::parse(peer)?), Address::parse(own)?);
        let call = self.bob.messenger().call_from(peer, Some(own), Some(method));
        Ok(self.bob.wait("the call", call)??)
    }

    fn until(&self, call: CallId, what: &str, wanted: impl Fn(&Call) -> bool) -> Result<()> {
        self.bob.until(what, |snapshot| snapshot.calls.get(&call).is_some_and(|call| wanted(call)))
    }

    /// Both phones talk, by third-party call control.
    fn connect(&mut self) -> Result<CallId> {
        let call = self.dial(ALICE, CAROL, CallMethod::ThirdParty)?;
        self.until(call, "that the own phone rings", |call| call.state == CallState::OwnRinging)?;
        self.alice.pick_up()?;
        self.carol.until_call("CONFIRMED")?;
        self.alice.until_talking()?;
        self.until(call, "that both talk", |call| call.state == CallState::Connected)?;
        Ok(call)
    }

    fn until_over(&self, call: CallId) -> Result<()> {
        self.until(call, "the end of the call", |call| call.state == CallState::Ended(None))
    }

    /// The states that a call went through.
    fn states(&self, call: CallId) -> Vec<&'static str> {
        let mut states = Vec::new();
        while let Ok(Some(state)) = self.next_state(call) {
            states.push(state);
        }
        states
    }

    fn next_state(&self, wanted: CallId) -> Result<Option<&'static str>> {
        let of_it = |kind: &EventKind| matches!(kind, EventKind::CallChanged(call) if call.id == wanted);
        if self.bob.count_events(of_it) == 0 {
            return Ok(None);
        }
        let state = self.bob.event("a state", |kind| match kind {
            EventKind::CallChanged(call) if call.id == wanted => Some(call.state.name()),
            _ => None,
        })?;
        Ok(Some(state))
    }
}

#[test]
fn two_phones_are_connected_by_a_third_party_who_hangs_up() -> Result<()> {
    Dialling::start()?.run(|it| {
        let call = it.connect()?;
        let own = it.bob.messenger().own_presence();
        ensure!(own.activities.iter().any(|word| **word == *"on-the-phone"), "{own:?}");
        it.bob.wait("the end", it.bob.messenger().hang_up(call))??;
        it.alice.until_over()?;
        it.carol.until_call("DISCONNECTED")?;
        it.until_over(call)?;
        let mut states = it.states(call);
        // Whether the other side rings before it answers is its own affair.
        states.retain(|state| *state != "peer-ringing");
        states.dedup();
        ensure!(
            states.ends_with(&["own-ringing", "own-answered", "connected", "ended"]),
            "the states of the call: {states:?}"
        );
        Ok(())
    })
}

#[test]
fn a_call_between_two_phones_ends_when_either_hangs_up() -> Result<()> {
    Dialling::start()?.run(|it| {
        let call = it.connect()?;
        it.carol.hang_up()?;
        it.alice.until_over()?;
        it.until_over(call)?;
        let call = it.connect()?;
        it.alice.hang_up()?;
        it.carol.until_call("DISCONNECTED")?;
        it.until_over(call)
    })
}

#[test]
fn a_phone_that_takes_no_referral_is_told_of_and_nobody_is_called() -> Result<()> {
    let dialling = Dialling::start()?;
    let declining = Linphone::sign_in(&dialling.server.login("dave", Transport::Udp)?, BOB)?;
    dialling.run(|it| {
        // None of the three takes a REFER outside of a call: baresip and pjsua do not know it, linphone declines.
        for own in [ALICE, CAROL, "sip:dave@example.test"] {
            let call = it.dial(own, "sip:nobody@example.test", CallMethod::Refer)?;
            it.until(call, "the refusal", |call| matches!(call.state, CallState::Ended(Some(_))))?;
        }
        Ok(())
    })?;
    drop(declining);
    Ok(())
}

#[test]
fn the_other_side_is_transferred_to_somebody_else() -> Result<()> {
    let dave = "sip:dave@example.test";
    let dialling = Dialling::start()?;
    let mut target = Linphone::sign_in(&dialling.server.login("dave", Transport::Udp)?, BOB)?;
    dialling.run(|it| {
        // Carol's phone is the own one this time, and Alice's is asked to call Dave.
        let call = it.dial(CAROL, ALICE, CallMethod::ThirdParty)?;
        it.alice.pick_up()?;
        it.alice.until_talking()?;
        it.until(call, "that both talk", |call| call.state == CallState::Connected)?;
        let to = TransferTarget::Callee(Callee::Address(Address::parse(dave)?));
        it.bob.wait("the wish", it.bob.messenger().command(Command::Transfer { call, to }))??;
        target.pick_up().with_context(|| target.said())?;
        it.alice.until_talking()?;
        it.carol.until_call("DISCONNECTED")?;
        it.until_over(call)?;
        let states = it.states(call);
        ensure!(
            states.ends_with(&["connected", "transferring", "ended"]),
            "the states of the call: {states:?}"
        );
        Ok(())
    })
}
