//! XCAP (RFC 4825): documents over HTTP.
//!
//! Every request but one of no use must prove who sends it, as over SIP, with the same passwords. A user's documents are
//! read and changed by that user only; what is in the global tree is read by every user. A change is answered, and seen
//! by anybody, when it is on disk; further changes of the same user wait for that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use attache_documents::Limits as DocumentLimits;
use attache_documents::tree::Tree;
use attache_documents::xcap::{
    CAPS_AUID, CAPS_TYPE, DocumentPath, ERROR_TYPE, Resource, write_capabilities, write_error,
};
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
use crate::xcap::Kept;
use crate::xcap::edit::{Place, Refusal};
use crate::xcap::lists::ROOT;
use crate::xcap::usage::{self, DIRECTORY_AUID, Stated, Usage};

/// The name of a directory (OMA XDM, section 5.3.5).
const DIRECTORY_NAME: &str = "directory.xml";

/// Reading so many bytes of documents counts as a further request.
const COSTLY: usize = 4 * 1024;

/// Requests under way, and answers that are ready.
#[derive(Default)]
pub(super) struct Http {
    pub(super) answers: VecDeque<(u64, Response<Bytes>)>,
    /// The change of a document that is being made durable, by its ticket.
    pub(super) changing: HashMap<u64, Changing>,
    /// The tickets of users of whose documents one is being changed.
    pub(super) busy: HashMap<Aor, u64>,
    pub(super) next_ticket: u64,
    /// The addresses of users that stand for lists.
    pub(super) served: HashMap<Aor, BTreeSet<String>>,
    /// For requests whose answer is given at once.
    pub(super) next_inner: u64,
}

pub(super) struct Changing {
    pub(super) id: u64,
    pub(super) owner: Aor,
    pub(super) auid: String,
    pub(super) name: String,
    pub(super) kept: Option<Kept>,
    pub(super) stated: Stated,
    pub(super) status: StatusCode,
    pub(super) waiting: VecDeque<Task>,
}

/// A request whose sender has been found to be the owner.
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) owner: Aor,
    pub(super) usage: Usage,
    pub(super) resource: Resource,
    pub(super) method: Method,
    pub(super) conditions: Conditions,
    pub(super) content_type: Option<String>,
    pub(super) body: Bytes,
}

/// `If-Match` and `If-None-Match` (RFC 9110, section 13.1).
#[derive(Default)]
pub(super) struct Conditions {
    matches: Option<Vec<String>>,
    none_matches: Option<Vec<String>>,
}

impl Conditions {
    /// `None` where one cannot be read: doing the request without it is not what was asked for.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let tags = |name: HeaderName| {
            let mut all: Option<Vec<String>> = None;
            for row in headers.get_all(name) {
                let tags = row.to_str().ok()?.split(',').map(|tag| tag.trim().to_owned());
                all.get_or_insert_default().extend(tags);
            }
            Some(all)
        };
        Some(Self { matches: tags(IF_MATCH)?, none_matches: tags(IF_NONE_MATCH)? })
    }

    /// Whether a request may be done, on a document with this tag, for something that exists or not.
    pub(super) fn hold(&self, etag: Option<&str>, exists: bool) -> bool {
        let tagged =
            |tag: &String| etag.is_some_and(|etag| tag.trim_matches('"') == etag && !tag.starts_with("W/"));
        let any = |tag: &String| tag == "*" && exists;
        let matches = self.matches.as_ref().is_none_or(|tags| tags.iter().any(|tag| any(tag) || tagged(tag)));
        let none = self.none_matches.as_ref();
        // Of these also a weak one counts (RFC 9110, section 13.1.2).
        let is_same = |tag: &String| {
            let strong = tag.strip_prefix("W/").unwrap_or(tag);
            etag.is_some_and(|etag| strong.trim_matches('"') == etag)
        };
        let clashes = |tag: &String| any(tag) || (exists && is_same(tag));
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
            self.http.busy.remove(&changing.owner);
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
        let Some(conditions) = Conditions::read(&head.headers) else {
            return Err(Box::new(plain(StatusCode::BAD_REQUEST, "a condition cannot be read")));
        };
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
        // Documents are read on the task that everything else waits for.
        let document = &task.resource.document;
        let kept = self.documents.get(&task.owner, &document.auid, &document.name);
        let touched = match task.resource.node.is_some() {
            true => kept.map_or(0, |kept| kept.body.len()) + task.body.len(),
            false => task.body.len(),
        };
        if touched >= COSTLY && !self.rate.admits_as(peer.ip(), now, touched / COSTLY) {
            return Err(Box::new(retry_after(StatusCode::TOO_MANY_REQUESTS, 1)));
        }
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

    pub(super) fn document_limits(&self) -> DocumentLimits {
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

pub(super) fn refused(refusal: Refusal) -> Response<Bytes> {
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

pub(super) fn plain(status: StatusCode, why: &'static str) -> Response<Bytes> {
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

pub(super) fn retry_after(status: StatusCode, seconds: u64) -> Response<Bytes> {
    let mut answer = plain(status, "");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

pub(super) fn tagged(mut answer: Response<Bytes>, status: StatusCode, etag: &str) -> Response<Bytes> {
    *answer.status_mut() = status;
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        answer.headers_mut().insert(ETAG, value);
    }
    answer
}
