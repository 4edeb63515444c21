//! Looking people up in a directory of the application: its user database, LDAP, a help desk's customers.

use attache_messenger::storage::BoxFuture;

use crate::{
    Address, Error,
    people::{PersonQuery, Phones, same_mail, same_name},
};

/// How many hits are looked through for the one that is meant.
const HITS: usize = 50;

/// A directory that the application provides. See [`HostConfig::directory`](crate::HostConfig::directory).
pub trait Directory: Send + Sync + 'static {
    /// People whom a person may mean by `query`, the likeliest first, at most `limit`. The query is what was typed, with blanks
    /// at both ends removed, and never empty.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn search<'a>(
        &'a self,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DirectoryEntry>, Error>>;

    /// People of exactly this address, mail address or name; nobody is an empty list. Looks through the first hits of
    /// [`search`](Self::search), unless the directory knows a better way.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn find<'a>(&'a self, query: &'a PersonQuery) -> BoxFuture<'a, Result<Vec<DirectoryEntry>, Error>> {
        Box::pin(async move {
            let text = match query {
                PersonQuery::Address(address) => address.as_str(),
                PersonQuery::Email(text) | PersonQuery::Name(text) => text.trim(),
            };
            if text.is_empty() {
                return Ok(Vec::new());
            }
            let mut found = self.search(text, HITS).await?;
            found.retain(|entry| entry.is(query));
            Ok(found)
        })
    }
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
