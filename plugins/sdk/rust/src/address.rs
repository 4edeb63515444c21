//! Addresses, as far as a plugin compares them with what an operator wrote.

/// What two ways to write one person's address have in common: user and host, the host in lower case, without
/// scheme, parameters and headers. Not for sending: for keys and for comparing.
///
/// ```
/// use attache_plugin::address::key;
///
/// assert_eq!(key("sip:bob@Example.com;transport=tcp"), "bob@example.com");
/// assert_eq!(key("im:bob@example.com"), key("bob@example.com"));
/// assert_ne!(key("sip:Bob@example.com"), key("sip:bob@example.com"));
/// ```
pub fn key(address: &str) -> String {
    let address = address.trim();
    let rest = SCHEMES.iter().find_map(|scheme| strip_scheme(address, scheme)).unwrap_or(address);
    let end = rest.rfind('@').unwrap_or(0);
    let end = rest[end..].find([';', '?']).map_or(rest.len(), |at| end + at);
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => format!("{user}@{}", host.to_ascii_lowercase()),
        None => rest[..end].to_ascii_lowercase(),
    }
}

/// The part that names a person where no display name is known: `bob` of `sip:bob@example.com`.
pub fn user(address: &str) -> String {
    let key = key(address);
    key.rsplit_once('@').map_or(key.as_str(), |(user, _)| user).to_owned()
}

const SCHEMES: [&str; 5] = ["sip", "sips", "im", "pres", "tel"];

fn strip_scheme<'a>(address: &'a str, scheme: &str) -> Option<&'a str> {
    let (before, rest) = address.split_once(':')?;
    before.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ignore_what_does_not_name_a_person() {
        assert_eq!(key("SIPS:bob@EXAMPLE.com:5061;lr?Subject=x"), "bob@example.com:5061");
        assert_eq!(key("sip:example.com;lr"), "example.com");
        assert_eq!(key("sip:bob;day=tue@example.com"), "bob;day=tue@example.com");
        assert_eq!(key("sip:bob@[::1]:5060"), "bob@[::1]:5060");
        assert_eq!(key(""), "");
    }

    #[test]
    fn the_user_stands_in_for_a_name() {
        assert_eq!(user("sip:john.doe@example.com"), "john.doe");
        assert_eq!(user("example.com"), "example.com");
    }
}
