//! Messages of ours, from acceptance to their last state.
//!
//! A message is transmitted only when it is durable, and forgotten only when its outcome is. To one person, one message
//! is under way at a time (RFC 3428, section 8), so they arrive in order; to different people, several. Every attempt
//! carries the same Call-ID and the same identity of its own, by which the other side's engine knows it again.

use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_sip::agent::{self, Cause, MessageParams};
use bytes::Bytes;

use crate::{
    address::Address,
    code::Code,
    command::{Accepted, Command},
    engine::{
        Engine,
        ledger::{Effect, Sealed, Ticket},
    },
    error::{Error, Retry},
    event::{EventKind, SessionState},
    id::{MessageId, RequestId},
    message::{MessageState, Origin, OutgoingMessage, Text},
    snapshot::TranscriptEntry,
    storage::OutboxEntry,
};

/// Header with the identity of a message: its handle at the sender. A proxy's challenge changes CSeq, a lost answer is
/// no reason to say a thing twice.
pub(super) const IDENTITY: &str = "Attache-Message";

/// First pause between attempts at one message; doubles up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Queued {
    entry: Arc<OutboxEntry>,
    attempts: u32,
    /// Its credentials were refused, and the registrar was asked whether they are good.
    doubted: bool,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Queued>,
    sending: Option<agent::MessageId>,
    not_before: Option<Instant>,
}

/// Messages that are not done.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: HashMap<Address, Lane>,
    /// Lanes that want to send, in the order in which they may.
    ready: VecDeque<Address>,
    paused: BTreeSet<(Instant, Arc<str>)>,
    under_way: HashMap<agent::MessageId, Address>,
    /// Credentials were refused: nothing leaves before the registrar has said what they are worth.
    held: bool,
    /// Who waits for the outcome.
    requests: HashMap<MessageId, RequestId>,
    /// Accepted and not finished, those under way to the store among them.
    count: usize,
}

impl Engine {
    /// The command: checks it and keeps the message.
    pub(super) fn send(&mut self, ticket: Ticket, command: Command) {
        let Command::Send { to, text, author, origin } = command else { return };
        if let Err(error) = self.check_send(&to, &text) {
            self.ledger.answer(ticket.token, Err(error));
            return;
        }
        let conversation = self.conversation_with(&to);
        let id = MessageId(self.next_id());
        let message = Arc::new(OutgoingMessage {
            id,
            conversation,
            contact: self.view.by_address.get(&to).copied(),
            recipient: to,
            text,
            author,
            origin,
            accepted_at: self.now.wall,
        });
        let call_id = format!("{:016x}{:016x}@attache", self.random(), id.0);
        self.outbox.count += 1;
        self.outbox.requests.insert(id, ticket.request);
        let entry = Arc::new(OutboxEntry { message, call_id, attempts: 0 });
        self.ledger.keep(Effect::Accepted { ticket, entry });
    }

    fn check_send(&self, to: &Address, text: &Text) -> Result<(), Error> {
        if *to == self.config.address {
            return Err(Error::new(Code::SessionInvitedSelf, "a message to yourself cannot be sent"));
        }
        to.to_uri()?;
        if text.as_str().is_empty() {
            return Err(Error::new(Code::InvalidArgument, "a message needs a text"));
        }
        if text.as_str().len() > Text::MAX {
            return Err(Error::new(
                Code::MessageTooLong,
                format!("the text is longer than {} bytes", Text::MAX),
            ));
        }
        if self.outbox.count >= self.config.limits.outbox {
            let text = format!("{} messages wait to be sent already", self.config.limits.outbox);
            return Err(Error::new(Code::TooManyMessages, text).retry(Retry::AfterChange));
        }
        Ok(())
    }

    /// The message is durable: shows it, and sends it when its turn comes.
    pub(super) fn apply_accepted(&mut self, sealed: &Sealed, ticket: Ticket, entry: &Arc<OutboxEntry>) {
        let message = entry.message.clone();
        let mut seq = sealed.seq;
        let line = TranscriptEntry::Outgoing(message.clone());
        match self.add_line(message.conversation, &message.recipient, sealed.at, line) {
            Some(opened) => {
                self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::ConversationOpened(opened));
            }
            None => seq += 1,
        }
        self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::MessageAccepted(message.clone()));
        self.ledger.answer(
            ticket.token,
            Ok(Accepted { message: Some(message.id), ..Accepted::new(ticket.request) }),
        );
        self.enqueue(entry.clone());
    }

    /// The message could not be kept: nothing of it happened.
    pub(super) fn refuse_accepted(&mut self, ticket: Ticket, entry: &Arc<OutboxEntry>, error: Error) {
        self.outbox.count -= 1;
        self.outbox.requests.remove(&entry.message.id);
        self.abandon_conversation(entry.message.conversation, &entry.message.recipient);
        self.ledger.answer(ticket.token, Err(error));
    }

    /// A message that was in the outbox when the engine began.
    pub(super) fn restore_message(&mut self, entry: OutboxEntry) {
        let message = entry.message.clone();
        self.outbox.count += 1;
        let line = TranscriptEntry::Outgoing(message.clone());
        self.add_line(message.conversation, &message.recipient, message.accepted_at, line);
        self.enqueue(Arc::new(entry));
    }

    fn enqueue(&mut self, entry: Arc<OutboxEntry>) {
        let peer = entry.message.recipient.clone();
        let lane = self.outbox.lanes.entry(peer.clone()).or_default();
        let attempts = entry.attempts;
        lane.queue.push_back(Queued { entry, attempts, doubted: false });
        if lane.queue.len() == 1 {
            self.outbox.ready.push_back(peer);
        }
        self.send_ready();
    }

    /// Sends what may be sent: signed in, one to each person, and not too many at once.
    pub(super) fn send_ready(&mut self) {
        if self.view.session != SessionState::SignedIn || self.outbox.held {
            return;
        }
        while self.outbox.under_way.len() < self.config.limits.sending {
            let Some(peer) = self.outbox.ready.pop_front() else { return };
            let Some(lane) = self.outbox.lanes.get_mut(&peer) else { continue };
            if lane.sending.is_some() || lane.not_before.is_some_and(|at| at > self.now.instant) {
                continue;
            }
            lane.not_before = None;
            let Some(queued) = lane.queue.front_mut() else { continue };
            queued.attempts += 1;
            let params = match params(&queued.entry) {
                Ok(params) => params,
                Err(error) => {
                    self.finish_message(&peer, MessageState::Failed(error));
                    continue;
                }
            };
            let id = self.agent.send_message(self.now.instant, params);
            if let Some(lane) = self.outbox.lanes.get_mut(&peer) {
                lane.sending = Some(id);
            }
            self.outbox.under_way.insert(id, peer);
        }
    }

    /// When a paused message is due.
    pub(super) fn outbox_timeout(&self) -> Option<Instant> {
        if self.view.session != SessionState::SignedIn || self.outbox.held {
            return None;
        }
        self.outbox.paused.first().map(|(at, _)| *at)
    }

    /// Wakes paused messages whose time has come.
    pub(super) fn wake_messages(&mut self) {
        while let Some((at, _)) = self.outbox.paused.first()
            && *at <= self.now.instant
        {
            let Some((_, canonical)) = self.outbox.paused.pop_first() else { return };
            if let Ok(peer) = Address::parse(&canonical) {
                self.outbox.ready.push_back(peer);
            }
        }
        self.send_ready();
    }

    pub(super) fn on_message_sent(&mut self, id: agent::MessageId, status: u16) {
        let Some(peer) = self.outbox.under_way.remove(&id) else { return };
        let state = if status == 202 { MessageState::Sent } else { MessageState::Delivered };
        self.finish_message(&peer, state);
    }

    pub(super) fn on_message_failed(&mut self, id: agent::MessageId, cause: &Cause, retry: Option<Duration>) {
        let Some(peer) = self.outbox.under_way.remove(&id) else { return };
        let Some(lane) = self.outbox.lanes.get_mut(&peer) else { return };
        lane.sending = None;
        let Some(queued) = lane.queue.front_mut() else { return };
        // A refused proof says nothing of the message, and any peer can refuse one: the registrar knows. Where it takes
        // the same password, a second refusal is the other side's word on this message.
        let unproven = matches!(cause, Cause::WrongPassword { .. } | Cause::UnsupportedChallenge { .. });
        if unproven && !core::mem::replace(&mut queued.doubted, true) {
            queued.attempts -= 1;
            self.outbox.ready.push_front(peer);
            self.outbox.held = true;
            if self.view.session == SessionState::SignedIn {
                self.register();
            }
            return;
        }
        // Nobody decided: while the service is away this is no attempt. A service that lives and does not answer for
        // the recipient counts, or a dead phone would be rung for ever.
        let away = cause.is_outage() && self.view.session != SessionState::SignedIn;
        if away {
            queued.attempts -= 1;
        }
        let attempts = queued.attempts;
        // Somebody who cannot be reached now (480, 486, 600) is for the writer to know at once, not for us to ring.
        let again = cause.is_outage() || retry.is_some() && matches!(cause.status(), Some(429 | 491));
        if !again || attempts >= self.config.message_attempts {
            self.finish_message(&peer, MessageState::Failed(failure(cause)));
            return;
        }
        let doubled = PAUSE.saturating_mul(1 << attempts.min(8)).min(MAX_PAUSE);
        let chance = self.random() % 512;
        let pause =
            doubled.mul_f64(0.5 + chance as f64 / 1024.0).max(retry.unwrap_or_default().min(MAX_PAUSE));
        let at = self.now.instant + pause;
        if let Some(lane) = self.outbox.lanes.get_mut(&peer) {
            lane.not_before = Some(at);
        }
        self.outbox.paused.insert((at, peer.canonical().into()));
        if cause.is_outage() {
            self.suspect_outage();
        }
        // A place among those under way is free.
        self.send_ready();
    }

    /// The registrar has decided; what was held back goes, as far as the session lets it.
    pub(super) fn release_outbox(&mut self) {
        if core::mem::take(&mut self.outbox.held) {
            self.send_ready();
        }
    }

    /// The service is back: what waits for a pause need not wait longer.
    pub(super) fn resume_outbox(&mut self) {
        self.outbox.held = false;
        self.outbox.paused.clear();
        let mut peers: Vec<(MessageId, Address)> = Vec::new();
        for (peer, lane) in &mut self.outbox.lanes {
            lane.not_before = None;
            if lane.sending.is_none()
                && let Some(first) = lane.queue.front()
            {
                peers.push((first.entry.message.id, peer.clone()));
            }
        }
        // Oldest first, whatever the order of the map.
        peers.sort_by_key(|(id, _)| *id);
        self.outbox.ready = peers.into_iter().map(|(_, peer)| peer).collect();
        self.send_ready();
    }

    /// The first message of a lane is done: keeps that, and goes on with the next one.
    fn finish_message(&mut self, peer: &Address, state: MessageState) {
        let Some(lane) = self.outbox.lanes.get_mut(peer) else { return };
        lane.sending = None;
        let Some(done) = lane.queue.pop_front() else { return };
        if lane.queue.is_empty() {
            self.outbox.lanes.remove(peer);
        } else {
            self.outbox.ready.push_back(peer.clone());
        }
        self.ledger.keep(Effect::Finished { message: done.entry.message.clone(), state });
        self.send_ready();
    }

    /// The outcome is durable.
    pub(super) fn apply_finished(
        &mut self,
        sealed: &Sealed,
        message: &Arc<OutgoingMessage>,
        state: &MessageState,
    ) {
        self.outbox.count -= 1;
        let kind = EventKind::MessageStateChanged {
            message: message.id,
            conversation: message.conversation,
            recipient: message.recipient.clone(),
            state: state.clone(),
        };
        // The journal's entry is the second of its effect, as everywhere.
        self.ledger.emit_sealed(&mut (sealed.seq + 1), sealed.at, kind);
        if let Some(request) = self.outbox.requests.remove(&message.id) {
            let outcome = match state {
                MessageState::Failed(error) => Err(error.clone()),
                _ => Ok(()),
            };
            self.complete(request, outcome);
        }
    }
}

fn params(entry: &OutboxEntry) -> Result<MessageParams, Error> {
    let message = &entry.message;
    let mut headers = vec![(IDENTITY.to_owned(), message.id.to_string())];
    if message.origin == Origin::Automatic {
        headers.push(("Auto-Submitted".to_owned(), "auto-replied".to_owned()));
    }
    let body = Bytes::copy_from_slice(message.text.as_str().as_bytes());
    Ok(MessageParams {
        to: message.recipient.to_uri()?,
        content_type: "text/plain;charset=UTF-8".to_owned(),
        body,
        headers,
        call_id: entry.call_id.clone(),
    })
}

/// What a cause means for a message.
fn failure(cause: &Cause) -> Error {
    let (code, text) = match cause {
        Cause::Status { code, .. } => match code {
            404 | 410 | 604 => (Code::UserNotFound, "the service knows no such person"),
            403 | 603 | 606 => (Code::Rejected, "the other side, or the service, refused the message"),
            413 | 513 => (Code::MessageTooLong, "the message is too long for the other side"),
            405 | 415 | 488 | 501 => (Code::NotAcceptingPages, "the other side takes no such messages"),
            408 | 480 | 486 | 487 | 600 => {
                (Code::RecipientUnavailable, "the other side cannot be reached now")
            }
            500..=599 => (Code::ServerUnavailable, "the service could not pass the message on"),
            _ => (Code::Rejected, "the message was refused"),
        },
        Cause::WrongPassword { .. } | Cause::UnsupportedChallenge { .. } => {
            (Code::SessionAuthenticationFailed, "the service did not accept the credentials")
        }
        Cause::Timeout => (Code::RecipientUnavailable, "nobody answered for the other side"),
        Cause::Transport(_) => (Code::Connect, "the service could not be reached"),
        Cause::NotFound(_) => (Code::Connect, "the address of the service was not found"),
        Cause::Invalid(_) => (Code::Internal, "the message could not be written"),
        _ => (Code::Unexpected, "the message was not taken"),
    };
    Error::new(code, text).because(super::session::detail(cause))
}
