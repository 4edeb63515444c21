//! `session`: who the accounts are.

use attache_messenger::{error::Error, snapshot::Snapshot};

use super::{answer, wit, wit_session};
use crate::{grant::Grant, state::GuestState};

impl wit::session::Host for GuestState {
    fn accounts(&mut self) -> wasmtime::Result<Result<Vec<wit::session::AccountInfo>, wit::types::Error>> {
        self.spend_call()?;
        answer(self.granted("session.accounts", Grant::SessionRead).map(|()| {
            let accounts: Vec<_> = {
                let accounts = self.instance.accounts();
                accounts.iter().map(|served| served.account).collect()
            };
            accounts
                .into_iter()
                .filter_map(|id| self.plugin().backend.snapshot(id))
                .map(|it| info(&it))
                .collect()
        }))
    }

    fn account(&mut self, id: u64) -> wasmtime::Result<Result<wit::session::AccountInfo, wit::types::Error>> {
        self.spend_call()?;
        let account = || -> Result<_, Error> {
            self.granted("session.account", Grant::SessionRead)?;
            Ok(info(&*self.snapshot(id)?))
        };
        answer(account())
    }
}

fn info(snapshot: &Snapshot) -> wit::session::AccountInfo {
    wit::session::AccountInfo {
        id: snapshot.account.0,
        address: snapshot.address.to_string(),
        display_name: snapshot.display_name.to_string(),
        state: wit_session(snapshot.session),
        since: snapshot.session_since.as_millis(),
    }
}
