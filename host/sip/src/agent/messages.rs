//! Messages to others (RFC 3428).

use std::time::Instant;

use bytes::Bytes;

use super::core::{Core, Purpose};
use super::place::{Contact, Route};
use super::{Agent, AgentEvent, Cause, MessageId};
use crate::message::{Message, Method};
use crate::uri::UriBuf;
use crate::usage::{When, refusal, retry_of};

/// A MESSAGE to be sent (RFC 3428).
#[derive(Clone, Eq, PartialEq)]
pub struct MessageParams {
    /// To whom.
    pub to: UriBuf,
    /// The type of the text.
    pub content_type: String,
    /// The text.
    pub body: Bytes,
    /// Further headers, such as `Auto-Submitted`.
    pub headers: Vec<(String, String)>,
    /// The Call-ID. A message that is sent again, even by another process, keeps it, and with it the From tag: so the
    /// receiver knows the second copy. The number of the command sequence may differ.
    pub call_id: String,
}

impl std::fmt::Debug for MessageParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageParams")
            .field("to", &self.to)
            .field("content_type", &self.content_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("call_id", &self.call_id)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Sends a MESSAGE. It ends in one [`AgentEvent::MessageSent`] or [`AgentEvent::MessageFailed`].
    ///
    /// RFC 3428 §8 wants no second MESSAGE to the same peer while the first is on its way; that is the caller's to see to.
    pub fn send_message(&mut self, now: Instant, params: MessageParams) -> MessageId {
        let id = MessageId(self.core.next_id());
        let tag = message_tag(&params.call_id);
        let mut request = self
            .core
            .request(Method::Message, params.to.as_str())
            .from(self.core.sender(&tag))
            .to(format!("<{}>", params.to))
            .call_id(params.call_id);
        for (name, value) in &params.headers {
            request.push(name.as_str(), value.clone());
        }
        let request = self.core.preload_route(request).body(params.content_type, params.body);
        self.core.send(now, Purpose::Message(id), request, Route::Service, Contact::None);
        self.settle(now);
        id
    }
}

/// What became of a MESSAGE.
pub(super) fn outcome(core: &mut Core, id: MessageId, outcome: Result<Message, Cause>) -> AgentEvent {
    match outcome {
        Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
            AgentEvent::MessageSent { id, status: answer.status().unwrap_or(200) }
        }
        failed => {
            let (cause, wait) = match failed {
                Ok(answer) => refusal(&answer),
                Err(cause) => (cause, None),
            };
            let retry = match retry_of(&cause, wait) {
                When::Later(wait) => Some(core.backoff(0, wait)),
                _ => None,
            };
            AgentEvent::MessageFailed { id, cause, retry }
        }
    }
}

/// The From tag of a MESSAGE: the same for each copy of it, whoever sends it. It is no secret: it secures no dialog.
fn message_tag(call_id: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(call_id.as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
