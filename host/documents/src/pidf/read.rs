//! The reader.

use crate::{
    error::{DocumentError, Finding, Parsed},
    limits::Limits,
    pidf::{
        Basic, Card, Contact, Device, Document, Person, TimedStatus, Tuple, capabilities,
        rpid::{self, Rich, moment, note, valid},
    },
    xml::{Element, Ns, Xml, decode},
};

/// Reads a presence document.
///
/// Unknown elements and attributes are skipped, whatever their namespace. Elements of RFC 4480 are taken at the
/// person, the service, the device, and also inside `status`, where the drafts had them.
///
/// # Errors
/// When it is not well-formed XML, holds a document type declaration, exceeds a limit, or is another document.
/// Takes time linear in the length.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<Document>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if root.name() != "presence" || !matches!(root.ns, Ns::Pidf | Ns::None) {
        return Err(DocumentError::WrongRoot {
            root: crate::xml::cut(root.name(), 64).to_owned(),
            expected: "a presence document of RFC 3863",
        });
    }
    let entity = required(&mut xml, &root, "entity");
    let mut document = Document { entity, ..Document::default() };
    while let Some(child) = xml.child(&root)? {
        match (child.ns, child.name()) {
            (Ns::Pidf | Ns::None, "tuple") => {
                let tuple = tuple(&mut xml, &child)?;
                if xml.room(document.tuples.len(), child.offset) {
                    document.tuples.push(tuple);
                }
            }
            (Ns::DataModel | Ns::Pidf | Ns::None, "person") => {
                let person = person(&mut xml, &child)?;
                if xml.room(document.persons.len(), child.offset) {
                    document.persons.push(person);
                }
            }
            (Ns::DataModel | Ns::Pidf | Ns::None, "device") => {
                let device = device(&mut xml, &child)?;
                if xml.room(document.devices.len(), child.offset) {
                    document.devices.push(device);
                }
            }
            (Ns::Pidf | Ns::DataModel | Ns::Rpid | Ns::None, "note") => {
                note(&mut xml, &child, &mut document.notes)?;
            }
            // Statements on the whole are statements on the person.
            (Ns::Rpid, _) => {
                let mut rich = Rich::default();
                if rpid::read(&mut xml, &child, &mut rich)? && xml.room(document.persons.len(), child.offset)
                {
                    xml.forgive(child.offset, Finding::Place);
                    document.persons.push(Person { rich, ..Person::default() });
                }
            }
            _ => xml.skip(&child)?,
        }
    }
    xml.finish()?;
    Ok(Parsed { document, forgiven: xml.into_forgiven() })
}

fn tuple(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Tuple, DocumentError> {
    let mut tuple = Tuple { id: required(xml, element, "id"), ..Tuple::default() };
    while let Some(child) = xml.child(element)? {
        match (child.ns, child.name()) {
            (Ns::Pidf | Ns::None, "status") => {
                tuple.basic = status(xml, &child, &mut tuple.rich)?.or(tuple.basic);
            }
            // Senders exist that leave `status` out.
            (Ns::Pidf | Ns::None, "basic") => {
                xml.forgive(child.offset, Finding::Place);
                tuple.basic = basic(xml, &child)?.or(tuple.basic);
            }
            (Ns::Pidf | Ns::None, "contact") => {
                let priority = xml.attribute(&child, "priority");
                let priority = priority.and_then(|text| {
                    let read = thousandths(&text);
                    if read.is_none() {
                        xml.forgive(child.offset, Finding::Value);
                    }
                    read
                });
                let uri = xml.text(&child)?;
                tuple.contact = Some(Contact { uri, priority });
            }
            (Ns::Pidf | Ns::DataModel | Ns::Rpid | Ns::None, "note") => note(xml, &child, &mut tuple.notes)?,
            (Ns::Pidf | Ns::DataModel | Ns::None, "timestamp") => {
                let text = xml.text(&child)?;
                tuple.timestamp = moment(xml, &child, Some(text));
            }
            (Ns::DataModel, "deviceID") => tuple.device_id = Some(xml.text(&child)?),
            (Ns::Caps | Ns::None, "servcaps") => {
                tuple.capabilities = Some(Box::new(capabilities::read(xml, &child)?));
            }
            (Ns::Timed, "timed-status") => {
                let timed = timed_status(xml, &child)?;
                if xml.room(tuple.timed.len(), child.offset) {
                    tuple.timed.push(timed);
                }
            }
            (Ns::Cipid, name) => card(xml, &child, name, &mut tuple.card)?,
            (Ns::Rpid | Ns::None, _) if rpid::read(xml, &child, &mut tuple.rich)? => {}
            _ => xml.skip(&child)?,
        }
    }
    Ok(tuple)
}

fn status(xml: &mut Xml<'_>, element: &Element<'_>, rich: &mut Rich) -> Result<Option<Basic>, DocumentError> {
    let mut value = None;
    while let Some(child) = xml.child(element)? {
        match (child.ns, child.name()) {
            (Ns::Pidf | Ns::None, "basic") => value = basic(xml, &child)?.or(value),
            (Ns::Rpid | Ns::None, _) if rpid::read(xml, &child, rich)? => {
                xml.forgive(child.offset, Finding::Place);
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(value)
}

fn basic(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Option<Basic>, DocumentError> {
    let text = xml.text(element)?;
    if text.eq_ignore_ascii_case("open") {
        Ok(Some(Basic::Open))
    } else if text.eq_ignore_ascii_case("closed") {
        Ok(Some(Basic::Closed))
    } else {
        xml.forgive(element.offset, Finding::Value);
        Ok(None)
    }
}

/// What person and device share.
struct Parts {
    id: String,
    rich: Rich,
    notes: Vec<crate::pidf::Note>,
    timestamp: Option<crate::Moment>,
    device_id: Option<String>,
    card: Card,
    capabilities: Option<Box<crate::pidf::Capabilities>>,
}

fn person(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Person, DocumentError> {
    let Parts { id, rich, notes, timestamp, card, .. } = parts(xml, element)?;
    Ok(Person { id, rich, card, notes, timestamp })
}

fn device(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Device, DocumentError> {
    let Parts { id, rich, notes, timestamp, device_id, capabilities, .. } = parts(xml, element)?;
    Ok(Device { id, device_id, rich, capabilities, notes, timestamp })
}

fn parts(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Parts, DocumentError> {
    let id = required(xml, element, "id");
    let mut parts = Parts {
        id,
        rich: Rich::default(),
        notes: Vec::new(),
        timestamp: None,
        device_id: None,
        card: Card::default(),
        capabilities: None,
    };
    while let Some(child) = xml.child(element)? {
        match (child.ns, child.name()) {
            (Ns::Pidf | Ns::DataModel | Ns::Rpid | Ns::None, "note") => note(xml, &child, &mut parts.notes)?,
            (Ns::Pidf | Ns::DataModel | Ns::None, "timestamp") => {
                let text = xml.text(&child)?;
                parts.timestamp = moment(xml, &child, Some(text));
            }
            (Ns::DataModel, "deviceID") => parts.device_id = Some(xml.text(&child)?),
            (Ns::Caps | Ns::None, "devcaps" | "servcaps") => {
                parts.capabilities = Some(Box::new(capabilities::read(xml, &child)?));
            }
            (Ns::Cipid, name) => card(xml, &child, name, &mut parts.card)?,
            (Ns::Rpid | Ns::None, _) if rpid::read(xml, &child, &mut parts.rich)? => {}
            // chan_sip has `<status>` between person and activities, as the drafts had.
            (_, "status") => {
                status(xml, &child, &mut parts.rich)?;
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(parts)
}

fn timed_status(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<TimedStatus, DocumentError> {
    let during = valid(xml, element);
    let mut timed = TimedStatus { from: during.from, until: during.until, ..TimedStatus::default() };
    if timed.from.is_none() {
        xml.forgive(element.offset, Finding::Attribute);
    }
    while let Some(child) = xml.child(element)? {
        match (child.ns, child.name()) {
            (Ns::Timed | Ns::Pidf | Ns::None, "basic") => {
                timed.basic = basic(xml, &child)?.or(timed.basic);
            }
            (Ns::Timed | Ns::Pidf | Ns::DataModel | Ns::Rpid | Ns::None, "note") => {
                note(xml, &child, &mut timed.notes)?;
            }
            (Ns::Rpid | Ns::None, _) if rpid::read(xml, &child, &mut timed.rich)? => {}
            _ => xml.skip(&child)?,
        }
    }
    Ok(timed)
}

fn card(xml: &mut Xml<'_>, element: &Element<'_>, name: &str, into: &mut Card) -> Result<(), DocumentError> {
    match into.part_mut(name) {
        Some(part) => {
            let text = xml.text(element)?;
            if !text.is_empty() {
                *part = Some(text);
            }
            Ok(())
        }
        None => xml.skip(element),
    }
}

fn required(xml: &mut Xml<'_>, element: &Element<'_>, name: &str) -> String {
    xml.attribute(element, name).unwrap_or_else(|| {
        xml.forgive(element.offset, Finding::Attribute);
        String::new()
    })
}

/// `0.8` as 800; RFC 3863 has three decimals at most and a range from 0 to 1.
pub(crate) fn thousandths(text: &str) -> Option<u16> {
    let text = text.trim();
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && rest.is_empty()) || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits =
        rest.bytes().chain(*b"000").take(3).fold(0_u16, |sum, byte| sum * 10 + u16::from(byte - b'0'));
    let value = whole.checked_mul(1000)?.checked_add(digits)?;
    (value <= 1000).then_some(value)
}
