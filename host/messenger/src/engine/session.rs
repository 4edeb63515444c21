//! The session: signing in, staying signed in, and finding out when the service is gone.
//!
//! The agent tries again by itself, with back-off and over the list of targets; this decides what that means for a
//! person. A wrong password ends the session, and nothing is tried again. A silent service makes it `reconnecting`;
//! nobody needs to act.

use core::time::Duration;
use std::time::Instant;

use attache_sip::{
    agent::{Cause, RequestId as SipRequestId},
    endpoint::Request,
    message::Method,
    uri::UriBuf,
};

use crate::{
    code::Code,
    engine::{Engine, ledger::Ticket, own::kept_for_later},
    error::{Error, Retry},
    event::{EventKind, SessionState},
    id::RequestId,
    time::Timestamp,
};

/// A service that does not confirm the sign-out by then has no say in it.
const SIGN_OUT: Duration = Duration::from_secs(5);

/// Least time between two questions whether the service is there.
const PROBE_PAUSE: Duration = Duration::from_secs(5);

/// Least time between two renewals because a connection broke.
const RENEW_PAUSE: Duration = Duration::from_secs(10);

/// What the session rests on.
#[derive(Debug)]
pub(super) struct Session {
    /// Commands that wait for the first outcome.
    signing_in: Vec<RequestId>,
    signing_out: Vec<RequestId>,
    /// Sign in again once signed out.
    again: bool,
    /// When this engine was made.
    pub(super) begun_at: Timestamp,
    /// The last sign of life of the service, by both clocks.
    pub(super) alive_at: Timestamp,
    heard_at: Instant,
    probe: Option<SipRequestId>,
    probed_at: Option<Instant>,
    /// A probe is wanted then.
    probe_at: Option<Instant>,
    /// Whether the service answers OPTIONS. Some drop it; then only a registration tells.
    answers_probes: bool,
    give_up_at: Option<Instant>,
    /// When the session was last renewed because a connection broke, and when it shall be again.
    renewed_at: Option<Instant>,
    renew_at: Option<Instant>,
}

impl Session {
    pub(super) fn new(instant: Instant, wall: Timestamp) -> Self {
        Self {
            signing_in: Vec::new(),
            signing_out: Vec::new(),
            again: false,
            begun_at: wall,
            alive_at: wall,
            heard_at: instant,
            probe: None,
            probed_at: None,
            probe_at: None,
            answers_probes: false,
            give_up_at: None,
            renewed_at: None,
            renew_at: None,
        }
    }
}

impl Engine {
    pub(super) fn sign_in(&mut self, ticket: Ticket) {
        if let Err(error) = self.check_config() {
            self.ledger.answer(ticket.token, Err(error));
            return;
        }
        match self.view.session {
            SessionState::SignedIn => {
                let error = Error::new(Code::AlreadyLoggedOn, "signed in already");
                self.ledger.answer(ticket.token, Err(error));
            }
            SessionState::SigningOut => {
                self.accept(ticket);
                self.session.again = true;
                self.session.signing_in.push(ticket.request);
            }
            SessionState::SigningIn => {
                self.accept(ticket);
                self.session.signing_in.push(ticket.request);
            }
            SessionState::SignedOut | SessionState::Reconnecting => {
                self.accept(ticket);
                self.session.signing_in.push(ticket.request);
                self.begin();
            }
        }
    }

    fn check_config(&self) -> Result<(), Error> {
        self.config.address.to_uri()?;
        if self.config.address.as_str().starts_with("tel:") {
            return Err(Error::new(
                Code::InvalidAddress,
                "a telephone number cannot sign in; use a SIP address",
            ));
        }
        match self.config.service.as_deref().map(UriBuf::parse) {
            Some(Err(error)) => {
                let text = "the address of the service cannot be read";
                Err(Error::new(Code::InvalidServerName, text).because(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self) {
        if self.view.session == SessionState::SignedOut {
            self.change_session(SessionState::SigningIn, None);
        }
        self.register();
    }

    pub(super) fn register(&mut self) {
        let expires = u32::try_from(self.config.registration.as_secs()).unwrap_or(u32::MAX);
        self.agent.register(self.now.instant, expires);
    }

    pub(super) fn sign_out(&mut self, ticket: Ticket) {
        match self.view.session {
            SessionState::SignedOut => {
                self.accept(ticket);
                self.complete(ticket.request, Ok(()));
            }
            SessionState::SigningOut => {
                self.accept(ticket);
                self.session.again = false;
                self.fail_sign_in(&Error::new(Code::UserCancelled, "signed out meanwhile"));
                self.session.signing_out.push(ticket.request);
            }
            before => {
                self.accept(ticket);
                self.session.signing_out.push(ticket.request);
                self.fail_sign_in(&Error::new(Code::UserCancelled, "signed out meanwhile"));
                let now = self.now.instant;
                self.drop_calls();
                self.drop_chats();
                self.drop_files();
                self.change_session(SessionState::SigningOut, None);
                self.session.probe = None;
                self.unpublish();
                self.keep_everything();
                self.watch_nobody();
                self.agent.unregister(now);
                self.complete_publish(&Err(Error::new(
                    Code::NotLoggedOn,
                    "signed out before it was published",
                )));
                // Who was not signed in has nothing there that would have to be confirmed.
                let patience = if before == SessionState::SignedIn { SIGN_OUT } else { Duration::ZERO };
                self.session.give_up_at = Some(now + patience);
            }
        }
    }

    pub(super) fn on_registered(&mut self) {
        self.alive();
        match self.view.session {
            SessionState::SigningIn | SessionState::Reconnecting => {
                self.change_session(SessionState::SignedIn, None);
                for request in core::mem::take(&mut self.session.signing_in) {
                    self.complete(request, Ok(()));
                }
                self.publish_first();
                self.watch_everybody();
                self.start_sync();
                self.start_watchers();
                self.start_mailbox();
                self.resume_outbox();
            }
            SessionState::SignedIn => {
                self.keep_summary(false);
                self.release_outbox();
            }
            SessionState::SignedOut | SessionState::SigningOut => {}
        }
    }

    pub(super) fn on_registration_failed(
        &mut self,
        cause: &Cause,
        retry: Option<Duration>,
        remaining: Duration,
    ) {
        if matches!(self.view.session, SessionState::SignedOut | SessionState::SigningOut) {
            return;
        }
        let error = failure(cause);
        match retry {
            None => {
                // The agent has given up: so does the session, until somebody corrects what is wrong.
                self.unpublish();
                self.keep_everything();
                self.watch_nobody();
                let error = error.retry(Retry::AfterChange);
                self.change_session(SessionState::SignedOut, Some(error.clone()));
                self.fail_sign_in(&error);
                self.complete_publish(&Err(error));
                self.presence_signed_out();
            }
            Some(after) => {
                let error = error.retry(Retry::After(after));
                // A refusal by a service that is there leaves the binding in force for what remains of it.
                if self.view.session != SessionState::SignedIn || cause.is_outage() || remaining.is_zero() {
                    self.lose(error);
                }
                self.release_outbox();
            }
        }
    }

    pub(super) fn on_unregistered(&mut self) {
        if self.view.session == SessionState::SigningOut {
            self.signed_out();
        }
    }

    fn signed_out(&mut self) {
        self.session.give_up_at = None;
        self.change_session(SessionState::SignedOut, None);
        self.presence_signed_out();
        for request in core::mem::take(&mut self.session.signing_out) {
            self.complete(request, Ok(()));
        }
        if core::mem::take(&mut self.session.again) {
            self.begin();
        }
    }

    /// The service is away; the agent goes on trying.
    fn lose(&mut self, error: Error) {
        self.session.probe = None;
        self.fail_sign_in(&error);
        self.complete_publish(&Err(kept_for_later()));
        if self.view.session != SessionState::Reconnecting {
            self.change_session(SessionState::Reconnecting, Some(error));
            self.presence_stale(self.session.alive_at);
        }
    }

    /// A connection to the service broke: what it would have brought is lost, so everything is begun anew over another one
    /// (RFC 5626, section 4.2).
    pub(super) fn flow_broken(&mut self, reason: &str) {
        if self.view.session != SessionState::SignedIn {
            return;
        }
        self.lose(failure(&Cause::Transport(reason.to_owned())));
        let now = self.now.instant;
        match self.session.renewed_at.map(|at| at + RENEW_PAUSE).filter(|at| *at > now) {
            // A service that takes connections only to break them must not make us storm.
            Some(at) => self.session.renew_at = Some(at),
            None => self.renew(),
        }
    }

    fn renew(&mut self) {
        self.session.renew_at = None;
        self.session.renewed_at = Some(self.now.instant);
        self.register();
    }

    /// The service gave a sign of life.
    pub(super) fn alive(&mut self) {
        self.session.alive_at = self.now.wall;
        self.session.heard_at = self.now.instant;
    }

    /// Something went unanswered: asks whether the service is there at all.
    pub(super) fn suspect_outage(&mut self) {
        if self.view.session != SessionState::SignedIn || self.session.probe.is_some() {
            return;
        }
        // Whoever opens and breaks connections to us must not make us ask without end.
        let allowed = self.session.probed_at.map(|at| at + PROBE_PAUSE);
        if let Some(at) = allowed.filter(|at| *at > self.now.instant) {
            self.session.probe_at = Some(at);
            return;
        }
        self.session.probe_at = None;
        self.session.probed_at = Some(self.now.instant);
        let host = self.config.address.as_str();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let uri = format!("sip:{}", host.split([';', '?']).next().unwrap_or(host));
        let request = Request::new(Method::Options, uri);
        self.session.probe = Some(self.agent.request(self.now.instant, request));
    }

    /// Any answer shows that the service is there, whatever it says.
    pub(super) fn on_probe_answered(&mut self, id: SipRequestId) {
        if self.session.probe == Some(id) {
            self.session.probe = None;
            self.session.answers_probes = true;
            self.alive();
        }
    }

    pub(super) fn on_probe_failed(&mut self, id: SipRequestId, cause: &Cause) {
        if self.session.probe != Some(id) {
            return;
        }
        self.session.probe = None;
        if self.view.session == SessionState::SignedIn {
            if self.session.answers_probes || matches!(cause, Cause::Transport(_) | Cause::NotFound(_)) {
                self.lose(failure(cause));
            } else {
                // Not asked again before the registration has told, one way or the other.
                self.session.heard_at = self.now.instant;
            }
            self.register();
        }
    }

    pub(super) fn session_timeout(&self) -> Option<Instant> {
        match self.view.session {
            SessionState::SignedIn if self.session.probe.is_none() => {
                let quiet = self.session.heard_at + self.config.keep_alive;
                let wanted = self.session.probe_at.map_or(quiet, |at| at.min(quiet));
                Some(self.session.probed_at.map_or(wanted, |at| wanted.max(at + PROBE_PAUSE)))
            }
            SessionState::SigningOut => self.session.give_up_at,
            SessionState::Reconnecting => self.session.renew_at,
            _ => None,
        }
    }

    pub(super) fn session_due(&mut self) {
        let due = self.session_timeout().is_some_and(|at| at <= self.now.instant);
        match self.view.session {
            SessionState::SignedIn if due => self.suspect_outage(),
            SessionState::SigningOut if due => self.signed_out(),
            SessionState::Reconnecting if due => self.renew(),
            _ => {}
        }
    }

    fn fail_sign_in(&mut self, error: &Error) {
        for request in core::mem::take(&mut self.session.signing_in) {
            self.complete(request, Err(error.clone()));
        }
    }

    fn change_session(&mut self, state: SessionState, reason: Option<Error>) {
        let at = self.now.wall;
        if self.view.session == SessionState::SignedIn && state != SessionState::SignedIn {
            self.pause_sync();
        }
        if matches!(state, SessionState::SigningOut | SessionState::SignedOut) {
            self.stop_changes();
            self.forget_watchers();
            self.forget_mailbox();
        }
        self.session.renew_at = None;
        self.view.session = state;
        self.view.session_since = at;
        self.view.session_reason = reason.clone();
        tracing::info!(
            state = state.name(),
            reason = reason.as_ref().map(tracing::field::display),
            "session"
        );
        self.ledger.emit(at, EventKind::SessionChanged { state, reason });
    }
}

/// What a cause means for the session.
fn failure(cause: &Cause) -> Error {
    let (code, text) = match cause {
        Cause::WrongPassword { .. } => (Code::InvalidPassword, "the service did not accept the password"),
        Cause::UnsupportedChallenge { .. } => (
            Code::InvalidAuthPackages,
            "the service asks for an authentication that is not supported or not allowed",
        ),
        Cause::Status { code: 403, .. } => {
            (Code::ClientDisallowed, "the service does not let this account sign in")
        }
        Cause::Status { code: 404 | 604, .. } => (Code::UserNotFound, "the service knows no such account"),
        Cause::Status { code: 480..=503, .. } => {
            (Code::ServerUnavailable, "the service cannot sign anybody in now")
        }
        Cause::Status { .. } => (Code::ServerError, "the service refused the sign-in"),
        Cause::Timeout => (Code::LogonTimeout, "the service did not answer"),
        Cause::Transport(_) => (Code::Connect, "the service could not be reached"),
        Cause::NotFound(_) => (Code::InvalidServerName, "the address of the service was not found"),
        _ => (Code::Unexpected, "the sign-in failed"),
    };
    Error::new(code, text).because(detail(cause))
}

/// A cause in words, without those that our own sentence has already.
pub(super) fn detail(cause: &Cause) -> String {
    match cause {
        Cause::Transport(reason) | Cause::NotFound(reason) => reason.clone(),
        cause => cause.to_string(),
    }
}
