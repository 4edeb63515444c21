//! Commands about conversations, calls and finding people.

use std::{collections::BTreeSet, sync::Arc};

use attache::{
    Address, ArchiveEntry, ArchiveQuery, Call, CallId, CallState, Callee, Code, Conversation, ConversationId,
    Error, FileId, MessageId, Messenger, NewConversation, PersonQuery, Target, TranscriptEntry,
    TransferTarget,
};
use serde_json::{Value, json};

use crate::{
    command::{Talk, invalid},
    json,
    perform::{Output, done, listed, nothing},
    text,
};

/// Carries one out.
pub(crate) async fn perform(messenger: &Messenger, command: Talk) -> Result<Output, Error> {
    match command {
        Talk::Conversations {} => {
            let all = messenger.conversations();
            let values: Vec<Value> = all.iter().map(|it| json::conversation(it)).collect();
            Ok(listed(json!({ "conversations": values }), all.iter().map(described).collect()))
        }
        Talk::StartConversation { participants, subject, context, media_type } => {
            let participants =
                participants.iter().map(|it| Address::parse(it)).collect::<Result<Vec<_>, _>>()?;
            let mut new = NewConversation::with(participants).about(subject);
            if let Some(context) = context {
                let media_type = media_type.unwrap_or_else(|| "text/plain".to_owned());
                new = new.context(attache::Context::new(media_type, context)?);
            }
            let id = messenger.start_conversation(new).await?;
            Ok(done(json!({ "conversation": id.to_string() }), vec![format!("conversation {id}")]))
        }
        Talk::AddParticipant { conversation, address } => {
            let address = Address::parse(&address)?;
            messenger.add_participant(conversation_named(&conversation)?, &address).await?;
            Ok(nothing())
        }
        Talk::RemoveParticipant { conversation, address } => {
            let address = Address::parse(&address)?;
            messenger.remove_participant(conversation_named(&conversation)?, &address).await?;
            Ok(nothing())
        }
        Talk::CloseConversation { conversation } => {
            messenger.close_conversation(conversation_named(&conversation)?).await?;
            Ok(nothing())
        }
        Talk::Say { conversation, text } => {
            let id = messenger.say(conversation_named(&conversation)?, &text).await?;
            Ok(done(json!({ "message": id.to_string() }), Vec::new()))
        }
        Talk::Transcript { conversation } => {
            let id = conversation_named(&conversation)?;
            let known = messenger.conversation(id);
            let known = known.ok_or_else(|| {
                Error::new(Code::ConversationNotFound, format!("there is no conversation {id}"))
            })?;
            let entries = messenger.transcript(id);
            let earlier = earlier_lines(messenger, id, &entries).await?;
            let values = earlier.iter().map(json::archived);
            let values: Vec<Value> =
                values.chain(entries.iter().filter_map(json::transcript_entry)).collect();
            let lines = earlier.iter().map(|it| text::archived(messenger.address(), it));
            let shown = entries.iter().filter_map(|it| text::transcript_entry(messenger.address(), it));
            let lines = lines.chain(shown).collect();
            Ok(listed(json!({ "conversation": json::conversation(&known), "transcript": values }), lines))
        }
        Talk::Typing { to, active } => {
            messenger.set_composing(target(&to)?, active).await?;
            Ok(nothing())
        }
        Talk::Seen { message } => {
            messenger.mark_displayed(message_named(&message)?).await?;
            Ok(nothing())
        }
        Talk::Cancel { message } => {
            messenger.cancel_message(message_named(&message)?).await?;
            Ok(nothing())
        }
        Talk::Outbox {} => {
            let all = messenger.outbox();
            let values: Vec<Value> = all.iter().map(|it| json::outbox_item(it)).collect();
            Ok(listed(json!({ "outbox": values }), all.iter().flat_map(|it| text::outbox_item(it)).collect()))
        }
        Talk::Receipts { message } => {
            let all = messenger.deliveries(message_named(&message)?);
            let values: Vec<Value> = all.iter().map(json::delivery).collect();
            let lines = all.iter().map(|it| format!("{}: {}", it.recipient, it.state.name())).collect();
            Ok(listed(json!({ "receipts": values }), lines))
        }
        Talk::Call { to, own } => {
            let own = own.as_deref().map(Address::parse).transpose()?;
            let id = messenger.call_from(callee(&to), own, None).await?;
            Ok(done(json!({ "call": id.to_string() }), vec![format!("call {id}")]))
        }
        Talk::Calls {} => {
            let all = messenger.calls();
            let values: Vec<Value> = all.iter().map(|it| json::call(it)).collect();
            Ok(listed(json!({ "calls": values }), all.iter().map(|it| text::call(it)).collect()))
        }
        Talk::HangUp { call } => {
            messenger.hang_up(current(messenger, call.as_deref())?).await?;
            Ok(nothing())
        }
        Talk::AnswerCall { call } => {
            messenger.answer_call(current(messenger, call.as_deref())?).await?;
            Ok(nothing())
        }
        Talk::Transfer { to, call } => {
            let call = current(messenger, call.as_deref())?;
            messenger.transfer(call, TransferTarget::Callee(callee(&to))).await?;
            Ok(nothing())
        }
        Talk::SendFile { to, path } => {
            let id = messenger.send_file(&Address::parse(&to)?, &path).await?;
            Ok(done(json!({ "file": id.to_string() }), vec![format!("file {id}")]))
        }
        Talk::Files {} => {
            let all = messenger.files();
            let values: Vec<Value> = all.iter().map(|it| json::file(it)).collect();
            Ok(listed(json!({ "files": values }), all.iter().map(|it| text::file(it)).collect()))
        }
        Talk::AcceptFile { file, path } => {
            messenger.accept_file(file_named(&file)?, &path).await?;
            Ok(nothing())
        }
        Talk::DeclineFile { file } => {
            messenger.decline_file(file_named(&file)?).await?;
            Ok(nothing())
        }
        Talk::Resolve { who } => {
            let found = messenger.resolve(&query(&who)).await?;
            let name =
                if found.name.is_empty() { String::new() } else { format!(" ({})", text::safe(&found.name)) };
            let line = format!("{}{name}, found in {}", found.address, found.found.name());
            let fields = json!({
                "address": found.address.as_str(), "name": &*found.name, "found": found.found.name(),
            });
            Ok(done(fields, vec![line]))
        }
        Talk::Profile { address } => {
            let profile = messenger.profile(&Address::parse(&address)?).await?;
            Ok(listed(json::profile(&profile), text::profile(&profile)))
        }
    }
}

/// One line of a conversation.
fn described(conversation: &Arc<Conversation>) -> String {
    let people: Vec<&str> = conversation.present().map(Address::as_str).collect();
    let subject = if conversation.subject.is_empty() {
        String::new()
    } else {
        format!(" about {}", text::safe(&conversation.subject))
    };
    let closed = if conversation.is_open() { "" } else { ", closed" };
    format!("{}: with {}{subject}{closed}", conversation.id, people.join(", "))
}

/// Words are a number, unless they are an address.
fn callee(to: &str) -> Callee {
    match Address::parse(to) {
        Ok(address) if to.contains(['@', ':']) => Callee::Address(address),
        _ => Callee::Number(to.into()),
    }
}

/// An address with its scheme, a mail address, or a name.
fn query(who: &str) -> PersonQuery {
    match Address::parse(who) {
        Ok(address) if who.contains(':') => PersonQuery::Address(address),
        _ if who.contains('@') => PersonQuery::Email(who.to_owned()),
        _ => PersonQuery::Name(who.to_owned()),
    }
}

/// A conversation by its number, or an address.
fn target(to: &str) -> Result<Target, Error> {
    match to.parse() {
        Ok(id) => Ok(Target::Conversation(ConversationId(id))),
        Err(_) => Ok(Target::Address(Address::parse(to)?)),
    }
}

/// The call that is named, or the only one in progress.
fn current(messenger: &Messenger, named: Option<&str>) -> Result<CallId, Error> {
    if let Some(named) = named {
        return named.parse().map(CallId).map_err(|_| invalid(format!("`{named}` is no id of a call")));
    }
    let calls = messenger.calls();
    let mut going = calls.iter().filter(|call: &&Arc<Call>| !matches!(call.state, CallState::Ended(_)));
    match (going.next(), going.next()) {
        (Some(only), None) => Ok(only.id),
        (None, _) => Err(Error::new(Code::NotFound, "there is no call")),
        (Some(_), Some(_)) => {
            Err(invalid("there are several calls: name one by its id, as `calls` lists them"))
        }
    }
}

fn conversation_named(id: &str) -> Result<ConversationId, Error> {
    id.parse().map(ConversationId).map_err(|_| invalid(format!("`{id}` is no id of a conversation")))
}

fn file_named(id: &str) -> Result<FileId, Error> {
    id.parse().map(FileId).map_err(|_| invalid(format!("`{id}` is no id of a file")))
}

fn message_named(id: &str) -> Result<MessageId, Error> {
    id.parse().map(MessageId).map_err(|_| invalid(format!("`{id}` is no id of a message")))
}

/// Most lines of before this process that are shown of a conversation.
const EARLIER: u32 = 500;

/// What was said in a conversation before this process began, or before what it still holds: the store has it.
async fn earlier_lines(
    messenger: &Messenger,
    id: ConversationId,
    held: &[TranscriptEntry],
) -> Result<Vec<ArchiveEntry>, Error> {
    let query = ArchiveQuery { conversation: Some(id), limit: EARLIER, ..ArchiveQuery::default() };
    let held: BTreeSet<MessageId> = held
        .iter()
        .filter_map(|entry| match entry {
            TranscriptEntry::Incoming(message) => Some(message.id),
            TranscriptEntry::Outgoing(message) => Some(message.id),
            _ => None,
        })
        .collect();
    let mut lines = messenger.history(query).await?;
    lines.retain(|line| !held.contains(&line.message));
    // The newest come first from the store.
    lines.reverse();
    Ok(lines)
}
