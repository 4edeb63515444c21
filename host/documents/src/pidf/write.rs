//! The writer.

use core::fmt::Write as _;

use crate::{
    moment::Moment,
    pidf::{
        Activity, Basic, Capabilities, Card, Document, Note, Rich, TimedStatus, UserInputState, Valid, Words,
        capabilities,
        rpid::{MOODS, PLACE_IS, PLACES, PRIVACY, RELATIONSHIPS, SERVICE_CLASSES, SPHERES},
    },
    xml::{CAPS, CIPID, DATA_MODEL, PIDF, RPID, TIMED, escape_into},
};

/// Writes a presence document in UTF-8.
///
/// Element order is that of the schemas. Characters that XML cannot hold are left out; everything else reads back as
/// it was, apart from blanks around texts.
#[must_use]
pub fn write(document: &Document) -> String {
    let mut xml = Writer { out: String::with_capacity(768) };
    xml.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence");
    xml.attribute("xmlns", PIDF);
    xml.attribute("xmlns:dm", DATA_MODEL);
    xml.attribute("xmlns:rpid", RPID);
    xml.attribute("entity", &document.entity);
    xml.raw(">");
    for tuple in &document.tuples {
        xml.raw("<tuple");
        xml.attribute("id", &tuple.id);
        xml.raw("><status>");
        if let Some(basic) = tuple.basic {
            xml.element("basic", if basic == Basic::Open { "open" } else { "closed" });
        }
        xml.raw("</status>");
        xml.rich(&tuple.rich);
        tuple.timed.iter().for_each(|timed| xml.timed(timed));
        if let Some(capabilities) = &tuple.capabilities {
            xml.capabilities("servcaps", capabilities);
        }
        xml.card(&tuple.card);
        if let Some(device) = &tuple.device_id {
            xml.element("dm:deviceID", device);
        }
        if let Some(contact) = &tuple.contact {
            xml.raw("<contact");
            if let Some(priority) = contact.priority {
                xml.attribute("priority", &format!("{}.{:03}", priority / 1000, priority % 1000));
            }
            xml.raw(">");
            xml.text(&contact.uri);
            xml.raw("</contact>");
        }
        xml.notes("note", &tuple.notes);
        xml.timestamp("timestamp", tuple.timestamp);
        xml.raw("</tuple>");
    }
    xml.notes("note", &document.notes);
    for person in &document.persons {
        xml.raw("<dm:person");
        xml.attribute("id", &person.id);
        xml.raw(">");
        xml.rich(&person.rich);
        xml.card(&person.card);
        xml.notes("dm:note", &person.notes);
        xml.timestamp("dm:timestamp", person.timestamp);
        xml.raw("</dm:person>");
    }
    for device in &document.devices {
        xml.raw("<dm:device");
        xml.attribute("id", &device.id);
        xml.raw(">");
        xml.rich(&device.rich);
        if let Some(capabilities) = &device.capabilities {
            xml.capabilities("devcaps", capabilities);
        }
        if let Some(id) = &device.device_id {
            xml.element("dm:deviceID", id);
        }
        xml.notes("dm:note", &device.notes);
        xml.timestamp("dm:timestamp", device.timestamp);
        xml.raw("</dm:device>");
    }
    xml.raw("</presence>\n");
    xml.out
}

struct Writer {
    out: String,
}

impl Writer {
    fn raw(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn text(&mut self, text: &str) {
        escape_into(&mut self.out, text);
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let _ = write!(self.out, " {name}=\"");
        escape_into(&mut self.out, value);
        self.out.push('"');
    }

    fn element(&mut self, name: &str, text: &str) {
        let _ = write!(self.out, "<{name}>");
        self.text(text);
        let _ = write!(self.out, "</{name}>");
    }

    fn notes(&mut self, name: &str, notes: &[Note]) {
        for note in notes {
            let _ = write!(self.out, "<{name}");
            if let Some(lang) = &note.lang {
                self.attribute("xml:lang", lang);
            }
            self.raw(">");
            self.text(&note.text);
            let _ = write!(self.out, "</{name}>");
        }
    }

    fn timestamp(&mut self, name: &str, at: Option<Moment>) {
        if let Some(at) = at {
            let _ = write!(self.out, "<{name}>{at}</{name}>");
        }
    }

    fn open(&mut self, name: &str, valid: Valid) {
        let _ = write!(self.out, "<rpid:{name}");
        for (bound, at) in [("from", valid.from), ("until", valid.until)] {
            if let Some(at) = at {
                self.attribute(bound, &at.to_string());
            }
        }
        self.raw(">");
    }

    fn rich(&mut self, rich: &Rich) {
        let activities = &rich.activities;
        if *activities != crate::pidf::Activities::default() {
            self.open("activities", activities.valid);
            self.notes("rpid:note", &activities.notes);
            for activity in &activities.list {
                match activity {
                    Activity::Other(word) => self.element("rpid:other", word),
                    defined => {
                        let _ = write!(self.out, "<rpid:{}/>", defined.name());
                    }
                }
            }
            self.raw("</rpid:activities>");
        }
        if let Some(class) = &rich.class {
            self.element("rpid:class", class);
        }
        self.words("mood", &rich.mood, MOODS);
        self.place_is(&rich.place_is);
        self.words("place-type", &rich.place_type, PLACES);
        self.words("privacy", &rich.privacy, PRIVACY);
        self.words("relationship", &rich.relationship, RELATIONSHIPS);
        self.words("service-class", &rich.service_class, SERVICE_CLASSES);
        self.words("sphere", &rich.sphere, SPHERES);
        if let Some(icon) = &rich.status_icon {
            self.open("status-icon", rich.status_icon_valid);
            self.text(icon);
            self.raw("</rpid:status-icon>");
        }
        if let Some(minutes) = rich.time_offset {
            self.open("time-offset", rich.time_offset_valid);
            let _ = write!(self.out, "{minutes}</rpid:time-offset>");
        }
        if let Some(input) = &rich.user_input {
            self.raw("<rpid:user-input");
            if let Some(threshold) = input.idle_threshold {
                self.attribute("idle-threshold", &threshold.to_string());
            }
            if let Some(last) = input.last_input {
                self.attribute("last-input", &last.to_string());
            }
            let state = if input.state == UserInputState::Active { "active" } else { "idle" };
            let _ = write!(self.out, ">{state}</rpid:user-input>");
        }
    }

    fn place_is(&mut self, words: &Words) {
        if *words == Words::default() {
            return;
        }
        self.open("place-is", words.valid);
        self.notes("rpid:note", &words.notes);
        for (medium, vocabulary) in PLACE_IS {
            let said = |word: &&String| word.split_once(':').is_some_and(|(known, _)| known == *medium);
            for word in words.list.iter().filter(said) {
                let word = &word[medium.len() + 1..];
                let _ = write!(self.out, "<rpid:{medium}>");
                if vocabulary.contains(&word) {
                    let _ = write!(self.out, "<rpid:{word}/>");
                } else {
                    self.element("rpid:other", word);
                }
                let _ = write!(self.out, "</rpid:{medium}>");
            }
        }
        self.raw("</rpid:place-is>");
    }

    fn timed(&mut self, timed: &TimedStatus) {
        self.raw("<ts:timed-status");
        self.attribute("xmlns:ts", TIMED);
        for (bound, at) in [("from", timed.from), ("until", timed.until)] {
            if let Some(at) = at {
                self.attribute(bound, &at.to_string());
            }
        }
        self.raw(">");
        if let Some(basic) = timed.basic {
            self.element("ts:basic", if basic == Basic::Open { "open" } else { "closed" });
        }
        self.rich(&timed.rich);
        self.notes("ts:note", &timed.notes);
        self.raw("</ts:timed-status>");
    }

    fn card(&mut self, card: &Card) {
        for (name, value) in card.parts() {
            let Some(value) = value else { continue };
            let _ = write!(self.out, "<c:{name} xmlns:c=\"{CIPID}\">");
            self.text(value);
            let _ = write!(self.out, "</c:{name}>");
        }
    }

    fn capabilities(&mut self, name: &str, capabilities: &Capabilities) {
        let _ = write!(self.out, "<caps:{name} xmlns:caps=\"{CAPS}\">");
        for (name, value) in capabilities.flags() {
            if let Some(value) = value {
                let _ = write!(self.out, "<caps:{name}>{value}</caps:{name}>");
            }
        }
        for (name, choice) in capabilities.choices() {
            if choice.is_empty() {
                continue;
            }
            let _ = write!(self.out, "<caps:{name}>");
            for (side, words) in [("supported", &choice.supported), ("notsupported", &choice.not_supported)] {
                if words.is_empty() {
                    continue;
                }
                let _ = write!(self.out, "<caps:{side}>");
                for word in words {
                    match capabilities::text_element(name) {
                        Some(element) => self.element(&format!("caps:{element}"), word),
                        None if capabilities::is_name(word) => {
                            let _ = write!(self.out, "<caps:{word}/>");
                        }
                        None => {}
                    }
                }
                let _ = write!(self.out, "</caps:{side}>");
            }
            let _ = write!(self.out, "</caps:{name}>");
        }
        for media_type in &capabilities.types {
            self.element("caps:type", media_type);
        }
        self.notes("caps:description", &capabilities.descriptions);
        let _ = write!(self.out, "</caps:{name}>");
    }

    fn words(&mut self, name: &str, words: &Words, vocabulary: &[&str]) {
        if *words == Words::default() {
            return;
        }
        self.open(name, words.valid);
        self.notes("rpid:note", &words.notes);
        for word in &words.list {
            if !vocabulary.contains(&word.as_str()) {
                self.element("rpid:other", word);
            } else if name == "place-type" {
                let _ = write!(self.out, "<{word} xmlns=\"urn:ietf:params:xml:ns:location-type\"/>");
            } else {
                let _ = write!(self.out, "<rpid:{word}/>");
            }
        }
        let _ = write!(self.out, "</rpid:{name}>");
    }
}
