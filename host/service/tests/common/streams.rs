//! Connections for messages between the service and its clients, by hand: bytes arrive at once and in order.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use attache_msrp::sdp::{self, MessageMedia, Setup};
use attache_msrp::{
    Incoming, Msrp, MsrpConfig, MsrpEvent, Outgoing, SessionId, SessionParams, StreamId, StreamInput,
    StreamRequest,
};
use attache_service::ConferenceConfig;
use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Message, Method};

use super::calls::Dialog;
use super::{Net, status};

pub const FACTORY: &str = "sip:conference@example.com";

pub fn conference_config() -> attache_service::CoreConfig {
    let host: IpAddr = "127.0.0.1".parse().unwrap();
    let factory = FACTORY.to_owned();
    let conference = Some(ConferenceConfig { factory, host, port: 2855, tls_port: 9 });
    attache_service::CoreConfig { conference, ..super::config() }
}

/// Whose end of a connection it is; `None` for the service.
type Owner = Option<String>;

/// All connections.
#[derive(Default)]
pub struct Streams {
    clients: HashMap<String, Msrp>,
    ends: HashMap<(Owner, StreamId), (Owner, StreamId)>,
    next: u64,
    /// What clients were told, in order.
    events: HashMap<String, Vec<MsrpEvent>>,
    /// Clients whose connections carry nothing.
    pub frozen: Vec<String>,
}

/// A device in a conference.
pub struct Seat {
    pub at: String,
    pub dialog: Dialog,
    pub session: SessionId,
    /// The address of the conference.
    pub conference: String,
}

impl Streams {
    fn client(&mut self, at: &str) -> &mut Msrp {
        self.clients.entry(at.to_owned()).or_insert_with(|| {
            let host = at.split(':').next().unwrap().to_owned();
            let mut seed = [7; 32];
            seed[..at.len().min(32)].copy_from_slice(&at.as_bytes()[..at.len().min(32)]);
            Msrp::new(MsrpConfig { host, port: 2855, ..MsrpConfig::default() }, seed)
        })
    }

    fn give(&mut self, net: &mut Net, owner: &Owner, input: StreamInput) {
        match owner {
            None => net.core(|core, now| core.handle_stream(now, input)),
            Some(at) => {
                let now = net.sim.now();
                self.client(at).handle_input(now, input);
            }
        }
    }

    fn request(&mut self, net: &mut Net, owner: Owner, request: StreamRequest) {
        match request {
            StreamRequest::Connect { stream, target } => {
                let peer: Owner = match target.host.as_str() {
                    "127.0.0.1" => None,
                    host => Some(format!("{host}:5060")),
                };
                if matches!(&peer, Some(at) if !self.clients.contains_key(at)) {
                    self.give(net, &owner, StreamInput::Closed { stream, reason: "refused".into() });
                    return;
                }
                self.next += 1;
                let theirs = StreamId::Theirs(self.next);
                self.ends.insert((owner.clone(), stream), (peer.clone(), theirs));
                self.ends.insert((peer.clone(), theirs), (owner.clone(), stream));
                self.give(
                    net,
                    &peer,
                    StreamInput::Accepted { stream: theirs, secure: target.secure, certificate: None },
                );
                self.give(net, &owner, StreamInput::Opened { stream });
            }
            StreamRequest::Send { stream, bytes } => {
                let Some((peer, theirs)) = self.ends.get(&(owner.clone(), stream)).cloned() else { return };
                let length = bytes.len();
                self.give(net, &peer, StreamInput::Bytes { stream: theirs, bytes });
                self.give(net, &owner, StreamInput::Written { stream, bytes: length });
            }
            StreamRequest::Close { stream } => {
                if let Some((peer, theirs)) = self.ends.remove(&(owner, stream)) {
                    self.ends.remove(&(peer.clone(), theirs));
                    self.give(net, &peer, StreamInput::Closed { stream: theirs, reason: "closed".into() });
                }
            }
            StreamRequest::Pause { .. } | StreamRequest::Resume { .. } => {}
        }
    }

    /// Carries everything that is to be carried.
    pub fn pump(&mut self, net: &mut Net) {
        loop {
            let mut any = false;
            while let Some(request) = net.core(attache_service::Core::poll_stream) {
                any = true;
                let to_frozen = match &request {
                    StreamRequest::Send { stream, .. } => {
                        let peer = self.ends.get(&(None, *stream)).and_then(|(peer, _)| peer.clone());
                        peer.is_some_and(|peer| self.frozen.contains(&peer))
                    }
                    _ => false,
                };
                if !to_frozen {
                    self.request(net, None, request);
                }
            }
            let now: Instant = net.sim.now();
            let clients: Vec<String> = self.clients.keys().cloned().collect();
            for at in clients {
                while let Some(request) = self.client(&at).poll_transmit(now) {
                    any = true;
                    self.request(net, Some(at.clone()), request);
                }
                while let Some(event) = self.client(&at).poll_event() {
                    any = true;
                    if let MsrpEvent::Message { message, .. } = &event {
                        let id = message.id;
                        self.client(&at).accept(now, id);
                    }
                    self.events.entry(at.clone()).or_default().push(event);
                }
            }
            if !any {
                return;
            }
        }
    }

    /// Lets time pass and everything be carried.
    pub fn run(&mut self, net: &mut Net, seconds: u64) {
        for _ in 0..seconds.max(1) {
            self.pump(net);
            net.run(1);
            self.pump(net);
        }
    }

    /// What a client was told of its sessions since it was asked last.
    pub fn events(&mut self, at: &str) -> Vec<MsrpEvent> {
        self.events.remove(at).unwrap_or_default()
    }

    /// The messages that a client has received, as From, To and text.
    pub fn heard(&mut self, at: &str) -> Vec<String> {
        let read = |incoming: &Incoming| {
            assert_eq!(incoming.content_type, "message/cpim");
            let wrapped = attache_documents::cpim::read(&incoming.body).unwrap();
            String::from_utf8_lossy(&wrapped.body).into_owned()
        };
        let (messages, others): (Vec<_>, Vec<_>) =
            self.events(at).into_iter().partition(|event| matches!(event, MsrpEvent::Message { .. }));
        self.events.insert(at.to_owned(), others);
        let all = messages.iter().filter_map(|event| match event {
            MsrpEvent::Message { message, .. } => Some(read(message)),
            _ => None,
        });
        all.collect()
    }

    /// An offer of a client: a session, and its description.
    pub fn offer(&mut self, at: &str) -> (SessionId, String) {
        let now = Instant::now();
        let session = self.client(at).open(now, SessionParams::default()).unwrap();
        let mut media = MessageMedia::new(self.client(at).local_path(session).unwrap());
        media.accept_types = vec!["message/cpim".into()];
        media.accept_wrapped_types = vec!["*".into()];
        media.setup = Some(Setup::Either);
        let address = at.split(':').next().unwrap().parse().unwrap();
        let description = sdp::session(1, 1, address, vec![media.write()]);
        (session, String::from_utf8(sdp::write(&description).to_vec()).unwrap())
    }

    /// Takes the service's answer to an offer.
    pub fn take(&mut self, net: &Net, at: &str, session: SessionId, answer: &Message) {
        let description = sdp::parse(answer.body()).unwrap();
        let media = MessageMedia::read(&description, &description.medias[0]).unwrap();
        assert_eq!(media.chatroom, Some(vec!["nickname".to_owned(), "private-messages".to_owned()]));
        let role = Setup::conclude(media.setup);
        let now = net.sim.now();
        self.client(at).connect(now, session, media.peer(role, false)).unwrap();
    }

    /// Calls the factory or a conference.
    pub fn call(&mut self, net: &mut Net, at: &str, to: &str) -> (SessionId, Request) {
        let (session, offer) = self.offer(at);
        let invite = net.client(at, |client| {
            let contact = client.contact();
            client.request(Method::Invite, to).header(HeaderName::Contact, contact)
        });
        (session, invite.body("application/sdp", offer))
    }

    /// The same, and sits down.
    pub fn join(&mut self, net: &mut Net, at: &str, to: &str) -> Seat {
        let (session, invite) = self.call(net, at, to);
        self.sit(net, at, session, invite)
    }

    /// Sends an INVITE and sits down.
    pub fn sit(&mut self, net: &mut Net, at: &str, session: SessionId, invite: Request) -> Seat {
        let answer = net.send(at, invite);
        assert_eq!(status(&answer), 200);
        self.take(net, at, session, &answer);
        let mut dialog = Dialog::of_caller(&answer);
        let ack = dialog.request(Method::Ack);
        net.acknowledge(at, &ack);
        self.run(net, 1);
        let conference = dialog.target.clone();
        Seat { at: at.to_owned(), dialog, session, conference }
    }

    /// Takes the call of the focus that rings at a client.
    pub fn accept(&mut self, net: &mut Net, at: &str) -> Seat {
        let invite = net.rings(at);
        let description = sdp::parse(invite.body()).unwrap();
        let offered = MessageMedia::read(&description, &description.medias[0]).unwrap();
        let (session, _) = self.offer(at);
        let mut media = MessageMedia::new(self.client(at).local_path(session).unwrap());
        let (setup, role) = Setup::answer(offered.setup, attache_msrp::Role::Active);
        media.setup = setup;
        let address = at.split(':').next().unwrap().parse().unwrap();
        let answer = sdp::write(&sdp::session(1, 1, address, vec![media.write()]));
        let contact = net.client(at, |client| client.contact());
        let tag = format!("seat{}", self.next);
        let response = Response::new(200).to_tag(&*tag).header(HeaderName::Contact, contact);
        let response = response.body("application/sdp", answer);
        let server = net.client(at, |client| client.ringing[0].0);
        net.reply(at, &response);
        let now = net.sim.now();
        self.client(at).connect(now, session, offered.peer(role, false)).unwrap();
        // As who answers does it: again and again, until that is acknowledged.
        let here = at.parse().unwrap();
        let is_acknowledged = (0..30).any(|_| {
            self.run(net, 1);
            if !net.received(at, Method::Ack).is_empty() {
                return true;
            }
            net.sim.with(here, |client: &mut super::Client, now| client.repeat(now, server, &response));
            false
        });
        assert!(is_acknowledged, "the focus acknowledges");
        let dialog = Dialog::of_callee(&invite, &tag);
        let conference = dialog.target.clone();
        Seat { at: at.to_owned(), dialog, session, conference }
    }

    /// Writes a message from a member to somebody.
    pub fn write(&mut self, net: &mut Net, seat: &Seat, from: &str, to: &str, text: &str) {
        let body = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\n\
             Content-Type: text/plain;charset=utf-8\r\n\r\n{text}"
        );
        self.write_raw(net, seat, "message/cpim", body);
    }

    pub fn write_raw(&mut self, net: &mut Net, seat: &Seat, kind: &str, body: String) {
        let now = net.sim.now();
        self.client(&seat.at).send(now, seat.session, Outgoing::new(kind, body)).unwrap();
        self.pump(net);
    }

    pub fn nickname(&mut self, net: &mut Net, seat: &Seat, name: &str) -> Result<(), u16> {
        let now = net.sim.now();
        self.client(&seat.at).set_nickname(now, seat.session, name).unwrap();
        self.pump(net);
        let answered = self.events(&seat.at).into_iter().find_map(|event| match event {
            MsrpEvent::NicknameAnswered { outcome, .. } => Some(outcome),
            _ => None,
        });
        answered.expect("an answer").map_err(|failure| match failure {
            attache_msrp::Failure::Status { status, .. } => status,
            _ => 0,
        })
    }

    /// The statuses with which a client's messages were refused.
    pub fn refusals(&mut self, at: &str) -> Vec<u16> {
        let all = self.events(at).into_iter().filter_map(|event| match event {
            MsrpEvent::Failed { failure: attache_msrp::Failure::Status { status, .. }, .. } => Some(status),
            _ => None,
        });
        all.collect()
    }

    /// Breaks all connections of a client.
    pub fn cut(&mut self, net: &mut Net, at: &str) {
        let owner = Some(at.to_owned());
        let mine: Vec<_> = self.ends.keys().filter(|(one, _)| *one == owner).cloned().collect();
        for end in mine {
            if let Some((peer, theirs)) = self.ends.remove(&end) {
                self.ends.remove(&(peer.clone(), theirs));
                self.give(net, &peer, StreamInput::Closed { stream: theirs, reason: "cut".into() });
                self.give(net, &owner, StreamInput::Closed { stream: end.1, reason: "cut".into() });
            }
        }
        self.pump(net);
    }
}
