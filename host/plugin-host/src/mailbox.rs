//! The mailbox of one instance: bounded, filled by whoever publishes, emptied by the instance's task.
//!
//! Each class of event is bounded in its own way, so that a slow plugin costs a fixed amount of memory and its
//! publisher no time:
//!
//! - *Must deliver* (messages): what does not fit is not kept here at all; the task reads it from the journal.
//! - *Latest* (presence): one entry for each contact, and for each person that the plugin watches; a newer value replaces
//!   an older one.
//! - *Control* (everything else): in order; what does not fit is dropped and counted.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use attache_messenger::{
    address::Address,
    event::{Event, EventKind, PresenceChange, WatchedChange},
    id::{AccountId, ContactId},
    presence::Presence,
    time::Timestamp,
};
use tokio::sync::Notify;

use crate::{family::Families, meters::Meters};

/// One event in a shared batch.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    batch: Arc<[Event]>,
    index: usize,
}

impl Slot {
    pub(crate) fn event(&self) -> &Event {
        &self.batch[self.index]
    }
}

/// The latest presence of a contact that the plugin has not seen.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) account: AccountId,
    pub(crate) contact: ContactId,
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) presence: Arc<Presence>,
    pub(crate) note_changed: bool,
}

/// The latest presence of somebody off the contact list whom the plugin watches.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) account: AccountId,
    pub(crate) address: Address,
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) presence: Arc<Presence>,
    pub(crate) note_changed: bool,
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    ready: Notify,
    capacity: usize,
    meters: Arc<Meters>,
}

#[derive(Debug, Default)]
struct Inner {
    open: bool,
    queue: VecDeque<Slot>,
    presence: HashMap<(AccountId, ContactId), Pending>,
    /// Whom the plugin watches, by how many leases, and what it has not seen of them.
    watched: HashMap<(AccountId, Address), (u32, Option<Watched>)>,
    missed: HashMap<AccountId, u64>,
}

impl Mailbox {
    pub(crate) fn new(capacity: usize, meters: Arc<Meters>) -> Self {
        let inner = Inner { open: true, ..Inner::default() };
        Self { inner: Mutex::new(inner), ready: Notify::new(), capacity, meters }
    }

    /// Puts the wanted events of a batch in. Never waits for the plugin.
    pub(crate) fn offer(&self, wants: Families, batch: &Arc<[Event]>, range: Range<usize>) {
        let wanted = |event: &Event| wants.overlaps(Families::of(&event.kind));
        if !batch[range.clone()].iter().any(wanted) {
            return;
        }
        let mut inner = self.lock();
        for index in range {
            let event = &batch[index];
            if !wanted(event) {
                continue;
            }
            match &event.kind {
                EventKind::PresenceChanged(changes) => {
                    if inner.open {
                        changes.iter().for_each(|change| self.replace(&mut inner, event, change));
                    }
                }
                EventKind::WatchedPresenceChanged(changes) => {
                    if inner.open {
                        changes.iter().for_each(|change| self.replace_watched(&mut inner, event, change));
                    }
                }
                kind if kind.must_deliver() => {
                    // In order: once one is left to the journal, so is every later one, until the task has looked.
                    let fits = inner.open && inner.queue.len() < self.capacity;
                    if fits && !inner.missed.contains_key(&event.account) {
                        inner.queue.push_back(Slot { batch: Arc::clone(batch), index });
                    } else {
                        inner.missed.insert(event.account, event.seq);
                        self.meters.deferred.add(1);
                    }
                }
                _ if inner.open && inner.queue.len() < self.capacity => {
                    inner.queue.push_back(Slot { batch: Arc::clone(batch), index });
                }
                _ => self.meters.dropped.add(1),
            }
        }
        drop(inner);
        self.ready.notify_one();
    }

    fn replace(&self, inner: &mut Inner, event: &Event, change: &PresenceChange) {
        let fresh = Pending {
            account: event.account,
            contact: change.contact,
            seq: event.seq,
            at: event.at,
            presence: Arc::clone(&change.presence),
            note_changed: change.note_changed,
        };
        inner
            .presence
            .entry((event.account, change.contact))
            .and_modify(|old| {
                self.meters.coalesced.add(1);
                *old = Pending { note_changed: old.note_changed || fresh.note_changed, ..fresh.clone() };
            })
            .or_insert(fresh);
    }

    fn replace_watched(&self, inner: &mut Inner, event: &Event, change: &WatchedChange) {
        let key = (event.account, change.address.clone());
        let Some((_, waiting)) = inner.watched.get_mut(&key) else { return };
        let before = waiting.take();
        if before.is_some() {
            self.meters.coalesced.add(1);
        }
        *waiting = Some(Watched {
            account: event.account,
            address: key.1,
            seq: event.seq,
            at: event.at,
            presence: Arc::clone(&change.presence),
            note_changed: change.note_changed || before.is_some_and(|before| before.note_changed),
        });
    }

    /// From now on, what is told of an address is kept for the plugin.
    pub(crate) fn watch(&self, account: AccountId, address: &Address) {
        self.lock().watched.entry((account, address.clone())).or_default().0 += 1;
    }

    /// One lease fewer.
    pub(crate) fn unwatch(&self, account: AccountId, address: &Address) {
        let mut inner = self.lock();
        let key = (account, address.clone());
        if let Some((leases, _)) = inner.watched.get_mut(&key) {
            *leases -= 1;
            if *leases == 0 {
                inner.watched.remove(&key);
            }
        }
    }

    /// Takes up to `most` changes of watched people out: of one account, oldest first.
    pub(crate) fn take_watched(&self, most: usize) -> Vec<Watched> {
        let mut inner = self.lock();
        let waiting = |value: &(u32, Option<Watched>)| value.1.is_some();
        let first = inner.watched.iter().find(|(_, value)| waiting(value)).map(|((account, _), _)| *account);
        let Some(account) = first else { return Vec::new() };
        let ours = inner.watched.iter_mut().filter(|((of, _), value)| *of == account && waiting(value));
        let mut changes: Vec<_> = ours.take(most).filter_map(|(_, (_, change))| change.take()).collect();
        drop(inner);
        changes.sort_unstable_by_key(|change| change.seq);
        changes
    }

    /// Moves up to `most` slots out. With the queue empty, answers which accounts' journals have to be read, and up
    /// to which position at least.
    pub(crate) fn take(&self, into: &mut VecDeque<Slot>, most: usize) -> Vec<(AccountId, u64)> {
        let mut inner = self.lock();
        let count = inner.queue.len().min(most);
        into.extend(inner.queue.drain(..count));
        if inner.queue.is_empty() { inner.missed.drain().collect() } else { Vec::new() }
    }

    /// Takes up to `most` presence changes out: of one account, oldest first.
    pub(crate) fn take_presence(&self, most: usize) -> Vec<Pending> {
        let mut inner = self.lock();
        let Some(account) = inner.presence.keys().next().map(|(account, _)| *account) else {
            return Vec::new();
        };
        let mut changes: Vec<Pending> = if inner.presence.len() <= most {
            let all = core::mem::take(&mut inner.presence);
            let (ours, others): (HashMap<_, _>, _) = all.into_iter().partition(|((of, _), _)| *of == account);
            inner.presence = others;
            ours.into_values().collect()
        } else {
            let ours = inner.presence.keys().filter(|(of, _)| *of == account).take(most).copied();
            let keys: Vec<_> = ours.collect();
            keys.iter().filter_map(|key| inner.presence.remove(key)).collect()
        };
        drop(inner);
        changes.sort_unstable_by_key(|change| change.seq);
        changes
    }

    /// Forgets presence that a snapshot at `seq` has told.
    pub(crate) fn told(&self, account: AccountId, seq: u64) {
        self.lock().presence.retain(|_, pending| pending.account != account || pending.seq > seq);
    }

    /// Forgets everything of an account.
    pub(crate) fn forget(&self, account: AccountId) {
        let mut inner = self.lock();
        inner.presence.retain(|_, pending| pending.account != account);
        inner
            .watched
            .values_mut()
            .filter(|(_, it)| it.as_ref().is_some_and(|it| it.account == account))
            .for_each(|it| it.1 = None);
        inner.queue.retain(|slot| slot.event().account != account);
        inner.missed.remove(&account);
    }

    /// Takes nothing more in, and lets go of what is there: messages to the journal, the rest for good.
    pub(crate) fn close(&self, slots: &mut VecDeque<Slot>) {
        let mut inner = self.lock();
        inner.open = false;
        inner.presence.clear();
        inner.watched.values_mut().for_each(|(_, change)| *change = None);
        let queue = core::mem::take(&mut inner.queue);
        for slot in slots.drain(..).chain(queue) {
            let event = slot.event();
            if event.kind.must_deliver() {
                let seq = inner.missed.entry(event.account).or_default();
                *seq = event.seq.max(*seq);
                self.meters.deferred.add(1);
            } else {
                self.meters.dropped.add(1);
            }
        }
    }

    /// Takes events in again.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    pub(crate) fn has_presence(&self) -> bool {
        !self.lock().presence.is_empty()
    }

    /// Events that wait.
    pub(crate) fn len(&self) -> usize {
        let inner = self.lock();
        let watched = inner.watched.values().filter(|(_, change)| change.is_some()).count();
        inner.queue.len() + inner.presence.len() + watched
    }

    /// Completes when something may have come in since the last look.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use attache_messenger::{
        address::Address,
        event::SessionState,
        presence::{Availability, Freshness, UnknownReason},
    };

    use super::*;

    const ACCOUNT: AccountId = AccountId(7);
    fn everything() -> Families {
        Families::MESSAGES.with(Families::PRESENCE).with(Families::SESSION)
    }

    fn batch(kinds: Vec<EventKind>) -> Arc<[Event]> {
        let event =
            |(seq, kind)| Event { seq: seq as u64 + 1, at: Timestamp::default(), account: ACCOUNT, kind };
        kinds.into_iter().enumerate().map(event).collect()
    }

    fn message() -> EventKind {
        EventKind::MessageStateChanged {
            message: attache_messenger::id::MessageId(1),
            conversation: attache_messenger::id::ConversationId(1),
            recipient: Address::parse("sip:bob@example.com").unwrap(),
            state: attache_messenger::message::MessageState::Sent,
        }
    }

    fn session() -> EventKind {
        EventKind::SessionChanged { state: SessionState::SignedIn, reason: None }
    }

    fn presence(availability: Availability, note_changed: bool) -> EventKind {
        let mut presence = Presence::unknown(UnknownReason::Pending);
        presence.availability = Some(availability);
        presence.freshness = Freshness::Live;
        EventKind::PresenceChanged(Arc::from([PresenceChange {
            contact: ContactId(3),
            address: Address::parse("sip:bob@example.com").unwrap(),
            presence: Arc::new(presence),
            previous: None,
            note_changed,
        }]))
    }

    fn offer(mailbox: &Mailbox, kinds: Vec<EventKind>) {
        let batch = batch(kinds);
        mailbox.offer(everything(), &batch, 0..batch.len());
    }

    fn mailbox(capacity: usize) -> (Mailbox, Arc<Meters>) {
        let meters = Arc::new(Meters::default());
        (Mailbox::new(capacity, Arc::clone(&meters)), meters)
    }

    #[test]
    fn presence_of_a_contact_waits_once() {
        let (mailbox, meters) = mailbox(8);
        let values = [Availability::Busy, Availability::Away, Availability::Idle];
        offer(
            &mailbox,
            vec![presence(values[0], true), presence(values[1], false), presence(values[2], false)],
        );
        let changes = mailbox.take_presence(100);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].presence.availability, Some(Availability::Idle));
        assert!(changes[0].note_changed, "the note changed since the plugin saw it");
        assert_eq!(changes[0].seq, 3);
        assert_eq!(meters.coalesced.get(), 2);
    }

    #[test]
    fn a_message_that_does_not_fit_sends_all_later_ones_to_the_journal() {
        let (mailbox, meters) = mailbox(2);
        offer(&mailbox, vec![message(), message(), message(), message()]);
        let mut slots = VecDeque::new();
        assert!(mailbox.take(&mut slots, 1).is_empty(), "the queue is not empty yet");
        offer(&mailbox, vec![message()]);
        assert_eq!(mailbox.take(&mut slots, 10), [(ACCOUNT, 1)]);
        assert_eq!(slots.len(), 2);
        assert_eq!(meters.deferred.get(), 3);
        assert_eq!(meters.dropped.get(), 0);
    }

    #[test]
    fn other_events_that_do_not_fit_are_counted() {
        let (mailbox, meters) = mailbox(2);
        offer(&mailbox, vec![session(), session(), session()]);
        assert_eq!((mailbox.len(), meters.dropped.get()), (2, 1));
    }

    #[test]
    fn what_is_not_wanted_costs_nothing() {
        let (mailbox, _) = mailbox(2);
        let batch = batch(vec![session(), presence(Availability::Busy, false)]);
        mailbox.offer(Families::MESSAGES, &batch, 0..2);
        assert_eq!(Arc::strong_count(&batch), 1);
        assert_eq!(mailbox.len(), 0);
    }

    #[test]
    fn a_closed_mailbox_leaves_messages_to_the_journal() {
        let (mailbox, meters) = mailbox(8);
        offer(&mailbox, vec![message(), session()]);
        mailbox.close(&mut VecDeque::new());
        offer(&mailbox, vec![message(), message(), session()]);
        assert_eq!((meters.deferred.get(), meters.dropped.get()), (3, 2));
        mailbox.open();
        assert_eq!(mailbox.take(&mut VecDeque::new(), 10), [(ACCOUNT, 2)]);
    }
}
