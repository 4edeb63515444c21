//! The machine: all sessions, messages and connections of one node.

mod fragments;
mod incoming;
mod outgoing;
mod relay;
mod session;
mod streams;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::config::MsrpConfig;
use crate::event::{
    IncomingId, MsrpError, MsrpEvent, NicknameId, Outgoing, OutgoingId, Peer, RelayId, RelayParams,
    SessionId, SessionParams,
};
use crate::fingerprint::Fingerprint;
use crate::sdp::MessageMedia;
use crate::stream::{StreamId, StreamInput, StreamRequest, Target};
use crate::uri::MsrpUri;

use incoming::Receiving;
use outgoing::Sending;
use relay::{Relay, Wish};
use session::Session;
use streams::Stream;

/// All message sessions of one node (RFC 4975), sans-IO.
///
/// After any call with `now`, drain [`poll_transmit`](Self::poll_transmit), [`poll_event`](Self::poll_event) and
/// [`poll_timeout`](Self::poll_timeout). The same calls give the same run.
///
/// ```
/// use std::time::Instant;
/// use attache_msrp::{Msrp, MsrpConfig, Outgoing, Peer, Role, SessionParams, StreamRequest};
///
/// let now = Instant::now();
/// let mut msrp = Msrp::new(MsrpConfig { host: "192.0.2.1".into(), ..MsrpConfig::default() }, [7; 32]);
/// let session = msrp.open(now, SessionParams::default())?;
/// let offered = msrp.local_path(session).expect("it is open");
/// // … `offered` goes into an offer, see `attache_msrp::sdp`; the answer has the peer's path …
/// let path = vec!["msrp://192.0.2.2:2855/iau39soe2843z;tcp".parse()?];
/// msrp.connect(now, session, Peer { path, role: Role::Active, target: None, fingerprints: vec![], max_size: None })?;
/// msrp.send(now, session, Outgoing::new("text/plain", "Hi"))?;
/// assert!(matches!(msrp.poll_transmit(now), Some(StreamRequest::Connect { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Memory
/// Bounded by [`Limits`](crate::Limits), whatever peers send: what a message may take, what all may take together, and how many there may be.
pub struct Msrp {
    config: MsrpConfig,
    entropy: ChaCha12Rng,
    /// Keeps the names of our messages apart from those of other nodes, and of other runs of this one.
    prefix: u64,
    next: u64,
    sessions: BTreeMap<SessionId, Session>,
    /// By the part of our address that names one.
    by_name: HashMap<Box<str>, SessionId>,
    streams: BTreeMap<StreamId, Stream>,
    /// Connections that we opened, by where they lead, to be shared (RFC 4975, section 5.4).
    by_target: HashMap<Target, StreamId>,
    /// Connections that may have something to send, in turn.
    ready: VecDeque<StreamId>,
    sending: BTreeMap<OutgoingId, Sending>,
    receiving: BTreeMap<IncomingId, Receiving>,
    relays: BTreeMap<RelayId, Relay>,
    wishes: BTreeMap<NicknameId, Wish>,
    timers: BTreeSet<(Instant, Timer)>,
    requests: VecDeque<StreamRequest>,
    events: VecDeque<MsrpEvent>,
    /// Octets of whole messages that are not complete.
    held: usize,
    /// Octets of bodies that wait to be sent.
    queued: usize,
    /// Octets of pieces that nobody has worked off.
    untaken: usize,
}

/// What a time is for. Each looks, when it comes, whether there is still a reason.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Timer {
    /// The oldest chunk of a connection that is not answered.
    Answers(StreamId),
    /// The peer of a session must have connected.
    Bind(SessionId),
    /// A connection must have a session.
    Use(StreamId),
    /// An incomplete message must have gone on.
    Stalled(IncomingId),
    /// An authorisation ends.
    Refresh(RelayId),
}

impl Msrp {
    /// A machine without sessions. `seed` must not be guessable: whoever knows the name of a session can speak in it.
    pub fn new(config: MsrpConfig, seed: [u8; 32]) -> Self {
        let mut entropy = ChaCha12Rng::from_seed(seed);
        let prefix = entropy.next_u64();
        Self {
            config,
            entropy,
            prefix,
            next: 1,
            sessions: BTreeMap::new(),
            by_name: HashMap::new(),
            streams: BTreeMap::new(),
            by_target: HashMap::new(),
            ready: VecDeque::new(),
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            relays: BTreeMap::new(),
            wishes: BTreeMap::new(),
            timers: BTreeSet::new(),
            requests: VecDeque::new(),
            events: VecDeque::new(),
            held: 0,
            queued: 0,
            untaken: 0,
        }
    }

    /// Where this node is from now on, for sessions that are opened later: see [`MsrpConfig`].
    pub fn set_address(&mut self, host: impl Into<String>, port: u16, tls_port: u16) {
        self.config.host = host.into();
        self.config.port = port;
        self.config.tls_port = tls_port;
    }

    /// The certificate that this node shows from now on, for sessions that are opened later.
    pub fn set_fingerprint(&mut self, fingerprint: Option<Fingerprint>) {
        self.config.fingerprint = fingerprint;
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Octets of incomplete messages, of bodies that wait to be sent, and of pieces that are not taken.
    pub fn memory(&self) -> usize {
        self.held + self.queued + self.untaken
    }

    /// Takes what the owner of the sockets has to tell.
    pub fn handle_input(&mut self, now: Instant, input: StreamInput) {
        match input {
            StreamInput::Accepted { stream, secure, certificate } => {
                self.stream_accepted(now, stream, secure, certificate);
            }
            StreamInput::Opened { stream } => self.stream_opened(now, stream),
            StreamInput::Bytes { stream, bytes } => self.stream_bytes(now, stream, &bytes),
            StreamInput::Written { stream, bytes } => self.stream_written(stream, bytes),
            StreamInput::Closed { stream, reason } => {
                self.stream_gone(now, stream, crate::Failure::Connection(reason));
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Answers(stream) => self.answers_due(now, stream),
                Timer::Bind(session) => self.bind_due(now, session),
                Timer::Use(stream) => self.use_due(now, stream),
                Timer::Stalled(incoming) => self.stalled_due(now, incoming),
                Timer::Refresh(relay) => self.refresh_due(now, relay),
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called next. May change after every call with `now`, and
    /// after [`poll_transmit`](Self::poll_transmit).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next thing that the owner of the sockets should do. Chunks are made here, as the connections have room for
    /// them; call it until it gives `None` after every other call.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<StreamRequest> {
        self.requests.pop_front().or_else(|| self.next_send(now))
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<MsrpEvent> {
        self.events.pop_front()
    }

    /// Makes a session, which has an address from now on and can be offered to a peer.
    ///
    /// # Errors
    /// [`MsrpError::TooMuch`]; [`MsrpError::NotNow`] for a relay that is not ready; [`MsrpError::Malformed`] when the
    /// configured host is none.
    pub fn open(&mut self, now: Instant, params: SessionParams) -> Result<SessionId, MsrpError> {
        self.session_open(now, params)
    }

    /// The addresses under which a session is reached, for the attribute `path`: a relay, if it has one, and its own.
    pub fn local_path(&self, session: SessionId) -> Option<Vec<MsrpUri>> {
        self.sessions.get(&session).map(Session::local_path)
    }

    /// A description of the session that leads to it and names this node's certificate where it is reached over TLS; all
    /// else is as [`MessageMedia::new`] has it.
    pub fn describe(&self, session: SessionId) -> Option<MessageMedia> {
        let media = MessageMedia::new(self.local_path(session)?);
        let secure = media.path.first().is_some_and(MsrpUri::is_secure);
        let fingerprints = self.config.fingerprint.filter(|_| secure).into_iter().collect();
        Some(MessageMedia { fingerprints, ..media })
    }

    /// Takes what the peer's description said. With [`Role::Active`](crate::Role::Active) a connection is opened, or one
    /// that leads to the same place shared; otherwise the peer is waited for. A peer that has connected before its answer
    /// was here is served all the same; over TLS not before the answer has
    /// said who may connect.
    ///
    /// # Errors
    /// [`MsrpError::Unknown`]; [`MsrpError::NotNow`] when it was connected before; [`MsrpError::Malformed`] for an empty
    /// path, or one that is not over TLS where the session is, or the other way round; [`MsrpError::TooMuch`].
    pub fn connect(&mut self, now: Instant, session: SessionId, peer: Peer) -> Result<(), MsrpError> {
        self.session_connect(now, session, peer)
    }

    /// Ends a session. What was not sent yet has failed as cancelled; wait for [`MsrpEvent::Sent`] where that matters.
    /// No [`MsrpEvent::Disconnected`] follows.
    pub fn close(&mut self, now: Instant, session: SessionId) {
        self.session_close(now, session, &crate::Failure::Cancelled);
    }

    /// Queues a message. It goes out when the session has its connection, in order with others that fit in one chunk;
    /// larger ones go out between them, and take turns.
    ///
    /// # Errors
    /// [`MsrpError::Unknown`]; [`MsrpError::TooMuch`] for limits of this node, [`MsrpError::TooLarge`] for that of the
    /// peer; [`MsrpError::Malformed`] for values that are none.
    pub fn send(
        &mut self,
        now: Instant,
        session: SessionId,
        message: Outgoing,
    ) -> Result<OutgoingId, MsrpError> {
        self.message_send(now, session, message)
    }

    /// Gives what [`MsrpEvent::Wanted`] asked for, or as much of it as there is. More than was asked for is left out.
    ///
    /// # Errors
    /// [`MsrpError::Unknown`], also when the message has failed meanwhile; [`MsrpError::NotNow`] when nothing was asked
    /// for, or nothing given.
    pub fn supply(&mut self, message: OutgoingId, bytes: Bytes) -> Result<(), MsrpError> {
        self.message_supply(message, bytes)
    }

    /// Takes a message back. What of it has left is broken off for the peer (`#`); [`MsrpEvent::Failed`] follows.
    pub fn cancel(&mut self, now: Instant, message: OutgoingId) {
        self.message_stop(now, message, crate::Failure::Cancelled);
    }

    /// Answers that a message has arrived, and reports success where the sender wants that.
    pub fn accept(&mut self, now: Instant, message: IncomingId) {
        self.message_accept(now, message);
    }

    /// Answers that a message is not taken: 403, 413, 415 or 400 with a comment. Of one that still arrives, no more is
    /// taken.
    pub fn refuse(&mut self, now: Instant, message: IncomingId, status: u16, comment: &str) {
        self.message_refuse(now, message, status, comment);
    }

    /// So many octets of [`MsrpEvent::Piece`]s are worked off.
    pub fn taken(&mut self, message: IncomingId, octets: usize) {
        self.message_taken(message, octets);
    }

    /// Asks the chat room for a name (RFC 7701, section 7); an empty one gives the name back.
    ///
    /// # Errors
    /// [`MsrpError::Unknown`]; [`MsrpError::Malformed`] for a name of more than 1,023 octets or with control
    /// characters; [`MsrpError::NotNow`] while the session has no connection.
    pub fn set_nickname(
        &mut self,
        now: Instant,
        session: SessionId,
        name: &str,
    ) -> Result<NicknameId, MsrpError> {
        self.nickname_ask(now, session, name)
    }

    /// Answers [`MsrpEvent::Nickname`]: 200, 403, 423 or 425.
    pub fn answer_nickname(&mut self, now: Instant, request: NicknameId, status: u16) {
        self.nickname_answer(now, request, status);
    }

    /// Asks a relay to serve this node (RFC 4976, section 5.1), and keeps it doing so until [`forget`](Self::forget).
    ///
    /// # Errors
    /// [`MsrpError::TooMuch`] for too many connections.
    pub fn authorize(&mut self, now: Instant, params: RelayParams) -> Result<RelayId, MsrpError> {
        self.relay_authorize(now, params)
    }

    /// Lets an authorisation end. Sessions behind the relay go on as long as it lets them.
    pub fn forget(&mut self, now: Instant, relay: RelayId) {
        self.relay_forget(now, relay);
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// A name that nobody guesses.
    fn random(&mut self) -> u64 {
        self.entropy.next_u64()
    }

    fn arm(&mut self, at: Instant, timer: Timer) {
        self.timers.insert((at, timer));
    }
}

impl fmt::Debug for Msrp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Msrp")
            .field("sessions", &self.sessions.len())
            .field("streams", &self.streams.len())
            .field("sending", &self.sending.len())
            .field("receiving", &self.receiving.len())
            .finish_non_exhaustive()
    }
}

/// The name of a transaction or a message as it stands on the wire.
fn name_of(number: u64) -> String {
    format!("{number:016x}")
}

/// The number in a name that [`name_of`] made.
fn number_of(name: &str) -> Option<u64> {
    let is_ours = name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_ours.then(|| u64::from_str_radix(name, 16).ok())?
}
