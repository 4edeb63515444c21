//! What the engine tells: one event for each thing that happened, in order.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    address::Address,
    call::{Call, MediaWanted},
    conversation::Participant,
    error::Error,
    file::FileTransfer,
    id::{AccountId, CallId, ContactId, ConversationId, GroupId, MessageId, RequestId},
    mailbox::{MessagesWaiting, OwnDevice},
    message::{IncomingMessage, MessageState, OutboxItem, OutgoingMessage},
    presence::{Availability, Presence},
    privacy::{Rule, Watcher},
    profile::{ContactDetails, Profile},
    report::ServiceReport,
    sync::Conflict,
    time::Timestamp,
};

pub use crate::conversation::Conversation;

/// One event, shared by every reader.
#[derive(Clone, Debug)]
pub struct Event {
    /// Position in the account's stream; only grows, also across restarts.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Whose event it is.
    pub account: AccountId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened. Named as in `wit/`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// The session changed its state.
    SessionChanged {
        /// The new state.
        state: SessionState,
        /// There when a failure caused the change.
        reason: Option<Error>,
    },
    /// A contact is on the list now.
    ContactAdded(Arc<Contact>),
    /// A contact's name or groups changed.
    ContactChanged(Arc<Contact>),
    /// A contact is gone from the list.
    ContactRemoved(Arc<Contact>),
    /// A group exists now.
    GroupAdded(Arc<Group>),
    /// A group has another name.
    GroupRenamed(Arc<Group>),
    /// A group is gone.
    GroupRemoved(Arc<Group>),
    /// Presence of contacts changed.
    PresenceChanged(Arc<[PresenceChange]>),
    /// Presence of people under a lease changed, contacts among them or not. In `wit/`:
    /// `watched-presence-changed`.
    WatchedPresenceChanged(Arc<[WatchedChange]>),
    /// A contact for whom that was asked became available. In `wit/`: `contact-alert`.
    ContactAlert {
        /// Who.
        contact: ContactId,
        /// The contact's address.
        address: Address,
        /// What holds now.
        presence: Arc<Presence>,
    },
    /// [`Snapshot::report`](crate::snapshot::Snapshot::report) has changed: what the service can do, or how it is used. In
    /// `wit/`: `report-changed`.
    ReportChanged(Arc<ServiceReport>),
    /// Something else waits in the account's mailbox than before; `None` when that is not known any more. In `wit/`:
    /// `messages-waiting-changed`.
    MessagesWaitingChanged(Option<Arc<MessagesWaiting>>),
    /// The account is signed in with other devices than before. In `wit/`: `devices-changed`.
    DevicesChanged(Arc<[OwnDevice]>),
    /// Somebody wants to see one's presence and waits for an answer; told once for each of them, until they are answered.
    /// In `wit/`: `watcher-requested`.
    WatcherRequested(Arc<Watcher>),
    /// [`Snapshot::watchers`](crate::snapshot::Snapshot::watchers) has changed. In `wit/`: `watchers-changed`.
    WatchersChanged,
    /// The rules about who may see one's presence have changed, here or elsewhere. In `wit/`: `rules-changed`.
    RulesChanged(Arc<[Rule]>),
    /// An edit of the contact list here and one elsewhere cannot both hold. In `wit/`: `roster-conflict`.
    RosterConflict(Arc<Conflict>),
    /// A conflict was settled, or lost its object. In `wit/`: `conflict-settled`.
    ConflictSettled(Arc<Conflict>),
    /// The contact list here and the one on the service are the same again. In `wit/`: `roster-synced`.
    RosterSynced,
    /// The account's own name, numbers or addresses changed. In `wit/`: `own-profile-changed`.
    OwnProfileChanged {
        /// What holds now.
        profile: Arc<Profile>,
        /// What held before.
        previous: Arc<Profile>,
    },
    /// The name, the numbers or the addresses of a contact changed: the user edited them, or the person published others. In
    /// `wit/`: `contact-profile-changed`.
    ContactProfileChanged {
        /// Who.
        contact: ContactId,
        /// The contact's address.
        address: Address,
        /// What holds now: [`ContactEntry::profile`](crate::snapshot::ContactEntry::profile).
        profile: Arc<Profile>,
        /// What held before.
        previous: Arc<Profile>,
    },
    /// A contact is blocked by the rules now, or is not any more: see
    /// [`Snapshot::blocked`](crate::snapshot::Snapshot::blocked). In `wit/`: `contact-blocked-changed`.
    ContactBlockedChanged {
        /// Who.
        contact: ContactId,
        /// The contact's address.
        address: Address,
        /// Whether the contact is blocked now.
        blocked: bool,
    },
    /// The account's own presence, as published, changed.
    OwnPresenceChanged(Arc<Presence>),
    /// A message arrived. Must be delivered to plugins.
    MessageReceived(Arc<IncomingMessage>),
    /// A message was accepted for sending. Must be delivered to plugins.
    MessageAccepted(Arc<OutgoingMessage>),
    /// A message of ours went further. Must be delivered to plugins.
    MessageStateChanged {
        /// Which message.
        message: MessageId,
        /// Its conversation.
        conversation: ConversationId,
        /// The recipient.
        recipient: Address,
        /// Where it is now.
        state: MessageState,
    },
    /// [`Snapshot::outbox`](crate::snapshot::Snapshot::outbox) has changed for a message: another attempt, another
    /// reason to wait. In `wit/`: `outbox-changed`.
    OutboxChanged(Arc<OutboxItem>),
    /// Somebody writes to this account, or no longer does (RFC 3994). Nothing of it is kept. In `wit/`:
    /// `composing-changed`.
    ComposingChanged {
        /// Who.
        who: Address,
        /// The open conversation with them, if there is one.
        conversation: Option<ConversationId>,
        /// Whether they write.
        active: bool,
        /// When it ends by itself, unless they say it again; the moment itself when they no longer write.
        until: Timestamp,
    },
    /// A conversation began.
    ConversationOpened(Arc<Conversation>),
    /// What is known of a conversation changed: its subject, its context, how its messages travel, or somebody who takes
    /// part. In `wit/`: `conversation-changed`.
    ConversationChanged(Arc<Conversation>),
    /// A conversation ended; it stays readable.
    ConversationClosed(Arc<Conversation>),
    /// Somebody takes part in a conversation now. In `wit/`: `participant-joined`.
    ParticipantJoined {
        /// Which conversation.
        conversation: ConversationId,
        /// Who.
        participant: Participant,
    },
    /// Somebody no longer takes part in a conversation. In `wit/`: `participant-left`.
    ParticipantLeft {
        /// Which conversation.
        conversation: ConversationId,
        /// Who.
        participant: Participant,
    },
    /// A call began, went further, or ended. In `wit/`: `call-changed`.
    CallChanged(Arc<Call>),
    /// A file was offered, goes on, is there, or came to nothing. Progress is told twice a second at most. In `wit/`:
    /// `file-changed`.
    FileChanged(Arc<FileTransfer>),
    /// A call needs the application's media; [`AnswerMedia`](crate::command::Command::AnswerMedia) gives it.
    MediaWanted(Arc<MediaWanted>),
    /// The other side answered an offer of the application's media: its session description.
    MediaAgreed {
        /// Which call.
        call: CallId,
        /// The answer (RFC 3264).
        answer: Arc<str>,
    },
    /// The service asks for an access token (RFC 8898): none is known, or the one that was sent is not accepted (any more). What
    /// needs it waits for [`Engine::set_token`](crate::engine::Engine::set_token).
    TokenNeeded(Arc<TokenNeeded>),
    /// A command completed.
    CommandCompleted {
        /// As returned when it was accepted.
        request: RequestId,
        /// How it went.
        outcome: Result<(), Error>,
    },
    /// Something that a person who looks for a fault wants to know: what was forgiven, refused or retried.
    Diagnostic(Arc<str>),
}

impl EventKind {
    /// The name in `wit/`, such as `message-received`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SessionChanged { .. } => "session-changed",
            Self::ContactAdded(_) => "contact-added",
            Self::ContactChanged(_) => "contact-changed",
            Self::ContactRemoved(_) => "contact-removed",
            Self::GroupAdded(_) => "group-added",
            Self::GroupRenamed(_) => "group-renamed",
            Self::GroupRemoved(_) => "group-removed",
            Self::PresenceChanged(_) => "presence-changed",
            Self::WatchedPresenceChanged(_) => "watched-presence-changed",
            Self::ContactAlert { .. } => "contact-alert",
            Self::ReportChanged(_) => "report-changed",
            Self::MessagesWaitingChanged(_) => "messages-waiting-changed",
            Self::DevicesChanged(_) => "devices-changed",
            Self::WatcherRequested(_) => "watcher-requested",
            Self::WatchersChanged => "watchers-changed",
            Self::RulesChanged(_) => "rules-changed",
            Self::RosterConflict(_) => "roster-conflict",
            Self::ConflictSettled(_) => "conflict-settled",
            Self::RosterSynced => "roster-synced",
            Self::OwnProfileChanged { .. } => "own-profile-changed",
            Self::ContactProfileChanged { .. } => "contact-profile-changed",
            Self::ContactBlockedChanged { .. } => "contact-blocked-changed",
            Self::OwnPresenceChanged(_) => "own-presence-changed",
            Self::MessageReceived(_) => "message-received",
            Self::MessageAccepted(_) => "message-accepted",
            Self::MessageStateChanged { .. } => "message-state-changed",
            Self::OutboxChanged(_) => "outbox-changed",
            Self::ComposingChanged { .. } => "composing-changed",
            Self::ConversationOpened(_) => "conversation-opened",
            Self::ConversationChanged(_) => "conversation-changed",
            Self::ConversationClosed(_) => "conversation-closed",
            Self::ParticipantJoined { .. } => "participant-joined",
            Self::ParticipantLeft { .. } => "participant-left",
            Self::CallChanged(_) => "call-changed",
            Self::FileChanged(_) => "file-changed",
            Self::MediaWanted(_) => "media-wanted",
            Self::MediaAgreed { .. } => "media-agreed",
            Self::TokenNeeded(_) => "token-needed",
            Self::CommandCompleted { .. } => "command-completed",
            Self::Diagnostic(_) => "diagnostic",
        }
    }

    /// Whether it must reach every subscribed plugin, also across a crash.
    #[must_use]
    pub fn must_deliver(&self) -> bool {
        matches!(self, Self::MessageReceived(_) | Self::MessageAccepted(_) | Self::MessageStateChanged { .. })
    }
}

/// What a service says of the access token that it wants (RFC 8898, section 2.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenNeeded {
    /// The realm that the token is for.
    pub realm: Arc<str>,
    /// Where tokens are given out: an https URI.
    pub authz_server: Option<Arc<str>>,
    /// The scope that the token must have.
    pub scope: Option<Arc<str>>,
    /// Why the one that was sent was refused, such as `invalid_token`; `None` when none was sent.
    pub error: Option<Arc<str>>,
    /// No token helps: the transport has no encryption, so none is sent there.
    pub insecure: bool,
}

/// State of the connection to the service.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum SessionState {
    /// Not signed in, and not trying to.
    #[default]
    SignedOut,
    /// Signing in for the first time.
    SigningIn,
    /// The service accepted the registration.
    SignedIn,
    /// Was signed in (or tried to be); the engine tries again by itself.
    Reconnecting,
    /// Signing out.
    SigningOut,
}

impl SessionState {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed-out",
            Self::SigningIn => "signing-in",
            Self::SignedIn => "signed-in",
            Self::Reconnecting => "reconnecting",
            Self::SigningOut => "signing-out",
        }
    }
}

/// One entry of the contact list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// Handle.
    pub id: ContactId,
    /// Address.
    pub address: Address,
    /// Name given by the user; empty when there is none.
    pub name: Arc<str>,
    /// Groups that hold the contact, sorted.
    pub groups: SmallVec<[GroupId; 2]>,
    /// What the user noted of them beside the name; `None` for nothing.
    pub details: Option<Arc<ContactDetails>>,
}

/// One group of the contact list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Handle.
    pub id: GroupId,
    /// Name; unique within the account, compared without case.
    pub name: Arc<str>,
}

/// One change of a contact's presence.
#[derive(Clone, Debug)]
pub struct PresenceChange {
    /// Who.
    pub contact: ContactId,
    /// The contact's address, for readers outside.
    pub address: Address,
    /// What holds now.
    pub presence: Arc<Presence>,
    /// The availability before, for readers that act on transitions.
    pub previous: Option<Availability>,
    /// Whether the note is another one than before.
    pub note_changed: bool,
}

/// One change of the presence of somebody under a lease.
#[derive(Clone, Debug)]
pub struct WatchedChange {
    /// Who.
    pub address: Address,
    /// What holds now.
    pub presence: Arc<Presence>,
    /// The availability before, for readers that act on transitions.
    pub previous: Option<Availability>,
    /// Whether the note is another one than before.
    pub note_changed: bool,
}
