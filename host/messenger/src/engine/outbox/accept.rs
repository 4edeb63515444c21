//! How messages of ours get into the outbox: checked, kept, shown.

use core::time::Duration;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Open, Queued};
use crate::{
    address::Address,
    code::Code,
    command::Accepted,
    conversation::ConversationKind,
    engine::{
        Engine,
        ledger::{Effect, Sealed, Ticket},
        stream,
    },
    error::{Error, Retry},
    event::EventKind,
    id::MessageId,
    message::{Content, Draft, Origin, OutboxItem, OutgoingMessage, Target, WaitReason, Waiting},
    snapshot::TranscriptEntry,
    storage::{ArchiveEntry, Direction, Form, OutboxEntry},
};

/// Longest subject, in bytes.
const MAX_SUBJECT: usize = 256;
/// Longest media type with its parameters, in bytes.
const MAX_TYPE: usize = 128;

impl Engine {
    /// The command: checks it and keeps the message.
    pub(in crate::engine) fn send(&mut self, ticket: Ticket, draft: Draft) {
        let recipients = match self.check_send(&draft) {
            Ok(recipients) => recipients,
            Err(error) => return self.ledger.answer(ticket.token, Err(error)),
        };
        let conversation = match &draft.to {
            Target::Conversation(id) => {
                self.retell(*id);
                *id
            }
            _ => self.conversation_with(&recipients[0]),
        };
        let listed = matches!(draft.to, Target::Addresses(_)) && self.goes_as_list(&recipients);
        let id = MessageId(self.next_id());
        let message = Arc::new(OutgoingMessage {
            id,
            conversation,
            contact: self.view.by_address.get(&recipients[0]).copied(),
            recipients: recipients.clone(),
            subject: draft.subject,
            content: draft.content,
            author: draft.author,
            origin: draft.origin,
            receipts: draft.receipts,
            expires_at: draft.expires.map(|after| self.now.wall + after),
            accepted_at: self.now.wall,
        });
        let call_id = format!("{:016x}{:016x}@attache", self.random(), id.0);
        self.outbox.count += recipients.len();
        let open = Open { left: recipients.len(), request: Some(ticket.request), failed: None };
        self.outbox.open.insert(id, open);
        for recipient in &recipients {
            self.has_written_to(recipient);
        }
        let wrapped = recipients.iter().any(|recipient| self.reads(recipient).cpim == Some(true));
        let form = match wrapped {
            _ if listed => Form::List,
            true => Form::Cpim,
            false => Form::Plain,
        };
        let entry = Arc::new(OutboxEntry { message, call_id, pending: recipients, form, attempts: 0 });
        let records = self.track(&entry);
        let message = &entry.message;
        let line = self.line(|| ArchiveEntry {
            message: id,
            conversation,
            at: message.accepted_at,
            direction: Direction::Outgoing,
            peer: message.recipient().clone(),
            others: message.recipients[1..].iter().cloned().collect(),
            content: message.content.clone(),
            automatic: message.origin == Origin::Automatic,
        });
        self.ledger.keep(Effect::Accepted { ticket, entry, records, line });
    }

    /// Whom a target names: one or several people, each once, and none of them this account.
    pub(in crate::engine) fn people(&self, to: &Target) -> Result<SmallVec<[Address; 1]>, Error> {
        let named: Vec<&Address> = match to {
            Target::Address(address) => vec![address],
            Target::Addresses(addresses) => addresses.iter().collect(),
            Target::Conversation(id) => match self.view.conversations.get(id) {
                None => {
                    let text = format!("there is no conversation {id}");
                    return Err(Error::new(Code::ConversationNotFound, text));
                }
                Some(entry) if !entry.conversation.is_open() => {
                    return Err(Error::new(Code::Closed, "the conversation was closed before"));
                }
                // The focus passes it on to everybody.
                Some(entry) if entry.conversation.focus.is_some() => {
                    entry.conversation.focus.iter().collect()
                }
                // It waits until the factory has made the conference.
                Some(entry) if entry.conversation.kind == ConversationKind::Conference => {
                    self.config.conference.iter().collect()
                }
                Some(entry) => entry.conversation.present().collect(),
            },
        };
        let most = self.config.limits.recipients;
        if named.len() > most {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("a message has at most {most} recipients"),
            ));
        }
        let mut people: SmallVec<[Address; 1]> = SmallVec::new();
        for address in named {
            if *address == self.config.address {
                return Err(Error::new(Code::SessionInvitedSelf, "a message to yourself cannot be sent"));
            }
            address.to_uri()?;
            if !people.contains(address) {
                people.push(address.clone());
            }
        }
        if people.is_empty() {
            return Err(Error::new(Code::SessionNoUserInvited, "a message needs a recipient"));
        }
        Ok(people)
    }

    fn check_send(&self, draft: &Draft) -> Result<SmallVec<[Address; 1]>, Error> {
        let invalid = |text: &str| Error::new(Code::InvalidArgument, text);
        let recipients = self.people(&draft.to)?;
        let most = if self.has_sessions() { stream::MAX_MESSAGE } else { Content::MAX };
        check_content(&draft.content, most)?;
        if draft
            .subject
            .as_ref()
            .is_some_and(|subject| subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control))
        {
            return Err(invalid(&format!("a subject is one line of at most {MAX_SUBJECT} bytes")));
        }
        if draft.expires.is_some_and(|after| after < Duration::from_secs(1)) {
            return Err(invalid("a message is worth something for a second at least"));
        }
        if self.outbox.count + recipients.len() > self.config.limits.outbox {
            let text = format!("{} messages wait to be sent already", self.config.limits.outbox);
            return Err(Error::new(Code::TooManyMessages, text).retry(Retry::AfterChange));
        }
        Ok(recipients)
    }

    /// The message is durable: shows it, and sends it when its turn comes.
    pub(in crate::engine) fn apply_accepted(
        &mut self,
        sealed: &Sealed,
        ticket: Ticket,
        entry: &Arc<OutboxEntry>,
    ) {
        let message = entry.message.clone();
        let mut seq = sealed.seq;
        let line = TranscriptEntry::Outgoing(message.clone());
        match self.add_line(message.conversation, message.recipient(), sealed.at, line) {
            Some(opened) => {
                self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::ConversationOpened(opened));
            }
            None => seq += 1,
        }
        self.show_deliveries(message.id);
        self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::MessageAccepted(message.clone()));
        self.ledger.answer(
            ticket.token,
            Ok(Accepted { message: Some(message.id), ..Accepted::new(ticket.request) }),
        );
        self.enqueue(entry, false);
    }

    /// The message could not be kept: nothing of it happened.
    pub(in crate::engine) fn refuse_accepted(
        &mut self,
        ticket: Ticket,
        entry: &Arc<OutboxEntry>,
        error: Error,
    ) {
        self.outbox.count -= entry.pending.len();
        self.outbox.open.remove(&entry.message.id);
        self.untrack(entry.message.id);
        self.ledger.answer(ticket.token, Err(error));
    }

    /// A message that was in the outbox when the engine began.
    pub(in crate::engine) fn restore_message(&mut self, entry: OutboxEntry) {
        let message = entry.message.clone();
        self.outbox.count += entry.pending.len();
        let open = Open { left: entry.pending.len(), request: None, failed: None };
        self.outbox.open.insert(message.id, open);
        let line = TranscriptEntry::Outgoing(message.clone());
        self.add_line(message.conversation, message.recipient(), message.accepted_at, line);
        self.track_restored(&entry);
        self.enqueue(&Arc::new(entry), true);
    }

    pub(super) fn enqueue(&mut self, entry: &Arc<OutboxEntry>, left: bool) {
        for peer in &entry.pending {
            let lane = self.outbox.lanes.entry(peer.clone()).or_default();
            let attempts = entry.attempts;
            let queued = Queued { entry: entry.clone(), attempts, doubted: false, left, last_error: None };
            lane.queue.push_back(queued);
            if lane.queue.len() == 1 {
                self.outbox.ready.push_back(peer.clone());
            }
        }
        let waiting = entry.pending.iter().map(|recipient| Waiting {
            recipient: recipient.clone(),
            reason: WaitReason::Turn,
            attempts: entry.attempts,
            last_error: None,
            next_try: None,
        });
        let item = OutboxItem { message: entry.message.clone(), waiting: waiting.collect() };
        self.view.outbox.insert_mut(entry.message.id, Arc::new(item));
        self.send_ready();
    }
}

fn check_content(content: &Content, most: usize) -> Result<(), Error> {
    let invalid = |text: &str| Err(Error::new(Code::InvalidArgument, text));
    let too_long = |most: usize| {
        Err(Error::new(Code::MessageTooLong, format!("the message is longer than {most} bytes")))
    };
    match content {
        Content::Text(text) if text.as_str().is_empty() => invalid("a message needs a text"),
        Content::Html { html, plain } if html.as_str().is_empty() || plain.as_str().is_empty() => {
            invalid("a message with markup needs the same in words")
        }
        Content::Other { media_type, bytes } if bytes.as_bytes().is_empty() || !is_media_type(media_type) => {
            invalid("a message needs a media type such as image/png, and bytes")
        }
        Content::Html { .. } if content.size() > Content::MAX => too_long(Content::MAX),
        content if content.size() > most => too_long(most),
        _ => Ok(()),
    }
}

/// Whether this can stand in a header, and is no type that means something to the protocol.
fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let reserved = ["multipart/", "message/", "application/im-iscomposing", "application/sdp"];
    text.len() <= MAX_TYPE
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && essence.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
        && !reserved.iter().any(|reserved| essence.to_ascii_lowercase().starts_with(reserved))
}
