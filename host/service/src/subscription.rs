//! Subscriptions: who is told what, where, and what they know already (RFC 6665).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::core::{DocumentWatch, OwnWatch, RosterWatch, WatcherWatch};
use crate::directory::Aor;
use crate::lists::Entry;
use crate::presence::Shown;
use crate::rates::Pace;
use crate::reach::Reach;

/// Which dialog a subscription lives in: Call-ID, our tag, the watcher's tag (RFC 3261, section 12).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct DialogId {
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
}

/// What is subscribed to.
pub(crate) enum Subject {
    /// The presence of a user (RFC 3856).
    Presence(Aor),
    /// The presence of those in a list (RFC 4662).
    List(Box<ListWatch>),
    /// Who watches a user (RFC 3857).
    Watchers(Aor, Box<WatcherWatch>),
    /// A user's documents (RFC 5875).
    Documents(Aor, Box<DocumentWatch>),
    /// The watcher's own affairs.
    Own(Aor, Box<OwnWatch>),
    /// Who is in a conference (RFC 4575).
    Conference(Box<RosterWatch>),
    /// Nothing, while a NOTIFY is being composed.
    Taken,
}

/// A state as far as watchers tell one from another: equal marks mean that there is nothing to tell. Never 0.
pub(crate) type Mark = u64;

/// One watcher's subscription (RFC 6665).
pub(crate) struct Subscription {
    pub(crate) dialog: DialogId,
    pub(crate) subject: Subject,
    pub(crate) watcher: Aor,
    /// From and To of our requests.
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) target: String,
    pub(crate) contact: String,
    pub(crate) routes: Vec<String>,
    /// The value of Event, with the watcher's `id`.
    pub(crate) event: String,
    pub(crate) reach: Reach,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: u32,
    pub(crate) expires_at: Instant,
    /// The next NOTIFY is the last.
    pub(crate) ended: bool,
    /// Why it is.
    pub(crate) end: &'static str,
    /// It was never meant to last: the state is wanted once (RFC 6665, section 4.4.3).
    pub(crate) fetch: bool,
    /// The next NOTIFY goes out even when it says nothing new.
    pub(crate) must: bool,
    /// The next NOTIFY says that the watcher has the state already, and leaves it out (RFC 5839, section 5.3).
    pub(crate) bare: bool,
    /// What the watcher has heard last; `None` when that is not known.
    pub(crate) told: Option<Mark>,
    /// How often it is told, where it said so.
    pub(crate) pace: Option<Box<Pace>>,
    /// Where it is told what changed (RFC 5263).
    pub(crate) partial: Option<Box<Partial>>,
    /// The last NOTIFY did not hold everything: the next one goes on with it.
    pub(crate) goes_on: bool,
    /// A NOTIFY waits for its answer: the next one waits with it.
    pub(crate) in_flight: bool,
    /// The watcher could not take the last NOTIFY: the next one waits for a while.
    pub(crate) resting: bool,
    /// NOTIFYs in a row that the watcher could not take.
    pub(crate) tries: u32,
    /// There is something newer than the NOTIFY that is on its way.
    pub(crate) behind: bool,
    /// It stands in the queue already.
    pub(crate) queued: bool,
}

/// What a watcher of changes knows.
#[derive(Default)]
pub(crate) struct Partial {
    /// Of the next document.
    pub(crate) version: u32,
    /// The document that the next changes are to; `None` where the watcher may have another one.
    pub(crate) last: Option<Shown>,
}

impl Subscription {
    /// Whatever was told last may not have arrived, or is not enough: the next NOTIFY says everything.
    pub(crate) fn start_over(&mut self) {
        self.told = None;
        self.must = true;
        if let Some(partial) = &mut self.partial {
            partial.last = None;
        }
        match &mut self.subject {
            Subject::List(list) => list.restart(),
            Subject::Watchers(_, watch) => watch.restart(),
            Subject::Documents(_, watch) => watch.restart(),
            Subject::Own(_, watch) => watch.restart(),
            Subject::Conference(watch) => watch.restart(),
            Subject::Presence(_) | Subject::Taken => {}
        }
    }

    /// Bytes of what its watcher wrote.
    pub(crate) fn text(&self) -> usize {
        let routes: usize = self.routes.iter().map(String::len).sum();
        let dialog = self.dialog.call_id.len() + self.dialog.remote_tag.len();
        dialog + self.local.len() + self.remote.len() + self.target.len() + self.event.len() + routes
    }

    /// The key of the list that it is to, where the service keeps that.
    pub(crate) fn list_name(&self) -> Option<Arc<str>> {
        match &self.subject {
            Subject::List(list) => list.name.clone(),
            _ => None,
        }
    }
}

impl Subject {
    /// Users in it.
    pub(crate) fn breadth(&self) -> usize {
        match self {
            Self::Presence(_) => 1,
            Self::List(list) => list.entries.len(),
            Self::Watchers(..) | Self::Documents(..) | Self::Own(..) | Self::Conference(_) => 1,
            Self::Taken => 0,
        }
    }
}

/// What one watcher knows of a list.
///
/// The entries are shared by all watchers of a list; what is a watcher's own is 9 bytes for each.
pub(crate) struct ListWatch {
    /// The address of the list, as it was asked for.
    pub(crate) uri: String,
    /// The key of the list, where it is one that the service keeps.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) entries: Arc<[Entry]>,
    /// What was told of each entry; 0 for nothing.
    told: Vec<Mark>,
    /// Entries that may have changed, each once, in the order of their changes.
    dirty: VecDeque<u32>,
    is_dirty: Vec<bool>,
    /// The next NOTIFY names all entries.
    pub(crate) full: bool,
    /// Of the next NOTIFY (RFC 4662, section 5.2).
    pub(crate) version: u32,
    /// Until then, changes are gathered.
    pub(crate) quiet_until: Option<Instant>,
    /// Over all that was told: whoever has the same has the same state.
    pub(crate) digest: u64,
}

impl ListWatch {
    pub(crate) fn new(uri: String, name: Option<Arc<str>>, entries: Arc<[Entry]>) -> Self {
        let count = entries.len();
        Self {
            uri,
            name,
            entries,
            told: vec![0; count],
            dirty: VecDeque::new(),
            is_dirty: vec![false; count],
            full: true,
            version: 0,
            quiet_until: None,
            digest: 0,
        }
    }

    /// An entry may have changed. Constant time.
    pub(crate) fn touch(&mut self, slot: u32) {
        if let Some(flag) = self.is_dirty.get_mut(slot as usize)
            && !*flag
        {
            *flag = true;
            self.dirty.push_back(slot);
        }
    }

    /// The entry that has waited longest to be told.
    pub(crate) fn next_touched(&mut self) -> Option<u32> {
        let slot = self.dirty.pop_front()?;
        self.is_dirty[slot as usize] = false;
        Some(slot)
    }

    pub(crate) fn any_touched(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn forget_touched(&mut self) {
        while self.next_touched().is_some() {}
    }

    pub(crate) fn told(&self, slot: u32) -> Mark {
        self.told[slot as usize]
    }

    /// The watcher is told a state of an entry.
    pub(crate) fn tell(&mut self, slot: u32, mark: Mark) {
        let key = self.entries[slot as usize].key;
        let before = core::mem::replace(&mut self.told[slot as usize], mark);
        self.digest ^= mix(key, before) ^ mix(key, mark);
    }

    /// Everything has to be told anew.
    pub(crate) fn restart(&mut self) {
        self.full = true;
    }

    /// Other entries take the place of those until now. Whoever stays is as far as before; who is new is touched.
    /// Whether anybody left.
    pub(crate) fn exchange(&mut self, entries: Arc<[Entry]>) -> bool {
        let old = core::mem::replace(&mut self.entries, entries);
        let before: std::collections::HashMap<&str, Mark> =
            old.iter().zip(&self.told).map(|(entry, told)| (&*entry.uri, *told)).collect();
        let touched: std::collections::HashSet<&str> =
            self.dirty.iter().map(|slot| &*old[*slot as usize].uri).collect();
        let mut stay = 0;
        self.told = Vec::with_capacity(self.entries.len());
        self.dirty.clear();
        self.is_dirty = vec![false; self.entries.len()];
        self.digest = 0;
        let entries = Arc::clone(&self.entries);
        for (slot, entry) in entries.iter().enumerate() {
            let known = before.get(&*entry.uri).copied();
            stay += usize::from(known.is_some());
            let mark = known.unwrap_or(0);
            self.told.push(mark);
            self.digest ^= mix(entry.key, mark);
            if known.is_none() || touched.contains(&*entry.uri) {
                self.touch(u32::try_from(slot).unwrap_or(u32::MAX));
            }
        }
        stay < old.len()
    }
}

/// One number out of a resource and its state, such that the sum of many tells them apart.
pub(crate) fn mix(key: u64, mark: Mark) -> u64 {
    if mark == 0 {
        return 0;
    }
    // The finaliser of splitmix64, over both.
    let mut z = key ^ mark.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
