//! Cross-crate tests: interop, hostile guests, faults.

#[cfg(unix)]
pub mod kamailio;
