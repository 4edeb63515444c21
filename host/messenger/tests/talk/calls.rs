//! Calls between phones, and calls with the application's media.

use std::{sync::Arc, time::Duration};

use attache_messenger::{
    call::{Call, CallMethod, CallState, Callee, IncomingCalls, Media, PhoneKind},
    code::Code,
    command::{Command, TransferTarget},
    event::EventKind,
    id::{CallId, ContactId},
    presence::Availability,
    profile::{ContactDetails, Phones},
    sim::Link,
};

use crate::{
    phone::{Manner, Phone},
    world::*,
};

const SOON: Manner = Manner::PickedUp(Duration::from_secs(3));

/// Alice's desk phone, and that of somebody whom she calls.
fn world(seed: u64, desk: Manner, bob: Manner) -> World {
    let mut world = World::new(seed, &[]);
    world.begin("alice", |mut config| {
        config.phone = Some(address("desk"));
        config
    });
    Phone::add(&mut world.sim, "desk", desk);
    Phone::add(&mut world.sim, "bob", bob);
    world.settle();
    world
}

fn dial(to: &str) -> Command {
    Command::Call { to: Callee::Address(address(to)), own: None, method: None }
}

fn states(world: &mut World, name: &str) -> Vec<&'static str> {
    world
        .events(name)
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::CallChanged(call) => Some(call.state.name()),
            _ => None,
        })
        .collect()
}

fn call(world: &mut World, name: &str) -> Arc<Call> {
    let snapshot = world.snapshot(name);
    assert_eq!(snapshot.calls.size(), 1);
    snapshot.calls.values().next().unwrap().clone()
}

fn phone<R>(world: &mut World, name: &str, f: impl FnOnce(&mut Phone) -> R) -> R {
    world.sim.with(at(name), |phone: &mut Phone, _| f(phone))
}

fn talk_to_each_other(world: &mut World) -> bool {
    let desk = phone(world, "desk", |phone| phone.sends_to());
    let bob = phone(world, "bob", |phone| phone.sends_to());
    desk == Some(at("bob").ip().to_string()) && bob == Some(at("desk").ip().to_string())
}

fn quiet(world: &mut World) -> bool {
    ["desk", "bob"].into_iter().all(|name| phone(world, name, |phone| phone.calls.is_empty()))
}

fn hang_up(world: &mut World, name: &'static str) {
    world.sim.with(at(name), |phone: &mut Phone, now| phone.hang_up(now));
    world.settle();
}

#[test]
fn the_own_phone_rings_first_and_then_the_other_side_and_they_talk() {
    let mut world = world(1, SOON, SOON);
    world.run("alice", dial("bob")).unwrap();
    assert_eq!(
        states(&mut world, "alice"),
        ["starting", "own-ringing", "own-answered", "peer-ringing", "connected"]
    );
    world.settle();
    assert!(talk_to_each_other(&mut world));
    let id = call(&mut world, "alice").id;
    world.run("alice", Command::HangUp(id)).unwrap();
    world.settle();
    assert!(quiet(&mut world));
    let over = call(&mut world, "alice");
    assert_eq!(over.state, CallState::Ended(None));
    assert!(over.connected_at > Some(over.started_at) && over.ended_at > over.connected_at);
    assert_eq!(world.lines("alice", over.conversation), ["call ended"]);
}

#[test]
fn a_phone_that_takes_no_empty_offer_makes_one_of_its_own() {
    let mut world = world(2, SOON, SOON);
    phone(&mut world, "desk", |phone| phone.picky = true);
    world.run("alice", dial("bob")).unwrap();
    world.settle();
    assert!(talk_to_each_other(&mut world));
    hang_up(&mut world, "bob");
    assert_eq!(call(&mut world, "alice").state, CallState::Ended(None));
    assert!(quiet(&mut world));
}

#[test]
fn a_phone_that_made_an_offer_is_put_off_while_the_other_side_rings_long() {
    let mut world = world(3, SOON, Manner::PickedUp(Duration::from_secs(50)));
    phone(&mut world, "desk", |phone| phone.picky = true);
    world.run("alice", dial("bob")).unwrap();
    world.settle();
    assert!(talk_to_each_other(&mut world));
}

#[test]
fn a_call_comes_about_over_a_bad_network() {
    for seed in 0..6 {
        let mut world = world(30 + seed, SOON, SOON);
        world.sim.set_default_link(Link {
            loss: 0.2,
            duplicate: 0.2,
            reorder: 0.2,
            jitter: Duration::from_millis(60),
            ..Link::default()
        });
        phone(&mut world, "desk", |phone| phone.picky = seed % 2 == 1);
        world.run("alice", dial("bob")).unwrap();
        world.sim.run_for(Duration::from_secs(20));
        assert!(talk_to_each_other(&mut world), "seed {seed}");
        let id = call(&mut world, "alice").id;
        world.run("alice", Command::HangUp(id)).unwrap();
        world.sim.run_for(Duration::from_secs(40));
        assert!(quiet(&mut world), "seed {seed}");
    }
}

#[test]
fn when_one_side_refuses_the_other_is_released_with_the_right_code() {
    for (status, code) in [
        (486, Code::PhoneCircuitsBusy),
        (600, Code::PhoneCircuitsBusy),
        (603, Code::SessionInvitationDeclined),
        (480, Code::VoiceNoAnswer),
        (488, Code::PhoneCallNotComplete),
        (404, Code::UserNotFound),
        (484, Code::PhoneInvalidNumber),
    ] {
        let mut world = world(4, SOON, Manner::Refuses(status));
        assert_eq!(world.fails("alice", dial("bob")), code, "{status}");
        world.settle();
        assert!(quiet(&mut world), "{status}");
    }
    let mut world = world(5, Manner::Refuses(486), SOON);
    assert_eq!(world.fails("alice", dial("bob")), Code::PhoneCircuitsBusy);
    world.settle();
    assert_eq!(phone(&mut world, "bob", |phone| phone.rang), 0, "the own phone comes first");
}

#[test]
fn a_phone_that_nobody_picks_up_rings_for_a_while() {
    let mut world = world(6, SOON, Manner::Rings);
    assert_eq!(world.fails("alice", dial("bob")), Code::VoiceNoAnswer);
    world.settle();
    assert!(quiet(&mut world));
    let mut world = self::world(7, Manner::Rings, SOON);
    assert_eq!(world.fails("alice", dial("bob")), Code::VoiceNoAnswer);
    world.settle();
    assert_eq!(phone(&mut world, "bob", |phone| phone.rang), 0);
}

#[test]
fn a_call_is_hung_up_from_any_state() {
    for seconds in [0, 1, 4, 7, 10] {
        let mut world = world(8, SOON, SOON);
        let token = world.start("alice", dial("bob"));
        let id = world.accepted("alice", token).call.unwrap();
        world.sim.run_for(Duration::from_secs(seconds));
        world.run("alice", Command::HangUp(id)).unwrap();
        world.sim.run_for(Duration::from_secs(40));
        assert!(quiet(&mut world), "after {seconds} s");
        let over = call(&mut world, "alice");
        match over.connected_at {
            Some(_) => assert_eq!(over.state, CallState::Ended(None)),
            None => {
                assert_eq!(
                    world.finish("alice", token).unwrap_err().code(),
                    Code::SessionSessionCancelledLocal
                );
            }
        }
        assert_eq!(world.fails("alice", Command::HangUp(id)), Code::Closed);
        assert_eq!(world.fails("alice", Command::HangUp(CallId(1))), Code::NotFound);
    }
}

#[test]
fn whoever_hangs_up_ends_the_call_for_the_other() {
    for (who, connected) in [("desk", false), ("desk", true), ("bob", true)] {
        let bob = if connected { SOON } else { Manner::Rings };
        let mut world = world(9, SOON, bob);
        let token = world.start("alice", dial("bob"));
        world.sim.run_for(Duration::from_secs(20));
        hang_up(&mut world, who);
        world.sim.run_for(Duration::from_secs(40));
        assert!(quiet(&mut world), "{who}");
        let outcome = world.outcome("alice", token).unwrap();
        assert_eq!(outcome.is_ok(), connected);
        assert!(call(&mut world, "alice").is_over());
    }
}

#[test]
fn what_one_side_offers_during_a_call_is_put_to_the_other() {
    let mut world = world(10, SOON, SOON);
    world.run("alice", dial("bob")).unwrap();
    world.settle();
    for name in ["bob", "desk"] {
        world.sim.with(at(name), |phone: &mut Phone, now| phone.reoffer(now));
        world.settle();
        assert!(phone(&mut world, name, |phone| phone.calls.values().all(|talk| talk.answered == 1)));
        assert!(talk_to_each_other(&mut world));
    }
}

#[test]
fn offers_that_meet_do_no_harm() {
    let mut world = world(11, SOON, SOON);
    world.run("alice", dial("bob")).unwrap();
    world.settle();
    for name in ["bob", "desk"] {
        world.sim.with(at(name), |phone: &mut Phone, now| phone.reoffer(now));
    }
    world.sim.run_for(Duration::from_secs(20));
    assert!(talk_to_each_other(&mut world));
    assert!(!call(&mut world, "alice").is_over());
}

#[test]
fn whoever_is_in_a_call_is_on_the_phone_until_it_ends() {
    let mut world = world(12, SOON, SOON);
    let activities = |world: &mut World| {
        let own = world.snapshot("alice").own;
        (own.availability, own.activities.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    world.run("alice", dial("bob")).unwrap();
    assert_eq!(activities(&mut world), (Some(Availability::Busy), vec!["on-the-phone".to_owned()]));
    let id = call(&mut world, "alice").id;
    let foreign = Command::SetFact { source: "calls".into(), fact: None };
    assert_eq!(world.fails("alice", foreign), Code::InvalidArgument);
    world.run("alice", Command::HangUp(id)).unwrap();
    assert_eq!(activities(&mut world), (Some(Availability::Available), Vec::new()));
}

#[test]
fn a_controller_that_restarts_is_not_on_the_phone_any_more() {
    let mut world = world(13, SOON, SOON);
    world.run("alice", dial("bob")).unwrap();
    world.settle();
    world.begin("alice", |config| config);
    let snapshot = world.snapshot("alice");
    assert!(snapshot.calls.is_empty());
    assert_eq!(snapshot.own.availability, Some(Availability::Available));
    assert!(snapshot.own.activities.is_empty());
    // Nobody refreshes the phones' sessions any more: they end by themselves.
    world.sim.run_for(Duration::from_secs(3600));
    assert!(quiet(&mut world));
}

#[test]
fn signing_out_ends_calls() {
    let mut world = world(14, SOON, SOON);
    world.run("alice", dial("bob")).unwrap();
    world.run("alice", Command::SignOut).unwrap();
    world.settle();
    assert!(quiet(&mut world));
    assert_eq!(world.fails("alice", dial("bob")), Code::NotLoggedOn);
}

#[test]
fn calls_are_checked_before_anything_rings() {
    let mut world = world(15, SOON, SOON);
    let number = |text: &str| Command::Call { to: Callee::Number(text.into()), own: None, method: None };
    for wrong in ["", "call me", "+", "1", "+49*1", "tel:", "1234567890123456789012345"] {
        assert_eq!(world.fails("alice", number(wrong)), Code::PhoneInvalidNumber, "{wrong}");
    }
    assert_eq!(world.fails("alice", dial("alice")), Code::SessionInvitedSelf);
    assert_eq!(phone(&mut world, "desk", |phone| phone.rang), 0);
    // Nobody has it: the service says so, and the own phone is released.
    assert_eq!(world.fails("alice", number("0311 4242")), Code::PhoneInvalidNumber);
    world.settle();
    assert!(quiet(&mut world));
}

#[test]
fn a_number_of_a_contact_is_called() {
    let mut world = world(17, SOON, SOON);
    world.run("alice", Command::AddContact { address: address("carol"), name: "".into() }).unwrap();
    let contact = *world.snapshot("alice").contacts.keys().next().unwrap();
    let dial = |kind| Command::Call { to: Callee::Contact(contact, kind), own: None, method: None };
    assert_eq!(world.fails("alice", dial(PhoneKind::Work)), Code::PhoneInvalidNumber);
    let phones = Phones { work: Some(address("bob")), ..Phones::default() };
    let details = ContactDetails { phones, ..ContactDetails::default() };
    world.run("alice", Command::SetContactDetails(contact, details)).unwrap();
    assert_eq!(world.fails("alice", dial(PhoneKind::Home)), Code::PhoneInvalidNumber);
    world.run("alice", dial(PhoneKind::Work)).unwrap();
    world.settle();
    assert!(talk_to_each_other(&mut world));
    let unknown = Callee::Contact(ContactId(1), PhoneKind::Work);
    let unknown = Command::Call { to: unknown, own: None, method: None };
    assert_eq!(world.fails("alice", unknown), Code::ContactNotFound);
}

#[test]
fn calls_are_bounded() {
    let mut world = world(16, Manner::Rings, SOON);
    world.begin("alice", |mut config| {
        config.phone = Some(address("desk"));
        config.limits.calls = 2;
        config
    });
    world.start("alice", dial("bob"));
    world.start("alice", dial("bob"));
    assert_eq!(world.fails("alice", dial("bob")), Code::TooManySessions);
}

// ---- by REFER, and transfers ----

fn refer(to: &str) -> Command {
    Command::Call { to: Callee::Address(address(to)), own: None, method: Some(CallMethod::Refer) }
}

#[test]
fn the_own_phone_is_asked_to_call_and_tells_how_it_goes() {
    let mut world = world(40, SOON, SOON);
    world.run("alice", refer("bob")).unwrap();
    assert_eq!(states(&mut world, "alice"), ["starting", "own-answered", "peer-ringing", "connected"]);
    world.settle();
    assert!(talk_to_each_other(&mut world));
    // Nobody tells of the phone's dialogs here: the call is out of sight, and goes on.
    world.sim.run_for(Duration::from_secs(60));
    assert_eq!(call(&mut world, "alice").state, CallState::Ended(None));
    assert!(talk_to_each_other(&mut world));
    assert!(world.snapshot("alice").own.activities.is_empty());
}

#[test]
fn what_the_own_phone_could_not_do_is_told_with_the_right_code() {
    for (status, code) in
        [(486, Code::PhoneCircuitsBusy), (603, Code::SessionInvitationDeclined), (480, Code::VoiceNoAnswer)]
    {
        let mut world = world(41, SOON, Manner::Refuses(status));
        assert_eq!(world.fails("alice", refer("bob")), code, "{status}");
    }
    let mut world = world(42, SOON, SOON);
    phone(&mut world, "desk", |phone| phone.follows = false);
    assert_eq!(world.fails("alice", refer("bob")), Code::PhoneCallNotComplete);
}

fn carols_phone(world: &mut World, manner: Manner) {
    Phone::add(&mut world.sim, "carol", manner);
    world.settle();
}

fn transfer(call: CallId, to: TransferTarget) -> Command {
    Command::Transfer { call, to }
}

fn to_carol() -> TransferTarget {
    TransferTarget::Callee(Callee::Address(address("carol")))
}

#[test]
fn the_other_side_of_a_call_is_transferred_to_somebody() {
    let mut world = world(43, SOON, SOON);
    carols_phone(&mut world, SOON);
    world.run("alice", dial("bob")).unwrap();
    let id = call(&mut world, "alice").id;
    world.run("alice", transfer(id, to_carol())).unwrap();
    world.settle();
    assert_eq!(call(&mut world, "alice").state, CallState::Ended(None));
    assert!(phone(&mut world, "desk", |phone| phone.calls.is_empty()));
    let carol = at("carol").ip().to_string();
    assert_eq!(phone(&mut world, "bob", |phone| phone.sends_to()), Some(carol));
}

#[test]
fn a_call_goes_on_when_its_transfer_fails() {
    for follows in [true, false] {
        let mut world = world(44, SOON, SOON);
        carols_phone(&mut world, Manner::Refuses(486));
        phone(&mut world, "bob", |phone| phone.follows = follows);
        world.run("alice", dial("bob")).unwrap();
        world.settle();
        let id = call(&mut world, "alice").id;
        let code = if follows { Code::PhoneCircuitsBusy } else { Code::PhoneCallNotComplete };
        assert_eq!(world.fails("alice", transfer(id, to_carol())), code);
        world.settle();
        assert_eq!(call(&mut world, "alice").state, CallState::Connected);
        assert!(talk_to_each_other(&mut world));
    }
}

#[test]
fn one_call_takes_the_place_of_another() {
    let mut world = world(45, SOON, SOON);
    carols_phone(&mut world, SOON);
    // Alice talks to bob, and asks carol in a second call whether she takes him.
    world.run("alice", dial("bob")).unwrap();
    let first = *world.snapshot("alice").calls.keys().next().unwrap();
    let token = world.start("alice", dial("carol"));
    let second = world.accepted("alice", token).call.unwrap();
    world.finish("alice", token).unwrap();
    world.settle();
    world.run("alice", transfer(first, TransferTarget::Call(second))).unwrap();
    world.settle();
    for id in [first, second] {
        assert_eq!(world.snapshot("alice").calls[&id].state, CallState::Ended(None));
    }
    assert!(phone(&mut world, "desk", |phone| phone.calls.is_empty()));
    let (bob, carol) = (at("bob").ip().to_string(), at("carol").ip().to_string());
    assert_eq!(phone(&mut world, "bob", |phone| phone.sends_to()), Some(carol));
    assert_eq!(phone(&mut world, "carol", |phone| phone.sends_to()), Some(bob));
}

#[test]
fn only_a_call_that_stands_is_transferred() {
    let mut world = world(46, Manner::Rings, SOON);
    let token = world.start("alice", dial("bob"));
    let id = world.accepted("alice", token).call.unwrap();
    assert_eq!(world.fails("alice", transfer(id, to_carol())), Code::SessionSessionStateInvalid);
    assert_eq!(
        world.fails("alice", transfer(id, TransferTarget::Call(id))),
        Code::SessionSessionStateInvalid
    );
    assert_eq!(world.fails("alice", transfer(CallId(1), to_carol())), Code::NotFound);
}

#[test]
fn nobody_else_decides_whom_an_account_calls() {
    let mut world = World::new(47, &["alice"]);
    Phone::add(&mut world.sim, "bob", SOON);
    carols_phone(&mut world, SOON);
    let outcome = world.sim.with(at("bob"), |phone: &mut Phone, now| phone.refer(now, "alice", "carol"));
    world.settle();
    assert!(world.sim.with(at("bob"), |phone: &mut Phone, _| phone.refused.contains(&outcome)));
    assert_eq!(phone(&mut world, "carol", |phone| phone.rang), 0);
}

// ---- with the application's media ----

const SDP: &str =
    "v=0\r\no=app 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

/// The first wish for media that was told, and its offer.
fn wanted(world: &mut World, name: &str) -> Option<(CallId, Option<Arc<str>>)> {
    world.events(name).into_iter().rev().find_map(|event| match &event.kind {
        EventKind::MediaWanted(wanted) => Some((wanted.call, wanted.offer.clone())),
        _ => None,
    })
}

fn agreed(world: &mut World, name: &str) -> Vec<String> {
    let told = world.events(name);
    told.iter()
        .filter_map(|event| match &event.kind {
            EventKind::MediaAgreed { answer, .. } => Some(answer.to_string()),
            _ => None,
        })
        .collect()
}

fn takes_calls(world: &mut World, incoming: IncomingCalls) {
    world.begin("alice", |mut config| {
        config.incoming_calls = incoming;
        config
    });
}

#[test]
fn a_call_with_the_applications_media_offers_what_it_says() {
    let mut world = World::new(20, &["alice"]);
    Phone::add(&mut world.sim, "bob", SOON);
    world.settle();
    let start = Command::StartMedia { to: Callee::Address(address("bob")), media: Media::Audio };
    let token = world.start("alice", start);
    let (id, offer) = wanted(&mut world, "alice").unwrap();
    assert_eq!(offer, None);
    assert_eq!(
        world.fails("alice", Command::AnswerMedia { call: id, description: Some("hello".into()) }),
        Code::InvalidArgument
    );
    world.run("alice", Command::AnswerMedia { call: id, description: Some(SDP.into()) }).unwrap();
    world.finish("alice", token).unwrap();
    world.settle();
    assert_eq!(agreed(&mut world, "alice").len(), 1);
    assert_eq!(phone(&mut world, "bob", |phone| phone.sends_to()), Some("10.0.0.1".to_owned()));
    // The other side changes the session: the application is asked.
    world.sim.with(at("bob"), |phone: &mut Phone, now| phone.reoffer(now));
    world.settle();
    let (_, offer) = wanted(&mut world, "alice").unwrap();
    assert!(offer.unwrap().contains("m=audio 4000"));
    world.run("alice", Command::AnswerMedia { call: id, description: Some(SDP.into()) }).unwrap();
    world.settle();
    assert!(phone(&mut world, "bob", |phone| phone.calls.values().all(|talk| talk.answered == 1)));
    hang_up(&mut world, "bob");
    assert_eq!(call(&mut world, "alice").state, CallState::Ended(None));
}

#[test]
fn an_application_without_media_ends_the_call_it_began() {
    let mut world = World::new(21, &["alice"]);
    let start = Command::StartMedia { to: Callee::Address(address("bob")), media: Media::Video };
    let token = world.start("alice", start.clone());
    let (id, _) = wanted(&mut world, "alice").unwrap();
    world.run("alice", Command::AnswerMedia { call: id, description: None }).unwrap();
    assert_eq!(world.finish("alice", token).unwrap_err().code(), Code::NoHardware);
    // One that says nothing is waited for in vain.
    assert_eq!(world.fails("alice", start), Code::NoHardware);
}

#[test]
fn a_call_that_comes_in_is_taken_with_the_applications_media() {
    let mut world = World::new(22, &[]);
    takes_calls(&mut world, IncomingCalls::Take);
    Phone::add(&mut world.sim, "bob", SOON);
    world.settle();
    world.sim.with(at("bob"), |phone: &mut Phone, now| phone.call(now, "alice"));
    world.settle();
    let ringing = call(&mut world, "alice");
    assert_eq!((ringing.state.clone(), ringing.incoming), (CallState::Ringing, true));
    assert_eq!(ringing.peer, address("bob"));
    let token = world.start("alice", Command::AnswerCall(ringing.id));
    let (id, offer) = wanted(&mut world, "alice").unwrap();
    assert!(offer.unwrap().contains("10.0.0.2"));
    world.run("alice", Command::AnswerMedia { call: id, description: Some(SDP.into()) }).unwrap();
    world.finish("alice", token).unwrap();
    world.settle();
    assert_eq!(phone(&mut world, "bob", |phone| phone.sends_to()), Some("10.0.0.1".to_owned()));
    world.run("alice", Command::HangUp(id)).unwrap();
    world.settle();
    assert!(phone(&mut world, "bob", |phone| phone.calls.is_empty()));
}

#[test]
fn a_call_that_is_declined_ends_for_the_caller() {
    let mut world = World::new(23, &[]);
    takes_calls(&mut world, IncomingCalls::Take);
    Phone::add(&mut world.sim, "bob", SOON);
    world.settle();
    world.sim.with(at("bob"), |phone: &mut Phone, now| phone.call(now, "alice"));
    world.settle();
    let id = call(&mut world, "alice").id;
    world.run("alice", Command::HangUp(id)).unwrap();
    world.settle();
    assert!(phone(&mut world, "bob", |phone| phone.calls.is_empty()));
}

#[test]
fn a_call_that_the_caller_gives_up_was_missed() {
    for incoming in [IncomingCalls::Take, IncomingCalls::Show] {
        let mut world = World::new(24, &[]);
        takes_calls(&mut world, incoming);
        Phone::add(&mut world.sim, "bob", SOON);
        world.settle();
        world.sim.with(at("bob"), |phone: &mut Phone, now| phone.call(now, "alice"));
        world.settle();
        let id = call(&mut world, "alice").id;
        if incoming == IncomingCalls::Show {
            assert_eq!(world.fails("alice", Command::AnswerCall(id)), Code::NoHardware);
        }
        hang_up(&mut world, "bob");
        let CallState::Ended(Some(error)) = &call(&mut world, "alice").state else { panic!("{incoming:?}") };
        assert_eq!(error.code(), Code::SessionSessionCancelledRemote, "{incoming:?}");
    }
}

#[test]
fn a_call_that_the_desk_phone_answers_is_shown_as_answered_elsewhere() {
    let mut world = World::new(25, &[]);
    takes_calls(&mut world, IncomingCalls::Show);
    Phone::add_as(&mut world.sim, "desk", "alice", SOON);
    Phone::add(&mut world.sim, "bob", SOON);
    world.settle();
    world.sim.with(at("bob"), |phone: &mut Phone, now| phone.call(now, "alice"));
    world.settle();
    let CallState::Ended(Some(error)) = &call(&mut world, "alice").state else { panic!("it goes on") };
    assert_eq!(error.code(), Code::SessionSessionAcceptedElsewhere);
    assert!(talk_to_each_other(&mut world));
}

#[test]
fn calls_are_left_to_the_phones_unless_the_account_wants_them() {
    let mut world = World::new(26, &["alice"]);
    Phone::add_as(&mut world.sim, "desk", "alice", SOON);
    Phone::add(&mut world.sim, "bob", SOON);
    world.settle();
    world.sim.with(at("bob"), |phone: &mut Phone, now| phone.call(now, "alice"));
    world.settle();
    assert!(world.snapshot("alice").calls.is_empty());
    assert!(talk_to_each_other(&mut world));
}

#[test]
fn without_a_phone_of_its_own_the_accounts_other_devices_ring() {
    let mut world = World::new(27, &["alice"]);
    Phone::add_as(&mut world.sim, "desk", "alice", SOON);
    Phone::add(&mut world.sim, "bob", SOON);
    world.settle();
    world.run("alice", dial("bob")).unwrap();
    world.settle();
    assert!(talk_to_each_other(&mut world));
}
