//! People as they are looked for and found: by address, mail address or name, on the list and in directories.

use std::sync::Arc;

use crate::{address::Address, call::PhoneKind, id::ContactId, presence::Presence};

/// Who is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PersonQuery {
    /// Whoever has this address.
    Address(Address),
    /// Whoever has this mail address.
    Email(String),
    /// Whoever goes by this name.
    Name(String),
}

/// Where somebody was found.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum FoundIn {
    /// It is the account itself.
    Oneself,
    /// On the contact list.
    Contacts,
    /// In the directory that the application provides.
    Directory,
    /// Nowhere: the address was given, and can be written to and watched all the same.
    Address,
}

impl FoundIn {
    /// The name in `wit/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oneself => "oneself",
            Self::Contacts => "contacts",
            Self::Directory => "directory",
            Self::Address => "address",
        }
    }
}

/// Somebody who was looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolved {
    /// The address.
    pub address: Address,
    /// The name to show; empty when none is known.
    pub name: Arc<str>,
    /// Where.
    pub found: FoundIn,
    /// The contact, if it is one.
    pub contact: Option<ContactId>,
    /// What the directory has, where it was asked and knows the person.
    pub entry: Option<DirectoryEntry>,
}

/// Telephone numbers of a person.
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
            _ => None,
        }
    }

    /// Numbers that stand in a person's presence: services that are reached at a `tel:` address. Which kind each is says
    /// what they can do, or else their name; what says nothing is at work.
    #[must_use]
    pub fn said(presence: &Presence) -> Self {
        let mut phones = Phones::default();
        for device in presence.devices() {
            let number = device.contact.as_deref().filter(|contact| contact.starts_with("tel:"));
            let Some(number) = number.and_then(|number| Address::parse(number).ok()) else { continue };
            let mobile = device.capabilities.as_ref().and_then(|it| it.mobile) == Some(true);
            let of_kind =
                |words: &[&str]| words.iter().any(|word| device.id.to_ascii_lowercase().contains(word));
            let place = if mobile || of_kind(&["mobile", "cell"]) {
                &mut phones.mobile
            } else if of_kind(&["home"]) {
                &mut phones.home
            } else {
                &mut phones.work
            };
            place.get_or_insert(number);
        }
        phones
    }

    /// All of them, by kind.
    pub fn iter(&self) -> impl Iterator<Item = (PhoneKind, &Address)> {
        [PhoneKind::Home, PhoneKind::Work, PhoneKind::Mobile]
            .into_iter()
            .filter_map(|kind| Some((kind, self.get(kind)?)))
    }

    /// Those of `self`, and of `other` where `self` has none.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            home: self.home.or_else(|| other.home.clone()),
            work: self.work.or_else(|| other.work.clone()),
            mobile: self.mobile.or_else(|| other.mobile.clone()),
        }
    }
}

/// What a person says of themselves, beside presence.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnDetails {
    /// The mail address.
    pub email: Option<String>,
    /// Telephone numbers.
    pub phones: Phones,
}

/// One person of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DirectoryEntry {
    /// The address.
    pub address: Address,
    /// The name to show.
    pub name: String,
    /// What tells people of one name apart, such as a department; empty for nothing.
    pub detail: String,
    /// Mail addresses, the one to write to first.
    pub emails: Vec<String>,
    /// Telephone numbers.
    pub phones: Phones,
    /// A page about the person.
    pub page: Option<String>,
}

impl DirectoryEntry {
    /// A person of whom only this is known.
    #[must_use]
    pub fn new(address: Address, name: impl Into<String>) -> Self {
        Self {
            address,
            name: name.into(),
            detail: String::new(),
            emails: Vec::new(),
            phones: Phones::default(),
            page: None,
        }
    }

    /// Whether this is who is looked for.
    #[must_use]
    pub fn is(&self, query: &PersonQuery) -> bool {
        match query {
            PersonQuery::Address(address) => self.address == *address,
            PersonQuery::Email(email) => self.emails.iter().any(|own| same_mail(own, email)),
            PersonQuery::Name(name) => same_name(&self.name, name),
        }
    }
}

/// Compared without regard to case.
#[must_use]
pub fn same_mail(one: &str, other: &str) -> bool {
    let other = other.trim();
    one.eq_ignore_ascii_case(other.strip_prefix("mailto:").unwrap_or(other))
}

/// Compared without regard to case.
#[must_use]
pub fn same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.trim().to_lowercase()
}
