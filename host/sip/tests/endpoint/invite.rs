//! INVITE transactions, ACK and CANCEL (RFC 3261 §9, §17; RFC 6026).

use std::time::Duration;

use attache_sip::endpoint::{Endpoint, EndpointEvent, Failure, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::transport::{Destination, Transport};

use crate::pair::{Pair, alice, bob, request, seconds};

#[test]
fn an_invite_is_retransmitted_until_timer_b() {
    let mut pair = Pair::new(Transport::Udp);
    pair.sim.kill(bob());
    pair.send(&request(Method::Invite));
    pair.run(seconds(60));
    assert_eq!(pair.times("INVITE"), [0, 500, 1500, 3500, 7500, 15500, 31500]);
    let events = pair.events(alice());
    assert!(matches!(&events[..], [EndpointEvent::Failed { failure: Failure::Timeout, .. }]), "{events:?}");
}

#[test]
fn an_invite_is_told_100_after_200_milliseconds() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Invite));
    pair.run(seconds(100));
    assert_eq!(pair.times("SIP/2.0 100"), [201]);
    assert_eq!(pair.times("INVITE").len(), 1);
    assert_eq!(pair.statuses(), [100]);
}

#[test]
fn a_refusal_is_acknowledged_with_the_branch_route_and_number_of_the_invite() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Invite));
    let (id, invite, _) = pair.request_at_bob();
    pair.respond(id, &Response::new(486).to_tag("bob"));
    pair.run(seconds(1));
    let ack = pair.text("ACK sip:bob@127.0.0.2");
    let via = String::from_utf8(invite.header(HeaderName::Via).unwrap().to_vec()).unwrap();
    for part in [
        &format!("Via: {via}"),
        "CSeq: 7 ACK",
        "To: <sip:bob@127.0.0.2>;tag=bob",
        "Route: <sip:127.0.0.2;lr>",
    ] {
        assert!(ack.contains(part), "{part} in {ack}");
    }
    assert!(pair.events(bob()).is_empty(), "the ACK to a refusal stays within the transaction");
}

#[test]
fn a_lost_ack_is_sent_again_for_each_repeat_of_the_refusal() {
    let mut pair = Pair::new(Transport::Udp);
    pair.lose("ACK", 2);
    pair.send(&request(Method::Invite));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(486));
    pair.run(seconds(60));
    assert_eq!(pair.times("SIP/2.0 486").len(), 3, "timer G");
    assert_eq!(pair.times("ACK").len(), 3);
    assert_eq!(pair.statuses(), [486], "passed up once");
}

#[test]
fn a_refusal_that_nobody_acknowledges_ends_with_timer_h() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Invite));
    let (id, ..) = pair.request_at_bob();
    pair.sim.kill(alice());
    pair.respond(id, &Response::new(486));
    pair.run(seconds(60));
    let events = pair.events(bob());
    assert!(matches!(&events[..], [EndpointEvent::Unacknowledged { .. }]), "{events:?}");
    assert_eq!(pair.transactions(bob()), (0, 0));
}

#[test]
fn an_accepted_invite_passes_each_2xx_up_and_its_repeats_are_absorbed_at_the_server() {
    let mut pair = Pair::new(Transport::Udp);
    // The server's 2xx is lost, so the client repeats its INVITE in the server's accepted state.
    pair.lose("SIP/2.0 200", 1);
    pair.send(&request(Method::Invite));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200));
    pair.run(seconds(1));
    assert!(pair.events(bob()).is_empty(), "RFC 6026 §7.1: no second INVITE");
    for _ in 0..2 {
        pair.respond(id, &Response::new(200));
        pair.run(Duration::from_millis(10));
    }
    assert_eq!(pair.statuses(), [200, 200], "RFC 6026 §7.2: each wants an ACK");
    pair.run(seconds(40));
    assert_eq!((pair.transactions(alice()), pair.transactions(bob())), ((0, 0), (0, 0)), "timers L and M");
}

#[test]
fn the_ack_to_a_2xx_is_an_event_of_its_own() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Invite));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(200).to_tag("bob"));
    pair.run(seconds(1));
    let ack = request(Method::Ack);
    let to = Destination { transport: Transport::Udp, remote: bob() };
    pair.sim.with(alice(), |endpoint: &mut Endpoint, _| endpoint.send_ack(&ack, to, None)).unwrap();
    pair.run(seconds(1));
    let events = pair.events(bob());
    assert!(matches!(&events[..], [EndpointEvent::Ack { .. }]), "{events:?}");
}

#[test]
fn a_cancel_waits_for_the_first_provisional_answer() {
    let mut pair = Pair::new(Transport::Udp);
    let invite = pair.send(&request(Method::Invite));
    let (id, ..) = pair.request_at_bob();
    pair.sim.with(alice(), |endpoint: &mut Endpoint, now| endpoint.cancel(now, invite));
    assert!(pair.times("CANCEL").is_empty(), "RFC 3261 §9.1");
    pair.respond(id, &Response::new(180));
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.times("CANCEL").len(), 1);
    let events = pair.events(bob());
    assert!(matches!(&events[..], [EndpointEvent::Cancelled { id: of, .. }] if *of == id), "{events:?}");
    assert!(pair.text("SIP/2.0 200").contains("CSeq: 7 CANCEL"));
    pair.respond(id, &Response::new(487));
    pair.run(seconds(1));
    assert_eq!(pair.statuses(), [180, 487]);
}

#[test]
fn a_cancelled_invite_ends_even_if_the_server_says_no_more() {
    let mut pair = Pair::new(Transport::Udp);
    let invite = pair.send(&request(Method::Invite));
    let (id, ..) = pair.request_at_bob();
    pair.respond(id, &Response::new(180));
    pair.run(seconds(1));
    pair.sim.with(alice(), |endpoint: &mut Endpoint, now| endpoint.cancel(now, invite));
    pair.run(seconds(40));
    let failed = pair.events(alice()).into_iter().any(|event| matches!(event, EndpointEvent::Failed { .. }));
    assert!(failed);
}

#[test]
fn a_cancel_for_nothing_gets_481() {
    let mut pair = Pair::new(Transport::Udp);
    pair.send(&request(Method::Cancel));
    pair.run(seconds(1));
    assert_eq!(pair.times("SIP/2.0 481").len(), 1);
    assert!(pair.events(bob()).is_empty());
}
