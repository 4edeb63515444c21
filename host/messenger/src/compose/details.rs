//! What documents say beyond availability: moods and places, devices, capabilities, cards, and what comes.
//!
//! Everything is a union or a greatest element, so the order of documents and their parts does not matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use attache_documents::{
    Moment,
    pidf::{self, Basic, Document, Person, Rich, Tuple, UserInputState, Valid, Words},
};

use super::{implied, profile};
use crate::{
    presence::{Availability, Capabilities, Card, Details, Device, Upcoming},
    time::Timestamp,
};

/// Most words of one kind, devices, and announcements that are kept.
const MAX: usize = 16;
/// Longest text that is kept, in bytes.
const MAX_TEXT: usize = 512;

/// Collects what is said, and when it begins or ends to hold.
pub(super) struct Collector<'a> {
    now: Moment,
    mood: BTreeSet<&'a str>,
    place_type: BTreeSet<&'a str>,
    place_is: BTreeSet<&'a str>,
    privacy: BTreeSet<&'a str>,
    sphere: BTreeSet<&'a str>,
    class: Option<&'a str>,
    icon: Option<(Option<Moment>, &'a str)>,
    offset: Option<(Option<Moment>, i32)>,
    last_input: Option<Moment>,
    bounds: Vec<Moment>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            now,
            mood: BTreeSet::new(),
            place_type: BTreeSet::new(),
            place_is: BTreeSet::new(),
            privacy: BTreeSet::new(),
            sphere: BTreeSet::new(),
            class: None,
            icon: None,
            offset: None,
            last_input: None,
            bounds: Vec::new(),
        }
    }

    fn holds(&mut self, valid: Valid) -> bool {
        let now = self.now;
        self.bounds.extend([valid.from, valid.until].into_iter().flatten().filter(|bound| *bound > now));
        valid.from.is_none_or(|from| from <= now) && valid.until.is_none_or(|until| now < until)
    }

    fn words(&mut self, words: &'a Words, into: impl Fn(&mut Self) -> &mut BTreeSet<&'a str>) {
        if !words.list.is_empty() && self.holds(words.valid) {
            into(self).extend(words.list.iter().map(String::as_str).filter(|word| *word != "unknown"));
        }
    }

    /// A statement on the person, or of an open service.
    pub(super) fn rich(&mut self, rich: &'a Rich, at: Option<Moment>) {
        self.words(&rich.mood, |this| &mut this.mood);
        self.words(&rich.place_type, |this| &mut this.place_type);
        self.words(&rich.place_is, |this| &mut this.place_is);
        self.words(&rich.privacy, |this| &mut this.privacy);
        self.words(&rich.sphere, |this| &mut this.sphere);
        self.class = self.class.max(rich.class.as_deref());
        if let Some(icon) = &rich.status_icon
            && self.holds(rich.status_icon_valid)
        {
            self.icon = self.icon.max(Some((at, icon)));
        }
        if let Some(offset) = rich.time_offset
            && self.holds(rich.time_offset_valid)
        {
            self.offset = self.offset.max(Some((at, offset)));
        }
        self.last_input = self.last_input.max(rich.user_input.as_ref().and_then(|input| input.last_input));
    }

    /// Everything, or nothing where nothing is said.
    pub(super) fn finish(
        mut self,
        documents: &'a [Document],
        persons: &[&'a Person],
    ) -> (Option<Details>, Vec<Moment>) {
        let tuples = || documents.iter().flat_map(|document| &document.tuples);
        let upcoming = self.upcoming(tuples());
        let (phones, email) = profile::contacts(tuples());
        let calendar = profile::calendar(documents, persons.iter().map(|person| &person.rich), self.now);
        let next = calendar.and_then(|calendar| calendar.next);
        self.bounds.extend(next.map(|(_, at)| Moment::from_millis(at.as_millis().cast_signed())));
        let details = Details {
            mood: kept(&self.mood),
            place_type: kept(&self.place_type),
            place_is: kept(&self.place_is),
            privacy: kept(&self.privacy),
            sphere: kept(&self.sphere),
            class: self.class.map(text),
            status_icon: self.icon.map(|(_, icon)| text(icon)),
            time_offset: self.offset.and_then(|(_, offset)| i16::try_from(offset).ok()),
            last_input: self.last_input.and_then(timestamp),
            devices: devices(documents),
            capabilities: together(tuples()).map(Box::new),
            card: card(persons, tuples()).map(Box::new),
            upcoming,
            phones,
            email,
            calendar: calendar.map(Box::new),
        };
        ((!details.is_empty()).then_some(details), self.bounds)
    }

    fn upcoming(&mut self, tuples: impl Iterator<Item = &'a Tuple>) -> Box<[Upcoming]> {
        let now = self.now;
        let mut coming = BTreeSet::new();
        for timed in tuples.flat_map(|tuple| &tuple.timed) {
            // RFC 4481, section 3: what holds now is said by the status itself.
            let Some(from) = timed.from.filter(|from| *from > now) else { continue };
            self.bounds.push(from);
            let mut words: Vec<&str> =
                timed.rich.activities.list.iter().map(pidf::Activity::name).take(MAX).collect();
            words.sort_unstable();
            let implied = words.iter().filter_map(|word| implied(word)).max();
            let availability = match timed.basic {
                Some(Basic::Closed) => Some(Availability::Offline),
                Some(Basic::Open) => Some(implied.unwrap_or(Availability::Available)),
                None => implied,
            };
            let note = timed.notes.iter().map(|note| note.text.as_str()).max().unwrap_or_default();
            coming.insert((from, timed.until, availability, words, note));
        }
        coming
            .into_iter()
            .take(MAX)
            .filter_map(|(from, until, availability, words, note)| {
                Some(Upcoming {
                    from: timestamp(from)?,
                    until: until.and_then(timestamp),
                    availability,
                    activities: words.into_iter().map(text).collect(),
                    note: text(note),
                })
            })
            .collect()
    }
}

fn devices(documents: &[Document]) -> Box<[Device]> {
    let idle_by_device: BTreeMap<&str, bool> = documents
        .iter()
        .flat_map(|document| &document.devices)
        .filter_map(|device| Some((device.device_id.as_deref()?, idle(&device.rich)?)))
        .collect();
    let mut devices: Vec<Device> = documents
        .iter()
        .flat_map(|document| &document.tuples)
        .filter(|tuple| !profile::is_bare(tuple))
        .map(|tuple| {
            let mut activities: Vec<Arc<str>> =
                tuple.rich.activities.list.iter().take(MAX).map(|one| text(one.name())).collect();
            activities.sort_unstable();
            Device {
                id: text(&tuple.id),
                contact: tuple
                    .contact
                    .as_ref()
                    .map(|contact| text(&contact.uri))
                    .filter(|uri| !uri.is_empty()),
                priority: tuple.contact.as_ref().and_then(|contact| contact.priority),
                open: tuple.basic.map(|basic| basic == Basic::Open),
                idle: idle(&tuple.rich)
                    .or_else(|| tuple.device_id.as_deref().and_then(|id| idle_by_device.get(id).copied())),
                activities: activities.into(),
                note: text(tuple.notes.iter().map(|note| note.text.as_str()).max().unwrap_or_default()),
                relationship: least(&tuple.rich.relationship),
                service_class: least(&tuple.rich.service_class),
                capabilities: tuple.capabilities.as_deref().map(|said| Box::new(capabilities(said))),
            }
        })
        .collect();
    devices.sort_unstable_by(|one, other| {
        let rank = |device: &Device| (device.open, device.priority);
        rank(other)
            .cmp(&rank(one))
            .then_with(|| (&one.id, &one.contact, &one.note).cmp(&(&other.id, &other.contact, &other.note)))
    });
    devices.dedup();
    devices.truncate(MAX);
    devices.into()
}

fn idle(rich: &Rich) -> Option<bool> {
    rich.user_input.as_ref().map(|input| input.state == UserInputState::Idle)
}

fn least(words: &Words) -> Option<Arc<str>> {
    words.list.iter().min().map(|word| text(word))
}

fn capabilities(said: &pidf::Capabilities) -> Capabilities {
    let sorted = |words: &[String]| -> Box<[Arc<str>]> {
        let words: BTreeSet<&str> = words.iter().map(String::as_str).collect();
        words.into_iter().take(4 * MAX).map(text).collect()
    };
    let has = |choice: &pidf::Choice, word: &str| {
        if choice.supported.iter().any(|known| known == word) {
            Some(true)
        } else {
            choice.not_supported.iter().any(|known| known == word).then_some(false)
        }
    };
    Capabilities {
        audio: said.audio,
        video: said.video,
        text: said.text,
        message: said.message,
        application: said.application,
        is_focus: said.is_focus,
        automata: said.automata,
        mobile: has(&said.mobility, "mobile"),
        methods: sorted(&said.methods.supported),
        not_methods: sorted(&said.methods.not_supported),
        languages: sorted(&said.languages.supported),
    }
}

/// What the services that are not closed can do together: something can be done where one of them can; it cannot only where
/// each of them says so.
fn together<'a>(tuples: impl Iterator<Item = &'a Tuple>) -> Option<Capabilities> {
    let open: Vec<Option<Capabilities>> = tuples
        .filter(|tuple| tuple.basic != Some(Basic::Closed))
        .map(|tuple| tuple.capabilities.as_deref().map(capabilities))
        .collect();
    let known: Vec<&Capabilities> = open.iter().flatten().collect();
    if known.is_empty() {
        return None;
    }
    let flag = |of: fn(&Capabilities) -> Option<bool>| {
        if known.iter().any(|said| of(said) == Some(true)) {
            Some(true)
        } else {
            open.iter().all(|said| said.as_ref().and_then(of) == Some(false)).then_some(false)
        }
    };
    let union = |of: fn(&Capabilities) -> &[Arc<str>]| -> Box<[Arc<str>]> {
        let all: BTreeSet<&Arc<str>> = known.iter().flat_map(|said| of(said)).collect();
        all.into_iter().cloned().collect()
    };
    // One that does not list its methods may take any.
    let silent = open.iter().any(|said| said.as_ref().is_none_or(|said| said.methods.is_empty()));
    let refused = |method: &Arc<str>| {
        open.iter().all(|said| said.as_ref().is_some_and(|said| said.not_methods.contains(method)))
    };
    Some(Capabilities {
        audio: flag(|said| said.audio),
        video: flag(|said| said.video),
        text: flag(|said| said.text),
        message: flag(|said| said.message),
        application: flag(|said| said.application),
        is_focus: flag(|said| said.is_focus),
        automata: flag(|said| said.automata),
        mobile: flag(|said| said.mobile),
        methods: if silent { Box::from([]) } else { union(|said| &said.methods) },
        not_methods: union(|said| &said.not_methods)
            .iter()
            .filter(|method| refused(method))
            .cloned()
            .collect(),
        languages: union(|said| &said.languages),
    })
}

/// Of each part of the card the latest, and what is said of the person before what is said of services.
fn card<'a>(persons: &[&'a Person], tuples: impl Iterator<Item = &'a Tuple>) -> Option<Card> {
    let said: Vec<(bool, Option<Moment>, &pidf::Card)> = persons
        .iter()
        .map(|person| (true, person.timestamp, &person.card))
        .chain(tuples.map(|tuple| (false, tuple.timestamp, &tuple.card)))
        .filter(|(.., card)| !card.is_empty())
        .collect();
    if said.is_empty() {
        return None;
    }
    let part = |of: fn(&pidf::Card) -> &Option<String>| {
        said.iter()
            .filter_map(|(person, at, card)| Some(((*person, *at), of(card).as_deref()?)))
            .max()
            .map(|(_, value)| text(value))
    };
    Some(Card {
        display_name: part(|card| &card.display_name),
        card: part(|card| &card.card),
        homepage: part(|card| &card.homepage),
        icon: part(|card| &card.icon),
        map: part(|card| &card.map),
        sound: part(|card| &card.sound),
    })
}

fn kept(words: &BTreeSet<&str>) -> Box<[Arc<str>]> {
    words.iter().take(MAX).map(|word| text(word)).collect()
}

pub(super) fn text(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(MAX_TEXT)].into()
}

pub(super) fn timestamp(at: Moment) -> Option<Timestamp> {
    u64::try_from(at.as_millis()).ok().map(Timestamp::from_millis)
}
