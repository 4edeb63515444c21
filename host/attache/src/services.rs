//! The services behind a host: one for each account, and which of them is meant when none is named.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{Address, Host, Messenger, SessionState, Snapshot, XcapState};

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A service, as one account uses it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// Names the service: the same for all accounts of it, on every machine. A GUID in braces, made of its domain.
    pub id: Arc<str>,
    /// For people: [`AccountConfig::service_name`](crate::AccountConfig::service_name), or the domain.
    pub name: Arc<str>,
    /// The account.
    pub account: Address,
    /// Whether it is the one that is meant when none is named.
    pub primary: bool,
    /// State of the connection.
    pub session: SessionState,
    /// What the service can do, as far as it has said.
    pub capabilities: ServiceCapabilities,
}

/// What a service can do. `None` as long as it has not said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServiceCapabilities {
    /// It passes messages on (RFC 3428).
    pub messages: Option<bool>,
    /// It takes and tells presence (RFC 3856, RFC 3903).
    pub presence: Option<bool>,
    /// It watches lists (RFC 4662).
    pub lists: Option<bool>,
    /// It connects calls.
    pub calls: Option<bool>,
    /// It tells who watches (RFC 3858).
    pub watchers: Option<bool>,
    /// It holds conversations of several people together (RFC 4579).
    pub conferences: Option<bool>,
    /// It keeps contacts and rules (RFC 4825).
    pub contacts: Option<bool>,
}

impl ServiceCapabilities {
    fn of(snapshot: &Snapshot, conferences: bool) -> Self {
        let report = &snapshot.report;
        let has = |list: &[Arc<str>], word: &str| {
            (!list.is_empty()).then(|| list.iter().any(|it| it.eq_ignore_ascii_case(word)))
        };
        let service = &report.service;
        Self {
            messages: has(&service.allow, "MESSAGE"),
            presence: has(&service.allow, "PUBLISH")
                .and_then(|publish| Some(publish && has(&service.allow, "SUBSCRIBE")?)),
            lists: has(&service.supported, "eventlist"),
            calls: has(&service.allow, "INVITE"),
            watchers: has(&service.allow_events, "presence.winfo"),
            conferences: Some(conferences),
            contacts: match &report.xcap {
                XcapState::Off | XcapState::Refused { .. } => Some(false),
                XcapState::Synced { .. } => Some(true),
                _ => None,
            },
        }
    }
}

/// What an account says of its service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceName {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) conferences: bool,
}

impl ServiceName {
    pub(crate) fn new(address: &Address, name: Option<&str>, conferences: bool) -> Self {
        let domain = domain(address);
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&domain);
        Self { id: guid(&domain).into(), name: name.into(), conferences }
    }
}

/// The domain of an address; for a telephone number, the number.
fn domain(address: &Address) -> String {
    let canonical = address.canonical();
    let rest = canonical.split_once(':').map_or(canonical, |(_, rest)| rest);
    rest.rsplit_once('@').map_or(rest, |(_, domain)| domain).to_owned()
}

/// A GUID of version 8 (RFC 9562, section 5.8), as the 2007 API wrote them.
fn guid(domain: &str) -> String {
    let digest = Sha256::new().chain_update(b"attache service ").chain_update(domain.as_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xf << 76) | 8 << 76;
    let number = number & !(0b11 << 62) | 0b10 << 62;
    let text = format!("{number:032x}");
    format!("{{{}-{}-{}-{}-{}}}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

impl Host {
    /// The services of all accounts, in the order in which accounts were added.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceInfo> {
        let primary = self.primary().map(|messenger| messenger.address().clone());
        let info = |messenger: Messenger| {
            let mut info = messenger.service();
            info.primary = primary.as_ref() == Some(messenger.address());
            info
        };
        self.messengers().into_iter().map(info).collect()
    }
}

impl Messenger {
    /// The account's service. [`primary`](ServiceInfo::primary) is for [`Host::services`] to say, and false here.
    #[must_use]
    pub fn service(&self) -> ServiceInfo {
        let snapshot = self.snapshot();
        let ServiceName { id, name, conferences } = self.shared().service.clone();
        ServiceInfo {
            id,
            name,
            account: self.address().clone(),
            primary: false,
            session: snapshot.session,
            capabilities: ServiceCapabilities::of(&snapshot, conferences),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_service_is_that_of_its_domain() {
        let name = |address: &str, name| {
            ServiceName::new(&Address::parse(address).expect("an address"), name, false)
        };
        let (alice, bob) = (name("sip:alice@example.com", None), name("sip:bob@EXAMPLE.com", Some("Work")));
        assert_eq!(alice.id, bob.id);
        assert_eq!((&*alice.name, &*bob.name), ("example.com", "Work"));
        assert_eq!((alice.id.len(), alice.id.as_bytes()[15]), (38, b'8'));
        assert_ne!(alice.id, name("sip:alice@example.net", None).id);
    }
}
