//! Sans-IO messenger engine: session, presence, contacts, conversations.
#![forbid(unsafe_code)]

pub mod address;
pub mod code;
pub mod command;
pub mod error;
pub mod event;
pub mod id;
pub mod message;
pub mod presence;
pub mod snapshot;
pub mod storage;
pub mod time;
