//! Who the account's person is, and who contacts are: names, numbers, addresses.

use std::sync::Arc;

use crate::{
    engine::{
        Engine,
        config::EngineConfig,
        ledger::{Effect, Sealed, Ticket},
    },
    event::EventKind,
    profile::Profile,
    snapshot::ContactEntry,
};

/// Own profile: what was set at run time, else what is configured.
pub(super) fn own(config: &EngineConfig, kept: Option<&str>) -> Arc<Profile> {
    let set = kept.filter(|kept| !kept.is_empty()).and_then(Profile::restored);
    Arc::new(set.unwrap_or_else(|| configured(config)))
}

fn configured(config: &EngineConfig) -> Profile {
    Profile {
        display_name: config.display_name.clone(),
        phones: config.phones.clone(),
        email: config.email.clone(),
        homepage: config.homepage.clone(),
        icon: config.icon.clone(),
    }
}

impl Engine {
    /// Checks own profile and keeps it.
    pub(super) fn profile_command(&mut self, ticket: Ticket, profile: Option<Box<Profile>>) {
        if let Some(Err(error)) = profile.as_ref().map(|profile| profile.check()) {
            self.ledger.answer(ticket.token, Err(error));
            return;
        }
        self.ledger.keep(Effect::Profile { ticket, profile });
    }

    /// Own profile is durable: shows and publishes it.
    pub(super) fn apply_profile(&mut self, sealed: &Sealed, ticket: Ticket, profile: Option<&Profile>) {
        let profile = Arc::new(profile.cloned().unwrap_or_else(|| configured(&self.config)));
        if *profile != *self.view.profile {
            let previous = core::mem::replace(&mut self.view.profile, profile.clone());
            self.view.display_name = profile.display_name.clone();
            self.use_own_name();
            let kind = EventKind::OwnProfileChanged { profile, previous };
            self.ledger.emit_sealed(&mut { sealed.seq }, sealed.at, kind);
            if self.compose_own() {
                self.tell_own();
            }
            self.publish_own();
        }
        self.accept(ticket);
        self.complete(ticket.request, Ok(()));
    }

    /// Requests go by own name.
    pub(super) fn use_own_name(&mut self) {
        let name = &self.view.display_name;
        self.agent.set_display_name((!name.is_empty()).then(|| name.to_string()));
    }

    /// Tells who contacts are now, whose publications say something else than before.
    pub(super) fn tell_profiles(&mut self) {
        for (id, previous) in core::mem::take(&mut self.presences.profiles) {
            let Some(entry) = self.view.contacts.get(&id) else { continue };
            if let Some(kind) = profile_change(entry, previous) {
                self.ledger.emit(self.now.wall, kind);
            }
        }
    }
}

/// That a contact is somebody else than before, to who looks at names and numbers.
pub(super) fn profile_change(entry: &ContactEntry, previous: Arc<Profile>) -> Option<EventKind> {
    let profile = entry.profile();
    (profile != *previous).then(|| EventKind::ContactProfileChanged {
        contact: entry.contact.id,
        address: entry.contact.address.clone(),
        profile: Arc::new(profile),
        previous,
    })
}
