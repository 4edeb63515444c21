//! What to bind, and how much of everything strangers may take.

use std::net::SocketAddr;
use std::time::Duration;

use crate::tls::Tls;

/// What [`Sockets`](crate::Sockets) binds.
#[derive(Clone, Debug)]
pub struct BindOptions {
    /// Addresses to bind. Port 0 takes a free one; with both transports on, the same one for UDP and TCP.
    /// Empty binds nothing: such a node still opens TCP connections of its own.
    pub addresses: Vec<SocketAddr>,
    /// Bind UDP on each address.
    pub udp: bool,
    /// Listen for TCP connections on each address. Connections of our own are opened either way.
    pub tcp: bool,
    /// Listen for TLS connections on each of these. Needs [`tls`](Self::tls) with a certificate.
    pub tls_addresses: Vec<SocketAddr>,
    /// Listen for WebSocket connections on each of these.
    pub ws_addresses: Vec<SocketAddr>,
    /// Listen for WebSocket connections over TLS on each of these. Needs [`tls`](Self::tls) with a certificate.
    pub wss_addresses: Vec<SocketAddr>,
    /// The path that a WebSocket upgrade is asked for at, in both directions.
    pub ws_path: String,
    /// Whom to believe, and who this node is. `None`: nothing that needs TLS is opened or accepted.
    pub tls: Option<Tls>,
    /// Ping the connections that this node has opened so often (RFC 5626, section 4.4.1; each wait is shortened at
    /// random by up to a fifth). `None`: never, and an idle connection closes. Peers that never answered a ping are left
    /// alone; [`Sockets::set_keep_alive`](crate::Sockets::set_keep_alive) is stricter.
    pub keep_alive: Option<Duration>,
    /// Bounds.
    pub limits: Limits,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            udp: true,
            tcp: true,
            tls_addresses: Vec::new(),
            ws_addresses: Vec::new(),
            wss_addresses: Vec::new(),
            ws_path: "/".into(),
            tls: None,
            keep_alive: None,
            limits: Limits::default(),
        }
    }
}

/// How a connection is kept alive, and found out to be dead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeepAlive {
    /// Time between pings; each wait is shortened at random by up to a fifth (RFC 5626, section 4.4.1).
    pub interval: Duration,
    /// Whether the peer is known to answer pings, because it has agreed to RFC 5626 or RFC 6223: then one that does not
    /// within [`Limits::pong_timeout`] has failed. Otherwise that holds for peers that have answered before.
    pub must_be_answered: bool,
}

/// Bounds on what peers can make this node hold or wait for.
///
/// In the worst case the connections hold `max_connections * (max_queued_bytes + 2 * max_message)` bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in both directions together. Of eight, peers can take seven; the rest is for those that this node opens.
    pub max_connections: usize,
    /// Connections in both directions with one address.
    pub max_connections_per_host: usize,
    /// Bytes that wait for one connection's peer to read. More closes it.
    pub max_queued_bytes: usize,
    /// Messages that wait for one connection's peer to read. More closes it.
    pub max_queued_messages: usize,
    /// Received messages of all connections together that wait for this node's engine. When they are so many, nothing
    /// more is read from any connection: the peers wait.
    pub max_received: usize,
    /// Datagrams that wait for the operating system to take them; more are dropped, as the network would.
    pub max_queued_datagrams: usize,
    /// Largest message on a stream, in bytes with its body.
    pub max_message: usize,
    /// Unreadable messages in a row on one connection before it is closed.
    pub max_garbage: u32,
    /// Accepted connections whose TLS or WebSocket handshake is under way, of which one address gets a quarter. More are
    /// not accepted.
    pub max_handshakes: usize,
    /// Time to establish a TCP connection.
    pub connect_timeout: Duration,
    /// Time for the TLS and WebSocket handshakes of a connection, together.
    pub handshake_timeout: Duration,
    /// Time in which a peer must read something of what waits for it, and in which what was sent must be acknowledged
    /// where the platform can watch that.
    pub write_timeout: Duration,
    /// Time in which a message that was begun must be complete.
    pub message_timeout: Duration,
    /// Time in which a connection that was accepted must bring its first message.
    pub first_message_timeout: Duration,
    /// Time after which a connection is closed when nothing was said. Not used where `keep_alive` is.
    pub idle_timeout: Duration,
    /// Time in which a ping must be answered, by a peer that is known to answer them.
    pub pong_timeout: Duration,
    /// Receive buffer asked of the operating system for each UDP socket, in bytes. It may give less.
    pub udp_receive_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_host: 256,
            max_queued_bytes: 1024 * 1024,
            max_queued_messages: 4096,
            max_received: 1024,
            max_queued_datagrams: 4096,
            max_message: 64 * 1024,
            max_garbage: 16,
            max_handshakes: 256,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(20),
            message_timeout: Duration::from_secs(20),
            first_message_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(15 * 60),
            pong_timeout: Duration::from_secs(10),
            udp_receive_buffer: 4 * 1024 * 1024,
        }
    }
}
