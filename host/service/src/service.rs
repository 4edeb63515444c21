//! The machine on real sockets, a real clock and a real disk.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use attache_net::{
    BindOptions, HttpAnswer, HttpLimits, HttpListener, HttpOptions, Input, MsrpOptions, MsrpSockets, Sockets,
    Tls, TlsError, source_address,
};
use attache_sip::transport::Transport;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::config::{ConfigError, ServiceConfig, TransportKind};
use crate::core::{ConferenceConfig, Core, CoreConfig, Statistics};
use crate::store::{Restored, Store, StoreError, What};
use crate::tokens::{self, AccessToken, TokenFileError};

/// Inputs taken with one wake-up, before anything else gets its turn.
const INPUT_BATCH: usize = 256;
/// How often the date is read anew.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);
/// How often the certificate is read anew.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// How often the file of access tokens is looked at.
const TOKEN_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes that wait for one connection's peer to read.
const QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// Time for what waits to be written when the service ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// What stands for no port: the one that discards (RFC 6135, section 4.1).
const NO_PORT: u16 = 9;
/// An address that nobody has (RFC 5737), only to see which way out this machine would take.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    /// The store of messages cannot be used.
    #[error("cannot keep messages: {0}")]
    Store(#[from] StoreError),
    /// The certificate or its key cannot be used.
    #[error("service.tls: {0}")]
    Tls(#[from] TlsError),
    /// The file of access tokens cannot be used.
    #[error("service.tokens.file: {0}")]
    Tokens(#[from] TokenFileError),
    /// The operating system has no random numbers.
    #[error("no random numbers: {0}")]
    Entropy(String),
}

/// A running service. Dropping it ends it, and so does [`shutdown`](Self::shutdown), which waits for the end.
#[derive(Debug)]
pub struct Service {
    local: Vec<(Transport, SocketAddr)>,
    xcap: Vec<SocketAddr>,
    msrp: Vec<(bool, SocketAddr)>,
    requests: mpsc::Sender<oneshot::Sender<Statistics>>,
    task: JoinHandle<()>,
}

impl Service {
    /// Starts a service. Must be called within a tokio runtime. It is ready for requests when this returns.
    ///
    /// # Errors
    /// When the configuration has a mistake, an address is in use, or the data folder cannot be used.
    pub fn start(config: &ServiceConfig) -> Result<Self, StartError> {
        let accounts = config.accounts()?;
        let options = &config.service;
        let limits = &options.limits;
        let message = limits.message_bytes.max(limits.publication_bytes) + 64 * 1024;
        let tls = options.tls(&config.base)?.map(|options| Tls::new(&options)).transpose()?;
        let listen = || {
            let all = [&options.listen, &options.listen_tls, &options.listen_ws, &options.listen_wss];
            all.into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let sockets = Sockets::bind(BindOptions {
            addresses: options.listen.clone(),
            udp: options.transports.contains(&TransportKind::Udp),
            tcp: options.transports.contains(&TransportKind::Tcp),
            tls_addresses: options.listen_tls.clone(),
            ws_addresses: options.listen_ws.clone(),
            wss_addresses: options.listen_wss.clone(),
            ws_path: options.ws_path.clone(),
            tls: tls.clone(),
            keep_alive: None,
            limits: attache_net::Limits {
                // The first NOTIFY for a long list goes out in one piece.
                max_queued_bytes: QUEUED_BYTES,
                max_connections: limits.connections,
                max_connections_per_host: limits.connections_per_source,
                max_message: message,
                ..attache_net::Limits::default()
            },
        })
        .map_err(|error| StartError::Listen(listen(), error))?;
        let listen_xcap = || options.xcap.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let http = HttpListener::bind(HttpOptions {
            addresses: options.xcap.clone(),
            tls: tls.clone(),
            limits: HttpLimits { max_body: limits.document_bytes, ..HttpLimits::default() },
        })
        .map_err(|error| StartError::Listen(listen_xcap(), error))?;
        let xcap = http.local_addresses();
        let factory = config.conference()?;
        let listen_msrp = || {
            let all = options.listen_msrp.iter().chain(&options.listen_msrp_tls);
            all.map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let streams = MsrpSockets::bind(MsrpOptions {
            addresses: options.listen_msrp.clone(),
            tls_addresses: options.listen_msrp_tls.clone(),
            tls: tls.clone(),
            limits: attache_net::Limits {
                max_connections: limits.connections,
                max_connections_per_host: limits.connections_per_source,
                ..attache_net::Limits::default()
            },
            ..MsrpOptions::default()
        })
        .map_err(|error| StartError::Listen(listen_msrp(), error))?;
        let msrp = streams.local_addresses();
        let (store, stored) = match &options.data_dir {
            Some(folder) => {
                let (store, stored) = Store::open(&config.base.join(folder))?;
                (Some(store), stored)
            }
            None => (None, Restored::default()),
        };
        let local = sockets.local_addresses();
        let reachable = |(transport, address): &(Transport, SocketAddr)| {
            let mut address = *address;
            if address.ip().is_unspecified() {
                let fallback = || source_address(ELSEWHERE).unwrap_or(Ipv4Addr::LOCALHOST.into());
                address.set_ip(options.advertise.unwrap_or_else(fallback));
            }
            (*transport, address)
        };
        let core = CoreConfig {
            accounts,
            domains: config.domains(),
            realm: config.realm(),
            limits: limits.clone(),
            local: local.iter().map(reachable).collect(),
            timers: attache_sip::transaction::Timers::default(),
            service_route: options.service_routes(),
            lists: config.lists()?,
            stored: stored.messages,
            documents: stored.documents,
            default_policy: options.default_policy,
            xcap_root: xcap
                .first()
                .map(|address| {
                    let scheme = if tls.is_some() { "https" } else { "http" };
                    let (_, address) = reachable(&(Transport::Tcp, *address));
                    format!("{scheme}://{address}/xcap-root")
                })
                .unwrap_or_default(),
            tokens: options.tokens.as_ref().map(|tokens| (tokens.authz_server.clone(), tokens.scope.clone())),
            conference: factory.map(|factory| {
                let at = |is_secure: bool| {
                    let found = msrp.iter().find(|(secure, _)| *secure == is_secure);
                    found.map(|(_, address)| reachable(&(Transport::Tcp, *address)).1)
                };
                let (plain, secure) = (at(false), at(true));
                let host = plain.or(secure).map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip());
                let port = |address: Option<SocketAddr>| address.map_or(NO_PORT, |address| address.port());
                ConferenceConfig { factory, host, port: port(plain), tls_port: port(secure) }
            }),
            is_durable: store.is_some(),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| StartError::Entropy(error.to_string()))?;
        let mut core = Core::new(core, Instant::now(), SystemTime::now(), seed);
        let token_file = options.tokens.as_ref().map(|tokens| config.base.join(&tokens.file));
        let before = token_file.as_deref().and_then(stamp);
        if let Some(file) = &token_file {
            core.set_tokens(tokens::read(file)?);
        }
        let (new_tokens, tokens) = mpsc::channel(1);
        let (requests, asked) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = run(core, Ends { sockets, http, streams }, store, asked, tokens) => {}
                () = renew(tls) => {}
                () = watch(token_file, before, new_tokens) => {}
            }
        });
        Ok(Self { local, xcap, msrp, requests, task })
    }

    /// The addresses that are listened on, with the ports that were taken.
    pub fn local_addrs(&self) -> &[(Transport, SocketAddr)] {
        &self.local
    }

    /// The addresses at which documents are served over HTTP, below `/xcap-root`, with the ports that were taken.
    pub fn xcap_addrs(&self) -> &[SocketAddr] {
        &self.xcap
    }

    /// The addresses at which connections for messages of conferences are taken, and whether over TLS, with the ports that
    /// were taken.
    pub fn msrp_addrs(&self) -> &[(bool, SocketAddr)] {
        &self.msrp
    }

    /// What the service holds. Zeros when it has ended.
    pub async fn statistics(&self) -> Statistics {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(answer).await.is_err() {
            return Statistics::default();
        }
        answered.await.unwrap_or_default()
    }

    /// Ends the service: what waits to be sent or kept is sent and kept first.
    pub async fn shutdown(self) {
        drop(self.requests);
        // A task that `ended` has waited for must not be asked again.
        if !self.task.is_finished()
            && let Err(error) = self.task.await
        {
            tracing::error!(%error, "the service did not end as it should");
        }
    }

    /// Waits until the service has ended, which it does by itself only after a failure.
    ///
    /// # Cancellation safety
    /// Cancellation safe: it can be called again, also when it has returned before.
    pub async fn ended(&mut self) {
        if !self.task.is_finished()
            && let Err(error) = (&mut self.task).await
        {
            tracing::error!(%error, "the service did not end as it should");
        }
    }
}

/// Reads the certificate again from time to time, so that a renewed one needs no restart. Never ends.
async fn renew(tls: Option<Tls>) {
    let Some(tls) = tls else { return std::future::pending().await };
    loop {
        tokio::time::sleep(RENEWAL_INTERVAL).await;
        let again = tls.clone();
        match tokio::task::spawn_blocking(move || again.reload()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the certificate cannot be read again: the old one is used");
            }
            Err(error) => tracing::error!(%error, "the certificate was not read again"),
        }
    }
}

/// What tells one state of a file from another.
type Stamp = (SystemTime, u64);

fn stamp(file: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(file).ok()?;
    Some((data.modified().ok()?, data.len()))
}

/// Reads the file of access tokens again whenever it was changed. Never ends.
async fn watch(file: Option<PathBuf>, mut before: Option<Stamp>, tokens: mpsc::Sender<Vec<AccessToken>>) {
    let Some(file) = file else { return std::future::pending().await };
    loop {
        tokio::time::sleep(TOKEN_INTERVAL).await;
        let path = file.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let stamp = stamp(&path);
            (stamp != before).then(|| (stamp, tokens::read(&path)))
        });
        match looked.await {
            Ok(None) => {}
            Ok(Some((stamp, read))) => {
                before = stamp;
                match read {
                    Ok(read) => {
                        if tokens.send(read).await.is_err() {
                            return std::future::pending().await;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the tokens cannot be read again: the old ones are used");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the tokens were not read again"),
        }
    }
}

/// All that the service listens on.
struct Ends {
    sockets: Sockets,
    http: HttpListener,
    streams: MsrpSockets,
}

async fn run(
    mut core: Core,
    ends: Ends,
    mut store: Option<Store>,
    mut asked: mpsc::Receiver<oneshot::Sender<Statistics>>,
    mut tokens: mpsc::Receiver<Vec<AccessToken>>,
) {
    let Ends { mut sockets, mut http, mut streams } = ends;
    let mut clock_read = Instant::now();
    let mut answers: HashMap<u64, HttpAnswer> = HashMap::new();
    let mut exchanges = 0;
    let sleep = sleep_until(Instant::now().into());
    tokio::pin!(sleep);
    loop {
        // It may have been renewed.
        core.set_stream_certificate(streams.fingerprint());
        while let Some(transmit) = core.poll_transmit() {
            sockets.send(transmit);
        }
        let now = Instant::now();
        while let Some(request) = core.poll_stream(now) {
            streams.request(request);
        }
        while let Some(change) = core.poll_store() {
            if let Some(store) = &store {
                store.change(change);
            }
        }
        while let Some((id, response)) = core.poll_http() {
            if let Some(answer) = answers.remove(&id) {
                answer.send(response);
            }
        }
        let deadline = core.poll_timeout();
        if let Some(deadline) = deadline
            && sleep.deadline() != deadline.into()
        {
            sleep.as_mut().reset(deadline.into());
        }
        tokio::select! {
            input = sockets.recv() => {
                let now = Instant::now();
                let mut next = Some(input);
                for _ in 0..INPUT_BATCH {
                    let Some(input) = next.take() else { break };
                    take(&mut core, now, input);
                    next = sockets.try_recv();
                }
                // One that was taken out is not put back.
                if let Some(input) = next {
                    take(&mut core, now, input);
                }
            }
            input = streams.recv() => {
                let now = Instant::now();
                core.handle_stream(now, input);
                for _ in 1..INPUT_BATCH {
                    let Some(input) = streams.try_recv() else { break };
                    core.handle_stream(now, input);
                }
            }
            exchange = http.recv() => {
                exchanges += 1;
                answers.insert(exchanges, exchange.answer);
                core.begin_http(Instant::now(), exchanges, exchange.peer, exchange.request);
            }
            () = &mut sleep, if deadline.is_some() => core.handle_timeout(Instant::now()),
            Some(kept) = kept(&mut store) => {
                let (now, outcome) = (Instant::now(), kept.outcome.as_ref().map_err(|error| &**error).copied());
                match kept.what {
                    What::Message(id) => core.handle_stored(now, id, outcome),
                    What::Document(ticket) => core.handle_document_stored(now, ticket, outcome),
                }
            }
            Some(read) = tokens.recv() => core.set_tokens(read),
            request = asked.recv() => match request {
                Some(answer) => {
                    let _ = answer.send(core.statistics());
                }
                None => break,
            },
        }
        if clock_read.elapsed() >= CLOCK_INTERVAL {
            clock_read = Instant::now();
            core.set_clock(clock_read, SystemTime::now());
        }
    }
    http.close(FAREWELL).await;
    streams.close(FAREWELL).await;
    sockets.close(FAREWELL).await;
    if let Some(store) = store
        && let Err(error) = tokio::task::spawn_blocking(|| store.close()).await
    {
        tracing::error!(%error, "the store did not end as it should");
    }
}

fn take(core: &mut Core, now: Instant, input: Input) {
    match input {
        Input::Message { flow, bytes } => core.handle_input(now, flow, bytes),
        Input::FlowFailed { destination, flow, reason } => {
            core.handle_flow_failed(now, destination, flow, &reason.to_string());
        }
        _ => {}
    }
}

/// The next answer of the store; never, where there is none.
async fn kept(store: &mut Option<Store>) -> Option<crate::store::Kept> {
    match store {
        Some(store) => store.kept.recv().await,
        None => std::future::pending().await,
    }
}
