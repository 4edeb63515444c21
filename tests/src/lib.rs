//! Cross-crate tests: interop, hostile guests, faults.

pub mod console;
#[cfg(unix)]
pub mod kamailio;

pub use attache_messenger;
pub use attache_store;
