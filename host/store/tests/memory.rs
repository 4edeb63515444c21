//! The store in memory keeps the rules of every store, and its bound.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;

use attache_messenger::{
    id::AccountId,
    storage::{Storage as _, StorageError},
};
use attache_store::{MemoryStore, conformance::block_on};

mod conformance {
    use super::*;

    attache_store::conformance_tests!(|| Arc::new(MemoryStore::new()));
}

#[test]
fn a_full_memory_refuses_and_recovers() {
    block_on(async {
        let store = MemoryStore::with_capacity(10_000);
        let account = AccountId(1);
        store.kv_set(account, "b", "one", Some(vec![0; 6000]), u64::MAX).await.unwrap();
        let full = store.kv_set(account, "b", "two", Some(vec![0; 6000]), u64::MAX).await;
        assert!(matches!(full, Err(StorageError::Full(_))));
        assert_eq!(store.kv_get(account, "b", "two").await.unwrap(), None);
        store.kv_set(account, "b", "one", None, u64::MAX).await.unwrap();
        store.kv_set(account, "b", "two", Some(vec![0; 6000]), u64::MAX).await.unwrap();
    });
}
