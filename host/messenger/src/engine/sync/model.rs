//! The contact list as one side has it, apart from handles and documents.
//!
//! A group is known by the `name` of its list, which no rename changes; what people call it is the list's display name
//! (RFC 4826, section 3.1). A contact is known by its address, and is in as many lists as it has groups; without a group
//! it is in a list that is no group: one without a name, or with a name that only programs use.
//!
//! Reading the same document always gives the same model, also where it breaks our rules (two groups of one name, names
//! too long): so what was not edited never looks edited, and is never written back.

use core::hash::Hash;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use attache_documents::resource_lists::{DisplayName, Entry, List, Member, ResourceLists};
use smallvec::SmallVec;

use super::vcard;
use crate::{address::Address, engine::roster::MAX_NAME, profile::ContactDetails};

/// What a group is known by.
pub(in crate::engine) type Key = Arc<str>;

/// Names of lists that hold contacts without a group. The first is ours; others are those of Jitsi and OMA.
const UNGROUPED: [&str; 3] = ["contacts", "RootGroup", "oma_buddylist"];

/// Lists of a document beyond that many are no groups.
const MOST_GROUPS: usize = 1_000;

/// A map that remembers the order in which things came.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Ordered<K, V> {
    index: HashMap<K, usize>,
    items: Vec<(K, V)>,
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self { index: HashMap::new(), items: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Ordered<K, V> {
    pub(in crate::engine) fn get(&self, key: &K) -> Option<&V> {
        self.index.get(key).map(|at| &self.items[*at].1)
    }

    pub(in crate::engine) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.index.get(key).map(|at| &mut self.items[*at].1)
    }

    pub(in crate::engine) fn has(&self, key: &K) -> bool {
        self.index.contains_key(key)
    }

    /// Puts something in, at the end where it is new.
    pub(in crate::engine) fn put(&mut self, key: K, value: V) {
        match self.index.get(&key) {
            Some(at) => self.items[*at].1 = value,
            None => {
                self.index.insert(key.clone(), self.items.len());
                self.items.push((key, value));
            }
        }
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.items.iter().map(|(key, value)| (key, value))
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.items.len()
    }
}

/// One contact.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::engine) struct Person {
    /// Empty for none.
    pub(in crate::engine) name: Arc<str>,
    /// Sorted.
    pub(in crate::engine) groups: SmallVec<[Key; 1]>,
    /// What is noted beside the name.
    pub(in crate::engine) details: Option<Arc<ContactDetails>>,
}

impl Person {
    pub(in crate::engine) fn is_in(&self, group: &Key) -> bool {
        self.groups.binary_search(group).is_ok()
    }

    pub(in crate::engine) fn join(&mut self, group: &Key) {
        if let Err(at) = self.groups.binary_search(group) {
            self.groups.insert(at, group.clone());
        }
    }
}

/// The list of one side.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Model {
    /// Names of groups, no two alike without regard to case.
    pub(in crate::engine) groups: Ordered<Key, Arc<str>>,
    pub(in crate::engine) contacts: Ordered<Address, Person>,
}

impl PartialEq for Model {
    /// The order says nothing.
    fn eq(&self, other: &Self) -> bool {
        self.groups.len() == other.groups.len()
            && self.contacts.len() == other.contacts.len()
            && self.groups.iter().all(|(key, name)| other.groups.get(key) == Some(name))
            && self.contacts.iter().all(|(address, person)| other.contacts.get(address) == Some(person))
    }
}

impl Model {
    /// What a document says. Entries that name nobody whom we could watch, and `own`, are left out.
    pub(in crate::engine) fn read(document: &ResourceLists, own: &Address) -> Self {
        let mut model = Self::default();
        let mut keys = Keys::default();
        let mut names = HashSet::new();
        for list in &document.lists {
            model.read_list(list, None, own, &mut keys, &mut names);
        }
        model
    }

    fn read_list(
        &mut self,
        list: &List,
        above: Option<&Key>,
        own: &Address,
        keys: &mut Keys,
        names: &mut HashSet<String>,
    ) {
        let place = keys.place(list, above);
        if let Place::Group(key) = &place {
            let shown = list.display_name.as_ref().map_or("", |name| &name.text);
            let shown = Some(clean(shown)).filter(|name| !name.is_empty());
            let name = shown.unwrap_or_else(|| clean(list.name.as_deref().unwrap_or_default()));
            let name = if name.is_empty() { "?".to_owned() } else { name };
            self.groups.put(key.clone(), unused(&name, names));
        }
        for member in &list.members {
            match member {
                Member::Entry(entry) => {
                    let Some(address) = watchable(&entry.uri, own) else { continue };
                    let name = entry.display_name.as_ref().map_or("", |name| &name.text);
                    if !self.contacts.has(&address) {
                        self.contacts.put(address.clone(), Person::default());
                    }
                    let Some(person) = self.contacts.get_mut(&address) else { continue };
                    if person.name.is_empty() {
                        person.name = clean(name).into();
                    }
                    if person.details.is_none() {
                        person.details = vcard::read(&entry.foreign).map(Arc::new);
                    }
                    if let Place::Group(key) = &place {
                        person.join(key);
                    }
                }
                Member::List(below) => {
                    self.read_list(below, place.key().or(above), own, keys, names);
                }
                Member::EntryRef(_) | Member::External(_) => {}
            }
        }
    }

    /// Makes of a document that says `base` one that says `self`, and changes no more of it than that takes.
    pub(in crate::engine) fn write(&self, document: &mut ResourceLists, base: &Self, own: &Address) {
        let mut editor = Editor {
            base,
            mine: self,
            own,
            keys: Keys::default(),
            moved: HashMap::new(),
            joining: HashMap::new(),
            ungrouped: Vec::new(),
            left_over: Vec::new(),
        };
        editor.plan(document);
        editor.lists(&mut document.lists);
        for (key, name) in self.groups.iter().filter(|(key, _)| !base.groups.has(key)) {
            let members = editor.joining.remove(key).unwrap_or_default();
            document.lists.push(List {
                name: Some(key.to_string()),
                display_name: Some(DisplayName::new(&**name)),
                members: members.into_iter().map(Member::Entry).collect(),
                ..List::default()
            });
        }
        let rest: Vec<Member> =
            editor.ungrouped.drain(..).map(Member::Entry).chain(editor.left_over).collect();
        if !rest.is_empty() {
            match document.lists.iter_mut().find(|list| is_ungrouped(list)) {
                Some(list) => list.members.extend(rest),
                None => {
                    let name = Some(UNGROUPED[0].to_owned());
                    document.lists.insert(0, List { name, members: rest, ..List::default() });
                }
            }
        }
        // A document without any list looks lost.
        if document.lists.is_empty() {
            let name = Some(UNGROUPED[0].to_owned());
            document.lists.push(List { name, ..List::default() });
        }
    }
}

/// Where the entries of a list are.
enum Place {
    Ungrouped,
    Group(Key),
    /// In a list that cannot be named apart from others: its entries are contacts, but it is no group. Holds the group around
    /// it.
    Around(Option<Key>),
}

impl Place {
    fn key(&self) -> Option<&Key> {
        match self {
            Self::Group(key) | Self::Around(Some(key)) => Some(key),
            Self::Ungrouped | Self::Around(None) => None,
        }
    }
}

/// Gives every list what it is known by: its name, or its path where another list has that name already.
#[derive(Default)]
struct Keys {
    used: HashSet<Key>,
}

impl Keys {
    fn place(&mut self, list: &List, above: Option<&Key>) -> Place {
        if above.is_none() && is_ungrouped(list) {
            return Place::Ungrouped;
        }
        let Some(name) = list.name.as_deref().filter(|name| !name.is_empty()) else {
            return Place::Around(above.cloned());
        };
        let path = || format!("{}/{name}", above.map_or("", |key| key));
        if self.used.len() >= MOST_GROUPS {
            return Place::Around(above.cloned());
        }
        let key = [name.to_owned(), path()].into_iter().find(|key| !self.used.contains(key.as_str()));
        match key {
            Some(key) => {
                let key: Key = key.into();
                self.used.insert(key.clone());
                Place::Group(key)
            }
            None => Place::Around(above.cloned()),
        }
    }
}

fn is_ungrouped(list: &List) -> bool {
    list.name.as_deref().is_none_or(|name| name.is_empty() || UNGROUPED.contains(&name))
}

/// What has to be done to a document.
struct Editor<'a> {
    base: &'a Model,
    mine: &'a Model,
    own: &'a Address,
    keys: Keys,
    /// Entries of those who go elsewhere, so that what others wrote into them goes with them.
    moved: HashMap<Address, Entry>,
    joining: HashMap<Key, Vec<Entry>>,
    ungrouped: Vec<Entry>,
    /// What others put into a group that goes.
    left_over: Vec<Member>,
}

impl Editor<'_> {
    fn plan(&mut self, document: &ResourceLists) {
        for list in &document.lists {
            self.collect(list);
        }
        for (address, person) in self.mine.contacts.iter() {
            let before = self.base.contacts.get(address);
            for key in &person.groups {
                if before.is_none_or(|before| !before.is_in(key)) {
                    let entry = self.entry(address, person);
                    self.joining.entry(key.clone()).or_default().push(entry);
                }
            }
            if person.groups.is_empty() && before.is_none_or(|before| !before.groups.is_empty()) {
                let entry = self.entry(address, person);
                self.ungrouped.push(entry);
            }
        }
    }

    fn collect(&mut self, list: &List) {
        for member in &list.members {
            match member {
                Member::Entry(entry) => {
                    let Some(address) = watchable(&entry.uri, self.own) else { continue };
                    let before = self.base.contacts.get(&address).map(|person| &person.groups);
                    let after = self.mine.contacts.get(&address).map(|person| &person.groups);
                    if after.is_some() && before != after {
                        self.moved.entry(address).or_insert_with(|| entry.clone());
                    }
                }
                Member::List(below) => self.collect(below),
                Member::EntryRef(_) | Member::External(_) => {}
            }
        }
    }

    fn entry(&self, address: &Address, person: &Person) -> Entry {
        let mut entry = self
            .moved
            .get(address)
            .cloned()
            .unwrap_or_else(|| Entry { uri: address.as_str().to_owned(), ..Entry::default() });
        let written = read_name(entry.display_name.as_ref());
        rename(&mut entry.display_name, &written, &person.name);
        let before = vcard::read(&entry.foreign);
        let shown = if person.name.is_empty() { address.as_str() } else { &person.name };
        vcard::write(&mut entry.foreign, before.as_ref(), person.details.as_deref(), shown);
        entry
    }

    fn lists(&mut self, lists: &mut Vec<List>) {
        let mut kept = Vec::with_capacity(lists.len());
        for mut list in lists.drain(..) {
            match self.list(&mut list, None) {
                None => kept.push(list),
                Some(rest) => {
                    for member in rest {
                        match member {
                            Member::List(list) => kept.push(list),
                            other => self.left_over.push(other),
                        }
                    }
                }
            }
        }
        *lists = kept;
    }

    /// Edits a list; where it goes, returns what in it is not ours to remove.
    fn list(&mut self, list: &mut List, above: Option<&Key>) -> Option<Vec<Member>> {
        let place = self.keys.place(list, above);
        let mut members = Vec::with_capacity(list.members.len());
        for member in list.members.drain(..) {
            match member {
                Member::Entry(mut entry) => {
                    let address = watchable(&entry.uri, self.own);
                    let known = address.and_then(|address| {
                        Some((self.base.contacts.get(&address)?, self.mine.contacts.get(&address)))
                    });
                    match known {
                        None => members.push(Member::Entry(entry)),
                        Some((_, None)) => {}
                        Some((before, Some(after))) => {
                            let stays = match &place {
                                Place::Group(key) => after.is_in(key) || !before.is_in(key),
                                Place::Ungrouped => !before.groups.is_empty() || after.groups.is_empty(),
                                Place::Around(_) => true,
                            };
                            if stays {
                                rename(&mut entry.display_name, &before.name, &after.name);
                                if before.details != after.details {
                                    let before = before.details.as_deref();
                                    let shown = if after.name.is_empty() { &*entry.uri } else { &after.name };
                                    let details = after.details.as_deref();
                                    vcard::write(&mut entry.foreign, before, details, shown);
                                }
                                members.push(Member::Entry(entry));
                            }
                        }
                    }
                }
                Member::List(mut below) => match self.list(&mut below, place.key().or(above)) {
                    None => members.push(Member::List(below)),
                    Some(rest) => members.extend(rest),
                },
                other => members.push(other),
            }
        }
        list.members = members;
        match &place {
            Place::Group(key) => {
                if let Some(joining) = self.joining.remove(key) {
                    list.members.extend(joining.into_iter().map(Member::Entry));
                }
                let before = self.base.groups.get(key)?;
                let Some(after) = self.mine.groups.get(key) else {
                    let mut rest = core::mem::take(&mut list.members);
                    // Whoever is not in any group of ours is not ours.
                    rest.retain(|member| match member {
                        Member::Entry(entry) => watchable(&entry.uri, self.own).is_none(),
                        _ => true,
                    });
                    return Some(rest);
                };
                if before != after {
                    list.display_name = Some(DisplayName::new(&**after));
                }
            }
            Place::Ungrouped if !self.ungrouped.is_empty() => {
                let there: HashSet<Address> = addresses(&list.members).collect();
                let joining = self.ungrouped.drain(..);
                let joining = joining.filter(|entry| {
                    Address::parse(&entry.uri).is_ok_and(|address| !there.contains(&address))
                });
                list.members.extend(joining.map(Member::Entry));
            }
            Place::Ungrouped => {}
            Place::Around(_) => {}
        }
        None
    }
}

fn addresses(members: &[Member]) -> impl Iterator<Item = Address> + '_ {
    members.iter().filter_map(|member| match member {
        Member::Entry(entry) => Address::parse(&entry.uri).ok(),
        _ => None,
    })
}

/// Changes a name that was edited, and leaves alone what only reads differently.
fn rename(shown: &mut Option<DisplayName>, before: &str, after: &str) {
    if before != after && read_name(shown.as_ref()) != after {
        *shown = (!after.is_empty()).then(|| DisplayName::new(after));
    }
}

fn read_name(shown: Option<&DisplayName>) -> String {
    shown.map_or_else(String::new, |name| clean(&name.text))
}

fn watchable(uri: &str, own: &Address) -> Option<Address> {
    Address::parse(uri).ok().filter(|address| address != own)
}

/// A name as the list here would have it.
fn clean(name: &str) -> String {
    let text: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    text[..text.floor_char_boundary(MAX_NAME)].trim_end().to_owned()
}

/// The name, or one like it that no other group has.
pub(in crate::engine) fn unused(name: &str, names: &mut HashSet<String>) -> Arc<str> {
    let mut number = 1;
    loop {
        let candidate = if number == 1 {
            name.to_owned()
        } else {
            let end = format!(" ({number})");
            format!("{}{end}", &name[..name.floor_char_boundary(MAX_NAME - end.len())])
        };
        if names.insert(candidate.to_lowercase()) {
            return candidate.into();
        }
        number += 1;
    }
}
