//! When a request that nobody waits for may be sent.
//!
//! Two things hold it back: the [budget](crate::budget) that all agents of the process share, and a service that has asked for time
//! (RFC 3261 §21.5.4). An agent reserves one place in the budget at a time, for whichever of its usages is first in its queue, so
//! that a thousand agents take turns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, UsageKey};
use crate::budget::Budget;

pub(crate) struct Gate {
    budget: Option<Arc<Budget>>,
    queue: VecDeque<UsageKey>,
    /// When the first of the queue may go.
    slot: Option<Instant>,
    /// A place was drawn for it.
    drawn: bool,
    /// The service is overloaded until then.
    held_until: Option<Instant>,
    /// How many had to wait so far.
    waits: u64,
}

impl Gate {
    pub(super) fn new(budget: Option<Arc<Budget>>) -> Self {
        Self { budget, queue: VecDeque::new(), slot: None, drawn: false, held_until: None, waits: 0 }
    }

    pub(super) fn waits(&self) -> u64 {
        self.waits
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slot
    }

    /// When one more request could go.
    fn reserve(&mut self, now: Instant) -> Instant {
        let start = self.held_until.filter(|until| *until > now).unwrap_or(now);
        self.drawn = self.budget.is_none() || start <= now;
        match &self.budget {
            // While the service asks for time, nothing is drawn; the place is found when that is over.
            Some(_) if start > now => start,
            Some(budget) => budget.reserve(now),
            None => start,
        }
    }
}

impl Core {
    /// Whether this usage may send one request by itself now. If not, it is told when it may.
    pub(crate) fn admit(&mut self, now: Instant, key: UsageKey) -> bool {
        if self.gate.queue.contains(&key) {
            return false;
        }
        let held = self.gate.held_until.is_some_and(|until| until > now);
        if self.gate.queue.is_empty() && !held {
            match &self.gate.budget {
                None => return true,
                Some(budget) if budget.take(now).is_ok() => return true,
                Some(_) => {}
            }
        }
        self.gate.queue.push_back(key);
        self.gate.waits += 1;
        self.next_slot(now);
        false
    }

    /// The usage whose turn has come.
    pub(super) fn admitted(&mut self, now: Instant) -> Option<UsageKey> {
        if self.gate.slot.is_none_or(|at| at > now) {
            return None;
        }
        self.gate.slot = None;
        if self.gate.held_until.is_some_and(|until| until > now) {
            self.next_slot(now);
            return None;
        }
        self.gate.held_until = None;
        if !self.gate.drawn {
            // Only now a place is drawn.
            self.next_slot(now);
            if self.gate.slot.is_none_or(|at| at > now) {
                return None;
            }
            self.gate.slot = None;
        }
        let key = self.gate.queue.pop_front();
        self.next_slot(now);
        key
    }

    fn next_slot(&mut self, now: Instant) {
        if self.gate.slot.is_none() && !self.gate.queue.is_empty() {
            let at = self.gate.reserve(now);
            self.gate.slot = Some(at);
            self.timers.arm(at, UsageKey::Gate);
        }
    }

    /// The service refused a request for overload, and named a time: until then nothing is sent to it by itself.
    pub(super) fn hold(&mut self, now: Instant, wait: Duration) {
        let until = now + wait.min(self.config.max_retry_after);
        if self.gate.held_until.is_none_or(|before| before < until) {
            self.gate.held_until = Some(until);
        }
    }

    /// A person acted, or the service answers again.
    pub(super) fn release_hold(&mut self, now: Instant) {
        if self.gate.held_until.take().is_some() && !self.gate.queue.is_empty() {
            self.gate.slot = None;
            self.next_slot(now);
        }
    }

    /// How long what waits first must wait.
    pub(crate) fn gate_wait(&self, now: Instant) -> Option<Duration> {
        self.gate.slot.map(|at| at.saturating_duration_since(now))
    }
}
