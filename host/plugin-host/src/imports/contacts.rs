//! `contacts` and `contact-editor`: the contact list and its groups.

use std::sync::Arc;

use attache_messenger::{
    code::Code,
    command::Command,
    error::Error,
    event::{Contact, Group},
    id::{ContactId, GroupId},
};

use super::{address, answer, invalid, wit};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

impl wit::contacts::Host for GuestState {
    fn list_contacts(&mut self, account: u64) -> Answer<Vec<u64>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("contacts.list-contacts", Grant::ContactsRead)?;
            Ok(state.snapshot(account)?.contacts.keys().map(|id| id.0).collect())
        }))
    }

    fn get_contact(&mut self, account: u64, id: u64) -> Answer<wit::types::Contact> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("contacts.get-contact", Grant::ContactsRead)?;
            let snapshot = self.snapshot(account)?;
            let entry = snapshot.contacts.get(&ContactId(id)).ok_or_else(|| no_contact(id))?;
            Ok(wit_contact(&entry.contact))
        };
        answer(get())
    }

    fn find_contact(&mut self, account: u64, text: String) -> Answer<Option<u64>> {
        self.spend_call()?;
        let find = || -> Result<_, Error> {
            self.granted("contacts.find-contact", Grant::ContactsRead)?;
            Ok(self.snapshot(account)?.by_address.get(&address(&text)?).map(|id| id.0))
        };
        answer(find())
    }

    fn list_groups(&mut self, account: u64) -> Answer<Vec<wit::types::Group>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("contacts.list-groups", Grant::ContactsRead)?;
            Ok(state.snapshot(account)?.groups.values().map(|group| wit_group(group)).collect())
        }))
    }
}

impl wit::contact_editor::Host for GuestState {
    async fn add_contact(&mut self, account: u64, text: String, name: String) -> Answer<u64> {
        self.edit("contact-editor.add-contact", account, || {
            Ok(Command::AddContact { address: address(&text)?, name: checked(name)? })
        })
        .await
    }

    async fn remove_contact(&mut self, account: u64, id: u64) -> Answer<u64> {
        self.edit("contact-editor.remove-contact", account, || Ok(Command::RemoveContact(ContactId(id))))
            .await
    }

    async fn rename_contact(&mut self, account: u64, id: u64, name: String) -> Answer<u64> {
        let command = || Ok(Command::RenameContact(ContactId(id), checked(name)?));
        self.edit("contact-editor.rename-contact", account, command).await
    }

    async fn add_group(&mut self, account: u64, name: String) -> Answer<u64> {
        self.edit("contact-editor.add-group", account, || Ok(Command::AddGroup(checked(name)?))).await
    }

    async fn remove_group(&mut self, account: u64, id: u64) -> Answer<u64> {
        self.edit("contact-editor.remove-group", account, || Ok(Command::RemoveGroup(GroupId(id)))).await
    }

    async fn rename_group(&mut self, account: u64, id: u64, name: String) -> Answer<u64> {
        let command = || Ok(Command::RenameGroup(GroupId(id), checked(name)?));
        self.edit("contact-editor.rename-group", account, command).await
    }

    async fn add_to_group(&mut self, account: u64, contact: u64, group: u64) -> Answer<u64> {
        let command = || Ok(Command::AddToGroup(ContactId(contact), GroupId(group)));
        self.edit("contact-editor.add-to-group", account, command).await
    }

    async fn set_alert(&mut self, account: u64, id: u64, on: bool) -> Answer<u64> {
        self.edit("contact-editor.set-alert", account, || Ok(Command::SetAlert(ContactId(id), on))).await
    }

    async fn remove_from_group(&mut self, account: u64, contact: u64, group: u64) -> Answer<u64> {
        let command = || Ok(Command::RemoveFromGroup(ContactId(contact), GroupId(group)));
        self.edit("contact-editor.remove-from-group", account, command).await
    }
}

impl GuestState {
    async fn edit(
        &mut self,
        function: &'static str,
        account: u64,
        command: impl FnOnce() -> Result<Command, Error>,
    ) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted(function, Grant::ContactsWrite).and_then(|()| command());
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }

    /// Carries out a command that completes later, and answers its request id.
    pub(super) async fn request(&mut self, account: u64, command: Command) -> Result<u64, Error> {
        let account = self.account(account)?;
        let backend = Arc::clone(&self.plugin().backend);
        let accepted = self.wait(backend.command(account, command)).await?;
        self.remember(accepted.request);
        Ok(accepted.request.0)
    }
}

fn checked(name: String) -> Result<Arc<str>, Error> {
    if name.len() > 256 || name.chars().any(char::is_control) {
        return Err(invalid("a name has at most 256 bytes and no control characters"));
    }
    Ok(name.into())
}

fn no_contact(id: u64) -> Error {
    Error::new(Code::ContactNotFound, format!("there is no contact {id}"))
}

fn wit_contact(contact: &Contact) -> wit::types::Contact {
    wit::types::Contact {
        id: contact.id.0,
        address: contact.address.to_string(),
        name: contact.name.to_string(),
        groups: contact.groups.iter().map(|group| group.0).collect(),
    }
}

fn wit_group(group: &Group) -> wit::types::Group {
    wit::types::Group { id: group.id.0, name: group.name.to_string() }
}
