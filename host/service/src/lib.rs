//! The embedded SIP service: a registrar, a presence agent and a message relay for the users of one machine.
//!
//! It is what the demo and the tests talk to, and enough for a team: where users outgrow it, they point their clients at
//! Kamailio or another SIP service, and nothing else changes.
//!
//! ```no_run
//! use attache_service::{Service, ServiceConfig};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ServiceConfig::parse(r#"
//!     [service]
//!     listen = "127.0.0.1:5060"
//!     domains = ["example.com"]
//!     data-dir = "/var/lib/attache"
//!
//!     [[user]]
//!     name = "alice"
//!     password = { env = "ALICE_PASSWORD" }
//! "#)?;
//! let service = Service::start(&config)?;
//! println!("listening on {:?}", service.local_addrs());
//! service.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//! - **REGISTER** (RFC 3261, section 10): several contacts with `q`, `+sip.instance` of RFC 5626, query, removal, `*`, 423.
//!   A contact is only used as an address if it is on the host that the request came from; otherwise requests go back to
//!   where that came from. So clients behind a NAT are reached, and nobody can aim the service at a third party.
//! - **Digest** (RFC 7616, RFC 8760): SHA-256 first, then MD5; nonces are signed, for one host each, and their counts
//!   are remembered, so that a request cannot be replayed. Every request but
//!   OPTIONS must come from its From's owner; only our own users in our own domains are ever sent anything.
//! - **Access tokens** (RFC 8898) in place of passwords, over encrypted transports, where `[service.tokens]` names who gives
//!   them out and the file that says which are good.
//! - **PUBLISH** (RFC 3903), package `presence`: entity tags, refresh, modification, removal, expiry, 412, 423.
//!   One publication is passed on as it came; several are composed: all tuples and devices, the newest person.
//!   Who publishes nothing is `closed`.
//! - **Devices**: several flows of one (RFC 5626), addresses of its own (RFC 5627), Path (RFC 3327), Service-Route
//!   (RFC 3608).
//! - **SUBSCRIBE** and **NOTIFY** (RFC 6665, RFC 3856): full state at once, refresh, expiry, fetch. A document is composed
//!   once for all watchers; a presentity is told about at most once in an interval, and a watcher has at most one NOTIFY
//!   on its way, so the latest state always wins and a slow watcher costs nothing.
//! - **Lists** (RFC 4662): one subscription for all in a `[[list]]` of the operator, in a list that the application set
//!   ([`Core::set_list`]), or in a list that came with the SUBSCRIBE (RFC 5367). The first body names all resources, further
//!   ones of bounded size bring their documents, and then what changes.
//! - **Conditional notification** (RFC 5839): each state has an entity tag; whoever has the state already is not told again.
//! - **Partial presence** (RFC 5263, RFC 5264): watchers who prefer it are told what changed, and publications may say it.
//! - **Rates** (RFC 6446): a watcher can ask to be told less often, or again without news.
//! - **Documents** (XCAP, RFC 4825): users keep contact lists, addresses that stand for them (RFC 4826), presence rules
//!   (RFC 5025) and hard state of presence (RFC 4827) over HTTP, whole or by element and attribute, on disk where there is
//!   a `data-dir`. A list that a user keeps can be subscribed to by that user; changes are told by `xcap-diff` (RFC 5875).
//! - **Presence rules** (RFC 5025): what each watcher sees, decided once and shared by all who see the same. A change is felt
//!   at once. Who keeps no rules is seen by every user, or by nobody before being asked: `default-policy`.
//! - **Watcher information** (RFC 3857): a presentity is told who watches and who waits for a decision.
//! - **A user's own affairs**: how many messages wait (RFC 3842), and which devices are registered (RFC 3680).
//! - **MESSAGE** (RFC 3428): to every device at once; the first that takes it answers for all. What no device takes is kept
//!   (202), on disk where there is a `data-dir`, and delivered in order after the next REGISTER, with the Date on which it
//!   came. It is forgotten only after a 2xx, or when it is too old. Delivery is at least once: Call-ID, CSeq and From stay
//!   those of the sender, so that a recipient can tell a repeat. A MESSAGE to many (RFC 5365) becomes a copy for each.
//! - **Calls**: INVITE, REFER and what follows within their dialogs go from user to user through a stateful proxy (RFC 3261,
//!   section 16): all devices ring, one takes the call. The caller is asserted (RFC 3325) unless privacy is wanted. Routes
//!   are signed, so requests within a dialog go to its other end and nowhere else. Telephone numbers of the
//!   configuration stand for users.
//! - **Conferences** (RFC 4579): a call to the factory makes one. The service is its focus, tells members who is there
//!   (RFC 4575), and passes what they write on among them over MSRP (RFC 7701), once it is sure who wrote it.
//! - UDP, TCP, TLS and WebSocket (RFC 7118), IPv4 and IPv6. All memory is bounded, by [`Limits`].
//!
//! # What it does not do (yet)
//! - A redirection (3xx) of a device is passed back to the caller, not followed. Nothing goes to other domains or to a
//!   telephone network.
//! - Who has calls is not told by the service: a subscription to `dialog` is passed on to the user's devices.
//! - Dialogs begun before a restart lose their way, and conferences end with it.
//! - Conferences are for messages; nothing mixes sound or pictures, and nothing said is kept for those who come later.
//! - Whoever can change what is on the wire can change a request's headers, which no digest covers. TLS is what helps
//!   against that.
//! - Registrations, publications and subscriptions do not survive a restart: clients make them again.
//!
//! # Layout
//! - [`ServiceConfig`]: the operator's file.
//! - [`Core`]: the whole service as a machine without sockets, clock or disk. It is a
//!   [`Node`](attache_sip::sim::Node), so that clients can be tested against it in a simulated network.
//! - [`Service`]: a `Core` on real ones.

mod config;
mod core;
mod date;
mod directory;
mod limits;
mod lists;
mod mailbox;
mod presence;
mod problem;
mod rates;
mod reach;
mod registrar;
mod replay;
mod route;
mod rules;
mod service;
mod store;
mod subscription;
mod throttle;
mod timers;
mod tokens;
mod units;
mod xcap;

pub use config::{
    Account, ConfigError, Elsewhere, ListConfig, PasswordSource, ServiceConfig, ServiceOptions, TlsFiles,
    TransportKind, UserConfig,
};
pub use core::{ConferenceConfig, Core, CoreConfig, Statistics};
pub use limits::Limits;
pub use lists::ListError;
pub use mailbox::{StoreChange, StoredMessage};
pub use problem::Problem;
pub use rules::DefaultPolicy;
pub use service::{Service, StartError};
pub use store::StoreError;
pub use tokens::{AccessToken, TokenFileError, TokenOptions};
pub use xcap::{DocumentWrite, StoredDocument};
