//! What plugins can reach, as the host sees it.

use std::sync::Arc;

use attache_messenger::{
    address::Address,
    code::Code,
    command::{Answer, Command},
    compose::Reason,
    error::Error,
    id::{AccountId, ContactId},
    people::{DirectoryEntry, PersonQuery, Resolved},
    snapshot::Snapshot,
    storage::{BoxFuture, Storage},
};

/// The messenger behind the plugin host. Its futures run on the plugin host's own threads.
pub trait Backend: Send + Sync + 'static {
    /// The account as it is now; none when there is no such account. Must not wait.
    fn snapshot(&self, account: AccountId) -> Option<Arc<Snapshot>>;

    /// Carries a command out, as far as [`Answer`] says. Dropping the future may or may not undo the command.
    fn command(&self, account: AccountId, command: Command) -> BoxFuture<'_, Answer>;

    /// Why a contact's presence is what it is, step by step. A messenger that cannot say answers with no step.
    fn why(&self, account: AccountId, contact: ContactId) -> BoxFuture<'_, Result<Vec<Reason>, Error>> {
        let _ = (account, contact);
        Box::pin(core::future::ready(Ok(Vec::new())))
    }

    /// Finds one person. A messenger without a way to look people up finds nobody; so do the other methods about people.
    fn resolve(&self, account: AccountId, query: PersonQuery) -> BoxFuture<'_, Result<Resolved, Error>> {
        let _ = (account, query);
        Box::pin(core::future::ready(Err(nobody())))
    }

    /// Looks people up in the application's directory.
    fn search_directory(
        &self,
        account: AccountId,
        text: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DirectoryEntry>, Error>> {
        let _ = (account, text, limit);
        Box::pin(core::future::ready(Ok(Vec::new())))
    }

    /// A `mailto:` URI that begins a letter to somebody.
    fn mail_to(&self, account: AccountId, address: Address) -> BoxFuture<'_, Result<String, Error>> {
        let _ = (account, address);
        Box::pin(core::future::ready(Err(nobody())))
    }

    /// The services of all accounts, in the order in which accounts were added. Must not wait.
    fn services(&self) -> Vec<ServiceFacts> {
        Vec::new()
    }

    /// The version and the locale of the host. Must not wait.
    fn host(&self) -> (String, String) {
        (env!("CARGO_PKG_VERSION").to_owned(), "en".to_owned())
    }

    /// Journal, archive and the plugins' own values.
    fn storage(&self) -> Arc<dyn Storage>;
}

fn nobody() -> Error {
    Error::new(Code::UserNotFound, "there is no way to look people up")
}

/// A service, as one account uses it. What it can do is `None` as long as it has not said.
#[derive(Clone, Debug)]
pub struct ServiceFacts {
    /// Names the service.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// The account.
    pub account: AccountId,
    /// Whether it is the one that is meant when none is named.
    pub primary: bool,
    /// It passes messages on.
    pub messages: Option<bool>,
    /// It takes and tells presence.
    pub presence: Option<bool>,
    /// It connects calls.
    pub calls: Option<bool>,
    /// It holds conversations of several people together.
    pub conferences: Option<bool>,
    /// It keeps contacts and rules.
    pub contacts: Option<bool>,
}
