//! What a watcher sees of a presence document (RFC 5025, section 3.3).
//!
//! Everything is built anew from what is granted, so an element that this module does not know is never shown by
//! mistake.

use std::collections::HashSet;

use crate::{
    pidf::{Basic, Capabilities, Card, Device, Document, Note, Person, Rich, TimedStatus, Tuple, UserInput},
    xml::{CAPS, CIPID, TIMED},
};

use super::evaluate::{Permissions, Selection};
use super::{Attribute, DeviceSelector, PersonSelector, ServiceSelector, SubHandling, UserInputDetail};

const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";

/// What these permissions leave of a document. Who is blocked politely sees somebody who is not there; who is blocked,
/// or waits for a decision, sees the same.
#[must_use]
pub fn transform(document: &Document, granted: &Permissions) -> Document {
    if granted.handling != SubHandling::Allow {
        return offline(&document.entity);
    }
    // What stands in the document is looked up in what is granted: both can be long.
    let schemes: HashSet<String> = match &granted.services {
        Selection::Some(selectors) => selectors.iter().filter_map(ServiceSelector::scheme).collect(),
        Selection::All => HashSet::new(),
    };
    let service = |tuple: &&Tuple| {
        let uri = tuple.contact.as_ref().map(|contact| contact.uri.as_str());
        let scheme = uri.and_then(|uri| uri.split_once(':')).map(|(scheme, _)| scheme.to_ascii_lowercase());
        scheme.is_some_and(|scheme| schemes.contains(&scheme))
            || granted.services.has(&[
                uri.map(|uri| ServiceSelector::Uri(uri.to_owned())),
                Some(ServiceSelector::OccurrenceId(tuple.id.clone())),
                tuple.rich.class.clone().map(ServiceSelector::Class),
            ])
    };
    let person = |person: &&Person| {
        granted.persons.has(&[
            Some(PersonSelector::OccurrenceId(person.id.clone())),
            person.rich.class.clone().map(PersonSelector::Class),
        ])
    };
    let device = |device: &&Device| {
        granted.devices.has(&[
            device.device_id.clone().map(DeviceSelector::DeviceId),
            Some(DeviceSelector::OccurrenceId(device.id.clone())),
            device.rich.class.clone().map(DeviceSelector::Class),
        ])
    };
    Document {
        entity: document.entity.clone(),
        tuples: document.tuples.iter().filter(service).map(|one| shown_tuple(one, granted)).collect(),
        persons: document.persons.iter().filter(person).map(|one| shown_person(one, granted)).collect(),
        devices: document.devices.iter().filter(device).map(|one| shown_device(one, granted)).collect(),
        notes: notes(&document.notes, granted),
    }
}

impl ServiceSelector {
    /// The scheme that it fits, in lower case.
    fn scheme(&self) -> Option<String> {
        match self {
            Self::UriScheme(scheme) => Some(scheme.to_ascii_lowercase()),
            _ => None,
        }
    }
}

/// The document of somebody who is not there, which tells nothing of why.
#[must_use]
pub fn offline(entity: &str) -> Document {
    let tuple = Tuple { id: "offline".into(), basic: Some(Basic::Closed), ..Tuple::default() };
    Document { entity: entity.to_owned(), tuples: vec![tuple], ..Document::default() }
}

fn shown_tuple(tuple: &Tuple, granted: &Permissions) -> Tuple {
    if granted.all_attributes {
        return tuple.clone();
    }
    Tuple {
        id: tuple.id.clone(),
        basic: tuple.basic,
        contact: tuple.contact.clone(),
        device_id: tuple.device_id.clone().filter(|_| granted.shows(Attribute::DeviceId)),
        rich: rich(&tuple.rich, granted),
        capabilities: capabilities(tuple.capabilities.as_deref(), "servcaps", granted),
        timed: timed(&tuple.timed, granted),
        card: card(&tuple.card, granted),
        notes: notes(&tuple.notes, granted),
        timestamp: tuple.timestamp,
    }
}

fn shown_person(person: &Person, granted: &Permissions) -> Person {
    if granted.all_attributes {
        return person.clone();
    }
    Person {
        id: person.id.clone(),
        rich: rich(&person.rich, granted),
        card: card(&person.card, granted),
        notes: notes(&person.notes, granted),
        timestamp: person.timestamp,
    }
}

fn shown_device(device: &Device, granted: &Permissions) -> Device {
    if granted.all_attributes {
        return device.clone();
    }
    Device {
        id: device.id.clone(),
        device_id: device.device_id.clone().filter(|_| granted.shows(Attribute::DeviceId)),
        rich: rich(&device.rich, granted),
        capabilities: capabilities(device.capabilities.as_deref(), "devcaps", granted),
        notes: notes(&device.notes, granted),
        timestamp: device.timestamp,
    }
}

// For what RFC 4481, RFC 4482 and RFC 5196 add, RFC 5025 has no elements: they are granted by name.

fn capabilities(said: Option<&Capabilities>, name: &str, granted: &Permissions) -> Option<Box<Capabilities>> {
    said.filter(|_| granted.shows_unknown(CAPS, name)).cloned().map(Box::new)
}

fn timed(said: &[TimedStatus], granted: &Permissions) -> Vec<TimedStatus> {
    if !granted.shows_unknown(TIMED, "timed-status") {
        return Vec::new();
    }
    let shown = |one: &TimedStatus| TimedStatus {
        from: one.from,
        until: one.until,
        basic: one.basic,
        rich: rich(&one.rich, granted),
        notes: notes(&one.notes, granted),
    };
    said.iter().map(shown).collect()
}

fn card(said: &Card, granted: &Permissions) -> Card {
    let mut shown = Card::default();
    for (name, value) in said.parts() {
        if granted.shows_unknown(CIPID, name)
            && let Some(part) = shown.part_mut(name)
        {
            part.clone_from(value);
        }
    }
    shown
}

fn notes(notes: &[Note], granted: &Permissions) -> Vec<Note> {
    if granted.shows(Attribute::Note) { notes.to_vec() } else { Vec::new() }
}

fn rich(rich: &Rich, granted: &Permissions) -> Rich {
    fn keep<T: Clone + Default>(value: &T, is_shown: bool) -> T {
        if is_shown { value.clone() } else { T::default() }
    }
    Rich {
        activities: keep(&rich.activities, granted.shows(Attribute::Activities)),
        class: keep(&rich.class, granted.shows(Attribute::Class)),
        mood: keep(&rich.mood, granted.shows(Attribute::Mood)),
        place_is: keep(&rich.place_is, granted.shows(Attribute::PlaceIs)),
        place_type: keep(&rich.place_type, granted.shows(Attribute::PlaceType)),
        privacy: keep(&rich.privacy, granted.shows(Attribute::Privacy)),
        relationship: keep(&rich.relationship, granted.shows(Attribute::Relationship)),
        // RFC 5025 has no element for it.
        service_class: keep(&rich.service_class, granted.shows_unknown(RPID, "service-class")),
        sphere: keep(&rich.sphere, granted.shows(Attribute::Sphere)),
        status_icon: keep(&rich.status_icon, granted.shows(Attribute::StatusIcon)),
        status_icon_valid: keep(&rich.status_icon_valid, granted.shows(Attribute::StatusIcon)),
        time_offset: keep(&rich.time_offset, granted.shows(Attribute::TimeOffset)),
        time_offset_valid: keep(&rich.time_offset_valid, granted.shows(Attribute::TimeOffset)),
        user_input: rich.user_input.as_ref().and_then(|input| user_input(input, granted.user_input)),
    }
}

fn user_input(input: &UserInput, detail: UserInputDetail) -> Option<UserInput> {
    let bare = UserInput { state: input.state, idle_threshold: None, last_input: None };
    match detail {
        UserInputDetail::False => None,
        UserInputDetail::Bare => Some(bare),
        UserInputDetail::Thresholds => Some(UserInput { idle_threshold: input.idle_threshold, ..bare }),
        UserInputDetail::Full => Some(*input),
    }
}
