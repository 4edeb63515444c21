//! The binding of this account to our contact at the registrar (RFC 3261 §10).

use std::time::{Duration, Instant};

use super::{MIN_REFRESH, When, refusal, retry_of};
use crate::agent::core::{Contact, Core, Purpose, Route, UsageKey};
use crate::agent::{AgentEvent, Cause, Registered};
use crate::message::{HeaderName, Message, Method, NameAddr};
use crate::uri::Uri;

/// The registration of one agent.
#[derive(Default)]
pub(crate) struct Registration {
    /// The interval that the user wants, in seconds; `None` when it wants no binding.
    wanted: Option<u32>,
    /// The least interval that the registrar takes (423).
    minimum: u32,
    /// The interval that the request on its way asks for; 0 removes the binding.
    in_flight: Option<u32>,
    /// A 423 was answered with its Min-Expires already.
    raised: bool,
    bound_until: Option<Instant>,
    /// When the binding is refreshed, or a failure retried.
    deadline: Option<Instant>,
    failures: u32,
    /// Asked for anew: whoever did so took the service for away.
    renewed: bool,
    call_id: String,
    tag: u64,
    cseq: u32,
}

impl Registration {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the registrar holds our binding.
    pub(crate) fn is_bound(&self, now: Instant) -> bool {
        self.bound_until.is_some_and(|until| until > now)
    }

    pub(crate) fn register(&mut self, core: &mut Core, now: Instant, expires: u32) {
        core.unlock();
        self.wanted = Some(expires.max(1));
        self.failures = 0;
        self.renewed = true;
        self.step(core, now);
    }

    pub(crate) fn unregister(&mut self, core: &mut Core, now: Instant) {
        self.wanted = None;
        self.deadline = None;
        if self.in_flight.is_none() && self.bound_until.is_none() {
            core.events.push_back(AgentEvent::Unregistered { confirmed: true });
            return;
        }
        self.step(core, now);
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Instant) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.step(core, now);
        }
    }

    /// Sends what is wanted, unless something is on its way already.
    fn step(&mut self, core: &mut Core, now: Instant) {
        if self.in_flight.is_some() {
            return;
        }
        let expires = self.wanted.map_or(0, |wanted| wanted.max(self.minimum));
        self.deadline = None;
        self.in_flight = Some(expires);
        if self.call_id.is_empty() {
            self.call_id = core.call_id();
            self.tag = core.random();
        }
        self.cseq += 1;
        let aor = core.config.aor.clone();
        let mut request = core
            .request(Method::Register, registrar(&aor.as_uri()))
            .from(core.sender(&format!("{:016x}", self.tag)))
            .to(format!("<{aor}>"))
            .call_id(self.call_id.clone())
            .cseq(self.cseq)
            .header(HeaderName::Expires, expires.to_string());
        request.push(HeaderName::Allow, core.allow());
        let supported = if core.config.instance.is_some() { "path, gruu" } else { "path" };
        request.push(HeaderName::Supported, supported);
        core.send(now, Purpose::Register, request, Route::Service, Contact::Registration);
    }

    /// Returns whether the service came back: what failed while it was away may be tried now.
    pub(crate) fn on_done(
        &mut self,
        core: &mut Core,
        now: Instant,
        cseq: u32,
        outcome: Result<Message, Cause>,
    ) -> bool {
        self.cseq = cseq;
        let asked = self.in_flight.take().unwrap_or(0);
        let was_away = self.failures > 0;
        let recovered = match outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                self.failures = 0;
                self.raised = false;
                if asked == 0 {
                    self.unbound(core, true);
                } else {
                    self.bound(core, now, asked, &answer);
                }
                (std::mem::take(&mut self.renewed) || was_away) && asked != 0
            }
            Ok(answer) if answer.status() == Some(423) && !self.raised && asked != 0 => {
                match answer.min_expires().filter(|minimum| *minimum > asked) {
                    Some(minimum) => {
                        self.raised = true;
                        self.minimum = minimum;
                    }
                    None => {
                        let (cause, wait) = refusal(&answer);
                        self.failed(core, now, cause, wait);
                    }
                }
                false
            }
            _ if asked == 0 => {
                self.unbound(core, false);
                false
            }
            Ok(answer) => {
                let (cause, wait) = refusal(&answer);
                self.failed(core, now, cause, wait);
                false
            }
            Err(cause) => {
                self.failed(core, now, cause, None);
                false
            }
        };
        // The wish may have changed while the request was on its way, or the registrar wants a longer interval.
        let pending = match self.wanted {
            Some(_) => self.deadline.is_none() && (asked == 0 || (self.raised && self.minimum > asked)),
            None => self.bound_until.is_some(),
        };
        if pending {
            self.step(core, now);
        }
        recovered
    }

    fn bound(&mut self, core: &mut Core, now: Instant, asked: u32, answer: &Message) {
        let expires = core
            .service_contact(now)
            .and_then(|own| own_expires(answer, &own))
            .or_else(|| answer.expires())
            .unwrap_or(asked)
            // A registrar may shorten what was asked for, but not lengthen it (RFC 3261 §10.2.1.1).
            .min(asked);
        if expires == 0 {
            let cause = Cause::Status { code: 200, reason: "the binding was not kept".to_owned() };
            self.failed(core, now, cause, Some(Duration::from_secs(1)));
            return;
        }
        let expires = Duration::from_secs(u64::from(expires));
        self.bound_until = Some(now + expires);
        if self.wanted.is_some() {
            self.deadline = Some(now + core.share(expires, 0.7, 0.85).max(MIN_REFRESH));
            self.arm(core);
        }
        core.service_route = texts(answer, HeaderName::ServiceRoute);
        core.events.push_back(AgentEvent::Registered(Registered {
            expires,
            service_route: core.service_route.clone(),
            path: texts(answer, HeaderName::Path),
            gruu: own_gruu(answer, core.config.instance.as_deref()),
            temp_gruu: None,
            outbound: false,
            reg_id: 1,
        }));
    }

    fn unbound(&mut self, core: &mut Core, confirmed: bool) {
        self.bound_until = None;
        core.service_route.clear();
        if self.wanted.is_none() {
            core.events.push_back(AgentEvent::Unregistered { confirmed });
        }
    }

    fn failed(&mut self, core: &mut Core, now: Instant, cause: Cause, wait: Option<Duration>) {
        if self.bound_until.is_some_and(|until| until <= now) {
            self.bound_until = None;
        }
        let when = if wait.is_some() && cause.status() == Some(200) {
            When::Later(wait)
        } else {
            retry_of(&cause, wait)
        };
        let retry = match when {
            When::Later(wait) if self.wanted.is_some() => {
                let delay = core.backoff(self.failures, wait);
                self.failures = self.failures.saturating_add(1);
                self.deadline = Some(now + delay);
                self.arm(core);
                Some(delay)
            }
            _ => {
                // A person has to act: the wish is dropped, so that nothing is sent by itself.
                self.wanted = None;
                None
            }
        };
        let remaining = self.bound_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if retry.is_none() {
            self.bound_until = None;
        }
        core.events.push_back(AgentEvent::RegistrationFailed { cause, retry, remaining });
    }

    fn arm(&self, core: &mut Core) {
        if let Some(at) = self.deadline {
            core.timers.arm(at, UsageKey::Registration);
        }
    }
}

/// The registrar of an address: its domain, without user and parameters (RFC 3261 §10.2).
fn registrar(aor: &Uri<'_>) -> String {
    let scheme = aor.scheme().as_str();
    let host = aor.host().map(|host| host.to_string()).unwrap_or_default();
    match aor.port() {
        Some(port) => format!("{scheme}:{host}:{port}"),
        None => format!("{scheme}:{host}"),
    }
}

/// The expiry of our own binding among those that the registrar lists (RFC 3261 §10.2.4).
fn own_expires(answer: &Message, own: &str) -> Option<u32> {
    own_binding(answer, own)?.expires()
}

fn own_binding<'a>(answer: &'a Message, own: &str) -> Option<NameAddr<'a>> {
    let own = Uri::parse_str(own).ok()?;
    answer
        .values(HeaderName::Contact)
        .filter_map(NameAddr::parse)
        .find(|contact| contact.uri().is_ok_and(|uri| uri.equivalent(&own)))
}

fn own_gruu(answer: &Message, instance: Option<&str>) -> Option<String> {
    let instance = instance?;
    answer
        .values(HeaderName::Contact)
        .filter_map(NameAddr::parse)
        .find(|contact| {
            contact.params().get_str("+sip.instance").is_some_and(|value| value.contains(instance))
        })
        .and_then(|contact| {
            contact.params().get_str("pub-gruu").map(|gruu| gruu.trim_matches('"').to_owned())
        })
}

fn texts(answer: &Message, name: HeaderName) -> Vec<String> {
    answer.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
