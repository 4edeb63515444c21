//! The server's side: challenges with signed nonces, so that nothing is kept for a client that has not proved itself.

use std::time::{Duration, Instant};

use super::hash::{Algorithm, Inputs, Qop, Secret, ha1, hex, hmac, same};
use super::header::Credentials;
use crate::text;

/// Why credentials were not accepted.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The proof is right, but the nonce is too old or from before a restart: challenge again with `stale=true`.
    #[error("the nonce is too old")]
    Stale,
    /// The proof is wrong.
    #[error("user name or password are wrong")]
    Wrong,
    /// The algorithm was not offered.
    #[error("the algorithm was not offered")]
    Algorithm,
    /// Realm, quality, count or client nonce are missing or wrong.
    #[error("the credentials are malformed")]
    Malformed,
    /// The credentials were made for another address.
    #[error("the credentials were made for another address")]
    Uri,
}

/// How a server knows a password.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password itself.
    Plain(Secret),
    /// [`ha1`] of one algorithm's base; credentials under any other are refused.
    Ha1(Algorithm, Secret),
}

impl Password {
    fn ha1(&self, algorithm: Algorithm, user: &str, realm: &str) -> Option<Secret> {
        match self {
            Self::Plain(password) => Some(ha1(algorithm.base(), user, realm, password).into()),
            Self::Ha1(stored, value) => (*stored == algorithm.base()).then(|| value.clone()),
        }
    }
}

/// One realm's challenges and checks.
///
/// A nonce carries the time of its making and a signature, so nothing is remembered for clients that prove nothing. A server that remembers
/// the counts which [`verify`](Self::verify) returns, for each nonce that [`issued`](Self::issued) names, refuses replays; one that does not
/// accepts them within the nonce's age.
#[derive(Clone)]
pub struct DigestServer {
    realm: String,
    key: [u8; 32],
    epoch: Instant,
    max_age: Duration,
    algorithms: Vec<Algorithm>,
}

impl DigestServer {
    /// A realm with a signing key, which must be random. `epoch` is any instant not after the first challenge. Nonces live five minutes;
    /// SHA-256 and MD5 are offered, in that order.
    pub fn new(realm: impl Into<String>, key: [u8; 32], epoch: Instant) -> Self {
        Self {
            realm: realm.into(),
            key,
            epoch,
            max_age: Duration::from_secs(300),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        }
    }

    /// Sets for how long a nonce is good.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets the algorithms that are offered; the strongest is offered first whatever the order here (RFC 8760 §2.4).
    pub fn algorithms(mut self, algorithms: &[Algorithm]) -> Self {
        self.algorithms = algorithms.to_vec();
        self.algorithms.sort_unstable_by(|a, b| b.cmp(a));
        self.algorithms.dedup();
        self
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The values of WWW-Authenticate or Proxy-Authenticate, one row each. `entropy` makes nonces differ that are issued at the same time.
    pub fn challenges(&self, now: Instant, entropy: u64, stale: bool) -> Vec<String> {
        let nonce = self.nonce(now, entropy);
        let realm = text::quote(&self.realm);
        let stale = if stale { ", stale=true" } else { "" };
        self.algorithms
            .iter()
            .map(|algorithm| {
                let name = algorithm.as_str();
                format!(
                    "Digest realm={realm}, nonce=\"{nonce}\", algorithm={name}, qop=\"auth,auth-int\"{stale}"
                )
            })
            .collect()
    }

    fn nonce(&self, now: Instant, entropy: u64) -> String {
        let millis = now.saturating_duration_since(self.epoch).as_millis() as u64;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&millis.to_be_bytes());
        nonce[8..16].copy_from_slice(&entropy.to_be_bytes());
        let signature = self.sign(&nonce[..16]);
        nonce[16..].copy_from_slice(&signature);
        hex(&nonce)
    }

    fn sign(&self, head: &[u8]) -> [u8; 16] {
        let full = hmac(&self.key, &[head, self.realm.as_bytes()]);
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        half
    }

    /// When a nonce was made, counted from the epoch in milliseconds, and with which entropy; `None` when it is not of this server's making.
    /// The two together name a nonce.
    pub fn issued(&self, nonce: &str) -> Option<(Duration, u64)> {
        let digits = nonce.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (byte, two) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16).filter(|_| !d.is_ascii_uppercase());
            *byte = (digit(two[0])? * 16 + digit(two[1])?) as u8;
        }
        if !same(&self.sign(&bytes[..16]), &bytes[16..]) {
            return None;
        }
        let (millis, rest) = bytes.split_first_chunk::<8>()?;
        let (entropy, _) = rest.split_first_chunk::<8>()?;
        Some((Duration::from_millis(u64::from_be_bytes(*millis)), u64::from_be_bytes(*entropy)))
    }

    /// How old a nonce of ours is; `None` when it is not ours.
    fn age(&self, now: Instant, nonce: &str) -> Option<Duration> {
        let (made, _) = self.issued(nonce)?;
        Some(now.saturating_duration_since(self.epoch).saturating_sub(made))
    }

    /// Checks the credentials of a request of that method, address and body, and returns how often the nonce was used.
    ///
    /// The form of RFC 2069, which has no quality and no count, is refused: nothing in it tells a repeat from a replay.
    ///
    /// `user` is the account's name, found by [`names_user`](Self::names_user) or by [`Credentials::username`]. `uri` is the request's
    /// address; compare with care where a proxy may have rewritten it, and pass `None` to leave it unchecked.
    #[allow(
        clippy::too_many_arguments,
        reason = "three describe the account, three the request, and none has a default"
    )]
    pub fn verify(
        &self,
        now: Instant,
        credentials: &Credentials,
        user: &str,
        password: &Password,
        method: &str,
        uri: Option<&str>,
        body: &[u8],
    ) -> Result<u32, Refusal> {
        let algorithm =
            credentials.algorithm.filter(|a| self.algorithms.contains(a)).ok_or(Refusal::Algorithm)?;
        if credentials.realm != self.realm || !self.names_user(credentials, user) {
            return Err(Refusal::Malformed);
        }
        let cnonce = credentials.cnonce.as_deref().unwrap_or("");
        let (quality, count) = match (credentials.qop, credentials.nc.as_deref()) {
            (Some(qop), Some(nc)) if nc.len() == 8 && !cnonce.is_empty() => {
                let digits = nc.bytes().all(|b| b.is_ascii_hexdigit());
                let count = u32::from_str_radix(nc, 16)
                    .ok()
                    .filter(|n| digits && *n > 0)
                    .ok_or(Refusal::Malformed)?;
                (Some((qop, nc, cnonce)), count)
            }
            (Some(_), _) => return Err(Refusal::Malformed),
            // Every challenge of ours offers a quality; without one the answer protects less than was asked for.
            (None, _) => return Err(Refusal::Malformed),
        };
        if uri.is_some_and(|uri| !same_uri(uri, &credentials.uri)) {
            return Err(Refusal::Uri);
        }
        let ha1 = password.ha1(algorithm, user, &self.realm).ok_or(Refusal::Algorithm)?;
        let expected = Inputs {
            algorithm,
            ha1: ha1.expose(),
            nonce: &credentials.nonce,
            quality,
            method,
            uri: &credentials.uri,
            body: if credentials.qop == Some(Qop::AuthInt) { body } else { b"" },
            cnonce,
        }
        .response();
        if !same(expected.as_bytes(), credentials.response.to_ascii_lowercase().as_bytes()) {
            return Err(Refusal::Wrong);
        }
        // Only after the proof: a nonce of unknown making is then most likely from before a restart.
        match self.age(now, &credentials.nonce) {
            Some(age) if age <= self.max_age => Ok(count),
            _ => Err(Refusal::Stale),
        }
    }

    /// Whether the credentials name that user, plainly or by hash (RFC 7616 §3.4.4).
    pub fn names_user(&self, credentials: &Credentials, user: &str) -> bool {
        if !credentials.userhash {
            return credentials.username == user;
        }
        credentials.algorithm.is_some_and(|algorithm| {
            let hash = algorithm.hash(&[user.as_bytes(), self.realm.as_bytes()]);
            same(hash.as_bytes(), credentials.username.to_ascii_lowercase().as_bytes())
        })
    }
}

// The key stays out of logs.
impl std::fmt::Debug for DigestServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestServer")
            .field("realm", &self.realm)
            .field("max_age", &self.max_age)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

fn same_uri(a: &str, b: &str) -> bool {
    a == b
        || match (crate::uri::Uri::parse_str(a), crate::uri::Uri::parse_str(b)) {
            (Ok(a), Ok(b)) => a.equivalent(&b),
            _ => false,
        }
}
