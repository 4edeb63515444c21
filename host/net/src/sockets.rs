//! All sockets of one node, behind one `recv` and one `send`.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::census::{Census, Kind};
use crate::connection::{self, Manner, Outgoing, Report};
use crate::error::FlowError;
use crate::establish::{self, Terms};
use crate::listener::Listener;
use crate::options::{BindOptions, KeepAlive};
use crate::socket;
use crate::tls::{CertificateSummary, Tls};
use crate::udp::Udp;

/// Something that happened on a node's sockets.
#[derive(Clone)]
#[non_exhaustive]
pub enum Input {
    /// A datagram, or one whole message of a stream.
    Message {
        /// Where it came from.
        flow: Flow,
        /// As it came.
        bytes: Bytes,
    },
    /// One datagram could not be sent, for its size or a passing want of the operating system. It says nothing about its
    /// destination: others can be sent there, so it must not be taken for a [`FlowFailed`](Self::FlowFailed). A
    /// transaction that waits for an answer retransmits or times out.
    NotSent {
        /// Where it should have gone.
        destination: Destination,
        /// Why.
        reason: FlowError,
    },
    /// A connection is no more, or could not be opened; or nothing can be sent to a destination.
    FlowFailed {
        /// Where it led.
        destination: Destination,
        /// Which one; `None` when it never came to be.
        flow: Option<FlowId>,
        /// Why.
        reason: FlowError,
    },
}

// What people say and how they prove who they are is not for logs.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { flow, bytes } => f
                .debug_struct("Message")
                .field("flow", flow)
                .field("bytes", &format_args!("{} bytes", bytes.len()))
                .finish(),
            Self::NotSent { destination, reason } => {
                f.debug_struct("NotSent").field("destination", destination).field("reason", reason).finish()
            }
            Self::FlowFailed { destination, flow, reason } => f
                .debug_struct("FlowFailed")
                .field("destination", destination)
                .field("flow", flow)
                .field("reason", reason)
                .finish(),
        }
    }
}

/// The sockets of one node: UDP, TCP listeners, and connections in both directions.
///
/// One task owns it and drives a sans-IO machine with it:
///
/// ```no_run
/// # use attache_net::{BindOptions, Input, Sockets};
/// # async fn drive() -> std::io::Result<()> {
/// let mut sockets = Sockets::bind(BindOptions {
///     addresses: vec![([127, 0, 0, 1], 0).into()],
///     ..BindOptions::default()
/// })?;
/// loop {
///     // Wait for the first input (a real driver also waits for its machine's time-out), then take what else is there
///     // without waiting: one wake-up serves many messages.
///     let mut next = Some(sockets.recv().await);
///     for _ in 0..256 {
///         match next.take() {
///             Some(Input::Message { flow, bytes }) => { /* machine.handle_input(now, flow, bytes) */ }
///             Some(Input::FlowFailed { destination, flow, reason }) => { /* machine.handle_flow_failed(…) */ }
///             Some(_) => {}
///             None => break,
///         }
///         next = sockets.try_recv();
///     }
///     // while let Some(transmit) = machine.poll_transmit() { sockets.send(transmit); }
/// }
/// # }
/// ```
///
/// Dropping it closes everything at once, and what still waits to be written is lost; [`close`](Self::close) lets it out.
pub struct Sockets {
    udp: Vec<Udp>,
    listeners: Vec<Listener>,
    connections: HashMap<FlowId, Connection>,
    /// The newest connection to each peer, but for those whose peer encrypts and has proved nothing: they are reached by naming them.
    by_peer: HashMap<Peer, FlowId>,
    census: Census,
    /// What failed without a task of its own to say so.
    failures: VecDeque<Input>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    tasks: JoinSet<()>,
    next_flow: u64,
    /// Which source goes first; it goes round, so that a flood on one starves no other.
    turn: usize,
    terms: Arc<Terms>,
    keep_alive: Option<Duration>,
    /// What is bound at each plain address.
    kinds: Kinds,
}

#[derive(Copy, Clone, Debug)]
struct Kinds {
    udp: bool,
    tcp: bool,
}

/// Where a connection leads, and what the peer has proved to serve. One that was opened for a domain is of no use for
/// another, even where both live at one address (RFC 5923 §4).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Peer {
    destination: Destination,
    /// In lower case; `None` where nothing had to be proved, or the address itself.
    domain: Option<Arc<str>>,
}

impl Peer {
    fn new(destination: Destination, domain: Option<Arc<str>>) -> Self {
        // A WebSocket server may serve several domains, and learns from the upgrade which one is meant.
        let domain = domain.filter(|_| !matches!(destination.transport, Transport::Udp | Transport::Tcp));
        let domain = domain.map(|domain| {
            let is_lower = !domain.bytes().any(|byte| byte.is_ascii_uppercase());
            if is_lower { domain } else { domain.to_ascii_lowercase().into() }
        });
        Self { destination, domain }
    }
}

struct Connection {
    peer: Peer,
    kind: Kind,
    certificate: Option<Arc<CertificateSummary>>,
    keep_alive: watch::Sender<Option<KeepAlive>>,
    outgoing: Outgoing,
    task: AbortHandle,
}

impl Sockets {
    /// Binds what the options ask for. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of the operating system: an address in use, or one that this machine does not have. And
    /// [`io::ErrorKind::InvalidInput`] where TLS should be accepted and there is no certificate to show.
    pub fn bind(options: BindOptions) -> io::Result<Self> {
        let needs_certificate = !(options.tls_addresses.is_empty() && options.wss_addresses.is_empty());
        if needs_certificate && !options.tls.as_ref().is_some_and(Tls::can_serve) {
            let words = "a certificate and its key are needed to accept TLS connections";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let limits = Arc::new(options.limits);
        let (reporter, reports) = mpsc::channel(limits.max_received.max(1));
        let mut sockets = Self {
            udp: Vec::new(),
            listeners: Vec::new(),
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            census: Census::default(),
            failures: VecDeque::new(),
            reports,
            reporter,
            tasks: JoinSet::new(),
            next_flow: 1,
            turn: 0,
            terms: Arc::new(Terms {
                limits: Arc::clone(&limits),
                tls: options.tls,
                ws_path: options.ws_path,
            }),
            keep_alive: options.keep_alive,
            kinds: Kinds { udp: options.udp, tcp: options.tcp },
        };
        let (listeners, udp) = sockets.bind_plain(&options.addresses)?;
        sockets.listeners = listeners;
        sockets.udp = udp;
        let others = [
            (Transport::Tls, options.tls_addresses),
            (Transport::Ws, options.ws_addresses),
            (Transport::Wss, options.wss_addresses),
        ];
        for (transport, addresses) in others {
            for address in addresses {
                sockets.listeners.push(Listener::bind(address, transport)?);
            }
        }
        Ok(sockets)
    }

    /// Binds UDP and TCP at other addresses in place of those of before, as after a change of network, and returns what is
    /// bound in all. Connections that are open stay for as long as they work.
    ///
    /// # Errors
    /// Those of the operating system; then all stays as it was.
    pub fn rebind(&mut self, addresses: &[SocketAddr]) -> io::Result<Vec<(Transport, SocketAddr)>> {
        let (listeners, udp) = self.bind_plain(addresses)?;
        self.listeners.retain(|listener| listener.transport() != Transport::Tcp);
        self.listeners.extend(listeners);
        self.udp = udp;
        Ok(self.local_addresses())
    }

    fn bind_plain(&mut self, addresses: &[SocketAddr]) -> io::Result<(Vec<Listener>, Vec<Udp>)> {
        let (mut listeners, mut all) = (Vec::new(), Vec::new());
        let Kinds { udp, tcp } = self.kinds;
        for address in addresses {
            let id = self.new_flow();
            let limits = &self.terms.limits;
            let (listener, datagrams) = socket::with_one_port(*address, |mut address| {
                let listener = tcp.then(|| Listener::bind(address, Transport::Tcp)).transpose()?;
                if let Some(listener) = &listener {
                    address.set_port(listener.local().port());
                }
                let (buffer, queue) = (limits.udp_receive_buffer, limits.max_queued_datagrams);
                let datagrams = udp.then(|| Udp::bind(address, id, buffer, queue));
                Ok((listener, datagrams.transpose()?))
            })?;
            listeners.extend(listener);
            all.extend(datagrams);
        }
        Ok((listeners, all))
    }

    /// The addresses that are bound: UDP, TCP, TLS, WebSocket, secure WebSocket.
    pub fn local_addresses(&self) -> Vec<(Transport, SocketAddr)> {
        let udp = self.udp.iter().map(|udp| (Transport::Udp, udp.local()));
        udp.chain(self.listeners.iter().map(|listener| (listener.transport(), listener.local()))).collect()
    }

    /// What the peer of an encrypted connection has shown, while that lives. `None` also for one whose handshake is
    /// still under way, and for a peer that has shown nothing, as most clients do.
    pub fn peer_certificate(&self, flow: FlowId) -> Option<Arc<CertificateSummary>> {
        self.connections.get(&flow)?.certificate.clone()
    }

    /// Pings a connection from now on as this says, whoever opened it; `None`: no more. For a registration over RFC 5626,
    /// with the `Flow-Timer` that the service has answered. A datagram's flow has no pings.
    pub fn set_keep_alive(&mut self, flow: FlowId, keep_alive: Option<KeepAlive>) {
        if let Some(connection) = self.connections.get(&flow) {
            connection.keep_alive.send_replace(keep_alive);
        }
    }

    /// Connections that are open or being opened.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Datagrams that were dropped because neither the system nor the queue had room.
    pub fn dropped_datagrams(&self) -> u64 {
        self.udp.iter().map(Udp::dropped).sum()
    }

    /// Waits for the next input.
    ///
    /// Connections are accepted and waiting datagrams written within this call too, so call it again soon.
    ///
    /// # Cancellation safety
    /// Cancellation safe: a future that is dropped has taken nothing.
    pub async fn recv(&mut self) -> Input {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for a caller that is a future itself.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if let Some(failure) = self.failures.pop_front() {
            return Poll::Ready(failure);
        }
        for udp in &mut self.udp {
            if udp.has_waiting() {
                let _ = udp.poll_flush(cx);
            }
        }
        self.poll_accept(cx);
        let sources = self.udp.len() + 1;
        for _ in 0..sources {
            self.turn = (self.turn + 1) % sources;
            let polled = match self.udp.get_mut(self.turn) {
                Some(udp) => udp.poll_recv(cx).map(|(flow, bytes)| Input::Message { flow, bytes }),
                None => self.poll_reports(cx),
            };
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }

    /// The next input, if there is one at this moment.
    pub fn try_recv(&mut self) -> Option<Input> {
        if let Some(failure) = self.failures.pop_front() {
            return Some(failure);
        }
        let sources = self.udp.len() + 1;
        for _ in 0..sources {
            self.turn = (self.turn + 1) % sources;
            let taken = match self.udp.get_mut(self.turn) {
                Some(udp) => udp.try_recv().map(|(flow, bytes)| Input::Message { flow, bytes }),
                None => self.reports.try_recv().ok().and_then(|report| self.take_report(report)),
            };
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// Sends a message, without ever waiting: over the flow that it names while that lives, else over a connection
    /// that leads to the same peer already (as RFC 5923 describes), else over a new one. An encrypted connection that
    /// was opened for one domain carries nothing for another, and one that a peer opened only what names it. An answer opens
    /// none but a TCP connection (RFC 3261, section 18.2.2).
    ///
    /// On a stream, a payload of two line ends alone is a ping (RFC 5626, section 3.5.1): it goes out as the transport's
    /// keep-alive, and a peer from which nothing comes within [`Limits::pong_timeout`](crate::Limits::pong_timeout) has
    /// failed. Only send it to one that has agreed to RFC 5626.
    ///
    /// What goes wrong is told by a later [`Input::FlowFailed`], or [`Input::NotSent`] where it concerns one datagram.
    pub fn send(&mut self, transmit: Transmit) {
        let Transmit { destination, flow, domain, payload } = transmit;
        let outcome = match destination.transport {
            Transport::Udp => self.send_datagram(destination, flow, payload).map_err(|reason| (None, reason)),
            _ => self.send_on_stream(Peer::new(destination, domain), flow, payload),
        };
        if let Err((flow, reason)) = outcome {
            tracing::debug!(%destination, %reason, "not sent");
            // Of a datagram's errors, only a missing route concerns whatever else goes there.
            let is_of_one = destination.transport == Transport::Udp && reason != FlowError::Unreachable;
            self.failures.push_back(if is_of_one {
                Input::NotSent { destination, reason }
            } else {
                Input::FlowFailed { destination, flow, reason }
            });
        }
    }

    /// Closes everything, after what waits to be written, but within this time.
    pub async fn close(mut self, within: Duration) {
        self.listeners.clear();
        self.connections.clear();
        // Nobody reads what still arrives, and a connection must not wait for that.
        self.reports.close();
        let tasks = &mut self.tasks;
        let udp = &mut self.udp;
        let all = async {
            for udp in udp {
                poll_fn(|cx| udp.poll_flush(cx)).await;
            }
            while tasks.join_next().await.is_some() {}
        };
        // Whatever is not out by now is cut off with the tasks, when they are dropped.
        let _ = timeout(within, all).await;
    }

    fn send_datagram(
        &mut self,
        destination: Destination,
        flow: Option<FlowId>,
        payload: Bytes,
    ) -> Result<(), FlowError> {
        let to = destination.remote;
        let fits = |udp: &Udp| udp.local().is_ipv4() == to.is_ipv4();
        let named = self.udp.iter().position(|udp| Some(udp.id()) == flow && fits(udp));
        let index = named.or_else(|| self.udp.iter().position(fits)).ok_or(FlowError::Unreachable)?;
        self.udp[index].send(to, payload)
    }

    fn send_on_stream(
        &mut self,
        peer: Peer,
        flow: Option<FlowId>,
        payload: Bytes,
    ) -> Result<(), (Option<FlowId>, FlowError)> {
        let may_carry = |connection: &Connection| {
            peer.domain.is_none() || connection.kind != Kind::Ours || connection.peer.domain == peer.domain
        };
        let living = flow
            .filter(|id| self.connections.get(id).is_some_and(may_carry))
            .or_else(|| self.by_peer.get(&peer).copied());
        // Nobody can prove to be who asked (RFC 5922 §7), and who spoke WebSocket listens nowhere (RFC 7118 §5): what belongs to
        // a connection that is gone is lost with it, and says nothing about what else goes there.
        let is_answer = payload.starts_with(b"SIP/2.0 ") && peer.destination.transport != Transport::Tcp;
        let id = match living {
            Some(id) => id,
            None if flow.is_some() && (is_answer || payload == b"\r\n"[..]) => {
                tracing::debug!(destination = %peer.destination, "the connection of an answer is gone");
                return Ok(());
            }
            None => self.open(peer).map_err(|reason| (flow, reason))?,
        };
        let Some(connection) = self.connections.get(&id) else {
            return Err((flow, FlowError::Closed));
        };
        connection.outgoing.push(payload).map_err(|reason| {
            if let Some(connection) = self.forget(id) {
                // What waits is not worth waiting for.
                connection.task.abort();
            }
            (Some(id), reason)
        })
    }

    /// Opens a connection; what is sent meanwhile waits in its queue.
    fn open(&mut self, peer: Peer) -> Result<FlowId, FlowError> {
        let transport = peer.destination.transport;
        if transport.is_secure() && self.terms.tls.is_none() {
            return Err(FlowError::Unsupported(transport.via_name()));
        }
        self.census.admit(peer.destination.remote.ip(), Kind::Ours, &self.terms.limits)?;
        let id = self.new_flow();
        let (outgoing, waiting) = connection::outgoing(&self.terms.limits);
        let pings = self.keep_alive.map(|interval| KeepAlive { interval, must_be_answered: false });
        let keep_alive = watch::Sender::new(pings);
        let manner = self.manner(&keep_alive, false);
        let ends = connection::Ends { waiting, reports: self.reporter.clone(), manner };
        let dial = establish::dial(peer.destination, peer.domain.clone(), id, ends, Arc::clone(&self.terms));
        let task = self.tasks.spawn(dial);
        self.remember(
            id,
            Connection { peer, kind: Kind::Ours, certificate: None, keep_alive, outgoing, task },
        );
        Ok(id)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.listeners.len() {
            while let Poll::Ready((stream, remote)) = self.listeners[index].poll_accept(cx) {
                let listener = &self.listeners[index];
                let (transport, local) = (listener.transport(), listener.local());
                if let Err(reason) = self.accept(transport, stream, local, remote) {
                    tracing::debug!(%remote, %reason, "connection not accepted");
                }
            }
        }
    }

    fn accept(
        &mut self,
        transport: Transport,
        stream: TcpStream,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(), FlowError> {
        let limits = &self.terms.limits;
        let kind = if transport == Transport::Tcp { Kind::Theirs } else { Kind::Shaking };
        self.census.admit(remote.ip(), kind, limits)?;
        let (outgoing, waiting) = connection::outgoing(limits);
        let id = self.new_flow();
        let local = stream.local_addr().unwrap_or(local);
        let flow = Flow { id, transport, local, remote };
        let keep_alive = watch::Sender::new(None);
        let manner = self.manner(&keep_alive, true);
        let ends = connection::Ends { waiting, reports: self.reporter.clone(), manner };
        let task = self.tasks.spawn(establish::receive(stream, flow, ends, Arc::clone(&self.terms)));
        let peer = Peer::new(flow.back(), None);
        self.remember(id, Connection { peer, kind, certificate: None, keep_alive, outgoing, task });
        Ok(())
    }

    fn poll_reports(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
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

    /// `None` for a report of a connection that was given up before it came.
    fn take_report(&mut self, report: Report) -> Option<Input> {
        match report {
            Report::Message(flow, bytes) => {
                self.connections.contains_key(&flow.id).then_some(Input::Message { flow, bytes })
            }
            Report::Opened(id, certificate) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.certificate = certificate;
                    if connection.kind == Kind::Shaking {
                        connection.kind = Kind::Theirs;
                        self.census.shaken(connection.peer.destination.remote.ip());
                    }
                }
                None
            }
            Report::Failed(id, reason) => {
                let destination = self.forget(id)?.peer.destination;
                tracing::debug!(%destination, flow = %id, %reason, "connection ended");
                Some(Input::FlowFailed { destination, flow: Some(id), reason })
            }
            Report::Unopened(id, reason) => {
                let connection = self.forget(id)?;
                let destination = connection.peer.destination;
                tracing::debug!(%destination, %reason, "no connection");
                // Of a stranger that never came in, nobody has heard and nobody need hear.
                (connection.kind == Kind::Ours).then_some(Input::FlowFailed {
                    destination,
                    flow: None,
                    reason,
                })
            }
        }
    }

    fn remember(&mut self, id: FlowId, connection: Connection) {
        if connection.kind == Kind::Ours || !connection.peer.destination.transport.is_secure() {
            self.by_peer.insert(connection.peer.clone(), id);
        }
        self.connections.insert(id, connection);
    }

    fn forget(&mut self, id: FlowId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if self.by_peer.get(&connection.peer) == Some(&id) {
            self.by_peer.remove(&connection.peer);
        }
        self.census.forget(connection.peer.destination.remote.ip(), connection.kind);
        // Tasks that have ended are held until they are asked after.
        while self.tasks.try_join_next().is_some() {}
        Some(connection)
    }

    fn manner(&self, keep_alive: &watch::Sender<Option<KeepAlive>>, is_accepted: bool) -> Manner {
        Manner { limits: Arc::clone(&self.terms.limits), keep_alive: keep_alive.subscribe(), is_accepted }
    }

    fn new_flow(&mut self) -> FlowId {
        let id = FlowId(self.next_flow);
        self.next_flow += 1;
        id
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets")
            .field("local", &self.local_addresses())
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}
