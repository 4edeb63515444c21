//! Three-way merge of contact lists: what both sides had last, what is here now, and what is there now.
//!
//! Memberships of groups never conflict: each was added or taken away by one side, or by both. Names conflict where both
//! sides gave a new one; then theirs holds, so that every device shows the same. Where one side removed what the other
//! one changed, it stays, so that nothing is lost. Both are told as conflicts.
//!
//! Some of ours may have reached the service without our hearing of it. So where theirs is what we last tried to write,
//! that counts as what both sides had.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::model::{Key, Model, Person, unused};
use crate::{
    address::Address,
    call::PhoneKind,
    profile::ContactDetails,
    sync::{ConflictAbout, Side},
};

/// The outcome.
#[derive(Debug, Default)]
pub(in crate::engine) struct Merged {
    /// The list of both.
    pub(in crate::engine) model: Model,
    /// Groups that are known by another key now, as both sides made one of the same name.
    pub(in crate::engine) rekeyed: Vec<(Key, Key)>,
    pub(in crate::engine) conflicts: Vec<Found>,
}

/// A conflict that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Found {
    pub(in crate::engine) about: ConflictAbout,
    pub(in crate::engine) mine: Option<Arc<str>>,
    pub(in crate::engine) theirs: Option<Arc<str>>,
    pub(in crate::engine) shown: Side,
}

/// Merges. `tried` is what we last tried to write, where its fate is not known.
pub(in crate::engine) fn merge(base: &Model, mine: &Model, theirs: &Model, tried: Option<&Model>) -> Merged {
    let mut merged = Merged::default();
    let rekeyed = unify(base, mine, theirs, &mut merged);
    let mine = rekeyed.as_ref().unwrap_or(mine);
    let sides = Sides { base, mine, theirs, tried };
    let kept = sides.groups(&mut merged);
    sides.contacts(&mut merged, &kept);
    merged
}

/// Groups of the same name that both sides made are one group.
fn unify(base: &Model, mine: &Model, theirs: &Model, merged: &mut Merged) -> Option<Model> {
    let mut there: HashMap<String, &Key> = HashMap::new();
    for (key, name) in theirs.groups.iter().filter(|(key, _)| !mine.groups.has(key)) {
        there.entry(name.to_lowercase()).or_insert(key);
    }
    let mut new_keys: HashMap<Key, Key> = HashMap::new();
    for (key, name) in mine.groups.iter() {
        if !base.groups.has(key)
            && !theirs.groups.has(key)
            && let Some(known) = there.remove(&name.to_lowercase())
        {
            new_keys.insert(key.clone(), known.clone());
            merged.rekeyed.push((key.clone(), known.clone()));
        }
    }
    if new_keys.is_empty() {
        return None;
    }
    let mut model = Model::default();
    for (key, name) in mine.groups.iter() {
        model.groups.put(new_keys.get(key).unwrap_or(key).clone(), name.clone());
    }
    for (address, person) in mine.contacts.iter() {
        let (name, details) = (person.name.clone(), person.details.clone());
        let mut renewed = Person { name, details, ..Person::default() };
        for key in &person.groups {
            renewed.join(new_keys.get(key).unwrap_or(key));
        }
        model.contacts.put(address.clone(), renewed);
    }
    Some(model)
}

struct Sides<'a> {
    base: &'a Model,
    mine: &'a Model,
    theirs: &'a Model,
    tried: Option<&'a Model>,
}

impl<'a> Sides<'a> {
    /// What both sides had of a group's name.
    fn group_base(&self, key: &Key) -> Option<&'a Arc<str>> {
        match self.tried {
            Some(tried) if tried.groups.get(key) == self.theirs.groups.get(key) => tried.groups.get(key),
            _ => self.base.groups.get(key),
        }
    }

    fn contact_base(&self, address: &Address) -> Option<&'a Person> {
        match self.tried {
            Some(tried) if tried.contacts.get(address) == self.theirs.contacts.get(address) => {
                tried.contacts.get(address)
            }
            _ => self.base.contacts.get(address),
        }
    }

    /// Groups with members whom `now` has in them and `before` has not.
    fn joined(&self, now: &'a Model) -> HashSet<&'a Key> {
        let mut joined = HashSet::new();
        for (address, person) in now.contacts.iter() {
            let before = self.contact_base(address);
            let new = person.groups.iter().filter(|key| before.is_none_or(|before| !before.is_in(key)));
            joined.extend(new);
        }
        joined
    }

    /// Merges the groups; returns those that one side removed and that stay, with the side that has them.
    fn groups(&self, merged: &mut Merged) -> HashMap<Key, Side> {
        let (joined_here, joined_there) = (self.joined(self.mine), self.joined(self.theirs));
        let mut stay = HashMap::new();
        let mut names = HashSet::new();
        let mut found: Vec<(Key, Arc<str>)> = Vec::new();
        // Theirs first: where two have one name in the end, theirs keeps it.
        let both = self.theirs.groups.iter().chain(self.mine.groups.iter());
        let mut seen = HashSet::new();
        for (key, _) in both {
            if !seen.insert(key) {
                continue;
            }
            let about = || ConflictAbout::Group(key.clone());
            let base = self.group_base(key);
            let name = match (self.mine.groups.get(key), self.theirs.groups.get(key)) {
                (Some(mine), Some(theirs)) => {
                    let (name, conflict) = pick(base, mine, theirs);
                    // Where both made it, the names differ in case at most.
                    if conflict && base.is_some() {
                        merged.conflicts.push(Found {
                            about: about(),
                            mine: Some(mine.clone()),
                            theirs: Some(theirs.clone()),
                            shown: Side::Theirs,
                        });
                    }
                    name
                }
                (Some(mine), None) => match base {
                    None => mine,
                    Some(base) if base != mine || joined_here.contains(key) => {
                        stay.insert(key.clone(), Side::Mine);
                        let mine = mine.clone();
                        merged.conflicts.push(Found {
                            about: about(),
                            mine: Some(mine),
                            theirs: None,
                            shown: Side::Mine,
                        });
                        self.mine.groups.get(key).unwrap_or(base)
                    }
                    Some(_) => continue,
                },
                (None, Some(theirs)) => match base {
                    None => theirs,
                    Some(base) if base != theirs || joined_there.contains(key) => {
                        stay.insert(key.clone(), Side::Theirs);
                        merged.conflicts.push(Found {
                            about: about(),
                            mine: None,
                            theirs: Some(theirs.clone()),
                            shown: Side::Theirs,
                        });
                        theirs
                    }
                    Some(_) => continue,
                },
                (None, None) => continue,
            };
            found.push((key.clone(), name.clone()));
        }
        // A name that the other side has already shows first, so that it is ours that gets a number.
        found.sort_by_key(|(key, name)| self.theirs.groups.get(key) != Some(name));
        for (key, name) in found {
            let name = unused(&name, &mut names);
            merged.model.groups.put(key, name);
        }
        stay
    }

    fn contacts(&self, merged: &mut Merged, stay: &HashMap<Key, Side>) {
        let both = self.theirs.contacts.iter().chain(self.mine.contacts.iter());
        let mut seen = HashSet::new();
        for (address, _) in both {
            if !seen.insert(address) {
                continue;
            }
            let base = self.contact_base(address);
            let mine = self.mine.contacts.get(address);
            let theirs = self.theirs.contacts.get(address);
            let about = || ConflictAbout::Contact(address.clone());
            let mut person = match (mine, theirs) {
                (Some(mine), Some(theirs)) => {
                    let (name, conflict) = pick_person(base, mine, theirs);
                    if conflict {
                        merged.conflicts.push(Found {
                            about: about(),
                            mine: Some(mine.name.clone()),
                            theirs: Some(theirs.name.clone()),
                            shown: Side::Theirs,
                        });
                    }
                    let details = details_of(base, mine, theirs);
                    Person { name: name.clone(), groups: groups_of(base, mine, theirs, stay), details }
                }
                (Some(mine), None) => match base {
                    None => mine.clone(),
                    Some(base) if changed(base, mine) => {
                        merged.conflicts.push(Found {
                            about: about(),
                            mine: Some(mine.name.clone()),
                            theirs: None,
                            shown: Side::Mine,
                        });
                        mine.clone()
                    }
                    Some(_) => continue,
                },
                (None, Some(theirs)) => match base {
                    None => theirs.clone(),
                    Some(base) if changed(base, theirs) => {
                        merged.conflicts.push(Found {
                            about: about(),
                            mine: None,
                            theirs: Some(theirs.name.clone()),
                            shown: Side::Theirs,
                        });
                        theirs.clone()
                    }
                    Some(_) => continue,
                },
                (None, None) => continue,
            };
            person.groups.retain(|key| merged.model.groups.has(key));
            merged.model.contacts.put(address.clone(), person);
        }
    }
}

/// Whether somebody edited a contact, apart from taking it out of groups, which a removal does as well.
fn changed(base: &Person, now: &Person) -> bool {
    base.name != now.name || base.details != now.details || now.groups.iter().any(|key| !base.is_in(key))
}

/// What is noted of a contact: each number and address as the side has it that changed it; where both did, theirs.
fn details_of(base: Option<&Person>, mine: &Person, theirs: &Person) -> Option<Arc<ContactDetails>> {
    if mine.details == theirs.details {
        return theirs.details.clone();
    }
    let of = |person: Option<&Person>| {
        person.and_then(|person| person.details.as_deref()).cloned().unwrap_or_default()
    };
    let (base, mine, theirs) = (of(base), of(Some(mine)), of(Some(theirs)));
    let mut all = theirs.clone();
    for kind in PhoneKind::ALL {
        if base.phones.get(kind) == theirs.phones.get(kind) {
            *all.phones.get_mut(kind) = mine.phones.get(kind).cloned();
        }
    }
    if base.email == theirs.email {
        all.email = mine.email;
    }
    (!all.is_empty()).then(|| Arc::new(all))
}

/// The value that holds, and whether both sides gave a new one.
fn pick<'a>(base: Option<&Arc<str>>, mine: &'a Arc<str>, theirs: &'a Arc<str>) -> (&'a Arc<str>, bool) {
    if mine == theirs || base == Some(mine) {
        (theirs, false)
    } else if base == Some(theirs) {
        (mine, false)
    } else {
        (theirs, true)
    }
}

fn pick_person<'a>(base: Option<&Person>, mine: &'a Person, theirs: &'a Person) -> (&'a Arc<str>, bool) {
    match base {
        // Both added it: whoever gave no name said nothing about it.
        None if mine.name.is_empty() => (&theirs.name, false),
        None if theirs.name.is_empty() => (&mine.name, false),
        _ => pick(base.map(|base| &base.name), &mine.name, &theirs.name),
    }
}

fn groups_of(
    base: Option<&Person>,
    mine: &Person,
    theirs: &Person,
    stay: &HashMap<Key, Side>,
) -> smallvec::SmallVec<[Key; 1]> {
    let all: BTreeSet<&Key> = mine.groups.iter().chain(&theirs.groups).collect();
    let holds = |key: &Key| {
        let (here, there) = (mine.is_in(key), theirs.is_in(key));
        match stay.get(key) {
            // Whoever removed the group took nobody out of it.
            Some(Side::Mine) => here,
            Some(Side::Theirs) => there,
            None if base.is_some_and(|base| base.is_in(key)) => here && there,
            None => true,
        }
    };
    all.into_iter().filter(|key| holds(key)).cloned().collect()
}
