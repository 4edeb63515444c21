//! All connections of one node for message sessions (RFC 4975), behind one `recv` and one `request`.

mod connection;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use attache_msrp::{Fingerprint, StreamId, StreamInput, StreamRequest, Target};
use attache_sip::transport::Transport;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::census::{Census, Kind};
use crate::connection::{Outgoing, outgoing};
use crate::error::FlowError;
use crate::listener::Listener;
use crate::options::Limits;
use crate::resolve::{Resolver, SystemResolver};
use crate::tls::{SessionTls, Tls};
use connection::{Ends, Report, Terms};

/// Pieces of all connections together that wait for the machine; each has at most 16 KiB.
const MAX_RECEIVED: usize = 256;

/// What [`MsrpSockets`] binds.
#[derive(Clone)]
pub struct MsrpOptions {
    /// Listen for connections on each of these. Port 0 takes a free one. Empty: connections of our own are opened alone.
    pub addresses: Vec<SocketAddr>,
    /// As [`addresses`](Self::addresses), for TLS. Needs [`tls`](Self::tls) with a certificate, or an
    /// [ephemeral](Self::ephemeral) one.
    pub tls_addresses: Vec<SocketAddr>,
    /// Whom to believe, and who this node is. `None`: nothing that needs TLS is opened or accepted.
    pub tls: Option<Tls>,
    /// Show a certificate that is made for these sockets alone, and not that of [`tls`](Self::tls). No authority vouches
    /// for it: peers know it by its [fingerprint](MsrpSockets::fingerprint), which session descriptions name.
    pub ephemeral: bool,
    /// Who knows the addresses of names.
    pub resolver: Arc<dyn Resolver>,
    /// Bounds. Of those in time, idleness counts for nothing here: the machine closes what it does not need.
    pub limits: Limits,
}

impl Default for MsrpOptions {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            tls_addresses: Vec::new(),
            tls: None,
            ephemeral: false,
            resolver: Arc::new(SystemResolver::default()),
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for MsrpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsrpOptions")
            .field("addresses", &self.addresses)
            .field("tls_addresses", &self.tls_addresses)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The connections of one node for message sessions.
///
/// One task owns it and drives an [`Msrp`](attache_msrp::Msrp), or an engine that has one, with it:
///
/// ```no_run
/// # use std::time::Instant;
/// # use attache_msrp::{Msrp, MsrpConfig};
/// # use attache_net::{MsrpOptions, MsrpSockets};
/// # async fn drive(mut msrp: Msrp) -> std::io::Result<()> {
/// let mut sockets = MsrpSockets::bind(MsrpOptions {
///     addresses: vec![([127, 0, 0, 1], 0).into()],
///     ..MsrpOptions::default()
/// })?;
/// loop {
///     // A real driver waits for its machine's time-out too.
///     let input = sockets.recv().await;
///     msrp.handle_input(Instant::now(), input);
///     while let Some(request) = msrp.poll_transmit(Instant::now()) {
///         sockets.request(request);
///     }
///     while let Some(event) = msrp.poll_event() { /* … */ }
/// }
/// # }
/// ```
///
/// A peer can hurt only its own connection: each has a task, a bounded queue and time limits of its own. Nothing is read
/// faster than the machine takes it, and the machine makes nothing faster than it is written.
///
/// Dropping it closes everything at once; [`close`](Self::close) lets out what waits to be written.
pub struct MsrpSockets {
    listeners: Vec<Listener>,
    connections: HashMap<StreamId, Connection>,
    census: Census,
    /// What failed without a task of its own to say so.
    failures: VecDeque<StreamInput>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    tasks: JoinSet<()>,
    next: u64,
    terms: Arc<Terms>,
}

struct Connection {
    /// Whom an accepted one is counted as.
    peer: Option<(SocketAddr, Kind)>,
    outgoing: Outgoing,
    paused: watch::Sender<bool>,
    task: AbortHandle,
}

impl MsrpSockets {
    /// Binds what the options ask for. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of the operating system: an address in use, or one that this machine does not have. And
    /// [`io::ErrorKind::InvalidInput`] where TLS should be accepted and there is no certificate to show;
    /// [`io::ErrorKind::Other`] when none can be made.
    pub fn bind(options: MsrpOptions) -> io::Result<Self> {
        let MsrpOptions { addresses, tls_addresses, tls, ephemeral, resolver, limits } = options;
        let tls = tls.map(|tls| SessionTls::new(tls, ephemeral)).transpose().map_err(io::Error::other)?;
        let listeners = listen(&addresses, &tls_addresses, tls.as_ref())?;
        let (reporter, reports) = mpsc::channel(MAX_RECEIVED);
        Ok(Self {
            listeners,
            connections: HashMap::new(),
            census: Census::default(),
            failures: VecDeque::new(),
            reports,
            reporter,
            tasks: JoinSet::new(),
            next: 1,
            terms: Arc::new(Terms { limits, tls, resolver }),
        })
    }

    /// The addresses that are bound, and whether for TLS.
    pub fn local_addresses(&self) -> Vec<(bool, SocketAddr)> {
        self.listeners.iter().map(|listener| (listener.transport().is_secure(), listener.local())).collect()
    }

    /// That of the certificate that is shown over TLS at this time: another one after [`Tls::reload`].
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.terms.tls.as_ref()?.fingerprint()
    }

    /// Listens on these addresses from now on, as when this machine has others. Connections stay
    /// as they are. Gives the [local addresses](Self::local_addresses).
    ///
    /// # Errors
    /// As [`bind`](Self::bind); then everything is as it was.
    pub fn rebind(
        &mut self,
        addresses: &[SocketAddr],
        tls_addresses: &[SocketAddr],
    ) -> io::Result<Vec<(bool, SocketAddr)>> {
        self.listeners = listen(addresses, tls_addresses, self.terms.tls.as_ref())?;
        Ok(self.local_addresses())
    }

    /// Connections that are open or being opened.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Waits for the next input. Connections are accepted within this call too, so call it again soon.
    ///
    /// # Cancellation safety
    /// Cancellation safe: a future that is dropped has taken nothing.
    pub async fn recv(&mut self) -> StreamInput {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for a caller that is a future itself.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<StreamInput> {
        if let Some(failure) = self.failures.pop_front() {
            return Poll::Ready(failure);
        }
        self.poll_accept(cx);
        loop {
            match self.reports.poll_recv(cx) {
                Poll::Ready(Some(report)) => {
                    if let Some(input) = self.take_report(report) {
                        return Poll::Ready(input);
                    }
                }
                // This end holds a sender, so the queue never ends.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next input, if there is one at this moment.
    pub fn try_recv(&mut self) -> Option<StreamInput> {
        if let Some(failure) = self.failures.pop_front() {
            return Some(failure);
        }
        while let Ok(report) = self.reports.try_recv() {
            if let Some(input) = self.take_report(report) {
                return Some(input);
            }
        }
        None
    }

    /// Does what the machine wants, without ever waiting. What goes wrong is told by a later
    /// [`StreamInput::Closed`].
    pub fn request(&mut self, request: StreamRequest) {
        match request {
            StreamRequest::Connect { stream, target } => {
                if let Err(reason) = self.connect(stream, target) {
                    self.failures.push_back(StreamInput::Closed { stream, reason: reason.to_string() });
                }
            }
            StreamRequest::Send { stream, bytes } => {
                let Some(connection) = self.connections.get(&stream) else { return };
                if let Err(reason) = connection.outgoing.push(bytes) {
                    // What waits is not worth waiting for.
                    connection.task.abort();
                    self.forget(stream);
                    self.failures.push_back(StreamInput::Closed { stream, reason: reason.to_string() });
                }
            }
            StreamRequest::Pause { stream } => self.pause(stream, true),
            StreamRequest::Resume { stream } => self.pause(stream, false),
            // The task writes what waits, and ends.
            StreamRequest::Close { stream } => self.forget(stream),
        }
    }

    /// Closes everything, after what waits to be written, but within this time.
    pub async fn close(mut self, within: Duration) {
        self.listeners.clear();
        self.connections.clear();
        // Nobody reads what still arrives, and a connection must not wait for that.
        self.reports.close();
        let tasks = &mut self.tasks;
        let _ = timeout(within, async { while tasks.join_next().await.is_some() {} }).await;
    }

    fn connect(&mut self, stream: StreamId, target: Target) -> Result<(), FlowError> {
        let limits = &self.terms.limits;
        if self.connections.len() >= limits.max_connections {
            return Err(FlowError::TooManyConnections);
        }
        if target.secure && self.terms.tls.is_none() {
            return Err(FlowError::Unsupported(Transport::Tls.via_name()));
        }
        let terms = Arc::clone(&self.terms);
        self.spawn(stream, None, |ends| connection::dial(stream, target, ends, terms));
        Ok(())
    }

    /// Runs a connection in a task of its own.
    fn spawn<F>(&mut self, stream: StreamId, peer: Option<(SocketAddr, Kind)>, run: impl FnOnce(Ends) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (outgoing, waiting) = outgoing(&self.terms.limits);
        let paused = watch::Sender::new(false);
        let ends = Ends { waiting, reports: self.reporter.clone(), paused: paused.subscribe() };
        let task = self.tasks.spawn(run(ends));
        self.connections.insert(stream, Connection { peer, outgoing, paused, task });
    }

    fn pause(&mut self, stream: StreamId, paused: bool) {
        if let Some(connection) = self.connections.get(&stream) {
            connection.paused.send_replace(paused);
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.listeners.len() {
            while let Poll::Ready((stream, remote)) = self.listeners[index].poll_accept(cx) {
                let secure = self.listeners[index].transport().is_secure();
                if let Err(reason) = self.accept(stream, remote, secure) {
                    tracing::debug!(%remote, %reason, "connection not accepted");
                }
            }
        }
    }

    fn accept(&mut self, stream: TcpStream, remote: SocketAddr, secure: bool) -> Result<(), FlowError> {
        let kind = if secure { Kind::Shaking } else { Kind::Theirs };
        self.census.admit(remote.ip(), kind, &self.terms.limits)?;
        let id = StreamId::Theirs(self.next);
        self.next += 1;
        let terms = Arc::clone(&self.terms);
        self.spawn(id, Some((remote, kind)), |ends| connection::receive(id, stream, secure, ends, terms));
        Ok(())
    }

    /// `None` for a report of a connection that was closed before it came, and of a stranger that never came in.
    fn take_report(&mut self, report: Report) -> Option<StreamInput> {
        match report {
            Report::Opened(stream, certificate) => {
                let connection = self.connections.get_mut(&stream)?;
                let Some((remote, kind)) = &mut connection.peer else {
                    return Some(StreamInput::Opened { stream });
                };
                // Only those for TLS have shaken hands.
                let secure = *kind == Kind::Shaking;
                if secure {
                    *kind = Kind::Theirs;
                    self.census.shaken(remote.ip());
                }
                Some(StreamInput::Accepted { stream, secure, certificate })
            }
            Report::Bytes(stream, bytes) => {
                self.connections.contains_key(&stream).then_some(StreamInput::Bytes { stream, bytes })
            }
            Report::Written(stream, bytes) => {
                self.connections.contains_key(&stream).then_some(StreamInput::Written { stream, bytes })
            }
            Report::Closed(stream, reason) => {
                let was_open =
                    self.connections.get(&stream)?.peer.is_none_or(|(_, kind)| kind == Kind::Theirs);
                self.forget(stream);
                tracing::debug!(%stream, %reason, "connection ended");
                was_open.then(|| StreamInput::Closed { stream, reason: reason.to_string() })
            }
        }
    }

    fn forget(&mut self, stream: StreamId) {
        let Some(connection) = self.connections.remove(&stream) else { return };
        if let Some((remote, kind)) = connection.peer {
            self.census.forget(remote.ip(), kind);
        }
        // Tasks that have ended are held until they are asked after.
        while self.tasks.try_join_next().is_some() {}
    }
}

fn listen(
    addresses: &[SocketAddr],
    tls_addresses: &[SocketAddr],
    tls: Option<&SessionTls>,
) -> io::Result<Vec<Listener>> {
    if !tls_addresses.is_empty() && tls.is_none_or(|tls| tls.server().is_none()) {
        let words = "a certificate and its key are needed to accept TLS connections";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    let plain = addresses.iter().map(|address| Listener::bind(*address, Transport::Tcp));
    plain.chain(tls_addresses.iter().map(|address| Listener::bind(*address, Transport::Tls))).collect()
}

impl fmt::Debug for MsrpSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsrpSockets")
            .field("local", &self.local_addresses())
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}
