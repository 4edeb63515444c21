//! `messages`: sending, with its quotas and loop guards.

use std::{sync::Arc, time::Instant};

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    error::Error,
    id::{ConversationId, MessageId},
    message::{Author, Draft, Origin, OutboxItem, Target, Text},
    snapshot::Snapshot,
};

use super::{address, answer, invalid, wit};
use crate::{grant::Grant, quota, state::GuestState};

impl wit::messages::Host for GuestState {
    async fn send_to_conversation(
        &mut self,
        account: u64,
        conversation: u64,
        text: String,
        purpose: wit::messages::Purpose,
    ) -> wasmtime::Result<Result<u64, wit::types::Error>> {
        self.spend_call()?;
        let outcome = self.say_checked(account, conversation, text, purpose).await;
        self.count_refusal(&outcome);
        answer(outcome)
    }

    async fn cancel(
        &mut self,
        account: u64,
        message: u64,
    ) -> wasmtime::Result<Result<u64, wit::types::Error>> {
        self.spend_call()?;
        let message = MessageId(message);
        let checked = self.granted("messages.cancel", Grant::MessagesSend).and_then(|()| {
            let snapshot = self.snapshot(account)?;
            let name = &self.plugin().name;
            let own = |it: &OutboxItem| it.message.author == Author::Plugin(Arc::clone(name));
            match snapshot.outbox.get(&message) {
                Some(item) if own(item) => Ok(()),
                Some(_) => Err(Error::new(Code::Denied, "only a message of this plugin can be taken back")),
                None => Err(Error::new(Code::TooLate, "the message has left, or was never there")),
            }
        });
        answer(match checked {
            Ok(()) => self.request(account, Command::CancelMessage(message)).await,
            Err(error) => Err(error),
        })
    }

    async fn set_composing(
        &mut self,
        account: u64,
        conversation: u64,
        active: bool,
    ) -> wasmtime::Result<Result<u64, wit::types::Error>> {
        self.spend_call()?;
        let to = Target::Conversation(ConversationId(conversation));
        answer(match self.granted("messages.set-composing", Grant::MessagesSend) {
            Ok(()) => self.request(account, Command::SetComposing { to, active }).await,
            Err(error) => Err(error),
        })
    }
    async fn send(
        &mut self,
        account: u64,
        to: String,
        text: String,
        purpose: wit::messages::Purpose,
    ) -> wasmtime::Result<Result<u64, wit::types::Error>> {
        self.spend_call()?;
        let outcome = self.send_checked(account, &to, text, purpose).await;
        self.count_refusal(&outcome);
        answer(outcome)
    }
}

impl GuestState {
    fn count_refusal(&self, outcome: &Result<u64, Error>) {
        if let Err(error) = outcome
            && matches!(error.code(), Code::QuotaExceeded | Code::LoopGuard)
        {
            self.instance.meters.messages_refused.add(1);
        }
    }

    /// To everybody who takes part, each of whom counts.
    async fn say_checked(
        &mut self,
        account: u64,
        conversation: u64,
        text: String,
        purpose: wit::messages::Purpose,
    ) -> Result<u64, Error> {
        self.granted("messages.send-to-conversation", Grant::MessagesSend)?;
        let snapshot = self.snapshot(account)?;
        let id = ConversationId(conversation);
        let entry = snapshot.conversations.get(&id);
        let none =
            || Error::new(Code::ConversationNotFound, format!("there is no conversation {conversation}"));
        let recipients: Vec<Address> = entry.ok_or_else(none)?.conversation.present().cloned().collect();
        let automatic = matches!(purpose, wit::messages::Purpose::AutomaticReply);
        for address in &recipients {
            self.may_send(&snapshot, address, &text, automatic)?;
        }
        self.accept(&snapshot, id.into(), &recipients, text, automatic).await
    }

    async fn send_checked(
        &mut self,
        account: u64,
        to: &str,
        text: String,
        purpose: wit::messages::Purpose,
    ) -> Result<u64, Error> {
        self.granted("messages.send", Grant::MessagesSend)?;
        let snapshot = self.snapshot(account)?;
        let to = address(to)?;
        let automatic = matches!(purpose, wit::messages::Purpose::AutomaticReply);
        self.may_send(&snapshot, &to, &text, automatic)?;
        self.accept(&snapshot, (&to).into(), core::slice::from_ref(&to), text, automatic).await
    }

    /// Whether a text may go to somebody; if so, it is counted.
    fn may_send(&self, snapshot: &Snapshot, to: &Address, text: &str, automatic: bool) -> Result<(), Error> {
        if text.is_empty() {
            return Err(invalid("a message needs a text"));
        }
        if text.len() > Text::MAX {
            let sentence = format!("a message has at most {} bytes of text", Text::MAX);
            return Err(Error::new(Code::MessageTooLong, sentence));
        }
        let person = quota::person(to);
        if automatic && person == quota::person(&snapshot.address) {
            return Err(Error::new(Code::LoopGuard, "no automatic reply to oneself"));
        }
        let instance = Arc::clone(&self.instance);
        let quota = || instance.quota();
        // While the message of a program is in hand, what goes back to it is an answer, whatever the plugin calls it.
        if self.automatic_sender.as_deref() == Some(person)
            || (automatic && quota().is_program(snapshot.account, person))
        {
            return Err(Error::new(Code::LoopGuard, "no reply to a message that no person wrote"));
        }
        quota().take(person, automatic, Instant::now())
    }

    async fn accept(
        &mut self,
        snapshot: &Snapshot,
        to: Target,
        recipients: &[Address],
        text: String,
        automatic: bool,
    ) -> Result<u64, Error> {
        let draft = Draft::new(to, Text::new(text))
            .author(Author::Plugin(Arc::clone(&self.plugin().name)))
            .origin(if automatic { Origin::Automatic } else { Origin::Person });
        let command = Command::Send(draft);
        let backend = Arc::clone(&self.plugin().backend);
        let accepted = self.wait(backend.command(snapshot.account, command)).await?;
        if automatic {
            for address in recipients {
                self.instance.quota().replied(quota::person(address), Instant::now());
            }
        }
        self.instance.meters.messages_sent.add(1);
        accepted
            .message
            .map(|id| id.0)
            .ok_or_else(|| Error::new(Code::Internal, "the messenger accepted a message without naming it"))
    }
}
