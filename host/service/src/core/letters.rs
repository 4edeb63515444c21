//! A MESSAGE to many (RFC 5365): one request with a list of recipients, of which each gets a copy. Who may know of whom is
//! the sender's to say (RFC 5364).
//!
//! Copies are kept first and delivered from there, in the order of everything else that waits, so that the sender's one
//! answer holds for all of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use attache_documents::recipients::{self, Recipient};
use attache_documents::{Limits, multipart};
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use attache_sip::uri::Uri;
use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::Core;
use super::door::too_fast;
use super::message::{Origin, is_storable};
use crate::directory::{Aor, domain, identity};
use crate::mailbox::StoredMessage;

/// The option tag.
const OPTION: &str = "recipient-list-message";
/// Parts of a body.
const MOST_PARTS: usize = 16;
/// Headers that are about the list alone, or are written anew for each copy.
const NOT_COPIED: [HeaderName; 3] = [HeaderName::To, HeaderName::Require, HeaderName::ContentDisposition];

/// Messages to many whose sender waits.
#[derive(Default)]
pub(super) struct StoringLists {
    of: HashMap<u64, Waiting>,
    next: u64,
}

struct Waiting {
    sender: ServerTransactionId,
    /// Copies that are not on disk yet.
    open: usize,
    /// Copies that are, or need not be.
    kept: usize,
}

/// What is said, and to whom.
struct Letters {
    content_type: String,
    body: Bytes,
    recipients: Vec<(Aor, Recipient)>,
}

/// Whether a MESSAGE brings its recipients along.
pub(super) fn is_for_many(request: &Message) -> bool {
    request.values(HeaderName::Require).any(|option| option.eq_ignore_ascii_case(OPTION.as_bytes()))
}

impl Core {
    /// A MESSAGE to many, of a sender who has proved to be who they say.
    pub(super) fn on_letters(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        let letters = match self.letters(request) {
            Ok(letters) => letters,
            Err(refusal) => {
                self.respond(now, id, &refusal);
                return;
            }
        };
        let hops = request.max_forwards().unwrap_or(70);
        if hops == 0 {
            self.refuse(now, id, 483, "");
            return;
        }
        // It is as much work as so many messages; one of them was counted when it came.
        let more = letters.recipients.len() - 1;
        if more > 0 && !self.rate.admits_as(flow.remote.ip(), now, more) {
            self.respond(now, id, &too_fast());
            return;
        }
        if self.relays.len() + letters.recipients.len() > self.limits.relays {
            self.respond(now, id, &Response::new(503).header(HeaderName::RetryAfter, "5"));
            return;
        }
        let all: Vec<Recipient> = letters.recipients.iter().map(|(_, one)| one.clone()).collect();
        let (content_type, body) = self.with_history(&letters, &all);
        self.storing_lists.next += 1;
        let list = self.storing_lists.next;
        let (mut open, mut kept) = (0, 0);
        for (recipient, _) in &letters.recipients {
            let mut copy = self.letter(now, request, recipient, hops - 1);
            copy.headers.retain(|(name, _)| !NOT_COPIED.contains(&HeaderName::parse(name.as_bytes())));
            copy.headers.push((HeaderName::To.as_str().to_owned(), format!("<sip:{recipient}>")));
            copy.content_type.clone_from(&content_type);
            copy.body = body.clone();
            let copy = Arc::new(copy);
            if !is_storable(&copy) {
                kept += 1;
                self.relay(now, recipient, copy, Origin::Done, None);
            } else if self.keep_for(now, recipient, copy, None, Some(list)) {
                if self.is_durable {
                    open += 1;
                } else {
                    kept += 1;
                }
                self.deliver_next(now, recipient);
            }
        }
        self.storing_lists.of.insert(list, Waiting { sender: id, open, kept });
        self.answer_when_kept(now, list);
    }

    /// A copy is on disk, or cannot be.
    pub(super) fn copy_stored(&mut self, now: Instant, list: u64, is_kept: bool) {
        if let Some(waiting) = self.storing_lists.of.get_mut(&list) {
            waiting.open = waiting.open.saturating_sub(1);
            waiting.kept += usize::from(is_kept);
        }
        self.answer_when_kept(now, list);
    }

    fn answer_when_kept(&mut self, now: Instant, list: u64) {
        if self.storing_lists.of.get(&list).is_none_or(|waiting| waiting.open > 0) {
            return;
        }
        let Some(waiting) = self.storing_lists.of.remove(&list) else { return };
        // That some get it and others do not is not said by one answer: whoever wants to know asks for receipts.
        let answer = match waiting.kept {
            0 => Response::new(480),
            _ => Response::new(202),
        };
        self.respond(now, waiting.sender, &answer);
    }

    /// What a request says, and to whom.
    fn letters(&mut self, request: &Message) -> Result<Letters, Box<Response>> {
        let refuse = |status: u16, why: &str| Box::new(Response::new(status).reason(why));
        let here = request.request_uri().ok().and_then(|uri| domain(&uri));
        if !here.is_some_and(|domain| self.directory.is_ours(&domain)) {
            return Err(refuse(403, "Domain Not Served"));
        }
        let kind = request.header(HeaderName::ContentType).unwrap_or_default();
        let kind = String::from_utf8_lossy(kind);
        if !multipart::is_multipart(&kind) {
            return Err(Box::new(Response::new(415).header(HeaderName::Accept, "multipart/mixed")));
        }
        let body = multipart::read(&kind, &request.body_bytes(), MOST_PARTS);
        let body = body.map_err(|_| refuse(400, "Unreadable Body"))?;
        let is_list = |part: &&multipart::Part| {
            let disposition = part.header("Content-Disposition");
            let said = disposition.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim());
            part.is(recipients::MEDIA_TYPE)
                && said.is_none_or(|said| said.eq_ignore_ascii_case(recipients::LIST))
        };
        let (lists, said): (Vec<_>, Vec<_>) = body.parts.iter().partition(is_list);
        let ([list], false) = (lists.as_slice(), said.is_empty()) else {
            return Err(refuse(400, "One List And A Message Are Needed"));
        };
        let bounds = Limits { entries: self.limits.message_list_entries, ..Limits::DEFAULT };
        let listed = recipients::read(list.body(), &bounds)
            .map_err(|_| refuse(400, "Unreadable Or Too Long Resource List"))?;
        let mut seen = HashSet::new();
        let mut recipients = Vec::new();
        for one in listed {
            let uri = Uri::parse_str(&one.uri).ok();
            let named = uri.and_then(|uri| {
                let named = identity(&uri).and_then(|name| self.directory.find(&name));
                named.or_else(|| self.directory.find_number(&uri))
            });
            if let Some(aor) = named.filter(|aor| seen.insert(Aor::clone(aor))) {
                recipients.push((aor, one));
            }
        }
        if recipients.is_empty() {
            return Err(refuse(404, "Nobody In The List Is Known"));
        }
        let (content_type, body) = match said.as_slice() {
            [one] => (one.content_type().into_owned(), one.body().clone()),
            several => {
                let mut writer = multipart::Writer::new(&self.boundary());
                for part in several {
                    writer.part(&part.content_type(), part.content_id().as_deref(), part.body());
                }
                (writer.mixed_type(), writer.finish())
            }
        };
        if body.len() > self.limits.message_bytes {
            return Err(refuse(413, ""));
        }
        Ok(Letters { content_type, body, recipients })
    }

    /// What is said, with the names of the others who get it, as far as they may be known.
    fn with_history(&mut self, letters: &Letters, all: &[Recipient]) -> (String, Bytes) {
        let visible = recipients::visible(all);
        let fits = letters.body.len() + 256 * visible.len() <= self.limits.message_bytes;
        if all.len() < 2 || visible.is_empty() || !fits {
            return (letters.content_type.clone(), letters.body.clone());
        }
        let mut writer = multipart::Writer::new(&self.boundary());
        writer.part(&letters.content_type, None, &letters.body);
        let list = recipients::write(&visible);
        let disposition = format!("{};handling=optional", recipients::HISTORY);
        writer.disposed_part(recipients::MEDIA_TYPE, &disposition, list.as_bytes());
        (writer.mixed_type(), writer.finish())
    }

    /// A line that stands in no body.
    fn boundary(&mut self) -> String {
        format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64())
    }
}

/// A message without the list of those who got it too, for a device that reads what is said and nothing else. `None` where
/// there is no such list.
pub(super) fn without_history(message: &StoredMessage) -> Option<StoredMessage> {
    if !multipart::is_multipart(&message.content_type) {
        return None;
    }
    let body = multipart::read(&message.content_type, &message.body, MOST_PARTS).ok()?;
    let is_history = |part: &multipart::Part| {
        let disposition = part.header("Content-Disposition").unwrap_or_default().into_owned();
        disposition.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(recipients::HISTORY)
    };
    match body.parts.as_slice() {
        [said, history] if is_history(history) => Some(StoredMessage {
            content_type: said.content_type().into_owned(),
            body: said.body().clone(),
            ..message.clone()
        }),
        _ => None,
    }
}
