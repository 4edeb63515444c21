//! Changing a tree.

use std::sync::Arc;

use super::{Attribute, Kind, MAX_ATTRIBUTES, Name, Node, NodeId, NodeKind, Tree, read::is_name};

/// Why a tree cannot be changed like that.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The document would become larger than its limits allow.
    #[error("the document would exceed the limit of {limit} {what}")]
    TooLarge {
        /// What there would be too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not an element, or not a node of a place where this can be done.
    #[error("this cannot be done to that node")]
    Place,
    /// Not a name, or with a prefix that means nothing there.
    #[error("`{0}` is no name here")]
    Name(String),
}

impl Tree {
    /// Makes an element that is not anywhere yet. `written` may have a prefix; what it means is `namespace`, and the
    /// declaration that this takes is added where the element is put in.
    ///
    /// # Errors
    /// [`EditError::Name`], or too large.
    pub fn new_element(&mut self, namespace: Option<&str>, written: &str) -> Result<NodeId, EditError> {
        if !is_name(written) || (written.contains(':') && namespace.is_none()) {
            return Err(EditError::Name(written.chars().take(80).collect()));
        }
        self.grow(1, written.len() + 5)?;
        let name = Name::new(namespace.map(Arc::from), written);
        Ok(self.make(Kind::Element { name, attributes: Vec::new(), first: None, last: None }))
    }

    /// Makes a text that is not anywhere yet.
    ///
    /// # Errors
    /// Too large.
    pub fn new_text(&mut self, text: &str) -> Result<NodeId, EditError> {
        self.grow(0, text.len())?;
        Ok(self.make(Kind::Text(text.into())))
    }

    /// Makes a copy of a node, and of all below it, of another tree, that is not anywhere yet.
    ///
    /// # Errors
    /// Too large.
    pub fn import(&mut self, from: &Self, node: NodeId) -> Result<NodeId, EditError> {
        let (mut elements, mut bytes) = (0, 0);
        from.walk(node, |tree, node| {
            elements += usize::from(tree.kind(node) == NodeKind::Element);
            bytes += tree.weight(node);
        });
        self.grow(elements, bytes)?;
        Ok(self.adopt(from, node))
    }

    /// Sets an attribute without a namespace, at its place where it is there already, else as the last one.
    ///
    /// # Errors
    /// Not an element, not a name, or too large.
    pub fn set_attribute(&mut self, node: NodeId, local: &str, value: &str) -> Result<(), EditError> {
        self.set_attribute_ns(node, None, local, value)
    }

    /// Sets an attribute. `written` has a prefix where there is a namespace; where that prefix means something else
    /// at this element, it is declared on it.
    ///
    /// # Errors
    /// Not an element, not a name, or too large.
    pub fn set_attribute_ns(
        &mut self,
        node: NodeId,
        namespace: Option<&str>,
        written: &str,
        value: &str,
    ) -> Result<(), EditError> {
        let bad_name = || EditError::Name(written.chars().take(80).collect());
        if !is_name(written) || written.contains(':') != namespace.is_some() || written == "xmlns" {
            return Err(bad_name());
        }
        let name = Name::new(namespace.map(Arc::from), written);
        if name.declares().is_some() {
            return Err(bad_name());
        }
        self.grow(0, written.len() + value.len() + 4)?;
        let local = name.local().to_owned();
        let Kind::Element { attributes, .. } = &mut self.at_mut(node).kind else {
            return Err(EditError::Place);
        };
        let known = attributes
            .iter_mut()
            .find(|known| known.name.declares().is_none() && known.name.is(namespace, &local));
        if let Some(known) = known {
            known.value = value.into();
            return Ok(());
        }
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(EditError::TooLarge { what: "attributes", limit: MAX_ATTRIBUTES });
        }
        attributes.push(Attribute { name, value: value.into() });
        self.declare_missing(node)
    }

    /// Removes an attribute. Whether it was there.
    pub fn remove_attribute(&mut self, node: NodeId, namespace: Option<&str>, local: &str) -> bool {
        let Kind::Element { attributes, .. } = &mut self.at_mut(node).kind else { return false };
        let before = attributes.len();
        attributes.retain(|known| known.name.declares().is_some() || !known.name.is(namespace, local));
        attributes.len() < before
    }

    /// Declares a prefix (`None`: the default namespace) on an element, or changes what it is declared as there.
    /// Names that were written with it keep their meaning in this tree, so whoever changes a declaration has to know
    /// that no name uses it (RFC 5261, section 4.2.3).
    ///
    /// # Errors
    /// Not an element, not a prefix, or too large.
    pub fn declare(&mut self, node: NodeId, prefix: Option<&str>, uri: &str) -> Result<(), EditError> {
        if let Some(prefix) = prefix
            && (!super::read::is_part(prefix) || uri.is_empty() || prefix.starts_with("xml"))
        {
            return Err(EditError::Name(prefix.chars().take(80).collect()));
        }
        self.grow(0, uri.len() + 12)?;
        let Kind::Element { attributes, .. } = &mut self.at_mut(node).kind else {
            return Err(EditError::Place);
        };
        if let Some(known) = attributes.iter_mut().find(|known| known.name.declares() == Some(prefix)) {
            known.value = uri.into();
            return Ok(());
        }
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(EditError::TooLarge { what: "attributes", limit: MAX_ATTRIBUTES });
        }
        let written = prefix.map_or_else(|| "xmlns".to_owned(), |prefix| format!("xmlns:{prefix}"));
        attributes.push(Attribute { name: Name::new(None, &written), value: uri.into() });
        Ok(())
    }

    /// Takes a declaration away. Whether it was there. The same caution as for [`declare`](Tree::declare).
    pub fn undeclare(&mut self, node: NodeId, prefix: Option<&str>) -> bool {
        let Kind::Element { attributes, .. } = &mut self.at_mut(node).kind else { return false };
        let before = attributes.len();
        attributes.retain(|known| known.name.declares() != Some(prefix));
        attributes.len() < before
    }

    /// Gives an element another name. Where its prefix, or the lack of one, means something else there, it is declared;
    /// where the element itself declares it as something else, that is an error.
    ///
    /// # Errors
    /// Not an element, not a name, or too large.
    pub fn rename(&mut self, node: NodeId, namespace: Option<&str>, written: &str) -> Result<(), EditError> {
        let bad_name = || EditError::Name(written.chars().take(80).collect());
        if !is_name(written) || (written.contains(':') && namespace.is_none()) {
            return Err(bad_name());
        }
        self.grow(0, written.len() * 2)?;
        let new = Name::new(namespace.map(Arc::from), written);
        let declared = self.attributes(node).iter().find(|one| one.name.declares() == Some(new.prefix()));
        let mut new = new;
        if declared.is_some_and(|declared| Some(declared.value()) != namespace) {
            // Another prefix for the same namespace does as well.
            let (local, uri) = (new.local().to_owned(), namespace.unwrap_or_default());
            let usable = self.scope(node).into_iter().find(|(_, bound)| *bound == uri);
            let written = match usable {
                Some((Some(prefix), _)) => format!("{prefix}:{local}"),
                Some((None, _)) => local,
                None => {
                    let free = (1..).map(|n| format!("n{n}")).find(|p| self.resolve(node, Some(p)).is_none());
                    format!("{}:{local}", free.ok_or_else(bad_name)?)
                }
            };
            new = Name::new(namespace.map(Arc::from), &written);
        }
        let Kind::Element { name, .. } = &mut self.at_mut(node).kind else { return Err(EditError::Place) };
        *name = new;
        self.declare_missing(node)
    }

    /// Replaces all that is in an element by a text.
    ///
    /// # Errors
    /// Not an element, or too large.
    pub fn set_text(&mut self, node: NodeId, text: &str) -> Result<(), EditError> {
        if self.kind(node) != NodeKind::Element {
            return Err(EditError::Place);
        }
        let text = if text.is_empty() { None } else { Some(self.new_text(text)?) };
        while let Some(child) = self.first_child(node) {
            self.detach(child);
        }
        text.map_or(Ok(()), |text| self.append(node, text))
    }

    /// Puts a node at the end of an element.
    ///
    /// # Errors
    /// The node is somewhere already, `parent` is no element, or the document would become too deep.
    pub fn append(&mut self, parent: NodeId, node: NodeId) -> Result<(), EditError> {
        self.put(parent, self.last_child(parent), node)
    }

    /// Puts a node at the start of an element.
    ///
    /// # Errors
    /// As for [`append`](Tree::append).
    pub fn prepend(&mut self, parent: NodeId, node: NodeId) -> Result<(), EditError> {
        self.put(parent, None, node)
    }

    /// Puts a node before another one.
    ///
    /// # Errors
    /// As for [`append`](Tree::append); and `anchor` is the root element.
    pub fn insert_before(&mut self, anchor: NodeId, node: NodeId) -> Result<(), EditError> {
        self.put(self.parent(anchor).ok_or(EditError::Place)?, self.previous(anchor), node)
    }

    /// Puts a node after another one.
    ///
    /// # Errors
    /// As for [`append`](Tree::append); and `anchor` is the root element.
    pub fn insert_after(&mut self, anchor: NodeId, node: NodeId) -> Result<(), EditError> {
        self.put(self.parent(anchor).ok_or(EditError::Place)?, Some(anchor), node)
    }

    /// Puts `new` where `old` was, and takes `old` out. The root element can be replaced too, by an element.
    ///
    /// # Errors
    /// As for [`append`](Tree::append).
    pub fn replace(&mut self, old: NodeId, new: NodeId) -> Result<(), EditError> {
        if old == self.root {
            if self.kind(new) != NodeKind::Element || self.parent(new).is_some() || new == old {
                return Err(EditError::Place);
            }
            self.check_depth(0, new)?;
            for node in &mut self.top {
                if *node == old {
                    *node = new;
                }
            }
            self.root = new;
            return self.declare_below(new);
        }
        self.insert_after(old, new)?;
        self.detach(old);
        Ok(())
    }

    /// Takes a node, and all below it, out of its element. The root element cannot be taken out. Whether it was
    /// somewhere.
    pub fn detach(&mut self, node: NodeId) -> bool {
        let Node { parent: Some(parent), previous, next, .. } = *self.at(node) else { return false };
        match previous {
            Some(previous) => self.at_mut(previous).next = next,
            None => self.set_first(parent, next),
        }
        match next {
            Some(next) => self.at_mut(next).previous = previous,
            None => self.set_last(parent, previous),
        }
        let node = self.at_mut(node);
        (node.parent, node.previous, node.next) = (None, None, None);
        true
    }

    fn put(&mut self, parent: NodeId, after: Option<NodeId>, node: NodeId) -> Result<(), EditError> {
        let free = self.parent(node).is_none() && node != self.root;
        if !free || self.kind(parent) != NodeKind::Element {
            return Err(EditError::Place);
        }
        // An element cannot be put below itself.
        if core::iter::successors(Some(parent), |&above| self.parent(above)).any(|above| above == node) {
            return Err(EditError::Place);
        }
        self.check_depth(self.depth(parent), node)?;
        let next = after.map_or_else(|| self.first_child(parent), |after| self.next(after));
        match after {
            Some(after) => self.at_mut(after).next = Some(node),
            None => self.set_first(parent, Some(node)),
        }
        match next {
            Some(next) => self.at_mut(next).previous = Some(node),
            None => self.set_last(parent, Some(node)),
        }
        let here = self.at_mut(node);
        (here.parent, here.previous, here.next) = (Some(parent), after, next);
        self.declare_below(node)
    }

    fn set_first(&mut self, parent: NodeId, to: Option<NodeId>) {
        if let Kind::Element { first, .. } = &mut self.at_mut(parent).kind {
            *first = to;
        }
    }

    fn set_last(&mut self, parent: NodeId, to: Option<NodeId>) {
        if let Kind::Element { last, .. } = &mut self.at_mut(parent).kind {
            *last = to;
        }
    }

    fn check_depth(&self, above: usize, node: NodeId) -> Result<(), EditError> {
        let mut deepest = 0;
        let mut at = Some((node, 1));
        while let Some((here, depth)) = at {
            if self.kind(here) == NodeKind::Element {
                deepest = deepest.max(depth);
            }
            at = self.first_child(here).map(|child| (child, depth + 1)).or_else(|| {
                let (mut up, mut depth) = (here, depth);
                loop {
                    if up == node {
                        return None;
                    }
                    if let Some(next) = self.next(up) {
                        return Some((next, depth));
                    }
                    up = self.parent(up)?;
                    depth -= 1;
                }
            });
        }
        if above + deepest > self.limits.depth {
            return Err(EditError::TooLarge { what: "levels", limit: self.limits.depth });
        }
        Ok(())
    }

    /// Declares, on an element that came here and on those below it, what their prefixes mean and do not mean here.
    fn declare_below(&mut self, top: NodeId) -> Result<(), EditError> {
        let mut at = Some(top);
        while let Some(node) = at {
            self.declare_missing(node)?;
            at = self.first_child(node).or_else(|| self.after(node, top));
        }
        Ok(())
    }

    fn declare_missing(&mut self, node: NodeId) -> Result<(), EditError> {
        let Kind::Element { name, attributes, .. } = &self.at(node).kind else { return Ok(()) };
        let names = core::iter::once(name).chain(
            attributes.iter().map(Attribute::name).filter(|n| n.prefix().is_some() && n.declares().is_none()),
        );
        let mut missing: Vec<(Option<Box<str>>, Arc<str>)> = Vec::new();
        for name in names {
            if self.resolve(node, name.prefix()) != name.namespace() {
                let prefix = name.prefix().map(Into::into);
                missing.push((prefix, name.namespace.clone().unwrap_or_else(|| "".into())));
            }
        }
        for (prefix, uri) in missing {
            let written = prefix.map_or_else(|| "xmlns".to_owned(), |prefix| format!("xmlns:{prefix}"));
            if self.attribute_written(node, &written) {
                continue;
            }
            if self.attributes(node).len() >= MAX_ATTRIBUTES {
                return Err(EditError::TooLarge { what: "attributes", limit: MAX_ATTRIBUTES });
            }
            self.grow(0, written.len() + uri.len() + 4)?;
            if let Kind::Element { attributes, .. } = &mut self.at_mut(node).kind {
                attributes.push(Attribute { name: Name::new(None, &written), value: (*uri).into() });
            }
        }
        Ok(())
    }

    fn weight(&self, node: NodeId) -> usize {
        match &self.at(node).kind {
            Kind::Element { name, attributes, .. } => {
                let attributes = attributes.iter().map(|a| a.name.written.len() + a.value.len() + 4);
                2 * name.written.len() + 5 + attributes.sum::<usize>()
            }
            Kind::Text(text) | Kind::CData(text) | Kind::Comment(text) | Kind::Instruction(text) => {
                text.len() + 7
            }
        }
    }

    pub(super) fn grow(&mut self, elements: usize, bytes: usize) -> Result<(), EditError> {
        if self.elements + elements > self.limits.elements {
            return Err(EditError::TooLarge { what: "elements", limit: self.limits.elements });
        }
        if self.bytes + bytes > self.limits.bytes {
            return Err(EditError::TooLarge { what: "bytes", limit: self.limits.bytes });
        }
        self.elements += elements;
        self.bytes += bytes;
        Ok(())
    }

    fn make(&mut self, kind: Kind) -> NodeId {
        let node = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { parent: None, previous: None, next: None, kind });
        node
    }

    /// Copies a node and all below it. Whoever calls has counted them.
    pub(super) fn adopt(&mut self, from: &Self, top: NodeId) -> NodeId {
        let mut above: Vec<NodeId> = Vec::new();
        let mut made = NodeId(0);
        let mut at = top;
        loop {
            let mut kind = from.at(at).kind.clone();
            if let Kind::Element { first, last, .. } = &mut kind {
                (*first, *last) = (None, None);
            }
            let copy = self.make(kind);
            match above.last() {
                None => made = copy,
                Some(&parent) => {
                    let before = self.last_child(parent);
                    match before {
                        Some(before) => self.at_mut(before).next = Some(copy),
                        None => self.set_first(parent, Some(copy)),
                    }
                    self.set_last(parent, Some(copy));
                    let node = self.at_mut(copy);
                    (node.parent, node.previous) = (Some(parent), before);
                }
            }
            if let Some(child) = from.first_child(at) {
                above.push(copy);
                at = child;
                continue;
            }
            loop {
                if at == top {
                    return made;
                }
                if let Some(next) = from.next(at) {
                    at = next;
                    break;
                }
                match from.parent(at) {
                    Some(parent) => at = parent,
                    None => return made,
                }
                above.pop();
            }
        }
    }
}
