//! A document that a service holds for us for a while (RFC 3903).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{MIN_REFRESH, When, refusal, retry_of};
use crate::agent::core::{Core, Purpose, UsageKey};
use crate::agent::place::{Contact, Route};
use crate::agent::{AgentEvent, Cause, PublicationId};
use crate::message::{HeaderName, Message, Method};

/// What to publish.
#[derive(Clone, Eq, PartialEq)]
pub struct PublishParams {
    /// The event package, such as `presence`.
    pub event: String,
    /// The type of the document.
    pub content_type: String,
    /// The document.
    pub body: Bytes,
    /// How long the service shall hold it, in seconds. It is refreshed before.
    pub expires: u32,
}

impl PublishParams {
    /// A presence document (RFC 3863), to be held for an hour.
    pub fn presence(pidf: impl Into<Bytes>) -> Self {
        Self {
            event: "presence".to_owned(),
            content_type: "application/pidf+xml".to_owned(),
            body: pidf.into(),
            expires: 3600,
        }
    }
}

impl std::fmt::Debug for PublishParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishParams")
            .field("event", &self.event)
            .field("content_type", &self.content_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("expires", &self.expires)
            .finish()
    }
}

/// What changed in a document since it was published last (RFC 5262, RFC 5264).
#[derive(Clone, Eq, PartialEq)]
pub struct Patch {
    /// The type, such as `application/pidf-diff+xml`.
    pub content_type: String,
    /// The octets.
    pub body: Bytes,
}

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patch")
            .field("content_type", &self.content_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// The state of a publication.
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub enum PublicationState {
    /// The service holds the document as it was last given to the agent.
    Published {
        /// For how long, without a refresh.
        expires: Duration,
    },
    /// The service may not hold it; it is sent again by itself.
    Retrying {
        /// Why.
        cause: Cause,
        /// When.
        after: Duration,
    },
    /// The service does not take it. Final.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// It was removed, as asked. Final.
    Removed {
        /// Whether the service confirmed it. If not, the document ends by itself later.
        confirmed: bool,
    },
}

impl PublicationState {
    /// Whether the agent has forgotten the publication.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Removed { .. })
    }
}

/// One publication.
pub(crate) struct Publication {
    params: PublishParams,
    etag: Option<String>,
    held_until: Option<Instant>,
    /// The document changed since the last request that carried it.
    dirty: bool,
    /// What changed since the document that the service holds, where that is all that needs to be sent (RFC 5264).
    patch: Option<Patch>,
    /// The service does not take patches.
    whole_only: bool,
    removing: bool,
    in_flight: Option<Kind>,
    raised: bool,
    /// A 412 was answered with a new initial PUBLISH, and no success since.
    restarted: bool,
    deadline: Option<Instant>,
    /// It waits for its turn.
    waits: bool,
    outage: bool,
    failures: u32,
    call_id: String,
    tag: u64,
    cseq: u32,
}

#[derive(Copy, Clone, Eq, PartialEq)]
enum Kind {
    Initial,
    Refresh,
    Modify,
    Patch,
    Remove,
}

/// What became of a publication in one step.
pub(crate) enum Fate {
    Lives,
    Ends,
}

impl Publication {
    pub(crate) fn new(core: &mut Core, params: PublishParams) -> Self {
        Self {
            params,
            etag: None,
            held_until: None,
            dirty: true,
            patch: None,
            whole_only: false,
            removing: false,
            in_flight: None,
            raised: false,
            restarted: false,
            deadline: None,
            waits: false,
            outage: false,
            failures: 0,
            call_id: core.call_id(),
            tag: core.random(),
            cseq: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn modify(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: PublicationId,
        body: Bytes,
        patch: Option<Patch>,
    ) -> Fate {
        self.params.body = body;
        // A patch is of use only to a service that holds the document which it starts from.
        let current = self.etag.is_some() && !self.dirty && self.in_flight.is_none() && !self.whole_only;
        self.patch = patch.filter(|_| current);
        self.dirty = true;
        // A service that is away, or asked for time, is not asked more often because the document changes.
        if (self.deadline.is_some() || self.waits) && self.failures > 0 {
            return Fate::Lives;
        }
        self.step(core, now, id)
    }

    pub(crate) fn remove(&mut self, core: &mut Core, now: Instant, id: PublicationId) -> Fate {
        self.removing = true;
        self.step(core, now, id)
    }

    /// The service is back: what waits for it goes now.
    pub(crate) fn wake(&mut self, core: &mut Core, now: Instant, id: PublicationId) -> Fate {
        if self.outage && self.deadline.is_some() {
            self.step_if_admitted(core, now, id)
        } else {
            Fate::Lives
        }
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Instant, id: PublicationId) -> Fate {
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            return self.step_if_admitted(core, now, id);
        }
        Fate::Lives
    }

    /// Sends what is due as soon as the budget lets it.
    fn step_if_admitted(&mut self, core: &mut Core, now: Instant, id: PublicationId) -> Fate {
        if core.admit(now, UsageKey::Publication(id.0)) {
            return self.step(core, now, id);
        }
        self.deadline = None;
        self.waits = true;
        Fate::Lives
    }

    /// Its turn has come, unless what it waited for was done by hand meanwhile.
    pub(crate) fn on_admitted(&mut self, core: &mut Core, now: Instant, id: PublicationId) -> Fate {
        if self.waits { self.step(core, now, id) } else { Fate::Lives }
    }

    /// Sends what is due, unless something is on its way already.
    pub(crate) fn step(&mut self, core: &mut Core, now: Instant, id: PublicationId) -> Fate {
        if self.in_flight.is_some() {
            return Fate::Lives;
        }
        self.deadline = None;
        self.waits = false;
        if self.held_until.is_some_and(|until| until <= now) {
            // After a long sleep the tag is worth nothing; asking with it would only cost a 412.
            self.etag = None;
            self.held_until = None;
            self.patch = None;
        }
        let kind = match (&self.etag, self.removing) {
            (Some(_), true) => Kind::Remove,
            (None, true) => {
                let state = PublicationState::Removed { confirmed: self.held_until.is_none() };
                core.events.push_back(AgentEvent::Publication { id, state });
                return Fate::Ends;
            }
            (None, false) => Kind::Initial,
            (Some(_), false) if self.dirty && self.patch.is_some() => Kind::Patch,
            (Some(_), false) if self.dirty => Kind::Modify,
            (Some(_), false) => Kind::Refresh,
        };
        self.cseq += 1;
        let aor = core.config.aor.clone();
        let expires = if kind == Kind::Remove { 0 } else { self.params.expires };
        let mut request = core
            .request(Method::Publish, aor.as_str())
            .from(core.sender(&format!("{:016x}", self.tag)))
            .to(format!("<{aor}>"))
            .call_id(self.call_id.clone())
            .cseq(self.cseq)
            .header(HeaderName::Event, self.params.event.clone())
            .header(HeaderName::Expires, expires.to_string());
        if let (Some(etag), true) = (&self.etag, kind != Kind::Initial) {
            request.push(HeaderName::SipIfMatch, etag.clone());
        }
        if matches!(kind, Kind::Initial | Kind::Modify) {
            request = request.body(self.params.content_type.clone(), self.params.body.clone());
            self.dirty = false;
        }
        if kind == Kind::Patch
            && let Some(patch) = self.patch.take()
        {
            request = request.body(patch.content_type, patch.body);
            self.dirty = false;
        }
        self.in_flight = Some(kind);
        let request = core.preload_route(request);
        core.send(now, Purpose::Publish(id.0), request, Route::Service, Contact::None);
        Fate::Lives
    }

    pub(crate) fn on_done(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: PublicationId,
        cseq: u32,
        outcome: Result<Message, Cause>,
    ) -> Fate {
        self.cseq = cseq;
        let Some(kind) = self.in_flight.take() else { return Fate::Lives };
        let status = outcome.as_ref().ok().and_then(Message::status);
        match outcome {
            Ok(answer) if matches!(status, Some(200..=299)) => {
                self.failures = 0;
                self.outage = false;
                self.raised = false;
                self.restarted = false;
                if kind == Kind::Remove {
                    let state = PublicationState::Removed { confirmed: true };
                    core.events.push_back(AgentEvent::Publication { id, state });
                    return Fate::Ends;
                }
                self.held(core, now, id, &answer);
                if self.dirty || self.removing { self.step(core, now, id) } else { Fate::Lives }
            }
            // It wants the document as a whole (RFC 5264), now and in future.
            Ok(_) if matches!(status, Some(400 | 415 | 422)) && kind == Kind::Patch => {
                self.whole_only = true;
                self.dirty = true;
                self.step(core, now, id)
            }
            // The service knows nothing of our tag: it restarted, or it took us for gone (RFC 3903 §4.1).
            Ok(_) if status == Some(412) && kind != Kind::Initial && !self.restarted => {
                self.etag = None;
                self.held_until = None;
                self.restarted = true;
                self.dirty = true;
                self.step(core, now, id)
            }
            Ok(answer) if status == Some(423) && !self.raised && kind != Kind::Remove => {
                match answer.min_expires().filter(|minimum| *minimum > self.params.expires) {
                    Some(minimum) => {
                        self.params.expires = minimum;
                        self.raised = true;
                        self.dirty |= kind != Kind::Refresh;
                        self.step(core, now, id)
                    }
                    None => self.failed(core, now, id, kind, refusal(&answer)),
                }
            }
            Ok(answer) => self.failed(core, now, id, kind, refusal(&answer)),
            Err(cause) => self.failed(core, now, id, kind, (cause, None)),
        }
    }

    fn held(&mut self, core: &mut Core, now: Instant, id: PublicationId, answer: &Message) {
        let seconds = answer.expires().unwrap_or(self.params.expires).clamp(1, self.params.expires.max(1));
        let expires = Duration::from_secs(u64::from(seconds));
        // Without a tag the document cannot be referred to: the refresh will be a new one.
        self.etag = answer.sip_etag().map(str::to_owned);
        self.held_until = Some(now + expires);
        let refresh = core.share(expires, 0.7, 0.85).max(MIN_REFRESH);
        self.arm(core, id, now + refresh);
        if !self.dirty && !self.removing {
            let state = PublicationState::Published { expires };
            core.events.push_back(AgentEvent::Publication { id, state });
        }
    }

    fn failed(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: PublicationId,
        kind: Kind,
        (cause, wait): (Cause, Option<Duration>),
    ) -> Fate {
        if self.removing {
            let state = PublicationState::Removed { confirmed: false };
            core.events.push_back(AgentEvent::Publication { id, state });
            return Fate::Ends;
        }
        self.dirty |= matches!(kind, Kind::Initial | Kind::Modify | Kind::Patch);
        self.outage = cause.is_outage();
        if let When::Later(wait) = retry_of(&cause, wait) {
            let after = core.backoff(self.failures, wait);
            self.failures = self.failures.saturating_add(1);
            self.arm(core, id, now + after);
            let state = PublicationState::Retrying { cause, after };
            core.events.push_back(AgentEvent::Publication { id, state });
            return Fate::Lives;
        }
        let state = PublicationState::Failed { cause };
        core.events.push_back(AgentEvent::Publication { id, state });
        Fate::Ends
    }

    fn arm(&mut self, core: &mut Core, id: PublicationId, at: Instant) {
        self.deadline = Some(at);
        core.timers.arm(at, UsageKey::Publication(id.0));
    }
}
