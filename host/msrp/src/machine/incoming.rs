//! Requests of peers: messages put together from their chunks, reports, names.

use std::time::Instant;

use bytes::Bytes;

use super::fragments::Fragments;
use super::{Msrp, Timer};
use crate::event::{Failure, FailureReport, Incoming, IncomingId, MsrpEvent, Piece, Receive, SessionId};
use crate::ranges::Ranges;
use crate::sdp::type_matches;
use crate::stream::{StreamId, StreamRequest};
use crate::wire::{ByteRange, Flag, Head, Method, Writer, comment, response};

/// Octets of the longest `Message-ID` that is read; the standard has 32.
const MAX_MESSAGE_ID: usize = 256;

/// A request that is being received.
pub(super) struct Request {
    head: Box<Head>,
    method: Method,
    session: Option<SessionId>,
    /// The message that it is a chunk of.
    message: Option<IncomingId>,
    /// Where the next octet of its body belongs.
    offset: u64,
    range: ByteRange,
    /// Why nothing more of it is read.
    verdict: Option<u16>,
    /// Whether that was told already.
    answered: bool,
}

/// How a request is answered, later perhaps.
#[derive(Clone)]
pub(super) struct Answer {
    stream: StreamId,
    transaction: String,
    to: String,
    from: String,
    failure_report: FailureReport,
}

/// A message that is being received, or waits to be accepted.
pub(super) struct Receiving {
    session: SessionId,
    stream: StreamId,
    message_id: Box<str>,
    content_type: String,
    disposition: Option<String>,
    ranges: Ranges,
    total: Option<u64>,
    /// Whether the chunk that ends the message was there.
    has_last: bool,
    store: Store,
    success_report: bool,
    /// The sender's path, for a report.
    from_path: String,
    /// The answer to the chunk that made it complete.
    held: Option<Answer>,
    due: Instant,
    /// When its timer looks next; what is complete has none.
    looks_at: Instant,
}

enum Store {
    /// Kept until all of it is there.
    Whole(Fragments),
    /// Given out as they come.
    Pieces { untaken: usize },
}

impl Receiving {
    fn is_complete(&self) -> bool {
        self.has_last && self.total.is_some_and(|total| self.ranges.is_full(total))
    }
}

impl Msrp {
    /// Looks at start line and headers of a request.
    pub(super) fn request_begins(
        &mut self,
        now: Instant,
        stream: StreamId,
        method: Method,
        head: Box<Head>,
    ) -> Request {
        let mut request = Request {
            head,
            method,
            session: None,
            message: None,
            offset: 0,
            range: ByteRange::UNKNOWN,
            verdict: None,
            answered: false,
        };
        if let Err(status) = self.request_session(now, stream, &mut request) {
            request.verdict = Some(status);
        } else if method == Method::Send
            && let Err(status) = self.chunk_begins(now, stream, &mut request)
        {
            request.verdict = Some(status);
        }
        request
    }

    /// Finds the session that a request is for (RFC 4975, section 7.3), and has it use the connection.
    fn request_session(&mut self, now: Instant, stream: StreamId, request: &mut Request) -> Result<(), u16> {
        let (Ok(to), Ok(_)) = (request.head.to_path(), request.head.from_path()) else { return Err(400) };
        if request.head.is_malformed() {
            return Err(400);
        }
        // This node relays nothing.
        let [own] = to.as_slice() else { return Err(481) };
        let id = own.session().and_then(|name| self.by_name.get(name)).copied().ok_or(481_u16)?;
        let session = self.sessions.get(&id).ok_or(481_u16)?;
        // The name alone says which one it is; host and port may have been translated on the way.
        if session.own.is_secure() != own.is_secure() {
            return Err(481);
        }
        // Nor does a peer decide to do without what the address promises (RFC 4975, section 14.2).
        if own.is_secure() && !self.streams.get(&stream).is_some_and(|stream| stream.secure) {
            return Err(403);
        }
        match session.stream {
            Some(bound) if bound == stream => {}
            Some(_) => return Err(506),
            None if self.may_bind(id, stream) => {
                self.session_bind(id, stream);
                self.session_up(now, id);
            }
            // Nothing on this connection is from whom it says. The session goes on waiting for its peer.
            None => {
                tracing::debug!(%stream, session = %id, "the certificate is not that of the session's peer");
                self.requests.push_back(StreamRequest::Close { stream });
                self.stream_gone(now, stream, Failure::WrongCertificate);
                return Err(481);
            }
        }
        request.session = Some(id);
        match request.method {
            Method::Send | Method::Report | Method::Nickname => Ok(()),
            // Only relays authorise.
            Method::Auth | Method::Other => Err(501),
        }
    }

    /// Finds the message that a chunk belongs to, or begins one.
    fn chunk_begins(&mut self, now: Instant, stream: StreamId, request: &mut Request) -> Result<(), u16> {
        let head = &request.head;
        let message_id = head.header("Message-ID").filter(|id| id.len() <= MAX_MESSAGE_ID).ok_or(400_u16)?;
        let range = head.byte_range().ok_or(400_u16)?;
        request.range = range;
        request.offset = range.start - 1;
        let Some(id) = request.session else { return Err(481) };
        let Some(session) = self.sessions.get(&id) else { return Err(481) };
        if let Some(status) = session.was_refused(message_id) {
            return Err(status);
        }
        if let Some(message) = session.by_message.get(message_id).copied() {
            request.message = Some(message);
            let Some(receiving) = self.receiving.get_mut(&message) else { return Err(400) };
            receiving.due = now + self.config.limits.stalled;
            if let Some(total) = range.total {
                if receiving.total.is_some_and(|known| known != total) || receiving.ranges.end() > total {
                    return Err(self.refuse_rest(message, 400));
                }
                receiving.total = Some(total);
            }
            return Ok(());
        }
        // One without content introduces a session, or keeps it alive.
        let Some(content_type) = head.header("Content-Type") else { return Ok(()) };
        let status = if !type_matches(&session.params.accept_types, content_type) {
            Some(415)
        } else if range.total.is_some_and(|total| total > self.max_size(id))
            || session.by_message.len() >= self.config.limits.incoming
        {
            Some(413)
        } else {
            None
        };
        if let Some(status) = status {
            let message_id = message_id.to_owned();
            if let Some(session) = self.sessions.get_mut(&id) {
                session.remember_refused(&message_id, status);
            }
            return Err(status);
        }
        let mut ranges = Ranges::default();
        ranges.add(0, session.params.resume_from);
        let (content_type, message_id) = (content_type.to_owned(), message_id.to_owned());
        let store = match session.params.receive {
            Receive::Whole => Store::Whole(Fragments::default()),
            Receive::Pieces => Store::Pieces { untaken: 0 },
        };
        let message = IncomingId(self.next);
        self.next += 1;
        let due = now + self.config.limits.stalled;
        if matches!(store, Store::Pieces { .. }) {
            self.events.push_back(MsrpEvent::Begun {
                session: id,
                message,
                message_id: message_id.clone(),
                content_type: content_type.clone(),
                total: range.total,
            });
        }
        let receiving = Receiving {
            session: id,
            stream,
            message_id: message_id.as_str().into(),
            content_type,
            disposition: head.header("Content-Disposition").map(str::to_owned),
            ranges,
            total: range.total,
            has_last: false,
            store,
            success_report: head
                .header("Success-Report")
                .is_some_and(|value| value.eq_ignore_ascii_case("yes")),
            from_path: head.header("From-Path").unwrap_or_default().to_owned(),
            held: None,
            due,
            looks_at: due,
        };
        self.receiving.insert(message, receiving);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.by_message.insert(message_id.into(), message);
            session.incoming.insert(message);
        }
        self.arm(due, Timer::Stalled(message));
        request.message = Some(message);
        Ok(())
    }

    /// Octets of the largest message that a session takes.
    fn max_size(&self, id: SessionId) -> u64 {
        let Some(session) = self.sessions.get(&id) else { return 0 };
        let own = session.params.max_size.unwrap_or(u64::MAX);
        match session.params.receive {
            Receive::Whole => own.min(self.config.limits.message),
            Receive::Pieces => own,
        }
    }

    /// Takes a piece of a body.
    pub(super) fn request_body(
        &mut self,
        now: Instant,
        stream: StreamId,
        request: &mut Request,
        bytes: &Bytes,
    ) {
        if request.verdict.is_some() {
            return;
        }
        let Some(message) = request.message else { return };
        let taken = self.take_body(now, stream, message, request.offset, request.range, bytes);
        match taken {
            Ok(until) => request.offset = until,
            Err(status) => {
                request.verdict = Some(status);
                // Whoever sends too much should hear of it before all of it was sent.
                self.answer_request(stream, request);
                request.answered = true;
            }
        }
    }

    /// Takes the octets of a message that begin at `offset`, and gives where they end.
    fn take_body(
        &mut self,
        now: Instant,
        stream: StreamId,
        message: IncomingId,
        offset: u64,
        range: ByteRange,
        bytes: &Bytes,
    ) -> Result<u64, u16> {
        let Some(receiving) = self.receiving.get(&message) else { return Err(413) };
        let session = receiving.session;
        let until = offset.checked_add(bytes.len() as u64);
        let fits = |until: &u64| {
            range.end.is_none_or(|end| *until <= end) && receiving.total.is_none_or(|total| *until <= total)
        };
        let Some(until) = until.filter(fits) else { return Err(self.refuse_rest(message, 400)) };
        if until > self.max_size(session) {
            return Err(self.refuse_rest(message, 413));
        }
        let limits = &self.config.limits;
        let is_whole = matches!(receiving.store, Store::Whole(_));
        if is_whole && self.held + bytes.len() > limits.memory {
            return Err(self.refuse_rest(message, 413));
        }
        let (gaps, due) = (limits.gaps, now + limits.stalled);
        let Some(receiving) = self.receiving.get_mut(&message) else { return Err(413) };
        receiving.due = due;
        let fresh = receiving.ranges.add(offset, until);
        let is_scattered = receiving.ranges.len() > gaps;
        for (from, to) in fresh {
            let at = |octet: u64| usize::try_from(octet - offset).unwrap_or(bytes.len());
            let part = bytes.slice(at(from)..at(to));
            match &mut receiving.store {
                Store::Whole(fragments) => {
                    self.held += part.len();
                    fragments.add(from, &part);
                }
                Store::Pieces { untaken } => {
                    *untaken += part.len();
                    self.untaken += part.len();
                    let bytes = Piece(part);
                    self.events.push_back(MsrpEvent::Piece { session, message, offset: from, bytes });
                }
            }
        }
        if is_scattered {
            return Err(self.refuse_rest(message, 413));
        }
        if self.untaken > self.config.limits.untaken {
            self.pause_for_pieces(stream);
        }
        Ok(until)
    }

    /// Forgets a message, of which more may come that is refused in the same way.
    fn refuse_rest(&mut self, message: IncomingId, status: u16) -> u16 {
        if let Some(receiving) = self.receiving.get(&message) {
            let (session, name) = (receiving.session, receiving.message_id.clone());
            if let Some(session) = self.sessions.get_mut(&session) {
                session.remember_refused(&name, status);
            }
        }
        let comment = comment(status).to_owned();
        self.incoming_drop(message, Some(Failure::Status { status, comment }));
        status
    }

    /// The end line of a request is there.
    pub(super) fn request_ends(
        &mut self,
        now: Instant,
        stream: StreamId,
        mut request: Request,
        flag: Flag,
        has_body: bool,
    ) {
        if request.verdict.is_none() {
            match (request.method, request.session) {
                (_, Some(session)) if !self.sessions.contains_key(&session) => request.verdict = Some(481),
                (Method::Report, Some(session)) => self.report(now, session, &request.head),
                (Method::Nickname, Some(session)) => {
                    let answer = answer_to(stream, &request);
                    if let Err(status) = self.nickname_asked(session, &request.head, answer) {
                        request.verdict = Some(status);
                    } else {
                        return;
                    }
                }
                (Method::Send, Some(_)) if self.chunk_ends(stream, &mut request, flag, has_body) => return,
                _ => {}
            }
        } else if flag != Flag::More
            && let (Some(session), Some(name)) = (request.session, request.head.header("Message-ID"))
            && let Some(session) = self.sessions.get_mut(&session)
        {
            // No more of it comes.
            session.forget_refused(name);
        }
        if !request.answered {
            self.answer_request(stream, &request);
        }
    }

    /// The end of a chunk. Whether its answer waits for somebody.
    fn chunk_ends(&mut self, stream: StreamId, request: &mut Request, flag: Flag, has_body: bool) -> bool {
        let Some(message) = request.message else {
            // A body whose type nobody knows.
            request.verdict = has_body.then_some(400);
            return false;
        };
        let Some(receiving) = self.receiving.get_mut(&message) else {
            request.verdict = Some(413);
            return false;
        };
        match flag {
            Flag::Abort => {
                self.incoming_drop(message, Some(Failure::Aborted));
                return false;
            }
            Flag::More => {}
            Flag::Last => {
                let known = receiving.total.is_none_or(|total| total == request.offset);
                if !known || receiving.ranges.end() > request.offset {
                    request.verdict = Some(self.refuse_rest(message, 400));
                    if let Some(session) = request.session.and_then(|id| self.sessions.get_mut(&id)) {
                        session.forget_refused(request.head.header("Message-ID").unwrap_or(""));
                    }
                    return false;
                }
                receiving.total = Some(request.offset);
                receiving.has_last = true;
            }
        }
        if !receiving.is_complete() || receiving.held.is_some() {
            return false;
        }
        receiving.held = Some(answer_to(stream, request));
        self.hold(stream);
        self.message_complete(message);
        true
    }

    fn message_complete(&mut self, id: IncomingId) {
        let Some(receiving) = self.receiving.get_mut(&id) else { return };
        let session = receiving.session;
        // Many small ones must not leave as many timers behind.
        self.timers.remove(&(receiving.looks_at, Timer::Stalled(id)));
        // Its name may be used again, and its place by another.
        if let Some(session) = self.sessions.get_mut(&session) {
            session.by_message.remove(&receiving.message_id);
        }
        match &mut receiving.store {
            Store::Whole(fragments) => {
                self.held -= fragments.octets();
                let body = std::mem::take(fragments).joined();
                let message = Incoming {
                    id,
                    message_id: receiving.message_id.to_string(),
                    content_type: receiving.content_type.clone(),
                    disposition: receiving.disposition.clone(),
                    body,
                };
                self.events.push_back(MsrpEvent::Message { session, message: Box::new(message) });
            }
            Store::Pieces { .. } => {
                let total = receiving.total.unwrap_or(0);
                self.events.push_back(MsrpEvent::Complete { session, message: id, total });
            }
        }
    }

    pub(super) fn message_accept(&mut self, _now: Instant, message: IncomingId) {
        let Some(receiving) = self.receiving.get(&message).filter(|receiving| receiving.held.is_some())
        else {
            return;
        };
        let Some(answer) = receiving.held.clone() else { return };
        self.answer(&answer, 200, comment(200));
        self.success(message, &answer);
        self.incoming_drop(message, None);
    }

    /// Reports that all of a message is here, where the sender wants to know (RFC 4975, section 7.1.2).
    fn success(&mut self, message: IncomingId, answer: &Answer) {
        let Some(receiving) = self.receiving.get(&message).filter(|receiving| receiving.success_report)
        else {
            return;
        };
        let total = receiving.total.unwrap_or(0);
        let (stream, to, message_id) =
            (receiving.stream, receiving.from_path.clone(), receiving.message_id.clone());
        let name = super::name_of(self.random());
        let mut writer = Writer::with_capacity(320);
        writer.start(&name, format_args!("{}", Method::Report.as_str()), &to, &answer.from);
        writer.header("Message-ID", message_id);
        writer.header("Byte-Range", ByteRange { start: 1, end: Some(total), total: Some(total) });
        writer.header("Status", "000 200 OK");
        writer.end(&name, Flag::Last);
        self.say(stream, writer.finish());
    }

    pub(super) fn message_refuse(&mut self, _now: Instant, message: IncomingId, status: u16, words: &str) {
        let Some(receiving) = self.receiving.get(&message) else { return };
        match receiving.held.clone() {
            Some(answer) => {
                let words = if crate::wire::is_value(words) { words } else { comment(status) };
                self.answer(&answer, status, words);
                self.incoming_drop(message, None);
            }
            // What comes of it from now on is answered so.
            None => {
                let (session, name) = (receiving.session, receiving.message_id.clone());
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.remember_refused(&name, status);
                }
                self.incoming_drop(message, None);
            }
        }
    }

    pub(super) fn message_taken(&mut self, message: IncomingId, octets: usize) {
        let Some(receiving) = self.receiving.get_mut(&message) else { return };
        if let Store::Pieces { untaken } = &mut receiving.store {
            let octets = octets.min(*untaken);
            *untaken -= octets;
            self.untaken -= octets;
        }
        self.pieces_taken();
    }

    fn pieces_taken(&mut self) {
        if self.untaken <= self.config.limits.untaken / 2 {
            self.resume_for_pieces();
        }
    }

    /// Forgets a message, for this reason if its owner does not know yet.
    pub(super) fn incoming_drop(&mut self, message: IncomingId, failure: Option<Failure>) {
        let Some(receiving) = self.receiving.remove(&message) else { return };
        self.timers.remove(&(receiving.looks_at, Timer::Stalled(message)));
        if let Some(session) = self.sessions.get_mut(&receiving.session) {
            session.incoming.remove(&message);
            if session.by_message.get(&receiving.message_id) == Some(&message) {
                session.by_message.remove(&receiving.message_id);
            }
        }
        if let Some(answer) = receiving.held {
            self.release(answer.stream);
        }
        match receiving.store {
            Store::Whole(fragments) => self.held -= fragments.octets(),
            Store::Pieces { untaken } => {
                self.untaken -= untaken;
                self.pieces_taken();
                if let Some(failure) = failure {
                    let session = receiving.session;
                    self.events.push_back(MsrpEvent::Aborted { session, message, failure });
                }
            }
        }
    }

    pub(super) fn stalled_due(&mut self, now: Instant, message: IncomingId) {
        let Some(receiving) = self.receiving.get_mut(&message).filter(|receiving| receiving.held.is_none())
        else {
            return;
        };
        if receiving.due > now {
            let due = receiving.due;
            receiving.looks_at = due;
            self.arm(due, Timer::Stalled(message));
        } else {
            self.refuse_rest(message, 408);
        }
    }

    fn answer_request(&mut self, stream: StreamId, request: &Request) {
        let status = request.verdict.unwrap_or(200);
        // A report is never answered (RFC 4975, section 7.1.2).
        if request.method != Method::Report {
            self.answer(&answer_to(stream, request), status, comment(status));
        }
    }

    /// Answers a request, where its sender wants that.
    pub(super) fn answer(&mut self, answer: &Answer, status: u16, words: &str) {
        let is_wanted = match answer.failure_report {
            FailureReport::Yes => true,
            FailureReport::Partial => status != 200,
            FailureReport::No => false,
        };
        // Without both paths there is nobody to answer.
        if is_wanted && !answer.to.is_empty() && !answer.from.is_empty() {
            self.say(answer.stream, response(&answer.transaction, status, words, &answer.to, &answer.from));
        }
    }
}

/// How a request is answered (RFC 4975, section 7.2).
fn answer_to(stream: StreamId, request: &Request) -> Answer {
    let head = &request.head;
    let from_path = head.header("From-Path").unwrap_or("");
    let first = |path: &str| path.split_ascii_whitespace().next().unwrap_or("").to_owned();
    // Each relay answers a message itself; what else is asked is answered from end to end.
    let to = if request.method == Method::Send { first(from_path) } else { from_path.to_owned() };
    let report = head.header("Failure-Report").filter(|_| request.method == Method::Send).unwrap_or("");
    let failure_report = if report.eq_ignore_ascii_case("no") {
        FailureReport::No
    } else if report.eq_ignore_ascii_case("partial") {
        FailureReport::Partial
    } else {
        FailureReport::Yes
    };
    let from = first(head.header("To-Path").unwrap_or(""));
    Answer { stream, transaction: head.transaction().to_owned(), to, from, failure_report }
}
