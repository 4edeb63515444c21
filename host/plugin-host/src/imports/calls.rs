//! `calls` and `call-control`: calls between phones.

use std::{sync::Arc, time::Instant};

use attache_messenger::{
    call::{Call, CallState, Callee, Media, PhoneKind},
    code::Code,
    command::{Command, TransferTarget},
    error::Error,
    id::{CallId, ContactId},
    snapshot::Snapshot,
    time::Timestamp,
};

use super::{address, answer, invalid, wit, wit_error};
use crate::{grant::Grant, quota, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

/// Longest number that is read, in bytes.
const NUMBER: usize = 128;

impl wit::calls::Host for GuestState {
    fn list_calls(&mut self, account: u64) -> Answer<Vec<wit::types::Call>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("calls.list-calls", Grant::CallsRead)?;
            Ok(state.snapshot(account)?.calls.values().map(|call| wit_call(call)).collect())
        }))
    }

    fn get_call(&mut self, account: u64, id: u64) -> Answer<wit::types::Call> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("calls.get-call", Grant::CallsRead)?;
            let snapshot = self.snapshot(account)?;
            let none = || Error::new(Code::NotFound, format!("there is no call {id}"));
            Ok(wit_call(snapshot.calls.get(&CallId(id)).ok_or_else(none)?))
        };
        answer(get())
    }
}

impl wit::call_control::Host for GuestState {
    async fn call(&mut self, account: u64, to: wit::call_control::Callee) -> Answer<u64> {
        self.spend_call()?;
        answer(self.call_checked(account, to).await)
    }

    async fn hang_up(&mut self, account: u64, id: u64) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted("call-control.hang-up", Grant::CallsControl);
        answer(match checked {
            Ok(()) => self.request(account, Command::HangUp(CallId(id))).await,
            Err(error) => Err(error),
        })
    }

    async fn transfer(&mut self, account: u64, id: u64, to: wit::call_control::Callee) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted("call-control.transfer", Grant::CallsControl).and_then(|()| {
            let snapshot = self.snapshot(account)?;
            let (callee, person) = callee(&snapshot, to)?;
            self.instance.quota().take(&person, false, Instant::now())?;
            Ok(Command::Transfer { call: CallId(id), to: TransferTarget::Callee(callee) })
        });
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }
}

impl GuestState {
    async fn call_checked(&mut self, account: u64, to: wit::call_control::Callee) -> Result<u64, Error> {
        self.granted("call-control.call", Grant::CallsControl)?;
        let snapshot = self.snapshot(account)?;
        let (to, person) = callee(&snapshot, to)?;
        self.instance.quota().take(&person, false, Instant::now())?;
        let backend = Arc::clone(&self.plugin().backend);
        let command = Command::Call { to, own: None, method: None };
        let accepted = self.wait(backend.command(snapshot.account, command)).await?;
        self.remember(accepted.request);
        let none = || Error::new(Code::Internal, "the messenger took a call on without naming it");
        accepted.call.map(|id| id.0).ok_or_else(none)
    }
}

/// Whom to call, and whom that counts for.
fn callee(snapshot: &Snapshot, to: wit::call_control::Callee) -> Result<(Callee, String), Error> {
    Ok(match to {
        wit::call_control::Callee::Address(text) => {
            let address = address(&text)?;
            let person = quota::person(&address).to_owned();
            (Callee::Address(address), person)
        }
        wit::call_control::Callee::Contact((id, kind)) => {
            let none = || Error::new(Code::ContactNotFound, format!("there is no contact {id}"));
            let entry = snapshot.contacts.get(&ContactId(id)).ok_or_else(none)?;
            let kind = match kind {
                wit::types::PhoneKind::Home => PhoneKind::Home,
                wit::types::PhoneKind::Work => PhoneKind::Work,
                wit::types::PhoneKind::Mobile => PhoneKind::Mobile,
            };
            let person = quota::person(&entry.contact.address).to_owned();
            (Callee::Contact(ContactId(id), kind), person)
        }
        wit::call_control::Callee::Number(number) => {
            if number.len() > NUMBER {
                return Err(invalid(format!("a number has at most {NUMBER} bytes")));
            }
            // One number has one spelling here, so that none is called more often for being written otherwise.
            let person = number.chars().filter(char::is_ascii_digit).collect();
            (Callee::Number(number.into()), person)
        }
    })
}

fn wit_call(call: &Call) -> wit::types::Call {
    wit::types::Call {
        id: call.id.0,
        peer: call.peer.to_string(),
        contact: call.contact.map(|contact| contact.0),
        conversation: call.conversation.0,
        incoming: call.incoming,
        video: call.media == Media::Video,
        state: match &call.state {
            CallState::Starting => wit::types::CallState::Starting,
            CallState::OwnRinging => wit::types::CallState::OwnRinging,
            CallState::OwnAnswered => wit::types::CallState::OwnAnswered,
            CallState::PeerRinging => wit::types::CallState::PeerRinging,
            CallState::Ringing => wit::types::CallState::Ringing,
            CallState::Connected => wit::types::CallState::Connected,
            CallState::Transferring => wit::types::CallState::Transferring,
            CallState::Ended(_) => wit::types::CallState::Ended,
            other => wit::types::CallState::Other(Some(other.name().to_owned())),
        },
        failure: match &call.state {
            CallState::Ended(failure) => failure.as_ref().map(wit_error),
            _ => None,
        },
        started_at: call.started_at.as_millis(),
        connected_at: call.connected_at.map(Timestamp::as_millis),
        ended_at: call.ended_at.map(Timestamp::as_millis),
    }
}
