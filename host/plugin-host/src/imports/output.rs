//! Standard output and error of a guest: lines of the plugin's log.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::log::{Level, PluginLog};

/// Longest line that is waited for; a longer one becomes several.
const LINE: usize = 4096;

/// One of the two streams. Clones share the line that is not complete yet.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    log: Arc<PluginLog>,
    name: &'static str,
    level: Level,
    pending: Arc<Mutex<Vec<u8>>>,
}

impl GuestOutput {
    pub(crate) fn new(log: Arc<PluginLog>, name: &'static str, level: Level) -> Self {
        Self { log, name, level, pending: Arc::default() }
    }

    fn push(&self, bytes: &[u8]) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(LINE)) {
            pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || pending.len() >= LINE {
                self.log.write(self.level, self.name, &String::from_utf8_lossy(&pending));
                pending.clear();
            }
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::Limits, meters::Meters};

    #[test]
    fn output_is_written_line_by_line_however_it_comes() {
        let meters = Arc::new(Meters::default());
        let limits = Limits { log_lines_per_minute: 0, ..Limits::default() };
        let log = Arc::new(PluginLog::new("p".into(), Arc::clone(&meters), &limits));
        let output = GuestOutput::new(log, "stdout", Level::Info);
        // With a quota of nothing, every line that would be written is counted as dropped.
        let lines = |bytes: &[u8]| {
            output.clone().push(bytes);
            meters.log_lines_dropped.get()
        };
        assert_eq!(lines(b"no end"), 0);
        assert_eq!(lines(b" yet\nsecond\nthird"), 2);
        assert_eq!(lines(b"\n"), 3);
        assert_eq!(lines(&[b'x'; LINE * 2]), 5, "a line without an end does not wait for ever");
        assert_eq!(lines(b"\xff\xfe\n"), 6);
    }
}
