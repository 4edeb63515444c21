//! How messages are told apart on a stream.
//!
//! TCP and TLS carry a plain run of messages; WebSocket carries one message a frame. A connection is generic over
//! this trait and over its stream, so that each further kind is a type here and a line where connections are opened.

use std::net::SocketAddr;

use attache_sip::build::ResponseBuilder;
use attache_sip::framing::{Frame, FrameError, StreamDecoder};
use attache_sip::message::{self, Message, Method};
use bytes::{BufMut, Bytes, BytesMut};

use crate::options::Limits;

/// One thing that a peer said.
pub(crate) enum Received {
    Message(Bytes),
    /// A keep-alive that wants an answer.
    Ping,
    /// The answer to one, or a stray line end.
    Pong,
    /// Something unreadable; the stream goes on behind it.
    Garbage {
        what: String,
        /// How to refuse it, where enough of it is understood.
        answer: Option<Bytes>,
    },
}

/// One peer's stream.
pub(crate) trait Framing: Send + 'static {
    /// The keep-alive of this kind of stream.
    const PING: &'static [u8];
    /// Its answer.
    const PONG: &'static [u8];

    /// Takes bytes as they came.
    fn push(&mut self, bytes: &[u8]);
    /// The next thing that is complete.
    fn next(&mut self) -> Option<Received>;
    /// Whether a message has begun and is not complete.
    fn is_within_message(&self) -> bool;
    /// Appends a message as it goes onto the stream.
    fn encode(message: &[u8], out: &mut BytesMut);
}

/// Messages one after the other, each with a Content-Length (RFC 3261, section 18.3).
pub(crate) struct Plain {
    decoder: StreamDecoder,
    limits: message::Limits,
    peer: SocketAddr,
}

impl Plain {
    pub(crate) fn new(limits: &Limits, peer: SocketAddr) -> Self {
        let limits = message::Limits { message: limits.max_message, ..message::Limits::default() };
        Self { decoder: StreamDecoder::new(limits), limits, peer }
    }

    /// The refusal of a message that could not be cut out of the stream. Nobody but this connection's peer waits for it.
    fn refusal(&self, error: &FrameError) -> Option<Bytes> {
        let answer = |request: &Message| {
            let answerable =
                request.is_request() && request.method() != Some(Method::Ack) && request.top_via().is_ok();
            answerable.then(|| {
                ResponseBuilder::for_request_from(request, self.peer, error.fault.status(), "").finish().ok()
            })?
        };
        match Message::parse_with(error.head.clone(), &self.limits) {
            Ok(request) => answer(&request),
            Err(partial) => partial.salvage().and_then(answer),
        }
    }
}

impl Framing for Plain {
    const PING: &'static [u8] = b"\r\n\r\n";
    const PONG: &'static [u8] = b"\r\n";

    fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn next(&mut self) -> Option<Received> {
        Some(match self.decoder.next()? {
            Ok(Frame::Message(bytes)) => Received::Message(bytes),
            // Several pings in one piece are one wish to know whether we live.
            Ok(Frame::KeepAlive { pings, .. }) if pings > 0 => Received::Ping,
            Ok(Frame::KeepAlive { .. }) => Received::Pong,
            Err(error) => Received::Garbage { what: error.to_string(), answer: self.refusal(&error) },
        })
    }

    fn is_within_message(&self) -> bool {
        self.decoder.buffered() > 0
    }

    fn encode(message: &[u8], out: &mut BytesMut) {
        out.put_slice(message);
    }
}
