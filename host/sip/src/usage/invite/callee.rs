//! Calls that others make, and further INVITEs of theirs: what is answered, repeated and acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smallvec::smallvec;

use super::reliable::Provisional;
use super::{
    AFTERLIFE, AnswerMode, Body, Call, CallError, DialogName, EndedBy, Incoming, InviteEvent, Invites, Leg,
    Pending, Phase, Reason, SessionTimer, capabilities, local_tag,
};
use crate::agent::core::Core;
use crate::agent::{AgentEvent, InviteId};
use crate::endpoint::{Field, Response};
use crate::message::{HeaderName, Message};
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;
use crate::usage::dialog::Dialog;

/// An INVITE of the peer.
pub(super) struct Served {
    pub(super) transaction: ServerTransactionId,
    pub(super) message: Message,
    pub(super) flow: Flow,
    pub(super) cseq: u32,
    /// It began the call.
    pub(super) initial: bool,
    /// The number of the next reliable provisional answer (RFC 3262 §3).
    pub(super) rseq: u32,
    /// The one that waits for its acknowledgement, and those that wait for it.
    pub(super) provisional: Option<Box<Provisional>>,
    pub(super) queue: VecDeque<(u16, Option<Body>)>,
    /// The 2xx, held back until that acknowledgement.
    pub(super) held: Option<Response>,
    pub(super) accepted: Option<Accepted>,
}

/// A 2xx that is repeated until the ACK comes (RFC 3261 §13.3.1.4).
pub(super) struct Accepted {
    response: Response,
    next_at: Instant,
    interval: Duration,
    gives_up_at: Instant,
}

impl Served {
    pub(super) fn new(
        core: &mut Core,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
        initial: bool,
    ) -> Self {
        Self {
            transaction,
            message: message.clone(),
            flow: *flow,
            cseq: message.cseq().map_or(0, |cseq| cseq.number),
            initial,
            rseq: core.random_start() + 1,
            provisional: None,
            queue: VecDeque::new(),
            held: None,
            accepted: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let accepted = self.accepted.as_ref().map(|accepted| accepted.next_at.min(accepted.gives_up_at));
        let provisional = self.provisional.as_ref().map(|provisional| provisional.deadline());
        accepted.into_iter().chain(provisional).min()
    }

    /// Whether it still wants a final answer.
    pub(super) const fn is_open(&self) -> bool {
        self.accepted.is_none()
    }
}

/// The longest that a call rings, whatever the caller says: no proxy between waits for so long (RFC 3261 §16.6, timer C), and
/// callers that never give up must not keep others out.
const LONGEST_RING: Duration = Duration::from_secs(300);

/// How long a call rings (RFC 3261 §13.3.1).
fn rings_for(invite: &Message) -> Duration {
    let asked = invite.expires().map(|seconds| Duration::from_secs(u64::from(seconds)));
    asked.map_or(LONGEST_RING, |asked| asked.min(LONGEST_RING))
}

/// Which of our calls an INVITE is about.
struct Wishes {
    replaces: Option<u64>,
    join: Option<u64>,
}

/// Why an INVITE is refused at once.
struct Refusal {
    status: u16,
    header: Option<(HeaderName, String)>,
    why: &'static str,
}

impl Refusal {
    const fn new(status: u16, why: &'static str) -> Self {
        Self { status, header: None, why }
    }
}

impl Invites {
    /// An INVITE out of any dialog came.
    pub(crate) fn on_invite(
        &mut self,
        core: &mut Core,
        now: Instant,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        match self.admit(core, message) {
            Ok(Wishes { replaces, join }) => {
                let id = self.fresh_id(core);
                match Call::incoming(core, now, id, transaction, message, flow, replaces) {
                    Some(call) => {
                        let target_dialog = self.target_dialog(message);
                        self.all.insert(id, call);
                        let answer_mode = message.header(HeaderName::AnswerMode).and_then(AnswerMode::parse);
                        let incoming = Incoming {
                            offer: Body::of(message),
                            replaces: replaces.map(InviteId),
                            join: join.map(InviteId),
                            target_dialog,
                            answer_mode,
                            asserted: core.asserted(message, flow),
                            message: message.clone(),
                            flow: *flow,
                        };
                        let event = InviteEvent::Incoming(Box::new(incoming));
                        core.events.push_back(AgentEvent::Invite { id: InviteId(id), event });
                        self.arm(core, id);
                    }
                    None => {
                        core.refused(now, message, flow, 400, "an INVITE that makes no dialog");
                        core.answer(now, transaction, &Response::new(400));
                    }
                }
            }
            Err(refusal) => {
                core.refused(now, message, flow, refusal.status, refusal.why);
                let mut response = Response::new(refusal.status);
                response.headers.extend(refusal.header.map(|(name, value)| (Field::Known(name), value)));
                core.answer(now, transaction, &response);
            }
        }
    }

    /// Whether a call is taken, and which of ours it wants to replace or join.
    fn admit(&self, core: &Core, message: &Message) -> Result<Wishes, Refusal> {
        let refused = |status, why| Err(Refusal::new(status, why));
        let tag = message.from().ok().and_then(|from| from.tag()).unwrap_or_default();
        let (call_id, cseq) =
            (message.call_id().unwrap_or_default(), message.cseq().map_or(0, |cseq| cseq.number));
        // The same request by another way (RFC 3261 §8.2.2.2).
        let merged = self.all.values().any(|call| {
            let served = call.served.as_ref().is_some_and(|served| served.initial && served.cseq == cseq);
            served && call.legs.iter().any(|leg| leg.dialog.is(call_id, tag))
        });
        if merged {
            return refused(482, "an INVITE that came by another way already");
        }
        if message.contacts().next().and_then(Result::ok).is_none() {
            return refused(400, "an INVITE without Contact");
        }
        let replaced: Vec<&[u8]> = message.headers(HeaderName::Replaces).collect();
        let joined: Vec<&[u8]> = message.headers(HeaderName::Join).collect();
        if replaced.len() + joined.len() > 1 {
            return refused(400, "more than one dialog is to be replaced or joined");
        }
        if let Some(minimum) = SessionTimer::too_small(core, message) {
            let header = Some((HeaderName::MinSe, minimum.to_string()));
            return Err(Refusal { header, ..Refusal::new(422, "the session interval is too small") });
        }
        let replaces = match replaced.first() {
            Some(value) => Some(self.replaced(value)?),
            None => None,
        };
        // Whoever does not know the header passes over it; that it must be known, Require would say.
        let join = match joined.first().filter(|_| core.config.invite.join) {
            Some(value) => {
                let name = DialogName::parse(value).ok_or_else(|| Refusal::new(400, "a malformed Join"))?;
                let call = self.named(&name).filter(|call| !call.is_over());
                Some(call.ok_or_else(|| Refusal::new(481, "no such dialog to join"))?.id)
            }
            None => None,
        };
        // One that takes the place of another makes none more, but both are there for a while.
        let most = core.config.invite.max.saturating_mul(2);
        let crowded = self.len() >= most || self.all.len() >= most.saturating_mul(AFTERLIFE);
        if !self.has_room(core) && (replaces.is_none() || crowded) {
            return refused(486, "there are too many sessions");
        }
        Ok(Wishes { replaces, join })
    }

    /// The call that a Replaces means (RFC 3891 §3).
    fn replaced(&self, value: &[u8]) -> Result<u64, Refusal> {
        let refused = |status, why| Err(Refusal::new(status, why));
        let Some(name) = DialogName::parse(value) else { return refused(400, "a malformed Replaces") };
        let Some(call) = self.named(&name) else { return refused(481, "no such dialog to replace") };
        match call.phase {
            Phase::Over { .. } | Phase::Gone => refused(603, "the dialog to replace has ended"),
            Phase::Standing if name.early_only => refused(486, "the dialog to replace is early no more"),
            Phase::Ringing => refused(481, "an early dialog that we did not begin cannot be replaced"),
            Phase::Standing | Phase::Calling => Ok(call.id),
        }
    }

    pub(crate) fn accept(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: InviteId,
        body: Option<Body>,
        headers: Vec<(String, String)>,
    ) -> Result<(), CallError> {
        self.command(core, id, |call, core| call.accept(core, now, body, headers))?;
        let replaced = self.all.get_mut(&id.0).and_then(|call| call.replaces.take());
        if let Some(replaced) = replaced {
            self.with(core, replaced, |call, core| {
                if !call.is_over() {
                    call.leave(core, now, EndedBy::Replaced(id), None);
                }
            });
        }
        Ok(())
    }

    /// The peer cancelled an INVITE that has no final answer.
    pub(crate) fn on_cancelled(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: ServerTransactionId,
        cancel: &Message,
    ) {
        let found = self.all.values().find(|call| {
            call.served.as_ref().is_some_and(|served| served.transaction == id && served.is_open())
        });
        let Some(call) = found.map(|call| call.id) else {
            // Nobody knows it, so nobody else answers it.
            return core.answer(now, id, &Response::new(487));
        };
        self.with(core, call, |call, core| call.on_cancelled(core, now, cancel));
    }

    /// An ACK to a 2xx came.
    pub(crate) fn on_ack(&mut self, core: &mut Core, now: Instant, ack: &Message) {
        if let Some(id) = self.find(ack) {
            self.with(core, id, |call, core| call.on_ack(core, now, ack));
        }
    }
}

impl Call {
    fn incoming(
        core: &mut Core,
        now: Instant,
        id: u64,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
        replaces: Option<u64>,
    ) -> Option<Self> {
        let mut dialog = Dialog::from_request(core, message, &local_tag(id))?;
        dialog.secure = Core::wants_sips(message);
        let offered = !message.body().is_empty();
        let mut call = Self {
            id,
            caller: false,
            phase: Phase::Ringing,
            call_id: dialog.call_id.clone(),
            local: dialog.local.clone(),
            remote: dialog.remote.clone(),
            features: None,
            secure: dialog.secure,
            legs: smallvec![Leg::new(dialog, 0)],
            main: None,
            next_fork: 1,
            initial: None,
            offered,
            raised: false,
            inviting: None,
            served: Some(Box::new(Served::new(core, transaction, message, flow, true))),
            pending: offered.then_some(Pending::TheirInvite),
            local_body: None,
            remote_body: Body::of(message),
            update_before: None,
            credentials: Vec::new(),
            glare: None,
            glares: 0,
            timer: SessionTimer::default(),
            rings_until: Some(now + rings_for(message)),
            overtaken: None,
            owes_bye: None,
            replaces,
            peer_updates: false,
            deadline: None,
        };
        call.note_peer(message);
        Some(call)
    }

    /// An answer to the peer's INVITE, with what all of them carry.
    pub(super) fn answer_to(&self, core: &Core, served: &Served, status: u16) -> Response {
        let mut response = Response::new(status).to_tag(local_tag(self.id));
        let contact = core.contact_for(&served.flow, self.features.as_deref(), self.secure);
        response = response.header(HeaderName::Contact, contact);
        for (name, value) in capabilities(core) {
            response = response.header(name, value);
        }
        response
    }

    /// Sets what our Contact says in answers from now on.
    pub(crate) fn feature(&mut self, params: String) {
        self.features = Some(params.into());
    }

    fn accept(
        &mut self,
        core: &mut Core,
        now: Instant,
        body: Option<Body>,
        headers: Vec<(String, String)>,
    ) -> Result<(), CallError> {
        if self.phase != Phase::Ringing {
            return Err(CallError::State);
        }
        let Some(served) = self.served.as_deref().filter(|served| served.held.is_none()) else {
            return Err(CallError::State);
        };
        let mut response = self.answer_to(core, served, 200);
        for (name, value) in headers {
            response.headers.push((Field::from(&*name), value));
        }
        for (name, value) in self.timer.grant(core, now, &served.message) {
            response = response.header(name, value);
        }
        response.body = body.as_ref().map(Body::parts);
        if body.is_some() {
            self.local_body = body;
        }
        // A session description that is not acknowledged must not be overtaken (RFC 3262 §3).
        let wait = served.provisional.as_ref().is_some_and(|provisional| provisional.has_body);
        self.phase = Phase::Standing;
        self.main = Some(0);
        self.rings_until = None;
        if wait {
            if let Some(served) = &mut self.served {
                served.held = Some(response);
                served.queue.clear();
            }
            return Ok(());
        }
        self.send_2xx(core, now, response)
    }

    /// Sends the 2xx, and repeats it until it is acknowledged.
    pub(super) fn send_2xx(
        &mut self,
        core: &mut Core,
        now: Instant,
        response: Response,
    ) -> Result<(), CallError> {
        let timers = core.config.timers;
        let has_body = response.body.is_some();
        let Some(served) = &mut self.served else { return Err(CallError::State) };
        if let Err(error) = core.endpoint.respond(now, served.transaction, &response) {
            tracing::debug!(%error, "a session could not be accepted");
            return Err(CallError::State);
        }
        // RFC 3262 §3: it is not repeated any more, but its PRACK may still come.
        let overtaken = served.provisional.take().map(|provisional| (provisional.rseq, served.cseq));
        served.queue.clear();
        let offered = !served.message.body().is_empty();
        served.accepted = Some(Accepted {
            response,
            next_at: now + timers.t1,
            interval: timers.t1,
            gives_up_at: now + timers.timeout(),
        });
        let message = served.message.clone();
        self.overtaken = overtaken;
        let leg = &mut self.legs[0];
        // Only now the peer's new address counts (RFC 6141 §4).
        leg.dialog.retarget(&message);
        let offers = has_body && !offered && (!leg.negotiated || !served.initial);
        leg.negotiated |= offered && has_body;
        // An UPDATE that came before is still to be answered.
        if offers || !matches!(self.pending, Some(Pending::TheirRequest(_))) {
            self.pending = offers.then_some(Pending::OurAnswer);
        }
        Ok(())
    }

    pub(crate) fn reject(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
        headers: Vec<(String, String)>,
    ) -> Result<(), CallError> {
        if !(300..=699).contains(&status) {
            return Err(CallError::Status(status));
        }
        if self.phase != Phase::Ringing {
            return Err(CallError::State);
        }
        self.refuse(core, now, status, headers);
        self.end(core, InviteEvent::Ended { by: EndedBy::Us, reason: None }, Some(now));
        self.phase = Phase::Gone;
        Ok(())
    }

    /// Gives an INVITE of the peer that is open a final refusal.
    pub(super) fn refuse(
        &mut self,
        core: &mut Core,
        now: Instant,
        status: u16,
        headers: Vec<(String, String)>,
    ) {
        if let Some(served) = self.served.take_if(|served| served.is_open()) {
            let mut response = Response::new(status).to_tag(local_tag(self.id));
            for (name, value) in headers {
                response.headers.push((Field::from(&*name), value));
            }
            core.answer(now, served.transaction, &response);
            if let Some(Pending::TheirRequest(asked)) = self.pending.take() {
                core.answer(now, asked.transaction, &Response::new(487));
            }
        }
    }

    fn on_cancelled(&mut self, core: &mut Core, now: Instant, cancel: &Message) {
        // The 2xx was decided on, and only waits: it still crosses the CANCEL.
        if self.served.as_ref().is_some_and(|served| served.held.is_some()) {
            self.refuse(core, now, 487, Vec::new());
            self.end(core, InviteEvent::Ended { by: EndedBy::Peer, reason: Reason::of(cancel) }, Some(now));
            return self.phase = Phase::Gone;
        }
        let initial = self.served.as_ref().is_some_and(|served| served.initial);
        self.refuse(core, now, 487, Vec::new());
        if initial {
            self.end(core, InviteEvent::Ended { by: EndedBy::Peer, reason: Reason::of(cancel) }, Some(now));
            self.phase = Phase::Gone;
        } else {
            self.tell(core, InviteEvent::OfferRefused { cause: crate::agent::Cause::Closed });
        }
    }

    fn on_ack(&mut self, core: &mut Core, now: Instant, ack: &Message) {
        let number = ack.cseq().map_or(0, |cseq| cseq.number);
        let tag = ack.from().ok().and_then(|from| from.tag()).unwrap_or_default();
        if !self.legs.iter().any(|leg| *leg.dialog.remote_tag == *tag) {
            return;
        }
        let Some(served) = self.served.take_if(|served| served.accepted.is_some() && served.cseq == number)
        else {
            return;
        };
        let offered = matches!(self.pending, Some(Pending::OurAnswer));
        let body = Body::of(ack).filter(|_| offered);
        if offered {
            self.pending = None;
            self.remote_body.clone_from(&body);
            self.legs[0].negotiated |= body.is_some();
        }
        if served.initial {
            self.tell(core, InviteEvent::Confirmed { body });
        } else if offered {
            self.tell(core, InviteEvent::OfferAnswered { body, offer: false });
        }
        if let Some(reason) = self.owes_bye.take() {
            self.part(core, now, reason.as_ref());
        }
    }

    /// Says again what was not acknowledged, and gives up when nobody ever does.
    pub(super) fn repeat(&mut self, core: &mut Core, now: Instant) {
        self.repeat_provisional(core, now);
        let t2 = core.config.timers.t2;
        let Some(accepted) = self.served.as_mut().and_then(|served| served.accepted.as_mut()) else { return };
        if accepted.gives_up_at <= now {
            self.served = None;
            let reason = self.owes_bye.take().flatten();
            self.tell(core, InviteEvent::Ended { by: EndedBy::Lost, reason: None });
            return self.part(core, now, reason.as_ref());
        }
        if accepted.next_at <= now {
            accepted.interval = accepted.interval.saturating_mul(2).min(t2);
            accepted.next_at = now + accepted.interval;
            let response = accepted.response.clone();
            let transaction = self.served.as_ref().map(|served| served.transaction);
            if let Some(transaction) = transaction {
                core.answer(now, transaction, &response);
            }
        }
    }
}
