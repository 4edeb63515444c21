//! Messages of ours, from acceptance to their last state.
//!
//! A message is transmitted only when it is durable, and forgotten only when its outcome is. To one person, one message
//! is under way at a time (RFC 3428, section 8), so they arrive in order; to different people, several. Every attempt
//! carries the same Call-ID and the same identity of its own, by which the other side's engine knows it again. A message to
//! several people stands in the lane of each of them.

mod accept;
mod cancel;
mod list;
mod readdress;

use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    address::Address,
    code::Code,
    engine::{Engine, composing, ledger::Advance, wire},
    error::Error,
    event::{EventKind, SessionState},
    id::{ConversationId, MessageId, RequestId},
    message::{MessageState, OutboxItem, WaitReason},
    storage::OutboxEntry,
};
use attache_documents::composing::{Composing, MEDIA_TYPE, write};
use attache_sip::agent::{self, Cause, MessageParams};
use smallvec::SmallVec;

use list::Step;

/// First pause between attempts at one message; doubles up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Notes that wait for one person; receipts beyond are told after the next sign-in.
const NOTES: usize = 256;

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
    /// The first message of several lanes.
    List(SmallVec<[Address; 1]>),
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
    /// The service refused a message to several people since the sign-in.
    lists_refused: bool,
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
                match self.list_step(&peer) {
                    Step::Alone => {}
                    Step::Wait => continue,
                    Step::Go(params, people) => {
                        let id = Carrier::Message(self.agent.send_message(self.now.instant, params));
                        self.list_left(peer, people, id);
                        continue;
                    }
                }
                // A conference that is not anywhere yet begins with those who are to be asked.
                if let Some(first) = lane_front(self.outbox.lanes.get(&peer)) {
                    self.begin_conference(first);
                }
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
        self.goes_by_session(entry, peer).then(|| entry.clone())
    }

    /// The session of a message came to nothing, and said nothing of the message: it goes another way.
    pub(super) fn reroute_message(&mut self, id: Carrier) {
        let Some((peer, _)) = self.outbox.under_way.remove(&id) else { return };
        let mut conversation = None;
        if let Some(queued) = self.outbox.lanes.get_mut(&peer).and_then(|lane| lane.queue.front_mut()) {
            queued.attempts -= 1;
            conversation = Some(queued.entry.message.conversation);
        }
        self.lane_done(&peer);
        if let Some(conversation) = conversation {
            self.readdress(conversation);
        }
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
            Sending::List(people) => {
                let state = if status == 202 { MessageState::Sent } else { MessageState::Delivered };
                for person in &people {
                    self.finish_message(person, state.clone());
                }
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
            Sending::List(people) => self.list_failed(&people, cause, retry),
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
        self.outbox.lists_refused = false;
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
        matches!(sending, Some((_, Sending::Message | Sending::List(_))))
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

/// The conversation of the first message of a lane.
fn lane_front(lane: Option<&Lane>) -> Option<ConversationId> {
    Some(lane?.queue.front()?.entry.message.conversation)
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
