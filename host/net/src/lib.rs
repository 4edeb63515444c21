//! Tokio transports for the SIP engine: UDP and TCP flows, name resolution.
