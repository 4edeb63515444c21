//! Changes of the documents that users keep: made one after the other for each user, durable before they are seen, and
//! felt at once from then on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use attache_documents::tree::Tree;
use attache_documents::xcap::{Conflict, DocumentPath, HARD_STATE_AUID, percent_encode};
use attache_documents::{Limits as DocumentLimits, pidf};
use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::Core;
use super::http::{Changing, Task, plain, refused, retry_after, tagged};
use crate::directory::Aor;
use crate::mailbox::StoreChange;
use crate::rules::Rules;
use crate::xcap::edit::{Place, Refusal};
use crate::xcap::lists::{ROOT, Resolver};
use crate::xcap::usage::{self, Stated, Surroundings, Usage};
use crate::xcap::{DocumentWrite, Kept, StoredDocument};

/// Changes that wait for one of the same user.
const MOST_WAITING: usize = 32;
/// Longest name of a document.
const LONGEST_NAME: usize = 256;

impl Core {
    /// Does a change, or lets it wait for one of the same user: only so do all bounds hold.
    pub(super) fn perform(&mut self, now: Instant, task: Task) {
        let busy = self.http.busy.get(&task.owner);
        if let Some(changing) = busy.and_then(|ticket| self.http.changing.get_mut(ticket)) {
            if changing.waiting.len() < MOST_WAITING {
                changing.waiting.push_back(task);
            } else {
                let answer = retry_after(StatusCode::SERVICE_UNAVAILABLE, 1);
                self.http.answers.push_back((task.id, answer));
            }
            return;
        }
        let (kept, stated, status) = match self.change(&task) {
            Ok(change) => change,
            Err(refusal) => {
                self.http.answers.push_back((task.id, refused(refusal)));
                return;
            }
        };
        let Task { id, owner, .. } = task;
        let DocumentPath { auid, name, .. } = task.resource.document;
        let changing = Changing { id, owner, auid, name, kept, stated, status, waiting: VecDeque::new() };
        if !self.is_durable {
            self.changed_document(now, changing);
            return;
        }
        let ticket = self.http.next_ticket;
        self.http.next_ticket += 1;
        let path = DocumentPath::user(&*changing.auid, &*changing.owner, &*changing.name);
        let document = changing.kept.as_ref().map(|kept| StoredDocument {
            path: path.clone(),
            etag: kept.etag.clone(),
            body: kept.body.clone(),
        });
        self.store_changes.push_back(StoreChange::Document(DocumentWrite { ticket, path, document }));
        self.http.busy.insert(Aor::clone(&changing.owner), ticket);
        self.http.changing.insert(ticket, changing);
    }

    /// What a change makes of a document.
    fn change(&mut self, task: &Task) -> Result<(Option<Kept>, Stated, StatusCode), Refusal> {
        let document = &task.resource.document;
        let before = self.documents.get(&task.owner, &document.auid, &document.name);
        let etag = before.map(|kept| kept.etag.as_str());
        let limits = self.document_limits();
        let is_put = task.method == Method::PUT;
        let failed = Refusal::Status(412, "");
        let (body, is_new) = match &task.resource.node {
            None => {
                if !is_put && before.is_none() {
                    return Err(Refusal::Status(404, "no such document"));
                }
                if !task.conditions.hold(etag, before.is_some()) {
                    return Err(failed);
                }
                if !is_put {
                    return Ok((None, Stated::default(), StatusCode::OK));
                }
                expect_type(task, task.usage.media_type())?;
                // A copy, so that the request it came in can be forgotten.
                (Bytes::copy_from_slice(well_formed(&task.body, &limits)?), before.is_none())
            }
            Some(node) => {
                let place = Place::parse(node, task.usage.namespace())?;
                if !place.is_changeable() {
                    return Err(Refusal::Status(405, "namespaces cannot be changed"));
                }
                let Some(kept) = before else {
                    let no_parent = Conflict::NoParent { ancestor: None };
                    return Err(if is_put {
                        no_parent.into()
                    } else {
                        Refusal::Status(404, "no such document")
                    });
                };
                let unreadable = |_| Refusal::Status(500, "the document cannot be read");
                let mut tree = Tree::read(&kept.body, &limits).map_err(unreadable)?;
                let exists = place.get(&tree).is_some();
                if !is_put && !exists {
                    return Err(Refusal::Status(404, "no such node"));
                }
                if !task.conditions.hold(etag, exists) {
                    return Err(failed);
                }
                if is_put {
                    expect_type(task, place.media_type())?;
                    let path = DocumentPath { user: Some(format!("sip:{}", task.owner)), ..document.clone() };
                    let uri = |selector: &str| {
                        let encoded: Vec<_> = selector.split('/').map(percent_encode).collect();
                        format!("{ROOT}/{path}/~~/{}", encoded.join("/"))
                    };
                    place.put(&mut tree, &task.body, uri)?;
                } else {
                    place.delete(&mut tree)?;
                }
                (Bytes::from(tree.write()), !exists)
            }
        };
        let (count, bytes) = self.documents.used(&task.owner);
        let replaced = before.map_or(0, |kept| kept.body.len());
        let largest = match task.usage {
            Usage::HardState => self.limits.document_bytes.min(self.limits.publication_bytes),
            _ => self.limits.document_bytes,
        };
        if body.len() > largest {
            return Err(Refusal::Status(413, "the document is too large"));
        }
        let is_further = before.is_none() && count >= self.limits.documents_per_user;
        if is_further || bytes - replaced + body.len() > self.limits.document_bytes_per_user {
            return Err(Refusal::Status(507, "there is no room for more documents"));
        }
        if document.name.len() > LONGEST_NAME || document.name.chars().any(char::is_control) {
            return Err(Refusal::Status(414, "the name is too long"));
        }
        let stated = {
            let is_taken = |address: &str| {
                let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
                self.directory.find(address).is_some() || !self.directory.is_ours(domain)
            };
            let is_served = |address: &str| {
                self.lists.get(address).is_some_and(|list| list.owner.as_ref() != Some(&task.owner))
                    || self
                        .http
                        .changing
                        .values()
                        .any(|other| other.owner != task.owner && other.stated.services.contains(address))
            };
            let around = Surroundings {
                owner: &task.owner,
                is_taken: &is_taken,
                services: &is_served,
                most_services: self.limits.lists_per_user,
            };
            let hard = self.hard_state_limits();
            let limits = if task.usage == Usage::HardState { &hard } else { &limits };
            usage::check(task.usage, &body, limits, &around)?
        };
        let status = if is_put && is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok((Some(Kept { etag: self.fresh_tag(), body }), stated, status))
    }

    /// A change is made: answers it, and lets it be felt. Returns what waited for it.
    pub(super) fn changed_document(&mut self, now: Instant, changing: Changing) -> VecDeque<Task> {
        let Changing { id, owner, auid, name, kept, stated, status, waiting } = changing;
        let etag = kept.as_ref().map(|kept| kept.etag.clone());
        let before = self.documents.set(&owner, &auid, &name, kept);
        let answer = match &etag {
            Some(etag) => tagged(Response::new(Bytes::new()), status, etag),
            None => plain(status, ""),
        };
        self.http.answers.push_back((id, answer));
        tracing::trace!(new = before.is_none(), "a document was changed");
        self.tell_keepers(&owner);
        if let Some(usage) = Usage::of(&auid) {
            self.document_has_effect(now, &owner, usage, &name, stated.presence);
        }
        waiting
    }

    /// Lets the content of a document be felt.
    fn document_has_effect(
        &mut self,
        now: Instant,
        owner: &Aor,
        usage: Usage,
        name: &str,
        presence: Option<pidf::Document>,
    ) {
        match usage {
            Usage::PresRules => self.rules_changed(now, owner),
            Usage::RlsServices => self.serve_lists(now, owner),
            Usage::ResourceLists => {
                self.serve_lists(now, owner);
                if self.rules.get(owner).is_some_and(Rules::use_lists) {
                    self.decide_again(now, owner);
                }
            }
            Usage::HardState if name == "index" => {
                let kept = self.documents.get(owner, HARD_STATE_AUID, name).map(|kept| kept.body.clone());
                let content = match (presence, kept) {
                    (Some(document), Some(body)) => Some((body, document)),
                    _ => None,
                };
                let presentity = self.presence.presentities.entry(Aor::clone(owner)).or_default();
                presentity.set_hard(content, now);
                self.changed(now, owner);
            }
            Usage::HardState => {}
        }
    }

    /// The addresses of a user that stand for lists are those of the documents now.
    fn serve_lists(&mut self, now: Instant, owner: &Aor) {
        let limits = self.document_limits();
        let (most, longest) = (self.limits.lists_per_user, self.limits.list_entries);
        // Read beside the lists that are set from them.
        let documents = core::mem::take(&mut self.documents);
        let mut resolver = Resolver::new(&documents, owner, &limits, longest);
        let before = self.http.served.remove(owner).unwrap_or_default();
        let mut after = BTreeSet::new();
        resolver.addresses(most, |uri| {
            after.insert(uri.to_owned());
        });
        let mut changed: Vec<Arc<str>> =
            before.difference(&after).filter_map(|gone| self.take_list(gone, Some(owner))).collect();
        resolver.services(most, |one| {
            match self.place_list(&one.uri, Some(Aor::clone(owner)), None, one.members) {
                Ok(name) => changed.extend(name),
                Err(error) => tracing::info!(%error, "a user's list is not served"),
            }
        });
        drop(resolver);
        self.documents = documents;
        self.lists_changed(now, changed);
        if !after.is_empty() {
            self.http.served.insert(Aor::clone(owner), after);
        }
    }

    /// What a user says of the presence of no device is bounded as what the devices say.
    fn hard_state_limits(&self) -> DocumentLimits {
        DocumentLimits { bytes: self.limits.publication_bytes, ..DocumentLimits::DEFAULT }
    }

    /// Takes back what was kept before a restart.
    pub(super) fn restore_documents(&mut self, now: Instant, all: Vec<StoredDocument>) {
        let mut ownerless = 0;
        let mut owners = BTreeSet::new();
        for StoredDocument { path, etag, body } in all {
            let owner = path.user.as_deref().and_then(|user| self.directory.find(user));
            match (owner, Usage::of(&path.auid)) {
                (Some(owner), Some(_)) => {
                    self.documents.set(&owner, &path.auid, &path.name, Some(Kept { etag, body }));
                    owners.insert(owner);
                }
                _ => ownerless += 1,
            }
        }
        if ownerless > 0 {
            tracing::warn!(
                documents = ownerless,
                "kept on disk for users that the configuration does not have"
            );
        }
        for owner in owners {
            self.rules_changed(now, &owner);
            self.serve_lists(now, &owner);
            let kept = self.documents.get(&owner, HARD_STATE_AUID, "index").map(|kept| kept.body.clone());
            let document = kept.and_then(|body| {
                let read = pidf::read(&body, &self.hard_state_limits()).ok()?;
                Some((body, read.document))
            });
            if document.is_some() {
                self.presence.presentities.entry(Aor::clone(&owner)).or_default().set_hard(document, now);
            }
        }
    }
}

fn expect_type(task: &Task, wanted: &str) -> Result<(), Refusal> {
    if task.content_type.as_deref() == Some(wanted) {
        return Ok(());
    }
    Err(Refusal::Status(415, "the content type does not fit the address"))
}

/// A whole document as it may be kept.
fn well_formed<'a>(body: &'a [u8], limits: &DocumentLimits) -> Result<&'a [u8], Refusal> {
    if std::str::from_utf8(body).is_err() {
        return Err(Conflict::NotUtf8.into());
    }
    match Tree::read(body, limits) {
        Ok(_) => Ok(body),
        Err(attache_documents::DocumentError::TooLarge { .. }) => {
            Err(Refusal::Status(413, "the document is too large"))
        }
        Err(error) => Err(Conflict::NotWellFormed.because(error.to_string()).into()),
    }
}
