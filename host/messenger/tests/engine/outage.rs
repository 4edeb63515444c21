//! A service that dies and returns.

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    event::{EventKind, SessionState::*},
    presence::{Availability, Freshness},
    sim::{EngineNode, Fate},
};

use crate::world::*;

#[test]
fn a_dead_service_makes_presence_stale_and_nobody_offline() {
    let mut world = World::friends(1);
    world.publish(BOB, Availability::Busy, "in a review").unwrap();
    world.settle();
    let alive = world.sim.elapsed();
    world.with(ALICE, EngineNode::take_events);
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(120));
    assert_eq!(world.session(ALICE), Reconnecting);
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, &*seen.note), (Some(Availability::Busy), "in a review"));
    let Freshness::Stale(since) = seen.freshness else { panic!("{:?}", seen.freshness) };
    let begun = attache_messenger::sim::BEGINNING;
    assert!(
        since <= begun + alive && since + Duration::from_secs(60) >= begun + alive,
        "stale since the last sign of life"
    );
    world.sim.run_for(Duration::from_secs(48 * 3600));
    assert_eq!(world.sees(ALICE).freshness, Freshness::Stale(since), "and so it stays");
    assert!(!told_of_offline(&mut world));
}

/// Whether Alice was told of somebody who is offline since the events were last taken.
fn told_of_offline(world: &mut World) -> bool {
    world.with(ALICE, |node| {
        node.events().iter().any(|event| match &event.kind {
            EventKind::PresenceChanged(changes) => {
                changes.iter().any(|change| change.presence.availability == Some(Availability::Offline))
            }
            _ => false,
        })
    })
}

#[test]
fn a_service_that_lost_what_people_published_shows_nobody_offline_who_comes_back() {
    for seed in 0..8 {
        let mut world = World::friends(seed);
        world.publish(BOB, Availability::Busy, "").unwrap();
        world.settle();
        world.with(ALICE, EngineNode::take_events);
        world.sim.kill(SERVICE.into());
        world.sim.run_for(Duration::from_secs(300));
        let service = World::fresh_service(&world.sim);
        world.sim.add(SERVICE.into(), service);
        world.sim.run_for(Duration::from_secs(120));
        let seen = world.sees(ALICE);
        assert_eq!((seen.availability, &seen.freshness), (Some(Availability::Busy), &Freshness::Live));
        assert!(!told_of_offline(&mut world), "seed {seed}");
    }
}

#[test]
fn one_who_does_not_come_back_after_an_outage_is_offline_in_the_end() {
    let mut world = World::friends(9);
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.settle();
    world.sim.kill(SERVICE.into());
    world.sim.kill(at(BOB));
    world.sim.run_for(Duration::from_secs(120));
    assert!(matches!(world.sees(ALICE).freshness, Freshness::Stale(_)));
    let service = World::fresh_service(&world.sim);
    world.sim.add(SERVICE.into(), service);
    world.sim.run_for(Duration::from_secs(180));
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, &seen.freshness), (Some(Availability::Offline), &Freshness::Live));
}

#[test]
fn a_service_that_lost_everything_is_filled_again_without_a_person() {
    let mut world = World::friends(2);
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(300));
    let service = World::fresh_service(&world.sim);
    world.sim.add(SERVICE.into(), service);
    world.sim.run_for(Duration::from_secs(180));
    assert_eq!(world.session(ALICE), SignedIn);
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, seen.freshness.clone()), (Some(Availability::Busy), Freshness::Live));
    world.publish(BOB, Availability::Away, "").unwrap();
    world.settle();
    assert_eq!(world.sees(ALICE).availability, Some(Availability::Away), "and tells of changes again");
}

#[test]
fn a_service_that_was_only_away_goes_on() {
    let mut world = World::friends(3);
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(200));
    assert_eq!(world.session(BOB), Reconnecting);
    world.sim.revive(SERVICE.into());
    world.sim.run_for(Duration::from_secs(200));
    assert_eq!((world.session(ALICE), world.session(BOB)), (SignedIn, SignedIn));
    world.publish(BOB, Availability::DoNotDisturb, "").unwrap();
    world.settle();
    let seen = world.sees(ALICE);
    assert_eq!(
        (seen.availability, seen.freshness.clone()),
        (Some(Availability::DoNotDisturb), Freshness::Live)
    );
}

#[test]
fn a_cut_network_is_an_outage_too() {
    let mut world = World::friends(4);
    world.sim.partition(at(ALICE), SERVICE.into());
    world.sim.run_for(Duration::from_secs(120));
    assert_eq!(world.session(ALICE), Reconnecting);
    assert_eq!(world.session(BOB), SignedIn);
    world.sim.heal(at(ALICE), SERVICE.into());
    world.sim.run_for(Duration::from_secs(120));
    assert_eq!(world.session(ALICE), SignedIn);
}

#[test]
fn attempts_at_a_dead_service_become_rare() {
    let mut world = World::friends(5);
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(1800));
    world.sim.clear_trace();
    world.sim.run_for(Duration::from_secs(3600));
    let sent =
        world.sim.trace().iter().filter(|packet| packet.from == at(ALICE) && packet.is("REGISTER")).count();
    // A transaction over UDP is eleven datagrams; one attempt a minute or so.
    assert!(sent > 0 && sent < 11 * 70, "{sent}");
}

#[test]
fn messages_wait_for_the_service_and_count_no_attempts() {
    let mut world = World::friends(6);
    world.sim.kill(SERVICE.into());
    let token = world.say(ALICE, BOB, "hello");
    world.sim.run_for(Duration::from_secs(12 * 3600));
    assert!(world.with(ALICE, |node| node.outcome(token)).is_none());
    world.sim.revive(SERVICE.into());
    world.sim.run_for(Duration::from_secs(300));
    assert!(world.with(ALICE, |node| node.outcome(token)).unwrap().is_ok());
    assert_eq!(world.received(BOB), ["hello"]);
}

#[test]
fn a_password_changed_at_the_service_ends_the_session() {
    let mut world = World::friends(7);
    let users = [("alice", "another"), ("bob", "bob's secret")];
    let service = crate::service::Service::new(SERVICE.into(), world.sim.now(), &users);
    world.sim.add(SERVICE.into(), service);
    world.sim.run_for(Duration::from_secs(900));
    assert_eq!(world.session(ALICE), SignedOut);
    assert_eq!(world.session(BOB), SignedIn);
    let seen = world.sees(ALICE);
    assert_eq!(seen.availability, None);
}

#[test]
fn a_person_can_ask_for_an_attempt_now() {
    let mut world = World::friends(8);
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(3600));
    world.sim.revive(SERVICE.into());
    world.run(ALICE, Command::SignIn).unwrap();
    assert_eq!(world.session(ALICE), SignedIn);
}

#[test]
fn a_service_that_ignores_options_is_not_taken_for_dead() {
    let mut world = World::friends(9);
    world.sim.set_filter(|packet| if packet.is("OPTIONS") { Fate::Drop } else { Fate::Deliver });
    world.sim.run_for(Duration::from_secs(4 * 3600));
    let states = world.session_states(ALICE);
    assert!(states.iter().all(|(state, _)| *state != Reconnecting), "{states:?}");
    assert_eq!(world.sees(ALICE).freshness, Freshness::Live);
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(200));
    assert_eq!(world.session(ALICE), Reconnecting, "but a dead one still is");
}

#[test]
fn a_broken_connection_is_looked_into_at_once() {
    let mut world = World::new(10);
    world.restart_with(
        ALICE,
        |mut config| {
            config.service = Some("sip:10.0.0.9:5060;transport=tcp".to_owned());
            config
        },
        |node| node,
    );
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    world.sim.kill(SERVICE.into());
    world.sim.run_for(Duration::from_secs(5));
    assert_eq!(world.session(ALICE), Reconnecting);
}

#[test]
fn a_service_that_forgets_silently_is_found_out_by_the_next_refresh() {
    let mut world = World::friends(11);
    let service = World::fresh_service(&world.sim);
    world.sim.add(SERVICE.into(), service);
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.sim.run_for(Duration::from_secs(900));
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, seen.freshness.clone()), (Some(Availability::Busy), Freshness::Live));
}

#[test]
fn a_status_set_during_an_outage_completes_at_once_and_is_published_later() {
    let mut world = World::friends(20);
    world.sim.kill(SERVICE.into());
    let under_way = world.start(
        ALICE,
        Command::Publish { availability: Some(Availability::Away), note: "".into(), until: None },
    );
    world.sim.run_for(Duration::from_secs(200));
    assert_eq!(world.session(ALICE), Reconnecting);
    let outcome = world.with(ALICE, |node| node.outcome(under_way)).expect("completed");
    assert_eq!(outcome.unwrap_err().code(), Code::ServerUnavailable);
    let outcome = world.publish(ALICE, Availability::Busy, "");
    assert_eq!(outcome.unwrap_err().code(), Code::ServerUnavailable);
    world.sim.revive(SERVICE.into());
    world.sim.run_for(Duration::from_secs(200));
    assert_eq!(world.sees(BOB).availability, Some(Availability::Busy));
}

#[test]
fn a_connection_that_breaks_under_a_live_service_is_followed_by_a_new_beginning() {
    let mut world = World::new(21);
    world.restart_with(
        ALICE,
        |mut config| {
            config.service = Some("sip:10.0.0.9:5060;transport=tcp".to_owned());
            config
        },
        |node| node,
    );
    world.run(ALICE, Command::AddContact { address: address(BOB), name: "".into() }).unwrap();
    world.run(BOB, Command::SignIn).unwrap();
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    let before = world.service(|s| (s.count("REGISTER"), s.count("SUBSCRIBE")));
    world.sim.partition(at(ALICE), SERVICE.into());
    world.sim.heal(at(ALICE), SERVICE.into());
    world.sim.kill(SERVICE.into());
    world.sim.revive(SERVICE.into());
    world.sim.run_for(Duration::from_secs(30));
    assert_eq!(world.session(ALICE), SignedIn);
    let after = world.service(|s| (s.count("REGISTER"), s.count("SUBSCRIBE")));
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    world.publish(BOB, Availability::Busy, "").unwrap();
    world.settle();
    let seen = world.sees(ALICE);
    assert_eq!((seen.availability, seen.freshness.clone()), (Some(Availability::Busy), Freshness::Live));
}
