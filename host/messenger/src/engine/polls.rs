//! What the engine has to say, to be drained after whatever it was told.

use std::time::Instant;

use attache_sip::{resolve::Resolve, transport::Transmit};

use super::Engine;
use crate::{
    compose::Reason,
    event::Event,
    id::ContactId,
    snapshot::Snapshot,
    storage::{Batch, BatchId},
};

impl Engine {
    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.agent.poll_transmit()
    }

    /// The next batch to keep. There is never more than one under way: what arises meanwhile goes with the next one.
    pub fn poll_batch(&mut self) -> Option<(BatchId, Batch)> {
        self.ledger.poll_batch(self.now)
    }

    /// The next answer to a command.
    pub fn poll_answer(&mut self) -> Option<(u64, crate::command::Answer)> {
        self.ledger.poll_answer()
    }

    /// The next name to look up.
    pub fn poll_resolve(&mut self) -> Option<Resolve> {
        self.resolves.pop_front()
    }

    /// The next event. Presence changes of one drain come as one event, last.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.ledger.has_events() && self.ledger.is_clear() {
            if self.has_report_changes() {
                self.tell_report();
            }
            if self.has_presence_changes() {
                self.tell_presence();
            }
        }
        let event = self.ledger.poll_event()?;
        self.view.seq = event.seq;
        Some(event)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        [
            self.agent.poll_timeout(),
            self.ledger.poll_timeout(),
            self.session_timeout(),
            self.presence_timeout(),
            self.keep_timeout(),
            self.leases_timeout(),
            self.own_timeout(),
            self.conversations_timeout(),
            self.calls_timeout(),
            self.streams.poll_timeout(),
            self.outbox_timeout(),
            self.receipts_timeout(),
            self.composing_timeout(),
            self.sync_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The state after the last event of [`poll_event`](Self::poll_event). Costs a few reference counts.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.view.clone()
    }

    /// Why a contact's presence is what it is, step by step. Empty where nothing is known, or nothing is published.
    #[must_use]
    pub fn why(&self, contact: ContactId) -> Vec<Reason> {
        self.reasons(contact)
    }
}
