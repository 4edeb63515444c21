//! The own phone is asked to call somebody by itself (RFC 3515).
//!
//! What it tells of that is the status of its own call (section 2.4.5), until that is decided. Whether the two still talk after
//! that is asked of its dialogs (RFC 4235), where it or the service tells of them; else the call is out of sight then.

use attache_sip::{
    agent::{ReferId, SubscriptionId},
    uri::UriBuf,
    usage::{CallError, ReferEvent, ReferParams, ReferTarget, SubscribeParams, SubscriptionState},
};

use super::{Way, Whose, is_number, later, reason};
use crate::{
    address::Address,
    call::CallState,
    engine::{
        Engine,
        calls::{Calls, Outcome},
    },
    id::CallId,
};

/// So long may it take until the own phone's dialogs show the call.
const PATIENCE: u64 = 30;

/// A call that the own phone makes.
#[derive(Debug)]
pub(super) struct Referred {
    pub(super) refer: ReferId,
    own: UriBuf,
    /// The own phone's dialogs, once the two talk.
    dialogs: Calls,
    seen: bool,
}

impl Engine {
    pub(super) fn ask_own_phone(&mut self, own: UriBuf, peer: &Address) -> Result<Referred, CallError> {
        let refer_to = peer.as_str();
        let params = ReferParams::new(ReferTarget::Address(own.clone()), refer_to);
        let refer = self.agent.refer(self.now.instant, params)?;
        Ok(Referred { refer, own, dialogs: Calls::default(), seen: false })
    }

    pub(super) fn on_referred_event(&mut self, id: CallId, event: &ReferEvent) {
        let Some(line) = self.lines.lines.get(&id) else { return };
        let number = is_number(&line.call.peer);
        match event {
            ReferEvent::Accepted { .. } => self.advance_call(id, CallState::OwnAnswered),
            ReferEvent::Progress { status, .. } => match status {
                180..=199 => self.advance_call(id, CallState::PeerRinging),
                200..=299 => {
                    self.advance_call(id, CallState::Connected);
                    self.follow_own_phone(id);
                }
                300.. => self.end_call(id, Some(reason::refused(*status, Whose::Peer, number))),
                _ => {}
            },
            ReferEvent::Failed { cause, .. } => {
                self.end_call(id, Some(reason::failed(cause, Whose::Own, false)));
            }
            ReferEvent::Ended { status, .. } => match status {
                Some(300..) => {
                    let status = status.unwrap_or_default();
                    self.end_call(id, Some(reason::refused(status, Whose::Peer, number)));
                }
                // The own phone's dialogs say more.
                Some(_) if self.lines.dialogs.values().any(|known| *known == id) => {}
                // It has the call, and says nothing more of it.
                _ => self.end_call(id, None),
            },
            _ => {}
        }
    }

    /// The two talk: asks the own phone's side how long.
    fn follow_own_phone(&mut self, id: CallId) {
        let now = self.now.instant;
        let Some(line) = self.lines.lines.get(&id) else { return };
        let Way::Referred(referred) = &line.way else { return };
        if self.lines.dialogs.values().any(|known| *known == id) {
            return;
        }
        let params = SubscribeParams::dialog(referred.own.clone());
        if let Some(subscription) = self.agent.subscribe(now, params) {
            self.lines.dialogs.insert(subscription, id);
        }
        if let Some(line) = self.line_mut(id) {
            line.due = later(now, PATIENCE);
        }
    }

    /// Nothing was seen of a call that goes on, as it is said: it is out of sight.
    pub(super) fn referred_due(&mut self, id: CallId) {
        let Some(line) = self.lines.lines.get(&id) else { return };
        if matches!(&line.way, Way::Referred(referred) if !referred.seen) {
            self.end_call(id, None);
        }
    }

    /// Whether a subscription is to the dialogs of the own phone.
    pub(in crate::engine) fn is_followed(&self, id: SubscriptionId) -> bool {
        self.lines.dialogs.contains_key(&id)
    }

    /// The own phone's dialogs, or that they are not told.
    pub(in crate::engine) fn on_followed(
        &mut self,
        subscription: SubscriptionId,
        state: &SubscriptionState,
        document: Option<&[u8]>,
    ) {
        let Some(&id) = self.lines.dialogs.get(&subscription) else { return };
        let mut over = false;
        if let Some(line) = self.lines.lines.get_mut(&id)
            && let Way::Referred(referred) = &mut line.way
            && let Some(document) = document
        {
            match referred.dialogs.take(document) {
                Ok(Outcome::Changed) => {
                    over = referred.seen && !referred.dialogs.is_talking();
                    referred.seen |= referred.dialogs.is_talking();
                }
                Ok(Outcome::Same) | Err(_) => {}
                Ok(Outcome::Ask) => self.agent.refresh(self.now.instant, subscription),
            }
        }
        if state.is_final() {
            self.lines.dialogs.remove(&subscription);
            over = true;
        }
        if over {
            self.end_call(id, None);
        }
    }
}
