//! One instance of a plugin, as others see it: where events for it go, and how it is doing.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Instant, SystemTime},
};

use attache_messenger::{event::Event, id::AccountId, time::Timestamp};
use tokio::sync::watch;

use crate::{
    bindings::called::exports::attache::messenger::lifecycle::StopReason,
    family::Families,
    log::PluginLog,
    mailbox::Mailbox,
    meters::{Meter, Meters},
    plugin::Plugin,
    quota::SendQuota,
    status::{DeadLetter, InstanceState, InstanceStatus},
};

/// Dead letters that are remembered.
const DEAD_LETTERS: usize = 32;
/// Functions whose denial is told in the log: more than the contract has.
const DENIALS: usize = 128;

/// One account that an instance serves.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) account: AccountId,
    /// The account's position when it was added: where a new plugin begins.
    pub(crate) baseline: u64,
}

/// One instance, across all its restarts.
pub(crate) struct Instance {
    pub(crate) plugin: Arc<Plugin>,
    /// None with `scope = "host"`.
    pub(crate) account: Option<AccountId>,
    accounts: Mutex<Vec<Served>>,
    pub(crate) mailbox: Mailbox,
    pub(crate) meters: Arc<Meters>,
    pub(crate) log: Arc<PluginLog>,
    /// See [`InstanceStatus::backlog`].
    pub(crate) backlog: Meter,
    quota: Mutex<SendQuota>,
    pub(crate) stop: watch::Sender<Option<StopReason>>,
    wants: AtomicU32,
    seen: Mutex<Seen>,
}

/// What the status shows besides counters.
struct Seen {
    state: InstanceState,
    last_error: Option<String>,
    last_denial: Option<String>,
    /// Functions whose denial the log knows of.
    denied: BTreeSet<String>,
    dead_letters: VecDeque<DeadLetter>,
}

impl Instance {
    pub(crate) fn new(plugin: Arc<Plugin>, account: Option<AccountId>, accounts: Vec<Served>) -> Self {
        let meters = Arc::new(Meters::default());
        let seen = Seen {
            state: InstanceState::Starting,
            last_error: None,
            last_denial: None,
            denied: BTreeSet::new(),
            dead_letters: VecDeque::new(),
        };
        Self {
            account,
            accounts: Mutex::new(accounts),
            mailbox: Mailbox::new(plugin.limits.mailbox as usize, Arc::clone(&meters)),
            log: Arc::new(PluginLog::new(Arc::clone(&plugin.name), Arc::clone(&meters), &plugin.limits)),
            quota: Mutex::new(SendQuota::new(&plugin.limits, Instant::now())),
            backlog: Meter::default(),
            stop: watch::Sender::new(None),
            wants: AtomicU32::new(0),
            seen: Mutex::new(seen),
            meters,
            plugin,
        }
    }

    /// Hands a run of one account's events over.
    pub(crate) fn offer(&self, batch: &Arc<[Event]>, range: core::ops::Range<usize>) {
        let wants = Families::from_bits(self.wants.load(Ordering::Acquire));
        if wants != Families::default() {
            self.mailbox.offer(wants, batch, range);
        }
    }

    /// From now on, events of these families go into the mailbox.
    pub(crate) fn want(&self, families: Families) {
        self.wants.store(families.bits(), Ordering::Release);
    }

    pub(crate) fn set_state(&self, state: InstanceState) {
        self.seen().state = state;
    }

    pub(crate) fn failed(&self, reason: String) {
        self.seen().last_error = Some(reason);
    }

    /// A call without its grant. Told once for each function in the log, because a plugin may try for ever.
    pub(crate) fn denied(&self, function: &str, sentence: &str) {
        self.meters.denials.add(1);
        let mut seen = self.seen();
        if seen.last_denial.as_deref() != Some(sentence) {
            seen.last_denial = Some(sentence.to_owned());
        }
        if seen.denied.len() < DENIALS && !seen.denied.contains(function) {
            seen.denied.insert(function.to_owned());
            drop(seen);
            tracing::warn!(plugin = %self.plugin.name, "{sentence}");
        }
    }

    /// An event is given up.
    pub(crate) fn dead_letter(&self, event: &Event, reason: String) {
        self.meters.dead_letters.add(1);
        tracing::error!(plugin = %self.plugin.name, account = event.account.0, seq = event.seq,
            event = event.kind.name(), "event given up: {reason}");
        let letter = DeadLetter {
            account: event.account,
            seq: event.seq,
            event: event.kind.name(),
            at: Timestamp::from(SystemTime::now()),
            reason,
        };
        let mut seen = self.seen();
        if seen.dead_letters.len() >= DEAD_LETTERS {
            seen.dead_letters.pop_front();
        }
        seen.dead_letters.push_back(letter);
    }

    /// Whether it will not run before a reset.
    pub(crate) fn has_failed(&self) -> bool {
        self.seen().state == InstanceState::Failed
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        let seen = self.seen();
        InstanceStatus {
            account: self.account,
            state: seen.state,
            counters: self.meters.read(),
            mailbox: self.mailbox.len(),
            backlog: self.backlog.get(),
            last_error: seen.last_error.clone(),
            last_denial: seen.last_denial.clone(),
            dead_letters: seen.dead_letters.iter().cloned().collect(),
        }
    }

    pub(crate) fn quota(&self) -> MutexGuard<'_, SendQuota> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accounts(&self) -> MutexGuard<'_, Vec<Served>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
