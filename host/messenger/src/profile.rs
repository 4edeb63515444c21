//! Who a person is beside their presence: a name, telephones, an e-mail address, pages.
//!
//! People publish it with their presence: the name, the page and the picture as RFC 4482 has them, numbers and the e-mail
//! address as services of their own (RFC 4479, section 3.2), with the class `home`, `work` or `mobile` (RFC 4480, section
//! 3.3). What the account's user notes of a contact goes before that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{address::Address, call::PhoneKind, code::Code, error::Error};

/// Longest name, in bytes.
const MAX_NAME: usize = 256;
/// Longest e-mail address or URI, in bytes.
const MAX_URI: usize = 512;

/// Telephone numbers by kind, as addresses: see [`call::number`](crate::call::number).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Phones {
    /// At home.
    pub home: Option<Address>,
    /// At work.
    pub work: Option<Address>,
    /// Carried about.
    pub mobile: Option<Address>,
}

impl Phones {
    /// The number of a kind.
    #[must_use]
    pub fn get(&self, kind: PhoneKind) -> Option<&Address> {
        match kind {
            PhoneKind::Home => self.home.as_ref(),
            PhoneKind::Work => self.work.as_ref(),
            PhoneKind::Mobile => self.mobile.as_ref(),
        }
    }

    /// The place of a kind.
    pub fn get_mut(&mut self, kind: PhoneKind) -> &mut Option<Address> {
        match kind {
            PhoneKind::Home => &mut self.home,
            PhoneKind::Work => &mut self.work,
            PhoneKind::Mobile => &mut self.mobile,
        }
    }

    /// The numbers that there are.
    pub fn iter(&self) -> impl Iterator<Item = (PhoneKind, &Address)> {
        PhoneKind::ALL.into_iter().filter_map(|kind| Some((kind, self.get(kind)?)))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These, and where there is none, those of `others`.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        let mut all = self.clone();
        for (kind, number) in others.iter() {
            all.get_mut(kind).get_or_insert_with(|| number.clone());
        }
        all
    }
}

/// Who a person is. Nothing of another person's was checked by anybody, and addresses of pages and pictures are data: the
/// engine never fetches them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Profile {
    /// The name that they go by; empty for none. At most 256 bytes.
    pub display_name: Arc<str>,
    /// Telephones.
    pub phones: Phones,
    /// E-mail address, such as `bob@example.com`; at most 512 bytes.
    pub email: Option<Arc<str>>,
    /// Where a page on them is, as http or https; at most 512 bytes.
    pub homepage: Option<Arc<str>>,
    /// Where a picture of them is, as http or https; at most 512 bytes.
    pub icon: Option<Arc<str>>,
}

impl Profile {
    /// Checks what a person wants to publish.
    ///
    /// # Errors
    /// [`Code::InvalidFriendlyName`] for the name, [`Code::InvalidArgument`] for the rest.
    pub fn check(&self) -> Result<(), Error> {
        if self.display_name.len() > MAX_NAME || self.display_name.chars().any(char::is_control) {
            let text = "a name has at most 256 bytes, and no control characters";
            return Err(Error::new(Code::InvalidFriendlyName, text));
        }
        check_email(self.email.as_deref())?;
        for address in [&self.homepage, &self.icon].into_iter().flatten() {
            let web = ["http://", "https://"].iter().any(|scheme| {
                address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            });
            if !web || address.len() > MAX_URI || address.chars().any(|c| c.is_control() || c.is_whitespace())
            {
                let text = "a page or picture is named by an http or https URI of at most 512 bytes";
                return Err(Error::new(Code::InvalidArgument, text));
            }
        }
        Ok(())
    }
}

/// What the account's user noted of a contact beside the name. It goes before what the person publishes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ContactDetails {
    /// Telephones.
    pub phones: Phones,
    /// E-mail address; at most 512 bytes.
    pub email: Option<Arc<str>>,
}

impl ContactDetails {
    /// Whether nothing is noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what was noted.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`].
    pub fn check(&self) -> Result<(), Error> {
        check_email(self.email.as_deref())
    }
}

fn check_email(email: Option<&str>) -> Result<(), Error> {
    let good = |email: &str| {
        email.len() <= MAX_URI
            && email.rsplit_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
            && !email.chars().any(|c| c.is_control() || c.is_whitespace() || "<>\"".contains(c))
    };
    match email {
        Some(email) if !good(email) => {
            Err(Error::new(Code::InvalidArgument, "an e-mail address is user@host, of at most 512 bytes"))
        }
        _ => Ok(()),
    }
}

/// What a calendar makes of somebody, from least to most.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CalendarState {
    /// Nothing is entered.
    Free,
    /// Something is entered that may not take place.
    Tentative,
    /// Outside working hours.
    NotWorking,
    /// In an appointment or a meeting.
    Busy,
    /// Away for long: a journey, a holiday.
    OutOfOffice,
}

impl CalendarState {
    /// The name in `wit/` and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Tentative => "tentative",
            Self::NotWorking => "not-working",
            Self::Busy => "busy",
            Self::OutOfOffice => "out-of-office",
        }
    }
}

/// What activities and announcements say of somebody's calendar (RFC 4480, section 3.2; RFC 4481).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Calendar {
    /// Now.
    pub now: CalendarState,
    /// What comes next, and when; `None` where that is not told.
    pub next: Option<(CalendarState, crate::time::Timestamp)>,
}

/// A profile or details as they are kept in the store: fields are only added, with a default.
#[derive(Default, Deserialize, Serialize)]
pub(crate) struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mobile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    homepage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    icon: Option<String>,
}

impl Kept {
    fn of(phones: &Phones, email: Option<&Arc<str>>) -> Self {
        let text = |address: &Option<Address>| address.as_ref().map(|address| address.as_str().to_owned());
        Self {
            home: text(&phones.home),
            work: text(&phones.work),
            mobile: text(&phones.mobile),
            email: email.map(ToString::to_string),
            ..Self::default()
        }
    }

    fn phones(&self) -> Phones {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| Address::parse(text).ok());
        Phones { home: read(&self.home), work: read(&self.work), mobile: read(&self.mobile) }
    }
}

impl ContactDetails {
    /// As a store keeps it: text that only [`restored`](Self::restored) reads. `None` where nothing is noted.
    #[must_use]
    pub fn kept(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        serde_json::to_string(&Kept::of(&self.phones, self.email.as_ref())).ok()
    }

    /// Reads what [`kept`](Self::kept) wrote; `None` where that is not readable, or says nothing.
    #[must_use]
    pub fn restored(text: &str) -> Option<Self> {
        let kept: Kept = serde_json::from_str(text).ok()?;
        let details = Self { phones: kept.phones(), email: kept.email.map(Into::into) };
        (!details.is_empty()).then_some(details)
    }
}

impl Profile {
    pub(crate) fn kept(&self) -> String {
        let kept = Kept {
            name: (!self.display_name.is_empty()).then(|| self.display_name.to_string()),
            homepage: self.homepage.as_ref().map(ToString::to_string),
            icon: self.icon.as_ref().map(ToString::to_string),
            ..Kept::of(&self.phones, self.email.as_ref())
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    pub(crate) fn restored(text: &str) -> Option<Self> {
        let kept: Kept = serde_json::from_str(text).ok()?;
        Some(Self {
            phones: kept.phones(),
            display_name: kept.name.map_or_else(|| Arc::from(""), Into::into),
            email: kept.email.map(Into::into),
            homepage: kept.homepage.map(Into::into),
            icon: kept.icon.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> ContactDetails {
        let mut details =
            ContactDetails { email: Some("bob@example.com".into()), ..ContactDetails::default() };
        *details.phones.get_mut(PhoneKind::Mobile) = Address::parse("tel:+1-201-555-0123").ok();
        details
    }

    #[test]
    fn details_are_read_as_they_were_kept() {
        let kept = details().kept().unwrap();
        assert_eq!(ContactDetails::restored(&kept), Some(details()));
        assert_eq!(ContactDetails::default().kept(), None);
    }

    #[test]
    fn numbers_of_ones_own_go_before_those_of_others() {
        let other = |text: &str| Address::parse(text).ok();
        let published = Phones { home: other("tel:+1"), mobile: other("tel:+2"), work: None };
        let all = details().phones.or(&published);
        assert_eq!((all.home, all.work, all.mobile), (other("tel:+1"), None, other("tel:+12015550123")));
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        let good =
            Profile { email: Some("a@b".into()), homepage: Some("HTTPS://x".into()), ..Profile::default() };
        assert!(good.check().is_ok());
        for wrong in [
            Profile { display_name: "a\nb".into(), ..Profile::default() },
            Profile { display_name: "a".repeat(257).into(), ..Profile::default() },
            Profile { email: Some("nobody".into()), ..Profile::default() },
            Profile { homepage: Some("javascript:alert(1)".into()), ..Profile::default() },
            Profile { icon: Some("https://a b".into()), ..Profile::default() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
