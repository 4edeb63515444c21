//! Conversations: starting one, who takes part, what was said.

use std::sync::Arc;

use attache_messenger::{
    command::Command,
    conversation::{Context, Conversation, Mode},
    id::ConversationId,
    snapshot::TranscriptEntry,
};

use crate::{Address, Code, Error, Messenger};

/// A conversation to start.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NewConversation {
    /// With whom: at least one, oneself left out.
    pub participants: Vec<Address>,
    /// What it is about; empty for nothing. At most 256 bytes.
    pub subject: String,
    /// What the application hands to the others, at most 8 KiB.
    pub context: Option<Context>,
    /// How its messages travel; `None` leaves that to the engine.
    pub mode: Option<Mode>,
}

impl NewConversation {
    /// With these people, about nothing.
    #[must_use]
    pub fn with(participants: Vec<Address>) -> Self {
        Self { participants, ..Self::default() }
    }

    /// The same about something.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// The same with something for the others' programs.
    #[must_use]
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// The same with messages that travel so.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }
}

/// Conversations.
impl Messenger {
    /// Starts a conversation, and says which it is as soon as it is kept; whether the others were reached comes as events.
    /// Works signed out as well.
    ///
    /// Where the open conversation with one person would do (no subject, no context), it is that one.
    ///
    /// # Errors
    /// [`Code::SessionNoUserInvited`] without anybody, [`Code::SessionInvitedSelf`], [`Code::SessionFull`] with too many,
    /// [`Code::InvalidArgument`].
    pub async fn start_conversation(&self, new: NewConversation) -> Result<ConversationId, Error> {
        let NewConversation { participants, subject, context, mode } = new;
        let command = Command::StartConversation { participants, subject: subject.into(), context, mode };
        let accepted = self.shared().command(command).await?;
        accepted.conversation.ok_or_else(|| Error::new(Code::Internal, "a conversation has no handle"))
    }

    /// Asks somebody into a conversation; one between two people becomes a group. Completes when they were told.
    ///
    /// # Errors
    /// [`Code::ConversationNotFound`], [`Code::SessionFull`], [`Code::SessionInvitedSelf`], or why they could not be told.
    pub async fn add_participant(
        &self,
        conversation: ConversationId,
        address: &Address,
    ) -> Result<(), Error> {
        let command = Command::AddParticipant { conversation, address: address.clone() };
        self.shared().complete(command).await.map(drop)
    }

    /// Takes somebody out of a conversation of several people.
    ///
    /// # Errors
    /// [`Code::ConversationNotFound`], [`Code::NotFound`] when they take no part, or why that could not be told.
    pub async fn remove_participant(
        &self,
        conversation: ConversationId,
        address: &Address,
    ) -> Result<(), Error> {
        let command = Command::RemoveParticipant { conversation, address: address.clone() };
        self.shared().complete(command).await.map(drop)
    }

    /// Closes a conversation; it stays readable, and the others of a group hear that one has left.
    ///
    /// # Errors
    /// [`Code::ConversationNotFound`].
    pub async fn close_conversation(&self, conversation: ConversationId) -> Result<(), Error> {
        self.shared().complete(Command::CloseConversation(conversation)).await.map(drop)
    }

    /// One conversation, open or closed.
    #[must_use]
    pub fn conversation(&self, conversation: ConversationId) -> Option<Arc<Conversation>> {
        self.snapshot().conversations.get(&conversation).map(|entry| entry.conversation.clone())
    }

    /// Conversations that the account still holds, open ones first.
    #[must_use]
    pub fn conversations(&self) -> Vec<Arc<Conversation>> {
        let snapshot = self.snapshot();
        let (open, closed): (Vec<_>, Vec<_>) = snapshot
            .conversations
            .values()
            .map(|entry| entry.conversation.clone())
            .partition(|conversation| conversation.is_open());
        open.into_iter().chain(closed).collect()
    }

    /// What was said and who came and went since the host started, oldest first; of a closed conversation as well. Empty when
    /// there is none. What was said before is in the store: [`history`](Self::history) with
    /// [`ArchiveQuery::conversation`](crate::ArchiveQuery).
    #[must_use]
    pub fn transcript(&self, conversation: ConversationId) -> Vec<TranscriptEntry> {
        let snapshot = self.snapshot();
        let entry = snapshot.conversations.get(&conversation);
        entry.map(|entry| entry.transcript.iter().cloned().collect()).unwrap_or_default()
    }
}
