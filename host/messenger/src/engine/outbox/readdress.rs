//! Messages that were written to a conference before it was anywhere, where it never came about: they go to those who were
//! to meet there, each by itself.
//!
//! They were accepted, so they must not be lost, nor go twice: the entry in the store is replaced in the batch that makes a
//! group of the conference.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Queued;
use crate::{
    address::Address,
    conversation::ConversationKind,
    engine::{Engine, ledger::Effect},
    event::EventKind,
    id::ConversationId,
    message::OutgoingMessage,
    storage::{Form, OutboxEntry},
};

impl Engine {
    /// Messages of a group that wait for somebody who never took part in it go to those who do. Where one is just being
    /// sent, it does so when that has come to nothing, and those behind it with it.
    pub(in crate::engine) fn readdress(&mut self, id: ConversationId) {
        let Ok(kept) = self.open_conversation(id) else { return };
        let conversation = &kept.conversation;
        let people: SmallVec<[Address; 1]> = conversation.present().cloned().collect();
        if conversation.kind != ConversationKind::Group || people.is_empty() {
            return;
        }
        let astray = |queued: &Queued| {
            let message = &queued.entry.message;
            message.conversation == id && message.recipients.len() == 1
        };
        let lanes = self.outbox.lanes.iter();
        let lanes = lanes.filter(|(peer, _)| conversation.participant(peer).is_none());
        let lanes = lanes.filter(|(_, lane)| lane.queue.iter().any(astray)).map(|(peer, _)| peer.clone());
        let lanes: Vec<Address> = lanes.collect();
        let mut entries: Vec<Arc<OutboxEntry>> = Vec::new();
        for peer in lanes {
            if self.is_sending_message(&peer) {
                continue;
            }
            let Some(lane) = self.outbox.lanes.get_mut(&peer) else { continue };
            let waiting = core::mem::take(&mut lane.queue);
            let (moved, kept): (Vec<_>, Vec<_>) = waiting.into_iter().partition(astray);
            lane.queue.extend(kept);
            lane.not_before = None;
            entries.extend(moved.into_iter().map(|queued| queued.entry));
            if lane.is_empty() {
                self.outbox.lanes.remove(&peer);
            } else if lane.sending.is_none() {
                self.outbox.ready.push_back(peer);
            }
        }
        // In the order in which they were written.
        entries.sort_unstable_by_key(|entry| entry.message.id);
        for entry in entries {
            self.address_anew(&entry, &people);
        }
    }

    fn address_anew(&mut self, old: &OutboxEntry, people: &SmallVec<[Address; 1]>) {
        let id = old.message.id;
        self.outbox.count += people.len();
        self.outbox.count -= old.pending.len();
        if let Some(open) = self.outbox.open.get_mut(&id) {
            open.left = people.len();
        }
        let wrapped = people.iter().any(|person| self.reads(person).cpim == Some(true));
        let message = OutgoingMessage {
            recipients: people.clone(),
            contact: self.view.by_address.get(&people[0]).copied(),
            ..OutgoingMessage::clone(&old.message)
        };
        let entry = Arc::new(OutboxEntry {
            message: Arc::new(message),
            call_id: old.call_id.clone(),
            pending: people.clone(),
            form: if wrapped { Form::Cpim } else { Form::Plain },
            attempts: 0,
        });
        self.untrack(id);
        let records = self.track(&entry);
        self.ledger.keep(Effect::Readdressed { entry, records });
    }

    /// The message and those whom it goes to now are durable.
    pub(in crate::engine) fn apply_readdressed(&mut self, entry: &Arc<OutboxEntry>) {
        let id = entry.message.id;
        self.show_deliveries(id);
        self.enqueue(entry, false);
        if let Some(item) = self.view.outbox.get(&id).cloned() {
            self.ledger.emit(self.now.wall, EventKind::OutboxChanged(item));
        }
    }
}
