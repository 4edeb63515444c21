//! Settling what two devices could not agree on.

use std::sync::Arc;

use crate::{
    code::Code,
    engine::{
        Engine,
        ledger::Ticket,
        roster::{Edit, tidied},
        sync::UndoStep,
    },
    error::Error,
    event::{Contact, Group},
    id::{ConflictId, ContactId, GroupId},
    storage::{Record, RecordKind},
    sync::{Conflict, ConflictAbout, Side},
};

/// Conflicts that were not settled when the engine was stopped.
pub(in crate::engine) fn restored(records: &[Record]) -> impl Iterator<Item = Arc<Conflict>> + '_ {
    let kept = records.iter().filter(|record| record.kind == RecordKind::Conflict);
    kept.filter_map(|record| serde_json::from_str(&record.value).ok()).map(Arc::new)
}

impl Engine {
    /// The commands `KeepMine` and `KeepTheirs`.
    pub(in crate::engine) fn settle_conflict(&mut self, ticket: Ticket, id: ConflictId, keep: Side) {
        let Some(conflict) = self.view.conflicts.get(&id).cloned() else {
            let error = Error::new(Code::NotFound, format!("there is no conflict {id}"));
            self.ledger.answer(ticket.token, Err(error));
            return;
        };
        let mut edit = Edit::default();
        if conflict.shown != keep {
            let wanted = if keep == Side::Mine { &conflict.mine } else { &conflict.theirs };
            let before = self.roster.clone();
            match &conflict.about {
                ConflictAbout::Contact(address) => {
                    let id = self.roster.id_of(address);
                    let known = id.and_then(|id| self.roster.get(id)).cloned();
                    let change = match (wanted, known) {
                        (Some(name), Some(known)) => {
                            let contact = Contact { name: tidied(name), ..Contact::clone(&known) };
                            self.roster.replace_contact(contact)
                        }
                        (Some(name), None) => {
                            let id = ContactId(self.next_id());
                            let address = address.clone();
                            let (name, groups) = (tidied(name), Default::default());
                            let contact = Contact { id, address, name, groups, details: None };
                            self.roster.replace_contact(contact)
                        }
                        (None, Some(known)) => self.roster.take_out(known.id),
                        (None, None) => None,
                    };
                    edit.changes.extend(change);
                }
                ConflictAbout::Group(key) => {
                    let known = self.group_of(key);
                    let change = match wanted {
                        Some(name) if self.roster.is_taken(name, known) => {
                            let text = format!("a group with the name `{name}` exists");
                            self.ledger.answer(ticket.token, Err(Error::new(Code::GroupAlreadyExists, text)));
                            return;
                        }
                        Some(name) => {
                            let id = match known {
                                Some(id) => id,
                                None => {
                                    let id = GroupId(self.next_id());
                                    self.sync.contacts.set_key(id, key.clone(), &mut edit.records);
                                    id
                                }
                            };
                            self.roster.replace_group(Group { id, name: tidied(name) })
                        }
                        None => known.and_then(|id| self.roster.dissolve(id)),
                    };
                    edit.changes.extend(change);
                }
            }
            if let [change] = &edit.changes[..] {
                edit.undo = self.remember(&before, change);
                edit.undo.write(&mut edit.records);
            } else {
                edit.undo = UndoStep::Nothing;
            }
        }
        edit.settle(conflict);
        self.keep_edit(ticket, edit);
    }
}
