//! What proves who an account is.

use std::fmt;

use crate::digest::Secret;

/// How an account proves itself to its service. Debug output never shows the secret.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A password, for digest challenges (RFC 7616, RFC 8760).
    Password(Secret),
    /// An access token of an OAuth 2.0 server (RFC 8898). How it is got, with PKCE or otherwise, is the embedder's affair: when one is
    /// wanted, [`TokenNeeded`](super::AgentEvent::TokenNeeded) says so, and [`set_token`](super::Agent::set_token) gives it.
    Bearer {
        /// The token, if there is one already.
        token: Option<Secret>,
        /// Whether it may be sent over a transport without encryption, where anybody on the way can take it. Only for tests and
        /// for a service on the same machine (RFC 8898).
        insecure: bool,
    },
}

impl Credential {
    /// A bearer token that is only sent over encrypted transports; `None` asks for one when it is needed.
    pub const fn bearer(token: Option<Secret>) -> Self {
        Self::Bearer { token, insecure: false }
    }

    /// The password, or an empty one.
    pub(super) fn password(&self) -> Secret {
        match self {
            Self::Password(password) => password.clone(),
            Self::Bearer { .. } => Secret::from(""),
        }
    }
}

impl From<Secret> for Credential {
    fn from(password: Secret) -> Self {
        Self::Password(password)
    }
}

impl From<&str> for Credential {
    fn from(password: &str) -> Self {
        Self::Password(password.into())
    }
}

impl From<String> for Credential {
    fn from(password: String) -> Self {
        Self::Password(password.into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password(…)"),
            Self::Bearer { token, insecure } => f
                .debug_struct("Bearer")
                .field("token", &token.as_ref().map(|_| "…"))
                .field("insecure", insecure)
                .finish(),
        }
    }
}
