//! The members of lists that users keep, with what they refer to (RFC 4826, sections 3.1.3, 3.1.4 and 4.1).
//!
//! A reference leads to the same user's own documents only: following one elsewhere would show a user what somebody
//! else keeps. Each place is looked at once, so that references in a circle end, and everything is bounded.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use attache_documents::select::{Dialect, Selector};
use attache_documents::tree::{NodeId, NodeKind, Tree};
use attache_documents::xcap::Resource;
use attache_documents::{Limits, resource_lists, rls_services};
use attache_sip::uri::Uri;

use super::Documents;
use crate::directory::{Aor, identity};

/// References that follow one another.
const DEEPEST: usize = 16;
/// References that are followed for one list.
const MOST_REFERENCES: usize = 1_024;
/// The namespace of addresses that stand for lists.
const NAMESPACE: Option<&str> = Some(rls_services::NAMESPACE);
/// The root of all documents.
pub(crate) const ROOT: &str = "/xcap-root";

/// Follows references within one user's documents.
pub(crate) struct Resolver<'a> {
    documents: &'a Documents,
    owner: &'a Aor,
    limits: &'a Limits,
    most: usize,
    trees: HashMap<(String, String), Option<Rc<Tree>>>,
}

/// An address that stands for a list.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Served {
    pub(crate) uri: String,
    pub(crate) members: Vec<String>,
}

/// What is still to be done for one list.
struct Walk {
    members: Vec<String>,
    seen: HashSet<String>,
    references: usize,
}

impl<'a> Resolver<'a> {
    /// For the documents of `owner`, and lists of at most `most` members.
    pub(crate) fn new(documents: &'a Documents, owner: &'a Aor, limits: &'a Limits, most: usize) -> Self {
        Self { documents, owner, limits, most, trees: HashMap::new() }
    }

    /// The addresses of a user that stand for lists of presentities, at most so many.
    pub(crate) fn addresses(&mut self, most: usize, mut each: impl FnMut(&str)) {
        self.each_service(most, |_, tree, service| {
            each(tree.attribute(service, None, "uri").unwrap_or_default());
        });
    }

    /// The same with their members, one after the other: each can have as many as the document it refers to.
    pub(crate) fn services(&mut self, most: usize, mut each: impl FnMut(Served)) {
        self.each_service(most, |this, tree, service| {
            let mut walk = Walk { members: Vec::new(), seen: HashSet::new(), references: 0 };
            let part = tree
                .elements(service)
                .find(|part| ["resource-list", "list"].iter().any(|name| tree.is(*part, NAMESPACE, name)));
            match part {
                Some(part) if tree.is(part, NAMESPACE, "list") => this.list(tree, part, &mut walk, 0),
                Some(part) => this.reference(tree.text(part).trim(), &mut walk, 0),
                None => {}
            }
            let uri = tree.attribute(service, None, "uri").unwrap_or_default().to_owned();
            each(Served { uri, members: walk.members });
        });
    }

    fn each_service(&mut self, most: usize, mut each: impl FnMut(&mut Self, &Tree, NodeId)) {
        let documents: Vec<_> = self
            .documents
            .of_usage(self.owner, rls_services::AUID)
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut left = most;
        for name in documents {
            let Some(tree) = self.tree(rls_services::AUID, &name) else { continue };
            for service in tree.elements_named(tree.root(), NAMESPACE, "service") {
                let packages = tree.elements_named(service, NAMESPACE, "packages").next();
                let for_presence = packages.is_none_or(|packages| {
                    tree.elements(packages).any(|package| tree.text(package).trim() == "presence")
                });
                if !for_presence || tree.attribute(service, None, "uri").is_none() {
                    continue;
                }
                if left == 0 {
                    return;
                }
                left -= 1;
                each(self, &tree, service);
            }
        }
    }

    /// The members of the list to which a URI leads.
    pub(crate) fn members(&mut self, list: &str) -> Vec<String> {
        let mut walk = Walk { members: Vec::new(), seen: HashSet::new(), references: 0 };
        self.reference(list, &mut walk, 0);
        walk.members
    }

    /// Adds what a reference leads to: an entry, or the members of a list.
    fn reference(&mut self, uri: &str, walk: &mut Walk, depth: usize) {
        walk.references += 1;
        if depth > DEEPEST || walk.references > MOST_REFERENCES || !walk.seen.insert(uri.to_owned()) {
            return;
        }
        let path = match uri.split_once("://") {
            // Whatever this service is called: its own documents are meant, or none.
            Some((_, rest)) => rest.find('/').map(|at| &rest[at..]).and_then(|path| path.strip_prefix(ROOT)),
            None => Some(uri),
        };
        let Some(resource) = path.and_then(|path| Resource::parse(path).ok()) else { return };
        let user = resource.document.user.as_deref().unwrap_or_default();
        let text = if user.contains(':') { user.to_owned() } else { format!("sip:{user}") };
        let is_own =
            Uri::parse_str(&text).ok().and_then(|uri| identity(&uri)).as_deref() == Some(&**self.owner);
        let Some(node) = resource.node.filter(|_| is_own && resource.document.auid == resource_lists::AUID)
        else {
            return;
        };
        let meaning = |prefix: Option<&str>| match prefix {
            None => Some(resource_lists::NAMESPACE.into()),
            Some(prefix) => {
                let found = node.bindings.iter().rev().find(|(known, _)| known == prefix);
                found.map(|(_, namespace)| namespace.as_str().into())
            }
        };
        let Ok(selector) = Selector::parse(&node.selector, Dialect::Xcap, meaning) else { return };
        let Some(tree) = self.tree(resource_lists::AUID, &resource.document.name) else { return };
        let Ok(found) = selector.node(&tree) else { return };
        if tree.is(found, Some(resource_lists::NAMESPACE), "list") {
            self.list(&tree, found, walk, depth);
        } else {
            self.member(&tree, found, walk, depth);
        }
    }

    fn list(&mut self, tree: &Tree, list: NodeId, walk: &mut Walk, depth: usize) {
        // In the order of the document, without recursion into lists in lists.
        let mut open = vec![tree.first_child(list)];
        while let Some(next) = open.last_mut() {
            let Some(node) = *next else {
                open.pop();
                continue;
            };
            *next = tree.next(node);
            if walk.members.len() >= self.most {
                return;
            }
            if tree.is(node, Some(resource_lists::NAMESPACE), "list") {
                open.push(tree.first_child(node));
            } else if tree.kind(node) == NodeKind::Element {
                self.member(tree, node, walk, depth);
            }
        }
    }

    fn member(&mut self, tree: &Tree, node: NodeId, walk: &mut Walk, depth: usize) {
        let Some(name) = tree.name(node).filter(|name| name.namespace() == Some(resource_lists::NAMESPACE))
        else {
            return;
        };
        let attribute = |name| tree.attribute(node, None, name).map(str::trim);
        match name.local() {
            "entry" if walk.members.len() < self.most => {
                walk.members.extend(attribute("uri").map(str::to_owned));
            }
            "entry-ref" => {
                if let Some(reference) = attribute("ref") {
                    self.reference(reference, walk, depth + 1);
                }
            }
            "external" => {
                if let Some(anchor) = attribute("anchor") {
                    self.reference(anchor, walk, depth + 1);
                }
            }
            _ => {}
        }
    }

    /// A document, read at most once.
    fn tree(&mut self, auid: &str, name: &str) -> Option<Rc<Tree>> {
        let key = (auid.to_owned(), name.to_owned());
        let (documents, owner, limits) = (self.documents, self.owner, self.limits);
        let read = || {
            documents.get(owner, auid, name).and_then(|kept| Tree::read(&kept.body, limits).ok()).map(Rc::new)
        };
        self.trees.entry(key).or_insert_with(read).clone()
    }
}
