//! XCAP (RFC 4825): documents over HTTP.
//!
//! Every request but one of no use must prove who sends it, as over SIP, with the same passwords. A user's documents are
//! read and changed by that user only; what is in the global tree is read by every user. A change is answered, and seen
//! by anybody, when it is on disk; further changes of the same document wait for that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use attache_documents::tree::Tree;
use attache_documents::xcap::{
    CAPS_AUID, CAPS_TYPE, Conflict, DocumentPath, ERROR_TYPE, HARD_STATE_AUID, Resource, write_capabilities,
    write_error,
};
use attache_documents::{Limits as DocumentLimits, pidf};
use attache_sip::digest::Credentials;
use attache_sip::uri::Uri;
use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use rand_chacha::rand_core::Rng as _;

use super::Core;
use crate::directory::{Aor, Proof, Proving, identity};
use crate::mailbox::StoreChange;
use crate::rules::Rules;
use crate::xcap::edit::{Place, Refusal};
use crate::xcap::lists::{ROOT, Resolver};
use crate::xcap::usage::{self, DIRECTORY_AUID, Surroundings, Usage};
use crate::xcap::{DocumentWrite, Kept, StoredDocument};

/// The name of a directory (OMA XDM, section 5.3.5).
const DIRECTORY_NAME: &str = "directory.xml";
/// Changes that wait for one of the same document.
const MOST_WAITING: usize = 32;
/// Longest name of a document.
const LONGEST_NAME: usize = 256;

/// Requests under way, and answers that are ready.
#[derive(Default)]
pub(super) struct Http {
    answers: VecDeque<(u64, Response<Bytes>)>,
    /// The change of a document that is being made durable, by its ticket.
    changing: HashMap<u64, Changing>,
    /// The tickets of documents that are being changed.
    busy: HashMap<(Aor, String, String), u64>,
    next_ticket: u64,
    /// The addresses of users that stand for lists.
    served: HashMap<Aor, BTreeSet<String>>,
    /// For requests whose answer is given at once.
    next_inner: u64,
}

struct Changing {
    id: u64,
    owner: Aor,
    auid: String,
    name: String,
    kept: Option<Kept>,
    presence: Option<pidf::Document>,
    status: StatusCode,
    waiting: VecDeque<Task>,
}

/// A request whose sender has been found to be the owner.
struct Task {
    id: u64,
    owner: Aor,
    usage: Usage,
    resource: Resource,
    method: Method,
    conditions: Conditions,
    content_type: Option<String>,
    body: Bytes,
}

/// `If-Match` and `If-None-Match` (RFC 9110, section 13.1).
#[derive(Default)]
struct Conditions {
    matches: Option<Vec<String>>,
    none_matches: Option<Vec<String>>,
}

impl Conditions {
    fn read(headers: &HeaderMap) -> Self {
        let tags = |name: HeaderName| {
            let mut rows = headers.get_all(name).iter().peekable();
            rows.peek()?;
            let text: Vec<&str> = rows.filter_map(|row| row.to_str().ok()).collect();
            Some(text.iter().flat_map(|row| row.split(',')).map(|tag| tag.trim().to_owned()).collect())
        };
        Self { matches: tags(IF_MATCH), none_matches: tags(IF_NONE_MATCH) }
    }

    /// Whether a request may be done, on a document with this tag, for something that exists or not.
    fn hold(&self, etag: Option<&str>, exists: bool) -> bool {
        let tagged =
            |tag: &String| etag.is_some_and(|etag| tag.trim_matches('"') == etag && !tag.starts_with("W/"));
        let any = |tag: &String| tag == "*" && exists;
        let matches = self.matches.as_ref().is_none_or(|tags| tags.iter().any(|tag| any(tag) || tagged(tag)));
        let none = self.none_matches.as_ref();
        let clashes = |tag: &String| any(tag) || (exists && tagged(tag));
        matches && none.is_none_or(|tags| !tags.iter().any(clashes))
    }

    /// Whether the only thing against a reading is that the reader has it already.
    fn is_known(&self, etag: &str) -> bool {
        let none = Self { matches: None, none_matches: self.none_matches.clone() };
        !none.hold(Some(etag), true)
    }
}

impl Core {
    /// Takes an HTTP request under a number of the caller's; its answer comes by [`poll_http`](Self::poll_http).
    ///
    /// `peer` is the address that the request came from. The request's URI is a path below `/xcap-root`, with its query;
    /// scheme and authority may be there, and say nothing.
    pub fn begin_http(&mut self, now: Instant, id: u64, peer: SocketAddr, request: Request<Bytes>) {
        self.now = now;
        if let Err(answer) = self.take_http(now, id, peer, request) {
            self.http.answers.push_back((id, *answer));
        }
        self.work(now);
    }

    /// The next answer to an HTTP request, with its number.
    pub fn poll_http(&mut self) -> Option<(u64, Response<Bytes>)> {
        self.http.answers.pop_front()
    }

    /// Answers an HTTP request at once. For a service that keeps its documents in memory only: where they are kept on
    /// disk, an answer that has to wait for that is 503; use [`begin_http`](Self::begin_http) there.
    pub fn handle_http(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        request: Request<Bytes>,
    ) -> Response<Bytes> {
        self.http.next_inner += 1;
        let id = u64::MAX - self.http.next_inner;
        self.begin_http(now, id, peer, request);
        let found = self.http.answers.iter().position(|(known, _)| *known == id);
        match found.and_then(|index| self.http.answers.remove(index)) {
            Some((_, answer)) => answer,
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "it is not on disk yet"),
        }
    }

    /// A document's change was made durable, or could not be: `Err` says why, for a log.
    pub fn handle_document_stored(&mut self, now: Instant, ticket: u64, outcome: Result<(), &str>) {
        self.now = now;
        if let Some(changing) = self.http.changing.remove(&ticket) {
            let key = (Aor::clone(&changing.owner), changing.auid.clone(), changing.name.clone());
            self.http.busy.remove(&key);
            let waiting = match outcome {
                Ok(()) => self.changed_document(now, changing),
                Err(error) => {
                    tracing::error!(error, "a document cannot be kept");
                    let answer = plain(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be kept");
                    self.http.answers.push_back((changing.id, answer));
                    changing.waiting
                }
            };
            for task in waiting {
                self.perform(now, task);
            }
        }
        self.work(now);
    }

    fn take_http(
        &mut self,
        now: Instant,
        id: u64,
        peer: SocketAddr,
        request: Request<Bytes>,
    ) -> Result<(), Box<Response<Bytes>>> {
        if !self.rate.admits(peer.ip(), now) {
            return Err(Box::new(retry_after(StatusCode::TOO_MANY_REQUESTS, 1)));
        }
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        let below = path.strip_prefix(ROOT).filter(|rest| rest.starts_with('/'));
        let Some(below) = below else {
            return Err(Box::new(plain(StatusCode::NOT_FOUND, "not below /xcap-root")));
        };
        let is_change = match head.method {
            Method::GET | Method::HEAD => false,
            Method::PUT | Method::DELETE => true,
            _ => return Err(Box::new(not_allowed("GET, HEAD, PUT, DELETE"))),
        };
        let resource = Resource::parse(below).ok();
        let owner = resource.as_ref().and_then(|resource| owner_of(resource.document.user.as_deref()?));
        let account =
            self.authenticate_http(now, peer, &head.method, path, &head.headers, &body, owner.as_deref())?;
        let Some(mut resource) = resource else {
            return Err(Box::new(plain(StatusCode::NOT_FOUND, "no document")));
        };
        if resource.document.user.is_none() {
            return Err(Box::new(self.global(&head.method, &resource)));
        }
        let owner = owner.and_then(|owner| self.directory.find(&owner));
        let owner = owner.filter(|owner| self.directory.owns(account, owner));
        let Some(owner) = owner else {
            return Err(Box::new(plain(StatusCode::FORBIDDEN, "not your own documents")));
        };
        // One user, one spelling.
        resource.document.user = Some(owner.to_string());
        let conditions = Conditions::read(&head.headers);
        if resource.document.auid == DIRECTORY_AUID {
            let answer =
                if is_change { not_allowed("GET, HEAD") } else { self.directory_of(&owner, &resource) };
            return Err(Box::new(answer));
        }
        let Some(usage) = Usage::of(&resource.document.auid) else {
            return Err(Box::new(plain(StatusCode::NOT_FOUND, "no such application usage")));
        };
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type =
            content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let task = Task { id, owner, usage, resource, method: head.method, conditions, content_type, body };
        if is_change {
            self.perform(now, task);
            return Ok(());
        }
        Err(Box::new(self.read(&task)))
    }

    /// The account that a request proves; else the answer to it.
    #[allow(clippy::too_many_arguments, reason = "what a request is made of, taken apart once")]
    fn authenticate_http(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        owner: Option<&str>,
    ) -> Result<usize, Box<Response<Bytes>>> {
        let rows = headers.get_all(AUTHORIZATION).iter();
        let ours = |one: &Credentials| self.directory.is_realm(&one.realm);
        let credentials = rows.filter_map(|row| Credentials::parse(row.as_bytes())).find(ours);
        let claimed = credentials.as_ref().map(|credentials| self.directory.claimed(credentials).to_owned());
        let claimed = claimed.map(|name| if name.len() > 128 { String::new() } else { name });
        if let Some(wait) = claimed.as_ref().and_then(|name| self.guesses.wait(name, peer.ip(), now)) {
            return Err(Box::new(retry_after(StatusCode::TOO_MANY_REQUESTS, wait.as_secs() + 1)));
        }
        let signed = credentials.as_ref().map_or("", |credentials| credentials.uri.as_str());
        let proving =
            Proving { method: method.as_str(), uri: if is_path(signed, path) { signed } else { path }, body };
        let is_stale = match self.directory.proves_that(&proving, credentials.as_ref(), owner, peer.ip(), now)
        {
            Ok((account, nonce, count)) => {
                if self.directory.uses(account, nonce, count) {
                    self.guesses.succeeded(&self.directory.account(account).name, peer.ip());
                    return Ok(account);
                }
                true
            }
            Err(Proof::Wrong) => {
                let proof = credentials.as_ref().map_or("", |credentials| &*credentials.response);
                self.guesses.failed(claimed.as_deref().unwrap_or_default(), peer.ip(), proof, now);
                tracing::info!(remote = %peer, "wrong password");
                false
            }
            Err(Proof::Address) => {
                return Err(Box::new(plain(StatusCode::FORBIDDEN, "a user name without domain is wanted")));
            }
            Err(Proof::Stale) => true,
            Err(Proof::Absent | Proof::Malformed) => false,
        };
        let entropy = self.rng.next_u32();
        let mut answer = plain(StatusCode::UNAUTHORIZED, "");
        for challenge in self.directory.challenges(owner, peer.ip(), now, entropy, is_stale) {
            if let Ok(value) = HeaderValue::try_from(challenge) {
                answer.headers_mut().append(WWW_AUTHENTICATE, value);
            }
        }
        Err(Box::new(answer))
    }

    /// What is everybody's.
    fn global(&self, method: &Method, resource: &Resource) -> Response<Bytes> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        if resource.document.auid != CAPS_AUID || resource.document.name != "index" {
            return plain(StatusCode::NOT_FOUND, "no such document");
        }
        let body = write_capabilities(&usage::capabilities());
        virtual_document(resource, body, CAPS_TYPE, "urn:ietf:params:xml:ns:xcap-caps")
    }

    /// The list of a user's documents.
    fn directory_of(&self, owner: &Aor, resource: &Resource) -> Response<Bytes> {
        const NAMESPACE: &str = "urn:oma:xml:xdm:xcap-directory";
        if resource.document.name != DIRECTORY_NAME {
            return plain(StatusCode::NOT_FOUND, "no such document");
        }
        let escape = crate::xcap::edit::escape;
        let mut body =
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xcap-directory xmlns=\"{NAMESPACE}\">");
        let mut open: Option<&str> = None;
        for (auid, name, kept) in self.documents.all_of(owner) {
            if open != Some(auid) {
                body.push_str(if open.is_some() { "</folder>" } else { "" });
                body.push_str(&format!("<folder auid=\"{}\">", escape(auid)));
                open = Some(auid);
            }
            let path = DocumentPath::user(auid, format!("sip:{owner}"), name);
            let (path, etag, size) = (escape(&format!("{ROOT}/{path}")), escape(&kept.etag), kept.body.len());
            body.push_str(&format!("<entry uri=\"{path}\" etag=\"{etag}\" size=\"{size}\"/>"));
        }
        body.push_str(if open.is_some() { "</folder></xcap-directory>" } else { "</xcap-directory>" });
        virtual_document(resource, body, "application/vnd.oma.xcap-directory+xml", NAMESPACE)
    }

    fn read(&self, task: &Task) -> Response<Bytes> {
        let document = &task.resource.document;
        let Some(kept) = self.documents.get(&task.owner, &document.auid, &document.name) else {
            return plain(StatusCode::NOT_FOUND, "no such document");
        };
        let (kind, body) = match &task.resource.node {
            None => (task.usage.media_type(), kept.body.clone()),
            Some(node) => {
                let place = match Place::parse(node, task.usage.namespace()) {
                    Ok(place) => place,
                    Err(refusal) => return refused(refusal),
                };
                let tree = Tree::read(&kept.body, &self.document_limits()).ok();
                match tree.and_then(|tree| place.get(&tree)) {
                    Some(body) => (place.media_type(), body.into()),
                    None => return plain(StatusCode::NOT_FOUND, "no such node"),
                }
            }
        };
        if task.conditions.is_known(&kept.etag) {
            return tagged(Response::new(Bytes::new()), StatusCode::NOT_MODIFIED, &kept.etag);
        }
        if !task.conditions.hold(Some(&kept.etag), true) {
            return plain(StatusCode::PRECONDITION_FAILED, "");
        }
        let mut answer = tagged(Response::new(body), StatusCode::OK, &kept.etag);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    /// Does a change, or lets it wait for one of the same document.
    fn perform(&mut self, now: Instant, task: Task) {
        let document = &task.resource.document;
        let key = (Aor::clone(&task.owner), document.auid.clone(), document.name.clone());
        let busy = self.http.busy.get(&key);
        if let Some(changing) = busy.and_then(|ticket| self.http.changing.get_mut(ticket)) {
            if changing.waiting.len() < MOST_WAITING {
                changing.waiting.push_back(task);
            } else {
                let answer = retry_after(StatusCode::SERVICE_UNAVAILABLE, 1);
                self.http.answers.push_back((task.id, answer));
            }
            return;
        }
        let (kept, presence, status) = match self.change(&task) {
            Ok(change) => change,
            Err(refusal) => {
                self.http.answers.push_back((task.id, refused(refusal)));
                return;
            }
        };
        let Task { id, owner, .. } = task;
        let DocumentPath { auid, name, .. } = task.resource.document;
        let changing = Changing { id, owner, auid, name, kept, presence, status, waiting: VecDeque::new() };
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
        self.http.busy.insert(key, ticket);
        self.http.changing.insert(ticket, changing);
    }

    /// What a change makes of a document.
    fn change(&mut self, task: &Task) -> Result<(Option<Kept>, Option<pidf::Document>, StatusCode), Refusal> {
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
                    return Ok((None, None, StatusCode::OK));
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
                        let encoded: Vec<_> =
                            selector.split('/').map(attache_documents::xcap::percent_encode).collect();
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
        if body.len() > self.limits.document_bytes {
            return Err(Refusal::Status(413, "the document is too large"));
        }
        let is_further = before.is_none() && count >= self.limits.documents_per_user;
        if is_further || bytes - replaced + body.len() > self.limits.document_bytes_per_user {
            return Err(Refusal::Status(507, "there is no room for more documents"));
        }
        if document.name.len() > LONGEST_NAME || document.name.chars().any(char::is_control) {
            return Err(Refusal::Status(414, "the name is too long"));
        }
        let presence = {
            let is_taken = |address: &str| {
                let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
                self.directory.find(address).is_some() || !self.directory.is_ours(domain)
            };
            let is_served = |address: &str| {
                self.lists.get(address).is_some_and(|list| list.owner.as_ref() != Some(&task.owner))
            };
            let around = Surroundings { owner: &task.owner, is_taken: &is_taken, services: &is_served };
            usage::check(task.usage, &body, &limits, &around)?
        };
        let status = if is_put && is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok((Some(Kept { etag: self.fresh_tag(), body }), presence, status))
    }

    /// A change is made: answers it, and lets it be felt. Returns what waited for it.
    fn changed_document(&mut self, now: Instant, changing: Changing) -> VecDeque<Task> {
        let Changing { id, owner, auid, name, kept, presence, status, waiting } = changing;
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
            self.document_has_effect(now, &owner, usage, &name, presence);
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
        let served = Resolver::new(&self.documents, owner, &limits, self.limits.list_entries).services();
        let before = self.http.served.remove(owner).unwrap_or_default();
        let after: BTreeSet<String> = served.iter().map(|one| one.uri.clone()).collect();
        for gone in before.difference(&after) {
            self.drop_list(now, gone, Some(owner));
        }
        for one in served {
            if let Err(error) = self.put_list(now, &one.uri, Some(Aor::clone(owner)), None, one.members) {
                tracing::info!(%error, "a user's list is not served");
            }
        }
        if !after.is_empty() {
            self.http.served.insert(Aor::clone(owner), after);
        }
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
                let read = pidf::read(&body, &self.document_limits()).ok()?;
                Some((body, read.document))
            });
            if document.is_some() {
                self.presence.presentities.entry(Aor::clone(&owner)).or_default().set_hard(document, now);
            }
        }
    }

    fn document_limits(&self) -> DocumentLimits {
        DocumentLimits { bytes: self.limits.document_bytes, ..DocumentLimits::STORED }
    }
}

/// The user of a path, in canonical spelling. Some clients leave the scheme out.
fn owner_of(user: &str) -> Option<String> {
    let text = if user.contains(':') { user.to_owned() } else { format!("sip:{user}") };
    identity(&Uri::parse_str(&text).ok()?)
}

/// Whether what was signed is this path, be it with scheme and authority.
fn is_path(signed: &str, path: &str) -> bool {
    let rest = signed.split_once("://").map(|(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    rest.unwrap_or(signed) == path
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

/// A document that is made when it is asked for, or a node of it.
fn virtual_document(
    resource: &Resource,
    body: String,
    kind: &'static str,
    namespace: &str,
) -> Response<Bytes> {
    let (kind, body) = match &resource.node {
        None => (kind, body),
        Some(node) => {
            let place = match Place::parse(node, namespace) {
                Ok(place) => place,
                Err(refusal) => return refused(refusal),
            };
            let tree = Tree::read(body.as_bytes(), &DocumentLimits::STORED).ok();
            match tree.and_then(|tree| place.get(&tree)) {
                Some(body) => (place.media_type(), body),
                None => return plain(StatusCode::NOT_FOUND, "no such node"),
            }
        }
    };
    let mut answer = Response::new(Bytes::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn refused(refusal: Refusal) -> Response<Bytes> {
    match refusal {
        Refusal::Status(405, _) => not_allowed("GET, HEAD"),
        Refusal::Status(status, why) => {
            plain(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), why)
        }
        Refusal::Conflict(error) => {
            let mut answer = Response::new(Bytes::from(write_error(&error)));
            *answer.status_mut() = StatusCode::CONFLICT;
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(ERROR_TYPE));
            answer
        }
    }
}

fn plain(status: StatusCode, why: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(why.as_bytes()));
    *answer.status_mut() = status;
    if !why.is_empty() {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    answer
}

fn not_allowed(methods: &'static str) -> Response<Bytes> {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

fn retry_after(status: StatusCode, seconds: u64) -> Response<Bytes> {
    let mut answer = plain(status, "");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn tagged(mut answer: Response<Bytes>, status: StatusCode, etag: &str) -> Response<Bytes> {
    *answer.status_mut() = status;
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        answer.headers_mut().insert(ETAG, value);
    }
    answer
}
