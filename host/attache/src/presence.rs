//! Presence: one's own, that of others, and who may see what.

use std::sync::Arc;

use attache_messenger::{
    command::Command,
    compose::Reason,
    id::{ConflictId, ContactId},
    presence::{Availability, Fact, Presence},
    privacy::{Decision, Preview, Rule, Watcher, Who},
    sync::Conflict,
    time::Timestamp,
};

use crate::{Address, Error, Messenger, Watching};

/// Own presence.
impl Messenger {
    /// Publishes own presence. Completes when the service has taken it. `note` has at most 1,024 bytes, and goes with any
    /// availability.
    ///
    /// While signed out the choice is kept, on disk too, and published after the next sign-in; the call says so with
    /// [`NotLoggedOn`](crate::Code::NotLoggedOn).
    ///
    /// # Errors
    /// [`NotLoggedOn`](crate::Code::NotLoggedOn), or what the service answered.
    pub async fn publish(&self, availability: Availability, note: &str) -> Result<(), Error> {
        self.publish_command(Some(availability), note, None).await
    }

    /// As [`publish`](Self::publish), until a time: then the choice runs out, and what is so decides again
    /// ([`publish_automatic`](Self::publish_automatic)). The note stays.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_until(
        &self,
        availability: Availability,
        note: &str,
        until: Timestamp,
    ) -> Result<(), Error> {
        self.publish_command(Some(availability), note, Some(until)).await
    }

    /// Gives the choice back: idle time and facts decide from here on, and without them the person is available.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_automatic(&self, note: &str) -> Result<(), Error> {
        self.publish_command(None, note, None).await
    }

    async fn publish_command(
        &self,
        availability: Option<Availability>,
        note: &str,
        until: Option<Timestamp>,
    ) -> Result<(), Error> {
        let command = Command::Publish { availability, note: note.into(), until };
        self.shared().complete(command).await.map(drop)
    }

    /// Says since when nobody has touched this device, or `None` that somebody does. It is composed into own presence, below
    /// the person's choice. Not kept: say it again after a restart.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn set_idle(&self, since: Option<Timestamp>) -> Result<(), Error> {
        self.shared().complete(Command::SetIdle(since)).await.map(drop)
    }

    /// Contributes a fact to own presence, such as a meeting of a calendar; `None` takes it back. `source` names who says it (at
    /// most 64 bytes) and has one fact at a time. Not kept: say it again after a restart.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::Code::InvalidArgument), also when there are too many sources, or as [`publish`](Self::publish).
    pub async fn set_fact(&self, source: &str, fact: Option<Fact>) -> Result<(), Error> {
        self.shared().complete(Command::SetFact { source: source.into(), fact }).await.map(drop)
    }

    /// Own presence, as published or to be published.
    #[must_use]
    pub fn own_presence(&self) -> Arc<Presence> {
        self.snapshot().own.clone()
    }

    /// Why own presence is what it is, step by step.
    #[must_use]
    pub fn why_own(&self) -> Arc<[Reason]> {
        self.snapshot().own_reasons.clone()
    }
}

/// Presence of others.
impl Messenger {
    /// What is known of somebody's presence: of a contact, or of somebody under a lease. `None` for everybody else.
    #[must_use]
    pub fn presence(&self, address: &Address) -> Option<Arc<Presence>> {
        let snapshot = self.snapshot();
        let contact = snapshot.by_address.get(address).and_then(|id| snapshot.contacts.get(id));
        contact
            .map(|entry| entry.presence.clone())
            .or_else(|| snapshot.watched.get(address).map(|entry| entry.presence.clone()))
    }

    /// Why a contact's presence is what it is, step by step. Empty where nothing is known.
    ///
    /// # Errors
    /// [`Closed`](crate::Code::Closed).
    pub async fn why(&self, contact: ContactId) -> Result<Vec<Reason>, Error> {
        self.shared().with(move |engine, _| engine.why(contact)).await
    }

    /// Watches somebody who need not be a contact, for as long as the guard is held: an application shows a name on a page,
    /// has live presence, and stops paying when it looks away. Works signed out as well: then the watch begins with the next
    /// sign-in.
    ///
    /// Cancellation safe: a future that is dropped leaves no lease behind.
    ///
    /// # Errors
    /// [`ListFull`](crate::Code::ListFull) when there are too many leases.
    pub async fn watch(&self, address: &Address) -> Result<Watching, Error> {
        let leased = self.shared().watch(address.clone()).await?;
        Ok(Watching::new(self.shared().clone(), address.clone(), leased))
    }

    /// Asks the service for a contact's presence again.
    ///
    /// # Errors
    /// [`ContactNotFound`](crate::Code::ContactNotFound), [`NotLoggedOn`](crate::Code::NotLoggedOn).
    pub async fn refresh(&self, contact: ContactId) -> Result<(), Error> {
        self.shared().complete(Command::Refresh(contact)).await.map(drop)
    }

    /// Tells, by [`ContactAlert`](crate::EventKind::ContactAlert), each time the contact becomes available; or no longer does
    /// so. Kept on disk.
    ///
    /// # Errors
    /// [`ContactNotFound`](crate::Code::ContactNotFound), [`ListFull`](crate::Code::ListFull).
    pub async fn set_alert(&self, contact: ContactId, on: bool) -> Result<(), Error> {
        self.shared().complete(Command::SetAlert(contact, on)).await.map(drop)
    }
}

/// Who may see own presence. Rules live on the service (RFC 4745, RFC 5025) and need an XCAP root.
impl Messenger {
    /// People who watch this account or want to, as far as the service tells (RFC 3858), sorted by address.
    #[must_use]
    pub fn watchers(&self) -> Vec<Arc<Watcher>> {
        let snapshot = self.snapshot();
        let mut watchers: Vec<_> = snapshot.watchers.values().cloned().collect();
        watchers.sort_by(|a, b| a.address.canonical().cmp(b.address.canonical()));
        watchers
    }

    /// Answers somebody who wants to see own presence: sets the rule for that address.
    ///
    /// # Errors
    /// As [`set_rule`](Self::set_rule).
    pub async fn answer_watcher(&self, address: &Address, decision: Decision) -> Result<(), Error> {
        let command = Command::AnswerWatcher { address: address.clone(), decision };
        self.shared().complete(command).await.map(drop)
    }

    /// The rules, those for one person first.
    #[must_use]
    pub fn rules(&self) -> Arc<[Rule]> {
        self.snapshot().rules.clone()
    }

    /// Sets a rule, or removes it with `None`. Completes when the service has it, or signed out, when it is kept.
    ///
    /// # Errors
    /// [`UnsupportedByService`](crate::Code::UnsupportedByService) where the service takes no rules, or what it answered.
    pub async fn set_rule(&self, who: Who, decision: Option<Decision>) -> Result<(), Error> {
        self.shared().complete(Command::SetRule { who, decision }).await.map(drop)
    }
}

/// What others see.
impl Messenger {
    /// What somebody would see of this account now: what is published, after the rules have taken out what they must not
    /// see, and why.
    ///
    /// # Errors
    /// [`Closed`](crate::Code::Closed).
    pub async fn preview(&self, address: &Address) -> Result<Preview, Error> {
        let address = address.clone();
        self.shared().with(move |engine, _| engine.preview(&address)).await
    }
}

/// The contact list on the service.
impl Messenger {
    /// Takes back the last edit of contacts and groups that was made here. What was changed again since stays as it is.
    ///
    /// # Errors
    /// [`NotFound`](crate::Code::NotFound) when there is none.
    pub async fn undo(&self) -> Result<(), Error> {
        self.shared().complete(Command::Undo).await.map(drop)
    }

    /// Edits here and elsewhere that could not both hold, and wait to be settled.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Arc<Conflict>> {
        self.snapshot().conflicts.values().cloned().collect()
    }

    /// Settles a conflict with what was edited here.
    ///
    /// # Errors
    /// [`NotFound`](crate::Code::NotFound) when it is settled already.
    pub async fn keep_mine(&self, conflict: ConflictId) -> Result<(), Error> {
        self.shared().complete(Command::KeepMine(conflict)).await.map(drop)
    }

    /// Settles a conflict with what was edited elsewhere.
    ///
    /// # Errors
    /// [`NotFound`](crate::Code::NotFound) when it is settled already.
    pub async fn keep_theirs(&self, conflict: ConflictId) -> Result<(), Error> {
        self.shared().complete(Command::KeepTheirs(conflict)).await.map(drop)
    }
}
