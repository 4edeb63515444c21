//! Several flows to one service (RFC 5626), and addresses that lead to one device (RFC 5627).

use std::net::SocketAddr;

use attache_sip::agent::{
    Agent, AgentConfig, AgentEvent, Cause, FlowState, GruuUse, Registered, instance_urn,
};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request, Response};
use attache_sip::message::{HeaderName, Method, NameAddr};
use attache_sip::transport::{Destination, Transport};
use attache_sip::usage::{PublishParams, SubscribeParams};

use crate::pair::{Incoming, Pair, client, seconds, server, uri};

const INSTANCE: &str = "urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF";

fn second() -> SocketAddr {
    "127.0.0.3:5060".parse().unwrap()
}

fn at(remote: SocketAddr) -> Destination {
    Destination { transport: Transport::Tcp, remote }
}

/// An agent with an instance, before two edges of one service that are reached by TCP.
fn edges(change: impl FnOnce(&mut AgentConfig)) -> Pair {
    let mut pair = Pair::with(|config| {
        config.instance = Some(INSTANCE.into());
        change(config);
    });
    pair.sim.add(second(), Endpoint::new(EndpointConfig::at(second()), [3; 32]));
    pair.agent(|agent, now| agent.set_next_hop(now, vec![at(server()), at(second())]));
    pair
}

/// The next request at the second edge, within an hour.
fn at_second(pair: &mut Pair) -> Option<Incoming> {
    let mut found = None;
    pair.sim.run_until(seconds(3600), |sim| {
        sim.with(second(), |endpoint: &mut Endpoint, _| {
            while let (None, Some(event)) = (&found, endpoint.poll_event()) {
                if let EndpointEvent::Request { id, message, flow } = event {
                    found = Some(Incoming { id, message, flow });
                }
            }
        });
        found.is_some()
    });
    found
}

fn accepted(register: &Incoming, outbound: bool) -> Response {
    let contact = format!(
        r#"{};expires=3600;pub-gruu="sip:alice@example.com;gr={INSTANCE}";temp-gruu="sip:tgruu.7hs==jd7vnzga5w7fajsc7-ajd6fabz0f8g5@example.com;gr""#,
        register.header(HeaderName::Contact)
    );
    let answer = Response::new(200).header(HeaderName::Contact, contact);
    if outbound { answer.header(HeaderName::Require, "outbound") } else { answer }
}

fn registered(pair: &mut Pair) -> Registered {
    loop {
        match pair.event() {
            AgentEvent::Registered(registered) => return registered,
            AgentEvent::Flow { .. } => {}
            event => panic!("an unexpected event: {event:?}"),
        }
    }
}

/// Both flows are registered.
fn both_up(pair: &mut Pair) {
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, true));
    assert_eq!(registered(pair).reg_id, 1);
    let other = at_second(pair).expect("the second flow");
    assert_eq!(reg_id(&other), "2");
    pair.sim.with(second(), |endpoint: &mut Endpoint, now| {
        endpoint.respond(now, other.id, &accepted(&other, true)).unwrap();
    });
    assert_eq!(registered(pair).reg_id, 2);
    assert_eq!(
        pair.agent(|agent, _| agent.flows().collect::<Vec<_>>()),
        [(1, at(server())), (2, at(second()))]
    );
}

fn reg_id(register: &Incoming) -> String {
    let contact = register.message.contacts().next().unwrap().unwrap();
    contact.params().get_str("reg-id").unwrap_or_default().to_owned()
}

#[test]
fn a_registration_names_its_instance_and_its_flow() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    let supported: Vec<_> = register.message.values(HeaderName::Supported).collect();
    assert_eq!(supported, [&b"path"[..], b"outbound", b"gruu"]);
    let contact = register.message.contacts().next().unwrap().unwrap();
    assert_eq!(contact.params().get_str("reg-id"), Some("1"));
    assert_eq!(contact.params().get_str("+sip.instance"), Some(format!("<{INSTANCE}>").as_str()));
}

#[test]
fn without_an_instance_no_flow_is_named() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 3600));
    let register = pair.expect("REGISTER");
    assert_eq!(reg_id(&register), "");
    assert_eq!(register.header(HeaderName::Supported), "path");
}

#[test]
fn a_process_that_was_killed_comes_back_as_the_same_binding() {
    let contact = |seed: u8| {
        let mut pair = edges(|_| {});
        let mut config = AgentConfig::new(
            uri("sip:alice@example.com"),
            "secret",
            vec![(Transport::Udp, client()), (Transport::Tcp, client())],
        );
        config.instance = Some(INSTANCE.into());
        pair.sim.add(client(), Agent::new(config, [seed; 32]));
        pair.agent(|agent, now| agent.set_next_hop(now, vec![at(server())]));
        pair.agent(|agent, now| agent.register(now, 3600));
        let register = pair.expect("REGISTER");
        (register.header(HeaderName::CallId).to_owned(), register.header(HeaderName::Contact).to_owned())
    };
    let (before, after) = (contact(1), contact(2));
    assert_ne!(before.0, after.0, "another process");
    assert_eq!(before.1, after.1, "RFC 5626 §6: instance and number make it the same binding");
}

#[test]
fn a_second_flow_is_made_where_the_service_keeps_flows_apart() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
}

#[test]
fn no_second_flow_is_made_where_the_service_does_not_say_so() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, false));
    let registered = registered(&mut pair);
    assert!(!registered.outbound);
    pair.sim.run_for(seconds(60));
    assert_eq!(pair.agent(|agent, _| agent.flows().count()), 1);
    assert!(!pair.sim.trace().iter().any(|packet| packet.to == second()));
}

#[test]
fn one_target_has_one_flow() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| agent.set_next_hop(now, vec![at(server())]));
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, true));
    assert!(registered(&mut pair).outbound);
    pair.quiet(seconds(60));
    assert_eq!(pair.agent(|agent, _| agent.flows().count()), 1);
}

#[test]
fn requests_take_the_other_flow_while_one_is_lost() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    pair.sim.kill(server());
    let AgentEvent::Flow { reg_id: 1, state: FlowState::Down { .. } } = pair.event() else { panic!("lost") };
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let publish = at_second(&mut pair).unwrap();
    assert_eq!(publish.message.method(), Some(Method::Publish));
    assert!(pair.agent(|agent, now| agent.is_registered(now)));
}

#[test]
fn a_lost_flow_is_made_anew_while_the_account_stays_registered() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    pair.sim.kill(server());
    let AgentEvent::Flow { reg_id: 1, state: FlowState::Down { after, .. } } = pair.event() else {
        panic!("lost")
    };
    assert!(after <= seconds(11), "what worked is tried again at once: {after:?}");
    pair.no_event(seconds(60));
    pair.sim.revive(server());
    let again = pair.expect("REGISTER");
    assert_eq!(reg_id(&again), "1");
    pair.respond(&again, &accepted(&again, true));
    let AgentEvent::Flow { reg_id: 1, state: FlowState::Up { to } } = pair.event() else { panic!("up") };
    assert_eq!(to, at(server()));
}

#[test]
fn a_lost_flow_is_not_hurried_while_another_one_works() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    pair.sim.kill(server());
    pair.event();
    pair.sim.run_for(seconds(20));
    // RFC 5626 §4.5: 50 to 100 percent of 180 s after the first failure, of 360 s after the second.
    let mut tries = Vec::new();
    for limit in [180, 360, 720] {
        let before = pair.sim.elapsed();
        let due = pair.agent(|agent, _| agent.next_refresh()).unwrap() - pair.sim.now();
        assert!(due <= seconds(limit), "{due:?} after {tries:?}");
        pair.sim.run_for(due + seconds(2));
        tries.push(pair.sim.elapsed() - before);
    }
    assert!(tries[1] >= seconds(150) && tries[2] >= seconds(300), "{tries:?}");
}

#[test]
fn with_both_flows_lost_the_registration_has_failed() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    pair.sim.kill(server());
    pair.sim.kill(second());
    loop {
        match pair.event() {
            AgentEvent::Flow { state: FlowState::Down { .. }, .. } => {}
            AgentEvent::RegistrationFailed { cause: Cause::Transport(_), retry: Some(_), remaining } => {
                assert!(remaining > seconds(3000), "the service does not know yet");
                break;
            }
            event => panic!("an unexpected event: {event:?}"),
        }
    }
}

#[test]
fn two_lost_flows_are_made_anew_to_different_targets() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    for edge in [server(), second()] {
        pair.sim.kill(edge);
        pair.sim.revive(edge);
    }
    let first = pair.expect("REGISTER");
    let other = at_second(&mut pair).expect("the other edge is asked as well");
    assert_ne!(reg_id(&first), reg_id(&other));
}

#[test]
fn a_name_is_looked_up_again_when_the_targets_of_all_flows_failed() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| {
        agent.set_next_hop(now, Vec::new());
        agent.register(now, 3600);
    });
    let question = pair.agent(|agent, _| agent.poll_resolve()).unwrap();
    let targets = vec![at(server()), at(second())];
    pair.agent(|agent, now| agent.handle_resolved(now, question.id, Ok(targets)));
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, true));
    registered(&mut pair);
    let other = at_second(&mut pair).expect("the second flow");
    pair.sim.with(second(), |endpoint: &mut Endpoint, now| {
        endpoint.respond(now, other.id, &accepted(&other, true)).unwrap();
    });
    registered(&mut pair);
    pair.sim.kill(server());
    pair.sim.kill(second());
    pair.sim.run_for(seconds(60));
    let question = pair.agent(|agent, _| agent.poll_resolve()).expect("a second question");
    let third: SocketAddr = "127.0.0.4:5060".parse().unwrap();
    pair.sim.add(third, Endpoint::new(EndpointConfig::at(third), [4; 32]));
    pair.agent(|agent, now| agent.handle_resolved(now, question.id, Ok(vec![at(third)])));
    pair.sim.run_for(seconds(600));
    assert!(pair.sim.trace().iter().any(|packet| packet.to == third && packet.is("REGISTER")));
}

#[test]
fn a_request_over_either_flow_is_taken() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    for edge in [server(), second()] {
        let request = Request::new(Method::Message, "sip:alice@127.0.0.2:5070")
            .from("<sip:bob@example.com>;tag=b")
            .to("<sip:alice@example.com>")
            .call_id(format!("{edge}@example.com"))
            .body("text/plain", "hello");
        pair.sim.with(edge, |endpoint: &mut Endpoint, now| {
            endpoint.send_request(now, &request, at(client()), None).unwrap();
        });
        let AgentEvent::MessageReceived { flow, .. } = pair.event() else { panic!("a message") };
        assert_eq!(flow.remote.ip(), edge.ip());
    }
}

#[test]
fn a_first_hop_without_flows_gets_a_registration_without_them() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| agent.register(now, 3600));
    let first = pair.expect("REGISTER");
    pair.answer(&first, 439);
    let again = pair.expect("REGISTER");
    assert_eq!(reg_id(&again), "");
    assert!(!again.message.values(HeaderName::Supported).any(|tag| tag == b"outbound"));
    pair.respond(&again, &accepted(&again, false));
    assert!(!registered(&mut pair).outbound);
}

#[test]
fn a_flow_that_failed_on_the_way_is_tried_over_another_target() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    pair.agent(|agent, now| agent.publish(now, PublishParams::presence("<presence/>")));
    let publish = pair.expect("PUBLISH");
    pair.answer(&publish, 430);
    assert_eq!(at_second(&mut pair).unwrap().message.method(), Some(Method::Publish));
}

#[test]
fn a_flow_is_kept_alive_as_often_as_the_service_wants() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![at(server())]);
        agent.register(now, 3600);
    });
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, true).header(HeaderName::FlowTimer, "20"));
    registered(&mut pair);
    pair.sim.clear_trace();
    pair.sim.run_for(seconds(200));
    let pings: Vec<_> = pair
        .sim
        .trace()
        .iter()
        .filter(|packet| packet.to == server() && &packet.payload[..] == b"\r\n\r\n")
        .map(|packet| packet.at)
        .collect();
    assert!((10..=13).contains(&pings.len()), "{pings:?}");
    assert!(pings.windows(2).all(|pair| pair[1] - pair[0] <= seconds(20)), "{pings:?}");
}

#[test]
fn a_flow_timer_without_end_is_no_fault() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![at(server())]);
        agent.register(now, 3600);
    });
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, true).header(HeaderName::FlowTimer, u64::MAX.to_string()));
    assert_eq!(registered(&mut pair).reg_id, 1);
}

#[test]
fn datagrams_through_a_nat_are_kept_flowing() {
    let mut pair =
        Pair::with(|config| config.local = vec![(Transport::Udp, "10.0.0.1:5060".parse().unwrap())]);
    pair.register();
    pair.sim.clear_trace();
    pair.sim.run_for(seconds(290));
    let pings = pair.sim.trace().iter().filter(|packet| &packet.payload[..] == b"\r\n\r\n").count();
    assert!((10..=13).contains(&pings), "{pings}");
}

#[test]
fn without_a_nat_no_datagram_is_wasted() {
    let mut pair = Pair::new();
    pair.register();
    pair.sim.clear_trace();
    pair.sim.run_for(seconds(600));
    assert!(pair.sim.trace().is_empty());
}

#[test]
fn a_connection_that_breaks_is_registered_anew() {
    let mut pair = Pair::new();
    pair.next_hop(Transport::Tcp);
    pair.register();
    pair.sim.run_for(seconds(60));
    pair.sim.kill(server());
    pair.sim.revive(server());
    pair.expect_within("REGISTER", seconds(2));
}

#[test]
fn a_service_that_closes_every_connection_makes_no_circle() {
    let mut pair = Pair::new();
    pair.next_hop(Transport::Tcp);
    pair.agent(|agent, now| agent.register(now, 3600));
    for _ in 0..10 {
        let register = pair.expect("REGISTER");
        pair.accept_registration(&register, 3600);
        let event = pair.event();
        assert!(matches!(event, AgentEvent::Registered(_)), "{event:?}");
        pair.sim.kill(server());
        pair.sim.revive(server());
    }
    assert!(pair.sim.elapsed() >= seconds(90), "{:?}", pair.sim.elapsed());
}

#[test]
fn a_public_gruu_becomes_the_contact_of_dialogs() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![at(server())]);
        agent.register(now, 3600);
    });
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, true));
    let registered = registered(&mut pair);
    let public = format!("sip:alice@example.com;gr={INSTANCE}");
    assert_eq!(registered.gruu.as_deref(), Some(public.as_str()));
    assert!(registered.temp_gruu.is_some_and(|gruu| gruu.starts_with("sip:tgruu.")));
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let subscribe = pair.expect("SUBSCRIBE");
    assert_eq!(subscribe.header(HeaderName::Contact), format!("<{public}>"));
    pair.answer(&subscribe, 404);
    pair.event();
    // A registrar wants the address itself, each time.
    let refresh = pair.expect("REGISTER");
    let contact = NameAddr::parse(refresh.header(HeaderName::Contact).as_bytes()).unwrap();
    assert!(contact.uri_bytes().starts_with(b"sip:alice@127.0.0.2:5070"));
}

#[test]
fn without_a_gruu_the_contact_is_the_flow() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![at(server())]);
        agent.register(now, 3600);
    });
    let first = pair.expect("REGISTER");
    pair.respond(&first, &Response::new(200).header(HeaderName::Require, "outbound"));
    registered(&mut pair);
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let subscribe = pair.expect("SUBSCRIBE");
    assert_eq!(subscribe.header(HeaderName::Contact), "<sip:alice@127.0.0.2:5070;transport=tcp;ob>");
}

#[test]
fn a_gruu_of_another_device_is_not_ours() {
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![at(server())]);
        agent.register(now, 3600);
    });
    let first = pair.expect("REGISTER");
    let other = r#"<sip:alice@192.0.2.9>;+sip.instance="<urn:uuid:other>";pub-gruu="sip:alice@example.com;gr=other";expires=60"#;
    pair.respond(
        &first,
        &Response::new(200).header(HeaderName::Contact, other).header(HeaderName::Expires, "3600"),
    );
    let registered = registered(&mut pair);
    assert_eq!((registered.gruu, registered.expires), (None, seconds(3600)));
}

#[test]
fn signing_out_removes_both_flows() {
    let mut pair = edges(|_| {});
    both_up(&mut pair);
    pair.agent(Agent::unregister);
    let first = pair.expect("REGISTER");
    assert_eq!(first.header(HeaderName::Expires), "0");
    pair.answer(&first, 200);
    pair.no_event(seconds(1));
    let other = at_second(&mut pair).unwrap();
    assert_eq!((other.header(HeaderName::Expires), reg_id(&other).as_str()), ("0", "2"));
    pair.sim.with(second(), |endpoint: &mut Endpoint, now| {
        endpoint.respond(now, other.id, &Response::new(200)).unwrap();
    });
    assert!(matches!(pair.event(), AgentEvent::Unregistered { confirmed: true }));
}

#[test]
fn a_notification_to_the_gruu_is_taken() {
    // RFC 7621: the service may write the GRUU into the request, or the address that it stands for.
    let mut pair = edges(|_| {});
    pair.agent(|agent, now| {
        agent.set_next_hop(now, vec![at(server())]);
        agent.register(now, 3600);
    });
    let first = pair.expect("REGISTER");
    pair.respond(&first, &accepted(&first, false));
    registered(&mut pair);
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let subscribe = pair.expect("SUBSCRIBE");
    pair.grant(&subscribe, 3600);
    for (cseq, target) in
        [(1, format!("sip:alice@example.com;gr={INSTANCE}")), (2, "sip:alice@127.0.0.2:5070".into())]
    {
        let notify = Request::new(Method::Notify, target)
            .from("<sip:bob@example.com>;tag=notifier")
            .to(subscribe.header(HeaderName::From))
            .call_id(subscribe.header(HeaderName::CallId))
            .cseq(cseq)
            .header(HeaderName::Contact, "<sip:127.0.0.1:5060;transport=tcp>")
            .header(HeaderName::Event, "presence")
            .header(HeaderName::SubscriptionState, "active;expires=3600");
        let id =
            pair.server(|endpoint, now| endpoint.send_request(now, &notify, at(client()), None)).unwrap();
        assert_eq!(pair.response(id), 200);
        assert!(matches!(pair.event(), AgentEvent::Subscription { .. }));
    }
}

#[test]
fn another_transport_to_the_same_place_is_no_second_flow() {
    let udp = |remote| Destination { transport: Transport::Udp, remote };
    for targets in [vec![at(server()), udp(server())], vec![at(server()), udp(second())]] {
        let mut pair = edges(|_| {});
        pair.agent(|agent, now| {
            agent.set_next_hop(now, targets);
            agent.register(now, 3600);
        });
        let first = pair.expect("REGISTER");
        pair.respond(&first, &accepted(&first, true));
        assert!(registered(&mut pair).outbound);
        pair.quiet(seconds(60));
        assert_eq!(pair.agent(|agent, _| agent.flows().count()), 1);
    }
}

#[test]
fn a_flow_whose_target_is_gone_moves_to_a_third_one() {
    let third: SocketAddr = "127.0.0.4:5060".parse().unwrap();
    let mut pair = edges(|_| {});
    pair.sim.add(third, Endpoint::new(EndpointConfig::at(third), [4; 32]));
    pair.agent(|agent, now| agent.set_next_hop(now, vec![at(server()), at(second()), at(third)]));
    both_up(&mut pair);
    pair.sim.kill(server());
    pair.event();
    pair.sim.run_for(seconds(300));
    let reached = pair.sim.trace().iter().any(|packet| packet.to == third && packet.is("REGISTER"));
    assert!(reached);
}

#[test]
fn a_gruu_is_used_by_itself_only_where_the_service_cares_for_flows() {
    for (used, outbound, expected) in [
        (GruuUse::WithFlows, false, false),
        (GruuUse::WithFlows, true, true),
        (GruuUse::Always, false, true),
        (GruuUse::Never, true, false),
    ] {
        let mut pair = edges(|config| config.gruu = used);
        pair.agent(|agent, now| {
            agent.set_next_hop(now, vec![at(server())]);
            agent.register(now, 3600);
        });
        let first = pair.expect("REGISTER");
        pair.respond(&first, &accepted(&first, outbound));
        registered(&mut pair);
        let bob = SubscribeParams::presence(uri("sip:bob@example.com"));
        pair.agent(|agent, now| agent.subscribe(now, bob));
        let subscribe = pair.expect("SUBSCRIBE");
        assert_eq!(subscribe.header(HeaderName::Contact).contains(";gr="), expected, "{used:?} {outbound}");
    }
}

#[test]
fn an_instance_is_a_uuid_and_the_same_for_the_same_text() {
    let urn = instance_urn("an installation");
    assert_eq!(urn, instance_urn("an installation"));
    assert_ne!(urn, instance_urn("another one"));
    let uuid = urn.strip_prefix("urn:uuid:").unwrap();
    let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(&uuid[14..15], "8", "the version: {uuid}");
    assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "the variant: {uuid}");
}
