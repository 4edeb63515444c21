//! `watchers` and `watcher-editor`: who watches the account, and who may.

use attache_messenger::{
    command::Command,
    error::Error,
    privacy::{Decision, Rule, Watcher, WatcherState, Who},
};

use super::{address, answer, invalid, wit};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

impl wit::watcher_types::Host for GuestState {}

impl wit::watchers::Host for GuestState {
    fn rules(&mut self, account: u64) -> Answer<Vec<wit::watchers::Rule>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("watchers.rules", Grant::WatchersRead)?;
            Ok(state.snapshot(account)?.rules.iter().map(wit_rule).collect())
        }))
    }

    fn list_watchers(&mut self, account: u64) -> Answer<Vec<wit::watcher_types::Watcher>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("watchers.list-watchers", Grant::WatchersRead)?;
            Ok(state.snapshot(account)?.watchers.values().map(|watcher| wit_watcher(watcher)).collect())
        }))
    }
}

impl wit::watcher_editor::Host for GuestState {
    async fn set_rule(
        &mut self,
        account: u64,
        who: String,
        wanted: Option<wit::watcher_types::Decision>,
    ) -> Answer<u64> {
        self.spend_call()?;
        let checked = self
            .granted("watcher-editor.set-rule", Grant::WatchersWrite)
            .and_then(|()| Ok(Command::SetRule { who: whom(&who)?, decision: wanted.map(decision) }));
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }

    async fn answer(
        &mut self,
        account: u64,
        text: String,
        wanted: wit::watcher_types::Decision,
    ) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted("watcher-editor.answer", Grant::WatchersWrite).and_then(|()| {
            Ok(Command::AnswerWatcher { address: address(&text)?, decision: decision(wanted) })
        });
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }
}

fn decision(decision: wit::watcher_types::Decision) -> Decision {
    match decision {
        wit::watcher_types::Decision::Block => Decision::Block,
        wit::watcher_types::Decision::Confirm => Decision::Confirm,
        wit::watcher_types::Decision::PoliteBlock => Decision::PoliteBlock,
        wit::watcher_types::Decision::Allow => Decision::Allow,
    }
}

/// An address, `@DOMAIN` or `*`.
fn whom(text: &str) -> Result<Who, Error> {
    Ok(match text.strip_prefix('@') {
        Some(domain) if !domain.is_empty() && domain.len() <= 253 => {
            Who::Domain(domain.to_lowercase().into())
        }
        Some(_) => return Err(invalid("a rule for a domain is written @DOMAIN")),
        None if text == "*" => Who::Everyone,
        None => Who::Address(address(text)?),
    })
}

fn wit_rule(rule: &Rule) -> wit::watchers::Rule {
    wit::watchers::Rule {
        who: rule.who.to_string(),
        decision: match rule.decision {
            Decision::Block => wit::watcher_types::Decision::Block,
            Decision::Confirm => wit::watcher_types::Decision::Confirm,
            Decision::PoliteBlock => wit::watcher_types::Decision::PoliteBlock,
            Decision::Allow => wit::watcher_types::Decision::Allow,
        },
        pending: rule.pending,
    }
}

fn wit_watcher(watcher: &Watcher) -> wit::watcher_types::Watcher {
    wit::watcher_types::Watcher {
        address: watcher.address.to_string(),
        name: watcher.name.to_string(),
        state: match watcher.state {
            WatcherState::Pending => wit::watcher_types::WatcherState::Pending,
            WatcherState::Waiting => wit::watcher_types::WatcherState::Waiting,
            WatcherState::Active => wit::watcher_types::WatcherState::Active,
        },
        since: watcher.since.as_millis(),
    }
}
