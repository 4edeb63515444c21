//! `messages`: sending, with its quotas and loop guards.

use std::{sync::Arc, time::Instant};

use attache_messenger::{
    code::Code,
    command::Command,
    error::Error,
    message::{Author, Draft, Origin, Text},
};

use super::{address, answer, invalid, wit};
use crate::{grant::Grant, quota, state::GuestState};

impl wit::messages::Host for GuestState {
    async fn send(
        &mut self,
        account: u64,
        to: String,
        text: String,
        purpose: wit::messages::Purpose,
    ) -> wasmtime::Result<Result<u64, wit::types::Error>> {
        self.spend_call()?;
        let outcome = self.send_checked(account, &to, text, purpose).await;
        if let Err(error) = &outcome
            && matches!(error.code(), Code::QuotaExceeded | Code::LoopGuard)
        {
            self.instance.meters.messages_refused.add(1);
        }
        answer(outcome)
    }
}

impl GuestState {
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
        if text.is_empty() {
            return Err(invalid("a message needs a text"));
        }
        if text.len() > Text::MAX {
            let sentence = format!("a message has at most {} bytes of text", Text::MAX);
            return Err(Error::new(Code::MessageTooLong, sentence));
        }
        let automatic = matches!(purpose, wit::messages::Purpose::AutomaticReply);
        let person = quota::person(&to);
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
        quota().take(person, automatic, Instant::now())?;
        let draft = Draft::new(&to, Text::new(text))
            .author(Author::Plugin(Arc::clone(&self.plugin().name)))
            .origin(if automatic { Origin::Automatic } else { Origin::Person });
        let command = Command::Send(draft);
        let backend = Arc::clone(&self.plugin().backend);
        let accepted = self.wait(backend.command(snapshot.account, command)).await?;
        if automatic {
            quota().replied(person, Instant::now());
        }
        self.instance.meters.messages_sent.add(1);
        accepted
            .message
            .map(|id| id.0)
            .ok_or_else(|| Error::new(Code::Internal, "the messenger accepted a message without naming it"))
    }
}
