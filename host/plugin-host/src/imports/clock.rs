//! `clock`: time as people see it, and timers.

use std::time::{Duration, Instant, SystemTime};

use attache_messenger::{code::Code, error::Error, time::Timestamp};
use jiff::{civil, tz::TimeZone};

use super::{answer, invalid, wit};
use crate::state::GuestState;

/// Shortest delay of a timer.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest delay of a timer: a hundred years, so that the sum with now always exists.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl wit::clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.spend_call()?;
        Ok(Timestamp::from(SystemTime::now()).as_millis())
    }

    fn local(
        &mut self,
        at: u64,
        zone: Option<String>,
    ) -> wasmtime::Result<Result<wit::clock::LocalTime, wit::types::Error>> {
        self.spend_call()?;
        answer(local(at, zone.as_deref()))
    }

    fn set_timer(&mut self, delay: u64, token: u64) -> wasmtime::Result<Result<(), wit::types::Error>> {
        self.spend_call()?;
        answer(self.set(delay, token))
    }

    fn cancel_timer(&mut self, token: u64) -> wasmtime::Result<()> {
        self.spend_call()?;
        self.timers.remove(&token);
        Ok(())
    }
}

impl GuestState {
    fn set(&mut self, delay: u64, token: u64) -> Result<(), Error> {
        if !self.takes_timers {
            return Err(invalid("this plugin does not export timer-events, so no timer can reach it"));
        }
        let most = self.plugin().limits.timers as usize;
        if !self.timers.contains_key(&token) && self.timers.len() >= most {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("at most {most} timers can be set at a time"),
            ));
        }
        let delay = Duration::from_millis(delay).clamp(SHORTEST, LONGEST);
        self.timers.insert(token, Instant::now() + delay);
        Ok(())
    }
}

fn local(at: u64, zone: Option<&str>) -> Result<wit::clock::LocalTime, Error> {
    let zone = match zone {
        None => TimeZone::system(),
        Some(name) if name.len() > 64 => return Err(invalid("no time zone has so long a name")),
        Some(name) => TimeZone::get(name).map_err(|_| invalid(format!("there is no time zone `{name}`")))?,
    };
    let at = i64::try_from(at)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .ok_or_else(|| invalid("that is too far in the future"))?;
    let time = at.to_zoned(zone);
    let small = |number: i8| u8::try_from(number).unwrap_or_default();
    Ok(wit::clock::LocalTime {
        year: i32::from(time.year()),
        month: small(time.month()),
        day: small(time.day()),
        hour: small(time.hour()),
        minute: small(time.minute()),
        second: small(time.second()),
        weekday: match time.weekday() {
            civil::Weekday::Monday => wit::clock::Weekday::Monday,
            civil::Weekday::Tuesday => wit::clock::Weekday::Tuesday,
            civil::Weekday::Wednesday => wit::clock::Weekday::Wednesday,
            civil::Weekday::Thursday => wit::clock::Weekday::Thursday,
            civil::Weekday::Friday => wit::clock::Weekday::Friday,
            civil::Weekday::Saturday => wit::clock::Weekday::Saturday,
            civil::Weekday::Sunday => wit::clock::Weekday::Sunday,
        },
        utc_offset: time.offset().seconds(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_local_time() {
        // 2026-07-01T22:30:00Z is after midnight in Berlin, in summer time.
        let time = local(1_782_945_000_000, Some("Europe/Berlin")).unwrap();
        assert_eq!((time.year, time.month, time.day, time.hour, time.minute), (2026, 7, 2, 0, 30));
        assert_eq!(time.weekday, wit::clock::Weekday::Thursday);
        assert_eq!(time.utc_offset, 7200);
    }

    #[test]
    fn what_is_no_time_or_zone_is_an_error() {
        assert!(local(0, Some("Europe/Atlantis")).is_err());
        assert!(local(0, Some("../../etc/passwd")).is_err());
        assert!(local(u64::MAX, None).is_err());
    }
}
