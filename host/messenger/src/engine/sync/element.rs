//! Writing one entry of a large document instead of all of it (RFC 4825, sections 7.4 and 7.6).

use attache_documents::{
    Limits,
    resource_lists::{self, List, Member, ResourceLists},
    tree::{EditError, Tree},
    xcap::NodeSelector,
};
use bytes::Bytes;

use super::model::{Model, Person};
use crate::address::Address;

/// Documents up to this size are written whole: one request more or less counts for more than their bytes.
pub(super) const SMALL: usize = 8 * 1024;

/// What makes a document that says `base` say `mine`, where that is one entry: the entry, and its text unless it goes.
pub(super) fn single(
    before: &ResourceLists,
    after: &ResourceLists,
    base: &Model,
    mine: &Model,
) -> Option<(NodeSelector, Option<Bytes>)> {
    let same_groups = base.groups.len() == mine.groups.len()
        && base.groups.iter().all(|(key, name)| mine.groups.get(key) == Some(name));
    if !same_groups {
        return None;
    }
    let mut changed = mine
        .contacts
        .iter()
        .filter(|(address, person)| base.contacts.get(address) != Some(person))
        .map(|(address, person)| (address, Some(person)))
        .chain(
            base.contacts.iter().filter(|(address, _)| !mine.contacts.has(address)).map(|(a, _)| (a, None)),
        );
    let (address, person): (&Address, Option<&Person>) = changed.next()?;
    let noted = person.is_some_and(|person| person.details.is_some());
    if changed.next().is_some() || noted || person.is_some() && base.contacts.has(address) {
        return None;
    }
    let document = if person.is_some() { after } else { before };
    let (list, uri) = only_place(document, address)?;
    // The list has to be there already.
    before.lists.iter().find(|known| known.name == list.name)?;
    let selector = NodeSelector::root("resource-lists")
        .child("list")
        .with("name", list.name.as_deref()?)
        .child("entry")
        .with("uri", uri);
    match person {
        Some(person) => Some((selector, Some(entry(uri, &person.name).ok()?.into()))),
        None => Some((selector, None)),
    }
}

/// The one list at the top of a document that holds somebody, and how the address is written there; nothing when there
/// are several places, or one further down.
fn only_place<'a>(document: &'a ResourceLists, address: &Address) -> Option<(&'a List, &'a str)> {
    fn count(list: &List, address: &Address) -> usize {
        let here = list.members.iter().map(|member| match member {
            Member::Entry(entry) => usize::from(Address::parse(&entry.uri).is_ok_and(|uri| uri == *address)),
            Member::List(list) => count(list, address),
            _ => 0,
        });
        here.sum()
    }
    if document.lists.iter().map(|list| count(list, address)).sum::<usize>() != 1 {
        return None;
    }
    document.lists.iter().find_map(|list| {
        list.members.iter().find_map(|member| match member {
            Member::Entry(entry) if Address::parse(&entry.uri).is_ok_and(|uri| uri == *address) => {
                Some((list, entry.uri.as_str()))
            }
            _ => None,
        })
    })
}

fn entry(uri: &str, name: &str) -> Result<String, EditError> {
    let namespace = Some(resource_lists::NAMESPACE);
    let empty = format!("<entry xmlns=\"{}\"/>", resource_lists::NAMESPACE);
    let mut tree = Tree::read(empty.as_bytes(), &Limits::STORED).map_err(|_| EditError::Place)?;
    let root = tree.root();
    tree.set_attribute(root, "uri", uri)?;
    if !name.is_empty() {
        let shown = tree.new_element(namespace, "display-name")?;
        tree.set_text(shown, name)?;
        tree.append(root, shown)?;
    }
    Ok(tree.write_element(root))
}
