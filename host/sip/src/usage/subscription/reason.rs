//! What the end of a subscription means (RFC 6665 §4.1.2.2, §4.1.3; RFC 5057 §5.1).

use std::time::Duration;

use crate::usage::When;

/// What to do on each reason that a notifier can give (RFC 6665 §4.1.3).
const REASONS: &[(&str, Then)] = &[
    ("deactivated", Then::Now),
    ("probation", Then::Later),
    ("rejected", Then::Never),
    ("timeout", Then::Now),
    ("giveup", Then::Later),
    ("noresource", Then::Never),
    ("invariant", Then::Never),
];

#[derive(Copy, Clone)]
enum Then {
    Now,
    /// Not before the `retry-after` parameter.
    Later,
    Never,
}

/// When to subscribe again after `terminated` with this reason. An unknown or missing one is a reason to try at once;
/// back-off sees to it that this ends no worse than a known one.
pub(super) fn after_termination(reason: Option<&str>, retry_after: Option<u32>) -> When {
    let wait = retry_after.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let known =
        REASONS.iter().find(|(name, _)| reason.is_some_and(|reason| reason.eq_ignore_ascii_case(name)));
    match known.map_or(Then::Now, |(_, then)| *then) {
        Then::Now => match wait {
            // Only some reasons define the parameter, but whoever writes it means it.
            Some(wait) if known.is_none() => When::Later(Some(wait)),
            _ => When::Now,
        },
        Then::Later => When::Later(wait),
        Then::Never => When::Never,
    }
}

/// Whether this answer to a refresh ends the dialog; any other leaves it until it expires (RFC 6665 §4.1.2.2).
pub(super) const fn ends_dialog(status: u16) -> bool {
    matches!(status, 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reason: Option<&str>, retry_after: Option<u32>, expected: When) {
        assert_eq!(after_termination(reason, retry_after), expected, "{reason:?} {retry_after:?}");
    }

    #[test]
    fn each_reason_decides_when_to_subscribe_again() {
        let wait = |seconds| When::Later(Some(Duration::from_secs(seconds)));
        check(Some("deactivated"), None, When::Now);
        check(Some("timeout"), None, When::Now);
        check(Some("probation"), Some(30), wait(30));
        check(Some("probation"), None, When::Later(None));
        check(Some("giveup"), Some(7), wait(7));
        check(Some("giveup"), None, When::Later(None));
        check(Some("rejected"), Some(1), When::Never);
        check(Some("noresource"), None, When::Never);
        check(Some("invariant"), None, When::Never);
        check(Some("Rejected"), None, When::Never);
    }

    #[test]
    fn an_unknown_reason_is_a_reason_to_try_again() {
        check(Some("full-moon"), None, When::Now);
        check(None, None, When::Now);
        check(None, Some(9), When::Later(Some(Duration::from_secs(9))));
    }
}
