//! How many requests a process may start by itself in a second.
//!
//! One agent paces itself by its window, but a process may have a thousand of them, and after an outage all want to refresh at the
//! same moment. A [`Budget`] is shared by all agents of a process: whatever one of them sends without a person waiting for it
//! draws from it, so that no restart and no return of a network becomes a storm (RFC 6357, RFC 7339).
//!
//! It is the generic cell rate algorithm: one number, the time at which all that was drawn so far is paid for. So it needs no lock, and
//! no timer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A token bucket for all agents of a process, shared as `Arc<Budget>`.
///
/// ```
/// use std::time::{Duration, Instant};
/// use attache_sip::budget::Budget;
///
/// let budget = Budget::new(10, 2);
/// let now = Instant::now();
/// assert!(budget.take(now).is_ok() && budget.take(now).is_ok());
/// assert_eq!(budget.take(now), Err(now + Duration::from_millis(100)));
/// assert!(budget.take(now + Duration::from_millis(100)).is_ok());
/// ```
#[derive(Debug)]
pub struct Budget {
    /// Nanoseconds that one request costs.
    cost: u64,
    /// Nanoseconds that may be owed.
    tolerance: u64,
    /// The first time that was given: what `paid_until` counts from.
    epoch: OnceLock<Instant>,
    paid_until: AtomicU64,
}

impl Budget {
    /// A budget of `per_second` requests a second, of which `burst` may be drawn at one moment. Both are at least one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let cost = 1_000_000_000 / u64::from(per_second.max(1));
        Self {
            cost,
            tolerance: cost.saturating_mul(u64::from(burst.max(1) - 1)),
            epoch: OnceLock::new(),
            paid_until: AtomicU64::new(0),
        }
    }

    /// Draws one request, or says when the next one can be drawn by somebody.
    ///
    /// # Errors
    /// The time to try again, later than `now`. Nothing was drawn then. Who must not be overtaken by others [reserves](Self::reserve).
    pub fn take(&self, now: Instant) -> Result<(), Instant> {
        let drawn = self.draw(now, |wait| wait == 0);
        if drawn == 0 { Ok(()) } else { Err(now + Duration::from_nanos(drawn)) }
    }

    /// Draws one request, and gives the time at which it may be sent: `now`, or later. Each caller gets a time of its own, so a
    /// thousand who wait do not all wake for one request.
    pub fn reserve(&self, now: Instant) -> Instant {
        now + Duration::from_nanos(self.draw(now, |_| true))
    }

    /// How long a request that is drawn now would have to wait.
    pub fn wait(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.draw(now, |_| false))
    }

    /// The nanoseconds until one more request is affordable; it is drawn if `accept` agrees.
    fn draw(&self, now: Instant, accept: impl Fn(u64) -> bool) -> u64 {
        let epoch = *self.epoch.get_or_init(|| now);
        let now = u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX);
        let mut wait = 0;
        // Relaxed is enough: the number stands for itself and orders nothing else.
        let _ = self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_until| {
            let start = paid_until.max(now);
            wait = (start - now).saturating_sub(self.tolerance);
            accept(wait).then(|| start.saturating_add(self.cost))
        });
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let budget = Budget::new(200, 400);
        let now = Instant::now();
        let mut late = Vec::new();
        for _ in 0..1000 {
            late.push(budget.reserve(now) - now);
        }
        assert!(late[..400].iter().all(Duration::is_zero));
        assert_eq!(late[400], Duration::from_millis(5));
        assert_eq!(late[999], Duration::from_secs(3));
    }

    #[test]
    fn what_was_not_used_is_saved_up_to_the_burst() {
        let budget = Budget::new(10, 5);
        let now = Instant::now();
        while budget.take(now).is_ok() {}
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| budget.take(later).is_ok()).count(), 5);
    }

    #[test]
    fn a_refusal_draws_nothing() {
        let budget = Budget::new(1, 1);
        let now = Instant::now();
        assert!(budget.take(now).is_ok());
        for _ in 0..10 {
            assert_eq!(budget.take(now), Err(now + Duration::from_secs(1)));
            assert_eq!(budget.wait(now), Duration::from_secs(1));
        }
        assert!(budget.take(now + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn threads_together_get_no_more_than_one_would() {
        let budget = Arc::new(Budget::new(1000, 100));
        let now = Instant::now();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| budget.take(now).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
