//! What presence documents say, and how to say it.
//!
//! One pure function, [`compose`], makes a person's presence of everything that devices and services published about
//! it, and says why it is so. It gives the same answer whatever the order of documents and their parts. Its
//! counterpart is [`express`]: what it writes composes to what was meant, through any presence agent that passes the
//! elements of RFC 4480 on.

mod details;
mod own;
mod profile;

use core::fmt;
use std::{collections::BTreeSet, sync::Arc};

use attache_documents::{
    Moment,
    pidf::{Activity, Basic, Document, Note, Rich, UserInput, UserInputState, Valid},
};
use smallvec::SmallVec;

use crate::{
    presence::{Availability, Details},
    time::Timestamp,
};

use details::Collector;
pub use own::{OwnComposition, OwnFacts, compose_own, express, express_own, express_profile};
pub(crate) use profile::{calendar_of, published};

/// RFC 4480 has no word for "back in a moment": this one goes beside `away`, so that others still see the person away.
const BE_RIGHT_BACK: &str = "be-right-back";
/// Likewise, beside `busy`.
const DO_NOT_DISTURB: &str = "do-not-disturb";
/// Longest note, in bytes; longer ones of others are cut.
const MAX_NOTE: usize = 1_024;
/// Most activities that are kept.
const MAX_ACTIVITIES: usize = 16;

/// A person's presence, and why it is so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Composition {
    /// None when the documents say nothing about it.
    pub availability: Option<Availability>,
    /// The person's own words; empty when there are none.
    pub note: Arc<str>,
    /// Activities of RFC 4480, and the sender's own, sorted.
    pub activities: SmallVec<[Arc<str>; 1]>,
    /// When a part of the documents begins or ends to hold.
    pub next_change_at: Option<Timestamp>,
    /// Whatever else was said; `None` when nothing was.
    pub details: Option<Details>,
    /// What led to `availability`.
    pub reasons: Vec<Reason>,
}

/// One step that led to an availability.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The service answers for the person and holds no publication.
    NothingPublished,
    /// A service of the person is open.
    Open,
    /// Every service of the person that says something is closed.
    Closed,
    /// No service says open or closed, but the person states something: taken as open.
    StatementOnly,
    /// Neither a status nor a statement.
    NoStatement,
    /// An activity that makes the person less available.
    Activity(Arc<str>),
    /// No device is in use.
    Idle,
    /// This many statements on the person were passed over, because a later one exists.
    Outdated(usize),
    /// This many statements do not hold now.
    NotNow(usize),
    /// The person chose it, until then where a time is given.
    Chosen(Option<Timestamp>),
    /// What the person chose has run out.
    ChoiceOver,
    /// A fact of this source.
    Fact(Arc<str>),
    /// Neither a choice nor a fact makes the person less available.
    NothingElse,
    /// Nobody has touched the device since then.
    NotTouched(Timestamp),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingPublished => f.write_str("the service holds no presence of this person"),
            Self::Open => f.write_str("a device or service is open for communication"),
            Self::Closed => f.write_str("every device and service is closed"),
            Self::StatementOnly => f.write_str("the person states something, without saying open or closed"),
            Self::NoStatement => f.write_str("the document says neither open nor closed"),
            Self::Activity(word) => write!(f, "activity `{word}`"),
            Self::Idle => f.write_str("no device is in use"),
            Self::Outdated(count) => write!(f, "{count} older statements passed over"),
            Self::NotNow(count) => write!(f, "{count} statements that do not hold now"),
            Self::Chosen(None) => f.write_str("chosen by the person"),
            Self::Chosen(Some(until)) => write!(f, "chosen by the person, until {until}"),
            Self::ChoiceOver => f.write_str("what the person chose has run out"),
            Self::Fact(source) => write!(f, "`{source}` says so"),
            Self::NothingElse => f.write_str("nothing makes the person less available"),
            Self::NotTouched(since) => write!(f, "nobody has touched the device since {since}"),
        }
    }
}

/// Composes a person's presence of what was published about it.
///
/// No document at all, or documents without any statement because nothing is published, is [`Availability::Offline`]:
/// the service answers for the person, and says that nobody is there. A document that only fails to say open or closed
/// is no such word: then nothing is known.
///
/// In order of weight: all services closed; the least willing activity of the latest statements; whether a device is
/// in use. Statements with a later `timestamp` take the place of earlier ones on the person (RFC 4479, section 3.5);
/// those without one always count.
#[must_use]
pub fn compose(documents: &[Document], now: Timestamp) -> Composition {
    let mut facts = Facts {
        now: Moment::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)),
        ..Facts::default()
    };
    let mut details = Collector::new(facts.now);
    let mut current = Vec::new();
    let persons = || documents.iter().flat_map(|document| &document.persons);
    let latest = persons().filter_map(|person| person.timestamp).max();
    let mut outdated = 0;
    for person in persons() {
        if person.timestamp.is_some() && person.timestamp < latest {
            outdated += 1;
            continue;
        }
        facts.rich(&person.rich);
        details.rich(&person.rich, person.timestamp);
        current.push(person);
        facts.notes(3, person.timestamp, &person.notes);
        facts.notes(2, person.timestamp, &person.rich.activities.notes);
    }
    for document in documents {
        for tuple in &document.tuples {
            match tuple.basic {
                Some(Basic::Open) => facts.open = true,
                Some(Basic::Closed) => facts.closed = true,
                None => {}
            }
            // What a closed service says is no hint on what the person does at an open one.
            if tuple.basic != Some(Basic::Closed) {
                facts.rich(&tuple.rich);
                details.rich(&tuple.rich, tuple.timestamp);
            }
            facts.notes(1, tuple.timestamp, &tuple.notes);
        }
        for device in &document.devices {
            facts.rich(&device.rich);
            details.rich(&device.rich, device.timestamp);
        }
        facts.notes(0, None, &document.notes);
    }

    let mut reasons = Vec::new();
    let empty = documents.iter().all(|d| d.tuples.is_empty() && d.persons.is_empty() && d.devices.is_empty());
    let availability = if empty {
        reasons.push(Reason::NothingPublished);
        Some(Availability::Offline)
    } else if facts.closed && !facts.open {
        reasons.push(Reason::Closed);
        Some(Availability::Offline)
    } else if facts.open || !facts.activities.is_empty() || facts.active || facts.idle {
        reasons.push(if facts.open { Reason::Open } else { Reason::StatementOnly });
        Some(facts.willing(&mut reasons))
    } else {
        reasons.push(Reason::NoStatement);
        None
    };
    reasons.extend((outdated > 0).then_some(Reason::Outdated(outdated)));
    reasons.extend((facts.not_now > 0).then_some(Reason::NotNow(facts.not_now)));
    let (details, bounds) = details.finish(documents, &current);
    facts.next = bounds.into_iter().chain(facts.next).min();
    let note = facts.note.map_or("", |(_, _, _, text)| text);
    Composition {
        availability,
        note: note[..note.floor_char_boundary(MAX_NOTE)].into(),
        activities: facts
            .activities
            .iter()
            .filter(|word| !matches!(**word, BE_RIGHT_BACK | DO_NOT_DISTURB | "unknown"))
            .take(MAX_ACTIVITIES)
            .map(|word| Arc::from(*word))
            .collect(),
        next_change_at: facts
            .next
            .and_then(|at| u64::try_from(at.as_millis()).ok())
            .map(Timestamp::from_millis),
        details,
        reasons,
    }
}

/// Kind of place, timestamp, no language, words: what is chosen is the greatest.
type Candidate<'a> = (u8, Option<Moment>, bool, &'a str);

struct Facts<'a> {
    now: Moment,
    open: bool,
    closed: bool,
    active: bool,
    idle: bool,
    activities: BTreeSet<&'a str>,
    note: Option<Candidate<'a>>,
    next: Option<Moment>,
    not_now: usize,
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self {
            now: Moment::from_millis(0),
            open: false,
            closed: false,
            active: false,
            idle: false,
            activities: BTreeSet::new(),
            note: None,
            next: None,
            not_now: 0,
        }
    }
}

impl<'a> Facts<'a> {
    fn rich(&mut self, rich: &'a Rich) {
        if self.holds(rich.activities.valid) {
            self.activities
                .extend(rich.activities.list.iter().map(Activity::name).filter(|word| !word.is_empty()));
        } else {
            self.not_now += 1;
        }
        match rich.user_input {
            Some(UserInput { state: UserInputState::Active, .. }) => self.active = true,
            Some(UserInput { state: UserInputState::Idle, .. }) => self.idle = true,
            None => {}
        }
    }

    fn holds(&mut self, valid: Valid) -> bool {
        for bound in [valid.from, valid.until].into_iter().flatten().filter(|bound| *bound > self.now) {
            self.next = Some(self.next.map_or(bound, |known| known.min(bound)));
        }
        valid.from.is_none_or(|from| from <= self.now) && valid.until.is_none_or(|until| self.now < until)
    }

    fn notes(&mut self, rank: u8, at: Option<Moment>, notes: &'a [Note]) {
        let best = notes
            .iter()
            .filter(|note| !note.text.trim().is_empty())
            .map(|note| (rank, at, note.lang.is_none(), note.text.trim()))
            .max();
        self.note = self.note.max(best);
    }

    /// The least willing of what the activities say.
    fn willing(&self, reasons: &mut Vec<Reason>) -> Availability {
        let has = |word: &str| self.activities.contains(word);
        let soon_back = self.activities.iter().any(|word| is_soon_back(word));
        let mut result = Availability::Available;
        let mut because = None;
        for word in &self.activities {
            // Said beside `be-right-back` for those who do not know that word.
            if soon_back && *word == "away" {
                continue;
            }
            let Some(means) = implied(word) else { continue };
            if means > result {
                result = means;
                because = Some(*word);
            }
        }
        if let Some(word) = because {
            reasons.push(Reason::Activity(word.into()));
        }
        // Someone who speaks on the phone need not touch a keyboard.
        if self.idle && !self.active && !has("on-the-phone") {
            let idle = match result {
                Availability::Available => Availability::Idle,
                Availability::Busy => Availability::BusyIdle,
                other => return other,
            };
            reasons.push(Reason::Idle);
            return idle;
        }
        result
    }
}

fn is_soon_back(word: &str) -> bool {
    word.eq_ignore_ascii_case(BE_RIGHT_BACK)
        || word.eq_ignore_ascii_case("brb")
        || word.eq_ignore_ascii_case("be right back")
}

fn is_undisturbed(word: &str) -> bool {
    word.eq_ignore_ascii_case(DO_NOT_DISTURB)
        || word.eq_ignore_ascii_case("dnd")
        || word.eq_ignore_ascii_case("do not disturb")
}

/// What an activity alone makes of a person's availability; `None` where it says nothing about that.
pub(crate) fn implied(word: &str) -> Option<Availability> {
    match word {
        word if is_undisturbed(word) => Some(Availability::DoNotDisturb),
        word if is_soon_back(word) => Some(Availability::BeRightBack),
        "away" | "permanent-absence" | "vacation" | "holiday" | "sleeping" | "travel" | "in-transit"
        | "breakfast" | "lunch" | "dinner" | "meal" | "shopping" | "playing" | "spectator" | "tv" => {
            Some(Availability::Away)
        }
        "busy" | "on-the-phone" | "meeting" | "appointment" | "presentation" | "performance" | "steering"
        | "worship" => Some(Availability::Busy),
        _ => None,
    }
}
