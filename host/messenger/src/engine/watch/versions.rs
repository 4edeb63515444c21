//! Numbers of documents that tell changes only.
//!
//! A list (RFC 4662), watcher information (RFC 3858), dialog information (RFC 4235) and a conference (RFC 4575) are told
//! whole once, and in parts after that. The parts are numbered. What arrives in order is applied; when one is
//! missing, what it said is unknown, and nothing but a new beginning helps.

/// What to do with a document.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Step {
    /// It is whole: it takes the place of everything before.
    Whole,
    /// It is the next part.
    Part,
    /// It was there before, or is older than what was there.
    Repeated,
    /// Something is missing before it: the whole state must be asked for. Nothing of it may be applied.
    Gap,
}

/// The numbers of one sequence of documents.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::engine) struct Versions {
    last: Option<u32>,
    /// What was whole before is so still: the next part follows it, whatever its number.
    resumed: bool,
}

impl Versions {
    /// Takes the number of a document, and says what to do with it.
    ///
    /// A whole one is always right: the notifier may have begun to count anew, and the order of notifications within a
    /// dialog is seen to below (RFC 3261, section 12.2.2).
    pub(in crate::engine) fn take(&mut self, version: u32, whole: bool) -> Step {
        let resumed = core::mem::take(&mut self.resumed);
        if whole {
            self.last = Some(version);
            return Step::Whole;
        }
        if resumed {
            self.last = Some(version);
            return Step::Part;
        }
        match self.last {
            Some(last) if version <= last => Step::Repeated,
            Some(last) if version - 1 == last => {
                self.last = Some(version);
                Step::Part
            }
            // Parts that follow are missing the same: until the whole state comes, each of them is a gap.
            _ => {
                self.last = None;
                Step::Gap
            }
        }
    }

    /// Another dialog begins: what comes first is whole.
    pub(in crate::engine) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Another dialog begins, and the service says that what is known is the present state (RFC 5839).
    pub(in crate::engine) fn resume(&mut self) {
        *self = Self { last: None, resumed: true };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(documents: &[(u32, bool)]) -> Vec<Step> {
        let mut versions = Versions::default();
        documents.iter().map(|(version, whole)| versions.take(*version, *whole)).collect()
    }

    #[test]
    fn parts_in_order_are_applied() {
        assert_eq!(run(&[(0, true), (1, false), (2, false)]), [Step::Whole, Step::Part, Step::Part]);
    }

    #[test]
    fn a_missing_part_is_a_gap_until_the_whole_state_comes() {
        let steps = run(&[(4, true), (6, false), (7, false), (8, true), (9, false)]);
        assert_eq!(steps, [Step::Whole, Step::Gap, Step::Gap, Step::Whole, Step::Part]);
    }

    #[test]
    fn a_part_before_the_whole_state_is_a_gap() {
        assert_eq!(run(&[(1, false)]), [Step::Gap]);
    }

    #[test]
    fn a_repeated_part_changes_nothing() {
        let steps = run(&[(1, true), (2, false), (2, false), (1, false), (3, false)]);
        assert_eq!(steps, [Step::Whole, Step::Part, Step::Repeated, Step::Repeated, Step::Part]);
    }

    #[test]
    fn a_notifier_that_counts_anew_is_believed_when_it_tells_everything() {
        assert_eq!(run(&[(900, true), (0, true), (1, false)]), [Step::Whole, Step::Whole, Step::Part]);
    }

    #[test]
    fn what_is_resumed_goes_on_with_any_number() {
        let mut versions = Versions::default();
        versions.take(7, true);
        versions.resume();
        assert_eq!(
            [0, 1, 3].map(|version| versions.take(version, false)),
            [Step::Part, Step::Part, Step::Gap]
        );
    }

    #[test]
    fn the_last_number_of_all_is_followed_by_no_part() {
        assert_eq!(run(&[(u32::MAX, true), (0, false)]), [Step::Whole, Step::Repeated]);
    }
}
