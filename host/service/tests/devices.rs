//! Devices and the ways to them: RFC 5626, RFC 5627, RFC 3327, RFC 3608.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_sip::endpoint::Request;
use attache_sip::message::{HeaderName, Message, Method, NameAddr};
use attache_sip::uri::Uri;
use common::{ALICE, BOB, Client, Net, PHONE, config, status, text};

const TO_BOB: &str = "sip:bob@example.com";
const DESK: &str = "<urn:uuid:00000000-0000-1000-8000-00000000000a>";
const OTHER: &str = "<urn:uuid:00000000-0000-1000-8000-00000000000b>";

fn request(net: &mut Net, at: &str, contact: &str) -> Request {
    let request = net.client(at, |client| {
        let address = client.address();
        let mut request = client.request(Method::Register, "sip:example.com");
        request.headers.retain(|(name, _)| *name != HeaderName::To.into());
        request.to(format!("<{address}>"))
    });
    request
        .header(HeaderName::Contact, contact)
        .header(HeaderName::Supported, "path, outbound, gruu")
        .header(HeaderName::Expires, "600")
}

/// A contact of a device, reached over its connection alone: nobody listens at what it names.
fn contact(at: &str, device: &str, flow: Option<u32>) -> String {
    let port = if at == BOB { 1 } else { 2 };
    let flow = flow.map(|number| format!(";reg-id={number}")).unwrap_or_default();
    format!("<sip:bob@192.0.2.{port}:9;transport=tcp;ob>;+sip.instance=\"{device}\"{flow}")
}

fn register(net: &mut Net, at: &str, device: &str, flow: Option<u32>) -> Message {
    net.client(at, Client::use_tcp);
    let contact = contact(at, device, flow);
    let request = request(net, at, &contact);
    let answer = net.send(at, request);
    assert_eq!(status(&answer), 200);
    answer
}

/// A parameter of the contact of a device in an answer.
fn param(answer: &Message, device: &str, name: &str) -> Option<String> {
    let all = answer.values(HeaderName::Contact).filter_map(NameAddr::parse);
    let mut own = all.filter(|one| one.params().get_str("+sip.instance") == Some(device));
    own.find_map(|one| one.params().get_str(name).map(str::to_owned))
}

fn bindings(answer: &Message) -> usize {
    answer.values(HeaderName::Contact).count()
}

#[test]
fn a_flow_is_bound_and_the_client_is_told_how_to_keep_it() {
    let mut net = Net::new();
    let answer = register(&mut net, BOB, DESK, Some(1));
    assert_eq!(text(&answer, HeaderName::Require), "outbound");
    assert_eq!(text(&answer, HeaderName::FlowTimer), "120");
    assert_eq!(param(&answer, DESK, "reg-id").as_deref(), Some("1"));
    assert_eq!(status(&net.message(ALICE, TO_BOB, "hello")), 200);
    assert_eq!(net.texts(BOB), ["hello"], "over the connection, not to 192.0.2.1");
}

#[test]
fn a_registration_without_outbound_is_an_ordinary_one() {
    let mut net = Net::new();
    let contact = net.client(BOB, |bob| bob.contact());
    let mut request = request(&mut net, BOB, &contact);
    request.headers.retain(|(name, _)| *name != HeaderName::Supported.into());
    let answer = net.send(BOB, request);
    assert_eq!((status(&answer), text(&answer, HeaderName::Require)), (200, String::new()));
}

#[test]
fn one_device_with_two_flows_gets_a_message_once() {
    let mut net = Net::new();
    register(&mut net, BOB, DESK, Some(1));
    let answer = register(&mut net, PHONE, DESK, Some(2));
    assert_eq!(bindings(&answer), 2);
    assert_eq!(status(&net.message(ALICE, TO_BOB, "once")), 200);
    net.run(2);
    let heard = [net.texts(BOB), net.texts(PHONE)].concat();
    assert_eq!(heard, ["once"]);
}

#[test]
fn when_a_flow_breaks_the_other_one_of_the_device_is_used() {
    let mut net = Net::new();
    register(&mut net, BOB, DESK, Some(1));
    register(&mut net, PHONE, DESK, Some(2));
    net.sim.kill(PHONE.parse().unwrap());
    assert_eq!(status(&net.message(ALICE, TO_BOB, "hello")), 200);
    assert_eq!(net.texts(BOB), ["hello"]);
    let answer = register(&mut net, BOB, DESK, Some(1));
    assert_eq!(bindings(&answer), 1, "the broken one is forgotten");
}

#[test]
fn a_flow_that_comes_back_takes_the_place_of_the_one_before() {
    let mut net = Net::new();
    register(&mut net, BOB, DESK, Some(1));
    let answer = register(&mut net, PHONE, DESK, Some(1));
    assert_eq!(bindings(&answer), 1);
    let answer = register(&mut net, BOB, OTHER, Some(1));
    assert_eq!(bindings(&answer), 2, "another device has flows of its own");
}

#[test]
fn a_first_hop_that_keeps_no_flows_is_named() {
    let mut net = Net::new();
    let contact = contact(BOB, DESK, Some(1));
    let request_by = |net: &mut Net, path: &str| {
        let request = request(net, BOB, &contact).header(HeaderName::Path, path);
        net.send(BOB, request)
    };
    assert_eq!(status(&request_by(&mut net, "<sip:edge.example.com;lr>")), 439);
    let answer = request_by(&mut net, "<sip:edge.example.com;lr;ob>");
    assert_eq!((status(&answer), text(&answer, HeaderName::Require)), (200, "outbound".into()));
}

#[test]
fn requests_take_the_path_that_the_registration_came_by() {
    let mut net = Net::new();
    let contact = "<sip:bob@192.0.2.1:9>";
    let path = "<sip:inner.example.com;lr>, <sip:edge.example.com;lr>";
    let request = request(&mut net, BOB, contact).header(HeaderName::Path, path);
    let answer = net.send(BOB, request);
    let given: Vec<_> =
        answer.values(HeaderName::Path).map(|hop| String::from_utf8_lossy(hop).into_owned()).collect();
    assert_eq!(given, ["<sip:inner.example.com;lr>", "<sip:edge.example.com;lr>"]);
    assert_eq!(status(&net.message(ALICE, TO_BOB, "hello")), 200);
    let [message] = &net.received(BOB, Method::Message)[..] else { panic!() };
    assert_eq!(message.request_uri_bytes(), b"sip:bob@192.0.2.1:9");
    let routes: Vec<_> =
        message.values(HeaderName::Route).map(|hop| String::from_utf8_lossy(hop).into_owned()).collect();
    assert_eq!(routes, given);
}

#[test]
fn a_path_is_bounded() {
    let mut net = Net::new();
    let path = format!("<sip:{}.example.com;lr>", "x".repeat(4000));
    let request = request(&mut net, BOB, "<sip:bob@192.0.2.1>").header(HeaderName::Path, path);
    assert_eq!(status(&net.send(BOB, request)), 400);
}

#[test]
fn clients_are_told_the_way_for_their_requests() {
    let mut config = config();
    config.service_route = vec!["<sip:proxy.example.com;lr>".into()];
    let mut net = Net::with(config);
    assert_eq!(text(&net.register(BOB, 600), HeaderName::ServiceRoute), "<sip:proxy.example.com;lr>");
}

#[test]
fn a_device_gets_addresses_of_its_own() {
    let mut net = Net::new();
    let answer = register(&mut net, BOB, DESK, Some(1));
    let public = param(&answer, DESK, "pub-gruu").unwrap();
    assert_eq!(public, "sip:bob@example.com;gr=urn:uuid:00000000-0000-1000-8000-00000000000a");
    let first = param(&answer, DESK, "temp-gruu").unwrap();
    let again = register(&mut net, BOB, DESK, Some(1));
    assert_eq!(param(&again, DESK, "pub-gruu"), Some(public));
    let second = param(&again, DESK, "temp-gruu").unwrap();
    assert!(first != second && !first.contains("bob") && Uri::parse_str(&first).is_ok(), "{first} {second}");
}

#[test]
fn a_message_to_a_device_reaches_that_device_alone() {
    let mut net = Net::new();
    let desk = register(&mut net, BOB, DESK, Some(1));
    register(&mut net, PHONE, OTHER, Some(1));
    for name in ["pub-gruu", "temp-gruu"] {
        let address = param(&desk, DESK, name).unwrap();
        assert_eq!(status(&net.message(ALICE, &address, name)), 200, "{address}");
    }
    net.run(2);
    assert_eq!(net.texts(BOB), ["pub-gruu", "temp-gruu"]);
    assert!(net.texts(PHONE).is_empty());
}

#[test]
fn the_addresses_of_a_device_that_is_gone_lead_nowhere() {
    let mut net = Net::new();
    let desk = register(&mut net, BOB, DESK, Some(1));
    let (public, temporary) =
        (param(&desk, DESK, "pub-gruu").unwrap(), param(&desk, DESK, "temp-gruu").unwrap());
    let contact = contact(BOB, DESK, Some(1));
    let mut request = request(&mut net, BOB, &contact);
    request.headers.retain(|(name, _)| *name != HeaderName::Expires.into());
    assert_eq!(status(&net.send(BOB, request.header(HeaderName::Expires, "0"))), 200);
    assert_eq!(status(&net.message(ALICE, &public, "nobody there")), 480);
    assert_eq!(status(&net.message(ALICE, &temporary, "nobody there")), 404);
    assert_eq!(net.core(|core, _| core.statistics().stored_messages), 0);
}

#[test]
fn a_watcher_is_followed_to_where_its_device_is_now() {
    let mut net = Net::new();
    let desk = register(&mut net, BOB, DESK, Some(1));
    let gruu = param(&desk, DESK, "pub-gruu").unwrap();
    let request = net.client(BOB, |bob| bob.request(Method::Subscribe, "sip:alice@example.com"));
    let request = request
        .header(HeaderName::Contact, format!("<{gruu}>"))
        .header(HeaderName::Event, "presence")
        .header(HeaderName::Expires, "600");
    assert_eq!(status(&net.send(BOB, request)), 200);
    net.run(1);
    assert_eq!(net.received(BOB, Method::Notify).len(), 1);
    register(&mut net, PHONE, DESK, Some(1));
    let publish = net.client(ALICE, |alice| alice.request(Method::Publish, "sip:alice@example.com"));
    let publish =
        publish.header(HeaderName::Event, "presence").body("application/pidf+xml", common::pidf("here"));
    assert_eq!(status(&net.send(ALICE, publish)), 200);
    net.run(2);
    assert!(net.received(BOB, Method::Notify).is_empty());
    assert_eq!(net.received(PHONE, Method::Notify).len(), 1);
}

#[test]
fn nobody_has_the_device_of_somebody_else_told() {
    let mut net = Net::new();
    let desk = register(&mut net, BOB, DESK, Some(1));
    let gruu = param(&desk, DESK, "pub-gruu").unwrap();
    let request = net.client(ALICE, |alice| alice.request(Method::Subscribe, "sip:carol@example.com"));
    let request = request
        .header(HeaderName::Contact, format!("<{gruu}>"))
        .header(HeaderName::Event, "presence")
        .header(HeaderName::Expires, "600");
    assert_eq!(status(&net.send(ALICE, request)), 200);
    net.run(2);
    assert!(net.received(BOB, Method::Notify).is_empty());
    assert_eq!(
        net.received(ALICE, Method::Notify).len(),
        1,
        "who asked is told, where the request came from"
    );
}

#[test]
fn several_flows_of_one_address_are_bindings_of_their_own() {
    let mut net = Net::new();
    register(&mut net, BOB, DESK, Some(1));
    let both = register(&mut net, BOB, DESK, Some(2));
    assert_eq!(bindings(&both), 2);
    assert_eq!(bindings(&register(&mut net, BOB, DESK, Some(1))), 2);
}

#[test]
fn the_presence_of_a_device_is_that_of_its_user() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    let desk = register(&mut net, BOB, DESK, Some(1));
    let temporary = param(&desk, DESK, "temp-gruu").unwrap();
    assert_eq!(status(&net.subscribe(ALICE, &temporary, 600)), 200);
    net.run(1);
    assert_eq!(net.notes(ALICE), ["here"]);
}
