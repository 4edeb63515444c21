//! Proving the password, without ever storming.
//!
//! The digest client remembers one nonce for each realm. Many requests are on their way at once, so an answer may refuse a nonce that has been
//! replaced meanwhile: that says nothing about the password. A generation number tells such answers apart.

use crate::agent::Cause;
use crate::digest::{AuthError, DigestClient, Policy, Secret};
use crate::message::{HeaderName, Message};

/// How often one request may answer a challenge. Two is the usual case of a nonce that grew stale; one more is for a race.
const MAX_ROUNDS: u8 = 3;

/// Realms remembered as learned or as rejecting.
const MAX_REALMS: usize = 8;

pub(crate) struct Auth {
    client: DigestClient,
    generation: u64,
    /// Realms with the generation in which their nonce was learned.
    learned: Vec<(bool, String, u64)>,
    rejected: Vec<String>,
}

/// What a request remembers of its last attempt.
#[derive(Copy, Clone, Default)]
pub(crate) struct Attempt {
    generation: u64,
    authorized: bool,
    rounds: u8,
}

impl Auth {
    pub(crate) fn new(user: String, password: Secret, policy: Policy) -> Self {
        Self {
            client: DigestClient::new(user, password, policy),
            generation: 0,
            learned: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// Lets rejected realms have another try.
    pub(crate) fn forgive(&mut self) {
        self.rejected.clear();
    }

    pub(crate) fn set_password(&mut self, password: Secret) {
        self.client.set_password(password);
        self.rejected.clear();
        self.learned.clear();
        self.generation += 1;
    }

    /// The credentials for a request that leaves now.
    pub(crate) fn authorize(
        &mut self,
        attempt: &mut Attempt,
        method: &str,
        uri: &str,
        body: &[u8],
        entropy: u128,
    ) -> Vec<(HeaderName, String)> {
        attempt.generation = self.generation;
        attempt.authorized = false;
        if !self.client.is_ready() {
            return Vec::new();
        }
        attempt.authorized = true;
        self.client.authorize(method, uri, body, entropy)
    }

    /// A final answer other than 401 and 407 came.
    pub(crate) fn accepted(&mut self, attempt: Attempt, answer: &Message) {
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

    /// A 401 or 407 came. `Ok` when the request is worth sending again.
    pub(crate) fn challenged(&mut self, attempt: &mut Attempt, answer: &Message) -> Result<(), Cause> {
        let code = answer.status().unwrap_or(401);
        let challenges = answer.challenges();
        let rejected = challenges.iter().find(|challenge| self.rejected.contains(&challenge.realm));
        if let Some(challenge) = rejected {
            return Err(Cause::WrongPassword { realm: challenge.realm.clone(), code });
        }
        attempt.rounds += 1;
        if attempt.rounds > MAX_ROUNDS {
            let realm = challenges.first().map(|challenge| challenge.realm.clone()).unwrap_or_default();
            return Err(self.reject(realm, code));
        }
        // Another request has learned a newer nonce of every realm since this one was sent.
        let overtaken = !challenges.is_empty()
            && challenges.iter().all(|challenge| {
                self.learned.iter().any(|(proxy, realm, generation)| {
                    *proxy == challenge.proxy && *realm == challenge.realm && *generation > attempt.generation
                })
            });
        if overtaken {
            return Ok(());
        }
        let refused = attempt.authorized && attempt.generation == self.generation;
        match self.client.learn(&challenges, refused) {
            Ok(()) => {
                self.generation += 1;
                for challenge in challenges {
                    self.learned
                        .retain(|(proxy, realm, _)| *proxy != challenge.proxy || *realm != challenge.realm);
                    if self.learned.len() == MAX_REALMS {
                        self.learned.remove(0);
                    }
                    self.learned.push((challenge.proxy, challenge.realm, self.generation));
                }
                Ok(())
            }
            Err(AuthError::Rejected(realm)) => Err(self.reject(realm, code)),
            Err(error) => {
                tracing::info!(%error, "a challenge was not answered");
                Err(Cause::UnsupportedChallenge { code })
            }
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
