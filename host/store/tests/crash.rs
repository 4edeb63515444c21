//! `kill -9` and a file system that takes no more bytes, with real processes.
//!
//! The child is this test binary again, told by its environment what to be.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use attache_messenger::storage::{Storage as _, StorageError};
use attache_store::{Store, conformance::block_on};
use common::{ALICE, archived, batch, count, load, numbers, search};

const ROLE: &str = "ATTACHE_STORE_TEST_FOLDER";

fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, folder).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Commits without end, and says each number when it has been acknowledged.
fn write_until_killed(folder: &Path) {
    let store = Store::open(folder).unwrap();
    block_on(async {
        let mut next = load(&store).await.unwrap().last_seq + 1;
        let out = std::io::stdout();
        loop {
            // Some share a transaction, and the archive is written at the same time.
            let group: Vec<_> = (next..next + 8)
                .map(|number| {
                    (
                        number,
                        store.commit(ALICE, batch(number)),
                        store.archive(ALICE, archived(number, "tea")),
                    )
                })
                .collect();
            for (number, commit, archive) in group {
                commit.await.unwrap();
                archive.await.unwrap();
                writeln!(out.lock(), "\nkept {number}").unwrap();
                next = number + 1;
            }
        }
    });
}

/// The numbers that a child acknowledged, until it was killed after `most` of them.
fn acknowledged(child: &mut Child, most: usize, wait: Duration) -> Vec<u64> {
    let mut numbers = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        let Ok(line) = line else { break };
        if let Some(number) = line.strip_prefix("kept ").and_then(|number| number.parse().ok()) {
            numbers.push(number);
            if numbers.len() == most {
                // So that the kill also falls between two acknowledgements.
                std::thread::sleep(wait);
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    numbers
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(folder) = env::var_os(ROLE) {
        return write_until_killed(Path::new(&folder));
    }
    let rounds = if env::var_os("ATTACHE_SOAK").is_some() { 200 } else { 20 };
    let folder = tempfile::tempdir().unwrap();
    let mut chance = u64::from(std::process::id());
    let mut all = BTreeSet::new();
    for round in 0..rounds {
        // A linear congruential generator is chance enough for when to kill.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let most = 1 + usize::try_from((chance >> 33) % 60).unwrap();
        let wait = Duration::from_micros((chance >> 20) % 5000);
        let mut child = child("what_was_acknowledged_survives_kill_9", folder.path()).spawn().unwrap();
        let acknowledged = acknowledged(&mut child, most, wait);
        assert!(acknowledged.len() >= most, "round {round}: the child ended by itself");
        all.extend(acknowledged);
        let store = Store::open(folder.path()).unwrap();
        block_on(async {
            let (outbox, journal) = numbers(&store).await;
            assert_eq!(outbox, journal, "round {round}: half of a batch");
            assert!(journal.iter().copied().eq(1..=journal.len() as u64), "round {round}: a gap");
            let kept: BTreeSet<_> = journal.into_iter().collect();
            assert!(kept.is_superset(&all), "round {round}: acknowledged, but not there");
            let archived: BTreeSet<_> = search(&store, "tea").await.into_iter().collect();
            assert!(archived.is_superset(&all), "round {round}: acknowledged, but not in the archive");
        });
    }
    println!("{rounds} kills, {} batches acknowledged", all.len());
}

/// Writes until the system takes no more, then makes room and goes on.
#[cfg(unix)]
fn write_until_full(folder: &Path) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let store = Store::open(folder).unwrap();
    let before = getrlimit(Resource::Fsize);
    // The shell has made the process ignore SIGXFSZ, so that a write beyond the limit fails as on a full disk.
    setrlimit(Resource::Fsize, Rlimit { current: Some(512 * 1024), maximum: before.maximum }).unwrap();
    block_on(async {
        let text = "tea ".repeat(500);
        let mut kept = 0;
        let full = loop {
            match store.archive(ALICE, archived(kept + 1, &text)).await {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 100_000, "the limit has no effect");
        };
        assert!(matches!(full, StorageError::Full(_)), "{full}");
        assert!(kept > 10, "{kept}");
        for _ in 0..20 {
            let full = store.commit(ALICE, batch(1)).await;
            let full = full.and(store.archive(ALICE, archived(kept + 1, &text.repeat(16))).await);
            assert!(matches!(full, Err(StorageError::Full(_))), "{full:?}");
        }
        assert_eq!(count(&store, "tea").await as u64, kept);
        setrlimit(Resource::Fsize, before).unwrap();
        for number in kept + 1..=kept + 50 {
            assert!(store.archive(ALICE, archived(number, &text)).await.unwrap());
        }
        store.commit(ALICE, batch(1)).await.unwrap();
        println!("\nkept {}", kept + 50);
    });
}

#[cfg(unix)]
#[test]
fn a_full_disk_gives_errors_loses_nothing_and_recovers() {
    let name = "a_full_disk_gives_errors_loses_nothing_and_recovers";
    if let Some(folder) = env::var_os(ROLE) {
        return write_until_full(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let direct = child(name, folder.path());
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(direct.get_program()).args(direct.get_args());
    let output = shell.env(ROLE, folder.path()).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let kept: usize = text.lines().find_map(|line| line.strip_prefix("kept ")?.parse().ok()).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(block_on(count(&store, "tea")), kept);
    assert_eq!(block_on(numbers(&store)), (vec![1], vec![1]));
}
