//! What readers see: the whole state of an account at one position of its event stream.
//!
//! The maps share structure with those of the engine, so a snapshot costs a few reference counts, whatever the
//! number of contacts, and a reader never waits for the task that owns the engine.

use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::{
    address::Address,
    error::Error,
    event::{Contact, Conversation, Group, SessionState},
    id::{AccountId, ContactId, ConversationId, GroupId},
    message::{IncomingMessage, OutgoingMessage},
    presence::Presence,
    time::Timestamp,
};

/// State of one account.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whose.
    pub account: AccountId,
    /// Address of record.
    pub address: Address,
    /// Own display name; empty when there is none.
    pub display_name: Arc<str>,
    /// Position: every event up to this one is in.
    pub seq: u64,
    /// State of the connection.
    pub session: SessionState,
    /// Since when the session state holds.
    pub session_since: Timestamp,
    /// The failure that led to the session state, if one did.
    pub session_reason: Option<Error>,
    /// Own presence, as published or to be published.
    pub own: Arc<Presence>,
    /// Contacts by handle, which is the order in which they were added.
    pub contacts: RedBlackTreeMapSync<ContactId, ContactEntry>,
    /// Handles by address.
    pub by_address: HashTrieMapSync<Address, ContactId>,
    /// Groups by handle.
    pub groups: RedBlackTreeMapSync<GroupId, Arc<Group>>,
    /// Conversations by handle, open and lately closed.
    pub conversations: RedBlackTreeMapSync<ConversationId, ConversationEntry>,
}

/// One contact with its presence.
#[derive(Clone, Debug)]
pub struct ContactEntry {
    /// The contact.
    pub contact: Arc<Contact>,
    /// What is known of it.
    pub presence: Arc<Presence>,
}

/// One conversation with its transcript.
#[derive(Clone, Debug)]
pub struct ConversationEntry {
    /// The conversation.
    pub conversation: Arc<Conversation>,
    /// What was said, oldest first; bounded, the oldest lines go first.
    pub transcript: rpds::QueueSync<TranscriptEntry>,
}

/// One line of a transcript.
#[derive(Clone, Debug)]
pub enum TranscriptEntry {
    /// Somebody wrote to us.
    Incoming(Arc<IncomingMessage>),
    /// We wrote.
    Outgoing(Arc<OutgoingMessage>),
}
