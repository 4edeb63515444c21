//! Deadlines of many owners in one heap.
//!
//! An owner has one deadline and keeps it itself; the heap holds hints. Moving a deadline pushes a second hint, and a hint
//! that its owner no longer confirms is thrown away when it comes up. So arming costs O(log n), cancelling nothing, and
//! no timer is an allocation of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Hints at deadlines, earliest first.
#[derive(Debug)]
pub(crate) struct TimerQueue<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Copy + Ord> TimerQueue<K> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new() }
    }

    /// Notes that `key` has its deadline at `at`.
    pub(crate) fn arm(&mut self, at: Instant, key: K) {
        self.heap.push(Reverse((at, key)));
    }

    /// Takes one owner whose deadline has passed. The caller moves or clears that deadline before it asks again.
    pub(crate) fn pop_due(
        &mut self,
        now: Instant,
        mut deadline_of: impl FnMut(K) -> Option<Instant>,
    ) -> Option<K> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            if deadline_of(key) == Some(at) {
                return Some(key);
            }
        }
        None
    }

    /// The earliest deadline that its owner still confirms.
    pub(crate) fn next(&mut self, mut deadline_of: impl FnMut(K) -> Option<Instant>) -> Option<Instant> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if deadline_of(key) == Some(at) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_at_its_new_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut owners = BTreeMap::from([(1, at(5))]);
        let mut queue = TimerQueue::new();
        queue.arm(at(1), 1);
        queue.arm(at(5), 1);

        assert_eq!(queue.pop_due(at(2), |key| owners.get(&key).copied()), None);
        assert_eq!(queue.next(|key| owners.get(&key).copied()), Some(at(5)));
        assert_eq!(queue.pop_due(at(5), |key| owners.get(&key).copied()), Some(1));
        owners.remove(&1);
        assert_eq!(queue.next(|key| owners.get(&key).copied()), None);
    }
}
