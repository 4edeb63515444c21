//! What the tests of the service share: a service in a simulated network, and clients driven by hand.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code, of which each binary uses a part"
)]

pub mod calls;
pub mod streams;
pub mod xcap;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use attache_documents::policy::{self, Rule};
use attache_service::{Core, CoreConfig, ServiceConfig};
use attache_sip::digest::{DigestClient, Policy, Secret};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request, Response};
use attache_sip::message::{HeaderName, Limits, Message, Method};
use attache_sip::sim::{Node, Simulation};
use attache_sip::transaction::{ServerTransactionId, TransactionId};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use bytes::Bytes;

pub const SERVICE: &str = "127.0.0.1:5060";
pub const ALICE: &str = "127.0.1.1:5060";
pub const BOB: &str = "127.0.2.1:5060";
pub const PHONE: &str = "127.0.2.2:5060";
pub const CAROL: &str = "127.0.3.1:5060";

/// What a client reads that watches long lists.
const LONG: Limits = Limits { message: 4 * 1024 * 1024, ..Limits::DEFAULT };

/// Begins the dates of all tests.
pub const EPOCH: u64 = 1_800_000_000;

/// A user agent: proves who it is when asked, answers what it gets, and remembers it.
pub struct Client {
    endpoint: Endpoint,
    digest: DigestClient,
    user: String,
    here: SocketAddr,
    transport: Transport,
    pending: Option<(TransactionId, Request, bool)>,
    answers: VecDeque<Message>,
    /// Requests that came, in order.
    pub received: Vec<Message>,
    /// How requests are answered.
    pub answer_with: u16,
    /// Whether they are answered at all.
    pub is_deaf: bool,
    /// Whether requests wait in [`ringing`](Self::ringing) to be answered by hand.
    pub is_slow: bool,
    /// Those that do.
    pub ringing: VecDeque<(ServerTransactionId, Message)>,
    /// Provisional answers, and final ones beyond the first.
    pub progress: Vec<Message>,
    /// INVITEs that were cancelled.
    pub cancelled: Vec<ServerTransactionId>,
    next: u32,
}

impl Client {
    pub fn new(user: &str, password: &str, here: &str) -> Self {
        let here: SocketAddr = here.parse().unwrap();
        // A client that starts anew must not repeat the branches of the one before it.
        static CLIENTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = CLIENTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        Self {
            endpoint: Endpoint::new(
                EndpointConfig { limits: LONG, is_proxy: true, ..EndpointConfig::at(here) },
                seed,
            ),
            digest: DigestClient::new(user, Secret::new(password), Policy::default()),
            user: user.to_owned(),
            here,
            transport: Transport::Udp,
            pending: None,
            answers: VecDeque::new(),
            received: Vec::new(),
            answer_with: 200,
            is_deaf: false,
            is_slow: false,
            ringing: VecDeque::new(),
            progress: Vec::new(),
            cancelled: Vec::new(),
            next: 1,
        }
    }

    pub fn use_tcp(&mut self) {
        self.transport = Transport::Tcp;
    }

    pub fn address(&self) -> String {
        format!("sip:{}@example.com", self.user)
    }

    pub fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.here)
    }

    /// A request from this user in a dialog of its own.
    pub fn request(&mut self, method: Method<'_>, uri: &str) -> Request {
        self.next += 1;
        let user = &self.user;
        Request::new(method, uri)
            .from(format!("<sip:{user}@example.com>;tag={user}{}", self.next))
            .to(format!("<{uri}>"))
            .call_id(format!("{user}-{}-{}", self.here.ip(), self.next))
            .cseq(self.next)
    }

    /// Answers the request that has waited longest.
    pub fn reply(&mut self, now: Instant, response: &Response) -> Message {
        let (id, request) = self.ringing.pop_front().unwrap();
        self.endpoint.respond(now, id, response).unwrap();
        if response.status < 200 {
            self.ringing.push_front((id, request.clone()));
        }
        request
    }

    /// Says a final answer once more.
    pub fn repeat(&mut self, now: Instant, id: ServerTransactionId, response: &Response) {
        self.endpoint.respond(now, id, response).unwrap();
    }

    /// Takes the request back that waits for its answer.
    pub fn cancel(&mut self, now: Instant) {
        let id = self.pending.as_ref().unwrap().0;
        self.endpoint.cancel(now, id);
    }

    /// Sends an ACK, which has no transaction.
    pub fn acknowledge(&mut self, request: &Request) {
        let destination = Destination { transport: self.transport, remote: SERVICE.parse().unwrap() };
        self.endpoint.send_ack(request, destination, None).unwrap();
    }

    fn transmit(&mut self, now: Instant, request: Request, retried: bool) {
        let destination = Destination { transport: self.transport, remote: SERVICE.parse().unwrap() };
        let id = self.endpoint.send_request(now, &request, destination, None).unwrap();
        self.pending = Some((id, request, retried));
    }

    fn work(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                EndpointEvent::Request { id, message, .. } => {
                    if self.is_slow {
                        self.ringing.push_back((id, message.clone()));
                    } else if !self.is_deaf {
                        self.endpoint.respond(now, id, &Response::new(self.answer_with)).unwrap();
                    }
                    self.received.push(message);
                }
                EndpointEvent::Ack { message, .. } => self.received.push(message),
                EndpointEvent::Cancelled { id, .. } => {
                    self.cancelled.push(id);
                    self.endpoint.respond(now, id, &Response::new(487)).unwrap();
                }
                EndpointEvent::Response { message, .. } if message.status() < Some(200) => {
                    self.progress.push(message);
                }
                EndpointEvent::Response { id, message, .. } => {
                    let Some((_, request, retried)) = self.pending.take_if(|(pending, ..)| *pending == id)
                    else {
                        self.progress.push(message);
                        continue;
                    };
                    let challenged = matches!(message.status(), Some(401 | 407));
                    if challenged && !retried && self.digest.learn(&message.challenges(), false).is_ok() {
                        let method = request.method.as_str().to_owned();
                        let body = request.body.as_ref().map_or(&b""[..], |(_, body)| body);
                        let proofs = self.digest.authorize(&method, &request.uri, body, 0xc0_ffee);
                        let cseq = request.cseq + 1;
                        self.next = cseq;
                        let again = request.clone().cseq(cseq);
                        let again =
                            proofs.into_iter().fold(again, |again, (name, value)| again.header(name, value));
                        self.transmit(now, again, true);
                    } else {
                        self.answers.push_back(message);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Node for Client {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.endpoint.handle_input(now, flow, bytes);
        self.work(now);
    }
    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        self.endpoint.handle_flow_failed(now, to, flow, reason);
        self.work(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.work(now);
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.endpoint.poll_transmit()
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }
}

/// A service and its clients.
pub struct Net {
    pub sim: Simulation,
}

pub fn config() -> CoreConfig {
    let toml = r#"
        [service]
        domains = ["example.com"]
        [[user]]
        name = "alice"
        password = "wonderland"
        [[user]]
        name = "bob"
        password = "builder"
        [[user]]
        name = "carol"
        password = "christmas"
    "#;
    let accounts = ServiceConfig::parse(toml).unwrap().accounts().unwrap();
    CoreConfig::new("example.com", accounts, SERVICE.parse().unwrap())
}

impl Net {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: CoreConfig) -> Self {
        let mut sim = Simulation::new(1);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH);
        let core = Core::new(config, sim.now(), wall, [9; 32]);
        sim.add(SERVICE.parse().unwrap(), core);
        let mut net = Self { sim };
        net.join("alice", "wonderland", ALICE);
        net.join("bob", "builder", BOB);
        net.join("bob", "builder", PHONE);
        net.join("carol", "christmas", CAROL);
        net
    }

    pub fn join(&mut self, user: &str, password: &str, at: &str) {
        self.sim.add(at.parse().unwrap(), Client::new(user, password, at));
    }

    pub fn client<R>(&mut self, at: &str, f: impl FnOnce(&mut Client) -> R) -> R {
        self.sim.with(at.parse().unwrap(), |client: &mut Client, _| f(client))
    }

    pub fn core<R>(&mut self, f: impl FnOnce(&mut Core, Instant) -> R) -> R {
        self.sim.with(SERVICE.parse().unwrap(), f)
    }

    pub fn run(&mut self, seconds: u64) {
        self.sim.run_for(Duration::from_secs(seconds));
    }

    /// Sends a request as it is, answers a challenge, and returns the final answer.
    pub fn send(&mut self, at: &str, request: Request) -> Message {
        self.exchange(at, request, false)
    }

    /// Sends a request as it is, and returns the final answer, be it a challenge.
    pub fn send_once(&mut self, at: &str, request: Request) -> Message {
        self.exchange(at, request, true)
    }

    fn exchange(&mut self, at: &str, request: Request, retried: bool) -> Message {
        let here: SocketAddr = at.parse().unwrap();
        self.sim.with(here, |client: &mut Client, now| client.transmit(now, request, retried));
        let answered = self.sim.run_until(Duration::from_secs(40), |sim| {
            sim.with(here, |client: &mut Client, _| !client.answers.is_empty())
        });
        assert!(answered, "no answer came");
        self.client(at, |client| client.answers.pop_front().unwrap())
    }

    /// Sends a request as it is, and does not wait.
    pub fn start(&mut self, at: &str, request: Request) {
        self.sim.with(at.parse().unwrap(), |client: &mut Client, now| client.transmit(now, request, true));
    }

    /// Sends a request, answers a challenge, and does not wait.
    pub fn start_with_digest(&mut self, at: &str, request: Request) {
        self.sim.with(at.parse().unwrap(), |client: &mut Client, now| client.transmit(now, request, false));
    }

    /// The final answer, if it has come.
    pub fn answer(&mut self, at: &str) -> Option<Message> {
        self.client(at, |client| client.answers.pop_front())
    }

    pub fn register(&mut self, at: &str, expires: u32) -> Message {
        let request = self.client(at, |client| {
            let (address, contact) = (client.address(), client.contact());
            let mut request = client.request(Method::Register, "sip:example.com");
            request.headers.retain(|(name, _)| *name != HeaderName::To.into());
            request.to(format!("<{address}>")).header(HeaderName::Contact, contact)
        });
        self.send(at, request.header(HeaderName::Expires, expires.to_string()))
    }

    pub fn publish(&mut self, at: &str, note: &str, etag: Option<&str>) -> Message {
        let request = self.client(at, |client| {
            let address = client.address();
            client.request(Method::Publish, &address)
        });
        let request = request.header(HeaderName::Event, "presence");
        let request = match etag {
            Some(etag) => request.header(HeaderName::SipIfMatch, etag),
            None => request,
        };
        self.send(at, request.body("application/pidf+xml", pidf(note)))
    }

    pub fn subscribe(&mut self, at: &str, to: &str, expires: u32) -> Message {
        let request = self.client(at, |client| {
            let contact = client.contact();
            client.request(Method::Subscribe, to).header(HeaderName::Contact, contact)
        });
        let request = request.header(HeaderName::Event, "presence");
        self.send(at, request.header(HeaderName::Expires, expires.to_string()))
    }

    pub fn message(&mut self, at: &str, to: &str, text: &str) -> Message {
        let request = self.client(at, |client| client.request(Method::Message, to));
        self.send(at, request.body("text/plain", text.to_owned()))
    }

    /// The answer to an XCAP request of a user, after the challenge.
    pub fn xcap(&mut self, user: &str, ask: &xcap::Ask<'_>) -> http::Response<Bytes> {
        let password = match user {
            "alice" => "wonderland",
            "bob" => "builder",
            _ => "christmas",
        };
        let mut client = xcap::Xcap::new(user, password);
        self.core(|core, now| client.ask(core, now, ask))
    }

    /// Has a user keep a document of that name.
    pub fn keep(&mut self, user: &str, auid: &str, kind: &str, body: &str) -> http::Response<Bytes> {
        let path = format!("/xcap-root/{auid}/users/sip:{user}@example.com/index");
        self.xcap(user, &xcap::Ask::new(http::Method::PUT, path).body(kind, body))
    }

    /// Has a user keep these rules, and nothing else.
    pub fn keep_rules(&mut self, user: &str, rules: &[Rule]) {
        let ruleset = policy::Ruleset { rules: rules.to_vec(), ..policy::Ruleset::default() };
        let answer = self.keep(user, policy::AUID, xcap::RULES, &policy::write(&ruleset));
        assert!(answer.status().is_success(), "{}", xcap::text(&answer));
    }

    /// What a client has received of one method, taken out.
    pub fn received(&mut self, at: &str, method: Method<'_>) -> Vec<Message> {
        let all = self.client(at, |client| std::mem::take(&mut client.received));
        all.into_iter().filter(|message| message.method() == Some(method)).collect()
    }

    /// The texts of the messages that a client has received.
    pub fn texts(&mut self, at: &str) -> Vec<String> {
        let all = self.received(at, Method::Message);
        all.iter().map(|message| String::from_utf8(message.body().to_vec()).unwrap()).collect()
    }

    /// The notes of the presence documents that a client has received.
    pub fn notes(&mut self, at: &str) -> Vec<String> {
        let all = self.received(at, Method::Notify);
        all.iter().map(note).collect()
    }
}

pub fn pidf(note: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         entity=\"sip:bob@example.com\"><tuple id=\"t\"><status><basic>open</basic></status>\
         <note>{note}</note></tuple></presence>"
    )
}

/// The note of the first tuple; `closed` when it has none and is closed.
pub fn note(message: &Message) -> String {
    let parsed = attache_documents::pidf::read(message.body(), &attache_documents::Limits::DEFAULT).unwrap();
    let tuple = &parsed.document.tuples[0];
    match tuple.notes.first() {
        Some(note) => note.text.clone(),
        None if tuple.basic == Some(attache_documents::pidf::Basic::Closed) => "closed".into(),
        None => "open".into(),
    }
}

pub fn status(message: &Message) -> u16 {
    message.status().unwrap()
}

pub fn text(message: &Message, name: HeaderName) -> String {
    String::from_utf8(message.header(name).unwrap_or_default().to_vec()).unwrap()
}
