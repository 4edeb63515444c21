//! Dates of documents.

use core::{fmt, str::FromStr};

/// Milliseconds since 1970-01-01T00:00:00Z; read and printed as RFC 3339.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(i64);

impl Moment {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

impl FromStr for Moment {
    type Err = InvalidMoment;

    /// A date without an offset is taken as UTC: several phones send such dates.
    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        let text = text.trim();
        if text.len() > 64 {
            return Err(InvalidMoment);
        }
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(moment.as_millisecond()));
        }
        let civil: jiff::civil::DateTime = text.parse().map_err(|_| InvalidMoment)?;
        let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| InvalidMoment)?;
        Ok(Self(zoned.timestamp().as_millisecond()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Out of the range of dates is only what was constructed so; the nearest date is better than none.
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        fmt::Display::fmt(&time, f)
    }
}

/// The text is no date of RFC 3339.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a date of RFC 3339, such as 2026-01-31T09:00:00Z")]
pub struct InvalidMoment;
