//! One connection: a task of its own that moves bytes both ways and knows nothing of what they say.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use attache_msrp::{Fingerprint, StreamId, Target};
use attache_sip::transport::{Destination, Transport};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::connection::Waiting;
use crate::error::FlowError;
use crate::framing::broken;
use crate::options::Limits;
use crate::resolve::{Query, Resolver};
use crate::socket;
use crate::stream::{self, Stream};
use crate::tls::SessionTls;

/// Bytes read at once.
const READ_BUFFER: usize = 16 * 1024;

/// Why nothing is opened or accepted over TLS.
const NO_TLS: FlowError = FlowError::Unsupported(Transport::Tls.via_name());

/// What all connections of a node have in common.
pub(super) struct Terms {
    pub(super) limits: Limits,
    pub(super) tls: Option<SessionTls>,
    pub(super) resolver: Arc<dyn Resolver>,
}

/// What a connection holds of its owner.
pub(super) struct Ends {
    pub(super) waiting: Waiting,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) paused: watch::Receiver<bool>,
}

/// What a connection tells the owner of all of them.
pub(super) enum Report {
    /// With what an accepted connection's peer has shown.
    Opened(StreamId, Option<Fingerprint>),
    Bytes(StreamId, Bytes),
    Written(StreamId, usize),
    Closed(StreamId, FlowError),
}

/// Opens a connection and runs it until it ends.
pub(super) async fn dial(id: StreamId, target: Target, ends: Ends, terms: Arc<Terms>) {
    match open(&target, &terms).await {
        Ok(stream) => run(id, stream, ends, &terms.limits).await,
        Err(reason) => {
            let _ = ends.reports.send(Report::Closed(id, reason)).await;
        }
    }
}

/// Takes a connection that a peer has opened, and runs it until it ends.
pub(super) async fn receive(id: StreamId, stream: TcpStream, secure: bool, ends: Ends, terms: Arc<Terms>) {
    prepare(&stream, &terms.limits);
    let welcomed = async {
        if !secure {
            return Ok(Stream::Plain(stream));
        }
        let tls = terms.tls.as_ref().and_then(SessionTls::server).ok_or(NO_TLS)?;
        stream::welcome_with(stream, tls).await
    };
    match in_time(&terms.limits, welcomed).await {
        Ok(stream) => run(id, stream, ends, &terms.limits).await,
        Err(reason) => {
            let _ = ends.reports.send(Report::Closed(id, reason)).await;
        }
    }
}

/// Tries the addresses of a name one after the other.
async fn open(target: &Target, terms: &Terms) -> Result<Stream, FlowError> {
    let transport = if target.secure { Transport::Tls } else { Transport::Tcp };
    let query = Query {
        host: target.host.clone(),
        port: Some(target.port),
        transport: Some(transport),
        secure: target.secure,
    };
    let found = terms.resolver.resolve(query).await.map_err(|error| FlowError::Other(error.to_string()))?;
    // What the certificate must be for: the name, or the address where that was asked for.
    let domain = target.host.parse::<std::net::IpAddr>().is_err().then_some(target.host.as_str());
    let mut reason = FlowError::Unreachable;
    for Destination { remote, .. } in found {
        let peer = Destination { transport, remote };
        match stream::connect(peer, &terms.limits).await {
            Ok(stream) => {
                prepare(&stream, &terms.limits);
                let shaken = async {
                    if !target.secure {
                        return Ok(Stream::Plain(stream));
                    }
                    let tls = terms.tls.as_ref().ok_or(NO_TLS)?.client(&target.fingerprints);
                    stream::secure_with(stream, remote.ip(), domain, tls).await
                };
                return in_time(&terms.limits, shaken).await;
            }
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

/// A session may be silent for days: the system finds out whether its peer is still there.
fn prepare(stream: &TcpStream, limits: &Limits) {
    stream::prepare(stream, limits);
    socket::keep_alive(stream);
}

async fn in_time(
    limits: &Limits,
    handshake: impl Future<Output = Result<Stream, FlowError>>,
) -> Result<Stream, FlowError> {
    let patience = limits.handshake_timeout;
    timeout(patience, handshake).await.unwrap_or(Err(FlowError::HandshakeTimeout(patience.as_secs())))
}

/// Moves bytes until the connection ends, or its owner drops its end of the queue and what waits is written.
async fn run(id: StreamId, stream: Stream, ends: Ends, limits: &Limits) {
    let Ends { waiting, reports, paused } = ends;
    let shown = stream.peer_fingerprint();
    if reports.send(Report::Opened(id, shown)).await.is_err() {
        return;
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    let patience = limits.write_timeout;
    let ended = tokio::select! {
        error = read(id, &mut reader, paused, &reports, patience) => Err(error),
        ended = write(id, &mut writer, waiting, &reports, patience) => ended,
    };
    match ended {
        Ok(()) => {
            let _ = timeout(patience, writer.shutdown()).await;
        }
        Err(reason) => {
            // The owner may be gone; then nobody wants to know.
            let _ = reports.send(Report::Closed(id, reason)).await;
        }
    }
}

async fn read(
    id: StreamId,
    reader: &mut ReadHalf<Stream>,
    mut paused: watch::Receiver<bool>,
    reports: &mpsc::Sender<Report>,
    patience: Duration,
) -> FlowError {
    loop {
        // An owner that is gone pauses nothing: the writer ends the connection.
        if paused.wait_for(|paused| !*paused).await.is_err() {
            return std::future::pending().await;
        }
        let read = poll_fn(|cx| {
            // On the stack, and only while there is something to read: most connections are idle most of the time.
            let mut scratch = [const { MaybeUninit::uninit() }; READ_BUFFER];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *reader).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled()))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        });
        match read.await {
            Ok(bytes) if bytes.is_empty() => return FlowError::Closed,
            Ok(bytes) => {
                if reports.send(Report::Bytes(id, bytes)).await.is_err() {
                    return FlowError::Closed;
                }
            }
            Err(error) => return broken(error, patience),
        }
    }
}

async fn write(
    id: StreamId,
    writer: &mut WriteHalf<Stream>,
    mut waiting: Waiting,
    reports: &mpsc::Sender<Report>,
    patience: Duration,
) -> Result<(), FlowError> {
    while let Some(mut bytes) = waiting.next().await {
        let length = bytes.len();
        while bytes.has_remaining() {
            match timeout(patience, writer.write_buf(&mut bytes)).await {
                Ok(Ok(0)) => return Err(FlowError::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(broken(error, patience)),
                Err(_) => return Err(FlowError::WriteTimeout(patience.as_secs())),
            }
        }
        match timeout(patience, writer.flush()).await {
            Ok(outcome) => outcome.map_err(|error| broken(error, patience))?,
            Err(_) => return Err(FlowError::WriteTimeout(patience.as_secs())),
        }
        waiting.done(length);
        // The owner may have closed the connection, and wants no more reports of it.
        let _ = reports.send(Report::Written(id, length)).await;
    }
    Ok(())
}
