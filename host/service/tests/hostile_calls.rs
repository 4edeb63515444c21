//! What strangers and users may send about calls and conferences without hurting anybody.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_msrp::{StreamId, StreamInput};
use attache_sip::endpoint::{Field, Request, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::transport::{Flow, FlowId, Transport};
use common::streams::{FACTORY, Streams, conference_config};
use common::{ALICE, BOB, CAROL, Net, SERVICE, status};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Values that some header or other has to be afraid of.
const NASTY: [&str; 20] = [
    "",
    "0",
    "-1",
    "4294967296",
    "99999999999999999999",
    "*",
    "<",
    "<>",
    "\"",
    "\u{fffd}\u{202e}",
    "<sip:>",
    "<sip:@>",
    "<sip:%zz@example.com>",
    "<tel:+1>;x",
    "<cid:x>",
    "<sip:bob@example.com;method=BREW>",
    "sip:bob@example.com;tag=",
    "a,b,c",
    ";;;===",
    "<sip:alice@[::1]:99999;lr>",
];

const HEADERS: [&str; 22] = [
    "Contact",
    "To",
    "From",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Max-Breadth",
    "Route",
    "Record-Route",
    "Via",
    "Privacy",
    "P-Preferred-Identity",
    "P-Asserted-Identity",
    "Proxy-Require",
    "Require",
    "Content-Type",
    "Content-Disposition",
    "Refer-To",
    "Refer-Sub",
    "Event",
    "Reason",
    "Subject",
];

fn net() -> (Net, Streams) {
    let mut config = conference_config();
    config.limits.free_attempts = 1_000_000;
    config.limits.conferences_per_user = 1_000_000;
    config.limits.calls_per_user = 1_000_000;
    let mut net = Net::with(config);
    for at in [ALICE, BOB, CAROL] {
        net.register(at, 3600);
    }
    net.client(BOB, |bob| bob.answer_with = 486);
    (net, Streams::default())
}

fn is_quiet(net: &mut Net) {
    net.run(4000);
    let statistics = net.core(|core, _| core.statistics());
    assert_eq!((statistics.forwards, statistics.conferences, statistics.relays), (0, 0, 0));
}

#[test]
fn nasty_values_in_calls_of_authenticated_users_break_nothing() {
    let (mut net, mut streams) = net();
    let (_, offer) = streams.offer(ALICE);
    let methods = [Method::Invite, Method::Refer, Method::Subscribe, Method::Message, Method::Info];
    for (method, uri) in methods.into_iter().flat_map(|one| [(one, "sip:bob@example.com"), (one, FACTORY)]) {
        for name in HEADERS {
            for value in NASTY {
                let mut request: Request = net.client(ALICE, |alice| {
                    let contact = alice.contact();
                    alice.request(method, uri).header(HeaderName::Contact, contact)
                });
                let field = Field::from(name);
                request.headers.retain(|(other, _)| *other != field);
                let request = request.header(field, value).body("application/sdp", offer.clone());
                net.start_with_digest(ALICE, request);
                net.run(1);
            }
        }
    }
    is_quiet(&mut net);
    assert_eq!(status(&net.register(BOB, 600)), 200);
}

#[test]
fn mutated_offers_to_the_factory_break_nothing() {
    let (mut net, mut streams) = net();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..300 {
        let (_, offer) = streams.offer(ALICE);
        let mut bytes = offer.into_bytes();
        for _ in 0..1 + rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % bytes.len();
            match rng.next_u32() % 4 {
                0 => bytes[at] = rng.next_u32() as u8,
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\r\n =:/*"[rng.next_u32() as usize % 7]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let invite = net.client(ALICE, |alice| {
            let contact = alice.contact();
            alice.request(Method::Invite, FACTORY).header(HeaderName::Contact, contact)
        });
        net.start_with_digest(ALICE, invite.body("application/sdp", bytes));
        net.run(1);
    }
    is_quiet(&mut net);
}

#[test]
fn strangers_on_the_port_for_messages_get_nothing_and_leave_nothing() {
    let (mut net, mut streams) = net();
    let seat = streams.join(&mut net, ALICE, FACTORY);
    let seeds = [
        "MSRP a786hjs2 SEND\r\nTo-Path: msrp://127.0.0.1:2855/guess;tcp\r\nFrom-Path: msrp://127.0.9.9:9/x;tcp\r\n\
         Message-ID: 1\r\nByte-Range: 1-5/5\r\nContent-Type: message/cpim\r\n\r\nhello\r\n-------a786hjs2$\r\n",
        "MSRP b786hjs2 NICKNAME\r\nTo-Path: msrp://127.0.0.1:2855/guess;tcp\r\nFrom-Path: msrp://127.0.9.9:9/x;tcp\r\n\
         Use-Nickname: \"x\"\r\n-------b786hjs2$\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    for number in 0..2_000_u64 {
        let mut bytes = seeds[number as usize % seeds.len()].as_bytes().to_vec();
        for _ in 0..rng.next_u32() % 5 {
            let at = rng.next_u32() as usize % bytes.len();
            bytes[at] = rng.next_u32() as u8;
        }
        let stream = StreamId::Theirs(1_000_000 + number);
        net.core(|core, now| {
            core.handle_stream(now, StreamInput::Accepted { stream, secure: false, certificate: None });
            core.handle_stream(now, StreamInput::Bytes { stream, bytes: bytes.into() });
        });
        if number % 100 == 0 {
            net.core(|core, now| while core.poll_stream(now).is_some() {});
        }
        net.core(|core, now| {
            core.handle_stream(now, StreamInput::Closed { stream, reason: "gone".into() });
        });
    }
    net.core(|core, now| while core.poll_stream(now).is_some() {});
    let bob = streams.join(&mut net, BOB, &seat.conference);
    streams.write(&mut net, &bob, "sip:bob@example.com", &seat.conference, "still here");
    streams.run(&mut net, 1);
    assert_eq!(streams.heard(ALICE), ["still here"]);
}

#[test]
fn calls_of_strangers_are_challenged_and_leave_nothing_behind() {
    let (mut net, _) = net();
    let flow = |number: u64| Flow {
        id: FlowId(5_000 + number),
        transport: Transport::Tcp,
        local: SERVICE.parse().unwrap(),
        remote: "127.0.7.7:5060".parse().unwrap(),
    };
    for number in 0..500 {
        let text = format!(
            "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.7.7;branch=z9hG4bKflood{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag={number}\r\nTo: <sip:bob@example.com>\r\n\
             Call-ID: {number}\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@127.0.7.7>\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = net.core(|core, now| {
            core.handle_input(now, flow(number), text.into());
            let answer = core.poll_transmit();
            while core.poll_transmit().is_some() {}
            answer
        });
        assert!(answer.unwrap().payload.starts_with(b"SIP/2.0 407"));
    }
    assert_eq!(net.core(|core, _| core.statistics().forwards), 0);
    assert!(net.received(BOB, Method::Invite).is_empty());
    is_quiet(&mut net);
}

#[test]
fn a_callee_cannot_send_an_answer_anywhere_but_back() {
    let (mut net, _) = net();
    net.client(BOB, |bob| bob.is_slow = true);
    net.ring(ALICE, "sip:bob@example.com", BOB);
    let before = net.sim.trace().len();
    // Via is what leads answers back: one that the callee has made up counts for nothing.
    let answer = Response::new(180).header(HeaderName::Via, "SIP/2.0/UDP 127.0.3.1;branch=z9hG4bKx");
    net.reply(BOB, &answer.header(HeaderName::RecordRoute, "<sip:127.0.3.1;lr>"));
    net.reply(BOB, &Response::new(486));
    net.run(5);
    let carol = CAROL.parse().unwrap();
    assert!(!net.sim.trace()[before..].iter().any(|packet| packet.to == carol));
    let with_it = |to: &str| {
        let to = to.parse().unwrap();
        let trace = &net.sim.trace()[before..];
        let has = |payload: &[u8]| payload.windows(8).any(|text| text == b"z9hG4bKx");
        trace.iter().any(|packet| packet.to == to && has(&packet.payload))
    };
    assert_eq!((with_it(SERVICE), with_it(ALICE)), (true, false));
    assert_eq!(status(&net.answer(ALICE).unwrap()), 486);
}
