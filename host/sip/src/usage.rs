//! What a user agent keeps alive: its registration, its subscriptions and publications at a service, its sessions with others.
//!
//! Each usage is a small state machine that owns one deadline. It is told of answers, notifications and time, and sends through
//! the agent's core, which takes care of credentials, targets and fail-over. What they have in common stands here: when to
//! try again.

pub(crate) mod dialog;
pub(crate) mod invite;
pub(crate) mod publication;
pub(crate) mod refer;
pub(crate) mod registration;
pub(crate) mod subscription;

use std::time::Duration;

use crate::agent::Cause;
use crate::message::{Message, NameAddr};

pub use invite::{
    AnswerMode, Body, CallError, DialogFacts, DialogName, EndedBy, Incoming, InviteEvent, InviteParams,
    InviteSettings, Reason, Reliability,
};
pub use publication::{Patch, PublicationState, PublishParams};
pub use refer::{ReferEvent, ReferParams, ReferRequest, ReferTarget, ReferTo};
pub use subscription::{Forks, Rates, SubscribeParams, SubscriptionState};

/// Nothing is refreshed sooner than this, however short a time a service grants: it must not be able to make us storm.
pub(crate) const MIN_REFRESH: Duration = Duration::from_secs(10);

/// Addresses without consent that one refusal may name.
const MAX_MISSING: usize = 100;

/// How long to wait before something is tried again: the doubled base for each failure in a row, at most `max`, of which a random 50 to 100
/// percent is taken (RFC 5626 §4.5).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Backoff {
    /// Upper bound of the wait after the first failure. 4 s by default.
    pub base: Duration,
    /// Upper bound of all waits. 5 min by default.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(4), max: Duration::from_secs(300) }
    }
}

impl Backoff {
    /// The wait after this many failures before the present one. `chance` is between 0 and 1.
    pub fn delay(&self, failures: u32, chance: f64) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(failures.min(16)));
        doubled.min(self.max).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

/// When something that ended is tried again.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum When {
    /// At once, if it had not just been tried; with back-off then.
    Now,
    /// With back-off, and not before this time has passed.
    Later(Option<Duration>),
    /// Not by itself.
    Never,
}

/// The refusal in an answer, and the time it asks to wait.
pub(crate) fn refusal(answer: &Message) -> (Cause, Option<Duration>) {
    if answer.status() == Some(470) {
        let missing = answer.values(crate::message::HeaderName::PermissionMissing).take(MAX_MISSING);
        let missing = missing.filter_map(|value| {
            let address = NameAddr::parse(value)?;
            Some(String::from_utf8_lossy(address.uri_bytes()).into_owned())
        });
        return (Cause::ConsentNeeded { missing: missing.collect() }, None);
    }
    let cause = Cause::Status {
        code: answer.status().unwrap_or(500),
        // It is shown to people and written to logs.
        reason: String::from_utf8_lossy(answer.reason())
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect(),
    };
    let wait = answer.retry_after().map(|after| Duration::from_secs(u64::from(after.seconds)));
    (cause, wait)
}

/// When a request that failed may be sent again.
pub(crate) fn retry_of(cause: &Cause, wait: Option<Duration>) -> When {
    let temporary = match cause {
        Cause::Timeout
        | Cause::Transport(_)
        | Cause::NotFound(_)
        | Cause::NoNotify
        | Cause::NoToken
        | Cause::Expired => true,
        Cause::Status { code, .. } => match code {
            408 | 429 | 430 | 480 | 491 | 500 | 502 | 503 | 504 => true,
            // RFC 3261 §20.33: whoever names a time does not mean never.
            404 | 413 | 486 | 600 | 603 => wait.is_some(),
            _ => false,
        },
        _ => false,
    };
    if temporary { When::Later(wait) } else { When::Never }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_are_jittered_downwards() {
        let backoff = Backoff { base: Duration::from_secs(4), max: Duration::from_secs(300) };
        let bounds =
            |failures| (backoff.delay(failures, 0.0).as_secs(), backoff.delay(failures, 1.0).as_secs());
        assert_eq!(bounds(0), (2, 4));
        assert_eq!(bounds(1), (4, 8));
        assert_eq!(bounds(3), (16, 32));
        assert_eq!(bounds(40), (150, 300));
    }

    #[test]
    fn only_outages_are_retried() {
        let status = |code| Cause::Status { code, reason: String::new() };
        for code in [408, 480, 500, 503, 504] {
            assert_eq!(retry_of(&status(code), None), When::Later(None), "{code}");
        }
        for code in [400, 403, 404, 405, 415, 489, 501, 603, 604] {
            assert_eq!(retry_of(&status(code), None), When::Never, "{code}");
        }
        let wait = Some(Duration::from_secs(9));
        assert_eq!(retry_of(&status(404), wait), When::Later(wait));
    }
}
