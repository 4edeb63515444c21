//! What an agent reports.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use thiserror::Error;

use crate::message::Message;
use crate::transaction::ServerTransactionId;
use crate::transport::{Destination, Flow};
use crate::usage::{InviteEvent, PublicationState, Rates, ReferEvent, ReferRequest, SubscriptionState};

/// Names a subscription of one agent. It is the number in the local tag.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct SubscriptionId(pub(crate) u64);

/// Names a publication of one agent.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct PublicationId(pub(crate) u64);

/// Names a MESSAGE that an agent sends.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct MessageId(pub(crate) u64);

/// Names a request of the embedder's own.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct RequestId(pub(crate) u64);

/// Names a session of one agent: a call, or whatever else INVITE begins. It is the number in the local tag.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct InviteId(pub(crate) u64);

/// Names a REFER that an agent sends.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct ReferId(pub(crate) u64);

/// Names a REFER that an agent has received.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct IncomingReferId(pub(crate) u64);

/// Something that happened at an [`Agent`](super::Agent).
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The service holds our binding. Reported for the first registration and for each refresh.
    Registered(Registered),
    /// A registration or its refresh failed.
    RegistrationFailed {
        /// Why.
        cause: Cause,
        /// When it is tried again by itself; `None` when it is not: the person has to act.
        retry: Option<Duration>,
        /// How long the service still holds the binding; zero when it does not.
        remaining: Duration,
    },
    /// Our binding was removed, as asked.
    Unregistered {
        /// Whether the service confirmed it. If not, the binding ends by itself later.
        confirmed: bool,
    },
    /// A subscription changed its state, or brought a document.
    Subscription {
        /// Which one. Forgotten by the agent once its state [is final](SubscriptionState::is_final).
        id: SubscriptionId,
        /// Its state now.
        state: SubscriptionState,
        /// The body that came with it; `None` when the notification had none.
        notify: Option<NotifyBody>,
        /// What the notifier granted.
        terms: Terms,
    },
    /// One of several notifiers of a subscription has ended; the others go on. Its documents no longer count.
    ForkEnded {
        /// Which subscription.
        id: SubscriptionId,
        /// Which notifier: [`NotifyBody::fork`] of its documents.
        fork: u32,
    },
    /// A publication changed its state.
    Publication {
        /// Which one. Forgotten by the agent once its state [is final](PublicationState::is_final).
        id: PublicationId,
        /// Its state now.
        state: PublicationState,
    },
    /// A MESSAGE was taken.
    MessageSent {
        /// Which one.
        id: MessageId,
        /// 200 when it was delivered, 202 when it was accepted for later.
        status: u16,
    },
    /// A MESSAGE was not taken.
    MessageFailed {
        /// Which one.
        id: MessageId,
        /// Why.
        cause: Cause,
        /// When it may be sent again; `None` when that would be pointless. The agent does not do so by itself.
        retry: Option<Duration>,
    },
    /// A MESSAGE came. Answer it with [`respond`](super::Agent::respond) once it is stored: until then the sender
    /// keeps it.
    MessageReceived {
        /// What to answer.
        id: ServerTransactionId,
        /// The request, with all its headers.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// Something happened to a session.
    Invite {
        /// Which one.
        id: InviteId,
        /// What.
        event: InviteEvent,
    },
    /// Something became of a REFER that we sent.
    Refer {
        /// Which one.
        id: ReferId,
        /// What.
        event: ReferEvent,
    },
    /// Somebody asks us to call somebody (RFC 3515).
    ReferReceived(Box<ReferRequest>),
    /// A request came with a method that [`AgentConfig::methods`](super::AgentConfig::methods) names.
    RequestReceived {
        /// What to answer.
        id: ServerTransactionId,
        /// The request.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// A request of the embedder's own was answered, provisionally or finally.
    Response {
        /// Which one.
        id: RequestId,
        /// The answer.
        message: Message,
    },
    /// A request of the embedder's own has no final answer, and gets none.
    RequestFailed {
        /// Which one.
        id: RequestId,
        /// Why.
        cause: Cause,
    },
    /// The service asks for an access token: none is known, or the one that was sent is not accepted (any more). Requests that need it
    /// wait for [`set_token`](super::Agent::set_token).
    TokenNeeded(TokenNeeded),
    /// One of our flows to the service came to be, or was lost. Told where the service keeps flows apart (RFC 5626).
    Flow {
        /// The number of the flow, from 1.
        reg_id: u32,
        /// What became of it.
        state: FlowState,
    },
    /// An answer said something about the service that was not known before.
    ServiceLearnt(ServiceFacts),
    /// Something worth a line in a log.
    Diagnostic(Diagnostic),
}

/// What a notifier granted a subscription, as far as it said so.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Terms {
    /// The tag of the state that we have (RFC 5839): to be stored with it, and given as [`SubscribeParams::etag`](crate::usage::SubscribeParams)
    /// when the state is subscribed to again. Of the first notifier, where there are several.
    pub etag: Option<Arc<str>>,
    /// The notifier says that the state we have is the present one, without sending it again: a 204, or a notification without a body
    /// and with our tag. A notification without a body that does not say so tells that there is nothing to show.
    pub unchanged: bool,
    /// Which notifier says this, as [`NotifyBody::fork`]; `None` where it is about the subscription as a whole.
    pub fork: Option<u32>,
    /// Every notifier that is known has said that the subscription is active: what they say together is the whole.
    pub settled: bool,
    /// How often it notifies (RFC 6446), where it said so.
    pub rates: Rates,
}

/// What a service wants to be told about a token (RFC 8898).
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub struct TokenNeeded {
    /// The realm that the token is for.
    pub realm: String,
    /// Where tokens are given out: an https URI.
    pub authz_server: Option<String>,
    /// The scope that the token must have.
    pub scope: Option<String>,
    /// Why the one that was sent was refused, such as `invalid_token`; `None` when none was sent.
    pub error: Option<String>,
    /// Whether there is nothing to be done with a token: the transport has no encryption, and the configuration does not allow
    /// it to be sent there.
    pub insecure: bool,
}

/// The state of one flow to the service (RFC 5626).
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub enum FlowState {
    /// The registrar knows it, and requests come and go over it.
    Up {
        /// Where it leads.
        to: Destination,
    },
    /// It was lost; it is made again by itself.
    Down {
        /// Why.
        cause: Cause,
        /// When it is tried again.
        after: Duration,
    },
}

/// What an answer tells about the service. What it did not mention is empty; what was known before stays true.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct ServiceFacts {
    /// The methods it allows.
    pub allow: Vec<String>,
    /// The extensions it supports, as option tags.
    pub supported: Vec<String>,
    /// The event packages it knows.
    pub allow_events: Vec<String>,
    /// What it calls itself.
    pub server: Option<String>,
    /// Its time when it answered. Compare it with the local clock to find the skew: certificates and message times depend on it.
    pub date: Option<SystemTime>,
}

/// A registration as the service confirmed it.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Registered {
    /// How long the service holds the binding. It is refreshed before.
    pub expires: Duration,
    /// The route for requests out of dialogs (RFC 3608), which the agent follows by itself.
    pub service_route: Vec<String>,
    /// The way by which requests reach us (RFC 3327).
    pub path: Vec<String>,
    /// Our public GRUU (RFC 5627), if the service gives one.
    pub gruu: Option<String>,
    /// Our temporary GRUU, which does not tell who we are, if the service gives one. The newest; older ones stay good as long as the
    /// registration does.
    pub temp_gruu: Option<String>,
    /// Whether the service keeps several flows apart (RFC 5626): it answered with `Require: outbound`.
    pub outbound: bool,
    /// The number of the flow that was registered: 1, or of a further one.
    pub reg_id: u32,
}

/// Why something that needs the network did not work.
#[derive(Clone, Eq, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum Cause {
    /// It was refused.
    #[error("refused with {code} {reason}")]
    Status {
        /// The status code, 300 to 699.
        code: u16,
        /// The reason phrase.
        reason: String,
    },
    /// Nobody answered in time.
    #[error("no answer came in time")]
    Timeout,
    /// The service could not be reached.
    #[error("the service could not be reached: {0}")]
    Transport(String),
    /// The service's name led to no address.
    #[error("the service's address was not found: {0}")]
    NotFound(String),
    /// The password was not accepted. If it was our own service, nothing more is sent to it until
    /// [`set_password`](super::Agent::set_password), or a new [`register`](super::Agent::register): requests fail with this at once.
    #[error("the service rejected the credentials for {realm:?}")]
    WrongPassword {
        /// The realm as the service names it.
        realm: String,
        /// The status code, 401 or 407.
        code: u16,
    },
    /// The service asks for a proof that we cannot or must not give.
    #[error("the service asks for an authentication that is not supported or not allowed")]
    UnsupportedChallenge {
        /// The status code, 401 or 407.
        code: u16,
    },
    /// The service asks for an access token, and there is none that it accepts; see [`AgentEvent::TokenNeeded`].
    #[error("an access token is needed")]
    NoToken,
    /// The address demands encryption on the whole way (`sips:`), and no target of the service offers it.
    #[error("the address demands encryption, and the service offers none")]
    Insecure,
    /// Whoever is subscribed to has not agreed to that yet (RFC 5360): 470.
    #[error("consent is needed")]
    ConsentNeeded {
        /// Whose consent is missing, as URIs; empty where the service did not say.
        missing: Vec<String>,
    },
    /// The request cannot be written: a value has a line break, or the like.
    #[error("the request cannot be written: {0}")]
    Invalid(String),
    /// The service confirmed, but never sent the first notification (RFC 6665 §4.1.2.4, timer N).
    #[error("no notification came")]
    NoNotify,
    /// The service ended a subscription.
    #[error("the service ended it: {reason}")]
    Ended {
        /// The reason parameter of Subscription-State; empty when none was given.
        reason: String,
    },
    /// Its time was over before it could be refreshed.
    #[error("it expired")]
    Expired,
    /// We ended it.
    #[error("ended as asked")]
    Closed,
}

impl Cause {
    /// The status code, where the service gave one.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. }
            | Self::WrongPassword { code, .. }
            | Self::UnsupportedChallenge { code } => Some(*code),
            Self::ConsentNeeded { .. } => Some(470),
            _ => None,
        }
    }

    /// Whether nobody at the service decided anything: the service is away, or overloaded.
    pub const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Transport(_)
                | Self::NotFound(_)
                | Self::NoNotify
                | Self::Status { code: 408 | 500..=599, .. }
        )
    }
}

/// The document of one notification.
#[derive(Clone, Eq, PartialEq)]
pub struct NotifyBody {
    /// Which of the usages that forking created: 0 for the first notifier. Documents of different forks are to be merged.
    pub fork: u32,
    /// The value of Content-Type, with all its parameters.
    pub content_type: String,
    /// The octets, sharing the buffer of the notification.
    pub body: Bytes,
    /// The tag of this state (RFC 5839), if the notifier gives one.
    pub etag: Option<Arc<str>>,
    /// The option tags that the notification requires to be understood, such as `eventlist`.
    pub require: Vec<String>,
}

// Presence is personal data: only its size is shown.
impl fmt::Debug for NotifyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotifyBody")
            .field("fork", &self.fork)
            .field("content_type", &self.content_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Something that was handled, but that a person who looks for a fault wants to know.
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub enum Diagnostic {
    /// The service sees our requests come from another address than ours: a NAT stands between (RFC 3581).
    PublicAddress {
        /// What we call ourselves.
        local: SocketAddr,
        /// Where the service sees us.
        seen: SocketAddr,
    },
    /// Something came that is not valid SIP, and was refused or dropped.
    Malformed {
        /// Where it came from.
        from: SocketAddr,
        /// What is wrong.
        error: String,
        /// The status that it was answered with, if it was.
        answered: Option<u16>,
    },
    /// A request was refused.
    Refused {
        /// Its method.
        method: String,
        /// Where it came from.
        from: SocketAddr,
        /// The status it was answered with.
        status: u16,
        /// Why.
        why: &'static str,
    },
    /// A notification was forgiven something.
    Forgiven {
        /// Which subscription.
        id: SubscriptionId,
        /// What.
        what: &'static str,
    },
}
