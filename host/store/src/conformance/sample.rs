//! Things to keep, and ways to compare what comes back.

use std::sync::Arc;

use attache_messenger::{
    address::Address,
    event::{Contact, Group},
    id::{AccountId, ContactId, ConversationId, GroupId, MessageId},
    message::{Author, IncomingMessage, MessageState, Origin, OutgoingMessage, Receipts, Text},
    storage::{
        ArchiveEntry, ArchiveQuery, Batch, Direction, Form, JournalEntry, JournalEvent, OutboxEntry,
        RecordKind, Restored, Storage, StorageError, Write,
    },
    time::Timestamp,
};
use smallvec::SmallVec;

/// An account whose handle has its highest bit set.
pub(super) const ALICE: AccountId = AccountId(0xfedc_ba98_7654_3210);
/// The same number without its sign, when both are read as signed ones: a store that keeps them so must not mix them
/// up.
pub(super) const BOB: AccountId = AccountId(0x0123_4567_89ab_cdf0);
/// 2026-01-31T09:00:00Z.
pub(super) const NOON: u64 = 1_769_850_000_000;

#[track_caller]
pub(super) fn ok<T>(result: Result<T, StorageError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the store failed: {error}"),
    }
}

#[track_caller]
pub(super) fn address(text: &str) -> Address {
    match Address::parse(text) {
        Ok(address) => address,
        Err(error) => panic!("the test has a wrong address: {error}"),
    }
}

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(NOON + millis)
}

pub(super) fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    Batch { writes: writes.into_iter().collect() }
}

pub(super) async fn commit(store: &Arc<dyn Storage>, writes: impl IntoIterator<Item = Write>) {
    ok(store.commit(ALICE, batch(writes)).await);
}

pub(super) async fn load(store: &Arc<dyn Storage>) -> Restored {
    ok(store.load(ALICE, &address("sip:alice@example.com")).await)
}

pub(super) fn contact(id: u64, name: &str, groups: &[u64]) -> Contact {
    Contact {
        id: ContactId(id),
        address: address(&format!("sip:Contact-{id}@Example.com")),
        name: name.into(),
        groups: groups.iter().copied().map(GroupId).collect(),
        details: None,
    }
}

pub(super) fn put_contact(contact: &Contact) -> Write {
    Write::PutContact(Arc::new(contact.clone()))
}

pub(super) fn group(id: u64, name: &str) -> Group {
    Group { id: GroupId(id), name: name.into() }
}

pub(super) fn put_group(group: &Group) -> Write {
    Write::PutGroup(Arc::new(group.clone()))
}

pub(super) fn put_record(kind: RecordKind, key: &str, value: &str) -> Write {
    Write::PutRecord { kind, key: key.into(), value: Some(value.into()) }
}

pub(super) fn outgoing(id: u64) -> OutgoingMessage {
    OutgoingMessage {
        id: MessageId(id),
        conversation: ConversationId(id + 1),
        contact: Some(ContactId(id + 2)),
        recipients: [address("sip:bob@example.com")].into_iter().collect(),
        subject: None,
        content: Text::new(format!("hello {id}, \"quoted\" \u{1f600}\r\n\u{0}end")).into(),
        author: Author::Plugin("auto-reply".into()),
        origin: Origin::Automatic,
        receipts: Receipts::default(),
        expires_at: None,
        accepted_at: at(id),
    }
}

pub(super) fn outbox(id: u64, attempts: u32) -> OutboxEntry {
    let message = Arc::new(outgoing(id));
    let pending = message.recipients.clone();
    OutboxEntry { message, call_id: format!("call-{id}@example.com"), pending, form: Form::Plain, attempts }
}

pub(super) fn put_outbox(entry: &OutboxEntry) -> Write {
    Write::PutOutbox(Arc::new(entry.clone()))
}

pub(super) fn finish_outbox(message: u64, recipients: &[&str]) -> Write {
    let recipients = recipients.iter().map(|recipient| address(recipient)).collect();
    Write::FinishOutbox { message: MessageId(message), recipients }
}

pub(super) fn incoming(id: u64) -> IncomingMessage {
    IncomingMessage {
        id: MessageId(id),
        conversation: ConversationId(7),
        contact: None,
        sender: address("sips:Carol@EXAMPLE.com"),
        also_to: SmallVec::new(),
        subject: None,
        content: Text::new(format!("message {id}")).into(),
        origin: Origin::Person,
        sent_at: Some(at(id)),
        received_at: at(id + 5),
    }
}

pub(super) fn received(seq: u64) -> JournalEntry {
    JournalEntry { seq, at: at(seq), event: JournalEvent::MessageReceived(Arc::new(incoming(seq))) }
}

pub(super) fn append(seq: u64) -> Write {
    Write::AppendJournal(received(seq))
}

pub(super) fn changed(seq: u64, state: MessageState) -> JournalEntry {
    JournalEntry {
        seq,
        at: at(seq),
        event: JournalEvent::MessageStateChanged {
            message: MessageId(3),
            conversation: ConversationId(4),
            recipient: address("sip:bob@example.com"),
            state,
        },
    }
}

#[track_caller]
pub(super) fn same_event(left: &JournalEntry, right: &JournalEntry) {
    assert_eq!((left.seq, left.at), (right.seq, right.at));
    let same = match (&left.event, &right.event) {
        (JournalEvent::MessageReceived(left), JournalEvent::MessageReceived(right)) => left == right,
        (JournalEvent::MessageAccepted(left), JournalEvent::MessageAccepted(right)) => left == right,
        (
            JournalEvent::MessageStateChanged { message, conversation, recipient, state },
            JournalEvent::MessageStateChanged { message: m, conversation: c, recipient: r, state: s },
        ) => (message, conversation, recipient, state) == (m, c, r, s),
        _ => false,
    };
    assert!(same, "{left:?} is not {right:?}");
}

#[track_caller]
pub(super) fn same_outbox(left: &OutboxEntry, right: &OutboxEntry) {
    assert_eq!(left.message, right.message);
    assert_eq!((&left.call_id, left.attempts), (&right.call_id, right.attempts));
    assert_eq!((&left.pending, left.form), (&right.pending, right.form));
}

pub(super) fn seqs(entries: &[JournalEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

/// A message of the archive: handle, time after noon, other side, text.
pub(super) fn archived(message: u64, millis: u64, peer: &str, text: &str) -> ArchiveEntry {
    ArchiveEntry {
        message: MessageId(message),
        conversation: ConversationId(9),
        at: at(millis),
        direction: Direction::Incoming,
        peer: address(peer),
        others: SmallVec::new(),
        content: text.into(),
        automatic: false,
    }
}

/// A line of a transcript; lines from before so many milliseconds after noon are forgotten.
pub(super) fn keep_line(line: ArchiveEntry, forget: u64) -> Write {
    Write::KeepLine { line: Arc::new(line), forget: at(forget) }
}

/// Archives a text of Bob's under each handle, which is also its time.
pub(super) async fn archive_texts(store: &Arc<dyn Storage>, texts: &[(u64, &str)]) {
    for (message, text) in texts {
        let entry = archived(*message, *message, "sip:bob@example.com", text);
        assert!(ok(store.archive(ALICE, entry).await));
    }
}

pub(super) fn query(text: &str) -> ArchiveQuery {
    ArchiveQuery { text: Some(text.into()), limit: 100, ..ArchiveQuery::default() }
}

/// The handles that a query finds.
pub(super) async fn found(store: &Arc<dyn Storage>, query: ArchiveQuery) -> Vec<u64> {
    ok(store.search(ALICE, query).await).iter().map(|entry| entry.message.0).collect()
}
