//! What the machine and the owner of the sockets say to each other.
//!
//! The machine opens no connection itself: it asks for one by a [`Target`] and names it from then on by a
//! [`StreamId`]. It counts the bytes that the owner has not written yet, and makes no more than fit, so that a file of
//! any size waits where it lies.

use std::fmt;

use bytes::Bytes;

use crate::fingerprint::Fingerprint;
use crate::uri::{DEFAULT_PORT, MsrpUri};

/// One connection. Each side numbers those that it began, so that no number is used twice.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum StreamId {
    /// The machine asked for it with [`StreamRequest::Connect`].
    Ours(u64),
    /// A peer opened it, and the owner of the sockets gave it the number.
    Theirs(u64),
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(number) => write!(f, "stream-out-{number}"),
            Self::Theirs(number) => write!(f, "stream-in-{number}"),
        }
    }
}

/// Where a connection should lead.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// A name or an IP address, the latter without brackets. Over TLS, what the peer's certificate must be for
    /// where no [fingerprint](Self::fingerprints) says more.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether over TLS.
    pub secure: bool,
    /// Over TLS, those of the certificates of which the peer must show one. Then it need not be for the host, nor need an
    /// authority vouch for it.
    pub fingerprints: Vec<Fingerprint>,
}

impl Target {
    /// Where an address leads.
    pub fn of(uri: &MsrpUri) -> Self {
        let host = uri.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Self {
            host,
            port: uri.port().unwrap_or(DEFAULT_PORT),
            secure: uri.is_secure(),
            fingerprints: Vec::new(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} over {}", self.host, self.port, if self.secure { "tls" } else { "tcp" })
    }
}

/// What the machine wants of the owner of the sockets.
#[derive(Clone, Eq, PartialEq)]
pub enum StreamRequest {
    /// Open a connection, and say [`StreamInput::Opened`] or [`StreamInput::Closed`]. Nothing is sent before.
    Connect {
        /// What it is called from now on.
        stream: StreamId,
        /// Where it should lead.
        target: Target,
    },
    /// Write this after what was sent before, and say [`StreamInput::Written`] when that is done.
    Send {
        /// On which connection.
        stream: StreamId,
        /// One or several whole chunks.
        bytes: Bytes,
    },
    /// Read no more until [`Resume`](Self::Resume): what came already is not worked off yet.
    Pause {
        /// Of which connection.
        stream: StreamId,
    },
    /// Read again.
    Resume {
        /// Of which connection.
        stream: StreamId,
    },
    /// Write what waits, and close. Nothing need be said of it any more.
    Close {
        /// Which connection.
        stream: StreamId,
    },
}

// What people write is not for logs.
impl fmt::Debug for StreamRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { stream, target } => write!(f, "Connect({stream}, {target})"),
            Self::Send { stream, bytes } => write!(f, "Send({stream}, {} bytes)", bytes.len()),
            Self::Pause { stream } => write!(f, "Pause({stream})"),
            Self::Resume { stream } => write!(f, "Resume({stream})"),
            Self::Close { stream } => write!(f, "Close({stream})"),
        }
    }
}

/// What the owner of the sockets has to tell the machine.
#[derive(Clone, Eq, PartialEq)]
pub enum StreamInput {
    /// A peer has opened a connection.
    Accepted {
        /// What the owner calls it.
        stream: StreamId,
        /// Whether it is encrypted (TLS): sessions whose address says so are spoken over no other.
        secure: bool,
        /// That of the certificate that the peer has shown, and proved to be its own.
        certificate: Option<Fingerprint>,
    },
    /// A connection that the machine asked for is there.
    Opened {
        /// Which one.
        stream: StreamId,
    },
    /// Bytes came, cut anywhere.
    Bytes {
        /// On which connection.
        stream: StreamId,
        /// As they came.
        bytes: Bytes,
    },
    /// That many bytes of what was to be sent have left.
    Written {
        /// On which connection.
        stream: StreamId,
        /// How many.
        bytes: usize,
    },
    /// A connection is no more, or could not be opened.
    Closed {
        /// Which one.
        stream: StreamId,
        /// Why, in words for an error message.
        reason: String,
    },
}

impl fmt::Debug for StreamInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { stream, .. } => write!(f, "Accepted({stream})"),
            Self::Opened { stream } => write!(f, "Opened({stream})"),
            Self::Bytes { stream, bytes } => write!(f, "Bytes({stream}, {} bytes)", bytes.len()),
            Self::Written { stream, bytes } => write!(f, "Written({stream}, {bytes} bytes)"),
            Self::Closed { stream, reason } => write!(f, "Closed({stream}, {reason})"),
        }
    }
}
