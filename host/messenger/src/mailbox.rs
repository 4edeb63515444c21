//! What the service tells of the account itself: messages that wait in its mailbox, and the devices it is signed in with.

use std::sync::Arc;

use crate::time::Timestamp;

/// What lies in the account's mailbox, such as voice messages (RFC 3842).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessagesWaiting {
    /// Whether something waits to be heard or read.
    pub waiting: bool,
    /// Where to reach the mailbox, such as a number to call; `None` where the service does not say.
    pub account: Option<Arc<str>>,
    /// Numbers by class; at most 16, empty where the service tells no numbers.
    pub classes: Box<[WaitingClass]>,
    /// When the service said so.
    pub at: Timestamp,
}

impl MessagesWaiting {
    /// How many of a class such as `voice-message` wait to be heard or read; zero where that is not told.
    #[must_use]
    pub fn unheard(&self, class: &str) -> u32 {
        let found = self.classes.iter().find(|known| known.class.eq_ignore_ascii_case(class));
        found.map_or(0, |class| class.new)
    }
}

/// Messages of one class. Urgent ones are counted among the others too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WaitingClass {
    /// The class in lower case: `voice-message`, `fax-message`, `pager-message`, `multimedia-message`, `text-message`, or
    /// the service's own.
    pub class: Arc<str>,
    /// Not heard yet.
    pub new: u32,
    /// Heard.
    pub old: u32,
    /// Not heard yet, and urgent.
    pub urgent_new: u32,
    /// Heard, and urgent.
    pub urgent_old: u32,
}

/// A device that the account is signed in with (RFC 3680).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnDevice {
    /// Where the registrar reaches it.
    pub uri: Arc<str>,
    /// Its name; empty where it has none.
    pub name: Arc<str>,
    /// Names the device over restarts (RFC 5626, section 4.1), such as `urn:uuid:…`; `None` where it says none.
    pub instance: Option<Arc<str>>,
    /// Its public GRUU (RFC 5627); `None` where the service gave none.
    pub gruu: Option<Arc<str>>,
    /// Thousandths: 0 least, 1,000 most wanted.
    pub priority: Option<u16>,
    /// When its registration ends if it is not renewed; `None` where the service does not say.
    pub until: Option<Timestamp>,
    /// Whether it is this sign-in.
    pub this: bool,
}
