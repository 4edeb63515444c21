//! What one publication costs with so many watchers: `cargo run --release -p attache-service --example fan_out`.
//!
//! The service's machine alone, without sockets: authentication and composition once, one NOTIFY a watcher, and the
//! watcher's answer to it.

#![allow(clippy::unwrap_used, reason = "a tool for developers")]

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use attache_service::{Core, CoreConfig, ServiceConfig};
use attache_sip::build::ResponseBuilder;
use attache_sip::digest::{DigestClient, Policy};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request};
use attache_sip::message::{HeaderName, Message, Method};
use attache_sip::transport::{Destination, Flow, FlowId, Transport};

struct Bench {
    core: Core,
    client: Endpoint,
    digest: DigestClient,
    now: Instant,
    number: u32,
}

fn main() {
    println!("watchers   subscribe      NOTIFY and its answer");
    for watchers in [100, 1_000, 10_000, 50_000] {
        let mut bench = Bench::new();
        let start = Instant::now();
        for _ in 0..watchers {
            let request =
                bench.request(Method::Subscribe).header(HeaderName::Contact, "<sip:a@127.0.0.2:5060>");
            bench.send(request);
        }
        let subscribing = start.elapsed();
        bench.now += Duration::from_secs(10);
        let start = Instant::now();
        let body = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:a@example.com\"><tuple id=\"t\">\
                    <status><basic>open</basic></status></tuple></presence>";
        let request = bench.request(Method::Publish).body("application/pidf+xml", body);
        let notified = bench.send(request);
        assert_eq!(notified, watchers);
        let each = |time: Duration| time / watchers;
        println!("{watchers:8}   {:9.2?}      {:9.2?}", each(subscribing), each(start.elapsed()));
    }
}

impl Bench {
    fn new() -> Self {
        let toml = "[[user]]\nname = \"a\"\npassword = \"p\"\n[service]\ndomains = [\"example.com\"]\n";
        let accounts = ServiceConfig::parse(toml).unwrap().accounts().unwrap();
        let mut config = CoreConfig::new("example.com", accounts, "127.0.0.1:5060".parse().unwrap());
        config.limits.subscriptions_per_user = usize::MAX;
        config.limits.requests_per_source = u32::MAX;
        config.limits.burst_per_source = u32::MAX;
        let now = Instant::now();
        Self {
            core: Core::new(config, now, SystemTime::now(), [1; 32]),
            client: Endpoint::new(EndpointConfig::at("127.0.0.2:5060".parse().unwrap()), [2; 32]),
            digest: DigestClient::new("a", "p".into(), Policy::default()),
            now,
            number: 0,
        }
    }

    fn request(&mut self, method: Method<'_>) -> Request {
        self.number += 1;
        Request::new(method, "sip:a@example.com")
            .from(format!("<sip:a@example.com>;tag={}", self.number))
            .to("<sip:a@example.com>")
            .call_id(self.number.to_string())
            .cseq(self.number)
            .header(HeaderName::Event, "presence")
    }

    /// Sends a request, answers its challenge and all NOTIFYs, and counts those.
    fn send(&mut self, request: Request) -> u32 {
        let service = Destination { transport: Transport::Udp, remote: "127.0.0.1:5060".parse().unwrap() };
        let mut request = request;
        let mut notified = 0;
        for _ in 0..2 {
            if self.digest.is_ready() {
                let method = request.method.as_str().to_owned();
                let body = request.body.clone().map_or_else(Default::default, |(_, body)| body);
                for (name, value) in self.digest.authorize(&method, "sip:a@example.com", &body, 1) {
                    request.push(name, value);
                }
            }
            self.client.send_request(self.now, &request, service, None).unwrap();
            notified += self.settle();
            let Some(answer) = self.answer() else { continue };
            if answer.status() != Some(401) {
                break;
            }
            self.digest.learn(&answer.challenges(), false).unwrap();
        }
        notified
    }

    fn answer(&mut self) -> Option<Message> {
        while let Some(event) = self.client.poll_event() {
            if let EndpointEvent::Response { message, .. } = event {
                return Some(message);
            }
        }
        None
    }

    fn settle(&mut self) -> u32 {
        let flow = |local: &str, remote: &str| Flow {
            id: FlowId(1),
            transport: Transport::Udp,
            local: local.parse::<SocketAddr>().unwrap(),
            remote: remote.parse().unwrap(),
        };
        let here = flow("127.0.0.1:5060", "127.0.0.2:5060");
        let there = flow("127.0.0.2:5060", "127.0.0.1:5060");
        let mut notified = 0;
        while let Some(transmit) = self.client.poll_transmit() {
            self.core.handle_input(self.now, here, transmit.payload);
        }
        loop {
            let mut idle = true;
            while let Some(transmit) = self.core.poll_transmit() {
                idle = false;
                let message = Message::parse(transmit.payload.clone()).unwrap();
                if message.is_request() {
                    notified += 1;
                    let answer = ResponseBuilder::for_request(&message, 200, "").finish().unwrap();
                    self.core.handle_input(self.now, here, answer);
                } else {
                    self.client.handle_input(self.now, there, transmit.payload);
                }
            }
            if self.core.poll_timeout().is_some_and(|at| at <= self.now) {
                idle = false;
                self.core.handle_timeout(self.now);
            }
            if idle {
                return notified;
            }
        }
    }
}
