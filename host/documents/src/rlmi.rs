//! Resource list meta-information (RFC 4662, section 5): which resources a list has, what is known of each, and which
//! part of the same body says more.

use core::fmt::Write as _;

use crate::{
    error::{DocumentError, Finding, Parsed},
    limits::Limits,
    xml::{Element, Ns, RLMI, Xml, decode, escape_into},
};

/// The media type.
pub const MEDIA_TYPE: &str = "application/rlmi+xml";

/// Limits that suit a list of ten thousand resources.
pub const LIMITS: Limits =
    Limits { bytes: 8 * 1024 * 1024, depth: 8, elements: 131_072, entries: 32_768, text: 1_024 };

/// The document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// The address of the list.
    pub uri: String,
    /// Grows by one with each notification of a subscription. After a gap something is unknown.
    pub version: u32,
    /// Whether all resources are named here. If not, those that are not named are as they were.
    pub full_state: bool,
    /// The part of the body that says something of the list itself.
    pub cid: Option<String>,
    /// What the list is called, in several languages perhaps.
    pub names: Vec<Name>,
    /// The resources.
    pub resources: Vec<Resource>,
}

/// What something is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Its language.
    pub lang: Option<String>,
}

/// One resource of a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resource {
    /// Its address, which can be that of another list.
    pub uri: String,
    /// What it is called.
    pub names: Vec<Name>,
    /// The subscriptions behind it; none where nothing is known yet.
    pub instances: Vec<Instance>,
}

/// One subscription behind a resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// What tells it from others of the same resource.
    pub id: String,
    /// Its state.
    pub state: State,
    /// Why it ended: the words of `Subscription-State` (RFC 6665, section 4.1.3).
    pub reason: Option<String>,
    /// The part of the body that has its latest state.
    pub cid: Option<String>,
}

/// The state of a subscription behind a resource.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// Accepted.
    Active,
    /// Not yet decided on.
    #[default]
    Pending,
    /// Over.
    Terminated,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Terminated => "terminated",
        }
    }
}

/// Reads the document.
///
/// # Errors
/// [`DocumentError`]: not well-formed, larger than the limits, or another kind of document. `version` cannot be done
/// without either: without it no gap would be seen.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<List>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if !(matches!(root.ns, Ns::Rlmi | Ns::None) && root.name() == "list") {
        return Err(DocumentError::WrongRoot { root: root.name().to_owned(), expected: "list" });
    }
    let version = xml.attribute(&root, "version").and_then(|text| text.trim().parse().ok());
    let Some(version) = version else {
        return Err(DocumentError::Malformed {
            offset: root.offset,
            what: "`version` is missing".to_owned(),
        });
    };
    let full_state = match xml.attribute(&root, "fullState").as_deref().map(str::trim) {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        // Partial is what does no harm when it is wrong: nobody is forgotten.
        _ => {
            xml.forgive(root.offset, Finding::Attribute);
            false
        }
    };
    let cid = xml.attribute(&root, "cid");
    let uri = required(&mut xml, &root, "uri");
    let mut list = List { uri, version, full_state, cid, ..List::default() };
    while let Some(child) = xml.child(&root)? {
        match (child.ns, child.name()) {
            (Ns::Rlmi | Ns::None, "name") => name(&mut xml, &child, &mut list.names)?,
            (Ns::Rlmi | Ns::None, "resource") if xml.room(list.resources.len(), child.offset) => {
                let resource = resource(&mut xml, &child)?;
                list.resources.push(resource);
            }
            _ => xml.skip(&child)?,
        }
    }
    xml.finish()?;
    Ok(Parsed { document: list, forgiven: xml.into_forgiven() })
}

/// Writes the document in UTF-8.
#[must_use]
pub fn write(list: &List) -> String {
    let mut writer = Writer::new(&list.uri, list.version, list.full_state, list.cid.as_deref(), &list.names);
    for resource in &list.resources {
        writer.resource(&resource.uri, &resource.names, &resource.instances);
    }
    writer.finish()
}

/// Writes the document bit by bit, for lists that are never there as a whole.
#[derive(Debug)]
pub struct Writer {
    out: String,
}

impl Writer {
    /// Begins a document.
    #[must_use]
    pub fn new(uri: &str, version: u32, full_state: bool, cid: Option<&str>, names: &[Name]) -> Self {
        let mut writer = Self { out: String::with_capacity(512) };
        writer.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<list");
        writer.attribute("xmlns", RLMI);
        writer.attribute("uri", uri);
        let _ = write!(writer.out, " version=\"{version}\" fullState=\"{full_state}\"");
        if let Some(cid) = cid {
            writer.attribute("cid", cid);
        }
        writer.out.push('>');
        writer.names(names);
        writer
    }

    /// Adds a resource.
    pub fn resource(&mut self, uri: &str, names: &[Name], instances: &[Instance]) {
        self.out.push_str("<resource");
        self.attribute("uri", uri);
        if names.is_empty() && instances.is_empty() {
            self.out.push_str("/>");
            return;
        }
        self.out.push('>');
        self.names(names);
        for instance in instances {
            self.out.push_str("<instance");
            self.attribute("id", &instance.id);
            self.attribute("state", instance.state.name());
            for (name, value) in [("reason", &instance.reason), ("cid", &instance.cid)] {
                if let Some(value) = value {
                    self.attribute(name, value);
                }
            }
            self.out.push_str("/>");
        }
        self.out.push_str("</resource>");
    }

    /// Bytes until now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written, which never happens: the root element is there from the start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The document.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.out.push_str("</list>\n");
        self.out
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let _ = write!(self.out, " {name}=\"");
        escape_into(&mut self.out, value);
        self.out.push('"');
    }

    fn names(&mut self, names: &[Name]) {
        for name in names {
            self.out.push_str("<name");
            if let Some(lang) = &name.lang {
                self.attribute("xml:lang", lang);
            }
            self.out.push('>');
            escape_into(&mut self.out, &name.text);
            self.out.push_str("</name>");
        }
    }
}

fn resource(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Resource, DocumentError> {
    let mut resource = Resource { uri: required(xml, element, "uri"), ..Resource::default() };
    while let Some(child) = xml.child(element)? {
        match (child.ns, child.name()) {
            (Ns::Rlmi | Ns::None, "name") => name(xml, &child, &mut resource.names)?,
            (Ns::Rlmi | Ns::None, "instance") if xml.room(resource.instances.len(), child.offset) => {
                let state = match xml.attribute(&child, "state").as_deref().map(str::trim) {
                    Some("active") => State::Active,
                    Some("pending") => State::Pending,
                    Some("terminated") => State::Terminated,
                    // Unknown is not the same as over.
                    _ => {
                        xml.forgive(child.offset, Finding::Value);
                        State::Pending
                    }
                };
                let id = required(xml, &child, "id");
                let (reason, cid) = (xml.attribute(&child, "reason"), xml.attribute(&child, "cid"));
                resource.instances.push(Instance { id, state, reason, cid });
                xml.skip(&child)?;
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(resource)
}

fn name(xml: &mut Xml<'_>, element: &Element<'_>, names: &mut Vec<Name>) -> Result<(), DocumentError> {
    if !xml.room(names.len(), element.offset) {
        return xml.skip(element);
    }
    let lang = xml.attribute(element, "xml:lang");
    let text = xml.text(element)?;
    names.push(Name { text, lang });
    Ok(())
}

fn required(xml: &mut Xml<'_>, element: &Element<'_>, name: &str) -> String {
    xml.attribute(element, name).unwrap_or_else(|| {
        xml.forgive(element.offset, Finding::Attribute);
        String::new()
    })
}
