//! What an incoming MESSAGE says: from octets of several media types to the text that a person reads.

use attache_documents::{Limits, composing, cpim, html};

use crate::{message::Text, time::Timestamp};

/// Value of `Accept` where a message's type was refused.
pub(crate) const ACCEPT: &str = "text/plain, text/html, message/cpim, application/im-iscomposing+xml";

/// What a message says.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// Words for a person.
    Text {
        text: Text,
        /// From the wrapper, where there was one.
        sent_at: Option<Timestamp>,
    },
    /// The other side writes, or stopped to. Never stored (RFC 3994, section 3.4).
    Composing,
    /// Fit to be read, but with nothing for a person in it.
    Nothing(&'static str),
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
}

/// Reads the body of a MESSAGE.
pub(crate) fn read(
    content_type: Option<&str>,
    encoding: Option<&str>,
    body: &[u8],
) -> Result<Content, Refusal> {
    if encoding.is_some_and(|encoding| {
        !encoding.trim().is_empty() && !encoding.trim().eq_ignore_ascii_case("identity")
    }) {
        return Err(Refusal::Encoding);
    }
    plain(content_type, body, None, true)
}

fn plain(
    content_type: Option<&str>,
    body: &[u8],
    sent_at: Option<Timestamp>,
    outer: bool,
) -> Result<Content, Refusal> {
    // Without a type there is one sensible meaning.
    let media = Media::parse(content_type.unwrap_or("text/plain"));
    if media.is("text/plain") {
        text(decode(body, media.charset)?, sent_at)
    } else if media.is("text/html") || media.is("application/xhtml+xml") {
        // Markup may be much longer than what it says; its size is bounded by that of a SIP message.
        let markup = decode(body, media.charset)?;
        text(html::to_text(&markup, Text::MAX + 1), sent_at)
    } else if media.is(composing::MEDIA_TYPE) {
        composing::read(body, &Limits::DEFAULT).map(|_| Content::Composing).map_err(|_| Refusal::Malformed)
    } else if media.is(cpim::MEDIA_TYPE) && outer {
        let wrapped = cpim::read(body).map_err(|_| Refusal::Malformed)?;
        let at =
            wrapped.date_time.and_then(|at| u64::try_from(at.as_millis()).ok()).map(Timestamp::from_millis);
        plain(wrapped.content_type.as_deref(), wrapped.body, at, false)
    } else if media.is("message/imdn+xml") && !outer {
        Ok(Content::Nothing("a delivery notification"))
    } else {
        Err(Refusal::Type)
    }
}

fn text(text: String, sent_at: Option<Timestamp>) -> Result<Content, Refusal> {
    if text.len() > Text::MAX {
        return Err(Refusal::TooLarge);
    }
    if text.is_empty() {
        return Ok(Content::Nothing("an empty text"));
    }
    Ok(Content::Text { text: Text::new(text), sent_at })
}

/// UTF-8, and for what claims to be or must be something else, ISO 8859-1.
fn decode(body: &[u8], charset: Option<&str>) -> Result<String, Refusal> {
    let latin = charset.is_some_and(|name| {
        ["iso-8859-1", "latin1", "iso_8859-1", "windows-1252", "us-ascii"]
            .into_iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    });
    if body.len() > 4 * Text::MAX {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content_type: &str, body: &[u8]) -> Result<String, Refusal> {
        match read(Some(content_type), None, body)? {
            Content::Text { text, .. } => Ok(text.as_str().to_owned()),
            other => Ok(format!("{other:?}")),
        }
    }

    #[test]
    fn plain_text_is_read_in_its_charset() {
        assert_eq!(said("Text/Plain;charset=UTF-8", "grüß".as_bytes()).unwrap(), "grüß");
        assert_eq!(said("text/plain; charset=\"ISO-8859-1\"", b"gr\xfc\xdf").unwrap(), "grüß");
    }

    #[test]
    fn markup_is_reduced_to_what_it_says() {
        assert_eq!(said("text/html", b"<body>Hi <b>there</b><script>alert(1)</script>").unwrap(), "Hi there");
    }

    #[test]
    fn a_wrapped_text_brings_its_date() {
        let body = b"From: <sip:a@b.c>\r\nDateTime: 2026-01-31T09:00:00Z\r\n\r\nContent-Type: text/plain\r\n\r\nhello";
        let Ok(Content::Text { text, sent_at }) = read(Some("message/cpim"), None, body) else {
            panic!("no text")
        };
        assert_eq!(
            (text.as_str(), sent_at.unwrap().to_string().as_str()),
            ("hello", "2026-01-31T09:00:00.000Z")
        );
    }

    #[test]
    fn typing_is_no_text() {
        let body = br#"<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>"#;
        assert_eq!(read(Some(composing::MEDIA_TYPE), None, body).unwrap(), Content::Composing);
    }

    #[test]
    fn a_wrapper_in_a_wrapper_is_refused() {
        let body = b"From: <sip:a@b.c>\r\n\r\nContent-Type: message/cpim\r\n\r\nhello";
        assert_eq!(said("message/cpim", body), Err(Refusal::Type));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_reason() {
        assert_eq!(said("application/sdp", b"v=0"), Err(Refusal::Type));
        assert_eq!(read(Some("text/plain"), Some("deflate"), b"x"), Err(Refusal::Encoding));
        assert_eq!(said("text/plain", &vec![b'a'; Text::MAX + 1]), Err(Refusal::TooLarge));
    }
}
