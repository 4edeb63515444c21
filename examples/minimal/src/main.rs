//! The smallest application that embeds the host.
fn main() {}
