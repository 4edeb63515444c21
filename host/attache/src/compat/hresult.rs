//! Results as numbers, and failures that say why.

use core::fmt;

use super::codes::{CODES, E_ACCESSDENIED, E_FAIL, E_INVALIDARG, S_OK};
use crate::{Code, Error};

/// A result of a call: success where the highest bit is not set.
#[derive(Copy, Clone, Eq, Hash, PartialEq)]
pub struct HRESULT(pub u32);

impl HRESULT {
    /// Whether it says that something worked. There are several successes.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 & 0x8000_0000 == 0
    }

    /// The name in the headers, or that of a code of this crate; `None` for a number that is neither.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let known = CODES.iter().find(|(number, ..)| *number == self.0).map(|(_, name, _)| *name);
        known.or_else(|| Code::from_number(self.0).map(Code::name))
    }

    /// What it means, in a few words; empty for a number that nobody knows.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        let known = CODES.iter().find(|(number, ..)| *number == self.0).map(|(.., meaning)| *meaning);
        known.or_else(|| Code::from_number(self.0).map(Code::meaning)).unwrap_or_default()
    }
}

impl From<Code> for HRESULT {
    /// Codes that the 2007 API had keep their numbers. Of those that it had not, what it said with a code of the system keeps
    /// that; all others have numbers of their own, so that no two causes look the same.
    fn from(code: Code) -> Self {
        match code {
            Code::InvalidArgument => E_INVALIDARG,
            Code::Denied => E_ACCESSDENIED,
            Code::Internal => E_FAIL,
            code => Self(code.number()),
        }
    }
}

impl From<&Error> for HRESULT {
    fn from(error: &Error) -> Self {
        error.code().into()
    }
}

impl From<core::result::Result<(), &Error>> for HRESULT {
    fn from(outcome: core::result::Result<(), &Error>) -> Self {
        outcome.map_or_else(Self::from, |()| S_OK)
    }
}

impl fmt::Debug for HRESULT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#010x})", self.0),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

impl fmt::Display for HRESULT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A call that failed: the number, and the sentence that the number could not say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    hresult: HRESULT,
    why: Error,
}

impl Failure {
    pub(super) fn new(hresult: HRESULT, why: Error) -> Self {
        Self { hresult, why }
    }

    /// An argument that cannot be.
    pub(super) fn argument(why: &str) -> Self {
        Self::from(Error::new(Code::InvalidArgument, why))
    }

    /// The number.
    #[must_use]
    pub fn hresult(&self) -> HRESULT {
        self.hresult
    }

    /// The cause, with a sentence and a hint.
    #[must_use]
    pub fn why(&self) -> &Error {
        &self.why
    }
}

impl From<Error> for Failure {
    fn from(why: Error) -> Self {
        Self { hresult: HRESULT::from(&why), why }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.why.message(), self.hresult)
    }
}

impl std::error::Error for Failure {}

/// What methods answer.
pub type Result<T> = core::result::Result<T, Failure>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::compat::*;

    /// seed: codes.*
    /// pain: 13
    #[test]
    fn numbers_and_names_of_codes_are_the_published_ones_and_no_two_are_the_same() {
        let table = include_str!("../../../../tests/seed-api/codes.tsv");
        let (mut checked, mut numbers) = (0, BTreeSet::new());
        for row in table.lines().skip(1) {
            let cells: Vec<&str> = row.split('\t').collect();
            let number = u32::from_str_radix(cells[1].trim_start_matches("0x"), 16).expect("a number");
            let code = HRESULT(number);
            assert_eq!(code.name(), Some(cells[0]));
            assert!(!code.meaning().is_empty(), "{code}");
            assert!(numbers.insert(number), "{code} is there twice");
            if cells[2] == "yes" {
                let modern = Code::from_number(number).expect("published codes are codes of the modern API");
                assert_eq!((modern.name(), HRESULT::from(modern)), (cells[0], code));
                assert_eq!(modern.is_success(), code.is_ok());
            }
            checked += 1;
        }
        assert_eq!(checked, 161);
    }

    #[test]
    fn a_failure_says_its_number_and_why() {
        let failure = Failure::from(Error::new(Code::NotLoggedOn, "alice is signed out"));
        assert_eq!(failure.hresult(), MSGR_E_NOT_LOGGED_ON);
        assert_eq!(failure.to_string(), "alice is signed out [MSGR_E_NOT_LOGGED_ON (0x8100031e)]");
        assert_eq!(Failure::argument("no").hresult(), E_INVALIDARG);
    }
}
