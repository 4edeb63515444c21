//! What a session is asked for with.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::message::Message;
use crate::text::{Params, Split, is_token, quote, trim, unescape};
use crate::uri::UriBuf;

/// A body and its type: mostly a session description.
#[derive(Clone, Eq, PartialEq)]
pub struct Body {
    /// The value of Content-Type, with all its parameters.
    pub content_type: String,
    /// The octets.
    pub content: Bytes,
}

impl Body {
    /// A body of any type.
    pub fn new(content_type: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self { content_type: content_type.into(), content: content.into() }
    }

    /// A session description (RFC 8866).
    pub fn sdp(content: impl Into<Bytes>) -> Self {
        Self::new("application/sdp", content)
    }

    /// The body of a message, if it has one.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        if message.body().is_empty() {
            return None;
        }
        let content_type = message.header(crate::message::HeaderName::ContentType).unwrap_or_default();
        Some(Self::new(String::from_utf8_lossy(content_type), message.body_bytes()))
    }

    /// Whether it describes the same session as another one. Many programs count the version of a description up (RFC 4566, `o=`) without
    /// any other change.
    pub(crate) fn describes_the_same(&self, other: &Self) -> bool {
        fn said(content: &[u8]) -> impl Iterator<Item = &[u8]> {
            content.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"o="))
        }
        self.content_type == other.content_type && said(&self.content).eq(said(&other.content))
    }

    /// The answer that takes nothing of this offer (RFC 3264 §6): each of its media with port 0. `None` where it is no session
    /// description.
    pub(crate) fn refusal(&self) -> Option<Self> {
        let kind = self.content_type.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/sdp") {
            return None;
        }
        let text = std::str::from_utf8(&self.content).ok()?;
        let mut answer = String::from("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\n");
        let time = text.lines().find(|line| line.starts_with("t=")).unwrap_or("t=0 0");
        answer.extend([time, "\r\n"]);
        for media in text.lines().filter_map(|line| line.strip_prefix("m=")) {
            let mut fields = media.splitn(3, ' ');
            let (kind, _, rest) = (fields.next()?, fields.next()?, fields.next()?);
            answer.extend(["m=", kind, " 0 ", rest, "\r\n"]);
        }
        Some(Self::sdp(answer))
    }

    /// As requests and answers take it.
    pub(crate) fn parts(&self) -> (String, Bytes) {
        (self.content_type.clone(), self.content.clone())
    }
}

// What people wrote may be in it.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("content_type", &self.content_type)
            .field("content", &format_args!("{} bytes", self.content.len()))
            .finish()
    }
}

/// A session to be asked for. [`InviteParams::new`] has the usual values.
#[derive(Clone, Eq, PartialEq)]
pub struct InviteParams {
    /// Whom to call.
    pub to: UriBuf,
    /// The offer (RFC 3264). `None` asks the peer for one: it comes with the answer
    /// ([`Answered`](super::InviteEvent::Answered) with `offer`), and is answered with
    /// [`acknowledge`](crate::agent::Agent::acknowledge) (RFC 3725 §4.1, flow I).
    pub body: Option<Body>,
    /// Further headers, such as `Subject`.
    pub headers: Vec<(String, String)>,
    /// Parameters of our Contact, such as `isfocus` or `+sip.message`, with a `;` between two (RFC 3840).
    pub contact_params: Option<String>,
    /// Who calls, as a name-addr without a tag. `None` is the account; `"Anonymous" <sip:anonymous@anonymous.invalid>` is nobody
    /// (RFC 3323).
    pub from: Option<String>,
    /// The Call-ID; `None` takes a new one.
    pub call_id: Option<String>,
    /// Takes the place of this dialog of the peer (RFC 3891).
    pub replaces: Option<DialogName>,
    /// Joins this dialog of the peer (RFC 3911).
    pub join: Option<DialogName>,
    /// Proves that we know this dialog of the peer (RFC 4538).
    pub target_dialog: Option<DialogName>,
    /// Who referred us: the value of Referred-By (RFC 3892).
    pub referred_by: Option<String>,
    /// How the peer's device shall answer (RFC 5373).
    pub answer_mode: Option<AnswerMode>,
    /// The value of Privacy, such as `id` (RFC 3323, RFC 3325).
    pub privacy: Option<String>,
    /// Option tags that the peer must understand, such as `recipient-list-invite` (RFC 5366).
    pub require: Vec<String>,
    /// Whether provisional answers shall be acknowledged (RFC 3262).
    pub reliability: Reliability,
    /// How long the session lives without a refresh, in seconds (RFC 4028): 90 at least. `None` takes the
    /// [setting](super::InviteSettings::session_expires), zero asks for no such limit.
    pub session_expires: Option<u32>,
    /// How long it may ring, in seconds: then the call is given up. `None` leaves that to the caller.
    pub expires: Option<u32>,
}

impl InviteParams {
    /// A session with an address, with or without an offer.
    pub const fn new(to: UriBuf, body: Option<Body>) -> Self {
        Self {
            to,
            body,
            headers: Vec::new(),
            contact_params: None,
            from: None,
            call_id: None,
            replaces: None,
            join: None,
            target_dialog: None,
            referred_by: None,
            answer_mode: None,
            privacy: None,
            require: Vec::new(),
            reliability: Reliability::Offered,
            session_expires: None,
            expires: None,
        }
    }
}

impl fmt::Debug for InviteParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteParams").field("to", &self.to).field("body", &self.body).finish_non_exhaustive()
    }
}

/// Whether provisional answers are acknowledged (RFC 3262).
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum Reliability {
    /// Not at all.
    Never,
    /// If the peer wants to, and the INVITE has an offer. Without one, a reliable provisional answer would bring the peer's, and want
    /// an answer at once.
    #[default]
    Offered,
    /// The peer must.
    Required,
}

/// How a device shall answer (RFC 5373).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct AnswerMode {
    /// By itself, without asking a person; otherwise a person must be asked.
    pub automatic: bool,
    /// A device that cannot do so shall refuse.
    pub required: bool,
}

impl AnswerMode {
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (mode, params) = crate::text::split_outside(value, b';');
        let automatic = match trim(mode) {
            mode if mode.eq_ignore_ascii_case(b"auto") => true,
            mode if mode.eq_ignore_ascii_case(b"manual") => false,
            _ => return None,
        };
        Some(Self { automatic, required: params.is_some_and(|params| Params::new(params).has("require")) })
    }
}

impl fmt::Display for AnswerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.automatic { "Auto" } else { "Manual" })?;
        f.write_str(if self.required { ";require" } else { "" })
    }
}

/// Names a dialog to one of its two ends: what Replaces, Join and Target-Dialog say (RFC 3891, RFC 3911, RFC 4538).
///
/// It is written for whoever gets the request: `to_tag` is the tag of the end that gets it, `from_tag` that of its peer.
#[derive(Clone, Eq, PartialEq, Hash, Debug)]
pub struct DialogName {
    /// The Call-ID.
    pub call_id: String,
    /// The tag of the receiver's end.
    pub to_tag: String,
    /// The tag of the other end.
    pub from_tag: String,
    /// It only counts while the dialog is early (Replaces).
    pub early_only: bool,
}

impl DialogName {
    /// Reads a value. `remote-tag` and `local-tag` are the names that Target-Dialog has for the tags.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (call_id, params) = crate::text::split_outside(value, b';');
        let call_id = trim(call_id);
        if call_id.is_empty() || call_id.iter().any(|b| !(0x21..0x7f).contains(b)) {
            return None;
        }
        let params = Params::new(params?);
        let tag = |name: &str, other: &str| {
            let tag = params.get_str(name).or_else(|| params.get_str(other))?;
            is_token(tag.as_bytes()).then(|| tag.to_owned())
        };
        Some(Self {
            call_id: String::from_utf8(call_id.to_vec()).ok()?,
            to_tag: tag("to-tag", "local-tag")?,
            from_tag: tag("from-tag", "remote-tag")?,
            early_only: params.has("early-only"),
        })
    }

    /// The value of Target-Dialog.
    pub(crate) fn target_dialog(&self) -> String {
        format!("{};local-tag={};remote-tag={}", self.call_id, self.to_tag, self.from_tag)
    }
}

impl fmt::Display for DialogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        f.write_str(if self.early_only { ";early-only" } else { "" })
    }
}

impl FromStr for DialogName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::parse(text.as_bytes()).ok_or(())
    }
}

/// Why something ended: one value of Reason (RFC 3326).
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Reason {
    /// Whose numbers they are: `SIP` for status codes, `Q.850` for those of telephony.
    pub protocol: String,
    /// The number.
    pub cause: Option<u16>,
    /// For a person.
    pub text: Option<String>,
}

impl Reason {
    /// A reason that a status code says, such as 200 `Call completed elsewhere`.
    pub fn sip(cause: u16, text: impl Into<String>) -> Self {
        let text = Some(text.into()).filter(|text| !text.is_empty());
        Self { protocol: "SIP".to_owned(), cause: Some(cause), text }
    }

    /// Whether somebody else of those who were called has answered (RFC 3326 §3.1): then a missed call is none.
    pub fn is_answered_elsewhere(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("SIP") && self.cause == Some(200)
    }

    /// The first reason in a message that is of SIP, or the first of all.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let rows = message.headers(crate::message::HeaderName::Reason);
        let mut all = rows.flat_map(|row| Split::new(row, b',')).take(8).filter_map(Self::parse);
        let first = all.next()?;
        if first.protocol.eq_ignore_ascii_case("SIP") {
            return Some(first);
        }
        Some(all.find(|reason| reason.protocol.eq_ignore_ascii_case("SIP")).unwrap_or(first))
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (protocol, params) = crate::text::split_outside(value, b';');
        let protocol = trim(protocol);
        is_token(protocol).then_some(())?;
        let params = Params::new(params.unwrap_or_default());
        let text = params.get("text").map(|text| {
            let text = String::from_utf8_lossy(&unescape(text)).into_owned();
            text.chars().filter(|c| !c.is_control()).take(256).collect()
        });
        Some(Self {
            protocol: String::from_utf8_lossy(protocol).into_owned(),
            cause: params.get_str("cause").and_then(|cause| cause.parse().ok()),
            text,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        match &self.text {
            Some(text) => write!(f, ";text={}", quote(text)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_dialog_survives_being_written() {
        let name = DialogName::parse(b"98732@sip.example.com ;from-tag=r33th4x0r;to-tag=ff87ff;early-only");
        let name = name.unwrap();
        assert_eq!(
            (&*name.call_id, &*name.to_tag, &*name.from_tag),
            ("98732@sip.example.com", "ff87ff", "r33th4x0r")
        );
        assert!(name.early_only);
        assert_eq!(DialogName::parse(name.to_string().as_bytes()), Some(name.clone()));
        let target = DialogName { early_only: false, ..name };
        assert_eq!(DialogName::parse(target.target_dialog().as_bytes()), Some(target));
        for bad in ["", "a", "a;to-tag=1", "a;to-tag=;from-tag=2", "a b;to-tag=1;from-tag=2"] {
            assert_eq!(DialogName::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_offer_is_refused_medium_by_medium() {
        let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=x\r\nc=IN IP4 127.0.0.2\r\nt=7 9\r\nm=audio 4000/2 RTP/AVP 0 8\r\n\
            a=sendrecv\r\nm=message 2855 TCP/MSRP *\r\n";
        let answer = Body::sdp(offer).refusal().unwrap();
        let text = String::from_utf8(answer.content.to_vec()).unwrap();
        let rest = "c=IN IP4 0.0.0.0\r\nt=7 9\r\nm=audio 0 RTP/AVP 0 8\r\nm=message 0 TCP/MSRP *\r\n";
        assert!(text.ends_with(rest), "{text}");
        assert_eq!(Body::sdp("m=audio").refusal(), None);
        assert_eq!(Body::new("text/plain", offer).refusal(), None);
    }

    #[test]
    fn a_version_alone_is_no_change_of_a_session() {
        let body = |version, direction| {
            Body::sdp(format!("v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\na={direction}\r\n"))
        };
        assert!(body(1, "sendrecv").describes_the_same(&body(2, "sendrecv")));
        assert!(!body(1, "sendrecv").describes_the_same(&body(1, "sendonly")));
        assert!(!Body::sdp("a").describes_the_same(&Body::new("text/plain", "a")));
    }

    #[test]
    fn a_reason_survives_being_written() {
        let reason = Reason::sip(200, "Call \"completed\" elsewhere");
        assert!(reason.is_answered_elsewhere());
        assert_eq!(Reason::parse(reason.to_string().as_bytes()), Some(reason));
        let bare = Reason::parse(b"Q.850 ; cause=16").unwrap();
        assert_eq!((bare.cause, bare.text, bare.protocol.as_str()), (Some(16), None, "Q.850"));
    }
}
