//! Sessions and messages between two machines in a simulated network.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_msrp::sim::Network;
use attache_msrp::{
    Body, Failure, FailureReport, Limits, Msrp, MsrpError, MsrpEvent, Outgoing, Receive, Role, SessionParams,
};
use bytes::Bytes;
use common::{Pair, connect, node, octets, peer, pulled, text};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_message_arrives_and_is_answered_when_it_was_accepted() {
    let mut pair = Pair::new();
    let id = pair.send(text("Hi, Bob"));
    pair.net.run_for(seconds(1));
    assert!(pair.events("alice").is_empty(), "nothing is told before it was accepted");
    let got = pair.accept();
    assert_eq!((got[0].content_type.as_str(), &got[0].body[..]), ("text/plain", &b"Hi, Bob"[..]));
    pair.net.run_for(seconds(1));
    assert!(matches!(pair.events("alice")[..], [MsrpEvent::Sent { message, .. }] if message == id));
    assert_eq!((pair.memory("alice"), pair.memory("bob")), (0, 0));
}

#[test]
fn a_success_report_tells_that_all_has_arrived() {
    let mut pair = Pair::new();
    let id = pair.send(Outgoing { success_report: true, ..text(octets(0, 10_000)) });
    assert_eq!(pair.deliver()[0].body, octets(0, 10_000));
    let events = pair.events("alice");
    assert!(
        matches!(events[..], [MsrpEvent::Sent { .. }, MsrpEvent::Delivered { message, .. }] if message == id)
    );
}

#[test]
fn an_empty_message_is_one() {
    let mut pair = Pair::new();
    pair.send(Outgoing { success_report: true, ..text("") });
    assert_eq!(pair.deliver()[0].body.len(), 0);
    assert!(matches!(pair.events("alice")[..], [MsrpEvent::Sent { .. }, MsrpEvent::Delivered { .. }]));
}

#[test]
fn without_failure_reports_nothing_is_answered() {
    let mut pair = Pair::new();
    pair.send(Outgoing { failure_report: FailureReport::No, ..text(octets(0, 5000)) });
    pair.net.run_for(seconds(1));
    assert!(matches!(pair.events("alice")[..], [MsrpEvent::Sent { .. }]));
    assert_eq!(pair.accept().len(), 1);
    pair.net.run_for(seconds(120));
    assert!(pair.events("alice").is_empty());
}

#[test]
fn with_partial_failure_reports_errors_alone_are_answered() {
    let mut pair = Pair::with(
        Limits::default(),
        SessionParams { accept_types: vec!["text/*".into()], ..SessionParams::default() },
    );
    pair.events("alice");
    let partial = |content_type: &str| Outgoing {
        failure_report: FailureReport::Partial,
        ..Outgoing::new(content_type, "x")
    };
    pair.send(partial("text/html"));
    let refused = pair.send(partial("image/png"));
    assert_eq!(pair.deliver().len(), 1);
    let events = pair.events("alice");
    let [MsrpEvent::Sent { .. }, MsrpEvent::Sent { .. }, MsrpEvent::Failed { message, failure, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(*message, refused);
    assert!(matches!(failure, Failure::Status { status: 415, .. }));
    pair.net.run_for(seconds(60));
    assert!(pair.events("alice").is_empty());
}

#[test]
fn a_message_that_nobody_answers_fails_after_thirty_seconds() {
    let mut pair = Pair::new();
    let id = pair.send(text("Hi"));
    // Bob takes it in and never accepts it.
    pair.net.run_for(seconds(29));
    assert!(pair.events("alice").is_empty());
    pair.net.run_for(seconds(2));
    let events = pair.events("alice");
    assert!(
        matches!(&events[..], [MsrpEvent::Failed { message, failure: Failure::Timeout, .. }] if *message == id)
    );
}

#[test]
fn a_refused_message_fails_with_its_status() {
    let mut pair = Pair::new();
    pair.send(text("Hi"));
    pair.net.run_for(seconds(1));
    for event in pair.events("bob") {
        if let MsrpEvent::Message { message, .. } = event {
            pair.net.with("bob", |node: &mut Msrp, now| node.refuse(now, message.id, 403, "Not now"));
        }
    }
    pair.net.run_for(seconds(1));
    let events = pair.events("alice");
    let [MsrpEvent::Failed { failure: Failure::Status { status, comment }, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((*status, comment.as_str()), (403, "Not now"));
}

#[test]
fn small_messages_go_between_the_chunks_of_large_ones() {
    let mut pair = Pair::with(Limits { window: 8 * 1024, ..Limits::default() }, SessionParams::default());
    pair.net.set_latency(Duration::from_millis(20));
    pair.send(text(octets(0, 400_000)));
    pair.net.run_for(Duration::from_millis(100));
    pair.send(text("quick"));
    pair.send(text("and in order"));
    pair.send(text(octets(1, 200_000)));
    let got: Vec<_> = pair.deliver().into_iter().map(|message| message.body.len()).collect();
    assert_eq!(got[..2], [5, 12]);
    assert_eq!(got.len(), 4);
}

#[test]
fn two_large_messages_take_turns() {
    let mut pair = Pair::with(Limits { window: 8 * 1024, ..Limits::default() }, SessionParams::default());
    pair.send(text(octets(0, 300_000)));
    pair.send(text(octets(9, 50_000)));
    let got = pair.deliver();
    assert_eq!(got[0].body, octets(9, 50_000));
    assert_eq!(got[1].body, octets(0, 300_000));
}

#[test]
fn a_message_that_is_too_large_is_stopped_and_broken_off() {
    let mut pair = Pair::with(
        Limits { window: 8 * 1024, ..Limits::default() },
        SessionParams { max_size: Some(50_000), ..SessionParams::default() },
    );
    pair.events("alice");
    pair.events("bob");
    let before = pair.net.octets_carried();
    pair.send(text(octets(0, 2_000_000)));
    pair.net.run_for(seconds(5));
    let events = pair.events("alice");
    assert!(
        matches!(&events[..], [MsrpEvent::Failed { failure: Failure::Status { status: 413, .. }, .. }]),
        "{events:?}"
    );
    assert!(pair.net.octets_carried() - before < 100_000, "the rest is not sent");
    // The session goes on.
    pair.send(text("small"));
    assert_eq!(pair.deliver().len(), 1);
    assert_eq!((pair.memory("alice"), pair.memory("bob")), (0, 0));
}

#[test]
fn what_the_peer_would_not_take_is_not_begun() {
    let mut net = Network::new(1);
    net.add("alice", node("alice", Limits::default()));
    let error = net.with("alice", |node: &mut Msrp, now| {
        let session = node.open(now, SessionParams::default()).unwrap();
        let path = vec!["msrp://bob:2855/x;tcp".parse().unwrap()];
        let described = attache_msrp::Peer { max_size: Some(10), ..peer(path, Role::Active) };
        node.connect(now, session, described).unwrap();
        node.send(now, session, text("more than ten octets")).unwrap_err()
    });
    assert_eq!(error, MsrpError::TooLarge);
}

#[test]
fn a_cancelled_message_is_broken_off_and_forgotten_by_both() {
    let mut pair = Pair::with(
        Limits { window: 8 * 1024, ..Limits::default() },
        SessionParams { receive: Receive::Pieces, ..SessionParams::default() },
    );
    pair.events("alice");
    pair.events("bob");
    let id = pair.send(text(octets(0, 1_000_000)));
    pair.net.run_for(Duration::from_millis(30));
    pair.net.with("alice", |node: &mut Msrp, now| node.cancel(now, id));
    pair.net.run_for(seconds(1));
    let events = pair.events("alice");
    assert!(matches!(events[..], [MsrpEvent::Failed { failure: Failure::Cancelled, .. }]), "{events:?}");
    let events = pair.events("bob");
    assert!(matches!(events.first(), Some(MsrpEvent::Begun { total: Some(1_000_000), .. })));
    assert!(
        matches!(events.last(), Some(MsrpEvent::Aborted { failure: Failure::Aborted, .. })),
        "{events:?}"
    );
    assert_eq!((pair.memory("alice"), pair.memory("bob")), (0, 0));
}

#[test]
fn a_message_waits_for_the_connection_of_its_session() {
    let mut net = Network::new(3);
    net.add("alice", node("alice", Limits::default()));
    net.add("bob", node("bob", Limits::default()));
    let (alice, offered) = net.with("alice", |node: &mut Msrp, now| {
        let session = node.open(now, SessionParams::default()).unwrap();
        node.send(now, session, text("first")).unwrap();
        (session, node.local_path(session).unwrap())
    });
    // Bob connects and speaks before his answer is here.
    let (bob, answered) = net.with("bob", |node: &mut Msrp, now| {
        let session = node.open(now, SessionParams::default()).unwrap();
        node.connect(now, session, peer(offered, Role::Active)).unwrap();
        node.send(now, session, text("early")).unwrap();
        (session, node.local_path(session).unwrap())
    });
    net.run_for(seconds(1));
    let mut pair = Pair { net, alice, bob };
    assert!(matches!(pair.events("alice")[..], [MsrpEvent::Message { .. }]));
    assert_eq!(pair.accept().len(), 0);
    pair.net.with("alice", |node: &mut Msrp, now| {
        node.connect(now, alice, peer(answered, Role::Passive)).unwrap();
    });
    assert_eq!(pair.deliver()[0].body, "first");
    assert_eq!(pair.net.connections_opened(), 1);
}

#[test]
fn sessions_between_the_same_nodes_share_a_connection() {
    let mut pair = Pair::new();
    let second = connect(&mut pair.net, [SessionParams::default(), SessionParams::default()]);
    pair.send(text("one"));
    let session = second.0;
    pair.net.with("alice", |node: &mut Msrp, now| node.send(now, session, text("two")).unwrap());
    assert_eq!(pair.deliver().len(), 2);
    assert_eq!(pair.net.connections_opened(), 1);
    // One of them ends; the other goes on.
    let (first, last) = (pair.alice, second.0);
    pair.net.with("alice", |node: &mut Msrp, now| node.close(now, first));
    pair.net.run_for(seconds(120));
    pair.net.with("alice", |node: &mut Msrp, now| node.send(now, last, text("three")).unwrap());
    assert_eq!(pair.deliver().len(), 1);
}

#[test]
fn a_connection_of_no_session_is_closed() {
    let mut pair = Pair::new();
    let session = pair.alice;
    pair.net.with("alice", |node: &mut Msrp, now| node.close(now, session));
    pair.net.run_for(seconds(20));
    assert!(pair.events("bob").is_empty());
    pair.net.run_for(seconds(20));
    assert!(matches!(pair.events("bob")[..], [MsrpEvent::Disconnected { .. }]));
}

#[test]
fn a_session_fails_with_its_connection_and_so_do_its_messages() {
    let mut pair = Pair::new();
    let id = pair.send(text("Hi"));
    pair.net.break_connections("bob");
    let events = pair.events("alice");
    let [MsrpEvent::Failed { message, .. }, MsrpEvent::Disconnected { session, failure }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*message, *session), (id, pair.alice));
    assert_eq!(*failure, Failure::Connection("connection reset".into()));
    assert_eq!(pair.memory("alice"), 0);
}

#[test]
fn a_session_whose_peer_cannot_be_reached_says_so() {
    let mut net = Network::new(3);
    net.add("alice", node("alice", Limits::default()));
    let session = net.with("alice", |node: &mut Msrp, now| {
        let session = node.open(now, SessionParams::default()).unwrap();
        let path = vec!["msrp://nobody:2855/x;tcp".parse().unwrap()];
        node.connect(now, session, peer(path, Role::Active)).unwrap();
        session
    });
    net.run_for(seconds(1));
    let mut pair = Pair { net, alice: session, bob: session };
    assert!(matches!(
        &pair.events("alice")[..],
        [MsrpEvent::Disconnected { failure: Failure::Connection(reason), .. }] if reason == "connection refused"
    ));
}

#[test]
fn a_peer_that_does_not_connect_is_given_up() {
    let mut net = Network::new(3);
    net.add("bob", node("bob", Limits::default()));
    net.with("bob", |node: &mut Msrp, now| {
        let session = node.open(now, SessionParams::default()).unwrap();
        let path = vec!["msrp://alice:2855/x;tcp".parse().unwrap()];
        node.connect(now, session, peer(path, Role::Passive)).unwrap();
    });
    net.run_for(seconds(61));
    let event = net.with("bob", |node: &mut Msrp, _| node.poll_event());
    assert!(matches!(event, Some(MsrpEvent::Disconnected { failure: Failure::NotConnected, .. })));
}

#[test]
fn an_unknown_session_is_refused_and_ends_ours() {
    let mut pair = Pair::new();
    let session = pair.bob;
    pair.net.with("bob", |node: &mut Msrp, now| node.close(now, session));
    pair.send(text("anybody?"));
    pair.net.run_for(seconds(1));
    let events = pair.events("alice");
    assert!(matches!(
        &events[..],
        [
            MsrpEvent::Failed { failure: Failure::Status { status: 481, .. }, .. },
            MsrpEvent::Disconnected { failure: Failure::Status { status: 481, .. }, .. }
        ]
    ));
}

#[test]
fn a_file_is_asked_for_as_it_is_sent_and_given_out_as_it_comes() {
    const TOTAL: usize = 3_000_000;
    let mut pair =
        Pair::with(Limits::default(), SessionParams { receive: Receive::Pieces, ..SessionParams::default() });
    pair.events("alice");
    pair.send(Outgoing { success_report: true, ..pulled(TOTAL as u64) });
    let (mut file, mut most, mut end) = (vec![0; TOTAL], 0, Vec::new());
    for _ in 0..4000 {
        pair.net.run_for(Duration::from_millis(5));
        for event in pair.events("alice") {
            match event {
                MsrpEvent::Wanted { message, offset, length, .. } => {
                    let bytes = octets(offset, length);
                    pair.net.with("alice", |node: &mut Msrp, _| node.supply(message, bytes).unwrap());
                }
                other => end.push(other),
            }
        }
        most = most.max(pair.memory("alice")).max(pair.memory("bob"));
        for event in pair.events("bob") {
            match event {
                MsrpEvent::Piece { message, offset, bytes, .. } => {
                    let at = usize::try_from(offset).unwrap();
                    file[at..at + bytes.0.len()].copy_from_slice(&bytes.0);
                    pair.net.with("bob", |node: &mut Msrp, _| node.taken(message, bytes.0.len()));
                }
                MsrpEvent::Complete { message, total, .. } => {
                    assert_eq!(total, TOTAL as u64);
                    pair.net.with("bob", |node: &mut Msrp, now| node.accept(now, message));
                }
                _ => {}
            }
        }
        if end.len() == 2 {
            break;
        }
    }
    assert!(matches!(end[..], [MsrpEvent::Sent { .. }, MsrpEvent::Delivered { .. }]), "{end:?}");
    assert_eq!(Bytes::from(file), octets(0, TOTAL));
    assert!(most < 256 * 1024, "{most} octets were held");
}

#[test]
fn who_does_not_work_off_pieces_makes_the_sender_wait() {
    let limits = Limits { untaken: 64 * 1024, ..Limits::default() };
    let mut pair = Pair::with(limits, SessionParams { receive: Receive::Pieces, ..SessionParams::default() });
    pair.send(text(octets(0, 2_000_000)));
    pair.net.run_for(seconds(10));
    let held = pair.memory("bob");
    assert!((64 * 1024..256 * 1024).contains(&held), "{held}");
    let (mut message, mut count) = (None, 0);
    for _ in 0..200 {
        for event in pair.events("bob") {
            if let MsrpEvent::Piece { message: id, bytes, .. } = event {
                message = Some(id);
                count += bytes.0.len();
                pair.net.with("bob", |node: &mut Msrp, _| node.taken(id, bytes.0.len()));
            }
        }
        pair.net.run_for(Duration::from_millis(20));
    }
    assert!(message.is_some());
    assert_eq!(count, 2_000_000);
}

#[test]
fn a_file_is_resumed_behind_what_is_there() {
    let params = SessionParams { receive: Receive::Pieces, resume_from: 4000, ..SessionParams::default() };
    let mut pair = Pair::with(Limits::default(), params);
    pair.events("alice");
    pair.events("bob");
    let body = Body::Pulled { total: 10_000, from: 4000 };
    pair.send(Outgoing { body, success_report: true, ..text("") });
    pair.net.run_for(seconds(1));
    let events = pair.events("alice");
    let [MsrpEvent::Wanted { message, offset: 4000, length: 6000, .. }] = events[..] else {
        panic!("{events:?}")
    };
    pair.net.with("alice", |node: &mut Msrp, _| node.supply(message, octets(4000, 6000)).unwrap());
    pair.net.run_for(seconds(1));
    let mut got = Vec::new();
    for event in pair.events("bob") {
        match event {
            MsrpEvent::Piece { offset, bytes, .. } => got.push((offset, bytes.0)),
            MsrpEvent::Complete { message, total: 10_000, .. } => {
                pair.net.with("bob", |node: &mut Msrp, now| node.accept(now, message));
            }
            _ => {}
        }
    }
    assert_eq!(got[0].0, 4000);
    assert_eq!(got.into_iter().flat_map(|(_, bytes)| bytes).collect::<Bytes>(), octets(4000, 6000));
    pair.net.run_for(seconds(1));
    assert!(matches!(pair.events("alice")[..], [MsrpEvent::Sent { .. }, MsrpEvent::Delivered { .. }]));
}

#[test]
fn a_name_in_a_chat_room_is_granted_or_not() {
    let mut pair = Pair::new();
    let session = pair.alice;
    for (name, status) in [("Al \"the\\ king\" Ü", 200), ("Taken", 425), ("", 200)] {
        let asked =
            pair.net.with("alice", |node: &mut Msrp, now| node.set_nickname(now, session, name).unwrap());
        pair.net.run_for(seconds(1));
        let events = pair.events("bob");
        let [MsrpEvent::Nickname { request, name: wanted, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(wanted, name);
        let request = *request;
        pair.net.with("bob", |node: &mut Msrp, now| node.answer_nickname(now, request, status));
        pair.net.run_for(seconds(1));
        let events = pair.events("alice");
        let [MsrpEvent::NicknameAnswered { request, outcome, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(*request, asked);
        match outcome {
            Ok(()) => assert_eq!(status, 200),
            Err(Failure::Status { status: told, .. }) => assert_eq!(*told, status),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_burst_that_is_accepted_slowly_waits_and_is_not_refused() {
    let mut pair = Pair::new();
    for number in 0..200 {
        pair.send(text(number.to_string()));
    }
    pair.net.run_for(seconds(2));
    let got: Vec<_> = pair.deliver().into_iter().map(|message| message.body).collect();
    assert_eq!(got, (0..200).map(|number: u32| Bytes::from(number.to_string())).collect::<Vec<_>>());
    let events = pair.events("alice");
    assert!(events.iter().all(|event| matches!(event, MsrpEvent::Sent { .. })), "{events:?}");
    assert_eq!(events.len(), 200);
}

#[test]
fn texts_and_sessions_do_not_show_in_debug_output() {
    let mut pair = Pair::new();
    pair.send(text("a secret"));
    pair.net.run_for(seconds(1));
    let events = pair.events("bob");
    let alice = pair.alice;
    let path = pair.net.with("alice", |node: &mut Msrp, _| node.local_path(alice).unwrap());
    let shown = format!("{events:?} {:?} {:?} {path:?}", text("a secret"), Pair::new().alice);
    assert!(!shown.contains("secret") && !shown.contains(path[0].session().unwrap()), "{shown}");
}

#[test]
fn a_run_is_the_same_for_the_same_seed() {
    let run = || {
        let mut pair = Pair::new();
        pair.net.set_piece(700);
        pair.send(Outgoing { success_report: true, ..text(octets(0, 30_000)) });
        pair.deliver();
        (pair.net.octets_carried(), format!("{:?}", pair.events("alice")))
    };
    assert_eq!(run(), run());
}
