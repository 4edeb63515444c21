//! How a link treats what it carries.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::transport::Transport;

/// The behaviour of the network between two addresses, in one direction.
///
/// Probabilities are between 0 and 1. Loss, duplication and reordering concern datagrams only; a stream is delayed, but
/// stays whole and in order.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Link {
    /// Time every packet needs. 1 ms by default.
    pub latency: Duration,
    /// A packet needs up to this much longer, by chance.
    pub jitter: Duration,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram comes twice.
    pub duplicate: f64,
    /// Probability that a datagram is held back long enough for later ones to overtake it.
    pub reorder: f64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
        }
    }
}

/// What becomes of a packet.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub enum Fate {
    /// It is delivered as the link decides.
    Deliver,
    /// It is lost. Only datagrams can be; a stream's bytes are delivered all the same.
    Drop,
    /// It is delivered twice. Only datagrams can be.
    Duplicate,
    /// It is held back this much longer than the link would.
    Delay(Duration),
}

/// One sent packet.
#[derive(Clone)]
pub struct Packet {
    /// When it was sent, since the beginning of the simulation.
    pub at: Duration,
    /// The sending node.
    pub from: SocketAddr,
    /// The receiving address.
    pub to: SocketAddr,
    /// How it travels.
    pub transport: Transport,
    /// Its bytes.
    pub payload: Bytes,
    /// What became of it: what the filter or chance decided.
    pub fate: Fate,
}

impl Packet {
    /// The first line of the message: a request's method and target, or an answer's status.
    pub fn first_line(&self) -> &str {
        let end = self.payload.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(self.payload.len());
        std::str::from_utf8(&self.payload[..end]).unwrap_or("(not text)")
    }

    /// Whether the message begins with this text, such as `SUBSCRIBE` or `SIP/2.0 200`.
    pub fn is(&self, beginning: &str) -> bool {
        self.payload.starts_with(beginning.as_bytes())
    }
}

// Only the first line: bodies and credentials do not belong in a test's log.
impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.3}s {} -> {} {} {:?} ({:?})",
            self.at.as_secs_f64(),
            self.from,
            self.to,
            self.transport.via_name(),
            self.first_line(),
            self.fate
        )
    }
}
