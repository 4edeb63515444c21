//! Presence documents: PIDF (RFC 3863) with the data model (RFC 4479) and rich presence (RFC 4480).
//!
//! ```
//! use attache_documents::{Limits, pidf};
//!
//! let text = br#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com">
//!     <tuple id="t1"><status><basic>open</basic></status></tuple></presence>"#;
//! let parsed = pidf::read(text, &Limits::DEFAULT)?;
//! assert_eq!(parsed.document.tuples[0].basic, Some(pidf::Basic::Open));
//! assert!(parsed.forgiven.is_empty());
//! assert_eq!(pidf::read(pidf::write(&parsed.document).as_bytes(), &Limits::DEFAULT)?.document, parsed.document);
//! # Ok::<(), attache_documents::DocumentError>(())
//! ```

use crate::moment::Moment;

mod read;
mod rpid;
mod write;

pub use read::read;
pub use rpid::{Activities, Activity, Rich, UserInput, UserInputState, Valid, Words};
pub use write::write;

/// The media type of these documents.
pub const MEDIA_TYPE: &str = "application/pidf+xml";

/// A presence document. Order is kept, nothing is merged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Document {
    /// Whose presence, such as `sip:bob@example.com` or `pres:bob@example.com`; empty where it was missing.
    pub entity: String,
    /// Services and devices through which the person can be reached.
    pub tuples: Vec<Tuple>,
    /// The person (RFC 4479, section 3.1). More than one when a service passes several on uncomposed.
    pub persons: Vec<Person>,
    /// Devices (RFC 4479, section 3.3).
    pub devices: Vec<Device>,
    /// Notes on the whole.
    pub notes: Vec<Note>,
}

/// One way to reach the person (RFC 3863, section 4.1.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tuple {
    /// Identifies it within the document; empty where it was missing.
    pub id: String,
    /// Whether it is open for communication.
    pub basic: Option<Basic>,
    /// The address for this way.
    pub contact: Option<Contact>,
    /// Device of the service (RFC 4479, section 3.5).
    pub device_id: Option<String>,
    /// Rich presence of the service, or of the person where an old sender put it here.
    pub rich: Rich,
    /// Notes on the service.
    pub notes: Vec<Note>,
    /// When the tuple last changed.
    pub timestamp: Option<Moment>,
}

/// Whether a service can be used now (RFC 3863, section 4.1.4).
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub enum Basic {
    /// Ready.
    Open,
    /// Not ready.
    Closed,
}

/// The address of a service (RFC 3863, section 4.1.5).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contact {
    /// The address.
    pub uri: String,
    /// Thousandths: 0 least, 1,000 most wanted; none where not given.
    pub priority: Option<u16>,
}

/// The person (RFC 4479, section 3.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Person {
    /// Identifies it within the document; empty where it was missing.
    pub id: String,
    /// Rich presence.
    pub rich: Rich,
    /// Notes on the person.
    pub notes: Vec<Note>,
    /// When this was stated.
    pub timestamp: Option<Moment>,
}

/// A device (RFC 4479, section 3.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Identifies it within the document; empty where it was missing.
    pub id: String,
    /// Names the device in the world.
    pub device_id: Option<String>,
    /// Rich presence.
    pub rich: Rich,
    /// Notes on the device.
    pub notes: Vec<Note>,
    /// When this was stated.
    pub timestamp: Option<Moment>,
}

/// Words for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Note {
    /// The words.
    pub text: String,
    /// Their language as in BCP 47; none where not given.
    pub lang: Option<String>,
}

impl Note {
    /// Words in no stated language.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), lang: None }
    }
}
