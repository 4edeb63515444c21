//! Messages one after the other, each with a Content-Length (RFC 3261, section 18.3): TCP and TLS.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use attache_sip::build::ResponseBuilder;
use attache_sip::framing::{Frame, FrameError, StreamDecoder};
use attache_sip::message::{self, Message, Method};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::error::FlowError;
use crate::framing::{Inbound, Outbound, Received, Sending, broken};
use crate::options::Limits;
use crate::stream::Stream;

/// Bytes read at once.
const READ_BUFFER: usize = 16 * 1024;
/// Bytes gathered for one call; a larger message goes alone.
const WRITE_GATHER: usize = 32 * 1024;

/// Both halves of a plain stream.
pub(crate) fn split(stream: Stream, limits: &Limits, peer: SocketAddr) -> (PlainIn, PlainOut) {
    let (reader, writer) = tokio::io::split(stream);
    let patience = limits.write_timeout;
    let limits = message::Limits { message: limits.max_message, ..message::Limits::default() };
    let inbound = PlainIn { reader, decoder: StreamDecoder::new(limits), limits, peer, patience };
    (inbound, PlainOut { writer, buffer: BytesMut::new() })
}

pub(crate) struct PlainIn {
    reader: ReadHalf<Stream>,
    decoder: StreamDecoder,
    limits: message::Limits,
    peer: SocketAddr,
    patience: Duration,
}

impl PlainIn {
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

impl Inbound for PlainIn {
    // RFC 5626 wants its support negotiated, and many servers that never heard of it keep connections for ever.
    const PONGS: bool = false;

    async fn wait(&mut self) -> Result<usize, FlowError> {
        let (reader, decoder) = (&mut self.reader, &mut self.decoder);
        let read = poll_fn(|cx| {
            // On the stack, and only while there is something to read: most connections are idle most of the time.
            let mut scratch = [const { MaybeUninit::uninit() }; READ_BUFFER];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *reader).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    decoder.push(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        });
        read.await.map_err(|error| broken(error, self.patience))
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
}

pub(crate) struct PlainOut {
    writer: WriteHalf<Stream>,
    buffer: BytesMut,
}

impl Outbound for PlainOut {
    fn push(&mut self, what: Sending) {
        self.buffer.extend_from_slice(match &what {
            Sending::Message(bytes) => bytes,
            Sending::Ping => b"\r\n\r\n",
            Sending::Pong => b"\r\n",
        });
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= WRITE_GATHER
    }

    async fn flush(&mut self, patience: Duration) -> Result<(), FlowError> {
        while !self.buffer.is_empty() {
            match timeout(patience, self.writer.write_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => return Err(FlowError::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(broken(error, patience)),
                Err(_) => return Err(FlowError::WriteTimeout(patience.as_secs())),
            }
        }
        // A connection that is idle holds no more than it must.
        self.buffer = BytesMut::new();
        match timeout(patience, self.writer.flush()).await {
            Ok(outcome) => outcome.map_err(|error| broken(error, patience)),
            Err(_) => Err(FlowError::WriteTimeout(patience.as_secs())),
        }
    }

    async fn close(&mut self, reason: Option<&FlowError>) {
        // What broke is closed by dropping it.
        if reason.is_none() {
            let _ = self.writer.shutdown().await;
        }
    }
}
