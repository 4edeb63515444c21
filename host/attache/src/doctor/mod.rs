//! What an account's service can do, what is in the way, and what to change.
//!
//! [`examine()`] signs an account in for a bounded time, with a store in memory and without plugins, looks, and signs out
//! again. It may run beside a host that has the account signed in. Meanwhile the account has one more
//! registration, which publishes nothing and takes no messages: the service keeps those for the others. Where an XCAP root is
//! configured, the list of contacts is read, and a list for watching them is made where there is none, as by every
//! sign-in.

mod examine;
mod judge;

use std::{sync::Arc, time::Duration};

pub use examine::examine;

use crate::{Address, CertificateSummary, Connection, Destination, Error, ServiceReport, SessionState};

/// How long an examination waits for the service, unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What an examination has shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examination {
    /// Whose.
    pub account: Address,
    /// What was found, in the order of the way to the service.
    pub findings: Vec<Finding>,
    /// The state of the session at the end.
    pub session: SessionState,
    /// The failure behind the state, if there is one.
    pub reason: Option<Error>,
    /// How the service was looked up and reached.
    pub connection: Arc<Connection>,
    /// Certificates that were shown, good or not, with the place that showed them.
    pub certificates: Vec<Shown>,
    /// What the service can do, how it is used, and what it refused.
    pub report: Arc<ServiceReport>,
}

impl Examination {
    /// Whether there is a problem.
    #[must_use]
    pub fn has_problems(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Problem)
    }
}

/// A certificate that was shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shown {
    /// Where.
    pub destination: Destination,
    /// The certificate, also when it was refused; `None` when there was none.
    pub certificate: Option<CertificateSummary>,
    /// The version of TLS, such as `TLS 1.3`; `None` when none was agreed on.
    pub version: Option<String>,
    /// What is wrong, as a sentence; `None` when nothing is.
    pub trouble: Option<String>,
}

/// How much a finding matters.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Worth knowing; works all the same.
    Note,
    /// In the way.
    Problem,
}

impl Level {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// What a finding is about.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Topic {
    /// How the service is found.
    Lookup,
    /// How it is reached.
    Transport,
    /// Its certificate.
    Certificate,
    /// This machine's clock.
    Clock,
    /// The sign-in.
    Registration,
    /// What the service says that it can do.
    Service,
    /// Own presence.
    Publication,
    /// The presence of others.
    Watching,
    /// Contacts on the service.
    Contacts,
    /// Who may see own presence.
    Privacy,
}

impl Topic {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Transport => "transport",
            Self::Certificate => "certificate",
            Self::Clock => "clock",
            Self::Registration => "registration",
            Self::Service => "service",
            Self::Publication => "publication",
            Self::Watching => "watching",
            Self::Contacts => "contacts",
            Self::Privacy => "privacy",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub topic: Topic,
    /// What was found, as a sentence without a full stop.
    pub sentence: String,
    /// What to change, as a sentence without a full stop; empty when nothing needs to be.
    pub advice: String,
    /// The key of the configuration file that the advice is about, such as `account.service`, where there is one.
    pub key: Option<&'static str>,
}
