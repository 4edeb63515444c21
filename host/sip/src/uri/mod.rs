//! Addresses: `sip:`, `sips:`, `tel:`, `pres:`, `im:`, `urn:`, and whatever else stands where a URI may stand.
//!
//! [`Uri`] is a view into text that someone else owns; [`UriBuf`] owns its text. Both keep what was written: nothing is
//! normalised unless [`Uri::equivalent`] or [`Uri::aor_key`] are asked, so that a forwarded address leaves as it came.

mod compare;
mod host;

use std::fmt;
use std::sync::Arc;

use memchr::{memchr, memchr2};

pub use host::Host;
pub(crate) use host::{parse_ip, split_host_port};

use crate::text::{Params, is_blank};
use crate::transport::Transport;

/// Why a text is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Octets that are not UTF-8, blanks, brackets, quotes or control characters.
    #[error("an address may not contain this character")]
    Character,
    /// No scheme, or one that is not a scheme.
    #[error("an address starts with a scheme and a colon")]
    Scheme,
    /// No host, or something that is neither a name nor an IP address.
    #[error("the host is neither a name nor an IP address")]
    Host,
    /// A port that is not a number from 0 to 65535.
    #[error("the port is not a number from 0 to 65535")]
    Port,
    /// An empty user part before the `@`.
    #[error("the user part is empty")]
    User,
    /// A percent sign that is not followed by two hexadecimal digits, or a parameter without a name.
    #[error("a parameter or an escape is malformed")]
    Parameter,
    /// Nothing behind the scheme.
    #[error("nothing follows the scheme")]
    Empty,
}

/// A URI's scheme.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
#[non_exhaustive]
pub enum Scheme<'a> {
    /// `sip` (RFC 3261 §19.1).
    Sip,
    /// `sips` (RFC 3261 §19.1).
    Sips,
    /// `tel` (RFC 3966).
    Tel,
    /// `pres` (RFC 3859).
    Pres,
    /// `im` (RFC 3860).
    Im,
    /// `urn` (RFC 8141).
    Urn,
    /// Any other; what follows it is opaque.
    Other(&'a str),
}

impl<'a> Scheme<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        Some(match bytes.len() {
            3 if bytes.eq_ignore_ascii_case(b"sip") => Self::Sip,
            4 if bytes.eq_ignore_ascii_case(b"sips") => Self::Sips,
            3 if bytes.eq_ignore_ascii_case(b"tel") => Self::Tel,
            4 if bytes.eq_ignore_ascii_case(b"pres") => Self::Pres,
            2 if bytes.eq_ignore_ascii_case(b"im") => Self::Im,
            3 if bytes.eq_ignore_ascii_case(b"urn") => Self::Urn,
            _ => {
                let [first, rest @ ..] = bytes else { return None };
                let valid = first.is_ascii_alphabetic()
                    && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
                return valid.then_some(Self::Other(text));
            }
        })
    }

    /// The scheme's name: in lower case for the known ones.
    pub const fn as_str(&self) -> &'a str {
        match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Tel => "tel",
            Self::Pres => "pres",
            Self::Im => "im",
            Self::Urn => "urn",
            Self::Other(text) => text,
        }
    }

    /// Whether the address has a user, a host and parameters: `sip`, `sips`, `pres` and `im`.
    pub const fn has_host(&self) -> bool {
        matches!(self, Self::Sip | Self::Sips | Self::Pres | Self::Im)
    }
}

/// An address, as a view of its text.
///
/// Parsing is one pass and allocates nothing. Parameters and headers are checked then and read when asked for.
#[derive(Copy, Clone)]
pub struct Uri<'a> {
    text: &'a str,
    scheme: Scheme<'a>,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: Option<Host<'a>>,
    port: Option<u16>,
    params: &'a str,
    headers: Option<&'a str>,
    opaque: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads an address (RFC 3261 §19.1.1). Blanks around it are not allowed.
    ///
    /// Characters above ASCII are forgiven in the user part; escapes are checked but kept.
    pub fn parse(text: &'a [u8]) -> Result<Self, UriError> {
        Self::parse_str(std::str::from_utf8(text).map_err(|_| UriError::Character)?)
    }

    /// [`parse`](Self::parse) for text that is known to be UTF-8.
    pub fn parse_str(text: &'a str) -> Result<Self, UriError> {
        let bytes = text.as_bytes();
        if bytes.iter().any(|&b| b <= b' ' || b == 0x7f || matches!(b, b'<' | b'>' | b'"')) {
            return Err(UriError::Character);
        }
        let colon = memchr(b':', bytes).ok_or(UriError::Scheme)?;
        let scheme = Scheme::parse(&text[..colon]).ok_or(UriError::Scheme)?;
        let opaque = &text[colon + 1..];
        if opaque.is_empty() {
            return Err(UriError::Empty);
        }
        let mut uri = Uri {
            text,
            scheme,
            user: None,
            password: None,
            host: None,
            port: None,
            params: "",
            headers: None,
            opaque,
        };
        if scheme.has_host() {
            uri.split_authority()?;
        } else if scheme == Scheme::Tel {
            // The subscriber's number stands where the user of a SIP address stands (RFC 3966 §3).
            let (number, params) = opaque.split_once(';').unwrap_or((opaque, ""));
            uri.user = Some(number);
            uri.params = params;
        }
        Ok(uri)
    }

    fn split_authority(&mut self) -> Result<(), UriError> {
        let rest = self.opaque;
        let bytes = rest.as_bytes();
        // A bare `@` is legal once only. With two of them different elements would see different hosts, and that is how
        // a request gets past a check: refused, not guessed.
        let authority = match memchr(b'@', bytes) {
            Some(at) if memchr(b'@', &bytes[at + 1..]).is_some() => return Err(UriError::User),
            Some(at) => {
                let userinfo = &rest[..at];
                let (user, password) = match memchr(b':', userinfo.as_bytes()) {
                    Some(colon) => (&userinfo[..colon], Some(&userinfo[colon + 1..])),
                    None => (userinfo, None),
                };
                if user.is_empty() {
                    return Err(UriError::User);
                }
                if memchr(b'%', userinfo.as_bytes()).is_some() && !escapes_are_whole(userinfo) {
                    // RFC 4475 §3.1.1.5 wants these accepted in methods and names, not in addresses.
                    return Err(UriError::Parameter);
                }
                self.user = Some(user);
                self.password = password;
                &rest[at + 1..]
            }
            None => rest,
        };
        let hostport_end = memchr2(b';', b'?', authority.as_bytes()).unwrap_or(authority.len());
        let (host, port) = split_host_port(&authority[..hostport_end])?;
        self.host = Some(host);
        self.port = port;
        let tail = &authority[hostport_end..];
        let (params, headers) = match memchr(b'?', tail.as_bytes()) {
            Some(question) => (&tail[..question], Some(&tail[question + 1..])),
            None => (tail, None),
        };
        self.params = params.strip_prefix(';').unwrap_or(params);
        self.headers = headers;
        if !tail.is_empty() && memchr(b'%', tail.as_bytes()).is_some() && !escapes_are_whole(tail) {
            return Err(UriError::Parameter);
        }
        if self.params.split(';').any(|part| part.starts_with('=')) {
            return Err(UriError::Parameter);
        }
        Ok(())
    }

    /// The text as it was written.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme<'a> {
        self.scheme
    }

    /// The user part as written, escapes included; for `tel` the number.
    pub const fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The password. It is discouraged in RFC 3261 §19.1.1 and is never printed by `Debug`.
    pub const fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// The host; `None` for `tel`, `urn` and unknown schemes.
    pub const fn host(&self) -> Option<Host<'a>> {
        self.host
    }

    /// The port, where one was written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The parameters behind the host.
    pub const fn params(&self) -> Params<'a> {
        Params::new(self.params.as_bytes())
    }

    /// The value of a parameter, `""` where it has none, by name in any case.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.split(';').find_map(|part| {
            let (n, value) = part.split_once('=').unwrap_or((part, ""));
            (!n.is_empty() && n.eq_ignore_ascii_case(name)).then_some(value)
        })
    }

    /// The `transport` parameter. `None` also when it names a transport that this crate does not speak.
    pub fn transport(&self) -> Option<Transport> {
        Transport::parse(self.param("transport")?.as_bytes())
    }

    /// Whether the `lr` parameter asks for loose routing (RFC 3261 §16.12).
    pub fn is_loose_router(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The text behind the `?`: headers of the request that the address asks for (RFC 3261 §19.1.1).
    pub const fn headers(&self) -> Option<&'a str> {
        self.headers
    }

    /// The headers behind the `?`, name and value, escapes still in place.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let text = self.headers.unwrap_or("");
        text.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
    }

    /// Whatever follows the scheme's colon.
    pub const fn opaque(&self) -> &'a str {
        self.opaque
    }

    /// An owned copy.
    pub fn to_buf(&self) -> UriBuf {
        UriBuf { text: self.text.into() }
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl fmt::Debug for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.password {
            None => write!(f, "Uri({})", self.text),
            Some(_) => write!(f, "Uri({}:{}:…@…)", self.scheme.as_str(), self.user.unwrap_or("")),
        }
    }
}

/// Whether every `%` is followed by two hexadecimal digits.
fn escapes_are_whole(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = memchr(b'%', rest) {
        let Some([a, b]) = rest.get(at + 1..at + 3).and_then(|two| <&[u8; 2]>::try_from(two).ok()) else {
            return false;
        };
        if !a.is_ascii_hexdigit() || !b.is_ascii_hexdigit() {
            return false;
        }
        rest = &rest[at + 3..];
    }
    true
}

/// An address that owns its text. Cloning shares it.
///
/// Equality and hashing are of the text; use [`Uri::equivalent`] to ask whether two addresses mean the same, and
/// [`Uri::aor_key`] for a map's key.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct UriBuf {
    text: Arc<str>,
}

impl UriBuf {
    /// Reads an address; blanks around it are removed.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        Uri::parse_str(text.trim_matches(|c: char| c.is_ascii() && is_blank(c as u8))).map(|uri| uri.to_buf())
    }

    /// The parts.
    pub fn as_uri(&self) -> Uri<'_> {
        Uri::parse_str(&self.text).expect("the text was checked when the value was made")
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether both mean the same (see [`Uri::equivalent`]).
    pub fn equivalent(&self, other: &Self) -> bool {
        self.as_uri().equivalent(&other.as_uri())
    }

    /// The canonical text of the address of record (see [`Uri::aor_key`]).
    pub fn aor_key(&self) -> String {
        self.as_uri().aor_key()
    }
}

impl fmt::Display for UriBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UriBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_uri().fmt(f)
    }
}

impl std::str::FromStr for UriBuf {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl From<Uri<'_>> for UriBuf {
    fn from(uri: Uri<'_>) -> Self {
        uri.to_buf()
    }
}
