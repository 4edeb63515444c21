//! Messages and events as JSON documents, for the columns that no statement looks into.
//!
//! The types of the messenger are free to change; these are the file format. Fields are only added, with a default.

use std::{sync::Arc, time::Duration};

use attache_messenger::{
    address::Address,
    code::Code,
    error::{Error, Retry},
    id::{ContactId, ConversationId, MessageId},
    message::{Author, IncomingMessage, MessageState, Origin, OutgoingMessage, Text},
    storage::{JournalEvent, OutboxEntry},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// The document of an outbox entry.
pub(crate) fn outbox_to_json(entry: &OutboxEntry) -> Result<String, Failure> {
    to_json(&OutboxRecord {
        message: OutgoingRecord::from(&*entry.message),
        call_id: entry.call_id.clone(),
        attempts: entry.attempts,
    })
}

/// The outbox entry in a document.
pub(crate) fn outbox_from_json(body: &str) -> Result<OutboxEntry, Failure> {
    let record: OutboxRecord = from_json(body)?;
    Ok(OutboxEntry {
        message: Arc::new(record.message.restore()?),
        call_id: record.call_id,
        attempts: record.attempts,
    })
}

/// The document of an event.
pub(crate) fn event_to_json(event: &JournalEvent) -> Result<String, Failure> {
    to_json(&match event {
        JournalEvent::MessageReceived(message) => EventRecord::Received(IncomingRecord::from(&**message)),
        JournalEvent::MessageAccepted(message) => EventRecord::Accepted(OutgoingRecord::from(&**message)),
        JournalEvent::MessageStateChanged { message, conversation, recipient, state } => {
            EventRecord::StateChanged {
                message: message.0,
                conversation: conversation.0,
                recipient: recipient.as_str().to_owned(),
                state: StateRecord::of(state)?,
            }
        }
        _ => return Err(Failure::other("the store does not know this kind of event")),
    })
}

/// The event in a document.
pub(crate) fn event_from_json(body: &str) -> Result<JournalEvent, Failure> {
    Ok(match from_json(body)? {
        EventRecord::Received(record) => JournalEvent::MessageReceived(Arc::new(record.restore()?)),
        EventRecord::Accepted(record) => JournalEvent::MessageAccepted(Arc::new(record.restore()?)),
        EventRecord::StateChanged { message, conversation, recipient, state } => {
            JournalEvent::MessageStateChanged {
                message: MessageId(message),
                conversation: ConversationId(conversation),
                recipient: address(&recipient)?,
                state: state.restore()?,
            }
        }
    })
}

/// An address that was kept.
pub(crate) fn address(text: &str) -> Result<Address, Failure> {
    Address::parse(text).map_err(|_| Failure::Unreadable("an address in it is none".into()))
}

fn to_json(record: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(record).map_err(|_| Failure::other("a record cannot be written as JSON"))
}

fn from_json<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Failure> {
    // The parser's words are not passed on: they may quote a message.
    serde_json::from_str(body).map_err(|error| {
        Failure::Unreadable(format!("a record in it is no such record (at byte {})", error.column()))
    })
}

#[derive(Deserialize, Serialize)]
struct OutboxRecord {
    message: OutgoingRecord,
    call_id: String,
    attempts: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "event")]
enum EventRecord {
    #[serde(rename = "message-received")]
    Received(IncomingRecord),
    #[serde(rename = "message-accepted")]
    Accepted(OutgoingRecord),
    #[serde(rename = "message-state-changed")]
    StateChanged { message: u64, conversation: u64, recipient: String, state: StateRecord },
}

#[derive(Deserialize, Serialize)]
struct IncomingRecord {
    id: u64,
    conversation: u64,
    contact: Option<u64>,
    sender: String,
    text: String,
    automatic: bool,
    sent_at: Option<u64>,
    received_at: u64,
}

impl From<&IncomingMessage> for IncomingRecord {
    fn from(message: &IncomingMessage) -> Self {
        Self {
            id: message.id.0,
            conversation: message.conversation.0,
            contact: message.contact.map(|contact| contact.0),
            sender: message.sender.as_str().to_owned(),
            text: message.text.as_str().to_owned(),
            automatic: message.origin == Origin::Automatic,
            sent_at: message.sent_at.map(Timestamp::as_millis),
            received_at: message.received_at.as_millis(),
        }
    }
}

impl IncomingRecord {
    fn restore(self) -> Result<IncomingMessage, Failure> {
        Ok(IncomingMessage {
            id: MessageId(self.id),
            conversation: ConversationId(self.conversation),
            contact: self.contact.map(ContactId),
            sender: address(&self.sender)?,
            text: Text::new(self.text),
            origin: origin(self.automatic),
            sent_at: self.sent_at.map(Timestamp::from_millis),
            received_at: Timestamp::from_millis(self.received_at),
        })
    }
}

#[derive(Deserialize, Serialize)]
struct OutgoingRecord {
    id: u64,
    conversation: u64,
    contact: Option<u64>,
    recipient: String,
    text: String,
    /// None for the user.
    plugin: Option<String>,
    automatic: bool,
    accepted_at: u64,
}

impl From<&OutgoingMessage> for OutgoingRecord {
    fn from(message: &OutgoingMessage) -> Self {
        Self {
            id: message.id.0,
            conversation: message.conversation.0,
            contact: message.contact.map(|contact| contact.0),
            recipient: message.recipient.as_str().to_owned(),
            text: message.text.as_str().to_owned(),
            plugin: match &message.author {
                Author::User => None,
                Author::Plugin(name) => Some(name.to_string()),
            },
            automatic: message.origin == Origin::Automatic,
            accepted_at: message.accepted_at.as_millis(),
        }
    }
}

impl OutgoingRecord {
    fn restore(self) -> Result<OutgoingMessage, Failure> {
        Ok(OutgoingMessage {
            id: MessageId(self.id),
            conversation: ConversationId(self.conversation),
            contact: self.contact.map(ContactId),
            recipient: address(&self.recipient)?,
            text: Text::new(self.text),
            author: self.plugin.map_or(Author::User, |name| Author::Plugin(name.into())),
            origin: origin(self.automatic),
            accepted_at: Timestamp::from_millis(self.accepted_at),
        })
    }
}

fn origin(automatic: bool) -> Origin {
    if automatic { Origin::Automatic } else { Origin::Person }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum StateRecord {
    Accepted,
    Sent,
    Delivered,
    Displayed,
    Failed(ErrorRecord),
}

impl StateRecord {
    fn of(state: &MessageState) -> Result<Self, Failure> {
        Ok(match state {
            MessageState::Accepted => Self::Accepted,
            MessageState::Sent => Self::Sent,
            MessageState::Delivered => Self::Delivered,
            MessageState::Displayed => Self::Displayed,
            MessageState::Failed(error) => Self::Failed(ErrorRecord::from(error)),
            _ => return Err(Failure::other("the store does not know this state of a message")),
        })
    }

    fn restore(self) -> Result<MessageState, Failure> {
        Ok(match self {
            Self::Accepted => MessageState::Accepted,
            Self::Sent => MessageState::Sent,
            Self::Delivered => MessageState::Delivered,
            Self::Displayed => MessageState::Displayed,
            Self::Failed(error) => MessageState::Failed(error.restore()?),
        })
    }
}

#[derive(Deserialize, Serialize)]
struct ErrorRecord {
    code: u32,
    message: String,
    cause: Option<String>,
    retry: RetryRecord,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum RetryRecord {
    Never,
    AfterChange,
    AfterMillis(u64),
}

impl From<&Error> for ErrorRecord {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code().number(),
            message: error.message().to_owned(),
            cause: error.cause().map(str::to_owned),
            retry: match error.retry_hint() {
                Retry::AfterChange => RetryRecord::AfterChange,
                Retry::After(time) => {
                    RetryRecord::AfterMillis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
                }
                // A hint that is not known here is none.
                _ => RetryRecord::Never,
            },
        }
    }
}

impl ErrorRecord {
    fn restore(self) -> Result<Error, Failure> {
        let code = Code::from_number(self.code)
            .ok_or_else(|| Failure::Unreadable(format!("there is no code {:#010x}", self.code)))?;
        let error = Error::new(code, self.message).retry(match self.retry {
            RetryRecord::Never => Retry::Never,
            RetryRecord::AfterChange => Retry::AfterChange,
            RetryRecord::AfterMillis(millis) => Retry::After(Duration::from_millis(millis)),
        });
        Ok(match self.cause {
            Some(cause) => error.because(cause),
            None => error,
        })
    }
}
