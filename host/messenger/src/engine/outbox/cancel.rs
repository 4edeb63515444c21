//! Messages of ours that are taken back.

use smallvec::SmallVec;

use crate::{
    code::Code,
    engine::{Engine, ledger::Ticket},
    error::Error,
    id::MessageId,
    message::{MessageState, Waiting},
};

impl Engine {
    /// Takes a message back, as far as it has not left.
    pub(in crate::engine) fn cancel_message(&mut self, ticket: Ticket, id: MessageId) {
        let Some(item) = self.view.outbox.get(&id).cloned() else {
            let known = self.view.deliveries.contains_key(&id);
            self.ledger.answer(ticket.token, Err(if known { too_late() } else { no_such_message(id) }));
            return;
        };
        let (mut unsent, mut doubtful) = (SmallVec::new(), SmallVec::new());
        for Waiting { recipient, .. } in &item.waiting {
            let Some(lane) = self.outbox.lanes.get_mut(recipient) else { continue };
            let Some(place) = lane.queue.iter().position(|queued| queued.entry.message.id == id) else {
                continue;
            };
            if place == 0 && lane.sending.is_some() {
                continue;
            }
            let Some(queued) = lane.queue.remove(place) else { continue };
            if queued.left {
                doubtful.push(recipient.clone());
            } else {
                unsent.push(recipient.clone());
            }
            if lane.queue.is_empty() {
                self.outbox.lanes.remove(recipient);
            } else if place == 0 {
                lane.not_before = None;
                self.outbox.ready.push_back(recipient.clone());
            }
        }
        if unsent.is_empty() && doubtful.is_empty() {
            self.ledger.answer(ticket.token, Err(too_late()));
            return;
        }
        self.accept(ticket);
        let complete = unsent.len() == item.message.recipients.len();
        for (recipients, state) in
            [(unsent, MessageState::Cancelled), (doubtful, MessageState::Failed(taken_back()))]
        {
            if !recipients.is_empty() {
                self.advance(id, item.message.conversation, recipients, state, true, None);
            }
        }
        self.complete(ticket.request, if complete { Ok(()) } else { Err(half()) });
        self.send_ready();
    }
}

fn too_late() -> Error {
    Error::new(Code::TooLate, "the message has left already")
}

fn half() -> Error {
    let text = "the message is not tried again, but it has left before and may have arrived";
    Error::new(Code::TooLate, text)
}

fn taken_back() -> Error {
    Error::new(Code::UserCancelled, "the message was taken back after it had left; it may have arrived")
}

fn no_such_message(id: MessageId) -> Error {
    Error::new(Code::NotFound, format!("there is no message {id} in the outbox"))
}
