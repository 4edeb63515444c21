//! Where bytes came from and where they go.
//!
//! The machines of this crate own no sockets. They name a connection by [`FlowId`], say where a message should go
//! with a [`Destination`], and hand finished bytes out as [`Transmit`]; whoever owns the sockets does the rest.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

/// A transport protocol that SIP messages travel on (RFC 3261 §18, RFC 7118).
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
#[non_exhaustive]
pub enum Transport {
    /// Datagrams, one message each.
    Udp,
    /// A byte stream without encryption.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket without encryption (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
}

impl Transport {
    /// Whether the transport itself delivers or fails, so that no retransmission is needed (RFC 3261 §17).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether the bytes are encrypted on this hop.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The name in a Via header's sent-protocol, in upper case.
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The value of a URI's `transport` parameter, in lower case.
    ///
    /// TLS is `tls` here, as every deployed element writes it, though RFC 3261 §26.2.2 would rather see a `sips` URI.
    pub const fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The port used when an address names none (RFC 3261 §18.1.1, RFC 7118 §5).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Reads a transport's name in any case. `None` for one that this crate does not speak, which is not an error
    /// on the wire: transports are an open set (RFC 4475 §3.1.1.10).
    pub fn parse(name: &[u8]) -> Option<Self> {
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"ws") => Some(Self::Ws),
            3 if name.eq_ignore_ascii_case(b"udp") => Some(Self::Udp),
            3 if name.eq_ignore_ascii_case(b"tcp") => Some(Self::Tcp),
            3 if name.eq_ignore_ascii_case(b"tls") => Some(Self::Tls),
            3 if name.eq_ignore_ascii_case(b"wss") => Some(Self::Wss),
            _ => None,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri_name())
    }
}

/// One connection, or one UDP socket. The owner of the sockets gives the numbers out and never uses one twice.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct FlowId(pub u64);

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow-{}", self.0)
    }
}

/// Where received bytes came from.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct Flow {
    /// The connection, or the UDP socket.
    pub id: FlowId,
    /// How it carries messages.
    pub transport: Transport,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

impl Flow {
    /// The destination that leads back to the peer of this flow.
    pub const fn back(&self) -> Destination {
        Destination { transport: self.transport, remote: self.remote }
    }
}

/// Where a message should go.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct Destination {
    /// How to carry it.
    pub transport: Transport,
    /// The peer's address.
    pub remote: SocketAddr,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.remote)
    }
}

/// Bytes to be sent.
#[derive(Clone, Eq, PartialEq)]
pub struct Transmit {
    /// Where they go.
    pub destination: Destination,
    /// The flow to use while it lives; a new one to the same destination otherwise. `None` leaves the choice open.
    pub flow: Option<FlowId>,
    /// The name that the peer's certificate must be for, where the transport is secure: the domain that was asked for, before any
    /// look-up (RFC 5922 §7.1). `None` where an IP address was asked for: then the certificate must name that.
    pub domain: Option<Arc<str>>,
    /// One whole message, or a keep-alive.
    pub payload: Bytes,
}

// A message may carry what people wrote and proofs of who they are: only its size is anybody's business.
impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit")
            .field("destination", &self.destination)
            .field("flow", &self.flow)
            .field("domain", &self.domain)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish()
    }
}

/// An address as it stands in a Via or a URI: the zone of a link-local one means nothing to others (RFC 5954, RFC 6874).
pub(crate) fn sent_by(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(addr) => addr.to_string(),
        SocketAddr::V6(addr) => format!("[{}]:{}", addr.ip(), addr.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_read_in_any_case() {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
            assert_eq!(Transport::parse(transport.via_name().as_bytes()), Some(transport));
            assert_eq!(Transport::parse(transport.uri_name().as_bytes()), Some(transport));
        }
        assert_eq!(Transport::parse(b"SCTP"), None);
    }

    #[test]
    fn debug_output_of_a_transmit_hides_the_payload() {
        let transmit = Transmit {
            destination: Destination { transport: Transport::Udp, remote: ([127, 0, 0, 1], 5060).into() },
            flow: None,
            domain: None,
            payload: Bytes::from_static(b"a secret"),
        };
        assert!(!format!("{transmit:?}").contains("secret"));
    }
}
