//! Calls: two phones that the engine connects, or the media of the application.
//!
//! The engine carries no sound and no pictures. A call between phones is click-to-dial: one's own phone is rung first, and then
//! the other side, by third-party call control (RFC 3725) or by a request to the own phone to call (RFC 3515). Where the
//! application has media of its own, the engine passes session descriptions between it and the other side.

use std::sync::Arc;

use crate::{
    address::Address,
    code::Code,
    error::Error,
    id::{CallId, ContactId, ConversationId},
    time::Timestamp,
};

/// Longest session description that is passed on, in bytes.
pub const MAX_DESCRIPTION: usize = 16 * 1024;

/// Whom to call.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Callee {
    /// An address, such as `sip:bob@example.com` or `tel:+12015550123`.
    Address(Address),
    /// A number of somebody on the contact list. [`Code::PhoneInvalidNumber`] when none of that kind is known.
    Contact(ContactId, PhoneKind),
    /// A number as people write it: see [`number`].
    Number(Arc<str>),
}

impl From<Address> for Callee {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

/// Which of a person's numbers.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum PhoneKind {
    /// At home.
    Home,
    /// At work.
    Work,
    /// Carried about.
    Mobile,
}

impl PhoneKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Home, Self::Work, Self::Mobile];

    /// The name in `wit/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Work => "work",
            Self::Mobile => "mobile",
        }
    }
}

/// How a call between two phones is set up.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CallMethod {
    /// The engine calls both and passes their session descriptions between them (RFC 3725, flows I and IV). It stays in
    /// the middle: it can hang up and transfer at any time, and the call ends with it.
    ThirdParty,
    /// The engine asks the own phone to call the other side (RFC 3515). The call does not depend on the engine after
    /// that, which hears of it as far as the phone tells.
    Refer,
}

impl CallMethod {
    /// The name in `wit/` and the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThirdParty => "third-party",
            Self::Refer => "refer",
        }
    }

    /// The method with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::ThirdParty, Self::Refer].into_iter().find(|method| method.name() == name)
    }
}

/// What a call carries.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Media {
    /// Sound.
    Audio,
    /// Sound and pictures.
    Video,
}

impl Media {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// What becomes of calls to this account.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum IncomingCalls {
    /// They are for the person's phones: this device does not ring, and shows nothing.
    #[default]
    Ignore,
    /// They are shown while the person's phones ring, and so is who has answered. They cannot be answered here.
    Show,
    /// They ring here as well, and the application answers them with its own media.
    Take,
}

impl IncomingCalls {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Show => "show",
            Self::Take => "take",
        }
    }
}

/// One call, as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Handle.
    pub id: CallId,
    /// The other side.
    pub peer: Address,
    /// The other side on the contact list, if there.
    pub contact: Option<ContactId>,
    /// The conversation whose transcript tells of it.
    pub conversation: ConversationId,
    /// Whether the other side called.
    pub incoming: bool,
    /// The own phone; `None` where the application's media is used, or another device answered.
    pub own: Option<Address>,
    /// How two phones are connected; `None` where the application's media is used.
    pub method: Option<CallMethod>,
    /// What it carries, as far as is known.
    pub media: Media,
    /// Where it stands.
    pub state: CallState,
    /// When it began.
    pub started_at: Timestamp,
    /// When both sides were connected, if they were.
    pub connected_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Call {
    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, CallState::Ended(_))
    }
}

/// Where a call stands. Never goes back, but from [`Transferring`](Self::Transferring) to
/// [`Connected`](Self::Connected) when a transfer fails.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CallState {
    /// The first phone is being called.
    Starting,
    /// The own phone rings.
    OwnRinging,
    /// The own phone was picked up; the other side is being called.
    OwnAnswered,
    /// The other side rings.
    PeerRinging,
    /// Somebody calls, and the call was not answered yet.
    Ringing,
    /// Both sides talk, as far as is known.
    Connected,
    /// The other side is asked to call somebody else instead.
    Transferring,
    /// It is over. With an error when it never came about, or broke: which one says the code, such as
    /// [`Code::VoiceNoAnswer`].
    Ended(Option<Error>),
}

impl CallState {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::OwnRinging => "own-ringing",
            Self::OwnAnswered => "own-answered",
            Self::PeerRinging => "peer-ringing",
            Self::Ringing => "ringing",
            Self::Connected => "connected",
            Self::Transferring => "transferring",
            Self::Ended(_) => "ended",
        }
    }
}

/// What the application's media has to do for a call. Session descriptions are those of RFC 8866, and nothing of them is
/// looked at here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MediaWanted {
    /// Which call.
    pub call: CallId,
    /// What it carries.
    pub media: Media,
    /// The other side's offer, to be answered (RFC 3264). `None` wants an offer.
    pub offer: Option<Arc<str>>,
}

/// Reads a telephone number as people write it, and gives its address.
///
/// Digits with visual separators (blanks, `-`, `.`, `/`, `(`, `)`), a leading `+`, or an international `tel:` or `sip:`
/// address. A number without `+` is one of the service's own dialling plan: it becomes `sip:NUMBER@DOMAIN;user=phone`
/// with the domain of the account (RFC 3261, section 19.1.6), as a `tel:` without a context means nothing (RFC 3966, section
/// 5.1.4).
///
/// # Errors
/// [`Code::PhoneInvalidNumber`] when it is none.
///
/// ```
/// use attache_messenger::{call::number, code::Code};
///
/// assert_eq!(number("+1 (201) 555-0123", "example.com")?.as_str(), "tel:+12015550123");
/// assert_eq!(number("0-311 / 42", "example.com")?.as_str(), "sip:031142@example.com;user=phone");
/// assert_eq!(number("call me", "example.com").unwrap_err().code(), Code::PhoneInvalidNumber);
/// # Ok::<(), attache_messenger::error::Error>(())
/// ```
pub fn number(text: &str, domain: &str) -> Result<Address, Error> {
    let wrong = |what: &str| Error::new(Code::PhoneInvalidNumber, format!("not a telephone number: {what}"));
    let text = text.trim();
    if text.len() > Address::MAX {
        return Err(wrong("it is too long"));
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    if matches!(scheme.as_deref(), Some("tel" | "sip" | "sips")) {
        return Address::parse(text).map_err(|error| wrong(error.message()));
    }
    let mut digits = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '+' if at == 0 => digits.push('+'),
            '0'..='9' | '*' | '#' => digits.push(c),
            ' ' | '\u{a0}' | '-' | '.' | '/' | '(' | ')' => {}
            _ => return Err(wrong("it holds what is neither a digit nor a separator")),
        }
    }
    // The most that ITU-T E.164 has is 15; dialling plans add prefixes.
    let count = digits.bytes().filter(u8::is_ascii_digit).count();
    if !(2..=24).contains(&count) {
        return Err(wrong("it needs 2 to 24 digits"));
    }
    if let Some(rest) = digits.strip_prefix('+') {
        if !rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("an international number has digits only"));
        }
        return Address::parse(&format!("tel:{digits}")).map_err(|error| wrong(error.message()));
    }
    let user = digits.replace('#', "%23");
    Address::parse(&format!("sip:{user}@{domain};user=phone")).map_err(|error| wrong(error.message()))
}
