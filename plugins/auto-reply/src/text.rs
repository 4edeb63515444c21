//! Texts with places to fill in: `{name}`, `{status}`, `{note}`, `{until}`.

/// What can be filled in.
const PLACES: [&str; 4] = ["name", "status", "note", "until"];

/// A text that was checked when it was read, so that a typing error is found by the operator and not by a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Plain(String),
    /// Index into `PLACES`.
    Place(usize),
}

/// What stands in the places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values {
    /// How the peer is called.
    pub(crate) name: String,
    /// The own status, in words.
    pub(crate) status: String,
    /// The own note.
    pub(crate) note: String,
    /// When this is expected to change.
    pub(crate) until: String,
}

impl Text {
    /// Reads a text; `{{` stands for one bracket.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let (name, after) =
                rest.split_once('}').ok_or("a `{` is not closed; write `{{` for a bracket")?;
            let place = PLACES.iter().position(|place| *place == name).ok_or_else(|| {
                format!("there is no `{{{name}}}`; there are {{name}}, {{status}}, {{note}} and {{until}}")
            })?;
            parts.push(Part::Plain(std::mem::take(&mut plain)));
            parts.push(Part::Place(place));
            rest = after;
        }
        plain.push_str(rest);
        parts.push(Part::Plain(plain));
        Ok(Self(parts))
    }

    /// Whether the text has this place.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Place(place) if PLACES[*place] == name))
    }

    pub(crate) fn fill(&self, values: &Values) -> String {
        let values = [&values.name, &values.status, &values.note, &values.until];
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text.as_str(),
            Part::Place(place) => values[*place].as_str(),
        });
        parts.collect::<String>().trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values { name: "Bob".into(), status: "away".into(), note: "{name}".into(), until: "17:30".into() }
    }

    fn filled(text: &str) -> String {
        Text::parse(text).unwrap().fill(&values())
    }

    #[test]
    fn places_are_filled() {
        assert_eq!(filled("Hi {name}, I am {status} until {until}."), "Hi Bob, I am away until 17:30.");
        assert_eq!(filled("plain"), "plain");
        assert_eq!(filled("{name}"), "Bob");
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        assert_eq!(filled("{note}"), "{name}");
    }

    #[test]
    fn brackets_can_be_written() {
        assert_eq!(filled("{{name} }"), "{name} }");
    }

    #[test]
    fn a_place_that_is_none_is_found_when_the_text_is_read() {
        assert!(Text::parse("{nmae}").unwrap_err().contains("{nmae}"));
        assert!(Text::parse("{name").is_err());
    }

    #[test]
    fn a_text_knows_its_places() {
        let text = Text::parse("{until}{{note}").unwrap();
        assert!(text.wants("until"));
        assert!(!text.wants("note"));
    }
}
