//! "Is typing" indications, RFC 3994.

use crate::{
    error::{DocumentError, Finding, Parsed},
    limits::Limits,
    moment::Moment,
    xml::{Ns, Xml, decode, escape_into},
};

/// The media type of these documents.
pub const MEDIA_TYPE: &str = "application/im-iscomposing+xml";

/// One indication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Composing {
    /// Whether the other side is writing. An unknown state counts as idle (section 3.2).
    pub active: bool,
    /// What is being written, such as `text/plain`.
    pub content_type: Option<String>,
    /// When there was last something written.
    pub last_active: Option<Moment>,
    /// Seconds after which an active state ends without a refresh; at least 60 where it is given (section 3.3).
    pub refresh: Option<u32>,
}

/// Reads an indication.
///
/// # Errors
/// As [`pidf::read`](crate::pidf::read).
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<Composing>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if !(root.is(Ns::Composing, "isComposing") || root.is(Ns::None, "isComposing")) {
        return Err(DocumentError::WrongRoot {
            root: crate::xml::cut(root.name(), 64).to_owned(),
            expected: "an indication of RFC 3994",
        });
    }
    let mut document = Composing { active: false, content_type: None, last_active: None, refresh: None };
    while let Some(child) = xml.child(&root)? {
        if !matches!(child.ns, Ns::Composing | Ns::None) {
            xml.skip(&child)?;
            continue;
        }
        match child.name() {
            "state" => document.active = xml.text(&child)? == "active",
            "contenttype" => document.content_type = Some(xml.text(&child)?),
            "lastactive" => {
                let text = xml.text(&child)?;
                document.last_active = text.parse().ok();
                if document.last_active.is_none() {
                    xml.forgive(child.offset, Finding::Date);
                }
            }
            "refresh" => match xml.text(&child)?.parse::<u32>() {
                Ok(seconds) => document.refresh = Some(seconds.max(60)),
                Err(_) => xml.forgive(child.offset, Finding::Value),
            },
            _ => xml.skip(&child)?,
        }
    }
    xml.finish()?;
    Ok(Parsed { document, forgiven: xml.into_forgiven() })
}

/// Writes an indication.
#[must_use]
pub fn write(composing: &Composing) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<isComposing xmlns=\"");
    out.push_str(crate::xml::COMPOSING);
    out.push_str("\"><state>");
    out.push_str(if composing.active { "active" } else { "idle" });
    out.push_str("</state>");
    let mut element = |name: &str, text: Option<String>| {
        if let Some(text) = text {
            out.push_str(&format!("<{name}>"));
            escape_into(&mut out, &text);
            out.push_str(&format!("</{name}>"));
        }
    };
    element("contenttype", composing.content_type.clone());
    element("lastactive", composing.last_active.map(|at| at.to_string()));
    element("refresh", composing.refresh.map(|seconds| seconds.to_string()));
    out.push_str("</isComposing>\n");
    out
}
