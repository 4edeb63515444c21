//! Presence as a person sees it: a value, and how far it can be trusted.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::time::Timestamp;

/// How willing a person is to communicate, from most to least.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Availability {
    /// Ready to talk.
    Available,
    /// Ready to talk, but not at the device.
    Idle,
    /// Occupied.
    Busy,
    /// Occupied, and not at the device.
    BusyIdle,
    /// Away for a short while.
    BeRightBack,
    /// Away.
    Away,
    /// Wants to be left alone.
    DoNotDisturb,
    /// Not there. Only ever said by the person's own side or the service, never made up from a failure.
    Offline,
}

impl Availability {
    /// Every value, from most to least willing.
    pub const ALL: [Self; 8] = [
        Self::Available,
        Self::Idle,
        Self::Busy,
        Self::BusyIdle,
        Self::BeRightBack,
        Self::Away,
        Self::DoNotDisturb,
        Self::Offline,
    ];

    /// The name in `wit/`, the configuration and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::BusyIdle => "busy-idle",
            Self::BeRightBack => "be-right-back",
            Self::Away => "away",
            Self::DoNotDisturb => "do-not-disturb",
            Self::Offline => "offline",
        }
    }

    /// The value with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.name() == name)
    }

    /// The number that programs of the 2007 API compare, where lower is more willing except that 18000 is offline.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Available => 3000,
            Self::Idle => 4500,
            Self::Busy => 6000,
            Self::BusyIdle => 7500,
            Self::DoNotDisturb => 9000,
            Self::BeRightBack => 12000,
            Self::Away => 15000,
            Self::Offline => 18000,
        }
    }
}

/// How far a value can be trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// The service will tell when it changes.
    Live,
    /// Was live until then.
    Stale(Timestamp),
    /// Nothing is known.
    Unknown(UnknownReason),
    /// The person, or the service's policy, does not let this account see it.
    Denied,
}

/// Why nothing is known.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum UnknownReason {
    /// Nothing has arrived yet.
    Pending,
    /// The account is signed out.
    SignedOut,
    /// The service does not answer, or refused for the time being.
    ServiceUnavailable,
    /// The service knows no such person.
    NotFound,
    /// Anything else, in the service's words.
    Other(Arc<str>),
}

/// What is known of one person's presence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presence {
    /// None when nothing is known: see `freshness`.
    pub availability: Option<Availability>,
    /// How far it can be trusted.
    pub freshness: Freshness,
    /// The person's own words; empty when there are none.
    pub note: Arc<str>,
    /// Activities of RFC 4480, section 3.2, as words such as `on-the-phone`.
    pub activities: SmallVec<[Arc<str>; 1]>,
    /// When the current value arrived.
    pub since: Option<Timestamp>,
    /// When this will next change by itself.
    pub next_change_at: Option<Timestamp>,
}

impl Presence {
    /// Nothing is known, and why.
    #[must_use]
    pub fn unknown(reason: UnknownReason) -> Self {
        Self {
            availability: None,
            freshness: Freshness::Unknown(reason),
            note: Arc::from(""),
            activities: SmallVec::new(),
            since: None,
            next_change_at: None,
        }
    }
}
