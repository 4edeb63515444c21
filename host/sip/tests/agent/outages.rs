//! A service that dies, hides, or stands in several places.

use attache_sip::agent::{AgentEvent, Cause};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent};
use attache_sip::message::HeaderName;
use attache_sip::sim::Link;
use attache_sip::transport::{Destination, Transport};
use attache_sip::usage::{PublicationState, PublishParams, SubscribeParams, SubscriptionState};

use crate::pair::{Notify, Pair, client, seconds, server, uri};

fn udp(addr: &str) -> Destination {
    Destination { transport: Transport::Udp, remote: addr.parse().unwrap() }
}

#[test]
fn a_dead_service_is_told_and_asked_with_back_off_until_it_is_back() {
    let mut pair = Pair::new();
    pair.sim.kill(server());
    pair.agent(|agent, now| agent.register(now, 3600));
    for _ in 0..3 {
        let AgentEvent::RegistrationFailed { cause: Cause::Timeout, retry: Some(_), .. } = pair.event()
        else {
            panic!("a failure that is retried")
        };
    }
    pair.sim.revive(server());
    let register = pair.expect("REGISTER");
    pair.accept_registration(&register, 3600);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
}

#[test]
fn everything_that_failed_comes_back_as_soon_as_the_registration_does() {
    let mut pair = Pair::new();
    pair.sim.kill(server());
    pair.agent(|agent, now| {
        agent.register(now, 3600);
        agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com")));
        agent.publish(now, PublishParams::presence("<presence/>"));
    });
    let mut failed = [false; 3];
    // Long enough for the waits to grow to minutes.
    let until = pair.sim.elapsed() + seconds(900);
    while pair.sim.elapsed() < until {
        match pair.event() {
            AgentEvent::RegistrationFailed { .. } => failed[0] = true,
            AgentEvent::Subscription { state: SubscriptionState::Retrying { .. }, .. } => failed[1] = true,
            AgentEvent::Publication { state: PublicationState::Retrying { .. }, .. } => failed[2] = true,
            event => panic!("an unexpected event: {event:?}"),
        }
    }
    assert_eq!(failed, [true; 3]);
    pair.sim.revive(server());
    // Whichever timer is first may ask first; all are there as soon as the registration is.
    let mut seen = std::collections::BTreeSet::new();
    let mut registered = None;
    while seen.len() < 3 {
        let incoming = pair.expect_any();
        let method = incoming.message.method().unwrap().as_str().to_owned();
        match method.as_str() {
            "REGISTER" => {
                pair.accept_registration(&incoming, 3600);
                registered = Some(pair.sim.elapsed());
                seen.insert("REGISTER");
            }
            "SUBSCRIBE" => {
                pair.grant(&incoming, 3600);
                seen.insert("SUBSCRIBE");
            }
            _ => {
                pair.answer(&incoming, 200);
                seen.insert("PUBLISH");
            }
        }
    }
    assert!(pair.sim.elapsed() - registered.unwrap() < seconds(1));
}

#[test]
fn a_refused_connection_is_told_at_once() {
    let mut pair = Pair::new();
    pair.next_hop(Transport::Tcp);
    pair.sim.kill(server());
    pair.agent(|agent, now| agent.register(now, 3600));
    let AgentEvent::RegistrationFailed { cause: Cause::Transport(_), retry: Some(_), .. } = pair.event()
    else {
        panic!("a failure that is retried")
    };
    assert!(pair.sim.elapsed() < seconds(1));
}

#[test]
fn the_next_target_is_tried_when_one_is_dead() {
    let mut pair = Pair::new();
    let second = "127.0.0.3:5060";
    pair.sim
        .add(second.parse().unwrap(), Endpoint::new(EndpointConfig::at(second.parse().unwrap()), [3; 32]));
    pair.sim.kill(server());
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![udp("127.0.0.1:5060"), udp(second)]);
        agent.register(now, 3600);
    });
    let reached = |pair: &mut Pair| {
        pair.sim.with(second.parse().unwrap(), |endpoint: &mut Endpoint, _| {
            std::iter::from_fn(|| endpoint.poll_event())
                .filter(|event| matches!(event, EndpointEvent::Request { .. }))
                .count()
        })
    };
    pair.sim.run_for(seconds(33));
    assert_eq!(reached(&mut pair), 1);
    // The dead one is left out for a while: the next request does not wait for it again.
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    pair.sim.run_for(seconds(1));
    assert_eq!(reached(&mut pair), 1);
}

#[test]
fn a_subscription_that_fails_over_waits_anew_for_its_notification() {
    let mut pair = Pair::new();
    pair.sim.kill(server());
    let second: std::net::SocketAddr = "127.0.0.3:5060".parse().unwrap();
    pair.sim.add(second, Endpoint::new(EndpointConfig::at(second), [3; 32]));
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![udp("127.0.0.1:5060"), udp("127.0.0.3:5060")]);
        agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com")));
    });
    pair.no_event(seconds(60));
    assert!(pair.sim.trace().iter().any(|packet| packet.to == second && packet.is("SUBSCRIBE")));
}

#[test]
fn a_name_is_looked_up_once_and_again_when_all_its_targets_failed() {
    let mut pair = Pair::with(|config| config.service = Some(uri("sip:sip.example.com;transport=udp")));
    pair.agent(|agent, now| {
        agent.set_next_hop(now, Vec::new());
        agent.register(now, 3600);
        agent.publish(now, PublishParams::presence("<presence/>"));
    });
    let question = pair.agent(|agent, _| agent.poll_resolve()).unwrap();
    assert_eq!((question.host.as_str(), question.transport), ("sip.example.com", Some(Transport::Udp)));
    assert!(pair.agent(|agent, _| agent.poll_resolve()).is_none(), "one question for all requests");
    pair.agent(|agent, now| agent.handle_resolved(now, question.id, Ok(vec![udp("127.0.0.1:5060")])));
    let register = pair.expect("REGISTER");
    pair.accept_registration(&register, 60);
    pair.event();
    let publish = pair.expect("PUBLISH");
    pair.answer(&publish, 200);
    pair.event();
    pair.sim.kill(server());
    assert!(matches!(pair.event(), AgentEvent::RegistrationFailed { .. }));
    pair.sim.run_for(seconds(10));
    assert!(pair.agent(|agent, _| agent.poll_resolve()).is_some());
}

#[test]
fn a_name_without_address_is_told() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| {
        agent.set_next_hop(now, Vec::new());
        agent.register(now, 3600);
    });
    let question = pair.agent(|agent, _| agent.poll_resolve()).unwrap();
    assert_eq!(question.host, "example.com");
    pair.agent(|agent, now| agent.handle_resolved(now, question.id, Err("no such domain".into())));
    let AgentEvent::RegistrationFailed { cause, retry, .. } = pair.event() else { panic!("failed") };
    assert_eq!(cause, Cause::NotFound("no such domain".into()));
    assert!(retry.is_some());
}

#[test]
fn a_service_that_dies_keeps_a_subscription_until_it_expires() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    pair.grant(&request, 600);
    pair.notify(&request, Notify::state("active;expires=600", 1));
    pair.event();
    pair.sim.kill(server());
    let AgentEvent::Subscription { state: SubscriptionState::Retrying { .. }, .. } = pair.event() else {
        panic!("it expires")
    };
    assert!(pair.sim.elapsed() >= seconds(600));
    // Let the last refresh of the old dialog give up.
    pair.sim.run_for(seconds(33));
    pair.sim.revive(server());
    let again = pair.expect("SUBSCRIBE");
    assert_eq!(again.header(HeaderName::To), "<sip:bob@example.com>", "a new dialog");
}

#[test]
fn an_address_changed_by_nat_is_told_once() {
    let mut pair =
        Pair::with(|config| config.local = vec![(Transport::Udp, "10.0.0.1:5060".parse().unwrap())]);
    pair.register();
    pair.agent(|agent, now| agent.register(now, 3600));
    pair.expect("REGISTER");
    let seen: Vec<_> = pair.diagnostics.iter().filter(|text| text.contains("PublicAddress")).collect();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].contains(&client().to_string()), "{seen:?}");
}

#[test]
fn a_bad_network_delays_but_loses_nothing() {
    let mut pair = Pair::new();
    pair.sim.set_default_link(Link {
        latency: std::time::Duration::from_millis(40),
        jitter: std::time::Duration::from_millis(30),
        loss: 0.3,
        duplicate: 0.2,
        reorder: 0.2,
    });
    pair.register();
    for n in 1..=50_u32 {
        let mut params = PublishParams::presence(format!("<n{n}/>"));
        params.expires = 3600;
        let id = pair.agent(|agent, now| agent.publish(now, params));
        let publish = pair.expect("PUBLISH");
        pair.respond(
            &publish,
            &attache_sip::endpoint::Response::new(200).header(HeaderName::SipEtag, format!("e{n}")),
        );
        match pair.event() {
            AgentEvent::Publication { id: of, state: PublicationState::Published { .. } } => {
                assert_eq!(of, id);
            }
            event => panic!("an unexpected event: {event:?}"),
        }
    }
}
