//! What a proxy needs of the transaction layer (RFC 3261 §16): answers of the next hop that go back as they came.

use std::time::Instant;

use super::{Endpoint, RespondError, Server};
use crate::build::ResponseBuilder;
use crate::message::{HeaderName, Message};
use crate::transaction::ServerTransactionId;

impl Endpoint {
    /// Passes an answer that another hop gave on to the client of a request (RFC 3261 §16.7). Via is taken from the
    /// request, so that no answer can lead anywhere else; all other headers stand as they came, but those to `omit`, and
    /// `extra` behind them. Of an accepted INVITE, each repeat of a 2xx can be passed on, and those of other branches.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub fn pass_on(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        answer: &Message,
        omit: &[HeaderName],
        extra: &[(HeaderName, String)],
    ) -> Result<(), RespondError> {
        let status = answer.status().ok_or(RespondError::Forbidden(0))?;
        let Some(Server::Active(active)) = self.servers.get(&id.0) else { return Err(RespondError::Over) };
        active.may_answer(status)?;
        let reason = String::from_utf8_lossy(answer.reason());
        let mut builder = ResponseBuilder::relayed(&active.request, active.flow.remote, status, &reason);
        for (name, known, value) in answer.all() {
            if known != HeaderName::Via && !omit.contains(&known) {
                builder = builder.row(name, value);
            }
        }
        for (name, value) in extra {
            builder = builder.header(*name, value);
        }
        let payload = builder.body("", answer.body_bytes()).finish()?;
        self.answer(now, id, status, payload, false);
        Ok(())
    }
}
