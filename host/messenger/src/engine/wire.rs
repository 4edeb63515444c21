//! How messages of ours are written: the headers and the body of a MESSAGE.

use attache_sip::agent::MessageParams;
use bytes::Bytes;

use crate::{
    address::Address,
    error::Error,
    message::{Content, Origin, OutgoingMessage},
    storage::OutboxEntry,
};

/// Header with the identity of a message: its handle at the sender. A proxy's challenge changes CSeq, a lost answer is
/// no reason to say a thing twice.
pub(super) const IDENTITY: &str = "Attache-Message";

/// The request that carries a message to one of its recipients.
pub(super) fn request(entry: &OutboxEntry, to: &Address) -> Result<MessageParams, Error> {
    let message = &entry.message;
    let mut headers = vec![(IDENTITY.to_owned(), message.id.to_string())];
    if message.origin == Origin::Automatic {
        headers.push(("Auto-Submitted".to_owned(), "auto-replied".to_owned()));
    }
    let (content_type, body) = plain(message);
    Ok(MessageParams { to: to.to_uri()?, content_type, body, headers, call_id: call_id(entry, to) })
}

/// The Call-ID for one recipient: always the same, and another one for each.
pub(super) fn call_id(entry: &OutboxEntry, to: &Address) -> String {
    match entry.message.recipients.iter().position(|recipient| recipient == to) {
        None | Some(0) => entry.call_id.clone(),
        Some(place) => format!("{place}.{}", entry.call_id),
    }
}

/// The content as every program reads it: words without their markup.
fn plain(message: &OutgoingMessage) -> (String, Bytes) {
    match &message.content {
        Content::Other { media_type, bytes } => (media_type.to_string(), bytes.as_bytes().clone()),
        words => ("text/plain;charset=UTF-8".to_owned(), Bytes::copy_from_slice(words.text().as_bytes())),
    }
}
