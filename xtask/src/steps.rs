//! Named steps with times, and a summary that a person finds at the end of a long log.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Steps of one chore. A failed step does not keep the others from running: one run tells everything that is wrong.
pub(crate) struct Steps {
    begun: Instant,
    done: Vec<Step>,
}

struct Step {
    name: String,
    took: Duration,
    failure: Option<String>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), done: Vec::new() }
    }

    /// Runs a step and keeps how it went; whether it succeeded.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("\n=== {} UTC, after {}: {name}", wall_clock(), seconds(self.begun.elapsed()));
        let begun = Instant::now();
        let failure = step().err().map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            eprintln!("error: {failure}");
        }
        let succeeded = failure.is_none();
        self.done.push(Step { name: name.to_owned(), took: begun.elapsed(), failure });
        succeeded
    }

    /// Prints the summary; an error when a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        eprintln!("\n=== {} UTC: summary, after {}", wall_clock(), seconds(self.begun.elapsed()));
        for Step { name, took, failure } in &self.done {
            let outcome = if failure.is_some() { "FAILED" } else { "ok" };
            eprintln!("{outcome:>8}  {:>7}  {name}", seconds(*took));
        }
        let failed: Vec<_> = self.done.iter().filter(|step| step.failure.is_some()).collect();
        for step in &failed {
            eprintln!("\n{}: {}", step.name, step.failure.as_deref().unwrap_or_default());
        }
        match failed.len() {
            0 => Ok(()),
            failed => bail!("{failed} of {} steps failed", self.done.len()),
        }
    }
}

/// A time as a person reads it in a log.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Hours, minutes and seconds of the day in UTC.
fn wall_clock() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02}", since / 3600 % 24, since / 60 % 60, since % 60)
}
