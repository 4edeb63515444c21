//! What plugins can reach, as the host sees it.

use std::sync::Arc;

use attache_messenger::{
    command::{Answer, Command},
    compose::Reason,
    error::Error,
    id::{AccountId, ContactId},
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

    /// Journal, archive and the plugins' own values.
    fn storage(&self) -> Arc<dyn Storage>;
}
