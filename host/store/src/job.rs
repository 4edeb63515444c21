//! Requests as the threads see them: work on a connection, and somebody who waits for the outcome.
//!
//! Work may be run more than once: a transaction that takes many requests together can fail as a whole, and then each
//! is tried alone. So an outcome is handed over only after the commit.

use attache_messenger::storage::StorageError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::Failure;

/// The other end waits for this.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StorageError>>;

pub(crate) trait Job: Send {
    /// Does the work inside a transaction that may still be undone.
    fn run(&mut self, connection: &Connection) -> Result<(), Failure>;
    /// The last run is durable: answers, or gives back what is left to do.
    fn done(self: Box<Self>) -> Option<Box<dyn Job>>;
    /// The last run was undone.
    fn failed(self: Box<Self>, error: StorageError);
    /// Whether nobody waits for the outcome any more.
    fn abandoned(&self) -> bool;
}

/// Work that is done in one transaction.
pub(crate) struct Once<F, T> {
    work: F,
    outcome: Option<T>,
    reply: Reply<T>,
}

impl<F, T> Once<F, T>
where
    F: FnMut(&Connection) -> Result<T, Failure> + Send + 'static,
    T: Send + 'static,
{
    pub(crate) fn boxed(work: F, reply: Reply<T>) -> Box<dyn Job> {
        Box::new(Self { work, outcome: None, reply })
    }
}

impl<F, T> Job for Once<F, T>
where
    F: FnMut(&Connection) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.outcome = Some((self.work)(connection)?);
        Ok(())
    }

    fn done(self: Box<Self>) -> Option<Box<dyn Job>> {
        if let Some(outcome) = self.outcome {
            // A caller who has gone away needs no answer.
            let _ = self.reply.send(Ok(outcome));
        }
        None
    }

    fn failed(self: Box<Self>, error: StorageError) {
        let _ = self.reply.send(Err(error));
    }

    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Work on any number of rows, some at a time, so that others get their turn in between. Ends also when nobody waits
/// for it any more: what was begun is finished.
pub(crate) struct Chunks<F> {
    work: F,
    chunk: u64,
    last: u64,
    total: u64,
    reply: Reply<u64>,
}

impl<F> Chunks<F>
where
    F: FnMut(&Connection, u64) -> Result<u64, Failure> + Send + 'static,
{
    /// `work` handles at most as many rows as its second argument says and returns how many those were; fewer mean
    /// that it is done.
    pub(crate) fn boxed(work: F, chunk: u64, reply: Reply<u64>) -> Box<dyn Job> {
        Box::new(Self { work, chunk, last: 0, total: 0, reply })
    }
}

impl<F> Job for Chunks<F>
where
    F: FnMut(&Connection, u64) -> Result<u64, Failure> + Send + 'static,
{
    fn run(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.last = (self.work)(connection, self.chunk)?;
        Ok(())
    }

    fn done(mut self: Box<Self>) -> Option<Box<dyn Job>> {
        self.total += self.last;
        if self.last >= self.chunk {
            return Some(self);
        }
        let _ = self.reply.send(Ok(self.total));
        None
    }

    fn failed(self: Box<Self>, error: StorageError) {
        let _ = self.reply.send(Err(error));
    }

    fn abandoned(&self) -> bool {
        false
    }
}
