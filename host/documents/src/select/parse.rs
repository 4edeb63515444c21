//! The reader of selectors: one pass, no backtracking.

use std::sync::Arc;

use super::{
    Dialect, MAX_LENGTH, MAX_PREDICATES, MAX_STEPS, Predicate, QName, SelectError, Selector, Step, Terminal,
    Test,
};
use crate::tree::is_part;

type Resolve<'a> = &'a dyn Fn(Option<&str>) -> Option<Arc<str>>;

pub(super) fn selector(text: &str, dialect: Dialect, resolve: Resolve<'_>) -> Result<Selector, SelectError> {
    if text.len() > MAX_LENGTH {
        return Err(SelectError::Syntax { offset: MAX_LENGTH, what: "it is too long" });
    }
    let mut parser = Parser { text, at: 0, dialect, resolve, predicates: 0 };
    if dialect == Dialect::Patch {
        parser.eat("/");
    }
    let mut selector = Selector { id: None, steps: Vec::new(), terminal: None };
    if dialect == Dialect::Patch && parser.eat("id(") {
        selector.id = Some(parser.quoted()?.into());
        parser.expect(")")?;
        if parser.rest().is_empty() {
            return Ok(selector);
        }
        parser.expect("/")?;
    }
    loop {
        if selector.steps.len() == MAX_STEPS {
            return Err(parser.wrong("it has too many steps"));
        }
        let inside = !selector.steps.is_empty() || selector.id.is_some();
        match parser.terminal()? {
            Some(terminal) if inside => {
                selector.terminal = Some(terminal);
                break;
            }
            Some(_) => return Err(parser.wrong("it starts with what only ends a selector")),
            None => {}
        }
        let step = parser.step()?;
        let last = !matches!(step.test, Test::Name(_) | Test::Any);
        selector.steps.push(step);
        if parser.rest().is_empty() {
            break;
        }
        if last {
            return Err(parser.wrong("only elements have children"));
        }
        parser.expect("/")?;
    }
    if !parser.rest().is_empty() {
        return Err(parser.wrong("it goes on after its end"));
    }
    Ok(selector)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
    resolve: Resolve<'a>,
    predicates: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, what: &'static str) -> SelectError {
        SelectError::Syntax { offset: self.at, what }
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    fn expect(&mut self, what: &'static str) -> Result<(), SelectError> {
        if self.eat(what) { Ok(()) } else { Err(self.wrong("something is missing here")) }
    }

    fn terminal(&mut self) -> Result<Option<Terminal>, SelectError> {
        if self.eat("@") {
            return Ok(Some(Terminal::Attribute(self.name(false)?)));
        }
        if self.eat("namespace::") {
            return match self.dialect {
                Dialect::Xcap => {
                    self.expect("*")?;
                    Ok(Some(Terminal::Namespaces))
                }
                Dialect::Patch => Ok(Some(Terminal::Namespace(self.part()?.into()))),
            };
        }
        Ok(None)
    }

    fn step(&mut self) -> Result<Step, SelectError> {
        let patch = self.dialect == Dialect::Patch;
        let test = if self.eat("*") {
            Test::Any
        } else if patch && self.eat("text()") {
            Test::Text
        } else if patch && self.eat("comment()") {
            Test::Comment
        } else if patch && self.eat("processing-instruction(") {
            let target = if self.rest().starts_with(')') { None } else { Some(self.quoted()?.into()) };
            self.expect(")")?;
            Test::Instruction(target)
        } else {
            Test::Name(self.name(true)?)
        };
        let element = matches!(test, Test::Name(_) | Test::Any);
        let mut predicates = Vec::new();
        while self.eat("[") {
            self.predicates += 1;
            if self.predicates > MAX_PREDICATES {
                return Err(self.wrong("it has too many predicates"));
            }
            let predicate = self.predicate()?;
            if !element && !matches!(predicate, Predicate::Position(_)) {
                return Err(self.wrong("only elements have attributes and values"));
            }
            predicates.push(predicate);
            self.blanks();
            self.expect("]")?;
        }
        Ok(Step { test, predicates })
    }

    fn predicate(&mut self) -> Result<Predicate, SelectError> {
        self.blanks();
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            let number = self.rest()[..digits].parse().ok().filter(|&number: &usize| number > 0);
            let number = number.ok_or_else(|| self.wrong("not a position"))?;
            self.at += digits;
            return Ok(Predicate::Position(number));
        }
        let left = if self.eat("@") {
            Some((true, self.name(false)?))
        } else if self.dialect == Dialect::Xcap {
            return Err(self.wrong("a position or an attribute is missing here"));
        } else if self.eat(".") {
            None
        } else {
            Some((false, self.name(true)?))
        };
        self.blanks();
        self.expect("=")?;
        self.blanks();
        let value = self.quoted()?;
        let value: Box<str> = match self.dialect {
            Dialect::Patch => value.into(),
            Dialect::Xcap => quick_xml::escape::unescape(value)
                .map_err(|_| self.wrong("the value before has a reference that means nothing"))?
                .into(),
        };
        Ok(match left {
            None => Predicate::Text(value),
            Some((true, name)) => Predicate::Attribute(name, value),
            Some((false, name)) => Predicate::Child(name, value),
        })
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn quoted(&mut self) -> Result<&'a str, SelectError> {
        let quote = self.rest().chars().next().filter(|c| matches!(c, '"' | '\''));
        let quote = quote.ok_or_else(|| self.wrong("a quoted value is missing here"))?;
        let inside = &self.rest()[1..];
        let end = inside.find(quote).ok_or_else(|| self.wrong("the quote is never closed"))?;
        self.at += end + 2;
        Ok(&inside[..end])
    }

    fn part(&mut self) -> Result<&'a str, SelectError> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{b7}')))
            .unwrap_or(rest.len());
        let part = &rest[..end];
        if !is_part(part) {
            return Err(self.wrong("a name is missing here"));
        }
        self.at += end;
        Ok(part)
    }

    fn name(&mut self, element: bool) -> Result<QName, SelectError> {
        let start = self.at;
        let first = self.part()?;
        // `namespace::` has two colons, and is no prefix.
        let prefix = (self.rest().starts_with(':') && !self.rest().starts_with("::")).then_some(first);
        let namespace = match prefix {
            Some(prefix) => {
                self.at += 1;
                self.part()?;
                if prefix == "xml" {
                    Some(crate::tree::XML_NAMESPACE.into())
                } else {
                    let found = (self.resolve)(Some(prefix));
                    Some(found.ok_or_else(|| SelectError::Prefix(prefix.to_owned()))?)
                }
            }
            None if element => (self.resolve)(None),
            None => None,
        };
        Ok(QName { namespace, written: self.text[start..self.at].into() })
    }
}
