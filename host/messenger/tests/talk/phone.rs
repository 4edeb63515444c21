//! Telephones, as far as signalling goes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use attache_messenger::sim::{Node, Simulation};
use attache_sip::{
    agent::{Agent, AgentConfig, AgentEvent, IncomingReferId, InviteId, ReferId},
    transport::{Destination, Flow, FlowId, Transmit, Transport},
    uri::UriBuf,
    usage::{
        Body, Incoming, InviteEvent, InviteParams, InviteSettings, ReferEvent, ReferParams, ReferTarget,
    },
};
use bytes::Bytes;

use crate::world::at;

/// What a phone does when it rings.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Manner {
    /// Somebody picks it up after this time.
    PickedUp(Duration),
    /// It rings for ever.
    Rings,
    /// It refuses with this status.
    Refuses(u16),
}

/// A telephone with somebody beside it.
pub(crate) struct Phone {
    agent: Agent,
    at: SocketAddr,
    pub(crate) manner: Manner,
    /// Calls whom others ask it to call.
    pub(crate) follows: bool,
    /// Refuses offers that have no media.
    pub(crate) picky: bool,
    version: u32,
    due: Vec<(Instant, InviteId, Option<Body>)>,
    pub(crate) calls: BTreeMap<InviteId, Talk>,
    refers: BTreeMap<InviteId, IncomingReferId>,
    pub(crate) rang: u32,
    /// What it asked of others, and they refused.
    pub(crate) refused: Vec<ReferId>,
}

/// A call at a phone.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// Where the sound goes, as far as is known.
    pub(crate) sends_to: Option<String>,
    pub(crate) up: bool,
    /// Whether offers of ours wait for their answers.
    pub(crate) refused: u32,
    pub(crate) answered: u32,
}

impl Phone {
    /// A phone that registers as that user.
    pub(crate) fn add(sim: &mut Simulation, name: &str, manner: Manner) {
        Self::add_as(sim, name, name, manner);
    }

    /// A phone at that place, of another user.
    pub(crate) fn add_as(sim: &mut Simulation, place: &str, name: &str, manner: Manner) {
        let at = at(place);
        let local = vec![(Transport::Udp, at), (Transport::Tcp, at)];
        let aor = UriBuf::parse(&format!("sip:{name}@example.com")).unwrap();
        let mut config = AgentConfig::new(aor, name, local);
        config.service = UriBuf::parse("sip:10.0.0.99:5060").ok();
        config.invite = InviteSettings { max: 8, ..InviteSettings::default() };
        let agent = Agent::new(
            config,
            [at.to_string().bytes().fold(7, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte)); 32],
        );
        let phone = Self {
            agent,
            at,
            manner,
            picky: false,
            follows: true,
            version: 0,
            due: Vec::new(),
            calls: BTreeMap::new(),
            refers: BTreeMap::new(),
            rang: 0,
            refused: Vec::new(),
        };
        sim.add(at, phone);
        sim.with(at, |phone: &mut Self, now| {
            phone.agent.register(now, 3600);
            phone.pump(now);
        });
    }

    fn sdp(&mut self) -> Body {
        self.version += 1;
        let (ip, version) = (self.at.ip(), self.version);
        Body::sdp(format!(
            "v=0\r\no=phone 7 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
        ))
    }

    /// The answer to an offer; without media where there are none in it.
    fn answer(&mut self, offer: &Body) -> Body {
        if has_media(offer) {
            return self.sdp();
        }
        let sdp = self.sdp();
        let text = String::from_utf8(sdp.content.to_vec()).unwrap();
        Body::sdp(text.split("m=audio").next().unwrap().to_owned())
    }

    pub(crate) fn hang_up(&mut self, now: Instant) {
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.agent.hang_up(now, id, None);
        }
        self.pump(now);
    }

    /// Offers anew what it has, as when it is put on hold.
    pub(crate) fn reoffer(&mut self, now: Instant) {
        let offer = self.sdp();
        let id = *self.calls.keys().next().unwrap();
        self.agent.reoffer(now, id, Some(offer)).unwrap();
        self.pump(now);
    }

    /// Where the sound of its only call that stands goes.
    pub(crate) fn sends_to(&self) -> Option<String> {
        let mut up = self.calls.values().filter(|talk| talk.up);
        let talk = up.next()?;
        assert!(up.next().is_none(), "one call at a time");
        talk.sends_to.clone()
    }

    fn pump(&mut self, now: Instant) {
        loop {
            if let Some(at) = self.due.iter().position(|(at, ..)| *at <= now) {
                let (_, id, offer) = self.due.remove(at);
                let body = match &offer {
                    Some(offer) => self.answer(offer),
                    None => self.sdp(),
                };
                let _ = self.agent.accept(now, id, Some(body), Vec::new());
            } else if let Some(event) = self.agent.poll_event() {
                self.on_event(now, event);
            } else {
                return;
            }
        }
    }

    fn on_event(&mut self, now: Instant, event: AgentEvent) {
        match event {
            AgentEvent::Invite { id, event: InviteEvent::Incoming(incoming) } => {
                self.on_incoming(now, id, &incoming);
            }
            AgentEvent::Invite { id, event } => self.on_session(now, id, event),
            AgentEvent::Refer { id, event: ReferEvent::Failed { .. } } => self.refused.push(id),
            AgentEvent::ReferReceived(request) if self.follows => {
                self.agent.accept_refer(now, request.id).unwrap();
                let offer = self.sdp();
                let to = UriBuf::parse(&request.refer_to.uri).unwrap();
                let replaces = request.refer_to.replaces.clone();
                let params = InviteParams { replaces, ..InviteParams::new(to, Some(offer)) };
                let call = self.agent.invite(now, params).unwrap();
                self.calls.insert(call, Talk::default());
                self.refers.insert(call, request.id);
            }
            AgentEvent::ReferReceived(request) => {
                self.agent.reject_refer(now, request.id, 405).unwrap();
            }
            _ => {}
        }
    }

    fn on_incoming(&mut self, now: Instant, id: InviteId, incoming: &Incoming) {
        if incoming.replaces.is_some() {
            // Somebody takes the place of whom one talks to already.
            let talk = Talk { sends_to: incoming.offer.as_ref().and_then(target), ..Talk::default() };
            self.calls.insert(id, talk);
            self.due.push((now, id, incoming.offer.clone()));
            return;
        }
        let bare = incoming.offer.as_ref().is_some_and(|offer| !has_media(offer));
        if self.picky && bare {
            return self.agent.reject(now, id, 488, Vec::new()).unwrap();
        }
        if let Manner::Refuses(status) = self.manner {
            return self.agent.reject(now, id, status, Vec::new()).unwrap();
        }
        self.rang += 1;
        self.agent.ring(now, id, 180, None).unwrap();
        let talk = Talk { sends_to: incoming.offer.as_ref().and_then(target), ..Talk::default() };
        self.calls.insert(id, talk);
        if let Manner::PickedUp(after) = self.manner {
            self.due.push((now + after, id, incoming.offer.clone()));
        }
    }

    fn on_session(&mut self, now: Instant, id: InviteId, event: InviteEvent) {
        let refer = self.refers.get(&id).copied();
        let progress = match &event {
            InviteEvent::Progress { status, .. } => Some(*status),
            InviteEvent::Answered { .. } => Some(200),
            InviteEvent::Failed { cause, .. } => Some(cause.status().unwrap_or(503)),
            _ => None,
        };
        if let (Some(refer), Some(status)) = (refer, progress) {
            let _ = self.agent.refer_progress(now, refer, status, "Progress");
        }
        match event {
            InviteEvent::Confirmed { body } => {
                let talk = self.calls.entry(id).or_default();
                talk.up = true;
                talk.sends_to = body.as_ref().and_then(target).or(talk.sends_to.take());
            }
            InviteEvent::Offer { body: Some(offer) } => {
                let answer = self.answer(&offer);
                self.agent.answer_offer(now, id, Ok(answer)).unwrap();
                self.calls.entry(id).or_default().sends_to = target(&offer);
            }
            InviteEvent::Offer { body: None } => {
                let offer = self.sdp();
                self.agent.answer_offer(now, id, Ok(offer)).unwrap();
            }
            InviteEvent::OfferAnswered { body, .. } => {
                let talk = self.calls.entry(id).or_default();
                talk.answered += 1;
                talk.sends_to = body.as_ref().and_then(target);
            }
            InviteEvent::OfferRefused { .. } => self.calls.entry(id).or_default().refused += 1,
            InviteEvent::Answered { body, .. } => {
                let talk = self.calls.entry(id).or_default();
                talk.up = true;
                talk.sends_to = body.as_ref().and_then(target);
            }
            InviteEvent::Failed { .. } | InviteEvent::Ended { .. } => {
                self.calls.remove(&id);
                self.due.retain(|(_, known, _)| *known != id);
                self.refers.remove(&id);
            }
            _ => {}
        }
    }

    /// Asks somebody to call somebody.
    pub(crate) fn refer(&mut self, now: Instant, whom: &str, to: &str) -> ReferId {
        let uri = |name: &str| format!("sip:{name}@example.com");
        let whom = ReferTarget::Address(UriBuf::parse(&uri(whom)).unwrap());
        let id = self.agent.refer(now, ReferParams::new(whom, uri(to))).unwrap();
        self.pump(now);
        id
    }

    /// Calls somebody.
    pub(crate) fn call(&mut self, now: Instant, to: &str) {
        let offer = self.sdp();
        let to = UriBuf::parse(&format!("sip:{to}@example.com")).unwrap();
        let id = self.agent.invite(now, InviteParams::new(to, Some(offer))).unwrap();
        self.calls.insert(id, Talk::default());
        self.pump(now);
    }
}

fn has_media(body: &Body) -> bool {
    body.content.windows(2).any(|pair| pair == b"m=")
}

/// Where a description wants sound to be sent.
fn target(body: &Body) -> Option<String> {
    let text = core::str::from_utf8(&body.content).ok()?;
    let address = text.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?;
    has_media(body).then(|| address.to_owned())
}

impl Node for Phone {
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
        let due = self.due.iter().map(|(at, ..)| *at).min();
        self.agent.poll_timeout().into_iter().chain(due).min()
    }
}
