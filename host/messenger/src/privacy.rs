//! Who may see one's presence: rules, the people who ask, and what somebody would see now.
//!
//! The vocabulary of RFC 5025, section 3, as a person meets it. A rule is for one address, for everybody of a domain,
//! or for everybody; the nearest rule decides, so that "everybody may see me, but not Carol" is two rules.

use core::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{address::Address, compose::Reason, presence::Presence, time::Timestamp};

/// What happens to somebody who wants to see one's presence (RFC 5025, section 3.2.1).
#[derive(Copy, Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Sees nothing, and is told so.
    Block,
    /// Waits until the owner has answered.
    Confirm,
    /// Sees somebody who is never there, and does not learn that this is not true.
    PoliteBlock,
    /// Sees it.
    Allow,
}

impl Decision {
    /// Every decision, from least to most.
    pub const ALL: [Self; 4] = [Self::Block, Self::Confirm, Self::PoliteBlock, Self::Allow];

    /// The name in `wit/`, the command line, and pres-rules documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Confirm => "confirm",
            Self::PoliteBlock => "polite-block",
            Self::Allow => "allow",
        }
    }

    /// The decision with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decision| decision.name() == name)
    }
}

/// Whom a rule is for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Who {
    /// One person.
    Address(Address),
    /// Everybody of a domain, but for those with a rule of their own. In lower case.
    Domain(Arc<str>),
    /// Everybody, but for those with a nearer rule.
    Everyone,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => write!(f, "@{domain}"),
            Self::Everyone => f.write_str("*"),
        }
    }
}

/// One rule of the account's owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Whom it is for.
    pub who: Who,
    /// What happens to them.
    pub decision: Decision,
    /// Whether the service does not know it yet.
    pub pending: bool,
}

/// Where somebody's wish to see one's presence stands (RFC 3858, section 4.2).
#[derive(Copy, Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatcherState {
    /// Waits for the owner's answer.
    Pending,
    /// Gave up before there was an answer; the wish still stands.
    Waiting,
    /// Watches, by the rules.
    Active,
}

impl WatcherState {
    /// The name in `wit/` and in watcher-info documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Active => "active",
        }
    }
}

/// Somebody who watches, or wants to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watcher {
    /// Who.
    pub address: Address,
    /// The name that they give themselves; empty when they give none. Nobody has checked it.
    pub name: Arc<str>,
    /// Where it stands.
    pub state: WatcherState,
    /// Since when this is known.
    pub since: Timestamp,
}

/// What somebody would see now.
#[derive(Clone, Debug)]
pub struct Preview {
    /// What the rules say of them; `None` where no rule speaks, and the service does what it does by default.
    pub decision: Option<Decision>,
    /// Own presence as they would see it: what is published, after the rules have taken out what they must not see.
    pub presence: Presence,
    /// Why, step by step: the rules first, then how the presence comes about.
    pub reasons: Vec<PreviewReason>,
}

/// One step of the way to a [`Preview`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PreviewReason {
    /// A rule of the document on the service applies. Holds its name there.
    Rule(Arc<str>),
    /// No rule applies: the service does what it does by default.
    NoRule,
    /// Without any rules, the service lets them watch or wait; where it says nothing of them, its default is not known.
    Watcher(WatcherState),
    /// The service takes no rules from us; it decides by itself.
    NoRules,
    /// A part of the presence is left out by the rules, such as `note` or `activities`.
    Hidden(Arc<str>),
    /// How the presence comes about.
    Presence(Reason),
}
