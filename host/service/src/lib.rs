//! The embedded SIP service: registrar, presence agent, message relay.

mod config;
mod core;
mod date;
mod directory;
mod mailbox;
mod presence;
mod reach;
mod registrar;
mod service;
mod store;
mod throttle;
mod timers;
mod units;

pub use config::{
    Account, ConfigError, Elsewhere, Limits, PasswordSource, ServiceConfig, ServiceOptions, TransportKind,
    UserConfig,
};
pub use core::{Core, CoreConfig, Statistics};
pub use mailbox::{StoreChange, StoredMessage};
pub use service::{Service, StartError};
pub use store::StoreError;
