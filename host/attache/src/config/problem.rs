//! What is wrong in a configuration file, said so that a person can mend it: file, line, key, and what was
//! probably meant.

use core::{fmt, ops::Range};
use std::path::{Path, PathBuf};

/// One thing that is wrong in the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1; zero where no line can be named.
    pub line: usize,
    /// The key with the table that it stands in, such as `account.address`; empty where none can be named.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong in a configuration file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// The text of a file, to turn a place in it into a line and a key.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count()
    }

    /// The key that stands at a place, with the header of its table.
    pub(super) fn key(&self, offset: usize) -> String {
        let offset = offset.min(self.text.len());
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let before = self.text[..start].lines().rev();
        let table = core::iter::once(line)
            .chain(before)
            .map(str::trim)
            .find(|line| line.starts_with('['))
            .map(|line| line.split(']').next().unwrap_or_default().trim_start_matches('[').trim())
            .unwrap_or_default();
        let key = match line.split_once('=') {
            Some((key, _)) if !line.trim_start().starts_with('[') => {
                self.inner_key(start, offset, key.trim())
            }
            _ => String::new(),
        };
        match (table.is_empty(), key.is_empty()) {
            (true, _) => key,
            (false, true) => table.to_owned(),
            (false, false) => format!("{table}.{key}"),
        }
    }

    /// Within `limits = { memory = "…" }`, the key nearest to the place comes after the outer one.
    fn inner_key(&self, start: usize, offset: usize, outer: &str) -> String {
        let upto = &self.text[start..offset];
        let Some(brace) = upto.rfind('{') else { return outer.to_owned() };
        let rest = &self.text[start + brace + 1..];
        let end = rest.find('\n').unwrap_or(rest.len());
        let at = (offset - start - brace - 1).min(end);
        let item_start = rest[..at].rfind(',').map_or(0, |comma| comma + 1);
        match rest[item_start..end].split_once('=') {
            Some((inner, _)) => format!("{outer}.{}", inner.trim().trim_matches('"')),
            None => outer.to_owned(),
        }
    }

    pub(super) fn problem(&self, span: Option<Range<usize>>, message: impl Into<String>) -> Problem {
        let (line, key) = match span {
            Some(span) => (self.line(span.start), self.key(span.start)),
            None => (0, String::new()),
        };
        Problem { file: self.file.to_owned(), line, key, message: message.into(), suggestion: None }
    }

    /// What the TOML reader found, with a suggestion where a name is near to a known one.
    pub(super) fn unreadable(&self, error: &toml::de::Error) -> Problem {
        let message = error.message().trim().to_owned();
        let mut problem = self.problem(error.span(), String::new());
        let unknown = ["unknown field `", "unknown variant `"].iter().find_map(|start| {
            let rest = &message[message.find(start)? + start.len()..];
            rest.split('`').next().map(str::to_owned)
        });
        match unknown {
            Some(name) => {
                let known: Vec<&str> = message
                    .split_once("expected")
                    .map(|(_, list)| list.split('`').skip(1).step_by(2).collect())
                    .unwrap_or_default();
                let what = if message.starts_with("unknown variant") { "value" } else { "key" };
                problem.message = format!("`{name}` is no {what} that is known here");
                problem.suggestion = suggest(&name, &known);
            }
            None => problem.message = message,
        }
        problem
    }
}

/// The nearest known name, or the list of all when none is near.
pub(super) fn suggest(name: &str, known: &[&str]) -> Option<String> {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3);
    match (nearest, known.is_empty()) {
        (Some((_, candidate)), _) => Some(format!("did you mean `{candidate}`?")),
        (None, false) => Some(format!("known are {}", known.join(", "))),
        (None, true) => None,
    }
}
