//! Write plugins for Attaché in Rust.
//!
//! A plugin is a value: [`Plugin::start`] makes it, the host calls its event functions one at a time, and after a trap it
//! is made anew. This is a whole one:
//!
//! ```
//! use attache_plugin::{EventInfo, IncomingMessage, MessageEvents, Plugin, StartInfo, info};
//!
//! struct Greeter;
//!
//! impl Plugin for Greeter {
//!     fn start(_: StartInfo) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl MessageEvents for Greeter {
//!     fn message_received(&mut self, _: EventInfo, message: IncomingMessage) -> Result<(), String> {
//!         info!("message {} came", message.id);
//!         Ok(())
//!     }
//! }
//!
//! attache_plugin::export!(Greeter: MessageEvents);
//! ```
//!
//! **Exporting is subscribing**: a plugin gets the families of events that it names in [`export!`], and no others.
//! **Importing is asking**: what a plugin calls is what it imports, and the operator grants each by name. The modules of
//! this crate that call the host are [`archive`], [`archive_writer`], [`call_control`], [`calls`], [`clock`], [`config`],
//! [`contact_editor`], [`contacts`], [`conversation_editor`], [`conversations`], [`directory`], [`files`], [`log`], [`mailbox`],
//! [`messages`], [`presence`], [`presence_publisher`], [`presence_watcher`], [`services`], [`session`],
//! [`session_control`], [`store`], [`watcher_editor`] and [`watchers`]; a module that is never called is not in the component.
//!
//! Keep decisions in functions that call none of these: they can then be tested with `cargo test` on any machine.
//! Calls to the host panic outside it.

pub mod address;
#[allow(
    missing_docs,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated code"
)]
#[doc(hidden)]
pub mod bindings;
pub mod config;
mod events;
#[doc(hidden)]
pub mod exported;
pub mod log;
pub mod store;

pub use bindings::conversation_events::exports::attache::messenger::conversation_events::Conversation;
pub use bindings::imports::attache::messenger::types::{
    AccountId, Availability, Call, CallId, CallState, Contact, ContactId, ConversationId, Duration, Error,
    EventInfo, Freshness, Group, GroupId, LeaseId, MessageId, PhoneKind, RequestId, RetryHint, SessionState,
    Timestamp, UnknownReason,
};
pub use bindings::imports::attache::messenger::{
    archive, archive_types, archive_writer, call_control, calls, clock, contact_editor, contacts,
    conversation_editor, conversations, directory, files, mailbox, messages, presence, presence_publisher,
    presence_watcher, services, session, session_control, watcher_editor, watcher_types, watchers,
};
pub use bindings::lifecycle::exports::attache::messenger::lifecycle::{StartInfo, StopReason};
pub use bindings::message_events::exports::attache::messenger::message_events::{
    Author, IncomingMessage, MessageState, Origin, OutgoingMessage,
};
pub use bindings::presence_events::exports::attache::messenger::presence_events::PresenceChange;
pub use bindings::watched_presence_events::exports::attache::messenger::watched_presence_events::WatchedChange;
pub use events::{
    AlertEvents, CallEvents, ComposingEvents, ContactEvents, ConversationEvents, GroupEvents, MailboxEvents,
    MessageEvents, ParticipantEvents, Plugin, PresenceEvents, ProfileEvents, RuleEvents, SessionEvents,
    TimerEvents, WatchedPresenceEvents, WatcherEvents,
};

/// One sentence about a failed call, for a log or for the result of an event: `not connected (not-signed-in)`.
pub fn explain(error: &Error) -> String {
    format!("{} ({})", error.message, error.name)
}

/// Makes a type the plugin of this component, subscribed to the families of events that follow it.
///
/// The type implements [`Plugin`] and the trait of each family. Once per component.
///
/// ```
/// # use attache_plugin::{Plugin, StartInfo, TimerEvents};
/// # struct Clock;
/// # impl Plugin for Clock {
/// #     fn start(_: StartInfo) -> Result<Self, String> { Ok(Self) }
/// # }
/// # impl TimerEvents for Clock {}
/// attache_plugin::export!(Clock: TimerEvents);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ident $(: $($family:ident),+ $(,)?)?) => {
        const _: () = {
            ::std::thread_local! {
                static PLUGIN: ::std::cell::RefCell<::std::option::Option<$plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            impl $crate::exported::Slot for $plugin {
                fn with<R>(call: impl ::std::ops::FnOnce(&mut ::std::option::Option<Self>) -> R) -> R {
                    PLUGIN.with_borrow_mut(call)
                }
            }

            type Exported = $crate::exported::Exported<$plugin>;
            $crate::bindings::lifecycle::export!(Exported with_types_in $crate::bindings::lifecycle);
            $($($crate::__export_family!($family Exported);)+)?
        };
    };
}

/// The trait of a family of events, as an export of the component.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_family {
    (SessionEvents $exported:ident) => {
        $crate::bindings::session_events::export!($exported with_types_in $crate::bindings::session_events);
    };
    (ContactEvents $exported:ident) => {
        $crate::bindings::contact_events::export!($exported with_types_in $crate::bindings::contact_events);
    };
    (GroupEvents $exported:ident) => {
        $crate::bindings::group_events::export!($exported with_types_in $crate::bindings::group_events);
    };
    (PresenceEvents $exported:ident) => {
        $crate::bindings::presence_events::export!($exported with_types_in $crate::bindings::presence_events);
    };
    (AlertEvents $exported:ident) => {
        $crate::bindings::alert_events::export!($exported with_types_in $crate::bindings::alert_events);
    };
    (WatchedPresenceEvents $exported:ident) => {
        $crate::bindings::watched_presence_events::export!($exported with_types_in $crate::bindings::watched_presence_events);
    };
    (WatcherEvents $exported:ident) => {
        $crate::bindings::watcher_events::export!($exported with_types_in $crate::bindings::watcher_events);
    };
    (MessageEvents $exported:ident) => {
        $crate::bindings::message_events::export!($exported with_types_in $crate::bindings::message_events);
    };
    (ConversationEvents $exported:ident) => {
        $crate::bindings::conversation_events::export!($exported with_types_in $crate::bindings::conversation_events);
    };
    (MailboxEvents $exported:ident) => {
        $crate::bindings::mailbox_events::export!($exported with_types_in $crate::bindings::mailbox_events);
    };
    (RuleEvents $exported:ident) => {
        $crate::bindings::rule_events::export!($exported with_types_in $crate::bindings::rule_events);
    };
    (ComposingEvents $exported:ident) => {
        $crate::bindings::composing_events::export!($exported with_types_in $crate::bindings::composing_events);
    };
    (ParticipantEvents $exported:ident) => {
        $crate::bindings::participant_events::export!($exported with_types_in $crate::bindings::participant_events);
    };
    (CallEvents $exported:ident) => {
        $crate::bindings::call_events::export!($exported with_types_in $crate::bindings::call_events);
    };
    (ProfileEvents $exported:ident) => {
        $crate::bindings::profile_events::export!($exported with_types_in $crate::bindings::profile_events);
    };
    (TimerEvents $exported:ident) => {
        $crate::bindings::timer_events::export!($exported with_types_in $crate::bindings::timer_events);
    };
    ($other:ident $exported:ident) => {
        ::std::compile_error!(::std::concat!("there is no family of events `", ::std::stringify!($other), "`"));
    };
}
