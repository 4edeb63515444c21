//! The plugin's log: [`trace!`](crate::trace!), [`debug!`](crate::debug!), [`info!`](crate::info!),
//! [`warn!`](crate::warn!) and [`error!`](crate::error!). Needs no grant; the host limits the rate.
//!
//! Texts of messages do not belong into a log.

pub use crate::bindings::imports::wasi::logging::logging::Level;
use crate::bindings::imports::wasi::logging::logging::log;

/// Writes one line.
pub fn write(level: Level, line: &str) {
    log(level, "", line);
}

/// Logs where a panic happened: the trap that follows tells the host less. Not what it says, which may quote a message.
pub(crate) fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        write(Level::Critical, &format!("panicked at {place}"));
    }));
}

/// Logs a line for whoever follows every step.
#[macro_export]
macro_rules! trace {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($text)+)) };
}

/// Logs a line for whoever looks for a fault.
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($text)+)) };
}

/// Logs a line that an operator may want to read.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($text)+)) };
}

/// Logs a line that an operator should read.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($text)+)) };
}

/// Logs a line about a failure.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($text)+)) };
}
