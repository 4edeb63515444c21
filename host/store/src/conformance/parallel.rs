//! Many calls at once.

use std::{sync::Arc, thread};

use attache_messenger::{
    id::AccountId,
    storage::{Storage, StorageError, Write},
};

use super::{block_on, sample::*};

/// The order of the calls counts, not the order in which their futures are polled.
pub async fn batches_are_applied_in_the_order_of_the_calls(store: Arc<dyn Storage>) {
    let commits: Vec<_> = (0..200)
        .map(|n| {
            store.commit(ALICE, batch([Write::PutSetting("n", format!("{n}")), put_outbox(&outbox(n, 0))]))
        })
        .collect();
    for commit in commits.into_iter().rev() {
        ok(commit.await);
    }
    let restored = load(&store).await;
    assert_eq!(restored.settings, [("n".to_owned(), "199".to_owned())]);
    let order: Vec<_> = restored.outbox.iter().map(|entry| entry.message.id.0).collect();
    assert_eq!(order, (0..200).collect::<Vec<_>>());
}

/// Never half of a batch is there.
pub async fn a_dropped_commit_has_all_of_its_effect_or_none(store: Arc<dyn Storage>) {
    for n in 1..=50 {
        drop(store.commit(ALICE, batch([put_outbox(&outbox(n, 0)), append(n)])));
    }
    commit(&store, [append(51)]).await;
    let sent: Vec<_> = load(&store).await.outbox.iter().map(|entry| entry.message.id.0).collect();
    let mut journal = seqs(&ok(store.read_journal(ALICE, 0, 100).await));
    assert_eq!(journal.pop(), Some(51));
    assert_eq!(sent, journal);
}

/// Each gets its own answer, and finds what it wrote.
pub async fn callers_on_many_threads_are_all_served(store: Arc<dyn Storage>) {
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                block_on(async {
                    let account = AccountId(n);
                    for seq in 1..=25 {
                        ok(store.commit(account, batch([append(seq), put_outbox(&outbox(seq, 0))])).await);
                        assert_eq!(ok(store.read_journal(account, seq - 1, 5).await).len(), 1);
                        let key = format!("key {seq}");
                        ok(store.kv_set(account, "bucket", &key, Some(vec![1]), 1000).await);
                        assert_eq!(ok(store.kv_get(account, "bucket", &key).await), Some(vec![1]));
                    }
                    ok(store.load(account, &address("sip:x@example.com")).await).outbox.len()
                })
            })
        })
        .collect();
    for thread in threads {
        match thread.join() {
            Ok(outbox) => assert_eq!(outbox, 25),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Requests that are made at the same time may share a transaction, but not a failure.
pub async fn one_failure_does_not_spoil_its_neighbours(store: Arc<dyn Storage>) {
    let writes: Vec<_> = (0..50)
        .map(|n| {
            store.kv_set(
                ALICE,
                "bucket",
                &format!("{n:02}"),
                Some(vec![0; if n % 5 == 0 { 199 } else { 1 }]),
                150,
            )
        })
        .collect();
    for (n, write) in writes.into_iter().enumerate() {
        match write.await {
            Ok(()) => assert_ne!(n % 5, 0),
            Err(StorageError::Full(_)) => assert!(n % 5 == 0),
            Err(error) => panic!("the store failed: {error}"),
        }
    }
    assert_eq!(ok(store.kv_keys(ALICE, "bucket", None, 100).await).len(), 40);
}
