//! Message waiting: how many messages lie in a mailbox (RFC 3842).

use crate::{
    error::{DocumentError, Finding, Forgiven, Parsed},
    limits::Limits,
};

/// The media type.
pub const MEDIA_TYPE: &str = "application/simple-message-summary";

/// What lies in a mailbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Whether messages wait.
    pub waiting: bool,
    /// The mailbox's address.
    pub account: Option<String>,
    /// Numbers by class, such as `voice-message`.
    pub classes: Vec<Class>,
}

/// Messages of one class.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Class {
    /// The class in lower case, as `voice-message`, `fax-message`, `text-message`.
    pub name: String,
    /// Not heard yet.
    pub new: u32,
    /// Heard.
    pub old: u32,
    /// Of `new`, how many are urgent; none where that was not said.
    pub urgent_new: Option<u32>,
    /// Of `old`, how many are urgent.
    pub urgent_old: Option<u32>,
}

impl Summary {
    /// The class with this name.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<&Class> {
        self.classes.iter().find(|class| class.name.eq_ignore_ascii_case(name))
    }
}

/// Reads a summary. Lines that are not understood are passed over, and so are the headers of single messages, which follow
/// an empty line.
///
/// # Errors
/// When it is too long, empty, or lacks `Messages-Waiting`.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<Summary>, DocumentError> {
    if bytes.len() > limits.bytes {
        return Err(DocumentError::TooLarge { what: "bytes", limit: limits.bytes });
    }
    if bytes.trim_ascii().is_empty() {
        return Err(DocumentError::Empty);
    }
    let mut summary = Summary::default();
    let mut waiting = None;
    let mut forgiven = Vec::new();
    let mut offset = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        let at = offset;
        offset += line.len() as u64 + 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            if waiting.is_some() {
                break;
            }
            continue;
        }
        let text = String::from_utf8_lossy(line);
        let Some((name, value)) = text.split_once(':') else { continue };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "messages-waiting" => waiting = Some(value.eq_ignore_ascii_case("yes")),
            "message-account" => {
                summary.account = Some(value[..value.floor_char_boundary(limits.text)].to_owned());
            }
            name if name.ends_with("-message") => match class(name, value) {
                Some(class) if summary.classes.len() < limits.entries => summary.classes.push(class),
                Some(_) => {}
                None if forgiven.is_empty() => {
                    forgiven.push(Forgiven { offset: at, finding: Finding::Value });
                }
                None => {}
            },
            _ => {}
        }
    }
    let Some(waiting) = waiting else {
        return Err(DocumentError::Malformed { offset: 0, what: "`Messages-Waiting` is missing".to_owned() });
    };
    summary.waiting = waiting;
    Ok(Parsed { document: summary, forgiven })
}

/// `2/8 (0/2)`.
fn class(name: &str, value: &str) -> Option<Class> {
    let pair = |text: &str| {
        let (new, old) = text.split_once('/')?;
        Some((new.trim().parse().ok()?, old.trim().parse().ok()?))
    };
    let (all, urgent) = value
        .split_once('(')
        .map_or((value, None), |(all, urgent)| (all, Some(urgent.trim_end().trim_end_matches(')'))));
    let (new, old) = pair(all)?;
    let urgent = urgent.and_then(pair);
    Some(Class {
        name: name.to_owned(),
        new,
        old,
        urgent_new: urgent.map(|(new, _)| new),
        urgent_old: urgent.map(|(_, old)| old),
    })
}

/// Writes a summary.
#[must_use]
pub fn write(summary: &Summary) -> String {
    use core::fmt::Write as _;
    let mut out = format!("Messages-Waiting: {}\r\n", if summary.waiting { "yes" } else { "no" });
    if let Some(account) = &summary.account {
        let _ = write!(out, "Message-Account: {}\r\n", account.replace(['\r', '\n'], " "));
    }
    for class in &summary.classes {
        let _ = write!(out, "{}: {}/{}", class.name, class.new, class.old);
        if let (Some(new), Some(old)) = (class.urgent_new, class.urgent_old) {
            let _ = write!(out, " ({new}/{old})");
        }
        out.push_str("\r\n");
    }
    out
}
