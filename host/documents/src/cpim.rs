//! Message wrappers, RFC 3862: headers about the conversation around a body of any type.
//!
//! A wrapper travels end to end, so it says what the envelope loses on the way: to whom else a message went, when it was
//! written, which receipts are wanted. Whoever wrote it may have lied: who sent a message is what the envelope says.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};

use crate::{error::DocumentError, moment::Moment};

/// The media type of these wrappers.
pub const MEDIA_TYPE: &str = "message/cpim";

const MAX_HEADER: usize = 1_024;
const MAX_HEADERS: usize = 256;
/// Names of the headers that are read here without a namespace (section 4).
const CORE: [&str; 7] = ["From", "To", "cc", "DateTime", "Subject", "NS", "Require"];

/// A wrapped message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cpim<'a> {
    /// `From`. Trust the envelope instead.
    pub from: Option<Party>,
    /// Every `To`.
    pub to: Vec<Party>,
    /// Every `cc`.
    pub cc: Vec<Party>,
    /// `DateTime`.
    pub date_time: Option<Moment>,
    /// Every `Subject`, each in another language.
    pub subjects: Vec<Subject>,
    /// What `Require` names, as it stands; see [`unsupported`](Self::unsupported).
    pub require: Vec<String>,
    /// Headers of other namespaces.
    pub extensions: Vec<Extension>,
    /// Headers of the content, its type among them.
    pub content_headers: Vec<(String, String)>,
    /// The content, as its transfer encoding has it; see [`content`](Self::content).
    pub body: Cow<'a, [u8]>,
}

/// Somebody that a header names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Party {
    /// The formal name; empty for none.
    pub name: String,
    /// The address.
    pub uri: String,
}

impl Party {
    /// An address without a name.
    #[must_use]
    pub fn new(uri: impl Into<String>) -> Self {
        Self { name: String::new(), uri: uri.into() }
    }
}

/// What a message is about, in one language.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subject {
    /// The language (RFC 5646), where it is said.
    pub lang: Option<String>,
    /// The words.
    pub text: String,
}

/// A header of another namespace (section 3.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extension {
    /// The namespace; empty where a prefix was never bound.
    pub namespace: String,
    /// The name without its prefix.
    pub name: String,
    /// The value.
    pub value: String,
}

impl<'a> Cpim<'a> {
    /// A wrapper around a content.
    #[must_use]
    pub fn new(content_type: impl Into<String>, body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            content_headers: vec![("Content-Type".to_owned(), content_type.into())],
            body: body.into(),
            ..Self::default()
        }
    }

    /// A header of the content; the first one where it is there twice. `name` is compared without case.
    #[must_use]
    pub fn content_header(&self, name: &str) -> Option<&str> {
        let found = self.content_headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The type of the content; `None` where nothing is said, which means `text/plain`.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_header("Content-Type")
    }

    /// The content without its transfer encoding; `None` for one that is not known, or is not kept to.
    #[must_use]
    pub fn content(&self) -> Option<Cow<'_, [u8]>> {
        let encoding = self.content_header("Content-Transfer-Encoding").unwrap_or("binary").trim();
        let is = |known: &str| encoding.eq_ignore_ascii_case(known);
        if ["binary", "8bit", "7bit", ""].into_iter().any(is) {
            Some(Cow::Borrowed(&self.body))
        } else if is("base64") {
            let text: Vec<u8> =
                self.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            STANDARD.decode(text).ok().map(Cow::Owned)
        } else if is("quoted-printable") {
            Some(Cow::Owned(quoted_printable(&self.body)))
        } else {
            None
        }
    }

    /// The values of a header of another namespace. `name` is compared without case.
    pub fn extension<'b>(&'b self, namespace: &'b str, name: &'b str) -> impl Iterator<Item = &'b str> {
        let found = self.extensions.iter().filter(move |header| {
            header.namespace.eq_ignore_ascii_case(namespace) && header.name.eq_ignore_ascii_case(name)
        });
        found.map(|header| header.value.as_str())
    }

    /// What must be understood (section 4.7) and is not: neither a header of this specification nor one of `namespaces`.
    pub fn unsupported<'b>(&'b self, namespaces: &'b [&'b str]) -> impl Iterator<Item = &'b str> {
        let known = move |name: &str| {
            CORE.iter().any(|core| core.eq_ignore_ascii_case(name))
                || self.extensions.iter().any(|header| {
                    let local = name.rsplit_once('.').map_or(name, |(_, local)| local);
                    namespaces.contains(&header.namespace.as_str()) && header.name.eq_ignore_ascii_case(local)
                })
        };
        self.require.iter().map(String::as_str).filter(move |name| !known(name))
    }

    /// The subject in a language, or the one that comes first.
    #[must_use]
    pub fn subject(&self, lang: Option<&str>) -> Option<&str> {
        let spoken = |subject: &&Subject| match (&subject.lang, lang) {
            (Some(known), Some(lang)) => known.eq_ignore_ascii_case(lang),
            _ => false,
        };
        self.subjects.iter().find(spoken).or(self.subjects.first()).map(|subject| subject.text.as_str())
    }

    /// Writes the wrapper and what is in it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 512);
        if let Some(from) = &self.from {
            put(&mut out, "From", "", &party(from));
        }
        for to in &self.to {
            put(&mut out, "To", "", &party(to));
        }
        for cc in &self.cc {
            put(&mut out, "cc", "", &party(cc));
        }
        if let Some(at) = self.date_time {
            put(&mut out, "DateTime", "", &at.to_string());
        }
        for Subject { lang, text } in &self.subjects {
            // The parameter stands between the colon and the value (section 3.6).
            let parameter = lang.as_ref().map_or_else(String::new, |lang| format!(";lang={lang}"));
            put(&mut out, "Subject", &parameter, &escaped(text));
        }
        let mut prefixes: Vec<(&str, String)> = Vec::new();
        for Extension { namespace, .. } in &self.extensions {
            if !prefixes.iter().any(|(known, _)| known == namespace) {
                let prefix = match namespace.as_str() {
                    crate::imdn::NAMESPACE => "imdn".to_owned(),
                    _ => format!("x{}", prefixes.len()),
                };
                put(&mut out, "NS", "", &format!("{prefix} <{namespace}>"));
                prefixes.push((namespace, prefix));
            }
        }
        if !self.require.is_empty() {
            put(&mut out, "Require", "", &self.require.join(","));
        }
        for Extension { namespace, name, value } in &self.extensions {
            let prefix =
                prefixes.iter().find(|(known, _)| known == namespace).map_or("", |(_, prefix)| prefix);
            put(&mut out, &format!("{prefix}.{name}"), "", &escaped(value));
        }
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.content_headers {
            put(&mut out, name, "", value);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

fn put(out: &mut Vec<u8>, name: &str, parameter: &str, value: &str) {
    for part in [name, ":", parameter, " ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Reads a wrapper: message headers, an empty line, headers of the content, an empty line, the content (section 2).
/// Lines may end in LF alone, names may be in any case; of a header that may stand once, the first counts.
///
/// # Errors
/// When an empty line is missing, or a header exceeds 1,024 bytes or there are more than 256.
pub fn read(bytes: &[u8]) -> Result<Cpim<'_>, DocumentError> {
    let mut cpim = Cpim::default();
    let mut scope = Scope::default();
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
            // Two readers of one message must not see two senders: whoever checks one may pass on the other.
            let is_doubtful = memchr::memchr(b'\r', line).is_some() || scope.senders > 0 && is_sender(line);
            if is_doubtful {
                let offset = u64::try_from(bytes.len() - rest.len()).unwrap_or(u64::MAX);
                let what = "it is in doubt whom the message is from".to_owned();
                return Err(DocumentError::Malformed { offset, what });
            }
            scope.senders += usize::from(is_sender(line));
            header(line, &mut cpim, &mut scope);
        }
        if block == 0 && cpim.content_type().is_some() {
            break;
        }
    }
    cpim.body = Cow::Borrowed(rest);
    Ok(cpim)
}

/// Namespaces as they are bound at a place.
#[derive(Default)]
struct Scope {
    prefixes: Vec<(String, String)>,
    default: Option<String>,
    /// Headers that name the sender, whether they can be read or not.
    senders: usize,
}

/// Whether a header names the sender.
fn is_sender(line: &[u8]) -> bool {
    let end = line.iter().position(|byte| matches!(byte, b':' | b';')).unwrap_or(line.len());
    line[..end].trim_ascii().eq_ignore_ascii_case(b"From")
}

impl Scope {
    /// The namespace and the local part of a name.
    fn resolve(&self, name: &str) -> (String, String) {
        let Some((prefix, local)) = name.split_once('.') else {
            return (self.default.clone().unwrap_or_default(), name.to_owned());
        };
        // The last binding holds. The prefix of RFC 5438 is so common that some forget to bind it.
        let bound = self.prefixes.iter().rev().find(|(known, _)| known == prefix);
        match bound {
            Some((_, namespace)) => (namespace.clone(), local.to_owned()),
            None if prefix.eq_ignore_ascii_case("imdn") => {
                (crate::imdn::NAMESPACE.to_owned(), local.to_owned())
            }
            None => (String::new(), name.to_owned()),
        }
    }
}

fn header(line: &[u8], cpim: &mut Cpim<'_>, scope: &mut Scope) {
    let line = String::from_utf8_lossy(line);
    let Some((name, rest)) = line.split_once(':') else { return };
    // Parameters stand before the value; some senders put them before the colon.
    let (name, early) = name.split_once(';').unwrap_or((name, ""));
    let (name, mut value) = (name.trim(), rest);
    let mut lang = parameter(early, "lang");
    if let Some(parameters) = rest.strip_prefix(';') {
        let (parameters, rest) = parameters.split_once(' ').unwrap_or((parameters, ""));
        lang = lang.or_else(|| parameter(parameters, "lang"));
        value = rest;
    }
    let value = value.trim();
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if is("From") {
        cpim.from = read_party(value);
    } else if is("To") {
        cpim.to.extend(read_party(value));
    } else if is("cc") {
        cpim.cc.extend(read_party(value));
    } else if is("DateTime") {
        cpim.date_time = cpim.date_time.or_else(|| value.parse().ok());
    } else if is("Subject") {
        cpim.subjects.push(Subject { lang, text: unescaped(value) });
    } else if is("NS") {
        let Some((prefix, uri)) = value.strip_suffix('>').and_then(|value| value.split_once('<')) else {
            return;
        };
        match prefix.trim() {
            "" => scope.default = Some(uri.to_owned()),
            prefix => scope.prefixes.push((prefix.to_owned(), uri.to_owned())),
        }
    } else if is("Require") {
        let names = value.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
        cpim.require.extend(names.map(str::to_owned));
    } else if name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-")) {
        cpim.content_headers.push((name.to_owned(), value.to_owned()));
    } else {
        let (namespace, name) = scope.resolve(name);
        cpim.extensions.push(Extension { namespace, name, value: unescaped(value) });
    }
}

fn parameter(parameters: &str, name: &str) -> Option<String> {
    let parts = parameters.split(';').filter_map(|part| part.split_once('='));
    let mut found = parts.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim().to_owned())
}

/// `Formal Name <uri>`, the name in quotes or not (section 3.3).
fn read_party(value: &str) -> Option<Party> {
    let Some((name, uri)) = value.strip_suffix('>').and_then(|value| value.rsplit_once('<')) else {
        // Without brackets there is one sensible meaning.
        return (!value.is_empty() && !value.contains(' ')).then(|| Party::new(value));
    };
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    Some(Party { name: unescaped(name), uri: uri.trim().to_owned() })
}

fn party(party: &Party) -> String {
    // Brackets and what ends a line have no place in an address.
    let uri: String = party.uri.chars().filter(|c| !c.is_control() && !"<> ".contains(*c)).collect();
    if party.name.is_empty() {
        format!("<{uri}>")
    } else {
        format!("\"{}\" <{uri}>", escaped(&party.name).replace('"', "\\\""))
    }
}

/// Undoes the escapes of a header (section 3.2, 3.5): `\n`, `\\`, `\u20ac` and the like.
fn unescaped(value: &str) -> String {
    if !value.contains('\\') {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        rest = &rest[c.len_utf8()..];
        let plain = match c {
            'b' => Some('\u{8}'),
            't' => Some('\t'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            '\\' | '"' | '\'' => Some(c),
            'u' => match rest.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
                Some(number) => {
                    rest = &rest[4..];
                    Some(char::from_u32(number).unwrap_or('\u{fffd}'))
                }
                None => None,
            },
            _ => None,
        };
        match plain {
            Some(plain) => out.push(plain),
            // Not an escape that there is: as it stands.
            None => out.extend(['\\', c]),
        }
    }
    out.push_str(rest);
    out
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// RFC 2045, section 6.7. What is no escape stays as it is.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let digits = rest.get(..2).and_then(|two| core::str::from_utf8(two).ok());
        if let Some(byte) = digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            out.push(byte);
            rest = &rest[2..];
        } else if let Some(next) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = next;
        } else {
            out.push(b'=');
        }
    }
    out.extend_from_slice(rest);
    out
}
