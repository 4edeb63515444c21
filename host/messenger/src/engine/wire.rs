//! How messages of ours are written: the headers and the body of a MESSAGE.

use attache_documents::{
    Moment,
    cpim::{self, Cpim, Party, Subject},
    imdn,
    multipart::Writer,
};
use attache_sip::{agent::MessageParams, uri::UriBuf};
use bytes::Bytes;

use crate::{
    address::Address,
    engine::{EngineConfig, peers::Reads},
    error::Error,
    message::{Content, Origin, OutgoingMessage},
    storage::{Form, OutboxEntry},
    time::Timestamp,
};

/// Header with the identity of a message: its handle at the sender. A proxy's challenge changes CSeq, a lost answer is
/// no reason to say a thing twice.
pub(super) const IDENTITY: &str = "Attache-Message";

/// The request that carries a message to one of its recipients, whose programs read so much.
pub(super) fn request(
    config: &EngineConfig,
    entry: &OutboxEntry,
    to: &Address,
    reads: Reads,
    now: Timestamp,
) -> Result<MessageParams, Error> {
    let uri = to.to_uri()?;
    Ok(write(config, entry, (uri, to.as_str()), call_id(entry, to), reads, now))
}

/// The request that carries a message to all of its recipients, without the list of them.
pub(super) fn list_request(
    config: &EngineConfig,
    entry: &OutboxEntry,
    service: &UriBuf,
    reads: Reads,
    now: Timestamp,
) -> MessageParams {
    write(config, entry, (service.clone(), service.as_str()), entry.call_id.clone(), reads, now)
}

fn write(
    config: &EngineConfig,
    entry: &OutboxEntry,
    (to, named): (UriBuf, &str),
    call_id: String,
    reads: Reads,
    now: Timestamp,
) -> MessageParams {
    let message = &entry.message;
    let mut headers = vec![(IDENTITY.to_owned(), message.id.to_string())];
    if message.origin == Origin::Automatic {
        headers.push(("Auto-Submitted".to_owned(), "auto-replied".to_owned()));
    }
    if let Some(at) = message.expires_at {
        // Counted from when it leaves; with the date, whoever gets it late sees that it is late (RFC 3428, section 9).
        let left = at.as_millis().saturating_sub(now.as_millis()).div_ceil(1_000);
        headers.push(("Expires".to_owned(), left.to_string()));
        headers.extend(http_date(now).map(|date| ("Date".to_owned(), date)));
    }
    let (content_type, body) = content(&message.content, reads.rich == Some(true), &entry.call_id);
    let (content_type, body) = if is_wrapped(entry, reads) {
        (cpim::MEDIA_TYPE.to_owned(), wrapped(config, entry, named, content_type, &body))
    } else {
        (content_type, body)
    };
    MessageParams { to, content_type, body, headers, call_id }
}

/// What all of several programs read.
pub(super) fn all_read(known: &[Reads]) -> Reads {
    let all = |yes: fn(&Reads) -> bool| Some(known.iter().all(yes));
    Reads {
        cpim: all(|reads| reads.cpim == Some(true)),
        rich: all(|reads| reads.rich == Some(true)),
        composing: false,
    }
}

/// Whether the message goes to somebody in a wrapper.
pub(super) fn is_wrapped(entry: &OutboxEntry, reads: Reads) -> bool {
    entry.form != Form::Plain && reads.cpim == Some(true)
}

/// Whether the message says more than words to somebody.
pub(super) fn is_rich(message: &OutgoingMessage, reads: Reads) -> bool {
    matches!(message.content, Content::Html { .. }) && reads.rich == Some(true)
}

/// The Call-ID for one recipient: always the same, and another one for each.
fn call_id(entry: &OutboxEntry, to: &Address) -> String {
    match entry.message.recipients.iter().position(|recipient| recipient == to) {
        None | Some(0) => entry.call_id.clone(),
        Some(place) => format!("{place}.{}", entry.call_id),
    }
}

/// The identity of a message in its wrapper (RFC 5438, section 6.3): what no other message has.
pub(super) fn wire_id(call_id: &str) -> &str {
    call_id.split('@').next().unwrap_or(call_id)
}

/// What a message says: words without their markup, unless that is known to be read.
fn content(content: &Content, rich: bool, call_id: &str) -> (String, Bytes) {
    const WORDS: &str = "text/plain;charset=UTF-8";
    match content {
        Content::Other { media_type, bytes } => (media_type.to_string(), bytes.as_bytes().clone()),
        Content::Html { html, plain } if rich => {
            // No text of ours holds it: it is made of chance.
            let boundary = wire_id(call_id);
            let mut writer = Writer::new(boundary);
            // The plainest first (RFC 2046, section 5.1.4).
            writer.part(WORDS, None, plain.as_str().as_bytes());
            writer.part("text/html;charset=UTF-8", None, html.as_str().as_bytes());
            (format!("multipart/alternative;boundary=\"{boundary}\""), writer.finish())
        }
        words => (WORDS.to_owned(), Bytes::copy_from_slice(words.text().as_bytes())),
    }
}

fn wrapped(config: &EngineConfig, entry: &OutboxEntry, to: &str, content_type: String, body: &[u8]) -> Bytes {
    let message = &entry.message;
    let mut cpim = Cpim::new(content_type, body);
    cpim.from = Some(own_party(config));
    // Who else gets it is not told: whoever wants that talks in a conversation.
    cpim.to = vec![Party::new(to)];
    cpim.date_time = Some(moment(message.accepted_at));
    let subject = message.subject.iter().map(|text| Subject { lang: None, text: text.to_string() });
    cpim.subjects = subject.collect();
    let request = imdn::Request {
        message_id: Some(wire_id(&entry.call_id).to_owned()),
        positive_delivery: message.receipts.delivery,
        negative_delivery: message.receipts.delivery,
        display: message.receipts.display,
        ..imdn::Request::default()
    };
    request.write(&mut cpim);
    cpim.write().into()
}

pub(super) fn own_party(config: &EngineConfig) -> Party {
    Party { name: config.display_name.to_string(), uri: config.address.as_str().to_owned() }
}

pub(super) fn moment(at: Timestamp) -> Moment {
    Moment::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}

/// A date of RFC 3261, section 20.17.
fn http_date(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.as_millis()).ok()?).ok()?;
    Some(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}
