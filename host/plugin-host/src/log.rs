//! The plugin's log: what it writes through `wasi:logging`, standard output and standard error.
//!
//! A plugin's lines go to `tracing` under the target `attache::plugin`, so an operator can route or silence them. They
//! are the plugin's own words: cut to length, without control characters (a terminal believes them), and no more in a
//! minute than its limits say.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{limits::Limits, meters::Meters};

/// Longest line, in bytes; what comes after is cut off.
const LINE: usize = 4096;

/// How serious a line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The log of one instance. Its quota goes on across restarts, so that crashing does not buy more lines.
#[derive(Debug)]
pub(crate) struct PluginLog {
    plugin: Arc<str>,
    meters: Arc<Meters>,
    lines: u32,
    bytes: u64,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
    bytes: u64,
    told: bool,
}

impl PluginLog {
    pub(crate) fn new(plugin: Arc<str>, meters: Arc<Meters>, limits: &Limits) -> Self {
        let window = Window { since: Instant::now(), lines: 0, bytes: 0, told: false };
        Self {
            plugin,
            meters,
            lines: limits.log_lines_per_minute,
            bytes: limits.log_bytes_per_minute.0,
            window: Mutex::new(window),
        }
    }

    /// Writes text, one record a line.
    pub(crate) fn write(&self, level: Level, context: &str, text: &str) {
        let context = clean(context);
        let mut rest = text.lines();
        while let Some(line) = rest.next() {
            if !self.admit(context.len() + line.len().min(LINE)) {
                // The rest of this text as well, even where a shorter line would fit: what is there has no holes.
                let dropped = 1 + rest.count() as u64;
                self.meters.log_lines_dropped.add(dropped);
                return;
            }
            self.emit(level, &context, &clean(line));
        }
    }

    fn admit(&self, bytes: usize) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(window.since) >= Duration::from_secs(60) {
            *window = Window { since: now, lines: 0, bytes: 0, told: false };
        }
        let after = window.bytes + bytes as u64;
        if window.lines >= self.lines || after > self.bytes {
            if !window.told {
                window.told = true;
                drop(window);
                tracing::warn!(target: "attache::plugin", plugin = %self.plugin,
                    "the log's quota of {} lines and {} bytes a minute is used up", self.lines, self.bytes);
            }
            return false;
        }
        window.lines += 1;
        window.bytes = after;
        true
    }

    fn emit(&self, level: Level, context: &str, line: &str) {
        macro_rules! emit {
            ($macro:ident) => {
                tracing::$macro!(target: "attache::plugin", plugin = %self.plugin, context, "{line}")
            };
        }
        match level {
            Level::Trace => emit!(trace),
            Level::Debug => emit!(debug),
            Level::Info => emit!(info),
            Level::Warn => emit!(warn),
            Level::Error => emit!(error),
        }
    }
}

/// A plugin's text as it may stand in a log or a status: no control characters, at most [`LINE`] bytes.
pub(crate) fn clean(text: &str) -> String {
    let mut end = text.len().min(LINE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end]
        .chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: u32, bytes: u64) -> (PluginLog, Arc<Meters>) {
        let meters = Arc::new(Meters::default());
        let limits = Limits {
            log_lines_per_minute: lines,
            log_bytes_per_minute: crate::units::ByteSize(bytes),
            ..Limits::default()
        };
        (PluginLog::new("p".into(), Arc::clone(&meters), &limits), meters)
    }

    #[test]
    fn lines_beyond_the_quota_are_counted_and_dropped() {
        let (log, meters) = log(3, 1_000);
        log.write(Level::Info, "", "1\n2\n3\n4\n5");
        assert_eq!(meters.log_lines_dropped.get(), 2);
    }

    #[test]
    fn bytes_beyond_the_quota_are_dropped() {
        let (log, meters) = log(100, 10);
        log.write(Level::Info, "", "12345\n12345\n1");
        assert_eq!(meters.log_lines_dropped.get(), 1);
    }

    #[test]
    fn the_context_counts_as_well() {
        let (log, meters) = log(100, 10);
        log.write(Level::Info, "12345", "12345");
        log.write(Level::Info, "12345", "1");
        assert_eq!(meters.log_lines_dropped.get(), 1);
    }

    #[test]
    fn what_follows_in_the_same_text_is_dropped_and_counted() {
        let (log, meters) = log(100, 10);
        log.write(Level::Info, "", "12345\n123456\n1\n2");
        assert_eq!(meters.log_lines_dropped.get(), 3);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(clean("a\x1b[31mb\tc\r"), "a\u{fffd}[31mb c\u{fffd}");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        assert_eq!(clean(&"é".repeat(LINE)).len(), LINE);
        assert_eq!(clean(&format!("a{}", "é".repeat(LINE))).len(), LINE - 1);
    }
}
