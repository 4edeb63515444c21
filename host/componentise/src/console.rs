use std::io;
use std::process::{Command, Output, Stdio};

/// Where a build tells what it does, and who starts its processes.
///
/// A build starts compilers and package managers that run for minutes. Whoever embeds it decides how they are
/// started, so that they also end with it, and where the progress is shown.
pub trait Console {
    /// Tells one line of progress.
    fn say(&mut self, line: &str);

    /// Runs a command to its end, without standard input, and returns what it wrote to the streams that were piped.
    /// The command has its streams set already.
    ///
    /// # Errors
    /// When the program cannot be started. A program that fails is no error here; its status says so.
    fn run(&mut self, command: &mut Command) -> io::Result<Output>;
}

/// The plain console: progress on standard error, processes as children.
#[derive(Debug, Default)]
pub struct Terminal;

impl Console for Terminal {
    fn say(&mut self, line: &str) {
        eprintln!("{line}");
    }

    fn run(&mut self, command: &mut Command) -> io::Result<Output> {
        command.stdin(Stdio::null()).spawn()?.wait_with_output()
    }
}

/// Runs a command and returns its standard output; a failure is an error that names the command.
///
/// Standard error is shown as it comes when `show` is set; otherwise it is kept for the error.
pub(crate) fn capture(
    console: &mut dyn Console,
    command: &mut Command,
    show: bool,
) -> Result<String, crate::Error> {
    command.stdout(Stdio::piped()).stderr(if show { Stdio::inherit() } else { Stdio::piped() });
    let output = console.run(command).map_err(|source| crate::Error::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(crate::Error::Failed {
        command: command_line(command),
        output: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
    })
}

/// The command as one would type it, shortened where it is long.
fn command_line(command: &Command) -> String {
    const MAX: usize = 200;
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        if line.len() > MAX {
            line.push_str(" …");
            break;
        }
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
