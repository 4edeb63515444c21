//! `MessengerService` and `MessengerServices`.

use std::sync::Arc;

use super::{
    Failure, MISTATUS, Result,
    messenger::{Inner, own_status, signed_out},
};
use crate::{Code, Error, ServiceCapabilities, SessionState};

/// One account on its service.
#[derive(Clone)]
pub struct MessengerService {
    account: crate::Messenger,
}

impl MessengerService {
    /// `IMessengerService.MyFriendlyName`: one's own display name there.
    #[must_use]
    pub fn my_friendly_name(&self) -> String {
        own_name(&self.account)
    }

    /// `IMessengerService.MySigninName`: one's own address there, signed in or not.
    #[must_use]
    pub fn my_signin_name(&self) -> String {
        self.account.address().to_string()
    }

    /// `IMessengerService.MyStatus`: one's own status there; offline while signed out.
    #[must_use]
    pub fn my_status(&self) -> MISTATUS {
        own_status(&self.account)
    }

    /// `IMessengerService.ServiceID`: the id of the service.
    #[must_use]
    pub fn service_id(&self) -> String {
        self.account.service().id.to_string()
    }

    /// `IMessengerService.ServiceName`: the name of the service.
    #[must_use]
    pub fn service_name(&self) -> String {
        self.account.service().name.to_string()
    }

    /// What the service can do, as far as it has said. Not in the 2007 API, whose `Property` had nothing.
    ///
    /// # Errors
    /// [`MSGR_E_NOT_LOGGED_ON`](super::MSGR_E_NOT_LOGGED_ON): only a service that is there says it.
    pub fn capabilities(&self) -> Result<ServiceCapabilities> {
        let service = self.account.service();
        match service.session {
            SessionState::SignedIn => Ok(service.capabilities),
            _ => Err(signed_out(&self.account)),
        }
    }
}

impl core::fmt::Debug for MessengerService {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("MessengerService").field(self.account.address()).finish()
    }
}

/// The services of all accounts, as they were at one moment.
#[derive(Clone, Debug)]
pub struct MessengerServices {
    services: Vec<MessengerService>,
    primary: Option<MessengerService>,
}

impl MessengerServices {
    pub(super) fn new(inner: &Arc<Inner>, accounts: Vec<crate::Messenger>) -> Self {
        let service = |account| MessengerService { account };
        let primary = inner.host.primary().map(service);
        Self { services: accounts.into_iter().map(service).collect(), primary }
    }

    /// `IMessengerServices.Item`: the service at a place, from 0.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) beyond the last.
    pub fn item(&self, index: usize) -> Result<MessengerService> {
        self.services
            .get(index)
            .cloned()
            .ok_or_else(|| Failure::argument("there is no service at this place"))
    }

    /// `IMessengerServices.PrimaryService`: the one that is meant when none is named.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn primary_service(&self) -> Result<MessengerService> {
        let none = || Failure::new(super::E_FAIL, Error::new(Code::AccountNotFound, "there is no account"));
        self.primary.clone().ok_or_else(none)
    }

    /// `IMessengerServices.Count`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.services.len()
    }

    /// `IMessengerServices._NewEnum`.
    pub fn iter(&self) -> core::slice::Iter<'_, MessengerService> {
        self.services.iter()
    }
}

impl<'a> IntoIterator for &'a MessengerServices {
    type Item = &'a MessengerService;
    type IntoIter = core::slice::Iter<'a, MessengerService>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One's own display name, or the user part of the address.
pub(super) fn own_name(account: &crate::Messenger) -> String {
    let name = account.snapshot().display_name.clone();
    if !name.is_empty() {
        return name.to_string();
    }
    let canonical = account.address().canonical();
    let bare = canonical.split_once(':').map_or(canonical, |(_, rest)| rest);
    bare.split('@').next().unwrap_or(bare).to_owned()
}

/// Numbers that Windows gives to locales (MS-LCID), for those that are met most.
const LOCALES: [(&str, i32); 33] = [
    ("ar-SA", 0x0401),
    ("cs-CZ", 0x0405),
    ("da-DK", 0x0406),
    ("de-AT", 0x0c07),
    ("de-CH", 0x0807),
    ("de-DE", 0x0407),
    ("el-GR", 0x0408),
    ("en-AU", 0x0c09),
    ("en-CA", 0x1009),
    ("en-GB", 0x0809),
    ("en-IE", 0x1809),
    ("en-US", 0x0409),
    ("es-ES", 0x0c0a),
    ("es-MX", 0x080a),
    ("fi-FI", 0x040b),
    ("fr-CA", 0x0c0c),
    ("fr-CH", 0x100c),
    ("fr-FR", 0x040c),
    ("he-IL", 0x040d),
    ("hu-HU", 0x040e),
    ("it-IT", 0x0410),
    ("ja-JP", 0x0411),
    ("ko-KR", 0x0412),
    ("nb-NO", 0x0414),
    ("nl-NL", 0x0413),
    ("pl-PL", 0x0415),
    ("pt-BR", 0x0416),
    ("pt-PT", 0x0816),
    ("ru-RU", 0x0419),
    ("sv-SE", 0x041d),
    ("tr-TR", 0x041f),
    ("zh-CN", 0x0804),
    ("zh-TW", 0x0404),
];

/// The number of a locale: of its language alone where the country has none; `LOCALE_CUSTOM_UNSPECIFIED` for others.
pub(super) fn locale_id(tag: &str) -> i32 {
    let exact = LOCALES.iter().find(|(known, _)| known.eq_ignore_ascii_case(tag));
    if let Some((_, number)) = exact {
        return *number;
    }
    let language = tag.split('-').next().unwrap_or_default();
    let near = LOCALES.iter().find(|(known, _)| known[..2].eq_ignore_ascii_case(language));
    // The low ten bits are the language.
    near.map_or(0x1000, |(_, number)| number & 0x3ff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_have_the_numbers_of_windows() {
        let known = ["en-US", "de-DE", "DE-de", "fr-BE", "en", "tlh"].map(locale_id);
        assert_eq!(known, [0x0409, 0x0407, 0x0407, 0x0c, 0x09, 0x1000]);
    }
}
