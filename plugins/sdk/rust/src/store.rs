//! What a plugin keeps across restarts, in buckets of its own. Needs the grant `storage`.

use crate::bindings::imports::wasi::keyvalue::store;

/// A set of keys with values. Each account has its own, and no other plugin sees it.
#[derive(Debug)]
pub struct Bucket(store::Bucket);

impl Bucket {
    /// Opens a bucket; it is there once it was named.
    ///
    /// # Errors
    /// A sentence, such as that storage is not granted.
    pub fn open(name: &str) -> Result<Self, String> {
        store::open(name).map(Self).map_err(|error| sentence(&error))
    }

    /// The bytes of a key.
    ///
    /// # Errors
    /// A sentence, when the host cannot read.
    pub fn bytes(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.get(key).map_err(|error| sentence(&error))
    }

    /// The text of a key.
    ///
    /// # Errors
    /// A sentence, when the host cannot read, or the bytes are no UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<String>, String> {
        let Some(bytes) = self.bytes(key)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| format!("the value of `{key}` is no text"))
    }

    /// Keeps a value; it is on disk when this returns.
    ///
    /// # Errors
    /// A sentence, when the host cannot write, or the quota is used up.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), String> {
        self.0.set(key, value.as_ref()).map_err(|error| sentence(&error))
    }

    /// Forgets a key; nothing happens when it is not there.
    ///
    /// # Errors
    /// A sentence, when the host cannot write.
    pub fn delete(&self, key: &str) -> Result<(), String> {
        self.0.delete(key).map_err(|error| sentence(&error))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// A sentence, when the host cannot read.
    pub fn contains(&self, key: &str) -> Result<bool, String> {
        self.0.exists(key).map_err(|error| sentence(&error))
    }

    /// Every key, in no particular order.
    ///
    /// # Errors
    /// A sentence, when the host cannot read.
    pub fn keys(&self) -> Result<Vec<String>, String> {
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.0.list_keys(cursor).map_err(|error| sentence(&error))?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }
}

fn sentence(error: &store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "there is no such bucket".to_owned(),
        store::Error::AccessDenied => "storage is not granted".to_owned(),
        store::Error::Other(reason) => format!("storage failed: {reason}"),
    }
}
