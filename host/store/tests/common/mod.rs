//! Things to keep.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::Arc;

use attache_messenger::{
    address::Address,
    id::{AccountId, ConversationId, MessageId},
    message::{Author, IncomingMessage, Origin, OutgoingMessage, Receipts, Text},
    storage::{
        ArchiveEntry, ArchiveQuery, Batch, Direction, Form, JournalEntry, JournalEvent, OutboxEntry,
        Restored, Storage, StorageError, Write,
    },
    time::Timestamp,
};
use smallvec::SmallVec;

pub(crate) const ALICE: AccountId = AccountId(0xfedc_ba98_7654_3210);

pub(crate) fn bob() -> Address {
    Address::parse("sip:bob@example.com").unwrap()
}

/// A message of ours and an event about another one, both of this number.
pub(crate) fn batch(number: u64) -> Batch {
    let at = Timestamp::from_millis(number);
    let outgoing = OutgoingMessage {
        id: MessageId(number),
        conversation: ConversationId(1),
        contact: None,
        recipients: [bob()].into_iter().collect(),
        subject: None,
        content: Text::new(format!("to send {number}")).into(),
        author: Author::User,
        origin: Origin::Person,
        receipts: Receipts::default(),
        expires_at: None,
        accepted_at: at,
    };
    let incoming = IncomingMessage {
        id: MessageId(number),
        conversation: ConversationId(1),
        contact: None,
        sender: bob(),
        also_to: SmallVec::new(),
        subject: None,
        content: Text::new(format!("arrived {number}")).into(),
        origin: Origin::Person,
        sent_at: None,
        received_at: at,
    };
    let entry = OutboxEntry {
        pending: outgoing.recipients.clone(),
        message: Arc::new(outgoing),
        call_id: format!("{number}"),
        form: Form::Plain,
        attempts: 0,
    };
    let event = JournalEvent::MessageReceived(Arc::new(incoming));
    Batch {
        writes: vec![
            Write::PutOutbox(Arc::new(entry)),
            Write::AppendJournal(JournalEntry { seq: number, at, event }),
        ],
    }
}

pub(crate) fn archived(number: u64, text: &str) -> ArchiveEntry {
    ArchiveEntry {
        message: MessageId(number),
        conversation: ConversationId(1),
        at: Timestamp::from_millis(number),
        direction: Direction::Incoming,
        peer: bob(),
        others: SmallVec::new(),
        content: text.into(),
        automatic: false,
    }
}

pub(crate) async fn load(store: &impl Storage) -> Result<Restored, StorageError> {
    store.load(ALICE, &Address::parse("sip:alice@example.com").unwrap()).await
}

/// The numbers of the messages that wait, and of the events.
pub(crate) async fn numbers(store: &impl Storage) -> (Vec<u64>, Vec<u64>) {
    let outbox = load(store).await.unwrap().outbox;
    let journal = store.read_journal(ALICE, 0, u32::MAX).await.unwrap();
    (outbox.iter().map(|entry| entry.message.id.0).collect(), journal.iter().map(|entry| entry.seq).collect())
}

/// The archived messages with these words.
pub(crate) async fn search(store: &impl Storage, text: &str) -> Vec<u64> {
    let query = ArchiveQuery { text: Some(text.into()), limit: u32::MAX, ..ArchiveQuery::default() };
    store.search(ALICE, query).await.unwrap().iter().map(|entry| entry.message.0).collect()
}

/// How many archived messages have these words.
pub(crate) async fn count(store: &impl Storage, text: &str) -> usize {
    search(store, text).await.len()
}
