//! The facade under the names of the 2007 API, as a program uses it: from threads, with callbacks, on the embedded service.
#![allow(unreachable_pub, reason = "modules of one program")]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod contacts;
mod conversations;
mod desk;
mod groups;
mod people;
mod presence;
mod services;
mod session;
