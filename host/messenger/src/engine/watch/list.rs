//! What a list says of each of its members (RFC 4662).
//!
//! A notification on a list is a bundle: a root that names members and the states of their instances, and beside it the
//! documents that the root points at. Lists may hold lists. A bundle is whole or tells changes only; a whole one is
//! compared with what was there, so that whoever is in it as before never vanishes for a moment.

use std::collections::{HashMap, HashSet};

use attache_documents::{
    multipart::{self, Multipart},
    rlmi,
};
use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    address::Address,
    engine::versions::{Arrival, Versions},
};

/// Deepest nesting of lists that is followed.
const MAX_DEPTH: usize = 4;
/// Most documents of one notification.
const MAX_PARTS: usize = 65_536;
/// Most lists within one subscription.
const MAX_LISTS: usize = 64;

/// One document of one notifier or instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Part {
    /// Tells the notifiers and instances of one person apart.
    pub(in crate::engine) source: u32,
    /// The document's type, without parameters, in lower case.
    pub(in crate::engine) media_type: Box<str>,
    /// The document.
    pub(in crate::engine) body: Bytes,
}

/// What a list says of one member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Said {
    /// It is on the list; no more is known yet.
    Nothing,
    /// Documents that are new, and every source that counts: others are gone.
    Documents { parts: SmallVec<[Part; 1]>, sources: SmallVec<[u32; 2]> },
    /// Nobody has allowed it yet.
    Pending,
    /// The service watches the member no longer, for this reason of RFC 6665.
    Ended(String),
}

/// What became of a notification.
#[derive(Debug)]
pub(in crate::engine) enum Outcome {
    /// It was applied.
    Applied {
        /// Whether this is the whole list.
        whole: bool,
        /// What it says of each member it names, in its order.
        told: Vec<(Address, Said)>,
        /// Members that are on the list no longer.
        removed: Vec<Address>,
    },
    /// It was known already.
    Repeated,
    /// Something before it is missing.
    Gap,
    /// It is no list.
    NoList(String),
}

/// What is known of a list, and of the lists in it.
#[derive(Debug, Default)]
pub(in crate::engine) struct ListState {
    lists: HashMap<String, Level>,
    /// The list that holds all others.
    root: Option<String>,
    complete: bool,
    /// Most members.
    limit: usize,
}

#[derive(Debug, Default)]
struct Level {
    versions: Versions,
    members: HashSet<Address>,
    /// Lists within it.
    children: HashSet<String>,
}

impl ListState {
    pub(in crate::engine) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether the whole list was told in this dialog.
    pub(in crate::engine) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(in crate::engine) fn holds(&self, address: &Address) -> bool {
        self.lists.values().any(|level| level.members.contains(address))
    }

    /// Another dialog begins. Who was on the list is still known, to be compared with what comes.
    pub(in crate::engine) fn restart(&mut self) {
        self.complete = false;
        for level in self.lists.values_mut() {
            level.versions.restart();
        }
    }

    /// Another dialog begins, and the service says that what is known is the present state (RFC 5839). False when nothing is.
    pub(in crate::engine) fn resume(&mut self) -> bool {
        self.complete = !self.lists.is_empty();
        for level in self.lists.values_mut() {
            level.versions.resume();
        }
        self.complete
    }

    /// Takes a notification.
    pub(in crate::engine) fn take(&mut self, content_type: &str, body: &Bytes) -> Outcome {
        let bundle = match multipart::read(content_type, body, MAX_PARTS) {
            Ok(bundle) => bundle,
            Err(error) => return Outcome::NoList(error.to_string()),
        };
        let mut told = Vec::new();
        let mut removed = Vec::new();
        match self.bundle(&bundle, None, 0, &mut told, &mut removed) {
            Ok((Arrival::Gap, _)) => Outcome::Gap,
            Ok((Arrival::Old, _)) => Outcome::Repeated,
            Ok((_, whole)) => {
                self.complete |= whole;
                self.forget_lists(&mut removed);
                // Somebody may be on another of the lists still.
                removed.sort_unstable();
                removed.dedup();
                removed.retain(|address| !self.holds(address));
                Outcome::Applied { whole, told, removed }
            }
            Err(error) => Outcome::NoList(error),
        }
    }

    /// Forgets lists that are in none any more, and adds who was on them to those who are gone.
    fn forget_lists(&mut self, removed: &mut Vec<Address>) {
        let mut held: HashSet<String> = HashSet::new();
        let mut next: Vec<String> = self.root.iter().cloned().collect();
        while let Some(uri) = next.pop() {
            if let Some(level) = self.lists.get(&uri)
                && held.insert(uri)
            {
                next.extend(level.children.iter().cloned());
            }
        }
        self.lists.retain(|uri, level| {
            let holds = held.contains(uri);
            if !holds {
                removed.extend(level.members.drain());
            }
            holds
        });
    }

    fn bundle(
        &mut self,
        bundle: &Multipart,
        parent: Option<&str>,
        depth: usize,
        told: &mut Vec<(Address, Said)>,
        removed: &mut Vec<Address>,
    ) -> Result<(Arrival, bool), String> {
        let root = bundle.root();
        if !root.is(rlmi::MEDIA_TYPE) {
            return Err(format!("its root is {}", multipart::essence(&root.content_type())));
        }
        let rlmi::List { uri, version, full_state, resources, .. } =
            rlmi::read(root.body(), &rlmi::LIMITS).map_err(|error| error.to_string())?.document;
        // A whole list is taken in any case: it puts those out that are not in it.
        let is_root = full_state && parent.is_none();
        if self.lists.len() >= MAX_LISTS && !self.lists.contains_key(&uri) && !is_root {
            return Err("there are too many lists in it".to_owned());
        }
        if let Some(parent) = parent.and_then(|parent| self.lists.get_mut(parent)) {
            parent.children.insert(uri.clone());
        }
        let level = self.lists.entry(uri.clone()).or_default();
        let step = level.versions.take(version.into(), full_state);
        if matches!(step, Arrival::Gap | Arrival::Old) {
            return Ok((step, false));
        }
        // What is whole replaces what was there, and changes add to it.
        let mut named = HashSet::new();
        if full_state {
            level.children.clear();
        } else {
            named = core::mem::take(&mut level.members);
        }
        if is_root {
            self.root = Some(uri.clone());
        }
        let parts = bundle.by_id();
        let mut children = Vec::new();
        let mut nested = Vec::new();
        for resource in resources {
            let mut documents = SmallVec::new();
            let mut sources = SmallVec::new();
            let mut pending = false;
            let mut ended = None;
            let mut lists = false;
            for instance in &resource.instances {
                let part = instance.cid.as_deref().and_then(|cid| parts.get(cid).copied());
                match instance.state {
                    rlmi::State::Active => {
                        let source = source(&instance.id);
                        match part {
                            Some(part) if part.is_multipart() => {
                                lists = true;
                                nested.push(part);
                            }
                            Some(part) => {
                                sources.push(source);
                                documents.push(Part {
                                    source,
                                    media_type: multipart::essence(&part.content_type())
                                        .to_ascii_lowercase()
                                        .into(),
                                    body: part.body().clone(),
                                });
                            }
                            // Its document is as it was, or still to come.
                            None => sources.push(source),
                        }
                    }
                    rlmi::State::Pending => pending = true,
                    rlmi::State::Terminated => {
                        ended = Some(instance.reason.clone().unwrap_or_default());
                    }
                }
            }
            // Of a list that is known there may be nothing new.
            if lists || (documents.is_empty() && self.lists.contains_key(&resource.uri)) {
                if self.lists.contains_key(&resource.uri) {
                    children.push(resource.uri);
                }
                continue;
            }
            let Ok(address) = Address::parse(&resource.uri) else { continue };
            if named.len() >= self.limit && !named.contains(&address) {
                continue;
            }
            named.insert(address.clone());
            let said = if !sources.is_empty() {
                Said::Documents { parts: documents, sources }
            } else if pending {
                Said::Pending
            } else if let Some(reason) = ended {
                Said::Ended(reason)
            } else {
                Said::Nothing
            };
            told.push((address, said));
        }
        let level = self.lists.entry(uri.clone()).or_default();
        if full_state {
            removed.extend(level.members.difference(&named).cloned());
        }
        level.members = named;
        level.children.extend(children);
        // Of lists in the list, each counts for itself; one that is damaged does not spoil the others.
        for part in nested {
            if depth + 1 < MAX_DEPTH
                && let Ok(inner) = part.parts(MAX_PARTS)
                && matches!(self.bundle(&inner, Some(&uri), depth + 1, told, removed), Ok((Arrival::Gap, _)))
            {
                return Ok((Arrival::Gap, false));
            }
        }
        Ok((step, full_state))
    }
}

/// A number for an instance. Those of notifiers in dialogs of their own count from 0 and do not meet these.
fn source(id: &str) -> u32 {
    let hash =
        id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash | 0x8000_0000
}

mod kept;
#[cfg(test)]
mod tests;
