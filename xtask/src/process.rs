//! Children that end when this program is interrupted, with everything that they started.
//!
//! A chore starts cargo, which starts compilers or tests, which start servers. Each child leads a process group of its
//! own; a signal to us ends the groups. Children have no standard input, so none waits for a terminal.

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use attache_componentise::Console;

/// Children under way.
static CHILDREN: Mutex<Children> = Mutex::new(Children { ids: Vec::new(), interrupted: false });

struct Children {
    ids: Vec<u32>,
    /// Set by a signal; nothing is started any more.
    interrupted: bool,
}

fn children() -> MutexGuard<'static, Children> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The console of builds: progress on standard error, children that end with us.
#[derive(Debug, Default)]
pub(crate) struct Shell;

impl Console for Shell {
    fn say(&mut self, line: &str) {
        eprintln!("{line}");
    }

    fn run(&mut self, command: &mut Command) -> io::Result<Output> {
        let child = {
            // Held while starting, so that a signal finds every child.
            let mut children = children();
            if children.interrupted {
                drop(children);
                await_end();
            }
            let child = platform::lead_group(command).stdin(Stdio::null()).spawn()?;
            children.ids.push(child.id());
            child
        };
        let id = child.id();
        let output = child.wait_with_output();
        let mut children = children();
        children.ids.retain(|other| *other != id);
        if children.interrupted {
            drop(children);
            await_end();
        }
        output
    }
}

/// The program was interrupted and is about to end: going on would only report failures that are none.
fn await_end() -> ! {
    loop {
        std::thread::park();
    }
}

/// Runs a command with its output shown; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = line(command);
    let output = Shell.run(command).with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({})", output.status);
    }
    Ok(())
}

/// Runs a command and returns what it printed; an error unless it succeeds.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let name = line(command);
    let output =
        Shell.run(command.stdout(Stdio::piped())).with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{name}` printed no UTF-8"))
}

/// Whether a command runs and succeeds, without a word.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    Shell.run(command.stdout(Stdio::null()).stderr(Stdio::null())).is_ok_and(|output| output.status.success())
}

/// Becomes the command, which so gets the terminal and every signal itself; returns only when that fails.
pub(crate) fn become_command(command: &mut Command) -> Result<()> {
    platform::exec(command).with_context(|| format!("cannot start `{}`", line(command)))
}

/// From now on, a signal that asks this program to end also ends its children.
pub(crate) fn end_children_on_signals() -> Result<()> {
    platform::watch().context("cannot watch for signals")
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process_group};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    use super::children;

    /// How long children may take to end by themselves: a test runner gives its tests ten seconds.
    const PATIENCE: Duration = Duration::from_secs(12);

    pub(super) fn lead_group(command: &mut Command) -> &mut Command {
        command.process_group(0)
    }

    pub(super) fn exec(command: &mut Command) -> io::Result<()> {
        Err(command.exec())
    }

    pub(super) fn watch() -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            end(Signal::TERM);
            let asked = Instant::now();
            // A second signal means now.
            while !children().ids.is_empty()
                && asked.elapsed() < PATIENCE
                && signals.pending().next().is_none()
            {
                thread::sleep(Duration::from_millis(20));
            }
            end(Signal::KILL);
            std::process::exit(128 + signal);
        })?;
        Ok(())
    }

    fn end(signal: Signal) {
        let mut children = children();
        children.interrupted = true;
        for id in &children.ids {
            let group = i32::try_from(*id).ok().and_then(Pid::from_raw);
            // A group that has ended in the meantime needs no signal.
            let _ = group.map(|group| kill_process_group(group, signal));
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::process::Command;

    /// A console's interrupt reaches the children there anyway.
    pub(super) fn lead_group(command: &mut Command) -> &mut Command {
        command
    }

    pub(super) fn exec(command: &mut Command) -> io::Result<()> {
        std::process::exit(command.status()?.code().unwrap_or(1))
    }

    pub(super) fn watch() -> io::Result<()> {
        Ok(())
    }
}
