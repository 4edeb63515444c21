//! Messages of the archive as a file: page by page, so that the whole of them never sits in memory.

use std::io::Write;

use attache_messenger::{
    export::{Exporter, Format},
    storage::{ArchiveQuery, Order, Storage},
};

use crate::{Address, Archive, Code, Error, Messenger};

/// Messages read at a time.
const PAGE: u32 = 500;

impl Archive {
    /// Writes every message of these accounts that matches, oldest first, and answers how many there were. The query's
    /// order, `after` and `limit` have no meaning. Writing blocks; when the future is dropped, the file ends somewhere.
    ///
    /// # Errors
    /// [`Code::Storage`] when the archive cannot be read, or the file not be written.
    pub async fn export<'a>(
        &self,
        accounts: impl IntoIterator<Item = &'a Address>,
        query: &ArchiveQuery,
        format: Format,
        out: impl Write,
    ) -> Result<u64, Error> {
        export(self.storage(), accounts, query, format, out).await
    }
}

impl Messenger {
    /// Writes every message of the account's archive that matches, oldest first, and answers how many there were: with
    /// [`ArchiveQuery::conversation`], the transcript of a conversation, also of one that was closed. The query's order,
    /// `after` and `limit` have no meaning. Writing blocks; when the future is dropped, the file ends somewhere.
    ///
    /// # Errors
    /// [`Code::Storage`] when the archive cannot be read, or the file not be written.
    pub async fn export(&self, query: &ArchiveQuery, format: Format, out: impl Write) -> Result<u64, Error> {
        export(self.storage(), [self.address()], query, format, out).await
    }
}

async fn export<'a>(
    storage: &dyn Storage,
    accounts: impl IntoIterator<Item = &'a Address>,
    query: &ArchiveQuery,
    format: Format,
    out: impl Write,
) -> Result<u64, Error> {
    let unwritten = |error: std::io::Error| {
        Error::new(Code::Storage, "the export cannot be written").because(error.to_string())
    };
    let mut exporter = Exporter::new(out, format).map_err(unwritten)?;
    for account in accounts {
        let mut page = ArchiveQuery { order: Order::OldestFirst, after: None, limit: PAGE, ..query.clone() };
        loop {
            let found = storage.search(account.account_id(), page.clone()).await.map_err(|error| {
                Error::new(Code::Storage, "the archive cannot be searched").because(error.to_string())
            })?;
            for entry in &found {
                exporter.entry(account, entry).map_err(unwritten)?;
            }
            page.after = found.last().map(|last| (last.at, last.message));
            if found.len() < PAGE as usize {
                break;
            }
        }
    }
    let written = exporter.written();
    exporter.finish().map_err(unwritten)?;
    Ok(written)
}
