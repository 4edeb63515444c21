//! What a watcher of a long list costs: `cargo run --release -p attache-service --example long_list`.
//!
//! The service's machine alone, without sockets: from the SUBSCRIBE to the last document, and a change after that, for
//! one watcher of many. Memory is what the process has more after each further watcher.

#![allow(clippy::unwrap_used, reason = "a tool for developers")]

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use attache_service::{Core, CoreConfig, ListConfig, ServiceConfig};
use attache_sip::build::ResponseBuilder;
use attache_sip::digest::{DigestClient, Policy};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request};
use attache_sip::message::{HeaderName, Limits, Message, Method};
use attache_sip::transport::{Destination, Flow, FlowId, Transport};

const WATCHERS: u32 = 20;

struct Bench {
    core: Core,
    client: Endpoint,
    digest: DigestClient,
    now: Instant,
    number: u32,
    /// Bodies of NOTIFYs: how many, bytes of all, bytes of the largest.
    bodies: (u32, usize, usize),
}

fn main() {
    println!("resources   all told       NOTIFYs  KiB (largest)   a change     memory of a watcher");
    for resources in [100, 1_000, 10_000] {
        let mut bench = Bench::new(resources);
        bench.watch();
        let before = resident();
        let start = Instant::now();
        bench.bodies = (0, 0, 0);
        for _ in 0..WATCHERS {
            bench.watch();
        }
        let all_told = start.elapsed() / WATCHERS;
        let memory = resident().saturating_sub(before) / WATCHERS as usize;
        let (count, bytes, largest) = bench.bodies;
        bench.now += Duration::from_secs(10);
        bench.core.handle_timeout(bench.now);
        let start = Instant::now();
        let body = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:a@example.com\"><tuple id=\"t\">\
                    <status><basic>open</basic></status></tuple></presence>";
        let request = bench.request(Method::Publish, "sip:a@example.com").body("application/pidf+xml", body);
        bench.bodies = (0, 0, 0);
        bench.send(request);
        assert_eq!(bench.bodies.0, WATCHERS + 1);
        let change = start.elapsed() / (WATCHERS + 1);
        println!(
            "{resources:9}   {all_told:9.2?}   {:9}   {:5} ({:4})   {change:9.2?}   {:6} KiB",
            count / WATCHERS,
            bytes / WATCHERS as usize / 1024,
            largest / 1024,
            memory / 1024,
        );
    }
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

impl Bench {
    fn new(resources: usize) -> Self {
        let mut toml = String::from(
            "[[user]]\nname = \"a\"\npassword = \"p\"\n[service]\ndomains = [\"example.com\"]\n",
        );
        let mut members = vec!["sip:a@example.com".to_owned()];
        for number in 1..resources {
            toml.push_str(&format!("[[user]]\nname = \"user-{number}\"\nha1-sha256 = \"{number:064x}\"\n"));
            members.push(format!("sip:user-{number}@example.com"));
        }
        let accounts = ServiceConfig::parse(&toml).unwrap().accounts().unwrap();
        let mut config = CoreConfig::new("example.com", accounts, "127.0.0.1:5060".parse().unwrap());
        config.lists =
            vec![ListConfig { address: "sip:all@example.com".into(), members, watchers: Vec::new() }];
        config.limits.watched_per_user = usize::MAX;
        config.limits.requests_per_source = u32::MAX;
        config.limits.burst_per_source = u32::MAX;
        let now = Instant::now();
        let client = EndpointConfig {
            limits: Limits { message: 8 * 1024 * 1024, ..Limits::DEFAULT },
            ..EndpointConfig::at("127.0.0.2:5060".parse().unwrap())
        };
        Self {
            core: Core::new(config, now, SystemTime::now(), [1; 32]),
            client: Endpoint::new(client, [2; 32]),
            digest: DigestClient::new("a", "p".into(), Policy::default()),
            now,
            number: 0,
            bodies: (0, 0, 0),
        }
    }

    fn watch(&mut self) {
        let request = self
            .request(Method::Subscribe, "sip:all@example.com")
            .header(HeaderName::Contact, "<sip:a@127.0.0.2:5060;transport=tcp>")
            .header(HeaderName::Supported, "eventlist");
        self.send(request);
    }

    fn request(&mut self, method: Method<'_>, to: &str) -> Request {
        self.number += 1;
        let from = format!("<sip:a@example.com>;tag={}", self.number);
        let request = Request::new(method, to).from(from).to(format!("<{to}>"));
        request.call_id(self.number.to_string()).header(HeaderName::Event, "presence")
    }

    /// Sends a request, answers the challenge, and then each NOTIFY.
    fn send(&mut self, mut request: Request) {
        let destination =
            Destination { transport: Transport::Tcp, remote: "127.0.0.1:5060".parse().unwrap() };
        let here: SocketAddr = "127.0.0.2:5060".parse().unwrap();
        let flow = Flow {
            id: FlowId(1),
            transport: Transport::Tcp,
            local: "127.0.0.1:5060".parse().unwrap(),
            remote: here,
        };
        loop {
            self.client.send_request(self.now, &request, destination, None).unwrap();
            let mut answer = None;
            loop {
                let mut idle = true;
                while let Some(transmit) = self.client.poll_transmit() {
                    self.core.handle_input(self.now, flow, transmit.payload);
                    idle = false;
                }
                while let Some(transmit) = self.core.poll_transmit() {
                    idle = false;
                    let limits = Limits { message: 8 * 1024 * 1024, ..Limits::DEFAULT };
                    let message = Message::parse_with(transmit.payload.clone(), &limits).unwrap();
                    if message.is_request() {
                        self.bodies.0 += 1;
                        self.bodies.1 += message.body().len();
                        self.bodies.2 = self.bodies.2.max(message.body().len());
                        let ok = ResponseBuilder::for_request(&message, 200, "OK").finish().unwrap();
                        self.core.handle_input(self.now, flow, ok);
                    } else {
                        let back = Flow { local: here, remote: destination.remote, ..flow };
                        self.client.handle_input(self.now, back, transmit.payload);
                    }
                }
                while let Some(event) = self.client.poll_event() {
                    if let EndpointEvent::Response { message, .. } = event {
                        answer = Some(message);
                    }
                }
                if self.core.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.core.handle_timeout(self.now);
                } else if idle {
                    break;
                }
            }
            let answer = answer.expect("each request is answered at once");
            if answer.status() != Some(401) {
                assert_eq!(answer.status(), Some(200));
                return;
            }
            self.digest.learn(&answer.challenges(), false).unwrap();
            let body = request.body.clone().map_or_else(Default::default, |(_, body)| body);
            let method = request.method.as_str().to_owned();
            let proofs = self.digest.authorize(&method, &request.uri, &body, 1);
            request = proofs.into_iter().fold(request, |request, (name, value)| request.header(name, value));
            request.cseq += 1;
        }
    }
}
