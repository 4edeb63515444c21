//! The records of presence, as they are in the store.
//!
//! Fields are only ever added, with a default: an older file must be readable, and one of a later version should be. What
//! cannot be read is passed over; it is asked for anew.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

/// What was last known of one person.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct PersonRecord<'a> {
    /// Until then it was true for certain, in milliseconds since 1970.
    pub(super) at: u64,
    /// Since when what was shown held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<u64>,
    /// Whether the service's list told it, whose tag then stands for it too.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(super) listed: bool,
    /// The tag of the person's own subscription (RFC 5839).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) says: Says<'a>,
}

/// What the service said.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Says<'a> {
    /// Documents, each with the number of its source.
    #[serde(borrow)]
    Documents(Vec<(u32, Cow<'a, str>)>),
    /// Nothing is published.
    Nothing,
    Denied,
    Pending,
    NotFound,
    Other(Cow<'a, str>),
}

/// What the records of people have in common.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Until then everything in the store was true for certain.
    pub(super) alive: u64,
    /// The service's list and the tag of its state, where all that it said is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) list: Option<(String, String)>,
}

/// Who was on the service's list, and on lists in it.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::engine) struct ListRecord {
    /// The list that holds all others.
    pub(in crate::engine) root: Option<String>,
    /// By address.
    pub(in crate::engine) lists: BTreeMap<String, LevelRecord>,
}

/// One list.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::engine) struct LevelRecord {
    /// People, sorted.
    pub(in crate::engine) members: Vec<String>,
    /// Lists in it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::engine) children: Vec<String>,
}
