//! Several documents in one body (RFC 2046, section 5.1), and which of them belongs to which (RFC 2387).
//!
//! Parts are slices of the body: reading one of ten thousand parts copies nothing and takes time linear in its length.
//! The boundary is found wherever lines end, in CRLF or LF alone; what precedes the first one and follows the last one
//! is passed over; a body that ends in the middle of a part keeps it, and says so.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem::Finder;

/// Deepest nesting of bodies in bodies.
pub const MAX_DEPTH: u8 = 4;
/// Longest boundary that is read. RFC 2046 allows 70.
const MAX_BOUNDARY: usize = 200;
/// Most bytes of the headers of one part.
const MAX_HEADERS: usize = 8 * 1024;

/// Why a body cannot be taken apart.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MultipartError {
    /// The content type is another one.
    #[error("the body is not of several parts")]
    Type,
    /// It names no boundary, or one that cannot be.
    #[error("the content type has no usable boundary")]
    Boundary,
    /// The boundary that was named is nowhere in the body.
    #[error("the boundary is not in the body")]
    NoPart,
    /// More parts than were allowed.
    #[error("more than {0} parts")]
    TooMany(usize),
    /// A part has longer headers than are allowed.
    #[error("the headers of a part are too long")]
    Headers,
    /// Bodies in bodies, too deep.
    #[error("parts are nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

/// One part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    headers: Bytes,
    body: Bytes,
    depth: u8,
}

impl Part {
    /// What it says.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The value of a header, unfolded; the first one where it is there twice. `name` is compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut lines = self.headers.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end).peekable();
        while let Some(line) = lines.next() {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            if !line[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
                continue;
            }
            let mut value = String::from_utf8_lossy(line[colon + 1..].trim_ascii());
            while let Some(more) =
                lines.next_if(|line| line.first().is_some_and(|b| matches!(b, b' ' | b'\t')))
            {
                let value = value.to_mut();
                value.push(' ');
                value.push_str(&String::from_utf8_lossy(more.trim_ascii()));
            }
            return Some(value);
        }
        None
    }

    /// The media type with its parameters; `text/plain` where nothing is said (RFC 2046, section 5.1).
    #[must_use]
    pub fn content_type(&self) -> Cow<'_, str> {
        self.header("content-type").unwrap_or(Cow::Borrowed("text/plain"))
    }

    /// Whether it is of a media type, whatever its parameters.
    #[must_use]
    pub fn is(&self, media_type: &str) -> bool {
        essence(&self.content_type()).eq_ignore_ascii_case(media_type)
    }

    /// The `Content-ID` without its angle brackets: what a `cid` means.
    #[must_use]
    pub fn content_id(&self) -> Option<Cow<'_, str>> {
        self.header("content-id").map(|id| match id {
            Cow::Borrowed(id) => Cow::Borrowed(bare(id)),
            Cow::Owned(id) => Cow::Owned(bare(&id).to_owned()),
        })
    }

    /// Whether it says of itself that it holds parts.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        is_multipart(&self.content_type())
    }

    /// Its own parts. `most` is how many there may be.
    ///
    /// # Errors
    /// [`MultipartError`], as for [`read`].
    pub fn parts(&self, most: usize) -> Result<Multipart, MultipartError> {
        if self.depth >= MAX_DEPTH {
            return Err(MultipartError::Depth);
        }
        read_at(&self.content_type(), &self.body, most, self.depth + 1)
    }
}

/// A body of several parts.
#[derive(Clone, Debug)]
pub struct Multipart {
    /// The parts, in order.
    pub parts: Vec<Part>,
    /// Whether the last boundary was there. If not, the body was cut.
    pub is_complete: bool,
    root: usize,
}

impl Multipart {
    /// The part that speaks of the others: the one that `start` names, else the first (RFC 2387, section 3.2).
    #[must_use]
    pub fn root(&self) -> &Part {
        // There is at least one part.
        &self.parts[self.root]
    }

    /// The parts by their `Content-ID`, the first one where one is given twice.
    #[must_use]
    pub fn by_id(&self) -> HashMap<Cow<'_, str>, &Part> {
        let mut index = HashMap::with_capacity(self.parts.len());
        for part in &self.parts {
            if let Some(id) = part.content_id() {
                index.entry(id).or_insert(part);
            }
        }
        index
    }
}

/// Whether a content type says that there are parts.
#[must_use]
pub fn is_multipart(content_type: &str) -> bool {
    let kind = essence(content_type);
    kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// The media type without its parameters.
#[must_use]
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// A parameter of a content type, with quotes and escapes undone. `name` is compared without case.
#[must_use]
pub fn parameter<'a>(content_type: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut rest = content_type.split_once(';')?.1;
    loop {
        let equals = rest.find(['=', ';'])?;
        let found = rest[..equals].trim().eq_ignore_ascii_case(name);
        let is_value = rest.as_bytes()[equals] == b'=';
        rest = &rest[equals + 1..];
        if !is_value {
            continue;
        }
        let start = rest.trim_start();
        let (value, after) = match start.strip_prefix('"') {
            Some(inside) => quoted(inside),
            None => {
                let end = start.find(';').unwrap_or(start.len());
                (Cow::Borrowed(start[..end].trim()), &start[end..])
            }
        };
        if found {
            return Some(value);
        }
        rest = after.find(';').map(|at| &after[at + 1..])?;
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted(inside: &str) -> (Cow<'_, str>, &str) {
    let mut value = Cow::Borrowed("");
    let mut plain = 0;
    let mut all = inside.char_indices();
    while let Some((at, c)) = all.next() {
        match c {
            '"' => {
                value = match value {
                    Cow::Borrowed(_) if plain == 0 => Cow::Borrowed(&inside[..at]),
                    value => Cow::Owned(value.into_owned() + &inside[plain..at]),
                };
                return (value, &inside[at + 1..]);
            }
            '\\' => {
                value.to_mut().push_str(&inside[plain..at]);
                plain = at + 1;
                all.next();
            }
            _ => {}
        }
    }
    (Cow::Borrowed(inside), "")
}

fn bare(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id)
}

/// Takes a body apart. `most` is how many parts there may be.
///
/// # Errors
/// [`MultipartError`].
pub fn read(content_type: &str, body: &Bytes, most: usize) -> Result<Multipart, MultipartError> {
    read_at(content_type, body, most, 1)
}

fn read_at(content_type: &str, body: &Bytes, most: usize, depth: u8) -> Result<Multipart, MultipartError> {
    if !is_multipart(content_type) {
        return Err(MultipartError::Type);
    }
    let boundary = parameter(content_type, "boundary").ok_or(MultipartError::Boundary)?;
    // Blanks at its end would be lost on the way.
    let boundary = boundary.trim_end();
    if boundary.is_empty() || boundary.len() > MAX_BOUNDARY || boundary.contains(['\r', '\n']) {
        return Err(MultipartError::Boundary);
    }
    let mut parts = Vec::new();
    let mut delimiters = Delimiters::new(body, boundary);
    let mut is_complete = false;
    let mut open = None;
    while let Some(delimiter) = delimiters.next() {
        if let Some(start) = open {
            add(&mut parts, body, start, delimiter.start, most, depth)?;
        }
        open = Some(delimiter.end);
        if delimiter.is_last {
            is_complete = true;
            break;
        }
    }
    if let (Some(start), false) = (open, is_complete) {
        add(&mut parts, body, start, body.len(), most, depth)?;
    }
    if parts.is_empty() {
        return Err(MultipartError::NoPart);
    }
    let start = parameter(content_type, "start");
    let named = start.and_then(|start| {
        let start = bare(&start);
        parts.iter().position(|part: &Part| part.content_id().is_some_and(|id| id == start))
    });
    Ok(Multipart { parts, is_complete, root: named.unwrap_or(0) })
}

fn add(
    parts: &mut Vec<Part>,
    body: &Bytes,
    start: usize,
    end: usize,
    most: usize,
    depth: u8,
) -> Result<(), MultipartError> {
    if parts.len() == most {
        return Err(MultipartError::TooMany(most));
    }
    let bytes = &body[start..end.max(start)];
    let (headers, content) = split(bytes).ok_or(MultipartError::Headers)?;
    parts.push(Part {
        headers: body.slice(start..start + headers),
        body: body.slice(start + content..start + bytes.len()),
        depth,
    });
    Ok(())
}

/// Where the headers end and where the body begins; `None` where the headers are too long.
fn split(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut line = 0;
    loop {
        let end = memchr::memchr(b'\n', &bytes[line..(line + MAX_HEADERS).min(bytes.len())]);
        let Some(end) = end.map(|end| line + end) else {
            // No empty line: headers alone, if there is anything.
            return (bytes.len() <= MAX_HEADERS).then_some((bytes.len(), bytes.len()));
        };
        if matches!(&bytes[line..end], b"" | b"\r") {
            return Some((line, end + 1));
        }
        line = end + 1;
        if line > MAX_HEADERS {
            return None;
        }
    }
}

/// A line that is a boundary: from the line end before it to the first byte after it.
struct Delimiter {
    start: usize,
    end: usize,
    is_last: bool,
}

struct Delimiters<'a> {
    body: &'a [u8],
    dashed: Vec<u8>,
    finder: Finder<'static>,
    at: usize,
}

impl<'a> Delimiters<'a> {
    fn new(body: &'a [u8], boundary: &str) -> Self {
        let dashed = [b"--", boundary.as_bytes()].concat();
        let finder = Finder::new(&dashed).into_owned();
        Self { body, dashed, finder, at: 0 }
    }

    fn next(&mut self) -> Option<Delimiter> {
        loop {
            let found = self.at + self.finder.find(self.body.get(self.at..)?)?;
            self.at = found + self.dashed.len();
            // It stands at the start of a line.
            let start = match &self.body[..found] {
                [] => found,
                [.., b'\r', b'\n'] => found - 2,
                [.., b'\n'] => found - 1,
                _ => continue,
            };
            let rest = &self.body[self.at..];
            let is_last = rest.starts_with(b"--");
            let rest = if is_last { &rest[2..] } else { rest };
            // Nothing but blanks follows; else it is a longer boundary, or text.
            let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let line_end = match &rest[blanks..] {
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] => 1,
                [] => 0,
                _ if is_last => 0,
                _ => continue,
            };
            self.at += usize::from(is_last) * 2 + blanks + line_end;
            return Some(Delimiter { start, end: self.at, is_last });
        }
    }
}

/// Writes a body of several parts.
///
/// The boundary must not be in any part. One of 128 random bits is not, and nobody can arrange that it is.
#[derive(Debug)]
pub struct Writer {
    out: BytesMut,
    boundary: String,
}

impl Writer {
    /// Begins a body. `boundary` consists of letters, digits, `-` and `_`, and has at most 70 characters.
    #[must_use]
    pub fn new(boundary: &str) -> Self {
        debug_assert!(is_boundary(boundary), "`{boundary}` is no boundary");
        Self { out: BytesMut::new(), boundary: boundary.to_owned() }
    }

    /// Makes room for so many more bytes, so that a large body is not copied while it grows.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Adds a part.
    pub fn part(&mut self, content_type: &str, content_id: Option<&str>, body: &[u8]) {
        self.out.reserve(self.overhead(content_type, content_id) + body.len());
        self.begin();
        self.header("Content-Transfer-Encoding", "binary");
        if let Some(id) = content_id {
            self.header("Content-ID", &format!("<{id}>"));
        }
        self.header("Content-Type", content_type);
        self.out.put_slice(b"\r\n");
        self.out.put_slice(body);
        self.out.put_slice(b"\r\n");
    }

    /// Adds a part that says what is to be done with it (RFC 2183).
    pub fn disposed_part(&mut self, content_type: &str, disposition: &str, body: &[u8]) {
        self.out.reserve(self.overhead(content_type, None) + disposition.len() + 23 + body.len());
        self.begin();
        self.header("Content-Transfer-Encoding", "binary");
        self.header("Content-Disposition", disposition);
        self.header("Content-Type", content_type);
        self.out.put_slice(b"\r\n");
        self.out.put_slice(body);
        self.out.put_slice(b"\r\n");
    }

    /// Bytes that a part takes beside its body.
    #[must_use]
    pub fn overhead(&self, content_type: &str, content_id: Option<&str>) -> usize {
        // Dashes, line ends and the names of the headers.
        self.boundary.len() + content_type.len() + content_id.map_or(0, |id| id.len() + 16) + 59
    }

    /// Bytes until now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is no part yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The content type for it: `multipart/related` (RFC 2387, section 3), where `root` is the media type and the
    /// `Content-ID` of the part that speaks of the others.
    #[must_use]
    pub fn related_type(&self, root: &str, start: &str) -> String {
        format!("multipart/related;type=\"{root}\";start=\"<{start}>\";boundary=\"{}\"", self.boundary)
    }

    /// The content type for it: `multipart/mixed` (RFC 2046, section 5.1.3).
    #[must_use]
    pub fn mixed_type(&self) -> String {
        format!("multipart/mixed;boundary=\"{}\"", self.boundary)
    }

    /// The body.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.out.put_slice(b"--");
        self.out.put_slice(self.boundary.as_bytes());
        self.out.put_slice(b"--\r\n");
        self.out.freeze()
    }

    fn begin(&mut self) {
        self.out.put_slice(b"--");
        self.out.put_slice(self.boundary.as_bytes());
        self.out.put_slice(b"\r\n");
    }

    fn header(&mut self, name: &str, value: &str) {
        self.out.put_slice(name.as_bytes());
        self.out.put_slice(b": ");
        self.out.put_slice(value.as_bytes());
        self.out.put_slice(b"\r\n");
    }
}

fn is_boundary(text: &str) -> bool {
    (1..=70).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
