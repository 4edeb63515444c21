//! Whether to reply, and with which text: no call to the host in here.

use attache_plugin::Availability;

use crate::hours::{Hours, Moment};
use crate::settings::Settings;
use crate::text::Text;

/// What is known when a message arrives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Situation<'a> {
    /// No person wrote the message.
    pub(crate) automatic: bool,
    /// The own status; none where it is not known.
    pub(crate) status: Option<Availability>,
    /// The time on the wall, where working hours are configured.
    pub(crate) moment: Option<Moment>,
    /// Names of the groups that the peer is in.
    pub(crate) groups: &'a [String],
}

/// The text to reply with; none where no reply is due.
pub(crate) fn text<'a>(settings: &'a Settings, situation: &Situation<'_>) -> Option<&'a Text> {
    // An automatic message that is answered by an automatic message is answered by an automatic message.
    if situation.automatic {
        return None;
    }
    let outside = outside_hours(settings, situation);
    let status = situation.status.filter(|status| settings.replies_when(*status));
    if status.is_none() && !outside {
        return None;
    }
    let groups = || situation.groups.iter().filter_map(|name| settings.groups.get(name));
    if groups().any(|group| group.never) {
        return None;
    }
    // The narrower wins: who, then when, then how.
    let for_group = groups().find_map(|group| group.text.as_ref());
    let for_hours = settings.hours_text.as_ref().filter(|_| outside);
    let for_status = || status.map_or(&settings.text, |status| settings.text_for(status));
    Some(for_group.or(for_hours).unwrap_or_else(for_status))
}

/// Whether it is outside working hours.
pub(crate) fn outside_hours(settings: &Settings, situation: &Situation<'_>) -> bool {
    let both = settings.hours.as_ref().zip(situation.moment);
    both.is_some_and(|(hours, moment)| !hours.contain(moment))
}

/// When work begins again, in words, such as `09:00`, `tomorrow 09:00` or `Monday 09:00`.
pub(crate) fn opening(hours: &Hours, moment: Moment) -> String {
    let (ahead, minute) = hours.next(moment);
    in_words(moment.day, ahead, minute)
}

/// A moment some days from a day, in words.
pub(crate) fn in_words(today: usize, ahead: usize, minute: u16) -> String {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let time = format!("{:02}:{:02}", minute / 60, minute % 60);
    match ahead {
        0 => time,
        1 => format!("tomorrow {time}"),
        _ => format!("{} {time}", DAYS[(today + ahead) % 7]),
    }
}

/// The last reply to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Last {
    /// When, in milliseconds since 1970.
    pub(crate) at: u64,
    /// To which message.
    pub(crate) message: u64,
}

impl Last {
    /// Whether another reply is due: not to the same message, and not within the interval unless the user was back in
    /// the meantime.
    pub(crate) fn allows(self, message: u64, now: u64, interval: u64, back_at: u64) -> bool {
        self.message != message && (now.saturating_sub(self.at) >= interval || self.at < back_at)
    }

    pub(crate) fn to_text(self) -> String {
        format!("{} {}", self.at, self.message)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (at, message) = text.split_once(' ')?;
        Some(Self { at: at.parse().ok()?, message: message.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY_NOON: Moment = Moment { day: 0, minute: 12 * 60 };
    const MONDAY_NIGHT: Moment = Moment { day: 0, minute: 23 * 60 };

    fn settings() -> Settings {
        let pairs = [
            ("text", "common"),
            ("texts.away", "gone"),
            ("groups.Family.never", "true"),
            ("groups.Team.text", "team"),
            ("hours.from", "09:00"),
            ("hours.to", "17:30"),
            ("hours.text", "closed"),
        ];
        Settings::read(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect())
            .unwrap()
    }

    fn reply(status: Option<Availability>, moment: Moment, groups: &[&str]) -> Option<String> {
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let situation = Situation { automatic: false, status, moment: Some(moment), groups: &groups };
        text(&settings(), &situation).map(|text| text.fill(&Default::default()))
    }

    #[test]
    fn an_available_person_answers_in_person() {
        assert_eq!(reply(Some(Availability::Available), MONDAY_NOON, &[]), None);
    }

    #[test]
    fn an_unknown_status_is_no_reason_to_reply() {
        assert_eq!(reply(None, MONDAY_NOON, &[]), None);
    }

    #[test]
    fn each_status_has_its_text() {
        assert_eq!(reply(Some(Availability::Away), MONDAY_NOON, &[]).unwrap(), "gone");
        assert_eq!(reply(Some(Availability::Busy), MONDAY_NOON, &[]).unwrap(), "common");
    }

    #[test]
    fn outside_working_hours_the_status_does_not_matter() {
        assert_eq!(reply(Some(Availability::Available), MONDAY_NIGHT, &[]).unwrap(), "closed");
        assert_eq!(reply(None, MONDAY_NIGHT, &[]).unwrap(), "closed");
    }

    #[test]
    fn a_group_has_its_own_text_or_is_left_alone() {
        assert_eq!(reply(Some(Availability::Away), MONDAY_NIGHT, &["Team"]).unwrap(), "team");
        assert_eq!(reply(Some(Availability::Away), MONDAY_NOON, &["Team", "Family"]), None);
        assert_eq!(reply(Some(Availability::Away), MONDAY_NOON, &["Others"]).unwrap(), "gone");
    }

    #[test]
    fn an_automatic_message_is_never_answered() {
        let situation =
            Situation { automatic: true, status: Some(Availability::Away), ..Situation::default() };
        assert_eq!(text(&settings(), &situation), None);
    }

    #[test]
    fn one_reply_per_interval_unless_the_user_was_back() {
        let last = Last { at: 1000, message: 1 };
        assert!(!last.allows(2, 1500, 600, 0));
        assert!(last.allows(2, 1600, 600, 0));
        assert!(last.allows(2, 1500, 600, 1200));
        assert!(!last.allows(2, 900, 600, 0), "a clock that went back is no interval");
    }

    #[test]
    fn a_message_that_comes_again_is_not_answered_again() {
        let last = Last { at: 1000, message: 1 };
        assert!(!last.allows(1, 1_000_000, 0, 2000));
    }

    #[test]
    fn what_is_kept_can_be_read_again() {
        let last = Last { at: 1000, message: u64::MAX };
        assert_eq!(Last::parse(&last.to_text()), Some(last));
        assert_eq!(Last::parse("damaged"), None);
    }

    #[test]
    fn moments_are_told_as_people_do() {
        assert_eq!(in_words(0, 0, 540), "09:00");
        assert_eq!(in_words(6, 1, 545), "tomorrow 09:05");
        assert_eq!(in_words(4, 3, 540), "Monday 09:00");
        assert_eq!(
            opening(settings().hours.as_ref().unwrap(), Moment { day: 4, minute: 1080 }),
            "Monday 09:00"
        );
    }
}
