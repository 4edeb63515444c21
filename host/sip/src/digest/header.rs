//! Challenges and credentials as they stand in headers.

use std::fmt::Write as _;

use memchr::memchr2;

use super::hash::{Algorithm, Qop};
use crate::text::{self, Split, trim, trim_start};

/// A digest challenge (RFC 7616 §3.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// Whether a proxy asks (407), not the service itself (401).
    pub proxy: bool,
    /// The realm, to which user name and password belong.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// Returned untouched.
    pub opaque: Option<String>,
    /// The algorithm; `None` for one that this crate does not know. MD5 where none was named.
    pub algorithm: Option<Algorithm>,
    /// Whether an algorithm was named; when not, none is written into the credentials either.
    pub algorithm_named: bool,
    /// Whether any quality was offered; when not, the form of RFC 2069 is answered.
    pub qop_offered: bool,
    /// Whether `auth` was offered.
    pub qop_auth: bool,
    /// Whether `auth-int` was offered.
    pub qop_auth_int: bool,
    /// The password was right, only the nonce was too old.
    pub stale: bool,
    /// The server understands hashed user names (RFC 7616 §3.4.4).
    pub userhash: bool,
}

impl Challenge {
    /// Reads every digest challenge in a row. Rows should have one each (RFC 3261 §7.3.1), but RFC 9110 allows several; other schemes are skipped.
    pub fn parse_row(row: &[u8], proxy: bool) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut current: Option<Self> = None;
        for part in Split::new(row, b',') {
            let mut part = part;
            // `Scheme name=value` opens a challenge; `name=value` continues it.
            if let Some(at) = memchr2(b' ', b'=', part)
                && part[at] == b' '
                && trim_start(&part[at..]).first() != Some(&b'=')
            {
                all.extend(current.take().filter(Self::is_complete));
                if part[..at].eq_ignore_ascii_case(b"Digest") {
                    current = Some(Self::empty(proxy));
                }
                part = trim(&part[at..]);
            }
            if let Some(challenge) = &mut current
                && let Some((name, value)) = pair(part)
            {
                challenge.set(name, &value);
            }
        }
        all.extend(current.filter(Self::is_complete));
        all
    }

    fn empty(proxy: bool) -> Self {
        Self {
            proxy,
            realm: String::new(),
            nonce: String::new(),
            opaque: None,
            algorithm: Some(Algorithm::Md5),
            algorithm_named: false,
            qop_offered: false,
            qop_auth: false,
            qop_auth_int: false,
            stale: false,
            userhash: false,
        }
    }

    fn is_complete(&self) -> bool {
        !self.nonce.is_empty()
    }

    fn set(&mut self, name: &[u8], value: &str) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("realm") {
            value.clone_into(&mut self.realm);
        } else if is("nonce") {
            value.clone_into(&mut self.nonce);
        } else if is("opaque") {
            self.opaque = Some(value.to_owned());
        } else if is("algorithm") {
            self.algorithm = Algorithm::parse(value.as_bytes());
            self.algorithm_named = true;
        } else if is("qop") {
            for quality in value.split(',') {
                match Qop::parse(quality.trim().as_bytes()) {
                    Some(Qop::Auth) => self.qop_auth = true,
                    Some(Qop::AuthInt) => self.qop_auth_int = true,
                    None => {}
                }
            }
            self.qop_offered = !value.trim().is_empty();
        } else if is("stale") {
            self.stale = value.eq_ignore_ascii_case("true");
        } else if is("userhash") {
            self.userhash = value.eq_ignore_ascii_case("true");
        }
    }
}

/// Digest credentials as received (RFC 7616 §3.4).
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The user name, or its hash where `userhash` says so.
    pub username: String,
    /// The realm.
    pub realm: String,
    /// The nonce that was answered.
    pub nonce: String,
    /// The address that the client signed.
    pub uri: String,
    /// The proof.
    pub response: String,
    /// The algorithm; `None` for one that this crate does not know.
    pub algorithm: Option<Algorithm>,
    /// The client's nonce.
    pub cnonce: Option<String>,
    /// What was given in the challenge.
    pub opaque: Option<String>,
    /// The quality; `None` in the form of RFC 2069.
    pub qop: Option<Qop>,
    /// How often the nonce was used, as eight hexadecimal digits.
    pub nc: Option<String>,
    /// Whether the user name is a hash.
    pub userhash: bool,
}

impl Credentials {
    /// Reads the value of Authorization or Proxy-Authorization. `None` for other schemes and where a needed part is missing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at(memchr::memchr(b' ', value)?);
        scheme.eq_ignore_ascii_case(b"Digest").then_some(())?;
        let mut found = Self {
            username: String::new(),
            realm: String::new(),
            nonce: String::new(),
            uri: String::new(),
            response: String::new(),
            algorithm: Some(Algorithm::Md5),
            cnonce: None,
            opaque: None,
            qop: None,
            nc: None,
            userhash: false,
        };
        for part in Split::new(rest, b',') {
            let Some((name, value)) = pair(part) else { continue };
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if is("username") {
                found.username = value;
            } else if is("username*") {
                found.username = extended(&value)?;
            } else if is("realm") {
                found.realm = value;
            } else if is("nonce") {
                found.nonce = value;
            } else if is("uri") {
                found.uri = value;
            } else if is("response") {
                found.response = value;
            } else if is("algorithm") {
                found.algorithm = Algorithm::parse(value.as_bytes());
            } else if is("cnonce") {
                found.cnonce = Some(value);
            } else if is("opaque") {
                found.opaque = Some(value);
            } else if is("qop") {
                found.qop = Some(Qop::parse(value.as_bytes())?);
            } else if is("nc") {
                found.nc = Some(value);
            } else if is("userhash") {
                found.userhash = value.eq_ignore_ascii_case("true");
            }
        }
        let complete = !found.username.is_empty() && !found.nonce.is_empty() && !found.response.is_empty();
        complete.then_some(found)
    }

    /// The header's value: `qop`, `nc`, `algorithm` and `userhash` bare, the rest quoted (RFC 7616 §3.4).
    pub fn to_value(&self, with_algorithm: bool) -> String {
        let mut out = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\"",
            text::quote(&self.username),
            text::quote(&self.realm),
            text::quote(&self.nonce),
            text::quote(&self.uri),
            self.response,
        );
        let mut add = |name: &str, value: &str| {
            let _ = write!(out, ", {name}={value}");
        };
        if let Some(algorithm) = self.algorithm
            && with_algorithm
        {
            add("algorithm", algorithm.as_str());
        }
        if let Some(cnonce) = &self.cnonce {
            add("cnonce", &text::quote(cnonce));
        }
        if let Some(opaque) = &self.opaque {
            add("opaque", &text::quote(opaque));
        }
        if let Some(qop) = self.qop {
            add("qop", qop.as_str());
        }
        if let Some(nc) = &self.nc {
            add("nc", nc);
        }
        if self.userhash {
            add("userhash", "true");
        }
        out
    }
}

// Enough to find the account, nothing to replay.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .field("qop", &self.qop)
            .finish_non_exhaustive()
    }
}

/// `name = value`, the value without quotes and escapes. Values that are not UTF-8 are none.
pub(super) fn pair(part: &[u8]) -> Option<(&[u8], String)> {
    let equals = memchr::memchr(b'=', part)?;
    let name = trim(&part[..equals]);
    let value = trim(&part[equals + 1..]);
    let value = match value.first() {
        Some(b'"') => text::unescape(text::unquote(value)).into_owned(),
        _ => value.to_vec(),
    };
    Some((name, String::from_utf8(value).ok()?))
}

/// `UTF-8''J%C3%A4s` (RFC 5987 §3.2).
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let charset = parts.next()?;
    let text = parts.nth(1)?;
    charset.eq_ignore_ascii_case("UTF-8").then_some(())?;
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}
