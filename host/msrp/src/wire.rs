//! Start lines and headers: read, and written (RFC 4975, section 9).

use std::fmt;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::uri::{MsrpUri, UriError};

/// Most headers of one chunk.
pub const MAX_HEADERS: usize = 64;
/// Octets of the longest transaction's name that is read; the standard has 32.
pub const MAX_TRANSACTION: usize = 64;
/// Octets of a response's comment that are kept.
const MAX_COMMENT: usize = 64;
/// What an end line begins with.
pub(crate) const DASHES: &[u8] = b"-------";

/// What a request asks for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Method {
    /// A message, or a chunk of one.
    Send,
    /// What became of one.
    Report,
    /// Authorisation with a relay (RFC 4976).
    Auth,
    /// A name in a chat room (RFC 7701).
    Nickname,
    /// Something else.
    Other,
}

impl Method {
    /// As it stands in the start line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "SEND",
            Self::Report => "REPORT",
            Self::Auth => "AUTH",
            Self::Nickname => "NICKNAME",
            Self::Other => "",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "SEND" => Some(Self::Send),
            "REPORT" => Some(Self::Report),
            "AUTH" => Some(Self::Auth),
            "NICKNAME" => Some(Self::Nickname),
            other if !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                Some(Self::Other)
            }
            _ => None,
        }
    }
}

/// How a chunk ends (RFC 4975, section 7.1).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Flag {
    /// `$`: the message ends with it.
    Last,
    /// `+`: more of the message follows.
    More,
    /// `#`: the rest of the message never comes.
    Abort,
}

impl Flag {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Last => b'$',
            Self::More => b'+',
            Self::Abort => b'#',
        }
    }

    pub(crate) const fn parse(byte: u8) -> Option<Self> {
        match byte {
            b'$' => Some(Self::Last),
            b'+' => Some(Self::More),
            b'#' => Some(Self::Abort),
            _ => None,
        }
    }
}

/// Which octets of a message a chunk has; they are counted from 1 (RFC 4975, section 7.1.1).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ByteRange {
    /// The first.
    pub start: u64,
    /// The last; `None` while nobody knows. One less than the first for a chunk that has none.
    pub end: Option<u64>,
    /// How many the whole message has.
    pub total: Option<u64>,
}

impl ByteRange {
    /// What is meant where a chunk says nothing.
    pub const UNKNOWN: Self = Self { start: 1, end: None, total: None };

    fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| match digits {
            "*" => Some(None),
            // No sign, which `parse` would take.
            _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u64>().ok().map(Some),
            _ => None,
        };
        let (range, total) = text.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let [start, end, total] = [start, end, total].map(|digits| number(digits.trim()));
        let (start, end, total) = (start??, end?, total?);
        let fits = start > 0
            && end.is_none_or(|end| end >= start - 1)
            && total.is_none_or(|total| end.unwrap_or(start - 1) <= total);
        fits.then_some(Self { start, end, total })
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.start)?;
        match self.end {
            Some(end) => write!(f, "{end}/")?,
            None => f.write_str("*/")?,
        }
        match self.total {
            Some(total) => write!(f, "{total}"),
            None => f.write_str("*"),
        }
    }
}

/// The first line of a chunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// A request.
    Request(Method),
    /// A response.
    Response {
        /// Three digits.
        status: u16,
        /// What it says of it.
        comment: String,
    },
}

/// Start line and headers of a chunk, as received.
#[derive(Clone)]
pub struct Head {
    text: Box<str>,
    start: Start,
    transaction: Range<usize>,
    headers: SmallVec<[(Range<usize>, Range<usize>); 12]>,
    malformed: bool,
}

impl Head {
    /// Reads the lines before the body, without the empty one. The first must be one that [`transaction`] takes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let line_end = memchr::memchr(b'\n', bytes)?;
        let (id, start) = start_line(&bytes[..line_end])?;
        // What is not UTF-8 is no header, but the chunk that it came with has an end and can be answered.
        let text = String::from_utf8_lossy(bytes);
        let mut malformed = matches!(text, std::borrow::Cow::Owned(_));
        let text: Box<str> = text.into();
        let mut headers = SmallVec::new();
        // What was not UTF-8 has moved what comes behind it.
        let mut at = memchr::memchr(b'\n', text.as_bytes())? + 1;
        while at < text.len() {
            let end = memchr::memchr(b'\n', &text.as_bytes()[at..]).map_or(text.len(), |found| at + found);
            let line = text[at..end].trim_end_matches('\r');
            match line.split_once(':') {
                Some((name, value)) if is_token(name) && headers.len() < MAX_HEADERS => {
                    let from = at + name.len() + 1 + (value.len() - value.trim_start().len());
                    headers.push((at..at + name.len(), from..from + value.trim().len()));
                }
                _ => malformed = true,
            }
            at = end + 1;
        }
        Some(Self { text, start, transaction: id, headers, malformed })
    }

    /// What the chunk is.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The transaction's name.
    pub fn transaction(&self) -> &str {
        &self.text[self.transaction.clone()]
    }

    /// Whether some line could not be read.
    pub fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// The value of the first header of that name, whose case does not count.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_one = |found: &Range<usize>| self.text[found.clone()].eq_ignore_ascii_case(name);
        self.headers.iter().find(|(found, _)| is_one(found)).map(|(_, value)| &self.text[value.clone()])
    }

    /// The values of all headers of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is_one = move |found: &Range<usize>| self.text[found.clone()].eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(move |(found, _)| is_one(found))
            .map(|(_, value)| &self.text[value.clone()])
    }

    /// The addresses of `To-Path`.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn to_path(&self) -> Result<Vec<MsrpUri>, UriError> {
        MsrpUri::parse_path(self.header("To-Path").unwrap_or(""))
    }

    /// The addresses of `From-Path`.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn from_path(&self) -> Result<Vec<MsrpUri>, UriError> {
        MsrpUri::parse_path(self.header("From-Path").unwrap_or(""))
    }

    /// Which octets the chunk has; [`ByteRange::UNKNOWN`] where it does not say. `None` when that is malformed.
    pub fn byte_range(&self) -> Option<ByteRange> {
        self.header("Byte-Range").map_or(Some(ByteRange::UNKNOWN), ByteRange::parse)
    }

    /// The status in a report, `000 200 OK`, with its comment.
    pub fn reported(&self) -> Option<(u16, &str)> {
        let mut words = self.header("Status")?.splitn(3, ' ');
        // Other namespaces than 000 are not defined (RFC 4975, section 7.1.2).
        words.next().filter(|namespace| *namespace == "000")?;
        Some((status(words.next()?)?, words.next().unwrap_or("")))
    }
}

// Sessions in the addresses let whoever knows them speak.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:?}, {} headers)", self.start, self.headers.len())
    }
}

/// The transaction's name in a start line, if that is one.
pub(crate) fn transaction(line: &[u8]) -> Option<&[u8]> {
    start_line(line).map(|(id, _)| &line[id])
}

fn start_line(line: &[u8]) -> Option<(Range<usize>, Start)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let rest = line.strip_prefix(b"MSRP ")?;
    let length = memchr::memchr(b' ', rest)?;
    let is_id = (1..=MAX_TRANSACTION).contains(&length)
        && rest[..length].iter().all(|byte| byte.is_ascii_alphanumeric() || b".-+%=".contains(byte));
    let id = is_id.then_some(5..5 + length)?;
    let words = &rest[length + 1..];
    let (word, comment) = match memchr::memchr(b' ', words) {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let word = std::str::from_utf8(word).ok()?;
    let start = match status(word) {
        Some(status) => Start::Response { status, comment: shortened(&String::from_utf8_lossy(comment)) },
        None => Start::Request(Method::parse(word)?),
    };
    Some((id, start))
}

/// Something of a text that a peer wrote, for an error message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_COMMENT).collect()
}

fn status(word: &str) -> Option<u16> {
    (word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit())).then(|| word.parse().ok())?
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a value may stand in a header: it must not begin another line.
pub(crate) fn is_value(text: &str) -> bool {
    text.len() <= 1024 && !text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
}

/// Writes chunks one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: BytesMut,
}

impl Writer {
    pub(crate) fn with_capacity(octets: usize) -> Self {
        Self { out: BytesMut::with_capacity(octets) }
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Begins a chunk with its start line, `what` being a method or a status with its comment, and its paths.
    pub(crate) fn start(&mut self, id: &str, what: fmt::Arguments<'_>, to: &str, from: &str) {
        self.put(format_args!("MSRP {id} {what}\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n"));
    }

    pub(crate) fn header(&mut self, name: &str, value: impl fmt::Display) {
        self.put(format_args!("{name}: {value}\r\n"));
    }

    /// The body with the header that must be the last before it (RFC 4975, section 7.1).
    pub(crate) fn body(&mut self, content_type: &str, body: &[u8]) {
        self.put(format_args!("Content-Type: {content_type}\r\n\r\n"));
        self.out.extend_from_slice(body);
        self.out.extend_from_slice(b"\r\n");
    }

    pub(crate) fn end(&mut self, id: &str, flag: Flag) {
        self.out.extend_from_slice(DASHES);
        self.out.extend_from_slice(id.as_bytes());
        self.out.put_u8(flag.byte());
        self.out.extend_from_slice(b"\r\n");
    }

    /// What other chunks, written before, say.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.out.freeze()
    }

    fn put(&mut self, what: fmt::Arguments<'_>) {
        fmt::Write::write_fmt(&mut self.out, what).expect("memory takes everything");
    }
}

/// A response, whole.
pub(crate) fn response(id: &str, status: u16, comment: &str, to: &str, from: &str) -> Bytes {
    let mut writer = Writer::with_capacity(160 + to.len() + from.len());
    writer.start(id, format_args!("{status:03} {comment}"), to, from);
    writer.end(id, Flag::Last);
    writer.finish()
}

/// What a status means, as RFC 4975, section 10 calls it.
pub(crate) fn comment(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Failure to Deliver",
        408 => "Timeout",
        413 => "Stop Sending Message",
        415 => "Unsupported Media Type",
        423 => "Out of Bounds",
        425 => "Nickname Reserved or Already in Use",
        428 => "Private Messages Not Supported",
        481 => "No Such Session",
        501 => "Not Implemented",
        506 => "Session Already In Use",
        _ => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn start_lines_are_read_as_they_are_meant() {
        for (line, start) in [
            ("MSRP d93kswow SEND\r\n", Some(Start::Request(Method::Send))),
            ("MSRP d93kswow REPORT\r\n", Some(Start::Request(Method::Report))),
            ("MSRP d93kswow AUTH\r\n", Some(Start::Request(Method::Auth))),
            ("MSRP d93kswow NICKNAME\r\n", Some(Start::Request(Method::Nickname))),
            ("MSRP d93kswow FETCH\r\n", Some(Start::Request(Method::Other))),
            ("MSRP a.-+%=9 200 OK\r\n", Some(Start::Response { status: 200, comment: "OK".into() })),
            ("MSRP abcd 413\r\n", Some(Start::Response { status: 413, comment: String::new() })),
            ("MSRP abcd send\r\n", None),
            ("MSRP  SEND\r\n", None),
            ("MSRP ab/cd SEND\r\n", None),
            ("MSRP abcd\r\n", None),
            ("SIP/2.0 200 OK\r\n", None),
            ("msrp abcd SEND\r\n", None),
        ] {
            assert_eq!(Head::parse(line.as_bytes()).map(|head| head.start), start, "{line:?}");
        }
        assert!(Head::parse(format!("MSRP {} SEND\r\n", "a".repeat(65)).as_bytes()).is_none());
    }

    #[test]
    fn headers_are_found_in_any_case_and_without_blanks_around() {
        let head =
            head("MSRP ab1 SEND\r\nTO-path:  msrp://a:1/b;tcp \r\nX: 1\r\nx:2\r\nFailure-Report:no\r\n");
        assert_eq!(head.to_path().unwrap()[0].session(), Some("b"));
        assert_eq!(head.header("failure-report"), Some("no"));
        assert_eq!(head.all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert!(!head.is_malformed());
    }

    #[test]
    fn a_bad_header_spoils_no_other() {
        let head = head("MSRP ab1 SEND\r\nno colon\r\nMessage-ID: 1\r\n");
        assert!(head.is_malformed());
        assert_eq!(head.header("Message-ID"), Some("1"));
        assert_eq!(head.transaction(), "ab1");
        let many = "X: 1\r\n".repeat(MAX_HEADERS + 1);
        assert!(Head::parse(format!("MSRP ab1 SEND\r\n{many}").as_bytes()).unwrap().is_malformed());
        let broken = Head::parse(b"MSRP ab1 200 \xff\xff\r\nTo-Path: \xff\r\n").unwrap();
        assert!(broken.is_malformed());
        assert_eq!(broken.transaction(), "ab1");
    }

    #[test]
    fn byte_ranges_are_checked() {
        for (text, range) in [
            ("1-25/25", Some((1, Some(25), Some(25)))),
            ("1-*/*", Some((1, None, None))),
            ("2049-*/4096", Some((2049, None, Some(4096)))),
            ("1-0/0", Some((1, Some(0), Some(0)))),
            ("0-1/1", None),
            ("5-3/9", None),
            ("1-9/5", None),
            ("7-*/5", None),
            ("+1-2/3", None),
            ("-1-2/3", None),
            ("1-2", None),
            ("1-99999999999999999999999/1", None),
            ("*-1/1", None),
        ] {
            let read = ByteRange::parse(text);
            assert_eq!(read.map(|r| (r.start, r.end, r.total)), range, "{text}");
            if let Some(read) = read {
                assert_eq!(read.to_string(), text);
            }
        }
    }

    #[test]
    fn reports_have_a_status() {
        let status =
            |value: &str| head(&format!("MSRP a1 REPORT\r\nStatus: {value}\r\n")).reported().map(|s| s.0);
        assert_eq!(status("000 200 OK"), Some(200));
        assert_eq!(status("000 413"), Some(413));
        assert_eq!(status("001 200 OK"), None);
        assert_eq!(status("200 OK"), None);
    }
}
