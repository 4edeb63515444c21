//! `wasi:keyvalue`: what a plugin keeps.
//!
//! A plugin has one namespace for each account. Its buckets are prefixes in it, so that one quota holds for all of them.

use attache_messenger::{id::AccountId, storage::StorageError};
use wasmtime::component::Resource;

use super::wasi::keyvalue::store::{Error, Host, HostBucket, KeyResponse};
use crate::{grant::Grant, state::GuestState};

/// Longest key, in bytes.
const KEY: usize = 1024;
/// Keys in one page of a listing.
const PAGE: u32 = 100;
/// Listings of one bucket that can be gone on with.
const CURSORS: usize = 8;

/// An open bucket.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    /// Bucket name and a slash, which no bucket name holds.
    prefix: String,
    /// The last key of earlier pages.
    cursors: Vec<(u64, String)>,
    next_cursor: u64,
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for GuestState {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        self.spend_call()?;
        // The standard interface has one word for this; the sentence goes to the plugin's log and status.
        if self.granted("wasi:keyvalue/store.open", Grant::Storage).is_err() {
            return Ok(Err(Error::AccessDenied));
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if identifier.len() > 64 || !identifier.chars().all(fine) {
            return Ok(Err(Error::NoSuchStore));
        }
        let bucket = Bucket { prefix: format!("{identifier}/"), cursors: Vec::new(), next_cursor: 1 };
        Ok(Ok(self.table.push(bucket)?))
    }
}

impl HostBucket for GuestState {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        self.spend_call()?;
        let key = match self.full_key(&bucket, &key)? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let (storage, account, name) = self.place();
        Ok(self.wait(storage.kv_get(account, &name, &key)).await.map_err(|error| failure(&error)))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        self.put(bucket, key, Some(value)).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        self.put(bucket, key, None).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        Ok(HostBucket::get(self, bucket, key).await?.map(|value| value.is_some()))
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> Answer<KeyResponse> {
        self.spend_call()?;
        let open = self.table.get(&bucket)?;
        let prefix = open.prefix.clone();
        let after = match cursor {
            None => prefix.clone(),
            Some(cursor) => match open.cursors.iter().find(|(id, _)| *id == cursor) {
                Some((_, key)) => key.clone(),
                None => return Ok(Err(Error::Other("this listing is too old to go on with".to_owned()))),
            },
        };
        let (storage, account, name) = self.place();
        let found = match self.wait(storage.kv_keys(account, &name, Some(&after), PAGE)).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(failure(&error))),
        };
        let full = found.len() >= PAGE as usize;
        let keys: Vec<String> =
            found.iter().map_while(|key| key.strip_prefix(&prefix)).map(ToOwned::to_owned).collect();
        let more = full && keys.len() == found.len();
        let cursor = match (more, found.last()) {
            (true, Some(last)) => Some(self.table.get_mut(&bucket)?.remember(last.clone())),
            _ => None,
        };
        Ok(Ok(KeyResponse { keys, cursor }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl GuestState {
    async fn put(&mut self, bucket: Resource<Bucket>, key: String, value: Option<Vec<u8>>) -> Answer<()> {
        self.spend_call()?;
        let key = match self.full_key(&bucket, &key)? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let (storage, account, name) = self.place();
        let quota = self.plugin().limits.storage.0;
        Ok(self
            .wait(storage.kv_set(account, &name, &key, value, quota))
            .await
            .map_err(|error| failure(&error)))
    }

    fn full_key(&self, bucket: &Resource<Bucket>, key: &str) -> Answer<String> {
        let bucket = self.table.get(bucket)?;
        if key.is_empty() || key.len() > KEY {
            return Ok(Err(Error::Other(format!("a key has 1 to {KEY} bytes"))));
        }
        Ok(Ok(format!("{}{key}", bucket.prefix)))
    }

    fn place(
        &self,
    ) -> (std::sync::Arc<dyn attache_messenger::storage::Storage>, AccountId, std::sync::Arc<str>) {
        let account = self.instance.account.unwrap_or(AccountId(0));
        (self.plugin().backend.storage(), account, std::sync::Arc::clone(&self.plugin().name))
    }
}

impl Bucket {
    fn remember(&mut self, last: String) -> u64 {
        if self.cursors.len() >= CURSORS {
            self.cursors.remove(0);
        }
        let id = self.next_cursor;
        self.next_cursor += 1;
        self.cursors.push((id, last));
        id
    }
}

fn failure(error: &StorageError) -> Error {
    Error::Other(error.to_string())
}
