//! One writer for standard output: lines never mix, and a slow reader of the pipe stops no task of the runtime.

use std::io::Write;

use tokio::sync::{mpsc, oneshot};

/// Lines that may wait.
const WAITING: usize = 4096;

/// Takes lines from any task.
#[derive(Clone)]
pub(crate) struct Printer(mpsc::Sender<Item>);

enum Item {
    Line(String),
    Flushed(oneshot::Sender<()>),
}

impl Printer {
    /// Starts the writing thread. The second value completes when standard output was closed by its reader.
    pub(crate) fn start() -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (sender, mut items) = mpsc::channel(WAITING);
        let (broken, closed) = oneshot::channel();
        std::thread::Builder::new().name("attache-output".to_owned()).spawn(move || {
            let mut out = std::io::stdout().lock();
            while let Some(item) = items.blocking_recv() {
                let written = match item {
                    Item::Line(line) => writeln!(out, "{line}").and_then(|()| out.flush()),
                    Item::Flushed(done) => {
                        let _ = done.send(());
                        Ok(())
                    }
                };
                if written.is_err() {
                    let _ = broken.send(());
                    return;
                }
            }
        })?;
        Ok((Self(sender), closed))
    }

    /// Prints one line. Waits when the reader of the output is slow.
    pub(crate) async fn line(&self, line: String) {
        let _ = self.0.send(Item::Line(line)).await;
    }

    /// Completes when everything before is written.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Item::Flushed(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}
