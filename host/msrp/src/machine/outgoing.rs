//! Messages on their way out: cut into chunks, answered, reported.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::{Msrp, name_of, number_of};
use crate::event::{
    Body, Failure, FailureReport, MsrpError, MsrpEvent, NicknameId, Outgoing, OutgoingId, RelayId, SessionId,
};
use crate::ranges::Ranges;
use crate::stream::StreamId;
use crate::wire::{ByteRange, DASHES, Flag, Head, Method, Start, Writer, is_value};

/// The largest chunk that need not be interruptible (RFC 4975, section 7.1.1).
const MAX_CHUNK: usize = 2048;
/// Octets of a pulled body that are asked for at once. When less than half is left, more is.
const PULL: usize = 64 * 1024;

/// A message that is being sent, or whose report is waited for.
pub(super) struct Sending {
    session: SessionId,
    stream: Option<StreamId>,
    content_type: String,
    disposition: Option<String>,
    success_report: bool,
    failure_report: FailureReport,
    total: u64,
    /// The next octet to send.
    next: u64,
    /// What is here of the body from there on.
    ready: VecDeque<Bytes>,
    /// How many octets that is.
    length: usize,
    /// How many octets were asked for and have not come.
    asked: Option<usize>,
    is_pulled: bool,
    /// Whether the first chunk has left.
    begun: bool,
    /// Whether the last one has.
    sent: bool,
    /// Whether [`MsrpEvent::Sent`] was told.
    told: bool,
    /// Chunks whose answers are missing.
    unanswered: usize,
    /// Whether it stands in a queue of its connection.
    queued: bool,
    /// What the far end has, by its reports, and what it had before.
    reported: Ranges,
    has_report: bool,
}

impl Sending {
    fn has_something(&self) -> bool {
        !self.sent && (self.length > 0 || self.total == self.next)
    }
}

/// What an answer is waited for.
#[derive(Copy, Clone, Debug)]
pub(super) enum Transaction {
    /// A chunk of a message.
    Chunk(OutgoingId),
    /// The message without content that says which session a connection is for.
    Bind(SessionId),
    /// A wish for authorisation.
    Auth(RelayId),
    /// A wish for a name.
    Nickname(NicknameId),
}

impl Msrp {
    pub(super) fn message_send(
        &mut self,
        _now: Instant,
        id: SessionId,
        message: Outgoing,
    ) -> Result<OutgoingId, MsrpError> {
        let Outgoing { content_type, body, success_report, failure_report, disposition } = message;
        self.make_room(id);
        let limits = &self.config.limits;
        let session = self.sessions.get(&id).ok_or(MsrpError::Unknown)?;
        if !content_type.contains('/') || !is_value(&content_type) || !disposition.iter().all(|d| is_value(d))
        {
            return Err(MsrpError::Malformed);
        }
        let (total, next) = match &body {
            Body::Whole(bytes) => (bytes.len() as u64, 0),
            Body::Pulled { total, from } => (*total, *from),
        };
        if next > total {
            return Err(MsrpError::Malformed);
        }
        let is_too_large = |max: u64| total > max;
        if session.peer.as_ref().and_then(|peer| peer.max_size).is_some_and(is_too_large) {
            return Err(MsrpError::TooLarge);
        }
        let (ready, is_pulled) = match body {
            Body::Whole(bytes) => (VecDeque::from([bytes]), false),
            Body::Pulled { .. } => (VecDeque::new(), true),
        };
        let length: usize = ready.iter().map(Bytes::len).sum();
        if session.outgoing.len() >= limits.outgoing || self.queued + length > limits.outgoing_memory {
            return Err(MsrpError::TooMuch);
        }
        self.queued += length;
        let mut reported = Ranges::default();
        reported.add(0, next);
        let message = OutgoingId(self.number());
        let sending = Sending {
            session: id,
            stream: None,
            content_type,
            disposition,
            success_report,
            failure_report,
            total,
            next,
            ready,
            length,
            asked: None,
            is_pulled,
            begun: false,
            sent: false,
            told: false,
            unanswered: 0,
            queued: false,
            reported,
            has_report: false,
        };
        self.sending.insert(message, sending);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.outgoing.insert(message);
            match session.stream.filter(|_| session.connected) {
                Some(stream) => self.message_queue(stream, message),
                None => session.waiting.push_back(message),
            }
        }
        Ok(message)
    }

    /// Gives up waiting for the report of the oldest message that was sent, where a session has too many.
    fn make_room(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.outgoing.len() >= self.config.limits.outgoing {
            let is_told =
                |message: &&OutgoingId| self.sending.get(message).is_some_and(|sending| sending.told);
            if let Some(message) = session.outgoing.iter().find(is_told).copied() {
                self.message_done(message);
            }
        }
    }

    /// Gives a message its place in the queues of a connection, if it has something to send; else asks for it.
    pub(super) fn message_queue(&mut self, id: StreamId, message: OutgoingId) {
        let chunk = self.config.limits.chunk.clamp(1, MAX_CHUNK);
        let Some(sending) = self.sending.get_mut(&message) else { return };
        sending.stream = Some(id);
        if sending.has_something() && !sending.queued {
            let Some(stream) = self.streams.get_mut(&id) else { return };
            sending.queued = true;
            if sending.is_pulled || sending.total > chunk as u64 {
                stream.large.push_back(message);
            } else {
                stream.small.push_back(message);
            }
        }
        self.pull(message);
        self.make_ready(id);
    }

    /// Asks for more of a body, when little is left.
    fn pull(&mut self, message: OutgoingId) {
        let Some(sending) = self.sending.get_mut(&message) else { return };
        let offset = sending.next + sending.length as u64;
        let rest = usize::try_from(sending.total - offset).unwrap_or(usize::MAX);
        if sending.is_pulled && sending.asked.is_none() && rest > 0 && sending.length < PULL / 2 {
            let length = rest.min(PULL - sending.length);
            sending.asked = Some(length);
            let session = sending.session;
            self.events.push_back(MsrpEvent::Wanted { session, message, offset, length });
        }
    }

    pub(super) fn message_supply(&mut self, message: OutgoingId, mut bytes: Bytes) -> Result<(), MsrpError> {
        let sending = self.sending.get_mut(&message).ok_or(MsrpError::Unknown)?;
        let asked = sending.asked.filter(|_| !bytes.is_empty()).ok_or(MsrpError::NotNow)?;
        bytes.truncate(asked);
        sending.asked = None;
        sending.length += bytes.len();
        self.queued += bytes.len();
        sending.ready.push_back(bytes);
        if let Some(stream) = sending.stream {
            self.message_queue(stream, message);
        }
        Ok(())
    }

    /// Writes the next chunk of some message. Whether there was one, and it may be sent now.
    pub(super) fn write_chunk(&mut self, now: Instant, id: StreamId, writer: &mut Writer) -> bool {
        let most = self.config.limits.unanswered;
        loop {
            let Some(stream) = self.streams.get_mut(&id) else { return false };
            let is_full = stream.transactions.len() >= most;
            // A small one does not wait for a large one, whatever is still to come of that.
            let (message, is_small) = match (stream.small.front(), stream.large.front()) {
                (Some(message), _) => (*message, true),
                (None, Some(message)) => (*message, false),
                (None, None) => return false,
            };
            let sending = self.sending.get_mut(&message);
            if is_full && sending.as_ref().is_some_and(|s| s.failure_report == FailureReport::Yes) {
                return false;
            }
            if is_small {
                stream.small.pop_front()
            } else {
                stream.large.pop_front()
            };
            // One that was cancelled leaves the queue here.
            let Some(sending) = sending else { continue };
            sending.queued = false;
            if !sending.has_something() {
                continue;
            }
            self.write_chunk_of(now, id, message, writer);
            return true;
        }
    }

    fn write_chunk_of(&mut self, now: Instant, id: StreamId, message: OutgoingId, writer: &mut Writer) {
        let chunk = self.config.limits.chunk.clamp(1, MAX_CHUNK);
        let Some(sending) = self.sending.get_mut(&message) else { return };
        let body = take(&mut sending.ready, chunk);
        sending.length -= body.len();
        self.queued -= body.len();
        let start = sending.next;
        sending.next += body.len() as u64;
        sending.begun = true;
        sending.sent = sending.next == sending.total;
        let flag = if sending.sent { Flag::Last } else { Flag::More };
        let (session, failure_report) = (sending.session, sending.failure_report);
        let range = ByteRange { start: start + 1, end: Some(sending.next), total: Some(sending.total) };
        // The end of the chunk must not stand within it (RFC 4975, section 7.1).
        let (number, name) = loop {
            let number = self.random();
            let name = name_of(number);
            if memchr::memmem::find(&body, [DASHES, name.as_bytes()].concat().as_slice()).is_none() {
                break (number, name);
            }
        };
        let message_id = self.message_id(message);
        let (Some(sending), Some(session)) = (self.sending.get_mut(&message), self.sessions.get(&session))
        else {
            return;
        };
        start_message(writer, &name, &session.to_path, session.own.as_str(), &message_id, range);
        if sending.success_report {
            writer.header("Success-Report", "yes");
        }
        match failure_report {
            FailureReport::Yes => {}
            FailureReport::Partial => writer.header("Failure-Report", "partial"),
            FailureReport::No => writer.header("Failure-Report", "no"),
        }
        if let Some(disposition) = &sending.disposition {
            writer.header("Content-Disposition", disposition);
        }
        writer.body(&sending.content_type, &body);
        writer.end(&name, flag);
        // What is not answered when all is well need not be waited for, but an error is of interest.
        let room =
            self.streams.get(&id).is_some_and(|s| s.transactions.len() < self.config.limits.unanswered);
        if failure_report == FailureReport::Yes || failure_report == FailureReport::Partial && room {
            self.expect(now, id, number, Transaction::Chunk(message));
        }
        if failure_report == FailureReport::Yes
            && let Some(sending) = self.sending.get_mut(&message)
        {
            sending.unanswered += 1;
        }
        self.message_progress(message);
        self.message_queue(id, message);
    }

    /// Tells that a message has left and was answered, when that is so.
    fn message_progress(&mut self, message: OutgoingId) {
        let Some(sending) = self.sending.get_mut(&message) else { return };
        if !sending.sent || sending.unanswered > 0 {
            return;
        }
        let session = sending.session;
        if !sending.told {
            sending.told = true;
            self.events.push_back(MsrpEvent::Sent { session, message });
        }
        let is_reported =
            sending.success_report && sending.has_report && sending.reported.is_full(sending.total);
        if is_reported {
            self.events.push_back(MsrpEvent::Delivered { session, message });
        }
        // Of a partial one errors are of interest until their time is over.
        if is_reported || !sending.success_report && sending.failure_report != FailureReport::Partial {
            self.message_done(message);
        }
    }

    fn message_done(&mut self, message: OutgoingId) -> Option<Sending> {
        let sending = self.sending.remove(&message)?;
        self.queued -= sending.length;
        if let Some(session) = self.sessions.get_mut(&sending.session) {
            session.outgoing.remove(&message);
            session.waiting.retain(|waiting| *waiting != message);
        }
        Some(sending)
    }

    /// Ends a message that will not arrive; what is still to come of it is broken off.
    pub(super) fn message_stop(&mut self, _now: Instant, message: OutgoingId, failure: Failure) {
        let Some(sending) = self.message_done(message) else { return };
        let (session, number) = (sending.session, self.random());
        if sending.begun
            && !sending.sent
            && let (Some(stream), Some(found)) = (sending.stream, self.sessions.get(&session))
        {
            let name = name_of(number);
            let range =
                ByteRange { start: sending.next + 1, end: Some(sending.next), total: Some(sending.total) };
            let mut writer = Writer::with_capacity(384);
            let message_id = self.message_id(message);
            start_message(&mut writer, &name, &found.to_path, found.own.as_str(), &message_id, range);
            // Nobody waits for an answer.
            writer.header("Failure-Report", "no");
            writer.body(&sending.content_type, b"");
            writer.end(&name, Flag::Abort);
            self.say(stream, writer.finish());
        }
        self.events.push_back(MsrpEvent::Failed { session, message, failure });
    }

    /// The session of a message has ended.
    pub(super) fn message_dropped(&mut self, session: SessionId, message: OutgoingId, failure: &Failure) {
        // Of one that was sent, no more was promised.
        if let Some(sending) = self.message_done(message)
            && !sending.told
        {
            self.events.push_back(MsrpEvent::Failed { session, message, failure: failure.clone() });
        }
    }

    /// A response came.
    pub(super) fn response(&mut self, now: Instant, id: StreamId, head: &Head) {
        let Start::Response { status, comment } = head.start() else { return };
        let transaction = number_of(head.transaction()).and_then(|number| self.answered(id, number));
        let Some(transaction) = transaction else {
            tracing::debug!(stream = %id, status, "an answer to nothing");
            return;
        };
        let failure = Failure::Status { status: *status, comment: comment.clone() };
        let is_success = (200..300).contains(status);
        match transaction {
            Transaction::Chunk(message) if is_success => self.chunk_answered(message),
            Transaction::Chunk(message) => {
                let session = self.sending.get(&message).map(|sending| sending.session);
                self.message_stop(now, message, failure.clone());
                // The peer has no such session, or has it on another connection.
                if let (481 | 506, Some(session)) = (*status, session) {
                    self.session_lost(now, session, failure);
                }
            }
            Transaction::Bind(_) if is_success => {}
            Transaction::Bind(session) => self.session_lost(now, session, failure),
            Transaction::Auth(relay) => self.relay_answered(now, relay, head, failure),
            Transaction::Nickname(request) => {
                self.nickname_answered(request, if is_success { Ok(()) } else { Err(failure) });
            }
        }
        self.make_ready(id);
    }

    fn chunk_answered(&mut self, message: OutgoingId) {
        if let Some(sending) = self.sending.get_mut(&message) {
            sending.unanswered = sending.unanswered.saturating_sub(1);
            self.message_progress(message);
        }
    }

    /// No response came in time.
    pub(super) fn unanswered(&mut self, now: Instant, transaction: Transaction) {
        match transaction {
            Transaction::Chunk(message) => match self.sending.get(&message) {
                Some(sending) if sending.failure_report == FailureReport::Partial => {
                    if sending.told && !sending.success_report {
                        self.message_done(message);
                    }
                }
                _ => self.message_stop(now, message, Failure::Timeout),
            },
            Transaction::Bind(session) => self.session_lost(now, session, Failure::Timeout),
            Transaction::Auth(relay) => self.relay_lost(now, relay, Failure::Timeout),
            Transaction::Nickname(request) => self.nickname_answered(request, Err(Failure::Timeout)),
        }
    }

    /// The far end, or a relay, says what became of a message (RFC 4975, section 7.1.2).
    pub(super) fn report(&mut self, now: Instant, session: SessionId, head: &Head) {
        let message = head.header("Message-ID").and_then(|name| self.message_of(name));
        let (Some(message), Some((status, comment))) = (message, head.reported()) else { return };
        let Some(sending) = self.sending.get_mut(&message).filter(|sending| sending.session == session)
        else {
            return;
        };
        if status != 200 {
            let comment = crate::wire::shortened(comment);
            self.message_stop(now, message, Failure::Status { status, comment });
            return;
        }
        let Some(range) = head.byte_range() else { return };
        let end = range.end.or(range.total).unwrap_or(sending.total).min(sending.total);
        // What the peer had before counts as reported.
        let start = if range.start - 1 <= sending.total { range.start - 1 } else { return };
        sending.has_report = true;
        sending.reported.add(start, end);
        if sending.reported.len() > self.config.limits.gaps {
            // Whoever reports in so many pieces counts anew: what is kept of it, and the work of adding to that, must stay small.
            sending.reported = Ranges::default();
            return;
        }
        self.message_progress(message);
    }

    /// The name of a message on the wire: no other message of any node has it.
    fn message_id(&self, message: OutgoingId) -> String {
        name_of(self.prefix.wrapping_add(message.0))
    }

    fn message_of(&self, name: &str) -> Option<OutgoingId> {
        number_of(name).map(|number| OutgoingId(number.wrapping_sub(self.prefix)))
    }
}

fn start_message(writer: &mut Writer, name: &str, to: &str, from: &str, message_id: &str, range: ByteRange) {
    writer.start(name, format_args!("{}", Method::Send.as_str()), to, from);
    writer.header("Message-ID", message_id);
    writer.header("Byte-Range", range);
}

/// The first octets of several pieces, at most so many.
fn take(pieces: &mut VecDeque<Bytes>, octets: usize) -> Bytes {
    let first = match pieces.front_mut() {
        Some(first) if first.len() > octets => return first.split_to(octets),
        Some(_) => pieces.pop_front().unwrap_or_default(),
        None => return Bytes::new(),
    };
    if first.len() == octets || pieces.is_empty() {
        return first;
    }
    let mut gathered = BytesMut::with_capacity(octets);
    gathered.extend_from_slice(&first);
    while gathered.len() < octets
        && let Some(next) = pieces.front_mut()
    {
        let part = next.split_to(next.len().min(octets - gathered.len()));
        gathered.extend_from_slice(&part);
        if next.is_empty() {
            pieces.pop_front();
        }
    }
    gathered.freeze()
}
