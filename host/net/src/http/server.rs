//! Requests of others: accepted, read whole, and answered by whoever owns the listener.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use attache_sip::transport::Transport;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::patient::Patient;
use crate::census::party;
use crate::listener::Listener;
use crate::stream;
use crate::tls::Tls;

/// What an [`HttpListener`] listens on.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Addresses to listen on. Port 0 takes a free one.
    pub addresses: Vec<SocketAddr>,
    /// Serve HTTPS on all of them, with this certificate. `None`: HTTP.
    pub tls: Option<Tls>,
    /// Bounds.
    pub limits: HttpLimits,
}

/// Bounds on what clients can make an [`HttpListener`] hold or wait for.
///
/// In the worst case requests hold `(max_bodies + max_waiting) * max_body` bytes, and connections
/// `max_connections * max_head` besides.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Connections in all. More are closed as soon as they are accepted.
    pub max_connections: usize,
    /// Connections with one address, or one IPv6 network of 64 bits.
    pub max_connections_per_host: usize,
    /// Bytes of a request's first line and headers; at least 8192.
    pub max_head: usize,
    /// Headers of a request.
    pub max_headers: usize,
    /// Bytes of a request's body. A longer one is answered with 413.
    pub max_body: usize,
    /// Bodies that are being read or waiting for their answers at once, of which one address gets a quarter. Further requests with
    /// a body wait as long as a body may take, and are answered with 503 then.
    pub max_bodies: usize,
    /// Requests that wait for the owner of the listener.
    pub max_waiting: usize,
    /// Time for the TLS handshake.
    pub handshake_timeout: Duration,
    /// Time for the head of a request, and for the next request on a connection that is kept.
    pub head_timeout: Duration,
    /// Time for the body of a request. Too late is answered with 408.
    pub body_timeout: Duration,
    /// Time for a client to take the next part of an answer. Too late ends the connection.
    pub write_timeout: Duration,
    /// Time for the owner to answer. Too late is answered with 503.
    pub answer_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_connections_per_host: 32,
            max_head: 16 * 1024,
            max_headers: 64,
            max_body: 1024 * 1024,
            max_bodies: 128,
            max_waiting: 64,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
        }
    }
}

/// One request, and where its answer goes.
#[derive(Debug)]
#[non_exhaustive]
pub struct HttpExchange {
    /// The request, with its whole body.
    pub request: Request<Bytes>,
    /// Who asks.
    pub peer: SocketAddr,
    /// The address that was asked.
    pub local: SocketAddr,
    /// Whether the request came over TLS.
    pub is_secure: bool,
    /// Where the answer goes.
    pub answer: HttpAnswer,
}

/// Where an answer goes. Dropped without one, it answers 500.
#[derive(Debug)]
pub struct HttpAnswer(oneshot::Sender<Response<Bytes>>);

impl HttpAnswer {
    /// Answers. `Content-Length` and `Date` are added. A client that has gone away hears nothing.
    pub fn send(self, response: Response<Bytes>) {
        let _ = self.0.send(response);
    }
}

/// Accepts connections and hands out requests.
///
/// One task owns it and calls [`recv`](Self::recv) again and again: connections are accepted within that call.
/// Dropping it closes everything at once; [`close`](Self::close) lets answers out.
pub struct HttpListener {
    listeners: Vec<Listener>,
    tasks: JoinSet<IpAddr>,
    per_host: HashMap<IpAddr, usize>,
    requests: mpsc::Receiver<HttpExchange>,
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
}

struct Shared {
    tls: Option<Tls>,
    limits: HttpLimits,
    requests: mpsc::Sender<HttpExchange>,
    bodies: Semaphore,
    /// The shares of those who have bodies or want to.
    shares: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// One client gets one in so many of the bodies, or it could keep everybody else waiting.
const BODY_SHARE: usize = 4;

impl Shared {
    /// Waits for a place for a body, but not for ever.
    async fn place(&self, host: IpAddr) -> Option<(OwnedSemaphorePermit, SemaphorePermit<'_>)> {
        let share = self.share(party(host));
        let both = async { Some((share.acquire_owned().await.ok()?, self.bodies.acquire().await.ok()?)) };
        timeout(self.limits.body_timeout, both).await.ok().flatten()
    }

    fn share(&self, host: IpAddr) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&host).and_then(Weak::upgrade) {
            return share;
        }
        // Nobody waits for these, nor has a place.
        shares.retain(|_, share| share.strong_count() > 0);
        let most = (self.limits.max_bodies / BODY_SHARE).clamp(1, Semaphore::MAX_PERMITS);
        let share = Arc::new(Semaphore::new(most));
        shares.insert(host, Arc::downgrade(&share));
        share
    }
}

impl HttpListener {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of the operating system: an address in use, or one that this machine does not have. And
    /// [`io::ErrorKind::InvalidInput`] where TLS is asked for without a certificate to show.
    pub fn bind(options: HttpOptions) -> io::Result<Self> {
        let HttpOptions { addresses, tls, limits } = options;
        if tls.as_ref().is_some_and(|tls| !tls.can_serve()) {
            let words = "a certificate and its key are needed to serve HTTPS";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
        let listeners: io::Result<_> =
            addresses.into_iter().map(|address| Listener::bind(address, transport)).collect();
        let (sender, requests) = mpsc::channel(limits.max_waiting.max(1));
        let bodies = Semaphore::new(limits.max_bodies.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self {
            listeners: listeners?,
            tasks: JoinSet::new(),
            per_host: HashMap::new(),
            requests,
            shared: Arc::new(Shared { tls, limits, requests: sender, bodies, shares: Mutex::default() }),
            closing: watch::channel(false).0,
        })
    }

    /// The addresses that are listened on, with the ports that were taken.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::local).collect()
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.per_host.values().sum()
    }

    /// Waits for the next request.
    ///
    /// # Cancellation safety
    /// Cancellation safe: a future that is dropped has taken nothing.
    pub async fn recv(&mut self) -> HttpExchange {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for a caller that is a future itself.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<HttpExchange> {
        for index in 0..self.listeners.len() {
            while let Poll::Ready((stream, peer)) = self.listeners[index].poll_accept(cx) {
                let local = self.listeners[index].local();
                self.accept(stream, local, peer);
            }
        }
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            if let Ok(host) = ended
                && let Some(count) = self.per_host.get_mut(&host)
            {
                *count -= 1;
                if *count == 0 {
                    self.per_host.remove(&host);
                }
            }
        }
        match self.requests.poll_recv(cx) {
            Poll::Ready(Some(exchange)) => Poll::Ready(exchange),
            // This end holds a sender, so the queue never ends.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Accepts nothing more, and lets requests that were begun be answered, but within this time. Those that still wait
    /// for this listener's owner are answered with 503.
    pub async fn close(mut self, within: Duration) {
        self.listeners.clear();
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
        let _ = self.closing.send(true);
        let tasks = &mut self.tasks;
        let _ = timeout(within, async { while tasks.join_next().await.is_some() {} }).await;
    }

    fn accept(&mut self, stream: TcpStream, local: SocketAddr, peer: SocketAddr) {
        let limits = &self.shared.limits;
        let host = party(peer.ip());
        let of_host = self.per_host.get(&host).copied().unwrap_or(0);
        if of_host >= limits.max_connections_per_host || self.tasks.len() >= limits.max_connections {
            tracing::debug!(%peer, "too many HTTP connections");
            return;
        }
        self.per_host.insert(host, of_host + 1);
        let local = stream.local_addr().unwrap_or(local);
        let shared = Arc::clone(&self.shared);
        let closing = self.closing.subscribe();
        self.tasks.spawn(async move {
            serve(stream, local, peer, &shared, closing).await;
            host
        });
    }
}

impl fmt::Debug for HttpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpListener")
            .field("local", &self.local_addresses())
            .field("connections", &self.connection_count())
            .finish_non_exhaustive()
    }
}

/// One connection, to its end.
async fn serve(
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    shared: &Shared,
    mut closing: watch::Receiver<bool>,
) {
    let limits = &shared.limits;
    let _ = stream.set_nodelay(true);
    let transport = if shared.tls.is_some() { Transport::Tls } else { Transport::Tcp };
    let welcomed =
        timeout(limits.handshake_timeout, stream::welcome(stream, transport, shared.tls.as_ref())).await;
    let stream = match welcomed {
        Ok(Ok(stream)) => stream,
        Ok(Err(reason)) => return tracing::debug!(%peer, %reason, "no HTTPS connection"),
        Err(_) => return tracing::debug!(%peer, "no TLS handshake in time"),
    };
    let answer = service_fn(|request| async move {
        Ok::<_, Infallible>(exchange(request, local, peer, shared).await.map(Full::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.max_head.max(8192))
        .max_headers(limits.max_headers)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.write_timeout)), answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        // Sent once, or its sender is gone: the end either way.
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "HTTP connection ended");
    }
}

/// One request: read whole, handed over, answered.
async fn exchange(
    request: Request<Incoming>,
    local: SocketAddr,
    peer: SocketAddr,
    shared: &Shared,
) -> Response<Bytes> {
    let limits = &shared.limits;
    // Before anything is read: what is announced as too long needs no reading, and is not.
    if request.body().size_hint().lower() > limits.max_body as u64 {
        return last_word(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let _place = if request.body().size_hint().exact() == Some(0) {
        None
    } else {
        let place = shared.place(peer.ip()).await;
        if place.is_none() {
            return last_word(StatusCode::SERVICE_UNAVAILABLE);
        }
        place
    };
    let (head, body) = request.into_parts();
    let body = match timeout(limits.body_timeout, Limited::new(body, limits.max_body).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return last_word(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => return last_word(StatusCode::BAD_REQUEST),
        Err(_) => return last_word(StatusCode::REQUEST_TIMEOUT),
    };
    let (answer, answered) = oneshot::channel();
    let request = Request::from_parts(head, body);
    let is_secure = shared.tls.is_some();
    let exchange = HttpExchange { request, peer, local, is_secure, answer: HttpAnswer(answer) };
    let asked = async {
        if shared.requests.send(exchange).await.is_err() {
            return last_word(StatusCode::SERVICE_UNAVAILABLE);
        }
        answered.await.unwrap_or_else(|_| last_word(StatusCode::INTERNAL_SERVER_ERROR))
    };
    timeout(limits.answer_timeout, asked).await.unwrap_or_else(|_| last_word(StatusCode::SERVICE_UNAVAILABLE))
}

/// An answer without words, after which the connection closes.
fn last_word(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
