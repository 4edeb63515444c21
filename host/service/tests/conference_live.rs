//! A conference on real sockets: two of our agents, and their sessions for messages over TCP and TLS.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attache_msrp::sdp::{self, MessageMedia, Setup};
use attache_msrp::{Msrp, MsrpConfig, MsrpEvent, Outgoing, SessionId, SessionParams};
use attache_net::{BindOptions, Input, MsrpOptions, MsrpSockets, Sockets, Tls};
use attache_service::{Service, ServiceConfig};
use attache_sip::digest::{DigestClient, Policy};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request};
use attache_sip::message::{HeaderName, Message, Method, NameAddr};
use attache_sip::transport::{Destination, Transport};

#[path = "../../net/tests/common/pki.rs"]
mod pki;

const PATIENCE: Duration = Duration::from_secs(30);
const FACTORY: &str = "sip:conference@example.com";

/// A device with sockets for both protocols.
struct Device {
    sockets: Sockets,
    streams: MsrpSockets,
    endpoint: Endpoint,
    msrp: Msrp,
    digest: DigestClient,
    user: &'static str,
    service: Destination,
    contact: String,
    next: u32,
    answers: Vec<Message>,
    heard: Vec<String>,
    connected: bool,
}

impl Device {
    fn new(service: &Service, user: &'static str, password: &str, tls: Option<Tls>, seed: u8) -> Self {
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = Sockets::bind(BindOptions { addresses: vec![here], ..BindOptions::default() }).unwrap();
        let local = sockets.local_addresses();
        let (_, remote) =
            service.local_addrs().iter().find(|(transport, _)| *transport == Transport::Tcp).unwrap();
        let contact = format!("<sip:{user}@{};transport=tcp>", local[0].1);
        Self {
            streams: MsrpSockets::bind(MsrpOptions { tls, ..MsrpOptions::default() }).unwrap(),
            msrp: Msrp::new(MsrpConfig { host: "127.0.0.1".into(), ..MsrpConfig::default() }, [seed; 32]),
            endpoint: Endpoint::new(EndpointConfig::new(local), [seed; 32]),
            digest: DigestClient::new(user, password.into(), Policy::default()),
            user,
            service: Destination { transport: Transport::Tcp, remote: *remote },
            contact,
            sockets,
            next: 0,
            answers: Vec::new(),
            heard: Vec::new(),
            connected: false,
        }
    }

    /// Runs until something holds.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !wanted(self) {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.sockets.send(transmit);
            }
            while let Some(request) = self.msrp.poll_transmit(Instant::now()) {
                self.streams.request(request);
            }
            let tick = tokio::time::sleep(Duration::from_millis(50));
            tokio::select! {
                input = self.sockets.recv() => match input {
                    Input::Message { flow, bytes } => self.endpoint.handle_input(Instant::now(), flow, bytes),
                    Input::FlowFailed { destination, flow, reason } => {
                        self.endpoint.handle_flow_failed(Instant::now(), destination, flow, &reason.to_string());
                    }
                    _ => {}
                },
                input = self.streams.recv() => self.msrp.handle_input(Instant::now(), input),
                () = tick => {
                    self.endpoint.handle_timeout(Instant::now());
                    self.msrp.handle_timeout(Instant::now());
                }
                () = tokio::time::sleep_until(end) => panic!("{what}: it never came"),
            }
            while let Some(event) = self.endpoint.poll_event() {
                if let EndpointEvent::Response { message, .. } = event
                    && message.status() >= Some(200)
                {
                    self.answers.push(message);
                }
            }
            while let Some(event) = self.msrp.poll_event() {
                match event {
                    MsrpEvent::Connected { .. } => self.connected = true,
                    MsrpEvent::Message { message, .. } => {
                        self.msrp.accept(Instant::now(), message.id);
                        self.heard.push(String::from_utf8(message.body.to_vec()).unwrap());
                    }
                    _ => {}
                }
            }
        }
    }

    async fn send(&mut self, mut request: Request) -> Message {
        for _ in 0..2 {
            self.answers.clear();
            let now = Instant::now();
            self.endpoint.send_request(now, &request, self.service, None).unwrap();
            self.until("an answer", |device| !device.answers.is_empty()).await;
            let answer = self.answers.remove(0);
            if !matches!(answer.status(), Some(401 | 407)) {
                return answer;
            }
            self.digest.learn(&answer.challenges(), false).unwrap();
            let body = request.body.as_ref().map_or(&b""[..], |(_, body)| body).to_vec();
            let (method, uri) = (request.method.as_str().to_owned(), request.uri.clone());
            for (name, value) in self.digest.authorize(&method, &uri, &body, 0xc0_ffee) {
                request.push(name, value);
            }
            request.cseq += 1;
        }
        panic!("challenged again");
    }

    /// Calls the factory or a conference, and gives its address and the session.
    async fn join(&mut self, to: &str, secure: bool) -> (String, SessionId) {
        self.next += 10;
        let params = SessionParams { secure, ..SessionParams::default() };
        let session = self.msrp.open(Instant::now(), params).unwrap();
        let mut media = MessageMedia::new(self.msrp.local_path(session).unwrap());
        media.setup = Some(Setup::Active);
        let offer = sdp::session(1, 1, "127.0.0.1".parse().unwrap(), vec![media.write()]);
        let user = self.user;
        let invite = Request::new(Method::Invite, to)
            .from(format!("<sip:{user}@example.com>;tag=t{}", self.next))
            .to(format!("<{to}>"))
            .call_id(format!("{user}-{}", self.next))
            .cseq(self.next)
            .header(HeaderName::Contact, &*self.contact)
            .body("application/sdp", sdp::write(&offer));
        let answer = self.send(invite).await;
        assert_eq!(answer.status(), Some(200), "{:?}", String::from_utf8_lossy(answer.reason()));
        let description = sdp::parse(answer.body()).unwrap();
        let media = MessageMedia::read(&description, &description.medias[0]).unwrap();
        let role = Setup::conclude(media.setup);
        self.msrp.connect(Instant::now(), session, media.peer(role, false)).unwrap();
        let contact = String::from_utf8(answer.header(HeaderName::Contact).unwrap().to_vec()).unwrap();
        let focus = NameAddr::parse(contact.as_bytes()).unwrap().uri().unwrap().as_str().to_owned();
        let text = |name| String::from_utf8(answer.header(name).unwrap().to_vec()).unwrap();
        let ack = Request::new(Method::Ack, &*focus)
            .from(text(HeaderName::From))
            .to(text(HeaderName::To))
            .call_id(text(HeaderName::CallId))
            .cseq(answer.cseq().unwrap().number)
            .header(HeaderName::Route, text(HeaderName::RecordRoute));
        self.endpoint.send_ack(&ack, self.service, None).unwrap();
        self.until("the connection of the session", |device| device.connected).await;
        (focus, session)
    }

    fn write(&mut self, session: SessionId, to: &str, text: &str) {
        let user = self.user;
        let body = format!(
            "From: <sip:{user}@example.com>\r\nTo: <{to}>\r\n\r\nContent-Type: text/plain\r\n\r\n{text}"
        );
        self.msrp.send(Instant::now(), session, Outgoing::new("message/cpim", body)).unwrap();
    }
}

fn config(extra: &str) -> ServiceConfig {
    let text = format!(
        r#"
        [service]
        listen = "127.0.0.1:0"
        domains = ["example.com"]
        conference = "{FACTORY}"
        {extra}
        [[user]]
        name = "alice"
        password = "wonderland"
        [[user]]
        name = "bob"
        password = "builder"
        "#
    );
    ServiceConfig::parse(&text).unwrap()
}

async fn talk(service: Service, tls: Option<Tls>) {
    let secure = tls.is_some();
    let mut alice = Device::new(&service, "alice", "wonderland", tls.clone(), 1);
    let mut bob = Device::new(&service, "bob", "builder", tls, 2);
    let (conference, from_alice) = alice.join(FACTORY, secure).await;
    let (same, _) = bob.join(&conference, secure).await;
    assert_eq!(conference, same);
    alice.write(from_alice, &conference, "over real sockets");
    let heard = |device: &Device| device.heard.iter().any(|text| text.ends_with("over real sockets"));
    tokio::join!(bob.until("the message", heard), async {
        // What is written leaves while somebody drives the writer.
        let drive = alice.until("never", |_| false);
        let _ = tokio::time::timeout(Duration::from_secs(1), drive).await;
    });
    assert_eq!(service.statistics().await.conferences, 1);
    service.shutdown().await;
}

#[tokio::test]
async fn members_write_to_each_other_over_tcp() {
    let service = Service::start(&config("listen-msrp = \"127.0.0.1:0\"")).unwrap();
    talk(service, None).await;
}

#[tokio::test]
async fn members_write_to_each_other_over_tls() {
    let authority = pki::Authority::new("The Tests' Authority");
    let (certificate, key) = authority.issue_pem(pki::naming(&["127.0.0.1"]));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("certificate.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let tls = "[service.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n";
    let mut config = config(&format!("listen-msrp-tls = \"127.0.0.1:0\"\n{tls}"));
    config.base = folder.path().to_owned();
    let service = Service::start(&config).unwrap();
    talk(service, Some(authority.client())).await;
}
