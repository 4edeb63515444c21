//! The contact list and the rules on a service, edited on several devices.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod contacts;
mod details;
mod embedded;
mod lists;
mod random;
mod rules;
mod server;
mod world;
