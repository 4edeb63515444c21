//! Messages of sessions, and messages of the inbox and the outbox: each as the other has it.

use attache_documents::{
    cpim::{self, Cpim, Party},
    imdn,
};
use attache_msrp::{Failure, Incoming, MsrpError};
use attache_sip::{
    agent::{Cause, MessageParams},
    message::{HeaderName, Limits, Message},
};
use bytes::Bytes;

use crate::{
    address::Address,
    engine::{EngineConfig, wire},
    storage::OutboxEntry,
};

/// Types that are taken, the wrapper first: it tells who wrote, when, and under which identity.
pub(super) fn types(config: &EngineConfig) -> Vec<String> {
    let words = ["message/cpim", "text/plain", "text/html", "application/im-iscomposing+xml"];
    words.into_iter().map(str::to_owned).chain(config.accept.iter().map(ToString::to_string)).collect()
}

pub(super) fn is_wrapper(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(cpim::MEDIA_TYPE)
}

/// Whether a focus says so of itself (RFC 4579, section 2).
pub(super) fn is_focus(message: &Message) -> bool {
    let contact = message.header(HeaderName::Contact).unwrap_or_default();
    let contact = String::from_utf8_lossy(contact).to_ascii_lowercase();
    contact.rsplit('>').next().unwrap_or_default().split(';').any(|word| word.trim() == "isfocus")
}

/// The message in a wrapper with its identity, by which it is known again when another session brings it.
pub(super) fn wrapped(
    config: &EngineConfig,
    entry: &OutboxEntry,
    to: &Address,
    params: &MessageParams,
) -> Bytes {
    if is_wrapper(&params.content_type) {
        return params.body.clone();
    }
    let mut cpim = Cpim::new(params.content_type.clone(), &*params.body);
    cpim.from = Some(wire::own_party(config));
    cpim.to = vec![Party::new(to.as_str())];
    cpim.date_time = Some(wire::moment(entry.message.accepted_at));
    let message_id = Some(wire::wire_id(&entry.call_id).to_owned());
    imdn::Request { message_id, ..imdn::Request::default() }.write(&mut cpim);
    cpim.write().into()
}

/// A message of a session as a request, which is what the inbox reads.
pub(super) fn as_request(
    own: &Address,
    sender: &Address,
    identity: Option<&str>,
    message: &Incoming,
) -> Option<Message> {
    let clean = |text: &str| -> String { text.chars().filter(char::is_ascii_graphic).take(200).collect() };
    let identity = clean(identity.unwrap_or(&message.message_id));
    let line = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(256).collect() };
    let mut bytes = format!(
        "MESSAGE {own} SIP/2.0\r\nVia: SIP/2.0/TCP session.invalid;branch=z9hG4bK0\r\nFrom: <{sender}>;tag=session\r\n\
         To: <{own}>\r\nCall-ID: {identity}\r\nCSeq: 1 MESSAGE\r\n{IDENTITY}: {identity}\r\nContent-Type: {}\r\n\
         Content-Length: {}\r\n\r\n",
        line(&message.content_type),
        message.body.len(),
        IDENTITY = wire::IDENTITY,
    )
    .into_bytes();
    bytes.extend_from_slice(&message.body);
    let limits = Limits { message: bytes.len(), ..Limits::DEFAULT };
    Message::parse_with(bytes.into(), &limits).ok()
}

/// What a failure of a session means for a message: an answer of the other side decides, all else is tried again.
pub(super) fn cause_of(failure: &Failure) -> Cause {
    match failure {
        Failure::Status { status: status @ (400 | 403 | 413 | 415 | 423 | 425), comment } => {
            Cause::Status { code: *status, reason: comment.clone() }
        }
        failure => Cause::Transport(failure.to_string()),
    }
}

pub(super) fn not_sent(error: MsrpError) -> Cause {
    match error {
        MsrpError::TooLarge => Cause::Status { code: 413, reason: "Too Large".to_owned() },
        error => Cause::Transport(error.to_string()),
    }
}

pub(super) fn too_many() -> Cause {
    Cause::Transport("there are as many sessions as are allowed".to_owned())
}
