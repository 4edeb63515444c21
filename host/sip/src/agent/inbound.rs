//! Requests of others to this agent.

use std::time::Instant;

use super::core::Core;
use super::{Agent, AgentEvent, Diagnostic};
use crate::endpoint::Response;
use crate::message::{HeaderName, Message, Method};
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;

impl Agent {
    pub(super) fn on_request(&mut self, now: Instant, id: ServerTransactionId, message: Message, flow: Flow) {
        let core = &mut self.core;
        let Some(method) = message.method() else { return };
        if encoded(&message) {
            // RFC 3261 §8.2.3; linphone deflates its receipts, for one.
            core.refused(now, &message, &flow, 415, "the body is encoded");
            let response = Response::new(415).header(HeaderName::AcceptEncoding, "identity");
            return core.answer(now, id, &response);
        }
        // Whoever knows the tags and the Call-ID of a session is in it: they are secrets of its two ends and of the service.
        let ours = !matches!(method, Method::Options | Method::Cancel);
        if let Some(session) = self.invites.find(&message).filter(|_| ours) {
            return self.invites.on_request(core, now, session, id, &message, &flow);
        }
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
                    .header(HeaderName::AllowEvents, core.config.packages.join(", "))
                    .header(HeaderName::Supported, core.supported());
                core.answer(now, id, &response);
            }
            Method::Invite | Method::Refer | Method::Info
                if core.has_sessions() && message.to().is_ok_and(|to| to.tag().is_some()) =>
            {
                core.refused(now, &message, &flow, 481, "a request within an unknown dialog");
                core.answer(now, id, &Response::new(481));
            }
            Method::Invite if core.has_sessions() => {
                self.invites.on_invite(core, now, id, &message, &flow);
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
