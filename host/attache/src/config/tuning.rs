//! What an operator may tune of one account, and how far.

use core::time::Duration;

use attache_messenger::engine::EngineConfig;
use attache_plugin_host::Period;
use serde::Deserialize;

/// Times and bounds of one account. What is not given has the default of
/// [`EngineConfig`], which suits a person's account.
///
/// Ranges are chosen so that no value makes a storm, and none keeps a mistake for days.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Tuning {
    /// Lifetime asked for when registering: 1 minute to 1 day, default 10 minutes.
    pub registration: Option<Period>,
    /// Lifetime asked for when publishing: 1 minute to 1 day, default 10 minutes.
    pub publication: Option<Period>,
    /// Lifetime asked for when subscribing: 1 minute to 1 day, default 15 minutes. Bounds how long a value that the service
    /// has forgotten can look live.
    pub subscription: Option<Period>,
    /// A quiet service is asked for a sign of life this often: 10 seconds to 10 minutes, default 30 seconds.
    pub keep_alive: Option<Period>,
    /// A conversation without a message for so long is closed: 1 minute to 7 days, default 30 minutes.
    pub conversation_idle: Option<Period>,
    /// Most attempts at one message that the service fails at: 1 to 100, default 8.
    pub message_attempts: Option<u32>,
    /// Most contacts: 1 to 100,000, default 20,000.
    pub contacts: Option<u32>,
    /// Most groups: 1 to 10,000, default 1,000.
    pub groups: Option<u32>,
    /// Most messages that wait to be sent: 1 to 100,000, default 10,000.
    pub outbox: Option<u32>,
}

/// A value that cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{key}` is from {least} to {most}, not {value}")]
pub struct TuningOutOfRange {
    /// The key in the configuration file.
    pub key: &'static str,
    least: String,
    most: String,
    value: String,
}

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

impl Tuning {
    /// Checks every range.
    ///
    /// # Errors
    /// Every value that is out of its range.
    pub fn validate(&self) -> Result<(), Vec<TuningOutOfRange>> {
        let times = [
            ("registration", self.registration, MINUTE, DAY),
            ("publication", self.publication, MINUTE, DAY),
            ("subscription", self.subscription, MINUTE, DAY),
            ("keep-alive", self.keep_alive, 10, 10 * MINUTE),
            ("conversation-idle", self.conversation_idle, MINUTE, 7 * DAY),
        ];
        let numbers = [
            ("message-attempts", self.message_attempts, 100),
            ("contacts", self.contacts, 100_000),
            ("groups", self.groups, 10_000),
            ("outbox", self.outbox, 100_000),
        ];
        let times = times.into_iter().filter_map(|(key, value, least, most)| {
            let (value, least, most) = (value?, Period::secs(least), Period::secs(most));
            let outside = value < least || value > most;
            outside.then(|| TuningOutOfRange {
                key,
                least: least.to_string(),
                most: most.to_string(),
                value: value.to_string(),
            })
        });
        let numbers = numbers.into_iter().filter_map(|(key, value, most)| {
            let value: u32 = value?;
            let outside = value < 1 || value > most;
            outside.then(|| TuningOutOfRange {
                key,
                least: "1".to_owned(),
                most: most.to_string(),
                value: value.to_string(),
            })
        });
        let wrong: Vec<_> = times.chain(numbers).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    pub(crate) fn apply(&self, config: &mut EngineConfig) {
        fn set(value: Option<Period>, target: &mut Duration) {
            *target = value.map_or(*target, |period| period.0);
        }
        fn bound(value: Option<u32>, target: &mut usize) {
            *target = value.and_then(|value| usize::try_from(value).ok()).unwrap_or(*target);
        }
        set(self.registration, &mut config.registration);
        set(self.publication, &mut config.publication);
        set(self.subscription, &mut config.subscription);
        set(self.keep_alive, &mut config.keep_alive);
        set(self.conversation_idle, &mut config.conversation_idle);
        config.message_attempts = self.message_attempts.unwrap_or(config.message_attempts);
        bound(self.contacts, &mut config.limits.contacts);
        bound(self.groups, &mut config.limits.groups);
        bound(self.outbox, &mut config.limits.outbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_out_of_its_range_is_named() {
        let tuning = Tuning {
            registration: Some(Period::secs(1)),
            keep_alive: Some(Period::secs(30)),
            contacts: Some(0),
            ..Tuning::default()
        };
        let wrong = tuning.validate().expect_err("two are wrong");
        assert_eq!(wrong.iter().map(|it| it.key).collect::<Vec<_>>(), ["registration", "contacts"]);
        assert_eq!(wrong[0].to_string(), "`registration` is from 1m to 1d, not 1s");
    }
}
