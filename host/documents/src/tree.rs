//! An XML document that can be edited, and of which nothing is lost.
//!
//! The documents that people keep on a server hold more than one program understands. A server that edits a part of
//! one (XCAP, RFC 4825; partial presence, RFC 5262) must give the rest back as it was: unknown elements and
//! attributes, prefixes, order, comments. So this tree keeps all of it, and knows of every name both what was
//! written and what namespace it means.
//!
//! Hostile input costs what its length is: bytes, depth, elements, attributes and namespace bindings are bounded by
//! [`Limits`] while reading and again while editing; document types and entities are refused; nothing recurses.
//!
//! ```
//! use attache_documents::{Limits, select::{Dialect, Selector}, tree::Tree};
//!
//! let text = br#"<list xmlns="urn:l"><entry uri="sip:bob@example.com"/></list>"#;
//! let mut tree = Tree::read(text, &Limits::DEFAULT)?;
//! let selector = Selector::parse(r#"l:list/l:entry[@uri="sip:bob@example.com"]"#, Dialect::Xcap, |prefix| {
//!     (prefix == Some("l")).then(|| "urn:l".into())
//! })?;
//! let bob = selector.node(&tree)?;
//! tree.set_attribute(bob, "name", "Bob")?;
//! assert!(tree.write().contains(r#"<entry uri="sip:bob@example.com" name="Bob"/>"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod edit;
mod read;
mod write;

use std::sync::Arc;

use crate::limits::Limits;

pub use edit::EditError;
pub(crate) use read::is_part;

/// Most attributes, namespace declarations among them, of one element.
pub const MAX_ATTRIBUTES: usize = 64;
/// Most namespace declarations that can be in force at one place.
pub const MAX_BINDINGS: usize = 48;
/// What the prefix `xml` always means.
pub const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";

/// A node of one [`Tree`]. It stays valid until the tree is dropped; a node that was taken out has no parent.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(u32);

impl NodeId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A name as it was written, with the namespace that it means.
#[derive(Clone, Debug)]
pub struct Name {
    namespace: Option<Arc<str>>,
    written: Box<str>,
    local: u32,
}

impl Name {
    fn new(namespace: Option<Arc<str>>, written: &str) -> Self {
        let local = written.find(':').map_or(0, |colon| colon + 1);
        Self { namespace, written: written.into(), local: u32::try_from(local).unwrap_or(0) }
    }

    /// The namespace, `None` for none.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The name without its prefix.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.written[self.local as usize..]
    }

    /// The prefix, `None` for none.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        (self.local > 0).then(|| &self.written[..self.local as usize - 1])
    }

    /// The name as it was written.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether this is the name `local` in `namespace`.
    #[must_use]
    pub fn is(&self, namespace: Option<&str>, local: &str) -> bool {
        self.local() == local && self.namespace() == namespace
    }

    /// The prefix that an attribute of this name declares: `Some(None)` for `xmlns`, `Some(Some("p"))` for `xmlns:p`.
    fn declares(&self) -> Option<Option<&str>> {
        match self.prefix() {
            None if &*self.written == "xmlns" => Some(None),
            Some("xmlns") => Some(Some(self.local())),
            _ => None,
        }
    }
}

/// An attribute; a namespace declaration is one too.
#[derive(Clone, Debug)]
pub struct Attribute {
    name: Name,
    value: Box<str>,
}

impl Attribute {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its value, with references resolved.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it declares a namespace.
    #[must_use]
    pub fn is_declaration(&self) -> bool {
        self.name.declares().is_some()
    }
}

/// What a node is.
#[derive(Clone, Debug)]
enum Kind {
    Element { name: Name, attributes: Vec<Attribute>, first: Option<NodeId>, last: Option<NodeId> },
    Text(Box<str>),
    CData(Box<str>),
    Comment(Box<str>),
    Instruction(Box<str>),
}

#[derive(Clone, Debug)]
struct Node {
    parent: Option<NodeId>,
    previous: Option<NodeId>,
    next: Option<NodeId>,
    kind: Kind,
}

/// What a node is, for those who look.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum NodeKind {
    /// An element.
    Element,
    /// Text, or a section of character data.
    Text,
    /// A comment.
    Comment,
    /// A processing instruction.
    Instruction,
}

/// A document. See the [module](self).
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// What comes before and after the root element, and the root itself, in order.
    top: Vec<NodeId>,
    root: NodeId,
    declared: bool,
    limits: Limits,
    /// Elements that were ever made.
    elements: usize,
    /// Bytes of names, values and texts that were ever made.
    bytes: usize,
}

impl Tree {
    /// The root element.
    #[must_use]
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The limits that hold for reading and editing.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of names, values and texts that were ever made.
    pub(crate) fn size(&self) -> usize {
        self.bytes
    }

    /// What a node is.
    #[must_use]
    pub fn kind(&self, node: NodeId) -> NodeKind {
        match self.at(node).kind {
            Kind::Element { .. } => NodeKind::Element,
            Kind::Text(_) | Kind::CData(_) => NodeKind::Text,
            Kind::Comment(_) => NodeKind::Comment,
            Kind::Instruction(_) => NodeKind::Instruction,
        }
    }

    /// The element that holds a node; `None` for the root and for what was taken out.
    #[must_use]
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.at(node).parent
    }

    /// The node after this one in the same element.
    #[must_use]
    pub fn next(&self, node: NodeId) -> Option<NodeId> {
        self.at(node).next
    }

    /// The node before this one in the same element.
    #[must_use]
    pub fn previous(&self, node: NodeId) -> Option<NodeId> {
        self.at(node).previous
    }

    /// The first node in an element.
    #[must_use]
    pub fn first_child(&self, node: NodeId) -> Option<NodeId> {
        match self.at(node).kind {
            Kind::Element { first, .. } => first,
            _ => None,
        }
    }

    /// The last node in an element.
    #[must_use]
    pub fn last_child(&self, node: NodeId) -> Option<NodeId> {
        match self.at(node).kind {
            Kind::Element { last, .. } => last,
            _ => None,
        }
    }

    /// All nodes in an element: elements, texts, comments, instructions.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        core::iter::successors(self.first_child(node), |&child| self.next(child))
    }

    /// The elements in an element.
    pub fn elements(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.children(node).filter(|&child| self.kind(child) == NodeKind::Element)
    }

    /// The elements of one name in an element.
    pub fn elements_named<'a>(
        &'a self,
        node: NodeId,
        namespace: Option<&'a str>,
        local: &'a str,
    ) -> impl Iterator<Item = NodeId> + 'a {
        self.children(node)
            .filter(move |&child| self.name(child).is_some_and(|name| name.is(namespace, local)))
    }

    /// The name of an element; `None` for any other node.
    #[must_use]
    pub fn name(&self, node: NodeId) -> Option<&Name> {
        match &self.at(node).kind {
            Kind::Element { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether a node is the element `local` in `namespace`.
    #[must_use]
    pub fn is(&self, node: NodeId, namespace: Option<&str>, local: &str) -> bool {
        self.name(node).is_some_and(|name| name.is(namespace, local))
    }

    /// The attributes of an element in order, namespace declarations among them; none for any other node.
    #[must_use]
    pub fn attributes(&self, node: NodeId) -> &[Attribute] {
        match &self.at(node).kind {
            Kind::Element { attributes, .. } => attributes,
            _ => &[],
        }
    }

    /// The value of an attribute. An attribute without a prefix has no namespace.
    #[must_use]
    pub fn attribute(&self, node: NodeId, namespace: Option<&str>, local: &str) -> Option<&str> {
        let mut all = self.attributes(node).iter().filter(|attribute| !attribute.is_declaration());
        all.find(|attribute| attribute.name.is(namespace, local)).map(Attribute::value)
    }

    /// The text of a text node, comment or instruction; nothing for an element.
    #[must_use]
    pub fn content(&self, node: NodeId) -> &str {
        match &self.at(node).kind {
            Kind::Element { .. } => "",
            Kind::Text(text) | Kind::CData(text) | Kind::Comment(text) | Kind::Instruction(text) => text,
        }
    }

    /// All text in a node and below it, in order: its string value in the words of XPath.
    #[must_use]
    pub fn text(&self, node: NodeId) -> String {
        let mut text = String::new();
        self.walk(node, |tree, node| {
            if tree.kind(node) == NodeKind::Text {
                text.push_str(tree.content(node));
            }
        });
        text
    }

    /// The namespace that a prefix means at an element; `None` asks for the default namespace, which names of
    /// attributes never take.
    #[must_use]
    pub fn resolve(&self, node: NodeId, prefix: Option<&str>) -> Option<&str> {
        if prefix == Some("xml") {
            return Some(XML_NAMESPACE);
        }
        core::iter::successors(Some(node), |&node| self.parent(node))
            .flat_map(|node| self.attributes(node))
            .find(|attribute| attribute.name.declares() == Some(prefix))
            .map(Attribute::value)
            .filter(|uri| !uri.is_empty())
    }

    /// The namespace declarations in force at an element, nearest first: prefix (`None` for the default) and
    /// namespace. What is declared away is left out.
    #[must_use]
    pub fn scope(&self, node: NodeId) -> Vec<(Option<&str>, &str)> {
        let mut scope: Vec<(Option<&str>, &str)> = Vec::new();
        let mut at = Some(node);
        while let Some(node) = at {
            for attribute in self.attributes(node) {
                if let Some(prefix) = attribute.name.declares()
                    && scope.len() < MAX_BINDINGS
                    && !scope.iter().any(|&(known, _)| known == prefix)
                {
                    scope.push((prefix, attribute.value()));
                }
            }
            at = self.parent(node);
        }
        scope.retain(|(_, uri)| !uri.is_empty());
        scope
    }

    /// How deep a node is: 1 for the root element.
    #[must_use]
    pub fn depth(&self, node: NodeId) -> usize {
        1 + core::iter::successors(self.parent(node), |&above| self.parent(above)).count()
    }

    /// Whether two nodes, perhaps of two trees, say the same: same names whatever the prefixes, same attributes
    /// whatever their order, same children in order. Comments, instructions and blank text between elements do not
    /// count.
    #[must_use]
    pub fn same(&self, node: NodeId, other: &Self, theirs: NodeId) -> bool {
        let mut open = vec![(node, theirs)];
        while let Some((mine, theirs)) = open.pop() {
            match (self.name(mine), other.name(theirs)) {
                (Some(name), Some(their_name)) => {
                    if !name.is(their_name.namespace(), their_name.local())
                        || !self.same_attributes(mine, other, theirs)
                    {
                        return false;
                    }
                    let mut here = self.meant(mine);
                    let mut there = other.meant(theirs);
                    loop {
                        match (here.next(), there.next()) {
                            (Some(a), Some(b)) => open.push((a, b)),
                            (None, None) => break,
                            _ => return false,
                        }
                    }
                }
                (None, None) if self.content(mine).trim() == other.content(theirs).trim() => {}
                _ => return false,
            }
        }
        true
    }

    /// The children that say something.
    fn meant(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.children(node).filter(|&child| match self.kind(child) {
            NodeKind::Element => true,
            NodeKind::Text => !self.content(child).trim().is_empty(),
            NodeKind::Comment | NodeKind::Instruction => false,
        })
    }

    fn same_attributes(&self, mine: NodeId, other: &Self, theirs: NodeId) -> bool {
        let count = |attributes: &[Attribute]| attributes.iter().filter(|a| !a.is_declaration()).count();
        count(self.attributes(mine)) == count(other.attributes(theirs))
            && self.attributes(mine).iter().filter(|attribute| !attribute.is_declaration()).all(|attribute| {
                let name = attribute.name();
                other.attribute(theirs, name.namespace(), name.local()) == Some(attribute.value())
            })
    }

    fn at(&self, node: NodeId) -> &Node {
        &self.nodes[node.index()]
    }

    fn at_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.index()]
    }

    /// The first node, in the order of the document, of which something holds.
    pub fn find(&self, mut holds: impl FnMut(&Self, NodeId) -> bool) -> Option<NodeId> {
        let mut at = Some(self.root);
        while let Some(node) = at {
            if holds(self, node) {
                return Some(node);
            }
            at = self.first_child(node).or_else(|| self.after(node, self.root));
        }
        None
    }

    /// Whether something holds of a node or of any below it.
    pub fn any_below(&self, top: NodeId, mut holds: impl FnMut(&Self, NodeId) -> bool) -> bool {
        let mut at = Some(top);
        while let Some(node) = at {
            if holds(self, node) {
                return true;
            }
            at = self.first_child(node).or_else(|| self.after(node, top));
        }
        false
    }

    /// Whether an element has an attribute or declaration that is written so.
    pub(crate) fn attribute_written(&self, node: NodeId, written: &str) -> bool {
        self.attributes(node).iter().any(|attribute| attribute.name.written() == written)
    }

    /// Visits a node and all below it, in the order of the document.
    fn walk(&self, top: NodeId, mut visit: impl FnMut(&Self, NodeId)) {
        let mut at = Some(top);
        while let Some(node) = at {
            visit(self, node);
            at = self.first_child(node).or_else(|| self.after(node, top));
        }
    }

    /// The node after `node` and all below it, within `top`.
    fn after(&self, mut node: NodeId, top: NodeId) -> Option<NodeId> {
        while node != top {
            if let Some(next) = self.next(node) {
                return Some(next);
            }
            node = self.parent(node)?;
        }
        None
    }
}
