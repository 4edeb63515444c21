//! A user agent for one account: it registers, subscribes, publishes, sends messages, and makes and takes sessions, on top of one
//! [`Endpoint`](crate::endpoint::Endpoint).
//!
//! An agent does by itself what needs no decision: it proves the password, refreshes, finds another target when one fails, and
//! waits, ever longer and with jitter, when the service is away. What needs a decision is told as an [`AgentEvent`].
//!
//! # The run loop
//! An agent knows no sockets and no clock. Whoever drives it does the same few things for ever:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use attache_sip::agent::{Agent, AgentConfig, AgentEvent};
//! use attache_sip::transport::{Destination, Flow, FlowId, Transport};
//! use attache_sip::uri::UriBuf;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
//! let local = socket.local_addr()?;
//! let aor = UriBuf::parse("sip:alice@example.com")?;
//! // A real program takes the seed from the operating system.
//! let mut agent = Agent::new(AgentConfig::new(aor, "secret", vec![(Transport::Udp, local)]), [7; 32]);
//! let service = Destination { transport: Transport::Udp, remote: "127.0.0.1:5060".parse()? };
//! agent.set_next_hop(Instant::now(), vec![service]);
//! agent.register(Instant::now(), 3600);
//! # let mut rounds = 0;
//!
//! loop {
//!     // 1. Drain what the last call left behind.
//!     while let Some(transmit) = agent.poll_transmit() {
//!         // A TCP driver opens or reuses a connection; if that fails it calls `handle_flow_failed`.
//!         let _ = socket.send_to(&transmit.payload, transmit.destination.remote);
//!     }
//!     while let Some(question) = agent.poll_resolve() {
//!         // Without an outbound proxy: look the name up, and answer with `handle_resolved`.
//!         agent.handle_resolved(Instant::now(), question.id, Err("no name service here".to_owned()));
//!     }
//!     while let Some(event) = agent.poll_event() {
//!         if let AgentEvent::MessageReceived { id, .. } = event {
//!             // Store it first, then say so.
//!             let _ = agent.respond(Instant::now(), id, 200);
//!         }
//!     }
//!     // 2. Wait for a datagram or for the time that the agent names, whichever is first.
//!     let now = Instant::now();
//!     let wait = agent.poll_timeout().map_or(Duration::from_secs(60), |at| at.saturating_duration_since(now));
//!     socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
//!     let mut buffer = [0; 65_536];
//!     // 3. Tell the agent, once.
//!     match socket.recv_from(&mut buffer) {
//!         Ok((length, remote)) => {
//!             let flow = Flow { id: FlowId(0), transport: Transport::Udp, local, remote };
//!             let bytes = buffer[..length].to_vec().into();
//!             agent.handle_input(Instant::now(), flow, bytes);
//!         }
//!         Err(_) => agent.handle_timeout(Instant::now()),
//!     }
//!     # rounds += 1;
//!     # if rounds == 2 { break }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//! - After one `handle_*` or command, drain [`poll_transmit`](Agent::poll_transmit), [`poll_resolve`](Agent::poll_resolve),
//!   [`poll_event`](Agent::poll_event) and [`poll_timeout`](Agent::poll_timeout).
//! - The same seed, calls and times give the same bytes and events.
//! - A rejected password ends in one event for each usage and silence: nothing more is sent to the service until
//!   [`register`](Agent::register) or [`set_password`](Agent::set_password).
//! - A session, and a referral, ends in exactly one event that is final; what is still to be done on the wire after it is done
//!   silently, and nothing of it is left when that is over.
//! - A service that is away is asked again with back-off, never before the Retry-After it gave.

mod auth;
mod bearer;
mod config;
pub(crate) mod core;
mod credential;
mod event;
mod exchange;
mod gate;
mod inbound;
mod learn;
mod messages;
mod node;
pub(crate) mod place;
mod referrals;
mod sessions;
mod within;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::digest::Secret;
use crate::endpoint::{EndpointEvent, Request, RespondError};
use crate::message::HeaderName;
use crate::resolve::{Resolve, ResolveId};
use crate::transaction::ServerTransactionId;
use crate::transport::{Destination, Flow, FlowId, Transmit, Transport};
use crate::uri::{Scheme, Uri};
use crate::usage::invite::Invites;
use crate::usage::publication::{Fate, Publication};
use crate::usage::refer::Refers;
use crate::usage::registration::Registration;
use crate::usage::subscription::Subscriptions;
use crate::usage::{Patch, PublishParams, SubscribeParams};

pub use config::{AgentConfig, GruuUse, NotifySource, Push, instance_urn};
use core::{Core, Done, Purpose, UsageKey};
pub use credential::Credential;
pub use event::{
    AgentEvent, Cause, Diagnostic, FlowState, IncomingReferId, InviteId, MessageId, NotifyBody,
    PublicationId, ReferId, Registered, RequestId, ServiceFacts, SubscriptionId, Terms, TokenNeeded,
};
pub use learn::Refusal;
pub use messages::MessageParams;
use place::{Contact, Route};

/// A user agent for one account. See the [module](self).
pub struct Agent {
    core: Core,
    registration: Registration,
    subscriptions: Subscriptions,
    publications: BTreeMap<u64, Publication>,
    invites: Invites,
    refers: Refers,
}

impl Agent {
    /// An agent that does nothing yet. `seed` must be secret and never used twice: tags and nonces come from it.
    pub fn new(config: AgentConfig, seed: [u8; 32]) -> Self {
        Self {
            core: Core::new(config, seed),
            registration: Registration::default(),
            subscriptions: Subscriptions::new(),
            publications: BTreeMap::new(),
            invites: Invites::new(),
            refers: Refers::new(),
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &AgentConfig {
        &self.core.config
    }

    /// Whether the service holds our binding.
    pub fn is_registered(&self, now: Instant) -> bool {
        self.registration.is_bound(now)
    }

    /// Whether this is one of the service's targets, as far as they are known.
    pub fn is_target(&self, destination: Destination) -> bool {
        self.core.is_target(destination)
    }

    /// The number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// The flows to the service that work (RFC 5626): their number and where they lead.
    pub fn flows(&self) -> impl Iterator<Item = (u32, Destination)> + '_ {
        self.registration.up()
    }

    /// What the service has said about itself so far.
    pub fn service_facts(&self) -> &ServiceFacts {
        self.core.learnt.facts()
    }

    /// The last refusal of each kind of request, such as `SUBSCRIBE presence`, that has not been accepted since.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &Refusal)> {
        self.core.learnt.refusals()
    }

    /// Our public GRUU (RFC 5627), while the registrar holds our binding.
    pub fn gruu(&self) -> Option<&str> {
        self.core.gruu.as_deref()
    }

    /// How long what the agent would send by itself has to wait for the [budget](crate::budget), or for a service that asked for time.
    /// `None` when nothing waits.
    pub fn held_back(&self, now: Instant) -> Option<std::time::Duration> {
        self.core.gate_wait(now)
    }

    /// Whether an address is one that this agent is registered with (RFC 3261, section 19.1.4).
    pub fn is_own_contact(&self, uri: &str) -> bool {
        let Ok(uri) = Uri::parse_str(uri) else { return false };
        let secure = self.core.config.aor.as_uri().scheme() == Scheme::Sips;
        self.registration.up().any(|(_, at)| {
            let own = self.core.contact_uri(at, secure);
            Uri::parse_str(&own).is_ok_and(|own| own.equivalent(&uri))
        })
    }

    /// How many requests have waited for the [budget](crate::budget), or for a service that asked for time, so far.
    pub fn budget_waits(&self) -> u64 {
        self.core.gate.waits()
    }

    /// When the next refresh, or the next retry, is due.
    pub fn next_refresh(&mut self) -> Option<Instant> {
        self.next_deadline()
    }

    /// Sets where the service is, in order of preference, instead of looking its name up. An empty list goes back to
    /// that.
    pub fn set_next_hop(&mut self, now: Instant, destinations: Vec<Destination>) {
        self.core.set_targets(now, destinations);
        self.settle(now);
    }

    /// Replaces the password. Realms that rejected the one before get another chance, but nothing is sent by itself: call
    /// [`register`](Self::register).
    pub fn set_password(&mut self, password: Secret) {
        self.core.unlock();
        self.core.auth.set_password(password);
    }

    /// Gives the access token that [`AgentEvent::TokenNeeded`] asked for, or a newer one (RFC 8898). Requests that wait for it
    /// are sent now; so is the registration, if the lack of it had ended that.
    pub fn set_token(&mut self, now: Instant, token: Secret) {
        self.core.set_token(now, token);
        self.subscriptions.wake(&mut self.core, now);
        self.settle(now);
    }

    /// Wants our binding at the registrar, for this many seconds at a time, refreshed until
    /// [`unregister`](Self::unregister). Reported by [`AgentEvent::Registered`] and [`AgentEvent::RegistrationFailed`].
    pub fn register(&mut self, now: Instant, expires: u32) {
        self.registration.register(&mut self.core, now, expires);
        self.settle(now);
    }

    /// This node has other addresses from now on, as after a change of network. A binding that is wanted is made anew at once,
    /// and subscriptions are refreshed, within the [budget](crate::budget), so that their notifications come here.
    pub fn set_local(&mut self, now: Instant, local: Vec<(Transport, SocketAddr)>) {
        self.core.endpoint.set_local(local);
        self.registration.renew(&mut self.core, now);
        self.subscriptions.renew(&mut self.core, now);
        self.settle(now);
    }

    /// Removes our binding. Reported by [`AgentEvent::Unregistered`].
    pub fn unregister(&mut self, now: Instant) {
        self.registration.unregister(&mut self.core, now);
        self.settle(now);
    }

    /// Goes by another name from the next request on; `None` by none.
    pub fn set_display_name(&mut self, name: Option<String>) {
        self.core.config.display_name = name;
    }

    /// Subscribes to somebody's state. `None` when there are [`AgentConfig::max_subscriptions`] already.
    pub fn subscribe(&mut self, now: Instant, params: SubscribeParams) -> Option<SubscriptionId> {
        if self.subscriptions.len() >= self.core.config.max_subscriptions {
            return None;
        }
        let id = self.subscriptions.subscribe(&mut self.core, now, params);
        self.settle(now);
        Some(id)
    }

    /// Ends a subscription. Its last event is a [`Terminated`](crate::usage::SubscriptionState::Terminated), after the last
    /// notification, or when that does not come.
    pub fn unsubscribe(&mut self, now: Instant, id: SubscriptionId) {
        self.subscriptions.unsubscribe(&mut self.core, now, id.0);
        self.settle(now);
    }

    /// Asks for the state of a subscription again, now: notifiers answer a refresh with the whole of it. One that waits for its
    /// next attempt makes it now.
    pub fn refresh(&mut self, now: Instant, id: SubscriptionId) {
        self.subscriptions.refresh(&mut self.core, now, id.0);
        self.settle(now);
    }

    /// Publishes a document and keeps it published.
    pub fn publish(&mut self, now: Instant, params: PublishParams) -> PublicationId {
        let id = PublicationId(self.core.next_id());
        let publication = Publication::new(&mut self.core, params);
        self.publications.insert(id.0, publication);
        self.publication(id, |publication, core| publication.step(core, now, id));
        self.settle(now);
        id
    }

    /// Replaces the document of a publication. Several changes while a request is on its way become one.
    pub fn modify(&mut self, now: Instant, id: PublicationId, body: impl Into<Bytes>) {
        let body = body.into();
        self.publication(id, |publication, core| publication.modify(core, now, id, body, None));
        self.settle(now);
    }

    /// [`modify`](Self::modify), with what changed since the document that was given last. Only that is sent where the service holds
    /// that document and takes patches (RFC 5264); the whole otherwise.
    pub fn modify_partly(&mut self, now: Instant, id: PublicationId, body: impl Into<Bytes>, patch: Patch) {
        let body = body.into();
        self.publication(id, |publication, core| publication.modify(core, now, id, body, Some(patch)));
        self.settle(now);
    }

    /// Removes a publication from the service.
    pub fn remove(&mut self, now: Instant, id: PublicationId) {
        self.publication(id, |publication, core| publication.remove(core, now, id));
        self.settle(now);
    }

    /// Sends a request of the caller's own, such as OPTIONS, INFO or a vendor's method, out of any dialog. From, To, Call-ID and
    /// User-Agent are added where they are missing. It ends in one [`AgentEvent::RequestFailed`], or a final
    /// [`AgentEvent::Response`] after any number of provisional ones.
    pub fn request(&mut self, now: Instant, mut request: Request) -> RequestId {
        let id = RequestId(self.core.next_id());
        if !request.has(HeaderName::From) {
            let tag = format!("{:016x}", self.core.random());
            request.push(HeaderName::From, self.core.sender(&tag));
        }
        if !request.has(HeaderName::To) {
            let to = format!("<{}>", request.uri);
            request.push(HeaderName::To, to);
        }
        if !request.has(HeaderName::CallId) {
            let call_id = self.core.call_id();
            request.push(HeaderName::CallId, call_id);
        }
        if !request.has(HeaderName::UserAgent) && !self.core.config.user_agent.is_empty() {
            request.push(HeaderName::UserAgent, self.core.config.user_agent.clone());
        }
        let contact = if request.has(HeaderName::Contact) { Contact::None } else { Contact::Plain };
        let request = if request.has(HeaderName::Route) { request } else { self.core.preload_route(request) };
        self.core.send(now, Purpose::Request(id), request, Route::Service, contact);
        self.settle(now);
        id
    }

    /// Answers a request that was given up by [`AgentEvent::MessageReceived`] or [`AgentEvent::RequestReceived`].
    ///
    /// # Errors
    /// When the request was answered already, or its sender has given up.
    pub fn respond(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        status: u16,
    ) -> Result<(), RespondError> {
        self.respond_with(now, id, &crate::endpoint::Response::new(status))
    }

    /// [`respond`](Self::respond) with headers or a body, such as a Retry-After.
    ///
    /// # Errors
    /// As [`respond`](Self::respond), and when a header cannot be written.
    pub fn respond_with(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        response: &crate::endpoint::Response,
    ) -> Result<(), RespondError> {
        self.core.endpoint.respond(now, id, response)
    }

    /// Takes bytes that came on a flow; see [`Endpoint::handle_input`](crate::endpoint::Endpoint::handle_input).
    pub fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.core.endpoint.handle_input(now, flow, bytes);
        self.settle(now);
    }

    /// Bytes for `destination` could not be delivered, or the connection `flow` broke; see
    /// [`Endpoint::handle_flow_failed`](crate::endpoint::Endpoint::handle_flow_failed).
    pub fn handle_flow_failed(
        &mut self,
        now: Instant,
        destination: Destination,
        flow: Option<FlowId>,
        reason: &str,
    ) {
        self.core.endpoint.handle_flow_failed(now, destination, flow, reason);
        // What was open and broke; what never opened is told by the request that wanted it.
        if flow.is_some() && self.core.is_target(destination) {
            self.core.targets.failed(now, destination);
            self.settle(now);
            self.registration.on_connection_lost(&mut self.core, now, destination, reason);
        }
        self.settle(now);
    }

    /// Answers a [`Resolve`], with destinations in the order in which they shall be tried, or with the reason why there are
    /// none.
    pub fn handle_resolved(&mut self, now: Instant, id: ResolveId, answer: Result<Vec<Destination>, String>) {
        self.core.resolved(now, id, answer);
        self.settle(now);
    }

    /// Lets time pass. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.endpoint.handle_timeout(now);
        self.settle(now);
        loop {
            let usages = Usages {
                registration: &self.registration,
                subscriptions: &self.subscriptions,
                publications: &self.publications,
                invites: &self.invites,
                refers: &self.refers,
                gate: self.core.gate.deadline(),
            };
            match self.core.timers.pop_due(now, |key| usages.deadline(key)) {
                Some(UsageKey::Registration(reg_id)) => {
                    self.registration.on_timeout(&mut self.core, now, reg_id);
                }
                Some(UsageKey::KeepAlive(reg_id)) => {
                    self.registration.on_keep_alive(&mut self.core, now, reg_id);
                }
                Some(UsageKey::Gate) => self.on_gate(now),
                Some(UsageKey::Subscriptions) => {}
                Some(UsageKey::Subscription(id)) => self.subscriptions.on_timeout(&mut self.core, now, id),
                Some(UsageKey::Publication(id)) => {
                    let id = PublicationId(id);
                    self.publication(id, |publication, core| publication.on_timeout(core, now, id));
                }
                Some(UsageKey::Invite(id)) => self.invites.on_timeout(&mut self.core, now, id),
                Some(UsageKey::Refer(id)) => self.refers.on_timeout(&mut self.core, now, id),
                None => break,
            }
            self.settle(now);
        }
    }

    /// The next message to send. Changes after any `handle_*` or command.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.endpoint.poll_transmit()
    }

    /// The next event. Changes after any `handle_*` or command.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.core.events.pop_front()
    }

    /// The next name to look up. Changes after any `handle_*` or command.
    pub fn poll_resolve(&mut self) -> Option<Resolve> {
        self.core.resolves.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. Changes after any `handle_*` or command.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        [self.next_deadline(), self.core.endpoint.poll_timeout()].into_iter().flatten().min()
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let usages = Usages {
            registration: &self.registration,
            subscriptions: &self.subscriptions,
            publications: &self.publications,
            invites: &self.invites,
            refers: &self.refers,
            gate: self.core.gate.deadline(),
        };
        self.core.timers.next(|key| usages.deadline(key))
    }

    /// Somebody's turn has come.
    fn on_gate(&mut self, now: Instant) {
        match self.core.admitted(now) {
            Some(UsageKey::Registration(reg_id)) => {
                self.registration.on_admitted(&mut self.core, now, reg_id);
            }
            Some(UsageKey::Subscriptions) => self.subscriptions.on_admitted(&mut self.core, now),
            Some(UsageKey::Publication(id)) => {
                let id = PublicationId(id);
                self.publication(id, |publication, core| publication.on_admitted(core, now, id));
            }
            _ => {}
        }
    }

    fn publication(&mut self, id: PublicationId, f: impl FnOnce(&mut Publication, &mut Core) -> Fate) {
        if let Some(publication) = self.publications.get_mut(&id.0)
            && let Fate::Ends = f(publication, &mut self.core)
        {
            self.publications.remove(&id.0);
        }
    }

    /// Carries on until nothing is left that one part of the agent has for another.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(done) = self.core.done.pop_front() {
                self.on_done(now, done);
            } else if let Some(event) = self.core.endpoint.poll_event() {
                self.on_endpoint_event(now, event);
            } else {
                break;
            }
        }
    }

    fn on_endpoint_event(&mut self, now: Instant, event: EndpointEvent) {
        match event {
            EndpointEvent::Response { id, message, flow } => {
                let seen = self.core.seen;
                if let Some(heard) = self.core.on_response(now, id, message, &flow) {
                    self.invites.on_heard(&mut self.core, now, &heard);
                }
                if self.core.seen != seen {
                    self.registration.on_nat(&mut self.core, now);
                }
            }
            EndpointEvent::Failed { id, failure } => self.core.on_failed(now, id, failure),
            EndpointEvent::Request { id, message, flow } => self.on_request(now, id, message, flow),
            EndpointEvent::Malformed { flow, error, answered } => {
                let malformed = Diagnostic::Malformed { from: flow.remote, error, answered };
                self.core.complain(now, malformed);
            }
            EndpointEvent::Ack { message, .. } => self.invites.on_ack(&mut self.core, now, &message),
            EndpointEvent::Cancelled { id, message } => {
                self.invites.on_cancelled(&mut self.core, now, id, &message);
            }
            EndpointEvent::Unacknowledged { .. } | EndpointEvent::KeepAlive { .. } => {}
        }
    }

    fn on_done(&mut self, now: Instant, done: Done) {
        match done.purpose {
            Purpose::Invite(id, errand) => {
                return self.invites.on_done(&mut self.core, now, id, errand, done);
            }
            Purpose::Refer(id, errand) => return self.on_refer_done(now, id, errand, &done),
            _ => {}
        }
        let Done { purpose, cseq, destination, outcome, .. } = done;
        match purpose {
            Purpose::Invite(..) | Purpose::Refer(..) => {}
            Purpose::Register(reg_id) => {
                if self.registration.on_done(&mut self.core, now, reg_id, cseq, destination, outcome) {
                    self.wake(now);
                }
            }
            Purpose::Subscribe { id, attempt, fork } => {
                self.subscriptions.on_done(&mut self.core, now, id, attempt, fork, cseq, outcome);
            }
            Purpose::Publish(id) => {
                let id = PublicationId(id);
                self.publication(id, |publication, core| publication.on_done(core, now, id, cseq, outcome));
            }
            Purpose::Message(id) => {
                let event = messages::outcome(&mut self.core, id, outcome);
                self.core.events.push_back(event);
            }
            Purpose::Request(id) => self.core.events.push_back(match outcome {
                Ok(message) => AgentEvent::Response { id, message },
                Err(cause) => AgentEvent::RequestFailed { id, cause },
            }),
        }
    }

    /// The service is back.
    fn wake(&mut self, now: Instant) {
        self.subscriptions.wake(&mut self.core, now);
        let ids: Vec<u64> = self.publications.keys().copied().collect();
        for id in ids.into_iter().map(PublicationId) {
            self.publication(id, |publication, core| publication.wake(core, now, id));
        }
    }
}

/// Whoever may have a deadline.
struct Usages<'a> {
    registration: &'a Registration,
    subscriptions: &'a Subscriptions,
    publications: &'a BTreeMap<u64, Publication>,
    invites: &'a Invites,
    refers: &'a Refers,
    gate: Option<Instant>,
}

impl Usages<'_> {
    fn deadline(&self, key: UsageKey) -> Option<Instant> {
        match key {
            UsageKey::Registration(reg_id) => self.registration.deadline(reg_id),
            UsageKey::KeepAlive(reg_id) => self.registration.keep_alive_at(reg_id),
            UsageKey::Gate => self.gate,
            UsageKey::Subscriptions => None,
            UsageKey::Subscription(id) => self.subscriptions.deadline(id),
            UsageKey::Publication(id) => self.publications.get(&id).and_then(Publication::deadline),
            UsageKey::Invite(id) => self.invites.deadline(id),
            UsageKey::Refer(id) => self.refers.deadline(id),
        }
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("aor", &self.core.config.aor)
            .field("subscriptions", &self.subscriptions.len())
            .field("publications", &self.publications.len())
            .finish_non_exhaustive()
    }
}
