//! Engines on a simulated network under a virtual clock, with a store in memory that can fail and crash.
//!
//! The network is that of [`attache_sip::sim`]: delay, loss, repetition, reordering, partitions, nodes that die and come
//! back; all of it repeatable from a seed. [`EngineNode`] puts an [`Engine`] on it, [`MemoryStore`] keeps what a real
//! store would keep. Replacing a node by a new one with the same store is a crash and a restart.
//!
//! ```
//! use std::time::Duration;
//!
//! use attache_messenger::{
//!     address::Address,
//!     command::Command,
//!     engine::EngineConfig,
//!     event::SessionState,
//!     sim::{EngineNode, MemoryStore, Simulation},
//! };
//! use attache_sip::transport::Transport;
//!
//! let at = "10.0.0.1:5060".parse()?;
//! let mut config = EngineConfig::new(
//!     Address::parse("sip:alice@example.com")?,
//!     "wonderland",
//!     vec![(Transport::Udp, at), (Transport::Tcp, at)],
//!     [1; 32],
//! );
//! config.service = Some("sip:10.0.0.9:5060".to_owned());
//!
//! let mut sim = Simulation::new(1);
//! sim.add(at, EngineNode::new(&sim, config, MemoryStore::new()));
//! sim.with(at, |alice: &mut EngineNode, now| alice.command(now, Command::SignIn));
//! // Nobody is at 10.0.0.9.
//! sim.run_for(Duration::from_secs(60));
//! let state = sim.with(at, |alice: &mut EngineNode, _| alice.snapshot().session);
//! assert_eq!(state, SessionState::Reconnecting);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use attache_msrp::{StreamInput, StreamRequest};
pub use attache_sip::sim::{Fate, Link, Node, Packet, Simulation};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit};
use bytes::Bytes;

use crate::{
    command::{Answer, Command},
    engine::{Engine, EngineConfig, HttpId},
    event::{Contact, Event, EventKind, Group},
    file::{FileInput, FileRequest},
    id::{ContactId, GroupId, MessageId, RequestId},
    snapshot::Snapshot,
    storage::{
        ArchiveEntry, Batch, BatchId, JournalEntry, OutboxEntry, Record, RecordKind, Restored, StorageError,
        Write,
    },
    time::{Now, Timestamp},
};

/// The wall clock at the beginning of a simulation: 2026-01-31T09:00:00Z.
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_769_850_000_000);

/// What a store of one account keeps, in memory. Clones share it: it outlives the engine that writes it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    contacts: BTreeMap<ContactId, Contact>,
    groups: BTreeMap<GroupId, Group>,
    outbox: BTreeMap<MessageId, OutboxEntry>,
    settings: BTreeMap<&'static str, String>,
    records: BTreeMap<(RecordKind, Arc<str>), Arc<str>>,
    seen: BTreeMap<[u8; 16], Timestamp>,
    journal: Vec<JournalEntry>,
    lines: BTreeMap<MessageId, Arc<ArchiveEntry>>,
    commits: u64,
    failing: Option<StorageError>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every commit fails with this, until it is taken back with `None`.
    pub fn fail_with(&self, error: Option<StorageError>) {
        self.lock().failing = error;
    }

    /// How many batches it has kept.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// Every must-deliver event, oldest first.
    #[must_use]
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.lock().journal.clone()
    }

    /// Lines of transcripts, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Arc<ArchiveEntry>> {
        self.lock().lines.values().cloned().collect()
    }

    /// Messages that are not done.
    #[must_use]
    pub fn outbox(&self) -> Vec<OutboxEntry> {
        self.lock().outbox.values().cloned().collect()
    }

    /// What an engine starts with.
    #[must_use]
    pub fn restored(&self) -> Restored {
        let kept = self.lock();
        Restored {
            contacts: kept.contacts.values().cloned().collect(),
            groups: kept.groups.values().cloned().collect(),
            outbox: kept.outbox.values().cloned().collect(),
            settings: kept.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            records: kept
                .records
                .iter()
                .map(|((kind, key), value)| Record { kind: *kind, key: key.clone(), value: value.clone() })
                .collect(),
            seen: kept.seen.iter().map(|(key, at)| (*key, *at)).collect(),
            last_seq: kept.journal.last().map_or(0, |entry| entry.seq),
        }
    }

    /// Keeps a batch, all of it or nothing.
    ///
    /// # Errors
    /// Whatever [`fail_with`](Self::fail_with) says.
    pub fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut kept = self.lock();
        if let Some(error) = &kept.failing {
            return Err(error.clone());
        }
        kept.commits += 1;
        for write in batch.writes {
            match write {
                Write::PutContact(contact) => {
                    kept.contacts.insert(contact.id, Contact::clone(&contact));
                }
                Write::RemoveContact(id) => {
                    kept.contacts.remove(&id);
                }
                Write::PutGroup(group) => {
                    kept.groups.insert(group.id, Group::clone(&group));
                }
                Write::RemoveGroup(id) => {
                    kept.groups.remove(&id);
                }
                Write::PutOutbox(entry) => {
                    kept.outbox.insert(entry.message.id, OutboxEntry::clone(&entry));
                }
                Write::FinishOutbox { message, recipients } => {
                    if let Some(entry) = kept.outbox.get_mut(&message) {
                        entry.pending.retain(|recipient| !recipients.contains(recipient));
                        if entry.pending.is_empty() {
                            kept.outbox.remove(&message);
                        }
                    }
                }
                Write::KeepLine { line, forget } => {
                    kept.lines.entry(line.message).or_insert(line);
                    kept.lines.retain(|_, line| line.at >= forget);
                }
                Write::AppendJournal(entry) => kept.journal.push(entry),
                Write::PutSetting(name, value) => {
                    kept.settings.insert(name, value);
                }
                Write::PutRecord { kind, key, value: Some(value) } => {
                    kept.records.insert((kind, key), value);
                }
                Write::PutRecord { kind, key, value: None } => {
                    kept.records.remove(&(kind, key));
                }
                Write::PutSeen { key, at } => {
                    kept.seen.insert(key, at);
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An HTTP server that engines of a simulation reach, such as an XCAP server.
pub trait HttpServer: Send {
    /// Takes a request, and says what its sender gets, and after how long; `None` when it gets nothing at all.
    fn handle(
        &mut self,
        now: Instant,
        request: http::Request<Bytes>,
    ) -> Option<(Duration, Result<http::Response<Bytes>, String>)>;
}

type HttpAnswer = (Instant, HttpId, Result<http::Response<Bytes>, String>);

/// When a process dies.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Crash {
    /// Before the batch with this number (from 1, counted by the store) is kept.
    Before(u64),
    /// After it is kept, before the engine hears of it.
    After(u64),
    /// Before its transmission with this number (from 1, counted by the node) leaves.
    BeforeTransmit(u64),
    /// After it has left.
    AfterTransmit(u64),
}

/// An engine as a node of the simulated network.
pub struct EngineNode {
    engine: Engine,
    store: MemoryStore,
    origin: Instant,
    /// How far the wall clock has stepped, in milliseconds.
    stepped: i64,
    asleep: bool,
    commit_delay: Duration,
    committing: VecDeque<(Instant, BatchId, Batch)>,
    hosts: BTreeMap<String, Vec<Destination>>,
    http: Option<Arc<Mutex<dyn HttpServer>>>,
    http_answers: Vec<HttpAnswer>,
    crash: Option<Crash>,
    transmitted: u64,
    dead: bool,
    stream_requests: VecDeque<StreamRequest>,
    next_token: u64,
    answers: BTreeMap<u64, Answer>,
    events: Vec<Event>,
}

impl EngineNode {
    /// A process that starts now with what the store holds. Its wall clock began at [`BEGINNING`] with the simulation.
    #[must_use]
    pub fn new(sim: &Simulation, config: EngineConfig, store: MemoryStore) -> Self {
        let origin = sim.now() - sim.elapsed();
        let engine = Engine::new(config, store.restored(), clock(origin, sim.now()));
        let mut node = Self {
            engine,
            store,
            origin,
            stepped: 0,
            asleep: false,
            commit_delay: Duration::ZERO,
            committing: VecDeque::new(),
            hosts: BTreeMap::new(),
            http: None,
            http_answers: Vec::new(),
            crash: None,
            transmitted: 0,
            dead: false,
            stream_requests: VecDeque::new(),
            next_token: 1,
            answers: BTreeMap::new(),
            events: Vec::new(),
        };
        node.drain(sim.now());
        node
    }

    /// Lets every commit take this long.
    #[must_use]
    pub fn commit_delay(mut self, delay: Duration) -> Self {
        self.commit_delay = delay;
        self
    }

    /// Lets it reach an HTTP server. Without one, every request fails at once.
    #[must_use]
    pub fn http(mut self, server: Arc<Mutex<dyn HttpServer>>) -> Self {
        self.http = Some(server);
        self
    }

    /// Lets the process die at a commit or a transmission: it hears, sends and keeps nothing more, until another node takes its place.
    #[must_use]
    pub fn crash_at(mut self, crash: Crash) -> Self {
        self.crash = Some(crash);
        self
    }

    /// Steps the wall clock, as a person or a time service does; the clock of timers goes on as it was.
    pub fn step_clock(&mut self, millis: i64) {
        self.stepped = self.stepped.saturating_add(millis);
    }

    /// Lets the machine sleep, or wakes it: asleep, it hears nothing and its timers do not run; awake again, all the time that
    /// has passed comes at once.
    pub fn sleep(&mut self, now: Instant, asleep: bool) {
        self.asleep = asleep;
        if !asleep && !self.dead {
            self.engine.handle_timeout(self.clock(now));
            self.drain(now);
        }
    }

    fn clock(&self, now: Instant) -> Now {
        let now = clock(self.origin, now);
        let wall = now.wall.as_millis().saturating_add_signed(self.stepped);
        Now { wall: Timestamp::from_millis(wall), ..now }
    }

    /// Where a host name leads. Names that nobody told lead nowhere.
    pub fn set_host(&mut self, host: &str, destinations: Vec<Destination>) {
        self.hosts.insert(host.to_owned(), destinations);
    }

    /// Gives a command, and returns the token of its answer.
    pub fn command(&mut self, now: Instant, command: Command) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        if !self.dead {
            self.engine.handle_command(self.clock(now), token, command);
            self.drain(now);
        }
        token
    }

    /// The answer to a command, if it is there.
    #[must_use]
    pub fn answer(&self, token: u64) -> Option<&Answer> {
        self.answers.get(&token)
    }

    /// How a command completed, if it has.
    #[must_use]
    pub fn outcome(&self, token: u64) -> Option<Result<(), crate::error::Error>> {
        match self.answers.get(&token)? {
            Err(error) => Some(Err(error.clone())),
            Ok(accepted) => self.completion(accepted.request),
        }
    }

    fn completion(&self, request: RequestId) -> Option<Result<(), crate::error::Error>> {
        self.events.iter().find_map(|event| match &event.kind {
            EventKind::CommandCompleted { request: known, outcome } if *known == request => {
                Some(outcome.clone())
            }
            _ => None,
        })
    }

    /// What it wants of connections of message sessions, since the last time. This network carries none: whoever tests with
    /// them carries their bytes, for example as [`attache_msrp::sim`] does.
    pub fn take_streams(&mut self) -> Vec<StreamRequest> {
        self.stream_requests.drain(..).collect()
    }

    /// Tells it what happened on such a connection.
    pub fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        if !self.dead && !self.asleep {
            self.engine.handle_stream(self.clock(now), input);
            self.drain(now);
        }
    }

    /// What it wants of files, since the last time.
    pub fn take_files(&mut self) -> Vec<FileRequest> {
        core::iter::from_fn(|| self.engine.poll_file()).collect()
    }

    /// Tells it what became of that.
    pub fn handle_file(&mut self, now: Instant, input: FileInput) {
        if !self.dead && !self.asleep {
            self.engine.handle_file(self.clock(now), input);
            self.drain(now);
        }
    }

    /// Every event so far.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Takes the events since the last time.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// What readers see.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.engine.snapshot()
    }

    /// The engine, to ask it what a snapshot does not hold.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// Whether it died as [`crash_at`](Self::crash_at) said.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    fn drain(&mut self, now: Instant) {
        let wall = self.clock(now);
        loop {
            while let Some(resolve) = self.engine.poll_resolve() {
                let answer = self.hosts.get(&resolve.host).cloned().ok_or_else(|| "no such host".to_owned());
                self.engine.handle_resolved(wall, resolve.id, answer);
            }
            while let Some((id, request)) = self.engine.poll_http() {
                let answer = match &self.http {
                    Some(server) => {
                        server.lock().unwrap_or_else(PoisonError::into_inner).handle(now, request)
                    }
                    None => Some((Duration::ZERO, Err("nobody listens there".to_owned()))),
                };
                self.http_answers.extend(answer.map(|(after, answer)| (now + after, id, answer)));
            }
            if let Some(at) = self.http_answers.iter().position(|(at, ..)| *at <= now) {
                let (_, id, answer) = self.http_answers.remove(at);
                self.engine.handle_http(wall, id, answer);
                continue;
            }
            while let Some((id, batch)) = self.engine.poll_batch() {
                self.committing.push_back((now + self.commit_delay, id, batch));
            }
            let due = self.committing.front().is_some_and(|(at, ..)| *at <= now);
            let Some((_, id, batch)) = due.then(|| self.committing.pop_front()).flatten() else { break };
            let number = self.store.commits() + 1;
            if self.crash == Some(Crash::Before(number)) {
                self.dead = true;
                return;
            }
            let result = self.store.commit(batch);
            if self.crash == Some(Crash::After(number)) && result.is_ok() {
                self.dead = true;
                return;
            }
            self.engine.handle_stored(wall, id, result);
        }
        while let Some(request) = self.engine.poll_stream() {
            self.stream_requests.push_back(request);
        }
        while let Some((token, answer)) = self.engine.poll_answer() {
            self.answers.insert(token, answer);
        }
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
    }
}

impl Node for EngineNode {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        if !self.dead && !self.asleep {
            self.engine.handle_input(self.clock(now), flow, bytes);
            self.drain(now);
        }
    }

    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        if !self.dead && !self.asleep {
            self.engine.handle_flow_failed(self.clock(now), to, flow, reason);
            self.drain(now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.dead && !self.asleep {
            self.engine.handle_timeout(self.clock(now));
            self.drain(now);
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.dead || self.asleep {
            return None;
        }
        let transmit = self.engine.poll_transmit()?;
        self.transmitted += 1;
        self.dead = match self.crash {
            Some(Crash::BeforeTransmit(number) | Crash::AfterTransmit(number)) => number == self.transmitted,
            _ => false,
        };
        let stays = self.crash == Some(Crash::BeforeTransmit(self.transmitted));
        (!stays).then_some(transmit)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        if self.dead || self.asleep {
            return None;
        }
        let commit = self.committing.front().map(|(at, ..)| *at);
        let http = self.http_answers.iter().map(|(at, ..)| *at).min();
        [self.engine.poll_timeout(), commit, http].into_iter().flatten().min()
    }
}

/// The destinations of a service at one address: UDP, then TCP.
#[must_use]
pub fn service_at(address: SocketAddr) -> Vec<Destination> {
    use attache_sip::transport::Transport;
    [Transport::Udp, Transport::Tcp].map(|transport| Destination { transport, remote: address }).to_vec()
}

fn clock(origin: Instant, now: Instant) -> Now {
    Now { instant: now, wall: BEGINNING + now.saturating_duration_since(origin) }
}
