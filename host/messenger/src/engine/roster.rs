//! Contacts and groups: the list that the account's user edits.
//!
//! An edit is checked against the list as it will be once every earlier edit is durable, and shown only when it is
//! durable itself. The maps are persistent, so the list-to-be costs a few nodes and not a copy. When the store refuses,
//! the edits that were built upon the refused one fail with it.

use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::{
    address::Address,
    code::Code,
    command::{Accepted, Command},
    engine::{
        Engine,
        config::Limits,
        ledger::{Effect, Sealed, Ticket},
        profiles::profile_change,
        sync::{Pulled, Records, UndoStep},
    },
    error::Error,
    event::{Contact, EventKind, Group},
    id::{ContactId, GroupId},
    presence::{Presence, UnknownReason},
    snapshot::ContactEntry,
    storage::{RecordKind, Write},
    sync::Conflict,
    time::Timestamp,
};

/// Longest name of a contact or group, in bytes.
pub(super) const MAX_NAME: usize = 256;

/// One edit, checked.
#[derive(Debug)]
pub(super) enum Change {
    ContactAdded(Arc<Contact>),
    ContactChanged(Arc<Contact>),
    ContactRemoved(Arc<Contact>),
    GroupAdded(Arc<Group>),
    GroupRenamed(Arc<Group>),
    GroupRemoved(Arc<Group>, Vec<Arc<Contact>>),
    /// The list is already as wanted.
    Nothing,
}

impl Change {
    pub(super) fn events(&self) -> u64 {
        match self {
            Self::GroupRemoved(_, members) => 1 + members.len() as u64,
            Self::Nothing => 0,
            // Who they are may have changed with it.
            Self::ContactChanged(_) => 2,
            _ => 1,
        }
    }

    pub(super) fn write(&self, writes: &mut Vec<Write>) {
        match self {
            Self::ContactAdded(contact) | Self::ContactChanged(contact) => {
                writes.push(Write::PutContact(contact.clone()));
            }
            Self::ContactRemoved(contact) => writes.push(Write::RemoveContact(contact.id)),
            Self::GroupAdded(group) | Self::GroupRenamed(group) => {
                writes.push(Write::PutGroup(group.clone()));
            }
            Self::GroupRemoved(group, members) => {
                writes.extend(members.iter().map(|member| Write::PutContact(member.clone())));
                writes.push(Write::RemoveGroup(group.id));
            }
            Self::Nothing => {}
        }
    }
}

/// An edit with all that is kept along with it.
#[derive(Debug, Default)]
pub(super) struct Edit {
    pub(super) changes: Vec<Change>,
    pub(super) records: Records,
    /// Conflicts that it brings.
    pub(super) found: Vec<Arc<Conflict>>,
    /// Conflicts that it ends.
    pub(super) settled: Vec<Arc<Conflict>>,
    pub(super) undo: UndoStep,
    /// There when it comes from the service.
    pub(super) pulled: Option<Pulled>,
}

impl Edit {
    /// Most events that follow, the completion not among them.
    pub(super) fn events(&self) -> u64 {
        let changes: u64 = self.changes.iter().map(Change::events).sum();
        changes + (self.found.len() + self.settled.len()) as u64
    }

    pub(super) fn write(&self, writes: &mut Vec<Write>) {
        self.changes.iter().for_each(|change| change.write(writes));
        let records = self.records.iter().cloned();
        writes.extend(records.map(|(kind, key, value)| Write::PutRecord { kind, key, value }));
    }

    pub(super) fn find(&mut self, conflict: Conflict) {
        let text = serde_json::to_string(&conflict).unwrap_or_default();
        self.records.push((RecordKind::Conflict, conflict.id.to_string().into(), Some(text.into())));
        self.found.push(Arc::new(conflict));
    }

    pub(super) fn settle(&mut self, conflict: Arc<Conflict>) {
        self.records.push((RecordKind::Conflict, conflict.id.to_string().into(), None));
        self.settled.push(conflict);
    }
}

/// The list as it will be.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    contacts: RedBlackTreeMapSync<ContactId, Arc<Contact>>,
    by_address: HashTrieMapSync<Address, ContactId>,
    groups: RedBlackTreeMapSync<GroupId, Arc<Group>>,
    group_names: HashTrieMapSync<String, GroupId>,
}

impl Roster {
    pub(super) fn new() -> Self {
        Self {
            contacts: RedBlackTreeMapSync::new_sync(),
            by_address: HashTrieMapSync::new_sync(),
            groups: RedBlackTreeMapSync::new_sync(),
            group_names: HashTrieMapSync::new_sync(),
        }
    }

    pub(super) fn by_address(&self) -> &HashTrieMapSync<Address, ContactId> {
        &self.by_address
    }

    pub(super) fn put_contact(&mut self, contact: Arc<Contact>) {
        self.by_address.insert_mut(contact.address.clone(), contact.id);
        self.contacts.insert_mut(contact.id, contact);
    }

    pub(super) fn put_group(&mut self, group: Arc<Group>) {
        // Two groups may have swapped their names.
        if let Some(old) = self.groups.get(&group.id).map(|old| folded(&old.name))
            && self.group_names.get(&old) == Some(&group.id)
        {
            self.group_names.remove_mut(&old);
        }
        self.group_names.insert_mut(folded(&group.name), group.id);
        self.groups.insert_mut(group.id, group);
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.values()
    }

    pub(super) fn contacts(&self) -> impl Iterator<Item = &Arc<Contact>> {
        self.contacts.values()
    }

    pub(super) fn id_of(&self, address: &Address) -> Option<ContactId> {
        self.by_address.get(address).copied()
    }

    pub(super) fn get(&self, id: ContactId) -> Option<&Arc<Contact>> {
        self.contacts.get(&id)
    }

    pub(super) fn get_group(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.groups.get(&id)
    }

    /// Whether another group than this one has a name.
    pub(super) fn is_taken(&self, name: &str, by_other_than: Option<GroupId>) -> bool {
        self.group_names.get(&folded(name)).is_some_and(|id| Some(*id) != by_other_than)
    }

    /// Puts a contact in, or in place of the one with its handle. Nothing, when that is the same.
    pub(super) fn replace_contact(&mut self, contact: Contact) -> Option<Change> {
        let known = self.contacts.get(&contact.id);
        if known.is_some_and(|known| **known == contact) {
            return None;
        }
        let is_new = known.is_none();
        let contact = Arc::new(contact);
        self.put_contact(contact.clone());
        Some(if is_new { Change::ContactAdded(contact) } else { Change::ContactChanged(contact) })
    }

    /// Puts a group in, or in place of the one with its handle. Nothing, when that is the same.
    pub(super) fn replace_group(&mut self, group: Group) -> Option<Change> {
        let known = self.groups.get(&group.id);
        if known.is_some_and(|known| **known == group) {
            return None;
        }
        let is_new = known.is_none();
        let group = Arc::new(group);
        self.put_group(group.clone());
        Some(if is_new { Change::GroupAdded(group) } else { Change::GroupRenamed(group) })
    }

    /// Takes a contact out.
    pub(super) fn take_out(&mut self, id: ContactId) -> Option<Change> {
        let contact = self.contacts.get(&id)?.clone();
        self.by_address.remove_mut(&contact.address);
        self.contacts.remove_mut(&id);
        Some(Change::ContactRemoved(contact))
    }

    /// Removes a group; its contacts stay.
    pub(super) fn dissolve(&mut self, id: GroupId) -> Option<Change> {
        let group = self.groups.get(&id)?.clone();
        let members: Vec<Arc<Contact>> = self
            .contacts
            .values()
            .filter(|contact| contact.groups.contains(&id))
            .map(|contact| {
                let mut contact = Contact::clone(contact);
                contact.groups.retain(|group| *group != id);
                Arc::new(contact)
            })
            .collect();
        for member in &members {
            self.contacts.insert_mut(member.id, member.clone());
        }
        if self.group_names.get(&folded(&group.name)) == Some(&id) {
            self.group_names.remove_mut(&folded(&group.name));
        }
        self.groups.remove_mut(&id);
        Some(Change::GroupRemoved(group, members))
    }

    fn contact(&self, id: ContactId) -> Result<&Arc<Contact>, Error> {
        self.contacts
            .get(&id)
            .ok_or_else(|| Error::new(Code::ContactNotFound, format!("there is no contact {id} on the list")))
    }

    fn group(&self, id: GroupId) -> Result<&Arc<Group>, Error> {
        self.groups
            .get(&id)
            .ok_or_else(|| Error::new(Code::GroupDoesNotExist, format!("there is no group {id}")))
    }

    /// Checks an edit and makes it. `id` is for what is new.
    fn edit(&mut self, command: Command, id: u64, own: &Address, limits: &Limits) -> Result<Change, Error> {
        match command {
            Command::AddContact { address, name } => {
                check_name(&name)?;
                if address == *own {
                    return Err(Error::new(Code::SessionInvitedSelf, "your own address cannot be a contact"));
                }
                if self.by_address.contains_key(&address) {
                    return Err(Error::new(Code::AlreadyInList, format!("{address} is on the list already")));
                }
                if self.contacts.size() >= limits.contacts {
                    let text = format!("the list is full: it holds {} contacts", limits.contacts);
                    return Err(Error::new(Code::ListFull, text));
                }
                let contact = Arc::new(Contact {
                    id: ContactId(id),
                    address,
                    name: tidy(name),
                    groups: Default::default(),
                    details: None,
                });
                self.put_contact(contact.clone());
                Ok(Change::ContactAdded(contact))
            }
            Command::RemoveContact(id) => {
                self.contact(id)?;
                Ok(self.take_out(id).unwrap_or(Change::Nothing))
            }
            Command::RenameContact(id, name) => {
                check_name(&name)?;
                let name = tidy(name);
                let contact = self.contact(id)?;
                if contact.name == name {
                    return Ok(Change::Nothing);
                }
                Ok(self.change(Contact { name, ..Contact::clone(contact) }))
            }
            Command::SetContactDetails(id, details) => {
                details.check()?;
                let details = (!details.is_empty()).then(|| Arc::new(details));
                let contact = self.contact(id)?;
                if contact.details == details {
                    return Ok(Change::Nothing);
                }
                Ok(self.change(Contact { details, ..Contact::clone(contact) }))
            }
            Command::AddGroup(name) => {
                let name = check_group_name(name)?;
                self.check_unused(&name, None)?;
                if self.groups.size() >= limits.groups {
                    let text = format!("there are {} groups already, which is the limit", limits.groups);
                    return Err(Error::new(Code::TooManyGroups, text));
                }
                let group = Arc::new(Group { id: GroupId(id), name });
                self.put_group(group.clone());
                Ok(Change::GroupAdded(group))
            }
            Command::RemoveGroup(id) => {
                self.group(id)?;
                Ok(self.dissolve(id).unwrap_or(Change::Nothing))
            }
            Command::RenameGroup(id, name) => {
                let name = check_group_name(name)?;
                if self.group(id)?.name == name {
                    return Ok(Change::Nothing);
                }
                self.check_unused(&name, Some(id))?;
                let group = Arc::new(Group { id, name });
                self.put_group(group.clone());
                Ok(Change::GroupRenamed(group))
            }
            Command::AddToGroup(id, group) => {
                self.group(group)?;
                let contact = self.contact(id)?;
                match contact.groups.binary_search(&group) {
                    Ok(_) => Ok(Change::Nothing),
                    Err(at) => {
                        let mut contact = Contact::clone(contact);
                        contact.groups.insert(at, group);
                        Ok(self.change(contact))
                    }
                }
            }
            Command::RemoveFromGroup(id, group) => {
                let name = self.group(group)?.name.clone();
                let contact = self.contact(id)?;
                let Ok(at) = contact.groups.binary_search(&group) else {
                    let text = format!("{} is not in the group `{name}`", contact.address);
                    return Err(Error::new(Code::UserNotGroupMember, text));
                };
                let mut contact = Contact::clone(contact);
                contact.groups.remove(at);
                Ok(self.change(contact))
            }
            other => Err(Error::new(Code::Internal, format!("{other:?} is no edit of the list"))),
        }
    }

    fn change(&mut self, contact: Contact) -> Change {
        let contact = Arc::new(contact);
        self.contacts.insert_mut(contact.id, contact.clone());
        Change::ContactChanged(contact)
    }

    fn check_unused(&self, name: &str, except: Option<GroupId>) -> Result<(), Error> {
        match self.group_names.get(&folded(name)) {
            Some(known) if Some(*known) != except => {
                Err(Error::new(Code::GroupAlreadyExists, format!("a group with the name `{name}` exists")))
            }
            _ => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME {
        return Err(Error::new(Code::InvalidFriendlyName, "the name is longer than 256 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::new(Code::InvalidFriendlyName, "the name holds control characters"));
    }
    Ok(())
}

fn check_group_name(name: Arc<str>) -> Result<Arc<str>, Error> {
    if name.len() > MAX_NAME {
        return Err(Error::new(Code::GroupNameTooLong, "the name of the group is longer than 256 bytes"));
    }
    if name.trim().is_empty() {
        return Err(Error::new(Code::BadGroupName, "a group needs a name"));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::new(Code::BadGroupName, "the name of the group holds control characters"));
    }
    Ok(tidy(name))
}

fn tidy(name: Arc<str>) -> Arc<str> {
    let trimmed = name.trim();
    if trimmed.len() == name.len() { name } else { trimmed.into() }
}

/// A name as the list has it.
pub(super) fn tidied(name: &str) -> Arc<str> {
    tidy(name.into())
}

fn folded(name: &str) -> String {
    name.to_lowercase()
}

impl Engine {
    /// Takes an edit on. It needs no service: the list is kept here, and goes to the service when that is there.
    pub(super) fn edit_roster(&mut self, ticket: Ticket, command: Command) {
        let id = self.next_id();
        let before = self.roster.clone();
        match self.roster.edit(command, id, &self.config.address, &self.config.limits) {
            Ok(change) => {
                let mut edit = Edit { undo: self.remember(&before, &change), ..Edit::default() };
                edit.undo.write(&mut edit.records);
                edit.changes.push(change);
                self.keep_edit(ticket, edit);
            }
            Err(error) => self.ledger.answer(ticket.token, Err(error)),
        }
    }

    /// Keeps an edit that was made in the list-to-be. What it changes is no longer in conflict.
    pub(super) fn keep_edit(&mut self, ticket: Ticket, mut edit: Edit) {
        for conflict in self.view.conflicts.values() {
            let settles =
                edit.changes.iter().any(|change| self.about(change).as_ref() == Some(&conflict.about));
            if settles && !edit.settled.iter().any(|known| known.id == conflict.id) {
                edit.settle(conflict.clone());
            }
        }
        self.ledger.keep(Effect::Roster { ticket: Some(ticket), edit: Box::new(edit) });
    }

    /// The edit is durable: shows it.
    pub(super) fn apply_edit(&mut self, sealed: &Sealed, ticket: Option<Ticket>, edit: &Edit) {
        let mut seq = sealed.seq;
        let at = sealed.at;
        for change in &edit.changes {
            self.apply_change(&mut seq, at, change);
        }
        for conflict in &edit.settled {
            if self.view.conflicts.remove_mut(&conflict.id) {
                self.ledger.emit_sealed(&mut seq, at, EventKind::ConflictSettled(conflict.clone()));
            }
        }
        for conflict in &edit.found {
            self.view.conflicts.insert_mut(conflict.id, conflict.clone());
            self.ledger.emit_sealed(&mut seq, at, EventKind::RosterConflict(conflict.clone()));
        }
        match &edit.pulled {
            Some(pulled) => self.pulled(pulled),
            None => self.sync.edited(self.now.instant),
        }
        if let Some(ticket) = ticket {
            self.ledger.answer(ticket.token, Ok(Accepted::new(ticket.request)));
            let kind = EventKind::CommandCompleted { request: ticket.request, outcome: Ok(()) };
            self.ledger.emit_sealed(&mut seq, at, kind);
        }
    }

    fn apply_change(&mut self, seq: &mut u64, at: Timestamp, change: &Change) {
        match change {
            Change::ContactAdded(contact) => {
                let presence = Arc::new(Presence::unknown(self.unknown_reason()));
                self.view.by_address.insert_mut(contact.address.clone(), contact.id);
                self.view.contacts.insert_mut(
                    contact.id,
                    ContactEntry { contact: contact.clone(), presence, published: None },
                );
                self.ledger.emit_sealed(seq, at, EventKind::ContactAdded(contact.clone()));
                self.watch_contact(contact);
                self.policy.newcomers = true;
            }
            Change::ContactChanged(contact) => {
                let known = self.view.contacts.get(&contact.id);
                let previous = known.map(|known| Arc::new(known.profile()));
                self.show_contact(contact);
                self.ledger.emit_sealed(seq, at, EventKind::ContactChanged(contact.clone()));
                let change = self.view.contacts.get(&contact.id).zip(previous);
                if let Some(kind) = change.and_then(|(entry, previous)| profile_change(entry, previous)) {
                    self.ledger.emit_sealed(seq, at, kind);
                }
            }
            Change::ContactRemoved(contact) => {
                self.view.by_address.remove_mut(&contact.address);
                self.view.contacts.remove_mut(&contact.id);
                self.view.blocked.remove_mut(&contact.id);
                self.ledger.emit_sealed(seq, at, EventKind::ContactRemoved(contact.clone()));
                self.unwatch_contact(contact);
            }
            Change::GroupAdded(group) => {
                self.view.groups.insert_mut(group.id, group.clone());
                self.ledger.emit_sealed(seq, at, EventKind::GroupAdded(group.clone()));
            }
            Change::GroupRenamed(group) => {
                self.view.groups.insert_mut(group.id, group.clone());
                self.ledger.emit_sealed(seq, at, EventKind::GroupRenamed(group.clone()));
            }
            Change::GroupRemoved(group, members) => {
                for member in members {
                    self.show_contact(member);
                    self.ledger.emit_sealed(seq, at, EventKind::ContactChanged(member.clone()));
                }
                self.view.groups.remove_mut(&group.id);
                self.ledger.emit_sealed(seq, at, EventKind::GroupRemoved(group.clone()));
            }
            Change::Nothing => {}
        }
    }

    /// An edit was refused by the store: those that were built upon it fail as well.
    pub(super) fn revert_edits(&mut self, edit: Edit, error: &Error) {
        self.edit_refused(edit);
        let dependent = self.ledger.withdraw(|effect| matches!(effect, Effect::Roster { .. }));
        for effect in dependent {
            if let Effect::Roster { ticket, edit } = effect {
                self.edit_refused(*edit);
                if let Some(ticket) = ticket {
                    self.ledger.answer(ticket.token, Err(error.clone()));
                }
            }
        }
        let mut roster = Roster::new();
        for group in self.view.groups.values() {
            roster.put_group(group.clone());
        }
        for entry in self.view.contacts.values() {
            roster.put_contact(entry.contact.clone());
        }
        self.roster = roster;
    }

    fn edit_refused(&mut self, edit: Edit) {
        self.sync.undo.refused(edit.undo);
        if let Some(pulled) = &edit.pulled {
            self.pull_refused(pulled);
        }
    }

    fn show_contact(&mut self, contact: &Arc<Contact>) {
        if let Some(entry) = self.view.contacts.get(&contact.id) {
            let entry = ContactEntry { contact: contact.clone(), ..entry.clone() };
            self.view.contacts.insert_mut(contact.id, entry);
        }
    }

    /// Why nothing is known of somebody yet.
    pub(super) fn unknown_reason(&self) -> UnknownReason {
        use crate::event::SessionState;
        match self.view.session {
            SessionState::SignedOut | SessionState::SigningOut => UnknownReason::SignedOut,
            SessionState::Reconnecting => UnknownReason::ServiceUnavailable,
            SessionState::SigningIn | SessionState::SignedIn => UnknownReason::Pending,
        }
    }
}
