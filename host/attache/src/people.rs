//! Finding people: one way for the list, the directory and addresses alike, which says where somebody was found.

use core::cmp::Reverse;
use std::sync::Arc;

use attache_messenger::{
    command::Command,
    id::{ContactId, GroupId},
    people::{DirectoryEntry, FoundIn, PersonQuery, Resolved, same_mail, same_name},
    profile::Profile,
    snapshot::ContactEntry,
};

use crate::{Address, Code, ContactDetails, Error, Messenger, Snapshot};

/// How contacts are sorted.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SortOrder {
    /// As they were added.
    #[default]
    Added,
    /// By name, and address where there is none.
    Name,
    /// By the name of the first group, those without a group last; then by name.
    Groups,
    /// The most willing first, those of whom nothing is known last; then by name.
    Availability,
}

/// People.
impl Messenger {
    /// Finds a person: oneself, then contacts, then the directory that the application provides. An address that none of
    /// them knows is answered all the same, as [`FoundIn::Address`]. Cancellation safe.
    ///
    /// # Errors
    /// [`Code::UserNotFound`] for nobody, [`Code::TooManyMatches`] when several people go by the name, or the directory's own.
    pub async fn resolve(&self, query: &PersonQuery) -> Result<Resolved, Error> {
        if let Some(known) = self.resolve_known(query)? {
            return Ok(known);
        }
        let entries = match self.directory() {
            Some(directory) => directory.find(query).await?,
            None => Vec::new(),
        };
        let mut entries = entries.into_iter();
        match (entries.next(), entries.next(), query) {
            (Some(entry), None, _) | (Some(entry), Some(_), PersonQuery::Address(_)) => Ok(Resolved {
                address: entry.address.clone(),
                name: entry.name.as_str().into(),
                found: FoundIn::Directory,
                contact: self.snapshot().by_address.get(&entry.address).copied(),
                entry: Some(entry),
            }),
            (Some(_), Some(_), _) => Err(too_many()),
            (None, _, PersonQuery::Address(address)) => Ok(Resolved {
                address: address.clone(),
                name: "".into(),
                found: FoundIn::Address,
                contact: None,
                entry: None,
            }),
            (None, ..) => Err(Error::new(Code::UserNotFound, "nobody goes by this name or mail address")),
        }
    }

    /// As [`resolve`](Self::resolve) from what is known here: oneself and contacts. Never waits.
    ///
    /// # Errors
    /// [`Code::TooManyMatches`].
    pub fn resolve_known(&self, query: &PersonQuery) -> Result<Option<Resolved>, Error> {
        let snapshot = self.snapshot();
        let own = snapshot.profile.clone();
        let own_name = snapshot.display_name.clone();
        let oneself = match query {
            PersonQuery::Address(address) => address == self.address(),
            PersonQuery::Email(email) => own.email.as_deref().is_some_and(|own| same_mail(own, email)),
            PersonQuery::Name(name) => !own_name.is_empty() && same_name(&own_name, name),
        };
        if oneself {
            let address = self.address().clone();
            let (name, found) = (own_name, FoundIn::Oneself);
            return Ok(Some(Resolved { address, name, found, contact: None, entry: None }));
        }
        let contact = |entry: &ContactEntry| Resolved {
            address: entry.contact.address.clone(),
            name: shown_name(entry),
            found: FoundIn::Contacts,
            contact: Some(entry.contact.id),
            entry: None,
        };
        match query {
            PersonQuery::Address(address) => {
                let found = snapshot.by_address.get(address).and_then(|id| snapshot.contacts.get(id));
                Ok(found.map(contact))
            }
            // People are often reached by the same name and domain in mail.
            PersonQuery::Email(email) => {
                let is = |it: &ContactEntry| {
                    it.email().is_some_and(|own| same_mail(own, email))
                        || same_mail(bare(&it.contact.address), email)
                };
                let found = snapshot.contacts.values().find(|it| is(it));
                Ok(found.map(contact))
            }
            PersonQuery::Name(name) => {
                let mut found = snapshot.contacts.values().filter(|it| same_name(&shown_name(it), name));
                match (found.next(), found.next()) {
                    (Some(_), Some(_)) => Err(too_many()),
                    (one, _) => Ok(one.map(contact)),
                }
            }
        }
    }

    /// Contacts in an order.
    #[must_use]
    pub fn contacts(&self, order: SortOrder) -> Vec<ContactEntry> {
        let snapshot = self.snapshot();
        let mut contacts: Vec<ContactEntry> = snapshot.contacts.values().cloned().collect();
        let name = |entry: &ContactEntry| shown_name(entry).to_lowercase();
        match order {
            SortOrder::Added => {}
            SortOrder::Name => contacts.sort_by_cached_key(name),
            SortOrder::Groups => contacts.sort_by_cached_key(|it| {
                let group = first_group(&snapshot, &it.contact.groups);
                (group.is_none(), group, name(it))
            }),
            SortOrder::Availability => {
                contacts.sort_by_cached_key(|it| (Reverse(it.presence.availability.map(Reverse)), name(it)));
            }
        }
        contacts
    }

    /// A `mailto:` URI (RFC 6068) that begins a letter to somebody: their mail address as the user noted it, as they publish
    /// it, as the directory has it, and without one the user and domain of their address, which are often the same.
    /// Cancellation safe.
    ///
    /// # Errors
    /// [`Code::UserNotFound`] for a telephone number of nobody known, or the directory's own.
    pub async fn mail_to(&self, address: &Address) -> Result<String, Error> {
        let profile = self.profile(address).await?;
        let email = profile.email.as_deref().unwrap_or_else(|| bare(address));
        if !email.contains('@') {
            return Err(Error::new(Code::UserNotFound, format!("no mail address of {address} is known")));
        }
        Ok(format!("mailto:{}", escaped(email)))
    }

    /// Who somebody is: what the user noted, what they publish, and where both say nothing, what the directory has. Nobody has
    /// checked where pages lead. Cancellation safe.
    ///
    /// # Errors
    /// The directory's own.
    pub async fn profile(&self, address: &Address) -> Result<Profile, Error> {
        let mut profile = self.known_profile(address);
        let Some(entry) = self.entry(address).await? else { return Ok(profile) };
        if profile.display_name.is_empty() {
            profile.display_name = entry.name.into();
        }
        profile.phones = profile.phones.or(&entry.phones);
        profile.email = profile.email.or_else(|| entry.emails.into_iter().next().map(Into::into));
        profile.homepage = profile.homepage.or_else(|| entry.page.map(Into::into));
        Ok(profile)
    }

    /// As [`profile`](Self::profile) without the directory. Never waits.
    #[must_use]
    pub fn known_profile(&self, address: &Address) -> Profile {
        let snapshot = self.snapshot();
        if address == self.address() {
            return Profile::clone(&snapshot.profile);
        }
        let contact = snapshot.by_address.get(address).and_then(|id| snapshot.contacts.get(id));
        match (contact, snapshot.watched.get(address)) {
            (Some(entry), _) => entry.profile(),
            (None, Some(watched)) => {
                let card = watched.presence.card().cloned().unwrap_or_default();
                Profile {
                    display_name: card.display_name.unwrap_or_default(),
                    phones: watched.presence.phones().cloned().unwrap_or_default(),
                    email: watched.presence.details.as_ref().and_then(|it| it.email.clone()),
                    homepage: card.homepage,
                    icon: card.icon,
                }
            }
            (None, None) => Profile::default(),
        }
    }

    /// Who one is, for others: name, numbers, mail address, pages.
    #[must_use]
    pub fn own_profile(&self) -> Arc<Profile> {
        self.snapshot().profile.clone()
    }

    /// Says who one is; published with presence, and kept. `None` gives it back to the configuration.
    ///
    /// # Errors
    /// [`Code::InvalidFriendlyName`], [`Code::InvalidArgument`], or what the service answered.
    pub async fn set_profile(&self, profile: Option<Profile>) -> Result<(), Error> {
        self.shared().complete(Command::SetProfile(profile.map(Box::new))).await.map(drop)
    }

    /// Notes numbers and a mail address of a contact; they go before what the contact publishes.
    ///
    /// # Errors
    /// [`Code::ContactNotFound`], [`Code::InvalidArgument`].
    pub async fn set_contact_details(
        &self,
        contact: ContactId,
        details: ContactDetails,
    ) -> Result<(), Error> {
        self.shared().complete(Command::SetContactDetails(contact, details)).await.map(drop)
    }

    /// What the directory has of somebody; `None` without a directory.
    async fn entry(&self, address: &Address) -> Result<Option<DirectoryEntry>, Error> {
        match self.directory() {
            Some(directory) => {
                let found = directory.find(&PersonQuery::Address(address.clone())).await?;
                Ok(found.into_iter().next())
            }
            None => Ok(None),
        }
    }
}

/// The name to show of a contact: given by the user, or said by the person, or the address.
pub(crate) fn shown_name(entry: &ContactEntry) -> Arc<str> {
    match entry.display_name() {
        name if name.is_empty() => bare(&entry.contact.address).into(),
        name => name.clone(),
    }
}

fn first_group(snapshot: &Snapshot, groups: &[GroupId]) -> Option<String> {
    groups.iter().filter_map(|id| snapshot.groups.get(id)).map(|group| group.name.to_lowercase()).min()
}

/// `user@host` of an address, without its scheme.
fn bare(address: &Address) -> &str {
    let canonical = address.canonical();
    canonical.split_once(':').map_or(canonical, |(_, rest)| rest)
}

fn too_many() -> Error {
    Error::new(Code::TooManyMatches, "several people go by this name")
}

/// Escapes what a `mailto:` URI cannot hold as it is.
fn escaped(email: &str) -> String {
    let mut text = String::with_capacity(email.len());
    for byte in email.bytes() {
        if byte.is_ascii_alphanumeric() || b"@.-_~!$'*+".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
