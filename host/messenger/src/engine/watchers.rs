//! Who watches the account, and who asks to (RFC 3857, RFC 3858).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
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
        versions::{Arrival, Versions},
    },
    event::EventKind,
    privacy::{Decision, Watcher, WatcherState},
    storage::{Record, RecordKind},
    time::Timestamp,
};

/// Most subscriptions of watchers that are kept.
const MOST: usize = 10_000;
/// Longest name of a watcher, in bytes.
const MAX_NAME: usize = 256;

/// What is known of watchers.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    subscription: Option<SubscriptionId>,
    versions: Versions,
    /// By the service's name for each subscription.
    entries: BTreeMap<String, Entry>,
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
    }

    pub(super) fn stop_watchers(&mut self) {
        if let Some(id) = self.watchers.subscription.take() {
            self.agent.unsubscribe(self.now.instant, id);
        }
    }

    /// Signed out: nothing is known of anybody.
    pub(super) fn forget_watchers(&mut self) {
        self.stop_watchers();
        self.watchers.entries.clear();
        self.show_watchers();
    }

    pub(super) fn on_watchers(&mut self, state: &SubscriptionState, notify: Option<NotifyBody>) {
        match state {
            SubscriptionState::Terminated { cause } => {
                self.watchers.subscription = None;
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
            Arrival::Whole => self.watchers.entries.clear(),
            Arrival::Next => {}
        }
        let own = &self.config.address;
        let presence = document.lists.into_iter().filter(|list| list.package == "presence");
        for watcher in presence.flat_map(|list| list.watchers) {
            let state = match watcher.status {
                Status::Pending => WatcherState::Pending,
                Status::Waiting => WatcherState::Waiting,
                Status::Active => WatcherState::Active,
                Status::Terminated => {
                    self.watchers.entries.remove(&watcher.id);
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
            self.watchers.entries.insert(watcher.id, Entry { address, name: name.into(), state });
        }
        self.show_watchers();
    }

    fn show_watchers(&mut self) {
        let mut people: HashMap<&Address, &Entry> = HashMap::new();
        for entry in self.watchers.entries.values() {
            // With several devices, what is furthest counts.
            let known = people.entry(&entry.address).or_insert(entry);
            if rank(entry.state) > rank(known.state) {
                *known = entry;
            }
        }
        let now = self.now.wall;
        let mut shown = rpds::HashTrieMapSync::new_sync();
        let mut changed = people.len() != self.view.watchers.size();
        let mut asking = Vec::new();
        for (address, entry) in people {
            let known = self.view.watchers.get(address);
            let watcher = match known.filter(|known| known.state == entry.state && known.name == entry.name) {
                Some(known) => known.clone(),
                None => {
                    changed = true;
                    let since =
                        known.filter(|known| known.state == entry.state).map_or(now, |known| known.since);
                    let name = entry.name.clone();
                    Arc::new(Watcher { address: address.clone(), name, state: entry.state, since })
                }
            };
            if entry.state != WatcherState::Active && !self.watchers.told.contains_key(address) {
                asking.push(watcher.clone());
            }
            shown.insert_mut(address.clone(), watcher);
        }
        if changed {
            self.view.watchers = shown;
            self.ledger.emit(now, EventKind::WatchersChanged);
        }
        // Whoever was let in, elsewhere perhaps, and asks again later, is told again.
        let answered: Vec<Address> = self
            .watchers
            .told
            .keys()
            .filter(|address| {
                self.view.watchers.get(*address).is_some_and(|watcher| watcher.state == WatcherState::Active)
            })
            .cloned()
            .collect();
        for address in answered {
            self.watcher_answered(&address);
        }
        asking.sort_by(|one, other| one.address.canonical().cmp(other.address.canonical()));
        for watcher in asking {
            let decided = matches!(
                self.policy.about(&watcher.address),
                Some(Decision::Allow | Decision::Block | Decision::PoliteBlock)
            );
            if !decided {
                self.watchers.told.insert(watcher.address.clone(), now);
                self.ledger.keep(Effect::Asked { watcher });
            }
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
    }

    /// Somebody has an answer.
    pub(super) fn watcher_answered(&mut self, address: &Address) {
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
