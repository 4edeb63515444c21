//! Why a flow is no more.

use std::io;

use crate::tls::CertificateProblem;

/// Why a flow failed, or could not be opened.
///
/// The text of [`Display`](std::fmt::Display) is what a transaction reports as its transport error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// Nobody listens at the destination.
    #[error("connection refused")]
    Refused,
    /// The peer, or something on the way, broke the connection.
    #[error("connection reset by the peer")]
    Reset,
    /// The peer closed the connection in good order.
    #[error("connection closed by the peer")]
    Closed,
    /// No route leads there, or no socket of the right address family is bound.
    #[error("destination unreachable")]
    Unreachable,
    /// The connection was not established in time.
    #[error("no connection within {0} s")]
    ConnectTimeout(u64),
    /// The connection was there, but TLS or WebSocket was not agreed on in time.
    #[error("no TLS or WebSocket handshake within {0} s")]
    HandshakeTimeout(u64),
    /// The peer does not read what it asked for.
    #[error("the peer did not read for {0} s")]
    WriteTimeout(u64),
    /// A keep-alive was not answered (RFC 5626, section 4.4.1).
    #[error("keep-alive not answered within {0} s")]
    KeepAliveTimeout(u64),
    /// Nothing was said for as long as the limits allow, or a message was begun and not ended.
    #[error("connection idle")]
    Idle,
    /// More waits to be sent than the limits allow, because the peer reads too slowly.
    #[error("too much waits for a slow peer")]
    Overflow,
    /// What the peer sent could not be read as SIP, too often.
    #[error("the peer does not speak SIP: {0}")]
    Garbage(String),
    /// A limit on connections is reached.
    #[error("too many connections")]
    TooManyConnections,
    /// This node was not given what the transport needs, such as [`Tls`](crate::Tls).
    #[error("transport {0} is not set up on this node")]
    Unsupported(&'static str),
    /// The peer did not prove that it is who it should be.
    #[error("{0}")]
    Certificate(CertificateProblem),
    /// TLS could not be agreed on, or was broken.
    #[error("no TLS connection: {0}")]
    Tls(String),
    /// The peer would not speak SIP over WebSocket (RFC 7118).
    #[error("no WebSocket connection: {0}")]
    WebSocket(String),
    /// The datagram is larger than the network takes.
    #[error("message too large for a datagram")]
    TooLarge,
    /// Anything else, in the operating system's words.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for FlowError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Self::Reset,
            Kind::UnexpectedEof => Self::Closed,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown | Kind::AddrNotAvailable => {
                Self::Unreachable
            }
            // The operating system's own limit, which is longer than ours.
            Kind::TimedOut => Self::Other("connection timed out".into()),
            _ => Self::Other(error.to_string()),
        }
    }
}
