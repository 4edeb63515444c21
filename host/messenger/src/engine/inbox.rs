//! Messages that arrive: read, recognised when they come again, stored, and only then answered.
//!
//! Until the answer, the sender keeps the message and repeats it; so the answer waits for the store, and a store that
//! fails costs nothing but time. What was stored is remembered by its identity on the wire for a month, because a
//! lost answer makes the sender repeat what we already have, perhaps after an outage of days.

use core::time::Duration;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_sip::{
    endpoint::Response,
    message::{HeaderName, Message, NameAddr},
    transaction::ServerTransactionId,
};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::{
    address::Address,
    content::{self, Content, Refusal},
    engine::{
        Engine,
        ledger::{Effect, Sealed},
        talk,
        wire::IDENTITY,
    },
    event::EventKind,
    id::MessageId,
    message::{IncomingMessage, Origin},
    snapshot::TranscriptEntry,
    time::Timestamp,
};

/// How long a message is known again. A sender that was away repeats what it kept when it comes back, which may be weeks
/// later; the number of identities bounds the memory.
const MEMORY: Duration = Duration::from_secs(31 * 86_400);

/// Identity of a message on the wire.
pub(super) type Key = [u8; 16];

/// What arrived lately, and what is being stored.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    seen: HashMap<Key, Timestamp>,
    order: VecDeque<(Timestamp, Key)>,
    /// Who waits for the store, by message. Repetitions wait with the first.
    storing: HashMap<Key, Vec<ServerTransactionId>>,
}

impl Inbox {
    pub(super) fn remember(&mut self, key: Key, at: Timestamp, limit: usize) {
        if self.seen.insert(key, at).is_none() {
            self.order.push_back((at, key));
        }
        while self.order.len() > limit {
            self.forget_oldest();
        }
    }

    fn forget_before(&mut self, limit: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| *at < limit) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.seen.remove(&key);
        }
    }
}

impl Engine {
    /// A MESSAGE came.
    pub(super) fn on_message(&mut self, id: ServerTransactionId, request: &Message) {
        let now = self.now;
        let Some(sender) = sender(request) else {
            self.diagnose("a message without a usable sender was refused");
            return self.respond(id, &Response::new(400).reason("Bad From"));
        };
        let content_type = request.header(HeaderName::ContentType).map(String::from_utf8_lossy);
        if content_type.as_deref().is_some_and(talk::is_document) {
            return self.on_control(id, request, &sender);
        }
        let encoding = request.header(HeaderName::ContentEncoding).map(String::from_utf8_lossy);
        let content = match content::read(content_type.as_deref(), encoding.as_deref(), request.body()) {
            Ok(content) => content,
            Err(refusal) => {
                self.diagnose(format!("a message from {sender} was refused: {refusal:?}"));
                return self.respond(id, &refuse(refusal));
            }
        };
        let (text, wrapped_at) = match content {
            Content::Text { text, sent_at } => (text, sent_at),
            Content::Composing => return self.respond(id, &Response::new(200)),
            Content::Nothing(what) => {
                self.diagnose(format!("{what} from {sender} was taken and not kept"));
                return self.respond(id, &Response::new(200));
            }
        };
        let key = identity(request, &sender);
        self.inbox.forget_before(Timestamp::from_millis(
            now.wall.as_millis().saturating_sub(u64::try_from(MEMORY.as_millis()).unwrap_or(u64::MAX)),
        ));
        if self.inbox.seen.contains_key(&key) {
            return self.respond(id, &Response::new(200));
        }
        if let Some(waiting) = self.inbox.storing.get_mut(&key) {
            // A sender repeats a message a few times at most; beyond, the first answer will do.
            if waiting.len() < 8 {
                waiting.push(id);
            }
            return;
        }
        if self.ledger.waiting() >= self.config.limits.storing {
            self.diagnose("a message was put off, because too many wait for the store");
            return self.respond(id, &later());
        }
        let conversation = self.conversation_of(&sender, request);
        let message = Arc::new(IncomingMessage {
            id: MessageId(self.next_id()),
            conversation,
            contact: self.view.by_address.get(&sender).copied(),
            also_to: SmallVec::new(),
            subject: None,
            content: text.into(),
            origin: origin(request),
            sent_at: wrapped_at.or_else(|| request.header(HeaderName::Date).and_then(date)),
            received_at: now.wall,
            sender,
        });
        self.inbox.storing.insert(key, vec![id]);
        self.ledger.keep(Effect::Incoming { message, key });
    }

    /// What identifies something that came in a MESSAGE, unless it is known already, or cannot be taken now: then it is
    /// answered, or waits with the first of its kind.
    pub(super) fn inbox_new(
        &mut self,
        id: ServerTransactionId,
        request: &Message,
        sender: &Address,
    ) -> Option<Key> {
        let key = identity(request, sender);
        if self.inbox.seen.contains_key(&key) {
            self.respond(id, &Response::new(200));
        } else if let Some(waiting) = self.inbox.storing.get_mut(&key) {
            // A sender repeats a message a few times at most; beyond, the first answer will do.
            if waiting.len() < 8 {
                waiting.push(id);
            }
        } else if self.ledger.waiting() >= self.config.limits.storing {
            self.respond(id, &later());
        } else {
            return Some(key);
        }
        None
    }

    /// It is being kept; its sender waits.
    pub(super) fn inbox_storing(&mut self, key: Key, id: ServerTransactionId) {
        self.inbox.storing.insert(key, vec![id]);
    }

    /// It is durable.
    pub(super) fn inbox_stored(&mut self, key: Key, at: Timestamp) {
        self.inbox.remember(key, at, self.config.limits.seen);
        for id in self.inbox.storing.remove(&key).unwrap_or_default() {
            self.respond(id, &Response::new(200));
        }
    }

    /// It could not be kept: its sender has it still.
    pub(super) fn inbox_refused(&mut self, key: Key) {
        for id in self.inbox.storing.remove(&key).unwrap_or_default() {
            self.respond(id, &later());
        }
    }

    /// The message is durable: answers and shows it.
    pub(super) fn apply_incoming(&mut self, sealed: &Sealed, message: &Arc<IncomingMessage>, key: Key) {
        self.inbox_stored(key, sealed.at);
        let mut seq = sealed.seq;
        let line = TranscriptEntry::Incoming(message.clone());
        match self.add_line(message.conversation, &message.sender, sealed.at, line) {
            Some(opened) => {
                self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::ConversationOpened(opened));
            }
            None => seq += 1,
        }
        self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::MessageReceived(message.clone()));
    }

    pub(super) fn respond(&mut self, id: ServerTransactionId, response: &Response) {
        let now: Instant = self.now.instant;
        // The sender may have given up meanwhile, and will repeat the message: it is known then.
        let _ = self.agent.respond_with(now, id, response);
    }
}

fn later() -> Response {
    Response::new(500).reason("Try Again Later").header(HeaderName::RetryAfter, "5")
}

fn refuse(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Type => Response::new(415).header(HeaderName::Accept, content::ACCEPT),
        Refusal::Encoding => Response::new(415).header(HeaderName::AcceptEncoding, "identity"),
        Refusal::TooLarge => Response::new(413),
        Refusal::Malformed => Response::new(400).reason("Unreadable Body"),
    }
}

fn sender(request: &Message) -> Option<Address> {
    let from = request.from().ok()?;
    let given = Address::parse(&from.uri().ok()?.to_string()).ok()?;
    // Parameters of the route the message took are none of the person's address.
    Address::parse(given.canonical()).ok()
}

/// RFC 3834, section 5, which RFC 3428 predates: whatever is not `no` was not written by a person.
fn origin(request: &Message) -> Origin {
    let value =
        request.other("Auto-Submitted").map(|value| value.split(|b| *b == b';').next().unwrap_or(value));
    match value {
        Some(word) if !word.trim_ascii().eq_ignore_ascii_case(b"no") => Origin::Automatic,
        _ => Origin::Person,
    }
}

/// A date of RFC 3261, section 20.17.
fn date(value: &[u8]) -> Option<Timestamp> {
    let text = core::str::from_utf8(value).ok()?.trim();
    if text.len() > 64 {
        return None;
    }
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    u64::try_from(zoned.as_millisecond()).ok().map(Timestamp::from_millis)
}

/// Who sent what: the sender's own handle where its engine writes one, else the transaction's identity.
fn identity(request: &Message, sender: &Address) -> Key {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(bytes);
    };
    part(sender.canonical().as_bytes());
    part(request.call_id().unwrap_or_default().as_bytes());
    part(request.body());
    match request.other(IDENTITY) {
        Some(handle) => {
            part(b"handle");
            part(handle);
        }
        None => {
            part(b"transaction");
            part(request.from().ok().as_ref().and_then(NameAddr::tag).unwrap_or_default().as_bytes());
            part(&request.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
        }
    }
    let mut key = [0; 16];
    key.copy_from_slice(&digest.finalize()[..16]);
    key
}
