//! The archive of a data folder, for programs that only read.

use std::{path::Path, sync::Arc};

use attache_messenger::storage::{ArchiveEntry, ArchiveQuery, Storage};
use attache_store::Store;

use crate::{Address, Code, Error};

/// What plugins have archived, and lines of conversations, read without a running host or beside one.
#[derive(Clone)]
pub struct Archive {
    store: Arc<Store>,
}

impl Archive {
    /// Opens the archive of a data folder for reading.
    ///
    /// # Errors
    /// [`Code::Storage`] when there is no database in the folder, or it cannot be read.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let store = Store::open_read_only(data_dir).map_err(|error| {
            Error::new(Code::Storage, format!("the archive in {} cannot be opened", data_dir.display()))
                .because(error.to_string())
        })?;
        Ok(Self { store: Arc::new(store) })
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.store
    }

    /// Searches the archive of an account. Cancellation safe.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub async fn search(&self, account: &Address, query: ArchiveQuery) -> Result<Vec<ArchiveEntry>, Error> {
        self.store.search(account.account_id(), query).await.map_err(|error| {
            Error::new(Code::Storage, "the archive cannot be searched").because(error.to_string())
        })
    }
}

impl Archive {
    /// How many messages match. Cancellation safe.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub async fn count(&self, account: &Address, query: ArchiveQuery) -> Result<u64, Error> {
        self.store.count(account.account_id(), query).await.map_err(|error| {
            Error::new(Code::Storage, "the archive cannot be searched").because(error.to_string())
        })
    }
}

impl core::fmt::Debug for Archive {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}
