//! What agents send by themselves is paced (RFC 6357, RFC 7339), and a service that asks for time gets it (RFC 3261 §21.5.4).

use std::sync::Arc;
use std::time::Duration;

use attache_sip::agent::{Agent, AgentConfig, AgentEvent, MessageParams};
use attache_sip::budget::Budget;
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::transport::{Destination, Transport};
use attache_sip::usage::{PublicationState, PublishParams, SubscribeParams, SubscriptionState};

use crate::pair::{Notify, Pair, client, seconds, server, uri};

fn message() -> MessageParams {
    MessageParams {
        to: uri("sip:bob@example.com"),
        content_type: "text/plain".into(),
        body: "hello".into(),
        headers: Vec::new(),
        call_id: "one@example.com".into(),
    }
}

/// The most first copies of requests of one method that left within any second.
fn busiest_second(pair: &Pair, method: &str) -> usize {
    let mut seen = std::collections::BTreeSet::new();
    let times: Vec<Duration> = pair
        .sim
        .trace()
        .iter()
        .filter(|packet| packet.to == server() && packet.is(method) && seen.insert(packet.payload.clone()))
        .map(|packet| packet.at)
        .collect();
    times
        .iter()
        .map(|from| times.iter().filter(|at| *at >= from && **at - *from < seconds(1)).count())
        .max()
        .unwrap_or(0)
}

#[test]
fn many_subscriptions_start_no_faster_than_the_budget() {
    let mut pair = Pair::with(|config| config.budget = Some(Arc::new(Budget::new(10, 5))));
    pair.agent(|agent, now| {
        for n in 0..60 {
            agent.subscribe(now, SubscribeParams::presence(uri(&format!("sip:user{n}@example.com"))));
        }
    });
    assert!(pair.agent(|agent, now| agent.held_back(now)).is_some());
    for _ in 0..60 {
        let request = pair.expect("SUBSCRIBE");
        pair.grant(&request, 3600);
    }
    assert!(busiest_second(&pair, "SUBSCRIBE") <= 15, "{}", busiest_second(&pair, "SUBSCRIBE"));
    assert!(pair.sim.elapsed() >= seconds(5), "{:?}", pair.sim.elapsed());
    assert!(pair.agent(|agent, now| agent.held_back(now)).is_none());
}

#[test]
fn the_return_of_a_service_is_no_storm() {
    let mut pair = Pair::with(|config| config.budget = Some(Arc::new(Budget::new(20, 20))));
    pair.register();
    pair.agent(|agent, now| {
        for n in 0..200 {
            agent.subscribe(now, SubscribeParams::presence(uri(&format!("sip:user{n}@example.com"))));
        }
    });
    for _ in 0..200 {
        let request = pair.expect("SUBSCRIBE");
        pair.grant(&request, 3600);
        pair.notify(&request, Notify::active(1));
        pair.event();
    }
    pair.sim.kill(server());
    pair.sim.run_for(seconds(7200));
    // Only what is sent for the first time counts, not what was on its way already.
    pair.sim.revive(server());
    let mut left = 200;
    while left > 0 {
        let request = pair.expect_any();
        match request.message.method().unwrap().as_str() {
            "SUBSCRIBE" => {
                pair.grant(&request, 3600);
                pair.notify(&request, Notify::active(1));
                left -= 1;
            }
            _ => pair.accept_registration(&request, 3600),
        }
    }
    assert!(busiest_second(&pair, "SUBSCRIBE") <= 40, "{}", busiest_second(&pair, "SUBSCRIBE"));
}

#[test]
fn a_persons_message_does_not_wait_for_the_budget() {
    let budget = Arc::new(Budget::new(1, 1));
    let mut pair = Pair::with(|config| config.budget = Some(Arc::clone(&budget)));
    let now = pair.sim.now();
    for _ in 0..100 {
        budget.reserve(now);
    }
    pair.agent(|agent, now| {
        agent.send_message(now, message());
        agent.publish(now, PublishParams::presence("<presence/>"));
    });
    pair.expect_within("MESSAGE", seconds(1));
    pair.expect_within("PUBLISH", seconds(1));
}

#[test]
fn refreshes_wait_for_the_budget_and_come_in_the_end() {
    let budget = Arc::new(Budget::new(1, 1));
    let mut pair = Pair::with(|config| config.budget = Some(Arc::clone(&budget)));
    pair.register();
    let id = pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let publish = pair.expect("PUBLISH");
    pair.respond(
        &publish,
        &Response::new(200).header(HeaderName::SipEtag, "e").header(HeaderName::Expires, "3600"),
    );
    assert!(matches!(pair.event(), AgentEvent::Publication { id: of, .. } if of == id));
    let first = pair.expect_any();
    if first.has(HeaderName::SipIfMatch) {
        pair.respond(&first, &Response::new(200).header(HeaderName::SipEtag, "e"));
    } else {
        pair.accept_registration(&first, 3600);
    }
    let at = pair.sim.elapsed();
    for _ in 0..400 {
        budget.reserve(pair.sim.now());
    }
    let second = pair.expect_any();
    assert_ne!(first.message.method(), second.message.method());
    assert!(pair.sim.elapsed() - at >= seconds(300), "{:?}", pair.sim.elapsed() - at);
}

#[test]
fn agents_of_one_process_share_the_budget() {
    let budget = Arc::new(Budget::new(10, 10));
    let mut pair = Pair::with(|config| config.budget = Some(Arc::clone(&budget)));
    let other = "127.0.0.3:5070".parse().unwrap();
    let mut config = AgentConfig::new(uri("sip:carol@example.com"), "secret", vec![(Transport::Udp, other)]);
    config.budget = Some(budget);
    pair.sim.add(other, Agent::new(config, [9; 32]));
    let many = |agent: &mut Agent, now| {
        agent.set_next_hop(now, vec![Destination { transport: Transport::Udp, remote: server() }]);
        for n in 0..30 {
            agent.subscribe(now, SubscribeParams::presence(uri(&format!("sip:user{n}@example.com"))));
        }
    };
    pair.sim.with(client(), many);
    pair.sim.with(other, many);
    for _ in 0..60 {
        pair.expect("SUBSCRIBE");
    }
    assert!(busiest_second(&pair, "SUBSCRIBE") <= 20, "{}", busiest_second(&pair, "SUBSCRIBE"));
}

#[test]
fn a_service_that_asks_for_time_is_not_asked_for_anything_by_itself() {
    let mut pair = Pair::new();
    let publish = pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let request = pair.expect("PUBLISH");
    pair.respond(&request, &Response::new(503).header(HeaderName::RetryAfter, "300"));
    match pair.event() {
        AgentEvent::Publication { id, state: PublicationState::Retrying { after, .. } } => {
            assert_eq!(id, publish);
            assert!(after >= seconds(300), "{after:?}");
        }
        event => panic!("an unexpected event: {event:?}"),
    }
    // What another usage wants waits as well; what a person sends does not.
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    pair.quiet(seconds(299));
    pair.agent(|agent, now| agent.send_message(now, message()));
    let message = pair.expect_within("MESSAGE", seconds(1));
    pair.answer(&message, 200);
    pair.expect_within("SUBSCRIBE", seconds(60));
}

#[test]
fn a_registration_by_hand_ends_the_patience_with_the_service() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let request = pair.expect("PUBLISH");
    pair.respond(&request, &Response::new(503).header(HeaderName::RetryAfter, "3000"));
    assert!(matches!(pair.event(), AgentEvent::Publication { .. }));
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    pair.quiet(seconds(10));
    pair.register();
    pair.expect_within("SUBSCRIBE", seconds(1));
}

#[test]
fn a_peer_that_asks_for_time_holds_nothing_else_back() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:mallory@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    pair.respond(&request, &Response::new(503).header(HeaderName::RetryAfter, "86400"));
    let AgentEvent::Subscription { state: SubscriptionState::Retrying { .. }, .. } = pair.event() else {
        panic!("it is tried again")
    };
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let other = pair.expect_within("SUBSCRIBE", seconds(1));
    assert_eq!(other.message.request_uri_bytes(), b"sip:bob@example.com");
}

#[test]
fn a_registration_does_not_end_while_the_service_asks_for_time() {
    let mut pair = Pair::new();
    pair.register();
    let bound = pair.sim.elapsed();
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let request = pair.expect("PUBLISH");
    pair.respond(&request, &Response::new(503).header(HeaderName::RetryAfter, "80000"));
    assert!(matches!(pair.event(), AgentEvent::Publication { .. }));
    let refresh = pair.expect("REGISTER");
    let after = pair.sim.elapsed() - bound;
    assert!(after > seconds(3100) && after < seconds(3600), "late, but in time: {after:?}");
    pair.accept_registration(&refresh, 3600);
    assert!(matches!(pair.event(), AgentEvent::Registered(_)));
}

#[test]
fn what_a_person_looks_at_goes_before_all_that_waits() {
    let mut pair = Pair::with(|config| config.budget = Some(Arc::new(Budget::new(1, 1))));
    pair.agent(|agent, now| {
        for n in 0..100 {
            agent.subscribe(now, SubscribeParams::presence(uri(&format!("sip:user{n}@example.com"))));
        }
    });
    pair.expect("SUBSCRIBE");
    let carol = SubscribeParams { urgent: true, ..SubscribeParams::presence(uri("sip:carol@example.com")) };
    pair.agent(|agent, now| agent.subscribe(now, carol));
    let request = pair.expect_within("SUBSCRIBE", Duration::from_millis(500));
    assert_eq!(request.message.request_uri_bytes(), b"sip:carol@example.com");
}
