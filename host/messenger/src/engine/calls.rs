//! Who is on the phone, by their dialogs (RFC 4235).

use std::collections::BTreeSet;

use attache_documents::{
    Limits,
    dialog_info::{self, State},
    pidf::{Activity, Document, Person},
};

use crate::engine::versions::{Arrival, Versions};

/// Most dialogs of one person.
const MAX_DIALOGS: usize = 64;

/// The dialogs of one person, as far as somebody talks in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    versions: Versions,
    talking: BTreeSet<String>,
}

/// What a document of dialogs came to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Somebody began to talk, or ended.
    Changed,
    /// Nothing of that.
    Same,
    /// Something before it is missing.
    Ask,
}

impl Calls {
    /// Takes a document. Whose it is says the subscription: some servers write the watcher's own address into it.
    pub(super) fn take(&mut self, document: &[u8]) -> Result<Outcome, String> {
        let read = dialog_info::read(document, &Limits::DEFAULT).map_err(|error| error.to_string())?.document;
        let before = self.is_talking();
        match self.versions.take(read.version.into(), read.full) {
            Arrival::Whole => self.talking.clear(),
            Arrival::Next => {}
            Arrival::Old => return Ok(Outcome::Same),
            Arrival::Gap => return Ok(Outcome::Ask),
        }
        // What some servers publish of a call stays when they publish it anew: then one document has the call twice, and what is
        // over does not begin again (section 3.7.1).
        let over: BTreeSet<String> = read
            .dialogs
            .iter()
            .filter(|dialog| dialog.state == State::Terminated)
            .map(|dialog| dialog.id.clone())
            .collect();
        for dialog in read.dialogs {
            if dialog.state != State::Confirmed || over.contains(&dialog.id) {
                self.talking.remove(&dialog.id);
            } else if self.talking.len() < MAX_DIALOGS {
                self.talking.insert(dialog.id);
            }
        }
        Ok(if self.is_talking() == before { Outcome::Same } else { Outcome::Changed })
    }

    pub(super) fn is_talking(&self) -> bool {
        !self.talking.is_empty()
    }

    /// The same as a statement on the person, to be composed with what else is known.
    pub(super) fn statement(&self) -> Option<Document> {
        let mut person = Person::default();
        person.rich.activities.list.push(Activity::OnThePhone);
        self.is_talking().then(|| Document { persons: vec![person], ..Document::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(version: u32, state: &str, dialogs: &[(&str, &str)]) -> Vec<u8> {
        let dialogs: String = dialogs
            .iter()
            .map(|(id, state)| format!(r#"<dialog id="{id}"><state>{state}</state></dialog>"#))
            .collect();
        format!(
            r#"<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" state="{state}"
            entity="sip:watcher@example.com">{dialogs}</dialog-info>"#
        )
        .into_bytes()
    }

    #[test]
    fn a_confirmed_dialog_is_a_person_on_the_phone() {
        let mut calls = Calls::default();
        assert_eq!(calls.take(&document(0, "full", &[("a", "early")])), Ok(Outcome::Same));
        assert_eq!(calls.take(&document(1, "partial", &[("a", "confirmed")])), Ok(Outcome::Changed));
        assert_eq!(calls.take(&document(2, "partial", &[("b", "confirmed")])), Ok(Outcome::Same));
        assert_eq!(calls.take(&document(3, "partial", &[("a", "terminated")])), Ok(Outcome::Same));
        assert_eq!(calls.take(&document(4, "full", &[])), Ok(Outcome::Changed));
        assert!(calls.statement().is_none());
    }

    #[test]
    fn a_missing_document_of_dialogs_is_asked_for() {
        let mut calls = Calls::default();
        calls.take(&document(0, "full", &[("a", "confirmed")])).unwrap();
        assert_eq!(calls.take(&document(2, "partial", &[("a", "terminated")])), Ok(Outcome::Ask));
        assert!(calls.is_talking());
    }
}
