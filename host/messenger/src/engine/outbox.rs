//! Messages of ours, from acceptance to their last state.
//!
//! A message is transmitted only when it is durable, and forgotten only when its outcome is. To one person, one message
//! is under way at a time (RFC 3428, section 8), so they arrive in order; to different people, several. Every attempt
//! carries the same Call-ID and the same identity of its own, by which the other side's engine knows it again. A message to
//! several people stands in the lane of each of them.

use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_documents::composing::{Composing, MEDIA_TYPE, write};
use attache_sip::agent::{self, Cause, MessageParams};
use smallvec::SmallVec;

use crate::{
    address::Address,
    code::Code,
    command::Accepted,
    conversation::ConversationKind,
    engine::{
        Engine, composing,
        ledger::{Advance, Effect, Sealed, Ticket},
        stream, wire,
    },
    error::{Error, Retry},
    event::{EventKind, SessionState},
    id::{MessageId, RequestId},
    message::{
        Content, Draft, MessageState, Origin, OutboxItem, OutgoingMessage, Target, WaitReason, Waiting,
    },
    snapshot::TranscriptEntry,
    storage::{ArchiveEntry, Direction, Form, OutboxEntry},
};

/// First pause between attempts at one message; doubles up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Longest subject, in bytes.
const MAX_SUBJECT: usize = 256;
/// Notes that wait for one person; receipts beyond are told after the next sign-in.
const NOTES: usize = 256;
/// Longest media type with its parameters, in bytes.
const MAX_TYPE: usize = 128;

#[derive(Debug)]
struct Queued {
    entry: Arc<OutboxEntry>,
    attempts: u32,
    /// Its credentials were refused, and the registrar was asked whether they are good.
    doubted: bool,
    /// It may have arrived: an attempt had no answer, or was made by a process that is gone.
    left: bool,
    last_error: Option<Error>,
}

/// Something to be told to a person's programs, between the messages of people.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Note {
    /// What became of a message of theirs.
    Receipt(MessageId),
    /// Whether the person writes to them.
    Composing(bool),
}

/// What is under way to a person.
#[derive(Debug)]
enum Sending {
    /// The first message of the lane.
    Message,
    /// A receipt, and whether it says that the message was displayed.
    Receipt(MessageId, bool),
    /// A note that nothing depends on.
    Nothing,
}

/// What carries a message.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Carrier {
    /// A MESSAGE.
    Message(agent::MessageId),
    /// A session (RFC 4975), under a number of its own.
    Session(u64),
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Queued>,
    notes: VecDeque<Note>,
    sending: Option<Carrier>,
    not_before: Option<Instant>,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.notes.is_empty() && self.sending.is_none()
    }
}

/// A message that is not done for all of its recipients.
#[derive(Debug)]
struct Open {
    /// Recipients whose outcome is not durable yet.
    left: usize,
    /// Who waits for the outcome.
    request: Option<RequestId>,
    failed: Option<Error>,
}

/// Messages that are not done.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: HashMap<Address, Lane>,
    /// Lanes that want to send, in the order in which they may.
    ready: VecDeque<Address>,
    paused: BTreeSet<(Instant, Arc<str>)>,
    under_way: HashMap<Carrier, (Address, Sending)>,
    /// Credentials were refused: nothing leaves before the registrar has said what they are worth.
    held: bool,
    /// Accepted and not finished, those under way to the store among them.
    open: HashMap<MessageId, Open>,
    /// What is accepted and not finished, a message once for each of its recipients.
    count: usize,
}

impl Outbox {
    /// Whether a message to somebody is under way.
    pub(super) fn is_sending(&self, peer: &Address) -> bool {
        self.lanes.get(peer).is_some_and(|lane| lane.sending.is_some())
    }

    /// Messages to somebody need not wait any longer.
    pub(super) fn wake(&mut self, peer: &Address) {
        if self.lanes.get(peer).is_some_and(|lane| lane.sending.is_none()) {
            self.ready.push_back(peer.clone());
        }
    }
}

impl Engine {
    /// The command: checks it and keeps the message.
    pub(super) fn send(&mut self, ticket: Ticket, draft: Draft) {
        let recipients = match self.check_send(&draft) {
            Ok(recipients) => recipients,
            Err(error) => return self.ledger.answer(ticket.token, Err(error)),
        };
        let conversation = match &draft.to {
            Target::Conversation(id) => {
                self.retell(*id);
                *id
            }
            _ => self.conversation_with(&recipients[0]),
        };
        let id = MessageId(self.next_id());
        let message = Arc::new(OutgoingMessage {
            id,
            conversation,
            contact: self.view.by_address.get(&recipients[0]).copied(),
            recipients: recipients.clone(),
            subject: draft.subject,
            content: draft.content,
            author: draft.author,
            origin: draft.origin,
            receipts: draft.receipts,
            expires_at: draft.expires.map(|after| self.now.wall + after),
            accepted_at: self.now.wall,
        });
        let call_id = format!("{:016x}{:016x}@attache", self.random(), id.0);
        self.outbox.count += recipients.len();
        let open = Open { left: recipients.len(), request: Some(ticket.request), failed: None };
        self.outbox.open.insert(id, open);
        for recipient in &recipients {
            self.has_written_to(recipient);
        }
        let wrapped = recipients.iter().any(|recipient| self.reads(recipient).cpim == Some(true));
        let form = if wrapped { Form::Cpim } else { Form::Plain };
        let entry = Arc::new(OutboxEntry { message, call_id, pending: recipients, form, attempts: 0 });
        let records = self.track(&entry);
        let message = &entry.message;
        let line = self.line(|| ArchiveEntry {
            message: id,
            conversation,
            at: message.accepted_at,
            direction: Direction::Outgoing,
            peer: message.recipient().clone(),
            others: message.recipients[1..].iter().cloned().collect(),
            content: message.content.clone(),
            automatic: message.origin == Origin::Automatic,
        });
        self.ledger.keep(Effect::Accepted { ticket, entry, records, line });
    }

    /// Whom a target names: one or several people, each once, and none of them this account.
    pub(super) fn people(&self, to: &Target) -> Result<SmallVec<[Address; 1]>, Error> {
        let named: Vec<&Address> = match to {
            Target::Address(address) => vec![address],
            Target::Addresses(addresses) => addresses.iter().collect(),
            Target::Conversation(id) => match self.view.conversations.get(id) {
                None => {
                    let text = format!("there is no conversation {id}");
                    return Err(Error::new(Code::ConversationNotFound, text));
                }
                Some(entry) if !entry.conversation.is_open() => {
                    return Err(Error::new(Code::Closed, "the conversation was closed before"));
                }
                // The focus passes it on to everybody.
                Some(entry) if entry.conversation.focus.is_some() => {
                    entry.conversation.focus.iter().collect()
                }
                Some(entry) if entry.conversation.kind == ConversationKind::Conference => {
                    let text = "the conference has not begun";
                    return Err(Error::new(Code::SessionSessionNotReady, text).retry(Retry::AfterChange));
                }
                Some(entry) => entry.conversation.present().collect(),
            },
        };
        let most = self.config.limits.recipients;
        if named.len() > most {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("a message has at most {most} recipients"),
            ));
        }
        let mut people: SmallVec<[Address; 1]> = SmallVec::new();
        for address in named {
            if *address == self.config.address {
                return Err(Error::new(Code::SessionInvitedSelf, "a message to yourself cannot be sent"));
            }
            address.to_uri()?;
            if !people.contains(address) {
                people.push(address.clone());
            }
        }
        if people.is_empty() {
            return Err(Error::new(Code::SessionNoUserInvited, "a message needs a recipient"));
        }
        Ok(people)
    }

    fn check_send(&self, draft: &Draft) -> Result<SmallVec<[Address; 1]>, Error> {
        let invalid = |text: &str| Error::new(Code::InvalidArgument, text);
        let recipients = self.people(&draft.to)?;
        let most = if self.streams.is_on() { stream::MAX_MESSAGE } else { Content::MAX };
        check_content(&draft.content, most)?;
        if draft
            .subject
            .as_ref()
            .is_some_and(|subject| subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control))
        {
            return Err(invalid(&format!("a subject is one line of at most {MAX_SUBJECT} bytes")));
        }
        if draft.expires.is_some_and(|after| after < Duration::from_secs(1)) {
            return Err(invalid("a message is worth something for a second at least"));
        }
        if self.outbox.count + recipients.len() > self.config.limits.outbox {
            let text = format!("{} messages wait to be sent already", self.config.limits.outbox);
            return Err(Error::new(Code::TooManyMessages, text).retry(Retry::AfterChange));
        }
        Ok(recipients)
    }

    /// The message is durable: shows it, and sends it when its turn comes.
    pub(super) fn apply_accepted(&mut self, sealed: &Sealed, ticket: Ticket, entry: &Arc<OutboxEntry>) {
        let message = entry.message.clone();
        let mut seq = sealed.seq;
        let line = TranscriptEntry::Outgoing(message.clone());
        match self.add_line(message.conversation, message.recipient(), sealed.at, line) {
            Some(opened) => {
                self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::ConversationOpened(opened));
            }
            None => seq += 1,
        }
        self.show_deliveries(message.id);
        self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::MessageAccepted(message.clone()));
        self.ledger.answer(
            ticket.token,
            Ok(Accepted { message: Some(message.id), ..Accepted::new(ticket.request) }),
        );
        self.enqueue(entry.clone(), false);
    }

    /// The message could not be kept: nothing of it happened.
    pub(super) fn refuse_accepted(&mut self, ticket: Ticket, entry: &Arc<OutboxEntry>, error: Error) {
        self.outbox.count -= entry.pending.len();
        self.outbox.open.remove(&entry.message.id);
        self.untrack(entry.message.id);
        self.ledger.answer(ticket.token, Err(error));
    }

    /// A message that was in the outbox when the engine began.
    pub(super) fn restore_message(&mut self, entry: OutboxEntry) {
        let message = entry.message.clone();
        self.outbox.count += entry.pending.len();
        let open = Open { left: entry.pending.len(), request: None, failed: None };
        self.outbox.open.insert(message.id, open);
        let line = TranscriptEntry::Outgoing(message.clone());
        self.add_line(message.conversation, message.recipient(), message.accepted_at, line);
        self.track_restored(&entry);
        self.enqueue(Arc::new(entry), true);
    }

    fn enqueue(&mut self, entry: Arc<OutboxEntry>, left: bool) {
        for peer in &entry.pending {
            let lane = self.outbox.lanes.entry(peer.clone()).or_default();
            let attempts = entry.attempts;
            let queued = Queued { entry: entry.clone(), attempts, doubted: false, left, last_error: None };
            lane.queue.push_back(queued);
            if lane.queue.len() == 1 {
                self.outbox.ready.push_back(peer.clone());
            }
        }
        let waiting = entry.pending.iter().map(|recipient| Waiting {
            recipient: recipient.clone(),
            reason: WaitReason::Turn,
            attempts: entry.attempts,
            last_error: None,
            next_try: None,
        });
        let item = OutboxItem { message: entry.message.clone(), waiting: waiting.collect() };
        self.view.outbox.insert_mut(entry.message.id, Arc::new(item));
        self.send_ready();
    }

    /// Takes a note for somebody. The last word on whether the person writes is the one that counts.
    pub(super) fn queue_note(&mut self, peer: &Address, note: Note) {
        let lane = self.outbox.lanes.entry(peer.clone()).or_default();
        if matches!(note, Note::Composing(_)) {
            lane.notes.retain(|note| !matches!(note, Note::Composing(_)));
        }
        if lane.notes.len() < NOTES && !lane.notes.contains(&note) {
            lane.notes.push_back(note);
        }
        if lane.sending.is_none() {
            self.outbox.ready.push_back(peer.clone());
        }
        self.send_ready();
    }

    /// Sends what may be sent: signed in, one to each person, and not too many at once.
    pub(super) fn send_ready(&mut self) {
        if self.view.session != SessionState::SignedIn || self.outbox.held {
            return;
        }
        self.tell_ready();
        while self.outbox.under_way.len() < self.config.limits.sending {
            let Some(peer) = self.outbox.ready.pop_front() else { return };
            let Some(lane) = self.outbox.lanes.get_mut(&peer) else { continue };
            if lane.sending.is_some() {
                continue;
            }
            // Told first what the message belongs to; that wakes the lane.
            if self.conversations.telling.concerns(&peer) {
                continue;
            }
            let (params, sending) = if let Some(note) = lane.notes.pop_front() {
                match self.note(&peer, note) {
                    Some(note) => note,
                    None => {
                        self.lane_done(&peer);
                        continue;
                    }
                }
            } else {
                match self.first_message(&peer) {
                    Some(Ok(params)) => (params, Sending::Message),
                    Some(Err(error)) => {
                        self.finish_message(&peer, MessageState::Failed(error));
                        continue;
                    }
                    None => continue,
                }
            };
            let is_message = matches!(sending, Sending::Message);
            let id = match self.session_message(&peer).filter(|_| is_message) {
                Some(entry) => self.carry(&entry, &peer, params),
                None => Carrier::Message(self.agent.send_message(self.now.instant, params)),
            };
            if let Some(lane) = self.outbox.lanes.get_mut(&peer) {
                lane.sending = Some(id);
            }
            if is_message {
                self.show_waiting(&peer, WaitReason::Answer);
            }
            self.outbox.under_way.insert(id, (peer, sending));
        }
    }

    /// The first message of a lane, if it goes by a session.
    fn session_message(&self, peer: &Address) -> Option<Arc<OutboxEntry>> {
        let entry = &self.outbox.lanes.get(peer)?.queue.front()?.entry;
        self.goes_by_session(entry).then(|| entry.clone())
    }

    /// The session of a message came to nothing, and said nothing of the message: it goes another way.
    pub(super) fn reroute_message(&mut self, id: Carrier) {
        let Some((peer, _)) = self.outbox.under_way.remove(&id) else { return };
        if let Some(queued) = self.outbox.lanes.get_mut(&peer).and_then(|lane| lane.queue.front_mut()) {
            queued.attempts -= 1;
        }
        self.lane_done(&peer);
        self.send_ready();
    }

    /// The request for the first message of a lane, where its time has come.
    fn first_message(&mut self, peer: &Address) -> Option<Result<MessageParams, Error>> {
        let reads = self.reads(peer);
        let lane = self.outbox.lanes.get_mut(peer)?;
        if lane.not_before.is_some_and(|at| at > self.now.instant) {
            return None;
        }
        lane.not_before = None;
        let queued = lane.queue.front_mut()?;
        if queued.entry.message.expires_at.is_some_and(|at| at <= self.now.wall) {
            return Some(Err(Error::new(Code::SessionTimeout, "the message was worth nothing any more")));
        }
        queued.attempts += 1;
        let conversation = queued.entry.message.conversation;
        let mut params = wire::request(&self.config, &queued.entry, peer, reads, self.now.wall);
        if let Ok(params) = &mut params {
            params.headers.extend(self.conversations.headers(conversation));
        }
        Some(params)
    }

    fn note(&mut self, peer: &Address, note: Note) -> Option<(MessageParams, Sending)> {
        match note {
            Note::Receipt(id) => {
                let (params, displayed) = self.receipt(id)?;
                Some((params, Sending::Receipt(id, displayed)))
            }
            Note::Composing(active) => {
                let refresh = u32::try_from(composing::REFRESH.as_secs()).ok().filter(|_| active);
                let content_type = Some("text/plain".to_owned());
                let body = Composing { active, content_type, last_active: None, refresh };
                let params = MessageParams {
                    to: peer.to_uri().ok()?,
                    content_type: MEDIA_TYPE.to_owned(),
                    body: write(&body).into(),
                    headers: Vec::new(),
                    call_id: format!("{:016x}{:016x}@attache", self.random(), self.random()),
                };
                Some((params, Sending::Nothing))
            }
        }
    }

    /// Nothing is under way to somebody any more: the next thing may go.
    fn lane_done(&mut self, peer: &Address) {
        let Some(lane) = self.outbox.lanes.get_mut(peer) else { return };
        lane.sending = None;
        if lane.is_empty() {
            self.outbox.lanes.remove(peer);
        } else {
            self.outbox.ready.push_back(peer.clone());
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

    pub(super) fn on_message_sent(&mut self, id: Carrier, status: u16) {
        let Some((peer, sending)) = self.outbox.under_way.remove(&id) else { return };
        match sending {
            Sending::Message => {
                let state = if status == 202 { MessageState::Sent } else { MessageState::Delivered };
                self.finish_message(&peer, state);
            }
            Sending::Receipt(message, displayed) => {
                self.lane_done(&peer);
                self.receipt_done(message, displayed);
                self.send_ready();
            }
            Sending::Nothing => {
                self.lane_done(&peer);
                self.send_ready();
            }
        }
    }

    pub(super) fn on_message_failed(&mut self, id: Carrier, cause: &Cause, retry: Option<Duration>) {
        let Some((peer, sending)) = self.outbox.under_way.remove(&id) else { return };
        match sending {
            Sending::Message => self.message_failed(&peer, cause, retry),
            Sending::Receipt(message, displayed) => {
                self.lane_done(&peer);
                self.receipt_failed(message, displayed, cause);
                self.send_ready();
            }
            Sending::Nothing => {
                self.lane_done(&peer);
                self.send_ready();
            }
        }
    }

    fn message_failed(&mut self, peer: &Address, cause: &Cause, retry: Option<Duration>) {
        let Some(lane) = self.outbox.lanes.get_mut(peer) else { return };
        lane.sending = None;
        let Some(queued) = lane.queue.front() else { return };
        let entry = queued.entry.clone();
        if self.has_arrived(entry.message.id, peer) {
            // A receipt came first: the answer was lost, not the message.
            return self.finish_message(peer, MessageState::Delivered);
        }
        if matches!(cause.status(), Some(406 | 415 | 488)) && self.say_it_plainly(peer, &entry) {
            return;
        }
        let Some(queued) = self.outbox.lanes.get_mut(peer).and_then(|lane| lane.queue.front_mut()) else {
            return;
        };
        queued.left |= cause.status().is_none();
        queued.last_error = Some(failure(cause));
        // A refused proof says nothing of the message, and any peer can refuse one: the registrar knows. Where it takes
        // the same password, a second refusal is the other side's word on this message.
        let unproven = matches!(cause, Cause::WrongPassword { .. } | Cause::UnsupportedChallenge { .. });
        if unproven && !core::mem::replace(&mut queued.doubted, true) {
            queued.attempts -= 1;
            self.show_waiting(peer, WaitReason::Credentials);
            self.outbox.ready.push_front(peer.clone());
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
            self.finish_message(peer, MessageState::Failed(failure(cause)));
            return;
        }
        let doubled = PAUSE.saturating_mul(1 << attempts.min(8)).min(MAX_PAUSE);
        let chance = self.random() % 512;
        let pause =
            doubled.mul_f64(0.5 + chance as f64 / 1024.0).max(retry.unwrap_or_default().min(MAX_PAUSE));
        let at = self.now.instant + pause;
        if let Some(lane) = self.outbox.lanes.get_mut(peer) {
            lane.not_before = Some(at);
        }
        self.outbox.paused.insert((at, peer.canonical().into()));
        self.show_waiting(peer, WaitReason::Retry);
        if cause.is_outage() {
            self.suspect_outage();
        }
        // A place among those under way is free.
        self.send_ready();
    }

    /// The other side does not read how a message was written: it is remembered, and the message goes again with less around
    /// it. False where there is nothing to leave out.
    fn say_it_plainly(&mut self, peer: &Address, entry: &OutboxEntry) -> bool {
        let reads = self.reads(peer);
        if wire::is_rich(&entry.message, reads) {
            self.learn(peer, |reads| reads.rich = Some(false));
        } else if wire::is_wrapped(entry, reads) {
            self.learn(peer, |reads| reads.cpim = Some(false));
        } else {
            return false;
        }
        if let Some(queued) = self.outbox.lanes.get_mut(peer).and_then(|lane| lane.queue.front_mut()) {
            queued.attempts -= 1;
        }
        self.outbox.ready.push_front(peer.clone());
        self.send_ready();
        true
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
            if lane.sending.is_none() {
                let first = lane.queue.front().map_or(MessageId(0), |first| first.entry.message.id);
                peers.push((first, peer.clone()));
            }
        }
        // Oldest first, whatever the order of the map.
        peers.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.canonical().cmp(b.canonical())));
        self.outbox.ready = peers.into_iter().map(|(_, peer)| peer).collect();
        self.resume_telling();
        self.rejoin_conferences();
        self.resume_receipts();
        self.send_ready();
    }

    /// Takes a message out that has reached somebody, unless an answer is awaited that will say so as well.
    pub(super) fn take_from_outbox(&mut self, id: MessageId, recipient: &Address) -> bool {
        let Some(lane) = self.outbox.lanes.get_mut(recipient) else { return false };
        let Some(place) = lane.queue.iter().position(|queued| queued.entry.message.id == id) else {
            return false;
        };
        if place == 0 && self.is_sending_message(recipient) {
            return false;
        }
        self.drop_queued(recipient, place);
        true
    }

    fn is_sending_message(&self, peer: &Address) -> bool {
        let sending = self.outbox.lanes.get(peer).and_then(|lane| lane.sending);
        let sending = sending.and_then(|id| self.outbox.under_way.get(&id));
        matches!(sending, Some((_, Sending::Message)))
    }

    fn drop_queued(&mut self, peer: &Address, place: usize) -> Option<Queued> {
        let lane = self.outbox.lanes.get_mut(peer)?;
        let dropped = lane.queue.remove(place)?;
        if place == 0 {
            lane.not_before = None;
        }
        if lane.is_empty() {
            self.outbox.lanes.remove(peer);
        } else if lane.sending.is_none() {
            self.outbox.ready.push_back(peer.clone());
        }
        Some(dropped)
    }

    /// Takes a message back, as far as it has not left.
    pub(super) fn cancel_message(&mut self, ticket: Ticket, id: MessageId) {
        let Some(item) = self.view.outbox.get(&id).cloned() else {
            let known = self.view.deliveries.contains_key(&id);
            self.ledger.answer(ticket.token, Err(if known { too_late() } else { no_such_message(id) }));
            return;
        };
        let (mut unsent, mut doubtful) = (SmallVec::new(), SmallVec::new());
        for Waiting { recipient, .. } in &item.waiting {
            let Some(lane) = self.outbox.lanes.get_mut(recipient) else { continue };
            let Some(place) = lane.queue.iter().position(|queued| queued.entry.message.id == id) else {
                continue;
            };
            if place == 0 && lane.sending.is_some() {
                continue;
            }
            let Some(queued) = lane.queue.remove(place) else { continue };
            if queued.left {
                doubtful.push(recipient.clone())
            } else {
                unsent.push(recipient.clone())
            }
            if lane.queue.is_empty() {
                self.outbox.lanes.remove(recipient);
            } else if place == 0 {
                lane.not_before = None;
                self.outbox.ready.push_back(recipient.clone());
            }
        }
        if unsent.is_empty() && doubtful.is_empty() {
            self.ledger.answer(ticket.token, Err(too_late()));
            return;
        }
        self.accept(ticket);
        let complete = unsent.len() == item.message.recipients.len();
        for (recipients, state) in
            [(unsent, MessageState::Cancelled), (doubtful, MessageState::Failed(taken_back()))]
        {
            if !recipients.is_empty() {
                self.advance(id, item.message.conversation, recipients, state, true, None);
            }
        }
        self.complete(ticket.request, if complete { Ok(()) } else { Err(too_late()) });
        self.send_ready();
    }

    /// The first message of a lane is done: keeps that, and goes on with the next one.
    fn finish_message(&mut self, peer: &Address, state: MessageState) {
        let Some(lane) = self.outbox.lanes.get_mut(peer) else { return };
        let done = lane.queue.pop_front();
        self.lane_done(peer);
        if let Some(done) = done {
            let message = &done.entry.message;
            let one = [peer.clone()].into_iter().collect();
            self.advance(message.id, message.conversation, one, state, true, None);
        }
        self.send_ready();
    }

    /// That a message leaves the outbox for some recipients is durable.
    pub(super) fn outbox_finished(&mut self, advance: &Advance) {
        if advance.finished.is_empty() {
            return;
        }
        self.outbox.count -= advance.finished.len();
        if let Some(item) = self.view.outbox.get(&advance.message) {
            let mut item = OutboxItem::clone(item);
            item.waiting.retain(|waiting| !advance.finished.contains(&waiting.recipient));
            if item.waiting.is_empty() {
                self.view.outbox.remove_mut(&advance.message);
            } else {
                self.view.outbox.insert_mut(advance.message, Arc::new(item));
            }
        }
        let Some(open) = self.outbox.open.get_mut(&advance.message) else { return };
        open.left = open.left.saturating_sub(advance.finished.len());
        match &advance.state {
            // A receipt that said better things counts.
            _ if advance.changed.is_empty() => {}
            MessageState::Failed(error) => open.failed = Some(error.clone()),
            MessageState::Cancelled => {
                open.failed = Some(Error::new(Code::UserCancelled, "the message was taken back"));
            }
            _ => {}
        }
        if open.left == 0
            && let Some(open) = self.outbox.open.remove(&advance.message)
            && let Some(request) = open.request
        {
            self.complete(request, open.failed.map_or(Ok(()), Err));
        }
    }

    /// Shows what the first message of a lane waits for.
    fn show_waiting(&mut self, peer: &Address, reason: WaitReason) {
        let Some(lane) = self.outbox.lanes.get(peer) else { return };
        let Some(queued) = lane.queue.front() else { return };
        let id = queued.entry.message.id;
        let Some(item) = self.view.outbox.get(&id) else { return };
        let mut item = OutboxItem::clone(item);
        let Some(waiting) = item.waiting.iter_mut().find(|waiting| waiting.recipient == *peer) else {
            return;
        };
        waiting.reason = reason;
        waiting.attempts = queued.attempts;
        waiting.last_error = queued.last_error.clone();
        waiting.next_try = lane.not_before.map(|at| self.now.wall + (at - self.now.instant));
        let item = Arc::new(item);
        self.view.outbox.insert_mut(id, item.clone());
        // That a message is on its way is no news; that it has to wait is.
        if matches!(reason, WaitReason::Retry | WaitReason::Credentials) {
            self.ledger.emit(self.now.wall, EventKind::OutboxChanged(item));
        }
    }
}

fn check_content(content: &Content, most: usize) -> Result<(), Error> {
    let invalid = |text: &str| Err(Error::new(Code::InvalidArgument, text));
    let too_long = |most: usize| {
        Err(Error::new(Code::MessageTooLong, format!("the message is longer than {most} bytes")))
    };
    match content {
        Content::Text(text) if text.as_str().is_empty() => invalid("a message needs a text"),
        Content::Html { html, plain } if html.as_str().is_empty() || plain.as_str().is_empty() => {
            invalid("a message with markup needs the same in words")
        }
        Content::Other { media_type, bytes } if bytes.as_bytes().is_empty() || !is_media_type(media_type) => {
            invalid("a message needs a media type such as image/png, and bytes")
        }
        Content::Html { .. } if content.size() > Content::MAX => too_long(Content::MAX),
        content if content.size() > most => too_long(most),
        _ => Ok(()),
    }
}

/// Whether this can stand in a header, and is no type that means something to the protocol.
fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let reserved = ["multipart/", "message/", "application/im-iscomposing", "application/sdp"];
    text.len() <= MAX_TYPE
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && essence.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
        && !reserved.iter().any(|reserved| essence.to_ascii_lowercase().starts_with(reserved))
}

fn too_late() -> Error {
    Error::new(Code::TooLate, "the message has left already")
}

fn taken_back() -> Error {
    Error::new(Code::UserCancelled, "the message was taken back after it had left; it may have arrived")
}

fn no_such_message(id: MessageId) -> Error {
    Error::new(Code::NotFound, format!("there is no message {id} in the outbox"))
}

/// What a cause means for a message.
pub(super) fn failure(cause: &Cause) -> Error {
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
