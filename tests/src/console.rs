//! A program that is driven through its standard input and watched through its standard output, as another program would.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Longest wait for one line. A service may take seconds over presence.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running `attache run --events json`. Ends with this value.
pub struct Console {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    seen: Vec<Value>,
    next_id: u64,
}

impl Console {
    /// Starts the program on a configuration file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(program: &Path, config: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["run", "--events", "json", "--config"]).arg(config);
        Self::spawn(command)
    }

    /// Starts a program that prints JSON, one object a line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let mut child =
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let input = child.stdin.take();
        let lines = collect(child.stdout.take().context("no standard output")?);
        let errors = collect(child.stderr.take().context("no standard error")?);
        Ok(Self { child, input, lines, errors, seen: Vec::new(), next_id: 1 })
    }

    /// Sends one line as it is.
    ///
    /// # Errors
    /// When the program has closed its standard input.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the standard input is closed")?;
        writeln!(input, "{line}")?;
        input.flush()?;
        Ok(())
    }

    /// Sends a command, and returns its result, whatever it is.
    ///
    /// # Errors
    /// When no result comes in time.
    pub fn command(&mut self, mut command: Value) -> Result<Value> {
        let id = self.next_id.to_string();
        self.next_id += 1;
        command["id"] = json!(id);
        self.write_line(&command.to_string())?;
        self.event(&format!("the result of {command}"), |line| {
            line["event"] == "command-result" && line["id"] == json!(id)
        })
    }

    /// Sends a command that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn done(&mut self, command: Value) -> Result<Value> {
        let words = command.to_string();
        let result = self.command(command)?;
        if result["ok"] != json!(true) {
            bail!("{words} failed: {result}");
        }
        Ok(result)
    }

    /// The first line, of those that came or come in time, that is wanted. Takes it out.
    ///
    /// # Errors
    /// When it does not come; says what came instead.
    pub fn event(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.event_within(PATIENCE, what, wanted)
    }

    /// As [`event`](Self::event) with a patience of its own.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn event_within(
        &mut self,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        if let Some(at) = self.seen.iter().position(&wanted) {
            return Ok(self.seen.remove(at));
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let value: Value = serde_json::from_str(&line)
                        .with_context(|| format!("this line is no JSON: {line}"))?;
                    if wanted(&value) {
                        return Ok(value);
                    }
                    self.seen.push(value);
                }
                Err(error) => {
                    let how = match error {
                        RecvTimeoutError::Timeout => format!("within {patience:?}"),
                        RecvTimeoutError::Disconnected => "before the program ended".to_owned(),
                    };
                    let seen: Vec<String> = self.seen.iter().map(Value::to_string).collect();
                    let errors: Vec<String> = self.errors.try_iter().collect();
                    bail!(
                        "{what} did not come {how}; these came:\n{}\nand on standard error:\n{}",
                        seen.join("\n"),
                        errors.join("\n")
                    );
                }
            }
        }
    }

    /// Every line that has come and was not taken out.
    pub fn came(&mut self) -> &[Value] {
        for line in self.lines.try_iter() {
            if let Ok(value) = serde_json::from_str(&line) {
                self.seen.push(value);
            }
        }
        &self.seen
    }

    /// Lets time pass and then tells what came, for things that must not happen.
    pub fn quiet(&mut self, time: Duration) -> &[Value] {
        let deadline = Instant::now() + time;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Ok(value) = serde_json::from_str(&line) {
                self.seen.push(value);
            }
        }
        &self.seen
    }

    /// What was said on standard error so far.
    pub fn errors(&mut self) -> Vec<String> {
        self.errors.try_iter().collect()
    }

    /// As [`came`](Self::came), and takes them out.
    pub fn take(&mut self) -> Vec<Value> {
        self.came();
        std::mem::take(&mut self.seen)
    }

    /// Ends the program at once, as `kill -9` does, and returns every line that it had printed by then and that was not
    /// taken out. Half a line is none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill_and_take(mut self) -> Result<Vec<Value>> {
        self.child.kill()?;
        self.child.wait()?;
        // Its end of the pipe is closed, so the reader comes to an end as well.
        while let Ok(line) = self.lines.recv() {
            if let Ok(value) = serde_json::from_str(&line) {
                self.seen.push(value);
            }
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// Ends the program at once, as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the program to end by the signal that service managers send.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&self) -> Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { bail!("kill ended with {status}") }
    }

    /// Asks the program to end, and waits for it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn quit(mut self) -> Result<ExitStatus> {
        self.write_line("quit")?;
        self.ended()
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the program did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The folder with the built plugins and guests.
///
/// # Errors
/// When they are not built; names the command that does.
pub fn plugins() -> Result<std::path::PathBuf> {
    let folder = match std::env::var_os("ATTACHE_PLUGINS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"),
    };
    if !folder.join("auto-reply.wasm").is_file() {
        bail!("there are no plugins in {}: build them with `cargo xtask plugins`", folder.display());
    }
    Ok(folder.canonicalize()?)
}
