//! One flow to the service, with its binding.

use std::time::{Duration, Instant};

use crate::agent::core::{Core, UsageKey};
use crate::transport::{Destination, Transport};

/// The least interval of keep-alives, however short a Flow-Timer is.
const MIN_PING: Duration = Duration::from_secs(5);
/// How often a NAT is reminded of a flow of datagrams, at most; a random share below it is taken (RFC 5626 §4.4.2).
const DATAGRAMS: Duration = Duration::from_secs(29);

/// One flow, by its number in `reg-id`.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) reg_id: u32,
    /// The least interval that the registrar takes (423).
    pub(super) minimum: u32,
    /// The interval that the request on its way asks for; 0 removes the binding.
    pub(super) in_flight: Option<u32>,
    /// A 423 was answered with its Min-Expires already.
    pub(super) raised: bool,
    pub(super) bound_until: Option<Instant>,
    /// When it was bound or refreshed last.
    pub(super) bound_at: Option<Instant>,
    /// Where it leads.
    pub(super) at: Option<Destination>,
    /// It is registered, and nothing says that it is broken.
    pub(super) up: bool,
    /// When the binding is refreshed, or a failure retried.
    pub(super) deadline: Option<Instant>,
    /// Its request waits for its turn, until the deadline if there is one.
    pub(super) waits: bool,
    pub(super) failures: u32,
    /// The request on its way carries the number.
    pub(super) labelled: bool,
    /// What Flow-Timer said.
    pub(super) timer: Option<Duration>,
    pub(super) ping_at: Option<Instant>,
    pub(super) call_id: String,
    pub(super) tag: u64,
    pub(super) cseq: u32,
}

impl Flow {
    pub(super) fn new(reg_id: u32) -> Self {
        Self { reg_id, ..Self::default() }
    }

    pub(super) fn is_bound(&self, now: Instant) -> bool {
        self.bound_until.is_some_and(|until| until > now)
    }

    /// Sets the time of the next keep-alive. On streams the owner of the sockets sends some of its own accord; ours are for a service
    /// that said how often it wants to hear of us. A NAT forgets datagrams sooner than anything else.
    pub(super) fn arm_keep_alive(&mut self, core: &mut Core, now: Instant) {
        let datagrams = self.at.is_some_and(|at| at.transport == Transport::Udp);
        let interval = match self.timer {
            Some(timer) if datagrams => Some(core.share(timer.min(DATAGRAMS), 0.8, 1.0)),
            Some(timer) => Some(core.share(timer, 0.8, 0.95)),
            // Where no NAT stands between, there is nothing to be kept open.
            None if datagrams && core.seen.is_some() => Some(core.share(DATAGRAMS, 0.8, 1.0)),
            None => None,
        };
        self.ping_at = interval.and_then(|interval| now.checked_add(interval.max(MIN_PING)));
        if let Some(at) = self.ping_at {
            core.timers.arm(at, UsageKey::KeepAlive(self.reg_id));
        }
    }

    pub(super) fn ping(&mut self, core: &mut Core, now: Instant) {
        self.ping_at = None;
        let Some(at) = self.at.filter(|_| self.up) else { return };
        core.ping(at);
        self.arm_keep_alive(core, now);
    }
}
