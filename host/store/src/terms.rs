//! What a person types into a search field, made into words.
//!
//! SQLite's query language has operators, columns and a syntax that can be wrong. Here nothing has a meaning but white
//! space, and a `*` at the end of a word.

use attache_messenger::storage::StorageError;

/// More words than a person types; a query's cost grows with them.
const MOST_WORDS: usize = 32;
/// Longest query in bytes.
const MOST_BYTES: usize = 1024;

/// One word that must occur.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Term<'a> {
    /// Without the star.
    pub(crate) word: &'a str,
    /// Whether a longer word that begins like this will do.
    pub(crate) prefix: bool,
}

/// What a text asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Terms<'a> {
    /// Nothing: every text matches.
    Any,
    /// All of these; at least one.
    All(Vec<Term<'a>>),
    /// Only what is in no index, such as `:-)`: no text matches.
    Nothing,
}

/// Reads a query's text. Words without a letter or digit are not in the index; beside others they are left out.
pub(crate) fn parse(text: &str) -> Result<Terms<'_>, StorageError> {
    if text.len() > MOST_BYTES {
        return Err(StorageError::Other(format!("a search has at most {MOST_BYTES} bytes")));
    }
    if text.trim().is_empty() {
        return Ok(Terms::Any);
    }
    let terms: Vec<_> = text
        .split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| Term { word: word.trim_end_matches('*'), prefix: word.ends_with('*') })
        .collect();
    if terms.len() > MOST_WORDS {
        return Err(StorageError::Other(format!("a search has at most {MOST_WORDS} words")));
    }
    Ok(if terms.is_empty() { Terms::Nothing } else { Terms::All(terms) })
}

/// The terms as an FTS5 expression over the column `text`, within one account.
pub(crate) fn to_fts5(account: i64, terms: &[Term<'_>]) -> String {
    use core::fmt::Write as _;
    // The tokenizer drops the sign, so another account can have the same token: the statement compares the column too.
    let mut expression = format!("account : \"{account}\" AND text : (");
    for term in terms {
        // Within quotes only a quote has a meaning, and NUL would end the expression. Writing to a String cannot fail.
        let word = term.word.replace('"', "\"\"").replace('\0', " ");
        let _ = write!(expression, " \"{word}\"{}", if term.prefix { " *" } else { "" });
    }
    expression.push(')');
    expression
}

/// Matches texts without an index, as nearly like one as can be done without its tables.
pub(crate) struct Matcher {
    /// The tokens of one word of the query stand side by side; the last may be a beginning.
    phrases: Vec<(Vec<String>, bool)>,
}

impl Matcher {
    /// None when no text can match.
    pub(crate) fn new(terms: &Terms<'_>) -> Option<Self> {
        let phrases = match terms {
            Terms::Nothing => return None,
            Terms::Any => Vec::new(),
            Terms::All(terms) => terms.iter().map(|term| (tokens(term.word), term.prefix)).collect(),
        };
        Some(Self { phrases })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        if self.phrases.is_empty() {
            return true;
        }
        let tokens = tokens(text);
        self.phrases.iter().all(|(phrase, prefix)| {
            let Some((last, first)) = phrase.split_last() else { return true };
            tokens.windows(phrase.len()).any(|window| {
                let end = &window[first.len()];
                window[..first.len()] == *first && (end == last || *prefix && end.starts_with(last.as_str()))
            })
        })
    }
}

/// Words in one case and without the accents of Latin letters.
fn tokens(text: &str) -> Vec<String> {
    const PLAIN: &[(&str, char)] = &[
        ("àáâãäåāăą", 'a'),
        ("çćĉċč", 'c'),
        ("ďđ", 'd'),
        ("èéêëēĕėęě", 'e'),
        ("ĝğġģ", 'g'),
        ("ìíîïĩīĭį", 'i'),
        ("ķ", 'k'),
        ("ĺļľ", 'l'),
        ("ñńņň", 'n'),
        ("òóôõöōŏő", 'o'),
        ("ŕŗř", 'r'),
        ("śŝşš", 's'),
        ("ţť", 't'),
        ("ùúûüũūŭůűų", 'u'),
        ("ŵ", 'w'),
        ("ýÿŷ", 'y'),
        ("źżž", 'z'),
    ];
    let combining = |c: &char| matches!(c, '\u{300}'..='\u{36f}');
    let plain = |c: char| {
        if c.is_ascii() {
            c
        } else {
            PLAIN.iter().find(|(all, _)| all.contains(c)).map_or(c, |(_, plain)| *plain)
        }
    };
    let folded: String =
        text.chars().flat_map(char::to_lowercase).filter(|c| !combining(c)).map(plain).collect();
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'a>(terms: &[(&'a str, bool)]) -> Terms<'a> {
        Terms::All(terms.iter().map(|&(word, prefix)| Term { word, prefix }).collect())
    }

    #[test]
    fn words_are_separated_by_white_space_only() {
        assert_eq!(
            parse(" red  blue\tf-16 ").unwrap(),
            all(&[("red", false), ("blue", false), ("f-16", false)])
        );
    }

    #[test]
    fn a_star_at_the_end_asks_for_a_beginning() {
        assert_eq!(parse("app* a*b").unwrap(), all(&[("app", true), ("a*b", false)]));
    }

    #[test]
    fn what_no_index_holds_is_left_out_or_matches_nothing() {
        assert_eq!(parse("hello :-)").unwrap(), all(&[("hello", false)]));
        assert_eq!(parse(":-) *").unwrap(), Terms::Nothing);
        assert_eq!(parse("  ").unwrap(), Terms::Any);
    }

    #[test]
    fn quotes_cannot_leave_their_term() {
        let Terms::All(terms) = parse("a\"b OR\" NEAR(x*").unwrap() else { unreachable!() };
        let expression = to_fts5(-5, &terms);
        assert_eq!(expression, "account : \"-5\" AND text : ( \"a\"\"b\" \"OR\"\"\" \"NEAR(x\" *)");
    }

    #[test]
    fn a_query_of_many_words_is_refused() {
        assert!(parse(&"w ".repeat(33)).is_err());
        assert!(parse(&"w".repeat(1025)).is_err());
    }
}
