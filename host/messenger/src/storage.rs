//! What must survive: the contract between the engine, which decides, and a store, which keeps.
//!
//! The engine does no input or output. It emits a [`Batch`] and goes on with what depends on it (the answer to a
//! MESSAGE, the first transmission of one of ours) only after the driver has said that the batch is on disk.

use core::{future::Future, pin::Pin};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    address::Address,
    event::{Contact, Group},
    id::{AccountId, ContactId, ConversationId, GroupId, MessageId},
    message::{Content, IncomingMessage, OutgoingMessage},
    time::Timestamp,
};

/// Names a batch between the engine and its driver. Numbers of one engine only grow.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BatchId(pub u64);

/// Changes that are kept together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order.
    pub writes: Vec<Write>,
}

/// One change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Write {
    /// A contact is new or changed.
    PutContact(Arc<Contact>),
    /// A contact is gone.
    RemoveContact(ContactId),
    /// A group is new or changed.
    PutGroup(Arc<Group>),
    /// A group is gone.
    RemoveGroup(GroupId),
    /// A message of ours waits to be sent.
    PutOutbox(Arc<OutboxEntry>),
    /// A message of ours needs no more sending to these recipients: they are taken out of the
    /// [`pending`](OutboxEntry::pending) ones, and the entry is removed with the last of them. Does nothing when there is no
    /// such entry.
    FinishOutbox {
        /// Which message.
        message: MessageId,
        /// To whom.
        recipients: SmallVec<[Address; 1]>,
    },
    /// A line of a transcript, kept in the archive without being asked for by a plugin, so that conversations can be read
    /// again. A message that is there already is left as it is. Lines older than `forget` go, a few with each that comes,
    /// unless a plugin [archived](Storage::archive) them.
    KeepLine {
        /// The line.
        line: Arc<ArchiveEntry>,
        /// Lines before this are not kept any longer.
        forget: Timestamp,
    },
    /// A must-deliver event, for plugins that have not handled it yet.
    AppendJournal(JournalEntry),
    /// A value that the engine keeps for itself, such as the presence to publish.
    PutSetting(&'static str, String),
    /// Something that the engine keeps for its work with the service, under a name of its own. `None` forgets it.
    PutRecord {
        /// What it is.
        kind: RecordKind,
        /// Which one, among those of its kind; at most 512 bytes.
        key: Arc<str>,
        /// What it says: text that the engine reads again.
        value: Option<Arc<str>>,
    },
    /// The identity of a message that arrived, so that a retransmission after a restart is not a second message.
    /// Kept for at least 31 days, as far as the limit on their number lets it.
    PutSeen {
        /// Digest of what identifies it on the wire.
        key: [u8; 16],
        /// When it arrived.
        at: Timestamp,
    },
}

/// What a record is. Each kind has keys of its own.
#[derive(Copy, Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RecordKind {
    /// A document as the service had it last, with its entity tag: the base of the next merge. What differs from it here
    /// is the journal of edits that the service does not have yet.
    Document,
    /// The name that a group has in the document.
    GroupName,
    /// How to take an edit back.
    Undo,
    /// A conflict that is not settled.
    Conflict,
    /// A rule about who may see one's presence that the service does not have yet.
    Rule,
    /// Somebody who asked to see one's presence, and has been told of.
    Watcher,
    /// What was last known of a contact's presence, with its entity tag.
    Presence,
    /// What those have in common: the state of a list that told of several.
    Watching,
    /// What became of a message of ours, for receipts that come late.
    Delivery,
    /// A receipt that the sender of a message wants and does not have yet.
    Receipt,
    /// What is known of somebody's programs: whether they read wrapped messages.
    Peer,
    /// A conversation, open or closed, without what was said in it.
    Conversation,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Document,
        Self::GroupName,
        Self::Undo,
        Self::Conflict,
        Self::Rule,
        Self::Watcher,
        Self::Presence,
        Self::Watching,
        Self::Delivery,
        Self::Receipt,
        Self::Peer,
        Self::Conversation,
    ];

    /// The name under which it is kept.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::GroupName => "group-name",
            Self::Undo => "undo",
            Self::Conflict => "conflict",
            Self::Rule => "rule",
            Self::Watcher => "watcher",
            Self::Presence => "presence",
            Self::Watching => "watching",
            Self::Delivery => "delivery",
            Self::Receipt => "receipt",
            Self::Peer => "peer",
            Self::Conversation => "conversation",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One record of [`Write::PutRecord`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// What it is.
    pub kind: RecordKind,
    /// Which one.
    pub key: Arc<str>,
    /// What it says.
    pub value: Arc<str>,
}

/// A message of ours that is not done.
#[derive(Clone, Debug)]
pub struct OutboxEntry {
    /// The message.
    pub message: Arc<OutgoingMessage>,
    /// The Call-ID of every attempt, so that the other side sees one message (RFC 3428, section 8); with several
    /// recipients, each has one made of it.
    pub call_id: String,
    /// Recipients that it has not gone to yet.
    pub pending: SmallVec<[Address; 1]>,
    /// How it is written. Decided once: every attempt has the same bytes, by which the other side knows it again.
    pub form: Form,
    /// Attempts so far.
    pub attempts: u32,
}

/// How a message of ours is written.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Form {
    /// The content alone, texts as `text/plain`: what every program reads.
    #[default]
    Plain,
    /// In a wrapper (RFC 3862), with what it says of receipts (RFC 5438), for those who read it.
    Cpim,
    /// In one request to all recipients (RFC 5365), in a wrapper where all of them read it.
    List,
}

/// One must-deliver event in the journal.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    /// Position in the account's stream.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: JournalEvent,
}

/// A must-deliver event as it is kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JournalEvent {
    /// See [`EventKind::MessageReceived`](crate::event::EventKind::MessageReceived).
    MessageReceived(Arc<IncomingMessage>),
    /// See [`EventKind::MessageAccepted`](crate::event::EventKind::MessageAccepted).
    MessageAccepted(Arc<OutgoingMessage>),
    /// See [`EventKind::MessageStateChanged`](crate::event::EventKind::MessageStateChanged).
    MessageStateChanged {
        /// Which message.
        message: MessageId,
        /// Its conversation.
        conversation: ConversationId,
        /// The recipient.
        recipient: Address,
        /// Where it is now.
        state: crate::message::MessageState,
    },
}

/// What an account starts with.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Contacts in the order in which they were added.
    pub contacts: Vec<Contact>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Messages that wait, in order of acceptance.
    pub outbox: Vec<OutboxEntry>,
    /// Settings of [`Write::PutSetting`].
    pub settings: Vec<(String, String)>,
    /// Records of [`Write::PutRecord`], by kind and key.
    pub records: Vec<Record>,
    /// Identities of messages that arrived lately.
    pub seen: Vec<([u8; 16], Timestamp)>,
    /// The highest `seq` in the journal.
    pub last_seq: u64,
}

/// Which way an archived message went.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To this account.
    Incoming,
    /// From this account.
    Outgoing,
}

/// One archived message.
#[derive(Clone, Debug)]
pub struct ArchiveEntry {
    /// Handle; archiving the same one again changes nothing.
    pub message: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// When.
    pub at: Timestamp,
    /// Which way.
    pub direction: Direction,
    /// The other side; for what went to several people, the first of them.
    pub peer: Address,
    /// The others of those several people.
    pub others: SmallVec<[Address; 0]>,
    /// What was said.
    pub content: Content,
    /// True when no person wrote it.
    pub automatic: bool,
}

/// What to look for in the archive. Every given field must match.
#[derive(Clone, Debug, Default)]
pub struct ArchiveQuery {
    /// Words that must all occur; a word that ends in `*` matches a beginning. Nothing else in it has a meaning.
    pub text: Option<String>,
    /// The other side, or one of several.
    pub peer: Option<Address>,
    /// The conversation.
    pub conversation: Option<ConversationId>,
    /// Which way.
    pub direction: Option<Direction>,
    /// Whether no person wrote it.
    pub automatic: Option<bool>,
    /// Whether it is something else than words.
    pub attachment: Option<bool>,
    /// Only what was archived by a plugin, and not what is kept so that conversations can be read again.
    pub archived_only: bool,
    /// Inclusive.
    pub since: Option<Timestamp>,
    /// Exclusive.
    pub until: Option<Timestamp>,
    /// In which order; `after` goes on in it.
    pub order: Order,
    /// Only entries that come after this one in the order: the last one of a page gives the next page.
    pub after: Option<(Timestamp, MessageId)>,
    /// At most this many.
    pub limit: u32,
}

/// The order of what was found in the archive: by time, then by handle.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// A failure of the store.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk or a quota is full; nothing was changed.
    #[error("the store is full: {0}")]
    Full(String),
    /// Another process uses the store, or it has been closed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The store's contents cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Anything else.
    #[error("the store failed: {0}")]
    Other(String),
}

/// A boxed future, as a trait object needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store. Every method is cancellation safe: a dropped future may or may not have had its effect, never half of it.
pub trait Storage: Send + Sync + 'static {
    /// What an account starts with.
    fn load(&self, account: AccountId, address: &Address) -> BoxFuture<'_, Result<Restored, StorageError>>;
    /// Keeps a batch. Completes when it is durable; batches of one account are applied in the order of the calls.
    fn commit(&self, account: AccountId, batch: Batch) -> BoxFuture<'_, Result<(), StorageError>>;

    /// Must-deliver events after `after`, oldest first, at most `limit`.
    fn read_journal(
        &self,
        account: AccountId,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StorageError>>;
    /// The last `seq` that a plugin has handled; zero before the first. A new plugin starts at the journal's end:
    /// `None` says that it has no cursor yet.
    fn cursor(&self, account: AccountId, plugin: &str) -> BoxFuture<'_, Result<Option<u64>, StorageError>>;
    /// Moves a plugin's cursor forward; never back.
    fn set_cursor(
        &self,
        account: AccountId,
        plugin: &str,
        seq: u64,
    ) -> BoxFuture<'_, Result<(), StorageError>>;
    /// Forgets journal entries that every one of these plugins has handled, and the cursors of others.
    fn trim_journal(
        &self,
        account: AccountId,
        plugins: Vec<String>,
    ) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Archives a message; true when it was new there. What was kept as a line of a transcript becomes archived.
    fn archive(&self, account: AccountId, entry: ArchiveEntry) -> BoxFuture<'_, Result<bool, StorageError>>;
    /// Searches the archive.
    fn search(
        &self,
        account: AccountId,
        query: ArchiveQuery,
    ) -> BoxFuture<'_, Result<Vec<ArchiveEntry>, StorageError>>;
    /// How many entries of the archive match; the order, `after` and `limit` have no meaning.
    fn count(&self, account: AccountId, query: ArchiveQuery) -> BoxFuture<'_, Result<u64, StorageError>>;
    /// Removes archived messages older than `before`, of one peer or of all; how many.
    fn purge(
        &self,
        account: AccountId,
        before: Timestamp,
        peer: Option<Address>,
    ) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// A plugin's value. `bucket` is the plugin's name and its own bucket name.
    fn kv_get(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, StorageError>>;
    /// Sets (`Some`) or deletes (`None`) a plugin's value. `quota` is the most bytes of keys and values that the
    /// bucket may hold; more is [`StorageError::Full`].
    fn kv_set(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
        value: Option<Vec<u8>>,
        quota: u64,
    ) -> BoxFuture<'_, Result<(), StorageError>>;
    /// Keys of a bucket in order, after `after`, at most `limit`.
    fn kv_keys(
        &self,
        account: AccountId,
        bucket: &str,
        after: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<String>, StorageError>>;
}
