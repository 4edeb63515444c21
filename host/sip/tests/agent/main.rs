//! What an agent does, shown against a scripted service: one behaviour a test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authentication;
mod budget;
mod calls;
mod conditional;
mod dialogs;
mod duo;
mod flows;
mod forks;
mod hostile;
mod inbound;
mod learnt;
mod lists;
mod messages;
mod offers;
mod outages;
mod pair;
mod publications;
mod races;
mod referrals;
mod registration;
mod reliable;
mod scale;
mod session_timers;
mod subscription_ends;
mod subscriptions;
mod tokens;
mod transports;
