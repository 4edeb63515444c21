//! Documents that come in parts, each with a number: what to do with one.
//!
//! Watcher information, lists of resources and dialog information number their documents alike (RFC 3858, section 4.1;
//! RFC 4662, section 5.2; RFC 4235, section 4.1): whole documents stand for themselves, parts only mean something after the one
//! before. A part that is missing is never guessed: the state is asked for again.

/// What to do with a document.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// It replaces all that is known.
    Whole,
    /// It changes what is known.
    Next,
    /// It says nothing new.
    Old,
    /// Something before it is missing: the whole is to be asked for.
    Gap,
}

/// The numbers of one source.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    last: Option<u64>,
    /// The whole has been asked for; parts mean nothing until it comes.
    asked: bool,
}

impl Versions {
    /// Takes the number of a document, and whether it is a whole one.
    pub(super) fn take(&mut self, version: u64, whole: bool) -> Arrival {
        if whole {
            // A source that began anew counts from zero again: a lower number is old only while all is in order.
            let old = self.last.is_some_and(|last| version < last) && !self.asked && version != 0;
            if old {
                return Arrival::Old;
            }
            *self = Self { last: Some(version), asked: false };
            return Arrival::Whole;
        }
        match self.last {
            Some(last) if version <= last => Arrival::Old,
            Some(last) if version == last + 1 && !self.asked => {
                self.last = Some(version);
                Arrival::Next
            }
            // Asked for once; what comes before the answer is of no use.
            _ if self.asked => Arrival::Old,
            _ => {
                self.asked = true;
                Arrival::Gap
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival::*, Versions};

    #[test]
    fn parts_follow_each_other() {
        let mut versions = Versions::default();
        let taken = [(0, true), (1, false), (2, false), (2, false), (1, false), (3, false)];
        let taken = taken.map(|(version, whole)| versions.take(version, whole));
        assert_eq!(taken, [Whole, Next, Next, Old, Old, Next]);
    }

    #[test]
    fn a_gap_asks_once_and_waits_for_the_whole() {
        let mut versions = Versions::default();
        let taken = [(0, true), (2, false), (3, false), (4, true), (5, false)];
        let taken = taken.map(|(version, whole)| versions.take(version, whole));
        assert_eq!(taken, [Whole, Gap, Old, Whole, Next]);
    }

    #[test]
    fn a_part_before_any_whole_is_a_gap() {
        let mut versions = Versions::default();
        assert_eq!([versions.take(7, false), versions.take(8, true)], [Gap, Whole]);
    }

    #[test]
    fn a_source_that_began_anew_is_believed() {
        let mut versions = Versions::default();
        let taken = [(8, true), (3, true), (0, true), (1, false)];
        let taken = taken.map(|(version, whole)| versions.take(version, whole));
        assert_eq!(taken, [Whole, Old, Whole, Next]);
    }
}
