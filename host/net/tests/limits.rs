//! What a peer that misbehaves costs, and whom.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_net::{FlowError, Limits};
use attache_sip::transport::Transport;
use bytes::Bytes;
use common::{V4, address, failed, message, node, node_with, received, send, while_running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Short enough for a test, long enough for a slow machine's loopback.
const SHORT: Duration = Duration::from_millis(300);

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // Either end of the stream will do: in good order, or with a reset.
    let _ = stream.read_to_end(&mut rest).await;
    true
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_its_connection_and_nobody_else_notices() {
    let mut one = node_with(Limits { max_queued_bytes: 256 * 1024, ..Limits::default() });
    let slow = TcpListener::bind(V4).await.unwrap();
    let remote = slow.local_addr().unwrap();
    let mut good = node(V4);
    let body = "x".repeat(50_000);
    send(&mut one, Transport::Tcp, remote, message("first", ""));
    let _unread = while_running(&mut one, slow.accept()).await.unwrap();
    // Loopback buffers several megabytes; this is more than any.
    let mut outcome = None;
    for number in 0..2000 {
        send(&mut one, Transport::Tcp, remote, message(&number.to_string(), &body));
        tokio::task::yield_now().await;
        if let Some(attache_net::Input::FlowFailed { reason, .. }) = one.try_recv() {
            outcome = Some(reason);
            break;
        }
    }
    assert_eq!(outcome, Some(FlowError::Overflow));
    send(&mut one, Transport::Tcp, address(&good, Transport::Tcp), message("fine", ""));
    assert_eq!(while_running(&mut one, received(&mut good)).await.1, message("fine", ""));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_for_too_long_fails_with_a_write_timeout() {
    let mut one = node_with(Limits { write_timeout: SHORT, max_queued_bytes: 64 << 20, ..Limits::default() });
    let slow = TcpListener::bind(V4).await.unwrap();
    let remote = slow.local_addr().unwrap();
    send(&mut one, Transport::Tcp, remote, message("first", ""));
    let _unread = while_running(&mut one, slow.accept()).await.unwrap();
    for number in 0..400 {
        send(&mut one, Transport::Tcp, remote, message(&number.to_string(), &"x".repeat(60_000)));
    }
    assert!(matches!(failed(&mut one).await.2, FlowError::WriteTimeout(_)));
}

#[tokio::test]
async fn garbage_costs_its_own_connection_only() {
    let mut one = node_with(Limits { max_garbage: 4, ..Limits::default() });
    let at = address(&one, Transport::Tcp);
    let mut good = TcpStream::connect(at).await.unwrap();
    let mut bad = TcpStream::connect(at).await.unwrap();
    good.write_all(&message("good", "")).await.unwrap();
    received(&mut one).await;
    bad.write_all(&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(6000)).await.unwrap();
    assert!(matches!(failed(&mut one).await.2, FlowError::Garbage(_)));
    good.write_all(&message("still good", "")).await.unwrap();
    assert_eq!(received(&mut one).await.1, message("still good", ""));
    assert_eq!(one.connection_count(), 1);
}

#[tokio::test]
async fn a_request_whose_end_is_unknown_is_refused_and_the_next_one_read() {
    let mut one = node(V4);
    let mut peer = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    let text = String::from_utf8(message("bad", "").to_vec()).unwrap();
    peer.write_all(text.replace("Content-Length: 0", "Content-Length: 1x").as_bytes()).await.unwrap();
    peer.write_all(&message("good", "")).await.unwrap();
    assert_eq!(received(&mut one).await.1, message("good", ""));
    let mut answer = [0; 15];
    while_running(&mut one, peer.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"SIP/2.0 400 Bad");
}

#[tokio::test]
async fn one_unreadable_message_does_not_end_a_connection() {
    let mut one = node(V4);
    let mut peer = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    peer.write_all(b"NOT SIP\r\nX: y\r\n\r\n").await.unwrap();
    peer.write_all(&message("good", "")).await.unwrap();
    // Whatever is made of the first, the second arrives.
    loop {
        if received(&mut one).await.1 == message("good", "") {
            break;
        }
    }
}

#[tokio::test]
async fn a_message_without_end_is_not_gathered() {
    let mut one = node(V4);
    let mut peer = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    let endless = tokio::spawn(async move { while peer.write_all(&[b'x'; 16 * 1024]).await.is_ok() {} });
    assert!(matches!(failed(&mut one).await.2, FlowError::Garbage(_)));
    endless.await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_never_finished_ends_its_connection() {
    let mut one = node_with(Limits { message_timeout: SHORT, ..Limits::default() });
    let mut peer = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    peer.write_all(&message("whole", "")).await.unwrap();
    received(&mut one).await;
    peer.write_all(b"MESSAGE sip:a@example.com SIP/2.0\r\nVia").await.unwrap();
    assert_eq!(failed(&mut one).await.2, FlowError::Idle);
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_shown_out() {
    let mut one = node_with(Limits { first_message_timeout: SHORT, ..Limits::default() });
    let mut peer = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    assert_eq!(failed(&mut one).await.2, FlowError::Idle);
    assert_eq!(one.connection_count(), 0);
    assert!(is_closed(&mut peer).await);
}

#[tokio::test]
async fn a_connection_that_is_idle_closes() {
    let mut one = node_with(Limits { idle_timeout: SHORT, ..Limits::default() });
    let mut two = node(V4);
    send(&mut one, Transport::Tcp, address(&two, Transport::Tcp), message("x", ""));
    received(&mut two).await;
    assert_eq!(failed(&mut one).await.2, FlowError::Idle);
    assert_eq!(failed(&mut two).await.2, FlowError::Closed);
}

#[tokio::test]
async fn one_host_gets_no_more_connections_than_it_may_have() {
    let limits = Limits { max_connections_per_host: 2, ..Limits::default() };
    let mut one = node_with(limits);
    let at = address(&one, Transport::Tcp);
    let mut first = TcpStream::connect(at).await.unwrap();
    let mut second = TcpStream::connect(at).await.unwrap();
    for stream in [&mut first, &mut second] {
        stream.write_all(&message("in", "")).await.unwrap();
        received(&mut one).await;
    }
    let mut third = TcpStream::connect(at).await.unwrap();
    while_running(&mut one, is_closed(&mut third)).await;
    send(&mut one, Transport::Tcp, "127.0.0.1:1".parse().unwrap(), message("out", ""));
    assert_eq!(failed(&mut one).await.2, FlowError::TooManyConnections);
    drop(first);
    failed(&mut one).await;
    let mut fourth = TcpStream::connect(at).await.unwrap();
    fourth.write_all(&message("room again", "")).await.unwrap();
    assert_eq!(received(&mut one).await.1, message("room again", ""));
}

#[tokio::test]
async fn a_reader_that_is_behind_makes_its_peers_wait_and_loses_nothing() {
    let mut one = node_with(Limits { max_received: 4, ..Limits::default() });
    let mut two = node(V4);
    let to = address(&one, Transport::Tcp);
    for number in 0..500 {
        send(&mut two, Transport::Tcp, to, message(&number.to_string(), "waits"));
    }
    for number in 0..500 {
        let (_, bytes) = while_running(&mut two, received(&mut one)).await;
        assert_eq!(bytes, message(&number.to_string(), "waits"));
    }
}

#[tokio::test]
async fn debug_output_shows_no_message() {
    let (mut one, mut two) = (node(V4), node(V4));
    send(&mut one, Transport::Udp, address(&two, Transport::Udp), Bytes::from_static(b"a secret"));
    let input = two.recv().await;
    assert!(!format!("{input:?}").contains("secret"));
}

#[tokio::test]
async fn strangers_leave_connections_for_those_of_our_own() {
    let limits = Limits { max_connections: 8, ..Limits::default() };
    let (mut one, mut other) = (node_with(limits), node(V4));
    let mut strangers = Vec::new();
    for _ in 0..10 {
        strangers.push(TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap());
        let _ = tokio::time::timeout(Duration::from_millis(20), one.recv()).await;
    }
    assert_eq!(one.connection_count(), 7);
    send(&mut one, Transport::Tcp, address(&other, Transport::Tcp), message("out", ""));
    assert_eq!(while_running(&mut one, received(&mut other)).await.1, message("out", ""));
}

#[tokio::test]
async fn garbage_between_good_messages_is_forgiven() {
    let mut one = node_with(Limits { max_garbage: 2, ..Limits::default() });
    let mut stream = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    for number in 0..6 {
        let garbage = "x\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(garbage.as_bytes()).await.unwrap();
        let good = message(&number.to_string(), "");
        stream.write_all(&good).await.unwrap();
        assert_eq!(received(&mut one).await.1, good);
    }
}
