//! Sessions and referrals: what a user asks of them.

use std::time::Instant;

use super::core::Core;
use super::{Agent, InviteId, RequestId};
use crate::endpoint::Request;
use crate::message::{HeaderName, Message};
use crate::transport::Flow;
use crate::usage::{Body, CallError, DialogFacts, InviteParams, Reason};

impl Agent {
    /// Begins a session (INVITE). It is reported by [`AgentEvent::Invite`](super::AgentEvent::Invite), and ends in one event that
    /// [is final](crate::usage::InviteEvent).
    ///
    /// # Errors
    /// When there are as many as [`InviteSettings::max`](crate::usage::InviteSettings::max) allows.
    pub fn invite(&mut self, now: Instant, params: InviteParams) -> Result<InviteId, CallError> {
        let id = self.invites.invite(&mut self.core, now, params);
        self.settle(now);
        id
    }

    /// Answers a call provisionally, with 101 to 199, perhaps with a session description. A caller that wants it so acknowledges this
    /// (RFC 3262); it is repeated until then.
    ///
    /// # Errors
    /// When the call was answered, or is gone.
    pub fn ring(
        &mut self,
        now: Instant,
        id: InviteId,
        status: u16,
        body: Option<Body>,
    ) -> Result<(), CallError> {
        let result =
            self.invites.command(&mut self.core, id, |call, core| call.ring(core, now, status, body));
        self.settle(now);
        result
    }

    /// Accepts a call. `body` is the answer to its offer, or where it had none, our offer: then
    /// [`Confirmed`](crate::usage::InviteEvent::Confirmed) brings the answer. A session that this one
    /// [replaces](crate::usage::Incoming::replaces) is hung up.
    ///
    /// # Errors
    /// When the call was answered, or is gone.
    pub fn accept(
        &mut self,
        now: Instant,
        id: InviteId,
        body: Option<Body>,
        headers: Vec<(String, String)>,
    ) -> Result<(), CallError> {
        let result = self.invites.accept(&mut self.core, now, id, body, headers);
        self.settle(now);
        result
    }

    /// Refuses a call, with 300 to 699.
    ///
    /// # Errors
    /// When the call was answered, or is gone.
    pub fn reject(
        &mut self,
        now: Instant,
        id: InviteId,
        status: u16,
        headers: Vec<(String, String)>,
    ) -> Result<(), CallError> {
        let result =
            self.invites.command(&mut self.core, id, |call, core| call.reject(core, now, status, headers));
        self.settle(now);
        result
    }

    /// Acknowledges an acceptance that brought an offer, with the answer to it (RFC 3261 §13.2.2.4). The peer repeats its acceptance until
    /// then, for half a minute.
    ///
    /// # Errors
    /// When no such offer waits.
    pub fn acknowledge(&mut self, now: Instant, id: InviteId, body: Option<Body>) -> Result<(), CallError> {
        let result = self.invites.command(&mut self.core, id, |call, core| call.acknowledge(core, now, body));
        self.settle(now);
        result
    }

    /// Offers a change of the session, by a further INVITE, or before it was accepted by UPDATE. `None` asks the peer for an offer.
    /// When both ends do so at once, ours is tried again a little later (RFC 3261 §14.1).
    ///
    /// # Errors
    /// When another offer waits for its answer, or there is no session yet.
    pub fn reoffer(&mut self, now: Instant, id: InviteId, body: Option<Body>) -> Result<(), CallError> {
        let result = self.invites.command(&mut self.core, id, |call, core| call.reoffer(core, now, body));
        self.settle(now);
        result
    }

    /// Answers an offer of the peer, or refuses it with a status: then the session stays as it was.
    ///
    /// # Errors
    /// When none waits.
    pub fn answer_offer(
        &mut self,
        now: Instant,
        id: InviteId,
        answer: Result<Body, u16>,
    ) -> Result<(), CallError> {
        let result =
            self.invites.command(&mut self.core, id, |call, core| call.answer_offer(core, now, answer));
        self.settle(now);
        result
    }

    /// Ends a session, or gives up a call: by CANCEL, BYE, or a refusal, whatever fits.
    /// [`Ended`](crate::usage::InviteEvent::Ended) is reported at once; what is still to be done on the wire is done silently.
    pub fn hang_up(&mut self, now: Instant, id: InviteId, reason: Option<Reason>) {
        self.invites.hang_up(&mut self.core, now, id, reason);
        self.settle(now);
    }

    /// Sets parameters of our Contact in a session that we are called into, such as `isfocus` (RFC 4579), with a `;` between two.
    ///
    /// # Errors
    /// When there is no such session.
    pub fn set_contact_params(&mut self, id: InviteId, params: String) -> Result<(), CallError> {
        self.invites.command(&mut self.core, id, |call, _| {
            call.feature(params);
            Ok(())
        })
    }

    /// Sends a request within the dialog of a session, such as INFO or MESSAGE. Method, headers and body are taken of `request`; what
    /// belongs to the dialog is added. It ends as those of [`request`](Self::request) do.
    ///
    /// # Errors
    /// When there is no dialog, or there are several early ones.
    pub fn within(&mut self, now: Instant, id: InviteId, request: Request) -> Result<RequestId, CallError> {
        let result = self.invites.within(&mut self.core, now, id, request);
        self.settle(now);
        result
    }

    /// What is known of the dialog of a session.
    pub fn dialog(&self, id: InviteId) -> Option<DialogFacts> {
        self.invites.facts(id)
    }

    /// The number of sessions that are not over.
    pub fn sessions(&self) -> usize {
        self.invites.len()
    }

    /// The number of sessions and referrals that are remembered, those that are over among them. For diagnostics.
    pub fn remembered(&self) -> usize {
        self.invites.remembered() + self.refers.remembered()
    }

    /// The number of transactions, client and server, that are remembered. For diagnostics.
    pub fn transactions(&self) -> (usize, usize) {
        self.core.endpoint.transactions()
    }
}

impl Core {
    /// Who sent a request, as the service vouches for it (RFC 3325 §9): nobody else's word counts.
    pub(crate) fn asserted(&self, message: &Message, flow: &Flow) -> Vec<String> {
        if !self.is_service(flow.remote.ip()) {
            return Vec::new();
        }
        let values = message.values(HeaderName::PAssertedIdentity).take(2);
        values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }
}
