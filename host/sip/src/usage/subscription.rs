//! Subscriptions to somebody's state (RFC 6665).
//!
//! A subscription is what the user wants; a [`Fork`] is a dialog that a notifier has made of it. The first NOTIFY
//! creates a fork, whether the 2xx has come by then or not. A subscription outlives its forks: when the last one ends, the reason
//! decides whether and when everything begins again ([`reason`]).
//!
//! Ten thousand of them share one window of requests on their way, so that a start, a refresh or the return of a
//! service is as fast as the service, and no faster.

mod fork;
mod notify;
mod reason;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{When, refusal, retry_of};
use crate::agent::core::{Core, UsageKey};
use crate::agent::{AgentEvent, Cause, NotifyBody, SubscriptionId, Terms};
use crate::uri::UriBuf;

use fork::Fork;
use requests::Job;

/// What to subscribe to.
#[derive(Clone, PartialEq)]
pub struct SubscribeParams {
    /// Whose state.
    pub target: UriBuf,
    /// The event package, perhaps with parameters, such as `presence` or `presence.winfo`.
    pub event: String,
    /// The types of documents that are understood; empty leaves Accept out.
    pub accept: Vec<String>,
    /// For how long, in seconds; it is refreshed until [`unsubscribe`](crate::agent::Agent::unsubscribe). 0 fetches the state
    /// once, without a retry.
    pub expires: u32,
    /// Content type and octets of a body: a filter or a list.
    pub body: Option<(String, Bytes)>,
    /// Whether a list of resources in one subscription is understood: `Supported: eventlist` (RFC 4662). With a body, the list is in the
    /// request, and `Require: recipient-list-subscribe` is sent (RFC 5367).
    pub event_list: bool,
    /// The tag of the state that is known already (RFC 5839), so that the notifier need not send it again; `*` stands for whatever the state
    /// is: only changes from now on are of interest.
    pub etag: Option<String>,
    /// How often notifications shall come (RFC 6446).
    pub rates: Rates,
    /// A person looks at it now: its first request goes before all that wait, and does not wait for the
    /// [budget](crate::agent::AgentConfig::budget).
    pub urgent: bool,
    /// Further headers, such as `Supported: eventlist`.
    pub headers: Vec<(String, String)>,
    /// What to do with several notifiers.
    pub forks: Forks,
}

/// What to do when a SUBSCRIBE reached several notifiers (RFC 6665 §4.4.9).
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum Forks {
    /// Each of them is heard; their documents are to be merged by the user. Right for presence (RFC 3856 §6.9).
    #[default]
    Accept,
    /// The first is heard, others get 481.
    First,
}

/// How often notifications come, in notifications a second, as three decimal digits are kept of them (RFC 6446).
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Rates {
    /// No more often than this: `max-rate`.
    pub max: Option<f64>,
    /// At least as often, with the full state: `min-rate`.
    pub min: Option<f64>,
    /// At least as often on average, fewer where there are others: `adaptive-min-rate`.
    pub adaptive_min: Option<f64>,
}

impl Rates {
    /// An Event header with the parameters that ask for these rates.
    fn written_behind(&self, event: &str) -> String {
        let mut value = event.to_owned();
        let params =
            [("max-rate", self.max), ("min-rate", self.min), ("adaptive-min-rate", self.adaptive_min)];
        for (name, rate) in params {
            if let Some(rate) = rate.filter(|rate| rate.is_finite() && *rate >= 0.0) {
                let digits = format!("{:.3}", rate.min(1000.0));
                let digits = digits.trim_end_matches('0').trim_end_matches('.');
                value.push_str(&format!(";{name}={digits}"));
            }
        }
        value
    }
}

impl SubscribeParams {
    /// A subscription to somebody's presence (RFC 3856), for an hour at a time.
    pub fn presence(target: UriBuf) -> Self {
        Self {
            target,
            event: "presence".to_owned(),
            accept: vec!["application/pidf+xml".to_owned()],
            expires: 3600,
            body: None,
            event_list: false,
            etag: None,
            rates: Rates::default(),
            urgent: false,
            headers: Vec::new(),
            forks: Forks::Accept,
        }
    }

    /// A subscription to the presence of all that a list names, which the service holds (RFC 4662). With a [body](Self::body) of
    /// `application/resource-lists+xml`, the list is in the request (RFC 5367).
    pub fn list(target: UriBuf) -> Self {
        let accept = ["application/pidf+xml", "application/rlmi+xml", "multipart/related"];
        Self { event_list: true, ..Self::package(target, "presence", &accept, Forks::First) }
    }

    /// A subscription to those who watch our presence (RFC 3857, RFC 3858).
    pub fn watchers(target: UriBuf) -> Self {
        Self::package(target, "presence.winfo", &["application/watcherinfo+xml"], Forks::First)
    }

    /// A subscription to changes of documents at an XCAP server (RFC 5875). The body names the documents.
    pub fn xcap_diff(target: UriBuf) -> Self {
        Self::package(target, "xcap-diff", &["application/xcap-diff+xml"], Forks::First)
    }

    /// A subscription to somebody's calls (RFC 4235). Each of several phones tells of its own.
    pub fn dialog(target: UriBuf) -> Self {
        Self::package(target, "dialog", &["application/dialog-info+xml"], Forks::Accept)
    }

    /// A subscription to the bindings of an account (RFC 3680).
    pub fn reg(target: UriBuf) -> Self {
        Self::package(target, "reg", &["application/reginfo+xml"], Forks::First)
    }

    /// A subscription to what waits in a mailbox (RFC 3842).
    pub fn message_summary(target: UriBuf) -> Self {
        Self::package(target, "message-summary", &["application/simple-message-summary"], Forks::First)
    }

    /// A subscription to who takes part in a conference (RFC 4575).
    pub fn conference(target: UriBuf) -> Self {
        Self::package(target, "conference", &["application/conference-info+xml"], Forks::First)
    }

    /// A subscription to any package, for an hour at a time.
    pub fn package(target: UriBuf, event: &str, accept: &[&str], forks: Forks) -> Self {
        Self {
            event: event.to_owned(),
            accept: accept.iter().map(|kind| (*kind).to_owned()).collect(),
            forks,
            ..Self::presence(target)
        }
    }

    /// The package without parameters.
    fn event_package(&self) -> &str {
        self.event.split(';').next().unwrap_or_default().trim()
    }
}

impl std::fmt::Debug for SubscribeParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubscribeParams")
            .field("target", &self.target)
            .field("event", &self.event)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The state of a subscription.
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub enum SubscriptionState {
    /// Taken, but nobody has allowed it yet.
    Pending,
    /// Allowed: documents are true until told otherwise.
    Active,
    /// Nothing is known at present; it is tried again by itself.
    Retrying {
        /// Why.
        cause: Cause,
        /// When.
        after: Duration,
    },
    /// It is over. Final.
    Terminated {
        /// Why.
        cause: Cause,
    },
}

impl SubscriptionState {
    /// Whether the agent has forgotten the subscription.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Terminated { .. })
    }
}

/// After this long in force, an end is no sign that the service rejects us again and again.
const PROVEN: Duration = Duration::from_secs(60);

/// A subscription that would start again at once waits at most this long, so that a thousand do not start together.
const SPREAD: Duration = Duration::from_millis(500);

enum Phase {
    /// Its SUBSCRIBE waits for a place in the window.
    Queued,
    /// The SUBSCRIBE was sent; timer N runs (RFC 6665 §4.1.2).
    Starting { timer_n: Instant },
    /// There is at least one fork.
    Live { since: Instant },
    /// It is tried again then. `outage`: or as soon as the service is back, or there is an access token.
    Waiting { until: Instant, outage: bool },
}

struct Subscription {
    params: SubscribeParams,
    phase: Phase,
    forks: SmallVec<[Fork; 1]>,
    next_fork: u32,
    /// Call-ID of this attempt; empty when no dialog of it may live.
    call_id: Box<str>,
    cseq: u32,
    /// The SUBSCRIBE that begins everything has no final answer yet: it may be on its way to the next target.
    asked: bool,
    /// Counts beginnings, so that answers to an earlier one are told apart.
    attempt: u32,
    /// The last beginning, for the time in which forks may show up.
    started: Option<Instant>,
    /// What the 2xx granted, in seconds, until a NOTIFY says it.
    granted: Option<u32>,
    /// The tag of the state that the user has, where there is one notifier (RFC 5839).
    etag: Option<Arc<str>>,
    /// How often the notifier says that it notifies.
    rates: Rates,
    raised: bool,
    failures: u32,
    /// The user wants no more of it; it is forgotten at that time at the latest.
    closing: Option<Instant>,
    reported: Option<SubscriptionState>,
    deadline: Option<Instant>,
}

impl Subscription {
    fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Queued | Phase::Live { .. } => None,
            Phase::Starting { timer_n } => Some(timer_n),
            Phase::Waiting { until, .. } => Some(until),
        };
        let forks = self.forks.iter().filter_map(Fork::deadline).min();
        [phase, forks, self.closing].into_iter().flatten().min()
    }

    fn fork_mut(&mut self, id: u32) -> Option<&mut Fork> {
        self.forks.iter_mut().find(|fork| fork.id == id)
    }
}

/// All subscriptions of one agent.
pub(crate) struct Subscriptions {
    /// By the number in the local tag, which every NOTIFY brings back.
    all: HashMap<u64, Subscription>,
    queue: VecDeque<Job>,
    /// The first of the queue waits for the budget.
    gated: bool,
    in_flight: usize,
}

impl Subscriptions {
    pub(crate) fn new() -> Self {
        Self { all: HashMap::new(), queue: VecDeque::new(), gated: false, in_flight: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn deadline(&self, id: u64) -> Option<Instant> {
        self.all.get(&id).and_then(|subscription| subscription.deadline)
    }

    pub(crate) fn subscribe(
        &mut self,
        core: &mut Core,
        now: Instant,
        params: SubscribeParams,
    ) -> SubscriptionId {
        let id = loop {
            let id = core.random();
            if !self.all.contains_key(&id) {
                break id;
            }
        };
        let subscription = Subscription {
            phase: Phase::Queued,
            forks: SmallVec::new(),
            next_fork: 0,
            call_id: "".into(),
            cseq: 0,
            asked: false,
            attempt: 0,
            started: None,
            granted: None,
            etag: params.etag.as_deref().filter(|etag| *etag != "*").map(Into::into),
            rates: Rates::default(),
            raised: false,
            failures: 0,
            closing: None,
            reported: None,
            deadline: None,
            params,
        };
        let urgent = subscription.params.urgent;
        self.all.insert(id, subscription);
        if urgent {
            self.start(core, now, id);
        } else {
            self.enqueue(core, now, Job::Start(id));
        }
        SubscriptionId(id)
    }

    pub(crate) fn unsubscribe(&mut self, core: &mut Core, now: Instant, id: u64) {
        let patience = core.config.timers.timeout().saturating_mul(2);
        let Some(subscription) = self.all.get_mut(&id) else { return };
        if subscription.closing.is_some() {
            return;
        }
        subscription.closing = Some(now + patience);
        match subscription.phase {
            Phase::Queued | Phase::Waiting { .. } => return self.finish(core, id, Cause::Closed, None),
            // A fork may come to be at any moment; it is closed then.
            Phase::Starting { .. } => {}
            Phase::Live { .. } => {
                let idle: Vec<u32> =
                    subscription.forks.iter().filter(|fork| !fork.busy).map(|fork| fork.id).collect();
                for fork in idle {
                    self.close(core, now, id, fork);
                }
            }
        }
        self.arm(core, id);
    }

    pub(crate) fn refresh(&mut self, core: &mut Core, now: Instant, id: u64) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        if subscription.closing.is_some() {
            return;
        }
        if matches!(subscription.phase, Phase::Waiting { .. }) {
            return self.restart(core, now, id);
        }
        // What is known may be what is wrong: nothing may be left out because of a tag.
        subscription.etag = None;
        let mut idle: SmallVec<[u32; 1]> = SmallVec::new();
        for fork in subscription.forks.iter_mut().filter(|fork| !fork.busy) {
            fork.busy = true;
            fork.refresh_at = None;
            fork.etag = None;
            idle.push(fork.id);
        }
        for fork in idle {
            self.enqueue(core, now, Job::Refresh(id, fork));
        }
        self.arm(core, id);
    }

    /// The service is back: what failed while it was away begins again, as fast as the window lets it.
    pub(crate) fn wake(&mut self, core: &mut Core, now: Instant) {
        let mut ids: Vec<u64> = self
            .all
            .iter()
            .filter(|(_, subscription)| matches!(subscription.phase, Phase::Waiting { outage: true, .. }))
            .map(|(id, _)| *id)
            .collect();
        // The table has no order of its own, and a run must be the same for the same seed.
        ids.sort_unstable();
        for id in ids {
            self.restart(core, now, id);
        }
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Instant, id: u64) {
        let timer_n = now + core.config.timers.timeout();
        let Some(subscription) = self.all.get_mut(&id) else { return };
        subscription.deadline = None;
        if subscription.closing.is_some_and(|at| at <= now) {
            return self.finish(core, id, Cause::Closed, None);
        }
        match subscription.phase {
            Phase::Waiting { until, .. } if until <= now => return self.restart(core, now, id),
            // A request fails over when its own time is up, which is that of timer N.
            Phase::Starting { timer_n: due } if due <= now && subscription.asked => {
                subscription.phase = Phase::Starting { timer_n };
            }
            Phase::Starting { timer_n: due } if due <= now => {
                return self.ended(core, now, id, Cause::NoNotify, When::Later(None), None);
            }
            _ => {}
        }
        let mut over: SmallVec<[(u32, Cause); 1]> = SmallVec::new();
        let mut due: SmallVec<[u32; 1]> = SmallVec::new();
        for fork in &mut subscription.forks {
            if fork.expires_at <= now {
                over.push((fork.id, fork.refused.take().unwrap_or(Cause::Expired)));
            } else if fork.timer_n.is_some_and(|at| at <= now) {
                if fork.busy {
                    fork.timer_n = Some(timer_n);
                } else {
                    over.push((fork.id, Cause::NoNotify));
                }
            } else if fork.refresh_at.is_some_and(|at| at <= now) {
                fork.refresh_at = None;
                if !fork.busy {
                    fork.busy = true;
                    due.push(fork.id);
                }
            }
        }
        for fork in due {
            self.enqueue(core, now, Job::Refresh(id, fork));
        }
        for (fork, cause) in over {
            let when = match retry_of(&cause, None) {
                When::Never => When::Never,
                _ => When::Now,
            };
            self.drop_fork(core, now, id, fork, cause, when, None);
        }
        self.arm(core, id);
    }

    fn restart(&mut self, core: &mut Core, now: Instant, id: u64) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        subscription.phase = Phase::Queued;
        self.enqueue(core, now, Job::Start(id));
        self.arm(core, id);
    }

    /// A fork is over; with the last one, this attempt of the subscription is.
    #[allow(clippy::too_many_arguments, reason = "one end, told completely")]
    fn drop_fork(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        fork: u32,
        cause: Cause,
        when: When,
        notify: Option<NotifyBody>,
    ) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        subscription.forks.retain(|known| known.id != fork);
        if subscription.forks.is_empty() {
            self.ended(core, now, id, cause, when, notify);
        } else {
            // The other forks go on; what this one said holds no longer, its last document included.
            core.events.push_back(AgentEvent::ForkEnded { id: SubscriptionId(id), fork });
        }
    }

    /// This attempt is over: it waits, begins again, or is forgotten.
    fn ended(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        cause: Cause,
        when: When,
        notify: Option<NotifyBody>,
    ) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        if subscription.closing.is_some() {
            return self.finish(core, id, Cause::Closed, notify);
        }
        if subscription.params.expires == 0 {
            return self.finish(core, id, cause, notify);
        }
        if let Phase::Live { since } = subscription.phase
            && now.saturating_duration_since(since) >= PROVEN
        {
            subscription.failures = 0;
        }
        let failures = subscription.failures;
        let after = match when {
            When::Never => return self.finish(core, id, cause, notify),
            When::Now if failures == 0 => core.share(SPREAD, 0.0, 1.0),
            When::Now => core.backoff(failures - 1, None),
            When::Later(wait) => core.backoff(failures, wait),
        };
        let state = SubscriptionState::Retrying { cause: cause.clone(), after };
        if let Some(subscription) = self.all.get_mut(&id) {
            subscription.failures = failures.saturating_add(1);
            subscription.forks.clear();
            // Whoever still notifies the old dialog gets a 481 and stops.
            subscription.call_id = "".into();
            let outage = cause.is_outage() || cause == Cause::NoToken;
            subscription.phase = Phase::Waiting { until: now + after, outage };
            subscription.reported = Some(state.clone());
        }
        self.tell(core, id, state, notify, false, None);
        self.arm(core, id);
    }

    fn finish(&mut self, core: &mut Core, id: u64, cause: Cause, notify: Option<NotifyBody>) {
        if self.all.contains_key(&id) {
            self.tell(core, id, SubscriptionState::Terminated { cause }, notify, false, None);
            self.all.remove(&id);
        }
    }

    fn tell(
        &self,
        core: &mut Core,
        id: u64,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
        unchanged: bool,
        fork: Option<u32>,
    ) {
        let Some(subscription) = self.all.get(&id) else { return };
        let (etag, rates) = (subscription.etag.clone(), subscription.rates);
        let settled = subscription.forks.iter().all(|fork| fork.active);
        let terms = Terms { etag, unchanged, fork, settled, rates };
        core.events.push_back(AgentEvent::Subscription { id: SubscriptionId(id), state, notify, terms });
    }

    /// Has every dialog refreshed as soon as there is room for it.
    pub(crate) fn renew(&mut self, core: &mut Core, now: Instant) {
        let ids: Vec<u64> = self.all.keys().copied().collect();
        for id in ids {
            let Some(subscription) = self.all.get_mut(&id) else { continue };
            if subscription.closing.is_some() {
                continue;
            }
            for fork in subscription.forks.iter_mut().filter(|fork| !fork.busy) {
                fork.refresh_at = Some(now);
            }
            self.arm(core, id);
        }
    }

    fn arm(&mut self, core: &mut Core, id: u64) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        let next = subscription.next_deadline();
        if next != subscription.deadline {
            subscription.deadline = next;
            if let Some(at) = next {
                core.timers.arm(at, UsageKey::Subscription(id));
            }
        }
    }
}
