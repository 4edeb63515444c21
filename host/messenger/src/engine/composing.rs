//! Who writes at the moment (RFC 3994).

use crate::{
    engine::{Engine, ledger::Ticket},
    message::Target,
};

impl Engine {
    /// The command: the person writes to somebody, or no longer does.
    pub(super) fn set_composing(&mut self, ticket: Ticket, _to: &Target, _active: bool) {
        self.accept(ticket);
        self.complete(ticket.request, Ok(()));
    }
}
