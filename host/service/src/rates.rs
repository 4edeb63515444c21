//! How often a watcher wants to hear (RFC 6446).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use attache_sip::message::Event;

/// Nobody means to wait for longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Nobody hears more often, and a rate without bound has no number.
const SHORTEST: Duration = Duration::from_millis(1);
/// NOTIFYs that an average is taken over.
const WINDOW: u32 = 10;

/// The rates that were granted, each as the time between two NOTIFYs.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rates {
    /// Not before that time, but for answers to SUBSCRIBE and the last one: `max-rate`.
    pub(crate) pause: Option<Duration>,
    /// After that time again, even without news: `min-rate`.
    repeat: Option<Duration>,
    /// The same, but on average over the last ones: `adaptive-min-rate`.
    average: Option<Duration>,
}

impl Rates {
    /// What an Event header asks for, as far as it is granted: `shortest` is the least time between repeats; without
    /// `repeats`, none are granted.
    pub(crate) fn granted(event: &Event<'_>, shortest: Duration, repeats: bool) -> Self {
        let interval = |name| {
            let rate: f64 = event.params.get_str(name)?.parse().ok()?;
            let seconds = (rate.is_finite() && rate > 0.0).then(|| 1.0 / rate)?;
            Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST))
        };
        let pause = interval("max-rate");
        // A least rate above the greatest one cannot be meant (section 7.1.1).
        let least = shortest.max(pause.unwrap_or_default()).max(Duration::from_millis(100));
        let repeat = |name| interval(name).filter(|_| repeats).map(|interval| interval.max(least));
        Self { pause, repeat: repeat("min-rate"), average: repeat("adaptive-min-rate") }
    }

    /// The parameters of Subscription-State that say what was granted.
    pub(crate) fn write(&self, state: &mut String) {
        let all = [("max-rate", self.pause), ("min-rate", self.repeat), ("adaptive-min-rate", self.average)];
        for (name, interval) in all {
            if let Some(interval) = interval {
                let rate = format!("{:.5}", 1.0 / interval.as_secs_f64());
                let rate = rate.trim_end_matches('0').trim_end_matches('.');
                let _ = write!(state, ";{name}={rate}");
            }
        }
    }
}

/// When a watcher was told, and may or must be told again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) rates: Rates,
    last: Option<Instant>,
    /// The last ones, where an average is wanted; the first of them begins the window.
    recent: VecDeque<Instant>,
}

impl Pace {
    /// With these rates; `None` where there are none. What was told before is remembered.
    pub(crate) fn with(rates: Rates, before: Option<Box<Self>>) -> Option<Box<Self>> {
        (rates != Rates::default()).then(|| {
            let mut pace = before.unwrap_or_default();
            pace.rates = rates;
            pace
        })
    }

    /// A NOTIFY goes out.
    pub(crate) fn told(&mut self, now: Instant) {
        self.last = Some(now);
        if self.rates.average.is_some() {
            self.recent.push_back(now);
            if self.recent.len() > WINDOW as usize {
                self.recent.pop_front();
            }
        }
    }

    /// Until when nothing new is told.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        Some(self.last? + self.rates.pause?)
    }

    /// When the state is told even without news.
    pub(crate) fn repeat_at(&self) -> Option<Instant> {
        let last = self.last?;
        let average = self.rates.average.map(|interval| {
            // Section 7.3: the more were sent in the window, the later comes the next one, so that their average is
            // what was asked for.
            let window = interval * WINDOW;
            let begins = last.checked_sub(window);
            let sent = self.recent.iter().filter(|at| begins.is_none_or(|begins| **at > begins)).count();
            let elapsed =
                self.recent.front().map_or(window, |first| (last - *first).max(interval).min(window));
            let sent = u32::try_from(sent).unwrap_or(WINDOW);
            interval
                .mul_f64((interval.as_secs_f64() * f64::from(sent) / elapsed.as_secs_f64()).clamp(1.0, 10.0))
        });
        let next = [self.rates.repeat, average].into_iter().flatten().min()?;
        Some(last + next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(event: &str) -> Rates {
        Rates::granted(&Event::parse(event.as_bytes()).unwrap(), Duration::from_secs(1), true)
    }

    fn written(event: &str) -> String {
        let mut state = String::new();
        granted(event).write(&mut state);
        state
    }

    #[test]
    fn what_is_granted_is_what_was_asked_for_within_bounds() {
        assert_eq!(written("presence;max-rate=0.05;min-rate=0.01"), ";max-rate=0.05;min-rate=0.01");
        assert_eq!(written("presence;min-rate=100"), ";min-rate=1", "no faster than once a second");
        assert_eq!(written("presence;max-rate=0.1;min-rate=0.5"), ";max-rate=0.1;min-rate=0.1");
        assert_eq!(written("presence;adaptive-min-rate=0.25"), ";adaptive-min-rate=0.25");
        assert_eq!(written("presence;max-rate=1e300"), ";max-rate=1000", "what is written is a number");
        for nonsense in [
            "presence",
            "presence;max-rate=x",
            "presence;max-rate=-1",
            "presence;min-rate=0",
            "presence;max-rate=nan",
        ] {
            assert_eq!(written(nonsense), "", "{nonsense}");
        }
    }

    #[test]
    fn an_average_counts_what_came_anyway() {
        let mut pace = Pace { rates: granted("presence;adaptive-min-rate=0.1"), ..Pace::default() };
        let start = Instant::now();
        pace.told(start);
        assert_eq!(pace.repeat_at(), Some(start + Duration::from_secs(10)));
        for second in 1..=9 {
            pace.told(start + Duration::from_secs(second));
        }
        let busy = pace.repeat_at().unwrap() - (start + Duration::from_secs(9));
        assert!(busy > Duration::from_secs(50), "{busy:?}: ten in nine seconds are enough for a while");
    }
}
