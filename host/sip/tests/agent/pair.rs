//! An agent and a scripted service on a simulated network, so that a test reads as a conversation.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attache_sip::agent::{Agent, AgentConfig, AgentEvent, ServiceFacts};
use attache_sip::endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request, Response};
use attache_sip::message::{HeaderName, Message, Method, MethodBuf};
use attache_sip::sim::Simulation;
use attache_sip::transaction::{ServerTransactionId, TransactionId};
use attache_sip::transport::{Destination, Flow, Transport};
use attache_sip::uri::UriBuf;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn client() -> SocketAddr {
    "127.0.0.2:5070".parse().unwrap()
}

pub(crate) fn server() -> SocketAddr {
    "127.0.0.1:5060".parse().unwrap()
}

pub(crate) fn uri(text: &str) -> UriBuf {
    UriBuf::parse(text).unwrap()
}

/// A request that the service has received.
pub(crate) struct Incoming {
    pub(crate) id: ServerTransactionId,
    pub(crate) message: Message,
    pub(crate) flow: Flow,
}

impl Incoming {
    pub(crate) fn header(&self, name: HeaderName) -> &str {
        std::str::from_utf8(self.message.header(name).unwrap_or_default()).unwrap()
    }

    pub(crate) fn cseq(&self) -> u32 {
        self.message.cseq().unwrap().number
    }

    pub(crate) fn has(&self, name: HeaderName) -> bool {
        self.message.header(name).is_some()
    }
}

pub(crate) struct Pair {
    pub(crate) sim: Simulation,
    server_events: VecDeque<EndpointEvent>,
    /// Events of the agent, its diagnostics left out.
    agent_events: VecDeque<AgentEvent>,
    pub(crate) diagnostics: Vec<String>,
    /// What the agent learned about the service, newest last.
    pub(crate) learnt: Vec<ServiceFacts>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut AgentConfig)) -> Self {
        let local = vec![(Transport::Udp, client()), (Transport::Tcp, client())];
        let mut config = AgentConfig::new(uri("sip:alice@example.com"), "secret", local);
        change(&mut config);
        let mut sim = Simulation::new(7);
        sim.add(server(), Endpoint::new(EndpointConfig::at(server()), [1; 32]));
        sim.add(client(), Agent::new(config, [2; 32]));
        let mut pair = Self {
            sim,
            server_events: VecDeque::new(),
            agent_events: VecDeque::new(),
            diagnostics: Vec::new(),
            learnt: Vec::new(),
        };
        pair.next_hop(Transport::Udp);
        pair
    }

    pub(crate) fn next_hop(&mut self, transport: Transport) {
        self.agent(|agent, now| agent.set_next_hop(now, vec![Destination { transport, remote: server() }]));
    }

    pub(crate) fn agent<R>(&mut self, f: impl FnOnce(&mut Agent, Instant) -> R) -> R {
        let result = self.sim.with(client(), f);
        self.collect();
        result
    }

    pub(crate) fn server<R>(&mut self, f: impl FnOnce(&mut Endpoint, Instant) -> R) -> R {
        let result = self.sim.with(server(), f);
        self.collect();
        result
    }

    fn collect(&mut self) {
        let events = &mut self.server_events;
        self.sim.with(server(), |endpoint: &mut Endpoint, _| {
            while let Some(event) = endpoint.poll_event() {
                events.push_back(event);
            }
        });
        let (events, diagnostics, learnt) = (&mut self.agent_events, &mut self.diagnostics, &mut self.learnt);
        self.sim.with(client(), |agent: &mut Agent, _| {
            while let Some(event) = agent.poll_event() {
                match event {
                    AgentEvent::Diagnostic(diagnostic) => diagnostics.push(format!("{diagnostic:?}")),
                    AgentEvent::ServiceLearnt(facts) => learnt.push(facts),
                    event => events.push_back(event),
                }
            }
        });
    }

    /// Runs until `take` finds something, at most for `limit`.
    fn wait<R>(&mut self, limit: Duration, mut take: impl FnMut(&mut Self) -> Option<R>) -> Option<R> {
        let end = self.sim.elapsed() + limit;
        loop {
            self.collect();
            if let Some(found) = take(self) {
                return Some(found);
            }
            let left = end.saturating_sub(self.sim.elapsed());
            if left.is_zero() {
                return None;
            }
            let mut steps = 0;
            self.sim.run_until(left, |_| {
                steps += 1;
                steps > 1
            });
        }
    }

    fn next_request(&mut self) -> Option<Incoming> {
        let at =
            self.server_events.iter().position(|event| matches!(event, EndpointEvent::Request { .. }))?;
        match self.server_events.remove(at) {
            Some(EndpointEvent::Request { id, message, flow }) => Some(Incoming { id, message, flow }),
            _ => None,
        }
    }

    /// The next request at the service, which must have this method.
    pub(crate) fn expect(&mut self, method: &str) -> Incoming {
        self.expect_within(method, HOUR)
    }

    pub(crate) fn expect_within(&mut self, method: &str, limit: Duration) -> Incoming {
        let Some(incoming) = self.wait(limit, Self::next_request) else {
            panic!("no {method} came within {limit:?}; events: {:?}", self.agent_events)
        };
        assert_eq!(incoming.message.method().unwrap().as_str(), method);
        incoming
    }

    /// The next request at the service, whatever it is.
    pub(crate) fn expect_any(&mut self) -> Incoming {
        self.wait(HOUR, Self::next_request).expect("a request within an hour")
    }

    /// Nothing new is asked of the service for this long.
    pub(crate) fn quiet(&mut self, duration: Duration) {
        if let Some(incoming) = self.wait(duration, Self::next_request) {
            panic!("an unexpected {} after {:?}", incoming.message.method().unwrap(), self.sim.elapsed());
        }
    }

    pub(crate) fn respond(&mut self, incoming: &Incoming, response: &Response) {
        self.server(|endpoint, now| endpoint.respond(now, incoming.id, response)).unwrap();
    }

    /// Answers with a bare status.
    pub(crate) fn answer(&mut self, incoming: &Incoming, status: u16) {
        self.respond(incoming, &Response::new(status));
    }

    /// Answers with a status and an Expires.
    pub(crate) fn grant(&mut self, incoming: &Incoming, expires: u32) {
        let response = Response::new(200)
            .to_tag("notifier")
            .header(HeaderName::Expires, expires.to_string())
            .header(HeaderName::Contact, "<sip:127.0.0.1:5060>");
        self.respond(incoming, &response);
    }

    pub(crate) fn challenge(&mut self, incoming: &Incoming, status: u16, nonce: &str, stale: bool) {
        let name = if status == 401 { HeaderName::WwwAuthenticate } else { HeaderName::ProxyAuthenticate };
        let stale = if stale { ", stale=true" } else { "" };
        let value = format!("Digest realm=\"example.com\", nonce=\"{nonce}\", qop=\"auth\"{stale}");
        self.respond(incoming, &Response::new(status).header(name, value));
    }

    /// The agent's next event.
    pub(crate) fn event(&mut self) -> AgentEvent {
        self.wait(HOUR, |pair| pair.agent_events.pop_front()).expect("an event within an hour")
    }

    pub(crate) fn no_event(&mut self, duration: Duration) {
        if let Some(event) = self.wait(duration, |pair| pair.agent_events.pop_front()) {
            panic!("an unexpected event: {event:?}");
        }
    }

    /// Registers with the usual answer.
    pub(crate) fn register(&mut self) {
        self.agent(|agent, now| agent.register(now, 3600));
        let register = self.expect("REGISTER");
        self.accept_registration(&register, 3600);
        assert!(matches!(self.event(), AgentEvent::Registered(_)));
    }

    pub(crate) fn accept_registration(&mut self, register: &Incoming, expires: u32) {
        let contact = format!("{};expires={expires}", register.header(HeaderName::Contact));
        self.respond(register, &Response::new(200).header(HeaderName::Contact, contact));
    }

    /// Sends a NOTIFY in the dialog that `subscribe` asked for. Returns the agent's answer.
    pub(crate) fn notify(&mut self, subscribe: &Incoming, notify: Notify<'_>) -> u16 {
        let id = self.send_notify(subscribe, notify);
        self.response(id)
    }

    pub(crate) fn send_notify(&mut self, subscribe: &Incoming, notify: Notify<'_>) -> TransactionId {
        let contact = subscribe.message.contacts().next().unwrap().unwrap();
        let target = contact.uri().unwrap().to_string();
        let mut request = Request::new(Method::Notify, target)
            .from(format!("<sip:bob@example.com>;tag={}", notify.tag))
            .to(subscribe.header(HeaderName::From))
            .call_id(notify.call_id.unwrap_or(subscribe.header(HeaderName::CallId)))
            .cseq(notify.cseq)
            .header(HeaderName::Contact, "<sip:127.0.0.1:5060>");
        if let Some(event) = notify.event {
            request.push(HeaderName::Event, event);
        }
        if let Some(state) = notify.state {
            request.push(HeaderName::SubscriptionState, state);
        }
        if let Some(body) = notify.body {
            request = request.body(notify.content_type, body.to_owned());
        }
        for (name, value) in notify.headers {
            request.push(*name, *value);
        }
        let to = Destination { transport: Transport::Udp, remote: client() };
        self.server(|endpoint, now| endpoint.send_request(now, &request, to, None)).unwrap()
    }

    /// Sends a request within the dialog of an INVITE, with our tag in it.
    pub(crate) fn send_within(
        &mut self,
        invite: &Incoming,
        method: &str,
        tag: &str,
        cseq: u32,
        change: impl FnOnce(Request) -> Request,
    ) -> TransactionId {
        let contact = invite.message.contacts().next().unwrap().unwrap();
        let request = Request::new(MethodBuf::parse(method).unwrap(), contact.uri().unwrap().to_string())
            .from(format!("{};tag={tag}", invite.header(HeaderName::To)))
            .to(invite.header(HeaderName::From))
            .call_id(invite.header(HeaderName::CallId))
            .cseq(cseq);
        self.send(&change(request))
    }

    /// Acknowledges the agent's 2xx to an INVITE of ours within that dialog.
    pub(crate) fn acknowledge(&mut self, invite: &Incoming, tag: &str, cseq: u32) {
        let contact = invite.message.contacts().next().unwrap().unwrap();
        let ack = Request::new(Method::Ack, contact.uri().unwrap().to_string())
            .from(format!("{};tag={tag}", invite.header(HeaderName::To)))
            .to(invite.header(HeaderName::From))
            .call_id(invite.header(HeaderName::CallId))
            .cseq(cseq);
        let to = Destination { transport: Transport::Udp, remote: client() };
        self.server(|endpoint, _| endpoint.send_ack(&ack, to, None)).unwrap();
    }

    /// The final status that the agent answers a request of the service with.
    pub(crate) fn response(&mut self, wanted: TransactionId) -> u16 {
        self.wait(HOUR, |pair| {
            let at = pair.server_events.iter().position(
                |event| matches!(event, EndpointEvent::Response { id, message, .. } if *id == wanted && message.status() >= Some(200)),
            )?;
            match pair.server_events.remove(at) {
                Some(EndpointEvent::Response { message, .. }) => message.status(),
                _ => None,
            }
        })
        .expect("an answer within an hour")
    }

    pub(crate) fn send(&mut self, request: &Request) -> TransactionId {
        let to = Destination { transport: Transport::Udp, remote: client() };
        self.server(|endpoint, now| endpoint.send_request(now, request, to, None)).unwrap()
    }

    /// What the agent said last, newest first, that begins so.
    pub(crate) fn said(&self, beginning: &str) -> Vec<String> {
        let mut said = self.packets(beginning);
        said.reverse();
        said
    }

    /// What was sent to the service and begins so.
    pub(crate) fn packets(&self, beginning: &str) -> Vec<String> {
        let trace = self.sim.trace().iter();
        trace
            .filter(|packet| packet.to == server() && packet.is(beginning))
            .map(|packet| String::from_utf8_lossy(&packet.payload).into_owned())
            .collect()
    }

    /// How many packets that begin so were sent to the service.
    pub(crate) fn sent(&self, beginning: &str) -> usize {
        self.sim.trace().iter().filter(|packet| packet.to == server() && packet.is(beginning)).count()
    }
}

/// A NOTIFY to be sent.
#[derive(Copy, Clone)]
pub(crate) struct Notify<'a> {
    pub(crate) state: Option<&'a str>,
    pub(crate) event: Option<&'a str>,
    pub(crate) body: Option<&'a str>,
    pub(crate) cseq: u32,
    pub(crate) tag: &'a str,
    pub(crate) call_id: Option<&'a str>,
    pub(crate) content_type: &'a str,
    /// Further headers.
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl<'a> Notify<'a> {
    pub(crate) fn active(cseq: u32) -> Self {
        Self::state("active;expires=3600", cseq).with("<presence/>")
    }

    pub(crate) fn state(state: &'a str, cseq: u32) -> Self {
        Self {
            state: Some(state),
            event: Some("presence"),
            body: None,
            cseq,
            tag: "notifier",
            call_id: None,
            content_type: "application/pidf+xml",
            headers: &[],
        }
    }

    pub(crate) fn with(self, body: &'a str) -> Self {
        Self { body: Some(body), ..self }
    }
}
