//! From bytes to a message: one pass, one vector.
//!
//! The pass finds the start line, the header rows and the end of the headers; it maps names to numbers and leaves values
//! alone. What a value means is decided when somebody asks. So a message costs the same however strange its values
//! are, and a proxy can forward what it could not interpret.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2, memrchr};

use super::{HeaderName, Message, Method, Row, Span, Start};
use crate::text::{self, TOKEN};

/// Bounds on what is accepted, checked before anything is allocated for it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The longest message, in octets, body included. At most 2³¹.
    pub message: usize,
    /// The most header rows in a message.
    pub headers: usize,
    /// The longest header row or start line, in octets, name and folding included.
    pub header: usize,
}

impl Limits {
    /// 64 KiB a message, 256 headers, 8 KiB a header.
    pub const DEFAULT: Self = Self { message: 65_536, headers: 256, header: 8_192 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What was wrong with bytes that are no message.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing but line ends: a keep-alive, not a message.
    #[error("there is no message here")]
    Empty,
    /// The first line is neither a request line nor a status line.
    #[error("the start line is malformed")]
    StartLine,
    /// A carriage return without a line feed inside the headers.
    #[error("a carriage return stands alone in the headers")]
    LineEnd,
    /// The blank line after the headers is missing.
    #[error("the headers do not end")]
    Unterminated,
    /// Content-Length is negative, not a number, or present with two different values.
    #[error("content-length is malformed or contradicts itself")]
    ContentLength,
    /// Content-Length names more octets than arrived.
    #[error("the body is shorter than content-length says")]
    Truncated,
    /// The message is longer than [`Limits::message`].
    #[error("the message is too large")]
    TooLarge,
    /// More rows than [`Limits::headers`].
    #[error("there are too many headers")]
    TooManyHeaders,
    /// A row longer than [`Limits::header`].
    #[error("a header is too large")]
    HeaderTooLarge,
}

impl Fault {
    /// The status code with which a request of this kind is refused: 513 for what is too large (RFC 3261 §21.5.7), else 400.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyHeaders | Self::HeaderTooLarge => 513,
            _ => 400,
        }
    }
}

/// Why bytes were refused, where, and what could be read of them nevertheless.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{fault} (octet {at})")]
pub struct ParseError {
    fault: Fault,
    at: usize,
    salvage: Option<Box<Message>>,
}

impl ParseError {
    fn new(fault: Fault, at: usize) -> Self {
        Self { fault, at, salvage: None }
    }

    /// What was wrong.
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    /// The octet at which it was noticed, from the start of the input.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The status code with which a request is refused.
    pub const fn status(&self) -> u16 {
        self.fault.status()
    }

    /// The headers of the broken message, where they could be read: enough to answer a request, and nothing else.
    /// The body is empty, and the method or address may be wrong.
    pub fn salvage(&self) -> Option<&Message> {
        self.salvage.as_deref()
    }
}

impl PartialEq for ParseError {
    fn eq(&self, other: &Self) -> bool {
        self.fault == other.fault && self.at == other.at
    }
}

/// Rows of a usual message, so that the vector is allocated once.
const USUAL_ROWS: usize = 24;

pub(super) fn parse(input: Bytes, limits: &Limits, datagram: bool) -> Result<Message, ParseError> {
    let bytes = &input[..];
    if bytes.len() > limits.message.min(1 << 31) {
        return Err(ParseError::new(Fault::TooLarge, limits.message));
    }
    // Line ends before the start line are ignored (RFC 3261 §7.5).
    let begin =
        bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).ok_or(ParseError::new(Fault::Empty, 0))?;

    let (start, mut at, mut fault) = start_line(bytes, begin, limits)?;
    let mut rows: Vec<Row> = Vec::with_capacity(USUAL_ROWS);
    let mut length: Option<Span> = None;
    let mut lengths_differ = false;
    let mut folded = false;
    let mut bad_rows: u16 = 0;

    let body_at = loop {
        let Some(&first) = bytes.get(at) else {
            return Err(ParseError::new(Fault::Unterminated, bytes.len()));
        };
        if first == b'\n' {
            break at + 1;
        }
        if first == b'\r' && bytes.get(at + 1) == Some(&b'\n') {
            break at + 2;
        }

        // The name: token octets, then perhaps blanks, then a colon.
        let mut name_end = at;
        while name_end < bytes.len() && TOKEN[usize::from(bytes[name_end])] {
            name_end += 1;
        }
        let mut colon = name_end;
        while colon < bytes.len() && text::is_blank(bytes[colon]) {
            colon += 1;
        }
        let named = name_end > at && bytes.get(colon) == Some(&b':');
        let mut value_at = if named { colon + 1 } else { colon };
        while value_at < bytes.len() && text::is_blank(bytes[value_at]) {
            value_at += 1;
        }

        // The value: up to a line end that no blank follows.
        let mut search = value_at;
        let (value_end, next) = loop {
            let Some(found) = memchr2(b'\r', b'\n', &bytes[search..]) else {
                return Err(ParseError::new(Fault::Unterminated, bytes.len()));
            };
            let end = search + found;
            let after = if bytes[end] == b'\n' {
                end + 1
            } else if bytes.get(end + 1) == Some(&b'\n') {
                end + 2
            } else {
                // Another element might take it for a line end and see headers that are not there for us.
                return Err(ParseError::new(Fault::LineEnd, end));
            };
            match bytes.get(after) {
                Some(&b) if text::is_blank(b) => {
                    folded = true;
                    search = after;
                }
                _ => break (end, after),
            }
        };
        if next - at > limits.header {
            return Err(ParseError::new(Fault::HeaderTooLarge, at));
        }

        if named {
            if rows.len() == limits.headers {
                return Err(ParseError::new(Fault::TooManyHeaders, at));
            }
            let name = HeaderName::parse(&bytes[at..name_end]);
            let mut value_end = value_end;
            while value_end > value_at && text::is_blank(bytes[value_end - 1]) {
                value_end -= 1;
            }
            let value = Span::new(value_at, value_end);
            if name == HeaderName::ContentLength {
                // Compared as numbers below; what differs as a number is refused.
                if let Some(earlier) = length
                    && content_length(earlier.of(bytes)) != content_length(value.of(bytes))
                {
                    lengths_differ = true;
                }
                length = Some(value);
            }
            rows.push(Row { value, name_at: at as u32, name_len: (name_end - at) as u32, name });
        } else {
            // A line that is no header spoils nothing but itself.
            bad_rows = bad_rows.saturating_add(1);
        }
        at = next;
    };

    let available = bytes.len() - body_at;
    let mut body_len = if datagram { available } else { 0 };
    if let Some(value) = length {
        match content_length(value.of(bytes)) {
            Some(n) if !lengths_differ && n <= available as u64 => body_len = n as usize,
            Some(_) if !lengths_differ => {
                fault.get_or_insert((Fault::Truncated, value.start as usize));
                body_len = 0;
            }
            _ => {
                fault.get_or_insert((Fault::ContentLength, value.start as usize));
                body_len = 0;
            }
        }
    }

    // What follows the body is no part of the message (RFC 3261 §18.3).
    let whole = if begin == 0 && body_at + body_len == bytes.len() { None } else { Some(body_at + body_len) };
    let body = Span::new(body_at, body_at + body_len);
    let mut message =
        Message { text: input, original: None, start, rows, body, begin: begin as u32, bad_rows };
    if let Some(end) = whole {
        message.text.truncate(end);
    }
    if folded {
        message.unfold();
        message.trim_values();
    }
    match fault {
        None => Ok(message),
        Some((fault, at)) => {
            // Enough to answer, nothing to act upon.
            message.body = Span::new(body_at, body_at);
            Err(ParseError { fault, at, salvage: Some(Box::new(message)) })
        }
    }
}

/// The number of a Content-Length value; folding and blanks around it are allowed.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let begin = value.iter().position(|b| !is_space(b))?;
    let end = value.iter().rposition(|b| !is_space(b))? + 1;
    text::number(&value[begin..end])
}

type Noted = Option<(Fault, usize)>;

/// The start line, where the next line starts, and the fault where the line is a request line that can be answered but not followed.
fn start_line(bytes: &[u8], begin: usize, limits: &Limits) -> Result<(Start, usize, Noted), ParseError> {
    let malformed = || ParseError::new(Fault::StartLine, begin);
    let newline =
        memchr(b'\n', &bytes[begin..]).ok_or(ParseError::new(Fault::Unterminated, bytes.len()))? + begin;
    let next = newline + 1;
    if next - begin > limits.header {
        return Err(ParseError::new(Fault::HeaderTooLarge, begin));
    }
    let end = if newline > begin && bytes[newline - 1] == b'\r' { newline - 1 } else { newline };
    let line = &bytes[begin..end];
    if memchr2(b'\r', 0, line).is_some() || bytes.get(next).copied().is_some_and(text::is_blank) {
        return Err(malformed());
    }

    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        let space = memchr(b' ', line).ok_or(malformed())?;
        let version = version(&line[..space]).ok_or(malformed())?;
        // Three digits, and then a blank or, leniently, nothing (RFC 4475 §3.1.1.13, §3.1.2.19).
        let digits = line.get(space + 1..space + 4).ok_or(malformed())?;
        let code = text::number(digits).filter(|code| (100..=699).contains(code)).ok_or(malformed())? as u16;
        let reason_at = match line.get(space + 4) {
            None => space + 4,
            Some(b' ') => space + 5,
            Some(_) => return Err(malformed()),
        };
        let reason = Span::new(begin + reason_at, end);
        return Ok((Start::Response { version, code, reason }, next, None));
    }

    let method_end = memchr(b' ', line).ok_or(malformed())?;
    if !text::is_token(&line[..method_end]) {
        return Err(malformed());
    }
    let method = Span::new(begin, begin + method_end);
    // From here on it is a request, if a bad one; only a line that ends like a request line is worth answering.
    let trimmed = text::trim_end(line);
    let version_at = memrchr(b' ', trimmed).ok_or(malformed())? + 1;
    let version = version(&trimmed[version_at..]).ok_or(malformed())?;
    let uri = text::trim(&trimmed[method_end..version_at]);
    let uri_at = trimmed.len() - text::trim_start(&trimmed[method_end..]).len();
    let exact = trimmed.len() == line.len()
        && uri_at == method_end + 1
        && uri_at + uri.len() + 1 == version_at
        && uri.first().is_some_and(u8::is_ascii_alphabetic)
        && memchr2(b' ', b'\t', uri).is_none();
    let fault = (!exact).then_some((Fault::StartLine, begin + method_end));
    let uri = Span::new(begin + uri_at, begin + uri_at + uri.len());
    Ok((Start::Request { method, uri, version }, next, fault))
}

/// `SIP/` and two numbers, in any case.
fn version(text: &[u8]) -> Option<(u8, u8)> {
    if text == b"SIP/2.0" {
        return Some((2, 0));
    }
    let (name, numbers) = text.split_at_checked(4)?;
    if !name.eq_ignore_ascii_case(b"SIP/") {
        return None;
    }
    let dot = memchr(b'.', numbers)?;
    let number = |digits: &[u8]| text::number(digits).map(|n| n.min(255) as u8);
    Some((number(&numbers[..dot])?, number(&numbers[dot + 1..])?))
}

impl Message {
    /// Undoes folding, once for the whole message, so that no reader has to know of it: line ends inside values become blanks, which is what RFC 3261 §7.3.1
    /// says they mean. The bytes as they came are kept beside.
    fn unfold(&mut self) {
        let mut text = BytesMut::from(&self.text[..]);
        for row in &self.rows {
            let value = &mut text[row.value.range()];
            let mut from = 0;
            while let Some(found) = memchr2(b'\r', b'\n', &value[from..]) {
                value[from + found] = b' ';
                from += found + 1;
            }
        }
        self.original = Some(std::mem::replace(&mut self.text, text.freeze()));
    }

    /// Cuts off the blanks that unfolding left at both ends of values.
    fn trim_values(&mut self) {
        let text = &self.text[..];
        for row in &mut self.rows {
            let mut start = row.value.start as usize;
            let mut end = row.value.end as usize;
            while end > start && text::is_blank(text[end - 1]) {
                end -= 1;
            }
            while end > start && text::is_blank(text[start]) {
                start += 1;
            }
            row.value = Span::new(start, end);
        }
    }

    pub(super) fn start_method<'a>(text: &'a [u8], span: Span) -> Method<'a> {
        // The span was checked to be a token, which is what the reader asks for.
        Method::parse(span.of(text)).unwrap_or(Method::Other(""))
    }
}
