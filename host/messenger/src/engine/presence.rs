//! Presence of contacts and of oneself.
//!
//! A value is live while a subscription says so, stale from the last sign of life of a service that fell silent, and
//! unknown or denied for a reason. Nothing here makes anybody offline: only the service's word does.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use attache_documents::{Limits, pidf};
use attache_sip::{
    agent::{Cause, NotifyBody, PublicationId, SubscriptionId},
    usage::{PublicationState, PublishParams, SubscriptionState},
};
use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    code::Code,
    command::Accepted,
    compose::{Reason, compose, express},
    engine::{
        Engine,
        ledger::{Effect, Sealed, Ticket},
        watch::{News, Strategy as _},
    },
    error::{Error, Retry},
    event::{Contact, EventKind, PresenceChange, SessionState},
    id::{ContactId, RequestId},
    presence::{Availability, Freshness, Presence, UnknownReason},
    snapshot::ContactEntry,
    time::Timestamp,
};

/// Longest note of one's own, in bytes.
const MAX_NOTE: usize = 1_024;
/// After an outage, "nothing published" is believed only when it has held for so long: a service that restarted may have
/// lost what people published, and they publish again as soon as they notice.
const SETTLE: Duration = Duration::from_secs(90);
/// Most notifiers of one person whose documents are merged.
const MAX_FORKS: usize = 8;

/// What the contacts' presence rests on.
#[derive(Debug, Default)]
pub(super) struct Presences {
    /// The latest document of each notifier. A copy of its own: a slice would keep the whole notification alive.
    documents: HashMap<ContactId, SmallVec<[(u32, Bytes); 1]>>,
    /// What was shown when the last batch of changes was told.
    dirty: BTreeMap<ContactId, Arc<Presence>>,
    /// When documents say that something begins or ends to hold.
    changes: BTreeSet<(Timestamp, ContactId)>,
    /// The same, by contact.
    next_change: HashMap<ContactId, Timestamp>,
    /// Until when the service is taken to be filled again after an outage.
    settling: Option<Instant>,
    /// Who would have become offline in that time, and stays stale until its end.
    unsettled: BTreeSet<ContactId>,
    /// Whose documents were forgiven something and that was told: most senders err the same way every time.
    forgiven: HashSet<ContactId>,
}

impl Presences {
    fn forget(&mut self, contact: ContactId) {
        self.documents.remove(&contact);
        self.dirty.remove(&contact);
        self.forgiven.remove(&contact);
        self.unsettled.remove(&contact);
        self.expect_change(contact, None);
    }

    /// Nobody vouches for the documents any more.
    fn drop_documents(&mut self, contact: ContactId) {
        self.documents.remove(&contact);
        self.unsettled.remove(&contact);
        self.expect_change(contact, None);
    }

    fn expect_change(&mut self, contact: ContactId, at: Option<Timestamp>) {
        if let Some(before) = self.next_change.remove(&contact) {
            self.changes.remove(&(before, contact));
        }
        if let Some(at) = at {
            self.next_change.insert(contact, at);
            self.changes.insert((at, contact));
        }
    }
}

/// When the service gave the documents that a value is made of.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Word {
    /// Just now.
    Now,
    /// Before: it is time alone that changes the value.
    Before,
}

/// Own presence.
#[derive(Debug)]
pub(super) struct Own {
    /// Names this device among those of the person.
    pub(super) instance: String,
    pub(super) publication: Option<PublicationId>,
    /// Commands that wait for the service's word.
    pub(super) waiting: Vec<RequestId>,
}

impl Engine {
    // ---- contacts ----

    pub(super) fn watch_contact(&mut self, contact: &Contact) {
        if self.view.session == SessionState::SignedIn {
            self.watch.watch(&mut self.agent, self.now.instant, contact.id, &contact.address);
        }
    }

    pub(super) fn unwatch_contact(&mut self, id: ContactId) {
        self.watch.forget(&mut self.agent, self.now.instant, id);
        self.presences.forget(id);
    }

    /// Signed in: everybody is watched anew. A service that was away may have lost every subscription without knowing,
    /// so those that were in force are given up.
    pub(super) fn watch_everybody(&mut self) {
        let now = self.now.instant;
        self.presences.settling = Some(now + SETTLE);
        let contacts: Vec<Arc<Contact>> =
            self.view.contacts.values().map(|entry| entry.contact.clone()).collect();
        for contact in contacts {
            // What comes next is a new beginning, by notifiers that are numbered anew.
            self.presences.drop_documents(contact.id);
            self.watch.renew(&mut self.agent, now, contact.id, &contact.address);
        }
        self.reconsider(|presence, _| match &presence.freshness {
            Freshness::Unknown(UnknownReason::SignedOut | UnknownReason::ServiceUnavailable) => {
                Some(Presence::unknown(UnknownReason::Pending))
            }
            _ => None,
        });
    }

    /// The service fell silent: what was live may have changed since.
    pub(super) fn presence_stale(&mut self, since: Timestamp) {
        self.presences.unsettled.clear();
        self.reconsider(|presence, _| match &presence.freshness {
            Freshness::Live => Some(Presence { freshness: Freshness::Stale(since), ..presence.clone() }),
            Freshness::Unknown(UnknownReason::Pending) => {
                Some(Presence::unknown(UnknownReason::ServiceUnavailable))
            }
            _ => None,
        });
        if self.view.own.freshness == Freshness::Live {
            self.show_own(Freshness::Stale(since));
        }
    }

    /// Signed out: nothing is known of anybody.
    pub(super) fn presence_signed_out(&mut self) {
        self.presences.documents.clear();
        self.presences.changes.clear();
        self.presences.next_change.clear();
        self.presences.unsettled.clear();
        self.reconsider(|presence, _| {
            let unknown = Presence::unknown(UnknownReason::SignedOut);
            (*presence != unknown).then_some(unknown)
        });
        self.show_own(Freshness::Unknown(UnknownReason::SignedOut));
    }

    pub(super) fn on_subscription(
        &mut self,
        id: SubscriptionId,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
    ) {
        let Some((contact, news)) = self.watch.read(id, state, notify) else { return };
        match news {
            News::Document(body) => self.on_document(contact, &body),
            News::Empty => {
                // Of several notifiers, one that holds nothing does not speak for the others.
                if self.presences.documents.get(&contact).is_none_or(|documents| documents.len() < 2) {
                    self.presences.documents.remove(&contact);
                    self.compose_contact(contact, Word::Now);
                }
            }
            News::Pending => {
                self.presences.drop_documents(contact);
                self.show(contact, Presence::unknown(UnknownReason::Pending));
            }
            News::Away(cause) => {
                // What comes next is a new beginning: documents of notifiers that are gone must not be merged into it.
                self.presences.drop_documents(contact);
                let alive = self.session.alive_at;
                let Some(entry) = self.view.contacts.get(&contact) else { return };
                let presence = match (&entry.presence.freshness, entry.presence.availability) {
                    (Freshness::Live, Some(_)) => {
                        Presence { freshness: Freshness::Stale(alive), ..Presence::clone(&entry.presence) }
                    }
                    (Freshness::Stale(_), Some(_)) => return,
                    _ if cause.is_outage() => Presence::unknown(UnknownReason::ServiceUnavailable),
                    _ => Presence::unknown(UnknownReason::Other(cause.to_string().into())),
                };
                self.show(contact, presence);
            }
            News::Ended(cause) => {
                // Nor must time make anything of documents that nobody vouches for any more.
                self.presences.drop_documents(contact);
                if let Some(presence) = ended(&cause) {
                    self.show(contact, presence);
                }
            }
        }
    }

    /// One of several notifiers of a person is gone, and its document with it.
    pub(super) fn on_fork_ended(&mut self, id: SubscriptionId, fork: u32) {
        let Some(contact) = self.watch.contact(id) else { return };
        let Some(documents) = self.presences.documents.get_mut(&contact) else { return };
        let before = documents.len();
        documents.retain(|(known, _)| *known != fork);
        if documents.len() != before {
            self.compose_contact(contact, Word::Before);
        }
    }

    fn on_document(&mut self, contact: ContactId, body: &NotifyBody) {
        let documents = self.presences.documents.entry(contact).or_default();
        let place = documents.iter().position(|(fork, _)| *fork == body.fork);
        let live =
            self.view.contacts.get(&contact).is_some_and(|entry| entry.presence.freshness == Freshness::Live);
        match place {
            // The usual refresh: nothing new to read.
            Some(place) if documents[place].1 == body.body && live => return,
            Some(place) => documents[place].1 = Bytes::copy_from_slice(&body.body),
            None => {
                if documents.len() == MAX_FORKS {
                    documents.remove(0);
                }
                documents.push((body.fork, Bytes::copy_from_slice(&body.body)));
            }
        }
        self.compose_contact(contact, Word::Now);
    }

    /// Makes a contact's presence of what the service holds.
    fn compose_contact(&mut self, contact: ContactId, word: Word) {
        let Some(entry) = self.view.contacts.get(&contact) else { return };
        let address = entry.contact.address.clone();
        let before = entry.presence.clone();
        let bodies = self.presences.documents.get(&contact).cloned().unwrap_or_default();
        let mut documents = Vec::with_capacity(bodies.len());
        let mut unreadable = None;
        for (_, body) in &bodies {
            match pidf::read(body, &Limits::DEFAULT) {
                Ok(parsed) => {
                    if let Some(first) = parsed.forgiven.first()
                        && self.presences.forgiven.insert(contact)
                    {
                        self.diagnose(format!("in the presence document of {address}, {first}"));
                    }
                    documents.push(parsed.document);
                }
                Err(error) => {
                    self.diagnose(format!("the presence document of {address} cannot be read: {error}"));
                    unreadable = Some(error.to_string());
                }
            }
        }
        // What cannot be read says nothing; least of all that somebody is offline.
        if documents.is_empty()
            && let Some(error) = unreadable
        {
            if before.availability.is_none() {
                self.show(contact, Presence::unknown(UnknownReason::Other(error.into())));
            }
            return;
        }
        let composed = compose(&documents, self.now.wall);
        self.presences.expect_change(contact, composed.next_change_at);
        if composed.availability == Some(Availability::Offline) && self.is_settling(&before) {
            self.presences.unsettled.insert(contact);
            return;
        }
        self.presences.unsettled.remove(&contact);
        let freshness = match (word, &before.freshness) {
            (Word::Now, _) => Freshness::Live,
            // Time may change what a document says, but not how sure we are that it still stands.
            (Word::Before, Freshness::Live | Freshness::Stale(_)) => before.freshness.clone(),
            (Word::Before, _) if self.view.session == SessionState::SignedIn => Freshness::Live,
            (Word::Before, _) => Freshness::Stale(self.session.alive_at),
        };
        let presence = match composed.availability {
            Some(availability) => {
                let same = before.availability == Some(availability) && before.note == composed.note;
                Presence {
                    availability: Some(availability),
                    freshness,
                    note: composed.note,
                    activities: composed.activities,
                    since: before.since.filter(|_| same).or(Some(self.now.wall)),
                    next_change_at: composed.next_change_at,
                    details: None,
                }
            }
            None => {
                let why = composed.reasons.first().map_or_else(String::new, ToString::to_string);
                Presence {
                    note: composed.note,
                    since: Some(self.now.wall),
                    ..Presence::unknown(UnknownReason::Other(why.into()))
                }
            }
        };
        self.show(contact, presence);
    }

    /// Whether somebody who was there before an outage may still be about to publish again.
    fn is_settling(&self, before: &Presence) -> bool {
        self.presences.settling.is_some_and(|until| self.now.instant < until)
            && matches!(before.freshness, Freshness::Stale(_))
            && before.availability.is_some_and(|availability| availability != Availability::Offline)
    }

    /// When a document's statement begins or ends to hold, or an outage is over for good.
    pub(super) fn presence_timeout(&self) -> Option<Instant> {
        let settled = self.presences.settling.filter(|_| !self.presences.unsettled.is_empty());
        let change = self.presences.changes.first().map(|(at, _)| {
            let wait = at.as_millis().saturating_sub(self.now.wall.as_millis());
            // A wall clock may step: look again at least every hour.
            self.now.instant + Duration::from_millis(wait).min(Duration::from_secs(3600))
        });
        [settled, change].into_iter().flatten().min()
    }

    /// Believes the service what it still says of those who did not publish again.
    fn settle_presence(&mut self) {
        if self.presences.settling.is_some_and(|until| until <= self.now.instant) {
            self.presences.settling = None;
            for contact in core::mem::take(&mut self.presences.unsettled) {
                self.compose_contact(contact, Word::Now);
            }
        }
    }

    /// Composes again what time has changed.
    pub(super) fn recompose(&mut self) {
        self.settle_presence();
        while let Some(&(at, contact)) = self.presences.changes.first()
            && at <= self.now.wall
        {
            self.presences.expect_change(contact, None);
            if self.presences.documents.contains_key(&contact) {
                self.compose_contact(contact, Word::Before);
            }
        }
    }

    /// Why a contact's presence is what it is: see [`Engine::why`].
    pub(super) fn reasons(&self, contact: ContactId) -> Vec<Reason> {
        let Some(bodies) = self.presences.documents.get(&contact) else { return Vec::new() };
        let documents: Vec<_> = bodies
            .iter()
            .filter_map(|(_, body)| pidf::read(body, &Limits::DEFAULT).ok())
            .map(|read| read.document)
            .collect();
        compose(&documents, self.now.wall).reasons
    }

    fn reconsider(&mut self, change: impl Fn(&Presence, ContactId) -> Option<Presence>) {
        let changed: Vec<(ContactId, Presence)> = self
            .view
            .contacts
            .iter()
            .filter_map(|(id, entry)| Some((*id, change(&entry.presence, *id)?)))
            .collect();
        for (id, presence) in changed {
            self.show(id, presence);
        }
    }

    fn show(&mut self, contact: ContactId, presence: Presence) {
        let Some(entry) = self.view.contacts.get(&contact) else { return };
        if *entry.presence == presence {
            return;
        }
        self.presences.dirty.entry(contact).or_insert_with(|| entry.presence.clone());
        let entry = ContactEntry { contact: entry.contact.clone(), presence: Arc::new(presence) };
        self.view.contacts.insert_mut(contact, entry);
    }

    /// Whether there are changes to be told.
    pub(super) fn has_presence_changes(&self) -> bool {
        !self.presences.dirty.is_empty()
    }

    /// All changes since the last time, as one event.
    pub(super) fn tell_presence(&mut self) {
        let changes: Arc<[PresenceChange]> = core::mem::take(&mut self.presences.dirty)
            .into_iter()
            .filter_map(|(contact, before)| {
                let entry = self.view.contacts.get(&contact)?;
                (*entry.presence != *before).then(|| PresenceChange {
                    contact,
                    address: entry.contact.address.clone(),
                    presence: entry.presence.clone(),
                    previous: before.availability,
                    note_changed: entry.presence.note != before.note,
                })
            })
            .collect();
        if !changes.is_empty() {
            self.ledger.emit(self.now.wall, EventKind::PresenceChanged(changes));
        }
    }

    // ---- oneself ----

    /// The command: checks it and keeps it.
    pub(super) fn publish_command(
        &mut self,
        ticket: Ticket,
        availability: Option<Availability>,
        note: &str,
        _until: Option<Timestamp>,
    ) {
        let availability = availability.unwrap_or(Availability::Available);
        let wrong = if note.len() > MAX_NOTE {
            Some("the note is longer than 1,024 bytes")
        } else if note.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            Some("the note holds control characters")
        } else {
            None
        };
        if let Some(what) = wrong {
            self.ledger.answer(ticket.token, Err(Error::new(Code::InvalidArgument, what)));
            return;
        }
        let note: Arc<str> = note.trim().into();
        let kept = format!("{}\n{note}", availability.name());
        self.ledger.keep(Effect::Own { ticket, availability, note, kept });
    }

    /// The choice is durable: shows and publishes it.
    pub(super) fn apply_own(
        &mut self,
        sealed: &Sealed,
        ticket: Ticket,
        availability: Availability,
        note: &Arc<str>,
    ) {
        let changed = self.view.own.availability != Some(availability) || self.view.own.note != *note;
        let own = Arc::new(Presence {
            availability: Some(availability),
            note: note.clone(),
            since: if changed { Some(sealed.at) } else { self.view.own.since },
            ..Presence::clone(&self.view.own)
        });
        self.view.own = own.clone();
        if changed {
            self.ledger.emit_sealed(&mut { sealed.seq }, sealed.at, EventKind::OwnPresenceChanged(own));
        }
        self.accept(ticket);
        match self.view.session {
            SessionState::SignedOut | SessionState::SigningOut => {
                let text = "not signed in; the status is kept, and published after the next sign-in";
                let error = Error::new(Code::NotLoggedOn, text).retry(Retry::AfterChange);
                self.complete(ticket.request, Err(error));
            }
            SessionState::SignedIn => {
                self.own.waiting.push(ticket.request);
                self.publish_own();
            }
            SessionState::SigningIn => self.own.waiting.push(ticket.request),
            // An outage may last: nobody is kept waiting for its end.
            SessionState::Reconnecting => self.complete(ticket.request, Err(kept_for_later())),
        }
    }

    /// Gives the service the document of the moment.
    pub(super) fn publish_own(&mut self) {
        let now = self.now;
        let availability = self.view.own.availability.unwrap_or(Availability::Available);
        let entity = self.config.address.as_str();
        let document = express(entity, &self.own.instance, availability, &self.view.own.note, now.wall);
        let body = Bytes::from(pidf::write(&document));
        match self.own.publication {
            Some(id) => self.agent.modify(now.instant, id, body),
            None => {
                let expires = u32::try_from(self.config.publication.as_secs()).unwrap_or(u32::MAX);
                let params = PublishParams { expires, ..PublishParams::presence(body) };
                self.own.publication = Some(self.agent.publish(now.instant, params));
            }
        }
    }

    pub(super) fn on_publication(&mut self, id: PublicationId, state: &PublicationState) {
        if self.own.publication != Some(id) {
            return;
        }
        if state.is_final() {
            self.own.publication = None;
        }
        match state {
            PublicationState::Published { .. } => {
                self.show_own(Freshness::Live);
                self.complete_publish(&Ok(()));
            }
            PublicationState::Retrying { cause, after } => {
                self.show_own(Freshness::Unknown(UnknownReason::ServiceUnavailable));
                self.complete_publish(&Err(refused(cause).retry(Retry::After(*after))));
            }
            PublicationState::Failed { cause } => {
                self.show_own(Freshness::Unknown(UnknownReason::Other(cause.to_string().into())));
                self.complete_publish(&Err(refused(cause)));
            }
            _ => {}
        }
    }

    /// Everybody who waits for the service's word on own presence hears it.
    pub(super) fn complete_publish(&mut self, outcome: &Result<(), Error>) {
        for request in core::mem::take(&mut self.own.waiting) {
            self.complete(request, outcome.clone());
        }
    }

    fn show_own(&mut self, freshness: Freshness) {
        if self.view.own.freshness == freshness {
            return;
        }
        let own = Arc::new(Presence { freshness, ..Presence::clone(&self.view.own) });
        self.view.own = own.clone();
        self.ledger.emit(self.now.wall, EventKind::OwnPresenceChanged(own));
    }

    pub(super) fn accept(&mut self, ticket: Ticket) {
        self.ledger.answer(ticket.token, Ok(Accepted::new(ticket.request)));
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

/// The service is away: the status is kept, and goes out by itself when the session is back.
pub(super) fn kept_for_later() -> Error {
    let text = "the service is away; the status is kept, and published after the reconnect";
    Error::new(Code::ServerUnavailable, text).retry(Retry::AfterChange)
}

/// What a cause means for a publication.
fn refused(cause: &Cause) -> Error {
    let (code, text) = match cause {
        Cause::Status { code: 404 | 405 | 415 | 489 | 501, .. } => {
            (Code::UnsupportedByService, "the service takes no presence")
        }
        Cause::Status { code: 403 | 603, .. } => (Code::PolicyRestricted, "the service does not allow it"),
        cause if cause.is_outage() => (Code::ServerUnavailable, "the service did not take the status"),
        _ => (Code::ServerError, "the service refused the status"),
    };
    Error::new(code, text).because(cause.to_string())
}
