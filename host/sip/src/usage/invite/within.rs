//! Requests within the dialogs of a call, in both directions, and its end.

use std::time::Instant;

use super::{
    Asked, Body, Call, CallError, EndedBy, Errand, InviteEvent, Invites, Pending, Phase, Purpose, Reason,
};
use crate::agent::core::{Core, Done, Way};
use crate::agent::place::Contact;
use crate::agent::{Cause, InviteId, RequestId};
use crate::endpoint::{Field, Request, Response};
use crate::message::{HeaderName, Message, Method};
use crate::text::is_token;
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;
use crate::usage::dialog::Dialog;

impl Invites {
    /// A request within the dialog of a session came.
    pub(crate) fn on_request(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        self.with(core, id, |call, core| call.on_request(core, now, transaction, message, flow));
    }

    /// Takes a request within a dialog for another usage of it, such as a REFER: gives back the dialog, or the status of a refusal.
    pub(crate) fn borrow(&mut self, id: u64, message: &Message) -> Result<Dialog, u16> {
        let call = self.all.get_mut(&id).filter(|call| !call.is_over()).ok_or(481_u16)?;
        let at = call.leg_from(message).filter(|at| call.counts(*at)).ok_or(481_u16)?;
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let leg = &mut call.legs[at];
        if leg.dialog.take(number) { Ok(leg.dialog.clone()) } else { Err(500) }
    }

    /// Another usage of the dialog has found that the peer is gone.
    pub(crate) fn on_lost(&mut self, core: &mut Core, now: Instant, id: InviteId, bye: bool) {
        let _ = self.command(core, id, |call, core| {
            call.lost(core, now, bye);
            Ok(())
        });
    }

    /// The dialog of a session, for a request of another usage of it.
    pub(crate) fn dialog(&self, id: InviteId) -> Option<(&Dialog, bool)> {
        let call = self.all.get(&id.0).filter(|call| !call.is_over())?;
        Some((&call.leg()?.dialog, call.secure))
    }

    pub(crate) fn within(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: InviteId,
        request: Request,
    ) -> Result<RequestId, CallError> {
        let own = RequestId(core.next_id());
        self.command(core, id, |call, core| call.within(core, now, own, request))?;
        Ok(own)
    }

    pub(crate) fn hang_up(&mut self, core: &mut Core, now: Instant, id: InviteId, reason: Option<Reason>) {
        let _ = self.command(core, id, |call, core| {
            call.leave(core, now, EndedBy::Us, reason);
            Ok(())
        });
    }
}

impl Call {
    /// The dialog that a request of the peer belongs to.
    fn leg_from(&self, message: &Message) -> Option<usize> {
        let tag = message.from().ok()?.tag().unwrap_or_default();
        self.legs.iter().position(|leg| *leg.dialog.remote_tag == *tag)
    }

    fn on_request(
        &mut self,
        core: &mut Core,
        now: Instant,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        let refuse = |core: &mut Core, status, why| {
            core.refused(now, message, flow, status, why);
            core.answer(now, transaction, &Response::new(status));
        };
        let method = message.method().unwrap_or(Method::Options);
        let Some(at) = self.leg_from(message) else {
            return refuse(core, 481, "a request within an unknown dialog");
        };
        if self.is_over() || !self.counts(at) {
            // Two BYEs that cross are both right.
            let status = if method == Method::Bye { 200 } else { 481 };
            return core.answer(now, transaction, &Response::new(status));
        }
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        if !self.legs[at].dialog.take(number) {
            return refuse(core, 500, "a request that is out of order");
        }
        match method {
            Method::Bye => self.on_bye(core, now, at, transaction, message),
            Method::Invite => self.on_reinvite(core, now, transaction, message, flow),
            Method::Update => self.on_update(core, now, transaction, message, flow),
            Method::Prack => self.on_prack(core, now, transaction, message, flow),
            _ => {
                self.tell(core, InviteEvent::Request { request: transaction, message: message.clone() });
            }
        }
    }

    fn on_bye(
        &mut self,
        core: &mut Core,
        now: Instant,
        at: usize,
        transaction: ServerTransactionId,
        message: &Message,
    ) {
        core.answer(now, transaction, &Response::new(200));
        if self.phase == Phase::Calling {
            // Only one of the devices that ring has left; the INVITE still has its answer to come.
            self.legs.remove(at);
            return;
        }
        let reason = Reason::of(message);
        self.drop_open(core, now);
        self.served = None;
        let until = now + core.config.timers.timeout();
        self.end(core, InviteEvent::Ended { by: EndedBy::Peer, reason }, Some(until));
    }

    /// Answers what the peer still waits for (RFC 3261 §15.1.2).
    fn drop_open(&mut self, core: &mut Core, now: Instant) {
        self.refuse(core, now, 487, Vec::new());
        if let Some(Pending::TheirRequest(asked)) = self.pending.take() {
            let Asked { transaction, .. } = *asked;
            core.answer(now, transaction, &Response::new(487));
        }
    }

    /// Ends the call in the way that fits: CANCEL, a refusal, or BYE.
    pub(super) fn leave(&mut self, core: &mut Core, now: Instant, by: EndedBy, reason: Option<Reason>) {
        let ended = InviteEvent::Ended { by, reason: reason.clone() };
        match self.phase {
            Phase::Calling => {
                let text = reason.as_ref().and_then(written);
                core.cancel(now, Purpose::Invite(self.id, Errand::Begin), text.as_deref());
                self.end(core, ended, None);
            }
            Phase::Ringing => {
                self.refuse(core, now, 486, Vec::new());
                self.end(core, ended, Some(now));
                self.phase = Phase::Gone;
            }
            Phase::Standing => {
                // A 2xx with an offer must be acknowledged, with an answer that takes nothing of it.
                if matches!(self.pending, Some(Pending::TheirAnswer)) {
                    let refusal = self.remote_body.as_ref().and_then(Body::refusal);
                    let _ = self.acknowledge(core, now, refusal);
                }
                let unacknowledged = self.served.as_ref().is_some_and(|served| !served.is_open());
                let held = self.served.as_ref().is_some_and(|served| served.held.is_some());
                if held {
                    self.refuse(core, now, 486, Vec::new());
                    self.end(core, ended, Some(now));
                    return self.phase = Phase::Gone;
                }
                self.drop_open(core, now);
                if unacknowledged {
                    // RFC 3261 §15: whoever was called waits for the ACK.
                    self.end(core, ended, None);
                    self.owes_bye = Some(reason);
                } else {
                    self.tell(core, ended);
                    self.part(core, now, reason.as_ref());
                }
            }
            Phase::Over { .. } | Phase::Gone => {}
        }
    }

    /// The peer is gone, or does not know us any more.
    pub(super) fn lost(&mut self, core: &mut Core, now: Instant, bye: bool) {
        let ended = InviteEvent::Ended { by: EndedBy::Lost, reason: None };
        match self.phase {
            Phase::Calling => {
                core.cancel(now, Purpose::Invite(self.id, Errand::Begin), None);
                return self.end(core, ended, None);
            }
            Phase::Ringing => {
                self.refuse(core, now, 480, Vec::new());
                self.end(core, ended, Some(now));
                return self.phase = Phase::Gone;
            }
            _ => self.drop_open(core, now),
        }
        if bye {
            self.tell(core, ended);
            self.part(core, now, None);
        } else {
            let until = now + core.config.timers.timeout();
            self.end(core, ended, Some(until));
        }
    }

    /// Sends the BYE of the dialog that stands, and waits for stragglers. The user has been told.
    pub(super) fn part(&mut self, core: &mut Core, now: Instant, reason: Option<&Reason>) {
        if let Some(leg) = self.leg() {
            self.bye(core, now, &leg.dialog, reason);
        }
        self.over(Some(now + core.config.timers.timeout()));
    }

    pub(super) fn bye(&self, core: &mut Core, now: Instant, dialog: &Dialog, reason: Option<&Reason>) {
        let (mut request, route) = dialog.request(core, Method::Bye);
        if let Some(reason) = reason.and_then(written) {
            request.push(HeaderName::Reason, reason);
        }
        let way = Way {
            sequence: Some(dialog.sequence().clone()),
            secure: self.secure,
            ..Way::new(route, Contact::None)
        };
        core.send_by(now, Purpose::Invite(self.id, Errand::Bye), request, way);
    }

    fn within(
        &mut self,
        core: &mut Core,
        now: Instant,
        own: RequestId,
        given: Request,
    ) -> Result<(), CallError> {
        let leg = self.leg().ok_or(CallError::State)?;
        let method = given.method.clone();
        // These have commands of their own.
        let own_command = matches!(
            method.as_method(),
            Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Prack | Method::Update
        );
        if own_command {
            return Err(CallError::State);
        }
        let (mut request, route) = leg.dialog.request(core, method.as_method());
        for (name, value) in given.headers {
            let fixed = matches!(
                name,
                Field::Known(
                    HeaderName::From
                        | HeaderName::To
                        | HeaderName::CallId
                        | HeaderName::CSeq
                        | HeaderName::Route
                        | HeaderName::Via
                        | HeaderName::Contact
                )
            );
            if !fixed {
                request.headers.push((name, value));
            }
        }
        request.body = given.body;
        let contact = match method.as_method() {
            Method::Notify | Method::Subscribe | Method::Refer => Contact::Plain,
            _ => Contact::None,
        };
        let way = self.way(leg, route, contact);
        core.send_by(now, Purpose::Invite(self.id, Errand::Own(own)), request, way);
        Ok(())
    }

    /// A request within the dialog has its final answer (RFC 3261 §12.2.1.2).
    pub(super) fn on_within_done(&mut self, core: &mut Core, now: Instant, done: &Done) {
        if self.phase != Phase::Standing {
            return;
        }
        match &done.outcome {
            Ok(answer) if answer.status() == Some(481) => self.lost(core, now, false),
            Ok(answer) if answer.status() == Some(408) => self.lost(core, now, true),
            Err(Cause::Timeout) => self.lost(core, now, true),
            _ => {}
        }
    }
}

/// A reason as it can be written.
fn written(reason: &Reason) -> Option<String> {
    is_token(reason.protocol.as_bytes()).then(|| reason.to_string())
}
