//! Contact lists as a service keeps them: `resource-lists` (RFC 4826, section 3).
//!
//! ```
//! use attache_documents::{Limits, resource_lists::{self, Member}};
//!
//! let text = br#"<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="friends">
//!     <entry uri="sip:bob@example.com"><display-name>Bob</display-name></entry></list></resource-lists>"#;
//! let document = resource_lists::read(text, &Limits::STORED)?;
//! let Member::Entry(bob) = &document.lists[0].members[0] else { panic!() };
//! assert_eq!(bob.uri, "sip:bob@example.com");
//! assert_eq!(resource_lists::read(resource_lists::write(&document).as_bytes(), &Limits::STORED)?, document);
//! # Ok::<(), attache_documents::DocumentError>(())
//! ```

use crate::dom::{Dom, Element, Foreign, ForeignAttribute, Writer};
use crate::error::DocumentError;
use crate::limits::Limits;

/// The media type of these documents.
pub const MEDIA_TYPE: &str = "application/resource-lists+xml";
/// Their namespace.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:resource-lists";
/// The application usage of XCAP under which they are kept (RFC 4826, section 3.4.1).
pub const AUID: &str = "resource-lists";

/// A document: lists, one beside the other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResourceLists {
    /// The lists, in order.
    pub lists: Vec<List>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// A list of members, which may be lists themselves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// Its name, which no other list beside it has.
    pub name: Option<String>,
    /// Its name for people.
    pub display_name: Option<DisplayName>,
    /// Its members, in order.
    pub members: Vec<Member>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// A member of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Member {
    /// A list within the list.
    List(List),
    /// One address.
    Entry(Entry),
    /// A reference to an entry of another document on the same service.
    EntryRef(EntryRef),
    /// A reference to a list on any service.
    External(External),
}

/// One address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    /// The address, which no other entry beside it has.
    pub uri: String,
    /// Its name for people.
    pub display_name: Option<DisplayName>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// A reference to an entry (RFC 4826, section 3.1.4).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EntryRef {
    /// Where the entry is, relative to the root of the service.
    pub reference: String,
    /// Its name for people.
    pub display_name: Option<DisplayName>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// A reference to a list (RFC 4826, section 3.1.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct External {
    /// Where the list is: an absolute HTTP URI.
    pub anchor: String,
    /// Its name for people.
    pub display_name: Option<DisplayName>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// A name for people.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct DisplayName {
    /// The name.
    pub text: String,
    /// Its language as in BCP 47; none where not given.
    pub lang: Option<String>,
}

impl DisplayName {
    /// A name in no stated language.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), lang: None }
    }
}

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, no such document, or exceeds a limit. Nothing is left out silently.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<ResourceLists, DocumentError> {
    let dom = Dom::read(bytes, limits)?;
    let root = dom.root_of(NAMESPACE, "resource-lists", "`resource-lists`")?;
    let mut document = ResourceLists { attributes: root.other_attributes(&[]), ..ResourceLists::default() };
    for child in root.children() {
        if child.is(NAMESPACE, "list") {
            document.lists.push(list(child)?);
        } else {
            document.foreign.push(child.foreign());
        }
    }
    dom.check()?;
    Ok(document)
}

/// Writes a document. [`read`] gives it back as it is.
#[must_use]
pub fn write(document: &ResourceLists) -> String {
    let mut writer = Writer::new();
    let tag = writer.tag("resource-lists").attribute("xmlns", NAMESPACE);
    tag.foreign_attributes(&document.attributes).open();
    for list in &document.lists {
        write_list(&mut writer, "list", list);
    }
    writer.foreign(&document.foreign);
    writer.close("resource-lists");
    writer.out
}

/// What is wrong with the element, in the words of an error.
pub(crate) fn missing(element: Element<'_>, attribute: &str) -> DocumentError {
    let what = format!("`{}` without `{attribute}`", crate::xml::cut(element.name(), 64));
    DocumentError::Malformed { offset: element.offset(), what }
}

pub(crate) fn list(element: Element<'_>) -> Result<List, DocumentError> {
    let mut list = List {
        name: element.attribute("name").map(str::to_owned),
        attributes: element.other_attributes(&["name"]),
        ..List::default()
    };
    for child in element.children() {
        if child.namespace() != NAMESPACE {
            list.foreign.push(child.foreign());
            continue;
        }
        match child.name() {
            "display-name" if list.display_name.is_none() => list.display_name = Some(display_name(child)),
            // Bounded by the depth of the tree.
            "list" => list.members.push(Member::List(self::list(child)?)),
            "entry" => {
                let uri = child.attribute("uri").ok_or_else(|| missing(child, "uri"))?.to_owned();
                let (display_name, foreign) = parts(child);
                let attributes = child.other_attributes(&["uri"]);
                list.members.push(Member::Entry(Entry { uri, display_name, foreign, attributes }));
            }
            "entry-ref" => {
                let reference = child.attribute("ref").ok_or_else(|| missing(child, "ref"))?.to_owned();
                let (display_name, foreign) = parts(child);
                let attributes = child.other_attributes(&["ref"]);
                list.members.push(Member::EntryRef(EntryRef {
                    reference,
                    display_name,
                    foreign,
                    attributes,
                }));
            }
            "external" => {
                let anchor = child.attribute("anchor").unwrap_or_default().to_owned();
                let (display_name, foreign) = parts(child);
                let attributes = child.other_attributes(&["anchor"]);
                list.members.push(Member::External(External { anchor, display_name, foreign, attributes }));
            }
            _ => list.foreign.push(child.foreign()),
        }
    }
    Ok(list)
}

fn display_name(element: Element<'_>) -> DisplayName {
    DisplayName { text: element.text().to_owned(), lang: element.lang() }
}

fn parts(element: Element<'_>) -> (Option<DisplayName>, Vec<Foreign>) {
    let (mut name, mut foreign) = (None, Vec::new());
    for child in element.children() {
        if name.is_none() && child.is(NAMESPACE, "display-name") {
            name = Some(display_name(child));
        } else {
            foreign.push(child.foreign());
        }
    }
    (name, foreign)
}

/// Writes a list under a name, which may have a prefix.
pub(crate) fn write_list(writer: &mut Writer, name: &str, list: &List) {
    writer.tag(name).optional("name", list.name.as_deref()).foreign_attributes(&list.attributes).open();
    // Members are always in the default namespace, whatever the list's own name is in.
    if let Some(display) = &list.display_name {
        write_name(writer, display);
    }
    for member in &list.members {
        match member {
            Member::List(list) => write_list(writer, "list", list),
            Member::Entry(Entry { uri, display_name, foreign, attributes }) => {
                writer.tag("entry").attribute("uri", uri).foreign_attributes(attributes);
                write_parts(writer, "entry", display_name.as_ref(), foreign);
            }
            Member::EntryRef(EntryRef { reference, display_name, foreign, attributes }) => {
                writer.tag("entry-ref").attribute("ref", reference).foreign_attributes(attributes);
                write_parts(writer, "entry-ref", display_name.as_ref(), foreign);
            }
            Member::External(External { anchor, display_name, foreign, attributes }) => {
                writer.tag("external").attribute("anchor", anchor).foreign_attributes(attributes);
                write_parts(writer, "external", display_name.as_ref(), foreign);
            }
        }
    }
    writer.foreign(&list.foreign);
    writer.close(name);
}

fn write_name(writer: &mut Writer, name: &DisplayName) {
    writer.tag("display-name").optional("xml:lang", name.lang.as_deref()).open();
    writer.text(&name.text);
    writer.close("display-name");
}

fn write_parts(writer: &mut Writer, name: &str, display: Option<&DisplayName>, foreign: &[Foreign]) {
    if display.is_none() && foreign.is_empty() {
        writer.empty();
        return;
    }
    writer.open();
    if let Some(display) = display {
        write_name(writer, display);
    }
    writer.foreign(foreign);
    writer.close(name);
}
