//! One signed-in user, for the application.

use std::sync::Arc;

use attache_messenger::{
    command::{Accepted, Answer, Command},
    id::{ContactId, GroupId, MessageId},
    message::Draft,
    report::ServiceReport,
    storage::{ArchiveEntry, ArchiveQuery, Storage},
};

use crate::{
    Address, Code, Connection, Directory, DirectoryEntry, Error, Secret, Snapshot, View, account::Shared,
};

/// One account. A handle: cheap to clone, `Send + Sync`, and valid for ever; once the account is removed or the host
/// has shut down, everything that needs either answers [`Code::Closed`], and what is known stays readable.
///
/// Reading never waits. What changes something is asynchronous; a dropped future does not take the command
/// back once it has been handed over, so every method is cancellation safe in the sense that the effect happens once or not at all.
#[derive(Clone)]
pub struct Messenger {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    directory: Option<Arc<dyn Directory>>,
}

impl Messenger {
    pub(crate) fn new(
        shared: Arc<Shared>,
        storage: Arc<dyn Storage>,
        directory: Option<Arc<dyn Directory>>,
    ) -> Self {
        Self { shared, storage, directory }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn directory(&self) -> Option<&dyn Directory> {
        self.directory.as_deref()
    }

    /// The address of record. Does not depend on a connection.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// The state at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot()
    }

    /// The state at this moment, and every change from here on.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.view()
    }

    /// Signs in, and stays signed in over failures of network and service until [`sign_out`](Self::sign_out).
    /// Completes when the service has accepted the registration.
    ///
    /// # Errors
    /// [`Code::InvalidPassword`] (not tried again), [`Code::AlreadyLoggedOn`], or why it did not work for now: the
    /// engine goes on trying, as the session state says.
    pub async fn sign_in(&self) -> Result<(), Error> {
        self.shared.complete(Command::SignIn).await.map(drop)
    }

    /// Signs out: takes own presence back, ends subscriptions, removes the binding.
    ///
    /// # Errors
    /// [`Code::NotLoggedOn`].
    pub async fn sign_out(&self) -> Result<(), Error> {
        self.shared.complete(Command::SignOut).await.map(drop)
    }

    /// Adds a contact, with a name given by the user or an empty one.
    ///
    /// # Errors
    /// [`Code::AlreadyInList`], [`Code::SessionInvitedSelf`] for oneself, [`Code::ListFull`].
    pub async fn add_contact(&self, address: &Address, name: &str) -> Result<ContactId, Error> {
        self.shared.complete(Command::AddContact { address: address.clone(), name: name.into() }).await?;
        let id = self.snapshot().by_address.get(address).copied();
        id.ok_or_else(|| Error::new(Code::ContactNotFound, format!("{address} was removed meanwhile")))
    }

    /// Removes a contact.
    ///
    /// # Errors
    /// [`Code::ContactNotFound`].
    pub async fn remove_contact(&self, contact: ContactId) -> Result<(), Error> {
        self.shared.complete(Command::RemoveContact(contact)).await.map(drop)
    }

    /// Gives a contact another name.
    ///
    /// # Errors
    /// [`Code::ContactNotFound`], [`Code::InvalidFriendlyName`].
    pub async fn rename_contact(&self, contact: ContactId, name: &str) -> Result<(), Error> {
        self.shared.complete(Command::RenameContact(contact, name.into())).await.map(drop)
    }

    /// Creates a group.
    ///
    /// # Errors
    /// [`Code::GroupAlreadyExists`], [`Code::BadGroupName`], [`Code::GroupNameTooLong`], [`Code::TooManyGroups`].
    pub async fn add_group(&self, name: &str) -> Result<GroupId, Error> {
        self.shared.complete(Command::AddGroup(name.into())).await?;
        let snapshot = self.snapshot();
        let wanted = name.trim().to_lowercase();
        let found = snapshot.groups.iter().find(|(_, group)| group.name.to_lowercase() == wanted);
        found.map(|(id, _)| *id).ok_or_else(|| {
            Error::new(Code::GroupDoesNotExist, format!("the group `{name}` was removed meanwhile"))
        })
    }

    /// Deletes a group; its contacts stay on the list.
    ///
    /// # Errors
    /// [`Code::GroupDoesNotExist`].
    pub async fn remove_group(&self, group: GroupId) -> Result<(), Error> {
        self.shared.complete(Command::RemoveGroup(group)).await.map(drop)
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// As [`add_group`](Self::add_group), and [`Code::GroupDoesNotExist`].
    pub async fn rename_group(&self, group: GroupId, name: &str) -> Result<(), Error> {
        self.shared.complete(Command::RenameGroup(group, name.into())).await.map(drop)
    }

    /// Puts a contact into a group.
    ///
    /// # Errors
    /// [`Code::ContactNotFound`], [`Code::GroupDoesNotExist`].
    pub async fn add_to_group(&self, contact: ContactId, group: GroupId) -> Result<(), Error> {
        self.shared.complete(Command::AddToGroup(contact, group)).await.map(drop)
    }

    /// Takes a contact out of a group.
    ///
    /// # Errors
    /// [`Code::UserNotGroupMember`], [`Code::ContactNotFound`], [`Code::GroupDoesNotExist`].
    pub async fn remove_from_group(&self, contact: ContactId, group: GroupId) -> Result<(), Error> {
        self.shared.complete(Command::RemoveFromGroup(contact, group)).await.map(drop)
    }

    /// Accepts a message for sending: when this returns, it is on disk and will be sent once and in order, also
    /// after a crash. What becomes of it is told by `message-state-changed`.
    ///
    /// # Errors
    /// [`Code::MessageTooLong`] beyond 48 KiB, [`Code::Busy`] when the outbox is full, [`Code::Storage`].
    pub async fn send(&self, to: &Address, text: &str) -> Result<MessageId, Error> {
        let accepted = self.shared.command(text_to(to, text)).await?;
        message_of(accepted)
    }

    /// As [`send`](Self::send), but completes when the service has taken the message.
    ///
    /// # Errors
    /// As [`send`](Self::send), or why the message failed for good.
    pub async fn deliver(&self, to: &Address, text: &str) -> Result<MessageId, Error> {
        let accepted = self.shared.complete(text_to(to, text)).await?;
        message_of(accepted)
    }

    /// Hands over any command and returns when it was taken on; its completion comes as an event.
    ///
    /// # Errors
    /// Why it was not taken on.
    pub async fn command(&self, command: Command) -> Answer {
        self.shared.command(command).await
    }

    /// How the service was found and reached, for a person who looks for a fault.
    #[must_use]
    pub fn connection(&self) -> Arc<Connection> {
        self.shared.connection()
    }

    /// What the service can do, how it is used, and what it refused and why.
    #[must_use]
    pub fn report(&self) -> Arc<ServiceReport> {
        self.snapshot().report.clone()
    }

    /// Gives the access token that [`TokenNeeded`](crate::EventKind::TokenNeeded) asked for, or a newer one (RFC 8898). What waits
    /// for it goes on by itself.
    ///
    /// # Errors
    /// [`Code::Closed`].
    pub async fn set_token(&self, token: Secret) -> Result<(), Error> {
        self.shared.token.store(Some(Arc::new(token.clone())));
        self.shared.with(move |engine, now| engine.set_token(now, token)).await
    }

    /// The access token of the session (RFC 8898), for another service of the same people. A password is never given out.
    ///
    /// # Errors
    /// [`Code::InvalidAuthPackages`] where a password says who the account is, or no token was given yet.
    pub fn access_token(&self) -> Result<Secret, Error> {
        self.shared.token.load().as_deref().cloned().ok_or_else(|| {
            Error::new(Code::InvalidAuthPackages, format!("{} has no access token", self.shared.address))
        })
    }

    /// Looks people up in the directory that the application provides: at most `limit` of them, the likeliest first. An
    /// empty query finds nobody. Cancellation safe.
    ///
    /// # Errors
    /// [`Code::NotFound`] when the application provides none, or the directory's own.
    pub async fn search_directory(&self, query: &str, limit: usize) -> Result<Vec<DirectoryEntry>, Error> {
        let directory = self.directory.as_ref().ok_or_else(|| {
            Error::new(Code::NotFound, "the application provides no directory to look people up in")
        })?;
        let query = query.trim();
        if query.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let mut found = directory.search(query, limit).await?;
        found.truncate(limit);
        Ok(found)
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Searches what plugins have archived, and lines of conversations: with [`ArchiveQuery::conversation`], the transcript
    /// of one, page by page, also after it was closed and the host was started again. Cancellation safe.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub async fn history(&self, query: ArchiveQuery) -> Result<Vec<ArchiveEntry>, Error> {
        self.storage.search(self.shared.address.account_id(), query).await.map_err(|error| {
            Error::new(Code::Storage, "the archive cannot be searched").because(error.to_string())
        })
    }
}

impl Messenger {
    /// How many messages match; see [`history`](Self::history). Cancellation safe.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub async fn history_count(&self, query: ArchiveQuery) -> Result<u64, Error> {
        self.storage.count(self.shared.address.account_id(), query).await.map_err(|error| {
            Error::new(Code::Storage, "the archive cannot be searched").because(error.to_string())
        })
    }
}

fn text_to(to: &Address, text: &str) -> Command {
    Command::Send(Draft::new(to, text))
}

pub(crate) fn message_of(accepted: Accepted) -> Result<MessageId, Error> {
    accepted.message.ok_or_else(|| Error::new(Code::Internal, "a sent message has no handle"))
}

impl core::fmt::Debug for Messenger {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Messenger").field("address", &self.shared.address).finish_non_exhaustive()
    }
}
