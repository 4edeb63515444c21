//! Presence documents: PIDF (RFC 3863) with the data model (RFC 4479), rich presence (RFC 4480), timed status (RFC
//! 4481), contact information (RFC 4482) and capabilities (RFC 5196).
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

mod capabilities;
mod read;
mod rpid;
mod write;

pub use capabilities::{Capabilities, Choice};
pub use read::read;
pub(crate) use read::thousandths;
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
    /// What the service can do (RFC 5196).
    pub capabilities: Option<Box<Capabilities>>,
    /// What it was and will be (RFC 4481).
    pub timed: Vec<TimedStatus>,
    /// Who can be reached there (RFC 4482).
    pub card: Card,
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
    /// Who it is (RFC 4482).
    pub card: Card,
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
    /// What the device can do (RFC 5196).
    pub capabilities: Option<Box<Capabilities>>,
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

/// A status for a time that is over or still to come (RFC 4481).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TimedStatus {
    /// From then; none where it was missing or cannot be read, and then it says nothing.
    pub from: Option<Moment>,
    /// Until then; none where that is open.
    pub until: Option<Moment>,
    /// Whether the service is open for communication then.
    pub basic: Option<Basic>,
    /// Rich presence.
    pub rich: Rich,
    /// Words on it.
    pub notes: Vec<Note>,
}

/// Who a person is, and where more can be found (RFC 4482). Addresses are as they were sent: whoever fetches them tells the
/// sender that somebody looks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Card {
    /// The name that the person goes by.
    pub display_name: Option<String>,
    /// Address of a business card.
    pub card: Option<String>,
    /// Address of a page.
    pub homepage: Option<String>,
    /// Address of a picture.
    pub icon: Option<String>,
    /// Address of a map.
    pub map: Option<String>,
    /// Address of a sound.
    pub sound: Option<String>,
}

impl Card {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The elements of RFC 4482, in its order, with what is said.
    pub(crate) fn parts(&self) -> [(&'static str, &Option<String>); 6] {
        [
            ("card", &self.card),
            ("display-name", &self.display_name),
            ("homepage", &self.homepage),
            ("icon", &self.icon),
            ("map", &self.map),
            ("sound", &self.sound),
        ]
    }

    pub(crate) fn part_mut(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "card" => &mut self.card,
            "display-name" => &mut self.display_name,
            "homepage" => &mut self.homepage,
            "icon" => &mut self.icon,
            "map" => &mut self.map,
            "sound" => &mut self.sound,
            _ => return None,
        })
    }
}
