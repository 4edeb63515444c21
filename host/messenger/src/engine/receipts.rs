//! Receipts (RFC 5438).

use crate::{
    code::Code,
    engine::{Engine, ledger::Ticket},
    error::Error,
    id::MessageId,
};

impl Engine {
    /// The command: the person saw a message.
    pub(super) fn mark_displayed(&mut self, ticket: Ticket, id: MessageId) {
        let error =
            Error::new(Code::NotFound, format!("there is no message {id} that a receipt is wanted for"));
        self.ledger.answer(ticket.token, Err(error));
    }
}
