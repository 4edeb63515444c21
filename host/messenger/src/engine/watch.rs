//! Watching people: how subscriptions come to be and what they say, apart from what is made of it.
//!
//! People are known by their address here, whoever wants to see them. There are four ways to watch, tried from the
//! cheapest: a list that the service holds, lists brought along in requests, a subscription for each person, and asking
//! now and then. Which one holds is decided by what the service is known or found to do; what it refuses is not asked for
//! again before the next sign-in, and everybody concerned is watched by the next way at once. Whoever is not on the
//! service's list is watched beside it.
//!
//! The agent paces the requests, so ten thousand people do not make a storm.

mod kept;
pub(super) mod list;
mod read;
pub(super) mod report;
mod requested;
mod ways;

use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_sip::{
    agent::{Agent, Cause, SubscriptionId},
    uri::UriBuf,
    usage::{Rates, SubscribeParams},
};
use bytes::Bytes;
use rand_chacha::{ChaCha20Rng, rand_core::Rng as _};
use smallvec::SmallVec;

use crate::{address::Address, report::Strategy, time::Now};
use list::{ListState, Part};
use report::Tally;

/// So long may a list take to tell who is on it, before people are watched beside it.
const LIST_PATIENCE: Duration = Duration::from_secs(60);
/// The first question where no subscription is taken comes within this time, so that a thousand do not come together.
const FIRST_POLL: Duration = Duration::from_secs(10);

/// What became known of somebody.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// Documents came; the sources that are not named here are gone, unless none is.
    Documents {
        /// What is new.
        parts: SmallVec<[Part; 1]>,
        /// Every source that counts; empty where others are not concerned.
        sources: SmallVec<[u32; 2]>,
        /// Whether changes will be told.
        live: bool,
    },
    /// The service answers for the person, and what is known is still so.
    Unchanged,
    /// The service answers for the person, and holds nothing.
    Empty {
        /// Which notifier says so, of several; `None` for all.
        fork: Option<u32>,
        /// Whether every notifier has had its say.
        settled: bool,
    },
    /// Nobody has allowed it yet, or nothing has come.
    Pending,
    /// The service has the person on a list, and has said nothing more yet.
    Listed,
    /// Another way of watching begins: what documents said before does not count beside what comes.
    Restart,
    /// Nothing is known at present; it is tried again.
    Away(Cause),
    /// It is over, and not tried again by itself.
    Ended(Cause),
    /// A document of the person's dialogs; `None` when they are not told any more.
    Dialogs(Option<Bytes>),
}

/// What became known of whom.
pub(super) type Told = (Address, News);

/// What watching needs of the engine.
pub(super) struct Hands<'a> {
    pub(super) agent: &'a mut Agent,
    pub(super) rng: &'a mut ChaCha20Rng,
    pub(super) now: Now,
}

impl Hands<'_> {
    /// A part of a time, by chance between two shares of it in percent.
    fn share(&mut self, of: Duration, from: u64, to: u64) -> Duration {
        let millis = u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
        let percent = from + self.rng.next_u64() % (to - from).max(1);
        Duration::from_millis(millis.saturating_mul(percent) / 100)
    }
}

/// How one person is watched.
#[derive(Clone, Debug, Eq, PartialEq)]
enum How {
    /// The service's list has not told yet who is on it.
    Waiting,
    /// By the service's list.
    Listed,
    /// By a list in a request.
    Requested(SubscriptionId),
    /// By a subscription of the person's own.
    Own(SubscriptionId),
    /// By asking then; perhaps a question is under way.
    Polled { at: Instant, asked: Option<SubscriptionId> },
    /// A subscription was refused for this reason, and a question is under way.
    Tried { asked: SubscriptionId, refusal: Box<Cause> },
    /// Not at all: it was refused for good.
    Ended,
}

impl How {
    fn strategy(&self) -> Option<Strategy> {
        match self {
            Self::Waiting | Self::Listed => Some(Strategy::ServerList),
            Self::Requested(_) => Some(Strategy::RequestList),
            Self::Own(_) => Some(Strategy::OneEach),
            Self::Polled { .. } => Some(Strategy::Polling),
            Self::Tried { .. } | Self::Ended => None,
        }
    }
}

/// One subscription.
#[derive(Debug)]
struct Sub {
    about: About,
    /// Whether the service has taken it, as far as is known.
    in_force: bool,
    /// The tag of the state that was told last (RFC 5839).
    etag: Option<Arc<str>>,
    /// The whole list was asked for because what came could not be read, and has not come since.
    asked: bool,
}

impl Sub {
    fn new(about: About) -> Self {
        Self { about, in_force: false, etag: None, asked: false }
    }
}

#[derive(Debug)]
enum About {
    Person(Address),
    /// A single question about a person.
    Question(Address),
    /// The person's dialogs (RFC 4235).
    Dialogs(Address),
    ServerList(ListState),
    RequestList {
        /// By the address that the request and the answer name, which is not always spelt like theirs.
        members: HashMap<Address, Address>,
        state: ListState,
    },
}

/// What came of the service's list.
#[derive(Debug)]
enum Server {
    /// None is known.
    None,
    /// It was subscribed to, and has not told who is on it. People wait for it until then.
    Asked { id: SubscriptionId, until: Option<Instant> },
    /// It works.
    Works(SubscriptionId),
    /// It does not, until the next sign-in.
    Refused,
}

/// Whom to watch, and how it is done.
#[derive(Debug)]
pub(super) struct Watch {
    expires: u32,
    chunk: usize,
    polling: Duration,
    most: usize,
    people: HashMap<Address, How>,
    subs: HashMap<SubscriptionId, Sub>,
    list: Option<UriBuf>,
    server: Server,
    /// Where lists in requests go, if the service takes them.
    requests: Option<UriBuf>,
    requests_refused: bool,
    /// Lists in requests that somebody left, to be asked for without them then.
    trims: VecDeque<(Instant, SubscriptionId)>,
    /// How often notifications for a list shall come.
    list_rates: Rates,
    polls: BTreeSet<(Instant, Address)>,
    /// Whether people's dialogs are wanted, and the subscriptions to them.
    calls: bool,
    calls_refused: bool,
    dialogs: HashMap<Address, SubscriptionId>,
    /// Tags of states that are known still, for subscriptions that begin anew.
    etags: HashMap<Address, Arc<str>>,
    known_list: Option<(ListState, Option<Arc<str>>)>,
    /// Of whom the list that is known told, before this engine was made.
    remembered: HashSet<Address>,
    /// The tag of the list's state is another one than when last asked about.
    tag_changed: bool,
    /// People who came since the last [`flush`](Self::flush).
    added: BTreeSet<Address>,
    signed_in: bool,
    pub(super) tally: Tally,
}

/// What [`Watch`] is made with.
pub(super) struct Settings {
    /// Lifetime of a subscription in seconds.
    pub(super) expires: u32,
    /// Most people of one list in a request.
    pub(super) chunk: usize,
    /// Most notifications a second for a list (RFC 6446).
    pub(super) list_rate: Option<f64>,
    /// Between two questions about one person.
    pub(super) polling: Duration,
    /// Most members of a list.
    pub(super) most: usize,
    /// The service's list, where the configuration names one.
    pub(super) list: Option<UriBuf>,
    /// Whether to ask for people's dialogs.
    pub(super) calls: bool,
}

impl Watch {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            expires: settings.expires,
            chunk: settings.chunk.max(1),
            polling: settings.polling,
            most: settings.most,
            people: HashMap::new(),
            subs: HashMap::new(),
            list: settings.list,
            server: Server::None,
            requests: None,
            requests_refused: false,
            trims: VecDeque::new(),
            list_rates: Rates { max: settings.list_rate, ..Rates::default() },
            polls: BTreeSet::new(),
            calls: settings.calls,
            calls_refused: false,
            dialogs: HashMap::new(),
            etags: HashMap::new(),
            known_list: None,
            remembered: HashSet::new(),
            tag_changed: false,
            added: BTreeSet::new(),
            signed_in: false,
            tally: Tally::default(),
        }
    }

    /// The service has, or has no longer, a list with our contacts.
    pub(super) fn set_list(&mut self, hands: &mut Hands<'_>, list: Option<UriBuf>) {
        if self.list == list {
            return;
        }
        self.list = list;
        self.known_list = None;
        self.remembered = HashSet::new();
        if !self.signed_in {
            return;
        }
        if let Server::Asked { id, .. } | Server::Works(id) = self.server {
            self.drop_sub(hands, id);
        }
        self.server = Server::None;
        self.ask_list(hands);
        // Who was on the list before is watched otherwise until the new one tells.
        let left = self.listed();
        self.individually(hands, left);
    }

    /// The service takes lists in requests to this address.
    pub(super) fn offer_request_lists(&mut self, to: UriBuf) {
        self.requests = Some(to);
    }

    /// Signed in: everybody is watched anew. A service that was away may have lost every subscription without knowing, so
    /// those that were in force are given up; one that the agent tries again anyway began anew by itself when the service
    /// came back. Whatever was refused before is tried again.
    pub(super) fn start(&mut self, hands: &mut Hands<'_>, everybody: &[Address]) {
        self.signed_in = true;
        self.requests_refused = false;
        self.calls_refused = false;
        self.tally.restart();
        let mut over: Vec<SubscriptionId> =
            self.subs.iter().filter(|(_, sub)| sub.in_force).map(|(id, _)| *id).collect();
        over.sort_unstable();
        for id in over {
            if let Some(sub) = self.subs.remove(&id) {
                hands.agent.unsubscribe(hands.now.instant, id);
                match sub.about {
                    About::Person(address) => self.etags.extend(sub.etag.map(|etag| (address, etag))),
                    About::ServerList(state) => self.known_list = Some((state, sub.etag)),
                    _ => {}
                }
            }
        }
        match self.server {
            Server::Asked { id, .. } | Server::Works(id) if self.subs.contains_key(&id) => {}
            _ => self.server = Server::None,
        }
        self.ask_list(hands);
        let unwatched: Vec<Address> = everybody
            .iter()
            .filter(|address| match self.people.get(*address) {
                Some(How::Own(id) | How::Requested(id)) => !self.subs.contains_key(id),
                Some(How::Waiting | How::Listed) => matches!(self.server, Server::None | Server::Refused),
                _ => true,
            })
            .cloned()
            .collect();
        self.added.clear();
        self.assign(hands, unwatched);
        self.etags = HashMap::new();
        self.dialogs.retain(|_, id| self.subs.contains_key(id));
        for address in everybody {
            self.ask_calls(hands, address);
        }
    }

    /// Watches nobody any longer.
    pub(super) fn stop(&mut self, hands: &mut Hands<'_>) {
        self.signed_in = false;
        self.added.clear();
        let mut ids: Vec<SubscriptionId> = self.subs.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.drop_sub(hands, id);
        }
        for (_, how) in core::mem::take(&mut self.people) {
            if let Some(strategy) = how.strategy() {
                self.tally.count(strategy, -1);
            }
        }
        self.polls.clear();
        self.trims.clear();
        self.dialogs.clear();
        self.server = Server::None;
        self.known_list = None;
        self.remembered = HashSet::new();
        self.etags = HashMap::new();
    }

    /// Watches somebody more, from the next [`flush`](Self::flush) on.
    pub(super) fn add(&mut self, address: &Address) {
        if self.signed_in && !self.people.contains_key(address) {
            self.added.insert(address.clone());
        }
    }

    /// Whether [`flush`](Self::flush) has something to do.
    pub(super) fn has_newcomers(&self) -> bool {
        !self.added.is_empty()
    }

    /// Finds a way for all who came together: a list that was fetched makes not one subscription for each on it.
    pub(super) fn flush(&mut self, hands: &mut Hands<'_>) {
        let added: Vec<Address> = core::mem::take(&mut self.added).into_iter().collect();
        self.assign(hands, added.clone());
        for address in &added {
            self.ask_calls(hands, address);
        }
    }

    /// Watches somebody no longer.
    pub(super) fn remove(&mut self, hands: &mut Hands<'_>, address: &Address) {
        self.added.remove(address);
        self.etags.remove(address);
        self.remembered.remove(address);
        if let Some(id) = self.dialogs.remove(address) {
            self.drop_sub(hands, id);
        }
        let list = match self.people.get(address) {
            Some(How::Requested(id)) => Some(*id),
            _ => None,
        };
        self.detach(hands, address);
        self.set(address, None);
        if let Some(id) = list {
            self.trim_later(hands, id);
        }
    }

    /// Asks about somebody again, now.
    pub(super) fn again(&mut self, hands: &mut Hands<'_>, address: &Address) {
        let now = hands.now.instant;
        match self.people.get(address) {
            Some(How::Own(id) | How::Requested(id)) => hands.agent.refresh(now, *id),
            Some(How::Waiting | How::Listed) => {
                if let Server::Asked { id, .. } | Server::Works(id) = self.server {
                    hands.agent.refresh(now, id);
                }
            }
            Some(How::Polled { asked: None, .. }) => self.poll(hands, address),
            Some(How::Polled { .. } | How::Tried { .. }) => {}
            Some(How::Ended) => {
                self.set(address, None);
                self.assign(hands, vec![address.clone()]);
            }
            None => {}
        }
    }

    /// When [`due`](Self::due) wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let list = match self.server {
            Server::Asked { until, .. } => until,
            _ => None,
        };
        let trim = self.trims.front().map(|(at, _)| *at);
        [list, trim, self.polls.first().map(|(at, _)| *at)].into_iter().flatten().min()
    }

    /// Does what time asks for. While the service is `away`, nothing follows from a list that does not tell.
    pub(super) fn due(&mut self, hands: &mut Hands<'_>, away: bool) {
        let now = hands.now.instant;
        if let Server::Asked { id, until: Some(until) } = self.server
            && until <= now
        {
            let until = away.then(|| now + LIST_PATIENCE);
            self.server = Server::Asked { id, until };
            if !away {
                self.tally.because(Strategy::OneEach, "the service's list has not told yet who is on it");
                let left = self.listed();
                self.individually(hands, left);
            }
        }
        self.trim(hands);
        while let Some((at, address)) = self.polls.first().cloned()
            && at <= now
        {
            self.poll(hands, &address);
        }
    }

    /// Whom a subscription of their own is about.
    pub(super) fn person(&self, id: SubscriptionId) -> Option<&Address> {
        match &self.subs.get(&id)?.about {
            About::Person(address) | About::Question(address) => Some(address),
            _ => None,
        }
    }

    // ---- dialogs ----

    fn ask_calls(&mut self, hands: &mut Hands<'_>, address: &Address) {
        if !self.calls || self.calls_refused || self.dialogs.contains_key(address) {
            return;
        }
        let Ok(target) = address.to_uri() else { return };
        let params = SubscribeParams { expires: self.expires, ..SubscribeParams::dialog(target) };
        let Some(id) = hands.agent.subscribe(hands.now.instant, params) else { return };
        self.subs.insert(id, Sub::new(About::Dialogs(address.clone())));
        self.dialogs.insert(address.clone(), id);
    }

    /// Asks for somebody's dialogs again, all of them.
    pub(super) fn calls_again(&mut self, hands: &mut Hands<'_>, address: &Address) {
        if let Some(id) = self.dialogs.get(address) {
            hands.agent.refresh(hands.now.instant, *id);
        }
    }

    // ---- books ----

    fn set(&mut self, address: &Address, how: Option<How>) {
        let after = how.as_ref().and_then(How::strategy);
        let before = match how {
            Some(how) => self.people.insert(address.clone(), how),
            None => self.people.remove(address),
        }
        .and_then(|how| how.strategy());
        if before != after {
            if let Some(strategy) = before {
                self.tally.count(strategy, -1);
            }
            if let Some(strategy) = after {
                self.tally.count(strategy, 1);
            }
        }
    }

    /// Gives up the subscription that was for this person alone, or the person's place in one for several.
    fn detach(&mut self, hands: &mut Hands<'_>, address: &Address) {
        match self.people.get(address).cloned() {
            Some(How::Own(id) | How::Tried { asked: id, .. }) => self.drop_sub(hands, id),
            Some(How::Polled { at, asked }) => {
                self.polls.remove(&(at, address.clone()));
                if let Some(id) = asked {
                    self.drop_sub(hands, id);
                }
            }
            Some(How::Requested(id)) => {
                let empty = match self.subs.get_mut(&id).map(|sub| &mut sub.about) {
                    Some(About::RequestList { members, .. }) => {
                        members.retain(|_, member| member != address);
                        members.is_empty()
                    }
                    _ => false,
                };
                if empty {
                    self.drop_sub(hands, id);
                }
            }
            _ => {}
        }
    }

    fn drop_sub(&mut self, hands: &mut Hands<'_>, id: SubscriptionId) {
        if self.subs.remove(&id).is_some() {
            hands.agent.unsubscribe(hands.now.instant, id);
        }
    }
}
