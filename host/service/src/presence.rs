//! Who published what, and who watches whom. Documents are composed once for all watchers.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher as _;
use std::time::Instant;

use attache_documents::pidf::{self, Basic, Document, Tuple};
use attache_documents::policy;
use attache_sip::uri::Uri;
use bytes::Bytes;

use crate::directory::{Aor, identity};
use crate::lists::Resource;
use crate::rules::Granted;
use crate::subscription::{DialogId, Mark, Subject, Subscription};

/// One device's statement (RFC 3903).
pub(crate) struct Publication {
    pub(crate) etag: String,
    pub(crate) expires_at: Instant,
    /// Counts changes of content, so that the newest statement about the person is known.
    changed: u64,
    body: Bytes,
    document: Document,
}

/// A document as a watcher sees it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) body: Bytes,
    /// Equal for equal documents, also after a restart.
    pub(crate) mark: Mark,
}

impl Shown {
    pub(crate) fn new(body: Bytes) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(&body);
        // 0 is what nobody was told yet, and the first few are taken.
        let mark = hasher.finish().max(MARKS);
        Self { body, mark }
    }
}

/// Marks below this one are of states without a document.
pub(crate) const MARKS: Mark = 16;

/// Different views of one document that are kept at a time.
const MOST_PARTLY: usize = 64;

/// A user as seen by watchers.
#[derive(Default)]
pub(crate) struct Presentity {
    pub(crate) publications: Vec<Publication>,
    /// Subscriptions, with the place in their list where they are to one. By id, so that the order of notification is the
    /// same in each run.
    pub(crate) watchers: BTreeSet<(u64, u32)>,
    /// What holds while no device says anything, and beside what they say (RFC 4827).
    hard: Option<Publication>,
    /// The current document, shared by all NOTIFYs.
    composed: Option<Shown>,
    /// What of it is shown to those who are not granted everything, by the number of what they are granted.
    partly: HashMap<u64, Shown>,
    /// What the watchers have heard last.
    told: Option<Mark>,
    /// Until then, changes are gathered.
    pub(crate) quiet_until: Option<Instant>,
    changes: u64,
}

impl Publication {
    /// The document as it was published.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }
}

#[derive(Default)]
pub(crate) struct Presence {
    pub(crate) presentities: HashMap<Aor, Presentity>,
    pub(crate) subscriptions: HashMap<u64, Subscription>,
    pub(crate) dialogs: HashMap<DialogId, u64>,
    per_watcher: HashMap<Aor, Count>,
    /// Users watched, and others in lists, counted once for each watcher.
    pub(crate) watched: usize,
    /// Users who have gained or lost a watcher; those who want to know of it are told next.
    pub(crate) watched_anew: BTreeSet<Aor>,
    next: u64,
}

/// What one watcher has.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Count {
    pub(crate) subscriptions: usize,
    /// Users in them, and others in lists.
    pub(crate) watched: usize,
}

impl Presentity {
    /// Adds or replaces a statement. `replaces` is the position of the one that it modifies.
    pub(crate) fn publish(
        &mut self,
        replaces: Option<usize>,
        etag: String,
        content: Option<(Bytes, Document)>,
        expires_at: Instant,
        most: usize,
    ) {
        if let Some(publication) = replaces.and_then(|index| self.publications.get_mut(index)) {
            publication.etag = etag;
            publication.expires_at = expires_at;
            if let Some((body, document)) = content {
                self.changes += 1;
                publication.changed = self.changes;
                publication.body = body;
                publication.document = document;
                self.forget_shown();
            }
            return;
        }
        let Some((body, document)) = content else { return };
        // A device that forgot its entity tags must not lock itself out.
        if self.publications.len() >= most
            && let Some(first) = (0..self.publications.len()).min_by_key(|i| self.publications[*i].expires_at)
        {
            self.publications.remove(first);
        }
        self.changes += 1;
        let changed = self.changes;
        self.publications.push(Publication { etag, expires_at, changed, body, document });
        self.forget_shown();
    }

    pub(crate) fn withdraw(&mut self, index: usize) {
        self.publications.remove(index);
        self.forget_shown();
    }

    /// Forgets what has expired. Whether there was any, and when the next one will.
    pub(crate) fn expire(&mut self, now: Instant) -> (bool, Option<Instant>) {
        let before = self.publications.len();
        self.publications.retain(|publication| publication.expires_at > now);
        let any = self.publications.len() != before;
        if any {
            self.forget_shown();
        }
        (any, self.publications.iter().map(|publication| publication.expires_at).min())
    }

    /// The current document.
    pub(crate) fn document(&mut self, aor: &str) -> Shown {
        if let Some(composed) = &self.composed {
            return composed.clone();
        }
        let composed = Shown::new(match &self.all()[..] {
            [only] if is_about(&only.document, aor) => only.body.clone(),
            all => pidf::write(&compose(aor, all)).into(),
        });
        self.composed = Some(composed.clone());
        composed
    }

    /// What of the current document is shown to those who are granted this: one text for all of them.
    pub(crate) fn document_for(&mut self, aor: &str, granted: &Granted) -> Shown {
        if let Some(known) = self.partly.get(&granted.set) {
            return known.clone();
        }
        if self.partly.len() >= MOST_PARTLY {
            self.partly.clear();
        }
        let whole = compose(aor, &self.all());
        let shown = Shown::new(pidf::write(&policy::transform(&whole, &granted.permissions)).into());
        self.partly.insert(granted.set, shown.clone());
        shown
    }

    /// The documents have to be made anew.
    pub(crate) fn forget_shown(&mut self) {
        self.composed = None;
        self.partly.clear();
    }

    /// The parts of life in which the person is (RFC 4480, section 3.10).
    pub(crate) fn spheres(&self) -> Vec<String> {
        let all = self.all();
        let newest = all.iter().filter(|one| !one.document.persons.is_empty()).max_by_key(|one| one.changed);
        let person = newest.and_then(|one| one.document.persons.first());
        person.map(|person| person.rich.sphere.list.clone()).unwrap_or_default()
    }

    /// Sets what holds while no device says anything; nothing takes it away.
    pub(crate) fn set_hard(&mut self, content: Option<(Bytes, Document)>, now: Instant) {
        self.hard = content.map(|(body, document)| Publication {
            etag: String::new(),
            expires_at: now,
            changed: 0,
            body,
            document,
        });
        self.forget_shown();
    }

    fn all(&self) -> Vec<&Publication> {
        self.publications.iter().chain(&self.hard).collect()
    }

    /// Whether there is something that the watchers have not heard yet. From then on they have.
    pub(crate) fn news(&mut self, aor: &str) -> bool {
        let mark = self.document(aor).mark;
        self.told.replace(mark) != Some(mark)
    }

    pub(crate) fn is_forgettable(&self) -> bool {
        self.publications.is_empty() && self.watchers.is_empty() && self.hard.is_none()
    }
}

impl Presence {
    pub(crate) fn add(&mut self, subscription: Subscription) -> u64 {
        let id = self.next;
        self.next += 1;
        self.dialogs.insert(subscription.dialog.clone(), id);
        self.attach(id, &subscription.watcher, &subscription.subject);
        self.subscriptions.insert(id, subscription);
        id
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&id)?;
        self.dialogs.remove(&subscription.dialog);
        self.detach(id, &subscription.watcher, &subscription.subject);
        Some(subscription)
    }

    /// Has those whom a subscription watches tell it of changes.
    pub(crate) fn attach(&mut self, id: u64, watcher: &Aor, subject: &Subject) {
        let count = Count { subscriptions: 1, watched: weight(subject) };
        each(subject, |aor, slot| {
            self.presentities.entry(Aor::clone(aor)).or_default().watchers.insert((id, slot));
            self.watched_anew.insert(Aor::clone(aor));
        });
        self.watched += count.watched;
        let of = self.per_watcher.entry(Aor::clone(watcher)).or_default();
        of.subscriptions += count.subscriptions;
        of.watched += count.watched;
    }

    pub(crate) fn detach(&mut self, id: u64, watcher: &Aor, subject: &Subject) {
        let watched = weight(subject);
        each(subject, |aor, slot| {
            self.watched_anew.insert(Aor::clone(aor));
            if let Some(presentity) = self.presentities.get_mut(aor) {
                presentity.watchers.remove(&(id, slot));
                if presentity.is_forgettable() {
                    self.presentities.remove(aor);
                }
            }
        });
        self.watched -= watched;
        if let Some(of) = self.per_watcher.get_mut(watcher) {
            of.subscriptions -= 1;
            of.watched -= watched;
            if of.subscriptions == 0 {
                self.per_watcher.remove(watcher);
            }
        }
    }

    pub(crate) fn count_of(&self, watcher: &str) -> Count {
        self.per_watcher.get(watcher).copied().unwrap_or_default()
    }
}

/// How many a subscription is to. Those of whom nothing is known take as much room as the others.
fn weight(subject: &Subject) -> usize {
    match subject {
        Subject::Presence(_) => 1,
        Subject::List(list) => list.entries.len(),
        Subject::Watchers(..)
        | Subject::Documents(..)
        | Subject::Own(..)
        | Subject::Conference(_)
        | Subject::Taken => 0,
    }
}

/// The users that a subscription is to, with their places.
fn each(subject: &Subject, mut f: impl FnMut(&Aor, u32)) {
    match subject {
        Subject::Presence(aor) => f(aor, 0),
        Subject::List(list) => {
            for (slot, entry) in (0..).zip(&*list.entries) {
                if let Resource::User(aor) = &entry.resource {
                    f(aor, slot);
                }
            }
        }
        Subject::Watchers(..)
        | Subject::Documents(..)
        | Subject::Own(..)
        | Subject::Conference(_)
        | Subject::Taken => {}
    }
}

/// One document out of all that a user's devices say.
///
/// A single statement is passed on as it came, with whatever this service knows nothing of. Of several, every tuple and
/// device is kept, under ids that do not collide, and the person is the one of the newest statement that has one
/// (RFC 4479, section 3.1 knows one person only). Nothing at all is a closed tuple: the service knows that no device
/// is there, and says so.
fn compose(aor: &str, publications: &[&Publication]) -> Document {
    let entity = format!("sip:{aor}");
    if let [only] = publications
        && is_about(&only.document, aor)
    {
        return only.document.clone();
    }
    let mut all = Document { entity, ..Document::default() };
    let mut ids = std::collections::HashSet::new();
    // What the next one of the same id is numbered with, so that many of one id are told apart in linear time.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut unique = |id: &str, publication: usize| {
        let id = if id.is_empty() { "t" } else { id };
        if ids.insert(id.to_owned()) {
            return id.to_owned();
        }
        let number = numbers.entry(id.to_owned()).or_insert(publication);
        loop {
            let other = format!("{id}-{number}");
            *number += 1;
            if ids.insert(other.clone()) {
                return other;
            }
        }
    };
    for (number, publication) in publications.iter().enumerate() {
        let document = &publication.document;
        all.tuples.extend(document.tuples.iter().map(|tuple| {
            let mut tuple = tuple.clone();
            tuple.id = unique(&tuple.id, number);
            tuple
        }));
        all.devices.extend(document.devices.iter().map(|device| {
            let mut device = device.clone();
            device.id = unique(&device.id, number);
            device
        }));
    }
    let newest = |has: fn(&Document) -> bool| {
        publications
            .iter()
            .filter(|one| has(&one.document))
            .max_by_key(|one| one.changed)
            .map(|one| &one.document)
    };
    if let Some(document) = newest(|document| !document.persons.is_empty()) {
        all.persons.extend(document.persons.first().cloned().map(|mut person| {
            person.id = unique(&person.id, publications.len());
            person
        }));
    }
    if let Some(document) = newest(|document| !document.notes.is_empty()) {
        all.notes.clone_from(&document.notes);
    }
    if publications.is_empty() {
        all.tuples.push(Tuple { id: "offline".into(), basic: Some(Basic::Closed), ..Tuple::default() });
    }
    all
}

/// Whether a document speaks of the user who published it.
fn is_about(document: &Document, aor: &str) -> bool {
    Uri::parse_str(&document.entity).ok().and_then(|uri| identity(&uri)).as_deref() == Some(aor)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use attache_documents::Limits;

    use super::*;

    fn text(id: &str, basic: &str, note: &str) -> Bytes {
        format!(
            "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
             entity=\"sip:bob@example.com\"><tuple id=\"{id}\"><status><basic>{basic}</basic></status></tuple>\
             <dm:person id=\"p\"><dm:note>{note}</dm:note></dm:person><x:more xmlns:x=\"urn:x\"/></presence>"
        )
        .into()
    }

    fn add(presentity: &mut Presentity, etag: &str, body: Bytes, replaces: Option<usize>) {
        let document = pidf::read(&body, &Limits::DEFAULT).unwrap().document;
        let expires_at = Instant::now() + Duration::from_secs(60);
        presentity.publish(replaces, etag.into(), Some((body, document)), expires_at, 3);
    }

    fn composed(presentity: &mut Presentity) -> Document {
        let bytes = presentity.document("bob@example.com").body;
        pidf::read(&bytes, &Limits::DEFAULT).unwrap().document
    }

    #[test]
    fn nothing_published_is_closed() {
        let document = composed(&mut Presentity::default());
        assert_eq!(document.entity, "sip:bob@example.com");
        assert_eq!(document.tuples.len(), 1);
        assert_eq!(document.tuples[0].basic, Some(Basic::Closed));
    }

    #[test]
    fn one_statement_is_passed_on_as_it_came() {
        let mut presentity = Presentity::default();
        add(&mut presentity, "1", text("a", "open", "here"), None);
        assert_eq!(presentity.document("bob@example.com").body, text("a", "open", "here"));
    }

    #[test]
    fn a_statement_in_somebody_elses_name_is_put_right() {
        let mut presentity = Presentity::default();
        add(&mut presentity, "1", text("a", "open", "here"), None);
        let bytes = presentity.document("mallory@example.com").body;
        presentity.composed = None;
        let document = pidf::read(&bytes, &Limits::DEFAULT).unwrap().document;
        assert_eq!(document.entity, "sip:mallory@example.com");
    }

    #[test]
    fn tuples_of_several_devices_are_all_there_and_told_apart() {
        let mut presentity = Presentity::default();
        add(&mut presentity, "1", text("same", "open", "desk"), None);
        add(&mut presentity, "2", text("same", "closed", "phone"), None);
        let document = composed(&mut presentity);
        let ids: Vec<_> = document.tuples.iter().map(|tuple| tuple.id.as_str()).collect();
        assert_eq!(ids, ["same", "same-1"]);
    }

    #[test]
    fn many_of_one_id_are_told_apart() {
        let tuple = "<tuple id=\"same\"><status><basic>open</basic></status></tuple>".repeat(256);
        let body = format!(
            "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:bob@example.com\">{tuple}</presence>"
        );
        let mut presentity = Presentity::default();
        for etag in ["1", "2", "3"] {
            add(&mut presentity, etag, body.clone().into(), None);
        }
        let document = compose("bob@example.com", &presentity.all());
        let ids: std::collections::HashSet<_> = document.tuples.iter().map(|tuple| &tuple.id).collect();
        assert_eq!((ids.len(), document.tuples.len()), (3 * 256, 3 * 256));
    }

    #[test]
    fn the_person_is_the_one_that_was_stated_last() {
        let mut presentity = Presentity::default();
        add(&mut presentity, "1", text("a", "open", "desk"), None);
        add(&mut presentity, "2", text("b", "open", "phone"), None);
        assert_eq!(composed(&mut presentity).persons[0].notes[0].text, "phone");
        add(&mut presentity, "3", text("a", "open", "desk again"), Some(0));
        let document = composed(&mut presentity);
        assert_eq!(document.persons.len(), 1);
        assert_eq!(document.persons[0].notes[0].text, "desk again");
    }

    #[test]
    fn all_who_are_granted_the_same_share_one_text() {
        let mut presentity = Presentity::default();
        add(&mut presentity, "1", text("a", "open", "here"), None);
        let granted = |set| {
            let permissions =
                policy::Permissions { handling: policy::SubHandling::Allow, ..Default::default() };
            Granted { set, permissions: std::sync::Arc::new(permissions) }
        };
        let mut shown = |set| presentity.document_for("bob@example.com", &granted(set)).body;
        let first = shown(0);
        assert!((0..10_000).all(|_| shown(0).as_ptr() == first.as_ptr()));
        for set in 1..1_000 {
            shown(set);
        }
        assert!(presentity.partly.len() <= MOST_PARTLY);
        add(&mut presentity, "2", text("a", "open", "gone"), Some(0));
        assert!(presentity.partly.is_empty(), "a change is shown to them, too");
    }

    #[test]
    fn publications_of_one_user_are_bounded() {
        let mut presentity = Presentity::default();
        for etag in 0..20 {
            add(&mut presentity, &etag.to_string(), text("a", "open", "x"), None);
        }
        assert_eq!(presentity.publications.len(), 3);
    }

    #[test]
    fn watchers_are_not_told_what_they_know() {
        let mut presentity = Presentity::default();
        add(&mut presentity, "1", text("a", "open", "here"), None);
        assert!(presentity.news("bob@example.com"));
        add(&mut presentity, "2", text("a", "open", "here"), Some(0));
        assert!(!presentity.news("bob@example.com"));
    }
}
