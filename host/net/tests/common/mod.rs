//! What the tests of this crate share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code, of which each binary uses a part"
)]

use std::net::SocketAddr;
use std::time::Duration;

use attache_net::{BindOptions, FlowError, Input, Limits, Sockets};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;
use tokio::time::timeout;

/// Far more than anything here takes; so that a broken test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const V4: &str = "127.0.0.1:0";
pub const V6: &str = "[::1]:0";

pub fn options(address: &str) -> BindOptions {
    BindOptions { addresses: vec![address.parse().unwrap()], ..BindOptions::default() }
}

pub fn node(address: &str) -> Sockets {
    Sockets::bind(options(address)).unwrap()
}

pub fn node_with(limits: Limits) -> Sockets {
    Sockets::bind(BindOptions { limits, ..options(V4) }).unwrap()
}

pub fn address(sockets: &Sockets, transport: Transport) -> SocketAddr {
    sockets.local_addresses().iter().find(|(bound, _)| *bound == transport).unwrap().1
}

pub fn message(name: &str, body: &str) -> Bytes {
    Bytes::from(format!(
        "MESSAGE sip:{name}@example.com SIP/2.0\r\n\
         Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{name}\r\n\
         From: <sip:a@example.com>;tag=1\r\n\
         To: <sip:{name}@example.com>\r\n\
         Call-ID: {name}\r\n\
         CSeq: 1 MESSAGE\r\n\
         Max-Forwards: 70\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

pub fn send(from: &mut Sockets, transport: Transport, remote: SocketAddr, payload: Bytes) {
    from.send(Transmit { destination: Destination { transport, remote }, flow: None, domain: None, payload });
}

pub async fn received(sockets: &mut Sockets) -> (Flow, Bytes) {
    match timeout(PATIENCE, sockets.recv()).await.expect("something arrives in time") {
        Input::Message { flow, bytes } => (flow, bytes),
        other => panic!("a message was expected, not {other:?}"),
    }
}

pub async fn failed(sockets: &mut Sockets) -> (Destination, Option<FlowId>, FlowError) {
    loop {
        let input = timeout(PATIENCE, sockets.recv()).await.expect("the failure is told in time");
        if let Input::FlowFailed { destination, flow, reason } = input {
            return (destination, flow, reason);
        }
    }
}

/// Lets a node's connections live while a test looks at their other end.
pub async fn while_running<T>(sockets: &mut Sockets, other: impl Future<Output = T>) -> T {
    tokio::pin!(other);
    let run = async {
        loop {
            tokio::select! {
                out = &mut other => return out,
                _ = sockets.recv() => {}
            }
        }
    };
    timeout(PATIENCE, run).await.expect("it happens in time")
}
