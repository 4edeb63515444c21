//! A folder of compiled plugin code, mapped into memory instead of compiled again.
//!
//! Compiling a component takes from milliseconds to many seconds; mapping its machine code takes microseconds. But
//! mapped machine code is believed: whoever can write it runs as this process. wasmtime therefore marks loading it as
//! unsafe, and this crate is the one place of the project where that word is used. It is a crate of its own so that
//! a reviewer finds everything that the argument rests on in one file.
//!
//! # Why it is sound
//! [`Component::deserialize_file`] wants bytes that wasmtime produced, and that do not change while they are mapped.
//!
//! 1. The folder is created with mode 0700. It is used only when it is a real folder (no link), belongs to the
//!    effective user of this process, and nobody else may write to it. Whoever can change a file in it can already
//!    change the process itself.
//! 2. A file gets its name by `rename` after it was written in full, and is never opened for writing again.
//!    A newer file of the same name is another inode, which leaves existing maps alone.
//! 3. The name holds the SHA-256 of the content, and the content is checked against it before it is mapped. That is no
//!    defence against an attacker, who is kept out by 1, but against a torn write and a failing disk.
//! 4. The name also holds a digest of the engine's settings and of wasmtime's version, and wasmtime checks
//!    both once more.
//!
//! What does not pass is deleted and compiled again, never trusted.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

/// What identifies compiled code: the SHA-256 of the component and of all that compiling it depends on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of a component (by its SHA-256) for an engine.
    #[must_use]
    pub fn new(engine: &Engine, component: &[u8; 32]) -> Self {
        let mut settings = Feed(Sha256::new());
        core::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut settings);
        settings.0.update(component);
        Self(settings.0.finalize().into())
    }
}

/// Feeds what is hashed into SHA-256, because std's own hasher is neither stable across versions nor wide enough.
struct Feed(Sha256);

impl core::hash::Hasher for Feed {
    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The system refused.
    #[error("cannot use {}: {reason}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Somebody else could put code into it.
    #[error("{} cannot hold compiled code: {reason}", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A private folder of compiled code.
#[derive(Clone, Debug)]
pub struct CodeFolder {
    path: PathBuf,
}

impl CodeFolder {
    /// Opens a folder, creating it with mode 0700 where it is missing.
    ///
    /// # Errors
    /// When it cannot be created, or when anybody but this process's user could write to it. On systems without Unix
    /// permissions always.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |reason| FolderError::Io { path: path.to_owned(), reason };
        create_private(path).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(FolderError::NotPrivate { path: path.to_owned(), reason: "it is no folder" });
        }
        ours(&metadata).map_err(|reason| FolderError::NotPrivate { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned() })
    }

    /// The compiled code for a key, if it is there and undamaged. Reads the whole file once, so keep it off
    /// threads that must not wait.
    #[must_use]
    pub fn load(&self, engine: &Engine, key: Key) -> Option<Component> {
        let prefix = prefix(key);
        let mut found = None;
        for entry in fs::read_dir(&self.path).ok()?.flatten() {
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
            let path = entry.path();
            match self.check_and_map(engine, &path, digest) {
                Some(component) if found.is_none() => found = Some(component),
                Some(_) => {}
                None => {
                    // Damaged, or from another wasmtime that hashes alike: it will be written again.
                    let _ = fs::remove_file(&path);
                }
            }
        }
        found
    }

    /// Keeps compiled code for a key. Another process may do the same at the same time.
    ///
    /// # Errors
    /// When the code cannot be serialised or the file not be written; the folder is as it was.
    pub fn store(&self, key: Key, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let name = format!("{}{}{SUFFIX}", prefix(key), hex(&Sha256::digest(&code)));
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.path)?;
        io::Write::write_all(&mut file, &code)?;
        file.as_file().sync_data()?;
        file.persist(self.path.join(name)).map_err(|error| error.error)?;
        Ok(())
    }

    #[expect(
        unsafe_code,
        reason = "mapping machine code is what this crate is for; see the module's argument"
    )]
    fn check_and_map(&self, engine: &Engine, path: &Path, digest: &str) -> Option<Component> {
        let metadata = fs::symlink_metadata(path).ok()?;
        if !metadata.is_file() || ours(&metadata).is_err() {
            return None;
        }
        let content = fs::read(path).ok()?;
        if digest.strip_suffix(SUFFIX)? != hex(&Sha256::digest(&content)) {
            return None;
        }
        drop(content);
        // SAFETY: the file was written by `store`, from `Component::serialize`, as its place and its digest show
        // (points 1 and 3 of the module's argument), and nothing writes to it again (point 2).
        unsafe { Component::deserialize_file(engine, path) }.ok()
    }
}

const SUFFIX: &str = ".code";

fn prefix(key: Key) -> String {
    format!("{}-", hex(&key.0))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(unix)]
fn ours(metadata: &fs::Metadata) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt as _;

    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user");
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("others may write to it; make its mode 0700");
    }
    Ok(())
}

#[cfg(not(unix))]
fn create_private(_path: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "compiled code is kept on Unix systems only"))
}

#[cfg(not(unix))]
fn ours(_metadata: &fs::Metadata) -> Result<(), &'static str> {
    Err("this system cannot say who may write to it")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn component(engine: &Engine) -> Component {
        Component::new(engine, wat::parse_str("(component (core module (func (export \"f\"))))").unwrap())
            .unwrap()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let parent = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let folder = CodeFolder::open(&parent.path().join("code")).unwrap();
        let key = Key::new(&engine, &[1; 32]);
        assert!(folder.load(&engine, key).is_none());
        folder.store(key, &component(&engine)).unwrap();
        folder.store(key, &component(&engine)).unwrap();
        assert!(folder.load(&engine, key).is_some());
        assert!(folder.load(&engine, Key::new(&engine, &[2; 32])).is_none());
        assert_eq!(fs::metadata(parent.path().join("code")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_file_is_not_loaded_and_goes_away() {
        let parent = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let folder = CodeFolder::open(&parent.path().join("code")).unwrap();
        let key = Key::new(&engine, &[1; 32]);
        for damage in [0, 200, usize::MAX] {
            folder.store(key, &component(&engine)).unwrap();
            let file = files(&folder.path).remove(0);
            let mut content = fs::read(&file).unwrap();
            match content.get_mut(damage) {
                Some(byte) => *byte ^= 1,
                None => content.truncate(content.len() / 2),
            }
            fs::write(&file, content).unwrap();
            assert!(folder.load(&engine, key).is_none());
            assert!(files(&folder.path).is_empty());
        }
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("code");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = CodeFolder::open(&path).unwrap_err().to_string();
        assert!(error.contains("others may write"), "{error}");
    }

    #[test]
    fn a_link_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("code");
        std::os::unix::fs::symlink(parent.path(), &path).unwrap();
        assert!(CodeFolder::open(&path).is_err());
    }

    #[test]
    fn other_settings_have_other_keys() {
        let plain = Engine::default();
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let other = Engine::new(&config).unwrap();
        assert_ne!(Key::new(&plain, &[1; 32]), Key::new(&other, &[1; 32]));
    }
}
