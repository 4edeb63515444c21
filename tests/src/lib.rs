//! Cross-crate tests: interop, hostile guests, faults.

pub mod console;
#[cfg(unix)]
pub mod kamailio;
