//! What callbacks were told of each account, and so what is news to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    DMessengerEvents, HRESULT, MCONTACTPROP_EMAIL, MCONTACTPROP_GROUPS_PROPERTY, MISTATUS,
    MISTATUS_LOCAL_CONNECTING_TO_SERVER, MISTATUS_LOCAL_DISCONNECTING_FROM_SERVER, MISTATUS_OFFLINE,
    MPHONE_TYPE, MPHONE_TYPE_HOME, MPHONE_TYPE_MOBILE, MPHONE_TYPE_WORK, MSGR_E_DISCONNECTED,
    MessengerContact, MessengerConversationWnd, MessengerGroup, S_OK, Variant,
    messenger::{Inner, number_of, own_status},
    presence::status,
    relay::{Done, Job},
};
use crate::{
    AccountId, Address, Change, Contact, ContactId, ConversationId, Error, EventKind, GroupId, Phones,
    Presence, Profile, SessionState, Snapshot,
};

const KINDS: [MPHONE_TYPE; 3] = [MPHONE_TYPE_HOME, MPHONE_TYPE_WORK, MPHONE_TYPE_MOBILE];

/// By account.
#[derive(Default)]
pub(super) struct Told(BTreeMap<AccountId, Account>);

/// What was told of one account.
struct Account {
    messenger: crate::Messenger,
    session: SessionState,
    own_status: MISTATUS,
    own: Arc<Profile>,
    contacts: BTreeMap<ContactId, Known>,
    groups: BTreeMap<GroupId, Arc<str>>,
    conversations: BTreeMap<ConversationId, BTreeSet<Address>>,
}

struct Known {
    address: Address,
    name: Arc<str>,
    groups: BTreeSet<GroupId>,
    status: MISTATUS,
    phones: Phones,
    blocked: bool,
}

impl Told {
    /// Tells callbacks of something; whether it was the end of the last account.
    pub(super) fn tell(&mut self, inner: &Arc<Inner>, job: Job) -> bool {
        match job {
            Job::Account(messenger, snapshot) => {
                let account = Account::new(messenger, &snapshot);
                self.0.insert(snapshot.account, account);
            }
            Job::Change(id, change) => {
                if let Some(account) = self.0.get_mut(&id) {
                    let mut teller = Teller { inner, account };
                    match change {
                        Change::Event(event) => teller.event(&event.kind),
                        Change::Reset(snapshot) => teller.reset(&snapshot),
                    }
                }
            }
            Job::End => return true,
            Job::Done(done, hresult) => self.done(inner, &done, hresult),
            Job::Gone(id) => {
                self.0.remove(&id);
                return self.0.is_empty() && inner.host.ends();
            }
        }
        false
    }

    /// A call that came to nothing; those that did something are told by what they did.
    fn done(&self, inner: &Arc<Inner>, done: &Done, hr: HRESULT) {
        let group = |id: &GroupId| {
            let account = self.0.values().find(|account| account.groups.contains_key(id))?;
            Some(MessengerGroup::new(inner, &account.messenger, *id))
        };
        let tell = |what: &dyn Fn(&dyn DMessengerEvents)| inner.relay.tell(what);
        match done {
            Done::ContactListAdd => tell(&|sink| sink.on_contact_list_add(hr, None)),
            Done::ContactListRemove => tell(&|sink| sink.on_contact_list_remove(hr, None)),
            Done::AddedToGroup(id) => {
                let group = group(id);
                tell(&|sink| sink.on_contact_added_to_group(hr, group.as_ref(), None));
            }
            Done::RemovedFromGroup(id) => {
                let group = group(id);
                tell(&|sink| sink.on_contact_removed_from_group(hr, group.as_ref(), None));
            }
            Done::GroupAdded => tell(&|sink| sink.on_group_added(hr, None)),
            Done::GroupNameChanged(id) => {
                let group = group(id);
                tell(&|sink| sink.on_group_name_changed(hr, group.as_ref()));
            }
            Done::GroupRemoved => tell(&|sink| sink.on_group_removed(hr, None)),
            Done::FriendlyName => tell(&|sink| sink.on_contact_friendly_name_change(hr, None, "")),
            Done::Block(blocked) => tell(&|sink| sink.on_contact_block_change(hr, None, *blocked)),
            Done::MyStatus => {
                let status = inner.host.primary().map_or(MISTATUS_OFFLINE, |account| own_status(&account));
                tell(&|sink| sink.on_my_status_change(hr, status));
            }
            Done::Resolved { kind, name, address } => {
                tell(&|sink| sink.on_contact_resolved(hr, *kind, name, address));
            }
        }
    }
}

impl Account {
    /// What holds at the beginning is no news, but for presence: whoever is not offline is told after the sign-in.
    fn new(messenger: crate::Messenger, snapshot: &Snapshot) -> Self {
        let known = |id: &ContactId| {
            let entry = snapshot.contacts.get(id)?;
            let mut known = Known::new(&entry.contact);
            known.phones = entry.profile().phones;
            known.name = entry.display_name().clone();
            known.blocked = snapshot.blocked.contains(id);
            Some((*id, known))
        };
        let contacts = snapshot.contacts.keys().filter_map(known).collect();
        let open = snapshot.conversations.iter().filter(|(_, entry)| entry.conversation.is_open());
        let conversations =
            open.map(|(id, entry)| (*id, entry.conversation.present().cloned().collect())).collect();
        Self {
            session: snapshot.session,
            own_status: MISTATUS_OFFLINE,
            own: snapshot.profile.clone(),
            contacts,
            groups: snapshot.groups.iter().map(|(id, group)| (*id, group.name.clone())).collect(),
            conversations,
            messenger,
        }
    }
}

impl Known {
    fn new(contact: &Contact) -> Self {
        Self {
            address: contact.address.clone(),
            name: contact.name.clone(),
            groups: contact.groups.iter().copied().collect(),
            status: MISTATUS_OFFLINE,
            phones: Phones::default(),
            blocked: false,
        }
    }
}

/// One account, while callbacks are told of it.
struct Teller<'a> {
    inner: &'a Arc<Inner>,
    account: &'a mut Account,
}

impl Teller<'_> {
    fn event(&mut self, kind: &EventKind) {
        match kind {
            EventKind::SessionChanged { state, reason } => self.session(*state, reason.as_ref()),
            EventKind::ContactAdded(contact) => self.contact(contact),
            EventKind::ContactChanged(contact) => self.contact(contact),
            EventKind::ContactRemoved(contact) => self.contact_gone(contact.id),
            EventKind::GroupAdded(group) | EventKind::GroupRenamed(group) => {
                self.group(group.id, &group.name);
            }
            EventKind::GroupRemoved(group) => self.group_gone(group.id),
            EventKind::PresenceChanged(changes) => {
                for change in changes.iter() {
                    self.presence(change.contact, &change.presence);
                }
            }
            EventKind::OwnPresenceChanged(_) => self.own_presence(),
            EventKind::OwnProfileChanged { profile, .. } => self.own_profile(profile),
            EventKind::ContactProfileChanged { contact, profile, .. } => self.profile(*contact, profile),
            EventKind::ContactBlockedChanged { contact, blocked, .. } => self.blocked(*contact, *blocked),
            EventKind::ConversationOpened(conversation) => {
                let present = conversation.present().cloned().collect();
                self.conversation(conversation.id, present);
            }
            EventKind::ConversationChanged(conversation) if conversation.is_open() => {
                let present = conversation.present().cloned().collect();
                self.conversation(conversation.id, present);
            }
            EventKind::ParticipantJoined { conversation, participant } => {
                self.participant(*conversation, &participant.address, true);
            }
            EventKind::ParticipantLeft { conversation, participant } => {
                self.participant(*conversation, &participant.address, false);
            }
            EventKind::ConversationClosed(conversation) => self.conversation_closed(conversation.id),
            EventKind::MessageReceived(message) if !message.content.is_attachment() => {
                let window = self.window(message.conversation);
                let sender = self.contact_of(&message.sender);
                self.tell(|sink| sink.on_im_text_received(&window, &sender, message.content.text()));
            }
            _ => {}
        }
    }

    /// Tells the difference between what callbacks know and what holds.
    fn reset(&mut self, snapshot: &Snapshot) {
        self.session(snapshot.session, snapshot.session_reason.as_ref());
        for (id, group) in &snapshot.groups {
            self.group(*id, &group.name);
        }
        for entry in snapshot.contacts.values() {
            self.contact(&entry.contact);
            self.profile(entry.contact.id, &entry.profile());
            self.blocked(entry.contact.id, snapshot.blocked.contains(&entry.contact.id));
            self.presence(entry.contact.id, &entry.presence);
        }
        let gone = |known: &ContactId| !snapshot.contacts.contains_key(known);
        for id in self.account.contacts.keys().copied().filter(gone).collect::<Vec<_>>() {
            self.contact_gone(id);
        }
        let gone = |known: &GroupId| !snapshot.groups.contains_key(known);
        for id in self.account.groups.keys().copied().filter(gone).collect::<Vec<_>>() {
            self.group_gone(id);
        }
        self.own_profile(&snapshot.profile);
        for (id, entry) in snapshot.conversations.iter().filter(|(_, entry)| entry.conversation.is_open()) {
            self.conversation(*id, entry.conversation.present().cloned().collect());
        }
        let closed = |known: &ConversationId| {
            snapshot.conversations.get(known).is_none_or(|entry| !entry.conversation.is_open())
        };
        for id in self.account.conversations.keys().copied().filter(closed).collect::<Vec<_>>() {
            self.conversation_closed(id);
        }
        self.own_presence();
    }

    fn session(&mut self, state: SessionState, reason: Option<&Error>) {
        let before = core::mem::replace(&mut self.account.session, state);
        if before == state {
            return;
        }
        let hr = reason.map_or(S_OK, HRESULT::from);
        match state {
            SessionState::SigningIn => {
                self.tell(|sink| sink.on_my_status_change(S_OK, MISTATUS_LOCAL_CONNECTING_TO_SERVER));
            }
            SessionState::SignedIn => {
                self.tell(|sink| sink.on_signin(S_OK));
                self.own_presence();
                let snapshot = self.account.messenger.snapshot();
                for entry in snapshot.contacts.values() {
                    self.presence(entry.contact.id, &entry.presence);
                }
            }
            SessionState::Reconnecting if before == SessionState::SigningIn => {
                self.tell(|sink| sink.on_signin(hr));
            }
            SessionState::Reconnecting => {
                self.tell(|sink| {
                    sink.on_my_status_change(MSGR_E_DISCONNECTED, MISTATUS_LOCAL_CONNECTING_TO_SERVER);
                });
            }
            SessionState::SigningOut => {
                self.tell(|sink| sink.on_my_status_change(S_OK, MISTATUS_LOCAL_DISCONNECTING_FROM_SERVER));
            }
            SessionState::SignedOut => {
                let tried = matches!(before, SessionState::SigningIn | SessionState::Reconnecting);
                if tried && reason.is_some() {
                    self.tell(|sink| sink.on_signin(hr));
                } else {
                    self.tell(DMessengerEvents::on_signout);
                }
                self.own_presence();
                // The next sign-in tells of everybody who is not offline then.
                for known in self.account.contacts.values_mut() {
                    known.status = MISTATUS_OFFLINE;
                }
            }
        }
    }

    fn own_presence(&mut self) {
        let status = own_status(&self.account.messenger);
        if core::mem::replace(&mut self.account.own_status, status) == status {
            return;
        }
        let oneself = self.contact_of(&self.account.messenger.address().clone());
        self.tell(|sink| sink.on_my_status_change(S_OK, status));
        self.tell(|sink| sink.on_contact_status_change(Some(&oneself), status));
    }

    fn own_profile(&mut self, own: &Arc<Profile>) {
        let before = core::mem::replace(&mut self.account.own, own.clone());
        if before.display_name != own.display_name {
            self.tell(|sink| sink.on_my_friendly_name_change(S_OK, &before.display_name));
        }
        for (kind, number) in changed(&before.phones, &own.phones) {
            self.tell(|sink| sink.on_my_phone_change(kind, &number));
        }
        if before.email != own.email {
            let value = own.email.as_ref().map_or(Variant::Empty, |email| Variant::Bstr(email.to_string()));
            self.tell(|sink| sink.on_my_property_change(S_OK, MCONTACTPROP_EMAIL, &value));
        }
    }

    /// The name that is shown of a contact, and its numbers.
    fn profile(&mut self, id: ContactId, profile: &Profile) {
        let Some(known) = self.account.contacts.get_mut(&id) else { return };
        let name = core::mem::replace(&mut known.name, profile.display_name.clone());
        let phones = core::mem::replace(&mut known.phones, profile.phones.clone());
        let contact = MessengerContact::new(self.inner, &self.account.messenger, known.address.clone());
        if name != profile.display_name {
            self.tell(|sink| sink.on_contact_friendly_name_change(S_OK, Some(&contact), &name));
        }
        for (kind, number) in changed(&phones, &profile.phones) {
            self.tell(|sink| sink.on_contact_phone_change(S_OK, Some(&contact), kind, &number));
        }
    }

    /// A contact that is there: a new one, or one with another name or in other groups.
    fn contact(&mut self, contact: &Contact) {
        let object = self.contact_of(&contact.address);
        if !self.account.contacts.contains_key(&contact.id) {
            let mut known = Known::new(contact);
            known.groups.clear();
            known.blocked = self.account.messenger.snapshot().blocked.contains(&contact.id);
            self.account.contacts.insert(contact.id, known);
            self.tell(|sink| sink.on_contact_list_add(S_OK, Some(&object)));
        }
        self.groups_of(contact, &object);
    }

    fn groups_of(&mut self, contact: &Contact, object: &MessengerContact) {
        let Some(known) = self.account.contacts.get_mut(&contact.id) else { return };
        let now: BTreeSet<GroupId> = contact.groups.iter().copied().collect();
        let before = core::mem::replace(&mut known.groups, now.clone());
        if before == now {
            return;
        }
        for id in now.difference(&before) {
            let group = self.group_object(*id);
            self.tell(|sink| sink.on_contact_added_to_group(S_OK, Some(&group), Some(object)));
        }
        for id in before.difference(&now) {
            let group = self.group_object(*id);
            self.tell(|sink| sink.on_contact_removed_from_group(S_OK, Some(&group), Some(object)));
        }
        let names: Vec<&str> =
            now.iter().filter_map(|id| self.account.groups.get(id)).map(|name| &**name).collect();
        let value = Variant::Bstr(names.join(";"));
        self.tell(|sink| {
            sink.on_contact_property_change(S_OK, Some(object), MCONTACTPROP_GROUPS_PROPERTY, &value);
        });
    }

    fn contact_gone(&mut self, id: ContactId) {
        if let Some(known) = self.account.contacts.remove(&id) {
            let contact = self.contact_of(&known.address).named(&known.name);
            self.tell(|sink| sink.on_contact_list_remove(S_OK, Some(&contact)));
        }
    }

    fn presence(&mut self, id: ContactId, presence: &Presence) {
        let Some(known) = self.account.contacts.get_mut(&id) else { return };
        let address = known.address.clone();
        let status = status(presence);
        let told = core::mem::replace(&mut known.status, status);
        let contact = self.contact_of(&address);
        if told != status {
            self.tell(|sink| sink.on_contact_status_change(Some(&contact), status));
        }
    }

    fn blocked(&mut self, id: ContactId, blocked: bool) {
        let Some(known) = self.account.contacts.get_mut(&id) else { return };
        if core::mem::replace(&mut known.blocked, blocked) != blocked {
            let address = known.address.clone();
            let contact = self.contact_of(&address);
            self.tell(|sink| sink.on_contact_block_change(S_OK, Some(&contact), blocked));
        }
    }

    fn group(&mut self, id: GroupId, name: &Arc<str>) {
        let before = self.account.groups.insert(id, name.clone());
        let group = self.group_object(id);
        match before {
            None => self.tell(|sink| sink.on_group_added(S_OK, Some(&group))),
            Some(before) if before != *name => {
                self.tell(|sink| sink.on_group_name_changed(S_OK, Some(&group)));
            }
            Some(_) => {}
        }
    }

    fn group_gone(&mut self, id: GroupId) {
        if let Some(name) = self.account.groups.remove(&id) {
            let group = self.group_object(id).named(name);
            self.tell(|sink| sink.on_group_removed(S_OK, Some(&group)));
        }
    }

    fn conversation(&mut self, id: ConversationId, present: BTreeSet<Address>) {
        let window = self.window(id);
        let Some(known) = self.account.conversations.get_mut(&id) else {
            self.account.conversations.insert(id, present);
            return self.tell(|sink| sink.on_im_window_created(&window));
        };
        let before = core::mem::replace(known, present.clone());
        for address in present.difference(&before) {
            let contact = self.contact_of(address);
            self.tell(|sink| sink.on_im_window_contact_added(&contact, &window));
        }
        for address in before.difference(&present) {
            let contact = self.contact_of(address);
            self.tell(|sink| sink.on_im_window_contact_removed(&contact, &window));
        }
    }

    fn participant(&mut self, id: ConversationId, address: &Address, joined: bool) {
        let Some(known) = self.account.conversations.get(&id) else { return };
        let mut present = known.clone();
        if joined {
            present.insert(address.clone());
        } else {
            present.remove(address);
        }
        self.conversation(id, present);
    }

    fn conversation_closed(&mut self, id: ConversationId) {
        if self.account.conversations.remove(&id).is_some() {
            let window = self.window(id);
            self.tell(|sink| sink.on_im_window_destroyed(&window));
        }
    }

    fn contact_of(&self, address: &Address) -> MessengerContact {
        MessengerContact::new(self.inner, &self.account.messenger, address.clone())
    }

    fn group_object(&self, id: GroupId) -> MessengerGroup {
        MessengerGroup::new(self.inner, &self.account.messenger, id)
    }

    fn window(&self, id: ConversationId) -> MessengerConversationWnd {
        MessengerConversationWnd::new(self.inner, &self.account.messenger, id)
    }

    fn tell(&self, what: impl Fn(&dyn DMessengerEvents)) {
        self.inner.relay.tell(what);
    }
}

/// Numbers that differ, empty where there is none any more.
fn changed(before: &Phones, now: &Phones) -> Vec<(MPHONE_TYPE, String)> {
    let number = |phones: &Phones, kind| number_of(phones, kind).ok().flatten().map(ToString::to_string);
    let differs = |kind: MPHONE_TYPE| {
        let (before, now) = (number(before, kind), number(now, kind));
        (before != now).then(|| (kind, now.unwrap_or_default()))
    };
    KINDS.into_iter().filter_map(differs).collect()
}
