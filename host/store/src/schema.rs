//! The file format, and how older files become newer ones.
//!
//! One SQLite 3 database, `attache.db`, in WAL mode, with `application_id` 0x41747461 ("Atta"). `user_version` counts
//! the steps of [`MIGRATIONS`] that the file has seen; each step is one transaction with its new `user_version`, so
//! a crash in the middle of an upgrade leaves the old version whole. Columns and tables are only ever added or
//! rewritten by a new step, never by editing one that was released.
//!
//! - Accounts are their 64-bit handle, reinterpreted as a signed number. All other handles, positions and times are
//!   below 2⁶³ and kept as they are, so that SQLite sorts them as the program does. Times are milliseconds since 1970
//!   in UTC.
//! - Addresses are kept as given; where they are compared, the canonical spelling stands in a column beside them.
//! - `outbox.body` and `journal.body` are JSON documents; `record` describes them.
//! - `record.kind` is the name of a `RecordKind`. Kinds that are not known are left alone: a later version may know them.
//! - `account.last_seq` is the highest position that the journal ever had, also when it has been trimmed since.
//! - `archive_text` is the full-text index of `archive`. It holds the account too, so that a search reads only the
//!   postings of one account.
//! - `archive.archived` is 0 for lines of transcripts that no plugin archived; these go after their time. `archive.media_type` is
//!   NULL for plain texts; otherwise `body` holds the markup or the bytes, and `text` the words to search.
//! - `archive_other` holds the second and further people that a message went to.
//! - `kv_bucket.bytes` is the sum of the lengths of a bucket's keys and values, so that a quota is checked without
//!   reading the bucket.

use rusqlite::{Connection, OpenFlags};
use std::{path::Path, time::Duration};

use crate::error::{Failure, OpenError};

const APPLICATION_ID: i64 = 0x4174_7461;

/// Step `n` leads from version `n` to version `n + 1`.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4];

/// What a user noted of a contact beside the name: a JSON document.
const VERSION_4: &str = "
ALTER TABLE contact ADD COLUMN details TEXT;
";

/// Lines of transcripts beside what plugins archived, messages to several people, and other contents than texts.
const VERSION_3: &str = "
ALTER TABLE archive ADD COLUMN archived INTEGER NOT NULL DEFAULT 1;
ALTER TABLE archive ADD COLUMN media_type TEXT;
ALTER TABLE archive ADD COLUMN body BLOB;
CREATE INDEX archive_by_conversation ON archive (account, conversation, at, message);
CREATE INDEX archive_lines ON archive (account, at) WHERE archived = 0;

CREATE TABLE archive_other (
    entry INTEGER NOT NULL,
    place INTEGER NOT NULL,
    account INTEGER NOT NULL,
    peer TEXT NOT NULL,
    peer_key TEXT NOT NULL,
    PRIMARY KEY (entry, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX archive_other_by_peer ON archive_other (account, peer_key, entry);
CREATE TRIGGER archive_others_removed AFTER DELETE ON archive BEGIN
    DELETE FROM archive_other WHERE entry = old.id;
END;
";

/// What the engine keeps for its work with the service.
const VERSION_2: &str = "
CREATE TABLE record (
    account INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (account, kind, key)
) STRICT;
";

const VERSION_1: &str = "
CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    address TEXT,
    last_seq INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE contact (
    position INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    address TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (account, id)
) STRICT;

CREATE TABLE contact_group (
    position INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (account, id)
) STRICT;

CREATE TABLE membership (
    account INTEGER NOT NULL,
    contact INTEGER NOT NULL,
    contact_group INTEGER NOT NULL,
    PRIMARY KEY (account, contact, contact_group)
) STRICT, WITHOUT ROWID;
CREATE INDEX membership_by_group ON membership (account, contact_group);

CREATE TABLE outbox (
    position INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    message INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (account, message)
) STRICT;

CREATE TABLE setting (
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE seen (
    account INTEGER NOT NULL,
    key BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_by_age ON seen (account, at);

CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (account, seq)
) STRICT;

CREATE TABLE cursor (
    account INTEGER NOT NULL,
    plugin TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (account, plugin)
) STRICT, WITHOUT ROWID;

CREATE TABLE archive (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    message INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    outgoing INTEGER NOT NULL,
    peer TEXT NOT NULL,
    peer_key TEXT NOT NULL,
    text TEXT NOT NULL,
    automatic INTEGER NOT NULL,
    UNIQUE (account, message)
) STRICT;
CREATE INDEX archive_by_time ON archive (account, at, message);
CREATE INDEX archive_by_peer ON archive (account, peer_key, at, message);

CREATE VIRTUAL TABLE archive_text USING fts5 (
    account, text,
    content = 'archive', content_rowid = 'id',
    tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER archive_added AFTER INSERT ON archive BEGIN
    INSERT INTO archive_text (rowid, account, text) VALUES (new.id, new.account, new.text);
END;
CREATE TRIGGER archive_removed AFTER DELETE ON archive BEGIN
    INSERT INTO archive_text (archive_text, rowid, account, text)
    VALUES ('delete', old.id, old.account, old.text);
END;

CREATE TABLE kv (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (account, bucket, key)
) STRICT;

CREATE TABLE kv_bucket (
    account INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (account, bucket)
) STRICT, WITHOUT ROWID;
";

/// How long to wait for a lock that a foreign program holds on the file.
const BUSY: Duration = Duration::from_secs(5);
/// More than all statements of the store, so that each is prepared once.
const STATEMENTS: usize = 64;

/// Opens the connection that writes, and brings the file to the newest version.
pub(crate) fn open_writer(file: &Path, max_bytes: Option<u64>) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> Result<Connection, Failure> {
        let connection = Connection::open_with_flags(file, flags)?;
        configure(&connection)?;
        Ok(connection)
    };
    let mut connection = open().map_err(|failure| failure.into_open(file))?;
    // Before anything is written: a file of another program or of a later version stays as it is.
    let found = check(&connection, file)?;
    let mut prepare = || -> Result<(), Failure> {
        connection.pragma_update(None, "journal_mode", "wal")?;
        // FULL syncs the WAL in every commit. NORMAL would leave that to the checkpoint: a file that a power failure
        // cannot damage either, but without the last commits, and those have been acknowledged to the network by
        // then. Group commit makes FULL cheap: one sync for all that waited meanwhile.
        connection.pragma_update(None, "synchronous", "full")?;
        // On macOS a plain fsync leaves data in the drive's cache; elsewhere these change nothing.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
        // What was purged should not linger in free pages.
        connection.pragma_update(None, "secure_delete", "fast")?;
        migrate(&mut connection, found)?;
        if let Some(bytes) = max_bytes {
            let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
            connection.pragma_update(None, "max_page_count", pages.clamp(1, i64::from(u32::MAX) - 1))?;
        }
        Ok(())
    };
    prepare().map_err(|failure| failure.into_open(file))?;
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(crate) fn open_reader(file: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> Result<Connection, Failure> {
        let connection = Connection::open_with_flags(file, flags)?;
        configure(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    let connection = open().map_err(|failure| failure.into_open(file))?;
    check(&connection, file)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), Failure> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A damaged or forged file is read with care: no functions from its schema, cells checked, no memory map that
    // could end in SIGBUS.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(())
}

/// The schema version, when the file is ours and not from the future.
fn check(connection: &Connection, file: &Path) -> Result<usize, OpenError> {
    let read = || -> Result<(i64, i64, i64), Failure> {
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((version, application, tables))
    };
    let (version, application, tables) = read().map_err(|failure| failure.into_open(file))?;
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        let reason = "it is a database of another program".into();
        return Err(OpenError::Damaged { path: file.to_owned(), reason });
    }
    let known = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(OpenError::Newer {
            path: file.to_owned(),
            found: version,
            known: i64::try_from(known).unwrap_or(i64::MAX),
        }),
    }
}

fn migrate(connection: &mut Connection, found: usize) -> Result<(), Failure> {
    for (version, step) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::try_from(version + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("attache.db");
        std::fs::write(&file, []).unwrap();
        let connection = open_writer(&file, None).unwrap();
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2), "2 is FULL");
    }

    #[test]
    fn a_file_of_the_first_version_keeps_what_it_holds() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(VERSION_1).unwrap();
        connection.execute("INSERT INTO setting VALUES (1, 'presence', 'busy')", []).unwrap();
        migrate(&mut connection, 1).unwrap();
        let kept: String = connection.query_row("SELECT value FROM setting", [], |row| row.get(0)).unwrap();
        let records: i64 = connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).unwrap();
        assert_eq!((kept.as_str(), records), ("busy", 0));
    }

    #[test]
    fn what_was_archived_before_there_were_transcripts_stays_archived() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(VERSION_1).unwrap();
        connection.execute_batch(VERSION_2).unwrap();
        let old = "INSERT INTO archive (account, message, conversation, at, outgoing, peer, peer_key, text, automatic)
            VALUES (1, 2, 3, 4, 0, 'sip:bob@example.com', 'sip:bob@example.com', 'tea', 0)";
        connection.execute(old, []).unwrap();
        migrate(&mut connection, 2).unwrap();
        let kept: (i64, Option<String>) = connection
            .query_row("SELECT archived, media_type FROM archive", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(kept, (1, None));
    }

    #[test]
    fn a_failed_upgrade_leaves_the_old_version() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE kv_bucket (a)").unwrap();
        migrate(&mut connection, 0).unwrap_err();
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!((tables, version), (1, 0));
    }
}
