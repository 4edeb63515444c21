//! Documents on a service: XCAP (RFC 4825). Where they are, and what the service says of them.
//!
//! ```
//! use attache_documents::xcap::{DocumentPath, NodeSelector, Resource};
//!
//! let document = DocumentPath::user("resource-lists", "sip:alice@example.com", "index");
//! let node = NodeSelector::root("resource-lists").child("list").with("name", "friends & family");
//! let uri = document.node_uri("http://example.com/xcap-root", &node);
//! assert!(uri.ends_with("/index/~~/resource-lists/list%5B@name=%22friends%20&amp;%20family%22%5D"));
//!
//! let resource = Resource::parse(&uri["http://example.com/xcap-root".len()..])?;
//! assert_eq!(resource.document, document);
//! assert_eq!(resource.node.unwrap().selector, r#"resource-lists/list[@name="friends &amp; family"]"#);
//! # Ok::<(), attache_documents::xcap::InvalidResource>(())
//! ```

mod caps;
mod diff;
mod error;

use std::fmt;

pub use caps::{Capabilities, read_capabilities, write_capabilities};
pub use diff::{DocumentChange, NodeChange, NodeContent, XcapDiff, read_diff, write_diff};
pub use error::{Conflict, Exists, XcapError, read_error, write_error};

/// Bodies of errors (RFC 4825, section 11.2).
pub const ERROR_TYPE: &str = "application/xcap-error+xml";
/// What a service can do (RFC 4825, section 12).
pub const CAPS_TYPE: &str = "application/xcap-caps+xml";
/// Changes of documents (RFC 5874).
pub const DIFF_TYPE: &str = "application/xcap-diff+xml";
/// An element on its own (RFC 4825, section 15.2.1).
pub const ELEMENT_TYPE: &str = "application/xcap-el+xml";
/// The value of an attribute (RFC 4825, section 15.2.2).
pub const ATTRIBUTE_TYPE: &str = "application/xcap-att+xml";
/// The bindings of namespaces at an element (RFC 4825, section 15.2.3).
pub const NAMESPACES_TYPE: &str = "application/xcap-ns+xml";
/// The application usage under which a service says what it can do; the document is `index` in the global tree.
pub const CAPS_AUID: &str = "xcap-caps";
/// Hard state of presence (RFC 4827).
pub const HARD_STATE_AUID: &str = "pidf-manipulation";
/// What stands between the path of a document and that of a node in it.
const SEPARATOR: &str = "~~";

/// Where a document is, below the root of a service.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DocumentPath {
    /// The application usage, such as `resource-lists`.
    pub auid: String,
    /// The user whose document it is, such as `sip:alice@example.com`; `None` in the global tree.
    pub user: Option<String>,
    /// Its name, such as `index`; folders in front of it end with slashes.
    pub name: String,
}

impl DocumentPath {
    /// A user's document.
    pub fn user(auid: impl Into<String>, user: impl Into<String>, name: impl Into<String>) -> Self {
        Self { auid: auid.into(), user: Some(user.into()), name: name.into() }
    }

    /// A document that is everybody's.
    pub fn global(auid: impl Into<String>, name: impl Into<String>) -> Self {
        Self { auid: auid.into(), user: None, name: name.into() }
    }

    /// The URI of the document.
    #[must_use]
    pub fn uri(&self, root: &str) -> String {
        format!("{}/{self}", root.trim_end_matches('/'))
    }

    /// The URI of a node of the document.
    #[must_use]
    pub fn node_uri(&self, root: &str, node: &NodeSelector) -> String {
        format!("{}{}", self.uri(root), node.suffix())
    }
}

/// The path as it stands in a URI, relative to the root.
impl fmt::Display for DocumentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", percent_encode(&self.auid))?;
        match &self.user {
            Some(user) => write!(f, "users/{}/", percent_encode(user))?,
            None => f.write_str("global/")?,
        }
        let mut parts = self.name.split('/');
        if let Some(first) = parts.next() {
            f.write_str(&percent_encode(first))?;
        }
        parts.try_for_each(|part| write!(f, "/{}", percent_encode(part)))
    }
}

/// Which node of a document: a path of names that are in the document's own namespace unless they have a prefix, as
/// RFC 4825, section 6.3 has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeSelector {
    text: String,
    bindings: Vec<(String, String)>,
}

impl NodeSelector {
    /// The root element, by name.
    pub fn root(name: &str) -> Self {
        Self { text: name.to_owned(), bindings: Vec::new() }
    }

    /// A child element, by name; `*` for any.
    #[must_use]
    pub fn child(mut self, name: &str) -> Self {
        self.text.push('/');
        self.text.push_str(name);
        self
    }

    /// Only the one with that number among those that were selected so far, counted from one.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.text.push_str(&format!("[{position}]"));
        self
    }

    /// Only the one with that value of an attribute.
    #[must_use]
    pub fn with(mut self, attribute: &str, value: &str) -> Self {
        self.text.push_str("[@");
        self.text.push_str(attribute);
        self.text.push_str("=\"");
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("&quot;"),
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                c => self.text.push(c),
            }
        }
        self.text.push_str("\"]");
        self
    }

    /// An attribute of the element; nothing follows it.
    #[must_use]
    pub fn attribute(mut self, name: &str) -> Self {
        self.text.push_str("/@");
        self.text.push_str(name);
        self
    }

    /// The bindings of namespaces at the element; nothing follows them.
    #[must_use]
    pub fn namespaces(mut self) -> Self {
        self.text.push_str("/namespace::*");
        self
    }

    /// Says what a prefix stands for.
    #[must_use]
    pub fn bind(mut self, prefix: &str, namespace: &str) -> Self {
        self.bindings.push((prefix.to_owned(), namespace.to_owned()));
        self
    }

    /// The selector as it is meant, without percent signs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What follows the document's URI: separator, path, and query where there are bindings.
    #[must_use]
    pub fn suffix(&self) -> String {
        let mut out = format!("/{SEPARATOR}/{}", percent_encode_path(&self.text));
        for (number, (prefix, namespace)) in self.bindings.iter().enumerate() {
            out.push_str(if number == 0 { "?" } else { "" });
            // Parentheses and carets are escaped with a caret there (XPointer's xmlns() scheme).
            let namespace = namespace.replace('^', "^^").replace('(', "^(").replace(')', "^)");
            out.push_str(&percent_encode(&format!("xmlns({prefix}={namespace})")));
        }
        out
    }
}

/// What a request's URI names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resource {
    /// The document.
    pub document: DocumentPath,
    /// The node in it, if it is not about the whole document.
    pub node: Option<NodePath>,
}

/// A node as a request names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodePath {
    /// The selector, without percent signs.
    pub selector: String,
    /// What prefixes in it stand for.
    pub bindings: Vec<(String, String)>,
}

/// The URI names nothing that XCAP knows.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the path names no document")]
pub struct InvalidResource;

impl Resource {
    /// Reads what follows the root in a URI: path and query.
    ///
    /// # Errors
    /// When the path has no usage, tree and document, or when a percent sign or a binding is wrong.
    pub fn parse(path_and_query: &str) -> Result<Self, InvalidResource> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        let (document, node) = match path.split_once("/~~/") {
            Some((document, node)) => (document, Some(node)),
            None => (path.strip_suffix("/~~").unwrap_or(path), None),
        };
        let mut parts = document.split('/');
        let auid = decoded(parts.next())?;
        let user = match parts.next() {
            Some("users") => Some(decoded(parts.next())?),
            Some("global") => None,
            _ => return Err(InvalidResource),
        };
        let names = parts.map(|part| decoded(Some(part))).collect::<Result<Vec<_>, _>>()?;
        // A name that a decoded slash or dots would make another one must not be one.
        if names.is_empty() || names.iter().any(|part| part.contains('/') || part == "." || part == "..") {
            return Err(InvalidResource);
        }
        let document = DocumentPath { auid, user, name: names.join("/") };
        let node = node.filter(|node| !node.is_empty());
        let node = node.map(|node| {
            let selector = strict_decode(node).ok_or(InvalidResource)?;
            let bindings = bindings(query.unwrap_or_default())?;
            Ok(NodePath { selector, bindings })
        });
        Ok(Self { document, node: node.transpose()? })
    }
}

fn decoded(part: Option<&str>) -> Result<String, InvalidResource> {
    part.and_then(strict_decode).filter(|part| !part.is_empty()).ok_or(InvalidResource)
}

/// `xmlns(p=urn:x)` as often as there are bindings (RFC 4825, section 6.4).
fn bindings(query: &str) -> Result<Vec<(String, String)>, InvalidResource> {
    let query = strict_decode(query).ok_or(InvalidResource)?;
    let mut rest = query.as_str();
    let mut all = Vec::new();
    while !rest.trim_ascii().is_empty() {
        rest = rest.trim_ascii_start().strip_prefix("xmlns(").ok_or(InvalidResource)?;
        let (prefix, value) = rest.split_once('=').ok_or(InvalidResource)?;
        let (mut namespace, mut end) = (String::new(), None);
        let mut chars = value.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '^' => namespace.push(chars.next().ok_or(InvalidResource)?.1),
                ')' => {
                    end = Some(at + 1);
                    break;
                }
                c => namespace.push(c),
            }
        }
        all.push((prefix.trim_ascii().to_owned(), namespace));
        rest = &value[end.ok_or(InvalidResource)?..];
        if all.len() > 48 {
            return Err(InvalidResource);
        }
    }
    Ok(all)
}

/// Percent-encodes what a segment of a path cannot hold (RFC 3986, section 3.3).
#[must_use]
pub fn percent_encode(text: &str) -> String {
    encode(text, b"")
}

/// The same for several segments.
fn percent_encode_path(text: &str) -> String {
    encode(text, b"/")
}

fn encode(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Undoes percent-encoding; what is none stays as it is.
#[must_use]
pub fn percent_decode(text: &str) -> String {
    strict_decode(text).unwrap_or_else(|| text.to_owned())
}

/// Undoes percent-encoding; `None` where it is none, or where the result is no UTF-8.
fn strict_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_itself() {
        let paths = [
            DocumentPath::user("resource-lists", "sip:al ice%@example.com", "folder/index.xml"),
            DocumentPath::global("xcap-caps", "index"),
            DocumentPath::user("pres-rules", "tel:+49/30?#", "prés"),
        ];
        for path in paths {
            let uri = path.uri("http://x/root/");
            assert!(uri.is_ascii());
            let rest = uri.strip_prefix("http://x/root").unwrap();
            assert_eq!(Resource::parse(rest).unwrap(), Resource { document: path, node: None });
        }
    }

    #[test]
    fn a_selector_with_everything_in_it_reads_back_as_itself() {
        let node = NodeSelector::root("r:a").child("*").at(2).with("name", "\"x\" <y>/[1]%20 & &amp; ü");
        let node = node.attribute("uri").bind("r", "urn:(odd)^ns").bind("q", "urn:q");
        let text = format!("/a/users/u/i{}", node.suffix());
        assert!(text.is_ascii());
        let read = Resource::parse(&text).unwrap().node.unwrap();
        assert_eq!(read.selector, node.as_str());
        let bindings = [("r".to_owned(), "urn:(odd)^ns".to_owned()), ("q".into(), "urn:q".into())];
        assert_eq!(read.bindings, bindings);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            "",
            "/",
            "/a",
            "/a/users",
            "/a/users/u",
            "/a/users/u/",
            "/a/users//i",
            "/a/else/u/i",
            "/a/global/",
            "/a/users/u/..",
            "/a/users/u/%2e%2e/i",
            "/a/users/u/x%2Fy",
            "/a/users/u/%zz",
            "/a/users/u/%ff",
            "/a/users/u/i/~~/x?nonsense",
            "/a/users/u/i/~~/x?xmlns(p",
            "/a/users/u/i/~~/x?xmlns(p=u",
        ] {
            assert_eq!(Resource::parse(path), Err(InvalidResource), "{path}");
        }
    }
}
