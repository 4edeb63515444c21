//! Calls that we make.

use std::time::{Duration, Instant};

use super::{
    Body, Call, CallError, EndedBy, Errand, InviteEvent, InviteParams, Invites, Inviting, Leg, Pending,
    Phase, Purpose, Reason, Reliability, SessionTimer, capabilities, lists, local_tag,
};
use crate::agent::core::{Core, Done, Way};
use crate::agent::place::{Contact, Route};
use crate::agent::{Cause, InviteId};
use crate::message::{HeaderName, Message, Method};
use crate::uri::Scheme;
use crate::usage::dialog::Dialog;
use crate::usage::{When, refusal, retry_of};

/// Devices that one call is known to have reached. A 2xx of a further one is acknowledged and ended as any other.
const MAX_LEGS: usize = 16;

impl Invites {
    pub(crate) fn invite(
        &mut self,
        core: &mut Core,
        now: Instant,
        params: InviteParams,
    ) -> Result<InviteId, CallError> {
        if !self.has_room(core) {
            return Err(CallError::TooMany);
        }
        let id = self.fresh_id(core);
        let call = Call::begin(core, now, id, params);
        self.all.insert(id, call);
        self.arm(core, id);
        Ok(InviteId(id))
    }
}

impl Call {
    fn begin(core: &mut Core, now: Instant, id: u64, params: InviteParams) -> Self {
        let tag = local_tag(id);
        let call_id = params.call_id.unwrap_or_else(|| core.call_id());
        let local = match params.from {
            Some(from) => format!("{from};tag={tag}"),
            None => core.sender(&tag),
        };
        // Headers of a URI are for whoever reads it, not for the wire (RFC 3261 §19.1.1).
        let target = params.to.as_str().split('?').next().unwrap_or_default();
        let remote = format!("<{target}>");
        let mut request = core.request(Method::Invite, target).from(&*local).to(&*remote).call_id(&*call_id);
        for (name, value) in capabilities(core) {
            request.push(name, value);
        }
        // Without an offer of ours, a reliable provisional answer would have to bring the peer's.
        let reliable = match params.reliability {
            Reliability::Never => false,
            Reliability::Offered => params.body.is_some(),
            Reliability::Required => true,
        };
        if !reliable {
            request.withdraw(HeaderName::Supported, "100rel");
        }
        if params.reliability == Reliability::Required {
            request.push(HeaderName::Require, "100rel");
        }
        for tag in params.require {
            request.push(HeaderName::Require, tag);
        }
        request.push(HeaderName::Accept, core.accept());
        let timer = SessionTimer::wanted(core, params.session_expires);
        timer.ask(&mut request, None);
        for (name, value) in [
            (HeaderName::Replaces, params.replaces.map(|dialog| dialog.to_string())),
            (HeaderName::Join, params.join.map(|dialog| dialog.to_string())),
            (HeaderName::TargetDialog, params.target_dialog.map(|dialog| dialog.target_dialog())),
            (HeaderName::ReferredBy, params.referred_by),
            (HeaderName::AnswerMode, params.answer_mode.map(|mode| mode.to_string())),
            (HeaderName::Privacy, params.privacy),
            (HeaderName::Expires, params.expires.map(|seconds| seconds.to_string())),
        ] {
            if let Some(value) = value {
                match name {
                    // RFC 3891 §6.2, RFC 3911 §7.1: without the extension, the header must not be passed over.
                    HeaderName::Replaces => request.push(HeaderName::Require, "replaces"),
                    HeaderName::Join => request.push(HeaderName::Require, "join"),
                    _ => {}
                }
                request.push(name, value);
            }
        }
        for (name, value) in params.headers {
            request.push(&*name, value);
        }
        let mut request = core.preload_route(request);
        request.body = params.body.as_ref().map(Body::parts);
        let mut call = Self {
            id,
            caller: true,
            phase: Phase::Calling,
            call_id: call_id.into(),
            local: local.into(),
            remote: remote.into(),
            features: params.contact_params.map(Into::into),
            secure: params.to.as_uri().scheme() == Scheme::Sips,
            legs: smallvec::SmallVec::new(),
            main: None,
            next_fork: 0,
            initial: Some(Box::new(request)),
            offered: params.body.is_some(),
            raised: false,
            inviting: None,
            served: None,
            pending: None,
            local_body: params.body,
            remote_body: None,
            update_before: None,
            credentials: Vec::new(),
            glare: None,
            glares: 0,
            timer,
            rings_until: params.expires.map(|seconds| now + Duration::from_secs(u64::from(seconds))),
            overtaken: None,
            owes_bye: None,
            replaces: None,
            peer_updates: false,
            deadline: None,
        };
        call.launch(core, now);
        call
    }

    /// Sends the first INVITE.
    fn launch(&mut self, core: &mut Core, now: Instant) {
        let Some(request) = self.initial.as_deref().cloned() else { return };
        let offered = request.body.is_some();
        self.inviting = Some(Inviting { cseq: request.cseq, offered, refresh: false, before: None });
        self.pending = offered.then_some(Pending::OurInvite);
        let way = Way { features: self.features.clone(), ..Way::new(Route::Service, Contact::Plain) };
        core.send_by(now, Purpose::Invite(self.id, Errand::Begin), request, way);
    }

    /// The dialog that an answer belongs to, made where there is none yet.
    fn leg_of(&mut self, cseq: u32, answer: &Message) -> Option<usize> {
        let tag = answer.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        if let Some(at) = self.legs.iter().position(|leg| *leg.dialog.remote_tag == *tag) {
            return Some(at);
        }
        if self.legs.len() >= MAX_LEGS {
            return None;
        }
        let (call_id, local, remote) = (self.call_id.clone(), self.local.clone(), self.remote.clone());
        let dialog = Dialog::from_answer(call_id, local, remote, cseq, self.secure, answer);
        self.legs.push(Leg::new(dialog, self.next_fork));
        self.next_fork += 1;
        Some(self.legs.len() - 1)
    }

    pub(super) fn on_provisional(
        &mut self,
        core: &mut Core,
        now: Instant,
        begin: bool,
        cseq: u32,
        answer: &Message,
    ) {
        let status = answer.status().unwrap_or_default();
        if status <= 100 || self.is_over() {
            return;
        }
        let Some(inviting) = &mut self.inviting else { return };
        inviting.cseq = cseq;
        let offered = inviting.offered;
        let has_tag = answer.to().is_ok_and(|to| to.tag().is_some());
        let at = match begin {
            true if has_tag => self.leg_of(cseq, answer),
            true => None,
            false => self.main,
        };
        self.note_peer(answer);
        let rseq = answer.header(HeaderName::RSeq).and_then(crate::text::number);
        let rseq = rseq.and_then(|rseq| u32::try_from(rseq).ok());
        let rseq = rseq.filter(|_| lists(answer, HeaderName::Require, "100rel"));
        let body = Body::of(answer);
        let mut offer = false;
        if let (Some(at), Some(rseq)) = (at, rseq) {
            let leg = &mut self.legs[at];
            // RFC 3262 §4: in order, and each once.
            if leg.rseq.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
                return;
            }
            leg.rseq = Some(rseq);
            // RFC 6141 §4.3: a reliable answer moves the target, of a further INVITE too.
            leg.dialog.retarget(answer);
            offer = body.is_some() && !offered && !leg.negotiated && self.pending.is_none();
            if offer {
                self.pending = Some(Pending::TheirReliable { fork: leg.fork, rseq });
            } else {
                if offered && body.is_some() {
                    leg.negotiated = true;
                    self.pending.take_if(|pending| matches!(pending, Pending::OurInvite));
                }
                self.prack(core, now, at, rseq, None);
            }
        }
        let fork = at.map_or(0, |at| self.legs[at].fork);
        let reason = printable(answer.reason());
        match (begin, offer) {
            (true, _) => self.tell(core, InviteEvent::Progress { status, reason, fork, body, offer }),
            (false, true) => self.tell(core, InviteEvent::Offer { body }),
            (false, false) => {}
        }
    }

    /// The first INVITE has its final answer.
    pub(super) fn on_begun(&mut self, core: &mut Core, now: Instant, done: Done) {
        self.credentials = done.credentials;
        let (cause, wait, reason) = match done.outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                return self.on_2xx(core, now, done.cseq, &answer);
            }
            _ if self.is_over() => return self.phase = Phase::Gone,
            Ok(answer) if answer.status() == Some(422) && self.raise(&answer) => {
                if let Some(request) = &mut self.initial {
                    request.cseq = done.cseq + 1;
                    for name in [HeaderName::SessionExpires, HeaderName::MinSe] {
                        request.remove(name);
                    }
                    self.timer.ask(request, None);
                }
                self.legs.clear();
                return self.launch(core, now);
            }
            Ok(answer) => {
                let (cause, wait) = refusal(&answer);
                (cause, wait, Reason::of(&answer))
            }
            Err(cause) => (cause, None, None),
        };
        let retry = match retry_of(&cause, wait) {
            When::Later(wait) => Some(core.backoff(0, wait)),
            _ => None,
        };
        self.tell(core, InviteEvent::Failed { cause, reason, retry });
        self.phase = Phase::Gone;
    }

    /// Takes the interval that a 422 asks for, once (RFC 4028 §7.4).
    pub(super) fn raise(&mut self, answer: &Message) -> bool {
        let raised = std::mem::replace(&mut self.raised, true);
        !raised && self.timer.raise(answer)
    }

    /// What the peer can do.
    pub(super) fn note_peer(&mut self, message: &Message) {
        if message.header(HeaderName::Allow).is_some() {
            self.peer_updates = lists(message, HeaderName::Allow, "UPDATE");
        }
    }

    fn on_2xx(&mut self, core: &mut Core, now: Instant, cseq: u32, answer: &Message) {
        let until = Some(now + core.config.timers.timeout());
        let at = self.leg_of(cseq, answer).unwrap_or_else(|| {
            // Of sixteen early ones, one makes room.
            self.legs.pop();
            self.leg_of(cseq, answer).unwrap_or_default()
        });
        let mut leg = self.legs.swap_remove(at);
        // What is early and not accepted ends by itself (RFC 3261 §13.2.2.4).
        self.legs.clear();
        leg.dialog.reroute(answer);
        leg.dialog.retarget(answer);
        let insecure = self.secure && !is_sips(&leg.dialog.target);
        if self.is_over() || insecure {
            // The answer crossed our CANCEL, or leaves the way that was asked for (RFC 5630 §3.1.3).
            self.end_leg(core, now, &mut leg, (cseq, answer), None);
            self.legs.push(leg);
            let event = InviteEvent::Failed { cause: Cause::Insecure, reason: None, retry: None };
            return self.end(core, event, until);
        }
        self.phase = Phase::Standing;
        self.initial = None;
        self.rings_until = None;
        self.note_peer(answer);
        self.timer.agreed(core, now, answer);
        let body = Body::of(answer);
        let offered = self.inviting.as_ref().is_some_and(|inviting| inviting.offered);
        let offer = body.is_some() && !offered && !leg.negotiated;
        if body.is_some() {
            self.remote_body.clone_from(&body);
        }
        if offer {
            self.pending = Some(Pending::TheirAnswer);
            if let Some(inviting) = &mut self.inviting {
                inviting.cseq = cseq;
            }
        } else {
            leg.negotiated |= body.is_some();
            leg.acknowledge(core, now, cseq, &self.credentials, None);
            self.inviting = None;
            self.pending
                .take_if(|pending| matches!(pending, Pending::OurInvite | Pending::TheirReliable { .. }));
        }
        self.legs.push(leg);
        self.main = Some(0);
        self.tell(core, InviteEvent::Answered { body, offer, message: answer.clone() });
    }

    /// A 2xx after the first: a repeat, or another device that answered as well (RFC 3261 §13.2.2.4).
    pub(super) fn on_late_2xx(&mut self, core: &mut Core, now: Instant, cseq: u32, answer: &Message) {
        let tag = answer.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        if let Some(leg) = self.legs.iter_mut().find(|leg| *leg.dialog.remote_tag == *tag) {
            return leg.acknowledge_again(core, now, cseq);
        }
        if !self.caller || self.legs.len() >= MAX_LEGS {
            return;
        }
        let (call_id, local, remote) = (self.call_id.clone(), self.local.clone(), self.remote.clone());
        let dialog = Dialog::from_answer(call_id, local, remote, cseq, self.secure, answer);
        let mut leg = Leg::new(dialog, self.next_fork);
        self.next_fork += 1;
        let reason = Reason::sip(200, "Call completed elsewhere");
        self.end_leg(core, now, &mut leg, (cseq, answer), Some(&reason));
        self.legs.push(leg);
    }

    /// Acknowledges a 2xx that nobody wants, and ends its dialog. An offer in it is refused: the ACK must answer it (RFC 3261
    /// §13.2.2.4).
    fn end_leg(
        &self,
        core: &mut Core,
        now: Instant,
        leg: &mut Leg,
        (cseq, answer): (u32, &Message),
        reason: Option<&Reason>,
    ) {
        let offer = Body::of(answer).filter(|_| !self.offered && !leg.negotiated);
        let refusal = offer.as_ref().and_then(Body::refusal);
        leg.acknowledge(core, now, cseq, &self.credentials, refusal.as_ref());
        self.bye(core, now, &leg.dialog, reason);
    }

    /// It rang for as long as it may.
    pub(super) fn rang_long_enough(&mut self, core: &mut Core, now: Instant) {
        match self.phase {
            Phase::Calling => {
                core.cancel(now, Purpose::Invite(self.id, Errand::Begin), None);
                let event = InviteEvent::Failed { cause: Cause::Timeout, reason: None, retry: None };
                self.end(core, event, None);
            }
            Phase::Ringing => {
                self.refuse(core, now, 487, Vec::new());
                self.end(core, InviteEvent::Ended { by: EndedBy::Peer, reason: None }, Some(now));
                self.phase = Phase::Gone;
            }
            _ => {}
        }
    }

    /// How requests within the dialog go.
    pub(super) fn way(&self, leg: &Leg, route: Route, contact: Contact) -> Way {
        Way {
            route,
            contact,
            features: self.features.clone(),
            sequence: Some(leg.dialog.sequence().clone()),
            secure: self.secure,
        }
    }
}

fn is_sips(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

/// A reason phrase for people and logs.
pub(super) fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).take(256).collect()
}
