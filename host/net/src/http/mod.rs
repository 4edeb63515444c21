//! HTTP, as XCAP needs it: small documents, asked for and served one at a time (RFC 4825).
//!
//! HTTP/1.1 over TCP or TLS. Whole messages in, whole messages out: the machines that speak XCAP own no sockets, and see
//! `http` requests and responses with their bodies as bytes. Everything that a peer can make this end hold or wait for has
//! a bound.

mod client;
mod patient;
mod server;

pub use client::{HttpClient, HttpClientOptions, HttpError};
pub use server::{HttpAnswer, HttpExchange, HttpLimits, HttpListener, HttpOptions};
