//! Presence of somebody who need not be a contact, for as long as somebody looks.

use std::sync::Arc;

use attache_messenger::{id::LeaseId, presence::Presence};
use tokio::sync::watch;

use crate::{
    Address,
    account::{Leased, Shared},
};

/// A lease on one person's presence. As long as it is held, the person is watched; dropping it ends that, and never waits.
///
/// Everybody who watches an address (other leases, plugins, and the contact list) shares one subscription. After the
/// last lease it lingers for half a minute, so that a page that is turned to and fro costs nothing. The lease is kept
/// over outages and sign-outs, for as long as the account is there.
#[must_use = "dropping it ends the lease"]
pub struct Watching {
    shared: Arc<Shared>,
    address: Address,
    lease: LeaseId,
    presence: watch::Receiver<Arc<Presence>>,
}

impl Watching {
    pub(crate) fn new(shared: Arc<Shared>, address: Address, (lease, presence): Leased) -> Self {
        Self { shared, address, lease, presence }
    }

    /// Who is watched.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What is known now. Never waits; right after the beginning it is [`Pending`](crate::UnknownReason::Pending) unless
    /// somebody else watches already.
    #[must_use]
    pub fn presence(&self) -> Arc<Presence> {
        self.presence.borrow().clone()
    }

    /// Waits for a change, and gives what holds then: a reader that is slow sees the latest value, not every value. `None` when
    /// there will be no more, because the account was removed or the host has shut down.
    ///
    /// What was there when the lease began is no change: see [`presence`](Self::presence). Cancellation safe.
    pub async fn changed(&mut self) -> Option<Arc<Presence>> {
        self.presence.changed().await.ok()?;
        Some(self.presence.borrow_and_update().clone())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.release(self.lease);
    }
}

impl core::fmt::Debug for Watching {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Watching").field("address", &self.address).finish_non_exhaustive()
    }
}
