//! Who may see what: common policy (RFC 4745) and presence rules (RFC 5025), with the conditions of OMA that other
//! servers know.
//!
//! A document has rules; each says when it applies and what it grants. [`evaluate()`] finds what one watcher is granted
//! by all of them, and [`transform()`] makes of a presence document what that watcher may see. Nothing is ever taken away
//! by a rule, so a rule that cannot be understood grants nothing. (OMA's "everybody else" is the one exception: whom a
//! further rule names is no longer among them.)
//!
//! ```
//! use attache_documents::policy::{self, Rule, Ruleset, SubHandling, Watcher};
//!
//! let mut rules = Ruleset::default();
//! rules.rules.push(Rule::for_people("friends", ["sip:bob@example.com"], SubHandling::Allow));
//! let bob = Watcher::new("sip:bob@example.com");
//! assert_eq!(policy::evaluate(&rules, &bob).handling, SubHandling::Allow);
//! assert_eq!(policy::evaluate(&rules, &Watcher::new("sip:eve@example.com")).handling, SubHandling::Block);
//! ```

mod evaluate;
mod index;
mod read;
#[cfg(test)]
mod tests;
mod transform;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use crate::dom::{Foreign, ForeignAttribute};
use crate::moment::Moment;

pub use evaluate::{
    Permissions, Selection, Watcher, canonical_identity, evaluate, evaluate_with, same_identity,
};
pub use index::Evaluator;
pub use read::read;
pub use transform::{offline, transform};
pub use write::write;

/// The media type of these documents.
pub const MEDIA_TYPE: &str = "application/auth-policy+xml";
/// The namespace of RFC 4745.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:common-policy";
/// The namespace of RFC 5025.
pub const PRES_RULES: &str = "urn:ietf:params:xml:ns:pres-rules";
/// The application usage of XCAP under which they are kept (RFC 5025, section 9.1).
pub const AUID: &str = "pres-rules";
/// The one of OMA.
pub const OMA_AUID: &str = "org.openmobilealliance.pres-rules";
/// Conditions of OMA.
pub(crate) const OMA: &str = "urn:oma:xml:xdm:common-policy";

/// A document: rules, whose order says nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ruleset {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// When something is granted, and what.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    /// Its name, which no other rule of the document has.
    pub id: String,
    /// All of them must hold; with none, the rule always applies.
    pub conditions: Vec<Condition>,
    /// What happens to a subscription (RFC 5025, section 3.2.1).
    pub handling: Option<SubHandling>,
    /// Other actions.
    pub foreign_actions: Vec<Foreign>,
    /// What is shown.
    pub transformations: Transformations,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// When a rule applies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// The watcher is one of these (RFC 4745, section 7.1). With none it holds for nobody.
    Identity(Vec<Who>),
    /// The person is in this part of life (RFC 4745, section 7.2).
    Sphere(String),
    /// The time is in one of these intervals, from the first moment and before the second (RFC 4745, section 7.3).
    Validity(Vec<(Moment, Moment)>),
    /// The watcher does not say who it is (OMA).
    Anonymous,
    /// The watcher is named by no other rule of the document (OMA).
    OtherIdentity,
    /// The watcher is in one of the lists to which these HTTP URIs lead (OMA).
    ExternalList(Vec<String>),
    /// Something else, which never holds here.
    Foreign(Foreign),
}

/// Whom an identity condition names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Who {
    /// One person, by address.
    One(String),
    /// Everybody who proved an address, or everybody of a domain, but for some.
    Many {
        /// The domain; everybody's where it is missing.
        domain: Option<String>,
        /// Who not.
        except: Vec<Except>,
    },
    /// Something else, which names nobody here.
    Foreign(Foreign),
}

/// Who is not among many.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Except {
    /// One person, by address.
    One(String),
    /// Everybody of a domain.
    Domain(String),
}

/// What happens to a subscription, least first.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SubHandling {
    /// It is refused.
    #[default]
    Block,
    /// It waits until the person has decided.
    Confirm,
    /// It is accepted, and the watcher sees somebody who is not there.
    PoliteBlock,
    /// It is accepted, and the watcher sees what the transformations grant.
    Allow,
}

impl SubHandling {
    /// The word of RFC 5025, section 3.2.1.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Confirm => "confirm",
            Self::PoliteBlock => "polite-block",
            Self::Allow => "allow",
        }
    }

    /// The value with that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Block, Self::Confirm, Self::PoliteBlock, Self::Allow]
            .into_iter()
            .find(|one| one.as_str() == word)
    }
}

/// What is shown (RFC 5025, section 3.3). What is not granted is not shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Transformations {
    /// Devices.
    pub devices: Option<Provide<DeviceSelector>>,
    /// Persons.
    pub persons: Option<Provide<PersonSelector>>,
    /// Services.
    pub services: Option<Provide<ServiceSelector>>,
    /// Elements of those, by kind.
    pub shown: BTreeMap<Attribute, bool>,
    /// How much of whether a device is used.
    pub user_input: Option<UserInputDetail>,
    /// Elements that RFC 5025 does not have, by namespace and name.
    pub unknown: BTreeMap<(String, String), bool>,
    /// Every element of whatever is shown.
    pub all_attributes: bool,
    /// Transformations that RFC 5025 does not have, or with values that it does not have.
    pub foreign: Vec<Foreign>,
}

/// Which of several are shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Provide<S> {
    /// All.
    All,
    /// Those that fit one of these.
    Some(BTreeSet<S>),
}

/// Fits devices (RFC 5025, section 3.3.1.1).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DeviceSelector {
    /// By the device's name in the world.
    DeviceId(String),
    /// By `id` in the document.
    OccurrenceId(String),
    /// By `class`.
    Class(String),
}

/// Fits persons (RFC 5025, section 3.3.1.2).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PersonSelector {
    /// By `id` in the document.
    OccurrenceId(String),
    /// By `class`.
    Class(String),
}

/// Fits services (RFC 5025, section 3.3.1.3).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ServiceSelector {
    /// By address.
    Uri(String),
    /// By the scheme of the address.
    UriScheme(String),
    /// By `id` in the document.
    OccurrenceId(String),
    /// By `class`.
    Class(String),
}

macro_rules! attributes {
    ($($variant:ident = $name:literal,)*) => {
        /// A kind of element that is shown or not (RFC 5025, sections 3.3.2.1 to 3.3.2.13).
        #[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Attribute {
            $(
                #[doc = concat!("`", $name, "`.")]
                $variant,
            )*
        }

        impl Attribute {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name of the element that grants it.
            #[must_use]
            pub const fn element(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The one that this element grants.
            #[must_use]
            pub fn from_element(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

attributes! {
    Activities = "provide-activities",
    Class = "provide-class",
    DeviceId = "provide-deviceID",
    Mood = "provide-mood",
    PlaceIs = "provide-place-is",
    PlaceType = "provide-place-type",
    Privacy = "provide-privacy",
    Relationship = "provide-relationship",
    Sphere = "provide-sphere",
    StatusIcon = "provide-status-icon",
    TimeOffset = "provide-time-offset",
    Note = "provide-note",
}

/// How much is shown of whether a device is used (RFC 5025, section 3.3.2.12), least first.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum UserInputDetail {
    /// Nothing.
    #[default]
    False,
    /// Whether it is used.
    Bare,
    /// After which time without input it counts as idle, too.
    Thresholds,
    /// When it was last used, too.
    Full,
}

impl UserInputDetail {
    /// The word of RFC 5025.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::Bare => "bare",
            Self::Thresholds => "thresholds",
            Self::Full => "full",
        }
    }

    /// The value with that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::False, Self::Bare, Self::Thresholds, Self::Full].into_iter().find(|one| one.as_str() == word)
    }
}

impl Transformations {
    /// Everything is shown.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            devices: Some(Provide::All),
            persons: Some(Provide::All),
            services: Some(Provide::All),
            all_attributes: true,
            ..Self::default()
        }
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Rule {
    /// A rule for these people. Who is allowed sees everything.
    pub fn for_people<U: Into<String>>(
        id: impl Into<String>,
        people: impl IntoIterator<Item = U>,
        handling: SubHandling,
    ) -> Self {
        let people = people.into_iter().map(|uri| Who::One(uri.into())).collect();
        Self::with(id, vec![Condition::Identity(people)], handling)
    }

    /// A rule for everybody of a domain.
    pub fn for_domain(id: impl Into<String>, domain: impl Into<String>, handling: SubHandling) -> Self {
        let many = Who::Many { domain: Some(domain.into()), except: Vec::new() };
        Self::with(id, vec![Condition::Identity(vec![many])], handling)
    }

    /// A rule for everybody who proved an address, but for these.
    pub fn for_everybody_but<U: Into<String>>(
        id: impl Into<String>,
        but: impl IntoIterator<Item = U>,
        handling: SubHandling,
    ) -> Self {
        let except = but.into_iter().map(|uri| Except::One(uri.into())).collect();
        Self::with(id, vec![Condition::Identity(vec![Who::Many { domain: None, except }])], handling)
    }

    fn with(id: impl Into<String>, conditions: Vec<Condition>, handling: SubHandling) -> Self {
        let transformations = match handling {
            SubHandling::Allow => Transformations::everything(),
            _ => Transformations::default(),
        };
        Self { id: id.into(), conditions, handling: Some(handling), transformations, ..Self::default() }
    }
}
