//! Sans-IO MSRP: messages of any size in sessions that SIP sets up (RFC 4975, RFC 4976).
//!
//! Nothing here opens a socket, reads a clock or draws a random number: bytes, time and entropy are arguments, so that a
//! test is a script and a failure can be replayed.
//!
//! # Layout
//! - [`uri`]: addresses of sessions and relays, and when two are the same.
//! - [`wire`] and [`decoder`]: start lines and headers, and chunks out of a byte stream.
//! - [`Msrp`]: all sessions, messages and connections of one node; its documentation has the run loop.
//! - [`stream`]: what the machine and the owner of the sockets say to each other.
//! - [`event`]: what callers ask of the machine, and what it tells them.
//! - [`config`]: who this node is, and the bounds on what peers may take.
//! - [`fingerprint`]: the certificates of peers, as session descriptions name them.
//! - [`sdp`]: offers and answers for message sessions and files.
//! - [`sim`]: a simulated network under a virtual clock, for tests.

pub mod config;
pub mod decoder;
pub mod event;
pub mod fingerprint;
mod machine;
mod ranges;
pub mod sdp;
pub mod sim;
pub mod stream;
pub mod uri;
pub mod wire;

pub use config::{Limits, MsrpConfig};
pub use event::{
    Body, Failure, FailureReport, Incoming, IncomingId, MsrpError, MsrpEvent, NicknameId, Outgoing,
    OutgoingId, Peer, Piece, Receive, RelayId, RelayParams, Role, SessionId, SessionParams,
};
pub use fingerprint::Fingerprint;
pub use machine::Msrp;
pub use stream::{StreamId, StreamInput, StreamRequest, Target};
pub use uri::{MsrpUri, UriError};
