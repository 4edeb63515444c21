//! Messages as they were received: bytes, and where the headers stand in them.
//!
//! A [`Message`] keeps the one buffer it came in and one vector of header positions. Names are mapped to [`HeaderName`] once;
//! values are read when asked for, as views into the buffer. Moving a message is cheap, and so is cloning its bytes.

mod lists;
mod method;
mod name;
mod parse;
mod typed;
mod validate;

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

pub use lists::{Rows, Values};
pub use method::{Method, MethodBuf};
pub use name::HeaderName;
pub(crate) use parse::content_length;
pub use parse::{Fault, Limits, ParseError};
pub use typed::{
    CSeq, Event, HeaderError, MediaType, NameAddr, RetryAfter, SubscriptionState, SubscriptionStatus, Via,
};
pub use validate::{Finding, Severity, Support, validate, validate_with};

use crate::digest::{Challenge, Credentials};
use crate::uri::{Uri, UriError};

/// A part of a message's buffer.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Messages are at most 2³¹ octets long, so positions fit.
    #[inline]
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.range()]
    }
}

#[derive(Copy, Clone, Debug)]
struct Row {
    value: Span,
    name_at: u32,
    name_len: u32,
    name: HeaderName,
}

#[derive(Copy, Clone, Debug)]
enum Start {
    Request { method: Span, uri: Span, version: (u8, u8) },
    Response { version: (u8, u8), code: u16, reason: Span },
}

/// A request or a response, read but not interpreted.
///
/// Reading is lenient: whatever can be delimited is a message. [`validate()`] says what is wrong with it.
#[derive(Clone)]
pub struct Message {
    /// The bytes with folding undone; the same length as they came.
    text: Bytes,
    /// The bytes as they came, where that is something else.
    original: Option<Bytes>,
    start: Start,
    rows: Vec<Row>,
    body: Span,
    begin: u32,
    bad_rows: u16,
}

impl Message {
    /// Reads a message that fills a datagram or a WebSocket frame, within [`Limits::DEFAULT`].
    ///
    /// Without Content-Length the body is the rest; with it, what follows the body is ignored (RFC 3261 §18.3).
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        parse::parse(bytes, &Limits::DEFAULT, true)
    }

    /// [`parse`](Self::parse) within other limits.
    pub fn parse_with(bytes: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        parse::parse(bytes, limits, true)
    }

    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request; `None` for a response.
    pub fn method(&self) -> Option<Method<'_>> {
        match self.start {
            Start::Request { method, .. } => Some(Self::start_method(&self.text, method)),
            Start::Response { .. } => None,
        }
    }

    /// The address of a request as written; empty for a response.
    pub fn request_uri_bytes(&self) -> &[u8] {
        match self.start {
            Start::Request { uri, .. } => uri.of(&self.text),
            Start::Response { .. } => b"",
        }
    }

    /// The address of a request. A response gives [`UriError::Empty`].
    pub fn request_uri(&self) -> Result<Uri<'_>, UriError> {
        match self.start {
            Start::Request { uri, .. } => Uri::parse(uri.of(&self.text)),
            Start::Response { .. } => Err(UriError::Empty),
        }
    }

    /// The status code of a response, 100 to 699; `None` for a request.
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response { code, .. } => Some(code),
            Start::Request { .. } => None,
        }
    }

    /// The reason phrase of a response as written, perhaps empty and perhaps not UTF-8.
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Response { reason, .. } => reason.of(&self.text),
            Start::Request { .. } => b"",
        }
    }

    /// The protocol's version: (2, 0), or whatever else the peer believes in.
    pub const fn version(&self) -> (u8, u8) {
        match self.start {
            Start::Request { version, .. } | Start::Response { version, .. } => version,
        }
    }

    /// The value of the first row of that name: unfolded, blanks at both ends removed, otherwise as written.
    #[inline]
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.rows.iter().find(|row| row.name == name).map(|row| row.value.of(&self.text))
    }

    /// The values of all rows of that name, in order, each unsplit.
    pub fn headers(&self, name: HeaderName) -> Rows<'_> {
        Rows::new(self, name)
    }

    /// The values of that name in order, rows of lists split at their commas (see [`HeaderName::is_list`]). Empty elements are left
    /// out.
    pub fn values(&self, name: HeaderName) -> Values<'_> {
        Values::new(self, name)
    }

    /// The value of the first row of a name that [`HeaderName`] does not know, in any case. It also finds known ones.
    pub fn other(&self, name: &str) -> Option<&[u8]> {
        match HeaderName::parse(name.as_bytes()) {
            HeaderName::Other => self
                .all()
                .find(|(written, id, _)| {
                    *id == HeaderName::Other && written.eq_ignore_ascii_case(name.as_bytes())
                })
                .map(|(_, _, value)| value),
            known => self.header(known),
        }
    }

    /// Every row in order: the name as written, the name's id, the value.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (&[u8], HeaderName, &[u8])> {
        self.rows.iter().map(|row| {
            let at = row.name_at as usize;
            (&self.text[at..at + row.name_len as usize], row.name, row.value.of(&self.text))
        })
    }

    /// How many rows have that name.
    pub fn count(&self, name: HeaderName) -> usize {
        self.rows.iter().filter(|row| row.name == name).count()
    }

    /// Lines among the headers that were no headers, and were skipped.
    pub const fn bad_rows(&self) -> u16 {
        self.bad_rows
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.body.of(&self.text)
    }

    /// The body, sharing the message's buffer.
    pub fn body_bytes(&self) -> Bytes {
        self.text.slice(self.body.range())
    }

    /// The message as it came: from its start line to the end of its body, folding included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.original.as_ref().unwrap_or(&self.text)[self.begin as usize..]
    }

    /// [`as_bytes`](Self::as_bytes), sharing the message's buffer.
    pub fn to_bytes(&self) -> Bytes {
        self.original.as_ref().unwrap_or(&self.text).slice(self.begin as usize..)
    }

    /// The top Via (RFC 3261 §20.42).
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        Via::parse_first(self.required(HeaderName::Via)?).map(|(via, _)| via)
    }

    /// Who sent it, with the tag (RFC 3261 §20.20).
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse_as(HeaderName::From, self.required(HeaderName::From)?)
    }

    /// Whom it is for, with the tag (RFC 3261 §20.39).
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse_as(HeaderName::To, self.required(HeaderName::To)?)
    }

    /// The Call-ID (RFC 3261 §20.8). `None` when missing, empty, or with blanks or octets above ASCII in it.
    pub fn call_id(&self) -> Option<&str> {
        let value = self.header(HeaderName::CallId)?;
        let valid = !value.is_empty() && value.iter().all(|b| (0x21..0x7f).contains(b));
        if valid { std::str::from_utf8(value).ok() } else { None }
    }

    /// Number and method of the command sequence (RFC 3261 §20.16).
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        CSeq::parse(self.required(HeaderName::CSeq)?)
    }

    /// The contacts. A single `*` gives an error for [`NameAddr`]; ask [`contact_is_star`](Self::contact_is_star) first.
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(HeaderName::Contact).map(|value| NameAddr::parse_as(HeaderName::Contact, value))
    }

    /// Whether Contact is `*`, which asks a registrar to remove all bindings (RFC 3261 §10.2.2).
    pub fn contact_is_star(&self) -> bool {
        self.header(HeaderName::Contact) == Some(b"*")
    }

    /// The event package (RFC 6665 §8.2.1).
    pub fn event(&self) -> Option<Event<'_>> {
        Event::parse(self.header(HeaderName::Event)?)
    }

    /// The state of the subscription (RFC 6665 §8.2.3).
    pub fn subscription_state(&self) -> Option<SubscriptionState<'_>> {
        SubscriptionState::parse(self.header(HeaderName::SubscriptionState)?)
    }

    /// Expires in seconds; an absurdly large value is [`u32::MAX`], a malformed one `None`.
    pub fn expires(&self) -> Option<u32> {
        self.seconds(HeaderName::Expires)
    }

    /// Min-Expires in seconds (RFC 3261 §20.23).
    pub fn min_expires(&self) -> Option<u32> {
        self.seconds(HeaderName::MinExpires)
    }

    /// Retry-After: seconds, and for how long the peer will then be there (RFC 3261 §20.33).
    pub fn retry_after(&self) -> Option<RetryAfter<'_>> {
        RetryAfter::parse(self.header(HeaderName::RetryAfter)?)
    }

    /// The entity tag that a service gave to a publication (RFC 3903 §11.3.1).
    pub fn sip_etag(&self) -> Option<&str> {
        self.token(HeaderName::SipEtag)
    }

    /// The entity tag that a publication refers to (RFC 3903 §11.3.2).
    pub fn sip_if_match(&self) -> Option<&str> {
        self.token(HeaderName::SipIfMatch)
    }

    /// The type of the body (RFC 3261 §20.15).
    pub fn content_type(&self) -> Option<MediaType<'_>> {
        MediaType::parse(self.header(HeaderName::ContentType)?)
    }

    /// Max-Forwards, 0 to 255; `None` when missing or malformed.
    pub fn max_forwards(&self) -> Option<u8> {
        crate::text::number(self.header(HeaderName::MaxForwards)?).and_then(|n| u8::try_from(n).ok())
    }

    /// Every challenge, of WWW-Authenticate and then of Proxy-Authenticate, in the order they stand. What is no digest challenge is left out.
    pub fn challenges(&self) -> Vec<Challenge> {
        let origin =
            self.headers(HeaderName::WwwAuthenticate).flat_map(|row| Challenge::parse_row(row, false));
        let proxy =
            self.headers(HeaderName::ProxyAuthenticate).flat_map(|row| Challenge::parse_row(row, true));
        origin.chain(proxy).collect()
    }

    /// The digest credentials of a request: of Authorization, or with `proxy` of Proxy-Authorization.
    pub fn credentials(&self, proxy: bool) -> impl Iterator<Item = Credentials> + '_ {
        let name = if proxy { HeaderName::ProxyAuthorization } else { HeaderName::Authorization };
        self.headers(name).filter_map(Credentials::parse)
    }

    fn required(&self, name: HeaderName) -> Result<&[u8], HeaderError> {
        self.header(name).ok_or(HeaderError::Missing(name))
    }

    fn seconds(&self, name: HeaderName) -> Option<u32> {
        crate::text::seconds(self.header(name)?)
    }

    fn token(&self, name: HeaderName) -> Option<&str> {
        let value = self.header(name)?;
        if crate::text::is_token(value) { std::str::from_utf8(value).ok() } else { None }
    }
}

// Bodies and credentials never reach a log by accident: the start line and the size are all that is shown.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Message");
        match self.start {
            Start::Request { .. } => out.field("method", &self.method().map_or("", |method| method.as_str())),
            Start::Response { code, .. } => out.field("status", &code),
        };
        out.field("headers", &self.rows.len())
            .field("body", &format_args!("{} bytes", self.body().len()))
            .finish()
    }
}
