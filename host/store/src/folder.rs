//! The data folder: made for its owner's eyes only, and locked while a process writes in it.
//!
//! The lock is the kernel's, on a file beside the database, so it vanishes with the process however that ends.
//! Readers do not take it: `attache history` looks into the store of a running `attache run`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::error::OpenError;

const DATABASE: &str = "attache.db";
const LOCK: &str = "attache.lock";

/// The database file of a data folder.
pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join(DATABASE)
}

/// Makes what is missing and takes the lock; the lock lasts as long as the returned file.
pub(crate) fn prepare(folder: &Path) -> Result<File, OpenError> {
    create_folder(folder).map_err(|source| OpenError::Io { path: folder.to_owned(), source })?;
    let path = folder.join(LOCK);
    let lock = open_private(&path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
    }
    // SQLite gives its side files the mode of the database, so it is enough to make the database first.
    let path = database(folder);
    let made = !path.exists();
    open_private(&path)
        .and_then(|_| if made { sync_folder(folder) } else { Ok(()) })
        .map_err(|source| OpenError::Io { path, source })?;
    Ok(lock)
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A new file is durable only when its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
