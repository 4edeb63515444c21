//! `presence-watcher`: people off the contact list.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    error::Error,
    id::{AccountId, LeaseId},
};

use super::{address, answer, invalid, wit, wit_availability, wit_freshness};
use crate::{grant::Grant, leases::LONGEST, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

impl wit::presence_watcher::Host for GuestState {
    async fn watch(&mut self, account: u64, text: String, time: u64) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted("presence-watcher.watch", Grant::PresenceWatch).and_then(|()| {
            let (account, address, ttl) = (self.account(account)?, address(&text)?, length(time)?);
            self.leases.begin(account, &address, Instant::now())?;
            Ok((account, address, ttl))
        });
        answer(match checked {
            Ok((account, address, ttl)) => self.take_lease(account, address, ttl).await,
            Err(error) => Err(error),
        })
    }

    async fn extend(&mut self, account: u64, lease: u64, time: u64) -> Answer<()> {
        self.spend_call()?;
        let checked = self.granted("presence-watcher.extend", Grant::PresenceWatch).and_then(|()| {
            let (account, lease, ttl) = (self.account(account)?, LeaseId(lease), length(time)?);
            if !self.leases.has(account, lease) {
                return Err(no_lease(lease));
            }
            Ok((account, lease, ttl))
        });
        answer(match checked {
            Ok((account, lease, ttl)) => {
                let command = Command::ExtendLease { lease, ttl };
                let outcome = self.tell(account, command).await;
                match &outcome {
                    Ok(()) => drop(self.leases.extend(account, lease, Instant::now() + ttl)),
                    // It has run out meanwhile.
                    Err(_) => self.leases.end(account, lease),
                }
                outcome
            }
            Err(error) => Err(error),
        })
    }

    async fn unwatch(&mut self, account: u64, lease: u64) -> Answer<()> {
        self.spend_call()?;
        let checked = self.granted("presence-watcher.unwatch", Grant::PresenceWatch).and_then(|()| {
            let (account, lease) = (self.account(account)?, LeaseId(lease));
            if self.leases.has(account, lease) { Ok((account, lease)) } else { Err(no_lease(lease)) }
        });
        answer(match checked {
            Ok((account, lease)) => {
                self.leases.end(account, lease);
                self.tell(account, Command::Unwatch(lease)).await
            }
            Err(error) => Err(error),
        })
    }

    async fn get_watched(
        &mut self,
        account: u64,
        text: String,
    ) -> Answer<wit::presence_watcher::WatchedPresence> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("presence-watcher.get-watched", Grant::PresenceWatch)?;
            let snapshot = self.snapshot(account)?;
            let address = address(&text)?;
            // What another one watches is not this plugin's to see.
            let entry = snapshot
                .watched
                .get(&address)
                .filter(|_| self.leases.watches(AccountId(account), &address))
                .ok_or_else(|| Error::new(Code::NotFound, "this plugin does not watch that address"))?;
            let presence = &entry.presence;
            Ok(wit::presence_watcher::WatchedPresence {
                availability: presence.availability.map(wit_availability),
                freshness: wit_freshness(&presence.freshness),
                note: presence.note.to_string(),
                activities: presence.activities.iter().map(ToString::to_string).collect(),
            })
        };
        answer(get())
    }
}

impl GuestState {
    /// With room made by [`begin`](crate::leases::Leases::begin).
    async fn take_lease(
        &mut self,
        account: AccountId,
        address: Address,
        ttl: Duration,
    ) -> Result<u64, Error> {
        let backend = Arc::clone(&self.plugin().backend);
        let command = Command::Watch { address: address.clone(), ttl };
        let accepted = self.wait(backend.command(account, command)).await;
        let lease = accepted.and_then(|accepted| {
            accepted.lease.ok_or_else(|| Error::new(Code::Internal, "a watched person has no lease"))
        });
        match lease {
            Ok(lease) => {
                self.leases.hold(account, lease, address, Instant::now() + ttl);
                Ok(lease.0)
            }
            Err(error) => {
                self.leases.give_up(account, &address);
                Err(error)
            }
        }
    }

    /// Carries out a command whose completion is of no interest.
    async fn tell(&mut self, account: AccountId, command: Command) -> Result<(), Error> {
        let backend = Arc::clone(&self.plugin().backend);
        self.wait(backend.command(account, command)).await.map(drop)
    }
}

fn length(millis: u64) -> Result<Duration, Error> {
    let time = Duration::from_millis(millis);
    if time.is_zero() || time > LONGEST {
        return Err(invalid("a lease is for 1 ms to one day"));
    }
    Ok(time)
}

fn no_lease(lease: LeaseId) -> Error {
    Error::new(Code::NotFound, format!("this plugin has no lease {lease}"))
}
