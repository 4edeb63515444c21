//! Messages to several people that go in one request, where the service passes them on (RFC 5365).
//!
//! Such a message still stands in the lane of each of its recipients, and leaves when it is the first in all of them, so that
//! everybody gets what is written to them in order. Who else gets it is not told, as when each gets a request of their own;
//! that is also what happens where the service refuses.

use attache_documents::{
    multipart::Writer,
    recipients::{self, Copy, Recipient},
    resource_lists,
};
use attache_sip::agent::{Cause, MessageParams};
use smallvec::SmallVec;

use super::{Carrier, Sending};
use crate::{
    address::Address,
    engine::{Engine, wire},
    storage::Form,
};

/// What becomes of a message to several people for now.
pub(super) enum Step {
    /// It is none, or each of them gets it alone.
    Alone,
    /// It is not the first for all of them yet.
    Wait,
    /// It leaves for these people.
    Go(MessageParams, SmallVec<[Address; 1]>),
}

impl Engine {
    /// Whether a message to several people goes in one request.
    pub(super) fn goes_as_list(&self, recipients: &[Address]) -> bool {
        recipients.len() > 1 && !self.outbox.lists_refused && self.list_service().is_some()
    }

    /// What to do with the first message of a lane.
    pub(super) fn list_step(&mut self, peer: &Address) -> Step {
        let Some(entry) = self.outbox.lanes.get(peer).and_then(|lane| lane.queue.front()) else {
            return Step::Alone;
        };
        let entry = entry.entry.clone();
        let expired = entry.message.expires_at.is_some_and(|at| at <= self.now.wall);
        let refused = self.outbox.lists_refused || expired;
        let Some(service) = self.list_service().filter(|_| entry.form == Form::List && !refused) else {
            return Step::Alone;
        };
        let (id, now) = (entry.message.id, self.now.instant);
        let mut people: SmallVec<[Address; 1]> = SmallVec::new();
        for recipient in &entry.message.recipients {
            let Some(lane) = self.outbox.lanes.get(recipient) else { continue };
            match lane.queue.iter().position(|queued| queued.entry.message.id == id) {
                None => {}
                Some(0)
                    if lane.sending.is_none()
                        && lane.not_before.is_none_or(|at| at <= now)
                        && !self.conversations.telling.concerns(recipient) =>
                {
                    people.push(recipient.clone());
                }
                Some(_) => return Step::Wait,
            }
        }
        if people.len() < 2 {
            return Step::Alone;
        }
        for person in &people {
            if let Some(lane) = self.outbox.lanes.get_mut(person) {
                lane.not_before = None;
                if let Some(queued) = lane.queue.front_mut() {
                    queued.attempts += 1;
                }
            }
        }
        let known: SmallVec<[_; 4]> = people.iter().map(|person| self.reads(person)).collect();
        let reads = wire::all_read(&known);
        let mut params = wire::list_request(&self.config, &entry, &service, reads, self.now.wall);
        let list: Vec<Recipient> = people
            .iter()
            .map(|person| Recipient {
                uri: person.as_str().to_owned(),
                display_name: String::new(),
                copy: Copy::Bcc,
                anonymous: false,
            })
            .collect();
        // No text of ours holds it: it is made of chance.
        let mut writer = Writer::new(&format!("l{}", wire::wire_id(&entry.call_id)));
        writer.part(&params.content_type, None, &params.body);
        let list = recipients::write(&list);
        writer.disposed_part(resource_lists::MEDIA_TYPE, recipients::LIST, list.as_bytes());
        params.content_type = writer.mixed_type();
        params.body = writer.finish();
        params.headers.push(("Require".to_owned(), "recipient-list-message".to_owned()));
        Step::Go(params, people)
    }

    /// The request has left.
    pub(super) fn list_left(&mut self, peer: Address, people: SmallVec<[Address; 1]>, carrier: Carrier) {
        for person in &people {
            if let Some(lane) = self.outbox.lanes.get_mut(person) {
                lane.sending = Some(carrier);
            }
            self.show_waiting(person, crate::message::WaitReason::Answer);
        }
        self.outbox.under_way.insert(carrier, (peer, Sending::List(people)));
    }

    /// The service did not take the request. What it decided on is not tried so again: each of them gets the message alone.
    pub(super) fn list_failed(
        &mut self,
        people: &[Address],
        cause: &Cause,
        retry: Option<core::time::Duration>,
    ) {
        if cause.is_outage() {
            for person in people {
                self.message_failed(person, cause, retry);
            }
            return;
        }
        self.outbox.lists_refused = true;
        self.diagnose(format!("the service takes no messages to several people: {cause}"));
        for person in people {
            if let Some(queued) = self.outbox.lanes.get_mut(person).and_then(|lane| lane.queue.front_mut()) {
                queued.attempts -= 1;
            }
            self.lane_done(person);
        }
        self.send_ready();
    }
}
