//! People as they are looked for and found: by address, mail address or name, on the list and in directories.

use std::sync::Arc;

use crate::{address::Address, id::ContactId, profile::Phones};

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
