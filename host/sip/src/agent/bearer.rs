//! Access tokens instead of passwords (RFC 8898).
//!
//! A token is worth as much as the account while it lives, and whoever reads it has it. So it goes only to our own service, only over an
//! encrypted transport unless the configuration says otherwise, and never where a request travels on to somebody else: a peer's 401 is not
//! answered with it.

use memchr::memchr2;

use super::{Credential, TokenNeeded};
use crate::digest::Secret;
use crate::message::{HeaderName, Message, Method};
use crate::text::{Split, trim, trim_start, unescape, unquote};

/// What an account with a token knows.
pub(super) struct Bearer {
    token: Option<Secret>,
    /// Counts tokens, so that a refusal of an older one is told from a refusal of this one.
    epoch: u64,
    insecure: bool,
    /// Realms of our service that asked for a token: whether as a proxy, and their name.
    realms: Vec<(bool, String)>,
    /// The token of this number was asked for already.
    asked: Option<u64>,
    /// Credentials were accepted where a proxy or a server asked: they are sent without being asked for.
    ready: bool,
}

/// The numbers of the tokens that a request carried: for a server, and for proxies.
pub(super) type Tokens = [Option<u64>; 2];

/// Realms remembered.
const MAX_REALMS: usize = 4;

/// What is to be done about a challenge.
pub(super) enum Verdict {
    /// There is a token that the request did not carry: send it again.
    Again,
    /// The request waits for a token; the event is to be told if it is there.
    Wait(Option<TokenNeeded>),
    /// There is nothing that a token could do.
    Refused(Option<TokenNeeded>),
}

impl Bearer {
    pub(super) fn new(credential: &Credential) -> Option<Self> {
        match credential {
            Credential::Bearer { token, insecure } => Some(Self {
                token: token.clone(),
                epoch: 1,
                insecure: *insecure,
                realms: Vec::new(),
                asked: None,
                ready: false,
            }),
            Credential::Password(_) => None,
        }
    }

    pub(super) fn set_token(&mut self, token: Secret) {
        self.token = Some(token);
        self.epoch += 1;
        self.asked = None;
    }

    /// Lets everything be asked for again.
    pub(super) fn forgive(&mut self) {
        self.asked = None;
    }

    /// The credentials for a request: one header for a server of our service, and one for its proxies. `sent` notes the number of the
    /// token in them.
    pub(super) fn authorize(
        &self,
        method: &Method<'_>,
        to_ourselves: bool,
        secure: bool,
        sent: &mut Tokens,
    ) -> Vec<(HeaderName, String)> {
        let Some(token) = self.token.as_ref().filter(|_| self.ready && (secure || self.insecure)) else {
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (proxy, name) in [(false, HeaderName::Authorization), (true, HeaderName::ProxyAuthorization)] {
            let asked = self.realms.iter().any(|(known, _)| *known == proxy);
            if asked && (proxy || stays_at_service(method, to_ourselves)) {
                sent[usize::from(proxy)] = Some(self.epoch);
                headers.push((name, format!("Bearer {}", token.expose())));
            }
        }
        headers
    }

    fn want(&mut self, key: (bool, String)) {
        if !self.realms.contains(&key) && self.realms.len() < MAX_REALMS {
            self.realms.push(key);
        }
    }

    /// A 401 or 407 came to a request that carried the tokens `sent`.
    pub(super) fn challenged(
        &mut self,
        sent: Tokens,
        method: &Method<'_>,
        to_ourselves: bool,
        answer: &Message,
        secure: bool,
    ) -> Verdict {
        let proxy = answer.status() == Some(407);
        let name = if proxy { HeaderName::ProxyAuthenticate } else { HeaderName::WwwAuthenticate };
        let Some(challenge) = answer.headers(name).find_map(BearerChallenge::parse) else {
            return Verdict::Refused(None);
        };
        let key = (proxy, challenge.realm.clone());
        // What is passed on to others may be challenged by them, as a proxy too: then a realm counts only if it is known from what is
        // not passed on.
        let known = proxy && self.realms.contains(&key);
        if !known && !stays_at_service(method, to_ourselves) {
            return Verdict::Refused(None);
        }
        self.want(key);
        // Whoever acts on a request itself may say at once that its proxy wants the token as well (RFC 3261 §20.27 has that header
        // field in a 401, too): later there would be nobody to be believed about it.
        if !proxy && stays_at_service(method, to_ourselves) {
            for challenge in answer.headers(HeaderName::ProxyAuthenticate).filter_map(BearerChallenge::parse)
            {
                self.want((true, challenge.realm));
            }
        }
        let insecure = !secure && !self.insecure;
        let current = sent[usize::from(proxy)] == Some(self.epoch);
        let first = self.asked != Some(self.epoch);
        let needed = || TokenNeeded {
            realm: challenge.realm.clone(),
            authz_server: challenge.authz_server.clone(),
            scope: challenge.scope.clone(),
            error: challenge.error.clone().or_else(|| current.then(|| "invalid_token".to_owned())),
            insecure,
        };
        if insecure {
            self.asked = Some(self.epoch);
            return Verdict::Refused(first.then(needed));
        }
        self.ready = true;
        if self.token.is_some() && !current {
            return Verdict::Again;
        }
        self.asked = Some(self.epoch);
        Verdict::Wait(first.then(needed))
    }
}

/// Whether our own service acts on a request itself, so that what it carries is read by nobody else. What is addressed to another
/// account, of the same service even, may be passed on to a device of that person.
const fn stays_at_service(method: &Method<'_>, to_ourselves: bool) -> bool {
    match method {
        Method::Register | Method::Publish => true,
        Method::Subscribe => to_ourselves,
        _ => false,
    }
}

struct BearerChallenge {
    realm: String,
    authz_server: Option<String>,
    scope: Option<String>,
    error: Option<String>,
}

impl BearerChallenge {
    /// The bearer challenge in a row, which may hold others.
    fn parse(row: &[u8]) -> Option<Self> {
        let mut found = None;
        for part in Split::new(row, b',') {
            let mut part = part;
            if let Some(at) = memchr2(b' ', b'=', part)
                && part[at] == b' '
                && trim_start(&part[at..]).first() != Some(&b'=')
            {
                if found.is_some() {
                    break;
                }
                if part[..at].eq_ignore_ascii_case(b"Bearer") {
                    found = Some(Self { realm: String::new(), authz_server: None, scope: None, error: None });
                }
                part = trim(&part[at..]);
            }
            let Some(challenge) = &mut found else { continue };
            let Some(equals) = memchr::memchr(b'=', part) else { continue };
            let (name, value) = (trim(&part[..equals]), trim(&part[equals + 1..]));
            let value = String::from_utf8_lossy(&unescape(unquote(value))).into_owned();
            if name.eq_ignore_ascii_case(b"realm") {
                challenge.realm = value;
            } else if name.eq_ignore_ascii_case(b"authz_server") {
                challenge.authz_server = Some(value);
            } else if name.eq_ignore_ascii_case(b"scope") {
                challenge.scope = Some(value);
            } else if name.eq_ignore_ascii_case(b"error") {
                challenge.error = Some(value);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_is_found_among_others() {
        let row = br#"Digest realm="a", nonce="n", Bearer realm="example.com", authz_server="https://as.example.com/x,y", scope="sip presence", error="invalid_token", Basic realm="b""#;
        let challenge = BearerChallenge::parse(row).unwrap();
        assert_eq!(challenge.realm, "example.com");
        assert_eq!(challenge.authz_server.as_deref(), Some("https://as.example.com/x,y"));
        assert_eq!(challenge.scope.as_deref(), Some("sip presence"));
        assert_eq!(challenge.error.as_deref(), Some("invalid_token"));
        assert!(BearerChallenge::parse(br#"Digest realm="a", nonce="n""#).is_none());
    }
}
