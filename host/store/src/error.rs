//! Failures: what SQLite says, put into the few cases that a caller can act on.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use attache_messenger::storage::StorageError;
use rusqlite::{ErrorCode, ffi};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the data folder, or another [`Store`](crate::Store) of this one.
    #[error("{} is in use by another process; stop it, or give this one a folder of its own", .0.display())]
    InUse(PathBuf),
    /// A later version of the program has written the file. It is left as it is.
    #[error(
        "{} has schema version {found}, but this version of the program knows only up to {known}: use a newer one",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The highest version known here.
        known: i64,
    },
    /// The file is no database, or one of another program.
    #[error("{} cannot be used as a store: {reason}", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no database yet; only [`Store::open_read_only`](crate::Store::open_read_only) says so.
    #[error("{} does not exist yet", .0.display())]
    Missing(PathBuf),
    /// The folder or a file in it could not be made or opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<OpenError> for StorageError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Storage(inner) => inner,
            OpenError::Damaged { .. } | OpenError::Newer { .. } => Self::Damaged(error.to_string()),
            OpenError::InUse(_) | OpenError::Missing(_) => Self::Unavailable(error.to_string()),
            OpenError::Io { ref source, .. } if is_full(source) => Self::Full(error.to_string()),
            OpenError::Io { .. } => Self::Other(error.to_string()),
        }
    }
}

/// A failure inside a statement, before it is known which file it was.
#[derive(Debug)]
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    /// A row that this version did not write like that.
    Unreadable(String),
    Storage(StorageError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Failure {
    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::Storage(StorageError::Other(what.into()))
    }

    /// What the caller is told.
    pub(crate) fn into_storage(self, file: &Path) -> StorageError {
        match self {
            Self::Storage(error) => error,
            Self::Unreadable(what) => StorageError::Damaged(format!("{}: {what}", file.display())),
            Self::Sqlite(error) => classify(&error, file),
        }
    }

    /// What the caller of `open` is told.
    pub(crate) fn into_open(self, file: &Path) -> OpenError {
        match self.into_storage(file) {
            StorageError::Damaged(_) => OpenError::Damaged {
                path: file.to_owned(),
                reason: "it is damaged, or no database at all; put a backup in its place or move it away"
                    .into(),
            },
            error => OpenError::Storage(error),
        }
    }
}

fn classify(error: &rusqlite::Error, file: &Path) -> StorageError {
    // Never the whole text of SQLite's errors on statements: it may quote what somebody typed.
    let name = file.display();
    let (code, extended) = match error {
        rusqlite::Error::SqliteFailure(inner, _) => (inner.code, inner.extended_code),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => {
            return StorageError::Damaged(format!("{name}: a column has a value of the wrong type"));
        }
        _ => {
            return StorageError::Other(format!(
                "{name}: a statement of the store does not fit the database"
            ));
        }
    };
    let said = format!("{name}: {}", ffi::code_to_str(extended));
    match code {
        ErrorCode::DiskFull => StorageError::Full(said),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StorageError::Damaged(said),
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::ReadOnly
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied => StorageError::Unavailable(said),
        ErrorCode::SystemIoFailure => match extended {
            ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA => {
                StorageError::Damaged(said)
            }
            _ if cannot_grow(file) => StorageError::Full(said),
            _ => StorageError::Other(said),
        },
        _ => StorageError::Other(said),
    }
}

/// SQLite reports only `ENOSPC` as a full disk; a user's quota and a limit on file sizes come as plain I/O errors
/// without their number. Trying to write a page in the same folder tells them apart.
fn cannot_grow(file: &Path) -> bool {
    let Some(folder) = file.parent() else { return false };
    let probe = folder.join(format!(".attache-probe-{}", std::process::id()));
    // A limit on file sizes bites only where the database ends.
    let grown = fs::metadata(file).map_or(0, |found| found.len())
        + fs::metadata(file.with_extension("db-wal")).map_or(0, |found| found.len());
    let tried = fs::File::create(&probe).and_then(|mut probe| {
        use std::io::Seek as _;
        probe.seek(io::SeekFrom::Start(grown))?;
        probe.write_all(&[0; 4096])?;
        probe.sync_all()
    });
    // Nothing depends on whether the probe could be removed: it is overwritten by the next one.
    let _ = fs::remove_file(&probe);
    matches!(tried, Err(error) if is_full(&error))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
