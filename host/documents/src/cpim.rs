//! Message wrappers, RFC 3862: headers about the conversation around a body of any type.

use std::borrow::Cow;

use crate::{error::DocumentError, moment::Moment};

/// The media type of these wrappers.
pub const MEDIA_TYPE: &str = "message/cpim";

const MAX_HEADER: usize = 1_024;
const MAX_HEADERS: usize = 64;

/// A wrapped message. Slices of what was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cpim<'a> {
    /// `From` as it stands. Whoever wrote it may have lied: trust the envelope instead.
    pub from: Option<Cow<'a, str>>,
    /// `To` as it stands.
    pub to: Option<Cow<'a, str>>,
    /// `DateTime`.
    pub date_time: Option<Moment>,
    /// First `Subject`.
    pub subject: Option<Cow<'a, str>>,
    /// `Content-Type` of the body; `text/plain` where it was missing.
    pub content_type: Option<Cow<'a, str>>,
    /// The body.
    pub body: &'a [u8],
}

/// Reads a wrapper: message headers, an empty line, headers of the content, an empty line, the content (section 2).
/// Lines may end in LF alone. A header that appears again, or is unknown, is skipped.
///
/// # Errors
/// When an empty line is missing, or a header exceeds 1,024 bytes or there are more than 64.
pub fn read(bytes: &[u8]) -> Result<Cpim<'_>, DocumentError> {
    let mut cpim = Cpim::default();
    let mut rest = bytes;
    let mut headers = 0;
    // Some senders leave the message headers out, or the empty line after them; what tells is the content type.
    for block in 0..2 {
        loop {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                let offset = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                return Err(DocumentError::Malformed {
                    offset,
                    what: "the empty line is missing".to_owned(),
                });
            };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = &rest[end + 1..];
            if line.is_empty() {
                break;
            }
            headers += 1;
            if line.len() > MAX_HEADER {
                return Err(DocumentError::TooLarge { what: "bytes in a header", limit: MAX_HEADER });
            }
            if headers > MAX_HEADERS {
                return Err(DocumentError::TooLarge { what: "headers", limit: MAX_HEADERS });
            }
            header(line, &mut cpim);
        }
        if block == 0 && cpim.content_type.is_some() {
            break;
        }
    }
    cpim.body = rest;
    Ok(cpim)
}

fn header<'a>(line: &'a [u8], cpim: &mut Cpim<'a>) {
    let Some(colon) = memchr::memchr(b':', line) else { return };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // A parameter such as `;lang=fr` belongs to the header, not to its name.
    let name = name.split(|&byte| byte == b';').next().unwrap_or(name).trim_ascii();
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    let field = if is(b"From") {
        &mut cpim.from
    } else if is(b"To") {
        &mut cpim.to
    } else if is(b"Subject") {
        &mut cpim.subject
    } else if is(b"Content-Type") {
        &mut cpim.content_type
    } else {
        if is(b"DateTime") && cpim.date_time.is_none() {
            cpim.date_time = core::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        }
        return;
    };
    if field.is_none() {
        *field = Some(String::from_utf8_lossy(value.trim_ascii()));
    }
}
