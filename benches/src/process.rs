//! What a process takes, and a service in a process of its own, so that only the client is measured. Linux only.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// This program once more, as a service: it says on a line where it is, and ends when its standard input does.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where it is.
    pub at: String,
}

impl Server {
    /// Starts this program with these arguments and waits until it says where it is.
    ///
    /// # Panics
    /// When it does not start, or ends before that.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut at = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut at).expect("the service says where it is");
        assert!(!at.is_empty(), "the service ended at once");
        Self { process, at: at.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut input) = self.process.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let _ = self.process.wait();
    }
}

/// Bytes of this process in memory.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}

/// Processor time of this process since it began.
#[must_use]
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let since = |value: i64| u64::try_from(value).unwrap_or(0);
    Duration::from_secs(since(time.tv_sec)) + Duration::from_nanos(since(time.tv_nsec))
}
