//! What callers ask of the machine, and what it tells them.

use std::fmt;
use std::time::Duration;

use attache_sip::digest::Secret;
use bytes::Bytes;

use crate::fingerprint::Fingerprint;
use crate::stream::Target;
use crate::uri::MsrpUri;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub(crate) u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// One session of a machine. Never used twice.
    SessionId, "session";
    /// One message that is being sent. Never used twice.
    OutgoingId, "outgoing";
    /// One message that is being received. Never used twice.
    IncomingId, "incoming";
    /// One relay that this node is authorised with. Never used twice.
    RelayId, "relay";
    /// One wish for a nickname, of ours or of a peer's. Never used twice.
    NicknameId, "nickname";
}

/// How what a session receives is handed over.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Receive {
    /// Message by message, when it is complete: [`MsrpEvent::Message`].
    #[default]
    Whole,
    /// Piece by piece, as it comes: [`MsrpEvent::Begun`], [`MsrpEvent::Piece`], [`MsrpEvent::Complete`]. For files.
    Pieces,
}

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct SessionParams {
    /// Whether the session is reached over TLS.
    pub secure: bool,
    /// The relay before this node, if any. It must be [ready](MsrpEvent::RelayReady).
    pub relay: Option<RelayId>,
    /// Media types that are taken: `type/subtype`, `type/*` or `*`. Others are refused with 415.
    pub accept_types: Vec<String>,
    /// Octets of the largest message that is taken; `None`: [`Limits::message`](crate::Limits::message) for whole messages, any for pieces.
    pub max_size: Option<u64>,
    /// How what comes is handed over.
    pub receive: Receive,
    /// How many octets at the beginning of what the peer sends are here already, so that it starts behind them (RFC 5547, section 6, `file-range`).
    pub resume_from: u64,
}

impl Default for SessionParams {
    fn default() -> Self {
        Self {
            secure: false,
            relay: None,
            accept_types: vec!["*".into()],
            max_size: None,
            receive: Receive::Whole,
            resume_from: 0,
        }
    }
}

/// Who opens the connection of a session (RFC 6135).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// This node.
    Active,
    /// The peer.
    Passive,
}

/// What the peer has said of itself in SDP.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its attribute `path`, in that order.
    pub path: Vec<MsrpUri>,
    /// Who opens the connection. Behind a relay of ours it is always this node that does.
    pub role: Role,
    /// Where to connect to, if not where the path leads: the address of the media line (RFC 6714).
    pub target: Option<Target>,
    /// Those of the certificates that it may show, over TLS; nobody else is let into the session. Empty: any that an
    /// authority vouches for where this node connects, and anybody who knows the name of the session otherwise.
    pub fingerprints: Vec<Fingerprint>,
    /// Octets of the largest message that it takes.
    pub max_size: Option<u64>,
}

/// Whether and when a message's failure is reported (RFC 4975, section 7.1.2).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum FailureReport {
    /// Every chunk is answered.
    #[default]
    Yes,
    /// Only failures are answered, and an answer that is missing is none.
    Partial,
    /// Nothing is.
    No,
}

/// What is in a message to be sent.
#[derive(Clone)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// It is asked for piece by piece with [`MsrpEvent::Wanted`].
    Pulled {
        /// Octets in all.
        total: u64,
        /// The first one to send, counted from 0; those before it are there already.
        from: u64,
    },
}

impl Body {
    /// Octets in all.
    pub fn total(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pulled { total, .. } => *total,
        }
    }
}

// What people write is not for logs.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Pulled { total, from } => write!(f, "Pulled({from}..{total})"),
        }
    }
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its media type with parameters, `message/cpim` or `text/plain;charset=UTF-8`.
    pub content_type: String,
    /// What is in it.
    pub body: Body,
    /// Whether the far end should say that it has all of it: [`MsrpEvent::Delivered`].
    pub success_report: bool,
    /// Whether failures are of interest.
    pub failure_report: FailureReport,
    /// The value of a header `Content-Disposition`.
    pub disposition: Option<String>,
}

impl Outgoing {
    /// A message that is held in memory, with reports of failures alone.
    pub fn new(content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            content_type: content_type.into(),
            body: Body::Whole(body.into()),
            success_report: false,
            failure_report: FailureReport::Yes,
            disposition: None,
        }
    }
}

/// A message that was received as a whole.
#[derive(Clone)]
pub struct Incoming {
    /// What it is called until it is [accepted](crate::Msrp::accept) or [refused](crate::Msrp::refuse).
    pub id: IncomingId,
    /// The sender's `Message-ID`.
    pub message_id: String,
    /// Its media type with parameters, as it was written.
    pub content_type: String,
    /// The value of a header `Content-Disposition`.
    pub disposition: Option<String>,
    /// What is in it.
    pub body: Bytes,
}

// What people write is not for logs.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("id", &self.id)
            .field("content_type", &self.content_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// The digest name, password and place of a relay (RFC 4976).
#[derive(Clone, Debug)]
pub struct RelayParams {
    /// Its address, `msrps://relay.example.com:2855;tcp`.
    pub uri: MsrpUri,
    /// The name of the account there.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// How long an authorisation is asked for.
    pub expires: Duration,
}

/// Why a session or a message came to nothing, or a relay is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The connection broke, or could not be opened.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The peer answered or reported this status.
    #[error("the peer answered {status} {comment}")]
    Status {
        /// The status, three digits.
        status: u16,
        /// What the peer said of it, at most 64 characters.
        comment: String,
    },
    /// Nobody answered within [`Limits::transaction`](crate::Limits::transaction) (RFC 4975, section 7.1.1).
    #[error("the peer did not answer in time")]
    Timeout,
    /// The peer did not connect within [`Limits::bind`](crate::Limits::bind).
    #[error("the peer did not connect in time")]
    NotConnected,
    /// The peer shows another certificate than its description names, or none.
    #[error("the certificate is not that of the peer")]
    WrongCertificate,
    /// What the peer sent is no MSRP.
    #[error("the peer does not speak msrp")]
    NotMsrp,
    /// The sender broke it off, or it did not go on within [`Limits::stalled`](crate::Limits::stalled).
    #[error("the message was broken off")]
    Aborted,
    /// It was cancelled, or its session closed, on this side.
    #[error("cancelled")]
    Cancelled,
    /// The relay refused name or password, or asks in a way that is not answered.
    #[error("the relay refused the account: {0}")]
    Unauthorized(String),
}

/// Why something that a caller asked for is not done.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MsrpError {
    /// There is no such session, message or relay (any more).
    #[error("no such session, message or relay")]
    Unknown,
    /// One of the [`Limits`](crate::Limits) is reached.
    #[error("too much at once")]
    TooMuch,
    /// The message is larger than the peer takes (RFC 4975, section 8.6, `max-size`).
    #[error("the message is larger than the peer takes")]
    TooLarge,
    /// A header value or address is malformed.
    #[error("malformed")]
    Malformed,
    /// The relay is not ready, or the session was connected before.
    #[error("not at this time")]
    NotNow,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MsrpEvent {
    /// The session has its connection: what is sent goes out.
    Connected {
        /// Which one.
        session: SessionId,
    },
    /// The session is of no more use, for this reason; its messages have failed with it. It is gone.
    Disconnected {
        /// Which one.
        session: SessionId,
        /// Why.
        failure: Failure,
    },
    /// The machine can send more of a message whose body is [pulled](Body::Pulled). Answer with
    /// [`Msrp::supply`](crate::Msrp::supply), now or later.
    Wanted {
        /// Of which session.
        session: SessionId,
        /// Which message.
        message: OutgoingId,
        /// The first octet that is wanted, counted from 0.
        offset: u64,
        /// How many; fewer may be given, but not none.
        length: usize,
    },
    /// All of a message has left, and what had to be answered was. For one that wants a success report,
    /// [`Delivered`](Self::Delivered) or [`Failed`](Self::Failed) may follow; for others nothing does.
    Sent {
        /// Of which session.
        session: SessionId,
        /// Which message.
        message: OutgoingId,
    },
    /// The far end has all of a message.
    Delivered {
        /// Of which session.
        session: SessionId,
        /// Which message.
        message: OutgoingId,
    },
    /// A message did not arrive, or nobody knows.
    Failed {
        /// Of which session.
        session: SessionId,
        /// Which message.
        message: OutgoingId,
        /// Why.
        failure: Failure,
    },
    /// A message came. It is not answered until it is [accepted](crate::Msrp::accept) or [refused](crate::Msrp::refuse),
    /// which should be soon: the peer gives up after 30 seconds.
    Message {
        /// In which session.
        session: SessionId,
        /// What came.
        message: Box<Incoming>,
    },
    /// A message begins to arrive, in a session that takes [pieces](Receive::Pieces).
    Begun {
        /// In which session.
        session: SessionId,
        /// What it is called from now on.
        message: IncomingId,
        /// The sender's `Message-ID`.
        message_id: String,
        /// Its media type.
        content_type: String,
        /// Octets in all, where the sender knows.
        total: Option<u64>,
    },
    /// A piece of such a message, of which nothing came before. Say [`Msrp::taken`](crate::Msrp::taken) when it is worked off.
    Piece {
        /// In which session.
        session: SessionId,
        /// Of which message.
        message: IncomingId,
        /// Where it belongs, counted from 0.
        offset: u64,
        /// What came.
        bytes: Piece,
    },
    /// All pieces are there. The message is not answered until it is [accepted](crate::Msrp::accept) or
    /// [refused](crate::Msrp::refuse).
    Complete {
        /// In which session.
        session: SessionId,
        /// Which message.
        message: IncomingId,
        /// Octets in all.
        total: u64,
    },
    /// No more of such a message comes.
    Aborted {
        /// In which session.
        session: SessionId,
        /// Which message.
        message: IncomingId,
        /// Why.
        failure: Failure,
    },
    /// A participant wants to be called so (RFC 7701, section 7). Answer with
    /// [`Msrp::answer_nickname`](crate::Msrp::answer_nickname).
    Nickname {
        /// In which session.
        session: SessionId,
        /// Which wish.
        request: NicknameId,
        /// The name, or nothing to have none any more; at most 1,023 octets.
        name: String,
    },
    /// The chat room has answered a wish of ours.
    NicknameAnswered {
        /// In which session.
        session: SessionId,
        /// Which wish.
        request: NicknameId,
        /// Whether it was granted: 425 where the name is taken, 423 where it is not allowed, 403 and 501 where there are none.
        outcome: Result<(), Failure>,
    },
    /// A relay has authorised this node: sessions can be opened behind it.
    RelayReady {
        /// Which relay.
        relay: RelayId,
    },
    /// A relay is of no more use; sessions behind it go on as long as their connection does. It is gone.
    RelayFailed {
        /// Which relay.
        relay: RelayId,
        /// Why.
        failure: Failure,
    },
}

/// Octets of a message that is received piece by piece.
#[derive(Clone, Eq, PartialEq)]
pub struct Piece(pub Bytes);

// What people send is not for logs.
impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
