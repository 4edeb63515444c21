//! REGISTER (RFC 3261, section 10) with digest (RFC 8760).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_sip::endpoint::Request;
use attache_sip::message::{HeaderName, Message, Method};
use common::{ALICE, BOB, Net, PHONE, status, text};

fn contacts(message: &Message) -> Vec<String> {
    message.values(HeaderName::Contact).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

/// A REGISTER of Bob with these contacts.
fn register(net: &mut Net, contacts: &[&str], headers: &[(HeaderName, &str)]) -> Message {
    let mut request: Request = net.client(BOB, |bob| bob.request(Method::Register, "sip:example.com"));
    request.headers.retain(|(name, _)| *name != HeaderName::To.into());
    let mut request = request.to("<sip:bob@example.com>");
    for contact in contacts {
        request = request.header(HeaderName::Contact, *contact);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    net.send(BOB, request)
}

#[test]
fn a_user_with_the_right_password_is_registered_for_the_time_asked() {
    let mut net = Net::new();
    let answer = net.register(ALICE, 600);
    assert_eq!(status(&answer), 200);
    assert_eq!(contacts(&answer), ["<sip:alice@127.0.1.1:5060>;expires=600"]);
    assert_eq!(text(&answer, HeaderName::Date), "Fri, 15 Jan 2027 08:00:00 GMT");
}

#[test]
fn a_query_changes_nothing_and_tells_what_is_there() {
    let mut net = Net::new();
    net.register(BOB, 600);
    let answer = register(&mut net, &[], &[]);
    assert_eq!((status(&answer), contacts(&answer).len()), (200, 1));
}

#[test]
fn several_contacts_are_listed_dearest_first() {
    let mut net = Net::new();
    let answer = register(
        &mut net,
        &["<sip:bob@127.0.2.1>;q=0.2, <sip:bob@127.0.2.2>", "<sip:bob@127.0.2.3>;q=0.7"],
        &[],
    );
    let order: Vec<_> = contacts(&answer).iter().map(|contact| contact[..19].to_owned()).collect();
    assert_eq!(order, ["<sip:bob@127.0.2.2>", "<sip:bob@127.0.2.3>", "<sip:bob@127.0.2.1>"]);
}

#[test]
fn a_registration_ends_when_its_time_is_over() {
    let mut net = Net::new();
    net.register(BOB, 60);
    net.register(PHONE, 120);
    net.run(61);
    assert_eq!(contacts(&register(&mut net, &[], &[])).len(), 1);
    net.run(60);
    assert_eq!(contacts(&register(&mut net, &[], &[])).len(), 0);
    assert_eq!(net.core(|core, _| core.statistics().registered_users), 0);
}

#[test]
fn expires_zero_removes_one_contact_and_a_star_all() {
    let mut net = Net::new();
    net.register(BOB, 600);
    net.register(PHONE, 600);
    assert_eq!(contacts(&net.register(BOB, 0)).len(), 1);
    net.register(BOB, 600);
    let answer = register(&mut net, &["*"], &[(HeaderName::Expires, "0")]);
    assert_eq!((status(&answer), contacts(&answer).len()), (200, 0));
}

#[test]
fn a_star_with_a_time_or_with_company_is_refused() {
    let mut net = Net::new();
    assert_eq!(status(&register(&mut net, &["*"], &[(HeaderName::Expires, "60")])), 400);
    assert_eq!(status(&register(&mut net, &["*"], &[])), 400);
    let both = register(&mut net, &["*", "<sip:bob@127.0.2.1>"], &[(HeaderName::Expires, "0")]);
    assert_eq!(status(&both), 400);
}

#[test]
fn a_time_that_is_too_short_is_refused_with_the_least() {
    let mut net = Net::new();
    let answer = net.register(BOB, 5);
    assert_eq!((status(&answer), text(&answer, HeaderName::MinExpires)), (423, "60".into()));
}

#[test]
fn a_time_that_is_too_long_is_shortened() {
    let mut net = Net::new();
    assert!(contacts(&net.register(BOB, 1_000_000))[0].ends_with("expires=3600"));
}

#[test]
fn contacts_of_one_user_are_bounded_and_the_newest_stay() {
    let mut net = Net::new();
    for port in 6000..6030 {
        register(&mut net, &[&format!("<sip:bob@127.0.2.1:{port}>")], &[]);
    }
    let answer = register(&mut net, &[], &[]);
    assert_eq!(contacts(&answer).len(), 10);
    assert!(contacts(&answer).iter().any(|contact| contact.contains(":6029")));
}

#[test]
fn a_device_that_comes_back_on_another_port_replaces_what_it_had() {
    let mut net = Net::new();
    for port in [6000, 6001] {
        let contact = format!(
            "<sip:bob@127.0.2.1:{port}>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\""
        );
        register(&mut net, &[&contact], &[]);
    }
    let answer = register(&mut net, &[], &[]);
    assert_eq!(contacts(&answer).len(), 1);
    assert!(
        contacts(&answer)[0].contains(":6001") && contacts(&answer)[0].contains("+sip.instance=\"<urn:uuid:")
    );
}

#[test]
fn an_older_request_of_the_same_client_that_comes_late_changes_nothing() {
    let mut net = Net::new();
    let mut request = net.client(BOB, |bob| bob.request(Method::Register, "sip:example.com"));
    request.headers.retain(|(name, _)| *name != HeaderName::To.into());
    let request = request.to("<sip:bob@example.com>").header(HeaderName::Contact, "<sip:bob@127.0.2.1>");
    assert_eq!(status(&net.send(BOB, request.clone().cseq(50))), 200);
    assert_eq!(status(&net.send(BOB, request.cseq(20))), 500);
}

#[test]
fn a_contact_that_leads_back_to_the_service_is_refused() {
    let mut net = Net::new();
    assert_eq!(status(&register(&mut net, &["<sip:bob@127.0.0.1:5060>"], &[])), 400);
}

#[test]
fn an_unreadable_contact_is_refused_and_nothing_is_changed() {
    let mut net = Net::new();
    net.register(BOB, 600);
    assert_eq!(status(&register(&mut net, &["<sip:bob@127.0.2.9>", "<not an address"], &[])), 400);
    assert_eq!(contacts(&register(&mut net, &[], &[])).len(), 1);
}
