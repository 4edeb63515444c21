//! A request on its way to its final answer: what it is for, where it goes, and what came of it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::auth::Attempt;
use super::place::{Contact, Route};
use super::{Cause, MessageId, RequestId};
use crate::endpoint::{Field, Request};
use crate::message::{HeaderName, Message, Method};
use crate::transport::Destination;
use crate::usage::dialog::Sequence;

/// Who wants an answer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Purpose {
    /// The flow of this number.
    Register(u32),
    /// `fork` is `None` for the SUBSCRIBE that begins everything; `attempt` tells late answers of an earlier one.
    Subscribe {
        id: u64,
        attempt: u32,
        fork: Option<u32>,
    },
    Publish(u64),
    Message(MessageId),
    Request(RequestId),
    /// A request of a session.
    Invite(u64, Errand),
    /// A request of a REFER that we sent, or received.
    Refer(u64, ReferErrand),
}

/// What a request of a session is for.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Errand {
    /// The INVITE that begins it.
    Begin,
    /// A further INVITE.
    Again,
    Update,
    /// The acknowledgement of a provisional answer, to this fork.
    Prack(u32),
    Bye,
    /// A request of the embedder's own.
    Own(RequestId),
}

/// What a request of a referral is for.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum ReferErrand {
    Refer,
    /// The end of the subscription that it made.
    Unsubscribe,
    Notify,
}

/// What the way of a request depends on besides its addresses.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) route: Route,
    pub(crate) contact: Contact,
    /// Parameters of the Contact, without a leading `;`.
    pub(crate) features: Option<Arc<str>>,
    /// Where the number comes from if it is sent again; `None` where it is the only request of its sequence.
    pub(crate) sequence: Option<Sequence>,
    /// Every hop must be encrypted, whatever the Request-URI says.
    pub(crate) secure: bool,
}

impl Way {
    pub(crate) const fn new(route: Route, contact: Contact) -> Self {
        Self { route, contact, features: None, sequence: None, secure: false }
    }
}

pub(crate) struct Exchange {
    pub(super) purpose: Purpose,
    pub(super) request: Request,
    pub(super) way: Way,
    pub(super) attempt: Attempt,
    pub(super) destination: Option<Destination>,
    pub(super) tried: SmallVec<[Destination; 1]>,
    /// Somebody beyond the next hop has it: another one must not get it as well.
    pub(super) arrived: bool,
    /// Nobody wants it any more: it is not sent again.
    pub(super) cancelled: bool,
    /// What an INVITE was sent with: its ACK has the same (RFC 3261 §22.1).
    pub(super) credentials: Vec<(HeaderName, String)>,
}

impl Exchange {
    /// It is sent again as a new request (RFC 3261 §22.2).
    pub(super) fn renumber(&mut self) {
        self.request.cseq = match &self.way.sequence {
            Some(sequence) => sequence.next(),
            None => self.request.cseq + 1,
        };
    }

    /// Whether no hop may be without encryption (RFC 5630).
    pub(super) fn is_secure(&self) -> bool {
        self.way.secure
            || self.request.uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
    }

    /// Whether the service itself answers it, and passes it on to nobody: a 503 of anybody else says nothing about the service.
    pub(super) fn stays_at_service(&self) -> bool {
        matches!(self.request.method.as_method(), Method::Register | Method::Publish)
    }

    /// The kind of request, for whoever looks for a fault: the method, and the event package.
    pub(super) fn class(&self) -> String {
        let event = self.request.headers.iter().find(|(name, _)| *name == Field::Known(HeaderName::Event));
        match event {
            Some((_, event)) => {
                format!("{} {}", self.request.method, event.split(';').next().unwrap_or_default().trim())
            }
            None => self.request.method.to_string(),
        }
    }
}

/// What is known of the way that a request takes.
#[derive(Copy, Clone, Default)]
pub(crate) struct Trust {
    /// It goes to a target of our service.
    pub(super) service: bool,
    /// It is addressed to our own account.
    pub(super) to_ourselves: bool,
    /// The first hop is encrypted.
    pub(super) secure: bool,
}

/// How an exchange ended.
pub(crate) struct Done {
    pub(crate) purpose: Purpose,
    /// The last number of the command sequence that was used.
    pub(crate) cseq: u32,
    /// Where it was sent to at last.
    pub(crate) destination: Option<Destination>,
    /// The final answer, neither 401 nor 407, or why there is none.
    pub(crate) outcome: Result<Message, Cause>,
    /// The credentials of an INVITE.
    pub(crate) credentials: Vec<(HeaderName, String)>,
}

/// An answer to an INVITE that does not end it: a provisional one, or a 2xx after the first.
pub(crate) struct Heard {
    /// `None` for a 2xx after the first.
    pub(crate) purpose: Option<Purpose>,
    /// The number of the INVITE.
    pub(crate) cseq: u32,
    pub(crate) message: Message,
}
