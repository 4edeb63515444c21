//! Which octets of a message are there.

use smallvec::SmallVec;

/// Ranges of octets, half open, without overlap, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ranges(SmallVec<[(u64, u64); 2]>);

impl Ranges {
    /// Adds a range, and gives those parts of it that were not there before.
    pub(crate) fn add(&mut self, start: u64, end: u64) -> SmallVec<[(u64, u64); 2]> {
        let mut fresh = SmallVec::new();
        if start >= end {
            return fresh;
        }
        // The first that touches the new one, and the first behind it that does not.
        let first = self.0.partition_point(|(_, until)| *until < start);
        let behind = self.0.partition_point(|(from, _)| *from <= end);
        let (mut low, mut high, mut at) = (start, end, start);
        for &(from, until) in &self.0[first..behind.max(first)] {
            if from > at {
                fresh.push((at, from.min(end)));
            }
            at = at.max(until);
            low = low.min(from);
            high = high.max(until);
        }
        if at < end {
            fresh.push((at, end));
        }
        if behind > first {
            self.0[first] = (low, high);
            self.0.drain(first + 1..behind);
        } else {
            self.0.insert(first, (low, high));
        }
        fresh
    }

    /// Whether all octets up to this one are there.
    pub(crate) fn is_full(&self, total: u64) -> bool {
        total == 0 || self.0.first().is_some_and(|(from, until)| *from == 0 && *until >= total)
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(0, |(_, until)| *until)
    }

    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_octet_is_new_once(parts in prop::collection::vec((0_u64..60, 0_u64..20), 0..40)) {
            let mut ranges = Ranges::default();
            let mut there = [false; 100];
            for (start, length) in parts {
                let mut seen = [false; 100];
                for (from, until) in ranges.add(start, start + length) {
                    prop_assert!(from < until);
                    for octet in from..until {
                        let octet = usize::try_from(octet).unwrap();
                        prop_assert!(!there[octet] && !seen[octet]);
                        seen[octet] = true;
                    }
                }
                for octet in start..start + length {
                    let octet = usize::try_from(octet).unwrap();
                    prop_assert!(there[octet] || seen[octet]);
                    there[octet] = true;
                }
                for (is_there, is_new) in there.iter().zip(seen) {
                    prop_assert!(*is_there || !is_new);
                }
                for pair in ranges.0.windows(2) {
                    prop_assert!(pair[0].1 < pair[1].0);
                }
                let full = there.iter().position(|is| !is).unwrap_or(100) as u64;
                prop_assert!(ranges.is_full(full) && !ranges.is_full(full + 1));
            }
        }
    }
}
