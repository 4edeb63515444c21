//! Who may do what. Every request but OPTIONS is somebody's: its sender must prove to be the owner of the address in From.

use std::time::Instant;

use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use rand_chacha::rand_core::Rng as _;

use super::Core;
use crate::directory::{Aor, Proof, domain, identity};
use crate::replay::Nonce;

/// Which of the two challenges of SIP a request gets.
#[derive(Copy, Clone, Eq, PartialEq)]
pub(super) enum Challenger {
    /// 401: the service itself acts on the request.
    Server,
    /// 407: it is passed on.
    Proxy,
}

/// A sender who has proved to be who they say.
pub(super) struct Sender {
    pub(super) account: usize,
    pub(super) aor: Aor,
}

/// Longer user names than any that exists are counted as one.
const LONGEST_NAME: usize = 128;

impl Core {
    /// The sender of a request; `None` when the request was answered with what is missing.
    pub(super) fn authenticate(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        challenger: Challenger,
    ) -> Option<Sender> {
        let outcome = self.look_at(now, now, request, flow, challenger).and_then(|(sender, nonce, count)| {
            if self.directory.uses(sender.account, nonce, count) {
                return Ok(sender);
            }
            // Retransmissions never come here, so a repeat is a replay.
            Err(Box::new(self.challenge(now, request, flow, challenger, true)))
        });
        match outcome {
            Ok(sender) => {
                self.guesses.succeeded(&self.directory.account(sender.account).name, flow.remote.ip());
                Some(sender)
            }
            Err(refusal) => {
                self.respond(now, id, &refusal);
                None
            }
        }
    }

    /// The sender of a request, as it proves at the time `then`, with a nonce and count that may have been used before;
    /// or the answer to one that proves nothing.
    pub(super) fn look_at(
        &mut self,
        now: Instant,
        then: Instant,
        request: &Message,
        flow: &Flow,
        challenger: Challenger,
    ) -> Result<(Sender, Nonce, u32), Box<Response>> {
        let sender = request.from().ok().and_then(|from| identity(&from.uri().ok()?));
        let source = flow.remote.ip();
        let credentials = self.directory.credentials(request);
        let claimed = credentials.as_ref().map(|credentials| self.directory.claimed(credentials));
        let claimed = claimed.map(|name| if name.len() > LONGEST_NAME { "" } else { name });
        if let Some(wait) = claimed.and_then(|name| self.guesses.wait(name, source, now)) {
            let seconds = wait.as_secs() + 1;
            let refusal = Response::new(503).reason("Too Many Wrong Passwords");
            return Err(Box::new(refusal.header(HeaderName::RetryAfter, seconds.to_string())));
        }
        let stale =
            match self.directory.proves(request, credentials.as_ref(), sender.as_deref(), source, then) {
                Ok((account, nonce, count)) => {
                    let aor = sender.as_deref().and_then(|aor| self.directory.find(aor));
                    return match aor.filter(|aor| self.directory.owns(account, aor)) {
                        Some(aor) => Ok((Sender { account, aor }, nonce, count)),
                        None => Err(Box::new(Response::new(403).reason("From Is Not Yours"))),
                    };
                }
                Err(Proof::Wrong) => {
                    let proof = credentials.as_ref().map_or("", |credentials| &*credentials.response);
                    self.guesses.failed(claimed.unwrap_or_default(), source, proof, now);
                    tracing::info!(remote = %flow.remote, "wrong password");
                    false
                }
                Err(Proof::Address) => {
                    return Err(Box::new(Response::new(403).reason("User Name Without Domain Wanted")));
                }
                Err(Proof::Stale) => true,
                Err(Proof::Absent | Proof::Malformed) => false,
            };
        Err(Box::new(self.challenge(now, request, flow, challenger, stale)))
    }

    fn challenge(
        &mut self,
        now: Instant,
        request: &Message,
        flow: &Flow,
        challenger: Challenger,
        stale: bool,
    ) -> Response {
        let sender = request.from().ok().and_then(|from| identity(&from.uri().ok()?));
        let (status, name) = match challenger {
            Challenger::Server => (401, HeaderName::WwwAuthenticate),
            Challenger::Proxy => (407, HeaderName::ProxyAuthenticate),
        };
        let entropy = self.rng.next_u32();
        let challenges = self.directory.challenges(sender.as_deref(), flow.remote.ip(), now, entropy, stale);
        challenges
            .into_iter()
            .fold(Response::new(status), |response, challenge| response.header(name, challenge))
    }

    /// The user whom a request is for; `None` when it was answered, because there is no such user here.
    pub(super) fn addressee(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
    ) -> Option<Aor> {
        let uri = request.request_uri().ok();
        let is_ours = uri.and_then(|uri| domain(&uri)).is_some_and(|domain| self.directory.is_ours(&domain));
        if !is_ours {
            // Passing it on would make this an open relay.
            self.refuse(now, id, 403, "Domain Not Served");
            return None;
        }
        let named = |uri| match self.registrar.device(&uri) {
            Some((aor, _)) => Some(aor),
            None => identity(&uri).map(Aor::from),
        };
        let found = uri.and_then(named).and_then(|aor| self.directory.find(&aor));
        if found.is_none() {
            self.refuse(now, id, 404, "");
        }
        found
    }
}
