//! A desk to try plugins on: a plugin host over a store in memory and a messenger that only takes notes.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use attache_messenger::{
    address::Address,
    command::{Accepted, Answer, Command},
    event::{Contact, Event, EventKind, PresenceChange, SessionState, WatchedChange},
    id::{AccountId, ContactId, ConversationId, LeaseId, MessageId, RequestId},
    message::{Author, Draft, IncomingMessage, Origin, Target},
    presence::{Availability, Freshness, Presence, UnknownReason},
    snapshot::{ContactEntry, Snapshot},
    storage::{Batch, BoxFuture, JournalEntry, JournalEvent, Storage, Write},
    time::Timestamp,
};
use attache_plugin_host::{
    Backend, Grant, HostOptions, InstanceState, InstanceStatus, LoadState, PluginConfig, PluginHost,
    PluginStatus,
};
use attache_store::MemoryStore;
use tokio::sync::Notify;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that a plugin sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) plugin: String,
    pub(crate) to: String,
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// The messenger behind the host: accepts everything, and takes notes.
pub(crate) struct Notes {
    store: Arc<MemoryStore>,
    snapshots: Mutex<HashMap<AccountId, Arc<Snapshot>>>,
    sent: Mutex<Vec<Sent>>,
    leases: Mutex<BTreeSet<LeaseId>>,
    answered: Mutex<Vec<String>>,
    next: AtomicU64,
    news: Notify,
}

impl Backend for Notes {
    fn snapshot(&self, account: AccountId) -> Option<Arc<Snapshot>> {
        lock(&self.snapshots).get(&account).cloned()
    }

    fn command(&self, _: AccountId, command: Command) -> BoxFuture<'_, Answer> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut lease = None;
        match &command {
            Command::Watch { .. } => {
                lease = Some(LeaseId(id));
                lock(&self.leases).insert(LeaseId(id));
            }
            Command::Unwatch(lease) => {
                lock(&self.leases).remove(lease);
            }
            Command::AnswerWatcher { address, decision } => {
                lock(&self.answered).push(format!("{address} {}", decision.name()));
            }
            _ => {}
        }
        self.news.notify_waiters();
        if let Command::Send(Draft {
            to: Target::Address(to),
            content,
            author: Author::Plugin(plugin),
            origin,
            ..
        }) = command
        {
            lock(&self.sent).push(Sent {
                plugin: plugin.to_string(),
                to: to.to_string(),
                text: content.text().to_owned(),
                origin,
            });
            self.news.notify_waiters();
        }
        Box::pin(async move {
            Ok(Accepted { message: Some(MessageId(id)), lease, ..Accepted::new(RequestId(id)) })
        })
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.store) as Arc<dyn Storage>
    }
}

/// Plugins, one account, and what they did.
pub(crate) struct Desk {
    pub(crate) host: PluginHost,
    pub(crate) notes: Arc<Notes>,
    pub(crate) account: AccountId,
    seq: u64,
}

impl Desk {
    /// Loads plugins for Alice, who has Bob on her list.
    pub(crate) async fn new(plugins: Vec<PluginConfig>) -> Self {
        Self::with_options(plugins, options()).await
    }

    pub(crate) async fn with_options(plugins: Vec<PluginConfig>, options: HostOptions) -> Self {
        let notes = Arc::new(Notes {
            store: Arc::new(MemoryStore::new()),
            snapshots: Mutex::default(),
            sent: Mutex::default(),
            leases: Mutex::default(),
            answered: Mutex::default(),
            next: AtomicU64::new(1),
            news: Notify::new(),
        });
        Self::over(notes, plugins, options, 0, true).await
    }

    /// The same store and the same notes under a new host, as after a restart of the process.
    pub(crate) async fn restarted(self, plugins: Vec<PluginConfig>) -> Self {
        let Self { notes, seq, host, .. } = self;
        drop(host);
        Self::over(notes, plugins, options(), seq, true).await
    }

    /// As [`Self::restarted`], with a messenger that has no snapshot of the account when it is added.
    pub(crate) async fn restarted_unseen(self, plugins: Vec<PluginConfig>) -> Self {
        let Self { notes, seq, host, .. } = self;
        drop(host);
        lock(&notes.snapshots).clear();
        Self::over(notes, plugins, options(), seq, false).await
    }

    async fn over(
        notes: Arc<Notes>,
        plugins: Vec<PluginConfig>,
        options: HostOptions,
        seq: u64,
        seen: bool,
    ) -> Self {
        let address = Address::parse("sip:alice@example.com").unwrap();
        let account = address.account_id();
        let insert = || lock(&notes.snapshots).insert(account, Arc::new(snapshot(&address, seq)));
        if seen {
            insert();
        }
        let host = PluginHost::start(options, plugins, Arc::clone(&notes) as Arc<dyn Backend>).unwrap();
        host.loaded().await;
        host.add_account(account, address.clone(), seq);
        if !seen {
            insert();
        }
        Self { host, notes, account, seq }
    }

    /// Another account signs in; what happens from now on happens to it.
    pub(crate) fn switch(&mut self, address: &str) {
        let address = Address::parse(address).unwrap();
        self.account = address.account_id();
        lock(&self.notes.snapshots).insert(self.account, Arc::new(snapshot(&address, self.seq)));
        self.host.add_account(self.account, address, self.seq);
    }

    /// A message from Bob arrives: journalled, then published. Answers its position.
    pub(crate) async fn message(&mut self, text: &str) -> u64 {
        self.message_of(text, Origin::Person).await
    }

    pub(crate) async fn message_of(&mut self, text: &str, origin: Origin) -> u64 {
        self.seq += 1;
        let message = Arc::new(IncomingMessage {
            id: MessageId(1_000 + self.seq),
            conversation: ConversationId(1),
            contact: Some(ContactId(1)),
            sender: Address::parse("sip:bob@example.com").unwrap(),
            also_to: Default::default(),
            subject: None,
            content: text.into(),
            origin,
            sent_at: None,
            received_at: Timestamp::from_millis(1),
        });
        let at = Timestamp::from_millis(1);
        let event = JournalEvent::MessageReceived(Arc::clone(&message));
        let entry = JournalEntry { seq: self.seq, at, event };
        let batch = Batch { writes: vec![Write::AppendJournal(entry)] };
        self.notes.store.commit(self.account, batch).await.unwrap();
        self.publish_at(self.seq, EventKind::MessageReceived(message));
        self.seq
    }

    /// Something else happens.
    pub(crate) fn publish(&mut self, kind: EventKind) {
        self.seq += 1;
        self.publish_at(self.seq, kind);
    }

    /// Bob's presence changes.
    pub(crate) fn presence(&mut self, availability: Availability, note: Option<&str>) {
        let change = PresenceChange {
            contact: ContactId(1),
            address: Address::parse("sip:bob@example.com").unwrap(),
            presence: Arc::new(presence(Some(availability), note.unwrap_or_default())),
            previous: None,
            note_changed: note.is_some(),
        };
        self.publish(EventKind::PresenceChanged(Arc::from([change])));
    }

    fn publish_at(&self, seq: u64, kind: EventKind) {
        let event = Event { seq, at: Timestamp::from_millis(1), account: self.account, kind };
        self.host.publish(&Arc::from([event]));
    }

    /// How many leases plugins hold.
    pub(crate) fn leases(&self) -> usize {
        lock(&self.notes.leases).len()
    }

    /// What plugins answered those who asked to see the account.
    pub(crate) fn answered(&self) -> Vec<String> {
        lock(&self.notes.answered).clone()
    }

    /// Waits until something is so that a command changes.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let news = self.notes.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if holds(self) {
                    return;
                }
                news.await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what} did not come about");
    }

    /// Presence of somebody off the list changes.
    pub(crate) fn watched(&mut self, address: &str, availability: Availability) {
        let change = WatchedChange {
            address: Address::parse(address).unwrap(),
            presence: Arc::new(presence(Some(availability), "")),
            previous: None,
            note_changed: false,
        };
        self.publish(EventKind::WatchedPresenceChanged(Arc::from([change])));
    }

    /// What a plugin reported so far, in order.
    pub(crate) fn reports(&self, plugin: &str) -> Vec<String> {
        self.sent(plugin)
            .into_iter()
            .filter(|sent| sent.to == "sip:report@example.com")
            .map(|it| it.text)
            .collect()
    }

    /// Everything that a plugin sent so far, in order.
    pub(crate) fn sent(&self, plugin: &str) -> Vec<Sent> {
        lock(&self.notes.sent).iter().filter(|sent| sent.plugin == plugin).cloned().collect()
    }

    /// Waits until a plugin has reported something.
    pub(crate) async fn reported(&self, plugin: &str, text: &str) {
        let wait = async {
            loop {
                let news = self.notes.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if self.reports(plugin).iter().any(|report| report == text) {
                    return;
                }
                news.await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!(
                "{plugin} did not report `{text}`, but {:?}; {:#?}",
                self.reports(plugin),
                self.plugin(plugin)
            );
        }
    }

    /// Waits until the status of a plugin's instance is as wanted.
    pub(crate) async fn instance(
        &self,
        plugin: &str,
        wanted: impl Fn(&InstanceStatus) -> bool,
    ) -> InstanceStatus {
        let wait = async {
            loop {
                if let Some(status) = self.plugin(plugin).instances.into_iter().find(&wanted) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(status) => status,
            Err(_) => panic!("{plugin} did not get there: {:#?}", self.plugin(plugin)),
        }
    }

    pub(crate) fn plugin(&self, plugin: &str) -> PluginStatus {
        self.host.status().into_iter().find(|status| &*status.name == plugin).unwrap()
    }

    /// Waits until a plugin's cursor is at a position.
    pub(crate) async fn cursor(&self, plugin: &str, seq: u64) {
        let wait = async {
            while self.cursor_now(plugin).await != Some(seq) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("the cursor is {:?}", self.cursor_now(plugin).await);
        }
    }

    pub(crate) async fn cursor_now(&self, plugin: &str) -> Option<u64> {
        self.notes.store.cursor(self.account, plugin).await.unwrap()
    }

    /// Why a plugin was refused.
    pub(crate) fn refusal(&self, plugin: &str) -> String {
        match self.plugin(plugin).load {
            LoadState::Refused { reason } => reason,
            other => panic!("{plugin} was not refused: {other:?}"),
        }
    }
}

/// Short pauses, so that a test of many failures is done in a second.
pub(crate) fn options() -> HostOptions {
    let mut options = HostOptions::default();
    options.workers = 2;
    options.supervision.backoff_min = Duration::from_millis(5);
    options.supervision.backoff_max = Duration::from_millis(40);
    options.supervision.redelivery_pause = Duration::from_millis(5);
    options.supervision.cursor_delay = Duration::from_millis(5);
    options
}

/// The well-behaved guest: reports what it gets.
pub(crate) fn probe() -> PluginConfig {
    let mut config = PluginConfig::new("probe", component("probe"));
    config.grants = Grant::ALL.iter().copied().collect();
    config.limits.messages_per_minute = 100_000;
    config.limits.messages_per_peer_per_minute = 100_000;
    config
}

/// The guest that does as it is told.
pub(crate) fn hostile(settings: &[(&str, &str)]) -> PluginConfig {
    let mut config = PluginConfig::new("hostile", component("hostile"));
    config.grants =
        BTreeSet::from([Grant::MessagesReceive, Grant::MessagesSend, Grant::PresenceRead, Grant::Storage]);
    config.limits.messages_per_minute = 100_000;
    config.limits.messages_per_peer_per_minute = 100_000;
    config.config = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    config
}

/// The built component of a guest.
pub(crate) fn component(name: &str) -> PathBuf {
    let Some(folder) = std::env::var_os("ATTACHE_PLUGINS") else {
        panic!(
            "ATTACHE_PLUGINS names no folder of built guests: run `cargo xtask plugins`, or the tests by `cargo xtask test`"
        );
    };
    let path = PathBuf::from(folder).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is not there: run `cargo xtask plugins`", path.display());
    path
}

pub(crate) fn is_quarantined(status: &InstanceStatus) -> bool {
    matches!(status.state, InstanceState::Quarantined { .. })
}

fn snapshot(address: &Address, seq: u64) -> Snapshot {
    let bob = Address::parse("sip:bob@example.com").unwrap();
    let contact = Contact {
        id: ContactId(1),
        address: bob.clone(),
        name: "Bob".into(),
        groups: [].into_iter().collect(),
        details: None,
    };
    let entry =
        ContactEntry { contact: Arc::new(contact), presence: Arc::new(presence(None, "")), published: None };
    Snapshot {
        display_name: "Alice".into(),
        seq,
        session: SessionState::SignedIn,
        own: Arc::new(presence(Some(Availability::Available), "")),
        contacts: [(ContactId(1), entry)].into_iter().collect(),
        by_address: [(bob, ContactId(1))].into_iter().collect(),
        ..Snapshot::new(address.clone(), Timestamp::default())
    }
}

fn presence(availability: Option<Availability>, note: &str) -> Presence {
    let mut presence = Presence::unknown(UnknownReason::Pending);
    if availability.is_some() {
        presence.availability = availability;
        presence.freshness = Freshness::Live;
    }
    presence.note = note.into();
    presence
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
