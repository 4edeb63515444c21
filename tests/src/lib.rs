//! Cross-crate tests: interop, hostile guests, faults.

#[cfg(unix)]
pub mod kamailio;
pub mod console;
