//! `conversations`: what was said lately.

use attache_messenger::{
    code::Code,
    error::Error,
    event::Conversation,
    id::ConversationId,
    snapshot::{ConversationEntry, Snapshot, TranscriptEntry},
    time::Timestamp,
};

use super::{answer, wit};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

/// Most entries of one answer.
const ENTRIES: u32 = 500;

impl wit::conversations::Host for GuestState {
    fn list_conversations(&mut self, account: u64) -> Answer<Vec<wit::types::Conversation>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("conversations.list-conversations", Grant::ConversationsRead)?;
            let snapshot = state.snapshot(account)?;
            let (open, closed): (Vec<_>, Vec<_>) = snapshot
                .conversations
                .values()
                .map(|entry| wit_conversation(&entry.conversation))
                .partition(|conversation| conversation.closed_at.is_none());
            Ok(open.into_iter().chain(closed).collect())
        }))
    }

    fn get_conversation(&mut self, account: u64, id: u64) -> Answer<wit::types::Conversation> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("conversations.get-conversation", Grant::ConversationsRead)?;
            let snapshot = self.snapshot(account)?;
            Ok(wit_conversation(&find(&snapshot, id)?.conversation))
        };
        answer(get())
    }

    fn transcript(
        &mut self,
        account: u64,
        id: u64,
        after: Option<u64>,
        limit: u32,
    ) -> Answer<Vec<wit::conversations::TranscriptEntry>> {
        self.spend_call()?;
        let read = || -> Result<_, Error> {
            self.granted("conversations.transcript", Grant::ConversationsRead)?;
            let snapshot = self.snapshot(account)?;
            let lines = find(&snapshot, id)?.transcript.iter();
            // Ids grow with time, so this also works when the line itself is gone from the transcript.
            let later = lines.filter_map(|line| entry(&snapshot, line));
            let later = later.filter(|line| after.is_none_or(|after| line.message > after));
            Ok(later.take(limit.min(ENTRIES) as usize).collect())
        };
        answer(read())
    }
}

fn find(snapshot: &Snapshot, id: u64) -> Result<&ConversationEntry, Error> {
    snapshot
        .conversations
        .get(&ConversationId(id))
        .ok_or_else(|| Error::new(Code::ConversationNotFound, format!("there is no conversation {id}")))
}

/// A line that is a message.
fn entry(snapshot: &Snapshot, line: &TranscriptEntry) -> Option<wit::conversations::TranscriptEntry> {
    match line {
        TranscriptEntry::Incoming(message) => Some(wit::conversations::TranscriptEntry {
            at: message.received_at.as_millis(),
            sender: message.sender.to_string(),
            message: message.id.0,
            text: message.content.text().to_owned(),
        }),
        TranscriptEntry::Outgoing(message) => Some(wit::conversations::TranscriptEntry {
            at: message.accepted_at.as_millis(),
            sender: snapshot.address.to_string(),
            message: message.id.0,
            text: message.content.text().to_owned(),
        }),
        _ => None,
    }
}

fn wit_conversation(conversation: &Conversation) -> wit::types::Conversation {
    wit::types::Conversation {
        id: conversation.id.0,
        participants: conversation.present().map(ToString::to_string).collect(),
        subject: conversation.subject.to_string(),
        opened_at: conversation.opened_at.as_millis(),
        closed_at: conversation.closed_at.map(Timestamp::as_millis),
    }
}
