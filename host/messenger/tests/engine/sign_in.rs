//! Signing in and out.

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    event::SessionState::{self, *},
    sim::Simulation,
};

use crate::world::*;

#[test]
fn signing_in_registers_publishes_and_subscribes() {
    let mut world = World::friends(1);
    assert_eq!(world.session(ALICE), SignedIn);
    assert!(world.service(|s| s.is_bound("alice")));
    assert_eq!(world.service(|s| s.documents("alice").len()), 1);
    let states: Vec<SessionState> = world.session_states(ALICE).into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, [SigningIn, SignedIn]);
}

#[test]
fn a_wrong_password_ends_in_one_error_and_silence() {
    let mut world = World::new(2);
    world.restart_with(
        ALICE,
        |mut config| {
            config.password = "guess".into();
            config
        },
        |node| node,
    );
    assert_eq!(world.fails(ALICE, Command::SignIn), Code::InvalidPassword);
    assert_eq!(world.session_states(ALICE), [(SigningIn, None), (SignedOut, Some(Code::InvalidPassword))]);
    let before = world.service(|s| s.count("REGISTER"));
    world.sim.run_for(Duration::from_secs(24 * 3600));
    assert_eq!(world.service(|s| s.count("REGISTER")), before, "nothing is tried again");
    assert!(before <= 2);
}

#[test]
fn an_unknown_account_is_told_apart_from_a_wrong_password() {
    let mut world = World::new(3);
    world.restart_with(
        ALICE,
        |mut config| {
            config.address = address("mallory");
            config
        },
        |node| node,
    );
    assert_eq!(world.fails(ALICE, Command::SignIn), Code::UserNotFound);
    assert_eq!(world.session(ALICE), SignedOut);
}

#[test]
fn a_dead_service_is_tried_until_it_answers() {
    let mut world = World::new(4);
    world.sim.kill(SERVICE.into());
    let code = world.fails(ALICE, Command::SignIn);
    assert!(matches!(code, Code::LogonTimeout | Code::Connect), "{code}");
    assert_eq!(world.session(ALICE), Reconnecting);
    let service = World::fresh_service(&world.sim);
    world.sim.add(SERVICE.into(), service);
    world.sim.run_for(Duration::from_secs(120));
    assert_eq!(world.session(ALICE), SignedIn);
}

#[test]
fn signing_in_twice_is_refused() {
    let mut world = World::friends(5);
    assert_eq!(world.fails(ALICE, Command::SignIn), Code::AlreadyLoggedOn);
}

#[test]
fn signing_out_takes_everything_back() {
    let mut world = World::friends(6);
    world.run(ALICE, Command::SignOut).unwrap();
    world.settle();
    assert_eq!(world.session(ALICE), SignedOut);
    assert!(!world.service(|s| s.is_bound("alice")));
    assert!(world.service(|s| s.documents("alice").is_empty()));
    let before = world.sim.trace().len();
    world.sim.run_for(Duration::from_secs(3600));
    let later = &world.sim.trace()[before..];
    assert!(later.iter().all(|packet| packet.from != at(ALICE)), "a signed-out account is silent");
}

#[test]
fn signing_out_of_a_dead_service_does_not_wait_for_it() {
    let mut world = World::friends(7);
    world.sim.kill(SERVICE.into());
    let begun = world.sim.elapsed();
    world.run(ALICE, Command::SignOut).unwrap();
    assert!(world.sim.elapsed() - begun <= Duration::from_secs(6));
    assert_eq!(world.session(ALICE), SignedOut);
}

#[test]
fn signing_in_again_works() {
    let mut world = World::friends(8);
    world.run(ALICE, Command::SignOut).unwrap();
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.session(ALICE), SignedIn);
    assert_eq!(world.sees(ALICE).availability, Some(attache_messenger::presence::Availability::Available));
}

#[test]
fn the_next_target_is_used_when_the_first_is_dead() {
    let mut world = World::new(9);
    let dead = ([10, 0, 0, 8], 5060).into();
    world.restart_with(
        ALICE,
        |mut config| {
            config.service = Some("sip:sip.example.com".to_owned());
            config
        },
        |mut node| {
            let list = [dead, SERVICE.into()].map(|at| attache_messenger::sim::service_at(at)[0]);
            node.set_host("sip.example.com", list.to_vec());
            node
        },
    );
    world.run(ALICE, Command::SignIn).unwrap();
    assert_eq!(world.session(ALICE), SignedIn);
}

#[test]
fn a_run_is_the_same_for_the_same_seed() {
    let run = |seed| {
        let mut world = World::friends(seed);
        world.say(ALICE, BOB, "hello");
        world.settle();
        let packets =
            |sim: &Simulation| sim.trace().iter().map(|packet| packet.payload.clone()).collect::<Vec<_>>();
        packets(&world.sim)
    };
    assert!(run(10) == run(10));
}

#[test]
fn an_address_of_the_service_that_cannot_be_read_says_so() {
    let mut world = World::new(11);
    world.restart_with(
        ALICE,
        |mut config| {
            config.service = Some("not an address".to_owned());
            config
        },
        |node| node,
    );
    assert_eq!(world.fails(ALICE, Command::SignIn), Code::InvalidServerName);
}

#[test]
fn a_store_that_hangs_does_not_keep_anybody_from_signing_out() {
    let mut world = World::friends(12);
    world.restart_with(ALICE, |config| config, |node| node.commit_delay(Duration::from_secs(100_000)));
    for n in 0..1_100 {
        world.say(ALICE, BOB, &n.to_string());
    }
    let busy = world.say(ALICE, BOB, "one more");
    assert_eq!(world.with(ALICE, |node| node.answer(busy).unwrap().clone()).unwrap_err().code(), Code::Busy);
    let token = world.start(ALICE, Command::SignIn);
    assert!(world.with(ALICE, |node| node.answer(token).unwrap().is_ok()));
    world.settle();
    let token = world.start(ALICE, Command::SignOut);
    world.settle();
    assert!(world.with(ALICE, |node| node.answer(token).unwrap().is_ok()));
    assert_eq!(world.session(ALICE), SignedOut);
}
