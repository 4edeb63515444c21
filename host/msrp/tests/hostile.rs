//! What peers can send, and what comes of it.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::{Duration, Instant};

use attache_msrp::decoder::{Decoder, Frame};
use attache_msrp::{
    Failure, Limits, MsrpError, MsrpEvent, Outgoing, Receive, SessionParams, StreamId, StreamInput,
    StreamRequest,
};
use common::raw::{Raw, STREAM, chunk};

fn raw() -> Raw {
    Raw::new(Limits::default())
}

#[test]
fn every_request_gets_the_status_of_what_is_wrong_with_it() {
    let mut raw = raw();
    let params = SessionParams {
        accept_types: vec!["text/*".into()],
        max_size: Some(100),
        ..SessionParams::default()
    };
    let (_, own) = raw.session(params);
    let to = format!("To-Path: {own}\r\n");
    let from = "From-Path: msrp://alice:1/a;tcp\r\n";
    let unknown = "To-Path: msrp://bob:2855/nobody;tcp\r\n";
    let relayed = format!("To-Path: {own} msrp://carol:1/x;tcp\r\n");
    let secure = format!("To-Path: {}\r\n", own.as_str().replacen("msrp:", "msrps:", 1));
    let id = "Message-ID: m1\r\n";
    let end = "-------aaa1$\r\n";
    let text = "Content-Type: text/plain\r\n\r\nabcd\r\n";
    let cases = [
        ("SEND", format!("{to}{from}{id}{end}"), "200"),
        ("SEND", format!("{unknown}{from}{id}{end}"), "481"),
        ("SEND", format!("{relayed}{from}{id}{end}"), "481"),
        ("SEND", format!("{secure}{from}{id}{end}"), "481"),
        ("SEND", format!("{to}{from}{end}"), "400"),
        ("SEND", format!("{to}{from}{id}no header\r\n{end}"), "400"),
        ("SEND", format!("To-Path: nonsense\r\n{from}{id}{end}"), "400"),
        ("SEND", format!("{to}{from}{id}Byte-Range: 5-1/2\r\n{text}{end}"), "400"),
        ("SEND", format!("{to}{from}{id}Byte-Range: 1-2/2\r\n{text}{end}"), "400"),
        ("SEND", format!("{to}{from}{id}Byte-Range: 1-4/9\r\n{text}{end}"), "400"),
        ("SEND", format!("{to}{from}{id}Byte-Range: 1-4/101\r\n{text}-------aaa1+\r\n"), "413"),
        ("SEND", format!("{to}{from}{id}Byte-Range: 99-*/*\r\n{text}{end}"), "413"),
        ("SEND", format!("{to}{from}{id}Byte-Range: 18446744073709551615-*/*\r\n{text}{end}"), "400"),
        ("SEND", format!("{to}{from}{id}\r\nabc\r\n{end}"), "400"),
        ("SEND", format!("{to}{from}{id}Content-Type: image/png\r\n\r\nabcd\r\n{end}"), "415"),
        ("FETCH", format!("{to}{from}{end}"), "501"),
        ("AUTH", format!("{to}{from}{end}"), "501"),
        ("NICKNAME", format!("{to}{from}Use-Nickname: bare\r\n{end}"), "400"),
    ];
    for (method, rest, status) in cases {
        raw.bytes(format!("MSRP aaa1 {method}\r\n{rest}"));
        let answers = raw.answers();
        assert_eq!(answers, [format!("aaa1 {status}")[..7].to_owned()], "{method} {rest}");
        assert_eq!(raw.node.memory(), 0, "{method} {rest}");
        raw.events();
    }
}

#[test]
fn a_request_without_paths_is_not_answered() {
    let mut raw = raw();
    let (_, own) = raw.session(SessionParams::default());
    raw.bytes("MSRP aaa1 SEND\r\nFrom-Path: msrp://alice:1/a;tcp\r\nMessage-ID: 1\r\n-------aaa1$\r\n");
    raw.bytes(format!("MSRP aaa2 SEND\r\nTo-Path: {own}\r\nMessage-ID: 1\r\n-------aaa2$\r\n"));
    assert_eq!(raw.answers(), Vec::<String>::new());
}

#[test]
fn a_report_is_never_answered() {
    let mut raw = raw();
    let (_, own) = raw.session(SessionParams::default());
    for to in [own.as_str(), "msrp://bob:2855/nobody;tcp"] {
        raw.bytes(format!(
            "MSRP aaa1 REPORT\r\nTo-Path: {to}\r\nFrom-Path: msrp://alice:1/a;tcp\r\nMessage-ID: x\r\n\
             Byte-Range: 1-1/1\r\nStatus: 000 200 OK\r\n-------aaa1$\r\n"
        ));
    }
    assert_eq!(raw.answers(), Vec::<String>::new());
}

#[test]
fn a_second_connection_does_not_get_the_session() {
    let mut raw = raw();
    let (_, own) = raw.session(SessionParams::default());
    raw.bytes(chunk(&own, "aaa1", "Message-ID: 1\r\n", "first", '$'));
    assert_eq!(raw.messages().len(), 1);
    let second = StreamId::Theirs(2);
    raw.input(StreamInput::Accepted { stream: second, secure: false, certificate: None });
    raw.answers();
    raw.bytes_on(second, chunk(&own, "aaa2", "Message-ID: 2\r\n", "second", '$'));
    assert_eq!(raw.answers(), ["aaa2 50"]);
    assert!(raw.messages().is_empty());
}

#[test]
fn what_is_no_msrp_ends_the_connection_and_its_sessions() {
    for nonsense in ["HELO\r\n".to_owned(), format!("MSRP aaa1 SEND\r\nX: {}", "x".repeat(10_000))] {
        let mut raw = raw();
        let (id, own) = raw.session(SessionParams::default());
        raw.bytes(chunk(&own, "aaa1", "Message-ID: 1\r\n", "first", '$'));
        raw.events();
        raw.bytes(nonsense);
        assert_eq!(raw.asked, [StreamRequest::Close { stream: STREAM }]);
        assert!(matches!(
            raw.events()[..],
            [MsrpEvent::Disconnected { session, failure: Failure::NotMsrp }] if session == id
        ));
    }
}

#[test]
fn a_chunk_that_never_ends_is_refused_while_it_comes_and_holds_nothing() {
    let mut raw = raw();
    let (_, own) = raw.session(SessionParams { max_size: Some(20_000), ..SessionParams::default() });
    let begin = chunk(&own, "aaa1", "Message-ID: 1\r\nByte-Range: 1-*/*\r\n", "", '$');
    raw.bytes(&begin[..begin.len() - "\r\n-------aaa1$\r\n".len()]);
    for _ in 0..1000 {
        raw.bytes([b'x'; 10_000]);
        assert!(raw.node.memory() <= 20_000);
    }
    assert_eq!(raw.answers(), ["aaa1 41"]);
    assert_eq!(raw.node.memory(), 0);
    // It ends after all, broken off as the standard wants, and the next one is taken.
    raw.bytes("\r\n-------aaa1#\r\n");
    raw.bytes(chunk(&own, "aaa2", "Message-ID: 2\r\n", "next", '$'));
    assert_eq!(raw.messages(), ["next"]);
}

#[test]
fn of_a_refused_message_every_further_chunk_is_refused() {
    let mut raw = raw();
    let (_, own) = raw.session(SessionParams { max_size: Some(10), ..SessionParams::default() });
    raw.bytes(chunk(&own, "aaa1", "Message-ID: 1\r\nByte-Range: 1-4/*\r\n", "abcd", '+'));
    raw.bytes(chunk(&own, "aaa2", "Message-ID: 1\r\nByte-Range: 5-14/*\r\n", "0123456789", '+'));
    raw.bytes(chunk(&own, "aaa3", "Message-ID: 1\r\nByte-Range: 15-15/15\r\n", "x", '$'));
    assert_eq!(raw.answers(), ["aaa1 20", "aaa2 41", "aaa3 41"]);
    assert_eq!(raw.node.memory(), 0);
    // With its last chunk its name is free again.
    raw.bytes(chunk(&own, "aaa4", "Message-ID: 1\r\n", "anew", '$'));
    assert_eq!(raw.messages(), ["anew"]);
}

#[test]
fn thousands_of_open_messages_are_not_held() {
    let limits = Limits { incoming: 16, memory: 64 * 1024, ..Limits::default() };
    let mut raw = Raw::new(limits);
    let sessions: Vec<_> = (0..20).map(|_| raw.session(SessionParams::default()).1).collect();
    for number in 0..5000 {
        let own = &sessions[number % sessions.len()];
        let headers = format!("Message-ID: {number}\r\nByte-Range: 1-*/9000\r\n");
        raw.bytes(chunk(own, &format!("a{number}"), &headers, &"x".repeat(600), '+'));
        assert!(raw.node.memory() <= 64 * 1024);
    }
    assert!(raw.said.matches(" 413 ").count() > 4000);
    // Those that do not go on are given up.
    raw.wait(Duration::from_secs(301));
    assert_eq!(raw.node.memory(), 0);
}

#[test]
fn a_message_in_too_many_pieces_is_refused() {
    let mut raw = raw();
    let (_, own) = raw.session(SessionParams::default());
    for number in 0..100 {
        let start = number * 1000 + 1;
        let headers = format!("Message-ID: 1\r\nByte-Range: {start}-{start}/1000000\r\n");
        raw.bytes(chunk(&own, &format!("a{number}"), &headers, "x", '+'));
    }
    assert_eq!(raw.said.matches(" 413 ").count(), 36);
    assert_eq!(raw.node.memory(), 0);
}

#[test]
fn a_connection_that_names_no_session_is_closed() {
    let mut raw = raw();
    raw.bytes("MSRP slow SEND\r\n");
    for _ in 0..59 {
        raw.wait(Duration::from_secs(1));
        raw.bytes("X: y\r\n");
    }
    raw.wait(Duration::from_secs(2));
    assert_eq!(raw.asked, [StreamRequest::Close { stream: STREAM }]);
}

#[test]
fn a_peer_that_does_not_read_its_answers_is_not_read_either() {
    let mut raw = raw();
    raw.reads = false;
    let (_, own) = raw.session(SessionParams::default());
    let mut sent = 0;
    while raw.asked.is_empty() {
        raw.bytes(chunk(&own, "aaa1", &format!("Message-ID: {sent}\r\nByte-Range: 1-1/2\r\n"), "x", '#'));
        sent += 1;
        assert!(sent < 10_000, "somebody stops");
    }
    assert_eq!(raw.asked, [StreamRequest::Pause { stream: STREAM }]);
    // It reads again, and is read.
    raw.reads = true;
    raw.input(StreamInput::Written { stream: STREAM, bytes: usize::MAX });
    assert_eq!(raw.asked[1..], [StreamRequest::Resume { stream: STREAM }]);
    assert_eq!(raw.answers().len(), sent);
}

#[test]
fn messages_of_the_application_are_bounded_too() {
    let mut raw = Raw::new(Limits { outgoing: 8, outgoing_memory: 10_000, ..Limits::default() });
    let (id, _) = raw.session(SessionParams::default());
    let now = raw.now;
    let mut send = |size: usize| raw.node.send(now, id, Outgoing::new("text/plain", vec![b'x'; size]));
    assert!(send(9000).is_ok());
    assert!(send(2000).is_err());
    for _ in 0..7 {
        assert!(send(10).is_ok());
    }
    assert!(send(10).is_err());
    assert!(raw.node.send(now, id, Outgoing::new("text/plain\r\nX: y", "")).is_err());
}

#[test]
fn pieces_of_a_session_that_ends_are_forgotten() {
    let mut raw = raw();
    let (id, own) = raw.session(SessionParams { receive: Receive::Pieces, ..SessionParams::default() });
    raw.bytes(chunk(&own, "aaa1", "Message-ID: 1\r\nByte-Range: 1-5000/9000\r\n", &"x".repeat(5000), '+'));
    assert_eq!(raw.node.memory(), 5000);
    raw.node.close(raw.now, id);
    assert_eq!(raw.node.memory(), 0);
    assert!(matches!(raw.events().last(), Some(MsrpEvent::Aborted { failure: Failure::Cancelled, .. })));
}

#[test]
fn a_body_of_half_ends_takes_no_longer_than_others() {
    let body = "\r\n-------aaa1\r\n-------aaa1$\r\r\n-------aaa".repeat(100_000);
    let started = Instant::now();
    for piece in [1, 64, 1 << 16] {
        let mut decoder = Decoder::new(1024);
        decoder.push(b"MSRP aaa1 SEND\r\nContent-Type: a/b\r\n\r\n");
        let mut octets = 0;
        for bytes in body.as_bytes().chunks(piece) {
            decoder.push(bytes);
            while let Some(frame) = decoder.next() {
                octets += if let Ok(Frame::Body(bytes)) = frame { bytes.len() } else { 0 };
            }
        }
        assert!(octets + 8192 > body.len());
    }
    // Work that grows with the square would take hours.
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn messages_that_are_complete_leave_no_timers_behind() {
    let mut raw = raw();
    let (_, own) = raw.session(SessionParams::default());
    for n in 0..1000 {
        raw.bytes(chunk(&own, "aaa1", &format!("Message-ID: {n}\r\nByte-Range: 1-2/2\r\n"), "hi", '$'));
        assert_eq!(raw.messages().len(), 1);
        // Nor do those that are broken off.
        raw.bytes(chunk(&own, "aaa2", &format!("Message-ID: b{n}\r\nByte-Range: 1-2/4\r\n"), "hi", '#'));
    }
    // Those of the connection and of the session look once, and find everything in order.
    raw.wait(Duration::from_secs(61));
    assert_eq!(raw.node.poll_timeout(), None);
}

#[test]
fn reports_in_scattered_pieces_are_not_gathered_without_end() {
    let mut raw = Raw::new(Limits { gaps: 8, ..Limits::default() });
    let (id, own) = raw.session(SessionParams::default());
    raw.bytes(chunk(&own, "aaa1", "Message-ID: 1\r\n", "hi", '$'));
    raw.messages();
    let message = Outgoing { success_report: true, ..Outgoing::new("text/plain", "x".repeat(100)) };
    raw.said.clear();
    raw.node.send(raw.now, id, message).unwrap();
    raw.drain();
    let field = |name: &str| {
        let line = raw.said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().split(' ').next().unwrap().to_owned()
    };
    let (transaction, name) = (field("MSRP"), field("Message-ID:"));
    let answered = format!(
        "MSRP {transaction} 200 OK\r\nTo-Path: {own}\r\nFrom-Path: msrp://alice:1/a;tcp\r\n-------{transaction}$\r\n"
    );
    let report = |range: &str| {
        format!(
            "MSRP bbb1 REPORT\r\nTo-Path: {own}\r\nFrom-Path: msrp://alice:1/a;tcp\r\nMessage-ID: {name}\r\n\
             Byte-Range: {range}\r\nStatus: 000 200 OK\r\n-------bbb1$\r\n"
        )
    };
    raw.bytes(answered);
    let delivered =
        |raw: &mut Raw| raw.events().iter().any(|event| matches!(event, MsrpEvent::Delivered { .. }));
    // Every other octet, then those between: too many pieces at once to be counted.
    for octet in (1..=100).step_by(2).chain((2..=100).step_by(2)) {
        raw.bytes(report(&format!("{octet}-{octet}/100")));
    }
    assert!(!delivered(&mut raw));
    raw.bytes(report("1-100/100"));
    assert!(delivered(&mut raw));
}

#[test]
fn a_session_that_promises_encryption_is_spoken_over_no_other_connection() {
    let mut raw = raw();
    let id = raw.node.open(raw.now, SessionParams { secure: true, ..SessionParams::default() }).unwrap();
    let own = raw.node.local_path(id).unwrap().remove(0);
    let path = |scheme: &str| vec![format!("{scheme}://alice:1/a;tcp").parse().unwrap()];
    // Neither do we open one.
    let plain = common::peer(path("msrp"), attache_msrp::Role::Active);
    assert_eq!(raw.node.connect(raw.now, id, plain), Err(MsrpError::Malformed));
    let waited_for = common::peer(path("msrps"), attache_msrp::Role::Passive);
    raw.node.connect(raw.now, id, waited_for).unwrap();
    raw.bytes(chunk(&own, "aaa1", "Message-ID: 1\r\n", "hi", '$'));
    assert_eq!(raw.answers(), ["aaa1 40"]);
    assert!(raw.events().is_empty());
    let second = StreamId::Theirs(2);
    raw.input(StreamInput::Accepted { stream: second, secure: true, certificate: None });
    raw.bytes_on(second, chunk(&own, "aaa2", "Message-ID: 2\r\n", "hi", '$'));
    assert_eq!(raw.messages(), ["hi"]);
}
