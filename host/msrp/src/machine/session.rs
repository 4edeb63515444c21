//! Sessions: how they come to be, get their connection, and end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use super::outgoing::Transaction;
use super::{Msrp, Timer, Wish};
use crate::event::{
    Failure, IncomingId, MsrpError, MsrpEvent, OutgoingId, Peer, RelayId, Role, SessionId, SessionParams,
};
use crate::stream::{StreamId, Target};
use crate::uri::MsrpUri;
use crate::wire::{ByteRange, Flag, Head, Method, Writer};

/// Messages that were refused, whose further chunks are known by it.
const REFUSED: usize = 16;
/// Connections that wait for one session's peer to be known. More is no mistake.
const EARLY: usize = 4;

pub(super) struct Session {
    pub(super) own: MsrpUri,
    name: Box<str>,
    relay: Option<RelayId>,
    /// The relay's addresses for this node, the outermost first.
    use_path: Vec<MsrpUri>,
    pub(super) params: SessionParams,
    pub(super) peer: Option<Peer>,
    /// As it stands in requests to the peer.
    pub(super) to_path: String,
    pub(super) stream: Option<StreamId>,
    /// Whether [`MsrpEvent::Connected`] was told.
    pub(super) connected: bool,
    /// Messages that wait for the connection.
    pub(super) waiting: VecDeque<OutgoingId>,
    pub(super) outgoing: BTreeSet<OutgoingId>,
    /// Incomplete messages by the peer's names for them.
    pub(super) by_message: HashMap<Box<str>, IncomingId>,
    pub(super) incoming: BTreeSet<IncomingId>,
    refused: VecDeque<(Box<str>, u16)>,
    /// Connections that were here before it is known who may come.
    early: Vec<StreamId>,
}

impl Session {
    pub(super) fn local_path(&self) -> Vec<MsrpUri> {
        self.use_path.iter().chain([&self.own]).cloned().collect()
    }

    /// The status with which a message was refused, of which more comes.
    pub(super) fn was_refused(&self, message_id: &str) -> Option<u16> {
        self.refused.iter().find(|(name, _)| **name == *message_id).map(|(_, status)| *status)
    }

    pub(super) fn remember_refused(&mut self, message_id: &str, status: u16) {
        if self.was_refused(message_id).is_none() {
            if self.refused.len() == REFUSED {
                self.refused.pop_front();
            }
            self.refused.push_back((message_id.into(), status));
        }
    }

    pub(super) fn forget_refused(&mut self, message_id: &str) {
        self.refused.retain(|(name, _)| **name != *message_id);
    }
}

impl Msrp {
    pub(super) fn session_open(
        &mut self,
        _now: Instant,
        params: SessionParams,
    ) -> Result<SessionId, MsrpError> {
        if self.sessions.len() >= self.config.limits.sessions {
            return Err(MsrpError::TooMuch);
        }
        let use_path = match params.relay {
            Some(relay) => self.relay_path(relay)?,
            None => Vec::new(),
        };
        // More than the 80 bits that RFC 4975, section 14.1 wants.
        let name = format!("{:016x}{:016x}", self.random(), self.random());
        let port = if params.secure { self.config.tls_port } else { self.config.port };
        let own =
            MsrpUri::new(params.secure, &self.config.host, port, &name).map_err(|_| MsrpError::Malformed)?;
        let id = SessionId(self.number());
        self.by_name.insert(name.as_str().into(), id);
        let session = Session {
            own,
            name: name.into(),
            relay: params.relay,
            use_path,
            params,
            peer: None,
            to_path: String::new(),
            stream: None,
            connected: false,
            waiting: VecDeque::new(),
            outgoing: BTreeSet::new(),
            by_message: HashMap::new(),
            incoming: BTreeSet::new(),
            refused: VecDeque::new(),
            early: Vec::new(),
        };
        self.sessions.insert(id, session);
        Ok(id)
    }

    pub(super) fn session_connect(
        &mut self,
        now: Instant,
        id: SessionId,
        peer: Peer,
    ) -> Result<(), MsrpError> {
        let session = self.sessions.get(&id).ok_or(MsrpError::Unknown)?;
        if session.peer.is_some() {
            return Err(MsrpError::NotNow);
        }
        let first = peer.path.first().ok_or(MsrpError::Malformed)?;
        // Both sides agree on one transport; a relay may have another behind it.
        if session.relay.is_none() && first.is_secure() != session.own.is_secure() {
            return Err(MsrpError::Malformed);
        }
        let stream = match (session.stream, session.relay, peer.role) {
            // The peer was faster than its answer.
            (Some(stream), ..) => Some(stream),
            (None, Some(relay), _) => Some(self.relay_stream(relay).ok_or(MsrpError::NotNow)?),
            (None, None, Role::Active) => {
                let mut target = peer.target.clone().unwrap_or_else(|| Target::of(first));
                if session.params.secure && !target.secure {
                    return Err(MsrpError::Malformed);
                }
                target.fingerprints.clone_from(&peer.fingerprints);
                Some(self.stream_to(target)?)
            }
            (None, None, Role::Passive) => None,
        };
        let Some(session) = self.sessions.get_mut(&id) else { return Err(MsrpError::Unknown) };
        // Ours are named the way in; a request goes the other way.
        let path = session.use_path.iter().rev().chain(&peer.path).map(MsrpUri::as_str);
        session.to_path = path.collect::<Vec<_>>().join(" ");
        session.peer = Some(peer);
        match stream {
            Some(stream) => {
                self.session_bind(id, stream);
                self.session_up(now, id);
            }
            None => self.arm(now + self.config.limits.bind, Timer::Bind(id)),
        }
        let early = self.sessions.get_mut(&id).map(|session| std::mem::take(&mut session.early));
        self.streams_resume(now, early.unwrap_or_default());
        Ok(())
    }

    /// Whether a request comes before it is known who may use its session, and its connection has to wait for that. Only
    /// where the connection says who it is from.
    pub(super) fn comes_early(&mut self, stream: StreamId, head: &Head) -> bool {
        let Ok(to) = head.to_path() else { return false };
        let [own] = to.as_slice() else { return false };
        let id = own.session().and_then(|name| self.by_name.get(name)).copied();
        let Some(session) = id.and_then(|id| self.sessions.get_mut(&id)) else { return false };
        let unknown = session.peer.is_none() && session.relay.is_none() && session.own.is_secure();
        if unknown && session.early.len() < EARLY {
            session.early.push(stream);
        }
        unknown && session.early.contains(&stream)
    }

    /// Whether the connection may be used for a session, by what the peer's description says of its certificate.
    pub(super) fn may_bind(&self, id: SessionId, stream: StreamId) -> bool {
        let (Some(session), Some(stream)) = (self.sessions.get(&id), self.streams.get(&stream)) else {
            return false;
        };
        if !session.own.is_secure() {
            return true;
        }
        let Some(peer) = &session.peer else { return false };
        let shown = stream.certificate();
        peer.fingerprints.is_empty() || shown.is_some_and(|shown| peer.fingerprints.contains(&shown))
    }

    /// Has a session use a connection.
    pub(super) fn session_bind(&mut self, id: SessionId, stream: StreamId) {
        if let (Some(session), Some(found)) = (self.sessions.get_mut(&id), self.streams.get_mut(&stream)) {
            session.stream = Some(stream);
            found.sessions.insert(id);
            found.unused_since = None;
        }
    }

    /// Tells that a session can be used, if it can and that was not told yet.
    pub(super) fn session_up(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(stream) = session.stream else { return };
        let is_open = self.streams.get(&stream).is_some_and(|stream| stream.open);
        let Some(peer) = &session.peer else { return };
        if !is_open || session.connected {
            return;
        }
        session.connected = true;
        let speaks_first = peer.role == Role::Active || session.relay.is_some();
        let waiting = std::mem::take(&mut session.waiting);
        self.events.push_back(MsrpEvent::Connected { session: id });
        if waiting.is_empty() && speaks_first {
            self.introduce(now, id, stream);
        }
        for message in waiting {
            self.message_queue(stream, message);
        }
    }

    /// Tells the peer which session the connection is for, by a message without content (RFC 4975, section 5.4).
    fn introduce(&mut self, now: Instant, id: SessionId, stream: StreamId) {
        let number = self.random();
        let name = super::name_of(number);
        let message_id = self.random();
        let Some(session) = self.sessions.get(&id) else { return };
        let mut writer = Writer::with_capacity(384);
        let method = Method::Send.as_str();
        writer.start(&name, format_args!("{method}"), &session.to_path, session.own.as_str());
        writer.header("Message-ID", super::name_of(message_id));
        writer.header("Byte-Range", ByteRange { start: 1, end: Some(0), total: Some(0) });
        writer.end(&name, Flag::Last);
        self.say(stream, writer.finish());
        self.expect(now, stream, number, Transaction::Bind(id));
    }

    pub(super) fn bind_due(&mut self, now: Instant, id: SessionId) {
        if self.sessions.get(&id).is_some_and(|session| session.stream.is_none()) {
            self.session_lost(now, id, Failure::NotConnected);
        }
    }

    /// Ends a session for a reason that its owner does not know yet.
    pub(super) fn session_lost(&mut self, now: Instant, id: SessionId, failure: Failure) {
        if self.sessions.contains_key(&id) {
            self.session_close(now, id, &failure);
            self.events.push_back(MsrpEvent::Disconnected { session: id, failure });
        }
    }

    pub(super) fn session_close(&mut self, now: Instant, id: SessionId, failure: &Failure) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.by_name.remove(&session.name);
        for message in session.outgoing {
            self.message_dropped(id, message, failure);
        }
        for message in session.incoming {
            self.incoming_drop(message, Some(failure.clone()));
        }
        let wishes: Vec<_> =
            self.wishes.iter().filter(|(_, wish)| wish.session() == id).map(|(id, _)| *id).collect();
        for request in wishes {
            if let Some(Wish::Ours(_)) = self.wishes.remove(&request) {
                let outcome = Err(failure.clone());
                self.events.push_back(MsrpEvent::NicknameAnswered { session: id, request, outcome });
            }
        }
        if let Some(stream) = session.stream {
            self.stream_left(now, stream, id);
        }
        self.streams_resume(now, session.early);
    }
}
