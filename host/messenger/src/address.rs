//! Addresses of people and services, compared as RFC 3261, section 19.1.4 wants.

use core::{
    fmt,
    hash::{Hash, Hasher},
};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{code::Code, error::Error, id::AccountId};

/// An address of record, such as `sip:alice@example.com`. Cheap to clone.
#[derive(Clone)]
pub struct Address {
    text: Arc<str>,
    canonical: Arc<str>,
}

impl Address {
    /// Reads an address. A bare `alice@example.com` is taken as `sip:`.
    ///
    /// # Errors
    /// [`Code::InvalidAddress`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let wrong = |what: &str| Error::new(Code::InvalidAddress, format!("`{text}` is no address: {what}"));
        if text.len() > 512 || text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>\"".contains(c)) {
            return Err(wrong("it is too long or holds characters that an address cannot have"));
        }
        let full = if text.contains(':') { text.to_owned() } else { format!("sip:{text}") };
        let (scheme, rest) = full.split_once(':').ok_or_else(|| wrong("the scheme is missing"))?;
        let scheme = scheme.to_ascii_lowercase();
        let canonical = match scheme.as_str() {
            "sip" | "sips" | "pres" | "im" => {
                let (user, host) = rest.rsplit_once('@').ok_or_else(|| wrong("it needs user@host"))?;
                let host = host.split([';', '?']).next().unwrap_or_default();
                if user.is_empty() || host.is_empty() {
                    return Err(wrong("it needs user@host"));
                }
                let user = user.split(':').next().unwrap_or_default();
                format!("{scheme}:{user}@{}", host.to_ascii_lowercase())
            }
            "tel" => format!("tel:{}", rest.replace(['-', '.', '(', ')'], "")),
            _ => return Err(wrong("the scheme is not one of sip, sips, pres, im, tel")),
        };
        Ok(Self { text: full.into(), canonical: canonical.into() })
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// One spelling for everything that is equal.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The handle of the account with this address.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        let digest = Sha256::digest(self.canonical.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        AccountId(u64::from_be_bytes(first))
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
