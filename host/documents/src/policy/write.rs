//! Writing rules.

use crate::dom::Writer;

use super::{
    Condition, DeviceSelector, Except, NAMESPACE, OMA, PRES_RULES, PersonSelector, Provide, Rule, Ruleset,
    ServiceSelector, Transformations, Who,
};

/// Writes a document. [`read`](super::read()) gives it back as it is.
#[must_use]
pub fn write(ruleset: &Ruleset) -> String {
    let mut writer = Writer::new();
    let tag = writer.tag("ruleset").attribute("xmlns", NAMESPACE).attribute("xmlns:pr", PRES_RULES);
    tag.foreign_attributes(&ruleset.attributes).open();
    for rule in &ruleset.rules {
        write_rule(&mut writer, rule);
    }
    writer.foreign(&ruleset.foreign);
    writer.close("ruleset");
    writer.out
}

fn write_rule(writer: &mut Writer, rule: &Rule) {
    writer.tag("rule").attribute("id", &rule.id).foreign_attributes(&rule.attributes).open();
    if !rule.conditions.is_empty() {
        writer.tag("conditions").open();
        for condition in &rule.conditions {
            write_condition(writer, condition);
        }
        writer.close("conditions");
    }
    if rule.handling.is_some() || !rule.foreign_actions.is_empty() {
        writer.tag("actions").open();
        if let Some(handling) = rule.handling {
            writer.leaf("pr:sub-handling", handling.as_str());
        }
        writer.foreign(&rule.foreign_actions);
        writer.close("actions");
    }
    if !rule.transformations.is_empty() {
        write_transformations(writer, &rule.transformations);
    }
    writer.foreign(&rule.foreign);
    writer.close("rule");
}

fn write_condition(writer: &mut Writer, condition: &Condition) {
    match condition {
        Condition::Identity(all) => {
            writer.tag("identity").open();
            for who in all {
                write_who(writer, who);
            }
            writer.close("identity");
        }
        Condition::Sphere(value) => writer.tag("sphere").attribute("value", value).empty(),
        Condition::Validity(intervals) => {
            writer.tag("validity").open();
            for (from, until) in intervals {
                writer.leaf("from", &from.to_string());
                writer.leaf("until", &until.to_string());
            }
            writer.close("validity");
        }
        Condition::Anonymous => writer.tag("anonymous-request").attribute("xmlns", OMA).empty(),
        Condition::OtherIdentity => writer.tag("other-identity").attribute("xmlns", OMA).empty(),
        Condition::ExternalList(anchors) => {
            writer.tag("external-list").attribute("xmlns", OMA).open();
            for anchor in anchors {
                writer.tag("entry").attribute("anc", anchor).empty();
            }
            writer.close("external-list");
        }
        Condition::Foreign(foreign) => writer.foreign(std::slice::from_ref(foreign)),
    }
}

fn write_who(writer: &mut Writer, who: &Who) {
    match who {
        Who::One(id) => writer.tag("one").attribute("id", id).empty(),
        Who::Many { domain, except } => {
            writer.tag("many").optional("domain", domain.as_deref());
            if except.is_empty() {
                writer.empty();
                return;
            }
            writer.open();
            for one in except {
                match one {
                    Except::One(id) => writer.tag("except").attribute("id", id).empty(),
                    Except::Domain(domain) => writer.tag("except").attribute("domain", domain).empty(),
                }
            }
            writer.close("many");
        }
        Who::Foreign(foreign) => writer.foreign(std::slice::from_ref(foreign)),
    }
}

fn write_transformations(writer: &mut Writer, what: &Transformations) {
    writer.tag("transformations").open();
    write_provide(writer, "devices", what.devices.as_ref(), |selector| match selector {
        DeviceSelector::DeviceId(text) => ("pr:deviceID", text),
        DeviceSelector::OccurrenceId(text) => ("pr:occurrence-id", text),
        DeviceSelector::Class(text) => ("pr:class", text),
    });
    write_provide(writer, "persons", what.persons.as_ref(), |selector| match selector {
        PersonSelector::OccurrenceId(text) => ("pr:occurrence-id", text),
        PersonSelector::Class(text) => ("pr:class", text),
    });
    write_provide(writer, "services", what.services.as_ref(), |selector| match selector {
        ServiceSelector::Uri(text) => ("pr:service-uri", text),
        ServiceSelector::UriScheme(text) => ("pr:service-uri-scheme", text),
        ServiceSelector::OccurrenceId(text) => ("pr:occurrence-id", text),
        ServiceSelector::Class(text) => ("pr:class", text),
    });
    for (attribute, is_shown) in &what.shown {
        writer.leaf(&format!("pr:{}", attribute.element()), if *is_shown { "true" } else { "false" });
    }
    if let Some(detail) = what.user_input {
        writer.leaf("pr:provide-user-input", detail.as_str());
    }
    for ((namespace, name), is_shown) in &what.unknown {
        let tag = writer.tag("pr:provide-unknown-attribute");
        tag.attribute("ns", namespace).attribute("name", name).open();
        writer.text(if *is_shown { "true" } else { "false" });
        writer.close("pr:provide-unknown-attribute");
    }
    if what.all_attributes {
        writer.tag("pr:provide-all-attributes").empty();
    }
    writer.foreign(&what.foreign);
    writer.close("transformations");
}

fn write_provide<S>(
    writer: &mut Writer,
    kind: &str,
    provide: Option<&Provide<S>>,
    element: fn(&S) -> (&'static str, &String),
) {
    let Some(provide) = provide else { return };
    let name = format!("pr:provide-{kind}");
    writer.tag(&name).open();
    match provide {
        Provide::All => writer.tag(&format!("pr:all-{kind}")).empty(),
        Provide::Some(selectors) => {
            for selector in selectors {
                let (name, text) = element(selector);
                writer.leaf(name, text);
            }
        }
    }
    writer.close(&name);
}
