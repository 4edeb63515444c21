//! The order of things: sequence numbers, durability, and what waits for it.
//!
//! Everything that must survive goes into the store as one batch at a time; whatever arises meanwhile collects in the
//! next one, so a busy account pays for a few commits a second and not for one a message. What depends on a batch (an
//! event, an answer, a response on the wire) happens when it is durable, or happens otherwise when the store refuses.
//!
//! Sequence numbers of a batch are assigned when it leaves, because the journal holds them. Events that arise while a
//! batch is under way wait for it, so readers see numbers that only grow.

use core::time::Duration;
use std::{collections::VecDeque, sync::Arc, time::Instant};

use rpds::HashTrieSetSync;
use smallvec::SmallVec;

use crate::{
    address::Address,
    command::Answer,
    engine::{
        Engine,
        conversations::{After, Change},
        inbox::Key,
        own::Choice,
        receipts::Want,
        roster::Edit,
        sync::{self, Records},
    },
    event::{Event, EventKind},
    id::{AccountId, ContactId, ConversationId, MessageId, RequestId},
    message::{IncomingMessage, MessageState},
    privacy::{Decision, Watcher, Who},
    profile::Profile,
    storage::{ArchiveEntry, Batch, BatchId, JournalEntry, JournalEvent, OutboxEntry, RecordKind, Write},
    time::{Now, Timestamp},
};

/// Sequence numbers are reserved in blocks, so that those of events that no journal holds do not come again after a
/// restart either.
const BLOCK: u64 = 1 << 20;
/// Diagnostics beyond this many waiting events are dropped: they are for people, and a burst tells no more than its
/// beginning.
const DEFERRED_DIAGNOSTICS: usize = 256;

/// Name of the setting that holds the end of the reserved block.
pub(super) const SEQ: &str = "seq";
/// Name of the setting that holds the presence to publish.
pub(super) const OWN: &str = "presence";
/// Name of the setting that holds own name, numbers and addresses, where those of the configuration do not count.
pub(super) const PROFILE: &str = "profile";
/// Name of the setting that names this device among those of the person.
pub(super) const INSTANCE: &str = "instance";
/// Name of the setting that names the contacts whose becoming available is told.
pub(super) const ALERTS: &str = "alerts";

/// Who waits for a command's outcome.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ticket {
    pub(super) token: u64,
    pub(super) request: RequestId,
}

/// What goes on when records are durable.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Then {
    /// Nothing waits for them.
    Nothing,
    /// The document with the contacts can be written.
    WriteContacts,
    /// What is kept of people's presence need not be kept here too; the number is that of the batch.
    SlimPresence(u64),
}

/// What happens once something is durable.
#[derive(Debug)]
pub(super) enum Effect {
    /// The block of sequence numbers up to this one is ours.
    Reserved(u64),
    /// A setting is kept; nothing waits for it.
    Setting(&'static str, String),
    /// The contact list changes, as somebody asked or as the service has it.
    Roster { ticket: Option<Ticket>, edit: Box<Edit> },
    /// Something that the engine keeps for itself, and what goes on then.
    Records { records: Records, then: Then },
    /// A rule about who may see one's presence is set.
    Rule { ticket: Ticket, who: Who, decision: Option<Decision> },
    /// Somebody asks to see one's presence.
    Asked { watcher: Arc<Watcher> },
    /// Own name, numbers and addresses change; `None` goes back to those of the configuration.
    Profile { ticket: Ticket, profile: Option<Box<Profile>> },
    /// Own presence changes.
    Own { ticket: Ticket, choice: Choice },
    /// Which contacts' becoming available is told changes.
    Alerts { ticket: Ticket, alerts: HashTrieSetSync<ContactId>, kept: String },
    /// A conversation begins or changes.
    Conversation(Box<Change>),
    /// A message arrived.
    Incoming(Box<Incoming>),
    /// The person saw a message, and its sender wants to know.
    Displayed { ticket: Ticket, message: MessageId, want: Box<Want> },
    /// A message of ours is in the outbox.
    Accepted { ticket: Ticket, entry: Arc<OutboxEntry>, records: Records, line: Option<Line> },
    /// A message of ours goes to others than it was written to.
    Readdressed { entry: Arc<OutboxEntry>, records: Records },
    /// A message of ours went further.
    Advanced(Box<Advance>),
}

/// A line of a transcript, and before when lines are forgotten.
pub(super) type Line = (Arc<ArchiveEntry>, Timestamp);

/// A message that arrived, and what is kept with it.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) message: Arc<IncomingMessage>,
    /// Its identity on the wire.
    pub(super) key: Key,
    /// What its sender wants to know, and the records of that.
    pub(super) want: Option<Want>,
    pub(super) records: Records,
    pub(super) line: Option<Line>,
}

/// A message of ours goes further at some of its recipients, or leaves the outbox for some.
#[derive(Debug)]
pub(super) struct Advance {
    pub(super) message: MessageId,
    pub(super) conversation: ConversationId,
    /// Whose state it is now.
    pub(super) changed: SmallVec<[Address; 1]>,
    /// For whom it leaves the outbox.
    pub(super) finished: SmallVec<[Address; 1]>,
    pub(super) state: MessageState,
    /// States that are kept for later.
    pub(super) records: Records,
    /// Who waits until it is durable.
    pub(super) key: Option<Key>,
}

impl Effect {
    /// Most events that follow.
    fn slots(&self) -> u64 {
        match self {
            Self::Reserved(_) | Self::Setting(..) | Self::Records { .. } | Self::Readdressed { .. } => 0,
            Self::Roster { edit, .. } => 1 + edit.events(),
            Self::Asked { .. } => 1,
            // One for each who came or left, and one for the whole.
            Self::Conversation(change) => 1 + change.kept.conversation.participants.len() as u64,
            Self::Profile { .. }
            | Self::Rule { .. }
            | Self::Own { .. }
            | Self::Incoming(_)
            | Self::Alerts { .. } => 2,
            Self::Accepted { .. } => 2,
            Self::Displayed { .. } => 1,
            Self::Advanced(advance) => 1 + advance.changed.len() as u64,
        }
    }

    fn write(&self, seq: u64, at: Timestamp, writes: &mut Vec<Write>) {
        let journal = |event| Write::AppendJournal(JournalEntry { seq: seq + 2, at, event });
        match self {
            Self::Reserved(end) => writes.push(Write::PutSetting(SEQ, end.to_string())),
            Self::Setting(name, value) => writes.push(Write::PutSetting(name, value.clone())),
            Self::Roster { edit, .. } => edit.write(writes),
            Self::Records { records, .. } => {
                put_records(records, writes);
            }
            Self::Rule { who, decision, .. } => {
                let (kind, key, value) = Engine::rule_record(who, *decision);
                writes.push(Write::PutRecord { kind, key, value });
            }
            Self::Asked { watcher } => writes.push(Write::PutRecord {
                kind: RecordKind::Watcher,
                key: watcher.address.canonical().into(),
                value: Some(at.as_millis().to_string().into()),
            }),
            Self::Profile { profile, .. } => {
                let kept = profile.as_ref().map_or_else(String::new, |profile| profile.kept());
                writes.push(Write::PutSetting(PROFILE, kept));
            }
            Self::Own { choice, .. } => writes.push(Write::PutSetting(OWN, choice.kept())),
            Self::Alerts { kept, .. } => writes.push(Write::PutSetting(ALERTS, kept.clone())),
            Self::Conversation(change) => {
                let (kind, key, value) = change.kept.record();
                writes.push(Write::PutRecord { kind, key, value });
                if let After::Respond(key) = change.after {
                    writes.push(Write::PutSeen { key, at });
                }
            }
            Self::Incoming(incoming) => {
                writes.push(journal(JournalEvent::MessageReceived(incoming.message.clone())));
                writes.push(Write::PutSeen { key: incoming.key, at });
                put_records(&incoming.records, writes);
                put_line(incoming.line.as_ref(), writes);
            }
            Self::Displayed { message, want, .. } => writes.push(put_record(want.record(*message))),
            Self::Accepted { entry, records, line, .. } => {
                writes.push(Write::PutOutbox(entry.clone()));
                writes.push(journal(JournalEvent::MessageAccepted(entry.message.clone())));
                put_records(records, writes);
                put_line(line.as_ref(), writes);
            }
            Self::Readdressed { entry, records } => {
                writes.push(Write::PutOutbox(entry.clone()));
                put_records(records, writes);
            }
            Self::Advanced(advance) => {
                if !advance.finished.is_empty() {
                    let recipients = advance.finished.clone();
                    writes.push(Write::FinishOutbox { message: advance.message, recipients });
                }
                put_records(&advance.records, writes);
                for (place, recipient) in (2..).zip(&advance.changed) {
                    let event = JournalEvent::MessageStateChanged {
                        message: advance.message,
                        conversation: advance.conversation,
                        recipient: recipient.clone(),
                        state: advance.state.clone(),
                    };
                    writes.push(Write::AppendJournal(JournalEntry { seq: seq + place, at, event }));
                }
            }
        }
    }
}

fn put_records(records: &Records, writes: &mut Vec<Write>) {
    writes.extend(records.iter().cloned().map(put_record));
}

fn put_record((kind, key, value): sync::Kept) -> Write {
    Write::PutRecord { kind, key, value }
}

fn put_line(line: Option<&Line>, writes: &mut Vec<Write>) {
    writes.extend(line.map(|(line, forget)| Write::KeepLine { line: line.clone(), forget: *forget }));
}

/// An effect whose batch has left. Its events take numbers after `seq`; the one of the journal is `seq + 2`.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) effect: Effect,
}

/// The order of things.
#[derive(Debug)]
pub(super) struct Ledger {
    account: AccountId,
    /// The last number given out.
    seq: u64,
    /// The last number that is durably ours.
    reserved: u64,
    reserving: bool,
    open: Vec<Effect>,
    under_way: Option<(BatchId, Vec<Sealed>)>,
    /// Effects of a finished batch are being applied: other events go behind theirs.
    applying: bool,
    batches: u64,
    deferred: VecDeque<(Timestamp, EventKind)>,
    events: VecDeque<Event>,
    answers: VecDeque<(u64, Answer)>,
    failures: u32,
    retry: Vec<Effect>,
    retry_at: Option<Instant>,
}

impl Ledger {
    /// `after` is the last number that may have been used before.
    pub(super) fn new(account: AccountId, after: u64) -> Self {
        Self {
            account,
            seq: after,
            reserved: after,
            reserving: false,
            open: Vec::new(),
            under_way: None,
            applying: false,
            batches: 0,
            deferred: VecDeque::new(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
            failures: 0,
            retry: Vec::new(),
            retry_at: None,
        }
    }

    /// The last number given out.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// How much waits for the store.
    pub(super) fn waiting(&self) -> usize {
        self.open.len() + self.under_way.as_ref().map_or(0, |(_, sealed)| sealed.len()) + self.retry.len()
    }

    /// Whether an event would be handed out at once.
    pub(super) fn is_clear(&self) -> bool {
        self.under_way.is_none() && !self.applying && self.reserved > self.seq
    }

    /// Takes something into the next batch.
    pub(super) fn keep(&mut self, effect: Effect) {
        // States of a message that were put aside come first: those after them wait too.
        if matches!(effect, Effect::Advanced(_)) && !self.retry.is_empty() {
            self.retry.push(effect);
        } else {
            self.open.push(effect);
        }
    }

    /// Takes the effects out of the next batch that `choose` names.
    pub(super) fn withdraw(&mut self, mut choose: impl FnMut(&Effect) -> bool) -> Vec<Effect> {
        self.open.extract_if(.., |effect| choose(effect)).collect()
    }

    /// Tells something, after everything that is under way.
    pub(super) fn emit(&mut self, at: Timestamp, kind: EventKind) {
        if self.is_clear() && self.deferred.is_empty() {
            self.push_next(at, kind);
            return;
        }
        if matches!(kind, EventKind::Diagnostic(_)) && self.deferred.len() >= DEFERRED_DIAGNOSTICS {
            return;
        }
        self.deferred.push_back((at, kind));
    }

    /// Tells something of a batch, under the number that was kept for it.
    pub(super) fn emit_sealed(&mut self, seq: &mut u64, at: Timestamp, kind: EventKind) {
        *seq += 1;
        self.events.push_back(Event { seq: *seq, at, account: self.account, kind });
    }

    pub(super) fn answer(&mut self, token: u64, answer: Answer) {
        self.answers.push_back((token, answer));
    }

    pub(super) fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        self.answers.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next batch, if none is under way.
    pub(super) fn poll_batch(&mut self, now: Now) -> Option<(BatchId, Batch)> {
        if self.under_way.is_some() || self.applying {
            return None;
        }
        if !self.reserving && self.reserved < self.seq + BLOCK / 2 {
            self.reserving = true;
            // First, because nothing else may use the numbers before.
            self.open.insert(0, Effect::Reserved(self.seq + BLOCK));
        }
        if self.open.is_empty() {
            return None;
        }
        let mut batch = Batch::default();
        let mut sealed = Vec::with_capacity(self.open.len());
        for effect in self.open.drain(..) {
            effect.write(self.seq, now.wall, &mut batch.writes);
            let slots = effect.slots();
            sealed.push(Sealed { seq: self.seq, at: now.wall, effect });
            self.seq += slots;
        }
        self.batches += 1;
        let id = BatchId(self.batches);
        self.under_way = Some((id, sealed));
        Some((id, batch))
    }

    /// What the batch was for, in order. [`finish`](Self::finish) must follow.
    pub(super) fn stored(&mut self, id: BatchId) -> Option<Vec<Sealed>> {
        if self.under_way.as_ref().is_none_or(|(known, _)| *known != id) {
            return None;
        }
        let (_, sealed) = self.under_way.take()?;
        self.applying = true;
        Some(sealed)
    }

    /// Every effect of the batch was applied: what waited behind it may go.
    pub(super) fn finish(&mut self) {
        self.applying = false;
        while self.is_clear() {
            let Some((at, kind)) = self.deferred.pop_front() else { break };
            self.push_next(at, kind);
        }
    }

    /// The reservation was kept, or not.
    pub(super) fn reserved(&mut self, end: u64, kept: bool) {
        self.reserving = false;
        // A store that fails must not silence presence: numbers go on, and grow again across the next restart through
        // the journal or the next reservation that is kept.
        self.reserved = end;
        if !kept {
            self.reserved = self.seq + BLOCK / 2 + 1024;
        }
    }

    /// Puts an effect aside that must happen, for when the store works again.
    pub(super) fn keep_later(&mut self, effect: Effect) {
        self.retry.push(effect);
    }

    /// Counts an outcome of the store, and sets the time for what was put aside.
    pub(super) fn note_outcome(&mut self, now: Now, ok: bool) {
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
        if !self.retry.is_empty() && self.retry_at.is_none() {
            self.retry_at = Some(now.instant + Duration::from_secs(1 << self.failures.min(6)));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn handle_timeout(&mut self, now: Now) {
        if self.retry_at.is_some_and(|at| at <= now.instant) {
            self.retry_at = None;
            // Before whatever came later, so that the order of one message's states holds.
            let later = core::mem::replace(&mut self.open, core::mem::take(&mut self.retry));
            self.open.extend(later);
        }
    }

    fn push_next(&mut self, at: Timestamp, kind: EventKind) {
        self.seq += 1;
        self.events.push_back(Event { seq: self.seq, at, account: self.account, kind });
    }
}
