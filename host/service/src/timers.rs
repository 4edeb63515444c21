//! What has to happen later.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Deadlines by key, earliest first. A key has at most one; moving it forward costs nothing until the old one comes up.
pub(crate) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    keys: HashMap<u64, K>,
    /// The deadline that holds, and the entry of the heap that will look at it.
    due: HashMap<K, (Instant, u64, Instant)>,
    next: u64,
}

impl<K: Clone + Eq + Hash> Timers<K> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), keys: HashMap::new(), due: HashMap::new(), next: 0 }
    }

    /// Sets when a key is due, in place of what was set before.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        if let Some((due, _, looked_at)) = self.due.get_mut(&key)
            && *looked_at <= at
        {
            *due = at;
            return;
        }
        self.push(key, at);
    }

    pub(crate) fn clear(&mut self, key: &K) {
        if let Some((_, entry, _)) = self.due.remove(key) {
            self.keys.remove(&entry);
        }
    }

    /// When [`pop`](Self::pop) should be called: never later than the first key is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next key that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        while let Some(Reverse((at, entry))) = self.heap.peek().copied() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let Some(key) = self.keys.remove(&entry) else { continue };
            let due = self.due.remove(&key).map_or(now, |(due, _, _)| due);
            if due <= now {
                return Some(key);
            }
            self.push(key, due);
        }
        None
    }

    fn push(&mut self, key: K, at: Instant) {
        self.clear(&key);
        let entry = self.next;
        self.next += 1;
        self.heap.push(Reverse((at, entry)));
        self.keys.insert(entry, key.clone());
        self.due.insert(key, (at, entry, at));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn keys_come_when_they_are_due_and_once() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.set("b", seconds(start, 2));
        timers.set("a", seconds(start, 1));
        assert_eq!(timers.pop(start), None);
        assert_eq!(timers.pop(seconds(start, 2)), Some("a"));
        assert_eq!(timers.pop(seconds(start, 2)), Some("b"));
        assert_eq!(timers.pop(seconds(start, 9)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_last_deadline_holds_whether_later_or_earlier() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.set("later", seconds(start, 1));
        timers.set("later", seconds(start, 5));
        timers.set("earlier", seconds(start, 9));
        timers.set("earlier", seconds(start, 3));
        assert_eq!(timers.pop(seconds(start, 2)), None);
        assert_eq!(timers.pop(seconds(start, 3)), Some("earlier"));
        assert_eq!(timers.pop(seconds(start, 4)), None);
        assert_eq!(timers.pop(seconds(start, 5)), Some("later"));
        assert_eq!(timers.pop(seconds(start, 20)), None);
    }

    #[test]
    fn a_cleared_key_does_not_come() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.set("a", seconds(start, 1));
        timers.clear(&"a");
        assert_eq!(timers.pop(seconds(start, 2)), None);
    }

    #[test]
    fn refreshing_a_key_for_ever_costs_one_entry() {
        let start = Instant::now();
        let mut timers = Timers::new();
        for at in 0..10_000 {
            timers.set("a", seconds(start, 60 + at));
        }
        assert_eq!(timers.heap.len(), 1);
    }
}
