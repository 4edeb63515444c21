//! Rows of one name, and the values in them.

use super::{HeaderName, Message, Row};
use crate::text::Split;

/// The unsplit values of one name. See [`Message::headers`].
#[derive(Clone)]
pub struct Rows<'a> {
    text: &'a [u8],
    rows: std::slice::Iter<'a, Row>,
    name: HeaderName,
}

impl<'a> Rows<'a> {
    pub(super) fn new(message: &'a Message, name: HeaderName) -> Self {
        Self { text: &message.text, rows: message.rows.iter(), name }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let name = self.name;
        self.rows.find(|row| row.name == name).map(|row| row.value.of(self.text))
    }
}

/// The values of one name, lists split. See [`Message::values`].
#[derive(Clone)]
pub struct Values<'a> {
    rows: Rows<'a>,
    current: Option<Split<'a>>,
}

impl<'a> Values<'a> {
    pub(super) fn new(message: &'a Message, name: HeaderName) -> Self {
        Self { rows: Rows::new(message, name), current: None }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(split) = &mut self.current {
                match split.find(|value| !value.is_empty()) {
                    Some(value) => return Some(value),
                    None => self.current = None,
                }
            }
            let row = self.rows.next()?;
            if !self.rows.name.is_list() {
                return Some(row);
            }
            self.current = Some(Split::new(row, b','));
        }
    }
}
