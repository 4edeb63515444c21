//! What became of messages of ours at each recipient: states that only go up, whichever way the news comes.
//!
//! The answer to a MESSAGE says the first of it; receipts (RFC 5438) say the rest, perhaps days later, and perhaps to
//! another process than the one that sent. So states of messages for which receipts may come are kept, and a receipt
//! counts when it names the message by an identity made of chance, and comes from one of its recipients.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use attache_documents::imdn::{Delivery as Delivered, Display, Imdn, Notification, Processing};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    address::Address,
    code::Code,
    engine::{
        Engine,
        inbox::Key,
        ledger::{Advance, Effect, Sealed},
        policy::one_spelling,
        receipts::is_old,
        sync::Records,
        wire,
    },
    error::Error,
    event::EventKind,
    id::{ConversationId, MessageId},
    message::{Delivery, MessageState, Receipts},
    storage::{Form, OutboxEntry, Record, RecordKind},
    time::Timestamp,
};

/// A message and its states, as they will be once everything is durable.
#[derive(Debug)]
struct Tracked {
    wire: Arc<str>,
    conversation: ConversationId,
    states: SmallVec<[Delivery; 1]>,
    /// Whether they are kept across restarts.
    kept: bool,
}

/// Messages of ours whose states are known.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    by_message: BTreeMap<MessageId, Tracked>,
    by_wire: HashMap<Arc<str>, MessageId>,
}

impl Deliveries {
    pub(super) fn new(records: &[Record]) -> Self {
        let mut deliveries = Self::default();
        for record in records.iter().filter(|record| record.kind == RecordKind::Delivery) {
            let (Ok(id), Ok(kept)) = (record.key.parse(), serde_json::from_str::<Kept>(&record.value)) else {
                continue;
            };
            deliveries.insert(MessageId(id), kept.restore());
        }
        deliveries
    }

    fn insert(&mut self, id: MessageId, tracked: Tracked) {
        self.by_wire.insert(tracked.wire.clone(), id);
        self.by_message.insert(id, tracked);
    }

    /// What readers see of them.
    pub(super) fn shown(&self) -> impl Iterator<Item = (MessageId, Arc<[Delivery]>)> {
        self.by_message.iter().map(|(id, tracked)| (*id, tracked.states.as_slice().into()))
    }
}

/// A message and its states, as they are kept.
#[derive(Deserialize, Serialize)]
struct Kept {
    wire: Arc<str>,
    conversation: ConversationId,
    states: Vec<KeptState>,
}

#[derive(Deserialize, Serialize)]
struct KeptState {
    to: Address,
    state: String,
    since: Timestamp,
    /// Number and sentence of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<(u32, String)>,
}

impl Kept {
    fn of(tracked: &Tracked) -> Self {
        let states = tracked.states.iter().map(|delivery| KeptState {
            to: delivery.recipient.clone(),
            state: delivery.state.name().to_owned(),
            since: delivery.since,
            failure: match &delivery.state {
                MessageState::Failed(error) => Some((error.code().number(), error.message().to_owned())),
                _ => None,
            },
        });
        Self { wire: tracked.wire.clone(), conversation: tracked.conversation, states: states.collect() }
    }

    fn restore(self) -> Tracked {
        let states = self.states.into_iter().map(|kept| Delivery {
            recipient: kept.to,
            state: match (kept.state.as_str(), kept.failure) {
                ("sent", _) => MessageState::Sent,
                ("delivered", _) => MessageState::Delivered,
                ("displayed", _) => MessageState::Displayed,
                ("cancelled", _) => MessageState::Cancelled,
                ("failed", failure) => {
                    let (number, sentence) = failure.unwrap_or_default();
                    MessageState::Failed(Error::new(
                        Code::from_number(number).unwrap_or(Code::Unexpected),
                        sentence,
                    ))
                }
                _ => MessageState::Accepted,
            },
            since: kept.since,
        });
        Tracked { wire: self.wire, conversation: self.conversation, states: states.collect(), kept: true }
    }
}

impl Engine {
    /// A message is being accepted: from now on its states are known. What has to be kept for that, and what is
    /// forgotten for it.
    pub(super) fn track(&mut self, entry: &OutboxEntry) -> Records {
        let message = &entry.message;
        let mut records: Records = Vec::new();
        while self.deliveries.by_message.len() >= self.config.limits.deliveries
            || self.deliveries.by_message.first_key_value().is_some_and(|(id, _)| is_old(*id, self.now.wall))
        {
            let Some((id, old)) = self.deliveries.by_message.pop_first() else { break };
            self.deliveries.by_wire.remove(&old.wire);
            self.view.deliveries.remove_mut(&id);
            if old.kept {
                records.push((RecordKind::Delivery, id.to_string().into(), None));
            }
        }
        let tracked = self.accepted(entry);
        if tracked.kept {
            records.push(record(message.id, &tracked));
        }
        self.deliveries.insert(message.id, tracked);
        records
    }

    fn accepted(&self, entry: &OutboxEntry) -> Tracked {
        let message = &entry.message;
        let states = message.recipients.iter().map(|recipient| Delivery {
            recipient: recipient.clone(),
            state: MessageState::Accepted,
            since: message.accepted_at,
        });
        Tracked {
            wire: wire::wire_id(&entry.call_id).into(),
            conversation: message.conversation,
            states: states.collect(),
            // Without receipts, and with one recipient, the outbox itself knows all there is to know.
            kept: entry.form != Form::Plain && message.receipts != Receipts::NONE
                || message.recipients.len() > 1,
        }
    }

    /// A message that was in the outbox when the engine began.
    pub(super) fn track_restored(&mut self, entry: &OutboxEntry) {
        if !self.deliveries.by_message.contains_key(&entry.message.id) {
            let tracked = self.accepted(entry);
            self.deliveries.insert(entry.message.id, tracked);
        }
        self.show_deliveries(entry.message.id);
    }

    /// A message was not accepted after all.
    pub(super) fn untrack(&mut self, id: MessageId) {
        if let Some(tracked) = self.deliveries.by_message.remove(&id) {
            self.deliveries.by_wire.remove(&tracked.wire);
        }
    }

    /// Shows the states of a message that has just been accepted or restored.
    pub(super) fn show_deliveries(&mut self, id: MessageId) {
        if let Some(tracked) = self.deliveries.by_message.get(&id) {
            self.view.deliveries.insert_mut(id, tracked.states.as_slice().into());
        }
    }

    /// Whether a message is known to have reached somebody.
    pub(super) fn has_arrived(&self, id: MessageId, recipient: &Address) -> bool {
        let tracked = self.deliveries.by_message.get(&id);
        let state = tracked.and_then(|tracked| tracked.states.iter().find(|one| one.recipient == *recipient));
        state.is_some_and(|one| matches!(one.state, MessageState::Delivered | MessageState::Displayed))
    }

    /// A message goes further at some recipients, or leaves the outbox for them, or both. `key` names who waits until
    /// that is durable.
    pub(super) fn advance(
        &mut self,
        message: MessageId,
        conversation: ConversationId,
        recipients: SmallVec<[Address; 1]>,
        state: MessageState,
        finished: bool,
        key: Option<Key>,
    ) -> bool {
        let at = self.now.wall;
        let mut changed: SmallVec<[Address; 1]> = SmallVec::new();
        let mut records: Records = Vec::new();
        match self.deliveries.by_message.get_mut(&message) {
            Some(tracked) => {
                for delivery in &mut tracked.states {
                    if recipients.contains(&delivery.recipient) && state.follows(&delivery.state) {
                        delivery.state = state.clone();
                        delivery.since = at;
                        changed.push(delivery.recipient.clone());
                    }
                }
                if tracked.kept && !changed.is_empty() {
                    records.push(record(message, tracked));
                }
            }
            // Forgotten, because there were too many: what the outbox says is news.
            None if finished => changed.clone_from(&recipients),
            None => {}
        }
        if changed.is_empty() && !finished {
            return false;
        }
        let finished = if finished { recipients } else { SmallVec::new() };
        self.ledger.keep(Effect::Advanced(Box::new(Advance {
            message,
            conversation,
            changed,
            finished,
            state,
            records,
            key,
        })));
        true
    }

    /// The change is durable.
    pub(super) fn apply_advanced(&mut self, sealed: &Sealed, advance: &Advance) {
        // The journal's entries are those behind the first of the effect, as everywhere.
        let mut seq = sealed.seq + 1;
        if let Some(shown) = self.view.deliveries.get(&advance.message) {
            let shown = shown.iter().map(|delivery| {
                if advance.changed.contains(&delivery.recipient) {
                    Delivery { state: advance.state.clone(), since: sealed.at, ..delivery.clone() }
                } else {
                    delivery.clone()
                }
            });
            let shown: Arc<[Delivery]> = shown.collect();
            self.view.deliveries.insert_mut(advance.message, shown);
        }
        for recipient in &advance.changed {
            let kind = EventKind::MessageStateChanged {
                message: advance.message,
                conversation: advance.conversation,
                recipient: recipient.clone(),
                state: advance.state.clone(),
            };
            self.ledger.emit_sealed(&mut seq, sealed.at, kind);
        }
        if let Some(key) = advance.key {
            self.inbox_answered(key);
        }
        self.outbox_finished(advance);
    }

    /// Receipts came from somebody. Whether any of them is to be kept before they are answered.
    pub(super) fn on_receipts(&mut self, sender: &Address, receipts: &[Imdn], key: Key) -> bool {
        self.learn(sender, |reads| reads.cpim = Some(true));
        let mut waits = false;
        for receipt in receipts {
            let known = self.deliveries.by_wire.get(receipt.message_id.as_str()).copied();
            let tracked = known.and_then(|id| Some((id, self.deliveries.by_message.get(&id)?)));
            let Some((id, tracked)) = tracked else {
                self.diagnose(format!(
                    "a receipt from {sender} for a message that is not known was passed over"
                ));
                continue;
            };
            let conversation = tracked.conversation;
            let Some(recipient) = self.receipt_is_of(sender, receipt, tracked) else {
                self.diagnose(format!(
                    "a receipt from {sender} for a message to somebody else was passed over"
                ));
                continue;
            };
            let Some(state) = state(receipt.notification) else {
                self.diagnose(format!("a receipt from {sender} says nothing"));
                continue;
            };
            let arrived = matches!(state, MessageState::Delivered | MessageState::Displayed);
            // What has arrived need not be sent again, whatever became of the answer.
            let finished = arrived && self.take_from_outbox(id, &recipient);
            let one = [recipient].into_iter().collect();
            waits |= self.advance(id, conversation, one, state, finished, Some(key));
        }
        waits
    }

    /// Whose receipt it is: the sender's, or where a service passes on what it gathered from those that it sent a list to,
    /// whom the receipt names.
    fn receipt_is_of(&self, sender: &Address, receipt: &Imdn, tracked: &Tracked) -> Option<Address> {
        let recipient = |address: &Address| {
            let mut all = tracked.states.iter().map(|delivery| &delivery.recipient);
            all.find(|recipient| one_spelling(recipient) == one_spelling(address)).cloned()
        };
        if let Some(own) = recipient(sender) {
            return Some(own);
        }
        if self.config.message_list.as_ref() != Some(sender) {
            return None;
        }
        let named = [&receipt.original_recipient, &receipt.recipient].into_iter().flatten();
        named.filter_map(|text| Address::parse(text).ok()).find_map(|address| recipient(&address))
    }
}

fn record(id: MessageId, tracked: &Tracked) -> (RecordKind, Arc<str>, Option<Arc<str>>) {
    let value = serde_json::to_string(&Kept::of(tracked)).ok();
    (RecordKind::Delivery, id.to_string().into(), value.map(Into::into))
}

/// What a receipt says of a message. That nobody may or can say is no state.
fn state(notification: Option<Notification>) -> Option<MessageState> {
    Some(match notification? {
        Notification::Delivery(Delivered::Delivered) => MessageState::Delivered,
        Notification::Delivery(Delivered::Failed) => {
            let text = "the other side's service could not deliver the message";
            MessageState::Failed(Error::new(Code::RecipientUnavailable, text))
        }
        Notification::Processing(Processing::Processed | Processing::Stored) => MessageState::Sent,
        Notification::Display(Display::Displayed) => MessageState::Displayed,
        Notification::Delivery(Delivered::Forbidden | Delivered::Error)
        | Notification::Processing(Processing::Forbidden | Processing::Error)
        | Notification::Display(Display::Forbidden | Display::Error) => return None,
    })
}
