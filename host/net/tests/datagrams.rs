//! UDP.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_net::{BindOptions, FlowError, Sockets};
use attache_sip::transport::{Destination, Transmit, Transport};
use bytes::Bytes;
use common::{V4, V6, address, failed, message, node, options, received, send};
use tokio::time::timeout;

#[tokio::test]
async fn a_datagram_arrives_with_where_it_came_from() {
    for at in [V4, V6] {
        let (mut one, mut two) = (node(at), node(at));
        let to = address(&two, Transport::Udp);
        send(&mut one, Transport::Udp, to, message("udp", "hello"));
        let (flow, bytes) = received(&mut two).await;
        assert_eq!(bytes, message("udp", "hello"));
        assert_eq!((flow.transport, flow.local), (Transport::Udp, to));
        assert_eq!(flow.remote, address(&one, Transport::Udp));
    }
}

#[tokio::test]
async fn an_answer_goes_back_over_the_flow_it_came_from() {
    let (mut one, mut two) = (node(V4), node(V4));
    let to = address(&two, Transport::Udp);
    send(&mut one, Transport::Udp, to, message("ask", ""));
    let (flow, _) = received(&mut two).await;
    two.send(Transmit {
        destination: flow.back(),
        flow: Some(flow.id),
        domain: None,
        payload: message("answer", ""),
    });
    assert_eq!(received(&mut one).await.1, message("answer", ""));
}

#[tokio::test]
async fn a_burst_is_taken_with_one_wait() {
    let (mut one, mut two) = (node(V4), node(V4));
    let to = address(&two, Transport::Udp);
    for number in 0..50 {
        send(&mut one, Transport::Udp, to, message(&number.to_string(), ""));
    }
    let mut seen = vec![received(&mut two).await.1];
    while let Some(attache_net::Input::Message { bytes, .. }) = two.try_recv() {
        seen.push(bytes);
    }
    let expected: Vec<_> = (0..50).map(|number| message(&number.to_string(), "")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_wait_that_is_dropped_loses_nothing() {
    let (mut one, mut two) = (node(V4), node(V4));
    let to = address(&two, Transport::Udp);
    for _ in 0..20 {
        assert!(timeout(Duration::from_millis(1), two.recv()).await.is_err());
    }
    send(&mut one, Transport::Udp, to, message("kept", ""));
    assert_eq!(received(&mut two).await.1, message("kept", ""));
}

#[tokio::test]
async fn both_transports_share_a_port_that_the_system_chose() {
    let node = node(V4);
    assert_eq!(address(&node, Transport::Udp), address(&node, Transport::Tcp));
    assert_ne!(address(&node, Transport::Udp).port(), 0);
}

#[tokio::test]
async fn both_address_families_have_their_own_sockets_on_wildcards() {
    let port = address(&node(V4), Transport::Udp).port();
    let addresses = vec![format!("0.0.0.0:{port}").parse().unwrap(), format!("[::]:{port}").parse().unwrap()];
    let mut two = Sockets::bind(BindOptions { addresses, ..BindOptions::default() }).unwrap();
    for (at, to) in [(V4, format!("127.0.0.1:{port}")), (V6, format!("[::1]:{port}"))] {
        let mut one = node(at);
        send(&mut one, Transport::Udp, to.parse().unwrap(), message("x", ""));
        assert_eq!(received(&mut two).await.0.remote, address(&one, Transport::Udp));
    }
}

#[tokio::test]
async fn a_datagram_to_a_family_without_a_socket_fails_at_once() {
    let mut one = node(V4);
    let remote = "[::1]:5060".parse().unwrap();
    send(&mut one, Transport::Udp, remote, message("x", ""));
    let (destination, _, reason) = failed(&mut one).await;
    assert_eq!(destination, Destination { transport: Transport::Udp, remote });
    assert_eq!(reason, FlowError::Unreachable);
}

#[tokio::test]
async fn a_message_that_no_datagram_can_hold_fails_alone() {
    let (mut one, two) = (node(V4), node(V4));
    let to = address(&two, Transport::Udp);
    send(&mut one, Transport::Udp, to, Bytes::from(vec![b'x'; 70_000]));
    let input = timeout(common::PATIENCE, one.recv()).await.unwrap();
    assert!(
        matches!(&input, attache_net::Input::NotSent { destination, reason: FlowError::TooLarge } if destination.remote == to),
        "{input:?}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let one = node(V4);
    let mut again = options(V4);
    again.addresses = vec![address(&one, Transport::Udp)];
    assert_eq!(Sockets::bind(again).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}
