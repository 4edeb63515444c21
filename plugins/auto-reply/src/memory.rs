//! Who was answered when: kept on disk, in a bounded number, and forgotten in parts.
//!
//! Strangers decide how many peers there are, so neither the number that is kept nor the work for one message may
//! grow with it: the host counts calls for each event.

use std::collections::HashMap;

use attache_plugin::store::Bucket;

use crate::decision::Last;

/// Begins the keys of replies; what follows are account and peer.
pub(crate) const PEER: &str = "peer/";
/// Peers that are remembered; the one that was answered longest ago makes room.
const MOST: usize = 2_000;
/// Keys of an earlier run that are looked at with each message: a fraction of the host calls for one event.
const PART: usize = 100;

/// What is kept, by key.
pub(crate) trait Kept {
    fn keys(&self) -> Result<Vec<String>, String>;
    fn text(&self, key: &str) -> Result<Option<String>, String>;
    fn set(&self, key: &str, value: &str) -> Result<(), String>;
    fn delete(&self, key: &str) -> Result<(), String>;
}

impl Kept for Bucket {
    fn keys(&self) -> Result<Vec<String>, String> {
        Bucket::keys(self)
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        Bucket::text(self, key)
    }

    fn set(&self, key: &str, value: &str) -> Result<(), String> {
        Bucket::set(self, key, value)
    }

    fn delete(&self, key: &str) -> Result<(), String> {
        Bucket::delete(self, key)
    }
}

/// The replies that are remembered.
pub(crate) struct Memory {
    /// When each peer was answered; nothing for what an earlier run kept and this one has not looked at.
    peers: HashMap<String, u64>,
    /// Keys of an earlier run that are still to be looked at.
    unseen: Vec<String>,
    /// For how long a reply matters, in milliseconds.
    span: u64,
}

impl Memory {
    /// Lists what an earlier run kept.
    pub(crate) fn open(kept: &impl Kept, span: u64) -> Result<Self, String> {
        let unseen = kept.keys()?.into_iter().filter(|key| key.starts_with(PEER)).collect();
        Ok(Self { peers: HashMap::new(), unseen, span })
    }

    /// The last reply to a peer.
    pub(crate) fn last(&self, kept: &impl Kept, key: &str) -> Result<Option<Last>, String> {
        Ok(kept.text(key)?.and_then(|text| Last::parse(&text)))
    }

    /// Remembers a reply.
    pub(crate) fn remember(&mut self, kept: &impl Kept, key: String, last: Last) -> Result<(), String> {
        self.tidy(kept, last.at)?;
        if self.peers.len() >= MOST && !self.peers.contains_key(&key) {
            let oldest = self.peers.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                kept.delete(&oldest)?;
                self.peers.remove(&oldest);
            }
        }
        kept.set(&key, &last.to_text())?;
        self.peers.insert(key, last.at);
        Ok(())
    }

    /// Looks at a part of what an earlier run kept, and forgets what no longer matters or is too much.
    fn tidy(&mut self, kept: &impl Kept, now: u64) -> Result<(), String> {
        for _ in 0..PART {
            let Some(key) = self.unseen.pop() else { return Ok(()) };
            if self.peers.contains_key(&key) {
                continue;
            }
            match self.last(kept, &key)?.filter(|last| now.saturating_sub(last.at) <= self.span) {
                Some(last) if self.peers.len() < MOST => drop(self.peers.insert(key, last.at)),
                _ => kept.delete(&key)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Shelf {
        values: RefCell<BTreeMap<String, String>>,
        calls: Cell<usize>,
    }

    impl Shelf {
        fn call(&self) {
            self.calls.set(self.calls.get() + 1);
        }
    }

    impl Kept for Shelf {
        fn keys(&self) -> Result<Vec<String>, String> {
            Ok(self.values.borrow().keys().cloned().collect())
        }

        fn text(&self, key: &str) -> Result<Option<String>, String> {
            self.call();
            Ok(self.values.borrow().get(key).cloned())
        }

        fn set(&self, key: &str, value: &str) -> Result<(), String> {
            self.call();
            self.values.borrow_mut().insert(key.to_owned(), value.to_owned());
            Ok(())
        }

        fn delete(&self, key: &str) -> Result<(), String> {
            self.call();
            self.values.borrow_mut().remove(key);
            Ok(())
        }
    }

    fn key(peer: usize) -> String {
        format!("{PEER}1/peer{peer}")
    }

    #[test]
    fn strangers_without_number_do_not_fill_the_memory() {
        let shelf = Shelf::default();
        let mut memory = Memory::open(&shelf, 1_000_000).unwrap();
        for peer in 0..MOST + 50 {
            memory.remember(&shelf, key(peer), Last { at: peer as u64, message: 1 }).unwrap();
        }
        assert_eq!(shelf.values.borrow().len(), MOST);
        assert_eq!(memory.last(&shelf, &key(49)).unwrap(), None, "answered longest ago");
        assert!(memory.last(&shelf, &key(50)).unwrap().is_some());
    }

    #[test]
    fn what_an_earlier_run_kept_is_forgotten_in_parts() {
        let shelf = Shelf::default();
        for peer in 0..30_000 {
            shelf.values.borrow_mut().insert(key(peer), format!("{peer} 1"));
        }
        let mut memory = Memory::open(&shelf, 1_000).unwrap();
        assert_eq!(shelf.calls.get(), 0);
        for message in 0..310 {
            shelf.calls.set(0);
            memory.remember(&shelf, key(29_999), Last { at: 30_000, message }).unwrap();
            assert!(shelf.calls.get() <= 2 * PART + 2);
        }
        assert!(shelf.values.borrow().len() <= MOST);
    }
}
