//! What is wrong in the operator's file: where, and what was probably meant.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file; `None` for a text that came from none.
    pub file: Option<PathBuf>,
    /// Counted from 1; zero where no line can be named.
    pub line: usize,
    /// The key with its table, such as `service.listen`; empty where none can be named.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// The known key that is nearest to an unknown one.
    pub nearest: Option<String>,
}

impl Problem {
    /// What the reader of TOML found. Nothing is quoted of the text but keys, for its values may be passwords.
    pub(crate) fn new(file: Option<&Path>, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim();
        let (line, key) = error.span().map_or((0, String::new()), |span| place(text, span.start));
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let nearest = unknown.and_then(|name| {
            let (_, known) = message.split_once("expected")?;
            nearest(name, known.split('`').skip(1).step_by(2))
        });
        let message = unknown
            .map_or_else(|| message.to_owned(), |name| format!("`{name}` is no key that is known here"));
        Self { file: file.map(Path::to_owned), line, key, message, nearest }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), 0) => write!(f, "{}: ", file.display())?,
            (Some(file), line) => write!(f, "{}:{line}: ", file.display())?,
            (None, 0) => {}
            (None, line) => write!(f, "line {line}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// The line of a place in a text, and the key that stands in it with its table.
fn place(text: &str, offset: usize) -> (usize, String) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let header = |line: &str| {
        let inner = line.trim().strip_prefix('[')?.trim_start_matches('[');
        Some(inner.split(']').next().unwrap_or_default().trim().to_owned())
    };
    let number = 1 + before.matches('\n').count();
    if let Some(table) = header(line) {
        return (number, table);
    }
    let table = text[..start].lines().rev().find_map(header).unwrap_or_default();
    let key = line.split_once('=').map(|(key, _)| key.trim()).unwrap_or_default();
    let both: Vec<&str> = [&*table, key].into_iter().filter(|part| !part.is_empty()).collect();
    (number, both.join("."))
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let distances = known.map(|one| (strsim::damerau_levenshtein(name, one), one));
    let (distance, one) = distances.min()?;
    (distance <= 1 + one.len() / 3).then(|| one.to_owned())
}
