//! Chunks out of a byte stream (RFC 4975, section 5.1).
//!
//! Nothing says how long a chunk is: it ends with a line that repeats its transaction's name. Bodies are given out as they
//! come, so that one of any size needs no more memory than what was read at once, and what was searched for the end is not
//! searched again.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::wire::{DASHES, Flag, Head, Start, transaction};

/// Octets of a body that are worth giving out before its end is there.
const WORTH: usize = 4096;
/// Empty lines between chunks are no part of the protocol; some send them to keep a connection open.
const MAX_EMPTY: usize = 2;

/// A part of the stream.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A chunk begins.
    Head(Box<Head>),
    /// Something of its body.
    Body(Bytes),
    /// It ends.
    End {
        /// How.
        flag: Flag,
        /// Whether it had a body, were it an empty one.
        body: bool,
    },
}

/// Why nothing more can be read from a stream.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// What stands where a chunk should begin is no start line, so that nobody knows where the next one begins.
    #[error("the stream carries something that is not msrp")]
    NotMsrp,
    /// Start line and headers are longer than the limit.
    #[error("start line and headers are too long")]
    HeadTooLong,
}

#[derive(Debug)]
enum State {
    /// Before the end of a start line.
    Start,
    /// Within headers.
    Headers { id: Box<[u8]> },
    /// Within a body, whose end is looked for.
    Body {
        end: Box<Finder<'static>>,
        /// The buffer begins with the empty line before the body, which may be all there is of it.
        leading: bool,
    },
    /// Behind a frame that was given out: its end is to be given out next.
    End { flag: Flag, body: bool },
    /// Nothing more can be read.
    Failed(DecodeError),
}

/// Cuts one connection's bytes into chunks.
///
/// After each [`push`](Self::push) call [`next`](Self::next) until it gives `None`. The work is linear in the bytes
/// pushed, whatever they are and however they are cut; no more than the limit of a head and a few KiB wait in it.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    state: State,
    /// Octets of the buffer in which a line end, or the end of the body, was looked for in vain.
    searched: usize,
    /// Where the line begins that is being looked at.
    line: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder for a new connection. `limit`: octets of start line and headers.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), state: State::Start, searched: 0, line: 0, limit }
    }

    /// Takes received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed(_)) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many octets wait for others.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a chunk has begun and not ended.
    pub fn is_within_chunk(&self) -> bool {
        !matches!(self.state, State::Start) || !self.buffer.is_empty()
    }

    /// The next part; `None` until more bytes come. An error comes again and again.
    #[allow(clippy::should_implement_trait, reason = "it ends and goes on, which an iterator must not")]
    pub fn next(&mut self) -> Option<Result<Frame, DecodeError>> {
        loop {
            let step = match &self.state {
                State::Start => self.start_line(),
                State::Headers { .. } => self.header_line(),
                State::Body { .. } => self.body(),
                State::End { flag, body } => {
                    let frame = Frame::End { flag: *flag, body: *body };
                    self.state = State::Start;
                    if self.buffer.is_empty() {
                        // What is left of it would keep the space of everything before.
                        self.buffer = BytesMut::new();
                    }
                    Step::Give(frame)
                }
                State::Failed(error) => return Some(Err(*error)),
            };
            match step {
                Step::Give(frame) => return Some(Ok(frame)),
                Step::Again => {}
                Step::Wait => return None,
                Step::Fail(error) => {
                    self.buffer = BytesMut::new();
                    self.state = State::Failed(error);
                }
            }
        }
    }

    /// The end of the line that begins at `line`, behind its line feed.
    fn line_end(&mut self) -> Option<usize> {
        match memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            Some(at) => {
                self.searched += at + 1;
                Some(self.searched)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    fn start_line(&mut self) -> Step {
        const BEGIN: &[u8] = b"MSRP ";
        for _ in 0..MAX_EMPTY {
            if self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
                self.searched = 0;
            }
        }
        let seen = self.buffer.len().min(BEGIN.len());
        if self.buffer[..seen] != BEGIN[..seen] && self.buffer[..] != b"\r"[..] {
            return Step::Fail(DecodeError::NotMsrp);
        }
        let Some(end) = self.line_end() else {
            let is_long = self.buffer.len() > self.limit;
            return if is_long { Step::Fail(DecodeError::HeadTooLong) } else { Step::Wait };
        };
        match transaction(&self.buffer[..end - 1]) {
            Some(id) => {
                self.state = State::Headers { id: id.into() };
                self.line = end;
                Step::Again
            }
            None => Step::Fail(DecodeError::NotMsrp),
        }
    }

    fn header_line(&mut self) -> Step {
        let Some(end) = self.line_end() else {
            let is_long = self.buffer.len() > self.limit;
            return if is_long { Step::Fail(DecodeError::HeadTooLong) } else { Step::Wait };
        };
        if end > self.limit {
            return Step::Fail(DecodeError::HeadTooLong);
        }
        let State::Headers { id } = &self.state else { return Step::Wait };
        let line = &self.buffer[self.line..end];
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line[..line.len() - 1]);
        // A body's end is looked for from the line end before it, that of the empty line, which stays in the buffer.
        let (next, used) = if line.is_empty() {
            let leading = end - self.line == 2;
            let mut needle = Vec::with_capacity(2 + DASHES.len() + id.len());
            needle.extend_from_slice(b"\r\n");
            needle.extend_from_slice(DASHES);
            needle.extend_from_slice(id);
            let state = State::Body { end: Box::new(Finder::new(&needle).into_owned()), leading };
            (state, if leading { 0 } else { 1 })
        } else if let Some(flag) = end_line(line, id) {
            (State::End { flag, body: false }, end - self.line)
        } else {
            self.line = end;
            return Step::Again;
        };
        let head = self.buffer.split_to(self.line);
        self.buffer.advance(used);
        self.state = next;
        self.searched = 0;
        self.line = 0;
        match Head::parse(&head) {
            Some(head) => Step::Give(Frame::Head(Box::new(head))),
            // The start line was read before.
            None => Step::Fail(DecodeError::NotMsrp),
        }
    }

    fn body(&mut self) -> Step {
        let State::Body { end, leading } = &mut self.state else { return Step::Wait };
        let needle = end.needle().len();
        let (found, searched) = find_end(&self.buffer, self.searched, end);
        self.searched = searched;
        // The empty line before the body is no part of it.
        let lead = if *leading { 2 } else { 0 };
        let Some(flag) = found else {
            if searched < WORTH {
                return Step::Wait;
            }
            *leading = false;
            let mut body = self.buffer.split_to(searched);
            self.searched = 0;
            body.advance(lead);
            return Step::Give(Frame::Body(body.freeze()));
        };
        let mut body = self.buffer.split_to(searched);
        // The line end before the end line is that of the empty line where there is no body at all.
        body.advance(lead.min(body.len()));
        self.buffer.advance(needle + 3);
        self.searched = 0;
        self.state = State::End { flag, body: true };
        if body.is_empty() { Step::Again } else { Step::Give(Frame::Body(body.freeze())) }
    }
}

enum Step {
    Give(Frame),
    Again,
    Wait,
    Fail(DecodeError),
}

/// How the body ends, and where: before its end, or where the search must go on when more has come.
fn find_end(buffer: &[u8], mut from: usize, end: &Finder<'static>) -> (Option<Flag>, usize) {
    let needle = end.needle().len();
    while let Some(found) = end.find(&buffer[from..]) {
        let at = from + found;
        match &buffer[at + needle..] {
            [] => return (None, at),
            [flag, rest @ ..] => match (Flag::parse(*flag), rest) {
                (Some(flag), [b'\r', b'\n', ..]) => return (Some(flag), at),
                (Some(_), [] | [b'\r']) => return (None, at),
                // It only looks like the end.
                _ => from = at + 2,
            },
        }
    }
    (None, from.max(buffer.len().saturating_sub(needle - 1)))
}

/// The flag of a line that ends a chunk without a body.
fn end_line(line: &[u8], id: &[u8]) -> Option<Flag> {
    match line.strip_prefix(DASHES)?.strip_prefix(id)? {
        [flag] => Flag::parse(*flag),
        _ => None,
    }
}

impl Frame {
    /// Whether a chunk begins that is a response.
    pub fn is_response(&self) -> bool {
        matches!(self, Self::Head(head) if matches!(head.start(), Start::Response { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: &str = "MSRP dkei38sd SEND\r\nTo-Path: msrp://a:1/x;tcp\r\nFrom-Path: msrp://b:2/y;tcp\r\n\
        Message-ID: 4564dpWd\r\nByte-Range: 1-*/8\r\nContent-Type: text/plain\r\n\r\nabcd\r\n-------dkei38sd+\r\n";

    /// All frames in one line each, bodies gathered.
    fn decode(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::new(1024);
        let mut out: Vec<String> = Vec::new();
        let mut body = Vec::new();
        'all: for piece in pieces {
            decoder.push(piece);
            while let Some(frame) = decoder.next() {
                match frame {
                    Ok(Frame::Head(head)) => out.push(format!("{} {:?}", head.transaction(), head.start())),
                    Ok(Frame::Body(bytes)) => body.extend_from_slice(&bytes),
                    Ok(Frame::End { flag, body: has }) => {
                        let body = String::from_utf8(std::mem::take(&mut body)).unwrap();
                        out.push(format!("{body:?} {has} {flag:?}"));
                    }
                    Err(error) => {
                        out.push(error.to_string());
                        break 'all;
                    }
                }
            }
        }
        out
    }

    fn one(text: &str) -> Vec<String> {
        decode(&[text.as_bytes()])
    }

    #[test]
    fn chunks_are_cut_wherever_the_bytes_are() {
        let text =
            format!("{CHUNK}\r\nMSRP ab12 200 OK\r\nTo-Path: msrp://a:1/x;tcp\r\n-------ab12$\r\n{CHUNK}");
        let whole = one(&text);
        assert_eq!(whole.len(), 6, "{whole:?}");
        assert_eq!(whole[1], "\"abcd\" true More");
        assert_eq!(whole[3], "\"\" false Last");
        for at in 0..text.len() {
            let (a, b) = text.as_bytes().split_at(at);
            assert_eq!(decode(&[a, b]), whole, "cut at {at}");
        }
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(decode(&bytes), whole);
    }

    #[test]
    fn bodies_end_with_their_own_transaction_only() {
        for (body, read) in [
            ("", ""),
            ("\r\n", "\r\n"),
            ("\r\n-------other$\r\n", "\r\n-------other$\r\n"),
            ("\r\n-------ab12x\r\n", "\r\n-------ab12x\r\n"),
            ("\r\n-------ab12$x", "\r\n-------ab12$x"),
            ("\r\n\r\n-------ab12", "\r\n\r\n-------ab12"),
            ("MSRP ab12 SEND\r\n-------ab12!\r\n", "MSRP ab12 SEND\r\n-------ab12!\r\n"),
        ] {
            let text = format!("MSRP ab12 SEND\r\nContent-Type: a/b\r\n\r\n{body}\r\n-------ab12#\r\n");
            let got = one(&text);
            assert_eq!(got[1], format!("{read:?} true Abort"));
            let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
            assert_eq!(decode(&bytes), got);
        }
        // As some write an empty body.
        let got = one("MSRP ab12 SEND\r\nContent-Type: a/b\r\n\r\n-------ab12$\r\n");
        assert_eq!(got[1], "\"\" true Last");
    }

    #[test]
    fn a_stream_that_is_not_msrp_is_told_at_once() {
        for text in ["G", "MSRQ", "MSRP \r\n", "MSRP a b c\r\n", "\r\n\r\n\r\nX"] {
            assert_eq!(one(text), ["the stream carries something that is not msrp"], "{text:?}");
        }
        assert_eq!(one("\r"), Vec::<String>::new());
    }

    #[test]
    fn an_endless_head_ends_the_stream() {
        let header = format!("MSRP ab12 SEND\r\nX: {}", "x".repeat(2048));
        assert_eq!(one(&header), ["start line and headers are too long"]);
        let many = format!("MSRP ab12 SEND\r\n{}", "X: y\r\n".repeat(512));
        assert_eq!(one(&many), ["start line and headers are too long"]);
        assert_eq!(one(&format!("MSRP {}", "a".repeat(2048))), ["start line and headers are too long"]);
    }

    #[test]
    fn an_endless_body_needs_no_memory() {
        let mut decoder = Decoder::new(1024);
        decoder.push(b"MSRP ab12 SEND\r\nContent-Type: a/b\r\n\r\n");
        let mut octets = 0;
        for _ in 0..1000 {
            decoder.push(&[b'-'; 10_000]);
            while let Some(frame) = decoder.next() {
                if let Ok(Frame::Body(body)) = frame {
                    octets += body.len();
                }
            }
            assert!(decoder.buffered() < WORTH + 10_000);
        }
        assert!(octets > 9_900_000);
    }
}
