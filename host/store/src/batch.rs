//! Batches of the engine, and what an account starts with.

use std::{collections::HashMap, sync::Arc};

use attache_messenger::{
    address::Address,
    event::{Contact, Group},
    id::{AccountId, ContactId, GroupId, MessageId},
    profile::ContactDetails,
    storage::{Batch, JournalEntry, JournalEvent, Record, RecordKind, Restored, StorageError, Write},
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{archive, error::Failure, journal, record};

/// How long the identity of an arrived message is kept: as long as the engine knows it again.
pub(crate) const SEEN_MILLIS: u64 = 31 * 86_400 * 1000;
/// With every identity that comes, at most this many old ones go; more than one, so that they never pile up.
const SEEN_PRUNED: i64 = 16;
/// What a row costs beside its text, roughly.
const ROW: usize = 256;

/// The column of an account.
pub(crate) fn key(account: AccountId) -> i64 {
    account.0.cast_signed()
}

/// A number for a column that is sorted.
pub(crate) fn signed(number: u64) -> Result<i64, StorageError> {
    i64::try_from(number)
        .map_err(|_| StorageError::Other(format!("{number} is too large for a handle, a position or a time")))
}

/// A number from such a column.
pub(crate) fn unsigned(number: i64) -> Result<u64, Failure> {
    u64::try_from(number).map_err(|_| Failure::Unreadable("a number in it is negative".into()))
}

/// About how many bytes a batch holds.
pub(crate) fn weight(batch: &Batch) -> usize {
    let texts = batch.writes.iter().map(|write| match write {
        Write::PutContact(contact) => contact.name.len(),
        Write::PutGroup(group) => group.name.len(),
        Write::PutOutbox(entry) => entry.message.content.size() + entry.call_id.len(),
        Write::KeepLine { line, .. } => line.content.size(),
        Write::PutSetting(_, value) => value.len(),
        Write::PutRecord { key, value, .. } => key.len() + value.as_ref().map_or(0, |value| value.len()),
        Write::AppendJournal(JournalEntry { event: JournalEvent::MessageReceived(message), .. }) => {
            message.content.size()
        }
        Write::AppendJournal(JournalEntry { event: JournalEvent::MessageAccepted(message), .. }) => {
            message.content.size()
        }
        _ => 0,
    });
    texts.map(|text| text + ROW).sum()
}

/// Remembers the address of an account.
pub(crate) fn put_account(
    connection: &Connection,
    account: AccountId,
    address: &Address,
) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO account (id, address) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET address = excluded.address",
        )?
        .execute(params![key(account), address.as_str()])?;
    Ok(())
}

/// The address of an account that has been loaded before.
pub(crate) fn account_address(
    connection: &Connection,
    account: AccountId,
) -> Result<Option<String>, Failure> {
    Ok(connection
        .prepare_cached("SELECT address FROM account WHERE id = ?1")?
        .query_row([key(account)], |row| row.get(0))
        .optional()?
        .flatten())
}

/// Every account that has been loaded.
pub(crate) fn accounts(connection: &Connection) -> Result<Vec<(AccountId, Address)>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT id, address FROM account WHERE address IS NOT NULL ORDER BY address")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        found
            .push((AccountId(id.cast_unsigned()), record::address(row.get_ref(1)?.as_str().map_err(text)?)?));
    }
    Ok(found)
}

/// A column that should be text is not.
pub(crate) fn text(_: rusqlite::types::FromSqlError) -> Failure {
    Failure::Unreadable("a column that should be text is not".into())
}

/// Applies a batch. The caller's transaction makes it all or nothing.
pub(crate) fn commit(connection: &Connection, account: AccountId, batch: &Batch) -> Result<(), Failure> {
    batch.writes.iter().try_for_each(|write| apply(connection, account, write))
}

fn apply(connection: &Connection, account: AccountId, write: &Write) -> Result<(), Failure> {
    let owner = key(account);
    match write {
        Write::PutContact(contact) => put_contact(connection, owner, contact)?,
        Write::RemoveContact(ContactId(id)) => {
            let id = signed(*id)?;
            connection
                .prepare_cached("DELETE FROM contact WHERE account = ?1 AND id = ?2")?
                .execute([owner, id])?;
            connection
                .prepare_cached("DELETE FROM membership WHERE account = ?1 AND contact = ?2")?
                .execute([owner, id])?;
        }
        Write::PutGroup(group) => {
            connection
                .prepare_cached(
                    "INSERT INTO contact_group (account, id, name) VALUES (?1, ?2, ?3)
                     ON CONFLICT (account, id) DO UPDATE SET name = excluded.name",
                )?
                .execute(params![owner, signed(group.id.0)?, group.name])?;
        }
        Write::RemoveGroup(GroupId(id)) => {
            let id = signed(*id)?;
            connection
                .prepare_cached("DELETE FROM contact_group WHERE account = ?1 AND id = ?2")?
                .execute([owner, id])?;
            connection
                .prepare_cached("DELETE FROM membership WHERE account = ?1 AND contact_group = ?2")?
                .execute([owner, id])?;
        }
        Write::PutOutbox(entry) => {
            connection
                .prepare_cached(
                    "INSERT INTO outbox (account, message, body) VALUES (?1, ?2, ?3)
                     ON CONFLICT (account, message) DO UPDATE SET body = excluded.body",
                )?
                .execute(params![owner, signed(entry.message.id.0)?, record::outbox_to_json(entry)?])?;
        }
        Write::FinishOutbox { message, recipients } => {
            finish_outbox(connection, owner, *message, recipients)?;
        }
        Write::KeepLine { line, forget } => archive::keep_line(connection, account, line, *forget)?,
        Write::AppendJournal(entry) => journal::append(connection, account, entry)?,
        Write::PutSetting(name, value) => {
            connection
                .prepare_cached(
                    "INSERT INTO setting (account, name, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (account, name) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![owner, name, value])?;
        }
        Write::PutRecord { kind, key, value: Some(value) } => {
            connection
                .prepare_cached(
                    "INSERT INTO record (account, kind, key, value) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (account, kind, key) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![owner, kind.name(), key, value])?;
        }
        Write::PutRecord { kind, key, value: None } => {
            connection
                .prepare_cached("DELETE FROM record WHERE account = ?1 AND kind = ?2 AND key = ?3")?
                .execute(params![owner, kind.name(), key])?;
        }
        Write::PutSeen { key, at } => put_seen(connection, owner, key, *at)?,
        _ => return Err(Failure::other("the store does not know this kind of change")),
    }
    Ok(())
}

fn put_contact(connection: &Connection, owner: i64, contact: &Contact) -> Result<(), Failure> {
    let id = signed(contact.id.0)?;
    let details = contact.details.as_deref().and_then(ContactDetails::kept);
    connection
        .prepare_cached(
            "INSERT INTO contact (account, id, address, name, details) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (account, id) DO UPDATE
                 SET address = excluded.address, name = excluded.name, details = excluded.details",
        )?
        .execute(params![owner, id, contact.address.as_str(), contact.name, details])?;
    connection
        .prepare_cached("DELETE FROM membership WHERE account = ?1 AND contact = ?2")?
        .execute([owner, id])?;
    let mut add = connection.prepare_cached("INSERT OR IGNORE INTO membership VALUES (?1, ?2, ?3)")?;
    for group in &contact.groups {
        add.execute([owner, id, signed(group.0)?])?;
    }
    Ok(())
}

fn finish_outbox(
    connection: &Connection,
    owner: i64,
    message: MessageId,
    recipients: &[Address],
) -> Result<(), Failure> {
    let id = signed(message.0)?;
    let body: Option<String> = connection
        .prepare_cached("SELECT body FROM outbox WHERE account = ?1 AND message = ?2")?
        .query_row([owner, id], |row| row.get(0))
        .optional()?;
    let Some(body) = body else { return Ok(()) };
    let mut entry = record::outbox_from_json(&body)?;
    entry.pending.retain(|recipient| !recipients.contains(recipient));
    if entry.pending.is_empty() {
        connection
            .prepare_cached("DELETE FROM outbox WHERE account = ?1 AND message = ?2")?
            .execute([owner, id])?;
    } else {
        connection
            .prepare_cached("UPDATE outbox SET body = ?3 WHERE account = ?1 AND message = ?2")?
            .execute(params![owner, id, record::outbox_to_json(&entry)?])?;
    }
    Ok(())
}

fn put_seen(connection: &Connection, owner: i64, key: &[u8; 16], at: Timestamp) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO seen (account, key, at) VALUES (?1, ?2, ?3)
             ON CONFLICT (account, key) DO UPDATE SET at = max(at, excluded.at)",
        )?
        .execute(params![owner, key, signed(at.as_millis())?])?;
    connection
        .prepare_cached(
            "DELETE FROM seen WHERE account = ?1 AND key IN
                 (SELECT key FROM seen WHERE account = ?1 AND at < ?2 ORDER BY at LIMIT ?3)",
        )?
        .execute([owner, signed(at.as_millis().saturating_sub(SEEN_MILLIS))?, SEEN_PRUNED])?;
    Ok(())
}

/// What an account starts with, as of one moment.
pub(crate) fn load(connection: &Connection, account: AccountId) -> Result<Restored, Failure> {
    let transaction = connection.unchecked_transaction()?;
    let owner = key(account);
    let restored = Restored {
        contacts: contacts(&transaction, owner)?,
        groups: groups(&transaction, owner)?,
        outbox: outbox(&transaction, owner)?,
        settings: settings(&transaction, owner)?,
        records: records(&transaction, owner)?,
        seen: seen(&transaction, owner)?,
        last_seq: journal::last(&transaction, account)?,
    };
    transaction.commit()?;
    Ok(restored)
}

fn contacts(connection: &Connection, owner: i64) -> Result<Vec<Contact>, Failure> {
    let mut memberships: HashMap<i64, Vec<GroupId>> = HashMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT contact, contact_group FROM membership WHERE account = ?1 ORDER BY contact, contact_group",
    )?;
    let mut rows = statement.query([owner])?;
    while let Some(row) = rows.next()? {
        memberships.entry(row.get(0)?).or_default().push(GroupId(unsigned(row.get(1)?)?));
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, address, name, details FROM contact WHERE account = ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([owner])?;
    let mut contacts = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let details: Option<String> = row.get(3)?;
        contacts.push(Contact {
            id: ContactId(unsigned(id)?),
            address: record::address(row.get_ref(1)?.as_str().map_err(text)?)?,
            name: row.get(2)?,
            groups: memberships.remove(&id).unwrap_or_default().into_iter().collect(),
            details: details.and_then(|text| ContactDetails::restored(&text)).map(Arc::new),
        });
    }
    Ok(contacts)
}

fn groups(connection: &Connection, owner: i64) -> Result<Vec<Group>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT id, name FROM contact_group WHERE account = ?1 ORDER BY position")?;
    let mut rows = statement.query([owner])?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        groups.push(Group { id: GroupId(unsigned(row.get(0)?)?), name: row.get(1)? });
    }
    Ok(groups)
}

fn outbox(
    connection: &Connection,
    owner: i64,
) -> Result<Vec<attache_messenger::storage::OutboxEntry>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT body FROM outbox WHERE account = ?1 ORDER BY position")?;
    let mut rows = statement.query([owner])?;
    let mut outbox = Vec::new();
    while let Some(row) = rows.next()? {
        outbox.push(record::outbox_from_json(row.get_ref(0)?.as_str().map_err(text)?)?);
    }
    Ok(outbox)
}

fn settings(connection: &Connection, owner: i64) -> Result<Vec<(String, String)>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT name, value FROM setting WHERE account = ?1 ORDER BY name")?;
    let rows = statement.query_map([owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn records(connection: &Connection, owner: i64) -> Result<Vec<Record>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT kind, key, value FROM record WHERE account = ?1 ORDER BY kind, key")?;
    let mut rows = statement.query([owner])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(kind) = RecordKind::from_name(row.get_ref(0)?.as_str().map_err(text)?) else { continue };
        records.push(Record { kind, key: row.get(1)?, value: row.get(2)? });
    }
    Ok(records)
}

fn seen(connection: &Connection, owner: i64) -> Result<Vec<([u8; 16], Timestamp)>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT key, at FROM seen WHERE account = ?1 ORDER BY at")?;
    let mut rows = statement.query([owner])?;
    let mut seen = Vec::new();
    while let Some(row) = rows.next()? {
        seen.push((row.get(0)?, Timestamp::from_millis(unsigned(row.get(1)?)?)));
    }
    Ok(seen)
}
