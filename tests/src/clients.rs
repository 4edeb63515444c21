//! SIP clients written by others, as processes of their own that a test drives: what interoperability means.
//!
//! Each has a folder of its own, listens on loopback, uses no sound card, and ends with its value or with the test
//! runner, whichever ends first. Every wait is for a condition, with a limit. What differs between them is small: how
//! each is told what to do, and in which words it says what it sees.
//!
//! # Layout
//! - [`Client`]: what every one of them can do
//! - `baresip`, `linphone`, `pjsua`: the three
//! - `process`: a child with its output as lines

mod baresip;
mod linphone;
mod pjsua;
mod process;

use anyhow::Result;

use crate::desk::Login;

pub use {baresip::Baresip, linphone::Linphone, pjsua::Pjsua};

/// What a client shows of its contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There, and nothing more is known.
    Online,
    /// There, and occupied.
    Busy,
    /// Not there.
    Offline,
}

impl Status {
    /// As baresip and linphone call it.
    fn of_word(word: &str) -> Option<Self> {
        match word.trim() {
            "Online" => Some(Self::Online),
            "Busy" => Some(Self::Busy),
            "Offline" => Some(Self::Offline),
            _ => None,
        }
    }
}

/// A foreign program that is signed in, with one contact.
pub trait Client {
    /// Waits until it shows its contact so.
    ///
    /// # Errors
    /// When it does not in time; says what the program said instead.
    fn sees(&mut self, status: Status) -> Result<()>;

    /// Waits for a message with this text.
    ///
    /// # Errors
    /// As [`sees`](Self::sees).
    fn hears(&mut self, text: &str) -> Result<()>;

    /// Sends its contact a text.
    ///
    /// # Errors
    /// When the program cannot be told.
    fn say(&mut self, text: &str) -> Result<()>;

    /// What the program has said so far, for a failure's words.
    fn said(&mut self) -> String;

    /// Publishes that its user is there.
    ///
    /// # Errors
    /// When the program cannot be told.
    fn go_online(&mut self) -> Result<()>;

    /// Publishes that its user is not there; for a program that knows no other way, by ending.
    ///
    /// # Errors
    /// When the program cannot be told.
    fn go_offline(&mut self) -> Result<()>;
}

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// baresip 1.0, as Debian ships it.
    Baresip,
    /// linphonec 5.1, as Debian ships it.
    Linphone,
    /// pjsua2 2.15, from the Python package index.
    Pjsua,
}

impl Program {
    /// Installs it where that is needed and possible.
    ///
    /// # Errors
    /// Where it is not possible: names the command to run.
    pub fn ensure_installed(self) -> Result<()> {
        match self {
            Self::Baresip => baresip::ensure_installed(),
            Self::Linphone => linphone::ensure_installed(),
            Self::Pjsua => pjsua::ensure_installed().map(drop),
        }
    }

    /// Starts it with one contact and waits until it is registered.
    ///
    /// # Errors
    /// When it is missing, or does not register in time.
    pub fn sign_in(self, login: &Login, contact: &str) -> Result<Box<dyn Client>> {
        Ok(match self {
            Self::Baresip => Box::new(Baresip::sign_in(login, contact)?),
            Self::Linphone => Box::new(Linphone::sign_in(login, contact)?),
            Self::Pjsua => Box::new(Pjsua::sign_in(login, contact)?),
        })
    }
}
