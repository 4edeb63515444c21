//! The octets of one message, which may come in any order (RFC 4975, section 7.3.1).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::{Bytes, BytesMut};

/// What has come of a message that is kept until all of it is there. No octet must be added twice.
#[derive(Default)]
pub(super) struct Fragments {
    /// By where they begin.
    all: BTreeMap<u64, BytesMut>,
    octets: usize,
}

impl Fragments {
    /// How many octets there are.
    pub(super) const fn octets(&self) -> usize {
        self.octets
    }

    /// Adds octets to the fragment that ends where they begin, or begins another.
    ///
    /// A fragment takes the one behind it only when that is at most twice as long. So each octet is moved a few times, and few
    /// fragments stand side by side, whatever the order that chunks come in: who puts single octets before a long fragment does
    /// not have all of that moved each time.
    pub(super) fn add(&mut self, from: u64, part: &[u8]) {
        self.octets += part.len();
        let start = match self.all.range_mut(..=from).next_back() {
            Some((start, fragment)) if *start + fragment.len() as u64 == from => {
                fragment.extend_from_slice(part);
                *start
            }
            _ => {
                self.all.insert(from, BytesMut::from(part));
                from
            }
        };
        while let Some(length) = self.all.get(&start).map(BytesMut::len)
            && let Entry::Occupied(next) = self.all.entry(start + length as u64)
            && next.get().len() <= length.saturating_mul(2)
        {
            let next = next.remove();
            if let Some(fragment) = self.all.get_mut(&start) {
                fragment.extend_from_slice(&next);
            }
        }
    }

    /// The whole message, of which nothing must be missing.
    pub(super) fn joined(self) -> Bytes {
        let mut fragments = self.all.into_values();
        let mut body = fragments.next().unwrap_or_default();
        body.reserve(self.octets.saturating_sub(body.len()));
        for fragment in fragments {
            body.extend_from_slice(&fragment);
        }
        body.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn octets_that_come_backwards_are_moved_a_few_times_and_stand_in_few_fragments() {
        let body: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
        let mut fragments = Fragments::default();
        fragments.add(10_000, &body[10_000..]);
        for at in (0..10_000).rev() {
            fragments.add(at as u64, &body[at..=at]);
            assert!(fragments.all.len() <= 15, "{} fragments", fragments.all.len());
            let moved = !fragments.all.contains_key(&10_000);
            assert!(!moved || at <= 5_000, "the long fragment was moved for {} octets", 10_000 - at);
        }
        assert_eq!(fragments.octets(), body.len());
        assert_eq!(fragments.joined(), body);
    }

    proptest! {
        #[test]
        fn a_body_is_whole_in_whatever_order_it_came(
            cuts in prop::collection::btree_set(1_usize..500, 0..60), seed in any::<u64>()
        ) {
            let body: Vec<u8> = (0..500_u32).map(|n| n as u8).collect();
            let ends = cuts.into_iter().chain([500]);
            let mut parts: Vec<_> =
                ends.scan(0, |from, end| Some((std::mem::replace(from, end), end))).collect();
            parts.sort_by_key(|(from, _)| seed.wrapping_mul(*from as u64 * 2 + 1));
            let mut fragments = Fragments::default();
            for (from, end) in parts {
                fragments.add(from as u64, &body[from..end]);
            }
            prop_assert_eq!(fragments.joined(), body);
        }
    }
}
