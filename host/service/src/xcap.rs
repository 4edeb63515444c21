//! The documents that users keep here (RFC 4825).

pub(crate) mod edit;
pub(crate) mod lists;
pub(crate) mod usage;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;

use attache_documents::xcap::DocumentPath;
use bytes::Bytes;

use crate::directory::Aor;

/// A document as it is kept.
#[derive(Clone, Eq, PartialEq)]
pub struct StoredDocument {
    /// Where it is. The user is `user@domain`.
    pub path: DocumentPath,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// The document.
    pub body: Bytes,
}

// What people keep is not for logs.
impl fmt::Debug for StoredDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredDocument")
            .field("auid", &self.path.auid)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// What has to be done to the durable copy of a document.
#[derive(Clone, Debug)]
pub struct DocumentWrite {
    /// Names the change in [`Core::handle_document_stored`](crate::Core::handle_document_stored).
    pub ticket: u64,
    /// Where the document is.
    pub path: DocumentPath,
    /// What it is now; `None` when it is gone.
    pub document: Option<StoredDocument>,
}

/// A document in memory.
pub(crate) struct Kept {
    pub(crate) etag: String,
    pub(crate) body: Bytes,
}

/// The documents of all users.
#[derive(Default)]
pub(crate) struct Documents {
    of: HashMap<Aor, BTreeMap<(String, String), Kept>>,
}

impl Documents {
    pub(crate) fn get(&self, owner: &str, auid: &str, name: &str) -> Option<&Kept> {
        self.of.get(owner)?.get(&(auid.to_owned(), name.to_owned()))
    }

    /// A user's documents of one usage, by name.
    pub(crate) fn of_usage<'a>(
        &'a self,
        owner: &str,
        auid: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Kept)> + 'a {
        let from = Bound::Included((auid.to_owned(), String::new()));
        let all = self.of.get(owner).map(|all| all.range((from, Bound::Unbounded)));
        all.into_iter()
            .flatten()
            .take_while(move |((known, _), _)| known == auid)
            .map(|((_, name), kept)| (name.as_str(), kept))
    }

    /// All documents of a user: usage, name, document.
    pub(crate) fn all_of(&self, owner: &str) -> impl Iterator<Item = (&str, &str, &Kept)> + '_ {
        let all = self.of.get(owner).into_iter().flatten();
        all.map(|((auid, name), kept)| (auid.as_str(), name.as_str(), kept))
    }

    /// Documents and bytes of a user.
    pub(crate) fn used(&self, owner: &str) -> (usize, usize) {
        self.of.get(owner).map_or((0, 0), |all| (all.len(), all.values().map(|kept| kept.body.len()).sum()))
    }

    /// Documents of all users.
    pub(crate) fn len(&self) -> usize {
        self.of.values().map(BTreeMap::len).sum()
    }

    /// Keeps a document, or forgets it. Returns the tag of the one before.
    pub(crate) fn set(&mut self, owner: &Aor, auid: &str, name: &str, kept: Option<Kept>) -> Option<String> {
        let key = (auid.to_owned(), name.to_owned());
        let before = match kept {
            Some(kept) => self.of.entry(Aor::clone(owner)).or_default().insert(key, kept),
            None => {
                let all = self.of.get_mut(owner)?;
                let before = all.remove(&key);
                if all.is_empty() {
                    self.of.remove(owner);
                }
                before
            }
        };
        before.map(|before| before.etag)
    }
}
