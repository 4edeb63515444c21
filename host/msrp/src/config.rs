//! Who this node is, and how much of everything peers may take.

use std::time::Duration;

use crate::fingerprint::Fingerprint;

/// What a machine is made with.
#[derive(Clone, Debug)]
pub struct MsrpConfig {
    /// Name or address of this node in its own addresses. It should lead here, though peers behind which we connect never try.
    pub host: String,
    /// The port that connections are accepted on; 9, the port that discards, where none are (RFC 6135, section 4.1).
    pub port: u16,
    /// As [`port`](Self::port), for TLS.
    pub tls_port: u16,
    /// That of the certificate that this node shows over TLS, which its descriptions then name. `None`: peers have to believe
    /// an authority.
    pub fingerprint: Option<Fingerprint>,
    /// Bounds.
    pub limits: Limits,
}

impl Default for MsrpConfig {
    fn default() -> Self {
        Self { host: "localhost".into(), port: 9, tls_port: 9, fingerprint: None, limits: Limits::default() }
    }
}

/// Bounds on what peers can make this node hold or wait for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: usize,
    /// Connections at once, in both directions.
    pub streams: usize,
    /// Octets of a chunk's start line and headers.
    pub head: usize,
    /// Octets of one message that is received as a whole. A session may have less.
    pub message: u64,
    /// Octets of all messages together that are being received as a whole. What does not fit is refused with 413.
    pub memory: usize,
    /// Messages of one session that have begun to arrive and are not complete.
    pub incoming: usize,
    /// Pieces of one message with gaps between them.
    pub gaps: usize,
    /// Messages of one session that wait to be sent or are being sent.
    pub outgoing: usize,
    /// Octets of all messages together that wait to be sent, but for those that are asked for piece by piece.
    pub outgoing_memory: usize,
    /// Octets of one chunk's body. More than 2,048 is never used (RFC 4975, section 7.1.1).
    pub chunk: usize,
    /// Octets that the owner of the sockets holds of one connection before no more are made.
    pub window: usize,
    /// Chunks of one connection whose answers are waited for.
    pub unanswered: usize,
    /// Octets of pieces given out with [`MsrpEvent::Piece`](crate::MsrpEvent::Piece) that are not
    /// [taken](crate::Msrp::taken) yet. When there are more, nothing is read from the connections that they come from.
    pub untaken: usize,
    /// Time in which a chunk must be answered (RFC 4975, section 7.1.1: 30 s).
    pub transaction: Duration,
    /// Time in which an incomplete message must go on.
    pub stalled: Duration,
    /// Time in which a peer that should connect must have done so, and in which a connection that was accepted must name a session.
    pub bind: Duration,
    /// Time for which a connection that no session uses is kept.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 4096,
            streams: 1024,
            head: 8 * 1024,
            message: 10 * 1024 * 1024,
            memory: 64 * 1024 * 1024,
            incoming: 16,
            gaps: 64,
            outgoing: 256,
            outgoing_memory: 64 * 1024 * 1024,
            chunk: 2048,
            window: 64 * 1024,
            unanswered: 256,
            untaken: 1024 * 1024,
            transaction: Duration::from_secs(30),
            stalled: Duration::from_secs(5 * 60),
            bind: Duration::from_secs(60),
            idle: Duration::from_secs(30),
        }
    }
}
