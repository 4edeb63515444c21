//! The contact list and its document (RFC 4826, section 3).

use std::{collections::HashMap, sync::Arc, time::Instant};

use attache_documents::{
    Limits,
    resource_lists::{self, ResourceLists},
    xcap::NodeSelector,
};
use bytes::Bytes;

use super::{
    Ask, Base, Outcome, Pace, Records, Topic, element,
    merge::{Found, merge},
    model::{Key, Model, Person},
    sentence,
};
use crate::{
    engine::{
        Engine,
        ledger::{Effect, Then},
        roster::{Change, Edit},
    },
    event::{Contact, EventKind, Group},
    id::{ConflictId, ContactId, GroupId},
    report::XcapState,
    storage::{Record, RecordKind},
    sync::{Conflict, ConflictAbout},
    time::Timestamp,
};

/// Key of the record that holds the document as the service had it last.
pub(super) const BASE: &str = "resource-lists";
/// Key of the record that holds the document that we last tried to write.
pub(super) const TRIED: &str = "resource-lists/tried";
/// After so many writes that somebody else forestalled, there is a pause.
const RACES: u32 = 3;

/// A document in which nobody is left, and so many were before, was not edited but lost. One without any list was
/// lost in any case: what edits leave has one.
const MANY: usize = 9;

/// What a merge brings besides the changes of the list.
#[derive(Debug)]
pub(in crate::engine) struct Pulled {
    pub(in crate::engine) base: Base,
    keys: Vec<(GroupId, Key)>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Step {
    #[default]
    Idle,
    /// The document is being read.
    Reading,
    /// The store keeps what a merge brought.
    Storing,
    /// The store keeps what is about to be written.
    Journaling(Arc<str>),
    /// The document is being written.
    Writing(Arc<str>),
}

#[derive(Clone, Debug)]
struct Refusal {
    status: u16,
    sentence: Arc<str>,
    advice: Arc<str>,
}

/// The document's state.
#[derive(Debug)]
pub(in crate::engine) struct Contacts {
    base: Base,
    /// What groups are known by in the document; those that are not here, by their handle.
    keys: HashMap<GroupId, Key>,
    /// A document that we tried to write, and do not know whether we did.
    tried: Option<Arc<str>>,
    step: Step,
    /// The document may be another one by now.
    stale: bool,
    /// The list may be another one than the document.
    dirty: bool,
    /// Both are the same, since then.
    synced: Option<Timestamp>,
    refusal: Option<Refusal>,
    races: u32,
    /// The entry to write or remove, where one is enough.
    entry: Option<(NodeSelector, Option<Bytes>)>,
    /// The service does not take single entries.
    only_whole: bool,
    pace: Pace,
}

impl Contacts {
    pub(super) fn new(base: Base, tried: Option<Arc<str>>, records: &[Record]) -> Self {
        let names = records.iter().filter(|record| record.kind == RecordKind::GroupName);
        let keys = names.filter_map(|record| Some((GroupId(record.key.parse().ok()?), record.value.clone())));
        Self {
            base,
            keys: keys.collect(),
            tried,
            step: Step::Idle,
            stale: true,
            dirty: false,
            synced: None,
            refusal: None,
            races: 0,
            entry: None,
            only_whole: false,
            pace: Pace::default(),
        }
    }

    pub(super) fn begin(&mut self) {
        self.refusal = None;
        self.pace.reset();
        self.look_again();
    }

    pub(super) fn look_again(&mut self) {
        self.stale = true;
        self.refusal = None;
    }

    pub(super) fn pause(&mut self) {
        self.stale = true;
        self.synced = None;
        if matches!(self.step, Step::Reading | Step::Writing(_)) {
            self.step = Step::Idle;
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let wanted = self.step == Step::Idle && self.refusal.is_none() && (self.stale || self.dirty);
        self.pace.due.filter(|_| wanted)
    }

    pub(super) fn state(&self) -> XcapState {
        match (&self.refusal, self.synced) {
            (Some(refusal), _) => XcapState::Refused {
                status: refusal.status,
                sentence: refusal.sentence.clone(),
                advice: refusal.advice.clone(),
            },
            (None, Some(at)) => XcapState::Synced { at },
            (None, None) => XcapState::Syncing,
        }
    }

    /// Whether the list here is that of the document, as far as is known.
    pub(super) fn is_settled(&self) -> bool {
        self.synced.is_some() && !self.stale && !self.dirty && self.step == Step::Idle
    }

    /// The tag of the document, as last heard.
    pub(super) fn etag(&self) -> Option<&Arc<str>> {
        self.base.etag()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.step != Step::Idle
    }

    /// What a group is known by.
    pub(in crate::engine) fn key(&self, group: GroupId) -> Key {
        self.keys.get(&group).cloned().unwrap_or_else(|| format!("g{:x}", group.0).into())
    }

    /// Lets a group be known by a name that it had before. Returns what to keep.
    pub(in crate::engine) fn set_key(&mut self, group: GroupId, key: Key, records: &mut Records) {
        records.push((RecordKind::GroupName, group.to_string().into(), Some(key.clone())));
        self.keys.insert(group, key);
    }

    /// The list here was edited.
    pub(in crate::engine) fn edited(&mut self, now: Instant) {
        self.dirty = true;
        self.synced = None;
        self.pace.soon(now);
    }

    /// A list as a model, in the order of its handles.
    pub(in crate::engine) fn model<'a>(
        &self,
        groups: impl Iterator<Item = &'a Arc<Group>>,
        contacts: impl Iterator<Item = &'a Arc<Contact>>,
    ) -> Model {
        let mut model = Model::default();
        let mut keys: HashMap<GroupId, Key> = HashMap::new();
        for group in groups {
            let key = self.key(group.id);
            keys.insert(group.id, key.clone());
            model.groups.put(key, group.name.clone());
        }
        for contact in contacts {
            let (name, details) = (contact.name.clone(), contact.details.clone());
            let mut person = Person { name, details, ..Person::default() };
            for key in contact.groups.iter().filter_map(|group| keys.get(group)) {
                person.join(key);
            }
            model.contacts.put(contact.address.clone(), person);
        }
        model
    }
}

fn parsed(body: Option<&Arc<str>>) -> ResourceLists {
    // Only what could be read becomes a base.
    body.and_then(|body| resource_lists::read(body.as_bytes(), &Limits::STORED).ok()).unwrap_or_default()
}

impl Engine {
    pub(super) fn drive_contacts(&mut self) {
        let contacts = &self.sync.contacts;
        let ready = contacts.step == Step::Idle
            && contacts.refusal.is_none()
            && contacts.pace.is_due(self.now.instant)
            && self.can_ask();
        if !ready {
            return;
        }
        if self.sync.contacts.stale {
            if let Err(at) = self.afford() {
                self.sync.contacts.pace.wait_until(at);
                return;
            }
            let known = self.sync.contacts.base.known();
            self.sync.contacts.step = Step::Reading;
            self.ask(Topic::Contacts, Ask::Get { known });
        } else if self.sync.contacts.dirty {
            self.write_contacts();
        }
    }

    /// Writes what was edited here, or finds that there is nothing to write.
    fn write_contacts(&mut self) {
        let contacts = &self.sync.contacts;
        let own = &self.config.address;
        let mut document = parsed(contacts.base.body.as_ref());
        let base = Model::read(&document, own);
        let entries = self.view.contacts.values().map(|entry| &entry.contact);
        let mine = contacts.model(self.view.groups.values(), entries);
        if mine == base {
            self.contacts_synced();
            return;
        }
        let before = document.clone();
        mine.write(&mut document, &base, own);
        let body: Arc<str> = resource_lists::write(&document).into();
        if body.len() > Limits::STORED.bytes {
            self.refuse_contacts(413, "the contact list is too large for a document", "remove contacts");
            return;
        }
        if contacts.base.body.as_ref() == Some(&body) {
            // What differs cannot be said in a document.
            self.contacts_synced();
            return;
        }
        let one = (body.len() > element::SMALL && !contacts.only_whole && contacts.base.etag().is_some())
            .then(|| element::single(&before, &document, &base, &mine))
            .flatten();
        self.sync.contacts.entry = one;
        self.sync.contacts.dirty = false;
        self.sync.contacts.step = Step::Journaling(body.clone());
        let tried = Base { etag: None, body: Some(body) };
        let records = vec![(RecordKind::Document, TRIED.into(), tried.record())];
        self.ledger.keep(Effect::Records { records, then: Then::WriteContacts });
    }

    /// What is about to be written is durable, or not.
    pub(in crate::engine) fn contacts_journaled(&mut self, kept: bool) {
        let Step::Journaling(body) = core::mem::take(&mut self.sync.contacts.step) else { return };
        if !kept {
            let random = self.random();
            self.sync.contacts.dirty = true;
            self.sync.contacts.pace.fail(self.now.instant, random, None);
            return;
        }
        self.sync.contacts.tried = Some(body.clone());
        if !self.can_ask() {
            self.sync.contacts.dirty = true;
            return;
        }
        let condition = self.sync.contacts.base.condition();
        self.sync.contacts.step = Step::Writing(body.clone());
        let ask = match self.sync.contacts.entry.clone() {
            Some((node, Some(body))) => Ask::PutElement { node, body, condition },
            Some((node, None)) => Ask::DeleteElement { node, condition },
            None => Ask::Put { body: Bytes::from(body.as_bytes().to_vec()), condition },
        };
        self.ask(Topic::Contacts, ask);
    }

    pub(super) fn on_contacts(&mut self, outcome: Outcome) {
        let now = self.now.instant;
        let step = core::mem::take(&mut self.sync.contacts.step);
        match (step, outcome) {
            (Step::Reading, Outcome::Document { etag, body }) => {
                self.sync.contacts.pace.was_read();
                self.pull(etag, &body);
            }
            (Step::Reading, Outcome::NotModified) => {
                let contacts = &mut self.sync.contacts;
                contacts.pace.was_read();
                contacts.stale = false;
                contacts.dirty = true;
                self.forget_tried();
            }
            (Step::Reading, Outcome::Absent) => {
                // A service that lost the document, or has none yet, gets ours: nothing here is removed because of that.
                let contacts = &mut self.sync.contacts;
                contacts.pace.was_read();
                contacts.stale = false;
                contacts.dirty = true;
                self.forget_tried();
                let contacts = &mut self.sync.contacts;
                if contacts.base.body.is_some() {
                    contacts.base = Base::default();
                    let records = vec![(RecordKind::Document, BASE.into(), None)];
                    self.ledger.keep(Effect::Records { records, then: Then::Nothing });
                }
            }
            (Step::Writing(body), Outcome::Written { etag }) => {
                let contacts = &mut self.sync.contacts;
                contacts.pace.reset();
                contacts.races = 0;
                contacts.tried = None;
                // Without a tag, the next write could not be conditional: it is asked for.
                contacts.stale = etag.is_none();
                contacts.base = Base { etag, body: Some(body) };
                let records = vec![
                    (RecordKind::Document, BASE.into(), contacts.base.record()),
                    (RecordKind::Document, TRIED.into(), None),
                ];
                self.ledger.keep(Effect::Records { records, then: Then::Nothing });
                if !self.sync.contacts.stale && !self.sync.contacts.dirty {
                    self.contacts_synced();
                }
            }
            (Step::Writing(_), Outcome::Changed) => {
                let random = self.random();
                let contacts = &mut self.sync.contacts;
                contacts.stale = true;
                contacts.dirty = true;
                contacts.races += 1;
                if contacts.races > RACES {
                    contacts.pace.fail_write(now, random, None);
                }
            }
            // What cannot be done to an entry can perhaps be done to the document.
            (
                Step::Writing(_),
                Outcome::Conflict(_) | Outcome::Absent | Outcome::Refused { status: 404 | 405 | 501, .. },
            ) if self.sync.contacts.entry.is_some() => {
                let contacts = &mut self.sync.contacts;
                contacts.only_whole = true;
                contacts.stale = true;
                contacts.dirty = true;
            }
            (_, Outcome::Conflict(error)) => {
                let told = sentence(&error);
                self.sync.contacts.dirty = true;
                self.refuse_contacts(409, &told, "");
            }
            (_, Outcome::Refused { status, sentence, advice }) => {
                self.sync.contacts.dirty = true;
                self.refuse_contacts(status, &sentence, advice);
            }
            (step, Outcome::Away { retry_after, .. }) => {
                let random = self.random();
                let contacts = &mut self.sync.contacts;
                contacts.stale = true;
                contacts.synced = None;
                match step {
                    Step::Writing(_) => contacts.pace.fail_write(now, random, retry_after),
                    _ => contacts.pace.fail(now, random, retry_after),
                }
            }
            (step, outcome) => {
                // An answer that does not fit the question.
                self.diagnose(format!("an answer of the XCAP server makes no sense here: {step:?}"));
                drop(outcome);
                let random = self.random();
                let contacts = &mut self.sync.contacts;
                contacts.stale = true;
                contacts.pace.fail(now, random, None);
            }
        }
        self.drive_sync();
    }

    fn refuse_contacts(&mut self, status: u16, sentence: &str, advice: &str) {
        self.diagnose(format!("contacts stay on this device: {sentence}"));
        let refusal = Refusal { status, sentence: sentence.into(), advice: advice.into() };
        self.sync.contacts.refusal = Some(refusal);
        self.sync.contacts.synced = None;
        self.report_xcap();
    }

    /// The fate of what was written last is known.
    fn forget_tried(&mut self) {
        if self.sync.contacts.tried.take().is_some() {
            let records = vec![(RecordKind::Document, TRIED.into(), None)];
            self.ledger.keep(Effect::Records { records, then: Then::Nothing });
        }
    }

    fn contacts_synced(&mut self) {
        self.forget_tried();
        let contacts = &mut self.sync.contacts;
        contacts.dirty = false;
        contacts.pace.reset();
        if contacts.synced.replace(self.now.wall).is_none() {
            self.ledger.emit(self.now.wall, EventKind::RosterSynced);
        }
        self.report_xcap();
    }

    /// Takes over what others did to the document.
    fn pull(&mut self, etag: Option<Arc<str>>, body: &Bytes) {
        let own = self.config.address.clone();
        let read = core::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned()).and_then(|text| {
            match resource_lists::read(body, &Limits::STORED) {
                Ok(document) => Ok((text, document)),
                Err(error) => Err(error.to_string()),
            }
        });
        let (text, theirs) = match read {
            Ok(read) => read,
            Err(error) => {
                let sentence = format!("the contact list on the service cannot be read: {error}");
                self.refuse_contacts(200, &sentence, "repair or remove the document on the service");
                return;
            }
        };
        let contacts = &self.sync.contacts;
        let mut base = Model::read(&parsed(contacts.base.body.as_ref()), &own);
        let mut tried = contacts.tried.as_ref().map(|tried| Model::read(&parsed(Some(tried)), &own));
        let mine = contacts.model(self.roster.groups(), self.roster.contacts());
        let bare = theirs.lists.is_empty();
        let theirs = Model::read(&theirs, &own);
        let most = if bare { 1 } else { MANY };
        if theirs.contacts.len() == 0 && base.contacts.len() > most {
            // No way of removing everybody that a person would take: a service that lost the document and made an empty
            // one. It gets ours.
            (base, tried) = (theirs.clone(), None);
            self.diagnose("the contact list on the service is empty all of a sudden; it is written again");
        }
        let merged = merge(&base, &mine, &theirs, tried.as_ref());

        let mut edit = Edit::default();
        let mut keys = Vec::new();
        for (old, new) in &merged.rekeyed {
            let group = self.roster.groups().find(|group| self.sync.contacts.key(group.id) == *old);
            keys.extend(group.map(|group| (group.id, new.clone())));
        }
        for (group, key) in &keys {
            self.sync.contacts.set_key(*group, key.clone(), &mut edit.records);
        }
        self.take_over(&merged.model, &mut edit);
        for found in merged.conflicts {
            self.note_conflict(found, &mut edit);
        }
        let base = Base::new(etag, text);
        edit.records.push((RecordKind::Document, BASE.into(), base.record()));
        edit.records.push((RecordKind::Document, TRIED.into(), None));
        edit.pulled = Some(Pulled { base, keys });
        self.sync.contacts.step = Step::Storing;
        self.ledger.keep(Effect::Roster { ticket: None, edit: Box::new(edit) });
    }

    /// Makes the list here that of a model.
    fn take_over(&mut self, model: &Model, edit: &mut Edit) {
        let mut ids: HashMap<Key, GroupId> =
            self.roster.groups().map(|group| (self.sync.contacts.key(group.id), group.id)).collect();
        for (key, name) in model.groups.iter() {
            match ids.get(key) {
                Some(id) => {
                    let group = Group { id: *id, name: name.clone() };
                    edit.changes.extend(self.roster.replace_group(group));
                }
                None => {
                    let id = GroupId(self.next_id());
                    ids.insert(key.clone(), id);
                    self.sync.contacts.set_key(id, key.clone(), &mut edit.records);
                    edit.changes.extend(self.roster.replace_group(Group { id, name: name.clone() }));
                }
            }
        }
        for (address, person) in model.contacts.iter() {
            let mut groups: smallvec::SmallVec<[GroupId; 2]> =
                person.groups.iter().filter_map(|key| ids.get(key).copied()).collect();
            groups.sort_unstable();
            let id = match self.roster.id_of(address) {
                Some(id) => id,
                None => ContactId(self.next_id()),
            };
            let (name, details) = (person.name.clone(), person.details.clone());
            let contact = Contact { id, address: address.clone(), name, groups, details };
            edit.changes.extend(self.roster.replace_contact(contact));
        }
        let gone: Vec<ContactId> = self
            .roster
            .contacts()
            .filter(|contact| !model.contacts.has(&contact.address))
            .map(|contact| contact.id)
            .collect();
        for id in gone {
            edit.changes.extend(self.roster.take_out(id));
        }
        for (key, id) in ids.iter().filter(|(key, _)| !model.groups.has(key)) {
            edit.records.push((RecordKind::GroupName, id.to_string().into(), None));
            edit.changes.extend(self.roster.dissolve(*id));
            tracing::debug!(%key, "a group is gone");
        }
    }

    fn note_conflict(&mut self, found: Found, edit: &mut Edit) {
        let same = |known: &&Arc<Conflict>| known.about == found.about;
        let known = self.view.conflicts.values().find(same).cloned();
        if let Some(known) = known {
            let again =
                known.mine == found.mine && known.theirs == found.theirs && known.shown == found.shown;
            if again {
                return;
            }
            edit.settle(known);
        }
        let id = ConflictId(self.next_id());
        let Found { about, mine, theirs, shown } = found;
        edit.find(Conflict { id, about, mine, theirs, shown, at: self.now.wall });
    }

    /// What a merge brought is durable.
    pub(in crate::engine) fn pulled(&mut self, pulled: &Pulled) {
        let contacts = &mut self.sync.contacts;
        contacts.base = pulled.base.clone();
        contacts.tried = None;
        contacts.stale = false;
        contacts.dirty = true;
        contacts.step = Step::Idle;
    }

    /// What a merge brought could not be kept: it is read again later.
    pub(in crate::engine) fn pull_refused(&mut self, pulled: &Pulled) {
        let random = self.random();
        let contacts = &mut self.sync.contacts;
        for (group, _) in &pulled.keys {
            contacts.keys.remove(group);
        }
        contacts.stale = true;
        contacts.step = Step::Idle;
        contacts.pace.fail(self.now.instant, random, None);
    }

    /// What a change of the list is about, for conflicts that it settles.
    pub(in crate::engine) fn about(&self, change: &Change) -> Option<ConflictAbout> {
        match change {
            Change::ContactAdded(contact)
            | Change::ContactChanged(contact)
            | Change::ContactRemoved(contact) => Some(ConflictAbout::Contact(contact.address.clone())),
            Change::GroupAdded(group) | Change::GroupRenamed(group) | Change::GroupRemoved(group, _) => {
                Some(ConflictAbout::Group(self.sync.contacts.key(group.id)))
            }
            Change::Nothing => None,
        }
    }
}
