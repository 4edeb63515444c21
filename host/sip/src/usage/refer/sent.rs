//! REFERs that we send.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::params::escaped;
use super::{
    ReferEvent, ReferParams, ReferTarget, Refers, arm, event_id, local_id, room, without_subscription,
};
use crate::agent::core::{Core, Done, Purpose, ReferErrand, Way};
use crate::agent::place::{Contact, Route};
use crate::agent::{AgentEvent, Cause, InviteId, ReferId};
use crate::endpoint::{Request, Response};
use crate::message::{HeaderName, Message, Method, SubscriptionStatus};
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;
use crate::uri::{Scheme, Uri};
use crate::usage::dialog::{Dialog, Sequence};
use crate::usage::invite::Invites;
use crate::usage::{Body, CallError, When, refusal, retry_of};

/// The longest that a peer's call may be told about.
const LONGEST: u32 = 3_600;

/// A REFER that we sent.
pub(super) struct Sent {
    /// `None` while nobody has answered one that is out of dialog.
    dialog: Option<Dialog>,
    /// The session in whose dialog it is.
    within: Option<InviteId>,
    call_id: Arc<str>,
    local_tag: u64,
    /// The number of the REFER.
    number: u32,
    /// It has its final answer.
    answered: bool,
    /// The user knows that it was accepted.
    told: bool,
    /// The last status of the peer's call.
    last: Option<u16>,
    secure: bool,
    /// Nothing more is expected after that.
    until: Option<Instant>,
    pub(super) deadline: Option<Instant>,
}

impl Refers {
    pub(crate) fn refer(
        &mut self,
        core: &mut Core,
        now: Instant,
        invites: &Invites,
        params: ReferParams,
    ) -> Result<ReferId, CallError> {
        if self.sent.len() >= room(core) {
            return Err(CallError::TooMany);
        }
        let id = self.fresh_id(core);
        let mut refer_to = params.refer_to;
        if let Some(replaced) = params.replaces {
            let name = invites.facts(replaced).ok_or(CallError::Unknown)?.name_for_peer();
            let join = if refer_to.contains('?') { '&' } else { '?' };
            refer_to = format!("{refer_to}{join}Replaces={}", escaped(&name.to_string()));
        }
        // It stands in angle brackets; what would end them would be something else for each reader.
        if Uri::parse_str(&refer_to).is_err() || refer_to.contains(['<', '>', '"', ' ']) {
            return Err(CallError::Invalid);
        }
        let (mut request, mut way, sent) = match &params.to {
            ReferTarget::Within(call) => {
                let (dialog, secure) = invites.dialog(*call).ok_or(CallError::Unknown)?;
                let dialog = dialog.clone();
                let (request, route) = dialog.request(core, Method::Refer);
                let way = Way {
                    sequence: Some(dialog.sequence().clone()),
                    secure,
                    ..Way::new(route, Contact::Plain)
                };
                let number = request.cseq;
                let (call_id, local_tag) = (dialog.call_id.clone(), call.0);
                let sent = Sent::new(Some(dialog), Some(*call), call_id, local_tag, number, secure);
                (request, way, sent)
            }
            ReferTarget::Address(uri) => {
                let call_id: Arc<str> = core.call_id().into();
                let target = uri.as_str().split('?').next().unwrap_or_default();
                let request = core
                    .request(Method::Refer, target)
                    .from(core.sender(&format!("{id:016x}")))
                    .to(format!("<{target}>"))
                    .call_id(&*call_id);
                let request = core.preload_route(request);
                let secure = uri.as_uri().scheme() == Scheme::Sips;
                let sent = Sent::new(None, None, call_id, id, 1, secure);
                (request, Way::new(Route::Service, Contact::Plain), sent)
            }
        };
        way.features = None;
        request.push(HeaderName::ReferTo, format!("<{refer_to}>"));
        let referred_by = params.referred_by.unwrap_or_else(|| format!("<{}>", core.config.aor));
        request.push(HeaderName::ReferredBy, referred_by);
        request.push(HeaderName::Allow, core.allow());
        request.push(HeaderName::Supported, core.supported());
        if !params.subscription {
            request.push(HeaderName::ReferSub, "false");
        }
        if let Some(known) = params.target_dialog {
            let name = invites.facts(known).ok_or(CallError::Unknown)?.name_for_peer();
            request.push(HeaderName::TargetDialog, name.target_dialog());
            request.push(HeaderName::Require, "tdialog");
        }
        if params.body.is_some() {
            // RFC 5368 §5: whoever does not know lists must not take the first of them for all.
            request.push(HeaderName::Require, "multiple-refer");
        }
        for (name, value) in params.headers {
            request.push(&*name, value);
        }
        request.body = params.body.as_ref().map(Body::parts);
        self.sent.insert(id, sent);
        core.send_by(now, Purpose::Refer(id, ReferErrand::Refer), request, way);
        Ok(ReferId(id))
    }

    /// Wants to hear no more of it.
    pub(crate) fn end(&mut self, core: &mut Core, now: Instant, id: ReferId) {
        let Some(sent) = self.sent.remove(&id.0) else { return };
        if let Some(dialog) = sent.dialog.as_ref().filter(|_| sent.told) {
            let (request, route) = dialog.request(core, Method::Subscribe);
            let request = request
                .header(HeaderName::Event, format!("refer;id={}", sent.number))
                .header(HeaderName::Expires, "0");
            self.send(core, now, id.0, &sent, request, route);
        }
        tell(core, id.0, ReferEvent::Ended { status: sent.last, reason: String::new() });
    }

    fn send(&self, core: &mut Core, now: Instant, id: u64, sent: &Sent, request: Request, route: Route) {
        let sequence = sent.dialog.as_ref().map(|dialog| dialog.sequence().clone());
        let way = Way { sequence, secure: sent.secure, ..Way::new(route, Contact::Plain) };
        core.send_by(now, Purpose::Refer(id, ReferErrand::Unsubscribe), request, way);
    }

    /// A REFER has its final answer. Gives back the session whose dialog it was in.
    pub(crate) fn on_referred(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        done: &Done,
    ) -> Option<InviteId> {
        let sent = self.sent.get_mut(&id)?;
        let within = sent.within;
        sent.number = done.cseq;
        sent.answered = true;
        let (cause, wait) = match &done.outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                let subscribed = !without_subscription(answer);
                if sent.dialog.is_none() {
                    sent.dialog = Some(sent.dialog_from(core, id, done.cseq, answer));
                }
                if !std::mem::replace(&mut sent.told, true) {
                    let status = answer.status().unwrap_or(202);
                    // Until the first notification comes (RFC 6665 §4.1.2.4, timer N).
                    sent.until = Some(now + core.config.timers.timeout());
                    tell(core, id, ReferEvent::Accepted { status, subscribed });
                }
                if subscribed {
                    arm(core, id, &mut sent.deadline, sent.until);
                } else {
                    self.forget(core, id, String::new());
                }
                return within;
            }
            Ok(answer) => refusal(answer),
            Err(cause) => (cause.clone(), None),
        };
        // A notification came before, by another branch of a fork: that is what counts.
        if !sent.told {
            let retry = match retry_of(&cause, wait) {
                When::Later(wait) => Some(core.backoff(0, wait)),
                _ => None,
            };
            self.sent.remove(&id);
            tell(core, id, ReferEvent::Failed { cause, retry });
        }
        within
    }

    fn forget(&mut self, core: &mut Core, id: u64, reason: String) {
        if let Some(sent) = self.sent.remove(&id) {
            let status = sent.last.filter(|status| *status >= 200);
            tell(core, id, ReferEvent::Ended { status, reason });
        }
    }

    pub(super) fn sent_timeout(&mut self, core: &mut Core, now: Instant, id: u64) {
        let Some(sent) = self.sent.get_mut(&id) else { return };
        sent.deadline = None;
        if sent.until.is_some_and(|until| until <= now) {
            self.forget(core, id, "timeout".to_owned());
        }
    }

    /// The REFER that a notification belongs to.
    pub(crate) fn notified(&self, message: &Message) -> Option<u64> {
        let (tag, call_id) = (local_id(message)?, message.call_id()?);
        let wanted = event_id(message);
        let mut of_dialog =
            self.sent.iter().filter(|(_, sent)| sent.local_tag == tag && *sent.call_id == *call_id);
        let exact = of_dialog.clone().find(|(_, sent)| wanted.is_some_and(|number| sent.number == number));
        // One that is sent again with credentials has another number, which is not known before its answer; and the first
        // notifier of a dialog may leave the number out.
        exact.or_else(|| of_dialog.find(|(_, sent)| wanted.is_none() || !sent.answered)).map(|(id, _)| *id)
    }

    /// A notification of the peer's progress came.
    pub(crate) fn on_notify(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        if let Err((status, why)) = self.take(core, now, id, message) {
            core.refused(now, message, flow, status, why);
            return core.answer(now, transaction, &Response::new(status));
        }
        core.answer(now, transaction, &Response::new(200));
        let Some(said) = message.subscription_state() else { return };
        let Some(sent) = self.sent.get_mut(&id) else { return };
        if !std::mem::replace(&mut sent.told, true) {
            tell(core, id, ReferEvent::Accepted { status: 202, subscribed: true });
        }
        if let Some((status, reason)) = sipfrag(message) {
            sent.last = Some(status);
            tell(core, id, ReferEvent::Progress { status, reason });
        }
        if said.status == SubscriptionStatus::Terminated {
            return self.forget(core, id, said.reason().unwrap_or_default().to_owned());
        }
        let granted = said.expires().unwrap_or(LONGEST).clamp(1, LONGEST);
        // The last word may be late.
        sent.until = Some(now + Duration::from_secs(u64::from(granted)) + core.config.timers.timeout());
        arm(core, id, &mut sent.deadline, sent.until);
    }

    /// Checks a notification, and makes the dialog of a first one.
    fn take(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        message: &Message,
    ) -> Result<(), (u16, &'static str)> {
        let sent = self.sent.get_mut(&id).ok_or((481, "no such referral"))?;
        if message.subscription_state().is_none() {
            return Err((400, "the Subscription-State header is missing"));
        }
        let from = message.from().map_err(|_| (400, "the From header is malformed"))?;
        let number = message.cseq().map_err(|_| (400, "the CSeq header is malformed"))?.number;
        let tag = from.tag().unwrap_or_default();
        if sent.dialog.is_none() {
            let dialog = Dialog::from_request(core, message, &format!("{id:016x}"));
            let dialog = dialog.ok_or((400, "a notification that makes no dialog"))?;
            let dialog = dialog.with_sequence(Sequence::after(sent.number.wrapping_add(8)));
            // Only the first of several that a proxy reached is heard.
            sent.dialog = Some(dialog);
            sent.until.get_or_insert(now + core.config.timers.timeout());
            return Ok(());
        }
        let dialog = sent.dialog.as_mut().filter(|dialog| *dialog.remote_tag == *tag);
        let dialog = dialog.ok_or((481, "a further notifier is not wanted"))?;
        if !dialog.take(number) {
            return Err((500, "an earlier notification than the last one"));
        }
        dialog.retarget(message);
        Ok(())
    }
}

impl Sent {
    fn new(
        dialog: Option<Dialog>,
        within: Option<InviteId>,
        call_id: Arc<str>,
        local_tag: u64,
        number: u32,
        secure: bool,
    ) -> Self {
        Self {
            dialog,
            within,
            call_id,
            local_tag,
            number,
            answered: false,
            told: false,
            last: None,
            secure,
            until: None,
            deadline: None,
        }
    }

    fn dialog_from(&self, core: &Core, id: u64, number: u32, answer: &Message) -> Dialog {
        let remote = answer.to().map(|to| crate::usage::dialog::bare(&to)).unwrap_or_default();
        let local = core.sender(&format!("{id:016x}"));
        Dialog::from_answer(self.call_id.clone(), local.into(), remote.into(), number, self.secure, answer)
    }
}

fn tell(core: &mut Core, id: u64, event: ReferEvent) {
    core.events.push_back(AgentEvent::Refer { id: ReferId(id), event });
}

/// The status line in the body (RFC 3420, RFC 3515 §2.4.5).
fn sipfrag(message: &Message) -> Option<(u16, String)> {
    let kind = message.content_type()?;
    if !kind.is("message/sipfrag") {
        return None;
    }
    let line = message.body().split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let rest = line.strip_prefix(b"SIP/2.0 ")?;
    let (code, reason) = rest.split_at_checked(3)?;
    let code = crate::text::number(code).and_then(|code| u16::try_from(code).ok())?;
    let reason = String::from_utf8_lossy(crate::text::trim(reason));
    let reason = reason.chars().filter(|c| !c.is_control()).take(256).collect();
    (100..=699).contains(&code).then_some((code, reason))
}

/// What the end of a REFER within a dialog says about that dialog (RFC 5057).
pub(crate) fn ends_dialog(outcome: &Result<Message, Cause>) -> Option<bool> {
    match outcome {
        Ok(answer) if answer.status() == Some(481) => Some(false),
        Ok(answer) if answer.status() == Some(408) => Some(true),
        Err(Cause::Timeout) => Some(true),
        _ => None,
    }
}
