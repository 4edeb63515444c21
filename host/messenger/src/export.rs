//! Archived messages as a file for people or programs: JSON, text or HTML.
//!
//! Messages are written one by one as they come, so that a hundred thousand of them take no more memory than one. What
//! people wrote is data in every format: nothing in it becomes markup, another line of the file, or an instruction to the
//! terminal that shows it.
//!
//! ```
//! use attache_messenger::{
//!     address::Address,
//!     export::{Exporter, Format},
//!     id::{ConversationId, MessageId},
//!     storage::{ArchiveEntry, Direction},
//!     time::Timestamp,
//! };
//!
//! let alice = Address::parse("sip:alice@example.com")?;
//! let entry = ArchiveEntry {
//!     message: MessageId(7),
//!     conversation: ConversationId(1),
//!     at: Timestamp::parse("2026-01-31T09:00:00Z")?,
//!     direction: Direction::Incoming,
//!     peer: Address::parse("sip:bob@example.com")?,
//!     others: Default::default(),
//!     content: "Lunch?\nAt one?".into(),
//!     automatic: false,
//! };
//! let mut export = Exporter::new(Vec::new(), Format::Text)?;
//! export.entry(&alice, &entry)?;
//! assert_eq!(
//!     String::from_utf8(export.finish()?)?,
//!     "2026-01-31T09:00:00.000Z sip:bob@example.com to sip:alice@example.com: Lunch?\n    At one?\n"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, Write};

use base64::{Engine as _, display::Base64Display, prelude::BASE64_STANDARD as STANDARD};
use serde_json::{Value, json};

use crate::{
    address::Address,
    message::Content,
    storage::{ArchiveEntry, Direction},
};

/// How messages are written.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// One array, one object on each line.
    Json,
    /// A line for each message; further lines of a text are indented.
    Text,
    /// One page that needs nothing else and runs nothing.
    Html,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Json, Self::Text, Self::Html];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Html => "html",
        }
    }
}

/// Pictures that browsers show and that run nothing; others are named only.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// What stands before the messages of a page. Nothing is fetched and nothing runs, whatever a message says.
const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\"/>
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"/>
<title>Messages</title>
<style>
body { font-family: sans-serif; max-width: 50em; margin: 2em auto; }
article { margin: 0.5em 0; padding: 0.5em 1em; border-radius: 0.5em; background: #eee; }
article.outgoing { background: #def; margin-left: 4em; }
header { font-size: 80%; color: #555; }
p { margin: 0.25em 0; white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; }
</style>
</head>
<body>
";

/// Writes messages in the order in which they are given.
#[derive(Debug)]
pub struct Exporter<W: Write> {
    out: W,
    format: Format,
    written: u64,
    account: Option<Address>,
}

impl<W: Write> Exporter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of the writer, here and below.
    pub fn new(mut out: W, format: Format) -> io::Result<Self> {
        match format {
            Format::Json => out.write_all(b"[")?,
            Format::Text => {}
            Format::Html => out.write_all(HEAD.as_bytes())?,
        }
        Ok(Self { out, format, written: 0, account: None })
    }

    /// Writes a message of an account.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn entry(&mut self, account: &Address, entry: &ArchiveEntry) -> io::Result<()> {
        match self.format {
            Format::Json => {
                self.out.write_all(if self.written == 0 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut self.out, &object(account, entry))?;
            }
            Format::Text => self.line(account, entry)?,
            Format::Html => self.article(account, entry)?,
        }
        self.written += 1;
        Ok(())
    }

    /// How many messages were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the file, and gives the writer back.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        match self.format {
            Format::Json if self.written == 0 => self.out.write_all(b"]\n")?,
            Format::Json => self.out.write_all(b"\n]\n")?,
            Format::Text => {}
            Format::Html => {
                if self.account.is_some() {
                    self.out.write_all(b"</section>\n")?;
                }
                self.out.write_all(b"</body>\n</html>\n")?;
            }
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, account: &Address, entry: &ArchiveEntry) -> io::Result<()> {
        let (from, to) = sides(account, entry);
        write!(self.out, "{} {from} to {to}", entry.at)?;
        for other in &entry.others {
            write!(self.out, ", {other}")?;
        }
        if entry.automatic {
            self.out.write_all(b" (automatic)")?;
        }
        let words = match &entry.content {
            Content::Other { media_type, bytes } => {
                format!("[{media_type}, {} bytes]", bytes.as_bytes().len())
            }
            content => content.text().to_owned(),
        };
        let mut lines = words.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        writeln!(self.out, ": {}", printable(lines.next().unwrap_or_default()))?;
        lines.try_for_each(|line| writeln!(self.out, "    {}", printable(line)))
    }

    fn article(&mut self, account: &Address, entry: &ArchiveEntry) -> io::Result<()> {
        if self.account.as_ref() != Some(account) {
            if self.account.is_some() {
                self.out.write_all(b"</section>\n")?;
            }
            writeln!(self.out, "<section>\n<h1>{}</h1>", escaped(account.as_str()))?;
            self.account = Some(account.clone());
        }
        let (from, to) = sides(account, entry);
        let others: String = entry.others.iter().map(|other| format!(", {other}")).collect();
        let automatic = if entry.automatic { " (automatic)" } else { "" };
        write!(
            self.out,
            "<article class=\"{}\" id=\"m{}\"><header><time datetime=\"{at}\">{at}</time> {} to {}{}{automatic}</header>",
            way(entry.direction),
            entry.message,
            escaped(from.as_str()),
            escaped(to.as_str()),
            escaped(&others),
            at = entry.at,
        )?;
        match &entry.content {
            Content::Other { media_type, bytes } => {
                let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                let size = bytes.as_bytes().len();
                write!(self.out, "<p>[{}, {size} bytes]</p>", escaped(media_type))?;
                if PICTURES.contains(&essence.as_str()) {
                    let data = Base64Display::new(bytes.as_bytes(), &STANDARD);
                    write!(self.out, "<img alt=\"\" src=\"data:{essence};base64,{data}\"/>")?;
                }
            }
            content => write!(self.out, "<p>{}</p>", escaped(content.text()))?,
        }
        self.out.write_all(b"</article>\n")
    }
}

fn object(account: &Address, entry: &ArchiveEntry) -> Value {
    let mut object = json!({
        "account": account.as_str(),
        "message": entry.message.to_string(),
        "conversation": entry.conversation.to_string(),
        "at": entry.at.to_string(),
        "direction": way(entry.direction),
        "peer": entry.peer.as_str(),
        "automatic": entry.automatic,
        "type": entry.content.media_type(),
        "text": entry.content.text(),
    });
    if !entry.others.is_empty() {
        object["others"] = entry.others.iter().map(Address::as_str).collect();
    }
    match &entry.content {
        Content::Html { html, .. } => object["html"] = html.as_str().into(),
        Content::Other { bytes, .. } => object["base64"] = STANDARD.encode(bytes.as_bytes()).into(),
        Content::Text(_) => {}
    }
    object
}

fn sides<'a>(account: &'a Address, entry: &'a ArchiveEntry) -> (&'a Address, &'a Address) {
    match entry.direction {
        Direction::Incoming => (&entry.peer, account),
        Direction::Outgoing => (account, &entry.peer),
    }
}

const fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Incoming => "incoming",
        Direction::Outgoing => "outgoing",
    }
}

/// Without what moves a cursor or turns text around.
fn printable(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let plain = |c: char| if c != '\t' && c.is_control() || turns(c) { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// As text of HTML and XML, and as a value in quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\r' => {}
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{ConversationId, MessageId},
        message::{Payload, Text},
        time::Timestamp,
    };

    const EVIL: &str =
        "<script>alert('&')</script>\n\u{1b}[2J\u{202e}\"]}, <b>\u{0}\r\n2026-01-31T09:00:00.000Z x";

    fn entry(number: u64, content: Content) -> ArchiveEntry {
        ArchiveEntry {
            message: MessageId(number),
            conversation: ConversationId(3),
            at: Timestamp::from_millis(1_769_850_000_000 + number),
            direction: if number.is_multiple_of(2) { Direction::Outgoing } else { Direction::Incoming },
            peer: Address::parse("sip:o'brien&co@example.com").unwrap(),
            others: [Address::parse("sip:carol@example.com").unwrap()].into_iter().collect(),
            content,
            automatic: number == 1,
        }
    }

    fn contents() -> [Content; 4] {
        [
            Content::from(EVIL),
            Content::Html { html: Text::new("<p onclick=alert(1)>x</p>"), plain: Text::new("x") },
            Content::Other { media_type: "image/png".into(), bytes: Payload::new(&b"\x89PNG"[..]) },
            Content::Other {
                media_type: "image/svg+xml;\"><script>".into(),
                bytes: Payload::new(&b"<svg/>"[..]),
            },
        ]
    }

    fn export(format: Format) -> String {
        let mut export = Exporter::new(Vec::new(), format).unwrap();
        let accounts =
            ["sip:alice@example.com", "sip:bob@example.com"].map(|text| Address::parse(text).unwrap());
        for account in &accounts {
            for (number, content) in (1..).zip(contents()) {
                export.entry(account, &entry(number, content)).unwrap();
            }
        }
        assert_eq!(export.written(), 8);
        String::from_utf8(export.finish().unwrap()).unwrap()
    }

    #[test]
    fn an_export_as_json_holds_everything_and_can_be_read() {
        let read: Vec<Value> = serde_json::from_str(&export(Format::Json)).unwrap();
        assert_eq!(read.len(), 8);
        assert_eq!(read[0]["text"], EVIL);
        assert_eq!(read[1]["html"], "<p onclick=alert(1)>x</p>");
        assert_eq!((&read[2]["base64"], &read[2]["type"]), (&json!("iVBORw=="), &json!("image/png")));
        assert_eq!(read[7]["account"], "sip:bob@example.com");
        assert_eq!(read[0]["others"], json!(["sip:carol@example.com"]));
        let nothing = Exporter::new(Vec::new(), Format::Json).unwrap().finish().unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&nothing).unwrap().len(), 0);
    }

    #[test]
    fn an_export_as_html_is_well_formed_and_runs_nothing() {
        let page = export(Format::Html);
        // The page is XML too, so that a strict reader can judge it.
        let body = page.strip_prefix("<!DOCTYPE html>\n").unwrap();
        let limits = attache_documents::Limits { bytes: 1 << 20, ..attache_documents::Limits::DEFAULT };
        attache_documents::tree::Tree::read(body.as_bytes(), &limits).unwrap();
        assert!(!page.contains("<script") && !page.contains("onclick") && !page.contains('\u{1b}'));
        assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"));
        assert!(page.contains("src=\"data:image/png;base64,iVBORw==\""));
        assert!(!page.contains("data:image/svg"), "what could run is named only");
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
    }

    #[test]
    fn in_an_export_as_text_no_message_makes_lines_of_its_own() {
        let text = export(Format::Text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).collect();
        assert_eq!(lines.len(), 8, "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'));
    }
}
