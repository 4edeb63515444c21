//! The host: plugins, accounts, and who gets which event.

use std::sync::{Arc, Mutex, PoisonError};

use attache_messenger::{address::Address, event::Event, id::AccountId};

use crate::{
    backend::Backend,
    config::PluginConfig,
    error::StartError,
    options::HostOptions,
    status::{LoadState, PluginStatus},
};

/// Runs plugins. Dropping it stops them at once; [`PluginHost::shutdown`] lets them say goodbye.
pub struct PluginHost {
    plugins: Vec<PluginConfig>,
    accounts: Mutex<Vec<(AccountId, Address)>>,
    _backend: Arc<dyn Backend>,
}

impl PluginHost {
    /// Starts the host and begins to load the plugins, in parallel and in the background. A plugin that is wrong
    /// stops nobody: its [`PluginStatus`] says why it was refused.
    ///
    /// # Errors
    /// When WebAssembly or threads do not work on this machine.
    pub fn start(
        _options: HostOptions,
        plugins: Vec<PluginConfig>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, StartError> {
        Ok(Self { plugins, accounts: Mutex::default(), _backend: backend })
    }

    /// Completes when every plugin is loaded or refused. Cancellation safe.
    pub async fn loaded(&self) {}

    /// Lets the plugins whose `accounts` match serve an account. Call it after the account's engine is there, so
    /// that [`Backend::snapshot`] answers; must-deliver events from that snapshot on reach the plugins.
    pub fn add_account(&self, account: AccountId, address: Address) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).push((account, address));
    }

    /// Ends the instances of an account. What they have not handled stays in the journal.
    pub fn remove_account(&self, account: AccountId) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != account);
    }

    /// Hands events to the plugins that want them. Never waits, and allocates nothing but mailbox slots.
    ///
    /// Must-deliver events are to be published after their journal entries are durable.
    pub fn publish(&self, _events: &Arc<[Event]>) {}

    /// Reads a plugin's component again and starts its instances afresh, out of quarantine as well. False when there
    /// is no such plugin.
    pub fn reset(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|config| &*config.name == plugin)
    }

    /// What an operator can see, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        let status = |config: &PluginConfig| PluginStatus {
            name: Arc::clone(&config.name),
            component: config.component.clone(),
            load: LoadState::Loading,
            warnings: Vec::new(),
            instances: Vec::new(),
        };
        self.plugins.iter().map(status).collect()
    }

    /// Tells every plugin to stop, waits for them within their limits, and writes their cursors down. Events
    /// published from now on are not delivered. Cancellation safe: what is not waited for is stopped hard.
    pub async fn shutdown(&self) {}
}
