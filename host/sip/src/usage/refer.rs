//! REFER: asking somebody to call somebody, and being told how that goes (RFC 3515).
//!
//! A REFER that is accepted makes a subscription by itself, within the dialog that it came in or in one of its own, unless both sides
//! can do without (RFC 4488). It is a usage of its own (RFC 5057): in the dialog of a session, it outlives that session.

mod params;
mod sent;
mod taken;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::agent::core::{Core, UsageKey};
use crate::message::{HeaderName, Message};

pub use params::{ReferEvent, ReferParams, ReferRequest, ReferTarget, ReferTo};
use sent::Sent;
pub(crate) use sent::ends_dialog;
use taken::Taken;

/// Referrals at once in each direction, for each session that may stand.
const PER_SESSION: usize = 4;

/// All referrals of one agent.
pub(crate) struct Refers {
    sent: BTreeMap<u64, Sent>,
    taken: BTreeMap<u64, Taken>,
}

impl Refers {
    pub(crate) const fn new() -> Self {
        Self { sent: BTreeMap::new(), taken: BTreeMap::new() }
    }

    /// How many are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.sent.len() + self.taken.len()
    }

    pub(crate) fn deadline(&self, id: u64) -> Option<Instant> {
        let sent = self.sent.get(&id).and_then(|sent| sent.deadline);
        sent.or_else(|| self.taken.get(&id).and_then(|taken| taken.deadline))
    }

    fn fresh_id(&self, core: &mut Core) -> u64 {
        loop {
            let id = core.random();
            if !self.sent.contains_key(&id) && !self.taken.contains_key(&id) {
                return id;
            }
        }
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Instant, id: u64) {
        if self.sent.contains_key(&id) {
            self.sent_timeout(core, now, id);
        } else {
            self.taken_timeout(core, now, id);
        }
    }
}

/// The most referrals in one direction.
fn room(core: &Core) -> usize {
    core.config.invite.max.saturating_mul(PER_SESSION)
}

/// Notes when a referral wants to act next.
fn arm(core: &mut Core, id: u64, deadline: &mut Option<Instant>, next: Option<Instant>) {
    if *deadline != next {
        *deadline = next;
        if let Some(at) = next {
            core.timers.arm(at, UsageKey::Refer(id));
        }
    }
}

/// The number in the tag that names our end, if it has that form.
fn local_id(message: &Message) -> Option<u64> {
    crate::transaction::parse_hex(message.to().ok()?.tag()?.as_bytes())
}

/// The `id` of Event: the number of the REFER (RFC 3515 §2.4.6).
fn event_id(message: &Message) -> Option<u32> {
    message.event()?.id()?.parse().ok()
}

/// Whether a request is of the package that REFER makes.
pub(crate) fn is_of_refer(message: &Message) -> bool {
    message.event().is_some_and(|event| event.package == "refer")
}

/// Whether a message says that there shall be, or is, no subscription (RFC 4488).
fn without_subscription(message: &Message) -> bool {
    message.header(HeaderName::ReferSub).is_some_and(|value| value.eq_ignore_ascii_case(b"false"))
}
