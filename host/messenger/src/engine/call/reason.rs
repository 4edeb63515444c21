//! Why a call did not come about, in codes.

use attache_sip::{
    agent::Cause,
    usage::{EndedBy, Reason},
};

use crate::{code::Code, engine::session, error::Error};

/// Whose phone it was.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    Own,
    Peer,
}

impl Whose {
    const fn name(self) -> &'static str {
        match self {
            Self::Own => "the own phone",
            Self::Peer => "the other side",
        }
    }
}

/// A call that came to nothing. `number`: a telephone number was called.
pub(super) fn failed(cause: &Cause, whose: Whose, number: bool) -> Error {
    let name = whose.name();
    let (code, text) = match cause {
        Cause::Status { code, .. } => return refused(*code, whose, number).because(session::detail(cause)),
        Cause::Timeout | Cause::Expired => (Code::VoiceNoAnswer, format!("{name} did not answer")),
        Cause::WrongPassword { .. } | Cause::UnsupportedChallenge { .. } | Cause::NoToken => {
            let text = "the service did not accept the credentials".to_owned();
            (Code::SessionAuthenticationFailed, text)
        }
        Cause::Transport(_) | Cause::NotFound(_) => {
            (Code::VoiceNetconn, format!("the network did not lead to {name}"))
        }
        _ => (Code::PhoneCallNotComplete, format!("the call to {name} was not completed")),
    };
    Error::new(code, text).because(session::detail(cause))
}

/// A status that ended a call.
pub(super) fn refused(status: u16, whose: Whose, number: bool) -> Error {
    let name = whose.name();
    let (code, text) = match status {
        486 | 600 => (Code::PhoneCircuitsBusy, format!("{name} is busy")),
        408 | 480 | 487 | 504 => (Code::VoiceNoAnswer, format!("{name} did not answer")),
        603 | 607 => (Code::SessionInvitationDeclined, format!("{name} declined")),
        402 => (Code::PhoneNoFunds, "the service wants to be paid first".to_owned()),
        401 | 407 => {
            (Code::SessionAuthenticationFailed, "the service did not accept the credentials".to_owned())
        }
        403 | 433 => (Code::PolicyRestricted, "the service does not allow the call".to_owned()),
        404 | 410 | 604 if number => (Code::PhoneInvalidNumber, "nobody has that number".to_owned()),
        404 | 410 | 604 => (Code::UserNotFound, format!("the service knows no such person: {name}")),
        414 | 416 | 484 | 485 => (Code::PhoneInvalidNumber, "the number cannot be called".to_owned()),
        503 => (Code::PhoneserviceUnavailable, "the service takes no calls at present".to_owned()),
        _ => (Code::PhoneCallNotComplete, format!("the call to {name} was not completed")),
    };
    Error::new(code, text)
}

/// How a call that nobody had answered yet ended, when the caller gave up.
pub(super) fn given_up(reason: Option<&Reason>) -> Error {
    match reason {
        Some(reason) if reason.is_answered_elsewhere() => {
            Error::new(Code::SessionSessionAcceptedElsewhere, "another device answered")
        }
        _ => Error::new(Code::SessionSessionCancelledRemote, "the caller gave up"),
    }
}

/// How a call ended in which both sides had talked: `None` when somebody hung up.
pub(super) fn ended(by: EndedBy) -> Option<Error> {
    match by {
        EndedBy::Lost => {
            Some(Error::new(Code::SessionConnectionFailure, "the other side was not heard of any more"))
        }
        _ => None,
    }
}

pub(super) fn not_supported(text: &str) -> Error {
    Error::new(Code::SessionSessionStateInvalid, text)
}
