//! What an agent is made with.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Credential;
use crate::budget::Budget;
use crate::digest::Policy;
use crate::message::MethodBuf;
use crate::transaction::Timers;
use crate::transport::Transport;
use crate::uri::UriBuf;
use crate::usage::{Backoff, InviteSettings};

/// The settings of an [`Agent`](super::Agent).
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The account's address of record, such as `sip:alice@example.com`.
    pub aor: UriBuf,
    /// The name shown to others.
    pub display_name: Option<String>,
    /// The user name in credentials; `None` takes the user part of the address.
    pub auth_user: Option<String>,
    /// What proves who it is.
    pub credential: Credential,
    /// The addresses at which this agent's sockets receive, by transport. They become Via and Contact, so they must be concrete, not
    /// `0.0.0.0`. For TCP it is the listening address.
    pub local: Vec<(Transport, SocketAddr)>,
    /// The outbound proxy that everything is sent to; `None` finds the service of the address's domain.
    pub service: Option<UriBuf>,
    /// Whether a service that is offered over encrypted transports may be reached over others as well, once those do not work. Whoever
    /// can break connections then reads everything; false by default.
    pub mixed_security: bool,
    /// The value of User-Agent; empty leaves the header out.
    pub user_agent: String,
    /// A URN that stays the same for this installation, such as `urn:uuid:…` (RFC 5626 §4.1). Without it, no GRUU is asked for.
    pub instance: Option<String>,
    /// When our public GRUU (RFC 5627) becomes the contact of dialogs.
    pub gruu: GruuUse,
    /// How a device that sleeps is woken for requests (RFC 8599), told to the registrar.
    pub push: Option<Push>,
    /// Which digest algorithms may prove the password.
    pub digest: Policy,
    /// The timers of transactions.
    pub timers: Timers,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// The most SUBSCRIBE requests waiting for an answer at once; further ones queue. It keeps ten thousand subscriptions from
    /// melting a UDP service, and paces itself by the service's own speed. 64 by default.
    pub subscribe_window: usize,
    /// The most subscriptions one agent holds. 100,000 by default.
    pub max_subscriptions: usize,
    /// The longest message that is read, in bytes with its body. A service tells a long list in one (RFC 4662). 65,536 by default.
    pub max_message: usize,
    /// The longest Retry-After that is honoured; a service that says more is asked again after this. One day by default.
    pub max_retry_after: Duration,
    /// Methods besides MESSAGE, NOTIFY, OPTIONS and those of [sessions](Self::invite) that are given up as
    /// [`RequestReceived`](super::AgentEvent::RequestReceived); all others are answered with 405 or 501.
    pub methods: Vec<MethodBuf>,
    /// Whether requests are taken from anybody. By default only OPTIONS is: all else must come from an IP address of the service, or
    /// gets 403, for nobody else has checked who sent it.
    pub accept_from_anywhere: bool,
    /// From whom NOTIFY is taken, besides the connections that the agent opened.
    pub accept_notify_from: NotifySource,
    /// What all requests draw from that the agent starts by itself: refreshes, retries, subscriptions that begin again, polls. Shared by
    /// all agents of a process. `None` does not limit them.
    pub budget: Option<Arc<Budget>>,
    /// How many flows to the service are kept where it supports that and has as many targets (RFC 5626 §4.2). It needs
    /// [`instance`](Self::instance). Two by default; with zero, flows are not offered at all.
    pub flows: usize,
    /// Whether and how sessions are made and taken (INVITE, REFER). By default there are none.
    pub invite: InviteSettings,
    /// The values of Accept that OPTIONS is answered with.
    pub accept: Vec<String>,
    /// The event packages that Allow-Events names.
    pub packages: Vec<String>,
}

/// When our public GRUU is the contact of dialogs. A service that gives one out must also lead requests to it, and not every
/// service's configuration does.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum GruuUse {
    /// Where the service also keeps flows apart (RFC 5626), and so cares for the way of each request.
    #[default]
    WithFlows,
    /// Wherever there is one.
    Always,
    /// Never.
    Never,
}

/// An instance for [`AgentConfig::instance`] that is the same whenever it is made of the same text: a UUID of version 8
/// (RFC 9562) of its hash. The text must be the same after a restart, and of no other installation.
pub fn instance_urn(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    let uuid = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{uuid:032x}");
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A push notification service, and our name there (RFC 8599 §4.1).
#[derive(Clone, Eq, PartialEq)]
pub struct Push {
    /// The service: `pn-provider`.
    pub provider: String,
    /// What the service needs to know beside the identifier: `pn-param`. Empty leaves it out.
    pub param: String,
    /// Our identifier there: `pn-prid`. Whoever has it can wake the device.
    pub prid: String,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// The event packages that this crate has parameters for.
const PACKAGES: [&str; 7] =
    ["presence", "presence.winfo", "dialog", "reg", "message-summary", "conference", "xcap-diff"];

/// Who may send NOTIFY. Whoever else does gets a 403; a guessed dialog is no proof.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum NotifySource {
    /// The IP addresses of the service, as far as they are known, and connections that the agent opened to it.
    #[default]
    Service,
    /// These IP addresses as well: a notifier that stands beside the proxy.
    ServiceAnd(Vec<IpAddr>),
    /// Anybody who knows the dialog.
    Anybody,
}

impl AgentConfig {
    /// Default settings for an account.
    pub fn new(aor: UriBuf, credential: impl Into<Credential>, local: Vec<(Transport, SocketAddr)>) -> Self {
        Self {
            aor,
            display_name: None,
            auth_user: None,
            credential: credential.into(),
            local,
            service: None,
            mixed_security: false,
            user_agent: String::new(),
            instance: None,
            gruu: GruuUse::default(),
            push: None,
            digest: Policy::default(),
            timers: Timers::default(),
            backoff: Backoff::default(),
            subscribe_window: 64,
            max_subscriptions: 100_000,
            max_message: 65_536,
            max_retry_after: Duration::from_secs(86_400),
            methods: Vec::new(),
            accept_from_anywhere: false,
            accept_notify_from: NotifySource::Service,
            budget: None,
            flows: 2,
            invite: InviteSettings::default(),
            accept: ["text/plain", "message/cpim", "application/im-iscomposing+xml", "application/pidf+xml"]
                .map(str::to_owned)
                .to_vec(),
            packages: PACKAGES.map(str::to_owned).to_vec(),
        }
    }
}
