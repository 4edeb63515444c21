//! `archive` and `archive-writer`.

use attache_messenger::{
    error::Error,
    id::{ConversationId, MessageId},
    message::Text,
    storage::{ArchiveEntry, ArchiveQuery, Direction},
    time::Timestamp,
};

use super::{address, answer, invalid, storage_error, wit};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;
type Entry = wit::archive_types::Entry;

/// Most entries of one answer.
const ENTRIES: u32 = 500;

impl wit::archive_types::Host for GuestState {}

impl wit::archive::Host for GuestState {
    async fn search(&mut self, account: u64, query: wit::archive::Query) -> Answer<Vec<Entry>> {
        self.spend_call()?;
        answer(self.search_archive(account, query).await)
    }
}

impl wit::archive_writer::Host for GuestState {
    async fn append(&mut self, account: u64, entry: Entry) -> Answer<bool> {
        self.spend_call()?;
        answer(self.append_to_archive(account, entry).await)
    }

    async fn purge(&mut self, account: u64, before: u64, peer: Option<String>) -> Answer<u64> {
        self.spend_call()?;
        answer(self.purge_archive(account, before, peer).await)
    }
}

impl GuestState {
    async fn search_archive(
        &mut self,
        account: u64,
        query: wit::archive::Query,
    ) -> Result<Vec<Entry>, Error> {
        self.granted("archive.search", Grant::ArchiveRead)?;
        let account = self.account(account)?;
        let query = ArchiveQuery {
            text: query.text,
            peer: query.peer.as_deref().map(address).transpose()?,
            since: query.since.map(Timestamp::from_millis),
            until: query.until.map(Timestamp::from_millis),
            archived_only: true,
            limit: query.limit.min(ENTRIES),
            ..ArchiveQuery::default()
        };
        let storage = self.plugin().backend.storage();
        let found = self.wait(storage.search(account, query)).await.map_err(storage_error)?;
        // What a guest could not hold anyway is not copied for it.
        let mut room = self.plugin().limits.memory.0 / 2;
        let fits = |entry: &ArchiveEntry| {
            let size = entry.content.size() as u64 + 128;
            room = room.saturating_sub(size);
            room > 0
        };
        Ok(found.into_iter().take_while(fits).map(|entry| wit_entry(&entry)).collect())
    }

    async fn append_to_archive(&mut self, account: u64, entry: Entry) -> Result<bool, Error> {
        self.granted("archive-writer.append", Grant::ArchiveWrite)?;
        let account = self.account(account)?;
        if entry.text.len() > Text::MAX {
            return Err(invalid(format!("a message has at most {} bytes of text", Text::MAX)));
        }
        let entry = ArchiveEntry {
            message: MessageId(entry.message),
            conversation: ConversationId(entry.conversation),
            at: Timestamp::from_millis(entry.at),
            direction: match entry.direction {
                wit::archive_types::Direction::Incoming => Direction::Incoming,
                wit::archive_types::Direction::Outgoing => Direction::Outgoing,
            },
            peer: address(&entry.peer)?,
            others: Default::default(),
            content: Text::new(entry.text).into(),
            automatic: entry.automatic,
        };
        let storage = self.plugin().backend.storage();
        self.wait(storage.archive(account, entry)).await.map_err(storage_error)
    }

    async fn purge_archive(&mut self, account: u64, before: u64, peer: Option<String>) -> Result<u64, Error> {
        self.granted("archive-writer.purge", Grant::ArchiveWrite)?;
        let account = self.account(account)?;
        let peer = peer.as_deref().map(address).transpose()?;
        let storage = self.plugin().backend.storage();
        self.wait(storage.purge(account, Timestamp::from_millis(before), peer)).await.map_err(storage_error)
    }
}

fn wit_entry(entry: &ArchiveEntry) -> Entry {
    Entry {
        message: entry.message.0,
        conversation: entry.conversation.0,
        at: entry.at.as_millis(),
        direction: match entry.direction {
            Direction::Incoming => wit::archive_types::Direction::Incoming,
            Direction::Outgoing => wit::archive_types::Direction::Outgoing,
        },
        peer: entry.peer.to_string(),
        text: entry.content.text().to_owned(),
        automatic: entry.automatic,
    }
}
