//! Proving the password, without ever storming.
//!
//! The digest client remembers one nonce for each realm. Many requests are on their way at once, so an answer may refuse a nonce that has been
//! replaced meanwhile: that says nothing about the password. A generation number tells such answers apart.
//!
//! Only the registrar is known to be ours. Any other challenge may come from any peer, in the name of any realm: it is tried
//! apart, for the one request that it came for, and taken over only once it has been accepted.

use super::bearer::{Bearer, Tokens, Verdict};
use super::exchange::Trust;
use super::{Cause, Credential, TokenNeeded};
use crate::digest::{AuthError, Challenge, DigestClient, Policy, Secret};
use crate::endpoint::Request;
use crate::message::{HeaderName, Message};

/// How often one request may answer a challenge. Two is the usual case of a nonce that grew stale; one more is for a race.
const MAX_ROUNDS: u8 = 3;

/// How many tokens one request may be sent with in its life.
const MAX_TOKEN_ROUNDS: u8 = 16;

/// What follows a challenge.
pub(crate) enum Outcome {
    /// The request is worth sending again.
    Again,
    /// It waits for an access token.
    Wait(Option<TokenNeeded>),
    /// It failed.
    Refused(Cause, Option<TokenNeeded>),
}

/// Realms remembered as learned or as rejecting.
const MAX_REALMS: usize = 8;

pub(crate) struct Auth {
    client: DigestClient,
    generation: u64,
    /// Counts passwords.
    epoch: u64,
    /// Realms with the generation in which their nonce was learned.
    learned: Vec<(bool, String, u64)>,
    rejected: Vec<String>,
    /// The account has an access token instead of a password.
    bearer: Option<Bearer>,
}

/// What a request remembers of its last attempt.
#[derive(Default)]
pub(crate) struct Attempt {
    generation: u64,
    epoch: u64,
    authorized: bool,
    rounds: u8,
    /// The numbers of the access tokens that it carried.
    tokens: Tokens,
    /// Challenges that are being tried.
    trial: Option<Box<DigestClient>>,
}

impl Auth {
    pub(crate) fn new(user: String, credential: &Credential, policy: Policy) -> Self {
        Self {
            client: DigestClient::new(user, credential.password(), policy),
            generation: 0,
            epoch: 0,
            learned: Vec::new(),
            rejected: Vec::new(),
            bearer: Bearer::new(credential),
        }
    }

    /// Lets rejected realms have another try.
    pub(crate) fn forgive(&mut self) {
        self.rejected.clear();
        if let Some(bearer) = &mut self.bearer {
            bearer.forgive();
        }
    }

    pub(crate) fn set_token(&mut self, token: Secret) {
        if let Some(bearer) = &mut self.bearer {
            bearer.set_token(token);
        }
    }

    pub(crate) fn set_password(&mut self, password: Secret) {
        self.client.set_password(password);
        self.epoch += 1;
        self.rejected.clear();
        self.learned.clear();
        self.generation += 1;
    }

    /// The credentials for a request that leaves now.
    pub(crate) fn authorize(
        &mut self,
        attempt: &mut Attempt,
        request: &Request,
        trust: Trust,
        entropy: u128,
    ) -> Vec<(HeaderName, String)> {
        let body = request.body.as_ref().map_or(&[][..], |(_, body)| body);
        let (method, uri) = (request.method.as_str(), request.uri.as_str());
        attempt.generation = self.generation;
        attempt.authorized = false;
        attempt.tokens = Tokens::default();
        if let Some(bearer) = &self.bearer {
            if !trust.service {
                return Vec::new();
            }
            let method = request.method.as_method();
            return bearer.authorize(&method, trust.to_ourselves, trust.secure, &mut attempt.tokens);
        }
        if let Some(trial) = &mut attempt.trial {
            attempt.authorized = true;
            return self.client.authorize_trial(trial, trust.service, method, uri, body, entropy);
        }
        // Nobody but the service gets a proof that it did not ask for.
        if !trust.service || !self.client.is_ready() {
            return Vec::new();
        }
        attempt.authorized = true;
        self.client.authorize(method, uri, body, entropy)
    }

    /// A final answer other than 401 and 407 came.
    pub(crate) fn accepted(&mut self, attempt: &mut Attempt, answer: &Message) {
        if let Some(trial) = attempt.trial.take() {
            // The password may have changed meanwhile: then the trial is of no use.
            if attempt.epoch == self.epoch {
                let adopted = self.client.adopt(*trial);
                self.note_learned(adopted);
            }
            return;
        }
        if attempt.authorized && attempt.generation == self.generation {
            self.client.accepted();
            for (name, proxy) in
                [(HeaderName::AuthenticationInfo, false), (HeaderName::ProxyAuthenticationInfo, true)]
            {
                if let Some(row) = answer.header(name) {
                    self.client.learn_info(row, proxy);
                }
            }
        }
    }

    /// A 401 or 407 came.
    pub(crate) fn challenged(
        &mut self,
        attempt: &mut Attempt,
        request: &Request,
        answer: &Message,
        ours: bool,
        trust: Trust,
    ) -> Outcome {
        let Some(bearer) = &mut self.bearer else {
            return match self.digest_challenged(attempt, answer, ours) {
                Ok(()) => Outcome::Again,
                Err(cause) => Outcome::Refused(cause, None),
            };
        };
        let unsupported = Cause::UnsupportedChallenge { code: answer.status().unwrap_or(401) };
        attempt.rounds += 1;
        if attempt.rounds > MAX_TOKEN_ROUNDS || !trust.service {
            return Outcome::Refused(unsupported, None);
        }
        let method = request.method.as_method();
        match bearer.challenged(attempt.tokens, &method, trust.to_ourselves, answer, trust.secure) {
            Verdict::Again => Outcome::Again,
            Verdict::Wait(needed) => Outcome::Wait(needed),
            Verdict::Refused(needed) => Outcome::Refused(unsupported, needed),
        }
    }

    /// A 401 or 407 came, and there is a password. `Ok` when the request is worth sending again.
    ///
    /// `ours` says that it is the registrar's: its word on the password counts for everything that follows. Anybody
    /// else's counts for this request.
    fn digest_challenged(
        &mut self,
        attempt: &mut Attempt,
        answer: &Message,
        ours: bool,
    ) -> Result<(), Cause> {
        let code = answer.status().unwrap_or(401);
        let challenges = answer.challenges();
        let rejected = challenges.iter().find(|challenge| self.rejected.contains(&challenge.realm));
        if let Some(challenge) = rejected {
            return Err(Cause::WrongPassword { realm: challenge.realm.clone(), code });
        }
        attempt.rounds += 1;
        if attempt.rounds > MAX_ROUNDS {
            let realm = challenges.first().map(|challenge| challenge.realm.clone()).unwrap_or_default();
            return Err(if ours { self.reject(realm, code) } else { Cause::WrongPassword { realm, code } });
        }
        // Another request has learned a newer nonce of every realm since this one was sent.
        let overtaken = !challenges.is_empty()
            && challenges.iter().all(|challenge| {
                self.learned.iter().any(|(proxy, realm, generation)| {
                    *proxy == challenge.proxy && *realm == challenge.realm && *generation > attempt.generation
                })
            });
        if overtaken {
            attempt.trial = None;
            return Ok(());
        }
        if !ours {
            return self.try_apart(attempt, &challenges, code);
        }
        let refused = attempt.authorized && attempt.generation == self.generation;
        match self.client.learn(&challenges, refused) {
            Ok(()) => {
                self.note_learned(
                    challenges.into_iter().map(|challenge| (challenge.proxy, challenge.realm)).collect(),
                );
                Ok(())
            }
            Err(AuthError::Rejected(realm)) => Err(self.reject(realm, code)),
            Err(error) => {
                tracing::info!(%error, "a challenge was not answered");
                Err(Cause::UnsupportedChallenge { code })
            }
        }
    }

    /// Prepares another attempt at this one request, which leaves everything else as it is.
    fn try_apart(&self, attempt: &mut Attempt, challenges: &[Challenge], code: u16) -> Result<(), Cause> {
        let again = attempt.trial.is_some();
        let refused = attempt.authorized && (again || attempt.generation == self.generation);
        let mut trial = match attempt.trial.take() {
            Some(trial) if attempt.epoch == self.epoch => trial,
            _ => Box::new(self.client.trial()),
        };
        match trial.learn(challenges, refused) {
            Ok(()) => {
                attempt.trial = Some(trial);
                attempt.epoch = self.epoch;
                Ok(())
            }
            Err(AuthError::Rejected(realm)) => Err(Cause::WrongPassword { realm, code }),
            Err(error) => {
                tracing::info!(%error, "a challenge was not answered");
                Err(Cause::UnsupportedChallenge { code })
            }
        }
    }

    fn note_learned(&mut self, realms: Vec<(bool, String)>) {
        self.generation += 1;
        for (proxy, realm) in realms {
            self.learned.retain(|(known, name, _)| *known != proxy || *name != realm);
            if self.learned.len() == MAX_REALMS {
                self.learned.remove(0);
            }
            self.learned.push((proxy, realm, self.generation));
        }
    }

    fn reject(&mut self, realm: String, code: u16) -> Cause {
        if self.rejected.len() == MAX_REALMS {
            self.rejected.remove(0);
        }
        self.rejected.push(realm.clone());
        // What is sent from now on carries no proof that was refused.
        self.client.forget();
        self.learned.clear();
        self.generation += 1;
        Cause::WrongPassword { realm, code }
    }
}
