//! What others may know of a dialog.

use super::DialogName;

/// What is known of the dialog of a session, such as another device, or a dialog document, wants to know.
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub struct DialogFacts {
    /// The Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty while nobody has answered.
    pub remote_tag: String,
    /// Where requests within the dialog go: the peer's Contact.
    pub remote_target: String,
    /// Who the peer is, as a name-addr without a tag.
    pub remote: String,
    /// Whether it is early: not accepted yet.
    pub early: bool,
    /// Whether we called.
    pub caller: bool,
}

impl DialogFacts {
    /// The name of the dialog for the peer: what another one of us says to it in Replaces.
    pub fn name_for_peer(&self) -> DialogName {
        DialogName {
            call_id: self.call_id.clone(),
            to_tag: self.remote_tag.clone(),
            from_tag: self.local_tag.clone(),
            early_only: false,
        }
    }
}
