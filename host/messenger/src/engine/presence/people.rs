//! What is kept of each person that somebody wants to see.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    address::Address,
    compose::Reason,
    engine::{calls::Calls, versions::Versions},
    id::ContactId,
    presence::{Freshness, Presence, UnknownReason},
    profile::Profile,
    time::Timestamp,
};

/// Most words that are kept once for everybody.
const MAX_WORDS: usize = 1_024;

/// What the presence of people rests on.
#[derive(Debug, Default)]
pub(in crate::engine) struct Presences {
    pub(super) people: HashMap<Address, Person>,
    /// What was shown when the last batch of changes was told.
    pub(super) dirty: BTreeMap<Address, Arc<Presence>>,
    /// Who contacts were when that was last told, where it is not so any more.
    pub(in crate::engine) profiles: BTreeMap<ContactId, Arc<Profile>>,
    /// Who is under a lease since then.
    pub(super) newly_watched: BTreeSet<Address>,
    /// When documents say that something begins or ends to hold.
    pub(super) changes: BTreeSet<(Timestamp, Address)>,
    /// Until when the service is taken to be filled again after an outage.
    pub(super) settling: Option<Instant>,
    /// Who would have become offline in that time, and stays stale until its end.
    pub(super) unsettled: BTreeSet<Address>,
    /// Words that many documents hold.
    pub(super) words: HashSet<Arc<str>>,
    /// Contacts that were available when last anything was known of them.
    pub(super) available: HashSet<ContactId>,
}

/// One person that somebody wants to see.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) shown: Arc<Presence>,
    pub(super) contact: Option<ContactId>,
    pub(super) leases: u32,
    /// Nobody has wanted to see the person since then.
    pub(super) lingers: bool,
    /// Whether the documents were forgiven something and that was told: most senders err the same way every time.
    pub(super) forgiven: bool,
    /// Whether somebody vouches for the documents. If not, they are what was last known, and what comes takes their place.
    pub(super) vouched: bool,
    /// Why what is shown is so, where the documents are not kept to tell.
    pub(super) reasons: Box<[Reason]>,
    /// The whole was asked for because changes could not be used, and nothing that can be has come since: it is not asked for
    /// over and over.
    pub(super) asked: bool,
    /// The latest document of each notifier.
    pub(super) documents: SmallVec<[Kept; 1]>,
    /// The person's dialogs, where those are told.
    pub(super) calls: Option<Box<Calls>>,
    /// When the documents say that something begins or ends to hold.
    pub(super) next_change: Option<Timestamp>,
}

/// What is known of a contact.
pub(in crate::engine) struct Known<'a> {
    pub(in crate::engine) shown: &'a Presence,
    pub(in crate::engine) documents: &'a [Kept],
    /// Whether something is missing.
    pub(in crate::engine) asked: bool,
}

/// A document.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Kept {
    pub(in crate::engine) source: u32,
    pub(in crate::engine) content: Content,
    /// Of documents that came as changes.
    pub(super) versions: Option<Box<Versions>>,
}

/// Most documents are not needed once they are composed, and there are many.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Content {
    /// Nothing has come but changes.
    Nothing,
    /// The document; a copy of its own: a slice would keep the whole notification alive.
    Whole(Bytes),
    /// Enough to know it again.
    Digest(u64),
}

impl Content {
    pub(in crate::engine) fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(body) => Some(body),
            _ => None,
        }
    }

    pub(super) fn is(&self, body: &Bytes) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole(known) => known == body,
            Self::Digest(known) => *known == digest(body),
        }
    }
}

/// The same for the same document in every run.
pub(super) fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}

impl Person {
    pub(super) fn new(reason: UnknownReason) -> Self {
        Self {
            shown: Arc::new(Presence::unknown(reason)),
            contact: None,
            leases: 0,
            lingers: false,
            forgiven: false,
            vouched: false,
            asked: false,
            reasons: Box::from([]),
            documents: SmallVec::new(),
            calls: None,
            next_change: None,
        }
    }

    /// Whether the documents are not needed once they are composed: time does not change what they say, and nothing will be
    /// merged with them.
    pub(super) fn is_settled(&self) -> bool {
        let one = matches!(&self.documents[..], [kept] if kept.versions.is_none());
        one && self.next_change.is_none() && self.calls.is_none()
    }

    /// Whether every document is there to be composed.
    pub(super) fn is_whole(&self) -> bool {
        self.documents.iter().all(|kept| kept.content.whole().is_some())
    }
}

impl Presences {
    pub(super) fn forget(&mut self, address: &Address) {
        self.drop_documents(address);
        self.people.remove(address);
        self.dirty.remove(address);
        self.newly_watched.remove(address);
    }

    /// Lets go of documents that are not needed any more.
    pub(in crate::engine) fn slim(&mut self, address: &Address) {
        if let Some(person) = self.people.get_mut(address)
            && person.is_settled()
            && let [kept] = &mut person.documents[..]
            && let Content::Whole(body) = &kept.content
        {
            kept.content = Content::Digest(digest(body));
        }
    }

    pub(in crate::engine) fn is_contact(&self, address: &Address) -> bool {
        self.people.get(address).is_some_and(|person| person.contact.is_some())
    }

    /// Whether what is known of any contact may have changed unnoticed.
    pub(in crate::engine) fn is_anybody_stale(&self) -> bool {
        let contacts = self.people.values().filter(|person| person.contact.is_some());
        contacts.into_iter().any(|person| matches!(person.shown.freshness, Freshness::Stale(_)))
    }

    /// Whether somebody vouches for every document of those contacts.
    pub(in crate::engine) fn are_vouched(&self, which: impl Fn(&Address) -> bool) -> bool {
        let doubtful = self.people.iter().filter(|(_, person)| {
            person.contact.is_some() && !person.vouched && !person.documents.is_empty()
        });
        doubtful.map(|(address, _)| address).all(|address| !which(address))
    }

    /// What is known of a contact, to be kept.
    pub(in crate::engine) fn known(&self, address: &Address) -> Option<Known<'_>> {
        let person = self.people.get(address).filter(|person| person.contact.is_some())?;
        Some(Known { shown: &person.shown, documents: &person.documents, asked: person.asked })
    }

    /// What has changed so far is not told.
    pub(in crate::engine) fn nothing_is_news(&mut self) {
        self.dirty.clear();
        self.profiles.clear();
    }

    /// Nobody vouches for the documents at present.
    pub(super) fn unvouch(&mut self, address: &Address) {
        if let Some(person) = self.people.get_mut(address) {
            person.vouched = false;
        }
        self.unsettled.remove(address);
    }

    /// As [`unvouch`](Self::unvouch), and what comes next comes of another subscription.
    pub(super) fn begin_anew(&mut self, address: &Address) {
        self.unvouch(address);
        if let Some(person) = self.people.get_mut(address) {
            person.asked = false;
        }
    }

    /// The documents say nothing any more.
    pub(super) fn drop_documents(&mut self, address: &Address) {
        if let Some(person) = self.people.get_mut(address) {
            person.documents = SmallVec::new();
            person.vouched = false;
            person.asked = false;
        }
        self.unsettled.remove(address);
        self.expect_change(address, None);
    }

    pub(super) fn expect_change(&mut self, address: &Address, at: Option<Timestamp>) {
        let Some(person) = self.people.get_mut(address) else { return };
        if let Some(before) = core::mem::replace(&mut person.next_change, at) {
            self.changes.remove(&(before, address.clone()));
        }
        if let Some(at) = at {
            self.changes.insert((at, address.clone()));
        }
    }

    /// The same word for everybody.
    pub(super) fn word(&mut self, word: Arc<str>) -> Arc<str> {
        match self.words.get(&word) {
            Some(known) => known.clone(),
            None => {
                if self.words.len() < MAX_WORDS {
                    self.words.insert(word.clone());
                }
                word
            }
        }
    }
}
