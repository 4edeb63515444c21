//! What a session reports.

use thiserror::Error;

use super::params::{AnswerMode, Body, Reason};
use crate::agent::{Cause, InviteId};
use crate::message::Message;
use crate::transaction::ServerTransactionId;
use crate::transport::Flow;

/// Something that happened to a session. [`Failed`](Self::Failed) and [`Ended`](Self::Ended) are final: the agent forgets the
/// number after them.
#[derive(Debug)]
#[non_exhaustive]
pub enum InviteEvent {
    /// Somebody calls. Answer with [`ring`](crate::agent::Agent::ring), [`accept`](crate::agent::Agent::accept) or
    /// [`reject`](crate::agent::Agent::reject). Without an answer it ends after the time that the caller gives, five minutes at most.
    Incoming(Box<Incoming>),
    /// A provisional answer came, other than 100.
    Progress {
        /// The status, 101 to 199.
        status: u16,
        /// The reason phrase.
        reason: String,
        /// Which of the devices that were reached says it, from 0. Several may ring.
        fork: u32,
        /// What it says about the session, if anything.
        body: Option<Body>,
        /// The body is an offer: [`answer_offer`](crate::agent::Agent::answer_offer) wants it answered before the call goes on.
        offer: bool,
    },
    /// The peer accepted.
    Answered {
        /// The answer to our offer, or an offer of the peer.
        body: Option<Body>,
        /// The body is an offer, and wants [`acknowledge`](crate::agent::Agent::acknowledge) with an answer at once.
        offer: bool,
        /// The whole answer.
        message: Message,
    },
    /// The caller has acknowledged what we accepted: the session stands.
    Confirmed {
        /// The answer to the offer that we accepted with, if we had to make one.
        body: Option<Body>,
    },
    /// The peer wants to change the session. Answer with [`answer_offer`](crate::agent::Agent::answer_offer).
    Offer {
        /// Its offer; `None` asks us for one.
        body: Option<Body>,
    },
    /// Our [`reoffer`](crate::agent::Agent::reoffer) was accepted, or what we offered when the peer asked for an offer. Also told
    /// when a refresh (RFC 4028) found that the peer describes the session anew.
    OfferAnswered {
        /// The answer.
        body: Option<Body>,
        /// The body is an offer, for ours was missing, and wants [`acknowledge`](crate::agent::Agent::acknowledge) at once.
        offer: bool,
    },
    /// Our [`reoffer`](crate::agent::Agent::reoffer) was not accepted: the session stays as it was.
    OfferRefused {
        /// Why.
        cause: Cause,
    },
    /// The peer sent a request within the dialog. Answer with [`respond`](crate::agent::Agent::respond).
    Request {
        /// What to answer.
        request: ServerTransactionId,
        /// The request.
        message: Message,
    },
    /// The call came to nothing. Final.
    Failed {
        /// Why.
        cause: Cause,
        /// The Reason that the answer gave, where it gave one.
        reason: Option<Reason>,
        /// When the peer says that it is worth another try.
        retry: Option<std::time::Duration>,
    },
    /// It is over. Final.
    Ended {
        /// Who ended it.
        by: EndedBy,
        /// The Reason that was given, where one was.
        reason: Option<Reason>,
    },
}

/// Who ended a session.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub enum EndedBy {
    /// The peer: it hung up, or cancelled.
    Peer,
    /// We did, as asked.
    Us,
    /// Another session took its place (RFC 3891).
    Replaced(InviteId),
    /// The peer is gone: it no longer knows the session, or was silent for too long (RFC 4028).
    Lost,
}

/// A session that somebody asks for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Incoming {
    /// The INVITE, with all its headers.
    pub message: Message,
    /// Where it came from.
    pub flow: Flow,
    /// The offer; `None` when we shall make one.
    pub offer: Option<Body>,
    /// Our session whose place this one takes when it is accepted (RFC 3891): that one is then hung up by itself.
    pub replaces: Option<InviteId>,
    /// Our session that this one wants to be mixed with (RFC 3911).
    pub join: Option<InviteId>,
    /// Our session that the caller has proved to know (RFC 4538).
    pub target_dialog: Option<InviteId>,
    /// How the caller wants it answered (RFC 5373). It is a wish: whether to follow it is the user's decision.
    pub answer_mode: Option<AnswerMode>,
    /// Who calls, as the service vouches for it (RFC 3325): name-addrs. Empty when it did not come from the service.
    pub asserted: Vec<String>,
}

/// Why a command for a session was not carried out.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no such session (any more).
    #[error("there is no such session")]
    Unknown,
    /// It is not in a state where that can be done.
    #[error("the session is not in a state for that")]
    State,
    /// An offer is on its way, in one direction or the other.
    #[error("another offer waits for its answer")]
    OfferPending,
    /// There are as many sessions as are allowed.
    #[error("there are too many sessions")]
    TooMany,
    /// An address or a value is malformed.
    #[error("an address is malformed")]
    Invalid,
    /// The status does not fit.
    #[error("the status {0} does not fit")]
    Status(u16),
}
