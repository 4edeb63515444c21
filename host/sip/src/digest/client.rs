//! The client's side: which challenge to answer, and with what.

use super::hash::{Algorithm, Inputs, Qop, Secret, ha1};
use super::header::{Challenge, Credentials, pair};
use crate::message::HeaderName;
use crate::text::Split;

/// Which algorithms are answered.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The weakest algorithm that is ever answered. MD5 by default, for many a service has no other.
    pub weakest: Algorithm,
    /// Whether a realm that once offered a stronger algorithm may come back with a weaker one only. It may not by default: that
    /// is what somebody in the middle would do (RFC 8760 §2.4).
    pub allow_downgrade: bool,
    /// Whether `auth-int` is preferred where both are offered.
    pub prefer_integrity: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { weakest: Algorithm::Md5, allow_downgrade: false, prefer_integrity: false }
    }
}

/// Why a challenge is not answered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The response had no digest challenge.
    #[error("the response has no digest challenge")]
    NoChallenge,
    /// No challenge has an algorithm that is known and allowed.
    #[error("no algorithm of the challenge for realm {0:?} is known and allowed")]
    Algorithm(String),
    /// Every quality offered is unknown.
    #[error("no quality of protection for realm {0:?} is known")]
    Quality(String),
    /// The realm offered a stronger algorithm before.
    #[error("realm {0:?} fell back to a weaker algorithm")]
    Downgrade(String),
    /// The answer was refused: user name or password are wrong.
    #[error("realm {0:?} refused user name or password")]
    Rejected(String),
}

#[derive(Clone, Debug)]
struct Session {
    challenge: Challenge,
    algorithm: Algorithm,
    strongest: Algorithm,
    count: u32,
    /// An answer was accepted under this realm, so the password is right.
    proven: bool,
    /// Opened since this client was made as a [trial](DigestClient::trial).
    fresh: bool,
    ha1: Secret,
}

/// Realms remembered at once. A request crosses few; the bound is against a peer that invents them.
const MAX_SESSIONS: usize = 8;

/// One account's answers: it remembers each realm's nonce and counts its uses, so that later requests carry credentials at
/// once.
#[derive(Clone, Debug)]
pub struct DigestClient {
    user: String,
    password: Secret,
    policy: Policy,
    sessions: Vec<Session>,
}

impl DigestClient {
    /// An account's client. `user` is the name of the account at the service, often the address's user part.
    pub fn new(user: impl Into<String>, password: Secret, policy: Policy) -> Self {
        Self { user: user.into(), password, policy, sessions: Vec::new() }
    }

    /// Takes the challenges of a 401 or 407. Of each realm the strongest that the policy allows is taken (RFC 8760 §2.4).
    ///
    /// `answered` says whether the refused request carried credentials of this client. Then a fresh challenge that is not `stale` means that
    /// the password is wrong, unless the realm accepted it before: some services let a nonce die without saying so, and
    /// get one more try.
    pub fn learn(&mut self, challenges: &[Challenge], answered: bool) -> Result<(), AuthError> {
        let mut chosen: Vec<(Algorithm, &Challenge)> = Vec::new();
        let mut failure = None;
        for challenge in challenges {
            if challenge.qop_offered && !challenge.qop_auth && !challenge.qop_auth_int {
                failure.get_or_insert_with(|| AuthError::Quality(challenge.realm.clone()));
                continue;
            }
            let Some(algorithm) = challenge.algorithm.filter(|algorithm| *algorithm >= self.policy.weakest)
            else {
                failure.get_or_insert_with(|| AuthError::Algorithm(challenge.realm.clone()));
                continue;
            };
            let same =
                chosen.iter().position(|(_, c)| c.proxy == challenge.proxy && c.realm == challenge.realm);
            match same {
                // The first of equals wins: the server lists what it prefers first.
                Some(at) if algorithm > chosen[at].0 => chosen[at] = (algorithm, challenge),
                Some(_) => {}
                None if chosen.len() < MAX_SESSIONS => chosen.push((algorithm, challenge)),
                None => {}
            }
        }
        if chosen.is_empty() {
            return Err(failure.unwrap_or(AuthError::NoChallenge));
        }

        for (algorithm, challenge) in &chosen {
            let Some(known) = self.session(challenge) else { continue };
            if algorithm.base() < known.strongest.base() && !self.policy.allow_downgrade {
                return Err(AuthError::Downgrade(challenge.realm.clone()));
            }
            if answered && !challenge.stale && known.count > 0 && !known.proven {
                return Err(AuthError::Rejected(challenge.realm.clone()));
            }
        }
        for (algorithm, challenge) in chosen {
            self.open(algorithm, challenge);
        }
        Ok(())
    }

    fn session(&self, challenge: &Challenge) -> Option<&Session> {
        self.sessions
            .iter()
            .find(|s| s.challenge.proxy == challenge.proxy && s.challenge.realm == challenge.realm)
    }

    fn open(&mut self, algorithm: Algorithm, challenge: &Challenge) {
        let before = self
            .sessions
            .iter()
            .position(|s| s.challenge.proxy == challenge.proxy && s.challenge.realm == challenge.realm)
            .map(|at| self.sessions.remove(at));
        let strongest = before.as_ref().map_or(algorithm, |s| s.strongest.max(algorithm));
        // The same nonce again goes on counting: a server would take a repeated count for a replay.
        let count = before.filter(|s| s.challenge.nonce == challenge.nonce).map_or(0, |s| s.count);
        self.make_room();
        let ha1 = ha1(algorithm.base(), &self.user, &challenge.realm, &self.password).into();
        // Not proven for the new nonce: a second refusal in a row is the last.
        self.sessions.push(Session {
            challenge: challenge.clone(),
            algorithm,
            strongest,
            count,
            proven: false,
            fresh: true,
            ha1,
        });
    }

    fn make_room(&mut self) {
        if self.sessions.len() >= MAX_SESSIONS {
            // The realm that was opened first without ever accepting us is worth least.
            let at = self.sessions.iter().position(|s| !s.proven).unwrap_or(0);
            self.sessions.remove(at);
        }
    }

    /// A copy in which the challenge of somebody who may be anybody is tried, while this client keeps what it has.
    pub(crate) fn trial(&self) -> Self {
        let mut trial = self.clone();
        for session in &mut trial.sessions {
            session.fresh = false;
        }
        trial
    }

    /// The credentials for a request that tries challenges: those of the trial, and, where it goes to the service, ours for all other
    /// realms.
    pub(crate) fn authorize_trial(
        &mut self,
        trial: &mut Self,
        to_service: bool,
        method: &str,
        uri: &str,
        body: &[u8],
        entropy: u128,
    ) -> Vec<(HeaderName, String)> {
        trial.sessions.retain(|session| session.fresh);
        let mut headers = trial.authorize(method, uri, body, entropy);
        let (user, prefer_integrity) = (&self.user, self.policy.prefer_integrity);
        for session in self.sessions.iter_mut().filter(|_| to_service) {
            if trial.session(&session.challenge).is_none() {
                session.count = session.count.saturating_add(1);
                headers.push(session.answer(user, method, uri, body, entropy, prefer_integrity));
            }
        }
        headers
    }

    /// The trial was accepted: takes over what was tried. Returns the realms, each with whether it is a proxy's.
    pub(crate) fn adopt(&mut self, trial: Self) -> Vec<(bool, String)> {
        let mut adopted = Vec::new();
        for mut session in trial.sessions.into_iter().filter(|session| session.fresh) {
            session.proven = true;
            let realm = (session.challenge.proxy, session.challenge.realm.clone());
            let known = self
                .sessions
                .iter_mut()
                .find(|s| (s.challenge.proxy, &s.challenge.realm) == (realm.0, &realm.1));
            match known {
                Some(known) => {
                    if known.challenge.nonce == session.challenge.nonce {
                        session.count = session.count.max(known.count);
                    }
                    *known = session;
                }
                None => {
                    // Whoever invents realms must not push out one that took us.
                    if self.sessions.len() < MAX_SESSIONS {
                        self.sessions.push(session);
                    } else {
                        continue;
                    }
                }
            }
            adopted.push(realm);
        }
        adopted
    }

    /// Notes that a request with credentials of this client was answered by something other than 401 and 407.
    pub fn accepted(&mut self) {
        for session in &mut self.sessions {
            session.proven |= session.count > 0;
        }
    }

    /// Takes a row of Authentication-Info or Proxy-Authentication-Info: the next nonce (RFC 7616 §3.5).
    pub fn learn_info(&mut self, row: &[u8], proxy: bool) {
        let next = Split::new(row, b',')
            .filter_map(pair)
            .find_map(|(name, value)| name.eq_ignore_ascii_case(b"nextnonce").then_some(value));
        // Without a realm in the header, it can only be meant for the last one of its kind.
        if let Some(nonce) = next.filter(|nonce| !nonce.is_empty())
            && let Some(session) = self.sessions.iter_mut().rfind(|s| s.challenge.proxy == proxy)
        {
            session.challenge.nonce = nonce;
            session.count = 0;
        }
    }

    /// Forgets every realm, so that the next request goes without credentials.
    pub fn forget(&mut self) {
        self.sessions.clear();
    }

    /// Replaces the password and forgets every realm.
    pub fn set_password(&mut self, password: Secret) {
        self.password = password;
        self.forget();
    }

    /// Whether any realm is known, so that [`authorize`](Self::authorize) gives credentials.
    pub fn is_ready(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// The credentials of a request, one header for each realm that is known. Each call uses up one count of each nonce.
    ///
    /// `uri` is the request's address as it stands in the start line; `entropy` makes the client's nonces and must not be guessable.
    pub fn authorize(
        &mut self,
        method: &str,
        uri: &str,
        body: &[u8],
        entropy: u128,
    ) -> Vec<(HeaderName, String)> {
        let (user, prefer_integrity) = (&self.user, self.policy.prefer_integrity);
        let mut headers = Vec::with_capacity(self.sessions.len());
        for session in &mut self.sessions {
            session.count = session.count.saturating_add(1);
            headers.push(session.answer(user, method, uri, body, entropy, prefer_integrity));
        }
        headers
    }
}

impl Session {
    fn answer(
        &self,
        user: &str,
        method: &str,
        uri: &str,
        body: &[u8],
        entropy: u128,
        prefer_integrity: bool,
    ) -> (HeaderName, String) {
        let challenge = &self.challenge;
        let cnonce = format!("{entropy:032x}");
        let nc = format!("{:08x}", self.count);
        let integrity = challenge.qop_auth_int && (prefer_integrity || !challenge.qop_auth);
        let qop = challenge.qop_offered.then_some(if integrity { Qop::AuthInt } else { Qop::Auth });
        let response = Inputs {
            algorithm: self.algorithm,
            ha1: self.ha1.expose(),
            nonce: &challenge.nonce,
            quality: qop.map(|qop| (qop, nc.as_str(), cnonce.as_str())),
            method,
            uri,
            body,
            cnonce: &cnonce,
        }
        .response();
        let username = if challenge.userhash {
            self.algorithm.hash(&[user.as_bytes(), challenge.realm.as_bytes()])
        } else {
            user.to_owned()
        };
        let needs_cnonce = qop.is_some() || self.algorithm.is_session();
        let credentials = Credentials {
            username,
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            uri: uri.to_owned(),
            response,
            algorithm: Some(self.algorithm),
            cnonce: needs_cnonce.then_some(cnonce),
            opaque: challenge.opaque.clone(),
            qop,
            nc: qop.map(|_| nc),
            userhash: challenge.userhash,
        };
        let name = if challenge.proxy { HeaderName::ProxyAuthorization } else { HeaderName::Authorization };
        (name, credentials.to_value(challenge.algorithm_named))
    }
}
