//! Presence and instant messaging for an application, with plugins.
//!
//! A [`Host`] owns the accounts, the plugins and the store of a process; a [`Messenger`] is one signed-in
//! user. Both are handles: cheap to clone, `Send + Sync`, usable from any task.
//!
//! ```no_run
//! use attache::{AccountConfig, Address, Availability, Host, HostConfig, Secret};
//!
//! # async fn example() -> Result<(), attache::Error> {
//! let host = Host::start(HostConfig::default()).await?;
//! let alice = Address::parse("sip:alice@example.com")?;
//! let alice = host.add_account(AccountConfig::new(alice, Secret::new("wonderland"))).await?;
//! alice.publish(Availability::Busy, "in a review").await?;
//! alice.send(&Address::parse("sip:bob@example.com")?, "hello").await?;
//!
//! let mut view = alice.view();
//! while let Some(change) = view.changes.next().await {
//!     println!("{change:?}");
//! }
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - [`Host`], [`HostConfig`]: start and stop, accounts, plugins; the operator's TOML file.
//! - [`Messenger`]: contacts, groups, presence, messages, history of one user.
//! - [`View`]: a snapshot, and every change after it. Reading never waits and never blocks the engine.
//! - [`Error`], [`Code`]: every failure has a stable number and name, a sentence and a hint.
//! - [`sim`]: a simulated network under a virtual clock, to test an application on.

/// The examples of the README, which are compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod account;
mod archive;
mod calls;
mod common;
pub mod compat;
mod config;
mod connection;
mod conversations;
mod delegates;
mod directory;
pub mod doctor;
mod events;
mod export;
mod files;
mod host;
mod messages;
mod messenger;
mod people;
mod place;
mod presence;
mod reload;
mod services;
mod watching;

pub use archive::Archive;
pub use attache_messenger::{
    address::Address,
    call::{Call, CallMethod, CallState, Callee, IncomingCalls, Media, MediaWanted, PhoneKind},
    code::Code,
    command::{Accepted, Answer, Command, TransferTarget},
    compose::Reason,
    conversation::{Context, ConversationKind, Mode, Participant, ParticipantState},
    error::{Error, Retry},
    event::{
        Contact, Conversation, Event, EventKind, Group, PresenceChange, SessionState, TokenNeeded,
        WatchedChange,
    },
    export::{Exporter, Format as ExportFormat},
    file::{FileHash, FileState, FileTransfer, HashAlgorithm},
    id::{
        AccountId, CallId, ConflictId, ContactId, ConversationId, FileId, GroupId, LeaseId, MessageId,
        RequestId,
    },
    message::{
        Author, Content, Delivery, Draft, IncomingMessage, MessageState, Origin, OutboxItem, OutgoingMessage,
        Payload, ReceiptPolicy, Receipts, Target, Text, WaitReason, Waiting,
    },
    people::{DirectoryEntry, FoundIn, PersonQuery, Resolved},
    presence::{
        Availability, Capabilities, Card, Details, Device, DeviceKind, Fact, Freshness, Presence,
        UnknownReason, Upcoming,
    },
    privacy::{Decision, Preview, PreviewReason, Rule, Watcher, WatcherState, Who},
    profile::{Calendar, CalendarState, ContactDetails, Phones, Profile},
    report::{Refused, ServiceFacts, ServiceReport, Strategy, StrategyUse, XcapState},
    sim,
    snapshot::{ContactEntry, ConversationEntry, Snapshot, TranscriptEntry, WatchedEntry},
    storage::{ArchiveEntry, ArchiveQuery, BoxFuture, Direction, Order},
    sync::{Conflict, ConflictAbout, Side},
    time::Timestamp,
};
pub use attache_net::{CertificateProblem, CertificateSummary};
pub use attache_plugin_host::{
    AccountPattern, ByteSize, ConfigLocation, Counters, DeadLetter, Grant, InstanceState, InstanceStatus,
    Limits, LoadError, LoadState, Needs, Period, PluginStatus, Scope, Sha256Pin, inspect,
};
pub use attache_sip::{
    digest::Secret,
    transport::{Destination, Transport},
};
pub use config::{
    AccountConfig, ConfigError, Credential, HostConfig, Identity, MessageConfig, PluginConfig, Problem,
    Roots, TlsConfig, Tuning, TuningOutOfRange,
};
pub use connection::{Connection, FlowFailure, FlowInfo, Lookup};
pub use conversations::NewConversation;
pub use delegates::{MediaEngine, TokenSource};
pub use directory::Directory;
pub use events::{CAPACITY, Change, Changes, View};
pub use host::Host;
pub use messenger::Messenger;
pub use people::SortOrder;
pub use reload::Reloaded;
pub use services::{ServiceCapabilities, ServiceInfo, VERSION};
pub use watching::Watching;
