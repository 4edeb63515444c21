//! The account's own presence: what is chosen and known, and how it gets to the service.

use core::time::Duration;
use std::{sync::Arc, time::Instant};

use attache_documents::{pidf, policy};
use attache_sip::{
    agent::{Cause, PublicationId},
    usage::{PublicationState, PublishParams},
};
use bytes::Bytes;

use crate::{
    code::Code,
    command::Accepted,
    compose::{OwnComposition, OwnFacts, calendar_of, compose_own, express_own, express_profile},
    engine::{
        Engine, call,
        ledger::{Effect, Sealed, Ticket},
    },
    error::{Error, Retry},
    event::{EventKind, SessionState},
    id::RequestId,
    presence::{Availability, Details, Fact, Freshness, Presence, UnknownReason},
    time::Timestamp,
};

/// Longest note of one's own, in bytes.
const MAX_NOTE: usize = 1_024;
/// Longest word for a source or an activity, in bytes.
const MAX_WORD: usize = 64;
/// Least time between two publications that facts and idle time cause; the last value wins.
const PAUSE: Duration = Duration::from_secs(5);
/// How many choices of a person go out at once before they are held to the same pause: nobody who changes their mind
/// should wait for the service to know.
const BURST: u32 = 8;

/// Own presence.
#[derive(Debug)]
pub(super) struct Own {
    /// Names this device among those of the person.
    pub(super) instance: String,
    pub(super) publication: Option<PublicationId>,
    /// Commands that wait for the service's word on what is being published.
    waiting: Vec<RequestId>,
    /// Commands that wait for the next publication.
    queued: Vec<RequestId>,
    facts: OwnFacts,
    next_change: Option<Timestamp>,
    published_at: Option<Instant>,
    /// Until when the publications so far are paid for, at one each [`PAUSE`].
    paid_until: Option<Instant>,
    publish_at: Option<Instant>,
}

/// A person's choice, as the command gave it.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    chosen: Option<(Availability, Option<Timestamp>)>,
    note: Arc<str>,
}

impl Choice {
    /// As it is kept: the choice, its end, and after a line feed the words.
    pub(super) fn kept(&self) -> String {
        let name = self.chosen.map_or("automatic", |(availability, _)| availability.name());
        match self.chosen {
            Some((_, Some(until))) => format!("{name} {until}\n{}", self.note),
            _ => format!("{name}\n{}", self.note),
        }
    }

    /// Reads what was kept.
    fn restored(kept: &str) -> Self {
        let (choice, note) = kept.split_once('\n').unwrap_or((kept, ""));
        let (name, until) = choice.split_once(' ').unwrap_or((choice, ""));
        let until = Timestamp::parse(until).ok();
        let chosen = Availability::from_name(name).map(|availability| (availability, until));
        Self { chosen, note: note.into() }
    }
}

impl Own {
    /// As it was left.
    pub(super) fn new(instance: String, kept: Option<&str>) -> Self {
        let choice = kept.map(Choice::restored);
        let facts = OwnFacts {
            chosen: choice.as_ref().and_then(|choice| choice.chosen),
            note: choice.map_or_else(|| Arc::from(""), |choice| choice.note),
            ..OwnFacts::default()
        };
        Self {
            instance,
            publication: None,
            waiting: Vec::new(),
            queued: Vec::new(),
            facts,
            next_change: None,
            published_at: None,
            paid_until: None,
            publish_at: None,
        }
    }
}

impl Engine {
    // ---- commands ----

    /// Checks a choice and keeps it.
    pub(super) fn publish_command(
        &mut self,
        ticket: Ticket,
        availability: Option<Availability>,
        note: &str,
        until: Option<Timestamp>,
    ) {
        let wrong = check_note(note).or_else(|| {
            until
                .is_some_and(|until| availability.is_some() && until <= self.now.wall)
                .then_some("the choice would have run out already")
        });
        if let Some(what) = wrong {
            self.ledger.answer(ticket.token, Err(Error::new(Code::InvalidArgument, what)));
            return;
        }
        let chosen = availability.map(|availability| (availability, until));
        let choice = Choice { chosen, note: note.trim().into() };
        self.ledger.keep(Effect::Own { ticket, choice });
    }

    pub(super) fn idle_command(&mut self, ticket: Ticket, since: Option<Timestamp>) {
        self.own.facts.idle_since = since;
        self.facts_changed(ticket);
    }

    pub(super) fn fact_command(&mut self, ticket: Ticket, source: Arc<str>, fact: Option<Fact>) {
        let limit = self.config.limits.facts;
        let word = |text: &str| text.len() <= MAX_WORD && !text.chars().any(char::is_control);
        let facts = &self.own.facts.facts;
        let wrong = if source.is_empty() || !word(&source) {
            Some("a source is named by 1 to 64 bytes without control characters".to_owned())
        } else if *source == *call::SOURCE {
            Some("the source `calls` is the engine's own".to_owned())
        } else if let Some(fact) = &fact {
            if !word(&fact.activity) {
                Some("an activity has at most 64 bytes, and no control characters".to_owned())
            } else if fact.from.zip(fact.until).is_some_and(|(from, until)| until <= from) {
                Some("the fact ends before it begins".to_owned())
            } else if !facts.contains_key(&source) && facts.len() >= limit {
                Some(format!("there are {limit} sources already, which is the limit"))
            } else {
                check_note(&fact.note).map(str::to_owned)
            }
        } else {
            None
        };
        if let Some(what) = wrong {
            self.ledger.answer(ticket.token, Err(Error::new(Code::InvalidArgument, what)));
            return;
        }
        match fact {
            Some(fact) => self.own.facts.facts.insert(source, fact),
            None => self.own.facts.facts.remove(&source),
        };
        self.facts_changed(ticket);
    }

    /// Contributes what the engine itself knows of the person, or takes it back.
    pub(super) fn own_fact(&mut self, source: &str, fact: Option<Fact>) {
        let facts = &mut self.own.facts.facts;
        if facts.get(source) == fact.as_ref() {
            return;
        }
        match fact {
            Some(fact) => facts.insert(source.into(), fact),
            None => facts.remove(source),
        };
        if self.compose_own() {
            self.tell_own();
            self.publish_own();
        }
    }

    fn facts_changed(&mut self, ticket: Ticket) {
        self.accept(ticket);
        if self.compose_own() {
            self.tell_own();
            self.publish_own();
        }
        self.complete(ticket.request, Ok(()));
    }

    /// The choice is durable: shows and publishes it.
    pub(super) fn apply_own(&mut self, sealed: &Sealed, ticket: Ticket, choice: &Choice) {
        self.own.facts.chosen = choice.chosen;
        self.own.facts.note = choice.note.clone();
        if self.compose_own() {
            let own = self.view.own.clone();
            self.ledger.emit_sealed(&mut { sealed.seq }, sealed.at, EventKind::OwnPresenceChanged(own));
        }
        self.accept(ticket);
        match self.view.session {
            SessionState::SignedOut | SessionState::SigningOut => {
                let text = "not signed in; the status is kept, and published after the next sign-in";
                let error = Error::new(Code::NotLoggedOn, text).retry(Retry::AfterChange);
                self.complete(ticket.request, Err(error));
            }
            SessionState::SignedIn => {
                self.own.queued.push(ticket.request);
                self.publish_choice();
            }
            SessionState::SigningIn => self.own.queued.push(ticket.request),
            // An outage may last: nobody is kept waiting for its end.
            SessionState::Reconnecting => self.complete(ticket.request, Err(kept_for_later())),
        }
    }

    // ---- composition ----

    /// Composes own presence anew; true when it changed.
    pub(super) fn compose_own(&mut self) -> bool {
        let composed = compose_own(&self.own.facts, self.now.wall);
        self.own.next_change = composed.next_change_at;
        let before = self.view.own.clone();
        let same = before.availability == Some(composed.availability) && before.note == composed.note;
        let calendar = calendar_of(&self.express(&composed), self.now.wall);
        let profile = &self.view.profile;
        let phones = (!profile.phones.is_empty()).then(|| Box::new(profile.phones.clone()));
        let details = Details {
            upcoming: composed.upcoming.into(),
            phones,
            email: profile.email.clone(),
            calendar: calendar.map(Box::new),
            ..Details::default()
        };
        let own = Presence {
            availability: Some(composed.availability),
            note: composed.note,
            activities: composed.activities,
            since: before.since.filter(|_| same).or(Some(self.now.wall)),
            next_change_at: composed.next_change_at,
            details: (!details.is_empty()).then(|| Arc::new(details)),
            freshness: before.freshness.clone(),
        };
        self.view.own_reasons = composed.reasons.into();
        if own == *before {
            return false;
        }
        self.view.own = Arc::new(own);
        true
    }

    pub(super) fn tell_own(&mut self) {
        self.ledger.emit(self.now.wall, EventKind::OwnPresenceChanged(self.view.own.clone()));
    }

    pub(super) fn own_timeout(&self) -> Option<Instant> {
        let change = self.own.next_change.map(|at| self.instant_of(at));
        [self.own.publish_at, change].into_iter().flatten().min()
    }

    pub(super) fn own_due(&mut self) {
        if self.own.next_change.is_some_and(|at| at <= self.now.wall) && self.compose_own() {
            self.tell_own();
            self.publish_own();
        }
        if self.own.publish_at.is_some_and(|at| at <= self.now.instant) {
            self.publish_now();
        }
    }

    // ---- the service ----

    /// A new session: the service knows nothing of us.
    pub(super) fn publish_first(&mut self) {
        self.compose_own();
        self.publish_now();
    }

    /// The person chose: a few choices go out at once.
    fn publish_choice(&mut self) {
        let allowed = self.own.paid_until.and_then(|at| at.checked_sub(PAUSE * (BURST - 1)));
        self.publish_at(allowed);
    }

    /// Gives the service the document of the moment, or soon, when it had one a moment ago.
    pub(super) fn publish_own(&mut self) {
        let allowed = self
            .own
            .published_at
            .map(|at| at + PAUSE)
            .max(self.own.paid_until.and_then(|at| at.checked_sub(PAUSE * (BURST - 1))));
        self.publish_at(allowed);
    }

    fn publish_at(&mut self, allowed: Option<Instant>) {
        if self.view.session != SessionState::SignedIn {
            return;
        }
        match allowed.filter(|at| *at > self.now.instant) {
            Some(at) => self.own.publish_at = Some(at),
            None => self.publish_now(),
        }
    }

    fn document_now(&self) -> pidf::Document {
        self.express(&compose_own(&self.own.facts, self.now.wall))
    }

    fn express(&self, composed: &OwnComposition) -> pidf::Document {
        let (address, instance) = (self.config.address.as_str(), &self.own.instance);
        let mut document = express_own(address, instance, composed, self.now.wall);
        express_profile(&mut document, instance, &self.view.profile);
        document
    }

    /// What the service has of this device.
    pub(super) fn own_document(&self) -> pidf::Document {
        match self.own.publication {
            Some(_) => self.document_now(),
            None => policy::offline(self.config.address.as_str()),
        }
    }

    fn publish_now(&mut self) {
        self.own.publish_at = None;
        if self.view.session != SessionState::SignedIn {
            return;
        }
        if !self.config.publish {
            let text = "this sign-in publishes nothing";
            self.complete_publish(&Err(Error::new(Code::PolicyRestricted, text)));
            return;
        }
        let now = self.now;
        let paid = self.own.paid_until.map_or(now.instant, |at| at.max(now.instant));
        self.own.paid_until = Some(paid + PAUSE);
        self.own.published_at = Some(now.instant);
        self.own.waiting.append(&mut self.own.queued);
        let body = Bytes::from(pidf::write(&self.document_now()));
        match self.own.publication {
            Some(id) => self.agent.modify(now.instant, id, body),
            None => {
                let expires = u32::try_from(self.config.publication.as_secs()).unwrap_or(u32::MAX);
                let params = PublishParams { expires, ..PublishParams::presence(body) };
                self.own.publication = Some(self.agent.publish(now.instant, params));
            }
        }
    }

    pub(super) fn on_publication(&mut self, id: PublicationId, state: &PublicationState) {
        if self.own.publication != Some(id) {
            return;
        }
        if state.is_final() {
            self.own.publication = None;
        }
        match state {
            PublicationState::Published { .. } => {
                self.show_own(Freshness::Live);
                self.watch.tally.forgive("publish");
                self.complete_published(&Ok(()));
            }
            PublicationState::Retrying { cause, after } => {
                self.show_own(Freshness::Unknown(UnknownReason::ServiceUnavailable));
                self.complete_published(&Err(refused(cause).retry(Retry::After(*after))));
            }
            PublicationState::Failed { cause } => {
                self.show_own(Freshness::Unknown(UnknownReason::Other(cause.to_string().into())));
                if cause.status().is_some() {
                    self.watch.tally.refuse(
                        "publish",
                        cause,
                        "the service did not take presence",
                        self.now.wall,
                    );
                }
                self.complete_published(&Err(refused(cause)));
            }
            _ => {}
        }
    }

    fn complete_published(&mut self, outcome: &Result<(), Error>) {
        for request in core::mem::take(&mut self.own.waiting) {
            self.complete(request, outcome.clone());
        }
    }

    /// Everybody who waits for the service's word on own presence hears it.
    pub(super) fn complete_publish(&mut self, outcome: &Result<(), Error>) {
        self.complete_published(outcome);
        for request in core::mem::take(&mut self.own.queued) {
            self.complete(request, outcome.clone());
        }
    }

    /// The publication is taken back with the session.
    pub(super) fn unpublish(&mut self) {
        self.own.publish_at = None;
        self.own.paid_until = None;
        self.own.published_at = None;
        if let Some(id) = self.own.publication.take() {
            self.agent.remove(self.now.instant, id);
        }
    }

    pub(super) fn own_stale(&mut self, since: Timestamp) {
        if self.view.own.freshness == Freshness::Live {
            self.show_own(Freshness::Stale(since));
        }
    }

    pub(super) fn own_signed_out(&mut self) {
        self.show_own(Freshness::Unknown(UnknownReason::SignedOut));
    }

    fn show_own(&mut self, freshness: Freshness) {
        if self.view.own.freshness == freshness {
            return;
        }
        let own = Arc::new(Presence { freshness, ..Presence::clone(&self.view.own) });
        self.view.own = own;
        self.tell_own();
    }

    pub(super) fn accept(&mut self, ticket: Ticket) {
        self.ledger.answer(ticket.token, Ok(Accepted::new(ticket.request)));
    }
}

fn check_note(note: &str) -> Option<&'static str> {
    if note.len() > MAX_NOTE {
        Some("the note is longer than 1,024 bytes")
    } else if note.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some("the note holds control characters")
    } else {
        None
    }
}

/// The service is away: the status is kept, and goes out by itself when the session is back.
pub(super) fn kept_for_later() -> Error {
    let text = "the service is away; the status is kept, and published after the reconnect";
    Error::new(Code::ServerUnavailable, text).retry(Retry::AfterChange)
}

/// What a cause means for a publication.
fn refused(cause: &Cause) -> Error {
    let (code, text) = match cause {
        Cause::Status { code: 404 | 405 | 415 | 489 | 501, .. } => {
            (Code::UnsupportedByService, "the service takes no presence")
        }
        Cause::Status { code: 403 | 603, .. } => (Code::PolicyRestricted, "the service does not allow it"),
        cause if cause.is_outage() => (Code::ServerUnavailable, "the service did not take the status"),
        _ => (Code::ServerError, "the service refused the status"),
    };
    Error::new(code, text).because(cause.to_string())
}
