//! What is wrong with a message that could be read.
//!
//! Reading forgives; this tells what was forgiven and what a user agent server has to refuse, each with the status code it deserves. It
//! returns a list because a proxy, a server and a log care for different entries.

use super::{HeaderName, Message, Method, Via};
use crate::text::{self, is_token, trim};
use crate::uri::{Scheme, Uri};

/// Whether a finding stands in the way of processing the message.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Severity {
    /// Worth a diagnostic; the message can be processed.
    Forgiven,
    /// A server answers a request with the code; a client drops a response.
    Refuse,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The status code of the answer that it deserves.
    pub code: u16,
    /// The header concerned; `None` for the start line.
    pub header: Option<HeaderName>,
    /// What is wrong, in a few words without values of the message.
    pub what: &'static str,
    /// Whether it must be refused.
    pub severity: Severity,
}

impl Finding {
    /// Whether it must be refused.
    pub fn must_refuse(&self) -> bool {
        self.severity == Severity::Refuse
    }
}

/// What a server supports, for the findings that depend on it.
#[derive(Copy, Clone, Debug)]
pub struct Support<'a> {
    /// Option tags that may stand in Require (RFC 3261 §8.2.2.3).
    pub options: &'a [&'a str],
    /// Whether `tel:`, `pres:`, `im:` and `urn:` may stand in the start line, besides `sip:` and `sips:`.
    pub other_schemes: bool,
}

impl Default for Support<'_> {
    fn default() -> Self {
        Self {
            options: &[
                "100rel",
                "answermode",
                "eventlist",
                "gruu",
                "join",
                "multiple-refer",
                "norefersub",
                "outbound",
                "path",
                "recipient-list-invite",
                "recipient-list-message",
                "recipient-list-subscribe",
                "replaces",
                "tdialog",
                "timer",
            ],
            other_schemes: true,
        }
    }
}

/// [`validate_with`] the default support.
pub fn validate(message: &Message) -> Vec<Finding> {
    validate_with(message, &Support::default())
}

/// Checks start line, mandatory headers, repeats, and the grammar of the headers that every element needs (RFC 3261 §8.1.1, §8.2, §16.3;
/// RFC 4475 §3). Findings that must be refused come first, in the order in which RFC 3261 §8.2 has a server check.
pub fn validate_with(message: &Message, support: &Support<'_>) -> Vec<Finding> {
    let mut check = Check { message, found: Vec::new() };
    check.version();
    check.mandatory();
    check.repeats();
    check.vias();
    check.cseq();
    check.scalars();
    check.addresses();
    if message.is_request() {
        check.request_uri(support);
        check.required_options(support);
    }
    check.forgiven();
    check.found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    check.found
}

struct Check<'a> {
    message: &'a Message,
    found: Vec<Finding>,
}

/// Headers that stand once at most, and that decide what a message means.
const SINGLE: [HeaderName; 14] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::Event,
    HeaderName::SubscriptionState,
    HeaderName::Expires,
    HeaderName::SipIfMatch,
    HeaderName::SipEtag,
    HeaderName::ReferTo,
    HeaderName::Replaces,
    HeaderName::SuppressIfMatch,
];

impl Check<'_> {
    fn add(
        &mut self,
        code: u16,
        header: impl Into<Option<HeaderName>>,
        what: &'static str,
        severity: Severity,
    ) {
        self.found.push(Finding { code, header: header.into(), what, severity });
    }

    fn refuse(&mut self, code: u16, header: impl Into<Option<HeaderName>>, what: &'static str) {
        self.add(code, header, what, Severity::Refuse);
    }

    fn forgive(&mut self, header: impl Into<Option<HeaderName>>, what: &'static str) {
        self.add(400, header, what, Severity::Forgiven);
    }

    fn version(&mut self) {
        if self.message.version() != (2, 0) {
            self.refuse(505, None, "the protocol version is not SIP/2.0");
        }
    }

    fn mandatory(&mut self) {
        for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq]
        {
            if self.message.header(name).is_none() {
                self.refuse(400, name, "a mandatory header is missing");
            }
        }
        if self.message.is_request() && self.message.header(HeaderName::MaxForwards).is_none() {
            // RFC 2543 had none, and a proxy adds it by itself (RFC 3261 §16.6).
            self.forgive(HeaderName::MaxForwards, "max-forwards is missing");
        }
    }

    fn repeats(&mut self) {
        let mut seen = [0_u16; HeaderName::COUNT];
        for (_, name, _) in self.message.all() {
            if let Some(count) = seen.get_mut(name as usize) {
                *count = count.saturating_add(1);
            }
        }
        for name in SINGLE {
            if seen[name as usize] > 1 {
                self.refuse(400, name, "a header that stands once is repeated");
            }
        }
        if seen[HeaderName::ContentLength as usize] > 1 {
            // Reading refused different values; equal ones say the same thing twice.
            self.forgive(HeaderName::ContentLength, "content-length is repeated");
        }
    }

    fn vias(&mut self) {
        let mut top = true;
        for row in self.message.headers(HeaderName::Via) {
            let mut rest = Some(row);
            while let Some(value) = rest {
                let value = text::trim_start(value);
                match Via::parse_first(value) {
                    Ok((via, next)) if via.is_strict() => {
                        if top && via.branch().is_some_and(|branch| branch.eq_ignore_ascii_case("z9hG4bK")) {
                            // Matching by the rules of RFC 2543 still works (RFC 4475 §3.2.1).
                            self.forgive(HeaderName::Via, "the branch is only the magic cookie");
                        }
                        rest = next;
                    }
                    _ => {
                        self.refuse(400, HeaderName::Via, "a via is malformed");
                        return;
                    }
                }
                top = false;
            }
        }
    }

    fn cseq(&mut self) {
        if self.message.header(HeaderName::CSeq).is_none() {
            return;
        }
        match (self.message.cseq(), self.message.method()) {
            (Err(_), _) => self.refuse(400, HeaderName::CSeq, "cseq is malformed or out of range"),
            (Ok(cseq), Some(method)) if cseq.method != method => {
                // Whoever does not know the method might say 501; that the two differ is wrong in any case.
                self.refuse(400, HeaderName::CSeq, "the method of cseq is not the method of the request");
            }
            _ => {}
        }
    }

    fn scalars(&mut self) {
        let message = self.message;
        if message.header(HeaderName::MaxForwards).is_some() && message.max_forwards().is_none() {
            self.refuse(400, HeaderName::MaxForwards, "max-forwards is not a number from 0 to 255");
        }
        if message.header(HeaderName::CallId).is_some() && message.call_id().is_none() {
            self.refuse(400, HeaderName::CallId, "call-id is empty or has blanks in it");
        }
        for name in [HeaderName::Expires, HeaderName::MinExpires] {
            match message.header(name).map(text::number) {
                Some(None) => self.forgive(name, "a number of seconds is malformed"),
                Some(Some(n)) if n > u64::from(u32::MAX) => {
                    self.forgive(name, "a number of seconds is out of range");
                }
                _ => {}
            }
        }
        if message.header(HeaderName::Date).is_some_and(|date| !is_sip_date(date)) {
            self.forgive(HeaderName::Date, "the date is malformed or not in GMT");
        }
        if message.header(HeaderName::ContentType).is_none() && !message.body().is_empty() {
            self.forgive(HeaderName::ContentType, "a body has no content-type");
        }
    }

    fn addresses(&mut self) {
        let message = self.message;
        for name in [HeaderName::From, HeaderName::To] {
            let Some(value) = message.header(name) else { continue };
            if !is_address(value) {
                self.refuse(400, name, "an address is malformed");
            }
        }
        if !message.contact_is_star() && !message.values(HeaderName::Contact).all(is_address) {
            self.refuse(400, HeaderName::Contact, "a contact is malformed");
        }
        for name in [HeaderName::Route, HeaderName::RecordRoute] {
            if !message.values(name).all(is_address) {
                self.refuse(400, name, "a route is malformed");
            }
        }
    }

    fn request_uri(&mut self, support: &Support<'_>) {
        match self.message.request_uri() {
            Err(_) => self.refuse(400, None, "the request's address is malformed"),
            Ok(uri) => {
                let known = match uri.scheme() {
                    Scheme::Sip | Scheme::Sips => true,
                    Scheme::Other(_) => false,
                    _ => support.other_schemes,
                };
                if !known {
                    self.refuse(416, None, "the scheme of the request's address is not supported");
                }
                if uri.headers().is_some() {
                    self.refuse(400, None, "the request's address carries headers");
                }
            }
        }
    }

    fn required_options(&mut self, support: &Support<'_>) {
        // ACK and CANCEL are never refused for an extension (RFC 3261 §8.2.2.3).
        if matches!(self.message.method(), Some(Method::Ack | Method::Cancel)) {
            return;
        }
        let supported =
            |tag: &[u8]| support.options.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(tag));
        if !self.message.values(HeaderName::Require).all(supported) {
            self.refuse(420, HeaderName::Require, "an extension that is not supported is required");
        }
    }

    fn forgiven(&mut self) {
        if self.message.bad_rows() > 0 {
            self.forgive(None, "a line among the headers is no header");
        }
    }
}

/// Whether a value is an address whose URI and parameters follow the grammar. URIs of schemes without a host are opaque.
fn is_address(value: &[u8]) -> bool {
    super::NameAddr::parse(value).is_some_and(|address| match Uri::parse(address.uri_bytes()) {
        Ok(_) => address.params().iter().all(|(name, _)| is_token(name)),
        Err(_) => false,
    })
}

/// `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17).
fn is_sip_date(value: &[u8]) -> bool {
    let mut fields = trim(value).split(|b| *b == b' ').filter(|field| !field.is_empty());
    let mut field = || fields.next().unwrap_or(b"");
    let is_digits = |text: &[u8], len: usize| text.len() == len && text.iter().all(u8::is_ascii_digit);
    let weekday = field();
    let (day, month, year, time, zone) = (field(), field(), field(), field(), field());
    weekday.len() == 4
        && weekday[3] == b','
        && is_digits(day, 2)
        && month.len() == 3
        && is_digits(year, 4)
        && time.len() == 8
        && time.split(|b| *b == b':').all(|part| is_digits(part, 2))
        && zone == b"GMT"
}
