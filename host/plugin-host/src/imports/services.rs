//! `services`, `session-control` and `mailbox`: what lies behind the accounts.

use attache_messenger::{command::Command, error::Error};

use super::{answer, wit, wit_session};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

impl wit::services::Host for GuestState {
    fn services(&mut self) -> Answer<Vec<wit::services::Service>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("services.services", Grant::SessionRead)?;
            let backend = &state.plugin().backend;
            let facts = backend.services().into_iter().filter(|it| state.account(it.account.0).is_ok());
            let service = |it: crate::backend::ServiceFacts| {
                let snapshot = backend.snapshot(it.account)?;
                Some(wit::services::Service {
                    id: it.id.to_string(),
                    name: it.name.to_string(),
                    account: it.account.0,
                    primary: it.primary,
                    state: wit_session(snapshot.session),
                    messages: it.messages,
                    presence: it.presence,
                    calls: it.calls,
                    conferences: it.conferences,
                    contacts: it.contacts,
                })
            };
            Ok(facts.filter_map(service).collect())
        }))
    }

    fn host(&mut self) -> Answer<wit::services::HostInfo> {
        self.spend_call()?;
        answer(self.granted("services.host", Grant::SessionRead).map(|()| {
            let (version, locale) = self.plugin().backend.host();
            wit::services::HostInfo { version, locale }
        }))
    }
}

impl wit::session_control::Host for GuestState {
    async fn sign_in(&mut self, account: u64) -> Answer<u64> {
        self.session("session-control.sign-in", account, Command::SignIn).await
    }

    async fn sign_out(&mut self, account: u64) -> Answer<u64> {
        self.session("session-control.sign-out", account, Command::SignOut).await
    }
}

impl GuestState {
    async fn session(&mut self, function: &'static str, account: u64, command: Command) -> Answer<u64> {
        self.spend_call()?;
        answer(match self.granted(function, Grant::SessionControl) {
            Ok(()) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }
}

impl wit::mailbox::Host for GuestState {
    fn messages_waiting(&mut self, account: u64) -> Answer<Option<Vec<wit::mailbox::WaitingClass>>> {
        self.spend_call()?;
        let waiting = || -> Result<_, Error> {
            self.granted("mailbox.messages-waiting", Grant::SessionRead)?;
            let snapshot = self.snapshot(account)?;
            let classes = snapshot.messages_waiting.as_ref().map(|waiting| {
                let class = |it: &attache_messenger::mailbox::WaitingClass| wit::mailbox::WaitingClass {
                    class: it.class.to_string(),
                    unheard: it.new,
                    heard: it.old,
                };
                waiting.classes.iter().map(class).collect()
            });
            Ok(classes)
        };
        answer(waiting())
    }
}
