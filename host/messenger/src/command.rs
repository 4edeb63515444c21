//! What the application or a plugin asks of the engine.

use core::time::Duration;
use std::sync::Arc;

use crate::{
    address::Address,
    error::Error,
    id::{ConflictId, ContactId, ConversationId, GroupId, LeaseId, MessageId, RequestId},
    message::{Author, Origin, Text},
    presence::{Availability, Fact},
    privacy::{Decision, Who},
    time::Timestamp,
};

/// One command. Arguments are checked by the engine; the answer is [`Accepted`] or an error at once, and
/// [`CommandCompleted`](crate::event::EventKind::CommandCompleted) later.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Sign in, and stay signed in until told otherwise. Completes with the first outcome; where that is an outage, it is
    /// tried again by itself all the same. While it is tried again, the command asks for an attempt now.
    SignIn,
    /// Sign out: presence is taken back, subscriptions end, the binding is removed. Completes after five seconds at the
    /// latest, whether the service confirms it or not.
    SignOut,
    /// Publish own presence. Kept, and published again after every sign-in. Completes with what the service says to it;
    /// signed out, with [`Code::NotLoggedOn`](crate::code::Code::NotLoggedOn), though it is kept.
    ///
    /// In `wit/`: `presence-publisher.publish`.
    Publish {
        /// How willing. `None` gives the choice back: idle time and facts decide, and without them the person is
        /// available.
        availability: Option<Availability>,
        /// The person's own words, at most 1,024 bytes; empty for none. They go with any availability, and stay
        /// when a choice runs out.
        note: Arc<str>,
        /// When the choice runs out and the engine decides again; `None` is never. Has no meaning without a choice.
        until: Option<Timestamp>,
    },
    /// Says since when nobody has touched this device, or `None` that somebody does. Composed into own presence, below the
    /// person's choice. Not kept: the application says it again after a restart.
    ///
    /// In `wit/`: `presence-facts.set-idle`.
    SetIdle(Option<Timestamp>),
    /// Contributes a fact to own presence, such as a meeting of a calendar or a call; `None` takes it back. A source has one
    /// fact at a time. Not kept: sources say it again after a restart. There are at most
    /// [`Limits::facts`](crate::engine::Limits::facts) sources.
    ///
    /// In `wit/`: `presence-facts.set-fact`.
    SetFact {
        /// Names who says it, such as `calendar`; at most 64 bytes.
        source: Arc<str>,
        /// What is so.
        fact: Option<Fact>,
    },
    /// Watches somebody who need not be a contact, until the lease ends. Everybody who watches an address shares one
    /// subscription; after the last lease it lingers for half a minute. [`Accepted::lease`] names the lease.
    ///
    /// In `wit/`: `presence-watcher.watch`.
    Watch {
        /// Whom.
        address: Address,
        /// For how long, at most a day.
        ttl: Duration,
    },
    /// Ends a lease.
    ///
    /// In `wit/`: `presence-watcher.unwatch`.
    Unwatch(LeaseId),
    /// Lets a lease end so much later from now.
    ///
    /// In `wit/`: `presence-watcher.extend`.
    ExtendLease {
        /// Which.
        lease: LeaseId,
        /// For how long from now, at most a day.
        ttl: Duration,
    },
    /// Tells, by [`ContactAlert`](crate::event::EventKind::ContactAlert), each time a contact becomes available; or no
    /// longer does so. Kept.
    ///
    /// In `wit/`: `contacts.set-alert`.
    SetAlert(ContactId, bool),
    /// Asks the service for a contact's presence again.
    ///
    /// In `wit/`: `contacts.refresh`.
    Refresh(ContactId),
    /// Add a contact.
    AddContact {
        /// Whom.
        address: Address,
        /// Name given by the user; empty for none. At most 256 bytes.
        name: Arc<str>,
    },
    /// Remove a contact.
    RemoveContact(ContactId),
    /// Give a contact another name.
    RenameContact(ContactId, Arc<str>),
    /// Create a group. Names are unique without regard to case, at most 256 bytes.
    AddGroup(Arc<str>),
    /// Delete a group; its contacts stay.
    RemoveGroup(GroupId),
    /// Give a group another name.
    RenameGroup(GroupId, Arc<str>),
    /// Put a contact into a group.
    AddToGroup(ContactId, GroupId),
    /// Take a contact out of a group.
    RemoveFromGroup(ContactId, GroupId),
    /// Takes back the last edit of contacts and groups that was made here and has not been taken back yet. What was changed
    /// again since, here or elsewhere, stays as it is. Refused with
    /// [`Code::NotFound`](crate::code::Code::NotFound) when there is none. At least the last ten edits can be taken
    /// back, also after a restart.
    ///
    /// In `wit/`: `contacts.undo`.
    Undo,
    /// Settles a conflict with what was edited here.
    ///
    /// In `wit/`: `contacts.keep-mine`.
    KeepMine(ConflictId),
    /// Settles a conflict with what was edited elsewhere.
    ///
    /// In `wit/`: `contacts.keep-theirs`.
    KeepTheirs(ConflictId),
    /// Answers somebody who wants to see one's presence: sets the rule for that address, and tells them no more than the
    /// rule does.
    ///
    /// In `wit/`: `privacy.answer`.
    AnswerWatcher {
        /// Who asked.
        address: Address,
        /// The answer.
        decision: Decision,
    },
    /// Sets a rule about who may see one's presence, or removes it. Kept, and written to the service when it is there;
    /// completes when the service has it, or signed out, when it is kept. With the first rule of an account, everybody
    /// without a rule of their own is asked about (`confirm`), as they would be blocked otherwise. Refused with
    /// [`Code::UnsupportedByService`](crate::code::Code::UnsupportedByService) where the service takes no rules.
    ///
    /// In `wit/`: `privacy.set-rule`.
    SetRule {
        /// For whom.
        who: Who,
        /// What happens to them; `None` removes the rule.
        decision: Option<Decision>,
    },
    /// Send a message. Accepted when it is in the outbox, also signed out; completed when it was delivered or has failed,
    /// however long that takes.
    Send {
        /// To whom.
        to: Address,
        /// What.
        text: Text,
        /// Who wrote it.
        author: Author,
        /// Whether to mark it as automatic on the wire.
        origin: Origin,
    },
    /// Close a conversation; it stays readable.
    CloseConversation(ConversationId),
}

/// A command was taken on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// Names the command in its completion.
    pub request: RequestId,
    /// The message, for [`Command::Send`].
    pub message: Option<MessageId>,
    /// The lease, for [`Command::Watch`].
    pub lease: Option<LeaseId>,
}

impl Accepted {
    /// A command without anything of its own to name.
    #[must_use]
    pub const fn new(request: RequestId) -> Self {
        Self { request, message: None, lease: None }
    }
}

/// What comes back at once.
pub type Answer = Result<Accepted, Error>;
