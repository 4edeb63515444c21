//! From a plugin's source to a component that the host loads.
//!
//! A plugin author should need nothing but Rust: no `wasm-tools`, no `cargo-component`, and not even a compiler
//! with the WebAssembly target installed. So this crate does the three steps of a build by itself:
//!
//! 1. [`WasmStd::prepare`] finds a standard library for `wasm32-unknown-unknown`, or fetches one.
//! 2. [`GuestBuild::run`] compiles the guest crates of a cargo workspace with it, to core modules.
//! 3. [`componentise`] makes each core module a component and validates it.
//!
//! # Layout
//! - [`componentise`]: core module to component
//! - [`WasmStd`]: the standard library, by whichever way works on this machine
//! - [`GuestBuild`]: the cargo call
//! - [`Console`]: where progress is told, and who starts the processes
//! - [`Cache`]: the folder that keeps what is expensive

mod cache;
mod component;
mod console;
mod debian;
mod error;
mod guest;
mod wasm_std;

pub use cache::Cache;
pub use component::componentise;
pub use console::{Console, Terminal};
pub use error::Error;
pub use guest::{Guest, GuestBuild};
pub use wasm_std::{Strategy, WasmStd};

/// The target that guests are compiled for. Not one of the WASI targets: a plugin must import nothing beyond what it calls.
pub const TARGET: &str = "wasm32-unknown-unknown";
