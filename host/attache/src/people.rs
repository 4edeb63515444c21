//! Finding people: one way for the list, the directory and addresses alike, which says where somebody was found.

use core::cmp::Reverse;
use std::sync::Arc;

use attache_messenger::{
    id::GroupId,
    people::{DirectoryEntry, FoundIn, PersonQuery, Phones, Resolved, same_mail, same_name},
    snapshot::ContactEntry,
};

use crate::{Address, Card, Code, Error, Messenger, Snapshot};

/// Who somebody is, to be shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// The name.
    pub name: Arc<str>,
    /// What tells people of one name apart, such as a department; empty for nothing.
    pub detail: String,
    /// A page or a card: what the person says, or else the directory. Nobody has checked where it leads.
    pub page: Option<Arc<str>>,
    /// Where a picture is, if the person says.
    pub picture: Option<Arc<str>>,
    /// Telephone numbers.
    pub phones: Phones,
}

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
        let own = self.own_details();
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
                let found = snapshot.contacts.values().find(|it| same_mail(bare(&it.contact.address), email));
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
                contacts.sort_by_cached_key(|it| (Reverse(it.presence.availability.map(Reverse)), name(it)))
            }
        }
        contacts
    }

    /// A `mailto:` URI (RFC 6068) that begins a letter to somebody: their mail address as the directory has it, and without
    /// one the user and domain of their address, which are often the same. Cancellation safe.
    ///
    /// # Errors
    /// [`Code::UserNotFound`] for a telephone number of nobody known, or the directory's own.
    pub async fn mail_to(&self, address: &Address) -> Result<String, Error> {
        let entry = self.entry(address).await?;
        let email = entry.as_ref().and_then(|entry| entry.emails.first()).map(String::as_str);
        let email = email.unwrap_or_else(|| bare(address));
        if !email.contains('@') {
            return Err(Error::new(Code::UserNotFound, format!("no mail address of {address} is known")));
        }
        Ok(format!("mailto:{}", escaped(email)))
    }

    /// Who somebody is: what they say themselves, and what the directory says. Cancellation safe.
    ///
    /// # Errors
    /// The directory's own.
    pub async fn profile(&self, address: &Address) -> Result<Profile, Error> {
        let entry = self.entry(address).await?;
        let snapshot = self.snapshot();
        let contact = snapshot.by_address.get(address).and_then(|id| snapshot.contacts.get(id));
        let presence = self.presence(address);
        let card = presence.as_ref().and_then(|presence| presence.card());
        let said = |get: fn(&Card) -> &Option<Arc<str>>| card.and_then(|card| get(card).clone());
        let given = contact.map(|it| it.contact.name.clone()).filter(|name| !name.is_empty());
        let listed = entry.as_ref().map(|entry| Arc::from(entry.name.as_str()));
        let page = said(|card| &card.homepage).or_else(|| said(|card| &card.card));
        Ok(Profile {
            name: given.or(said(|card| &card.display_name)).or(listed).unwrap_or_default(),
            detail: entry.as_ref().map(|entry| entry.detail.clone()).unwrap_or_default(),
            page: page.or_else(|| entry.as_ref()?.page.as_deref().map(Arc::from)),
            picture: said(|card| &card.icon),
            phones: self.phones_of(address).or(&entry.map(|entry| entry.phones).unwrap_or_default()),
        })
    }

    /// Telephone numbers that somebody says in their presence. What the directory has is in [`profile`](Self::profile).
    /// Never waits.
    #[must_use]
    pub fn phones_of(&self, address: &Address) -> Phones {
        self.presence(address).map(|presence| Phones::said(&presence)).unwrap_or_default()
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
    if !entry.contact.name.is_empty() {
        return entry.contact.name.clone();
    }
    let said = entry.presence.card().and_then(|card| card.display_name.clone());
    said.unwrap_or_else(|| bare(&entry.contact.address).into())
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
