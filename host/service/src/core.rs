//! The service as a machine without sockets, clock or disk.

mod access;
mod changes;
mod conference;
mod documents;
mod door;
mod http;
mod letters;
mod message;
mod notify;
mod own;
mod partial;
mod proxy;
mod publish;
mod register;
mod rls;
mod setup;
mod subscribe;
mod view;
mod winfo;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Failure, Response};
use attache_sip::message::{HeaderName, Limits as MessageLimits, Message, Method};
use attache_sip::sim::Node;
use attache_sip::transaction::{ServerTransactionId, TransactionId};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

use crate::directory::{Aor, Directory};
use crate::limits::Limits;
use crate::lists::Lists;
use crate::mailbox::{Bounds, Mailboxes, StoreChange};
use crate::presence::Presence;
use crate::reach::Reach;
use crate::registrar::Registrar;
use crate::route::Routes;
use crate::rules::{DefaultPolicy, Rules};
use crate::throttle::{Guesses, Rate};
use crate::timers::Timers;
use crate::tokens::{AccessToken, Tokens};
use crate::xcap::Documents;

use access::Challenger;
pub(crate) use changes::DocumentWatch;
pub use conference::ConferenceConfig;
pub(crate) use conference::RosterWatch;
pub(crate) use own::OwnWatch;
pub use setup::{CoreConfig, Statistics};
pub(crate) use winfo::WatcherWatch;

/// The extensions that are understood where a request demands them.
const SUPPORTED: &str = "eventlist, gruu, outbound, path, recipient-list-message, recipient-list-subscribe";
/// Those that are understood beside them where there are conferences.
const CONFERENCE_OPTIONS: &str = ", recipient-list-invite, multiple-refer, norefersub";
/// What is served, in the order in which Allow names it.
const ALLOW: &str = "OPTIONS, REGISTER, PUBLISH, SUBSCRIBE, NOTIFY, MESSAGE, INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, \
                     INFO, REFER";
/// The event packages that can be subscribed to.
const ALLOW_EVENTS: &str = "presence, presence.winfo, xcap-diff, message-summary, reg";
/// The one of them that can be published.
const PRESENCE: &str = "presence";
/// NOTIFYs that are begun before other work gets its turn.
const NOTIFY_SLICE: usize = 256;

/// The SIP service: registrar, presence agent and message relay. See the [crate].
///
/// After any `handle_*`, drain [`poll_transmit`](Self::poll_transmit) and [`poll_store`](Self::poll_store), and look at
/// [`poll_timeout`](Self::poll_timeout) again.
pub struct Core {
    endpoint: Endpoint,
    /// Answers to requests that got no transaction.
    refusals: VecDeque<Transmit>,
    /// Keys the tags in them.
    tag_key: u64,
    directory: Directory,
    limits: Limits,
    local: Vec<(Transport, SocketAddr)>,
    rate: Rate,
    guesses: Guesses,
    registrar: Registrar,
    /// The values of Service-Route.
    service_route: Vec<String>,
    presence: Presence,
    lists: Lists,
    /// Ways from documents to those after them.
    ways: VecDeque<partial::Way>,
    /// Subscriptions whose NOTIFY is due.
    ready: VecDeque<u64>,
    relays: HashMap<u64, message::Relay>,
    forwards: proxy::Forwards,
    routes: Routes,
    conferences: Option<conference::Conferences>,
    next_relay: u64,
    mailboxes: Mailboxes,
    documents: Documents,
    http: http::Http,
    rules: HashMap<Aor, Rules>,
    observers: winfo::Observers,
    keepers: changes::Keepers,
    owners: own::Owners,
    /// What a challenge for access tokens says of them.
    wanted_token: Option<(String, Option<String>)>,
    tokens: Tokens,
    /// The root of documents as others name it.
    xcap_root: String,
    default_policy: DefaultPolicy,
    is_durable: bool,
    store_changes: VecDeque<StoreChange>,
    /// Senders that wait until their message is on disk.
    storing: HashMap<u64, Storing>,
    /// Senders to many, who wait until all copies are.
    storing_lists: letters::StoringLists,
    /// What our own requests are for.
    uses: HashMap<TransactionId, Use>,
    timers: Timers<Due>,
    rng: ChaCha20Rng,
    /// Differs from that of every earlier run, so that no entity tag of before is valid by accident.
    run: u64,
    next_tag: u64,
    clock: (Instant, SystemTime),
    now: Instant,
}

struct Storing {
    recipient: Aor,
    /// `None` when the sender has its answer.
    sender: Option<ServerTransactionId>,
    /// The message to many that it is a copy of.
    list: Option<u64>,
}

enum Use {
    Notify {
        subscription: u64,
        reach: Reach,
    },
    Relay {
        relay: u64,
        target: message::Target,
        plain: bool,
    },
    /// Whether a member of a conference is still there.
    Alive {
        place: conference::Place,
    },
}

#[derive(Clone, Eq, Hash, PartialEq)]
enum Due {
    Bindings(Aor),
    Publications(Aor),
    Subscription(u64),
    /// The end of a list watcher's quiet time.
    ListNews(u64),
    /// A watcher wants to hear not before, or again.
    Pace(u64),
    /// A NOTIFY that its watcher could not take before.
    Renotify(u64),
    /// The end of a presentity's quiet time.
    News(Aor),
    Relay(u64),
    /// A request that was passed on, and has been silent for too long or is over.
    Forward(u64),
    /// An answer to a member that waits for its ACK, one who is to be asked whether it is there, or a user whose devices
    /// ring: by conference and member.
    Member(u64, u64),
    /// An invitation of which nothing can be heard any more.
    Invitation(TransactionId),
    Mailbox(Aor),
    /// A moment at which rules of a presentity begin or cease to hold.
    Rules(Aor),
}

/// How one of our requests ended.
enum Outcome {
    Answered(Message),
    Failed(Failure),
}

impl Core {
    /// A service without any state but the stored messages. `seed` must be secret and never used twice; `wall` is the date
    /// at `now`.
    pub fn new(config: CoreConfig, now: Instant, wall: SystemTime, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut key = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let (endpoint_seed, nonce_key, route_key, session_seed) = (key(), key(), key(), key());
        let limits = config.limits;
        let mut endpoint = EndpointConfig::new(config.local.clone());
        endpoint.timers = config.timers;
        endpoint.is_proxy = true;
        let largest = limits.message_bytes.max(limits.publication_bytes);
        endpoint.limits =
            MessageLimits { message: largest + MessageLimits::DEFAULT.message, ..MessageLimits::DEFAULT };
        let conferences = config.conference.as_ref();
        let conferences =
            conferences.and_then(|config| conference::Conferences::new(config, &limits, session_seed));
        let directory =
            Directory::new(config.accounts, config.domains, &config.realm, nonce_key, now, limits.nonce_age);
        let mut core = Self {
            endpoint: Endpoint::new(endpoint, endpoint_seed),
            refusals: VecDeque::new(),
            tag_key: rng.next_u64(),
            directory,
            local: config.local,
            rate: Rate::new(limits.requests_per_source, limits.burst_per_source, limits.remembered_sources),
            guesses: Guesses::new(limits.free_attempts, limits.longest_wait, limits.remembered_sources),
            registrar: Registrar::default(),
            service_route: config.service_route,
            presence: Presence::default(),
            lists: Lists::default(),
            ways: VecDeque::new(),
            ready: VecDeque::new(),
            relays: HashMap::new(),
            forwards: proxy::Forwards::default(),
            routes: Routes::new(route_key),
            conferences,
            next_relay: 1,
            mailboxes: Mailboxes::new(Bounds {
                messages_per_user: limits.stored_per_user,
                bytes_per_user: limits.stored_bytes_per_user,
                bytes: limits.stored_bytes,
            }),
            documents: Documents::default(),
            http: http::Http::default(),
            rules: HashMap::new(),
            observers: winfo::Observers::default(),
            keepers: changes::Keepers::default(),
            owners: own::Owners::default(),
            wanted_token: config.tokens,
            tokens: Tokens::default(),
            xcap_root: config.xcap_root,
            default_policy: config.default_policy,
            is_durable: config.is_durable,
            store_changes: VecDeque::new(),
            storing: HashMap::new(),
            storing_lists: letters::StoringLists::default(),
            uses: HashMap::new(),
            timers: Timers::new(),
            run: rng.next_u64(),
            rng,
            next_tag: 1,
            clock: (now, wall),
            now,
            limits,
        };
        for list in config.lists {
            let readers = (!list.watchers.is_empty()).then(|| {
                let find = |name: &String| core.directory.find(&core.directory.complete(name)?);
                list.watchers.iter().filter_map(find).collect()
            });
            if let Err(error) = core.put_list(now, &list.address, None, readers, list.members) {
                tracing::warn!(list = list.address, %error, "a list of the configuration is left out");
            }
        }
        core.restore_documents(now, config.documents);
        let mut ownerless = 0;
        for message in config.stored {
            core.mailboxes.pass_over(message.id);
            match core.directory.find(&message.recipient) {
                Some(recipient) => {
                    core.mailboxes.restore(&recipient, message);
                    // Also of those who never come again, what is too old has to go.
                    core.timers.set(Due::Mailbox(recipient), now);
                }
                None if message.until <= wall => {
                    core.store_changes.push_back(StoreChange::Remove(message.id));
                }
                // A mistake in the configuration must not cost anybody's messages: they are looked at again at each start.
                None => ownerless += 1,
            }
        }
        if ownerless > 0 {
            tracing::warn!(
                messages = ownerless,
                "kept on disk for users that the configuration does not have"
            );
        }
        core
    }

    /// Takes bytes that came on a flow.
    pub fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.now = now;
        if flow.transport == Transport::Udp {
            self.handle_datagram(now, flow, bytes);
        } else {
            self.endpoint.handle_input(now, flow, bytes);
        }
        self.work(now);
    }

    /// A destination cannot be reached, or a connection broke.
    pub fn handle_flow_failed(
        &mut self,
        now: Instant,
        destination: Destination,
        flow: Option<FlowId>,
        reason: &str,
    ) {
        self.now = now;
        if let Some(flow) = flow {
            for aor in self.registrar.flow_failed(flow) {
                self.own_changed(now, &aor, own::Package::Registration);
            }
        }
        self.endpoint.handle_flow_failed(now, destination, flow, reason);
        self.work(now);
    }

    /// Lets time pass. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.endpoint.handle_timeout(now);
        if let Some(conferences) = &mut self.conferences {
            conferences.handle_timeout(now);
        }
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::Bindings(aor) => self.expire_bindings(now, &aor),
                Due::Publications(aor) => self.expire_publications(now, &aor),
                Due::Subscription(id) => self.expire_subscription(now, id),
                Due::ListNews(id) => self.queue(id),
                Due::Pace(id) => self.paced(now, id),
                Due::Renotify(id) => self.notify_again(id),
                Due::News(aor) => self.tell(now, &aor),
                Due::Relay(id) => self.relay_timed_out(now, id),
                Due::Forward(id) => self.forward_due(now, id),
                Due::Member(conference, member) => self.member_due(now, conference, member),
                Due::Invitation(id) => self.invitation_over(now, id),
                Due::Mailbox(aor) => self.look_into(now, &aor),
                Due::Rules(aor) => self.decide_again(now, &aor),
            }
        }
        self.work(now);
    }

    /// The durable copy of the message with this id was made, or could not be: `Err` says why, for a log.
    pub fn handle_stored(&mut self, now: Instant, id: u64, outcome: Result<(), &str>) {
        self.now = now;
        self.message_stored(now, id, outcome);
        self.work(now);
    }

    /// Takes these access tokens in place of all before. Without [`CoreConfig::tokens`] they are of no use.
    pub fn set_tokens(&mut self, tokens: Vec<AccessToken>) {
        let ownerless = self.tokens.replace(tokens, &self.directory);
        if ownerless > 0 {
            tracing::warn!(tokens = ownerless, "for users that the configuration does not have");
        }
    }

    /// Corrects the date, which is otherwise counted on from the start.
    pub fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.clock = (now, wall);
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.refusals.pop_front().or_else(|| self.endpoint.poll_transmit())
    }

    /// The next change to the durable copy of stored messages. Changes are to be made in this order.
    pub fn poll_store(&mut self) -> Option<StoreChange> {
        self.store_changes.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(self.now);
        }
        let sessions = self.conferences.as_ref().and_then(conference::Conferences::poll_timeout);
        let next = [self.endpoint.poll_timeout(), self.timers.next(), sessions];
        next.into_iter().flatten().min()
    }

    /// What it holds.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            registered_users: self.registrar.len(),
            subscriptions: self.presence.subscriptions.len(),
            watched: self.presence.watched,
            presentities: self.presence.presentities.len(),
            stored_messages: self.mailboxes.len(),
            relays: self.relays.len(),
            conferences: self.conferences.as_ref().map_or(0, conference::Conferences::len),
            forwards: self.forwards.len(),
            documents: self.documents.len(),
        }
    }

    fn work(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                EndpointEvent::Request { id, message, flow } => self.on_request(now, id, &message, &flow),
                EndpointEvent::Ack { message, .. } if self.is_of_member(&message) => {
                    self.member_acknowledged(&message);
                }
                EndpointEvent::Ack { message, flow } => self.relay_ack(now, &message, &flow),
                EndpointEvent::Cancelled { id, message } => self.forward_cancelled(now, id, &message),
                EndpointEvent::Response { id, message, .. } => {
                    if let Some((forward, branch)) = self.forwards.branch(id) {
                        self.branch_heard(now, forward, branch, Outcome::Answered(message));
                    } else if self.is_invitation(id) {
                        self.invitation_heard(now, id, &Outcome::Answered(message));
                    } else if message.status().is_some_and(|status| status >= 200)
                        && let Some(what) = self.uses.remove(&id)
                    {
                        self.on_outcome(now, what, &Outcome::Answered(message));
                    }
                }
                EndpointEvent::Failed { id, failure } => {
                    if let Some((forward, branch)) = self.forwards.branch(id) {
                        self.branch_heard(now, forward, branch, Outcome::Failed(failure));
                    } else if self.is_invitation(id) {
                        self.invitation_heard(now, id, &Outcome::Failed(failure));
                    } else if let Some(what) = self.uses.remove(&id) {
                        self.on_outcome(now, what, &Outcome::Failed(failure));
                    }
                }
                EndpointEvent::Malformed { flow, error, answered } => {
                    tracing::debug!(remote = %flow.remote, error, answered, "malformed message");
                }
                _ => {}
            }
        }
        self.work_on_sessions(now);
        self.send_ready(now);
    }

    fn is_invitation(&self, id: TransactionId) -> bool {
        self.conferences.as_ref().is_some_and(|conferences| conferences.has_branch(id))
    }

    fn on_request(&mut self, now: Instant, id: ServerTransactionId, request: &Message, flow: &Flow) {
        // Datagrams were counted when they came.
        if flow.transport != Transport::Udp && !self.rate.admits(flow.remote.ip(), now) {
            self.respond(now, id, &door::too_fast());
            self.endpoint.forget(id);
            return;
        }
        if let Some(way) = self.way_within(request) {
            self.relay_within(now, id, request, flow, way);
            return;
        }
        if self.is_of_member(request) {
            self.on_member(now, id, request, flow);
            return;
        }
        let is_call =
            !matches!(request.method(), Some(Method::Subscribe | Method::Register | Method::Publish));
        if is_call && self.is_for_conference(request) {
            self.on_conference(now, id, request, flow);
            return;
        }
        match request.method() {
            Some(Method::Invite | Method::Refer) => {
                self.on_call(now, id, request, flow, Challenger::Proxy);
            }
            Some(Method::Bye | Method::Info | Method::Notify | Method::Prack | Method::Update) => {
                self.refuse(now, id, 481, "");
            }
            _ if !self.understands(request) => self.respond(now, id, &bad_extension(request)),
            Some(Method::Options) => self.tell_capabilities(now, id, 200),
            Some(Method::Register) => self.on_register(now, id, request, flow),
            Some(Method::Publish) => self.on_publish(now, id, request, flow),
            Some(Method::Subscribe) => self.on_subscribe(now, id, request, flow),
            Some(Method::Message) => self.on_message(now, id, request, flow),
            Some(Method::Other(_)) | None => self.tell_capabilities(now, id, 501),
            Some(_) => self.tell_capabilities(now, id, 405),
        }
    }

    fn on_outcome(&mut self, now: Instant, what: Use, outcome: &Outcome) {
        match what {
            Use::Notify { subscription, reach } => self.notified(now, subscription, reach, outcome),
            Use::Relay { relay, target, plain } => self.relayed(now, relay, &target, plain, outcome),
            Use::Alive { place } => self.member_asked(now, place, outcome),
        }
    }

    fn respond(&mut self, now: Instant, id: ServerTransactionId, response: &Response) {
        if let Err(error) = self.endpoint.respond(now, id, response) {
            tracing::debug!(status = response.status, %error, "not answered");
        }
    }

    fn tell_capabilities(&mut self, now: Instant, id: ServerTransactionId, status: u16) {
        let answer = self.capabilities(status);
        self.respond(now, id, &answer);
    }

    fn refuse(&mut self, now: Instant, id: ServerTransactionId, status: u16, reason: &str) {
        self.respond(now, id, &Response::new(status).reason(reason));
    }

    /// A token that was never given out before, in this run or another.
    fn fresh_tag(&mut self) -> String {
        let number = self.next_tag;
        self.next_tag += 1;
        format!("{:08x}{number:x}-{:08x}", self.run >> 32, self.rng.next_u32())
    }

    fn wall(&self, now: Instant) -> SystemTime {
        self.clock.1 + now.saturating_duration_since(self.clock.0)
    }

    /// What this service can do.
    fn capabilities(&self, status: u16) -> Response {
        let more = if self.conferences.is_some() { CONFERENCE_OPTIONS } else { "" };
        let events = if self.conferences.is_some() { ", conference" } else { "" };
        Response::new(status)
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::AllowEvents, format!("{ALLOW_EVENTS}{events}"))
            .header(HeaderName::Supported, format!("{SUPPORTED}{more}"))
            .header(HeaderName::Accept, "*/*")
    }

    /// Whether everything is understood that a request demands of whoever acts on it.
    fn understands(&self, request: &Message) -> bool {
        let more = if self.conferences.is_some() { CONFERENCE_OPTIONS } else { "" };
        let is_known = |option: &[u8]| {
            let option = option.trim_ascii();
            let known = SUPPORTED.split(", ").chain(more.split(", "));
            !option.is_empty() && known.into_iter().any(|known| option.eq_ignore_ascii_case(known.as_bytes()))
        };
        request.values(HeaderName::Require).all(is_known)
    }

    /// The Contact that this service gives for a peer on that flow.
    fn contact(&self, flow: &Flow) -> String {
        let address = self.address_on(flow);
        match flow.transport {
            Transport::Udp => format!("<sip:{address}>"),
            other => format!("<sip:{address};transport={}>", other.uri_name()),
        }
    }

    /// The address at which the peer of a flow reaches this service.
    fn address_on(&self, flow: &Flow) -> SocketAddr {
        let named = self.local.iter().filter(|(transport, _)| *transport == flow.transport);
        let mut fitting = named.map(|(_, address)| *address).filter(|a| a.is_ipv4() == flow.remote.is_ipv4());
        match fitting.next() {
            Some(address) if flow.local.ip().is_unspecified() => address,
            Some(address) => SocketAddr::new(flow.local.ip(), address.port()),
            None => flow.local,
        }
    }
}

fn bad_extension(request: &Message) -> Response {
    let options = request.values(HeaderName::Require);
    options.fold(Response::new(420), |refusal, option| {
        refusal.header(HeaderName::Unsupported, String::from_utf8_lossy(option))
    })
}

/// What a focus says of itself.
fn answer_to_options(allow: &str) -> Response {
    Response::new(200).header(HeaderName::Allow, allow).header(HeaderName::AllowEvents, conference::PACKAGE)
}

impl Node for Core {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        Self::handle_input(self, now, flow, bytes);
    }

    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        Self::handle_flow_failed(self, now, to, flow, reason);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        Self::poll_transmit(self)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("local", &self.local)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}
