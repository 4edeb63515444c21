//! The durable copy of messages that wait: one SQLite file, written by a thread of its own.
//!
//! The thread takes what has gathered and writes it in one transaction, so that a burst of messages costs a few disk
//! flushes instead of one each.

use std::path::Path;
use std::sync::mpsc::{self as thread_mpsc, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use attache_documents::xcap::DocumentPath;
use rusqlite::{Connection, params};
use tokio::sync::mpsc;

use crate::mailbox::{StoreChange, StoredMessage};
use crate::xcap::{DocumentWrite, StoredDocument};

/// The file in the data folder.
const FILE: &str = "service.sqlite3";
/// Changes that are written in one transaction.
const BATCH: usize = 256;
/// Time after which removals that failed are tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// 2: documents. An elder version would forget that presence rules hold.
const VERSION: i64 = 2;

/// The outcome of keeping something.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Kept {
    pub(crate) what: What,
    pub(crate) outcome: Result<(), String>,
}

/// What was kept.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// The message with this id.
    Message(u64),
    /// The change of a document with this ticket.
    Document(u64),
}

/// What was kept before a restart.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) messages: Vec<StoredMessage>,
    pub(crate) documents: Vec<StoredDocument>,
}

/// The other end of the thread.
pub(crate) struct Store {
    // Unbounded, because what can wait in it is bounded by the mailboxes' own limits.
    changes: thread_mpsc::Sender<StoreChange>,
    pub(crate) kept: mpsc::UnboundedReceiver<Kept>,
    thread: Option<JoinHandle<()>>,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct StoreError {
    path: String,
    what: String,
}

impl Store {
    /// Opens or creates the store in a folder, and reads what waits.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Restored), StoreError> {
        let path = folder.join(FILE);
        let failed = |what: String| StoreError { path: path.display().to_string(), what };
        create(folder, &path).map_err(|error| failed(error.to_string()))?;
        let mut connection = Connection::open(&path).map_err(|error| failed(error.to_string()))?;
        let restored = prepare(&mut connection).map_err(failed)?;
        let (changes, incoming) = thread_mpsc::channel();
        let (report, kept) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("service-store".into())
            .spawn(move || run(&mut connection, &incoming, &report))
            .map_err(|error| failed(error.to_string()))?;
        Ok((Self { changes, kept, thread: Some(thread) }, restored))
    }

    pub(crate) fn change(&self, change: StoreChange) {
        if let Err(thread_mpsc::SendError(change)) = self.changes.send(change) {
            tracing::error!(?change, "the store has stopped");
        }
    }

    /// Waits until everything is written.
    pub(crate) fn close(self) {
        let Self { changes, thread, .. } = self;
        drop(changes);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Makes the file before SQLite does, so that nobody else can read it.
fn create(folder: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn prepare(connection: &mut Connection) -> Result<Restored, String> {
    let text = |error: rusqlite::Error| error.to_string();
    connection.busy_timeout(Duration::from_millis(500)).map_err(text)?;
    // Exclusive: two services on one file would deliver everything twice.
    connection
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
        )
        .map_err(text)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(text)?;
    if version > VERSION {
        return Err(format!("it was written by a newer version (format {version}, this is {VERSION})"));
    }
    let transaction = connection.transaction().map_err(text)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS message (
                 id INTEGER PRIMARY KEY,
                 recipient TEXT NOT NULL,
                 headers TEXT NOT NULL,
                 cseq INTEGER NOT NULL,
                 content_type TEXT NOT NULL,
                 body BLOB NOT NULL,
                 at INTEGER NOT NULL,
                 until INTEGER NOT NULL
             ) STRICT;
             CREATE TABLE IF NOT EXISTS document (
                 auid TEXT NOT NULL,
                 owner TEXT NOT NULL,
                 name TEXT NOT NULL,
                 etag TEXT NOT NULL,
                 body BLOB NOT NULL,
                 PRIMARY KEY (owner, auid, name)
             ) STRICT, WITHOUT ROWID;",
        )
        .map_err(text)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(text)?;
    transaction.commit().map_err(text)?;
    let mut statement = connection
        .prepare(
            "SELECT id, recipient, headers, cseq, content_type, body, at, until FROM message ORDER BY id",
        )
        .map_err(text)?;
    let rows = statement
        .query_map([], |row| {
            let headers: String = row.get(2)?;
            Ok(StoredMessage {
                id: row.get::<_, i64>(0)?.cast_unsigned(),
                recipient: row.get(1)?,
                headers: headers
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                cseq: row.get(3)?,
                content_type: row.get(4)?,
                body: row.get::<_, Vec<u8>>(5)?.into(),
                at: from_millis(row.get(6)?),
                until: from_millis(row.get(7)?),
            })
        })
        .map_err(text)?;
    let messages = rows.collect::<Result<_, _>>().map_err(text)?;
    let mut statement =
        connection.prepare("SELECT auid, owner, name, etag, body FROM document").map_err(text)?;
    let rows = statement
        .query_map([], |row| {
            let owner: String = row.get(1)?;
            Ok(StoredDocument {
                path: DocumentPath { auid: row.get(0)?, user: Some(owner), name: row.get(2)? },
                etag: row.get(3)?,
                body: row.get::<_, Vec<u8>>(4)?.into(),
            })
        })
        .map_err(text)?;
    Ok(Restored { messages, documents: rows.collect::<Result<_, _>>().map_err(text)? })
}

fn run(
    connection: &mut Connection,
    changes: &thread_mpsc::Receiver<StoreChange>,
    report: &mpsc::UnboundedSender<Kept>,
) {
    // What could not be removed: it comes first the next time, else it would be delivered again after a restart.
    let mut again: Vec<StoreChange> = Vec::new();
    loop {
        let first = if again.is_empty() {
            changes.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            changes.recv_timeout(PAUSE)
        };
        let is_last = matches!(first, Err(RecvTimeoutError::Disconnected));
        if is_last && again.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut again);
        batch.extend(first);
        batch.extend(changes.try_iter().take(BATCH - 1));
        let outcome = write(connection, &batch).map_err(|error| error.to_string());
        if let Err(error) = &outcome {
            tracing::error!(error, "messages cannot be written");
        }
        for change in batch {
            let what = match &change {
                StoreChange::Put(message) => What::Message(message.id),
                StoreChange::Document(write) => What::Document(write.ticket),
                StoreChange::Remove(_) => {
                    if outcome.is_err() && !is_last {
                        again.push(change);
                    }
                    continue;
                }
            };
            // The service may be gone; what was kept is safe all the same.
            let _ = report.send(Kept { what, outcome: outcome.clone() });
        }
        if is_last {
            return;
        }
    }
}

fn write(connection: &mut Connection, batch: &[StoreChange]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut put = transaction.prepare_cached(
            "INSERT OR REPLACE INTO message (id, recipient, headers, cseq, content_type, body, at, until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let mut remove = transaction.prepare_cached("DELETE FROM message WHERE id = ?1")?;
        let mut put_document = transaction.prepare_cached(
            "INSERT OR REPLACE INTO document (auid, owner, name, etag, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut remove_document = transaction
            .prepare_cached("DELETE FROM document WHERE auid = ?1 AND owner = ?2 AND name = ?3")?;
        for change in batch {
            match change {
                StoreChange::Put(message) => {
                    // Values have no line ends: folding was undone when they were read.
                    let lines = message.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
                    put.execute(params![
                        message.id.cast_signed(),
                        message.recipient,
                        lines.collect::<String>(),
                        message.cseq,
                        message.content_type,
                        &message.body[..],
                        to_millis(message.at),
                        to_millis(message.until),
                    ])?;
                }
                StoreChange::Remove(id) => {
                    remove.execute([id.cast_signed()])?;
                }
                StoreChange::Document(DocumentWrite { path, document, .. }) => match document {
                    Some(StoredDocument { etag, body, .. }) => {
                        put_document.execute(params![path.auid, path.user, path.name, etag, &body[..]])?;
                    }
                    None => {
                        remove_document.execute(params![path.auid, path.user, path.name])?;
                    }
                },
            }
        }
    }
    transaction.commit()
}

fn to_millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn from_millis(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn message(id: u64) -> StoredMessage {
        StoredMessage {
            id,
            recipient: "bob@example.com".into(),
            headers: vec![
                ("From".into(), "<sip:alice@example.com>;tag=1".into()),
                ("Subject".into(), "a: b".into()),
            ],
            cseq: 7,
            content_type: "text/plain".into(),
            body: "hello\r\n\0there".into(),
            at: from_millis(1_000),
            until: from_millis(2_000),
        }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_what_was_removed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, before) = Store::open(folder.path()).unwrap();
        assert!(before.messages.is_empty() && before.documents.is_empty());
        for id in 1..=3 {
            store.change(StoreChange::Put(Arc::new(message(id))));
        }
        store.change(StoreChange::Remove(2));
        for id in 1..=3 {
            let kept = Kept { what: What::Message(id), outcome: Ok(()) };
            assert_eq!(store.kept.blocking_recv(), Some(kept));
        }
        store.close();
        let (_store, after) = Store::open(folder.path()).unwrap();
        assert_eq!(after.messages, [message(1), message(3)]);
    }

    #[test]
    fn documents_are_there_after_a_restart_as_they_were_left() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(folder.path()).unwrap();
        let path = |name: &str| DocumentPath::user("resource-lists", "bob@example.com", name);
        let document = |name: &str, etag: &str| StoredDocument {
            path: path(name),
            etag: etag.into(),
            body: format!("<a>{etag}</a>").into(),
        };
        for (ticket, name, document) in [
            (0, "index", Some(document("index", "1"))),
            (1, "gone", Some(document("gone", "2"))),
            (2, "index", Some(document("index", "3"))),
            (3, "gone", None),
        ] {
            store.change(StoreChange::Document(DocumentWrite { ticket, path: path(name), document }));
            let kept = Kept { what: What::Document(ticket), outcome: Ok(()) };
            assert_eq!(store.kept.blocking_recv(), Some(kept));
        }
        store.close();
        let (_store, after) = Store::open(folder.path()).unwrap();
        assert_eq!(after.documents, [document("index", "3")]);
    }

    #[test]
    fn a_removal_that_failed_with_its_batch_is_made_later() {
        let mut connection = Connection::open_in_memory().unwrap();
        prepare(&mut connection).unwrap();
        write(&mut connection, &[StoreChange::Put(Arc::new(message(1)))]).unwrap();
        connection
            .execute_batch(
                "CREATE TRIGGER full BEFORE INSERT ON message BEGIN SELECT RAISE(ABORT, 'full'); END",
            )
            .unwrap();
        let (changes, incoming) = thread_mpsc::channel();
        let (report, mut kept) = mpsc::unbounded_channel();
        changes.send(StoreChange::Remove(1)).unwrap();
        changes.send(StoreChange::Put(Arc::new(message(2)))).unwrap();
        drop(changes);
        run(&mut connection, &incoming, &report);
        assert!(kept.try_recv().is_ok_and(|kept| kept.what == What::Message(2) && kept.outcome.is_err()));
        let left: i64 = connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn two_services_cannot_share_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::open(folder.path()).unwrap();
        assert!(Store::open(folder.path()).is_err_and(|error| error.to_string().contains("service.sqlite3")));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let _store = Store::open(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}
