//! Conversations and their transcripts.
//!
//! The first message either way opens one between two people; a command opens those of several, or with a subject. Silence or
//! a command closes it, and it stays readable after, also after a restart. With MESSAGE there is no session on the wire (RFC
//! 3428, section 1): a conversation is what people mean by one.
//!
//! A conversation is a record in the store, written with whatever changed it, so that what is told of it is durable. What
//! changes it next may come before that: [`Held::kept`] is how it will be, the snapshot how it is.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
    time::Instant,
};

use rpds::QueueSync;
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    code::Code,
    conversation::{Conversation, ConversationKind, Mode, Participant, ParticipantState},
    engine::{
        Engine,
        inbox::Key,
        ledger::{Effect, Sealed, Then, Ticket},
        talk::Telling,
    },
    error::Error,
    event::EventKind,
    id::{ConversationId, RequestId},
    snapshot::{ConversationEntry, TranscriptEntry},
    storage::{Record, RecordKind},
    time::Timestamp,
};

/// What is kept of a conversation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Kept {
    pub(super) conversation: Conversation,
    /// Its name on the wire; none where it needs none: two people, and nothing said of it.
    pub(super) wire: Option<Arc<str>>,
    /// Whether the account itself takes part: it has not left, and was not taken out.
    pub(super) present: bool,
    /// Since when that holds.
    pub(super) since: Timestamp,
    /// Who does not know yet how it stands.
    pub(super) untold: Vec<Address>,
}

impl Kept {
    pub(super) fn new(id: ConversationId, kind: ConversationKind, at: Timestamp) -> Self {
        let conversation = Conversation {
            id,
            kind,
            mode: Mode::Pager,
            participants: Vec::new(),
            subject: Arc::from(""),
            context: None,
            focus: None,
            opened_at: at,
            closed_at: None,
        };
        Self { conversation, wire: None, present: true, since: at, untold: Vec::new() }
    }

    fn direct(id: ConversationId, peer: &Address, at: Timestamp) -> Self {
        let mut kept = Self::new(id, ConversationKind::Direct, at);
        kept.conversation.participants.push(participant(peer, ParticipantState::Joined, at));
        kept
    }

    /// The other one of two people.
    pub(super) fn peer(&self) -> Option<&Address> {
        match &*self.conversation.participants {
            [one] if self.conversation.kind == ConversationKind::Direct => Some(&one.address),
            _ => None,
        }
    }

    /// Two people become several: from now on everybody gets what is written, each by itself.
    pub(super) fn becomes_group(&mut self) {
        self.conversation.kind = ConversationKind::Group;
        self.conversation.mode = Mode::Pager;
    }

    /// The same people go on, in a conversation that readers see as another one.
    pub(super) fn reopened(&self, id: ConversationId, at: Timestamp) -> Self {
        let mut kept = self.clone();
        kept.conversation.id = id;
        kept.conversation.opened_at = at;
        kept.conversation.closed_at = None;
        kept
    }

    /// As the store has it.
    pub(super) fn record(&self) -> (RecordKind, Arc<str>, Option<Arc<str>>) {
        let value = serde_json::to_string(self).expect("plain data is JSON");
        (RecordKind::Conversation, key(self.conversation.id), Some(value.into()))
    }
}

fn key(id: ConversationId) -> Arc<str> {
    id.to_string().into()
}

pub(super) fn participant(address: &Address, state: ParticipantState, since: Timestamp) -> Participant {
    Participant { address: address.clone(), name: Arc::from(""), state, since }
}

/// A change of a conversation that is being kept, and what follows when it is.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kept: Kept,
    pub(super) after: After,
}

/// What follows when a change is kept.
#[derive(Debug)]
pub(super) enum After {
    /// Nothing more.
    Nothing,
    /// Whoever does not know of it is told.
    Tell,
    /// They are told, and a command is answered, and completes when everybody was told.
    Answer(Ticket),
    /// A message is answered that brought the change.
    Respond(Key),
}

/// What is known of a conversation beside what readers see.
#[derive(Debug)]
pub(super) struct Held {
    /// As it will be when everything is durable.
    pub(super) kept: Kept,
    /// Changes that are not durable.
    pending: u32,
    last: Instant,
    lines: usize,
    bytes: usize,
    /// Commands that wait until everybody was told.
    pub(super) waiting: Vec<RequestId>,
    /// Why somebody could not be told.
    pub(super) failure: Option<Error>,
}

/// Conversations by whom they are with.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    /// The open one with each person.
    open: HashMap<Address, ConversationId>,
    /// Open ones by their names on the wire.
    wires: HashMap<Arc<str>, ConversationId>,
    pub(super) held: HashMap<ConversationId, Held>,
    /// Closed ones, oldest first: the first to be forgotten.
    closed: VecDeque<ConversationId>,
    /// Deadlines of open ones, in order; entries that no longer hold are skipped.
    idle: VecDeque<(Instant, ConversationId)>,
    /// What others have to be told.
    pub(super) telling: Telling,
}

impl Engine {
    // ---- finding ----

    /// The open conversation with somebody, or a new one.
    pub(super) fn conversation_with(&mut self, peer: &Address) -> ConversationId {
        self.conversation_by(peer, Mode::Pager)
    }

    /// The same; a new one is carried that way from its beginning.
    pub(super) fn conversation_by(&mut self, peer: &Address, mode: Mode) -> ConversationId {
        if let Some(id) = self.conversations.open.get(peer) {
            return *id;
        }
        let id = ConversationId(self.next_id());
        let mut kept = Kept::direct(id, peer, self.now.wall);
        kept.conversation.mode = mode;
        self.stage(kept, After::Nothing);
        id
    }

    /// The open conversation with somebody, once it is there for readers.
    pub(super) fn open_conversation_with(&self, peer: &Address) -> Option<ConversationId> {
        let open = self.conversations.open.get(peer).copied();
        open.filter(|id| self.view.conversations.contains_key(id))
    }

    /// The open conversation with this name on the wire.
    pub(super) fn conversation_named(&self, wire: &str) -> Option<ConversationId> {
        self.conversations.wires.get(wire).copied()
    }

    /// An open conversation for a command, as it will be when everything is durable.
    pub(super) fn open_conversation(&self, id: ConversationId) -> Result<&Kept, Error> {
        match self.conversations.held.get(&id) {
            None => Err(Error::new(Code::ConversationNotFound, format!("there is no conversation {id}"))),
            Some(held) if !held.kept.conversation.is_open() => {
                Err(Error::new(Code::Closed, "the conversation was closed before"))
            }
            Some(held) => Ok(&held.kept),
        }
    }

    // ---- changing ----

    /// Begins or changes a conversation: everybody sees it when it is durable.
    pub(super) fn stage(&mut self, kept: Kept, after: After) {
        let id = kept.conversation.id;
        let now = self.now.instant;
        if let Entry::Vacant(vacant) = self.conversations.held.entry(id) {
            vacant.insert(Held {
                kept: kept.clone(),
                pending: 0,
                last: now,
                lines: 0,
                bytes: 0,
                waiting: Vec::new(),
                failure: None,
            });
            // Conversations that are gone leave their entries behind; a flood of new ones must not pile them up.
            if self.conversations.idle.len() > 2 * self.config.limits.conversations {
                let held = &self.conversations.held;
                self.conversations.idle.retain(|(_, id)| held.contains_key(id));
            }
            self.conversations.idle.push_back((now + self.config.conversation_idle, id));
        }
        self.index(&kept);
        if let Some(held) = self.conversations.held.get_mut(&id) {
            held.pending += 1;
            held.kept = kept.clone();
        }
        self.ledger.keep(Effect::Conversation(Box::new(Change { kept, after })));
    }

    /// From now on the same for whatever comes before it is durable.
    fn index(&mut self, kept: &Kept) {
        let id = kept.conversation.id;
        if !kept.conversation.is_open() {
            // Who knows of it may change after its end; nothing new belongs to it for that.
            return;
        }
        if let Some(wire) = &kept.wire {
            self.conversations.wires.insert(wire.clone(), id);
        }
        match kept.peer() {
            Some(peer) => {
                self.conversations.open.insert(peer.clone(), id);
            }
            // One of two people that became one of several.
            None => self.conversations.open.retain(|_, known| *known != id),
        }
    }

    fn unindex(&mut self, kept: &Kept) {
        let id = kept.conversation.id;
        if let Some(wire) = &kept.wire
            && self.conversations.wires.get(wire) == Some(&id)
        {
            self.conversations.wires.remove(wire);
        }
        if let Some(peer) = kept.peer()
            && self.conversations.open.get(peer) == Some(&id)
        {
            self.conversations.open.remove(peer);
        }
    }

    /// A change is durable: shows it.
    pub(super) fn apply_conversation(&mut self, sealed: &Sealed, change: &Change) {
        let id = change.kept.conversation.id;
        let mut seq = sealed.seq;
        let mut shown = change.kept.conversation.clone();
        if let Some(held) = self.conversations.held.get_mut(&id) {
            held.pending = held.pending.saturating_sub(1);
            // Closed since, which waits for nothing.
            shown.closed_at = held.kept.conversation.closed_at;
            self.show_conversation(shown, &mut |ledger, kind| ledger.emit_sealed(&mut seq, sealed.at, kind));
            // What one of them has taken is no news for the others.
            if matches!(change.after, After::Tell | After::Answer(_)) {
                self.tell_others(id, &change.kept.untold);
            }
        }
        match &change.after {
            After::Nothing | After::Tell => {}
            After::Answer(ticket) => self.answer_conversation(*ticket, id),
            After::Respond(key) => self.inbox_stored(*key, sealed.at),
        }
        self.complete_told(id);
        self.forget_conversations();
    }

    /// A change could not be kept: nothing of it happened.
    pub(super) fn refuse_conversation(&mut self, change: &Change, error: &Error) {
        let id = change.kept.conversation.id;
        if let Some(held) = self.conversations.held.get_mut(&id) {
            held.pending = held.pending.saturating_sub(1);
            if held.pending == 0 {
                match self.view.conversations.get(&id) {
                    Some(entry) => {
                        held.kept.conversation = Conversation::clone(&entry.conversation);
                        let kept = held.kept.clone();
                        self.index(&kept);
                    }
                    None => {
                        self.unindex(&change.kept);
                        self.conversations.held.remove(&id);
                    }
                }
            }
        }
        match change.after {
            After::Nothing | After::Tell => {}
            After::Answer(ticket) => self.ledger.answer(ticket.token, Err(error.clone())),
            After::Respond(key) => self.inbox_refused(key),
        }
    }

    /// Puts a conversation into what readers see, and says what is new.
    fn show_conversation(
        &mut self,
        shown: Conversation,
        tell: &mut dyn FnMut(&mut crate::engine::ledger::Ledger, EventKind),
    ) {
        let id = shown.id;
        let shown = Arc::new(shown);
        let Some(entry) = self.view.conversations.get_mut(&id) else {
            let entry = ConversationEntry { conversation: shown.clone(), transcript: QueueSync::new_sync() };
            self.view.conversations.insert_mut(id, entry);
            tell(&mut self.ledger, EventKind::ConversationOpened(shown));
            return;
        };
        let before = core::mem::replace(&mut entry.conversation, shown.clone());
        if before == shown {
            return;
        }
        let mut lines = Vec::new();
        for one in &shown.participants {
            let was = before.participant(&one.address).map(|one| one.state);
            let event = match one.state {
                ParticipantState::Joined if was != Some(ParticipantState::Joined) => {
                    EventKind::ParticipantJoined { conversation: id, participant: one.clone() }
                }
                ParticipantState::Left if was.is_some_and(ParticipantState::is_present) => {
                    EventKind::ParticipantLeft { conversation: id, participant: one.clone() }
                }
                _ => continue,
            };
            tell(&mut self.ledger, event);
            lines.push(TranscriptEntry::Participant { participant: one.clone() });
        }
        tell(&mut self.ledger, EventKind::ConversationChanged(shown));
        for line in lines {
            self.write_line(id, line);
        }
    }

    // ---- transcripts ----

    /// Adds a line. Returns the conversation when the line opened it, which only one from before a restart does.
    pub(super) fn add_line(
        &mut self,
        id: ConversationId,
        peer: &Address,
        at: Timestamp,
        line: TranscriptEntry,
    ) -> Option<Arc<Conversation>> {
        let mut opened = None;
        if !self.view.conversations.contains_key(&id) {
            let kept = Kept::direct(id, peer, at);
            self.restore_conversation(kept);
            opened = self.view.conversations.get(&id).map(|entry| entry.conversation.clone());
        }
        if matches!(line, TranscriptEntry::Incoming(_)) {
            self.note_present(id, peer);
        }
        self.write_line(id, line);
        self.forget_conversations();
        opened
    }

    pub(super) fn write_line(&mut self, id: ConversationId, line: TranscriptEntry) {
        let now = self.now.instant;
        let limits = &self.config.limits;
        if let (Some(held), Some(entry)) =
            (self.conversations.held.get_mut(&id), self.view.conversations.get_mut(&id))
        {
            held.last = now;
            held.lines += 1;
            held.bytes += length(&line);
            entry.transcript.enqueue_mut(line);
            while held.lines > 1
                && (held.lines > limits.transcript_lines || held.bytes > limits.transcript_bytes)
            {
                let dropped = entry.transcript.peek().map_or(0, length);
                entry.transcript.dequeue_mut();
                held.lines -= 1;
                held.bytes -= dropped;
            }
        }
    }

    // ---- restoring ----

    /// Conversations as they were left, oldest first.
    pub(super) fn restore_conversations(&mut self, records: &[Record]) {
        let mut kept: Vec<Kept> = records
            .iter()
            .filter(|record| record.kind == RecordKind::Conversation)
            .filter_map(|record| serde_json::from_str(&record.value).ok())
            .collect();
        kept.sort_by_key(|kept| kept.conversation.id);
        for kept in kept {
            self.ids.skip_past(kept.conversation.id.0);
            self.restore_conversation(kept);
        }
        self.forget_conversations();
    }

    /// Puts a conversation in that is durable, or whose messages are.
    fn restore_conversation(&mut self, kept: Kept) {
        let id = kept.conversation.id;
        let now = self.now.instant;
        let entry = ConversationEntry {
            conversation: Arc::new(kept.conversation.clone()),
            transcript: QueueSync::new_sync(),
        };
        self.view.conversations.insert_mut(id, entry);
        if kept.conversation.is_open() {
            self.index(&kept);
            self.conversations.idle.push_back((now + self.config.conversation_idle, id));
        } else {
            self.conversations.closed.push_back(id);
        }
        let untold = kept.untold.clone();
        let held =
            Held { kept, pending: 0, last: now, lines: 0, bytes: 0, waiting: Vec::new(), failure: None };
        self.conversations.held.insert(id, held);
        self.tell_others(id, &untold);
    }

    // ---- closing ----

    /// The command.
    pub(super) fn close_conversation(&mut self, ticket: Ticket, id: ConversationId) {
        let error = match self.view.conversations.get(&id) {
            Some(entry) if entry.conversation.is_open() => {
                self.accept(ticket);
                self.leave(id);
                self.end_conversation(id);
                return self.complete(ticket.request, Ok(()));
            }
            Some(_) => Error::new(Code::Closed, "the conversation was closed before"),
            None => Error::new(Code::ConversationNotFound, format!("there is no conversation {id}")),
        };
        self.ledger.answer(ticket.token, Err(error));
    }

    /// When the next silent conversation is due, or somebody is to be told something again.
    pub(super) fn conversations_timeout(&self) -> Option<Instant> {
        let idle = self.conversations.idle.front().map(|(at, _)| *at);
        [idle, self.telling_timeout()].into_iter().flatten().min()
    }

    /// Closes those that were silent for long. A conference goes on without a word: its focus ends it, or a command does.
    pub(super) fn close_idle(&mut self) {
        let now = self.now.instant;
        while let Some(&(at, id)) = self.conversations.idle.front() {
            if at > now {
                break;
            }
            self.conversations.idle.pop_front();
            let Some(held) = self.conversations.held.get(&id) else { continue };
            if !held.kept.conversation.is_open() {
                continue;
            }
            let conference = held.kept.conversation.kind == ConversationKind::Conference;
            let last = if conference { now } else { held.last };
            let due = last + self.config.conversation_idle;
            if due > now || held.pending > 0 {
                // Deadlines are only pushed with one and the same wait, so they stay in order but for this one.
                let due = due.max(now + core::time::Duration::from_secs(1));
                let place = self.conversations.idle.partition_point(|(at, _)| *at <= due);
                self.conversations.idle.insert(place, (due, id));
            } else {
                self.end_conversation(id);
            }
        }
        self.tell_ready();
    }

    /// Closes a conversation, whatever waits for the store: nothing that is said is lost by it.
    pub(super) fn end_conversation(&mut self, id: ConversationId) {
        let at = self.now.wall;
        if !self.view.conversations.get(&id).is_some_and(|entry| entry.conversation.is_open()) {
            return;
        }
        let Some(entry) = self.view.conversations.get_mut(&id) else { return };
        let conversation =
            Arc::new(Conversation { closed_at: Some(at), ..Conversation::clone(&entry.conversation) });
        entry.conversation = conversation.clone();
        if let Some(held) = self.conversations.held.get_mut(&id) {
            held.kept.conversation.closed_at = Some(at);
            let kept = held.kept.clone();
            self.unindex(&kept);
            self.ledger.keep(Effect::Records { records: vec![kept.record()], then: Then::Nothing });
        }
        self.give_up_waiting(id);
        self.conversations.closed.push_back(id);
        self.ledger.emit(at, EventKind::ConversationClosed(conversation));
        self.close_chats(id);
        self.forget_conversations();
    }

    /// The conversation is over: commands that wait until others know of it do not wait any longer than for what is being
    /// told them.
    fn give_up_waiting(&mut self, id: ConversationId) {
        let held = self.conversations.held.get_mut(&id);
        if let Some(held) = held.filter(|held| !held.waiting.is_empty()) {
            held.failure.get_or_insert_with(closed_meanwhile);
            self.complete_told(id);
        }
    }

    /// Keeps their number bounded: closed ones go first, then the most silent open ones are closed.
    fn forget_conversations(&mut self) {
        let mut records = Vec::new();
        while self.conversations.held.len() > self.config.limits.conversations {
            let id = match self.conversations.closed.pop_front() {
                Some(id) => id,
                None => {
                    let open = self.conversations.held.iter().filter(|(_, held)| held.pending == 0);
                    let silent = open.min_by_key(|(id, held)| (held.last, **id)).map(|(id, _)| *id);
                    // Those that are being kept are bounded by what may wait for the store.
                    let Some(id) = silent else { break };
                    let at = self.now.wall;
                    if let Some(entry) = self.view.conversations.get(&id) {
                        let closed =
                            Conversation { closed_at: Some(at), ..Conversation::clone(&entry.conversation) };
                        self.ledger.emit(at, EventKind::ConversationClosed(Arc::new(closed)));
                    }
                    id
                }
            };
            self.forget_telling(id);
            self.close_chats(id);
            if let Some(held) = self.conversations.held.remove(&id) {
                self.unindex(&held.kept);
                for request in held.waiting {
                    self.complete(request, Err(closed_meanwhile()));
                }
            }
            self.view.conversations.remove_mut(&id);
            records.push((RecordKind::Conversation, key(id), None));
        }
        if !records.is_empty() {
            self.ledger.keep(Effect::Records { records, then: Then::Nothing });
        }
    }
}

fn closed_meanwhile() -> Error {
    Error::new(Code::UserCancelled, "the conversation was closed meanwhile")
}

fn length(line: &TranscriptEntry) -> usize {
    match line {
        TranscriptEntry::Incoming(message) => message.content.size(),
        TranscriptEntry::Outgoing(message) => message.content.size(),
        TranscriptEntry::Participant { .. } | TranscriptEntry::Call(_) => 64,
    }
}
