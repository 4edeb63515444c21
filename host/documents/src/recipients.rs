//! Whom a request is for: a list of addresses that travels with it, and who of them sees the others (RFC 5363, RFC 5364).
//!
//! The same document tells a recipient who else has got a message (RFC 5365, section 7.3).

use crate::{
    dom::ForeignAttribute,
    error::DocumentError,
    limits::Limits,
    resource_lists::{self, DisplayName, Entry, List, Member, ResourceLists},
};

/// The media type.
pub const MEDIA_TYPE: &str = resource_lists::MEDIA_TYPE;
/// `Content-Disposition` of a list that a request brings along (RFC 5363, section 4.1).
pub const LIST: &str = "recipient-list";
/// `Content-Disposition` of a list that tells who else has got a message (RFC 5364, section 6).
pub const HISTORY: &str = "recipient-list-history";
/// The namespace of what is said of each address.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:copycontrol";

/// One address of a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recipient {
    /// The address.
    pub uri: String,
    /// Their name; empty for none.
    pub display_name: String,
    /// In which role they get it.
    pub copy: Copy,
    /// Whether the others learn that somebody is there, and not who.
    pub anonymous: bool,
}

/// In which role somebody gets a request (RFC 5364, section 4).
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Copy {
    /// It is for them.
    #[default]
    To,
    /// They are let know.
    Cc,
    /// They are let know, and nobody learns of it.
    Bcc,
}

impl Copy {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::Cc => "cc",
            Self::Bcc => "bcc",
        }
    }
}

/// Reads a list, lists within it as well, at most `limits.entries` addresses. References to lists elsewhere are passed
/// over.
///
/// # Errors
/// [`DocumentError`]: not well-formed, or larger than the limits. Half a list is none: nobody is left out silently.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Vec<Recipient>, DocumentError> {
    let document = resource_lists::read(bytes, limits)?;
    let mut recipients = Vec::new();
    for list in &document.lists {
        collect(list, limits, &mut recipients)?;
    }
    Ok(recipients)
}

fn collect(list: &List, limits: &Limits, recipients: &mut Vec<Recipient>) -> Result<(), DocumentError> {
    for member in &list.members {
        match member {
            // Bounded by the depth of the document.
            Member::List(list) => collect(list, limits, recipients)?,
            Member::Entry(entry) => {
                if recipients.len() >= limits.entries {
                    return Err(DocumentError::TooLarge { what: "recipients", limit: limits.entries });
                }
                recipients.push(recipient(entry));
            }
            Member::EntryRef(_) | Member::External(_) => {}
        }
    }
    Ok(())
}

fn recipient(entry: &Entry) -> Recipient {
    let said = |name: &str| {
        let mut known = entry.attributes.iter();
        let found = known.find(|attribute| attribute.namespace == NAMESPACE && attribute.name == name);
        found.map(|attribute| attribute.value.trim())
    };
    Recipient {
        uri: entry.uri.clone(),
        display_name: entry.display_name.as_ref().map(|name| name.text.clone()).unwrap_or_default(),
        copy: match said("copyControl") {
            Some("cc") => Copy::Cc,
            Some("bcc") => Copy::Bcc,
            _ => Copy::To,
        },
        anonymous: matches!(said("anonymize"), Some("true" | "1")),
    }
}

/// Writes a list.
#[must_use]
pub fn write(recipients: &[Recipient]) -> String {
    let attribute = |name: &str, value: &str| ForeignAttribute {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let members = recipients
        .iter()
        .map(|recipient| {
            let mut attributes = vec![attribute("copyControl", recipient.copy.name())];
            if recipient.anonymous {
                attributes.push(attribute("anonymize", "true"));
            }
            let named = !recipient.display_name.is_empty();
            Member::Entry(Entry {
                uri: recipient.uri.clone(),
                display_name: named.then(|| DisplayName::new(recipient.display_name.clone())),
                attributes,
                ..Entry::default()
            })
        })
        .collect();
    let list = List { members, ..List::default() };
    resource_lists::write(&ResourceLists { lists: vec![list], ..ResourceLists::default() })
}

/// What the recipients themselves may see of a list: nobody in secret, and no name of whoever is not to be named (RFC
/// 5364, section 5).
#[must_use]
pub fn visible(recipients: &[Recipient]) -> Vec<Recipient> {
    recipients
        .iter()
        .filter(|recipient| recipient.copy != Copy::Bcc)
        .map(|recipient| match recipient.anonymous {
            false => recipient.clone(),
            true => Recipient {
                uri: "sip:anonymous@anonymous.invalid".to_owned(),
                display_name: String::new(),
                ..recipient.clone()
            },
        })
        .collect()
}
