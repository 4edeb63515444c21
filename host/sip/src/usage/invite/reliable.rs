//! Provisional answers that are acknowledged (RFC 3262), in both directions.

use std::time::{Duration, Instant};

use super::{Asked, Body, Call, CallError, EndedBy, Errand, InviteEvent, Pending, Phase, Purpose, lists};
use crate::agent::core::{Core, Done};
use crate::agent::place::Contact;
use crate::endpoint::Response;
use crate::message::{HeaderName, Message, Method};
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;

/// Provisional answers that wait for the one before them.
const MAX_QUEUE: usize = 8;

/// A provisional answer that is repeated until its PRACK comes.
pub(super) struct Provisional {
    response: Response,
    pub(super) rseq: u32,
    pub(super) has_body: bool,
    next_at: Instant,
    interval: Duration,
    gives_up_at: Instant,
}

impl Provisional {
    pub(super) fn deadline(&self) -> Instant {
        self.next_at.min(self.gives_up_at)
    }
}

impl Call {
    /// Acknowledges a reliable provisional answer, perhaps with the answer to its offer.
    pub(super) fn prack(&mut self, core: &mut Core, now: Instant, at: usize, rseq: u32, body: Option<&Body>) {
        let (Some(leg), Some(inviting)) = (self.legs.get(at), &self.inviting) else { return };
        let (request, route) = leg.dialog.request(core, Method::Prack);
        let mut request = request.header(HeaderName::RAck, format!("{rseq} {} INVITE", inviting.cseq));
        request.body = body.map(Body::parts);
        let way = self.way(leg, route, Contact::None);
        let purpose = Purpose::Invite(self.id, Errand::Prack(leg.fork));
        core.send_by(now, purpose, request, way);
    }

    pub(super) fn on_pracked(&mut self, core: &mut Core, now: Instant, fork: u32, done: &Done) {
        let lost = match &done.outcome {
            Ok(answer) => answer.status() == Some(481),
            Err(_) => false,
        };
        // That device has forgotten us; others may still answer.
        if lost && self.main.is_none() && self.phase == Phase::Calling {
            self.legs.retain(|leg| leg.fork != fork);
        }
        // Once the session stands, a 481 says that the answer is known no more, which is true of each that was overtaken by its 2xx.
        if !lost {
            self.on_within_done(core, now, done);
        }
    }

    pub(crate) fn ring(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
        body: Option<Body>,
    ) -> Result<(), CallError> {
        if !(101..=199).contains(&status) {
            return Err(CallError::Status(status));
        }
        let Some(served) = self.served.as_mut().filter(|_| self.phase == Phase::Ringing) else {
            return Err(CallError::State);
        };
        let required = lists(&served.message, HeaderName::Require, "100rel");
        let supported = lists(&served.message, HeaderName::Supported, "100rel");
        if !(required || supported && body.is_some()) {
            let served = self.served.as_deref().ok_or(CallError::State)?;
            let mut response = self.answer_to(core, served, status);
            response.body = body.as_ref().map(Body::parts);
            let transaction = served.transaction;
            return core.endpoint.respond(now, transaction, &response).map_err(|_| CallError::State);
        }
        if served.provisional.is_some() {
            if served.queue.len() >= MAX_QUEUE {
                return Err(CallError::State);
            }
            served.queue.push_back((status, body));
            return Ok(());
        }
        self.send_reliably(core, now, status, body)
    }

    fn send_reliably(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
        body: Option<Body>,
    ) -> Result<(), CallError> {
        let timers = core.config.timers;
        let Some(served) = self.served.as_deref() else { return Err(CallError::State) };
        let mut response = self.answer_to(core, served, status);
        let rseq = served.rseq;
        response = response.header(HeaderName::Require, "100rel").header(HeaderName::RSeq, rseq.to_string());
        response.body = body.as_ref().map(Body::parts);
        let transaction = served.transaction;
        if let Err(error) = core.endpoint.respond(now, transaction, &response) {
            tracing::debug!(%error, "a provisional answer was not sent");
            return Err(CallError::State);
        }
        let has_body = body.is_some();
        if let Some(served) = &mut self.served {
            served.rseq = rseq.wrapping_add(1) & 0x7fff_ffff;
            served.provisional = Some(Box::new(Provisional {
                response,
                rseq,
                has_body,
                next_at: now + timers.t1,
                interval: timers.t1,
                gives_up_at: now + timers.timeout(),
            }));
        }
        if let Some(body) = body {
            let leg = &mut self.legs[0];
            match self.pending {
                Some(Pending::TheirInvite) => {
                    self.pending = None;
                    leg.negotiated = true;
                }
                None if !leg.negotiated => self.pending = Some(Pending::OurReliable),
                _ => {}
            }
            self.local_body = Some(body);
        }
        Ok(())
    }

    pub(super) fn repeat_provisional(&mut self, core: &mut Core, now: Instant) {
        let Some(served) = &mut self.served else { return };
        let transaction = served.transaction;
        let Some(provisional) = &mut served.provisional else { return };
        if provisional.gives_up_at <= now {
            // RFC 3262 §3: the caller is not there.
            self.refuse(core, now, 504, Vec::new());
            self.end(core, InviteEvent::Ended { by: EndedBy::Lost, reason: None }, Some(now));
            return self.phase = Phase::Gone;
        }
        if provisional.next_at <= now {
            provisional.interval = provisional.interval.saturating_mul(2);
            provisional.next_at = now + provisional.interval;
            core.answer(now, transaction, &provisional.response);
        }
    }

    /// A PRACK came.
    pub(super) fn on_prack(
        &mut self,
        core: &mut Core,
        now: Instant,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        let unknown = Response::new(481);
        let named = rack(message);
        if named.is_some() && self.overtaken.take_if(|overtaken| named == Some(*overtaken)).is_some() {
            return core.answer(now, transaction, &Response::new(200));
        }
        let Some(served) = &mut self.served else { return core.answer(now, transaction, &unknown) };
        let cseq = served.cseq;
        let matches = |provisional: &mut Box<Provisional>| named == Some((provisional.rseq, cseq));
        if served.provisional.take_if(matches).is_none() {
            return core.answer(now, transaction, &unknown);
        }
        let next = served.queue.pop_front();
        let held = served.held.take();
        let body = Body::of(message);
        if matches!(self.pending, Some(Pending::OurReliable)) {
            core.answer(now, transaction, &Response::new(200));
            self.pending = None;
            self.legs[0].negotiated = body.is_some();
            self.remote_body.clone_from(&body);
            self.tell(core, InviteEvent::OfferAnswered { body, offer: false });
        } else if let Some(body) = body.filter(|_| self.pending.is_none() && self.legs[0].negotiated) {
            let until = now + core.config.timers.timeout() / 2;
            let asked = Asked { transaction, message: message.clone(), flow: *flow, until };
            self.pending = Some(Pending::TheirRequest(Box::new(asked)));
            self.tell(core, InviteEvent::Offer { body: Some(body) });
        } else {
            core.answer(now, transaction, &Response::new(200));
        }
        if let Some(response) = held {
            let _ = self.send_2xx(core, now, response);
        } else if let Some((status, body)) = next {
            let _ = self.send_reliably(core, now, status, body);
        }
    }
}

/// The value of RAck: the number of the answer, and that of the INVITE (RFC 3262 §7.2).
fn rack(message: &Message) -> Option<(u32, u32)> {
    let value = std::str::from_utf8(message.header(HeaderName::RAck)?).ok()?;
    let mut fields = value.split_ascii_whitespace();
    let (rseq, cseq) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (fields.next() == Some("INVITE")).then_some((rseq, cseq))
}
