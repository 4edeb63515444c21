//! Who may do what. Every request but OPTIONS is somebody's: its sender must prove to be the owner of the address in From.

use std::time::Instant;

use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use rand_chacha::rand_core::Rng as _;

use super::Core;
use crate::directory::{Aor, Proof, domain, identity};

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
        let sender = request.from().ok().and_then(|from| identity(&from.uri().ok()?));
        let source = flow.remote.ip();
        let credentials = self.directory.credentials(request);
        let claimed = credentials.as_ref().map(|credentials| self.directory.claimed(credentials));
        let claimed = claimed.map(|name| if name.len() > LONGEST_NAME { "" } else { name });
        if let Some(wait) = claimed.and_then(|name| self.guesses.wait(name, source, now)) {
            let seconds = wait.as_secs() + 1;
            let refusal = Response::new(503).reason("Too Many Wrong Passwords");
            self.respond(now, id, &refusal.header(HeaderName::RetryAfter, seconds.to_string()));
            return None;
        }
        let stale = match self.directory.check(request, credentials.as_ref(), sender.as_deref(), source, now)
        {
            Proof::Accepted(account) => {
                if let Some(name) = claimed {
                    self.guesses.succeeded(name, source);
                }
                let aor = sender.as_deref().and_then(|aor| self.directory.find(aor));
                if let Some(aor) = aor.filter(|aor| self.directory.owns(account, aor)) {
                    return Some(Sender { account, aor });
                }
                self.refuse(now, id, 403, "From Is Not Yours");
                return None;
            }
            Proof::Wrong => {
                let name = claimed.unwrap_or_default();
                self.guesses.failed(name, source, now);
                tracing::info!(remote = %flow.remote, "wrong password");
                false
            }
            Proof::Stale => true,
            Proof::Absent | Proof::Malformed => false,
        };
        let (status, name) = match challenger {
            Challenger::Server => (401, HeaderName::WwwAuthenticate),
            Challenger::Proxy => (407, HeaderName::ProxyAuthenticate),
        };
        let entropy = self.rng.next_u32();
        let mut response = Response::new(status);
        for challenge in self.directory.challenges(sender.as_deref(), source, now, entropy, stale) {
            response = response.header(name, challenge);
        }
        self.respond(now, id, &response);
        None
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
        let found = uri.and_then(|uri| identity(&uri)).and_then(|aor| self.directory.find(&aor));
        if found.is_none() {
            self.refuse(now, id, 404, "");
        }
        found
    }
}
