//! The contact list on the service: where it stands, and what two devices could not agree on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{address::Address, id::ConflictId, time::Timestamp};

/// Two edits of the same thing, one here and one elsewhere, that cannot both hold.
///
/// Meanwhile one of them does ([`shown`](Self::shown)): where both gave a new name, that of the other side, so that
/// every device shows the same; where one side removed what the other changed, it stays, so that nothing is lost.
/// [`KeepMine`](crate::command::Command::KeepMine) or [`KeepTheirs`](crate::command::Command::KeepTheirs) settles it; a
/// later edit of the same thing settles it as well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Conflict {
    /// Handle.
    pub id: ConflictId,
    /// What it is about.
    pub about: ConflictAbout,
    /// What was edited here; `None` when it was removed.
    pub mine: Option<Arc<str>>,
    /// What was edited elsewhere; `None` when it was removed.
    pub theirs: Option<Arc<str>>,
    /// Which of them holds until it is settled.
    pub shown: Side,
    /// When it was found.
    pub at: Timestamp,
}

/// What a conflict is about. The values on both sides are names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConflictAbout {
    /// The name of a contact, or whether there is one.
    Contact(Address),
    /// The name of a group, or whether there is one. Holds its name in the document.
    Group(Arc<str>),
}

/// One of two sides.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// This device.
    Mine,
    /// Whoever changed the document on the service.
    Theirs,
}
