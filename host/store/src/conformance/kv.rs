//! Values of plugins.

use std::sync::Arc;

use attache_messenger::storage::{Storage, StorageError};

use super::sample::*;

const QUOTA: u64 = 4 * 1024 * 1024;

/// Bytes are kept as they are, none and many alike.
pub async fn a_value_comes_back_as_it_was(store: Arc<dyn Storage>) {
    let all: Vec<u8> = (0..=255).collect();
    let large = vec![7; 1024 * 1024];
    for (key, value) in
        [("all", all), ("none", Vec::new()), ("large", large), ("", vec![1]), ("k\0ey", vec![2])]
    {
        assert_eq!(ok(store.kv_get(ALICE, "history/seen", key).await), None);
        ok(store.kv_set(ALICE, "history/seen", key, Some(value.clone()), QUOTA).await);
        assert_eq!(ok(store.kv_get(ALICE, "history/seen", key).await), Some(value));
    }
}

/// And deleting what is not there does nothing.
pub async fn a_deleted_value_is_gone(store: Arc<dyn Storage>) {
    ok(store.kv_set(ALICE, "b", "key", Some(vec![1]), QUOTA).await);
    ok(store.kv_set(ALICE, "b", "key", None, QUOTA).await);
    ok(store.kv_set(ALICE, "b", "key", None, QUOTA).await);
    assert_eq!(ok(store.kv_get(ALICE, "b", "key").await), None);
    assert!(ok(store.kv_keys(ALICE, "b", None, 10).await).is_empty());
}

/// By their bytes, after a key, and no more than asked for.
pub async fn keys_come_in_order(store: Arc<dyn Storage>) {
    for key in ["b", "a", "é", "B", "aa", ""] {
        ok(store.kv_set(ALICE, "b", key, Some(vec![1]), QUOTA).await);
    }
    assert_eq!(ok(store.kv_keys(ALICE, "b", None, 100).await), ["", "B", "a", "aa", "b", "é"]);
    assert_eq!(ok(store.kv_keys(ALICE, "b", Some("a"), 2).await), ["aa", "b"]);
    assert_eq!(ok(store.kv_keys(ALICE, "b", Some(""), 1).await), ["B"]);
    assert_eq!(ok(store.kv_keys(ALICE, "b", Some("aaa"), 100).await), ["b", "é"]);
    assert!(ok(store.kv_keys(ALICE, "b", None, 0).await).is_empty());
}

/// Nor do those of different accounts.
pub async fn buckets_do_not_mix(store: Arc<dyn Storage>) {
    ok(store.kv_set(ALICE, "one", "key", Some(vec![1]), QUOTA).await);
    ok(store.kv_set(ALICE, "two", "key", Some(vec![2]), QUOTA).await);
    ok(store.kv_set(BOB, "one", "other", Some(vec![3]), QUOTA).await);
    assert_eq!(ok(store.kv_get(ALICE, "one", "key").await), Some(vec![1]));
    assert_eq!(ok(store.kv_get(BOB, "one", "key").await), None);
    assert_eq!(ok(store.kv_keys(ALICE, "one", None, 10).await), ["key"]);
    ok(store.kv_set(ALICE, "two", "key", None, QUOTA).await);
    assert_eq!(ok(store.kv_get(ALICE, "one", "key").await), Some(vec![1]));
}

/// Exactly, and a refusal changes nothing.
pub async fn a_quota_counts_keys_and_values(store: Arc<dyn Storage>) {
    ok(store.kv_set(ALICE, "b", "key1", Some(vec![0; 46]), 100).await);
    ok(store.kv_set(ALICE, "b", "key2", Some(vec![0; 46]), 100).await);
    let full = store.kv_set(ALICE, "b", "k", Some(Vec::new()), 100).await;
    assert!(matches!(full, Err(StorageError::Full(_))), "{full:?}");
    let full = store.kv_set(ALICE, "b", "key2", Some(vec![1; 47]), 100).await;
    assert!(matches!(full, Err(StorageError::Full(_))), "{full:?}");
    assert_eq!(ok(store.kv_get(ALICE, "b", "k").await), None);
    assert_eq!(ok(store.kv_get(ALICE, "b", "key2").await), Some(vec![0; 46]));
    ok(store.kv_set(ALICE, "other", "k", Some(vec![0; 99]), 100).await);
    ok(store.kv_set(BOB, "b", "k", Some(vec![0; 99]), 100).await);
}

/// And deleting works in a bucket that is over its quota.
pub async fn what_is_replaced_or_deleted_frees_its_bytes(store: Arc<dyn Storage>) {
    for n in 0..20 {
        ok(store.kv_set(ALICE, "b", "key", Some(vec![n; 90]), 100).await);
    }
    ok(store.kv_set(ALICE, "b", "key", Some(vec![0; 10]), 100).await);
    ok(store.kv_set(ALICE, "b", "yek", Some(vec![0; 80]), 100).await);
    assert!(store.kv_set(ALICE, "b", "new", Some(vec![0; 2]), 100).await.is_err());
    ok(store.kv_set(ALICE, "b", "yek", None, 0).await);
    ok(store.kv_set(ALICE, "b", "new", Some(vec![0; 84]), 100).await);
}
