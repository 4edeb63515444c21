//! Instant messages, and the states they go through.

use core::fmt;
use std::sync::Arc;

use crate::{
    address::Address,
    error::Error,
    id::{ContactId, ConversationId, MessageId},
    time::Timestamp,
};

/// Text of a message. `Debug` prints its length only, so that no log holds what people say.
#[derive(Clone, Eq, PartialEq)]
pub struct Text(Arc<str>);

impl Text {
    /// Longest text of one message, in bytes of UTF-8. With its headers, and those that proxies add, it must fit into a
    /// message of 64 KiB and into one datagram.
    pub const MAX: usize = 48 * 1024;

    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Take care where it goes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// Where a message comes from.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A person, as far as is known.
    Person,
    /// Marked as automatic by its sender.
    Automatic,
}

/// Who wrote a message of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Author {
    /// The user or the application.
    User,
    /// A plugin, by its name in the configuration.
    Plugin(Arc<str>),
}

/// A message that arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IncomingMessage {
    /// Handle; the same when it is delivered to a plugin again.
    pub id: MessageId,
    /// The conversation that it belongs to.
    pub conversation: ConversationId,
    /// The sender on the contact list, if there.
    pub contact: Option<ContactId>,
    /// The sender.
    pub sender: Address,
    /// What it says.
    pub text: Text,
    /// Person or program.
    pub origin: Origin,
    /// When it was sent, if a store on the way said so.
    pub sent_at: Option<Timestamp>,
    /// When it arrived here.
    pub received_at: Timestamp,
}

/// A message of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutgoingMessage {
    /// Handle.
    pub id: MessageId,
    /// The conversation that it belongs to.
    pub conversation: ConversationId,
    /// The recipient on the contact list, if there.
    pub contact: Option<ContactId>,
    /// The recipient.
    pub recipient: Address,
    /// What it says.
    pub text: Text,
    /// Who wrote it.
    pub author: Author,
    /// Whether it is marked as automatic on the wire.
    pub origin: Origin,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// What became of a message of ours. Never goes back.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MessageState {
    /// In the outbox; kept across a crash.
    Accepted,
    /// The service took it to pass it on, perhaps later (RFC 3428, section 7: 202).
    Sent,
    /// The other side took it (200).
    Delivered,
    /// The other side's person saw it (RFC 5438).
    Displayed,
    /// It will not be tried again.
    Failed(Error),
}

impl MessageState {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Displayed => "displayed",
            Self::Failed(_) => "failed",
        }
    }
}
