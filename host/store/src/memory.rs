//! A store that forgets everything when it is dropped.
//!
//! Maps share their structure, so a batch works on a copy that costs nothing and takes the place of the
//! state only when every write of it has succeeded. Everything happens within the call: order needs no care.

use core::{future::ready, ops::Bound};
use std::sync::{Arc, Mutex, PoisonError};

use attache_messenger::{
    address::Address,
    event::{Contact, Group},
    id::{AccountId, ContactId, GroupId, MessageId},
    storage::{
        ArchiveEntry, ArchiveQuery, Batch, BoxFuture, JournalEntry, Order, OutboxEntry, Record, RecordKind,
        Restored, Storage, StorageError, Write,
    },
    time::Timestamp,
};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync as Tree};

use crate::{
    batch::{SEEN_MILLIS, signed},
    journal, kv,
    record::{event_to_json, outbox_to_json},
    terms::{self, Matcher},
};

/// What a row costs beside its texts, roughly.
const ROW: usize = 256;

/// A message of the archive, and whether a plugin archived it.
type Line = (Arc<ArchiveEntry>, bool);

/// A record by the name of its kind, and its key.
type RecordName = (&'static str, Arc<str>);

/// A store in memory, for tests and for hosts that want to leave no trace.
///
/// It does what [`Store`](crate::Store) does, except that nothing outlives it, and that searches read the whole
/// archive of the account. It holds a bounded number of bytes; what would need more is refused as
/// [`StorageError::Full`].
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    most: usize,
}

#[derive(Clone, Debug)]
struct State {
    accounts: HashTrieMapSync<AccountId, Account>,
    bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Account {
    /// Positions give the order in which things were added.
    contacts: Tree<ContactId, (u64, Arc<Contact>)>,
    groups: Tree<GroupId, (u64, Arc<Group>)>,
    outbox: Tree<MessageId, (u64, Arc<OutboxEntry>)>,
    next: u64,
    settings: Tree<String, String>,
    records: Tree<RecordName, Arc<str>>,
    seen: Tree<[u8; 16], Timestamp>,
    seen_by_age: Tree<(Timestamp, [u8; 16]), ()>,
    journal: Tree<u64, Arc<JournalEntry>>,
    last_seq: u64,
    cursors: Tree<String, u64>,
    archive: Tree<(Timestamp, MessageId), Line>,
    archived: Tree<MessageId, Timestamp>,
    values: Tree<(String, String), Arc<[u8]>>,
    buckets: Tree<String, u64>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store of up to 64 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(64 * 1024 * 1024)
    }

    /// An empty store of up to about `bytes` bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let state = State { accounts: HashTrieMapSync::new_sync(), bytes: 0 };
        Self { state: Mutex::new(state), most: bytes }
    }

    fn read<T>(&self, account: AccountId, work: impl FnOnce(&Account) -> T) -> T {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match state.accounts.get(&account) {
            Some(account) => work(account),
            None => work(&Account::default()),
        }
    }

    /// Works on a copy, and keeps it when that succeeded and is not too large. What shrinks is always kept.
    fn write<T>(
        &self,
        account: AccountId,
        work: impl FnOnce(&mut Account, &mut Size) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copy = state.accounts.get(&account).cloned().unwrap_or_default();
        let mut size = Size { bytes: state.bytes };
        let outcome = work(&mut copy, &mut size)?;
        if size.bytes > self.most && size.bytes > state.bytes {
            return Err(StorageError::Full(format!("the store may hold {} bytes in memory", self.most)));
        }
        state.accounts.insert_mut(account, copy);
        state.bytes = size.bytes;
        Ok(outcome)
    }
}

/// Counts what a change adds and removes.
struct Size {
    bytes: usize,
}

impl Size {
    fn add(&mut self, text: usize) {
        self.bytes += text + ROW;
    }

    fn remove(&mut self, text: usize) {
        self.bytes = self.bytes.saturating_sub(text + ROW);
    }
}

impl Account {
    fn position(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn apply(&mut self, write: Write, size: &mut Size) -> Result<(), StorageError> {
        match write {
            Write::PutContact(contact) => {
                signed(contact.id.0)?;
                let old = self.contacts.get(&contact.id).map(|(position, old)| (*position, old.name.len()));
                old.inspect(|(_, name)| size.remove(*name));
                size.add(contact.name.len());
                let position = old.map_or_else(|| self.position(), |(position, _)| position);
                let mut sorted = Contact::clone(&contact);
                sorted.groups.sort_unstable();
                sorted.groups.dedup();
                self.contacts.insert_mut(contact.id, (position, Arc::new(sorted)));
            }
            Write::RemoveContact(id) => {
                if let Some((_, old)) = self.contacts.get(&id) {
                    size.remove(old.name.len());
                    self.contacts.remove_mut(&id);
                }
            }
            Write::PutGroup(group) => {
                signed(group.id.0)?;
                let old = self.groups.get(&group.id).map(|(position, old)| (*position, old.name.len()));
                old.inspect(|(_, name)| size.remove(*name));
                size.add(group.name.len());
                let position = old.map_or_else(|| self.position(), |(position, _)| position);
                self.groups.insert_mut(group.id, (position, group));
            }
            Write::RemoveGroup(id) => self.remove_group(id, size),
            Write::PutOutbox(entry) => {
                let id = entry.message.id;
                signed(id.0)?;
                // Refuses what the other store could not keep.
                outbox_to_json(&entry).map_err(failure)?;
                let old = self.outbox.get(&id).map(|(position, old)| (*position, outbox_size(old)));
                old.inspect(|(_, bytes)| size.remove(*bytes));
                size.add(outbox_size(&entry));
                let position = old.map_or_else(|| self.position(), |(position, _)| position);
                self.outbox.insert_mut(id, (position, entry));
            }
            Write::FinishOutbox { message, recipients } => {
                let Some((position, old)) = self.outbox.get(&message).cloned() else { return Ok(()) };
                size.remove(outbox_size(&old));
                let mut entry = OutboxEntry::clone(&old);
                entry.pending.retain(|recipient| !recipients.contains(recipient));
                if entry.pending.is_empty() {
                    self.outbox.remove_mut(&message);
                } else {
                    size.add(outbox_size(&entry));
                    self.outbox.insert_mut(message, (position, Arc::new(entry)));
                }
            }
            Write::KeepLine { line, forget } => {
                self.add_line(ArchiveEntry::clone(&line), false, size)?;
                self.forget_lines(forget, size);
            }
            Write::AppendJournal(entry) => self.append(entry, size)?,
            Write::PutSetting(name, value) => {
                if let Some(old) = self.settings.get(name) {
                    size.remove(old.len());
                }
                size.add(value.len());
                self.settings.insert_mut(name.to_owned(), value);
            }
            Write::PutRecord { kind, key, value } => {
                let place = (kind.name(), key);
                if let Some(old) = self.records.get(&place) {
                    size.remove(place.1.len() + old.len());
                    self.records.remove_mut(&place);
                }
                if let Some(value) = value {
                    size.add(place.1.len() + value.len());
                    self.records.insert_mut(place, value);
                }
            }
            Write::PutSeen { key, at } => self.put_seen(key, at, size)?,
            _ => return Err(StorageError::Other("the store does not know this kind of change".into())),
        }
        Ok(())
    }

    fn remove_group(&mut self, id: GroupId, size: &mut Size) {
        if let Some((_, old)) = self.groups.get(&id) {
            size.remove(old.name.len());
            self.groups.remove_mut(&id);
        }
        let members: Vec<_> =
            self.contacts.values().filter(|(_, contact)| contact.groups.contains(&id)).cloned().collect();
        for (position, contact) in members {
            let mut without = Contact::clone(&contact);
            without.groups.retain(|group| *group != id);
            self.contacts.insert_mut(contact.id, (position, Arc::new(without)));
        }
    }

    fn append(&mut self, entry: JournalEntry, size: &mut Size) -> Result<(), StorageError> {
        journal::check(entry.seq)?;
        signed(entry.seq)?;
        let body = event_to_json(&entry.event).map_err(failure)?;
        if let Some(old) = self.journal.get(&entry.seq) {
            let same = old.at == entry.at && event_to_json(&old.event).map_err(failure)? == body;
            return if same { Ok(()) } else { Err(journal::taken(entry.seq)) };
        }
        size.add(body.len());
        self.last_seq = self.last_seq.max(entry.seq);
        self.journal.insert_mut(entry.seq, Arc::new(entry));
        Ok(())
    }

    fn put_seen(&mut self, key: [u8; 16], at: Timestamp, size: &mut Size) -> Result<(), StorageError> {
        signed(at.as_millis())?;
        match self.seen.get(&key).copied() {
            Some(old) if old >= at => return Ok(()),
            Some(old) => {
                self.seen_by_age.remove_mut(&(old, key));
            }
            None => size.add(0),
        }
        self.seen.insert_mut(key, at);
        self.seen_by_age.insert_mut((at, key), ());
        let oldest = Timestamp::from_millis(at.as_millis().saturating_sub(SEEN_MILLIS));
        while let Some((&(when, key), ())) = self.seen_by_age.first()
            && when < oldest
        {
            self.seen_by_age.remove_mut(&(when, key));
            self.seen.remove_mut(&key);
            size.remove(0);
        }
        Ok(())
    }

    fn trim(&mut self, plugins: &[String], size: &mut Size) -> u64 {
        let others: Vec<_> =
            self.cursors.keys().filter(|plugin| !plugins.contains(plugin)).cloned().collect();
        for plugin in others {
            size.remove(plugin.len());
            self.cursors.remove_mut(&plugin);
        }
        let handled = plugins.iter().map(|plugin| self.cursors.get(plugin).copied().unwrap_or(0)).min();
        let handled: Vec<_> =
            self.journal.range(..=handled.unwrap_or(u64::MAX)).map(|(seq, _)| *seq).collect();
        for seq in &handled {
            if let Some(body) = self.journal.get(seq).and_then(|entry| event_to_json(&entry.event).ok()) {
                size.remove(body.len());
            }
            self.journal.remove_mut(seq);
        }
        handled.len() as u64
    }

    fn archive(&mut self, entry: ArchiveEntry, size: &mut Size) -> Result<bool, StorageError> {
        if let Some(at) = self.archived.get(&entry.message).copied() {
            let place = (at, entry.message);
            let Some((old, false)) = self.archive.get(&place).cloned() else { return Ok(false) };
            self.archive.insert_mut(place, (old, true));
            return Ok(true);
        }
        self.add_line(entry, true, size)
    }

    fn add_line(
        &mut self,
        entry: ArchiveEntry,
        archived: bool,
        size: &mut Size,
    ) -> Result<bool, StorageError> {
        for number in [entry.message.0, entry.conversation.0, entry.at.as_millis()] {
            signed(number)?;
        }
        if self.archived.contains_key(&entry.message) {
            return Ok(false);
        }
        size.add(entry.content.size());
        self.archived.insert_mut(entry.message, entry.at);
        self.archive.insert_mut((entry.at, entry.message), (Arc::new(entry), archived));
        Ok(true)
    }

    fn forget_lines(&mut self, before: Timestamp, size: &mut Size) {
        let old = self.archive.range(..(before, MessageId(0)));
        let old: Vec<_> = old.filter(|(_, (_, archived))| !archived).map(|(key, _)| *key).collect();
        self.drop_lines(&old, size);
    }

    fn drop_lines(&mut self, places: &[(Timestamp, MessageId)], size: &mut Size) {
        for place in places {
            if let Some((entry, _)) = self.archive.get(place) {
                size.remove(entry.content.size());
            }
            self.archive.remove_mut(place);
            self.archived.remove_mut(&place.1);
        }
    }

    fn matching<'a>(
        &'a self,
        query: &'a ArchiveQuery,
    ) -> Result<Option<impl Fn(&Line) -> bool + use<'a>>, StorageError> {
        let Some(matcher) = Matcher::new(&terms::parse(query.text.as_deref().unwrap_or_default())?) else {
            return Ok(None);
        };
        Ok(Some(move |(entry, archived): &Line| {
            query.since.is_none_or(|since| entry.at >= since)
                && query.until.is_none_or(|until| entry.at < until)
                && query.peer.as_ref().is_none_or(|peer| entry.peer == *peer || entry.others.contains(peer))
                && query.conversation.is_none_or(|conversation| entry.conversation == conversation)
                && query.direction.is_none_or(|direction| entry.direction == direction)
                && query.automatic.is_none_or(|automatic| entry.automatic == automatic)
                && query.attachment.is_none_or(|attachment| entry.content.is_attachment() == attachment)
                && (*archived || !query.archived_only)
                && matcher.matches(entry.content.text())
        }))
    }

    fn search(&self, query: &ArchiveQuery) -> Result<Vec<ArchiveEntry>, StorageError> {
        let Some(matches) = self.matching(query)? else { return Ok(Vec::new()) };
        let found = |entries: &mut dyn Iterator<Item = &Line>| {
            let found = entries.filter(|entry| matches(entry)).take(query.limit as usize);
            found.map(|(entry, _)| ArchiveEntry::clone(entry)).collect()
        };
        let rest = (Bound::<(Timestamp, MessageId)>::Unbounded, Bound::Unbounded);
        Ok(match (query.order, query.after) {
            (Order::NewestFirst, None) => found(&mut self.archive.range(rest).rev().map(|(_, entry)| entry)),
            (Order::OldestFirst, None) => found(&mut self.archive.range(rest).map(|(_, entry)| entry)),
            (Order::NewestFirst, Some(after)) => {
                found(&mut self.archive.range(..after).rev().map(|(_, entry)| entry))
            }
            (Order::OldestFirst, Some(after)) => {
                let rest = (Bound::Excluded(after), Bound::Unbounded);
                found(&mut self.archive.range(rest).map(|(_, entry)| entry))
            }
        })
    }

    fn count(&self, query: &ArchiveQuery) -> Result<u64, StorageError> {
        let Some(matches) = self.matching(query)? else { return Ok(0) };
        Ok(self.archive.values().filter(|entry| matches(entry)).count() as u64)
    }

    fn purge(&mut self, before: Timestamp, peer: Option<&Address>, size: &mut Size) -> u64 {
        let old = self.archive.range(..(before, MessageId(0)));
        let old: Vec<_> = old
            .filter(|(_, (entry, _))| peer.is_none_or(|peer| entry.peer == *peer))
            .map(|(key, _)| *key)
            .collect();
        self.drop_lines(&old, size);
        old.len() as u64
    }

    fn set_value(
        &mut self,
        bucket: &str,
        key: &str,
        value: Option<Vec<u8>>,
        quota: u64,
        size: &mut Size,
    ) -> Result<(), StorageError> {
        let place = (bucket.to_owned(), key.to_owned());
        let cost = |value: &[u8]| key.len() + value.len();
        let held = self.buckets.get(bucket).copied().unwrap_or(0);
        let rest = match self.values.get(&place) {
            Some(old) => {
                size.remove(cost(old));
                held.saturating_sub(cost(old) as u64)
            }
            None => held,
        };
        let bytes = match value {
            Some(value) => {
                let bytes = rest.saturating_add(cost(&value) as u64);
                if bytes > quota {
                    return Err(kv::over(quota));
                }
                size.add(cost(&value));
                self.values.insert_mut(place, value.into());
                bytes
            }
            None => {
                self.values.remove_mut(&place);
                rest
            }
        };
        self.buckets.insert_mut(bucket.to_owned(), bytes);
        Ok(())
    }

    fn restored(&self) -> Restored {
        fn in_order<K: Ord, T: Clone>(entries: &Tree<K, (u64, Arc<T>)>) -> Vec<T> {
            let mut entries: Vec<_> = entries.values().collect();
            entries.sort_unstable_by_key(|(position, _)| *position);
            entries.into_iter().map(|(_, entry)| T::clone(entry)).collect()
        }
        Restored {
            contacts: in_order(&self.contacts),
            groups: in_order(&self.groups),
            outbox: in_order(&self.outbox),
            settings: self.settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            records: self
                .records
                .iter()
                .filter_map(|((kind, key), value)| {
                    let kind = RecordKind::from_name(kind)?;
                    Some(Record { kind, key: key.clone(), value: value.clone() })
                })
                .collect(),
            seen: self.seen_by_age.keys().map(|(at, key)| (*key, *at)).collect(),
            last_seq: self.last_seq,
        }
    }
}

fn outbox_size(entry: &OutboxEntry) -> usize {
    entry.message.content.size() + entry.call_id.len()
}

fn failure(failure: crate::error::Failure) -> StorageError {
    failure.into_storage("memory".as_ref())
}

impl Storage for MemoryStore {
    fn load(&self, account: AccountId, _address: &Address) -> BoxFuture<'_, Result<Restored, StorageError>> {
        Box::pin(ready(Ok(self.read(account, Account::restored))))
    }

    fn commit(&self, account: AccountId, batch: Batch) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(ready(self.write(account, |state, size| {
            batch.writes.into_iter().try_for_each(|write| state.apply(write, size))
        })))
    }

    fn read_journal(
        &self,
        account: AccountId,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<JournalEntry>, StorageError>> {
        let entries = self.read(account, |state| {
            let later = state.journal.range(after.saturating_add(1)..);
            later.take(limit as usize).map(|(_, entry)| JournalEntry::clone(entry)).collect()
        });
        Box::pin(ready(Ok(entries)))
    }

    fn cursor(&self, account: AccountId, plugin: &str) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        Box::pin(ready(Ok(self.read(account, |state| state.cursors.get(plugin).copied()))))
    }

    fn set_cursor(
        &self,
        account: AccountId,
        plugin: &str,
        seq: u64,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(ready(self.write(account, |state, size| {
            signed(seq)?;
            let old = state.cursors.get(plugin).copied();
            if old.is_none() {
                size.add(plugin.len());
            }
            state.cursors.insert_mut(plugin.to_owned(), seq.max(old.unwrap_or(0)));
            Ok(())
        })))
    }

    fn trim_journal(
        &self,
        account: AccountId,
        plugins: Vec<String>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(ready(self.write(account, |state, size| Ok(state.trim(&plugins, size)))))
    }

    fn archive(&self, account: AccountId, entry: ArchiveEntry) -> BoxFuture<'_, Result<bool, StorageError>> {
        Box::pin(ready(self.write(account, |state, size| state.archive(entry, size))))
    }

    fn search(
        &self,
        account: AccountId,
        query: ArchiveQuery,
    ) -> BoxFuture<'_, Result<Vec<ArchiveEntry>, StorageError>> {
        Box::pin(ready(self.read(account, |state| state.search(&query))))
    }

    fn count(&self, account: AccountId, query: ArchiveQuery) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(ready(self.read(account, |state| state.count(&query))))
    }

    fn purge(
        &self,
        account: AccountId,
        before: Timestamp,
        peer: Option<Address>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(ready(self.write(account, |state, size| Ok(state.purge(before, peer.as_ref(), size)))))
    }

    fn kv_get(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, StorageError>> {
        let place = (bucket.to_owned(), key.to_owned());
        Box::pin(ready(Ok(self.read(account, |state| state.values.get(&place).map(|value| value.to_vec())))))
    }

    fn kv_set(
        &self,
        account: AccountId,
        bucket: &str,
        key: &str,
        value: Option<Vec<u8>>,
        quota: u64,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(ready(self.write(account, |state, size| state.set_value(bucket, key, value, quota, size))))
    }

    fn kv_keys(
        &self,
        account: AccountId,
        bucket: &str,
        after: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<String>, StorageError>> {
        let keys = self.read(account, |state| {
            let from = (bucket.to_owned(), after.unwrap_or_default().to_owned());
            let keys =
                state.values.range(from..).map(|(place, _)| place).take_while(|place| place.0 == bucket);
            let keys = keys.filter(|place| after.is_none_or(|after| place.1.as_str() > after));
            keys.take(limit as usize).map(|place| place.1.clone()).collect()
        });
        Box::pin(ready(Ok(keys)))
    }
}
