//! One connection: a task of its own that reads, writes and watches the clock, and can hurt only itself.
//!
//! What it reads goes into the one bounded queue that all connections share; when that is full the task stops reading,
//! and the peer's own sending stops. What it writes comes from a bounded queue of its own, filled without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use attache_sip::transport::{Flow, FlowId};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::FlowError;
use crate::framing::{Inbound, Outbound, Received, Sending};
use crate::options::{KeepAlive, Limits};
use crate::pulse::Pulse;
use crate::tls::CertificateSummary;

/// Messages that are written with one call.
const WRITE_BATCH: usize = 64;
/// What the owner queues to have the peer asked whether it lives (RFC 5626, section 3.5.1).
const PING: &[u8] = b"\r\n\r\n";
/// Keep-alives and refusals of garbage that wait to be written. More would be a peer that does not read them.
const MAX_URGENT: usize = 4;

/// What a connection tells the owner of all of them.
pub(crate) enum Report {
    Message(Flow, Bytes),
    /// Handshakes are done, and this is what the peer has shown.
    Opened(FlowId, Option<Arc<CertificateSummary>>),
    Failed(FlowId, FlowError),
    /// It never came to be.
    Unopened(FlowId, FlowError),
}

/// The owner's end of a connection's outgoing queue.
#[derive(Clone)]
pub(crate) struct Outgoing {
    queue: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// The connection's end.
pub(crate) struct Waiting {
    queue: mpsc::Receiver<Bytes>,
    bytes: Arc<AtomicUsize>,
}

/// A queue from the owner to a connection.
pub(crate) fn outgoing(limits: &Limits) -> (Outgoing, Waiting) {
    let (sender, receiver) = mpsc::channel(limits.max_queued_messages.max(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    (
        Outgoing { queue: sender, bytes: Arc::clone(&bytes), max_bytes: limits.max_queued_bytes },
        Waiting { queue: receiver, bytes },
    )
}

impl Outgoing {
    /// Queues a message, or says why the connection is of no more use.
    pub(crate) fn push(&self, message: Bytes) -> Result<(), FlowError> {
        let length = message.len();
        let before = self.bytes.fetch_add(length, Ordering::Relaxed);
        if before > 0 && before + length > self.max_bytes {
            return Err(FlowError::Overflow);
        }
        self.queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => FlowError::Overflow,
            mpsc::error::TrySendError::Closed(_) => FlowError::Closed,
        })
    }
}

impl Waiting {
    /// The next message; `None` when the owner wants no more. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.queue.recv().await
    }

    /// So many bytes of what was taken are written.
    pub(crate) fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How a connection behaves.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) limits: Arc<Limits>,
    /// Our own pings, which the owner can change at any time.
    pub(crate) keep_alive: watch::Receiver<Option<KeepAlive>>,
    /// A stranger opened it and has shown nothing yet.
    pub(crate) is_accepted: bool,
}

/// What a connection holds of its owner.
pub(crate) struct Ends {
    pub(crate) waiting: Waiting,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) manner: Manner,
}

/// Runs a connection until it ends, and says why. Ends in good order when the owner drops its end of the queue.
pub(crate) async fn run<I: Inbound, O: Outbound>(
    (mut inbound, mut outbound): (I, O),
    flow: Flow,
    ends: Ends,
    pulse: &Pulse,
) {
    let Ends { waiting, reports, manner } = ends;
    let (urgent, queued) = mpsc::channel(MAX_URGENT);
    let ended = tokio::select! {
        error = read(&mut inbound, flow, &reports, &urgent, pulse, &manner) => Some(error),
        ended = write(&mut outbound, waiting, queued, pulse, &manner) => ended.err(),
        error = watch::<I>(&urgent, pulse, &manner) => Some(error),
    };
    let farewell = outbound.close(ended.as_ref());
    if let Some(error) = &ended {
        // The owner may be gone; then nobody wants to know.
        let _ = reports.send(Report::Failed(flow.id, error.clone())).await;
    }
    let _ = timeout(manner.limits.write_timeout, farewell).await;
}

async fn read<I: Inbound>(
    inbound: &mut I,
    flow: Flow,
    reports: &mpsc::Sender<Report>,
    urgent: &mpsc::Sender<Sending>,
    pulse: &Pulse,
    manner: &Manner,
) -> FlowError {
    let mut garbage = 0;
    // Bytes since something in them had a meaning. What is skipped to find the next message is not reported one by one.
    let mut meaningless = 0;
    loop {
        match inbound.wait().await {
            Ok(0) => return FlowError::Closed,
            Ok(count) => meaningless += count,
            Err(error) => return error,
        }
        pulse.heard();
        while let Some(next) = inbound.next() {
            match next {
                Received::Message(bytes) => {
                    pulse.message();
                    meaningless = 0;
                    garbage = 0;
                    pulse.stall(true);
                    if reports.send(Report::Message(flow, bytes)).await.is_err() {
                        return FlowError::Closed;
                    }
                    pulse.stall(false);
                }
                Received::Ping => {
                    meaningless = 0;
                    // A full queue has an answer in it already.
                    let _ = urgent.try_send(Sending::Pong);
                }
                Received::Pong => {
                    pulse.pong();
                    meaningless = 0;
                }
                Received::Garbage { what, answer } => {
                    garbage += 1;
                    tracing::debug!(flow = %flow.id, remote = %flow.remote, what, "unreadable message");
                    if garbage > manner.limits.max_garbage {
                        return FlowError::Garbage(what);
                    }
                    if let Some(answer) = answer {
                        let _ = urgent.try_send(Sending::Message(answer));
                    }
                }
            }
        }
        if meaningless > 2 * manner.limits.max_message {
            return FlowError::Garbage("nothing readable for too long".into());
        }
        pulse.within_message(inbound.is_within_message());
    }
}

async fn write<O: Outbound>(
    outbound: &mut O,
    mut waiting: Waiting,
    mut urgent: mpsc::Receiver<Sending>,
    pulse: &Pulse,
    manner: &Manner,
) -> Result<(), FlowError> {
    let patience = manner.limits.write_timeout;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(what) = urgent.recv() => outbound.push(what),
            count = waiting.queue.recv_many(&mut batch, WRITE_BATCH) => {
                if count == 0 {
                    // The owner wants no more.
                    return Ok(());
                }
                pulse.spoke();
            }
        }
        for message in batch.drain(..) {
            let length = message.len();
            if message == PING {
                outbound.push(Sending::Ping);
                pulse.asked();
            } else {
                outbound.push(Sending::Message(message));
            }
            if outbound.is_full() {
                outbound.flush(patience).await?;
            }
            waiting.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        outbound.flush(patience).await?;
    }
}

/// Ends a connection whose peer takes too long over something, and pings.
async fn watch<I: Inbound>(urgent: &mpsc::Sender<Sending>, pulse: &Pulse, manner: &Manner) -> FlowError {
    let limits = &manner.limits;
    let mut wanted = manner.keep_alive.clone();
    let mut keep_alive = *wanted.borrow_and_update();
    let mut ping_at = keep_alive.map(|pings| Instant::now() + pulse.shortened(pings.interval));
    let mut pong_by = None;
    let mut pinged = 0;
    loop {
        let now = Instant::now();
        let mut next = now + limits.idle_timeout;
        if manner.is_accepted && !pulse.has_message() {
            let by = pulse.started() + limits.first_message_timeout;
            if by <= now {
                return FlowError::Idle;
            }
            next = next.min(by);
        }
        // Looked at as often as its time-out, so a message that is never finished lives at most twice as long.
        if let Some(since) = pulse.within_message_since() {
            let by = since + limits.message_timeout;
            if by <= now {
                return FlowError::Idle;
            }
            next = next.min(by);
        } else {
            next = next.min(now + limits.message_timeout);
        }
        if pong_by.is_some() && pulse.times() > pinged {
            pong_by = None;
        }
        // One that is still waited for is old enough to decide.
        if let Some(times) = pulse.take_asked()
            && pong_by.is_none()
        {
            pinged = times;
            pong_by = Some(now + limits.pong_timeout);
        }
        // What nobody reads is no sign of a peer that is gone.
        if pulse.is_stalled() {
            pong_by = pong_by.map(|_| now + limits.pong_timeout);
        }
        if let Some(by) = pong_by {
            if by <= now {
                return FlowError::KeepAliveTimeout(limits.pong_timeout.as_secs());
            }
            next = next.min(by);
        }
        match (ping_at, keep_alive) {
            (Some(at), Some(pings)) if at <= now => {
                let _ = urgent.try_send(Sending::Ping);
                // A peer that is not known to answer pings may never have heard of them.
                if (pings.must_be_answered || I::PONGS || pulse.answers_pings()) && pong_by.is_none() {
                    pinged = pulse.times();
                    pong_by = Some(now + limits.pong_timeout);
                    next = next.min(now + limits.pong_timeout);
                }
                let at = now + pulse.shortened(pings.interval);
                ping_at = Some(at);
                next = next.min(at);
            }
            (Some(at), _) => next = next.min(at),
            (None, _) => {
                let by = pulse.lively_at() + limits.idle_timeout;
                if by <= now {
                    return FlowError::Idle;
                }
                next = next.min(by);
            }
        }
        tokio::select! {
            () = sleep_until(next) => {}
            () = pulse.wait_asked() => {}
            Ok(()) = wanted.changed() => {
                keep_alive = *wanted.borrow_and_update();
                ping_at = keep_alive.map(|pings| Instant::now() + pulse.shortened(pings.interval));
            }
        }
    }
}
