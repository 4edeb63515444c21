//! Who the users are, and how they prove it.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attache_sip::digest::{Algorithm, Credentials, DigestServer, Password, Refusal};
use attache_sip::message::Message;
use attache_sip::uri::{Scheme, Uri};

use crate::config::Account;
use crate::replay::{Nonce, Replays};
use crate::throttle::source;

/// `user@domain` in canonical spelling: the same for `sip:`, `sips:`, `pres:` and `im:`, and whatever the port.
pub(crate) type Aor = Arc<str>;

/// The canonical spelling of an address's user and domain. `None` for an address that can be nobody's here.
pub(crate) fn identity(uri: &Uri<'_>) -> Option<String> {
    if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im) {
        return None;
    }
    uri.user()?;
    let key = uri.aor_key();
    let (_, rest) = key.split_once(':')?;
    let rest = match uri.port() {
        Some(port) => rest.strip_suffix(&format!(":{port}"))?,
        None => rest,
    };
    Some(rest.to_owned())
}

/// The domain of an address, in lower case and without its port.
pub(crate) fn domain(uri: &Uri<'_>) -> Option<String> {
    Some(uri.host()?.to_string().trim_end_matches('.').to_ascii_lowercase())
}

/// A telephone number without what only makes it easier to read; `None` for what is none.
pub(crate) fn digits(text: &str) -> Option<String> {
    let number: String = text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let bare = number.strip_prefix('+').unwrap_or(&number);
    let is_number = !bare.is_empty() && bare.len() <= 32 && bare.chars().all(|c| c.is_ascii_digit());
    is_number.then_some(number)
}

/// A text in quotes, as headers have it (RFC 3261, section 25.1).
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Users, domains, and one realm.
pub(crate) struct Directory {
    accounts: Vec<Account>,
    /// By name: those in several domains with passwords of their own stand several times.
    by_name: HashMap<String, Vec<usize>>,
    by_aor: HashMap<Aor, usize>,
    by_number: HashMap<String, Aor>,
    domains: Vec<String>,
    /// One challenge for each kind of account, since a hash of one algorithm proves nothing under another.
    both: DigestServer,
    sha256_only: DigestServer,
    md5_only: DigestServer,
    /// Keys the part of a nonce that names its receiver.
    key: [u8; 32],
    nonce_age: Duration,
    /// The counts that each account has used.
    replays: HashMap<usize, Replays>,
}

/// What credentials prove the sending of.
#[derive(Copy, Clone)]
pub(crate) struct Proving<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) body: &'a [u8],
}

/// Why a request's credentials were not accepted.
pub(crate) enum Proof {
    /// There are none for this realm.
    Absent,
    /// Their nonce is too old, was made before a restart or for another host, or was used with that count before.
    Stale,
    /// They prove nothing, over a nonce that was given to this host.
    Wrong,
    /// They name the user by the whole address, and only a hash for the name alone is known.
    Address,
    /// They are not as they must be.
    Malformed,
}

impl Directory {
    pub(crate) fn new(
        accounts: Vec<Account>,
        domains: Vec<String>,
        realm: &str,
        key: [u8; 32],
        epoch: Instant,
        nonce_age: Duration,
    ) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut by_aor = HashMap::new();
        let mut by_number = HashMap::new();
        let mut all = domains;
        for (index, account) in accounts.iter().enumerate() {
            by_name.entry(account.name.clone()).or_default().push(index);
            for domain in &account.domains {
                if !all.contains(domain) {
                    all.push(domain.clone());
                }
                let text = format!("sip:{}@{domain}", account.name);
                let aor = Uri::parse_str(&text).ok().and_then(|uri| identity(&uri));
                let aor = Aor::from(aor.unwrap_or_else(|| text["sip:".len()..].to_owned()));
                // Of somebody in several domains, the first.
                for number in &account.numbers {
                    by_number.entry(number.clone()).or_insert_with(|| Aor::clone(&aor));
                }
                by_aor.insert(aor, index);
            }
        }
        let server = |algorithms: &[Algorithm]| {
            DigestServer::new(realm, key, epoch).max_age(nonce_age).algorithms(algorithms)
        };
        Self {
            accounts,
            by_name,
            by_aor,
            by_number,
            domains: all,
            both: server(&[Algorithm::Sha256, Algorithm::Md5]),
            sha256_only: server(&[Algorithm::Sha256]),
            md5_only: server(&[Algorithm::Md5]),
            key,
            nonce_age,
            replays: HashMap::new(),
        }
    }

    /// The realm of passwords.
    pub(crate) fn realm(&self) -> &str {
        self.both.realm()
    }

    /// Whether this service is responsible for a domain.
    pub(crate) fn is_ours(&self, domain: &str) -> bool {
        self.domains.iter().any(|ours| ours == domain)
    }

    /// The one shared text of a user's address, if there is such a user.
    pub(crate) fn find(&self, aor: &str) -> Option<Aor> {
        self.by_aor.get_key_value(aor).map(|(aor, _)| Arc::clone(aor))
    }

    /// The user whom a telephone number stands for: that of a `tel:` address (RFC 3966), or one in place of a user's name.
    pub(crate) fn find_number(&self, uri: &Uri<'_>) -> Option<Aor> {
        self.by_number.get(&digits(uri.user()?)?).cloned()
    }

    /// The canonical spelling of a user's address, which may be written as a name alone where there is one domain.
    pub(crate) fn complete(&self, name: &str) -> Option<String> {
        let address = match (name.contains(':'), name.contains('@')) {
            (true, _) => name.to_owned(),
            (false, true) => format!("sip:{name}"),
            (false, false) => format!("sip:{name}@{}", self.domains.first()?),
        };
        identity(&Uri::parse_str(&address).ok()?)
    }

    /// The account that an address belongs to.
    pub(crate) fn account_of(&self, aor: &str) -> Option<usize> {
        self.by_aor.get(aor).copied()
    }

    /// Whether an address belongs to an account.
    pub(crate) fn owns(&self, account: usize, aor: &str) -> bool {
        self.by_aor.get(aor) == Some(&account)
    }

    /// The user name that credentials claim, for counting failures.
    pub(crate) fn claimed<'a>(&self, credentials: &'a Credentials) -> &'a str {
        // Some clients take the whole address for the name.
        credentials.username.split_once('@').map_or(&*credentials.username, |(name, _)| name)
    }

    /// The challenges for a request, by what the account of its sender can answer. Only the host that they are sent to
    /// can answer them. `entropy` makes them differ.
    pub(crate) fn challenges(
        &self,
        aor: Option<&str>,
        to: IpAddr,
        now: Instant,
        entropy: u32,
        stale: bool,
    ) -> Vec<String> {
        let account = aor.and_then(|aor| self.by_aor.get(aor)).map(|index| &self.accounts[*index]);
        let server = match account {
            Some(Account { sha256: Some(_), md5: None, .. }) => &self.sha256_only,
            Some(Account { sha256: None, md5: Some(_), .. }) => &self.md5_only,
            _ => &self.both,
        };
        server.challenges(now, self.entropy_for(to, entropy), stale)
    }

    /// Entropy whose other half names a host, to nobody but us. The nonce's own signature keeps both from being changed;
    /// so whoever answers with one has received it at that host, and no forged source address can act in its name.
    fn entropy_for(&self, host: IpAddr, entropy: u32) -> u64 {
        // Sip-hash with a secret in front: nobody outside can find two hosts with one value.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(&self.key);
        hasher.write_u32(entropy);
        source(host).hash(&mut hasher);
        let half = hasher.finish() as u32;
        u64::from(entropy) << 32 | u64::from(half)
    }

    /// The credentials of a request for this realm.
    pub(crate) fn credentials(&self, request: &Message) -> Option<Credentials> {
        let ours = |credentials: &Credentials| credentials.realm == self.both.realm();
        request.credentials(false).find(ours).or_else(|| request.credentials(true).find(ours))
    }

    /// Whether an account uses a nonce with that count for the first time; from then on it is used. To be asked with
    /// what [`proves`](Self::proves) returned.
    pub(crate) fn uses(&mut self, account: usize, nonce: Nonce, count: u32) -> bool {
        self.replays.entry(account).or_default().is_fresh(nonce, count, self.nonce_age)
    }

    /// An account by the number that [`proves`](Self::proves) returned.
    pub(crate) fn account(&self, account: usize) -> &Account {
        &self.accounts[account]
    }

    /// The account that credentials prove, with their nonce and count, which may have been used before.
    pub(crate) fn proves(
        &self,
        request: &Message,
        credentials: Option<&Credentials>,
        sender: Option<&str>,
        from: IpAddr,
        now: Instant,
    ) -> Result<(usize, Nonce, u32), Proof> {
        let credentials = credentials.ok_or(Proof::Absent)?;
        let method = request.method().ok_or(Proof::Malformed)?;
        let uri = std::str::from_utf8(request.request_uri_bytes()).map_err(|_| Proof::Malformed)?;
        let proving = Proving { method: method.as_str(), uri, body: request.body() };
        self.proves_that(&proving, Some(credentials), sender, from, now)
    }

    /// Whether credentials are for the realm of this service.
    pub(crate) fn is_realm(&self, realm: &str) -> bool {
        realm == self.both.realm()
    }

    /// As [`proves`](Self::proves), for a request of whichever protocol.
    pub(crate) fn proves_that(
        &self,
        proving: &Proving<'_>,
        credentials: Option<&Credentials>,
        sender: Option<&str>,
        from: IpAddr,
        now: Instant,
    ) -> Result<(usize, Nonce, u32), Proof> {
        let credentials = credentials.ok_or(Proof::Absent)?;
        // Before the password is looked at: otherwise the answer would tell over any nonce whether a guess was right.
        let (made, entropy) = self.both.issued(&credentials.nonce).ok_or(Proof::Stale)?;
        if self.entropy_for(from, (entropy >> 32) as u32) != entropy {
            return Err(Proof::Stale);
        }
        let name = self.claimed(credentials);
        let named = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let index = match named {
            [] => return Err(Proof::Wrong),
            [one] => *one,
            several => {
                let sending = sender.and_then(|aor| self.by_aor.get(aor)).copied();
                sending.filter(|index| several.contains(index)).unwrap_or(several[0])
            }
        };
        let account = &self.accounts[index];
        let algorithm = credentials.algorithm.map(Algorithm::base);
        let (user, password): (&str, Option<&Password>) = if credentials.username.contains('@') {
            // The hash of a password covers the name, so each way to write that has one of its own.
            let Some(written) = account.by_address.iter().find(|one| one.user == credentials.username) else {
                return Err(if account.by_address.is_empty() { Proof::Address } else { Proof::Wrong });
            };
            let password = match algorithm {
                Some(Algorithm::Sha256) => Some(&written.sha256),
                Some(Algorithm::Md5) => Some(&written.md5),
                _ => None,
            };
            (&written.user, password)
        } else {
            let password = match algorithm {
                Some(Algorithm::Sha256) => account.sha256.as_ref(),
                Some(Algorithm::Md5) => account.md5.as_ref(),
                _ => None,
            };
            (&account.name, password)
        };
        let password = password.ok_or(Proof::Malformed)?;
        let Proving { method, uri, body } = *proving;
        match self.both.verify(now, credentials, user, password, method, Some(uri), body) {
            Ok(count) => Ok((index, Nonce { made, entropy }, count)),
            Err(Refusal::Stale) => Err(Proof::Stale),
            Err(Refusal::Wrong) => Err(Proof::Wrong),
            Err(_) => Err(Proof::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity_of(text: &str) -> Option<String> {
        identity(&Uri::parse_str(text).unwrap())
    }

    #[test]
    fn one_person_has_one_identity_in_every_spelling() {
        for text in [
            "sip:alice@Example.COM",
            "sips:alice@example.com",
            "pres:alice@example.com",
            "im:alice@example.com",
            "sip:alice@example.com:5060;transport=tcp",
            "sip:%61lice@example.com",
        ] {
            assert_eq!(identity_of(text).as_deref(), Some("alice@example.com"), "{text}");
        }
    }

    #[test]
    fn an_address_without_user_is_nobodys() {
        assert_eq!(identity_of("sip:example.com"), None);
        assert_eq!(identity_of("tel:+4930123456"), None);
    }

    #[test]
    fn a_user_part_keeps_its_case() {
        assert_ne!(identity_of("sip:Alice@example.com"), identity_of("sip:alice@example.com"));
    }
}
