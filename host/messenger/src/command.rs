//! What the application or a plugin asks of the engine.

use std::sync::Arc;

use crate::{
    address::Address,
    error::Error,
    id::{ContactId, ConversationId, GroupId, MessageId, RequestId},
    message::{Author, Origin, Text},
    presence::Availability,
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
    Publish {
        /// How willing.
        availability: Availability,
        /// The person's own words, at most 1,024 bytes; empty for none.
        note: Arc<str>,
    },
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
}

/// What comes back at once.
pub type Answer = Result<Accepted, Error>;
