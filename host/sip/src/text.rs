//! Octets of header values: what SIP's grammar calls tokens, blanks, quoted strings and parameters.
//!
//! Everything here works on slices that no longer contain line ends: folding is undone before a value is read.
//! Every function looks at each octet a constant number of times, whatever the input.

use memchr::{memchr, memchr3};

/// The octets of `token` (RFC 3261 §25.1), as a table: one load an octet in the hot loop.
pub(crate) static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        byte += 1;
    }
    table
};

pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| TOKEN[usize::from(b)])
}

pub(crate) const fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

pub(crate) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b, rest @ ..] = text {
        if !is_blank(*b) {
            break;
        }
        text = rest;
    }
    text
}

pub(crate) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b] = text {
        if !is_blank(*b) {
            break;
        }
        text = rest;
    }
    text
}

pub(crate) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Digits only; `None` when empty, when anything else is there, or above `u64`'s range.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &b| {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Delta-seconds: digits, saturating, so that an absurd value is merely a very long time.
pub(crate) fn seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |sum, &b| {
        let digit = b.wrapping_sub(b'0');
        (digit <= 9).then(|| sum.saturating_mul(10).saturating_add(u32::from(digit)))
    })
}

/// The length of the quoted string that `text` starts with, quotes included; `None` when it does not end.
pub(crate) fn quoted_len(text: &[u8]) -> Option<usize> {
    debug_assert_eq!(text.first(), Some(&b'"'));
    let mut at = 1;
    loop {
        let found = memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        at += found;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Splits at the first of `separator` that stands outside quoted strings and angle brackets. The second part is
/// `None` when there was no separator. An unbalanced quote or bracket swallows the rest: the reader of the
/// part will refuse it, and no separator inside it can be trusted.
pub(crate) fn split_outside(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr3(separator, b'"', b'<', rest)) {
        let here = at + found;
        match text[here] {
            b'"' => match quoted_len(&text[here..]) {
                Some(len) => at = here + len,
                None => break,
            },
            b'<' => match memchr(b'>', &text[here..]) {
                Some(len) => at = here + len + 1,
                None => break,
            },
            _ => return (&text[..here], Some(&text[here + 1..])),
        }
    }
    (text, None)
}

/// The parts of a list, blanks around them removed. Empty parts are kept: whether they are an error is the
/// header's business.
#[derive(Clone, Debug)]
pub(crate) struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Split<'a> {
    pub(crate) fn new(text: &'a [u8], separator: u8) -> Self {
        Self { rest: Some(text), separator }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (part, rest) = split_outside(self.rest?, self.separator);
        self.rest = rest;
        Some(trim(part))
    }
}

/// Parameters behind a `;`, read when asked for: `;tag=a;lr;q="0.5"`.
#[derive(Copy, Clone, Eq, PartialEq, Default)]
pub struct Params<'a> {
    text: &'a [u8],
}

impl<'a> Params<'a> {
    /// `text` without the first `;`.
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// The parameters as written, without the first `;`.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// Each parameter with its value, in order: quoted values without their quotes but with escapes untouched, empty ones
    /// skipped.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        Split::new(self.text, b';').filter(|part| !part.is_empty()).map(|part| {
            let Some(equals) = memchr(b'=', part) else { return (part, None) };
            (trim_end(&part[..equals]), Some(unquote(trim_start(&part[equals + 1..]))))
        })
    }

    /// The value of the first parameter of that name, in any case. A parameter without a value gives `Some(b"")`.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        if self.text.is_empty() {
            return None;
        }
        self.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.unwrap_or(b""))
    }

    /// Like [`get`](Self::get), as text; `None` also when the value is not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether the parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether each part is a name, or a name with a value, and no name is empty or appears twice among `once`.
    pub(crate) fn check(&self) -> bool {
        self.text.is_empty()
            || Split::new(self.text, b';').all(|part| {
                let (name, value) = match memchr(b'=', part) {
                    Some(equals) => (trim_end(&part[..equals]), Some(trim_start(&part[equals + 1..]))),
                    None => (part, None),
                };
                is_token(name)
                    && value.is_none_or(|v| match v.first() {
                        Some(b'"') => quoted_len(v) == Some(v.len()),
                        Some(_) => !v.iter().any(|&b| is_blank(b) || matches!(b, b'"' | b'<' | b'>' | b',')),
                        None => true,
                    })
            })
    }
}

impl std::fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Params({})", String::from_utf8_lossy(self.text))
    }
}

/// The inside of a quoted string, or the text itself when it is not one.
pub(crate) fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

/// Undoes backslash escapes of a quoted string's inside.
pub(crate) fn unescape(text: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let Some(first) = memchr(b'\\', text) else { return text.into() };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut bytes = text[first..].iter();
    while let Some(&b) = bytes.next() {
        out.push(if b == b'\\' { bytes.next().copied().unwrap_or(b'\\') } else { b });
    }
    out.into()
}

/// `text` as a quoted string, quotes included.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            // Line ends can never be said inside a header; a blank is the nearest thing.
            '\r' | '\n' | '\0' => out.push(' '),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        Split::new(text.as_bytes(), b',').map(|p| std::str::from_utf8(p).unwrap()).collect()
    }

    #[test]
    fn commas_inside_quotes_and_brackets_do_not_split() {
        assert_eq!(parts(r#""a,b" <sip:c,d@e>;x=1 , <sip:f>"#), [r#""a,b" <sip:c,d@e>;x=1"#, "<sip:f>"]);
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_quoted_string() {
        assert_eq!(parts(r#""a\",b",c"#), [r#""a\",b""#, "c"]);
    }

    #[test]
    fn an_unbalanced_quote_swallows_the_rest() {
        assert_eq!(parts(r#"a,"b,c"#), ["a", r#""b,c"#]);
    }

    #[test]
    fn a_parameter_is_found_in_any_case_with_blanks_around() {
        let params = Params::new(b" Tag = x1 ; lr;q=\"0.5\"");
        assert_eq!(params.get("tag"), Some(&b"x1"[..]));
        assert_eq!(params.get("lr"), Some(&b""[..]));
        assert_eq!(params.get_str("q"), Some("0.5"));
        assert_eq!(params.get("branch"), None);
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(number(b"18446744073709551616"), None);
        assert_eq!(number(b"0009"), Some(9));
        assert_eq!(number(b"-1"), None);
        assert_eq!(seconds(b"99999999999999"), Some(u32::MAX));
    }

    #[test]
    fn quoting_and_unquoting_are_inverse() {
        let text = r#"a "b" \ c"#;
        assert_eq!(unescape(unquote(quote(text).as_bytes())).as_ref(), text.as_bytes());
    }
}
