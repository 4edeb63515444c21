//! CPU time of one instance in a minute.
//!
//! A limit for each event does not hold down a plugin that gets many events, so there is one for each minute as well.
//! It stops nobody: what can wait waits for the next minute, and messages do not wait.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// The minute that runs. It goes on across restarts of the guest.
#[derive(Debug)]
pub(crate) struct CpuMinute {
    limit: Duration,
    since: Instant,
    /// What the meter showed then.
    base: Duration,
}

impl CpuMinute {
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, since: now, base: Duration::ZERO }
    }

    /// When the next minute begins, if this one's time is used up. `total` is all CPU time of the instance so far.
    pub(crate) fn used_up(&mut self, total: Duration, now: Instant) -> Option<Instant> {
        if now.saturating_duration_since(self.since) >= MINUTE {
            self.since = now;
            self.base = total;
        }
        (total.saturating_sub(self.base) >= self.limit).then(|| self.since + MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_is_there_again_in_the_next_minute() {
        let now = Instant::now();
        let mut minute = CpuMinute::new(Duration::from_millis(100), now);
        let (used, later) = (Duration::from_millis(130), now + Duration::from_secs(10));
        assert_eq!(minute.used_up(Duration::from_millis(99), later), None);
        assert_eq!(minute.used_up(used, later), Some(now + MINUTE));
        assert_eq!(minute.used_up(used, now + MINUTE), None);
        assert_eq!(minute.used_up(used * 2, now + MINUTE), Some(now + 2 * MINUTE));
    }
}
