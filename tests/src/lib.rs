//! Cross-crate tests: interop, hostile guests, faults.

pub mod bare;
pub mod certificates;
#[cfg(unix)]
pub mod clients;
pub mod console;
#[cfg(unix)]
mod debian;
pub mod desk;
#[cfg(unix)]
pub mod kamailio;
pub mod scripted;
#[cfg(unix)]
pub mod server;

pub use attache_messenger;
pub use attache_store;
