//! What a registrar's answer says of our own binding.

use crate::message::{HeaderName, Message, NameAddr};
use crate::uri::Uri;

/// Our own binding among those that the registrar lists (RFC 3261 §10.2.4): by instance and number of the flow where those were sent, for the
/// registrar may have rewritten the address; else by the address.
pub(super) fn own_binding<'a>(
    answer: &'a Message,
    own: &str,
    instance: Option<&str>,
    reg_id: Option<u32>,
) -> Option<NameAddr<'a>> {
    let contacts = || answer.values(HeaderName::Contact).filter_map(NameAddr::parse);
    let labelled = instance.zip(reg_id).and_then(|(instance, reg_id)| {
        contacts().find(|contact| {
            is_instance(contact, instance)
                && contact.params().get_str("reg-id").and_then(|number| number.parse().ok()) == Some(reg_id)
        })
    });
    labelled.or_else(|| {
        let own = Uri::parse_str(own).ok()?;
        contacts().find(|contact| contact.uri().is_ok_and(|uri| uri.equivalent(&own)))
    })
}

/// A GRUU of our instance (RFC 5627 §4.2): `pub-gruu` or `temp-gruu`.
pub(super) fn own_gruu(answer: &Message, instance: Option<&str>, name: &str) -> Option<String> {
    let instance = instance?;
    answer
        .values(HeaderName::Contact)
        .filter_map(NameAddr::parse)
        .find(|contact| is_instance(contact, instance))
        .and_then(|contact| contact.params().get_str(name).map(|gruu| gruu.trim_matches('"').to_owned()))
        // It goes into headers of ours.
        .filter(|gruu| Uri::parse_str(gruu).is_ok())
}

fn is_instance(contact: &NameAddr<'_>, instance: &str) -> bool {
    contact.params().get_str("+sip.instance").is_some_and(|value| {
        let value = value.trim_matches('"').trim_start_matches('<').trim_end_matches('>');
        value.eq_ignore_ascii_case(instance)
    })
}

pub(super) fn texts(answer: &Message, name: HeaderName) -> Vec<String> {
    answer.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
