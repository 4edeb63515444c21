//! Requests of our own: connections that are kept and found again, and an answer within its time.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use attache_sip::transport::{Destination, Transport};
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::error::FlowError;
use crate::options::Limits;
use crate::resolve::{Query, ResolveError, Resolver};
use crate::stream;
use crate::tls::Tls;

/// What an [`HttpClient`] needs and keeps to.
#[derive(Clone)]
pub struct HttpClientOptions {
    /// Finds addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Whom to believe. `None`: only `http:` can be asked.
    pub tls: Option<Tls>,
    /// Time for one request in all, from looking up its host to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of an answer's body.
    pub max_body: usize,
    /// Requests at once to one host; further ones wait, within their time.
    pub max_per_host: usize,
    /// Hosts that are remembered.
    pub max_hosts: usize,
    /// Time after which an unused connection is closed.
    pub idle_timeout: Duration,
}

impl HttpClientOptions {
    /// The usual bounds: 30 s, 4 MiB, four requests at once to one host.
    pub fn new(resolver: Arc<dyn Resolver>, tls: Option<Tls>) -> Self {
        Self {
            resolver,
            tls,
            timeout: Duration::from_secs(30),
            max_body: 4 * 1024 * 1024,
            max_per_host: 4,
            max_hosts: 64,
            idle_timeout: Duration::from_secs(50),
        }
    }
}

impl fmt::Debug for HttpClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClientOptions")
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address cannot be asked by HTTP.
    #[error("`{0}` is no address that can be asked: it must begin with http:// or https:// and name a host")]
    BadAddress(String),
    /// The host was not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// None of the host's addresses could be reached.
    #[error("cannot reach {host}: {cause}")]
    Unreachable {
        /// Which host.
        host: String,
        /// Why, at the last address that was tried.
        cause: FlowError,
    },
    /// The answer did not come in time.
    #[error("no answer from {host} within {seconds} s")]
    Timeout {
        /// Which host.
        host: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The answer is longer than allowed.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// Which host.
        host: String,
        /// What is allowed.
        limit: usize,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("no answer from {host}: {cause}")]
    Broken {
        /// Which host.
        host: String,
        /// In the library's words.
        cause: String,
    },
}

/// Asks HTTP servers. A clone is the same one.
///
/// Redirections are answers like others, and nothing is asked twice: only a connection that turns out to have been
/// closed before a request was written to it is replaced without a word.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    options: HttpClientOptions,
    limits: Limits,
    hosts: Mutex<HashMap<Origin, Arc<Host>>>,
}

/// Scheme, host and port: what a connection can be shared for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Origin {
    is_secure: bool,
    host: String,
    port: u16,
}

struct Host {
    places: Semaphore,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Idle>,
    /// A task looks after those that nobody comes back for.
    is_tended: bool,
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl HttpClient {
    /// A client that has asked nobody yet.
    pub fn new(options: HttpClientOptions) -> Self {
        Self(Arc::new(Inner { options, limits: Limits::default(), hosts: Mutex::default() }))
    }

    /// Sends a request, whose address must be absolute, and waits for the whole answer. `Host` is added, and
    /// `Content-Length` where there is a body. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When no answer came. An answer such as 404 is no error.
    ///
    /// # Cancellation safety
    /// A future that is dropped may have sent its request, and closes its connection.
    pub async fn request(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let origin = Origin::of(request.uri())?;
        let patience = self.0.options.timeout;
        timeout(patience, self.exchange(&origin, request))
            .await
            .unwrap_or_else(|_| Err(HttpError::Timeout { host: origin.host, seconds: patience.as_secs() }))
    }

    async fn exchange(&self, origin: &Origin, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let options = &self.0.options;
        let broken =
            |error: hyper::Error| HttpError::Broken { host: origin.host.clone(), cause: words(&error) };
        let host = self.host(origin);
        let _place = host.places.acquire().await;
        let mut request = origin_form(origin, request)?.map(Full::new);
        // Connections that were kept may be closed by now; each is tried, and what it did not take goes to the next.
        let (sender, response) = loop {
            let (mut sender, is_fresh) = match host.take(options.idle_timeout) {
                Some(sender) => (sender, false),
                None => (self.connect(origin).await?, true),
            };
            if sender.ready().await.is_err() && !is_fresh {
                continue;
            }
            // Some servers close what they kept without a word, just when the next request is on its way. Nobody has
            // answered it; where doing it twice does no harm, it is sent again (RFC 9110, section 9.2.2).
            let copy = (!is_fresh && request.method().is_idempotent()).then(|| request.clone());
            match sender.try_send_request(request).await {
                Ok(response) => break (sender, response),
                Err(mut error) => match error.take_message().or(copy) {
                    Some(unanswered) if !is_fresh => request = unanswered,
                    _ => return Err(broken(error.into_error())),
                },
            }
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, options.max_body).collect().await.map_err(|error| match error
            .downcast::<hyper::Error>(
        ) {
            Ok(error) => broken(*error),
            Err(error) if error.is::<LengthLimitError>() => {
                HttpError::TooLarge { host: origin.host.clone(), limit: options.max_body }
            }
            Err(error) => HttpError::Broken { host: origin.host.clone(), cause: error.to_string() },
        })?;
        host.put(sender, options.max_per_host, options.idle_timeout);
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn connect(&self, origin: &Origin) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let options = &self.0.options;
        let query = Query {
            host: origin.host.clone(),
            port: Some(origin.port),
            transport: Some(Transport::Tcp),
            secure: false,
        };
        let mut cause = FlowError::Unreachable;
        for found in options.resolver.resolve(query).await? {
            match self.connect_to(origin, found.remote).await {
                Ok(sender) => return Ok(sender),
                Err(reason) => cause = reason,
            }
        }
        Err(HttpError::Unreachable { host: origin.host.clone(), cause })
    }

    async fn connect_to(
        &self,
        origin: &Origin,
        remote: SocketAddr,
    ) -> Result<SendRequest<Full<Bytes>>, FlowError> {
        let limits = &self.0.limits;
        // The web's rules for names are those that secure WebSocket has.
        let transport = if origin.is_secure { Transport::Wss } else { Transport::Tcp };
        let peer = Destination { transport, remote };
        let stream = stream::connect(peer, limits).await?;
        let patience = limits.handshake_timeout;
        let secured = stream::secure(stream, peer, Some(&origin.host), self.0.options.tls.as_ref());
        let stream = timeout(patience, secured)
            .await
            .unwrap_or(Err(FlowError::HandshakeTimeout(patience.as_secs())))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| FlowError::Other(words(&error)))?;
        // Ends when the sender is dropped, or the peer closes.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn host(&self, origin: &Origin) -> Arc<Host> {
        let mut hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(origin) {
            return Arc::clone(host);
        }
        if hosts.len() >= self.0.options.max_hosts {
            // Those that nobody is asking just now.
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let host = Arc::new(Host {
            places: Semaphore::new(self.0.options.max_per_host.max(1)),
            pool: Mutex::default(),
        });
        hosts.insert(origin.clone(), Arc::clone(&host));
        host
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpClient").field(&self.0.options).finish()
    }
}

impl Host {
    fn take(&self, idle_timeout: Duration) -> Option<SendRequest<Full<Bytes>>> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.expire(idle_timeout);
        pool.idle.pop().map(|one| one.sender)
    }

    fn put(self: &Arc<Self>, sender: SendRequest<Full<Bytes>>, most: usize, idle_timeout: Duration) {
        if sender.is_closed() {
            return;
        }
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.idle.truncate(most.saturating_sub(1));
        pool.idle.push(Idle { sender, since: Instant::now() });
        if !std::mem::replace(&mut pool.is_tended, true) {
            tokio::spawn(tend(Arc::downgrade(self), idle_timeout));
        }
    }
}

impl Pool {
    fn expire(&mut self, idle_timeout: Duration) {
        self.idle.retain(|one| !one.sender.is_closed() && one.since.elapsed() < idle_timeout);
    }
}

/// Closes the connections of a host that nobody comes back for.
async fn tend(host: Weak<Host>, idle_timeout: Duration) {
    loop {
        sleep(idle_timeout).await;
        let Some(host) = host.upgrade() else { return };
        let mut pool = host.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.expire(idle_timeout);
        if pool.idle.is_empty() {
            pool.is_tended = false;
            return;
        }
    }
}

impl Origin {
    fn of(uri: &Uri) -> Result<Self, HttpError> {
        let is_secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(HttpError::BadAddress(uri.to_string())),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| HttpError::BadAddress(uri.to_string()))?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Self { is_secure, host, port })
    }
}

/// The request as it is written to its own server: the path alone, and `Host` (RFC 9112 §3.2.1).
fn origin_form(origin: &Origin, mut request: Request<Bytes>) -> Result<Request<Bytes>, HttpError> {
    let bad = || HttpError::BadAddress(request.uri().to_string());
    let authority = match (origin.is_secure, origin.port) {
        (false, 80) | (true, 443) => origin.host.clone(),
        _ => format!("{}:{}", origin.host, origin.port),
    };
    let host = HeaderValue::try_from(authority).map_err(|_| bad())?;
    let path = request.uri().path_and_query().cloned().ok_or_else(bad)?;
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().entry(header::HOST).or_insert(host);
    Ok(request)
}

/// An error with those that it comes from, for hyper's own words are few.
fn words(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
