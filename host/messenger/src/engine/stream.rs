//! Sessions of messages (RFC 4975): how they begin, carry messages, and end.
//!
//! A session belongs to a conversation. Messages stay in the outbox until the other side has them, as with MESSAGE; what
//! differs is only what carries them. One that arrives is put before the inbox as if it had come by MESSAGE, and is answered
//! when it is durable. So a session that breaks neither loses a message nor brings it twice.

mod table;
mod wrap;

use core::net::{IpAddr, Ipv4Addr};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_documents::{cpim, imdn};
use attache_msrp::{
    Failure, Incoming, IncomingId, Msrp, MsrpEvent, MsrpUri, Outgoing, OutgoingId, Role, SessionId,
    SessionParams, StreamInput, StreamRequest,
    sdp::{self, Media, MessageMedia, Session, Setup},
};
use attache_sip::{
    agent::{Cause, InviteId, MessageParams},
    message::Message,
    usage::{Body, EndedBy, Incoming as Invitation, InviteEvent, InviteParams},
};

use wrap::{as_request, cause_of, is_focus, is_wrapper, not_sent, too_many, types, wrapped};

use crate::{
    address::Address,
    conversation::{ConversationKind, Mode},
    engine::{
        Engine, EngineConfig,
        conference::{self, Room},
        conversations::After,
        inbox::{self, Asker},
        outbox::Carrier,
    },
    event::SessionState,
    id::ConversationId,
    message::Content,
    storage::OutboxEntry,
    time::Now,
};

/// Longest message that is taken in a session, in bytes.
pub(super) const MAX_MESSAGE: usize = 1024 * 1024;
/// Most sessions of an account.
const MAX_CHATS: usize = 64;
/// Most that one person can open: beyond, nobody else could.
const MAX_CHATS_OF_ONE: usize = 8;
/// So long may the other side take to answer.
const RINGS: u32 = 60;

/// One session.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) conversation: ConversationId,
    /// The other side: a person, or the focus of a conference.
    pub(super) peer: Address,
    pub(super) invite: InviteId,
    session: SessionId,
    /// The other side has agreed.
    pub(super) up: bool,
    /// What the other side takes.
    accepts: Option<MessageMedia>,
    /// Messages that wait for it.
    queue: VecDeque<Waiting>,
    /// Messages that have left, and have no outcome.
    sent: HashMap<OutgoingId, u64>,
    /// What is known of the conference, if it is one.
    pub(super) room: Option<Room>,
}

/// A message that waits for its session.
#[derive(Debug)]
struct Waiting {
    carrier: u64,
    entry: Arc<OutboxEntry>,
    params: MessageParams,
}

/// What became of a message.
#[derive(Debug)]
enum Outcome {
    Sent(u16),
    Failed(Cause),
    OtherWay,
}

/// Every session of an account.
#[derive(Debug, Default)]
pub(super) struct Streams {
    msrp: Option<Box<Msrp>>,
    pub(super) chats: BTreeMap<u64, Chat>,
    pub(super) by_invite: HashMap<InviteId, u64>,
    by_session: HashMap<SessionId, u64>,
    outcomes: VecDeque<(u64, Outcome)>,
    /// Sessions whose other side ends them.
    lingering: HashMap<InviteId, SessionId>,
    /// When conferences are joined again whose sessions broke.
    pub(super) rejoin_at: Option<Instant>,
    next: u64,
}

impl Streams {
    /// `seed`: nobody may guess the names of sessions.
    pub(super) fn new(config: &EngineConfig, seed: [u8; 32]) -> Self {
        let msrp = config.msrp.clone().map(|config| Box::new(Msrp::new(config, seed)));
        Self { msrp, ..Self::default() }
    }

    pub(super) fn poll_event(&mut self) -> Option<MsrpEvent> {
        self.msrp.as_mut()?.poll_event()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let carried = self.msrp.as_ref()?.poll_timeout();
        carried.into_iter().chain(self.rejoin_at).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(msrp) = &mut self.msrp {
            msrp.handle_timeout(now);
        }
    }

    /// The session of a conversation that leads to somebody, or to a focus: one that stands before one that does not.
    fn of(&self, conversation: ConversationId, peer: &Address) -> Option<u64> {
        let leads = |chat: &Chat| chat.room.is_some() || chat.peer == *peer;
        let chats = self.chats.iter().filter(|(_, chat)| chat.conversation == conversation && leads(chat));
        chats.max_by_key(|(number, chat)| (chat.up, **number)).map(|(number, _)| *number)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Engine {
    /// Takes what the owner of the connections of message sessions has to tell. Does nothing without
    /// [`EngineConfig::msrp`].
    pub fn handle_stream(&mut self, now: Now, input: StreamInput) {
        self.now = now;
        if let Some(msrp) = &mut self.streams.msrp {
            msrp.handle_input(now.instant, input);
        }
        self.settle();
    }

    /// The next thing to do on connections of message sessions. Call it with the other polls.
    pub fn poll_stream(&mut self) -> Option<StreamRequest> {
        let now = self.now.instant;
        self.streams.msrp.as_mut()?.poll_transmit(now)
    }

    /// Where connections of message sessions are accepted from now on: what is said to those who should connect.
    pub fn set_stream_address(&mut self, host: &str, port: u16, tls_port: u16) {
        if let Some(msrp) = &mut self.streams.msrp {
            msrp.set_address(host, port, tls_port);
        }
        if let Some(config) = &mut self.config.msrp {
            host.clone_into(&mut config.host);
            config.port = port;
            config.tls_port = tls_port;
        }
    }

    // ---- sending ----

    /// Whether a message to somebody goes by a session, and not by MESSAGE.
    pub(super) fn goes_by_session(&self, entry: &OutboxEntry, peer: &Address) -> bool {
        let id = entry.message.conversation;
        if !self.has_sessions() {
            return false;
        }
        let kind = self.conversations.held.get(&id).map(|held| held.kept.conversation.kind);
        if kind == Some(ConversationKind::Conference) {
            return true;
        }
        let standing = self.streams.of(id, peer).is_some_and(|number| self.streams.chats[&number].up);
        let held = self.conversations.held.get(&id);
        let wanted = held.is_some_and(|held| held.kept.conversation.mode == Mode::Session);
        standing || wanted || entry.message.content.size() > Content::MAX
    }

    /// Hands a message to the session of its conversation, which begins if there is none.
    pub(super) fn carry(
        &mut self,
        entry: &Arc<OutboxEntry>,
        peer: &Address,
        params: MessageParams,
    ) -> Carrier {
        let carrier = self.streams.number();
        let id = entry.message.conversation;
        let message = Waiting { carrier, entry: entry.clone(), params };
        let Some(focus) = self.lasting_focus(id) else {
            let cause = Cause::Status { code: 480, reason: "Conference Left".to_owned() };
            self.streams.outcomes.push_back((carrier, Outcome::Failed(cause)));
            return Carrier::Session(carrier);
        };
        let peer = focus.as_ref().unwrap_or(peer);
        let chat = self.streams.of(id, peer).or_else(|| self.open_chat(id, peer));
        match chat.and_then(|number| self.streams.chats.get_mut(&number)) {
            Some(chat) => chat.queue.push_back(message),
            None => self.streams.outcomes.push_back((carrier, Outcome::Failed(too_many()))),
        }
        if let Some(number) = chat {
            self.flush(number);
        }
        Carrier::Session(carrier)
    }

    /// What became of messages since the outbox knows that they left.
    pub(super) fn next_outcome(&mut self) -> bool {
        let Some((carrier, outcome)) = self.streams.outcomes.pop_front() else { return false };
        let carrier = Carrier::Session(carrier);
        match outcome {
            Outcome::Sent(status) => self.on_message_sent(carrier, status),
            Outcome::Failed(cause) => self.on_message_failed(carrier, &cause, None),
            Outcome::OtherWay => self.reroute_message(carrier),
        }
        true
    }

    /// Puts what waits into a session that stands.
    fn flush(&mut self, number: u64) {
        let now = self.now.instant;
        let Some(chat) = self.streams.chats.get_mut(&number).filter(|chat| chat.up) else { return };
        let (Some(msrp), Some(accepts)) = (&mut self.streams.msrp, &chat.accepts) else { return };
        while let Some(message) = chat.queue.pop_front() {
            let Waiting { carrier, entry, params } = message;
            let outgoing = if accepts.accepts(cpim::MEDIA_TYPE, false) {
                Outgoing::new(cpim::MEDIA_TYPE, wrapped(&self.config, &entry, &chat.peer, &params))
            } else if accepts.accepts(&params.content_type, false) {
                Outgoing::new(params.content_type, params.body)
            } else {
                let cause = Cause::Status { code: 415, reason: "Unsupported Media Type".to_owned() };
                self.streams.outcomes.push_back((carrier, Outcome::Failed(cause)));
                continue;
            };
            match msrp.send(now, chat.session, outgoing) {
                Ok(id) => {
                    chat.sent.insert(id, carrier);
                }
                Err(error) => {
                    self.streams.outcomes.push_back((carrier, Outcome::Failed(not_sent(error))));
                }
            }
        }
    }

    // ---- beginning ----

    /// Whoever accepts no connections opens them.
    pub(super) fn own_setup(&self, secure: bool) -> Setup {
        let config = self.config.msrp.as_ref();
        let listens = config.is_some_and(|config| 9 != if secure { config.tls_port } else { config.port });
        if listens { Setup::Either } else { Setup::Active }
    }

    /// Whether sessions have to be over TLS. They are as protected as the signalling that sets them up: descriptions in the
    /// clear, whose fingerprints anybody on the way could change, would protect nobody, and of a service that is reached
    /// over TLS nothing may be left unprotected. Between two connections to the service it is not known which the next will
    /// be.
    pub(super) fn needs_tls(&self) -> bool {
        self.agent.flows().all(|(_, service)| service.transport.is_secure())
    }

    /// Whether there can be sessions at all. Without a connection to the service that is not ruled out yet.
    pub(super) fn has_sessions(&self) -> bool {
        let config = self.config.msrp.as_ref();
        let is_reached = self.agent.flows().next().is_some();
        config.is_some_and(|config| config.fingerprint.is_some() || !(is_reached && self.needs_tls()))
    }

    /// Whether a session on these terms can be had. Where ours could be in the clear, one over TLS is as good.
    fn may_connect(&self, theirs: &MessageMedia) -> bool {
        match theirs.path.first().is_some_and(MsrpUri::is_secure) {
            true => self.config.msrp.as_ref().is_some_and(|config| config.fingerprint.is_some()),
            false => !self.needs_tls(),
        }
    }

    /// A session of our own and its description.
    fn offer(&mut self, secure: bool, role: Option<Setup>) -> Option<(SessionId, Media)> {
        let now = self.now.instant;
        let params = SessionParams {
            secure,
            accept_types: types(&self.config),
            max_size: Some(MAX_MESSAGE as u64 + 16 * 1024),
            ..SessionParams::default()
        };
        let (session, mut media) = self.streams.open(now, params)?;
        media.accept_types = types(&self.config);
        media.accept_wrapped_types = vec!["*".to_owned()];
        media.max_size = Some(MAX_MESSAGE as u64);
        media.setup = role;
        Some((session, media.write()))
    }

    /// A conversation between two that was begun as a session: the other side is asked now, and not with the first message.
    pub(super) fn begin_session(&mut self, id: ConversationId) {
        let Ok(kept) = self.open_conversation(id) else { return };
        let wanted = kept.conversation.mode == Mode::Session;
        let Some(peer) = kept.peer().filter(|_| wanted).cloned() else { return };
        if self.view.session == SessionState::SignedIn && self.streams.of(id, &peer).is_none() {
            self.open_chat(id, &peer);
        }
    }

    /// Asks somebody into a session for a conversation.
    pub(super) fn open_chat(&mut self, id: ConversationId, peer: &Address) -> Option<u64> {
        let to = peer.to_uri().ok()?;
        let params = InviteParams { expires: Some(RINGS), ..InviteParams::new(to, None) };
        let kind = self.conversations.held.get(&id).map(|held| held.kept.conversation.kind);
        let room = (kind == Some(ConversationKind::Conference)).then(Room::default);
        self.open_chat_with(id, peer, params, room.map(|room| (room, &[][..])))
    }

    /// The same with a list of people, for a focus to ask in (RFC 5366).
    pub(super) fn open_chat_with(
        &mut self,
        id: ConversationId,
        peer: &Address,
        mut params: InviteParams,
        room: Option<(Room, &[Address])>,
    ) -> Option<u64> {
        if self.streams.chats.len() >= MAX_CHATS {
            return None;
        }
        let secure = self.needs_tls();
        let setup = self.own_setup(secure);
        let (session, media) = self.offer(secure, Some(setup))?;
        let subject = self.conversations.held.get(&id).map(|held| held.kept.conversation.subject.clone());
        let subject = subject.filter(|subject| !subject.is_empty());
        let description = self.description(vec![media], subject.as_deref());
        let (room, list) = room.unzip();
        params.body = Some(match list {
            Some(people) if !people.is_empty() => {
                params.require.push("recipient-list-invite".to_owned());
                conference::with_list(&description, people, self.random())
            }
            _ => description,
        });
        params.headers.extend(self.conversations.headers(id));
        if let Some(subject) = subject {
            params.headers.push(("Subject".to_owned(), subject.to_string()));
        }
        let now = self.now.instant;
        let Ok(invite) = self.agent.invite(now, params) else {
            self.streams.close(now, session);
            return None;
        };
        let number = self.streams.number();
        let chat = Chat {
            conversation: id,
            peer: peer.clone(),
            invite,
            session,
            up: false,
            accepts: None,
            queue: VecDeque::new(),
            sent: HashMap::new(),
            room,
        };
        self.streams.put(number, chat);
        Some(number)
    }

    pub(super) fn description(&mut self, media: Vec<Media>, subject: Option<&str>) -> Body {
        let address = self.config.local.first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |(_, at)| at.ip());
        let id = self.random();
        let mut session = sdp::session(id, 1, address, media);
        if let Some(subject) = subject {
            // A focus reads there what the conference is about.
            subject.clone_into(&mut session.session_name);
        }
        Body::sdp(sdp::write(&session))
    }

    /// Somebody asks for a session; false when it is not one of messages.
    pub(super) fn on_invited(&mut self, leg: InviteId, invitation: &Invitation) -> bool {
        let offered = invitation.offer.as_ref().and_then(|offer| sdp::parse(&offer.content).ok());
        let Some(offered) = offered.filter(|session| session.medias.iter().any(MessageMedia::is_one)) else {
            return false;
        };
        let now = self.now.instant;
        if let Err(status) = self.accept_chat(leg, invitation, &offered) {
            let _ = self.agent.reject(now, leg, status, Vec::new());
        }
        true
    }

    fn accept_chat(&mut self, leg: InviteId, invitation: &Invitation, offered: &Session) -> Result<(), u16> {
        let now = self.now.instant;
        if !self.has_sessions() {
            return Err(488);
        }
        let caller = inbox::sender(&invitation.message).ok_or(400_u16)?;
        if caller == self.config.address {
            return Err(480);
        }
        if self.streams.chats.len() >= MAX_CHATS || self.ledger.waiting() >= self.config.limits.storing {
            return Err(486);
        }
        let place = offered.medias.iter().position(MessageMedia::is_one).ok_or(488_u16)?;
        let theirs = MessageMedia::read(offered, &offered.medias[place]).map_err(|_| 488_u16)?;
        if !self.may_connect(&theirs) {
            return Err(488);
        }
        if theirs.file.is_some() {
            return self.on_file_offered(leg, &caller, (offered.clone(), place, theirs));
        }
        if self.streams.chats.values().filter(|chat| chat.peer == caller).count() >= MAX_CHATS_OF_ONE {
            return Err(486);
        }
        let (setup, role) = Setup::answer(theirs.setup, Role::Active);
        let secure = theirs.path.first().is_some_and(MsrpUri::is_secure);
        let (session, ours) = self.offer(secure, setup).ok_or(486_u16)?;
        let answer = offered.medias.iter().enumerate();
        let answer = answer.map(|(at, media)| if at == place { ours.clone() } else { sdp::refused(media) });
        let answer = answer.collect();
        let answer = self.description(answer, None);
        // Whoever is one says who wrote; so nobody is one for saying so.
        let focus = is_focus(&invitation.message) && self.trusts_focus(&caller);
        let conversation = match focus {
            true => self.invited_to_conference(&caller, &invitation.message),
            false => self.conversation_of(&caller, &invitation.message, Mode::Session),
        };
        let connected = self.streams.connect(now, session, &theirs, role);
        if !connected || self.agent.accept(now, leg, Some(answer), Vec::new()).is_err() {
            self.streams.close(now, session);
            return Err(488);
        }
        let number = self.streams.number();
        let chat = Chat {
            conversation,
            peer: caller,
            invite: leg,
            session,
            up: true,
            accepts: Some(theirs),
            queue: VecDeque::new(),
            sent: HashMap::new(),
            room: focus.then(Room::default),
        };
        self.streams.put(number, chat);
        self.follow_conference(number);
        self.set_mode(conversation, Mode::Session);
        Ok(())
    }

    // ---- what happens ----

    /// Something happened to the invitation of a session; false when it is none of these.
    pub(super) fn on_chat_event(&mut self, leg: InviteId, event: &InviteEvent) -> bool {
        let Some(&number) = self.streams.by_invite.get(&leg) else { return false };
        let now = self.now.instant;
        match event {
            InviteEvent::Answered { body, message, .. } => {
                self.chat_answered(number, body.as_ref(), message);
            }
            // The session goes on as it was agreed on.
            InviteEvent::Offer { .. } => {
                let _ = self.agent.answer_offer(now, leg, Err(488));
            }
            InviteEvent::Request { request, .. } => {
                let _ = self.agent.respond(now, *request, 501);
            }
            InviteEvent::Failed { cause, .. } => self.chat_failed(number, cause),
            InviteEvent::Ended { .. } => {
                let by_peer = matches!(event, InviteEvent::Ended { by: EndedBy::Peer, .. });
                let failure = Failure::Connection("the other side ended the session".to_owned());
                let id = self.streams.chats.get(&number).map(|chat| chat.conversation);
                self.drop_chat(number, &failure, by_peer);
                if let Some(id) = id.filter(|_| by_peer) {
                    // Whoever ended it wants no session; what comes next decides anew.
                    self.set_mode(id, Mode::Pager);
                }
            }
            _ => {}
        }
        true
    }

    fn chat_answered(&mut self, number: u64, body: Option<&Body>, message: &Message) {
        let now = self.now.instant;
        let agreed = body.and_then(|body| {
            let session = sdp::parse(&body.content).ok()?;
            let media = session.medias.iter().find(|media| MessageMedia::is_one(media) && media.port != 0)?;
            MessageMedia::read(&session, media).ok()
        });
        let Some(chat) = self.streams.chats.get(&number) else { return };
        let session = chat.session;
        let connected = agreed
            .as_ref()
            .is_some_and(|theirs| self.streams.connect(now, session, theirs, Setup::conclude(theirs.setup)));
        if !connected {
            let cause = Cause::Status { code: 488, reason: "Not Acceptable Here".to_owned() };
            return self.chat_failed(number, &cause);
        }
        if let Some(chat) = self.streams.chats.get_mut(&number) {
            chat.up = true;
            chat.accepts = agreed;
        }
        self.joined_conference(number, message);
        self.flush(number);
    }

    /// The other side takes no session, or not now.
    fn chat_failed(&mut self, number: u64, cause: &Cause) {
        let now = self.now.instant;
        let Some(chat) = self.streams.remove(number) else { return };
        self.agent.hang_up(now, chat.invite, None);
        self.streams.close(now, chat.session);
        let never = matches!(cause.status(), Some(404..=406 | 415 | 420 | 488 | 501 | 606));
        if chat.room.is_some() {
            self.conference_failed(chat.conversation, cause);
            // Where everybody sends to everybody from now on, they go another way.
            let other = !self.is_conference(chat.conversation);
            for message in chat.queue {
                let outcome = if other { Outcome::OtherWay } else { Outcome::Failed(cause.clone()) };
                self.streams.outcomes.push_back((message.carrier, outcome));
            }
            return;
        }
        let mode = self.conversations.held.get(&chat.conversation).map(|held| &held.kept.conversation);
        let session = mode.is_some_and(|conversation| conversation.mode == Mode::Session);
        if never && session {
            // They know no sessions: then each message by itself.
            self.set_mode(chat.conversation, Mode::Pager);
        }
        for message in chat.queue {
            let short = message.params.body.len() <= Content::MAX;
            let outcome = match () {
                () if never && short => Outcome::OtherWay,
                () if never => Outcome::Failed(Cause::Status { code: 413, reason: "Too Large".to_owned() }),
                () => Outcome::Failed(cause.clone()),
            };
            self.streams.outcomes.push_back((message.carrier, outcome));
        }
    }

    pub(super) fn set_mode(&mut self, id: ConversationId, mode: Mode) {
        let Ok(kept) = self.open_conversation(id) else { return };
        let fits = match kept.conversation.kind {
            ConversationKind::Direct => true,
            ConversationKind::Group => mode == Mode::Pager,
            ConversationKind::Conference => false,
        };
        if !fits || kept.conversation.mode == mode {
            return;
        }
        let mut kept = kept.clone();
        kept.conversation.mode = mode;
        self.stage(kept, After::Nothing);
    }

    pub(super) fn on_stream_event(&mut self, event: MsrpEvent) {
        let Some(event) = self.on_file_event(event) else { return };
        match event {
            MsrpEvent::Disconnected { session, failure } => {
                if let Some(&number) = self.streams.by_session.get(&session) {
                    self.drop_chat(number, &failure, false);
                    self.rejoin_soon();
                }
            }
            MsrpEvent::Sent { session, message } => {
                let number = self.streams.by_session.get(&session).copied();
                let chat = number.and_then(|number| self.streams.chats.get_mut(&number));
                if let Some(chat) = chat
                    && let Some(carrier) = chat.sent.remove(&message)
                {
                    // The other side's own answer; a focus or a relay only says that it passes it on.
                    let far =
                        chat.room.is_none() && chat.accepts.as_ref().is_none_or(|it| it.path.len() == 1);
                    let status = if far { 200 } else { 202 };
                    self.streams.outcomes.push_back((carrier, Outcome::Sent(status)));
                }
            }
            MsrpEvent::Failed { session, message, failure } => {
                let number = self.streams.by_session.get(&session).copied();
                let chat = number.and_then(|number| self.streams.chats.get_mut(&number));
                if let Some(carrier) = chat.and_then(|chat| chat.sent.remove(&message)) {
                    self.streams.outcomes.push_back((carrier, Outcome::Failed(cause_of(&failure))));
                }
            }
            MsrpEvent::Message { session, message } => self.on_session_message(session, &message),
            MsrpEvent::Nickname { request, .. } => {
                if let Some(msrp) = &mut self.streams.msrp {
                    msrp.answer_nickname(self.now.instant, request, 501);
                }
            }
            _ => {}
        }
    }

    /// A message came in a session: it goes before the inbox as one that came by MESSAGE.
    fn on_session_message(&mut self, session: SessionId, message: &Incoming) {
        let chat = self.streams.by_session.get(&session).and_then(|it| self.streams.chats.get(it));
        let Some(chat) = chat else { return self.refuse_in_session(message.id, 481) };
        let asker = Asker::Session(message.id, chat.conversation);
        let wrapper = is_wrapper(&message.content_type).then(|| cpim::read(&message.body).ok()).flatten();
        let identity = wrapper.as_ref().and_then(|cpim| imdn::Request::of(cpim).message_id);
        // A focus says who wrote; anybody else writes for themselves.
        let named = wrapper.as_ref().and_then(|cpim| cpim.from.as_ref());
        let named = named.and_then(|from| Address::parse(&from.uri).ok());
        let sender = match &chat.room {
            None => chat.peer.clone(),
            Some(_) => named.unwrap_or_else(|| chat.peer.clone()),
        };
        if sender == self.config.address {
            // The focus sends everything to everybody.
            return self.accept_in_session(message.id);
        }
        match as_request(&self.config.address, &sender, identity.as_deref(), message) {
            Some(request) => self.on_message(asker, &request),
            None => self.refuse_in_session(message.id, 400),
        }
    }

    pub(super) fn answer_in_session(&mut self, id: IncomingId, status: u16) {
        match status {
            200..=299 => self.accept_in_session(id),
            413 | 415 => self.refuse_in_session(id, status),
            500..=599 => self.refuse_in_session(id, 408),
            _ => self.refuse_in_session(id, 400),
        }
    }

    fn accept_in_session(&mut self, id: IncomingId) {
        if let Some(msrp) = &mut self.streams.msrp {
            msrp.accept(self.now.instant, id);
        }
    }

    fn refuse_in_session(&mut self, id: IncomingId, status: u16) {
        if let Some(msrp) = &mut self.streams.msrp {
            msrp.refuse(self.now.instant, id, status, "");
        }
    }

    // ---- ending ----

    /// A session is over; what it had not delivered goes by another one, or as it comes.
    fn drop_chat(&mut self, number: u64, failure: &Failure, by_peer: bool) {
        let now = self.now.instant;
        let Some(chat) = self.streams.remove(number) else { return };
        self.agent.hang_up(now, chat.invite, None);
        self.streams.close(now, chat.session);
        let unsent = chat.sent.into_values().chain(chat.queue.into_iter().map(|message| message.carrier));
        let mut unsent: Vec<u64> = unsent.collect();
        // In the order in which they were handed over.
        unsent.sort_unstable();
        for carrier in unsent {
            self.streams.outcomes.push_back((carrier, Outcome::Failed(cause_of(failure))));
        }
        if let Some(room) = chat.room {
            self.left_conference(chat.conversation, &room, by_peer);
        }
    }

    /// A conversation is over, and its sessions with it.
    pub(super) fn close_chats(&mut self, id: ConversationId) {
        let chats = self.streams.chats.iter().filter(|(_, chat)| chat.conversation == id);
        let chats: Vec<u64> = chats.map(|(number, _)| *number).collect();
        for number in chats {
            self.drop_chat(number, &Failure::Cancelled, false);
        }
    }

    /// The person signs out.
    pub(super) fn drop_chats(&mut self) {
        while let Some(number) = self.streams.chats.keys().next().copied() {
            self.drop_chat(number, &Failure::Connection("signed out".to_owned()), false);
        }
    }
}
