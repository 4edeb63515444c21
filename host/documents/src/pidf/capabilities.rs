//! What services and devices can do, RFC 5196.

use crate::{
    error::{DocumentError, Finding},
    pidf::{Note, rpid::note},
    xml::{Element, Xml},
};

/// What a service (section 3.2) or a device (section 3.3) can do. `priority` is not read: nothing here depends on it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// Streams of applications.
    pub application: Option<bool>,
    /// Audio.
    pub audio: Option<bool>,
    /// Nobody sits there: a machine answers.
    pub automata: Option<bool>,
    /// Streams of control.
    pub control: Option<bool>,
    /// Data.
    pub data: Option<bool>,
    /// It is a focus of a conference.
    pub is_focus: Option<bool>,
    /// Messages.
    pub message: Option<bool>,
    /// Text as it is typed.
    pub text: Option<bool>,
    /// Video.
    pub video: Option<bool>,
    /// Who answers: `principal`, `attendant`, `msg-taker`, `information`.
    pub actor: Choice,
    /// `business`, `personal`.
    pub class: Choice,
    /// `full`, `half`, `receive-only`, `send-only`.
    pub duplex: Choice,
    /// Event packages.
    pub event_packages: Choice,
    /// Extensions of SIP.
    pub extensions: Choice,
    /// Languages as in BCP 47.
    pub languages: Choice,
    /// Methods of SIP.
    pub methods: Choice,
    /// `fixed`, `mobile`.
    pub mobility: Choice,
    /// Schemes of addresses.
    pub schemes: Choice,
    /// Media types.
    pub types: Vec<String>,
    /// Words on it.
    pub descriptions: Vec<Note>,
}

/// What is supported, and what is not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choice {
    /// What is.
    pub supported: Vec<String>,
    /// What is not.
    pub not_supported: Vec<String>,
}

impl Choice {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.supported.is_empty() && self.not_supported.is_empty()
    }
}

impl Capabilities {
    /// Elements that say yes or no.
    pub(super) fn flags(&self) -> [(&'static str, Option<bool>); 9] {
        [
            ("application", self.application),
            ("audio", self.audio),
            ("automata", self.automata),
            ("control", self.control),
            ("data", self.data),
            ("isfocus", self.is_focus),
            ("message", self.message),
            ("text", self.text),
            ("video", self.video),
        ]
    }

    fn flag_mut(&mut self, name: &str) -> Option<&mut Option<bool>> {
        Some(match name {
            "application" => &mut self.application,
            "audio" => &mut self.audio,
            "automata" => &mut self.automata,
            "control" => &mut self.control,
            "data" => &mut self.data,
            "isfocus" => &mut self.is_focus,
            "message" => &mut self.message,
            "text" => &mut self.text,
            "video" => &mut self.video,
            _ => return None,
        })
    }

    /// Elements that list what is supported.
    pub(super) fn choices(&self) -> [(&'static str, &Choice); 9] {
        [
            ("actor", &self.actor),
            ("class", &self.class),
            ("duplex", &self.duplex),
            ("event-packages", &self.event_packages),
            ("extensions", &self.extensions),
            ("languages", &self.languages),
            ("methods", &self.methods),
            ("mobility", &self.mobility),
            ("schemes", &self.schemes),
        ]
    }

    fn choice_mut(&mut self, name: &str) -> Option<&mut Choice> {
        Some(match name {
            "actor" => &mut self.actor,
            "class" => &mut self.class,
            "duplex" => &mut self.duplex,
            "event-packages" => &mut self.event_packages,
            "extensions" => &mut self.extensions,
            "languages" => &mut self.languages,
            "methods" => &mut self.methods,
            "mobility" => &mut self.mobility,
            "schemes" => &mut self.schemes,
            _ => return None,
        })
    }
}

/// The element that holds a word of this list as text; in the other lists, the word is the element.
pub(super) fn text_element(list: &str) -> Option<&'static str> {
    match list {
        "languages" => Some("l"),
        "schemes" => Some("s"),
        _ => None,
    }
}

/// Whether a word can be an element.
pub(super) fn is_name(word: &str) -> bool {
    let starts = word.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Reads `servcaps` or `devcaps`.
pub(super) fn read(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Capabilities, DocumentError> {
    let mut read = Capabilities::default();
    while let Some(child) = xml.child(element)? {
        match child.name() {
            "description" => note(xml, &child, &mut read.descriptions)?,
            "type" => {
                let text = xml.text(&child)?;
                if !text.is_empty() && xml.room(read.types.len(), child.offset) {
                    read.types.push(text);
                }
            }
            name if read.flag_mut(name).is_some() => {
                let said = match xml.text(&child)?.as_str() {
                    "true" | "1" => Some(true),
                    "false" | "0" => Some(false),
                    _ => {
                        xml.forgive(child.offset, Finding::Value);
                        None
                    }
                };
                if let Some(flag) = read.flag_mut(child.name()) {
                    *flag = said;
                }
            }
            name if read.choice_mut(name).is_some() => {
                let said = choice(xml, &child)?;
                if let Some(choice) = read.choice_mut(child.name()) {
                    *choice = said;
                }
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(read)
}

fn choice(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Choice, DocumentError> {
    let mut choice = Choice::default();
    while let Some(side) = xml.child(element)? {
        let supported = match side.name() {
            "supported" => true,
            "notsupported" => false,
            _ => {
                xml.skip(&side)?;
                continue;
            }
        };
        while let Some(child) = xml.child(&side)? {
            let word = match text_element(element.name()) {
                Some(_) => xml.text(&child)?,
                None => child.name().to_owned(),
            };
            let into = if supported { &mut choice.supported } else { &mut choice.not_supported };
            if !word.is_empty() && !into.contains(&word) && xml.room(into.len(), child.offset) {
                into.push(word);
            }
        }
    }
    Ok(choice)
}
