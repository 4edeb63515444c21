//! Who watches the account, and who asks to (RFC 3857, RFC 3858).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use attache_documents::{
    Limits,
    watcher_info::{self, State, Status},
};
use attache_sip::{
    agent::{NotifyBody, SubscriptionId},
    usage::{Forks, SubscribeParams, SubscriptionState},
};

use crate::{
    address::Address,
    engine::{
        Engine,
        ledger::{Effect, Sealed, Then},
        policy::one_spelling,
        sync::Records,
        versions::{Arrival, Versions},
    },
    event::EventKind,
    privacy::{Decision, Watcher, WatcherState},
    storage::{Record, RecordKind},
    time::Timestamp,
};

/// Most subscriptions of watchers that are kept, and most people of whom is known that their wish has been told.
const MOST: usize = 10_000;
/// How long a first rule waits for word of who watches.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest name of a watcher, in bytes.
const MAX_NAME: usize = 256;

/// What is known of watchers.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    subscription: Option<SubscriptionId>,
    /// Until when the first word on who watches is waited for; `None` once it came.
    awaited: Option<Instant>,
    versions: Versions,
    /// By the service's name for each subscription.
    entries: BTreeMap<String, Entry>,
    /// Their names, by person.
    by_person: HashMap<Address, BTreeSet<String>>,
    /// Who may have to be shown in another way, or told of.
    touched: HashSet<Address>,
    /// Whose wish has been told, and is not answered.
    told: HashMap<Address, Timestamp>,
}

#[derive(Clone, Debug)]
struct Entry {
    address: Address,
    name: Arc<str>,
    state: WatcherState,
}

impl Watchers {
    pub(super) fn new(records: &[Record]) -> Self {
        let told = records.iter().filter(|record| record.kind == RecordKind::Watcher).filter_map(|record| {
            let at = record.value.parse().map(Timestamp::from_millis).unwrap_or_default();
            Some((Address::parse(&record.key).ok()?, at))
        });
        Self { told: told.collect(), ..Self::default() }
    }

    pub(super) fn owns(&self, id: SubscriptionId) -> bool {
        self.subscription == Some(id)
    }

    fn put(&mut self, id: String, entry: Entry) {
        self.remove(&id);
        self.touched.insert(entry.address.clone());
        self.by_person.entry(entry.address.clone()).or_default().insert(id.clone());
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: &str) {
        let Some(entry) = self.entries.remove(id) else { return };
        if let Some(names) = self.by_person.get_mut(&entry.address) {
            names.remove(id);
            if names.is_empty() {
                self.by_person.remove(&entry.address);
            }
        }
        self.touched.insert(entry.address);
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.touched.extend(self.by_person.drain().map(|(address, _)| address));
    }

    /// What somebody is shown by: with several devices, what is furthest counts.
    fn shown(&self, address: &Address) -> Option<&Entry> {
        let entries = self.by_person.get(address)?.iter().filter_map(|id| self.entries.get(id));
        entries.reduce(|known, entry| if rank(entry.state) > rank(known.state) { entry } else { known })
    }

    /// Where somebody stands, whatever the spelling of their address.
    pub(super) fn standing(&self, address: &Address) -> Option<WatcherState> {
        if let Some(entry) = self.shown(address) {
            return Some(entry.state);
        }
        let key = one_spelling(address);
        let same = self.by_person.keys().filter(|known| one_spelling(known) == key);
        same.filter_map(|known| self.shown(known)).map(|entry| entry.state).max_by_key(|state| rank(*state))
    }

    /// Everybody who is known to watch or to ask, and where they stand.
    pub(super) fn everybody(&self) -> impl Iterator<Item = (&Address, WatcherState)> {
        self.by_person.keys().filter_map(|address| Some((address, self.shown(address)?.state)))
    }

    /// Until when it is worth to wait for word on who watches.
    pub(super) fn awaited(&self, now: Instant) -> Option<Instant> {
        self.awaited.filter(|until| now < *until)
    }

    /// Room for one more: whoever was told of longest ago, and does not ask any more, is forgotten.
    fn oldest(&self) -> Option<Address> {
        let gone = self.told.iter().filter(|(address, _)| !self.by_person.contains_key(*address));
        gone.min_by_key(|(_, at)| **at).map(|(address, _)| address.clone())
    }
}

impl Engine {
    /// Signed in: asks who watches.
    pub(super) fn start_watchers(&mut self) {
        self.stop_watchers();
        let Some(target) = self.config.address.to_uri().ok().filter(|_| self.config.watcher_info) else {
            return;
        };
        let params = SubscribeParams {
            event: "presence.winfo".to_owned(),
            accept: vec![watcher_info::MEDIA_TYPE.to_owned()],
            expires: u32::try_from(self.config.subscription.as_secs()).unwrap_or(u32::MAX),
            // Two sources would number their documents apart.
            forks: Forks::First,
            ..SubscribeParams::presence(target)
        };
        self.watchers.versions = Versions::default();
        self.watchers.subscription = self.agent.subscribe(self.now.instant, params);
        self.watchers.awaited = self.watchers.subscription.map(|_| self.now.instant + PATIENCE);
    }

    pub(super) fn stop_watchers(&mut self) {
        self.watchers.awaited = None;
        if let Some(id) = self.watchers.subscription.take() {
            self.agent.unsubscribe(self.now.instant, id);
        }
    }

    /// Signed out: nothing is known of anybody.
    pub(super) fn forget_watchers(&mut self) {
        self.stop_watchers();
        self.watchers.clear();
        self.show_watchers();
    }

    pub(super) fn on_watchers(&mut self, state: &SubscriptionState, notify: Option<NotifyBody>) {
        match state {
            SubscriptionState::Terminated { cause } => {
                self.watchers.subscription = None;
                self.watchers_are_known();
                // Presence works without: said once, for those who wonder why nobody is ever announced.
                let sentence = "the service does not tell who watches this account";
                self.watch.tally.refuse("watcher-info", cause, sentence, self.now.wall);
                return;
            }
            SubscriptionState::Retrying { .. } => {
                self.watchers.versions = Versions::default();
                return;
            }
            _ => {}
        }
        let Some(body) = notify.filter(|notify| !notify.body.is_empty()) else { return };
        let document = match watcher_info::read(&body.body, &Limits::STORED) {
            Ok(document) => document,
            Err(error) => {
                self.diagnose(format!("the list of watchers cannot be read: {error}"));
                return;
            }
        };
        match self.watchers.versions.take(document.version.into(), document.state == State::Full) {
            Arrival::Old => return,
            Arrival::Gap => {
                if let Some(id) = self.watchers.subscription {
                    self.agent.refresh(self.now.instant, id);
                }
                return;
            }
            Arrival::Whole => self.watchers.clear(),
            Arrival::Next => {}
        }
        let whole = document.state == State::Full;
        let own = &self.config.address;
        let presence = document.lists.into_iter().filter(|list| list.package == "presence");
        for watcher in presence.flat_map(|list| list.watchers) {
            let state = match watcher.status {
                Status::Pending => WatcherState::Pending,
                Status::Waiting => WatcherState::Waiting,
                Status::Active => WatcherState::Active,
                Status::Terminated => {
                    self.watchers.remove(&watcher.id);
                    continue;
                }
            };
            let room = self.watchers.entries.len() < MOST || self.watchers.entries.contains_key(&watcher.id);
            let Some(address) = Address::parse(&watcher.uri).ok().filter(|address| room && address != own)
            else {
                continue;
            };
            let name = watcher.display_name.unwrap_or_default();
            let name = name[..name.floor_char_boundary(MAX_NAME)].trim();
            self.watchers.put(watcher.id, Entry { address, name: name.into(), state });
        }
        if whole {
            self.forget_told();
        }
        self.show_watchers();
        self.watchers_are_known();
    }

    /// There is word on who watches, or there will be none.
    fn watchers_are_known(&mut self) {
        if self.watchers.awaited.take().is_some() {
            self.policy.watchers_are_known(self.now.instant);
        }
    }

    /// Whom a document about everybody does not name, does not ask any more.
    fn forget_told(&mut self) {
        let by_person = &self.watchers.by_person;
        let gone = self.watchers.told.extract_if(|address, _| !by_person.contains_key(address));
        let records: Records =
            gone.map(|(address, _)| (RecordKind::Watcher, address.canonical().into(), None)).collect();
        if !records.is_empty() {
            self.ledger.keep(Effect::Records { records, then: Then::Nothing });
        }
    }

    fn show_watchers(&mut self) {
        let now = self.now.wall;
        let mut shown = self.view.watchers.clone();
        let mut changed = false;
        let mut asking = Vec::new();
        let mut answered = Vec::new();
        for address in core::mem::take(&mut self.watchers.touched) {
            let known = shown.get(&address).cloned();
            let Some(entry) = self.watchers.shown(&address) else {
                changed |= shown.remove_mut(&address);
                continue;
            };
            let watcher = match &known {
                Some(known) if known.state == entry.state && known.name == entry.name => known.clone(),
                _ => {
                    changed = true;
                    let since =
                        known.filter(|known| known.state == entry.state).map_or(now, |known| known.since);
                    let (address, name) = (entry.address.clone(), entry.name.clone());
                    let watcher = Arc::new(Watcher { address, name, state: entry.state, since });
                    shown.insert_mut(watcher.address.clone(), watcher.clone());
                    watcher
                }
            };
            let told = self.watchers.told.contains_key(&address);
            match entry.state {
                // Whoever was let in, elsewhere perhaps, and asks again later, is told again.
                WatcherState::Active if told => answered.push(address),
                WatcherState::Active => {}
                _ if !told => asking.push(watcher),
                _ => {}
            }
        }
        if changed {
            self.view.watchers = shown;
            self.ledger.emit(now, EventKind::WatchersChanged);
        }
        for address in answered {
            self.watcher_answered(&address);
        }
        asking.sort_by(|one, other| one.address.canonical().cmp(other.address.canonical()));
        let said = self.policy.about(asking.iter().map(|watcher| &watcher.address));
        for watcher in asking {
            let decided = matches!(
                said.get(&watcher.address),
                Some(Decision::Allow | Decision::Block | Decision::PoliteBlock)
            );
            if decided {
                continue;
            }
            if self.watchers.told.len() >= MOST {
                let Some(oldest) = self.watchers.oldest() else { continue };
                self.watcher_answered(&oldest);
            }
            self.watchers.told.insert(watcher.address.clone(), now);
            self.ledger.keep(Effect::Asked { watcher });
        }
    }

    /// That somebody asked is durable: tells it.
    pub(super) fn apply_asked(&mut self, sealed: &Sealed, watcher: &Arc<Watcher>) {
        let kind = EventKind::WatcherRequested(watcher.clone());
        self.ledger.emit_sealed(&mut { sealed.seq }, sealed.at, kind);
    }

    /// It could not be kept: told with the next document.
    pub(super) fn refuse_asked(&mut self, watcher: &Watcher) {
        self.watchers.told.remove(&watcher.address);
        self.watchers.touched.insert(watcher.address.clone());
    }

    /// Somebody has an answer.
    pub(super) fn watcher_answered(&mut self, address: &Address) {
        self.watchers.touched.insert(address.clone());
        if self.watchers.told.remove(address).is_some() {
            let records = vec![(RecordKind::Watcher, address.canonical().into(), None)];
            self.ledger.keep(Effect::Records { records, then: Then::Nothing });
        }
    }
}

fn rank(state: WatcherState) -> u8 {
    match state {
        WatcherState::Waiting => 0,
        WatcherState::Pending => 1,
        WatcherState::Active => 2,
    }
}
