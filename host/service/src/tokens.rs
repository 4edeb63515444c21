//! Access tokens in place of passwords (RFC 8898).
//!
//! Tokens are opaque: the authorization server, or a program beside it, writes a file that says for each token whose it is
//! and until when. The file holds hashes only, so that reading it gives nobody access, and a line that is taken out is a
//! token that is revoked. There is no signature to be checked here, and so no key or algorithm to be confused.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use crate::directory::{Aor, Directory};
use crate::problem::Problem;

/// The largest file of tokens: room for more than 100,000.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// `[service.tokens]`: users may prove who they are by an access token, over encrypted transports only.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenOptions {
    /// Where clients get a token: the HTTPS address of the authorization server.
    pub authz_server: String,
    /// What the token must allow, as clients ask for it; left out of challenges when left out here.
    pub scope: Option<String>,
    /// A TOML file with one `[[token]]` each: `user`, `sha256` (of the token, in hexadecimal) and `expires` (a date with
    /// its offset from UTC). It is read again within seconds of a change.
    pub file: PathBuf,
}

/// A token that is good.
#[derive(Clone, Eq, PartialEq)]
pub struct AccessToken {
    /// Whose it is: a user's name or address.
    pub user: String,
    /// SHA-256 of its text.
    pub sha256: [u8; 32],
    /// From when on it is good no more.
    pub expires: SystemTime,
}

// A hash of a token is no secret, but nobody needs it in a log.
impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is too long.
    #[error("{}: it is longer than 16 MiB", .0.display())]
    TooLong(PathBuf),
    /// It has a mistake.
    #[error("{0}")]
    Unusable(Problem),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    user: String,
    #[serde(deserialize_with = "digest")]
    sha256: [u8; 32],
    #[serde(deserialize_with = "moment")]
    expires: SystemTime,
}

/// Reads a file of tokens. One that is not there has none.
///
/// # Errors
/// When it cannot be read, is too long, or has a mistake.
pub(crate) fn read(path: &Path) -> Result<Vec<AccessToken>, TokenFileError> {
    let unreadable = |error| TokenFileError::Unreadable { path: path.to_owned(), error };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(TokenFileError::TooLong(path.to_owned()));
    }
    let file: TokenFile = toml::from_str(&text)
        .map_err(|error| TokenFileError::Unusable(Problem::new(Some(path), &text, &error)))?;
    let token = |entry: Entry| AccessToken { user: entry.user, sha256: entry.sha256, expires: entry.expires };
    Ok(file.token.into_iter().map(token).collect())
}

/// The tokens that are good, by their hashes. A look-up by a hash tells nobody by its time how near a guess was.
#[derive(Default)]
pub(crate) struct Tokens {
    of: HashMap<[u8; 32], (Aor, SystemTime)>,
}

impl Tokens {
    /// Takes these in place of all before. Those of nobody here are left out; their number is returned.
    pub(crate) fn replace(&mut self, tokens: Vec<AccessToken>, directory: &Directory) -> usize {
        self.of.clear();
        let mut ownerless = 0;
        for token in tokens {
            match directory.complete(&token.user).and_then(|name| directory.find(&name)) {
                Some(aor) => drop(self.of.insert(token.sha256, (aor, token.expires))),
                None => ownerless += 1,
            }
        }
        ownerless
    }

    /// Whose a token is, and for how long it is good.
    pub(crate) fn find(&self, token: &[u8], wall: SystemTime) -> Option<(Aor, Duration)> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let (aor, expires) = self.of.get(&hash)?;
        let left = expires.duration_since(wall).ok().filter(|left| !left.is_zero())?;
        Some((Aor::clone(aor), left))
    }
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom("a SHA-256 is 64 hexadecimal digits");
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let date = toml::value::Datetime::deserialize(deserializer)?;
    since_epoch(&date).map(|since| SystemTime::UNIX_EPOCH + since).ok_or_else(|| {
        serde::de::Error::custom("it is no date with time and offset, such as 2030-01-31T12:00:00Z")
    })
}

/// Time from 1970 on to a date that says its offset from UTC.
fn since_epoch(date: &toml::value::Datetime) -> Option<Duration> {
    let (day, time) = (date.date?, date.time?);
    let offset = match date.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    // Days of the Gregorian calendar, counted in eras of 400 years that begin on the first of March.
    let (year, month) = (i64::from(day.year) - i64::from(day.month <= 2), i64::from(day.month));
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(day.day) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let of_day =
        i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    u64::try_from(days * 86_400 + of_day - offset).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        since_epoch(&text.parse().unwrap()).map(|since| since.as_secs())
    }

    #[test]
    fn dates_with_an_offset_are_moments() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2010-11-14T00:29:00+01:00"), Some(1_289_690_940));
        assert_eq!(seconds("2000-02-29T00:00:00Z"), Some(951_782_400));
        assert_eq!(seconds("2100-02-28T23:59:59Z"), Some(4_107_542_399));
        assert_eq!(seconds("2030-01-31"), None, "no time");
        assert_eq!(seconds("2030-01-31T12:00:00"), None, "no offset");
    }

    #[test]
    fn a_file_of_tokens_is_read_and_a_mistake_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        assert!(read(&path).unwrap().is_empty(), "a file that is not there has no tokens");
        let hash = "ab".repeat(32);
        let good =
            format!("[[token]]\nuser = \"alice\"\nsha256 = \"{hash}\"\nexpires = 2030-01-31T12:00:00Z\n");
        std::fs::write(&path, &good).unwrap();
        let tokens = read(&path).unwrap();
        assert_eq!((tokens.len(), tokens[0].sha256), (1, [0xab; 32]));
        std::fs::write(&path, good.replace("T12:00:00Z", "")).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:4: token.expires: ", path.display())), "{error}");
        std::fs::write(&path, good.replace(&hash, "ab")).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
    }
}
