//! The journal of must-deliver events, and how far each plugin is in it.

use attache_messenger::{
    id::AccountId,
    storage::{JournalEntry, StorageError},
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    batch::{key, signed, text, unsigned},
    error::Failure,
    record,
};

/// The entry cannot be kept without losing another one.
pub(crate) fn taken(seq: u64) -> StorageError {
    StorageError::Other(format!("position {seq} of the journal is taken by another event"))
}

/// Position 0 stands for "before the first".
pub(crate) fn check(seq: u64) -> Result<(), StorageError> {
    if seq == 0 { Err(StorageError::Other("positions of the journal begin at 1".into())) } else { Ok(()) }
}

/// Adds an event. The same one again, as after a commit whose outcome got lost, changes nothing.
pub(crate) fn append(
    connection: &Connection,
    account: AccountId,
    entry: &JournalEntry,
) -> Result<(), Failure> {
    check(entry.seq)?;
    let (owner, seq, at) = (key(account), signed(entry.seq)?, signed(entry.at.as_millis())?);
    let body = record::event_to_json(&entry.event)?;
    let added = connection
        .prepare_cached("INSERT OR IGNORE INTO journal (account, seq, at, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![owner, seq, at, body])?;
    if added == 0 {
        let same: bool = connection
            .prepare_cached("SELECT at = ?3 AND body = ?4 FROM journal WHERE account = ?1 AND seq = ?2")?
            .query_row(params![owner, seq, at, body], |row| row.get(0))?;
        return if same { Ok(()) } else { Err(taken(entry.seq).into()) };
    }
    connection
        .prepare_cached(
            "INSERT INTO account (id, last_seq) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET last_seq = max(last_seq, excluded.last_seq)",
        )?
        .execute([owner, seq])?;
    Ok(())
}

/// The highest position that the journal ever had.
pub(crate) fn last(connection: &Connection, account: AccountId) -> Result<u64, Failure> {
    let last = connection
        .prepare_cached("SELECT last_seq FROM account WHERE id = ?1")?
        .query_row([key(account)], |row| row.get(0))
        .optional()?;
    unsigned(last.unwrap_or(0))
}

/// Events after a position, oldest first.
pub(crate) fn read(
    connection: &Connection,
    account: AccountId,
    after: u64,
    limit: u32,
) -> Result<Vec<JournalEntry>, Failure> {
    let Ok(after) = signed(after) else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, body FROM journal WHERE account = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query([key(account), after, i64::from(limit)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(JournalEntry {
            seq: unsigned(row.get(0)?)?,
            at: Timestamp::from_millis(unsigned(row.get(1)?)?),
            event: record::event_from_json(row.get_ref(2)?.as_str().map_err(text)?)?,
        });
    }
    Ok(entries)
}

/// How far a plugin is.
pub(crate) fn cursor(
    connection: &Connection,
    account: AccountId,
    plugin: &str,
) -> Result<Option<u64>, Failure> {
    connection
        .prepare_cached("SELECT seq FROM cursor WHERE account = ?1 AND plugin = ?2")?
        .query_row(params![key(account), plugin], |row| row.get(0))
        .optional()?
        .map(unsigned)
        .transpose()
}

/// Moves a plugin forward.
pub(crate) fn set_cursor(
    connection: &Connection,
    account: AccountId,
    plugin: &str,
    seq: u64,
) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO cursor (account, plugin, seq) VALUES (?1, ?2, ?3)
             ON CONFLICT (account, plugin) DO UPDATE SET seq = max(seq, excluded.seq)",
        )?
        .execute(params![key(account), plugin, signed(seq)?])?;
    Ok(())
}

/// Forgets at most `most` events that all of these plugins have handled, and the cursors of others. A plugin without a
/// cursor has handled nothing yet.
pub(crate) fn trim(
    connection: &Connection,
    account: AccountId,
    plugins: &[String],
    most: u64,
) -> Result<u64, Failure> {
    let owner = key(account);
    let mut statement = connection.prepare_cached("SELECT plugin, seq FROM cursor WHERE account = ?1")?;
    let cursors: Vec<(String, i64)> =
        statement.query_map([owner], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut forget = connection.prepare_cached("DELETE FROM cursor WHERE account = ?1 AND plugin = ?2")?;
    for (plugin, _) in cursors.iter().filter(|(plugin, _)| !plugins.contains(plugin)) {
        forget.execute(params![owner, plugin])?;
    }
    let handled = plugins
        .iter()
        .map(|plugin| cursors.iter().find(|(name, _)| name == plugin).map_or(0, |(_, seq)| *seq))
        .min()
        .unwrap_or(i64::MAX);
    let removed = connection
        .prepare_cached(
            "DELETE FROM journal WHERE id IN
                 (SELECT id FROM journal WHERE account = ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)",
        )?
        .execute([owner, handled, signed(most)?])?;
    Ok(u64::try_from(removed).unwrap_or(u64::MAX))
}
