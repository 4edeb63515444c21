//! The `config` table that the operator wrote for this plugin. Needs no grant.
//!
//! Values come as text. A nested table has its keys joined with dots, a list the numbers of its items: `texts.away`,
//! `never.0`.

//!
//! [`Table`] reads all of it and complains about keys that nobody asked for, which are misspelt as a rule.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::bindings::imports::wasi::config::store::{self, Error};

/// One value; none where the operator did not write it.
///
/// # Errors
/// A sentence, when the host cannot tell.
pub fn get(key: &str) -> Result<Option<String>, String> {
    store::get(key).map_err(sentence)
}

/// One value as a type; none where the operator did not write it.
///
/// # Errors
/// A sentence that names the key and the value that is none.
pub fn parse<T: FromStr<Err: Display>>(key: &str) -> Result<Option<T>, String> {
    let Some(value) = get(key)? else { return Ok(None) };
    converted(key, &value).map(Some)
}

fn converted<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("`{key}` is `{value}`: {error}"))
}

fn sentence(error: Error) -> String {
    match error {
        Error::Upstream(reason) | Error::Io(reason) => format!("the configuration cannot be read: {reason}"),
    }
}

/// The whole configuration. What is taken out of it is known; what is left in the end is a mistake.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<String, String>);

impl Table {
    /// Asks the host for the configuration of this plugin.
    ///
    /// # Errors
    /// A sentence, when the host cannot tell.
    pub fn read() -> Result<Self, String> {
        store::get_all().map(|values| values.into_iter().collect()).map_err(sentence)
    }

    /// Takes one value.
    ///
    /// # Errors
    /// A sentence that names the key and the value that is none.
    pub fn take<T: FromStr<Err: Display>>(&mut self, key: &str) -> Result<Option<T>, String> {
        self.0.remove(key).map(|value| converted(key, &value)).transpose()
    }

    /// Takes a list in its order. A single value counts as a list of one.
    pub fn take_list(&mut self, key: &str) -> Vec<String> {
        let mut items: Vec<String> = self.0.remove(key).into_iter().collect();
        while let Some(item) = self.0.remove(&format!("{key}.{}", items.len())) {
            items.push(item);
        }
        items
    }

    /// Takes a nested table: everything whose key begins with `key` and a dot, without that beginning.
    pub fn take_table(&mut self, key: &str) -> Vec<(String, String)> {
        let prefix = format!("{key}.");
        let keys: Vec<String> = self.0.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        let pairs = keys.into_iter().filter_map(|key| self.0.remove_entry(&key));
        pairs.map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// A sentence that names a key that was not taken, and the keys that there are.
    pub fn finish(self, known: &[&str]) -> Result<(), String> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("there is no key `{key}`; the keys are {}", known.join(", "))),
        }
    }
}

impl FromIterator<(String, String)> for Table {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// A length of time as people write it: a whole number and `s`, `m`, `h`, `d` or `w`, such as `90m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    /// In milliseconds.
    pub milliseconds: crate::Duration,
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a length of time is a whole number and s, m, h, d or w, such as 90m";
        let unit = text.chars().next_back().ok_or(WANTED)?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            'w' => 7 * 24 * 60 * 60,
            _ => return Err(WANTED),
        };
        let number: u64 = text[..text.len() - 1].trim().parse().map_err(|_| WANTED)?;
        let milliseconds = number.checked_mul(seconds * 1000).ok_or("this is too long")?;
        Ok(Self { milliseconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> Table {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_value_that_is_none_names_its_key() {
        let mut table = table(&[("interval", "soon"), ("flag", "true")]);
        assert_eq!(table.take::<bool>("flag"), Ok(Some(true)));
        assert_eq!(table.take::<bool>("flag"), Ok(None));
        let error = table.take::<Period>("interval").unwrap_err();
        assert!(error.starts_with("`interval` is `soon`: "), "{error}");
    }

    #[test]
    fn lists_keep_their_order_and_a_single_value_is_a_list() {
        let many: Vec<(String, String)> = (0..12).map(|n| (format!("never.{n}"), n.to_string())).collect();
        let mut many: Table = many.into_iter().collect();
        assert_eq!(many.take_list("never"), (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(many.finish(&[]), Ok(()));
        assert_eq!(table(&[("never", "one")]).take_list("never"), ["one"]);
        assert_eq!(table(&[]).take_list("never"), Vec::<String>::new());
    }

    #[test]
    fn nested_tables_keep_keys_that_have_dots() {
        let mut table = table(&[("keep.sip:boss@example.com", "30d"), ("keeper", "x"), ("keep", "y")]);
        assert_eq!(table.take_table("keep"), [("sip:boss@example.com".to_owned(), "30d".to_owned())]);
        let error = table.finish(&["keep"]).unwrap_err();
        assert_eq!(error, "there is no key `keep`; the keys are keep");
    }

    #[test]
    fn periods_are_a_number_and_a_unit() {
        let period = |text: &str| text.parse::<Period>().map(|period| period.milliseconds);
        assert_eq!(period("90m"), Ok(5_400_000));
        assert_eq!(period("1 d"), Ok(86_400_000));
        assert_eq!(period("2w"), Ok(1_209_600_000));
        assert_eq!(period("0s"), Ok(0));
        for wrong in [
            "",
            "h",
            "4",
            "-1h",
            "4 hours",
            "1.5h",
            "ü",
            "4h30m",
            "99999999999999999999d",
            "999999999999999999w",
        ] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
    }
}
