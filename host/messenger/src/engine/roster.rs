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
    },
    error::Error,
    event::{Contact, EventKind, Group},
    id::{ContactId, GroupId},
    presence::{Presence, UnknownReason},
    snapshot::ContactEntry,
    storage::Write,
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

    pub(super) fn put_contact(&mut self, contact: Arc<Contact>) {
        self.by_address.insert_mut(contact.address.clone(), contact.id);
        self.contacts.insert_mut(contact.id, contact);
    }

    pub(super) fn put_group(&mut self, group: Arc<Group>) {
        if let Some(old) = self.groups.get(&group.id) {
            self.group_names.remove_mut(&folded(&old.name));
        }
        self.group_names.insert_mut(folded(&group.name), group.id);
        self.groups.insert_mut(group.id, group);
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
                });
                self.put_contact(contact.clone());
                Ok(Change::ContactAdded(contact))
            }
            Command::RemoveContact(id) => {
                let contact = self.contact(id)?.clone();
                self.by_address.remove_mut(&contact.address);
                self.contacts.remove_mut(&id);
                Ok(Change::ContactRemoved(contact))
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
                let group = self.group(id)?.clone();
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
                self.group_names.remove_mut(&folded(&group.name));
                self.groups.remove_mut(&id);
                Ok(Change::GroupRemoved(group, members))
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

fn folded(name: &str) -> String {
    name.to_lowercase()
}

impl Engine {
    /// Takes an edit on. It needs no service: the list is kept here.
    pub(super) fn edit_roster(&mut self, ticket: Ticket, command: Command) {
        let id = self.next_id();
        match self.roster.edit(command, id, &self.config.address, &self.config.limits) {
            Ok(change) => self.ledger.keep(Effect::Roster { ticket, change }),
            Err(error) => self.ledger.answer(ticket.token, Err(error)),
        }
    }

    /// The edit is durable: shows it.
    pub(super) fn apply_edit(&mut self, sealed: &Sealed, ticket: Ticket, change: &Change) {
        let mut seq = sealed.seq;
        let at = sealed.at;
        match change {
            Change::ContactAdded(contact) => {
                let presence = Arc::new(Presence::unknown(self.unknown_reason()));
                self.view.by_address.insert_mut(contact.address.clone(), contact.id);
                self.view
                    .contacts
                    .insert_mut(contact.id, ContactEntry { contact: contact.clone(), presence });
                self.ledger.emit_sealed(&mut seq, at, EventKind::ContactAdded(contact.clone()));
                self.watch_contact(contact);
            }
            Change::ContactChanged(contact) => {
                self.show_contact(contact);
                self.ledger.emit_sealed(&mut seq, at, EventKind::ContactChanged(contact.clone()));
            }
            Change::ContactRemoved(contact) => {
                self.view.by_address.remove_mut(&contact.address);
                self.view.contacts.remove_mut(&contact.id);
                self.ledger.emit_sealed(&mut seq, at, EventKind::ContactRemoved(contact.clone()));
                self.unwatch_contact(contact);
            }
            Change::GroupAdded(group) => {
                self.view.groups.insert_mut(group.id, group.clone());
                self.ledger.emit_sealed(&mut seq, at, EventKind::GroupAdded(group.clone()));
            }
            Change::GroupRenamed(group) => {
                self.view.groups.insert_mut(group.id, group.clone());
                self.ledger.emit_sealed(&mut seq, at, EventKind::GroupRenamed(group.clone()));
            }
            Change::GroupRemoved(group, members) => {
                for member in members {
                    self.show_contact(member);
                    self.ledger.emit_sealed(&mut seq, at, EventKind::ContactChanged(member.clone()));
                }
                self.view.groups.remove_mut(&group.id);
                self.ledger.emit_sealed(&mut seq, at, EventKind::GroupRemoved(group.clone()));
            }
            Change::Nothing => {}
        }
        self.ledger.answer(ticket.token, Ok(Accepted::new(ticket.request)));
        let kind = EventKind::CommandCompleted { request: ticket.request, outcome: Ok(()) };
        self.ledger.emit_sealed(&mut seq, at, kind);
    }

    /// An edit was refused by the store: those that were built upon it fail as well.
    pub(super) fn revert_edits(&mut self, error: &Error) {
        let dependent = self.ledger.withdraw(|effect| matches!(effect, Effect::Roster { .. }));
        for effect in dependent {
            if let Effect::Roster { ticket, .. } = effect {
                self.ledger.answer(ticket.token, Err(error.clone()));
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

    fn show_contact(&mut self, contact: &Arc<Contact>) {
        if let Some(entry) = self.view.contacts.get(&contact.id) {
            let entry = ContactEntry { contact: contact.clone(), presence: entry.presence.clone() };
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
