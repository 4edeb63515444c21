//! Messages for people who are not there (RFC 3428, section 7: the 202 of a store).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::directory::Aor;
use crate::xcap::DocumentWrite;

/// A message as it is kept.
#[derive(Clone, Eq, PartialEq)]
pub struct StoredMessage {
    /// Grows with each message of the service.
    pub id: u64,
    /// `user@domain` of the recipient.
    pub recipient: String,
    /// Headers to be passed on, in order.
    pub headers: Vec<(String, String)>,
    /// The number in CSeq.
    pub cseq: u32,
    /// Type of the body; empty where there is none.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// When it came.
    pub at: SystemTime,
    /// When it is to be forgotten.
    pub until: SystemTime,
}

// What people write, and to whom, is not for logs.
impl std::fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredMessage")
            .field("id", &self.id)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

impl StoredMessage {
    /// Bytes that it counts for.
    pub(crate) fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        headers + self.body.len() + self.content_type.len() + 128
    }
}

/// What has to be done to the durable copy.
#[derive(Clone, Debug)]
pub enum StoreChange {
    /// Keep it, and say so with [`Core::handle_stored`](crate::Core::handle_stored).
    Put(Arc<StoredMessage>),
    /// Forget the message with this id.
    Remove(u64),
    /// Keep a document, or forget it, and say so with
    /// [`Core::handle_document_stored`](crate::Core::handle_document_stored).
    Document(DocumentWrite),
}

#[derive(Default)]
pub(crate) struct Mailbox {
    pub(crate) waiting: VecDeque<Arc<StoredMessage>>,
    bytes: usize,
    /// The relay that delivers the first one.
    pub(crate) in_flight: Option<u64>,
    /// The ids up to which delivery was refused in this round; later ones still have their turn.
    pub(crate) refused_up_to: Option<u64>,
}

/// Bounds on what is kept.
#[derive(Copy, Clone)]
pub(crate) struct Bounds {
    pub(crate) messages_per_user: usize,
    pub(crate) bytes_per_user: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Mailboxes {
    pub(crate) of: HashMap<Aor, Mailbox>,
    bounds: Bounds,
    bytes: usize,
    next: u64,
}

impl Mailboxes {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { of: HashMap::new(), bounds, bytes: 0, next: 1 }
    }

    /// Takes back what was kept before a restart, in order of its ids.
    pub(crate) fn restore(&mut self, recipient: &Aor, message: StoredMessage) {
        self.pass_over(message.id);
        self.put(recipient, Arc::new(message));
    }

    /// An id that is taken already.
    pub(crate) fn pass_over(&mut self, id: u64) {
        self.next = self.next.max(id.saturating_add(1));
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }

    pub(crate) fn has_room(&self, recipient: &str, size: usize) -> bool {
        let (count, bytes) =
            self.of.get(recipient).map_or((0, 0), |mailbox| (mailbox.waiting.len(), mailbox.bytes));
        count < self.bounds.messages_per_user
            && bytes + size <= self.bounds.bytes_per_user
            && self.bytes + size <= self.bounds.bytes
    }

    pub(crate) fn put(&mut self, recipient: &Aor, message: Arc<StoredMessage>) {
        let size = message.size();
        let mailbox = self.of.entry(Aor::clone(recipient)).or_default();
        mailbox.bytes += size;
        // By the order in which they came: one that a device was asked about first is kept later than its successors.
        let place = mailbox.waiting.partition_point(|other| other.id < message.id);
        mailbox.waiting.insert(place, message);
        self.bytes += size;
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, recipient: &str, id: u64) -> bool {
        let Some(mailbox) = self.of.get_mut(recipient) else { return false };
        let Some(index) = mailbox.waiting.iter().position(|message| message.id == id) else { return false };
        if let Some(message) = mailbox.waiting.remove(index) {
            mailbox.bytes -= message.size();
            self.bytes -= message.size();
        }
        if mailbox.waiting.is_empty() && mailbox.in_flight.is_none() {
            self.of.remove(recipient);
        }
        true
    }

    /// Ids of messages that are too old.
    pub(crate) fn outdated(&self, recipient: &str, now: SystemTime) -> Vec<u64> {
        let waiting = self.of.get(recipient).into_iter().flat_map(|mailbox| &mailbox.waiting);
        waiting.filter(|message| message.until <= now).map(|message| message.id).collect()
    }

    pub(crate) fn is_waiting(&self, recipient: &str) -> bool {
        self.of.get(recipient).is_some_and(|mailbox| !mailbox.waiting.is_empty())
    }

    /// Messages kept for a user.
    pub(crate) fn count(&self, recipient: &str) -> usize {
        self.of.get(recipient).map_or(0, |mailbox| mailbox.waiting.len())
    }

    /// Messages kept for all users.
    pub(crate) fn len(&self) -> usize {
        self.of.values().map(|mailbox| mailbox.waiting.len()).sum()
    }
}
