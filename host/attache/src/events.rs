//! Streams of events for the application.
//!
//! Bounded: a reader that falls behind by more than [`CAPACITY`] batches loses the oldest and is told so by a
//! [`Change::Reset`] with the state as it is now, so it never has to guess.

use core::{
    pin::Pin,
    task::{Context, Poll},
};
use std::{collections::VecDeque, sync::Arc};

use futures_core::Stream;
use tokio::sync::broadcast;
use tokio_util::sync::ReusableBoxFuture;

use crate::{Event, Snapshot, account::Shared};

/// Batches of events that a reader may lag behind.
pub const CAPACITY: usize = 256;

/// The next thing that a reader of a view learns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// One event, applied to what the reader knows.
    Event(Event),
    /// The reader was too slow: start again from this.
    Reset(Arc<Snapshot>),
}

type Batch = Arc<[Event]>;
type Received = (Result<Batch, broadcast::error::RecvError>, broadcast::Receiver<Batch>);

/// Changes of one account, in order and without gaps: either every event after the snapshot that the
/// stream began with, or a [`Change::Reset`].
///
/// Ends when the account is removed or the host shuts down. [`next`](Self::next) is cancellation safe.
pub struct Changes {
    shared: Arc<Shared>,
    receive: ReusableBoxFuture<'static, Received>,
    waiting: VecDeque<Event>,
    seen: u64,
    ended: bool,
}

impl Changes {
    pub(crate) fn new(shared: Arc<Shared>, receiver: broadcast::Receiver<Batch>, seen: u64) -> Self {
        let receive = ReusableBoxFuture::new(receive(receiver));
        Self { shared, receive, waiting: VecDeque::new(), seen, ended: false }
    }

    /// The next change, or none when there will be no more. Cancellation safe.
    pub async fn next(&mut self) -> Option<Change> {
        core::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

async fn receive(mut receiver: broadcast::Receiver<Batch>) -> Received {
    (receiver.recv().await, receiver)
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                if event.seq <= self.seen {
                    continue;
                }
                self.seen = event.seq;
                return Poll::Ready(Some(Change::Event(event)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let (received, receiver) = match self.receive.poll(context) {
                Poll::Ready(received) => received,
                Poll::Pending => return Poll::Pending,
            };
            match received {
                Ok(batch) => {
                    self.receive.set(receive(receiver));
                    self.waiting.extend(batch.iter().cloned());
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    // Only what comes from here on: the snapshot has all that still waits.
                    self.receive.set(receive(receiver.resubscribe()));
                    let snapshot = self.shared.snapshot();
                    self.seen = snapshot.seq;
                    return Poll::Ready(Some(Change::Reset(snapshot)));
                }
                Err(broadcast::error::RecvError::Closed) => self.ended = true,
            }
        }
    }
}

/// What holds now, and everything that changes from here on.
pub struct View {
    /// State at the beginning.
    pub snapshot: Arc<Snapshot>,
    /// Every event after it.
    pub changes: Changes,
}
