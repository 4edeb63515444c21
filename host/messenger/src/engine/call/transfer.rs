//! The other side of a call is asked to talk to somebody else (RFC 5589).
//!
//! It gets a REFER within its session: to call an address (section 6), or to take the place of this account in another
//! call (section 7; RFC 3891). The call goes on until that has come about, and if it does not, beyond.

use attache_sip::{
    agent::{InviteId, ReferId},
    uri::UriBuf,
    usage::{ReferEvent, ReferParams, ReferRequest, ReferTarget},
};

use super::{Way, Whose, busy, is_number, later, reason};
use crate::{
    call::CallState,
    code::Code,
    command::TransferTarget,
    engine::{Engine, ledger::Ticket},
    error::Error,
    id::{CallId, RequestId},
};

/// So long may a transfer take: the other side rings somebody.
const PATIENCE: u64 = 120;

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) refer: ReferId,
    pub(super) request: RequestId,
    /// It has come about.
    pub(super) done: bool,
    /// The other call, which ends with it.
    with: Option<CallId>,
    number: bool,
}

impl Engine {
    /// The command.
    pub(in crate::engine) fn transfer(&mut self, ticket: Ticket, id: CallId, to: &TransferTarget) {
        if !self.lines.lines.contains_key(&id) {
            return self.no_line(ticket, id);
        }
        match self.begin_transfer(ticket, id, to) {
            Ok(()) => self.accept(ticket),
            Err(error) => self.ledger.answer(ticket.token, Err(error)),
        }
    }

    fn begin_transfer(&mut self, ticket: Ticket, id: CallId, to: &TransferTarget) -> Result<(), Error> {
        let now = self.now.instant;
        let within = self.standing(id)?;
        let (refer_to, replaces, with, number) = match to {
            TransferTarget::Callee(callee) => {
                let target = self.callee(callee)?;
                target.to_uri()?;
                (target.as_str().to_owned(), None, None, is_number(&target))
            }
            TransferTarget::Call(other) if *other == id => {
                return Err(reason::not_supported("a call cannot be transferred to itself"));
            }
            TransferTarget::Call(other) => {
                let replaced = self.standing(*other)?;
                let facts = self.agent.dialog(replaced);
                let Some(facts) = facts else {
                    return Err(reason::not_supported("the other call does not stand"));
                };
                // The very device, where it can be reached from everywhere (RFC 5627); else the person, of whose devices one
                // knows the call whose place is taken (RFC 5589, section 7.3).
                let device = UriBuf::parse(&facts.remote_target).ok();
                let known = device.is_some_and(|uri| uri.as_uri().param("gr").is_some());
                let person = self.lines.lines.get(other).map(|line| line.call.peer.as_str().to_owned());
                let target = person.filter(|_| !known).unwrap_or(facts.remote_target);
                (target, Some(replaced), Some(*other), false)
            }
        };
        let params = ReferParams { replaces, ..ReferParams::new(ReferTarget::Within(within), refer_to) };
        let refer = self.agent.refer(now, params).map_err(busy)?;
        self.lines.refers.insert(refer, id);
        if let Some(line) = self.line_mut(id) {
            line.transfer = Some(Transfer { refer, request: ticket.request, done: false, with, number });
            line.due = later(now, PATIENCE);
        }
        self.advance_call(id, CallState::Transferring);
        Ok(())
    }

    /// The session with the other side of a call in which both talk.
    fn standing(&self, id: CallId) -> Result<InviteId, Error> {
        let line = self.lines.lines.get(&id);
        let line = line.ok_or_else(|| Error::new(Code::NotFound, format!("there is no call {id}")))?;
        if line.call.state != CallState::Connected {
            return Err(reason::not_supported("only a call in which both sides talk can be transferred"));
        }
        let leg = match &line.way {
            Way::Third(third) => third.peer().map(|leg| leg.id),
            Way::Own(own) => own.leg,
            Way::Referred(_) => None,
        };
        leg.ok_or_else(|| {
            reason::not_supported("a call that the own phone made is transferred at that phone")
        })
    }

    pub(super) fn on_transfer_event(&mut self, id: CallId, event: &ReferEvent) {
        let Some(transfer) = self.lines.lines.get(&id).and_then(|line| line.transfer.as_ref()) else {
            return;
        };
        let number = transfer.number;
        match event {
            ReferEvent::Progress { status: 200..=299, .. } => self.transferred(id),
            ReferEvent::Progress { status: status @ 300.., .. } => {
                self.not_transferred(id, reason::refused(*status, Whose::Peer, number));
            }
            ReferEvent::Failed { cause, .. } => {
                self.not_transferred(id, reason::failed(cause, Whose::Peer, number));
            }
            ReferEvent::Ended { status, .. } => match status {
                Some(200..=299) => self.transferred(id),
                Some(status @ 300..) => {
                    self.not_transferred(id, reason::refused(*status, Whose::Peer, number));
                }
                // It tells no more: whether it came about shows in who hangs up.
                _ => {}
            },
            _ => {}
        }
    }

    /// The other side talks to somebody else now.
    fn transferred(&mut self, id: CallId) {
        let Some(transfer) = self.line_mut(id).and_then(|line| line.transfer.as_mut()) else { return };
        transfer.done = true;
        let with = transfer.with;
        self.end_call(id, None);
        if let Some(other) = with {
            // Its other side hangs up as well, and may be slower than this.
            self.end_call(other, None);
        }
    }

    fn not_transferred(&mut self, id: CallId, error: Error) {
        let Some(line) = self.line_mut(id) else { return };
        let Some(transfer) = line.transfer.take() else { return };
        line.due = None;
        self.lines.refers.remove(&transfer.refer);
        self.advance_call(id, CallState::Connected);
        self.complete(transfer.request, Err(error));
    }

    /// Somebody asks this account to call. Nobody else decides whom it calls.
    pub(in crate::engine) fn on_referral(&mut self, request: &ReferRequest) {
        let _ = self.agent.reject_refer(self.now.instant, request.id, 603);
    }

    pub(super) fn transfer_due(&mut self, id: CallId) {
        let now = self.now.instant;
        if let Some(transfer) = self.lines.lines.get(&id).and_then(|line| line.transfer.as_ref()) {
            self.agent.end_refer(now, transfer.refer);
        }
        let text = "nothing was heard of the transfer";
        self.not_transferred(id, Error::new(Code::PhoneCallNotComplete, text));
    }
}
