//! What a small program of the 2007 API did, on [`attache::compat`]: it watches contacts, answers texts while its person is
//! away, and saves the transcript of each conversation when that ends.
//!
//! What such a program looked like, and what became of each part:
//!
//! | Then | Here |
//! |---|---|
//! | `CoCreateInstance(CLSID_Messenger)`, with the client running | [`Messenger::start`], or [`Messenger::over`] a host that runs |
//! | a message pump, so that events came | nothing: callbacks have a thread of their own |
//! | `DMessengerEvents` by `IConnectionPoint::Advise` | the trait, by [`Messenger::advise`] |
//! | `OnContactStatusChange` | the same; unknown is not offline |
//! | reading `History` in a timer, for new text | `on_im_text_received` |
//! | `History` before the window closes, which was too late in `OnIMWindowDestroyed` | `history` in `on_im_window_destroyed` |
//! | cutting names and words out of broken HTML | `entries`, or HTML that is well formed |

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use attache::compat::{
    DMessengerEvents, HRESULT, HWND, MISTATUS, MISTATUS_AWAY, MISTATUS_BE_RIGHT_BACK, MISTATUS_BUSY,
    MISTATUS_DO_NOT_DISTURB, MISTATUS_IN_A_MEETING, MISTATUS_ON_THE_PHONE, MISTATUS_ONLINE, Messenger,
    MessengerContact, MessengerConversationWnd, Result,
};

/// What is answered while the person is away; once in each conversation.
pub const ANSWER: &str = "I am not at my desk. This will be read.";

/// Something that the program did, for whoever shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Did {
    /// Signed in, or why not.
    SignedIn(HRESULT),
    /// A contact has another status.
    Saw(String, &'static str),
    /// A text was answered.
    Answered(String),
    /// A transcript was saved.
    Saved(PathBuf),
}

/// Signs in as it is configured, and begins. What it does comes out of the channel.
///
/// # Errors
/// When the messenger cannot sign in by itself.
pub fn begin(messenger: &Messenger, folder: &Path) -> Result<mpsc::Receiver<Did>> {
    let (did, seen) = mpsc::channel();
    let program = Program {
        folder: folder.to_owned(),
        away: Mutex::new(false),
        answered: Mutex::default(),
        did: Mutex::new(did),
    };
    messenger.advise(Arc::new(program));
    messenger.auto_signin()?;
    Ok(seen)
}

struct Program {
    folder: PathBuf,
    away: Mutex<bool>,
    /// Conversations that were answered.
    answered: Mutex<HashSet<HWND>>,
    did: Mutex<mpsc::Sender<Did>>,
}

impl Program {
    fn tell(&self, did: Did) {
        // Nobody is left to be told when the program ends.
        let _ = self.did.lock().unwrap_or_else(PoisonError::into_inner).send(did);
    }

    fn save(&self, window: &MessengerConversationWnd) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(format!("{}.html", window.hwnd().0));
        let history = window.history().map_err(io::Error::other)?;
        fs::write(&path, format!("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n{history}"))?;
        Ok(path)
    }
}

impl DMessengerEvents for Program {
    fn on_signin(&self, hr: HRESULT) {
        self.tell(Did::SignedIn(hr));
    }

    fn on_my_status_change(&self, _: HRESULT, status: MISTATUS) {
        let away = [MISTATUS_AWAY, MISTATUS_BE_RIGHT_BACK].contains(&status);
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }

    fn on_contact_status_change(&self, contact: Option<&MessengerContact>, status: MISTATUS) {
        if let Some(contact) = contact.filter(|contact| !contact.is_self()) {
            self.tell(Did::Saw(contact.friendly_name(), words(status)));
        }
    }

    fn on_im_text_received(&self, window: &MessengerConversationWnd, contact: &MessengerContact, _: &str) {
        let away = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(window.hwnd());
        if away && first() && window.send_text(ANSWER).is_ok() {
            self.tell(Did::Answered(contact.signin_name()));
        }
    }

    fn on_im_window_destroyed(&self, window: &MessengerConversationWnd) {
        match self.save(window) {
            Ok(path) => self.tell(Did::Saved(path)),
            Err(error) => eprintln!("the transcript is not saved: {error}"),
        }
    }
}

/// What a person reads.
fn words(status: MISTATUS) -> &'static str {
    match status {
        MISTATUS_ONLINE => "is there",
        MISTATUS_BUSY | MISTATUS_IN_A_MEETING | MISTATUS_ON_THE_PHONE => "is busy",
        MISTATUS_DO_NOT_DISTURB => "does not want to be disturbed",
        MISTATUS_AWAY | MISTATUS_BE_RIGHT_BACK => "is away",
        attache::compat::MISTATUS_OFFLINE => "has gone",
        attache::compat::MISTATUS_UNKNOWN => "cannot be seen at the moment",
        _ => "is somewhere",
    }
}
