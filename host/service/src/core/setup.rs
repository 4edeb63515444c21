//! What a [`Core`](super::Core) is made with, and the numbers that it shows.

use std::net::SocketAddr;

use attache_sip::transport::Transport;

use super::ConferenceConfig;
use crate::config::{Account, ListConfig};
use crate::limits::Limits;
use crate::mailbox::StoredMessage;
use crate::rules::DefaultPolicy;
use crate::xcap::StoredDocument;

/// What a [`Core`](crate::Core) is made with.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The users.
    pub accounts: Vec<Account>,
    /// The domains, in lower case.
    pub domains: Vec<String>,
    /// The realm of passwords.
    pub realm: String,
    /// The bounds.
    pub limits: Limits,
    /// Where peers reach the service, by transport.
    pub local: Vec<(Transport, SocketAddr)>,
    /// The timers of transactions.
    pub timers: attache_sip::transaction::Timers,
    /// The way that registered clients are to send their requests (RFC 3608), each an address in angle brackets.
    pub service_route: Vec<String>,
    /// Lists of resources that everybody may watch, or those who are named.
    pub lists: Vec<ListConfig>,
    /// Messages that were kept before a restart, in order of their ids.
    pub stored: Vec<StoredMessage>,
    /// Users' documents that were kept before a restart.
    pub documents: Vec<StoredDocument>,
    /// What holds for watchers of users who keep no rules.
    pub default_policy: DefaultPolicy,
    /// The root of documents as others name it: an HTTP URI that ends with `/xcap-root`.
    pub xcap_root: String,
    /// Where users get access tokens and what for: the address of the authorization server, and the scope.
    pub tokens: Option<(String, Option<String>)>,
    /// Where conferences are made; nowhere for `None`.
    pub conference: Option<ConferenceConfig>,
    /// Whether somebody takes [`Core::poll_store`](crate::Core::poll_store) and answers. If not, messages are kept in memory only.
    pub is_durable: bool,
}

impl CoreConfig {
    /// Default settings for users of one domain, at one address for UDP and TCP.
    pub fn new(domain: &str, accounts: Vec<Account>, local: SocketAddr) -> Self {
        Self {
            accounts,
            domains: vec![domain.to_owned()],
            realm: domain.to_owned(),
            limits: Limits::default(),
            local: vec![(Transport::Udp, local), (Transport::Tcp, local)],
            timers: attache_sip::transaction::Timers::default(),
            service_route: Vec::new(),
            lists: Vec::new(),
            stored: Vec::new(),
            documents: Vec::new(),
            default_policy: DefaultPolicy::default(),
            xcap_root: format!("http://{}/xcap-root", local.ip()),
            tokens: None,
            conference: None,
            is_durable: false,
        }
    }
}

/// Numbers for operators.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Users with at least one registered contact.
    pub registered_users: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Users watched, and others in lists, counted once for each of their watchers.
    pub watched: usize,
    /// Users who published something, or are watched.
    pub presentities: usize,
    /// Messages that wait for their recipients.
    pub stored_messages: usize,
    /// Messages being passed on.
    pub relays: usize,
    /// Conferences.
    pub conferences: usize,
    /// Other requests being passed on: calls that ring, and whatever is said within dialogs.
    pub forwards: usize,
    /// Documents that users keep.
    pub documents: usize,
}
