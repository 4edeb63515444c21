//! The file, its folder, and who may have it open.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::{fs, io::Write as _};

use attache_messenger::storage::{Batch, Storage as _, StorageError, Write};
use attache_store::{OpenError, Options, Store, conformance::block_on};
use common::{ALICE, archived, batch, bob, count, load, numbers};
use rusqlite::Connection;
use tempfile::tempdir;

#[test]
fn what_was_kept_is_there_after_reopening() {
    let folder = tempdir().unwrap();
    block_on(async {
        let store = Store::open(folder.path()).unwrap();
        load(&store).await.unwrap();
        store.commit(ALICE, batch(1)).await.unwrap();
        store.archive(ALICE, archived(1, "green tea")).await.unwrap();
        store.kv_set(ALICE, "bucket", "key", Some(vec![1, 2]), 100).await.unwrap();
        store.set_cursor(ALICE, "history", 1).await.unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(numbers(&store).await, (vec![1], vec![1]));
        assert_eq!(count(&store, "tea").await, 1);
        assert_eq!(store.kv_get(ALICE, "bucket", "key").await.unwrap(), Some(vec![1, 2]));
        assert_eq!(store.cursor(ALICE, "history").await.unwrap(), Some(1));
        assert_eq!(store.accounts().await.unwrap()[0].0, ALICE);
        let peers = store.peers(ALICE).await.unwrap();
        assert_eq!((&peers[0].peer, peers[0].messages), (&bob(), 1));
    });
}

#[test]
fn two_stores_cannot_have_one_folder() {
    let folder = tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(OpenError::InUse(_))));
    drop(first);
    Store::open(folder.path()).unwrap();
}

#[test]
fn a_closed_store_frees_its_folder_and_refuses_requests() {
    let folder = tempdir().unwrap();
    block_on(async {
        let store = Store::open(folder.path()).unwrap();
        store.close().await;
        assert!(matches!(store.commit(ALICE, batch(1)).await, Err(StorageError::Unavailable(_))));
        assert!(matches!(load(&store).await, Err(StorageError::Unavailable(_))));
        Store::open(folder.path()).unwrap();
    });
}

#[test]
fn closing_finishes_what_was_asked_for() {
    let folder = tempdir().unwrap();
    block_on(async {
        let store = Store::open(folder.path()).unwrap();
        for number in 1..=500 {
            drop(store.commit(ALICE, batch(number)));
        }
        store.close().await;
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(numbers(&store).await.1.len(), 500);
    });
}

#[test]
fn dropping_finishes_what_was_asked_for() {
    let folder = tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for number in 1..=5000 {
        drop(store.archive(ALICE, archived(number, "tea")));
    }
    drop(store.purge(ALICE, attache_messenger::time::Timestamp::from_millis(5000), None));
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(block_on(count(&store, "tea")), 1);
}

#[test]
fn a_reader_sees_what_a_running_store_commits() {
    let folder = tempdir().unwrap();
    block_on(async {
        assert!(matches!(Store::open_read_only(folder.path()), Err(OpenError::Missing(_))));
        let store = Store::open(folder.path()).unwrap();
        let reader = Store::open_read_only(folder.path()).unwrap();
        store.archive(ALICE, archived(1, "tea")).await.unwrap();
        assert_eq!(count(&reader, "tea").await, 1);
        let refused = reader.archive(ALICE, archived(2, "tea")).await;
        assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
        load(&reader).await.unwrap();
    });
}

#[test]
fn a_reader_needs_no_running_store() {
    let folder = tempdir().unwrap();
    block_on(async {
        let store = Store::open(folder.path()).unwrap();
        store.archive(ALICE, archived(1, "tea")).await.unwrap();
        store.close().await;
        assert_eq!(count(&Store::open_read_only(folder.path()).unwrap(), "tea").await, 1);
    });
}

#[test]
fn a_flood_is_refused_and_loses_nothing() {
    let folder = tempdir().unwrap();
    block_on(async {
        let store = Store::open(folder.path()).unwrap();
        // The writer waits for this connection, as for a slow disk.
        let other = Connection::open(store.path()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let put = |number: u32| Batch { writes: vec![Write::PutSetting("last", number.to_string())] };
        let commits: Vec<_> = (0..10_000).map(|number| (number, store.commit(ALICE, put(number)))).collect();
        other.execute_batch("ROLLBACK").unwrap();
        let (mut last, mut refused) = (0, 0);
        for (number, commit) in commits {
            match commit.await {
                Ok(()) => last = number,
                Err(StorageError::Unavailable(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 0);
        assert_eq!(load(&store).await.unwrap().settings, [("last".to_owned(), last.to_string())]);
    });
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_the_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempdir().unwrap();
    let folder = folder.path().join("deep").join("data");
    let store = Store::open(&folder).unwrap();
    block_on(store.commit(ALICE, batch(1))).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("attache.db");
    let rubbish = b"this is no database, whatever its name says ".repeat(100);
    fs::write(&file, &rubbish).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("attache.db"), "{error}");
    assert!(matches!(StorageError::from(error), StorageError::Damaged(_)));
    assert_eq!(fs::read(&file).unwrap(), rubbish);
}

#[test]
fn a_damaged_page_is_an_error_that_names_the_file() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("attache.db");
    block_on(async {
        let store = Store::open(folder.path()).unwrap();
        for number in 1..=200 {
            drop(store.archive(ALICE, archived(number, &"tea ".repeat(50))));
        }
        store.close().await;
        let size = fs::metadata(&file).unwrap().len();
        // Everything but the schema, which is in the first pages.
        let schema = 4096 * 16;
        let mut damaged = fs::OpenOptions::new().write(true).open(&file).unwrap();
        std::io::Seek::seek(&mut damaged, std::io::SeekFrom::Start(schema)).unwrap();
        damaged.write_all(&vec![0xa5; usize::try_from(size - schema).unwrap()]).unwrap();
        drop(damaged);
        let failure = match Store::open(folder.path()) {
            Ok(store) => {
                let query = attache_messenger::storage::ArchiveQuery { limit: 1000, ..Default::default() };
                store.search(ALICE, query).await.unwrap_err()
            }
            Err(error) => error.into(),
        };
        assert!(matches!(&failure, StorageError::Damaged(what) if what.contains("attache.db")), "{failure}");
    });
}

#[test]
fn a_record_that_cannot_be_read_is_damage_and_is_not_quoted() {
    let folder = tempdir().unwrap();
    block_on(async {
        let store = Store::open(folder.path()).unwrap();
        store.commit(ALICE, batch(1)).await.unwrap();
        let other = Connection::open(store.path()).unwrap();
        other.execute("UPDATE outbox SET body = '{\"message\":\"private words\"}'", []).unwrap();
        let failure = load(&store).await.unwrap_err();
        assert!(matches!(&failure, StorageError::Damaged(what) if what.contains("attache.db")), "{failure}");
        assert!(!failure.to_string().contains("private"), "{failure}");
    });
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let folder = tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let file = folder.path().join("attache.db");
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 77).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 77, known: 1..77, .. }), "{error}");
    assert!(error.to_string().contains("use a newer one"), "{error}");
    assert!(matches!(Store::open_read_only(folder.path()), Err(OpenError::Newer { .. })));
    let version: i64 =
        Connection::open(&file).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 77);
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("attache.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_file_at_its_bound_refuses_and_recovers() {
    let folder = tempdir().unwrap();
    let mut options = Options::default();
    options.max_bytes = Some(1024 * 1024);
    block_on(async {
        let store = Store::open_with(folder.path(), &options).unwrap();
        let text = "tea ".repeat(2000);
        let mut kept = Vec::new();
        let full = loop {
            let number = kept.len() as u64 + 1;
            match store.archive(ALICE, archived(number, &text)).await {
                Ok(new) => kept.push(new),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, StorageError::Full(_)), "{full}");
        assert!(kept.len() > 20);
        assert_eq!(count(&store, "tea").await, kept.len());
        // A group that is too large as a whole does not refuse the small ones in it.
        let large = store.archive(ALICE, archived(9999, &text.repeat(20)));
        let small: Vec<_> =
            (1..=3).map(|n| store.kv_set(ALICE, "b", &format!("{n}"), Some(vec![0]), 99)).collect();
        assert!(matches!(large.await, Err(StorageError::Full(_))));
        for small in small {
            small.await.unwrap();
        }
        let before = attache_messenger::time::Timestamp::from_millis(20);
        assert_eq!(store.purge(ALICE, before, None).await.unwrap(), 19);
        assert!(store.archive(ALICE, archived(10_000, &text)).await.unwrap());
        assert_eq!(count(&store, "tea").await, kept.len() - 19 + 1);
    });
}
