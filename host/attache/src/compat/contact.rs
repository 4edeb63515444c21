//! `MessengerContact` and `MessengerContacts`.

use std::sync::Arc;

use super::{
    Failure, HRESULT, MISTATUS, MPHONE_TYPE, Messenger, PresenceProperties, Result, S_FALSE, S_OK,
    messenger::{Inner, number_text, own_status},
    presence,
    relay::Done,
};
use crate::{
    Address, Code, Command, ContactId, Decision, Error, Presence, Rule, UnknownReason, Watching, Who,
    people::shown_name,
};

/// A person, on the list or off it. Answers from what is known at the moment, and never waits; what it changes is told by
/// callbacks.
#[derive(Clone)]
pub struct MessengerContact {
    inner: Arc<Inner>,
    account: crate::Messenger,
    address: Address,
    /// A name that stands nowhere else.
    name: Arc<str>,
    /// Somebody off the list is watched for as long as the object is held.
    watching: Option<Arc<Watching>>,
}

impl MessengerContact {
    pub(super) fn new(inner: &Arc<Inner>, account: &crate::Messenger, address: Address) -> Self {
        Self { inner: inner.clone(), account: account.clone(), address, name: "".into(), watching: None }
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    pub(super) fn watching(mut self, watching: Watching) -> Self {
        self.watching = Some(Arc::new(watching));
        self
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn id(&self) -> Result<ContactId> {
        let id = self.account.snapshot().by_address.get(&self.address).copied();
        id.ok_or_else(|| {
            Error::new(Code::ContactNotFound, format!("{} is not on the list", self.address)).into()
        })
    }

    /// `IMessengerContact.Blocked`: whether a rule keeps this person from seeing one's presence.
    #[must_use]
    pub fn blocked(&self) -> bool {
        {
            let snapshot = self.account.snapshot();
            let listed = snapshot.by_address.get(&self.address);
            listed.map_or_else(|| blocks(&snapshot.rules, &self.address), |id| snapshot.blocked.contains(id))
        }
    }

    /// `IMessengerContact.Blocked`: blocks this person, or no longer. [`S_FALSE`] when it is so already; the outcome is told
    /// by [`on_contact_block_change`](super::DMessengerEvents::on_contact_block_change).
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG).
    pub fn put_blocked(&self, blocked: bool) -> Result<HRESULT> {
        if self.blocked() == blocked {
            return Ok(S_FALSE);
        }
        let who = Who::Address(self.address.clone());
        let decision = Some(if blocked { Decision::PoliteBlock } else { Decision::Allow });
        self.inner.begin(&self.account, Command::SetRule { who, decision }, Done::Block(blocked))
    }

    /// `IMessengerContact.FriendlyName`: the name given by the user, or by the person; the address without one.
    #[must_use]
    pub fn friendly_name(&self) -> String {
        let snapshot = self.account.snapshot();
        let entry = snapshot.by_address.get(&self.address).and_then(|id| snapshot.contacts.get(id));
        match entry {
            Some(entry) => shown_name(entry).to_string(),
            None if self.is_self() => super::service::own_name(&self.account),
            None if self.name.is_empty() => self.address.to_string(),
            None => self.name.to_string(),
        }
    }

    /// `IMessengerContact.FriendlyName`: gives a contact another name, told by
    /// [`on_contact_friendly_name_change`](super::DMessengerEvents::on_contact_friendly_name_change).
    ///
    /// # Errors
    /// When the person is not on the list.
    pub fn put_friendly_name(&self, name: &str) -> Result<HRESULT> {
        let command = Command::RenameContact(self.id()?, name.into());
        self.inner.begin(&self.account, command, Done::FriendlyName)
    }

    /// `IMessengerContact.IsSelf`: whether it is oneself, signed in or not.
    #[must_use]
    pub fn is_self(&self) -> bool {
        self.address == *self.account.address()
    }

    /// `IMessengerContact.PhoneNumber`: a number that the person says, as an address.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) when it is not known.
    pub fn phone_number(&self, kind: MPHONE_TYPE) -> Result<String> {
        number_text(&self.account.known_profile(&self.address).phones, kind)
    }

    /// `IMessengerContact.ServiceId`: the id of the service that the contact is on.
    #[must_use]
    pub fn service_id(&self) -> String {
        self.account.service().id.to_string()
    }

    /// `IMessengerContact.ServiceName`: the name of the service that the contact is on.
    #[must_use]
    pub fn service_name(&self) -> String {
        self.account.service().name.to_string()
    }

    /// `IMessengerContact.SigninName`: the address.
    #[must_use]
    pub fn signin_name(&self) -> String {
        self.address.to_string()
    }

    /// `IMessengerContact.Status`: the status, as it is known now.
    #[must_use]
    pub fn status(&self) -> MISTATUS {
        if self.is_self() { own_status(&self.account) } else { presence::status(&self.presence()) }
    }

    fn presence(&self) -> Arc<Presence> {
        if self.is_self() {
            return self.account.own_presence();
        }
        let watched = self.watching.as_ref().map(|watching| watching.presence());
        let known = self.account.presence(&self.address).or(watched);
        known.unwrap_or_else(|| Arc::new(Presence::unknown(UnknownReason::Pending)))
    }

    /// `IMessengerContactAdvanced.IsTagged`: whether it is told when this person becomes available.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        let snapshot = self.account.snapshot();
        snapshot.by_address.get(&self.address).is_some_and(|id| snapshot.alerts.contains(id))
    }

    /// `IMessengerContactAdvanced.IsTagged`: tells it, or no longer. [`S_FALSE`] when it is so already.
    ///
    /// # Errors
    /// When the person is not on the list.
    pub fn put_is_tagged(&self, tagged: bool) -> Result<HRESULT> {
        let id = self.id()?;
        if self.is_tagged() == tagged {
            return Ok(S_FALSE);
        }
        let account = self.account.clone();
        self.inner.wait(async move { account.set_alert(id, tagged).await })?;
        Ok(S_OK)
    }

    /// `IMessengerContactAdvanced.PresenceProperties`: all that is known.
    #[must_use]
    pub fn presence_properties(&self) -> PresenceProperties {
        PresenceProperties::of(&self.presence(), self.blocked())
    }

    /// `IMessengerContactAdvanced.PresenceProperties`: publishes one's own availability and note, and waits for the service.
    /// What the array does not say stays as it is.
    ///
    /// # Errors
    /// [`E_ACCESSDENIED`](super::E_ACCESSDENIED) for anybody but oneself, [`E_INVALIDARG`](super::E_INVALIDARG) for what is no
    /// availability, [`MSGR_E_NOT_LOGGED_ON`](super::MSGR_E_NOT_LOGGED_ON), or what the service answered.
    pub fn put_presence_properties(&self, array: &PresenceProperties) -> Result<HRESULT> {
        if !self.is_self() {
            let why = "one publishes one's own presence, and nobody else's";
            return Err(Error::new(Code::Denied, why).into());
        }
        let (availability, activity, note) = array.to_publish(&self.account.own_presence())?;
        self.inner.publish(availability, &activity, note)
    }
}

/// Whether somebody's own rule keeps them out.
fn blocks(rules: &[Rule], address: &Address) -> bool {
    let rule = rules.iter().find(|rule| rule.who == Who::Address(address.clone()));
    rule.is_some_and(|rule| matches!(rule.decision, Decision::Block | Decision::PoliteBlock))
}

impl PartialEq for MessengerContact {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.account.address() == other.account.address()
    }
}

impl Eq for MessengerContact {}

impl core::fmt::Debug for MessengerContact {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("MessengerContact").field(&self.address).finish()
    }
}

/// People as they were at one moment: ask again for what has changed since.
#[derive(Clone, Debug)]
pub struct MessengerContacts {
    contacts: Vec<MessengerContact>,
    /// The contact list itself, which can be changed.
    list: bool,
}

impl MessengerContacts {
    pub(super) fn new(
        inner: &Arc<Inner>,
        account: &crate::Messenger,
        contacts: Vec<Address>,
        list: bool,
    ) -> Self {
        let contact = |address| MessengerContact::new(inner, account, address);
        Self { contacts: contacts.into_iter().map(contact).collect(), list }
    }

    /// `IMessengerContacts.Item`: the contact at a place, from 0.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) beyond the last.
    pub fn item(&self, index: usize) -> Result<MessengerContact> {
        self.contacts.get(index).cloned().ok_or_else(|| Failure::argument("there is nobody at this place"))
    }

    /// `IMessengerContacts.Remove`: takes somebody off the contact list, told by
    /// [`on_contact_list_remove`](super::DMessengerEvents::on_contact_list_remove).
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for a collection that is not the contact list.
    pub fn remove(&self, contact: &MessengerContact) -> Result<HRESULT> {
        if !self.list {
            return Err(Failure::argument("only the contact list can be changed by this"));
        }
        match contact.id() {
            Ok(id) => {
                contact.inner.begin(&contact.account, Command::RemoveContact(id), Done::ContactListRemove)
            }
            Err(failure) => {
                contact.inner.tell(Done::ContactListRemove, failure.hresult());
                Ok(S_OK)
            }
        }
    }

    /// `IMessengerContacts.Count`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.contacts.len()
    }

    /// `IMessengerContacts._NewEnum`.
    pub fn iter(&self) -> core::slice::Iter<'_, MessengerContact> {
        self.contacts.iter()
    }
}

impl<'a> IntoIterator for &'a MessengerContacts {
    type Item = &'a MessengerContact;
    type IntoIter = core::slice::Iter<'a, MessengerContact>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<&MessengerContact> for Messenger {
    /// The messenger that a contact is of.
    fn from(contact: &MessengerContact) -> Self {
        Self { inner: contact.inner.clone() }
    }
}
