//! Requests of others to this agent.

use std::time::Instant;

use super::core::Core;
use super::{Agent, AgentEvent, Diagnostic};
use crate::endpoint::Response;
use crate::message::{HeaderName, Message, Method};
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;
use crate::usage::refer::is_of_refer;

impl Agent {
    pub(super) fn on_request(&mut self, now: Instant, id: ServerTransactionId, message: Message, flow: Flow) {
        let core = &mut self.core;
        if encoded(&message) {
            // RFC 3261 §8.2.3; linphone deflates its receipts, for one.
            core.refused(now, &message, &flow, 415, "the body is encoded");
            let response = Response::new(415).header(HeaderName::AcceptEncoding, "identity");
            return core.answer(now, id, &response);
        }
        if let Some(tag) = message.values(HeaderName::Require).find(|tag| !core.understands(tag)) {
            let tag = String::from_utf8_lossy(tag).into_owned();
            core.refused(now, &message, &flow, 420, "it demands an extension that is not supported");
            return core.answer(now, id, &Response::new(420).header(HeaderName::Unsupported, tag));
        }
        let Some(message) = self.within_dialog(now, id, message, &flow) else { return };
        let core = &mut self.core;
        let Some(method) = message.method() else { return };
        // A notification must belong to a subscription of ours; nothing vouches for what else strangers send.
        let open = matches!(method, Method::Notify | Method::Options | Method::Ack | Method::Cancel);
        if !open && !core.config.accept_from_anywhere && !core.is_service(flow.remote.ip()) {
            core.refused(now, &message, &flow, 403, "it does not come from the service");
            return core.answer(now, id, &Response::new(403));
        }
        match method {
            Method::Notify if !core.may_notify(&flow) => {
                core.refused(now, &message, &flow, 403, "a notification that does not come from the service");
                core.answer(now, id, &Response::new(403));
            }
            Method::Notify => self.subscriptions.on_notify(core, now, id, &message, &flow),
            _ if core.config.methods.iter().any(|own| *own == method) => {
                core.events.push_back(AgentEvent::RequestReceived { id, message, flow });
            }
            // RFC 3428 makes no dialogs, so a tag names none of ours.
            Method::Message if message.to().is_ok_and(|to| to.tag().is_some()) => {
                core.refused(now, &message, &flow, 481, "a MESSAGE within an unknown dialog");
                core.answer(now, id, &Response::new(481));
            }
            Method::Message => core.events.push_back(AgentEvent::MessageReceived { id, message, flow }),
            Method::Options => {
                let response = Response::new(200)
                    .header(HeaderName::Allow, core.allow())
                    .header(HeaderName::Accept, core.accept())
                    .header(HeaderName::AllowEvents, core.allow_events())
                    .header(HeaderName::Supported, core.supported());
                core.answer(now, id, &response);
            }
            Method::Invite if core.has_sessions() => {
                self.invites.on_invite(core, now, id, &message, &flow);
            }
            Method::Refer if core.has_sessions() => {
                let target_dialog = self.invites.target_dialog(&message);
                self.refers.on_refer(core, now, id, (message, flow), None, target_dialog);
            }
            Method::Bye | Method::Update | Method::Prack => {
                core.refused(now, &message, &flow, 481, "a request within an unknown dialog");
                core.answer(now, id, &Response::new(481));
            }
            Method::Other(_) => {
                core.refused(now, &message, &flow, 501, "an unknown method");
                core.answer(now, id, &Response::new(501).header(HeaderName::Allow, core.allow()));
            }
            _ => {
                core.refused(now, &message, &flow, 405, "a method that is not allowed");
                core.answer(now, id, &Response::new(405).header(HeaderName::Allow, core.allow()));
            }
        }
    }
}

impl Agent {
    /// Takes a request that belongs to a session or a referral. Gives back one that does not.
    ///
    /// Whoever knows the tags and the Call-ID is in it, wherever the request comes from: they are secrets of the two ends and of the
    /// services between.
    fn within_dialog(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        message: Message,
        flow: &Flow,
    ) -> Option<Message> {
        let core = &mut self.core;
        let method = message.method()?;
        if matches!(method, Method::Options | Method::Cancel) {
            return Some(message);
        }
        if matches!(method, Method::Notify | Method::Subscribe) && is_of_refer(&message) {
            if method == Method::Notify
                && let Some(refer) = self.refers.notified(&message)
            {
                self.refers.on_notify(core, now, refer, id, &message, flow);
                return None;
            }
            if method == Method::Subscribe
                && let Some(refer) = self.refers.subscribed(&message)
            {
                self.refers.on_subscribe(core, now, refer, id, &message);
                return None;
            }
        }
        let Some(session) = self.invites.find(&message) else {
            let of_sessions = matches!(
                method,
                Method::Invite | Method::Bye | Method::Update | Method::Prack | Method::Info | Method::Refer
            );
            // The dialogs of whoever takes such a method itself are not known here.
            let taken = core.config.methods.iter().any(|own| *own == method);
            if of_sessions && !taken && message.to().is_ok_and(|to| to.tag().is_some()) {
                core.refused(now, &message, flow, 481, "a request within an unknown dialog");
                core.answer(now, id, &Response::new(481));
                return None;
            }
            return Some(message);
        };
        match method {
            Method::Refer => match self.invites.borrow(session, &message) {
                Ok(dialog) => {
                    let target_dialog = self.invites.target_dialog(&message);
                    let within = Some((session, dialog));
                    self.refers.on_refer(core, now, id, (message, *flow), within, target_dialog);
                }
                Err(status) => {
                    core.refused(now, &message, flow, status, "a REFER that does not fit into its dialog");
                    core.answer(now, id, &Response::new(status));
                }
            },
            // No usage of the dialog is meant.
            Method::Notify | Method::Subscribe if is_of_refer(&message) => {
                core.refused(now, &message, flow, 481, "no such referral");
                core.answer(now, id, &Response::new(481));
            }
            Method::Other(name) if !core.config.methods.iter().any(|own| own.as_str() == name) => {
                return Some(message);
            }
            Method::Subscribe | Method::Publish | Method::Register => return Some(message),
            _ => self.invites.on_request(core, now, session, id, &message, flow),
        }
        None
    }
}

impl Core {
    pub(crate) fn answer(&mut self, now: Instant, id: ServerTransactionId, response: &Response) {
        if let Err(error) = self.endpoint.respond(now, id, response) {
            tracing::debug!(%error, status = response.status, "an answer was not sent");
        }
    }

    pub(crate) fn refused(
        &mut self,
        now: Instant,
        message: &Message,
        flow: &Flow,
        status: u16,
        why: &'static str,
    ) {
        let method = message.method().map(|method| method.as_str().to_owned()).unwrap_or_default();
        let from = flow.remote;
        self.complain(now, Diagnostic::Refused { method, from, status, why });
    }
}

/// Whether the body has an encoding other than none.
fn encoded(message: &Message) -> bool {
    message
        .headers(HeaderName::ContentEncoding)
        .any(|value| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity"))
        && !message.body().is_empty()
}
