//! Partial presence (RFC 5262): a whole document with a version, and then what changed in it.
//!
//! [`Update`] is what travels; [`diff`] makes one from two documents, and [`Replica`] is the receiving side, which knows
//! a gap when it sees one (RFC 5263, section 4.4): it then has nothing, rather than something wrong.

use core::fmt::Write as _;

use crate::{
    error::DocumentError,
    limits::Limits,
    patch::{self, PatchError},
    tree::{EditError, NodeId, NodeKind, Tree},
    xml::PIDF,
};

/// The media type, of whole documents and of changes.
pub const MEDIA_TYPE: &str = "application/pidf-diff+xml";
/// The namespace of both.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:pidf-diff";

/// Operations of changes that are sent; further ones cost more to find, and to make, than the whole document.
const MOST_OPERATIONS: usize = 64;

/// A document of partial presence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// The whole document.
    Full {
        /// Counts the documents of one subscription; absent in a PUBLISH.
        version: Option<u32>,
        /// The presence document, as it would be in PIDF.
        presence: Tree,
    },
    /// What changed in the document before.
    Diff {
        /// One more than that of the document before; absent in a PUBLISH.
        version: Option<u32>,
        /// The operations.
        changes: Changes,
    },
}

/// Changes to a presence document.
#[derive(Clone, Debug)]
pub struct Changes(Tree);

impl Changes {
    /// The presence document that another one becomes by them.
    ///
    /// # Errors
    /// [`PatchError`].
    pub fn apply(&self, presence: &Tree) -> Result<Tree, PatchError> {
        let mut changed = presence.clone();
        patch::apply_all(&mut changed, &self.0, self.0.root(), NAMESPACE)?;
        if !changed.is(changed.root(), Some(PIDF), "presence") {
            return Err(PatchError::Root);
        }
        Ok(changed)
    }

    /// Writes them as a document with that version.
    ///
    /// # Errors
    /// Too large for the limits.
    pub fn write(&self, version: Option<u32>) -> Result<String, EditError> {
        let mut tree = self.0.clone();
        set_version(&mut tree, version)?;
        Ok(tree.write())
    }
}

/// Reads a document of partial presence.
///
/// # Errors
/// [`DocumentError`].
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Update, DocumentError> {
    let mut tree = Tree::read(bytes, limits)?;
    let root = tree.root();
    let version = tree.attribute(root, None, "version").and_then(|text| text.trim().parse().ok());
    if tree.is(root, Some(NAMESPACE), "pidf-diff") {
        return Ok(Update::Diff { version, changes: Changes(tree) });
    }
    if !tree.is(root, Some(NAMESPACE), "pidf-full") {
        let root = tree.name(root).map(|name| name.local().chars().take(64).collect()).unwrap_or_default();
        return Err(DocumentError::WrongRoot { root, expected: "pidf-full or pidf-diff" });
    }
    tree.remove_attribute(root, None, "version");
    let renamed = tree.rename(root, Some(PIDF), "presence");
    renamed.map_err(|_| DocumentError::TooLarge { what: "bytes", limit: limits.bytes })?;
    Ok(Update::Full { version, presence: tree })
}

/// Writes a whole presence document with a version.
///
/// # Errors
/// Not a presence document, or too large for its limits.
pub fn write_full(presence: &Tree, version: Option<u32>) -> Result<String, EditError> {
    let mut tree = presence.clone();
    let root = tree.root();
    if !tree.is(root, Some(PIDF), "presence") {
        return Err(EditError::Place);
    }
    let prefix = free_prefix(&tree);
    tree.declare(root, Some(&prefix), NAMESPACE)?;
    tree.rename(root, Some(NAMESPACE), &format!("{prefix}:pidf-full"))?;
    set_version(&mut tree, version)?;
    Ok(tree.write())
}

fn set_version(tree: &mut Tree, version: Option<u32>) -> Result<(), EditError> {
    match version {
        Some(version) => tree.set_attribute(tree.root(), "version", &version.to_string()),
        None => Ok(()),
    }
}

/// A prefix that the root element does not declare.
fn free_prefix(tree: &Tree) -> String {
    let taken = |prefix: &str| tree.resolve(tree.root(), Some(prefix)).is_some();
    let mut prefix = "p".to_owned();
    let mut number = 0;
    while taken(&prefix) {
        number += 1;
        prefix = format!("p{number}");
    }
    prefix
}

/// Why a document cannot be brought up to date.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// A document in between is missing, or none came before the changes.
    #[error("version {got:?} does not follow version {have:?}")]
    Gap {
        /// The version that is there.
        have: Option<u32>,
        /// The version that came.
        got: Option<u32>,
    },
    /// The changes do not fit the document.
    #[error("the changes do not fit: {0}")]
    Patch(#[from] PatchError),
}

/// The receiving side of one subscription.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    version: Option<u32>,
    presence: Option<Tree>,
}

impl Replica {
    /// The document as far as it is known.
    #[must_use]
    pub fn presence(&self) -> Option<&Tree> {
        self.presence.as_ref()
    }

    /// Takes an update in, and gives the whole document. An update that came before changes nothing.
    ///
    /// # Errors
    /// [`ReplicaError`]: the document is unknown then, until a whole one comes. A refresh of the subscription brings that.
    pub fn take(&mut self, update: Update) -> Result<&Tree, ReplicaError> {
        let have = self.version;
        match update {
            Update::Full { version, presence } => {
                self.version = version;
                return Ok(self.presence.insert(presence));
            }
            Update::Diff { version, .. }
                if self.presence.is_some() && version.is_some() && version <= have => {}
            Update::Diff { version, changes } => {
                let follows = version.is_some() && version == have.and_then(|have| have.checked_add(1));
                let known = self.presence.take().filter(|_| follows);
                self.version = None;
                let known = known.ok_or(ReplicaError::Gap { have, got: version })?;
                self.presence = Some(changes.apply(&known)?);
                self.version = version;
            }
        }
        self.presence.as_ref().ok_or(ReplicaError::Gap { have, got: None })
    }
}

/// The changes that lead from one presence document to another. `None` where there is no simple way, such as children
/// in another order: then the whole document is to be sent. Nothing else than the way is left to chance: the changes
/// were applied, and gave the other document. Nor where the way is long: more than 64 operations, or more bytes than
/// the document.
#[must_use]
pub fn diff(old: &Tree, new: &Tree) -> Option<Changes> {
    let (root, wanted) = (old.root(), new.root());
    if !old.is(root, Some(PIDF), "presence") || !new.is(wanted, Some(PIDF), "presence") {
        return None;
    }
    let entity = new.attribute(wanted, None, "entity").unwrap_or_default();
    let mut text = String::from("<p:pidf-diff xmlns=\"");
    let _ = write!(text, "{PIDF}\" xmlns:p=\"{NAMESPACE}\"/>");
    let bytes = (new.size() + text.len() + entity.len() + 64).min(new.limits().bytes);
    let mut changes = Tree::read(text.as_bytes(), &Limits { bytes, ..*new.limits() }).ok()?;
    changes.set_attribute(changes.root(), "entity", entity).ok()?;
    let mut differ = Differ { work: old.clone(), new, changes, operations: 0 };
    differ.children(root, wanted)?;
    let Differ { work, changes, .. } = differ;
    work.same(root, new, wanted).then_some(Changes(changes))
}

struct Differ<'a> {
    /// The old document, on its way to the new one.
    work: Tree,
    new: &'a Tree,
    changes: Tree,
    operations: usize,
}

impl Differ<'_> {
    /// Makes the children of one element those of another of the same name.
    fn children(&mut self, mine: NodeId, theirs: NodeId) -> Option<()> {
        let (have, want) = (keys(&self.work, mine), keys(self.new, theirs));
        if !attributes_same(&self.work, mine, self.new, theirs) {
            return None;
        }
        let wanted: std::collections::HashMap<&Key, usize> =
            want.iter().enumerate().map(|(at, (key, _))| (key, at)).collect();
        // Those that stay are in the same order, or it is not worth it.
        let stay: Vec<usize> = have.iter().filter_map(|(key, _)| wanted.get(key).copied()).collect();
        if !stay.is_sorted() {
            return None;
        }
        for (key, node) in &have {
            match wanted.get(key) {
                Some(&at) => self.element(*node, want[at].1)?,
                None => self.operation("remove", *node, None, None)?,
            }
        }
        let known: std::collections::HashSet<&Key> = have.iter().map(|(key, _)| key).collect();
        // Backwards, so that what follows is there already.
        for (at, (key, node)) in want.iter().enumerate().rev() {
            if known.contains(key) {
                continue;
            }
            match want.get(at + 1).map(|(next, _)| next) {
                None => self.operation("add", mine, None, Some(*node))?,
                Some(next) => {
                    let anchor = keys(&self.work, mine).into_iter().find(|(key, _)| key == next)?.1;
                    self.operation("add", anchor, Some("before"), Some(*node))?;
                }
            }
        }
        Some(())
    }

    /// Makes one element another of the same name.
    fn element(&mut self, mine: NodeId, theirs: NodeId) -> Option<()> {
        if self.work.same(mine, self.new, theirs) {
            return Some(());
        }
        let (have, want) = (keys(&self.work, mine), keys(self.new, theirs));
        let is_alike = !have.is_empty()
            && have.len() == want.len()
            && have.iter().zip(&want).all(|((a, _), (b, _))| a == b)
            && attributes_same(&self.work, mine, self.new, theirs)
            && !has_text(&self.work, mine)
            && !has_text(self.new, theirs);
        if is_alike {
            return have.iter().zip(&want).try_for_each(|((_, a), (_, b))| self.element(*a, *b));
        }
        self.operation("replace", mine, None, Some(theirs))
    }

    /// Writes an operation down, and does it.
    fn operation(
        &mut self,
        name: &str,
        at: NodeId,
        pos: Option<&str>,
        content: Option<NodeId>,
    ) -> Option<()> {
        self.operations += 1;
        if self.operations > MOST_OPERATIONS {
            return None;
        }
        let sel = self.path(at)?;
        let operation = self.changes.new_element(Some(NAMESPACE), &format!("p:{name}")).ok()?;
        let root = self.changes.root();
        self.changes.append(root, operation).ok()?;
        self.changes.set_attribute(operation, "sel", &sel).ok()?;
        if let Some(pos) = pos {
            self.changes.set_attribute(operation, "pos", pos).ok()?;
        }
        if let Some(content) = content {
            let copy = self.changes.import(self.new, content).ok()?;
            self.changes.append(operation, copy).ok()?;
        }
        patch::apply(&mut self.work, &self.changes, operation, NAMESPACE).ok()
    }

    /// A selector for an element as the document is now.
    fn path(&mut self, node: NodeId) -> Option<String> {
        let mut steps = Vec::new();
        let mut at = node;
        while let Some(parent) = self.work.parent(at) {
            let name = self.work.name(at)?.clone();
            let namespace = name.namespace()?.to_owned();
            let prefix = self.prefix(&namespace)?;
            let mut step = match prefix {
                Some(prefix) => format!("{prefix}:{}", name.local()),
                None => name.local().to_owned(),
            };
            let id = self.work.attribute(at, None, "id").filter(|id| !id.contains('\''));
            let same_name = || self.work.elements_named(parent, Some(&namespace), name.local());
            match id {
                Some(id)
                    if same_name()
                        .filter(|&one| self.work.attribute(one, None, "id") == Some(id))
                        .count()
                        == 1 =>
                {
                    let _ = write!(step, "[@id='{id}']");
                }
                _ if same_name().nth(1).is_some() => {
                    let position = same_name().position(|one| one == at)? + 1;
                    let _ = write!(step, "[{position}]");
                }
                _ => {}
            }
            steps.push(step);
            at = parent;
        }
        steps.push("*".to_owned());
        steps.reverse();
        Some(steps.join("/"))
    }

    /// What a namespace is called in the changes; declared there if it has no name yet. `None` within for the default.
    fn prefix(&mut self, namespace: &str) -> Option<Option<String>> {
        let root = self.changes.root();
        let known = self.changes.scope(root).into_iter().find(|(_, uri)| *uri == namespace);
        if let Some((prefix, _)) = known {
            return Some(prefix.map(str::to_owned));
        }
        let own = self.new.scope(self.new.root());
        let usual = own.into_iter().find(|(_, uri)| *uri == namespace).and_then(|(prefix, _)| prefix);
        let free = |prefix: &str| self.changes.resolve(root, Some(prefix)).is_none();
        let prefix = match usual.filter(|prefix| free(prefix)) {
            Some(prefix) => prefix.to_owned(),
            None => (1..).map(|number| format!("n{number}")).find(|prefix| free(prefix))?,
        };
        self.changes.declare(root, Some(&prefix), namespace).ok()?;
        Some(Some(prefix))
    }
}

/// What tells a child from its siblings: its name with its identifier, or with its place among those without one.
type Key = (Option<String>, String, Result<String, usize>);

fn keys(tree: &Tree, parent: NodeId) -> Vec<(Key, NodeId)> {
    let mut counts: std::collections::HashMap<(Option<&str>, &str), usize> = std::collections::HashMap::new();
    let mut seen = std::collections::HashSet::new();
    let mut keys = Vec::new();
    for child in tree.elements(parent) {
        let Some(name) = tree.name(child) else { continue };
        let (namespace, local) = (name.namespace(), name.local());
        let id = tree.attribute(child, None, "id");
        let tag = match id {
            Some(id) if seen.insert((namespace, local, id)) => Ok(id.to_owned()),
            _ => {
                let count = counts.entry((namespace, local)).or_default();
                *count += 1;
                Err(*count)
            }
        };
        keys.push(((namespace.map(Into::into), local.to_owned(), tag), child));
    }
    keys
}

fn attributes_same(a: &Tree, mine: NodeId, b: &Tree, theirs: NodeId) -> bool {
    let values = |tree: &Tree, node| {
        let mut all: Vec<_> = tree
            .attributes(node)
            .iter()
            .filter(|attribute| !attribute.is_declaration())
            .map(|one| {
                (
                    one.name().namespace().map(str::to_owned),
                    one.name().local().to_owned(),
                    one.value().to_owned(),
                )
            })
            .collect();
        all.sort();
        all
    };
    values(a, mine) == values(b, theirs)
}

fn has_text(tree: &Tree, node: NodeId) -> bool {
    tree.children(node)
        .any(|child| tree.kind(child) == NodeKind::Text && !tree.content(child).trim().is_empty())
}
