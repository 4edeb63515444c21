//! The wire codec against the RFCs' own torture messages, against another parser, and against mutation.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod bridge;
mod build;
mod corpus;
mod differential;
mod digest;
mod framing;
mod growth;
mod message;
mod mutation;
mod uri;
