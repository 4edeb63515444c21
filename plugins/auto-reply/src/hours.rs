//! Working hours: which days, from when to when, in which time zone.

/// Minutes of a day.
const DAY: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A moment of the week, on a clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// 0 is Monday, 6 Sunday.
    pub(crate) day: usize,
    /// Minutes since midnight.
    pub(crate) minute: u16,
}

/// When the user works. Hours that end before they begin go past midnight, and belong to the day on which they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hours {
    days: [bool; 7],
    from: u16,
    to: u16,
    /// A name of the IANA database; none for the host's own zone.
    pub(crate) zone: Option<String>,
}

impl Hours {
    pub(crate) fn new(days: &str, from: &str, to: &str, zone: Option<String>) -> Result<Self, String> {
        let time = |key: &str, text: &str| {
            parse_time(text)
                .ok_or_else(|| format!("`hours.{key}` is `{text}`: a time of day is written as 09:00"))
        };
        let hours = Self { days: parse_days(days)?, from: time("from", from)?, to: time("to", to)?, zone };
        if hours.from == hours.to {
            return Err(
                "`hours.from` and `hours.to` are the same: leave `hours` out to work at any time".to_owned()
            );
        }
        Ok(hours)
    }

    pub(crate) fn contain(&self, Moment { day, minute }: Moment) -> bool {
        if self.from < self.to {
            return self.days[day] && (self.from..self.to).contains(&minute);
        }
        let yesterday = (day + 6) % 7;
        self.days[day] && minute >= self.from || self.days[yesterday] && minute < self.to
    }

    /// When they begin next, after a moment outside them: in how many days, and at which minute.
    pub(crate) fn next(&self, Moment { day, minute }: Moment) -> (usize, u16) {
        let begins = |ahead: &usize| self.days[(day + ahead) % 7] && (*ahead > 0 || self.from > minute);
        // Some day is set, so one of eight begins; the eighth is today, a week on.
        ((0..=7).find(begins).unwrap_or(7), self.from)
    }
}

/// Reads `mon-fri`, `mon, wed, fri`, `sat-mon`.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let wrong = || format!("`hours.days` is `{text}`: days are written as mon-fri or mon, wed, fri");
    let day =
        |name: &str| DAYS.iter().position(|day| name.trim().eq_ignore_ascii_case(day)).ok_or_else(wrong);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days[at] = true;
        while at != last {
            at = (at + 1) % 7;
            days[at] = true;
        }
    }
    Ok(days)
}

/// Reads `09:00`; `24:00` is the end of the day.
fn parse_time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.is_empty() || hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    if ![hour, minute].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let time = hour * 60 + minute;
    (minute < 60 && time <= DAY).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: usize, hour: u16, minute: u16) -> Moment {
        Moment { day, minute: hour * 60 + minute }
    }

    fn office() -> Hours {
        Hours::new("mon-fri", "09:00", "17:30", None).unwrap()
    }

    #[test]
    fn the_first_minute_belongs_to_them_and_the_last_does_not() {
        assert!(!office().contain(at(0, 8, 59)));
        assert!(office().contain(at(0, 9, 0)));
        assert!(office().contain(at(4, 17, 29)));
        assert!(!office().contain(at(4, 17, 30)));
        assert!(!office().contain(at(5, 12, 0)));
    }

    #[test]
    fn a_night_shift_belongs_to_the_day_on_which_it_begins() {
        let night = Hours::new("fri", "22:00", "06:00", None).unwrap();
        assert!(night.contain(at(4, 23, 0)));
        assert!(night.contain(at(5, 5, 59)));
        assert!(!night.contain(at(5, 6, 0)));
        assert!(!night.contain(at(4, 5, 0)));
        assert!(!night.contain(at(5, 23, 0)));
    }

    #[test]
    fn the_next_beginning_skips_free_days() {
        assert_eq!(office().next(at(0, 8, 0)), (0, 540));
        assert_eq!(office().next(at(0, 18, 0)), (1, 540));
        assert_eq!(office().next(at(4, 18, 0)), (3, 540));
        assert_eq!(Hours::new("mon", "09:00", "10:00", None).unwrap().next(at(0, 10, 0)), (7, 540));
    }

    #[test]
    fn days_are_ranges_and_lists() {
        assert_eq!(parse_days("mon-fri").unwrap(), [true, true, true, true, true, false, false]);
        assert_eq!(parse_days("Mon, wed").unwrap(), [true, false, true, false, false, false, false]);
        assert_eq!(parse_days("sat-mon").unwrap(), [true, false, false, false, false, true, true]);
        for wrong in ["", "monday", "mon-", "mon,,tue", "1-5"] {
            assert!(parse_days(wrong).unwrap_err().contains("hours.days"), "{wrong}");
        }
    }

    #[test]
    fn times_are_hours_and_minutes() {
        assert_eq!(parse_time("09:00"), Some(540));
        assert_eq!(parse_time("9:05"), Some(545));
        assert_eq!(parse_time("24:00"), Some(1440));
        for wrong in ["", "9", "25:00", "24:01", "09:60", "09:0", "+9:00", "09:-1", "009:00"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
        assert!(Hours::new("mon", "09:00", "09:00", None).is_err());
    }
}
