//! The bounded queue between callers, who must not wait, and the threads that own connections.
//!
//! A call puts its request here at once, not when its future is first polled: only so are batches applied in the order
//! of the calls. A full queue refuses instead of making the caller wait, because a store that is thousands of requests
//! behind is not available, and saying so lets the engine ask its senders to come back later.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Why a request was not taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The store has been closed.
    Closed,
    /// Too much waits already.
    Busy,
}

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    most: usize,
    most_bytes: usize,
    gone: watch::Sender<bool>,
}

struct State<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    open: bool,
    workers: usize,
}

impl<T> Queue<T> {
    /// A queue that holds at most `most` requests that together weigh at most `most_bytes`.
    pub(crate) fn new(most: usize, most_bytes: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, open: true, workers: 0 };
        Self {
            state: Mutex::new(state),
            ready: Condvar::new(),
            most,
            most_bytes,
            gone: watch::Sender::new(false),
        }
    }

    /// Adds a request that holds about `weight` bytes. One that is heavier than the bound is taken when it is alone.
    pub(crate) fn push(&self, item: T, weight: usize) -> Result<(), Refused> {
        let mut state = self.lock();
        if !state.open {
            return Err(Refused::Closed);
        }
        let heavy = !state.waiting.is_empty() && state.bytes.saturating_add(weight) > self.most_bytes;
        if state.waiting.len() >= self.most || heavy {
            return Err(Refused::Busy);
        }
        state.bytes = state.bytes.saturating_add(weight);
        state.waiting.push_back((item, weight));
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Adds the rest of a request that was taken before: also when the queue is full or closed.
    pub(crate) fn push_rest(&self, item: T) {
        self.lock().waiting.push_back((item, 0));
        self.ready.notify_one();
    }

    /// Waits for requests and takes up to `most` of them; none when the queue is closed and empty.
    pub(crate) fn take(&self, most: usize) -> Option<Vec<T>> {
        let mut state = self.lock();
        loop {
            if !state.waiting.is_empty() {
                let count = state.waiting.len().min(most);
                let mut freed = 0;
                let taken =
                    state.waiting.drain(..count).map(|(item, weight)| (item, freed += weight).0).collect();
                state.bytes = state.bytes.saturating_sub(freed);
                return Some(taken);
            }
            if !state.open {
                return None;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more requests; what is there is still served.
    pub(crate) fn close(&self) {
        self.lock().open = false;
        self.ready.notify_all();
    }

    /// Counts a thread that serves this queue, for as long as the result lives.
    pub(crate) fn worker(self: &std::sync::Arc<Self>) -> Worker<T> {
        self.lock().workers += 1;
        Worker(std::sync::Arc::clone(self))
    }

    /// Completes when no thread serves this queue any more.
    pub(crate) async fn gone(&self) {
        // Fails only when the sender is gone, and that is a field of this.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code of others runs under the lock, so it is whole also after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread that serves a queue. When the last one ends, however it does, nobody is left waiting for an answer.
pub(crate) struct Worker<T>(std::sync::Arc<Queue<T>>);

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.workers -= 1;
        if state.workers == 0 {
            state.open = false;
            let orphans = core::mem::take(&mut state.waiting);
            drop(state);
            // Outside of the lock: dropping a request wakes its caller.
            drop(orphans);
            self.0.gone.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.push('a', 1), Ok(()));
        assert_eq!(queue.push('b', 1), Ok(()));
        assert_eq!(queue.push('c', 1), Err(Refused::Busy));
        assert_eq!(queue.take(8), Some(vec!['a', 'b']));
        assert_eq!(queue.push('c', 1), Ok(()));
    }

    #[test]
    fn a_heavy_queue_refuses_but_takes_one_heavy_request() {
        let queue = Queue::new(8, 100);
        assert_eq!(queue.push('a', 500), Ok(()));
        assert_eq!(queue.push('b', 1), Err(Refused::Busy));
        assert_eq!(queue.take(8), Some(vec!['a']));
        assert_eq!(queue.push('b', 1), Ok(()));
    }

    #[test]
    fn a_closed_queue_is_drained_first() {
        let queue = Queue::new(8, 100);
        assert_eq!(queue.push('a', 1), Ok(()));
        queue.close();
        assert_eq!(queue.push('b', 1), Err(Refused::Closed));
        queue.push_rest('c');
        assert_eq!(queue.take(1), Some(vec!['a']));
        assert_eq!(queue.take(1), Some(vec!['c']));
        assert_eq!(queue.take(1), None);
    }

    #[test]
    fn requests_are_dropped_when_the_last_worker_is_gone() {
        let queue = std::sync::Arc::new(Queue::new(8, 100));
        let worker = queue.worker();
        let request = std::sync::Arc::new(());
        assert_eq!(queue.push(std::sync::Arc::clone(&request), 1), Ok(()));
        drop(worker);
        assert_eq!(std::sync::Arc::strong_count(&request), 1);
        assert_eq!(queue.push(request, 1), Err(Refused::Closed));
    }
}
