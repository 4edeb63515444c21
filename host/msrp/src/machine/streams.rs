//! Connections: what comes in on them, what goes out, and when they are of no more use.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::incoming::Request;
use super::outgoing::Transaction;
use super::{Msrp, Timer};
use crate::decoder::{Decoder, Frame};
use crate::event::{Failure, MsrpError, OutgoingId, RelayId, SessionId};
use crate::fingerprint::Fingerprint;
use crate::stream::{StreamId, StreamRequest, Target};
use crate::wire::{Head, Start, Writer};

/// Octets that are given to the owner of the sockets at once.
const FILL: usize = 16 * 1024;
/// Octets of answers and reports that wait for a peer to read them. When there are more, nothing is read from it.
const MAX_SAYINGS: usize = 64 * 1024;
/// Messages of one connection that are complete and not accepted. When there are more, nothing is read from it.
const MAX_HELD: usize = 64;

pub(super) struct Stream {
    /// Where it leads, if it is ours.
    target: Option<Target>,
    /// Whether it is encrypted.
    pub(super) secure: bool,
    /// The certificate that the peer has shown, if it is its connection.
    shown: Option<Fingerprint>,
    pub(super) open: bool,
    decoder: Decoder,
    /// The chunk that is being received.
    chunk: Option<Chunk>,
    /// The head of a request that waits until it is known who may use its session; nothing is read meanwhile.
    parked: Option<Box<Head>>,
    /// Whole chunks that go before messages: answers, reports and the like.
    sayings: VecDeque<Bytes>,
    sayings_length: usize,
    /// Octets that the owner of the sockets has not written yet.
    in_flight: usize,
    pub(super) sessions: BTreeSet<SessionId>,
    pub(super) relay: Option<RelayId>,
    /// Messages that fit in one chunk, in order.
    pub(super) small: VecDeque<OutgoingId>,
    /// Others, which take turns. Only those that have something to send.
    pub(super) large: VecDeque<OutgoingId>,
    /// What waits for an answer.
    pub(super) transactions: HashMap<u64, Transaction>,
    /// The same by age, with those that were answered behind the first that was not.
    order: VecDeque<(Instant, u64)>,
    answers_armed: bool,
    is_ready: bool,
    /// Nothing is read because pieces are not worked off, or answers not read.
    pub(super) paused_for_pieces: bool,
    paused_for_sayings: bool,
    /// Messages that are complete and not accepted.
    held: usize,
    paused_for_held: bool,
    /// Since when no session has used it.
    pub(super) unused_since: Option<Instant>,
}

/// What is being received.
pub(super) enum Chunk {
    Request(Box<Request>),
    Response(Box<Head>),
}

impl Stream {
    fn new(target: Option<Target>, secure: bool, head: usize, unused_since: Option<Instant>) -> Self {
        Self {
            open: target.is_none(),
            target,
            secure,
            decoder: Decoder::new(head),
            shown: None,
            chunk: None,
            parked: None,
            sayings: VecDeque::new(),
            sayings_length: 0,
            in_flight: 0,
            sessions: BTreeSet::new(),
            relay: None,
            small: VecDeque::new(),
            large: VecDeque::new(),
            transactions: HashMap::new(),
            order: VecDeque::new(),
            answers_armed: false,
            is_ready: false,
            paused_for_pieces: false,
            paused_for_sayings: false,
            held: 0,
            paused_for_held: false,
            unused_since,
        }
    }

    /// The certificate that the peer has shown. One of several that were wanted is not known which.
    pub(super) fn certificate(&self) -> Option<Fingerprint> {
        match &self.target {
            Some(target) => match target.fingerprints[..] {
                [only] => Some(only),
                _ => None,
            },
            None => self.shown,
        }
    }

    fn is_paused(&self) -> bool {
        self.parked.is_some() || self.paused_for_pieces || self.paused_for_sayings || self.paused_for_held
    }
}

impl Msrp {
    /// A connection of ours to this place, which may have other sessions.
    pub(super) fn stream_to(&mut self, target: Target) -> Result<StreamId, MsrpError> {
        if let Some(stream) = self.by_target.get(&target) {
            return Ok(*stream);
        }
        let stream = self.stream_open(target.clone())?;
        self.by_target.insert(target, stream);
        Ok(stream)
    }

    /// A connection of its own.
    pub(super) fn stream_open(&mut self, target: Target) -> Result<StreamId, MsrpError> {
        if self.streams.len() >= self.config.limits.streams {
            return Err(MsrpError::TooMuch);
        }
        let stream = StreamId::Ours(self.number());
        let head = self.config.limits.head;
        self.streams.insert(stream, Stream::new(Some(target.clone()), target.secure, head, None));
        self.requests.push_back(StreamRequest::Connect { stream, target });
        Ok(stream)
    }

    pub(super) fn stream_accepted(
        &mut self,
        now: Instant,
        id: StreamId,
        secure: bool,
        certificate: Option<Fingerprint>,
    ) {
        if self.streams.len() >= self.config.limits.streams || self.streams.contains_key(&id) {
            self.requests.push_back(StreamRequest::Close { stream: id });
            return;
        }
        let stream = Stream::new(None, secure, self.config.limits.head, Some(now));
        self.streams.insert(id, Stream { shown: certificate, ..stream });
        self.arm(now + self.config.limits.bind, Timer::Use(id));
    }

    pub(super) fn stream_opened(&mut self, now: Instant, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.open = true;
        let (sessions, relay) = (stream.sessions.clone(), stream.relay);
        for session in sessions {
            self.session_up(now, session);
        }
        if let Some(relay) = relay {
            self.relay_ask(now, relay);
        }
        self.make_ready(id);
    }

    pub(super) fn stream_written(&mut self, id: StreamId, octets: usize) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.in_flight = stream.in_flight.saturating_sub(octets);
            self.make_ready(id);
        }
    }

    pub(super) fn stream_bytes(&mut self, now: Instant, id: StreamId, bytes: &Bytes) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.decoder.push(bytes);
        }
        self.stream_read(now, id);
    }

    /// Works off what has come.
    fn stream_read(&mut self, now: Instant, id: StreamId) {
        let next = |stream: &mut Stream| stream.parked.is_none().then(|| stream.decoder.next()).flatten();
        while let Some(frame) = self.streams.get_mut(&id).and_then(next) {
            match frame {
                Ok(Frame::Head(head))
                    if matches!(head.start(), Start::Request(_)) && self.comes_early(id, &head) =>
                {
                    let Some(stream) = self.streams.get_mut(&id) else { return };
                    let was_paused = stream.is_paused();
                    stream.parked = Some(head);
                    if !was_paused {
                        self.requests.push_back(StreamRequest::Pause { stream: id });
                    }
                }
                Ok(frame) => self.frame(now, id, frame),
                Err(error) => {
                    tracing::debug!(stream = %id, %error, "nothing more can be read");
                    self.requests.push_back(StreamRequest::Close { stream: id });
                    self.stream_gone(now, id, Failure::NotMsrp);
                    return;
                }
            }
        }
    }

    /// Goes on with connections that waited for a session's peer to be known.
    pub(super) fn streams_resume(&mut self, now: Instant, early: Vec<StreamId>) {
        for id in early {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let Some(head) = stream.parked.take() else { continue };
            if !stream.is_paused() {
                self.requests.push_back(StreamRequest::Resume { stream: id });
            }
            self.frame(now, id, Frame::Head(head));
            self.stream_read(now, id);
        }
    }

    fn frame(&mut self, now: Instant, id: StreamId, frame: Frame) {
        match frame {
            Frame::Head(head) => {
                let chunk = match head.start() {
                    Start::Request(method) => {
                        let method = *method;
                        Chunk::Request(Box::new(self.request_begins(now, id, method, head)))
                    }
                    Start::Response { .. } => Chunk::Response(head),
                };
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.chunk = Some(chunk);
                }
            }
            Frame::Body(bytes) => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                // Taken out while it is worked on, which may touch everything.
                let Some(Chunk::Request(mut request)) = stream.chunk.take() else { return };
                self.request_body(now, id, &mut request, &bytes);
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.chunk = Some(Chunk::Request(request));
                }
            }
            Frame::End { flag, body } => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                match stream.chunk.take() {
                    Some(Chunk::Request(request)) => self.request_ends(now, id, *request, flag, body),
                    Some(Chunk::Response(head)) => self.response(now, id, &head),
                    None => {}
                }
            }
        }
    }

    /// A connection is no more: neither are its sessions.
    pub(super) fn stream_gone(&mut self, now: Instant, id: StreamId, failure: Failure) {
        let Some(stream) = self.streams.remove(&id) else { return };
        if let Some(target) = &stream.target
            && self.by_target.get(target) == Some(&id)
        {
            self.by_target.remove(target);
        }
        for session in stream.sessions {
            self.session_lost(now, session, failure.clone());
        }
        if let Some(relay) = stream.relay {
            self.relay_lost(now, relay, failure);
        }
    }

    /// A session does not use a connection any more.
    pub(super) fn stream_left(&mut self, now: Instant, id: StreamId, session: SessionId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.sessions.remove(&session);
        self.stream_unused(now, id);
    }

    pub(super) fn stream_unused(&mut self, now: Instant, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.sessions.is_empty() && stream.relay.is_none() {
            stream.unused_since = Some(now);
            self.arm(now + self.config.limits.idle, Timer::Use(id));
        }
    }

    pub(super) fn use_due(&mut self, now: Instant, id: StreamId) {
        let Some(since) = self.streams.get(&id).and_then(|stream| stream.unused_since) else { return };
        let due = since + self.config.limits.idle.min(self.config.limits.bind);
        if due > now {
            self.arm(due, Timer::Use(id));
        } else {
            self.requests.push_back(StreamRequest::Close { stream: id });
            self.stream_gone(now, id, Failure::NotConnected);
        }
    }

    pub(super) fn make_ready(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.is_ready
        {
            stream.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// Queues a whole chunk that is no message.
    pub(super) fn say(&mut self, id: StreamId, chunk: Bytes) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.sayings_length += chunk.len();
        stream.sayings.push_back(chunk);
        if stream.sayings_length > MAX_SAYINGS && !stream.paused_for_sayings {
            let was_paused = stream.is_paused();
            stream.paused_for_sayings = true;
            if !was_paused {
                self.requests.push_back(StreamRequest::Pause { stream: id });
            }
        }
        self.make_ready(id);
    }

    /// Waits for an answer.
    pub(super) fn expect(&mut self, now: Instant, id: StreamId, number: u64, transaction: Transaction) {
        let due = now + self.config.limits.transaction;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.transactions.insert(number, transaction);
        stream.order.push_back((due, number));
        if !stream.answers_armed {
            stream.answers_armed = true;
            self.arm(due, Timer::Answers(id));
        }
    }

    /// What an answer is for. Each is taken once.
    pub(super) fn answered(&mut self, id: StreamId, number: u64) -> Option<Transaction> {
        let stream = self.streams.get_mut(&id)?;
        let transaction = stream.transactions.remove(&number);
        while stream.order.front().is_some_and(|(_, number)| !stream.transactions.contains_key(number)) {
            stream.order.pop_front();
        }
        transaction
    }

    pub(super) fn answers_due(&mut self, now: Instant, id: StreamId) {
        let mut missing = Vec::new();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.answers_armed = false;
        while let Some((due, number)) = stream.order.front().copied() {
            let waits = stream.transactions.contains_key(&number);
            if waits && due > now {
                stream.answers_armed = true;
                self.timers.insert((due, Timer::Answers(id)));
                break;
            }
            stream.order.pop_front();
            missing.extend(stream.transactions.remove(&number));
        }
        for transaction in missing {
            self.unanswered(now, transaction);
        }
        self.make_ready(id);
    }

    /// A message waits to be accepted.
    pub(super) fn hold(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.held += 1;
        if stream.held >= MAX_HELD && !stream.paused_for_held {
            let was_paused = stream.is_paused();
            stream.paused_for_held = true;
            if !was_paused {
                self.requests.push_back(StreamRequest::Pause { stream: id });
            }
        }
    }

    /// It waits no more.
    pub(super) fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.held = stream.held.saturating_sub(1);
        if stream.paused_for_held && stream.held <= MAX_HELD / 2 {
            stream.paused_for_held = false;
            if !stream.is_paused() {
                self.requests.push_back(StreamRequest::Resume { stream: id });
            }
        }
    }

    pub(super) fn pause_for_pieces(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let was_paused = stream.is_paused();
        stream.paused_for_pieces = true;
        if !was_paused {
            self.requests.push_back(StreamRequest::Pause { stream: id });
        }
    }

    /// Reads again where nothing was read because pieces were not worked off.
    pub(super) fn resume_for_pieces(&mut self) {
        for (id, stream) in &mut self.streams {
            if std::mem::take(&mut stream.paused_for_pieces) && !stream.is_paused() {
                self.requests.push_back(StreamRequest::Resume { stream: *id });
            }
        }
    }

    /// The next bytes that fit somewhere. Connections take turns.
    pub(super) fn next_send(&mut self, now: Instant) -> Option<StreamRequest> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(bytes) = self.fill(now, id) {
                self.ready.push_back(id);
                return Some(StreamRequest::Send { stream: id, bytes });
            }
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.is_ready = false;
            }
            // Making room may have led to something else.
            if let Some(request) = self.requests.pop_front() {
                return Some(request);
            }
        }
        None
    }

    fn fill(&mut self, now: Instant, id: StreamId) -> Option<Bytes> {
        let window = self.config.limits.window;
        let stream = self.streams.get_mut(&id)?;
        if !stream.open || stream.in_flight >= window {
            return None;
        }
        let mut writer = Writer::default();
        while writer.len() < FILL
            && let Some(chunk) = stream.sayings.pop_front()
        {
            stream.sayings_length -= chunk.len();
            if writer.len() == 0
                && stream.sayings.is_empty()
                && stream.small.is_empty()
                && stream.large.is_empty()
            {
                // The only one need not be copied.
                stream.in_flight += chunk.len();
                self.sayings_left(id);
                return Some(chunk);
            }
            writer.raw(&chunk);
        }
        self.sayings_left(id);
        while writer.len() < FILL && self.write_chunk(now, id, &mut writer) {}
        let bytes = writer.finish();
        let stream = self.streams.get_mut(&id)?;
        stream.in_flight += bytes.len();
        (!bytes.is_empty()).then_some(bytes)
    }

    fn sayings_left(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.paused_for_sayings
            && stream.sayings_length <= MAX_SAYINGS / 2
        {
            stream.paused_for_sayings = false;
            if !stream.is_paused() {
                self.requests.push_back(StreamRequest::Resume { stream: id });
            }
        }
    }
}
