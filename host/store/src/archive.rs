//! The archive: what a plugin chose to keep, and lines of transcripts for their time; found again by words, people and time.

use attache_messenger::{
    address::Address,
    id::{AccountId, ConversationId, MessageId},
    message::{Content, Payload, Text},
    storage::{ArchiveEntry, ArchiveQuery, Direction, Order},
    time::Timestamp,
};
use rusqlite::{Connection, params, types::Value};
use smallvec::SmallVec;

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

/// Lines of transcripts that go with each one that comes: more than one, so that they never pile up.
const LINES_PRUNED: i64 = 16;

/// Adds a message that a plugin archives; true when it was not archived yet.
pub(crate) fn add(
    connection: &Connection,
    account: AccountId,
    entry: &ArchiveEntry,
) -> Result<bool, Failure> {
    if insert(connection, account, entry, true)? {
        return Ok(true);
    }
    let changed = connection
        .prepare_cached(
            "UPDATE archive SET archived = 1 WHERE account = ?1 AND message = ?2 AND archived = 0",
        )?
        .execute([key(account), signed(entry.message.0)?])?;
    Ok(changed > 0)
}

/// Adds a line of a transcript, and forgets a few that are older than `forget`.
pub(crate) fn keep_line(
    connection: &Connection,
    account: AccountId,
    line: &ArchiveEntry,
    forget: Timestamp,
) -> Result<(), Failure> {
    insert(connection, account, line, false)?;
    connection
        .prepare_cached(
            "DELETE FROM archive WHERE id IN
                 (SELECT id FROM archive WHERE account = ?1 AND archived = 0 AND at < ?2 ORDER BY at LIMIT ?3)",
        )?
        .execute(params![key(account), bound(forget), LINES_PRUNED])?;
    Ok(())
}

fn insert(
    connection: &Connection,
    account: AccountId,
    entry: &ArchiveEntry,
    archived: bool,
) -> Result<bool, Failure> {
    let (media_type, body) = match &entry.content {
        Content::Text(_) => (None, None),
        Content::Html { html, .. } => (Some("text/html"), Some(html.as_str().as_bytes())),
        Content::Other { media_type, bytes } => (Some(&**media_type), Some(&bytes.as_bytes()[..])),
        _ => return Err(Failure::other("the store does not know this kind of content")),
    };
    let added = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO archive
                 (account, message, conversation, at, outgoing, peer, peer_key, text, automatic, archived,
                  media_type, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            key(account),
            signed(entry.message.0)?,
            signed(entry.conversation.0)?,
            signed(entry.at.as_millis())?,
            entry.direction == Direction::Outgoing,
            entry.peer.as_str(),
            entry.peer.canonical(),
            entry.content.text(),
            entry.automatic,
            archived,
            media_type,
            body,
        ])?;
    if added == 0 {
        return Ok(false);
    }
    let row = connection.last_insert_rowid();
    for (place, other) in (0_i64..).zip(&entry.others) {
        connection
            .prepare_cached(
                "INSERT INTO archive_other (entry, place, account, peer, peer_key) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![row, place, key(account), other.as_str(), other.canonical()])?;
    }
    Ok(true)
}

/// What matches, in the order that is asked for.
pub(crate) fn search(
    connection: &Connection,
    account: AccountId,
    query: &ArchiveQuery,
) -> Result<Vec<ArchiveEntry>, Failure> {
    const COLUMNS: &str =
        "a.message, a.conversation, a.at, a.outgoing, a.peer, a.text, a.automatic, a.media_type,
        a.body, a.id";
    let Some(Select { from, mut values }) = select(account, query, true)? else { return Ok(Vec::new()) };
    let parts: Vec<String> = from.iter().map(|from| format!("SELECT {COLUMNS} FROM {from}")).collect();
    let direction = match query.order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    values.push(Value::Integer(i64::from(query.limit)));
    let sql = format!(
        "{} ORDER BY 3 {direction}, 1 {direction} LIMIT ?{}",
        parts.join(" UNION ALL "),
        values.len()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(&values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let words = row.get_ref(5)?.as_str().map_err(text)?;
        let media_type = row.get_ref(7)?.as_str_or_null().map_err(text)?;
        let body = row.get_ref(8)?.as_blob_or_null().map_err(text)?.unwrap_or_default();
        found.push(ArchiveEntry {
            message: MessageId(unsigned(row.get(0)?)?),
            conversation: ConversationId(unsigned(row.get(1)?)?),
            at: Timestamp::from_millis(unsigned(row.get(2)?)?),
            direction: if row.get(3)? { Direction::Outgoing } else { Direction::Incoming },
            peer: record::address(row.get_ref(4)?.as_str().map_err(text)?)?,
            others: others(connection, row.get(9)?)?,
            content: match media_type {
                None => Content::Text(Text::new(words)),
                Some("text/html") => Content::Html {
                    html: Text::new(core::str::from_utf8(body).map_err(|_| unreadable())?),
                    plain: Text::new(words),
                },
                Some(media_type) => Content::Other {
                    media_type: media_type.into(),
                    bytes: Payload::new(bytes::Bytes::copy_from_slice(body)),
                },
            },
            automatic: row.get(6)?,
        });
    }
    Ok(found)
}

/// How many match.
pub(crate) fn count(
    connection: &Connection,
    account: AccountId,
    query: &ArchiveQuery,
) -> Result<u64, Failure> {
    let Some(Select { from, values }) = select(account, query, false)? else { return Ok(0) };
    let mut sum = 0;
    for from in from {
        let mut statement = connection.prepare_cached(&format!("SELECT count(*) FROM {from}"))?;
        // Statements take as many values as they name.
        let used = values.iter().take(statement.parameter_count());
        sum += unsigned(statement.query_row(rusqlite::params_from_iter(used), |row| row.get(0))?)?;
    }
    Ok(sum)
}

/// What stands behind FROM, once for each place where the other side may be named, and the values in it.
struct Select {
    from: Vec<String>,
    values: Vec<Value>,
}

/// `None` when no text can match. Each combination is a statement of its own, so that each can use the index that fits.
fn select(account: AccountId, query: &ArchiveQuery, paged: bool) -> Result<Option<Select>, Failure> {
    let terms = match terms::parse(query.text.as_deref().unwrap_or_default())? {
        Terms::Nothing => return Ok(None),
        Terms::Any => None,
        Terms::All(terms) => Some(terms::to_fts5(key(account), &terms)),
    };
    let mut values = vec![Value::Integer(key(account))];
    let mut wanted = String::new();
    let mut want = |condition: &str, value: Value| {
        values.push(value);
        wanted.push_str(&condition.replace('#', &format!("?{}", values.len())));
    };
    if let Some(since) = query.since {
        want(" AND a.at >= #", Value::Integer(bound(since)));
    }
    if let Some(until) = query.until {
        want(" AND a.at < #", Value::Integer(bound(until)));
    }
    if let Some(conversation) = query.conversation {
        want(" AND a.conversation = #", Value::Integer(i64::try_from(conversation.0).unwrap_or(i64::MAX)));
    }
    if let Some(direction) = query.direction {
        want(" AND a.outgoing = #", Value::Integer((direction == Direction::Outgoing).into()));
    }
    if let Some(automatic) = query.automatic {
        want(" AND a.automatic = #", Value::Integer(automatic.into()));
    }
    if let Some(attachment) = query.attachment {
        let condition = " AND (a.media_type IS NOT NULL AND a.media_type <> 'text/html') = #";
        want(condition, Value::Integer(attachment.into()));
    }
    if query.archived_only {
        want(" AND a.archived = #", Value::Integer(1));
    }
    if let Some((at, message)) = query.after.filter(|_| paged) {
        // The comparison of the first column alone lets the index be entered at the cursor.
        let (reach, than) = match query.order {
            Order::NewestFirst => ("<=", "<"),
            Order::OldestFirst => (">=", ">"),
        };
        want(&format!(" AND a.at {reach} #"), Value::Integer(bound(at)));
        let place = Value::Integer(i64::try_from(message.0).unwrap_or(i64::MAX));
        want(&format!(" AND (a.at {than} ?{{at}} OR a.message {than} #)"), place);
        wanted = wanted.replace("{at}", &(values.len() - 1).to_string());
    }
    let mut from = "archive a".to_owned();
    if let Some(terms) = terms {
        values.push(Value::Text(terms));
        from = "archive_text f CROSS JOIN archive a ON a.id = f.rowid".to_owned();
        wanted.push_str(&format!(" AND archive_text MATCH ?{}", values.len()));
    }
    let whole = |from: &str, peer: String| format!("{from} WHERE a.account = ?1{wanted}{peer}");
    let from = match &query.peer {
        None => vec![whole(&from, String::new())],
        Some(peer) => {
            values.push(Value::Text(peer.canonical().to_owned()));
            let place = values.len();
            let further = format!("archive_other o CROSS JOIN {from}");
            vec![
                whole(&from, format!(" AND a.peer_key = ?{place}")),
                whole(
                    &further,
                    format!(
                        " AND o.account = ?1 AND o.peer_key = ?{place} AND o.entry = a.id AND a.peer_key <> ?{place}"
                    ),
                ),
            ]
        }
    };
    Ok(Some(Select { from, values }))
}

fn others(connection: &Connection, row: i64) -> Result<SmallVec<[Address; 0]>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT peer FROM archive_other WHERE entry = ?1 ORDER BY place")?;
    let mut rows = statement.query([row])?;
    let mut found = SmallVec::new();
    while let Some(row) = rows.next()? {
        found.push(record::address(row.get_ref(0)?.as_str().map_err(text)?)?);
    }
    Ok(found)
}

fn bound(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn unreadable() -> Failure {
    Failure::Unreadable("a text in it is no text".into())
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
