//! Text of a message that came as HTML.
//!
//! A handful of old clients send `text/html`. Nothing of it is ever shown as HTML: tags go, entities become
//! characters, and what scripts and styles hold is dropped. One pass, time linear in the length.

/// The text of an HTML message, at most `limit` bytes of UTF-8, blanks collapsed as a browser would.
#[must_use]
pub fn to_text(html: &str, limit: usize) -> String {
    let mut out = Text { out: String::with_capacity(html.len().min(limit)), limit, blank: false };
    let mut rest = html;
    while let Some(at) = memchr::memchr2(b'<', b'&', rest.as_bytes()) {
        out.push_text(&rest[..at]);
        rest = &rest[at..];
        if rest.as_bytes()[0] == b'&' {
            let (c, length) = entity(rest);
            out.push_char(c);
            rest = &rest[length..];
            continue;
        }
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        // A `<` that opens no tag is a character.
        if !rest.as_bytes().get(1).is_some_and(|&byte| byte.is_ascii_alphabetic() || b"/!?".contains(&byte)) {
            out.push_char('<');
            rest = &rest[1..];
            continue;
        }
        let end = tag_end(rest);
        let tag = &rest[1..end];
        rest = rest.get(end + 1..).unwrap_or("");
        let closing = tag.starts_with('/');
        let name = tag.trim_start_matches('/');
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("br") || ["p", "div", "tr", "li"].into_iter().any(|block| closing && is(block)) {
            out.new_line();
        } else if !closing && (is("script") || is("style") || is("title")) {
            rest = after_closing(rest, name);
        }
    }
    out.push_text(rest);
    let kept = out.out.trim().len();
    if kept == out.out.len() { out.out } else { out.out.trim().to_owned() }
}

struct Text {
    out: String,
    limit: usize,
    /// A blank is due before the next character.
    blank: bool,
}

impl Text {
    fn push_text(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_ascii_whitespace() {
                self.blank = true;
            } else {
                self.push_char(c);
            }
        }
    }

    fn push_char(&mut self, c: char) {
        if core::mem::take(&mut self.blank) && !self.out.is_empty() && !self.out.ends_with('\n') {
            self.put(' ');
        }
        self.put(c);
    }

    fn new_line(&mut self) {
        self.blank = false;
        self.put('\n');
    }

    fn put(&mut self, c: char) {
        if self.out.len() + c.len_utf8() <= self.limit {
            self.out.push(c);
        } else {
            // Nothing shorter may follow what did not fit.
            self.limit = self.out.len();
        }
    }
}

/// Where the tag at the start of `rest` ends: the index of `>`, or the length.
fn tag_end(rest: &str) -> usize {
    let mut quote = 0_u8;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'>' if quote == 0 => return at,
            b'"' | b'\'' if quote == 0 => quote = byte,
            _ if byte == quote => quote = 0,
            _ => {}
        }
    }
    rest.len()
}

/// What follows the end tag of an element whose content is no text.
fn after_closing<'a>(rest: &'a str, name: &str) -> &'a str {
    let bytes = rest.as_bytes();
    for at in memchr::memmem::find_iter(bytes, "</") {
        let tail = &bytes[at + 2..];
        if tail.len() >= name.len() && tail[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            let end = at + tag_end(&rest[at..]);
            return rest.get(end + 1..).unwrap_or("");
        }
    }
    ""
}

/// The character that an entity stands for, and the entity's length. `rest` starts with `&`.
fn entity(rest: &str) -> (char, usize) {
    let Some(end) = rest.as_bytes().iter().take(12).position(|&byte| byte == b';') else { return ('&', 1) };
    let name = &rest[1..end];
    let number = |text: &str, radix| u32::from_str_radix(text, radix).ok().and_then(char::from_u32);
    let c = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => match name.strip_prefix('#') {
            Some(digits) => match digits.strip_prefix(['x', 'X']) {
                Some(hex) => number(hex, 16),
                None => number(digits, 10),
            },
            None => None,
        },
    };
    match c {
        Some(c) if !c.is_control() || c == '\n' => (c, end + 1),
        Some(_) => ('\u{fffd}', end + 1),
        None => ('&', 1),
    }
}
