//! Which counts of a nonce were used (RFC 7616, section 3.4: `nc`), so that nobody can send what they overheard again.

use std::collections::BTreeMap;
use std::time::Duration;

/// Nonces remembered for one account. When there are more, the eldest is given up, and it and all elder ones are good no
/// more: their clients are challenged anew.
const MOST: usize = 1024;
/// How far behind the highest count another one may come: requests that were sent at the same time overtake each other.
const WINDOW: u32 = 64;

/// A nonce of ours, by when it was made; among those of one moment, by its entropy.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Nonce {
    pub(crate) made: Duration,
    pub(crate) entropy: u64,
}

/// What one account has used.
#[derive(Default)]
pub(crate) struct Replays {
    nonces: BTreeMap<Nonce, Window>,
    /// This nonce and all before it are good no more.
    given_up: Option<Nonce>,
}

/// The highest count of a nonce, and the 64 up to it: bit 0 is the highest.
#[derive(Copy, Clone, Default)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Replays {
    /// Whether a count is used for the first time; from then on it is used. To be asked only with credentials that are
    /// right, and whose nonce is not older than `max_age`.
    pub(crate) fn is_fresh(&mut self, nonce: Nonce, count: u32, max_age: Duration) -> bool {
        if self.given_up.is_some_and(|last| nonce <= last) {
            return false;
        }
        let is_new = !self.nonces.contains_key(&nonce);
        if !self.nonces.entry(nonce).or_default().take(count) {
            return false;
        }
        if is_new {
            self.tidy(nonce.made, max_age);
        }
        true
    }

    fn tidy(&mut self, made: Duration, max_age: Duration) {
        while let Some((eldest, _)) = self.nonces.first_key_value() {
            // A nonce that was made so much earlier is too old now, whatever the time is.
            let is_old = eldest.made + max_age < made;
            if !is_old && self.nonces.len() <= MOST {
                return;
            }
            self.given_up = self.nonces.pop_first().map(|(eldest, _)| eldest).max(self.given_up);
        }
    }
}

impl Window {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= WINDOW || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(300);

    fn nonce(made: u64) -> Nonce {
        Nonce { made: Duration::from_millis(made), entropy: 7 }
    }

    #[test]
    fn a_count_is_good_once() {
        let mut replays = Replays::default();
        assert!(replays.is_fresh(nonce(1), 1, AGE));
        assert!(!replays.is_fresh(nonce(1), 1, AGE));
        assert!(replays.is_fresh(nonce(1), 2, AGE));
        assert!(replays.is_fresh(nonce(2), 1, AGE));
    }

    #[test]
    fn requests_that_overtook_each_other_are_all_good_once() {
        let mut replays = Replays::default();
        for count in [70, 7, 69, 20] {
            assert!(replays.is_fresh(nonce(1), count, AGE), "{count}");
            assert!(!replays.is_fresh(nonce(1), count, AGE), "{count}");
        }
        assert!(!replays.is_fresh(nonce(1), 6, AGE), "behind the window nothing is known");
        assert!(replays.is_fresh(nonce(1), u32::MAX, AGE));
        assert!(!replays.is_fresh(nonce(1), 71, AGE));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_forgotten_is_not_good_again() {
        let mut replays = Replays::default();
        for made in 0..5_000 {
            assert!(replays.is_fresh(nonce(made), 1, AGE));
        }
        assert_eq!(replays.nonces.len(), MOST);
        for made in 0..5_000 {
            assert!(!replays.is_fresh(nonce(made), 1, AGE));
        }
        assert!(replays.is_fresh(nonce(1_000_000), 1, AGE));
        assert_eq!(replays.nonces.len(), 1);
    }
}
