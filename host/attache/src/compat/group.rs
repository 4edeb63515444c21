//! `MessengerGroup` and `MessengerGroups`.

use std::sync::Arc;

use super::{
    Failure, HRESULT, MessengerContact, MessengerContacts, Person, Result, S_OK, messenger::Inner,
    relay::Done,
};
use crate::{Code, Command, ContactId, Error, GroupId};

/// A group of the contact list. What changes it is told by callbacks.
#[derive(Clone)]
pub struct MessengerGroup {
    inner: Arc<Inner>,
    account: crate::Messenger,
    id: GroupId,
    /// The name when the object was made, for a group that is gone.
    name: Arc<str>,
}

impl MessengerGroup {
    pub(super) fn new(inner: &Arc<Inner>, account: &crate::Messenger, id: GroupId) -> Self {
        let name = account.snapshot().groups.get(&id).map(|group| group.name.clone()).unwrap_or_default();
        Self { inner: inner.clone(), account: account.clone(), id, name }
    }

    pub(super) fn named(mut self, name: Arc<str>) -> Self {
        self.name = name;
        self
    }

    /// `IMessengerGroup.AddContact`: puts a contact into the group, told by
    /// [`on_contact_added_to_group`](super::DMessengerEvents::on_contact_added_to_group).
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for what is no address.
    pub fn add_contact<P: Into<Person>>(&self, contact: P) -> Result<HRESULT> {
        let done = Done::AddedToGroup(self.id);
        match self.contact(contact)? {
            Ok(contact) => self.inner.begin(&self.account, Command::AddToGroup(contact, self.id), done),
            Err(error) => {
                self.inner.tell(done, HRESULT::from(&error));
                Ok(S_OK)
            }
        }
    }

    /// `IMessengerGroup.RemoveContact`: takes a contact out of the group, told by
    /// [`on_contact_removed_from_group`](super::DMessengerEvents::on_contact_removed_from_group).
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for what is no address.
    pub fn remove_contact<P: Into<Person>>(&self, contact: P) -> Result<HRESULT> {
        let done = Done::RemovedFromGroup(self.id);
        match self.contact(contact)? {
            Ok(contact) => self.inner.begin(&self.account, Command::RemoveFromGroup(contact, self.id), done),
            Err(error) => {
                self.inner.tell(done, HRESULT::from(&error));
                Ok(S_OK)
            }
        }
    }

    fn contact<P: Into<Person>>(&self, contact: P) -> Result<core::result::Result<ContactId, Error>> {
        let address = contact.into().address()?;
        let id = self.account.snapshot().by_address.get(&address).copied();
        Ok(id.ok_or_else(|| Error::new(Code::ContactNotFound, format!("{address} is not on the list"))))
    }

    /// `IMessengerGroup.Contacts`: who is in the group now.
    #[must_use]
    pub fn contacts(&self) -> MessengerContacts {
        let snapshot = self.account.snapshot();
        let members = snapshot.contacts.values().filter(|entry| entry.contact.groups.contains(&self.id));
        let members = members.map(|entry| entry.contact.address.clone()).collect();
        MessengerContacts::new(&self.inner, &self.account, members, false)
    }

    /// `IMessengerGroup.Name`: the name; the last one of a group that is gone.
    #[must_use]
    pub fn name(&self) -> String {
        let snapshot = self.account.snapshot();
        snapshot.groups.get(&self.id).map_or(&*self.name, |group| &*group.name).to_owned()
    }

    /// `IMessengerGroup.Name`: gives the group another name, told by
    /// [`on_group_name_changed`](super::DMessengerEvents::on_group_name_changed).
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG).
    pub fn put_name(&self, name: &str) -> Result<HRESULT> {
        self.inner.begin(
            &self.account,
            Command::RenameGroup(self.id, name.into()),
            Done::GroupNameChanged(self.id),
        )
    }
}

impl PartialEq for MessengerGroup {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.account.address() == other.account.address()
    }
}

impl Eq for MessengerGroup {}

impl core::fmt::Debug for MessengerGroup {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("MessengerGroup").field(&self.name()).finish()
    }
}

/// Groups as they were at one moment.
#[derive(Clone, Debug)]
pub struct MessengerGroups {
    groups: Vec<MessengerGroup>,
}

impl MessengerGroups {
    pub(super) fn new(inner: &Arc<Inner>, account: &crate::Messenger, groups: Vec<GroupId>) -> Self {
        Self { groups: groups.into_iter().map(|id| MessengerGroup::new(inner, account, id)).collect() }
    }

    /// `IMessengerGroups.Item`: the group at a place, from 0.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) beyond the last.
    pub fn item(&self, index: usize) -> Result<MessengerGroup> {
        self.groups.get(index).cloned().ok_or_else(|| Failure::argument("there is no group at this place"))
    }

    /// `IMessengerGroups.Remove`: deletes a group, told by
    /// [`on_group_removed`](super::DMessengerEvents::on_group_removed); its contacts stay on the list.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG).
    pub fn remove(&self, group: &MessengerGroup) -> Result<HRESULT> {
        group.inner.begin(&group.account, Command::RemoveGroup(group.id), Done::GroupRemoved)
    }

    /// `IMessengerGroups.Count`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.groups.len()
    }

    /// `IMessengerGroups._NewEnum`.
    pub fn iter(&self) -> core::slice::Iter<'_, MessengerGroup> {
        self.groups.iter()
    }
}

impl<'a> IntoIterator for &'a MessengerGroups {
    type Item = &'a MessengerGroup;
    type IntoIter = core::slice::Iter<'a, MessengerGroup>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Somebody may be named by a contact that was found before.
impl From<MessengerContact> for Person {
    fn from(contact: MessengerContact) -> Self {
        Self::Address(contact.address().clone())
    }
}
