//! What readers see: the whole state of an account at one position of its event stream.
//!
//! The maps share structure with those of the engine, so a snapshot costs a few reference counts, whatever the
//! number of contacts, and a reader never waits for the task that owns the engine.

use std::sync::Arc;

use rpds::{HashTrieMapSync, HashTrieSetSync, RedBlackTreeMapSync};

use crate::{
    address::Address,
    call::{Call, PhoneKind},
    compose::Reason,
    conversation::Participant,
    error::Error,
    event::{Contact, Conversation, Group, SessionState},
    file::FileTransfer,
    id::{AccountId, CallId, ConflictId, ContactId, ConversationId, FileId, GroupId, MessageId},
    mailbox::{MessagesWaiting, OwnDevice},
    message::{Delivery, IncomingMessage, OutboxItem, OutgoingMessage},
    presence::{Presence, UnknownReason},
    privacy::{Rule, Watcher},
    profile::Profile,
    report::ServiceReport,
    sync::Conflict,
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
    /// Own name, numbers and addresses, as configured or set at run time.
    pub profile: Arc<Profile>,
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
    /// Why own presence is what it is, step by step.
    pub own_reasons: Arc<[Reason]>,
    /// Contacts by handle, which is the order in which they were added.
    pub contacts: RedBlackTreeMapSync<ContactId, ContactEntry>,
    /// Handles by address.
    pub by_address: HashTrieMapSync<Address, ContactId>,
    /// Contacts whose becoming available is told.
    pub alerts: HashTrieSetSync<ContactId>,
    /// People under a lease, contacts among them or not.
    pub watched: HashTrieMapSync<Address, WatchedEntry>,
    /// Groups by handle.
    pub groups: RedBlackTreeMapSync<GroupId, Arc<Group>>,
    /// Conversations by handle, open and lately closed.
    pub conversations: RedBlackTreeMapSync<ConversationId, ConversationEntry>,
    /// Calls by handle, those in progress and some that ended lately.
    pub calls: RedBlackTreeMapSync<CallId, Arc<Call>>,
    /// Files by handle, those on their way and some that ended lately.
    pub files: RedBlackTreeMapSync<FileId, Arc<FileTransfer>>,
    /// Messages of this account that have not gone to every recipient, and why not.
    pub outbox: RedBlackTreeMapSync<MessageId, Arc<OutboxItem>>,
    /// What became of messages of this account, for each recipient; the latest
    /// [`Limits::deliveries`](crate::engine::Limits::deliveries) of the last 31 days.
    pub deliveries: RedBlackTreeMapSync<MessageId, Arc<[Delivery]>>,
    /// People who write to this account at the moment, and when that ends by itself.
    pub composing: HashTrieMapSync<Address, Timestamp>,
    /// People who watch this account or want to, as far as the service tells.
    pub watchers: HashTrieMapSync<Address, Arc<Watcher>>,
    /// Rules about who may see this account's presence.
    pub rules: Arc<[Rule]>,
    /// Contacts whom the rules block, politely or not.
    pub blocked: HashTrieSetSync<ContactId>,
    /// Edits of the contact list that are not settled.
    pub conflicts: RedBlackTreeMapSync<ConflictId, Arc<Conflict>>,
    /// What waits in the account's mailbox; `None` while the service has not told.
    pub messages_waiting: Option<Arc<MessagesWaiting>>,
    /// Devices that the account is signed in with, this one among them; empty while the service has not told.
    pub devices: Arc<[OwnDevice]>,
    /// What the service can do, what is in use, and what was refused and why.
    pub report: Arc<ServiceReport>,
}

impl Snapshot {
    /// An account that was just set up: signed out, with an empty list.
    #[must_use]
    pub fn new(address: Address, at: Timestamp) -> Self {
        Self {
            account: address.account_id(),
            address,
            display_name: Arc::from(""),
            profile: Arc::default(),
            seq: 0,
            session: SessionState::SignedOut,
            session_since: at,
            session_reason: None,
            own: Arc::new(Presence::unknown(UnknownReason::SignedOut)),
            own_reasons: Arc::from([]),
            contacts: RedBlackTreeMapSync::new_sync(),
            by_address: HashTrieMapSync::new_sync(),
            alerts: HashTrieSetSync::new_sync(),
            watched: HashTrieMapSync::new_sync(),
            groups: RedBlackTreeMapSync::new_sync(),
            conversations: RedBlackTreeMapSync::new_sync(),
            calls: RedBlackTreeMapSync::new_sync(),
            files: RedBlackTreeMapSync::new_sync(),
            outbox: RedBlackTreeMapSync::new_sync(),
            deliveries: RedBlackTreeMapSync::new_sync(),
            composing: HashTrieMapSync::new_sync(),
            watchers: HashTrieMapSync::new_sync(),
            rules: Arc::from([]),
            blocked: HashTrieSetSync::new_sync(),
            conflicts: RedBlackTreeMapSync::new_sync(),
            messages_waiting: None,
            devices: Arc::from([]),
            report: Arc::default(),
        }
    }
}

/// Somebody under a lease.
#[derive(Clone, Debug)]
pub struct WatchedEntry {
    /// What is known.
    pub presence: Arc<Presence>,
    /// How many leases there are.
    pub leases: u32,
}

/// One contact with its presence.
#[derive(Clone, Debug)]
pub struct ContactEntry {
    /// The contact.
    pub contact: Arc<Contact>,
    /// What is known of it.
    pub presence: Arc<Presence>,
    /// What the person last published of themself, also while nothing is known of their presence; `None` for nothing.
    pub published: Option<Arc<Profile>>,
}

impl ContactEntry {
    /// The name to show: the one that the user gave, else the one that the person published; empty for none.
    #[must_use]
    pub fn display_name(&self) -> &Arc<str> {
        match &self.published {
            Some(published) if self.contact.name.is_empty() => &published.display_name,
            _ => &self.contact.name,
        }
    }

    /// A number of the contact: the one that the user noted, else the one that the person published.
    #[must_use]
    pub fn phone(&self, kind: PhoneKind) -> Option<&Address> {
        let noted = self.contact.details.as_ref().and_then(|details| details.phones.get(kind));
        noted.or_else(|| self.published.as_ref()?.phones.get(kind))
    }

    /// The contact's e-mail address: the one that the user noted, else the one that the person published.
    #[must_use]
    pub fn email(&self) -> Option<&Arc<str>> {
        let noted = self.contact.details.as_ref().and_then(|details| details.email.as_ref());
        noted.or_else(|| self.published.as_ref()?.email.as_ref())
    }

    /// Who the contact is: what the user noted, and where that says nothing, what the person published.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let published = self.published.as_deref().cloned().unwrap_or_default();
        let phones = match &self.contact.details {
            Some(details) => details.phones.or(&published.phones),
            None => published.phones.clone(),
        };
        Profile {
            display_name: self.display_name().clone(),
            phones,
            email: self.email().cloned(),
            ..published
        }
    }
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
#[non_exhaustive]
pub enum TranscriptEntry {
    /// Somebody wrote to us.
    Incoming(Arc<IncomingMessage>),
    /// We wrote.
    Outgoing(Arc<OutgoingMessage>),
    /// Somebody came or went.
    Participant {
        /// Who, and since when what holds.
        participant: Participant,
    },
    /// A call that is over. Such lines last as long as the process: the store keeps what was said, and a call is no
    /// message that a search could find or an export name.
    Call(Arc<Call>),
}
