//! Conversations: who takes part, what they are about, and how their messages travel.
//!
//! A conversation has an identity of its own, here and on the wire, so that what belongs together stays together on every
//! side, whoever writes next and whichever transport carries it.

use core::fmt;
use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{address::Address, code::Code, error::Error, id::ConversationId, time::Timestamp};

/// Most participants of one conversation that has no focus, the account itself left out: each message goes to each of
/// them.
pub const MAX_PARTICIPANTS: usize = 64;
/// Longest subject, in bytes of UTF-8.
pub const MAX_SUBJECT: usize = 256;

/// One conversation, without its transcript.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Conversation {
    /// Handle.
    pub id: ConversationId,
    /// Between whom.
    pub kind: ConversationKind,
    /// How its messages travel.
    pub mode: Mode,
    /// The others, those that have left among them, in the order in which they came.
    pub participants: Vec<Participant>,
    /// What it is about; empty when nobody said.
    pub subject: Arc<str>,
    /// What the application that began it handed to the others.
    pub context: Option<Context>,
    /// The conference's address, where a focus of the service holds it together (RFC 4579).
    pub focus: Option<Address>,
    /// When it began.
    pub opened_at: Timestamp,
    /// When it ended; it stays readable.
    pub closed_at: Option<Timestamp>,
}

impl Conversation {
    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// The addresses of those who take part: invited or joined, and not left.
    pub fn present(&self) -> impl Iterator<Item = &Address> {
        self.participants.iter().filter(|one| one.state.is_present()).map(|one| &one.address)
    }

    /// What is known of one of the others.
    #[must_use]
    pub fn participant(&self, address: &Address) -> Option<&Participant> {
        self.participants.iter().find(|one| one.address == *address)
    }
}

/// Between whom a conversation is.
#[derive(Copy, Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConversationKind {
    /// Two people.
    Direct,
    /// Several people, each of whom sends to all the others.
    Group,
    /// Several people around a focus of the service (RFC 4579).
    Conference,
}

impl ConversationKind {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Conference => "conference",
        }
    }
}

/// How the messages of a conversation travel.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// Each by itself, by MESSAGE (RFC 3428): also to people who are away, and at most as long as a MESSAGE may be.
    #[default]
    Pager,
    /// In a session, by MSRP (RFC 4975).
    Session,
}

impl Mode {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pager => "pager",
            Self::Session => "session",
        }
    }
}

/// One of the others in a conversation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Participant {
    /// Who.
    pub address: Address,
    /// The name that they gave themselves in this conversation, such as a nickname of RFC 7701; empty for none.
    pub name: Arc<str>,
    /// Whether they take part.
    pub state: ParticipantState,
    /// Since when the state holds.
    pub since: Timestamp,
}

/// Whether somebody takes part.
#[derive(Copy, Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ParticipantState {
    /// Asked to, and not there yet: messages reach them where the service keeps messages.
    Invited,
    /// There.
    Joined,
    /// Gone, taken out, or not willing.
    Left,
}

impl ParticipantState {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Joined => "joined",
            Self::Left => "left",
        }
    }

    /// Whether messages go to them.
    #[must_use]
    pub const fn is_present(self) -> bool {
        !matches!(self, Self::Left)
    }
}

/// What an application hands to the others when it begins a conversation: the order that it is about, a link, a form. It
/// reaches them as it is, and its type says how to read it. Programs act on it, so it is not shown to people, and `Debug`
/// prints its length only.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Spelled", into = "Spelled")]
pub struct Context {
    media_type: Arc<str>,
    bytes: Bytes,
}

/// A context as it is written: its bytes in base 64.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Spelled {
    media_type: Arc<str>,
    data: String,
}

impl From<Context> for Spelled {
    fn from(context: Context) -> Self {
        Self { data: STANDARD.encode(&context.bytes), media_type: context.media_type }
    }
}

impl TryFrom<Spelled> for Context {
    type Error = Error;

    fn try_from(spelled: Spelled) -> Result<Self, Error> {
        let bytes = STANDARD.decode(spelled.data.as_bytes());
        let bytes =
            bytes.map_err(|_| Error::new(Code::InvalidArgument, "a context is written in base 64"))?;
        Self::new(spelled.media_type, bytes)
    }
}

impl Context {
    /// Longest context, in bytes: it travels in one MESSAGE.
    pub const MAX: usize = 8 * 1024;

    /// Takes what is handed over. `media_type` is one of RFC 6838, such as `application/json`.
    ///
    /// # Errors
    /// [`Code::SessionContextDataOverLimit`] when it is longer than [`MAX`](Self::MAX), [`Code::InvalidArgument`] when the
    /// media type is none.
    pub fn new(media_type: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let (media_type, bytes) = (media_type.into(), bytes.into());
        if bytes.len() > Self::MAX {
            let text = format!("the context is longer than {} bytes", Self::MAX);
            return Err(Error::new(Code::SessionContextDataOverLimit, text));
        }
        if !is_media_type(&media_type) {
            let text = "the type of a context is a media type of at most 255 bytes, such as application/json";
            return Err(Error::new(Code::InvalidArgument, text));
        }
        Ok(Self { media_type, bytes })
    }

    /// What it is.
    #[must_use]
    pub fn media_type(&self) -> &Arc<str> {
        &self.media_type
    }

    /// What it says.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}, {} bytes>", self.media_type, self.bytes.len())
    }
}

/// `type/subtype` with parameters, in characters that a header field can hold.
pub(crate) fn is_media_type(text: &str) -> bool {
    let token = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    text.len() <= 255
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && essence.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
}
