//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760), for the client and for the server.
//!
//! Several challenges, each with its algorithm, are weighed against a [`Policy`]; the strongest allowed one is answered, and a realm that
//! falls back to a weaker one is refused. The wire form is the one of RFC 7616: `qop`, `nc` and `algorithm` bare, `nc` as eight
//! hexadecimal digits.

mod client;
mod hash;
mod header;
mod server;

pub use client::{AuthError, DigestClient, Policy};
pub use hash::{Algorithm, Qop, Secret, ha1, hmac, same};
pub use header::{Challenge, Credentials};
pub use server::{DigestServer, Password, Refusal};
