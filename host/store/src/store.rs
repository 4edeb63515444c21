//! The SQLite store as its callers see it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use attache_messenger::{
    address::Address,
    id::AccountId,
    storage::{ArchiveEntry, ArchiveQuery, Batch, BoxFuture, JournalEntry, Restored, Storage, StorageError},
    time::Timestamp,
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    archive::{self, PeerSummary},
    batch,
    error::{Failure, OpenError},
    folder,
    job::{Chunks, Job, Once},
    journal, kv,
    queue::{Queue, Refused},
    reader, schema, writer,
};

/// Requests that may wait for one kind of thread.
const WAITING: usize = 8192;
/// Bytes that those may hold.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Rows that a long removal handles before others get their turn.
const CHUNK: u64 = 1000;
/// What a request weighs beside its texts.
const REQUEST: usize = 256;

/// How a store is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Threads that search and read, 1 to 16; two unless told.
    pub readers: usize,
    /// How large the database file may grow, in bytes. What would need more is refused as
    /// [`StorageError::Full`]. No bound but the disk unless told. The write-ahead log beside it needs up to about as
    /// much as is written within one search.
    pub max_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 2, max_bytes: None }
    }
}

/// A store in one SQLite file, `attache.db` in a data folder.
///
/// One thread writes, some read. Writes that wait at the same time are committed together with one sync of the disk;
/// an answer comes after that sync, so what was answered survives `kill -9` and a power failure. A request
/// counts from the call, not from the first poll of its future, and happens also when the future is dropped. When some
/// 8,000 requests (or 64 MiB) wait already, one more is refused as [`StorageError::Unavailable`].
///
/// The removals [`Storage::purge`] and [`Storage::trim_journal`] work in steps between which others are served;
/// a crash in the middle leaves the rest, and the same call again finishes it.
///
/// The futures need no runtime. Dropping the store finishes what was asked for, and blocks meanwhile;
/// [`close`](Self::close) does so without blocking.
pub struct Store {
    file: PathBuf,
    /// None when opened to read only.
    writes: Option<Arc<Queue<Box<dyn Job>>>>,
    reads: Arc<Queue<Box<dyn Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in a data folder and makes what is missing: the folder for its owner alone (mode 0700), the
    /// file too (0600), and the newest schema. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another store is open on this folder, in this process or in another one;
    /// [`OpenError::Newer`] and [`OpenError::Damaged`] when the file is not one that this version can use.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(folder, &Options::default())
    }

    /// [`open`](Self::open) with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        let folder = folder.as_ref();
        let lock = folder::prepare(folder)?;
        let file = folder::database(folder);
        let connection = schema::open_writer(&file, options.max_bytes)?;
        let mut store = Self::start_readers(file, options.readers)?;
        let queue = Arc::new(Queue::new(WAITING, WAITING_BYTES));
        let worker = queue.worker();
        store.writes = Some(Arc::clone(&queue));
        let path = store.file.clone();
        store.spawn("attache-store-write", move || {
            // Dropped from the last to the first: whoever waits for the end may then open the folder again.
            let _worker = worker;
            let _lock: File = lock;
            let connection = connection;
            writer::serve(&connection, &queue, &path);
        })?;
        Ok(store)
    }

    /// Opens the store in a data folder to look into it, also while another process writes in it. Every change is
    /// refused as [`StorageError::Unavailable`]. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is no store yet, and otherwise as [`open`](Self::open), but never
    /// [`OpenError::InUse`].
    pub fn open_read_only(folder: impl AsRef<Path>) -> Result<Self, OpenError> {
        let file = folder::database(folder.as_ref());
        match file.try_exists() {
            Ok(true) => Self::start_readers(file, 1),
            Ok(false) => Err(OpenError::Missing(file)),
            Err(source) => Err(OpenError::Io { path: file, source }),
        }
    }

    fn start_readers(file: PathBuf, readers: usize) -> Result<Self, OpenError> {
        let reads = Arc::new(Queue::new(WAITING, WAITING_BYTES));
        let store = Self { file, writes: None, reads, threads: Mutex::new(Vec::new()) };
        for _ in 0..readers.clamp(1, 16) {
            let connection = schema::open_reader(&store.file)?;
            let (queue, worker, path) = (Arc::clone(&store.reads), store.reads.worker(), store.file.clone());
            store.spawn("attache-store-read", move || {
                let _worker = worker;
                let connection = connection;
                reader::serve(&connection, &queue, &path);
            })?;
        }
        Ok(store)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .map_err(|source| OpenError::Io { path: self.file.clone(), source })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Every account that was ever loaded, by address.
    ///
    /// # Errors
    /// As every method of [`Storage`].
    pub fn accounts(&self) -> BoxFuture<'_, Result<Vec<(AccountId, Address)>, StorageError>> {
        self.read(batch::accounts)
    }

    /// Those with whom an account has archived messages, the newest first.
    ///
    /// # Errors
    /// As every method of [`Storage`].
    pub fn peers(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<PeerSummary>, StorageError>> {
        self.read(move |connection| archive::peers(connection, account))
    }

    /// Takes no more requests, finishes those that were made, and closes the file; then the folder may be opened
    /// again. Cancellation safe: the work goes on when the future is dropped.
    pub async fn close(&self) {
        self.stop();
        self.reads.gone().await;
        if let Some(writes) = &self.writes {
            writes.gone().await;
        }
    }

    fn stop(&self) {
        self.reads.close();
        if let Some(writes) = &self.writes {
            writes.close();
        }
    }

    fn read<T, F>(&self, work: F) -> BoxFuture<'_, Result<T, StorageError>>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pushed = self.reads.push(Once::boxed(work, reply), REQUEST);
        self.answer(pushed, answer)
    }

    fn write<T, F>(&self, weight: usize, work: F) -> BoxFuture<'_, Result<T, StorageError>>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.submit(weight, Once::boxed(work, reply), answer)
    }

    fn remove<F>(&self, work: F) -> BoxFuture<'_, Result<u64, StorageError>>
    where
        F: FnMut(&Connection, u64) -> Result<u64, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.submit(0, Chunks::boxed(work, CHUNK, reply), answer)
    }

    fn submit<T: Send + 'static>(
        &self,
        weight: usize,
        job: Box<dyn Job>,
        answer: oneshot::Receiver<Result<T, StorageError>>,
    ) -> BoxFuture<'_, Result<T, StorageError>> {
        let Some(writes) = &self.writes else {
            let error = StorageError::Unavailable(format!("{} was opened to read only", self.file.display()));
            return Box::pin(core::future::ready(Err(error)));
        };
        let pushed = writes.push(job, weight.saturating_add(REQUEST));
        self.answer(pushed, answer)
    }

    fn answer<T: Send + 'static>(
        &self,
        pushed: Result<(), Refused>,
        answer: oneshot::Receiver<Result<T, StorageError>>,
    ) -> BoxFuture<'_, Result<T, StorageError>> {
        Box::pin(async move {
            let name = self.file.display();
            match pushed {
                Ok(()) => {}
                Err(Refused::Closed) => {
                    return Err(StorageError::Unavailable(format!("{name} has been closed")));
                }
                Err(Refused::Busy) => {
                    return Err(StorageError::Unavailable(format!("too many requests wait for {name}")));
                }
            }
            answer.await.unwrap_or_else(|_| {
                Err(StorageError::Unavailable(format!("the thread that serves {name} has ended")))
            })
        })
    }
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Store").field("file", &self.file).field("writable", &self.writes.is_some()).finish()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
        let threads = core::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // One that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Storage for Store {
    fn load(&self, account: AccountId, address: &Address) -> BoxFuture<'_, Result<Restored, StorageError>> {
        let address = address.clone();
        Box::pin(async move {
            let known = self.read(move |connection| batch::account_address(connection, account)).await?;
            if self.writes.is_some() && known.as_deref() != Some(address.as_str()) {
                self.write(0, move |connection| batch::put_account(connection, account, &address)).await?;
            }
            self.read(move |connection| batch::load(connection, account)).await
        })
    }

    fn commit(&self, account: AccountId, batch: Batch) -> BoxFuture<'_, Result<(), StorageError>> {
        self.write(batch::weight(&batch), move |connection| batch::commit(connection, account, &batch))
    }

    fn read_journal(
        &self,
        account: AccountId,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StorageError>> {
        self.read(move |connection| journal::read(connection, account, after, limit))
    }

    fn cursor(&self, account: AccountId, plugin: &str) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        let plugin = plugin.to_owned();
        self.read(move |connection| journal::cursor(connection, account, &plugin))
    }

    fn set_cursor(
        &self,
        account: AccountId,
        plugin: &str,
        seq: u64,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        let plugin = plugin.to_owned();
        self.write(0, move |connection| journal::set_cursor(connection, account, &plugin, seq))
    }

    fn trim_journal(
        &self,
        account: AccountId,
        plugins: Vec<String>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.remove(move |connection, most| journal::trim(connection, account, &plugins, most))
    }

    fn archive(&self, account: AccountId, entry: ArchiveEntry) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.write(entry.content.size(), move |connection| archive::add(connection, account, &entry))
    }

    fn search(
        &self,
        account: AccountId,
        query: ArchiveQuery,
    ) -> BoxFuture<'_, Result<Vec<ArchiveEntry>, StorageError>> {
        self.read(move |connection| archive::search(connection, account, &query))
    }

    fn count(&self, account: AccountId, query: ArchiveQuery) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.read(move |connection| archive::count(connection, account, &query))
    }

    fn purge(
        &self,
        account: AccountId,
        before: Timestamp,
        peer: Option<Address>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.remove(move |connection, most| archive::purge(connection, account, before, peer.as_ref(), most))
    }

    fn kv_get(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, StorageError>> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.read(move |connection| kv::get(connection, account, &bucket, &key))
    }

    fn kv_set(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
        value: Option<Vec<u8>>,
        quota: u64,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let weight = value.as_ref().map_or(0, Vec::len) + key.len();
        self.write(weight, move |connection| {
            kv::set(connection, account, &bucket, &key, value.as_deref(), quota)
        })
    }

    fn kv_keys(
        &self,
        account: AccountId,
        bucket: &str,
        after: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<String>, StorageError>> {
        let (bucket, after) = (bucket.to_owned(), after.map(str::to_owned));
        self.read(move |connection| kv::keys(connection, account, &bucket, after.as_deref(), limit))
    }
}
