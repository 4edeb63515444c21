//! What the operator configured.

use std::collections::BTreeMap;

use attache_plugin::Availability;
use attache_plugin::config::{Period, Table};

use crate::hours::Hours;
use crate::text::Text;

const KEYS: [&str; 6] = ["text", "texts", "groups", "hours", "when", "interval"];
const HOURS_KEYS: [&str; 5] = ["zone", "days", "from", "to", "text"];
const DEFAULT_TEXT: &str = "I am not available at the moment and will read your message later.";
/// Four hours: a peer who writes all day hears it twice.
const DEFAULT_INTERVAL: Period = Period { milliseconds: 4 * 60 * 60 * 1000 };
/// Statuses in which somebody is told to wait, but for those in which one reads along.
const DEFAULT_WHEN: [Availability; 5] = [
    Availability::Away,
    Availability::BeRightBack,
    Availability::DoNotDisturb,
    Availability::Busy,
    Availability::BusyIdle,
];

/// Statuses as they are configured, and as they are told to a peer.
const STATUSES: [(&str, &str, Availability); 8] = [
    ("available", "available", Availability::Available),
    ("idle", "idle", Availability::Idle),
    ("busy", "busy", Availability::Busy),
    ("busy-idle", "busy", Availability::BusyIdle),
    ("be-right-back", "back soon", Availability::BeRightBack),
    ("away", "away", Availability::Away),
    ("do-not-disturb", "not to be disturbed", Availability::DoNotDisturb),
    ("offline", "offline", Availability::Offline),
];

/// The configuration, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where no other text fits.
    pub(crate) text: Text,
    /// By own status: name in the configuration, text.
    texts: BTreeMap<String, Text>,
    /// By name of the peer's group.
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) hours: Option<Hours>,
    /// Outside working hours.
    pub(crate) hours_text: Option<Text>,
    when: Vec<Availability>,
    /// Between two replies to one peer, in milliseconds.
    pub(crate) interval: u64,
}

/// What is different for a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) text: Option<Text>,
    pub(crate) never: bool,
}

impl Settings {
    pub(crate) fn read(mut table: Table) -> Result<Self, String> {
        let text = table.take::<String>("text")?.unwrap_or_else(|| DEFAULT_TEXT.to_owned());
        let mut texts = BTreeMap::new();
        for (status, text) in table.take_table("texts") {
            let key = format!("texts.{status}");
            availability(&status).ok_or_else(|| format!("`{key}`: {}", no_status(&status)))?;
            texts.insert(status, parse_text(&key, &text)?);
        }
        let groups = read_groups(table.take_table("groups"))?;
        let (hours, hours_text) = read_hours(table.take_table("hours").into_iter().collect())?;
        let interval = table.take("interval")?.unwrap_or(DEFAULT_INTERVAL);
        let mut when = Vec::new();
        for status in table.take_list("when") {
            when.push(availability(&status).ok_or_else(|| format!("`when`: {}", no_status(&status)))?);
        }
        if when.is_empty() {
            when = DEFAULT_WHEN.to_vec();
        } else if when.contains(&Availability::Busy) {
            // Who has gone from a busy desk has not become less busy.
            when.push(Availability::BusyIdle);
        }
        table.finish(&KEYS)?;
        let interval = interval.milliseconds;
        Ok(Self { text: parse_text("text", &text)?, texts, groups, hours, hours_text, when, interval })
    }

    /// Whether this status alone is a reason to reply.
    pub(crate) fn replies_when(&self, status: Availability) -> bool {
        self.when.contains(&status)
    }

    /// The text for a status.
    pub(crate) fn text_for(&self, status: Availability) -> &Text {
        let exact = self.texts.get(name(status));
        let alike = || self.texts.get("busy").filter(|_| status == Availability::BusyIdle);
        exact.or_else(alike).unwrap_or(&self.text)
    }
}

fn read_groups(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, Group>, String> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (path, value) in pairs {
        let key = format!("groups.{path}");
        // The last dot: a group's name may have dots of its own.
        let (name, what) = path.rsplit_once('.').unwrap_or((path.as_str(), ""));
        let group = groups.entry(name.to_owned()).or_default();
        match what {
            "text" => group.text = Some(parse_text(&key, &value)?),
            "never" => {
                group.never =
                    value.parse().map_err(|_| format!("`{key}` is `{value}`: it is true or false"))?;
            }
            _ => return Err(format!("there is no key `{key}`; a group has `text` and `never`")),
        }
    }
    Ok(groups)
}

fn read_hours(mut table: Table) -> Result<(Option<Hours>, Option<Text>), String> {
    let mut take = |key: &str| table.take::<String>(key);
    let (zone, days, from, to, text) =
        (take("zone")?, take("days")?, take("from")?, take("to")?, take("text")?);
    table.finish(&HOURS_KEYS).map_err(|error| format!("in `hours`: {error}"))?;
    if [&zone, &days, &from, &to, &text].iter().all(|value| value.is_none()) {
        return Ok((None, None));
    }
    let wanted = |key: &str, value: Option<String>| {
        value.ok_or_else(|| {
            format!("`hours.{key}` is missing: `hours` needs `from` and `to`, such as \"09:00\"")
        })
    };
    let days = days.unwrap_or_else(|| "mon-fri".to_owned());
    let hours = Hours::new(&days, &wanted("from", from)?, &wanted("to", to)?, zone)?;
    let text = text.map(|text| parse_text("hours.text", &text)).transpose()?;
    Ok((Some(hours), text))
}

fn parse_text(key: &str, text: &str) -> Result<Text, String> {
    Text::parse(text).map_err(|error| format!("`{key}`: {error}"))
}

fn availability(name: &str) -> Option<Availability> {
    STATUSES.iter().find(|status| status.0 == name).map(|status| status.2)
}

fn name(availability: Availability) -> &'static str {
    STATUSES.iter().find(|status| status.2 == availability).map_or("", |status| status.0)
}

/// A status as one tells it to a person.
pub(crate) fn in_words(availability: Availability) -> &'static str {
    STATUSES.iter().find(|status| status.2 == availability).map_or("", |status| status.1)
}

fn no_status(name: &str) -> String {
    let names: Vec<&str> = STATUSES.iter().map(|status| status.0).collect();
    format!("there is no status `{name}`; there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn text(text: &str) -> Text {
        Text::parse(text).unwrap()
    }

    #[test]
    fn nothing_needs_to_be_configured() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.text, text(DEFAULT_TEXT));
        assert_eq!(settings.interval, 14_400_000);
        assert!(settings.replies_when(Availability::Away));
        assert!(settings.replies_when(Availability::BusyIdle));
        assert!(!settings.replies_when(Availability::Available));
        assert!(!settings.replies_when(Availability::Offline));
        assert_eq!(settings.hours, None);
    }

    #[test]
    fn a_status_has_its_text_and_the_others_the_common_one() {
        let settings =
            read(&[("text", "common"), ("texts.away", "gone"), ("texts.busy", "working")]).unwrap();
        assert_eq!(*settings.text_for(Availability::Away), text("gone"));
        assert_eq!(*settings.text_for(Availability::BusyIdle), text("working"));
        assert_eq!(*settings.text_for(Availability::DoNotDisturb), text("common"));
    }

    #[test]
    fn when_replaces_the_default() {
        let settings = read(&[("when.0", "offline"), ("when.1", "busy")]).unwrap();
        assert!(settings.replies_when(Availability::Offline));
        assert!(settings.replies_when(Availability::BusyIdle));
        assert!(!settings.replies_when(Availability::Away));
    }

    #[test]
    fn groups_have_texts_or_are_left_alone() {
        let settings = read(&[("groups.Family.never", "true"), ("groups.Team 1.5.text", "On it.")]).unwrap();
        assert!(settings.groups["Family"].never);
        assert_eq!(settings.groups["Team 1.5"].text, Some(text("On it.")));
    }

    #[test]
    fn hours_need_a_beginning_and_an_end() {
        let settings =
            read(&[("hours.from", "09:00"), ("hours.to", "17:30"), ("hours.text", "Closed.")]).unwrap();
        assert!(settings.hours.is_some());
        assert_eq!(settings.hours_text, Some(text("Closed.")));
        assert!(read(&[("hours.from", "09:00")]).unwrap_err().contains("`hours.to`"));
        assert!(read(&[("hours.text", "Closed.")]).unwrap_err().contains("`hours.from`"));
    }

    #[test]
    fn every_mistake_names_its_key() {
        for (key, value) in [
            ("txet", "x"),
            ("text", "{nmae}"),
            ("texts.asleep", "x"),
            ("texts.away", "{x}"),
            ("groups.Family.nevr", "true"),
            ("groups.Family.never", "yes"),
            ("interval", "often"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        }
        assert!(read(&[("when.0", "asleep")]).unwrap_err().contains("`when`"));
        assert!(read(&[("hours.form", "09:00")]).unwrap_err().contains("`form`"));
        let pairs = [("hours.from", "9 am"), ("hours.to", "17:30")];
        assert!(read(&pairs).unwrap_err().contains("`hours.from`"));
    }
}
