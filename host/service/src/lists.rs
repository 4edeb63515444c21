//! Lists of resources that the service keeps (RFC 4662): those of the operator, and those of users.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use attache_sip::uri::Uri;

use crate::directory::{Aor, Directory, domain, identity};

/// One resource of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
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
    pub(crate) entries: Arc<[Entry]>,
    /// Subscriptions to it.
    pub(crate) watchers: BTreeSet<u64>,
}

/// All lists, by the canonical spelling of their addresses.
#[derive(Default)]
pub(crate) struct Lists {
    lists: HashMap<Arc<str>, List>,
    /// What can be a list, with the lists in which it is.
    named_in: HashMap<String, BTreeSet<Arc<str>>>,
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

    /// Sets a list, whose entries and those of lists in which it is are made by [`refresh`](Self::refresh). Its name;
    /// `None` where it is as it was.
    pub(crate) fn set(
        &mut self,
        directory: &Directory,
        bounds: Bounds,
        address: &str,
        owner: Option<Aor>,
        readers: Option<Vec<Aor>>,
        members: Vec<String>,
    ) -> Result<Option<Arc<str>>, ListError> {
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
        if known.is_some_and(|known| known.members == members && known.readers == readers) {
            return Ok(None);
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
        self.forget_names(directory, &name);
        for nested in members.iter().filter_map(|member| Self::nested(directory, member)) {
            self.named_in.entry(nested).or_default().insert(Arc::clone(&name));
        }
        let list = self.lists.entry(Arc::clone(&name)).or_insert_with(|| List {
            owner,
            readers: None,
            members: Vec::new(),
            entries: Arc::new([]),
            watchers: BTreeSet::new(),
        });
        (list.readers, list.members) = (readers, members);
        Ok(Some(name))
    }

    /// Who in a list can be a list.
    fn nested(directory: &Directory, member: &str) -> Option<String> {
        Self::name(directory, member).filter(|name| directory.find(name).is_none())
    }

    /// Forgets what a list names.
    fn forget_names(&mut self, directory: &Directory, name: &Arc<str>) {
        let Some(list) = self.lists.get(name) else { return };
        for nested in list.members.iter().filter_map(|member| Self::nested(directory, member)) {
            if let Some(all) = self.named_in.get_mut(&nested) {
                all.remove(name);
                if all.is_empty() {
                    self.named_in.remove(&nested);
                }
            }
        }
    }

    /// Forgets a list of an owner: its name, and those who watched it; `None` where there was none of theirs. Lists in
    /// which it was are made anew by [`refresh`](Self::refresh).
    pub(crate) fn remove(
        &mut self,
        directory: &Directory,
        address: &str,
        owner: Option<&Aor>,
    ) -> Option<(Arc<str>, BTreeSet<u64>)> {
        let name = Self::name(directory, address)?;
        self.lists.get(&*name).filter(|list| list.owner.as_ref() == owner)?;
        if let Some(owner) = owner
            && let Some(count) = self.counts.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(owner);
            }
        }
        let name: Arc<str> = name.into();
        self.forget_names(directory, &name);
        let list = self.lists.remove(&name)?;
        Some((name, list.watchers))
    }

    /// The key of an address of this service.
    pub(crate) fn name(directory: &Directory, address: &str) -> Option<String> {
        let uri = Uri::parse_str(address).ok()?;
        domain(&uri).filter(|domain| directory.is_ours(domain))?;
        identity(&uri)
    }

    /// The entries of members that somebody named: a user, or the operator.
    pub(crate) fn flatten(
        &self,
        directory: &Directory,
        actor: Option<&Aor>,
        members: &[String],
        most: usize,
    ) -> Arc<[Entry]> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        self.gather(directory, actor, members, most, &mut seen, &mut entries);
        entries.into()
    }

    /// Makes the entries of lists that changed anew, and of those in which they are. Names those whose entries are others
    /// than before.
    pub(crate) fn refresh(
        &mut self,
        directory: &Directory,
        most: usize,
        changed: Vec<Arc<str>>,
    ) -> Vec<Arc<str>> {
        let mut all = changed;
        let mut known: HashSet<Arc<str>> = all.iter().cloned().collect();
        let mut next = 0;
        while let Some(name) = all.get(next).cloned() {
            next += 1;
            let owner = self.lists.get(&name).and_then(|list| list.owner.as_ref());
            for above in self.named_in.get(&*name).into_iter().flatten() {
                // A list of somebody else does not open this one, whatever it names.
                let opens = |list: &List| owner.is_none() || list.owner.as_ref() == owner;
                if self.lists.get(above).is_some_and(opens) && known.insert(Arc::clone(above)) {
                    all.push(Arc::clone(above));
                }
            }
        }
        all.retain(|name| {
            let Some(list) = self.lists.get(name) else { return false };
            let entries = self.flatten(directory, list.owner.as_ref(), &list.members, most);
            let Some(list) = self.lists.get_mut(name).filter(|list| list.entries != entries) else {
                return false;
            };
            list.entries = entries;
            true
        });
        all
    }

    /// Adds what members name, lists in place of themselves, each resource once. Whatever goes in circles or exceeds the
    /// bound is left out.
    ///
    /// A list stands for its resources only where who named it may see them: it is theirs, or the operator's and they
    /// are among its readers. Else it is nobody, so that nobody learns, or fills, the list of somebody else.
    fn gather<'a>(
        &'a self,
        directory: &Directory,
        actor: Option<&'a Aor>,
        members: &'a [String],
        most: usize,
        seen: &mut HashSet<String>,
        entries: &mut Vec<Entry>,
    ) {
        let mut open = vec![(actor, members.iter())];
        while let Some((actor, members)) = open.last_mut() {
            let actor = *actor;
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
                    None => match self.lists.get(&*named).filter(|list| list.opens_for(actor)) {
                        Some(list) => {
                            open.push((list.owner.as_ref(), list.members.iter()));
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

impl List {
    /// Whether a user may know who is in it.
    pub(crate) fn is_readable(&self, user: &Aor) -> bool {
        match (&self.owner, &self.readers) {
            (Some(owner), _) if owner == user => true,
            (_, Some(readers)) => readers.contains(user),
            (owner, None) => owner.is_none(),
        }
    }

    /// Whether it stands for its resources in a list of that user, or of the operator.
    fn opens_for(&self, actor: Option<&Aor>) -> bool {
        match actor {
            Some(actor) => self.is_readable(actor),
            None => self.owner.is_none(),
        }
    }
}
