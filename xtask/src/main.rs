//! Chores: set up, demo, test, bench, soak.
fn main() {}
