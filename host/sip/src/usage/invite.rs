//! Sessions that INVITE begins (RFC 3261 §12 to §15).

mod event;
mod params;

pub use event::{CallError, EndedBy, Incoming, InviteEvent};
pub use params::{AnswerMode, Body, DialogName, InviteParams, Reason, Reliability};

/// Whether and how an agent makes and takes sessions.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct InviteSettings {
    /// The most sessions at once. With zero, which is the default, INVITE and REFER are answered with 405, and none can be made.
    pub max: usize,
    /// How long a session lives without a refresh, in seconds (RFC 4028): 90 at least, or zero for no such limit. 1800 by default.
    pub session_expires: u32,
    /// The shortest such time that is accepted of others, in seconds. 90 by default.
    pub min_se: u32,
    /// Whether sessions can be mixed, so that `Join` (RFC 3911) is something to offer. False by default.
    pub join: bool,
    /// The types of bodies that are understood in sessions. `application/sdp` by default.
    pub accept: Vec<String>,
}

impl Default for InviteSettings {
    fn default() -> Self {
        Self {
            max: 0,
            session_expires: 1800,
            min_se: 90,
            join: false,
            accept: vec!["application/sdp".to_owned()],
        }
    }
}

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
