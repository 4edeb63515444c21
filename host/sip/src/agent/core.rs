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

use super::auth::{Attempt, Auth};
use super::{AgentConfig, AgentEvent, Cause, Diagnostic, MessageId, RequestId};
use crate::digest::Secret;
use crate::endpoint::{Endpoint, EndpointConfig, Failure, Request};
use crate::message::{HeaderName, Message, Method};
use crate::resolve::{self, Resolve, ResolveId, Targets};
use crate::transaction::TransactionId;
use crate::transaction::queue::TimerQueue;
use crate::transport::{Destination, Flow, Transport};
use crate::uri::{Host, Uri, UriBuf};

/// Server transactions of one account at once, besides one for each subscription: on sign-in everybody's notification may
/// come within one timer J. A person's other traffic needs a handful; more is an attack.
const MAX_SERVER_TRANSACTIONS: usize = 4_096;
/// Diagnostics about what others sent, in each period.
const MAX_COMPLAINTS: u32 = 32;
const COMPLAINTS_PERIOD: Duration = Duration::from_secs(60);

/// Who has a deadline.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub(crate) enum UsageKey {
    Registration,
    Subscription(u64),
    Publication(u64),
}

/// Who wants an answer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Purpose {
    Register,
    /// `fork` is `None` for the SUBSCRIBE that begins everything; `attempt` tells late answers of an earlier one.
    Subscribe {
        id: u64,
        attempt: u32,
        fork: Option<u32>,
    },
    Publish(u64),
    Message(MessageId),
    Request(RequestId),
}

/// Where a request goes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Route {
    /// To the service, whichever of its targets works.
    Service,
    /// Nowhere else than here.
    To(Destination),
}

/// Whether a request carries Contact, which depends on the transport it takes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Contact {
    None,
    Plain,
    /// With the instance, for a registrar.
    Registration,
}

pub(crate) struct Exchange {
    purpose: Purpose,
    request: Request,
    route: Route,
    contact: Contact,
    attempt: Attempt,
    destination: Option<Destination>,
    tried: SmallVec<[Destination; 1]>,
}

/// How an exchange ended.
pub(crate) struct Done {
    pub(crate) purpose: Purpose,
    /// The last number of the command sequence that was used.
    pub(crate) cseq: u32,
    /// The final answer, neither 401 nor 407, or why there is none.
    pub(crate) outcome: Result<Message, Cause>,
}

enum Lookup {
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
    rng: ChaCha20Rng,
    exchanges: HashMap<TransactionId, Exchange>,
    waiting: Vec<Exchange>,
    targets: Targets,
    /// The host name of the service; `None` where it is given as an IP address.
    domain: Option<Arc<str>>,
    lookup: Lookup,
    /// The driver set the targets, so that no name is looked up.
    fixed: bool,
    /// The service rejected the password: nothing more is sent to it until a person acts.
    locked: Option<Cause>,
    next_id: u64,
    seen: Option<SocketAddr>,
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
            max_server_transactions: MAX_SERVER_TRANSACTIONS.saturating_add(config.max_subscriptions),
            ..EndpointConfig::new(config.local.clone())
        };
        let user = config
            .auth_user
            .clone()
            .or_else(|| config.aor.as_uri().user().map(str::to_owned))
            .unwrap_or_default();
        let domain = match config.service.as_ref().unwrap_or(&config.aor).as_uri().host() {
            Some(Host::Name(name)) => Some(name.into()),
            _ => None,
        };
        Self {
            domain,
            endpoint: Endpoint::new(endpoint_config, endpoint_seed),
            auth: Auth::new(user, config.credential.password(), config.digest),
            config,
            timers: TimerQueue::new(),
            events: VecDeque::new(),
            resolves: VecDeque::new(),
            done: VecDeque::new(),
            service_route: Vec::new(),
            rng,
            exchanges: HashMap::new(),
            waiting: Vec::new(),
            targets: Targets::default(),
            lookup: Lookup::Unknown,
            fixed: false,
            locked: None,
            next_id: 1,
            seen: None,
            complaints: (None, 0),
        }
    }

    /// Whether the service is at this address, as far as is known.
    pub(crate) fn is_service(&self, ip: IpAddr) -> bool {
        self.targets.iter().any(|target| target.remote.ip().to_canonical() == ip.to_canonical())
    }

    pub(crate) fn is_target(&self, destination: Destination) -> bool {
        self.targets.iter().any(|target| target == destination)
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

    /// An access token came (RFC 8898).
    pub(crate) fn set_token(&mut self, now: Instant, token: Secret) {
        self.unlock();
        self.auth.set_token(token);
        self.release(now, None);
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
        let exchange = Exchange {
            purpose,
            request,
            route,
            contact,
            attempt: Attempt::default(),
            destination: None,
            tried: SmallVec::new(),
        };
        self.launch(now, exchange);
    }

    /// Where in-dialog requests go, and with which Request-URI and Route (RFC 3261 §12.2.1.1).
    pub(crate) fn dialog_route(&self, target: &str, routes: &[Box<str>]) -> (String, Vec<String>, Route) {
        let first = routes.first().and_then(|route| crate::message::NameAddr::parse(route.as_bytes()));
        let (uri, headers) = match first.as_ref().and_then(|first| first.uri().ok()) {
            Some(strict) if !strict.is_loose_router() => {
                let rest = routes[1..].iter().map(ToString::to_string);
                (strict.to_string(), rest.chain([format!("<{target}>")]).collect())
            }
            _ => (target.to_owned(), routes.iter().map(ToString::to_string).collect()),
        };
        let next = first.as_ref().and_then(|first| first.uri().ok()).or_else(|| Uri::parse_str(&uri).ok());
        let route = next.map_or(Route::Service, |next| self.route_to(&next));
        (uri, headers, route)
    }

    /// Where an address leads: straight there if it names an IP address, else to the service.
    fn route_to(&self, uri: &Uri<'_>) -> Route {
        let Some(destination) = resolve::literal(uri, Transport::Udp) else { return Route::Service };
        if resolve::transport_of(uri).is_none()
            && let Some(known) = self.targets.iter().find(|target| target.remote == destination.remote)
        {
            // A service that we reach by TCP often leaves the transport out of what it writes into Contact.
            return Route::To(known);
        }
        Route::To(destination)
    }

    pub(crate) fn set_targets(&mut self, now: Instant, destinations: Vec<Destination>) {
        self.fixed = !destinations.is_empty();
        self.targets = Targets::new(destinations);
        self.lookup = if self.fixed { Lookup::Known } else { Lookup::Unknown };
        self.release(now, None);
    }

    pub(crate) fn resolved(&mut self, now: Instant, id: ResolveId, answer: Result<Vec<Destination>, String>) {
        if !matches!(self.lookup, Lookup::Asked(asked) if asked == id) {
            return;
        }
        match answer {
            Ok(destinations) if !destinations.is_empty() => {
                self.targets = Targets::new(destinations);
                self.lookup = Lookup::Known;
                self.release(now, None);
            }
            answer => {
                self.lookup = Lookup::Unknown;
                let why = answer.err().unwrap_or_else(|| "no address".to_owned());
                self.release(now, Some(&Cause::NotFound(why)));
            }
        }
    }

    /// Sends what waited for the service's address, or lets it fail.
    fn release(&mut self, now: Instant, cause: Option<&Cause>) {
        for exchange in std::mem::take(&mut self.waiting) {
            match cause {
                Some(cause) => self.finish(&exchange, Err(cause.clone())),
                None => self.launch(now, exchange),
            }
        }
    }

    /// The service's address as it is configured: the outbound proxy, or the domain of the account.
    fn service(&self) -> UriBuf {
        self.config.service.clone().unwrap_or_else(|| self.config.aor.clone())
    }

    fn look_up(&mut self) {
        let service = self.service();
        let uri = service.as_uri();
        if let Some(destination) = resolve::literal(&uri, Transport::Udp) {
            self.targets = Targets::new([destination]);
            self.lookup = Lookup::Known;
            return;
        }
        let id = ResolveId(self.next_id());
        self.resolves.push_back(Resolve {
            id,
            host: uri.host().map(|host| host.to_string()).unwrap_or_default(),
            port: uri.port(),
            transport: resolve::transport_of(&uri),
            secure: uri.scheme() == crate::uri::Scheme::Sips,
        });
        self.lookup = Lookup::Asked(id);
    }

    /// The name that a certificate at this place must be for: the one that the service was asked for by, whatever it led to
    /// (RFC 5922 §7.1).
    fn domain_at(&self, destination: Destination) -> Option<Arc<str>> {
        if self.is_target(destination) { self.domain.clone() } else { None }
    }

    fn launch(&mut self, now: Instant, mut exchange: Exchange) {
        if let Some(cause) = &self.locked {
            let cause = cause.clone();
            return self.finish(&exchange, Err(cause));
        }
        let destination = match exchange.route {
            Route::To(destination) => destination,
            Route::Service => {
                if matches!(self.lookup, Lookup::Unknown) {
                    self.look_up();
                }
                if matches!(self.lookup, Lookup::Asked(_)) {
                    self.waiting.push(exchange);
                    return;
                }
                match self.targets.pick(now, &exchange.tried) {
                    Some(destination) => destination,
                    None => {
                        return self.finish(&exchange, Err(Cause::NotFound("no address".to_owned())));
                    }
                }
            }
        };
        exchange.destination = Some(destination);
        let mut extra = Vec::new();
        if exchange.contact != Contact::None {
            extra.push((HeaderName::Contact, self.contact(destination, exchange.contact)));
        }
        let entropy = u128::from(self.random()) << 64 | u128::from(self.random());
        let request = &exchange.request;
        let body = request.body.as_ref().map_or(&[][..], |(_, body)| body);
        let method = request.method.as_str();
        extra.extend(self.auth.authorize(&mut exchange.attempt, method, &request.uri, body, entropy));
        let domain = self.domain_at(destination);
        match self.endpoint.send_with(now, request, &extra, destination, None, domain) {
            Ok(id) => {
                self.exchanges.insert(id, exchange);
            }
            Err(error) => self.finish(&exchange, Err(Cause::Invalid(error.to_string()))),
        }
    }

    /// Where peers reach us, by the transport of the request that says so.
    pub(crate) fn contact(&self, destination: Destination, kind: Contact) -> String {
        let uri = self.contact_uri(destination);
        match (&self.config.instance, kind) {
            (Some(instance), Contact::Registration) => {
                let instance: String = instance.chars().filter(|c| !c.is_control() && *c != '"').collect();
                format!("<{uri}>;+sip.instance=\"<{instance}>\"")
            }
            _ => format!("<{uri}>"),
        }
    }

    fn contact_uri(&self, destination: Destination) -> String {
        let transport = destination.transport;
        let local = self.endpoint.config().local_for(transport, destination.remote);
        let host = match local {
            Some(local) => local.to_string(),
            None => "anonymous.invalid".to_owned(),
        };
        let aor = self.config.aor.as_uri();
        let user = aor.user().map(|user| format!("{user}@")).unwrap_or_default();
        match transport {
            Transport::Udp => format!("sip:{user}{host}"),
            _ => format!("sip:{user}{host};transport={}", transport.uri_name()),
        }
    }

    /// The URI of the contact that requests to the service carry now, to find our binding among others.
    pub(crate) fn service_contact(&self, now: Instant) -> Option<String> {
        self.targets.pick(now, &[]).map(|destination| self.contact_uri(destination))
    }

    pub(crate) fn on_response(&mut self, now: Instant, id: TransactionId, answer: Message, flow: &Flow) {
        self.learn_address(&answer, flow);
        let status = answer.status().unwrap_or_default();
        if status < 200 {
            if let Some(Exchange { purpose: Purpose::Request(id), .. }) = self.exchanges.get(&id) {
                self.events.push_back(AgentEvent::Response { id: *id, message: answer });
            }
            return;
        }
        let Some(mut exchange) = self.exchanges.remove(&id) else { return };
        if let Some(destination) = exchange.destination {
            self.targets.alive(destination);
        }
        if matches!(status, 401 | 407) {
            // Whatever realm a peer names, only the registrar decides what the password is worth.
            let ours = exchange.purpose == Purpose::Register;
            match self.auth.challenged(&mut exchange.attempt, &answer, ours) {
                Ok(()) => {
                    // RFC 3261 §22.2: the same request with a higher number.
                    exchange.request.cseq += 1;
                    self.launch(now, exchange);
                }
                Err(cause) => {
                    if ours && matches!(cause, Cause::WrongPassword { .. }) {
                        self.locked = Some(cause.clone());
                    }
                    self.finish(&exchange, Err(cause));
                }
            }
            return;
        }
        self.auth.accepted(&mut exchange.attempt, &answer);
        if status == 503 {
            match self.fail_over(now, exchange) {
                None => {}
                Some(exchange) => self.finish(&exchange, Ok(answer)),
            }
        } else {
            self.finish(&exchange, Ok(answer));
        }
    }

    pub(crate) fn on_failed(&mut self, now: Instant, id: TransactionId, failure: Failure) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        if let Some(exchange) = self.fail_over(now, exchange) {
            let cause = match failure {
                Failure::Timeout => Cause::Timeout,
                Failure::Transport(reason) => Cause::Transport(reason),
            };
            if exchange.route == Route::Service && !self.fixed {
                // All that was known failed: the name may lead elsewhere by now.
                self.lookup = match self.lookup {
                    Lookup::Known => Lookup::Unknown,
                    _ => return self.finish(&exchange, Err(cause)),
                };
            }
            self.finish(&exchange, Err(cause));
        }
    }

    /// Sends to the next target (RFC 3263 §4.3), or gives the exchange back when there is none.
    fn fail_over(&mut self, now: Instant, mut exchange: Exchange) -> Option<Exchange> {
        let destination = exchange.destination?;
        if exchange.route != Route::Service {
            return Some(exchange);
        }
        self.targets.failed(now, destination);
        exchange.tried.push(destination);
        if self.targets.pick(now, &exchange.tried).is_none() {
            return Some(exchange);
        }
        self.launch(now, exchange);
        None
    }

    fn finish(&mut self, exchange: &Exchange, outcome: Result<Message, Cause>) {
        self.done.push_back(Done { purpose: exchange.purpose, cseq: exchange.request.cseq, outcome });
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
