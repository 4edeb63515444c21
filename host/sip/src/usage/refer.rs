//! REFER: asking somebody to call somebody, and being told how that goes (RFC 3515).

mod params;

pub use params::{ReferEvent, ReferParams, ReferRequest, ReferTarget, ReferTo};
