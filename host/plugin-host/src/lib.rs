//! The WebAssembly plugin host.
//!
//! Runs sandboxed components against the contract in `wit/`: a plugin subscribes to events by exporting their
//! interfaces, and may call what it imports and was granted. Whatever a plugin does (loops, traps, floods, lies) the
//! messenger and the other plugins go on, and no message is lost to a plugin that comes back.
//!
//! # Layout
//! - [`PluginConfig`], [`Limits`], [`Grant`], [`HostOptions`]: what is decided outside
//! - [`PluginHost`]: the host; [`Backend`]: the messenger behind it
//! - [`PluginStatus`]: what an operator sees
//! - [`inspect`]: what a component needs, without running it
//!
//! No type of wasmtime is in a public signature.
#![forbid(unsafe_code)]

mod backend;
mod bindings;
mod config;
mod convert;
mod engine;
mod error;
mod exports;
mod family;
mod grant;
mod guest;
mod host;
mod imports;
mod instance;
mod leases;
mod limits;
mod log;
mod mailbox;
mod meters;
mod minute;
mod options;
mod plugin;
mod quota;
mod state;
mod status;
mod stream;
mod supervisor;
mod surface;
mod units;

pub use backend::{Backend, ServiceFacts};
pub use config::{AccountPattern, ConfigError, ConfigLocation, PluginConfig, Scope, Sha256Pin};
pub use error::{LoadError, StartError};
pub use grant::Grant;
pub use host::PluginHost;
pub use limits::{LimitOutOfRange, Limits};
pub use options::{HostOptions, Supervision};
pub use status::{Counters, DeadLetter, InstanceState, InstanceStatus, LoadState, PluginStatus};
pub use surface::{Needs, inspect};
pub use units::{ByteSize, Period};
