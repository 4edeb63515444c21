//! What the application or a plugin asks of the engine.

use core::time::Duration;
use std::sync::Arc;

use crate::{
    address::Address,
    call::{CallMethod, Callee, Media},
    conversation::{Context, Mode},
    error::Error,
    file::FileHash,
    id::{CallId, ConflictId, ContactId, ConversationId, FileId, GroupId, LeaseId, MessageId, RequestId},
    message::{Draft, Target},
    presence::{Availability, Fact},
    privacy::{Decision, Who},
    profile::{ContactDetails, Profile},
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
    /// Sets own name, numbers and addresses, and publishes them with own presence; `None` goes back to what the configuration
    /// says. Kept. Completes when it is kept: whoever may see the account's presence sees it soon after.
    SetProfile(Option<Box<Profile>>),
    /// Notes numbers and an e-mail address of a contact, in place of those that were noted; they go before what the person
    /// publishes, and to the user's other devices with the contact list.
    SetContactDetails(ContactId, ContactDetails),
    /// Says since when nobody has touched this device, or `None` that somebody does. Composed into own presence, below the
    /// person's choice. Not kept: the application says it again after a restart.
    SetIdle(Option<Timestamp>),
    /// Contributes a fact to own presence, such as a meeting of a calendar or a call; `None` takes it back. A source has one
    /// fact at a time. Not kept: sources say it again after a restart. There are at most
    /// [`Limits::facts`](crate::engine::Limits::facts) sources; `calls` is the engine's own, for the calls that it makes.
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
    /// In `wit/`: `contact-editor.set-alert`.
    SetAlert(ContactId, bool),
    /// Asks the service for a contact's presence again.
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
    Undo,
    /// Settles a conflict with what was edited here.
    KeepMine(ConflictId),
    /// Settles a conflict with what was edited elsewhere.
    KeepTheirs(ConflictId),
    /// Answers somebody who wants to see one's presence: sets the rule for that address, and tells them no more than the
    /// rule does.
    ///
    /// In `wit/`: `watcher-editor.answer`.
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
    /// In `wit/`: `watcher-editor.set-rule`.
    SetRule {
        /// For whom.
        who: Who,
        /// What happens to them; `None` removes the rule.
        decision: Option<Decision>,
    },
    /// Send a message. Accepted when it is in the outbox, also signed out; completed when every recipient's service took it
    /// or it has failed, however long that takes. A failure for one of several recipients is a failure.
    ///
    /// In `wit/`: `messages.send`.
    Send(Draft),
    /// Takes a message back: whoever it has not left for yet does not get it, and their state becomes
    /// [`Cancelled`](crate::message::MessageState::Cancelled). For whoever it may have reached by an attempt that was not
    /// answered, it is not tried again, and has failed. Completes with [`Code::TooLate`](crate::code::Code::TooLate) when it
    /// has left for somebody. Refused with the same when it has left for everybody, and with
    /// [`Code::NotFound`](crate::code::Code::NotFound) when there is no such message.
    CancelMessage(MessageId),
    /// Says that the person saw a message. The sender is told so if they asked and the account's policy lets it; whether
    /// one or the other is not so is no failure. It is told once, also across restarts.
    MarkDisplayed(MessageId),
    /// Says that the person writes to somebody, or no longer does; for as long as they write, say it again with each key.
    /// Told to people whose programs are known to show it (RFC 3994). Nothing of it is kept.
    SetComposing {
        /// To whom.
        to: Target,
        /// Whether there is something new of what will be sent.
        active: bool,
    },
    /// Begins a conversation with one or several people. [`Accepted::conversation`] names it at once, when it is kept; it
    /// completes when everybody was told, or could not be.
    ///
    /// Where the open conversation with one person would do (no subject, no context), it is that one. Several people
    /// meet at the service's focus where there is one (RFC 4579), and else each message goes to each of them. Refused
    /// with [`Code::SessionNoUserInvited`](crate::code::Code::SessionNoUserInvited) without anybody to talk to, and with
    /// [`Code::SessionFull`](crate::code::Code::SessionFull) with too many.
    ///
    /// In `wit/`: `conversation-editor.start-conversation`.
    StartConversation {
        /// With whom.
        participants: Vec<Address>,
        /// What it is about; empty for nothing. At most 256 bytes.
        subject: Arc<str>,
        /// What the application hands to the others.
        context: Option<Context>,
        /// How its messages travel; `None` leaves that to the engine.
        mode: Option<Mode>,
    },
    /// Asks somebody into a conversation. One between two people becomes a group. Completes when they were told.
    ///
    /// In `wit/`: `conversation-editor.add-participant`.
    AddParticipant {
        /// Which.
        conversation: ConversationId,
        /// Whom.
        address: Address,
    },
    /// Takes somebody out of a conversation of several people.
    ///
    /// In `wit/`: `conversation-editor.remove-participant`.
    RemoveParticipant {
        /// Which.
        conversation: ConversationId,
        /// Whom.
        address: Address,
    },
    /// Close a conversation; it stays readable. The others of a group hear that one has left.
    CloseConversation(ConversationId),
    /// Calls somebody from one's own phone: that phone rings first. [`Accepted::call`] names the call; completes when
    /// both sides are connected, or with the reason why they are not.
    ///
    /// In `wit/`: `call-control.call`.
    Call {
        /// Whom.
        to: Callee,
        /// The own phone; `None` takes [`EngineConfig::phone`](crate::engine::EngineConfig::phone), and without one the
        /// account's other devices.
        own: Option<Address>,
        /// How; `None` is [`CallMethod::ThirdParty`].
        method: Option<CallMethod>,
    },
    /// Calls somebody with the media of the application, which hears
    /// [`MediaWanted`](crate::event::EventKind::MediaWanted) and gives an offer. [`Accepted::call`] names the call; completes as
    /// [`Call`](Self::Call) does.
    StartMedia {
        /// Whom.
        to: Callee,
        /// What the call carries.
        media: Media,
    },
    /// Answers [`MediaWanted`](crate::event::EventKind::MediaWanted): a session description (RFC 8866) of at most 16 KiB, or
    /// `None` when the application's media cannot do it.
    AnswerMedia {
        /// Which call.
        call: CallId,
        /// The offer or answer.
        description: Option<Arc<str>>,
    },
    /// Takes a call that rings, with the media of the application:
    /// [`MediaWanted`](crate::event::EventKind::MediaWanted) asks for the answer.
    AnswerCall(CallId),
    /// Ends a call, wherever it stands; one that rings here is declined, on every device. A call that the own phone was
    /// asked to make ([`CallMethod::Refer`]) is only lost sight of: it is ended at that phone.
    ///
    /// In `wit/`: `call-control.hang-up`.
    HangUp(CallId),
    /// Asks the other side of a call to talk to somebody else instead (RFC 5589). Completes when they do, and the call
    /// has ended; or with the reason why not, and the call goes on.
    ///
    /// In `wit/`: `call-control.transfer`.
    Transfer {
        /// Which call.
        call: CallId,
        /// To whom.
        to: TransferTarget,
    },
    /// Offers a file to somebody (RFC 5547). [`Accepted::file`] names it; completes when all of it is there, or with the reason why
    /// not. Whoever runs the engine reads it: see [`Engine::poll_file`](crate::engine::Engine::poll_file).
    OfferFile {
        /// To whom.
        to: Address,
        /// Its name; folders are left out.
        name: Arc<str>,
        /// Its media type, such as `application/pdf`.
        media_type: Arc<str>,
        /// Its length in bytes.
        size: u64,
        /// Its hash, by which the other side knows that it got all of it as it is.
        hash: Option<FileHash>,
    },
    /// Takes a file that was offered. Whoever runs the engine writes it. Completes when all of it is there and is what was
    /// offered.
    AcceptFile(FileId),
    /// Declines a file that was offered, or calls one off that is on its way.
    DeclineFile(FileId),
}

/// Where a call is transferred to.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TransferTarget {
    /// Somebody who is called by the other side (RFC 5589, section 6).
    Callee(Callee),
    /// The other side of another call of this account, which that side takes over (RFC 3891; RFC 5589, section 7).
    Call(CallId),
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
    /// The conversation, for [`Command::StartConversation`].
    pub conversation: Option<ConversationId>,
    /// The file, for [`Command::OfferFile`].
    pub file: Option<FileId>,
    /// The call, for [`Command::Call`] and [`Command::StartMedia`].
    pub call: Option<CallId>,
}

impl Accepted {
    /// A command without anything of its own to name.
    #[must_use]
    pub const fn new(request: RequestId) -> Self {
        Self { request, message: None, lease: None, conversation: None, file: None, call: None }
    }
}

/// What comes back at once.
pub type Answer = Result<Accepted, Error>;
