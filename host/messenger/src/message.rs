//! Instant messages, and the states they go through.

use core::{fmt, time::Duration};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

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

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// What a message says. `Debug` prints types and lengths only.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// Words.
    Text(Text),
    /// Words with markup. Never show `html` of somebody else without cleaning it: it is as it came.
    Html {
        /// The markup.
        html: Text,
        /// The same in words alone: what a reader without markup sees, and what searches find.
        plain: Text,
    },
    /// Anything else, as its bytes.
    Other {
        /// The type with its parameters, such as `image/png`; at most 128 bytes.
        media_type: Arc<str>,
        /// The bytes; at most [`Content::MAX`].
        bytes: Payload,
    },
}

impl Content {
    /// Most bytes of one message, as for [`Text::MAX`].
    pub const MAX: usize = Text::MAX;

    /// The words in it; empty where there are none.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Html { plain: text, .. } => text.as_str(),
            Self::Other { .. } => "",
        }
    }

    /// Its media type, without the charset of texts.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            Self::Text(_) => "text/plain",
            Self::Html { .. } => "text/html",
            Self::Other { media_type, .. } => media_type,
        }
    }

    /// Whether it is something else than words.
    #[must_use]
    pub fn is_attachment(&self) -> bool {
        !matches!(self, Self::Text(_) | Self::Html { .. })
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.as_str().len(),
            Self::Html { html, plain } => html.as_str().len() + plain.as_str().len(),
            Self::Other { bytes, .. } => bytes.as_bytes().len(),
        }
    }
}

impl From<Text> for Content {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(Text::new(text))
    }
}

/// Bytes of a message. `Debug` prints their number only.
#[derive(Clone, Eq, PartialEq)]
pub struct Payload(Bytes);

impl Payload {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves. Take care where they go.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// To whom a message goes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// One person.
    Address(Address),
    /// Several people: in one request where the service passes lists on (RFC 5365), else one each. It is one message with
    /// a state for each of them.
    ///
    /// None of them learns who else gets it, so it makes no conversation of several: it stands in the conversation with the
    /// first of them, and what each answers in the one with them. To talk to all of them, begin a conversation
    /// ([`Command::StartConversation`](crate::command::Command::StartConversation)).
    Addresses(Arc<[Address]>),
    /// Everybody in a conversation, by its own way.
    Conversation(ConversationId),
}

impl From<Address> for Target {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl From<&Address> for Target {
    fn from(address: &Address) -> Self {
        Self::Address(address.clone())
    }
}

impl From<ConversationId> for Target {
    fn from(conversation: ConversationId) -> Self {
        Self::Conversation(conversation)
    }
}

/// Which receipts are asked for (RFC 5438). They are asked for only of people whose programs are known to give them.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Receipts {
    /// That the message reached the other side, or did not.
    pub delivery: bool,
    /// That the other side's person saw it.
    pub display: bool,
}

impl Receipts {
    /// None.
    pub const NONE: Self = Self { delivery: false, display: false };
    /// Both.
    pub const ALL: Self = Self { delivery: true, display: true };
}

impl Default for Receipts {
    /// Both: asking tells the other side nothing.
    fn default() -> Self {
        Self::ALL
    }
}

/// Which receipts this account gives to those who ask.
#[derive(Copy, Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum ReceiptPolicy {
    /// None.
    None,
    /// That a message arrived. This is the default: the answer to the MESSAGE says as much where nothing stands
    /// between. When somebody reads is theirs to tell.
    #[default]
    Delivered,
    /// That it arrived and, once the application says so, that it was seen.
    Displayed,
}

impl ReceiptPolicy {
    /// Every policy, the most private first.
    pub const ALL: [Self; 3] = [Self::None, Self::Delivered, Self::Displayed];

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Delivered => "delivered",
            Self::Displayed => "displayed",
        }
    }
}

/// A message to be sent: [`Command::Send`](crate::command::Command::Send).
///
/// ```
/// use attache_messenger::{address::Address, message::Draft};
///
/// let bob = Address::parse("sip:bob@example.com")?;
/// let draft = Draft::new(&bob, "Lunch at one?").subject("Lunch");
/// assert_eq!(draft.content.text(), "Lunch at one?");
/// # Ok::<(), attache_messenger::error::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Draft {
    /// To whom.
    pub to: Target,
    /// What.
    pub content: Content,
    /// Who wrote it.
    pub author: Author,
    /// Whether to mark it as automatic on the wire.
    pub origin: Origin,
    /// What it is about, at most 256 bytes; told only to people whose programs are known to read it.
    pub subject: Option<Arc<str>>,
    /// Which receipts to ask for.
    pub receipts: Receipts,
    /// How long it is worth anything (RFC 3428, section 9): it is not sent any more after that, and nobody on the way
    /// keeps it longer. `None` is for ever.
    pub expires: Option<Duration>,
}

impl Draft {
    /// A message of the user that a person wrote.
    #[must_use]
    pub fn new(to: impl Into<Target>, content: impl Into<Content>) -> Self {
        Self {
            to: to.into(),
            content: content.into(),
            author: Author::User,
            origin: Origin::Person,
            subject: None,
            receipts: Receipts::default(),
            expires: None,
        }
    }

    /// Says who wrote it.
    #[must_use]
    pub fn author(mut self, author: Author) -> Self {
        self.author = author;
        self
    }

    /// Says whether a person wrote it.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Says what it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<Arc<str>>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Says which receipts to ask for.
    #[must_use]
    pub fn receipts(mut self, receipts: Receipts) -> Self {
        self.receipts = receipts;
        self
    }

    /// Says how long it is worth anything.
    #[must_use]
    pub fn expires(mut self, after: Duration) -> Self {
        self.expires = Some(after);
        self
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
    /// To whom it went beside this account, as far as the sender says so. Theirs to say: trust it no further than them.
    pub also_to: SmallVec<[Address; 0]>,
    /// What it is about, if the sender says so.
    pub subject: Option<Arc<str>>,
    /// What it says.
    pub content: Content,
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
    /// The first recipient on the contact list, if there.
    pub contact: Option<ContactId>,
    /// The recipients; at least one.
    pub recipients: SmallVec<[Address; 1]>,
    /// What it is about.
    pub subject: Option<Arc<str>>,
    /// What it says.
    pub content: Content,
    /// Who wrote it.
    pub author: Author,
    /// Whether it is marked as automatic on the wire.
    pub origin: Origin,
    /// Which receipts are asked for.
    pub receipts: Receipts,
    /// When it is worth nothing any more.
    pub expires_at: Option<Timestamp>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

impl OutgoingMessage {
    /// The first recipient: the only one of most messages.
    #[must_use]
    pub fn recipient(&self) -> &Address {
        // An invariant of the engine, which makes them, and of stores, which refuse others.
        self.recipients.first().expect("a message has a recipient")
    }
}

/// What became of a message of ours at one recipient. Never goes back: see [`follows`](Self::follows).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MessageState {
    /// In the outbox; kept across a crash.
    Accepted,
    /// The service took it to pass it on, perhaps later (RFC 3428, section 7: 202; RFC 5438: processed or stored).
    Sent,
    /// The other side took it (200).
    Delivered,
    /// The other side's person saw it (RFC 5438).
    Displayed,
    /// It will not be tried again.
    Failed(Error),
    /// It was taken back before it left.
    Cancelled,
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
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether this may come after `before`. States only go up: accepted, sent, delivered, displayed. A failure counts
    /// until there is a delivery, and a delivery counts after a failure too: a receipt says that it arrived after all.
    /// Cancelled is final.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        const fn rank(state: &MessageState) -> u8 {
            match state {
                MessageState::Accepted => 0,
                MessageState::Sent => 1,
                MessageState::Failed(_) => 2,
                MessageState::Delivered => 3,
                MessageState::Displayed => 4,
                MessageState::Cancelled => 5,
            }
        }
        match (before, self) {
            (Self::Accepted, Self::Cancelled) => true,
            (_, Self::Cancelled) => false,
            _ => rank(self) > rank(before),
        }
    }
}

/// A message of ours at one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// To whom.
    pub recipient: Address,
    /// Where it is.
    pub state: MessageState,
    /// Since when.
    pub since: Timestamp,
}

/// A message of ours that still has to leave, and why it has not.
#[derive(Clone, Debug)]
pub struct OutboxItem {
    /// The message.
    pub message: Arc<OutgoingMessage>,
    /// Recipients that it has not gone to yet, in order.
    pub waiting: SmallVec<[Waiting; 1]>,
}

/// Why a message has not gone to a recipient yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// To whom it has to go.
    pub recipient: Address,
    /// What it waits for.
    pub reason: WaitReason,
    /// Attempts so far that the service or the other side decided on.
    pub attempts: u32,
    /// Why the last attempt was in vain.
    pub last_error: Option<Error>,
    /// When the next attempt is due, where that is known.
    pub next_try: Option<Timestamp>,
}

/// What a message waits for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WaitReason {
    /// For its turn: the sign-in, and earlier messages to the same person.
    Turn,
    /// For the answer: it has left.
    Answer,
    /// For the time of the next attempt.
    Retry,
    /// For the registrar to say whether the credentials are good.
    Credentials,
}

impl WaitReason {
    /// The name in `wit/` and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Answer => "answer",
            Self::Retry => "retry",
            Self::Credentials => "credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    fn all() -> [MessageState; 6] {
        [
            MessageState::Accepted,
            MessageState::Sent,
            MessageState::Failed(Error::new(Code::Rejected, "refused")),
            MessageState::Delivered,
            MessageState::Displayed,
            MessageState::Cancelled,
        ]
    }

    #[test]
    fn states_only_go_up() {
        for (place, before) in all().iter().enumerate() {
            for (later, after) in all().iter().enumerate() {
                let cancelled = *after == MessageState::Cancelled;
                let up = later > place && *before != MessageState::Cancelled && (!cancelled || place == 0);
                assert_eq!(after.follows(before), up, "{} after {}", after.name(), before.name());
            }
        }
    }

    #[test]
    fn whatever_order_states_are_heard_in_the_highest_remains() {
        let heard = [1, 2, 3, 4];
        for first in heard {
            for second in heard {
                for third in heard {
                    let end =
                        [first, second, third].into_iter().fold(MessageState::Accepted, |state, place| {
                            let next = all()[place].clone();
                            if next.follows(&state) { next } else { state }
                        });
                    assert_eq!(end, all()[first.max(second).max(third)]);
                }
            }
        }
    }
}
