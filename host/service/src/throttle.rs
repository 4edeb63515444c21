//! How often strangers may knock.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// IPv6 gives every customer a network of their own; its addresses are one source.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let s = address.segments();
            IpAddr::from([s[0], s[1], s[2], s[3], 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// A bucket of tokens for each address.
pub(crate) struct Rate {
    per_second: f64,
    burst: f64,
    most: usize,
    buckets: HashMap<IpAddr, (f64, Instant)>,
    /// When the full ones were thrown out last.
    swept: Option<Instant>,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32, most: usize) -> Self {
        Self {
            per_second: per_second.max(1).into(),
            burst: burst.max(1).into(),
            most,
            buckets: HashMap::new(),
            swept: None,
        }
    }

    /// Whether one more request from there is within bounds.
    pub(crate) fn admits(&mut self, address: IpAddr, now: Instant) -> bool {
        self.admits_as(address, now, 1)
    }

    /// Whether one more request that is as much work as so many is within bounds. One that is more than everything at
    /// once takes everything.
    pub(crate) fn admits_as(&mut self, address: IpAddr, now: Instant, requests: usize) -> bool {
        let cost = u32::try_from(requests).map_or(self.burst, f64::from).min(self.burst);
        let (burst, per_second) = (self.burst, self.per_second);
        let full_again = Duration::from_secs_f64(burst / per_second);
        if self.buckets.len() >= self.most && !self.buckets.contains_key(&source(address)) {
            // Looking through all of them for each new source would be work that strangers could ask for.
            if self.swept.is_some_and(|at| now.saturating_duration_since(at) < full_again) {
                return false;
            }
            self.swept = Some(now);
            // A bucket that has filled up again says nothing.
            self.buckets.retain(|_, (_, at)| now.saturating_duration_since(*at) < full_again);
            if self.buckets.len() >= self.most {
                return false;
            }
        }
        let (tokens, at) = self.buckets.entry(source(address)).or_insert((burst, now));
        let refilled = now.saturating_duration_since(*at).as_secs_f64() * per_second;
        *tokens = (*tokens + refilled).min(burst);
        *at = now;
        if *tokens < cost {
            return false;
        }
        *tokens -= cost;
        true
    }
}

/// Wrong passwords, by user and address: guessing gets slow, and nobody else's login suffers from it.
pub(crate) struct Guesses {
    free: u32,
    longest: Duration,
    most: usize,
    failures: HashMap<(String, IpAddr), Failures>,
}

#[derive(Copy, Clone)]
struct Failures {
    count: u32,
    last: Instant,
    /// Until then nothing is checked.
    until: Instant,
    /// A hash of the last one.
    proof: Option<u64>,
}

/// After this time without another failure, earlier ones are forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10 * 60);

impl Guesses {
    pub(crate) fn new(free: u32, longest: Duration, most: usize) -> Self {
        Self { free, longest, most, failures: HashMap::new() }
    }

    /// How long this user must wait here before a password is looked at again.
    pub(crate) fn wait(&self, user: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(&(user.to_owned(), source(address)))?;
        failures.until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// A wrong password. The same proof again is a repeat of the same request, and no further guess.
    pub(crate) fn failed(&mut self, user: &str, address: IpAddr, proof: &str, now: Instant) {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(proof.as_bytes());
        let proof = hasher.finish();
        let key = (user.to_owned(), source(address));
        if self.failures.len() >= self.most && !self.failures.contains_key(&key) {
            self.failures.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGIVEN_AFTER);
            if self.failures.len() >= self.most {
                self.failures.clear();
            }
        }
        let fresh = Failures { count: 0, last: now, until: now, proof: None };
        let failures = self.failures.entry(key).or_insert(fresh);
        if now.saturating_duration_since(failures.last) >= FORGIVEN_AFTER {
            *failures = fresh;
        }
        if failures.proof.replace(proof) == Some(proof) {
            return;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if let Some(beyond) = failures.count.checked_sub(self.free + 1) {
            let wait = Duration::from_secs(1).saturating_mul(1 << beyond.min(16)).min(self.longest);
            failures.until = now + wait;
        }
    }

    pub(crate) fn succeeded(&mut self, user: &str, address: IpAddr) {
        self.failures.remove(&(user.to_owned(), source(address)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_source_that_is_too_fast_is_slowed_down_and_others_are_not() {
        let now = Instant::now();
        let mut rate = Rate::new(10, 20, 100);
        let admitted = (0..100).filter(|_| rate.admits(ONE, now)).count();
        assert_eq!(admitted, 20);
        assert!(rate.admits(TWO, now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| rate.admits(ONE, later)).count(), 10);
    }

    #[test]
    fn work_counts_as_so_many_requests() {
        let now = Instant::now();
        let mut rate = Rate::new(10, 20, 100);
        assert!(rate.admits_as(ONE, now, 15));
        assert!(!rate.admits_as(ONE, now, 6) && rate.admits_as(ONE, now, 5));
        assert!(rate.admits_as(TWO, now, 1_000), "more than there is at once takes all there is");
        assert!(!rate.admits(TWO, now));
    }

    #[test]
    fn remembered_sources_are_bounded() {
        let now = Instant::now();
        let mut rate = Rate::new(10, 20, 50);
        for last in 0..=255 {
            rate.admits(IpAddr::from([192, 0, 2, last]), now);
        }
        assert_eq!(rate.buckets.len(), 50);
        assert!(rate.admits(IpAddr::from([198, 51, 100, 1]), now + Duration::from_secs(10)));
    }

    #[test]
    fn guessing_gets_slow_but_never_for_long_and_only_where_it_happens() {
        let mut now = Instant::now();
        let longest = Duration::from_secs(30);
        let mut guesses = Guesses::new(3, longest, 100);
        for proof in ["1", "2", "3"] {
            guesses.failed("alice", ONE, proof, now);
            guesses.failed("alice", ONE, proof, now);
            assert_eq!(guesses.wait("alice", ONE, now), None);
        }
        guesses.failed("alice", ONE, "4", now);
        assert_eq!(guesses.wait("alice", ONE, now), Some(Duration::from_secs(1)));
        for number in 0..40 {
            now += longest;
            guesses.failed("alice", ONE, &format!("again {number}"), now);
            assert!(guesses.wait("alice", ONE, now).unwrap() <= longest);
        }
        assert_eq!(guesses.wait("alice", TWO, now), None);
        assert_eq!(guesses.wait("bob", ONE, now), None);
        now += longest;
        assert_eq!(guesses.wait("alice", ONE, now), None);
        guesses.succeeded("alice", ONE);
        guesses.failed("alice", ONE, "5", now);
        assert_eq!(guesses.wait("alice", ONE, now), None);
    }
}
