//! Addresses of people and services, compared as RFC 3261, section 19.1.4 wants.

use core::{
    fmt,
    hash::{Hash, Hasher},
};
use std::sync::Arc;

use attache_sip::uri::{Scheme, Uri, UriBuf};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

use crate::{code::Code, error::Error, id::AccountId};

/// An address of record, such as `sip:alice@example.com`. Cheap to clone.
///
/// Two addresses are equal when they name the same person: scheme and host in any case, escapes that were not needed
/// undone, visual separators of telephone numbers, passwords, parameters and headers ignored (RFC 3261, sections
/// 10.3 and 19.1.4; RFC 3966, section 5). A port that was written counts, also the default one: so says the RFC.
///
/// ```
/// use attache_messenger::address::Address;
///
/// let one = Address::parse("SIP:J%6Fhn.doe@[2001:DB8:0::9]:5070;transport=tcp")?;
/// assert_eq!(one, Address::parse("sip:John.doe@[2001:db8::9]:5070")?);
/// assert_ne!(one, Address::parse("sip:john.doe@[2001:db8::9]:5070")?, "user names have a case");
/// assert_eq!(Address::parse("tel:+1-201-555-0123")?, Address::parse("tel:+12015550123")?);
/// # Ok::<(), attache_messenger::error::Error>(())
/// ```
#[derive(Clone)]
pub struct Address {
    text: Arc<str>,
    canonical: Arc<str>,
}

impl Address {
    /// Longest address, in bytes.
    pub const MAX: usize = 512;

    /// Reads an address. A bare `alice@example.com` is taken as `sip:`.
    ///
    /// # Errors
    /// [`Code::InvalidAddress`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let shown = &text[..text.floor_char_boundary(128)];
        let wrong = |what: &str| Error::new(Code::InvalidAddress, format!("`{shown}` is no address: {what}"));
        if text.len() > Self::MAX {
            return Err(wrong("it is longer than 512 bytes"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>\"".contains(c)) {
            return Err(wrong("it holds characters that an address cannot have"));
        }
        let full = if has_scheme(text) { text.to_owned() } else { format!("sip:{text}") };
        let uri = Uri::parse_str(&full).map_err(|error| wrong(&error.to_string()))?;
        let mut canonical = uri.aor_key();
        match uri.scheme() {
            Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im => {
                if uri.user().is_none_or(str::is_empty) || uri.host().is_none() {
                    return Err(wrong("it needs user@host"));
                }
            }
            Scheme::Tel => {
                let number = canonical.strip_prefix("tel:").unwrap_or_default();
                let digits = number.strip_prefix('+').unwrap_or(number);
                if digits.is_empty()
                    || !digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'*' || b == b'#')
                {
                    return Err(wrong("it needs a telephone number"));
                }
                // The same local number means another telephone in another context (RFC 3966, section 5.1.5).
                if let Some(context) = uri.param("phone-context") {
                    canonical.push_str(";phone-context=");
                    canonical.push_str(&context.to_ascii_lowercase());
                }
            }
            _ => return Err(wrong("the scheme is not one of sip, sips, pres, im, tel")),
        }
        Ok(Self { text: full.into(), canonical: canonical.into() })
    }

    /// As it was given, with its scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// One spelling for everything that is equal.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The handle of the account with this address.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        let digest = Sha256::digest(self.canonical.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        AccountId(u64::from_be_bytes(first))
    }

    /// As a request needs it. `pres:` and `im:` are asked for at the same user and host by SIP, which is what RFC
    /// 3861 ends in where a domain has no records that say otherwise.
    pub(crate) fn to_uri(&self) -> Result<UriBuf, Error> {
        let sip = self
            .text
            .split_once(':')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("pres") || scheme.eq_ignore_ascii_case("im"))
            .map(|(_, rest)| format!("sip:{rest}"));
        UriBuf::parse(sip.as_deref().unwrap_or(&self.text))
            .map_err(|error| Error::new(Code::InvalidAddress, format!("`{self}` is no address: {error}")))
    }
}

/// Whether the text names its scheme: `alice@example.com:5060` does not.
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('@') && !scheme.starts_with('['))
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.canonical.cmp(&other.canonical)
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

// As it is written: one string.
impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_scheme_is_a_sip_address() {
        assert_eq!(Address::parse("bob@example.com").unwrap().as_str(), "sip:bob@example.com");
        assert_eq!(Address::parse("bob@example.com:5070").unwrap().as_str(), "sip:bob@example.com:5070");
    }

    #[test]
    fn what_names_nobody_is_refused_with_its_own_code() {
        for text in [
            "",
            "bob",
            "sip:",
            "sip:example.com",
            "sip:@example.com",
            "http://a@b",
            "mailto:a@b",
            "tel:",
            "a b@c",
        ] {
            assert_eq!(Address::parse(text).unwrap_err().code(), Code::InvalidAddress, "{text}");
        }
        assert_eq!(Address::parse(&"a".repeat(600)).unwrap_err().code(), Code::InvalidAddress);
    }

    #[test]
    fn dots_in_user_names_survive() {
        assert_eq!(
            Address::parse("sip:john.doe@Example.COM").unwrap().canonical(),
            "sip:john.doe@example.com"
        );
    }

    #[test]
    fn a_written_default_port_makes_another_address() {
        assert_ne!(Address::parse("sip:a@b.c").unwrap(), Address::parse("sip:a@b.c:5060").unwrap());
    }

    #[test]
    fn sips_is_not_sip() {
        assert_ne!(Address::parse("sip:a@b.c").unwrap(), Address::parse("sips:a@b.c").unwrap());
    }
}
