//! Looking people up in a directory of the application: its user database, LDAP, a help desk's customers.

use attache_messenger::{
    people::{DirectoryEntry, PersonQuery},
    storage::BoxFuture,
};

use crate::Error;

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
