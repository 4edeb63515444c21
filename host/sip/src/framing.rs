//! Messages out of a byte stream (RFC 3261 §18.3).
//!
//! A stream is cut where Content-Length says. Whatever cannot be cut is reported with the headers it had, so that it can be
//! answered, and skipped: one bad message never costs the peer its connection, and never more memory than [`Limits::message`].

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::message::{HeaderName, Limits, content_length};
use crate::text::{is_blank, is_token, trim_end};

/// A piece of the stream.
#[derive(Clone, Eq, PartialEq)]
pub enum Frame {
    /// The bytes of one message, to be read with [`Message::parse_with`](crate::message::Message::parse_with).
    Message(Bytes),
    /// Line ends between messages.
    KeepAlive {
        /// How many there were; one is the answer to a ping (RFC 5626 §4.4.1).
        line_ends: usize,
        /// How many pings they complete: each second line end in a row is one, and is owed a single line end as answer.
        pings: usize,
    },
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::KeepAlive { line_ends, pings } => {
                write!(f, "KeepAlive({line_ends} line ends, {pings} pings)")
            }
        }
    }
}

/// Why bytes were skipped.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// The message is longer than [`Limits::message`].
    #[error("the message is too large")]
    TooLarge,
    /// Content-Length is malformed or contradicts itself, so nobody knows where the message ends.
    #[error("content-length is malformed or contradicts itself")]
    ContentLength,
    /// There is a Content-Type but no Content-Length, so nobody knows where the body ends.
    #[error("a body without content-length on a stream")]
    NoContentLength,
    /// What stands where a message should start is no start line.
    #[error("the stream carries something that is not sip")]
    NotSip,
}

impl FrameFault {
    /// The status code with which such a request is refused.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 513,
            _ => 400,
        }
    }
}

/// A message that was skipped.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[error("{fault}")]
pub struct FrameError {
    /// Why.
    pub fault: FrameFault,
    /// Start line and headers with the blank line, where they were whole; else empty. Content-Length in them is not to be believed: answer with
    /// what [`ParseError::salvage`](crate::message::ParseError::salvage) gives.
    pub head: Bytes,
}

impl std::fmt::Debug for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameError({:?}, head of {} bytes)", self.fault, self.head.len())
    }
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    /// At the start of a message, or within its head.
    Head,
    /// The head is whole; its length and the body's are known.
    Body { total: usize },
    /// That many octets of a message that is too large are still to come.
    Skip { left: u64 },
    /// Looking for a line that starts a message.
    Resync,
}

/// Cuts one connection's bytes into messages.
///
/// After each [`push`](Self::push) call [`next`](Self::next) until it gives `None`. The work is linear in the bytes pushed, whatever they are
/// and however they are cut.
#[derive(Debug)]
pub struct StreamDecoder {
    buffer: BytesMut,
    limits: Limits,
    state: State,
    /// Octets of the buffer in which the end of the head was looked for.
    scanned: usize,
    /// A line end that may be half a ping.
    half_ping: bool,
}

impl Default for StreamDecoder {
    fn default() -> Self {
        Self::new(Limits::DEFAULT)
    }
}

impl StreamDecoder {
    /// A decoder for a new connection.
    pub fn new(limits: Limits) -> Self {
        Self { buffer: BytesMut::new(), limits, state: State::Head, scanned: 0, half_ping: false }
    }

    /// Takes received bytes. What is being skipped is dropped here already.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if let State::Skip { left } = &mut self.state
            && self.buffer.is_empty()
        {
            let drop = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left -= drop as u64;
            bytes = &bytes[drop..];
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many octets wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next message, keep-alive or skipped message; `None` until more bytes come.
    #[allow(clippy::should_implement_trait, reason = "it ends and goes on, which an iterator must not")]
    pub fn next(&mut self) -> Option<Result<Frame, FrameError>> {
        loop {
            match self.state {
                State::Head => match self.head()? {
                    Some(result) => return Some(result),
                    None => continue,
                },
                State::Body { total } => {
                    if self.buffer.len() < total {
                        // Room for the rest in one step; the length was checked against the limit.
                        self.buffer.reserve(total - self.buffer.len());
                        return None;
                    }
                    self.reset();
                    let message = self.buffer.split_to(total).freeze();
                    if self.buffer.is_empty() {
                        // What is left of it would keep the space of the whole message, which may have been long.
                        self.buffer = BytesMut::new();
                    }
                    return Some(Ok(Frame::Message(message)));
                }
                State::Skip { left } => {
                    let drop = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                    self.buffer.advance(drop);
                    let left = left - drop as u64;
                    if left > 0 {
                        self.state = State::Skip { left };
                        return None;
                    }
                    self.reset();
                }
                State::Resync => {
                    if !self.resync() {
                        return None;
                    }
                    self.reset();
                }
            }
        }
    }

    fn reset(&mut self) {
        self.state = State::Head;
        self.scanned = 0;
        self.half_ping = false;
    }

    /// One step at the start of a message. `None`: more bytes are needed. `Some(None)`: the state changed.
    fn head(&mut self) -> Option<Option<Result<Frame, FrameError>>> {
        if self.scanned == 0
            && let Some(frame) = self.keep_alive()
        {
            return Some(Some(Ok(frame)));
        }
        if self.buffer.is_empty() || (self.buffer[..] == b"\r"[..]) {
            return None;
        }
        let Some(head) = self.find_head_end() else {
            if self.buffer.len() > self.limits.message {
                return Some(Some(Err(self.give_up(FrameFault::TooLarge, 0))));
            }
            return None;
        };
        if head > self.limits.message {
            return Some(Some(Err(self.give_up(FrameFault::TooLarge, 0))));
        }
        let first_line = &self.buffer[..memchr(b'\n', &self.buffer[..head]).unwrap_or(head)];
        if !looks_like_start_line(first_line) {
            return Some(Some(Err(self.give_up(FrameFault::NotSip, 0))));
        }
        match body_length(&self.buffer[..head]) {
            Err(fault) => Some(Some(Err(self.give_up(fault, head)))),
            Ok(length) => {
                let fits = usize::try_from(length).ok().and_then(|n| n.checked_add(head));
                match fits.filter(|total| *total <= self.limits.message) {
                    Some(total) => {
                        self.state = State::Body { total };
                        Some(None)
                    }
                    None => {
                        let head = self.buffer.split_to(head).freeze();
                        self.state = State::Skip { left: length };
                        self.scanned = 0;
                        Some(Some(Err(FrameError { fault: FrameFault::TooLarge, head })))
                    }
                }
            }
        }
    }

    /// Skips the head, if its length is known, or else what is there, and looks for the next message from then on.
    fn give_up(&mut self, fault: FrameFault, head: usize) -> FrameError {
        let head = self.buffer.split_to(head).freeze();
        if head.is_empty() {
            // Past the line that was tried, so that it is not tried again.
            let line = memchr(b'\n', &self.buffer).map_or(self.buffer.len(), |at| at + 1);
            self.buffer.advance(line);
        }
        self.state = State::Resync;
        self.scanned = 0;
        self.half_ping = false;
        FrameError { fault, head }
    }

    fn keep_alive(&mut self) -> Option<Frame> {
        let mut at = 0;
        let mut line_ends = 0;
        loop {
            match &self.buffer[at..] {
                [b'\r', b'\n', ..] => at += 2,
                [b'\n', ..] => at += 1,
                _ => break,
            }
            line_ends += 1;
        }
        if line_ends == 0 {
            return None;
        }
        self.buffer.advance(at);
        let sum = line_ends + usize::from(self.half_ping);
        self.half_ping = sum % 2 == 1;
        Some(Frame::KeepAlive { line_ends, pings: sum / 2 })
    }

    /// The length of the head with its blank line. What was searched is not searched again.
    fn find_head_end(&mut self) -> Option<usize> {
        let mut from = self.scanned;
        while let Some(found) = memchr(b'\n', &self.buffer[from..]) {
            let at = from + found;
            match &self.buffer[at + 1..] {
                [b'\n', ..] => return Some(at + 2),
                [b'\r', b'\n', ..] => return Some(at + 3),
                // The blank line may be cut in the middle: look here again.
                [] | [b'\r'] => {
                    self.scanned = at;
                    return None;
                }
                _ => from = at + 1,
            }
        }
        self.scanned = self.buffer.len().max(1);
        None
    }

    /// Drops lines until one starts a message. Whether one was found.
    fn resync(&mut self) -> bool {
        loop {
            let Some(newline) = memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at)
            else {
                self.scanned = self.buffer.len();
                if self.buffer.len() > self.limits.header {
                    // No start line is that long; the rest of this line is dropped with it.
                    self.buffer.clear();
                    self.scanned = 0;
                }
                return false;
            };
            if looks_like_start_line(&self.buffer[..newline]) {
                return true;
            }
            self.buffer.advance(newline + 1);
            self.scanned = 0;
        }
    }
}

/// Whether a datagram is a keep-alive and no message: line ends, NULs, or nothing at all.
pub fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// `SIP/x…` at the start, or a token at the start and `SIP/x.y` at the end.
fn looks_like_start_line(line: &[u8]) -> bool {
    let line = trim_end(line.strip_suffix(b"\r").unwrap_or(line));
    let is_version = |text: &[u8]| text.len() > 4 && text[..4].eq_ignore_ascii_case(b"SIP/");
    if is_version(line) {
        return true;
    }
    let Some(method) = memchr(b' ', line) else { return false };
    let last = line.rsplit(|b| *b == b' ').next().unwrap_or(b"");
    is_token(&line[..method]) && is_version(last)
}

/// What the headers say about the length of the body.
fn body_length(head: &[u8]) -> Result<u64, FrameFault> {
    let mut length: Option<u64> = None;
    let mut has_type = false;
    let mut rest = head;
    while let Some(newline) = memchr(b'\n', rest) {
        let (line, mut after) = rest.split_at(newline + 1);
        // Both headers of interest start with one of these, long or short.
        if matches!(line[0], b'c' | b'C' | b'l' | b'L') {
            let colon = memchr(b':', line).unwrap_or(0);
            match HeaderName::parse(trim_end(&line[..colon])) {
                HeaderName::ContentLength => {
                    let mut end = line.len();
                    while after.first().copied().is_some_and(is_blank) {
                        let fold = memchr(b'\n', after).map_or(after.len(), |at| at + 1);
                        after = &after[fold..];
                        end += fold;
                    }
                    let value = content_length(&rest[colon + 1..end]).ok_or(FrameFault::ContentLength)?;
                    if length.is_some_and(|earlier| earlier != value) {
                        return Err(FrameFault::ContentLength);
                    }
                    length = Some(value);
                }
                HeaderName::ContentType => has_type = true,
                _ => {}
            }
        }
        rest = after;
    }
    match length {
        Some(length) => Ok(length),
        // RFC 3261 §20.14 demands it on a stream; a message without a body leaves no doubt where it ends.
        None if has_type => Err(FrameFault::NoContentLength),
        None => Ok(0),
    }
}
