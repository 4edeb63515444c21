//! What an operator can see of the plugins.

use core::time::Duration;
use std::{path::PathBuf, sync::Arc};

use attache_messenger::{id::AccountId, time::Timestamp};
use serde::Serialize;

/// One plugin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its component.
    pub component: PathBuf,
    /// Whether the component is there.
    pub load: LoadState,
    /// What an operator should know: exports and imports without a grant, limits that were held down.
    pub warnings: Vec<String>,
    /// One for each account, or one for all with `scope = "host"`.
    pub instances: Vec<InstanceStatus>,
}

/// Whether a plugin's component is there.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum LoadState {
    /// Being read, checked and compiled.
    Loading,
    /// Ready to run.
    Loaded {
        /// SHA-256 of the component, in hexadecimal.
        sha256: String,
        /// Whether the machine code came from the cache.
        cached: bool,
        /// How long loading took.
        took: Duration,
    },
    /// It cannot run.
    Refused {
        /// One sentence.
        reason: String,
    },
}

/// One instance of a plugin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// Its account; none with `scope = "host"`.
    pub account: Option<AccountId>,
    /// What it is doing.
    pub state: InstanceState,
    /// What it did.
    pub counters: Counters,
    /// Events that wait.
    pub mailbox: usize,
    /// Messages in the journal that wait for a plugin that failed for good; counted when the journal is trimmed.
    pub backlog: u64,
    /// The last failure, in one sentence.
    pub last_error: Option<String>,
    /// The latest call that was refused for want of a grant, in one sentence.
    pub last_denial: Option<String>,
    /// Events that were given up, the latest ones.
    pub dead_letters: Vec<DeadLetter>,
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum InstanceState {
    /// Waits for its component, or starts.
    Starting,
    /// Takes events.
    Running,
    /// Its CPU time of this minute is used up: takes messages, and nothing else until that time.
    Throttled {
        /// When the next minute begins.
        until: Timestamp,
    },
    /// Failed; starts again at that time.
    BackingOff {
        /// When.
        until: Timestamp,
    },
    /// Failed again and again; is left alone until that time, or a reset.
    Quarantined {
        /// When it is tried again.
        until: Timestamp,
    },
    /// Said itself that it cannot start, or does not fit this host; needs a reset.
    Failed,
    /// Has ended.
    Stopped,
}

/// Counts since the instance was first started; they go on across restarts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Events that the plugin handled.
    pub delivered: u64,
    /// Must-deliver events that were handed over once more.
    pub redelivered: u64,
    /// Presence changes that a later one of the same contact replaced.
    pub coalesced: u64,
    /// Events that were lost: the mailbox was full, or the plugin was down. Never messages.
    pub dropped: u64,
    /// Messages that were left to the journal because the mailbox was full or the plugin was down.
    pub deferred: u64,
    /// Must-deliver events that were given up.
    pub dead_letters: u64,
    /// Calls that ended in a trap, a limit or a time-out.
    pub traps: u64,
    /// Starts after the first.
    pub restarts: u64,
    /// Calls that were refused for want of a grant.
    pub denials: u64,
    /// Messages that the plugin sent.
    pub messages_sent: u64,
    /// Messages that a quota or a loop guard refused.
    pub messages_refused: u64,
    /// Lines that the log's quota held back.
    pub log_lines_dropped: u64,
    /// CPU time of the guest. An estimate: steps of the epoch clock plus the time of short calls.
    pub cpu: Duration,
    /// Linear memory now, in bytes.
    pub memory: u64,
}

/// A must-deliver event that was given up.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Whose event it was.
    pub account: AccountId,
    /// Its position in the account's stream.
    pub seq: u64,
    /// Its name, such as `message-received`.
    pub event: &'static str,
    /// When it was given up.
    pub at: Timestamp,
    /// Why, in one sentence.
    pub reason: String,
}
