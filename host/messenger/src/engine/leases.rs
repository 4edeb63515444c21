//! Looking at people for a while: leases, alerts, and asking again.
//!
//! An application shows a name on a page, and pays for live presence only as long as it looks. Whoever looks at the same
//! address shares one subscription, contacts included. When the last looks away the subscription lingers, because
//! people turn pages back and forth.

use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use rpds::HashTrieSetSync;

use crate::{
    address::Address,
    code::Code,
    command::Accepted,
    engine::{
        Engine,
        ledger::{Effect, Sealed, Ticket},
    },
    error::{Error, Retry},
    event::EventKind,
    id::{ContactId, LeaseId},
};

/// So long does a subscription outlive its last lease.
const LINGER: Duration = Duration::from_secs(30);
/// Longest lease.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Every lease.
#[derive(Debug, Default)]
pub(super) struct Leases {
    all: HashMap<LeaseId, (Address, Instant)>,
    ends: BTreeSet<(Instant, LeaseId)>,
    lingering: BTreeSet<(Instant, Address)>,
    /// The same, by address: whoever was looked at again and left alone again lingers from then.
    until: HashMap<Address, Instant>,
}

impl Leases {
    fn end(&mut self, lease: LeaseId) -> Option<Address> {
        let (address, at) = self.all.remove(&lease)?;
        self.ends.remove(&(at, lease));
        Some(address)
    }
}

impl Engine {
    pub(super) fn watch_command(&mut self, ticket: Ticket, address: &Address, ttl: Duration) {
        let limit = self.config.limits.leases;
        let refused = if let Err(error) = address.to_uri() {
            Some(error)
        } else if self.leases.all.len() >= limit {
            let text = format!("there are {limit} leases already, which is the limit");
            Some(Error::new(Code::ListFull, text).retry(Retry::AfterChange))
        } else {
            None
        };
        if let Some(error) = refused {
            self.ledger.answer(ticket.token, Err(error));
            return;
        }
        let lease = LeaseId(self.next_id());
        let at = self.now.instant + ttl.min(LONGEST);
        self.leases.ends.insert((at, lease));
        self.leases.all.insert(lease, (address.clone(), at));
        self.lease_person(address);
        let accepted = Accepted { lease: Some(lease), ..Accepted::new(ticket.request) };
        self.ledger.answer(ticket.token, Ok(accepted));
        self.complete(ticket.request, Ok(()));
    }

    pub(super) fn unwatch_command(&mut self, ticket: Ticket, lease: LeaseId) {
        let Some(address) = self.leases.end(lease) else { return self.no_lease(ticket, lease) };
        self.released(&address);
        self.accept(ticket);
        self.complete(ticket.request, Ok(()));
    }

    pub(super) fn extend_command(&mut self, ticket: Ticket, lease: LeaseId, ttl: Duration) {
        let at = self.now.instant + ttl.min(LONGEST);
        let Some((_, end)) = self.leases.all.get_mut(&lease) else { return self.no_lease(ticket, lease) };
        let before = core::mem::replace(end, at);
        self.leases.ends.remove(&(before, lease));
        self.leases.ends.insert((at, lease));
        self.accept(ticket);
        self.complete(ticket.request, Ok(()));
    }

    fn no_lease(&mut self, ticket: Ticket, lease: LeaseId) {
        let text = format!("there is no lease {lease}; it may have ended");
        self.ledger.answer(ticket.token, Err(Error::new(Code::NotFound, text)));
    }

    fn released(&mut self, address: &Address) {
        if self.release_person(address) {
            let until = self.now.instant + LINGER;
            if let Some(before) = self.leases.until.insert(address.clone(), until) {
                self.leases.lingering.remove(&(before, address.clone()));
            }
            self.leases.lingering.insert((until, address.clone()));
        }
    }

    pub(super) fn leases_timeout(&self) -> Option<Instant> {
        let end = self.leases.ends.first().map(|(at, _)| *at);
        let linger = self.leases.lingering.first().map(|(at, _)| *at);
        [end, linger].into_iter().flatten().min()
    }

    pub(super) fn leases_due(&mut self) {
        let now = self.now.instant;
        while let Some(&(at, lease)) = self.leases.ends.first()
            && at <= now
        {
            if let Some(address) = self.leases.end(lease) {
                self.released(&address);
            }
        }
        while let Some((at, address)) = self.leases.lingering.first().cloned()
            && at <= now
        {
            self.leases.lingering.remove(&(at, address.clone()));
            self.leases.until.remove(&address);
            self.end_linger(&address);
        }
    }

    // ---- contacts ----

    pub(super) fn refresh_command(&mut self, ticket: Ticket, contact: ContactId) {
        let Some(entry) = self.view.contacts.get(&contact) else {
            let text = format!("there is no contact {contact} on the list");
            self.ledger.answer(ticket.token, Err(Error::new(Code::ContactNotFound, text)));
            return;
        };
        let address = entry.contact.address.clone();
        self.ask_again(&address);
        self.accept(ticket);
        self.complete(ticket.request, Ok(()));
    }

    pub(super) fn alert_command(&mut self, ticket: Ticket, contact: ContactId, on: bool) {
        let error = if !self.view.contacts.contains_key(&contact) {
            Some(Error::new(Code::ContactNotFound, format!("there is no contact {contact} on the list")))
        } else if on && !self.alerts.contains(&contact) && self.alerts.size() >= self.config.limits.alerts {
            let text = format!("{} contacts are watched for already, which is the limit", self.alerts.size());
            Some(Error::new(Code::ListFull, text))
        } else {
            None
        };
        if let Some(error) = error {
            self.ledger.answer(ticket.token, Err(error));
            return;
        }
        if on {
            self.alerts.insert_mut(contact);
        } else {
            self.alerts.remove_mut(&contact);
        }
        let kept = kept_alerts(&self.alerts);
        self.ledger.keep(Effect::Alerts { ticket, alerts: self.alerts.clone(), kept });
    }

    /// It is durable.
    pub(super) fn apply_alerts(
        &mut self,
        sealed: &Sealed,
        ticket: Ticket,
        alerts: &HashTrieSetSync<ContactId>,
    ) {
        self.view.alerts = alerts.clone();
        self.accept(ticket);
        let kind = EventKind::CommandCompleted { request: ticket.request, outcome: Ok(()) };
        self.ledger.emit_sealed(&mut { sealed.seq }, sealed.at, kind);
    }

    /// The store refused it.
    pub(super) fn refuse_alerts(&mut self, ticket: Ticket, error: &Error) {
        self.alerts = self.view.alerts.clone();
        self.ledger.answer(ticket.token, Err(error.clone()));
    }

    /// A contact is gone, and with it whoever wanted to be told. What is kept is corrected with the next change.
    pub(super) fn forget_alert(&mut self, contact: ContactId) {
        self.alerts.remove_mut(&contact);
        self.view.alerts.remove_mut(&contact);
    }
}

/// As it is kept.
fn kept_alerts(alerts: &HashTrieSetSync<ContactId>) -> String {
    let mut ids: Vec<u64> = alerts.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    let mut kept = String::new();
    for id in ids {
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(&id.to_string());
    }
    kept
}

/// Reads what was kept.
pub(super) fn restored_alerts(kept: &str) -> HashTrieSetSync<ContactId> {
    kept.split_ascii_whitespace().filter_map(|id| id.parse().ok().map(ContactId)).collect()
}
