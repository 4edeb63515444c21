//! An address at the service that stands for the whole contact list (RFC 4826, section 4), so that one subscription
//! brings everybody's presence (RFC 4662).
//!
//! It is one flat list that belongs to this program: what others keep in the same document is left as it is, and what
//! others do to the list is repaired.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use attache_documents::{
    Limits,
    resource_lists::{Entry, List, Member},
    rls_services::{self, Members, RlsServices, Service},
};
use attache_sip::uri::UriBuf;
use bytes::Bytes;

use super::{Ask, Base, Outcome, Pace, Topic, sentence};
use crate::{
    address::Address,
    engine::{
        Engine,
        ledger::{Effect, Then},
    },
    storage::RecordKind,
};

/// Key of the record that holds the document as the service had it last.
pub(super) const BASE: &str = "rls-services";

/// A repair after so long has nothing to do with the one before.
const CALM: Duration = Duration::from_secs(3600);

#[derive(Debug, Default, Eq, PartialEq)]
enum Step {
    #[default]
    Idle,
    Reading,
    /// Writing the document; holds who will be on the list then.
    Writing(Arc<str>),
}

/// The document's state.
#[derive(Debug)]
pub(in crate::engine) struct Lists {
    base: Base,
    step: Step,
    stale: bool,
    dirty: bool,
    /// The service will not have it; not asked again before the next sign-in.
    refused: bool,
    /// Who is on the list, once the service has said so.
    confirmed: Option<HashSet<Address>>,
    /// Somebody else changed the list since it was read before.
    contested: bool,
    pace: Pace,
    /// What others make of the list is repaired ever later: perhaps they do the same.
    repairs: Pace,
}

impl Lists {
    pub(super) fn new(base: Base) -> Self {
        Self {
            base,
            step: Step::Idle,
            stale: true,
            dirty: true,
            refused: false,
            confirmed: None,
            contested: false,
            pace: Pace::default(),
            repairs: Pace::default(),
        }
    }

    pub(super) fn begin(&mut self) {
        self.refused = false;
        self.contested = false;
        self.pace.reset();
        self.repairs.reset();
        self.look_again();
    }

    pub(super) fn look_again(&mut self) {
        self.stale = true;
    }

    pub(super) fn pause(&mut self) {
        self.step = Step::Idle;
        self.stale = true;
        self.confirmed = None;
    }

    pub(super) fn edited(&mut self) {
        self.dirty = true;
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let wanted = self.step == Step::Idle && !self.refused && (self.stale || self.dirty);
        self.pace.due.filter(|_| wanted)
    }

    /// The address of the list, where the service had it last.
    pub(in crate::engine) fn known(&self, own: &Address) -> Option<UriBuf> {
        let uri = list_uri(own)?;
        let there = parsed(self.base.body.as_ref()).services.iter().any(|service| service.uri == uri);
        UriBuf::parse(&uri).ok().filter(|_| there)
    }

    /// The tag of the document, as last heard.
    pub(super) fn etag(&self) -> Option<&Arc<str>> {
        self.base.etag()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.step != Step::Idle
    }
}

/// The address of this account's list.
fn list_uri(own: &Address) -> Option<String> {
    let (scheme, rest) = own.as_str().split_once(':')?;
    let (user, host) = rest.split_once('@')?;
    let host = host.split([';', '?']).next()?;
    (scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips"))
        .then(|| format!("{scheme}:{user}-attache@{host}"))
}

fn parsed(body: Option<&Arc<str>>) -> RlsServices {
    body.and_then(|body| rls_services::read(body.as_bytes(), &Limits::STORED).ok()).unwrap_or_default()
}

/// Who is asked for at the service: one for everybody, however the address is spelled.
fn person(address: &Address) -> Option<Address> {
    Address::parse(address.to_uri().ok()?.as_str()).ok()
}

/// Who is on a list, if it is one that is from us.
fn members(service: &Service) -> Option<HashSet<Address>> {
    let Members::List(list) = &service.members else { return None };
    // A list in the list, or a reference, is not from us.
    list.members
        .iter()
        .map(|member| match member {
            Member::Entry(entry) => person(&Address::parse(&entry.uri).ok()?),
            _ => None,
        })
        .collect()
}

/// Who is on the list at an address, in a document.
fn listed(document: &RlsServices, uri: &str) -> Option<HashSet<Address>> {
    document.services.iter().find(|service| service.uri == uri).and_then(members)
}

impl Engine {
    /// The address to subscribe to for the presence of all contacts, once the service has said that it holds the list.
    pub(in crate::engine) fn roster_list(&self) -> Option<UriBuf> {
        self.sync.lists.confirmed.as_ref()?;
        UriBuf::parse(&list_uri(&self.config.address)?).ok()
    }

    /// Whether nothing but time and room keeps the list waiting.
    pub(super) fn may_drive_lists(&self) -> bool {
        // Where the account names a list, that one is used. Contacts first: a merge may bring more of them, and a list
        // of contacts that could not be read would take everybody off a list that other devices use.
        self.config.list.is_none() && self.sync.contacts.is_settled()
    }

    pub(super) fn drive_lists(&mut self) {
        let lists = &self.sync.lists;
        let ready = lists.step == Step::Idle
            && !lists.refused
            && (lists.stale || lists.dirty)
            && lists.pace.is_due(self.now.instant)
            && self.can_ask()
            && self.may_drive_lists();
        if !ready {
            return;
        }
        let Some(uri) = list_uri(&self.config.address) else {
            self.sync.lists.refused = true;
            return;
        };
        if self.sync.lists.stale {
            if let Err(at) = self.afford() {
                self.sync.lists.pace.wait_until(at);
                return;
            }
            let known = self.sync.lists.base.known();
            self.sync.lists.step = Step::Reading;
            self.ask(Topic::Lists, Ask::Get { known });
            return;
        }
        let mut document = parsed(self.sync.lists.base.body.as_ref());
        let addresses: Vec<Address> =
            self.view.contacts.values().map(|entry| entry.contact.address.clone()).collect();
        let wanted: HashSet<Address> = addresses.iter().filter_map(person).collect();
        let known = document.services.iter().position(|service| service.uri == uri);
        let same = known.is_some_and(|at| {
            let service = &document.services[at];
            service.has_package("presence") && members(service).as_ref() == Some(&wanted)
        });
        let contested = core::mem::take(&mut self.sync.lists.contested);
        self.sync.lists.dirty = false;
        if same || wanted.is_empty() && known.is_none() {
            self.sync.lists.pace.reset();
            let confirmed = same.then(|| addresses.into_iter().collect());
            self.confirm_list(confirmed);
            return;
        }
        if contested {
            let random = self.random();
            let lists = &mut self.sync.lists;
            if lists.repairs.due.is_some_and(|last| last + CALM < self.now.instant) {
                lists.repairs.reset();
            }
            lists.repairs.fail_write(self.now.instant, random, None);
            lists.dirty = true;
            if let Some(due) = lists.repairs.due {
                lists.pace.wait_until(due);
            }
            return;
        }
        let mut uris: Vec<String> = wanted.iter().map(|address| address.canonical().to_owned()).collect();
        uris.sort_unstable();
        let entry = |uri| Member::Entry(Entry { uri, ..Entry::default() });
        let list = List { members: uris.into_iter().map(entry).collect(), ..List::default() };
        match known {
            Some(at) => {
                document.services[at].members = Members::List(list);
                document.services[at].packages = Some(vec!["presence".to_owned()]);
            }
            None => document
                .services
                .push(Service { members: Members::List(list), ..Service::presence(uri, String::new()) }),
        }
        let body: Arc<str> = rls_services::write(&document).into();
        let condition = self.sync.lists.base.condition();
        self.sync.lists.step = Step::Writing(body.clone());
        self.ask(Topic::Lists, Ask::Put { body: Bytes::from(body.as_bytes().to_vec()), condition });
    }

    pub(super) fn on_lists(&mut self, outcome: Outcome) {
        let now = self.now.instant;
        let random = self.random();
        let lists = &mut self.sync.lists;
        let step = core::mem::take(&mut lists.step);
        match (step, outcome) {
            (Step::Reading, Outcome::Document { etag, body }) => {
                lists.pace.was_read();
                match core::str::from_utf8(&body)
                    .ok()
                    .filter(|_| rls_services::read(&body, &Limits::STORED).is_ok())
                {
                    Some(text) => {
                        let before = parsed(lists.base.body.as_ref());
                        lists.base = Base::new(etag, text);
                        let after = parsed(lists.base.body.as_ref());
                        lists.contested = list_uri(&self.config.address).is_some_and(|uri| {
                            let before = listed(&before, &uri);
                            before.is_some() && before != listed(&after, &uri)
                        });
                        lists.stale = false;
                        lists.dirty = true;
                        self.keep_lists();
                    }
                    // Somebody else's, and not to be overwritten.
                    None => self.refuse_lists("the document on the service cannot be read"),
                }
            }
            (Step::Reading, Outcome::NotModified) => {
                lists.pace.was_read();
                (lists.stale, lists.dirty) = (false, true);
            }
            (Step::Reading, Outcome::Absent) => {
                lists.pace.was_read();
                (lists.stale, lists.dirty) = (false, true);
                if lists.base.body.is_some() {
                    lists.base = Base::default();
                    self.keep_lists();
                }
            }
            (Step::Writing(body), Outcome::Written { etag }) => {
                lists.pace.reset();
                lists.stale = etag.is_none();
                // Read back from what was written: who came meanwhile is not on it.
                lists.base = Base { etag, body: Some(body) };
                lists.dirty = true;
                self.keep_lists();
            }
            (Step::Writing(_), Outcome::Changed) => {
                (lists.stale, lists.dirty) = (true, true);
                lists.pace.fail_write(now, random, None);
            }
            (_, Outcome::Conflict(error)) => self.refuse_lists(&sentence(&error)),
            (_, Outcome::Refused { sentence, .. }) => self.refuse_lists(&sentence),
            (step, Outcome::Away { retry_after, .. }) => {
                lists.stale = true;
                match step {
                    Step::Writing(_) => lists.pace.fail_write(now, random, retry_after),
                    _ => lists.pace.fail(now, random, retry_after),
                }
            }
            _ => {
                lists.stale = true;
                lists.pace.fail(now, random, None);
            }
        }
        self.drive_sync();
    }

    fn keep_lists(&mut self) {
        let records = vec![(RecordKind::Document, BASE.into(), self.sync.lists.base.record())];
        self.ledger.keep(Effect::Records { records, then: Then::Nothing });
    }

    fn refuse_lists(&mut self, sentence: &str) {
        self.diagnose(format!("the service holds no list of all contacts: {sentence}"));
        self.sync.lists.refused = true;
        self.confirm_list(None);
    }

    fn confirm_list(&mut self, confirmed: Option<HashSet<Address>>) {
        if self.sync.lists.confirmed != confirmed {
            self.sync.lists.confirmed = confirmed;
            self.use_list(self.roster_list());
        }
    }
}
