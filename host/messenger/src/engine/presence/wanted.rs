//! Whom somebody wants to see, and what becomes of them when a session begins and ends.

use std::{sync::Arc, time::Duration};

use attache_sip::uri::UriBuf;
use smallvec::SmallVec;

use super::Person;
use crate::{
    address::Address,
    engine::{Engine, watch::Hands},
    event::{Contact, SessionState},
    presence::{Freshness, Presence, UnknownReason},
    snapshot::{ContactEntry, WatchedEntry},
    time::Timestamp,
};

/// After an outage, "nothing published" is believed only when it has held for so long: a service that restarted may have
/// lost what people published, and they publish again as soon as they notice.
const SETTLE: Duration = Duration::from_secs(90);

impl Engine {
    pub(in crate::engine) fn watch_contact(&mut self, contact: &Contact) {
        let reason = self.unknown_reason();
        let person =
            self.presences.people.entry(contact.address.clone()).or_insert_with(|| Person::new(reason));
        person.contact = Some(contact.id);
        person.lingers = false;
        let entry = ContactEntry {
            contact: Arc::new(contact.clone()),
            presence: person.shown.clone(),
            published: None,
        };
        if let Some(known) = self.view.contacts.get(&contact.id)
            && !Arc::ptr_eq(&known.presence, &entry.presence)
        {
            let known = known.clone();
            let entry = ContactEntry { contact: known.contact, published: known.published, ..entry };
            self.view.contacts.insert_mut(contact.id, entry);
        }
        self.watch_person(&contact.address);
    }

    pub(in crate::engine) fn unwatch_contact(&mut self, contact: &Contact) {
        self.presences.available.remove(&contact.id);
        self.forget_alert(contact.id);
        self.presence_forgotten(&contact.address);
        let Some(person) = self.presences.people.get_mut(&contact.address) else { return };
        person.contact = None;
        if person.leases == 0 {
            self.forget_person(&contact.address);
        }
    }

    /// A lease began; how many there are now.
    pub(in crate::engine) fn lease_person(&mut self, address: &Address) {
        let reason = self.unknown_reason();
        let person = self.presences.people.entry(address.clone()).or_insert_with(|| Person::new(reason));
        person.leases += 1;
        person.lingers = false;
        let entry = WatchedEntry { presence: person.shown.clone(), leases: person.leases };
        if person.leases == 1 {
            self.presences.newly_watched.insert(address.clone());
        }
        self.view.watched.insert_mut(address.clone(), entry);
        self.watch_person(address);
    }

    /// A lease ended; true when it was the last, and nobody else wants to see the person.
    pub(in crate::engine) fn release_person(&mut self, address: &Address) -> bool {
        let Some(person) = self.presences.people.get_mut(address) else { return false };
        person.leases = person.leases.saturating_sub(1);
        if person.leases > 0 {
            let entry = WatchedEntry { presence: person.shown.clone(), leases: person.leases };
            self.view.watched.insert_mut(address.clone(), entry);
            return false;
        }
        person.lingers = person.contact.is_none();
        let lingers = person.lingers;
        self.view.watched.remove_mut(address);
        self.presences.newly_watched.remove(address);
        lingers
    }

    /// Whoever nobody wanted to see for a while is watched no longer.
    pub(in crate::engine) fn end_linger(&mut self, address: &Address) {
        if self.presences.people.get(address).is_some_and(|person| person.lingers) {
            self.forget_person(address);
        }
    }

    fn watch_person(&mut self, address: &Address) {
        if self.view.session == SessionState::SignedIn {
            self.watch.add(address);
        }
    }

    /// Watches those who came since the last time, all at once.
    pub(in crate::engine) fn watch_newcomers(&mut self) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.flush(&mut hands);
    }

    fn forget_person(&mut self, address: &Address) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.remove(&mut hands, address);
        self.presences.forget(address);
    }

    /// Asks the service about somebody again.
    pub(in crate::engine) fn ask_again(&mut self, address: &Address) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.again(&mut hands, address);
    }

    /// The service holds our contacts as a list at this address, or no longer does.
    pub(in crate::engine) fn use_list(&mut self, list: Option<UriBuf>) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.set_list(&mut hands, list);
    }

    /// Signed in: everybody is watched anew.
    pub(in crate::engine) fn watch_everybody(&mut self) {
        self.presences.settling = Some(self.now.instant + SETTLE);
        let mut everybody: Vec<Address> =
            self.view.contacts.values().map(|entry| entry.contact.address.clone()).collect();
        let mut others: Vec<Address> = self
            .presences
            .people
            .iter()
            .filter(|(_, person)| person.contact.is_none())
            .map(|(address, _)| address.clone())
            .collect();
        others.sort_unstable();
        everybody.extend(others);
        for address in &everybody {
            // What comes next is a new beginning, by notifiers that are numbered anew.
            self.presences.begin_anew(address);
        }
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.start(&mut hands, &everybody);
        self.reconsider(|presence| match &presence.freshness {
            Freshness::Unknown(UnknownReason::SignedOut | UnknownReason::ServiceUnavailable) => {
                Some(Presence::unknown(UnknownReason::Pending))
            }
            _ => None,
        });
    }

    /// Nobody is watched any longer.
    pub(in crate::engine) fn watch_nobody(&mut self) {
        let mut hands = Hands { agent: &mut self.agent, rng: &mut self.rng, now: self.now };
        self.watch.stop(&mut hands);
    }

    /// The service fell silent: what was live may have changed since.
    pub(in crate::engine) fn presence_stale(&mut self, since: Timestamp) {
        self.presences.unsettled.clear();
        self.reconsider(|presence| match &presence.freshness {
            Freshness::Live => Some(Presence { freshness: Freshness::Stale(since), ..presence.clone() }),
            Freshness::Unknown(UnknownReason::Pending) => {
                Some(Presence::unknown(UnknownReason::ServiceUnavailable))
            }
            _ => None,
        });
        self.own_stale(since);
    }

    /// Signed out: nothing is known of anybody.
    pub(in crate::engine) fn presence_signed_out(&mut self) {
        self.presences.changes.clear();
        self.presences.unsettled.clear();
        self.presences.available.clear();
        self.forget_restored();
        for person in self.presences.people.values_mut() {
            person.documents = SmallVec::new();
            person.vouched = false;
            person.calls = None;
            person.asked = false;
            person.next_change = None;
        }
        self.reconsider(|presence| {
            let unknown = Presence::unknown(UnknownReason::SignedOut);
            (*presence != unknown).then_some(unknown)
        });
        self.own_signed_out();
    }
}
