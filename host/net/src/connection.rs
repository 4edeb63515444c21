//! One connection: a task of its own that reads, writes and watches the clock, and can hurt only itself.
//!
//! What it reads goes into the one bounded queue that all connections share; when that is full the task stops reading,
//! and the peer's own sending stops. What it writes comes from a bounded queue of its own, filled without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use attache_sip::transport::{Flow, FlowId};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::FlowError;
use crate::framing::{Framing, Received};
use crate::options::Limits;
use crate::tls::CertificateSummary;

/// Bytes read at once.
const READ_BUFFER: usize = 16 * 1024;
/// Messages that are written with one call.
const WRITE_BATCH: usize = 64;
/// Bytes gathered for one call; a larger message goes alone.
const WRITE_GATHER: usize = 32 * 1024;
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

/// How a connection behaves.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) limits: Arc<Limits>,
    /// The interval of our own pings.
    pub(crate) keep_alive: Option<Duration>,
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
pub(crate) async fn run<S, F>(stream: S, mut framing: F, flow: Flow, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    F: Framing,
{
    let Ends { waiting, reports, manner } = ends;
    let pulse = Pulse::new();
    let (reader, writer) = tokio::io::split(stream);
    let (urgent, queued) = mpsc::channel(MAX_URGENT);
    let ended = tokio::select! {
        error = read::<S, F>(reader, &mut framing, flow, &reports, &urgent, &pulse, &manner) => Some(error),
        ended = write::<S, F>(writer, waiting, queued, &pulse, &manner) => ended.err(),
        error = watch::<F>(&urgent, &pulse, &manner) => Some(error),
    };
    if let Some(error) = ended {
        // The owner may be gone; then nobody wants to know.
        let _ = reports.send(Report::Failed(flow.id, error)).await;
    }
}

async fn read<S, F>(
    mut reader: ReadHalf<S>,
    framing: &mut F,
    flow: Flow,
    reports: &mpsc::Sender<Report>,
    urgent: &mpsc::Sender<Bytes>,
    pulse: &Pulse,
    manner: &Manner,
) -> FlowError
where
    S: AsyncRead + AsyncWrite,
    F: Framing,
{
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    let mut garbage = 0;
    // Bytes since something in them had a meaning. What is skipped to find the next message is not reported one by one.
    let mut meaningless = 0;
    loop {
        buffer.clear();
        buffer.reserve(READ_BUFFER);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return FlowError::Closed,
            Ok(count) => meaningless += count,
            Err(error) => return broken(error, manner.limits.write_timeout),
        }
        pulse.heard();
        framing.push(&buffer);
        while let Some(next) = framing.next() {
            match next {
                Received::Message(bytes) => {
                    pulse.message();
                    meaningless = 0;
                    garbage = 0;
                    if reports.send(Report::Message(flow, bytes)).await.is_err() {
                        return FlowError::Closed;
                    }
                }
                Received::Ping => {
                    meaningless = 0;
                    // A full queue has an answer in it already.
                    let _ = urgent.try_send(Bytes::from_static(F::PONG));
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
                        let _ = urgent.try_send(answer);
                    }
                }
            }
        }
        if meaningless > 2 * manner.limits.max_message {
            return FlowError::Garbage("nothing readable for too long".into());
        }
        pulse.within_message(framing.is_within_message());
    }
}

async fn write<S, F>(
    mut writer: WriteHalf<S>,
    mut waiting: Waiting,
    mut urgent: mpsc::Receiver<Bytes>,
    pulse: &Pulse,
    manner: &Manner,
) -> Result<(), FlowError>
where
    S: AsyncRead + AsyncWrite,
    F: Framing,
{
    let patience = manner.limits.write_timeout;
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    let mut buffer = BytesMut::new();
    loop {
        tokio::select! {
            biased;
            Some(bytes) = urgent.recv() => buffer.extend_from_slice(&bytes),
            count = waiting.queue.recv_many(&mut batch, WRITE_BATCH) => {
                if count == 0 {
                    // The owner wants no more: say good-bye, and let what was written arrive.
                    let _ = timeout(patience, writer.shutdown()).await;
                    return Ok(());
                }
                pulse.spoke();
            }
        }
        for message in batch.drain(..) {
            let length = message.len();
            F::encode(&message, &mut buffer);
            drop(message);
            if buffer.len() >= WRITE_GATHER {
                flush(&mut writer, &mut buffer, patience).await?;
            }
            waiting.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        flush(&mut writer, &mut buffer, patience).await?;
    }
}

/// Why an open connection broke. The system's own patience is as long as ours, and means the same.
fn broken(error: std::io::Error, patience: Duration) -> FlowError {
    match error.kind() {
        std::io::ErrorKind::TimedOut => FlowError::WriteTimeout(patience.as_secs()),
        _ => error.into(),
    }
}

/// Writes the buffer out, as long as the peer takes something now and then.
async fn flush<W: AsyncWrite + Unpin>(
    writer: &mut W,
    buffer: &mut BytesMut,
    patience: Duration,
) -> Result<(), FlowError> {
    while !buffer.is_empty() {
        match timeout(patience, writer.write_buf(buffer)).await {
            Ok(Ok(0)) => return Err(FlowError::Closed),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(broken(error, patience)),
            Err(_) => return Err(FlowError::WriteTimeout(patience.as_secs())),
        }
    }
    match timeout(patience, writer.flush()).await {
        Ok(outcome) => outcome.map_err(|error| broken(error, patience)),
        Err(_) => Err(FlowError::WriteTimeout(patience.as_secs())),
    }
}

/// Ends a connection whose peer takes too long over something, and pings.
async fn watch<F: Framing>(urgent: &mpsc::Sender<Bytes>, pulse: &Pulse, manner: &Manner) -> FlowError {
    let limits = &manner.limits;
    let mut ping_at = manner.keep_alive.map(|interval| Instant::now() + pulse.shortened(interval));
    let mut pong_by = None;
    let mut pinged = 0;
    loop {
        let now = Instant::now();
        let mut next = now + limits.idle_timeout;
        if manner.is_accepted && !pulse.has_message() {
            let by = pulse.started + limits.first_message_timeout;
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
        if let Some(by) = pong_by {
            if pulse.heard_since(pinged) {
                pong_by = None;
            } else if by <= now {
                return FlowError::KeepAliveTimeout(limits.pong_timeout.as_secs());
            } else {
                next = next.min(by);
            }
        }
        match (ping_at, manner.keep_alive) {
            (Some(at), Some(interval)) if at <= now => {
                let _ = urgent.try_send(Bytes::from_static(F::PING));
                // Only a peer that has answered a ping before is known to know them: RFC 5626 wants its support
                // negotiated, and many servers that never heard of it keep connections for ever.
                if pulse.answers_pings() && pong_by.is_none() {
                    pinged = pulse.now();
                    pong_by = Some(now + limits.pong_timeout);
                    next = next.min(now + limits.pong_timeout);
                }
                let at = now + pulse.shortened(interval);
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
        sleep_until(next).await;
    }
}

/// When things happened last, in milliseconds since the connection began. The reader and the writer set it without
/// waking anybody; the watch looks when its own time has come.
struct Pulse {
    started: Instant,
    heard: AtomicU64,
    spoke: AtomicU64,
    message_began: AtomicU64,
    has_message: AtomicBool,
    answers_pings: AtomicBool,
}

/// No message is incomplete.
const NONE: u64 = u64::MAX;

impl Pulse {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            heard: AtomicU64::new(0),
            spoke: AtomicU64::new(0),
            message_began: AtomicU64::new(NONE),
            has_message: AtomicBool::new(false),
            answers_pings: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NONE - 1)
    }

    fn at(&self, millis: u64) -> Instant {
        self.started + Duration::from_millis(millis)
    }

    fn heard(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
    }

    fn spoke(&self) {
        self.spoke.store(self.now(), Ordering::Relaxed);
    }

    fn message(&self) {
        self.has_message.store(true, Ordering::Relaxed);
        self.message_began.store(NONE, Ordering::Relaxed);
    }

    fn pong(&self) {
        self.answers_pings.store(true, Ordering::Relaxed);
    }

    fn within_message(&self, within: bool) {
        if !within {
            self.message_began.store(NONE, Ordering::Relaxed);
        } else if self.message_began.load(Ordering::Relaxed) == NONE {
            self.message_began.store(self.now(), Ordering::Relaxed);
        }
    }

    fn within_message_since(&self) -> Option<Instant> {
        let began = self.message_began.load(Ordering::Relaxed);
        (began != NONE).then(|| self.at(began))
    }

    fn has_message(&self) -> bool {
        self.has_message.load(Ordering::Relaxed)
    }

    fn answers_pings(&self) -> bool {
        self.answers_pings.load(Ordering::Relaxed)
    }

    fn heard_since(&self, millis: u64) -> bool {
        self.heard.load(Ordering::Relaxed) >= millis
    }

    fn lively_at(&self) -> Instant {
        self.at(self.heard.load(Ordering::Relaxed).max(self.spoke.load(Ordering::Relaxed)))
    }

    /// Four to five fifths of an interval, so that the connections of one process do not ping in step. Where in that
    /// span matters to nobody: the clock's low digits are random enough.
    fn shortened(&self, interval: Duration) -> Duration {
        let spread = self.started.elapsed().subsec_nanos() % 1000;
        interval - interval / 5 * spread / 1000
    }
}
