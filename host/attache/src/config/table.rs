//! Reading what was typed, with every mistake at once.
//!
//! The TOML reader stops at the first key that it does not know and the first value of a wrong type. Here what it
//! stopped at is noted, taken out, and the rest is read again, so that a person who mends a file mends it once.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::problem::{Problem, Source};

/// Most mistakes that are told of one file; each costs a reading.
const MOST: usize = 64;

/// What could be read, and what was taken out.
pub(super) struct Typed<T> {
    /// None when nothing is left that could be read.
    pub(super) file: Option<T>,
    pub(super) problems: Vec<Problem>,
    /// Where things were taken out, by their place in the text.
    pub(super) spoilt: Vec<usize>,
}

/// Reads a file as far as it goes.
pub(super) fn read<T: DeserializeOwned>(source: &Source<'_>) -> Typed<T> {
    let (root, errors) = DeTable::parse_recoverable(source.text);
    let mut typed = Typed { file: None, problems: Vec::new(), spoilt: Vec::new() };
    if !errors.is_empty() {
        // What follows a mistake of syntax may be read as what it is not: nothing else is told of such a file.
        typed.problems = errors.iter().take(MOST).map(|error| source.unreadable(error)).collect();
        typed.problems.dedup_by_key(|problem| problem.line);
        return typed;
    }
    let (span, mut root) = (root.span(), root.into_inner());
    while typed.problems.len() < MOST {
        let document = Spanned::new(span.clone(), root.clone());
        match T::deserialize(toml::Deserializer::from(document)) {
            Ok(file) => {
                typed.file = Some(file);
                break;
            }
            Err(error) => {
                typed.problems.push(source.unreadable(&error));
                let Some(at) = error.span().map(|span| span.start) else { break };
                typed.spoilt.push(at);
                if !take_out(&mut root, at) {
                    break;
                }
            }
        }
    }
    typed.problems.sort_by_key(|problem| problem.line);
    typed
}

/// Takes out the innermost key or item that stands at a place. False when there is none.
fn take_out(table: &mut DeTable<'_>, at: usize) -> bool {
    let mut found = None;
    for (key, value) in table.iter_mut() {
        let inside = value.span().contains(&at) || value.span().start == at;
        let deeper = match value.get_mut() {
            DeValue::Table(inner) => take_out(inner, at),
            DeValue::Array(items) => take_item(items, at),
            _ => false,
        };
        if deeper {
            return true;
        }
        if inside || key.span().contains(&at) {
            found = Some(key.clone());
        }
    }
    found.is_some_and(|key| table.remove(&key).is_some())
}

fn take_item(items: &mut DeArray<'_>, at: usize) -> bool {
    for item in items.iter_mut() {
        if let DeValue::Table(inner) = item.get_mut()
            && take_out(inner, at)
        {
            return true;
        }
    }
    let Some(index) = items.iter().position(|item| item.span().contains(&at)) else { return false };
    let kept = core::mem::replace(items, DeArray::new())
        .into_iter()
        .enumerate()
        .filter(|(other, _)| *other != index);
    *items = kept.map(|(_, item)| item).collect();
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        item: Vec<Item>,
        #[serde(default)]
        table: Option<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        number: Option<u8>,
        #[serde(default)]
        flag: bool,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        name: String,
    }

    fn typed(text: &str) -> (Typed<File>, Vec<usize>) {
        let typed = read::<File>(&Source { file: Path::new("x.toml"), text });
        let lines = typed.problems.iter().map(|problem| problem.line).collect();
        (typed, lines)
    }

    #[test]
    fn every_mistake_is_told_and_the_rest_is_read() {
        let (typed, lines) = typed(
            "other = 1\n[[item]]\nnumber = \"x\"\nflg = true\n[[item]]\nnumber = 3\nflag = 1\n\
             inner = { name = 1, nam = 2 }\n[table]\nnumber = 300\n",
        );
        assert_eq!(lines, [1, 3, 4, 7, 8, 8, 8, 10], "{:?}", typed.problems);
        let file = typed.file.expect("the rest");
        assert_eq!(file.item.len(), 2);
        assert_eq!((file.item[1].number, file.item[1].flag), (Some(3), false));
        assert!(file.item[1].inner.as_ref().is_none_or(|inner| inner.name.is_empty()));
        assert!(file.table.is_some());
    }

    #[test]
    fn mistakes_of_syntax_are_told_alone() {
        let (typed, lines) = typed("other = 1\nitem = \n\ntable = [\n");
        assert!(typed.file.is_none());
        assert!(lines.contains(&2) && !lines.contains(&1), "{:?}", typed.problems);
    }

    #[test]
    fn a_file_with_very_many_mistakes_takes_no_long_time() {
        let text: String = (0..5_000).map(|number| format!("key{number} = 1\n")).collect();
        let (typed, lines) = typed(&text);
        assert!(typed.file.is_none());
        assert_eq!(lines.len(), MOST);
    }
}
