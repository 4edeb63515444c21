//! Fingerprints of certificates (RFC 8122): who is at the other end of a connection, as session descriptions say it.
//!
//! Most people have no certificate that an authority vouches for. The two descriptions of a session come over signalling
//! that is protected by itself, so each can name the certificate that its side will show, which then may be any.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The SHA-256 hash of a certificate in DER.
#[derive(Copy, Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The only hash function that is computed: every implementation must know it (RFC 8122, section 5).
    pub(crate) const FUNCTION: &str = "sha-256";

    /// That of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Reads pairs of hexadecimal digits with colons between them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2)?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }
}

/// As in the attribute, with the name of the function.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            match index {
                0 => write!(f, "{} {byte:02X}", Self::FUNCTION)?,
                _ => write!(f, ":{byte:02X}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
