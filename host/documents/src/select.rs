//! Selectors of one node in a document.
//!
//! Two standards name a node by a small part of XPath: XCAP's node selectors (RFC 4825, section 6.3) and the `sel` of
//! patch operations (RFC 5261, section 4.1). They are one language with two dialects. A selector is bounded when it is
//! read, and evaluating one looks at each node of the document at most once for each of its predicates.
//!
//! A selector selects exactly one node or nothing: where several fit, that is [`SelectError::Several`], which both
//! standards treat as a failure.

mod parse;

use std::sync::Arc;

use crate::tree::{Attribute, NodeId, NodeKind, Tree};

/// Most bytes of a selector.
pub const MAX_LENGTH: usize = 4_096;
/// Most steps of a selector.
pub const MAX_STEPS: usize = 32;
/// Most predicates of a selector, all steps together.
pub const MAX_PREDICATES: usize = 32;

/// In whose words a selector is written.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// RFC 4825, section 6.3: steps of names or `*`, positions, attributes; ends in an element, `@name` or
    /// `namespace::*`. It starts at the root element, without a slash. Values are written with XML's references.
    /// Percent-encoding has been undone before.
    Xcap,
    /// RFC 5261, section 4.1: also `id("…")`, values of elements, `text()`, `comment()`,
    /// `processing-instruction("…")` and `namespace::prefix`; with or without a slash at the start.
    Patch,
}

/// A name to be matched, with its namespace resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QName {
    /// The namespace, `None` for none.
    pub namespace: Option<Arc<str>>,
    /// As it was written: with a prefix or without.
    pub written: Box<str>,
}

impl QName {
    /// The name without its prefix.
    #[must_use]
    pub fn local(&self) -> &str {
        self.written.split_once(':').map_or(&*self.written, |(_, local)| local)
    }
}

/// What children of an element a step looks at.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Test {
    /// Elements of a name.
    Name(QName),
    /// All elements.
    Any,
    /// Texts. Only as the last step.
    Text,
    /// Comments. Only as the last step.
    Comment,
    /// Processing instructions, of a target or all. Only as the last step.
    Instruction(Option<Box<str>>),
}

/// What narrows a step. Several are applied one after the other, as in XPath: a position counts what those before it
/// left over.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Predicate {
    /// `[2]`: the second one. Counts from 1.
    Position(usize),
    /// `[@name="value"]`.
    Attribute(QName, Box<str>),
    /// `[name="value"]`: a child of that name has that text.
    Child(QName, Box<str>),
    /// `[.="value"]`: the text of the element.
    Text(Box<str>),
}

/// One step from an element to its children.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Which children.
    pub test: Test,
    /// What narrows them.
    pub predicates: Vec<Predicate>,
}

/// What of the selected element is meant, where it is not the element itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Terminal {
    /// `@name`: an attribute.
    Attribute(QName),
    /// `namespace::prefix`: a namespace declaration (RFC 5261).
    Namespace(Box<str>),
    /// `namespace::*`: all that are in force (RFC 4825).
    Namespaces,
}

/// A selector. See the [module](self).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selector {
    /// The element whose identifier this is takes the place of the root.
    pub id: Option<Box<str>>,
    /// The steps; the first one matches the root element itself.
    pub steps: Vec<Step>,
    /// What is meant of the last step's element.
    pub terminal: Option<Terminal>,
}

/// What a selector selected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A node: an element, or in [`Dialect::Patch`] a text, comment or instruction.
    Node(NodeId),
    /// An attribute that this element has.
    Attribute(NodeId, QName),
    /// The declaration of this prefix, which this element has.
    Namespace(NodeId, Box<str>),
    /// All declarations in force at this element.
    Namespaces(NodeId),
}

/// Why a selector selects no node.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Not of the language, or longer than a selector may be.
    #[error("not a selector at byte {offset}: {what}")]
    Syntax {
        /// Where.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A prefix that means nothing here.
    #[error("the prefix `{0}` is not declared")]
    Prefix(String),
    /// Nothing fits.
    #[error("nothing fits the selector")]
    Nothing,
    /// More than one node fits.
    #[error("more than one node fits the selector")]
    Several,
}

impl Selector {
    /// Reads a selector. `resolve` says what a prefix means; asked with `None`, what an element's name without a
    /// prefix means.
    ///
    /// # Errors
    /// [`SelectError::Syntax`] and [`SelectError::Prefix`].
    pub fn parse(
        text: &str,
        dialect: Dialect,
        resolve: impl Fn(Option<&str>) -> Option<Arc<str>>,
    ) -> Result<Self, SelectError> {
        parse::selector(text, dialect, &resolve)
    }

    /// The selector of the element that holds what this one selects: the element of an attribute or namespace, or
    /// the parent. `None` where that would be above the root element.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let mut parent = self.clone();
        if parent.terminal.take().is_none() {
            parent.steps.pop()?;
        }
        (!parent.steps.is_empty() || parent.id.is_some()).then_some(parent)
    }

    /// What it selects in a document.
    ///
    /// # Errors
    /// [`SelectError::Nothing`] and [`SelectError::Several`].
    pub fn select(&self, tree: &Tree) -> Result<Target, SelectError> {
        let node = self.element(tree)?;
        match &self.terminal {
            None => Ok(Target::Node(node)),
            Some(Terminal::Namespaces) => Ok(Target::Namespaces(node)),
            Some(Terminal::Attribute(name)) => tree
                .attribute(node, name.namespace.as_deref(), name.local())
                .map(|_| Target::Attribute(node, name.clone()))
                .ok_or(SelectError::Nothing),
            Some(Terminal::Namespace(prefix)) => tree
                .attributes(node)
                .iter()
                .filter(|attribute| attribute.is_declaration())
                .any(|attribute| attribute.name().written().strip_prefix("xmlns:") == Some(prefix))
                .then(|| Target::Namespace(node, prefix.clone()))
                .ok_or(SelectError::Nothing),
        }
    }

    /// The node that the steps select, whatever of it is meant.
    ///
    /// # Errors
    /// [`SelectError::Nothing`] and [`SelectError::Several`].
    pub fn node(&self, tree: &Tree) -> Result<NodeId, SelectError> {
        self.element(tree)
    }

    fn element(&self, tree: &Tree) -> Result<NodeId, SelectError> {
        let mut steps = self.steps.iter();
        let mut set = match &self.id {
            Some(id) => vec![by_id(tree, id).ok_or(SelectError::Nothing)?],
            None => {
                let first = steps.next().ok_or(SelectError::Nothing)?;
                first.narrow(tree, vec![tree.root()])
            }
        };
        for step in steps {
            let mut next = Vec::new();
            for parent in set {
                next.extend(step.narrow(tree, tree.children(parent)));
            }
            set = next;
        }
        match set[..] {
            [] => Err(SelectError::Nothing),
            [one] => Ok(one),
            _ => Err(SelectError::Several),
        }
    }
}

impl Step {
    /// Which of these children, all of one element and in order, this step selects.
    pub fn narrow(&self, tree: &Tree, children: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let mut set: Vec<_> = children.into_iter().filter(|&child| self.test.fits(tree, child)).collect();
        for predicate in &self.predicates {
            match predicate {
                Predicate::Position(position) => {
                    let at = position.checked_sub(1).and_then(|index| set.get(index).copied());
                    set = at.into_iter().collect();
                }
                Predicate::Attribute(name, value) => set.retain(|&node| {
                    tree.attribute(node, name.namespace.as_deref(), name.local()) == Some(value)
                }),
                Predicate::Child(name, value) => set.retain(|&node| {
                    let mut named = tree.elements_named(node, name.namespace.as_deref(), name.local());
                    named.any(|child| *tree.text(child) == **value)
                }),
                Predicate::Text(value) => set.retain(|&node| *tree.text(node) == **value),
            }
        }
        set
    }
}

impl Test {
    fn fits(&self, tree: &Tree, node: NodeId) -> bool {
        match self {
            Self::Name(name) => tree.is(node, name.namespace.as_deref(), name.local()),
            Self::Any => tree.kind(node) == NodeKind::Element,
            Self::Text => tree.kind(node) == NodeKind::Text,
            Self::Comment => tree.kind(node) == NodeKind::Comment,
            Self::Instruction(target) => {
                tree.kind(node) == NodeKind::Instruction
                    && target.as_deref().is_none_or(|target| {
                        tree.content(node).split_ascii_whitespace().next() == Some(target)
                    })
            }
        }
    }
}

/// The element with an identifier. Without the schema, an attribute `id` or `xml:id` is taken for one, as the
/// documents of presence have it.
fn by_id(tree: &Tree, id: &str) -> Option<NodeId> {
    let is_id = |attribute: &Attribute| {
        attribute.name().local() == "id"
            && matches!(attribute.name().prefix(), None | Some("xml"))
            && attribute.value() == id
    };
    tree.find(|tree, node| tree.attributes(node).iter().any(is_id))
}
