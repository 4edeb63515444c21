//! Looking people up in a directory of the application: its user database, LDAP, a help desk's customers.

use attache_messenger::storage::BoxFuture;

use crate::{Address, Error};

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
}

/// One person of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirectoryEntry {
    /// The address.
    pub address: Address,
    /// The name to show.
    pub name: String,
    /// What tells people of one name apart, such as a department; empty for nothing.
    pub detail: String,
}

impl DirectoryEntry {
    /// A person without a detail.
    #[must_use]
    pub fn new(address: Address, name: impl Into<String>) -> Self {
        Self { address, name: name.into(), detail: String::new() }
    }
}
