//! Bounds that hold before anything is allocated.

/// What a document may cost. The defaults suit what travels in one SIP message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Longest document, in bytes. Default 256 KiB.
    pub bytes: usize,
    /// Deepest nesting of elements. Default 24.
    pub depth: usize,
    /// Most elements in the document. Default 8,192.
    pub elements: usize,
    /// Most entries of one list: tuples, notes, activities. Later ones are skipped. Default 256.
    pub entries: usize,
    /// Longest text or attribute value that is kept, in bytes of UTF-8. Longer ones are cut. Default 4,096.
    pub text: usize,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self =
        Self { bytes: 256 * 1024, depth: 24, elements: 8_192, entries: 256, text: 4_096 };

    /// For documents that are kept on a service (RFC 4825): a contact list may have tens of thousands of entries.
    pub const STORED: Self =
        Self { bytes: 4 * 1024 * 1024, depth: 24, elements: 131_072, entries: 65_536, text: 16_384 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
