//! The archive: what a plugin chose to keep, found again by words, people and time.

use attache_messenger::{
    address::Address,
    id::{AccountId, ConversationId, MessageId},
    message::Text,
    storage::{ArchiveEntry, ArchiveQuery, Direction},
    time::Timestamp,
};
use rusqlite::{Connection, ToSql, params};

use crate::{
    batch::{key, signed, text, unsigned},
    error::Failure,
    record,
    terms::{self, Terms},
};

/// One of those with whom an account has archived messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSummary {
    /// The other side.
    pub peer: Address,
    /// How many messages are archived.
    pub messages: u64,
    /// When the newest of them was.
    pub newest: Timestamp,
}

/// Adds a message; true when it was new.
pub(crate) fn add(
    connection: &Connection,
    account: AccountId,
    entry: &ArchiveEntry,
) -> Result<bool, Failure> {
    let added = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO archive
                 (account, message, conversation, at, outgoing, peer, peer_key, text, automatic)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            key(account),
            signed(entry.message.0)?,
            signed(entry.conversation.0)?,
            signed(entry.at.as_millis())?,
            entry.direction == Direction::Outgoing,
            entry.peer.as_str(),
            entry.peer.canonical(),
            entry.text.as_str(),
            entry.automatic,
        ])?;
    Ok(added > 0)
}

/// What matches, newest first by time and then by handle.
pub(crate) fn search(
    connection: &Connection,
    account: AccountId,
    query: &ArchiveQuery,
) -> Result<Vec<ArchiveEntry>, Failure> {
    let terms = match terms::parse(query.text.as_deref().unwrap_or_default())? {
        Terms::Nothing => return Ok(Vec::new()),
        Terms::Any => None,
        Terms::All(terms) => Some(terms::to_fts5(key(account), &terms)),
    };
    let owner = key(account);
    let bound = |time: Option<Timestamp>, otherwise| {
        time.map_or(otherwise, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    };
    let (since, until) = (bound(query.since, 0), bound(query.until, i64::MAX));
    let limit = i64::from(query.limit);
    let mut sql =
        String::from("SELECT a.message, a.conversation, a.at, a.outgoing, a.peer, a.text, a.automatic FROM ");
    let (before, before_message) = match query.before {
        Some((at, message)) => (bound(Some(at), i64::MAX), i64::try_from(message.0).unwrap_or(i64::MAX)),
        None => (i64::MAX, i64::MAX),
    };
    let mut values: Vec<&dyn ToSql> = vec![&owner, &since, &until, &limit, &before, &before_message];
    let peer = query.peer.as_ref().map(Address::canonical);
    // Each combination is a statement of its own, so that each can use the index that fits it.
    sql.push_str(if terms.is_some() {
        "archive_text f CROSS JOIN archive a ON a.id = f.rowid"
    } else {
        "archive a"
    });
    // The comparison of the first column alone lets the index be entered at the cursor.
    sql.push_str(
        " WHERE a.account = ?1 AND a.at >= ?2 AND a.at < ?3 AND a.at <= ?5 AND (a.at < ?5 OR a.message < ?6)",
    );
    if let Some(peer) = &peer {
        values.push(peer);
        sql.push_str(" AND a.peer_key = ?7");
    }
    if let Some(terms) = &terms {
        values.push(terms);
        sql.push_str(if peer.is_some() {
            " AND archive_text MATCH ?8"
        } else {
            " AND archive_text MATCH ?7"
        });
    }
    sql.push_str(" ORDER BY a.at DESC, a.message DESC LIMIT ?4");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(values.as_slice())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(ArchiveEntry {
            message: MessageId(unsigned(row.get(0)?)?),
            conversation: ConversationId(unsigned(row.get(1)?)?),
            at: Timestamp::from_millis(unsigned(row.get(2)?)?),
            direction: if row.get(3)? { Direction::Outgoing } else { Direction::Incoming },
            peer: record::address(row.get_ref(4)?.as_str().map_err(text)?)?,
            text: Text::new(row.get_ref(5)?.as_str().map_err(text)?),
            automatic: row.get(6)?,
        });
    }
    Ok(found)
}

/// Those with whom messages are archived, the newest first.
pub(crate) fn peers(connection: &Connection, account: AccountId) -> Result<Vec<PeerSummary>, Failure> {
    // With max() the bare column comes from the row of the maximum: the latest spelling of the address.
    let mut statement = connection.prepare_cached(
        "SELECT peer, count(*), max(at) FROM archive WHERE account = ?1 GROUP BY peer_key ORDER BY max(at) DESC",
    )?;
    let mut rows = statement.query([key(account)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(PeerSummary {
            peer: record::address(row.get_ref(0)?.as_str().map_err(text)?)?,
            messages: unsigned(row.get(1)?)?,
            newest: Timestamp::from_millis(unsigned(row.get(2)?)?),
        });
    }
    Ok(found)
}

/// Removes at most `most` messages that are older than `before`.
pub(crate) fn purge(
    connection: &Connection,
    account: AccountId,
    before: Timestamp,
    peer: Option<&Address>,
    most: u64,
) -> Result<u64, Failure> {
    let before = i64::try_from(before.as_millis()).unwrap_or(i64::MAX);
    let removed = match peer {
        None => connection
            .prepare_cached(
                "DELETE FROM archive WHERE id IN
                     (SELECT id FROM archive WHERE account = ?1 AND at < ?2 ORDER BY at LIMIT ?3)",
            )?
            .execute(params![key(account), before, signed(most)?])?,
        Some(peer) => connection
            .prepare_cached(
                "DELETE FROM archive WHERE id IN
                     (SELECT id FROM archive WHERE account = ?1 AND peer_key = ?4 AND at < ?2 ORDER BY at LIMIT ?3)",
            )?
            .execute(params![key(account), before, signed(most)?, peer.canonical()])?,
    };
    Ok(u64::try_from(removed).unwrap_or(u64::MAX))
}
