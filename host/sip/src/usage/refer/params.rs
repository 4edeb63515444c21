//! What a REFER says.

use std::fmt;
use std::time::Duration;

use crate::agent::{Cause, IncomingReferId, InviteId};
use crate::message::{HeaderName, Message, NameAddr};
use crate::transport::Flow;
use crate::uri::UriBuf;
use crate::usage::{Body, DialogName};

/// Who is asked to do something.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum ReferTarget {
    /// The peer of a session, in its dialog.
    Within(InviteId),
    /// An address, out of any dialog.
    Address(UriBuf),
}

/// A REFER to be sent (RFC 3515): somebody is asked to call somebody else. [`ReferParams::new`] has the usual values.
#[derive(Clone, Eq, PartialEq)]
pub struct ReferParams {
    /// Who is asked.
    pub to: ReferTarget,
    /// What to do: the URI that is to be called, perhaps with `method`.
    pub refer_to: String,
    /// Our session whose place the new one shall take at its other end: attended transfer (RFC 5589). It becomes `Replaces` in the URI.
    pub replaces: Option<InviteId>,
    /// The value of Referred-By (RFC 3892); `None` names the account.
    pub referred_by: Option<String>,
    /// Whether progress is wanted. Without it, no subscription is made where the peer can do so (RFC 4488).
    pub subscription: bool,
    /// Our session that the peer may know us by (RFC 4538), for a REFER out of dialog.
    pub target_dialog: Option<InviteId>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// A list of those who are to be called, with `Refer-To` naming it as `cid:…` (RFC 5368). `Require: multiple-refer` is added.
    pub body: Option<Body>,
}

impl ReferParams {
    /// Asks somebody to call a URI, and to tell how that goes.
    pub fn new(to: ReferTarget, refer_to: impl Into<String>) -> Self {
        Self {
            to,
            refer_to: refer_to.into(),
            replaces: None,
            referred_by: None,
            subscription: true,
            target_dialog: None,
            headers: Vec::new(),
            body: None,
        }
    }
}

impl fmt::Debug for ReferParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferParams")
            .field("to", &self.to)
            .field("refer_to", &self.refer_to)
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}

/// What became of a REFER that we sent. [`Failed`](Self::Failed) and [`Ended`](Self::Ended) are final.
#[derive(Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub enum ReferEvent {
    /// The peer will try. Without a subscription, this is the last that is heard of it, and [`Ended`](Self::Ended) follows at once.
    Accepted {
        /// 202, or 200.
        status: u16,
        /// Whether progress will be told (RFC 4488).
        subscribed: bool,
    },
    /// What the peer tells of its call: the status line of the last answer to it (RFC 3515 §2.4.5).
    Progress {
        /// The status, 100 to 699.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// The peer refused.
    Failed {
        /// Why.
        cause: Cause,
        /// When it says that it is worth another try.
        retry: Option<Duration>,
    },
    /// Nothing more is told.
    Ended {
        /// The last status of the peer's call, when it was final. `None` when the peer stopped telling before.
        status: Option<u16>,
        /// The reason of the end, such as `noresource`; empty when none was given.
        reason: String,
    },
}

/// A REFER that came: somebody asks us to call somebody.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReferRequest {
    /// Answer it with [`accept_refer`](crate::agent::Agent::accept_refer) or [`reject_refer`](crate::agent::Agent::reject_refer).
    pub id: IncomingReferId,
    /// The session in whose dialog it came.
    pub within: Option<InviteId>,
    /// Our session that the sender has proved to know (RFC 4538).
    pub target_dialog: Option<InviteId>,
    /// What to do.
    pub refer_to: ReferTo,
    /// Who refers us, as it stands in Referred-By; give it on in the call.
    pub referred_by: Option<String>,
    /// Whether the sender wants to be told of progress.
    pub subscription: bool,
    /// The whole request.
    pub message: Message,
    /// Where it came from.
    pub flow: Flow,
}

/// The value of Refer-To, taken apart (RFC 3515 §2.1).
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ReferTo {
    /// The URI without its headers and its method.
    pub uri: String,
    /// The method; `INVITE` where none is named.
    pub method: String,
    /// The dialog that the new call shall take the place of.
    pub replaces: Option<DialogName>,
    /// The other headers of the URI, escapes undone. They come from a stranger: put none of them into a request without knowing it.
    pub headers: Vec<(String, String)>,
}

impl ReferTo {
    /// Reads the header of a REFER.
    pub fn of(message: &Message) -> Option<Self> {
        Self::parse(message.header(HeaderName::ReferTo)?)
    }

    /// Reads a value. `None` when it is malformed.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let address = NameAddr::parse(value)?;
        let uri = address.uri().ok()?;
        let text = std::str::from_utf8(address.uri_bytes()).ok()?;
        let bare = text.split('?').next().unwrap_or(text);
        let method = uri.param("method").map_or_else(|| "INVITE".to_owned(), str::to_owned);
        let bare: Vec<&str> = bare
            .split(';')
            .filter(|part| !part.get(..7).is_some_and(|name| name.eq_ignore_ascii_case("method=")))
            .collect();
        let mut found = Self { uri: bare.join(";"), method, replaces: None, headers: Vec::new() };
        for (name, value) in uri.header_pairs().take(32) {
            let (name, value) = (unescaped(name)?, unescaped(value)?);
            if name.eq_ignore_ascii_case("Replaces") {
                found.replaces = Some(DialogName::parse(value.as_bytes())?);
            } else {
                found.headers.push((name, value));
            }
        }
        Some(found)
    }
}

/// Undoes the escapes of a URI.
fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16).map(|digit| digit as u8);
            out.push(digit(bytes.next())? << 4 | digit(bytes.next())?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// A value as a header of a URI (RFC 3261 §25.1, `hvalue`): everything else is escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/?:+$".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refer_to_is_taken_apart() {
        let name = DialogName {
            call_id: "a84b4c76e66710@pc33".into(),
            to_tag: "1928301774".into(),
            from_tag: "a6c85cf".into(),
            early_only: false,
        };
        let value = format!(
            "<sip:dave@denver.example.org;method=INVITE;transport=tcp?Replaces={}&Accept-Contact=%2a>",
            escaped(&name.to_string())
        );
        let found = ReferTo::parse(value.as_bytes()).unwrap();
        assert_eq!(found.uri, "sip:dave@denver.example.org;transport=tcp");
        assert_eq!(found.method, "INVITE");
        assert_eq!(found.replaces, Some(name));
        assert_eq!(found.headers, [("Accept-Contact".to_owned(), "*".to_owned())]);
        for bad in ["", "<>", "<sip:a@b?Replaces=x>", "<sip:a@b?x=%4>"] {
            assert_eq!(ReferTo::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
