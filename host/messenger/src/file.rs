//! Files that people send each other.
//!
//! The engine offers, accepts and watches over them (RFC 5547), and carries their octets in sessions (RFC 4975); whoever runs it
//! reads and writes the files themselves, piece by piece, so that a file of any size costs little memory.

use core::fmt;
use std::sync::Arc;

pub use attache_msrp::sdp::{FileHash, HashAlgorithm};
use bytes::Bytes;

use crate::{
    address::Address,
    error::Error,
    id::{ContactId, ConversationId, FileId},
    time::Timestamp,
};

/// Longest name of a file, in bytes.
pub const MAX_NAME: usize = 255;

/// One file on its way, as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileTransfer {
    /// Handle.
    pub id: FileId,
    /// The conversation that it belongs to.
    pub conversation: ConversationId,
    /// The other side.
    pub peer: Address,
    /// The other side on the contact list, if there.
    pub contact: Option<ContactId>,
    /// Whether the other side sends it.
    pub incoming: bool,
    /// Its name, without folders. A stranger may have chosen it: take care where it is written.
    pub name: Arc<str>,
    /// Its media type, as its sender says.
    pub media_type: Arc<str>,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash, where its sender told it. What arrives is checked against it.
    pub hash: Option<FileHash>,
    /// Bytes that have arrived on the far side, as far as is known.
    pub done: u64,
    /// Where it stands.
    pub state: FileState,
    /// When it was offered.
    pub offered_at: Timestamp,
    /// When it was there, or came to nothing.
    pub ended_at: Option<Timestamp>,
}

impl FileTransfer {
    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, FileState::Done | FileState::Ended(_))
    }
}

/// Where a file stands. Never goes back.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FileState {
    /// The other side was asked, or asks.
    Offered,
    /// It is on its way.
    Transferring,
    /// All of it is there.
    Done,
    /// It will not be there.
    Ended(Error),
}

impl FileState {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Transferring => "transferring",
            Self::Done => "done",
            Self::Ended(_) => "ended",
        }
    }
}

/// What the engine wants of whoever reads and writes the files.
#[derive(Clone, Eq, PartialEq)]
pub enum FileRequest {
    /// Read so many bytes there, at least one, and give them with [`FileInput::Read`].
    Read {
        /// Of which file.
        file: FileId,
        /// From where.
        offset: u64,
        /// At most so many.
        length: usize,
    },
    /// Write these bytes there, and say [`FileInput::Written`].
    Write {
        /// To which file.
        file: FileId,
        /// Where.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Nothing more is read or written.
    Close {
        /// Which file.
        file: FileId,
        /// Whether all of it was carried: what was received is whole only then. A snapshot may say so later, because
        /// the event that tells of it may wait for storage.
        complete: bool,
    },
}

// What is in the files is not for logs.
impl fmt::Debug for FileRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, offset, length } => write!(f, "Read({file}, {length} bytes at {offset})"),
            Self::Write { file, offset, bytes } => {
                write!(f, "Write({file}, {} bytes at {offset})", bytes.len())
            }
            Self::Close { file, complete } => write!(f, "Close({file}, complete: {complete})"),
        }
    }
}

/// What whoever reads and writes the files has to tell.
#[derive(Clone, Eq, PartialEq)]
pub enum FileInput {
    /// What stands there.
    Read {
        /// In which file.
        file: FileId,
        /// Where.
        offset: u64,
        /// At least one byte, and no more than were wanted.
        bytes: Bytes,
    },
    /// So many bytes of what was to be written are.
    Written {
        /// To which file.
        file: FileId,
        /// How many.
        bytes: usize,
    },
    /// It cannot be read or written.
    Failed {
        /// Which file.
        file: FileId,
        /// Why, in words for a person.
        reason: String,
    },
}

impl fmt::Debug for FileInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, offset, bytes } => {
                write!(f, "Read({file}, {} bytes at {offset})", bytes.len())
            }
            Self::Written { file, bytes } => write!(f, "Written({file}, {bytes} bytes)"),
            Self::Failed { file, reason } => write!(f, "Failed({file}, {reason})"),
        }
    }
}

/// A name without folders, and without what a file system or a person could misread. Empty when nothing is left.
#[must_use]
pub fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control() && !is_confusing(*c)).collect();
    let clean = clean.trim().trim_start_matches('.');
    clean[..clean.floor_char_boundary(MAX_NAME)].to_owned()
}

/// Marks that turn the direction of writing make `exe.txt` of `txt.exe`.
const fn is_confusing(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_leads_into_no_folder() {
        for (given, clean) in [
            ("plan.pdf", "plan.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Windows\\evil.exe", "evil.exe"),
            ("..", ""),
            (".profile", "profile"),
            ("a\u{202e}fdp.exe", "afdp.exe"),
            ("two\nlines", "twolines"),
        ] {
            assert_eq!(clean_name(given), clean, "{given:?}");
        }
        assert_eq!(clean_name(&"ä".repeat(400)).len(), 254);
    }
}
