//! Transactions end to end: two endpoints on a simulated network (RFC 3261 §17, RFC 6026, RFC 4320).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod invite;
mod pair;
mod robustness;
mod transactions;
mod transports;
