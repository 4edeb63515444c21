//! What changed in documents on a service (RFC 5874), the bodies of the package `xcap-diff` (RFC 5875).

use crate::dom::{Dom, Element, Foreign, Writer, boolean};
use crate::error::DocumentError;
use crate::limits::Limits;
use crate::resource_lists::missing;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:xcap-diff";

/// What changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct XcapDiff {
    /// The root of the service, to which the paths are relative.
    pub root: String,
    /// Documents.
    pub documents: Vec<DocumentChange>,
    /// Elements.
    pub elements: Vec<NodeChange>,
    /// Attributes.
    pub attributes: Vec<NodeChange>,
}

/// What happened to a document. Without a former tag it is new, without a new one it is gone; with both alike nothing
/// happened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DocumentChange {
    /// The document's path, relative to the root.
    pub selector: String,
    /// Its entity tag now.
    pub new_etag: Option<String>,
    /// Its entity tag before.
    pub previous_etag: Option<String>,
    /// The tag is new, and what it stands for is the same.
    pub body_not_changed: bool,
    /// What to do with the document before to get the one now (RFC 5261): `add`, `remove` and `replace`.
    pub patch: Vec<Foreign>,
}

/// What an element or attribute is now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeChange {
    /// Its path, relative to the root.
    pub selector: String,
    /// Whether it exists.
    pub exists: bool,
    /// The element, or the attribute's value.
    pub content: Option<NodeContent>,
}

/// What a node holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeContent {
    /// An element.
    Element(Foreign),
    /// The value of an attribute.
    Value(String),
}

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, no such document, or exceeds a limit.
pub fn read_diff(bytes: &[u8], limits: &Limits) -> Result<XcapDiff, DocumentError> {
    let dom = Dom::read(bytes, limits)?;
    let root = dom.root_of(NAMESPACE, "xcap-diff", "`xcap-diff`")?;
    let xcap_root = root.attribute("xcap-root").ok_or_else(|| missing(root, "xcap-root"))?;
    let mut diff = XcapDiff { root: xcap_root.to_owned(), ..XcapDiff::default() };
    for child in root.children().filter(|child| child.namespace() == NAMESPACE) {
        let selector = child.attribute("sel").ok_or_else(|| missing(child, "sel"))?.to_owned();
        let exists = || child.attribute("exists").and_then(boolean).unwrap_or(true);
        match child.name() {
            "document" => {
                let is_patch = |name: &str| matches!(name, "add" | "remove" | "replace");
                let patch = child.children().filter(|part| is_patch(part.name()));
                diff.documents.push(DocumentChange {
                    selector,
                    new_etag: child.attribute("new-etag").map(str::to_owned),
                    previous_etag: child.attribute("previous-etag").map(str::to_owned),
                    body_not_changed: child.child(NAMESPACE, "body-not-changed").is_some(),
                    patch: patch.map(Element::foreign).collect(),
                });
            }
            "element" => {
                let content = child.children().next().map(|part| NodeContent::Element(part.foreign()));
                diff.elements.push(NodeChange { selector, exists: exists(), content });
            }
            "attribute" => {
                let content = exists().then(|| NodeContent::Value(child.text().to_owned()));
                diff.attributes.push(NodeChange { selector, exists: exists(), content });
            }
            _ => {}
        }
    }
    dom.check()?;
    Ok(diff)
}

/// Writes a document.
#[must_use]
pub fn write_diff(diff: &XcapDiff) -> String {
    let mut writer = Writer::new();
    writer.tag("xcap-diff").attribute("xmlns", NAMESPACE).attribute("xcap-root", &diff.root).open();
    for change in &diff.documents {
        writer
            .tag("document")
            .optional("new-etag", change.new_etag.as_deref())
            .attribute("sel", &change.selector)
            .optional("previous-etag", change.previous_etag.as_deref());
        if !change.body_not_changed && change.patch.is_empty() {
            writer.empty();
            continue;
        }
        writer.open();
        if change.body_not_changed {
            writer.tag("body-not-changed").empty();
        }
        writer.foreign(&change.patch);
        writer.close("document");
    }
    for (name, all) in [("element", &diff.elements), ("attribute", &diff.attributes)] {
        for change in all {
            writer.tag(name).attribute("sel", &change.selector);
            if !change.exists {
                writer.attribute("exists", "0");
            }
            writer.open();
            match &change.content {
                Some(NodeContent::Element(element)) => writer.foreign(std::slice::from_ref(element)),
                Some(NodeContent::Value(value)) => writer.text(value),
                None => {}
            }
            writer.close(name);
        }
    }
    writer.close("xcap-diff");
    writer.out
}
