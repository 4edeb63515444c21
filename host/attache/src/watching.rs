//! Presence of somebody who need not be a contact, for as long as somebody looks.

use std::sync::Arc;

use attache_messenger::presence::Presence;

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
    address: Address,
    leased: Leased,
    /// The account goes on as long as somebody watches by it.
    _shared: Arc<Shared>,
}

impl Watching {
    pub(crate) fn new(shared: Arc<Shared>, address: Address, leased: Leased) -> Self {
        Self { address, leased, _shared: shared }
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
        self.leased.presence.borrow().clone()
    }

    /// Waits for a change, and gives what holds then: a reader that is slow sees the latest value, not every value. `None` when
    /// there will be no more, because the account was removed or the host has shut down.
    ///
    /// What was there when the lease began is no change: see [`presence`](Self::presence). Cancellation safe.
    pub async fn changed(&mut self) -> Option<Arc<Presence>> {
        self.leased.presence.changed().await.ok()?;
        Some(self.leased.presence.borrow_and_update().clone())
    }
}

impl core::fmt::Debug for Watching {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Watching").field("address", &self.address).finish_non_exhaustive()
    }
}
