//! Patch operations on a document (RFC 5261): `add`, `replace`, `remove`.
//!
//! An operation is an element of another document, which says by a [`Selector`] where it applies and by its content what
//! to put there. Prefixes mean what they mean at the operation, and what comes into the document keeps its namespaces.
//! An operation that fails may have been applied in part: whoever needs all or nothing patches a copy.

use crate::select::{Dialect, SelectError, Selector, Target};
use crate::tree::{EditError, NodeId, NodeKind, Tree};

/// Most operations that one document may hold.
pub const MAX_OPERATIONS: usize = 512;

/// Why an operation cannot be applied. [`name`](Self::name) is the standard's word for it (RFC 5261, section 5.1).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// Not an operation, or more than [`MAX_OPERATIONS`].
    #[error("it is not a patch operation")]
    Format,
    /// `sel`, `pos` or `type` cannot be read.
    #[error("an attribute of the operation cannot be read: {0}")]
    Attribute(String),
    /// A prefix of the selector is not declared.
    #[error("the prefix `{0}` is not declared")]
    Prefix(String),
    /// Content of the wrong kind, such as two elements for one.
    #[error("the content does not fit the selected node")]
    Content,
    /// Something that cannot be done to that node: an attribute that is there is added, a declaration in use changed.
    #[error("this cannot be done to the selected node")]
    Directive,
    /// The root element can be replaced only.
    #[error("this cannot be done to the root element")]
    Root,
    /// `ws` wants blanks removed where there are none.
    #[error("there are no blanks to remove")]
    Blanks,
    /// The selector selects nothing, or several nodes.
    #[error("the selected node cannot be found: {0}")]
    Unlocated(SelectError),
    /// The document would exceed its limits.
    #[error(transparent)]
    Edit(EditError),
}

impl PatchError {
    /// The name of the error element.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Format => "invalid-diff-format",
            Self::Attribute(_) => "invalid-attribute-value",
            Self::Prefix(_) => "invalid-namespace-prefix",
            Self::Content => "invalid-node-types",
            Self::Directive | Self::Edit(_) => "invalid-patch-directive",
            Self::Root => "invalid-root-element-operation",
            Self::Blanks => "invalid-whitespace-directive",
            Self::Unlocated(_) => "unlocated-node",
        }
    }
}

impl From<EditError> for PatchError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Place => Self::Directive,
            other => Self::Edit(other),
        }
    }
}

impl From<SelectError> for PatchError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Prefix(prefix) => Self::Prefix(prefix),
            SelectError::Syntax { .. } => Self::Attribute(error.to_string()),
            other => Self::Unlocated(other),
        }
    }
}

/// Applies all operations in `parent`, an element of `diff`, in order. Operations are the elements `add`, `replace` and
/// `remove` in `namespace`; other elements are an error.
///
/// # Errors
/// [`PatchError`] of the first operation that fails; those before it were applied.
pub fn apply_all(target: &mut Tree, diff: &Tree, parent: NodeId, namespace: &str) -> Result<(), PatchError> {
    if diff.elements(parent).nth(MAX_OPERATIONS).is_some() {
        return Err(PatchError::Format);
    }
    diff.elements(parent).try_for_each(|operation| apply(target, diff, operation, namespace))
}

/// Applies one operation, an element of `diff`.
///
/// # Errors
/// [`PatchError`].
pub fn apply(target: &mut Tree, diff: &Tree, operation: NodeId, namespace: &str) -> Result<(), PatchError> {
    let attribute = |name| diff.attribute(operation, None, name);
    let is = |name| diff.is(operation, Some(namespace), name);
    let selected = |target: &Tree| {
        let sel = attribute("sel").ok_or_else(|| PatchError::Attribute("`sel` is missing".to_owned()))?;
        let selector = Selector::parse(sel.trim(), Dialect::Patch, |prefix| {
            diff.resolve(operation, prefix).map(Into::into)
        })?;
        Ok::<_, PatchError>(selector.select(target)?)
    };
    if is("add") {
        let Target::Node(node) = selected(target)? else { return Err(PatchError::Content) };
        match attribute("type") {
            Some(kind) => add_value(target, node, diff, operation, kind.trim()),
            None => add_nodes(target, node, diff, operation, attribute("pos").map(str::trim)),
        }
    } else if is("replace") {
        match selected(target)? {
            Target::Node(node) => replace_node(target, node, diff, operation),
            Target::Attribute(element, name) => {
                let value = value(diff, operation)?;
                Ok(target.set_attribute_ns(element, name.namespace.as_deref(), &name.written, &value)?)
            }
            Target::Namespace(element, prefix) => {
                let value = value(diff, operation)?;
                if value.is_empty() || uses(target, element, &prefix) {
                    return Err(PatchError::Directive);
                }
                Ok(target.declare(element, Some(&prefix), &value)?)
            }
            Target::Namespaces(_) => Err(PatchError::Directive),
        }
    } else if is("remove") {
        match selected(target)? {
            Target::Node(node) => remove_node(target, node, attribute("ws").map(str::trim)),
            Target::Attribute(element, name) => {
                target.remove_attribute(element, name.namespace.as_deref(), name.local());
                Ok(())
            }
            Target::Namespace(element, prefix) => {
                if uses(target, element, &prefix) {
                    return Err(PatchError::Directive);
                }
                target.undeclare(element, Some(&prefix));
                Ok(())
            }
            Target::Namespaces(_) => Err(PatchError::Directive),
        }
    } else {
        Err(PatchError::Format)
    }
}

/// The text of an operation that is about a value.
fn value(diff: &Tree, operation: NodeId) -> Result<String, PatchError> {
    if diff.elements(operation).next().is_some() {
        return Err(PatchError::Content);
    }
    Ok(diff.text(operation))
}

/// Adds an attribute or a namespace declaration.
fn add_value(
    target: &mut Tree,
    node: NodeId,
    diff: &Tree,
    operation: NodeId,
    kind: &str,
) -> Result<(), PatchError> {
    if target.kind(node) != NodeKind::Element {
        return Err(PatchError::Content);
    }
    let value = value(diff, operation)?;
    if let Some(prefix) = kind.strip_prefix("namespace::") {
        if value.is_empty() || target.attribute_written(node, &format!("xmlns:{prefix}")) {
            return Err(PatchError::Directive);
        }
        return Ok(target.declare(node, Some(prefix), &value)?);
    }
    let written = kind
        .strip_prefix('@')
        .ok_or_else(|| PatchError::Attribute("`type` is neither an attribute nor a namespace".to_owned()))?;
    let (prefix, local) = match written.split_once(':') {
        Some((prefix, local)) => (Some(prefix), local),
        None => (None, written),
    };
    let namespace = match prefix {
        Some(prefix) => {
            Some(diff.resolve(operation, Some(prefix)).ok_or_else(|| PatchError::Prefix(prefix.to_owned()))?)
        }
        None => None,
    };
    if target.attribute(node, namespace, local).is_some() {
        return Err(PatchError::Directive);
    }
    Ok(target.set_attribute_ns(node, namespace, written, &value)?)
}

/// Adds the content of an operation to an element, or beside a node.
fn add_nodes(
    target: &mut Tree,
    node: NodeId,
    diff: &Tree,
    operation: NodeId,
    pos: Option<&str>,
) -> Result<(), PatchError> {
    let is_root = node == target.root();
    // After which node the next one goes; before them all where there is none.
    let (parent, mut after) = match pos {
        None if target.kind(node) != NodeKind::Element => return Err(PatchError::Content),
        None => (node, target.last_child(node)),
        Some("prepend") if target.kind(node) == NodeKind::Element => (node, None),
        Some("before" | "after") if is_root => return Err(PatchError::Root),
        Some("before") => (target.parent(node).ok_or(PatchError::Directive)?, target.previous(node)),
        Some("after") => (target.parent(node).ok_or(PatchError::Directive)?, Some(node)),
        Some(other) => return Err(PatchError::Attribute(format!("`pos` is {other}"))),
    };
    for child in diff.children(operation) {
        let copy = target.import(diff, child)?;
        match after {
            Some(after) => target.insert_after(after, copy)?,
            None => target.prepend(parent, copy)?,
        }
        after = Some(copy);
    }
    Ok(())
}

fn replace_node(target: &mut Tree, node: NodeId, diff: &Tree, operation: NodeId) -> Result<(), PatchError> {
    if target.kind(node) == NodeKind::Text {
        // No text at all is a removal.
        let text = value(diff, operation)?;
        if text.is_empty() {
            target.detach(node);
            return Ok(());
        }
        let text = target.new_text(&text)?;
        return Ok(target.replace(node, text)?);
    }
    let kind = target.kind(node);
    let mut fitting = diff
        .children(operation)
        .filter(|&child| diff.kind(child) != NodeKind::Text || !diff.content(child).trim().is_empty());
    let (Some(only), None) = (fitting.next(), fitting.next()) else { return Err(PatchError::Content) };
    if diff.kind(only) != kind {
        return Err(PatchError::Content);
    }
    let copy = target.import(diff, only)?;
    Ok(target.replace(node, copy)?)
}

fn remove_node(target: &mut Tree, node: NodeId, ws: Option<&str>) -> Result<(), PatchError> {
    if node == target.root() {
        return Err(PatchError::Root);
    }
    let (before, after) = match ws {
        None => (false, false),
        Some("before") => (true, false),
        Some("after") => (false, true),
        Some("both") => (true, true),
        Some(other) => return Err(PatchError::Attribute(format!("`ws` is {other}"))),
    };
    let blank = |target: &Tree, node: Option<NodeId>| {
        node.filter(|&node| target.kind(node) == NodeKind::Text && target.content(node).trim().is_empty())
            .ok_or(PatchError::Blanks)
    };
    let mut gone = vec![node];
    if before {
        gone.push(blank(target, target.previous(node))?);
    }
    if after {
        gone.push(blank(target, target.next(node))?);
    }
    for node in gone {
        target.detach(node);
    }
    Ok(())
}

/// Whether a name at an element or below it is written with a prefix.
fn uses(tree: &Tree, element: NodeId, prefix: &str) -> bool {
    tree.any_below(element, |tree, node| {
        tree.name(node).is_some_and(|name| name.prefix() == Some(prefix))
            || tree.attributes(node).iter().any(|attribute| attribute.name().prefix() == Some(prefix))
    })
}
