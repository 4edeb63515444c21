//! Numbers, addresses and the calendar, as presence documents tell them.

use std::{collections::BTreeSet, sync::Arc};

use attache_documents::{
    Moment,
    pidf::{Activity, Document, Rich, Tuple},
};

use super::details::{text, timestamp};
use crate::{
    address::Address,
    call::PhoneKind,
    profile::{Calendar, CalendarState, Phones, Profile},
    time::Timestamp,
};

/// RFC 4480 has no word for these states of a calendar.
pub(super) const TENTATIVE: &str = "tentative";
/// Likewise.
pub(super) const NOT_WORKING: &str = "not-working";
/// Most parts of documents that a calendar is made of.
const MAX_ENTRIES: usize = 64;

/// What the contact of a service names beside an address of presence.
enum Reached<'a> {
    Telephone(Address),
    Mailbox(&'a str),
}

fn reached(tuple: &Tuple) -> Option<Reached<'_>> {
    let uri = tuple.contact.as_ref()?.uri.trim();
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("tel") {
        return Address::parse(uri).ok().map(Reached::Telephone);
    }
    if scheme.eq_ignore_ascii_case("mailto") {
        let email = rest.split('?').next().unwrap_or_default();
        return (email.contains('@') && email.len() <= Address::MAX).then_some(Reached::Mailbox(email));
    }
    let phone = rest.to_ascii_lowercase().contains(";user=phone");
    (scheme.eq_ignore_ascii_case("sip") && phone)
        .then(|| Address::parse(uri).ok().map(Reached::Telephone))
        .flatten()
}

/// Kind of a telephone: by its class, else by the part of life that it belongs to, else by whether it moves about.
fn kind(tuple: &Tuple) -> Option<PhoneKind> {
    let named = |word: &str| match word.to_ascii_lowercase().as_str() {
        "home" => Some(PhoneKind::Home),
        "work" | "office" | "business" => Some(PhoneKind::Work),
        "mobile" | "cell" | "cellular" => Some(PhoneKind::Mobile),
        _ => None,
    };
    let mobile = || {
        let mobility = tuple.capabilities.as_deref().map(|said| &said.mobility)?;
        mobility.supported.iter().any(|word| word == "mobile").then_some(PhoneKind::Mobile)
    };
    tuple
        .rich
        .class
        .as_deref()
        .and_then(named)
        .or_else(|| tuple.rich.sphere.list.iter().find_map(|word| named(word)))
        .or_else(mobile)
}

/// Whether a service is only a number or an address, of which nothing else is said.
pub(super) fn is_bare(tuple: &Tuple) -> bool {
    tuple.basic.is_none() && tuple.capabilities.is_none() && reached(tuple).is_some()
}

/// Telephones and the e-mail address. Of several, the most wanted one.
pub(super) fn contacts<'a>(
    tuples: impl Iterator<Item = &'a Tuple>,
) -> (Option<Box<Phones>>, Option<Arc<str>>) {
    let mut phones: [Option<(u16, Address)>; 3] = Default::default();
    let mut email: Option<(u16, &str)> = None;
    for tuple in tuples {
        let rank = tuple.contact.as_ref().and_then(|contact| contact.priority).unwrap_or(0);
        match reached(tuple) {
            Some(Reached::Telephone(number)) => {
                let Some(kind) = kind(tuple) else { continue };
                let place = &mut phones[kind as usize];
                // Whatever the order of documents, the same one.
                let better = place.as_ref().is_none_or(|(known, address)| {
                    (rank, core::cmp::Reverse(number.canonical()))
                        > (*known, core::cmp::Reverse(address.canonical()))
                });
                if better {
                    *place = Some((rank, number));
                }
            }
            Some(Reached::Mailbox(found)) => {
                let better = email.is_none_or(|(known, text)| {
                    (rank, core::cmp::Reverse(found)) > (known, core::cmp::Reverse(text))
                });
                if better {
                    email = Some((rank, found));
                }
            }
            None => {}
        }
    }
    let [home, work, mobile] = phones.map(|found| found.map(|(_, number)| number));
    let phones = Phones { home, work, mobile };
    ((!phones.is_empty()).then(|| Box::new(phones)), email.map(|(_, email)| text(email)))
}

fn state(activity: &Activity) -> Option<CalendarState> {
    Some(match activity.name() {
        "appointment" | "meeting" | "presentation" | "performance" => CalendarState::Busy,
        "holiday" | "vacation" | "travel" | "permanent-absence" => CalendarState::OutOfOffice,
        TENTATIVE => CalendarState::Tentative,
        NOT_WORKING => CalendarState::NotWorking,
        _ => return None,
    })
}

fn most(rich: &Rich) -> Option<CalendarState> {
    rich.activities.list.iter().filter_map(state).max()
}

/// An entry of a calendar: what, from when, until when.
type Entry = (CalendarState, Option<Moment>, Option<Moment>);

/// The calendar at a time, of statements on the person and announcements. Nothing where neither says anything of it.
pub(super) fn calendar<'a>(
    documents: &'a [Document],
    persons: impl Iterator<Item = &'a Rich>,
    now: Moment,
) -> Option<Calendar> {
    let tuples = || documents.iter().flat_map(|document| &document.tuples);
    let said = persons.chain(tuples().map(|tuple| &tuple.rich));
    let stated = said.filter_map(|rich| {
        let valid = rich.activities.valid;
        Some((most(rich)?, valid.from, valid.until))
    });
    let announced = tuples().flat_map(|tuple| &tuple.timed).filter_map(|timed| {
        let from = timed.from?;
        Some((most(&timed.rich)?, Some(from), timed.until))
    });
    let entries: Vec<Entry> = stated.chain(announced).take(MAX_ENTRIES).collect();
    if entries.is_empty() {
        return None;
    }
    let at = |moment: Moment| {
        let holds = |(_, from, until): &&Entry| {
            from.is_none_or(|from| from <= moment) && until.is_none_or(|until| moment < until)
        };
        entries.iter().filter(holds).map(|(state, ..)| *state).max().unwrap_or(CalendarState::Free)
    };
    let current = at(now);
    let bounds: BTreeSet<Moment> = entries
        .iter()
        .flat_map(|(_, from, until)| [*from, *until])
        .flatten()
        .filter(|bound| *bound > now)
        .collect();
    let next = bounds.into_iter().map(|bound| (at(bound), bound)).find(|(state, _)| *state != current);
    let next = next.and_then(|(state, bound)| Some((state, timestamp(bound)?)));
    Some(Calendar { now: current, next })
}

/// The calendar that a document tells of.
pub(crate) fn calendar_of(document: &Document, now: Timestamp) -> Option<Calendar> {
    let now = Moment::from_millis(now.as_millis().cast_signed());
    let persons = document.persons.iter().map(|person| &person.rich);
    calendar(core::slice::from_ref(document), persons, now)
}

/// What somebody's presence says of who they are; `None` for nothing.
pub(crate) fn published(presence: &crate::presence::Presence) -> Option<Profile> {
    let details = presence.details.as_deref()?;
    let card = details.card.as_deref();
    let profile = Profile {
        display_name: card.and_then(|card| card.display_name.clone()).unwrap_or_else(|| Arc::from("")),
        phones: details.phones.as_deref().cloned().unwrap_or_default(),
        email: details.email.clone(),
        homepage: card.and_then(|card| card.homepage.clone()),
        icon: card.and_then(|card| card.icon.clone()),
    };
    (profile != Profile::default()).then_some(profile)
}
