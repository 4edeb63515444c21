//! Messages and events as JSON documents, for the columns that no statement looks into.
//!
//! The types of the messenger are free to change; these are the file format. Fields are only added, with a default.

use std::{sync::Arc, time::Duration};

use attache_messenger::{
    address::Address,
    code::Code,
    error::{Error, Retry},
    id::{ContactId, ConversationId, MessageId},
    message::{
        Author, Content, IncomingMessage, MessageState, Origin, OutgoingMessage, Payload, Receipts, Text,
    },
    storage::{Form, JournalEvent, OutboxEntry},
    time::Timestamp,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::error::Failure;

/// The document of an outbox entry.
pub(crate) fn outbox_to_json(entry: &OutboxEntry) -> Result<String, Failure> {
    to_json(&OutboxRecord {
        message: OutgoingRecord::from(&*entry.message),
        call_id: entry.call_id.clone(),
        attempts: entry.attempts,
        pending: Some(entry.pending.iter().map(|address| address.as_str().to_owned()).collect()),
        form: entry.form,
    })
}

/// The outbox entry in a document.
pub(crate) fn outbox_from_json(body: &str) -> Result<OutboxEntry, Failure> {
    let record: OutboxRecord = from_json(body)?;
    let message = record.message.restore()?;
    Ok(OutboxEntry {
        pending: match record.pending {
            Some(pending) => addresses(&pending)?,
            None => message.recipients.clone(),
        },
        message: Arc::new(message),
        call_id: record.call_id,
        form: record.form,
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
    /// None: all of them.
    #[serde(default)]
    pending: Option<Vec<String>>,
    #[serde(default)]
    form: Form,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    also_to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Arc<str>>,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rich: Option<RichRecord>,
    automatic: bool,
    sent_at: Option<u64>,
    received_at: u64,
}

/// What a content has beside its words.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum RichRecord {
    Html(String),
    Other {
        media_type: Arc<str>,
        /// In Base64.
        bytes: String,
    },
}

impl RichRecord {
    fn of(content: &Content) -> Option<Self> {
        match content {
            Content::Html { html, .. } => Some(Self::Html(html.as_str().to_owned())),
            Content::Other { media_type, bytes } => {
                Some(Self::Other { media_type: media_type.clone(), bytes: BASE64.encode(bytes.as_bytes()) })
            }
            _ => None,
        }
    }

    fn restore(rich: Option<Self>, text: String) -> Result<Content, Failure> {
        let text = Text::new(text);
        Ok(match rich {
            None => Content::Text(text),
            Some(Self::Html(html)) => Content::Html { html: Text::new(html), plain: text },
            Some(Self::Other { media_type, bytes }) => {
                let bytes = BASE64
                    .decode(bytes)
                    .map_err(|_| Failure::Unreadable("the bytes of a message in it cannot be read".into()))?;
                Content::Other { media_type, bytes: Payload::new(bytes) }
            }
        })
    }
}

fn addresses<A: smallvec::Array<Item = Address>>(texts: &[String]) -> Result<SmallVec<A>, Failure> {
    texts.iter().map(|text| address(text)).collect()
}

impl From<&IncomingMessage> for IncomingRecord {
    fn from(message: &IncomingMessage) -> Self {
        Self {
            id: message.id.0,
            conversation: message.conversation.0,
            contact: message.contact.map(|contact| contact.0),
            sender: message.sender.as_str().to_owned(),
            also_to: message.also_to.iter().map(|address| address.as_str().to_owned()).collect(),
            subject: message.subject.clone(),
            text: message.content.text().to_owned(),
            rich: RichRecord::of(&message.content),
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
            also_to: addresses(&self.also_to)?,
            subject: self.subject,
            content: RichRecord::restore(self.rich, self.text)?,
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
    /// The second and further ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Arc<str>>,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rich: Option<RichRecord>,
    /// None for the user.
    plugin: Option<String>,
    automatic: bool,
    #[serde(default)]
    delivery_receipt: bool,
    #[serde(default)]
    display_receipt: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    accepted_at: u64,
}

impl From<&OutgoingMessage> for OutgoingRecord {
    fn from(message: &OutgoingMessage) -> Self {
        Self {
            id: message.id.0,
            conversation: message.conversation.0,
            contact: message.contact.map(|contact| contact.0),
            recipient: message.recipient().as_str().to_owned(),
            others: message.recipients[1..].iter().map(|address| address.as_str().to_owned()).collect(),
            subject: message.subject.clone(),
            text: message.content.text().to_owned(),
            rich: RichRecord::of(&message.content),
            plugin: match &message.author {
                Author::User => None,
                Author::Plugin(name) => Some(name.to_string()),
            },
            automatic: message.origin == Origin::Automatic,
            delivery_receipt: message.receipts.delivery,
            display_receipt: message.receipts.display,
            expires_at: message.expires_at.map(Timestamp::as_millis),
            accepted_at: message.accepted_at.as_millis(),
        }
    }
}

impl OutgoingRecord {
    fn restore(self) -> Result<OutgoingMessage, Failure> {
        let mut recipients: SmallVec<[Address; 1]> = addresses(&self.others)?;
        recipients.insert(0, address(&self.recipient)?);
        Ok(OutgoingMessage {
            id: MessageId(self.id),
            conversation: ConversationId(self.conversation),
            contact: self.contact.map(ContactId),
            recipients,
            subject: self.subject,
            content: RichRecord::restore(self.rich, self.text)?,
            author: self.plugin.map_or(Author::User, |name| Author::Plugin(name.into())),
            origin: origin(self.automatic),
            receipts: Receipts { delivery: self.delivery_receipt, display: self.display_receipt },
            expires_at: self.expires_at.map(Timestamp::from_millis),
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
    Cancelled,
}

impl StateRecord {
    fn of(state: &MessageState) -> Result<Self, Failure> {
        Ok(match state {
            MessageState::Accepted => Self::Accepted,
            MessageState::Sent => Self::Sent,
            MessageState::Delivered => Self::Delivered,
            MessageState::Displayed => Self::Displayed,
            MessageState::Failed(error) => Self::Failed(ErrorRecord::from(error)),
            MessageState::Cancelled => Self::Cancelled,
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
            Self::Cancelled => MessageState::Cancelled,
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
