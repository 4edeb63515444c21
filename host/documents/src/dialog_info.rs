//! Dialogs of a person or a device (RFC 4235): who is on the phone.

use core::fmt::Write as _;

use crate::{
    error::{DocumentError, Finding, Parsed},
    limits::Limits,
    xml::{DIALOG_INFO, Element, Ns, Xml, cut, decode, escape_into},
};

/// The media type.
pub const MEDIA_TYPE: &str = "application/dialog-info+xml";

/// The document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DialogInfo {
    /// Grows by one with each document of a subscription.
    pub version: u32,
    /// Whether all dialogs are named here. If not, those that are not named are as they were.
    pub full: bool,
    /// Whose dialogs. Some servers write the watcher's address here: whom the subscription is about is what counts.
    pub entity: String,
    /// The dialogs.
    pub dialogs: Vec<Dialog>,
}

/// One dialog.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dialog {
    /// Tells it from others of the entity, in all documents of a subscription.
    pub id: String,
    /// Its Call-ID, where told.
    pub call_id: Option<String>,
    /// The entity's tag, where told.
    pub local_tag: Option<String>,
    /// The other side's tag, where told.
    pub remote_tag: Option<String>,
    /// Who began it.
    pub direction: Option<Direction>,
    /// Where it is.
    pub state: State,
    /// What led to the state, such as `cancelled`, `rejected`, `local-bye`.
    pub event: Option<String>,
    /// The status code that led to the state.
    pub code: Option<u16>,
    /// Seconds since the state machine began.
    pub duration: Option<u32>,
    /// The entity's side.
    pub local: Party,
    /// The other side.
    pub remote: Party,
}

/// One side of a dialog.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Party {
    /// The address, as in From or To.
    pub identity: Option<String>,
    /// Its name.
    pub display: Option<String>,
    /// Where it is, as in Contact.
    pub target: Option<String>,
}

/// Who began a dialog.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The entity.
    Initiator,
    /// The other side.
    Recipient,
}

/// Where a dialog is (section 3.7.1).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// The request was sent.
    #[default]
    Trying,
    /// Something answered, without a tag.
    Proceeding,
    /// It rings.
    Early,
    /// They talk.
    Confirmed,
    /// Over.
    Terminated,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Proceeding => "proceeding",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
            Self::Terminated => "terminated",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Trying, Self::Proceeding, Self::Early, Self::Confirmed, Self::Terminated]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

impl DialogInfo {
    /// Whether somebody talks.
    #[must_use]
    pub fn is_on_the_phone(&self) -> bool {
        self.dialogs.iter().any(|dialog| dialog.state == State::Confirmed)
    }
}

/// Reads the document.
///
/// # Errors
/// [`DocumentError`]. `version` cannot be done without: without it no gap would be seen.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<DialogInfo>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if root.name() != "dialog-info" || !matches!(root.ns, Ns::DialogInfo | Ns::None) {
        let root = cut(root.name(), 64).to_owned();
        return Err(DocumentError::WrongRoot { root, expected: "a document of RFC 4235" });
    }
    let version = xml.attribute(&root, "version").and_then(|text| text.trim().parse().ok());
    let Some(version) = version else {
        let what = "`version` is missing".to_owned();
        return Err(DocumentError::Malformed { offset: root.offset, what });
    };
    let full = xml.attribute(&root, "state").is_some_and(|state| state.trim() == "full");
    let entity = xml.attribute(&root, "entity").unwrap_or_default();
    let mut document = DialogInfo { version, full, entity, dialogs: Vec::new() };
    while let Some(child) = xml.child(&root)? {
        if !child.is(Ns::DialogInfo, "dialog") && !child.is(Ns::None, "dialog") {
            xml.skip(&child)?;
            continue;
        }
        let dialog = dialog(&mut xml, &child)?;
        if xml.room(document.dialogs.len(), child.offset) {
            document.dialogs.push(dialog);
        }
    }
    xml.finish()?;
    Ok(Parsed { document, forgiven: xml.into_forgiven() })
}

fn dialog(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Dialog, DocumentError> {
    let mut dialog = Dialog {
        id: xml.attribute(element, "id").unwrap_or_default(),
        call_id: xml.attribute(element, "call-id"),
        local_tag: xml.attribute(element, "local-tag"),
        remote_tag: xml.attribute(element, "remote-tag"),
        direction: match xml.attribute(element, "direction").as_deref() {
            Some("initiator") => Some(Direction::Initiator),
            Some("recipient") => Some(Direction::Recipient),
            _ => None,
        },
        ..Dialog::default()
    };
    if dialog.id.is_empty() {
        xml.forgive(element.offset, Finding::Attribute);
    }
    while let Some(child) = xml.child(element)? {
        match child.name() {
            "state" => {
                dialog.event = xml.attribute(&child, "event");
                dialog.code = xml.attribute(&child, "code").and_then(|code| code.trim().parse().ok());
                match State::from_name(&xml.text(&child)?) {
                    Some(state) => dialog.state = state,
                    None => xml.forgive(child.offset, Finding::Value),
                }
            }
            "duration" => dialog.duration = xml.text(&child)?.parse().ok(),
            "local" => dialog.local = party(xml, &child)?,
            "remote" => dialog.remote = party(xml, &child)?,
            _ => xml.skip(&child)?,
        }
    }
    Ok(dialog)
}

fn party(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Party, DocumentError> {
    let mut party = Party::default();
    while let Some(child) = xml.child(element)? {
        match child.name() {
            "identity" => {
                party.display = xml.attribute(&child, "display").or(party.display);
                party.identity = Some(xml.text(&child)?).filter(|text| !text.is_empty());
            }
            "target" => {
                party.target = xml.attribute(&child, "uri");
                xml.skip(&child)?;
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(party)
}

/// Writes the document.
#[must_use]
pub fn write(document: &DialogInfo) -> String {
    let mut out = String::with_capacity(256);
    let state = if document.full { "full" } else { "partial" };
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<dialog-info xmlns=\"{DIALOG_INFO}\" version=\"{}\" state=\"{state}\"",
        document.version
    );
    attribute(&mut out, "entity", Some(&document.entity));
    out.push('>');
    for dialog in &document.dialogs {
        out.push_str("<dialog");
        attribute(&mut out, "id", Some(&dialog.id));
        attribute(&mut out, "call-id", dialog.call_id.as_ref());
        attribute(&mut out, "local-tag", dialog.local_tag.as_ref());
        attribute(&mut out, "remote-tag", dialog.remote_tag.as_ref());
        match dialog.direction {
            Some(Direction::Initiator) => out.push_str(" direction=\"initiator\""),
            Some(Direction::Recipient) => out.push_str(" direction=\"recipient\""),
            None => {}
        }
        out.push_str("><state");
        attribute(&mut out, "event", dialog.event.as_ref());
        if let Some(code) = dialog.code {
            let _ = write!(out, " code=\"{code}\"");
        }
        let _ = write!(out, ">{}</state>", dialog.state.name());
        if let Some(duration) = dialog.duration {
            let _ = write!(out, "<duration>{duration}</duration>");
        }
        for (name, party) in [("local", &dialog.local), ("remote", &dialog.remote)] {
            if *party == Party::default() {
                continue;
            }
            let _ = write!(out, "<{name}>");
            if let Some(identity) = &party.identity {
                out.push_str("<identity");
                attribute(&mut out, "display", party.display.as_ref());
                out.push('>');
                escape_into(&mut out, identity);
                out.push_str("</identity>");
            }
            if let Some(target) = &party.target {
                out.push_str("<target");
                attribute(&mut out, "uri", Some(target));
                out.push_str("/>");
            }
            let _ = write!(out, "</{name}>");
        }
        out.push_str("</dialog>");
    }
    out.push_str("</dialog-info>\n");
    out
}

fn attribute(out: &mut String, name: &str, value: Option<&String>) {
    let Some(value) = value else { return };
    let _ = write!(out, " {name}=\"");
    escape_into(out, value);
    out.push('"');
}
