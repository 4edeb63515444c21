//! Who watches a presentity, told to the presentity: the package `presence.winfo` (RFC 3857, RFC 3858).
//!
//! What a subscriber was told is remembered for each watcher, and the difference to what is now is told next: those who
//! wait for a decision first. A watcher who gave up before a decision was made is remembered for a while, so that the
//! presentity can still decide.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use attache_documents::watcher_info::{
    self, Event, MEDIA_TYPE, State, Status, Watcher, WatcherInfo, WatcherList,
};
use attache_sip::transport::Transport;

use super::notify::Notice;
use super::rls::DATAGRAM_ROOM;
use super::view::View;
use super::{Core, Due};
use crate::directory::Aor;
use crate::subscription::{Subject, Subscription};

/// The package.
pub(super) const PACKAGE: &str = "presence.winfo";
/// What a watcher takes in a document beside the address.
const WATCHER_OVERHEAD: usize = 120;

/// Subscribers to who watches, and watchers who have gone before a decision was made.
#[derive(Default)]
pub(super) struct Observers {
    /// Subscriptions by presentity.
    of: HashMap<Aor, std::collections::BTreeSet<u64>>,
    waiting: HashMap<Aor, BTreeMap<Aor, Waiting>>,
}

/// A watcher who has gone.
struct Waiting {
    id: u64,
    until: Instant,
}

/// What one subscriber knows.
#[derive(Default)]
pub(crate) struct WatcherWatch {
    /// Of the next document.
    version: u32,
    told: HashMap<u64, (Status, Aor)>,
    /// The next document names all.
    full: bool,
    /// Until then, changes are gathered.
    quiet_until: Option<Instant>,
}

impl WatcherWatch {
    pub(crate) fn new() -> Self {
        Self { full: true, ..Self::default() }
    }

    /// Everything has to be told anew.
    pub(crate) fn restart(&mut self) {
        self.full = true;
    }
}

impl Core {
    /// A subscription to who watches begins.
    pub(super) fn observe(&mut self, presentity: &Aor, id: u64) {
        self.observers.of.entry(Aor::clone(presentity)).or_default().insert(id);
    }

    /// What has to be known of a subscription that is over.
    pub(super) fn watcher_left(&mut self, now: Instant, id: u64, subscription: &Subscription) {
        match &subscription.subject {
            Subject::Watchers(presentity, _) => {
                if let Some(all) = self.observers.of.get_mut(presentity) {
                    all.remove(&id);
                    if all.is_empty() {
                        self.observers.of.remove(presentity);
                    }
                }
            }
            // One that was refused, or whose presentity is gone, waits for nothing.
            Subject::Presence(presentity)
                if subscription.end == "timeout" && subscription.told == Some(View::Pending.mark()) =>
            {
                self.waits(now, presentity, id, &subscription.watcher);
            }
            Subject::List(list) => {
                for (slot, entry) in (0..).zip(&*list.entries) {
                    if let crate::lists::Resource::User(presentity) = &entry.resource
                        && list.told(slot) == View::Pending.mark()
                    {
                        self.waits(now, presentity, id, &subscription.watcher);
                    }
                }
            }
            _ => {}
        }
    }

    fn waits(&mut self, now: Instant, presentity: &Aor, id: u64, watcher: &Aor) {
        let all = self.observers.waiting.entry(Aor::clone(presentity)).or_default();
        all.retain(|_, waiting| waiting.until > now);
        if all.len() >= self.limits.waiting_watchers
            && let Some(first) =
                all.iter().min_by_key(|(_, waiting)| waiting.until).map(|(who, _)| Aor::clone(who))
        {
            all.remove(&first);
        }
        all.insert(Aor::clone(watcher), Waiting { id, until: now + self.limits.waiting_for });
    }

    /// The watchers of these presentities, or what they may see, may have changed.
    pub(super) fn watchers_changed(&mut self, now: Instant, presentity: &Aor) {
        let Some(observers) = self.observers.of.get(presentity) else { return };
        for id in observers.clone() {
            let Some(subscription) = self.presence.subscriptions.get(&id) else { continue };
            let quiet = match &subscription.subject {
                Subject::Watchers(_, watch) => watch.quiet_until,
                _ => None,
            };
            match quiet {
                Some(until) if until > now => self.timers.set(Due::ListNews(id), until),
                _ => self.queue(id),
            }
        }
    }

    /// What a subscriber is told next; `None` if there is nothing.
    pub(super) fn watchers_notice(
        &mut self,
        now: Instant,
        presentity: &Aor,
        watch: &mut WatcherWatch,
        must: bool,
        transport: Transport,
    ) -> Option<Notice> {
        let current = self.watchers_of(now, presentity);
        let full = core::mem::take(&mut watch.full) || must;
        if full {
            watch.told.clear();
        }
        let mut changes: Vec<(u64, Status, Event, Aor, Option<Duration>)> = Vec::new();
        for (id, (status, who, left)) in &current {
            let before = watch.told.get(id).map(|(status, _)| *status);
            let event = match (before, status) {
                (Some(before), status) if before == *status => continue,
                (Some(Status::Pending), Status::Active) => Event::Approved,
                (_, Status::Waiting) => Event::Timeout,
                _ => Event::Subscribe,
            };
            changes.push((*id, *status, event, Aor::clone(who), *left));
        }
        let gone: Vec<_> = watch.told.iter().filter(|(id, _)| !current.contains_key(id)).collect();
        let mut over: Vec<(u64, Status, Event, Aor, Option<Duration>)> = Vec::new();
        for (id, (before, who)) in gone {
            let event = match (self.view(now, presentity, who), before) {
                (View::Rejected, _) => Event::Rejected,
                (View::Shown(_), Status::Waiting) => Event::Approved,
                (_, Status::Waiting) => Event::Giveup,
                _ => Event::Timeout,
            };
            over.push((*id, Status::Terminated, event, Aor::clone(who), None));
        }
        changes.append(&mut over);
        self.forget_if_nobody(presentity);
        if changes.is_empty() && !full {
            return None;
        }
        changes.sort_by_key(|(id, status, ..)| (*status == Status::Active, *id));
        let limit = match transport {
            Transport::Udp => self.limits.list_notify_bytes.min(DATAGRAM_ROOM),
            _ => self.limits.list_notify_bytes,
        };
        let (mut used, mut watchers) = (0, Vec::new());
        let mut rest = changes.into_iter();
        for (id, status, event, who, left) in rest.by_ref() {
            used += who.len() + WATCHER_OVERHEAD;
            watchers.push(Watcher {
                uri: format!("sip:{who}"),
                id: format!("w{id:x}"),
                status,
                event,
                expiration: left.map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX)),
                duration_subscribed: None,
                display_name: None,
            });
            if status == Status::Terminated {
                watch.told.remove(&id);
            } else {
                watch.told.insert(id, (status, who));
            }
            if used >= limit {
                break;
            }
        }
        let document = WatcherInfo {
            version: watch.version,
            state: if full { State::Full } else { State::Partial },
            lists: vec![WatcherList {
                resource: format!("sip:{presentity}"),
                package: "presence".into(),
                watchers,
            }],
        };
        watch.version = watch.version.wrapping_add(1);
        watch.quiet_until = Some(now + self.limits.notify_interval);
        Some(Notice {
            state: "active",
            content_type: MEDIA_TYPE.to_owned(),
            body: Some(watcher_info::write(&document).into()),
            more: rest.next().is_some(),
            ..Notice::default()
        })
    }

    /// All who watch now, or wait, by the number of their subscription.
    fn watchers_of(
        &mut self,
        now: Instant,
        presentity: &Aor,
    ) -> BTreeMap<u64, (Status, Aor, Option<Duration>)> {
        let mut all = BTreeMap::new();
        let known = self.presence.presentities.get(presentity);
        let subscriptions: Vec<u64> =
            known.map(|known| known.watchers.iter().map(|(id, _)| *id).collect()).unwrap_or_default();
        for id in subscriptions {
            let Some(subscription) = self.presence.subscriptions.get(&id) else { continue };
            if subscription.watcher == *presentity || subscription.ended {
                continue;
            }
            let who = Aor::clone(&subscription.watcher);
            let left = subscription.expires_at.saturating_duration_since(now);
            let status = match self.view(now, presentity, &who) {
                View::Shown(_) => Status::Active,
                View::Pending => Status::Pending,
                View::Rejected => continue,
            };
            all.insert(id, (status, who, Some(left)));
        }
        let waiting = self.observers.waiting.remove(presentity).unwrap_or_default();
        let mut still = BTreeMap::new();
        for (who, waiting) in waiting {
            let is_back = all.values().any(|(_, known, _)| *known == who);
            let is_open = matches!(self.view(now, presentity, &who), View::Pending);
            if waiting.until > now && is_open && !is_back {
                let left = waiting.until.saturating_duration_since(now);
                all.insert(waiting.id, (Status::Waiting, Aor::clone(&who), Some(left)));
                still.insert(who, waiting);
            }
        }
        if !still.is_empty() {
            self.observers.waiting.insert(Aor::clone(presentity), still);
        }
        all
    }
}
