//! Why a change of a document was refused: bodies of 409 (RFC 4825, section 11).

use crate::dom::{Dom, Element, Foreign, Writer};
use crate::error::DocumentError;
use crate::limits::Limits;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:xcap-error";

/// Why a change was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct XcapError {
    /// The reason.
    pub conflict: Conflict,
    /// Words for people.
    pub phrase: Option<String>,
}

/// The reasons of RFC 4825, section 11.1.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Conflict {
    /// The body of a whole document was not well-formed.
    NotWellFormed,
    /// The body of an element was not well-formed.
    NotXmlFrag,
    /// What would hold the new thing does not exist.
    NoParent {
        /// The nearest thing above that exists, if any.
        ancestor: Option<String>,
    },
    /// The document would break its schema.
    SchemaValidation,
    /// The body cannot be the value of an attribute.
    NotXmlAttValue,
    /// The request would insert something that the same URI would not lead to.
    CannotInsert,
    /// After the deletion, the same URI would lead to something else.
    CannotDelete,
    /// Something that has to be unique would not be.
    Uniqueness(Vec<Exists>),
    /// Another rule of the application usage would be broken.
    Constraint,
    /// The body is not UTF-8.
    NotUtf8,
    /// A reason of somebody else.
    Extension(Vec<Foreign>),
}

/// What exists already.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exists {
    /// Where it stands in the document.
    pub field: String,
    /// Values that are free.
    pub alternatives: Vec<String>,
}

impl From<Conflict> for XcapError {
    fn from(conflict: Conflict) -> Self {
        Self { conflict, phrase: None }
    }
}

impl Conflict {
    /// The same with words for people.
    #[must_use]
    pub fn because(self, phrase: impl Into<String>) -> XcapError {
        XcapError { conflict: self, phrase: Some(phrase.into()) }
    }

    const fn element(&self) -> &'static str {
        match self {
            Self::NotWellFormed => "not-well-formed",
            Self::NotXmlFrag => "not-xml-frag",
            Self::NoParent { .. } => "no-parent",
            Self::SchemaValidation => "schema-validation-error",
            Self::NotXmlAttValue => "not-xml-att-value",
            Self::CannotInsert => "cannot-insert",
            Self::CannotDelete => "cannot-delete",
            Self::Uniqueness(_) => "uniqueness-failure",
            Self::Constraint => "constraint-failure",
            Self::NotUtf8 => "not-utf-8",
            Self::Extension(_) => "extension",
        }
    }
}

/// Reads the body of an answer with status 409.
///
/// # Errors
/// When it is not well-formed, no such document, or exceeds a limit.
pub fn read_error(bytes: &[u8], limits: &Limits) -> Result<XcapError, DocumentError> {
    let dom = Dom::read(bytes, limits)?;
    let root = dom.root_of(NAMESPACE, "xcap-error", "`xcap-error`")?;
    let reason = root
        .children()
        .next()
        .ok_or(DocumentError::WrongRoot { root: "xcap-error".into(), expected: "one with a reason" })?;
    let conflict = match reason.name() {
        "not-well-formed" => Conflict::NotWellFormed,
        "not-xml-frag" => Conflict::NotXmlFrag,
        "no-parent" => {
            let ancestor = reason.child(NAMESPACE, "ancestor").map(|ancestor| ancestor.text().to_owned());
            Conflict::NoParent { ancestor }
        }
        "schema-validation-error" => Conflict::SchemaValidation,
        "not-xml-att-value" => Conflict::NotXmlAttValue,
        "cannot-insert" => Conflict::CannotInsert,
        "cannot-delete" => Conflict::CannotDelete,
        "uniqueness-failure" => {
            let all = reason.children().filter(|child| child.is(NAMESPACE, "exists")).map(|exists| {
                let values = exists.children().filter(|child| child.is(NAMESPACE, "alt-value"));
                Exists {
                    field: exists.attribute("field").unwrap_or_default().to_owned(),
                    alternatives: values.map(|value| value.text().to_owned()).collect(),
                }
            });
            Conflict::Uniqueness(all.collect())
        }
        "constraint-failure" => Conflict::Constraint,
        "not-utf-8" => Conflict::NotUtf8,
        "extension" => Conflict::Extension(reason.children().map(Element::foreign).collect()),
        _ => Conflict::Extension(vec![reason.foreign()]),
    };
    dom.check()?;
    Ok(XcapError { conflict, phrase: reason.attribute("phrase").map(str::to_owned) })
}

/// Writes the body of an answer with status 409.
#[must_use]
pub fn write_error(error: &XcapError) -> String {
    let mut writer = Writer::new();
    writer.tag("xcap-error").attribute("xmlns", NAMESPACE).open();
    let name = error.conflict.element();
    writer.tag(name).optional("phrase", error.phrase.as_deref());
    match &error.conflict {
        Conflict::NoParent { ancestor: Some(ancestor) } => {
            writer.open();
            writer.leaf("ancestor", ancestor);
            writer.close(name);
        }
        Conflict::Uniqueness(all) => {
            writer.open();
            for exists in all {
                writer.tag("exists").attribute("field", &exists.field).open();
                for value in &exists.alternatives {
                    writer.leaf("alt-value", value);
                }
                writer.close("exists");
            }
            writer.close(name);
        }
        Conflict::Extension(all) => {
            writer.open();
            writer.foreign(all);
            writer.close(name);
        }
        _ => writer.empty(),
    }
    writer.close("xcap-error");
    writer.out
}
