//! TCP: connections that are opened, found again, and end.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_net::{BindOptions, FlowError, Sockets};
use attache_sip::transport::{Destination, Transmit, Transport};
use common::{PATIENCE, V4, V6, address, failed, message, node, received, send, while_running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn messages_arrive_in_order_and_whole() {
    for at in [V4, V6] {
        let (mut one, mut two) = (node(at), node(at));
        let to = address(&two, Transport::Tcp);
        for number in 0..200 {
            send(&mut one, Transport::Tcp, to, message(&number.to_string(), &"body ".repeat(number)));
        }
        for number in 0..200 {
            let (flow, bytes) = while_running(&mut one, received(&mut two)).await;
            assert_eq!(bytes, message(&number.to_string(), &"body ".repeat(number)));
            assert_eq!(flow.transport, Transport::Tcp);
        }
        assert_eq!((one.connection_count(), two.connection_count()), (1, 1));
    }
}

#[tokio::test]
async fn an_answer_uses_the_connection_that_the_question_came_over() {
    let (mut one, mut two) = (node(V4), node(V4));
    send(&mut one, Transport::Tcp, address(&two, Transport::Tcp), message("ask", ""));
    let (flow, _) = received(&mut two).await;
    two.send(Transmit {
        destination: flow.back(),
        flow: Some(flow.id),
        domain: None,
        payload: message("answer", ""),
    });
    assert_eq!(received(&mut one).await.1, message("answer", ""));
    assert_eq!((one.connection_count(), two.connection_count()), (1, 1));
}

#[tokio::test]
async fn a_connection_is_found_again_by_its_peer_whoever_opened_it() {
    let (mut one, mut two) = (node(V4), node(V4));
    send(&mut one, Transport::Tcp, address(&two, Transport::Tcp), message("1", ""));
    let (flow, _) = received(&mut two).await;
    send(&mut two, Transport::Tcp, flow.remote, message("2", ""));
    received(&mut one).await;
    send(&mut one, Transport::Tcp, address(&two, Transport::Tcp), message("3", ""));
    let (again, _) = received(&mut two).await;
    assert_eq!(again.id, flow.id);
    assert_eq!((one.connection_count(), two.connection_count()), (1, 1));
}

#[tokio::test]
async fn a_refused_connection_fails_at_once_and_says_so() {
    let mut one = node(V4);
    let gone = node(V4);
    let remote = address(&gone, Transport::Tcp);
    drop(gone);
    send(&mut one, Transport::Tcp, remote, message("x", ""));
    let (destination, flow, reason) = failed(&mut one).await;
    assert_eq!(destination, Destination { transport: Transport::Tcp, remote });
    assert_eq!((flow, reason), (None, FlowError::Refused));
    assert_eq!(one.connection_count(), 0);
}

#[tokio::test]
async fn a_connection_that_the_peer_closes_fails_and_the_next_message_opens_another() {
    let mut one = node(V4);
    let peer = TcpListener::bind(V4).await.unwrap();
    let remote = peer.local_addr().unwrap();
    send(&mut one, Transport::Tcp, remote, message("1", ""));
    let (stream, _) = while_running(&mut one, peer.accept()).await.unwrap();
    drop(stream);
    let (destination, flow, reason) = failed(&mut one).await;
    assert_eq!(destination.remote, remote);
    assert!(flow.is_some());
    assert!(matches!(reason, FlowError::Closed | FlowError::Reset), "{reason}");
    send(&mut one, Transport::Tcp, remote, message("2", ""));
    let (mut stream, _) = while_running(&mut one, peer.accept()).await.unwrap();
    let mut bytes = vec![0; message("2", "").len()];
    while_running(&mut one, stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, message("2", ""));
}

#[tokio::test]
async fn a_flow_that_is_gone_is_replaced_by_one_to_the_same_peer() {
    let (mut one, mut two) = (node(V4), node(V4));
    let destination = Destination { transport: Transport::Tcp, remote: address(&two, Transport::Tcp) };
    let gone = Some(attache_sip::transport::FlowId(999));
    one.send(Transmit { destination, flow: gone, domain: None, payload: message("x", "") });
    assert_eq!(received(&mut two).await.1, message("x", ""));
}

#[tokio::test]
async fn a_message_in_pieces_is_put_together() {
    let mut one = node(V4);
    let mut peer = TcpStream::connect(address(&one, Transport::Tcp)).await.unwrap();
    peer.set_nodelay(true).unwrap();
    let whole = message("pieces", "and a body");
    let sending = tokio::spawn(async move {
        for byte in whole.chunks(7) {
            peer.write_all(byte).await.unwrap();
            peer.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        peer
    });
    assert_eq!(received(&mut one).await.1, message("pieces", "and a body"));
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn closing_a_node_lets_out_what_waits() {
    let (mut one, mut two) = (node(V4), node(V4));
    let to = address(&two, Transport::Tcp);
    send(&mut one, Transport::Tcp, to, message("first", ""));
    received(&mut two).await;
    for number in 0..100 {
        send(&mut one, Transport::Tcp, to, message(&number.to_string(), "last words"));
    }
    one.close(PATIENCE).await;
    for number in 0..100 {
        assert_eq!(received(&mut two).await.1, message(&number.to_string(), "last words"));
    }
    assert_eq!(failed(&mut two).await.2, FlowError::Closed);
}

#[tokio::test]
async fn a_transport_that_is_not_built_in_fails_at_once() {
    let mut one = node(V4);
    send(&mut one, Transport::Tls, "127.0.0.1:5061".parse().unwrap(), message("x", ""));
    assert_eq!(failed(&mut one).await.2, FlowError::Unsupported("TLS"));
}

#[tokio::test]
async fn a_node_listens_on_several_addresses_of_both_families() {
    let at = |text: &str| text.parse().unwrap();
    let both = || vec![at(V4), at(V6), at("127.0.0.2:0")];
    let options = BindOptions { addresses: both(), ws_addresses: both(), ..BindOptions::default() };
    let mut server = Sockets::bind(options).unwrap();
    let addresses = server.local_addresses();
    assert_eq!(addresses.len(), 9);
    let mut client = Sockets::bind(BindOptions { addresses: both(), ..BindOptions::default() }).unwrap();
    for (transport, remote) in addresses {
        send(&mut client, transport, remote, message("x", ""));
        let (flow, _) = while_running(&mut client, received(&mut server)).await;
        assert_eq!((flow.transport, flow.local), (transport, remote));
    }
}
