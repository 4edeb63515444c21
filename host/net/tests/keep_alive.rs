//! Keep-alives of RFC 5626, section 4.4.1.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_net::{BindOptions, FlowError, KeepAlive, Limits, Sockets};
use attache_sip::transport::{FlowId, Transport};
use bytes::Bytes;
use common::{
    PATIENCE, V4, address, failed, message, node, node_with, options, received, send, while_running,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

fn pinging(interval: Duration, pong_timeout: Duration) -> Sockets {
    let limits = Limits { pong_timeout, ..Limits::default() };
    Sockets::bind(BindOptions { keep_alive: Some(interval), limits, ..options(V4) }).unwrap()
}

/// Connects `one` to a peer that is driven by hand, and reads away the message that made it connect.
async fn connected(one: &mut Sockets) -> TcpStream {
    let peer = TcpListener::bind(V4).await.unwrap();
    send(one, Transport::Tcp, peer.local_addr().unwrap(), message("x", ""));
    let (mut stream, _) = while_running(one, peer.accept()).await.unwrap();
    let mut bytes = vec![0; message("x", "").len()];
    while_running(one, stream.read_exact(&mut bytes)).await.unwrap();
    stream
}

async fn expect(stream: &mut TcpStream, what: &[u8]) {
    let mut bytes = vec![0; what.len()];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("it comes in time").unwrap();
    assert_eq!(bytes, what);
}

#[tokio::test]
async fn a_ping_is_answered() {
    let mut one = node(V4);
    let mut peer = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    peer.write_all(b"\r\n\r\n").await.unwrap();
    while_running(&mut one, expect(&mut peer, b"\r\n")).await;
}

#[tokio::test]
async fn a_connection_of_our_own_is_pinged() {
    let mut one = pinging(Duration::from_millis(50), Duration::from_secs(5));
    let mut peer = connected(&mut one).await;
    while_running(&mut one, async {
        for _ in 0..3 {
            expect(&mut peer, b"\r\n\r\n").await;
            peer.write_all(b"\r\n").await.unwrap();
        }
    })
    .await;
    assert_eq!(one.connection_count(), 1);
}

#[tokio::test]
async fn a_peer_that_stops_answering_pings_fails() {
    let mut one = pinging(Duration::from_millis(50), Duration::from_millis(300));
    let mut peer = connected(&mut one).await;
    while_running(&mut one, expect(&mut peer, b"\r\n\r\n")).await;
    peer.write_all(b"\r\n").await.unwrap();
    assert!(matches!(failed(&mut one).await.2, FlowError::KeepAliveTimeout(_)));
}

#[tokio::test]
async fn a_peer_that_never_answered_a_ping_is_left_alone() {
    let mut one = pinging(Duration::from_millis(30), Duration::from_millis(60));
    let mut peer = connected(&mut one).await;
    while_running(&mut one, async {
        for _ in 0..8 {
            expect(&mut peer, b"\r\n\r\n").await;
        }
    })
    .await;
    assert_eq!(one.connection_count(), 1);
}

/// Connects to a node that sends no pings of its own accord, and names the flow.
async fn accepted(one: &mut Sockets) -> (TcpStream, FlowId) {
    let mut peer = TcpStream::connect(address(one, Transport::Tcp)).await.unwrap();
    peer.write_all(&message("x", "")).await.unwrap();
    let (flow, _) = received(one).await;
    (peer, flow.id)
}

fn strict(interval: Duration) -> Option<KeepAlive> {
    Some(KeepAlive { interval, must_be_answered: true })
}

#[tokio::test]
async fn a_flow_whose_peer_has_agreed_to_answer_fails_when_it_does_not() {
    let mut one = node_with(Limits { pong_timeout: Duration::from_millis(200), ..Limits::default() });
    let (mut peer, flow) = accepted(&mut one).await;
    one.set_keep_alive(flow, strict(Duration::from_millis(50)));
    while_running(&mut one, expect(&mut peer, b"\r\n\r\n")).await;
    assert!(matches!(failed(&mut one).await.2, FlowError::KeepAliveTimeout(_)));
}

#[tokio::test]
async fn a_ping_of_the_machine_must_be_answered() {
    let mut one = node_with(Limits { pong_timeout: Duration::from_millis(200), ..Limits::default() });
    let (mut peer, _) = accepted(&mut one).await;
    let remote = peer.local_addr().unwrap();
    let ping = || Bytes::from_static(b"\r\n\r\n");
    send(&mut one, Transport::Tcp, remote, ping());
    while_running(&mut one, expect(&mut peer, &ping())).await;
    peer.write_all(b"\r\n").await.unwrap();
    // What comes behind the answer shows that it was taken.
    peer.write_all(&message("y", "")).await.unwrap();
    assert_eq!(received(&mut one).await.1, message("y", ""));
    send(&mut one, Transport::Tcp, remote, ping());
    while_running(&mut one, expect(&mut peer, &ping())).await;
    assert!(matches!(failed(&mut one).await.2, FlowError::KeepAliveTimeout(_)));
}

#[tokio::test]
async fn the_interval_of_a_flow_changes_while_it_lives() {
    let mut one = node(V4);
    let (mut peer, flow) = accepted(&mut one).await;
    one.set_keep_alive(flow, strict(Duration::from_secs(3600)));
    one.set_keep_alive(flow, strict(Duration::from_millis(50)));
    while_running(&mut one, async {
        for _ in 0..2 {
            expect(&mut peer, b"\r\n\r\n").await;
            peer.write_all(b"\r\n").await.unwrap();
        }
    })
    .await;
    one.set_keep_alive(flow, None);
    assert_eq!(one.connection_count(), 1);
}

#[tokio::test]
async fn a_ping_is_answered_within_ten_seconds_unless_the_limits_say_otherwise() {
    assert_eq!(Limits::default().pong_timeout, Duration::from_secs(10));
}
