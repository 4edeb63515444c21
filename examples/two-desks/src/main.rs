//! Two people, two plugins and the embedded service in one process.
fn main() {}
