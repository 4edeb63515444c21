//! The service on real sockets.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::net::SocketAddr;
use std::time::Duration;

use attache_net::{BindOptions, Input, Sockets, Tls};
use attache_service::{Service, ServiceConfig, StartError};
use attache_sip::digest::{DigestClient, Policy};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request, Response};
use attache_sip::message::{HeaderName, Message, Method};
use attache_sip::transport::{Destination, Transport};
use tokio::time::{Instant, timeout_at};

#[path = "../../net/tests/common/pki.rs"]
mod pki;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(extra: &str) -> ServiceConfig {
    ServiceConfig::parse(&format!(
        r#"
        [service]
        listen = ["127.0.0.1:0", "[::1]:0"]
        domains = ["example.com"]
        {extra}
        [[user]]
        name = "alice"
        password = "wonderland"
        [[user]]
        name = "bob"
        password = "builder"
        "#
    ))
    .unwrap()
}

/// A client on a real socket.
struct Client {
    sockets: Sockets,
    endpoint: Endpoint,
    digest: DigestClient,
    user: &'static str,
    service: Destination,
    contact: String,
    received: Vec<Message>,
    next: u32,
}

impl Client {
    fn new(service: &Service, user: &'static str, password: &str, transport: Transport, v6: bool) -> Self {
        Self::over(service, user, password, transport, v6, None)
    }

    /// Over TLS and WebSocket, a client that listens nowhere.
    fn over(
        service: &Service,
        user: &'static str,
        password: &str,
        transport: Transport,
        v6: bool,
        tls: Option<Tls>,
    ) -> Self {
        let remote = *service
            .local_addrs()
            .iter()
            .find(|(bound, address)| *bound == transport && address.is_ipv6() == v6)
            .map(|(_, address)| address)
            .unwrap();
        let here: SocketAddr = if v6 { "[::1]:0" } else { "127.0.0.1:0" }.parse().unwrap();
        let addresses = match transport {
            Transport::Udp | Transport::Tcp => vec![here],
            _ => Vec::new(),
        };
        let sockets = Sockets::bind(BindOptions { addresses, tls, ..BindOptions::default() }).unwrap();
        let local = sockets.local_addresses();
        let contact = match (transport, local.first()) {
            (Transport::Udp, Some((_, here))) => format!("<sip:{user}@{here}>"),
            (_, Some((_, here))) => format!("<sip:{user}@{here};transport=tcp>"),
            (other, None) => format!("<sip:{user}@{user}.invalid;transport={}>", other.uri_name()),
        };
        static CLIENTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let mut seed = [7; 32];
        let number = CLIENTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        seed[..8].copy_from_slice(&number.to_be_bytes());
        Self {
            sockets,
            endpoint: Endpoint::new(EndpointConfig::new(local), seed),
            digest: DigestClient::new(user, password.into(), Policy::default()),
            user,
            service: Destination { transport, remote },
            contact,
            received: Vec::new(),
            next: 0,
        }
    }

    fn request(&mut self, method: Method<'_>, uri: &str) -> Request {
        self.next += 1;
        let (user, number) = (self.user, self.next);
        Request::new(method, uri)
            .from(format!("<sip:{user}@example.com>;tag=t{number}"))
            .to(format!("<{uri}>"))
            .call_id(format!("{user}-{number}-{}", self.service.transport))
            .cseq(number)
    }

    /// Runs until something holds.
    async fn until<T>(
        &mut self,
        mut wanted: impl FnMut(&mut Self, Option<&EndpointEvent>) -> Option<T>,
    ) -> T {
        let end = Instant::now() + PATIENCE;
        if let Some(found) = wanted(self, None) {
            return found;
        }
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                if let EndpointEvent::Request { id, message, .. } = &event {
                    let now = std::time::Instant::now();
                    self.endpoint.respond(now, *id, &Response::new(200)).unwrap();
                    self.received.push(message.clone());
                }
                if let Some(found) = wanted(self, Some(&event)) {
                    while let Some(transmit) = self.endpoint.poll_transmit() {
                        self.sockets.send(transmit);
                    }
                    return found;
                }
            }
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.sockets.send(transmit);
            }
            let next = self.endpoint.poll_timeout().map_or(end, Instant::from_std);
            match timeout_at(next.min(end), self.sockets.recv()).await {
                Ok(Input::Message { flow, bytes }) => {
                    self.endpoint.handle_input(std::time::Instant::now(), flow, bytes);
                }
                Ok(Input::FlowFailed { destination, flow, reason }) => {
                    let now = std::time::Instant::now();
                    self.endpoint.handle_flow_failed(now, destination, flow, &reason.to_string());
                }
                Ok(_) => {}
                Err(_) => {
                    assert!(Instant::now() < end, "nothing came in time");
                    self.endpoint.handle_timeout(std::time::Instant::now());
                }
            }
        }
    }

    async fn send(&mut self, request: Request) -> Message {
        let mut request = request;
        loop {
            let now = std::time::Instant::now();
            let domain = Some("example.com".into());
            let sent = self.endpoint.send_request_to(now, &request, self.service, domain).unwrap();
            let answer = self
                .until(|_, event| match event {
                    Some(EndpointEvent::Response { id, message, .. }) if *id == sent => {
                        message.status().is_some_and(|status| status >= 200).then(|| message.clone())
                    }
                    Some(EndpointEvent::Failed { failure, .. }) => panic!("{failure}"),
                    _ => None,
                })
                .await;
            if !matches!(answer.status(), Some(401 | 407)) || request.cseq > 500 {
                return answer;
            }
            self.digest.learn(&answer.challenges(), false).unwrap();
            let body = request.body.clone().map_or_else(Default::default, |(_, body)| body);
            let method = request.method.as_str().to_owned();
            let proofs = self.digest.authorize(&method, &request.uri, &body, 1);
            request = proofs.into_iter().fold(request, |request, (name, value)| request.header(name, value));
            request.cseq += 1000;
        }
    }

    async fn register(&mut self) -> u16 {
        let address = format!("<sip:{}@example.com>", self.user);
        let mut request = self.request(Method::Register, "sip:example.com");
        request.headers.retain(|(name, _)| *name != HeaderName::To.into());
        let request = request.to(address).header(HeaderName::Contact, self.contact.clone());
        self.send(request.header(HeaderName::Expires, "600")).await.status().unwrap()
    }

    async fn say(&mut self, to: &str, text: &str) -> u16 {
        let request = self.request(Method::Message, to).body("text/plain", text.to_owned());
        self.send(request).await.status().unwrap()
    }

    async fn hears(&mut self, text: &str) {
        self.until(|client, _| {
            client.received.iter().any(|message| message.body() == text.as_bytes()).then_some(())
        })
        .await;
    }

    async fn is_told(&mut self, note: &str) {
        self.until(|client, _| {
            let told = |message: &Message| String::from_utf8_lossy(message.body()).contains(note);
            client.received.iter().any(told).then_some(())
        })
        .await;
    }
}

/// Alice hears of Bob, and Bob from Alice.
async fn talk(mut alice: Client, mut bob: Client, note: &str) {
    assert_eq!((alice.register().await, bob.register().await), (200, 200));
    let contact = alice.contact.clone();
    let request = alice.request(Method::Subscribe, "sip:bob@example.com");
    let request = request.header(HeaderName::Contact, contact).header(HeaderName::Event, "presence");
    assert_eq!(alice.send(request).await.status(), Some(200));
    let document = format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:bob@example.com\"><tuple id=\"t\">\
         <status><basic>open</basic></status><note>{note}</note></tuple></presence>"
    );
    let request = bob.request(Method::Publish, "sip:bob@example.com").header(HeaderName::Event, "presence");
    let published = bob.send(request.body("application/pidf+xml", document)).await;
    assert_eq!(published.status(), Some(200));
    alice.is_told(note).await;

    let say = tokio::spawn(async move {
        let status = alice.say("sip:bob@example.com", "hello").await;
        (alice, status)
    });
    bob.hears("hello").await;
    assert_eq!(say.await.unwrap().1, 200);
}

#[tokio::test]
async fn two_people_talk_and_see_each_other_over_each_transport_and_family() {
    let service = Service::start(&config("")).unwrap();
    for (transport, v6) in
        [(Transport::Udp, false), (Transport::Tcp, false), (Transport::Udp, true), (Transport::Tcp, true)]
    {
        let alice = Client::new(&service, "alice", "wonderland", transport, v6);
        let bob = Client::new(&service, "bob", "builder", transport, v6);
        talk(alice, bob, &format!("over {transport} {v6}")).await;
    }
    assert_eq!(service.statistics().await.registered_users, 2);
    service.shutdown().await;
}

#[tokio::test]
async fn people_who_listen_nowhere_are_reached_over_tls_and_websockets() {
    let authority = pki::Authority::new("The Tests' Authority");
    let (certificate, key) = authority.issue_pem(pki::naming(&["sip:example.com", "example.com"]));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("certificate.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let both = r#"["127.0.0.1:0", "[::1]:0"]"#;
    let mut config = config(&format!(
        "listen-tls = {both}\nlisten-ws = {both}\nlisten-wss = {both}\n\
         [service.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n"
    ));
    config.base = folder.path().to_owned();
    let service = Service::start(&config).unwrap();
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        for v6 in [false, true] {
            let tls = Some(authority.client());
            let alice = Client::over(&service, "alice", "wonderland", transport, v6, tls.clone());
            let bob = Client::over(&service, "bob", "builder", transport, v6, tls);
            talk(alice, bob, &format!("over {transport} {v6}")).await;
        }
    }
    service.shutdown().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_an_error_that_names_its_file() {
    let mut config = config("[service.tls]\ncertificate = \"nowhere.pem\"\nkey = \"key.pem\"\n");
    config.base = "/nowhere".into();
    let error = Service::start(&config).unwrap_err().to_string();
    assert!(error.contains("service.tls") && error.contains("/nowhere/"), "{error}");
}

#[tokio::test]
async fn a_message_that_was_kept_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&format!("data-dir = {:?}", folder.path()));
    let service = Service::start(&config).unwrap();
    let mut alice = Client::new(&service, "alice", "wonderland", Transport::Udp, false);
    assert_eq!(alice.say("sip:bob@example.com", "for later").await, 202);
    service.shutdown().await;

    let service = Service::start(&config).unwrap();
    assert_eq!(service.statistics().await.stored_messages, 1);
    let mut bob = Client::new(&service, "bob", "builder", Transport::Tcp, false);
    assert_eq!(bob.register().await, 200);
    bob.hears("for later").await;
    let taken = async {
        while service.statistics().await.stored_messages > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("the answer arrives in time");
    service.shutdown().await;

    let service = Service::start(&config).unwrap();
    assert_eq!(service.statistics().await.stored_messages, 0);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_service_goes_on() {
    let service = Service::start(&config("")).unwrap();
    let mut mallory = Client::new(&service, "alice", "guess", Transport::Udp, false);
    assert_eq!(mallory.register().await, 401);
    let mut alice = Client::new(&service, "alice", "wonderland", Transport::Udp, false);
    assert_eq!(alice.register().await, 200);
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let service = Service::start(&config("")).unwrap();
    let mut second = config("");
    second.service.listen = vec![service.local_addrs()[0].1];
    let Err(error @ StartError::Listen(..)) = Service::start(&second) else {
        panic!("two services on one port")
    };
    assert!(error.to_string().contains(&service.local_addrs()[0].1.to_string()), "{error}");
}

#[tokio::test]
async fn a_service_that_was_shut_down_leaves_its_port_free() {
    let service = Service::start(&config("")).unwrap();
    let mut second = config("");
    second.service.listen = vec![service.local_addrs()[0].1];
    service.shutdown().await;
    Service::start(&second).unwrap();
}
