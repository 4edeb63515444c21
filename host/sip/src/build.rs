//! Messages to be sent, written straight into one buffer.
//!
//! A builder writes start line and headers in the order in which they are given, and ends with Content-Length and the body. A value with
//! a line end or a NUL in it is refused, so nothing that a person or a peer typed can become a header of its own.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use memchr::memchr3;

use crate::message::{HeaderName, Message, Method, NameAddr, Via};
use crate::text::{is_token, split_outside, trim};
use crate::uri::{Uri, UriError};

/// Why a message could not be built.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A value had a line end or a NUL in it.
    #[error("the value of {0} has a line end or a nul in it")]
    Injection(String),
    /// A header's name is no token.
    #[error("{0:?} cannot be the name of a header")]
    Name(String),
    /// The request's address is malformed.
    #[error("the request's address is malformed: {0}")]
    Uri(#[from] UriError),
    /// The method is no token.
    #[error("the method is malformed")]
    Method,
    /// A status code below 100 or above 699.
    #[error("the status code {0} does not exist")]
    Status(u16),
}

/// Room for a usual message: what fits into a datagram.
const USUAL: usize = 1_400;

/// What both builders share: a buffer and the first thing that went wrong.
#[derive(Debug)]
struct Writer {
    buffer: Vec<u8>,
    error: Option<BuildError>,
    content_type: bool,
}

impl Writer {
    fn new(capacity: usize) -> Self {
        Self { buffer: Vec::with_capacity(capacity), error: None, content_type: false }
    }

    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    fn display(&mut self, name: &str, value: &dyn fmt::Display) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b": ");
        let value_at = self.buffer.len();
        // Writing into memory does not fail; a Display that says so is to blame for a short value.
        let _ = write!(self.buffer, "{value}");
        if has_line_end(&self.buffer[value_at..]) {
            self.buffer.truncate(start);
            self.fail(BuildError::Injection(name.to_owned()));
            return;
        }
        self.buffer.extend_from_slice(b"\r\n");
    }

    fn bytes(&mut self, name: &[u8], value: &[u8]) {
        if has_line_end(value) {
            self.fail(BuildError::Injection(String::from_utf8_lossy(name).into_owned()));
            return;
        }
        self.buffer.reserve(name.len() + value.len() + 4);
        self.buffer.extend_from_slice(name);
        self.buffer.extend_from_slice(b": ");
        self.buffer.extend_from_slice(value);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// The name to write, or `None` for those that the builder writes by itself.
    fn known(&mut self, name: HeaderName) -> Option<&'static str> {
        match name {
            // It is counted, never believed.
            HeaderName::ContentLength => None,
            HeaderName::Other => {
                self.fail(BuildError::Name(String::new()));
                None
            }
            _ => {
                self.content_type |= name == HeaderName::ContentType;
                Some(name.as_str())
            }
        }
    }

    fn named(&mut self, name: &[u8], value: &[u8]) {
        if !is_token(name) {
            self.fail(BuildError::Name(String::from_utf8_lossy(name).into_owned()));
            return;
        }
        match HeaderName::parse(name) {
            HeaderName::ContentLength => {}
            known => {
                self.content_type |= known == HeaderName::ContentType;
                self.bytes(name, value);
            }
        }
    }

    fn finish(mut self, body: &[u8]) -> Result<Bytes, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut digits = [0_u8; 20];
        let length = decimal(body.len(), &mut digits);
        self.buffer.reserve(22 + length.len() + body.len());
        self.buffer.extend_from_slice(b"Content-Length: ");
        self.buffer.extend_from_slice(length);
        self.buffer.extend_from_slice(b"\r\n\r\n");
        self.buffer.extend_from_slice(body);
        Ok(self.buffer.into())
    }
}

/// What would end a header, or stop a reader that takes NUL for an end.
fn has_line_end(value: &[u8]) -> bool {
    memchr3(b'\r', b'\n', 0, value).is_some()
}

/// `n` in decimal digits, without the machinery of `fmt`.
fn decimal(mut n: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}

/// The methods that both builders have.
macro_rules! header_methods {
    () => {
        /// Adds a header. Content-Length is left out here and counted at the end.
        pub fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
            if let Some(text) = self.writer.known(name) {
                self.writer.display(text, &value);
            }
            self
        }

        /// Adds a header whose value may be other than UTF-8.
        pub fn header_bytes(mut self, name: HeaderName, value: &[u8]) -> Self {
            if let Some(text) = self.writer.known(name) {
                self.writer.bytes(text.as_bytes(), value);
            }
            self
        }

        /// Adds a header whose name [`HeaderName`] does not know, or one that is to be spelt as given.
        pub fn other(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
            self.writer.named(name.as_bytes(), value.as_ref());
            self
        }

        /// Copies every row of that name from another message, as it stands there.
        pub fn copy(mut self, from: &Message, name: HeaderName) -> Self {
            for value in from.headers(name) {
                if let Some(text) = self.writer.known(name) {
                    self.writer.bytes(text.as_bytes(), value);
                }
            }
            self
        }

        /// Adds one row as [`Message::all`] gives it, name spelt as it was.
        pub fn row(mut self, name: &[u8], value: &[u8]) -> Self {
            self.writer.named(name, value);
            self
        }

        /// Sets the body and its type. An empty `content_type` leaves the type to a header of its own.
        pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
            if !content_type.is_empty() && !self.writer.content_type {
                self = self.header(HeaderName::ContentType, content_type);
            }
            self.body = body.into();
            self
        }
    };
}

/// A request to be sent.
#[derive(Debug)]
pub struct RequestBuilder {
    writer: Writer,
    body: Bytes,
}

impl RequestBuilder {
    /// Starts a request. The address is checked (RFC 3261 §7.1) and written as given; it may be of any scheme.
    pub fn new(method: &Method<'_>, uri: &str) -> Self {
        let mut writer = Writer::new(USUAL);
        if !is_token(method.as_str().as_bytes()) {
            writer.fail(BuildError::Method);
        }
        if let Err(error) = Uri::parse_str(uri) {
            writer.fail(error.into());
        }
        for part in [method.as_str(), " ", uri, " SIP/2.0\r\n"] {
            writer.buffer.extend_from_slice(part.as_bytes());
        }
        Self { writer, body: Bytes::new() }
    }

    header_methods!();

    /// The whole request. Fails with the first thing that went wrong.
    pub fn finish(self) -> Result<Bytes, BuildError> {
        self.writer.finish(&self.body)
    }
}

/// A response to be sent.
#[derive(Debug)]
pub struct ResponseBuilder<'a> {
    writer: Writer,
    to: Option<&'a [u8]>,
    tag: bool,
    body: Bytes,
}

impl<'a> ResponseBuilder<'a> {
    /// Starts a response without copying anything. An empty `reason` becomes the usual phrase of the code.
    pub fn new(status: u16, reason: &str) -> Self {
        let mut writer = Writer::new(USUAL);
        if !(100..=699).contains(&status) {
            writer.fail(BuildError::Status(status));
        }
        let reason = if reason.is_empty() { reason_phrase(status) } else { reason };
        let _ = write!(writer.buffer, "SIP/2.0 {status} ");
        if has_line_end(reason.as_bytes()) {
            writer.fail(BuildError::Injection("reason phrase".to_owned()));
        }
        writer.buffer.extend_from_slice(reason.as_bytes());
        writer.buffer.extend_from_slice(b"\r\n");
        Self { writer, to: None, tag: false, body: Bytes::new() }
    }

    /// Starts the response to a request: Via, Record-Route, From, To, Call-ID, CSeq and Timestamp are copied (RFC 3261 §8.2.6). What the request lacks is
    /// left out.
    pub fn for_request(request: &'a Message, status: u16, reason: &str) -> Self {
        Self::start(request, None, status, reason)
    }

    /// Like [`for_request`](Self::for_request), and writes into the top Via where the request came from: `received` where sent-by says something else
    /// (RFC 3261 §18.2.1), `received` and `rport` where the client asked for `rport` (RFC 3581 §4).
    pub fn for_request_from(request: &'a Message, source: SocketAddr, status: u16, reason: &str) -> Self {
        Self::start(request, Some(source), status, reason)
    }

    /// Starts a response that another hop gave, to be passed on to where the request came from: only Via is copied from the
    /// request, as [`for_request_from`](Self::for_request_from) does it.
    pub fn relayed(request: &Message, source: SocketAddr, status: u16, reason: &str) -> Self {
        let mut builder = Self::new(status, reason);
        builder.vias(request, Some(source));
        builder
    }

    fn vias(&mut self, request: &Message, source: Option<SocketAddr>) {
        for (i, via) in request.headers(HeaderName::Via).enumerate() {
            match source {
                Some(source) if i == 0 => self.top_via(via, source),
                _ => self.writer.bytes(b"Via", via),
            }
        }
    }

    fn start(request: &'a Message, source: Option<SocketAddr>, status: u16, reason: &str) -> Self {
        let mut builder = Self::new(status, reason);
        builder.vias(request, source);
        let mut builder = builder.copy(request, HeaderName::RecordRoute);
        if let Some(from) = request.header(HeaderName::From) {
            builder.writer.bytes(b"From", from);
        }
        builder.to = request.header(HeaderName::To);
        // A provisional 100 is hop by hop and gets no tag (RFC 3261 §8.2.6.2).
        builder.tag = status > 100;
        for name in [HeaderName::CallId, HeaderName::CSeq, HeaderName::Timestamp] {
            if let Some(value) = request.header(name) {
                builder.writer.bytes(name.as_str().as_bytes(), value);
            }
        }
        builder
    }

    fn top_via(&mut self, row: &[u8], source: SocketAddr) {
        let row = via_from(row, source);
        self.writer.bytes(b"Via", &row);
    }

    /// The tag to add to To where the request had none (RFC 3261 §8.2.6.2). Ignored for 100, and where a tag is there already.
    pub fn to_tag(mut self, tag: &str) -> Self {
        if let Some(to) = self.to.take() {
            let tagged = NameAddr::parse(to).is_none_or(|address| address.params().has("tag"));
            if tagged || !self.tag || tag.is_empty() {
                self.writer.bytes(b"To", to);
            } else if is_token(tag.as_bytes()) {
                self.writer.bytes(b"To", &[to, b";tag=", tag.as_bytes()].concat());
            } else {
                self.writer.fail(BuildError::Injection("to tag".to_owned()));
            }
        }
        self
    }

    header_methods!();

    /// The whole response. Fails with the first thing that went wrong.
    pub fn finish(self) -> Result<Bytes, BuildError> {
        let builder = self.to_tag("");
        builder.writer.finish(&builder.body)
    }
}

/// The topmost row of Via with where its request came from: `received` where sent-by says something else
/// (RFC 3261 §18.2.1), `received` and `rport` where the client asked for `rport` (RFC 3581 §4).
pub fn via_from(row: &[u8], source: SocketAddr) -> Cow<'_, [u8]> {
    let (value, rest) = split_outside(row, b',');
    // Into a Via that breaks the grammar, such as one with an open quote, nothing can be written safely.
    let Some(via) = Via::parse(trim(value)).ok().filter(Via::is_strict) else {
        return Cow::Borrowed(row);
    };
    let ip = canonical_ip(source.ip());
    let asked = via.rport().is_some();
    if !asked && via.host().ip().map(canonical_ip) == Some(ip) {
        return Cow::Borrowed(row);
    }
    let mut out = Vec::with_capacity(row.len() + 64);
    let params = via.params().as_bytes();
    let head = &trim(value)[..trim(value).len() - params.len()];
    out.extend_from_slice(crate::text::trim_end(head.strip_suffix(b";").unwrap_or(head)));
    for part in crate::text::Split::new(params, b';').filter(|part| !part.is_empty()) {
        let name = crate::text::trim_end(&part[..memchr::memchr(b'=', part).unwrap_or(part.len())]);
        // What the sender claims about itself is replaced by what was seen.
        if !name.eq_ignore_ascii_case(b"received") && !name.eq_ignore_ascii_case(b"rport") {
            out.push(b';');
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(format!(";received={ip}").as_bytes());
    if asked {
        out.extend_from_slice(format!(";rport={}", source.port()).as_bytes());
    }
    if let Some(rest) = rest {
        out.push(b',');
        out.extend_from_slice(rest);
    }
    Cow::Owned(out)
}

/// IPv4 in IPv6's clothes is IPv4.
fn canonical_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The usual phrase of a status code; that of its class where the code is not known.
#[allow(clippy::match_overlapping_arm, reason = "each class ends with what is said of codes not listed")]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        100..200 => "Progress",
        200..300 => "OK",
        300..400 => "Redirection",
        400..500 => "Client Error",
        500..600 => "Server Error",
        _ => "Global Failure",
    }
}
