//! Sans-IO SIP: wire codec, messages, transactions, digest and usages.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: bytes, time and entropy are arguments. That makes every
//! machine deterministic, so that a test is a script and a failure can be replayed.
//!
//! # Layout
//! - [`transport`]: where bytes come from and go to.
//! - [`message`]: messages as received, read lazily from one buffer; [`message::validate()`] says what is wrong with one.
//! - [`uri`]: addresses, borrowed and owned, and when two are the same.
//! - [`build`]: messages to be sent.
//! - [`framing`]: messages out of a byte stream.
//! - [`digest`]: authentication, both sides.
//! - [`bridge`]: to and from the vocabulary of `rsip`, at the public edge.
//! - [`transaction`] and [`endpoint`]: requests and their answers over an unreliable network.
//! - [`agent`]: a user agent for one account; its documentation prints the whole run loop.
//! - [`usage`]: registration, subscription and publication, as the agent keeps them alive, sessions (INVITE) and referrals (REFER).
//! - [`budget`]: how many requests a process starts by itself in a second.
//! - [`resolve`]: from an address to the places where a request can go.
//! - [`sim`]: a simulated network under a virtual clock, for tests.

pub mod agent;
pub mod bridge;
pub mod budget;
pub mod build;
pub mod digest;
pub mod endpoint;
pub mod framing;
pub mod message;
pub mod resolve;
pub mod sim;
mod text;
pub mod transaction;
pub mod transport;
pub mod uri;
pub mod usage;
