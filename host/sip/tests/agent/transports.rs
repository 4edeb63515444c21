//! What stands in headers for each transport: WebSocket (RFC 7118), `sips` (RFC 5630), IPv6 (RFC 5954, RFC 5118).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use attache_sip::agent::{Agent, AgentConfig, AgentEvent, Cause, NotifySource};
use attache_sip::message::{HeaderName, Message};
use attache_sip::resolve::ResolveId;
use attache_sip::transport::{Destination, Transmit, Transport};
use attache_sip::uri::Host;
use attache_sip::usage::SubscribeParams;

use crate::pair::{Notify, Pair, seconds, server, uri};

/// An agent by itself: what it wants to send is looked at.
fn alone(aor: &str, local: &[(Transport, &str)], change: impl FnOnce(&mut AgentConfig)) -> Agent {
    let local = local.iter().map(|(transport, addr)| (*transport, addr.parse().unwrap())).collect();
    let mut config = AgentConfig::new(uri(aor), "secret", local);
    change(&mut config);
    Agent::new(config, [5; 32])
}

fn to(transport: Transport, remote: &str) -> Destination {
    Destination { transport, remote: remote.parse().unwrap() }
}

fn register(agent: &mut Agent, destination: Destination) -> (Transmit, Message) {
    let now = Instant::now();
    agent.set_next_hop(now, vec![destination]);
    agent.register(now, 3600);
    let transmit = agent.poll_transmit().expect("a REGISTER");
    let message = Message::parse(transmit.payload.clone()).unwrap();
    (transmit, message)
}

fn contact(message: &Message) -> String {
    String::from_utf8(message.header(HeaderName::Contact).unwrap().to_vec()).unwrap()
}

fn via(message: &Message) -> String {
    String::from_utf8(message.header(HeaderName::Via).unwrap().to_vec()).unwrap()
}

#[test]
fn a_web_socket_client_is_at_a_host_that_cannot_exist() {
    for (transport, name) in [(Transport::Ws, "WS"), (Transport::Wss, "WSS")] {
        let mut agent = alone("sip:alice@example.com", &[(Transport::Udp, "127.0.0.2:5070")], |_| {});
        let (_, message) = register(&mut agent, to(transport, "127.0.0.1:443"));
        let top = message.top_via().unwrap();
        let Host::Name(host) = top.host() else { panic!("{}", via(&message)) };
        assert!(host.ends_with(".invalid"), "{host}");
        assert_eq!(top.transport_name(), name.as_bytes());
        assert_eq!(contact(&message), format!("<sip:alice@{host};transport=ws>"));
    }
}

#[test]
fn two_web_socket_clients_are_at_different_hosts() {
    let host = |seed: u8| {
        let config = AgentConfig::new(uri("sip:alice@example.com"), "secret", Vec::new());
        let mut agent = Agent::new(config, [seed; 32]);
        let (_, message) = register(&mut agent, to(Transport::Wss, "127.0.0.1:443"));
        contact(&message)
    };
    assert_ne!(host(1), host(2));
}

#[test]
fn over_a_web_socket_everything_comes_and_goes_on_the_one_connection() {
    let mut pair = Pair::with(|config| config.local = Vec::new());
    pair.next_hop(Transport::Ws);
    pair.register();
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    pair.grant(&request, 3600);
    // The service answers and notifies over the connection that the request came over.
    let notify = attache_sip::endpoint::Request::new(
        attache_sip::message::Method::Notify,
        "sip:alice@127.0.0.2;transport=ws",
    )
    .from("<sip:bob@example.com>;tag=n")
    .to(request.header(HeaderName::From))
    .call_id(request.header(HeaderName::CallId))
    .header(HeaderName::Contact, "<sip:127.0.0.1:5060;transport=ws>")
    .header(HeaderName::Event, "presence")
    .header(HeaderName::SubscriptionState, "active;expires=600");
    let back = request.flow.back();
    let id = pair
        .server(|endpoint, now| endpoint.send_request(now, &notify, back, Some(request.flow.id)))
        .unwrap();
    assert_eq!(pair.response(id), 200);
    assert!(matches!(pair.event(), AgentEvent::Subscription { .. }));
    let ways: std::collections::BTreeSet<_> =
        pair.sim.trace().iter().map(|packet| packet.transport.via_name()).collect();
    assert_eq!(ways.into_iter().collect::<Vec<_>>(), ["WS"]);
}

#[test]
fn a_certificate_must_be_for_the_domain_that_was_asked_for() {
    // RFC 5922 §7.1: whatever the look-up led to.
    let mut agent = alone("sip:alice@example.com", &[], |_| {});
    let (transmit, _) = register(&mut agent, to(Transport::Tls, "192.0.2.1:5061"));
    assert_eq!(transmit.domain.as_deref(), Some("example.com"));
    let mut agent = alone("sip:alice@example.com", &[], |config| {
        config.service = Some(uri("sip:edge.example.net;transport=tls"));
    });
    let (transmit, _) = register(&mut agent, to(Transport::Tls, "192.0.2.1:5061"));
    assert_eq!(transmit.domain.as_deref(), Some("edge.example.net"));
    let mut agent = alone("sip:alice@example.com", &[], |config| {
        config.service = Some(uri("sips:192.0.2.1"));
    });
    let (transmit, _) = register(&mut agent, to(Transport::Tls, "192.0.2.1:5061"));
    assert_eq!(transmit.domain, None, "an address was asked for, and must be in the certificate");
}

#[test]
fn a_sips_service_is_only_reached_with_encryption() {
    let mut agent = alone("sips:alice@example.com", &[(Transport::Tcp, "127.0.0.2:5070")], |_| {});
    let now = Instant::now();
    agent.set_next_hop(now, vec![to(Transport::Tcp, "192.0.2.1:5060")]);
    agent.register(now, 3600);
    assert!(agent.poll_transmit().is_none());
    let Some(AgentEvent::RegistrationFailed { .. }) = agent.poll_event() else { panic!("failed") };
    let destinations = vec![to(Transport::Udp, "192.0.2.1:5060"), to(Transport::Tls, "192.0.2.1:5061")];
    agent.set_next_hop(now, destinations);
    agent.register(now, 3600);
    let transmit = agent.poll_transmit().unwrap();
    assert_eq!(transmit.destination, to(Transport::Tls, "192.0.2.1:5061"));
    let message = Message::parse(transmit.payload).unwrap();
    assert!(message.request_uri_bytes().starts_with(b"sips:example.com"));
    // RFC 5630: whoever is asked for by sips answers at sips.
    assert!(contact(&message).starts_with("<sips:alice@"), "{}", contact(&message));
}

#[test]
fn a_service_that_offers_encryption_is_not_reached_without_once_that_fails() {
    let list = vec![to(Transport::Tls, "192.0.2.1:5061"), to(Transport::Udp, "192.0.2.1:5060")];
    for (mixed, expected) in [(false, None), (true, Some(Transport::Udp))] {
        let local = [(Transport::Udp, "127.0.0.2:5070")];
        let mut agent = alone("sip:alice@example.com", &local, |config| config.mixed_security = mixed);
        let now = Instant::now();
        agent.register(now, 3600);
        let question = agent.poll_resolve().unwrap();
        agent.handle_resolved(now, question.id, Ok(list.clone()));
        assert_eq!(agent.poll_transmit().unwrap().destination, list[0]);
        agent.handle_flow_failed(now, list[0], None, "somebody on the way broke it");
        assert_eq!(agent.poll_transmit().map(|transmit| transmit.destination.transport), expected);
        let failed = matches!(agent.poll_event(), Some(AgentEvent::RegistrationFailed { .. }));
        assert_eq!(failed, !mixed);
    }
}

#[test]
fn a_look_up_for_a_sips_service_that_finds_no_encryption_finds_nothing() {
    let mut agent = alone("sips:alice@example.com", &[(Transport::Udp, "127.0.0.2:5070")], |_| {});
    let now = Instant::now();
    agent.register(now, 3600);
    let question = agent.poll_resolve().unwrap();
    assert!(question.secure);
    let id: ResolveId = question.id;
    agent.handle_resolved(now, id, Ok(vec![to(Transport::Udp, "192.0.2.1:5060")]));
    let Some(AgentEvent::RegistrationFailed { cause: Cause::NotFound(_), .. }) = agent.poll_event() else {
        panic!("failed")
    };
}

#[test]
fn a_request_to_a_sips_address_needs_encryption_though_the_service_does_not() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sips:bob@example.com"))));
    match pair.event() {
        AgentEvent::Subscription { state, .. } => {
            assert!(format!("{state:?}").contains("Insecure"), "{state:?}");
        }
        event => panic!("an unexpected event: {event:?}"),
    }
    pair.quiet(seconds(600));
    pair.next_hop(Transport::Tls);
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sips:bob@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    assert_eq!(request.flow.transport, Transport::Tls);
    assert!(request.header(HeaderName::Contact).starts_with("<sips:alice@"));
}

#[test]
fn a_dialog_does_not_leave_an_encrypted_service_for_a_plain_address() {
    let mut pair = Pair::new();
    pair.next_hop(Transport::Tls);
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    pair.grant(&request, 600);
    // The notifier's contact names an address without transport: UDP, by the book.
    pair.notify(&request, Notify::state("active;expires=600", 1));
    pair.event();
    let refresh = pair.expect("SUBSCRIBE");
    assert_eq!(refresh.flow.transport, Transport::Tls);
}

#[test]
fn ipv6_addresses_stand_in_brackets_and_without_a_zone() {
    for (transport, local, expected) in [
        (Transport::Udp, "[2001:db8::1]:5070", "sip:alice@[2001:db8::1]:5070"),
        (Transport::Tcp, "[2001:db8::1]:5070", "sip:alice@[2001:db8::1]:5070;transport=tcp"),
        (Transport::Udp, "[fe80::1%3]:5070", "sip:alice@[fe80::1]:5070"),
    ] {
        let mut agent = alone("sip:alice@example.com", &[(transport, local)], |_| {});
        let (_, message) = register(&mut agent, to(transport, "[2001:db8::99]:5060"));
        assert_eq!(contact(&message), format!("<{expected}>"));
        let top = message.top_via().unwrap();
        let local: SocketAddr = local.parse().unwrap();
        assert_eq!((top.host().ip(), top.port()), (Some(local.ip()), Some(5070)), "{}", via(&message));
        assert!(message.contacts().next().unwrap().unwrap().uri().is_ok());
    }
}

#[test]
fn an_address_of_the_peers_family_is_named() {
    let local = [(Transport::Udp, "192.0.2.5:5070"), (Transport::Udp, "[2001:db8::5]:5070")];
    let mut agent = alone("sip:alice@example.com", &local, |_| {});
    let (_, message) = register(&mut agent, to(Transport::Udp, "[2001:db8::99]:5060"));
    assert!(contact(&message).contains("[2001:db8::5]"));
    let mut agent = alone("sip:alice@example.com", &local, |_| {});
    let (_, message) = register(&mut agent, to(Transport::Udp, "192.0.2.99:5060"));
    assert!(contact(&message).contains("192.0.2.5"));
}

#[test]
fn a_dialog_over_ipv6_follows_its_route() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let request = pair.expect("SUBSCRIBE");
    pair.grant(&request, 600);
    let route = "<sip:[2001:db8::7]:5080;lr>";
    let notify = Notify { headers: &[("Record-Route", route)], ..Notify::active(1) };
    assert_eq!(pair.notify(&request, notify), 200);
    pair.event();
    let sent = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sent);
    pair.sim.set_filter(move |packet| {
        if packet.is("SUBSCRIBE") {
            seen.borrow_mut().push((packet.to, packet.payload.clone()));
        }
        attache_sip::sim::Fate::Drop
    });
    pair.sim.run_for(seconds(3600));
    let (place, bytes) = sent.borrow()[0].clone();
    assert_eq!(place, "[2001:db8::7]:5080".parse().unwrap());
    let refresh = Message::parse(bytes).unwrap();
    assert_eq!(refresh.header(HeaderName::Route), Some(route.as_bytes()));
}

#[test]
fn a_notification_from_elsewhere_is_refused() {
    let elsewhere = to(Transport::Udp, "127.0.0.9:5060");
    // Whoever took the registration is remembered, though a look-up gives another address by now; whoever answers a request that is
    // passed on may be anybody.
    for (registered, answer) in [(true, 200), (false, 403)] {
        let mut pair = Pair::new();
        if registered {
            pair.register();
        }
        pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
        let request = pair.expect("SUBSCRIBE");
        pair.grant(&request, 600);
        pair.agent(|agent, now| agent.set_next_hop(now, vec![elsewhere]));
        assert_eq!(pair.notify(&request, Notify::active(1)), answer);
    }

    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.set_next_hop(now, vec![elsewhere]));
    let (answer, told) = stranger(&mut pair);
    assert_eq!(answer, 403);
    assert!(told.iter().any(|text| text.contains("does not come from the service")), "{told:?}");

    for source in [NotifySource::ServiceAnd(vec![server().ip()]), NotifySource::Anybody] {
        let mut pair = Pair::with(|config| config.accept_notify_from = source);
        pair.agent(|agent, now| agent.set_next_hop(now, vec![elsewhere]));
        assert_eq!(stranger(&mut pair).0, 481, "heard, but nobody's");
    }
}

/// What a NOTIFY of the endpoint at the service's address gets.
fn stranger(pair: &mut Pair) -> (u16, Vec<String>) {
    let notify =
        attache_sip::endpoint::Request::new(attache_sip::message::Method::Notify, "sip:alice@127.0.0.2:5070")
            .from("<sip:bob@example.com>;tag=n")
            .to("<sip:alice@example.com>;tag=0123456789abcdef")
            .call_id("x@example.com")
            .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
            .header(HeaderName::Event, "presence")
            .header(HeaderName::SubscriptionState, "active;expires=600");
    let id = pair.send(&notify);
    (pair.response(id), pair.diagnostics.clone())
}
