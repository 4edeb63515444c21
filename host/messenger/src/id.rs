//! Handles of domain objects.
//!
//! A handle is 64 bits: it costs a plugin nothing, and a record of 64 of them one allocation. The upper 48 bits are
//! the millisecond of creation and the lower 16 a counter that starts at random, so handles of one account
//! sort by age and do not collide when the account moves to another process: only one process owns an
//! account at a time, and `(account, handle)` is unique everywhere.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

macro_rules! handle {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

handle! {
    /// One account: the first 64 bits of the SHA-256 of its canonical address, so the same everywhere.
    AccountId;
    /// One entry of a contact list.
    ContactId;
    /// One group of a contact list.
    GroupId;
    /// One conversation.
    ConversationId;
    /// One instant message.
    MessageId;
    /// One command under way.
    RequestId;
    /// One conflict between two edits of the contact list.
    ConflictId;
    /// One call.
    CallId;
    /// One file on its way.
    FileId;
    /// One lease on the presence of somebody who need not be a contact.
    LeaseId;
}

/// Issues handles for one account.
#[derive(Clone, Debug)]
pub struct IdSource {
    last: u64,
    salt: u16,
}

impl IdSource {
    /// `salt` is random; it keeps two processes that follow each other within a millisecond apart.
    #[must_use]
    pub fn new(salt: u16) -> Self {
        Self { last: 0, salt }
    }

    /// Leaves out everything up to `used`: handles that were issued before a restart, when the clock stepped back since.
    pub fn skip_past(&mut self, used: u64) {
        self.last = self.last.max(used);
    }

    /// The next handle: later than every one before, also when the clock steps back.
    pub fn next(&mut self, now: Timestamp) -> u64 {
        let fresh = (now.as_millis() << 16) | u64::from(self.salt);
        self.last = fresh.max(self.last + 1);
        self.last
    }
}
