//! What must survive, kept: stores behind [`attache_messenger::storage::Storage`].
//!
//! The engine answers a MESSAGE only when the store says that it is kept, so the store decides how much the host can
//! promise. [`Store`] keeps everything in one SQLite file that `kill -9` and a power failure leave whole;
//! [`MemoryStore`] keeps everything in memory, for tests and for hosts that want to leave no trace. Both
//! pass [`conformance`], which any other backend can run too.
//!
//! ```
//! use attache_messenger::{address::Address, storage::Storage};
//! use attache_store::Store;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("data");
//! let store = Store::open(&folder)?;
//! let alice = Address::parse("sip:alice@example.com")?;
//! # attache_store::conformance::block_on(async {
//! let restored = store.load(alice.account_id(), &alice).await?;
//! assert!(restored.contacts.is_empty());
//! store.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Layout
//! - `store`: [`Store`]; `folder`: the data folder and its lock; `schema`: the file format and its versions.
//! - `queue`, `job`, `writer`, `reader`: the threads behind it.
//! - `batch`, `journal`, `archive`, `kv`: the statements; `record`: the documents in columns; `terms`: what a search
//!   text means.
//! - `memory`: [`MemoryStore`]; `conformance`: what every backend must do.
#![forbid(unsafe_code)]

mod archive;
mod batch;
pub mod conformance;
mod error;
mod folder;
mod job;
mod journal;
mod kv;
mod memory;
mod queue;
mod reader;
mod record;
mod schema;
mod store;
mod terms;
mod writer;

pub use archive::PeerSummary;
pub use error::OpenError;
pub use memory::MemoryStore;
pub use store::{Options, Store};
