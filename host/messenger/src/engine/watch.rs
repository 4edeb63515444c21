//! Watching people: how subscriptions come to be and what they say, apart from what is made of it.
//!
//! The seam for other ways to watch: a strategy is told whom to watch, and reports what is known of each. There is one
//! strategy now, a subscription for each contact; a list held by the service (RFC 4662), a list in the request (RFC
//! 5367) and polling fit behind the same words. The agent paces the requests, so ten thousand contacts do not make a
//! storm.

use std::{collections::HashMap, time::Instant};

use attache_sip::{
    agent::{Agent, Cause, NotifyBody, SubscriptionId},
    usage::{SubscribeParams, SubscriptionState},
};

use crate::{address::Address, id::ContactId};

/// What became known of somebody.
#[derive(Debug)]
pub(super) enum News {
    /// The service passed a document on, and will pass on the next one.
    Document(NotifyBody),
    /// The service answers for the person, and holds nothing.
    Empty,
    /// Nobody has allowed it yet.
    Pending,
    /// Nothing is known at present; it is tried again.
    Away(Cause),
    /// It is over, and not tried again by itself.
    Ended(Cause),
}

/// A way to watch people.
pub(super) trait Strategy {
    /// Watches somebody.
    fn watch(&mut self, agent: &mut Agent, now: Instant, contact: ContactId, address: &Address);
    /// Watches somebody no longer.
    fn forget(&mut self, agent: &mut Agent, now: Instant, contact: ContactId);
    /// Watches somebody from the beginning, if what was before may be lost.
    fn renew(&mut self, agent: &mut Agent, now: Instant, contact: ContactId, address: &Address);
    /// Watches nobody any longer.
    fn clear(&mut self, agent: &mut Agent, now: Instant);
    /// Whom a subscription is about.
    fn contact(&self, id: SubscriptionId) -> Option<ContactId>;
    /// Whom a report of the agent is about, and what it says.
    fn read(
        &mut self,
        id: SubscriptionId,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
    ) -> Option<(ContactId, News)>;
}

/// A subscription for each contact.
#[derive(Debug)]
pub(super) struct OneEach {
    expires: u32,
    by_contact: HashMap<ContactId, SubscriptionId>,
    by_id: HashMap<SubscriptionId, Watched>,
}

#[derive(Debug)]
struct Watched {
    contact: ContactId,
    /// Whether the service has taken it, as far as is known.
    in_force: bool,
}

impl OneEach {
    pub(super) fn new(expires: u32) -> Self {
        Self { expires, by_contact: HashMap::new(), by_id: HashMap::new() }
    }
}

impl Strategy for OneEach {
    fn watch(&mut self, agent: &mut Agent, now: Instant, contact: ContactId, address: &Address) {
        let Ok(target) = address.to_uri() else { return };
        if self.by_contact.contains_key(&contact) {
            return;
        }
        let params = SubscribeParams { expires: self.expires, ..SubscribeParams::presence(target) };
        let Some(id) = agent.subscribe(now, params) else { return };
        self.by_contact.insert(contact, id);
        self.by_id.insert(id, Watched { contact, in_force: false });
    }

    fn forget(&mut self, agent: &mut Agent, now: Instant, contact: ContactId) {
        if let Some(id) = self.by_contact.remove(&contact) {
            self.by_id.remove(&id);
            agent.unsubscribe(now, id);
        }
    }

    fn renew(&mut self, agent: &mut Agent, now: Instant, contact: ContactId, address: &Address) {
        // One that the agent tries again anyway began anew by itself when the service came back.
        let in_force = self
            .by_contact
            .get(&contact)
            .is_some_and(|id| self.by_id.get(id).is_some_and(|watched| watched.in_force));
        if in_force {
            self.forget(agent, now, contact);
        }
        self.watch(agent, now, contact, address);
    }

    fn clear(&mut self, agent: &mut Agent, now: Instant) {
        let mut ids: Vec<(ContactId, SubscriptionId)> = self.by_contact.drain().collect();
        self.by_id.clear();
        ids.sort_unstable();
        for (_, id) in ids {
            agent.unsubscribe(now, id);
        }
    }

    fn contact(&self, id: SubscriptionId) -> Option<ContactId> {
        self.by_id.get(&id).map(|watched| watched.contact)
    }

    fn read(
        &mut self,
        id: SubscriptionId,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
    ) -> Option<(ContactId, News)> {
        let watched = self.by_id.get_mut(&id)?;
        let contact = watched.contact;
        let news = match state {
            SubscriptionState::Pending => {
                watched.in_force = true;
                News::Pending
            }
            SubscriptionState::Active => {
                watched.in_force = true;
                match notify {
                    Some(body) if !body.body.is_empty() => News::Document(body),
                    _ => News::Empty,
                }
            }
            SubscriptionState::Retrying { cause, .. } => {
                watched.in_force = false;
                News::Away(cause)
            }
            SubscriptionState::Terminated { cause } => {
                self.by_id.remove(&id);
                self.by_contact.remove(&contact);
                News::Ended(cause)
            }
            _ => return None,
        };
        Some((contact, news))
    }
}
