//! One task owns one account's engine: it alone touches it, so no lock is held while anything else runs.

use core::time::Duration;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use attache_messenger::{
    command::{Accepted, Answer, Command},
    engine::{Engine, EngineConfig, HttpId},
    event::{Event, EventKind},
    id::{AccountId, FileId, LeaseId, RequestId},
    presence::{Presence, UnknownReason},
    storage::{Batch, BatchId, JournalEvent, Storage, StorageError, Write},
    time::Now,
};
use attache_msrp::StreamInput;
use attache_net::{HttpClient, Input, MsrpSockets, Query, Resolver, Sockets, Tls};
use attache_plugin_host::PluginHost;
use attache_sip::{resolve::ResolveId, transport::Destination};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::{Instrument, debug, info_span};

use crate::{
    Address, Code, Connection, Error, Secret, Snapshot,
    connection::Track,
    delegates::{Asked as Asking, Deed, Delegates},
    events, files,
    place::Place,
    services::ServiceName,
};

/// Commands that wait for the task; more of them make the caller wait.
const COMMANDS: usize = 256;
/// How long a lease of the application is taken for, each time.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often leases are taken anew.
const RENEW: Duration = Duration::from_secs(12 * 60 * 60);

/// What handles hold. The task holds none of it but the snapshot, so that it ends when every handle is gone.
pub(crate) struct Shared {
    pub(crate) address: Address,
    snapshot: Arc<ArcSwap<Snapshot>>,
    connection: Arc<ArcSwap<Connection>>,
    events: broadcast::WeakSender<Arc<[Event]>>,
    commands: mpsc::Sender<Request>,
    /// Whom the account believes: the host's, or its own.
    pub(crate) tls: Tls,
    /// Closed when the task has ended.
    running: watch::Receiver<()>,
    /// The account's service.
    pub(crate) service: ServiceName,
    /// The access token that was last given; none where a password says who it is.
    pub(crate) token: Arc<ArcSwapOption<Secret>>,
    /// Position among the accounts of the host, by the time of their adding.
    pub(crate) order: u64,
}

/// A lease of the application, and how it is told what changes. Wherever it is dropped, also on its way to whoever asked,
/// it is given back.
pub(crate) struct Leased {
    lease: LeaseId,
    pub(crate) presence: watch::Receiver<Arc<Presence>>,
    released: mpsc::UnboundedSender<LeaseId>,
}

impl Drop for Leased {
    fn drop(&mut self) {
        let _ = self.released.send(self.lease);
    }
}

/// What is done with the engine beside commands.
type Function = Box<dyn FnOnce(&mut Engine, Now) + Send>;

pub(crate) enum Request {
    Command {
        command: Command,
        answer: oneshot::Sender<Answer>,
        /// Hears of the completion as well.
        done: Option<oneshot::Sender<Result<(), Error>>>,
    },
    /// Watch somebody until the lease is given back.
    Watch { address: Address, answer: oneshot::Sender<Result<Leased, Error>> },
    /// A command about a file, which is open; it is known already, or the answer names it.
    File {
        command: Command,
        known: Option<FileId>,
        open: files::Open,
        answer: oneshot::Sender<Answer>,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Look at the engine, or do with it what is no command.
    With(Function),
    /// Sign out, tell the service, and end the task.
    Stop,
}

impl Shared {
    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.connection.load_full()
    }

    pub(crate) async fn watch(&self, address: Address) -> Result<Leased, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Watch { address, answer }).await?;
        answered.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// What a function of the engine answers.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        function: impl FnOnce(&mut Engine, Now) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let function = move |engine: &mut Engine, now: Now| {
            let _ = answer.send(function(engine, now));
        };
        self.send(Request::With(Box::new(function))).await?;
        answered.await.map_err(|_| self.closed())
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn view(self: &Arc<Self>) -> events::View {
        // Subscribed first: an event that comes between is in both, and the stream leaves it out by its number.
        let receiver = match self.events.upgrade() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        };
        let snapshot = self.snapshot();
        let seen = snapshot.seq;
        events::View { snapshot, changes: events::Changes::new(self.clone(), receiver, seen) }
    }

    fn closed(&self) -> Error {
        Error::new(
            Code::Closed,
            format!("the account {} was removed or the host has shut down", self.address),
        )
    }

    /// Answers when the command was taken on.
    pub(crate) async fn command(&self, command: Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Command { command, answer, done: None }).await?;
        answered.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Answers when the command was taken on, with how it completes.
    pub(crate) async fn begin(
        &self,
        command: Command,
    ) -> Result<(Accepted, oneshot::Receiver<Result<(), Error>>), Error> {
        let (answer, answered) = oneshot::channel();
        let (done, completed) = oneshot::channel();
        self.send(Request::Command { command, answer, done: Some(done) }).await?;
        let accepted = answered.await.unwrap_or_else(|_| Err(self.closed()))?;
        Ok((accepted, completed))
    }

    /// As [`begin`](Self::begin), of a command about a file.
    pub(crate) async fn file(
        &self,
        command: Command,
        known: Option<FileId>,
        open: files::Open,
    ) -> Result<(Accepted, oneshot::Receiver<Result<(), Error>>), Error> {
        let (answer, answered) = oneshot::channel();
        let (done, completed) = oneshot::channel();
        self.send(Request::File { command, known, open, answer, done }).await?;
        let accepted = answered.await.unwrap_or_else(|_| Err(self.closed()))?;
        Ok((accepted, completed))
    }

    /// Answers when the command has completed.
    pub(crate) async fn complete(&self, command: Command) -> Result<Accepted, Error> {
        let (accepted, completed) = self.begin(command).await?;
        completed.await.unwrap_or_else(|_| Err(self.closed()))?;
        Ok(accepted)
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.commands.send(request).await.map_err(|_| self.closed())
    }

    /// Signs out and waits for the end of the task, whoever stopped it first; at once when it has ended.
    pub(crate) async fn stop(&self) {
        // Not taken on when it is stopping already.
        let _ = self.commands.send(Request::Stop).await;
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
    }
}

/// Everything that a task needs to begin.
pub(crate) struct Setup {
    pub(crate) config: EngineConfig,
    pub(crate) net: Sockets,
    /// Connections of message sessions; none where there shall be no such sessions.
    pub(crate) streams: Option<MsrpSockets>,
    pub(crate) place: Place,
    pub(crate) tls: Tls,
    pub(crate) http: HttpClient,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) plugins: Arc<PluginHost>,
    /// Whether nobody is there to read messages: they are refused for now, so that the service keeps them.
    pub(crate) refuses_messages: bool,
    pub(crate) delegates: Delegates,
    pub(crate) service: ServiceName,
    pub(crate) token: Option<Secret>,
    pub(crate) order: u64,
}

/// An account whose task has not begun.
pub(crate) struct Ready {
    pub(crate) shared: Arc<Shared>,
    task: Task,
}

/// Reads what the store holds.
pub(crate) async fn prepare(setup: Setup) -> Result<Ready, Error> {
    let Setup {
        config,
        net,
        streams,
        place,
        tls,
        http,
        resolver,
        storage,
        plugins,
        refuses_messages,
        delegates,
        ..
    } = setup;
    let address = config.address.clone();
    let account = address.account_id();
    let restored = storage.load(account, &address).await.map_err(|error| {
        let code = if matches!(error, StorageError::Full(_)) { Code::StorageFull } else { Code::Storage };
        Error::new(code, format!("the store has no state for {address}")).because(error.to_string())
    })?;
    let engine = Engine::new(config, restored, Now::read());
    let (events, _) = broadcast::channel(events::CAPACITY);
    let (commands, requests) = mpsc::channel(COMMANDS);
    let (released, releases) = mpsc::unbounded_channel();
    let (running, ended) = watch::channel(());
    let snapshot = Arc::new(ArcSwap::from_pointee(engine.snapshot()));
    let track = Track::default();
    let token = Arc::new(ArcSwapOption::from_pointee(setup.token));
    let shared = Arc::new(Shared {
        address: address.clone(),
        snapshot: snapshot.clone(),
        connection: track.shared(),
        events: events.downgrade(),
        commands,
        tls,
        running: ended,
        service: setup.service,
        token: token.clone(),
        order: setup.order,
    });
    let task = Task {
        account,
        address,
        snapshot,
        engine,
        net,
        streams,
        place,
        http,
        resolver,
        storage,
        plugins,
        refuses_messages,
        delegates,
        token,
        events,
        requests,
        releases,
        released,
        track,
        leases: HashMap::new(),
        watched: HashMap::new(),
        renew_at: None,
        answers: HashMap::new(),
        done: HashMap::new(),
        next_token: 0,
        batch: Vec::new(),
        storing: FuturesUnordered::new(),
        resolving: FuturesUnordered::new(),
        asking: FuturesUnordered::new(),
        deciding: FuturesUnordered::new(),
        files: files::Files::default(),
        stopping: None,
        _running: running,
    };
    Ok(Ready { shared, task })
}

impl Ready {
    /// Starts the task. Whoever plugins ask for the account must know it by now.
    pub(crate) fn begin(self) -> Arc<Shared> {
        let Self { shared, task } = self;
        task.plugins.add_account(task.account, task.address.clone(), task.engine.snapshot().seq);
        let span = info_span!("account", id = %task.account);
        tokio::spawn(task.run().instrument(span));
        shared
    }
}

type BoxFuture<T> = core::pin::Pin<Box<dyn Future<Output = T> + Send>>;
type Stored = (BatchId, Result<(), StorageError>);
type Resolved = (ResolveId, Result<Vec<Destination>, String>);
type Asked = (HttpId, Result<http::Response<Bytes>, String>);

/// Who waits for an answer of the engine.
enum Waiting {
    Command(oneshot::Sender<Answer>, Option<oneshot::Sender<Result<(), Error>>>),
    Watch(Address, oneshot::Sender<Result<Leased, Error>>),
    /// A file that is sent, and one that arrives.
    Offer(files::Open, oneshot::Sender<Answer>, oneshot::Sender<Result<(), Error>>),
    Take(FileId, oneshot::Sender<Answer>, oneshot::Sender<Result<(), Error>>),
}

struct Task {
    account: AccountId,
    address: Address,
    snapshot: Arc<ArcSwap<Snapshot>>,
    engine: Engine,
    net: Sockets,
    streams: Option<MsrpSockets>,
    place: Place,
    http: HttpClient,
    resolver: Arc<dyn Resolver>,
    storage: Arc<dyn Storage>,
    plugins: Arc<PluginHost>,
    refuses_messages: bool,
    delegates: Delegates,
    token: Arc<ArcSwapOption<Secret>>,
    events: broadcast::Sender<Arc<[Event]>>,
    requests: mpsc::Receiver<Request>,
    releases: mpsc::UnboundedReceiver<LeaseId>,
    /// For leases to come back by. Unbounded, because what is dropped cannot wait; there are never more in it than there were
    /// leases.
    released: mpsc::UnboundedSender<LeaseId>,
    track: Track,
    /// Leases of the application, which are taken anew until they are given back.
    leases: HashMap<LeaseId, Address>,
    /// Who is told of people under a lease, and how many leases there are.
    watched: HashMap<Address, (watch::Sender<Arc<Presence>>, usize)>,
    renew_at: Option<Instant>,
    answers: HashMap<u64, Waiting>,
    done: HashMap<RequestId, oneshot::Sender<Result<(), Error>>>,
    next_token: u64,
    batch: Vec<Event>,
    storing: FuturesUnordered<BoxFuture<Stored>>,
    resolving: FuturesUnordered<BoxFuture<Resolved>>,
    asking: FuturesUnordered<BoxFuture<Asked>>,
    /// Questions to the application.
    deciding: FuturesUnordered<Asking>,
    files: files::Files,
    stopping: Option<Instant>,
    /// Dropped last: nothing of the account is left then.
    _running: watch::Sender<()>,
}

/// What comes on connections of message sessions, if there shall be any. Cancellation safe.
async fn received(streams: &mut Option<MsrpSockets>) -> StreamInput {
    match streams {
        Some(streams) => streams.recv().await,
        None => core::future::pending().await,
    }
}

/// Where peers reach the sockets of message sessions, in the clear and over TLS. A port that discards where they listen
/// nowhere.
pub(crate) fn stream_address(local: &[(bool, SocketAddr)], source: IpAddr) -> (String, u16, u16) {
    let port = |wanted| {
        let found = local.iter().find(|(secure, _)| *secure == wanted);
        found.map_or(NO_PORT, |(_, address)| address.port())
    };
    (source.to_string(), port(false), port(true))
}

/// The port that discards: nobody is there to be connected to (RFC 6135, section 4.1).
pub(crate) const NO_PORT: u16 = 9;
/// Inputs of message sessions that are taken at once, before others have their turn.
const STREAM_INPUTS: usize = 64;

/// How long a sign-out may take before the task ends without the service's word.
const SIGN_OUT: Duration = Duration::from_secs(3);

impl Task {
    async fn run(mut self) {
        loop {
            self.drain();
            if self.finished() {
                break;
            }
            let deadline =
                [self.engine.poll_timeout(), self.stopping, self.renew_at].into_iter().flatten().min();
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                input = self.net.recv() => self.input(input),
                input = received(&mut self.streams) => self.stream(input),
                request = self.requests.recv(), if self.stopping.is_none() => match request {
                    Some(request) => self.request(request),
                    // Every handle is gone, the host's own among them: nobody is left to stop this task.
                    None => self.stop(),
                },
                Some((batch, result)) = self.storing.next() => {
                    if let Err(error) = &result
                        && !self.refuses_messages
                    {
                        tracing::error!(%error, "the store refused a batch");
                    }
                    self.engine.handle_stored(Now::read(), batch, result);
                }
                Some((id, result)) = self.resolving.next() => {
                    self.track.resolved(id, &result);
                    if let Ok(found) = &result {
                        let remotes = found.iter().map(|found| found.remote).collect();
                        let moved = self.place.found(remotes, Instant::now());
                        self.relocate(moved);
                    }
                    self.engine.handle_resolved(Now::read(), id, result);
                }
                Some((id, answer)) = self.asking.next() => self.engine.handle_http(Now::read(), id, answer),
                Some(deed) = self.deciding.next() => match deed {
                    Deed::Command(command) => self.tell(command),
                    Deed::Token(token) => {
                        self.token.store(Some(Arc::new(token.clone())));
                        self.engine.set_token(Now::read(), token);
                    }
                    Deed::Nothing => {}
                },
                input = self.files.next() => self.engine.handle_file(Now::read(), input),
                Some(lease) = self.releases.recv() => self.release(lease),
                () = timer => {
                    let moved = self.place.passing(Instant::now());
                    self.relocate(moved);
                    self.engine.handle_timeout(Now::read());
                    self.renew();
                }
            }
        }
        self.plugins.remove_account(self.account);
    }

    /// Signed out and everything kept, or out of patience.
    fn finished(&self) -> bool {
        let Some(until) = self.stopping else { return false };
        let quiet =
            self.engine.snapshot().session == crate::SessionState::SignedOut && self.storing.is_empty();
        quiet || until <= Instant::now()
    }

    fn input(&mut self, input: Input) {
        let now = Now::read();
        match input {
            Input::Message { flow, bytes } => {
                self.track.heard(flow, || self.net.peer_certificate(flow.id));
                self.engine.handle_input(now, flow, bytes);
            }
            Input::FlowFailed { destination, flow, reason } => {
                debug!(%reason, "flow failed");
                self.track.failed(destination, flow, &reason);
                let moved = self.place.failed(Instant::now());
                self.relocate(moved);
                self.engine.handle_flow_failed(now, destination, flow, &reason.to_string());
            }
            Input::NotSent { .. } => {
                let moved = self.place.failed(Instant::now());
                self.relocate(moved);
            }
            _ => {}
        }
    }

    /// Takes what came on connections of message sessions, and what else is there by now.
    fn stream(&mut self, input: StreamInput) {
        let now = Now::read();
        let mut next = Some(input);
        for _ in 0..STREAM_INPUTS {
            let Some(input) = next else { break };
            self.engine.handle_stream(now, input);
            next = self.streams.as_mut().and_then(MsrpSockets::try_recv);
        }
        if let Some(input) = next {
            self.engine.handle_stream(now, input);
        }
    }

    /// Takes the sockets to where this machine is now. Where that fails, the next look tries again.
    fn relocate(&mut self, moved: Option<Vec<IpAddr>>) {
        let Some(sources) = moved else { return };
        let addresses: Vec<SocketAddr> = sources.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        match self.net.rebind(&addresses) {
            Ok(local) => {
                debug!(?sources, "this machine has another address");
                self.place.moved(sources);
                self.engine.set_local(Now::read(), local);
                self.relocate_streams(&addresses);
            }
            Err(error) => debug!(?sources, %error, "no socket at this machine's new address"),
        }
    }

    /// Sessions that are there keep their connections; those that come later name the new address.
    fn relocate_streams(&mut self, addresses: &[SocketAddr]) {
        let (Some(streams), Some(first)) = (&mut self.streams, addresses.first()) else { return };
        match streams.rebind(&[*first], &[*first]) {
            Ok(local) => {
                let (host, port, tls_port) = stream_address(&local, first.ip());
                self.engine.set_stream_address(&host, port, tls_port);
            }
            Err(error) => debug!(%error, "no socket for message sessions at this machine's new address"),
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Command { command, answer, done } => {
                let token = self.token();
                self.answers.insert(token, Waiting::Command(answer, done));
                self.engine.handle_command(Now::read(), token, command);
            }
            Request::Watch { address, answer } => {
                let token = self.token();
                self.answers.insert(token, Waiting::Watch(address.clone(), answer));
                self.engine.handle_command(Now::read(), token, Command::Watch { address, ttl: LEASE });
            }
            Request::File { command, known, open, answer, done } => {
                let token = self.token();
                let waiting = match known {
                    Some(file) => {
                        // Before the command: the first piece may come with its answer.
                        self.files.insert(file, open);
                        Waiting::Take(file, answer, done)
                    }
                    None => Waiting::Offer(open, answer, done),
                };
                self.answers.insert(token, waiting);
                self.engine.handle_command(Now::read(), token, command);
            }
            Request::With(function) => function(&mut self.engine, Now::read()),
            Request::Stop => self.stop(),
        }
    }

    fn stop(&mut self) {
        self.stopping = Some(Instant::now() + SIGN_OUT);
        self.requests.close();
        self.tell(Command::SignOut);
    }

    fn token(&mut self) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    /// A command of the task itself, whose answer nobody waits for.
    fn tell(&mut self, command: Command) {
        let token = self.token();
        self.engine.handle_command(Now::read(), token, command);
    }

    fn release(&mut self, lease: LeaseId) {
        let Some(address) = self.leases.remove(&lease) else { return };
        self.tell(Command::Unwatch(lease));
        if let Entry::Occupied(mut readers) = self.watched.entry(address) {
            readers.get_mut().1 -= 1;
            if readers.get().1 == 0 {
                readers.remove();
            }
        }
        if self.leases.is_empty() {
            self.renew_at = None;
        }
    }

    fn renew(&mut self) {
        if self.renew_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        for lease in self.leases.keys().copied().collect::<Vec<_>>() {
            self.tell(Command::ExtendLease { lease, ttl: LEASE });
        }
        self.renew_at = Some(Instant::now() + RENEW);
    }

    /// Begins to tell a reader of the application about somebody.
    fn leased(&mut self, address: Address, lease: LeaseId, reply: oneshot::Sender<Result<Leased, Error>>) {
        self.renew_at.get_or_insert_with(|| Instant::now() + RENEW);
        let snapshot = Arc::new(self.engine.snapshot());
        // Whoever has the lease finds it there.
        self.snapshot.store(snapshot.clone());
        let now = snapshot.watched.get(&address).map_or_else(
            || Arc::new(Presence::unknown(UnknownReason::Pending)),
            |entry| entry.presence.clone(),
        );
        self.leases.insert(lease, address.clone());
        let (readers, leases) =
            self.watched.entry(address).or_insert_with(|| (watch::Sender::new(now.clone()), 0));
        *leases += 1;
        show(readers, &now);
        // If nobody waits any more, it comes back by being dropped.
        let _ =
            reply.send(Ok(Leased { lease, presence: readers.subscribe(), released: self.released.clone() }));
    }

    /// Passes on everything that the engine has to say.
    fn drain(&mut self) {
        while let Some(resolve) = self.engine.poll_resolve() {
            let resolver = self.resolver.clone();
            self.track.asks(&resolve);
            self.resolving.push(Box::pin(async move {
                let query = Query {
                    host: resolve.host,
                    port: resolve.port,
                    transport: resolve.transport,
                    secure: resolve.secure,
                };
                (resolve.id, resolver.resolve(query).await.map_err(|error| error.to_string()))
            }));
        }
        while let Some(transmit) = self.engine.poll_transmit() {
            self.net.send(transmit);
        }
        while let Some(request) = self.engine.poll_stream() {
            if let Some(streams) = &mut self.streams {
                streams.request(request);
            }
        }
        while let Some((id, request)) = self.engine.poll_http() {
            let http = self.http.clone();
            self.asking.push(Box::pin(async move {
                (id, http.request(request).await.map_err(|error| error.to_string()))
            }));
        }
        while let Some((token, answer)) = self.engine.poll_answer() {
            self.answer(token, answer);
        }
        self.batch.clear();
        while let Some(event) = self.engine.poll_event() {
            self.batch.push(event);
        }
        if !self.batch.is_empty() {
            self.publish();
        }
        while let Some(request) = self.engine.poll_file() {
            self.files.request(request);
        }
        // Last: numbering events may have asked for a write.
        while let Some((id, batch)) = self.engine.poll_batch() {
            self.store(id, batch);
        }
    }

    fn answer(&mut self, token: u64, answer: Answer) {
        match self.answers.remove(&token) {
            Some(Waiting::Command(reply, done)) => {
                if let Ok(accepted) = &answer {
                    if let Some(done) = done {
                        self.done.insert(accepted.request, done);
                    }
                    if accepted.conversation.is_some() || accepted.call.is_some() {
                        // Whoever is told of it finds it there.
                        self.snapshot.store(Arc::new(self.engine.snapshot()));
                    }
                }
                let _ = reply.send(answer);
            }
            Some(Waiting::Watch(address, reply)) => match answer {
                Ok(Accepted { lease: Some(lease), .. }) => self.leased(address, lease, reply),
                Ok(_) => {
                    let _ = reply.send(Err(Error::new(Code::Internal, "a watched person has no lease")));
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
            Some(Waiting::Offer(open, reply, done)) => {
                if let Ok(accepted) = &answer {
                    self.done.insert(accepted.request, done);
                    if let Some(file) = accepted.file {
                        self.files.insert(file, open);
                        self.snapshot.store(Arc::new(self.engine.snapshot()));
                    }
                }
                let _ = reply.send(answer);
            }
            Some(Waiting::Take(file, reply, done)) => {
                match &answer {
                    Ok(accepted) => drop(self.done.insert(accepted.request, done)),
                    Err(_) => self.files.abandon(file),
                }
                let _ = reply.send(answer);
            }
            None => {}
        }
    }

    fn publish(&mut self) {
        // The snapshot first: whoever reads it after an event, or after a completion, sees at least what it says.
        self.snapshot.store(Arc::new(self.engine.snapshot()));
        for event in &self.batch {
            self.deciding.extend(self.delegates.hear(&self.address, event));
            match &event.kind {
                EventKind::CommandCompleted { request, outcome } => {
                    if let Some(done) = self.done.remove(request) {
                        let _ = done.send(outcome.clone());
                    }
                }
                EventKind::WatchedPresenceChanged(changes) => {
                    for change in changes.iter() {
                        if let Some((readers, _)) = self.watched.get(&change.address) {
                            show(readers, &change.presence);
                        }
                    }
                }
                _ => {}
            }
        }
        let batch: Arc<[Event]> = self.batch.drain(..).collect();
        self.plugins.publish(&batch);
        let _ = self.events.send(batch);
    }

    fn store(&mut self, id: BatchId, batch: Batch) {
        let received = |write: &Write| matches!(write, Write::AppendJournal(entry) if matches!(entry.event, JournalEvent::MessageReceived(_)));
        if self.refuses_messages && batch.writes.iter().any(received) {
            let refused = Err(StorageError::Full("messages are not taken here".to_owned()));
            self.storing.push(Box::pin(core::future::ready((id, refused))));
            return;
        }
        let storage = self.storage.clone();
        let account = self.account;
        self.storing.push(Box::pin(async move { (id, storage.commit(account, batch).await) }));
    }
}

/// What was there already is no change.
fn show(readers: &watch::Sender<Arc<Presence>>, now: &Arc<Presence>) {
    readers.send_if_modified(|known| core::mem::replace(known, now.clone()) != *now);
}
