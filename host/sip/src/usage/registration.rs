//! The bindings of this account to our contacts at the registrar (RFC 3261 §10), one for each flow (RFC 5626).
//!
//! There is one flow to begin with. Where the registrar says that it keeps flows apart, and the service has as many targets, more
//! are made, each to a target of its own: when one is lost, requests come and go over the others while it is made anew.

mod answer;
mod flow;

use std::time::{Duration, Instant};

use super::{Backoff, MIN_REFRESH, When, refusal, retry_of};
use crate::agent::core::{Core, Purpose, UsageKey};
use crate::agent::place::{Contact, Route};
use crate::agent::{AgentEvent, Cause, FlowState, Registered};
use crate::message::{HeaderName, Message, Method};
use crate::transport::Destination;
use crate::uri::{Scheme, Uri};

use answer::{own_binding, own_gruu, texts};
use flow::Flow;

/// How long to wait before a lost flow is made anew while another one works (RFC 5626 §4.5).
const UNHURRIED: Backoff = Backoff { base: Duration::from_secs(90), max: Duration::from_secs(1800) };

/// How often a next hop hears of us that left the time to us.
const USUAL_KEEP: Duration = Duration::from_secs(30);

/// The longest time between keep-alives, whatever a service says.
const LONGEST_KEEP: Duration = Duration::from_secs(86_400);

/// The registration of one agent.
pub(crate) struct Registration {
    /// The interval that the user wants, in seconds; `None` when it wants no binding.
    wanted: Option<u32>,
    /// Asked for anew: whoever did so took the service for away.
    renewed: bool,
    /// The first hop knows nothing of flows (439), so that none is asked for.
    plain: bool,
    flows: Vec<Flow>,
    /// Whether the removal of all bindings was confirmed so far.
    confirmed: bool,
}

impl Default for Registration {
    fn default() -> Self {
        Self { wanted: None, renewed: false, plain: false, flows: vec![Flow::new(1)], confirmed: true }
    }
}

impl Registration {
    pub(crate) fn deadline(&self, reg_id: u32) -> Option<Instant> {
        self.flow(reg_id)?.deadline
    }

    pub(crate) fn keep_alive_at(&self, reg_id: u32) -> Option<Instant> {
        self.flow(reg_id)?.ping_at
    }

    /// Whether the registrar holds a binding of ours.
    pub(crate) fn is_bound(&self, now: Instant) -> bool {
        self.flows.iter().any(|flow| flow.is_bound(now))
    }

    /// The flows that work: number and target.
    pub(crate) fn up(&self) -> impl Iterator<Item = (u32, Destination)> + '_ {
        self.flows.iter().filter(|flow| flow.up).filter_map(|flow| Some((flow.reg_id, flow.at?)))
    }

    fn flow(&self, reg_id: u32) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.reg_id == reg_id)
    }

    fn flow_mut(&mut self, reg_id: u32) -> Option<&mut Flow> {
        self.flows.iter_mut().find(|flow| flow.reg_id == reg_id)
    }

    pub(crate) fn register(&mut self, core: &mut Core, now: Instant, expires: u32) {
        core.unlock();
        self.wanted = Some(expires.max(1));
        self.renewed = true;
        self.plain = false;
        for reg_id in self.numbers() {
            if let Some(flow) = self.flow_mut(reg_id) {
                flow.failures = 0;
            }
            self.step(core, now, reg_id);
        }
    }

    /// Asks anew for what is wanted.
    pub(crate) fn renew(&mut self, core: &mut Core, now: Instant) {
        if let Some(wanted) = self.wanted {
            self.register(core, now, wanted);
        }
    }

    pub(crate) fn unregister(&mut self, core: &mut Core, now: Instant) {
        self.wanted = None;
        self.confirmed = true;
        core.give_up_tokens(now);
        for flow in &mut self.flows {
            flow.deadline = None;
            flow.waits = false;
            flow.ping_at = None;
        }
        for reg_id in self.numbers() {
            let idle = self.flow(reg_id).is_some_and(|flow| flow.in_flight.is_none());
            if idle && self.flow(reg_id).is_some_and(|flow| flow.bound_until.is_some()) {
                self.step(core, now, reg_id);
            }
        }
        self.finish_removal(core);
    }

    /// Reports the removal once no flow has, or asks for, a binding.
    fn finish_removal(&mut self, core: &mut Core) {
        let over = |flow: &Flow| flow.in_flight.is_none() && flow.bound_until.is_none();
        if self.wanted.is_none() && self.flows.iter().all(over) {
            self.flows.truncate(1);
            core.events.push_back(AgentEvent::Unregistered { confirmed: self.confirmed });
        }
    }

    fn numbers(&self) -> Vec<u32> {
        self.flows.iter().map(|flow| flow.reg_id).collect()
    }

    /// A refresh is due, or a failure is to be retried.
    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Instant, reg_id: u32) {
        let Some(flow) = self.flow_mut(reg_id) else { return };
        if flow.deadline.is_some_and(|at| at <= now) {
            flow.deadline = None;
            if flow.waits || core.admit(now, UsageKey::Registration(reg_id)) {
                return self.step(core, now, reg_id);
            }
            self.wait(core, now, reg_id);
        }
    }

    /// A flow waits for its turn, but not so long that its binding ends.
    fn wait(&mut self, core: &mut Core, now: Instant, reg_id: u32) {
        let Some(flow) = self.flow_mut(reg_id) else { return };
        flow.waits = true;
        let left = flow.bound_until.map(|until| until.saturating_duration_since(now));
        flow.deadline = left.filter(|left| !left.is_zero()).map(|left| now + left.mul_f64(0.75));
        if let Some(at) = flow.deadline {
            core.timers.arm(at, UsageKey::Registration(reg_id));
        }
    }

    /// Its turn has come.
    pub(crate) fn on_admitted(&mut self, core: &mut Core, now: Instant, reg_id: u32) {
        // Unless it was done by hand meanwhile.
        let waits = self.flow(reg_id).is_some_and(|flow| flow.waits);
        if self.wanted.is_some() && waits {
            self.step(core, now, reg_id);
        }
    }

    /// The connection to a target broke, though no request of the registration was on its way.
    pub(crate) fn on_connection_lost(
        &mut self,
        core: &mut Core,
        now: Instant,
        destination: Destination,
        reason: &str,
    ) {
        if self.wanted.is_none() {
            return;
        }
        for reg_id in self.numbers() {
            let lost = self
                .flow(reg_id)
                .is_some_and(|flow| flow.up && flow.in_flight.is_none() && flow.at == Some(destination));
            if lost {
                let cause = Cause::Transport(reason.to_owned());
                self.flow_lost(core, now, reg_id, cause, Some(Duration::ZERO));
            }
        }
    }

    /// A flow does not work any more; it is made anew after `wait`, or after back-off.
    fn flow_lost(
        &mut self,
        core: &mut Core,
        now: Instant,
        reg_id: u32,
        cause: Cause,
        wait: Option<Duration>,
    ) {
        let others = self.flows.iter().any(|flow| flow.reg_id != reg_id && flow.up);
        let spread = core.share(Duration::from_secs(1), 0.0, 1.0);
        let Some(flow) = self.flow_mut(reg_id) else { return };
        let was_up = std::mem::take(&mut flow.up);
        flow.ping_at = None;
        flow.waits = false;
        let after = match wait {
            // What worked is made anew at once (RFC 5626 §4.5), but not in a circle with a service that closes every connection.
            Some(wait) if flow.failures == 0 => {
                let rest = flow
                    .bound_at
                    .map_or(Duration::ZERO, |at| (at + MIN_REFRESH).saturating_duration_since(now));
                wait.max(rest) + spread
            }
            wait => flow_backoff(core, others, flow.failures, wait.filter(|wait| !wait.is_zero())),
        };
        let at = now + after;
        flow.deadline = Some(at);
        core.timers.arm(at, UsageKey::Registration(reg_id));
        if was_up && core.outbound {
            core.events.push_back(AgentEvent::Flow { reg_id, state: FlowState::Down { cause, after } });
        }
    }

    /// Sends what is wanted of a flow, unless something is on its way already.
    fn step(&mut self, core: &mut Core, now: Instant, reg_id: u32) {
        let wanted = self.wanted;
        let labelled = core.config.instance.is_some() && !self.plain && core.config.flows > 0;
        let route = self.route(core, now, reg_id);
        let Some(flow) = self.flow_mut(reg_id) else { return };
        if flow.in_flight.is_some() {
            return;
        }
        let expires = wanted.map_or(0, |wanted| wanted.max(flow.minimum));
        flow.deadline = None;
        flow.waits = false;
        flow.in_flight = Some(expires);
        flow.labelled = labelled;
        if flow.call_id.is_empty() {
            flow.call_id = core.call_id();
            flow.tag = core.random();
        }
        flow.cseq += 1;
        let aor = core.config.aor.clone();
        let mut request = core
            .request(Method::Register, registrar(&aor.as_uri()))
            .from(core.sender(&format!("{:016x}", flow.tag)))
            .to(format!("<{aor}>"))
            .call_id(flow.call_id.clone())
            .cseq(flow.cseq)
            .header(HeaderName::Expires, expires.to_string());
        request.push(HeaderName::Allow, core.allow());
        let supported = match (&core.config.instance, labelled) {
            (Some(_), true) => "path, outbound, gruu",
            (Some(_), false) => "path, gruu",
            (None, _) => "path",
        };
        request.push(HeaderName::Supported, supported);
        let contact = Contact::Registration { reg_id: labelled.then_some(reg_id) };
        core.send(now, Purpose::Register(reg_id), request, route, contact);
    }

    /// Where the REGISTER of a flow goes: each to a target of its own, where flows are kept apart.
    fn route(&self, core: &Core, now: Instant, reg_id: u32) -> Route {
        if !core.outbound {
            return Route::Service;
        }
        let others: Vec<Destination> = self
            .flows
            .iter()
            .filter(|flow| flow.reg_id != reg_id)
            .filter_map(|flow| match flow.in_flight {
                Some(_) => core.registers_at(flow.reg_id).or(flow.at.filter(|_| flow.up)),
                None => flow.at.filter(|_| flow.up),
            })
            .collect();
        // Another transport to the same place would be lost with it, and a weaker one be no equal.
        let fits = |target: &Destination| {
            let kind = others.iter().all(|at| at.transport == target.transport);
            kind && !others.iter().any(|at| at.remote == target.remote)
        };
        let own = self.flow(reg_id).and_then(|flow| flow.at).filter(|at| core.is_target(*at) && fits(at));
        let works = |at: &Destination| !core.targets.is_shunned(now, *at);
        let working =
            own.filter(works).or_else(|| core.targets.pick_if(now, |target| fits(target) && works(target)));
        // Where nothing works, whatever answers will do, and the name may lead elsewhere by now; but not where another flow leads.
        let last = || if others.is_empty() { None } else { core.targets.pick_if(now, fits).or(own) };
        working.or_else(last).map_or(Route::Service, Route::To)
    }

    /// Returns whether the service came back: what failed while it was away may be tried now.
    pub(crate) fn on_done(
        &mut self,
        core: &mut Core,
        now: Instant,
        reg_id: u32,
        cseq: u32,
        at: Option<Destination>,
        outcome: Result<Message, Cause>,
    ) -> bool {
        let leaving = self.wanted.is_none();
        let Some(flow) = self.flow_mut(reg_id) else { return false };
        flow.cseq = cseq;
        let asked = flow.in_flight.take().unwrap_or(0);
        let was_away = flow.failures > 0;
        let labelled = flow.labelled;
        let mut again = false;
        let mut recovered = false;
        match outcome {
            Ok(answer) if answer.status().is_some_and(|status| status < 300) => {
                flow.failures = 0;
                flow.raised = false;
                if asked == 0 {
                    self.unbound(core, reg_id, true);
                } else {
                    self.bound(core, now, reg_id, asked, at, &answer);
                    recovered = std::mem::take(&mut self.renewed) || was_away;
                }
            }
            Ok(answer) if answer.status() == Some(423) && !flow.raised && asked != 0 => {
                match answer.min_expires().filter(|minimum| *minimum > asked) {
                    Some(minimum) => {
                        flow.raised = true;
                        flow.minimum = minimum;
                        again = true;
                    }
                    None => {
                        let (cause, wait) = refusal(&answer);
                        self.failed(core, now, reg_id, cause, wait);
                    }
                }
            }
            // Some proxy on the way would lose the flow (RFC 5626 §11.6): then it is one binding as of old.
            Ok(answer) if answer.status() == Some(439) && labelled && asked != 0 => {
                self.plain = true;
                core.outbound = false;
                if reg_id == 1 {
                    again = true;
                } else {
                    self.flows.retain(|flow| flow.reg_id == 1);
                    return false;
                }
            }
            _ if asked == 0 => self.unbound(core, reg_id, false),
            Ok(answer) => {
                let (cause, wait) = refusal(&answer);
                self.failed(core, now, reg_id, cause, wait);
            }
            Err(cause) => self.failed(core, now, reg_id, cause, None),
        }
        // The wish may have changed while the request was on its way.
        let pending = match (self.wanted, self.flow(reg_id)) {
            (Some(_), Some(flow)) => again || flow.deadline.is_none() && asked == 0,
            (None, Some(flow)) => flow.bound_until.is_some(),
            (_, None) => false,
        };
        if pending {
            self.step(core, now, reg_id);
        }
        if leaving && asked != 0 {
            self.finish_removal(core);
        }
        recovered
    }

    fn bound(
        &mut self,
        core: &mut Core,
        now: Instant,
        reg_id: u32,
        asked: u32,
        at: Option<Destination>,
        answer: &Message,
    ) {
        let wanted = self.wanted.is_some();
        let Some(flow) = self.flow_mut(reg_id) else { return };
        let labelled = flow.labelled;
        let instance = core.config.instance.clone();
        let secure = core.config.aor.as_uri().scheme() == Scheme::Sips;
        let own = at.map(|at| core.contact_uri(at, secure)).unwrap_or_default();
        let binding = own_binding(answer, &own, instance.as_deref(), labelled.then_some(reg_id));
        let expires = binding
            .and_then(|binding| binding.expires())
            .or_else(|| answer.expires())
            .unwrap_or(asked)
            // A registrar may shorten what was asked for, but not lengthen it (RFC 3261 §10.2.1.1).
            .min(asked);
        if expires == 0 {
            let cause = Cause::Status { code: 200, reason: "the binding was not kept".to_owned() };
            self.failed(core, now, reg_id, cause, Some(Duration::from_secs(1)));
            return;
        }
        let expires = Duration::from_secs(u64::from(expires));
        let refresh = core.share(expires, 0.7, 0.85).max(MIN_REFRESH);
        let newly_up = !flow.up;
        flow.bound_until = Some(now + expires);
        flow.bound_at = Some(now);
        flow.at = at;
        flow.up = true;
        if wanted {
            flow.deadline = Some(now + refresh);
            core.timers.arm(now + refresh, UsageKey::Registration(reg_id));
        }
        let required = answer.values(HeaderName::Require).any(|tag| tag.eq_ignore_ascii_case(b"outbound"));
        let outbound = labelled && required;
        flow.timer = if outbound { flow_timer(answer).or_else(|| keep(answer)) } else { keep(answer) };
        flow.arm_keep_alive(core, now);
        if reg_id == 1 {
            core.outbound = outbound;
        }
        let leads = reg_id == 1 || !self.flow(1).is_some_and(|first| first.up);
        if leads {
            core.service_route = texts(answer, HeaderName::ServiceRoute);
        }
        let gruu = own_gruu(answer, instance.as_deref(), "pub-gruu");
        core.gruu.clone_from(&gruu);
        if outbound
            && newly_up
            && let Some(to) = at
        {
            core.events.push_back(AgentEvent::Flow { reg_id, state: FlowState::Up { to } });
        }
        core.events.push_back(AgentEvent::Registered(Registered {
            expires,
            service_route: core.service_route.clone(),
            path: texts(answer, HeaderName::Path),
            gruu,
            temp_gruu: own_gruu(answer, instance.as_deref(), "temp-gruu"),
            outbound,
            reg_id,
        }));
        if reg_id == 1 && wanted {
            self.settle_flows(core, now);
        }
    }

    /// Makes the flows that are missing, and forgets those that are no longer wanted.
    fn settle_flows(&mut self, core: &mut Core, now: Instant) {
        let room = match self.flow(1).and_then(|first| first.at) {
            Some(first) if core.outbound => core.config.flows.min(places(core, first)).max(1),
            _ => 1,
        };
        if self.flows.len() > room {
            self.flows.truncate(room);
        }
        while self.flows.len() < room {
            let reg_id = self.flows.iter().map(|flow| flow.reg_id).max().unwrap_or(0) + 1;
            self.flows.push(Flow::new(reg_id));
            if core.admit(now, UsageKey::Registration(reg_id)) {
                self.step(core, now, reg_id);
            } else {
                self.wait(core, now, reg_id);
            }
        }
    }

    fn unbound(&mut self, core: &mut Core, reg_id: u32, confirmed: bool) {
        self.confirmed &= confirmed;
        if let Some(flow) = self.flow_mut(reg_id) {
            flow.bound_until = None;
            flow.ping_at = None;
            flow.up = false;
        }
        if reg_id == 1 {
            core.service_route.clear();
            core.gruu = None;
            core.outbound = false;
        }
        self.finish_removal(core);
    }

    fn failed(&mut self, core: &mut Core, now: Instant, reg_id: u32, cause: Cause, wait: Option<Duration>) {
        let wanted = self.wanted.is_some();
        let others = self.flows.iter().any(|flow| flow.reg_id != reg_id && flow.up);
        let when = if wait.is_some() && cause.status() == Some(200) {
            When::Later(wait)
        } else {
            retry_of(&cause, wait)
        };
        // A wrong password is wrong for all flows.
        let final_for_one = others && reg_id != 1 && !matches!(cause, Cause::WrongPassword { .. });
        let Some(flow) = self.flow_mut(reg_id) else { return };
        if flow.bound_until.is_some_and(|until| until <= now) {
            flow.bound_until = None;
        }
        flow.ping_at = None;
        let was_up = std::mem::take(&mut flow.up);
        let retry = match when {
            When::Later(wait) if wanted => {
                let delay = flow_backoff(core, others, flow.failures, wait);
                flow.failures = flow.failures.saturating_add(1);
                flow.deadline = Some(now + delay);
                core.timers.arm(now + delay, UsageKey::Registration(reg_id));
                Some(delay)
            }
            _ if final_for_one => {
                // A further flow is no matter of life and death: the first one goes on without it.
                self.flows.retain(|flow| flow.reg_id != reg_id);
                None
            }
            _ => {
                // A person has to act: the wish is dropped, so that nothing is sent by itself.
                self.wanted = None;
                None
            }
        };
        if was_up && core.outbound {
            let after = retry.unwrap_or(Duration::MAX);
            let state = FlowState::Down { cause: cause.clone(), after };
            core.events.push_back(AgentEvent::Flow { reg_id, state });
        }
        if others && (retry.is_some() || final_for_one) {
            // The account is still reachable, so nothing is wrong with its registration.
            return;
        }
        let remaining = self.flows.iter().filter_map(|flow| flow.bound_until).max();
        let remaining = remaining.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if retry.is_none() {
            for flow in &mut self.flows {
                flow.bound_until = None;
                flow.deadline = None;
                flow.waits = false;
                flow.ping_at = None;
                flow.up = false;
            }
            self.flows.truncate(1);
            core.gruu = None;
        }
        core.events.push_back(AgentEvent::RegistrationFailed { cause, retry, remaining });
    }

    /// A flow wants to be kept alive.
    pub(crate) fn on_keep_alive(&mut self, core: &mut Core, now: Instant, reg_id: u32) {
        let Some(flow) = self.flow_mut(reg_id) else { return };
        if flow.ping_at.is_some_and(|at| at <= now) {
            flow.ping(core, now);
        }
    }

    /// A NAT was found on the way: flows of datagrams must be kept open.
    pub(crate) fn on_nat(&mut self, core: &mut Core, now: Instant) {
        for flow in self.flows.iter_mut().filter(|flow| flow.up && flow.ping_at.is_none()) {
            flow.arm_keep_alive(core, now);
        }
    }
}

/// The number of targets that can be reached as this one is, each at a place of its own.
fn places(core: &Core, like: Destination) -> usize {
    let alike = core.targets.iter().filter(|target| target.transport == like.transport);
    alike.map(|target| target.remote).collect::<std::collections::BTreeSet<_>>().len()
}

/// How long a flow waits before it is made anew.
fn flow_backoff(core: &mut Core, others: bool, failures: u32, wait: Option<Duration>) -> Duration {
    if !others {
        return core.backoff(failures, wait);
    }
    let chance = core.chance();
    let delay = UNHURRIED.delay(failures.saturating_add(1), chance);
    delay.max(wait.unwrap_or_default().min(core.config.max_retry_after))
}

/// After how long without a word the service takes a flow for dead (RFC 5626 §5.4).
fn flow_timer(answer: &Message) -> Option<Duration> {
    let seconds = std::str::from_utf8(answer.header(HeaderName::FlowTimer)?).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_KEEP)).filter(|timer| !timer.is_zero())
}

/// How often the next hop wants to hear of us, if it said so (RFC 6223); zero leaves the time to us.
fn keep(answer: &Message) -> Option<Duration> {
    let via = answer.top_via().ok()?;
    let seconds: u64 = via.params().get_str("keep")?.parse().ok()?;
    Some(if seconds == 0 { USUAL_KEEP } else { Duration::from_secs(seconds).min(LONGEST_KEEP) })
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
