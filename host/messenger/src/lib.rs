//! Sans-IO messenger engine: session, presence, contacts, conversations.
//!
//! [`engine::Engine`] is one account's messenger: a state machine that is told what happened and says what to do, with
//! no sockets, clock, store or chance of its own. Everything around it is data: commands in, events and snapshots out.
//!
//! [`sim`] runs engines on a simulated network under a virtual clock.
//!
//! # Layout
//! | Module | What |
//! |---|---|
//! | [`engine`] | the state machine |
//! | [`command`], [`event`], [`snapshot`] | what goes in and comes out |
//! | [`report`] | what the service can do, and how it is used |
//! | [`privacy`], [`sync`] | who may see one's presence; the contact list on the service |
//! | [`conversation`], [`call`], [`mod@file`] | conversations of two and more; calls between phones; files on their way |
//! | [`profile`] | names, telephones, calendars |
//! | [`mailbox`] | what the service tells of the account itself |
//! | [`compose`] | presence documents into a person's presence, and why |
//! | [`presence`], [`message`], [`address`], [`id`], [`time`] | vocabulary |
//! | [`code`], [`error`] | failures with stable codes |
//! | [`storage`], [`export`] | what must survive; archived messages as a file |
//! | [`sim`] | a network, a clock and a store for tests |
#![forbid(unsafe_code)]

pub mod address;
pub mod call;
pub mod code;
pub mod command;
pub mod compose;
mod content;
pub mod conversation;
pub mod engine;
pub mod error;
pub mod event;
pub mod export;
pub mod file;
pub mod id;
pub mod mailbox;
pub mod message;
pub mod people;
pub mod presence;
pub mod privacy;
pub mod profile;
pub mod report;
pub mod sim;
pub mod snapshot;
pub mod storage;
pub mod sync;
pub mod time;
