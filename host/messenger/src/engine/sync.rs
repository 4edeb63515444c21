//! The contact list and the rules on the service: an XCAP client (RFC 4825), and what is done with it.
//!
//! The list here is what counts while the service is away: every edit is durable here first. What the service had last is
//! kept beside it, and the difference of the two is the journal of edits that the service does not have yet; it can be
//! replayed as often as need be, after a crash at any place, since it says what shall be and not what to do.
//!
//! Each document goes through the same circle: read it (or learn that it is the known one), merge what others did, write
//! what was done here on condition that nobody else wrote meanwhile, and from the beginning where somebody did.

mod changes;
mod client;
mod conflicts;
mod contacts;
mod element;
mod lists;
mod merge;
mod model;
mod undo;
mod vcard;

use core::time::Duration;
use std::{sync::Arc, time::Instant};

use attache_documents::{Limits, xcap};
use attache_sip::agent::Cause;
use bytes::Bytes;
use http::{Request, Response};

use crate::{
    code::Code,
    engine::Engine,
    error::Error,
    event::SessionState,
    report::XcapState,
    storage::{Record, RecordKind},
    time::Timestamp,
};

pub use client::HttpId;
pub(super) use client::{Ask, Client, Condition, Outcome, Topic, sentence};
pub(super) use conflicts::restored as restored_conflicts;
pub(super) use contacts::Pulled;
pub(super) use undo::UndoStep;

use changes::Changes;
use contacts::Contacts;
use lists::Lists;
use undo::UndoStack;

/// Edits that follow each other go together.
const GATHER: Duration = Duration::from_millis(250);
/// The first pause after a failure, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// What is written for the engine itself, together with something else: kind, key, and value or nothing.
pub(super) type Records = Vec<Kept>;
/// One of them.
pub(super) type Kept = (RecordKind, Arc<str>, Option<Arc<str>>);

/// A document as the service had it last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Base {
    pub(super) etag: Option<Arc<str>>,
    /// `None` when there was none.
    pub(super) body: Option<Arc<str>>,
}

impl Base {
    pub(super) fn new(etag: Option<Arc<str>>, body: impl Into<Arc<str>>) -> Self {
        Self { etag, body: Some(body.into()) }
    }

    /// As it is kept: the tag on a line of its own, then the document. A tag cannot hold a line break.
    pub(super) fn record(&self) -> Option<Arc<str>> {
        let body = self.body.as_deref()?;
        Some(format!("{}\n{body}", self.etag.as_deref().unwrap_or_default()).into())
    }

    pub(super) fn restore(kept: &str) -> Self {
        let (etag, body) = kept.split_once('\n').unwrap_or(("", kept));
        Self::new((!etag.is_empty()).then(|| etag.into()), body)
    }

    /// The tag, where it says that there is no need to read the document again.
    pub(super) fn known(&self) -> Option<Arc<str>> {
        self.etag.clone().filter(|_| self.body.is_some())
    }

    pub(super) fn etag(&self) -> Option<&Arc<str>> {
        self.etag.as_ref()
    }

    pub(super) fn condition(&self) -> Condition {
        Condition::of(self.etag.as_ref(), self.body.is_some())
    }
}

/// When a document is dealt with next. Reading and writing fail apart: a server that is there to read and takes nothing
/// is asked ever less often.
#[derive(Debug, Default)]
pub(super) struct Pace {
    reads: u32,
    writes: u32,
    due: Option<Instant>,
}

impl Pace {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    pub(super) fn soon(&mut self, now: Instant) {
        if self.due.is_none() && self.reads == 0 && self.writes == 0 {
            self.due = Some(now + GATHER);
        }
    }

    /// Not before then.
    pub(super) fn wait_until(&mut self, at: Instant) {
        self.due = Some(at);
    }

    /// Nothing is left to do.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Reading worked; how writing goes is not known yet.
    pub(super) fn was_read(&mut self) {
        self.reads = 0;
        self.due = None;
    }

    /// Reading failed: later, and later each time. `random` spreads many accounts.
    pub(super) fn fail(&mut self, now: Instant, random: u64, at_least: Option<Duration>) {
        self.reads = self.reads.saturating_add(1);
        self.pause(self.reads, now, random, at_least);
    }

    /// Writing failed.
    pub(super) fn fail_write(&mut self, now: Instant, random: u64, at_least: Option<Duration>) {
        self.writes = self.writes.saturating_add(1);
        self.pause(self.writes, now, random, at_least);
    }

    fn pause(&mut self, failures: u32, now: Instant, random: u64, at_least: Option<Duration>) {
        let doubled = PAUSE.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE.1);
        let millis = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX);
        let spread = Duration::from_millis(millis / 2 + random % (millis / 2 + 1));
        self.due = Some(now + spread.max(at_least.unwrap_or_default()));
    }
}

/// Everything about documents on the service.
#[derive(Debug)]
pub(super) struct Sync {
    /// `None` without a root.
    pub(super) client: Option<Client>,
    pub(super) contacts: Contacts,
    pub(super) lists: Lists,
    pub(super) undo: UndoStack,
    pub(super) changes: Changes,
    /// Since when the service is away.
    away: Option<(Timestamp, Arc<str>)>,
    /// When everything is read again, where nobody tells of changes.
    look_again: Option<Instant>,
    /// How often that time came.
    looks: u32,
}

impl Sync {
    pub(super) fn new(client: Option<Client>, records: &[Record]) -> Self {
        let document = |key: &str| {
            let mut all = records.iter().filter(|record| record.kind == RecordKind::Document);
            all.find(|record| &*record.key == key).map(|record| Base::restore(&record.value))
        };
        Self {
            client,
            contacts: Contacts::new(
                document(contacts::BASE).unwrap_or_default(),
                document(contacts::TRIED).and_then(|base| base.body),
                records,
            ),
            lists: Lists::new(document(lists::BASE).unwrap_or_default()),
            undo: UndoStack::new(records),
            changes: Changes::default(),
            away: None,
            look_again: None,
            looks: 0,
        }
    }

    /// The contact list was edited here.
    pub(super) fn edited(&mut self, now: Instant) {
        self.contacts.edited(now);
        self.lists.edited();
    }
}

impl Engine {
    /// Whether anything can be asked now.
    pub(super) fn can_ask(&self) -> bool {
        self.view.session == SessionState::SignedIn && self.sync.client.as_ref().is_some_and(Client::has_room)
    }

    /// Whether the budget of the process allows a request that nobody here waits for; else when it will.
    pub(super) fn afford(&self) -> Result<(), Instant> {
        self.config.budget.as_ref().map_or(Ok(()), |budget| budget.take(self.now.instant))
    }

    pub(super) fn ask(&mut self, topic: Topic, ask: Ask) {
        let entropy = [self.random(), self.random()];
        let now = self.now.instant;
        if let Some(client) = &mut self.sync.client {
            client.ask(now, entropy, topic, ask);
        }
    }

    /// The next request for the service's XCAP server. Its answer goes to [`handle_http`](Self::handle_http) with the same
    /// handle; at most four are under way at once.
    pub fn poll_http(&mut self) -> Option<(HttpId, Request<Bytes>)> {
        self.sync.client.as_mut()?.poll()
    }

    /// The answer to a request of [`poll_http`](Self::poll_http), or why there is none. Answers of requests that the engine
    /// no longer waits for are dropped. 401 is dealt with here: the driver only carries.
    pub fn handle_http(
        &mut self,
        now: crate::time::Now,
        id: HttpId,
        answer: Result<Response<Bytes>, String>,
    ) {
        self.now = now;
        let outcome = self.sync.client.as_mut().and_then(|client| client.handle(id, answer));
        if let Some((topic, outcome)) = outcome {
            self.on_outcome(topic, outcome);
        }
        self.settle();
    }

    fn on_outcome(&mut self, topic: Topic, outcome: Outcome) {
        if topic == Topic::Capabilities {
            self.on_capabilities(&outcome);
            return;
        }
        match &outcome {
            Outcome::Away { cause, .. } => {
                let since = self.sync.away.take().map_or(self.now.wall, |(since, _)| since);
                self.sync.away = Some((since, cause.as_str().into()));
                self.diagnose(format!("{topic:?} on the service: {cause}"));
            }
            _ => self.sync.away = None,
        }
        match topic {
            Topic::Contacts => self.on_contacts(outcome),
            Topic::Lists => self.on_lists(outcome),
            Topic::Rules => self.on_rules(outcome),
            Topic::Capabilities => {}
        }
        self.report_xcap();
    }

    /// Signed in: whatever others did meanwhile is read.
    pub(super) fn start_sync(&mut self) {
        if self.sync.client.is_none() {
            return;
        }
        self.sync.contacts.begin();
        self.sync.lists.begin();
        self.policy.begin();
        self.start_changes();
        if self.afford().is_ok() {
            self.ask(Topic::Capabilities, Ask::Get { known: None });
        }
        self.look_again_later();
        self.drive_sync();
        self.report_xcap();
    }

    /// No longer signed in: nothing more is asked, and what is under way may or may not happen.
    pub(super) fn pause_sync(&mut self) {
        if let Some(client) = &mut self.sync.client {
            client.clear();
        }
        self.sync.contacts.pause();
        self.sync.lists.pause();
        self.policy.pause();
        self.sync.look_again = None;
        let text = "the service is away; the rule is kept, and written when it is back";
        self.complete_rules(&Err(Error::new(Code::ServerUnavailable, text)));
    }

    /// A document with another tag than the one that is known here is read again.
    fn compare_tags(&mut self) {
        for topic in [Topic::Contacts, Topic::Lists, Topic::Rules] {
            let (busy, etag) = match topic {
                Topic::Contacts => (self.sync.contacts.is_busy(), self.sync.contacts.etag()),
                Topic::Lists => (self.sync.lists.is_busy(), self.sync.lists.etag()),
                _ => (self.policy.is_busy(), self.policy.etag()),
            };
            // What we write ourselves is announced as well, perhaps before its answer comes.
            if busy {
                continue;
            }
            let known: Arc<str> = etag.map_or("", |etag| changes::bare(etag)).into();
            match self.sync.changes.take(topic) {
                Some(announced) if announced != known => {}
                _ => continue,
            }
            match topic {
                Topic::Contacts => self.sync.contacts.look_again(),
                Topic::Lists => self.sync.lists.look_again(),
                _ => self.policy.look_again(),
            }
        }
    }

    /// What a server says of itself is good to know, and no more: some say it wrongly, and contacts work all the same.
    fn on_capabilities(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Document { .. } => self.watch.tally.forgive("xcap-caps"),
            Outcome::Absent => {
                let cause = Cause::Status { code: 404, reason: "Not Found".to_owned() };
                let text = "the document that says what an XCAP server can do was not found below the root";
                self.watch.tally.refuse("xcap-caps", &cause, text, self.now.wall);
            }
            _ => {}
        }
        let mut auids = Vec::new();
        let text = match outcome {
            Outcome::Document { body, .. } => match xcap::read_capabilities(body, &Limits::STORED) {
                Ok(offers) => {
                    auids = offers.auids;
                    format!("the XCAP server offers {}", auids.join(", "))
                }
                Err(error) => format!("what the XCAP server says of itself cannot be read: {error}"),
            },
            _ => "the XCAP server does not say what it can do".to_owned(),
        };
        self.set_xcap_offers(&auids);
        self.diagnose(text);
    }

    fn look_again_later(&mut self) {
        self.sync.look_again = Some(self.now.instant + self.config.subscription);
    }

    /// Does whatever can be done next.
    pub(super) fn drive_sync(&mut self) {
        if self.view.session != SessionState::SignedIn || self.sync.client.is_none() {
            return;
        }
        self.compare_tags();
        self.drive_contacts();
        self.drive_lists();
        self.drive_rules();
    }

    pub(super) fn sync_timeout(&self) -> Option<Instant> {
        let client = self.sync.client.as_ref()?;
        if self.view.session != SessionState::SignedIn {
            return None;
        }
        // What is due and still waits, waits for something else than time: for room, or for another document.
        let room = client.has_room();
        let documents = [
            (self.sync.contacts.due(), room),
            (self.sync.lists.due(), room && self.may_drive_lists()),
            (self.policy.due(), room),
        ];
        let now = self.now.instant;
        let documents = documents.into_iter().filter_map(|(due, free)| due.filter(|due| free || *due > now));
        [client.poll_timeout(), self.sync.look_again].into_iter().flatten().chain(documents).min()
    }

    pub(super) fn sync_due(&mut self) {
        let now = self.now.instant;
        let late = self.sync.client.as_mut().map(|client| client.handle_timeout(now)).unwrap_or_default();
        for (topic, outcome) in late {
            self.on_outcome(topic, outcome);
        }
        if self.sync.look_again.is_some_and(|at| at <= now) {
            self.look_again_later();
            // Where changes are told, once in a while is enough, for what was missed.
            self.sync.looks = self.sync.looks.wrapping_add(1);
            if self.sync.changes.works() && !self.sync.looks.is_multiple_of(4) {
                self.drive_sync();
                return;
            }
            self.sync.contacts.look_again();
            self.sync.lists.look_again();
            self.policy.look_again();
        }
        self.drive_sync();
    }

    /// Puts the state of it all into the report, and tells where that is news.
    pub(super) fn report_xcap(&mut self) {
        if let Some(state) = self.xcap_state() {
            self.set_xcap(state);
        }
    }

    fn xcap_state(&self) -> Option<XcapState> {
        self.sync.client.as_ref()?;
        if let Some((since, cause)) = &self.sync.away {
            return Some(XcapState::Offline { since: *since, cause: cause.clone() });
        }
        Some(self.sync.contacts.state())
    }
}
