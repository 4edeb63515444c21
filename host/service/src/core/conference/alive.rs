//! Whether members are still there. One whose device has died, or has forgotten the call, neither says so nor closes its
//! connection: it is asked now and then, in its dialog, and one who does not answer is a member no more
//! (RFC 3261, section 12.2.1.2).

use std::time::Instant;

use attache_sip::message::Method;

use super::{Departure, Place};
use crate::core::{Core, Outcome, Use};

impl Core {
    /// Asks a member whether it is there, if it is time to.
    pub(super) fn ask_whether_alive(&mut self, now: Instant, place: Place) {
        let interval = self.limits.conference_check;
        let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) else { return };
        if joined.ask_at > now {
            return;
        }
        joined.ask_at = now + interval;
        let (options, reach) = (joined.dialog.request(Method::Options), joined.dialog.reach);
        match self.endpoint.send_request(now, &options, reach.destination, reach.flow) {
            Ok(id) => drop(self.uses.insert(id, Use::Alive { place })),
            Err(error) => tracing::debug!(%error, "a member cannot be asked whether it is there"),
        }
        self.arm_member(place);
    }

    /// A member has answered, or has not.
    pub(in super::super) fn member_asked(&mut self, now: Instant, place: Place, outcome: &Outcome) {
        let is_gone = match outcome {
            // Whatever else it says, it is there to say it.
            Outcome::Answered(answer) => matches!(answer.status(), Some(408 | 481)),
            Outcome::Failed(_) => true,
        };
        let is_member =
            self.conferences.as_mut().is_some_and(|conferences| conferences.joined(place).is_some());
        if is_gone && is_member {
            tracing::debug!("a member is not there any more");
            self.depart(now, place, Departure::Lost);
        }
    }
}
