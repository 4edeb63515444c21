//! What of a request is passed on (RFC 3261, section 16.6).

use std::borrow::Cow;

use attache_sip::build::via_from;
use attache_sip::digest::Credentials;
use attache_sip::endpoint::{Field, Request};
use attache_sip::message::{HeaderName, Message};
use attache_sip::transport::Flow;

use super::Target;

/// Headers that are written anew for each hop, or are this service's own affair.
const NOT_PASSED_ON: [HeaderName; 9] = [
    HeaderName::CSeq,
    HeaderName::ContentLength,
    HeaderName::MaxBreadth,
    HeaderName::MaxForwards,
    // What others assert is not believed (RFC 3325, section 5), and what they prefer was for us.
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::RecordRoute,
    HeaderName::Route,
    HeaderName::Via,
];

/// A request without what differs from target to target.
#[derive(Clone)]
pub(super) struct Outgoing {
    base: Request,
    /// The rows of Record-Route of those before us.
    recorded: Vec<String>,
}

impl Outgoing {
    /// What is passed on of a request; `None` where it has come too far.
    pub(super) fn of(request: &Message, flow: &Flow, realm: &str) -> Option<Self> {
        let hops = request.max_forwards().unwrap_or(70).checked_sub(1)?;
        let method = request.method()?.to_buf();
        let mut base = Request::new(method, "").cseq(request.cseq().ok()?.number);
        for (number, row) in request.headers(HeaderName::Via).enumerate() {
            let row = if number == 0 { via_from(row, flow.remote) } else { Cow::Borrowed(row) };
            base.push(HeaderName::Via, String::from_utf8_lossy(&row));
        }
        base.push(HeaderName::MaxForwards, hops.to_string());
        for (name, known, value) in request.all() {
            let is_secret = matches!(known, HeaderName::Authorization | HeaderName::ProxyAuthorization)
                && is_for_us(value, realm);
            // What came before P-Asserted-Identity, and is still shown by telephones, would be a claim that nobody has proved.
            let is_claim = known == HeaderName::Other && name.eq_ignore_ascii_case(b"Remote-Party-ID");
            if NOT_PASSED_ON.contains(&known) || is_secret || is_claim {
                continue;
            }
            let field = match known {
                HeaderName::Other => Field::from(std::str::from_utf8(name).ok()?),
                known => Field::Known(known),
            };
            base.push(field, String::from_utf8_lossy(value));
        }
        if !request.body().is_empty() {
            // Its type stands among the headers already.
            base = base.body("", request.body_bytes());
        }
        let recorded = request.headers(HeaderName::RecordRoute);
        let recorded = recorded.map(|row| String::from_utf8_lossy(row).into_owned()).collect();
        Some(Self { base, recorded })
    }

    pub(super) fn push(&mut self, name: HeaderName, value: String) {
        self.base.push(name, value);
    }

    pub(super) fn mark(&mut self, mark: u64) {
        self.base.mark = Some(mark);
    }

    pub(super) fn call_id(&self) -> &str {
        let mut headers = self.base.headers.iter();
        headers.find(|(name, _)| *name == HeaderName::CallId.into()).map_or("", |(_, value)| value.trim())
    }

    pub(super) fn is(&self, method: &attache_sip::message::Method<'_>) -> bool {
        self.base.method.as_method() == *method
    }

    /// The request as one target gets it, with `own` rows of Record-Route above those of others.
    pub(super) fn to(&self, target: &Target, own: &[String]) -> Request {
        let mut request = self.base.clone();
        target.contact.as_str().clone_into(&mut request.uri);
        for route in target.path.iter() {
            request.push(HeaderName::Route, &**route);
        }
        for row in own.iter().chain(&self.recorded) {
            request.push(HeaderName::RecordRoute, &**row);
        }
        request
    }
}

/// Whether credentials are for this service, and so nobody else's business.
fn is_for_us(value: &[u8], realm: &str) -> bool {
    let is_token = value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "));
    is_token || Credentials::parse(value).is_some_and(|credentials| credentials.realm == realm)
}

/// Whether a sender wants this kind of privacy (RFC 3323, section 4.2).
pub(super) fn has_privacy(request: &Message, kind: &str) -> bool {
    let rows = request.headers(HeaderName::Privacy);
    let mut wishes = rows.flat_map(|row| row.split(|byte| *byte == b';' || *byte == b','));
    wishes.any(|wish| wish.trim_ascii().eq_ignore_ascii_case(kind.as_bytes()))
}
