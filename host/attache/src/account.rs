//! One task owns one account's engine: it alone touches it, so no lock is held while anything else runs.

use std::{collections::HashMap, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use attache_messenger::{
    command::{Answer, Command},
    engine::{Engine, EngineConfig},
    event::{Event, EventKind},
    id::{AccountId, RequestId},
    storage::{Batch, BatchId, Storage, StorageError},
    time::Now,
};
use attache_net::{Input, Query, Resolver, Sockets};
use attache_plugin_host::PluginHost;
use attache_sip::{resolve::ResolveId, transport::Destination};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::{Instrument, debug, info_span};

use crate::{Address, Code, Error, Snapshot, events};

/// Commands that wait for the task; more of them make the caller wait.
const COMMANDS: usize = 256;

/// What handles hold. The task holds none of it but the snapshot, so that it ends when every handle is gone.
pub(crate) struct Shared {
    pub(crate) address: Address,
    snapshot: Arc<ArcSwap<Snapshot>>,
    events: broadcast::WeakSender<Arc<[Event]>>,
    commands: mpsc::Sender<Request>,
}

pub(crate) enum Request {
    Command {
        command: Command,
        answer: oneshot::Sender<Answer>,
        /// Hears of the completion as well.
        done: Option<oneshot::Sender<Result<(), Error>>>,
    },
    /// Sign out, tell the service, and end the task.
    Stop(oneshot::Sender<()>),
}

impl Shared {
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

    /// Answers when the command has completed.
    pub(crate) async fn complete(
        &self,
        command: Command,
    ) -> Result<attache_messenger::command::Accepted, Error> {
        let (answer, answered) = oneshot::channel();
        let (done, completed) = oneshot::channel();
        self.send(Request::Command { command, answer, done: Some(done) }).await?;
        let accepted = answered.await.unwrap_or_else(|_| Err(self.closed()))?;
        completed.await.unwrap_or_else(|_| Err(self.closed()))?;
        Ok(accepted)
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.commands.send(request).await.map_err(|_| self.closed())
    }

    /// Signs out and ends the task; at once when it has ended.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Request::Stop(done)).await.is_ok() {
            let _ = stopped.await;
        }
    }
}

/// Everything that a task needs to begin.
pub(crate) struct Setup {
    pub(crate) config: EngineConfig,
    pub(crate) net: Sockets,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) plugins: Arc<PluginHost>,
}

/// An account whose task has not begun.
pub(crate) struct Ready {
    pub(crate) shared: Arc<Shared>,
    task: Task,
}

/// Reads what the store holds.
pub(crate) async fn prepare(setup: Setup) -> Result<Ready, Error> {
    let Setup { config, net, resolver, storage, plugins } = setup;
    let address = config.address.clone();
    let account = address.account_id();
    let restored = storage.load(account, &address).await.map_err(|error| {
        let code = if matches!(error, StorageError::Full(_)) { Code::StorageFull } else { Code::Storage };
        Error::new(code, format!("the store has no state for {address}")).because(error.to_string())
    })?;
    let engine = Engine::new(config, restored, Now::read());
    let (events, _) = broadcast::channel(events::CAPACITY);
    let (commands, requests) = mpsc::channel(COMMANDS);
    let snapshot = Arc::new(ArcSwap::from_pointee(engine.snapshot()));
    let shared = Arc::new(Shared {
        address: address.clone(),
        snapshot: snapshot.clone(),
        events: events.downgrade(),
        commands,
    });
    let task = Task {
        account,
        address,
        snapshot,
        engine,
        net,
        resolver,
        storage,
        plugins,
        events,
        requests,
        answers: HashMap::new(),
        done: HashMap::new(),
        next_token: 0,
        batch: Vec::new(),
        storing: FuturesUnordered::new(),
        resolving: FuturesUnordered::new(),
        stopping: None,
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
type Waiting = (oneshot::Sender<Answer>, Option<oneshot::Sender<Result<(), Error>>>);

struct Task {
    account: AccountId,
    address: Address,
    snapshot: Arc<ArcSwap<Snapshot>>,
    engine: Engine,
    net: Sockets,
    resolver: Arc<dyn Resolver>,
    storage: Arc<dyn Storage>,
    plugins: Arc<PluginHost>,
    events: broadcast::Sender<Arc<[Event]>>,
    requests: mpsc::Receiver<Request>,
    answers: HashMap<u64, Waiting>,
    done: HashMap<RequestId, oneshot::Sender<Result<(), Error>>>,
    next_token: u64,
    batch: Vec<Event>,
    storing: FuturesUnordered<BoxFuture<Stored>>,
    resolving: FuturesUnordered<BoxFuture<Resolved>>,
    stopping: Option<(Instant, Vec<oneshot::Sender<()>>)>,
}

/// How long a sign-out may take before the task ends without the service's word.
const SIGN_OUT: core::time::Duration = core::time::Duration::from_secs(3);

impl Task {
    async fn run(mut self) {
        loop {
            self.drain();
            if self.finished() {
                break;
            }
            let deadline = [self.engine.poll_timeout(), self.stopping.as_ref().map(|(until, _)| *until)]
                .into_iter()
                .flatten()
                .min();
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                input = self.net.recv() => self.input(input),
                request = self.requests.recv(), if self.stopping.is_none() => match request {
                    Some(request) => self.request(request),
                    // Every handle is gone, the host's own among them: nobody is left to stop this task.
                    None => self.stop(None),
                },
                Some((batch, result)) = self.storing.next() => {
                    if let Err(error) = &result {
                        tracing::error!(%error, "the store refused a batch");
                    }
                    self.engine.handle_stored(Now::read(), batch, result);
                }
                Some((id, result)) = self.resolving.next() => self.engine.handle_resolved(Now::read(), id, result),
                () = timer => self.engine.handle_timeout(Now::read()),
            }
        }
        self.plugins.remove_account(self.account);
        let (_, waiting) = self.stopping.unwrap_or_else(|| (Instant::now(), Vec::new()));
        for done in waiting {
            let _ = done.send(());
        }
    }

    /// Signed out and everything kept, or out of patience.
    fn finished(&self) -> bool {
        let Some((until, _)) = &self.stopping else { return false };
        let quiet =
            self.engine.snapshot().session == crate::SessionState::SignedOut && self.storing.is_empty();
        quiet || *until <= Instant::now()
    }

    fn input(&mut self, input: Input) {
        let now = Now::read();
        match input {
            Input::Message { flow, bytes } => self.engine.handle_input(now, flow, bytes),
            Input::FlowFailed { destination, flow, reason } => {
                debug!(%reason, "flow failed");
                self.engine.handle_flow_failed(now, destination, flow, &reason.to_string());
            }
            _ => {}
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Command { command, answer, done } => {
                let token = self.next_token;
                self.next_token += 1;
                self.answers.insert(token, (answer, done));
                self.engine.handle_command(Now::read(), token, command);
            }
            Request::Stop(done) => self.stop(Some(done)),
        }
    }

    fn stop(&mut self, done: Option<oneshot::Sender<()>>) {
        if let Some((_, waiting)) = &mut self.stopping {
            waiting.extend(done);
            return;
        }
        self.stopping = Some((Instant::now() + SIGN_OUT, done.into_iter().collect()));
        self.requests.close();
        let token = self.next_token;
        self.next_token += 1;
        self.engine.handle_command(Now::read(), token, Command::SignOut);
    }

    /// Passes on everything that the engine has to say.
    fn drain(&mut self) {
        while let Some(resolve) = self.engine.poll_resolve() {
            let resolver = self.resolver.clone();
            self.resolving.push(Box::pin(async move {
                let query = Query { host: resolve.host, port: resolve.port, transport: resolve.transport };
                (resolve.id, resolver.resolve(query).await.map_err(|error| error.to_string()))
            }));
        }
        while let Some(transmit) = self.engine.poll_transmit() {
            self.net.send(transmit);
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
        // Last: numbering events may have asked for a write.
        while let Some((id, batch)) = self.engine.poll_batch() {
            self.store(id, batch);
        }
    }

    fn answer(&mut self, token: u64, answer: Answer) {
        let Some((reply, done)) = self.answers.remove(&token) else { return };
        if let (Ok(accepted), Some(done)) = (&answer, done) {
            self.done.insert(accepted.request, done);
        }
        let _ = reply.send(answer);
    }

    fn publish(&mut self) {
        // The snapshot first: whoever reads it after an event, or after a completion, sees at least what it says.
        self.snapshot.store(Arc::new(self.engine.snapshot()));
        for event in &self.batch {
            if let EventKind::CommandCompleted { request, outcome } = &event.kind
                && let Some(done) = self.done.remove(request)
            {
                let _ = done.send(outcome.clone());
            }
        }
        let batch: Arc<[Event]> = self.batch.drain(..).collect();
        self.plugins.publish(&batch);
        let _ = self.events.send(batch);
    }

    fn store(&mut self, id: BatchId, batch: Batch) {
        let storage = self.storage.clone();
        let account = self.account;
        self.storing.push(Box::pin(async move { (id, storage.commit(account, batch).await) }));
    }
}
