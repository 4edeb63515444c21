//! Referrals: what a user asks of them.

use std::time::Instant;

use super::core::{Done, ReferErrand};
use super::{Agent, IncomingReferId, ReferId};
use crate::usage::refer::ends_dialog;
use crate::usage::{CallError, ReferParams};

impl Agent {
    /// Asks somebody to call somebody (RFC 3515): the peer of a session, or an address. It is reported by
    /// [`AgentEvent::Refer`](super::AgentEvent::Refer), and ends in one event that [is final](crate::usage::ReferEvent).
    ///
    /// # Errors
    /// When a session that it names does not exist, the URI is malformed, or there are too many.
    pub fn refer(&mut self, now: Instant, params: ReferParams) -> Result<ReferId, CallError> {
        let id = self.refers.refer(&mut self.core, now, &self.invites, params);
        self.settle(now);
        id
    }

    /// Wants to hear no more of a referral. What the peer was asked to do is not undone.
    pub fn end_refer(&mut self, now: Instant, id: ReferId) {
        self.refers.end(&mut self.core, now, id);
        self.settle(now);
    }

    /// Says that we will try what a REFER asks for. Tell how it goes with [`refer_progress`](Self::refer_progress).
    ///
    /// # Errors
    /// When it was answered already, or its sender has given up.
    pub fn accept_refer(&mut self, now: Instant, id: IncomingReferId) -> Result<(), CallError> {
        let result = self.refers.accept(&mut self.core, now, id);
        self.settle(now);
        result
    }

    /// Refuses a REFER, with 300 to 699.
    ///
    /// # Errors
    /// When it was answered already, or its sender has given up.
    pub fn reject_refer(&mut self, now: Instant, id: IncomingReferId, status: u16) -> Result<(), CallError> {
        let result = self.refers.reject(&mut self.core, now, id, status);
        self.settle(now);
        result
    }

    /// Tells the sender of a REFER how the call goes that it asked for: the status of the last answer to that. One of 200 or more is
    /// the last. An empty `reason` becomes the usual phrase.
    ///
    /// # Errors
    /// When nobody listens: there is no subscription, or it has ended.
    pub fn refer_progress(
        &mut self,
        now: Instant,
        id: IncomingReferId,
        status: u16,
        reason: &str,
    ) -> Result<(), CallError> {
        let result = self.refers.progress(&mut self.core, now, id, status, reason);
        self.settle(now);
        result
    }

    /// A request of a referral has its final answer.
    pub(super) fn on_refer_done(&mut self, now: Instant, id: u64, errand: ReferErrand, done: &Done) {
        match errand {
            ReferErrand::Refer => {
                let within = self.refers.on_referred(&mut self.core, now, id, done);
                if let (Some(session), Some(bye)) = (within, ends_dialog(&done.outcome)) {
                    self.invites.on_lost(&mut self.core, now, session, bye);
                }
            }
            ReferErrand::Notify => self.refers.on_notified(&mut self.core, now, id, done),
            ReferErrand::Unsubscribe => {}
        }
    }
}
