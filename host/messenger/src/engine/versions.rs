//! Documents that come in parts, each with a number: what to do with one.
//!
//! Watcher information, lists of resources, dialog information and conferences number their documents alike (RFC 3858,
//! section 4.1; RFC 4662, section 5.2; RFC 4235, section 4.1; RFC 4575, section 5.2): whole documents stand for themselves, parts
//! only mean something after the one before. A part that is missing is never guessed: the state is asked for again.

/// What to do with a document.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// It replaces all that is known.
    Whole,
    /// It changes what is known.
    Next,
    /// It says nothing new, or nothing of use: what was asked for is still to come.
    Old,
    /// Something before it is missing: the whole is to be asked for, once.
    Gap,
}

/// The numbers of one source.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    last: Option<u64>,
    /// The whole has been asked for; parts mean nothing until it comes.
    asked: bool,
    /// What was whole before is so still: the next part follows it, whatever its number.
    resumed: bool,
}

impl Versions {
    /// Takes the number of a document, and whether it is a whole one.
    ///
    /// A whole one is always right: the notifier may have begun to count anew, and the order of notifications within a
    /// dialog is seen to below (RFC 3261, section 12.2.2).
    pub(super) fn take(&mut self, version: u64, whole: bool) -> Arrival {
        if whole {
            *self = Self { last: Some(version), ..Self::default() };
            return Arrival::Whole;
        }
        if core::mem::take(&mut self.resumed) {
            self.last = Some(version);
            return Arrival::Next;
        }
        match self.last {
            _ if self.asked => Arrival::Old,
            Some(last) if version <= last => Arrival::Old,
            Some(last) if version == last + 1 => {
                self.last = Some(version);
                Arrival::Next
            }
            _ => {
                self.asked = true;
                Arrival::Gap
            }
        }
    }

    /// Another dialog begins: what comes first is whole.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Another dialog begins, and the service says that what is known is the present state (RFC 5839).
    pub(super) fn resume(&mut self) {
        *self = Self { resumed: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival::*, *};

    fn run(documents: &[(u64, bool)]) -> Vec<Arrival> {
        let mut versions = Versions::default();
        documents.iter().map(|(version, whole)| versions.take(*version, *whole)).collect()
    }

    #[test]
    fn parts_in_order_are_applied() {
        assert_eq!(run(&[(0, true), (1, false), (2, false)]), [Whole, Next, Next]);
    }

    #[test]
    fn a_missing_part_is_asked_for_once_and_nothing_counts_until_the_whole_comes() {
        let arrivals = run(&[(4, true), (6, false), (7, false), (8, true), (9, false)]);
        assert_eq!(arrivals, [Whole, Gap, Old, Whole, Next]);
    }

    #[test]
    fn a_part_before_the_whole_state_is_a_gap() {
        assert_eq!(run(&[(1, false)]), [Gap]);
    }

    #[test]
    fn a_repeated_part_changes_nothing() {
        let arrivals = run(&[(1, true), (2, false), (2, false), (1, false), (3, false)]);
        assert_eq!(arrivals, [Whole, Next, Old, Old, Next]);
    }

    #[test]
    fn a_notifier_that_counts_anew_is_believed_when_it_tells_everything() {
        assert_eq!(run(&[(900, true), (0, true), (1, false)]), [Whole, Whole, Next]);
    }

    #[test]
    fn what_is_resumed_goes_on_with_any_number() {
        let mut versions = Versions::default();
        versions.take(7, true);
        versions.resume();
        assert_eq!([0, 1, 3].map(|version| versions.take(version, false)), [Next, Next, Gap]);
    }
}
