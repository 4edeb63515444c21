//! When things happened last on a connection.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// When things happened last, in milliseconds since the connection began. The reader and the writer set it without
/// waking anybody; the watch looks when its own time has come.
pub(crate) struct Pulse {
    started: Instant,
    heard: AtomicU64,
    /// How often something was heard: two things can happen within one millisecond.
    times: AtomicU64,
    spoke: AtomicU64,
    message_began: AtomicU64,
    has_message: AtomicBool,
    answers_pings: AtomicBool,
    /// The owner is behind, so that nothing is read.
    stalled: AtomicBool,
    /// How often something had been heard when the owner sent a ping that nobody has looked after yet.
    asked: AtomicU64,
    woken: Notify,
}

/// Never.
const NONE: u64 = u64::MAX;

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            heard: AtomicU64::new(0),
            times: AtomicU64::new(0),
            spoke: AtomicU64::new(0),
            message_began: AtomicU64::new(NONE),
            has_message: AtomicBool::new(false),
            answers_pings: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            asked: AtomicU64::new(NONE),
            woken: Notify::new(),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NONE - 1)
    }

    fn at(&self, millis: u64) -> Instant {
        self.started + Duration::from_millis(millis)
    }

    pub(crate) fn heard(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spoke(&self) {
        self.spoke.store(self.now(), Ordering::Relaxed);
    }

    pub(crate) fn message(&self) {
        self.has_message.store(true, Ordering::Relaxed);
        self.message_began.store(NONE, Ordering::Relaxed);
    }

    pub(crate) fn pong(&self) {
        self.answers_pings.store(true, Ordering::Relaxed);
    }

    /// The owner of the connection wants to know whether the peer lives.
    pub(crate) fn asked(&self) {
        self.asked.store(self.times(), Ordering::Relaxed);
        self.woken.notify_one();
    }

    /// What [`times`](Self::times) was when the owner wanted to know; told once.
    pub(crate) fn take_asked(&self) -> Option<u64> {
        let at = self.asked.swap(NONE, Ordering::Relaxed);
        (at != NONE).then_some(at)
    }

    /// Waits until the owner wants to know. Cancellation safe.
    pub(crate) async fn wait_asked(&self) {
        self.woken.notified().await;
    }

    pub(crate) fn within_message(&self, within: bool) {
        if !within {
            self.message_began.store(NONE, Ordering::Relaxed);
        } else if self.message_began.load(Ordering::Relaxed) == NONE {
            self.message_began.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(crate) fn within_message_since(&self) -> Option<Instant> {
        let began = self.message_began.load(Ordering::Relaxed);
        (began != NONE).then(|| self.at(began))
    }

    pub(crate) fn has_message(&self) -> bool {
        self.has_message.load(Ordering::Relaxed)
    }

    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    pub(crate) fn answers_pings(&self) -> bool {
        self.answers_pings.load(Ordering::Relaxed)
    }

    /// How often something was heard.
    pub(crate) fn times(&self) -> u64 {
        self.times.load(Ordering::Relaxed)
    }

    pub(crate) fn lively_at(&self) -> Instant {
        self.at(self.heard.load(Ordering::Relaxed).max(self.spoke.load(Ordering::Relaxed)))
    }

    /// Four to five fifths of an interval, so that the connections of one process do not ping in step. Where in that
    /// span matters to nobody: the clock's low digits are random enough.
    pub(crate) fn shortened(&self, interval: Duration) -> Duration {
        let spread = self.started.elapsed().subsec_nanos() % 1000;
        interval - interval / 5 * spread / 1000
    }
}
