//! Taking edits back.
//!
//! What an edit did is remembered by addresses and by what groups are known by in the document, not by handles: those
//! change when something is removed and comes back, here or on another device.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Records, model::Key};
use crate::{
    address::Address,
    code::Code,
    engine::{
        Engine,
        ledger::Ticket,
        roster::{Change, Edit, Roster},
    },
    error::Error,
    event::{Contact, Group},
    id::{ContactId, GroupId},
    profile::ContactDetails,
    storage::{Record, RecordKind},
};

/// How many edits can be taken back.
const DEPTH: usize = 32;

/// What an edit did.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "did")]
pub(in crate::engine) enum Undone {
    /// A contact came, went, or changed: what was before, and what was then; `None` for no contact.
    Contact { address: String, before: Option<Image>, after: Option<Image> },
    /// A group came, went, or changed its name. Holds the members that a removal took out.
    Group { key: Key, before: Option<Arc<str>>, after: Option<Arc<str>>, members: Vec<String> },
}

/// A contact at one time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(in crate::engine) struct Image {
    name: Arc<str>,
    groups: Vec<Key>,
    /// As a store keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

impl Image {
    fn details(&self) -> Option<Arc<ContactDetails>> {
        self.details.as_deref().and_then(ContactDetails::restored).map(Arc::new)
    }
}

/// What an edit means for what can be taken back.
#[derive(Debug, Default)]
pub(in crate::engine) enum UndoStep {
    #[default]
    Nothing,
    /// It can be taken back, under this number; and the one with the second number no longer.
    Push(u64, Undone, Option<u64>),
    /// It took one back.
    Pop(u64, Undone),
}

impl UndoStep {
    /// Adds what has to be kept.
    pub(in crate::engine) fn write(&self, records: &mut Records) {
        // Numbers are written with leading zeros, so that keys sort as they came.
        let key = |number: &u64| -> Arc<str> { format!("{number:020}").into() };
        match self {
            Self::Nothing => {}
            Self::Push(number, undone, oldest) => {
                let text = serde_json::to_string(undone).unwrap_or_default();
                records.push((RecordKind::Undo, key(number), Some(text.into())));
                records.extend(oldest.iter().map(|number| (RecordKind::Undo, key(number), None)));
            }
            Self::Pop(number, _) => records.push((RecordKind::Undo, key(number), None)),
        }
    }
}

/// What can be taken back, oldest first.
#[derive(Debug, Default)]
pub(in crate::engine) struct UndoStack {
    edits: VecDeque<(u64, Undone)>,
    last: u64,
}

impl UndoStack {
    pub(super) fn new(records: &[Record]) -> Self {
        let mut edits: Vec<(u64, Undone)> = records
            .iter()
            .filter(|record| record.kind == RecordKind::Undo)
            .filter_map(|record| Some((record.key.parse().ok()?, serde_json::from_str(&record.value).ok()?)))
            .collect();
        edits.sort_by_key(|(number, _)| *number);
        let last = edits.last().map_or(0, |(number, _)| *number);
        Self { edits: edits.into(), last }
    }

    fn push(&mut self, undone: Undone) -> UndoStep {
        self.last += 1;
        self.edits.push_back((self.last, undone.clone()));
        let oldest = if self.edits.len() > DEPTH { self.edits.pop_front() } else { None };
        UndoStep::Push(self.last, undone, oldest.map(|(number, _)| number))
    }

    /// The store refused an edit.
    pub(in crate::engine) fn refused(&mut self, step: UndoStep) {
        match step {
            UndoStep::Nothing => {}
            UndoStep::Push(number, ..) => self.edits.retain(|(known, _)| *known != number),
            UndoStep::Pop(number, undone) => {
                let at = self.edits.partition_point(|(known, _)| *known < number);
                self.edits.insert(at, (number, undone));
            }
        }
    }
}

impl Engine {
    /// How to take back a change that was made to the list `before`.
    pub(in crate::engine) fn remember(&mut self, before: &Roster, change: &Change) -> UndoStep {
        let undone = match change {
            Change::Nothing => return UndoStep::Nothing,
            Change::ContactAdded(contact)
            | Change::ContactChanged(contact)
            | Change::ContactRemoved(contact) => {
                let after = (!matches!(change, Change::ContactRemoved(_))).then(|| self.image(contact));
                let before = before.get(contact.id).map(|contact| self.image(contact));
                Undone::Contact { address: contact.address.as_str().to_owned(), before, after }
            }
            Change::GroupAdded(group) | Change::GroupRenamed(group) => Undone::Group {
                key: self.sync.contacts.key(group.id),
                before: before.get_group(group.id).map(|group| group.name.clone()),
                after: Some(group.name.clone()),
                members: Vec::new(),
            },
            Change::GroupRemoved(group, members) => Undone::Group {
                key: self.sync.contacts.key(group.id),
                before: Some(group.name.clone()),
                after: None,
                members: members.iter().map(|member| member.address.as_str().to_owned()).collect(),
            },
        };
        self.sync.undo.push(undone)
    }

    fn image(&self, contact: &Contact) -> Image {
        let mut groups: Vec<Key> = contact.groups.iter().map(|id| self.sync.contacts.key(*id)).collect();
        groups.sort_unstable();
        let details = contact.details.as_deref().and_then(ContactDetails::kept);
        Image { name: contact.name.clone(), groups, details }
    }

    /// The command.
    pub(in crate::engine) fn undo(&mut self, ticket: Ticket) {
        let Some((number, undone)) = self.sync.undo.edits.pop_back() else {
            let error = Error::new(Code::NotFound, "there is no edit that could be taken back");
            self.ledger.answer(ticket.token, Err(error));
            return;
        };
        let mut edit = Edit::default();
        match &undone {
            Undone::Contact { address, before, after } => {
                if let Ok(address) = Address::parse(address) {
                    self.undo_contact(address, before.as_ref(), after.as_ref(), &mut edit);
                }
            }
            Undone::Group { key, before, after, members } => {
                self.undo_group(key, before.as_ref(), after.as_ref(), members, &mut edit);
            }
        }
        edit.undo = UndoStep::Pop(number, undone);
        edit.undo.write(&mut edit.records);
        self.keep_edit(ticket, edit);
    }

    fn undo_contact(
        &mut self,
        address: Address,
        before: Option<&Image>,
        after: Option<&Image>,
        edit: &mut Edit,
    ) {
        let known = self.roster.id_of(&address).and_then(|id| self.roster.get(id)).cloned();
        match (before, after, known) {
            // It was removed, and is still gone.
            (Some(before), None, None) => {
                if self.roster.contacts().count() >= self.config.limits.contacts {
                    return;
                }
                let groups = before.groups.iter().filter_map(|key| self.group_of(key)).collect();
                let id = ContactId(self.next_id());
                let (name, details) = (before.name.clone(), before.details());
                let contact = Contact { id, address, name, groups: sorted(groups), details };
                edit.changes.extend(self.roster.replace_contact(contact));
            }
            // It was added, and is as it was then.
            (None, Some(after), Some(contact)) if self.image(&contact) == *after => {
                edit.changes.extend(self.roster.take_out(contact.id));
            }
            // It was changed: what is still as it was then goes back, apart from the rest.
            (Some(before), Some(after), Some(contact)) => {
                let mut back = Contact::clone(&contact);
                if contact.name == after.name {
                    back.name = before.name.clone();
                }
                if contact.details == after.details() {
                    back.details = before.details();
                }
                for key in after.groups.iter().filter(|key| !before.groups.contains(key)) {
                    let id = self.group_of(key);
                    back.groups.retain(|group| Some(*group) != id);
                }
                for key in before.groups.iter().filter(|key| !after.groups.contains(key)) {
                    back.groups.extend(self.group_of(key));
                }
                back.groups = sorted(back.groups.to_vec());
                edit.changes.extend(self.roster.replace_contact(back));
            }
            _ => {}
        }
    }

    fn undo_group(
        &mut self,
        key: &Key,
        before: Option<&Arc<str>>,
        after: Option<&Arc<str>>,
        members: &[String],
        edit: &mut Edit,
    ) {
        let known = self.group_of(key).and_then(|id| self.roster.get_group(id)).cloned();
        match (before, after, known) {
            (Some(name), None, None) => {
                if self.roster.is_taken(name, None)
                    || self.roster.groups().count() >= self.config.limits.groups
                {
                    return;
                }
                let id = GroupId(self.next_id());
                self.sync.contacts.set_key(id, key.clone(), &mut edit.records);
                edit.changes.extend(self.roster.replace_group(Group { id, name: name.clone() }));
                for member in members {
                    let member = Address::parse(member).ok();
                    let member = member.and_then(|address| self.roster.id_of(&address));
                    let Some(contact) = member.and_then(|member| self.roster.get(member)) else { continue };
                    let mut contact = Contact::clone(contact);
                    contact.groups.push(id);
                    contact.groups = sorted(contact.groups.to_vec());
                    edit.changes.extend(self.roster.replace_contact(contact));
                }
            }
            (None, Some(name), Some(group)) if group.name == *name => {
                // Whoever was put into it since is in it no longer.
                edit.changes.extend(self.roster.dissolve(group.id));
            }
            (Some(before), Some(after), Some(group))
                if group.name == *after && !self.roster.is_taken(before, Some(group.id)) =>
            {
                let group = Group { id: group.id, name: before.clone() };
                edit.changes.extend(self.roster.replace_group(group));
            }
            _ => {}
        }
    }

    pub(in crate::engine) fn group_of(&self, key: &Key) -> Option<GroupId> {
        self.roster.groups().map(|group| group.id).find(|id| self.sync.contacts.key(*id) == *key)
    }
}

fn sorted(mut groups: Vec<GroupId>) -> smallvec::SmallVec<[GroupId; 2]> {
    groups.sort_unstable();
    groups.dedup();
    groups.into()
}
