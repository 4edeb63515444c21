//! Presence of people: contacts, and whoever an application looks at for a while.
//!
//! A value is live while a subscription says so, stale from the last sign of life of a service that fell silent, and
//! unknown or denied for a reason. Nothing here makes anybody offline: only the service's word does.

mod people;
mod shown;
mod wanted;

use core::time::Duration;
use std::{sync::Arc, time::Instant};

use attache_documents::{Limits, pidf, pidf_diff};
use attache_sip::{
    agent::{Cause, NotifyBody, SubscriptionId, Terms},
    usage::SubscriptionState,
};
use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    address::Address,
    compose::{Reason, compose},
    engine::{
        Engine, calls, partial,
        watch::{Hands, News, Told, list::Part},
    },
    event::SessionState,
    id::ContactId,
    presence::{Availability, Freshness, Presence, UnknownReason},
    time::Timestamp,
};
pub(super) use people::Presences;
use people::{Content, Kept, Person};

/// Most notifiers of one person whose documents are merged.
const MAX_FORKS: usize = 8;
/// When the service gave the documents that a value is made of.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Word {
    /// Just now, and it will tell changes.
    Now,
    /// Just now, and it will not.
    Once,
    /// Before: it is time alone that changes the value.
    Before,
}

impl Engine {
    // ---- what the service says ----

    pub(super) fn on_subscription(
        &mut self,
        id: SubscriptionId,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
        terms: &Terms,
    ) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        for told in self.watch.read(&mut hands, id, state, notify, terms) {
            self.on_news(told);
        }
        if self.watch.take_tag_changed() {
            self.keep_summary(true);
        }
    }

    /// One of several notifiers of a person is gone, and its document with it.
    pub(super) fn on_fork_ended(&mut self, id: SubscriptionId, fork: u32) {
        let Some(address) = self.watch.person(id).cloned() else { return };
        let Some(person) = self.presences.people.get_mut(&address) else { return };
        let before = person.documents.len();
        person.documents.retain(|known| known.source != fork);
        if person.documents.len() == before {
            return;
        }
        if person.documents.is_empty() {
            // What the others say without a document is asked for: it may be that they hold nothing, or may not tell.
            self.on_news((address.clone(), News::Listed));
            return self.ask_again(&address);
        }
        self.compose_person(&address, Word::Before);
    }

    /// A notifier holds nothing. Of several, it does not speak for the others.
    fn on_empty(&mut self, address: &Address, fork: Option<u32>, settled: bool) {
        let Some(person) = self.presences.people.get_mut(address) else { return };
        let before = person.documents.len();
        match fork {
            Some(fork) if person.vouched => person.documents.retain(|known| known.source != fork),
            _ => person.documents.clear(),
        }
        if !person.documents.is_empty() {
            if person.documents.len() != before {
                self.compose_person(address, Word::Now);
            }
            return;
        }
        self.presences.drop_documents(address);
        self.presence_changed(address);
        if settled {
            self.compose_person(address, Word::Now);
        } else {
            self.on_news((address.clone(), News::Listed));
        }
    }

    fn on_news(&mut self, (address, news): Told) {
        let word = match news {
            News::Restart | News::Dialogs(_) => None,
            _ => self.restored_word(&address),
        };
        let Some(person) = self.presences.people.get(&address) else { return };
        match news {
            News::Documents { parts, sources, live } => self.on_documents(&address, parts, &sources, live),
            News::Dialogs(document) => self.on_dialogs(&address, document.as_deref()),
            // What is there still is what could not be read.
            News::Unchanged if person.asked => {}
            News::Unchanged => {
                if let Some(word) = word.filter(|_| person.documents.is_empty()) {
                    return self.show(&address, word);
                }
                if !person.documents.is_empty() && person.is_whole() {
                    if let Some(person) = self.presences.people.get_mut(&address) {
                        person.vouched = true;
                    }
                    self.compose_person(&address, Word::Now);
                } else if matches!(person.shown.freshness, Freshness::Stale(_)) {
                    let presence = Presence { freshness: Freshness::Live, ..Presence::clone(&person.shown) };
                    if let Some(person) = self.presences.people.get_mut(&address) {
                        person.vouched = !person.documents.is_empty();
                    }
                    self.show(&address, presence);
                }
            }
            News::Empty { fork, settled } => self.on_empty(&address, fork, settled),
            News::Pending => {
                self.presences.drop_documents(&address);
                self.show(&address, Presence::unknown(UnknownReason::Pending));
                self.presence_changed(&address);
            }
            News::Listed => {
                let shown = person.shown.clone();
                self.presences.unvouch(&address);
                match (&shown.freshness, shown.availability) {
                    (Freshness::Stale(_), Some(_)) => {}
                    // The service vouches no longer for what it said.
                    (Freshness::Live, Some(_)) => self.show_stale(&address, &shown),
                    _ => self.show(&address, Presence::unknown(UnknownReason::Pending)),
                }
            }
            News::Restart => self.presences.begin_anew(&address),
            News::Away(cause) => {
                // What comes next is a new beginning: documents of notifiers that are gone must not be merged into it.
                let shown = person.shown.clone();
                self.presences.begin_anew(&address);
                match (&shown.freshness, shown.availability) {
                    (Freshness::Live, Some(_)) => self.show_stale(&address, &shown),
                    (Freshness::Stale(_), Some(_)) => {}
                    _ if cause.is_outage() => {
                        self.show(&address, Presence::unknown(UnknownReason::ServiceUnavailable));
                    }
                    _ => {
                        let why = UnknownReason::Other(cause.to_string().into());
                        self.show(&address, Presence::unknown(why));
                    }
                }
            }
            News::Ended(cause) => {
                // Nor must time make anything of documents that nobody vouches for any more.
                self.presences.drop_documents(&address);
                if let Some(presence) = ended(&cause) {
                    self.show(&address, presence);
                }
                self.presence_changed(&address);
            }
        }
    }

    fn on_documents(&mut self, address: &Address, parts: SmallVec<[Part; 1]>, sources: &[u32], live: bool) {
        let Some(person) = self.presences.people.get_mut(address) else { return };
        let mut changed = person.shown.freshness != Freshness::Live || !live;
        let (mut lost, mut unreadable) = (false, None);
        if !person.vouched {
            if parts.is_empty() {
                return self.on_news((address.clone(), News::Listed));
            }
            person.documents.clear();
            person.vouched = true;
            changed = true;
        }
        if !sources.is_empty() {
            let before = person.documents.len();
            person.documents.retain(|kept| sources.contains(&kept.source));
            changed |= person.documents.len() != before;
        }
        let merged = person.calls.is_some();
        for part in parts {
            let place = person.documents.iter().position(|kept| kept.source == part.source);
            let place = match place {
                Some(place) => place,
                None => {
                    if person.documents.len() == MAX_FORKS {
                        person.documents.remove(0);
                    }
                    let (source, content) = (part.source, Content::Nothing);
                    person.documents.push(Kept { source, content, versions: None });
                    person.documents.len() - 1
                }
            };
            let several = merged || person.documents.len() > 1;
            let kept = &mut person.documents[place];
            let body = if *part.media_type == *pidf_diff::MEDIA_TYPE {
                let known = kept.content.whole().cloned().unwrap_or_default();
                match partial::take(kept.versions.get_or_insert_default(), &known, &part.body) {
                    partial::Outcome::Whole(body) => {
                        person.asked = false;
                        body
                    }
                    partial::Outcome::Old => continue,
                    partial::Outcome::Ask => {
                        lost = true;
                        continue;
                    }
                    // What it would have changed is unknown, and so the next changes are.
                    partial::Outcome::Unreadable(error) => {
                        kept.versions = None;
                        unreadable = Some(error);
                        lost = true;
                        continue;
                    }
                }
            } else {
                kept.versions = None;
                person.asked = false;
                part.body
            };
            // The usual refresh brings nothing new to read.
            if changed || !kept.content.is(&body) || (several && kept.content.whole().is_none()) {
                kept.content = Content::Whole(Bytes::copy_from_slice(&body));
                changed = true;
            }
        }
        person.documents.retain(|kept| !matches!(kept.content, Content::Nothing));
        // To be merged with another one, a document is needed that is not kept: what is shown stands until it comes.
        let wanting = changed && !person.documents.is_empty() && !person.is_whole();
        let ask = wanting || (lost && !person.asked);
        person.asked |= lost;
        if let Some(error) = &unreadable {
            self.diagnose(format!("changes to the presence document of {address} cannot be read: {error}"));
        }
        if ask {
            self.ask_again(address);
        } else if let Some(error) = unreadable {
            return self.show_unreadable(address, error);
        }
        let Some(person) = self.presences.people.get_mut(address) else { return };
        if person.documents.is_empty() {
            return self.on_news((address.clone(), News::Listed));
        }
        if changed && !wanting && !person.asked {
            self.presence_changed(address);
            self.compose_person(address, if live { Word::Now } else { Word::Once });
        }
    }

    /// A person's dialogs changed, or are not told any more.
    fn on_dialogs(&mut self, address: &Address, document: Option<&[u8]>) {
        let Some(person) = self.presences.people.get_mut(address) else { return };
        let changed = match document {
            Some(document) => match person.calls.get_or_insert_default().take(document) {
                Ok(calls::Outcome::Changed) => true,
                Ok(calls::Outcome::Same) => false,
                Ok(calls::Outcome::Ask) => return self.ask_calls(address),
                Err(error) => {
                    return self.diagnose(format!("the dialogs of {address} cannot be read: {error}"));
                }
            },
            None => person.calls.take().is_some_and(|calls| calls.is_talking()),
        };
        // Where no document is, dialogs alone make nobody anything.
        let person = self.presences.people.get(address);
        let Some(person) = person.filter(|person| changed && !person.documents.is_empty()) else { return };
        if person.is_whole() {
            self.compose_person(address, Word::Before);
        } else {
            // The document that it goes with is not kept: it comes again, and is composed then.
            self.ask_again(address);
        }
    }

    fn ask_calls(&mut self, address: &Address) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.calls_again(&mut hands, address);
    }

    /// Makes a person's presence of what the service holds.
    fn compose_person(&mut self, address: &Address, word: Word) {
        let Some(person) = self.presences.people.get(address) else { return };
        let before = person.shown.clone();
        let known_errors = person.forgiven;
        if !person.is_whole() {
            return;
        }
        // Time may go on with what was known of somebody, but makes nothing known of whom nothing is.
        if !person.vouched && !matches!(before.freshness, Freshness::Stale(_)) && word == Word::Before {
            return;
        }
        let bodies = person.documents.clone();
        let mut documents = Vec::with_capacity(bodies.len());
        let mut unreadable = None;
        let mut forgiven = None;
        for body in bodies.iter().filter_map(|kept| kept.content.whole()) {
            match pidf::read(body, &Limits::DEFAULT) {
                Ok(parsed) => {
                    forgiven = forgiven.or(parsed.forgiven.first().copied());
                    documents.push(parsed.document);
                }
                Err(error) => {
                    self.diagnose(format!("the presence document of {address} cannot be read: {error}"));
                    unreadable = Some(error.to_string());
                }
            }
        }
        if let Some(first) = forgiven.filter(|_| !known_errors) {
            self.diagnose(format!("in the presence document of {address}, {first}"));
            if let Some(person) = self.presences.people.get_mut(address) {
                person.forgiven = true;
            }
        }
        if documents.is_empty()
            && let Some(error) = unreadable
        {
            return self.show_unreadable(address, error);
        }
        let calls = self.presences.people.get(address).and_then(|person| person.calls.as_ref());
        documents.extend(calls.and_then(|calls| calls.statement()).filter(|_| !documents.is_empty()));
        let composed = compose(&documents, self.now.wall);
        self.presences.expect_change(address, composed.next_change_at);
        if composed.availability == Some(Availability::Offline) && self.is_settling(&before) {
            self.presences.unsettled.insert(address.clone());
            return;
        }
        self.presences.unsettled.remove(address);
        let freshness = match (word, &before.freshness) {
            (Word::Now, _) => Freshness::Live,
            (Word::Once, _) => Freshness::Stale(self.now.wall),
            // Time may change what a document says, but not how sure we are that it still stands.
            (Word::Before, Freshness::Live | Freshness::Stale(_)) => before.freshness.clone(),
            (Word::Before, _) if self.view.session == SessionState::SignedIn => Freshness::Live,
            (Word::Before, _) => Freshness::Stale(self.session.alive_at),
        };
        let activities = composed.activities.into_iter().map(|word| self.presences.word(word)).collect();
        let presence = match composed.availability {
            Some(availability) => {
                let same = before.availability == Some(availability) && before.note == composed.note;
                Presence {
                    availability: Some(availability),
                    freshness,
                    note: if before.note == composed.note { before.note.clone() } else { composed.note },
                    activities,
                    since: before.since.filter(|_| same).or(Some(self.now.wall)),
                    next_change_at: composed.next_change_at,
                    details: composed.details.map(Arc::new),
                }
            }
            None => {
                let why = composed.reasons.first().map_or_else(String::new, ToString::to_string);
                Presence {
                    note: composed.note,
                    since: Some(self.now.wall),
                    details: composed.details.map(Arc::new),
                    ..Presence::unknown(UnknownReason::Other(why.into()))
                }
            }
        };
        self.show(address, presence);
        if let Some(person) = self.presences.people.get_mut(address) {
            person.reasons = if person.is_settled() { composed.reasons.into() } else { Box::from([]) };
        }
        if !self.keeping.needs(address) {
            self.presences.slim(address);
        }
    }

    /// Whether somebody who was there before an outage may still be about to publish again.
    fn is_settling(&self, before: &Presence) -> bool {
        self.presences.settling.is_some_and(|until| self.now.instant < until)
            // What an earlier run of the program knew says nothing of what the service lost since.
            && matches!(before.freshness, Freshness::Stale(since) if since >= self.session.begun_at)
            && before.availability.is_some_and(|availability| availability != Availability::Offline)
    }

    // ---- time ----

    /// When a document's statement begins or ends to hold, or an outage is over for good.
    pub(super) fn presence_timeout(&self) -> Option<Instant> {
        let settled = self.presences.settling.filter(|_| !self.presences.unsettled.is_empty());
        let change = self.presences.changes.first().map(|(at, _)| self.instant_of(*at));
        [settled, change, self.watch.deadline()].into_iter().flatten().min()
    }

    /// When a time of the wall clock is reached. That may step: looks again at least every hour.
    pub(super) fn instant_of(&self, at: Timestamp) -> Instant {
        let wait = at.as_millis().saturating_sub(self.now.wall.as_millis());
        self.now.instant + Duration::from_millis(wait).min(Duration::from_secs(3600))
    }

    /// Believes the service what it still says of those who did not publish again.
    fn settle_presence(&mut self) {
        if self.presences.settling.is_some_and(|until| until <= self.now.instant) {
            self.presences.settling = None;
            for address in core::mem::take(&mut self.presences.unsettled) {
                self.compose_person(&address, Word::Now);
            }
        }
    }

    /// Does what time asks for: composes again what it has changed.
    pub(super) fn recompose(&mut self) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.due(&mut hands, self.view.session != SessionState::SignedIn);
        self.settle_presence();
        while let Some((at, address)) = self.presences.changes.first().cloned()
            && at <= self.now.wall
        {
            self.presences.expect_change(&address, None);
            if self.presences.people.get(&address).is_some_and(|person| !person.documents.is_empty()) {
                self.compose_person(&address, Word::Before);
            }
        }
    }

    /// Why a contact's presence is what it is: see [`Engine::why`].
    pub(super) fn reasons(&self, contact: ContactId) -> Vec<Reason> {
        let person = self
            .view
            .contacts
            .get(&contact)
            .and_then(|entry| self.presences.people.get(&entry.contact.address));
        let Some(person) = person.filter(|person| !person.documents.is_empty()) else { return Vec::new() };
        if !person.is_whole() {
            return person.reasons.to_vec();
        }
        let mut documents: Vec<_> = person
            .documents
            .iter()
            .filter_map(|kept| pidf::read(kept.content.whole()?, &Limits::DEFAULT).ok())
            .map(|read| read.document)
            .collect();
        documents.extend(person.calls.as_ref().and_then(|calls| calls.statement()));
        compose(&documents, self.now.wall).reasons
    }
}

/// What the end of a subscription says of a person; `None` where what is shown still holds.
fn ended(cause: &Cause) -> Option<Presence> {
    let denied = || Presence { freshness: Freshness::Denied, ..Presence::unknown(UnknownReason::Pending) };
    match cause {
        Cause::Closed => None,
        Cause::Ended { reason } => match reason.as_str() {
            "rejected" => Some(denied()),
            "noresource" => Some(Presence::unknown(UnknownReason::NotFound)),
            // RFC 6665, section 4.1.3: the state will not change any more.
            "invariant" => None,
            _ => Some(Presence::unknown(UnknownReason::Other(cause.to_string().into()))),
        },
        Cause::Status { code: 403 | 603, .. } => Some(denied()),
        Cause::Status { code: 404 | 410 | 604, .. } => Some(Presence::unknown(UnknownReason::NotFound)),
        Cause::Status { code: 405 | 489 | 501, .. } => Some(Presence::unknown(UnknownReason::Other(
            "the service offers no presence of this person".into(),
        ))),
        cause if cause.is_outage() => Some(Presence::unknown(UnknownReason::ServiceUnavailable)),
        cause => Some(Presence::unknown(UnknownReason::Other(cause.to_string().into()))),
    }
}
