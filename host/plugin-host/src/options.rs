//! What the embedder decides for all plugins.

use core::time::Duration;
use std::path::PathBuf;

use crate::{limits::Limits, units::ByteSize};

/// What the embedder decides for all plugins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// Folder for compiled code: created with mode 0700, and used only if nobody else can write to it. None
    /// compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// No plugin's limit is more generous than this. Default: nothing is held down.
    pub caps: Limits,
    /// Threads that run plugins; at least 1. They are the plugin host's own, so a guest that computes never holds
    /// up the application. Default: half of the processors, at most 4.
    pub workers: usize,
    /// Stack of a guest. One value for all plugins, because it is compiled into none of them and reserved for each
    /// call. Default 512 KiB; 64 KiB to 8 MiB.
    pub stack: ByteSize,
    /// What happens after failures.
    pub supervision: Supervision,
}

impl Default for HostOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cache_dir: None,
            caps: Limits::maximum(),
            workers: (processors / 2).clamp(1, 4),
            stack: ByteSize::kib(512),
            supervision: Supervision::default(),
        }
    }
}

/// What happens after failures.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Supervision {
    /// Pause before the first restart; doubles with each failure in a row. Default 100 ms.
    pub backoff_min: Duration,
    /// Longest pause between restarts. Default 60 s.
    pub backoff_max: Duration,
    /// Failures in a row, with no event handled in between, after which the instance is quarantined. Default 5.
    pub quarantine_after: u32,
    /// Failures within [`Self::failure_window`] after which the instance is quarantined, whatever it handled in
    /// between. Default 20. Whoever may write to the account can cause two with a message that kills the plugin.
    pub quarantine_after_in_window: u32,
    /// See [`Self::quarantine_after_in_window`]. Default 10 min.
    pub failure_window: Duration,
    /// How long a quarantine lasts. Default 10 min.
    pub quarantine: Duration,
    /// Traps and used-up limits while handling one message event, after which the event is given up. Default 2. Time
    /// by the clock is no such limit, and `err` no trap: after those the event comes again for as long as it takes.
    pub kills_per_event: u32,
    /// Pause before an event that the plugin refused with `err` comes again; doubles with each refusal, up to 64
    /// times this. Default 1 s.
    pub redelivery_pause: Duration,
    /// How long handled events may wait before the plugin's cursor is written down. After a crash of the process,
    /// events of this time come again. Default 200 ms.
    pub cursor_delay: Duration,
    /// How often the journal is rid of what every plugin has handled. Default 60 s.
    pub trim_interval: Duration,
    /// Messages that the journal keeps for a plugin that failed for good: one that was refused, or said that it cannot
    /// start. The oldest beyond are given up, which the log and the status tell. Default 10,000.
    pub backlog: u32,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
            quarantine_after: 5,
            quarantine_after_in_window: 20,
            failure_window: Duration::from_secs(600),
            quarantine: Duration::from_secs(600),
            kills_per_event: 2,
            redelivery_pause: Duration::from_secs(1),
            cursor_delay: Duration::from_millis(200),
            trim_interval: Duration::from_secs(60),
            backlog: 10_000,
        }
    }
}
