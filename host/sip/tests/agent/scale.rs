//! Ten thousand subscriptions in one agent.

use std::time::Duration;

use attache_sip::agent::{Agent, AgentConfig, AgentEvent};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::sim::{Node, Simulation};
use attache_sip::transport::{Destination, Flow, FlowId, Transmit, Transport};
use attache_sip::usage::SubscribeParams;

use crate::pair::{client, seconds, server, uri};

/// A notifier that accepts everything and notes how many requests it saw in one second.
struct Notifier {
    endpoint: Endpoint,
    arrivals: Vec<std::time::Instant>,
    waiting: usize,
    most_waiting: usize,
}

impl Notifier {
    fn work(&mut self, now: std::time::Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                EndpointEvent::Request { id, message, .. } => {
                    self.arrivals.push(now);
                    let header = |name| String::from_utf8(message.header(name).unwrap().to_vec()).unwrap();
                    let expires = message.expires().unwrap();
                    let ok = Response::new(200)
                        .to_tag("n")
                        .header(HeaderName::Expires, expires.to_string())
                        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>");
                    self.endpoint.respond(now, id, &ok).unwrap();
                    let to = header(HeaderName::To);
                    let from = if to.contains("tag=") { to } else { format!("{to};tag=n") };
                    let notify = Request::new(Method::Notify, "sip:alice@127.0.0.2:5070")
                        .from(from)
                        .to(header(HeaderName::From))
                        .call_id(header(HeaderName::CallId))
                        .cseq(message.cseq().unwrap().number)
                        .header(HeaderName::Contact, "<sip:127.0.0.1:5060>")
                        .header(HeaderName::Event, "presence")
                        .header(HeaderName::SubscriptionState, format!("active;expires={expires}"))
                        .body("application/pidf+xml", "<presence/>");
                    let to = Destination { transport: Transport::Udp, remote: client() };
                    self.endpoint.send_request(now, &notify, to, None).unwrap();
                    self.waiting += 1;
                    self.most_waiting = self.most_waiting.max(self.waiting);
                }
                EndpointEvent::Response { message, .. } => {
                    assert_eq!(message.status(), Some(200));
                    self.waiting -= 1;
                }
                event => panic!("an unexpected event: {event:?}"),
            }
        }
    }
}

impl Node for Notifier {
    fn handle_input(&mut self, now: std::time::Instant, flow: Flow, bytes: bytes::Bytes) {
        self.endpoint.handle_input(now, flow, bytes);
        self.work(now);
    }
    fn handle_flow_failed(
        &mut self,
        now: std::time::Instant,
        to: Destination,
        flow: Option<FlowId>,
        why: &str,
    ) {
        self.endpoint.handle_flow_failed(now, to, flow, why);
        self.work(now);
    }
    fn handle_timeout(&mut self, now: std::time::Instant) {
        self.endpoint.handle_timeout(now);
        self.work(now);
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.endpoint.poll_transmit()
    }
    fn poll_timeout(&mut self) -> Option<std::time::Instant> {
        self.endpoint.poll_timeout()
    }
}

#[test]
fn ten_thousand_subscriptions_start_in_a_window_and_refresh_spread_out() {
    const COUNT: usize = 10_000;
    let mut sim = Simulation::new(3);
    let endpoint = Endpoint::new(EndpointConfig::at(server()), [1; 32]);
    sim.add(server(), Notifier { endpoint, arrivals: Vec::new(), waiting: 0, most_waiting: 0 });
    let local = vec![(Transport::Udp, client())];
    let agent = Agent::new(AgentConfig::new(uri("sip:alice@example.com"), "secret", local), [2; 32]);
    sim.add(client(), agent);
    sim.with(client(), |agent: &mut Agent, now| {
        agent.set_next_hop(now, vec![Destination { transport: Transport::Udp, remote: server() }]);
        for n in 0..COUNT {
            agent
                .subscribe(now, SubscribeParams::presence(uri(&format!("sip:user{n}@example.com"))))
                .unwrap();
        }
    });
    let active = |sim: &mut Simulation| {
        sim.with(client(), |agent: &mut Agent, _| {
            std::iter::from_fn(|| agent.poll_event())
                .filter(|event| matches!(event, AgentEvent::Subscription { notify: Some(_), .. }))
                .count()
        })
    };
    sim.run_for(seconds(60));
    assert_eq!(active(&mut sim), COUNT);
    let (most, retransmissions) = sim.with(server(), |notifier: &mut Notifier, _| {
        let retransmissions = notifier.arrivals.len() - COUNT;
        notifier.arrivals.clear();
        (notifier.most_waiting, retransmissions)
    });
    assert!(most <= 2 * 64, "{most} at once");
    assert_eq!(retransmissions, 0);

    sim.clear_trace();
    sim.run_for(seconds(3600));
    assert_eq!(active(&mut sim), COUNT, "each was refreshed once");
    let mut arrivals =
        sim.with(server(), |notifier: &mut Notifier, _| std::mem::take(&mut notifier.arrivals));
    assert_eq!(arrivals.len(), COUNT);
    arrivals.sort_unstable();
    let busiest = arrivals
        .iter()
        .enumerate()
        .map(|(n, at)| {
            arrivals[n..].iter().take_while(|later| **later - *at < Duration::from_secs(10)).count()
        })
        .max()
        .unwrap();
    assert!(busiest < 400, "{busiest} refreshes within ten seconds, of {COUNT} within nine minutes");
}
