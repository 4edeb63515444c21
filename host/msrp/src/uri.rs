//! Addresses of one end of a session, or of a relay before it (RFC 4975, section 6).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Longest address that is read, in octets.
pub const MAX_URI: usize = 512;
/// Most addresses in one path. Each is a relay, but for the last; real paths have one or two.
pub const MAX_PATH: usize = 8;
/// The port that is meant where none is named (RFC 4975, section 15.5).
pub const DEFAULT_PORT: u16 = 2855;

/// An `msrp:` or `msrps:` address.
///
/// Two are equal as RFC 4975, section 6.1 compares them: scheme, host and transport in any case, the port as it stands, the
/// session exactly; who is named before an `@`, and parameters other than the transport, do not count.
#[derive(Clone)]
pub struct MsrpUri {
    text: Box<str>,
    secure: bool,
    host: (usize, usize),
    port: Option<u16>,
    session: Option<(usize, usize)>,
    transport: (usize, usize),
}

/// Why a text is no address, or no path.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It is longer than [`MAX_URI`], or the path has more than [`MAX_PATH`] addresses.
    #[error("the msrp address or path is too long")]
    TooLong,
    /// It begins with neither `msrp://` nor `msrps://`.
    #[error("not an msrp address")]
    Scheme,
    /// The host is missing or malformed.
    #[error("the host of an msrp address is malformed")]
    Host,
    /// The port is no number in 1..=65535.
    #[error("the port of an msrp address is malformed")]
    Port,
    /// The session has characters that may not stand there.
    #[error("the session of an msrp address is malformed")]
    Session,
    /// There is no transport, or parameters are malformed.
    #[error("the parameters of an msrp address are malformed")]
    Parameters,
}

impl MsrpUri {
    /// The address of a session on this node. Host names and IP addresses are taken, the latter with or without brackets.
    ///
    /// # Errors
    /// When host or session have characters that may not stand there.
    pub fn new(secure: bool, host: &str, port: u16, session: &str) -> Result<Self, UriError> {
        let scheme = if secure { "msrps" } else { "msrp" };
        let text = if host.parse::<Ipv6Addr>().is_ok() {
            format!("{scheme}://[{host}]:{port}/{session};tcp")
        } else {
            format!("{scheme}://{host}:{port}/{session};tcp")
        };
        text.parse()
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host as it was written; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.text[self.host.0..self.host.1]
    }

    /// The port, where one was named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The session. A relay that is asked for authorisation is named without one.
    pub fn session(&self) -> Option<&str> {
        self.session.map(|(from, to)| &self.text[from..to])
    }

    /// The transport, `tcp` mostly.
    pub fn transport(&self) -> &str {
        &self.text[self.transport.0..self.transport.1]
    }

    /// Reads the addresses of a `To-Path`, a `From-Path` or an attribute `path`, separated by blanks; at least one.
    ///
    /// # Errors
    /// That of the first that cannot be read; [`UriError::TooLong`] for more than [`MAX_PATH`].
    pub fn parse_path(text: &str) -> Result<Vec<Self>, UriError> {
        let mut path = Vec::with_capacity(1);
        for uri in text.split([' ', '\t']).filter(|uri| !uri.is_empty()) {
            if path.len() == MAX_PATH {
                return Err(UriError::TooLong);
            }
            path.push(uri.parse()?);
        }
        if path.is_empty() { Err(UriError::Scheme) } else { Ok(path) }
    }
}

impl FromStr for MsrpUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_URI {
            return Err(UriError::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UriError::Scheme)?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("msrp") => false,
            _ if scheme.eq_ignore_ascii_case("msrps") => true,
            _ => return Err(UriError::Scheme),
        };
        let start = text.len() - rest.len();
        let end = rest.find(['/', ';']).map_or(text.len(), |at| start + at);
        // Who is named before the host says nothing to anybody (RFC 4975, section 6.1).
        let place = text[start..end].rfind('@').map_or(start, |at| start + at + 1);
        let (host_length, port) = split_port(&text[place..end])?;
        let host = (place, place + host_length);
        let mut at = end;
        let mut session = None;
        if text[at..].starts_with('/') {
            let from = at + 1;
            at = text[from..].find(';').map_or(text.len(), |found| from + found);
            if !text[from..at].bytes().all(is_session_byte) {
                return Err(UriError::Session);
            }
            session = (at > from).then_some((from, at));
        }
        let parameters = text[at..].strip_prefix(';').ok_or(UriError::Parameters)?;
        if !parameters.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UriError::Parameters);
        }
        let length = parameters.find(';').unwrap_or(parameters.len());
        let transport = (at + 1, at + 1 + length);
        if length == 0 || !text[transport.0..transport.1].bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(UriError::Parameters);
        }
        Ok(Self { text: text.into(), secure, host, port, session, transport })
    }
}

/// The length of the host and the port, of `host[:port]`.
fn split_port(text: &str) -> Result<(usize, Option<u16>), UriError> {
    let length = if let Some(bracketed) = text.strip_prefix('[') {
        let length = bracketed.find(']').ok_or(UriError::Host)?;
        bracketed[..length].parse::<Ipv6Addr>().map_err(|_| UriError::Host)?;
        length + 2
    } else {
        let length = text.find(':').unwrap_or(text.len());
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if length == 0 || !text[..length].bytes().all(is_of_name) {
            return Err(UriError::Host);
        }
        length
    };
    let port = match text[length..].strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(UriError::Port)?)
        }
        Some(_) => return Err(UriError::Port),
        None if length == text.len() => None,
        None => return Err(UriError::Host),
    };
    Ok((length, port))
}

/// `unreserved / "+" / "=" / "/"` (RFC 4975, section 9), and what deployed programs write besides.
fn is_session_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+=/!$&'()*:@%,".contains(&byte)
}

impl PartialEq for MsrpUri {
    fn eq(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port == other.port
            && self.session() == other.session()
            && self.transport().eq_ignore_ascii_case(other.transport())
    }
}

impl Eq for MsrpUri {}

impl fmt::Display for MsrpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// Whoever knows the session can speak in it: the host is enough for logs (RFC 4975, section 14.1).
impl fmt::Debug for MsrpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "msrps" } else { "msrp" };
        write!(f, "{scheme}://{}:{}/…", self.host(), self.port.unwrap_or(DEFAULT_PORT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> MsrpUri {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_taken_apart() {
        let read = uri("msrps://alice@atlanta.example.com:7654/jshA7we+x/y;tcp;x=1");
        assert!(read.is_secure());
        assert_eq!((read.host(), read.port()), ("atlanta.example.com", Some(7654)));
        assert_eq!((read.session(), read.transport()), (Some("jshA7we+x/y"), "tcp"));
        let read = uri("msrp://[2001:db8::1]:9/a;TCP");
        assert_eq!((read.host(), read.port()), ("[2001:db8::1]", Some(9)));
        let read = uri("msrps://relay.example.com;tcp");
        assert_eq!((read.session(), read.port()), (None, None));
    }

    #[test]
    fn addresses_are_compared_as_rfc_4975_section_6_1_says() {
        let one = uri("msrp://Bob@Example.com:8888/9di4ea;tcp");
        assert_eq!(one, uri("MSRP://alice@example.COM:8888/9di4ea;TCP;p=1"));
        for other in [
            "msrps://example.com:8888/9di4ea;tcp",
            "msrp://example.com:8889/9di4ea;tcp",
            "msrp://example.com/9di4ea;tcp",
            "msrp://example.com:8888/9Di4ea;tcp",
            "msrp://example.com:8888/9di4ea;sctp",
            "msrp://example.org:8888/9di4ea;tcp",
        ] {
            assert_ne!(one, uri(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, error) in [
            ("", UriError::Scheme),
            ("http://a/b;tcp", UriError::Scheme),
            ("msrp:///b;tcp", UriError::Host),
            ("msrp://a b/c;tcp", UriError::Host),
            ("msrp://[::1/c;tcp", UriError::Host),
            ("msrp://a:0/c;tcp", UriError::Port),
            ("msrp://a:99999/c;tcp", UriError::Port),
            ("msrp://a:+1/c;tcp", UriError::Port),
            ("msrp://a:1/c\r\n;tcp", UriError::Session),
            ("msrp://a:1/c", UriError::Parameters),
            ("msrp://a:1/c;", UriError::Parameters),
            ("msrp://a:1/c;tcp;\r", UriError::Parameters),
        ] {
            assert_eq!(text.parse::<MsrpUri>().err(), Some(error), "{text:?}");
        }
        let long = format!("msrp://a:1/{};tcp", "c".repeat(MAX_URI));
        assert_eq!(long.parse::<MsrpUri>().err(), Some(UriError::TooLong));
        let path = ["msrp://a:1/c;tcp"; MAX_PATH + 1].join(" ");
        assert_eq!(MsrpUri::parse_path(&path).err(), Some(UriError::TooLong));
    }

    #[test]
    fn a_session_is_not_for_logs() {
        assert!(!format!("{:?}", uri("msrp://a:1/secret;tcp")).contains("secret"));
    }
}
