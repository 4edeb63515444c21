//! Offers and answers after the first, their order, and what happens when both ends begin at once (RFC 3261 §14, RFC 3311, RFC 6141).
//!
//! Whether a session can be changed is decided here by order alone; what an offer says is the user's affair.

use std::time::{Duration, Instant};

use super::{
    Body, Call, CallError, EndedBy, Errand, InviteEvent, Inviting, Phase, Purpose, Served, SessionTimer,
    capabilities,
};
use crate::agent::Cause;
use crate::agent::core::{Core, Done};
use crate::agent::place::Contact;
use crate::endpoint::Response;
use crate::message::{HeaderName, Message, Method};
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;
use crate::usage::refusal;

/// An offer that is not answered.
pub(super) enum Pending {
    /// Ours, in our INVITE.
    OurInvite,
    /// Ours, in our UPDATE.
    OurUpdate,
    /// Ours, in our 2xx: the ACK brings the answer.
    OurAnswer,
    /// Ours, in a reliable provisional answer: the PRACK brings the answer.
    OurReliable,
    /// The peer's, in the INVITE that began the call.
    TheirInvite,
    /// The peer's, in a further INVITE; or that INVITE wants one of us.
    TheirReinvite,
    /// The peer's, in an UPDATE or a PRACK.
    TheirRequest(Box<Asked>),
    /// The peer's, in the 2xx to our INVITE: our ACK brings the answer.
    TheirAnswer,
    /// The peer's, in a reliable provisional answer: our PRACK brings the answer.
    TheirReliable { fork: u32, rseq: u32 },
}

/// A request with an offer.
pub(super) struct Asked {
    pub(super) transaction: ServerTransactionId,
    pub(super) message: Message,
    pub(super) flow: Flow,
    /// The peer waits no longer than this.
    pub(super) until: Instant,
}

impl Pending {
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::OurInvite | Self::OurUpdate | Self::OurAnswer | Self::OurReliable)
    }
}

/// An offer of ours that met one of the peer's, and is tried again (RFC 3261 §14.1).
pub(super) struct Glare {
    pub(super) at: Instant,
    body: Option<Body>,
    refresh: bool,
}

/// How often in a row an offer meets one of the peer's before it is given up.
const MAX_GLARES: u8 = 10;

/// The longest wait that a 500 asks for when an offer of the peer is in the way (RFC 3261 §14.2).
const SOON: Duration = Duration::from_secs(10);

/// What is wrong with an INVITE or UPDATE that comes now.
type Refusal = (u16, bool);

impl Call {
    pub(crate) fn reoffer(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Option<Body>,
    ) -> Result<(), CallError> {
        if self.pending.is_some() || self.glare.is_some() {
            return Err(CallError::OfferPending);
        }
        if self.phase != Phase::Standing {
            // An early session is changed by UPDATE, once there is one (RFC 3311 §5.1).
            let described = self.leg().is_some_and(|leg| leg.negotiated);
            if !described || !self.peer_updates || body.is_none() {
                return Err(CallError::State);
            }
            self.update(core, now, body);
            return Ok(());
        }
        if self.is_inviting() {
            return Err(CallError::OfferPending);
        }
        self.invite_again(core, now, body, false);
        Ok(())
    }

    /// Whether an INVITE is on its way, in one direction or the other.
    fn is_inviting(&self) -> bool {
        self.inviting.is_some() || self.served.is_some()
    }

    pub(super) fn invite_again(&mut self, core: &mut Core, now: Instant, body: Option<Body>, refresh: bool) {
        let Some(leg) = self.leg_mut() else { return };
        leg.rseq = None;
        let Some(leg) = self.leg() else { return };
        let (mut request, route) = leg.dialog.request(core, Method::Invite);
        for (name, value) in capabilities(core) {
            request.push(name, value);
        }
        if body.is_none() {
            request.withdraw(HeaderName::Supported, "100rel");
        }
        request.push(HeaderName::Accept, core.accept());
        self.timer.ask(&mut request, Some(self.timer.is_ours()));
        request.body = body.as_ref().map(Body::parts);
        let way = self.way(leg, route, Contact::Plain);
        let offered = body.is_some();
        let before = match body {
            Some(body) => self.local_body.replace(body),
            None => self.local_body.clone(),
        };
        self.inviting = Some(Inviting { cseq: request.cseq, offered, refresh, before });
        self.pending = offered.then_some(Pending::OurInvite);
        core.send_by(now, Purpose::Invite(self.id, Errand::Again), request, way);
    }

    /// Sends an UPDATE: with an offer, or to say that we are still there.
    pub(super) fn update(&mut self, core: &mut Core, now: Instant, body: Option<Body>) {
        let Some(leg) = self.leg() else { return };
        let (mut request, route) = leg.dialog.request(core, Method::Update);
        for (name, value) in capabilities(core) {
            request.push(name, value);
        }
        self.timer.ask(&mut request, Some(self.timer.is_ours()));
        request.body = body.as_ref().map(Body::parts);
        let way = self.way(leg, route, Contact::Plain);
        if body.is_some() {
            self.pending = Some(Pending::OurUpdate);
            self.update_before = std::mem::replace(&mut self.local_body, body);
        }
        core.send_by(now, Purpose::Invite(self.id, Errand::Update), request, way);
    }

    /// A further INVITE of ours has its final answer.
    pub(super) fn on_invited_again(&mut self, core: &mut Core, now: Instant, done: Done) {
        self.credentials = done.credentials;
        let Some(mut inviting) = self.inviting.take() else { return };
        inviting.cseq = done.cseq;
        match done.outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                self.on_again_2xx(core, now, inviting, &answer);
            }
            _ if self.is_over() => {}
            outcome => {
                if matches!(self.pending, Some(Pending::OurInvite | Pending::TheirReliable { .. })) {
                    self.pending = None;
                }
                let body = match inviting.offered {
                    true => std::mem::replace(&mut self.local_body, inviting.before),
                    false => None,
                };
                self.on_refused(core, now, outcome, body, inviting.refresh);
            }
        }
    }

    fn on_again_2xx(&mut self, core: &mut Core, now: Instant, inviting: Inviting, answer: &Message) {
        let credentials = std::mem::take(&mut self.credentials);
        self.note_peer(answer);
        let body = Body::of(answer);
        let offer = body.is_some() && !inviting.offered && !self.is_over();
        let Some(leg) = self.leg_mut() else { return };
        leg.dialog.retarget(answer);
        if !offer {
            let unwanted = body.as_ref().filter(|_| !inviting.offered);
            let refusal = unwanted.and_then(Body::refusal);
            leg.acknowledge(core, now, inviting.cseq, &credentials, refusal.as_ref());
        }
        self.credentials = credentials;
        if self.is_over() {
            return;
        }
        (self.raised, self.glares) = (false, 0);
        self.timer.agreed(core, now, answer);
        // A refresh changes nothing, unless the peer says so.
        let same = match (&body, &self.remote_body) {
            (Some(body), Some(known)) => body.describes_the_same(known),
            (body, _) => body.is_none(),
        };
        let refresh = inviting.refresh && same;
        if body.is_some() {
            self.remote_body.clone_from(&body);
        }
        if offer {
            self.pending = Some(Pending::TheirAnswer);
            self.inviting = Some(inviting);
        } else {
            self.pending = None;
        }
        if !refresh {
            self.tell(core, InviteEvent::OfferAnswered { body, offer });
        }
    }

    /// An UPDATE of ours has its final answer.
    pub(super) fn on_updated(&mut self, core: &mut Core, now: Instant, done: Done) {
        if self.is_over() {
            return;
        }
        let offered = matches!(self.pending, Some(Pending::OurUpdate));
        if offered {
            self.pending = None;
        }
        let before = self.update_before.take();
        match done.outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                self.note_peer(&answer);
                (self.raised, self.glares) = (false, 0);
                self.timer.agreed(core, now, &answer);
                if let Some(leg) = self.leg_mut() {
                    leg.dialog.retarget(&answer);
                }
                if offered {
                    let body = Body::of(&answer);
                    self.remote_body.clone_from(&body);
                    self.tell(core, InviteEvent::OfferAnswered { body, offer: false });
                }
            }
            outcome => {
                let body = if offered { std::mem::replace(&mut self.local_body, before) } else { None };
                self.on_refused(core, now, outcome, body, !offered);
            }
        }
    }

    /// What we asked for in a further INVITE or an UPDATE was refused: the session stays as it was (RFC 3261 §14.1).
    fn on_refused(
        &mut self,
        core: &mut Core,
        now: Instant,
        outcome: Result<Message, Cause>,
        body: Option<Body>,
        refresh: bool,
    ) {
        let (cause, wait) = match outcome {
            Ok(answer) if answer.status() == Some(422) && self.raise(&answer) => {
                let at = now;
                self.glare = Some(Glare { at, body, refresh });
                return;
            }
            Ok(answer) => refusal(&answer),
            Err(cause) => (cause, None),
        };
        // What the peer itself began is not answered yet (RFC 3261 §14.2, RFC 3311 §5.2).
        let soon = wait.filter(|wait| cause.status() == Some(500) && *wait <= SOON);
        match (&cause, cause.status()) {
            (_, Some(491 | 500))
                if self.glares < MAX_GLARES && (soon.is_some() || cause.status() == Some(491)) =>
            {
                self.glares += 1;
                let at = now + soon.unwrap_or_else(|| self.glare_wait(core));
                self.glare = Some(Glare { at, body, refresh });
            }
            // It says that it knows UPDATE, and does not.
            (_, Some(405 | 501)) if refresh && self.peer_updates => {
                self.peer_updates = false;
                self.timer.refused(core, now);
            }
            (_, Some(481)) => self.lost(core, now, false),
            (Cause::Timeout, _) | (_, Some(408)) => self.lost(core, now, true),
            _ if refresh => self.timer.refused(core, now),
            _ => self.tell(core, InviteEvent::OfferRefused { cause }),
        }
    }

    /// RFC 3261 §14.1: whoever made the Call-ID waits longer, so that the two do not meet again.
    fn glare_wait(&self, core: &mut Core) -> Duration {
        let steps = match self.caller {
            true => 210 + core.random() % 191,
            false => core.random() % 201,
        };
        Duration::from_millis(10 * steps)
    }

    pub(super) fn after_glare(&mut self, core: &mut Core, now: Instant) {
        let Some(mut glare) = self.glare.take() else { return };
        if self.pending.is_some() || (self.is_inviting() && self.phase == Phase::Standing) {
            // The peer's came first; ours follows it.
            glare.at = now + self.glare_wait(core);
            self.glare = Some(glare);
        } else if self.phase != Phase::Standing || (glare.refresh && glare.body.is_none()) {
            self.update(core, now, glare.body);
        } else {
            self.invite_again(core, now, glare.body, glare.refresh);
        }
    }

    /// Whether an offer of the peer may come now. If not: the status, and whether it may try again soon.
    fn admits_offer(&self) -> Result<(), Refusal> {
        match &self.pending {
            Some(pending) if pending.is_ours() => Err((491, false)),
            // RFC 3311 §5.2.
            Some(_) => Err((500, true)),
            None => Ok(()),
        }
    }

    fn refuse_offer(core: &mut Core, now: Instant, transaction: ServerTransactionId, refusal: Refusal) {
        let mut response = Response::new(refusal.0);
        if refusal.1 {
            response = response.header(HeaderName::RetryAfter, core.brief_wait());
        }
        core.answer(now, transaction, &response);
    }

    /// An INVITE within the dialog came.
    pub(super) fn on_reinvite(
        &mut self,
        core: &mut Core,
        now: Instant,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        if let Err(refusal) = self.admits_invite() {
            return Self::refuse_offer(core, now, transaction, refusal);
        }
        if let Some(minimum) = SessionTimer::too_small(core, message) {
            let response = Response::new(422).header(HeaderName::MinSe, minimum.to_string());
            return core.answer(now, transaction, &response);
        }
        self.note_peer(message);
        if self.served.take().is_some_and(|served| served.initial) {
            // The ACK is late, but who goes on must have our 2xx (RFC 5407 §3.1.4).
            self.tell(core, InviteEvent::Confirmed { body: None });
        }
        self.served = Some(Box::new(Served::new(core, transaction, message, flow, false)));
        let body = Body::of(message);
        if self.says_the_same(body.as_ref()) {
            // Nothing changes: the peer says that it is still there (RFC 4028 §7.4).
            let local = self.local_body.clone();
            return self.accept_reinvite(core, now, local);
        }
        self.pending = Some(Pending::TheirReinvite);
        self.tell(core, InviteEvent::Offer { body });
    }

    /// Whether an offer of the peer changes nothing, its version included (RFC 3264 §8), and there is something to answer it with.
    fn says_the_same(&self, offer: Option<&Body>) -> bool {
        offer.is_some() && offer == self.remote_body.as_ref() && self.local_body.is_some()
    }

    fn admits_invite(&self) -> Result<(), Refusal> {
        match &self.served {
            // RFC 3261 §14.2.
            Some(served) if served.is_open() => return Err((500, true)),
            _ => {}
        }
        if self.phase != Phase::Standing || self.inviting.is_some() {
            return Err((491, false));
        }
        self.admits_offer()
    }

    fn accept_reinvite(&mut self, core: &mut Core, now: Instant, body: Option<Body>) {
        let Some(served) = self.served.as_deref() else { return };
        let mut response = self.answer_to(core, served, 200);
        let message = served.message.clone();
        for (name, value) in self.timer.grant(core, now, &message) {
            response = response.header(name, value);
        }
        response.body = body.as_ref().map(Body::parts);
        if body.is_some() {
            self.local_body = body;
        }
        let offer = Body::of(&message);
        if offer.is_some() {
            self.remote_body = offer;
        }
        if self.send_2xx(core, now, response).is_err() {
            self.served = None;
            self.pending = None;
        }
    }

    /// An UPDATE came (RFC 3311 §5.2).
    pub(super) fn on_update(
        &mut self,
        core: &mut Core,
        now: Instant,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        let body = Body::of(message);
        if body.is_some()
            && let Err(refusal) = self.admits_offer()
        {
            return Self::refuse_offer(core, now, transaction, refusal);
        }
        if let Some(minimum) = SessionTimer::too_small(core, message) {
            let response = Response::new(422).header(HeaderName::MinSe, minimum.to_string());
            return core.answer(now, transaction, &response);
        }
        self.note_peer(message);
        let until = now + core.config.timers.timeout() / 2;
        let asked = Asked { transaction, message: message.clone(), flow: *flow, until };
        match body {
            None => self.answer_request(core, now, &asked, None),
            Some(body) if self.says_the_same(Some(&body)) => {
                let local = self.local_body.clone();
                self.answer_request(core, now, &asked, local);
            }
            // Of several early dialogs, none can be changed before one is chosen.
            Some(_) if self.leg().is_none_or(|leg| !leg.negotiated) => {
                Self::refuse_offer(core, now, transaction, (500, true));
            }
            Some(body) => {
                self.pending = Some(Pending::TheirRequest(Box::new(asked)));
                self.tell(core, InviteEvent::Offer { body: Some(body) });
            }
        }
    }

    /// Answers an UPDATE, or a PRACK with an offer.
    fn answer_request(&mut self, core: &mut Core, now: Instant, asked: &Asked, body: Option<Body>) {
        let mut response = Response::new(200);
        if asked.message.method() == Some(Method::Update) {
            let contact = core.contact_for(&asked.flow, self.features.as_deref(), self.secure);
            response = response.header(HeaderName::Contact, contact);
            for (name, value) in capabilities(core) {
                response = response.header(name, value);
            }
            for (name, value) in self.timer.grant(core, now, &asked.message) {
                response = response.header(name, value);
            }
            if let Some(leg) = self.leg_mut() {
                leg.dialog.retarget(&asked.message);
            }
        }
        response.body = body.as_ref().map(Body::parts);
        if body.is_some() {
            self.local_body = body;
            self.remote_body = Body::of(&asked.message);
        }
        core.answer(now, asked.transaction, &response);
    }

    pub(crate) fn answer_offer(
        &mut self,
        core: &mut Core,
        now: Instant,
        answer: Result<Body, u16>,
    ) -> Result<(), CallError> {
        if let Err(status) = answer
            && !(300..=699).contains(&status)
        {
            return Err(CallError::Status(status));
        }
        match self.pending.take() {
            Some(Pending::TheirAnswer) => {
                self.pending = Some(Pending::TheirAnswer);
                match answer {
                    Ok(body) => self.acknowledge(core, now, Some(body)),
                    Err(_) => {
                        self.leave(core, now, EndedBy::Us, None);
                        Ok(())
                    }
                }
            }
            Some(Pending::TheirReliable { fork, rseq }) => {
                let Some(at) = self.legs.iter().position(|leg| leg.fork == fork) else {
                    return Err(CallError::State);
                };
                match answer {
                    Ok(body) => {
                        self.prack(core, now, at, rseq, Some(&body));
                        self.legs[at].negotiated = true;
                        self.local_body = Some(body);
                    }
                    Err(_) => {
                        self.prack(core, now, at, rseq, None);
                        self.leave(core, now, EndedBy::Us, None);
                    }
                }
                Ok(())
            }
            Some(Pending::TheirReinvite) => {
                match answer {
                    Ok(body) => self.accept_reinvite(core, now, Some(body)),
                    Err(status) => self.refuse(core, now, status, Vec::new()),
                }
                Ok(())
            }
            Some(Pending::TheirRequest(asked)) => {
                match answer {
                    Ok(body) => self.answer_request(core, now, &asked, Some(body)),
                    Err(status) => core.answer(now, asked.transaction, &Response::new(status)),
                }
                Ok(())
            }
            other => {
                self.pending = other;
                Err(CallError::State)
            }
        }
    }

    /// Acknowledges a 2xx that brought an offer, with the answer to it.
    pub(crate) fn acknowledge(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Option<Body>,
    ) -> Result<(), CallError> {
        if !matches!(self.pending, Some(Pending::TheirAnswer)) {
            return Err(CallError::State);
        }
        self.pending = None;
        let Some(inviting) = self.inviting.take() else { return Err(CallError::State) };
        let credentials = std::mem::take(&mut self.credentials);
        if let Some(leg) = self.leg_mut() {
            leg.negotiated |= body.is_some();
            leg.acknowledge(core, now, inviting.cseq, &credentials, body.as_ref());
        }
        self.credentials = credentials;
        if body.is_some() {
            self.local_body = body;
        }
        Ok(())
    }

    /// The user did not answer an UPDATE before the peer gives up.
    pub(super) fn offer_timeout(&mut self, core: &mut Core, now: Instant) {
        let late =
            |pending: &mut Pending| matches!(pending, Pending::TheirRequest(asked) if asked.until <= now);
        if let Some(Pending::TheirRequest(asked)) = self.pending.take_if(late) {
            core.answer(now, asked.transaction, &Response::new(504));
            self.tell(core, InviteEvent::OfferRefused { cause: Cause::Timeout });
        }
    }

    pub(super) fn offer_deadline(&self) -> Option<Instant> {
        match &self.pending {
            Some(Pending::TheirRequest(asked)) => Some(asked.until),
            _ => None,
        }
    }
}
