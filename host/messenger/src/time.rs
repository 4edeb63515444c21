//! Wall-clock time. Timers use [`std::time::Instant`]; people and archives need a date.

use core::fmt;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z; printed as RFC 3339 in UTC, always with three digits of a second, so that
/// printed times sort as text.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// When the text is no such date, or is one before 1970.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed: jiff::Timestamp = text.trim().parse().map_err(|_| InvalidTimestamp)?;
        u64::try_from(parsed.as_millisecond()).map(Self).map_err(|_| InvalidTimestamp)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl core::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rest: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "+{}ms", self.0),
        }
    }
}

/// The text is no date of RFC 3339.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a date of RFC 3339, such as 2026-01-31T09:00:00Z")]
pub struct InvalidTimestamp;

/// Both clocks at one moment: the engine has none of its own.
#[derive(Copy, Clone, Debug)]
pub struct Now {
    /// For timers; never steps.
    pub instant: Instant,
    /// For people and archives; may step.
    pub wall: Timestamp,
}

impl Now {
    /// Both clocks of this machine, read now.
    #[must_use]
    pub fn read() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now().into() }
    }
}
