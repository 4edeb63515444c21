//! Reading rules.

use std::collections::BTreeSet;

use crate::dom::{Dom, Element, boolean};
use crate::error::DocumentError;
use crate::limits::Limits;
use crate::resource_lists::missing;

use super::{
    Attribute, Condition, DeviceSelector, Except, NAMESPACE, OMA, PRES_RULES, PersonSelector, Provide, Rule,
    Ruleset, ServiceSelector, SubHandling, Transformations, UserInputDetail, Who,
};

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, no such document, or exceeds a limit. What is not understood is kept as it is.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Ruleset, DocumentError> {
    let dom = Dom::read(bytes, limits)?;
    let root = dom.root_of(NAMESPACE, "ruleset", "`ruleset` of RFC 4745")?;
    let mut ruleset = Ruleset { attributes: root.other_attributes(&[]), ..Ruleset::default() };
    for child in root.children() {
        if child.is(NAMESPACE, "rule") {
            ruleset.rules.push(rule(child)?);
        } else {
            ruleset.foreign.push(child.foreign());
        }
    }
    dom.check()?;
    Ok(ruleset)
}

fn rule(element: Element<'_>) -> Result<Rule, DocumentError> {
    let id = element.attribute("id").ok_or_else(|| missing(element, "id"))?.to_owned();
    let mut rule = Rule { id, attributes: element.other_attributes(&["id"]), ..Rule::default() };
    for part in element.children() {
        match part.name() {
            _ if part.namespace() != NAMESPACE => rule.foreign.push(part.foreign()),
            "conditions" => rule.conditions.extend(part.children().map(condition)),
            "actions" => {
                for action in part.children() {
                    let known = action.is(PRES_RULES, "sub-handling");
                    match SubHandling::from_word(action.text()).filter(|_| known && rule.handling.is_none()) {
                        Some(handling) => rule.handling = Some(handling),
                        None => rule.foreign_actions.push(action.foreign()),
                    }
                }
            }
            "transformations" => {
                for child in part.children() {
                    transformation(child, &mut rule.transformations);
                }
            }
            _ => rule.foreign.push(part.foreign()),
        }
    }
    Ok(rule)
}

fn condition(element: Element<'_>) -> Condition {
    let known = match (element.namespace(), element.name()) {
        (NAMESPACE, "identity") => Some(Condition::Identity(element.children().map(who).collect())),
        // RFC 4745, section 7.2 has an attribute, its schema's own example a text.
        (NAMESPACE, "sphere") => {
            let value = element.attribute("value").unwrap_or_else(|| element.text());
            Some(Condition::Sphere(value.to_owned()))
        }
        (NAMESPACE, "validity") => validity(element).map(Condition::Validity),
        (OMA, "anonymous-request") => Some(Condition::Anonymous),
        (OMA, "other-identity") => Some(Condition::OtherIdentity),
        (OMA, "external-list") => {
            let anchors = element.children().map(|entry| entry.attribute("anc").map(str::to_owned));
            anchors.collect::<Option<_>>().map(Condition::ExternalList)
        }
        _ => None,
    };
    known.unwrap_or_else(|| Condition::Foreign(element.foreign()))
}

fn who(element: Element<'_>) -> Who {
    let foreign = || Who::Foreign(element.foreign());
    match (element.namespace(), element.name()) {
        // What stands in it narrows it in a way that is not known here.
        (NAMESPACE, "one") if element.children().next().is_none() => {
            element.attribute("id").map_or_else(foreign, |id| Who::One(id.to_owned()))
        }
        (NAMESPACE, "many") => {
            let except = element.children().map(|child| {
                if !child.is(NAMESPACE, "except") {
                    return None;
                }
                match (child.attribute("id"), child.attribute("domain")) {
                    (Some(id), None) => Some(Except::One(id.to_owned())),
                    (None, Some(domain)) => Some(Except::Domain(domain.to_owned())),
                    _ => None,
                }
            });
            let domain = element.attribute("domain").map(str::to_owned);
            except.collect::<Option<_>>().map_or_else(foreign, |except| Who::Many { domain, except })
        }
        _ => foreign(),
    }
}

fn validity(element: Element<'_>) -> Option<Vec<(crate::Moment, crate::Moment)>> {
    let parts: Vec<_> = element.children().collect();
    let pairs = parts.chunks(2).map(|pair| match pair {
        [from, until] if from.is(NAMESPACE, "from") && until.is(NAMESPACE, "until") => {
            Some((from.text().parse().ok()?, until.text().parse().ok()?))
        }
        _ => None,
    });
    pairs.collect()
}

fn transformation(element: Element<'_>, into: &mut Transformations) {
    if !understood(element, into) {
        into.foreign.push(element.foreign());
    }
}

/// Whether the element was one of RFC 5025, with a value of RFC 5025, and the first of its kind.
fn understood(element: Element<'_>, into: &mut Transformations) -> bool {
    if element.namespace() != PRES_RULES {
        return false;
    }
    if let Some(attribute) = Attribute::from_element(element.name()) {
        let value = boolean(element.text());
        return value.map(|value| *into.shown.entry(attribute).or_default() |= value).is_some();
    }
    match element.name() {
        "provide-devices" => set(&mut into.devices, provide(element, "all-devices", device)),
        "provide-persons" => set(&mut into.persons, provide(element, "all-persons", person)),
        "provide-services" => set(&mut into.services, provide(element, "all-services", service)),
        "provide-user-input" => set(&mut into.user_input, UserInputDetail::from_word(element.text())),
        "provide-all-attributes" => {
            into.all_attributes = true;
            true
        }
        "provide-unknown-attribute" => {
            let (namespace, name) = (element.attribute("ns"), element.attribute("name"));
            match (namespace, name, boolean(element.text())) {
                (Some(namespace), Some(name), Some(value)) => {
                    *into.unknown.entry((namespace.to_owned(), name.to_owned())).or_default() |= value;
                    true
                }
                _ => false,
            }
        }
        _ => false,
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let may = place.is_none() && value.is_some();
    if may {
        *place = value;
    }
    may
}

/// Selectors of one kind in one rule. One with more is kept, and grants nothing by them.
const MOST_SELECTORS: usize = 256;

fn provide<S: Ord>(
    element: Element<'_>,
    all: &str,
    selector: fn(&str, &str) -> Option<S>,
) -> Option<Provide<S>> {
    if element.child(PRES_RULES, all).is_some() {
        return (element.children().count() == 1).then_some(Provide::All);
    }
    if element.children().count() > MOST_SELECTORS {
        return None;
    }
    let some = element.children().map(|child| {
        let ours = child.namespace() == PRES_RULES;
        selector(child.name(), child.text()).filter(|_| ours)
    });
    some.collect::<Option<BTreeSet<S>>>().map(Provide::Some)
}

fn device(name: &str, text: &str) -> Option<DeviceSelector> {
    let text = text.to_owned();
    match name {
        "deviceID" => Some(DeviceSelector::DeviceId(text)),
        "occurrence-id" => Some(DeviceSelector::OccurrenceId(text)),
        "class" => Some(DeviceSelector::Class(text)),
        _ => None,
    }
}

fn person(name: &str, text: &str) -> Option<PersonSelector> {
    let text = text.to_owned();
    match name {
        "occurrence-id" => Some(PersonSelector::OccurrenceId(text)),
        "class" => Some(PersonSelector::Class(text)),
        _ => None,
    }
}

fn service(name: &str, text: &str) -> Option<ServiceSelector> {
    let text = text.to_owned();
    match name {
        "service-uri" => Some(ServiceSelector::Uri(text)),
        "service-uri-scheme" => Some(ServiceSelector::UriScheme(text)),
        "occurrence-id" => Some(ServiceSelector::OccurrenceId(text)),
        "class" => Some(ServiceSelector::Class(text)),
        _ => None,
    }
}
