//! REFERs that come.

use std::time::{Duration, Instant};

use super::{ReferRequest, ReferTo, Refers, arm, event_id, local_id, room, without_subscription};
use crate::agent::core::{Core, Done, Purpose, ReferErrand, Way};
use crate::agent::place::Contact;
use crate::agent::{AgentEvent, IncomingReferId, InviteId};
use crate::endpoint::Response;
use crate::message::{HeaderName, Message, Method};
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;
use crate::usage::CallError;
use crate::usage::dialog::Dialog;

/// How long the subscription lives without news, in seconds: as long as a call rings, and some more.
const LIFETIME: u32 = 300;

/// A REFER that came.
pub(super) struct Taken {
    dialog: Dialog,
    /// The number in the tag of our end: that of the session, or our own.
    local_tag: u64,
    /// The number of the REFER.
    number: u32,
    flow: Flow,
    /// What to answer; `None` once it is answered.
    transaction: Option<ServerTransactionId>,
    wants: bool,
    /// The state of our call.
    status: u16,
    reason: String,
    /// A NOTIFY is on its way, and another one must follow.
    busy: bool,
    news: bool,
    /// Why the subscription ends.
    ends: Option<&'static str>,
    until: Instant,
    pub(super) deadline: Option<Instant>,
}

impl Refers {
    /// A REFER came: out of dialog, or in that of a session.
    pub(crate) fn on_refer(
        &mut self,
        core: &mut Core,
        now: Instant,
        transaction: ServerTransactionId,
        request: (Message, Flow),
        within: Option<(u64, Dialog)>,
        target_dialog: Option<InviteId>,
    ) {
        let (message, flow) = request;
        let refuse = |core: &mut Core, status, why| {
            core.refused(now, &message, &flow, status, why);
            core.answer(now, transaction, &Response::new(status));
        };
        // RFC 3515 §2.4.2: exactly one.
        let one = message.count(HeaderName::ReferTo) == 1;
        let Some(refer_to) = ReferTo::of(&message).filter(|_| one) else {
            return refuse(core, 400, "no usable Refer-To");
        };
        if self.taken.len() >= room(core) {
            return refuse(core, 486, "there are too many referrals");
        }
        let id = self.fresh_id(core);
        let session = within.as_ref().map(|(session, _)| *session);
        let dialog = match within {
            Some((_, dialog)) => Some(dialog),
            None if message.contacts().next().is_none_or(|contact| contact.is_err()) => None,
            None => Dialog::from_request(core, &message, &format!("{id:016x}")),
        };
        let Some(dialog) = dialog else { return refuse(core, 400, "a REFER that makes no dialog") };
        let wants = !without_subscription(&message);
        let mut taken = Taken {
            dialog,
            local_tag: session.unwrap_or(id),
            number: message.cseq().map_or(0, |cseq| cseq.number),
            flow,
            transaction: Some(transaction),
            wants,
            status: 100,
            reason: "Trying".to_owned(),
            busy: false,
            news: false,
            ends: None,
            // Whoever asks gives up then.
            until: now + core.config.timers.timeout(),
            deadline: None,
        };
        arm(core, id, &mut taken.deadline, Some(taken.until));
        self.taken.insert(id, taken);
        let referred_by = message.header(HeaderName::ReferredBy);
        core.events.push_back(AgentEvent::ReferReceived(Box::new(ReferRequest {
            id: IncomingReferId(id),
            within: session.map(InviteId),
            target_dialog,
            refer_to,
            referred_by: referred_by.map(|value| String::from_utf8_lossy(value).into_owned()),
            subscription: wants,
            message,
            flow,
        })));
    }

    pub(crate) fn accept(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: IncomingReferId,
    ) -> Result<(), CallError> {
        let taken = self.taken.get_mut(&id.0).ok_or(CallError::Unknown)?;
        let transaction = taken.transaction.take().ok_or(CallError::State)?;
        let contact = core.contact_for(&taken.flow, None, taken.dialog.secure);
        // RFC 4488 §4: without a subscription, that is all that will be said.
        let mut response = Response::new(if taken.wants { 202 } else { 200 })
            .to_tag(format!("{:016x}", taken.local_tag))
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Supported, core.supported());
        if !taken.wants {
            response = response.header(HeaderName::ReferSub, "false");
        }
        core.answer(now, transaction, &response);
        if taken.wants {
            self.notify(core, now, id.0);
        } else {
            self.taken.remove(&id.0);
        }
        Ok(())
    }

    pub(crate) fn reject(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: IncomingReferId,
        status: u16,
    ) -> Result<(), CallError> {
        if !(300..=699).contains(&status) {
            return Err(CallError::Status(status));
        }
        let taken = self.taken.get_mut(&id.0).ok_or(CallError::Unknown)?;
        let transaction = taken.transaction.take().ok_or(CallError::State)?;
        self.taken.remove(&id.0);
        core.answer(now, transaction, &Response::new(status));
        Ok(())
    }

    /// Tells how our call goes.
    pub(crate) fn progress(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: IncomingReferId,
        status: u16,
        reason: &str,
    ) -> Result<(), CallError> {
        if !(100..=699).contains(&status) {
            return Err(CallError::Status(status));
        }
        let taken = self.taken.get_mut(&id.0).ok_or(CallError::Unknown)?;
        if taken.transaction.is_some() || taken.ends.is_some() {
            return Err(CallError::State);
        }
        taken.status = status;
        taken.reason = match reason {
            "" => crate::build::reason_phrase(status).to_owned(),
            reason => reason.chars().filter(|c| !c.is_control()).collect(),
        };
        if status >= 200 {
            taken.ends = Some("noresource");
        }
        self.notify(core, now, id.0);
        Ok(())
    }

    /// Sends the state of our call, one NOTIFY after the other.
    fn notify(&mut self, core: &mut Core, now: Instant, id: u64) {
        let Some(taken) = self.taken.get_mut(&id) else { return };
        taken.until = now + Duration::from_secs(u64::from(LIFETIME));
        arm(core, id, &mut taken.deadline, Some(taken.until));
        if taken.busy {
            taken.news = true;
            return;
        }
        taken.busy = true;
        let state = match taken.ends {
            Some(reason) => format!("terminated;reason={reason}"),
            None => format!("active;expires={LIFETIME}"),
        };
        let (request, route) = taken.dialog.request(core, Method::Notify);
        let request = request
            .header(HeaderName::Event, format!("refer;id={}", taken.number))
            .header(HeaderName::SubscriptionState, state)
            .body("message/sipfrag;version=2.0", format!("SIP/2.0 {} {}\r\n", taken.status, taken.reason));
        let way = Way {
            sequence: Some(taken.dialog.sequence().clone()),
            secure: taken.dialog.secure,
            ..Way::new(route, Contact::Plain)
        };
        core.send_by(now, Purpose::Refer(id, ReferErrand::Notify), request, way);
    }

    /// A NOTIFY has its final answer.
    pub(crate) fn on_notified(&mut self, core: &mut Core, now: Instant, id: u64, done: &Done) {
        let Some(taken) = self.taken.get_mut(&id) else { return };
        taken.busy = false;
        let taken_up =
            done.outcome.as_ref().is_ok_and(|answer| answer.status().is_some_and(|status| status < 300));
        if !taken_up {
            // Nobody listens any more (RFC 6665 §4.2.2).
            self.taken.remove(&id);
        } else if std::mem::take(&mut taken.news) {
            self.notify(core, now, id);
        } else if taken.ends.is_some() {
            self.taken.remove(&id);
        }
    }

    pub(super) fn taken_timeout(&mut self, core: &mut Core, now: Instant, id: u64) {
        let Some(taken) = self.taken.get_mut(&id) else { return };
        taken.deadline = None;
        if taken.until > now {
            return arm(core, id, &mut taken.deadline, Some(taken.until));
        }
        if taken.transaction.is_some() || taken.ends.is_some() {
            self.taken.remove(&id);
        } else {
            taken.ends = Some("timeout");
            self.notify(core, now, id);
        }
    }

    /// The referral that a SUBSCRIBE within a dialog is for.
    pub(crate) fn subscribed(&self, message: &Message) -> Option<u64> {
        let (tag, call_id) = (local_id(message)?, message.call_id()?);
        let from = message.from().ok()?;
        let remote_tag = from.tag().unwrap_or_default();
        let wanted = event_id(message);
        let mut all = self.taken.iter().filter(|(_, taken)| {
            taken.local_tag == tag && taken.transaction.is_none() && taken.dialog.is(call_id, remote_tag)
        });
        all.find(|(_, taken)| wanted.is_none_or(|number| taken.number == number)).map(|(id, _)| *id)
    }

    /// A SUBSCRIBE within the dialog came: a refresh, or the end (RFC 3515 §2.4.4).
    pub(crate) fn on_subscribe(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        transaction: ServerTransactionId,
        message: &Message,
    ) {
        let Some(taken) = self.taken.get_mut(&id) else {
            return core.answer(now, transaction, &Response::new(481));
        };
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        if !taken.dialog.take(number) {
            return core.answer(now, transaction, &Response::new(500));
        }
        taken.dialog.retarget(message);
        let expires = message.expires().unwrap_or(LIFETIME).min(LIFETIME);
        if expires == 0 {
            taken.ends.get_or_insert("timeout");
        }
        let contact = core.contact_for(&taken.flow, None, taken.dialog.secure);
        let response = Response::new(200)
            .header(HeaderName::Expires, expires.to_string())
            .header(HeaderName::Contact, contact);
        core.answer(now, transaction, &response);
        self.notify(core, now, id);
    }
}
