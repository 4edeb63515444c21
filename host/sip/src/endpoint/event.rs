//! What an endpoint reports.

use thiserror::Error;

use crate::build::BuildError;
use crate::message::Message;
use crate::transaction::{ServerTransactionId, TransactionId};
use crate::transport::Flow;

/// Something that happened at an [`Endpoint`](super::Endpoint).
#[derive(Debug)]
#[non_exhaustive]
pub enum EndpointEvent {
    /// A request came, and wants an answer by [`respond`](super::Endpoint::respond).
    Request {
        /// What to answer.
        id: ServerTransactionId,
        /// The request.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// An ACK to a 2xx came: it belongs to a dialog, not to a transaction.
    Ack {
        /// The ACK.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// An answer came: any number of provisional ones, then one final one (several 2xx for an INVITE).
    Response {
        /// Which request it answers.
        id: TransactionId,
        /// The answer.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// A request ended without final answer.
    Failed {
        /// Which request.
        id: TransactionId,
        /// Why.
        failure: Failure,
    },
    /// The peer cancelled an INVITE that has no final answer yet. The CANCEL is answered; the INVITE wants a 487.
    Cancelled {
        /// Which INVITE.
        id: ServerTransactionId,
        /// The CANCEL, which may say why (RFC 3326).
        message: Message,
    },
    /// The refusal of an INVITE was never acknowledged (timer H). Nothing is left to be done.
    Unacknowledged {
        /// Which INVITE.
        id: ServerTransactionId,
    },
    /// Something came that is not valid SIP. The flow lives on.
    Malformed {
        /// Where it came from.
        flow: Flow,
        /// What is wrong, for a log. It quotes no content.
        error: String,
        /// The status that it was answered with, if it was.
        answered: Option<u16>,
    },
    /// A keep-alive came (RFC 5626 §3.5.1), and was answered where it wants to be.
    KeepAlive {
        /// Where it came from.
        flow: Flow,
    },
}

/// Why a request has no final answer.
#[derive(Clone, Eq, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody answered within 64 × T1 (timer B or F). A user may treat it as a 408 (RFC 3261 §8.1.3.1).
    #[error("no answer came in time")]
    Timeout,
    /// The bytes could not be delivered. A user may treat it as a 503 (RFC 3261 §8.1.3.1).
    #[error("the service could not be reached: {0}")]
    Transport(String),
}

/// Why an answer was not sent.
#[derive(Clone, Eq, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum RespondError {
    /// The transaction is over: it has its final answer, or its client gave up.
    #[error("the transaction is over")]
    Over,
    /// The protocol forbids this status here: a provisional answer or 408 to anything but INVITE (RFC 4320).
    #[error("status {0} must not answer this request")]
    Forbidden(u16),
    /// The answer cannot be written.
    #[error(transparent)]
    Build(#[from] BuildError),
}
