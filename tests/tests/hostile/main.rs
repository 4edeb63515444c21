//! Plugins that misbehave, each beside one that does not.
//!
//! What must hold for each: the healthy plugin gets everything; the hostile one is stopped, started again, and in the
//! end left alone as its supervision says; and what it had in hand comes again, with nothing lost.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod delivery;
mod desk;
mod files;
mod limits;
mod supervision;
mod watching;
