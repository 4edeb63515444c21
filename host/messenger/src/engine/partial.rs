//! Presence that is told in changes (RFC 5263).
//!
//! A notifier may send a whole document once, and after that what changed in it. What is kept is always the whole, so
//! that nothing else needs to know.

use attache_documents::{
    Limits,
    pidf_diff::{self, Update},
    tree::Tree,
};
use bytes::Bytes;

use crate::engine::versions::{Arrival, Versions};

/// What a partial document came to.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The whole document as it is now.
    Whole(Bytes),
    /// It says nothing new.
    Old,
    /// Changes are missing, or do not fit: the whole document is to be asked for.
    Ask,
    /// It cannot be read.
    Unreadable(String),
}

/// Takes a partial document. `known` is the whole one as it was.
pub(super) fn take(versions: &mut Versions, known: &Bytes, update: &Bytes) -> Outcome {
    let update = match pidf_diff::read(update, &Limits::DEFAULT) {
        Ok(update) => update,
        Err(error) => return Outcome::Unreadable(error.to_string()),
    };
    match update {
        Update::Full { version, presence } => {
            match version {
                Some(version) => _ = versions.take(version.into(), true),
                None => versions.restart(),
            }
            Outcome::Whole(presence.write().into())
        }
        // Without a number it cannot be known what they change.
        Update::Diff { version: None, .. } => Outcome::Ask,
        Update::Diff { version: Some(version), changes } => match versions.take(version.into(), false) {
            Arrival::Old => Outcome::Old,
            Arrival::Gap => Outcome::Ask,
            Arrival::Next | Arrival::Whole => {
                let tree = Tree::read(known, &Limits::DEFAULT).ok();
                match tree.and_then(|tree| changes.apply(&tree).ok()) {
                    Some(changed) => Outcome::Whole(changed.write().into()),
                    None => {
                        versions.restart();
                        Outcome::Ask
                    }
                }
            }
        },
        _ => Outcome::Unreadable("neither a whole document nor changes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(version: u32, note: &str) -> Bytes {
        format!(
            r#"<p:pidf-full xmlns:p="urn:ietf:params:xml:ns:pidf-diff" xmlns="urn:ietf:params:xml:ns:pidf"
            entity="pres:bob@example.com" version="{version}"><tuple id="t"><status><basic>open</basic></status>
            <note>{note}</note></tuple></p:pidf-full>"#
        )
        .into()
    }

    fn changes(version: u32, selector: &str, note: &str) -> Bytes {
        format!(
            r#"<p:pidf-diff xmlns:p="urn:ietf:params:xml:ns:pidf-diff" xmlns="urn:ietf:params:xml:ns:pidf"
            entity="pres:bob@example.com" version="{version}"><p:replace sel="{selector}">{note}</p:replace></p:pidf-diff>"#
        )
        .into()
    }

    const NOTE: &str = "presence/tuple/note/text()";

    fn note(document: &Bytes) -> String {
        attache_documents::pidf::read(document, &Limits::DEFAULT).unwrap().document.tuples[0].notes[0]
            .text
            .clone()
    }

    fn whole(outcome: Outcome) -> Bytes {
        match outcome {
            Outcome::Whole(body) => body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn changes_in_order_make_the_next_whole_document() {
        let mut versions = Versions::default();
        let known = whole(take(&mut versions, &Bytes::new(), &full(5, "here")));
        assert_eq!(note(&known), "here");
        let known = whole(take(&mut versions, &known, &changes(6, NOTE, "away")));
        assert_eq!(note(&known), "away");
        assert_eq!(take(&mut versions, &known, &changes(6, NOTE, "again")), Outcome::Old);
    }

    #[test]
    fn missing_changes_are_asked_for_and_not_guessed() {
        let mut versions = Versions::default();
        let known = whole(take(&mut versions, &Bytes::new(), &full(5, "here")));
        assert_eq!(take(&mut versions, &known, &changes(8, NOTE, "away")), Outcome::Ask);
        assert_eq!(take(&mut versions, &known, &changes(9, NOTE, "further")), Outcome::Old);
        assert_eq!(note(&whole(take(&mut versions, &known, &full(9, "further")))), "further");
    }

    #[test]
    fn changes_that_do_not_fit_are_asked_for_whole() {
        let mut versions = Versions::default();
        let known = whole(take(&mut versions, &Bytes::new(), &full(5, "here")));
        assert_eq!(take(&mut versions, &known, &changes(6, "presence/nothing", "x")), Outcome::Ask);
        assert_eq!(
            take(&mut versions, &known, &changes(7, NOTE, "x")),
            Outcome::Ask,
            "nor is what follows applied"
        );
    }

    #[test]
    fn changes_without_a_whole_before_are_asked_for() {
        assert_eq!(take(&mut Versions::default(), &Bytes::new(), &changes(1, NOTE, "x")), Outcome::Ask);
    }

    #[test]
    fn what_is_no_partial_document_is_said_to_be_none() {
        let outcome = take(&mut Versions::default(), &Bytes::new(), &Bytes::from_static(b"<presence/>"));
        assert!(matches!(outcome, Outcome::Unreadable(_)));
    }
}
