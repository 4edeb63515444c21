//! Readers of the headers that the machines need, as views: nothing is copied, and nothing is read twice.

use std::borrow::Cow;
use std::net::IpAddr;

use memchr::{memchr, memchr2, memchr3};

use super::{HeaderName, Method};
use crate::text::{self, Params, is_token, quoted_len, split_outside, trim, trim_end, trim_start};
use crate::transport::Transport;
use crate::uri::{Host, Uri, UriError, parse_ip, split_host_port};

/// Why a header could not be read.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The header is not there.
    #[error("header {0} is missing")]
    Missing(HeaderName),
    /// Its value breaks the grammar.
    #[error("header {0} is malformed")]
    Malformed(HeaderName),
}

/// One Via (RFC 3261 §20.42).
#[derive(Copy, Clone, Debug)]
pub struct Via<'a> {
    transport: &'a [u8],
    version_ok: bool,
    host: Host<'a>,
    port: Option<u16>,
    params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one value.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        match Self::parse_first(value)? {
            (via, None) => Ok(via),
            _ => Err(HeaderError::Malformed(HeaderName::Via)),
        }
    }

    /// Reads the first value of a row, and gives back what follows the comma.
    pub(crate) fn parse_first(row: &'a [u8]) -> Result<(Self, Option<&'a [u8]>), HeaderError> {
        Self::read(row).ok_or(HeaderError::Malformed(HeaderName::Via))
    }

    fn read(row: &'a [u8]) -> Option<(Self, Option<&'a [u8]>)> {
        // The usual spelling is recognised at a glance, every other one is read piece by piece: `SIP / 2.0 / UDP`.
        let (version_ok, rest) = match row {
            [b'S', b'I', b'P', b'/', b'2', b'.', b'0', b'/', rest @ ..] => (true, rest),
            _ => {
                let (name, rest) = row.split_at(memchr(b'/', row)?);
                let rest = &rest[1..];
                let (version, rest) = rest.split_at(memchr(b'/', rest)?);
                let (name, version) = (trim(name), trim(version));
                if !is_token(name) || !is_token(version) {
                    return None;
                }
                (name.eq_ignore_ascii_case(b"SIP") && version == b"2.0", &rest[1..])
            }
        };
        let rest = trim_start(rest);
        let (transport, rest) = rest.split_at(memchr2(b' ', b'\t', rest)?);
        if !is_token(transport) {
            return None;
        }
        let rest = trim_start(rest);
        let sent_by_end = memchr2(b';', b',', rest).unwrap_or(rest.len());
        let sent_by = trim_end(&rest[..sent_by_end]);
        let (params, next) = match rest.get(sent_by_end) {
            Some(b';') => split_outside(&rest[sent_by_end + 1..], b','),
            Some(_) => (&rest[..0], Some(&rest[sent_by_end + 1..])),
            None => (&rest[..0], None),
        };
        let (host, port) = sent_by_of(sent_by)?;
        Some((Via { transport, version_ok, host, port, params: Params::new(trim_end(params)) }, next))
    }

    /// The transport as written.
    pub const fn transport_name(&self) -> &'a [u8] {
        self.transport
    }

    /// The transport, where this crate speaks it.
    pub fn transport(&self) -> Option<Transport> {
        Transport::parse(self.transport)
    }

    /// The host of sent-by.
    pub const fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port of sent-by, where one was written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// All parameters.
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The branch, which names the transaction. `None` also when it is empty or not a token.
    #[inline]
    pub fn branch(&self) -> Option<&'a str> {
        // Nearly every Via has it first, and spelt so.
        let value = match self.params.as_bytes() {
            [b'b', b'r', b'a', b'n', b'c', b'h', b'=', rest @ ..] if is_bare(rest) => up_to_semicolon(rest),
            _ => self.params.get("branch")?,
        };
        token_str(value)
    }

    /// The branch, where it says that it is unique by RFC 3261: the magic cookie and something behind it.
    pub fn rfc3261_branch(&self) -> Option<&'a str> {
        self.branch()
            .filter(|branch| branch.len() > 7 && branch.as_bytes()[..7].eq_ignore_ascii_case(b"z9hG4bK"))
    }

    /// Where the message really came from, as the next hop saw it; brackets around IPv6 are optional (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        parse_ip(self.params.get_str("received")?)
    }

    /// The `rport` parameter (RFC 3581): `Some(None)` asks for it, `Some(Some(port))` answers.
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.params.get("rport")?;
        Some(text::number(value).and_then(|port| u16::try_from(port).ok()))
    }

    /// The `maddr` parameter.
    pub fn maddr(&self) -> Option<&'a str> {
        self.params.get_str("maddr")
    }

    /// Whether the sent-protocol is SIP/2.0 and the parameters follow the grammar.
    pub(crate) fn is_strict(&self) -> bool {
        self.version_ok && self.params.check()
    }
}

/// Whether a parameter's value starts right here and without a quote.
#[inline]
fn is_bare(value: &[u8]) -> bool {
    value.first().is_some_and(|b| text::TOKEN[usize::from(*b)])
}

#[inline]
fn up_to_semicolon(value: &[u8]) -> &[u8] {
    trim_end(&value[..memchr(b';', value).unwrap_or(value.len())])
}

fn sent_by_of(sent_by: &[u8]) -> Option<(Host<'_>, Option<u16>)> {
    let text = std::str::from_utf8(sent_by).ok()?;
    match split_host_port(text) {
        Ok(parts) => Some(parts),
        // Blanks around the colon are legal here, unlike in an address (RFC 3261 §25.1, COLON).
        Err(_) if memchr2(b' ', b'\t', sent_by).is_some() => {
            let (host, port) = match text.starts_with('[') {
                true => text.split_at(text.find(']')? + 1),
                false => text.split_at(text.find(':')?),
            };
            let port = trim(port.as_bytes()).strip_prefix(b":").map(trim)?;
            let host = Host::parse(host.trim_end_matches([' ', '\t'])).ok()?;
            Some((host, Some(text::number(port).and_then(|port| u16::try_from(port).ok())?)))
        }
        Err(_) => None,
    }
}

/// A printable run without blanks, as text. Tags, branches and their like are tokens by the grammar; a few odd
/// characters are forgiven, for they are only ever compared and copied.
#[inline]
fn token_str(value: &[u8]) -> Option<&str> {
    if value.is_empty() || value.iter().any(|&b| b <= b' ' || b >= 0x7f) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// An address with an optional name and parameters: From, To, Contact, Route, Refer-To and their like (RFC 3261 §20.10).
#[derive(Copy, Clone, Debug)]
pub struct NameAddr<'a> {
    name: &'a [u8],
    uri: &'a [u8],
    params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (name, uri, tail) = match value.first()? {
            b'<' => (&value[..0], &value[1..], true),
            b'"' => {
                let end = quoted_len(value)?;
                let rest = trim_start(&value[end..]).strip_prefix(b"<")?;
                (&value[..end], rest, true)
            }
            _ => match memchr3(b'<', b'"', b';', value) {
                Some(at) if value[at] == b'<' => {
                    let name = trim_end(&value[..at]);
                    // Dots, brackets and UTF-8 are forgiven in an unquoted name; what would also divide a list is not.
                    if name.iter().any(|b| matches!(b, b',' | b':' | b'@' | b'>' | b'\\')) {
                        return None;
                    }
                    (name, &value[at + 1..], true)
                }
                // A quote in the middle, or in a bare address.
                Some(at) if value[at] == b'"' => return None,
                _ => (&value[..0], value, false),
            },
        };
        let (uri, rest) = if tail {
            let end = memchr(b'>', uri)?;
            (&uri[..end], trim_start(&uri[end + 1..]))
        } else {
            // Without brackets parameters belong to the header, and an address with `?` or `,` must not stand here (RFC 3261 §20.10).
            let end = memchr(b';', uri).unwrap_or(uri.len());
            let address = trim_end(&uri[..end]);
            if memchr2(b'?', b',', address).is_some() {
                return None;
            }
            (address, &uri[end..])
        };
        if uri.is_empty() || memchr2(b' ', b'\t', uri).is_some() {
            return None;
        }
        let params = match rest {
            [] => rest,
            [b';', params @ ..] => params,
            _ => return None,
        };
        Some(NameAddr { name, uri, params: Params::new(params) })
    }

    pub(super) fn parse_as(header: HeaderName, value: &'a [u8]) -> Result<Self, HeaderError> {
        Self::parse(value).ok_or(HeaderError::Malformed(header))
    }

    /// The name, quotes and escapes undone; `None` when there is none. Octets that are not UTF-8 are replaced.
    pub fn display_name(&self) -> Option<Cow<'a, str>> {
        if self.name.is_empty() {
            return None;
        }
        let raw = text::unquote(self.name);
        let name = match self.name[0] {
            b'"' => text::unescape(raw),
            _ => Cow::Borrowed(raw),
        };
        Some(match name {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    /// The name as written, quotes included; empty when there is none.
    pub const fn name_bytes(&self) -> &'a [u8] {
        self.name
    }

    /// The address as written.
    pub const fn uri_bytes(&self) -> &'a [u8] {
        self.uri
    }

    /// The address.
    pub fn uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri)
    }

    /// The parameters of the header, not of the address.
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The tag. `None` also when it is empty or has blanks in it.
    #[inline]
    pub fn tag(&self) -> Option<&'a str> {
        let value = match self.params.as_bytes() {
            [b't', b'a', b'g', b'=', rest @ ..] if is_bare(rest) => up_to_semicolon(rest),
            [] => return None,
            _ => self.params.get("tag")?,
        };
        token_str(value)
    }

    /// The `expires` parameter of a contact, in seconds, saturating.
    pub fn expires(&self) -> Option<u32> {
        text::seconds(self.params.get("expires")?)
    }

    /// The `q` parameter of a contact in thousandths, 0 to 1000.
    pub fn q(&self) -> Option<u16> {
        let value = self.params.get("q")?;
        let (whole, fraction) = match memchr(b'.', value) {
            Some(dot) => (&value[..dot], &value[dot + 1..]),
            None => (value, &value[..0]),
        };
        if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let thousandths =
            fraction.iter().chain(b"000").take(3).fold(0, |sum, b| sum * 10 + u16::from(b - b'0'));
        let whole = if whole.is_empty() { 0 } else { text::number(whole)? };
        (whole == 0 || (whole == 1 && thousandths == 0)).then_some(whole as u16 * 1000 + thousandths)
    }
}

/// Number and method of a command sequence (RFC 3261 §20.16).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct CSeq<'a> {
    /// The number, below 2³¹ (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads a value.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        Self::read(value).ok_or(HeaderError::Malformed(HeaderName::CSeq))
    }

    #[inline]
    fn read(value: &'a [u8]) -> Option<Self> {
        let end = value.iter().position(|b| !b.is_ascii_digit())?;
        let number = text::number(&value[..end]).filter(|n| *n < 1 << 31)? as u32;
        let rest = &value[end..];
        let method = trim_start(rest);
        if method.len() == rest.len() {
            return None;
        }
        Some(CSeq { number, method: Method::parse(method)? })
    }
}

/// An event package (RFC 6665 §8.2.1).
#[derive(Copy, Clone, Debug)]
pub struct Event<'a> {
    /// The package with its templates, such as `presence.winfo`. Case matters.
    pub package: &'a str,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    /// Reads a value.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (package, params) = head(value);
        is_token(package).then_some(())?;
        Some(Event { package: std::str::from_utf8(package).ok()?, params })
    }

    /// The `id` parameter, which tells two subscriptions of one dialog apart.
    pub fn id(&self) -> Option<&'a str> {
        self.params.get_str("id")
    }
}

/// The state that a notifier gives a subscription.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SubscriptionStatus<'a> {
    /// It is accepted.
    Active,
    /// It waits for somebody's decision.
    Pending,
    /// It has ended.
    Terminated,
    /// A state of an extension, to be treated as active until it ends.
    Other(&'a str),
}

/// The value of Subscription-State (RFC 6665 §8.2.3).
#[derive(Copy, Clone, Debug)]
pub struct SubscriptionState<'a> {
    /// The state.
    pub status: SubscriptionStatus<'a>,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> SubscriptionState<'a> {
    /// Reads a value.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (state, params) = head(value);
        is_token(state).then_some(())?;
        let status = match state {
            _ if state.eq_ignore_ascii_case(b"active") => SubscriptionStatus::Active,
            _ if state.eq_ignore_ascii_case(b"pending") => SubscriptionStatus::Pending,
            _ if state.eq_ignore_ascii_case(b"terminated") => SubscriptionStatus::Terminated,
            _ => SubscriptionStatus::Other(std::str::from_utf8(state).ok()?),
        };
        Some(SubscriptionState { status, params })
    }

    /// Seconds until the subscription ends, saturating.
    pub fn expires(&self) -> Option<u32> {
        text::seconds(self.params.get("expires")?)
    }

    /// Why it ended: `deactivated`, `probation`, `rejected`, `timeout`, `giveup`, `noresource`, `invariant`, or anything else.
    pub fn reason(&self) -> Option<&'a str> {
        let reason = self.params.get_str("reason")?;
        // linphone writes the name twice: `reason=reason=noresource`.
        Some(reason.strip_prefix("reason=").unwrap_or(reason))
    }

    /// Seconds to wait before subscribing again, saturating.
    pub fn retry_after(&self) -> Option<u32> {
        text::seconds(self.params.get("retry-after")?)
    }
}

/// A media type (RFC 3261 §20.15).
#[derive(Copy, Clone, Debug)]
pub struct MediaType<'a> {
    /// The type, such as `application`.
    pub kind: &'a str,
    /// The subtype, such as `pidf+xml`.
    pub subtype: &'a str,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Reads a value.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (essence, params) = head(value);
        let slash = memchr(b'/', essence)?;
        let (kind, subtype) = (trim_end(&essence[..slash]), trim_start(&essence[slash + 1..]));
        (is_token(kind) && is_token(subtype)).then_some(())?;
        Some(MediaType {
            kind: std::str::from_utf8(kind).ok()?,
            subtype: std::str::from_utf8(subtype).ok()?,
            params,
        })
    }

    /// Whether it is that type, in any case and whatever its parameters: `is("application/pidf+xml")`.
    pub fn is(&self, essence: &str) -> bool {
        essence.split_once('/').is_some_and(|(kind, subtype)| {
            kind.eq_ignore_ascii_case(self.kind) && subtype.eq_ignore_ascii_case(self.subtype)
        })
    }

    /// The `charset` parameter.
    pub fn charset(&self) -> Option<&'a str> {
        self.params.get_str("charset")
    }
}

/// The value of Retry-After (RFC 3261 §20.33).
#[derive(Copy, Clone, Debug)]
pub struct RetryAfter<'a> {
    /// Seconds to wait, saturating.
    pub seconds: u32,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> RetryAfter<'a> {
    /// Reads a value; a comment in brackets is skipped.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
        let seconds = text::seconds(&value[..end])?;
        let mut rest = trim_start(&value[end..]);
        if rest.first() == Some(&b'(') {
            rest = trim_start(skip_comment(rest)?);
        }
        let params = match rest {
            [] => rest,
            [b';', params @ ..] => params,
            _ => return None,
        };
        Some(RetryAfter { seconds, params: Params::new(params) })
    }

    /// For how many seconds the peer expects to be reachable then.
    pub fn duration(&self) -> Option<u32> {
        text::seconds(self.params.get("duration")?)
    }
}

/// What follows a comment; comments nest (RFC 3261 §25.1).
fn skip_comment(value: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_u32;
    let mut bytes = value.iter().enumerate();
    while let Some((at, &b)) = bytes.next() {
        match b {
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(&value[at + 1..]);
                }
            }
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    None
}

/// What stands before the first `;`, and the parameters behind it.
fn head(value: &[u8]) -> (&[u8], Params<'_>) {
    match memchr(b';', value) {
        Some(at) => (trim_end(&value[..at]), Params::new(&value[at + 1..])),
        None => (trim_end(value), Params::new(&value[..0])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_whose_name_stands_twice_is_read() {
        let reason = |value: &'static str| SubscriptionState::parse(value.as_bytes()).unwrap().reason();
        assert_eq!(reason("terminated;reason=reason=noresource"), Some("noresource"));
        assert_eq!(reason("terminated;reason=noresource"), Some("noresource"));
        assert_eq!(reason("terminated"), None);
    }
}
