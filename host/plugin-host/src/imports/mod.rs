//! What plugins can call: one module for each family of interfaces.
//!
//! Every function of the contract is linked for every plugin, whatever it was granted; each begins by counting the
//! call, then asks for its grant, then for its account. So a plugin that lacks a grant loads, and its call answers
//! `denied` with the line of the configuration that would grant it.

mod archive;
mod calls;
mod clock;
mod contacts;
mod conversations;
mod directory;
mod files;
#[allow(unreachable_pub, reason = "the generated bindings re-export a type of it")]
pub mod keyvalue;
mod logging;
mod messages;
pub(crate) mod output;
mod presence;
mod services;
mod session;
mod watchers;
mod watching;

use attache_messenger::{
    address::Address,
    code::Code,
    error::{Error, Retry},
    event::SessionState,
    presence::{Availability, Freshness, UnknownReason},
    storage::StorageError,
};
use wasmtime::{
    Engine,
    component::{HasSelf, Linker},
};

use crate::{
    bindings::offered::{attache::messenger as wit, attache::messenger::types, wasi},
    state::GuestState,
};

/// Links everything that a plugin can import.
pub(crate) fn link(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    macro_rules! add {
        ($($interface:path),*) => {$({
            use $interface as interface;
            interface::add_to_linker::<GuestState, HasSelf<GuestState>>(&mut linker, |state| state)?;
        })*};
    }
    add!(
        wit::types,
        wit::session,
        wit::services,
        wit::session_control,
        wit::mailbox,
        wit::directory,
        wit::contacts,
        wit::contact_editor,
        wit::presence,
        wit::presence_publisher,
        wit::presence_watcher,
        wit::watcher_types,
        wit::watchers,
        wit::watcher_editor,
        wit::messages,
        wit::conversations,
        wit::conversation_editor,
        wit::calls,
        wit::call_control,
        wit::files,
        wit::archive_types,
        wit::archive,
        wit::archive_writer,
        wit::clock,
        wasi::logging::logging,
        wasi::config::store,
        wasi::keyvalue::store
    );
    logging::link_unversioned(&mut linker)?;
    Ok(linker)
}

impl types::Host for GuestState {}

/// Finishes a call of the contract: the messenger's errors are answers, not traps.
fn answer<T>(outcome: Result<T, Error>) -> wasmtime::Result<Result<T, types::Error>> {
    Ok(outcome.map_err(|error| wit_error(&error)))
}

fn wit_error(error: &Error) -> types::Error {
    types::Error {
        code: error.code().number(),
        name: error.code().name().to_owned(),
        message: match error.cause() {
            Some(cause) => format!("{}: {cause}", error.message()),
            None => error.message().to_owned(),
        },
        retry: match error.retry_hint() {
            Retry::After(time) => {
                types::RetryHint::After(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            }
            Retry::AfterChange => types::RetryHint::AfterChange,
            _ => types::RetryHint::Never,
        },
    }
}

fn storage_error(error: StorageError) -> Error {
    match error {
        StorageError::Full(what) => Error::new(Code::StorageFull, what).retry(Retry::AfterChange),
        error => Error::new(Code::Storage, error.to_string()).retry(Retry::AfterChange),
    }
}

fn address(text: &str) -> Result<Address, Error> {
    Address::parse(text)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, message)
}

fn wit_session(state: SessionState) -> types::SessionState {
    match state {
        SessionState::SignedOut => types::SessionState::SignedOut,
        SessionState::SigningIn => types::SessionState::SigningIn,
        SessionState::SignedIn => types::SessionState::SignedIn,
        SessionState::Reconnecting => types::SessionState::Reconnecting,
        SessionState::SigningOut => types::SessionState::SigningOut,
    }
}

fn wit_availability(availability: Availability) -> types::Availability {
    match availability {
        Availability::Available => types::Availability::Available,
        Availability::Idle => types::Availability::Idle,
        Availability::Busy => types::Availability::Busy,
        Availability::BusyIdle => types::Availability::BusyIdle,
        Availability::BeRightBack => types::Availability::BeRightBack,
        Availability::Away => types::Availability::Away,
        Availability::DoNotDisturb => types::Availability::DoNotDisturb,
        Availability::Offline => types::Availability::Offline,
    }
}

fn availability(availability: types::Availability) -> Availability {
    match availability {
        types::Availability::Available => Availability::Available,
        types::Availability::Idle => Availability::Idle,
        types::Availability::Busy => Availability::Busy,
        types::Availability::BusyIdle => Availability::BusyIdle,
        types::Availability::BeRightBack => Availability::BeRightBack,
        types::Availability::Away => Availability::Away,
        types::Availability::DoNotDisturb => Availability::DoNotDisturb,
        types::Availability::Offline => Availability::Offline,
    }
}

fn wit_freshness(freshness: &Freshness) -> types::Freshness {
    match freshness {
        Freshness::Live => types::Freshness::Live,
        Freshness::Stale(since) => types::Freshness::Stale(since.as_millis()),
        Freshness::Denied => types::Freshness::Denied,
        Freshness::Unknown(reason) => types::Freshness::Unknown(match reason {
            UnknownReason::Pending => types::UnknownReason::Pending,
            UnknownReason::SignedOut => types::UnknownReason::SignedOut,
            UnknownReason::ServiceUnavailable => types::UnknownReason::ServiceUnavailable,
            UnknownReason::NotFound => types::UnknownReason::NotFound,
            UnknownReason::Other(words) => types::UnknownReason::Other(Some(words.to_string())),
            _ => types::UnknownReason::Other(None),
        }),
    }
}
