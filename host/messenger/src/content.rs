//! What an incoming MESSAGE says: from octets of several media types to what a person reads, and to what programs tell
//! each other beside that.

use std::{borrow::Cow, sync::Arc};

use attache_documents::{
    Limits,
    composing::{self, Composing},
    cpim::{self, Cpim},
    html,
    imdn::{self, Imdn},
    multipart,
};
use bytes::Bytes;

use crate::{
    message::{Content, Payload, Text},
    time::Timestamp,
};

/// Types that are always read.
const TYPES: &str = "text/plain, text/html, multipart/alternative, multipart/mixed, message/cpim, message/imdn+xml, \
                     application/im-iscomposing+xml";
/// Value of `Accept-Encoding` where a message's encoding was refused.
pub(crate) const ENCODINGS: &str = "identity, deflate";
/// Longest body, out of its encoding: markup may be longer than what it says.
const MAX_BODY: usize = 4 * Text::MAX;
/// Parts of one body.
const MAX_PARTS: usize = 32;
/// Bodies in bodies: a wrapper, alternatives in it.
const MAX_DEPTH: u8 = 3;
/// Namespaces of headers in wrappers that are understood.
const NAMESPACES: [&str; 1] = [imdn::NAMESPACE];

/// Value of `Accept` where a message's type was refused.
pub(crate) fn accept(further: &[Arc<str>]) -> String {
    further.iter().fold(TYPES.to_owned(), |all, one| format!("{all}, {one}"))
}

/// A message as it was read.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) said: Said,
    /// From its wrapper, where it had one.
    pub(crate) wrapper: Option<Wrapper>,
}

/// What a message says.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// Something for a person.
    Content(Content),
    /// The other side writes, or stopped to. Never stored (RFC 3994, section 3.4).
    Composing(Composing),
    /// Receipts for messages of ours (RFC 5438); several where a service of lists gathers them.
    Receipts(Vec<Imdn>),
    /// Fit to be read, but with nothing for a person in it.
    Nothing(&'static str),
}

/// What a wrapper says of the message in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wrapper {
    /// Whom it names as the sender.
    pub(crate) from: Option<String>,
    /// Whom it names as recipients.
    pub(crate) to: Vec<String>,
    pub(crate) subject: Option<String>,
    pub(crate) sent_at: Option<Timestamp>,
    /// Which receipts are wanted.
    pub(crate) receipts: imdn::Request,
}

/// Why a message is refused.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// 415 with `Accept`.
    Type,
    /// 415 with `Accept-Encoding`.
    Encoding,
    /// 413.
    TooLarge,
    /// 400.
    Malformed,
    /// 488: its wrapper asks for what is not known here (RFC 3862, section 4.7).
    Required,
}

/// Reads the body of a MESSAGE. `accept` names types that are taken as bytes.
pub(crate) fn read(
    content_type: Option<&str>,
    encoding: Option<&str>,
    body: &[u8],
    accept: &[Arc<str>],
    most: usize,
) -> Result<Arrived, Refusal> {
    let body = decoded(encoding.unwrap_or_default().trim(), body)?;
    let mut reader = Reader { accept, most, wrapper: None };
    let said = reader.read(content_type, &body, 0)?;
    Ok(Arrived { said, wrapper: reader.wrapper })
}

/// Undoes a content encoding. Some programs compress what they send without being asked to.
fn decoded<'a>(encoding: &str, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Refusal> {
    use miniz_oxide::inflate::{
        TINFLStatus, decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit,
    };

    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok(Cow::Borrowed(body));
    }
    if !encoding.eq_ignore_ascii_case("deflate") {
        return Err(Refusal::Encoding);
    }
    // The name means the format of zlib (RFC 9110, section 8.4.1.2), and some leave its frame out.
    let inflated = decompress_to_vec_zlib_with_limit(body, MAX_BODY).or_else(|error| match error.status {
        TINFLStatus::HasMoreOutput => Err(error),
        _ => decompress_to_vec_with_limit(body, MAX_BODY),
    });
    inflated.map(Cow::Owned).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => Refusal::TooLarge,
        _ => Refusal::Malformed,
    })
}

struct Reader<'a> {
    accept: &'a [Arc<str>],
    /// Longest text, and longest content of another type.
    most: usize,
    wrapper: Option<Wrapper>,
}

impl Reader<'_> {
    fn read(&mut self, content_type: Option<&str>, body: &[u8], depth: u8) -> Result<Said, Refusal> {
        // Without a type there is one sensible meaning.
        let content_type = content_type.unwrap_or("text/plain");
        let media = Media::parse(content_type);
        if media.is("text/plain") {
            text(decode(body, media.charset, self.most)?, self.most)
        } else if media.is("text/html") || media.is("application/xhtml+xml") {
            markup(decode(body, media.charset, Text::MAX)?)
        } else if media.is(composing::MEDIA_TYPE) {
            let read = composing::read(body, &Limits::DEFAULT).map_err(|_| Refusal::Malformed)?;
            Ok(Said::Composing(read.document))
        } else if media.is(imdn::MEDIA_TYPE) {
            let read = imdn::read(body, &Limits::DEFAULT).map_err(|_| Refusal::Malformed)?;
            Ok(Said::Receipts(vec![read.document]))
        } else if media.is(cpim::MEDIA_TYPE) && self.wrapper.is_none() && depth == 0 {
            self.unwrap(body)
        } else if media.essence.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"))
            && depth < MAX_DEPTH
        {
            self.parts(content_type, &Bytes::copy_from_slice(body), depth)
        } else if self.accept.iter().any(|pattern| media.fits(pattern)) {
            other(content_type, body, self.most)
        } else {
            Err(Refusal::Type)
        }
    }

    fn unwrap(&mut self, body: &[u8]) -> Result<Said, Refusal> {
        let cpim = cpim::read(body).map_err(|_| Refusal::Malformed)?;
        if cpim.unsupported(&NAMESPACES).next().is_some() {
            return Err(Refusal::Required);
        }
        self.wrapper = Some(wrapper(&cpim));
        let content = cpim.content().ok_or(Refusal::Malformed)?;
        self.read(cpim.content_type(), &content, 1)
    }

    /// Of alternatives, the richest that is read; of others, the first for a person, or all receipts.
    fn parts(&mut self, content_type: &str, body: &Bytes, depth: u8) -> Result<Said, Refusal> {
        let parts = multipart::read(content_type, body, MAX_PARTS).map_err(|_| Refusal::Malformed)?.parts;
        let alternatives = Media::parse(content_type).is("multipart/alternative");
        let (mut best, mut receipts) = (None, Vec::new());
        let mut refusal = None;
        for part in &parts {
            // Who else got it is told to programs (RFC 5365, section 7).
            if part.is("application/resource-lists+xml") {
                continue;
            }
            match (self.read(Some(&part.content_type()), part.body(), depth + 1), &mut best) {
                (Ok(Said::Receipts(more)), _) => receipts.extend(more),
                (Ok(Said::Content(Content::Html { html, plain })), best) if alternatives => {
                    // The words that the sender gave are better than what is left of the markup.
                    let plain = match best.take() {
                        Some(Said::Content(Content::Text(plain))) => plain,
                        _ => plain,
                    };
                    *best = Some(Said::Content(Content::Html { html, plain }));
                }
                (Ok(said), best @ None) => *best = Some(said),
                (Ok(said), best @ Some(Said::Nothing(_))) => *best = Some(said),
                (Ok(_), Some(_)) => {}
                (Err(why), _) => refusal = refusal.or(Some(why)),
            }
        }
        match best {
            Some(said) => Ok(said),
            None if !receipts.is_empty() => Ok(Said::Receipts(receipts)),
            None => Err(refusal.unwrap_or(Refusal::Type)),
        }
    }
}

fn wrapper(cpim: &Cpim<'_>) -> Wrapper {
    let at = cpim.date_time.and_then(|at| u64::try_from(at.as_millis()).ok());
    Wrapper {
        from: cpim.from.as_ref().map(|from| from.uri.clone()),
        to: cpim.to.iter().chain(&cpim.cc).map(|to| to.uri.clone()).collect(),
        subject: cpim.subject(None).filter(|subject| !subject.is_empty()).map(str::to_owned),
        sent_at: at.map(Timestamp::from_millis),
        receipts: imdn::Request::of(cpim),
    }
}

fn text(text: String, most: usize) -> Result<Said, Refusal> {
    if text.len() > most {
        return Err(Refusal::TooLarge);
    }
    if text.is_empty() {
        return Ok(Said::Nothing("an empty text"));
    }
    Ok(Said::Content(Content::Text(Text::new(text))))
}

/// Markup may be much longer than what it says; then what it says is kept.
fn markup(markup: String) -> Result<Said, Refusal> {
    match text(html::to_text(&markup, Text::MAX + 1), Text::MAX)? {
        Said::Content(Content::Text(plain)) if markup.len() <= Text::MAX => {
            Ok(Said::Content(Content::Html { html: Text::new(markup), plain }))
        }
        said => Ok(said),
    }
}

fn other(content_type: &str, body: &[u8], most: usize) -> Result<Said, Refusal> {
    if body.len() > most {
        return Err(Refusal::TooLarge);
    }
    if body.is_empty() {
        return Ok(Said::Nothing("an empty message"));
    }
    let media_type = content_type.get(..128).unwrap_or(content_type).into();
    Ok(Said::Content(Content::Other { media_type, bytes: Payload::new(Bytes::copy_from_slice(body)) }))
}

/// UTF-8, and for what claims to be or must be something else, ISO 8859-1.
fn decode(body: &[u8], charset: Option<&str>, most: usize) -> Result<String, Refusal> {
    let latin = charset.is_some_and(|name| {
        ["iso-8859-1", "latin1", "iso_8859-1", "windows-1252", "us-ascii"]
            .into_iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    });
    if body.len() > MAX_BODY.max(most) {
        return Err(Refusal::TooLarge);
    }
    match core::str::from_utf8(body) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()),
        Err(_) if latin => Ok(body.iter().map(|&byte| char::from(byte)).collect()),
        Err(_) => Ok(String::from_utf8_lossy(body).into_owned()),
    }
}

struct Media<'a> {
    essence: &'a str,
    charset: Option<&'a str>,
}

impl<'a> Media<'a> {
    fn parse(value: &'a str) -> Self {
        let mut parts = value.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let charset = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .map(|(_, value)| value.trim().trim_matches('"'));
        Self { essence, charset }
    }

    fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// Whether `image/png` fits `image/png`, `image/*` or `*/*`.
    fn fits(&self, pattern: &str) -> bool {
        let pattern = pattern.trim();
        let Some((kind, "*")) = pattern.split_once('/') else { return self.is(pattern) };
        kind == "*" || self.essence.split('/').next().is_some_and(|known| known.eq_ignore_ascii_case(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content_type: &str, body: &[u8]) -> Result<String, Refusal> {
        match read(Some(content_type), None, body, &["image/*".into()], Text::MAX)?.said {
            Said::Content(content) => Ok(format!("{}: {}", content.media_type(), content.text())),
            other => Ok(format!("{other:?}")),
        }
    }

    #[test]
    fn plain_text_is_read_in_its_charset() {
        assert_eq!(said("Text/Plain;charset=UTF-8", "grüß".as_bytes()).unwrap(), "text/plain: grüß");
        assert_eq!(said("text/plain; charset=\"ISO-8859-1\"", b"gr\xfc\xdf").unwrap(), "text/plain: grüß");
    }

    #[test]
    fn markup_is_kept_with_what_it_says() {
        let markup = b"<body>Hi <b>there</b><script>alert(1)</script>";
        assert_eq!(said("text/html", markup).unwrap(), "text/html: Hi there");
        let long = format!("<p title=\"{}\">Hi</p>", "x".repeat(Text::MAX));
        assert_eq!(said("text/html", long.as_bytes()).unwrap(), "text/plain: Hi");
    }

    #[test]
    fn of_alternatives_the_richest_is_taken_with_the_senders_own_words() {
        let body = b"--b\r\nContent-Type: text/plain\r\n\r\nHi *there*\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hi <b>there</b></p>\r\n--b--\r\n";
        assert_eq!(said("multipart/alternative; boundary=b", body).unwrap(), "text/html: Hi *there*");
        assert_eq!(said("multipart/mixed; boundary=b", body).unwrap(), "text/plain: Hi *there*");
    }

    #[test]
    fn who_else_got_a_message_is_no_part_for_a_person() {
        let body = b"--b\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list-history\r\n\r\n<x/>\r\n--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b--\r\n";
        assert_eq!(said("multipart/mixed; boundary=b", body).unwrap(), "text/plain: Hi");
    }

    #[test]
    fn types_that_are_asked_for_are_taken_as_bytes() {
        assert_eq!(said("IMAGE/png", b"\x89PNG").unwrap(), "IMAGE/png: ");
        assert_eq!(said("video/mp4", b"x"), Err(Refusal::Type));
    }

    #[test]
    fn a_wrapped_text_brings_its_date_its_subject_and_its_wishes() {
        let body =
            b"From: <sip:a@b.c>\r\nTo: <sip:d@e.f>\r\ncc: <sip:g@h.i>\r\nDateTime: 2026-01-31T09:00:00Z\r\n\
            Subject: tea\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 17\r\n\
            imdn.Disposition-Notification: display\r\n\r\nContent-Type: text/plain\r\n\r\nhello";
        let arrived = read(Some("message/cpim"), None, body, &[], Text::MAX).unwrap();
        assert_eq!(arrived.said, Said::Content("hello".into()));
        let wrapper = arrived.wrapper.unwrap();
        assert_eq!(wrapper.from.as_deref(), Some("sip:a@b.c"));
        assert_eq!(wrapper.to, ["sip:d@e.f", "sip:g@h.i"]);
        assert_eq!(wrapper.subject.as_deref(), Some("tea"));
        assert_eq!(wrapper.sent_at.unwrap().to_string(), "2026-01-31T09:00:00.000Z");
        assert!(wrapper.receipts.display && wrapper.receipts.wants_any());
    }

    #[test]
    fn a_wrapper_that_requires_what_is_not_known_is_refused() {
        let body =
            b"NS: x <urn:x>\r\nRequire: x.Fancy\r\nx.Fancy: yes\r\n\r\nContent-Type: text/plain\r\n\r\nhello";
        assert_eq!(said("message/cpim", body), Err(Refusal::Required));
        let body =
            b"Require: imdn.Message-ID\r\nimdn.Message-ID: 1\r\n\r\nContent-Type: text/plain\r\n\r\nhello";
        assert_eq!(said("message/cpim", body).unwrap(), "text/plain: hello");
    }

    #[test]
    fn typing_is_no_text() {
        let body = br#"<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>"#;
        let arrived = read(Some(composing::MEDIA_TYPE), None, body, &[], Text::MAX).unwrap();
        assert!(matches!(arrived.said, Said::Composing(Composing { active: true, .. })));
    }

    #[test]
    fn receipts_that_a_service_gathered_are_all_read() {
        let part = |id| {
            format!(
                "--b\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\
                 <message-id>{id}</message-id><delivery-notification><status><delivered/></status>\
                 </delivery-notification></imdn>\r\n"
            )
        };
        let body = format!(
            "From: <sip:list@b.c>\r\n\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}{}--b--\r\n",
            part(1),
            part(2)
        );
        let arrived = read(Some("message/cpim"), None, body.as_bytes(), &[], Text::MAX).unwrap();
        let Said::Receipts(receipts) = arrived.said else { panic!("no receipts") };
        assert_eq!(receipts.iter().map(|one| one.message_id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_compressed_message_is_read_and_a_bomb_is_not() {
        let zlib = miniz_oxide::deflate::compress_to_vec_zlib(b"hello", 6);
        let raw = miniz_oxide::deflate::compress_to_vec(b"hello", 6);
        let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![b'a'; 64 * 1024 * 1024], 9);
        let read = |body: &[u8]| {
            read(Some("text/plain"), Some("deflate"), body, &[], Text::MAX).map(|arrived| arrived.said)
        };
        assert_eq!(read(&zlib).unwrap(), Said::Content("hello".into()));
        assert_eq!(read(&raw).unwrap(), Said::Content("hello".into()));
        assert_eq!(read(&bomb).unwrap_err(), Refusal::TooLarge);
        assert_eq!(read(b"\xff\xff\xff").unwrap_err(), Refusal::Malformed);
    }

    #[test]
    fn a_wrapper_in_a_wrapper_is_refused() {
        let body = b"From: <sip:a@b.c>\r\n\r\nContent-Type: message/cpim\r\n\r\nhello";
        assert_eq!(said("message/cpim", body), Err(Refusal::Type));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_reason() {
        assert_eq!(said("application/sdp", b"v=0"), Err(Refusal::Type));
        assert_eq!(
            read(Some("text/plain"), Some("br"), b"x", &[], Text::MAX).unwrap_err(),
            Refusal::Encoding
        );
        assert_eq!(said("text/plain", &vec![b'a'; Text::MAX + 1]), Err(Refusal::TooLarge));
    }
}
