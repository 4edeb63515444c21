//! Lists of resources (RFC 4662), and lists in the request (RFC 5367): one subscription for many presentities.
//!
//! The backend is the presence agent of this service itself. A change of one presentity costs each of its list watchers
//! a flag; what has changed meanwhile is told together, in bodies of bounded size, one after the other. The first body
//! names all resources, with as many documents as fit, and those after it bring the rest. A list's watcher that missed
//! a body gets all of them again.

use std::sync::Arc;
use std::time::Instant;

use attache_documents::multipart::Writer;
use attache_documents::rlmi::{self, Instance, State};
use attache_documents::tree::{NodeKind, Tree};
use attache_documents::{Limits, multipart, pidf};
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transport::Transport;
use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::notify::Notice;
use super::view::View;
use super::{Core, Due};
use crate::directory::Aor;
use crate::lists::{self, Entry, ListError, Resource};
use crate::subscription::{ListWatch, Mark, Subject};

/// The option tag of lists.
pub(super) const EVENT_LIST: &str = "eventlist";
/// The option tag of lists in requests.
pub(super) const RECIPIENT_LIST: &str = "recipient-list-subscribe";
/// The media type of lists in requests (RFC 4826).
pub(super) const RESOURCE_LISTS: &str = "application/resource-lists+xml";
const RESOURCE_LISTS_NAMESPACE: &str = "urn:ietf:params:xml:ns:resource-lists";

/// Marks of states without a document; those of a [`View`] are below.
const NOBODY: Mark = 3;
const ELSEWHERE: Mark = 4;

/// Bodies for a watcher who is reached by datagrams fit into one, should there be no other way.
pub(super) const DATAGRAM_ROOM: usize = 48 * 1024;
/// What a resource takes in the meta-information beside its address.
const RESOURCE_OVERHEAD: usize = 64;

impl Core {
    /// Sets a list of resources, or changes it. `address` is what is subscribed to; a list of an owner is theirs alone, one
    /// without is everybody's. `members` are addresses; that of another list stands for all in it. Watchers of the list
    /// are told what changed.
    ///
    /// # Errors
    /// [`ListError`]; nothing was changed then.
    pub fn set_list(
        &mut self,
        now: Instant,
        address: &str,
        owner: Option<&str>,
        members: Vec<String>,
    ) -> Result<(), ListError> {
        let owner = owner.map(|owner| self.user(owner).ok_or(ListError::Owner)).transpose()?;
        self.now = now;
        self.put_list(now, address, owner, None, members)?;
        self.work(now);
        Ok(())
    }

    /// Forgets a list of that owner. Its subscriptions end.
    pub fn remove_list(&mut self, now: Instant, address: &str, owner: Option<&str>) {
        let aor = owner.and_then(|owner| self.user(owner));
        if aor.is_some() == owner.is_some() {
            self.now = now;
            self.drop_list(now, address, aor.as_ref());
            self.work(now);
        }
    }

    fn user(&self, address: &str) -> Option<Aor> {
        self.directory.find(&self.directory.complete(address)?)
    }

    /// [`set_list`](Self::set_list), also for named readers.
    pub(super) fn put_list(
        &mut self,
        now: Instant,
        address: &str,
        owner: Option<Aor>,
        readers: Option<Vec<Aor>>,
        members: Vec<String>,
    ) -> Result<(), ListError> {
        let changed = self.place_list(address, owner, readers, members)?;
        self.lists_changed(now, changed.into_iter().collect());
        Ok(())
    }

    /// [`put_list`](Self::put_list), but that [`lists_changed`](Self::lists_changed) with the name is left to the caller.
    pub(super) fn place_list(
        &mut self,
        address: &str,
        owner: Option<Aor>,
        readers: Option<Vec<Aor>>,
        members: Vec<String>,
    ) -> Result<Option<Arc<str>>, ListError> {
        let bounds =
            lists::Bounds { entries: self.limits.list_entries, per_owner: self.limits.lists_per_user };
        self.lists.set(&self.directory, bounds, address, owner, readers, members)
    }

    fn drop_list(&mut self, now: Instant, address: &str, owner: Option<&Aor>) {
        let gone = self.take_list(address, owner);
        self.lists_changed(now, gone.into_iter().collect());
    }

    /// Forgets a list, but that [`lists_changed`](Self::lists_changed) with the name is left to the caller.
    pub(super) fn take_list(&mut self, address: &str, owner: Option<&Aor>) -> Option<Arc<str>> {
        let (name, watchers) = self.lists.remove(&self.directory, address, owner)?;
        for id in watchers {
            self.end(id, "noresource");
        }
        Some(name)
    }

    /// Lists were set, or forgotten: their watchers, and those of lists in which they are, are told.
    pub(super) fn lists_changed(&mut self, now: Instant, changed: Vec<Arc<str>>) {
        for name in self.lists.refresh(&self.directory, self.limits.list_entries, changed) {
            let Some(list) = self.lists.get(&name) else { continue };
            let entries = Arc::clone(&list.entries);
            for id in list.watchers.clone() {
                if !self.exchange(now, id, Arc::clone(&entries)) {
                    self.end(id, "giveup");
                }
            }
        }
    }

    /// Whether a watcher may watch so many more.
    pub(super) fn has_room(&self, watcher: &Aor, more: usize) -> bool {
        self.presence.count_of(watcher).watched + more <= self.limits.watched_per_user
            && self.presence.watched + more <= self.limits.watched
    }

    /// Other entries take the place of those that a subscription had. Not where they are more than its watcher may watch:
    /// then everything is as before, and this is `false`.
    pub(super) fn exchange(&mut self, now: Instant, id: u64, entries: Arc<[Entry]>) -> bool {
        let Some(mut subscription) = self.presence.subscriptions.remove(&id) else { return true };
        self.presence.detach(id, &subscription.watcher, &subscription.subject);
        let mut fits = true;
        if let Subject::List(list) = &mut subscription.subject {
            fits = entries.len() <= list.entries.len() || self.has_room(&subscription.watcher, entries.len());
            if fits && list.exchange(entries) {
                // Only a body with all resources can say that one is gone.
                list.restart();
            }
        }
        self.presence.attach(id, &subscription.watcher, &subscription.subject);
        self.presence.subscriptions.insert(id, subscription);
        if fits {
            self.list_news(now, id);
        }
        fits
    }

    /// One of those in a list may have changed: its watcher is told now, or when its quiet time is over.
    pub(super) fn list_news(&mut self, now: Instant, id: u64) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return };
        let Subject::List(list) = &mut subscription.subject else { return };
        match list.quiet_until {
            Some(until) if until > now => self.timers.set(Due::ListNews(id), until),
            _ => self.queue(id),
        }
    }

    /// The list that a request brings along (RFC 5367, section 4), if it does.
    pub(super) fn requested_list(
        &self,
        request: &Message,
        sender: &Aor,
    ) -> Result<Option<Arc<[Entry]>>, Box<Response>> {
        let demanded = request.values(HeaderName::Require).any(|tag| tag == RECIPIENT_LIST.as_bytes());
        let body = request.body();
        let is_list = request.content_type().is_some_and(|kind| kind.is(RESOURCE_LISTS));
        if body.is_empty() || !is_list {
            if demanded {
                let refusal = Response::new(415).header(HeaderName::Accept, RESOURCE_LISTS);
                return Err(Box::new(refusal));
            }
            return Ok(None);
        }
        let bounds = Limits {
            bytes: self.limits.publication_bytes.max(self.limits.request_list_entries * 128),
            elements: self.limits.request_list_entries * 3 + 16,
            ..Limits::DEFAULT
        };
        let members = match Tree::read(body, &bounds) {
            Ok(tree) => members(&tree),
            Err(error) => {
                tracing::debug!(%error, "a list in a request cannot be read");
                return Err(Box::new(Response::new(400).reason("Unreadable Resource List")));
            }
        };
        let most = self.limits.request_list_entries;
        if members.len() > most {
            let refusal = Response::new(413).reason("Too Many Resources");
            let warning = format!("399 {} \"at most {most} resources in one request\"", self.warning_agent());
            return Err(Box::new(refusal.header(HeaderName::Warning, warning)));
        }
        Ok(Some(self.lists.flatten(&self.directory, Some(sender), &members, most)))
    }

    fn warning_agent(&self) -> &str {
        self.directory.realm()
    }

    /// What a list's watcher is told next; `None` if there is nothing.
    pub(super) fn list_notice(
        &mut self,
        now: Instant,
        id: u64,
        watcher: &Aor,
        list: &mut ListWatch,
        transport: Transport,
    ) -> Option<Notice> {
        let limit = match transport {
            Transport::Udp => self.limits.list_notify_bytes.min(DATAGRAM_ROOM),
            _ => self.limits.list_notify_bytes,
        };
        let full = core::mem::take(&mut list.full);
        let version = list.version;
        let mut info = rlmi::Writer::new(&list.uri, version, full, None, &[]);
        let mut bodies = Bodies { limit, used: 0, id, version, host: self.run as u32, parts: Vec::new() };
        if full {
            list.forget_touched();
            let entries = Arc::clone(&list.entries);
            bodies.used = entries.iter().map(|entry| entry.uri.len() + RESOURCE_OVERHEAD).sum();
            for (slot, entry) in (0..).zip(&*entries) {
                if bodies.used < limit {
                    let (state, body) = self.entry_state(now, watcher, entry);
                    bodies.resource(&mut info, list, slot, entry, &state, body);
                } else {
                    // The state is told soon; what was told before holds until then.
                    let instances = if list.told(slot) >= crate::presence::MARKS {
                        vec![instance(State::Active, None, None)]
                    } else {
                        Vec::new()
                    };
                    info.resource(&entry.uri, &[], &instances);
                    list.tell(slot, 0);
                    list.touch(slot);
                }
            }
        } else {
            while bodies.used < limit {
                let Some(slot) = list.next_touched() else { break };
                let entry = list.entries[slot as usize].clone();
                let (state, body) = self.entry_state(now, watcher, &entry);
                if state.mark == list.told(slot) {
                    continue;
                }
                bodies.used += entry.uri.len() + RESOURCE_OVERHEAD;
                bodies.resource(&mut info, list, slot, &entry, &state, body);
            }
            if bodies.used == 0 {
                return None;
            }
        }
        list.version = version.wrapping_add(1);
        list.quiet_until = Some(now + self.limits.notify_interval);
        let mut random = [0; 16];
        self.rng.fill_bytes(&mut random);
        let (content_type, body) = bodies.finish(&info.finish(), u128::from_be_bytes(random));
        Some(Notice {
            state: "active",
            content_type,
            body: Some(body),
            etag: list_etag(list.digest),
            is_list: true,
            more: list.any_touched(),
            ..Notice::default()
        })
    }

    /// The digest that a list's watcher has when everything is told.
    pub(super) fn list_digest(&mut self, now: Instant, watcher: &Aor, list: &ListWatch) -> u64 {
        let entries = Arc::clone(&list.entries);
        entries.iter().fold(0, |digest, entry| {
            digest ^ crate::subscription::mix(entry.key, self.entry_state(now, watcher, entry).0.mark)
        })
    }

    /// Takes it that the watcher knows everything.
    pub(super) fn list_is_known(&mut self, now: Instant, watcher: &Aor, list: &mut ListWatch) {
        let entries = Arc::clone(&list.entries);
        for (slot, entry) in (0..).zip(&*entries) {
            let mark = self.entry_state(now, watcher, entry).0.mark;
            list.tell(slot, mark);
        }
        list.forget_touched();
        list.full = false;
    }

    fn entry_state(&mut self, now: Instant, watcher: &Aor, entry: &Entry) -> (EntryState, Option<Bytes>) {
        let (mark, state, reason) = match &entry.resource {
            Resource::User(aor) => match self.view(now, aor, watcher) {
                View::Shown(shown) => {
                    let state = EntryState { mark: shown.mark, state: State::Active, reason: None };
                    return (state, Some(shown.body));
                }
                view @ View::Pending => (view.mark(), State::Pending, None),
                view @ View::Rejected => (view.mark(), State::Terminated, Some("rejected")),
            },
            Resource::Nobody => (NOBODY, State::Terminated, Some("noresource")),
            Resource::Elsewhere => (ELSEWHERE, State::Terminated, Some("giveup")),
        };
        (EntryState { mark, state, reason }, None)
    }
}

/// The entity tag of a list's state.
pub(super) fn list_etag(digest: u64) -> String {
    format!("l{digest:016x}")
}

struct EntryState {
    mark: Mark,
    state: State,
    reason: Option<&'static str>,
}

/// The documents of one NOTIFY.
struct Bodies {
    limit: usize,
    used: usize,
    /// Make identifiers that are never used twice.
    id: u64,
    version: u32,
    host: u32,
    parts: Vec<(String, Bytes)>,
}

impl Bodies {
    fn resource(
        &mut self,
        info: &mut rlmi::Writer,
        list: &mut ListWatch,
        slot: u32,
        entry: &Entry,
        state: &EntryState,
        body: Option<Bytes>,
    ) {
        let cid = body.map(|body| {
            let cid = self.cid(&format!("{slot:x}"));
            self.used += body.len() + cid.len() * 2 + 160;
            self.parts.push((cid.clone(), body));
            cid
        });
        list.tell(slot, state.mark);
        info.resource(&entry.uri, &[], &[instance(state.state, state.reason, cid)]);
    }

    fn cid(&self, part: &str) -> String {
        format!("{part}.{:x}.{:x}@{:08x}.invalid", self.version, self.id, self.host)
    }

    fn finish(self, info: &str, random: u128) -> (String, Bytes) {
        let start = self.cid("list");
        let boundary = format!("{random:032x}");
        let mut writer = Writer::new(&boundary);
        let size: usize = self.parts.iter().map(|(cid, body)| body.len() + cid.len() + 160).sum();
        writer.reserve(size.min(4 * self.limit) + info.len() + 256);
        writer.part("application/rlmi+xml;charset=\"UTF-8\"", Some(&start), info.as_bytes());
        for (cid, body) in &self.parts {
            writer.part(pidf::MEDIA_TYPE, Some(cid), body);
        }
        (writer.related_type(rlmi::MEDIA_TYPE, &start), writer.finish())
    }
}

fn instance(state: State, reason: Option<&str>, cid: Option<String>) -> Instance {
    Instance { id: "1".to_owned(), state, reason: reason.map(Into::into), cid }
}

/// The addresses in a list of RFC 4826, with those of the lists in it. Where they come from elsewhere is passed over.
pub(super) fn members(tree: &Tree) -> Vec<String> {
    let mut members = Vec::new();
    tree.find(|tree, node| {
        if tree.kind(node) == NodeKind::Element
            && tree.is(node, Some(RESOURCE_LISTS_NAMESPACE), "entry")
            && let Some(uri) = tree.attribute(node, None, "uri")
        {
            members.push(uri.trim().to_owned());
        }
        false
    });
    members
}

/// Why a watcher cannot have a list: what it does not understand.
pub(super) fn understands_lists(request: &Message) -> Result<(), Box<Response>> {
    let tags = [HeaderName::Supported, HeaderName::Require];
    let mut tags = tags.into_iter().flat_map(|name| request.values(name));
    if !tags.any(|tag| tag.eq_ignore_ascii_case(EVENT_LIST.as_bytes())) {
        return Err(Box::new(Response::new(421).header(HeaderName::Require, EVENT_LIST)));
    }
    let accepts = |wanted: &str| {
        let mut any = false;
        for value in request.values(HeaderName::Accept) {
            any = true;
            let value = String::from_utf8_lossy(value);
            let kind = multipart::essence(&value);
            let group = wanted.split('/').next().unwrap_or_default();
            if kind.eq_ignore_ascii_case(wanted) || kind == "*/*" || kind.strip_suffix("/*") == Some(group) {
                return true;
            }
        }
        !any
    };
    if accepts("multipart/related") && accepts(rlmi::MEDIA_TYPE) && accepts(pidf::MEDIA_TYPE) {
        return Ok(());
    }
    let ours = format!("multipart/related, {}, {}", rlmi::MEDIA_TYPE, pidf::MEDIA_TYPE);
    Err(Box::new(Response::new(406).header(HeaderName::Accept, ours)))
}
