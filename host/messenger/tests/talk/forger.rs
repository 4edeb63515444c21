//! Somebody whose program keeps to nothing but SIP itself.

use std::time::{Duration, Instant};

use attache_messenger::sim::{Node, Simulation};
use attache_sip::{
    agent::{Agent, AgentConfig, AgentEvent, InviteId, MessageId, MessageParams},
    transport::{Destination, Flow, FlowId, Transmit, Transport},
    uri::UriBuf,
    usage::{Body, InviteEvent, InviteParams, InviteSettings},
};
use bytes::Bytes;

use crate::world::at;

/// The media type of what is told of conversations.
pub(crate) const DOCUMENT: &str = "application/vnd.attache.conversation+json";

pub(crate) struct Forger {
    agent: Agent,
    sent: u64,
    /// Statuses of what was sent, in the order in which they came.
    pub(crate) answers: Vec<(MessageId, u16)>,
    /// What came, by media type and body.
    pub(crate) heard: Vec<(String, String)>,
    /// How sessions were answered; 0 while they are not.
    pub(crate) sessions: Vec<(InviteId, u16)>,
    /// Takes its time with every answer.
    pub(crate) slow: Option<Duration>,
    due: Vec<(Instant, attache_sip::transaction::ServerTransactionId)>,
}

impl Forger {
    /// A user of the service.
    pub(crate) fn add(sim: &mut Simulation, name: &str) {
        let at = at(name);
        let local = vec![(Transport::Udp, at), (Transport::Tcp, at)];
        let mut config =
            AgentConfig::new(UriBuf::parse(&format!("sip:{name}@example.com")).unwrap(), name, local);
        config.service = UriBuf::parse("sip:10.0.0.99:5060").ok();
        config.invite = InviteSettings { max: 64, ..InviteSettings::default() };
        let forger = Self {
            agent: Agent::new(config, [77; 32]),
            sent: 0,
            answers: Vec::new(),
            heard: Vec::new(),
            sessions: Vec::new(),
            slow: None,
            due: Vec::new(),
        };
        sim.add(at, forger);
        sim.with(at, |forger: &mut Self, now| {
            forger.agent.register(now, 3600);
            forger.pump(now);
        });
    }

    pub(crate) fn send(&mut self, now: Instant, to: &str, content_type: &str, body: String) -> MessageId {
        self.sent += 1;
        let params = MessageParams {
            to: UriBuf::parse(&format!("sip:{to}@example.com")).unwrap(),
            content_type: content_type.to_owned(),
            body: body.into(),
            headers: Vec::new(),
            call_id: format!("forged{}", self.sent),
        };
        let id = self.agent.send_message(now, params);
        self.pump(now);
        id
    }

    /// Offers a session with this description.
    pub(crate) fn offer(&mut self, now: Instant, to: &str, sdp: String, contact: Option<&str>) {
        let to = UriBuf::parse(&format!("sip:{to}@example.com")).unwrap();
        let mut params = InviteParams::new(to, Some(Body::sdp(sdp)));
        params.contact_params = contact.map(str::to_owned);
        let id = self.agent.invite(now, params).unwrap();
        self.sessions.push((id, 0));
        self.pump(now);
    }

    fn pump(&mut self, now: Instant) {
        self.due.retain(|(at, id)| {
            if *at <= now {
                let _ = self.agent.respond(now, *id, 200);
            }
            *at > now
        });
        while let Some(event) = self.agent.poll_event() {
            match event {
                AgentEvent::MessageReceived { id, message, .. } => {
                    let kind = message.header(attache_sip::message::HeaderName::ContentType);
                    let kind = String::from_utf8_lossy(kind.unwrap_or_default()).into_owned();
                    self.heard.push((kind, String::from_utf8_lossy(message.body()).into_owned()));
                    match self.slow {
                        Some(pause) => self.due.push((now + pause, id)),
                        None => self.agent.respond(now, id, 200).unwrap(),
                    }
                }
                AgentEvent::MessageSent { id, status } => self.answers.push((id, status)),
                AgentEvent::MessageFailed { id, cause, .. } => {
                    self.answers.push((id, cause.status().unwrap_or_default()));
                }
                AgentEvent::Invite { id, event } => {
                    let status = match event {
                        InviteEvent::Progress { status, .. } => status,
                        InviteEvent::Answered { .. } => 200,
                        InviteEvent::Failed { cause, .. } => cause.status().unwrap_or_default(),
                        _ => continue,
                    };
                    if let Some(session) = self.sessions.iter_mut().find(|(known, _)| *known == id) {
                        session.1 = status;
                    }
                }
                _ => {}
            }
        }
    }
}

/// A description of a session of messages, which leads to that place.
pub(crate) fn session_of(place: &str, number: usize) -> String {
    let ip = at(place).ip();
    format!(
        "v=0\r\no=- {number} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message 2855 TCP/MSRP *\r\n\
         a=accept-types:message/cpim text/plain\r\na=path:msrp://{ip}:2855/forged{number};tcp\r\na=setup:active\r\n"
    )
}

impl Node for Forger {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.agent.handle_input(now, flow, bytes);
        self.pump(now);
    }
    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        self.agent.handle_flow_failed(now, to, flow, reason);
        self.pump(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        self.pump(now);
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.agent.poll_transmit()
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        let due = self.due.iter().map(|(at, _)| *at).min();
        self.agent.poll_timeout().into_iter().chain(due).min()
    }
}
