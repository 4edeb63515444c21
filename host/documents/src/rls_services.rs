//! Which addresses stand for lists: `rls-services` (RFC 4826, section 4).

use crate::dom::{Dom, Foreign, ForeignAttribute, Writer};
use crate::error::DocumentError;
use crate::limits::Limits;
use crate::resource_lists::{self, List, missing};

/// The media type of these documents.
pub const MEDIA_TYPE: &str = "application/rls-services+xml";
/// Their namespace.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:rls-services";
/// The application usage of XCAP under which they are kept (RFC 4826, section 4.4.1).
pub const AUID: &str = "rls-services";

/// A document: services, each an address that stands for a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RlsServices {
    /// The services, in order.
    pub services: Vec<Service>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// An address that stands for a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// The address, which is to be subscribed to. No other service on the server has it.
    pub uri: String,
    /// What it stands for.
    pub members: Members,
    /// The event packages with which it can be used; `None` where the element is missing, which means all.
    pub packages: Option<Vec<String>>,
    /// Elements that the schema does not have.
    pub foreign: Vec<Foreign>,
    /// Attributes that the schema does not have.
    pub attributes: Vec<ForeignAttribute>,
}

/// What a service stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Members {
    /// The list to which this absolute HTTP URI leads: a `list` element of a `resource-lists` document.
    Reference(String),
    /// A list of its own.
    List(List),
}

impl Service {
    /// A service for the presence of the members of a list elsewhere.
    #[must_use]
    pub fn presence(uri: impl Into<String>, list: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            members: Members::Reference(list.into()),
            packages: Some(vec!["presence".into()]),
            foreign: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Whether it can be used with an event package.
    #[must_use]
    pub fn has_package(&self, package: &str) -> bool {
        self.packages.as_ref().is_none_or(|all| all.iter().any(|one| one == package))
    }
}

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, no such document, or exceeds a limit. Nothing is left out silently.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<RlsServices, DocumentError> {
    let dom = Dom::read(bytes, limits)?;
    let root = dom.root_of(NAMESPACE, "rls-services", "`rls-services`")?;
    let mut document = RlsServices { attributes: root.other_attributes(&[]), ..RlsServices::default() };
    for child in root.children() {
        if !child.is(NAMESPACE, "service") {
            document.foreign.push(child.foreign());
            continue;
        }
        let uri = child.attribute("uri").ok_or_else(|| missing(child, "uri"))?.to_owned();
        let (mut members, mut packages, mut foreign) = (None, None, Vec::new());
        for part in child.children() {
            match part.name() {
                _ if part.namespace() != NAMESPACE => foreign.push(part.foreign()),
                "resource-list" if members.is_none() => {
                    members = Some(Members::Reference(part.text().to_owned()));
                }
                "list" if members.is_none() => members = Some(Members::List(resource_lists::list(part)?)),
                "packages" if packages.is_none() => {
                    let all = part.children().filter(|one| one.is(NAMESPACE, "package"));
                    packages = Some(all.map(|one| one.text().to_owned()).collect());
                }
                _ => foreign.push(part.foreign()),
            }
        }
        let members = members.ok_or_else(|| DocumentError::Malformed {
            offset: child.offset(),
            what: "`service` with neither `resource-list` nor `list`".into(),
        })?;
        let attributes = child.other_attributes(&["uri"]);
        document.services.push(Service { uri, members, packages, foreign, attributes });
    }
    dom.check()?;
    Ok(document)
}

/// Writes a document. [`read`] gives it back as it is.
#[must_use]
pub fn write(document: &RlsServices) -> String {
    const PREFIX: &str = "r";
    let mut writer = Writer::new();
    // The default namespace is that of lists, whose members stand below.
    let name = |local: &str| format!("{PREFIX}:{local}");
    let tag = writer.tag(&name("rls-services")).attribute("xmlns:r", NAMESPACE);
    tag.attribute("xmlns", resource_lists::NAMESPACE).foreign_attributes(&document.attributes).open();
    for service in &document.services {
        let tag = writer.tag(&name("service")).attribute("uri", &service.uri);
        tag.foreign_attributes(&service.attributes).open();
        match &service.members {
            Members::Reference(uri) => writer.leaf(&name("resource-list"), uri),
            Members::List(list) => resource_lists::write_list(&mut writer, &name("list"), list),
        }
        if let Some(packages) = &service.packages {
            writer.tag(&name("packages")).open();
            for package in packages {
                writer.leaf(&name("package"), package);
            }
            writer.close(&name("packages"));
        }
        writer.foreign(&service.foreign);
        writer.close(&name("service"));
    }
    writer.foreign(&document.foreign);
    writer.close(&name("rls-services"));
    writer.out
}
