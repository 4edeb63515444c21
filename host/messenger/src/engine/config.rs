//! What an engine is made with.

use core::{fmt, time::Duration};
use std::{net::SocketAddr, sync::Arc};

use attache_sip::{
    agent::Credential, budget::Budget, digest::Secret, transaction::Timers, transport::Transport,
};

use crate::{address::Address, call::IncomingCalls, message::ReceiptPolicy, profile::Phones};

/// Settings of one account's engine. Every one but the first four has a default that suits a person's account.
#[derive(Clone)]
pub struct EngineConfig {
    /// Address of record.
    pub address: Address,
    /// Own display name; empty for none.
    pub display_name: Arc<str>,
    /// Own telephones, which whoever may see the account's presence sees; [`Command::SetProfile`](crate::command::Command::SetProfile)
    /// changes them, the name and what follows at run time.
    pub phones: Phones,
    /// Own e-mail address, likewise.
    pub email: Option<Arc<str>>,
    /// Where a page on the account's person is, likewise.
    pub homepage: Option<Arc<str>>,
    /// Where a picture of the account's person is, likewise.
    pub icon: Option<Arc<str>>,
    /// User name in credentials; `None` takes the user part of the address.
    pub auth_user: Option<String>,
    /// The password.
    pub password: Secret,
    /// What proves who the account is where that is no password: an access token (RFC 8898). `None` takes the password.
    pub credential: Option<Credential>,
    /// What requests draw from that the engine starts by itself; shared by all accounts of a process. `None` does not limit
    /// them.
    pub budget: Option<Arc<Budget>>,
    /// How many flows to the service are kept where it supports that and has as many targets (RFC 5626). Default 2; 1 turns
    /// it off.
    pub flows: usize,
    /// Address of the outbound proxy; `None` finds the service of the address's domain.
    pub service: Option<String>,
    /// Root of the service's XCAP server (RFC 4825, section 6.1), such as `https://xcap.example.com/xcap-root`; `None`
    /// keeps contacts here and has no rules about who may see one's presence.
    pub xcap: Option<String>,
    /// Name of this account at the XCAP server (its XUI); `None` takes the address.
    pub xcap_user: Option<String>,
    /// Whether to ask the service who watches this account (RFC 3857). Default yes; a service that does not offer it is not asked
    /// again.
    pub watcher_info: bool,
    /// Whether to ask the service what waits in the account's mailbox (RFC 3842), and with which devices the account is signed
    /// in (RFC 3680), where it does not say that it offers neither. Default yes.
    pub own_events: bool,
    /// Whether own presence is published. Default yes; without it others see nothing of this sign-in.
    pub publish: bool,
    /// Where this account receives, by transport. Concrete addresses, not `0.0.0.0`.
    pub local: Vec<(Transport, SocketAddr)>,
    /// Entropy, fresh for every start.
    pub seed: [u8; 32],
    /// Value of `User-Agent`; empty leaves it out.
    pub user_agent: String,
    /// Lifetime asked for when registering. Default 10 minutes.
    pub registration: Duration,
    /// Lifetime asked for when publishing. Default 10 minutes.
    pub publication: Duration,
    /// Lifetime asked for when subscribing. A service that forgets its subscriptions is found out when they are refreshed, so
    /// this bounds how long a value can be wrong and look live. Default 15 minutes.
    pub subscription: Duration,
    /// A quiet service is asked for a sign of life this often. Default 30 seconds.
    pub keep_alive: Duration,
    /// Where the service takes no subscription, each person is asked about this often, give or take a quarter. Default 5
    /// minutes.
    pub polling: Duration,
    /// Shortest time between two notifications for a list that the service is asked for (RFC 6446), so that thousands of people
    /// who change at once come together; zero asks for none. Default 1 second.
    pub list_interval: Duration,
    /// A conversation without a message for so long is closed. Default 30 minutes.
    pub conversation_idle: Duration,
    /// Most attempts at one message that the service answers with a failure of its own, before it has failed.
    /// Attempts while the service is away do not count. Default 8.
    pub message_attempts: u32,
    /// Whether messages are taken from anybody who can reach us, and not only from the service's addresses. Default no: a
    /// stranger's From is worth nothing.
    pub accept_from_anywhere: bool,
    /// Whether to ask for people's dialogs as well (RFC 4235), and show who is on the phone. One more subscription for each
    /// person; many services tell it in presence by themselves. Default no.
    pub calls: bool,
    /// The person's own phone, which rings first when the account calls somebody. `None` takes the account's other devices:
    /// those that are registered at its address.
    pub phone: Option<Address>,
    /// What becomes of calls to this account. Default: they are left to the person's phones.
    pub incoming_calls: IncomingCalls,
    /// The service's conference factory (RFC 4579, section 5.4), where conversations of several people are held together, such as
    /// `sip:conference@example.com`. `None`: each message goes to each of them.
    pub conference: Option<Address>,
    /// Whether what was last known of contacts' presence is kept in the store, so that it is shown at the next start as stale
    /// and need not be told again where it has not changed (RFC 5839). Default yes.
    pub keep_presence: bool,
    /// Which receipts are given to those who ask (RFC 5438). Default [`ReceiptPolicy::Delivered`], and never to somebody whom
    /// a rule keeps from seeing this account's presence: a receipt says when somebody is there.
    pub receipts: ReceiptPolicy,
    /// The service's address for messages to several people (RFC 5365), such as `sip:lists@example.com`. `None`: each of them
    /// gets a message of their own.
    pub message_list: Option<Address>,
    /// Types of messages that are taken as bytes, beside texts: `image/png`, or `image/*` for all of a kind. Default none;
    /// others are refused with 415.
    pub accept: Vec<Arc<str>>,
    /// How long lines of conversations stay in the store, so that these can be read after they were closed, also after a
    /// restart. Zero keeps none beyond the process. Default 31 days.
    pub history: Duration,
    /// Sessions of messages (RFC 4975): where connections for them are accepted, and bounds. `None` has no such sessions, and
    /// no conferences. Whoever runs the engine serves [`Engine::poll_stream`](super::Engine::poll_stream) then.
    /// While the service is reached over TLS, sessions are over TLS alone, and there are none without a
    /// [fingerprint](attache_msrp::MsrpConfig::fingerprint).
    pub msrp: Option<attache_msrp::MsrpConfig>,
    /// Longest file that may be offered to this account, in bytes; others are refused without asking. Default 1 GiB.
    pub largest_file: u64,
    /// Address of a list that the service holds (RFC 4662), such as `sip:alice-list@example.com`. `None` asks for none
    /// unless the engine made one.
    pub list: Option<String>,
    /// Bounds.
    pub limits: Limits,
    /// The timers of SIP transactions.
    pub timers: Timers,
}

/// What one account may hold. Beyond, commands are refused and the oldest of what is closed is forgotten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Contacts. Default 20,000.
    pub contacts: usize,
    /// Groups. Default 1,000.
    pub groups: usize,
    /// Messages waiting to be sent. Default 10,000.
    pub outbox: usize,
    /// Messages under way to different people at once. Default 32.
    pub sending: usize,
    /// Commands and incoming messages that wait for the store. Default 1,024.
    pub storing: usize,
    /// Conversations, open and closed. Default 512.
    pub conversations: usize,
    /// Calls in progress. Default 16.
    pub calls: usize,
    /// Lines of one transcript. Default 500.
    pub transcript_lines: usize,
    /// Bytes of text of one transcript. Default 1 MiB.
    pub transcript_bytes: usize,
    /// Identities of messages that arrived, for recognising repetitions within 31 days; the oldest go first. Default
    /// 100,000.
    pub seen: usize,
    /// Recipients of one message. Default 100.
    pub recipients: usize,
    /// Messages of ours whose states are known, so that receipts that come later count; likewise receipts that senders of
    /// messages still want. The oldest go first, and all after 31 days. Default 5,000.
    pub deliveries: usize,
    /// People of whom it is remembered what their programs read. Default 10,000.
    pub peers: usize,
    /// People who write to this account at the same time. Default 256.
    pub composing: usize,
    /// Leases on people's presence at once. Default 10,000.
    pub leases: usize,
    /// Contacts whose becoming available is told. Default 1,000.
    pub alerts: usize,
    /// Sources of facts on the account's own person. Default 64.
    pub facts: usize,
    /// Entries of one list that is brought along in a request (RFC 5367); more people take more requests. Default 100.
    pub list_chunk: usize,
    /// Longest message that is read, in bytes: a service tells a long list in one. The sockets must let it through. Default
    /// 4 MiB.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            contacts: 20_000,
            groups: 1_000,
            outbox: 10_000,
            sending: 32,
            storing: 1_024,
            conversations: 512,
            calls: 16,
            transcript_lines: 500,
            transcript_bytes: 1024 * 1024,
            seen: 100_000,
            recipients: 100,
            deliveries: 5_000,
            peers: 10_000,
            composing: 256,
            leases: 10_000,
            alerts: 1_000,
            facts: 64,
            list_chunk: 100,
            message: 4 * 1024 * 1024,
        }
    }
}

impl EngineConfig {
    /// Defaults for an account. `seed` is fresh entropy for every start.
    #[must_use]
    pub fn new(
        address: Address,
        password: impl Into<Secret>,
        local: Vec<(Transport, SocketAddr)>,
        seed: [u8; 32],
    ) -> Self {
        Self {
            address,
            display_name: Arc::from(""),
            phones: Phones::default(),
            email: None,
            homepage: None,
            icon: None,
            auth_user: None,
            password: password.into(),
            credential: None,
            budget: None,
            flows: 2,
            service: None,
            xcap: None,
            xcap_user: None,
            watcher_info: true,
            own_events: true,
            publish: true,
            local,
            seed,
            user_agent: concat!("Attache/", env!("CARGO_PKG_VERSION")).to_owned(),
            registration: Duration::from_secs(600),
            publication: Duration::from_secs(600),
            subscription: Duration::from_secs(900),
            keep_alive: Duration::from_secs(30),
            polling: Duration::from_secs(300),
            list_interval: Duration::from_secs(1),
            conversation_idle: Duration::from_secs(30 * 60),
            message_attempts: 8,
            accept_from_anywhere: false,
            calls: false,
            keep_presence: true,
            phone: None,
            incoming_calls: IncomingCalls::default(),
            conference: None,
            msrp: None,
            largest_file: 1024 * 1024 * 1024,
            receipts: ReceiptPolicy::default(),
            message_list: None,
            accept: Vec::new(),
            history: Duration::from_secs(31 * 86_400),
            list: None,
            limits: Limits::default(),
            timers: Timers::default(),
        }
    }
}

// Neither the password nor the seed, from which every tag and nonce follows, may reach a log.
impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("address", &self.address)
            .field("service", &self.service)
            .field("xcap", &self.xcap)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}
