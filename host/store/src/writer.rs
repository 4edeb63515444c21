//! The thread that writes: it alone has a connection that can, and commits all that waits at once.
//!
//! Syncing costs milliseconds however little was written, so the time that one sync takes is used to collect the
//! requests for the next. Each request runs in a savepoint: one that fails is undone alone.

use std::{path::Path, sync::Arc};

use attache_messenger::storage::StorageError;
use rusqlite::Connection;

use crate::{error::Failure, job::Job, queue::Queue};

/// At most this many requests share a transaction, so that the first of them need not wait for ever more.
const GROUP: usize = 1024;

pub(crate) fn serve(connection: &Connection, queue: &Arc<Queue<Box<dyn Job>>>, file: &Path) {
    while let Some(jobs) = queue.take(GROUP) {
        tracing::trace!(requests = jobs.len(), "committing");
        for rest in run(connection, jobs, file) {
            queue.push_rest(rest);
        }
    }
    // Leaves a single file behind. Whatever goes wrong here is repaired at the next start, from the WAL.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::debug!(file = %file.display(), %error, "the last checkpoint failed");
    }
}

/// Runs the jobs and returns those that have more to do.
fn run(connection: &Connection, mut jobs: Vec<Box<dyn Job>>, file: &Path) -> Vec<Box<dyn Job>> {
    match attempt(connection, &mut jobs, file) {
        Ok(outcomes) => settle(jobs, outcomes),
        Err(lost) if lost.begun => {
            // A full disk or an I/O error takes the whole transaction with it. Alone, those succeed that can.
            tracing::debug!(requests = jobs.len(), error = %lost.error, "a group failed, trying each request alone");
            if matches!(lost.error, StorageError::Full(_)) {
                rewind(connection, file);
            }
            let mut rest = Vec::new();
            let mut jobs = jobs.into_iter();
            while let Some(job) = jobs.next() {
                let mut alone = vec![job];
                match attempt(connection, &mut alone, file) {
                    Ok(outcomes) => rest.extend(settle(alone, outcomes)),
                    Err(lost) if lost.begun => fail(alone, &lost.error),
                    Err(lost) => {
                        fail(alone.into_iter().chain(jobs.by_ref()), &lost.error);
                    }
                }
            }
            rest
        }
        Err(lost) => {
            fail(jobs, &lost.error);
            Vec::new()
        }
    }
}

/// Moves the log into the database, so that the next commit can write over it. On a full disk this is often
/// all the room that there is, and nothing else would make it: checkpoints come with commits that succeed.
fn rewind(connection: &Connection, file: &Path) {
    // PASSIVE waits for nobody; a reader that still needs the log only means that it stays.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::debug!(file = %file.display(), %error, "the log could not be rewound");
    }
}

/// A transaction that came to nothing.
struct Lost {
    error: StorageError,
    begun: bool,
}

/// One transaction; the outcome of each job when it was committed.
fn attempt(
    connection: &Connection,
    jobs: &mut [Box<dyn Job>],
    file: &Path,
) -> Result<Vec<Result<(), StorageError>>, Lost> {
    let lost = |failure: Failure, begun| {
        // SQLite may have rolled back already.
        if begun
            && !connection.is_autocommit()
            && let Err(error) = execute(connection, "ROLLBACK")
        {
            tracing::warn!(error = %error.into_storage(file), "a transaction could not be rolled back");
        }
        Lost { error: failure.into_storage(file), begun }
    };
    execute(connection, "BEGIN IMMEDIATE").map_err(|failure| lost(failure, false))?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs.iter_mut() {
        execute(connection, "SAVEPOINT request").map_err(|failure| lost(failure, true))?;
        match job.run(connection) {
            Ok(()) => {
                execute(connection, "RELEASE request").map_err(|failure| lost(failure, true))?;
                outcomes.push(Ok(()));
            }
            Err(failure) if connection.is_autocommit() => return Err(lost(failure, true)),
            Err(failure) => {
                execute(connection, "ROLLBACK TO request").map_err(|failure| lost(failure, true))?;
                execute(connection, "RELEASE request").map_err(|failure| lost(failure, true))?;
                outcomes.push(Err(failure.into_storage(file)));
            }
        }
    }
    execute(connection, "COMMIT").map_err(|failure| lost(failure, true))?;
    Ok(outcomes)
}

fn settle(jobs: Vec<Box<dyn Job>>, outcomes: Vec<Result<(), StorageError>>) -> Vec<Box<dyn Job>> {
    let mut rest = Vec::new();
    for (job, outcome) in jobs.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => rest.extend(job.done()),
            Err(error) => job.failed(error),
        }
    }
    rest
}

fn fail(jobs: impl IntoIterator<Item = Box<dyn Job>>, error: &StorageError) {
    for job in jobs {
        job.failed(error.clone());
    }
}

fn execute(connection: &Connection, statement: &str) -> Result<(), Failure> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}
