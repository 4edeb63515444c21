//! The embedded SIP service: registrar, presence agent, message relay.
