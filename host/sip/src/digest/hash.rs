//! The hashes of digest authentication and the values that are computed with them.

use sha2::{Digest as _, Sha256, Sha512_256};

/// A digest algorithm (RFC 7616 §6.1, RFC 8760 §2.2), weakest first.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Algorithm {
    /// `MD5`: what old services offer, and the default where none is named.
    Md5,
    /// `MD5-sess`.
    Md5Sess,
    /// `SHA-256`.
    Sha256,
    /// `SHA-256-sess`.
    Sha256Sess,
    /// `SHA-512-256`.
    Sha512_256,
    /// `SHA-512-256-sess`.
    Sha512_256Sess,
}

impl Algorithm {
    /// Every algorithm, weakest first.
    pub const ALL: [Self; 6] =
        [Self::Md5, Self::Md5Sess, Self::Sha256, Self::Sha256Sess, Self::Sha512_256, Self::Sha512_256Sess];

    /// Reads the token, in any case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str().as_bytes().eq_ignore_ascii_case(text))
    }

    /// The token on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
            Self::Sha512_256 => "SHA-512-256",
            Self::Sha512_256Sess => "SHA-512-256-sess",
        }
    }

    /// Whether the session variant: the nonces take part in A1.
    pub const fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess | Self::Sha512_256Sess)
    }

    /// Whether it rests on MD5, which is kept for old services only.
    pub const fn is_md5(self) -> bool {
        matches!(self, Self::Md5 | Self::Md5Sess)
    }

    /// The algorithm without `-sess`: under it A1 of a password may be stored.
    pub const fn base(self) -> Self {
        match self {
            Self::Md5 | Self::Md5Sess => Self::Md5,
            Self::Sha256 | Self::Sha256Sess => Self::Sha256,
            Self::Sha512_256 | Self::Sha512_256Sess => Self::Sha512_256,
        }
    }

    /// The hash of the parts joined by colons, in lower-case hexadecimal digits.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> String {
        fn run<D: sha2::Digest>(parts: &[&[u8]]) -> String {
            let mut hasher = D::new();
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    hasher.update(b":");
                }
                hasher.update(part);
            }
            hex(&hasher.finalize())
        }
        match self.base() {
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha512_256 => run::<Sha512_256>(parts),
            _ => run::<md5::Md5>(parts),
        }
    }
}

/// What protects a request (RFC 7616 §3.4.3).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Qop {
    /// Method and address.
    Auth,
    /// Method, address and body.
    AuthInt,
}

impl Qop {
    /// The token on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.eq_ignore_ascii_case(b"auth") {
            Some(Self::Auth)
        } else if text.eq_ignore_ascii_case(b"auth-int") {
            Some(Self::AuthInt)
        } else {
            None
        }
    }
}

/// A password, or anything else that must not be seen. `Debug` prints no part of it.
#[derive(Clone, Eq, PartialEq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the few places that must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The inputs of a response, by their names in RFC 7616 §3.4.
pub(crate) struct Inputs<'a> {
    pub(crate) algorithm: Algorithm,
    /// `H(user:realm:password)` under the algorithm's base.
    pub(crate) ha1: &'a str,
    pub(crate) nonce: &'a str,
    /// Absent in the form of RFC 2069.
    pub(crate) quality: Option<(Qop, &'a str, &'a str)>,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) body: &'a [u8],
    /// Used by session algorithms without a quality.
    pub(crate) cnonce: &'a str,
}

impl Inputs<'_> {
    /// The value of `response`.
    pub(crate) fn response(&self) -> String {
        let algorithm = self.algorithm;
        let session;
        let ha1 = if algorithm.is_session() {
            session = algorithm.hash(&[self.ha1.as_bytes(), self.nonce.as_bytes(), self.cnonce.as_bytes()]);
            &session
        } else {
            self.ha1
        };
        let ha2 = match self.quality {
            Some((Qop::AuthInt, ..)) => {
                let body = algorithm.hash(&[self.body]);
                algorithm.hash(&[self.method.as_bytes(), self.uri.as_bytes(), body.as_bytes()])
            }
            _ => algorithm.hash(&[self.method.as_bytes(), self.uri.as_bytes()]),
        };
        match self.quality {
            Some((qop, nc, cnonce)) => algorithm.hash(&[
                ha1.as_bytes(),
                self.nonce.as_bytes(),
                nc.as_bytes(),
                cnonce.as_bytes(),
                qop.as_str().as_bytes(),
                ha2.as_bytes(),
            ]),
            None => algorithm.hash(&[ha1.as_bytes(), self.nonce.as_bytes(), ha2.as_bytes()]),
        }
    }
}

/// `H(user:realm:password)`: what a server may store in place of a password.
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &Secret) -> String {
    algorithm.hash(&[user.as_bytes(), realm.as_bytes(), password.expose().as_bytes()])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        for digit in [b >> 4, b & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    out
}

/// HMAC-SHA-256 (RFC 2104) with a key of 32 octets.
pub fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        for (b, k) in block.iter_mut().zip(key) {
            *b ^= k;
        }
        block
    };
    let mut inner = Sha256::new();
    inner.update(pad(0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha256::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// Compares without telling by its time where the first difference is.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231_case_2_of_a_padded_key() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex(&hmac(&key, &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("swordfish")), "Secret(…)");
    }

    #[test]
    fn algorithms_are_read_in_any_case_and_stronger_ones_are_greater() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.as_str().to_lowercase().as_bytes()), Some(algorithm));
        }
        assert!(Algorithm::Sha512_256 > Algorithm::Sha256 && Algorithm::Sha256 > Algorithm::Md5Sess);
        assert_eq!(Algorithm::parse(b"AKAv1-MD5"), None);
    }
}
