//! Licence expressions, as far as packages write them: SPDX's `OR`, `AND`, `WITH` and brackets, and the older `/`.

use anyhow::{Result, bail};

/// Whether the expression is satisfied by licences that `allowed` accepts. An exception (`WITH`) is part of what is
/// asked about: `Apache-2.0 WITH LLVM-exception`.
///
/// # Errors
/// When it is no expression: better a question than a wrong answer.
pub(crate) fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let satisfied = parser.any()?;
    match parser.words {
        [] => Ok(satisfied),
        [word, ..] => bail!("`{word}` is unexpected in the licence `{expression}`"),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<bool> {
        let mut satisfied = self.all()?;
        while self.take("OR") {
            satisfied |= self.all()?;
        }
        Ok(satisfied)
    }

    fn all(&mut self) -> Result<bool> {
        let mut satisfied = self.one()?;
        while self.take("AND") {
            satisfied &= self.one()?;
        }
        Ok(satisfied)
    }

    fn one(&mut self) -> Result<bool> {
        if self.take("(") {
            let satisfied = self.any()?;
            if !self.take(")") {
                bail!("a bracket of a licence is not closed");
            }
            return Ok(satisfied);
        }
        let licence = self.name()?;
        if self.take("WITH") {
            let exception = self.name()?;
            return Ok((self.allowed)(&format!("{licence} WITH {exception}")));
        }
        Ok((self.allowed)(licence))
    }

    fn name(&mut self) -> Result<&'a str> {
        match self.words.split_first() {
            Some((word, rest)) if !["OR", "AND", "WITH", "(", ")"].contains(word) => {
                self.words = rest;
                Ok(word)
            }
            _ => bail!("a licence's name is missing"),
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str) -> Option<bool> {
        let allowed = |name: &str| ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].contains(&name);
        satisfied(expression, &allowed).ok()
    }

    #[test]
    fn either_side_of_or_suffices_and_both_sides_of_and_are_needed() {
        assert_eq!(check("MIT"), Some(true));
        assert_eq!(check("GPL-3.0"), Some(false));
        assert_eq!(check("GPL-3.0 OR MIT"), Some(true));
        assert_eq!(check("GPL-3.0 AND MIT"), Some(false));
        assert_eq!(check("Zlib AND MIT"), Some(true));
        assert_eq!(check("GPL-3.0/MIT"), Some(true));
    }

    #[test]
    fn and_binds_tighter_than_or_and_brackets_tighter_than_both() {
        assert_eq!(check("MIT OR GPL-3.0 AND GPL-2.0"), Some(true));
        assert_eq!(check("(MIT OR GPL-3.0) AND GPL-2.0"), Some(false));
        assert_eq!(check("(MIT OR GPL-3.0) AND Zlib"), Some(true));
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert_eq!(check("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(check("Apache-2.0"), Some(false));
        assert_eq!(check("GPL-2.0 WITH LLVM-exception OR GPL-3.0"), Some(false));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for wrong in ["", "MIT OR", "OR MIT", "MIT MIT", "(MIT", "MIT)", "MIT WITH", "()"] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
