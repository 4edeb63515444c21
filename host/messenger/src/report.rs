//! What the service can do, how it is used, and what was refused and why: for a person who looks for a fault.

use std::sync::Arc;

use crate::time::Timestamp;

/// How presence is watched.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Strategy {
    /// One subscription to a list that the service holds (RFC 4662).
    ServerList,
    /// Subscriptions that bring their list along (RFC 5367).
    RequestList,
    /// A subscription for each person (RFC 3856).
    OneEach,
    /// Asking again and again, where the service takes no subscription that lasts.
    Polling,
}

impl Strategy {
    /// Every strategy, cheapest first.
    pub const ALL: [Self; 4] = [Self::ServerList, Self::RequestList, Self::OneEach, Self::Polling];

    /// The name in `wit/` and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServerList => "server-list",
            Self::RequestList => "request-list",
            Self::OneEach => "one-each",
            Self::Polling => "polling",
        }
    }
}

/// What is known of the service, and how it is used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServiceReport {
    /// How people are watched, one entry for each strategy in use, cheapest first.
    pub watching: Vec<StrategyUse>,
    /// What was refused since the sign-in, oldest first; one entry for each feature.
    pub refused: Vec<Refused>,
    /// What the service says of itself.
    pub service: ServiceFacts,
    /// Contacts and rules on the service (RFC 4825).
    pub xcap: XcapState,
    /// Kinds of documents (AUIDs) that the XCAP server says it keeps (RFC 4825, section 12). `None` until it has answered;
    /// empty where it does not say.
    pub xcap_offers: Option<Arc<[Arc<str>]>>,
    /// Flows of RFC 5626 in use: 0 where the service has no outbound.
    pub outbound_flows: u32,
    /// Our public GRUU (RFC 5627), where the service gave one.
    pub gruu: Option<Arc<str>>,
    /// How far the service's clock is ahead of ours, in milliseconds; negative when behind. `None` while not known.
    pub clock_skew: Option<i64>,
    /// When the binding will be refreshed next.
    pub next_refresh: Option<Timestamp>,
    /// How many requests have waited for the budget of the process.
    pub budget_waits: u64,
}

/// One way of watching, as it is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StrategyUse {
    /// Which.
    pub strategy: Strategy,
    /// How many people are watched so.
    pub people: usize,
    /// Why this one, as a sentence.
    pub reason: Arc<str>,
    /// Most notifications in 1,000 seconds for each list, as the service granted it (RFC 6446); `None` where it does not say.
    pub rate: Option<u32>,
}

/// One thing that the service refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// What was asked for, such as `server-list`, `xcap`, `publish`.
    pub feature: Arc<str>,
    /// The status; `None` when there was no answer.
    pub status: Option<u16>,
    /// What happened, as a sentence.
    pub sentence: Arc<str>,
    /// What to change, as a sentence; empty when nothing needs to be.
    pub advice: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// What the service says of itself, in any of its answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServiceFacts {
    /// Its name and version, from `Server`; empty when it does not say.
    pub server: Arc<str>,
    /// Methods, from `Allow`; sorted.
    pub allow: Vec<Arc<str>>,
    /// Extensions, from `Supported`; sorted.
    pub supported: Vec<Arc<str>>,
    /// Event packages, from `Allow-Events`; sorted.
    pub allow_events: Vec<Arc<str>>,
}

/// How contacts and rules are kept on the service.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum XcapState {
    /// No XCAP root is configured: they are kept here.
    #[default]
    Off,
    /// The service is being asked, or has not everything yet.
    Syncing,
    /// Everything here is on the service.
    Synced {
        /// When it last said so.
        at: Timestamp,
    },
    /// It cannot be reached; edits wait, and it is tried again.
    Offline {
        /// Since when.
        since: Timestamp,
        /// Why, as a sentence.
        cause: Arc<str>,
    },
    /// It does not take contacts from us: they are kept here, and it is not asked again before the next sign-in.
    Refused {
        /// The status.
        status: u16,
        /// What happened, as a sentence.
        sentence: Arc<str>,
        /// What to change, as a sentence; empty when nothing needs to be.
        advice: Arc<str>,
    },
}
