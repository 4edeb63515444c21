//! What all usages of an agent share: the endpoint, the credentials, the service's address, and the way a request takes
//! through them.
//!
//! A request becomes an [`Exchange`]. It is sent, challenged, sent again, fails over to the next target, and ends in
//! exactly one [`Done`] for the usage that wanted it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use smallvec::SmallVec;

use super::auth::{Attempt, Auth, Outcome};
use super::exchange::Trust;
pub(crate) use super::exchange::{Done, Errand, Exchange, Heard, Purpose, ReferErrand, Way};
use super::gate::Gate;
use super::learn::Learnt;
use super::place::{Contact, Route};
use super::{AgentConfig, AgentEvent, Cause, Diagnostic};
use crate::digest::Secret;
use crate::endpoint::{Endpoint, EndpointConfig, Failure, Request};
use crate::message::{HeaderName, Limits, Message, Method};
use crate::resolve::{Resolve, ResolveId, Targets};
use crate::transaction::TransactionId;
use crate::transaction::queue::TimerQueue;
use crate::transport::{Destination, Flow, Transport};
use crate::uri::Host;

/// Server transactions of one account at once, besides one for each subscription: on sign-in everybody's notification may
/// come within one timer J. A person's other traffic needs a handful; more is an attack.
const MAX_SERVER_TRANSACTIONS: usize = 4_096;
/// Requests that wait for an access token at once.
const MAX_TOKENLESS: usize = 1_024;
/// Diagnostics about what others sent, in each period.
const MAX_COMPLAINTS: u32 = 32;
const COMPLAINTS_PERIOD: Duration = Duration::from_secs(60);

/// Who has a deadline.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub(crate) enum UsageKey {
    /// The flow of this number.
    Registration(u32),
    KeepAlive(u32),
    /// The SUBSCRIBE requests that wait for their place in the window.
    Subscriptions,
    Subscription(u64),
    Publication(u64),
    Invite(u64),
    Refer(u64),
    /// Whoever waits for the budget, or for the service to recover.
    Gate,
}

pub(super) enum Lookup {
    /// Nobody asked yet, or what was known did not work.
    Unknown,
    Asked(ResolveId),
    Known,
}

pub(crate) struct Core {
    pub(crate) config: AgentConfig,
    pub(crate) endpoint: Endpoint,
    pub(crate) auth: Auth,
    pub(crate) timers: TimerQueue<UsageKey>,
    pub(crate) events: VecDeque<AgentEvent>,
    pub(crate) resolves: VecDeque<Resolve>,
    pub(crate) done: VecDeque<Done>,
    /// The route that the registrar gave for requests out of dialogs (RFC 3608).
    pub(crate) service_route: Vec<String>,
    /// Our public GRUU, while the registrar holds our binding.
    pub(crate) gruu: Option<String>,
    /// The registrar keeps our flows apart (RFC 5626).
    pub(crate) outbound: bool,
    pub(super) gate: Gate,
    pub(super) learnt: Learnt,
    rng: ChaCha20Rng,
    pub(super) exchanges: HashMap<TransactionId, Exchange>,
    pub(super) waiting: Vec<Exchange>,
    /// What waits for an access token.
    pub(super) tokenless: Vec<Exchange>,
    pub(crate) targets: Targets,
    /// Places of the service besides its targets.
    pub(super) known: Vec<IpAddr>,
    /// The host name of the service; `None` where it is given as an IP address.
    pub(super) domain: Option<Arc<str>>,
    pub(super) lookup: Lookup,
    /// The driver set the targets, so that no name is looked up.
    pub(super) fixed: bool,
    /// The service rejected the password: nothing more is sent to it until a person acts.
    locked: Option<Cause>,
    next_id: u64,
    /// Where a NAT shows us.
    pub(crate) seen: Option<SocketAddr>,
    /// Diagnostics about what others sent: since when they are counted, and how many there were.
    complaints: (Option<Instant>, u32),
}

impl Core {
    pub(crate) fn new(config: AgentConfig, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut endpoint_seed = [0; 32];
        rng.fill_bytes(&mut endpoint_seed);
        let endpoint_config = EndpointConfig {
            timers: config.timers,
            limits: Limits { message: config.max_message, ..Limits::default() },
            max_server_transactions: MAX_SERVER_TRANSACTIONS.saturating_add(config.max_subscriptions),
            ..EndpointConfig::new(config.local.clone())
        };
        let user = config
            .auth_user
            .clone()
            .or_else(|| config.aor.as_uri().user().map(str::to_owned))
            .unwrap_or_default();
        let gate = Gate::new(config.budget.clone());
        let domain = match config.service.as_ref().unwrap_or(&config.aor).as_uri().host() {
            Some(Host::Name(name)) => Some(name.into()),
            _ => None,
        };
        Self {
            domain,
            endpoint: Endpoint::new(endpoint_config, endpoint_seed),
            auth: Auth::new(user, &config.credential, config.digest),
            config,
            timers: TimerQueue::new(),
            events: VecDeque::new(),
            resolves: VecDeque::new(),
            done: VecDeque::new(),
            service_route: Vec::new(),
            gruu: None,
            outbound: false,
            gate,
            learnt: Learnt::default(),
            rng,
            exchanges: HashMap::new(),
            waiting: Vec::new(),
            tokenless: Vec::new(),
            known: Vec::new(),
            targets: Targets::default(),
            lookup: Lookup::Unknown,
            fixed: false,
            locked: None,
            next_id: 1,
            seen: None,
            complaints: (None, 0),
        }
    }

    /// Tells of something wrong that others sent, but not without end.
    pub(crate) fn complain(&mut self, now: Instant, diagnostic: Diagnostic) {
        let (since, count) = &mut self.complaints;
        if since.is_none_or(|since| since + COMPLAINTS_PERIOD <= now) {
            (*since, *count) = (Some(now), 0);
        }
        if *count < MAX_COMPLAINTS {
            *count += 1;
            self.events.push_back(AgentEvent::Diagnostic(diagnostic));
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// An access token came (RFC 8898): what waited for it goes on.
    pub(crate) fn set_token(&mut self, now: Instant, token: Secret) {
        self.unlock();
        self.auth.set_token(token);
        for mut exchange in std::mem::take(&mut self.tokenless) {
            exchange.renumber();
            self.launch(now, exchange);
        }
    }

    /// Nobody waits for an access token any more.
    pub(crate) fn give_up_tokens(&mut self, now: Instant) {
        for exchange in std::mem::take(&mut self.tokenless) {
            self.finish(now, &exchange, Err(Cause::NoToken));
        }
    }

    /// A person acted: rejected credentials get another chance.
    pub(crate) fn unlock(&mut self) {
        self.locked = None;
        self.auth.forgive();
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number between 0 and 1.
    pub(crate) fn chance(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }

    /// A random time between these shares of `whole`.
    pub(crate) fn share(&mut self, whole: Duration, from: f64, to: f64) -> Duration {
        let chance = self.chance();
        whole.mul_f64(from + (to - from) * chance)
    }

    /// How long to wait after this many earlier failures, honouring what the service asked for.
    pub(crate) fn backoff(&mut self, failures: u32, wait: Option<Duration>) -> Duration {
        let chance = self.chance();
        let delay = self.config.backoff.delay(failures, chance);
        match wait {
            // Never earlier than asked, and not all at the same moment.
            Some(wait) => {
                let wait = wait.min(self.config.max_retry_after);
                delay.max(wait + self.share(wait, 0.0, 0.1))
            }
            None => delay,
        }
    }

    pub(crate) fn call_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.random(), self.random())
    }

    /// The name-addr of this account with a tag.
    pub(crate) fn sender(&self, tag: &str) -> String {
        let aor = &self.config.aor;
        match &self.config.display_name {
            Some(name) => format!("{} <{aor}>;tag={tag}", crate::text::quote(name)),
            None => format!("<{aor}>;tag={tag}"),
        }
    }

    /// A request without From, To and Call-ID, with what all requests of this agent carry.
    pub(crate) fn request(&self, method: Method<'_>, uri: impl Into<String>) -> Request {
        let request = Request::new(method, uri);
        if self.config.user_agent.is_empty() {
            request
        } else {
            request.header(HeaderName::UserAgent, self.config.user_agent.clone())
        }
    }

    /// Adds the route that requests out of dialogs take.
    pub(crate) fn preload_route(&self, mut request: Request) -> Request {
        for route in &self.service_route {
            request.push(HeaderName::Route, route.clone());
        }
        request
    }

    /// Begins an exchange. Its end is found in `done`, perhaps at once.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        purpose: Purpose,
        request: Request,
        route: Route,
        contact: Contact,
    ) {
        self.send_by(now, purpose, request, Way::new(route, contact));
    }

    /// [`send`](Self::send) with more to be said about the way.
    pub(crate) fn send_by(&mut self, now: Instant, purpose: Purpose, request: Request, way: Way) {
        let exchange = Exchange {
            purpose,
            request,
            way,
            attempt: Attempt::default(),
            destination: None,
            tried: SmallVec::new(),
            arrived: false,
            cancelled: false,
            credentials: Vec::new(),
        };
        self.launch(now, exchange);
    }

    /// Keeps the way to a target open.
    pub(crate) fn ping(&mut self, to: Destination) {
        let domain = self.domain_at(to);
        self.endpoint.keep_alive(to, domain);
    }

    /// Sends what waited for the service's address, or lets it fail.
    pub(super) fn release(&mut self, now: Instant, cause: Option<&Cause>) {
        for exchange in std::mem::take(&mut self.waiting) {
            match cause {
                Some(cause) => self.finish(now, &exchange, Err(cause.clone())),
                None => self.launch(now, exchange),
            }
        }
    }

    pub(super) fn launch(&mut self, now: Instant, mut exchange: Exchange) {
        if let Some(cause) = &self.locked {
            let cause = cause.clone();
            return self.finish(now, &exchange, Err(cause));
        }
        let secure = exchange.is_secure();
        let fits = |destination: &Destination| !secure || destination.transport.is_secure();
        let destination = match exchange.way.route {
            Route::To(destination) => Some(destination).filter(fits),
            Route::Service => {
                if matches!(self.lookup, Lookup::Unknown) {
                    self.look_up();
                }
                if matches!(self.lookup, Lookup::Asked(_)) {
                    self.waiting.push(exchange);
                    return;
                }
                if self.targets.is_empty() {
                    return self.finish(now, &exchange, Err(Cause::NotFound("no address".to_owned())));
                }
                self.targets.pick_if(now, |target| fits(target) && !exchange.tried.contains(target))
            }
        };
        let Some(destination) = destination else {
            return self.finish(now, &exchange, Err(Cause::Insecure));
        };
        exchange.destination = Some(destination);
        let mut extra = Vec::new();
        if exchange.way.contact != Contact::None {
            let mut contact = self.contact(destination, exchange.way.contact, secure);
            if let Some(features) = &exchange.way.features {
                contact.push_str(&format!(";{features}"));
            }
            extra.push((HeaderName::Contact, contact));
        }
        let entropy = u128::from(self.random()) << 64 | u128::from(self.random());
        let trusted = self.trusts(&exchange, destination);
        let credentials = self.auth.authorize(&mut exchange.attempt, &exchange.request, trusted, entropy);
        if exchange.request.method == Method::Invite {
            exchange.credentials.clone_from(&credentials);
        }
        extra.extend(credentials);
        let domain = self.domain_at(destination);
        match self.endpoint.send_with(now, &exchange.request, &extra, destination, None, domain) {
            Ok(id) => {
                self.exchanges.insert(id, exchange);
            }
            Err(error) => self.finish(now, &exchange, Err(Cause::Invalid(error.to_string()))),
        }
    }

    /// What a credential that can be stolen may be used for.
    fn trusts(&self, exchange: &Exchange, destination: Destination) -> Trust {
        Trust {
            service: self.is_target(destination),
            to_ourselves: exchange.request.uri == self.config.aor.as_str(),
            secure: destination.transport.is_secure(),
        }
    }

    /// Where the REGISTER of this flow is on its way to.
    pub(crate) fn registers_at(&self, reg_id: u32) -> Option<Destination> {
        let mut exchanges = self.exchanges.values();
        exchanges.find(|exchange| exchange.purpose == Purpose::Register(reg_id))?.destination
    }

    /// Takes an answer. Gives back what a session wants to know before, or after, its INVITE has ended.
    pub(crate) fn on_response(
        &mut self,
        now: Instant,
        id: TransactionId,
        answer: Message,
        flow: &Flow,
    ) -> Option<Heard> {
        self.learn_address(&answer, flow);
        let status = answer.status().unwrap_or_default();
        if status < 200 {
            let exchange = self.exchanges.get_mut(&id)?;
            exchange.arrived |= status > 100;
            match exchange.purpose {
                Purpose::Request(id) | Purpose::Invite(_, Errand::Own(id)) => {
                    self.events.push_back(AgentEvent::Response { id, message: answer });
                }
                purpose if exchange.request.method == Method::Invite => {
                    let cseq = exchange.request.cseq;
                    return Some(Heard { purpose: Some(purpose), cseq, message: answer });
                }
                _ => {}
            }
            return None;
        }
        let Some(exchange) = self.exchanges.remove(&id) else {
            // Only an INVITE has further final answers (RFC 3261 §13.2.2.4).
            let cseq = answer.cseq().ok().filter(|cseq| cseq.method == Method::Invite)?.number;
            return Some(Heard { purpose: None, cseq, message: answer });
        };
        self.on_final(now, exchange, answer, flow);
        None
    }

    fn on_final(&mut self, now: Instant, mut exchange: Exchange, answer: Message, flow: &Flow) {
        let status = answer.status().unwrap_or_default();
        if let Some(destination) = exchange.destination {
            self.targets.alive(destination);
        }
        if exchange.way.route == Route::Service && exchange.stays_at_service() {
            self.remember(flow.remote.ip());
        }
        self.learn(now, &exchange, &answer);
        if matches!(status, 401 | 407) && !exchange.cancelled {
            return self.on_challenge(now, exchange, &answer);
        }
        self.auth.accepted(&mut exchange.attempt, &answer);
        let wait = answer.retry_after().map(|after| Duration::from_secs(u64::from(after.seconds)));
        // 430 is of one flow; others may still work (RFC 5626 §11.5).
        if status == 503 || status == 430 && exchange.way.route == Route::Service {
            let speaks = exchange.stays_at_service();
            match self.fail_over(now, exchange, speaks, wait) {
                None => {}
                Some(exchange) => {
                    if let (503, Some(wait), Route::Service, true) =
                        (status, wait, exchange.way.route, speaks)
                    {
                        self.hold(now, wait);
                    }
                    self.finish(now, &exchange, Ok(answer));
                }
            }
        } else {
            if exchange.stays_at_service() && status < 300 {
                self.release_hold(now);
            }
            self.finish(now, &exchange, Ok(answer));
        }
    }

    fn on_challenge(&mut self, now: Instant, mut exchange: Exchange, answer: &Message) {
        // Whatever realm a peer names, only the registrar decides what the password is worth.
        let ours = matches!(exchange.purpose, Purpose::Register(_));
        let trust = exchange.destination.map(|destination| self.trusts(&exchange, destination));
        let trust = trust.unwrap_or_default();
        match self.auth.challenged(&mut exchange.attempt, &exchange.request, answer, ours, trust) {
            Outcome::Again => {
                // RFC 3261 §22.2: the same request with a higher number.
                exchange.renumber();
                self.launch(now, exchange);
            }
            Outcome::Wait(needed) => {
                self.events.extend(needed.map(AgentEvent::TokenNeeded));
                // A subscription has a clock of its own, and begins anew when there is a token.
                let subscription = matches!(exchange.purpose, Purpose::Subscribe { .. });
                if subscription || self.tokenless.len() >= MAX_TOKENLESS {
                    self.finish(now, &exchange, Err(Cause::NoToken));
                } else {
                    self.tokenless.push(exchange);
                }
            }
            Outcome::Refused(cause, needed) => {
                self.events.extend(needed.map(AgentEvent::TokenNeeded));
                if ours && matches!(cause, Cause::WrongPassword { .. }) {
                    self.locked = Some(cause.clone());
                }
                self.finish(now, &exchange, Err(cause));
            }
        }
    }

    pub(crate) fn on_failed(&mut self, now: Instant, id: TransactionId, failure: Failure) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        if let Route::To(destination) = exchange.way.route {
            // Nothing else will do for this one, but others need not try it.
            self.targets.failed(now, destination);
            let registers = matches!(exchange.purpose, Purpose::Register(_));
            let mut targets = self.targets.iter();
            let all_failed = registers && targets.all(|target| self.targets.is_shunned(now, target));
            if all_failed && !self.fixed && matches!(self.lookup, Lookup::Known) {
                // Flows name their targets, but these may lie elsewhere by now.
                self.lookup = Lookup::Unknown;
            }
        }
        if let Some(exchange) = self.fail_over(now, exchange, true, None) {
            let cause = match failure {
                Failure::Timeout => Cause::Timeout,
                Failure::Transport(reason) => Cause::Transport(reason),
            };
            if exchange.way.route == Route::Service && !self.fixed {
                // All that was known failed: the name may lead elsewhere by now.
                self.lookup = match self.lookup {
                    Lookup::Known => Lookup::Unknown,
                    _ => return self.finish(now, &exchange, Err(cause)),
                };
            }
            self.finish(now, &exchange, Err(cause));
        }
    }

    /// Sends to the next target (RFC 3263 §4.3), or gives the exchange back when there is none. `shun` says that other requests shall
    /// leave the target out as well.
    fn fail_over(
        &mut self,
        now: Instant,
        mut exchange: Exchange,
        shun: bool,
        wait: Option<Duration>,
    ) -> Option<Exchange> {
        let destination = exchange.destination?;
        if exchange.way.route != Route::Service || exchange.cancelled || exchange.arrived && shun {
            return Some(exchange);
        }
        if shun {
            self.targets.failed_for(now, destination, wait);
        }
        exchange.tried.push(destination);
        let secure = exchange.is_secure();
        let left = |target: &Destination| {
            !exchange.tried.contains(target) && (!secure || target.transport.is_secure())
        };
        if self.targets.pick_if(now, left).is_none() {
            return Some(exchange);
        }
        self.launch(now, exchange);
        None
    }

    pub(super) fn finish(&mut self, now: Instant, exchange: &Exchange, outcome: Result<Message, Cause>) {
        self.note_outcome(now, exchange, &outcome);
        let (purpose, destination) = (exchange.purpose, exchange.destination);
        let credentials = exchange.credentials.clone();
        self.done.push_back(Done { purpose, cseq: exchange.request.cseq, destination, outcome, credentials });
    }

    /// Where the service sees us (RFC 3581), told once for each change.
    fn learn_address(&mut self, answer: &Message, flow: &Flow) {
        let Ok(via) = answer.top_via() else { return };
        let local = self.endpoint.config().local_for(flow.transport, flow.remote);
        let (Some(local), Transport::Udp) = (local, flow.transport) else { return };
        let ip = via.received().unwrap_or(local.ip());
        let port = via.rport().flatten().unwrap_or(local.port());
        let seen = SocketAddr::new(ip, port);
        if seen != local && self.seen != Some(seen) {
            self.seen = Some(seen);
            self.events.push_back(AgentEvent::Diagnostic(Diagnostic::PublicAddress { local, seen }));
        }
    }
}
