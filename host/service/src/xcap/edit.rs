//! Reading and changing one node of a document (RFC 4825, sections 7.4 to 7.10 and 8.2).
//!
//! Whatever is put must be what the same URI then leads to, and what is deleted must leave nothing that the same URI
//! leads to. So each change is made on a copy, looked at, and only then kept.

use attache_documents::select::{Dialect, Predicate, SelectError, Selector, Step, Target, Terminal};
use attache_documents::tree::{EditError, NodeId, Tree};
use attache_documents::xcap::{ATTRIBUTE_TYPE, Conflict, ELEMENT_TYPE, NAMESPACES_TYPE, NodePath, XcapError};

/// Why a request is not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A status that says all, with words for people.
    Status(u16, &'static str),
    /// 409 with its reason.
    Conflict(Box<XcapError>),
}

impl From<XcapError> for Refusal {
    fn from(error: XcapError) -> Self {
        Self::Conflict(Box::new(error))
    }
}

impl From<Conflict> for Refusal {
    fn from(conflict: Conflict) -> Self {
        XcapError::from(conflict).into()
    }
}

/// A node's selector, read.
pub(crate) struct Place<'a> {
    text: &'a str,
    selector: Selector,
}

impl<'a> Place<'a> {
    /// Reads a selector; names without a prefix are in `namespace`.
    pub(crate) fn parse(path: &'a NodePath, namespace: &str) -> Result<Self, Refusal> {
        let meaning = |prefix: Option<&str>| match prefix {
            None => Some(namespace.into()),
            Some(prefix) => {
                let found = path.bindings.iter().rev().find(|(known, _)| known == prefix);
                found.map(|(_, namespace)| namespace.as_str().into())
            }
        };
        match Selector::parse(&path.selector, Dialect::Xcap, meaning) {
            Ok(selector) => Ok(Self { text: &path.selector, selector }),
            Err(_) => Err(Refusal::Status(400, "not a node selector")),
        }
    }

    /// The media type of what it leads to.
    pub(crate) fn media_type(&self) -> &'static str {
        match self.selector.terminal {
            None => ELEMENT_TYPE,
            Some(Terminal::Namespaces | Terminal::Namespace(_)) => NAMESPACES_TYPE,
            Some(_) => ATTRIBUTE_TYPE,
        }
    }

    /// Whether it can be changed: the bindings of namespaces cannot (RFC 4825, section 7.10).
    pub(crate) fn is_changeable(&self) -> bool {
        self.media_type() != NAMESPACES_TYPE
    }

    /// What it leads to, as the body of an answer.
    pub(crate) fn get(&self, tree: &Tree) -> Option<String> {
        Some(match self.selector.select(tree).ok()? {
            Target::Node(node) => tree.write_element(node),
            Target::Attribute(node, name) => {
                let value = tree.attribute(node, name.namespace.as_deref(), name.local())?;
                escape(value)
            }
            Target::Namespaces(node) | Target::Namespace(node, _) => {
                let name = tree.name(node)?;
                let mut out = format!("<{}", name.written());
                for (prefix, namespace) in tree.scope(node) {
                    let colon = if prefix.is_some() { ":" } else { "" };
                    let prefix = prefix.unwrap_or_default();
                    out.push_str(&format!(" xmlns{colon}{prefix}=\"{}\"", escape(namespace)));
                }
                out.push_str("/>");
                out
            }
        })
    }

    /// What it leads to on its own: an element with all declarations in force, or the value of an attribute itself.
    pub(crate) fn get_alone(&self, tree: &Tree) -> Option<String> {
        match self.selector.select(tree).ok()? {
            Target::Node(node) => Some(tree.write_alone(node)),
            Target::Attribute(node, name) => {
                tree.attribute(node, name.namespace.as_deref(), name.local()).map(str::to_owned)
            }
            Target::Namespaces(_) | Target::Namespace(..) => None,
        }
    }

    /// Puts a body where it leads to. Whether that is new. `uri` makes the address of a node from a selector.
    pub(crate) fn put(
        &self,
        tree: &mut Tree,
        body: &[u8],
        uri: impl Fn(&str) -> String,
    ) -> Result<bool, Refusal> {
        let body = std::str::from_utf8(body).map_err(|_| Refusal::from(Conflict::NotUtf8))?;
        match &self.selector.terminal {
            None => self.put_element(tree, body, uri),
            Some(Terminal::Attribute(_)) => self.put_attribute(tree, body, uri),
            Some(_) => Err(Refusal::Status(405, "namespaces cannot be changed")),
        }
    }

    fn put_element(
        &self,
        tree: &mut Tree,
        body: &str,
        uri: impl Fn(&str) -> String,
    ) -> Result<bool, Refusal> {
        let found = match self.selector.node(tree) {
            Ok(node) => Some(node),
            Err(SelectError::Several) => {
                return Err(Conflict::CannotInsert.because("it leads to several").into());
            }
            Err(_) => None,
        };
        let parent = match found {
            Some(node) => tree.parent(node),
            None => Some(self.parent(tree, uri)?),
        };
        let fragment = self.fragment(tree, parent, body)?;
        match (found, parent) {
            (Some(node), _) => tree.replace(node, fragment).map_err(refused)?,
            (None, Some(parent)) => {
                let step = self.selector.steps.last().ok_or(Refusal::Status(400, "not a node selector"))?;
                insert(tree, parent, step, fragment)?;
            }
            (None, None) => return Err(Conflict::NoParent { ancestor: None }.into()),
        }
        if self.selector.node(tree) != Ok(fragment) {
            let why = "it would not be what its address leads to";
            return Err(Conflict::CannotInsert.because(why).into());
        }
        Ok(found.is_none())
    }

    /// The element of a body, as it would read at its place.
    fn fragment(&self, tree: &mut Tree, parent: Option<NodeId>, body: &str) -> Result<NodeId, Refusal> {
        let not_well_formed = |error: attache_documents::DocumentError| match error {
            attache_documents::DocumentError::TooLarge { .. } => {
                Refusal::Status(413, "the document would be too large")
            }
            error => Conflict::NotXmlFrag.because(error.to_string()).into(),
        };
        match parent {
            Some(parent) => tree.read_fragment(parent, body.as_bytes()).map_err(not_well_formed),
            None => {
                let alone = Tree::read(body.as_bytes(), tree.limits()).map_err(not_well_formed)?;
                tree.import(&alone, alone.root()).map_err(refused)
            }
        }
    }

    fn put_attribute(
        &self,
        tree: &mut Tree,
        body: &str,
        uri: impl Fn(&str) -> String,
    ) -> Result<bool, Refusal> {
        let Some(Terminal::Attribute(name)) = &self.selector.terminal else {
            return Err(Refusal::Status(400, "not a node selector"));
        };
        let node = self.parent(tree, uri)?;
        let value = unescape(body).ok_or_else(|| Refusal::from(Conflict::NotXmlAttValue))?;
        let namespace = name.namespace.as_deref();
        let is_new = tree.attribute(node, namespace, name.local()).is_none();
        match namespace {
            None => tree.set_attribute(node, name.local(), &value),
            Some(namespace) => tree.set_attribute_ns(node, Some(namespace), &name.written, &value),
        }
        .map_err(refused)?;
        // It may be the very attribute by which its element was found.
        match self.selector.select(tree) {
            Ok(Target::Attribute(found, _)) if found == node => Ok(is_new),
            _ => Err(Conflict::CannotInsert.because("it would not be what its address leads to").into()),
        }
    }

    /// Takes away what it leads to.
    pub(crate) fn delete(&self, tree: &mut Tree) -> Result<(), Refusal> {
        let nothing = |_| Refusal::Status(404, "there is no such node");
        match self.selector.select(tree).map_err(nothing)? {
            Target::Node(node) if node == tree.root() => {
                return Err(Conflict::CannotDelete.because("a document needs its root").into());
            }
            Target::Node(node) => {
                let before = tree.previous(node).filter(|before| tree.content(*before).trim().is_empty());
                tree.detach(node);
                // The blank line that it stood in.
                if let Some(blank) = before.filter(|blank| tree.name(*blank).is_none()) {
                    tree.detach(blank);
                }
            }
            Target::Attribute(node, name) => {
                tree.remove_attribute(node, name.namespace.as_deref(), name.local());
            }
            Target::Namespaces(_) | Target::Namespace(..) => {
                return Err(Refusal::Status(405, "namespaces cannot be changed"));
            }
        }
        match self.selector.select(tree) {
            Err(SelectError::Nothing) => Ok(()),
            _ => Err(Conflict::CannotDelete.because("its address would lead to something else").into()),
        }
    }

    /// The one element that holds, or would hold, what it leads to; else a conflict that names what there is above.
    fn parent(&self, tree: &Tree, uri: impl Fn(&str) -> String) -> Result<NodeId, Refusal> {
        let mut above = self.selector.parent();
        if let Some(selector) = &above
            && let Ok(node) = selector.node(tree)
        {
            return Ok(node);
        }
        let steps = steps(self.text);
        let mut kept = steps.len().saturating_sub(1);
        while let Some(selector) = above {
            if selector.node(tree).is_ok() {
                let ancestor = Some(uri(&steps[..kept.min(steps.len())].join("/")));
                return Err(Conflict::NoParent { ancestor }.into());
            }
            above = selector.parent();
            kept = kept.saturating_sub(1);
        }
        Err(Conflict::NoParent { ancestor: None }.into())
    }
}

/// Puts a new element among its siblings (RFC 4825, section 8.2.3): at its position where one is named, else behind the
/// last one of its kind, else at the end.
fn insert(tree: &mut Tree, parent: NodeId, step: &Step, new: NodeId) -> Result<(), Refusal> {
    let position = step.predicates.iter().position(|one| matches!(one, Predicate::Position(_)));
    let narrowing =
        Step { test: step.test.clone(), predicates: step.predicates[..position.unwrap_or(0)].to_vec() };
    let siblings = narrowing.narrow(tree, tree.children(parent).collect::<Vec<_>>());
    let position = position.and_then(|index| match step.predicates.get(index) {
        Some(Predicate::Position(number)) => Some(*number),
        _ => None,
    });
    let done = match (position, siblings.last()) {
        (Some(number), _) if number == 0 || number > siblings.len() + 1 => {
            return Err(Conflict::CannotInsert.because("there are not so many before it").into());
        }
        (Some(number), _) if number <= siblings.len() => tree.insert_before(siblings[number - 1], new),
        (_, Some(last)) => tree.insert_after(*last, new),
        (_, None) => tree.append(parent, new),
    };
    done.map_err(refused)
}

fn refused(error: EditError) -> Refusal {
    match error {
        EditError::TooLarge { .. } => Refusal::Status(413, "the document would be too large"),
        error => Conflict::CannotInsert.because(error.to_string()).into(),
    }
}

/// The steps of a selector as they were written. Slashes also stand in values.
fn steps(text: &str) -> Vec<&str> {
    let (mut all, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '/') => {
                all.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&text[start..]);
    all
}

/// A value as it stands between quotes.
pub(crate) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            c => out.push(c),
        }
    }
    out
}

/// The value of what may stand between quotes; `None` for what may not.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&', '"']) {
        out.push_str(&rest[..at]);
        let reference = rest[at..].strip_prefix('&')?;
        let (name, after) = reference.split_once(';').filter(|(name, _)| name.len() <= 8)?;
        let number = name.strip_prefix('#').and_then(|digits| match digits.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        });
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => char::from_u32(number?).filter(|c| *c >= ' ' || matches!(c, '\n' | '\r' | '\t'))?,
        });
        rest = after;
    }
    out.push_str(rest);
    let is_xml = |c: char| c >= ' ' || matches!(c, '\n' | '\r' | '\t');
    out.chars().all(is_xml).then_some(out)
}

#[cfg(test)]
mod tests {
    use attache_documents::Limits;
    use proptest::prelude::*;

    use super::*;

    fn any_step() -> impl Strategy<Value = String> {
        let predicate = prop_oneof![
            Just(String::new()),
            Just(String::new()),
            (1_usize..4).prop_map(|position| format!("[{position}]")),
            "[xy]".prop_map(|value| format!("[@n=\"{value}\"]")),
            (1_usize..4, "[xy]").prop_map(|(position, value)| format!("[{position}][@n=\"{value}\"]")),
        ];
        ("a|b|\\*", predicate).prop_map(|(name, predicate)| format!("{name}{predicate}"))
    }

    fn any_selector() -> impl Strategy<Value = String> {
        let steps = prop::collection::vec(any_step(), 0..3);
        (steps, prop::option::of("@[nm]")).prop_map(|(steps, attribute)| {
            let steps = steps.iter().map(String::as_str).chain(attribute.as_deref());
            ["r"].into_iter().chain(steps).collect::<Vec<_>>().join("/")
        })
    }

    fn any_element(depth: u32) -> impl Strategy<Value = String> {
        let leaf = ("[ab]", prop::option::of("[xy]")).prop_map(|(name, value)| match value {
            Some(value) => format!("<{name} n=\"{value}\"/>"),
            None => format!("<{name}/>"),
        });
        leaf.prop_recursive(depth, 8, 3, |inner| {
            ("[ab]", prop::collection::vec(inner, 0..4)).prop_map(|(name, inside)| {
                if inside.is_empty() {
                    format!("<{name}/>")
                } else {
                    format!("<{name}>{}</{name}>", inside.concat())
                }
            })
        })
    }

    fn node(selector: &str) -> NodePath {
        NodePath { selector: selector.to_owned(), bindings: Vec::new() }
    }

    fn tree(inside: &[String]) -> Tree {
        Tree::read(format!("<r xmlns=\"urn:t\">{}</r>", inside.concat()).as_bytes(), &Limits::STORED).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_put_is_what_is_got(
            inside in prop::collection::vec(any_element(2), 0..4),
            selector in any_selector(),
            element in any_element(1),
            value in "[xyz]",
        ) {
            let mut tree = tree(&inside);
            let path = node(&selector);
            let place = Place::parse(&path, "urn:t").unwrap();
            let body = if place.media_type() == ELEMENT_TYPE { element } else { value };
            let existed = place.get(&tree).is_some();
            if let Ok(is_new) = place.put(&mut tree, body.as_bytes(), str::to_owned) {
                prop_assert_eq!(place.get(&tree), Some(body.clone()));
                prop_assert_eq!(is_new, !existed);
                let written = Tree::read(tree.write().as_bytes(), &Limits::STORED).unwrap();
                prop_assert_eq!(place.get(&written), Some(body.clone()));
                let once = tree.write();
                prop_assert!(place.put(&mut tree, body.as_bytes(), str::to_owned).is_ok());
                prop_assert_eq!(tree.write(), once, "the same again changes nothing");
            }
        }

        #[test]
        fn what_was_deleted_is_not_got(
            inside in prop::collection::vec(any_element(2), 0..4),
            selector in any_selector(),
        ) {
            let mut tree = tree(&inside);
            let path = node(&selector);
            let place = Place::parse(&path, "urn:t").unwrap();
            let existed = place.get(&tree).is_some();
            if place.delete(&mut tree).is_ok() {
                prop_assert!(existed);
                prop_assert_eq!(place.get(&tree), None);
                prop_assert!(Tree::read(tree.write().as_bytes(), &Limits::STORED).is_ok());
            }
        }
    }

    #[test]
    fn slashes_in_values_do_not_part_steps() {
        assert_eq!(steps("a/b[@n=\"x/y\"]/c[@m='/\"']/@d"), ["a", "b[@n=\"x/y\"]", "c[@m='/\"']", "@d"]);
    }
}
