//! What an agent does, shown against a scripted service: one behaviour a test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authentication;
mod budget;
mod calls;
mod conditional;
mod duo;
mod flows;
mod hostile;
mod inbound;
mod learnt;
mod lists;
mod messages;
mod outages;
mod pair;
mod publications;
mod registration;
mod scale;
mod subscription_ends;
mod subscriptions;
mod tokens;
mod transports;
