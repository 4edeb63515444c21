//! SUBSCRIBE requests and the answers to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::reason::ends_dialog;
use super::{Phase, Subscriptions, When, refusal, retry_of};
use crate::agent::Cause;
use crate::agent::core::{Core, Purpose, UsageKey};
use crate::agent::place::{Contact, Route};
use crate::endpoint::Request;
use crate::message::{HeaderName, Message, Method};
use crate::usage::subscription::{Rates, SubscribeParams};

/// A SUBSCRIBE that waits for its place in the window: of a subscription, and of a fork.
#[derive(Copy, Clone)]
pub(super) enum Job {
    Start(u64),
    Refresh(u64, u32),
    Close(u64, u32),
}

impl Subscriptions {
    pub(super) fn enqueue(&mut self, core: &mut Core, now: Instant, job: Job) {
        self.queue.push_back(job);
        self.pump(core, now);
    }

    fn pump(&mut self, core: &mut Core, now: Instant) {
        while !self.gated && self.in_flight < core.config.subscribe_window.max(1) {
            // What was forgotten meanwhile costs nothing.
            while self.queue.front().is_some_and(|job| !self.is_wanted(*job)) {
                self.queue.pop_front();
            }
            if self.queue.is_empty() {
                return;
            }
            if !core.admit(now, UsageKey::Subscriptions) {
                self.gated = true;
                return;
            }
            self.next_job(core, now);
        }
    }

    /// The turn of the first in the queue has come.
    pub(crate) fn on_admitted(&mut self, core: &mut Core, now: Instant) {
        self.gated = false;
        while self.queue.front().is_some_and(|job| !self.is_wanted(*job)) {
            self.queue.pop_front();
        }
        self.next_job(core, now);
        self.pump(core, now);
    }

    fn next_job(&mut self, core: &mut Core, now: Instant) {
        match self.queue.pop_front() {
            Some(Job::Start(id)) => self.start(core, now, id),
            Some(Job::Refresh(id, fork)) => self.within(core, now, id, fork, None),
            Some(Job::Close(id, fork)) => self.within(core, now, id, fork, Some(0)),
            None => {}
        }
    }

    fn is_wanted(&self, job: Job) -> bool {
        match job {
            Job::Start(id) => self.all.get(&id).is_some_and(|known| matches!(known.phase, Phase::Queued)),
            Job::Refresh(id, fork) | Job::Close(id, fork) => {
                self.all.get(&id).is_some_and(|known| known.forks.iter().any(|known| known.id == fork))
            }
        }
    }

    pub(super) fn start(&mut self, core: &mut Core, now: Instant, id: u64) {
        let timer_n = now + core.config.timers.timeout();
        let Some(subscription) = self.all.get_mut(&id) else { return };
        // It may have been forgotten and its place taken by the wish of another attempt.
        let Phase::Queued = subscription.phase else { return };
        subscription.phase = Phase::Starting { timer_n };
        subscription.call_id = core.call_id().into();
        subscription.attempt = subscription.attempt.wrapping_add(1);
        subscription.asked = true;
        subscription.started = Some(now);
        subscription.granted = None;
        subscription.cseq += 1;
        let params = &subscription.params;
        let request = core
            .request(Method::Subscribe, params.target.as_str())
            .from(core.sender(&tag(id)))
            .to(format!("<{}>", params.target))
            .call_id(&*subscription.call_id)
            .cseq(subscription.cseq);
        // What the user has may be the state still (RFC 5839); `*` asks for changes only.
        let etag = match &subscription.etag {
            Some(etag) => Some(&**etag),
            None => params.etag.as_deref().filter(|etag| *etag == "*"),
        };
        let request = core.preload_route(complete(request, params, params.expires, etag));
        let purpose = Purpose::Subscribe { id, attempt: subscription.attempt, fork: None };
        self.in_flight += 1;
        self.arm(core, id);
        core.send(now, purpose, request, Route::Service, Contact::Plain);
    }

    /// Refreshes or ends a fork.
    fn within(&mut self, core: &mut Core, now: Instant, id: u64, fork: u32, expires: Option<u32>) {
        let timer_n = now + core.config.timers.timeout();
        let Some(subscription) = self.all.get_mut(&id) else { return };
        let expires =
            if subscription.closing.is_some() { 0 } else { expires.unwrap_or(subscription.params.expires) };
        subscription.cseq += 1;
        let (cseq, attempt) = (subscription.cseq, subscription.attempt);
        let call_id = subscription.call_id.clone();
        let Some(known) = subscription.fork_mut(fork) else { return };
        known.busy = true;
        known.closed = expires == 0;
        known.timer_n = Some(timer_n);
        let (uri, routes, route) = core.dialog_route(&known.target, &known.routes);
        let to_tag = known.remote_tag.clone();
        // A notifier that gives tags need not say again what is known, nor anything at the end.
        let etag = known.etag.clone().map(|etag| if expires == 0 { Arc::from("*") } else { etag });
        let params = &subscription.params;
        let mut request = core
            .request(Method::Subscribe, uri)
            .from(core.sender(&tag(id)))
            .to(format!("<{}>;tag={to_tag}", params.target))
            .call_id(&*call_id)
            .cseq(cseq);
        for header in routes {
            request.push(HeaderName::Route, header);
        }
        let request = complete(request, params, expires, etag.as_deref());
        self.in_flight += 1;
        self.arm(core, id);
        let purpose = Purpose::Subscribe { id, attempt, fork: Some(fork) };
        core.send(now, purpose, request, route, Contact::Plain);
    }

    /// Ends a fork on our wish.
    pub(super) fn close(&mut self, core: &mut Core, now: Instant, id: u64, fork: u32) {
        if let Some(known) = self.all.get_mut(&id).and_then(|subscription| subscription.fork_mut(fork)) {
            known.busy = true;
            known.refresh_at = None;
            self.enqueue(core, now, Job::Close(id, fork));
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one answer, told completely")]
    pub(crate) fn on_done(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        attempt: u32,
        fork: Option<u32>,
        cseq: u32,
        outcome: Result<Message, Cause>,
    ) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(subscription) = self.all.get_mut(&id)
            && subscription.attempt == attempt
        {
            subscription.cseq = subscription.cseq.max(cseq);
            match fork {
                None => self.on_started(core, now, id, outcome),
                Some(fork) => self.on_refreshed(core, now, id, fork, outcome),
            }
            self.arm(core, id);
        }
        self.pump(core, now);
    }

    fn on_started(&mut self, core: &mut Core, now: Instant, id: u64, outcome: Result<Message, Cause>) {
        let timer_n = now + core.config.timers.timeout();
        let Some(subscription) = self.all.get_mut(&id) else { return };
        subscription.asked = false;
        let (cause, wait) = match outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                if matches!(subscription.phase, Phase::Starting { .. }) {
                    subscription.phase = Phase::Starting { timer_n };
                }
                // Only a NOTIFY makes a dialog (RFC 6665 §4.4.1); this says how long to hope for.
                subscription.granted = answer.expires();
                if answer.status() == Some(204) {
                    self.resumed(core, now, id, &answer);
                }
                return;
            }
            Ok(answer)
                if answer.status() == Some(423) && !subscription.raised && subscription.closing.is_none() =>
            {
                match answer.min_expires().filter(|minimum| *minimum > subscription.params.expires) {
                    Some(minimum) if subscription.params.expires > 0 => {
                        subscription.raised = true;
                        subscription.params.expires = minimum;
                        return self.restart(core, now, id);
                    }
                    _ => refusal(&answer),
                }
            }
            // Some notifiers take an event with parameters that they do not know for another event (Kamailio's `rls`).
            Ok(answer)
                if answer.status() == Some(489)
                    && subscription.params.rates != Rates::default()
                    && subscription.closing.is_none() =>
            {
                subscription.params.rates = Rates::default();
                return self.restart(core, now, id);
            }
            Ok(answer) => refusal(&answer),
            Err(cause) => (cause, None),
        };
        // Some branch of a fork refused, but another one notifies: that is what counts.
        if subscription.forks.is_empty() && matches!(subscription.phase, Phase::Starting { .. }) {
            let when = match cause.status() {
                Some(481) => When::Now,
                _ => retry_of(&cause, wait),
            };
            self.ended(core, now, id, cause, when, None);
        }
    }

    fn on_refreshed(
        &mut self,
        core: &mut Core,
        now: Instant,
        id: u64,
        fork: u32,
        outcome: Result<Message, Cause>,
    ) {
        let timer_n = now + core.config.timers.timeout();
        let Some(subscription) = self.all.get_mut(&id) else { return };
        let closing = subscription.closing.is_some();
        let (raised, expires) = (subscription.raised, subscription.params.expires);
        let Some(known) = subscription.fork_mut(fork) else { return };
        known.busy = false;
        let (cause, wait) = match outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                known.failures = 0;
                known.refused = None;
                known.timer_n = known.timer_n.map(|_| timer_n);
                if let Some(Ok(contact)) = answer.contacts().next()
                    && let Ok(uri) = contact.uri()
                {
                    known.target = uri.to_string().into();
                }
                if answer.status() == Some(204) {
                    // The document we have is still true: no NOTIFY follows (RFC 5839).
                    known.timer_n = None;
                }
                if closing && known.closed && answer.status() == Some(204) {
                    // The last NOTIFY is suppressed as well.
                    return self.drop_fork(core, now, id, fork, Cause::Closed, When::Never, None);
                }
                if closing {
                    // Either this was the end, and the last NOTIFY follows, or the end is still to be asked for.
                    if !known.closed {
                        self.close(core, now, id, fork);
                    }
                    return;
                }
                let granted = answer.expires().unwrap_or(expires).clamp(1, expires.max(1));
                known.extend(core, now, Duration::from_secs(u64::from(granted)));
                return;
            }
            Ok(answer) if answer.status() == Some(423) && !raised && !closing => {
                match answer.min_expires().filter(|minimum| *minimum > expires) {
                    Some(minimum) => {
                        known.busy = true;
                        known.timer_n = None;
                        subscription.raised = true;
                        subscription.params.expires = minimum;
                        return self.enqueue(core, now, Job::Refresh(id, fork));
                    }
                    None => refusal(&answer),
                }
            }
            Ok(answer) => refusal(&answer),
            Err(cause) => (cause, None),
        };
        known.timer_n = None;
        if closing {
            return self.drop_fork(core, now, id, fork, Cause::Closed, When::Never, None);
        }
        match cause.status() {
            // The notifier lost the dialog, not its mind: begin a new one (RFC 6665 §4.1.2.2).
            Some(481) => self.drop_fork(core, now, id, fork, cause, When::Now, None),
            Some(status) if ends_dialog(status) => {
                let when = retry_of(&cause, wait);
                self.drop_fork(core, now, id, fork, cause, when, None);
            }
            _ if matches!(cause, Cause::WrongPassword { .. } | Cause::UnsupportedChallenge { .. }) => {
                self.drop_fork(core, now, id, fork, cause, When::Never, None);
            }
            _ => {
                if let When::Later(wait) = retry_of(&cause, wait) {
                    let delay = core.backoff(known.failures, wait);
                    known.failures = known.failures.saturating_add(1);
                    known.refresh_at = Some(now + delay);
                } else {
                    known.refused = Some(cause);
                }
            }
        }
    }
}

/// Adds what every SUBSCRIBE of these parameters carries.
fn complete(request: Request, params: &SubscribeParams, expires: u32, etag: Option<&str>) -> Request {
    let mut request = request
        .header(HeaderName::Event, params.rates.written_behind(&params.event))
        .header(HeaderName::Expires, expires.to_string());
    if let Some(etag) = etag {
        request.push(HeaderName::SuppressIfMatch, etag);
    }
    let kind = params.body.as_ref().map(|(kind, _)| kind.split(';').next().unwrap_or_default().trim());
    let has_list = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/resource-lists+xml"));
    if params.event_list {
        request.push(HeaderName::Supported, "eventlist");
        if has_list && (expires > 0 || params.expires == 0) {
            request.push(HeaderName::Require, "recipient-list-subscribe");
            request.push(HeaderName::ContentDisposition, "recipient-list");
        }
    }
    if !params.accept.is_empty() {
        request.push(HeaderName::Accept, params.accept.join(", "));
    }
    for (name, value) in &params.headers {
        request.push(name.as_str(), value.clone());
    }
    match &params.body {
        // Whoever leaves needs no list and no filter; whoever fetches does.
        Some(_) if expires == 0 && params.expires > 0 => request,
        Some((content_type, body)) => request.body(content_type.clone(), body.clone()),
        None => request,
    }
}

/// The local tag of a subscription.
fn tag(id: u64) -> String {
    format!("{id:016x}")
}
