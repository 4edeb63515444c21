//! The codec against rsip 0.4.0, in one run: parse, parse and dispatch, serialise, and the allocations of each.
//!
//! Two messages of a signed-in evening: a NOTIFY of 1,214 octets with PIDF and RPID, and a MESSAGE of 513 octets. "Dispatch" reads what a
//! transaction layer needs: the top Via's branch, the tags of From and To, Call-ID and CSeq.
//!
//! The run fails when parsing is not at least 5 times, or parsing with dispatch not at least 4.6 times as fast as rsip on the NOTIFY,
//! or when a parse takes more than 2 allocations.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what the codec replaces is measured against it"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use attache_benches::{Effort, Subject, measure};
use attache_sip::build::RequestBuilder;
use attache_sip::message::{HeaderName, Message};
use bytes::Bytes;
use rsip::message::HasHeaders;
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};

const PIDF: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:bob@example.com">
<tuple id="t1a2b3c"><status><basic>open</basic></status><contact priority="0.8">sip:bob@192.0.2.4:5060</contact><note>In a review until four</note><timestamp>2026-01-31T09:00:00Z</timestamp></tuple>
<dm:person id="p1"><rpid:activities><rpid:meeting/></rpid:activities><dm:note>In a review</dm:note></dm:person>
</presence>
"#;

/// A message with its Content-Length counted and `Subject` padded until it is `size` octets long.
fn message(start_and_headers: &str, body: &str, size: usize) -> Vec<u8> {
    let build = |padding: usize| {
        let subject = "x".repeat(padding);
        let head = start_and_headers.replace("{subject}", &subject).replace('\n', "\r\n");
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let shortest = build(0).len();
    assert!(shortest <= size, "the message is {} octets too long", shortest - size);
    let message = build(size - shortest).into_bytes();
    assert_eq!(message.len(), size);
    message
}

fn notify() -> Vec<u8> {
    let head = "\
NOTIFY sip:alice@192.0.2.1:5060;transport=udp SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK74bf9e8d1c.2f91a6b7;rport
Max-Forwards: 70
From: <sip:bob@example.com>;tag=a6c85cf-{subject}
To: \"Alice\" <sip:alice@example.com>;tag=1928301774
Call-ID: a84b4c76e66710d09cbe2e1f@192.0.2.1
CSeq: 314159 NOTIFY
Contact: <sip:192.0.2.10:5060;transport=udp>
Event: presence
Subscription-State: active;expires=3599
Allow-Events: presence, presence.winfo, message-summary
User-Agent: Example Presence Server/5.6
Content-Type: application/pidf+xml
";
    message(head, PIDF, 1_214)
}

fn instant_message() -> Vec<u8> {
    let head = "\
MESSAGE sip:alice@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK776asdhds;rport
Max-Forwards: 70
From: \"Bob\" <sip:bob@example.com>;tag=49583
To: <sip:alice@example.com>;tag=88d0f
Call-ID: 0f3c6a52-{subject}@192.0.2.4
CSeq: 1 MESSAGE
User-Agent: Example Client/1.0
Date: Sat, 31 Jan 2026 09:00:00 GMT
Content-Type: text/plain;charset=UTF-8
";
    message(head, "The review is at three; bring the second draft, please.", 513)
}

fn parse(wire: &[u8]) -> Message {
    // The copy out of the socket's buffer is part of the price.
    Message::parse(Bytes::copy_from_slice(wire)).expect("the message is valid")
}

fn dispatch(message: &Message) -> usize {
    let via = message.top_via().expect("a via");
    let branch = via.branch().expect("a branch");
    let from = message.from().expect("from");
    let to = message.to().expect("to");
    let (from, to) = (from.tag().expect("a tag"), to.tag().expect("a tag"));
    let call_id = message.call_id().expect("call-id");
    let cseq = message.cseq().expect("cseq");
    branch.len() + from.len() + to.len() + call_id.len() + cseq.number as usize + cseq.method.as_str().len()
}

fn rebuild(message: &Message) -> Bytes {
    let method = message.method().expect("a request");
    let uri = std::str::from_utf8(message.request_uri_bytes()).expect("an address");
    let mut builder = RequestBuilder::new(&method, uri);
    for (name, id, value) in message.all() {
        builder = match id {
            HeaderName::Other => builder.row(name, value),
            id => builder.header_bytes(id, value),
        };
    }
    builder.body("", message.body_bytes()).finish().expect("it was valid before")
}

fn rsip_parse(wire: &[u8]) -> rsip::Request {
    rsip::Request::try_from(wire).expect("rsip reads it")
}

fn rsip_dispatch(request: &rsip::Request) -> usize {
    let via = request.via_header().expect("a via").typed().expect("rsip reads it");
    let branch = via.branch().expect("a branch");
    let from = request.from_header().expect("from").typed().expect("rsip reads it");
    let to = request.to_header().expect("to").typed().expect("rsip reads it");
    let (from, to) = (from.tag().expect("a tag"), to.tag().expect("a tag"));
    let call_id = request.call_id_header().expect("call-id");
    let cseq = request.cseq_header().expect("cseq").typed().expect("rsip reads it");
    let method = cseq.method as usize;
    branch.to_string().len()
        + from.to_string().len()
        + to.to_string().len()
        + call_id.value().len()
        + cseq.seq as usize
        + method
}

fn allocations<T>(step: impl FnOnce() -> T) -> u64 {
    allocation_counter::measure(|| {
        black_box(step());
    })
    .count_total
}

struct Outcome {
    parse: f64,
    dispatch: f64,
    allocations: u64,
}

fn run(title: &str, wire: &[u8], effort: Effort) -> Outcome {
    let ours = parse(wire);
    let theirs = rsip_parse(wire);
    assert_eq!(ours.all().len(), theirs.headers().iter().count());
    assert_eq!(rebuild(&ours).len(), wire.len());

    let parse_allocations = allocations(|| parse(wire));
    let dispatch_allocations = allocations(|| dispatch(&ours));
    let rebuild_allocations = allocations(|| rebuild(&ours));
    let their_parse = allocations(|| rsip_parse(wire));
    let their_dispatch = allocations(|| rsip_dispatch(&theirs));
    let their_print = allocations(|| theirs.to_string());

    let mut subjects = [
        Subject::new("parse", || parse(wire)),
        Subject::new("parse, rsip", || rsip_parse(wire)),
        Subject::new("parse + dispatch", || dispatch(&parse(wire))),
        Subject::new("parse + dispatch, rsip", || rsip_dispatch(&rsip_parse(wire))),
        Subject::new("serialise", || rebuild(&ours)),
        Subject::new("serialise, rsip", || theirs.to_string()),
    ];
    let times = measure(&mut subjects, effort);
    let nanos = |i: usize| times[i].as_nanos();
    let ratio = |i: usize| times[i + 1].as_secs_f64() / times[i].max(Duration::from_nanos(1)).as_secs_f64();

    println!("{title}, {} octets", wire.len());
    println!("  {:<18}{:>10}{:>12}{:>9}   allocations", "", "attache", "rsip 0.4.0", "ratio");
    for (row, name, own, their) in [
        (0, "parse", parse_allocations, their_parse),
        (2, "parse + dispatch", parse_allocations + dispatch_allocations, their_parse + their_dispatch),
        (4, "serialise", rebuild_allocations, their_print),
    ] {
        println!(
            "  {name:<18}{:>7} ns{:>9} ns{:>8.1}x   {own} against {their}",
            nanos(row),
            nanos(row + 1),
            ratio(row)
        );
    }
    Outcome { parse: ratio(0), dispatch: ratio(2), allocations: parse_allocations + dispatch_allocations }
}

fn main() -> ExitCode {
    let effort = Effort::from_args(400);
    let notify = run("NOTIFY", &notify(), effort);
    let message = run("MESSAGE", &instant_message(), effort);
    let mut failed = false;
    let mut demand = |met: bool, what: &str| {
        if !met {
            eprintln!("not met: {what}");
            failed = true;
        }
    };
    demand(notify.allocations <= 2 && message.allocations <= 2, "at most 2 allocations a parse");
    if !effort.is_test() {
        demand(notify.parse >= 5.0, "NOTIFY parsed 5 times as fast as by rsip");
        demand(notify.dispatch >= 4.6, "NOTIFY parsed and dispatched 4.6 times as fast as by rsip");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
