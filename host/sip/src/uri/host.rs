//! Hosts: names, IPv4 and IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memchr;

use super::UriError;

/// A host as it stands in an address or a Via.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Host<'a> {
    /// A domain name, as written. It is compared without regard to case.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, in brackets on the wire.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Reads a host: an IPv6 address must stand in brackets.
    pub fn parse(text: &'a str) -> Result<Self, UriError> {
        let bytes = text.as_bytes();
        let Some(&last) = bytes.last() else { return Err(UriError::Host) };
        if bytes[0] == b'[' {
            return match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).and_then(parse_v6) {
                Some(address) => Ok(Self::V6(address)),
                None => Err(UriError::Host),
            };
        }
        // An underscore is no part of a hostname, and yet stands in many a private DNS zone.
        if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(UriError::Host);
        }
        if last.is_ascii_digit()
            && let Ok(address) = text.parse()
        {
            return Ok(Self::V4(address));
        }
        Ok(Self::Name(text))
    }

    /// The IP address, if it is one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match *self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(address)),
            Self::V6(address) => Some(IpAddr::V6(address)),
        }
    }

    /// Whether both name the same host: names without regard to case and to a final dot, addresses by value.
    pub fn same(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(a), Host::Name(b)) => {
                a.strip_suffix('.').unwrap_or(a).eq_ignore_ascii_case(b.strip_suffix('.').unwrap_or(b))
            }
            _ => self.ip().is_some() && self.ip() == other.ip(),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Reads an IPv6 address without brackets. Three colons before an embedded IPv4 address are read as two, because the grammar of
/// RFC 3261 allowed them by mistake (RFC 5118 §4.10).
pub(crate) fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (before, after) = text.split_once(":::")?;
    // Only where an IPv4 address follows, and only once: anything longer than the longest address is not worth the copy.
    if text.len() > 48 || after.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    format!("{before}::{after}").parse().ok()
}

/// Reads an IP address as Via's `received` has it: with or without brackets (RFC 5118 §4.5).
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(IpAddr::V4(address));
    }
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    parse_v6(inner).map(IpAddr::V6)
}

/// Splits `host`, `host:port` and `[v6]:port`. An empty port is refused.
pub(crate) fn split_host_port(text: &str) -> Result<(Host<'_>, Option<u16>), UriError> {
    let bytes = text.as_bytes();
    let end = if bytes.first() == Some(&b'[') {
        memchr(b']', bytes).ok_or(UriError::Host)? + 1
    } else {
        memchr(b':', bytes).unwrap_or(bytes.len())
    };
    let host = Host::parse(&text[..end])?;
    let port = match &bytes[end..] {
        [] => None,
        [b':', digits @ ..] if digits.len() <= 5 => {
            let port = crate::text::number(digits).and_then(|n| u16::try_from(n).ok());
            // Two colons without brackets are an IPv6 address that lost them, not a port (RFC 5118 §4.2).
            Some(port.ok_or(if memchr(b':', digits).is_some() { UriError::Host } else { UriError::Port })?)
        }
        [b':', digits @ ..] => {
            return Err(if memchr(b':', digits).is_some() { UriError::Host } else { UriError::Port });
        }
        _ => return Err(UriError::Host),
    };
    Ok((host, port))
}
