//! Why a document was refused, and what was forgiven in one that was not.

use core::fmt;

/// Why a document was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Longer, deeper or with more elements than [`Limits`](crate::Limits) allows.
    #[error("the document exceeds the limit of {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A document type declaration or an entity of its own, which no SIP document needs (RFC 3863, section 4.2.4 has
    /// schemas instead) and attackers love.
    #[error("document type declarations and entities are refused")]
    Entities,
    /// Not well-formed at this place.
    #[error("not well-formed at byte {offset}: {what}")]
    Malformed {
        /// Where, in bytes from the start.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Well-formed, but another kind of document.
    #[error("the root element is `{root}`, not {expected}")]
    WrongRoot {
        /// Name of the root element.
        root: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Nothing but blanks.
    #[error("the document is empty")]
    Empty,
}

/// A document, and what was forgiven to read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parsed<T> {
    /// The document.
    pub document: T,
    /// What was forgiven, at most sixteen findings, in order of place.
    pub forgiven: Vec<Forgiven>,
}

/// One thing that was forgiven.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Forgiven {
    /// Where, in bytes from the start.
    pub offset: u64,
    /// What.
    pub finding: Finding,
}

impl fmt::Display for Forgiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.finding, self.offset)
    }
}

/// What is not as it should be, and what was made of it.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// Not UTF-8; taken as ISO 8859-1.
    #[error("not UTF-8, read as ISO 8859-1")]
    Encoding,
    /// An element without a namespace, or with an unbound prefix; taken as the document's own.
    #[error("an element without its namespace")]
    Namespace,
    /// A namespace of a draft that came before the RFC.
    #[error("a namespace from before the RFC")]
    DraftNamespace,
    /// An entity that XML does not define; dropped.
    #[error("an undefined entity")]
    Entity,
    /// A date that cannot be read; treated as absent.
    #[error("a date that cannot be read")]
    Date,
    /// A value outside its vocabulary or range; treated as absent.
    #[error("a value outside its range")]
    Value,
    /// A text that was too long; cut.
    #[error("a text that is too long")]
    LongText,
    /// A list that was too long; the rest was skipped.
    #[error("a list that is too long")]
    LongList,
    /// `entity` or `id` is missing.
    #[error("a required attribute is missing")]
    Attribute,
    /// A known element at a place where the schema does not have it.
    #[error("an element at a place where it does not belong")]
    Place,
}
