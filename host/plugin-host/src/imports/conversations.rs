//! `conversations`: what was said lately.

use std::{sync::Arc, time::Instant};

use attache_messenger::{
    code::Code,
    command::Command,
    conversation::{Context, ConversationKind, MAX_PARTICIPANTS, Mode, ParticipantState},
    error::Error,
    event::Conversation,
    id::ConversationId,
    snapshot::{ConversationEntry, Snapshot, TranscriptEntry},
    time::Timestamp,
};

use super::{address, answer, wit};
use crate::{grant::Grant, quota, state::GuestState};

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

    fn get_details(&mut self, account: u64, id: u64) -> Answer<wit::conversations::ConversationDetails> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("conversations.get-details", Grant::ConversationsRead)?;
            let snapshot = self.snapshot(account)?;
            Ok(details(&find(&snapshot, id)?.conversation))
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

impl wit::conversation_editor::Host for GuestState {
    async fn start_conversation(
        &mut self,
        account: u64,
        participants: Vec<String>,
        subject: String,
        context: Option<wit::conversations::Context>,
    ) -> Answer<u64> {
        self.spend_call()?;
        answer(self.start_checked(account, &participants, subject, context).await)
    }

    async fn add_participant(&mut self, account: u64, id: u64, text: String) -> Answer<u64> {
        self.spend_call()?;
        let checked =
            self.granted("conversation-editor.add-participant", Grant::ConversationsWrite).and_then(|()| {
                let address = address(&text)?;
                self.instance.quota().take(quota::person(&address), false, Instant::now())?;
                Ok(Command::AddParticipant { conversation: ConversationId(id), address })
            });
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }

    async fn remove_participant(&mut self, account: u64, id: u64, text: String) -> Answer<u64> {
        self.spend_call()?;
        let checked = self
            .granted("conversation-editor.remove-participant", Grant::ConversationsWrite)
            .and_then(|()| {
                let address = address(&text)?;
                Ok(Command::RemoveParticipant { conversation: ConversationId(id), address })
            });
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }

    async fn close_conversation(&mut self, account: u64, id: u64) -> Answer<u64> {
        self.spend_call()?;
        answer(match self.granted("conversation-editor.close-conversation", Grant::ConversationsWrite) {
            Ok(()) => self.request(account, Command::CloseConversation(ConversationId(id))).await,
            Err(error) => Err(error),
        })
    }
}

impl GuestState {
    async fn start_checked(
        &mut self,
        account: u64,
        participants: &[String],
        subject: String,
        context: Option<wit::conversations::Context>,
    ) -> Result<u64, Error> {
        self.granted("conversation-editor.start-conversation", Grant::ConversationsWrite)?;
        let account = self.account(account)?;
        if participants.len() > MAX_PARTICIPANTS {
            return Err(Error::new(
                Code::SessionFull,
                format!("at most {MAX_PARTICIPANTS} people take part"),
            ));
        }
        let participants = participants.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let context = context.map(|it| Context::new(it.media_type, it.data)).transpose()?;
        for address in &participants {
            self.instance.quota().take(quota::person(address), false, Instant::now())?;
        }
        let command =
            Command::StartConversation { participants, subject: subject.into(), context, mode: None };
        let backend = Arc::clone(&self.plugin().backend);
        let accepted = self.wait(backend.command(account, command)).await?;
        self.remember(accepted.request);
        let none = || Error::new(Code::Internal, "the messenger began a conversation without naming it");
        accepted.conversation.map(|id| id.0).ok_or_else(none)
    }
}

fn details(conversation: &Conversation) -> wit::conversations::ConversationDetails {
    wit::conversations::ConversationDetails {
        kind: match conversation.kind {
            ConversationKind::Direct => wit::conversations::ConversationKind::Direct,
            ConversationKind::Conference => wit::conversations::ConversationKind::Conference,
            _ => wit::conversations::ConversationKind::Group,
        },
        session: conversation.mode == Mode::Session,
        participants: conversation
            .participants
            .iter()
            .map(|it| wit::conversations::Participant {
                address: it.address.to_string(),
                name: it.name.to_string(),
                state: match it.state {
                    ParticipantState::Joined => wit::conversations::ParticipantState::Joined,
                    ParticipantState::Left => wit::conversations::ParticipantState::Left,
                    _ => wit::conversations::ParticipantState::Invited,
                },
                since: it.since.as_millis(),
            })
            .collect(),
        context: conversation.context.as_ref().map(|it| wit::conversations::Context {
            media_type: it.media_type().to_string(),
            data: it.bytes().to_vec(),
        }),
        focus: conversation.focus.as_ref().map(ToString::to_string),
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
