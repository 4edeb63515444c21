//! Documents that people keep on a service, and that others wrote a part of.
//!
//! Contact lists and rules are edited by many programs, and each puts in what only it understands. So a document is
//! read into a small tree first, and what its reader does not know is kept as [`Foreign`] text, to be written back.
//! Nothing is cut here: what exceeds a limit is refused, since half a list of contacts written back is a loss.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::error::DocumentError;
use crate::limits::Limits;
use crate::xml::{cut, decode, escape_into};

/// The namespace that `xml:` always stands for.
const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// More declarations than that in force at one place, or attributes of one element, no document needs.
const MOST_DECLARATIONS: usize = 48;
const MOST_ATTRIBUTES: usize = 64;
/// Longest name of a namespace: it is copied into every foreign element that needs it.
const LONGEST_NAMESPACE: usize = 1024;

/// An element of somebody else, kept as it came: XML that stands for itself, with the namespaces it needs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Foreign(String);

impl Foreign {
    /// Takes one element as text, with whatever is in it.
    ///
    /// # Errors
    /// When it is not well-formed on its own, or exceeds a limit.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, DocumentError> {
        let dom = Dom::read(text.as_bytes(), limits)?;
        let foreign = dom.root().foreign();
        dom.check()?;
        Ok(foreign)
    }

    /// The element as XML.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the element: its namespace, empty for none, and its local name.
    #[must_use]
    pub fn name(&self) -> (String, String) {
        match Dom::read(self.0.as_bytes(), &Limits::STORED) {
            Ok(dom) => (dom.root().namespace().to_owned(), dom.root().name().to_owned()),
            Err(_) => (String::new(), String::new()),
        }
    }
}

/// An attribute of somebody else.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ForeignAttribute {
    /// Its namespace; empty for none.
    pub namespace: String,
    /// Its local name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A document as a tree in one block.
pub(crate) struct Dom<'a> {
    text: Cow<'a, str>,
    nodes: Vec<Node>,
    /// Bytes that foreign elements may still take beside the document itself; `None` when there were too few.
    room: Cell<Option<usize>>,
    bytes: usize,
}

struct Node {
    parent: Option<usize>,
    children: Vec<usize>,
    namespace: Rc<str>,
    name: Range<usize>,
    /// From `<` to the end of the end tag.
    place: Range<usize>,
    /// Where the declarations of namespaces can be added: behind the name.
    behind_name: usize,
    attributes: Vec<OwnAttribute>,
    /// Prefix and namespace.
    declarations: Vec<(String, Rc<str>)>,
    content: String,
}

struct OwnAttribute {
    namespace: Rc<str>,
    name: String,
    value: String,
}

/// One element of a document.
#[derive(Copy, Clone)]
pub(crate) struct Element<'d> {
    dom: &'d Dom<'d>,
    index: usize,
}

impl<'a> Dom<'a> {
    pub(crate) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, DocumentError> {
        let (text, is_latin) = decode(bytes, limits)?;
        if is_latin {
            return Err(DocumentError::Malformed { offset: 0, what: "it is not UTF-8".into() });
        }
        let nodes = Builder::new(&text, limits).run()?;
        Ok(Self { text, nodes, room: Cell::new(Some(limits.bytes)), bytes: limits.bytes })
    }

    /// Whoever took [`foreign`](Element::foreign) elements asks at the end whether all could be had.
    pub(crate) fn check(&self) -> Result<(), DocumentError> {
        match self.room.get() {
            Some(_) => Ok(()),
            None => Err(DocumentError::TooLarge { what: "bytes of namespaces", limit: self.bytes }),
        }
    }

    pub(crate) fn root(&self) -> Element<'_> {
        Element { dom: self, index: 0 }
    }

    /// The root, if it has that name.
    pub(crate) fn root_of(
        &self,
        namespace: &str,
        name: &str,
        expected: &'static str,
    ) -> Result<Element<'_>, DocumentError> {
        let root = self.root();
        if root.is(namespace, name) {
            return Ok(root);
        }
        Err(DocumentError::WrongRoot { root: cut(root.name(), 64).to_owned(), expected })
    }
}

impl<'d> Element<'d> {
    fn node(self) -> &'d Node {
        &self.dom.nodes[self.index]
    }

    pub(crate) fn namespace(self) -> &'d str {
        &self.node().namespace
    }

    pub(crate) fn name(self) -> &'d str {
        &self.dom.text[self.node().name.clone()]
    }

    pub(crate) fn is(self, namespace: &str, name: &str) -> bool {
        self.name() == name && self.namespace() == namespace
    }

    pub(crate) fn children(self) -> impl Iterator<Item = Self> + use<'d> {
        self.node().children.iter().map(move |index| Self { dom: self.dom, index: *index })
    }

    pub(crate) fn child(self, namespace: &str, name: &str) -> Option<Self> {
        self.children().find(|child| child.is(namespace, name))
    }

    /// The text between its children, blanks at both ends left out.
    pub(crate) fn text(self) -> &'d str {
        self.node().content.trim()
    }

    /// The value of an attribute without namespace.
    pub(crate) fn attribute(self, name: &str) -> Option<&'d str> {
        let mut all = self.node().attributes.iter();
        all.find(|one| one.name == name && one.namespace.is_empty()).map(|one| &*one.value)
    }

    /// The value of `xml:lang`.
    pub(crate) fn lang(self) -> Option<String> {
        let mut all = self.node().attributes.iter();
        all.find(|one| one.name == "lang" && &*one.namespace == XML).map(|one| one.value.clone())
    }

    /// The attributes but for those names without namespace.
    pub(crate) fn other_attributes(self, known: &[&str]) -> Vec<ForeignAttribute> {
        let all = self.node().attributes.iter();
        let other = all.filter(|one| !(one.namespace.is_empty() && known.contains(&&*one.name)));
        other
            .map(|one| ForeignAttribute {
                namespace: one.namespace.to_string(),
                name: one.name.clone(),
                value: one.value.clone(),
            })
            .collect()
    }

    /// Where it begins, in bytes.
    pub(crate) fn offset(self) -> u64 {
        self.node().place.start as u64
    }

    /// Whether its name, or one below it, depends on what the default namespace is around it.
    fn inherits_default(self) -> bool {
        let end = self.node().place.end;
        let inside = self.dom.nodes[self.index..].iter().take_while(|node| node.place.start < end);
        inside.enumerate().any(|(number, node)| {
            let has_prefix = self.dom.text[..node.name.start].ends_with(':');
            let mut at = Some(self.index + number);
            let mut declares = false;
            while let Some(index) = at.filter(|index| *index >= self.index) {
                declares |= self.dom.nodes[index].declarations.iter().any(|(prefix, _)| prefix.is_empty());
                at = self.dom.nodes[index].parent;
            }
            !has_prefix && !declares
        })
    }

    fn default_namespace(self) -> &'d str {
        let mut at = Some(self.index);
        while let Some(index) = at {
            let node = &self.dom.nodes[index];
            if let Some((_, namespace)) = node.declarations.iter().find(|(prefix, _)| prefix.is_empty()) {
                return namespace;
            }
            at = node.parent;
        }
        ""
    }

    /// The element as it came, on its own feet. What that takes beside the element itself is bounded over all elements of
    /// a document; see [`Dom::check`].
    pub(crate) fn foreign(self) -> Foreign {
        let node = self.node();
        let source = &self.dom.text[node.place.clone()];
        let mut out = self.dom.text[node.place.start..node.behind_name].to_owned();
        let mut seen: Vec<&str> = node.declarations.iter().map(|(prefix, _)| prefix.as_str()).collect();
        if self.inherits_default() && !seen.contains(&"") {
            // Also where that is none: among other elements it could be another one.
            seen.push("");
            declare(&mut out, "", self.default_namespace());
        }
        let mut above = node.parent;
        while let Some(index) = above {
            for (prefix, namespace) in &self.dom.nodes[index].declarations {
                // A prefix may also stand in a value, so its text counts, not only the names of elements.
                if !prefix.is_empty()
                    && !seen.contains(&prefix.as_str())
                    && source.contains(&format!("{prefix}:"))
                {
                    seen.push(prefix);
                    declare(&mut out, prefix, namespace);
                }
            }
            above = self.dom.nodes[index].parent;
        }
        let declared = out.len() - (node.behind_name - node.place.start);
        self.dom.room.set(self.dom.room.get().and_then(|room| room.checked_sub(declared)));
        if self.dom.room.get().is_none() {
            return Foreign(String::new());
        }
        out.push_str(&self.dom.text[node.behind_name..node.place.end]);
        Foreign(out)
    }
}

fn declare(out: &mut String, prefix: &str, namespace: &str) {
    out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
    out.push_str(prefix);
    out.push_str("=\"");
    escape_into(out, namespace);
    out.push('"');
}

/// A boolean of XML Schema.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

struct Builder<'t> {
    text: &'t str,
    limits: &'t Limits,
    nodes: Vec<Node>,
    open: Vec<usize>,
    in_force: usize,
    names: HashSet<Rc<str>>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, limits: &'t Limits) -> Self {
        Self { text, limits, nodes: Vec::new(), open: Vec::new(), in_force: 0, names: HashSet::new() }
    }

    fn run(mut self) -> Result<Vec<Node>, DocumentError> {
        let mut reader = Reader::from_str(self.text);
        reader.config_mut().expand_empty_elements = true;
        reader.config_mut().check_end_names = true;
        loop {
            let start = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let event = reader.read_event().map_err(|error| DocumentError::Malformed {
                offset: reader.error_position(),
                what: cut(&error.to_string(), 200).to_owned(),
            })?;
            let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            match event {
                Event::Start(tag) | Event::Empty(tag) => self.start(&tag, start)?,
                Event::End(_) => self.end(end),
                Event::Text(text) => self.content(&text.xml10_content(), start)?,
                Event::CData(text) => self.content(&text.xml10_content(), start)?,
                Event::GeneralRef(reference) => {
                    if let Ok(Some(c)) = reference.resolve_char_ref() {
                        self.content(c.encode_utf8(&mut [0; 4]), start)?;
                        continue;
                    }
                    match quick_xml::escape::resolve_predefined_entity(&reference.into_inner()) {
                        Some(text) => self.content(text, start)?,
                        None => return Err(DocumentError::Entities),
                    }
                }
                Event::DocType(_) => return Err(DocumentError::Entities),
                Event::Eof if !self.open.is_empty() => return Err(malformed(start, "it ends in the middle")),
                Event::Eof if self.nodes.is_empty() => return Err(DocumentError::Empty),
                Event::Eof => return Ok(self.nodes),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            }
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>, start: usize) -> Result<(), DocumentError> {
        let parent = self.open.last().copied();
        if parent.is_none() && !self.nodes.is_empty() {
            return Err(malformed(start, "something follows the root element"));
        }
        if self.open.len() >= self.limits.depth {
            return Err(DocumentError::TooLarge { what: "levels", limit: self.limits.depth });
        }
        if self.nodes.len() >= self.limits.elements {
            return Err(DocumentError::TooLarge { what: "elements", limit: self.limits.elements });
        }
        let mut plain: Vec<(String, String)> = Vec::new();
        let mut declarations: Vec<(String, Rc<str>)> = Vec::new();
        for (number, attribute) in tag.attributes().enumerate() {
            if number >= MOST_ATTRIBUTES {
                return Err(DocumentError::TooLarge { what: "attributes", limit: MOST_ATTRIBUTES });
            }
            let attribute = attribute.map_err(|error| malformed(start, cut(&error.to_string(), 200)))?;
            let value = quick_xml::escape::unescape(&attribute.value)
                .map_err(|_| malformed(start, "an undefined entity in an attribute"))?;
            self.fits(value.len())?;
            let key = attribute.key.0;
            if value.len() > LONGEST_NAMESPACE && (key == "xmlns" || key.starts_with("xmlns:")) {
                return Err(DocumentError::TooLarge {
                    what: "bytes of a namespace",
                    limit: LONGEST_NAMESPACE,
                });
            }
            match key {
                "xmlns" => declarations.push((String::new(), self.intern(&value))),
                key => match key.strip_prefix("xmlns:") {
                    Some(prefix) if !value.is_empty() => {
                        let namespace = self.intern(&value);
                        declarations.push((prefix.to_owned(), namespace));
                    }
                    Some(_) => return Err(malformed(start, "a prefix is bound to nothing")),
                    None => plain.push((key.to_owned(), value.into_owned())),
                },
            }
        }
        self.in_force += declarations.len();
        if self.in_force > MOST_DECLARATIONS {
            return Err(DocumentError::TooLarge { what: "namespaces", limit: MOST_DECLARATIONS });
        }
        let index = self.nodes.len();
        let name = tag.name().0;
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let end_of_name = start + 1 + name.len();
        self.nodes.push(Node {
            parent,
            children: Vec::new(),
            namespace: Rc::from(""),
            name: end_of_name - local.len()..end_of_name,
            place: start..start,
            behind_name: end_of_name,
            attributes: Vec::new(),
            declarations,
            content: String::new(),
        });
        let namespace = self
            .resolve(index, prefix)
            .ok_or_else(|| malformed(start, "a prefix that is not bound to a namespace"))?;
        let mut attributes = Vec::with_capacity(plain.len());
        for (key, value) in plain {
            let (namespace, name) = match key.split_once(':') {
                None => (self.intern(""), key),
                Some((prefix, local)) => {
                    let namespace = self.resolve(index, prefix);
                    let unbound = || malformed(start, "a prefix that is not bound to a namespace");
                    (namespace.ok_or_else(unbound)?, local.to_owned())
                }
            };
            attributes.push(OwnAttribute { namespace, name, value });
        }
        self.nodes[index].namespace = namespace;
        self.nodes[index].attributes = attributes;
        if let Some(parent) = parent {
            self.nodes[parent].children.push(index);
        }
        self.open.push(index);
        Ok(())
    }

    fn end(&mut self, end: usize) {
        if let Some(index) = self.open.pop() {
            self.nodes[index].place.end = end;
            self.in_force -= self.nodes[index].declarations.len();
        }
    }

    fn content(&mut self, piece: &str, at: usize) -> Result<(), DocumentError> {
        let Some(index) = self.open.last().copied() else {
            if piece.trim_ascii().is_empty() {
                return Ok(());
            }
            return Err(malformed(at, "there is text outside the root element"));
        };
        // Blanks between elements are no text.
        if self.nodes[index].content.is_empty() && piece.trim_ascii().is_empty() {
            return Ok(());
        }
        self.fits(self.nodes[index].content.len() + piece.len())?;
        self.nodes[index].content.push_str(piece);
        Ok(())
    }

    fn fits(&self, length: usize) -> Result<(), DocumentError> {
        if length > self.limits.text {
            return Err(DocumentError::TooLarge { what: "bytes of one text", limit: self.limits.text });
        }
        Ok(())
    }

    fn resolve(&mut self, index: usize, prefix: &str) -> Option<Rc<str>> {
        if prefix == "xml" {
            return Some(self.intern(XML));
        }
        let mut at = Some(index);
        while let Some(index) = at {
            let node = &self.nodes[index];
            if let Some((_, namespace)) = node.declarations.iter().find(|(known, _)| known == prefix) {
                return Some(Rc::clone(namespace));
            }
            at = node.parent;
        }
        prefix.is_empty().then(|| self.intern(""))
    }

    fn intern(&mut self, text: &str) -> Rc<str> {
        if let Some(known) = self.names.get(text) {
            return Rc::clone(known);
        }
        let shared: Rc<str> = Rc::from(text);
        self.names.insert(Rc::clone(&shared));
        shared
    }
}

fn malformed(offset: usize, what: impl Into<String>) -> DocumentError {
    DocumentError::Malformed { offset: offset as u64, what: what.into() }
}

/// Writes elements one after the other. The default namespace is the document's own.
pub(crate) struct Writer {
    pub(crate) out: String,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }

    /// Begins a tag: attributes may follow, then [`open`](Self::open) or [`empty`](Self::empty).
    pub(crate) fn tag(&mut self, name: &str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self
    }

    pub(crate) fn attribute(&mut self, name: &str, value: &str) -> &mut Self {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        escape_into(&mut self.out, value);
        self.out.push('"');
        self
    }

    pub(crate) fn optional(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.attribute(name, value);
        }
        self
    }

    pub(crate) fn foreign_attributes(&mut self, all: &[ForeignAttribute]) -> &mut Self {
        for (number, one) in all.iter().enumerate() {
            match &*one.namespace {
                "" => self.attribute(&one.name, &one.value),
                XML => self.attribute(&format!("xml:{}", one.name), &one.value),
                namespace => self
                    .attribute(&format!("xmlns:a{number}"), namespace)
                    .attribute(&format!("a{number}:{}", one.name), &one.value),
            };
        }
        self
    }

    pub(crate) fn open(&mut self) {
        self.out.push('>');
    }

    pub(crate) fn empty(&mut self) {
        self.out.push_str("/>");
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    pub(crate) fn text(&mut self, text: &str) {
        escape_into(&mut self.out, text);
    }

    /// A whole element with text only.
    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.tag(name).open();
        self.text(text);
        self.close(name);
    }

    pub(crate) fn foreign(&mut self, all: &[Foreign]) {
        all.iter().for_each(|one| self.out.push_str(&one.0));
    }
}
