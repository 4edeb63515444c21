//! Messages: more than a text to one person, and what becomes of them.

use std::sync::Arc;

use attache_messenger::{
    command::Command,
    id::{ConversationId, MessageId},
    message::{Delivery, Draft, OutboxItem, Target},
};

use crate::{Error, Messenger, messenger::message_of};

/// Messages. What becomes of each is told by [`MessageStateChanged`](crate::EventKind::MessageStateChanged).
impl Messenger {
    /// Accepts any message for sending: to one person, to several, or to a conversation. When this returns, it is on disk and
    /// will be sent once and in order, also after a crash.
    ///
    /// # Errors
    /// [`MessageTooLong`](crate::Code::MessageTooLong), [`Busy`](crate::Code::Busy) when the outbox is full,
    /// [`ConversationNotFound`](crate::Code::ConversationNotFound), [`Storage`](crate::Code::Storage).
    pub async fn send_draft(&self, draft: Draft) -> Result<MessageId, Error> {
        message_of(self.shared().command(Command::Send(draft)).await?)
    }

    /// Says something in a conversation, to everybody who takes part.
    ///
    /// # Errors
    /// As [`send_draft`](Self::send_draft).
    pub async fn say(&self, conversation: ConversationId, text: &str) -> Result<MessageId, Error> {
        self.send_draft(Draft::new(conversation, text)).await
    }

    /// Takes a message back that has not left yet.
    ///
    /// # Errors
    /// [`TooLate`](crate::Code::TooLate) when it may have, [`NotFound`](crate::Code::NotFound).
    pub async fn cancel_message(&self, message: MessageId) -> Result<(), Error> {
        self.shared().complete(Command::CancelMessage(message)).await.map(drop)
    }

    /// Says that the person has seen a message, and tells its sender where that was asked for and the account does so.
    ///
    /// # Errors
    /// [`NotFound`](crate::Code::NotFound).
    pub async fn mark_displayed(&self, message: MessageId) -> Result<(), Error> {
        self.shared().complete(Command::MarkDisplayed(message)).await.map(drop)
    }

    /// Tells others that the person is typing, or no longer (RFC 3994). Say it as often as you like: it is told as often as
    /// is needed.
    ///
    /// # Errors
    /// [`ConversationNotFound`](crate::Code::ConversationNotFound), [`NotLoggedOn`](crate::Code::NotLoggedOn).
    pub async fn set_composing(&self, to: impl Into<Target>, active: bool) -> Result<(), Error> {
        let command = Command::SetComposing { to: to.into(), active };
        self.shared().command(command).await.map(drop)
    }

    /// Messages that have not left, or not to everybody, and why.
    #[must_use]
    pub fn outbox(&self) -> Vec<Arc<OutboxItem>> {
        self.snapshot().outbox.values().cloned().collect()
    }

    /// Where a message stands at each of its recipients; empty for one that is not known any more.
    #[must_use]
    pub fn deliveries(&self, message: MessageId) -> Arc<[Delivery]> {
        self.snapshot().deliveries.get(&message).cloned().unwrap_or_default()
    }
}
