//! Cross-crate tests: interop, hostile guests, faults.
