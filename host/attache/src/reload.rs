//! Another configuration, while the host runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use futures_util::future::join_all;

use crate::{Address, Code, Error, Host, HostConfig, common::Common};

/// What a reload has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Reloaded {
    /// Accounts that are new.
    pub added: Vec<Address>,
    /// Accounts that are gone: signed out, and what the store holds of them stays.
    pub removed: Vec<Address>,
    /// Accounts with other settings: signed out, and added again.
    pub changed: Vec<Address>,
    /// Accounts that go on as they were.
    pub unchanged: usize,
    /// Accounts that could not be added, and why.
    pub failed: Vec<(Address, Error)>,
    /// Keys of the file whose change takes effect when the host is started again, such as `plugin`.
    pub needs_restart: Vec<&'static str>,
}

impl Host {
    /// Takes another configuration over: adds, removes and changes accounts by what differs from the configuration before.
    /// Certificates and roots, those that all accounts share and those of single accounts, are read again in any case, for
    /// they may have been renewed at their place: what connects from then on goes by them, and connections that are open go on.
    /// Accounts that are as they were notice nothing, and those that the application added by itself with
    /// [`add_account`](Self::add_account) stay. Whether an account signs in by itself counts for those that are added or
    /// changed.
    ///
    /// Dropped in the middle, it leaves some accounts as the one configuration says and some as the other; the next reload
    /// sets that right.
    ///
    /// # Errors
    /// When TLS settings of the new configuration cannot be used: then nothing has changed. An account that cannot be added does
    /// not keep others from it: see [`Reloaded::failed`].
    pub async fn reload(&self, config: HostConfig) -> Result<Reloaded, Error> {
        let _one = self.inner.reloading.lock().await;
        let same_common = self.common().suits(&config);
        let common = if same_common { None } else { Some(Arc::new(Common::new(&config)?)) };
        let common = common.as_ref();
        let mut seen = BTreeSet::new();
        for account in &config.accounts {
            common.unwrap_or(&self.common()).secure(account)?;
            if !seen.insert(account.address.account_id()) {
                let message = format!("{} is twice in the configuration", account.address);
                return Err(Error::new(Code::InvalidArgument, message));
            }
        }
        if same_common {
            self.common().renew()?;
        }
        if let Some(common) = common {
            *self.inner.common.lock().unwrap_or_else(PoisonError::into_inner) = common.clone();
        }
        let mut report = Reloaded { needs_restart: self.fixed_changes(&config), ..Reloaded::default() };
        let before = self.configured().clone();
        let after: BTreeMap<_, _> =
            config.accounts.into_iter().map(|account| (account.address.account_id(), account)).collect();
        let mut leaving = Vec::new();
        let mut coming = Vec::new();
        for (id, old) in &before {
            match after.get(id) {
                None => {
                    report.removed.push(old.address.clone());
                    leaving.push(old.address.clone());
                }
                Some(new) => {
                    let mut same = old.clone();
                    same.sign_in = new.sign_in;
                    if same == *new && same_common {
                        report.unchanged += 1;
                        self.renew_tls(new);
                        self.configured().insert(*id, new.clone());
                    } else {
                        report.changed.push(old.address.clone());
                        leaving.push(old.address.clone());
                        coming.push(new.clone());
                    }
                }
            }
        }
        for (id, new) in after {
            if !before.contains_key(&id) {
                report.added.push(new.address.clone());
                coming.push(new);
            }
        }
        // An account that was removed meanwhile is gone all the same.
        join_all(leaving.iter().map(|address| self.remove_account(address))).await;
        let added = join_all(coming.into_iter().map(|account| async move {
            let address = account.address.clone();
            self.add_configured(account).await.map_err(|error| (address, error))
        }))
        .await;
        report.failed = added.into_iter().filter_map(Result::err).collect();
        report.added.retain(|address| report.failed.iter().all(|(failed, _)| failed != address));
        report.changed.retain(|address| report.failed.iter().all(|(failed, _)| failed != address));
        Ok(report)
    }

    fn fixed_changes(&self, config: &HostConfig) -> Vec<&'static str> {
        let fixed = &self.inner.fixed;
        let mut changes = Vec::new();
        if fixed.data_dir != config.data_dir {
            changes.push("host.data-dir");
        }
        if fixed.plugins != config.plugins {
            changes.push("plugin");
        }
        changes
    }
}
