//! Conversations between two people, and their transcripts.
//!
//! The first message either way opens one, silence or a command closes it, and it stays readable after. With MESSAGE
//! there is no session on the wire (RFC 3428, section 1): a conversation is what people mean by one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use rpds::QueueSync;

use crate::{
    address::Address,
    code::Code,
    conversation::{Conversation, ConversationKind, Mode, Participant, ParticipantState},
    engine::{Engine, ledger::Ticket},
    error::Error,
    event::EventKind,
    id::ConversationId,
    snapshot::{ConversationEntry, TranscriptEntry},
    time::Timestamp,
};

/// What is known of a conversation beside what readers see.
#[derive(Debug)]
struct Held {
    peer: Address,
    last: Instant,
    lines: usize,
    bytes: usize,
}

/// Conversations by whom they are with.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    /// The open one with each person.
    open: HashMap<Address, ConversationId>,
    held: HashMap<ConversationId, Held>,
    /// Closed ones, oldest first: the first to be forgotten.
    closed: VecDeque<ConversationId>,
    /// Deadlines of open ones, in order; entries that no longer hold are skipped.
    idle: VecDeque<(Instant, ConversationId)>,
}

impl Engine {
    /// The open conversation with somebody, or the handle that a new one will have. It opens with its first line.
    pub(super) fn conversation_with(&mut self, peer: &Address) -> ConversationId {
        if let Some(id) = self.conversations.open.get(peer) {
            return *id;
        }
        let id = ConversationId(self.next_id());
        // From now on the same for whatever comes before the first line is durable.
        self.conversations.open.insert(peer.clone(), id);
        id
    }

    /// Adds a line. Returns the conversation when the line opened it.
    pub(super) fn add_line(
        &mut self,
        id: ConversationId,
        peer: &Address,
        at: Timestamp,
        line: TranscriptEntry,
    ) -> Option<Arc<Conversation>> {
        let now = self.now.instant;
        let bytes = length(&line);
        let mut opened = None;
        if !self.conversations.held.contains_key(&id) {
            let conversation = Arc::new(Conversation {
                id,
                kind: ConversationKind::Direct,
                mode: Mode::Pager,
                participants: vec![Participant {
                    address: peer.clone(),
                    name: Arc::from(""),
                    state: ParticipantState::Joined,
                    since: at,
                }],
                subject: Arc::from(""),
                context: None,
                focus: None,
                opened_at: at,
                closed_at: None,
            });
            let entry =
                ConversationEntry { conversation: conversation.clone(), transcript: QueueSync::new_sync() };
            self.view.conversations.insert_mut(id, entry);
            let held = Held { peer: peer.clone(), last: now, lines: 0, bytes: 0 };
            self.conversations.held.insert(id, held);
            self.conversations.open.insert(peer.clone(), id);
            // Conversations that are gone leave their entries behind; a flood of new ones must not pile them up.
            if self.conversations.idle.len() > 2 * self.config.limits.conversations {
                let held = &self.conversations.held;
                self.conversations.idle.retain(|(_, id)| held.contains_key(id));
            }
            self.conversations.idle.push_back((now + self.config.conversation_idle, id));
            opened = Some(conversation);
        }
        let limits = &self.config.limits;
        if let (Some(held), Some(entry)) =
            (self.conversations.held.get_mut(&id), self.view.conversations.get_mut(&id))
        {
            entry.transcript.enqueue_mut(line);
            held.last = now;
            held.lines += 1;
            held.bytes += bytes;
            while held.lines > 1
                && (held.lines > limits.transcript_lines || held.bytes > limits.transcript_bytes)
            {
                let dropped = entry.transcript.peek().map_or(0, length);
                entry.transcript.dequeue_mut();
                held.lines -= 1;
                held.bytes -= dropped;
            }
        }
        self.forget_conversations();
        opened
    }

    /// What would have been the first line was not kept.
    pub(super) fn abandon_conversation(&mut self, id: ConversationId, peer: &Address) {
        if !self.conversations.held.contains_key(&id) && self.conversations.open.get(peer) == Some(&id) {
            self.conversations.open.remove(peer);
        }
    }

    /// The command.
    pub(super) fn close_conversation(&mut self, ticket: Ticket, id: ConversationId) {
        match self.view.conversations.get(&id) {
            None => {
                let text = format!("there is no conversation {id}");
                self.ledger.answer(ticket.token, Err(Error::new(Code::ConversationNotFound, text)));
            }
            Some(entry) if entry.conversation.closed_at.is_some() => {
                let error = Error::new(Code::Closed, "the conversation was closed before");
                self.ledger.answer(ticket.token, Err(error));
            }
            Some(_) => {
                self.accept(ticket);
                self.end_conversation(id);
                self.complete(ticket.request, Ok(()));
            }
        }
    }

    /// When the next silent conversation is due.
    pub(super) fn conversations_timeout(&self) -> Option<Instant> {
        self.conversations.idle.front().map(|(at, _)| *at)
    }

    /// Closes those that were silent for long.
    pub(super) fn close_idle(&mut self) {
        let now = self.now.instant;
        while let Some(&(at, id)) = self.conversations.idle.front() {
            if at > now {
                return;
            }
            self.conversations.idle.pop_front();
            let Some(held) = self.conversations.held.get(&id) else { continue };
            if self.conversations.open.get(&held.peer) != Some(&id) {
                continue;
            }
            let due = held.last + self.config.conversation_idle;
            if due > now {
                // Deadlines are only pushed with one and the same wait, so they stay in order but for this one.
                let place = self.conversations.idle.partition_point(|(at, _)| *at <= due);
                self.conversations.idle.insert(place, (due, id));
            } else {
                self.end_conversation(id);
            }
        }
    }

    fn end_conversation(&mut self, id: ConversationId) {
        let at = self.now.wall;
        let Some(entry) = self.view.conversations.get_mut(&id) else { return };
        let conversation =
            Arc::new(Conversation { closed_at: Some(at), ..Conversation::clone(&entry.conversation) });
        entry.conversation = conversation.clone();
        if let Some(held) = self.conversations.held.get(&id)
            && self.conversations.open.get(&held.peer) == Some(&id)
        {
            self.conversations.open.remove(&held.peer.clone());
        }
        self.conversations.closed.push_back(id);
        self.ledger.emit(at, EventKind::ConversationClosed(conversation));
        self.forget_conversations();
    }

    /// Keeps their number bounded: closed ones go first, then the most silent open ones are closed.
    fn forget_conversations(&mut self) {
        while self.conversations.held.len() > self.config.limits.conversations {
            if let Some(id) = self.conversations.closed.pop_front() {
                self.conversations.held.remove(&id);
                self.view.conversations.remove_mut(&id);
                continue;
            }
            let silent =
                self.conversations.held.iter().min_by_key(|(id, held)| (held.last, **id)).map(|(id, _)| *id);
            let Some(id) = silent else { return };
            let at = self.now.wall;
            if let Some(entry) = self.view.conversations.get(&id) {
                let closed = Conversation { closed_at: Some(at), ..Conversation::clone(&entry.conversation) };
                self.ledger.emit(at, EventKind::ConversationClosed(Arc::new(closed)));
            }
            if let Some(held) = self.conversations.held.remove(&id)
                && self.conversations.open.get(&held.peer) == Some(&id)
            {
                self.conversations.open.remove(&held.peer);
            }
            self.view.conversations.remove_mut(&id);
        }
    }
}

fn length(line: &TranscriptEntry) -> usize {
    match line {
        TranscriptEntry::Incoming(message) => message.content.size(),
        TranscriptEntry::Outgoing(message) => message.content.size(),
        TranscriptEntry::Participant { .. } | TranscriptEntry::Call(_) => 0,
    }
}
