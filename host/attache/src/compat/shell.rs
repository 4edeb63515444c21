//! What the old program did with its windows, for the application to do.

use super::{MessengerConversationWnd, MessengerWindow};
use crate::Address;

/// What a person says to a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Go on with this person.
    Add(Address),
    /// Do not.
    Cancel,
}

/// What a program shows and asks. Without one, nothing is shown, and what would have been asked is taken as said.
///
/// Methods are called on the thread of the caller whose call they belong to, and may take their time.
pub trait Shell: Send + Sync + 'static {
    /// Asks whether somebody is to be added ([`Messenger::add_contact`](super::Messenger::add_contact)); `None` asks whom.
    fn add_contact(&self, address: Option<&Address>) -> Answer {
        address.map_or(Answer::Cancel, |address| Answer::Add(address.clone()))
    }

    /// Brings a conversation to the front.
    fn show(&self, window: &MessengerConversationWnd) {
        let _ = window;
    }

    /// Brings the program to the front.
    fn show_main(&self, window: &MessengerWindow) {
        let _ = window;
    }

    /// Opens a URI, such as `mailto:bob@example.com` or a page about a person. Those that others wrote are checked for
    /// their scheme only: `http`, `https` or `mailto`.
    fn open(&self, uri: &str) {
        let _ = uri;
    }
}
