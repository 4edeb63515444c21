//! What one plugin may use up.
//!
//! Every limit has a default that suits a small plugin, and a range; the configuration sets it, and the embedder's
//! caps hold it down. A limit is per instance, which is per signed-in person unless the plugin has `scope = "host"`.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Period};

/// A limit's value was out of its range.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{key}` is {value}, but must be from {min} to {max}")]
pub struct LimitOutOfRange {
    /// The key, as in the configuration file.
    pub key: &'static str,
    /// What it was set to.
    pub value: String,
    /// The least that is allowed.
    pub min: String,
    /// The most that is allowed.
    pub max: String,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $direction:ident $field:ident / $key:literal: $type:ty = $default:expr, $min:expr, $max:expr;)*) => {
        /// What one instance of a plugin may use up. Keys in the configuration file are the names in kebab-case.
        #[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Limits {
            /// The generous end of every range: caps that hold nothing down.
            #[must_use]
            pub fn maximum() -> Self {
                Self { $($field: limits!(@loosest $direction $min, $max),)* }
            }

            /// Each limit, but no more generous than in `caps`; and the keys that were held down.
            #[must_use]
            pub fn capped(&self, caps: &Self) -> (Self, Vec<&'static str>) {
                let mut held = Vec::new();
                let limits = Self { $($field: limits!(@stricter $direction self.$field, caps.$field),)* };
                $(if limits.$field != self.$field { held.push($key); })*
                (limits, held)
            }

            /// Checks every limit against its range.
            ///
            /// # Errors
            /// The first one that is out of it.
            pub fn validate(&self) -> Result<(), LimitOutOfRange> {
                $(if !($min..=$max).contains(&self.$field) {
                    return Err(LimitOutOfRange {
                        key: $key,
                        value: self.$field.to_string(),
                        min: { let value: $type = $min; value.to_string() },
                        max: { let value: $type = $max; value.to_string() },
                    });
                })*
                Ok(())
            }
        }
    };
    (@loosest most $min:expr, $max:expr) => { $max };
    (@loosest least $min:expr, $max:expr) => { $min };
    (@stricter most $ours:expr, $cap:expr) => { $ours.min($cap) };
    (@stricter least $ours:expr, $cap:expr) => { $ours.max($cap) };
}

limits! {
    /// Linear memory in total, over all memories of the component. Default 32 MiB; 64 KiB to 4 GiB.
    most memory / "memory": ByteSize = ByteSize::mib(32), ByteSize::kib(64), ByteSize::mib(4096);
    /// Entries in all tables of the component together. Default 20,000; 0 to 10,000,000. An entry takes 8 bytes.
    most table_elements / "table-elements": u32 = 20_000, 0, 10_000_000;
    /// Core instances, memories and tables that the component consists of, each. Default 64; 1 to 1,000.
    most instances / "instances": u32 = 64, 1, 1_000;
    /// Handles of host objects (streams, buckets) that are open at once. Default 256; 1 to 100,000.
    most handles / "handles": u32 = 256, 1, 100_000;
    /// CPU time of the guest for one event. Time in which a host call waits does not count. Measured in steps of a
    /// few milliseconds. Default 50 ms; 1 ms to 60 s.
    most cpu_per_event / "cpu-per-event": Period = Period::millis(50), Period::millis(1), Period::secs(60);
    /// CPU time of the guest in a minute, over all events and starts. When it is used up, timers, presence and other
    /// events wait for the next minute, with state `throttled`; messages do not wait. Default 10 s; 100 ms to 60 s.
    most cpu_per_minute / "cpu-per-minute": Period = Period::secs(10), Period::millis(100), Period::secs(60);
    /// CPU time of the guest for its start: instantiation and `lifecycle.start`. Default 2 s; 1 ms to 60 s.
    most cpu_at_start / "cpu-at-start": Period = Period::secs(2), Period::millis(1), Period::secs(60);
    /// Time by the clock for one event, host calls that wait included. Default 30 s; 10 ms to 1 h.
    most time_per_event / "time-per-event": Period = Period::secs(30), Period::millis(10), Period::secs(3_600);
    /// Host calls for one event. Default 10,000; 0 to 10,000,000.
    most host_calls_per_event / "host-calls-per-event": u32 = 10_000, 0, 10_000_000;
    /// Bytes that the guest hands over in one host call (strings and lists). Default 1 MiB; 1 KiB to 64 MiB.
    most host_call_bytes / "host-call-bytes": ByteSize = ByteSize::mib(1), ByteSize::kib(1), ByteSize::mib(64);
    /// Events that wait for the instance. What does not fit is read from the journal later (messages), counted as
    /// lost (other events) or never so many (presence waits once per contact). Default 1,024; 1 to 1,000,000.
    most mailbox / "mailbox": u32 = 1_024, 1, 1_000_000;
    /// Lines in the plugin's log in a minute. Default 600; 0 to 1,000,000.
    most log_lines_per_minute / "log-lines-per-minute": u32 = 600, 0, 1_000_000;
    /// Bytes in the plugin's log in a minute. Default 256 KiB; 0 to 1 GiB.
    most log_bytes_per_minute / "log-bytes-per-minute": ByteSize = ByteSize::kib(256), ByteSize(0), ByteSize::mib(1_024);
    /// Messages that the plugin sends in a minute. Default 30; 0 to 100,000.
    most messages_per_minute / "messages-per-minute": u32 = 30, 0, 100_000;
    /// Messages that the plugin sends to the same address in a minute. Default 10; 0 to 100,000.
    most messages_per_peer_per_minute / "messages-per-peer-per-minute": u32 = 10, 0, 100_000;
    /// Least time between two automatic replies to the same address. Default 10 s; 0 to 30 days.
    least automatic_reply_interval / "automatic-reply-interval": Period = Period::secs(10), Period::millis(0), Period::secs(2_592_000);
    /// Timers that are set at once. Default 64; 0 to 64.
    most timers / "timers": u32 = 64, 0, 64;
    /// People whom the plugin watches at once off the contact list. Default 100; 0 to 10,000.
    most watches / "watches": u32 = 100, 0, 10_000;
    /// Bytes of keys and values that the plugin keeps. Default 1 MiB; 0 to 1 GiB.
    most storage / "storage": ByteSize = ByteSize::mib(1), ByteSize(0), ByteSize::mib(1_024);
    /// Size of the component's file. Default 32 MiB; 1 KiB to 256 MiB.
    most component_size / "component-size": ByteSize = ByteSize::mib(32), ByteSize::kib(1), ByteSize::mib(256);
    /// Time for compiling the component, once. Default 60 s; 100 ms to 1 h.
    most compile_time / "compile-time": Period = Period::secs(60), Period::millis(100), Period::secs(3_600);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_maxima_are_in_range() {
        Limits::default().validate().unwrap();
        Limits::maximum().validate().unwrap();
    }

    #[test]
    fn caps_hold_down_and_never_lift() {
        let caps = Limits { memory: ByteSize::mib(8), messages_per_minute: 1_000, ..Limits::maximum() };
        let (limits, held) = Limits::default().capped(&caps);
        assert_eq!(limits.memory, ByteSize::mib(8));
        assert_eq!(limits.messages_per_minute, 30);
        assert_eq!(held, ["memory"]);
    }

    #[test]
    fn a_cap_on_an_interval_makes_it_longer() {
        let caps = Limits { automatic_reply_interval: Period::secs(60), ..Limits::maximum() };
        let (limits, held) = Limits::default().capped(&caps);
        assert_eq!(limits.automatic_reply_interval, Period::secs(60));
        assert_eq!(held, ["automatic-reply-interval"]);
        assert!(Limits::default().capped(&Limits::maximum()).1.is_empty());
    }

    #[test]
    fn out_of_range_names_the_key_and_the_range() {
        let limits = Limits { timers: 65, ..Limits::default() };
        assert_eq!(limits.validate().unwrap_err().to_string(), "`timers` is 65, but must be from 0 to 64");
    }

    #[test]
    fn keys_are_those_of_the_file() {
        let limits: Limits =
            toml::from_str("memory = \"16MiB\"\ncpu-per-event = \"20ms\"\nmessages-per-minute = 6").unwrap();
        assert_eq!(limits.memory, ByteSize::mib(16));
        assert_eq!(limits.cpu_per_event, Period::millis(20));
        assert_eq!(limits.messages_per_minute, 6);
        assert!(toml::from_str::<Limits>("memroy = \"16MiB\"").is_err());
    }
}
