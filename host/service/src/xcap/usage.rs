//! The application usages: which documents may be kept, and what must hold of them.

use std::collections::{BTreeSet, HashSet};

use attache_documents::resource_lists::{self, List, Member};
use attache_documents::xcap::{CAPS_AUID, Capabilities, Conflict, Exists, HARD_STATE_AUID, XcapError};
use attache_documents::{DocumentError, Limits, pidf, policy, rls_services};
use attache_sip::uri::Uri;

use crate::directory::identity;

/// Directories of a user's documents (OMA XDM, section 5.3).
pub(crate) const DIRECTORY_AUID: &str = "org.openmobilealliance.xcap-directory";

/// A kind of documents that can be kept.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Usage {
    /// Contact lists (RFC 4826, section 3.4).
    ResourceLists,
    /// Addresses that stand for lists (RFC 4826, section 4.4).
    RlsServices,
    /// Presence rules (RFC 5025, section 9), by the name of the IETF or of OMA.
    PresRules,
    /// Hard state of presence (RFC 4827).
    HardState,
}

impl Usage {
    pub(crate) fn of(auid: &str) -> Option<Self> {
        Some(match auid {
            resource_lists::AUID => Self::ResourceLists,
            rls_services::AUID => Self::RlsServices,
            policy::AUID | policy::OMA_AUID => Self::PresRules,
            HARD_STATE_AUID => Self::HardState,
            _ => return None,
        })
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::ResourceLists => resource_lists::MEDIA_TYPE,
            Self::RlsServices => rls_services::MEDIA_TYPE,
            Self::PresRules => policy::MEDIA_TYPE,
            Self::HardState => pidf::MEDIA_TYPE,
        }
    }

    /// What names without a prefix mean in selectors (RFC 4825, section 6.4).
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::ResourceLists => resource_lists::NAMESPACE,
            Self::RlsServices => rls_services::NAMESPACE,
            Self::PresRules => policy::NAMESPACE,
            Self::HardState => "urn:ietf:params:xml:ns:pidf",
        }
    }
}

/// What the service can do.
pub(crate) fn capabilities() -> Capabilities {
    let auids = [
        CAPS_AUID,
        resource_lists::AUID,
        rls_services::AUID,
        policy::AUID,
        policy::OMA_AUID,
        HARD_STATE_AUID,
        DIRECTORY_AUID,
    ];
    let namespaces = [
        "urn:ietf:params:xml:ns:xcap-caps",
        "urn:ietf:params:xml:ns:xcap-error",
        resource_lists::NAMESPACE,
        rls_services::NAMESPACE,
        policy::NAMESPACE,
        policy::PRES_RULES,
        "urn:ietf:params:xml:ns:pidf",
    ];
    let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    Capabilities { auids: owned(&auids), extensions: Vec::new(), namespaces: owned(&namespaces) }
}

/// What a document must not collide with.
pub(crate) struct Surroundings<'a> {
    /// `user@domain` of the owner.
    pub(crate) owner: &'a str,
    /// Whether an address, in canonical spelling, is a user's, or no address of this service.
    pub(crate) is_taken: &'a dyn Fn(&str) -> bool,
    /// The addresses that other documents make stand for lists, in canonical spelling.
    pub(crate) services: &'a dyn Fn(&str) -> bool,
    /// Lists of one user.
    pub(crate) most_services: usize,
}

/// What a document states that is felt elsewhere.
#[derive(Default)]
pub(crate) struct Stated {
    pub(crate) presence: Option<pidf::Document>,
    /// Addresses that stand for lists, in canonical spelling.
    pub(crate) services: BTreeSet<String>,
}

/// Reads a document, and checks what its schema and its application usage demand. Returns what it states.
pub(crate) fn check(
    usage: Usage,
    bytes: &[u8],
    limits: &Limits,
    around: &Surroundings<'_>,
) -> Result<Stated, XcapError> {
    let invalid = |error: DocumentError| Conflict::SchemaValidation.because(error.to_string());
    match usage {
        Usage::ResourceLists => {
            let document = resource_lists::read(bytes, limits).map_err(invalid)?;
            let mut names = Unique::default();
            for (number, list) in document.lists.iter().enumerate() {
                let path = format!("resource-lists/list[{}]", number + 1);
                if let Some(name) = &list.name {
                    names.add("name", name, &path);
                }
                check_list(list, &path, &mut names)?;
            }
            names.finish()?;
            Ok(Stated::default())
        }
        Usage::RlsServices => {
            let document = rls_services::read(bytes, limits).map_err(invalid)?;
            if document.services.len() > around.most_services {
                return Err(Conflict::Constraint.because("there are more services than a user may have"));
            }
            let mut services = BTreeSet::new();
            let mut unique = Unique::default();
            for (number, service) in document.services.iter().enumerate() {
                let path = format!("rls-services/service[{}]", number + 1);
                let Some(address) = Uri::parse_str(&service.uri).ok().and_then(|uri| identity(&uri)) else {
                    return Err(Conflict::Constraint.because("the address of a service is no SIP address"));
                };
                if (around.is_taken)(&address) {
                    return Err(Conflict::Constraint.because("a service cannot have this address"));
                }
                if (around.services)(&address) {
                    let field = format!("{path}/@uri");
                    return Err(Conflict::Uniqueness(vec![Exists { field, alternatives: Vec::new() }]).into());
                }
                unique.add("uri", &address, &path);
                services.insert(address);
                match &service.members {
                    rls_services::Members::Reference(uri) => absolute(uri)?,
                    rls_services::Members::List(list) => {
                        check_list(list, &format!("{path}/list"), &mut unique)?;
                    }
                }
            }
            unique.finish()?;
            Ok(Stated { services, ..Stated::default() })
        }
        Usage::PresRules => {
            let document = policy::read(bytes, limits).map_err(invalid)?;
            let mut unique = Unique::default();
            for (number, rule) in document.rules.iter().enumerate() {
                unique.add("id", &rule.id, &format!("ruleset/rule[{}]", number + 1));
            }
            unique.finish()?;
            Ok(Stated::default())
        }
        Usage::HardState => {
            let document = pidf::read(bytes, limits).map_err(invalid)?.document;
            let about = Uri::parse_str(&document.entity).ok().and_then(|uri| identity(&uri));
            if about.as_deref() != Some(around.owner) {
                return Err(Conflict::Constraint.because("the entity must be the user's own address"));
            }
            Ok(Stated { presence: Some(document), ..Stated::default() })
        }
    }
}

/// Values that must differ, with where they stand.
#[derive(Default)]
struct Unique {
    seen: HashSet<String>,
    twice: Vec<Exists>,
}

impl Unique {
    fn add(&mut self, attribute: &str, value: &str, path: &str) {
        // The path of the element above is part of what must differ.
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let kind = path[above.len()..].split('[').next().unwrap_or_default();
        if !self.seen.insert(format!("{above}\n{kind}\n{value}")) && self.twice.len() < 16 {
            let field = format!("{path}/@{attribute}");
            self.twice.push(Exists { field, alternatives: Vec::new() });
        }
    }

    fn finish(self) -> Result<(), XcapError> {
        if self.twice.is_empty() { Ok(()) } else { Err(Conflict::Uniqueness(self.twice).into()) }
    }
}

/// What RFC 4826, section 3.4.5 demands of a list.
fn check_list(list: &List, path: &str, unique: &mut Unique) -> Result<(), XcapError> {
    let mut numbers = [0_usize; 4];
    let mut next = |kind: usize| {
        numbers[kind] += 1;
        numbers[kind]
    };
    for member in &list.members {
        match member {
            Member::List(inner) => {
                let path = format!("{path}/list[{}]", next(0));
                if let Some(name) = &inner.name {
                    unique.add("name", name, &path);
                }
                check_list(inner, &path, unique)?;
            }
            Member::Entry(entry) => {
                if !entry.uri.contains(':') || entry.uri.contains(char::is_whitespace) {
                    return Err(Conflict::SchemaValidation.because("the `uri` of an entry is no address"));
                }
                unique.add("uri", &entry.uri, &format!("{path}/entry[{}]", next(1)));
            }
            Member::EntryRef(entry) => {
                if entry.reference.starts_with('/') || entry.reference.contains("://") {
                    return Err(Conflict::Constraint.because("the `ref` of an entry is relative to the root"));
                }
                unique.add("ref", &entry.reference, &format!("{path}/entry-ref[{}]", next(2)));
            }
            Member::External(external) => {
                absolute(&external.anchor)?;
                unique.add("anchor", &external.anchor, &format!("{path}/external[{}]", next(3)));
            }
        }
    }
    Ok(())
}

fn absolute(uri: &str) -> Result<(), XcapError> {
    let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
    if scheme
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
    {
        return Ok(());
    }
    Err(Conflict::Constraint.because("a reference to a list is an absolute HTTP address"))
}
