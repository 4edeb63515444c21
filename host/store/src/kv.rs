//! Values of plugins, with a count of bytes per bucket.

use attache_messenger::{id::AccountId, storage::StorageError};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    batch::{key as owner, unsigned},
    error::Failure,
};

/// The bucket would hold too much.
pub(crate) fn over(quota: u64) -> StorageError {
    StorageError::Full(format!("the bucket may hold {quota} bytes of keys and values"))
}

pub(crate) fn get(
    connection: &Connection,
    account: AccountId,
    bucket: &str,
    key: &str,
) -> Result<Option<Vec<u8>>, Failure> {
    Ok(connection
        .prepare_cached("SELECT value FROM kv WHERE account = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row(params![owner(account), bucket, key], |row| row.get(0))
        .optional()?)
}

pub(crate) fn set(
    connection: &Connection,
    account: AccountId,
    bucket: &str,
    key: &str,
    value: Option<&[u8]>,
    quota: u64,
) -> Result<(), Failure> {
    let account = owner(account);
    let held: Option<i64> = connection
        .prepare_cached("SELECT bytes FROM kv_bucket WHERE account = ?1 AND bucket = ?2")?
        .query_row(params![account, bucket], |row| row.get(0))
        .optional()?;
    let old: Option<i64> = connection
        .prepare_cached("SELECT length(value) FROM kv WHERE account = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row(params![account, bucket, key], |row| row.get(0))
        .optional()?;
    let old = old.map(unsigned).transpose()?.map_or(0, |bytes| bytes + key.len() as u64);
    let new = value.map_or(0, |value| (value.len() + key.len()) as u64);
    let rest = unsigned(held.unwrap_or(0))?
        .checked_sub(old)
        .ok_or_else(|| Failure::Unreadable("the size of a bucket does not fit its contents".into()))?;
    let bytes = rest.saturating_add(new);
    match value {
        Some(_) if bytes > quota => return Err(over(quota).into()),
        Some(value) => {
            connection
                .prepare_cached(
                    "INSERT INTO kv (account, bucket, key, value) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (account, bucket, key) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![account, bucket, key, value])?;
        }
        None => {
            connection
                .prepare_cached("DELETE FROM kv WHERE account = ?1 AND bucket = ?2 AND key = ?3")?
                .execute(params![account, bucket, key])?;
        }
    }
    if bytes == 0 {
        connection
            .prepare_cached("DELETE FROM kv_bucket WHERE account = ?1 AND bucket = ?2")?
            .execute(params![account, bucket])?;
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO kv_bucket (account, bucket, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (account, bucket) DO UPDATE SET bytes = excluded.bytes",
        )?
        .execute(params![account, bucket, crate::batch::signed(bytes)?])?;
    Ok(())
}

pub(crate) fn keys(
    connection: &Connection,
    account: AccountId,
    bucket: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>, Failure> {
    let limit = i64::from(limit);
    let account = owner(account);
    let keys = match after {
        None => connection
            .prepare_cached("SELECT key FROM kv WHERE account = ?1 AND bucket = ?2 ORDER BY key LIMIT ?3")?
            .query_map(params![account, bucket, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
        Some(after) => connection
            .prepare_cached(
                "SELECT key FROM kv WHERE account = ?1 AND bucket = ?2 AND key > ?4 ORDER BY key LIMIT ?3",
            )?
            .query_map(params![account, bucket, limit, after], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
    };
    Ok(keys)
}
