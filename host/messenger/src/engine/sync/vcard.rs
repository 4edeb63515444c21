//! Numbers and e-mail addresses of contacts in the document: a vCard in XML (RFC 6351) within the entry, where RFC 4826,
//! section 3.1, has room for elements of others.
//!
//! Other programs may keep more in such a card. Only what is edited here changes; everything else stays as it is.

use std::sync::Arc;

use attache_documents::{
    Foreign, Limits,
    tree::{EditError, NodeId, Tree},
};

use crate::{
    address::Address,
    call::{self, PhoneKind},
    profile::ContactDetails,
};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:vcard-4.0";

fn tree(foreign: &Foreign) -> Option<Tree> {
    if !foreign.as_str().contains(NAMESPACE) {
        return None;
    }
    let tree = Tree::read(foreign.as_str().as_bytes(), &Limits::STORED).ok()?;
    tree.is(tree.root(), Some(NAMESPACE), "vcard").then_some(tree)
}

fn child(tree: &Tree, node: NodeId, name: &str) -> Option<NodeId> {
    tree.elements(node).find(|child| tree.is(*child, Some(NAMESPACE), name))
}

/// Whether a property has a type such as `work` (RFC 6350, section 5.6).
fn has_type(tree: &Tree, property: NodeId, name: &str) -> bool {
    let types = child(tree, property, "parameters").and_then(|parameters| child(tree, parameters, "type"));
    types.is_some_and(|types| {
        tree.elements(types).any(|text| tree.text(text).trim().eq_ignore_ascii_case(name))
    })
}

/// Which number a property holds, if any of ours.
fn kind(tree: &Tree, property: NodeId) -> Option<PhoneKind> {
    if !tree.is(property, Some(NAMESPACE), "tel")
        || ["fax", "pager"].iter().any(|other| has_type(tree, property, other))
    {
        return None;
    }
    [("cell", PhoneKind::Mobile), ("work", PhoneKind::Work), ("home", PhoneKind::Home)]
        .into_iter()
        .find(|(name, _)| has_type(tree, property, name))
        .map(|(_, kind)| kind)
}

fn value(tree: &Tree, property: NodeId) -> Option<String> {
    let value = ["uri", "text"].into_iter().find_map(|name| child(tree, property, name))?;
    Some(tree.text(value).trim().to_owned())
}

fn number(text: &str) -> Option<Address> {
    // What is no international number means something at its own service only.
    call::number(text, "invalid").ok().filter(|address| !address.as_str().ends_with("@invalid;user=phone"))
}

/// What the elements of others within an entry say.
pub(super) fn read(foreign: &[Foreign]) -> Option<ContactDetails> {
    let tree = foreign.iter().find_map(tree)?;
    let mut details = ContactDetails::default();
    for property in tree.elements(tree.root()) {
        if let Some(kind) = kind(&tree, property) {
            let place = details.phones.get_mut(kind);
            if place.is_none() {
                *place = value(&tree, property).and_then(|text| number(&text));
            }
        } else if details.email.is_none() && tree.is(property, Some(NAMESPACE), "email") {
            let email = value(&tree, property).map(Arc::from);
            let found = ContactDetails { email, ..ContactDetails::default() };
            details.email = found.check().is_ok().then_some(found.email).flatten();
        }
    }
    (!details.is_empty()).then_some(details)
}

/// Makes of elements that say `before` such that say `after`. `name` is for a card that is new.
pub(super) fn write(
    foreign: &mut Vec<Foreign>,
    before: Option<&ContactDetails>,
    after: Option<&ContactDetails>,
    name: &str,
) {
    let none = ContactDetails::default();
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    if before == after {
        return;
    }
    let known = foreign.iter().position(|foreign| tree(foreign).is_some());
    let card = match known {
        Some(at) => tree(&foreign[at]),
        None => new_card(name),
    };
    // What cannot be written is not: the entry stays as it is, and the list here has it all the same.
    let Some(edited) = card.and_then(|card| edit(card, before, after).ok()) else { return };
    // A card with nothing but a name says nothing.
    let empty = edited.elements(edited.root()).all(|property| edited.is(property, Some(NAMESPACE), "fn"));
    let written = Foreign::parse(&edited.write_element(edited.root()), &Limits::STORED).ok();
    match (known, written.filter(|_| !empty)) {
        (Some(at), Some(written)) => foreign[at] = written,
        (Some(at), None) if empty => _ = foreign.remove(at),
        (None, Some(written)) => foreign.push(written),
        _ => {}
    }
}

fn new_card(name: &str) -> Option<Tree> {
    let empty = format!("<vcard xmlns=\"{NAMESPACE}\"/>");
    let mut tree = Tree::read(empty.as_bytes(), &Limits::STORED).ok()?;
    let root = tree.root();
    let shown = append(&mut tree, root, "fn").ok()?;
    let text = append(&mut tree, shown, "text").ok()?;
    tree.set_text(text, name).ok()?;
    Some(tree)
}

fn append(tree: &mut Tree, parent: NodeId, name: &str) -> Result<NodeId, EditError> {
    // In the words of the card itself, whatever prefix it has.
    let prefix = tree.name(tree.root()).and_then(|root| root.prefix().map(str::to_owned));
    let written = prefix.map_or_else(|| name.to_owned(), |prefix| format!("{prefix}:{name}"));
    let node = tree.new_element(Some(NAMESPACE), &written)?;
    tree.append(parent, node)?;
    Ok(node)
}

fn edit(mut tree: Tree, before: &ContactDetails, after: &ContactDetails) -> Result<Tree, EditError> {
    let root = tree.root();
    for kind in PhoneKind::ALL {
        let (old, new) = (before.phones.get(kind), after.phones.get(kind));
        if old != new {
            let known = tree.elements(root).find(|property| self::kind(&tree, *property) == Some(kind));
            let word = if kind == PhoneKind::Mobile { "cell" } else { kind.name() };
            set(&mut tree, known, "tel", Some(word), new.map(Address::as_str))?;
        }
    }
    if before.email != after.email {
        let known = child(&tree, root, "email");
        set(&mut tree, known, "email", None, after.email.as_deref())?;
    }
    Ok(tree)
}

/// Gives a property another value, makes it, or takes it out.
fn set(
    tree: &mut Tree,
    known: Option<NodeId>,
    name: &str,
    kind: Option<&str>,
    value: Option<&str>,
) -> Result<(), EditError> {
    let Some(value) = value else {
        known.map(|known| tree.detach(known));
        return Ok(());
    };
    let property = match known {
        Some(known) => known,
        None => {
            let root = tree.root();
            let property = append(tree, root, name)?;
            if let Some(kind) = kind {
                let parameters = append(tree, property, "parameters")?;
                let types = append(tree, parameters, "type")?;
                let text = append(tree, types, "text")?;
                tree.set_text(text, kind)?;
            }
            property
        }
    };
    let wanted = if name == "tel" { "uri" } else { "text" };
    let other = if name == "tel" { "text" } else { "uri" };
    if let Some(other) = child(tree, property, other) {
        tree.detach(other);
    }
    let place = match child(tree, property, wanted) {
        Some(place) => place,
        None => append(tree, property, wanted)?,
    };
    tree.set_text(place, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(home: &str, mobile: &str, email: &str) -> ContactDetails {
        let mut details = ContactDetails::default();
        details.phones.home = Address::parse(home).ok();
        details.phones.mobile = Address::parse(mobile).ok();
        details.email = (!email.is_empty()).then(|| email.into());
        details
    }

    #[test]
    fn a_new_card_is_read_as_it_was_written_and_goes_with_the_last_word() {
        let mut foreign = Vec::new();
        let first = details("tel:+12015550100", "tel:+12015550199", "bob@example.com");
        write(&mut foreign, None, Some(&first), "Bob");
        assert_eq!(read(&foreign), Some(first.clone()));
        let text = foreign[0].as_str();
        assert!(text.contains("<fn><text>Bob</text></fn>") && text.contains("<text>cell</text>"), "{text}");
        write(&mut foreign, Some(&first), None, "Bob");
        assert!(foreign.is_empty());
    }

    #[test]
    fn what_others_keep_in_a_card_stays() {
        let card = r#"<v:vcard xmlns:v="urn:ietf:params:xml:ns:vcard-4.0"><v:fn><v:text>Bob</v:text></v:fn>
            <v:title><v:text>Chief</v:text></v:title>
            <v:tel><v:parameters><v:type><v:text>work</v:text><v:text>fax</v:text></v:type></v:parameters>
            <v:uri>tel:+12015550177</v:uri></v:tel>
            <v:tel><v:parameters><v:pref><v:integer>1</v:integer></v:pref><v:type><v:text>HOME</v:text></v:type></v:parameters>
            <v:text>+1 201 555 0100</v:text></v:tel></v:vcard>"#;
        let other = Foreign::parse(r#"<x xmlns="urn:other">&amp;</x>"#, &Limits::DEFAULT).unwrap();
        let mut foreign = vec![other.clone(), Foreign::parse(card, &Limits::DEFAULT).unwrap()];
        let before = details("tel:+12015550100", "", "");
        assert_eq!(read(&foreign), Some(before.clone()));
        let after = details("tel:+12015550111", "tel:+12015550199", "");
        write(&mut foreign, Some(&before), Some(&after), "Bob");
        assert_eq!(read(&foreign), Some(after.clone()));
        let text = foreign[1].as_str();
        for kept in
            ["<v:title><v:text>Chief</v:text></v:title>", "tel:+12015550177", "<v:integer>1</v:integer>"]
        {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        write(&mut foreign, Some(&after), None, "Bob");
        assert_eq!(foreign.len(), 2, "the card of others is not ours to remove");
        assert_eq!((read(&foreign), &foreign[0]), (None, &other));
    }

    #[test]
    fn a_number_of_a_service_of_its_own_is_none_of_ours() {
        let card = r#"<vcard xmlns="urn:ietf:params:xml:ns:vcard-4.0"><tel><parameters><type><text>work</text></type>
            </parameters><text>4711</text></tel></vcard>"#;
        assert_eq!(read(&[Foreign::parse(card, &Limits::DEFAULT).unwrap()]), None);
    }
}
