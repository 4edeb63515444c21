//! Whom an instance watches off the contact list. What is held ends with the guest, however that ends.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    error::{Error, Retry},
    id::{AccountId, LeaseId},
};

use crate::instance::Instance;

/// The leases of one live guest.
pub(crate) struct Leases {
    instance: Arc<Instance>,
    held: BTreeMap<(AccountId, LeaseId), Held>,
}

struct Held {
    address: Address,
    until: Instant,
}

impl Leases {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        Self { instance, held: BTreeMap::new() }
    }

    /// Makes room for one more, and has the mailbox take what is told of the address. Before the command, because
    /// the first change may come before its answer.
    pub(crate) fn begin(&mut self, account: AccountId, address: &Address, now: Instant) -> Result<(), Error> {
        self.expire(now);
        let most = self.instance.plugin.limits.watches;
        if self.held.len() >= most as usize {
            let text = format!("the plugin watches {most} people already, which is its limit `watches`");
            return Err(Error::new(Code::QuotaExceeded, text).retry(Retry::AfterChange));
        }
        self.instance.mailbox.watch(account, address);
        Ok(())
    }

    /// The command of [`begin`](Self::begin) was refused.
    pub(crate) fn give_up(&mut self, account: AccountId, address: &Address) {
        self.instance.mailbox.unwatch(account, address);
    }

    pub(crate) fn hold(&mut self, account: AccountId, lease: LeaseId, address: Address, until: Instant) {
        self.held.insert((account, lease), Held { address, until });
    }

    /// Whether it is this plugin's; it ends at another time from now on.
    pub(crate) fn extend(&mut self, account: AccountId, lease: LeaseId, until: Instant) -> bool {
        let held = self.held.get_mut(&(account, lease));
        held.map(|held| held.until = until).is_some()
    }

    /// Whether it is this plugin's.
    pub(crate) fn has(&self, account: AccountId, lease: LeaseId) -> bool {
        self.held.contains_key(&(account, lease))
    }

    /// Whether the address is under a lease of this plugin.
    pub(crate) fn watches(&self, account: AccountId, address: &Address) -> bool {
        let now = Instant::now();
        self.held.iter().any(|((of, _), held)| *of == account && held.until > now && held.address == *address)
    }

    pub(crate) fn end(&mut self, account: AccountId, lease: LeaseId) {
        if let Some(held) = self.held.remove(&(account, lease)) {
            self.instance.mailbox.unwatch(account, &held.address);
        }
    }

    /// Forgets what has run out by itself.
    fn expire(&mut self, now: Instant) {
        let mailbox = &self.instance.mailbox;
        self.held.retain(|(account, _), held| {
            let holds = held.until > now;
            if !holds {
                mailbox.unwatch(*account, &held.address);
            }
            holds
        });
    }
}

/// Longest time that a lease can be taken for.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Drop for Leases {
    fn drop(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let backend = Arc::clone(&self.instance.plugin.backend);
        let held = core::mem::take(&mut self.held);
        for ((account, _), held) in &held {
            self.instance.mailbox.unwatch(*account, &held.address);
        }
        let leases: Vec<_> = held.into_keys().collect();
        // Without a runtime the host is shutting down, and leases run out by themselves.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for (account, lease) in leases {
                    let _ = backend.command(account, Command::Unwatch(lease)).await;
                }
            });
        }
    }
}
