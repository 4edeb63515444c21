//! Who writes at the moment (RFC 3994): both ways without a store, and lost without harm.

use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use attache_documents::composing::Composing;

use crate::{
    address::Address,
    engine::{Engine, ledger::Ticket, outbox::Note},
    event::{EventKind, SessionState},
    message::Target,
    time::Timestamp,
};

/// Without a key so long, the person no longer writes (section 3.2).
const IDLE: Duration = Duration::from_secs(15);
/// How long what we say holds without being said again (section 3.3: 60 seconds at least, 120 where nothing is said).
pub(super) const REFRESH: Duration = Duration::from_secs(120);
/// It is said again before that.
const AGAIN: Duration = Duration::from_secs(90);
/// Longest time that somebody else's word holds.
const MAX_REFRESH: Duration = Duration::from_secs(600);

/// A person who writes to somebody.
#[derive(Debug)]
struct Writing {
    /// When they no longer write, unless there is another key.
    idle_at: Instant,
    /// When it has to be said again.
    again_at: Instant,
}

/// Who writes to whom.
#[derive(Debug, Default)]
pub(super) struct Composers {
    own: HashMap<Address, Writing>,
    others: BTreeSet<(Instant, Arc<str>)>,
    until: HashMap<Address, Instant>,
}

impl Engine {
    /// The command: the person writes to somebody, or no longer does.
    pub(super) fn set_composing(&mut self, ticket: Ticket, to: &Target, active: bool) {
        let people = match self.people(to) {
            Ok(people) => people,
            Err(error) => return self.ledger.answer(ticket.token, Err(error)),
        };
        self.accept(ticket);
        let signed_in = self.view.session == SessionState::SignedIn;
        for person in people {
            if active && signed_in && self.reads(&person).composing {
                self.writes_to(&person);
            } else if !active && self.composers.own.remove(&person).is_some() && signed_in {
                self.queue_note(&person, Note::Composing(false));
            }
        }
        self.complete(ticket.request, Ok(()));
    }

    fn writes_to(&mut self, person: &Address) {
        let now = self.now.instant;
        if let Some(writing) = self.composers.own.get_mut(person) {
            writing.idle_at = now + IDLE;
        } else if self.composers.own.len() < self.config.limits.composing {
            let writing = Writing { idle_at: now + IDLE, again_at: now + AGAIN };
            self.composers.own.insert(person.clone(), writing);
            self.queue_note(person, Note::Composing(true));
        }
    }

    /// A message goes to somebody: that it does says that the person no longer writes (section 3.2).
    pub(super) fn has_written_to(&mut self, person: &Address) {
        self.composers.own.remove(person);
    }

    /// Somebody says that they write, or no longer do.
    pub(super) fn on_composing(&mut self, who: &Address, said: &Composing) {
        self.learn(who, |reads| reads.composing = true);
        if !said.active {
            return self.no_longer_writes(who);
        }
        let limit = self.config.limits.composing;
        if !self.composers.until.contains_key(who) && self.composers.until.len() >= limit {
            return;
        }
        let refresh = said.refresh.map_or(REFRESH, |seconds| Duration::from_secs(seconds.into()));
        let refresh = refresh.min(MAX_REFRESH);
        let at = self.now.instant + refresh;
        if let Some(before) = self.composers.until.insert(who.clone(), at) {
            self.composers.others.remove(&(before, who.canonical().into()));
        }
        self.composers.others.insert((at, who.canonical().into()));
        let until = self.now.wall + refresh;
        self.view.composing.insert_mut(who.clone(), until);
        self.tell_composing(who, true, until);
    }

    /// Somebody no longer writes: they said so, or have written.
    pub(super) fn no_longer_writes(&mut self, who: &Address) {
        let Some(at) = self.composers.until.remove(who) else { return };
        self.composers.others.remove(&(at, who.canonical().into()));
        self.view.composing.remove_mut(who);
        self.tell_composing(who, false, self.now.wall);
    }

    fn tell_composing(&mut self, who: &Address, active: bool, until: Timestamp) {
        let conversation = self.open_conversation_with(who);
        let kind = EventKind::ComposingChanged { who: who.clone(), conversation, active, until };
        self.ledger.emit(self.now.wall, kind);
    }

    pub(super) fn composing_timeout(&self) -> Option<Instant> {
        let own = self.composers.own.values().map(|writing| writing.idle_at.min(writing.again_at)).min();
        own.into_iter().chain(self.composers.others.first().map(|(at, _)| *at)).min()
    }

    /// Lets those fall silent whose time is up, and says again what has to be.
    pub(super) fn composing_due(&mut self) {
        let now = self.now.instant;
        let mut due: Vec<Address> = self.composers.own.keys().cloned().collect();
        due.retain(|person| {
            self.composers.own.get(person).is_some_and(|writing| writing.idle_at.min(writing.again_at) <= now)
        });
        due.sort_unstable_by(|one, other| one.canonical().cmp(other.canonical()));
        for person in due {
            let Some(writing) = self.composers.own.get_mut(&person) else { continue };
            let active = writing.idle_at > now;
            writing.again_at = now + AGAIN;
            if !active {
                self.composers.own.remove(&person);
            }
            if self.view.session == SessionState::SignedIn {
                self.queue_note(&person, Note::Composing(active));
            }
        }
        while let Some((at, canonical)) = self.composers.others.first().cloned()
            && at <= now
        {
            self.composers.others.pop_first();
            if let Ok(who) = Address::parse(&canonical) {
                self.no_longer_writes(&who);
            }
        }
    }
}
