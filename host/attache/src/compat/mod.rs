//! The 2007 Automation API, by its names, over this crate: for programs that move over.
//!
//! Names, numbers and the order of things are those that programs know: [`Messenger`] has what `IMessenger` and its
//! successors had, callbacks are those of [`DMessengerEvents`], results are [`HRESULT`]s. `docs/seed-api.md` has a row for
//! every member. New programs are better off with the rest of this crate, which [`Messenger::modern`] leads to.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use attache::{AccountConfig, Address, HostConfig, Secret, compat::*};
//!
//! struct Watch;
//!
//! impl DMessengerEvents for Watch {
//!     fn on_contact_status_change(&self, contact: Option<&MessengerContact>, status: MISTATUS) {
//!         if let Some(contact) = contact {
//!             println!("{} is {status:?}", contact.friendly_name());
//!         }
//!     }
//! }
//!
//! let mut config = HostConfig::default();
//! let alice = Address::parse("sip:alice@example.com").expect("an address");
//! config.accounts.push(AccountConfig::new(alice, Secret::new("wonderland")));
//! let messenger = Messenger::start(config)?;
//! messenger.advise(Arc::new(Watch));
//! messenger.auto_signin()?;
//! # Ok::<(), Failure>(())
//! ```
//!
//! # What waits, and what does not
//! Methods may be called from any thread, callbacks among them, and hold no lock while they wait. A method returns
//! when the engine has taken the call on, which takes no network: adding, removing and renaming answer by a callback that
//! carries the result, as they always did. Only what has to answer with something from elsewhere waits for it, at most
//! [`PATIENCE`]: publishing own presence, looking people up, making a group, sending a file.
//!
//! [`Messenger::start`] has threads of its own, so any program can use it. [`Messenger::over`] uses a host that runs
//! already; do not call it from a task of a runtime that has a single thread, which would wait for itself: such calls
//! answer [`E_FAIL`] at once.
//!
//! Callbacks come one at a time, in order, on a thread of their own. One that takes its time delays later callbacks and
//! nothing else; when it falls too far behind, what it missed is told as the difference to what it knows.
//!
//! # What is different
//! - Nothing opens a window or asks a question. Where the old program did, the application may, by [`Shell`].
//! - Calls work signed out as far as they can: contacts are changed, messages wait.
//! - A failure has a sentence beside its code ([`Failure::why`]).
//! - Offline is only ever what a person is; an outage is [`MISTATUS_UNKNOWN`].
//! - A conversation stays readable after it has closed, and text that arrives is told:
//!   [`DMessengerEvents::on_im_text_received`].

mod arguments;
mod codes;
mod constants;
mod contact;
mod events;
mod group;
mod hresult;
mod messenger;
mod presence;
mod relay;
mod service;
mod shell;
mod talk;
mod told;
mod window;

pub use arguments::Person;
pub use codes::*;
pub use constants::*;
pub use contact::{MessengerContact, MessengerContacts};
pub use events::{Cookie, DMessengerEvents};
pub use group::{MessengerGroup, MessengerGroups};
pub use hresult::{Failure, HRESULT, Result};
pub use messenger::{Messenger, PATIENCE};
pub use presence::{PresenceProperties, Variant};
pub use service::{MessengerService, MessengerServices};
pub use shell::{Answer, Shell};
pub use window::{HWND, MessengerConversationWnd, MessengerWindow};
