//! Lists of resources that the service keeps (RFC 4662): those of the operator, and those of users.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use attache_sip::uri::Uri;

use crate::directory::{Aor, Directory, domain, identity};

/// One resource of a list.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// As it stands in the list.
    pub(crate) uri: Arc<str>,
    /// Tells it from others.
    pub(crate) key: u64,
    /// Who it is.
    pub(crate) resource: Resource,
}

/// Who a resource is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Resource {
    /// A user of this service.
    User(Aor),
    /// Nobody, in a domain of this service.
    Nobody,
    /// Somebody of another service, which this one does not ask.
    Elsewhere,
}

/// A list that the service keeps.
pub(crate) struct List {
    /// Whose it is; `None` for the operator's.
    pub(crate) owner: Option<Aor>,
    /// Who may subscribe to it beside the owner; `None` for every user.
    pub(crate) readers: Option<Vec<Aor>>,
    members: Vec<String>,
    /// Whether somebody in it can be a list of this service.
    nests: bool,
    pub(crate) entries: Arc<[Entry]>,
    /// Subscriptions to it.
    pub(crate) watchers: BTreeSet<u64>,
}

/// All lists, by the canonical spelling of their addresses.
#[derive(Default)]
pub(crate) struct Lists {
    lists: HashMap<Arc<str>, List>,
    /// Lists of each owner.
    counts: HashMap<Aor, usize>,
}

/// Why a list was not taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Not an address in a domain of this service.
    #[error("the address of the list is none of this service")]
    Address,
    /// The address is a user's, the operator's, or another owner's list.
    #[error("the address belongs to somebody else")]
    Taken,
    /// The owner is no user of this service.
    #[error("the owner of the list is no user of this service")]
    Owner,
    /// More resources than a list may have.
    #[error("the list has more than {0} resources")]
    TooLong(usize),
    /// More lists than a user may have.
    #[error("there are more than {0} lists")]
    TooMany(usize),
}

/// What lists may take.
#[derive(Copy, Clone)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) per_owner: usize,
}

impl Lists {
    pub(crate) fn get(&self, name: &str) -> Option<&List> {
        self.lists.get(name)
    }

    /// A list with its key, which is shared by all that name it.
    pub(crate) fn find(&self, name: &str) -> Option<(Arc<str>, &List)> {
        self.lists.get_key_value(name).map(|(name, list)| (Arc::clone(name), list))
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut List> {
        self.lists.get_mut(name)
    }

    /// Sets a list, and names those that changed by it: itself, and lists that it is in.
    pub(crate) fn set(
        &mut self,
        directory: &Directory,
        bounds: Bounds,
        address: &str,
        owner: Option<Aor>,
        readers: Option<Vec<Aor>>,
        members: Vec<String>,
    ) -> Result<Vec<Arc<str>>, ListError> {
        let name = Self::name(directory, address).ok_or(ListError::Address)?;
        if directory.find(&name).is_some() {
            return Err(ListError::Taken);
        }
        if members.len() > bounds.entries {
            return Err(ListError::TooLong(bounds.entries));
        }
        let known = self.lists.get(&*name);
        if known.is_some_and(|known| known.owner != owner) {
            return Err(ListError::Taken);
        }
        if known.is_none()
            && let Some(owner) = &owner
        {
            let count = self.counts.entry(Aor::clone(owner)).or_default();
            if *count >= bounds.per_owner {
                return Err(ListError::TooMany(bounds.per_owner));
            }
            *count += 1;
        }
        let name: Arc<str> = name.into();
        let list = self.lists.entry(Arc::clone(&name)).or_insert_with(|| List {
            owner,
            readers: None,
            members: Vec::new(),
            nests: false,
            entries: Arc::new([]),
            watchers: BTreeSet::new(),
        });
        list.readers = readers;
        list.nests = members
            .iter()
            .any(|member| Self::name(directory, member).is_some_and(|name| directory.find(&name).is_none()));
        list.members = members;
        Ok(self.recompute(directory, bounds.entries, &name))
    }

    /// Forgets a list of an owner. Those that changed by it, itself among them; nothing where there was none of theirs.
    pub(crate) fn remove(
        &mut self,
        directory: &Directory,
        bounds: Bounds,
        address: &str,
        owner: Option<&Aor>,
    ) -> Vec<Arc<str>> {
        let Some(name) = Self::name(directory, address) else { return Vec::new() };
        if self.lists.get(&*name).is_none_or(|list| list.owner.as_ref() != owner) {
            return Vec::new();
        }
        if let Some(owner) = owner
            && let Some(count) = self.counts.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(owner);
            }
        }
        let name: Arc<str> = name.into();
        // Its watchers are told by whoever asked: the list stays until then, and has nobody in it.
        if let Some(list) = self.lists.get_mut(&name) {
            list.members.clear();
        }
        let changed = self.recompute(directory, bounds.entries, &name);
        self.lists.remove(&name);
        changed
    }

    /// The key of an address of this service.
    pub(crate) fn name(directory: &Directory, address: &str) -> Option<String> {
        let uri = Uri::parse_str(address).ok()?;
        domain(&uri).filter(|domain| directory.is_ours(domain))?;
        identity(&uri)
    }

    /// The entries of a request's own list.
    pub(crate) fn flatten(&self, directory: &Directory, members: &[String], most: usize) -> Arc<[Entry]> {
        let mut entries = Vec::new();
        let mut seen = std::collections::HashSet::new();
        self.gather(directory, members, most, &mut seen, &mut entries);
        entries.into()
    }

    fn recompute(&mut self, directory: &Directory, most: usize, changed: &Arc<str>) -> Vec<Arc<str>> {
        let mut all = vec![Arc::clone(changed)];
        // Lists in lists are few.
        let others = self.lists.iter().filter(|(name, list)| *name != changed && list.nests);
        all.extend(others.map(|(name, _)| Arc::clone(name)));
        for name in &all {
            let Some(list) = self.lists.get(name) else { continue };
            let entries = self.flatten(directory, &list.members, most);
            if let Some(list) = self.lists.get_mut(name) {
                list.entries = entries;
            }
        }
        all
    }

    /// Adds what members name, lists in place of themselves, each resource once. Whatever goes in circles or exceeds the
    /// bound is left out.
    fn gather<'a>(
        &'a self,
        directory: &Directory,
        members: &'a [String],
        most: usize,
        seen: &mut std::collections::HashSet<String>,
        entries: &mut Vec<Entry>,
    ) {
        let mut open = vec![members.iter()];
        while let Some(members) = open.last_mut() {
            let Some(member) = members.next() else {
                open.pop();
                continue;
            };
            if entries.len() >= most {
                return;
            }
            let uri = Uri::parse_str(member).ok();
            let named = uri.as_ref().and_then(identity);
            let is_ours = uri.as_ref().and_then(domain).is_some_and(|domain| directory.is_ours(&domain));
            let key_text = named.clone().unwrap_or_else(|| member.clone());
            if !seen.insert(key_text.clone()) {
                continue;
            }
            let resource = match (named, is_ours) {
                (Some(named), true) => match directory.find(&named) {
                    Some(aor) => Resource::User(aor),
                    None => match self.lists.get(&*named) {
                        Some(list) => {
                            open.push(list.members.iter());
                            continue;
                        }
                        None => Resource::Nobody,
                    },
                },
                (None, true) => Resource::Nobody,
                _ => Resource::Elsewhere,
            };
            let mut hasher = std::hash::DefaultHasher::new();
            key_text.hash(&mut hasher);
            entries.push(Entry { uri: member.as_str().into(), key: hasher.finish(), resource });
        }
    }
}
