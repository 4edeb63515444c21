//! A cursor over hostile XML.
//!
//! A thin layer over the pull parser: it resolves namespaces to the few that matter here, counts depth and elements,
//! refuses what could expand, and keeps the list of what was forgiven. Readers on top are then plain recursive
//! descent, and cannot recurse deeper than [`Limits::depth`].

use std::borrow::Cow;

use quick_xml::{
    NsReader,
    events::{BytesStart, Event, attributes::Attribute},
    name::{Namespace, ResolveResult},
};

use crate::{
    error::{DocumentError, Finding, Forgiven},
    limits::Limits,
};

/// PIDF, RFC 3863.
pub(crate) const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
/// Data model, RFC 4479.
pub(crate) const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
/// Rich presence, RFC 4480.
pub(crate) const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// Typing indication, RFC 3994.
pub(crate) const COMPOSING: &str = "urn:ietf:params:xml:ns:im-iscomposing";
/// Receipts, RFC 5438.
pub(crate) const IMDN: &str = "urn:ietf:params:xml:ns:imdn";
/// Resource list meta-information, RFC 4662.
pub(crate) const RLMI: &str = "urn:ietf:params:xml:ns:rlmi";
/// Contact information, RFC 4482.
pub(crate) const CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";
/// Capabilities, RFC 5196.
pub(crate) const CAPS: &str = "urn:ietf:params:xml:ns:pidf:caps";
/// Status of the past and the future, RFC 4481.
pub(crate) const TIMED: &str = "urn:ietf:params:xml:ns:pidf:timed-status";
/// Dialogs, RFC 4235.
pub(crate) const DIALOG_INFO: &str = "urn:ietf:params:xml:ns:dialog-info";
/// Conferences, RFC 4575.
pub(crate) const CONFERENCE_INFO: &str = "urn:ietf:params:xml:ns:conference-info";
/// What RFC 6501 adds to them.
pub(crate) const XCON: &str = "urn:ietf:params:xml:ns:xcon-conference-info";
/// Registrations, RFC 3680.
pub(crate) const REG_INFO: &str = "urn:ietf:params:xml:ns:reginfo";
/// GRUUs of registrations, RFC 5628.
pub(crate) const GRUU: &str = "urn:ietf:params:xml:ns:gruuinfo";
/// Files at a server (RCC.07).
pub(crate) const FT_HTTP: &str = "urn:gsma:params:xml:ns:rcs:rcs:fthttp";

const MAX_FINDINGS: usize = 16;
const MAX_NAMESPACES: usize = 48;

/// The namespaces that readers tell apart.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ns {
    Pidf,
    DataModel,
    Rpid,
    Composing,
    Imdn,
    Rlmi,
    Cipid,
    Caps,
    Timed,
    DialogInfo,
    ConferenceInfo,
    Xcon,
    RegInfo,
    Gruu,
    FileTransfer,
    /// None given, or an unbound prefix.
    None,
    /// One that says nothing here.
    Other,
}

/// The start of an element.
pub(crate) struct Element<'a> {
    pub(crate) ns: Ns,
    pub(crate) offset: u64,
    start: BytesStart<'a>,
    /// Depth of this element; its children are one deeper.
    depth: usize,
}

impl Element<'_> {
    pub(crate) fn name(&self) -> &str {
        self.start.local_name().into_inner()
    }

    pub(crate) fn is(&self, ns: Ns, name: &str) -> bool {
        self.ns == ns && self.name() == name
    }
}

/// The cursor.
pub(crate) struct Xml<'a> {
    reader: NsReader<&'a [u8]>,
    limits: Limits,
    depth: usize,
    elements: usize,
    forgiven: Vec<Forgiven>,
}

/// The document as text: UTF-8, with or without a byte order mark; anything else is taken as ISO 8859-1, which the
/// few senders that get this wrong mean.
pub(crate) fn decode<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(Cow<'a, str>, bool), DocumentError> {
    if bytes.len() > limits.bytes {
        return Err(DocumentError::TooLarge { what: "bytes", limit: limits.bytes });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (text, forgiven) = match core::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()), true),
    };
    if text.trim_ascii().is_empty() {
        return Err(DocumentError::Empty);
    }
    Ok((text, forgiven))
}

impl<'a> Xml<'a> {
    pub(crate) fn new(text: &'a str, latin: bool, limits: Limits) -> Self {
        let mut reader = NsReader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        reader.resolver_mut().set_max_namespace_bindings(MAX_NAMESPACES);
        let mut xml = Self { reader, limits, depth: 0, elements: 0, forgiven: Vec::new() };
        if latin {
            xml.forgive(0, Finding::Encoding);
        }
        xml
    }

    /// The root element, or why there is none.
    pub(crate) fn root(&mut self) -> Result<Element<'a>, DocumentError> {
        loop {
            match self.event()? {
                Step::Start(element) => return Ok(element),
                Step::Text(_) | Step::End => {}
                Step::Eof => return Err(DocumentError::Empty),
            }
        }
    }

    /// The next child of `parent`; `None` at the parent's end. What is left of the child before is skipped.
    pub(crate) fn child(&mut self, parent: &Element<'_>) -> Result<Option<Element<'a>>, DocumentError> {
        while self.depth >= parent.depth {
            match self.event()? {
                Step::Start(element) if element.depth == parent.depth + 1 => return Ok(Some(element)),
                Step::Start(_) | Step::Text(_) | Step::End => {}
                Step::Eof => return Err(self.malformed("it ends in the middle")),
            }
        }
        Ok(None)
    }

    /// The text of an element without that of its children, trimmed, and cut where it is too long.
    pub(crate) fn text(&mut self, element: &Element<'_>) -> Result<String, DocumentError> {
        let mut text = String::new();
        while self.depth >= element.depth {
            let inside = self.depth == element.depth;
            match self.event()? {
                Step::Text(piece) if inside => {
                    let room = self.limits.text.saturating_sub(text.len());
                    let kept = cut(&piece, room);
                    text.push_str(kept);
                    if kept.len() < piece.len() && !piece[kept.len()..].trim_ascii().is_empty() {
                        self.forgive(element.offset, Finding::LongText);
                    }
                }
                Step::Start(_) | Step::Text(_) | Step::End => {}
                Step::Eof => return Err(self.malformed("it ends in the middle")),
            }
        }
        let trimmed = text.trim();
        Ok(if trimmed.len() == text.len() { text } else { trimmed.to_owned() })
    }

    /// Reads to the end of an element without looking.
    pub(crate) fn skip(&mut self, element: &Element<'_>) -> Result<(), DocumentError> {
        while self.depth >= element.depth {
            if matches!(self.event()?, Step::Eof) {
                return Err(self.malformed("it ends in the middle"));
            }
        }
        Ok(())
    }

    /// Reads what comes after the root, which may be comments and blanks only; anything else is an error.
    pub(crate) fn finish(&mut self) -> Result<(), DocumentError> {
        loop {
            match self.event()? {
                Step::Eof => return Ok(()),
                Step::Text(text) if text.trim_ascii().is_empty() => {}
                // Some phones pad with NUL.
                Step::Text(text) if text.chars().all(|c| c == '\0' || c.is_ascii_whitespace()) => {}
                _ => return Err(self.malformed("something follows the root element")),
            }
        }
    }

    /// The value of an attribute without a namespace, or of `xml:lang`.
    pub(crate) fn attribute(&mut self, element: &Element<'_>, name: &str) -> Option<String> {
        let value = element
            .start
            .attributes()
            .with_checks(false)
            .map_while(Result::ok)
            .find(|attribute| attribute.key.0 == name)
            .map(|Attribute { value, .. }| match quick_xml::escape::unescape(&value) {
                Ok(text) => (cut(&text, self.limits.text).to_owned(), true),
                Err(_) => (cut(&value, self.limits.text).to_owned(), false),
            });
        let (value, clean) = value?;
        if !clean {
            self.forgive(element.offset, Finding::Entity);
        }
        Some(value)
    }

    /// Notes something that was forgiven.
    pub(crate) fn forgive(&mut self, offset: u64, finding: Finding) {
        if self.forgiven.len() < MAX_FINDINGS && self.forgiven.iter().all(|known| known.finding != finding) {
            self.forgiven.push(Forgiven { offset, finding });
        }
    }

    /// Whether a list may grow; says so when not.
    pub(crate) fn room(&mut self, length: usize, offset: u64) -> bool {
        let room = length < self.limits.entries;
        if !room {
            self.forgive(offset, Finding::LongList);
        }
        room
    }

    pub(crate) fn into_forgiven(self) -> Vec<Forgiven> {
        self.forgiven
    }

    fn malformed(&self, what: impl Into<String>) -> DocumentError {
        DocumentError::Malformed { offset: self.reader.buffer_position(), what: what.into() }
    }

    fn event(&mut self) -> Result<Step<'a>, DocumentError> {
        loop {
            let offset = self.reader.buffer_position();
            let (resolved, event) = match self.reader.read_resolved_event() {
                Ok(read) => read,
                Err(error) => {
                    let offset = self.reader.error_position();
                    return Err(DocumentError::Malformed {
                        offset,
                        what: cut(&error.to_string(), 200).to_owned(),
                    });
                }
            };
            match event {
                Event::Start(start) | Event::Empty(start) => {
                    let (ns, finding) = match resolved {
                        ResolveResult::Bound(Namespace(name)) => known(name),
                        ResolveResult::Unbound | ResolveResult::Unknown(_) => {
                            (Ns::None, Some(Finding::Namespace))
                        }
                    };
                    if let Some(finding) = finding {
                        self.forgive(offset, finding);
                    }
                    self.depth += 1;
                    self.elements += 1;
                    if self.depth > self.limits.depth {
                        return Err(DocumentError::TooLarge { what: "levels", limit: self.limits.depth });
                    }
                    if self.elements > self.limits.elements {
                        return Err(DocumentError::TooLarge {
                            what: "elements",
                            limit: self.limits.elements,
                        });
                    }
                    return Ok(Step::Start(Element { ns, offset, start, depth: self.depth }));
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Step::End);
                }
                Event::Text(text) => return Ok(Step::Text(text.xml10_content())),
                Event::CData(data) => return Ok(Step::Text(data.xml10_content())),
                Event::GeneralRef(reference) => {
                    if let Ok(Some(c)) = reference.resolve_char_ref() {
                        return Ok(Step::Text(Cow::Owned(String::from(c))));
                    }
                    match quick_xml::escape::resolve_predefined_entity(&reference.into_inner()) {
                        Some(text) => return Ok(Step::Text(Cow::Borrowed(text))),
                        None => self.forgive(offset, Finding::Entity),
                    }
                }
                Event::DocType(_) => return Err(DocumentError::Entities),
                Event::Eof if self.depth > 0 => return Err(self.malformed("it ends in the middle")),
                Event::Eof => return Ok(Step::Eof),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            }
        }
    }
}

enum Step<'a> {
    Start(Element<'a>),
    Text(Cow<'a, str>),
    End,
    Eof,
}

/// The namespace, and what was forgiven in its name. The drafts before the RFCs had other names, and chan_sip and
/// some phones never moved on.
fn known(name: &str) -> (Ns, Option<Finding>) {
    match name {
        PIDF => (Ns::Pidf, None),
        DATA_MODEL => (Ns::DataModel, None),
        RPID => (Ns::Rpid, None),
        COMPOSING => (Ns::Composing, None),
        FT_HTTP => (Ns::FileTransfer, None),
        IMDN => (Ns::Imdn, None),
        RLMI => (Ns::Rlmi, None),
        CIPID => (Ns::Cipid, None),
        CAPS => (Ns::Caps, None),
        TIMED => (Ns::Timed, None),
        DIALOG_INFO => (Ns::DialogInfo, None),
        CONFERENCE_INFO => (Ns::ConferenceInfo, None),
        XCON => (Ns::Xcon, None),
        REG_INFO => (Ns::RegInfo, None),
        GRUU => (Ns::Gruu, None),
        "urn:ietf:params:xml:ns:simple-prescaps-ext" | "urn:ietf:params:xml:ns:pidf:servcaps" => {
            (Ns::Caps, Some(Finding::DraftNamespace))
        }
        "urn:ietf:params:xml:ns:cpim-pidf" => (Ns::Pidf, Some(Finding::DraftNamespace)),
        "urn:ietf:params:xml:ns:pidf:person" => (Ns::DataModel, Some(Finding::DraftNamespace)),
        _ if name.starts_with("urn:ietf:params:xml:ns:pidf:rpid:")
            || name.starts_with("urn:ietf:params:xml:ns:pidf:status:rpid")
            || name.starts_with("urn:ietf:params:xml:ns:sip-rpids:rpid") =>
        {
            (Ns::Rpid, Some(Finding::DraftNamespace))
        }
        _ => (Ns::Other, None),
    }
}

/// At most `room` bytes of a text, never half a character.
pub(crate) fn cut(text: &str, room: usize) -> &str {
    &text[..text.floor_char_boundary(room)]
}

/// Writes a text so that it reads back as itself. Characters that XML 1.0 cannot hold are left out.
pub(crate) fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            _ => out.push(c),
        }
    }
}
