//! `watchers` and `watcher-editor`: who watches the account, and who may.

use attache_messenger::{
    command::Command,
    privacy::{Decision, Watcher, WatcherState},
};

use super::{address, answer, wit};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

impl wit::watcher_types::Host for GuestState {}

impl wit::watchers::Host for GuestState {
    fn list_watchers(&mut self, account: u64) -> Answer<Vec<wit::watcher_types::Watcher>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("watchers.list-watchers", Grant::WatchersRead)?;
            Ok(state.snapshot(account)?.watchers.values().map(|watcher| wit_watcher(watcher)).collect())
        }))
    }
}

impl wit::watcher_editor::Host for GuestState {
    async fn answer(
        &mut self,
        account: u64,
        text: String,
        decision: wit::watcher_types::Decision,
    ) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted("watcher-editor.answer", Grant::WatchersWrite).and_then(|()| {
            let decision = match decision {
                wit::watcher_types::Decision::Block => Decision::Block,
                wit::watcher_types::Decision::Confirm => Decision::Confirm,
                wit::watcher_types::Decision::PoliteBlock => Decision::PoliteBlock,
                wit::watcher_types::Decision::Allow => Decision::Allow,
            };
            Ok(Command::AnswerWatcher { address: address(&text)?, decision })
        });
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
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
