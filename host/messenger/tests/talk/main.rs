//! Conversations and calls between engines, on the embedded service and a simulated network.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod calls;
mod conferences;
mod conversations;
mod files;
mod forger;
mod hostile;
mod phone;
mod protected;
mod sessions;
mod streams;
mod world;
