//! Bindings of an address (RFC 3680): which devices a person is signed in with.

use crate::{
    dom::Writer,
    error::{DocumentError, Finding, Parsed},
    limits::Limits,
    xml::{Element, GRUU, Ns, REG_INFO, Xml, cut, decode},
};

/// The media type.
pub const MEDIA_TYPE: &str = "application/reginfo+xml";

/// The document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RegInfo {
    /// Grows by one with each document of a subscription.
    pub version: u32,
    /// Whether all registrations are named here. If not, those that are not named are as they were.
    pub full: bool,
    /// The registrations.
    pub registrations: Vec<Registration>,
}

/// What is bound to one address of record.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registration {
    /// Tells it from others in all documents of a subscription.
    pub id: String,
    /// The address of record.
    pub aor: String,
    /// Where it is.
    pub state: State,
    /// The contacts.
    pub contacts: Vec<Contact>,
}

/// State of a registration or a contact.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// Nothing was ever bound.
    #[default]
    Init,
    /// Bound.
    Active,
    /// Not bound any more.
    Terminated,
}

/// One device, as the registrar knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contact {
    /// Tells it from others of the registration.
    pub id: String,
    /// Where it is.
    pub uri: String,
    /// Its name.
    pub display_name: Option<String>,
    /// Whether it is bound.
    pub state: State,
    /// What led to the state, such as `registered`, `refreshed`, `expired`.
    pub event: Option<String>,
    /// Seconds that it stays bound.
    pub expires: Option<u32>,
    /// Thousandths: 0 least, 1,000 most wanted.
    pub priority: Option<u16>,
    /// Its public GRUU (RFC 5628).
    pub public_gruu: Option<String>,
    /// Parameters of the contact, such as `+sip.instance`.
    pub params: Vec<(String, String)>,
}

/// Reads the document.
///
/// # Errors
/// [`DocumentError`]. `version` cannot be done without: without it no gap would be seen.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<RegInfo>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if root.name() != "reginfo" || !matches!(root.ns, Ns::RegInfo | Ns::None) {
        let root = cut(root.name(), 64).to_owned();
        return Err(DocumentError::WrongRoot { root, expected: "a document of RFC 3680" });
    }
    let version = xml.attribute(&root, "version").and_then(|text| text.trim().parse().ok());
    let Some(version) = version else {
        let what = "`version` is missing".to_owned();
        return Err(DocumentError::Malformed { offset: root.offset, what });
    };
    let full = xml.attribute(&root, "state").is_some_and(|state| state.trim() == "full");
    let mut document = RegInfo { version, full, registrations: Vec::new() };
    while let Some(child) = xml.child(&root)? {
        if child.name() != "registration" {
            xml.skip(&child)?;
            continue;
        }
        let mut registration = Registration {
            id: xml.attribute(&child, "id").unwrap_or_default(),
            aor: xml.attribute(&child, "aor").unwrap_or_default(),
            state: state(&mut xml, &child),
            contacts: Vec::new(),
        };
        while let Some(inner) = xml.child(&child)? {
            if inner.name() != "contact" {
                xml.skip(&inner)?;
                continue;
            }
            let contact = contact(&mut xml, &inner)?;
            if xml.room(registration.contacts.len(), inner.offset) {
                registration.contacts.push(contact);
            }
        }
        if xml.room(document.registrations.len(), child.offset) {
            document.registrations.push(registration);
        }
    }
    xml.finish()?;
    Ok(Parsed { document, forgiven: xml.into_forgiven() })
}

fn state(xml: &mut Xml<'_>, element: &Element<'_>) -> State {
    match xml.attribute(element, "state").as_deref().map(str::trim) {
        Some("active") => State::Active,
        Some("terminated") => State::Terminated,
        Some("init") => State::Init,
        _ => {
            xml.forgive(element.offset, Finding::Value);
            State::Init
        }
    }
}

fn contact(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Contact, DocumentError> {
    let q = xml.attribute(element, "q").and_then(|q| crate::pidf::thousandths(&q));
    let mut contact = Contact {
        id: xml.attribute(element, "id").unwrap_or_default(),
        state: state(xml, element),
        event: xml.attribute(element, "event"),
        expires: xml.attribute(element, "expires").and_then(|text| text.trim().parse().ok()),
        priority: q,
        ..Contact::default()
    };
    while let Some(child) = xml.child(element)? {
        match (child.ns, child.name()) {
            (Ns::Gruu, "pub-gruu") => {
                contact.public_gruu = xml.attribute(&child, "uri");
                xml.skip(&child)?;
            }
            (_, "uri") => contact.uri = xml.text(&child)?,
            (_, "display-name") => contact.display_name = Some(xml.text(&child)?),
            (_, "unknown-param") => {
                let name = xml.attribute(&child, "name").unwrap_or_default();
                let value = xml.text(&child)?;
                if xml.room(contact.params.len(), child.offset) {
                    contact.params.push((name, value));
                }
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(contact)
}

/// Writes the document. [`read`] gives it back as it is.
#[must_use]
pub fn write(document: &RegInfo) -> String {
    let state = |state: State| match state {
        State::Init => "init",
        State::Active => "active",
        State::Terminated => "terminated",
    };
    let mut writer = Writer::new();
    let tag = writer.tag("reginfo").attribute("xmlns", REG_INFO).attribute("xmlns:gr", GRUU);
    tag.attribute("version", &document.version.to_string())
        .attribute("state", if document.full { "full" } else { "partial" })
        .open();
    for registration in &document.registrations {
        let tag = writer.tag("registration").attribute("aor", &registration.aor);
        tag.attribute("id", &registration.id).attribute("state", state(registration.state)).open();
        for contact in &registration.contacts {
            let priority = contact.priority.map(|q| format!("{}.{:03}", q / 1000, q % 1000));
            let expires = contact.expires.map(|seconds| seconds.to_string());
            let tag = writer.tag("contact").attribute("id", &contact.id);
            tag.attribute("state", state(contact.state))
                .optional("event", contact.event.as_deref())
                .optional("expires", expires.as_deref())
                .optional("q", priority.as_deref())
                .open();
            writer.leaf("uri", &contact.uri);
            if let Some(name) = &contact.display_name {
                writer.leaf("display-name", name);
            }
            for (name, value) in &contact.params {
                writer.tag("unknown-param").attribute("name", name).open();
                writer.text(value);
                writer.close("unknown-param");
            }
            if let Some(gruu) = &contact.public_gruu {
                writer.tag("gr:pub-gruu").attribute("uri", gruu).empty();
            }
            writer.close("contact");
        }
        writer.close("registration");
    }
    writer.close("reginfo");
    writer.out
}
