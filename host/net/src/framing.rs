//! What is common to the kinds of stream.
//!
//! TCP and TLS carry a plain run of messages; WebSocket carries one message a frame. A connection is generic over the two
//! halves of its stream, so that each further kind is a pair of types and a line where connections are opened.

use std::time::Duration;

use bytes::Bytes;

use crate::error::FlowError;

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

/// One thing to say.
pub(crate) enum Sending {
    /// A message, or a refusal of one.
    Message(Bytes),
    Ping,
    Pong,
}

/// The half of a stream that is read.
pub(crate) trait Inbound: Send {
    /// Whether every peer answers keep-alives on this kind of stream.
    const PONGS: bool;

    /// Waits until the peer has said something, and gives how many bytes. 0 is the end.
    fn wait(&mut self) -> impl Future<Output = Result<usize, FlowError>> + Send;
    /// The next thing that is complete.
    fn next(&mut self) -> Option<Received>;
    /// Whether a message has begun and is not complete.
    fn is_within_message(&self) -> bool;
}

/// The half of a stream that is written.
pub(crate) trait Outbound: Send {
    /// Appends something to what is to be written.
    fn push(&mut self, what: Sending);
    /// Whether enough has been appended to be worth writing.
    fn is_full(&self) -> bool;
    /// Writes what was appended, as long as the peer takes something now and then.
    fn flush(&mut self, patience: Duration) -> impl Future<Output = Result<(), FlowError>> + Send;
    /// Says good-bye.
    fn close(&mut self, reason: Option<&FlowError>) -> impl Future<Output = ()> + Send;
}

/// Why an open connection broke. The system's own patience is as long as ours, and means the same.
pub(crate) fn broken(error: std::io::Error, patience: Duration) -> FlowError {
    match error.kind() {
        std::io::ErrorKind::TimedOut => FlowError::WriteTimeout(patience.as_secs()),
        _ => error.into(),
    }
}
