//! The account's own presence: what the person chose, what the device knows, and what others know of the person.

use std::{collections::BTreeMap, sync::Arc};

use attache_documents::{
    Moment,
    pidf::{
        Activity, Basic, Contact, Document, Note, Person, Rich, TimedStatus, Tuple, UserInput,
        UserInputState, Valid,
    },
};
use smallvec::SmallVec;

use super::{BE_RIGHT_BACK, DO_NOT_DISTURB, Reason, implied};
use crate::{
    presence::{Availability, Fact, Upcoming},
    profile::Profile,
    time::Timestamp,
};

/// Most facts of the future that are announced.
const MAX_UPCOMING: usize = 8;
/// Whoever is, need not touch a keyboard.
const ON_THE_PHONE: &str = "on-the-phone";

/// Everything that own presence is made of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnFacts {
    /// What the person chose, and until when that holds.
    pub chosen: Option<(Availability, Option<Timestamp>)>,
    /// The person's own words; empty for none.
    pub note: Arc<str>,
    /// Since when nobody touches the device.
    pub idle_since: Option<Timestamp>,
    /// What others know, by source.
    pub facts: BTreeMap<Arc<str>, Fact>,
}

/// Own presence, and why it is so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnComposition {
    /// How willing.
    pub availability: Availability,
    /// Words; empty for none.
    pub note: Arc<str>,
    /// Activities of RFC 4480, sorted; none that would make others believe something else than `availability`.
    pub activities: SmallVec<[Arc<str>; 1]>,
    /// When this changes by itself.
    pub next_change_at: Option<Timestamp>,
    /// What comes, soonest first.
    pub upcoming: Vec<Upcoming>,
    /// Since when nobody touches the device, where that counts.
    pub idle_since: Option<Timestamp>,
    /// When the one fact that all this follows from ends to hold.
    pub until: Option<Timestamp>,
    /// What led to `availability`.
    pub reasons: Vec<Reason>,
}

/// Composes own presence.
///
/// A choice that holds decides. Without one, it is the least willing that a fact says or its activity implies,
/// available where nothing does; and idle where the device is not touched, unless the person is on the phone. The
/// person's own words go before those of facts.
#[must_use]
pub fn compose_own(facts: &OwnFacts, now: Timestamp) -> OwnComposition {
    let mut next: Option<Timestamp> = None;
    let mut expect = |at: Timestamp| {
        if at > now {
            next = Some(next.map_or(at, |known: Timestamp| known.min(at)));
        }
    };
    let mut reasons = Vec::new();
    let mut holding: Vec<(&Arc<str>, &Fact)> = Vec::new();
    let mut upcoming = Vec::new();
    for (source, fact) in &facts.facts {
        fact.from.into_iter().for_each(&mut expect);
        fact.until.into_iter().for_each(&mut expect);
        if fact.until.is_some_and(|until| until <= now) {
            continue;
        }
        match fact.from.filter(|from| *from > now) {
            None => holding.push((source, fact)),
            Some(from) => upcoming.push(Upcoming {
                from,
                until: fact.until,
                availability: fact.availability,
                activities: words(fact).collect(),
                note: fact.note.clone(),
            }),
        }
    }
    upcoming.sort_by_key(|coming| coming.from);
    upcoming.truncate(MAX_UPCOMING);

    let mut activities: Vec<Arc<str>> = holding.iter().flat_map(|(_, fact)| words(fact)).collect();
    activities.sort_unstable();
    activities.dedup();
    let on_the_phone = activities.iter().any(|word| **word == *ON_THE_PHONE);
    let chosen = facts.chosen.filter(|(_, until)| until.is_none_or(|until| now < until));
    let availability = if let Some((availability, until)) = chosen {
        until.into_iter().for_each(&mut expect);
        reasons.push(Reason::Chosen(until));
        availability
    } else {
        if facts.chosen.is_some() {
            reasons.push(Reason::ChoiceOver);
        }
        let mut result = Availability::Available;
        let mut because = None;
        for (source, fact) in &holding {
            let says = fact.availability.or_else(|| implied(&fact.activity));
            if let Some(says) = says.filter(|says| *says > result) {
                result = says;
                because = Some((*source).clone());
            }
        }
        reasons.push(because.map_or(Reason::NothingElse, Reason::Fact));
        result
    };
    let mut idle_since = facts.idle_since.filter(|_| chosen.is_none() && !on_the_phone);
    let availability = match (availability, idle_since) {
        (Availability::Available, Some(_)) => Availability::Idle,
        (Availability::Busy, Some(_)) => Availability::BusyIdle,
        (other, _) => {
            idle_since = None;
            other
        }
    };
    reasons.extend(idle_since.map(Reason::NotTouched));
    // What a watcher would make of them must not speak against what is meant.
    let idle = matches!(availability, Availability::Idle | Availability::BusyIdle);
    activities.retain(|word| {
        implied(word).is_none_or(|implied| implied <= availability) && !(idle && **word == *ON_THE_PHONE)
    });
    let note = if facts.note.is_empty() {
        holding.iter().map(|(_, fact)| &fact.note).find(|note| !note.is_empty()).unwrap_or(&facts.note)
    } else {
        &facts.note
    };
    // With several, or with a choice, it goes on in some way that only then is known.
    let until = match &holding[..] {
        [(_, fact)] if chosen.is_none() => fact.until,
        _ => None,
    };
    OwnComposition {
        availability,
        note: note.clone(),
        activities: activities.into(),
        next_change_at: next,
        upcoming,
        idle_since,
        until,
        reasons,
    }
}

fn words(fact: &Fact) -> impl Iterator<Item = Arc<str>> + use<> {
    (!fact.activity.is_empty()).then(|| fact.activity.clone()).into_iter()
}

/// What to publish. `instance` names this device among those of the person, and stays the same over restarts.
///
/// Everybody can read open and closed; those who know RFC 4480 see activities and use of the device; the words that
/// it lacks go beside the nearest that it has; what comes is announced as RFC 4481 has it.
#[must_use]
pub fn express_own(entity: &str, instance: &str, own: &OwnComposition, now: Timestamp) -> Document {
    let mut document = express(entity, instance, own.availability, &own.note, now);
    let Some(person) = document.persons.first_mut() else { return document };
    for word in &own.activities {
        let activity = Activity::from_name(word);
        if !person.rich.activities.list.contains(&activity) {
            person.rich.activities.list.push(activity);
        }
    }
    person.rich.activities.valid.until = own.until.map(moment);
    if let Some(input) = &mut person.rich.user_input {
        input.last_input = own.idle_since.map(moment);
    }
    let Some(tuple) = document.tuples.first_mut() else { return document };
    tuple.timed = own
        .upcoming
        .iter()
        .map(|coming| {
            let availability = coming
                .availability
                .or_else(|| coming.activities.iter().filter_map(|word| implied(word)).max());
            let (basic, mut rich) = said(availability.unwrap_or(Availability::Available));
            rich.user_input = None;
            for word in &coming.activities {
                let activity = Activity::from_name(word);
                if !rich.activities.list.contains(&activity) {
                    rich.activities.list.push(activity);
                }
            }
            TimedStatus {
                from: Some(moment(coming.from)),
                until: coming.until.map(moment),
                basic: Some(basic),
                rich,
                notes: note(&coming.note),
            }
        })
        .collect();
    document
}

/// Puts who the person is into what is published: the name, the page and the picture where RFC 4482 has them, numbers and the
/// e-mail address as services of their own (RFC 4479, section 3.2) that say neither open nor closed, with the kind of number
/// as their class (RFC 4480, section 3.3).
pub fn express_profile(document: &mut Document, instance: &str, profile: &Profile) {
    if let Some(person) = document.persons.first_mut() {
        let name = &profile.display_name;
        person.card.display_name = (!name.is_empty()).then(|| name.to_string());
        person.card.homepage = profile.homepage.as_ref().map(ToString::to_string);
        person.card.icon = profile.icon.as_ref().map(ToString::to_string);
    }
    let numbers = profile.phones.iter().map(|(kind, number)| (kind.name(), number.as_str().to_owned()));
    let email = profile.email.iter().map(|email| ("email", format!("mailto:{email}")));
    let timestamp = document.tuples.first().and_then(|tuple| tuple.timestamp);
    document.tuples.extend(numbers.chain(email).map(|(name, uri)| Tuple {
        id: format!("{name}-{instance}"),
        contact: Some(Contact { uri, priority: None }),
        rich: Rich { class: (name != "email").then(|| name.to_owned()), ..Rich::default() },
        timestamp,
        ..Tuple::default()
    }));
}

/// What to publish for an availability and words alone; see [`express_own`].
#[must_use]
pub fn express(
    entity: &str,
    instance: &str,
    availability: Availability,
    words: &str,
    now: Timestamp,
) -> Document {
    let at = moment(now);
    let (basic, rich) = said(availability);
    let notes = note(words);
    Document {
        entity: entity.to_owned(),
        tuples: vec![Tuple {
            id: format!("t-{instance}"),
            basic: Some(basic),
            contact: Some(Contact { uri: entity.to_owned(), priority: None }),
            // Simple watchers read notes here only.
            notes: notes.clone(),
            timestamp: Some(at),
            ..Tuple::default()
        }],
        persons: vec![Person {
            id: format!("p-{instance}"),
            rich,
            notes,
            timestamp: Some(at),
            ..Person::default()
        }],
        ..Document::default()
    }
}

fn said(availability: Availability) -> (Basic, Rich) {
    let (basic, activities): (_, &[Activity]) = match availability {
        Availability::Available | Availability::Idle => (Basic::Open, &[]),
        Availability::Busy | Availability::BusyIdle => (Basic::Open, &[Activity::Busy]),
        Availability::BeRightBack | Availability::Away => (Basic::Open, &[Activity::Away]),
        Availability::DoNotDisturb => (Basic::Open, &[Activity::Busy]),
        Availability::Offline => (Basic::Closed, &[]),
    };
    let mut rich = Rich::default();
    rich.activities.list = activities.to_vec();
    rich.activities.valid = Valid::default();
    match availability {
        Availability::BeRightBack => rich.activities.list.push(Activity::Other(BE_RIGHT_BACK.to_owned())),
        Availability::DoNotDisturb => rich.activities.list.push(Activity::Other(DO_NOT_DISTURB.to_owned())),
        _ => {}
    }
    let input = match availability {
        Availability::Idle | Availability::BusyIdle => Some(UserInputState::Idle),
        Availability::Available | Availability::Busy => Some(UserInputState::Active),
        _ => None,
    };
    rich.user_input = input.map(|state| UserInput { state, idle_threshold: None, last_input: None });
    (basic, rich)
}

fn note(words: &str) -> Vec<Note> {
    (!words.is_empty()).then(|| Note::new(words)).into_iter().collect()
}

fn moment(at: Timestamp) -> Moment {
    Moment::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}
