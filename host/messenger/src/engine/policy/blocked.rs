//! Which contacts the rules block.

use std::{collections::HashMap, sync::Arc};

use rpds::HashTrieSetSync;

use super::rules::{host, key};
use crate::{
    address::Address,
    engine::Engine,
    event::EventKind,
    id::ContactId,
    privacy::{Decision, Rule, Who},
};

/// What the nearest rule says of somebody.
struct Nearest {
    people: HashMap<Arc<str>, Decision>,
    domains: HashMap<Arc<str>, Decision>,
    everyone: Option<Decision>,
}

impl Nearest {
    fn new(rules: &[Rule]) -> Self {
        let mut nearest = Self { people: HashMap::new(), domains: HashMap::new(), everyone: None };
        for Rule { who, decision, .. } in rules {
            match who {
                Who::Address(_) => _ = nearest.people.insert(key(who), *decision),
                Who::Domain(domain) => _ = nearest.domains.insert(domain.clone(), *decision),
                Who::Everyone => nearest.everyone = Some(*decision),
            }
        }
        nearest
    }

    fn blocks(&self, address: &Address) -> bool {
        let own = || self.people.get(&key(&Who::Address(address.clone())));
        let domain = || self.domains.get(host(address));
        let decision = own().or_else(domain).copied().or(self.everyone);
        matches!(decision, Some(Decision::Block | Decision::PoliteBlock))
    }
}

impl Engine {
    /// The rules or the contacts changed: finds out who is blocked now.
    pub(in crate::engine) fn count_blocked(&mut self) {
        if self.view.rules.is_empty() && self.view.blocked.is_empty() {
            return;
        }
        let nearest = Nearest::new(&self.view.rules);
        let mut blocked = HashTrieSetSync::new_sync();
        let mut changes: Vec<(ContactId, Address, bool)> = Vec::new();
        for entry in self.view.contacts.values() {
            let contact = &entry.contact;
            let now = nearest.blocks(&contact.address);
            if now {
                blocked.insert_mut(contact.id);
            }
            if now != self.view.blocked.contains(&contact.id) {
                changes.push((contact.id, contact.address.clone(), now));
            }
        }
        self.view.blocked = blocked;
        for (contact, address, blocked) in changes {
            let kind = EventKind::ContactBlockedChanged { contact, address, blocked };
            self.ledger.emit(self.now.wall, kind);
        }
    }
}
