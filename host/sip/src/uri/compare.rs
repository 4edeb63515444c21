//! When two addresses mean the same (RFC 3261 §19.1.4), and the key under which an address of record is kept (§10.3).

use std::borrow::Cow;

use memchr::memchr;

use super::{Scheme, Uri};

/// Parameters that make addresses differ when only one of them has it.
const DISTINGUISHING: [&str; 4] = ["user", "ttl", "method", "maddr"];

impl Uri<'_> {
    /// Whether both addresses mean the same, by RFC 3261 §19.1.4 for addresses with a host and by RFC 3966 §5 in essence for `tel`.
    ///
    /// The relation is not transitive: a parameter that only one side has is ignored, except `user`, `ttl`, `method`,
    /// `maddr`, and `transport`, which is not the same as its absence.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if !same_scheme(self.scheme(), other.scheme()) {
            return false;
        }
        match (self.host(), other.host()) {
            (Some(a), Some(b)) => {
                a.same(&b)
                    && self.port() == other.port()
                    && same_text(self.user(), other.user())
                    && same_text(self.password(), other.password())
                    && self.params_agree(other)
                    && self.headers_agree(other)
            }
            _ if self.scheme() == Scheme::Tel => {
                digits(self.user().unwrap_or("")).eq(digits(other.user().unwrap_or("")))
                    && same_context(self.param("phone-context"), other.param("phone-context"))
            }
            _ => self.opaque() == other.opaque(),
        }
    }

    fn params_agree(&self, other: &Uri<'_>) -> bool {
        if self.params == other.params {
            return true;
        }
        // Sorted, so that two long lists are not compared each with each.
        let a = sorted_params(self);
        let b = sorted_params(other);
        let missing_matters = |name: &str| DISTINGUISHING.contains(&name) || name == "transport";
        let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
        loop {
            match (left.peek(), right.peek()) {
                (None, None) => return true,
                (Some((name, _)), None) => {
                    if missing_matters(name) {
                        return false;
                    }
                    left.next();
                }
                (None, Some((name, _))) => {
                    if missing_matters(name) {
                        return false;
                    }
                    right.next();
                }
                (Some((l, lv)), Some((r, rv))) => match l.cmp(r) {
                    std::cmp::Ordering::Equal => {
                        if lv != rv {
                            return false;
                        }
                        left.next();
                        right.next();
                    }
                    std::cmp::Ordering::Less => {
                        if missing_matters(l) {
                            return false;
                        }
                        left.next();
                    }
                    std::cmp::Ordering::Greater => {
                        if missing_matters(r) {
                            return false;
                        }
                        right.next();
                    }
                },
            }
        }
    }

    fn headers_agree(&self, other: &Uri<'_>) -> bool {
        let collect = |uri: &Uri<'_>| {
            let mut pairs: Vec<(String, String)> = uri
                .header_pairs()
                .map(|(n, v)| (canonical(n).to_ascii_lowercase(), canonical(v).into_owned()))
                .collect();
            pairs.sort_unstable();
            pairs
        };
        self.headers() == other.headers() || collect(self) == collect(other)
    }

    /// The canonical text of the address of record: scheme and host in lower case, escapes undone where they were not
    /// needed, password, parameters and headers gone (RFC 3261 §10.3). Two addresses of the same person and service
    /// have the same key; it is a key for maps, and a valid address again.
    ///
    /// `sips` and `sip` stay apart. A port stays where one was written.
    pub fn aor_key(&self) -> String {
        let mut key = String::with_capacity(self.as_str().len());
        key.push_str(&self.scheme().as_str().to_ascii_lowercase());
        key.push(':');
        match self.host() {
            Some(host) => {
                if let Some(user) = self.user() {
                    key.push_str(&canonical(user));
                    key.push('@');
                }
                match host {
                    super::Host::Name(name) => {
                        key.push_str(&name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
                    }
                    _ => key.push_str(&host.to_string()),
                }
                if let Some(port) = self.port() {
                    key.push(':');
                    key.push_str(&port.to_string());
                }
            }
            None if self.scheme() == Scheme::Tel => key.extend(digits(self.user().unwrap_or(""))),
            None => key.push_str(self.opaque()),
        }
        key
    }
}

fn same_scheme(a: Scheme<'_>, b: Scheme<'_>) -> bool {
    a == b || a.as_str().eq_ignore_ascii_case(b.as_str())
}

fn same_text(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || canonical(a) == canonical(b),
        (None, None) => true,
        _ => false,
    }
}

fn same_context(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        (None, None) => true,
        _ => false,
    }
}

/// A telephone number without its visual separators.
fn digits(number: &str) -> impl Iterator<Item = char> + '_ {
    number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).map(|c| c.to_ascii_lowercase())
}

fn sorted_params(uri: &Uri<'_>) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = uri
        .params
        .split(';')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (canonical(name).to_ascii_lowercase(), canonical(value).to_ascii_lowercase())
        })
        .collect();
    list.sort_unstable();
    list
}

/// Escapes that were not needed undone, the needed ones in upper case.
fn canonical(text: &str) -> Cow<'_, str> {
    let Some(first) = memchr(b'%', text.as_bytes()) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = memchr(b'%', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = rest.get(at + 1..at + 3).and_then(|two| u8::from_str_radix(two, 16).ok());
        let Some(octet) = escape else {
            out.push('%');
            rest = &rest[at + 1..];
            continue;
        };
        // Only the unreserved characters of RFC 2396 mean the same with and without an escape.
        if octet.is_ascii_alphanumeric()
            || matches!(octet, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
        {
            out.push(char::from(octet));
        } else {
            out.push('%');
            out.push_str(&rest[at + 1..at + 3].to_ascii_uppercase());
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}
