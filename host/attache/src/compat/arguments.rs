//! Arguments that could be one thing or another.

use super::{Failure, MessengerContact, Result};
use crate::Address;

/// Longest name that a program may give, in characters, as it was documented.
const NAME: usize = 129;

/// Somebody: an address as text, or a contact.
#[derive(Clone, Debug)]
pub enum Person {
    /// Text that has to be an address.
    Name(String),
    /// A person who was found already.
    Address(Address),
}

impl Person {
    pub(super) fn address(&self) -> Result<Address> {
        match self {
            Self::Name(name) => address(name),
            Self::Address(address) => Ok(address.clone()),
        }
    }
}

impl From<&str> for Person {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<&MessengerContact> for Person {
    fn from(contact: &MessengerContact) -> Self {
        Self::Address(contact.address().clone())
    }
}

impl From<&Address> for Person {
    fn from(address: &Address) -> Self {
        Self::Address(address.clone())
    }
}

/// Reads a sign-in name.
pub(super) fn address(name: &str) -> Result<Address> {
    if name.is_empty() || name.starts_with(' ') || name.chars().count() > NAME {
        return Err(Failure::argument("a sign-in name has 1 to 129 characters, the first of them no blank"));
    }
    if name.chars().any(char::is_control) {
        return Err(Failure::argument("a sign-in name has no control characters"));
    }
    Ok(Address::parse(name)?)
}
