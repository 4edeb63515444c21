//! From text to a tree.

use std::sync::Arc;

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use super::{Attribute, Kind, MAX_ATTRIBUTES, MAX_BINDINGS, Name, Node, NodeId, Tree, XML_NAMESPACE};
use crate::{
    error::DocumentError,
    limits::Limits,
    xml::{cut, decode},
};

impl Tree {
    /// Reads a document. Stricter than the readers of single documents: what is edited and given to others has to be
    /// well-formed, with every prefix declared.
    ///
    /// # Errors
    /// [`DocumentError`]: not well-formed, longer, deeper or larger than the limits, or with a document type or
    /// entities.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, DocumentError> {
        let (text, latin) = decode(bytes, limits)?;
        if latin {
            return Err(DocumentError::Malformed { offset: 0, what: "it is not UTF-8".to_owned() });
        }
        Builder::new(&text, *limits, Vec::new()).document()
    }

    /// Reads one element as if it stood in `parent`: prefixes that it does not declare itself mean what they mean
    /// there (RFC 4825, section 8.2.3). It is not put anywhere yet: [`append`](Tree::append) and its siblings do that.
    ///
    /// # Errors
    /// As for [`read`](Tree::read); also where the text is not exactly one element.
    pub fn read_fragment(&mut self, parent: NodeId, bytes: &[u8]) -> Result<NodeId, DocumentError> {
        let (text, latin) = decode(bytes, &self.limits)?;
        if latin {
            return Err(DocumentError::Malformed { offset: 0, what: "it is not UTF-8".to_owned() });
        }
        let scope = self.scope(parent);
        let outer = scope.iter().rev().map(|&(prefix, uri)| Binding {
            prefix: prefix.map(Into::into),
            uri: Some(uri.into()),
            depth: 0,
        });
        let read = Builder::new(&text, self.limits, outer.collect()).document()?;
        self.grow(read.elements, read.bytes)
            .map_err(|_| DocumentError::TooLarge { what: "bytes of changes", limit: self.limits.bytes })?;
        Ok(self.adopt(&read, read.root))
    }
}

struct Binding {
    prefix: Option<Box<str>>,
    uri: Option<Arc<str>>,
    depth: usize,
}

struct Builder<'a> {
    reader: Reader<&'a [u8]>,
    limits: Limits,
    nodes: Vec<Node>,
    top: Vec<NodeId>,
    root: Option<NodeId>,
    /// Open elements.
    open: Vec<NodeId>,
    bindings: Vec<Binding>,
    /// Every namespace once.
    known: Vec<Arc<str>>,
    elements: usize,
    declared: bool,
    /// Text since the last node.
    pending: String,
    bytes: usize,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, limits: Limits, bindings: Vec<Binding>) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = true;
        reader.config_mut().check_comments = true;
        Self {
            reader,
            limits,
            nodes: Vec::new(),
            top: Vec::new(),
            root: None,
            open: Vec::new(),
            bindings,
            known: Vec::new(),
            elements: 0,
            declared: false,
            pending: String::new(),
            bytes: text.len(),
        }
    }

    fn document(mut self) -> Result<Tree, DocumentError> {
        loop {
            let event = match self.reader.read_event() {
                Ok(event) => event,
                Err(error) => {
                    return Err(DocumentError::Malformed {
                        offset: self.reader.error_position(),
                        what: cut(&error.to_string(), 200).to_owned(),
                    });
                }
            };
            if !matches!(event, Event::Text(_) | Event::GeneralRef(_)) {
                self.flush();
            }
            match event {
                Event::Start(start) => {
                    let node = self.element(&start)?;
                    self.open.push(node);
                }
                Event::Empty(start) => {
                    self.element(&start)?;
                    self.leave();
                }
                Event::End(_) => {
                    self.open.pop();
                    self.leave();
                }
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(data) => {
                    let text = data.xml10_content();
                    if self.open.is_empty() {
                        return Err(self.malformed("there is text outside the root element"));
                    }
                    self.put(Kind::CData(text.into()));
                }
                Event::GeneralRef(reference) => {
                    if let Ok(Some(c)) = reference.resolve_char_ref() {
                        self.text(c.encode_utf8(&mut [0; 4]))?;
                    } else {
                        match quick_xml::escape::resolve_predefined_entity(&reference.into_inner()) {
                            Some(text) => self.text(text)?,
                            None => return Err(DocumentError::Entities),
                        }
                    }
                }
                Event::Comment(comment) => {
                    self.put(Kind::Comment(comment.into_inner().into()));
                }
                Event::PI(instruction) => {
                    self.put(Kind::Instruction(instruction.into_inner().into()));
                }
                Event::Decl(_) if self.nodes.is_empty() && !self.declared => self.declared = true,
                Event::Decl(_) => return Err(self.malformed("the XML declaration is not at the start")),
                Event::DocType(_) => return Err(DocumentError::Entities),
                Event::Eof if !self.open.is_empty() => return Err(self.malformed("it ends in the middle")),
                Event::Eof => break,
            }
        }
        let root = self.root.ok_or(DocumentError::Empty)?;
        Ok(Tree {
            nodes: self.nodes,
            top: self.top,
            root,
            declared: self.declared,
            limits: self.limits,
            elements: self.elements,
            bytes: self.bytes,
        })
    }

    fn malformed(&self, what: &str) -> DocumentError {
        DocumentError::Malformed { offset: self.reader.buffer_position(), what: what.to_owned() }
    }

    fn text(&mut self, text: &str) -> Result<(), DocumentError> {
        if !self.open.is_empty() {
            self.pending.push_str(text);
        } else if !text.trim_ascii().is_empty() {
            return Err(self.malformed("there is text outside the root element"));
        }
        Ok(())
    }

    /// Pieces of one text, between references, become one node.
    fn flush(&mut self) {
        if !self.pending.is_empty() {
            let text = self.pending.as_str().into();
            self.pending.clear();
            self.put(Kind::Text(text));
        }
    }

    /// Declarations of the element that ends are no longer in force.
    fn leave(&mut self) {
        let depth = self.open.len() + 1;
        while self.bindings.last().is_some_and(|binding| binding.depth >= depth) {
            self.bindings.pop();
        }
    }

    fn put(&mut self, kind: Kind) -> NodeId {
        // Fits: a node takes at least a byte, and documents are shorter than four gigabytes.
        let node = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let parent = self.open.last().copied();
        let mut previous = None;
        if let Some(parent) = parent
            && let Kind::Element { first, last, .. } = &mut self.nodes[parent.index()].kind
        {
            previous = last.replace(node);
            if first.is_none() {
                *first = Some(node);
            }
        }
        if let Some(before) = previous {
            self.nodes[before.index()].next = Some(node);
        }
        if parent.is_none() {
            self.top.push(node);
        }
        self.nodes.push(Node { parent, previous, next: None, kind });
        node
    }

    fn element(&mut self, start: &BytesStart<'_>) -> Result<NodeId, DocumentError> {
        let depth = self.open.len() + 1;
        if depth > self.limits.depth {
            return Err(DocumentError::TooLarge { what: "levels", limit: self.limits.depth });
        }
        self.elements += 1;
        if self.elements > self.limits.elements {
            return Err(DocumentError::TooLarge { what: "elements", limit: self.limits.elements });
        }
        if self.open.is_empty() && self.root.is_some() {
            return Err(self.malformed("something follows the root element"));
        }
        let mut attributes: Vec<Attribute> = Vec::new();
        // Its own check compares every attribute with every other before it counts them.
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| self.malformed(cut(&error.to_string(), 200)))?;
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(DocumentError::TooLarge { what: "attributes", limit: MAX_ATTRIBUTES });
            }
            let written = attribute.key.0;
            if !is_name(written) {
                return Err(self.malformed("an attribute has no name"));
            }
            if attribute.value.contains('<') {
                return Err(self.malformed("an attribute value holds `<`"));
            }
            let value = value(&attribute.value).ok_or(DocumentError::Entities)?;
            let name = Name::new(None, written);
            if let Some(prefix) = name.declares() {
                self.bind(prefix, &value, depth)?;
            }
            attributes.push(Attribute { name, value: value.into() });
        }
        for at in 0..attributes.len() {
            let name = &attributes[at].name;
            if let (Some(prefix), None) = (name.prefix(), name.declares()) {
                let namespace = self.namespace(Some(prefix))?;
                attributes[at].name.namespace = namespace;
            }
            let name = &attributes[at].name;
            let twice = attributes[..at].iter().any(|known| {
                known.name.written == name.written
                    || (name.namespace.is_some() && known.name.is(name.namespace(), name.local()))
            });
            if twice {
                return Err(self.malformed("an attribute is there twice"));
            }
        }
        let name = start.name();
        let written = name.0;
        if !is_name(written) {
            return Err(self.malformed("an element has no name"));
        }
        let prefix = written.split_once(':').map(|(prefix, _)| prefix);
        let namespace = self.namespace(prefix)?;
        let name = Name::new(namespace, written);
        let node = self.put(Kind::Element { name, attributes, first: None, last: None });
        if self.open.is_empty() {
            self.root = Some(node);
        }
        Ok(node)
    }

    fn bind(&mut self, prefix: Option<&str>, uri: &str, depth: usize) -> Result<(), DocumentError> {
        if self.bindings.len() == MAX_BINDINGS {
            return Err(DocumentError::TooLarge { what: "namespace declarations", limit: MAX_BINDINGS });
        }
        if prefix.is_some() && uri.is_empty() || matches!(prefix, Some("xmlns")) {
            return Err(self.malformed("a prefix is declared as nothing"));
        }
        let uri = (!uri.is_empty()).then(|| self.intern(uri));
        self.bindings.push(Binding { prefix: prefix.map(Into::into), uri, depth });
        Ok(())
    }

    fn intern(&mut self, uri: &str) -> Arc<str> {
        if let Some(known) = self.known.iter().find(|known| ***known == *uri) {
            return Arc::clone(known);
        }
        let new: Arc<str> = uri.into();
        // There may be more over the length of a document than are in force at once: remember as many as that.
        if self.known.len() < MAX_BINDINGS {
            self.known.push(Arc::clone(&new));
        }
        new
    }

    fn namespace(&mut self, prefix: Option<&str>) -> Result<Option<Arc<str>>, DocumentError> {
        if prefix == Some("xml") {
            return Ok(Some(self.intern(XML_NAMESPACE)));
        }
        match self.bindings.iter().rev().find(|binding| binding.prefix.as_deref() == prefix) {
            Some(binding) => Ok(binding.uri.clone()),
            None if prefix.is_none() => Ok(None),
            None => Err(self.malformed("a prefix is not declared")),
        }
    }
}

/// An attribute's value with references resolved, and blanks as XML 1.0, section 3.3.3 has them.
fn value(raw: &str) -> Option<String> {
    let spaced = if raw.contains(['\t', '\n', '\r']) {
        std::borrow::Cow::Owned(raw.replace("\r\n", " ").replace(['\t', '\n', '\r'], " "))
    } else {
        std::borrow::Cow::Borrowed(raw)
    };
    quick_xml::escape::unescape(&spaced).ok().map(std::borrow::Cow::into_owned)
}

/// Whether a text can be the name of an element or attribute, with or without a prefix.
pub(crate) fn is_name(text: &str) -> bool {
    let mut parts = text.split(':');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    third.is_none() && first.is_some_and(is_part) && second.is_none_or(is_part)
}

/// Whether a text is a name without a prefix (NCName).
pub(crate) fn is_part(text: &str) -> bool {
    let starts = |c: char| c.is_alphabetic() || c == '_';
    let continues = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{b7}');
    let mut all = text.chars();
    all.next().is_some_and(starts) && all.all(continues)
}
