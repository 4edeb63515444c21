//! A child whose output is read as lines, and who does not outlive the test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::Status;

/// Longest wait for anything that a foreign program should say.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A command whose process the kernel kills with the thread that starts it: a test runner that dies runs no
/// destructor. `setpriv` is in `util-linux`, which every Debian has.
pub(super) fn command(program: &str) -> Command {
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]);
        command
    } else {
        Command::new(program)
    };
    // No sound, no display, no settings of whoever runs the tests.
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env("LC_ALL", "C.UTF-8");
    command
}

/// A running child. Dropping it kills it.
pub(super) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// Every line so far, for a failure's words.
    said: Vec<String>,
}

impl Process {
    pub(super) fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let (sender, lines) = channel();
        collect(child.stdout.take().context("no standard output")?, sender.clone());
        collect(child.stderr.take().context("no standard error")?, sender);
        Ok(Self { child, lines, said: Vec::new() })
    }

    pub(super) fn write_line(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("no standard input")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Every line so far.
    pub(super) fn said(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.join("\n")
    }

    /// Reads lines from `cursor` on, those that came and those that come, until one gives what is wanted. Every
    /// purpose has its own cursor, so that none loses what another read.
    pub(super) fn wait_for<T>(
        &mut self,
        cursor: &mut usize,
        what: &str,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(line) = self.said.get(*cursor) {
                *cursor += 1;
                if let Some(found) = wanted(line) {
                    return Ok(found);
                }
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(error) => {
                    let how = match error {
                        RecvTimeoutError::Timeout => format!("within {PATIENCE:?}"),
                        RecvTimeoutError::Disconnected => "before the program ended".to_owned(),
                    };
                    bail!("{what} did not come {how}; the program said:\n{}", self.said.join("\n"));
                }
            }
        }
    }
}

/// What a program shows of its contact, followed through its lines.
#[derive(Default)]
pub(super) struct Presence {
    cursor: usize,
    now: Option<Status>,
}

impl Presence {
    /// Waits until the contact is shown so; `read` knows the program's words.
    pub(super) fn wait_for(
        &mut self,
        process: &mut Process,
        status: Status,
        read: impl Fn(&str) -> Option<Status>,
    ) -> Result<()> {
        if self.now == Some(status) {
            return Ok(());
        }
        let now = &mut self.now;
        process.wait_for(&mut self.cursor, &format!("the contact as {status:?}"), |line| {
            *now = read(line).or(*now);
            (*now == Some(status)).then_some(())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if sender.send(without_colours(&String::from_utf8_lossy(&line))).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// Text without the sequences that colour it on a terminal.
pub(super) fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_end();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out_of_what_a_program_says() {
        assert_eq!(
            without_colours("from \u{1b}[32mOnline\u{1b}[;m to \u{1b}[31mBusy\u{1b}[;m\r\n"),
            "from Online to Busy"
        );
    }
}
