//! Who may do what. Every request but OPTIONS is somebody's: its sender must prove to be the owner of the address in From.

use std::time::{Duration, Instant};

use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message, Method, NameAddr};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use attache_sip::uri::Scheme;
use rand_chacha::rand_core::Rng as _;

use super::Core;
use crate::directory::quoted;
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
    /// For how long what proved it is good: what is granted must not last longer.
    pub(super) left: Duration,
}

/// What has to be remembered of a proof, so that it is good once only: nonce and count of a digest.
pub(super) type Once = Option<(Nonce, u32)>;

/// The name under which wrong tokens of one host are counted. No user has it.
const TOKENS: &str = "Bearer ";

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
        let outcome = self.look_at(now, now, request, flow, challenger).and_then(|(sender, once)| {
            if once.is_none_or(|(nonce, count)| self.directory.uses(sender.account, nonce, count)) {
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
                // A stranger's INVITE would otherwise lie there until an ACK comes for the refusal.
                self.endpoint.forget(id);
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
    ) -> Result<(Sender, Once), Box<Response>> {
        let sender = sender_of(request);
        let source = flow.remote.ip();
        if self.wanted_token.is_some()
            && let Some(token) = bearer(request).filter(|_| flow.transport.is_secure())
        {
            return self.look_at_token(now, request, flow, challenger, token, sender.as_deref());
        }
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
                        Some(aor) => Ok((Sender { account, aor, left: Duration::MAX }, Some((nonce, count)))),
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
        let sender = sender_of(request);
        let (status, name) = match challenger {
            Challenger::Server => (401, HeaderName::WwwAuthenticate),
            Challenger::Proxy => (407, HeaderName::ProxyAuthenticate),
        };
        let entropy = self.rng.next_u32();
        let challenges = self.directory.challenges(sender.as_deref(), flow.remote.ip(), now, entropy, stale);
        // Whoever reads a token has it: none is asked for where others read along.
        let token = flow.transport.is_secure().then(|| self.token_challenge(None)).flatten();
        // A 407 to what is passed on could be anybody's, so clients do not believe it about tokens: the answer to a registration
        // says beforehand that it will be meant (RFC 3261, section 20.27).
        let foretold = token.clone().filter(|_| request.method() == Some(Method::Register));
        let response = challenges
            .into_iter()
            .chain(token)
            .fold(Response::new(status), |response, challenge| response.header(name, challenge));
        match foretold {
            Some(challenge) => response.header(HeaderName::ProxyAuthenticate, challenge),
            None => response,
        }
    }

    /// The sender whom an access token proves (RFC 8898, section 2).
    fn look_at_token(
        &mut self,
        now: Instant,
        request: &Message,
        flow: &Flow,
        challenger: Challenger,
        token: &[u8],
        sender: Option<&str>,
    ) -> Result<(Sender, Once), Box<Response>> {
        let source = flow.remote.ip();
        if let Some(wait) = self.guesses.wait(TOKENS, source, now) {
            let refusal = Response::new(503).reason("Too Many Wrong Tokens");
            let seconds = (wait.as_secs() + 1).to_string();
            return Err(Box::new(refusal.header(HeaderName::RetryAfter, seconds)));
        }
        let Some((owner, left)) = self.tokens.find(token, self.wall(now)) else {
            self.guesses.failed(TOKENS, source, &String::from_utf8_lossy(token), now);
            tracing::info!(remote = %flow.remote, "a token is unknown or has expired");
            let mut refusal = self.challenge(now, request, flow, challenger, false);
            let wanted = self.token_challenge(Some("invalid_token")).unwrap_or_default();
            let is_token = |value: &str| value.starts_with("Bearer ");
            if let Some((_, value)) = refusal.headers.iter_mut().find(|(_, value)| is_token(value)) {
                *value = wanted;
            }
            return Err(Box::new(refusal));
        };
        let account = self.directory.account_of(&owner);
        let aor = sender.and_then(|aor| self.directory.find(aor));
        match account.zip(aor).filter(|(account, aor)| self.directory.owns(*account, aor)) {
            Some((account, aor)) => Ok((Sender { account, aor, left }, None)),
            None => Err(Box::new(Response::new(403).reason("From Is Not Yours"))),
        }
    }

    /// What asks for an access token.
    fn token_challenge(&self, error: Option<&str>) -> Option<String> {
        let (server, scope) = self.wanted_token.as_ref()?;
        let mut challenge =
            format!("Bearer realm={}, authz_server={}", quoted(self.directory.realm()), quoted(server));
        for (name, value) in [("scope", scope.as_deref()), ("error", error)] {
            if let Some(value) = value {
                challenge.push_str(&format!(", {name}={}", quoted(value)));
            }
        }
        Some(challenge)
    }

    /// The user whom a request is for; `None` when it was answered, because there is no such user here.
    pub(super) fn addressee(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
    ) -> Option<Aor> {
        let uri = request.request_uri().ok();
        if let Some(uri) = uri.filter(|uri| uri.scheme() == Scheme::Tel) {
            let found = self.directory.find_number(&uri);
            if found.is_none() {
                self.refuse(now, id, 404, "");
            }
            return found;
        }
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
        let found = found.or_else(|| self.directory.find_number(&uri?));
        if found.is_none() {
            self.refuse(now, id, 404, "");
        }
        found
    }
}

/// The access token of a request.
fn bearer(request: &Message) -> Option<&[u8]> {
    let rows = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
    rows.into_iter().flat_map(|name| request.headers(name)).find_map(|row| {
        let (scheme, token) = row.split_at_checked(TOKENS.len())?;
        scheme.eq_ignore_ascii_case(TOKENS.as_bytes()).then(|| token.trim_ascii())
    })
}

/// Who a request says that it is from. Who wants to be nobody to others (RFC 3323, section 4.1.1.3) tells us alone
/// (RFC 3325, section 9.2).
fn sender_of(request: &Message) -> Option<String> {
    let from = request.from().ok()?.uri().ok()?;
    if domain(&from).as_deref() == Some("anonymous.invalid") {
        let preferred = NameAddr::parse(request.header(HeaderName::PPreferredIdentity)?)?;
        return identity(&preferred.uri().ok()?);
    }
    identity(&from)
}
