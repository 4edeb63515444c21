//! Tokio transports for the SIP machines: UDP, TCP, TLS and WebSocket flows, name resolution, and HTTP for XCAP.
//!
//! The machines of `attache-sip` know no sockets. This crate owns them, and nothing else: it understands where one
//! message ends and the next begins, and leaves what they say to others. Its promises:
//!
//! - **[`Sockets::recv`] is cancellation safe and [`Sockets::send`] never waits**, so the task that owns a machine
//!   sleeps in one place only.
//! - **A peer can hurt only its own connection.** Each has a task, a bounded queue and time limits of its own; one that
//!   reads slowly, stops in the middle of a message, or speaks something other than SIP loses that connection.
//! - **A failure is told at once and with a reason** ([`Input::FlowFailed`]), so that transactions need not wait for
//!   their timers.
//! - **Connections are found again by their peer's address**, whoever opened them, and pinged as RFC 5626,
//!   section 4.4.1 describes. An encrypted one is found for the domain alone that it was opened for.
//! - **Nobody is believed without a certificate** for the domain that was asked for (RFC 5922), and one that is refused
//!   says what to do about it.
//!
//! # Layout
//! - [`Sockets`]: everything that is bound or connected, with one `recv` and one `send`.
//! - [`BindOptions`], [`Limits`]: what to bind, and how much strangers may take.
//! - [`Tls`], [`TlsOptions`]: whom to believe, and who this node is.
//! - [`FlowError`], [`CertificateProblem`]: why a flow is no more, or never was.
//! - [`Resolver`], [`DnsResolver`], [`SystemResolver`]: names to addresses.
//! - [`MsrpSockets`]: the connections of message sessions, in the same manner.
//! - [`HttpClient`], [`HttpListener`]: whole HTTP messages out and in.

mod census;
mod connection;
mod dns;
mod error;
mod establish;
mod framing;
mod http;
mod listener;
mod msrp;
mod options;
mod plain;
mod pulse;
mod resolve;
mod socket;
mod sockets;
mod stream;
mod tls;
mod udp;
mod websocket;

pub use dns::{DnsOptions, DnsResolver};
pub use error::FlowError;
pub use http::{
    HttpAnswer, HttpClient, HttpClientOptions, HttpError, HttpExchange, HttpLimits, HttpListener, HttpOptions,
};
pub use msrp::{MsrpOptions, MsrpSockets};
pub use options::{BindOptions, KeepAlive, Limits};
pub use resolve::{MAX_ADDRESSES, Query, ResolveError, Resolver, Resolving, SystemResolver};
pub use socket::source_address;
pub use sockets::{Input, Sockets};
pub use tls::{
    CertificateProblem, CertificateSummary, Identity, Inspection, Roots, Tls, TlsError, TlsOptions,
};
