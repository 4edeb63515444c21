//! Authorisation with relays (RFC 4976), and names in chat rooms (RFC 7701).

use std::time::{Duration, Instant};

use attache_sip::digest::{Challenge, DigestClient, Policy};

use super::incoming::Answer;
use super::outgoing::Transaction;
use super::{Msrp, Timer, name_of};
use crate::event::{Failure, MsrpError, MsrpEvent, NicknameId, RelayId, RelayParams, SessionId};
use crate::stream::{StreamId, Target};
use crate::uri::MsrpUri;
use crate::wire::{Flag, Head, Method, Start, Writer, comment};

/// Octets of the longest name; the bound of RFC 7701, section 7.1.
const MAX_NICKNAME: usize = 1023;
/// Wishes of one peer that wait to be decided.
const MAX_WISHES: usize = 4;
/// An authorisation that lasts shorter is asked for again at this pace all the same.
const SHORTEST: Duration = Duration::from_secs(10);

pub(super) struct Relay {
    uri: MsrpUri,
    own: MsrpUri,
    expires: Duration,
    stream: StreamId,
    digest: DigestClient,
    /// Whether the last question had credentials.
    proved: bool,
    /// Whether the time asked for was changed as the relay wanted.
    adjusted: bool,
    /// Its addresses for this node, while it is ready.
    use_path: Vec<MsrpUri>,
}

/// A wish for a name.
pub(super) enum Wish {
    Ours(SessionId),
    Theirs(SessionId, Answer),
}

impl Wish {
    pub(super) fn session(&self) -> SessionId {
        match self {
            Self::Ours(session) | Self::Theirs(session, _) => *session,
        }
    }
}

impl Msrp {
    pub(super) fn relay_authorize(
        &mut self,
        _now: Instant,
        params: RelayParams,
    ) -> Result<RelayId, MsrpError> {
        let RelayParams { uri, user, password, expires } = params;
        let name = format!("{:016x}{:016x}", self.random(), self.random());
        let port = if uri.is_secure() { self.config.tls_port } else { self.config.port };
        let own = MsrpUri::new(uri.is_secure(), &self.config.host, port, &name)
            .map_err(|_| MsrpError::Malformed)?;
        let stream = self.stream_open(Target::of(&uri))?;
        let id = RelayId(self.number());
        if let Some(found) = self.streams.get_mut(&stream) {
            found.relay = Some(id);
        }
        let digest = DigestClient::new(user, password, Policy::default());
        let relay =
            Relay { uri, own, expires, stream, digest, proved: false, adjusted: false, use_path: Vec::new() };
        self.relays.insert(id, relay);
        Ok(id)
    }

    pub(super) fn relay_path(&self, id: RelayId) -> Result<Vec<MsrpUri>, MsrpError> {
        let relay = self.relays.get(&id).ok_or(MsrpError::Unknown)?;
        if relay.use_path.is_empty() { Err(MsrpError::NotNow) } else { Ok(relay.use_path.clone()) }
    }

    pub(super) fn relay_stream(&self, id: RelayId) -> Option<StreamId> {
        self.relays.get(&id).map(|relay| relay.stream)
    }

    /// Asks a relay for authorisation, with credentials if it has said which.
    pub(super) fn relay_ask(&mut self, now: Instant, id: RelayId) {
        let number = self.random();
        let entropy = u128::from(self.random()) << 64 | u128::from(self.random());
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let name = name_of(number);
        let mut writer = Writer::with_capacity(512);
        let method = Method::Auth.as_str();
        writer.start(&name, format_args!("{method}"), relay.uri.as_str(), relay.own.as_str());
        writer.header("Expires", relay.expires.as_secs());
        let credentials = relay.digest.authorize(method, relay.uri.as_str(), b"", entropy);
        relay.proved = !credentials.is_empty();
        for (header, value) in credentials {
            writer.header(header.as_str(), value);
        }
        writer.end(&name, Flag::Last);
        let stream = relay.stream;
        self.say(stream, writer.finish());
        self.expect(now, stream, number, Transaction::Auth(id));
    }

    pub(super) fn relay_answered(&mut self, now: Instant, id: RelayId, head: &Head, failure: Failure) {
        let Start::Response { status, .. } = head.start() else { return };
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let seconds = |name: &str| head.header(name).and_then(|value| value.parse::<u64>().ok());
        match status {
            200 => {
                // The path must have an address that leads to this node by the relay.
                let Ok(path) = MsrpUri::parse_path(head.header("Use-Path").unwrap_or("")) else {
                    self.relay_lost(now, id, Failure::Unauthorized("it named no path".into()));
                    return;
                };
                relay.digest.accepted();
                for row in head.all("Authentication-Info") {
                    relay.digest.learn_info(row.as_bytes(), false);
                }
                let granted = seconds("Expires").map_or(relay.expires, Duration::from_secs);
                let granted = granted.min(relay.expires.max(SHORTEST));
                let is_new = relay.use_path.is_empty();
                relay.use_path = path;
                if is_new {
                    self.events.push_back(MsrpEvent::RelayReady { relay: id });
                }
                // Well before its end, that one lost answer does not matter.
                self.arm(now + (granted * 3 / 4).max(SHORTEST), Timer::Refresh(id));
            }
            401 => {
                let rows = head.all("WWW-Authenticate");
                let challenges: Vec<_> =
                    rows.flat_map(|row| Challenge::parse_row(row.as_bytes(), false)).collect();
                match relay.digest.learn(&challenges, relay.proved) {
                    Ok(()) => self.relay_ask(now, id),
                    Err(error) => self.relay_lost(now, id, Failure::Unauthorized(error.to_string())),
                }
            }
            423 if !relay.adjusted => {
                relay.adjusted = true;
                let least = seconds("Min-Expires").unwrap_or(0);
                let most = seconds("Max-Expires").unwrap_or(u64::MAX).max(1);
                let wanted = relay.expires.as_secs().max(least).min(most);
                relay.expires = Duration::from_secs(wanted);
                self.relay_ask(now, id);
            }
            _ => self.relay_lost(now, id, failure),
        }
    }

    pub(super) fn refresh_due(&mut self, now: Instant, id: RelayId) {
        self.relay_ask(now, id);
    }

    /// A relay is of no more use.
    pub(super) fn relay_lost(&mut self, now: Instant, id: RelayId, failure: Failure) {
        let Some(relay) = self.relays.remove(&id) else { return };
        if let Some(stream) = self.streams.get_mut(&relay.stream) {
            stream.relay = None;
        }
        self.stream_unused(now, relay.stream);
        self.events.push_back(MsrpEvent::RelayFailed { relay: id, failure });
    }

    pub(super) fn relay_forget(&mut self, now: Instant, id: RelayId) {
        if let Some(relay) = self.relays.remove(&id) {
            if let Some(stream) = self.streams.get_mut(&relay.stream) {
                stream.relay = None;
            }
            self.stream_unused(now, relay.stream);
        }
    }

    pub(super) fn nickname_ask(
        &mut self,
        now: Instant,
        id: SessionId,
        name: &str,
    ) -> Result<NicknameId, MsrpError> {
        if name.len() > MAX_NICKNAME || name.chars().any(char::is_control) {
            return Err(MsrpError::Malformed);
        }
        let session = self.sessions.get(&id).ok_or(MsrpError::Unknown)?;
        let stream = session.stream.filter(|_| session.connected).ok_or(MsrpError::NotNow)?;
        let (to, from) = (session.to_path.clone(), session.own.clone());
        let request = NicknameId(self.number());
        let number = self.random();
        let transaction = name_of(number);
        let mut writer = Writer::with_capacity(384);
        writer.start(&transaction, format_args!("{}", Method::Nickname.as_str()), &to, from.as_str());
        writer.header("Use-Nickname", quoted(name));
        writer.end(&transaction, Flag::Last);
        self.wishes.insert(request, Wish::Ours(id));
        self.say(stream, writer.finish());
        self.expect(now, stream, number, Transaction::Nickname(request));
        Ok(request)
    }

    pub(super) fn nickname_answered(&mut self, request: NicknameId, outcome: Result<(), Failure>) {
        if let Some(Wish::Ours(session)) = self.wishes.remove(&request) {
            self.events.push_back(MsrpEvent::NicknameAnswered { session, request, outcome });
        }
    }

    /// A peer wants a name. Gives the status where nobody need be asked.
    pub(super) fn nickname_asked(
        &mut self,
        session: SessionId,
        head: &Head,
        answer: Answer,
    ) -> Result<(), u16> {
        let name = head.header("Use-Nickname").and_then(unquoted).ok_or(400_u16)?;
        let is_of_session = |wish: &&Wish| matches!(wish, Wish::Theirs(of, _) if *of == session);
        if self.wishes.values().filter(is_of_session).count() >= MAX_WISHES {
            return Err(403);
        }
        let request = NicknameId(self.number());
        self.wishes.insert(request, Wish::Theirs(session, answer));
        self.events.push_back(MsrpEvent::Nickname { session, request, name });
        Ok(())
    }

    pub(super) fn nickname_answer(&mut self, _now: Instant, request: NicknameId, status: u16) {
        if let Some(Wish::Theirs(_, answer)) = self.wishes.remove(&request) {
            self.answer(&answer, status, comment(status));
        }
    }
}

fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('"');
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn unquoted(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?),
            '"' => return None,
            c if c.is_control() => return None,
            c => out.push(c),
        }
    }
    (out.len() <= MAX_NICKNAME).then_some(out)
}
