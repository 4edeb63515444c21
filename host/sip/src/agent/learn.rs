//! What the agent learns about its service from what it answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::core::{Core, Exchange};
use super::{AgentEvent, Cause, ServiceFacts};
use crate::message::{HeaderName, Message, Method};

/// A clock that jumps by more than this is news.
const NEWS: Duration = Duration::from_secs(5);
/// Values of one header that are remembered, and the length of one.
const MAX_VALUES: usize = 64;
const MAX_LENGTH: usize = 64;
/// Kinds of requests whose refusal is remembered.
const MAX_CLASSES: usize = 32;

/// Why a kind of request was last refused, for whoever looks for a fault.
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Instant,
    /// The text of a Warning header, if there was one.
    pub warning: Option<String>,
}

#[derive(Default)]
pub(crate) struct Learnt {
    facts: ServiceFacts,
    /// The service's clock at an instant of ours.
    clock: Option<(Instant, SystemTime)>,
    refusals: BTreeMap<String, Refusal>,
}

impl Learnt {
    pub(super) fn facts(&self) -> &ServiceFacts {
        &self.facts
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = (&str, &Refusal)> {
        self.refusals.iter().map(|(class, refusal)| (class.as_str(), refusal))
    }
}

impl Core {
    /// Reads a final answer that came from our service.
    pub(super) fn learn(&mut self, now: Instant, exchange: &Exchange, answer: &Message) {
        if !speaks_for_the_service(exchange, answer) {
            return;
        }
        let known = &mut self.learnt.facts;
        let mut news = false;
        for (name, list) in [
            (HeaderName::Allow, &mut known.allow),
            (HeaderName::Supported, &mut known.supported),
            (HeaderName::AllowEvents, &mut known.allow_events),
        ] {
            for value in answer.values(name) {
                let value = printable(value);
                if list.len() < MAX_VALUES && !value.is_empty() && !list.contains(&value) {
                    list.push(value);
                    news = true;
                }
            }
        }
        let server = answer.header(HeaderName::Server).map(printable);
        if server.is_some() && server != known.server {
            known.server = server;
            news = true;
        }
        if let Some(date) = answer.header(HeaderName::Date).and_then(sip_date) {
            let expected = self.learnt.clock.map(|(at, then)| then + now.saturating_duration_since(at));
            let moved = expected.is_none_or(|expected| distance(expected, date) > NEWS);
            if moved {
                self.learnt.clock = Some((now, date));
                known.date = Some(date);
                news = true;
            } else if news {
                known.date = Some(date);
            }
        } else if news {
            // An old time would look like a clock that stands still.
            known.date = None;
        }
        if news {
            self.events.push_back(AgentEvent::ServiceLearnt(known.clone()));
        }
    }

    /// Notes how a request ended that was not accepted, and forgets what was noted when one was.
    pub(super) fn note_outcome(
        &mut self,
        now: Instant,
        exchange: &Exchange,
        outcome: &Result<Message, Cause>,
    ) {
        let (cause, warning) = match outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                if !self.learnt.refusals.is_empty() {
                    self.learnt.refusals.remove(&exchange.class());
                }
                return;
            }
            Ok(answer) => {
                let warning = answer.header(HeaderName::Warning).map(printable);
                (crate::usage::refusal(answer).0, warning)
            }
            Err(cause) => (cause.clone(), None),
        };
        let class = exchange.class();
        if self.learnt.refusals.len() < MAX_CLASSES || self.learnt.refusals.contains_key(&class) {
            self.learnt.refusals.insert(class, Refusal { cause, at: now, warning });
        }
    }
}

/// Whether an answer comes from the service itself, not from somebody whom it passed the request on to.
fn speaks_for_the_service(exchange: &Exchange, answer: &Message) -> bool {
    match exchange.request.method.as_method() {
        Method::Register | Method::Publish => true,
        Method::Subscribe => answer.status() == Some(489),
        Method::Options => {
            crate::uri::Uri::parse_str(&exchange.request.uri).is_ok_and(|uri| uri.user().is_none())
        }
        _ => false,
    }
}

/// A value without control characters, cut to a sensible length.
fn printable(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).take(MAX_LENGTH).collect()
}

fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|error| error.duration())
}

/// Reads `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17).
fn sip_date(value: &[u8]) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = std::str::from_utf8(value).ok()?;
    let (_, rest) = text.split_once(',')?;
    let mut fields = rest.split_ascii_whitespace();
    let day: u64 = fields.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = fields.next()?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u64 + 1;
    let year: u64 = fields.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut time = fields.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if hour > 23 || minute > 59 || second > 60 || fields.next() != Some("GMT") {
        return None;
    }
    // Days since 1970-01-01 in the Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_seconds_since_1970() {
        let unix = |text: &str| {
            sip_date(text.as_bytes())
                .map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(unix("Sat, 13 Nov 2010 23:29:00 GMT"), Some(1_289_690_940));
        assert_eq!(unix("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for bad in [
            "",
            "now",
            "Sat, 13 Nov 2010 23:29:00 CET",
            "Sat, 99 Nov 2010 23:29:00 GMT",
            "x, 1 Jan 1 1:1:1 GMT",
        ] {
            assert_eq!(unix(bad), None, "{bad}");
        }
    }
}
