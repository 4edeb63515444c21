//! The threads that read: each has a connection of its own, and in WAL mode none of them waits for the writer.

use std::{path::Path, sync::Arc};

use rusqlite::Connection;

use crate::{job::Job, queue::Queue};

pub(crate) fn serve(connection: &Connection, queue: &Arc<Queue<Box<dyn Job>>>, file: &Path) {
    while let Some(jobs) = queue.take(1) {
        for mut job in jobs {
            // Unlike a write, a read that nobody waits for has no effect to keep.
            if job.abandoned() {
                continue;
            }
            match job.run(connection) {
                // A read is done in one go.
                Ok(()) => drop(job.done()),
                Err(failure) => job.failed(failure.into_storage(file)),
            }
        }
    }
}
