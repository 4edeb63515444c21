//! Engines that talk to each other through a service, on a simulated network under a virtual clock.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod composing;
mod contacts;
mod conversations;
mod crash;
mod freshness;
mod leases;
mod lists;
mod mailbox;
mod messages;
mod outage;
mod outbox;
mod presence;
mod profiles;
mod receipts;
mod requested;
mod scale;
mod service;
mod sign_in;
mod ways;
mod world;
