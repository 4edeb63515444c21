//! Presence over a restart of the process.
//!
//! What a service said of people is kept in the store with the tag of that state (RFC 5839), so that an engine that starts
//! shows at once what was last known, as stale, and the service need not tell again what has not changed.
//!
//! Presence changes far more often than it is worth a write. What changed is gathered, and written in batches of a bounded
//! size: some time after the first change, and at a sign-out. A crash loses the newest, and that is all: a person's tag and
//! documents are one record, and the tag of a list is only in the store while everything that the list said is there too.

mod record;

use core::time::Duration;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

use crate::{
    address::Address,
    engine::{
        Engine,
        ledger::{Effect, Then},
        sync::Records,
        watch::list::ListState,
    },
    event::SessionState,
    presence::{Availability, Freshness, Presence, UnknownReason},
    storage::{Record, RecordKind},
    time::Timestamp,
};
pub(in crate::engine) use record::{LevelRecord, ListRecord};
use record::{PersonRecord, Says, Summary};

/// So long after a change it is written, with all that have come until then.
const PAUSE: Duration = Duration::from_secs(30);
/// Between two batches, where more has changed than fits into one.
const NEXT: Duration = Duration::from_secs(1);
/// Most people of one batch.
const AT_ONCE: usize = 512;
/// Most bytes of one person's documents; longer ones are asked for anew.
const MOST: usize = 64 * 1024;
/// Until when everything was true is written this often, where nothing changes.
const TICK: Duration = Duration::from_secs(3600);

/// Key of the record with what the records of people have in common.
const SUMMARY: &str = "summary";
/// Key of the record with the members of the service's list.
const MEMBERS: &str = "members";

/// What is to be written, and what the store has.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Of whom the store has not the newest.
    unsaved: BTreeSet<Address>,
    /// Whose records are on their way to the store.
    saving: Vec<Address>,
    /// Counts batches, so that the outcome of an earlier one is told apart.
    batch: u64,
    due: Option<Instant>,
    /// The summary in the store; `None` where that is not known.
    summary: Option<Summary>,
    /// The members in the store, as their fingerprint.
    members: Option<u64>,
    /// What the list said of people without documents, until it is told anew.
    words: HashMap<Address, Presence>,
}

impl Keeping {
    fn wait(&mut self, until: Instant) {
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
    }

    /// Whether a person's documents are still needed, to be written.
    pub(super) fn needs(&self, address: &Address) -> bool {
        self.unsaved.contains(address) || self.saving.contains(address)
    }
}

impl Engine {
    // ---- writing ----

    /// What the service says of a contact has changed.
    pub(super) fn presence_changed(&mut self, address: &Address) {
        if self.config.keep_presence && self.presences.is_contact(address) {
            self.keeping.unsaved.insert(address.clone());
            self.keeping.wait(self.now.instant + PAUSE);
        }
    }

    /// Somebody is no contact any more.
    pub(super) fn presence_forgotten(&mut self, address: &Address) {
        self.keeping.words.remove(address);
        if self.config.keep_presence {
            self.keeping.unsaved.insert(address.clone());
            self.keeping.wait(self.now.instant + PAUSE);
        }
    }

    /// The service gave a sign of life, or another tag.
    pub(super) fn keep_summary(&mut self, tag_changed: bool) {
        if !self.config.keep_presence {
            return;
        }
        let kept = self.keeping.summary.as_ref().map_or(0, |summary| summary.alive);
        let tick = u64::try_from(TICK.as_millis()).unwrap_or(u64::MAX);
        if tag_changed || kept.saturating_add(tick) < self.now.wall.as_millis() {
            self.keeping.wait(self.now.instant + PAUSE);
        }
    }

    pub(super) fn keep_timeout(&self) -> Option<Instant> {
        self.keeping.due.filter(|_| self.keeping.saving.is_empty())
    }

    pub(super) fn keep_due(&mut self) {
        if self.keep_timeout().is_some_and(|at| at <= self.now.instant) {
            self.write_presence(AT_ONCE);
        }
    }

    /// Everything that is not in the store yet goes there, before it is forgotten here.
    pub(super) fn keep_everything(&mut self) {
        if self.config.keep_presence {
            let saving = core::mem::take(&mut self.keeping.saving);
            self.keeping.unsaved.extend(saving);
            self.write_presence(usize::MAX);
        }
    }

    fn write_presence(&mut self, most: usize) {
        self.keeping.due = None;
        let mut unsaved = core::mem::take(&mut self.keeping.unsaved);
        let saving: Vec<Address> = core::iter::from_fn(|| unsaved.pop_first()).take(most).collect();
        let is_last = unsaved.is_empty();
        let mut records: Records = saving
            .iter()
            .map(|address| (RecordKind::Presence, address.canonical().into(), self.person_record(address)))
            .collect();
        let mut summary = Summary { alive: self.true_until(is_last), list: None };
        if is_last
            && let Some((list, etag, state)) = self.watch.known_list()
            && let name = Some((list.to_owned(), etag.to_string()))
            // In an outage nobody vouches for anything; what was so when this tag was kept is so still.
            && (self.keeping.summary.as_ref().is_some_and(|kept| kept.list == name)
                || self.presences.are_vouched(|address| self.watch.is_listed(address)))
        {
            summary.list = name;
            let members = state.fingerprint();
            if self.keeping.members != Some(members) {
                records.push((RecordKind::Watching, MEMBERS.into(), json(&state.record())));
                self.keeping.members = Some(members);
            }
        }
        if self.keeping.summary.as_ref() != Some(&summary) {
            records.push((RecordKind::Watching, SUMMARY.into(), json(&summary)));
            self.keeping.summary = Some(summary);
        }
        if records.is_empty() {
            return;
        }
        self.keeping.unsaved = unsaved;
        self.keeping.saving = saving;
        self.keeping.batch += 1;
        let then = Then::SlimPresence(self.keeping.batch);
        self.ledger.keep(Effect::Records { records, then });
        if !is_last {
            self.keeping.wait(self.now.instant + NEXT);
        }
    }

    /// The records are in the store, or were refused.
    pub(super) fn presence_kept(&mut self, batch: u64, kept: bool) {
        if batch != self.keeping.batch {
            return;
        }
        let saving = core::mem::take(&mut self.keeping.saving);
        if kept {
            for address in saving.iter().filter(|address| !self.keeping.unsaved.contains(*address)) {
                self.presences.slim(address);
            }
        } else {
            self.keeping.unsaved.extend(saving);
            self.keeping.summary = None;
            self.keeping.members = None;
            self.keeping.wait(self.now.instant + PAUSE);
        }
    }

    /// Until when everything in the store is true for certain.
    fn true_until(&self, is_last: bool) -> u64 {
        let known = self.keeping.summary.as_ref().map_or(0, |summary| summary.alive);
        let certain =
            is_last && self.view.session == SessionState::SignedIn && !self.presences.is_anybody_stale();
        if certain { known.max(self.session.alive_at.as_millis()) } else { known }
    }

    /// What is to be kept of somebody; `None` forgets what was.
    fn person_record(&self, address: &Address) -> Option<Arc<str>> {
        let known = self.presences.known(address)?;
        let listed = self.watch.is_listed(address);
        let says = match (known.documents, known.shown.availability, &known.shown.freshness) {
            ([], Some(Availability::Offline), _) => Says::Nothing,
            ([], ..) if !listed => return None,
            ([], _, Freshness::Denied) => Says::Denied,
            ([], _, Freshness::Unknown(UnknownReason::Pending)) => Says::Pending,
            ([], _, Freshness::Unknown(UnknownReason::NotFound)) => Says::NotFound,
            ([], _, Freshness::Unknown(UnknownReason::Other(why))) => Says::Other(Cow::Borrowed(why)),
            ([], ..) => return None,
            (documents, ..) => {
                let texts: Option<Vec<(u32, Cow<'_, str>)>> = documents
                    .iter()
                    .map(|kept| {
                        let text = str::from_utf8(kept.content.whole()?).ok()?;
                        Some((kept.source, Cow::Borrowed(text)))
                    })
                    .collect();
                let texts = texts?;
                if texts.iter().map(|(_, text)| text.len()).sum::<usize>() > MOST {
                    return None;
                }
                Says::Documents(texts)
            }
        };
        let at = match &known.shown.freshness {
            Freshness::Stale(since) => *since,
            _ => self.now.wall,
        };
        // Of several notifiers, or where changes are missing, no tag stands for what is known.
        let etag = self.watch.etag(address).filter(|_| !known.asked && known.documents.len() < 2);
        json(&PersonRecord {
            at: at.as_millis(),
            since: known.shown.since.map(Timestamp::as_millis),
            listed,
            etag: etag.map(Cow::Borrowed),
            says,
        })
    }

    // ---- reading ----

    /// Shows what was last known of contacts, and lets subscriptions go on from there.
    pub(super) fn restore_presence(&mut self, records: &[Record]) {
        if !self.config.keep_presence {
            return;
        }
        let text = |kind, name: &str| {
            let mut found = records.iter().filter(|record| record.kind == kind && *record.key == *name);
            found.next().map(|record| &*record.value)
        };
        let summary: Option<Summary> =
            text(RecordKind::Watching, SUMMARY).and_then(|text| serde_json::from_str(text).ok());
        let alive = summary.as_ref().map_or(0, |summary| summary.alive);
        let mut listed = HashSet::new();
        for record in records.iter().filter(|record| record.kind == RecordKind::Presence) {
            let address =
                Address::parse(&record.key).ok().filter(|address| self.presences.is_contact(address));
            let said = serde_json::from_str::<PersonRecord<'_>>(&record.value).ok();
            let Some((address, said)) = address.zip(said) else { continue };
            if said.listed {
                listed.insert(address.clone());
            } else if let Some(etag) = &said.etag {
                self.watch.remember(&address, etag);
            }
            self.restore_person(&address, said, alive);
        }
        if let Some((list, etag)) = summary.as_ref().and_then(|summary| summary.list.as_ref())
            && let Some(members) = text(RecordKind::Watching, MEMBERS)
            && let Ok(members) = serde_json::from_str::<ListRecord>(members)
        {
            let most = self.config.limits.contacts.saturating_mul(2);
            let state = ListState::restored(members, most);
            self.keeping.members = Some(state.fingerprint());
            self.watch.remember_list(list, etag, state, listed);
        }
        self.keeping.summary = summary;
        // Readers begin with a snapshot: nothing of this is news.
        self.presences.nothing_is_news();
    }

    fn restore_person(&mut self, address: &Address, said: PersonRecord<'_>, alive: u64) {
        let unknown = |why| Presence::unknown(why);
        let word = match said.says {
            Says::Documents(texts) => {
                let documents =
                    texts.into_iter().map(|(source, text)| (source, Bytes::from(text.into_owned())));
                let at = Timestamp::from_millis(said.at.max(alive));
                return self.show_restored(address, documents, at, said.since.map(Timestamp::from_millis));
            }
            Says::Nothing => {
                let at = Timestamp::from_millis(said.at.max(alive));
                let since = said.since.map(Timestamp::from_millis);
                return self.show_restored(address, core::iter::empty(), at, since);
            }
            Says::Denied => Presence { freshness: Freshness::Denied, ..unknown(UnknownReason::Pending) },
            Says::Pending => unknown(UnknownReason::Pending),
            Says::NotFound => unknown(UnknownReason::NotFound),
            Says::Other(why) => unknown(UnknownReason::Other(why.into())),
        };
        self.keeping.words.insert(address.clone(), word);
    }

    /// The service says that what was known of somebody is so still: what that was, where it is no presence.
    pub(super) fn restored_word(&mut self, address: &Address) -> Option<Presence> {
        if self.keeping.words.is_empty() { None } else { self.keeping.words.remove(address) }
    }

    pub(super) fn forget_restored(&mut self) {
        self.keeping.words.clear();
    }
}

fn json(record: &impl serde::Serialize) -> Option<Arc<str>> {
    serde_json::to_string(record).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = PersonRecord {
            at: 5,
            since: Some(3),
            listed: true,
            etag: Some("tag".into()),
            says: Says::Documents(vec![(7, "<presence entity=\"x\"/>\n".into())]),
        };
        let text = json(&record).unwrap();
        assert_eq!(serde_json::from_str::<PersonRecord<'_>>(&text).unwrap(), record);
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let text = r#"{"at":5,"says":"denied","later":[1]}"#;
        let record: PersonRecord<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((record.at, record.etag, record.says), (5, None, Says::Denied));
    }
}
