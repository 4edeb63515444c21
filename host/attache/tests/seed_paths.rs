//! Every Rust path of `docs/seed-api.md`, so that one that is gone does not compile.
//!
//! Made by `cargo xtask seed-api`; not for editing.

#[test]
#[rustfmt::skip]
fn every_rust_path_of_the_seed_api_exists() {
}
