//! What readers see of people, and what they are told of its changes.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    MAX_FORKS, Word,
    people::{Content, Kept},
};
use crate::{
    address::Address,
    engine::Engine,
    event::{EventKind, PresenceChange, WatchedChange},
    presence::{Availability, Freshness, Presence, UnknownReason},
    profile::Profile,
    snapshot::{ContactEntry, WatchedEntry},
    time::Timestamp,
};

/// What somebody publishes of themself, and the same as before where it is the same.
fn published(presence: &Presence, known: Option<&Arc<Profile>>) -> Option<Arc<Profile>> {
    let published = crate::compose::published(presence)?;
    match known {
        Some(known) if **known == published => Some(known.clone()),
        _ => Some(Arc::new(published)),
    }
}

impl Engine {
    pub(super) fn reconsider(&mut self, change: impl Fn(&Presence) -> Option<Presence>) {
        // Most are shown the same, and then share it.
        let mut last: Option<Arc<Presence>> = None;
        let mut changed: Vec<(Address, Arc<Presence>)> = Vec::new();
        for (address, person) in &self.presences.people {
            let Some(presence) = change(&person.shown) else { continue };
            let shared = match &last {
                Some(known) if **known == presence => known.clone(),
                _ => Arc::new(presence),
            };
            last = Some(shared.clone());
            changed.push((address.clone(), shared));
        }
        for (address, presence) in changed {
            self.show_shared(&address, presence);
        }
    }

    /// What was known of a contact when the program ended: true until `at`.
    pub(in crate::engine) fn show_restored(
        &mut self,
        address: &Address,
        documents: impl Iterator<Item = (u32, Bytes)>,
        at: Timestamp,
        since: Option<Timestamp>,
    ) {
        let Some(person) = self.presences.people.get_mut(address) else { return };
        person.documents = documents
            .take(MAX_FORKS)
            .map(|(source, body)| Kept { source, content: Content::Whole(body), versions: None })
            .collect();
        person.shown = Arc::new(Presence {
            freshness: Freshness::Stale(at),
            ..Presence::unknown(UnknownReason::SignedOut)
        });
        // It was told when it came.
        person.forgiven = true;
        self.compose_person(address, Word::Before);
        let Some(person) = self.presences.people.get(address) else { return };
        if since.is_some() && person.shown.since != since {
            let presence = Presence { since, ..Presence::clone(&person.shown) };
            self.show(address, presence);
        }
    }

    pub(super) fn show_stale(&mut self, address: &Address, shown: &Presence) {
        let freshness = Freshness::Stale(self.session.alive_at);
        self.show(address, Presence { freshness, ..shown.clone() });
    }

    /// What cannot be read says nothing; least of all that somebody is offline. But what was known before may hold no longer.
    pub(super) fn show_unreadable(&mut self, address: &Address, error: String) {
        let Some(person) = self.presences.people.get(address) else { return };
        let shown = person.shown.clone();
        match (&shown.freshness, shown.availability) {
            (_, None) => self.show(address, Presence::unknown(UnknownReason::Other(error.into()))),
            (Freshness::Live, Some(_)) => self.show_stale(address, &shown),
            _ => {}
        }
    }

    pub(super) fn show(&mut self, address: &Address, presence: Presence) {
        self.show_shared(address, Arc::new(presence));
    }

    fn show_shared(&mut self, address: &Address, presence: Arc<Presence>) {
        let Some(person) = self.presences.people.get_mut(address) else { return };
        if person.shown == presence {
            return;
        }
        let before = core::mem::replace(&mut person.shown, presence.clone());
        if let Some(id) = person.contact
            && let Some(entry) = self.view.contacts.get(&id)
        {
            let published = match presence.availability {
                Some(_) => published(&presence, entry.published.as_ref()),
                // Who they are does not change because nothing is known of them at present.
                None => entry.published.clone(),
            };
            if published != entry.published {
                let before = Arc::new(entry.profile());
                self.presences.profiles.entry(id).or_insert(before);
            }
            let entry =
                ContactEntry { contact: entry.contact.clone(), presence: presence.clone(), published };
            self.view.contacts.insert_mut(id, entry);
        }
        if person.leases > 0 {
            let entry = WatchedEntry { presence, leases: person.leases };
            self.view.watched.insert_mut(address.clone(), entry);
        }
        self.presences.dirty.entry(address.clone()).or_insert(before);
    }

    /// Whether there are changes to be told.
    pub(in crate::engine) fn has_presence_changes(&self) -> bool {
        !self.presences.dirty.is_empty()
            || !self.presences.profiles.is_empty()
            || !self.presences.newly_watched.is_empty()
    }

    /// All changes since the last time, as one event for contacts and one for leases.
    pub(in crate::engine) fn tell_presence(&mut self) {
        let at = self.now.wall;
        let newly = core::mem::take(&mut self.presences.newly_watched);
        let mut contacts = Vec::new();
        let mut watched = Vec::new();
        let mut alerts = Vec::new();
        for (address, before) in core::mem::take(&mut self.presences.dirty) {
            let Some(person) = self.presences.people.get(&address) else { continue };
            let presence = person.shown.clone();
            if *presence == *before {
                continue;
            }
            let (previous, note_changed) = (before.availability, presence.note != before.note);
            if person.leases > 0 && !newly.contains(&address) {
                let (address, presence) = (address.clone(), presence.clone());
                watched.push(WatchedChange { address, presence, previous, note_changed });
            }
            let Some(contact) = person.contact else { continue };
            match presence.availability {
                Some(Availability::Available) if presence.freshness == Freshness::Live => {
                    if self.presences.available.insert(contact) && self.view.alerts.contains(&contact) {
                        let (address, presence) = (address.clone(), presence.clone());
                        alerts.push(EventKind::ContactAlert { contact, address, presence });
                    }
                }
                Some(Availability::Available) | None => {}
                Some(_) => {
                    self.presences.available.remove(&contact);
                }
            }
            contacts.push(PresenceChange { contact, address, presence, previous, note_changed });
        }
        for address in newly {
            let Some(person) = self.presences.people.get(&address) else { continue };
            let presence = person.shown.clone();
            let note_changed = !presence.note.is_empty();
            watched.push(WatchedChange { address, presence, previous: None, note_changed });
        }
        self.tell_profiles();
        if !contacts.is_empty() {
            self.ledger.emit(at, EventKind::PresenceChanged(contacts.into()));
        }
        if !watched.is_empty() {
            self.ledger.emit(at, EventKind::WatchedPresenceChanged(watched.into()));
        }
        for alert in alerts {
            self.ledger.emit(at, alert);
        }
    }
}
