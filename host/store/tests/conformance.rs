//! The store in SQLite keeps the rules of every store.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;

use attache_messenger::{
    address::Address,
    id::AccountId,
    storage::{ArchiveEntry, ArchiveQuery, Batch, BoxFuture, JournalEntry, Restored, Storage, StorageError},
    time::Timestamp,
};
use attache_store::Store;

attache_store::conformance_tests!(fresh);

/// A store and its folder, which goes after it.
struct Fresh {
    store: Store,
    _folder: tempfile::TempDir,
}

fn fresh() -> Arc<Fresh> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    Arc::new(Fresh { store, _folder: folder })
}

macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Storage for Fresh {
            $(fn $name(&self, $($argument: $type),*) -> BoxFuture<'_, Result<$result, StorageError>> {
                self.store.$name($($argument),*)
            })*
        }
    };
}

forward! {
    load(account: AccountId, address: &Address) -> Restored;
    commit(account: AccountId, batch: Batch) -> ();
    read_journal(account: AccountId, after: u64, limit: u32) -> Vec<JournalEntry>;
    cursor(account: AccountId, plugin: &str) -> Option<u64>;
    set_cursor(account: AccountId, plugin: &str, seq: u64) -> ();
    trim_journal(account: AccountId, plugins: Vec<String>) -> u64;
    archive(account: AccountId, entry: ArchiveEntry) -> bool;
    search(account: AccountId, query: ArchiveQuery) -> Vec<ArchiveEntry>;
    count(account: AccountId, query: ArchiveQuery) -> u64;
    purge(account: AccountId, before: Timestamp, peer: Option<Address>) -> u64;
    kv_get(account: AccountId, bucket: &str, key: &str) -> Option<Vec<u8>>;
    kv_set(account: AccountId, bucket: &str, key: &str, value: Option<Vec<u8>>, quota: u64) -> ();
    kv_keys(account: AccountId, bucket: &str, after: Option<&str>, limit: u32) -> Vec<String>;
}
