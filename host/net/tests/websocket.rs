//! SIP over WebSocket (RFC 7118), in both roles.

#![allow(clippy::result_large_err, clippy::unwrap_used, reason = "test code, and a library's type")]

mod common;
#[path = "common/pki.rs"]
mod pki;

use std::time::Duration;

use attache_net::{BindOptions, FlowError, KeepAlive, Limits, Sockets, Tls};
use attache_sip::transport::{Destination, Transmit, Transport};
use bytes::Bytes;
use common::{PATIENCE, address, failed, message, received, while_running};
use futures_util::{SinkExt, StreamExt};
use pki::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};

fn server_with(limits: Limits) -> Sockets {
    let ws_addresses = vec!["127.0.0.1:0".parse().unwrap()];
    Sockets::bind(BindOptions { ws_addresses, limits, ..BindOptions::default() }).unwrap()
}

fn server() -> Sockets {
    server_with(Limits::default())
}

fn client(tls: Option<Tls>) -> Sockets {
    Sockets::bind(BindOptions { tls, ..BindOptions::default() }).unwrap()
}

fn to(transport: Transport, remote: std::net::SocketAddr, domain: Option<&str>, payload: Bytes) -> Transmit {
    let destination = Destination { transport, remote };
    Transmit { destination, flow: None, domain: domain.map(Into::into), payload }
}

/// What the upgrade of somebody else's client gives, with these subprotocols.
async fn upgraded(
    server: &mut Sockets,
    path: &str,
    protocols: &str,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let at = address(server, Transport::Ws);
    let mut request = format!("ws://{at}{path}").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols.parse().unwrap());
    while_running(server, async {
        let stream = TcpStream::connect(at).await.unwrap();
        tokio_tungstenite::client_async(request, stream).await.map(|(socket, _)| socket)
    })
    .await
}

/// What somebody else's server sees of our upgrade, granting `protocol`.
async fn asked(
    client: &mut Sockets,
    server: &TcpListener,
    protocol: &str,
) -> (WebSocketStream<TcpStream>, Request) {
    let mut seen = None;
    let check = |request: &Request, mut response: Response| {
        seen = Some(request.clone());
        response.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        Ok(response)
    };
    let socket = while_running(client, async {
        let (stream, _) = server.accept().await.unwrap();
        tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap()
    })
    .await;
    (socket, seen.unwrap())
}

#[tokio::test]
async fn messages_arrive_over_websocket_in_both_directions_on_both_families() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let ws_addresses = vec![at.parse().unwrap()];
        let mut server = Sockets::bind(BindOptions { ws_addresses, ..BindOptions::default() }).unwrap();
        let mut client = client(None);
        let remote = address(&server, Transport::Ws);
        let mut last = None;
        for number in 0..50 {
            client.send(to(
                Transport::Ws,
                remote,
                None,
                message(&number.to_string(), &"body ".repeat(number * 20)),
            ));
        }
        for number in 0..50 {
            let (flow, bytes) = while_running(&mut client, received(&mut server)).await;
            assert_eq!(bytes, message(&number.to_string(), &"body ".repeat(number * 20)));
            last = Some(flow);
        }
        let flow = last.unwrap();
        assert_eq!(flow.transport, Transport::Ws);
        let payload = message("answer", "");
        server.send(Transmit {
            destination: flow.back(),
            flow: Some(flow.id),
            domain: None,
            payload: payload.clone(),
        });
        assert_eq!(while_running(&mut server, received(&mut client)).await.1, payload);
        assert_eq!((client.connection_count(), server.connection_count()), (1, 1));
    }
}

#[tokio::test]
async fn secure_websocket_follows_the_rules_of_the_web_for_names() {
    let authority = Authority::new("a");
    let wss_addresses = vec!["127.0.0.1:0".parse().unwrap()];
    let tls = Some(authority.server_for(&["sip:other.example", "example.com"]));
    let mut server = Sockets::bind(BindOptions { wss_addresses, tls, ..BindOptions::default() }).unwrap();
    let remote = address(&server, Transport::Wss);
    let mut friend = client(Some(authority.client()));
    friend.send(to(Transport::Wss, remote, Some("example.com"), message("x", "")));
    let (flow, bytes) = while_running(&mut friend, received(&mut server)).await;
    assert_eq!((flow.transport, bytes), (Transport::Wss, message("x", "")));
    friend.send(to(Transport::Wss, remote, Some("other.example"), message("x", "")));
    let reason = while_running(&mut server, failed(&mut friend)).await.2;
    assert!(matches!(reason, FlowError::Certificate(_)), "{reason}");
}

#[tokio::test]
async fn the_upgrade_asks_for_sip_at_the_domain_and_path() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let options = BindOptions { ws_path: "/sip/ws".into(), ..BindOptions::default() };
    let mut client = Sockets::bind(options).unwrap();
    client.send(to(Transport::Ws, at, Some("example.com"), message("x", "")));
    let (mut socket, request) = asked(&mut client, &listener, "sip").await;
    assert_eq!(request.uri().path(), "/sip/ws");
    assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "sip");
    assert_eq!(request.headers()["Host"], format!("example.com:{}", at.port()));
    let first = while_running(&mut client, socket.next()).await.unwrap().unwrap();
    assert_eq!(first, Message::text(String::from_utf8(message("x", "").to_vec()).unwrap()));
}

#[tokio::test]
async fn a_message_that_is_not_text_goes_out_binary_and_comes_in_either_way() {
    let mut server = server();
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    let mut odd = message("x", "abcd").to_vec();
    let end = odd.len() - 1;
    odd[end] = 0xff;
    while_running(&mut server, socket.send(Message::binary(odd.clone()))).await.unwrap();
    let (flow, bytes) = received(&mut server).await;
    assert_eq!(bytes, odd);
    while_running(&mut server, socket.send(Message::text("SIP/2.0 200 OK\r\n\r\n"))).await.unwrap();
    assert_eq!(received(&mut server).await.1, "SIP/2.0 200 OK\r\n\r\n");
    let payload = Bytes::from(odd.clone());
    server.send(Transmit { destination: flow.back(), flow: Some(flow.id), domain: None, payload });
    let back = while_running(&mut server, socket.next()).await.unwrap().unwrap();
    assert_eq!(back, Message::binary(odd));
}

#[tokio::test]
async fn only_sip_at_the_right_path_is_granted() {
    let mut server = server();
    let status = |outcome: Result<_, Error>| match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    };
    assert_eq!(status(upgraded(&mut server, "/", "msrp, sip").await), 101);
    assert_eq!(status(upgraded(&mut server, "/", "msrp").await), 400);
    assert_eq!(status(upgraded(&mut server, "/elsewhere", "sip").await), 404);
}

#[tokio::test]
async fn a_server_without_sip_is_named_with_its_path() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = client(None);
    client.send(to(Transport::Ws, listener.local_addr().unwrap(), None, message("x", "")));
    let (mut stream, _) = while_running(&mut client, listener.accept()).await.unwrap();
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let told = failed(&mut client).await.2.to_string();
    assert!(told.contains("404 Not Found to an upgrade at `/`"), "{told}");

    client.send(to(Transport::Ws, listener.local_addr().unwrap(), None, message("x", "")));
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = tokio_tungstenite::accept_async(stream).await;
    };
    while_running(&mut client, async {
        timeout(PATIENCE, accept).await.unwrap();
    })
    .await;
    let told = failed(&mut client).await.2.to_string();
    assert!(told.contains("does not offer SIP"), "{told}");
}

#[tokio::test]
async fn pings_of_both_kinds_are_answered() {
    let mut server = server();
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    while_running(&mut server, async {
        socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
        socket.send(Message::text("\r\n\r\n")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("\r\n"));
    })
    .await;
}

#[tokio::test]
async fn a_websocket_that_answers_no_ping_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { pong_timeout: Duration::from_millis(200), ..Limits::default() };
    let keep_alive = Some(Duration::from_millis(50));
    let mut client = Sockets::bind(BindOptions { keep_alive, limits, ..BindOptions::default() }).unwrap();
    client.send(to(Transport::Ws, listener.local_addr().unwrap(), None, message("x", "")));
    // One that reads nothing answers nothing.
    let (_socket, _) = asked(&mut client, &listener, "sip").await;
    assert!(matches!(failed(&mut client).await.2, FlowError::KeepAliveTimeout(_)));
}

#[tokio::test]
async fn a_websocket_is_kept_alive_by_pings_from_the_server_too() {
    let mut server = server();
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    while_running(&mut server, socket.send(Message::text("SIP/2.0 200 OK\r\n\r\n"))).await.unwrap();
    let (flow, _) = received(&mut server).await;
    let interval = Duration::from_millis(30);
    server.set_keep_alive(flow.id, Some(KeepAlive { interval, must_be_answered: true }));
    while_running(&mut server, async {
        for _ in 0..3 {
            assert!(matches!(socket.next().await.unwrap().unwrap(), Message::Ping(_)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_its_connection_before_it_is_read() {
    let mut server = server_with(Limits { max_message: 1000, ..Limits::default() });
    let at = address(&server, Transport::Ws);
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    while_running(&mut server, socket.send(Message::text("SIP/2.0 200 OK\r\n\r\n"))).await.unwrap();
    received(&mut server).await;
    // A frame that announces 2^40 bytes.
    let raw = socket.get_mut();
    raw.write_all(&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await.unwrap();
    let (destination, _, reason) = failed(&mut server).await;
    assert!(matches!(&reason, FlowError::Garbage(words) if words.contains("too long")), "{reason}");
    assert_ne!(destination.remote, at);
    assert_eq!(server.connection_count(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_mask_is_told_so_and_loses_its_connection() {
    let mut server = server();
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    socket.get_mut().write_all(&[0x81, 2, b'h', b'i']).await.unwrap();
    assert!(matches!(failed(&mut server).await.2, FlowError::Garbage(_)));
    let farewell = while_running(&mut server, socket.next()).await;
    assert!(matches!(farewell, Some(Ok(Message::Close(Some(_))))), "{farewell:?}");
}

#[tokio::test]
async fn frames_without_sip_cost_their_own_connection_only() {
    let mut server = server_with(Limits { max_garbage: 4, ..Limits::default() });
    let mut good = upgraded(&mut server, "/", "sip").await.unwrap();
    let mut bad = upgraded(&mut server, "/", "sip").await.unwrap();
    for _ in 0..5 {
        bad.send(Message::text("{\"hello\": \"there\"}")).await.unwrap();
    }
    assert!(matches!(failed(&mut server).await.2, FlowError::Garbage(_)));
    good.send(Message::text("SIP/2.0 200 OK\r\n\r\n")).await.unwrap();
    assert_eq!(received(&mut server).await.1, "SIP/2.0 200 OK\r\n\r\n");
}

#[tokio::test]
async fn a_frame_that_is_never_finished_ends_its_connection() {
    let limits = Limits { message_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut server = server_with(limits);
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    while_running(&mut server, socket.send(Message::text("SIP/2.0 200 OK\r\n\r\n"))).await.unwrap();
    received(&mut server).await;
    socket.get_mut().write_all(&[0x81, 0xc8, 1, 2, 3, 4, b'M']).await.unwrap();
    assert_eq!(failed(&mut server).await.2, FlowError::Idle);
}

#[tokio::test]
async fn a_websocket_that_is_closed_in_order_is_closed_here_too() {
    let mut server = server();
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    while_running(&mut server, socket.send(Message::text("SIP/2.0 200 OK\r\n\r\n"))).await.unwrap();
    received(&mut server).await;
    let (told, ()) = tokio::join!(failed(&mut server), async {
        socket.close(None).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_))) | None));
    });
    assert_eq!(told.2, FlowError::Closed);
}

#[tokio::test]
async fn a_node_that_closes_says_good_bye() {
    let mut server = server();
    let mut socket = upgraded(&mut server, "/", "sip").await.unwrap();
    while_running(&mut server, socket.send(Message::text("SIP/2.0 200 OK\r\n\r\n"))).await.unwrap();
    received(&mut server).await;
    let closing = tokio::spawn(server.close(PATIENCE));
    let farewell = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(matches!(farewell, Some(Ok(Message::Close(Some(_))))), "{farewell:?}");
    closing.await.unwrap();
}

#[tokio::test]
async fn an_upgrade_that_never_comes_is_not_waited_for() {
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut server = server_with(limits);
    let mut stranger = TcpStream::connect(address(&server, Transport::Ws)).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    while_running(&mut server, stranger.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}
