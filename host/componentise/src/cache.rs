//! The folder that keeps what is expensive to get: fetched packages and compiled guests.
//!
//! It lies outside every checkout, so that a fresh clone starts warm, and whatever is in it can be deleted at any time.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Error;

/// A private cache folder of the user.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The user's: `$XDG_CACHE_HOME/attache`, or `~/.cache/attache`.
    ///
    /// # Errors
    /// [`Error::NoCacheFolder`] when the environment names neither.
    pub fn of_user() -> Result<Self, Error> {
        Self::from_environment(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
    }

    /// A cache in a folder of the caller's choice.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn from_environment(xdg: Option<OsString>, home: Option<OsString>) -> Result<Self, Error> {
        // The XDG specification has relative paths ignored.
        let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".cache")));
        Ok(Self { root: base.ok_or(Error::NoCacheFolder)?.join("attache") })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo target folder of guests: one for all, so that the standard library is compiled once.
    pub fn guest_target(&self) -> PathBuf {
        self.root.join("guest-target")
    }

    /// Takes the lock of a part of the cache, waiting for whoever has it. It is released when the file is dropped,
    /// and by the operating system when the process dies.
    pub(crate) fn lock(&self, part: &str) -> Result<File, Error> {
        fs::create_dir_all(&self.root).map_err(Error::file("create", &self.root))?;
        let path = self.root.join(format!("{part}.lock"));
        let file = File::create(&path).map_err(Error::file("create", &path))?;
        file.lock().map_err(Error::file("lock", &path))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(xdg: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
        Cache::from_environment(xdg.map(Into::into), home.map(Into::into)).ok().map(|cache| cache.root)
    }

    #[test]
    fn the_users_cache_folder_is_respected() {
        assert_eq!(root(Some("/var/cache/me"), Some("/home/me")), Some("/var/cache/me/attache".into()));
        assert_eq!(root(None, Some("/home/me")), Some("/home/me/.cache/attache".into()));
        assert_eq!(root(Some("relative"), Some("/home/me")), Some("/home/me/.cache/attache".into()));
        assert_eq!(root(Some(""), None), None);
    }
}
