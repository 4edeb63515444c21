//! What a service can do (RFC 4825, section 12).

use crate::dom::{Dom, Element, Writer};
use crate::error::DocumentError;
use crate::limits::Limits;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:xcap-caps";

/// What a service can do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// Application usages.
    pub auids: Vec<String>,
    /// Extensions of XCAP.
    pub extensions: Vec<String>,
    /// Namespaces that may stand in documents.
    pub namespaces: Vec<String>,
}

/// Reads the document `xcap-caps/global/index`.
///
/// # Errors
/// When it is not well-formed, no such document, or exceeds a limit. That says nothing about what else the service
/// can do.
pub fn read_capabilities(bytes: &[u8], limits: &Limits) -> Result<Capabilities, DocumentError> {
    let dom = Dom::read(bytes, limits)?;
    let root = dom.root_of(NAMESPACE, "xcap-caps", "`xcap-caps`")?;
    Ok(Capabilities {
        auids: words(root, "auids", "auid"),
        extensions: words(root, "extensions", "extension"),
        namespaces: words(root, "namespaces", "namespace"),
    })
}

fn words(root: Element<'_>, list: &str, item: &str) -> Vec<String> {
    let lists = root.children().filter(|child| child.is(NAMESPACE, list));
    let items = lists.flat_map(Element::children).filter(|child| child.is(NAMESPACE, item));
    items.map(|item| item.text().to_owned()).collect()
}

/// Writes the document.
#[must_use]
pub fn write_capabilities(capabilities: &Capabilities) -> String {
    let mut writer = Writer::new();
    writer.tag("xcap-caps").attribute("xmlns", NAMESPACE).open();
    for (list, item, all) in [
        ("auids", "auid", &capabilities.auids),
        ("extensions", "extension", &capabilities.extensions),
        ("namespaces", "namespace", &capabilities.namespaces),
    ] {
        writer.tag(list).open();
        for one in all {
            writer.leaf(item, one);
        }
        writer.close(list);
    }
    writer.close("xcap-caps");
    writer.out
}
