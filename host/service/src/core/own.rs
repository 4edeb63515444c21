//! What the service tells a user about the user's own affairs: how many messages wait (package `message-summary`,
//! RFC 3842), and where the user is registered (package `reg`, RFC 3680).
//!
//! Both are small, so each NOTIFY says everything. Changes are gathered for the interval of presence, and a NOTIFY that
//! would say what the last one said is not sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use attache_documents::{message_summary, reg_info};

use super::notify::Notice;
use super::{Core, Due};
use crate::directory::Aor;
use crate::registrar::Binding;
use crate::subscription::Subject;

/// A package about the subscriber alone.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Package {
    /// RFC 3842.
    MessageSummary,
    /// RFC 3680.
    Registration,
}

impl Package {
    const ALL: [Self; 2] = [Self::MessageSummary, Self::Registration];

    /// The package of that name, if it is one of these.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|package| package.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::MessageSummary => "message-summary",
            Self::Registration => "reg",
        }
    }

    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::MessageSummary => message_summary::MEDIA_TYPE,
            Self::Registration => reg_info::MEDIA_TYPE,
        }
    }
}

/// Subscriptions by whose affairs they are to.
#[derive(Default)]
pub(super) struct Owners {
    of: HashMap<(Package, Aor), BTreeSet<u64>>,
}

/// What one subscriber knows.
pub(crate) struct OwnWatch {
    pub(super) package: Package,
    /// Of the next document, where it has one.
    version: u32,
    /// What the last document said, in short; `None` where that may not have arrived.
    told: Option<u64>,
    /// The contacts that it named.
    contacts: BTreeMap<String, Told>,
    /// Until then, changes are gathered.
    quiet_until: Option<Instant>,
}

/// A contact that a subscriber knows.
struct Told {
    uri: String,
    expires_at: Instant,
    /// What made it so.
    event: &'static str,
}

impl OwnWatch {
    pub(super) fn new(package: Package) -> Self {
        Self { package, version: 0, told: None, contacts: BTreeMap::new(), quiet_until: None }
    }

    /// Everything has to be told anew.
    pub(crate) fn restart(&mut self) {
        self.told = None;
    }
}

impl Core {
    /// A subscription begins.
    pub(super) fn owner_came(&mut self, owner: &Aor, package: Package, id: u64) {
        self.owners.of.entry((package, Aor::clone(owner))).or_default().insert(id);
    }

    /// It is over.
    pub(super) fn owner_left(&mut self, owner: &Aor, package: Package, id: u64) {
        let key = (package, Aor::clone(owner));
        if let Some(all) = self.owners.of.get_mut(&key) {
            all.remove(&id);
            if all.is_empty() {
                self.owners.of.remove(&key);
            }
        }
    }

    /// Something may have changed that a user is to be told of.
    pub(super) fn own_changed(&mut self, now: Instant, owner: &Aor, package: Package) {
        if self.owners.of.is_empty() {
            return;
        }
        let key = (package, Aor::clone(owner));
        for id in self.owners.of.get(&key).cloned().unwrap_or_default() {
            let Some(subscription) = self.presence.subscriptions.get(&id) else { continue };
            let quiet = match &subscription.subject {
                Subject::Own(_, watch) => watch.quiet_until,
                _ => None,
            };
            match quiet {
                Some(until) if until > now => self.timers.set(Due::ListNews(id), until),
                _ => self.queue(id),
            }
        }
    }

    /// What a subscriber is told next; `None` if there is nothing.
    pub(super) fn own_notice(
        &self,
        now: Instant,
        owner: &Aor,
        watch: &mut OwnWatch,
        must: bool,
    ) -> Option<Notice> {
        let (digest, body) = match watch.package {
            Package::MessageSummary => self.summary(owner, watch, must)?,
            Package::Registration => self.registration(now, owner, watch, must)?,
        };
        watch.told = Some(digest);
        watch.version = watch.version.wrapping_add(1);
        watch.quiet_until = Some(now + self.limits.notify_interval.max(SHORTEST_QUIET));
        Some(Notice {
            state: "active",
            content_type: watch.package.media_type().to_owned(),
            body: Some(body.into()),
            ..Notice::default()
        })
    }

    fn summary(&self, owner: &Aor, watch: &OwnWatch, must: bool) -> Option<(u64, String)> {
        let waiting = self.mailboxes.count(owner);
        let digest = waiting as u64;
        if !must && watch.told == Some(digest) {
            return None;
        }
        let new = u32::try_from(waiting).unwrap_or(u32::MAX);
        // What was delivered is not kept: there are no old ones.
        let class = message_summary::Class { name: "text-message".into(), new, ..Default::default() };
        let summary = message_summary::Summary {
            waiting: waiting > 0,
            account: Some(format!("sip:{owner}")),
            classes: vec![class],
        };
        Some((digest, message_summary::write(&summary)))
    }

    fn registration(
        &self,
        now: Instant,
        owner: &Aor,
        watch: &mut OwnWatch,
        must: bool,
    ) -> Option<(u64, String)> {
        let bindings: BTreeMap<String, &Binding> =
            self.registrar.bindings(owner, now).map(|one| (contact_id(one), one)).collect();
        let mut hasher = DefaultHasher::new();
        for (id, binding) in &bindings {
            (id, binding.q).hash(&mut hasher);
        }
        let digest = hasher.finish();
        if !must && watch.told == Some(digest) {
            return None;
        }
        let mut contacts = Vec::with_capacity(bindings.len());
        let mut known = BTreeMap::new();
        for (id, binding) in &bindings {
            let event = match watch.contacts.get(id) {
                None => "registered",
                Some(told) if told.expires_at == binding.expires_at => told.event,
                Some(_) => "refreshed",
            };
            let left = binding.expires_at.saturating_duration_since(now).as_secs();
            let instance =
                binding.device().map(|device| ("+sip.instance".to_owned(), format!("\"{device}\"")));
            contacts.push(reg_info::Contact {
                id: id.clone(),
                uri: binding.contact.as_str().to_owned(),
                state: reg_info::State::Active,
                event: Some(event.to_owned()),
                expires: Some(u32::try_from(left).unwrap_or(u32::MAX)),
                priority: Some(binding.q),
                public_gruu: self.registrar.gruus(owner, binding).map(|(public, _)| public),
                params: instance.into_iter().collect(),
                ..reg_info::Contact::default()
            });
            let uri = binding.contact.as_str().to_owned();
            known.insert(id.clone(), Told { uri, expires_at: binding.expires_at, event });
        }
        // Those that are gone are named once more, with the reason.
        for (id, told) in core::mem::replace(&mut watch.contacts, known) {
            if !bindings.contains_key(&id) {
                let event = if told.expires_at <= now { "expired" } else { "unregistered" };
                contacts.push(reg_info::Contact {
                    id,
                    uri: told.uri,
                    state: reg_info::State::Terminated,
                    event: Some(event.to_owned()),
                    ..reg_info::Contact::default()
                });
            }
        }
        let state = match (bindings.is_empty(), contacts.is_empty()) {
            (false, _) => reg_info::State::Active,
            (true, false) => reg_info::State::Terminated,
            (true, true) => reg_info::State::Init,
        };
        let registration =
            reg_info::Registration { id: "r1".into(), aor: format!("sip:{owner}"), state, contacts };
        let document =
            reg_info::RegInfo { version: watch.version, full: true, registrations: vec![registration] };
        Some((digest, reg_info::write(&document)))
    }
}

/// RFC 3842, section 3.10 allows one NOTIFY a second.
const SHORTEST_QUIET: Duration = Duration::from_secs(1);

/// The same for a contact as long as it is bound.
fn contact_id(binding: &Binding) -> String {
    let mut hasher = DefaultHasher::new();
    (binding.contact.as_str(), binding.device(), binding.registration()).hash(&mut hasher);
    format!("c{:016x}", hasher.finish())
}
