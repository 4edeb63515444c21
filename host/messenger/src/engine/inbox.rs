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

use attache_msrp::IncomingId;
use attache_sip::{
    endpoint::Response,
    message::{HeaderName, Message, NameAddr},
    transaction::ServerTransactionId,
};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::{
    address::Address,
    content::{self, Arrived, Refusal, Said, Wrapper},
    conversation::Mode,
    engine::{
        Engine,
        ledger::{Effect, Incoming, Line, Sealed},
        policy::one_spelling,
        stream, talk,
        wire::IDENTITY,
    },
    event::EventKind,
    id::{ConversationId, MessageId},
    message::{Content, IncomingMessage, Origin},
    snapshot::TranscriptEntry,
    storage::{ArchiveEntry, Direction},
    time::Timestamp,
};

/// How long a message is known again. A sender that was away repeats what it kept when it comes back, which may be weeks
/// later; the number of identities bounds the memory.
const MEMORY: Duration = Duration::from_secs(31 * 86_400);

/// Identity of a message on the wire.
pub(super) type Key = [u8; 16];

/// Who waits to hear that a message was taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Asker {
    /// A transaction of MESSAGE.
    Sip(ServerTransactionId),
    /// A message of a session (RFC 4975), and the conversation that the session belongs to.
    Session(IncomingId, ConversationId),
}

/// What arrived lately, and what is being stored.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    seen: HashMap<Key, Timestamp>,
    order: VecDeque<(Timestamp, Key)>,
    /// Who waits for the store, by message. Repetitions wait with the first.
    storing: HashMap<Key, Vec<Asker>>,
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
    pub(super) fn on_message(&mut self, id: Asker, request: &Message) {
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
        let accept = &self.config.accept;
        let most = match id {
            Asker::Sip(_) => Content::MAX,
            Asker::Session(..) => stream::MAX_MESSAGE,
        };
        let read = content::read(content_type.as_deref(), encoding.as_deref(), request.body(), accept, most);
        let Arrived { said, wrapper } = match read {
            Ok(arrived) => arrived,
            Err(refusal) => {
                self.diagnose(format!("a message from {sender} was refused: {refusal:?}"));
                let response = refuse(refusal, &self.config.accept);
                return self.respond(id, &response);
            }
        };
        // In a session everybody reads wrappers; that says nothing of what they read in a MESSAGE.
        if matches!(id, Asker::Sip(_)) {
            self.learn_from(&sender, request, wrapper.as_ref(), &said);
        }
        self.inbox.forget_before(Timestamp::from_millis(
            now.wall.as_millis().saturating_sub(u64::try_from(MEMORY.as_millis()).unwrap_or(u64::MAX)),
        ));
        let Some(key) = self.inbox_new(id, request, &sender) else { return };
        let content = match said {
            Said::Content(content) => content,
            Said::Composing(composing) => {
                self.on_composing(&sender, &composing);
                return self.respond(id, &Response::new(200));
            }
            Said::Receipts(receipts) => {
                if self.on_receipts(&sender, &receipts, key) {
                    self.inbox_storing(key, id);
                } else {
                    self.respond(id, &Response::new(200));
                }
                return;
            }
            Said::Nothing(what) => {
                self.diagnose(format!("{what} from {sender} was taken and not kept"));
                return self.respond(id, &Response::new(200));
            }
        };
        let conversation = match id {
            Asker::Session(_, conversation) if self.open_conversation(conversation).is_ok() => conversation,
            _ => self.conversation_of(&sender, request, Mode::Pager),
        };
        let want = self.want(&sender, wrapper.as_ref());
        let wrapper = wrapper.unwrap_or_default();
        let message = Arc::new(IncomingMessage {
            id: MessageId(self.next_id()),
            conversation,
            contact: self.view.by_address.get(&sender).copied(),
            also_to: self.others(&sender, &wrapper),
            subject: subject(request, &wrapper),
            content,
            origin: origin(request),
            sent_at: wrapper.sent_at.or_else(|| request.header(HeaderName::Date).and_then(date)),
            received_at: now.wall,
            sender,
        });
        let records = want.as_ref().map(|want| self.want_records(message.id, want)).unwrap_or_default();
        let line = self.line(|| ArchiveEntry {
            message: message.id,
            conversation,
            at: now.wall,
            direction: Direction::Incoming,
            peer: message.sender.clone(),
            others: SmallVec::new(),
            content: message.content.clone(),
            automatic: message.origin == Origin::Automatic,
        });
        self.inbox_storing(key, id);
        self.ledger.keep(Effect::Incoming(Box::new(Incoming { message, key, want, records, line })));
    }

    /// A line that is kept so that the conversation can be read again.
    pub(super) fn line(&self, line: impl FnOnce() -> ArchiveEntry) -> Option<Line> {
        let history = u64::try_from(self.config.history.as_millis()).unwrap_or(u64::MAX);
        if history == 0 {
            return None;
        }
        let forget = Timestamp::from_millis(self.now.wall.as_millis().saturating_sub(history));
        Some((Arc::new(line()), forget))
    }

    /// What a message shows of the programs that it comes from.
    fn learn_from(&mut self, sender: &Address, request: &Message, wrapper: Option<&Wrapper>, said: &Said) {
        let ours = request.other(IDENTITY).is_some();
        let wrapped = wrapper.is_some() || ours;
        let rich = ours || matches!(said, Said::Content(Content::Html { .. }));
        self.learn(sender, |reads| {
            // Whoever refused what they write themselves has shown something since.
            reads.cpim = if wrapped { Some(true) } else { reads.cpim };
            reads.rich = if rich { Some(true) } else { reads.rich };
            reads.composing |= ours;
        });
        let named = wrapper.and_then(|wrapper| wrapper.from.as_deref());
        let liar = named.filter(|named| {
            Address::parse(named).is_ok_and(|named| one_spelling(&named) != one_spelling(sender))
        });
        if let Some(named) = liar {
            let named: String = named.chars().take(128).collect();
            self.diagnose(format!(
                "a message from {sender} claims to come from {named}: the envelope counts"
            ));
        }
    }

    /// To whom a message went beside this account, as its wrapper says.
    fn others(&self, sender: &Address, wrapper: &Wrapper) -> SmallVec<[Address; 0]> {
        let own = [one_spelling(&self.config.address), one_spelling(sender)];
        let named = wrapper.to.iter().filter_map(|text| Address::parse(text).ok());
        let mut others: SmallVec<[Address; 0]> = SmallVec::new();
        for address in named.take(self.config.limits.recipients) {
            if !own.contains(&one_spelling(&address)) && !others.contains(&address) {
                others.push(address);
            }
        }
        others
    }

    /// What identifies something that came in a MESSAGE, unless it is known already, or cannot be taken now: then it is
    /// answered, or waits with the first of its kind.
    pub(super) fn inbox_new(&mut self, id: Asker, request: &Message, sender: &Address) -> Option<Key> {
        let key = identity(request, sender);
        if self.inbox.seen.contains_key(&key) {
            self.respond(id, &Response::new(200));
        } else if let Some(waiting) = self.inbox.storing.get_mut(&key) {
            // A sender repeats a message a few times at most; beyond, the first answer will do.
            if waiting.len() < 8 {
                waiting.push(id);
            }
        } else if self.ledger.waiting() >= self.config.limits.storing {
            self.diagnose("a message was put off, because too many wait for the store");
            self.respond(id, &later());
        } else {
            return Some(key);
        }
        None
    }

    /// It is being kept; its sender waits.
    pub(super) fn inbox_storing(&mut self, key: Key, id: Asker) {
        self.inbox.storing.insert(key, vec![id]);
    }

    /// It is durable.
    pub(super) fn inbox_stored(&mut self, key: Key, at: Timestamp) {
        self.inbox.remember(key, at, self.config.limits.seen);
        self.inbox_answered(key);
    }

    /// What it says is durable, and does no harm when it comes again.
    pub(super) fn inbox_answered(&mut self, key: Key) {
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
    pub(super) fn apply_incoming(&mut self, sealed: &Sealed, incoming: &Incoming) {
        let Incoming { message, key, .. } = incoming;
        self.inbox_stored(*key, sealed.at);
        self.no_longer_writes(&message.sender);
        let mut seq = sealed.seq;
        let line = TranscriptEntry::Incoming(message.clone());
        match self.add_line(message.conversation, &message.sender, sealed.at, line) {
            Some(opened) => {
                self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::ConversationOpened(opened));
            }
            None => seq += 1,
        }
        self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::MessageReceived(message.clone()));
        if let Some(want) = &incoming.want {
            self.apply_want(message.id, want);
        }
    }

    pub(super) fn respond(&mut self, id: Asker, response: &Response) {
        let now: Instant = self.now.instant;
        // The sender may have given up meanwhile, and will repeat the message: it is known then.
        match id {
            Asker::Sip(id) => drop(self.agent.respond_with(now, id, response)),
            Asker::Session(id, _) => self.answer_in_session(id, response.status),
        }
    }
}

fn later() -> Response {
    Response::new(500).reason("Try Again Later").header(HeaderName::RetryAfter, "5")
}

fn refuse(refusal: Refusal, accept: &[Arc<str>]) -> Response {
    match refusal {
        Refusal::Type => Response::new(415).header(HeaderName::Accept, content::accept(accept)),
        Refusal::Encoding => Response::new(415).header(HeaderName::AcceptEncoding, content::ENCODINGS),
        Refusal::Required => Response::new(488).reason("Unknown Requirement"),
        Refusal::TooLarge => Response::new(413),
        Refusal::Malformed => Response::new(400).reason("Unreadable Body"),
    }
}

pub(super) fn sender(request: &Message) -> Option<Address> {
    let from = request.from().ok()?;
    let given = Address::parse(&from.uri().ok()?.to_string()).ok()?;
    // Parameters of the route the message took are none of the person's address.
    Address::parse(given.canonical()).ok()
}

/// What a message is about, by its wrapper or its envelope (RFC 3428, section 7: Subject).
fn subject(request: &Message, wrapper: &Wrapper) -> Option<Arc<str>> {
    let outer = || {
        let text = String::from_utf8_lossy(request.header(HeaderName::Subject)?);
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let text = wrapper.subject.clone().or_else(outer)?;
    Some(text.get(..text.floor_char_boundary(256))?.into())
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
    match request.other(IDENTITY) {
        Some(handle) => {
            part(b"handle");
            part(handle);
        }
        None => {
            part(request.body());
            part(b"transaction");
            part(request.from().ok().as_ref().and_then(NameAddr::tag).unwrap_or_default().as_bytes());
            part(&request.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
        }
    }
    let mut key = [0; 16];
    key.copy_from_slice(&digest.finalize()[..16]);
    key
}
